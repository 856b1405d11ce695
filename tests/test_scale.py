"""docs/scale.md: its numbers are those of the script, its formulas those of what is counted and stored in small."""

import math
import re

import numpy as np
import pytest

from benchmarks import scale
from benchmarks.gpu.speed import model_flops
from bridges import as_system, conditional_entropy, token_recovery
from paper_figures.cells import CLASSIC, as_bytes
from paper_figures.measure.networks import forward_flop
from uddm import DiTConfig, EmpiricalBayes, UniformProcess

SMALL = DiTConfig(97, length=8, hidden_dim=64, blocks=2, heads=2, cond_dim=8)


def test_the_table_of_the_page_is_what_the_script_prints(repository):
    page = (repository / "docs" / "scale.md").read_text(encoding="utf-8")
    assert scale.table(scale.costs(scale.Sweep())) in page
    assert scale.Sweep().models == 162


def test_the_sizes_of_what_is_stored_are_those_that_are_said():
    """But for headers, of below 200 bytes a tensor: 4 for each number of the model, 16 of the state."""
    found = scale.stored(SMALL)
    tensors = len(scale.trained(SMALL).state_dict())
    for name, times in (("model", 1), ("state", 4)):
        assert 0 <= found[f"{name}, bytes"] - found[f"{name}, said"] < 200 * times * (tensors + 3)


def test_the_sizes_of_cells_are_those_that_are_said(monkeypatch):
    """But for manifests and rates, of a few kilobytes."""
    monkeypatch.setattr(scale, "LENGTH", 16)
    x = np.random.default_rng(0).integers(4, size=(500, 16))
    system = as_system(EmpiricalBayes(x, UniformProcess(4)))
    recovery, entropy = scale.cell_bytes(scale.Sweep(sequences=500))
    found = token_recovery(system, x, noise=0.5, rng=0)
    assert 0 < len(as_bytes(narrowed(found), CLASSIC)) - recovery < 5000
    found = conditional_entropy(system, x, rng=0).assign(tokens=(("sample", "position"), x))
    assert 0 < len(as_bytes(narrowed(found), CLASSIC)) - 500 * entropy < 10_000


def narrowed(dataset):
    """With integers of 32 bits, as classic netCDF keeps them."""
    return dataset.map(lambda values: values.astype(np.int32) if values.dtype == np.int64 else values)


@pytest.mark.parametrize("name", scale.NETWORKS)
def test_operations_are_those_of_the_formula(name):
    """Torch's count beside that by hand, which leaves out the conditioning, once a sequence."""
    config = scale.shape(name)
    counted = (1 + scale.BACKWARD) * forward_flop(config)
    assert 1 <= counted / (model_flops(config) * scale.LENGTH) < 1.01


def test_costs_are_proportional_to_what_they_should_be():
    sweep, half = scale.Sweep(), scale.Sweep(mfu=scale.Sweep.mfu / 2)
    key = "training, GPU-hours"
    assert scale.costs(half)["all"][key] == pytest.approx(2 * scale.costs(sweep)["all"][key])
    by_hand = 54 * 1e6 * 512 * scale.BACKWARD * 1.5 * forward_flop(scale.shape("tiny")) / (989e12 * 0.35) / 3600
    assert scale.costs(sweep)["tiny"][key] == pytest.approx(by_hand)


def test_a_core_is_measured():
    found = scale.measured("tiny", batch=2, rounds=1, config=SMALL)
    assert all(0 < value < math.inf for value in found.values())
    assert set(re.findall(r"[a-z]+, GFLOP/s", " ".join(found))) == {"training, GFLOP/s", "measuring, GFLOP/s"}
