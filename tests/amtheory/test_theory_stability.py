"""Gaussian averages, and distributions of stabilities against closed forms, quadrature and measured memories."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erf, ndtr

from amtheory import Hopfield, patterns
from amtheory.theory import _gauss, hopfield, stability
from amtheory.theory.stability import StabilityDistribution


def test_gaussian_moments():
    t, w = _gauss.rule()
    assert [w @ t**k for k in range(9)] == pytest.approx([1, 0, 1, 0, 3, 0, 15, 0, 105], abs=1e-12)


@given(st.floats(-12, 12))
def test_gaussian_average_with_a_kink(kink):
    t, w = _gauss.rule([kink])
    exact = 2 * _gauss.density(kink) + kink * (2 * ndtr(kink) - 1)
    assert w @ np.abs(t - kink) == pytest.approx(exact, rel=1e-13)


def test_hebb():
    """The first step is erf(m0 / sqrt(2 alpha)), the known one, from every overlap."""
    m0 = np.append(np.linspace(-1, 1, 21), 1 - np.logspace(-14, -2, 25))
    for load in (0.01, 0.1, 0.5, 3.0):
        distribution = stability.hebb(load)
        assert distribution.mean() == pytest.approx(1 / np.sqrt(load), rel=1e-12)
        assert distribution.variance() == pytest.approx(1, rel=1e-12)
        np.testing.assert_allclose(distribution.first_step(m0), hopfield.one_step_map(load, m0), atol=1e-12)
        assert distribution.slope() == pytest.approx(np.sqrt(2 / (np.pi * load)))


@pytest.mark.parametrize("load", [0.5, 0.7, 0.9])
def test_pseudo_inverse(load):
    distribution = stability.pseudo_inverse(load)
    delta = np.sqrt((1 - load) / load)
    assert (distribution.mean(), distribution.variance()) == (pytest.approx(delta), 0)
    edge = distribution.dilute_edge()
    assert edge == pytest.approx(erf(edge * delta / np.sqrt(2 * (1 - edge**2))), abs=1e-12)
    assert distribution.first_step(edge + 1e-3) > edge + 1e-3
    assert distribution.first_step(edge - 1e-3) < edge - 1e-3


def test_edges_of_extreme_distributions():
    assert stability.pseudo_inverse(0.01).dilute_edge() == 0.0  # attracts from everywhere
    assert stability.empirical([-1.0, -0.5]).dilute_edge() == 1.0  # from nowhere
    # slope 1 at 0 is where the edge leaves 0
    below, above = np.sqrt(np.pi / 2) * np.array([0.98, 1.02])
    assert stability.empirical([above]).dilute_edge() == 0.0
    assert 0.0 < stability.empirical([below]).dilute_edge() < 1.0
    almost = stability.empirical([np.sqrt(np.pi / 2) * (1 - 1e-8)])
    assert almost.first_step(almost.dilute_edge()) == pytest.approx(almost.dilute_edge(), rel=1e-10)
    assert 0.0 < almost.dilute_edge() < 1e-3


def test_slope_is_the_derivative_at_0():
    distribution = stability.empirical([0.3, 1.0, 2.0, -0.1])
    assert distribution.slope() == pytest.approx(distribution.first_step(1e-6) / 1e-6, rel=1e-9)


def test_first_step_at_the_pattern():
    distribution = stability.empirical([0.0, 2.0, 1.0, -1.0])
    np.testing.assert_array_equal(distribution.first_step([1.0, -1.0, 0.0]), [0.25, -0.25, 0.0])
    assert np.ndim(distribution.first_step(0.5)) == 0


@given(st.lists(st.floats(0, 5), min_size=1, max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_first_step_grows_with_the_overlap(stabilities, a, b):
    low, high = stability.empirical(stabilities).first_step(sorted([a, b]))
    assert low <= high + 1e-14  # means of up to 5 error functions below 1, each within some 2^-52


def test_first_step_equals_quadrature():
    def weighted(t):
        return _gauss.density(t) * erf(0.6 * (t + 2.0) / np.sqrt(2 * 0.64))

    assert stability.hebb(0.25).first_step(0.6) == pytest.approx(quad(weighted, -12, 12, epsabs=1e-13)[0], abs=1e-12)


@pytest.mark.statistical(alarm=1e-6)
def test_empirical_first_step_of_a_hopfield_memory(seed):
    """The map from measured stabilities predicts the measured step: standard deviation 0.0020 over 12
    seeds, so one seed in 1e6 fails."""
    L, P, flips = 500, 101, 75
    x = patterns.random_patterns(P, L, rng=seed(1))
    memory = Hopfield().fit(x)
    W = memory.couplings_
    predicted = stability.empirical(x * (x @ W.T) / np.linalg.norm(W, axis=1)).first_step(1 - 2 * flips / L)
    measured = (x * np.sign(memory.local_field(patterns.flip(x, flips, rng=seed(2))))).mean()
    assert measured == pytest.approx(predicted, abs=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: StabilityDistribution(np.zeros(2), np.ones(3) / 3), "of the same length"),
        (lambda: StabilityDistribution(np.array([np.nan]), np.ones(1)), "finite"),
        (
            lambda: StabilityDistribution(np.zeros(2), np.ones(2)),
            "`weights` must be >= 0 and sum to 1, got a sum of 2.0",
        ),
        (lambda: StabilityDistribution(np.zeros(2), np.array([2.0, -1.0])), "`weights` must be >= 0"),
        (lambda: stability.empirical([]), "`stabilities` must be finite and at least one"),
        (lambda: stability.empirical([np.inf]), "`stabilities` must be finite"),
        (lambda: stability.hebb(0), "`load` must be finite and > 0, got 0"),
        (lambda: stability.pseudo_inverse(1.0), r"`load` must be in \(0, 1\), got 1.0"),
        (lambda: stability.hebb(0.1).first_step(1.1), r"`m0` must be in \[-1, 1\], got 1.1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
