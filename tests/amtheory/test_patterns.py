"""Ensembles of patterns, flips and overlaps."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from amtheory import patterns
from amtheory.patterns import (
    biased_patterns,
    binarize,
    correlated_chains,
    flip,
    overlap,
    prototypes,
    random_features,
    random_patterns,
)


def has_mean(products, mean):
    """Whether independent spins have this mean, within 4 standard errors (false alarms: 6e-5)."""
    return abs(np.mean(products) - mean) < 4 * np.sqrt((1 - mean**2) / np.size(products))


@pytest.mark.statistical(alarm=3e-3)
def test_random_patterns_are_fair_spins(seed):
    x = random_patterns(500, 400, rng=seed(0))
    assert x.dtype == np.int8
    assert x.flags.c_contiguous
    assert set(np.unique(x)) == {-1, 1}
    assert abs(x.mean()) < 3 / np.sqrt(x.size)


@pytest.mark.statistical(alarm=2e-4)
@pytest.mark.parametrize("bias", [-0.9, 0.0, 0.25])
def test_biased_patterns_have_that_mean(bias, seed):
    x = biased_patterns(300, 200, bias, rng=seed(1))
    assert x.dtype == np.int8
    assert set(np.unique(x)) == {-1, 1}
    assert has_mean(x, bias)
    assert not has_mean(x, bias + 0.05)
    assert has_mean(x[:, ::2] * x[:, 1::2], bias**2)  # independent sites
    assert has_mean(x[::2] * x[1::2], bias**2)  # independent patterns


@pytest.mark.statistical(alarm=5e-4)
@pytest.mark.parametrize("c", [-0.6, 0.0, 0.4])
@pytest.mark.parametrize("along", ["sites", "patterns"])
def test_chains_are_correlated_exponentially_along_one_axis_only(c, along, seed):
    x = correlated_chains(400, 600, c, along=along, rng=seed(2))
    chains = x if along == "sites" else x.T
    assert x.dtype == np.int8
    assert has_mean(chains[:, 0], 0)
    assert has_mean(chains[:, -1], 0)
    for distance in (1, 2, 3):
        every = chains[:, ::distance]
        assert has_mean(every[:, 1:] * every[:, :-1], c**distance)  # steps of a Markov chain are independent
    assert has_mean(chains[::2, 0] * chains[1::2, 0], 0)
    assert has_mean(chains[::2, -1] * chains[1::2, -1], 0)
    assert not has_mean(chains[:, 1:] * chains[:, :-1], c + 0.02)


@pytest.mark.statistical(alarm=5e-4)
def test_examples_overlap_with_their_own_prototype(seed):
    K, r = 3, 0.4
    x, p, sample_unseen = prototypes(60, 4000, K, r, rng=seed(3))
    own = np.arange(60) % K
    assert has_mean(p, 0)
    for examples in (x, sample_unseen(60), sample_unseen(60)):
        assert has_mean(examples * p[own], r)
        assert not has_mean(examples * p[own], r + 0.02)
        assert not has_mean(examples * p[(own + 1) % K], r)
        assert has_mean(examples[:30] * examples[30:], r**2)  # 30 is a multiple of K


def test_examples_of_quality_one_are_the_prototypes():
    x, p, _ = prototypes(5, 30, 2, 1, rng=4)
    np.testing.assert_array_equal(x, p[[0, 1, 0, 1, 0]])


ENSEMBLES = {
    "random": lambda P: random_patterns(P, 13, rng=1),
    "biased": lambda P: biased_patterns(P, 13, 0.2, rng=1),
    "along sites": lambda P: correlated_chains(P, 13, 0.3, rng=1),
    "along patterns": lambda P: correlated_chains(P, 13, 0.3, along="patterns", rng=1),
    "prototypes": lambda P: prototypes(P, 13, 3, 0.5, rng=1)[0],
    "features": lambda P: random_features(P, 13, 5, active=3, rng=1)[0],
}


@pytest.mark.parametrize("ensemble", ENSEMBLES.values(), ids=ENSEMBLES)
def test_fewer_patterns_are_a_prefix_of_more_whatever_the_blocks(ensemble, monkeypatch):
    many = ensemble(20)
    np.testing.assert_array_equal(ensemble(7), many[:7])
    monkeypatch.setattr(patterns, "_BLOCK", 30)
    np.testing.assert_array_equal(ensemble(20), many)


def test_hidden_structure_does_not_depend_on_the_number_of_examples():
    for make in (lambda P: random_features(P, 13, 5, rng=1), lambda P: prototypes(P, 13, 5, 0.5, rng=1)):
        np.testing.assert_array_equal(make(7)[1], make(20)[1])


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


@pytest.mark.statistical(alarm=1e-6)
def test_examples_overlap_with_dense_features_as_expected(seed):
    """E m^2 = (2 / pi) / D for dense Gaussian coefficients and L, D -> infinity, here within 10 %."""
    D, L = 25, 2000
    patterns, features, _ = random_features(400, L, D, rng=seed(4))
    assert np.mean(overlap(patterns[:, None], features) ** 2) == pytest.approx(2 / np.pi / D + 1 / L, rel=0.1)


@pytest.mark.parametrize(
    "make",
    [lambda P: random_features(P, 40, 9, rng=5), lambda P: prototypes(P, 40, 9, 0.5, rng=5)],
    ids=["features", "prototypes"],
)
def test_unseen_examples_continue_a_stream_of_their_own(make):
    x, _, sample = make(8)
    first, second = sample(8), sample(8)
    assert not (first == second).all()
    assert not (first == x).all()
    np.testing.assert_array_equal(make(3)[2](8), first)
    np.testing.assert_array_equal(sample(4, rng=6), sample(4, rng=6))


reals = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int16, np.uint8, np.bool]),
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=5),
)


@given(reals.filter(lambda data: np.isfinite(data).all()), st.sampled_from([np.median, np.mean]))
def test_binarize_compares_each_feature_with_its_threshold(data, average):
    rows = data.reshape(len(data), -1).astype(np.float64)
    expected = [[1 if v > average(feature) and np.ptp(feature) > 0 else -1 for v in feature] for feature in rows.T]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        x = binarize(data, average.__name__)
    assert x.dtype == np.int8
    assert x.flags.c_contiguous
    np.testing.assert_array_equal(x, np.transpose(expected))


def test_median_splits_continuous_features_in_halves():
    x = binarize(np.random.default_rng(0).standard_normal((50, 4, 3)))
    np.testing.assert_array_equal(x.sum(axis=0), 0)


def test_thresholds_can_be_given():
    data = np.array([[[0.0, 1.0], [2.0, 3.0]], [[3.0, 2.0], [1.0, 0.0]]])
    np.testing.assert_array_equal(binarize(data, 1), [[-1, -1, 1, 1], [1, 1, -1, -1]])
    np.testing.assert_array_equal(binarize(data, [[0, 1], [1, 2]]), [[-1, -1, 1, 1], [1, 1, -1, -1]])
    np.testing.assert_array_equal(binarize(data[:1], np.median(data, axis=0)), binarize(data)[:1])


def test_constant_features_are_kept_as_minus_one_and_said():
    data = np.c_[[0.1, 0.1, 0.1], [1, 2, 3]]  # the mean of 0.1, 0.1, 0.1 is not 0.1 in floating point
    for threshold in ("median", "mean"):
        with pytest.warns(UserWarning, match="1 of 2 features of `data` are constant: their spins are all -1"):
            x = binarize(data, threshold)
        np.testing.assert_array_equal(x, [[-1, -1], [-1, -1], [-1, 1]])


@settings(deadline=None)
@given(st.data(), st.integers(1, 40), st.integers(0, 2**32))
def test_flip_reverses_exactly_that_many_spins(data, L, seed):
    flips = data.draw(st.integers(0, L))
    x = random_patterns(3, L, rng=seed)
    y = flip(x, flips, rng=seed)
    assert y.dtype == np.int8
    np.testing.assert_array_equal((x != y).sum(axis=1), flips)
    np.testing.assert_allclose(overlap(x, y), 1 - 2 * flips / L, atol=1e-15)


@pytest.mark.statistical(alarm=6e-4)
def test_flips_are_uniform_over_sites(seed):
    """4000 draws of 3 among 10 sites: each frequency within 4 standard errors."""
    x = np.ones((4000, 10), dtype=np.int8)
    frequency = (flip(x, 3, rng=seed(0)) < 0).mean(axis=0)
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
        (lambda: biased_patterns(2, 5, 1.0), ValueError, r"`bias` must be a number in \(-1, 1\), got 1.0"),
        (lambda: biased_patterns(2, 5, "1"), TypeError, r"`bias` must be a number in \(-1, 1\), got '1'"),
        (lambda: biased_patterns(2, 5, float("nan")), ValueError, "`bias` must be a number .* got nan"),
        (lambda: correlated_chains(2, 5, -1), ValueError, r"`correlation` must be a number in \(-1, 1\), got -1"),
        (lambda: correlated_chains(2, 5, 0.1, along="time"), ValueError, "`along` must be one of 'sites', 'patterns'"),
        (lambda: prototypes(2, 5, 0, 0.5), ValueError, "`K` must be at least 1, got 0"),
        (lambda: prototypes(2, 5, 1, -0.5), ValueError, r"`quality` must be a number in \[0, 1\], got -0.5"),
        (lambda: prototypes(2, 5, 1, True), TypeError, r"`quality` must be a number in \[0, 1\], got True"),
        (lambda: prototypes(2, 5, 1, 0.5)[2](0), ValueError, "`n` must be at least 1, got 0"),
        (lambda: binarize([1.0, 2.0]), ValueError, r"`data` must have at least two dimensions.*got shape \(2,\)"),
        (lambda: binarize(np.empty((3, 0))), ValueError, r"none of size 0, got shape \(3, 0\)"),
        (lambda: binarize([[1, np.nan], [np.inf, 2]]), ValueError, "`data` must be finite, got 2 NaN or infinity"),
        (lambda: binarize([["a", "b"]]), ValueError, "`data` must contain real numbers, got dtype <U1"),
        (lambda: binarize([[1j, 2]]), ValueError, "`data` must contain real numbers, got dtype complex128"),
        (lambda: binarize([[1, 2]], "mode"), ValueError, "`threshold` must be one of 'median', 'mean', got 'mode'"),
        (lambda: binarize([[1, 2]], [1, 2, 3]), ValueError, r"`threshold` must be one number or have shape \(2,\)"),
        (lambda: binarize([[1, 2]], np.nan), ValueError, "`threshold` must be finite, got 1 NaN"),
        (lambda: flip([[1, -1]], 3), ValueError, r"`flips` must be in \[0, 2\], got 3"),
        (lambda: flip([[1, 0]], 1), ValueError, r"`states` must contain only -1 and \+1, got values {0}"),
        (lambda: flip(1, 1), ValueError, r"`states` must have at least one dimension.*got shape \(\)"),
        (lambda: overlap([1, 1], [1, 1, 1]), ValueError, "`b` must have 2 spins"),
        (lambda: overlap([[1, 1]] * 2, [[1, 1]] * 3), ValueError, "`a`, `b` must have shapes that broadcast"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
