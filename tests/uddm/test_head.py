"""The loss head against formulas over the whole vocabulary, and `Prediction`s against explicit distributions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uddm import DiT, DiTConfig, UniformProcess
from uddm.head import vocabulary_sums
from uddm.objective import expected_nelbo, jump_nelbo, nelbo, reconstruction
from uddm.prediction import DensePrediction, HeadPrediction


def a_read_out(n, d, K, seed=0, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    h, weight, bias = scale * normal(n, d), normal(K, d), normal(K)
    z, x = torch.randint(K, (2, n), generator=generator)
    x[::2] = z[::2]
    c = torch.logspace(-3, 6, n, dtype=dtype)
    return h, weight, bias, z, x, c


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("with_own_logit", [False, True])
def test_sums_are_their_definitions(chunk, with_own_logit):
    h, weight, bias, z, x, c = a_read_out(7, 4, 11)
    own_logit = torch.linspace(0, 5, 7, dtype=torch.float64) if with_own_logit else None
    sums = vocabulary_sums(h, weight, bias, z, x, c, own_logit=own_logit, reverse=True, chunk=chunk)
    for n in range(7):
        logits = (weight.numpy() @ h[n].numpy()) + bias.numpy()
        if with_own_logit:
            logits[z[n]] -= own_logit[n].item()
        Z = np.exp(logits).sum()
        p = np.exp(logits) / Z
        u = 1 + c[n].item() * p
        others = np.arange(11) != x[n].item()
        wanted = {
            "log_Z": np.log(Z),
            "at_z": logits[z[n]],
            "at_x": logits[x[n]],
            "entropy": -(p * np.log(p)).sum(),
            "excess": (u - 1 - np.log(u))[others].sum(),
            "reverse_excess": (1 / u - 1 + np.log(u))[others].sum(),
        }
        for name, value in wanted.items():
            np.testing.assert_allclose(getattr(sums, name)[n].item(), value, rtol=1e-9, atol=1e-12, err_msg=name)
        # S = sum log u, the third number of the published loss
        log_u_x = np.log(u[~others]).item()
        S = c[n].item() - sums.excess[n].item() - (u[~others].item() - 1 - log_u_x)
        np.testing.assert_allclose(S, np.log(u).sum(), rtol=1e-9, atol=1e-9 * c[n].item())


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("with_own_logit", [False, True])
def test_gradients_are_those_of_finite_differences(reverse, with_own_logit):
    h, weight, bias, z, x, _ = a_read_out(5, 3, 6)
    c = torch.logspace(-2, 2, 5, dtype=torch.float64)
    own_logit = torch.linspace(0, 3, 5, dtype=torch.float64) if with_own_logit else None
    for value in (h, weight, bias):
        value.requires_grad_()

    def function(h, weight, bias):
        return tuple(vocabulary_sums(h, weight, bias, z, x, c, own_logit=own_logit, reverse=reverse, chunk=2))

    assert torch.autograd.gradcheck(function, (h, weight, bias))


@pytest.mark.parametrize("loss", [nelbo, jump_nelbo, reconstruction, expected_nelbo])
@pytest.mark.parametrize("K", [2, 27, 5000])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_losses_and_their_gradients_need_no_logits(loss, K, dtype, tolerance):
    """The same from hidden states as from the log-probabilities of the whole vocabulary in float64."""
    B, L, d = 4, 3, 8
    h, weight, bias, *_ = a_read_out(B * L, d, K, dtype=dtype, scale=0.3)
    process = UniformProcess(K)
    x = process.prior((B, L), generator=3)
    for t in (1e-3, 0.05, 0.5, 0.99):
        z = process.corrupt(x, t, generator=4)
        tokens = (x, t) if loss is expected_nelbo else (x, z, t)
        leaves = [value.clone().requires_grad_() for value in (h, weight, bias)]
        chunked = loss(process, HeadPrediction(leaves[0].view(B, L, d), *leaves[1:], z), *tokens)
        exact = [value.double().clone().requires_grad_() for value in (h, weight, bias)]
        log_probs = (exact[0] @ exact[1].T + exact[2]).log_softmax(-1).view(B, L, K)
        plain = loss(process, log_probs, *tokens)
        largest, alpha = plain.abs().max().item(), process.alpha(t).item()
        rounding = tolerance * max(1, 4 * (1 - alpha) / (K * alpha))  # u - 1 - log u loses digits where c is small
        torch.testing.assert_close(chunked, plain, rtol=rounding, atol=rounding * largest)
        torch.testing.assert_close(chunked.mean(), plain.mean(), rtol=rounding, atol=0)
        chunked.mean().backward()
        plain.mean().backward()
        for ours, theirs in zip(leaves, exact):
            scale = theirs.grad.abs().max().item()
            torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0, atol=3 * rounding * scale)


@given(seed=st.integers(0, 10**6), K=st.integers(2, 40), chunk=st.integers(1, 9))
def test_chunks_do_not_matter(seed, K, chunk):
    arguments = a_read_out(9, 3, K, seed)
    whole, parts = (vocabulary_sums(*arguments, reverse=True, chunk=size) for size in (9, chunk))
    for a, b in zip(whole, parts):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_autocast_leaves_the_head_in_float32():
    h, weight, bias, z, x, c = a_read_out(6, 5, 50, dtype=torch.float32)
    wanted = vocabulary_sums(h, weight, bias, z, x, c)
    with torch.autocast("cpu", torch.bfloat16):
        found = vocabulary_sums(h, weight, bias, z, x, c)
    for a, b in zip(wanted, found):
        assert b.dtype == torch.float32
        assert torch.equal(a, b)


@pytest.mark.parametrize("predicts", ["cavity", "posterior"])
def test_predictions_agree_with_explicit_log_probabilities(predicts):
    torch.manual_seed(0)
    model = DiT(DiTConfig(30, length=6, hidden_dim=16, blocks=1, heads=2, cond_dim=8, predicts=predicts)).eval()
    torch.nn.init.normal_(model.output_layer.linear.weight)
    z = model.process.prior((5, 6), generator=1)
    t = torch.linspace(0.1, 1, 5, dtype=torch.float64)
    with torch.no_grad():
        lazy, dense = model.predict(z, t), DensePrediction(model.cavity(z, t))
        logits = model(z, model.process.sigma(t).float()).log_softmax(-1)
        own = model.posterior(z, t) if predicts == "posterior" else model.cavity(z, t)
    assert isinstance(lazy, HeadPrediction)
    torch.testing.assert_close(own, logits, atol=1e-5, rtol=1e-5)
    x = model.process.prior((5, 6), generator=2)
    for tokens in (x, z):
        torch.testing.assert_close(lazy.log_prob(tokens), dense.log_prob(tokens), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lazy.best()[0], dense.best()[0], atol=1e-5, rtol=1e-5)
    assert torch.equal(lazy.best()[1], dense.best()[1])
    torch.testing.assert_close(lazy.entropy().double(), dense.entropy(), atol=1e-5, rtol=1e-5)
    where = x < 10
    torch.testing.assert_close(lazy.log_probs(where), dense.log_probs(where))
    torch.testing.assert_close(lazy.log_probs(), dense.log_probs())


def test_predictions_refuse_tokens_they_were_not_made_from():
    """The sums of a posterior network subtract the logit of its own z; another z would give wrong numbers."""
    process = UniformProcess(30)
    x, z = process.prior((5, 6), generator=1), process.prior((5, 6), generator=2)
    for predicts, fine in (("cavity", True), ("posterior", False)):
        model = DiT(DiTConfig(30, length=6, hidden_dim=16, blocks=1, heads=2, cond_dim=8, predicts=predicts)).eval()
        torch.nn.init.normal_(model.output_layer.linear.weight)
        with torch.no_grad():
            lazy, dense = model.predict(z, 0.3), model.cavity(z, 0.3)
        if fine:
            torch.testing.assert_close(nelbo(process, lazy, x, x, 0.3).float(), nelbo(process, dense, x, x, 0.3))
        else:
            with pytest.raises(ValueError, match="`z` must be the noisy tokens of the prediction"):
                nelbo(process, lazy, x, x, 0.3)
        with pytest.raises(ValueError, match=r"`z` must have shape \(5, 6\), got \(3, 6\)"):
            nelbo(process, lazy, x[:3], z[:3], 0.3)
        with pytest.raises(ValueError, match="`cavity_log_probs` must be over 31 tokens, got 30"):
            nelbo(UniformProcess(31), lazy, x, z, 0.3)
