"""Chains of U-turns with the exact denoiser of a hierarchical language: how long each level remembers the start."""

from __future__ import annotations

from dataclasses import asdict

import xarray as xr

from amtheory.intervals import student
from bridges.uturn import UTurn, chains, relaxation_times
from paper_figures.workspace import Task, Workspace
from uddm import UniformProcess
from uddm.corpora import RandomHierarchy
from uddm.denoisers import HierarchyBayes
from uddm.streams import keyed_seed


def tasks(ws: Workspace) -> list[Task]:
    return [(run, alpha, 200.0) for alpha in ws.preset.relaxation.alphas]


def run(ws: Workspace, alpha: float, line: int | None = None) -> None:
    cell(ws, alpha)


def cell(ws: Workspace, alpha: float) -> xr.Dataset:
    """At one signal level: `relaxation` C(k) (step, height, estimate) with Student's intervals over grammars, and
    `relaxation_time` and `versus_tokens` (height, estimate) of `bridges.uturn.relaxation_times`."""
    settings = ws.preset.relaxation

    def make() -> xr.Dataset:
        results = []
        for seed in range(settings.grammars):
            grammar = RandomHierarchy(**settings.grammar, seed=seed)
            uturn = UTurn(HierarchyBayes(grammar, UniformProcess(grammar.symbols, "linear")), 1 - alpha)
            start = grammar.sample(settings.chains, rng=keyed_seed(ws.seed, "start", seed))
            own = keyed_seed(ws.seed, "chains", seed)
            results.append(chains(uturn, start, settings.turns, grammar=grammar, rng=own))
        values: list[xr.DataArray] = [result["relaxation"].sel(estimate="value", drop=True) for result in results]
        times = relaxation_times(*results, rng=ws.seed)
        return times.assign(relaxation=student(xr.concat(values, "grammar"), "grammar")).drop_attrs()

    return ws.cell(f"relaxation-{alpha:g}", {**asdict(settings), "alpha": alpha}, make)
