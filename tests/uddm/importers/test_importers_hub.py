"""Addresses on the hub, and what is asked of it."""

import json

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from published_files import AVERAGE, HUB, hub_folder, same, shards, state

from uddm.importers import import_published, inspect_published


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
    names = ("config.json", weights, f"{weights}.index.json", f"{first}-*.{last}", "tokenizer.json", "vocab.txt")
    return tuple(f"{inside}{n}" for n in names)


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


def test_shards_on_the_hub(remote, tmp_path):
    folder = tmp_path / "cache/a/sharded/snapshots/c0ffee"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(HUB))
    shards(folder, state(AVERAGE))
    assert same(import_published("a/sharded"), AVERAGE)
    assert remote == [("a/sharded", None, FOLDER)]


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
