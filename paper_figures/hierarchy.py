"""Networks trained on strings of the Random Hierarchy Model, beside the two exact limits they must lie between: Bayes
inference on their training set, and on the grammar itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from amtheory.intervals import bootstrap_mean, wilson
from bridges import DiffusionSystem, MemorySystem, conditional_entropy, substring_memorization, token_recovery
from paper_figures.workspace import Task, Workspace, is_row, slug, stack
from uddm import EmpiricalBayes, TrainConfig, UniformProcess
from uddm.corpora import RandomHierarchy
from uddm.denoisers import NETWORKS, HierarchyBayes
from uddm.streams import keyed_seed

MEMORIZATION, GENERALIZATION = "memorization limit", "generalization limit"
LIMITS = (MEMORIZATION, GENERALIZATION)
SPLITS = ("train", "test")
SEQUENCES = ("train", "test", "generated")
COST = 0.3
"""Of a training step, where one of a language model is 1."""


def networks(ws: Workspace) -> list[str]:
    """The trained networks, the main one first."""
    return list(ws.preset.hierarchy.recipes)


class Case(NamedTuple):
    """A system, the name of the rule probabilities, the grammar's seed, the number of training strings, and that of
    training steps."""

    system: str
    rules: str
    grammar: int
    size: int
    steps: int = 0


def sweep(ws: Workspace, system: str) -> list[Case]:
    """A system at all its training-set sizes, with the first rule probabilities: the main network and the limits on all
    grammars, others on the first."""
    settings, main = ws.preset.hierarchy, networks(ws)[0]
    rules, grammars = next(iter(settings.rules)), settings.grammars if system in (*LIMITS, main) else 1
    if system in LIMITS:
        return [Case(system, rules, seed, size) for seed in range(grammars) for size in settings.recipes[main].sizes]
    sizes = settings.recipes[system].sizes
    return [Case(system, rules, seed, size, steps) for seed in range(grammars) for size, steps in sizes.items()]


def course(ws: Workspace, rules: str) -> list[Case]:
    """The main network after ever longer training on the same number of strings."""
    settings, main = ws.preset.hierarchy, networks(ws)[0]
    size, lengths = settings.course
    return [Case(main, rules, seed, size, steps) for seed in range(settings.grammars) for steps in lengths]


def sweep_tasks(ws: Workspace) -> list[Task]:
    return [_task(case) for system in (*networks(ws), *LIMITS) for case in sweep(ws, system)]


def course_tasks(ws: Workspace) -> list[Task]:
    """With the main network's part of the sweep."""
    return [
        *(_task(case) for case in sweep(ws, networks(ws)[0])),
        *(_task(case) for rules in ws.preset.hierarchy.rules for case in course(ws, rules)),
    ]


def _task(case: Case) -> Task:
    return run, case, 50 + COST * case.steps


def run(ws: Workspace, case: Case, line: int | None = None) -> None:
    cell(ws, case, line)


def cell(ws: Workspace, case: Case, line: int | None = None) -> xr.Dataset:
    """Everything measured on one system:

    - `recovery` (split, estimate): tokens corrupted at the preset's noise that are restored;
    - `entropy` (sequences, estimate): conditional entropy at t = 1e-5 in nats per token;
    - `valid` (level, estimate): tuples of generated strings that the grammar has, level 1 being that of the tokens;
    - `copies` (estimate): generated strings that are training strings, and `chance` of it for a sampler of the grammar;
    - `memorized`, `overproduced`, `probability` of `bridges.substring_memorization`.
    """
    settings = ws.preset.hierarchy
    steps = None if case.system == MEMORIZATION else settings.steps  # None: joint samples, which differ by no more than
    # noise here, and whose cost does not grow with the number of steps

    def make() -> xr.Dataset:
        rules, training, test = data(ws, case)
        measured = _system(ws, case, rules, training, line)
        rng = np.random.default_rng([ws.seed, case.grammar, case.size])
        generated = measured.generate(settings.sequences, rng, steps=steps)
        samples = {"train": training[: settings.sequences], "test": test, "generated": generated}

        def recovery(split: str) -> xr.Dataset:
            x = np.resize(samples[split], test.shape)  # few training strings are corrupted several times
            found = token_recovery(measured, x, noise=settings.noise, steps=steps, rng=ws.seed)
            return found[["recovery"]].squeeze("noise", drop=True)

        def entropy(sequences: str) -> xr.Dataset:
            found = conditional_entropy(measured, samples[sequences], rng=ws.seed)
            return found[["mean_entropy"]].rename(mean_entropy="entropy")

        valid = [bootstrap_mean(level, rng) for level in rules.level_validity(generated).T]
        generation = {
            "valid": (("level", "estimate"), np.array(valid)),
            "copies": ("estimate", np.array(wilson(is_row(generated, training).sum(), len(generated)))),
            "chance": np.exp(rules.log_prob(training)).sum(),
        }
        levels = {"level": range(1, rules.depth + 1)}
        parts = [stack(recovery, split=SPLITS), stack(entropy, sequences=SEQUENCES), xr.Dataset(generation, levels)]
        parts.append(substring_memorization(rules, training, generated, rng=ws.seed))
        return xr.merge(parts, combine_attrs="drop")

    return ws.cell(_name("hierarchy", case), _origin(ws, case), make)


def data(ws: Workspace, case: Case) -> tuple[RandomHierarchy, np.ndarray, np.ndarray]:
    """A grammar, distinct training strings (nested subsets), and test strings that no training set holds: with unequal
    rule probabilities these are rarer than the first, as all are drawn without repetition."""
    settings = ws.preset.hierarchy
    rules = RandomHierarchy(**settings.grammar, **settings.rules[case.rules], seed=case.grammar)
    largest = _largest(ws)
    strings = rules.unique(largest + settings.sequences, rng=keyed_seed(ws.seed, "strings", case.grammar))
    return rules, strings[: case.size], strings[largest:]


def measurements(ws: Workspace, every: list[Case], along: str) -> xr.Dataset:
    """The cells of the cases over (grammar, `along`, ...), a field of `Case`."""
    cases = {(case.grammar, getattr(case, along)): case for case in every}
    axes = {"grammar": sorted({g for g, _ in cases}), along: sorted({x for _, x in cases})}
    return stack(lambda **at: cell(ws, cases[at["grammar"], at[along]]), **axes)


def _system(ws: Workspace, case: Case, rules: RandomHierarchy, training: np.ndarray, line: int | None) -> MemorySystem:
    x, process = torch.from_numpy(training), UniformProcess(rules.symbols)
    if case.system == MEMORIZATION:
        return DiffusionSystem(EmpiricalBayes(x, process))
    if case.system == GENERALIZATION:
        return DiffusionSystem(HierarchyBayes(rules, process))
    recipe = ws.preset.hierarchy.recipes[case.system]
    network = NETWORKS[recipe.network]
    torch.manual_seed(keyed_seed(ws.seed, "weights", case.grammar))
    model = network(network.Config(rules.symbols, length=rules.length, **recipe.model))
    config = TrainConfig(steps=case.steps, seed=ws.seed, checkpoint_every=case.steps, **recipe.training)
    return DiffusionSystem(ws.trained(_name("train", case), _origin(ws, case), model, training, config, progress=line))


def _name(what: str, case: Case) -> str:
    return "-".join([what, *(slug(str(part)) for part in case)])


def _origin(ws: Workspace, case: Case) -> dict[str, Any]:
    """What a trained system and its measurements depend on besides the seed."""
    settings = asdict(ws.preset.hierarchy)
    recipe, rules = settings.pop("recipes").get(case.system), settings.pop("rules")[case.rules]
    del settings["course"]
    return {**settings, "recipe": recipe, "rules": rules, "case": case, "largest": _largest(ws)}


def _largest(ws: Workspace) -> int:
    return max(max(recipe.sizes) for recipe in ws.preset.hierarchy.recipes.values())
