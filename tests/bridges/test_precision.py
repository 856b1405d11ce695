"""A network in several precisions: what must not move does not, what half precision cannot hold is told, and the
effects of memorization on a network that learnt its text by heart."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from bridges import as_system, conditional_entropy, precision_audit, token_recovery
from bridges.__main__ import main
from bridges.precision import EFFECTS
from uddm import DiT, DiTConfig, HollowMLP, HollowMLPConfig, TrainConfig, train
from uddm.choices import PRECISIONS
from uddm.corpora import CharacterTokenizer
from uddm.denoisers import HalfPrecision, Linear, LinearConfig, TreeUNet, TreeUNetConfig, in_precision

K, L = 27, 8
NETWORKS = {
    "DiT": lambda: DiT(DiTConfig(5, length=4, hidden_dim=8, blocks=1, heads=2, cond_dim=4)),
    "HollowMLP": lambda: HollowMLP(HollowMLPConfig(5, length=4, hidden_dim=8, blocks=1, cond_dim=4)),
    "TreeUNet": lambda: TreeUNet(TreeUNetConfig(5, depth=2, hidden_dim=8, cond_dim=4)),
    "Linear": lambda: Linear(LinearConfig(5, length=4)),
    "posterior logits": lambda: DiT(
        DiTConfig(5, length=4, hidden_dim=8, blocks=1, heads=2, cond_dim=4, predicts="posterior")
    ),
}


def perturbed(network, scale=0.3):
    torch.manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.normal_(std=scale)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_float64_is_computed_as_such_and_close_to_float32(name):
    """Log-probabilities below 16 of sums of at most 64 terms in 20 layers: 16 * 64 * 20 roundings of 2^-24 are 1.2e-3.
    All of a float64 result has bits that float32 lacks."""
    network = perturbed(NETWORKS[name]())
    z = torch.from_numpy(np.random.default_rng(0).integers(5, size=(30, 4)))
    single, double = (in_precision(network, p).cavity(z, 0.3) for p in ("fp32", "fp64"))
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert torch.equal(single, network.cavity(z, 0.3))
    assert double.detach().abs().max() < 16
    assert 0 < (single.double() - double).abs().max() < 16 * 64 * 20 * 2.0**-24
    assert (double.float().double() != double).double().mean() > 0.9
    assert next(network.parameters()).dtype == torch.float32, "the network stays as it is"


@pytest.mark.parametrize(("precision", "bits"), [("fp16", 11), ("bf16", 8)])
def test_half_precision_rounds_to_its_bits(precision, bits):
    network = perturbed(NETWORKS["DiT"]())
    z = torch.zeros(3, 4, dtype=torch.int64)
    p = in_precision(network, precision).cavity(z, 0.3).double().exp()
    mantissa = torch.frexp(p)[0] * 2**bits
    assert (mantissa - mantissa.round()).abs().max() < 2.0**-24 * 16 * 2**bits  # log and exp in float32 again


def test_words_and_types_that_mean_nothing():
    network = NETWORKS["DiT"]()
    with pytest.raises(ValueError, match="`precision`"):
        in_precision(network, "fp8")
    with pytest.raises(ValueError, match="`dtype`"):
        HalfPrecision(network, torch.float32)
    x = np.zeros((3, 4), np.int64)
    for wrong, said in ((["fp8"], "fp8"), ("fp16", "fp16"), ([], "got")):
        with pytest.raises(ValueError, match=f"`precisions`.*{said}"):
            precision_audit(network, x, precisions=wrong)
    with pytest.raises(ValueError, match="posterior"):
        precision_audit(NETWORKS["posterior logits"](), x, precisions=["fp16"])
    with pytest.raises(TypeError, match="`network`"):
        precision_audit(as_system(network), x)
    for name, value in (("noise", 0), ("t", 2), ("steps", 0), ("generated", 1), ("times", 0), ("confidence", 1)):
        with pytest.raises(ValueError, match=f"`{name}`"):
            precision_audit(network, x, **{name: value})


@pytest.fixture(scope="module")
def letters():
    """24 texts that a network learnt by heart, and 24 others."""
    return np.random.default_rng(0).integers(1, 9, size=(2, 24, L))


@pytest.fixture(scope="module")
def learnt(letters, tmp_path_factory):
    torch.manual_seed(0)
    network = HollowMLP(HollowMLPConfig(K, length=L, hidden_dim=32, embed_dim=16, cond_dim=8))
    config = TrainConfig(200, 24, 1e-2, warmup=10, decay="cosine", ema=0.9, checkpoint_every=10**6)
    return train(network, letters[0], config, tmp_path_factory.mktemp("learnt") / "run", progress=None)


@pytest.fixture(scope="module")
def found(learnt, letters):
    return precision_audit(learnt, letters[0], unseen=letters[1], steps=8, generated=24, rng=0)


def test_it_measures_what_the_measurements_measure(learnt, letters, found):
    """In float32, the same as by themselves; the recovery of another draw of the noise, within five of its errors."""
    system = as_system(learnt)
    entropy = conditional_entropy(system, letters[0], rng=0).mean_entropy.sel(estimate="value")
    mine = found.measured.sel(precision="fp32", split="text")
    assert float(mine.sel(quantity="entropy", estimate="value")) == float(entropy)
    recovery = token_recovery(system, letters[1], noise=0.25, steps=8, rng=5).recovery_mean.isel(noise=0)
    mine = found.measured.sel(precision="fp32", split="unseen", quantity="recovery")
    width = float(recovery.sel(estimate="high") - recovery.sel(estimate="low")) / 4
    assert abs(float(mine.sel(estimate="value") - recovery.sel(estimate="value"))) < 5 * 1.5 * width


def test_effects_of_memorization_survive_but_the_infinite_bound(found):
    """What the network learnt by heart shows in every precision, but where float16 gives tokens no probability."""
    shown = found.shown
    assert found.attrs["reference"] == "fp64"
    assert list(shown.effect.values) == list(EFFECTS)
    memory = ["entropy of unseen text", "recovery", "unstable rate", "bound"]
    assert shown.sel(precision=["fp32", "fp64"], effect=memory).all()
    assert shown.sel(precision=["bf16", "fp16"], effect=memory[:3]).all()
    bound = found.measured.sel(quantity="bound", split="unseen", estimate="value")
    assert np.isfinite(bound.sel(precision=["fp32", "fp64"])).all()


def test_float32_is_float64_to_rounding(found):
    """Log-probabilities of magnitude at most 40, from some 1e3 roundings each: entropies and bounds move by less than
    40 * 1e3 * 2^-24 = 2.4e-3, times 10 for the weights of the bound at early times."""
    change = found.change.sel(precision="fp32", estimate="value")
    assert abs(change.sel(quantity="entropy")).max() < 2.4e-3
    assert abs(change.sel(quantity="bound", split=["text", "unseen"])).max() < 2.4e-2
    assert (found.change.sel(precision="fp64").fillna(0) == 0).all()
    half = abs(found.change.sel(precision="fp16", quantity="entropy", split="text", estimate="value"))
    assert half > abs(change.sel(quantity="entropy", split="text")), "the negative control"
    assert found.same_tokens.sel(precision="fp64") == 1
    assert found.same_tokens.sel(precision="fp32") > 0.95


def test_a_probability_below_the_least_of_float16_makes_its_bound_infinite():
    """Uniform but for token 4, of logit -20, below log 2^-25 = -17.3."""
    network = NETWORKS["DiT"]()
    with torch.no_grad():
        network.output_layer.linear.bias[4] = -20.0
    found = precision_audit(network, np.full((8, 4), 4), generated=2, steps=2, rng=0)
    bound = found.measured.sel(split="text", quantity="bound")
    assert np.isinf(bound.sel(precision="fp16", estimate="value"))
    assert np.isnan(bound.sel(precision="fp16", estimate="low"))
    assert np.isfinite(bound.sel(precision=["bf16", "fp32", "fp64"])).all()


def test_the_seed_alone_decides(learnt, letters, found):
    """Whatever other precisions are asked beside those."""
    two = ["fp32", "fp64"]
    how = {"precisions": two, "steps": 8, "generated": 24, "rng": 0}
    again = precision_audit(learnt, letters[0], unseen=letters[1], **how)
    assert again.drop_attrs().identical(found.sel(precision=two).drop_attrs())
    assert json.loads(found.attrs["manifest"])["seed"] == 0


def test_the_command(learnt, letters, tmp_path, run_command):
    tokenizer = CharacterTokenizer()
    learnt.save_pretrained(tmp_path / "model", tokenizer)
    for name, rows in zip(("text", "unseen"), letters):
        (tmp_path / f"{name}.txt").write_text("\n\n".join(tokenizer.decode(row) for row in rows))
    words = ["--text", tmp_path / "text.txt", "--unseen", tmp_path / "unseen.txt", "--steps", 4, "--generated", 8]
    words += ["--out", tmp_path / "out", "--precision", "bf16", "fp32"]
    done = run_command(main, "precision", tmp_path / "model", *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["bf16", "fp32"]
    assert lines[-1] == str(tmp_path / "out" / "precision.nc")
    assert any(line.startswith("shows: recovery") and line.split()[-2:] == ["yes", "yes"] for line in lines)
    with xr.open_dataset(tmp_path / "out" / "precision.nc") as stored:
        assert list(stored.precision.values) == ["bf16", "fp32"]
        assert stored.attrs["reference"] == "fp32"
    done = run_command(main, "precision", tmp_path / "model")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: `text` must name text files or folders, got none\n"
    assert PRECISIONS == ("fp16", "bf16", "fp32", "fp64")
