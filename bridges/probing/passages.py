"""Texts as passages of the length that a model takes, and which of their tokens count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from bridges.system import MemorySystem, as_tokens

if TYPE_CHECKING:
    from uddm.corpora import Tokenizer


class Passages(NamedTuple):
    """Passages in an order in which any first n are a random choice, from as many documents as possible.

    Parameters
    ----------
    tokens : (N, L) int64 ids
    counted : (N, L) bool, which of them are in the statistics: special tokens are not
    document : (N,) int64, the document that each is from, by its number among those given, from 0; of documents that
        were joined, that of the first
    short : documents that fill no passage, not even together
    given : documents that there were

    Examples
    --------
    >>> from bridges.probing.passages import passages_of
    >>> from uddm.corpora import ByteTokenizer
    >>> found = passages_of("suspect", ["abcdefgh", "ij", "kl"], 4, tokenizer=ByteTokenizer(), rng=0)
    >>> sorted(ByteTokenizer().decode(row) for row in found.tokens)
    ['abcd', 'efgh', 'ij\\nk']
    """

    tokens: Int64[np.ndarray, "N L"]
    counted: Bool[np.ndarray, "N L"]
    document: Int64[np.ndarray, " N"]
    short: int
    given: int

    def rows(self, chosen: slice | Bool[np.ndarray, " N"]) -> Passages:
        """Some of them, by a slice or a mask (N,)."""
        return self._replace(tokens=self.tokens[chosen], counted=self.counted[chosen], document=self.document[chosen])


def passages_of(
    name: str,
    texts: Any,
    length: int,
    *,
    system: MemorySystem | None = None,
    tokenizer: Tokenizer | None = None,
    framed: bool = False,
    limit: int = 500,
    rng: int | np.random.Generator = 0,
) -> Passages:
    """Cut texts into passages.

    A document is cut from its start; what is left at its end is a passage too if it is half of one at least, and then
    reaches back into the one before. Documents shorter than a passage are joined in their order, with the tokenizer's
    separator between them as in training, and count as one document together.

    Parameters
    ----------
    name : of the argument, for messages
    texts : documents, strings; or token ids (N, L), each row a passage and a document
    length : tokens of a passage, L
    system : which takes the passages, for the range of token ids; needed for those
    tokenizer : of texts; needed for those
    framed : whether passages begin with BOS and end with EOS, as of sentence packing; default False
    limit : of passages, >= 1; default 500. Beyond it they are chosen at random
    rng : an integer seed >= 0 or a Generator, of the order

    Returns
    -------
    Passages, perhaps none

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range; texts without a tokenizer
    """
    rng, special = np.random.default_rng(rng), special_ids(tokenizer)
    if isinstance(texts, str):
        raise TypeError(f"`{name}` must hold documents, or token ids (N, L), got one text")
    if hasattr(texts, "ndim"):
        tokens = as_tokens(name, texts, system)  # type: ignore[arg-type]  # which refuses None
        numbers, bodies, given, short = range(len(tokens)), [row[None] for row in tokens], len(tokens), 0
    else:
        if tokenizer is None:
            raise ValueError(f"`{name}` holds texts, so a tokenizer is needed; or give token ids (N, {length})")
        texts = list(texts)
        if wrong := {type(text).__name__ for text in texts if not isinstance(text, str)}:
            raise TypeError(f"`{name}` must hold texts, or be an array of token ids, got {min(wrong)}")
        given, frame = len(texts), (tokenizer.bos_id, tokenizer.eos_id) if framed else ()
        if None in frame:
            raise ValueError("`framed` passages need a tokenizer with BOS and EOS tokens")
        if length <= len(frame):
            raise ValueError(f"`framed` passages need a token between BOS and EOS, and the model takes {length} in all")
        long, short = _joined(_encoded(texts, tokenizer), length - len(frame), tokenizer.separator_id)
        numbers, bodies = list(long), [_framed(_windows(ids, length - len(frame)), frame) for ids in long.values()]
    if not bodies:
        return Passages(
            np.empty((0, length), np.int64), np.empty((0, length), bool), np.empty(0, np.int64), short, given
        )
    body = np.repeat(np.arange(len(bodies)), [len(rows) for rows in bodies])
    turn = np.concatenate([rng.permutation(len(rows)) for rows in bodies])  # one of each document, then a second one
    order = np.lexsort((rng.permutation(len(bodies))[body], turn))[:limit]
    tokens = np.concatenate(bodies)[order]
    counted = ~np.isin(tokens, list(special))
    kept = counted.any(1)
    return Passages(tokens[kept], counted[kept], np.array(numbers)[body[order][kept]], short, given)


def special_ids(tokenizer: Tokenizer | None) -> set[int]:
    """Ids that stand for no text: padding, BOS, EOS and the like. Characters that separate documents are text."""
    backend: Any = getattr(tokenizer, "backend", None)
    if tokenizer is None or backend is None:
        return set()
    named = {tokenizer.bos_id, tokenizer.eos_id, tokenizer.separator_id} - {None}
    return named | {i for i, token in backend.get_added_tokens_decoder().items() if token.special}  # type: ignore[operator]


def _encoded(texts: Sequence[str], tokenizer: Tokenizer) -> Iterable[Int64[np.ndarray, " n"]]:
    for text in texts:
        yield np.concatenate([np.empty(0, np.int64), *tokenizer.encode_pieces(text)])


def _joined(
    documents: Iterable[Int64[np.ndarray, " _"]], length: int, separator: int | None
) -> tuple[dict[int, Int64[np.ndarray, " _"]], int]:
    """Documents of that length at least by their number, the shorter ones joined, and how many are left over."""
    between = [] if separator is None else [np.array([separator])]
    found, pending, size, first = {}, [], 0, 0
    for number, ids in enumerate(documents):
        if len(ids) >= length:
            found[number] = ids
            continue
        if not len(ids):
            continue
        first = first if pending else number
        pending.append(np.concatenate([*(between if pending else []), ids]))
        size += len(pending[-1])
        if size >= length:
            found[first] = np.concatenate(pending)
            pending, size = [], 0
    return found, len(pending)


def _windows(ids: Int64[np.ndarray, " n"], length: int) -> Int64[np.ndarray, "w L"]:
    whole, rest = divmod(len(ids), length)
    starts = [length * k for k in range(whole)] + ([len(ids) - length] if 2 * rest >= length else [])
    return np.stack([ids[start : start + length] for start in starts])


def _framed(rows: Int64[np.ndarray, "w L"], frame: tuple[Any, ...]) -> Int64[np.ndarray, "w L"]:
    if not frame:
        return rows
    first, last = (np.full((len(rows), 1), token) for token in frame)
    return np.concatenate([first, rows, last], axis=1)
