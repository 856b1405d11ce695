"""The smallest figure that has tasks: the overlap of a Hopfield memory with what it retrieves, at two loads."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import amtheory
from paper_figures.cells import Cell
from paper_figures.task import Task

ORDER, TITLE, CAPTION, EXPECTED = 100, "Tiny", "Overlap after retrieval.", "Nothing."
LOADS = (0.1, 0.5)


def _overlap(ws, load):
    rng = np.random.default_rng(ws.keyed_seed(f"{load}"))
    patterns = amtheory.patterns.random_patterns(int(40 * load), 40, rng=rng)
    noisy = amtheory.patterns.flip(patterns, 4, rng=rng)
    found, _ = amtheory.retrieve(amtheory.Hopfield().fit(patterns), noisy, rng=rng)
    return xr.Dataset({"overlap": ("pattern", (found * patterns).mean(1))})


def cells(ws, load):
    return [Cell("tiny", {"load": load}, lambda: _overlap(ws, load))]


def tasks(ws):
    return [Task(cells, load, 1.0) for load in LOADS]


def compute(ws):
    means = [float(ws.get(cell).overlap.mean()) for load in LOADS for cell in cells(ws, load)]
    return xr.Dataset({"overlap": ("load", means)}, {"load": list(LOADS)})


def plot(ds):
    return Figure(figsize=(1, 1))


def findings(ds):
    return [f"{ds.overlap.values[0]:.3f}"]
