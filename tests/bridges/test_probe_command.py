"""python -m bridges probe: of a model folder and a published checkpoint; and of everything that is none, or no text."""

import errno
import json
import os
import resource
import shutil
import string
import time
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file

from bridges.__main__ import main
from uddm import HollowMLP, HollowMLPConfig, TrainConfig, train
from uddm.corpora import ByteTokenizer, CharacterTokenizer
from uddm.files import read_json, to_json, write_atomically

LENGTH = 8
QUICK = ["--extracted", 4, "--generated", 8, "--draws", 2, "--steps", 4]


def letters(n, seed):
    return ["".join(row) for row in np.random.default_rng(seed).choice(list("abcdefgh"), (n, LENGTH))]


def network(**changes):
    torch.manual_seed(0)
    shape = {"length": LENGTH, "hidden_dim": 32, "embed_dim": 16, "cond_dim": 8} | changes
    return HollowMLP(HollowMLPConfig(27, **shape))


@pytest.fixture(scope="module")
def command(run_command):
    return partial(run_command, main, "probe")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Files of 24 documents each, of eight letters: what the model was trained on, and other ones."""
    folder = tmp_path_factory.mktemp("texts")
    for name, seed in (("train", 1), ("other", 2)):
        (folder / f"{name}.txt").write_text("\n\n".join(letters(24, seed)))
    return folder


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """The folder of a network that 200 steps have taught its 24 documents."""
    tokenizer, folder = CharacterTokenizer(), tmp_path_factory.mktemp("learnt")
    tokens = np.stack([tokenizer.encode(document) for document in letters(24, 1)])
    config = TrainConfig(200, 24, 1e-2, warmup=10, decay="cosine", ema=0.9, checkpoint_every=10**6)
    train(network(), tokens, config, folder / "run", progress=None).save_pretrained(folder / "model", tokenizer)
    return folder / "model"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The folder of an untrained network."""
    folder = tmp_path_factory.mktemp("fresh") / "model"
    network(hidden_dim=4).save_pretrained(folder, CharacterTokenizer())
    return folder


def test_a_trained_network_is_told_from_its_text(learnt, texts, tmp_path, command):
    sides = ["--suspect", texts / "train.txt", "--unseen", texts / "other.txt"]
    words = [learnt, *sides, "--out", tmp_path / "out", "--extracted", 24, "--generated", 20, "--draws", 4]
    words += ["--steps", 8]
    done = command(*words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "reproduces"
    assert lines[-1] == str(tmp_path / "out" / "report.html")
    for check in ("length", "leaks", "shift", "enough", "tokenization", "own token"):
        assert any(line.startswith(f"  {check}: passed. ") for line in lines)
    stored = json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=pytest.fail)
    assert stored["verdict"] == "reproduces"
    assert stored["passages"][0]["returned"]
    with xr.open_dataset(tmp_path / "out" / "scores.nc") as scores:
        assert scores.sizes["sample"] == 48
    text = "".join(piece for piece, _ in stored["passages"][0]["tokens"])
    assert text == letters(24, 1)[stored["passages"][0]["document"]]
    again = json.loads(command(*words, "--json").stdout)
    assert again.pop("manifest")["seconds"] != stored.pop("manifest")["seconds"]
    assert again == {name: value for name, value in stored.items() if name != "checksum"}


def test_the_model_alone(fresh, tmp_path, command):
    done = command(fresh, "--out", tmp_path, *QUICK)
    assert done.returncode == 0
    assert done.stdout.startswith("cannot say\n  Whether a text was learnt")
    assert (tmp_path / "report.html").exists()


BAD_TEXTS = {
    "empty": (b"", "empty"),
    "blank": (b"\n \n\n", "empty"),
    "binary": (bytes(range(256)) * 20, "not UTF-8"),
    "latin-1": ("Caf\xe9 au lait".encode("latin-1"), "not UTF-8"),
    "utf-16": ("plain words".encode("utf-16"), "not UTF-8"),
    "gzip": (b"\x1f\x8b\x08\x00 packed", "compressed"),
}


@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_what_is_no_text_is_refused(fresh, texts, tmp_path, command, kind):
    content, said = BAD_TEXTS[kind]
    (tmp_path / "bad.txt").write_bytes(content)
    for sides in (("--suspect", "--unseen"), ("--unseen", "--suspect")):
        done = command(fresh, sides[0], tmp_path / "bad.txt", sides[1], texts / "other.txt", "--out", tmp_path / "out")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_compared(fresh, texts, tmp_path, command):
    """One-word documents, which nothing but their like can fill; the same text twice; too few documents."""
    (tmp_path / "words.txt").write_text("\n\n".join(["a", "bc", "d"]))
    (tmp_path / "few.txt").write_text("\n\n".join(letters(5, 7)))
    cases = {
        "length": (tmp_path / "words.txt", texts / "other.txt"),
        "leaks": (texts / "other.txt", texts / "other.txt"),
        "enough": (tmp_path / "few.txt", texts / "other.txt"),
    }
    for name, (suspect, unseen) in cases.items():
        done = command(fresh, "--suspect", suspect, "--unseen", unseen, "--out", tmp_path / name, *QUICK)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("cannot say\n")
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"  {name}: "))
        assert line.startswith(f"  {name}: FAILED. ")
        assert "Give " in line


def test_ten_megabytes_in_a_line_are_one_document(fresh, texts, tmp_path, command):
    """In less than a minute and a gigabyte."""
    line = " ".join(letters(1000, 3)) + " "
    (tmp_path / "line.txt").write_text(line * (10**7 // len(line)))
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    sides = ["--suspect", tmp_path / "line.txt", "--unseen", texts / "other.txt"]
    done = command(fresh, *sides, "--out", tmp_path / "out", "--passages", 60, *QUICK)
    assert done.stdout.startswith("cannot say\n")
    assert "There are 1 suspect and 24 unseen documents" in done.stdout
    assert time.process_time() - begin < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # in kilobytes


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """Models that are none, or no uniform ones, and tokenizers of another vocabulary."""
    folder = tmp_path_factory.mktemp("bad")
    network(hidden_dim=4).save_pretrained(folder / "bare")
    ByteTokenizer().save(folder / "bytes.json")
    (folder / "nothing").mkdir()
    hub = {"vocab_size": 11, "model_length": 9, "hidden_dim": 16, "cond_dim": 8, "n_blocks": 2, "n_heads": 2}
    weights = {"backbone.vocab_embed.embedding": torch.zeros(11, 16)}
    for name, said in (("masked", {"model_type": "sedd"}), ("autoregressive", {"model_type": "ar", "causal": True})):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(hub | said))
        save_file(weights, folder / name / "model.safetensors")
    config = {"algo": {"name": "sedd", "causal_attention": False}, "model": {"hidden_size": 16, "length": 9}}
    lightning = {"state_dict": weights, "hyper_parameters": {"config": config}, "pytorch-lightning_version": "2.5.0"}
    torch.save(lightning, folder / "masked.ckpt")
    (folder / "text.ckpt").write_text("no checkpoint")
    return folder


def test_what_cannot_be_asked_is_one_line(bad, fresh, texts, tmp_path, command):
    suspect, unseen = ["--suspect", texts / "train.txt"], ["--unseen", texts / "other.txt"]
    cases = [
        (["nowhere"], "nowhere"),
        ([bad / "nothing"], "nothing"),
        ([bad / "text.ckpt"], "text.ckpt"),
        ([bad / "masked"], "is not of a diffusion model that is read: algorithm 'sedd'"),
        ([bad / "masked.ckpt"], "is not of a diffusion model that is read: algorithm 'sedd'"),
        ([bad / "autoregressive"], "is not of a diffusion model that is read"),
        ([bad / "bare", *suspect, *unseen], "has no tokenizer: name the one that it was trained with by `--tokenizer`"),
        ([fresh, *suspect, *unseen, "--tokenizer", bad / "bytes.json"], "of 27 tokens, got one of 256"),
        ([fresh, *suspect, *unseen, "--tokenizer", bad / "none.json"], "none.json"),
        ([fresh, *suspect], "`suspect` and `unseen` must be given together"),
        ([fresh, *unseen], "`suspect` and `unseen` must be given together"),
        ([fresh, "--train", texts / "train.txt"], "`train`"),
        ([fresh, *suspect, "--unseen"], "`unseen` must be followed by text files"),
        ([fresh, *suspect, "--unseen", "nowhere.txt"], "nowhere.txt does not exist"),
        ([fresh, *suspect, *unseen, "--packing", "sentences"], "BOS and EOS"),
        ([fresh, *suspect, *unseen, "--reference", bad / "nothing"], "nothing"),
        ([fresh, "--generated", 1], "`generated`"),
        ([fresh, "--steps", 0], "`steps`"),
        ([fresh, "--budget", -1], "`budget`"),
        ([fresh, "--seed", -1], "`seed`"),
        ([fresh, "--device", "abacus"], "`device`"),
    ]
    for words, said in cases:
        done = command(*words, "--out", tmp_path / "out")
        assert (done.returncode, done.stdout) == (2, ""), words
        assert said in done.stderr, words
        assert len(done.stderr.splitlines()) == 1, words
        assert not list((tmp_path / "out").rglob("*")), words


def test_a_full_disk(learnt, texts, tmp_path, command, monkeypatch):
    """While parts are kept, and with the report: what is there is whole."""
    words = [learnt, "--suspect", texts / "train.txt", "--unseen", texts / "other.txt", "--out", tmp_path, *QUICK]
    fsync, left = os.fsync, 0

    def full(descriptor):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in command(*words).stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.setattr(os, "fsync", fsync)
    assert command(*words).returncode == 0
    for name in ("report.html", "report.json", "scores.nc"):
        (tmp_path / name).unlink()
    left = 2
    monkeypatch.setattr(os, "fsync", full)
    done = command(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "No space left on device" in done.stderr
    with xr.open_dataset(tmp_path / "scores.nc") as scores:
        assert scores.sizes["sample"] == 48
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["scores.nc"]


@pytest.fixture
def published(shared_data):
    path = shared_data / "fixtures" / "upstream_layout_a.ckpt"
    if not path.exists():
        pytest.skip("the published-layout fixture is not on this machine")
    return path


def test_a_published_checkpoint_as_it_is(published, tmp_path, command):
    """Its 97 tokens are given some characters; its random weights know nothing of any text."""
    alphabet = (" " + string.digits + string.ascii_letters + string.punctuation + "\xe4\xf6\xfc")[:97]
    CharacterTokenizer(alphabet, lowercase=False).save(tmp_path / "characters.json")
    rng = np.random.default_rng(0)
    for name in ("suspect", "unseen"):
        lines = ["".join(row) for row in rng.choice(list(alphabet[1:]), (30, 24))]
        (tmp_path / name).write_text("\n\n".join(lines))
    model = tmp_path / "checkpoint.ckpt"
    shutil.copyfile(published, model)
    words = ["--suspect", tmp_path / "suspect", "--unseen", tmp_path / "unseen", "--out", tmp_path / "out", *QUICK]
    words += ["--tokenizer", tmp_path / "characters.json"]
    begin = time.process_time()
    done = command(model, *words)
    assert time.process_time() - begin < 60
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] in ("cannot say", "no evidence")
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert stored["manifest"]["system"]["origin"]["weights"] == "ema"
    weights = tmp_path / "out" / "model" / "model.safetensors"
    imported = weights.stat().st_mtime_ns
    assert command(model, *words).stdout == done.stdout
    assert weights.stat().st_mtime_ns == imported, "it is imported once"
    other = command(model, *words, "--weights", "raw")
    assert other.returncode == 2
    assert "holds another model" in other.stderr
    record = weights.with_name("import.json")
    write_atomically(record, to_json({**read_json(record), "step": 7}))
    assert "holds another model" in command(model, *words).stderr, "the training has gone on since"
