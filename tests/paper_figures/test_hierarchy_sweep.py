"""The sweep on the Random Hierarchy Model: every trained network lies between the two exact limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bridges import DiffusionSystem
from paper_figures.measure import hierarchy
from paper_figures.measure.hierarchy import GENERALIZATION, MEMORIZATION, Measured
from paper_figures.measure.networks import is_row
from paper_figures.presets import PRESETS
from paper_figures.workspace import Workspace
from uddm import EmpiricalBayes, UniformProcess
from uddm.config import TreeUNetConfig


@pytest.fixture(scope="module")
def recovery(tmp_path_factory):
    """Recovery by system, size and split on the first grammar of the laptop preset, and the entropy gap, of a network
    that is wider and trained for longer."""
    ws, laptop = Workspace(tmp_path_factory.mktemp("sweep"), "smoke"), PRESETS["laptop"].hierarchy
    sizes = dict.fromkeys((16, 64, 128, 1024, 16384), 1500)
    recipe = replace(laptop.recipes["tree network"], network=TreeUNetConfig(2, branching=2, depth=4), sizes=sizes)
    longer = replace(laptop, recipes={"tree network": recipe}, sequences=1000)
    ws.preset = replace(PRESETS["smoke"], hierarchy=longer)
    main = hierarchy.networks(ws)[0]

    def measured(system, size):
        case = next(case for case in hierarchy.sweep(ws, system) if case.size == size)
        return hierarchy.measured(ws, case).sel(estimate="value")

    return measured, main


@pytest.mark.long
def test_the_network_goes_from_one_limit_to_the_other(recovery):
    """Standard errors of the recoveries are below .01 (1000 strings); margins are those of the claim, not of noise."""
    measured, main = recovery
    known = measured(GENERALIZATION, 16).recovery.sel(split="test").item()
    for size, margin in ((16, 0.05), (64, 0.15)):
        network, memory = measured(main, size).recovery, measured(MEMORIZATION, size).recovery
        assert abs(network.sel(split="train") - memory.sel(split="train")) < margin
        assert network.sel(split="test") < known - 0.05
    assert abs(measured(main, 1024).recovery - known).max() < 0.03


@pytest.mark.long
def test_the_entropy_gap_peaks_inside(recovery):
    measured, main = recovery
    gaps = {}
    for size in (16, 128, 16384):
        entropy = measured(main, size).entropy
        gaps[size] = (entropy.sel(sequences="generated") - entropy.sel(sequences="train")).item()
    assert gaps[128] > max(gaps[16], gaps[16384]) + 0.01


class Repeater:
    """A system that generates given strings, and answers like the uniform distribution."""

    def __init__(self, strings, symbols):
        self.strings, self.inner = (
            strings,
            DiffusionSystem(EmpiricalBayes(torch.from_numpy(strings), UniformProcess(symbols))),
        )

    def generate(self, n, rng, steps=None):
        return np.resize(self.strings, (n, self.strings.shape[1]))

    def __getattr__(self, name):
        return getattr(self.inner, name)


def test_generated_strings_are_judged_by_the_grammar_and_the_training_set(tmp_path, monkeypatch):
    """A quarter copies of a training string, a quarter other strings of the grammar, half strings that break its
    highest rule: two halves that no symbol has together."""
    ws = Workspace(tmp_path, "smoke")
    case = hierarchy.sweep(ws, hierarchy.networks(ws)[0])[0]
    measured = Measured(ws, case)
    rules, training, test = measured.grammar, measured.strings["all"], measured.strings["test"]
    strings = rules.enumerate()
    n = len(strings)
    joined = np.concatenate([strings.repeat(n, 0)[:, :2], np.tile(strings, (n, 1))[:, 2:]], 1)
    broken = joined[~is_row(joined, strings)]
    made = np.stack([training[0], test[0], *broken[:2]])
    monkeypatch.setattr(Measured, "system", Repeater(made, rules.symbols))
    found = hierarchy.measured(ws, case)
    assert found.copies.sel(estimate="value") == 1 / 4
    np.testing.assert_allclose(found.valid.sel(estimate="value"), [1, 1 / 2])
    probability = dict(zip(map(bytes, strings), np.exp(rules.log_prob(strings)), strict=True))
    assert found.chance.item() == pytest.approx(sum(probability[bytes(x)] for x in training))
