"""Absorbing and hybrid noise: published formulas, limits, digits, and sums over the vocabulary without its tensor."""

import math

import mpmath
import numpy as np
import pytest
import torch

from uddm import HybridProcess, MaskedProcess, UniformProcess
from uddm.objective import expected_nelbo, jump_nelbo, nelbo, prior, reconstruction
from uddm.prediction import DensePrediction, HeadPrediction

K, LOSSES = 4, (nelbo, jump_nelbo, reconstruction)
TIMES = [1e-5, 0.3, 0.9, 1.0]


def random_log_probs(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, dtype=torch.float64, generator=generator)).log_softmax(-1)


LOG_P = random_log_probs((5, 4, K), 0)
X = torch.randint(K, (5, 4), generator=torch.Generator().manual_seed(1))
TOKENS = torch.randint(K, (5, 4), generator=torch.Generator().manual_seed(2))
MASKED = torch.where(TOKENS % 2 == 0, K, X)  # as absorbing noise can make it
EITHER = torch.where(TOKENS % 2 == 0, K, TOKENS)


def shares(law, p, t, gamma=1):
    """alpha, U and M as published, in 50 digits."""
    n, p = mpmath.mpf(t), mpmath.mpf(p)
    if law == "gidd":
        c = 2**gamma * p / (1 - p) * (n * (1 - n)) ** (mpmath.mpf(gamma) / 2)
        return [(1 - n) / (1 + c), c / (1 + c), n / (1 + c)]
    if law == "xdlm":
        return [1 - n, p * n, (1 - p) * n]
    return [(1 - n) * (1 - p), (1 - n) * p, n]


@pytest.mark.parametrize(
    ("law", "p", "gamma"),
    [("gidd", 0.1, 1.0), ("gidd", 0.2, 2.0), ("gidd", 0.5, 0.5), ("xdlm", 0.1, 1.0), ("hdlm", 0.01, 1.0)],
)
@pytest.mark.parametrize("t", [1e-9, 1e-3, 0.5, 0.999, 1 - 1e-9])
def test_shares_are_the_published_ones(law, p, gamma, t):
    """What is not a difference of near numbers to 1e-13; alpha and the slope as t -> 1, where 1 - t itself is known to
    1e-16 only, to 1e-6."""
    process = HybridProcess(K, law=law, p_unif=p, gamma=gamma)
    with mpmath.workdps(50):
        alpha, tokens, masks = shares(law, p, t, gamma)
        slope = -mpmath.diff(lambda s: shares(law, p, s, gamma)[0], t, h=mpmath.mpf(10) ** -25)
        own = mpmath.log1p(K * alpha / tokens)
        noise = process.one_minus_alpha(t).item()
        assert noise == pytest.approx(float(1 - alpha), rel=1e-13)
        found = process.token_share(torch.tensor(t, dtype=torch.float64), torch.zeros((), dtype=torch.float64)).item()
        assert found == pytest.approx(float(tokens / (tokens + masks)), rel=1e-7 if t > 0.999 else 1e-13)
        assert process.rate(t).item() == pytest.approx(float(slope), rel=1e-6 if t > 0.999 else 1e-12)
        assert process.own_logit(t).item() == pytest.approx(float(own), rel=1e-6 if t > 0.999 else 1e-13)


def test_half_of_time_has_the_named_share_of_random_tokens():
    for p in (0.1, 0.2, 0.9):
        assert shares("gidd", p, 0.5)[1] == pytest.approx(p)
        for s in (0.2, 0.8):
            assert shares("gidd", p, s)[1] < p


def terms(process, z, t):
    return [loss(process, LOG_P, X, z, t) for loss in LOSSES] + [expected_nelbo(process, LOG_P, X, t)]


@pytest.mark.parametrize("t", TIMES)
def test_all_uniform_is_uniform_noise(t):
    hybrid, uniform = HybridProcess(K, law="xdlm", p_unif=1.0), UniformProcess(K, "linear")
    assert hybrid.alpha(t).item() == pytest.approx(uniform.alpha(t).item(), rel=1e-12)
    torch.testing.assert_close(hybrid.own_logit(t), uniform.own_logit(t), rtol=1e-12, atol=0)
    ids = torch.arange(K)
    for s in (0.0, 0.6 * t, t):
        one, other = (process.transition(t, s).prob(ids[None], ids[:, None]) for process in (hybrid, uniform))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
        one, other = (process.posterior(LOG_P, TOKENS, t, s) for process in (hybrid, uniform))
        torch.testing.assert_close(one[..., :K], other, rtol=0, atol=1e-12)
        assert not one[..., K].any()
    for one, other in zip(terms(hybrid, TOKENS, t), terms(uniform, TOKENS, t)):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    floor = [
        process(K, "log-linear", **how)
        for process, how in ((HybridProcess, {"law": "xdlm", "p_unif": 1.0}), (UniformProcess, {}))
    ]
    assert prior(floor[0]) == pytest.approx(prior(floor[1]), rel=1e-12)


@pytest.mark.parametrize("law", ["gidd", "xdlm", "hdlm"])
@pytest.mark.parametrize("t", TIMES)
def test_all_masks_is_absorbing_noise(law, t):
    hybrid, masked = HybridProcess(K, law=law, p_unif=0.0), MaskedProcess(K)
    assert hybrid.alpha(t).item() == pytest.approx(masked.alpha(t).item(), rel=1e-12)
    ids = torch.arange(K + 1)
    for s in (0.0, 0.6 * t, t):
        one, other = (process.transition(t, s).prob(ids[None], ids[:, None]) for process in (hybrid, masked))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
        one, other = (process.posterior(LOG_P, MASKED, t, s) for process in (hybrid, masked))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    for one, other in zip(terms(hybrid, MASKED, t), terms(masked, MASKED, t)):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert prior(hybrid) == prior(masked) == 0
    assert hybrid.own_logit(t) == masked.own_logit(t) == math.inf


@pytest.mark.parametrize("law", ["gidd", "xdlm", "hdlm"])
def test_few_random_tokens_are_nearly_absorbing_noise(law):
    """Not by the shortcut of none at all: errors are of the order of p over alpha x_theta[x], 1e-7."""
    hybrid, masked = HybridProcess(K, law=law, p_unif=1e-12), MaskedProcess(K)
    for t in (0.1, 0.5, 0.9):
        for one, other in zip(terms(hybrid, MASKED, t), terms(masked, MASKED, t)):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_masked_terms_are_weighted_cross_entropies():
    """Sahoo et al. 2024: -alpha'/(1 - alpha) = 1/t for both linear schedules, at the masks alone."""
    surprise = -LOG_P.gather(-1, X[..., None])[..., 0]
    hidden = MASKED == K
    for schedule in ("linear", "log-linear"):
        process = MaskedProcess(K, schedule)
        for loss, weight in ((nelbo, 1 / 0.3), (jump_nelbo, 1 / 0.3), (reconstruction, 1.0)):
            want = torch.where(hidden, weight * surprise, 0.0)
            torch.testing.assert_close(loss(process, LOG_P, X, MASKED, 0.3), want, rtol=1e-14, atol=0)
        rate = 1.0 if schedule == "linear" else 0.999
        torch.testing.assert_close(expected_nelbo(process, LOG_P, X, 0.3), rate * surprise, rtol=1e-14, atol=0)
    assert prior(MaskedProcess(K)) == 0
    assert prior(MaskedProcess(K, "log-linear")) == math.inf


@pytest.mark.parametrize(
    ("process", "z"),
    [
        (MaskedProcess(K, "cosine"), MASKED),
        (HybridProcess(K), EITHER),
        (HybridProcess(K, gamma=0.5, p_unif=0.6), EITHER),
        (HybridProcess(K, "cosine", law="xdlm", p_unif=0.5), EITHER),
        (HybridProcess(K, law="hdlm", p_unif=0.05), EITHER),
    ],
    ids=lambda value: "z" if isinstance(value, torch.Tensor) else repr(value),
)
@pytest.mark.parametrize("t", [0.2, 0.7])
def test_diffusion_term_is_the_limit_of_discrete_time(process, z, t):
    """T KL( q(z_s | z_t, x) || q(z_s | z_t, x_theta) ), s = t - 1/T, extrapolated from T = 2000 and 4000: what
    is left is of the order of 1/T^2."""
    certain = torch.nn.functional.one_hot(X, K).double().log()

    def steps(n):
        exact, model = (process.posterior(p, z, t, t - 1 / n) for p in (certain, LOG_P))
        return n * torch.where(exact > 0, exact * (exact / model).log(), 0.0).sum(-1)

    limit = 2 * steps(4000) - steps(2000)
    torch.testing.assert_close(limit, nelbo(process, LOG_P, X, z, t), rtol=1e-4, atol=1e-7)
    assert not torch.allclose(limit, nelbo(process, LOG_P, X, z, 1.001 * t), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("t", [1e-5, 1e-3, 0.5, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("law", ["gidd", "xdlm", "hdlm"])
def test_nothing_is_lost_where_the_truth_is_certain(law, t):
    """All terms vanish without cancellation, and are finite where it is not."""
    process = HybridProcess(K, law=law, p_unif=0.2)
    certain = torch.nn.functional.one_hot(X, K).double().log()
    for z in (X, torch.full_like(X, K)):
        for loss in LOSSES:
            assert not loss(process, certain, X, z, t).any()
            value = loss(process, LOG_P, X, z, t)
            assert value.isfinite().all()
            assert (value >= 0).all()
    assert not expected_nelbo(process, certain, X, t).any()


def head(seed, d=8):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((*X.shape, d), (K, d), (K,))
    return [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]


@pytest.mark.parametrize(
    ("process", "z"),
    [
        (MaskedProcess(K), MASKED),
        (HybridProcess(K), EITHER),
        (HybridProcess(K, law="hdlm", p_unif=0.05), EITHER),
        (HybridProcess(K, law="xdlm", p_unif=0.5, mask=1), TOKENS),
    ],
    ids=lambda value: "z" if isinstance(value, torch.Tensor) else repr(value),
)
@pytest.mark.parametrize("loss", [*LOSSES, lambda process, p, x, z, t: expected_nelbo(process, p, x, t)])
def test_sums_of_a_read_out_are_those_of_its_probabilities(process, z, loss):
    """Values and gradients; no other tokens are those of a mask that is not among the K."""
    t, results = torch.linspace(0.1, 1, len(X)).double(), []
    x = X.masked_fill(process.mask == X, 0)
    for dense in (True, False):
        h, weight, bias = head(3)
        prediction = HeadPrediction(h, weight, bias, z)
        total = loss(process, DensePrediction(prediction.log_probs()) if dense else prediction, x, z, t)
        results.append((total, *torch.autograd.grad(total.sum(), (h, weight, bias))))
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("law", {"law": "flow"}),
        ("p_unif", {"p_unif": 1.0}),
        ("p_unif", {"p_unif": -0.1}),
        ("p_unif", {"law": "hdlm", "p_unif": 1.0}),
        ("p_unif", {"p_unif": math.nan}),
        ("gamma", {"gamma": 0.0}),
        ("gamma", {"gamma": 2.5}),
        ("mask", {"mask": 5}),
        ("schedule", {"schedule": "cubic"}),
    ],
)
def test_bad_arguments_are_named(name, how):
    with pytest.raises(ValueError, match=f"`{name}`"):
        HybridProcess(K, **how)


def test_prior_divergence_is_that_of_all_ids():
    for law, p in (("gidd", 0.3), ("xdlm", 0.3), ("hdlm", 0.3)):
        process = HybridProcess(K, "log-linear", law=law, p_unif=p)
        q = process.transition(1.0).prob(torch.arange(K + 1), torch.tensor(0)).numpy()
        fresh = process.fresh_mass(torch.ones(()).double(), torch.arange(K + 1), 1.0).numpy()
        assert prior(process) == pytest.approx((q * np.log(q / fresh)).sum(), rel=1e-9)
        assert prior(HybridProcess(K, law=law, p_unif=p)) == 0


def test_how_it_shows_itself():
    law = "Gidd(p_unif=0.1, gamma=1.0)"
    want = f"HybridProcess(vocab_size=3, schedule=HybridSchedule(base=Linear(floor=0.0), law={law}), mask=3)"
    assert repr(HybridProcess(3)) == want
