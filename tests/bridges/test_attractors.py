"""Memories counted from samples alone, where their number is known; and which samples are attractors."""

import json
from math import comb

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import binom
from small_worlds import states

from amtheory import Hopfield
from amtheory.intervals import garwood
from amtheory.patterns import random_patterns
from bridges import as_system, attraction, count_memories, memories_of, near_duplicates, token_recovery
from uddm import EmpiricalBayes, HierarchyBayes, UniformProcess
from uddm.corpora import RandomHierarchy

DATA = torch.randint(20, (200, 16), generator=torch.Generator().manual_seed(0))
MEMORIZES = as_system(EmpiricalBayes(DATA, UniformProcess(20)))
LANGUAGE = RandomHierarchy(symbols=8, rules=4, depth=4, seed=0)  # 8 classes of 4^15 strings
GENERALIZES = as_system(HierarchyBayes(LANGUAGE, UniformProcess(8)))


def pairwise(x, tolerance):
    """The definition, one pair at a time."""
    return [sum((a != b).sum() <= tolerance * len(a) for b in x) - 1 for a in x]


@given(arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 2)), st.data())
def test_near_duplicates_by_definition(x, data):
    tolerance = data.draw(st.integers(0, 2 * x.shape[1] - 1)) / (2 * x.shape[1])  # a whole number of positions, or half
    assert near_duplicates(x, tolerance=tolerance).tolist() == pairwise(x, tolerance)


@pytest.mark.parametrize("tolerance", [0, 0.1, 0.2, 0.45])
def test_near_duplicates_of_noisy_copies_that_share_a_beginning(tolerance):
    rng = np.random.default_rng(0)
    x = rng.integers(9, size=(30, 20))[rng.integers(30, size=90)]
    x = np.where(rng.random(x.shape) < 0.1, rng.integers(9, size=x.shape), x)
    x[:, :5] = 0
    assert near_duplicates(x, tolerance=tolerance).tolist() == pairwise(x, tolerance)


def test_a_tolerance_is_met_exactly():
    """Of 100 positions .29 are 29, which .29 * 100 in floating point is not."""
    x = np.zeros((2, 100), int)
    x[1, :29] = 1
    assert near_duplicates(x, tolerance=0.29).tolist() == [1, 1]
    assert near_duplicates(x, tolerance=0.28).tolist() == [0, 0]


def test_moments_of_the_number_of_pairs():
    """All 3^5 samples of five from three memories: the mean, the variance, and what the variance is estimated from."""
    p, n = np.array([0.5, 0.3, 0.2]), 5
    samples = states(3, n)
    weight = p[samples].prod(1)
    near = np.array([near_duplicates(x[:, None], tolerance=0) for x in samples])
    pairs, s2, s3 = near.sum(1) / 2, (p**2).sum(), (p**3).sum()
    mean = weight @ pairs
    assert mean == pytest.approx(comb(n, 2) * s2)
    variance = comb(n, 2) * s2 * (1 - s2) + 6 * comb(n, 3) * (s3 - s2**2)
    assert weight @ (pairs - mean) ** 2 == pytest.approx(variance)
    shared = (near * (near - 1)).sum(1)
    assert weight @ shared == pytest.approx(6 * comb(n, 3) * s3)
    dispersion = 1 + 2 * ((weight @ shared) / (2 * mean) - (n - 2) * s2)
    assert dispersion - s2 == pytest.approx(variance / mean)


def test_numbers_by_hand():
    """Clusters of 4, 2, 1 and 1 of 8: 7 pairs of 28, sum d = 14, sum d (d - 1) = 24, dispersion 1 + 2 (24/14 - 6/4)."""
    x = np.array([0, 1, 0, 2, 0, 3, 1, 0])[:, None]
    dispersion = 1 + 2 * (24 / 14 - 6 / 4)
    _, fewest, most = (dispersion * count for count in garwood(7 / dispersion))
    assert memories_of(x) == pytest.approx((4, 28 / most, 28 / fewest))
    assert memories_of(x, confidence=0.5).high < memories_of(x).high
    assert memories_of(np.zeros((9, 3), int))[:2] == (1, 1)


def test_no_pair_is_more_than():
    """The largest mean that leaves no pair with probability .025: of 1225 pairs -log .025."""
    assert memories_of(np.arange(50)[:, None]) == (np.inf, pytest.approx(1225 / -np.log(0.025)), np.inf)


SIZES = [(200, 42), (200, 84), (200, 200), (1000, 95), (1000, 300), (1000, 1000), (5000, 212), (5000, 1000)]


@pytest.mark.statistical(alarm=len(SIZES) * binom.cdf(269, 300, 0.95))
def test_intervals_cover_the_number_of_memories(seed):
    """From 3 sqrt(P) samples to P, 95 % intervals hold P in at least 90 % of 300 repetitions; and they are no wider
    than pairs let expect."""
    for P, n in SIZES:
        rng = np.random.default_rng(seed(P + n))
        found = np.array([memories_of(rng.integers(P, size=(n, 1)), tolerance=0) for _ in range(300)])
        assert ((found[:, 1] <= P) & (found[:, 2] >= P)).mean() >= 0.9, (P, n)
        pairs = n * (n - 1) / 2 / P
        if pairs > 40:
            assert np.median(found[:, 2] - found[:, 1]) < 1.3 * 2 * 1.96 * P / pairs**0.5


@pytest.mark.statistical(alarm=binom.cdf(269, 300, 0.93) + binom.sf(240, 300, 0.6))
def test_unequal_memories_need_the_dispersion(seed):
    """Weights 1 / i, 30 / sqrt(s2) samples: about 94 % of the intervals hold 1 / s2. Those of a Poisson law, the
    negative control, hold it in about half of the cases."""
    weights = 1 / np.arange(1, 1001)
    weights /= weights.sum()
    memories, rng, n = 1 / (weights @ weights), np.random.default_rng(seed(0)), 175
    covered = poisson = 0
    for _ in range(300):
        value, low, high = memories_of(rng.choice(1000, size=(n, 1), p=weights), tolerance=0)
        _, fewest, most = garwood(n * (n - 1) / 2 / value)
        covered += low <= memories <= high
        poisson += fewest <= n * (n - 1) / 2 / memories <= most
    assert covered >= 270
    assert poisson <= 240


@pytest.mark.statistical(alarm=2e-3)
def test_the_exact_limit_of_memorization(seed):
    """The interval of confidence .999 of its samples, clean or with every 20th token wrong, holds the number of
    patterns; that of clean ones found by equality alone misses the noisy ones."""
    found = count_memories(MEMORIZES, 150, rng=seed(0), confidence=0.999)
    assert found.low < 200 < found.high < 1000
    rng = np.random.default_rng(seed(1))
    x = MEMORIZES.generate(150, rng)
    x = np.where(rng.random(x.shape) < 0.05, rng.integers(20, size=x.shape), x)
    noisy = memories_of(x, tolerance=0.4, confidence=0.999)
    assert noisy.low < 200 < noisy.high < 1000
    assert memories_of(x, tolerance=0).value > 400


@pytest.mark.statistical(alarm=1e-4)
def test_the_exact_limit_of_generalization(seed):
    """8 * 4^15 strings, of which fewer than 30 differ from a given one in one token: a pair is near with probability
    < 1e-8, one of 19,900 with < 1e-4."""
    found = count_memories(GENERALIZES, 200, rng=seed(0))
    assert found == (np.inf, pytest.approx(19_900 / -np.log(0.025)), np.inf)


@pytest.mark.statistical(alarm=1e-3)
def test_samples_of_what_memorizes_are_attractors(seed):
    """From a quarter of noise a pattern of 200 comes back word for word, unless 11 or more of its 16 tokens are
    altered, which of 60 happens to one in a run of 100; a string of the grammar often has others that are as likely.
    Controls: what was permuted, or never was structured, comes back nowhere."""
    memorizes, generalizes = (
        attraction(system, 60, rng=seed(0), confidence=0.999) for system in (MEMORIZES, GENERALIZES)
    )
    own, other = (found.sel(kind="own", noise=0.25) for found in (memorizes, generalizes))
    for rate in ("recovery", "exact_match"):
        assert own[rate].sel(estimate="value") > 0.9
        assert other[rate].sel(estimate="high") < own[rate].sel(estimate="low")
        assert (memorizes[rate].drop_sel(kind="own").sel(estimate="high") < own[rate].sel(estimate="low")).all()
    for found in (memorizes, generalizes):
        assert (found.exact_match.drop_sel(kind="own").sel(estimate="value") == 0).all()


def test_attraction_is_the_recovery_of_own_samples_and_of_controls():
    found = attraction(MEMORIZES, 40, noise=[0.2, 0.6], mode="x0_mode", steps=3, rng=5)
    own, scrambled, random = (found.original.sel(kind=kind).values for kind in ("own", "scrambled", "random"))
    assert np.isin(own.view("V128"), DATA.numpy().view("V128")).mean() > 0.5
    assert np.array_equal(np.sort(own), np.sort(scrambled))
    assert not (own == scrambled).all(1).any()
    assert len(np.unique(random)) == 20
    for kind, x in zip(found.kind.values, (own, scrambled, random), strict=True):
        alone = token_recovery(MEMORIZES, x, noise=[0.2, 0.6], mode="x0_mode", steps=3, rng=5)
        assert found.sel(kind=kind, drop=True).drop_attrs().identical(alone.drop_attrs())
    noisy = found.corrupted.sel(noise=0.6)
    replaced = ((noisy != found.original).sel(kind=["own", "random"])).all("kind")
    assert replaced.sum() > 100
    assert (noisy.sel(kind="own") == noisy.sel(kind="random")).where(replaced, True).all()


def test_attraction_of_a_binary_memory_is_labelled_and_recorded(tmp_path):
    system = as_system(Hopfield().fit(random_patterns(3, 60, rng=0)), beta=4.0)
    found, again = (attraction(system, 7, rng=np.random.default_rng(2)) for _ in range(2))
    assert found.drop_attrs().identical(again.drop_attrs())
    record = json.loads(found.attrs["manifest"])
    assert (record["measurement"], record["n"], record["mode"]) == ("attraction", 7, "sample")
    assert record["system"] == json.loads(json.dumps(system.describe()))
    by_seed = attraction(system, 7, rng=record["seed"])
    assert by_seed.drop_attrs().identical(found.drop_attrs())
    assert dict(found.sizes) == {"kind": 3, "noise": 1, "estimate": 3, "sample": 7, "position": 60}
    found.to_netcdf(tmp_path / "found.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "found.nc", engine="h5netcdf") as read:
        xr.testing.assert_equal(read, found)


def test_counts_depend_on_the_seed_alone():
    one, again, other = (count_memories(MEMORIZES, 60, rng=seed) for seed in (0, 0, 1))
    assert one == again != other


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: near_duplicates(np.zeros((2, 3))), TypeError, "`x` must hold integer token ids"),
        (lambda: near_duplicates(np.zeros(3, int)), ValueError, "`x` must have shape"),
        (lambda: near_duplicates(np.zeros((2, 0), int)), ValueError, "`x` must have shape"),
        (lambda: near_duplicates(np.ma.masked_equal([[0, 1]], 0)), TypeError, "`x` must not have masked"),
        (lambda: near_duplicates([[0]], tolerance=1.0), ValueError, "`tolerance` must lie in"),
        (lambda: near_duplicates([[0]], tolerance=np.nan), ValueError, "`tolerance` must be a finite number"),
        (lambda: memories_of([[0]]), ValueError, "`x` must have shape"),
        (lambda: memories_of([[0], [1]], confidence=1.0), ValueError, "`confidence`"),
        (lambda: count_memories(MEMORIZES, 1), ValueError, "`n` must be at least 2"),
        (lambda: count_memories(MEMORIZES, 2.0), TypeError, "`n` must be an integer"),
        (lambda: count_memories(MEMORIZES, 2, steps=0), ValueError, "`steps`"),
        (lambda: count_memories(MEMORIZES, 2, tolerance=-0.1), ValueError, "`tolerance`"),
        (lambda: count_memories(MEMORIZES, 2, rng=-1), ValueError, "`rng`"),
        (lambda: count_memories(DATA, 2), TypeError, "`system` must be a MemorySystem"),
        (lambda: attraction(DATA, 2), TypeError, "`system` must be a MemorySystem"),
        (lambda: attraction(MEMORIZES, 0), ValueError, "`n` must be at least 1"),
        (lambda: attraction(MEMORIZES, 2, noise=0.0), ValueError, "`noise` must lie in"),
        (lambda: attraction(MEMORIZES, 2, mode="greedy"), ValueError, "`mode` must be one of"),
        (lambda: attraction(MEMORIZES, 2, confidence=0), ValueError, "`confidence`"),
        (lambda: attraction(MEMORIZES, 2, rng="seed"), TypeError, "`rng`"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
