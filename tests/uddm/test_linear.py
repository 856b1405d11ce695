"""Linear logits against their formula, against the two-state memory they contain, and in what they learn first."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uddm import DiT, EmpiricalBayes, TrainConfig, nelbo, train
from uddm.denoisers import Linear, LinearConfig
from uddm.objective import expected_nelbo


def make(vocab_size=3, length=4, seed=0, **changes):
    model = Linear(LinearConfig(vocab_size, length=length, **changes)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(generator=generator)
    return model


def all_tokens(vocab_size, length):
    return torch.tensor(list(itertools.product(range(vocab_size), repeat=length)))


def test_uniform_at_initialisation():
    model = Linear(LinearConfig(5, length=3))
    torch.testing.assert_close(model.cavity(all_tokens(5, 3), 0.4), torch.full((125, 3, 5), -math.log(5)))


@pytest.mark.parametrize("self_coupling", [False, True])
def test_logits_are_the_formula(self_coupling):
    model = make(self_coupling=self_coupling)
    h, A = model.bias.detach().numpy(), model.coupling.detach().numpy()
    z = model.process.prior((6, 4), generator=0)
    want = np.empty((6, 4, 3))
    for b, l, k in np.ndindex(want.shape):
        others = [m for m in range(4) if m != l or self_coupling]
        want[b, l, k] = h[l, k] + sum(A[l, k, m, z[b, m]] for m in others)
    for t in (1e-3, 0.5, 1.0):
        want_log_probs = torch.tensor(want).log_softmax(-1).float()
        torch.testing.assert_close(model.cavity(z, t).detach(), want_log_probs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("self_coupling", [False, True])
def test_a_token_reaches_itself_only_if_coupled(self_coupling):
    model = make(self_coupling=self_coupling)
    assert model.hollow is not self_coupling
    z = torch.zeros(1, 4, dtype=torch.long)
    for position in range(4):
        other = z.clone()
        other[0, position] = 2
        reached = (model.cavity(z, 0.5) != model.cavity(other, 0.5)).any(-1)[0]
        assert reached.tolist() == [l != position or self_coupling for l in range(4)]


def test_two_states_are_spins_in_a_field():
    """p(x_l = s) = exp(s f_l)/(2 cosh f_l), whatever the gauge of A and h."""
    model = make(2, 5)
    h, A = (p.detach().double().numpy() for p in model.parameters())
    plus, minus = 1, 0
    W = (A[:, plus, :, plus] - A[:, plus, :, minus] - A[:, minus, :, plus] + A[:, minus, :, minus]) / 4
    fields = (A[:, plus, :, plus] + A[:, plus, :, minus] - A[:, minus, :, plus] - A[:, minus, :, minus]) / 4
    for matrix in (W, fields):
        np.fill_diagonal(matrix, 0)
    theta = (h[:, plus] - h[:, minus]) / 2 + fields.sum(1)
    u, largest = 2.0**-24, max(abs(A).max(), abs(h).max())
    np.testing.assert_allclose(model.couplings(), W, atol=4 * 4 * u * largest)  # sums of 4 in float32
    np.testing.assert_allclose(model.external_fields(), theta, atol=22 * 22 * u * largest)  # of 2 and 5 times 4

    z = all_tokens(2, 5)
    f = theta + (2 * z.numpy() - 1) @ W.T
    want = np.stack([-np.logaddexp(0, 2 * f), -np.logaddexp(0, -2 * f)], -1)
    rounding = 2 * 6 * 6 * u * largest  # sums of 6, less their logsumexp
    np.testing.assert_allclose(model.cavity(z, 0.3).detach(), want, atol=rounding)


@given(
    length=st.integers(1, 7),
    seed=st.integers(0, 99),
    beta=st.floats(0.1, 5),
    number=st.booleans(),
    bias=st.floats(-1, 1),
)
def test_a_memory_goes_in_and_comes_out(length, seed, beta, number, bias):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(length, length))
    np.fill_diagonal(W, 0)
    fields = bias if number else rng.normal(size=length)
    model = Linear.from_couplings(W, fields, beta=beta)
    assert model.hollow
    np.testing.assert_allclose(model.couplings(), beta * W, rtol=1e-6, atol=1e-6)
    want = np.broadcast_to(beta * np.asarray(fields), length)
    np.testing.assert_allclose(model.external_fields(), want, rtol=1e-6, atol=1e-6)
    x = torch.tensor(rng.integers(2, size=(20, length)))
    spins = 2 * x.numpy() - 1
    aligned = beta * spins * (spins @ W.T + fields)
    log_prob = model.predict(x, 0.1).log_prob(x).detach()
    terms = beta * (abs(W).sum(1) + abs(want) / beta)  # of a logit, up to 8 in float32, less another
    rounding = 2 * 2 * 8 * 2.0**-24 * terms.max()
    np.testing.assert_allclose(log_prob, -np.logaddexp(0, -2 * aligned), rtol=1e-6, atol=rounding)


def test_the_gauge_has_no_effect():
    model = make()
    z = all_tokens(3, 4)
    before, (h, A) = model.cavity(z, 0.5).detach(), model.gauge_fixed()
    torch.testing.assert_close(h.sum(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(A.sum(1), torch.zeros(4, 4, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(A.sum(3), torch.zeros(4, 3, 4), atol=1e-5, rtol=0)

    model.load_state_dict({"bias": h, "coupling": A})
    torch.testing.assert_close(model.cavity(z, 0.5).detach(), before, atol=1e-5, rtol=1e-5)

    generator = torch.Generator().manual_seed(1)
    by_token = torch.randn(4, 1, 4, 3, generator=generator)
    by_state = torch.randn(4, 3, 4, 1, generator=generator)
    others = 1 - torch.eye(4)[:, None, :, None]
    model.load_state_dict({"bias": h - (others * by_state).sum((2, 3)), "coupling": A + by_token + by_state})
    torch.testing.assert_close(model.cavity(z, 0.5).detach(), before, atol=1e-5, rtol=1e-5)
    for fixed, want in zip(model.gauge_fixed(), (h, A)):
        torch.testing.assert_close(fixed, want, atol=1e-5, rtol=1e-5)
    model.load_state_dict({"bias": h, "coupling": A.transpose(1, 3)})  # negative control
    assert (model.cavity(z, 0.5) - before).abs().max() > 0.1


CORRELATED = torch.tensor([[0, 0, 1], [1, 1, 1], [2, 2, 2], [0, 0, 2], [1, 1, 0], [2, 2, 0]])
"""Uniform marginals; the first two tokens are equal, the third is nearly independent of them."""


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("t", [0.05, 0.5, 0.9])
def test_the_first_gradient_is_hebbian(average, t):
    """d nelbo / dA = 2 alpha' alpha^2 (co-occurrences - 1/K^2), all noisy strings enumerated."""
    model = Linear(LinearConfig(3, length=3))
    process, z = model.process, all_tokens(3, 3)
    alpha = process.alpha(t)
    for x in CORRELATED:
        x = x.expand_as(z)
        weights = torch.where(z == x, alpha + (1 - alpha) / 3, (1 - alpha) / 3).prod(1)
        cavity = model.predict(z, t)
        loss = expected_nelbo(process, cavity, x, t) if average else nelbo(process, cavity, x, z, t)
        ((weights[:, None] * loss).sum() / len(CORRELATED)).backward()
    one_hot = torch.nn.functional.one_hot(CORRELATED, 3).double()
    centred = torch.einsum("plk,pmj->lkmj", one_hot, one_hot) / len(CORRELATED) - 1 / 9
    want = -2 * process.rate(t) * alpha**2 * centred * model.allowed
    torch.testing.assert_close(model.coupling.grad.double(), want, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model.bias.grad, torch.zeros(3, 3), atol=1e-6, rtol=0)


def test_noise_on_one_token_is_the_pseudo_likelihood():
    """With a clean context the diffusion terms add up to -log p(x_l | x without l), arXiv 2604.26841 eq. 10."""
    model = make(2, 6, schedule="linear")
    model.coupling.data *= 0.4
    x = all_tokens(2, 6)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    total = np.zeros(x.shape)
    for u, weight in zip((1 + nodes) / 2, weights / 2):
        t = u**4  # the integrand has a logarithmic singularity at t = 0
        total += weight * 4 * u**3 * expected_nelbo(model.process, model.predict(x, t), x, t).detach().numpy()
    spins = 2 * x.numpy() - 1
    aligned = spins * (model.external_fields().numpy() + spins @ model.couplings().numpy().T)
    want = np.log(2 * np.cosh(aligned)) - aligned
    np.testing.assert_allclose(total, want, rtol=1e-4, atol=1e-5)


def test_it_learns(tmp_path):
    x = torch.arange(3).repeat_interleave(4).view(3, 4)  # every token equals the others
    config = TrainConfig(steps=20, batch_size=30, learning_rate=0.1, warmup=0, ema=0.5, log_every=20)
    model = Linear(LinearConfig(3, length=4))
    x = x.repeat(100, 1)
    z = model.process.corrupt(x, 0.5, generator=0)

    def loss(model):
        return expected_nelbo(model.process, model.predict(z, 0.5), x, 0.5).mean().item()

    before, least = loss(model), loss(EmpiricalBayes(x[:3], model.process))
    trained = train(model, x[:3], config, tmp_path, progress=None)
    assert loss(trained) - least < 0.1 * (before - least)
    assert not trained.coupling[torch.arange(4), :, torch.arange(4)].any()


@pytest.mark.parametrize("self_coupling", [False, True])
def test_it_reads_back_bit_for_bit(tmp_path, self_coupling):
    model = make(self_coupling=self_coupling)
    model.save_pretrained(tmp_path)
    again = Linear.from_pretrained(tmp_path)
    assert again.config == model.config
    assert torch.equal(model.cavity(all_tokens(3, 4), 0.2), again.cavity(all_tokens(3, 4), 0.2))
    with pytest.raises(ValueError, match="holds a Linear, not a DiT"):
        DiT.from_pretrained(tmp_path)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`vocab_size`"):
        LinearConfig(1)
    with pytest.raises(ValueError, match="`predicts`"):
        LinearConfig(2, predicts="posterior")
    with pytest.raises(ValueError, match="`z` must have length 4, got 3"):
        make().cavity(all_tokens(3, 3), 0.5)
    with pytest.raises(ValueError, match="`vocab_size` 2, got 3"):
        make().couplings()
    with pytest.raises(ValueError, match="`vocab_size` 2, got 3"):
        make().external_fields()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("W", {"W": [[0.0, 1.0]]}),
        ("W", {"W": [0.0, 1.0]}),
        ("W", {"W": np.empty((0, 0))}),
        ("W", {"W": [[0.0, np.nan], [1.0, 0.0]]}),
        ("W", {"W": np.ones((2, 2))}),
        ("bias", {"bias": [1.0, 2.0, 3.0]}),
        ("bias", {"bias": np.inf}),
        ("beta", {"beta": 0.0}),
        ("beta", {"beta": np.inf}),
        ("schedule", {"schedule": "quadratic"}),
    ],
)
def test_bad_memories_are_named(name, arguments):
    with pytest.raises(ValueError, match=f"`{name}`"):
        Linear.from_couplings(**({"W": [[0.0, 1.0], [1.0, 0.0]]} | arguments))
