"""The probe of masked models, of which it is known what they remember."""

import re

import numpy as np
import pytest
import torch
from masked_worlds import MaskedRemembering
from probe_worlds import BY_HEART, CHEAP, NOT_AT_ALL, WEAKLY, text

from bridges import MaskedSystem, as_system, probe
from bridges.__main__ import main
from bridges.probing.evidence import PRIMARY
from uddm import HierarchyBayes, HollowMLP, HollowMLPConfig, MaskedProcess, TrainConfig, train
from uddm.corpora import RandomHierarchy
from uddm.files import read_json


def ask(share, **how):
    model = MaskedRemembering(text(40, 0), share)
    return probe(model, suspect=text(40, 0), unseen=text(40, 3), **{**CHEAP, "draws": 2, "extracted": 5, **how})


@pytest.fixture(scope="module")
def by_heart():
    return ask(BY_HEART, extracted=10)


def test_what_is_known_by_heart_is_reproduced(by_heart):
    assert by_heart.verdict == "reproduces"
    assert all(each.passed is not False for each in by_heart.checks)
    said = " ".join(by_heart.reasons)
    assert re.search(r"a quarter of their tokens masked, \d+ of 10 suspect and 0 of 10 unseen", said)
    assert re.search(r"replaced, not masked, .* (9\d|100) % of them come back in suspect and \d+ % in unseen", said)


def test_what_is_known_weakly_is_recognised_and_the_rest_gives_no_evidence():
    weakly, not_at_all = ask(WEAKLY), ask(NOT_AT_ALL)
    assert weakly.verdict == "recognises"
    assert weakly.numbers["areas"][PRIMARY].low > 0.5
    assert not_at_all.verdict == "no evidence"


def test_both_ways_of_recovery_are_scored(by_heart):
    """Masks alter nothing, so that an unstable rate is of the other way alone."""
    side = by_heart.measured["suspect"]
    assert side.attrs["corruption"] == "masked"
    assert np.isnan(side.unstable_at).all()
    assert np.isnan(side.unstable_rate).all()
    assert "unstable_rate" not in by_heart.numbers["areas"]
    assert side.retrieval.count() == 10
    assert side.retrieval.mean() > 0.9 > 0.1 > side.retrieval_unstable.mean()
    assert by_heart.numbers["areas"]["retrieval"].value > 0.9
    assert np.isfinite(side.bound).all()
    assert (side.corrupted.values == 12).mean() == pytest.approx(0.25, abs=0.05)


def test_checks_that_masks_make_needless(by_heart):
    found = {check.name: check for check in by_heart.checks}
    assert found["own token"].passed
    assert "cannot be copied" in found["own token"].detail
    assert found["precision"].passed is None
    assert found["sharpness"].passed


def test_the_page_speaks_of_masks(by_heart, tmp_path):
    page = by_heart.write(tmp_path).read_text()
    for said in (
        "was masked at random",
        "masked and restored",
        "there is no such rate",
        "one position after the other",
    ):
        assert said in page, said
    assert "left alone, but changed" not in page
    kinds = {kind for passage in by_heart.passages for _, kind in passage["tokens"]}
    assert kinds == {"stable", "recovered"} | ({"failed"} & kinds)


@pytest.mark.long
def test_fewer_passes_do_for_a_verdict():
    model = MaskedSystem(MaskedRemembering(text(40, 0), BY_HEART), passes=6)
    found = probe(model, suspect=text(40, 0), unseen=text(40, 3), **{**CHEAP, "draws": 2, "extracted": 4})
    assert found.verdict == "reproduces"
    assert found.record["system"]["passes"] == 6


GRAMMAR = RandomHierarchy(symbols=8, rules=4, depth=3, seed=0)  # 8 tokens, 131,072 strings
STRINGS = GRAMMAR.unique(2**14 + 100, rng=0)
UNSEEN = STRINGS[2**14 :]


def trained(strings, folder, *, steps, hidden_dim):
    torch.manual_seed(0)
    shape = {"length": 8, "hidden_dim": hidden_dim, "blocks": 2, "cond_dim": 16, "embed_dim": 16}
    network = HollowMLP(HollowMLPConfig(8, **shape, noise="masked", schedule="linear"))
    recipe = TrainConfig(steps=steps, batch_size=64, learning_rate=3e-3, warmup=20, ema=0.98, decay="cosine")
    return train(network, torch.as_tensor(strings), recipe, folder, progress=None)


def test_a_small_network_that_learnt_its_strings(tmp_path, run_command):
    """Its entropies are those of the strings, enumerated, within 0.1 nats a token; the probe says what it learnt."""
    x = STRINGS[:24]
    trained(x, tmp_path / "run", steps=200, hidden_dim=64).save_pretrained(tmp_path / "model")
    system = as_system(tmp_path / "model")
    assert type(system) is MaskedSystem
    others = [[x[(np.delete(x, l, 1) == np.delete(row, l)).all(1), l] for l in range(8)] for row in x]
    counts = np.array([[np.bincount(tokens, minlength=8) for tokens in row] for row in others])
    p = counts / counts.sum(-1, keepdims=True)
    exact = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(-1)
    assert np.abs(system.conditional(x, 0.01).entropy() - exact).mean() < 0.1
    how = {"extracted": 6, "generated": 10, "draws": 2, "steps": 8, "rng": 0}
    assert probe(system, suspect=x, unseen=UNSEEN[:24], **how).verdict == "reproduces"
    words = ["--out", tmp_path / "probe", "--generated", 8, "--steps", 4]
    done = run_command(main, "probe", tmp_path / "model", *words, "--passes", 4)
    assert done.stdout.startswith("cannot say")
    assert "own token: passed. A token is masked" in done.stdout
    assert read_json(tmp_path / "probe" / "report.json")["manifest"]["system"]["passes"] == 4
    assert "`passes`" in run_command(main, "probe", tmp_path / "model", *words, "--passes", 9).stderr


@pytest.mark.long
def test_networks_of_few_and_of_many_strings_are_told_apart(tmp_path):
    """Trained alike on 64 and on 16,384 strings. Of many, entropies of unseen strings go with those of the grammar."""
    how = {"unseen": UNSEEN, "extracted": 30, "generated": 50, "draws": 4, "steps": 16, "rng": 0}
    networks = {n: trained(STRINGS[:n], tmp_path / str(n), steps=800, hidden_dim=128) for n in (64, 2**14)}
    few, many = (probe(network, suspect=STRINGS[: min(n, 100)], **how) for n, network in networks.items())
    assert few.verdict == "reproduces"
    assert many.verdict == "no evidence"
    rates = [r.measured["suspect"].retrieval.mean() for r in (few, many)]
    assert rates[0] > 0.6 > 0.4 > rates[1]
    laws = (as_system(m) for m in (HierarchyBayes(GRAMMAR, MaskedProcess(8)), *networks.values()))
    exact, of_few, of_many = (system.conditional(UNSEEN, 0.01).entropy().ravel() for system in laws)
    assert np.corrcoef(of_many, exact)[0, 1] > 0.4 > 0.2 > np.corrcoef(of_few, exact)[0, 1]
