"""The hollow network never sees the token it predicts, and the averaged NELBO trains it to the same end."""

import pytest
import torch

from uddm import DiT, DiTConfig, EmpiricalBayes, HollowMLP, HollowMLPConfig, UniformProcess, nelbo
from uddm.objective import expected_nelbo


def network(seed=0, **changes):
    torch.manual_seed(seed)
    shape = {"length": 7, "hidden_dim": 16, "blocks": 2, "embed_dim": 4, "cond_dim": 8, **changes}
    model = HollowMLP(HollowMLPConfig(5, **shape)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)  # the read-out starts at zero, which would hide everything
    return model


def influence(model, z, position):
    """Largest change of each position's log-probabilities when the token at `position` changes."""
    other = z.clone()
    other[:, position] = (z[:, position] + 1) % model.config.vocab_size
    with torch.no_grad():
        return (model.cavity(z, 0.3) - model.cavity(other, 0.3)).abs().amax((0, 2))


@pytest.mark.parametrize("window", [None, 1, 2, 6, 20])
def test_a_token_reaches_its_window_but_never_itself(window):
    model = network(window=window)
    z = torch.randint(5, (3, 7), generator=torch.Generator().manual_seed(1))
    for position in range(7):
        reached = influence(model, z, position) > 0
        expected = [0 < abs(l - position) <= (window or 6) for l in range(7)]
        assert reached.tolist() == expected


def test_a_transformer_does_see_its_own_token():
    """Negative control of the test above."""
    torch.manual_seed(0)
    model = DiT(DiTConfig(5, length=7, hidden_dim=16, blocks=1, heads=2, cond_dim=8)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    assert influence(model, torch.zeros(1, 7, dtype=torch.long), 3)[3] > 0
    assert not model.hollow


def test_the_time_and_the_offset_matter():
    model = network()
    z = torch.tensor([[0, 1, 2, 3, 4, 0, 1]])
    with torch.no_grad():
        assert not torch.allclose(model.cavity(z, 0.1), model.cavity(z, 0.9))
        assert not torch.allclose(model.cavity(z, 0.1)[0, 0], model.cavity(z.roll(1, 1), 0.1)[0, 1])


@pytest.mark.statistical(alarm=0.01)
def test_the_sampled_and_the_averaged_objective_have_one_gradient(seed):
    """Mean gradient over corruptions within 4 standard errors in every component."""
    model, n = network(length=4), 3000
    process, x = model.process, torch.tensor([[0, 1, 2, 3]]).expand(n, 4)
    biases = torch.zeros(n, 1, 5, requires_grad=True)  # one for each corruption, on top of that of the network

    def gradients(objective, stream):
        z = process.corrupt(x, 0.4, generator=stream)
        log_probs = (model.cavity(z, 0.4).detach() + biases).log_softmax(-1)
        return torch.autograd.grad(objective(log_probs, z).sum(), biases)[0].squeeze(1)

    sampled = gradients(lambda p, z: nelbo(process, p, x, z, 0.4), seed(0))
    averaged = gradients(lambda p, _: expected_nelbo(process, p, x, 0.4), seed(1))
    error = (sampled.var(0) / len(sampled) + averaged.var(0) / len(averaged)).sqrt()
    assert ((sampled.mean(0) - averaged.mean(0)).abs() < 4 * error).all()
    assert (averaged.var(0) < sampled.var(0)).all(), "averaging must not add variance"


def test_the_memorization_limit_is_hollow_too():
    data = torch.randint(4, (6, 5), generator=torch.Generator().manual_seed(0))
    limit = EmpiricalBayes(data, UniformProcess(4))
    z = torch.zeros(1, 5, dtype=torch.long)
    other = z.clone()
    other[0, 2] = 3
    torch.testing.assert_close(limit.cavity(z, 0.5)[0, 2], limit.cavity(other, 0.5)[0, 2])
    assert limit.hollow


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 0}, "window"),
        ({"embed_dim": 0}, "embed_dim"),
        ({"expansion": 1.5}, "expansion"),
        ({"predicts": "posterior"}, "predicts"),
    ],
)
def test_bad_shapes_are_named(changes, message):
    with pytest.raises((TypeError, ValueError), match=f"`{message}`"):
        HollowMLPConfig(5, **changes)
