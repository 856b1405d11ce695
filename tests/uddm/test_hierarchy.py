"""The Random Hierarchy Model against its definition, by listing derivations."""

import itertools
import json
import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uddm.hierarchy import RandomHierarchy
from uddm.hierarchy import grammar as module

ALMOST_NEVER = 1e-6  # false-alarm rate of every chi-square test here


@st.composite
def grammars(draw, unambiguous=False):
    """Grammars with few derivations."""
    v, s, L = draw(st.integers(2, 4)), draw(st.integers(2, 3)), draw(st.integers(1, 2))
    free = not unambiguous and draw(st.booleans())
    m = draw(st.integers(1, min(2 if s**L > 4 else 3, v ** (s - 1))))
    n_c = draw(st.one_of(st.none(), st.integers(1, min(5, v**s // m))))
    zipf = draw(st.sampled_from([None, 0.0, 1.5]))
    levels = None if zipf is None else draw(st.sampled_from([None, (0,), (L - 1,)]))
    seed = draw(st.integers(0, 10**6))
    return RandomHierarchy(
        symbols=v,
        rules=m,
        branching=s,
        depth=L,
        seed=seed,
        classes=n_c,
        ambiguous=free,
        zipf=zipf,
        zipf_levels=levels,
    )


def law(grammar):
    """p(x) by going through all derivations: {string: probability}."""
    sentential = {(c,): 1 / grammar.widths[0] for c in range(grammar.widths[0])}
    for table, probs in zip(grammar.tables, grammar.rule_probs):
        below = defaultdict(float)
        for symbols, p in sentential.items():
            for rules in itertools.product(range(grammar.rules), repeat=len(symbols)):
                children = [b for a, r in zip(symbols, rules) for b in table[a, r].tolist()]
                below[tuple(children)] += p * math.prod(probs[r] for r in rules)
        sentential = below
    return dict(sentential)


@given(grammars())
def test_log_prob_is_the_sum_over_derivations(grammar):
    strings = grammar.enumerate()
    want = law(grammar)
    assert len(strings) == len(want) == grammar.n_strings
    assert set(map(tuple, strings.tolist())) == set(want)
    got = grammar.log_prob(strings)
    np.testing.assert_allclose(got, np.log([want[tuple(x)] for x in strings.tolist()]), rtol=1e-12, atol=1e-12)
    assert np.exp(got).sum() == pytest.approx(1, abs=1e-12)


@given(grammars(), st.integers(0, 2**32 - 1))
def test_validity_is_membership(grammar, seed):
    strings = set(map(tuple, grammar.enumerate().tolist()))
    x = np.random.default_rng(seed).integers(grammar.symbols, size=(50, grammar.length))
    x[:25] = grammar.sample(25, rng=seed)
    member = np.array([tuple(row) in strings for row in x.tolist()])
    assert member[:25].all()
    np.testing.assert_array_equal(grammar.is_valid(x), member)
    np.testing.assert_array_equal(np.isfinite(grammar.log_prob(x)), member)
    np.testing.assert_array_equal(grammar.level_validity(x)[:, -1], member)


def test_blocks_do_not_matter(monkeypatch):
    grammar = RandomHierarchy(symbols=3, rules=4, depth=2, ambiguous=True)
    x = np.random.default_rng(0).integers(3, size=(50, 4))
    whole = [grammar.log_prob(x), grammar.is_valid(x), grammar.level_validity(x)]
    assert 0 < whole[1].sum() < 50
    monkeypatch.setattr(module, "_AT_ONCE", 8)
    for one, other in zip(whole, [grammar.log_prob(x), grammar.is_valid(x), grammar.level_validity(x)]):
        np.testing.assert_array_equal(one, other)


@given(grammars(unambiguous=True), st.integers(0, 2**32 - 1))
def test_parsing_inverts_the_derivation(grammar, seed):
    x, latents = grammar.sample(20, rng=seed, latents=True)
    parsed = grammar.parse(x)
    assert len(parsed) == len(latents) == grammar.depth
    for level, (got, want) in enumerate(zip(parsed, latents)):
        assert want.shape == (20, grammar.branching**level)
        np.testing.assert_array_equal(got, want)
    assert (grammar.level_validity(x) == 1).all()


@given(grammars())
def test_rules_are_distinct(grammar):
    """No symbol has a rule twice; no two symbols of an unambiguous grammar share one."""
    for table in grammar.tables:
        for rules in table if grammar.ambiguous else [table.reshape(-1, grammar.branching)]:
            assert len(np.unique(rules, axis=0)) == len(rules)
        assert table.min() >= 0
        assert table.max() < grammar.symbols


def test_number_of_strings():
    """8 * 4^15, as many as 33 bits and more: nothing is enumerated. P_max can exceed any integer type."""
    grammar = RandomHierarchy(symbols=8, rules=4, depth=4)
    assert (grammar.length, grammar.n_latents, grammar.n_strings) == (16, 15, 8 * 4**15)
    assert RandomHierarchy(symbols=8, rules=4, depth=7).n_strings == 8 * 4**127
    np.testing.assert_allclose(grammar.log_prob(grammar.sample(5, rng=0)), -math.log(8 * 4**15), rtol=1e-14)
    with pytest.raises(ValueError, match="`limit` must be at least the 8589934592 derivations"):
        grammar.enumerate()


def test_shared_rules_make_fewer_strings():
    grammar = RandomHierarchy(symbols=2, rules=4, depth=1, ambiguous=True)  # both classes make all four pairs
    assert (grammar.n_derivations, grammar.n_strings) == (8, 4)
    np.testing.assert_allclose(grammar.log_prob([[0, 0], [0, 1], [1, 0], [1, 1]]), math.log(1 / 4))
    with pytest.raises(ValueError, match="`parse`"):
        grammar.parse([[0, 0]])


@pytest.mark.statistical(alarm=1e-6)
def test_levels_of_a_broken_string(seed):
    """One wrong token breaks its tuple and all above it, at each level one of half as many."""
    grammar = RandomHierarchy(symbols=8, rules=1, depth=3, seed=3)
    x = grammar.sample(1, rng=0)
    broken = np.repeat(x, 8, 0)
    broken[:, 0] = np.arange(8)
    valid = grammar.level_validity(broken)
    tuples = set(map(tuple, grammar.tables[-1].reshape(-1, 2).tolist()))
    for row, share in zip(broken, valid):
        if (row == x).all():
            assert (share == 1).all()
        elif tuple(row[:2].tolist()) not in tuples:
            np.testing.assert_array_equal(share, [0.75, 0.5, 0])
            parsed = grammar.parse(row[None])
            assert [levels[0, 0] for levels in parsed] == [-1, -1, -1]
            assert (parsed[2][0, 1:] >= 0).all()
    assert (valid[:, 0] == 0.75).any()
    share = grammar.level_validity(np.random.default_rng(seed(0)).integers(8, size=(20_000, 8)))
    np.testing.assert_allclose(share[:, 0].mean(), 1 / 8, atol=0.006)  # f = m/v; five standard errors


@pytest.mark.statistical(alarm=ALMOST_NEVER)
@pytest.mark.parametrize("zipf", [None, 1.0])
def test_samples_have_the_law_of_the_grammar(chi_square, zipf, seed):
    grammar = RandomHierarchy(symbols=3, rules=2, depth=2, seed=1, zipf=zipf)
    other = RandomHierarchy(symbols=3, rules=2, depth=2, seed=1, zipf=0.9 if zipf else 0.1)
    strings = grammar.enumerate()
    codes, x = strings @ [27, 9, 3, 1], grammar.sample(100_000, rng=seed(5)) @ [27, 9, 3, 1]
    counts = np.bincount(x, minlength=81)[codes]
    assert counts.sum() == 100_000
    assert chi_square(counts, np.exp(grammar.log_prob(strings))) > ALMOST_NEVER
    assert chi_square(counts, np.exp(other.log_prob(strings))) < ALMOST_NEVER


def test_zipf_levels():
    grammar = RandomHierarchy(symbols=4, rules=3, depth=3, zipf=1, zipf_levels=[1])
    f = np.array([1, 1 / 4, 1 / 9])
    np.testing.assert_allclose(grammar.rule_probs, [[1 / 3] * 3, f / f.sum(), [1 / 3] * 3])
    everywhere = RandomHierarchy(symbols=4, rules=3, depth=3, zipf=1)
    np.testing.assert_allclose(everywhere.rule_probs, np.tile(f / f.sum(), (3, 1)))
    for one, other in zip(grammar.tables, everywhere.tables):
        np.testing.assert_array_equal(one, other)


def test_samples_do_not_depend_on_how_many_follow():
    grammar = RandomHierarchy(symbols=8, rules=4, depth=3)
    np.testing.assert_array_equal(grammar.sample(10, rng=1), grammar.sample(1000, rng=1)[:10])
    assert not (grammar.sample(10, rng=1) == grammar.sample(10, rng=2)).all()


@pytest.mark.parametrize("enumerable", [True, False])
@pytest.mark.parametrize("zipf", [None, 1.0])
def test_distinct_strings(monkeypatch, enumerable, zipf):
    """Both ways of drawing, up to all strings: distinct, valid, nested, disjoint from what follows."""
    grammar = RandomHierarchy(symbols=3, rules=2, depth=2, seed=4, zipf=zipf)
    monkeypatch.setattr(module, "_FEW", 2**20 if enumerable else 0)
    x = grammar.unique(24, rng=7)
    assert len(np.unique(x, axis=0)) == grammar.n_strings == 24
    assert grammar.is_valid(x).all()
    assert x.dtype == np.int64
    np.testing.assert_array_equal(grammar.unique(10, rng=7), x[:10])
    with pytest.raises(ValueError, match="`P`"):
        grammar.unique(25, rng=7)


def test_distinct_strings_of_a_large_grammar():
    grammar = RandomHierarchy(symbols=8, rules=4, depth=4)
    x = grammar.unique(10_000, rng=0)
    assert len(np.unique(x, axis=0)) == 10_000
    np.testing.assert_array_equal(x[:100], grammar.unique(100, rng=0))
    many_symbols = RandomHierarchy(symbols=300, rules=2, depth=4)
    assert many_symbols.is_valid(many_symbols.unique(1000, rng=0)).all()


@pytest.mark.statistical(alarm=ALMOST_NEVER)
@pytest.mark.parametrize("enumerable", [True, False])
def test_law_of_distinct_strings(monkeypatch, chi_square, enumerable, seed):
    """The first two of them: p(x) p(y)/(1 - p(x)), by exponential clocks as by rejection; not a uniform pair."""
    grammar = RandomHierarchy(symbols=2, rules=2, depth=1, zipf=1.0, seed=2)
    strings = grammar.enumerate()
    p = np.exp(grammar.log_prob(strings))
    assert p.max() > 2 * p.min()
    pairs = p[:, None] * p / (1 - p[:, None])
    np.fill_diagonal(pairs, 0)
    monkeypatch.setattr(module, "_FEW", 2**20 if enumerable else 0)
    monkeypatch.setattr(module, "_AT_ONCE", 8)
    rng, index = np.random.default_rng(seed(1)), {tuple(x): i for i, x in enumerate(strings.tolist())}
    counts = np.zeros_like(pairs)
    for _ in range(4000):
        first, second = grammar.unique(2, rng=rng).tolist()
        counts[index[tuple(first)], index[tuple(second)]] += 1
    assert chi_square(counts, pairs) > ALMOST_NEVER
    uniform = (1 - np.eye(len(p))) / (len(p) * (len(p) - 1))
    assert chi_square(counts, uniform) < ALMOST_NEVER


def test_a_hopeless_wish_for_distinct_strings(monkeypatch):
    """2^8 strings, most of probability below 1e-20: the draws end."""
    monkeypatch.setattr(module, "_FEW", 0)
    grammar = RandomHierarchy(symbols=2, rules=2, depth=3, zipf=60.0)
    with pytest.raises(ValueError, match=r"`P` must be lower: .* gave 2 distinct strings, not 20"):
        grammar.unique(20, rng=0)


@given(grammars())
def test_recorded_and_rebuilt(grammar):
    again = RandomHierarchy(**json.loads(json.dumps(grammar.to_dict())))
    assert again == grammar
    assert hash(again) == hash(grammar)
    assert eval(repr(grammar)) == grammar
    for one, other in zip(again.tables, grammar.tables):
        np.testing.assert_array_equal(one, other)


def test_numbers_of_numpy_are_recorded_too():
    numpy = {"ambiguous": np.True_, "zipf": np.float32(0.5), "zipf_levels": np.arange(2)}
    grammar = RandomHierarchy(symbols=np.int64(3), rules=2, depth=2, **numpy)
    assert RandomHierarchy(**json.loads(json.dumps(grammar.to_dict()))) == grammar
    for array in (*grammar.tables, grammar.rule_probs):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0


def test_other_seeds_give_other_rules():
    one, other = (RandomHierarchy(symbols=8, rules=4, depth=2, seed=seed) for seed in (0, 1))
    assert one != other
    assert not (one.tables[0] == other.tables[0]).all()
    assert not (one.tables[0] == one.tables[1]).all()


@pytest.mark.parametrize(("branching", "depth", "symbols"), [(2, 3, 8), (3, 2, 12)])
def test_picture(branching, depth, symbols):
    """Every other line holds the symbols of a level."""
    grammar = RandomHierarchy(symbols=symbols, rules=2, branching=branching, depth=depth)
    x = grammar.sample(1, rng=0)
    lines = grammar.draw(x[0]).splitlines()
    for line, level in zip(lines[::2], [*grammar.parse(x), x], strict=True):
        assert line.split() == [str(a) for a in level[0]]
    for level, line in enumerate(lines[1::2], 1):
        assert line.count("┌") == line.count("┐") == branching ** (level - 1)
        assert line.count("┼" if branching % 2 else "┴") == branching ** (level - 1)
    wrong = x[0].copy()
    wrong[0] = next(a for a in range(symbols) if grammar.parse([[a, *x[0, 1:]]])[-1][0, 0] < 0)
    assert grammar.draw(wrong).splitlines()[0].strip() == "·"


def test_bad_arguments_are_named():
    good = {"symbols": 4, "rules": 2, "depth": 2}
    bad = {
        "symbols": (1,),
        "rules": (0, 5),
        "branching": (1, 40, 2**31),
        "depth": (0, 2**31),
        "seed": (-1,),
        "classes": (0, 9),
        "ambiguous": ("no", np.zeros(2)),
        "zipf": (-0.1, math.inf, math.nan, "1", True, 1000.0),
    }
    for name, values in bad.items():
        for value in values:
            with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
                RandomHierarchy(**{**good, name: value})
    with pytest.raises(TypeError, match="`symbols`"):
        RandomHierarchy(**{**good, "symbols": 2.5})
    for levels, zipf in (((2,), 1.0), ((-1,), 1.0), ((), 1.0), ((0,), None), (0, 1.0), ([0.0], 1.0), ([True], 1.0)):
        with pytest.raises(ValueError, match="`zipf_levels`"):
            RandomHierarchy(**good, zipf=zipf, zipf_levels=levels)
    RandomHierarchy(**{**good, "rules": 16}, ambiguous=True)
    with pytest.raises(ValueError, match="`rules`"):
        RandomHierarchy(**{**good, "rules": 17}, ambiguous=True)
    grammar = RandomHierarchy(**good)
    for method in (grammar.parse, grammar.is_valid, grammar.level_validity, grammar.log_prob):
        with pytest.raises(ValueError, match="`x`"):
            method([[0, 1, 2]])
        with pytest.raises(ValueError, match="`x`"):
            method([[0, 1, 2, 4]])
        for x in ([[0.0, 1.0, 2.0, 3.0]], None, "ab"):
            with pytest.raises(TypeError, match="`x`"):
                method(x)
    for call in (grammar.sample, grammar.unique):
        with pytest.raises(TypeError, match="`rng`"):
            call(1, rng="0")
    with pytest.raises(ValueError, match="`n`"):
        grammar.sample(0)
    with pytest.raises(TypeError, match="`limit`"):
        grammar.enumerate(limit="a")
    with pytest.raises(ValueError, match="`draw`"):
        RandomHierarchy(**good, ambiguous=True).draw([0, 1, 2, 3])
    with pytest.raises(ValueError, match="`P`"):
        grammar.unique(0)
