"""Published checkpoints: the same numbers as the reference, and folders of ours that hold them."""

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from published_files import AVERAGE, HUB, PREFIX, RAW, SETTINGS, K, L, hub_folder, same, save, shards, state
from safetensors.torch import save_file

from uddm import DiT, DiTConfig, TrainConfig, nelbo, train
from uddm.corpora import ByteTokenizer, load_tokenizer
from uddm.importers import convert, import_published, inspect_published
from uddm.importers._torch_file import TorchFile

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


# --- What is found


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 4}, "`heads` must be 2, as in the tensors of"),
        ({"length": 0}, "`length` must be an integer >= 1"),
        ({"dropout": 1.5}, "`dropout` must lie in"),
        ({"schedule": "quadratic"}, "`schedule` must be one of"),
        ({"weights": "mean"}, "`weights` must be one of 'ema', 'raw'"),
    ],
)
@pytest.mark.parametrize("function", [import_published, inspect_published])
def test_bad_arguments(ckpt, arguments, message, function):
    with pytest.raises(ValueError, match=message):
        function(ckpt, **arguments)


def test_unknown_keywords_are_refused(ckpt, tmp_path):
    for function in (import_published, inspect_published, lambda *a, **k: convert(*a, tmp_path / "out", **k)):
        with pytest.raises(TypeError, match="unexpected keyword 'head': what may be given is heads, length, schedule"):
            function(ckpt, head=2)
    assert not (tmp_path / "out").exists()


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
from uddm.importers._torch_file import TorchFile
from uddm.importers import import_published, inspect_published
def peak():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
import_published(small)
before = peak()
inspect_published(large)
import_published(large)
grown = peak() - before
file = TorchFile(large)
(key,) = file.storages(file.root["optimizer_states"], set())
file.read(f"data/{key}")
print(grown, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_optimizer_states_stay_on_disk(tmp_path):
    """Peak memory, MiB; the control reads the 128 MiB that the import must leave alone."""
    states = [{"state": {0: {"exp_avg": torch.zeros(32 * 2**20)}}}]
    paths = {"small": save(tmp_path / "a.ckpt"), "large": save(tmp_path / "b.ckpt", optimizer_states=states)}
    said = tmp_path / "said"
    measuring = forked.start(exec, MEASURE, paths, said=said)
    measuring.join()
    assert measuring.exitcode == 0, said.read_text()
    grown, control = map(float, said.read_text().split())
    assert grown < 20
    assert control > 100


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
    assert model.origin == import_published(ckpt).origin == report.origin
    assert report.origin == {
        **{"source": str(ckpt), "revision": None, "file": "small.ckpt", "sha256": report.sha256, "weights": "ema"},
        **{"distilled": False, "algorithm": "duo_base"},
    }
    assert report.sha256 in str(report)


def test_other_weights_are_of_no_origin(ckpt, tmp_path):
    """Those that were saved where an import is, or trained on from it."""
    convert(ckpt, tmp_path / "out")
    model = DiT.from_pretrained(tmp_path / "out")
    RAW.save_pretrained(tmp_path / "out")
    assert DiT.from_pretrained(tmp_path / "out").origin is None
    model.save_pretrained(tmp_path / "out")
    assert DiT.from_pretrained(tmp_path / "out").origin is not None
    data = np.arange(4 * L).reshape(4, L) % K
    trained = train(model, data, TrainConfig(steps=1, batch_size=2), tmp_path / "run", progress=None)
    assert trained.origin is None


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


def test_a_disk_that_fails_at_last_is_named_and_leaves_the_folder_empty(ckpt, tmp_path, monkeypatch):
    def fail(folder):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "out").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("uddm.importers.sync_folder", fail)
        with pytest.raises(OSError, match="Input/output error") as failed:
            convert(ckpt, tmp_path / "out")
    assert failed.value.filename == str(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    convert(ckpt, tmp_path / "out")


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


@pytest.mark.parametrize("moves", range(6))
@pytest.mark.parametrize("there", [True, False])
def test_an_import_that_was_killed_is_made_again(ckpt, tmp_path, monkeypatch, moves, there):
    """Its leftovers are neither content nor left for good."""
    out, replace, left = tmp_path / "models" / "out", os.replace, iter(range(moves))
    (out if there else out.parent).mkdir(parents=True)

    def move(*paths):
        if next(left, None) is None:
            raise KeyboardInterrupt
        replace(*paths)

    with monkeypatch.context() as killed:  # no process that is killed tidies up
        killed.setattr(os, "replace", move)
        for module, name in ((os, "unlink"), (Path, "unlink"), (shutil, "rmtree")):
            killed.setattr(module, name, lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt) if moves < 5 + there else nullcontext():
            convert(ckpt, out)
    if not (out / "config.json").exists():
        assert list(out.parent.rglob(".import*"))
        convert(ckpt, out)
        files = [path.name for path in out.parent.rglob("*") if path.is_file()]
        assert sorted(files) == ["README.md", "config.json", "import.json", "model.safetensors"]
    assert same(DiT.from_pretrained(out), AVERAGE)


@pytest.mark.parametrize("argument", ["source", "folder"])
def test_empty_names_are_refused(ckpt, tmp_path, monkeypatch, argument):
    monkeypatch.chdir(tmp_path)
    arguments = {"source": ckpt, "folder": tmp_path / "out", argument: ""}
    with pytest.raises(ValueError, match=f"`{argument}` must name a file or folder, got an empty text"):
        convert(**arguments)


@pytest.mark.long  # ruff's PLW1514 sees to it that all text files are opened as UTF-8
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
