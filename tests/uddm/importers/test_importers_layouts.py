"""Layouts: hub folders, bare files and shards; what their tensors are called, and what they are when damaged."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import pickle
import re
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from published_files import AVERAGE, HUB, PREFIX, RAW, ROTARY, L, hub_folder, same, save, shadow, shards, state
from safetensors.torch import save_file

from uddm import DiT, TrainConfig, train
from uddm.importers import convert, import_published, inspect_published


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


@pytest.mark.parametrize("layout", ["safetensors", "lightning"])
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept_for_asking(tmp_path, layout, half):
    """In half the memory, with the numbers of the network whose weights are widened."""
    weights = {name: tensor.to(half) for name, tensor in state(RAW).items()}
    if layout == "lightning":
        source, how = save(tmp_path / "a.ckpt", state_dict=weights), {"weights": "raw"}
    else:
        source, how = hub_folder(tmp_path / "hub", weights=weights), {}
    wide, kept = (import_published(source, **how, dtype=dtype) for dtype in ("float32", "stored"))
    assert {p.dtype for p in wide.parameters()} == {torch.float32}
    assert {p.dtype for p in kept.parameters()} == {half}
    assert all(p.untyped_storage().nbytes() == 2 * p.numel() for p in kept.parameters())
    convert(source, tmp_path / "out", **how)
    convert(source, tmp_path / "wide", **how, dtype="float32")
    sizes = [(tmp_path / folder / "model.safetensors").stat().st_size for folder in ("out", "wide")]
    numbers = sum(p.numel() for p in RAW.parameters())
    assert sizes[1] - sizes[0] == pytest.approx(2 * numbers, abs=1000)
    again, again_wide = (DiT.from_pretrained(tmp_path / "out", dtype=dtype) for dtype in ("stored", "float32"))
    assert same(again, kept)
    assert same(again_wide, wide)
    assert same(DiT.from_pretrained(tmp_path / "wide", dtype="stored"), wide)
    z = torch.arange(L)[None] % 7
    for t in (1e-5, 0.5, 1.0):
        assert torch.equal(again.cavity(z, t), wide.cavity(z, t))
        assert again.predict(z, t).entropy().dtype == torch.float32
    with pytest.raises(ValueError, match="must have float32 weights to be trained, got torch"):
        train(again, z.numpy(), TrainConfig(steps=1, batch_size=1), tmp_path / "run")


def test_stored_float64_becomes_float32(tmp_path):
    wide = {name: tensor.double() for name, tensor in state(RAW).items()}
    assert same(import_published(hub_folder(tmp_path / "hub", weights=wide), dtype="stored"), RAW)


@pytest.mark.parametrize("function", [import_published, lambda source, dtype: DiT.from_pretrained(source, dtype=dtype)])
def test_no_other_types(hub, tmp_path, function):
    convert(hub, tmp_path / "out")
    source = hub if function is import_published else tmp_path / "out"
    with pytest.raises(ValueError, match="`dtype` must be one of 'float32', 'stored', got 'int8'"):
        function(source, dtype="int8")


@pytest.mark.parametrize("prefix", ["diffusion.model.backbone.", "module.diffusion.model.backbone._orig_mod."])
def test_names_below_a_diffusion_model(tmp_path, prefix):
    """As github.com/samsongourevitch/rev_udm stores them."""
    path = save(tmp_path / "a.ckpt", state_dict=state(RAW, prefix))
    assert same(import_published(path), AVERAGE)
    assert same(import_published(path, weights="raw"), RAW)
    weights = state(RAW, prefix)
    weights["metrics.total"] = weights.pop(f"{prefix}blocks.1.mlp.2.bias")
    with pytest.raises(ValueError, match=r"has unexpected metrics\.total"):
        import_published(save(tmp_path / "b.ckpt", state_dict=weights))


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


def test_a_hub_folder_holds_one_set_of_weights(hub):
    with pytest.raises(ValueError, match="`weights` must be left out"):
        import_published(hub, weights="raw")


def test_truncated_safetensors(hub):
    whole = (hub / "model.safetensors").read_bytes()
    for keep in [0, 4, 100, len(whole) // 2, len(whole) - 1]:
        (hub / "model.safetensors").write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            import_published(hub)


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_bad_hub_configuration(hub, content):
    (hub / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        import_published(hub)


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
