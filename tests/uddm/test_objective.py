"""The NELBO against its discrete-time limit, two other published forms, exact identities, and an exact entropy."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uddm import Denoiser, DiT, DiTConfig, EmpiricalBayes, UniformProcess, evidence_bound, nelbo
from uddm.objective import expected_nelbo, prior, reconstruction, stratified_times, time_weights

SEEDS = st.integers(0, 2**32 - 1)
LOG_TIMES = st.floats(-5, 0)  # decimal exponents of t


def example(K, seed, *, scale=2.0, batch=3, length=4, dtype=torch.float64):
    """x, z with every kind of token, equal to x in half of the places, and random log-probabilities."""
    generator = torch.Generator().manual_seed(seed)
    x, z = torch.randint(K, (2, batch, length), generator=generator)
    z = torch.where(torch.rand(batch, length, generator=generator) < 0.5, x, z)
    logits = scale * torch.randn(batch, length, K, dtype=torch.float64, generator=generator)
    return x, z, logits.log_softmax(-1).to(dtype)


def one_hot_log_probs(x, K):
    return torch.nn.functional.one_hot(x, K).double().log()


@given(st.integers(2, 1000), LOG_TIMES, st.sampled_from([0.0, 1.0, 5.0, 30.0]), SEEDS)
def test_never_negative(K, exponent, scale, seed):
    process, (x, z, log_probs) = UniformProcess(K), example(K, seed, scale=scale)
    loss = nelbo(process, log_probs, x, z, 10**exponent)
    assert loss.shape == x.shape
    assert loss.dtype == torch.float64
    assert torch.isfinite(loss).all()
    assert (loss >= 0).all()


@given(st.integers(2, 1000), LOG_TIMES, SEEDS)
def test_zero_for_a_perfect_network_and_only_for_it(K, exponent, seed):
    process, (x, z, log_probs) = UniformProcess(K), example(K, seed)
    assert (nelbo(process, one_hot_log_probs(x, K), x, z, 10**exponent) == 0).all()
    almost = torch.logaddexp(one_hot_log_probs(x, K) + np.log(1 - 1e-3), log_probs + np.log(1e-3))
    assert (nelbo(process, almost, x, z, min(10**exponent, 0.99)) > 0).all()


@pytest.mark.parametrize("K", [2, 7, 300])
@pytest.mark.parametrize("t", [0.1, 0.4, 0.8, 0.97])
@pytest.mark.parametrize("schedule", ["log-linear", "linear"])
def test_discrete_time_limit(K, t, schedule):
    """T KL( q(z_s | z_t, x) || q(z_s | z_t, x_theta) ) at T = 1e6, s = t - 1/T: 1e-4 relative."""
    process, (x, z, log_probs), T = UniformProcess(K, schedule), example(K, K), 1e6
    truth = process.posterior(one_hot_log_probs(x, K), z, t, t - 1 / T)
    model = process.posterior(log_probs, z, t, t - 1 / T)
    discrete = T * torch.where(truth > 0, truth * (truth / model).log(), 0).sum(-1)
    torch.testing.assert_close(nelbo(process, log_probs, x, z, t), discrete, rtol=1e-4, atol=0)


def three_numbers(process, log_probs, x, z, t):
    """The three-number form: only x_theta[z], x_theta[x] and S = sum_j log1p(c x_theta[j]) enter."""
    K, alpha, slope = process.vocab_size, process.alpha(t).item(), -process.rate(t).item()
    p, c = log_probs.exp(), K * alpha / (1 - alpha)
    u_x, u_z = (1 + c * p.gather(-1, i[..., None])[..., 0] for i in (x, z))
    S, L1 = torch.log1p(c * p).sum(-1), np.log1p(c)
    other = K * u_z.log() - S + c * (u_z.log() - u_x.log()) + (1 + c) * L1 - K / (1 - alpha) * (u_z - 1) / u_z
    same = (K * u_z.log() - S - (K - 1) * L1) / (1 + c) + K / (1 - alpha) * (1 / u_z - 1 / (1 + c))
    return -slope / (K * alpha) * torch.where(z == x, same, other)


def one_hot_sum(process, log_probs, x, z, t):
    """The form of Schiff et al. 2024, an explicit sum over the vocabulary."""
    K, alpha, slope = process.vocab_size, process.alpha(t).item(), -process.rate(t).item()
    clean = K * alpha * torch.nn.functional.one_hot(x, K).double() + 1 - alpha
    model = K * alpha * log_probs.exp() + 1 - alpha
    clean_z, model_z = clean.gather(-1, z[..., None]), model.gather(-1, z[..., None])
    total = (clean / clean_z * (model_z * clean / (model * clean_z)).log()).sum(-1)
    return -slope / (K * alpha) * (total - K / clean_z[..., 0] + K / model_z[..., 0])


@pytest.mark.parametrize("form", [three_numbers, one_hot_sum])
@pytest.mark.parametrize(("t", "tolerance"), [(0.9, 1e-8), (0.3, 1e-9), (0.01, 1e-8)])
def test_other_published_forms(form, t, tolerance):
    for K in (2, 64, 1000):
        process, (x, z, log_probs) = UniformProcess(K), example(K, K, batch=20)
        want = form(process, log_probs, x, z, t)
        torch.testing.assert_close(nelbo(process, log_probs, x, z, t), want, rtol=tolerance, atol=1e-12)
        assert (form(process, log_probs, x, z, 0.9 * t) / want - 1).abs().max() > 0.01


@pytest.mark.parametrize("schedule", ["log-linear", "linear"])
def test_of_a_single_noised_token_is_its_log_loss(schedule):
    """With a cavity c that does not change with time, int_0^1 E_z[l] dt + prior = -log c[x]."""
    process = UniformProcess(4, schedule)
    cavity = torch.tensor([0.55, 0.3, 0.1, 0.05], dtype=torch.float64)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    u = (nodes + 1) / 2
    t, dt = torch.tensor(u**4), weights / 2 * 4 * u**3
    log_probs = cavity.log().expand(len(t), 1, 4)
    for clean in range(4):
        x = torch.full((len(t), 1), clean)
        expected = torch.zeros(len(t), dtype=torch.float64)
        for noisy in range(4):
            kept = process.alpha(t) if noisy == clean else 0
            chance = kept + process.one_minus_alpha(t) / 4
            expected += chance * nelbo(process, log_probs, x, torch.full_like(x, noisy), t)[:, 0]
        integral = float((expected.numpy() * dt).sum())
        # alpha ends at 1e-3, not 0, in the log-linear schedule: at z_1 there remains KL(q(.|x) || q(.|cavity))
        a = process.alpha(1.0).item()
        last_x, last_c = a * np.eye(4)[clean] + (1 - a) / 4, a * cavity.numpy() + (1 - a) / 4
        left = (last_x * np.log(last_x / last_c)).sum()
        assert integral + left == pytest.approx(-np.log(cavity[clean].item()), rel=1e-7)


@pytest.mark.parametrize("schedule", ["log-linear", "linear"])
@pytest.mark.parametrize("t", [1e-4, 0.1, 0.5, 0.99])
def test_expected_nelbo_is_the_mean_over_the_own_token(schedule, t):
    K = 6
    process, (x, _, log_probs) = UniformProcess(K, schedule), example(K, 8)
    expected = torch.zeros(x.shape, dtype=torch.float64)
    for noisy in range(K):
        chance = process.alpha(t) * (x == noisy) + process.one_minus_alpha(t) / K
        expected += chance * nelbo(process, log_probs, x, torch.full_like(x, noisy), t)
    torch.testing.assert_close(expected_nelbo(process, log_probs, x, t), expected, rtol=1e-9, atol=0)
    assert (expected_nelbo(process, log_probs, x, 0.9 * t) / expected - 1).abs().max() > 1e-3


@given(st.integers(2, 1000), LOG_TIMES, st.sampled_from([0.0, 1.0, 30.0]), SEEDS)
def test_expected_nelbo_is_never_negative_and_zero_for_a_perfect_network(K, exponent, scale, seed):
    process, (x, _, log_probs) = UniformProcess(K), example(K, seed, scale=scale)
    loss = expected_nelbo(process, log_probs, x, 10**exponent)
    assert torch.isfinite(loss).all()
    assert (loss >= 0).all()
    assert (expected_nelbo(process, one_hot_log_probs(x, K), x, 10**exponent) == 0).all()
    single = log_probs.float().requires_grad_()
    expected_nelbo(process, single, x, 10**exponent).sum().backward()
    assert torch.isfinite(single.grad).all()


DATA = torch.tensor([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 2], [2, 1, 2], [1, 1, 0], [1, 1, 0], [2, 2, 2]])
ENTROPY = -sum(n / 8 * np.log(n / 8) for n in (3, 1, 1, 2, 1))  # of its five distinct rows


class PluggedPosterior(Denoiser):
    """Wrong on purpose: gives the posterior mean where the cavity belongs."""

    def __init__(self, exact):
        self.exact, self.process, self.length = exact, exact.process, exact.length

    def cavity(self, z, t):
        return self.exact.posterior(z, t)


@pytest.mark.statistical(alarm=3e-3)
def test_bound_of_the_exact_denoiser_is_the_entropy(seed):
    """Mean of the full bound over the data equals H within 3 standard errors."""
    process = UniformProcess(3)
    exact, x = EmpiricalBayes(DATA, process), DATA.repeat(400, 1)
    bound = evidence_bound(process, exact, x, times=32, generator=seed(1))
    by_row = bound.total.reshape(400, 8).mean(1)
    error = by_row.std().item() / 20
    assert error < 0.03
    assert abs(by_row.mean().item() - ENTROPY) < 3 * error
    torch.testing.assert_close(bound.total, bound.diffusion + bound.reconstruction + bound.prior)
    torch.testing.assert_close(bound.diffusion, (1 - 1e-3) * bound.published)

    plugged = evidence_bound(process, PluggedPosterior(exact), x, times=32, generator=seed(1))
    wrong = plugged.total.reshape(400, 8).mean(1)
    assert wrong.mean().item() - ENTROPY > 10 * wrong.std().item() / 20


@pytest.mark.statistical(alarm=2e-4)
def test_bound_does_not_depend_on_where_the_reconstruction_takes_over(seed):
    process = UniformProcess(3)
    exact, x = EmpiricalBayes(DATA, process), DATA.repeat(400, 1)
    means = {
        first: evidence_bound(process, exact, x, times=16, first=first, generator=seed(2)) for first in (1e-3, 0.05)
    }
    for bound in means.values():
        by_row = bound.total.reshape(400, 8).mean(1)
        assert abs(by_row.mean().item() - ENTROPY) < 4 * by_row.std().item() / 20
    assert means[0.05].reconstruction.mean() > 10 * means[1e-3].reconstruction.mean()


def test_bound_is_reproducible_and_shaped():
    process = UniformProcess(3)
    exact = EmpiricalBayes(DATA, process)
    one, two = (evidence_bound(process, exact, DATA, times=3, generator=5) for _ in range(2))
    assert torch.equal(one.total, two.total)
    assert all(part.shape == (8,) and part.dtype == torch.float64 for part in one)
    assert not torch.equal(one.total, evidence_bound(process, exact, DATA, times=3, generator=6).total)


@pytest.mark.parametrize("t", [1e-5, 1e-3, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("K", [2, 30, 1000])
def test_float32_agrees_with_float64(t, K):
    """Value within 1e-3 relative, gradient with respect to the logits within 1e-3 of its largest entry."""
    process, (x, z, _) = UniformProcess(K), example(K, K)
    results = []
    for dtype in (torch.float32, torch.float64):
        logits = torch.randn(3, 4, K, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
        loss = nelbo(process, logits.log_softmax(-1), x, z, t)
        assert loss.dtype == dtype
        loss.mean().backward()
        assert torch.isfinite(logits.grad).all()
        results.append((loss.double(), logits.grad.double()))
    (loss, gradient), (exact, exact_gradient) = results
    torch.testing.assert_close(loss, exact, rtol=1e-3, atol=1e-5)
    assert (gradient - exact_gradient).abs().max() < 1e-3 * exact_gradient.abs().max()


@given(st.integers(2, 1000), LOG_TIMES, st.sampled_from([0.0, 3.0, 20.0]), SEEDS)
def test_float32_loss_and_gradient_are_finite(K, exponent, scale, seed):
    process, (x, z, log_probs) = UniformProcess(K), example(K, seed, scale=scale, dtype=torch.float32)
    logits = log_probs.clone().requires_grad_()
    loss = nelbo(process, logits.log_softmax(-1), x, z, 10**exponent)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logits.grad).all()


def test_gradient():
    process, (x, z, log_probs) = UniformProcess(5), example(5, 0, batch=2, length=2)
    logits = log_probs.clone().requires_grad_()
    t = torch.tensor([0.2, 0.7])
    assert torch.autograd.gradcheck(lambda g: nelbo(process, g.log_softmax(-1), x, z, t), logits)


def test_times_are_one_for_each_sequence():
    process, (x, z, log_probs) = UniformProcess(5), example(5, 3)
    t = torch.tensor([0.1, 0.5, 1.0])
    together = nelbo(process, log_probs, x, z, t)
    for b in range(3):
        alone = nelbo(process, log_probs[b : b + 1], x[b : b + 1], z[b : b + 1], t[b].item())
        torch.testing.assert_close(together[b : b + 1], alone, rtol=1e-6, atol=0)


def test_reconstruction():
    """-log of Bayes' rule with the cavity as prior of the token and its own observation as evidence."""
    process, (x, z, log_probs), t = UniformProcess(4), example(4, 5), 0.2
    got = reconstruction(process, log_probs, x, z, t)
    kept = process.alpha(t).item()
    for b, l in itertools.product(range(3), range(4)):
        observed = kept * np.eye(4)[z[b, l]] + (1 - kept) / 4
        joint = log_probs[b, l].exp().numpy() * observed
        assert got[b, l].item() == pytest.approx(-np.log(joint[x[b, l]] / joint.sum()), rel=1e-10)


@pytest.mark.parametrize("schedule", ["log-linear", "linear"])
def test_prior(schedule):
    for K in (2, 50, 5000):
        process = UniformProcess(K, schedule)
        a = process.alpha(1.0).item()
        last = np.full(K, (1 - a) / K)
        last[0] += a
        assert prior(process) == pytest.approx((last * np.log(K * last)).sum(), rel=1e-6, abs=1e-15)


@given(st.integers(1, 200), st.floats(1e-6, 0.9), SEEDS)
def test_stratified_times(n, low, seed):
    t = stratified_times(n, low=low, generator=seed)
    assert t.shape == (n,)
    assert t.dtype == torch.float64
    assert ((t > low - 1e-12) & (t <= 1)).all()
    strata = ((1 - t) / (1 - low) * n).clamp(0, n - 1e-9).floor().long()
    assert torch.equal(strata.sort().values, torch.arange(n))


@pytest.mark.statistical(alarm=4e-6)
def test_stratified_times_are_uniform_and_in_random_order(chi_square, seed):
    draws = torch.stack([stratified_times(4, low=0.2, generator=seed(k)) for k in range(8000)])
    for column in draws.T:  # false-alarm rate 1e-6 each
        assert chi_square(torch.histc(column, 10, 0.2, 1.0), np.full(10, 0.1)) > 1e-6
    assert chi_square(torch.histc(draws.sort(1).values[:, 0], 10, 0.2, 1.0), np.full(10, 0.1)) < 1e-6


@pytest.mark.parametrize(
    ("error", "name", "change"),
    [
        (ValueError, "`x`", {"x": torch.full((3, 4), 5)}),
        (TypeError, "`x`", {"x": torch.zeros(3, 4)}),
        (ValueError, "`z`", {"z": torch.full((3, 4), -1)}),
        (ValueError, "`z`", {"z": torch.zeros(4, dtype=torch.long)}),
        (ValueError, "`cavity_log_probs`", {"cavity_log_probs": torch.zeros(3, 4, 6)}),
        (ValueError, "`t`", {"t": 0.0}),
        (ValueError, "`t`", {"t": 1.1}),
        (ValueError, "`t`", {"t": torch.tensor([0.5, 0.5])}),
    ],
)
@pytest.mark.parametrize("term", [nelbo, reconstruction])
def test_bad_arguments_are_named(term, error, name, change):
    x, z, log_probs = example(5, 0)
    arguments = {"cavity_log_probs": log_probs, "x": x, "z": z, "t": 0.5} | change
    with pytest.raises(error, match=name):
        term(UniformProcess(5), **arguments)


def test_bad_arguments_of_the_bound_are_named():
    process = UniformProcess(3)
    exact = EmpiricalBayes(DATA, process)
    with pytest.raises(ValueError, match="`times`"):
        evidence_bound(process, exact, DATA, times=0)
    for wrong in (DATA + 1, DATA[:, :1]):
        with pytest.raises(ValueError, match="`x`"):
            evidence_bound(process, exact, wrong)
    half, also = (evidence_bound(process, exact, DATA, times=2, first=f, generator=0) for f in (0.5, Fraction(1, 2)))
    torch.testing.assert_close(half.total, also.total)


@given(st.integers(1, 70), st.floats(0, 1), st.integers(0, 2**31))
def test_times_stratified_in_the_logarithm(n, log_fraction, seed):
    t = stratified_times(n, low=1e-3, log_fraction=log_fraction, generator=seed)
    assert t.shape == (n,)
    assert ((t > 1e-3 * (1 - 1e-12)) & (t <= 1)).all()
    weights = time_weights(t, low=1e-3, log_fraction=log_fraction)
    assert (weights > 0).all()


@pytest.mark.statistical(alarm=2e-4)
@pytest.mark.parametrize("log_fraction", [0.0, 0.3, 0.5, 1.0])
def test_weights_undo_the_choice_of_times(log_fraction, seed):
    """Weighted means of 1, t and t^(-1/2) against their integrals: 4 standard errors of 2000 repetitions."""
    low = 1e-3
    integrals = [1.0, (1 + low) / 2, 2 * (1 - low**0.5) / (1 - low)]
    t = torch.stack([stratified_times(64, low=low, log_fraction=log_fraction, generator=seed(k)) for k in range(2000)])
    weights = torch.stack([time_weights(row, low=low, log_fraction=log_fraction) for row in t])
    for power, integral in zip((0, 1, -0.5), integrals, strict=True):
        means = (weights * t**power).mean(1)
        assert abs(means.mean() - integral) <= 4 * means.std() / 2000**0.5 + 1e-12
        if log_fraction and power:
            unweighted = (t**power).mean()
            assert abs(unweighted - integral) > 0.05 * integral, "negative control"


def test_mismatched_tokens_are_refused():
    process = UniformProcess(4)
    log_probs = torch.full((3, 2, 4), -math.log(4))
    x, z = torch.zeros(3, 2, dtype=torch.long), torch.zeros(1, 2, dtype=torch.long)
    for term in (nelbo, reconstruction):
        with pytest.raises(ValueError, match=r"`z` must have the shape of x, \(3, 2\), got \(1, 2\)"):
            term(process, log_probs, x, z, 0.5)


def test_bound_ignores_dropout_and_restores_the_mode():
    torch.manual_seed(0)
    model = DiT(DiTConfig(4, length=3, hidden_dim=8, blocks=1, heads=2, cond_dim=8, dropout=0.5))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    x = torch.zeros(5, 3, dtype=torch.long)
    one, other = (evidence_bound(model.process, model.train(), x, times=4, generator=1).total for _ in range(2))
    assert torch.equal(one, other)
    assert model.training


def test_linear_schedule_is_finite_where_nothing_is_left():
    process = UniformProcess(4, "linear")
    log_probs = torch.randn(2, 3, 4).log_softmax(-1).requires_grad_()
    x = torch.zeros(2, 3, dtype=torch.long)
    loss = nelbo(process, log_probs, x, x + 1, 1.0)
    assert torch.isfinite(loss).all()
    loss.sum().backward()
    assert torch.isfinite(log_probs.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_reduced_in_float32(dtype):
    process = UniformProcess(50)
    log_probs = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0)).log_softmax(-1).to(dtype)
    x = torch.zeros(2, 3, dtype=torch.long)
    loss = nelbo(process, log_probs, x, x + 1, 1e-4)
    torch.testing.assert_close(loss, nelbo(process, log_probs.float(), x, x + 1, 1e-4))
