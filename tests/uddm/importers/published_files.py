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


# --- Transformers of Llama's kind, and masked and hybrid ones, in small

LLADA = {
    **{"model_type": "llada", "architectures": ["LLaDAModelLM"], "vocab_size": K, "embedding_size": K, "d_model": 16},
    **{"n_layers": 2, "n_heads": 4, "n_kv_heads": 4, "mlp_hidden_size": 24, "max_sequence_length": L},
    **{"rope_theta": 500000.0, "rms_norm_eps": 1e-5, "weight_tying": False, "mask_token_id": 9},
    **{"block_type": "llama", "activation_type": "silu", "layer_norm_type": "rms", "rope": True, "alibi": False},
    **{"include_bias": False, "include_qkv_bias": False, "attention_layer_norm": False, "block_group_size": 1},
}
_HF = {
    **{"vocab_size": K, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "hidden_act": "silu"},
    **{"tie_word_embeddings": False, "attention_dropout": 0.0},
}
DREAM = _HF | {
    **{"model_type": "Dream", "architectures": ["DreamModel"], "mask_token_id": 10, "rope_theta": 1000000.0},
    **{"rope_scaling": None, "use_sliding_window": False},
}
SUMI = _HF | {
    **{"model_type": "sumi", "architectures": ["SumiForMaskGeneration"], "rms_norm_eps": 1e-5, "head_dim": 4},
    **{"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}, "max_position_embeddings": 4864},
    **{"attention_bias": False, "add_qkv_bias": False, "mlp_bias": False},
}
GIDD = {
    **{"model_type": "gidd", "architectures": ["GiddForDiffusionLM"], "vocab_size": K, "hidden_size": 16},
    **{"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 4, "is_causal": False},
    **{"attn_soft_cap": 30.0, "max_position_embeddings": L, "resid_scale": 4.0, "rms_norm_eps": 1e-6},
    **{"use_qk_norm": True, "weight_scaling": 1.0, "head_scaling": 32.0, "rope_theta": 10000.0, "rope_scaling": None},
    **{"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "noise_type": 1000.0},
    **{"min_log_snr": -9.0, "max_log_snr": 9.0},
}
MDLM = HUB | {"model_type": "mdlm", "architectures": ["MDLM"], "time_conditioning": False}
GIDD_DIT = {
    **{"vocab_size": K, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "timestep_cond_dim": 8},
    **{"attention_dropout": 0.0, "max_seq_len": L, "p_uniform": 0.1, "t_eps": 1e-4, "model_type": "gidd"},
}


def tensors(shapes, seed=0, dtype=torch.float32):
    """Random numbers under these names; scales of norms around 1."""
    generator = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in shapes.items()}
    around = {name: 1.0 for name in shapes if "norm" in name or name.endswith("ln_f.weight")}
    return {name: (tensor + around.get(name, 0.0)).to(dtype) for name, tensor in made.items()}


def llada(d=16, hidden=24, blocks=2):
    of_block = {"q_proj": (d, d), "k_proj": (d, d), "v_proj": (d, d), "attn_out": (d, d), "ff_proj": (hidden, d)}
    of_block |= {"up_proj": (hidden, d), "ff_out": (d, hidden), "attn_norm": (d,), "ff_norm": (d,)}
    shapes = {f"model.transformer.blocks.{n}.{name}.weight": s for n in range(blocks) for name, s in of_block.items()}
    ends = {"wte": (K, d), "ln_f": (d,), "ff_out": (K, d)}
    return shapes | {f"model.transformer.{name}.weight": shape for name, shape in ends.items()}


def qwen(d=16, hidden=24, blocks=2, keys=8, biases=True):
    """The names of Qwen2, and without biases those of Llama."""
    at, mlp = "self_attn", "mlp"
    of_layer = {f"{at}.q_proj.weight": (d, d), f"{at}.k_proj.weight": (keys, d), f"{at}.v_proj.weight": (keys, d)}
    of_layer |= {f"{at}.o_proj.weight": (d, d), f"{mlp}.gate_proj.weight": (hidden, d)}
    of_layer |= {f"{mlp}.up_proj.weight": (hidden, d), f"{mlp}.down_proj.weight": (d, hidden)}
    of_layer |= {"input_layernorm.weight": (d,), "post_attention_layernorm.weight": (d,)}
    if biases:
        of_layer |= {f"{at}.q_proj.bias": (d,), f"{at}.k_proj.bias": (keys,), f"{at}.v_proj.bias": (keys,)}
    shapes = {f"model.layers.{n}.{name}": shape for n in range(blocks) for name, shape in of_layer.items()}
    return shapes | {"model.embed_tokens.weight": (K, d), "model.norm.weight": (d,), "lm_head.weight": (K, d)}


def gidd(d=16, hidden=24, blocks=2, heads=4):
    of_layer = {f"self_attn.{name}_proj.weight": (d, d) for name in "qkvo"}
    of_layer |= {f"self_attn.{name}.weight": (d,) for name in ("q_norm", "k_norm")}
    of_layer |= {f"self_attn.{name}_bias": (heads, d // heads) for name in "kv"}
    of_layer |= {"mlp.up_proj.weight": (hidden, d), "mlp.up_proj.bias": (hidden,)}
    of_layer |= {"mlp.down_proj.weight": (d, hidden), "mlp.down_proj.bias": (d,)}
    of_layer |= {"attn_layernorm.weight": (d,), "mlp_layernorm.weight": (d,)}
    shapes = {f"model.layers.{n}.{name}": shape for n in range(blocks) for name, shape in of_layer.items()}
    return shapes | {"model.embed_tokens.weight": (K, d), "model.norm.weight": (d,), "lm_head.weight": (K, d)}


def gidd_dit(model, length=L):
    """The diffusion transformer with cosines and sines, (1, length, 3, 1, head_dim), in place of frequencies."""
    weights = {name: tensor for name, tensor in state(model, "").items() if name != ROTARY}
    angles = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, 8, 2).float() / 8)
    for name, values, still in (("cos", torch.cos, 1.0), ("sin", torch.sin, 0.0)):
        turned = values(torch.cat([angles, angles], -1))
        cache = torch.stack([turned, turned, torch.full_like(turned, still)], 1)[None, :, :, None]
        weights[f"rotary_emb.{name}_cached"] = cache.contiguous()
    return weights


DEPLOYED = {
    "LLaDA": (LLADA, llada()),
    "Dream": (DREAM, qwen()),
    "Sumi": (SUMI, qwen(biases=False)),
    "GIDD": (GIDD, gidd()),
}
