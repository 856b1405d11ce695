"""Models on disk: what is written, and clear errors for what is damaged or missing."""

import json
import os
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from uddm import DiT, DiTConfig
from uddm.corpora import ByteTokenizer, load_tokenizer
from uddm.files import UnreadableFile, read_json, to_json, write_atomically

SHAPE = {"vocab_size": 7, "length": 9, "hidden_dim": 16, "blocks": 2, "cond_dim": 8}


def randomised(model):
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.3)
    return model.eval()


def make(seed=0, **changes):
    torch.manual_seed(seed)
    return randomised(DiT(DiTConfig(**({"heads": 2} | SHAPE | changes))))


@pytest.fixture
def folder(tmp_path):
    make().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_saving_again_replaces(folder):
    other = make(seed=1)
    other.save_pretrained(folder)
    assert torch.equal(DiT.from_pretrained(folder).vocab_embed.embedding, other.vocab_embed.embedding)


def test_folder_contents(folder):
    assert {p.name for p in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    config = json.loads((folder / "config.json").read_text())
    assert (config["format"], config["model"], config["vocab_size"]) == (1, "DiT", 7)
    parameters = sum(p.numel() for p in make().parameters())
    assert f"{parameters:,} parameters" in (folder / "README.md").read_text()


def test_tokenizer_goes_along(tmp_path):
    tokenizer = ByteTokenizer()
    make(vocab_size=300).save_pretrained(tmp_path, tokenizer)
    assert load_tokenizer(tmp_path / "tokenizer.json").encode("abc").tolist() == tokenizer.encode("abc").tolist()


def rewrite(folder, change):
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 7, 100, 0.5, 0.999])
def test_truncated_weights(folder, keep):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        DiT.from_pretrained(folder)


@pytest.mark.parametrize("where", ["length", "brace", "offset"])
def test_damaged_header_of_weights(folder, where):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    (header,) = struct.unpack("<Q", content[:8])
    place = {"length": 6, "brace": 8, "offset": 8 + content[8 : 8 + header].index(b"data_offsets") + 15}[where]
    content[place] ^= 0x01
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        DiT.from_pretrained(folder)


def test_missing_key(folder):
    rewrite(folder, lambda w: {k: v for k, v in w.items() if k != "blocks.1.norm2.weight"})
    with pytest.raises(ValueError, match=r"model\.safetensors lacks blocks\.1\.norm2\.weight"):
        DiT.from_pretrained(folder)


def test_unexpected_key(folder):
    rewrite(folder, lambda w: w | {"blocks.7.bias": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"model\.safetensors has unexpected blocks\.7\.bias"):
        DiT.from_pretrained(folder)


def test_wrong_shape(folder):
    rewrite(folder, lambda w: w | {"vocab_embed.embedding": torch.zeros(8, 16)})
    with pytest.raises(ValueError, match=r"vocab_embed\.embedding has shape \(8, 16\), not \(7, 16\)"):
        DiT.from_pretrained(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "readable JSON"),
        (b'{"format": 1, "model"', "readable JSON"),
        (b"\xff\xfe\x00", "readable JSON"),
        (b"{}", "format 1"),
        (b'{"format": 2, "model": "DiT", "vocab_size": 7}', "format 1"),
        (b'{"format": 1, "model": "GPT", "vocab_size": 7}', "format 1"),
        (b'{"format": 1, "model": "DiT", "vocab_size": 7, "colour": 3}', "colour"),
        (b'{"format": 1, "model": "DiT"}', "vocab_size"),
        (b'{"format": 1, "model": "DiT", "vocab_size": -7}', "vocab_size"),
    ],
)
def test_bad_config(folder, content, message):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        DiT.from_pretrained(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        DiT.from_pretrained(folder)


@pytest.mark.parametrize("path", ["/no/such/folder", "./model", "no-such-folder", "../a", "a/b/c", "~/model"])
def test_missing_folder(path):
    with pytest.raises(FileNotFoundError, match="no model folder"):
        DiT.from_pretrained(path)


def test_a_file_is_not_a_folder(folder):
    with pytest.raises(FileNotFoundError, match="no model folder"):
        DiT.from_pretrained(folder / "config.json")


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_failed_save_leaves_the_old_files_whole(folder, monkeypatch, broken):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="disk full"):
        make(seed=1).save_pretrained(folder)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_write_atomically(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file", b"three")


def test_content_is_complete_before_it_gets_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "file", []
    replace = os.replace

    def watch(source, target):
        with open(source, "rb") as file:
            seen.append((file.read(), path.exists()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    write_atomically(path, b"x" * 100_000)
    assert seen == [(b"x" * 100_000, False)]


@pytest.mark.parametrize("content", ["[1, 2]", "3", '"text"'])
def test_a_configuration_that_is_no_object_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json must hold a JSON object"):
        DiT.from_pretrained(tmp_path)


def test_a_missing_local_folder_does_not_go_to_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(FileNotFoundError, match="no model folder 'runs/model'"):
        DiT.from_pretrained("runs/model")


def test_files_can_be_read_by_others(tmp_path):
    write_atomically(tmp_path / "file", b"content")
    (tmp_path / "plain").write_bytes(b"content")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("change", [{"blocks": 2**40}, {"hidden_dim": 2**40}, {"vocab_size": 2**60}, {"heads": 2**62}])
def test_a_configuration_beyond_its_weights_is_refused_before_it_costs_anything(folder, change):
    """Its checksum fits: it was written so."""
    config = read_json(folder / "config.json")
    (folder / "config.json").write_bytes(to_json(config | change))
    with pytest.raises(UnreadableFile, match=r"config\.json: "):
        DiT.from_pretrained(folder)
