"""Transition matrices of U-turns against sums by hand, and the components of support graphs against pairs."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_worlds import (
    AMBIGUOUS,
    TINY,
    TINY_P,
    TINY_SYSTEM,
    UNIFORM,
    ZIPF,
    bayes,
    energy,
    network,
    number,
    states,
    tiny_energy,
    tiny_log_prob,
    tiny_path_kernel,
    tiny_target,
)
from toy_noise import Mixed

from amtheory import Hopfield
from amtheory.patterns import random_patterns
from bridges import UTurn, as_system, chains
from bridges.fragmentation import fragmentation, kernel_bias, kernel_matrix
from uddm import EmpiricalBayes
from uddm.corpora import RandomHierarchy

GRAMMARS = pytest.mark.parametrize("grammar", [UNIFORM, ZIPF, AMBIGUOUS], ids=["uniform", "zipf", "ambiguous"])


# Exact transition matrices


def kernel_by_hand(grammar, alpha, acceptance=lambda x, z, y: 1.0, joint=True):
    """sum_z q(z | x) R(y | z) A(x, z, y), one string at a time, with R the joint or the factorised posterior."""
    x, K = states(grammar.symbols, grammar.length), grammar.symbols
    p = np.exp(grammar.log_prob(x))
    q = np.array([[np.prod(alpha * (a == b) + (1 - alpha) / K) for b in x] for a in x])
    posterior = p[:, None] * q / (p @ q)
    if joint:
        back = posterior.T
    else:
        tokens = np.stack([posterior.T @ (x == a) for a in range(K)], -1)  # (z, l, a)
        back = np.array([[np.prod([one[l, a] for l, a in enumerate(y)]) for y in x] for one in tokens])
    return q, back, p


@pytest.mark.parametrize("grammar", [ZIPF, AMBIGUOUS], ids=["zipf", "ambiguous"])
@pytest.mark.parametrize("alpha", [0.1, 0.8])
def test_matrices_by_hand(grammar, alpha):
    everything = states(grammar.symbols, grammar.length)[::7]
    for joint, options in ((True, {}), (False, {"mode": "factorised"})):
        q, back, _ = kernel_by_hand(grammar, alpha, joint=joint)
        kernel = kernel_matrix(UTurn(bayes(grammar), 1 - alpha, **options), everything, log_prob=grammar.log_prob)
        if joint:  # normalised over the support, which must therefore be all of it
            every = states(grammar.symbols, grammar.length)
            kernel = kernel_matrix(UTurn(bayes(grammar), 1 - alpha), every, log_prob=grammar.log_prob)[::7, ::7]
        np.testing.assert_allclose(kernel, (q @ back)[::7, ::7], atol=1e-13)


@GRAMMARS
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_exact_kernel_is_reversible(grammar, alpha):
    """Detailed balance to 1e-12 with respect to p, and to p e^{-E}; eigenvalues in [0, 1]."""
    support = grammar.enumerate()
    p = np.exp(grammar.log_prob(support))
    uturn = UTurn(bayes(grammar), 1 - alpha)
    assert uturn.exact
    kernel = kernel_matrix(uturn, support, log_prob=grammar.log_prob)
    assert max(kernel_bias(kernel, p)) < 1e-12
    symmetric = np.sqrt(p)[:, None] * kernel / np.sqrt(p)
    eigenvalues = np.linalg.eigvalsh((symmetric + symmetric.T) / 2)
    assert -1e-13 < eigenvalues.min() < eigenvalues.max() < 1 + 1e-13
    target = p * np.exp(-energy(support))
    target /= target.sum()
    tilted = kernel_matrix(uturn, support, rule="exact", energy=energy, log_prob=grammar.log_prob)
    assert max(kernel_bias(tilted, target)) < 1e-12
    assert kernel_bias(kernel, target).one_step > 0.01  # negative control


@GRAMMARS
def test_factorised_reverse_is_biased_and_repaired(grammar):
    """One shot leaves the grammar; N steps are biased by O(1/N); path probabilities repair it (notes: .354, .381)."""
    everything, support = states(grammar.symbols, grammar.length), grammar.enumerate()
    p, full = np.exp(grammar.log_prob(support)), np.exp(grammar.log_prob(everything))
    one_shot = UTurn(bayes(grammar), 0.5, mode="factorised")
    bias = kernel_bias(kernel_matrix(one_shot, support), p)
    assert bias.leaving > 0.1
    assert bias.one_step >= bias.leaving - 1e-12
    assert np.isnan(bias.stationary)
    biases = [kernel_bias(kernel_matrix(UTurn(bayes(grammar), 0.5, steps=n), everything), full) for n in (8, 32)]
    for coarse, fine in pairwise(biases):
        assert 2.5 < coarse.one_step / fine.one_step < 4.5
        assert 2.5 < coarse.detailed_balance / fine.detailed_balance < 4.5
        assert fine.stationary < coarse.stationary
    target = p * np.exp(-energy(support))
    target /= target.sum()
    naive = kernel_bias(kernel_matrix(one_shot, support, rule="naive", energy=energy), target)
    assert naive.leaving < 1e-12
    assert naive.stationary > naive.one_step > 1e-3
    options = {"rule": "path", "log_prob": grammar.log_prob}
    assert max(kernel_bias(kernel_matrix(one_shot, support, energy=energy, **options), target)) < 1e-12
    assert max(kernel_bias(kernel_matrix(one_shot, support, **options), p)) < 1e-12


@pytest.mark.parametrize("options", [{}, {"mode": "factorised"}], ids=["exact", "path"])
def test_impossible_strings_stay(options):
    """log p = -inf outside a grammar, an infinite energy, noise too small to see: no NaN, detailed balance among what
    is left, and nothing moves from or to the rest."""
    every, rule = states(4, 4), "path" if options else "exact"
    outside = ~np.isfinite(UNIFORM.log_prob(every))
    wall = np.where((number(every, 4) % 5 == 0) | (outside & (rule == "exact")), np.inf, 0.0)
    walled = lambda x: wall[number(x, 4)]  # noqa: E731
    target = np.exp(UNIFORM.log_prob(every) - wall)
    arguments = {"rule": rule, "energy": walled, "log_prob": UNIFORM.log_prob}
    kernel = kernel_matrix(UTurn(bayes(UNIFORM), 0.5, **options), every, **arguments)
    assert max(kernel_bias(kernel, target / target.sum())) < 1e-12
    assert np.array_equal(kernel[target == 0], np.eye(256)[target == 0])
    assert not kernel[np.ix_(target > 0, target == 0)].any()
    still = kernel_matrix(UTurn(bayes(UNIFORM), 1e-17, **options), every, **arguments)
    np.testing.assert_allclose(still, np.eye(256), atol=1e-9)


def test_bias_of_a_known_kernel():
    """Two states, k = [[1 - a, a], [b, 1 - b]]: stationary (b, a)/(a + b), flow p_0 a - p_1 b."""
    a, b, p = 0.2, 0.1, np.array([0.5, 0.5])
    bias = kernel_bias(np.array([[1 - a, a], [b, 1 - b]]), p)
    np.testing.assert_allclose(bias, [0, (a - b) / 2, 1 / 2 - b / (a + b), 2 * (a - b) / 2], atol=1e-12)
    leaving = kernel_bias(np.diag([0.9, 0.9]), p)
    np.testing.assert_allclose(leaving, [0.1, 0.1, np.nan, 0], atol=1e-12)
    swap = kernel_bias([[0, 1], [1, 0]], [0.9, 0.1])  # periodic: half and half on average
    np.testing.assert_allclose(swap, [0, 0.8, 0.4, 1.6], atol=1e-12)


def test_path_rule_of_several_steps_is_reversible():
    assert max(kernel_bias(tiny_path_kernel(), tiny_target())) < 1e-12
    naive = kernel_matrix(UTurn(TINY_SYSTEM, 0.6, steps=2), TINY, rule="naive", energy=tiny_energy)
    assert kernel_bias(naive, tiny_target()).stationary > 0.005  # negative control


def test_small_noise_keeps_its_digits():
    """Against rational numbers at t = 1e-9, where 1 - alpha rounded to float64 has lost half of its digits."""
    half = Fraction(1e-9) / 2
    z = states(2, 2)
    q = [[math.prod(half if a != b else 1 - half for a, b in zip(x, noisy)) for noisy in z] for x in TINY]
    p = [Fraction(value) for value in TINY_P]
    mass = [sum(p[x] * q[x][k] for x in range(3)) for k in range(4)]
    exact = [[sum(q[x][k] * q[y][k] * p[y] / mass[k] for k in range(4)) for y in range(3)] for x in range(3)]
    found = kernel_matrix(UTurn(TINY_SYSTEM, 1e-9), TINY, log_prob=tiny_log_prob)
    np.testing.assert_allclose(found, np.array(exact, float), rtol=1e-14)


@pytest.mark.parametrize("share", [0.0, 0.4], ids=["absorbing", "mixed"])
def test_kernels_of_other_noise_are_reversible(share):
    """Noisy strings may hold a mask; the exact kernel, and that of path probabilities, keep p and p e^{-E}."""
    memory = EmpiricalBayes(torch.tensor(TINY[[0, 0, 1, 2]]), Mixed(2, share=share))
    exact, factorised = UTurn(memory, 0.6), UTurn(memory, 0.6, mode="factorised")
    always = kernel_matrix(exact, TINY, log_prob=tiny_log_prob)
    np.testing.assert_allclose(always.sum(1), 1, rtol=1e-12)
    assert max(kernel_bias(always, TINY_P)) < 1e-12
    assert kernel_bias(kernel_matrix(factorised, TINY), TINY_P).leaving > 0.01
    for uturn, rule in ((exact, "exact"), (factorised, "path")):
        tilted = kernel_matrix(uturn, TINY, rule=rule, energy=tiny_energy, log_prob=tiny_log_prob)
        assert max(kernel_bias(tilted, tiny_target())) < 1e-12
        assert kernel_bias(tilted, TINY_P).one_step > 0.01


# Support graph


def components_by_pairs(strings, k):
    """Union of all pairs at distance at most k."""
    labels = list(range(len(strings)))
    for i in range(len(strings)):
        for j in range(i):
            if (strings[i] != strings[j]).sum() <= k and labels[i] != labels[j]:
                old, new = labels[i], labels[j]
                labels = [new if label == old else label for label in labels]
    return labels


@given(
    st.integers(1, 5).flatmap(
        lambda L: st.tuples(
            st.lists(st.lists(st.integers(0, 3), min_size=L, max_size=L), min_size=1, max_size=25), st.integers(1, L)
        )
    )
)
def test_fragmentation_by_pairs(case):
    strings, k = np.array(case[0]), case[1]
    labels = components_by_pairs(strings, k)
    found = fragmentation(strings, k)
    same = np.equal.outer(labels, labels)
    assert np.array_equal(np.equal.outer(found.labels, found.labels), same)
    sizes = sorted((len(np.unique(strings[np.array(labels) == c], axis=0)) for c in set(labels)), reverse=True)
    assert found.sizes.tolist() == sizes
    assert found.components == len(sizes)
    assert found.largest == sizes[0] / sum(sizes)
    assert len(np.unique(strings[found.labels == 0], axis=0)) == sizes[0]


@pytest.mark.statistical(alarm=1e-3)
@pytest.mark.parametrize(
    ("depth", "rules", "substitutions", "published", "spread"),
    [
        (2, 2, 1, 0.30, 0.18),
        (2, 3, 1, 0.94, 0.04),
        (2, 4, 1, 1.0, 0.002),
        (3, 2, 1, 0.05, 0.04),
        (2, 2, 2, 0.99, 0.0),
        (3, 2, 2, 0.93, 0.07),
    ],
)
def test_fragmentation_of_grammars(depth, rules, substitutions, published, spread, seed):
    """Largest component over 10 grammars of v = 8, of standard deviation `spread` over 100 seeds: the means of two sets
    of ten differ by less than 4 standard deviations of a difference, or .03."""
    shares = [
        fragmentation(
            RandomHierarchy(symbols=8, rules=rules, depth=depth, seed=seed(n)).enumerate(), substitutions
        ).largest
        for n in range(10)
    ]
    assert abs(np.mean(shares) - published) < max(4 * spread * np.sqrt(2 / 10), 0.03)


def test_minimal_moves_stay_in_their_component():
    """Chains that change one token at a time never leave it; exact ones at large noise do."""
    grammar = RandomHierarchy(symbols=8, rules=2, depth=2, seed=0)
    strings = grammar.enumerate()
    parts = fragmentation(strings)
    assert parts.components > 1
    of = dict(zip(number(strings, 8).tolist(), parts.labels.tolist()))

    def component(x):
        return np.array([of[code] for code in number(x, 8).tolist()])

    system, x = bayes(grammar), grammar.sample(200, rng=0)
    start = component(x)
    for k in range(20):  # heat bath on one token: exact posterior given all others
        l = k % 4
        cavity = system.cavity(torch.tensor(x), 1e-9)[:, l].exp()
        x[:, l] = torch.multinomial(cavity, 1, generator=torch.Generator().manual_seed(k))[:, 0].numpy()
        assert np.array_equal(component(x), start)
    far = chains(UTurn(system, 0.9), x, 3, rng=0).final.values
    assert (component(far) != start).mean() > 0.3


EXACT = UTurn(bayes(UNIFORM), 0.5)
STEPS = UTurn(bayes(UNIFORM), 0.5, steps=3)
ONE_SHOT = UTurn(bayes(UNIFORM), 0.5, mode="factorised")
HOPFIELD = as_system(Hopfield().fit(random_patterns(2, 4, rng=0)), beta=1.0)
X = UNIFORM.unique(5, rng=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fragmentation(X, 5), "`substitutions` must be at most the length 4"),
        (lambda: fragmentation(X, 0), "`substitutions`"),
        (lambda: fragmentation(X[0]), "`strings`"),
        (lambda: kernel_matrix(EXACT, X), "`log_prob` must be given for joint"),
        (lambda: kernel_matrix(UTurn(HOPFIELD, 0.5), X % 2), "`uturn`"),
        (lambda: kernel_matrix(ONE_SHOT, X[[0, 1, 0]]), "`support` must hold distinct"),
        (
            lambda: kernel_matrix(ONE_SHOT, X, rule="naive", energy=lambda x: x[:, :1]),
            r"`energy` .* got shape \(5, 1\)",
        ),
        (lambda: kernel_matrix(ONE_SHOT, X, rule="naive", energy=lambda x: 1.0), r"`energy` .* got shape \(\)"),
        (lambda: kernel_matrix(ONE_SHOT, X, rule="naive", energy=lambda x: np.full(5, np.nan)), "`energy` .* got nan"),
        (lambda: kernel_matrix(EXACT, X, log_prob=lambda x: np.full(5, np.nan)), "`log_prob` .* got nan"),
        (lambda: kernel_matrix(STEPS, X, rule="path", log_prob=energy), "`rule` 'path' has a matrix here only"),
        (lambda: kernel_matrix(UTurn(network(K=5, L=6), 0.5, steps=1), np.zeros((1, 6), int)), "at most 4096 strings"),
        (lambda: kernel_bias(np.eye(3), np.full(2, 0.5)), "`kernel`"),
        (lambda: kernel_bias(np.eye(3), np.ones(3)), "`p`"),
        (lambda: kernel_bias(np.eye(2), [1.5, -0.5]), "`p`"),
        (lambda: kernel_bias(np.full((2, 2), np.nan), [0.5, 0.5]), "`kernel`"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_types_are_named():
    with pytest.raises(TypeError, match="`strings`"):
        fragmentation(X.astype(float))
