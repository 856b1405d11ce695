"""Spinodals of patterns made of features against published saddle points, plain iteration, limits and a simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import comb, erf

from amtheory import Hopfield, patterns, retrieve
from amtheory.theory import _gauss
from amtheory.theory.hopfield import critical_load
from amtheory.theory.random_features import generalization_load, learning_load, storage_load


def test_spinodals():
    """Two solvers of the same equations, and for mixtures the published curves, agree within 1 %."""
    features = [0.005, 0.01, 0.02, 0.05, 0.1]
    np.testing.assert_allclose(storage_load(features), [0.026711, 0.036419, 0.048578, 0.067991, 0.084042], rtol=1e-3)
    np.testing.assert_allclose(learning_load(features), [0.046309, 0.097862, 0.219112, 0.797926, 4.141792], rtol=1e-3)
    loads = [generalization_load(0.005, n) for n in (1, 3, 5, 7, 9)]
    np.testing.assert_allclose(loads, [0.046309, 0.20427, 0.43209, 0.78085, 1.37756], rtol=1e-3)
    assert generalization_load(0.01, 9) == np.inf


def final_overlap(alpha, alpha_D, n, steps=4000):
    """Plain iteration of the eight equations from a perfect state; 0.0 if it leaves it or their domain."""
    zeta = np.arange(1, max(n, 1) + 1, 2)
    p = comb(max(n, 1), (max(n, 1) + zeta) // 2) / 2.0 ** max(n, 1)
    k1, ks, a = 2 / np.pi, 1 - 2 / np.pi, alpha / alpha_D
    m = start = 2 / max(n, 1) * (p @ zeta)
    qh, d1, d2 = 1.0, 1.0, 1.0
    for _ in range(steps):
        t = 1 / np.sqrt(alpha * qh)
        field = a * k1 / d1 * m if n else m
        y = field * t
        dq = 4 * t * (p @ _gauss.density(zeta * y))
        m = 2 / max(n, 1) * ((p * zeta) @ erf(zeta * y / np.sqrt(2)))
        for _ in range(50):  # at fixed dq
            d2 = 1 - a * dq * k1 / d1
            d1 = 1 - k1 * dq / d2 - ks * dq
            if min(d1, d2) < 1e-3:
                return 0.0
        first, second = n * m**2 / alpha_D + 1 / d2**2, a * dq**2 / d2**2
        ph = 0.0
        for _ in range(200):
            pd = first + second * ph
            ph = k1 * (k1 * pd + ks) / d1**2
            if ph > 1e9:
                return 0.0
        new = ks * (k1 * pd + ks) / d1**2 + (ph + a * (k1 / d1) ** 2) / d2**2
        qh += 0.5 * (new - qh)
    return m if m > start / 2 else 0.0


@pytest.mark.parametrize(("alpha_D", "n"), [(0.05, 0), (0.5, 0), (0.01, 1), (0.05, 1), (0.01, 3), (0.005, 5)])
def test_iteration_of_the_equations_finds_the_same_spinodal(alpha_D, n):
    critical, sign = (generalization_load(alpha_D, n), 1) if n else (storage_load(alpha_D), -1)
    assert final_overlap(critical * (1 + sign * 0.02), alpha_D, n) > 0
    assert final_overlap(critical * (1 - sign * 0.02), alpha_D, n) == 0


def test_limits():
    """Many features are independent patterns. Perfectly learned features are the patterns of a Hopfield memory, at
    load alpha_D. Few features are learned from about 8.8 examples each."""
    assert storage_load(1e5) == pytest.approx(critical_load(), rel=1e-5)
    assert learning_load(0.9 * critical_load()) < 30
    assert 200 < learning_load(0.995 * critical_load()) < np.inf
    np.testing.assert_array_equal(learning_load([1.005 * critical_load(), 1.0]), [np.inf, np.inf])
    assert learning_load(1e-4) / 1e-4 == pytest.approx(8.8, abs=0.05)
    assert np.ndim(learning_load(0.1)) == 0


@settings(max_examples=10)
@given(st.floats(1e-3, 0.05), st.floats(1.02, 3))
def test_order_of_the_spinodals(alpha_D, factor):
    assert storage_load(alpha_D) < storage_load(alpha_D * factor) < critical_load()
    loads = [learning_load(alpha_D), generalization_load(alpha_D, 3), generalization_load(alpha_D, 5)]
    assert loads == sorted(loads)
    assert learning_load(alpha_D) < learning_load(alpha_D * factor)


def test_features_of_a_simulation():
    """L = 1000, D = 10: features are learned above alpha = 0.098. The mean over the features is 0.37 with a standard
    deviation of 0.12 at alpha = 0.03, and 1 in all of 10 seeds at 0.4: about one seed in 1e5 fails."""
    overlaps = []
    for P in (30, 400):
        x, features, _ = patterns.random_features(P, 1000, 10, rng=3)
        final, _ = retrieve(Hopfield().fit(x), features, update="sequential", rng=4)
        overlaps.append(np.abs((final * features).mean(axis=1)).mean())
    assert overlaps[0] < 0.9
    assert overlaps[1] > 0.95


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: storage_load(0), ValueError, r"`alpha_D` must be in \[1e-4, 1e6\], got 0"),
        (lambda: learning_load([0.1, np.nan]), ValueError, r"`alpha_D` must be in \[1e-4, 1e6\]"),
        (lambda: generalization_load(0.1, 2), ValueError, "`n` must be odd, got 2"),
        (lambda: generalization_load(0.1, 3.0), TypeError, r"`n` must be an integer in \[1, 99\], got 3.0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
