"""Networks and their training under noise with masks: the same networks, loop and commands as under uniform noise."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from uddm import DiTConfig, HollowMLP, HollowMLPConfig, TrainConfig, evidence_bound, nelbo, reverse, train
from uddm.__main__ import main
from uddm.config import RUNS, SHAPES, Curriculum, NetworkConfig
from uddm.corpora import ByteTokenizer
from uddm.denoisers import NETWORKS, HalfPrecision, Linear, LinearConfig, Network
from uddm.evaluation import CLEAN, score_documents
from uddm.process import HybridProcess, MaskedProcess

SMALL = {
    "DiT": {"hidden_dim": 16, "blocks": 1, "cond_dim": 8, "heads": 2, "length": 4},
    "HollowMLP": {"hidden_dim": 16, "blocks": 1, "cond_dim": 8, "embed_dim": 4, "length": 4},
    "TreeUNet": {"hidden_dim": 8, "cond_dim": 8, "depth": 2},
    "Linear": {"length": 4},
}
NOISES = {
    "masked": {"noise": "masked", "schedule": "linear"},
    "hybrid": {"noise": "hybrid", "schedule": "linear", "p_unif": 0.2},
    "hdlm": {"noise": "hybrid", "schedule": "linear", "law": "hdlm", "p_unif": 0.05},
    "mask among the ids": {"noise": "hybrid", "schedule": "linear", "mask": 2},
    "uniform, but for a mask": {"mask": 2},
}
DATA = torch.tensor([[0, 3, 1, 4], [4, 4, 0, 1], [1, 0, 3, 3]])
every_noise = pytest.mark.parametrize("noise", NOISES)


def network(name, noise, **changes) -> Network:
    torch.manual_seed(0)
    model = NETWORKS[name](SHAPES[name](5, **SMALL.get(name, {"length": 4}) | NOISES[noise] | changes))
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_(0, 0.3)
    return model.eval()


@every_noise
@pytest.mark.parametrize("name", SMALL)
def test_every_network_works_under_every_noise(name, noise, tmp_path):
    model = network(name, noise)
    process = model.process
    z = process.corrupt(DATA, 0.7, generator=0)
    assert process.is_token(z).all() == noise.startswith("uniform")
    p = model.cavity(z, 0.7).exp()
    assert p.shape == (3, 4, 5)
    torch.testing.assert_close(p.sum(-1), torch.ones(3, 4))
    if process.mask is not None and process.mask < 5:
        assert not p[..., process.mask].any()
    loss = nelbo(process, model.predict(z, 0.7), DATA, z, 0.7).sum()
    loss.backward()
    assert all(weights.grad is not None and weights.grad.isfinite().all() for weights in model.parameters())
    final = reverse(process, model, process.prior((20, 4), generator=1), steps=10, generator=2)
    assert process.is_token(final).all()
    model.save_pretrained(tmp_path)
    again = Network.from_pretrained(tmp_path)
    assert repr(again.process) == repr(process)
    assert torch.equal(again.cavity(z, 0.7), model.cavity(z, 0.7))


def trained(config, folder, data, steps=200, **changes):
    torch.manual_seed(0)
    recipe = TrainConfig(steps=steps, batch_size=16, learning_rate=1e-2, warmup=20, ema=0.95, decay="cosine", **changes)
    return train(NETWORKS[config.name](config), data, recipe, folder, progress=None)


STRINGS = torch.tensor([[0, 1, 2, 3, 4, 0], [4, 3, 2, 2, 1, 4], [1, 1, 3, 0, 2, 2], [3, 0, 0, 4, 1, 3]])


def memorizes(model):
    """By how many nats a string the bound exceeds the entropy log 4, and the share of its strings among the four."""
    process, x = model.process, STRINGS.repeat(50, 1)
    bound = evidence_bound(process, model, x, times=16, generator=1).total.mean().item()
    drawn = reverse(process, model, process.prior((100, 6), generator=2), steps=40, generator=3)
    return bound - np.log(4), (drawn[:, None] == STRINGS).all(-1).any(-1).double().mean().item()


@pytest.mark.parametrize("noise", ["masked", "hybrid"])
def test_a_network_memorizes_a_few_strings(noise, tmp_path):
    shape = HollowMLPConfig(5, length=6, hidden_dim=48, blocks=1, dropout=0.0, cond_dim=16, embed_dim=8)
    config = replace(shape, **NOISES[noise])
    excess, members = memorizes(HollowMLP(config))
    assert excess > 5
    assert members < 0.1
    excess, members = memorizes(trained(config, tmp_path, STRINGS))
    assert -0.1 < excess < 0.5
    assert members > 0.8


def test_a_curriculum_needs_uniform_noise(tmp_path):
    shape = DiTConfig(5, **SMALL["DiT"])
    for noise in NOISES:
        config = replace(shape, **NOISES[noise])
        with pytest.raises(ValueError, match="`curriculum` needs uniform noise over all ids, got"):
            trained(config, tmp_path, DATA, curriculum=Curriculum(end=1))
        with pytest.raises(ValueError, match="`curriculum` needs uniform noise"):
            replace(RUNS["paper-tiny"], network=config)
    assert not list(tmp_path.iterdir())


def test_what_is_recorded_of_the_noise():
    """Nothing of uniform noise, whose folders and runs are those of before there was another."""
    assert NetworkConfig(5).to_dict().keys() == {"vocab_size", "length", "schedule", "predicts"}
    for noise, said in NOISES.items():
        config = NetworkConfig(5, **said)
        record = json.loads(json.dumps(config.to_dict()))
        assert record.items() >= said.items(), noise
        assert repr(NetworkConfig(**record).process()) == repr(config.process())
    assert isinstance(NetworkConfig(5, noise="masked").process(), MaskedProcess)
    assert isinstance(NetworkConfig(5, noise="hybrid").process(), HybridProcess)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("noise", {"noise": "white"}),
        ("law", {"noise": "hybrid", "law": "flow"}),
        ("p_unif", {"noise": "hybrid", "p_unif": 0.0}),
        ("p_unif", {"noise": "hybrid", "p_unif": 1.0}),
        ("mask", {"mask": 5}),
        ("mask", {"mask": -1}),
        ("predicts", {"noise": "masked", "predicts": "posterior"}),
    ],
)
def test_bad_settings_are_named(name, wrong):
    with pytest.raises(ValueError, match=f"`{name}`"):
        NetworkConfig(5, **wrong)


@pytest.mark.parametrize("noise", ["hybrid", "hdlm", "mask among the ids"])
def test_logits_of_the_posterior(noise):
    """A network of these has x_theta with what a token's own z says taken away, and a mask says nothing."""
    model = network("DiT", noise, predicts="posterior")
    process, z = model.process, model.process.corrupt(DATA, 0.6, generator=1)
    logits = model(z, -process.alpha(torch.full((3,), 0.6)).log().float())
    if process.mask == 2:
        logits[..., 2] = -torch.inf
    torch.testing.assert_close(model.posterior(z, 0.6).exp(), logits.softmax(-1).detach(), rtol=1e-4, atol=1e-6)


def test_half_precision_reads_masks():
    model = network("DiT", "masked")
    z = torch.full((1, 4), model.process.mask)
    torch.testing.assert_close(HalfPrecision(model).cavity(z, 0.9), model.cavity(z, 0.9), rtol=0, atol=0.02)


def test_spins_have_no_mask():
    with pytest.raises(ValueError, match="got 2 and a mask"):
        Linear(LinearConfig(2, length=3, noise="masked")).couplings()


def test_clean_tokens_are_scored_given_the_others_alone():
    """Each masked, where the network sees it and the noise leaves no doubt of it."""
    model = NETWORKS["DiT"](DiTConfig(256, **SMALL["DiT"], **NOISES["masked"]))
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_(0, 0.3)
    tokenizer, text = ByteTokenizer(), "abcdefg"
    (score,) = score_documents(model.eval(), tokenizer, [("a", text)], times=8)
    x = torch.as_tensor(score.tokens).reshape(2, 4)  # with the separator
    for l in range(4):
        z = x.clone()
        z[:, l] = model.process.mask
        log_p = model.cavity(z, CLEAN)[:, l].double()
        want = log_p.gather(1, x[:, l, None])[:, 0]
        np.testing.assert_allclose(score.log_prob.reshape(2, 4)[:, l], want.detach(), rtol=1e-5)
        np.testing.assert_allclose(score.entropy.reshape(2, 4)[:, l], -(log_p.exp() * log_p).sum(1).detach(), rtol=1e-5)
    seen = model.cavity(x, CLEAN).gather(-1, x[..., None])[..., 0].detach().numpy()
    assert np.abs(seen.ravel() - score.log_prob).max() > 0.01


@pytest.mark.parametrize("noise", ["masked", "hybrid"])
def test_commands_speak_of_any_noise(noise, run_command, tmp_path):
    text, out = tmp_path / "text.txt", tmp_path / "run"
    text.write_text("\n\n".join("abcdefgh"[i % 7 :] * 8 for i in range(30)))
    words = ("train", out, "--corpus", text, "--steps", 5, "--hidden-dim", 16, "--length", 8)
    done = run_command(main, *words, "--noise", noise, "--schedule", "linear")
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "model" / "config.json").read_text())
    assert (record["noise"], record["vocab_size"]) == (noise, 27)
    card = (out / "model" / "README.md").read_text()
    assert f"tags: [{noise}-discrete-diffusion," in card
    samples = run_command(main, "sample", out / "model", "--n", 3, "--steps", 5, "--prompt", "ab").stdout.splitlines()
    assert len(samples) == 3
    assert all(sample.startswith("ab") for sample in samples)
    found = json.loads(run_command(main, "evaluate", out / "model", "--n", 5, "--times", 2, "--json").stdout)
    assert found["results"][0]["terms"]["full bound"]["nats_per_token"][0] > 0
