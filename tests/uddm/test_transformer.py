"""The networks: the transformer against a checkpoint of the reference implementation, and what each can see."""

import math
import pickle
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from uddm import DiT, DiTConfig, HollowMLP, HollowMLPConfig, nelbo
from uddm.denoisers.layers import NoiseLevel

# of log-probabilities up to 10 of a float32 network: some 128 roundings, each within 2^-24, on the way from a token
ROUNDING = 128 * 10 * 2.0**-24


class RestrictedUnpickler(pickle.Unpickler):
    """Builds tensors and plain containers; omegaconf objects become empty stubs; anything else is refused."""

    plain: ClassVar = {
        ("__builtin__", "dict"): dict,
        ("__builtin__", "list"): list,
        ("__builtin__", "long"): int,
    }
    safe: ClassVar = {
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("typing", "Any"),
    }

    def find_class(self, module, name):
        if module.split(".")[0] == "omegaconf":
            return type(name, (), {"__setstate__": lambda self, state: None})
        if (module, name) in self.plain:
            return self.plain[module, name]
        if (module, name) in self.safe or (module == "torch" and name.endswith("Storage")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")


def read_lightning(path):
    module = types.ModuleType("restricted_pickle")
    module.Unpickler = RestrictedUnpickler
    return torch.load(path, pickle_module=module, weights_only=False)


@pytest.fixture(scope="module")
def published(shared_data):
    """The network with the EMA weights of the published layout, and the reference numbers for them."""
    folder = shared_data / "fixtures"
    if not (folder / "upstream_layout_a.ckpt").exists():
        pytest.skip("the published-layout fixture is not on this machine")
    checkpoint = read_lightning(folder / "upstream_layout_a.ckpt")
    model = DiT(DiTConfig(97, length=24, hidden_dim=64, blocks=3, heads=4, cond_dim=32)).eval()
    weights = {name.removeprefix("backbone."): tensor for name, tensor in checkpoint["state_dict"].items()}
    model.load_state_dict(weights)
    for parameter, average in zip(model.parameters(), checkpoint["ema"]["shadow_params"], strict=True):
        assert parameter.shape == average.shape
        parameter.data.copy_(average)
    return model, weights, dict(np.load(folder / "upstream_layout_a.reference.npz"))


@pytest.fixture(scope="module")
def outputs(published):
    model, _, reference = published
    tensors = {name: torch.tensor(reference[name]) for name in ("x0", "z", "t", "s")}
    with torch.no_grad():
        return model.cavity(tensors["z"], tensors["t"]), tensors


def test_loader_refuses_other_code(tmp_path):
    """Negative control of the loader: a pickle that would run a command is refused, and does not run."""

    class Command:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": Command()}, tmp_path / "bad.ckpt")
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        read_lightning(tmp_path / "bad.ckpt")
    assert not (tmp_path / "ran").exists()


def test_published_log_probs(published, outputs):
    _, weights, reference = published
    log_probs, tensors = outputs
    assert np.abs(log_probs.numpy() - reference["log_probs"]).max() < ROUNDING
    raw = DiT(DiTConfig(97, length=24, hidden_dim=64, blocks=3, heads=4, cond_dim=32)).eval()
    raw.load_state_dict(weights)  # negative control: the weights that were not averaged
    with torch.no_grad():
        assert np.abs(raw.cavity(tensors["z"], tensors["t"]).numpy() - reference["log_probs"]).max() > 1e-3


def test_published_nelbo(published, outputs):
    model, _, reference = published
    log_probs, tensors = outputs
    for used in (log_probs, torch.tensor(reference["log_probs"]).double()):
        loss = nelbo(model.process, used, tensors["x0"], tensors["z"], tensors["t"])
        np.testing.assert_allclose(loss, reference["nelbo_per_token"], rtol=1e-4)


def test_published_posterior(published, outputs):
    model, _, reference = published
    log_probs, tensors = outputs
    posterior = model.process.posterior(log_probs, tensors["z"], tensors["t"], tensors["s"])
    assert np.abs(posterior.numpy() - reference["posterior"]).max() < 2 * ROUNDING  # a ratio of two


def test_published_entropy(published, outputs):
    _, _, reference = published
    entropy = torch.special.entr(outputs[0].double().exp()).sum(-1)
    assert np.abs(entropy.numpy() - reference["entropy"]).max() < math.log(97) * ROUNDING  # slope -log p, on average


def test_published_schedule(published):
    model, _, reference = published
    np.testing.assert_allclose(model.process.alpha(torch.tensor(reference["t"])), reference["alpha_t"], rtol=2e-4)
    np.testing.assert_allclose(
        -model.process.rate(torch.tensor(reference["t"])), reference["dalpha_dt"][:, 0], rtol=1e-6
    )


def count(config):
    with torch.device("meta"):
        return sum(p.numel() for p in DiT(config).parameters())


@pytest.mark.parametrize(
    ("size", "vocab_size", "parameters", "precision"),
    [
        ("tiny", 30522, 23.66e6, 0.005e6),
        ("small", 30522, 139.29e6, 0.005e6),
        ("medium", 30522, 384.04e6, 0.005e6),
        ("tiny", 50258, 33_789_010, 0),
        ("small", 50258, 169_627_218, 0),
        ("medium", 50258, 424.48e6, 0.005e6),
    ],
)
def test_parameter_counts(size, vocab_size, parameters, precision):
    """Counts of arXiv 2604.26841, Table 1, and of the released configurations."""
    assert abs(count(getattr(DiTConfig, size)(vocab_size)) - parameters) <= precision


SHAPE = {"vocab_size": 7, "length": 9, "hidden_dim": 16, "blocks": 2, "cond_dim": 8}
KINDS = {"DiT": (DiT, DiTConfig, {"heads": 2}), "HollowMLP": (HollowMLP, HollowMLPConfig, {"embed_dim": 4})}
each_kind = pytest.mark.parametrize("kind", KINDS)


def initial(kind="DiT", seed=0, **changes):
    """A small network as training starts."""
    network, configuration, own = KINDS[kind]
    torch.manual_seed(seed)
    return network(configuration(**(SHAPE | own | changes))).eval()


def make(kind="DiT", seed=0, **changes):
    """A small network with random weights everywhere, also where training starts from zero."""
    model = initial(kind, seed, **changes)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(1 if "norm" in name else 0, 0.3)
    return model


def tokens(model, batch=4, seed=0):
    return model.process.prior((batch, model.length), generator=seed)


@each_kind
def test_uniform_at_initialisation(kind):
    model = initial(kind)
    for t in (1e-5, 0.5, 1.0):
        torch.testing.assert_close(model.cavity(tokens(model), t), torch.full((4, 9, 7), -math.log(7)))


def test_embedding_at_initialisation():
    embedding = DiT(DiTConfig(500, length=4, hidden_dim=64, blocks=1, heads=2)).vocab_embed.embedding
    assert 0.99 / 8 < embedding.abs().max() <= 1 / 8
    assert abs(embedding.std().item() - 1 / 8 / math.sqrt(3)) < 1e-3


@each_kind
def test_the_time_matters_and_the_length_may_differ(kind):
    model = make(kind)
    z = tokens(model)
    with torch.no_grad():
        assert (model.cavity(z, 0.1) - model.cavity(z, 0.9)).abs().max() > 1e-3
        longer = model.process.prior((2, 20), generator=0)
        assert model.cavity(longer, 0.5).shape == (2, 20, 7)


def reach(model, position):
    """Positions whose output changes if the token at `position` does."""
    z = tokens(model, 1)
    changed = []
    for shift in range(1, 7):
        other = z.clone()
        other[0, position] = (z[0, position] + shift) % 7
        with torch.no_grad():
            difference = (model.cavity(z, 0.5) - model.cavity(other, 0.5)).abs().amax((0, 2))
        changed.append((difference > 0).nonzero().flatten().tolist())
    assert all(places == changed[0] for places in changed)
    return changed[0]


def test_transformer_sees_everything():
    assert all(reach(make(blocks=1), position) == list(range(9)) for position in range(9))


@pytest.mark.parametrize("window", [1, 2, 5, None, 20])
def test_hollow_network_sees_its_window_but_never_its_own_token(window):
    model = make("HollowMLP", window=window)
    assert model.hollow
    assert not make().hollow
    for position in range(9):
        want = [p for p in range(9) if 0 < abs(p - position) <= (window or 8)]
        assert reach(model, position) == want


def test_hollow_network_tells_offsets_apart():
    model = make("HollowMLP")
    z = tokens(model, 1)
    swapped = z.clone()
    z[0, 0], z[0, 1] = 1, 2
    swapped[0, 0], swapped[0, 1] = 2, 1
    with torch.no_grad():
        assert (model.cavity(z, 0.5) - model.cavity(swapped, 0.5))[0, 4].abs().max() > 1e-3


def test_attention_depends_on_relative_positions_only():
    model = make()
    block, h = model.blocks[0], torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    cos, sin = model.rotary_emb(40)
    with torch.no_grad():
        here = block.attention(h, (cos[:9], sin[:9]))
        torch.testing.assert_close(block.attention(h, (cos[31:], sin[31:])), here, rtol=1e-4, atol=ROUNDING)
        stretched = block.attention(h, (cos[:18:2], sin[:18:2]))
        order = torch.arange(8, -1, -1)
        reversed_ = block.attention(h[:, order], (cos[:9], sin[:9]))[:, order]
    assert (stretched - here).abs().max() > 1e-3
    assert (reversed_ - here).abs().max() > 1e-3


def test_rotary_angles():
    """Half-split, base 10000: feature i of d_head turns by position / 10000^(2i / d_head)."""
    cos, sin = make().rotary_emb(5)
    assert cos.shape == (5, 8)
    for position in range(5):
        for i in range(8):
            angle = position / 10000 ** (2 * (i % 4) / 8)
            assert cos[position, i].item() == pytest.approx(math.cos(angle), abs=1e-6)
            assert sin[position, i].item() == pytest.approx(math.sin(angle), abs=1e-6)


def test_noise_level_features():
    layer = NoiseLevel(4)
    seen = []
    layer.mlp.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    layer(torch.tensor([0.0, 2.5]))
    frequencies = 10000 ** (-np.arange(128) / 128)
    want = np.concatenate([np.cos(2.5 * frequencies), np.sin(2.5 * frequencies)])
    np.testing.assert_allclose(seen[0][1], want, atol=1e-6)
    np.testing.assert_allclose(seen[0][0], [1] * 128 + [0] * 128, atol=1e-7)


@each_kind
def test_dropout_acts_in_training_only(kind):
    model, z = make(kind, dropout=0.5), tokens(make())
    with torch.no_grad():
        assert torch.equal(model.cavity(z, 0.5), model.cavity(z, 0.5))
        model.train()
        assert not torch.equal(model.cavity(z, 0.5), model.cavity(z, 0.5))


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        *(
            (kind, name, change)
            for kind in KINDS
            for name, change in [
                ("`vocab_size`", {"vocab_size": 1}),
                ("`vocab_size`", {"vocab_size": 7.0}),
                ("`length`", {"length": 0}),
                ("`hidden_dim`", {"hidden_dim": -16}),
                ("`blocks`", {"blocks": 0}),
                ("`cond_dim`", {"cond_dim": "8"}),
                ("`dropout`", {"dropout": 1.0}),
                ("`dropout`", {"dropout": -0.1}),
                ("`schedule`", {"schedule": "quadratic"}),
            ]
        ),
        ("DiT", "`heads`", {"heads": True}),
        ("DiT", "`hidden_dim`", {"hidden_dim": 18}),
        ("HollowMLP", "`window`", {"window": 0}),
        ("HollowMLP", "`embed_dim`", {"embed_dim": 0}),
        ("HollowMLP", "`expansion`", {"expansion": 1.5}),
    ],
)
def test_bad_configurations_are_named(kind, name, change):
    with pytest.raises((TypeError, ValueError), match=name):
        initial(kind, **change)


def test_named_sizes_take_changes():
    config = DiTConfig.small(100, length=16, dropout=0.0)
    assert (config.hidden_dim, config.blocks, config.heads) == (768, 12, 12)
    assert (config.length, config.dropout, config.vocab_size) == (16, 0.0, 100)
    assert DiTConfig(**config.to_dict()) == config
