"""Hopfield theory against enumeration and published numbers."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erf

from amtheory import Hopfield, patterns, retrieve
from amtheory.theory import _ags, _gauss
from amtheory.theory.hopfield import (
    critical_load,
    first_order_load,
    first_order_temperature,
    free_energy,
    one_step_map,
    one_step_overlap,
    order_parameters,
    overlap,
    spin_glass_temperature,
    spinodal_temperature,
    two_step_map,
)


@pytest.mark.parametrize("ties", ["keep", "random"])
@pytest.mark.parametrize(("L", "P", "flips"), [(3, 3, 1), (4, 2, 1), (4, 3, 2), (5, 3, 1), (4, 1, 3)])
def test_one_step_overlap_equals_enumeration(L, P, flips, ties):
    """The average over all choices of the other patterns, the first one being all +1 by gauge symmetry."""
    first = np.ones(L)
    start = np.where(np.arange(L) < flips, -1, 1)
    spins = np.array(list(itertools.product((-1, 1), repeat=L)))
    total = []
    for others in itertools.product(spins, repeat=P - 1):
        h = Hopfield().fit([first, *others]).local_field(start[None])[0]
        total.append(np.where(h == 0, start if ties == "keep" else 0, np.sign(h)).mean())
    assert one_step_overlap(L, P, flips, ties) == pytest.approx(np.mean(total), abs=1e-13)


def test_one_step_overlap_at_the_reference_point():
    assert one_step_overlap(200, 20, 40) == pytest.approx(0.949022, abs=5e-7)


def test_one_step_overlap_tends_to_its_limit():
    finite = [one_step_overlap(L, L // 10, L // 5) for L in (100, 1000, 10000)]
    errors = np.abs(finite - one_step_map(0.1, 0.6))
    assert (errors[1:] < errors[:-1] / 8).all()  # of order 1 / L
    assert one_step_map(0.1, 0.6) == pytest.approx(erf(0.6 / np.sqrt(0.2)))


def test_critical_load():
    """Amit, Gutfreund and Sompolinsky (1987) give alpha_c = 0.138 and m = 0.967."""
    assert critical_load() == pytest.approx(0.1379055665, abs=5e-11)
    assert overlap(critical_load()) == pytest.approx(0.9674171155, abs=1e-8)


def test_overlap():
    np.testing.assert_allclose(
        overlap([0.08, 0.1, 0.12, 0.135, 0.1379]),
        [0.999557381560, 0.997999266347, 0.993222731766, 0.980791320627, 0.968101213987],
        atol=1e-11,
    )
    np.testing.assert_array_equal(overlap([[0.0], [1e-4], [0.13791], [np.inf]]), [[1.0], [1.0], [0.0], [0.0]])
    assert overlap(1e-310) == order_parameters(1e-310).r == 1.0
    assert np.ndim(overlap(0.1)) == 0


def test_overlap_solves_the_replica_equations():
    """m = erf(y), y = m / sqrt(2 alpha r), r = 1 / (1 - C)^2, C = sqrt(2 / (pi alpha r)) exp(-y^2)."""
    alpha, m, r = 0.11, 1.0, 1.0
    for _ in range(2000):
        y = m / np.sqrt(2 * alpha * r)
        m, r = erf(y), 1 / (1 - np.sqrt(2 / (np.pi * alpha * r)) * np.exp(-(y**2))) ** 2
    assert overlap(alpha) == pytest.approx(m, abs=1e-12)


def test_overlap_against_the_reference_file(shared_data):
    reference = json.loads((shared_data / "reference" / "theory.json").read_text())
    loads = [float(alpha) for alpha in reference["hopfield_T0"]]
    np.testing.assert_allclose(overlap(loads), list(reference["hopfield_T0"].values()), atol=1e-9)
    assert critical_load() == pytest.approx(reference["alpha_c"], abs=1e-12)
    assert first_order_load() == pytest.approx(reference["alpha_1"], abs=1e-9)


def test_lines_of_the_phase_diagram():
    """Amit, Gutfreund and Sompolinsky (1987): alpha_c1(0) = 0.051, T_M ~ 1 - 1.95 sqrt(alpha), T_c ~ 1 - 2.6
    sqrt(alpha)."""
    T = [0.1, 0.3, 0.5, 0.7, 0.9]
    np.testing.assert_allclose(
        critical_load(T), [0.13504919, 0.10332978, 0.05881552, 0.02232197, 0.00256837], atol=5.1e-9
    )
    np.testing.assert_allclose(first_order_load(T), [0.053092, 0.045031, 0.028076, 0.011482, 0.001409], atol=5.1e-7)
    np.testing.assert_allclose(
        spinodal_temperature([0.01, 0.05, 0.1, 0.13]), [0.801018, 0.542255, 0.315432, 0.148919], atol=5.1e-7
    )
    np.testing.assert_allclose(first_order_temperature([0.01, 0.03, 0.05]), [0.721624, 0.478793, 0.216383], atol=6e-7)
    assert first_order_load() == pytest.approx(0.0518543309, abs=5e-11)
    small = 1e-8
    assert (1 - spinodal_temperature(small)) / 1e-4 == pytest.approx(1.95, abs=0.006)
    assert (1 - first_order_temperature(small)) / 1e-4 == pytest.approx(2.6, abs=0.006)
    assert spin_glass_temperature([0.0, 0.25]).tolist() == [1.0, 1.5]
    np.testing.assert_array_equal(spinodal_temperature([0.0, 0.139]), [1.0, np.nan])
    np.testing.assert_array_equal(first_order_temperature([0.0, 0.06]), [1.0, np.nan])
    np.testing.assert_array_equal([critical_load([1.0, 2.0]), first_order_load([1.0, np.inf])], np.zeros((2, 2)))


@pytest.mark.parametrize("line", [critical_load, first_order_load])
def test_lines_reach_zero_temperature(line):
    assert line([1e-9, 1e-7, 1e-5]) == pytest.approx([line(0.0)] * 3, abs=1e-6)


def equations(alpha, T, m, q, r):
    def average(f):
        edge = -m / np.sqrt(alpha * r)
        points = [edge] if abs(edge) < 9 else None
        return quad(
            lambda z: _gauss.density(z) * f((np.sqrt(alpha * r) * z + m) / T), -9, 9, points=points, epsabs=1e-13
        )[0]

    return average(np.tanh), average(lambda y: np.tanh(y) ** 2), q / (1 - (1 - q) / T) ** 2


@pytest.mark.parametrize(
    ("alpha", "T", "expected"),
    [
        (0.05, 0.3, (0.9911649957, 0.9829609502, 1.1049070994, -0.5012361699)),
        (0.1, 0.2, (0.9890851550, 0.9844170603, 1.1578090322, -0.5010406555)),
        (0.02, 0.5, (0.9450040255, 0.8945851613, 1.4364158885, -0.5120265364)),
    ],
)
def test_order_parameters(alpha, T, expected):
    found = order_parameters(alpha, T)
    np.testing.assert_allclose((*found, free_energy(alpha, T)), expected, atol=5.1e-11)
    np.testing.assert_allclose(equations(alpha, T, *found), found, rtol=1e-9)
    assert overlap(alpha, T) == found.m


def test_states_at_zero_temperature():
    assert order_parameters(0.1) == pytest.approx((0.997999266347, 1, 1.04305883), abs=5e-9)
    np.testing.assert_allclose(free_energy([0.08, 0.137], 0), [-0.50003008, -0.50136066], atol=5e-9)
    np.testing.assert_allclose(overlap(0.1, [1e-9, 1e-7]), overlap(0.1), atol=1e-9)
    assert np.isnan(order_parameters(0.2)).all()
    assert np.isnan(order_parameters(0.12, 0.3)).all()
    for state in ("retrieval", "spin glass"):
        assert free_energy(0.1, 1e-4, state) == pytest.approx(free_energy(0.1, 0, state), abs=1e-5)


def test_one_pattern_is_a_ferromagnet():
    m = order_parameters(0.0, 0.5).m
    assert m == pytest.approx(np.tanh(m / 0.5), abs=1e-13)
    assert free_energy(0.0, 0.5) == pytest.approx(m**2 / 2 - 0.5 * np.log(2 * np.cosh(m / 0.5)))
    assert free_energy(0.0, 2.0, "spin glass") == pytest.approx(-2 * np.log(2))


@pytest.mark.parametrize("T", [0.0, 0.3, 0.9, 1.0, 1.1])
@pytest.mark.parametrize("state", ["retrieval", "spin glass"])
def test_few_patterns(T, state):
    """Everything is continuous at alpha = 0, the spin glass included."""
    values = free_energy([0.0, 1e-300, 1e-25, 1e-14], T, state)
    np.testing.assert_allclose(values, values[0], atol=1e-6)
    assert np.isnan(values[0]) == (state == "retrieval" and T >= 1)
    found = order_parameters([[0.0], [1e-300], [1e-16]], [T])
    np.testing.assert_allclose(found.m, np.full((3, 1), found.m[0, 0]), rtol=1e-6)


@pytest.mark.statistical(alarm=1e-6)
@pytest.mark.parametrize(("T", "tolerance"), [(0.3, 0.003), (0.4, 0.01)])
def test_overlap_of_a_simulation(T, tolerance, seed):
    """L = 1000, heat bath, 10 sweeps of 51 states after 20. The mean has a standard deviation of 0.0005 and 0.0015 (8
    seeds): fewer than one seed in 1e6 fails."""
    x = patterns.random_patterns(51, 1000, rng=seed(1))
    memory = Hopfield().fit(x)
    _, info = retrieve(memory, x, update="sequential", temperature=T, max_sweeps=30, reference=x, rng=seed(2))
    measured = info.overlaps[:, 21:].mean()
    assert measured == pytest.approx(overlap(0.051, T), abs=tolerance)
    assert measured != pytest.approx(overlap(0.051, 0.8 * T), abs=tolerance)  # negative control


def test_paramagnet_and_spin_glass_join():
    """At T_g; above, f of the high-temperature expansion: alpha/2 + (alpha T / 2) log(1 - 1/T) - T log 2."""
    T = spin_glass_temperature(0.2)
    below, at, above = free_energy(0.2, [T - 1e-4, T, T + 1e-4], "spin glass")
    assert below - 2 * at + above == pytest.approx(0, abs=1e-7)
    assert at == pytest.approx(0.1 + 0.1 * T * np.log(1 - 1 / T) - T * np.log(2))


@settings(max_examples=30)
@given(st.floats(0.01, 0.95), st.floats(0.02, 0.98), st.sampled_from(["retrieval", "spin glass"]))
def test_free_energy_is_stationary(T, fraction, state):
    """df/dalpha = 1/2 + (T/2) [log(1 - C) - (q/T) / (1 - C)], the derivative at fixed m, q and r: that of alpha r C / 2
    cancels, by parts, that of the term in log 2 cosh."""
    alpha = float(fraction * critical_load(T))
    h = 1e-4 * alpha
    if state == "retrieval":
        _, q, r = order_parameters(alpha, T)
    else:
        found = _ags.spin_glass(alpha, T)
        q, r = found.q, found.r
        assert r * alpha == pytest.approx(found.s**2)
    C = (1 - q) / T
    explicit = 1 / 2 + T / 2 * (np.log(1 - C) - q / T / (1 - C))
    slope = (free_energy(alpha + h, T, state) - free_energy(alpha - h, T, state)) / (2 * h)
    assert slope == pytest.approx(explicit, rel=1e-4, abs=1e-6)


@settings(max_examples=30)
@given(st.floats(0, 0.2), st.floats(0, 0.2), st.floats(0, 1.2))
def test_overlap_falls_with_the_load(a, b, T):
    low, high = overlap(sorted([a, b]), T)
    assert 1 >= low >= high >= 0
    if high:
        assert high > 0.5 or T > 0.5  # first order: no small overlaps at low temperature


@settings(max_examples=8)
@given(st.floats(1e-4, 0.137))
def test_temperatures_are_inverse_to_loads(alpha):
    T = float(spinodal_temperature(alpha))
    assert critical_load(T) == pytest.approx(alpha, rel=1e-7)
    assert overlap(alpha, T - 1e-6) > 0
    assert overlap(alpha, T + 1e-6) == 0
    assert not first_order_temperature(alpha) > T


def test_diagonal_keeps_spins_where_they_are():
    assert one_step_map(0.3, 1.0, diagonal=True) == pytest.approx(0.98238, abs=5e-6)
    assert one_step_map(1e4, 0.3, diagonal=True) == pytest.approx(0.3, abs=1e-9)
    assert one_step_map(1e-3, 0.3, diagonal=True) == pytest.approx(1, abs=1e-9)


@pytest.mark.statistical(alarm=1e-6)
def test_two_steps_of_a_simulation(seed):
    """Standard deviation 0.0021 per sample (8 seeds), corrections in 1 / L 0.001: fewer than one seed in 1e6 fails."""
    x = patterns.random_patterns(141, 1000, rng=seed(1))
    memory = Hopfield().fit(x)
    state = patterns.flip(x, 250, rng=seed(2))
    for _ in range(2):  # P odd, L even: no ties
        state = np.sign(memory.local_field(state)).astype(np.int8)
    assert (x * state).mean() == pytest.approx(two_step_map(0.14, 0.5), abs=0.012)
    assert two_step_map(0.14, 0.5) == pytest.approx(0.85812, abs=5e-6)


@given(st.floats(1e-3, 10), st.floats(0, 1))
def test_two_step_map_is_odd_and_bounded(alpha, m0):
    m2 = two_step_map(alpha, [m0, -m0])
    assert m2[0] == pytest.approx(-m2[1], abs=1e-13)  # two averages over some hundred nodes
    assert 0 <= m2[0] <= 1 or m0 == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: overlap(-0.1), ValueError, "`alpha` must be >= 0, got -0.1"),
        (lambda: overlap(np.nan), ValueError, "`alpha` must be >= 0, got nan"),
        (lambda: one_step_map(0.0, 0.5), ValueError, "`alpha` must be > 0, got 0.0"),
        (lambda: one_step_map(0.1, 1.5), ValueError, r"`m0` must be in \[-1, 1\], got 1.5"),
        (lambda: two_step_map(-1, 0.5), ValueError, "`alpha` must be finite and > 0, got -1"),
        (lambda: overlap(0.1, -0.1), ValueError, "`temperature` must be >= 0, got -0.1"),
        (lambda: order_parameters(-0.1, 0.1), ValueError, "`alpha` must be >= 0, got -0.1"),
        (lambda: free_energy(0.1, 0.1, "ground"), ValueError, "`state` must be one of 'retrieval', 'spin glass'"),
        (lambda: free_energy(np.inf, 0.1), ValueError, "`alpha` and `temperature` must be finite"),
        (lambda: critical_load(np.nan), ValueError, "`temperature` must be >= 0, got nan"),
        (lambda: first_order_temperature(-1), ValueError, "`alpha` must be >= 0, got -1"),
        (lambda: one_step_overlap(10, 2, 11), ValueError, r"`flips` must be in \[0, 10\], got 11"),
        (lambda: one_step_overlap(10, 0, 1), ValueError, "`P` must be at least 1, got 0"),
        (lambda: one_step_overlap(10, 2, 1, ties="up"), ValueError, "`ties` must be one of 'keep', 'random'"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_overlap_has_a_root_at_every_load():
    """Where m = 1 to rounding the bracket of the root must not close."""
    loads = np.linspace(1e-4, 0.1379, 5000)
    m = overlap(loads)
    assert (np.diff(m) <= 1e-12).all()
    assert m[0] == 1
