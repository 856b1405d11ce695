"""Iterative latent clustering: how many strings determine a grammar.

Strings and starts are seeded, and the tolerances are three standard errors of a mean over 6 grammars or more.
"""

import numpy as np
import pytest

from uddm.corpora import RandomHierarchy, cluster_latents
from uddm.hierarchy.clustering import _contexts


def purities(symbols, rules, depth, P, *, grammars=6, branching=2):
    """(grammars, depth - 1), from the leaves up."""
    found = []
    for seed in range(grammars):
        grammar = RandomHierarchy(symbols=symbols, rules=rules, branching=branching, depth=depth, seed=seed)
        x = grammar.sample(P, rng=seed)
        clusters = cluster_latents(x, symbols=symbols, branching=branching, depth=depth, rng=0)
        found.append(clusters.purity(grammar))
    return np.array(found)


def test_few_strings_determine_the_grammar():
    """v = 8, m = 4, L = 4: all of it from 4 v m^3 = 2048 strings, most from v m^3 = 512, little from 64."""
    np.testing.assert_array_equal(purities(8, 4, 4, 2048), 1)
    most = purities(8, 4, 4, 512).mean(0)
    np.testing.assert_allclose(most, [1, 0.96, 0.84], atol=0.2)
    assert (np.diff(most) <= 0).all()
    assert purities(8, 4, 4, 64).mean(0)[-1] < 0.45


def test_depth_does_not_matter():
    """Levels counted from the class: as pure at L = 4 as at L = 6, where learning from tokens takes 16 times more."""
    shallow, deep = purities(8, 4, 4, 512), purities(8, 4, 6, 512)
    np.testing.assert_allclose(deep.mean(0)[-3:], shallow.mean(0), atol=0.2)
    np.testing.assert_array_equal(deep[:, :2], 1)
    np.testing.assert_array_equal(purities(8, 4, 6, 2048, grammars=3), 1)


def test_triples():
    np.testing.assert_array_equal(purities(6, 3, 3, 3000, branching=3, grammars=3), 1)


def test_strings_without_structure_have_none_to_find():
    """Tokens shuffled between strings: purity as of clusters drawn at random, of some sixteen tuples of 32."""
    grammar = RandomHierarchy(symbols=8, rules=4, depth=4)
    x = grammar.sample(2048, rng=0)
    pairs = np.random.default_rng(0).permuted(x.reshape(2048, 8, 2), axis=0)  # pairs stay whole, their cousins do not
    shuffled = cluster_latents(pairs.reshape(x.shape), symbols=8, branching=2, depth=4, rng=0)
    clusters, symbols = shuffled.levels[0].ravel(), grammar.parse(pairs.reshape(x.shape))[-1].ravel()
    counts = np.zeros((8, 8))
    np.add.at(counts, (clusters, symbols), 1)
    assert counts.max(1).sum() / counts.sum() < 0.6
    with pytest.raises(ValueError, match="`grammar`"):
        shuffled.purity(grammar)


def test_points_are_as_far_apart_as_the_laws_of_cousins():
    """Pairs of symbols (a, a) or (a, a + 1) mod 3, and two synonyms of each symbol, one twice as frequent. Between
    different symbols sum_c (p(c|a) - p(c|b))^2/p(c) = 2 (1/2)^2/(1/3) = 3/2, at either position."""
    synonyms = np.array([0, 0, 1])
    a, other, left, right = np.meshgrid(range(3), range(2), synonyms, synonyms)
    ids = np.stack([2 * a + left, 2 * ((a + other) % 3) + right], -1).reshape(-1, 2)
    points, count = _contexts(ids, 6, 2, 3)
    np.testing.assert_array_equal(count, [24, 12] * 3)
    squares = ((points[:, None] - points) ** 2).sum(-1)
    np.testing.assert_allclose(squares, 1.5 * (1 - np.kron(np.eye(3), np.ones((2, 2)))), atol=1e-12)


def test_shapes_seeds_and_errors():
    grammar = RandomHierarchy(symbols=4, rules=2, depth=3)
    x = grammar.sample(100, rng=0)
    found = cluster_latents(x.astype(">i4"), symbols=4, branching=2, depth=3, rng=5)
    again = cluster_latents(x, symbols=4, branching=2, depth=3, rng=5)
    assert [level.shape for level in found.levels] == [(100, 4), (100, 2)]
    for one, other in zip(found.levels, again.levels):
        np.testing.assert_array_equal(one, other)
        assert one.max() < 4
    for wrong in ({"symbols": 3}, {"depth": 2}, {"seed": 1}, {"ambiguous": True}):
        with pytest.raises(ValueError, match="`grammar`"):
            found.purity(RandomHierarchy(**{"symbols": 4, "rules": 2, "depth": 3, **wrong}))
    for name in ("symbols", "branching", "depth"):
        with pytest.raises(ValueError, match=f"`{name}`"):
            cluster_latents(x, **{"symbols": 4, "branching": 2, "depth": 3, name: 1})
    with pytest.raises(ValueError, match="`x`"):
        cluster_latents(x[:, :4], symbols=4, branching=2, depth=3)
