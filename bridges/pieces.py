"""Tokens as pieces of text, to mark them one by one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uddm.corpora import Tokenizer


def pieces(tokenizer: Tokenizer, tokens: Sequence[int] | Any) -> list[str]:
    """The text of each token, such that together they are that of the sequence, if the tokenizer has it so.

    Parameters
    ----------
    tokenizer : whose tokens they are
    tokens : (L,) ids

    Returns
    -------
    list of L strings

    Examples
    --------
    >>> from bridges.pieces import pieces
    >>> from uddm.corpora import CharacterTokenizer
    >>> pieces(CharacterTokenizer(), [1, 2, 0, 3])
    ['a', 'b', ' ', 'c']
    """
    whole = [tokenizer.decode(tokens[:n]) for n in range(len(tokens) + 1)]
    if all(after.startswith(before) for before, after in pairwise(whole)):
        return [after[len(before) :] for before, after in pairwise(whole)]
    return [f"{tokenizer.decode([token])} " for token in tokens]
