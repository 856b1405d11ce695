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
from uddm.importers import import_transformers

MAKERS = {**tiny_transformers.MODELS, "DiffusionGemma": tiny_transformers.diffusion_gemma}


@pytest.fixture(autouse=True)
def _library():
    library()


def texts(seed, n=64, length=12):
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
    entropy = conditional_entropy(system, x, t=0.01).entropy
    assert 0 < entropy.min()
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


def learnt(name, x, steps, rate):
    """A small model trained on the sequences `x`, as its kind is: on masked tokens, or on replaced ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MAKERS[name](hidden_size=48, intermediate_size=96)
        for key, weight in model.named_parameters():
            if "norm" not in key.lower():
                torch.nn.init.normal_(weight, 0, 0.05)
        gemma, x = name == "DiffusionGemma", torch.as_tensor(x)
        before, after = (torch.full((len(x), 1), token) for token in (CLS, SEP))
        optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
        for _ in range(steps):
            changed = torch.rand(x.shape) < torch.rand(len(x), 1)
            if gemma:
                z = torch.where(changed, torch.randint(K, x.shape), x)
                logits, of = model(input_ids=before, decoder_input_ids=z).logits, torch.ones_like(changed)
            else:
                z, of = torch.cat([before, x.masked_fill(changed, MASK), after], 1), changed
                logits = model(input_ids=z, attention_mask=torch.ones_like(z)).logits[:, 1:-1]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits[of], x[of]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    if gemma:
        return DiffusionGemma(model, predicts="cavity")
    return MaskedLanguageModel(model, mask=MASK, before=[CLS], after=[SEP], length=x.shape[1])


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "steps", "rate"), [("BERT", 1500, 6e-3), ("ModernBERT", 1500, 4e-3), ("DiffusionGemma", 2000, 2e-3)]
)
def test_a_model_that_knows_its_text_by_heart_is_said_to_reproduce_it(name, steps, rate):
    """As many sequences of the same kind that it never saw are the control; half a minute each."""
    x, unseen = texts(5), texts(6)
    report = probe(
        learnt(name, x, steps, rate), suspect=x, unseen=unseen, extracted=20, generated=40, draws=4, steps=12, rng=0
    )
    assert report.verdict == "reproduces", report.reasons
