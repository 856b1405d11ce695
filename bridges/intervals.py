"""Confidence intervals for measured rates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.special import ndtri, stdtrit


class Estimate(NamedTuple):
    """A value and its confidence interval; all NaN where nothing was measured."""

    value: float
    low: float
    high: float


def wilson(successes: float, trials: float, confidence: float = 0.95) -> Estimate:
    """A proportion of independent trials with Wilson's score interval (Wilson 1927)."""
    if trials == 0:
        return Estimate(np.nan, np.nan, np.nan)
    z = ndtri((1 + confidence) / 2)
    p = successes / trials
    centre = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    return Estimate(p, min(max(centre - half, 0.0), p), max(min(centre + half, 1.0), p))


def student(values: xr.DataArray, dim: str, confidence: float = 0.95) -> xr.DataArray:
    """Mean over `dim` with Student's interval, along a new dimension ``estimate``; of the values that are not NaN."""
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
