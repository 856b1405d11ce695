"""Chains of U-turns with the exact denoiser of a hierarchical language: how long each level remembers the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

import bridges
import uddm
from amtheory.intervals import student
from paper_figures.cells import Cell, stack
from paper_figures.task import Task
from paper_figures.workspace import Workspace

if TYPE_CHECKING:
    from uddm.corpora import RandomHierarchy

COST = 30.0
"""Of the chains of one grammar at one signal level, where a training step of a language model is 1."""


def grammars(ws: Workspace) -> list[int]:
    """Their seeds."""
    return list(range(ws.preset.relaxation.grammars))


def tasks(ws: Workspace) -> list[Task]:
    alphas = ws.preset.relaxation.alphas
    return [Task(cells, (alpha, grammar), COST) for alpha in alphas for grammar in grammars(ws)]


def cells(ws: Workspace, alpha_and_grammar: tuple[float, int]) -> list[Cell]:
    return [chains(ws, *alpha_and_grammar)]


def chains(ws: Workspace, alpha: float, grammar: int) -> Cell:
    """The chains of one grammar at one signal level: `relaxation` C(k) (step, height, estimate), and its sum over steps
    `relaxation_time` (height, estimate), with bootstrap intervals over chains."""
    settings = ws.preset.relaxation
    rules: RandomHierarchy = uddm.corpora.RandomHierarchy(**settings.grammar, seed=grammar)

    def make() -> xr.Dataset:
        denoiser = uddm.HierarchyBayes(rules, uddm.UniformProcess(rules.symbols, "linear"))
        start = rules.sample(settings.chains, rng=ws.keyed_seed("start", grammar))
        result = bridges.chains(
            bridges.UTurn(denoiser, 1 - alpha),
            start,
            settings.turns,
            grammar=rules,
            rng=ws.keyed_seed("chains", grammar),
        )
        times = bridges.relaxation_times(result, rng=ws.seed)[["relaxation_time"]]
        return times.assign(relaxation=result.relaxation).drop_attrs()

    key = {"grammar": rules.to_dict(), "alpha": alpha, "turns": settings.turns, "chains": settings.chains}
    return Cell(f"relaxation-{alpha:g}-{grammar}", key, make)


def measurements(ws: Workspace) -> xr.Dataset:
    """Over (alpha, ..., estimate), with Student's intervals over grammars: `relaxation` by step and height,
    `relaxation_time` by height, and `versus_tokens`, its difference to that of the tokens, paired within grammars."""

    def at(alpha: float) -> xr.Dataset:
        found = [ws.get(chains(ws, alpha, grammar)).sel(estimate="value", drop=True) for grammar in grammars(ws)]
        curves: list[xr.DataArray] = [one["relaxation"] for one in found]
        each = np.stack([one["relaxation_time"].values for one in found], axis=1)
        times = xr.DataArray(each, {"height": found[0].height}, ("height", "grammar"))
        differences = times - times.isel(height=0, drop=True)
        over_grammars = {
            "relaxation_time": student(times, "grammar").transpose("height", "estimate"),
            "versus_tokens": student(differences, "grammar").transpose("height", "estimate"),
            "relaxation": student(xr.concat(curves, "grammar"), "grammar"),
        }
        return xr.Dataset(over_grammars)

    return stack(at, alpha=ws.preset.relaxation.alphas)
