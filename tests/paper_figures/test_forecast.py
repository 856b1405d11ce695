"""What a run is going to take."""

import re
from dataclasses import replace

import pytest
import torch

from paper_figures import forecast as module
from paper_figures.figure import choose
from paper_figures.forecast import forecast
from paper_figures.measure import hierarchy, language
from paper_figures.measure.networks import Training, forward_flop, parameters, training_flop
from paper_figures.presets import LAPTOP, SMOKE, Recipe
from paper_figures.sweep import execute, plan
from paper_figures.workspace import Workspace
from uddm import DiT, DiTConfig, HollowMLP, HollowMLPConfig, TrainConfig

HOLLOW = HollowMLPConfig(7, length=5, hidden_dim=8, blocks=2, embed_dim=4, cond_dim=4, window=2)


def test_operations_of_a_hollow_network_by_hand():
    """For each token: 2 window + 1 embeddings to the width, two blocks of expansion 2, the read-out; the noise level
    once a sequence, to the width and to every modulation."""
    d, c, cond = 8, 5 * 4, 4
    each = c * d + 2 * (2 * d * 2 * d) + d * 7
    level = 256 * cond + cond * cond + cond * d + 2 * cond * 3 * d + cond * 2 * d
    assert forward_flop(HOLLOW) == 2 * (5 * each + level)


def test_parameters_are_those_of_the_network():
    for network in (HollowMLP(HOLLOW), DiT(DiTConfig(11, length=6, hidden_dim=16, blocks=1, heads=2, cond_dim=4))):
        assert parameters(network.config) == sum(p.numel() for p in network.parameters())


def test_the_published_sizes():
    """Table II.9 of the theory: 23.66, 139.29 and 384.04 million."""
    counts = [parameters(shape(30522)) / 1e6 for shape in (DiTConfig.tiny, DiTConfig.small, DiTConfig.medium)]
    assert [round(count, 2) for count in counts] == [23.66, 139.29, 384.04]


def test_a_training_is_three_forward_passes_for_each_sequence():
    training = Training(Recipe(HOLLOW, TrainConfig(batch_size=3), {}), vocab_size=7, length=5, steps=10, seed=0)
    assert training_flop(training) == 3 * 10 * 3 * forward_flop(HOLLOW)


def test_the_laptop_preset_trains_no_more_than_promised(tmp_path):
    """25 TFLOP; and as many trainings as its recipes say."""
    ws = Workspace(tmp_path, LAPTOP)
    products = {name: figure for name, figure in choose().items() if name not in LAPTOP.by_name}
    told = forecast(ws, plan(ws, products).tasks, 2)
    trainings, tflop = re.search(r"(\d+) trainings of ([\d.]+) TFLOP", told).groups()
    recipes = [*LAPTOP.language.recipes.values(), *LAPTOP.language.widths.values()]
    text = sum(len(recipe.sizes) * recipe.seeds for recipe in recipes)
    assert int(trainings) > text
    assert float(tflop) <= 25


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_flop_per_second", lambda: 1e9)
    ws = Workspace(tmp_path, SMOKE)
    recipe = replace(SMOKE.language.recipes["hollow network"], sizes={32: 5}, seeds=1)
    few = {"recipes": {"hollow network": recipe}, "widths": {}, "variants": {}, "sequences": 4, "generated": 4}
    ws.preset = replace(SMOKE, language=replace(SMOKE.language, **few))
    return ws


def test_what_is_there_is_not_counted(workspace):
    tasks = language.main_tasks(workspace)
    assert forecast(workspace, tasks, 1).startswith("1 of 1 tasks are left, 1 trainings of")
    list(execute(workspace, tasks, jobs=1, done=lambda task, seconds: None))
    assert forecast(workspace, tasks, 1) == (
        "0 of 1 tasks are left, 0 trainings of 0 TFLOP among them: expect about 0 s with 1 process"
    )


def test_the_time_is_that_of_the_costs_shared_by_processes(workspace):
    task = hierarchy.main_tasks(workspace)[0]
    tasks = [replace(task, cost=cost) for cost in (200.0, 100.0, 100.0)]
    seconds = [re.search(r"about (\d+) min (\d+) s", forecast(workspace, tasks, jobs)).groups() for jobs in (1, 2, 8)]
    assert [60 * int(m) + int(s) for m, s in seconds] == [312, 156, 156], "never less than the longest"


def test_no_time_is_told_of_a_gpu(workspace):
    workspace.device = "cuda"
    assert "expect" not in forecast(workspace, language.main_tasks(workspace), 1)


def test_the_speed_is_measured():
    torch.manual_seed(0)
    assert 1e7 < module._flop_per_second() < 1e13
