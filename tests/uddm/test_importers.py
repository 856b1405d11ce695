"""Published checkpoints: the same numbers as the reference, nothing executed, and clear errors for what is damaged."""

import bz2
import contextlib
import copyreg
import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import pickletools
import re
import struct
import subprocess
import sys
import tarfile
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from uddm import DiT, DiTConfig, nelbo
from uddm._lightning import Record, TorchFile, plain, read_pickle
from uddm.corpora import ByteTokenizer, load_tokenizer
from uddm.importers import convert, import_published, inspect_published

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


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Bytes of a checkpoint with OmegaConf and Lightning objects in it."""
    names = [f"omegaconf.{name}" for name in ("DictConfig", "ListConfig", "AnyNode", "base.ContainerMetadata")]
    path = tmp_path_factory.mktemp("checkpoint") / "small.ckpt"
    with foreign(*names, "lightning.trainer.Callback") as (*classes, callback):
        config = omegaconf(SETTINGS, classes)
        torch.save(checkpoint(hyper_parameters={"config": config}, callbacks={"best": callback()}), path)
    assert "omegaconf" not in sys.modules
    return path.read_bytes()


def save(path, **changes):
    torch.save(checkpoint(**changes), path)
    return path


@pytest.fixture
def ckpt(tmp_path, small):
    (tmp_path / "small.ckpt").write_bytes(small)
    return tmp_path / "small.ckpt"


def hub_folder(folder, settings=HUB, weights=None, **changes):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**settings, **changes}))
    save_file(state(AVERAGE) if weights is None else weights, folder / "model.safetensors")
    return folder


@pytest.fixture
def hub(tmp_path):
    return hub_folder(tmp_path / "hub")


# --- The reference implementation


@pytest.fixture(scope="module")
def fixture(shared_data):
    folder = shared_data / "fixtures"
    if not (folder / "upstream_layout_a.ckpt").exists():
        pytest.skip("the published-layout fixture is not on this machine")
    return folder / "upstream_layout_a.ckpt", dict(np.load(folder / "upstream_layout_a.reference.npz"))


@pytest.fixture(scope="module", params=["lightning", "hub", "bin"])
def published(request, fixture, tmp_path_factory):
    """The network from the file, and from its averaged weights laid out as hub folders."""
    path, reference = fixture
    model = import_published(path)
    if request.param != "lightning":
        folder = tmp_path_factory.mktemp("published") / "hub"
        shape = {"vocab_size": 97, "model_length": 24, "hidden_dim": 64, "n_blocks": 3, "n_heads": 4, "dropout": 0.0}
        hub_folder(folder, {"model_type": "DUO", "cond_dim": 32, **shape}, state(model))
        if request.param == "bin":
            (folder / "model.safetensors").unlink()
            torch.save(state(model), folder / "pytorch_model.bin")
        model = import_published(folder)
    return model, reference


def test_reference_numbers(published):
    """Log-probabilities, NELBO, posterior and entropy of the reference implementation, to the asked precision."""
    model, reference = published
    x, z, t, s = (torch.tensor(reference[name]) for name in ("x0", "z", "t", "s"))
    with torch.no_grad():
        log_probs = model.cavity(z, t)
        loss = nelbo(model.process, model.predict(z, t), x, z, t)
        entropy = model.predict(z, t).entropy()
    assert not model.training
    assert np.abs(log_probs.numpy() - reference["log_probs"]).max() < 1e-5
    np.testing.assert_allclose(loss, reference["nelbo_per_token"], rtol=1e-4)
    assert np.abs(model.process.posterior(log_probs, z, t, s).numpy() - reference["posterior"]).max() < 1e-6
    assert np.abs(entropy.double().numpy() - reference["entropy"]).max() < 1e-5


def test_raw_weights_differ_from_the_average(fixture):
    """Negative control of the reference numbers."""
    path, reference = fixture
    with torch.no_grad():
        raw = import_published(path, weights="raw").cavity(torch.tensor(reference["z"]), torch.tensor(reference["t"]))
    assert np.abs(raw.numpy() - reference["log_probs"]).max() > 1e-3


def test_report_of_the_reference_file(fixture):
    report = inspect_published(fixture[0])
    assert report.config == {
        **{"vocab_size": 97, "length": 24, "hidden_dim": 64, "blocks": 3, "heads": 4, "cond_dim": 32},
        **{"schedule": "log-linear", "dropout": 0.0},
    }
    assert (report.step, report.epoch, report.decay, report.updates) == (1234, 3, 0.9999, 1234)
    assert report.training == {
        **{"algorithm": "duo_base", "data": "openwebtext", "tokenizer": "gpt2", "wrap": True, "seed": 1}
    }
    assert report.parameters == sum(p.numel() for p in import_published(fixture[0]).parameters())
    assert report.skipped["state_dict"] == 4 * report.parameters
    assert report.settings["noise"]["type"] == "log-linear"
    assert "1e-3" in report.notes[0]


# --- Layouts


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_lightning_file(ckpt, weights):
    model = import_published(ckpt, weights=weights)
    assert same(model, AVERAGE if weights == "ema" else RAW)
    assert model.config == DiTConfig(K, length=L, hidden_dim=16, blocks=2, heads=2, cond_dim=8)
    assert not model.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
    assert "omegaconf" not in sys.modules


def test_what_is_said_about_a_lightning_file(ckpt):
    report = inspect_published(str(ckpt))
    assert report.settings == SETTINGS
    assert report.notes == ()
    numbers = sum(p.numel() for p in RAW.parameters())
    moments = 4 * (numbers + len(list(RAW.parameters())))
    assert report.skipped == {"state_dict": 4 * numbers, "optimizer_states": moments}
    text = str(report)
    for piece in (
        "Lightning checkpoint",
        "70 steps, epoch 2",
        "decay 0.9999, 70 updates",
        "K = 11, L = 9",
        "bert-base",
    ):
        assert piece in text
    assert "decay" not in str(inspect_published(ckpt, weights="raw"))


@pytest.mark.parametrize("tensor", [torch.nn.Parameter, lambda t: t.double(), lambda t: t.t().contiguous().t()])
def test_tensors_in_other_forms(tmp_path, tensor):
    """Parameters, other precisions, strided views: the same numbers."""
    changed = {name: tensor(t) if t.ndim == 2 else t for name, t in state(RAW).items()}
    assert same(import_published(save(tmp_path / "a.ckpt", state_dict=changed), weights="raw"), RAW)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(tmp_path, dtype):
    half = {name: t.to(dtype) for name, t in state(RAW).items()}
    model = import_published(save(tmp_path / "a.ckpt", state_dict=half), weights="raw")
    assert all(torch.equal(p, half[PREFIX + name].float()) for name, p in model.named_parameters())
    assert torch.equal(model.rotary_emb.inv_freq, RAW.rotary_emb.inv_freq)
    save_file(half, tmp_path / "model.safetensors")
    other = import_published(tmp_path / "model.safetensors", length=L)
    assert same(other, model)
    assert inspect_published(tmp_path / "a.ckpt", weights="raw").dtype == str(dtype).removeprefix("torch.")


def test_tensors_that_share_a_storage(tmp_path):
    flat = torch.cat([t.flatten() for t in state(RAW).values()])
    parts = flat.split([t.numel() for t in state(RAW).values()])
    views = {name: part.view(t.shape) for (name, t), part in zip(state(RAW).items(), parts)}
    model = import_published(save(tmp_path / "a.ckpt", state_dict=views), weights="raw")
    assert same(model, RAW)
    assert all(p.untyped_storage().nbytes() == 4 * p.numel() for p in model.parameters())


def repack(path, change=lambda name, content: content, compression=zipfile.ZIP_STORED, twice=(), zip64=False):
    """Write the zip file again, through Python's zipfile."""
    with zipfile.ZipFile(path) as old:
        entries = {info.filename: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in entries.items():
            with new.open(name, "w", force_zip64=zip64) as file:
                file.write(change(name, content))
        for name in twice:
            new.writestr(name, entries[name])


def test_other_byte_order(ckpt):
    def swap(name, content):
        if name.endswith("byteorder"):
            return {b"little": b"big", b"big": b"little"}[content]
        return np.frombuffer(content, np.uint32).byteswap().tobytes() if "/data/" in name else content

    repack(ckpt, swap)
    assert same(import_published(ckpt), AVERAGE)


def test_without_a_record_of_the_byte_order(ckpt):
    """As before PyTorch 2.1."""
    with zipfile.ZipFile(ckpt) as old:
        entries = {info.filename: old.read(info) for info in old.infolist() if "byteorder" not in info.filename}
    with zipfile.ZipFile(ckpt, "w") as new:
        for name, content in entries.items():
            new.writestr(name, content)
    assert same(import_published(ckpt), AVERAGE)


def test_zip64(ckpt):
    repack(ckpt, zip64=True)
    assert same(import_published(ckpt), AVERAGE)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(tmp_path, protocol):
    torch.save(checkpoint(), tmp_path / "a.ckpt", pickle_protocol=protocol)
    assert same(import_published(tmp_path / "a.ckpt"), AVERAGE)


@pytest.mark.parametrize("prefix", [PREFIX, ""])
@pytest.mark.parametrize("drop", ["cond_dim", "n_heads", "hidden_dim", "dropout", "model_type", None])
def test_hub_folder(tmp_path, prefix, drop):
    settings = {name: value for name, value in HUB.items() if name != drop}
    folder = hub_folder(tmp_path / "hub", settings, state(AVERAGE, prefix))
    model = import_published(folder)
    assert same(model, AVERAGE)
    assert model.config == AVERAGE.config
    report = inspect_published(folder)
    assert (report.format, report.weights, report.skipped) == ("hub folder", "as published", {})
    assert any("schedule" in note for note in report.notes)


def test_hub_folder_of_a_pickle(tmp_path, hub):
    (hub / "model.safetensors").unlink()
    torch.save(state(AVERAGE), hub / "pytorch_model.bin")
    assert same(import_published(hub), AVERAGE)
    assert inspect_published(hub).file == "pytorch_model.bin"


def test_tokenizer_is_inferred_from_the_vocabulary(tmp_path):
    config = DiTConfig(30522, length=4, hidden_dim=8, blocks=1, heads=2, cond_dim=4)
    shape = {"vocab_size": 30522, "model_length": 4, "hidden_dim": 8, "n_blocks": 1, "cond_dim": 4}
    report = inspect_published(hub_folder(tmp_path / "hub", HUB | shape, state(DiT(config))))
    assert report.training["tokenizer"] == "bert-base-uncased"


# --- Configuration


@pytest.mark.parametrize(
    "hyper", [None, {}, {"config": None}, {"config": 3}, {"config": {"model": "${model}"}}, "missing"]
)
def test_without_a_configuration(tmp_path, hyper):
    path = save(tmp_path / "a.ckpt", hyper_parameters=hyper)
    with pytest.raises(ValueError, match=r"a\.ckpt does not say `length`: pass it"):
        import_published(path)
    assert same(import_published(path, length=L), AVERAGE)
    report = inspect_published(path)
    assert report.config["length"] is None
    assert "L = ?" in str(report)
    assert any("no readable configuration" in note for note in report.notes)
    assert any("heads" in note for note in report.notes)


def test_configuration_that_is_the_hyper_parameters(tmp_path):
    path = save(tmp_path / "a.ckpt", hyper_parameters=SETTINGS)
    assert inspect_published(path).settings == SETTINGS


def test_namespaces_are_read(tmp_path):
    import argparse

    path = save(tmp_path / "a.ckpt", hyper_parameters={"config": argparse.Namespace(**SETTINGS)})
    assert same(import_published(path), AVERAGE)


def without_rotary(model):
    return {name: tensor for name, tensor in state(model).items() if not name.endswith(ROTARY)}


def test_heads_are_asked_for(tmp_path):
    path = save(tmp_path / "a.ckpt", state_dict=without_rotary(RAW), hyper_parameters={})
    with pytest.raises(ValueError, match=r"a\.ckpt does not say `heads`: pass it"):
        import_published(path, length=L)
    assert same(import_published(path, length=L, heads=2), AVERAGE)
    assert not same(import_published(path, length=L, heads=4), AVERAGE)
    settings = {**SETTINGS, "model": {**SETTINGS["model"], "n_heads": 4}}
    path = save(tmp_path / "b.ckpt", state_dict=without_rotary(RAW), hyper_parameters={"config": settings})
    assert import_published(path).config.heads == 4


def test_the_caller_has_the_last_word(ckpt):
    model = import_published(ckpt, length=20, schedule="linear", dropout=0.0)
    assert (model.config.length, model.config.schedule, model.config.dropout) == (20, "linear", 0.0)
    assert same(model, AVERAGE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"heads": 4}, "`heads` must be 2, as in the tensors of"),
        ({"length": 0}, "`length` must be an integer >= 1"),
        ({"dropout": 1.5}, "`dropout` must lie in"),
        ({"schedule": "quadratic"}, "`schedule` must be one of"),
        ({"weights": "mean"}, "`weights` must be one of 'ema', 'raw'"),
    ],
)
@pytest.mark.parametrize("function", [import_published, inspect_published])
def test_bad_arguments(ckpt, given, message, function):
    with pytest.raises(ValueError, match=message):
        function(ckpt, **given)


def changed(settings, path, value):
    if not path:
        return value
    return {**settings, path[0]: changed(settings.get(path[0], {}), path[1:], value)}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.hidden_size", 32, "the configuration says hidden_dim = 32, the tensors say 16"),
        ("model.n_blocks", 3, "blocks = 3, the tensors say 2"),
        ("model.cond_dim", 129, "cond_dim = 129, the tensors say 8"),
        ("model.n_heads", 4, "heads = 4, the tensors say 2"),
        ("model.length", 1.5, "`length` must be an integer"),
        ("model.dropout", 2.0, "`dropout` must lie in"),
        ("noise.type", "geometric", "noise.type = 'geometric' is unknown; pass `schedule`"),
        ("noise.eps", 0.01, "noise.eps = 0.01"),
        ("noise", {"type": "cosine", "eps": 0}, "noise.eps = 0, but our cosine schedule has 1e-3"),
        ("algo.name", "mdlm", "not of a uniform-state diffusion model: algorithm 'mdlm'"),
        ("algo.name", "d3pm-absorb", "algorithm 'd3pm-absorb'"),
        ("algo.parameterization", "subs", "parameterization 'subs'"),
        ("algo.causal_attention", True, "causal attention"),
        ("algo.time_conditioning", False, "no conditioning on the noise level"),
        ("diffusion", "absorbing_state", "diffusion = absorbing_state"),
    ],
)
def test_configuration_that_contradicts(tmp_path, path, value, message):
    settings = changed(SETTINGS, path.split("."), value)
    file = save(tmp_path / "a.ckpt", hyper_parameters={"config": settings})
    with pytest.raises(ValueError, match=message) as error:
        import_published(file)
    assert str(file) in str(error.value)
    with pytest.raises(ValueError, match=message):
        inspect_published(file)


@pytest.mark.parametrize(
    ("noise", "schedule", "eps"),
    [
        ("loglinear", "log-linear", 1e-3),
        ("log-linear", "log-linear", 0),
        ("cosine", "cosine", 1e-3),
    ],
)
def test_noise_schedules(tmp_path, noise, schedule, eps):
    settings = {**SETTINGS, "noise": {"type": noise, "eps": eps}}
    report = inspect_published(save(tmp_path / "a.ckpt", hyper_parameters={"config": settings}))
    assert report.config["schedule"] == schedule
    assert bool(report.notes) == (eps == 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 12}, "vocab_size = 12, the tensors say 11"),
        ({"hidden_dim": 768}, "hidden_dim = 768"),
        ({"cond_dim": 129}, "cond_dim = 129, the tensors say 8"),
        ({"model_type": "mdlm"}, "algorithm 'mdlm'"),
        ({"time_conditioning": False}, "no conditioning on the noise level"),
        ({"causal": True}, "causal attention"),
        ({"model": "DiT", "format": 1}, "DiT.from_pretrained reads it"),
    ],
)
def test_hub_configuration_that_contradicts(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        import_published(hub_folder(tmp_path / "hub", **change))


def test_a_hub_folder_holds_one_set_of_weights(hub):
    with pytest.raises(ValueError, match="`weights` must be left out"):
        import_published(hub, weights="raw")


# --- Tensors that are missing, unexpected, or of the wrong shape


def damaged_states():
    linear = f"{PREFIX}blocks.1.mlp.2.bias"
    return [
        ({linear: None}, r"lacks blocks\.1\.mlp\.2\.bias"),
        ({f"{PREFIX}vocab_embed.embedding": None}, r"lacks vocab_embed\.embedding"),
        ({f"{PREFIX}sigma_map.mlp.0.weight": None}, r"lacks sigma_map\.mlp\.0\.weight"),
        ({f"{PREFIX}cond_map.embedding_table.weight": torch.zeros(3)}, r"has unexpected cond_map\.embedding_table"),
        ({"teacher.weight": torch.zeros(3)}, r"has unexpected teacher\.weight"),
        ({linear: torch.zeros(17)}, r"blocks\.1\.mlp\.2\.bias has shape \(17,\), not \(16,\)"),
        ({f"{PREFIX}vocab_embed.embedding": torch.zeros(16)}, r"vocab_embed\.embedding has shape \(16,\)"),
        ({linear: torch.zeros(16, dtype=torch.int64)}, r"blocks\.1\.mlp\.2\.bias is .*not a floating-point tensor"),
        ({PREFIX + ROTARY: RAW.rotary_emb.inv_freq * 1.001}, r"rotary_emb\.inv_freq is not that .* base 10000"),
        ({PREFIX + ROTARY: torch.ones(3)}, r"rotary_emb\.inv_freq has shape \(3,\)"),
    ]


@pytest.mark.parametrize("layout", ["lightning", "hub"])
@pytest.mark.parametrize(("change", "message"), damaged_states(), ids=lambda v: v if isinstance(v, str) else "")
def test_wrong_tensors(tmp_path, layout, change, message):
    weights = {name: tensor for name, tensor in (state(RAW) | change).items() if tensor is not None}
    if layout == "lightning":
        source = save(tmp_path / "a.ckpt", state_dict=weights)
    else:
        source = hub_folder(tmp_path / "hub", weights=weights)
    with pytest.raises(ValueError, match=message) as error:
        import_published(source)
    assert str(source) in str(error.value)


@pytest.mark.parametrize(
    ("ema", "message"),
    [
        (None, r"holds no ema\.shadow_params: pass weights='raw'"),
        ({"decay": 0.9}, r"holds no ema\.shadow_params"),
        ({"shadow_params": shadow(AVERAGE)[:-1]}, r"ema\.shadow_params has 29 tensors, state_dict 30 parameters"),
        ({"shadow_params": [*shadow(AVERAGE), torch.zeros(1)]}, r"ema\.shadow_params has 31 tensors"),
        ({"shadow_params": shadow(AVERAGE)[::-1]}, r"ema\.shadow_params\[0\] has shape .* vocab_embed\.embedding has"),
        ({"shadow_params": [3, *shadow(AVERAGE)[1:]]}, r"ema\.shadow_params\[0\] is not a floating-point tensor"),
    ],
)
def test_wrong_average(tmp_path, ema, message):
    path = save(tmp_path / "a.ckpt", ema=ema)
    with pytest.raises(ValueError, match=message):
        import_published(path)
    if ema is None or "shadow_params" not in ema:
        assert same(import_published(path, weights="raw"), RAW)


def test_average_of_parameters_out_of_order(tmp_path):
    """Tensors of one shape might change places unnoticed."""
    shuffled = dict(reversed(state(RAW).items()))
    path = save(tmp_path / "a.ckpt", state_dict=shuffled)
    with pytest.raises(ValueError, match="state_dict is out of order"):
        import_published(path)
    assert same(import_published(path, weights="raw"), RAW)


@pytest.mark.parametrize("content", [3, [1, 2], {}, {"state_dict": 5}, {3: torch.zeros(2)}, {"a": "b"}])
def test_other_contents(tmp_path, content):
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt"):
        import_published(tmp_path / "a.ckpt")


# --- Nothing is executed


class Command:
    """Its pickle creates a file when it is loaded the usual way."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payloads(marker):
    create = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Command(os.system, f"touch {marker}"),
        "builtins.exec": Command(exec, create),
        "builtins.eval": Command(eval, create),
        "method of an object": Command(Path.touch, marker),
        "nested": Command(getattr, Command(__import__, "os"), "system"),
        "subprocess": Command(subprocess.call, ["touch", str(marker)]),
        "reconstructor": Command(copyreg._reconstructor, Path, object, None),
    }


@pytest.mark.parametrize("kind", payloads(Path("x")))
@pytest.mark.parametrize("protocol", [2, 4])
def test_planted_code_does_not_run(tmp_path, kind, protocol):
    marker = tmp_path / "ran"
    payload = payloads(marker)[kind]
    content = checkpoint(hyper_parameters={"config": SETTINGS, "tokenizer": payload}, callbacks=payload)
    torch.save(content, tmp_path / "a.ckpt", pickle_protocol=protocol)
    assert same(import_published(tmp_path / "a.ckpt"), AVERAGE)
    assert inspect_published(tmp_path / "a.ckpt").settings == SETTINGS
    convert(tmp_path / "a.ckpt", tmp_path / "out")
    assert not marker.exists()
    # in the place of what is needed, too
    for name, value in {"hyper_parameters": payload, "state_dict": payload, "ema": payload}.items():
        torch.save(checkpoint(**{name: value}), tmp_path / "b.ckpt", pickle_protocol=protocol)
        with pytest.raises(ValueError, match=r"b\.ckpt"):
            import_published(tmp_path / "b.ckpt")
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["os.system", "builtins.exec", "builtins.eval", "method of an object", "subprocess"])
def test_planted_code_would_run(tmp_path, kind):
    """Negative control: the usual loader runs it."""
    save(tmp_path / "a.ckpt", callbacks=payloads(tmp_path / "ran")[kind])
    torch.load(tmp_path / "a.ckpt", weights_only=False)
    assert (tmp_path / "ran").exists()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def programs(marker):
    """Every way in which a pickle can call something, as opcodes."""
    command = text(f"touch {marker}")
    return {
        "REDUCE": b"\x80\x02cposix\nsystem\n" + command + b"\x85R.",
        "INST": b"(" + command + b"iposix\nsystem\n.",
        "OBJ": b"(cposix\nsystem\n" + command + b"o.",
        "STACK_GLOBAL": b"\x80\x04" + text("posix") + text("system") + b"\x93" + command + b"\x85R.",
        "dotted STACK_GLOBAL": b"\x80\x04" + text("pathlib") + text("os.system") + b"\x93" + command + b"\x85R.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n" + text("touch") + text(str(marker)) + b"\x86\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n)}"
        + text("args")
        + text("touch")
        + text(str(marker))
        + b"\x86s\x92.",
        "SETITEM": b"cos\nenviron\n" + text(f"PLANTED_{marker.name}") + text("yes") + b"s.",
        "APPEND": b"csys\npath\n" + command + b"a.",
        "EXTEND by REDUCE": b"csys\npath\n(" + command + b"e.",
        "call of a call": b"cbuiltins\ngetattr\ncposix\nsystem\n" + text("__call__") + b"\x86R" + command + b"\x85R.",
    }


@pytest.mark.parametrize("kind", programs(Path("x")))
def test_opcodes_that_call(tmp_path, kind):
    marker = tmp_path / f"ran_{os.getpid()}"
    path = list(sys.path)
    read = read_pickle(programs(marker)[kind])
    assert isinstance(read, Record)
    assert not marker.exists()
    assert sys.path == path
    assert f"PLANTED_{marker.name}" not in os.environ


@pytest.mark.parametrize("kind", ["REDUCE", "INST", "OBJ", "STACK_GLOBAL", "dotted STACK_GLOBAL", "call of a call"])
def test_opcodes_that_would_call(tmp_path, kind):
    """Negative control of `programs`."""
    pickle.loads(programs(tmp_path / "ran")[kind])
    assert (tmp_path / "ran").exists()


def test_state_is_not_set(tmp_path):
    """BUILD calls `__setstate__`, or fills `__dict__`, of whatever a call made."""
    build = b"cos\n__dict__\n}" + text("sep") + text("planted") + b"sb."
    assert read_pickle(build).state == {"sep": "planted"}
    assert os.sep == "/"


@pytest.mark.parametrize(
    "program",
    [
        b"\x82\x01.",
        b"\x83\x01\x00.",
        b"\x84\x01\x00\x00\x00.",
        b"\x80\x05\x97.",
        b"\x80\x05N\x98.",
        b".",
        b"",
        b"N",
        b"0.",
        b"t.",
        b"h\x05.",
        b"R.",
        b"NNR.",
        b"N\x85a.",
        b"NNNs.",
        b"]NNs.",
        b"}(Nu.",
        b"\x80\x04NN\x93.",
        b"I9" + b"9" * 5000 + b"\n.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab.",
        b"\x8b\xff\xff\xff\x7fab.",
        b"\x8a\xff.",
    ],
)
def test_malformed_pickles(program):
    if program == b"NNR.":
        assert isinstance(read_pickle(program), Record)
    else:
        with pytest.raises(ValueError, match="not a readable pickle"):
            read_pickle(program)


def test_extension_registry_is_not_used(tmp_path):
    """An extension code stands for a global that is never looked up by name."""
    copyreg.add_extension("posix", "system", 217)
    try:
        program = b"\x80\x02\x82\xd9" + text(f"touch {tmp_path / 'ran'}") + b"\x85R."
        with pytest.raises(ValueError, match="EXT1"):
            read_pickle(program)
        assert not (tmp_path / "ran").exists()
        pickle.loads(program)  # negative control
        assert (tmp_path / "ran").exists()
    finally:
        copyreg.remove_extension("posix", "system", 217)
        copyreg.clear_extension_cache()


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.tuples(inner, inner)
        | st.lists(inner, max_size=5).map(tuple)
    ),
)


@given(values, st.integers(3, 5), st.booleans())
def test_plain_data_are_read_as_by_pickle(value, protocol, slow):
    """At protocols below 3, bytes are calls."""
    file = io.BytesIO()
    (pickle._Pickler if slow else pickle.Pickler)(file, protocol).dump(value)
    assert read_pickle(file.getvalue()) == value


@given(st.lists(st.none() | st.booleans() | st.integers() | st.text()), st.integers(0, 5))
def test_old_protocols(value, protocol):
    data = pickle.dumps({"a": [*value], "b": (*value, *value), "c": {n: v for n, v in enumerate(value)}}, protocol)
    assert read_pickle(data) == pickle.loads(data)


@given(st.binary(max_size=60) | st.lists(st.sampled_from([o.code for o in pickletools.opcodes])).map("".join))
def test_any_bytes_give_a_value_or_a_value_error(data):
    data = data.encode("latin-1") if isinstance(data, str) else data
    with contextlib.suppress(ValueError):
        read_pickle(data + b".")


@pytest.mark.parametrize(
    "program",
    [
        b"N" + b"\x85" * 200_000 + b".",
        b"]" * 200_000 + b"a" * 199_999 + b".",
        b"}N" + b"\x85" * 200_000 + b"Ns.",  # the hash of a deep tuple would overflow the stack
        b"cos\nsystem\n" + b")R" * 200_000 + b".",
        b"]q\x00h\x00a.",
    ],
)
def test_depth_does_not_matter(program):
    read = read_pickle(program)
    if isinstance(read, dict | Record):  # no configuration
        assert plain(read) in ({}, None)
    else:
        with pytest.raises(ValueError, match="large or deep"):
            plain(read)


def test_a_configuration_that_grows_without_bound(tmp_path):
    """Thirty levels, each naming the next one ten times."""
    bomb = ["ha"]
    for _ in range(30):
        bomb = [bomb] * 10
    path = save(tmp_path / "a.ckpt", hyper_parameters={"config": {**SETTINGS, "bomb": bomb}})
    assert same(import_published(path, length=L), AVERAGE)
    assert inspect_published(path).settings == {}


# --- Tensors that are not what they claim


class Hostile:
    def __init__(self, *arguments, function=torch._utils._rebuild_tensor_v2):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Storage(tuple):
    """Pickled as the persistent id ("storage", type, key, location, elements)."""

    __slots__ = ()


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return tuple(obj) if type(obj) is Storage else None


def archive(path, root, storages):
    """A file as of torch.save, with that content and storages."""
    file = io.BytesIO()
    Pickler(file, 2).dump(root)
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("a/data.pkl", file.getvalue())
        new.writestr("a/byteorder", sys.byteorder)
        for key, content in storages.items():
            new.writestr(f"a/data/{key}", content)
    return path


def hostile(offset=0, size=(4,), stride=(1,), elements=16, kind=torch.FloatStorage, key="0", extra=()):
    return Hostile(Storage(("storage", kind, key, "cpu", elements)), offset, size, stride, False, {}, *extra)


def read_one(tmp_path, value):
    file = TorchFile(archive(tmp_path / "a.bin", {"w": value}, {"0": np.arange(16, dtype="f4").tobytes()}))
    stored = file.tensor(file.root["w"])
    return stored and file.load(stored)


def test_hand_made_tensors(tmp_path):
    """Positive control of `hostile`."""
    want = torch.arange(16.0)
    assert torch.equal(read_one(tmp_path, hostile()), want[:4])
    assert torch.equal(read_one(tmp_path, hostile(3, (2, 3), (6, 2))), want[3:].as_strided((2, 3), (6, 2)))
    assert torch.equal(read_one(tmp_path, hostile(15, (), ())), want[15])
    assert read_one(tmp_path, hostile(extra=({"neg": True},))) is None
    assert read_one(tmp_path, hostile(kind=torch.LongStorage)) is None
    assert read_one(tmp_path, Hostile(3, function=torch._utils._rebuild_parameter)) is None


@pytest.mark.parametrize(
    "tensor",
    [
        hostile(offset=13),
        hostile(offset=-1),
        hostile(offset=2**62),
        hostile(size=(17,)),
        hostile(size=(-4,)),
        hostile(size=(2, 2), stride=(15, 1)),
        hostile(size=(2, 2), stride=(-1, 1)),
        hostile(size=(2**40, 2**40), stride=(0, 0)),
        hostile(size=(16, 2), stride=(1, 0)),
        hostile(size=(4, 4), stride=(1,)),
        hostile(size=(1,) * 9, stride=(1,) * 9),
        hostile(size=("4",)),
        hostile(size=(0,)),
        hostile(size=(4.0,)),
        hostile(elements=17),
        hostile(elements=2**60, size=(2**50,)),
        hostile(elements=15),
        hostile(kind=torch.DoubleStorage),
        hostile(key="1"),
        hostile(key="../data.pkl"),
    ],
)
def test_tensors_outside_of_their_storage(tmp_path, tensor):
    with pytest.raises(ValueError, match=r"a\.bin(: a tensor reaches outside|: storage .* does not hold| lacks data/)"):
        read_one(tmp_path, tensor)


def test_one_storage_for_many_tensors(tmp_path):
    """A small file must not ask for much memory."""
    blocks, d = 200, 16
    shapes = {name: tuple(t.shape) for name, t in make(0).state_dict().items()}
    block = {name.split(".", 2)[2]: shape for name, shape in shapes.items() if name.startswith("blocks.0.")}
    shapes = {name: shape for name, shape in shapes.items() if not name.startswith("blocks.")}
    shapes |= {f"blocks.{n}.{name}": shape for n in range(blocks) for name, shape in block.items()}
    elements = 256 * d

    def tensor(shape):
        return hostile(0, shape, tuple(int(np.prod(shape[n + 1 :])) for n in range(len(shape))), elements)

    root = {name: tensor(shape) for name, shape in shapes.items() if name != ROTARY}
    path = archive(tmp_path / "a.bin", root, {"0": bytes(4 * elements)})
    with pytest.raises(ValueError, match="would take more memory than the file has"):
        import_published(path, heads=2, length=L)


# --- Damaged files


def test_truncated(tmp_path, small):
    path = tmp_path / "a.ckpt"
    for keep in [
        0,
        1,
        2,
        3,
        30,
        100,
        1000,
        *(int(f * len(small)) for f in np.linspace(0.05, 0.999, 25)),
        len(small) - 1,
    ]:
        path.write_bytes(small[:keep])
        with pytest.raises(ValueError, match=r"a\.ckpt"):
            import_published(path)


def test_truncated_safetensors(hub):
    whole = (hub / "model.safetensors").read_bytes()
    for keep in [0, 4, 100, len(whole) // 2, len(whole) - 1]:
        (hub / "model.safetensors").write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            import_published(hub)


def flipped_is_noticed(path, data, position, bit):
    data = bytearray(data)
    data[position] ^= 1 << bit
    path.write_bytes(data)
    with contextlib.suppress(ValueError):
        model = import_published(path)
        assert same(model, AVERAGE)
        assert model.config == AVERAGE.config


@given(data=st.data())
def test_a_flipped_bit_is_noticed_or_harmless(small, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "flipped.ckpt"
    position = data.draw(st.integers(0, len(small) - 1))
    flipped_is_noticed(path, small, position, data.draw(st.integers(0, 7)))


def test_flipped_bits_of_the_zip_directory(small, tmp_path):
    """A bit here and there in the last 2000 bytes, and in each byte of the first local header."""
    for position in (*range(len(small) - 2000, len(small), 17), *range(0, 64)):
        flipped_is_noticed(tmp_path / "a.ckpt", small, position, position % 8)


def test_flipped_bits_of_weights_are_noticed(small, tmp_path):
    """In contents that are needed, harmless is not possible."""
    file = tmp_path / "a.ckpt"
    file.write_bytes(small)
    needed = TorchFile(file)
    names = [needed.tensor(value).key for value in needed.root["ema"]["shadow_params"]]
    for key in names:
        start, info = needed._entry(f"data/{key}")
        damaged = bytearray(small)
        damaged[start + info.file_size // 2] ^= 0x10
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"a\.ckpt: data/{key} is damaged"):
            import_published(file)
        assert same(import_published(file, weights="raw"), RAW)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: repack(p, compression=zipfile.ZIP_DEFLATED), "is compressed or encrypted"),
        (lambda p: repack(p, twice=["small/data/0"]), "two files of one name"),
        (lambda p: repack(p, twice=["small/data.pkl"]), "two files of one name"),
        (lambda p: repack(p, lambda n, c: b"middle" if "byteorder" in n else c), "unknown byte order b'middle'"),
        (lambda p: repack(p, lambda n, c: c[:-9] if n.endswith("data.pkl") else c), r"data\.pkl is damaged"),
        (lambda p: p.write_bytes(b""), "truncated or not a file of torch.save"),
        (lambda p: p.write_bytes(b"x" * 5000), "truncated or not a file of torch.save"),
        (lambda p: zipfile.ZipFile(p, "w").close(), r"a zip archive, .* holds 0 data\.pkl, not one \(but nothing\)"),
        (lambda p: torch.save(checkpoint(), p, _use_new_zipfile_serialization=False), "before 1.6"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_other_files(ckpt, damage, message):
    damage(ckpt)
    with pytest.raises(ValueError, match=message) as error:
        import_published(ckpt)
    assert str(ckpt) in str(error.value)


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_bad_hub_configuration(hub, content):
    (hub / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        import_published(hub)


# --- Files that are something else


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, content in files.items():
            new.writestr(name, content)
    return buffer.getvalue()


def tarred(content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as new:
        info = tarfile.TarInfo("model.safetensors")
        info.size = len(content)
        new.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def array_file():
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    return buffer.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0\nsize 12345\n"
IMPOSTORS = {
    "pointer": (POINTER, "a Git LFS pointer, in whose place `git lfs pull` puts the file"),
    "web page": (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "a web page: the download went wrong"),
    "web page after a line": (b"\n  <html lang='en'>", "a web page"),
    "gzip": (gzip.compress(b"x" * 1000), "a gzip file: unpack it first"),
    "bzip2": (bz2.compress(b"x" * 1000), "a bzip2 file: unpack it first"),
    "xz": (lzma.compress(b"x" * 1000), "an xz file: unpack it first"),
    "tar": (tarred(b"x" * 1000), "a tar archive: unpack it first"),
    "zip": (zipped(README="a", weights="b"), r"a zip archive, but .* 0 data\.pkl, not one \(but README, weights\)"),
    "pickle": (pickle.dumps({"a": 1}), "a bare pickle"),
    "array": (array_file(), "an array of numpy"),
    "JSON": (b'{"model_type": "udlm"}', "JSON text"),
}


@pytest.mark.parametrize("name", ["a.ckpt", "a.bin", "a.safetensors", "hub/model.safetensors", "hub/pytorch_model.bin"])
@pytest.mark.parametrize("kind", IMPOSTORS)
def test_a_file_that_is_something_else_is_called_by_its_name(tmp_path, name, kind):
    content, message = IMPOSTORS[kind]
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").write_text(json.dumps(HUB))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        import_published((tmp_path / name).parent if "/" in name else tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_names_do_not_decide_what_a_file_is(tmp_path, small):
    save_file(state(AVERAGE), tmp_path / "tensors.ckpt")
    assert same(import_published(tmp_path / "tensors.ckpt", length=L), AVERAGE)
    (tmp_path / "lightning.safetensors").write_bytes(small)
    assert same(import_published(tmp_path / "lightning.safetensors"), AVERAGE)


# --- Shards


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


@pytest.fixture(params=["model-{:05}-of-{:05}.safetensors", "pytorch_model-{:05}-of-{:05}.bin"])
def sharded(request, hub):
    (hub / "model.safetensors").unlink()
    return shards(hub, state(AVERAGE), names=request.param)


def test_shards_are_read_as_one(sharded, tmp_path):
    model = import_published(sharded)
    assert same(model, AVERAGE)
    assert model.config == AVERAGE.config
    report = convert(sharded, tmp_path / "out")
    assert same(DiT.from_pretrained(tmp_path / "out"), AVERAGE)
    files = sorted(file for file in sharded.iterdir() if "-of-" in file.name)
    content = b"".join(file.read_bytes() for file in files)
    assert (report.size, report.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert report.file.endswith(".index.json")
    assert same(import_published(sharded / report.file, length=L), AVERAGE)


def test_shards_on_the_hub(remote, tmp_path):
    folder = tmp_path / "cache/a/sharded/snapshots/c0ffee"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(HUB))
    shards(folder, state(AVERAGE))
    assert same(import_published("a/sharded"), AVERAGE)
    assert remote == [("a/sharded", None, FOLDER)]


def test_a_shard_that_is_missing(sharded):
    file = sorted(sharded.glob("*-of-*"))[1]
    file.unlink()
    with pytest.raises(FileNotFoundError, match=rf"index\.json names {file.name}, which is not beside it"):
        import_published(sharded)


def test_a_tensor_in_two_shards(hub):
    (hub / "model.safetensors").unlink()
    shards(hub, state(AVERAGE))
    file = sorted(hub.glob("*-of-*"))[2]
    save_file(state(AVERAGE), file)
    with pytest.raises(ValueError, match=rf"{file.name}: .* is in another shard, too"):
        import_published(hub)


@pytest.mark.parametrize(
    "weight_map",
    [
        *(None, {}, [], {"a": 3}, {"a": ["x.bin"]}),
        *({"a": name} for name in ("", ".", "..", "/etc/x.bin", "../x.bin", "x.npz", "model.safetensors.index.json")),
    ],
)
def test_an_index_that_names_no_shards(hub, weight_map):
    (hub / "model.safetensors").unlink()
    shards(hub, state(AVERAGE), weight_map=weight_map)
    with pytest.raises(ValueError, match=r"index\.json has no weight_map that names files beside it"):
        import_published(hub)


# --- Names of wrapped networks


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.",
        "module.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "backbone._orig_mod.",
        "_orig_mod.backbone.",
        "module.backbone.",
        "backbone.module.",
        "module.backbone._orig_mod.",
    ],
)
def test_names_of_wrapped_networks(tmp_path, prefix):
    weights = state(RAW, prefix)
    assert same(import_published(hub_folder(tmp_path / "hub", weights=weights)), RAW)
    path = save(tmp_path / "a.ckpt", state_dict=weights)
    assert same(import_published(path), AVERAGE)
    assert same(import_published(path, weights="raw"), RAW)


def test_names_of_blocks_that_were_compiled_one_by_one(tmp_path):
    weights = {re.sub(r"(blocks\.\d+)", r"\1._orig_mod", name): tensor for name, tensor in state(RAW).items()}
    assert same(import_published(hub_folder(tmp_path / "hub", weights=weights)), RAW)


def test_names_that_differ_by_a_wrapper_only(tmp_path):
    weights = state(RAW, "") | state(AVERAGE, "_orig_mod.")
    with pytest.raises(
        ValueError, match=r"model\.safetensors has tensors whose names differ by _orig_mod or module only"
    ):
        import_published(hub_folder(tmp_path / "hub", weights=weights))


# --- Numbers that are not finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("layout", ["hub", "bin", "bare", "shards", "ema", "raw"])
def test_weights_that_are_not_finite(tmp_path, layout, value):
    name = "blocks.1.mlp.2.bias"
    weights = state(RAW)
    weights[PREFIX + name][5] = value
    options = {}
    if layout in ("hub", "bin", "shards"):
        source = hub_folder(tmp_path / "hub", weights=weights)
        if layout != "hub":
            (source / "model.safetensors").unlink()
            torch.save(weights, source / "pytorch_model.bin") if layout == "bin" else shards(source, weights)
    elif layout == "bare":
        source, options = tmp_path / "a.safetensors", {"length": L}
        save_file(weights, source)
    else:
        average = [weights[PREFIX + n] for n, _ in RAW.named_parameters()]
        changes = {"ema": {"shadow_params": average}} if layout == "ema" else {"state_dict": weights}
        source, options = save(tmp_path / "a.ckpt", **changes), {"weights": layout}
        assert import_published(source, weights="raw" if layout == "ema" else "ema")
    with pytest.raises(ValueError, match=r": blocks\.1\.mlp\.2\.bias holds numbers that are not finite") as error:
        convert(source, tmp_path / "out", **options)
    assert str(source) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_numbers_beyond_float32(tmp_path):
    weights = state(RAW)
    weights[PREFIX + "blocks.0.norm1.weight"] = torch.full((16,), 1e300, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"blocks\.0\.norm1\.weight holds numbers that are not finite"):
        import_published(hub_folder(tmp_path / "hub", weights=weights))


# --- Memory


MEASURE = """
import sys
from uddm._lightning import TorchFile
from uddm.importers import import_published, inspect_published
def peak():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
import_published(sys.argv[1])
before = peak()
inspect_published(sys.argv[2])
import_published(sys.argv[2])
grown = peak() - before
file = TorchFile(sys.argv[2])
(key,) = file.storages(file.root["optimizer_states"], set())
file.read(f"data/{key}")
print(grown, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_optimizer_states_stay_on_disk(tmp_path, repository):
    """Peak memory, MiB; the control reads the 128 MiB that the import must leave alone."""
    states = [{"state": {0: {"exp_avg": torch.zeros(32 * 2**20)}}}]
    paths = [str(save(tmp_path / "a.ckpt")), str(save(tmp_path / "b.ckpt", optimizer_states=states))]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True, cwd=repository
    )
    grown, control = map(float, done.stdout.split())
    assert grown < 20
    assert control > 100


# --- The hub


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_, **__):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)


@pytest.fixture
def remote(monkeypatch, tmp_path, small):
    """A hub of two repositories; the calls it gets."""
    calls = []
    cache = tmp_path / "cache"
    hub_folder(cache / "a/udlm/snapshots/c0ffee")
    hub_folder(cache / "a/inner/snapshots/c0ffee/deep/er")
    (cache / "a/pickled/snapshots/c0ffee").mkdir(parents=True)
    (cache / "a/pickled/snapshots/c0ffee/config.json").write_text(json.dumps(HUB))
    torch.save(state(AVERAGE), cache / "a/pickled/snapshots/c0ffee/pytorch_model.bin")
    tiny = cache / "lemoncmd/lldms-associative-memory/snapshots/beef/tiny"
    tiny.mkdir(parents=True)
    (tiny / "lm1b-tiny-0.01.ckpt").write_bytes(small)

    def commit(repository):
        return next((cache / repository / "snapshots").iterdir())

    def snapshot_download(repository, *, revision=None, allow_patterns=None):
        calls.append((repository, revision, tuple(allow_patterns)))
        return str(commit(repository))

    def hf_hub_download(repository, filename, *, revision=None):
        calls.append((repository, revision, filename))
        return str(commit(repository) / filename)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
    monkeypatch.chdir(tmp_path)
    return calls


def asked(weights, inside=""):
    first, last = weights.split(".")
    return tuple(f"{inside}{n}" for n in ("config.json", weights, f"{weights}.index.json", f"{first}-*.{last}"))


FOLDER = asked("model.safetensors")


@pytest.mark.parametrize(
    ("source", "call", "commit"),
    [
        ("a/udlm", ("a/udlm", None, FOLDER), "c0ffee"),
        ("a/udlm@v1.0", ("a/udlm", "v1.0", FOLDER), "c0ffee"),
        ("hf://a/udlm", ("a/udlm", None, FOLDER), "c0ffee"),
        ("hf://a/udlm@refs%2Fpr%2F1", ("a/udlm", "refs/pr/1", FOLDER), "c0ffee"),
        ("hf://a/inner/deep/er/", ("a/inner", None, asked("model.safetensors", "deep/er/")), "c0ffee"),
        ("a/pickled", ("a/pickled", None, asked("pytorch_model.bin")), "c0ffee"),
        (
            "hf://lemoncmd/lldms-associative-memory/tiny/lm1b-tiny-0.01.ckpt",
            ("lemoncmd/lldms-associative-memory", None, "tiny/lm1b-tiny-0.01.ckpt"),
            "beef",
        ),
        (
            "hf://lemoncmd/lldms-associative-memory@main/tiny/lm1b-tiny-0.01.ckpt",
            ("lemoncmd/lldms-associative-memory", "main", "tiny/lm1b-tiny-0.01.ckpt"),
            "beef",
        ),
    ],
)
def test_hub_addresses(remote, source, call, commit):
    assert same(import_published(source), AVERAGE)
    assert remote[-1] == call
    report = inspect_published(source)
    assert (report.source, report.revision) == (source, commit)
    assert f"{source} at {commit}" in str(report)


def test_repository_of_single_files(remote):
    with pytest.raises(FileNotFoundError, match=r"holds neither .*; name a file in it, as hf://"):
        import_published("hf://lemoncmd/lldms-associative-memory")


@pytest.mark.parametrize("source", ["a/udlm", "hf://a/udlm", "hf://a/udlm/tiny/x.ckpt"])
def test_without_a_network(offline, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"cannot fetch .* pass the path of a downloaded copy"):
        import_published(source)


@pytest.mark.parametrize("source", ["none.ckpt", "/no/such/file.ckpt", "./a/b", "a/b/c.ckpt", "hf://a", "hf://", "~/a"])
def test_missing_files_are_not_asked_of_the_hub(offline, source):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        import_published(source)


def test_a_missing_file_in_a_local_folder_is_not_asked_of_the_hub(offline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(FileNotFoundError, match="no checkpoint 'runs/last'"):
        import_published("runs/last")
    with pytest.raises(FileNotFoundError, match=r"runs holds neither model\.safetensors nor pytorch_model\.bin"):
        import_published("runs")


# --- Conversion


def test_conversion(ckpt, tmp_path):
    report = convert(ckpt, tmp_path / "deep" / "out")
    model = DiT.from_pretrained(tmp_path / "deep" / "out")
    assert same(model, AVERAGE)
    assert model.config == AVERAGE.config
    names = {p.name for p in (tmp_path / "deep" / "out").iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md", "import.json"}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]
    done = subprocess.run(["sha256sum", str(ckpt)], capture_output=True, text=True, check=True)
    assert report.sha256 == done.stdout.split()[0]
    record = json.loads((tmp_path / "deep" / "out" / "import.json").read_text())
    for name in ("sha256", "step", "epoch", "weights", "decay", "skipped", "config", "settings", "training", "size"):
        assert record[name] == getattr(report, name)
    assert record["settings"] == SETTINGS
    assert report.sha256 in str(report)


def test_conversion_of_a_hub_folder(hub, tmp_path):
    (tmp_path / "out").mkdir()  # an empty folder may be there
    report = convert(hub, tmp_path / "out", length=20)
    assert DiT.from_pretrained(tmp_path / "out").config.length == 20
    assert (report.weights, report.file, report.decay) == ("as published", "model.safetensors", None)


def test_conversion_does_not_overwrite(ckpt, tmp_path):
    convert(ckpt, tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    with pytest.raises(FileExistsError, match="exists already"):
        convert(ckpt, tmp_path / "out", weights="raw")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("place", [".", "empty", "linked", "mounted"])
def test_conversion_into_an_empty_folder(ckpt, tmp_path, monkeypatch, place):
    """Which stays the folder that it is: it may be the current one, a link, or one whose parent must not be touched."""
    (tmp_path / "empty").mkdir(mode=0o750)
    (tmp_path / "linked").symlink_to("empty")
    (tmp_path / "outer" / "mounted").mkdir(parents=True)
    out = {"mounted": tmp_path / "outer" / "mounted"}.get(place, Path(place))
    monkeypatch.chdir(tmp_path / "empty" if place == "." else tmp_path)
    before = out.stat()
    (tmp_path / "outer").chmod(0o500)
    convert(ckpt, out)
    (tmp_path / "outer").chmod(0o700)
    assert (out.stat().st_ino, out.stat().st_mode) == (before.st_ino, before.st_mode)
    assert {file.name for file in out.iterdir()} == {"config.json", "model.safetensors", "README.md", "import.json"}
    assert same(DiT.from_pretrained(out), AVERAGE)
    assert (tmp_path / "linked").is_symlink()


def test_in_an_empty_folder_the_configuration_comes_last(ckpt, tmp_path, monkeypatch):
    """Interrupted before any move of a file, the import leaves the folder empty; killed there, no config.json."""
    out, replace, seen = tmp_path / "out", os.replace, []
    out.mkdir()
    for last in range(1, 9):
        moves = []

        def move(source, target, last=last, moves=moves):
            if Path(target).parent == out:
                seen.append((out / "config.json").exists())
                moves.append(Path(target).name)
                if len(moves) == last:
                    raise KeyboardInterrupt
            replace(source, target)

        monkeypatch.setattr(os, "replace", move)
        try:
            convert(ckpt, out)
        except KeyboardInterrupt:
            assert list(out.iterdir()) == []
        else:
            break
    assert seen
    assert not any(seen)
    assert moves[-1] == "config.json"
    assert len(moves) == 3
    assert same(DiT.from_pretrained(out), AVERAGE)


def test_of_two_imports_into_an_empty_folder_one_goes_on(ckpt, tmp_path, monkeypatch):
    out, read = tmp_path / "out", TorchFile.load
    out.mkdir()

    def meanwhile(*arguments):
        monkeypatch.setattr(TorchFile, "load", read)
        convert(ckpt, out, weights="raw")
        return read(*arguments)

    monkeypatch.setattr(TorchFile, "load", meanwhile)
    with pytest.raises(FileExistsError):
        convert(ckpt, out)
    assert same(DiT.from_pretrained(out), RAW)
    assert json.loads((out / "import.json").read_text())["weights"] == "raw"
    assert len(list(out.iterdir())) == 4


@pytest.mark.parametrize("argument", ["source", "folder"])
def test_empty_names_are_refused(ckpt, tmp_path, monkeypatch, argument):
    monkeypatch.chdir(tmp_path)
    arguments = {"source": ckpt, "folder": tmp_path / "out", argument: ""}
    with pytest.raises(ValueError, match=f"`{argument}` must name a file or folder, got an empty text"):
        convert(**arguments)


def test_names_and_settings_in_the_encoding_of_no_locale(tmp_path, repository):
    """What the source says is kept whatever the encoding of the user's locale is."""
    folder = hub_folder(tmp_path / "modèles" / "hub")
    text = json.dumps({**HUB, "author": "Gödel, \u8d6b"}, ensure_ascii=False)
    (folder / "config.json").write_text(text, encoding="utf-8")
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "uddm", "import", str(folder), str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, check=False, cwd=repository)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "import.json").read_text(encoding="utf-8"))
    assert record["settings"]["author"] == "Gödel, \u8d6b"


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_failed_conversion_leaves_nothing(ckpt, tmp_path, monkeypatch, broken):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="disk full"):
        convert(ckpt, tmp_path / "out")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == [ckpt.name]


def test_tokenizers_go_along(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdef"]
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(words))
    path = save(tmp_path / "a.ckpt")
    for n, tokenizer in enumerate((tmp_path / "bert", str(tmp_path / "bert" / "vocab.txt"))):
        convert(path, tmp_path / str(n), tokenizer=tokenizer)
        loaded = load_tokenizer(tmp_path / str(n) / "tokenizer.json")
        assert loaded.encode("a f").tolist() == [words.index("a"), words.index("f")]
        assert loaded.separator_id == words.index("[CLS]")
    convert(path, tmp_path / "again", tokenizer=loaded)
    convert(path, tmp_path / "and again", tokenizer=tmp_path / "again")
    convert(path, tmp_path / "still", tokenizer=tmp_path / "again" / "tokenizer.json")
    assert load_tokenizer(tmp_path / "still" / "tokenizer.json").fingerprint == loaded.fingerprint
    loaded.backend.save(str(tmp_path / "bert" / "tokenizer.json"))  # as the `tokenizers` library calls its own file
    (tmp_path / "bert" / "vocab.txt").unlink()
    for n, tokenizer in enumerate((tmp_path / "bert", tmp_path / "bert" / "tokenizer.json"), 2):
        convert(path, tmp_path / str(n), tokenizer=tokenizer)
        assert load_tokenizer(tmp_path / str(n) / "tokenizer.json").fingerprint == loaded.fingerprint
    with pytest.raises(ValueError, match="`tokenizer` must have the 11 tokens of the model, got 256"):
        convert(path, tmp_path / "bytes", tokenizer=ByteTokenizer())
    assert not (tmp_path / "bytes").exists()


@pytest.mark.parametrize("names", [("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")])
def test_gpt2_tokenizers_go_along(tmp_path, names):
    (tmp_path / "gpt2").mkdir()
    vocabulary = {word: n for n, word in enumerate([*"abcdefg", "ab", "<|endoftext|>"])}
    (tmp_path / "gpt2" / names[0]).write_text(json.dumps(vocabulary))
    (tmp_path / "gpt2" / names[1]).write_text("#version: 0.2\na b\n")
    config = DiTConfig(10, length=4, hidden_dim=8, blocks=1, heads=2, cond_dim=4)
    shape = {"vocab_size": 10, "model_length": 4, "hidden_dim": 8, "n_blocks": 1, "cond_dim": 4}
    hub = hub_folder(tmp_path / "hub", HUB | shape, state(DiT(config)))
    convert(hub, tmp_path / "out", tokenizer=tmp_path / "gpt2")
    assert load_tokenizer(tmp_path / "out" / "tokenizer.json").encode("abc").tolist() == [7, 2]
