"""Dense memories: fields against energies, the Hopfield memory as order 2, brute force, Boltzmann statistics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from amtheory import DenseMemory, Hopfield, retrieve
from amtheory.patterns import flip, overlap, random_patterns

ORDERS = (2, 3, 4, 7, "exp")


def set_spin(states, site, spin):
    changed = states.copy()
    changed[:, site] = spin
    return changed


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=20, deadline=None)
@given(P=st.integers(1, 12), L=st.integers(1, 20), beta=st.floats(0.01, 20), seed=st.integers(0, 2**32))
def test_fields_are_energy_differences(order, P, L, beta, seed):
    memory = DenseMemory(order, beta=beta).fit(random_patterns(P, L, rng=seed))
    states = random_patterns(4, L, rng=seed + 1)
    field = memory.local_field(states)
    for site in range(L):
        gap = memory.energy(set_spin(states, site, -1)) - memory.energy(set_spin(states, site, +1))
        np.testing.assert_allclose(field[:, site], gap / 2, atol=1e-9)


@pytest.mark.parametrize("update", ["parallel", "sequential", "typewriter"])
@pytest.mark.parametrize("temperature", [0.0, 0.4])
def test_order_two_is_the_hopfield_memory(update, temperature):
    """Also where fields are zero."""
    x, start = random_patterns(7, 41, rng=0), random_patterns(100, 41, rng=1)
    options = {"update": update, "temperature": temperature, "max_sweeps": 20, "rng": 2, "reference": x[0]}
    hopfield, dense = Hopfield().fit(x), DenseMemory(2).fit(x)
    assert (hopfield.local_field(start) == 0).any()
    (states, info), (expected, other) = retrieve(dense, start, **options), retrieve(hopfield, start, **options)
    np.testing.assert_array_equal(states, expected)
    np.testing.assert_array_equal(info.sweeps, other.sweeps)
    np.testing.assert_array_equal(info.cycle_length, other.cycle_length)
    np.testing.assert_array_equal(info.overlaps, other.overlaps)
    np.testing.assert_allclose(dense.energy(start), hopfield.energy(start) - 7 / 2)  # with its diagonal


@pytest.mark.parametrize("order", [3, 4, "exp"])
def test_one_parallel_step_follows_the_fields(order):
    memory, start = DenseMemory(order).fit(random_patterns(30, 25, rng=0)), random_patterns(100, 25, rng=1)
    after, _ = retrieve(memory, start, max_sweeps=1)
    field = memory.local_field(start)
    np.testing.assert_array_equal(after, np.where(field == 0, start, np.sign(field)))


@pytest.mark.parametrize("order", [3, 4, "exp"])
def test_energy_never_rises_and_ends_in_a_minimum(order):
    memory, start = DenseMemory(order).fit(random_patterns(60, 30, rng=0)), random_patterns(100, 30, rng=1)
    final, info = retrieve(memory, start, update="sequential", rng=2)
    assert info.converged.all()
    assert (memory.energy(final) <= memory.energy(start)).all()
    for site in range(30):
        turned = memory.energy(set_spin(final, site, 0) - set_spin(np.zeros_like(final), site, 1) * final)
        assert (turned >= memory.energy(final) - 1e-9).all()


@pytest.mark.statistical(alarm=1e-3)
@pytest.mark.parametrize("order", [3, "exp"])
def test_the_heat_bath_samples_the_boltzmann_distribution(order, seed):
    """30000 chains of 4 spins, 16 states, chi-square at the 0.1 % level; 8 % off in temperature is rejected."""
    memory, temperature = DenseMemory(order, beta=0.7).fit(random_patterns(3, 4, rng=5)), 1.1
    every = np.array([[1 if k >> l & 1 else -1 for l in range(4)] for k in range(16)])
    start = random_patterns(30000, 4, rng=seed(1))
    final, _ = retrieve(memory, start, update="sequential", temperature=temperature, max_sweeps=40, rng=seed(2))
    counts = np.bincount((final > 0) @ (1 << np.arange(4)), minlength=16)

    def p_value(temperature):
        weights = np.exp(-memory.energy(every) / temperature)
        expected = 30000 * weights / weights.sum()
        return chi2.sf(((counts - expected) ** 2 / expected).sum(), 15)

    assert p_value(temperature) > 1e-3
    assert p_value(1.08 * temperature) < 1e-4


def test_at_its_own_temperature_the_exponential_memory_is_a_mixture_of_noisy_patterns():
    beta, x = 0.6, random_patterns(3, 5, rng=0)
    memory = DenseMemory("exp", beta=beta).fit(x)
    every = np.array([[1 if k >> l & 1 else -1 for l in range(5)] for k in range(32)])
    boltzmann = np.exp(-beta * memory.energy(every))
    noisy = 1 / (1 + np.exp(-2 * beta * x[:, None] * every))  # each spin kept with probability sigma(2 beta)
    np.testing.assert_allclose(boltzmann / boltzmann.sum(), noisy.prod(axis=2).mean(axis=0), rtol=1e-12)


def test_higher_orders_store_more():
    """At P = 6 L a Hopfield memory retrieves nothing, orders 4 and "exp" every pattern from a tenth of the spins."""
    x = random_patterns(600, 100, rng=0)
    start = flip(x, 10, rng=1)
    overlaps = {order: overlap(retrieve(DenseMemory(order).fit(x), start)[0], x).mean() for order in (2, 4, "exp")}
    assert overlaps[2] < 0.5
    assert overlaps[4] > 0.999
    assert overlaps["exp"] == 1


def test_large_beta_and_many_patterns_do_not_overflow():
    x = random_patterns(400, 300, rng=0)
    memory = DenseMemory("exp", beta=300.0).fit(x)
    assert np.isfinite(memory.local_field(-x[:5])).all()
    assert np.isfinite(memory.energy(-x[:5])).all()
    np.testing.assert_array_equal(retrieve(memory, flip(x[:20], 60, rng=1))[0], x[:20])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"order": 1}, ValueError, "`order` must be at least 2, got 1"),
        ({"order": 2.5}, TypeError, "`order` must be an integer"),
        ({"order": "linear"}, ValueError, "`order`.*'linear'"),
        ({"order": "exp", "beta": 0}, ValueError, "`beta` must be a finite number > 0, got 0"),
        ({"order": "exp", "beta": 301}, ValueError, r"`beta` must be in \(0, 300\], got 301"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=message):
        DenseMemory(**options)


def test_too_many_spins():
    with pytest.raises(ValueError, match="`order` must be smaller for `patterns` of 1000 spins, got 150"):
        DenseMemory(150).fit(np.ones((1, 1000)))
