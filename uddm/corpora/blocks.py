"""Token blocks on disk: a corpus cut once into sequences of equal length, with a fixed held-out test set.

A folder holds `train.bin` and `test.bin`, memory-mapped arrays of token ids of shape (N, length), already
in the order of one seeded permutation, so the first n blocks are the training subset of size n, and
`index.json`, written last. The folder's name is a hash of everything that determines its content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from uddm.corpora.text import Corpus
from uddm.corpora.tokenizers import Tokenizer
from uddm.files import default_cache_dir, write_atomically

Packing = Literal["stream", "sentences"]

_DOCUMENTS, _TRAIN, _TEST = range(3)  # purposes of the random streams
_DOCUMENTS_AT_A_TIME = 1000


class TokenBlocks:
    """Blocks of token ids in a folder made by `prepare_blocks`.

    Attributes
    ----------
    vocab_size, length : K and the number of tokens in a block.
    train_size, test_size : how many blocks there are.
    sha256 : of the training and the test blocks together.

    Raises FileNotFoundError for a folder without index, ValueError for an unreadable index or for blocks
    that differ from those written.
    """

    def __init__(self, directory: str | Path):
        directory = Path(directory)
        try:
            index = json.loads((directory / "index.json").read_text())
            self.vocab_size: int = index["vocab_size"]
            self.length: int = index["length"]
            digests = index["train"]["sha256"] + index["test"]["sha256"]
            self.sha256 = hashlib.sha256(digests.encode()).hexdigest()
            dtype = np.dtype(index["dtype"])
            self._train = _map_blocks(directory, index["train"], dtype, self.length)
            self._test = _map_blocks(directory, index["test"], dtype, self.length)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{directory / 'index.json'} is not a block index: {error}") from error

    @property
    def train_size(self) -> int:
        return len(self._train)

    @property
    def test_size(self) -> int:
        return len(self._test)

    def train(self, n: int | None = None) -> np.ndarray:
        """The first `n` training blocks (all for None), shape (n, length), int64.

        Subsets are nested: train(64) is train(512)[:64]. Raises ValueError unless 1 <= n <= train_size.
        """
        return _prefix(self._train, n, "training")

    def test(self, n: int | None = None) -> np.ndarray:
        """The first `n` test blocks (all for None), shape (n, length), int64; nested like `train`.

        Raises ValueError unless 1 <= n <= test_size.
        """
        return _prefix(self._test, n, "test")


def prepare_blocks(
    corpus: Corpus,
    tokenizer: Tokenizer,
    length: int,
    *,
    cache_dir: str | Path | None = None,
    packing: Packing = "stream",
    test_fraction: float = 0.1,
    seed: int = 0,
) -> TokenBlocks:
    """Cut a corpus into blocks of `length` tokens, or open them where this was done before.

    Whole documents, taken in a seeded random order until they hold `test_fraction` of the characters,
    are held out; a block that repeats an earlier one is dropped, and so is a test block that occurs
    among the training blocks.

    Parameters
    ----------
    length : tokens in a block, special tokens included.
    cache_dir : where the folder of blocks is made; None for $UDDM_CACHE or ~/.cache/uddm.
    packing : "stream" puts the separator between documents and cuts. "sentences" ends every document,
        a sentence in LM1B, with the separator, cuts in length - 2, and adds BOS and EOS to each piece.
        Either way only the end of the whole stream is left over.
    test_fraction : in [0, 1).
    seed : of the choice of test documents and of the order of the blocks.

    Raises ValueError for arguments out of range, a tokenizer without the special tokens that `packing`
    needs, or a corpus too short for one training block (and one test block, if test_fraction > 0).
    """
    special = 2 if packing == "sentences" else 0
    if packing not in ("stream", "sentences"):
        raise ValueError(f"`packing` must be 'stream' or 'sentences', got {packing!r}")
    if length <= special:
        raise ValueError(f"`length` must be at least {special + 1} with packing {packing!r}, got {length}")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"`test_fraction` must be in [0, 1), got {test_fraction}")
    if special and None in (tokenizer.bos_id, tokenizer.eos_id, tokenizer.separator_id):
        raise ValueError("packing 'sentences' needs a tokenizer with BOS, EOS and separator tokens")

    key = {
        "tokenizer": tokenizer.fingerprint,
        "length": length,
        "packing": packing,
        "test_fraction": test_fraction,
        "seed": seed,
        "text_sha256": corpus.sha256,
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    directory = Path(default_cache_dir() if cache_dir is None else cache_dir) / f"blocks-{name}"
    try:
        return TokenBlocks(directory)
    except (FileNotFoundError, ValueError):  # never made, half made, or damaged
        directory.mkdir(parents=True, exist_ok=True)

    train_documents, test_documents = _split(corpus.documents, test_fraction, seed)
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")
    train = _pack(train_documents, tokenizer, length, packing, dtype)
    test = _pack(test_documents, tokenizer, length, packing, dtype)
    train, test = _without_repeats(train, test)
    for blocks, what, wanted in ((train, "training", True), (test, "test", test_fraction > 0)):
        if wanted and not len(blocks):
            raise ValueError(
                f"corpus {corpus.name!r} is too short for one {what} block of length {length}: it has "
                f"{len(corpus.documents)} documents, of which whole ones are held out for test"
            )

    train = train[np.random.default_rng([seed, _TRAIN]).permutation(len(train))]
    test = test[np.random.default_rng([seed, _TEST]).permutation(len(test))]
    index = {**key, "corpus": corpus.name, "vocab_size": tokenizer.vocab_size, "dtype": dtype.str}
    for split, blocks in (("train", train), ("test", test)):
        data = blocks.tobytes()
        write_atomically(directory / f"{split}.bin", data)
        index[split] = {
            "file": f"{split}.bin",
            "blocks": len(blocks),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    write_atomically(directory / "index.json", json.dumps(index, indent=1).encode())
    return TokenBlocks(directory)


def _split(documents: Sequence[str], test_fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Training and test documents, each in their original order."""
    order = np.random.default_rng([seed, _DOCUMENTS]).permutation(len(documents))
    sizes = np.array([len(document) for document in documents])
    before = np.cumsum(sizes[order]) - sizes[order]
    held_out = np.zeros(len(documents), dtype=bool)
    held_out[order] = before < test_fraction * sizes.sum()
    train = [document for document, test in zip(documents, held_out) if not test]
    test = [document for document, test in zip(documents, held_out) if test]
    return train, test


def _pack(documents: Sequence[str], tokenizer: Tokenizer, length: int, packing: Packing, dtype: np.dtype) -> np.ndarray:
    """Blocks of one stream of tokens, shape (N, length)."""
    pieces = [np.empty(0, dtype)]
    with tqdm(total=len(documents), desc="encoding", unit="document", disable=None) as progress:
        for start in range(0, len(documents), _DOCUMENTS_AT_A_TIME):
            batch = documents[start : start + _DOCUMENTS_AT_A_TIME]
            for ids in tokenizer.encode_batch(batch):
                if tokenizer.separator_id is not None:
                    ids = _ended(ids, tokenizer.separator_id)
                pieces.append(ids.astype(dtype))
            progress.update(len(batch))
    stream = np.concatenate(pieces)
    if packing == "stream":
        return _cut(stream, length)
    body = _cut(stream, length - 2)
    blocks = np.empty((len(body), length), dtype)
    blocks[:, 0], blocks[:, 1:-1], blocks[:, -1] = tokenizer.bos_id, body, tokenizer.eos_id
    return blocks


def _ended(ids: np.ndarray, separator: int) -> np.ndarray:
    """`ids` with exactly one separator at the end and none at the start; nothing if there is nothing else."""
    inner = np.flatnonzero(ids != separator)
    return np.append(ids[inner[0] : inner[-1] + 1], separator) if inner.size else ids[:0]


def _cut(stream: np.ndarray, length: int) -> np.ndarray:
    n = len(stream) // length
    return stream[: n * length].reshape(n, length)


def _without_repeats(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both without any block that occurs earlier, the training blocks counting as before the test blocks."""
    blocks = np.ascontiguousarray(np.concatenate([train, test]))
    rows = blocks.view(np.dtype((np.void, blocks.dtype.itemsize * blocks.shape[1]))).ravel()
    first = np.sort(np.unique(rows, return_index=True)[1])
    return blocks[first[first < len(train)]], blocks[first[first >= len(train)]]


def _map_blocks(directory: Path, entry: dict, dtype: np.dtype, length: int) -> np.ndarray:
    path = directory / entry["file"]
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
            raise ValueError(f"{path} differs from what was written: its sha256 is not that of the index")
    shape = (entry["blocks"], length)
    return np.memmap(path, dtype, mode="r", shape=shape) if entry["blocks"] else np.empty(shape, dtype)


def _prefix(blocks: np.ndarray, n: int | None, what: str) -> np.ndarray:
    if n is None:
        n = len(blocks)
    elif not 1 <= n <= len(blocks):
        raise ValueError(f"`n` must be in [1, {len(blocks)}], the number of {what} blocks, got {n}")
    return np.array(blocks[:n], dtype=np.int64)
