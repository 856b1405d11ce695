"""How many steps of a chain are worth one independent draw."""

from __future__ import annotations

import numpy as np
from jaxtyping import Num

from amtheory.intervals import Estimate, bootstrap_ratio
from bridges.streams import as_seed, stream
from bridges.system import check_confidence


def autocorrelation_time(
    values: Num[np.ndarray, "n N"],
    *,
    window: float = 5.0,
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Integrated autocorrelation time tau = 1 + 2 sum_{k = 1 ... M} rho(k) of stationary chains, in steps.

    M is the smallest with M >= window max(tau, 1) (Sokal 1997, Functional Integration, p. 131). Autocovariances are
    averaged over chains about the mean of all. n N values are worth n N / tau independent ones.

    Parameters
    ----------
    values : (n, N), N chains of n steps
    window : in units of tau, > 0
    rng : seed or generator of the bootstrap
    confidence : of the interval, in (0, 1)

    Returns
    -------
    Estimate : with a bootstrap interval over chains at fixed M (NaN for one chain); all NaN for constant values, where
        no M <= n / 2 suffices or n < 20 tau (the chains are too short to tell), and where the sum is not positive
        (values that alternate for longer than M).

    Raises
    ------
    ValueError : values that are not finite or not (n, N), or an argument out of range.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"`values` must be finite, of shape (n, N) with n, N >= 1, got shape {values.shape}")
    if not window > 0:
        raise ValueError(f"`window` must be positive, got {window}")
    check_confidence(confidence)
    n = len(values)
    spectrum = np.abs(np.fft.rfft(values - values.mean(), 2 * n, axis=0)) ** 2
    covariance = np.fft.irfft(spectrum, axis=0)[: n // 2 + 1] / np.arange(n, n - n // 2 - 1, -1)[:, None]
    sums = 2 * covariance.cumsum(0) - covariance[0]
    if np.ptp(values) == 0:
        return Estimate(np.nan, np.nan, np.nan)
    taus = sums.sum(1) / covariance[0].sum()
    enough = np.arange(len(sums)) >= window * np.maximum(taus, 1)
    M = enough.argmax()
    if not enough[M] or not 0 < taus[M] <= n / 20:
        return Estimate(np.nan, np.nan, np.nan)
    return bootstrap_ratio(sums[M], covariance[0], stream(as_seed(rng), "autocorrelation"), confidence=confidence)
