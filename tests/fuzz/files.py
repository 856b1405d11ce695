"""Files and folders of every kind that is read, small and as they should be."""

import functools
import json
import tempfile
from pathlib import Path

import torch

from tests.uddm.importers import published_files
from uddm import corpora
from uddm.denoisers import HollowMLP, HollowMLPConfig

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
LETTERS = corpora.CharacterTokenizer()
SUBWORDS = corpora.train_bpe(["one two three"], 260)
CORPUS = corpora.Corpus("one", ["one two three four", "five six seven"])
SMALL = {"hidden_dim": 4, "cond_dim": 4, "blocks": 1}


def folder() -> Path:
    return Path(tempfile.mkdtemp(dir=FOLDER))


def text_file(text: str, name: str = "text.txt") -> Path:
    path = folder() / name
    path.write_text(text)
    return path


@functools.cache
def blocks() -> corpora.TokenBlocks:
    return corpora.prepare_blocks(CORPUS, LETTERS, 4, cache_dir=folder())


@functools.cache
def tokenizer_file() -> Path:
    path = folder() / "tokenizer.json"
    LETTERS.save(path)
    return path


def network() -> HollowMLP:
    torch.manual_seed(0)
    return HollowMLP(HollowMLPConfig(4, length=4, embed_dim=4, **SMALL)).eval()


@functools.cache
def pretrained() -> Path:
    path = folder() / "model"
    network().save_pretrained(path)
    return path


@functools.cache
def published() -> Path:
    """A checkpoint of the authors' layout, as the tests of the importers make it."""
    return published_files.hub_folder(folder() / "hub")


def gpt2_files() -> dict[str, Path]:
    model = json.loads(SUBWORDS.backend.to_str())["model"]
    where = folder()
    (where / "encoder.json").write_text(json.dumps(model["vocab"]))
    (where / "vocab.bpe").write_text("\n".join(["#version: 0.2", *map(" ".join, model["merges"]), ""]))
    return {"encoder_json": where / "encoder.json", "vocab_bpe": where / "vocab.bpe"}
