"""Networks trained under several noises on the same data, and asked as memories by one rule that knows of none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import xarray as xr

from paper_figures.cells import Cell, stack
from paper_figures.measure import hierarchy, language, nearest
from paper_figures.presets import Recipe
from paper_figures.task import Task
from paper_figures.workspace import Workspace

TEXT, STRINGS = "text", "strings"
Measured = language.Measured | hierarchy.Measured


class Case(NamedTuple):
    """Text or strings, the noise, or one of the exact limits of strings, the size of the training set, and the repeat:
    a training on text, a grammar."""

    data: str
    kind: str
    size: int
    repeat: int


def kinds(ws: Workspace) -> list[str]:
    """The noises, that of the main networks first."""
    return list(ws.preset.noises.kinds)


def cases(ws: Workspace, data: str, kind: str) -> list[Case]:
    """All sizes and repeats; none of published networks."""
    sizes = ws.preset.noises.strings if data == STRINGS else ws.preset.noises.text_sizes
    recipe = _main(ws, data)
    repeats = ws.preset.hierarchy.grammars if data == STRINGS else recipe.seeds if recipe else 0
    return [Case(data, kind, size, repeat) for size in sizes for repeat in range(repeats)]


def tasks(ws: Workspace) -> list[Task]:
    every = [*kinds(ws), *hierarchy.LIMITS]
    return [
        Task(cells, case, _cost(ws, case))
        for data, names in ((TEXT, kinds(ws)), (STRINGS, every))
        for kind in names
        for case in cases(ws, data, kind)
    ]


def measured(ws: Workspace, case: Case) -> Measured:
    """The system of a case; under the first noise it is that of the sweeps."""
    (data, kind, size, repeat), rules = case, next(iter(ws.preset.hierarchy.rules))
    if kind in hierarchy.LIMITS:
        return hierarchy.Measured(ws, hierarchy.Case(kind, rules, repeat, size))
    recipe, main = _recipe(ws, data, kind), _name(ws, data)
    if data == TEXT:
        return language.Measured(ws, language.Case(main, size, repeat), recipe)
    return hierarchy.Measured(ws, hierarchy.Case(main, rules, repeat, size, recipe.sizes[size]), recipe)


def cells(ws: Workspace, case: Case) -> list[Cell]:
    """Retrieval; and of networks recovery by their own process, entropies and what they generate."""
    found = measured(ws, case)
    if case.kind in hierarchy.LIMITS:
        return [found.retrieval()]
    if isinstance(found, hierarchy.Measured):
        return [found.retrieval(), found.recovery(), found.generation()]
    noise = nearest(ws.preset.language.noise)
    return [
        found.retrieval(),
        *(found.recovery(split, noise) for split in language.SPLITS),
        *(found.entropy(sequences) for sequences in language.SEQUENCES),
    ]


def over_sizes(ws: Workspace, data: str, kind: str, make: Callable[[Any], xr.Dataset]) -> xr.Dataset:
    """`make(measured)` over (size, repeat)."""
    found = {(case.size, case.repeat): measured(ws, case) for case in cases(ws, data, kind)}
    sizes, repeats = (sorted({key[place] for key in found}) for place in (0, 1))
    return stack(lambda size, repeat: make(found[size, repeat]), size=sizes, repeat=repeats)


def retrieval(measured: Measured) -> xr.Dataset:
    """`retrieved` and `returned` by split, without their intervals over sequences."""
    return measured.ws.get(measured.retrieval()).sel(estimate="value", drop=True)


def _main(ws: Workspace, data: str) -> Recipe | None:
    """The recipe of the main network; None of a published one."""
    recipes = ws.preset.hierarchy.recipes if data == STRINGS else ws.preset.language.recipes
    recipe = recipes.get(_name(ws, data))
    return recipe if isinstance(recipe, Recipe) else None


def _name(ws: Workspace, data: str) -> str:
    return hierarchy.networks(ws)[0] if data == STRINGS else language.main(ws)


def _recipe(ws: Workspace, data: str, kind: str) -> Recipe:
    recipe = _main(ws, data)
    assert recipe is not None, "there are no cases"
    return replace(recipe, network=replace(recipe.network, **ws.preset.noises.kinds[kind]))


def _cost(ws: Workspace, case: Case) -> float:
    """In training steps of the main network of text."""
    if case.kind in hierarchy.LIMITS:
        return 50
    weight = hierarchy.COST if case.data == STRINGS else 1.0
    return 100 + weight * _recipe(ws, case.data, case.kind).sizes[case.size]
