"""Hopfield theory against enumeration and published numbers."""

import itertools

import numpy as np
import pytest
from scipy.special import erf

from amtheory import Hopfield
from amtheory.theory.hopfield import critical_load, one_step_map, one_step_overlap, overlap


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
    assert np.ndim(overlap(0.1)) == 0


def test_overlap_solves_the_replica_equations():
    """m = erf(y), y = m / sqrt(2 alpha r), r = 1 / (1 - C)^2, C = sqrt(2 / (pi alpha r)) exp(-y^2)."""
    alpha, m, r = 0.11, 1.0, 1.0
    for _ in range(2000):
        y = m / np.sqrt(2 * alpha * r)
        m, r = erf(y), 1 / (1 - np.sqrt(2 / (np.pi * alpha * r)) * np.exp(-(y**2))) ** 2
    assert overlap(alpha) == pytest.approx(m, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: overlap(-0.1), ValueError, "`alpha` must be >= 0, got -0.1"),
        (lambda: overlap(np.nan), ValueError, "`alpha` must be >= 0, got nan"),
        (lambda: one_step_map(0.0, 0.5), ValueError, "`alpha` must be > 0, got 0.0"),
        (lambda: one_step_map(0.1, 1.5), ValueError, r"`m0` must be in \[-1, 1\], got 1.5"),
        (lambda: one_step_overlap(10, 2, 11), ValueError, r"`flips` must be in \[0, 10\], got 11"),
        (lambda: one_step_overlap(10, 0, 1), ValueError, "`P` must be at least 1, got 0"),
        (lambda: one_step_overlap(10, 2, 1, ties="up"), ValueError, "`ties` must be one of 'keep', 'random'"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
