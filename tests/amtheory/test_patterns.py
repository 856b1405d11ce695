"""Ensembles of patterns, flips and overlaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amtheory.patterns import flip, overlap, random_features, random_patterns


def test_random_patterns_are_fair_spins():
    x = random_patterns(500, 400, rng=0)
    assert x.dtype == np.int8
    assert x.flags.c_contiguous
    assert set(np.unique(x)) == {-1, 1}
    assert abs(x.mean()) < 3 / np.sqrt(x.size)  # false alarms: 0.3 %


def test_fewer_patterns_are_a_prefix_of_more():
    np.testing.assert_array_equal(random_patterns(7, 13, rng=1), random_patterns(20, 13, rng=1)[:7])
    few, many = (random_features(P, 13, 5, active=3, rng=1) for P in (7, 20))
    np.testing.assert_array_equal(few[0], many[0][:7])
    np.testing.assert_array_equal(few[1], many[1])


@pytest.mark.parametrize("active", [1, 3, 5])
def test_binary_examples_are_signs_of_exactly_active_features(active):
    """Each example is the majority of `active` of the features or their negatives, found by enumeration."""
    from itertools import combinations, product

    patterns, features, sample_unseen = random_features(6, 31, 5, active=active, coefficients="binary", rng=2)
    supports = combinations(range(5), active)
    mixtures = {
        tuple(np.sign(signs @ features[list(support)]))
        for support in supports
        for signs in (np.array(c) for c in product((-1, 1), repeat=active))
    }
    for x in (*patterns, *sample_unseen(6)):
        assert tuple(x) in mixtures
    assert tuple(random_patterns(1, 31, rng=3)[0]) not in mixtures


def test_examples_overlap_with_dense_features_as_expected():
    """E m^2 = (2 / pi) / D for dense Gaussian coefficients and L, D -> infinity, here within 10 %."""
    D, L = 25, 2000
    patterns, features, _ = random_features(400, L, D, rng=4)
    assert np.mean(overlap(patterns[:, None], features) ** 2) == pytest.approx(2 / np.pi / D + 1 / L, rel=0.1)


def test_unseen_examples_continue_a_stream_of_their_own():
    patterns, _, sample = random_features(8, 40, 9, rng=5)
    first, second = sample(8), sample(8)
    assert not (first == second).all()
    assert not (first == patterns).all()
    np.testing.assert_array_equal(random_features(3, 40, 9, rng=5)[2](8), first)
    np.testing.assert_array_equal(sample(4, rng=6), sample(4, rng=6))


@settings(deadline=None)
@given(st.data(), st.integers(1, 40), st.integers(0, 2**32))
def test_flip_reverses_exactly_that_many_spins(data, L, seed):
    flips = data.draw(st.integers(0, L))
    x = random_patterns(3, L, rng=seed)
    y = flip(x, flips, rng=seed)
    assert y.dtype == np.int8
    np.testing.assert_array_equal((x != y).sum(axis=1), flips)
    np.testing.assert_allclose(overlap(x, y), 1 - 2 * flips / L, atol=1e-15)


def test_flips_are_uniform_over_sites():
    """4000 draws of 3 among 10 sites: each frequency within 4 standard errors (false alarms: 0.06 %)."""
    x = np.ones((4000, 10), dtype=np.int8)
    frequency = (flip(x, 3, rng=0) < 0).mean(axis=0)
    assert (np.abs(frequency - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4000)).all()


def test_overlap_broadcasts_over_all_but_the_last_axis():
    x = random_patterns(4, 50, rng=0)
    table = overlap(x[:, None], x)
    np.testing.assert_allclose(table, x.astype(int) @ x.T / 50)
    assert overlap(x[0], -x[0]) == -1.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: random_patterns(0, 5), ValueError, "`P` must be at least 1, got 0"),
        (lambda: random_patterns(2, 5.0), TypeError, "`L` must be an integer at least 1, got 5.0"),
        (lambda: random_patterns(2, 5, rng=1.5), TypeError, "`rng` must be None, an integer >= 0 or"),
        (lambda: random_patterns(2, 5, rng=True), TypeError, "`rng` must be None"),
        (lambda: random_features(2, 5, 3, active=4), ValueError, r"`active` must be in \[1, 3\], got 4"),
        (lambda: random_features(2, 5, 4, coefficients="binary"), ValueError, "`active`.*must be odd.*got 4"),
        (lambda: random_features(2, 5, 3, coefficients="cauchy"), ValueError, "`coefficients` must be one of"),
        (lambda: flip([[1, -1]], 3), ValueError, r"`flips` must be in \[0, 2\], got 3"),
        (lambda: flip([[1, 0]], 1), ValueError, r"`states` must contain only -1 and \+1, got values {0}"),
        (lambda: flip(1, 1), ValueError, r"`states` must have at least one dimension.*got shape \(\)"),
        (lambda: overlap([1, 1], [1, 1, 1]), ValueError, "`b` must have 2 spins"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
