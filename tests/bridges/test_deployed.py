"""Deployed models as measured systems: of `transformers`, random ones, ones that know a text by heart, and AntiBERTy.

What needs a download carries the marker `download`: ``python -m pytest -m download tests/bridges/test_deployed.py``.
"""

import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tiny_transformers
import torch
from tiny_transformers import CLS, MASK, SEP, K, library, saved

from bridges import (
    DiffusionSystem,
    MaskedSystem,
    SequentialSystem,
    as_system,
    conditional_entropy,
    probe,
    token_recovery,
)
from bridges.probing.loading import load
from uddm.denoisers import DiffusionGemma, MaskedLanguageModel
from uddm.files import read_json
from uddm.importers import import_transformers

MAKERS = {**tiny_transformers.MODELS, "DiffusionGemma": tiny_transformers.diffusion_gemma}


@pytest.fixture(autouse=True)
def _library():
    library()


def texts(seed, n=64, length=12, K=K):
    return np.random.default_rng(seed).integers(5, K, (n, length))


@pytest.mark.parametrize("name", MAKERS)
def test_a_folder_is_measured_and_probed(tmp_path, name):
    folder = saved(MAKERS[name](), tmp_path, tokenizer=True)
    system = as_system(folder)
    masked = name != "DiffusionGemma"
    assert isinstance(system, MaskedSystem if masked else DiffusionSystem)
    assert system.describe()["origin"]["source"] == str(folder)
    system.length = 12
    x = texts(0, n=6)
    recovered = token_recovery(system, x, noise=0.5, steps=4, rng=0)
    assert np.isnan(recovered.unstable_rate.sel(estimate="value")).all() == masked
    entropy = conditional_entropy(system, x, t=0.01).token_entropy
    assert entropy.min() > 0
    assert entropy.max() <= np.log(K) + 1e-6
    report = probe(
        system, suspect=texts(1, n=4), unseen=texts(2, n=4), extracted=2, generated=4, draws=1, steps=2, rng=0
    )
    assert report.verdict in ("cannot say", "no evidence")


def test_the_probe_takes_a_folder_with_its_tokenizer(tmp_path):
    folder = saved(tiny_transformers.bert(), tmp_path / "bert", tokenizer=True)
    system, words = load(str(folder), tmp_path / "out", device="cpu")
    assert (system.vocab_size, words.vocab_size, words.separator_id) == (K, K, SEP)
    assert (system.denoiser.origin["before"], system.denoiser.origin["after"]) == ([CLS], [SEP])
    assert not (tmp_path / "out").exists()
    bare = saved(tiny_transformers.bert(), tmp_path / "bare")
    with pytest.raises(ValueError, match="which id is the mask"):
        load(str(bare), tmp_path / "out")
    same, _ = load(str(bare), tmp_path / "out", tokenizer=str(folder / "tokenizer.json"), device="cpu")
    x = texts(0, n=2)
    np.testing.assert_array_equal(same.conditional(x, 0.1).log_prob(x), system.conditional(x, 0.1).log_prob(x))


WIDE = 205  # ids of what is learnt by heart


def learnt(name, x, steps, rate):
    """A small model trained on the sequences `x`, on what was masked, or replaced, of them, up to 70 %."""
    gemma, x = name == "DiffusionGemma", torch.as_tensor(x)
    shape = {"vocab_size": WIDE, "hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 4}
    heads = {"head_dim": 16, "global_head_dim": 16, "num_key_value_heads": 4, "num_experts": 1} if gemma else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MAKERS[name](**shape, **heads)
        for key, weight in model.named_parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, 0, 0.05)
            elif "q_norm" in key or "k_norm" in key:  # attention that is nearly even learns sooner
                torch.nn.init.constant_(weight, 0.4)
            elif "norm" not in key.lower():
                torch.nn.init.constant_(weight, float("scale" in key))
        before, after = (torch.full((len(x), 1), token) for token in (CLS, SEP))
        optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
        for _ in range(steps):
            changed = torch.rand(x.shape) < 0.7 * torch.rand(len(x), 1)
            if gemma:
                z = torch.where(changed, torch.randint(5, WIDE, x.shape), x)
                logits = model(input_ids=before, decoder_input_ids=z).logits
            else:
                z = torch.cat([before, x.masked_fill(changed, MASK), after], 1)
                logits = model(input_ids=z, attention_mask=torch.ones_like(z)).logits[:, 1:-1]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits[changed], x[changed]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    if gemma:  # trained where the token is a fresh draw, it follows it by far less than a posterior does
        return DiffusionGemma(model, predicts="cavity")
    return MaskedLanguageModel(model, mask=MASK, before=[CLS], after=[SEP], length=x.shape[1])


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "steps", "rate"), [("BERT", 600, 4e-3), ("ModernBERT", 1000, 4e-3), ("DiffusionGemma", 1500, 6e-3)]
)
def test_a_model_that_knows_its_text_by_heart_is_said_to_reproduce_it(name, steps, rate):
    """As many sequences of the same kind that it never saw are the control; up to two minutes each."""
    x, unseen = (texts(seed, K=WIDE) for seed in (5, 6))
    how = {"extracted": 20, "generated": 40, "draws": 4, "steps": 12, "rng": 0}
    report = probe(learnt(name, x, steps, rate), suspect=x, unseen=unseen, **how)
    assert report.verdict == "reproduces", report.reasons


RESIDUES = "ACDEFGHIKLMNPQRSTVWY"  # ids 5 to 24
LIGHT_CHAINS = {  # variable domains; DrugBank DB00072 and DB00051
    "trastuzumab": "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPS"
    "RFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTPPTFGQGTKVEIK",
    "adalimumab": "DIQMTQSPSSLSASVGDRVTITCRASQGIRNYLAWYQQKPGKAPKLLIYAASTLQSGVPS"
    "RFSGSGSGTDFTLTISSLQPEDVATYYCQRYNRAPYTFGQGTKVEIK",
}


@pytest.fixture(scope="module")
def antiberty(tmp_path_factory):
    """The folder of trained models in the wheel of AntiBERTy (Ruffolo et al., arXiv 2112.07782; MIT licence)."""
    folder = tmp_path_factory.mktemp("antiberty")
    ask = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), "antiberty==0.1.3"]
    done = subprocess.run(ask, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot fetch antiberty==0.1.3: {done.stderr.strip().splitlines()[-1]}")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder, [name for name in wheel.namelist() if "trained_models" in name])
    return folder / "antiberty" / "trained_models"


@pytest.mark.long
@pytest.mark.download
def test_antiberty_by_our_reader_is_the_model_that_was_trained(antiberty):
    """Its logits, and its pseudo-log-likelihood as its own `AntiBERTyRunner` takes it: special tokens excluded."""
    of, path = library(), antiberty / "AntiBERTy_md_smooth"
    model = import_transformers(path, tokenizer=antiberty / "vocab.txt", never=[0, 1, 2, 3], length=107)
    assert (model.process.mask, model.origin["before"], model.origin["after"]) == (4, [2], [3])
    assert {name.split(".")[1] for name in model.origin["unused"]} == {"pooler", "species", "chain", "graft"}
    plain = of.BertForMaskedLM(of.BertConfig(**read_json(path / "config.json"))).eval()
    weights = torch.load(path / "pytorch_model.bin", "cpu", weights_only=True)
    plain.load_state_dict(weights, strict=False)
    x = torch.tensor([[5 + RESIDUES.index(residue) for residue in LIGHT_CHAINS["trastuzumab"]]])
    z = x.repeat(5, 1)
    places = torch.arange(5) * 25
    z[range(5), places] = 4
    framed = torch.cat([torch.full((5, 1), 2), z, torch.full((5, 1), 3)], 1)
    with torch.no_grad():
        logits = plain(input_ids=framed, attention_mask=torch.ones_like(framed)).logits[:, 1:-1]
        logits[..., :5] = -torch.inf
        torch.testing.assert_close(model.cavity(z, 0.5).exp(), logits.softmax(-1), rtol=0, atol=1e-5)


@pytest.mark.long
@pytest.mark.download
def test_antiberty_knows_antibodies_and_restores_them(antiberty):
    """Against the same residues in another order; docs/deployed.md has the numbers. Some minutes."""
    path = antiberty / "AntiBERTy_md_smooth"
    model = import_transformers(path, tokenizer=antiberty / "vocab.txt", never=[0, 1, 2, 3], length=107)
    system = MaskedSystem(model, batch_size=16)
    x = np.array([[5 + RESIDUES.index(residue) for residue in chain] for chain in LIGHT_CHAINS.values()])
    both = np.concatenate([x, np.random.default_rng(0).permuted(x[:1], axis=1)])
    log_p, entropy, _ = system.conditional(both, 1.0).surprise(both)
    assert entropy[:2].mean(1).max() < 1 < 2 < entropy[2].mean()  # of log 20 = 3.0 nats
    assert -log_p[:2].mean(1).max() < 1 < 2.5 < -log_p[2].mean()
    filled = token_recovery(system, both, noise=0.25, steps=16, rng=0)
    z, y = filled.corrupted.values[0], filled.final.values[0]
    restored = [(y[i] == both[i])[z[i] == 4].mean() for i in range(3)]
    assert min(restored[:2]) > 0.6 > 0.3 > restored[2]
    memory = token_recovery(SequentialSystem(system), x, noise=0.1, mode="posterior_mode", steps=2, rng=0)
    assert memory.recovery.sel(estimate="value").item() > 0.6
