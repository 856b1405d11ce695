"""Patterns made of features: spinodals and overlaps against known ones, plain iteration, limits and simulations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import comb, erf

from amtheory import Hopfield, patterns, retrieve
from amtheory.theory import _gauss, hopfield
from amtheory.theory.hopfield import critical_load
from amtheory.theory.random_features import (
    generalization_load,
    generalization_overlap,
    learning_load,
    learning_overlap,
    storage_load,
    storage_overlap,
)


def test_spinodals():
    """Another solver of the same equations; for mixtures, the published curves agree within 1 %."""
    features = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1]
    expected = [0.008867, 0.017927, 0.046309, 0.097862, 0.219112, 0.797926, 4.141792]
    np.testing.assert_allclose(learning_load(features), expected, rtol=5e-5)
    loads = [generalization_load(0.005, n) for n in (1, 3, 5, 7, 9)]
    np.testing.assert_allclose(loads, [0.046309, 0.20427, 0.43209, 0.78085, 1.37756], rtol=2e-5)
    loads = [generalization_load(0.01, n) for n in (3, 5, 7, 9)]
    np.testing.assert_allclose(loads, [0.52135, 1.58962, 8.75852, np.inf], rtol=2e-5)


def fixed_point(alpha, alpha_D, n, features=True):
    """Overlaps m and w (n = 0) from plain iteration of the equations by quadrature, from a perfect state; 0.0 if it
    leaves the domain of the equations. Without `features` an example is not seen by its features: w is left out."""
    u, weights = _gauss.rule([0])
    xi, p = (np.abs(u), weights) if n == 0 else (2.0 * np.arange(n + 1) - n, comb(n, np.arange(n + 1)) / 2.0**n)
    K, a = 2 / np.pi, alpha / alpha_D
    m = w = 1.0 if n == 0 else np.abs(xi) @ p / n
    qh, d1, d2 = 1.0, 1.0, 1.0
    for _ in range(4000):
        t, gain = 1 / np.sqrt(alpha * qh), a * K / d1
        y = t * (m + gain * w * features * xi if n == 0 else gain * m * xi)
        dq, reply = 2 * t * (p @ _gauss.density(y)), erf(y / np.sqrt(2))
        m, w = (p @ reply, p @ (xi * reply)) if n == 0 else (p @ (xi * reply) / n, 0.0)
        for _ in range(50):
            d2 = 1 - a * dq * K / d1
            d1 = 1 - K * dq / d2 - (1 - K) * dq
            if min(d1, d2) < 1e-3:
                return 0.0
        first = (w**2 * features if n == 0 else n * m**2) / alpha_D + 1 / d2**2
        ph = 0.0
        for _ in range(200):
            pd = first + a * dq**2 / d2**2 * ph
            ph = K * (K * pd + 1 - K) / d1**2
            if ph > 1e9:
                return 0.0
        step = (1 - K) * (K * pd + 1 - K) / d1**2 + (ph + a * (K / d1) ** 2) / d2**2 - qh
        if abs(step) < 1e-14 * qh:
            break
        qh += 0.5 * step
    return p @ (np.sign(xi) * reply)


@pytest.mark.parametrize(("alpha_D", "n"), [(0.02, 0), (0.5, 0), (0.01, 1), (0.05, 1), (0.01, 3), (0.005, 5)])
def test_iteration_of_the_equations(alpha_D, n):
    if n:
        critical, sign = generalization_load(alpha_D, n), 1
        found = generalization_overlap(critical * 1.05, alpha_D, n)
    else:
        critical, sign = storage_load(alpha_D), -1
        found = storage_overlap(critical * 0.95, alpha_D)
    assert fixed_point(critical * (1 + sign * 0.05), alpha_D, n) == pytest.approx(found, abs=1e-9)
    assert fixed_point(critical * (1 - sign * 0.02), alpha_D, n) < 0.5


@pytest.mark.statistical(alarm=1e-4)
@pytest.mark.parametrize(("D", "P", "samples", "tolerance"), [(400, 61, 12, 0.0004), (2000, 161, 4, 0.0012)])
def test_stored_examples_of_a_simulation(D, P, samples, tolerance, seed):
    """L = 2000. One example in some thousand is lost; the mean overlap of the others has a standard deviation of 0.0003
    over samples (60 and 20 seeds), corrections in 1 / L are below 0.0001: five standard deviations of the mean."""
    L, means = 2000, []
    for n in range(samples):
        x, _, _ = patterns.random_features(P, L, D, rng=seed(n))
        final, _ = retrieve(Hopfield().fit(x), x, update="sequential", rng=seed(n))
        m = (final * x).mean(axis=1)
        assert (m > 0.9).mean() > 0.95
        means.append(m[m > 0.9].mean())
    assert np.mean(means) == pytest.approx(storage_overlap(P / L, D / L), abs=tolerance)
    # negative control: an example that is not seen by its features
    assert np.mean(means) != pytest.approx(fixed_point(P / L, D / L, 0, features=False), abs=tolerance)


def test_published_storage_equations_leave_out_the_features():
    """They have examples kept far above the load up to which they are in simulations: 0.0680 at alpha_D = 0.05."""
    assert fixed_point(0.067, 0.05, 0, features=False) > 0.99
    assert fixed_point(0.069, 0.05, 0, features=False) < 0.5
    assert storage_load(0.05) == pytest.approx(0.020848, abs=1e-6)


def test_limits():
    """Many features are independent patterns. Perfectly learned features are the patterns of a Hopfield memory, at
    load alpha_D. Few features are learned from about 8.8 examples each."""
    assert storage_load(1e5) == pytest.approx(critical_load(), rel=1e-5)
    np.testing.assert_allclose(storage_overlap([0.05, 0.13], 1e6), hopfield.overlap([0.05, 0.13]), atol=1e-6)
    assert learning_load(0.9 * critical_load()) < 30
    assert 200 < learning_load(0.9999 * critical_load()) < np.inf
    np.testing.assert_array_equal(learning_load([1.0001 * critical_load(), 1.0]), [np.inf, np.inf])
    np.testing.assert_allclose(learning_overlap(1e10, [0.05, 0.13]), hopfield.overlap([0.05, 0.13]), atol=1e-6)
    assert learning_load(1e-4) / 1e-4 == pytest.approx(8.8, abs=0.05)
    assert storage_load(1e-4) / 1e-4 == pytest.approx(0.509, abs=0.001)
    assert np.ndim(learning_load(0.1)) == np.ndim(storage_overlap(0.1, 0.1)) == 0


def test_overlaps():
    assert learning_overlap(0.14, 0.01) == pytest.approx(0.99378, abs=5e-6)
    np.testing.assert_array_equal(learning_overlap([0.09, 100.0], [0.01, 0.2]), [0, 0])
    np.testing.assert_array_equal(storage_overlap([5e-324, 1e-9, 0.03], 0.05), [1, 1, 0])
    np.testing.assert_array_equal(learning_overlap([0.3, 0.4], 0.02), generalization_overlap([0.3, 0.4], 0.02, 1))


@settings(max_examples=50)
@given(st.floats(1e-4, 0.05), st.floats(1.02, 3), st.floats(0.01, 2), st.floats(1.001, 2))
def test_order(alpha_D, factor, fraction, ratio):
    assert storage_load(alpha_D) < storage_load(alpha_D * factor) < critical_load()
    loads = [learning_load(alpha_D), generalization_load(alpha_D, 3), generalization_load(alpha_D, 5)]
    assert loads == sorted(loads)
    assert learning_load(alpha_D) < learning_load(alpha_D * factor)
    stored = storage_overlap(storage_load(alpha_D) * fraction * np.array([1, ratio]), alpha_D)
    assert 1 >= stored[0] >= stored[1] >= 0
    learned = learning_overlap(learning_load(alpha_D) * fraction * np.array([1, ratio]), alpha_D)
    assert 0 <= learned[0] <= learned[1] <= 1


@pytest.mark.statistical(alarm=1e-4)
@pytest.mark.parametrize(("D", "P", "n", "tolerance"), [(40, 701, 1, 0.004), (20, 2401, 3, 0.0007)])
def test_learned_mixtures_of_a_simulation(D, P, n, tolerance, seed):
    """L = 2000, 60 mixtures that are not among the examples. Most stay; the mean overlap of those has a standard
    deviation of 0.0011 and 0.0002 (16 seeds): over five of the mean of 3 samples."""
    L, means = 2000, []
    for k in range(3):
        x, features, _ = patterns.random_features(P, L, D, rng=seed(k))
        rng = np.random.default_rng(seed(k))
        chosen = [features[rng.choice(D, n, replace=False)] for _ in range(60)]
        states = np.sign([rng.choice([-1, 1], n) @ f for f in chosen])
        final, _ = retrieve(Hopfield().fit(x), states, update="sequential", rng=seed(k))
        m = (final * states).mean(axis=1)
        assert (m > 0.9).mean() > 0.8
        means.append(m[m > 0.9].mean())
    assert np.mean(means) == pytest.approx(generalization_overlap(P / L, D / L, n), abs=tolerance)
    # negative control: fewer examples
    assert np.mean(means) != pytest.approx(generalization_overlap(P / L / 1.5, D / L, n), abs=tolerance)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: storage_load(0), ValueError, r"`alpha_D` must be in \[1e-4, 1e6\], got 0"),
        (lambda: learning_load([0.1, np.nan]), ValueError, r"`alpha_D` must be in \[1e-4, 1e6\]"),
        (lambda: storage_overlap(0, 0.1), ValueError, "`alpha` must be finite and > 0, got 0"),
        (lambda: learning_overlap(0.1, -0.1), ValueError, r"`alpha_D` must be in \[1e-4, 1e6\], got -0.1"),
        (lambda: generalization_overlap(0.1, 0.1, 4), ValueError, "`n` must be odd, got 4"),
        (lambda: generalization_load(0.1, 2), ValueError, "`n` must be odd, got 2"),
        (lambda: generalization_load(0.1, 3.0), TypeError, r"`n` must be an integer in \[1, 99\], got 3.0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
