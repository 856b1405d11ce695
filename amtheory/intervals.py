"""Confidence intervals: of rates, of counts, of means over independent samples, of whatever can be resampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Num
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, gammaincinv, ndtr, ndtri, stdtrit

from amtheory import _validation as check

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A value and the ends of its confidence interval; NaN for what the data do not determine.

    Parameters
    ----------
    value, low, high : the value and the two ends, in its unit

    Examples
    --------
    >>> from amtheory import Estimate
    >>> value, low, high = Estimate(0.5, 0.4, 0.6)
    >>> low <= value <= high
    True
    """

    value: float
    low: float
    high: float


def wilson(successes: float, trials: float, confidence: float = 0.95) -> Estimate:
    """A proportion of independent trials with Wilson's score interval (J. Am. Stat. Assoc. 22, 209, 1927).

    Parameters
    ----------
    successes : in [0, trials], not necessarily whole: a count may come as a rate times the trials, with rounding, and
        the interval is a continuous function of it
    trials : >= 0, likewise
    confidence : of the interval, in (0, 1); default 0.95

    Returns
    -------
    Estimate : never empty, all NaN for no trials

    See Also
    --------
    bootstrap_ratio : for tokens, which are not independent within a sequence

    Examples
    --------
    >>> from amtheory.intervals import wilson
    >>> [round(number, 2) for number in wilson(0, 10)]
    [0.0, 0.0, 0.28]
    """
    successes, trials, confidence = _proportion(successes, trials, confidence)
    if trials == 0:
        return Estimate(np.nan, np.nan, np.nan)
    p = successes / trials
    low, high = wilson_ends(p, trials, ndtri((1 + confidence) / 2))
    return Estimate(p, float(low), float(high))


def wilson_ends(p: ArrayLike, trials: ArrayLike, quantile: ArrayLike) -> tuple[check.Broadcast, check.Broadcast]:
    """The ends of Wilson's interval alone, elementwise, at a given quantile instead of a confidence.

    Parameters
    ----------
    p : proportions in [0, 1]
    trials : > 0, not necessarily whole, as where they are an effective number; broadcast with `p`
    quantile : two-sided, of the normal law, or of Student's where `trials` are estimated; NaN, as for one
        sample, gives NaN

    Returns
    -------
    low, high : float64, with low <= p <= high

    Examples
    --------
    >>> from amtheory.intervals import wilson_ends
    >>> low, high = wilson_ends([0.0, 0.5], 10, 1.96)
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([0.0, 0.24], [0.28, 0.76])
    """
    p, n, z = (check.reals(k, v) for k, v in (("p", p), ("trials", trials), ("quantile", quantile)))
    if ((p < 0) | (p > 1)).any() or (n <= 0).any():
        raise ValueError(f"`p` must be in [0, 1] and `trials` > 0, got {p} and {n}")
    try:
        np.broadcast_shapes(p.shape, n.shape, z.shape)
    except ValueError:
        raise ValueError(f"`trials` and `quantile` must go with `p`, got {n.shape}, {z.shape}, {p.shape}") from None
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.clip(centre - half, 0.0, p), np.clip(centre + half, p, 1.0)


def garwood(count: float, confidence: float = 0.95) -> Estimate:
    """The mean of a Poisson law from one count, with Garwood's exact interval (Biometrika 28, 437, 1936).

    Parameters
    ----------
    count : >= 0, not necessarily whole, as where a count is divided by its dispersion
    confidence : of the interval, in (0, 1); default 0.95

    Returns
    -------
    Estimate : `low` is 0 for a count of 0

    Examples
    --------
    >>> from amtheory.intervals import garwood
    >>> [round(number, 2) for number in garwood(0)], [round(number, 2) for number in garwood(10)]
    ([0.0, 0.0, 3.69], [10.0, 4.8, 18.39])
    """
    count = check.real("count", count, positive=False)
    tail = (1 - check.between("confidence", confidence, 0, 1)) / 2
    low = gammaincinv(count, tail) if count else 0.0
    return Estimate(float(count), float(low), float(gammaincinv(count + 1, 1 - tail)))


def clopper_pearson(successes: float, trials: float, confidence: float = 0.95) -> Estimate:
    """A proportion of independent trials with the exact interval (Clopper and Pearson, Biometrika 26, 404, 1934).

    Each end is the proportion under which what was seen, or more to that side, has probability (1 - confidence)/2: the
    interval covers at least as often as it says, whatever the proportion, and is wider than `wilson`'s.

    Parameters
    ----------
    successes : in [0, trials], not necessarily whole
    trials : >= 0, likewise
    confidence : of the interval, in (0, 1); default 0.95

    Returns
    -------
    Estimate : never empty, all NaN for no trials

    Examples
    --------
    >>> from amtheory.intervals import clopper_pearson
    >>> [round(number, 2) for number in clopper_pearson(0, 10)]
    [0.0, 0.0, 0.31]
    """
    successes, trials, confidence = _proportion(successes, trials, confidence)
    if trials == 0:
        return Estimate(np.nan, np.nan, np.nan)
    tail, failures = (1 - confidence) / 2, trials - successes
    low = betaincinv(successes, failures + 1, tail) if successes > 0 else 0.0
    high = betaincinv(successes + 1, failures, 1 - tail) if failures > 0 else 1.0
    return Estimate(float(successes / trials), float(low), float(high))


def student_quantile(n: int, confidence: float) -> float:
    """Student's two-sided quantile for the mean of `n` samples.

    Parameters
    ----------
    n : number of samples, >= 1
    confidence : in (0, 1)

    Returns
    -------
    the number of standard errors to each side; NaN for one sample

    Raises
    ------
    ValueError : `confidence` out of range

    Examples
    --------
    >>> from amtheory.intervals import student_quantile
    >>> round(student_quantile(10, 0.95), 2)
    2.26
    """
    n, confidence = check.integer("n", n, 1), check.between("confidence", confidence, 0, 1)
    return float(stdtrit(n - 1, (1 + confidence) / 2)) if n > 1 else np.nan


def mean_and_error(
    values: Float64[np.ndarray, " n *shape"],
) -> tuple[Float64[Any, "*shape"], Float64[Any, "*shape"]]:
    """Mean over samples and its standard error.

    Parameters
    ----------
    values : (n, ...) float64, samples along the first axis

    Returns
    -------
    mean, error : (...); the error is NaN for one sample, and exactly 0 where all samples agree

    Examples
    --------
    >>> import numpy as np
    >>> from amtheory.intervals import mean_and_error
    >>> [float(number) for number in mean_and_error(np.array([1.0, 3.0]))]
    [2.0, 1.0]
    """
    values = _samples("values", values)
    n, mean = len(values), values.mean(axis=0)
    if n == 1:
        return mean, np.full_like(mean, np.nan)
    return mean, np.where((values == values[0]).all(axis=0), 0.0, values.std(axis=0, ddof=1) / np.sqrt(n))


def student(values: xr.DataArray, dim: str, confidence: float = 0.95) -> xr.DataArray:
    """Mean over samples with Student's interval, of the values that are not NaN.

    Parameters
    ----------
    values : of any dimensions
    dim : that of the samples
    confidence : of the interval, in (0, 1); default 0.95

    Returns
    -------
    DataArray with a dimension ``estimate`` (mean, low, high) for `dim`; ends are NaN for one sample

    Examples
    --------
    >>> import xarray as xr
    >>> from amtheory.intervals import student
    >>> student(xr.DataArray([1.0, 2.0, 3.0, 4.0], dims="sample"), "sample").values.round(2).tolist()
    [2.5, 0.45, 4.55]
    """
    import xarray as xr

    if not isinstance(values, xr.DataArray) or values.dtype.kind not in "biuf":
        raise TypeError(f"`values` must be a DataArray of numbers, got {type(values).__name__}")
    check.choice("dim", dim, tuple(map(str, values.dims)))
    confidence = check.between("confidence", confidence, 0, 1)
    n, mean = values.count(dim), values.mean(dim)
    half = stdtrit(n - 1, (1 + confidence) / 2) * values.std(dim, ddof=1) / np.sqrt(n)
    estimate = xr.DataArray(list(Estimate._fields), dims="estimate", name="estimate")
    return xr.concat([mean, mean - half, mean + half], estimate)


def bootstrap_ratio(
    numerator: Num[np.ndarray, " N"],
    denominator: Num[np.ndarray, " N"],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Estimate:
    """sum(numerator) / sum(denominator) with a percentile bootstrap interval over sequences.

    Tokens of one sequence are not independent; sequences are, so these are what is resampled. A rate of exactly 0 or 1
    has no spread to resample: it gets Wilson's interval with each sequence as one trial.

    Parameters
    ----------
    numerator, denominator : one number for each sequence, (N,); sequences of denominator 0 count for nothing
    rng : generator of the resampling
    confidence : of the interval, in (0, 1); default 0.95
    resamples : number of bootstrap samples, >= 1; default 1000

    Returns
    -------
    Estimate : without interval (NaN) for one sequence, all NaN for a denominator of 0

    Examples
    --------
    >>> import numpy as np
    >>> from amtheory.intervals import bootstrap_ratio
    >>> rate = bootstrap_ratio(np.array([1, 2, 0, 3]), np.array([2, 3, 1, 4]), np.random.default_rng(0))
    >>> rate.value, rate.low < 0.6 < rate.high
    (0.6, True)
    """
    numerator, denominator = (
        check.reals("numerator", numerator, ndim=1),
        check.reals("denominator", denominator, ndim=1),
    )
    if numerator.shape != denominator.shape or not (denominator >= 0).all():
        raise ValueError(f"`denominator` must be numbers >= 0, one for each of `numerator`, got {denominator}")
    check.drawn_from(rng)
    check.between("confidence", confidence, 0, 1)
    total = denominator.sum()
    if total == 0:
        return Estimate(np.nan, np.nan, np.nan)
    value = float(numerator.sum() / total)
    counted = int(np.count_nonzero(denominator))
    if np.all(numerator == 0) or np.array_equal(numerator, denominator):
        return wilson(counted * value, counted, confidence)
    if counted < 2:
        return Estimate(value, np.nan, np.nan)
    above, below = resampled_sums(np.stack([numerator, denominator], 1), rng, resamples).T
    ratios = above[below > 0] / below[below > 0]
    low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))


def bootstrap_mean(
    values: Num[np.ndarray, " N"], rng: np.random.Generator, *, confidence: float = 0.95, resamples: int = 1000
) -> Estimate:
    """Mean of the finite values with a percentile bootstrap interval.

    Parameters
    ----------
    values : (N,) independent; those that are not finite are left out
    rng : generator of the resampling
    confidence : of the interval, in (0, 1); default 0.95
    resamples : number of bootstrap samples, >= 1; default 1000

    Returns
    -------
    Estimate : NaN for what fewer than two values do not determine

    Examples
    --------
    >>> import numpy as np
    >>> from amtheory.intervals import bootstrap_mean
    >>> bootstrap_mean(np.array([1.0, np.nan, 4.0]), np.random.default_rng(0))
    Estimate(value=2.5, low=1.0, high=4.0)
    """
    values = check.reals("values", values, ndim=1)
    check.drawn_from(rng)
    check.between("confidence", confidence, 0, 1)
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return Estimate(float(finite[0]) if len(finite) else np.nan, np.nan, np.nan)
    means = resampled_sums(finite, rng, resamples) / len(finite)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(finite.mean()), float(low), float(high))


def resampled_sums(
    values: Num[np.ndarray, " N *shape"], rng: np.random.Generator, resamples: int, together: int = 50
) -> Num[np.ndarray, " {resamples} *shape"]:
    """Bootstrap: sums over as many rows as there are, drawn with replacement.

    Parameters
    ----------
    values : (N, ...)
    rng : generator of the draws
    resamples : number of sums, >= 1
    together : how many of them are drawn at a time, which bounds the memory and does not change the draws; default 50

    Returns
    -------
    (resamples, ...)

    Examples
    --------
    >>> import numpy as np
    >>> from amtheory.intervals import resampled_sums
    >>> resampled_sums(np.ones(10), np.random.default_rng(0), 3).tolist()
    [10.0, 10.0, 10.0]
    """
    values, rng = _samples("values", values), check.drawn_from(rng)
    resamples, together = check.integer("resamples", resamples, 1), check.integer("together", together, 1)
    n = len(values)

    def counts(size: int) -> NDArray[np.int64]:
        """How often each row is drawn in each of so many resamples, in a quarter of the time of `rng.multinomial`."""
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)

    sizes = (min(together, resamples - done) for done in range(0, resamples, together))
    return np.concatenate([counts(size) @ values for size in sizes])


def expanded_percentiles(resampled: Float64[np.ndarray, " R"], n: int, confidence: float) -> tuple[float, float]:
    """Ends of the percentile interval of a bootstrap over n samples, expanded for small n (Hesterberg, Am. Stat. 69,
    371, 2015).

    Parameters
    ----------
    resampled : (R,) bootstrap values; an undetermined one (NaN) may be anything and counts against both ends
    n : number of samples that were resampled
    confidence : in (0, 1)

    Returns
    -------
    low, high : NaN where not finite, and for one sample

    Raises
    ------
    ValueError : `confidence` out of range

    Examples
    --------
    >>> import numpy as np
    >>> from amtheory.intervals import expanded_percentiles
    >>> low, high = expanded_percentiles(np.arange(1000.0), 10, 0.95)
    >>> bool(low < 25 and high > 975)  # the percentiles themselves
    True
    """
    resampled, n = _samples("resampled", check.reals("resampled", resampled, ndim=1)), check.integer("n", n, 1)
    check.between("confidence", confidence, 0, 1)
    tail = ndtr(-np.sqrt(n / (n - 1)) * student_quantile(n, confidence)) if n > 1 else 0.5
    lows, highs = (np.where(np.isnan(resampled), infinity, resampled) for infinity in (-np.inf, np.inf))
    low = np.quantile(lows, tail, method="inverted_cdf")
    high = np.quantile(highs, 1 - tail, method="inverted_cdf")
    return (
        float(low) if n > 1 and np.isfinite(low) else np.nan,
        float(high) if n > 1 and np.isfinite(high) else np.nan,
    )


def _proportion(successes: float, trials: float, confidence: float) -> tuple[float, float, float]:
    """The arguments of an interval of a proportion, once they are in range; one above 1 by rounding is 1."""
    successes = check.real("successes", successes, positive=False)
    trials = check.real("trials", trials, positive=False)
    if successes > trials * (1 + 1e-9):
        raise ValueError(f"`successes` must be in [0, trials], got {successes} of {trials}")
    return min(successes, trials), trials, check.between("confidence", confidence, 0, 1)


def _samples(name: str, values: ArrayLike) -> NDArray[Any]:
    """`values` as an array of real numbers with samples along its first axis, at least one."""
    array = check.unmasked(name, values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{name}` must be real numbers, got dtype {array.dtype}")
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"`{name}` must hold at least one sample along its first axis, got shape {array.shape}")
    return array
