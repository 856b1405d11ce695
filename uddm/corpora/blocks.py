"""Token blocks on disk: a corpus cut once into sequences of equal length, with a fixed test set.

A folder holds `train.bin` and `test.bin`, memory-mapped arrays of token ids of shape (N, length), already
in the order of one seeded permutation, so the first n blocks are the training subset of size n, and
`index.json`, written last. The folder's name is a hash of everything that determines its content.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from uddm.corpora.corpus import Corpus
from uddm.corpora.packing import SPLITS, write_blocks
from uddm.corpora.tokenizers import Tokenizer
from uddm.files import default_cache_dir, write_atomically

Packing = Literal["stream", "sentences"]


def fractions() -> np.ndarray:
    """The 54 training-set sizes of arXiv 2604.26841 as fractions of LM1B, shape (54,), ascending in [1e-4, 1].

    0.01 + 0.03 k for k < 34, 17 evenly spaced in [1e-4, 0.01] and 7 in [0.01, 0.07], without repeats.
    """
    grids = (0.01 + 0.03 * np.arange(34), np.linspace(1e-4, 0.01, 17), np.linspace(0.01, 0.07, 7))
    return np.unique(np.concatenate(grids).round(8))


class TokenBlocks:
    """Blocks of token ids in a folder made by `prepare_blocks`.

    A file is read through and compared with its sha256 when it is opened for the first time; after that only
    if its size or time of modification has changed, or with `verify`.

    Attributes
    ----------
    directory : the folder.
    vocab_size, length : K and the number of tokens in a block.
    train_size, test_size : how many blocks there are.
    sha256 : of the training and the test blocks together.

    Raises FileNotFoundError for a folder without index, ValueError for an unreadable index or for blocks
    that differ from those written.
    """

    def __init__(self, directory: str | Path, *, verify: bool = False):
        self.directory = directory = Path(directory)
        try:
            index = json.loads((directory / "index.json").read_text())
            self.vocab_size: int = index["vocab_size"]
            self.length: int = index["length"]
            digests = index["train"]["sha256"] + index["test"]["sha256"]
            self.sha256 = hashlib.sha256(digests.encode()).hexdigest()
            checked = [_check(directory, index[split], verify) for split in SPLITS]
            self._train, self._test = (_map_blocks(directory, index, split) for split in SPLITS)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{directory / 'index.json'} is not a block index: {error}") from error
        if any(checked):
            with contextlib.suppress(OSError):  # a folder that cannot be written is checked every time
                _write_index(directory, index)

    def __reduce__(self) -> tuple[type[TokenBlocks], tuple[Path]]:
        return TokenBlocks, (self.directory,)  # what crosses to another process is where the blocks are

    @property
    def train_size(self) -> int:
        return len(self._train)

    @property
    def test_size(self) -> int:
        return len(self._test)

    def train(self, n: int | None = None, *, copy: bool = True) -> np.ndarray:
        """The first `n` training blocks (all for None), shape (n, length), int64.

        With `copy` False, a read-only view of the file, uint16 or uint32, of which only what is indexed is read:
        `train(copy=False)[rows].astype(np.int64)` is a batch. Subsets are nested: train(64) is train(512)[:64].
        Raises ValueError unless 1 <= n <= train_size.
        """
        return _prefix(self._train, n, copy, "training")

    def test(self, n: int | None = None, *, copy: bool = True) -> np.ndarray:
        """The first `n` test blocks (all for None), shape (n, length), int64; nested and viewed like `train`.

        Raises ValueError unless 1 <= n <= test_size.
        """
        return _prefix(self._test, n, copy, "test")

    def size_of(self, fraction: float) -> int:
        """floor(fraction * train_size), with `fraction` taken as the decimal it prints as: 0.29 of 100 is 29.

        Raises ValueError unless 0 < fraction <= 1 and the size is at least 1.
        """
        if not 0 < fraction <= 1:
            raise ValueError(f"`fraction` must lie in (0, 1], got {fraction}")
        size = math.floor(Fraction(str(float(fraction))) * self.train_size)
        if size < 1:
            raise ValueError(f"`fraction` must be at least 1/{self.train_size}, for one training block, got {fraction}")
        return size


def prepare_blocks(
    corpus: Corpus,
    tokenizer: Tokenizer,
    length: int,
    *,
    test: Corpus | None = None,
    cache_dir: str | Path | None = None,
    packing: Packing = "stream",
    test_fraction: float = 0.1,
    seed: int = 0,
) -> TokenBlocks:
    """Cut a corpus into blocks of `length` tokens, or open them where this was done before.

    The test blocks come from the corpus `test`, if there is one. Otherwise whole documents, taken in a seeded
    random order until they hold `test_fraction` of the characters, are held out. A block that repeats an earlier
    one is dropped, and so is a test block that occurs among the training blocks.

    A process killed at any moment and started again goes on after the last finished part of the text (a file, or
    some ten thousand documents in memory), and ends with the same bytes.

    Memory, whatever the size of the text: at most 200 MB, and 45 bytes for each block, and for each document 1 byte,
    or 17 where a fraction is held out: for LM1B, 0.6 GB. Disk: twice the size of the blocks while they are made.

    Parameters
    ----------
    length : tokens in a block, special tokens included.
    test : a corpus of test documents; then `test_fraction` is not used.
    cache_dir : where the folder of blocks is made; None for $UDDM_CACHE or ~/.cache/uddm.
    packing : "stream" puts the separator between documents and cuts. "sentences" ends every document,
        a sentence in LM1B, with the separator, cuts in length - 2, and adds BOS and EOS to each piece.
        Either way only the end of the whole stream is left over.
    test_fraction : in [0, 1).
    seed : of the choice of test documents and of the order of the blocks.

    Raises ValueError for arguments out of range, a tokenizer without the special tokens that `packing`
    needs, text that cannot be read (found before any work is done), or a corpus too short for one training block
    (and one test block, unless there is no test corpus and test_fraction is 0).
    """
    special = packing == "sentences"
    if packing not in ("stream", "sentences"):
        raise ValueError(f"`packing` must be 'stream' or 'sentences', got {packing!r}")
    if length <= 2 * special:
        raise ValueError(f"`length` must be at least {2 * special + 1} with packing {packing!r}, got {length}")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"`test_fraction` must be in [0, 1), got {test_fraction}")
    if special and None in (tokenizer.bos_id, tokenizer.eos_id, tokenizer.separator_id):
        raise ValueError("packing 'sentences' needs a tokenizer with BOS, EOS and separator tokens")

    key: dict[str, Any] = {
        "tokenizer": tokenizer.fingerprint,
        "length": length,
        "packing": packing,
        "test_fraction": test_fraction,
        "seed": seed,
        "text_sha256": corpus.sha256,
    }
    if test is not None:
        key |= {"test_fraction": None, "test_sha256": test.sha256}
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    directory = Path(default_cache_dir() if cache_dir is None else cache_dir) / f"blocks-{name}"
    work = directory / "unfinished"
    with contextlib.suppress(FileNotFoundError, ValueError):  # never made, half made, or damaged
        return _finished(directory, work)
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        with contextlib.suppress(FileNotFoundError, ValueError):  # another process has made it meanwhile
            return _finished(directory, work)
        (directory / "index.json").unlink(missing_ok=True)
        work.mkdir(exist_ok=True)
        corpora = [(corpus, test_fraction)] if test is None else [(corpus, 0.0), (test, 1.0)]
        try:
            written = write_blocks(directory, work, corpora, tokenizer, length, special=special, seed=seed)
        except ValueError:  # it would fail again
            shutil.rmtree(work, ignore_errors=True)
            raise
        index = {**key, "corpus": corpus.name, "vocab_size": tokenizer.vocab_size, **written}
        _write_index(directory, index)
        return _finished(directory, work)


def _finished(directory: Path, work: Path) -> TokenBlocks:
    blocks = TokenBlocks(directory)
    shutil.rmtree(work, ignore_errors=True)
    return blocks


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Only one process at a time makes the blocks of a folder; the system ends the lock of one that dies."""
    with (directory / ".lock").open("w") as lock:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_index(directory: Path, index: dict[str, Any]) -> None:
    write_atomically(directory / "index.json", json.dumps(index, indent=1).encode())


def _check(directory: Path, entry: dict[str, Any], verify: bool) -> bool:
    """Compare a file with its sha256, unless it still has the size and time of when that was last done.

    Returns whether the entry has changed.
    """
    path = directory / entry["file"]
    status = path.stat()
    seen = {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    if entry.get("seen") == seen and not verify:
        return False
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
            raise ValueError(f"{path} differs from what was written: its sha256 is not that of the index")
    changed = entry.get("seen") != seen
    entry["seen"] = seen
    return changed


def _map_blocks(directory: Path, index: dict[str, Any], split: str) -> np.ndarray:
    entry, dtype = index[split], np.dtype(index["dtype"])
    shape = (entry["blocks"], index["length"])
    return np.memmap(directory / entry["file"], dtype, mode="r", shape=shape) if shape[0] else np.empty(shape, dtype)


def _prefix(blocks: np.ndarray, n: int | None, copy: bool, what: str) -> np.ndarray:
    if n is None:
        n = len(blocks)
    elif not 1 <= n <= len(blocks):
        raise ValueError(f"`n` must be in [1, {len(blocks)}], the number of {what} blocks, got {n}")
    return np.array(blocks[:n], dtype=np.int64) if copy else np.asarray(blocks[:n])
