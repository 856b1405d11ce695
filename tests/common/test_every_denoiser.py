"""Every denoiser: distributions, what it may see, what it refuses; and every network, on disk and in training."""

import copy
import inspect
import json
import pickle

import numpy as np
import pytest
import torch
from members import network

from uddm import TrainConfig, nelbo, reverse, train
from uddm.denoisers import NETWORKS, DiT, HalfPrecision, HollowMLP, Network

T = torch.tensor([0.1, 0.4, 0.7, 1.0], dtype=torch.float64)


def rounding(denoiser):
    """Of log-probabilities up to 10 of a float32 network: some 128 roundings, each within 2^-24, from a token to them.
    In half precision, whose sums are float32, what is rounded to 2^-11 is the end of a layer: some 8 times."""
    return 8 * 10 * 2.0**-11 if isinstance(denoiser, HalfPrecision) else 128 * 10 * 2.0**-24


def tokens(denoiser, batch=4, seed=0):
    return denoiser.process.prior((batch, denoiser.length), generator=seed)


@pytest.fixture
def denoiser(make_denoiser):
    return make_denoiser()


@pytest.fixture(autouse=True)
def without_gradients(request):
    with torch.set_grad_enabled("network_class" in request.fixturenames):
        yield


def test_it_is_documented(denoiser):
    assert inspect.cleandoc(type(denoiser).__doc__ or "")


def test_log_probabilities_are_normalised_and_rows_independent(denoiser):
    """A time for all sequences, or one for each; one sequence alone is as it is among others."""
    z, K = tokens(denoiser), denoiser.process.vocab_size
    for distribution in (denoiser.cavity, denoiser.posterior):
        together = distribution(z, T)
        assert together.shape == (4, denoiser.length, K)
        assert together.dtype == (
            torch.float32 if isinstance(denoiser, torch.nn.Module | HalfPrecision) else torch.float64
        )
        torch.testing.assert_close(
            together.double().exp().sum(-1), torch.ones(z.shape).double(), rtol=0, atol=rounding(denoiser)
        )
        for b in range(4):
            for t in (T[b].item(), T[b], T[b : b + 1]):
                alone = distribution(z[b : b + 1], t)
                torch.testing.assert_close(alone, together[b : b + 1], rtol=0, atol=2 * rounding(denoiser))


def test_predictions_are_the_cavity(denoiser):
    z, x = tokens(denoiser), tokens(denoiser, seed=1)
    prediction, cavity = denoiser.predict(z, T), denoiser.cavity(z, T).double()
    close = {"rtol": 0, "atol": 2 * rounding(denoiser)}
    torch.testing.assert_close(prediction.log_probs().double(), cavity, **close)
    torch.testing.assert_close(prediction.log_prob(x).double(), cavity.gather(-1, x[..., None])[..., 0], **close)
    torch.testing.assert_close(prediction.entropy().double(), torch.special.entr(cavity.exp()).sum(-1), **close)
    torch.testing.assert_close(prediction.best()[0].double(), cavity.amax(-1), **close)


def test_the_posterior_restores_what_the_own_token_says(denoiser):
    z, process = tokens(denoiser), denoiser.process
    own = process.own_logit(T)[:, None].clamp_max(1e9) * process.is_token(z)  # of absorbing noise it is infinite
    own = own[..., None] * torch.nn.functional.one_hot(z, process.state_size)[..., : process.vocab_size]
    restored = (denoiser.cavity(z, T).double() + own).softmax(-1)
    torch.testing.assert_close(denoiser.posterior(z, T).double().exp(), restored, rtol=0, atol=2 * rounding(denoiser))


def test_hollow_is_what_it_says(denoiser):
    """Bit for bit in a network; exact limits divide by other sums."""
    z = tokens(denoiser, 2)
    for position in range(denoiser.length if denoiser.hollow else 0):
        other = z.clone()
        other[:, position] = (z[:, position] + 1) % denoiser.process.vocab_size
        before, after = (denoiser.cavity(tokens, 0.3)[:, position] for tokens in (z, other))
        torch.testing.assert_close(after, before, rtol=0, atol=0 if isinstance(denoiser, Network) else 1e-12)


def test_a_network_that_sees_its_token_does_not_claim_to_be_hollow():
    """Negative control of the test above."""
    model = network(DiT)
    z = tokens(model, 1)
    assert not model.hollow
    assert not torch.equal(model.cavity(z, 0.3)[:, 0], model.cavity((z + 1) % 5, 0.3)[:, 0])


def test_it_repeats_and_leaves_its_arguments_alone(denoiser):
    z, t = tokens(denoiser), T.clone()
    for distribution in (denoiser.cavity, denoiser.posterior, lambda *at: denoiser.predict(*at).entropy()):
        assert torch.equal(distribution(z, t), distribution(z, t))
    assert torch.equal(z, tokens(denoiser))
    assert torch.equal(t, T)


def test_the_reverse_process_takes_it(denoiser):
    z = tokens(denoiser)
    one, again, other = (reverse(denoiser.process, denoiser, z, steps=3, generator=seed) for seed in (1, 1, 2))
    assert (one.dtype, one.shape) == (torch.int64, z.shape)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_reverse_process_keeps_tokens(denoiser):
    """Those it is told to; with none of them it is the reverse process, bit for bit, and with all it returns z."""
    z = denoiser.process.prior((6, denoiser.length), generator=0)
    keep = torch.rand(z.shape, generator=torch.Generator().manual_seed(1)) < 0.5

    def final(keep):
        return reverse(denoiser.process, denoiser, z, steps=4, keep=keep, generator=2)

    assert torch.equal(final(torch.zeros_like(keep)), final(None))
    assert torch.equal(final(keep)[keep], z[keep])
    assert torch.equal(final(torch.ones_like(keep)), z)
    assert torch.equal(final(keep[0]), final(keep[:1].expand(z.shape)))
    assert torch.equal(final(keep[0].numpy()), final(keep[0]))


def test_arrays_are_tokens_too(denoiser):
    z = tokens(denoiser)
    array = z.numpy().astype(np.int16)
    array.setflags(write=False)
    assert torch.equal(denoiser.cavity(array, 0.3), denoiser.cavity(z, 0.3))


@pytest.mark.parametrize(
    ("name", "error", "change"),
    [
        ("z", ValueError, lambda z, t: (z + 5, t)),
        ("z", ValueError, lambda z, t: (z - 5, t)),
        ("z", ValueError, lambda z, t: (z[0], t)),
        ("z", ValueError, lambda z, t: (z[:0], t)),
        ("z", ValueError, lambda z, t: (z[:, :0], t)),
        ("z", TypeError, lambda z, t: (z.float(), t)),
        ("z", TypeError, lambda z, t: (z > 0, t)),
        ("t", ValueError, lambda z, t: (z, 0.0)),
        ("t", ValueError, lambda z, t: (z, 1.5)),
        ("t", ValueError, lambda z, t: (z, float("nan"))),
        ("t", ValueError, lambda z, t: (z, torch.tensor([0.1, 0.2, 0.3]))),
        ("t", TypeError, lambda z, t: (z, "late")),
    ],
)
def test_bad_arguments_are_named(denoiser, name, error, change):
    for distribution in (denoiser.cavity, denoiser.posterior, denoiser.predict):
        with pytest.raises(error, match=f"`{name}`"):
            distribution(*change(tokens(denoiser), 0.5))


# --- networks


def test_a_network_is_known_by_its_name(network_class):
    assert NETWORKS[network_class.__name__] is network_class


def test_a_configuration_goes_through_json(network_class):
    config = network(network_class).config
    assert network_class.Config(**json.loads(json.dumps(config.to_dict()))) == config


def test_it_reads_back_bit_for_bit(network_class, tmp_path):
    """By its own class and by the base, in evaluation mode; another class refuses."""
    model = network(network_class).train()
    model.save_pretrained(tmp_path / "a" / "deep" / "folder")
    z = tokens(model)
    for read, path in ((network_class, tmp_path / "a" / "deep" / "folder"), (Network, f"{tmp_path}/a/deep/folder")):
        again = read.from_pretrained(path)
        assert type(again) is network_class
        assert again.config == model.config
        assert again.hollow == model.hollow
        assert not again.training
        weights, want = again.state_dict(), model.state_dict()
        assert weights.keys() == want.keys()
        assert all(torch.equal(weights[name], want[name]) for name in want)
        assert torch.equal(again.cavity(z, 0.3), model.eval().cavity(z, 0.3))
    other = HollowMLP if network_class is DiT else DiT
    with pytest.raises(ValueError, match=f"holds a {network_class.__name__}, not a {other.__name__}"):
        other.from_pretrained(path)


def test_copies_are_the_network(network_class):
    model = network(network_class)
    z = tokens(model)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(again.cavity(z, 0.3), model.cavity(z, 0.3))


def test_it_starts_the_same_from_the_same_seed(network_class):
    def start(seed):
        torch.manual_seed(seed)
        return network_class(network(network_class).config).state_dict()

    one, again = start(1), start(1)
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_every_parameter_learns(network_class):
    config = network(network_class).config
    torch.manual_seed(0)
    model = network_class(config).train()
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    x, z = tokens(model, 8), tokens(model, 8, 1)
    for _ in range(3):  # layers that start at zero let gradients pass one after the other
        optimizer.zero_grad()
        nelbo(model.process, model.cavity(z, 0.3), x, z, 0.3).mean().backward()
        optimizer.step()
    assert [name for name, p in model.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_training_depends_on_the_seed_alone(network_class, tmp_path):
    x = tokens(network(network_class), 12)

    def trained(seed, run):
        config = TrainConfig(steps=3, batch_size=4, learning_rate=0.1, warmup=0, seed=seed)
        return train(network(network_class), x, config, tmp_path / run, progress=None).state_dict()

    start, one = network(network_class).state_dict(), trained(1, "one")
    again, other = trained(1, "again"), trained(2, "other")
    assert all(torch.equal(one[name], again[name]) for name in one)
    for different in (start, other):
        assert any(not torch.equal(one[name], different[name]) for name in one)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vocab_size", {"vocab_size": 1}),
        ("vocab_size", {"vocab_size": 7.0}),
        ("length", {"length": -1}),
        ("schedule", {"schedule": "quadratic"}),
        ("predicts", {"predicts": "x"}),
    ],
)
def test_bad_configurations_are_named(network_class, name, change):
    with pytest.raises((ValueError, TypeError), match=f"`{name}`"):
        network(network_class, **change)
