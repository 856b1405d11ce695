"""Belief propagation against enumeration; what the optimum of the NELBO is; which sampler converges."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from uddm import EmpiricalBayes, MaskedProcess, UniformProcess, reverse
from uddm.denoisers import HierarchyBayes
from uddm.hierarchy import RandomHierarchy, belief
from uddm.objective import expected_nelbo, nelbo

ALMOST_NEVER = 1e-6  # false-alarm rate of every chi-square test here

GRAMMARS = {
    "uniform": RandomHierarchy(symbols=3, rules=2, depth=2, seed=1),
    "deep": RandomHierarchy(symbols=4, rules=2, depth=3, seed=2),
    "zipf": RandomHierarchy(symbols=3, rules=3, depth=2, zipf=1.0, seed=3),
    "ambiguous": RandomHierarchy(symbols=3, rules=4, depth=2, ambiguous=True, seed=4),
    "triples": RandomHierarchy(symbols=2, rules=2, branching=3, depth=2, seed=5),
    "few classes": RandomHierarchy(symbols=4, rules=3, depth=2, classes=2, seed=6),
    "many classes": RandomHierarchy(symbols=3, rules=2, depth=2, classes=4, seed=7),
    "all at once": RandomHierarchy(
        symbols=3, rules=2, branching=3, depth=2, classes=5, ambiguous=True, zipf=0.5, zipf_levels=(1,), seed=8
    ),
}
UNAMBIGUOUS = [name for name, grammar in GRAMMARS.items() if not grammar.ambiguous]
every_grammar = pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)


def derivations(grammar):
    """All derivations: log-probabilities (N,) and symbols of levels 0 ... L, each (N, s^l)."""
    found = [(-math.log(grammar.widths[0]), [(c,)]) for c in range(grammar.widths[0])]
    for table, probs in zip(grammar.tables, grammar.rule_probs):
        found = [
            (
                log_p + sum(math.log(probs[r]) for r in rules),
                [*levels, tuple(b for a, r in zip(levels[-1], rules) for b in table[a, r].tolist())],
            )
            for log_p, levels in found
            for rules in itertools.product(range(grammar.rules), repeat=len(levels[-1]))
        ]
    return np.array([log_p for log_p, _ in found]), [np.array(level) for level in zip(*(levels for _, levels in found))]


def enumerated(grammar, likelihood):
    """`Beliefs` by summing over derivations, in logarithms."""
    log_prior, levels = derivations(grammar)
    x = levels[-1]
    with np.errstate(divide="ignore"):
        log_own = np.log(likelihood[:, np.arange(grammar.length), x])  # (B, N, d)

    def marginals(log_joint, level, width):
        """Log-weights (B, N) or (B, N, nodes) -> probabilities (B, nodes, width)."""
        result = np.zeros((len(likelihood), level.shape[1], width))
        for node in range(level.shape[1]):
            weights = log_joint if log_joint.ndim == 2 else log_joint[..., node]
            p = np.exp(weights - logsumexp(weights, 1, keepdims=True))
            for a in range(width):
                result[:, node, a] = p[:, level[:, node] == a].sum(1)
        return result

    joint = log_prior + log_own.sum(-1)
    without = np.stack([log_prior + np.delete(log_own, i, 2).sum(-1) for i in range(grammar.length)], -1)
    latents = [marginals(joint, level, width) for level, width in zip(levels[:-1], grammar.widths)]
    v = grammar.symbols
    return belief.Beliefs(marginals(without, x, v), marginals(joint, x, v), latents, logsumexp(joint, 1))


def assert_same(found, want, atol=1e-12):
    np.testing.assert_allclose(found.cavity, want.cavity, atol=atol, rtol=0)
    np.testing.assert_allclose(found.posterior, want.posterior, atol=atol, rtol=0)
    np.testing.assert_allclose(found.log_prob, want.log_prob, atol=atol, rtol=1e-15)
    for got, level in zip(found.latents, want.latents, strict=True):
        np.testing.assert_allclose(got, level, atol=atol, rtol=0)


def noisy(grammar, n, seed):
    return torch.from_numpy(np.random.default_rng(seed).integers(grammar.symbols, size=(n, grammar.length)))


def uniform_noise(z, alpha, v):
    return alpha * np.eye(v)[z] + (1 - alpha) / v


@every_grammar
@pytest.mark.parametrize("implementation", [partial(belief.infer, latents=True), belief.reference])
def test_inference_is_enumeration(grammar, implementation):
    """Uniform noise at several levels; 19 rows are no whole number of blocks."""
    for alpha in (0, 0.05, 0.3, 0.7, 0.95, 0.999):
        likelihood = uniform_noise(noisy(grammar, 19, 0).numpy(), alpha, grammar.symbols)
        want = enumerated(grammar, likelihood)
        assert_same(implementation(grammar, likelihood), want)
        np.testing.assert_allclose(belief.log_prob(grammar, likelihood), want.log_prob, atol=1e-12)


@every_grammar
@pytest.mark.parametrize("implementation", [partial(belief.infer, latents=True), belief.reference])
def test_any_factorised_noise(grammar, implementation):
    """Masks, a noise level for each token, external fields, and all of them at once."""
    rng, v, shape = np.random.default_rng(1), grammar.symbols, (20, grammar.length)
    x = grammar.sample(20, rng=2)
    masks = np.where(rng.random(shape)[..., None] < 0.5, 1.0, np.eye(v)[x])  # hidden, or known for certain
    per_token = uniform_noise(noisy(grammar, 20, 3).numpy(), rng.random((*shape, 1)), v)
    fields = np.exp(-5 * rng.normal(size=(*shape, v)))
    for likelihood in (masks, per_token, fields, masks * fields):
        assert_same(implementation(grammar, likelihood), enumerated(grammar, likelihood))


@every_grammar
def test_denoiser_is_enumeration(grammar):
    process = UniformProcess(grammar.symbols, "log-linear")
    exact, z = HierarchyBayes(grammar, process), noisy(grammar, 12, 4)
    t = torch.linspace(1e-5, 1, 12, dtype=torch.float64)
    noise = process.one_minus_alpha(t).numpy()[:, None, None]
    want = enumerated(grammar, (1 - noise) * np.eye(grammar.symbols)[z] + noise / grammar.symbols)
    found = belief.Beliefs(
        exact.cavity(z, t).exp(),
        exact.posterior(z, t).exp(),
        [p.exp() for p in exact.latents(z, t)],
        exact.log_prob(z, t),
    )
    assert_same(found, want)
    assert exact.cavity(z, t).dtype == torch.float64
    restored = process.clean_posterior(exact.cavity(z, t), z, t)
    torch.testing.assert_close(restored.exp(), exact.posterior(z, t).exp(), rtol=0, atol=1e-11)


@every_grammar
def test_denoiser_of_any_factorised_noise(grammar):
    """A time for each token, some of them masked, and an external field, part of the law of the strings: p(z) is
    in units of 1/Z, and the cavity at a token is its law if it is masked."""
    rng, v, L = np.random.default_rng(14), grammar.symbols, grammar.length
    process, field, z = UniformProcess(v, "linear"), 2 * rng.normal(size=(L, v)), noisy(grammar, 20, 13)
    t = torch.from_numpy(np.where(rng.random((20, L)) < 0.3, 1.0, rng.uniform(0.01, 1, (20, L))))
    exact = HierarchyBayes(grammar, process, field=field)
    noise = t.numpy()[..., None]
    weights = ((1 - noise) * np.eye(v)[z] + noise / v) * np.exp(field)
    want = enumerated(grammar, weights)
    log_Z = enumerated(grammar, np.exp(field)[None]).log_prob
    cavity = np.empty_like(want.cavity)
    for l in range(L):
        masked = weights.copy()
        masked[:, l] = np.exp(field[l])
        cavity[:, l] = enumerated(grammar, masked).posterior[:, l]
    found = belief.Beliefs(
        exact.cavity(z, t).exp(),
        exact.posterior(z, t).exp(),
        [p.exp() for p in exact.latents(z, t)],
        exact.log_prob(z, t) + log_Z.item(),
    )
    assert_same(found, want._replace(cavity=cavity))
    log_prior, (*_, x) = derivations(grammar)
    joint = log_prior + np.log(weights)[:, np.arange(L), x].sum(-1)
    best, value = exact.map(z, t)
    np.testing.assert_allclose(value, joint.max(1) - want.log_prob, atol=1e-12)
    np.testing.assert_array_equal(best, x[joint.argmax(1)])
    alone = exact.sample(z, t, generator=0)
    assert grammar.is_valid(alone).all()
    known = HierarchyBayes(grammar, process, field=np.where(np.eye(v)[alone[0]] > 0, 0, -np.inf))
    assert torch.equal(known.sample(z, t, generator=1), alone[:1].expand(20, -1))


@pytest.mark.parametrize("name", ["uniform", "deep", "triples", "few classes"])
def test_it_is_an_associative_memory_of_all_strings(name):
    """Softmax over Hamming overlaps with all P_max strings of a uniform grammar, times log(1 + K alpha/(1 - alpha))."""
    grammar = GRAMMARS[name]
    process = UniformProcess(grammar.symbols)
    strings = torch.from_numpy(grammar.enumerate())
    exact, memory = HierarchyBayes(grammar, process), EmpiricalBayes(strings, process)
    z = noisy(grammar, 40, 5)
    for t in (1e-5, 0.2, 0.6, 1.0):
        for method in ("cavity", "posterior"):
            got, want = (getattr(denoiser, method)(z, t).exp() for denoiser in (exact, memory))
            torch.testing.assert_close(got, want, rtol=0, atol=1e-11)
    overlaps = (z[:, None] == strings).sum(-1).double()
    alpha = process.alpha(0.6)
    by_hand = (torch.log(1 + grammar.symbols * alpha / (1 - alpha)) * overlaps).softmax(1)
    first = torch.stack([by_hand[:, strings[:, 0] == a].sum(1) for a in range(grammar.symbols)], 1)
    torch.testing.assert_close(exact.posterior(z, 0.6)[:, 0].exp(), first, rtol=0, atol=1e-12)


@every_grammar
def test_likelihoods_beyond_the_range_of_products(grammar):
    """Ratios of 1e-250 for each token: any product underflows, and the string is handed to the logarithms."""
    rng = np.random.default_rng(6)
    likelihood = 10.0 ** rng.uniform(-250, 0, (10, grammar.length, grammar.symbols))
    want = enumerated(grammar, likelihood)
    found = belief.infer(grammar, likelihood, latents=True)
    np.testing.assert_allclose(found.log_prob, want.log_prob, rtol=1e-14)
    assert_same(found._replace(log_prob=want.log_prob), want, atol=1e-11)
    np.testing.assert_allclose(belief.log_prob(grammar, likelihood), want.log_prob, rtol=1e-14)
    ordinary = uniform_noise(grammar.sample(10, rng=0), 0.5, grammar.symbols)
    mixed = belief.infer(grammar, np.stack([likelihood, ordinary], 1).reshape(20, *likelihood.shape[1:]))
    np.testing.assert_array_equal(mixed.cavity[::2], found.cavity)
    np.testing.assert_array_equal(mixed.cavity[1::2], belief.infer(grammar, ordinary).cavity)


@pytest.mark.parametrize(("left", "right"), [(1e-320, 1e-320), (1e308, 1e308), (1e-160, 1.3e-163)])
def test_sums_and_products_beyond_the_range(left, right):
    """One string: log left + log right. The last product is denormal, and would keep few digits."""
    grammar = RandomHierarchy(symbols=3, rules=1, depth=1, classes=1)
    likelihood = np.full((1, 2, 3), left if left == right else 1.0)
    likelihood[0, [0, 1], grammar.tables[0][0, 0]] = left, right
    np.testing.assert_allclose(belief.log_prob(grammar, likelihood), math.log(left) + math.log(right), rtol=1e-14)


@pytest.mark.parametrize("corrupted", [0.0, 0.5, 1.0])
def test_long_strings(corrupted):
    """1024 tokens told that t = 1e-5: log-likelihood ratios of thousands of nats."""
    grammar = RandomHierarchy(symbols=4, rules=2, depth=10)
    process = UniformProcess(4)
    exact, x = HierarchyBayes(grammar, process), torch.from_numpy(grammar.sample(3, rng=0))
    keep = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) >= corrupted
    z = torch.where(keep, x, process.prior(x.shape, generator=1))
    likelihood = exact.likelihood(z, 1e-5).numpy()
    assert_same(belief.infer(grammar, likelihood, latents=True), belief.reference(grammar, likelihood), atol=1e-9)
    if not corrupted:
        assert torch.equal(exact.map(z, 1e-5)[0], x)
        assert torch.equal(exact.sample(z, 1e-5, generator=0), x)
        flips = -math.log1p(-process.one_minus_alpha(1e-5) * 3 / 4) * grammar.length
        np.testing.assert_allclose(exact.log_prob(z, 1e-5), grammar.log_prob(x) - flips, rtol=1e-6)


def test_impossible_observations():
    """Without noise and with one wrong token only that token's own cavity is defined."""
    grammar = RandomHierarchy(symbols=4, rules=1, depth=3, classes=2, seed=1)
    x = grammar.enumerate()
    assert (x[0] != x[1]).sum() > 1
    z = x[:1].copy()
    z[0, 5] = next(a for a in range(4) if a not in x[:, 5])
    found = belief.infer(grammar, np.eye(4)[z], latents=True)
    assert np.isneginf(found.log_prob).all()
    assert np.isnan(found.posterior).all()
    np.testing.assert_array_equal(found.cavity[0, 5], np.eye(4)[x[0, 5]])
    assert np.isnan(np.delete(found.cavity, 5, 1)).all()
    for call in (partial(belief.sample, uniform=np.zeros((1, 8))), belief.most_probable):
        with pytest.raises(ValueError, match="`likelihood`"):
            call(grammar, np.eye(4)[z])


def test_nearly_right_strings_stand_in_for_right_ones():
    """Two wrong tokens among masks: as many strings count as have most of the others, for each position its own."""
    grammar = RandomHierarchy(symbols=4, rules=2, depth=2, seed=0)
    strings, p = grammar.enumerate(), np.exp(grammar.log_prob(grammar.enumerate()))
    exact, rng = HierarchyBayes(grammar, MaskedProcess(4)), np.random.default_rng(0)
    z = np.where(rng.random((200, 4)) < 0.3, 4, rng.integers(4, size=(200, 4)))
    overlap = (z[:, None] == strings).sum(-1)
    lost = overlap.max(1) < (z != 4).sum(1)
    assert 20 < lost.sum() < 180
    cavity, posterior = (call(torch.tensor(z), 0.5).exp() for call in (exact.cavity, exact.posterior))
    for l in range(4):
        most = overlap - (z[:, None, l] == strings[:, l])
        for found, equal in ((cavity, most), (posterior, overlap)):
            weight = p * (equal == equal.max(1, keepdims=True))
            want = (weight / weight.sum(1, keepdims=True)) @ np.eye(4)[strings[:, l]]
            np.testing.assert_allclose(found[:, l], want, atol=1e-12)
    drawn = exact.sample(torch.tensor(z), 0.5, generator=0).numpy()
    assert ((drawn == z).sum(1) == overlap.max(1)).all()
    assert reverse(MaskedProcess(4), exact, torch.full((50, 4), 4), steps=2, generator=0).max() < 4


@pytest.mark.statistical(alarm=ALMOST_NEVER)
@pytest.mark.parametrize("name", ["deep", "ambiguous", "all at once"])
def test_joint_samples_have_the_posterior_law(chi_square, name, seed):
    """And tokens drawn independently from the exact posterior of each do not."""
    grammar, n, t = GRAMMARS[name], 40_000, 0.6
    process = UniformProcess(grammar.symbols)
    exact, z = HierarchyBayes(grammar, process), noisy(grammar, 1, 8)
    log_prior, (*_, x) = derivations(grammar)
    likelihood = exact.likelihood(z, t).numpy()
    p = np.exp(log_prior + np.log(likelihood[0][np.arange(grammar.length), x]).sum(-1))
    powers = grammar.symbols ** np.arange(grammar.length)
    law = np.bincount(x @ powers, p / p.sum(), minlength=grammar.symbols**grammar.length)
    samples = exact.sample(z.expand(n, -1), t, generator=seed(3))
    assert chi_square(np.bincount(samples.numpy() @ powers, minlength=len(law)), law) > ALMOST_NEVER
    generator = torch.Generator().manual_seed(seed(0))
    marginals = exact.posterior(z, t)[0].exp()
    independent = torch.stack([torch.multinomial(q, n, replacement=True, generator=generator) for q in marginals], 1)
    assert chi_square(np.bincount(independent.numpy() @ powers, minlength=len(law)), law) < ALMOST_NEVER


@pytest.mark.statistical(alarm=ALMOST_NEVER)
@pytest.mark.parametrize("name", ["deep", "ambiguous"])
def test_joint_samples_given_known_tokens(chi_square, name, seed):
    """By enumeration of the derivations whose string has them; without `keep` the law is another."""
    grammar, n, t = GRAMMARS[name], 20_000, 0.6
    exact, z = HierarchyBayes(grammar, UniformProcess(grammar.symbols)), noisy(grammar, 1, 8)
    log_prior, (*_, x) = derivations(grammar)
    keep = torch.arange(grammar.length) % 2 == 0
    z[0, keep] = torch.from_numpy(x[-1])[keep]
    likelihood = exact.likelihood(z, t).numpy()[0]
    likelihood[keep] = np.eye(grammar.symbols)[z[0, keep]]
    p = np.exp(log_prior) * likelihood[np.arange(grammar.length), x].prod(-1)
    powers = grammar.symbols ** np.arange(grammar.length)
    law = np.bincount(x @ powers, p / p.sum(), minlength=grammar.symbols**grammar.length)
    z = z.expand(n, -1)
    for kept, same in ((keep, True), (None, False)):
        samples = exact.sample(z, t, keep=kept, generator=seed(3)).numpy()
        assert (chi_square(np.bincount(samples @ powers, minlength=len(law)), law) > ALMOST_NEVER) == same


def test_known_tokens_that_no_string_has():
    """Strings with most of them count, whatever the other tokens say; what is known stays."""
    grammar = GRAMMARS["deep"]
    exact, strings = HierarchyBayes(grammar, UniformProcess(grammar.symbols)), grammar.enumerate()
    rng = np.random.default_rng(0)
    z = torch.from_numpy(rng.integers(grammar.symbols, size=(40, grammar.length)))
    keep = torch.from_numpy(rng.random(z.shape) < 0.7)
    samples = exact.sample(z, 1e-3, keep=keep, generator=0)
    assert torch.equal(samples[keep], z[keep])
    matches = ((strings == z.numpy()[:, None]) & keep.numpy()[:, None]).sum(-1)  # (40, strings)
    agreeing = ((strings == samples.numpy()[:, None]) | keep.numpy()[:, None]).all(-1)
    assert (np.where(agreeing, matches, -1).max(1) == matches.max(1)).all()
    assert (matches.max(1) < keep.numpy().sum(1)).any()


@every_grammar
def test_samples_by_kernel_and_by_logarithms(grammar):
    """The same inversion of the same numbers."""
    rng = np.random.default_rng(9)
    likelihood = uniform_noise(noisy(grammar, 500, 9).numpy(), 0.6, grammar.symbols)
    uniform = rng.random((500, 1 + grammar.n_latents))
    fast = belief.sample(grammar, likelihood, uniform)
    tiny = np.where(np.arange(grammar.length) == 0, 1e-220, 1.0)[:, None]  # scales of tokens do not matter
    np.testing.assert_array_equal(fast, belief.sample(grammar, likelihood * tiny, uniform))
    messages = belief._inside(grammar, likelihood, np.logaddexp)
    np.testing.assert_array_equal(fast, belief._descend(grammar, messages, uniform))


@every_grammar
def test_most_probable_derivation(grammar):
    rng = np.random.default_rng(10)
    likelihood = rng.random((50, grammar.length, grammar.symbols))
    log_prior, (*_, x) = derivations(grammar)
    joint = log_prior + np.log(likelihood[:, np.arange(grammar.length), x]).sum(-1)
    best, value = belief.most_probable(grammar, likelihood)
    np.testing.assert_allclose(value, joint.max(1), rtol=1e-13)
    np.testing.assert_array_equal(best, x[joint.argmax(1)])


@pytest.mark.parametrize("name", UNAMBIGUOUS)
def test_most_probable_string(name):
    grammar = GRAMMARS[name]
    exact, z = HierarchyBayes(grammar, UniformProcess(grammar.symbols)), noisy(grammar, 30, 11)
    strings = torch.from_numpy(grammar.enumerate())
    likelihood = exact.likelihood(z, 0.5).log()
    joint = torch.from_numpy(grammar.log_prob(strings)) + sum(
        likelihood[:, i, strings[:, i]] for i in range(z.shape[1])
    )
    x, value = exact.map(z, 0.5)
    torch.testing.assert_close(value, joint.log_softmax(1).amax(1), rtol=0, atol=1e-12)
    at = torch.stack([(strings == row).all(1).double().argmax() for row in x])
    torch.testing.assert_close(joint.gather(1, at[:, None])[:, 0], joint.amax(1), rtol=0, atol=1e-12)


def test_results_do_not_depend_on_the_batch_or_the_threads():
    grammar = RandomHierarchy(symbols=8, rules=4, depth=3)
    process = UniformProcess(8)
    exact, z = HierarchyBayes(grammar, process), noisy(grammar, 2500, 12)
    t = torch.linspace(0.01, 1, 2500, dtype=torch.float64)
    whole = [exact.cavity(z, t), exact.posterior(z, t), exact.log_prob(z, t), *exact.latents(z, t)]
    samples = exact.sample(z, t, generator=0)
    try:
        torch.set_num_threads(2)
        again = [exact.cavity(z, t), exact.posterior(z, t), exact.log_prob(z, t), *exact.latents(z, t)]
        assert torch.equal(samples, exact.sample(z, t, generator=0))
    finally:
        torch.set_num_threads(1)
    rows = slice(1013, 1031)
    part = [exact.cavity(z[rows], t[rows]), exact.posterior(z[rows], t[rows]), exact.log_prob(z[rows], t[rows])]
    for one, other in zip(whole, again, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(whole, [*part, *exact.latents(z[rows], t[rows])], strict=True):
        assert torch.equal(one[rows], other)


def test_bad_arguments_are_named():
    grammar = GRAMMARS["uniform"]
    with pytest.raises(ValueError, match="`process`"):
        HierarchyBayes(grammar, UniformProcess(4))
    exact = HierarchyBayes(grammar, UniformProcess(3))
    for field in (
        np.zeros((3, 4)),
        np.full((4, 3), np.inf),
        np.full((4, 3), np.nan),
        np.where(np.eye(4)[:, :3], 0, -np.inf),
    ):
        with pytest.raises(ValueError, match="`field` must have"):
            HierarchyBayes(grammar, UniformProcess(3), field=field)
    wrong = next(x for x in everything(grammar).numpy() if not grammar.is_valid(x[None]))
    with pytest.raises(ValueError, match="`field` must allow"):
        HierarchyBayes(grammar, UniformProcess(3), field=np.where(np.eye(3)[wrong], 0, -np.inf))
    many = noisy(grammar, 2048, 0)
    for method in (exact.cavity, exact.posterior, exact.latents, exact.log_prob, exact.sample, exact.map):
        for n in (3, 1024):  # the latter are the rows of a batch
            with pytest.raises(ValueError, match=r"`t` .* \(2048,\)"):
                method(many, torch.full((n,), 0.5))
        with pytest.raises(ValueError, match="`z`"):
            method(torch.tensor(1), 0.5)
        with pytest.raises(ValueError, match="`z`"):
            method(torch.tensor([[0, 1, 2]]), 0.5)
        with pytest.raises(ValueError, match="`z`"):
            method(torch.tensor([[0, 1, 2, 3]]), 0.5)
        with pytest.raises(ValueError, match="`t`"):
            method(torch.tensor([[0, 1, 2, 2]]), 0.0)
    good = np.ones((2, 4, 3))
    for wrong in (good[0], good[:, :3], -good, good * np.nan, good * np.inf):
        for function in (belief.infer, belief.log_prob, belief.reference, belief.most_probable):
            with pytest.raises(ValueError, match="`likelihood`"):
                function(grammar, wrong)
    with pytest.raises(ValueError, match="`uniform`"):
        belief.sample(grammar, good, np.zeros((2, 3)))
    for wrong in (-1.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="`uniform`"):
            belief.sample(grammar, good, np.full((2, 4), wrong))


# --- what the optimum of the NELBO is


TINY = [
    RandomHierarchy(symbols=3, rules=2, depth=1, seed=0),
    RandomHierarchy(symbols=3, rules=4, depth=1, classes=2, ambiguous=True, zipf=0.5, seed=0),
    RandomHierarchy(symbols=2, rules=2, depth=2, zipf=2.0, seed=1),
]


def everything(grammar):
    return torch.from_numpy(np.array(list(itertools.product(range(grammar.symbols), repeat=grammar.length))))


def corruption(process, x, t):
    """q(z | x) for all pairs of strings, (N, N), and x and z of all pairs, each (N N, L)."""
    alpha = process.alpha(t)
    q = (alpha * (x[:, None] == x) + (1 - alpha) / process.vocab_size).prod(-1)
    return q, x.repeat_interleave(len(x), 0), x.repeat(len(x), 1)


def minimised(loss, logits):
    logits.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [logits],
        max_iter=2000,
        tolerance_grad=1e-13,
        tolerance_change=0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        value = loss(logits.log_softmax(-1))
        value.backward()
        return value

    optimizer.step(closure)
    with torch.no_grad():
        return logits.softmax(-1), loss(logits.log_softmax(-1)).item()


@pytest.mark.parametrize(
    ("grammar", "t"), [(TINY[0], 0.1), (TINY[0], 0.9), (TINY[1], 0.5), (TINY[2], 0.3), (TINY[2], 0.9)]
)
def test_nelbo_optimal_x_theta_is_the_cavity(grammar, t):
    """Minimisation over a free table x_theta(z), the network that can do anything; the posterior is not its minimum.

    Entries for different z are independent, so each z may count as much as any other.
    """
    process = UniformProcess(grammar.symbols)
    exact, states = HierarchyBayes(grammar, process), everything(grammar)
    q, x, z = corruption(process, states, t)
    joint = torch.from_numpy(np.exp(grammar.log_prob(states)))[:, None] * q
    weights = (joint / joint.sum(0)).reshape(-1, 1)  # p(x | z)

    def loss(table):
        return (weights * nelbo(process, table.repeat(len(states), 1, 1), x, z, t)).sum()

    found, lowest = minimised(loss, torch.zeros(*states.shape, grammar.symbols, dtype=torch.float64))
    cavity, posterior = exact.cavity(states, t), exact.posterior(states, t)
    torch.testing.assert_close(found, cavity.exp(), rtol=0, atol=1e-6)
    assert lowest == pytest.approx(loss(cavity).item(), abs=1e-11)
    assert (posterior.exp() - cavity.exp()).abs().max() > 0.1 * process.alpha(t)
    assert loss(posterior) > lowest + 1e-3 * process.alpha(t) ** 2


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_the_averaged_nelbo_has_the_same_optimum(t):
    """`expected_nelbo`, over tables that do not see their own token."""
    grammar = TINY[0]
    process = UniformProcess(grammar.symbols)
    states = everything(grammar)
    q, x, z = corruption(process, states, t)
    weights = (torch.from_numpy(np.exp(grammar.log_prob(states)))[:, None] * q).reshape(-1, 1)

    def hollow(table):
        """table[l, symbol at the other position] -> x_theta at all states."""
        return torch.stack([table[0, states[:, 1]], table[1, states[:, 0]]], 1)

    def loss(table):
        return (weights * expected_nelbo(process, hollow(table).repeat(len(states), 1, 1), x, t)).sum()

    found, lowest = minimised(loss, torch.zeros(2, 3, 3, dtype=torch.float64))
    exact = HierarchyBayes(grammar, process).cavity(states, t)
    torch.testing.assert_close(hollow(found), exact.exp(), rtol=0, atol=1e-6)
    instead = (weights * nelbo(process, exact.repeat(len(states), 1, 1), x, z, t)).sum().item()
    assert lowest == pytest.approx(instead, abs=1e-11)


# --- which sampler converges


def generated(grammar, states, steps, plugged_in):
    """The exact law, over all v^d strings, of what the reverse process with `steps` updates makes from pure noise."""
    process = UniformProcess(grammar.symbols, "linear")
    denoiser = HierarchyBayes(grammar, process)
    law = torch.full((len(states),), 1 / len(states), dtype=torch.float64)
    grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64).tolist()
    for t, s in itertools.pairwise(grid):
        tokens = process.posterior(getattr(denoiser, plugged_in)(states, t), states, t, s)  # (N, L, K)
        kernel = torch.ones(len(states), len(states), dtype=torch.float64)
        for l in range(grammar.length):
            kernel *= tokens[:, l, states[:, l]]
        law = law @ kernel
    return law


def test_only_the_cavity_gives_a_sampler_that_converges():
    """Total variation to p(x), exactly: 1/N in the number of steps with the cavity, a constant with the posterior."""
    grammar = RandomHierarchy(symbols=4, rules=2, depth=2, classes=3, seed=0)
    states = everything(grammar)
    p = torch.from_numpy(np.exp(grammar.log_prob(states)))

    def distances(plugged_in, *steps):
        return np.array([(generated(grammar, states, n, plugged_in) - p).abs().sum().item() / 2 for n in steps])

    cavity, posterior = distances("cavity", 32, 64, 128, 256), distances("posterior", 64, 128)
    np.testing.assert_allclose(cavity[:-1] / cavity[1:], 2, rtol=0.1)
    assert cavity[-1] < 0.02
    assert (posterior > 0.2).all()
    assert posterior[-1] > 0.9 * posterior[-2]


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_the_reverse_process_runs_on_it(chi_square, seed):
    """`uddm.reverse` draws from the law of those transition matrices."""
    grammar, n = TINY[2], 20_000
    states = everything(grammar)
    process = UniformProcess(2, "linear")
    denoiser = HierarchyBayes(grammar, process)
    x = reverse(process, denoiser, process.prior((n, 4), generator=seed(0)), steps=8, generator=seed(1))
    counts = np.bincount(x @ torch.tensor([8, 4, 2, 1]), minlength=16)
    law = generated(grammar, states, 8, "cavity")
    assert chi_square(counts, law) > ALMOST_NEVER
    assert chi_square(counts, generated(grammar, states, 8, "posterior")) < ALMOST_NEVER
