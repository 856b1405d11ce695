"""Networks trained on strings of the Random Hierarchy Model, beside the two exact limits they must lie between: Bayes
inference on their training set, and on the grammar itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import xarray as xr

from bridges import DiffusionSystem, MemorySystem, conditional_entropy, token_recovery
from bridges.intervals import bootstrap_mean, wilson
from paper_figures.workspace import Workspace, is_row, slug, stack
from uddm import EmpiricalBayes, TrainConfig, UniformProcess, train
from uddm.corpora import RandomHierarchy
from uddm.denoisers import NETWORKS, HierarchyBayes, Network
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


def grammars(ws: Workspace, system: str) -> list[int]:
    """Grammars on which a system is measured: the main network and the limits on all, others on the first."""
    every = list(range(ws.preset.hierarchy.grammars))
    return every if system in (*LIMITS, networks(ws)[0]) else every[:1]


def sizes(ws: Workspace, system: str) -> list[int]:
    recipes = ws.preset.hierarchy.recipes
    return list(recipes[system if system in recipes else networks(ws)[0]].sizes)


def tasks(ws: Workspace) -> list[tuple[Any, Any, float]]:
    """(function, argument, expected cost) of each independent piece of work."""
    recipes = ws.preset.hierarchy.recipes
    return [
        (run, (system, grammar, size), COST * recipes[system].sizes[size] if system in recipes else 50.0)
        for system in (*recipes, *LIMITS)
        for grammar in grammars(ws, system)
        for size in sizes(ws, system)
    ]


def run(ws: Workspace, what: tuple[str, int, int], line: int | None = None) -> None:
    cell(ws, *what, line=line)


def cell(ws: Workspace, system: str, grammar: int, size: int, line: int | None = None) -> xr.Dataset:
    """Everything measured on one system:

    - `recovery` (split, estimate): tokens corrupted at the preset's noise that are restored;
    - `entropy` (sequences, estimate): conditional entropy at t = 1e-5 in nats per token;
    - `valid` (level, estimate): tuples of generated strings that the grammar has, level 1 being that of the tokens;
    - `copies` (estimate): generated strings that are training strings, and `chance` of it for a sampler of the grammar.
    """
    settings = ws.preset.hierarchy
    steps = None if system in LIMITS else settings.steps  # None: exact joint samples

    def make() -> xr.Dataset:
        rules, training, test = data(ws, grammar, size)
        measured = _system(ws, system, grammar, size, line)
        rng = np.random.default_rng([ws.seed, grammar, size])
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
        return xr.merge(parts, combine_attrs="drop")

    return ws.cell(f"hierarchy-{slug(system)}-{grammar}-{size}", _origin(ws, system, grammar, size), make)


def data(ws: Workspace, grammar: int, size: int) -> tuple[RandomHierarchy, np.ndarray, np.ndarray]:
    """A grammar, `size` distinct training strings (nested subsets), and test strings that no training set holds."""
    settings = ws.preset.hierarchy
    rules = RandomHierarchy(**settings.grammar, seed=grammar)
    largest = max(max(recipe.sizes) for recipe in settings.recipes.values())
    strings = rules.unique(largest + settings.sequences, rng=keyed_seed(ws.seed, "strings", grammar))
    return rules, strings[:size], strings[largest:]


def measurements(ws: Workspace, system: str) -> xr.Dataset:
    """The cells of a system over (grammar, dataset_size, ...)."""
    axes = {"grammar": grammars(ws, system), "dataset_size": sizes(ws, system)}
    return stack(lambda grammar, dataset_size: cell(ws, system, grammar, dataset_size), **axes)


def _system(ws: Workspace, system: str, grammar: int, size: int, line: int | None) -> MemorySystem:
    rules, training, _ = data(ws, grammar, size)
    x, process = torch.from_numpy(training), UniformProcess(rules.symbols)
    if system == MEMORIZATION:
        return DiffusionSystem(EmpiricalBayes(x, process))
    if system == GENERALIZATION:
        return DiffusionSystem(HierarchyBayes(rules, process))
    network, config, training_config = _configs(ws, system, rules, size)
    torch.manual_seed(keyed_seed(ws.seed, "weights", grammar))
    place = ws.place(f"train-{slug(system)}-{grammar}-{size}", _origin(ws, system, grammar, size))
    return DiffusionSystem(train(network(config), x, training_config, place, progress=line))


def _configs(ws: Workspace, system: str, rules: RandomHierarchy, size: int) -> tuple[type[Network], Any, TrainConfig]:
    recipe = ws.preset.hierarchy.recipes[system]
    network = NETWORKS[recipe.network]
    config = network.Config(rules.symbols, length=rules.length, **recipe.model)
    steps = recipe.sizes[size]
    return network, config, TrainConfig(steps=steps, seed=ws.seed, checkpoint_every=steps, **recipe.training)


def _origin(ws: Workspace, system: str, grammar: int, size: int) -> dict[str, Any]:
    """What a trained system and its measurements depend on besides the seed."""
    settings = asdict(ws.preset.hierarchy)
    recipes = settings.pop("recipes")
    return {**settings, "system": system, "recipe": recipes.get(system), "grammar": grammar, "strings": size}
