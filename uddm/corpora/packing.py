"""Making token blocks: encode, cut, drop repeats, shuffle; bounded in memory and resumable.

Every part of a corpus (a file, or some ten thousand documents in memory) becomes two files of token ids, for training
and for testing, and then a record with their sha256: a part with a record is not encoded again. Blocks are cut from
these files laid end to end, repeats are found by hash, and the shuffled blocks are written window by window.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from uddm.corpora.corpus import Corpus
from uddm.corpora.tokenizers import Tokenizer
from uddm.files import naming, read_json, to_json, write_atomically

SPLITS = ("train", "test")

_DOCUMENTS, *_ORDERS = range(3)  # purposes of the random streams: choice of test documents, order of each split
_DOCUMENTS_AT_A_TIME = 1000
_CHARACTERS_AT_A_TIME = 2**20
_READ = 2**23  # bytes of token ids read at a time
_WINDOW = 2**27  # bytes of shuffled blocks in memory; all token ids are read once for each window


def write_blocks(
    directory: Path,
    work: Path,
    corpora: Sequence[tuple[Corpus, float]],
    tokenizer: Tokenizer,
    length: int,
    *,
    special: bool,
    seed: int,
) -> dict[str, Any]:
    """Write train.bin and test.bin, and return what the index says of them.

    Parameters
    ----------
    work : folder of the token ids, where finished parts are found again.
    corpora : each with the share of its characters that is held out for testing, in [0, 1].
    special : whether each block begins with BOS and ends with EOS.

    Raises ValueError for too short a text, or ids outside [0, vocab_size).
    """
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")
    held_out = [_held_out(corpus, share, seed) for corpus, share in corpora]
    stems = []
    for number, ((corpus, _), flags) in enumerate(zip(corpora, held_out)):
        _encode(corpus, flags, tokenizer, dtype, work / str(number))
        stems += [work / str(number) / key for key in sorted(flags)]
    streams = [_Stream([_tokens(stem, split) for stem in stems], dtype, length - 2 * special) for split in SPLITS]
    kept = _without_repeats(*streams)
    for blocks, what, (corpus, share), flags in (
        (kept[0], "training", corpora[0], held_out[0]),
        (kept[1], "test", corpora[-1], held_out[-1]),
    ):
        if not len(blocks) and (what == "training" or share > 0):
            raise ValueError(_too_short(corpus, share, sum(map(len, flags.values())), what, length))

    frame = (tokenizer.bos_id, tokenizer.eos_id) if special else ()
    index: dict[str, Any] = {"dtype": dtype.str}
    for split, stream, blocks, purpose in zip(SPLITS, streams, kept, _ORDERS):
        order = blocks[np.random.default_rng([seed, purpose]).permutation(len(blocks))]
        with _TokenFile(directory / f"{split}.bin", work, dtype) as file:
            _write_in_order(file, stream, order, frame)
        index[split] = {"file": f"{split}.bin", "blocks": len(blocks), "sha256": file.sha256}
    return index


def _too_short(corpus: Corpus, share: float, documents: int, what: str, length: int) -> str:
    if documents == 1 and 0 < share < 1:
        return (
            f"corpus {corpus.name!r} is one document, and whole documents are held out for test: blank lines separate "
            "documents, so put some into the text; or give a test corpus of its own, or a test fraction of 0"
        )
    whole = ", of which whole ones are held out for test" if 0 < share < 1 else ""
    repeats = ", and test blocks that also are training blocks are left out" if what == "test" else ""
    return (
        f"corpus {corpus.name!r} is too short for one {what} block of `length` {length}: "
        f"it has {documents} documents{whole}{repeats}"
    )


def _held_out(corpus: Corpus, share: float, seed: int) -> dict[str, np.ndarray]:
    """For each part of the corpus, which of its documents are for testing, shape (documents,), bool.

    All of the text is read, so that whatever is wrong with it is found before any work is done.
    """
    parts = tqdm(corpus.parts(clean=0 < share < 1), desc="reading", unit=" parts", disable=None)
    if share in (0, 1):
        return {key: np.full(sum(1 for _ in documents), bool(share)) for key, documents in parts}
    sizes_of = {key: np.fromiter(map(len, documents), np.int32) for key, documents in parts}
    keys = sorted(sizes_of)
    ends = np.cumsum([len(sizes_of[key]) for key in keys])
    sizes = np.concatenate([sizes_of.pop(key) for key in keys])
    order = np.random.default_rng([seed, _DOCUMENTS]).permutation(len(sizes))
    wanted, before = share * sizes.sum(dtype=np.int64), 0
    held_out = np.zeros(len(sizes), dtype=bool)
    for some in np.array_split(order, len(order) // 2**20 + 1):
        held_out[some] = before + np.cumsum(sizes[some], dtype=np.int64) - sizes[some] < wanted
        before += sizes[some].sum(dtype=np.int64)
    return dict(zip(keys, np.split(held_out, ends[:-1])))


def _tokens(stem: Path, split: str) -> Path:
    """The file of token ids of a part."""
    return stem.with_name(f"{stem.name}.{split}.bin")


def _encode(corpus: Corpus, held_out: dict[str, np.ndarray], tokenizer: Tokenizer, dtype: np.dtype, work: Path) -> None:
    """Write the token ids of every part, and then its record, unless they are whole already."""
    work.mkdir(exist_ok=True)
    total = sum(map(len, held_out.values()))
    changed = ValueError(f"corpus {corpus.name!r} has changed while it was read")
    missing = set(held_out)
    with tqdm(total=total, desc="encoding", unit=" documents", unit_scale=True, disable=None) as progress:
        for key, documents in corpus.parts():
            if key not in missing:
                raise changed
            missing.remove(key)
            flags, record = held_out[key], work / f"{key}.json"
            paths = [_tokens(work / key, split) for split in SPLITS]
            if _is_whole(record, paths):
                progress.update(len(flags))
                continue
            with _TokenFile(paths[0], work, dtype) as train, _TokenFile(paths[1], work, dtype) as test:
                done = 0
                for batch in _batches(documents):
                    for pieces, is_test in zip(_encoded(batch, tokenizer), flags[done:]):
                        for ids in ended(pieces, tokenizer.separator_id):
                            (test if is_test else train).write(ids)
                    done += len(batch)
                    progress.update(len(batch))
                if done != len(flags):
                    raise changed
            sha256 = {path.name: file.sha256 for path, file in zip(paths, (train, test))}
            write_atomically(record, to_json(sha256))
    if missing:
        raise changed


def _is_whole(record: Path, paths: Sequence[Path]) -> bool:
    """Whether the files of a part are those of its record."""
    try:
        sha256 = read_json(record)
        return all(sha256_of(path) == sha256.get(path.name) for path in paths)
    except (FileNotFoundError, ValueError):
        return False


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """Some documents at a time; a long one is alone."""
    batch, characters = [], 0
    for document in documents:
        if batch and (len(batch) == _DOCUMENTS_AT_A_TIME or characters + len(document) > _CHARACTERS_AT_A_TIME):
            yield batch
            batch, characters = [], 0
        batch.append(document)
        characters += len(document)
    if batch:
        yield batch


def _encoded(batch: Sequence[str], tokenizer: Tokenizer) -> Iterator[Iterable[np.ndarray]]:
    """The ids of each document, in pieces; ValueError for ids that the tokenizer should not have."""
    if sum(map(len, batch)) > _CHARACTERS_AT_A_TIME:
        yield (_within(ids, tokenizer) for ids in tokenizer.encode_pieces(batch[0]))
    else:
        encoded = tokenizer.encode_batch(batch)
        _within(np.concatenate(encoded), tokenizer)
        yield from ([ids] for ids in encoded)


def _within(ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    if ids.size and (ids.min() < 0 or ids.max() >= tokenizer.vocab_size):
        raise ValueError(
            f"`tokenizer` must give ids in [0, {tokenizer.vocab_size}), its `vocab_size`, "
            f"got ids in [{ids.min()}, {ids.max()}]"
        )
    return ids


def ended(pieces: Iterable[np.ndarray], separator: int | None) -> Iterator[np.ndarray]:
    """The ids of a document with exactly one separator at the end and none at the start; none if it has no others."""
    if separator is None:
        yield from pieces
        return
    last, separators = None, 0  # what may be the end of the document, and how many separators follow it
    for ids in pieces:
        inner = np.flatnonzero(ids != separator)
        if not inner.size:
            separators += ids.size
            continue
        if last is not None:
            yield np.append(last, np.full(separators, separator))
        stop = inner[-1] + 1
        last, separators = ids[inner[0] if last is None else 0 : stop], ids.size - stop
    if last is not None:
        yield np.append(last, separator)


class _TokenFile:
    """A file of token ids, written piece by piece; on leaving the context it gets its name, or after an error goes."""

    def __init__(self, path: Path, work: Path, dtype: np.dtype):
        self._path, self._dtype = path, dtype
        self._temporary = work / f"{path.name}.{secrets.token_hex(4)}"
        self._digest = hashlib.sha256()

    def __enter__(self) -> _TokenFile:
        with naming(self._path):
            self._file = self._temporary.open("xb")
        return self

    def write(self, ids: np.ndarray) -> None:
        data = np.ascontiguousarray(ids, self._dtype).data
        with naming(self._path):
            self._file.write(data)
        self._digest.update(data)

    def __exit__(self, error: object, *_: object) -> None:
        try:
            if error is None:
                with naming(self._path):
                    self._file.flush()
                    os.fsync(self._file.fileno())
                    self._file.close()
                    os.replace(self._temporary, self._path)
        finally:
            with contextlib.suppress(OSError):  # what is still to be written does not matter after an error
                self._file.close()
            self._temporary.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


@dataclass(frozen=True)
class _Stream:
    """Files of token ids laid end to end and cut in rows of `width`; what is left over at the end is dropped."""

    files: Sequence[Path]
    dtype: np.dtype
    width: int

    def __len__(self) -> int:
        return sum(file.stat().st_size for file in self.files) // (self.dtype.itemsize * self.width)

    def pieces(self) -> Iterator[tuple[int, np.ndarray]]:
        """The rows in order, some at a time, each time with the number of the first."""
        first, rest = 0, np.empty(0, self.dtype)
        for path in self.files:
            with path.open("rb") as file:
                while (ids := np.fromfile(file, self.dtype, _READ // self.dtype.itemsize)).size:
                    ids = np.concatenate([rest, ids])
                    n = len(ids) // self.width
                    yield first, ids[: n * self.width].reshape(n, self.width)
                    first, rest = first + n, ids[n * self.width :]


def _without_repeats(*streams: _Stream) -> list[np.ndarray]:
    """For each stream, which of its rows occur neither earlier in it nor in an earlier stream, ascending.

    Rows are compared by 128 bits of BLAKE2b: for 7 million rows, two different ones are taken for equal with
    probability 1e-25.
    """
    sizes = [len(stream) for stream in streams]
    digests = np.empty((sum(sizes), 2), np.uint64)
    for start, stream in zip(np.cumsum([0, *sizes]), streams):
        row_bytes = stream.dtype.itemsize * stream.width
        for first, rows in stream.pieces():
            data = rows.tobytes()
            each = (data[i : i + row_bytes] for i in range(0, len(data), row_bytes))
            hashes = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in each)
            digests[start + first : start + first + len(rows)] = np.frombuffer(hashes, np.uint64).reshape(-1, 2)
    order = np.lexsort(digests.T)  # stable: among equal rows, the first comes first
    new = np.ones(len(digests), dtype=bool)
    digests = digests[order]
    new[order[1:]] = (digests[1:] != digests[:-1]).any(1)
    return [np.flatnonzero(part) for part in np.split(new, np.cumsum(sizes)[:-1])]


def _write_in_order(file: _TokenFile, stream: _Stream, order: np.ndarray, frame: Sequence[int | None]) -> None:
    """Write the rows of the stream with the given numbers, each between the two tokens of `frame`, if any."""
    length = stream.width + len(frame)
    window = max(1, _WINDOW // (stream.dtype.itemsize * length))
    for start in range(0, len(order), window):
        wanted = order[start : start + window]
        by_row = np.argsort(wanted)
        ascending = wanted[by_row]
        blocks = np.empty((len(wanted), length), stream.dtype)
        body = blocks[:, 1:-1] if frame else blocks
        if frame:
            blocks[:, 0], blocks[:, -1] = frame
        for first, rows in stream.pieces():
            here = slice(*np.searchsorted(ascending, (first, first + len(rows))))
            body[by_row[here]] = rows[ascending[here] - first]
        file.write(blocks)
