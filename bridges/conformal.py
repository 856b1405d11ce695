"""Which of many passages are found, with error control; and how many may be there if none is.

Each passage is compared with calibration passages that are known to be no members: unseen text of the same source.
Nothing is assumed of the scores or of the model.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from amtheory import _validation as check
from bridges.roc import as_scores
from bridges.system import check_confidence


def conformal_p_values(scores: ArrayLike, calibration: ArrayLike) -> Float64[np.ndarray, " n"]:
    """p = (1 + #{calibration >= score})/(m + 1): how rarely a passage that is no member scores as high.

    If a passage is *exchangeable* with the m calibration passages, P(p <= u) <= u for every u, whatever the law of the
    scores, ties included (Vovk et al. 2005, Algorithmic Learning in a Random World); the probability is over
    calibrations too. Text of another source or time is not exchangeable, nor are passages of one document: give one
    score for each document. No p is below 1/(m + 1).

    p-values that share a calibration set depend on each other, but only positively (PRDS), so that `discoveries` keeps
    its rate (Bates, Candes, Lei, Romano and Sesia, Annals of Statistics 51, 149, 2023).

    Parameters
    ----------
    scores : (n,) larger for what is more like a member; not NaN, may be infinite
    calibration : (m,) scores of what is no member

    Returns
    -------
    (n,) float64 in [1/(m + 1), 1]

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from bridges import conformal_p_values
    >>> conformal_p_values([5.0, 2.0, -1.0], [0.0, 1.0, 2.0, 3.0]).tolist()
    [0.2, 0.6, 1.0]
    """
    x, y = as_scores("scores", scores), np.sort(as_scores("calibration", calibration))
    return (1 + len(y) - np.searchsorted(y, x, "left")) / (len(y) + 1)


def discoveries(p: ArrayLike, level: float = 0.05) -> Bool[np.ndarray, " n"]:
    """The hypotheses that Benjamini and Hochberg's procedure rejects (J. R. Stat. Soc. B 57, 289, 1995).

    Those with p <= p_(k), k the largest rank with n p_(k)/k <= level. The expected share of false ones among them is at
    most `level` where the p-values of true hypotheses are valid and positively dependent (PRDS): independent ones
    are, and those of `conformal_p_values`. With m calibration scores there are none, or n/((m + 1) level) at least.

    Parameters
    ----------
    p : (n,) p-values, in [0, 1]
    level : of the false-discovery rate, in (0, 1); default 0.05

    Returns
    -------
    (n,) bool

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from bridges import discoveries
    >>> discoveries([0.01, 0.9, 0.03, 0.04], level=0.06).tolist()
    [True, False, True, True]
    """
    p = as_scores("p", p)
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"`p` must lie in [0, 1], got values in [{p.min():g}, {p.max():g}]")
    if not (level := check.real("level", level, positive=True)) < 1:
        raise ValueError(f"`level` must lie in (0, 1), got {level}")
    ordered = np.sort(p)
    kept = ordered[ordered * (len(p) / np.arange(1, len(p) + 1)) <= level]
    return p <= kept[-1] if len(kept) else np.zeros(len(p), bool)


def share_limit(found: int, n: int, *, confidence: float = 0.95, power: float = 1.0) -> float:
    """Upper limit of the share of members in a population, of which a sample of n showed `found`.

    The one-sided limit of Clopper and Pearson, at 95 % about 3/n if none was found (Hanley and Lippman-Hand, JAMA 249,
    1743, 1983). If a member is found with probability `power` at least, the share of finds is at least `power` times
    that of members, and the limit is divided by it.

    Parameters
    ----------
    found : in [0, n]
    n : size of the sample, >= 1: independent passages, so of documents if these have several
    confidence : of the limit, in (0, 1); default 0.95
    power : in (0, 1]; default 1, no member is missed. A lower limit of it keeps the confidence, up to its own

    Returns
    -------
    float in (0, 1]

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from bridges import share_limit
    >>> round(share_limit(0, 500), 4), round(share_limit(0, 500, power=0.5), 4)
    (0.006, 0.0119)
    """
    n = check.integer("n", n, 1)
    found = check.integer("found", found, 0, n)
    check_confidence(confidence)
    if (power := check.real("power", power, positive=True)) > 1:
        raise ValueError(f"`power` must lie in (0, 1], got {power}")
    share = betaincinv(found + 1, n - found, confidence) if found < n else 1.0
    return min(1.0, float(share) / power)
