"""How well two samples of a score are told apart: of sequences that a system was trained on, and of others.

A larger score speaks for a member. All that is measured depends on the order of the scores alone: any increasing
function of them gives the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.special import expit, logit, ndtri

from amtheory import _validation as check
from amtheory.intervals import Estimate, clopper_pearson
from bridges.streams import as_seed, stream
from bridges.system import check_confidence


def area_under_roc(
    members: ArrayLike,
    others: ArrayLike,
    *,
    documents: tuple[ArrayLike, ArrayLike] | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Area under the ROC curve, A = P(member > other) + P(member = other)/2: Mann and Whitney's statistic.

    With the placements a_i, the share of others below member i, and b_j, the share of members above other j, ties
    counted half, A is the mean of either, and its variance Var(a)/m + Var(b)/n (DeLong, DeLong and Clarke-Pearson,
    Biometrics 44, 837, 1988). The interval is symmetric in log A/(1 - A), and so within [0, 1] (Pepe 2003, The
    Statistical Evaluation of Medical Tests for Classification and Prediction, ch. 5).

    Passages of one document are not independent, documents are. With `documents`, the variance is that of sums over
    each, I/(I - 1) sum_i (sum_k (a_ik - A))^2 / m^2 of I documents of members, and likewise of others (Obuchowski,
    Biometrics 53, 567, 1997), which is DeLong's where each document is one passage. The area is that of passages.

    Where the estimated variance is zero, as of scores that are perfectly separated or all equal, and for a single
    member or other, it is Clopper and Pearson's of min(m, n) trials, in documents if there are any. For perfect
    separation this is exact, and the best that holds for any law: m members and n others contain min(m, n) disjoint
    pairs, each in order with probability at most A, so that P(perfect) <= A^min(m, n), with equality if those of the
    larger sample are all equal. At 95 % it excludes areas below 0.025^(1/min(m, n)), some 1 - 3.7/min(m, n).

    Parameters
    ----------
    members : (m,) scores of members, larger for what is more like one; not NaN, may be infinite
    others : (n,) scores of others
    documents : (m,) and (n,) integer labels, of the document that each member and each other is from; one of members is
        never one of others, whatever their labels. Default None, each score its own
    confidence : of the interval, in (0, 1); default 0.95. Of Gaussian scores, 20 to 500 a side, it then covers areas up
        to 0.9 in 94 to 97 %, and areas up to 0.999 in 91 to 98 %

    Returns
    -------
    Estimate : in [0, 1]; 1/2 for scores that do not tell

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    See Also
    --------
    true_positive_rate : of few false alarms, which an area hardly sees

    Examples
    --------
    >>> from bridges import area_under_roc
    >>> [round(number, 2) for number in area_under_roc([2, 3, 4, 5], [1, 2, 3, 4])]
    [0.72, 0.28, 0.94]
    >>> [round(number, 2) for number in area_under_roc([4, 5, 6], [1, 2, 3])]
    [1.0, 0.29, 1.0]
    >>> area = area_under_roc([2, 3, 4, 5], [1, 2, 3, 4], documents=([0, 0, 1, 1], [0, 1, 1, 2]))
    >>> [round(number, 2) for number in area]
    [0.72, 0.17, 0.97]
    """
    x, y = as_scores("members", members), as_scores("others", others)
    check_confidence(confidence)
    of_members, of_others = _labels(documents, x, y)
    a, b = _share_below(x, y), _share_below(-y, -x)
    area = float(a.mean())
    sums = [_document_sums(values - area, labels) for values, labels in ((a, of_members), (b, of_others))]
    trials = min(map(len, sums))
    if trials == 1 or not any(map(np.any, sums)):
        return clopper_pearson(area * trials, trials, confidence)
    error = np.sqrt(sum(len(s) / (len(s) - 1) * (s**2).sum() / n**2 for s, n in zip(sums, (len(a), len(b)))))
    half = ndtri((1 + confidence) / 2) * error / (area * (1 - area))
    low, high = expit(logit(area) + np.array([-half, half]))
    return Estimate(area, float(low), float(high))


class RocCurve(NamedTuple):
    """The share of members found at each share of false alarms, with a band; arrays (k,), a point for each score that
    an other has, the highest first.

    Parameters
    ----------
    false_positive_rate : the share of others with that score or more
    true_positive_rate : the share of members with that score or more
    low, high : ends of the band of true-positive rates at that rate of false alarms

    Examples
    --------
    >>> from bridges import roc_curve
    >>> curve = roc_curve([3, 4, 5, 6], [1, 2, 4, 4])
    >>> curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist()
    ([0.5, 0.75, 1.0], [0.75, 1.0, 1.0])
    """

    false_positive_rate: Float64[np.ndarray, " k"]
    true_positive_rate: Float64[np.ndarray, " k"]
    low: Float64[np.ndarray, " k"]
    high: Float64[np.ndarray, " k"]


def roc_curve(
    members: ArrayLike,
    others: ArrayLike,
    *,
    documents: tuple[ArrayLike, ArrayLike] | None = None,
    confidence: float = 0.95,
) -> RocCurve:
    """The ROC curve with a band that holds at each rate of false alarms.

    At each threshold both rates have Clopper and Pearson's interval, each at half the error (Campbell, Statistics in
    Medicine 13, 499, 1994). As the curve rises, at a rate f it lies above the lower end of the last threshold whose
    rate of false alarms is surely at most f, and below the upper end of the first whose rate is surely at least f. That
    is exact, thresholds being scores of others. With `documents` a share of passages counts as that share of the
    documents: passages of one document may be as alike as they like.

    Parameters
    ----------
    members, others, documents : as of `area_under_roc`
    confidence : at each rate, in (0, 1); default 0.95

    Returns
    -------
    RocCurve

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    See Also
    --------
    area_under_roc : the curve as one number
    operating_point : one point of it, with the threshold fixed on others than those that are counted

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import roc_curve
    >>> curve = roc_curve(np.arange(50, 150), np.arange(100))
    >>> at = int(np.searchsorted(curve.false_positive_rate, 0.1))
    >>> float(curve.true_positive_rate[at]), bool(curve.low[at] < 0.6 < curve.high[at])
    (0.6, True)
    """
    x, y = as_scores("members", members), as_scores("others", others)
    check_confidence(confidence)
    labels = _labels(documents, x, y)
    trials = [len(_document_sums(np.ones(len(scores)), own)) for scores, own in zip((x, y), labels)]
    threshold = np.unique(y)[::-1]
    above = [len(scores) - np.searchsorted(np.sort(scores), threshold, "left") for scores in (x, y)]
    true, false = above[0] / len(x), above[1] / len(y)
    (under, over), (least, most) = (
        np.array([clopper_pearson(share * n, n, (1 + confidence) / 2)[1:] for share in shares]).T
        for shares, n in zip((true, false), trials)
    )
    low = np.append(0.0, under)[np.searchsorted(most, false, "right")]
    high = np.append(over, 1.0)[np.searchsorted(least, false, "left")]
    return RocCurve(false, true, low, high)


class OperatingPoint(NamedTuple):
    """A threshold, and what is above it.

    Parameters
    ----------
    threshold : scores above it, not at it, are taken for those of members
    true_positive_rate : the share of members above it
    false_positive_rate : the share above it of the others that had no part in choosing it

    Examples
    --------
    >>> from bridges import operating_point
    >>> point = operating_point(range(50, 150), range(100), 0.1, rng=0)
    >>> point.true_positive_rate.value, point.false_positive_rate.low < 0.1 < point.false_positive_rate.high
    (0.59, True)
    """

    threshold: float
    true_positive_rate: Estimate
    false_positive_rate: Estimate


def operating_point(
    members: ArrayLike,
    others: ArrayLike,
    false_positive_rate: float,
    *,
    calibration: float = 0.5,
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> OperatingPoint:
    """The threshold that few others exceed, fixed on some of them, and the rates at it of members and of the rest.

    The threshold is the k-th largest score of c calibration scores, k = floor(f (c + 1)) at the rate f: a further
    other exceeds it with probability at most k/(c + 1) <= f, on average over calibrations and whatever the law (split
    conformal inference; Vovk et al. 2005, Algorithmic Learning in a Random World). Intervals are Clopper and Pearson's
    (Biometrika 26, 404, 1934), at the threshold as it is.

    Parameters
    ----------
    members, others : (m,) and (n,) scores, larger for what is more like a member; not NaN, may be infinite
    false_positive_rate : f, in (0, 1); at least 10/f others are asked for
    calibration : share of the others, drawn at random, that fixes the threshold, in (0, 1); default one half
    rng : None, an integer seed >= 0 or a Generator, of the split; default None, fresh entropy
    confidence : of the intervals, in (0, 1); default 0.95

    Returns
    -------
    OperatingPoint : threshold and the two rates

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range: `others` if they are fewer than 10/f,
        `calibration` if it leaves no k >= 1 or nothing to check it by

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import operating_point
    >>> rng = np.random.default_rng(0)
    >>> point = operating_point(rng.normal(2, 1, 500), rng.normal(0, 1, 2000), 0.01, rng=0)
    >>> bool(point.true_positive_rate.low < 0.37 < point.true_positive_rate.high)  # P(2 + u > 2.33)
    True
    """
    x, y = as_scores("members", members), as_scores("others", others)
    false_positive_rate = check.real("false_positive_rate", false_positive_rate, positive=True)
    calibration = check.real("calibration", calibration, positive=True)
    for name, value in (("false_positive_rate", false_positive_rate), ("calibration", calibration)):
        if value >= 1:
            raise ValueError(f"`{name}` must lie in (0, 1), got {value}")
    check_confidence(confidence)
    if len(y) * false_positive_rate < 10:
        raise ValueError(
            f"`others` must hold at least 10/{false_positive_rate:g} scores for `false_positive_rate` = "
            f"{false_positive_rate:g}, got {len(y)}"
        )
    count = round(calibration * len(y))
    k = int(false_positive_rate * (count + 1))
    if k == 0 or count == len(y):
        raise ValueError(
            f"`calibration` must leave one of {len(y)} others, and 1/{false_positive_rate:g} to calibrate, got "
            f"{calibration:g}, which takes {count}"
        )
    y = stream(as_seed(rng), "calibration").permutation(y)
    threshold = np.sort(y[:count])[-k]
    rates = (clopper_pearson(int((scores > threshold).sum()), len(scores), confidence) for scores in (x, y[count:]))
    return OperatingPoint(float(threshold), *rates)


def true_positive_rate(
    members: ArrayLike,
    others: ArrayLike,
    false_positive_rate: float,
    *,
    calibration: float = 0.5,
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """The share of members above the threshold of `operating_point`, with the exact binomial interval.

    Parameters
    ----------
    members, others, false_positive_rate, calibration, rng, confidence : as of `operating_point`

    Returns
    -------
    Estimate : in [0, 1]; near `false_positive_rate` for scores that do not tell

    Raises
    ------
    TypeError, ValueError : as of `operating_point`

    See Also
    --------
    operating_point : with the threshold, and the rate of false alarms that it has on others held out

    Examples
    --------
    >>> from bridges import true_positive_rate
    >>> true_positive_rate(range(200, 300), range(100), 0.1, rng=0).value
    1.0
    """
    return operating_point(
        members, others, false_positive_rate, calibration=calibration, rng=rng, confidence=confidence
    ).true_positive_rate


def ks_distance(a: ArrayLike, b: ArrayLike) -> float:
    """`sup_u |F_a(u) - F_b(u)|` of the empirical distribution functions, of Kolmogorov and Smirnov.

    It sees any difference of two laws, as one of spread, where the area under the ROC curve sees only which is larger.

    Parameters
    ----------
    a, b : (m,) and (n,) values, not NaN, may be infinite

    Returns
    -------
    float in [0, 1]: 0 for equal samples, 1 for separated ones

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from bridges import ks_distance
    >>> ks_distance([1, 2, 3, 4], [3, 4, 5, 6])
    0.5
    """
    a, b = np.sort(as_scores("a", a)), np.sort(as_scores("b", b))
    u = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, u, "right") / len(a) - np.searchsorted(b, u, "right") / len(b)).max())


def as_scores(name: str, values: ArrayLike) -> Float64[np.ndarray, " n"]:
    """`values` as float64 (n,), n >= 1. Raises TypeError unless real numbers, ValueError for NaN or another shape."""
    array = check.unmasked(name, values)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"`{name}` must hold real numbers, got dtype {array.dtype}")
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"`{name}` must have shape (n,) with n >= 1, got {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"`{name}` must not be NaN, got {np.count_nonzero(np.isnan(array))} of {len(array)}")
    return array.astype(np.float64)


def _labels(
    documents: tuple[ArrayLike, ArrayLike] | None, x: Float64[np.ndarray, " m"], y: Float64[np.ndarray, " n"]
) -> tuple[ArrayLike, ArrayLike]:
    """Those given, or each score its own."""
    if documents is None:
        return np.arange(len(x)), np.arange(len(y))
    if not isinstance(documents, tuple | list) or len(documents) != 2:
        raise TypeError(f"`documents` must be two arrays of labels, of `members` and of `others`, got {documents!r}")
    return documents[0], documents[1]


def _document_sums(values: Float64[np.ndarray, " n"], labels: ArrayLike) -> Float64[np.ndarray, " D"]:
    """Sums of `values` over the entries of each label, in the order of these, exactly 0 where they are 0 up to
    rounding. Raises ValueError unless there are as many labels, integers."""
    labels = check.unmasked("documents", labels)
    if labels.shape != values.shape or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`documents` must hold {len(values)} integer labels, got shape {labels.shape} of dtype {labels.dtype}"
        )
    sums = np.bincount(np.unique(labels, return_inverse=True)[1], values)
    return np.where(np.abs(sums) < 1e-12 * len(values), 0.0, sums)


def _share_below(x: Float64[np.ndarray, " m"], y: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " m"]:
    """Share of `y` below each of `x`, ties counted half."""
    y = np.sort(y)
    return (np.searchsorted(y, x, "left") + np.searchsorted(y, x, "right")) / (2 * len(y))
