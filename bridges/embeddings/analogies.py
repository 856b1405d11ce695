"""Words of a text, and how often embeddings answer a : b :: c : ? about them."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amtheory import _validation as check
from amtheory.intervals import Estimate, wilson
from bridges.embeddings.spectrum import Embeddings
from bridges.system import check_confidence
from uddm.files import UnreadableFile, as_path, read_text

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

_QUESTIONS = 512  # questions answered at a time


def word_sentences(lines: Iterable[str], *, most: int = 10_000, fewest: int = 1) -> tuple[list[str], list[NDArray]]:
    """The words of a text, the most frequent first, and its non-empty lines as arrays of their ids.

    Words are runs of letters and apostrophes (straight, or typographic, which count as straight) of the text in lower
    case. Kept are at most `most` of those that occur `fewest` times or more; the others are dropped from the lines, and
    windows reach over the gap. TypeError if `lines` is one string.
    """
    if isinstance(lines, str):
        raise TypeError("`lines` must be an iterable of lines, got one string: split it, as by str.splitlines")
    lines = check.several("lines", lines)
    for line in lines:
        check.kind("lines", line, str)
    check.integer("most", most, 1)
    check.integer("fewest", fewest, 1)
    texts = [re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", line.lower().replace("’", "'")) for line in lines]
    frequency = Counter(itertools.chain.from_iterable(texts))
    words = [word for word, count in frequency.most_common(most) if count >= fewest]
    number = {word: i for i, word in enumerate(words)}
    return words, [ids for text in texts if len(ids := np.array([number[w] for w in text if w in number], int))]


def read_analogies(path: str | Path) -> dict[str, list[tuple[str, str, str, str]]]:
    """Questions a : b :: c : d of each category, in lower case, from a file such as Google's questions-words.txt:
    lines ": category", and lines of four words. UnreadableFile for other lines."""
    questions: dict[str, list[tuple[str, str, str, str]]] = {}
    category = None
    for n, line in enumerate(read_text(as_path("path", path)).splitlines(), 1):
        if line.startswith(":"):
            category = questions.setdefault(line[1:].strip(), [])
        elif line.strip():
            words = line.lower().split()
            if category is None or len(words) != 4:
                raise UnreadableFile(f"{path}:{n}: must be ': category' or four words, got {line!r}")
            a, b, c, d = words
            category.append((a, b, c, d))
    return questions


def analogy_accuracy(
    embeddings: ArrayLike | Embeddings,
    words: Sequence[Any],
    questions: Mapping[str, Sequence[tuple[Any, Any, Any, Any]]],
    *,
    confidence: float = 0.95,
) -> xr.Dataset:
    """How often w(b) - w(a) + w(c) is nearest to w(d): 3CosAdd, unit vectors, a, b and c excluded as answers.

    Parameters
    ----------
    embeddings : (K, d), one row for each of `words`, or what `embed` returns
    questions : for each category (none of the name "all"), a : b :: c : d; those with a word that is not in `words` are
        left out

    Returns
    -------
    xarray.Dataset over ``category``, the last of which is "all"

    - ``accuracy`` (with ``estimate``): Wilson's interval. Questions share words, so that it is too narrow for the
      question how other words would do
    - ``nearest`` (with ``estimate``): the same for the word nearest to w(c), without a and b: what needs no analogy
    - ``chance``: 1/(K - 3)
    - ``questions``, ``left_out``

    Raises ValueError for embeddings of another shape, repeated or fewer than 4 words, or questions of other forms.
    """
    import xarray as xr

    check_confidence(confidence)
    vectors = embeddings.vectors if isinstance(embeddings, Embeddings) else embeddings
    vectors, words = check.reals("embeddings", vectors), check.several("words", words)
    check.kind("questions", questions, Mapping)
    try:
        number = {word: i for i, word in enumerate(words)}
    except TypeError as error:
        raise TypeError(f"`words` must be hashable, as texts are: {error}") from error
    if vectors.ndim != 2 or len(vectors) != len(words) or not np.isfinite(vectors).all():
        raise ValueError(f"`embeddings` must be finite, one row for each of {len(words)} words, got {vectors.shape}")
    if len(number) != len(words) or len(words) < 4:
        raise ValueError(f"`words` must be 4 or more different words, got {len(number)}")
    if not questions or "all" in questions:
        raise ValueError(f"`questions` must have a category, and none of the name 'all', got {list(questions)}")
    if not all(len(q) == 4 for asked in questions.values() for q in asked):
        raise ValueError("`questions` must be of four words each, a : b :: c : d")
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1)
    known = {
        category: np.array([[number[w] for w in q] for q in asked if all(w in number for w in q)], int).reshape(-1, 4)
        for category, asked in questions.items()
    }
    right = {category: _answers(unit, asked) for category, asked in known.items()}
    right["all"] = np.concatenate(list(right.values()))
    asked = [len(q) for q in questions.values()]
    counts = np.array([len(r) for r in right.values()])
    rates = np.array([[wilson(r[:, kind].sum(), len(r), confidence) for r in right.values()] for kind in (0, 1)])
    return xr.Dataset(
        {
            "accuracy": (("category", "estimate"), rates[0]),
            "nearest": (("category", "estimate"), rates[1]),
            "chance": 1 / (len(words) - 3),
            "questions": ("category", counts),
            "left_out": ("category", np.array([*asked, sum(asked)]) - counts),
        },
        coords={"category": list(right), "estimate": list(Estimate._fields)},
        attrs={"confidence": confidence},
    )


def _answers(unit: Floats, questions: NDArray[np.int64]) -> NDArray[np.bool]:
    """Whether d is found with the analogy, and without it, (n, 2). A tie counts as wrong."""
    right = np.zeros((len(questions), 2), bool)
    for start in range(0, len(questions), _QUESTIONS):
        rows = questions[start : start + _QUESTIONS]
        a, b, c, d = rows.T
        for kind, target in enumerate((unit[b] - unit[a] + unit[c], unit[c])):
            similarity = target @ unit.T
            np.put_along_axis(similarity, rows[:, :3], -np.inf, axis=1)
            answer = np.take_along_axis(similarity, d[:, None], axis=1)
            np.put_along_axis(similarity, d[:, None], -np.inf, axis=1)
            right[start : start + _QUESTIONS, kind] = answer[:, 0] > similarity.max(1) + 1e-9
    return right
