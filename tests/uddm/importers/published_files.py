"""Published checkpoints in small: the layouts, with random weights."""

import contextlib
import json
import sys
import types

import torch
from safetensors.torch import save_file

from uddm import DiT, DiTConfig

K, L = 11, 9
ROTARY = "rotary_emb.inv_freq"
PREFIX = "backbone."
SETTINGS = {
    "seed": 1,
    "model": {"hidden_size": 16, "cond_dim": 8, "n_blocks": 2, "n_heads": 2, "length": L, "dropout": 0.1},
    "noise": {"type": "log-linear", "eps": 1e-3},
    "algo": {"name": "duo_base", "parameterization": "mean", "causal_attention": False, "time_conditioning": True},
    "data": {"train": "lm1b", "tokenizer_name_or_path": "bert-base-uncased", "wrap": True, "cache_dir": "${cwd:}"},
    "tags": ["${noise.type}", "???", None, 3],
}
HUB = {
    **{"model_type": "udlm", "vocab_size": K, "model_length": L, "hidden_dim": 16, "cond_dim": 8, "n_blocks": 2},
    **{"n_heads": 2, "dropout": 0.1, "time_conditioning": True, "causal": False, "architectures": ["UDLM"]},
}


def make(seed):
    """A small network with random weights everywhere."""
    torch.manual_seed(seed)
    model = DiT(DiTConfig(K, length=L, hidden_dim=16, blocks=2, heads=2, cond_dim=8)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
    return model


RAW, AVERAGE = make(0), make(1)


def state(model, prefix=PREFIX):
    return {f"{prefix}{name}": tensor.clone() for name, tensor in model.state_dict().items()}


def shadow(model):
    return [p.detach().clone() for p in model.parameters()]


def same(model, other):
    a, b = model.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@contextlib.contextmanager
def foreign(*names):
    """While it lasts, modules of these names exist, with classes whose objects can be pickled."""
    made, before = [], set(sys.modules)
    for full in names:
        module, name = full.rsplit(".", 1)
        for n in range(len(module.split("."))):
            parent = ".".join(module.split(".")[: n + 1])
            sys.modules.setdefault(parent, types.ModuleType(parent))
        made.append(type(name, (), {"__module__": module}))
        setattr(sys.modules[module], name, made[-1])
    yield made
    for module in set(sys.modules) - before:
        del sys.modules[module]


def omegaconf(value, classes, parent=None, key=None):
    """The object tree that OmegaConf 2.3 pickles."""
    dict_config, list_config, node, metadata = classes

    def make(kind, content):
        made, about = kind.__new__(kind), metadata.__new__(metadata)
        about.__dict__.update(ref_type=object, object_type=dict, key=key, flags={}, resolver_cache={("a", "b"): 1})
        made.__dict__.update(_metadata=about, _parent=parent, **{"_val" if kind is node else "_content": content})
        return made

    if isinstance(value, dict):
        made = make(dict_config, {})
        made._content.update({k: omegaconf(v, classes, made, k) for k, v in value.items()})
    elif isinstance(value, list):
        made = make(list_config, [])
        made._content.extend(omegaconf(v, classes, made, n) for n, v in enumerate(value))
    else:
        made = make(node, value)
    return made


def checkpoint(**changes):
    """A Lightning checkpoint, as a dict."""
    shadows = shadow(AVERAGE)
    moments = {n: {"step": torch.tensor(7.0), "exp_avg": torch.zeros_like(p)} for n, p in enumerate(shadows)}
    return {
        "epoch": 2,
        "global_step": 70,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state(RAW),
        "optimizer_states": [{"state": moments, "param_groups": [{"lr": 3e-4, "params": list(range(len(shadows)))}]}],
        "hyper_parameters": {"config": SETTINGS},
        "ema": {"decay": 0.9999, "num_updates": 70, "shadow_params": shadows},
        **changes,
    }


def save(path, **changes):
    torch.save(checkpoint(**changes), path)
    return path


def hub_folder(folder, settings=HUB, weights=None, **changes):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**settings, **changes}))
    save_file(state(AVERAGE) if weights is None else weights, folder / "model.safetensors")
    return folder


def shards(folder, weights, count=3, names="model-{:05}-of-{:05}.safetensors", **changes):
    """The weights of a hub folder, dealt to several files, and their index."""
    files, index = [{} for _ in range(count)], {}
    for n, (name, tensor) in enumerate(weights.items()):
        files[n % count][name] = tensor
        index[name] = names.format(n % count + 1, count)
    for n, tensors in enumerate(files, 1):
        write = save_file if names.endswith("safetensors") else torch.save
        write(tensors, folder / names.format(n, count))
    first = "model.safetensors" if names.endswith("safetensors") else "pytorch_model.bin"
    (folder / f"{first}.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": index} | changes)
    )
    return folder
