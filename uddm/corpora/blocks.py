"""Token blocks on disk: a corpus cut once into sequences of equal length, with a fixed test set.

A folder holds `train.bin` and `test.bin`, memory-mapped arrays of token ids of shape (N, length), already
in the order of one seeded permutation, so the first n blocks are the training subset of size n, and
`index.json`, written last. The folder's name is a hash of everything that determines its content.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer

from uddm._validation import check_choice, check_flag, check_kind, check_number, check_positive_int, check_seed
from uddm.choices import Packing
from uddm.corpora.corpus import Corpus
from uddm.corpora.packing import SPLITS, sha256_of, write_blocks
from uddm.corpora.tokenizers import Tokenizer
from uddm.files import UnreadableFile, as_path, default_cache_dir, locked, read_json, to_json, write_atomically

_seen_whole: set[tuple[object, ...]] = set()  # files that this process has compared with their sha256


def fractions() -> Float64[np.ndarray, " 54"]:
    """The 54 training-set sizes of arXiv 2604.26841 as fractions of LM1B, shape (54,), ascending in [1e-4, 1].

    0.01 + 0.03 k for k < 34, 17 evenly spaced in [1e-4, 0.01] and 7 in [0.01, 0.07], without repeats.
    """
    grids = (0.01 + 0.03 * np.arange(34), np.linspace(1e-4, 0.01, 17), np.linspace(0.01, 0.07, 7))
    return np.unique(np.concatenate(grids).round(8))


class TokenBlocks:
    """Blocks of token ids in a folder made by `prepare_blocks`.

    A file is read through and compared with its sha256 when a process opens it for the first time; after that only
    if it is another file, or its size or time of modification has changed, or with `verify`.

    Parameters
    ----------
    directory : the folder
    verify : compare the sha256 again in any case; default False

    Attributes
    ----------
    directory : the folder
    vocab_size, length : K and the number of tokens in a block
    train_size, test_size : how many blocks there are
    sha256 : of the training and the test blocks together

    Raises
    ------
    FileNotFoundError : the folder lacks a file
    UnreadableFile : a ValueError; an index or blocks that differ from those written, which `prepare_blocks` makes again

    Examples
    --------
    >>> import tempfile
    >>> from uddm.corpora import CharacterTokenizer, Corpus, TokenBlocks, prepare_blocks
    >>> corpus = Corpus("alphabet", ["abcdefghijkl", "mnopqrstuvwx"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     directory = prepare_blocks(corpus, CharacterTokenizer(), 4, test_fraction=0.0, cache_dir=folder).directory
    ...     blocks = TokenBlocks(directory)
    ...     blocks.train_size, blocks.test_size, blocks.train(2).shape, blocks.size_of(0.5)
    (6, 0, (2, 4), 3)
    """

    def __init__(self, directory: str | Path, *, verify: bool = False):
        self.directory = directory = as_path("directory", directory)
        check_flag("verify", verify)
        index = read_json(directory / "index.json")
        try:
            self.vocab_size, self.length = (_count(index[name]) for name in ("vocab_size", "length"))
            dtype = {"<u2": np.dtype("<u2"), "<u4": np.dtype("<u4")}[index["dtype"]]
            digests, sizes = ([index[split][what] for split in SPLITS] for what in ("sha256", "blocks"))
            self.sha256 = hashlib.sha256("".join(digests).encode()).hexdigest()
            shapes = [(_count(size), self.length) for size in sizes]
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableFile(f"{directory / 'index.json'} is not a block index: {error!r}") from error
        self._train, self._test = (
            _open_blocks(directory / f"{split}.bin", digest, dtype, shape, verify)
            for split, digest, shape in zip(SPLITS, digests, shapes)
        )

    def __reduce__(self) -> tuple[type[TokenBlocks], tuple[Path]]:
        return TokenBlocks, (self.directory,)  # what crosses to another process is where the blocks are

    @property
    def train_size(self) -> int:
        """Number of training blocks."""
        return len(self._train)

    @property
    def test_size(self) -> int:
        """Number of test blocks."""
        return len(self._test)

    def train(self, n: int | None = None, *, copy: bool = True) -> Integer[np.ndarray, "n {self.length}"]:
        """The first training blocks. Subsets are nested: train(64) is train(512)[:64].

        Parameters
        ----------
        n : how many, in [1, train_size]; None, the default, for all
        copy : with False, a read-only view of the file, uint16 or uint32, of which only what is indexed is read:
            `train(copy=False)[rows].astype(np.int64)` is a batch; default True

        Returns
        -------
        (n, length) ids, int64

        Raises
        ------
        ValueError : n out of range
        """
        return _prefix(self._train, n, copy, "training")

    def test(self, n: int | None = None, *, copy: bool = True) -> Integer[np.ndarray, "n {self.length}"]:
        """The first test blocks, nested like those of `train`.

        Parameters
        ----------
        n : how many, in [1, test_size]; None, the default, for all
        copy : as for `train`

        Returns
        -------
        (n, length) ids, int64

        Raises
        ------
        ValueError : n out of range
        """
        return _prefix(self._test, n, copy, "test")

    def size_of(self, fraction: float) -> int:
        """floor(fraction * train_size), the size of a training subset.

        Parameters
        ----------
        fraction : in (0, 1], taken as the decimal it prints as: 0.29 of 100 is 29

        Raises
        ------
        ValueError : `fraction` is out of range, or leaves no block
        """
        check_number("fraction", fraction, low=0, high=1, closed="]")
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
    some ten thousand documents in memory), and ends with the same bytes. Blocks that have been damaged since are made
    again, and a line on stderr says so.

    Memory, whatever the size of the text: at most 200 MB, and 45 bytes for each block, and for each document 1 byte,
    or 17 where a fraction is held out: for LM1B, 0.6 GB. To this comes three times the longest document, or up to 200
    bytes a character where a tokenizer cannot encode it in pieces (see `Tokenizer.encode_pieces`). Disk: twice the size
    of the blocks while they are made.

    Parameters
    ----------
    corpus : the training documents, and those held out
    tokenizer : of its text; it must have the special tokens that `packing` needs
    length : tokens in a block, special tokens included, >= 1, or >= 3 for "sentences"
    test : a corpus of test documents, with which `test_fraction` is not used; None, the default, to hold some out
    cache_dir : where the folder of blocks is made; None, the default, for $UDDM_CACHE or ~/.cache/uddm
    packing : "stream", the default, puts the separator between documents and cuts. "sentences" ends every document,
        a sentence in LM1B, with the separator, cuts in length - 2, and adds BOS and EOS to each piece.
        Either way only the end of the whole stream is left over.
    test_fraction : of the characters, in [0, 1), held out; default 0.1
    seed : of the choice of test documents and of the order of the blocks; default 0

    Returns
    -------
    TokenBlocks

    Raises
    ------
    ValueError : arguments out of range, a tokenizer without the special tokens that `packing` needs or with ids outside
        [0, vocab_size), text that cannot be read (found before any work is done), or a corpus too short for one
        training block (and one test block, unless there is no test corpus and test_fraction is 0)

    Examples
    --------
    >>> import tempfile
    >>> from uddm.corpora import CharacterTokenizer, Corpus, prepare_blocks
    >>> training, test = Corpus("start", ["abcdefghijkl"]), Corpus("end", ["uvwxyz"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     blocks = prepare_blocks(training, CharacterTokenizer(), 3, test=test, cache_dir=folder)
    ...     sorted(blocks.train().tolist()), blocks.test_size
    ([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]], 2)
    """
    special = check_choice("packing", packing, ("stream", "sentences")) == "sentences"
    check_kind("corpus", corpus, Corpus)
    check_kind("tokenizer", tokenizer, Tokenizer)
    if test is not None:
        check_kind("test", test, Corpus)
    if check_positive_int("length", length) <= 2 * special:
        raise ValueError(f"`length` must be at least {2 * special + 1} with packing {packing!r}, got {length}")
    test_fraction = check_number("test_fraction", test_fraction, low=0, high=1, closed="[")
    if length >= 2**31:
        raise ValueError(f"`length` must be below 2^31, got {length}")
    length, seed = int(length), check_seed("seed", seed)
    if special and None in (tokenizer.bos_id, tokenizer.eos_id, tokenizer.separator_id):
        raise ValueError("packing 'sentences' needs a tokenizer with BOS, EOS and separator tokens")
    for name in ("bos_id", "eos_id", "separator_id"):
        if (token := getattr(tokenizer, name)) is not None and not 0 <= token < tokenizer.vocab_size:
            raise ValueError(f"`tokenizer` must have a {name} in [0, {tokenizer.vocab_size}), got {token}")

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
    directory = (default_cache_dir() if cache_dir is None else as_path("cache_dir", cache_dir)) / f"blocks-{name}"
    work = directory / "unfinished"
    if (blocks := _finished(directory, work)) is not None:
        return blocks
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / ".lock", f"prepares {directory}"):
        if (blocks := _finished(directory, work)) is not None:  # another process has made it meanwhile
            return blocks
        if (directory / "index.json").exists():
            print(f"{directory} is damaged: made again", file=sys.stderr, flush=True)
        (directory / "index.json").unlink(missing_ok=True)
        work.mkdir(exist_ok=True)
        corpora = [(corpus, test_fraction)] if test is None else [(corpus, 0.0), (test, 1.0)]
        try:
            written = write_blocks(directory, work, corpora, tokenizer, length, special=special, seed=seed)
        except ValueError:  # it would fail again
            shutil.rmtree(work, ignore_errors=True)
            raise
        index = {**key, "corpus": corpus.name, "vocab_size": tokenizer.vocab_size, **written}
        write_atomically(directory / "index.json", to_json(index))
        blocks = TokenBlocks(directory)
        shutil.rmtree(work, ignore_errors=True)
        return blocks


def _finished(directory: Path, work: Path) -> TokenBlocks | None:
    """The blocks of a folder, unless they were never made, half made, or are damaged."""
    try:
        blocks = TokenBlocks(directory)
    except (FileNotFoundError, ValueError):
        return None
    shutil.rmtree(work, ignore_errors=True)
    return blocks


def _open_blocks(path: Path, sha256: str, dtype: np.dtype, shape: tuple[int, int], verify: bool) -> np.ndarray:
    """A view of a file that is whole."""
    status = path.stat()
    seen = (path.resolve(), sha256, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)
    right_size = status.st_size == math.prod(shape) * dtype.itemsize
    if not right_size or ((verify or seen not in _seen_whole) and sha256_of(path) != sha256):
        raise UnreadableFile(f"{path} differs from what was written: its size or sha256 is not that of the index")
    _seen_whole.add(seen)
    return np.memmap(path, dtype, mode="r", shape=shape) if shape[0] else np.empty(shape, dtype)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _prefix(blocks: np.ndarray, n: int | None, copy: bool, what: str) -> np.ndarray:
    check_flag("copy", copy)
    if n is None:
        n = len(blocks)
    elif not check_positive_int("n", n) <= len(blocks):
        raise ValueError(f"`n` must be in [1, {len(blocks)}], the number of {what} blocks, got {n}")
    return np.array(blocks[:n], dtype=np.int64) if copy else np.asarray(blocks[:n])
