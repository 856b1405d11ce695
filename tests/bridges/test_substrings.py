"""Memorization of substrings: 0 for the grammar, 1 for the training set, mixtures between; against plain counting."""

import itertools

import numpy as np
import pytest

from amtheory.intervals import wilson
from bridges.substrings import substring_memorization
from uddm.corpora import RandomHierarchy

GRAMMARS = [
    {"symbols": 4, "rules": 2, "depth": 3, "seed": 1},
    {"symbols": 4, "rules": 2, "depth": 3, "seed": 2, "zipf": 1.0},
    {"symbols": 3, "rules": 3, "depth": 2, "branching": 3, "zipf": 0.5, "zipf_levels": (0,)},
    {"symbols": 3, "rules": 2, "depth": 2, "seed": 3, "ambiguous": True},
]


@pytest.mark.statistical(alarm=0.01)
@pytest.mark.parametrize("arguments", GRAMMARS)
def test_two_exact_samplers_are_told_apart(arguments, seed):
    """Intervals of 99.9 % hold 0 and 1, two intervals for each level."""
    grammar = RandomHierarchy(**arguments)
    training = grammar.sample(12, rng=seed(0))
    for sampler, expected in (
        (lambda n: grammar.sample(n, rng=seed(5)), 0),
        (lambda n: _rows(training, n, seed(7)), 1),
    ):
        found = substring_memorization(grammar, training, sampler(1500), rng=seed(0), confidence=0.999)
        low, high = (found.memorized.sel(quartile=0, estimate=e).values for e in ("low", "high"))
        assert (low <= expected + 1e-9).all()
        assert (expected - 1e-9 <= high).all()
        assert (high - low < 0.8).all()


@pytest.mark.parametrize("arguments", GRAMMARS[:2])
def test_a_mixture_is_in_between_and_linear(arguments):
    """The statistic is linear in the generated strings: exactly so for two equal halves."""
    grammar = RandomHierarchy(**arguments)
    training = grammar.unique(10, rng=0)
    a, b = grammar.sample(500, rng=1), _rows(training, 500)
    of = {
        name: substring_memorization(grammar, training, x, rng=0).sel(estimate="value")
        for name, x in {"a": a, "b": b, "both": np.concatenate([a, b])}.items()
    }
    for name in ("memorized", "overproduced"):
        np.testing.assert_allclose(of["both"][name], (of["a"][name] + of["b"][name]) / 2, atol=1e-12)


def test_against_plain_counting():
    """All strings of a small grammar enumerated, substrings as Python slices; and the quartiles from their ranks."""
    grammar = RandomHierarchy(symbols=3, rules=2, depth=2, seed=4, zipf=1.0)
    every = grammar.enumerate()
    p_string = np.exp(grammar.log_prob(every))
    training, generated = grammar.unique(8, rng=0), grammar.sample(50, rng=1)
    found = substring_memorization(grammar, training, generated, rng=0).sel(estimate="value")
    for level, size in ((1, 2), (2, 4)):

        def share(x, weights, place, word, size=size):
            here = [tuple(row[place : place + size]) == word for row in x.tolist()]
            return float(np.dot(here, weights))

        pairs = sorted({(i, tuple(r[i : i + size])) for r in training.tolist() for i in range(0, 4, size)})
        laws = ((training, np.full(8, 1 / 8)), (generated, np.full(50, 1 / 50)), (every, p_string))
        n, g, p = np.array([[share(*law, *pair) for law in laws] for pair in pairs]).T
        rounded = p.round(12)
        rank = [(rounded < one).sum() + ((rounded == one).sum() - 1) / 2 for one in rounded]
        quartile = np.array([1 + int(4 * r / len(p)) for r in rank])
        assert len(set(quartile)) > 2
        for q in range(5):
            among = quartile == q if q else np.ones(len(p), bool)
            at = found.sel(level=level, quartile=q)
            if not among.any():
                assert np.isnan([at.memorized, at.overproduced, at.probability]).all()
                continue
            above, below = (((a - p) * (n - p))[among].sum() for a in (g, n))
            expected = above / below, g[among].sum() / p[among].sum(), p[among].mean()
            np.testing.assert_allclose([at.memorized, at.overproduced, at.probability], expected, rtol=1e-10)


@pytest.mark.statistical(alarm=1e-3)
def test_intervals_cover(seed):
    """25 exact samplers, few substrings of which are in the training set: 95 % intervals of all levels and quartiles
    cover in 91-99.5 %, none in less than 70 %, and none is a point."""
    grammar, covered = RandomHierarchy(symbols=6, rules=2, depth=3, seed=0, zipf=1.0), []
    training = grammar.unique(16, rng=0)
    for n in range(25):
        found = substring_memorization(grammar, training, grammar.sample(100, rng=seed(n + 1)), rng=seed(n))
        for name, truth in (("memorized", 0), ("overproduced", 1)):
            _, low, high = np.moveaxis(found[name].values, -1, 0)
            assert (low < high)[1:].all()
            covered.append((low <= truth) & (truth <= high))
    assert 0.91 < np.mean(covered) < 0.995
    assert np.mean(covered, 0).min() > 0.7


def test_nothing_generated_still_has_an_interval():
    """No whole string of the training set among 1000: Wilson's end over the chance, as for a count of 0."""
    grammar = RandomHierarchy(symbols=8, rules=2, depth=4, seed=0)
    training, generated = grammar.unique(64, rng=0), grammar.sample(1000, rng=0)
    at = substring_memorization(grammar, training, generated, rng=0).sel(level=4, quartile=0)
    chance, most = 64 / grammar.n_strings, wilson(0, 1000).high
    np.testing.assert_allclose(at.overproduced, [0, 0, most / chance])
    np.testing.assert_allclose(at.memorized, np.array([-chance, -chance, most - chance]) / (1 - chance), rtol=1e-9)


def test_equally_probable_strings_have_no_quartiles():
    grammar = RandomHierarchy(symbols=8, rules=2, depth=4, seed=0)
    found = substring_memorization(grammar, grammar.unique(64, rng=0), grammar.sample(100, rng=0), rng=0)
    whole, pairs = (found.probability.sel(level=level, quartile=[1, 2, 3, 4]) for level in (4, 2))
    assert np.isnan(whole).all()
    assert (np.diff(pairs) > 0).all()


def test_distinct_strings_deviate_from_the_language_by_themselves():
    """Two independent sets of distinct strings: what they share is no memorization, unless the rules are equal or the
    sets small."""
    for zipf, size, least, most in ((1.0, 1024, 0.2, 0.7), (1.0, 128, -0.25, 0.15), (None, 1024, -0.15, 0.15)):
        grammar = RandomHierarchy(symbols=8, rules=2, depth=4, seed=0, zipf=zipf)
        training, *others = (grammar.unique(size, rng=seed) for seed in range(1 + max(1, 256 // size)))
        found = [substring_memorization(grammar, training, other, rng=0).memorized for other in others]
        assert least < np.mean([f.sel(level=[1, 2, 3], quartile=0, estimate="value") for f in found]) < most


def test_quartiles_are_ordered_and_weigh_together():
    grammar = RandomHierarchy(symbols=4, rules=3, depth=3, seed=1, zipf=1.0)
    training = grammar.unique(40, rng=0)
    found = substring_memorization(grammar, training, grammar.sample(300, rng=1), rng=0)
    assert (np.diff(found.probability.sel(quartile=[1, 2, 3, 4])) > 0).all()
    assert (found.probability.min("quartile") <= found.probability.sel(quartile=0)).all()
    assert (found.memorized.sel(estimate="low") <= found.memorized.sel(estimate="value")).all()


def test_it_repeats_with_its_seed():
    grammar = RandomHierarchy(**GRAMMARS[0])
    x, y = grammar.sample(8, rng=0), grammar.sample(50, rng=1)
    assert substring_memorization(grammar, x, y, rng=3).identical(substring_memorization(grammar, x, y, rng=3))


def test_bad_arguments_are_named():
    grammar = RandomHierarchy(**GRAMMARS[0])
    x = grammar.sample(5, rng=0)
    wrong = next(np.array(row) for row in itertools.product(range(4), repeat=8) if not grammar.is_valid([row])[0])
    with pytest.raises(ValueError, match="`training` must hold strings of the grammar"):
        substring_memorization(grammar, wrong[None], x)
    for name, pair in {"training": (x[:, :4], x), "generated": (x, x + 4)}.items():
        with pytest.raises(ValueError, match=f"`{name}` must"):
            substring_memorization(grammar, *pair)
    with pytest.raises(TypeError, match="`generated` must hold integer"):
        substring_memorization(grammar, x, x.astype(float))
    with pytest.raises(ValueError, match="`confidence`"):
        substring_memorization(grammar, x, x, confidence=1.0)


def _rows(training, n, seed=7):
    return training[np.random.default_rng(seed).integers(len(training), size=n)]
