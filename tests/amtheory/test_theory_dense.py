"""Capacities of dense memories against exact moments, limits and simulations of `amtheory.DenseMemory`."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amtheory import DenseMemory, patterns
from amtheory.theory import channel, dense, hopfield


@pytest.mark.parametrize("order", [2, 3, 4])
def test_crosstalk(order):
    """E S^(2n-2) = (2n - 3)!! L^(n-1) to leading order: enumerated for L = 12, corrected by 1 / L."""
    sums = np.array([sum(s) for s in itertools.product((-1, 1), repeat=12)])
    double_factorial = np.exp(dense._log_crosstalk(order)) / 2
    assert double_factorial == pytest.approx([1, 3, 15][order - 2])
    exact = np.mean(sums ** (2.0 * order - 2))
    assert exact == pytest.approx(double_factorial * 12.0 ** (order - 1), rel=0.3 * (order - 2) + 1e-12)


def test_order_2_is_the_hopfield_memory():
    alpha, m0 = np.array([[0.05], [0.2]]), np.array([0.3, 0.7, 1.0])
    expected = (1 - hopfield.one_step_map(alpha, m0)) / 2
    np.testing.assert_allclose(dense.one_step_error(2, 1000, 1000 * alpha, m0), expected, rtol=1e-10)
    assert dense.capacity(2, 1000, 0.005) == pytest.approx(150.7182, abs=1e-4)
    assert dense.capacity(2, 1000) == pytest.approx(1000 / (2 * np.log(1000)))


@pytest.mark.statistical(alarm=1e-6)
@pytest.mark.parametrize(("flips", "tolerance"), [(0, 0.22), (10, 0.12)])
def test_one_step_error_of_a_simulation(flips, tolerance, seed):
    """Order 3, L = 100, P = 2000. Relative standard deviation of one sample 0.070 and 0.033 (10 seeds), whether 250
    states are looked at or all 2000, corrections in 1 / L about 0.01: the mean of 3 fails for fewer than one seed in
    1e6."""
    wrong = []
    for n in range(3):
        x = patterns.random_patterns(2000, 100, rng=seed(n))
        some = x[:250]
        h = DenseMemory(3).fit(x).local_field(patterns.flip(some, flips, rng=seed(100 + n)))
        wrong.append((some * h < 0).mean())
    assert np.mean(wrong) == pytest.approx(dense.one_step_error(3, 100, 2000, 1 - flips / 50), rel=tolerance)
    # negative control: the crosstalk of order 2, without the factor (2n - 3)!! = 3
    assert np.mean(wrong) != pytest.approx(dense.one_step_error(3, 100, 2000 / 3, 1 - flips / 50), rel=tolerance)


@given(st.integers(2, 12), st.floats(10, 1e6), st.floats(1e-6, 0.49))
def test_capacity_and_error_are_inverse(order, L, error):
    assert dense.one_step_error(order, L, dense.capacity(order, L, error)) == pytest.approx(error, rel=1e-9)


@given(st.integers(2, 8), st.floats(10, 1e4), st.floats(1, 1e6), st.floats(0, 1), st.floats(0, 1))
def test_errors_grow_with_the_load_and_fall_with_the_overlap(order, L, P, a, b):
    low, high = sorted([a, b])
    assert dense.one_step_error(order, L, P, low) >= dense.one_step_error(order, L, P, high)
    assert dense.one_step_error(order, L, P) <= dense.one_step_error(order, L, 2 * P) <= 0.5


def test_capacity_without_errors():
    """At it the expected number of wrong spins is 1 / (2 sqrt(pi log L)), less than one, for every order."""
    for order in (2, 3, 5):
        wrong = 1e4 * dense.one_step_error(order, 1e4, dense.capacity(order, 1e4))
        assert wrong == pytest.approx(1 / (2 * np.sqrt(np.pi * np.log(1e4))), rel=0.06)


def test_exponential_capacity():
    """Half the capacity of the channel with the same fraction of wrong spins."""
    rho = np.linspace(0, 0.49, 20)
    np.testing.assert_allclose(dense.exponential_capacity(rho), channel.capacity(1 - 2 * rho, 2) / 2, atol=1e-14)
    assert dense.exponential_capacity(0.0) == pytest.approx(np.log(2) / 2)


@pytest.mark.statistical(alarm=1e-3)
def test_exponential_memory_below_its_capacity(seed):
    """60 spins, 10 % wrong, at half of the bound: P = 249. No state fails in 20 seeds of 249."""
    P = int(np.exp(dense.exponential_capacity(0.1) / 2 * 60))
    x = patterns.random_patterns(P, 60, rng=seed(1))
    h = DenseMemory("exp").fit(x).local_field(patterns.flip(x, 6, rng=seed(2)))
    assert (x * h > 0).all(axis=1).mean() > 0.98


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dense.one_step_error(1, 10, 10), ValueError, r"`order` must be in \[2, 100\], got 1"),
        (lambda: dense.one_step_error(3, 0, 10), ValueError, "`L` must be finite and > 0, got 0"),
        (lambda: dense.one_step_error(3, 10, 0), ValueError, "`P` must be finite and > 0, got 0"),
        (lambda: dense.one_step_error(3, 10, 10, -0.5), ValueError, r"`m0` must be in \[0, 1\], got -0.5"),
        (lambda: dense.capacity(3, 1), ValueError, "`L` must be finite and > 1, got 1"),
        (lambda: dense.capacity(3, 10, 0.5), ValueError, r"`error` must be in \(0, 1/2\), got 0.5"),
        (
            lambda: dense.capacity(100, 1e9),
            ValueError,
            "`L` must be so small that the capacity at order 100 is below 1e308",
        ),
        (lambda: dense.exponential_capacity(0.5), ValueError, r"`corrupted` must be in \[0, 1/2\), got 0.5"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
