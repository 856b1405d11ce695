"""Every noise process: its laws against Bayes' rule on explicit matrices, its terms of the bound against their
definitions, and the exact denoisers and the reverse process under it.

Those of one noise with the mask elsewhere, another schedule, or fewer tokens and more masks with time, are here, too.
"""

import inspect
import itertools

import numpy as np
import pytest
import torch
from members import PROCESSES

from uddm import EmpiricalBayes, HierarchyBayes, evidence_bound, nelbo, reverse
from uddm.corpora import RandomHierarchy
from uddm.objective import expected_nelbo, jump_nelbo, reconstruction
from uddm.prediction import DensePrediction
from uddm.sampling import log_kernel, update

ALMOST_NEVER = 1e-6  # false-alarm rate of every chi-square test here
every_time = pytest.mark.parametrize(("t", "s"), [(0.9, 0.4), (0.5, 0.49), (0.7, 0.0), (1e-5, 0.0), (1.0, 0.8)])


def tokens_of(process):
    """The ids that x may hold."""
    return [k for k in range(process.vocab_size) if k != process.mask]


def share(process, t):
    """a_t, that of tokens among fresh draws."""
    return process.token_share(torch.tensor(t, dtype=torch.float64), torch.zeros((), dtype=torch.float64)).item()


def fresh_law(process, t):
    """pi_t over all ids."""
    law, tokens = np.zeros(process.state_size), tokens_of(process)
    law[tokens] = share(process, t) / len(tokens)
    if process.mask is not None:
        law[process.mask] = 1 - share(process, t)
    return law


def kernel(process, t, s=0.0):
    """q(z_t | z_s) as a matrix, rows z_s, columns z_t."""
    noise_t, noise_s = process.one_minus_alpha(t).item(), process.one_minus_alpha(s).item()
    kept = (1 - noise_t) / (1 - noise_s)
    fresh = noise_t * fresh_law(process, t) - kept * noise_s * fresh_law(process, s)
    return kept * np.eye(process.state_size) + fresh


def cavities(process, n, seed):
    """Random laws of x over the K ids, (n, K)."""
    laws = np.zeros((n, process.vocab_size))
    laws[:, tokens_of(process)] = np.random.default_rng(seed).dirichlet(np.full(len(tokens_of(process)), 0.5), n)
    return laws


def over_states(process, law):
    return np.pad(law, (0, process.state_size - process.vocab_size))


def log_probs(laws):
    """(n, K) -> (n, 1, K)."""
    return torch.as_tensor(laws).log()[:, None]


def column(ids):
    return torch.as_tensor(ids).reshape(-1, 1)


def test_it_is_documented(process):
    assert inspect.cleandoc(type(process).__doc__ or "")


@every_time
def test_transition_is_the_matrix(process, t, s):
    states = torch.arange(process.state_size)
    transition = process.transition(t, s)
    found = transition.prob(states[None], states[:, None])
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, kernel(process, t, s), rtol=1e-9, atol=1e-15)
    assert transition.removed.item() == pytest.approx(1 - float(process.alpha(t) / process.alpha(s)), rel=1e-9)


def test_transitions_compose(process):
    """Chapman and Kolmogorov; the string at time 0 is clean."""
    states = torch.arange(process.state_size)
    early, late, both = (
        process.transition(*times).prob(states[None], states[:, None]) for times in ((0.5, 0.2), (0.9, 0.5), (0.9, 0.2))
    )
    torch.testing.assert_close(early @ late, both, rtol=1e-12, atol=1e-15)
    assert (early @ early - both).abs().max() > 0.01


@pytest.mark.statistical(alarm=4 * ALMOST_NEVER)
@pytest.mark.parametrize("stream", [torch.Generator().manual_seed, np.random.default_rng], ids=["torch", "numpy"])
def test_samples_have_the_law_of_the_transition(process, stream, chi_square, seed):
    n, S = 40_000, process.state_size
    t, s = torch.tensor([0.6, 0.9]), torch.tensor([0.2, 0.0])
    z = torch.tensor([[0, S - 1], [2, 2]]).repeat_interleave(n, 0)
    found = process.transition(t.repeat_interleave(n), s.repeat_interleave(n)).sample(z, generator=stream(seed(5)))
    for b, l in itertools.product(range(2), range(2)):
        counts = torch.bincount(found.reshape(2, n, 2)[b, :, l], minlength=S)
        start = int(z[b * n, l])
        assert chi_square(counts, kernel(process, t[b].item(), s[b].item())[start]) > ALMOST_NEVER
        other = kernel(process, 0.8 * t[b].item(), s[b].item())[start]
        if other[start] < 0.999:  # some masks stay whatever the time
            assert chi_square(counts, other) < ALMOST_NEVER
    again = (
        process.transition(0.5).sample(z, generator=stream(7)),
        process.transition(0.5).sample(z, generator=stream(7)),
    )
    assert torch.equal(*again)


@pytest.mark.statistical(alarm=3 * ALMOST_NEVER)
def test_corruption_and_prior(process, chi_square, seed):
    x = torch.tensor([[2, 3]]).expand(40_000, 2)
    z = process.corrupt(x, 0.7, generator=seed(7))
    assert torch.equal(z, process.transition(0.7).sample(x, generator=seed(7)))
    for l in range(2):
        counts = torch.bincount(z[:, l], minlength=process.state_size)
        assert chi_square(counts, kernel(process, 0.7)[int(x[0, l])]) > ALMOST_NEVER
    prior = process.prior((40_000, 2), generator=seed(1))
    assert chi_square(torch.bincount(prior[:, 1], minlength=process.state_size), fresh_law(process, 1.0)) > ALMOST_NEVER
    assert torch.equal(prior, process.prior((40_000, 2), generator=torch.Generator().manual_seed(seed(1))))
    assert process.prior((3, 2), generator=np.random.default_rng(0)).shape == (3, 2)


def test_fresh_draws_by_inversion(process):
    """Of evenly spread numbers, as many fall on each id as its probability says, within one."""
    n = 10_007
    found = process.fresh(((torch.arange(n).double() + 0.5) / n)[None], 0.5)
    counts = np.bincount(found[0].numpy(), minlength=process.state_size)
    np.testing.assert_allclose(counts, n * fresh_law(process, 0.5), atol=1)
    mass = process.fresh_mass(torch.full((), 0.25), torch.arange(process.state_size), 0.5)
    np.testing.assert_allclose(mass.expand(process.state_size), fresh_law(process, 0.5) / 4, rtol=1e-7)


@every_time
def test_posterior_is_bayes_rule(process, t, s):
    """q(z_s | z_t) if x has the law of the cavity, certain or not, of every z that is possible at all."""
    forward, onward = kernel(process, s) if s else np.eye(process.state_size), kernel(process, t, s)
    certain = np.eye(process.vocab_size)[tokens_of(process)]
    for law in (*certain, *cavities(process, 5, 0)):
        joint = (over_states(process, law) @ forward)[:, None] * onward  # (z_s, z_t)
        possible = joint.sum(0) > 0
        assert possible.any()
        z = column(np.flatnonzero(possible))
        found = process.posterior(log_probs(law[None]).expand(len(z), 1, -1), z, t, s)[:, 0]
        assert found.shape == (len(z), process.state_size)
        np.testing.assert_allclose(found, (joint / joint.sum(0).clip(1e-300)).T[possible], rtol=1e-9, atol=1e-13)


def test_mixture_weights(process):
    """Three shares of one, of impossible tokens, too, which stay; drawing from x_theta is what denoises."""
    z = torch.arange(process.state_size)[:, None]
    at_z = torch.linspace(0, 0.9, process.state_size, dtype=torch.float64)[:, None].masked_fill(~process.is_token(z), 0)
    for t, s in ((0.9, 0.4), (1.0, 0.0), (1e-5, 1e-6), (0.5, 0.5)):
        weights = torch.stack(process.mixture(at_z, z, t, s))
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(0), torch.ones_like(at_z), rtol=1e-10, atol=0)  # 1 - a_t, at 1e-6
    if not share(process, 0.5):
        stay, denoise, fresh = process.mixture(torch.zeros_like(at_z), z, 0.5, 0.3)
        shown = process.is_token(z)
        assert (stay[shown] == 1).all()
        assert not (denoise + fresh)[shown].any()


@pytest.mark.parametrize("t", [1e-5, 0.3, 0.9])
def test_what_a_noisy_token_says(process, t):
    forward, states = kernel(process, t), np.arange(process.state_size)
    laws = cavities(process, 5, 1)
    with np.errstate(divide="ignore"):
        right, wrong, hidden = (value.item() for value in process.log_likelihoods(t))
        one, other = tokens_of(process)[:2]
        np.testing.assert_allclose([right, wrong], np.log([forward[one, one], forward[one, other]]), rtol=1e-9)
        if process.mask is not None:
            assert hidden == pytest.approx(np.log(forward[one, process.mask]), rel=1e-9)
        assert process.own_logit(t).item() == pytest.approx(np.log(forward[one, one]) - np.log(forward[one, other]))
    for z in states:
        joint = laws * forward[: process.vocab_size, z]
        found = process.clean_posterior(log_probs(laws), column(np.full(5, z)), t)[:, 0].exp()
        np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), rtol=1e-9, atol=1e-13)
        if z == process.mask:
            np.testing.assert_allclose(found, laws, rtol=1e-12)


@pytest.mark.statistical(alarm=5 * ALMOST_NEVER)
def test_update_and_its_probability(process, chi_square, seed):
    """One update draws from the posterior, and `log_kernel` is its logarithm."""
    n, t, s, law = 50_000, 0.8, 0.5, cavities(process, 1, 3)
    choice, draw = torch.rand((2, n, 1), dtype=torch.float64, generator=torch.Generator().manual_seed(seed(0)))
    for z in range(process.state_size):
        ids = torch.full((n, 1), z)
        prediction = DensePrediction(log_probs(law).expand(n, 1, -1))
        posterior = process.posterior(log_probs(law), ids[:1], t, s)[0, 0]
        drawn = update(process, prediction, ids, t, s, "sample", choice, draw)
        assert chi_square(torch.bincount(drawn[:, 0], minlength=process.state_size), posterior) > ALMOST_NEVER
        then = torch.arange(process.state_size)[:, None]
        few = DensePrediction(log_probs(law).expand(len(then), 1, -1))
        found = log_kernel(process, few, torch.full_like(then, z), then, t, s)
        np.testing.assert_allclose(found[:, 0].exp(), posterior, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.02), (0.9, 0.4), (0.5, 0.1), (0.3, 0.29)])
def test_posterior_mode_is_the_most_probable_state(process, t, s):
    laws = cavities(process, 200, 4)
    for z in range(process.state_size):
        ids, prediction = torch.full((200, 1), z), DensePrediction(log_probs(laws))
        posterior = process.posterior(log_probs(laws), ids, t, s)[:, 0]
        two = posterior.topk(2).values
        clear = two[:, 0] - two[:, 1] > 1e-9
        found = update(process, prediction, ids, t, s, "posterior_mode", ids, ids)[:, 0]
        assert torch.equal(found[clear], posterior.argmax(1)[clear])
        if process.frozen(t, s):
            assert torch.equal(found, ids[:, 0])


@pytest.mark.parametrize("t", [0.9, 0.3])
def test_diffusion_term_is_the_limit_of_small_steps(process, t):
    """T KL( q(z_s | z_t, x) || q(z_s | z_t, x_theta) ), s = t - 1/T: the error is of the order of 1/T."""
    laws, n = cavities(process, 20, 5), 1e6
    x = column(np.resize(tokens_of(process), 20))
    total = torch.zeros(20, dtype=torch.float64)
    for z in range(process.state_size):
        ids = torch.full_like(x, z)
        chance = torch.as_tensor(kernel(process, t))[x[:, 0], z]
        exact, model = (
            process.posterior(p, ids, t, t - 1 / n)[:, 0]
            for p in (torch.nn.functional.one_hot(x, process.vocab_size).double().log(), log_probs(laws))
        )
        want = n * torch.where(exact > 0, exact * (exact / model).log(), 0.0).sum(1)
        found = nelbo(process, log_probs(laws), x, ids, t)[:, 0]
        possible = chance > 0
        torch.testing.assert_close(found[possible], want[possible], rtol=1e-3, atol=1e-3)
        total += torch.where(possible, chance * found, 0.0)
    torch.testing.assert_close(expected_nelbo(process, log_probs(laws), x, t)[:, 0], total, rtol=1e-9, atol=0)


DATA = torch.tensor([[0, 3, 2], [0, 3, 2], [2, 2, 2], [3, 0, 0], [0, 0, 2]])


def data_of(process):
    """The same five strings in tokens of the process."""
    return torch.tensor(tokens_of(process))[DATA]


def strings(process):
    return torch.tensor(list(itertools.product(range(process.state_size), repeat=3)))


@pytest.mark.parametrize("t", [1e-4, 0.4, 0.9])
def test_exact_denoiser_of_a_data_set_is_enumeration(process, t):
    data, z, forward = data_of(process), strings(process), kernel(process, t)
    exact = EmpiricalBayes(data, process)
    seen = forward[data[:, None].numpy(), z.numpy()]  # (P, B, L)
    mass = seen.prod(-1).mean(0)
    possible = mass > 0
    assert possible.sum() > 10
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(exact.log_prob(z, t), np.log(mass), rtol=1e-12)
    weights = seen.prod(-1)[:, possible] / seen.prod(-1)[:, possible].sum(0)
    np.testing.assert_allclose(exact.weights(z[possible], t), weights.T, rtol=1e-9, atol=1e-13)
    tokens = np.eye(process.vocab_size)[data.numpy()]  # (P, L, K)
    mean = np.einsum("pb,plk->blk", weights, tokens)
    np.testing.assert_allclose(exact.posterior(z[possible], t).exp(), mean, rtol=1e-9, atol=1e-13)
    for l in range(3):
        others = np.delete(seen, l, 2).prod(-1)
        known = others.sum(0) > 0
        cavity = np.einsum("pb,pk->bk", others[:, known] / others[:, known].sum(0), tokens[:, l])
        np.testing.assert_allclose(exact.cavity(z[known], t)[:, l].exp(), cavity, rtol=1e-9, atol=1e-13)


def test_nothing_is_left_at_the_end_of_absorbing_noise():
    """At alpha = 0 all is masks, from which each law is that of the data; a token would still be certain."""
    process = PROCESSES["absorbing"]()
    exact, z = EmpiricalBayes(DATA, process), torch.full((1, 3), process.mask)
    assert process.own_logit(1.0).item() == np.inf
    assert exact.log_prob(z, 1.0).item() == 0
    marginals = torch.nn.functional.one_hot(DATA, 4).double().mean(0)
    for law in (exact.cavity(z, 1.0), exact.posterior(z, 1.0)):
        torch.testing.assert_close(law[0].exp(), marginals, rtol=1e-12, atol=1e-15)


def test_exact_denoiser_of_a_grammar_is_that_of_its_strings(process):
    if process.mask not in (None, process.vocab_size):
        pytest.skip("all symbols of a grammar are tokens")
    grammar = RandomHierarchy(symbols=process.vocab_size, rules=2, depth=2, seed=0)
    x = torch.as_tensor(grammar.enumerate())
    of_strings, exact = EmpiricalBayes(x, process), HierarchyBayes(grammar, process)
    t = torch.linspace(0.1, 0.9, 30, dtype=torch.float64)
    z = process.corrupt(x[:30], t, generator=0)
    for name in ("cavity", "posterior"):
        one, other = (getattr(denoiser, name)(z, t).exp() for denoiser in (of_strings, exact))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    torch.testing.assert_close(exact.log_prob(z, t), of_strings.log_prob(z, t), rtol=1e-12, atol=0)
    assert grammar.is_valid(exact.sample(z, t, generator=0).numpy()).all()
    np.testing.assert_allclose(exact.likelihood(z[:1], 0.5)[0], kernel(process, 0.5)[:4, z[0]].T, rtol=1e-12)


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_many_steps_end_in_the_joint_posterior(process, seed):
    """Total variation from p(x | z): some .02 with 32 steps, and above .2 with one.

    That of the rates of 2000 chains, in 5 classes, has at most .025 more on average, and exceeds its mean by another
    .059 with probability exp(-2 * 2000 * .059^2) < 1e-6.
    """
    data, n = data_of(process), 2000
    exact, z = EmpiricalBayes(data, process), torch.full((1, 3), 1 if process.mask is None else process.mask)
    weights = exact.weights(z, 0.8)[0]
    law = torch.stack([weights[(data == row).all(1)].sum() for row in data[[0, 2, 3, 4]]])

    def distance(steps):
        final = reverse(process, exact, z.expand(n, 3), start=0.8, steps=steps, generator=seed(3))
        rates = torch.stack([(final == row).all(1).double().mean() for row in data[[0, 2, 3, 4]]])
        return ((rates - law).abs().sum() + 1 - rates.sum()).item() / 2

    assert distance(32) < 0.11
    assert distance(1) > 0.15


@pytest.mark.parametrize("mode", ["x0_mode", "one_shot", "posterior_mode"])
def test_deterministic_modes_end_in_tokens(process, mode):
    """From the noisy strings that are possible; tokens that absorbing noise has left are kept."""
    exact = EmpiricalBayes(data_of(process), process)
    z = process.corrupt(data_of(process).repeat(20, 1), 0.6, generator=0)
    final = reverse(process, exact, z, start=0.6, steps=4, mode=mode, last="greedy", generator=0)
    assert process.is_token(final).all()
    if not share(process, 0.5):
        assert torch.equal(final[process.is_token(z)], z[process.is_token(z)])


@pytest.mark.statistical(alarm=0.003)
def test_bound_of_the_exact_denoiser_is_the_entropy(process, seed):
    """Within 3 standard errors; infinite, but for .003, where alpha_1 = .001 and the prior is all masks."""
    exact, x = EmpiricalBayes(data_of(process), process), data_of(process).repeat(200, 1)
    entropy = -sum(n / 5 * np.log(n / 5) for n in (2, 1, 1, 1))
    bound = evidence_bound(process, exact, x, times=32, generator=seed(1))
    total = bound.diffusion + bound.reconstruction
    if np.isfinite(process.prior_divergence()):
        total = bound.total
    by_row = total.reshape(200, 5).mean(1)
    error = by_row.std().item() / 200**0.5
    assert abs(by_row.mean().item() - entropy) < 3 * error + 0.003 * (total is not bound.total)
    assert error < 0.05


def test_other_losses_are_least_for_the_cavity(process):
    """Means over z of the jump bound and of the reconstruction, for the law that x has and for others near it."""
    t, law = 0.4, cavities(process, 1, 7)
    x, z = (column(ids.ravel()) for ids in np.meshgrid(tokens_of(process), range(process.state_size)))
    weight = torch.as_tensor(law[0][x[:, 0]] * kernel(process, t)[x[:, 0], z[:, 0]])
    for loss in (jump_nelbo, reconstruction):

        def mean(p, loss=loss):
            terms = loss(process, log_probs(p).expand(len(x), 1, -1), x, z, t)[:, 0]
            assert (terms[weight > 0] >= -1e-12).all()
            return torch.where(weight > 0, weight * terms, 0.0).sum().item()

        best = mean(law)
        for other in cavities(process, 20, 8):
            assert mean(0.9 * law + 0.1 * other) > best


def test_masks_are_no_clean_tokens(process):
    with pytest.raises(ValueError, match="`x`"):
        process.corrupt(torch.tensor([[0, process.vocab_size]]), 0.5)
    with pytest.raises(ValueError, match="`z`"):
        process.posterior(log_probs(cavities(process, 1, 0)), torch.tensor([[process.state_size]]), 0.5, 0.2)
    for loss in (nelbo, reconstruction):
        with pytest.raises(ValueError, match="`z`"):
            loss(
                process,
                log_probs(cavities(process, 1, 0)),
                torch.tensor([[2]]),
                torch.tensor([[process.state_size]]),
                0.5,
            )
