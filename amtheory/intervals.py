"""Confidence intervals: of rates, of means over independent samples, of whatever can be resampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A value and the ends of its confidence interval; NaN for what the data do not determine."""

    value: float
    low: float
    high: float


def wilson(successes: float, trials: float, confidence: float = 0.95) -> Estimate:
    """A proportion of independent trials with Wilson's score interval (Wilson 1927)."""
    if trials == 0:
        return Estimate(np.nan, np.nan, np.nan)
    p = successes / trials
    low, high = wilson_ends(p, trials, ndtri((1 + confidence) / 2))
    return Estimate(p, float(low), float(high))


def wilson_ends(p: ArrayLike, trials: ArrayLike, quantile: ArrayLike) -> tuple[Floats, Floats]:
    """Ends of Wilson's interval for proportions p of `trials`, not necessarily whole numbers, at a quantile of the
    normal law, or of Student's where `trials` are estimated."""
    p, n, z = (np.asarray(value, np.float64) for value in (p, trials, quantile))
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.clip(centre - half, 0.0, p), np.clip(centre + half, p, 1.0)


def student_quantile(n: int, confidence: float) -> float:
    """Student's two-sided quantile for the mean of n samples, NaN for one."""
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be in (0, 1), got {confidence}")
    return float(stdtrit(n - 1, (1 + confidence) / 2)) if n > 1 else np.nan


def mean_and_error(values: Floats) -> tuple[Floats, Floats]:
    """Mean over samples, the first axis, and its standard error, NaN for one sample."""
    n, mean = len(values), values.mean(axis=0)
    if n == 1:
        return mean, np.full_like(mean, np.nan)
    return mean, np.where((values == values[0]).all(axis=0), 0.0, values.std(axis=0, ddof=1) / np.sqrt(n))


def student(values: xr.DataArray, dim: str, confidence: float = 0.95) -> xr.DataArray:
    """Mean over `dim` with Student's interval, along a new dimension ``estimate``; of the values that are not NaN."""
    import xarray as xr

    n, mean = values.count(dim), values.mean(dim)
    half = stdtrit(n - 1, (1 + confidence) / 2) * values.std(dim, ddof=1) / np.sqrt(n)
    estimate = xr.DataArray(list(Estimate._fields), dims="estimate", name="estimate")
    return xr.concat([mean, mean - half, mean + half], estimate)


def bootstrap_ratio(
    numerator: np.ndarray,
    denominator: np.ndarray,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Estimate:
    """sum(numerator) / sum(denominator) with a percentile bootstrap interval over sequences.

    Tokens of one sequence are not independent; sequences are, so these are what is resampled. A rate of exactly 0 or 1
    has no spread to resample: it gets Wilson's interval with each sequence as one trial. One sequence alone gives no
    interval (NaN).

    Parameters
    ----------
    numerator, denominator : one number for each sequence, (N,)
    """
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
    values: np.ndarray, rng: np.random.Generator, *, confidence: float = 0.95, resamples: int = 1000
) -> Estimate:
    """Mean of the finite `values` (N,) with a percentile bootstrap interval, NaN for fewer than two."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return Estimate(float(finite[0]) if len(finite) else np.nan, np.nan, np.nan)
    means = resampled_sums(finite, rng, resamples) / len(finite)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(finite.mean()), float(low), float(high))


def resampled_sums(values: np.ndarray, rng: np.random.Generator, resamples: int, together: int = 50) -> np.ndarray:
    """Sums of `values` (N, ...) over rows drawn with replacement, (resamples, ...)."""
    n = len(values)
    draws = (min(together, resamples - done) for done in range(0, resamples, together))
    return np.concatenate([rng.multinomial(n, np.full(n, 1 / n), size=size) @ values for size in draws])


def expanded_percentiles(resampled: Floats, n: int, confidence: float) -> tuple[float, float]:
    """Ends of the percentile interval of a bootstrap over n samples, expanded for small n (Hesterberg, Am. Stat. 69,
    371, 2015).

    An undetermined (NaN) value may be anything and counts against both ends; ends that are not finite are NaN.
    """
    tail = ndtr(-np.sqrt(n / (n - 1)) * student_quantile(n, confidence)) if n > 1 else 0.5
    lows, highs = (np.where(np.isnan(resampled), infinity, resampled) for infinity in (-np.inf, np.inf))
    low = np.quantile(lows, tail, method="inverted_cdf")
    high = np.quantile(highs, 1 - tail, method="inverted_cdf")
    return (
        float(low) if n > 1 and np.isfinite(low) else np.nan,
        float(high) if n > 1 and np.isfinite(high) else np.nan,
    )
