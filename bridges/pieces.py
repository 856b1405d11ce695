"""Tokens as pieces of text, to mark them one by one; and text that cannot hide on a page what it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uddm.corpora import Tokenizer

_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(value: Any) -> Any:
    """A text with its control characters, those that turn the direction of writing, and what is no text written out;
    anything else as it is. For the `finalize` of a page's templates.

    Parameters
    ----------
    value : what stands in a template

    Examples
    --------
    >>> from bridges.pieces import visible
    >>> visible("evil\\u202elive"), visible(3)
    ('evil\\\\u202elive', 3)
    """
    if type(value) is not str:  # markup is ours
        return value
    return _HIDDEN.sub(lambda found: repr(found[0])[1:-1], value)


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
