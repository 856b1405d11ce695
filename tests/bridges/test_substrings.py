"""Memorization of substrings: 0 for the grammar, 1 for the training set, mixtures between; against plain counting."""

import itertools

import numpy as np
import pytest

from bridges.substrings import substring_memorization
from uddm.corpora import RandomHierarchy

GRAMMARS = [
    {"symbols": 4, "rules": 2, "depth": 3, "seed": 1},
    {"symbols": 4, "rules": 2, "depth": 3, "seed": 2, "zipf": 1.0},
    {"symbols": 3, "rules": 3, "depth": 2, "branching": 3, "zipf": 0.5, "zipf_levels": (0,)},
    {"symbols": 3, "rules": 2, "depth": 2, "seed": 3, "ambiguous": True},
]


@pytest.mark.parametrize("arguments", GRAMMARS)
def test_two_exact_samplers_are_told_apart(arguments):
    """Intervals of 99.9 % hold 0 and 1: false-alarm rate below 1 % for each grammar (two intervals for each level)."""
    grammar = RandomHierarchy(**arguments)
    training = grammar.sample(12, rng=0)
    for sampler, expected in ((lambda n: grammar.sample(n, rng=5), 0), (lambda n: _rows(training, n), 1)):
        found = substring_memorization(grammar, training, sampler(1500), rng=0, confidence=0.999)
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
    """All strings of a small grammar enumerated, substrings as Python slices."""
    grammar = RandomHierarchy(symbols=3, rules=2, depth=2, seed=4, zipf=1.0)
    every = grammar.enumerate()
    p_string = np.exp(grammar.log_prob(every))
    training, generated = grammar.unique(8, rng=0), grammar.sample(50, rng=1)
    found = substring_memorization(grammar, training, generated, rng=0).sel(estimate="value")
    for level, size in ((1, 2), (2, 4)):

        def share(x, weights, place, word, size=size):
            here = [tuple(row[place : place + size]) == word for row in x.tolist()]
            return float(np.dot(here, weights))

        above = below = g_sum = p_sum = 0.0
        pairs = sorted({(i, tuple(r[i : i + size])) for r in training.tolist() for i in range(0, 4, size)})
        for place, word in pairs:
            n = share(training, np.full(8, 1 / 8), place, word)
            g = share(generated, np.full(50, 1 / 50), place, word)
            p = share(every, p_string, place, word)
            above, below, g_sum, p_sum = above + (g - p) * (n - p), below + (n - p) ** 2, g_sum + g, p_sum + p
        at = found.sel(level=level, quartile=0)
        np.testing.assert_allclose([at.memorized, at.overproduced], [above / below, g_sum / p_sum], rtol=1e-12)
        np.testing.assert_allclose(at.probability, p_sum / len(pairs), rtol=1e-12)


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
    with pytest.raises(ValueError, match="`x` must"):
        substring_memorization(grammar, x, x[:, :4])
    with pytest.raises(ValueError, match="`confidence`"):
        substring_memorization(grammar, x, x, confidence=1.0)


def _rows(training, n):
    return training[np.random.default_rng(7).integers(len(training), size=n)]
