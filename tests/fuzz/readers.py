"""Readers of files of strangers, as functions of bytes: each reads them, or refuses by an error that names the file."""

import json
import random
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bridges.embeddings import read_analogies
from tests.fuzz import files
from tests.uddm.importers import published_files
from uddm import corpora
from uddm.checkpoints import read_tensors
from uddm.denoisers import Network
from uddm.files import UnreadableFile
from uddm.importers import inspect_published
from uddm.importers._pickle import plain, read_pickle

FOLDER = files.folder()


def written(data: bytes, name: str) -> Path:
    path = FOLDER / name
    path.write_bytes(data)
    return path


def without_checksum(path: Path) -> bytes:
    """The JSON of a file without its checksum, which no change would pass."""
    said = json.loads(path.read_bytes())
    said.pop("checksum", None)
    return json.dumps(said).encode()


def checkpoint(data: bytes) -> Any:
    return inspect_published(written(data, "model.ckpt"))


def pickled(data: bytes) -> Any:
    """The pickle of a checkpoint, in an archive that is whole."""
    with zipfile.ZipFile(written(samples("checkpoint")[0], "whole.ckpt")) as whole:
        content = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(FOLDER / "pickle.ckpt", "w") as archive:
        for name, value in content.items():
            archive.writestr(name, data if name.endswith("/data.pkl") else value)
    with suppress(ValueError):
        plain(read_pickle(data))
    return inspect_published(FOLDER / "pickle.ckpt")


def safetensors(data: bytes) -> Any:
    return read_tensors(written(data, "model.safetensors"))


def configuration(data: bytes) -> Any:
    """`config.json` beside weights that are as they were."""
    folder = FOLDER / "model"
    if not folder.exists():
        files.network().save_pretrained(folder)
    (folder / "config.json").write_bytes(data)
    return Network.from_pretrained(folder)


def tokenizer(data: bytes) -> Any:
    read = corpora.read_tokenizer(written(data, "tokenizer.json"))
    return read.encode("one two"), read.decode([0])


def vocabulary(data: bytes) -> Any:
    return corpora.read_tokenizer(written(data, "vocab.txt")).encode("one two")


def merges(data: bytes) -> Any:
    folder = files.gpt2_files()
    folder["vocab_bpe"].write_bytes(data)
    return corpora.gpt2_tokenizer(**folder).encode("one two")


def text(data: bytes) -> Any:
    corpus = corpora.load_corpus(written(data, "text.txt"))
    return corpus.sha256, list(corpus.documents)


def tarball(data: bytes) -> Any:
    return list(corpora.load_lm1b(written(data, "lm1b.tar.gz")).documents)


def blocks(data: bytes) -> Any:
    """The index of stored token blocks that are as they were."""
    folder = files.blocks().directory
    kept = (folder / "index.json").read_bytes()
    try:
        (folder / "index.json").write_bytes(data)
        return corpora.TokenBlocks(folder).train()
    finally:
        (folder / "index.json").write_bytes(kept)


def analogies(data: bytes) -> Any:
    return read_analogies(written(data, "questions.txt"))


def torch_bytes() -> bytes:
    path = FOLDER / "seed.ckpt"
    torch.save(published_files.checkpoint(), path)
    return path.read_bytes()


def _pickle_bytes() -> bytes:
    written(torch_bytes(), "seed.ckpt")
    with zipfile.ZipFile(FOLDER / "seed.ckpt") as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def _safetensors_bytes() -> bytes:
    save_file(
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}, FOLDER / "seed.safetensors"
    )
    return (FOLDER / "seed.safetensors").read_bytes()


def _tarball_bytes() -> bytes:
    from tests.uddm.test_lm1b import write_tarball

    write_tarball(FOLDER / "seed.tar.gz", {"x/news.en-00001-of-00100": ["one two .", "three ."]})
    return (FOLDER / "seed.tar.gz").read_bytes()


def _saved(made: corpora.Tokenizer) -> bytes:
    made.save(FOLDER / "seed.json")
    return without_checksum(FOLDER / "seed.json")


# the readers, and what a file of theirs is like
READERS: dict[str, tuple[Callable[[bytes], Any], Callable[[], list[bytes]]]] = {
    "checkpoint": (checkpoint, lambda: [torch_bytes()]),
    "pickle": (pickled, lambda: [_pickle_bytes()]),
    "safetensors": (safetensors, lambda: [_safetensors_bytes()]),
    "configuration": (configuration, lambda: [without_checksum(files.pretrained() / "config.json")]),
    "tokenizer": (tokenizer, lambda: [_saved(files.LETTERS), _saved(corpora.ByteTokenizer()), _saved(files.SUBWORDS)]),
    "vocabulary": (vocabulary, lambda: [b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\none\ntwo\n##o\n"]),
    "merges": (merges, lambda: [files.gpt2_files()["vocab_bpe"].read_bytes()]),
    "text": (text, lambda: ["One two.\n\nDrei fünf.\r\n\tend".encode()]),
    "tarball": (tarball, lambda: [_tarball_bytes()]),
    "blocks": (blocks, lambda: [without_checksum(files.blocks().directory / "index.json")]),
    "analogies": (analogies, lambda: [b": capitals\nParis France Rome Italy\n"]),
}


@cache
def samples(reader: str) -> list[bytes]:
    return READERS[reader][1]()


def read(reader: str, data: bytes) -> bool:
    """Whether a reader takes the bytes; any other error than one that it may raise comes through."""
    try:
        READERS[reader][0](data)
    except (UnreadableFile, OSError, ValueError) as error:
        named = any(str(name) in str(error) for name in (files.FOLDER, "text.txt", "lm1b.tar.gz"))
        if not (named or isinstance(error, OSError)):
            raise AssertionError(f"{reader}: {error} names no file") from error
        return False
    return True


NUMBERS = (b"0", b"-1", b"1e999", b"NaN", b"2147483648", b"9" * 40, b"null", b"[]", b"{}", b'""', b"true", b'"\\ud800"')
BYTES = (
    b"\0",
    b"\xff",
    b"\x80",
    b"\n",
    b'"',
    b"\\",
    b"{",
    b"]",
    struct.pack("<Q", 2**63),
    struct.pack("<I", 2**32 - 1),
)


def changed(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a few damages: bits, pieces left out, doubled, swapped or replaced, and numbers of JSON."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not data:
            break
        at, n = rng.randrange(len(data)), rng.choice((1, 1, 2, 4, 16, 64))
        match rng.randrange(6):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + n]
            case 2:
                data[at:at] = data[at : at + n]
            case 3:
                data[at : at + n] = rng.choice(BYTES)
            case 4:
                del data[at:]
            case 5:
                digits = [i for i in range(len(data)) if chr(data[i]).isdigit()]
                if digits:
                    start = stop = rng.choice(digits)
                    while stop < len(data) and chr(data[stop]).isdigit():
                        stop += 1
                    data[start:stop] = rng.choice(NUMBERS)
    return bytes(data)
