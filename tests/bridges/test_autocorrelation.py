"""Autocorrelation times against those of processes that have known ones."""

import numpy as np
import pytest
from scipy.signal import lfilter

from bridges.autocorrelation import autocorrelation_time


@pytest.mark.statistical(alarm=5e-3)
@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.5, 0.9])
def test_autocorrelation_time_of_ar1(phi, seed):
    """x_{k+1} = phi x_k + noise: tau = (1 + phi)/(1 - phi). The 99.9 % interval holds it, that of another phi fails;
    within 4.5 standard errors, tau sqrt(2 (2M + 1)/(n N)) of a sum up to lag M (Sokal)."""
    rng = np.random.default_rng(seed(0))
    n, N = 2000, 100
    values = np.empty((n, N))
    values[0] = rng.standard_normal(N)
    for k in range(1, n):
        values[k] = phi * values[k - 1] + np.sqrt(1 - phi**2) * rng.standard_normal(N)
    tau = (1 + phi) / (1 - phi)

    def error(window, chains):
        return tau * np.sqrt(2 * (2 * window * max(tau, 1) + 1) / (n * chains))

    estimate = autocorrelation_time(3 + values, window=10, rng=seed(0), confidence=0.999)
    assert estimate.low < tau < estimate.high
    assert not estimate.low < tau * 1.5 < estimate.high
    assert estimate.value == pytest.approx(tau, abs=4.5 * error(10, N))
    one = autocorrelation_time(values[:, :1], rng=seed(0))
    assert one.value == pytest.approx(tau, abs=4.5 * error(5, 1))
    assert np.isnan(one.low)


def test_autocorrelation_time_where_there_is_none():
    assert np.isnan(autocorrelation_time(np.ones((50, 3)), rng=0)).all()
    slow = np.cumsum(np.random.default_rng(0).standard_normal((60, 4)), 0)
    assert np.isnan(autocorrelation_time(slow, rng=0)).all()
    assert np.isnan(autocorrelation_time(np.resize([1.0, -1.0], (400, 1)), rng=0)).all()
    short = lfilter([1], [1, -0.8], np.random.default_rng(0).standard_normal((1100, 20)), 0)[1000:]  # tau = 9
    assert np.isnan(autocorrelation_time(short, rng=0)).all()
    for bad in (np.ones(5), np.full((5, 2), np.nan), np.ones((0, 2))):
        with pytest.raises(ValueError, match="`values`"):
            autocorrelation_time(bad)
    with pytest.raises(ValueError, match="`window`"):
        autocorrelation_time(np.ones((5, 2)), window=0)
