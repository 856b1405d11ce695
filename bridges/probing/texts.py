"""What must hold of suspect and unseen text before the two are compared, whatever the model says of them.

The ranges stand beside their reasons. Two were changed after a look at the embedded corpus, whose test text is whole
paragraphs: of its short passages some recur, which are now left out, while more than 5 % of them made the check fail;
and words alone tell training from test passages with an area of 0.56, where 0.55 was to fail.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer, UInt64
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from amtheory import _validation as check
from bridges.probing.checks import Check, as_mask, in_words, unigram_entropy
from bridges.roc import area_under_roc
from bridges.streams import as_seed, stream

SHIFTED = 0.6  # area under the ROC of a classifier that knows no model
LEAKING = 0.5  # of the passages, which are left out
GRAM_NATS = 95.0  # what 13 subwords hold, at some 7.3 nats each at their frequencies: GPT-3's n-gram of contamination
LEAST_DOCUMENTS = 20  # a side: below 19 no conformal p-value reaches 5 %


def shift(
    suspect: Integer[np.ndarray, "N L"],
    unseen: Integer[np.ndarray, "M L"],
    *,
    counted: tuple[Bool[np.ndarray, "N L"], Bool[np.ndarray, "M L"]] | None = None,
    documents: tuple[ArrayLike, ArrayLike] | None = None,
    folds: int = 5,
    rng: int | np.random.Generator | None = None,
) -> Check:
    """Are suspect and unseen text told apart by their words alone, without asking the model?

    Multinomial naive Bayes on the counts of tokens of each document, with one added to each, cross-validated over
    documents. It fails if the area under the ROC is above 0.6 with its interval above 0.5: whatever tells the two
    apart may then be the words, not memory. As no model is asked, memorization cannot make it fail. Where both are of
    one source it fails in some 5 % (3 to 7 % of simulations with 10 to 100 documents a side).

    Parameters
    ----------
    suspect, unseen : (N, L) and (M, L) token ids >= 0
    counted : (N, L) and (M, L) which tokens count; default None, all
    documents : (N,) and (M,) integer labels of the document that each passage is from; default None, each its own
    folds : of the cross-validation, >= 2; default 5. Each side needs two documents for each
    rng : None, an integer seed >= 0 or a Generator, of the folds

    Returns
    -------
    Check : it spoils "recognition"

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> import numpy as np
    >>> from bridges.probing.texts import shift
    >>> rng = np.random.default_rng(0)
    >>> some, more = rng.integers(8, size=(2, 30, 50))
    >>> others = rng.integers(9, size=(30, 50))
    >>> shift(some, more, rng=0).passed, shift(some, others, rng=0).passed
    (True, False)
    """
    name, spoils = "shift", frozenset({"recognition"})
    sides = _sides(suspect, unseen, counted, documents)
    folds, rng = check.integer("folds", folds, 2), stream(as_seed(rng), "shift")
    token = np.unique(np.concatenate([x[keep] for x, keep, _ in sides]), return_inverse=True)[1]
    document = [np.unique(labels[np.nonzero(keep)[0]], return_inverse=True)[1] for _, keep, labels in sides]
    sizes = [int(each.max()) + 1 for each in document]
    if min(sizes) < 2 * folds:
        detail = f"There are {sizes[0]} suspect and {sizes[1]} unseen documents, too few to learn their words."
        return Check(name, None, detail, f"Give at least {2 * folds} documents of each.", spoils)
    document = np.concatenate([document[0], document[1] + sizes[0]])
    bags = csr_array((np.ones(len(token)), (document, token)))
    suspected = np.arange(sum(sizes)) < sizes[0]
    fold = np.concatenate([rng.permutation(size) % folds for size in sizes])
    score = np.empty(len(fold))
    for k in range(folds):
        counts = np.stack([1 + bags[(fold != k) & (suspected == side)].sum(0) for side in (True, False)])
        odds = np.log(counts / counts.sum(1, keepdims=True))
        score[fold == k] = bags[fold == k] @ (odds[0] - odds[1])
    score /= bags.sum(1)
    area = area_under_roc(score[suspected], score[~suspected])
    passed = not (area.low > 0.5 and area.value > SHIFTED)
    detail = f"A classifier that sees only words tells suspect from unseen documents with an area of {in_words(area)}."
    return Check(name, passed, detail, "" if passed else "Give unseen text of the same source and time.", spoils)


def leaks(
    suspect: Integer[np.ndarray, "N L"],
    unseen: Integer[np.ndarray, "M L"],
    *,
    train: Integer[np.ndarray, "P L"] | None = None,
    counted: tuple[Bool[np.ndarray, "N L"], Bool[np.ndarray, "M L"]] | None = None,
    documents: tuple[ArrayLike, ArrayLike] | None = None,
    n: int | None = None,
) -> tuple[Check, Bool[np.ndarray, " N"], Bool[np.ndarray, " M"]]:
    """Which passages are no text of their own: licences, quotations, unseen text that was suspect all the while.

    A passage is shared if n of its tokens in a row, all counted, stand in another document, of either side. Nothing
    that is shared tells whether its own document was learnt, so it is to be left out of both sides. As this rule does
    not know which side a passage is of, text of one source stays exchangeable under it. The check fails if more than
    half of either side is shared, or more than half of the unseen text stands in training text.

    Parameters
    ----------
    suspect, unseen : (N, L) and (M, L) token ids >= 0
    train : (P, L) training sequences; default None, not known
    counted : (N, L) and (M, L) which tokens count; default None, all
    documents : (N,) and (M,) integer labels of the document that each passage is from; default None, each its own
    n : tokens in a row, in [1, L]; default None, as many as hold 95 nats at the frequencies of the text, as do 13
        subwords, but at most three quarters of a passage

    Returns
    -------
    check : it spoils "recognition"
    shared_suspect, shared_unseen : (N,) and (M,) bool

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> import numpy as np
    >>> from bridges.probing.texts import leaks
    >>> x, y = np.random.default_rng(0).integers(100, size=(2, 20, 30))
    >>> y[3, 5:20] = x[7, 10:25]
    >>> y[4] = y[9]
    >>> found, of_x, of_y = leaks(x, y, n=13)
    >>> found.passed, np.flatnonzero(of_x).tolist(), np.flatnonzero(of_y).tolist()
    (True, [7], [3, 4, 9])
    """
    sides = _sides(suspect, unseen, counted, documents)
    text = np.concatenate([x[keep] for x, keep, _ in sides])
    length = min(x.shape[1] for x, _, _ in sides)
    if n is None:
        n = max(1, min(int(np.ceil(GRAM_NATS / max(unigram_entropy(text), 0.1))), 3 * length // 4))
    n = check.integer("n", n, 1, length)
    known = None if train is None else _ids("train", train)
    size = 1 + max(int(x.max()) for x in (text, known) if x is not None)
    (row_x, gram_x), (row_y, gram_y) = (_grams(x, keep, n, size) for x, keep, _ in sides)
    of_x, of_y = (np.unique(labels, return_inverse=True)[1] for _, _, labels in sides)
    gram = np.unique(np.concatenate([gram_x, gram_y]), return_inverse=True)[1]
    row = np.concatenate([row_x, row_y + len(of_x)])
    document = np.concatenate([of_x, of_y + of_x.max() + 1])
    pairs = np.unique(np.stack([gram, document[row]]), axis=1)
    shared = np.zeros(len(document), bool)
    shared[row[(np.bincount(pairs[0]) > 1)[gram]]] = True
    of_suspect, of_unseen = np.split(shared, [len(of_x)])
    shares = [of_suspect.mean(), of_unseen.mean()]
    detail = (
        f"Of {len(of_x)} suspect and {len(of_y)} unseen passages {of_suspect.sum()} and {of_unseen.sum()} share {n} "
        "tokens in a row with another document, and are left out."
    )
    if known is not None:
        there = np.isin(gram_y, _grams(known, np.ones(known.shape, bool), n, size)[1])
        shares.append(len(np.unique(row_y[there])) / len(of_y))
        detail += f" Of the unseen ones {len(np.unique(row_y[there]))} share as many with training text."
    passed = bool(max(shares) <= LEAKING)
    remedy = "" if passed else "Give other unseen text, each document once."
    return Check("leaks", passed, detail, remedy, frozenset({"recognition"})), of_suspect, of_unseen


def _grams(
    x: Int64[np.ndarray, "N L"], counted: Bool[np.ndarray, "N L"], n: int, size: int
) -> tuple[Int64[np.ndarray, " G"], UInt64[np.ndarray, " G"]]:
    """Passage and hash of all n counted tokens in a row, of ids below `size`: two different ones among 1e6 have
    one hash with a probability below 1e-5."""
    rng = np.random.default_rng(0)
    of_token, of_place = (rng.integers(2**64, size=count, dtype=np.uint64) | np.uint64(1) for count in (size, n))
    starts = x.shape[1] - n + 1
    gram, whole = np.zeros((len(x), starts), np.uint64), np.ones((len(x), starts), bool)
    for k in range(n):
        gram += of_token[x[:, k : k + starts]] * of_place[k]
        whole &= counted[:, k : k + starts]
    return np.nonzero(whole)[0], gram[whole]


def enough(n_suspect: int, n_unseen: int, rate: float | None = None) -> Check:
    """Are there enough documents? At least 20 a side, for a conformal p-value of 5 % to exist.

    Parameters
    ----------
    n_suspect, n_unseen : documents, >= 0
    rate : in (0, 1); default None. Of false positives, at which the rate of true ones is asked for: the detail says
        whether there are the 10/rate unseen documents that it takes

    Returns
    -------
    Check : it spoils "recognition"

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from bridges.probing.texts import enough
    >>> enough(100, 200, 0.01).detail
    'There are 100 suspect and 200 unseen documents; a false-positive rate of 0.01 would take 1000 unseen ones.'
    """
    n_suspect, n_unseen = check.integer("n_suspect", n_suspect, 0), check.integer("n_unseen", n_unseen, 0)
    passed = min(n_suspect, n_unseen) >= LEAST_DOCUMENTS
    detail = f"There are {n_suspect} suspect and {n_unseen} unseen documents"
    if rate is not None:
        if not 0 < check.real("rate", rate, positive=True) < 1:
            raise ValueError(f"`rate` must lie in (0, 1), got {rate}")
        if n_unseen * rate < 10:
            detail += f"; a false-positive rate of {rate:g} would take {int(np.ceil(10 / rate))} unseen ones"
    remedy = "" if passed else f"Give at least {LEAST_DOCUMENTS} documents of each."
    return Check("enough", passed, f"{detail}.", remedy, frozenset({"recognition"}))


def _ids(name: str, tokens: Any) -> Int64[np.ndarray, "N L"]:
    """`tokens` as int64 (N, L). Raises TypeError unless integers, ValueError for another shape or negative ones."""
    tokens = check.unmasked(name, tokens)
    if tokens.dtype.kind not in "iu":
        raise TypeError(f"`{name}` must hold integer token ids, got dtype {tokens.dtype}")
    if tokens.ndim != 2 or tokens.size == 0 or tokens.min() < 0:
        raise ValueError(f"`{name}` must have shape (N, L), N and L >= 1, and no negative ids, got {tokens.shape}")
    return tokens.astype(np.int64)


def _sides(
    suspect: Any, unseen: Any, counted: Any, documents: Any
) -> list[tuple[Int64[np.ndarray, "N L"], Bool[np.ndarray, "N L"], Int64[np.ndarray, " N"]]]:
    """Tokens, which of them count, and the documents of the suspect and the unseen passages, checked."""
    sides = []
    for k, (name, tokens) in enumerate((("suspect", suspect), ("unseen", unseen))):
        x = _ids(name, tokens)
        labels = np.arange(len(x)) if documents is None else check.unmasked("documents", documents[k])
        if labels.shape != (len(x),) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"`documents` must hold {len(x)} integer labels of `{name}`, got shape {labels.shape} of dtype "
                f"{labels.dtype}"
            )
        sides.append((x, as_mask(None if counted is None else counted[k], x), labels.astype(np.int64)))
    return sides
