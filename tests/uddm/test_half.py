"""Networks in half precision."""

import numpy as np
import pytest
import torch

from uddm import DiT, DiTConfig, HollowMLP, HollowMLPConfig, reverse
from uddm.denoisers import HalfPrecision, Linear, LinearConfig

K, L = 11, 6
EPS = 2.0**-11  # unit roundoff of float16


def network(scale=0.3):
    torch.manual_seed(0)
    model = DiT(DiTConfig(K, length=L, hidden_dim=16, blocks=1, heads=2, cond_dim=4))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=scale)
    return model.eval()


def tokens(n=40):
    return torch.from_numpy(np.random.default_rng(1).integers(K, size=(n, L)))


@pytest.mark.parametrize("t", [1e-5, 0.3, 1.0])
def test_it_is_the_network_to_the_rounding_of_float16(t):
    """Probabilities are sums of a few hundred roundings away: the logits are below 8, and each of their terms is of a
    sum of at most 64."""
    model = network(0.2)
    exact, half = model.cavity(tokens(), t).exp(), HalfPrecision(model).cavity(tokens(), t).exp()
    assert model.cavity(tokens(), t).abs().max() < 16
    assert (half - exact).abs().max() < 8 * 64 * EPS
    assert not torch.equal(half, exact), "negative control"


def test_probabilities_are_float16_numbers_that_sum_to_one():
    p = HalfPrecision(network()).cavity(tokens(), 0.3).exp()
    np.testing.assert_allclose(p.sum(-1), 1, atol=K * EPS)
    np.testing.assert_allclose(p, p.half().float(), rtol=1e-6)


def test_small_probabilities_are_zero():
    """As in the published measurements: below 2^-25, half the least float16 number."""
    model, logits = network(), torch.tensor([0.0, *-torch.arange(13.0, 23.0)])
    with torch.no_grad():
        model.output_layer.linear.weight.zero_()
        model.output_layer.linear.bias.copy_(logits)
    p = HalfPrecision(model).cavity(tokens(), 0.3).exp()
    assert (p[..., logits < 25 * -np.log(2)] == 0).all()
    np.testing.assert_allclose(p[0, 0, 1:5], logits[1:5].exp(), atol=2.0**-25, rtol=16 * EPS)


def test_the_network_stays_as_it_is_and_no_gradient_is_kept():
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    half = HalfPrecision(model)
    assert not half.cavity(tokens(), 0.3).requires_grad
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_without_dropout():
    torch.manual_seed(0)
    model = HollowMLP(
        HollowMLPConfig(K, length=L, hidden_dim=8, blocks=1, embed_dim=4, cond_dim=4, dropout=0.9)
    ).train()
    half = HalfPrecision(model)
    assert half.hollow
    assert torch.equal(half.cavity(tokens(), 0.3), half.cavity(tokens(), 0.3))


def test_the_reverse_process_takes_it():
    model = network()
    half = HalfPrecision(model)
    ends = reverse(half.process, half, tokens(), start=0.5, steps=8, generator=0)
    assert ends.shape == (40, L)
    assert torch.equal(ends, reverse(half.process, half, tokens(), start=0.5, steps=8, generator=0))


def test_logits_of_the_posterior_are_refused():
    model = Linear(LinearConfig(K, length=L, self_coupling=True, predicts="posterior"))
    with pytest.raises(ValueError, match="`network` must predict the cavity, got one that predicts the posterior"):
        HalfPrecision(model)


@pytest.mark.parametrize("z", [torch.full((2, L), K), torch.full((2, L), -1)])
def test_tokens_out_of_range_are_refused(z):
    with pytest.raises(ValueError, match="`z`"):
        HalfPrecision(network()).cavity(z, 0.3)
