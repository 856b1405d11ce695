"""Diffusion language models at each training-set size, and their measurements, beside the exact memorization limit."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr

from bridges import MemorySystem, as_system, conditional_entropy, frequency_chance, token_classes, token_recovery
from paper_figures.workspace import Task, Workspace, is_row, slug, stack
from uddm import EmpiricalBayes, TrainConfig, UniformProcess
from uddm.denoisers import NETWORKS, Network
from uddm.streams import keyed_seed

LIMIT = "memorization limit"
"""The system that stands for the empirical-Bayes denoiser of the training set."""
SPLITS = ("train", "test")
CLASS_NOISE = 0.5
"""Noise whose recovered sequences are classified token by token (Fig. 3)."""


def systems(ws: Workspace) -> list[str]:
    """The trained networks, the main one first, and the exact limit."""
    return [*ws.preset.language.recipes, LIMIT]


def main(ws: Workspace) -> str:
    return systems(ws)[0]


def sizes(ws: Workspace, system: str | None = None) -> list[int]:
    """Training-set sizes of a system; the limit, like the main network, has all."""
    recipes = ws.preset.language.recipes
    return list(recipes[system if system in recipes else main(ws)].sizes)


def three_sizes(ws: Workspace) -> list[int]:
    """The smallest, a middle and the largest size."""
    every = sizes(ws)
    return sorted({every[0], every[(len(every) - 1) // 2], every[-1]})


def tasks(ws: Workspace) -> list[Task]:
    trained = [task for system in ws.preset.language.recipes for task in _trainings(ws, system)]
    return [*trained, *((run, (LIMIT, size), 100 + size / 100) for size in sizes(ws))]


def main_tasks(ws: Workspace) -> list[Task]:
    """Those of the main network alone."""
    return _trainings(ws, main(ws))


def _trainings(ws: Workspace, system: str) -> list[Task]:
    return [(run, (system, size), float(steps)) for size, steps in ws.preset.language.recipes[system].sizes.items()]


def run(ws: Workspace, system_and_size: tuple[str, int], line: int | None = None) -> None:
    """Train one network, if it is one, and make every measurement on it."""
    system, size = system_and_size
    if system != LIMIT:
        network(ws, system, size, line)
    for split in SPLITS:
        recovery(ws, system, size, split)
        if system == main(ws):
            greedy_recovery(ws, size, split)
            class_entropy(ws, size, split)
    for sequences in (*SPLITS, "generated"):
        entropy(ws, system, size, sequences)


def network(ws: Workspace, system: str, size: int, line: int | None = None) -> Network:
    """The network trained on the first `size` blocks: read, resumed or trained."""
    network, config, training = _configs(ws, system, size)
    torch.manual_seed(keyed_seed(ws.seed, "weights"))
    return ws.trained(
        f"train-{slug(system)}-{size}",
        _origin(ws, system, size),
        network(config),
        ws.blocks.train(size),
        training,
        tokenizer=ws.tokenizer,
        progress=line,
    )


def greedy_recovery(ws: Workspace, size: int, split: str) -> xr.Dataset:
    """Experiment 1 on the main network: deterministic dynamics told t = 1, whatever the corruption."""
    language = ws.preset.language
    arguments = {
        **{"noise": language.greedy_noise, "start": 1.0, "mode": "posterior_mode"},
        **{"last": "ancestral", "steps": language.greedy_steps},
    }
    return _recovery(ws, main(ws), size, split, "greedy", arguments)


def recovery(ws: Workspace, system: str, size: int, split: str) -> xr.Dataset:
    """Experiment 2: the stochastic reverse process from the time of the corruption."""
    language = ws.preset.language
    steps = None if system == LIMIT else language.steps  # None: exact joint samples
    return _recovery(ws, system, size, split, "recovery", {"noise": language.noise, "steps": steps})


def entropy(ws: Workspace, system: str, size: int, sequences: str) -> xr.Dataset:
    """Experiment 3: conditional entropy at t = 1e-5 of training, test or generated sequences, the sequences themselves
    (`tokens`), and whether each is a training sequence (`copied`)."""
    language = ws.preset.language
    steps = None if system == LIMIT else language.generation_steps
    key = {**_origin(ws, system, size), "measured": _measured(ws), "sequences": sequences, "steps": steps}

    def make() -> xr.Dataset:
        measured = _system(ws, system, size)
        if sequences == "generated":
            x = measured.generate(language.generated, steps=steps, rng=np.random.default_rng([ws.seed, size]))
        else:
            x = _sequences(ws, size, sequences)
        dataset = conditional_entropy(measured, x, rng=ws.seed)
        copied = is_row(x, ws.blocks.train(size))
        return dataset.assign(tokens=(("sample", "position"), x), copied=(("sample",), copied))

    return ws.cell(f"entropy-{slug(system)}-{size}-{sequences}", key, make)


def class_entropy(ws: Workspace, size: int, split: str) -> xr.Dataset:
    """Token entropies at t = 1e-5 of the sequences that Experiment 2 ended in, with the class of each token."""
    language, system = ws.preset.language, main(ws)
    noise = class_noise(ws)
    key = {**_origin(ws, system, size), "measured": _measured(ws), "split": split, "noise": noise, "of": language.noise}

    def make() -> xr.Dataset:
        run = recovery(ws, system, size, split).sel(noise=noise)
        original, corrupted, final = (run[name].values for name in ("original", "corrupted", "final"))
        classes = token_classes(original, corrupted, final)
        return conditional_entropy(_system(ws, system, size), final, classes=classes, rng=ws.seed)

    return ws.cell(f"classes-{size}-{split}", key, make)


def class_noise(ws: Workspace) -> float:
    return min(ws.preset.language.noise, key=lambda t: abs(t - CLASS_NOISE))


def over_systems(ws: Workspace, make: Any, **axes: Any) -> xr.Dataset:
    """`make(ws, system, size, ...)` over systems, sizes and further axes; NaN where a system lacks a size."""

    def one(system: str) -> xr.Dataset:
        return stack(
            lambda dataset_size, **rest: make(ws, system, dataset_size, **rest), dataset_size=sizes(ws, system), **axes
        )

    return stack(one, system=systems(ws))


def chance(ws: Workspace) -> xr.DataArray:
    """`bridges.frequency_chance` of the training sequences, over `noise`."""
    return frequency_chance(ws.blocks.train(), ws.preset.language.noise, vocab_size=ws.blocks.vocab_size)


def rates(recovered: xr.Dataset) -> xr.Dataset:
    """A recovery without its tokens."""
    return recovered.drop_vars(["original", "corrupted", "final"])


def _recovery(ws: Workspace, system: str, size: int, split: str, name: str, arguments: dict[str, Any]) -> xr.Dataset:
    key = {**_origin(ws, system, size), **arguments, "measured": _measured(ws), "split": split}
    measure = partial(token_recovery, rng=ws.seed, **arguments)
    return ws.cell(
        f"{name}-{slug(system)}-{size}-{split}",
        key,
        lambda: measure(_system(ws, system, size), _sequences(ws, size, split)),
    )


def _system(ws: Workspace, system: str, size: int) -> MemorySystem:
    if system != LIMIT:
        return as_system(network(ws, system, size))
    return as_system(EmpiricalBayes(torch.from_numpy(ws.blocks.train(size)), UniformProcess(ws.blocks.vocab_size)))


def _sequences(ws: Workspace, size: int, split: str) -> np.ndarray:
    wanted = ws.preset.language.sequences
    if split == "train":
        return ws.blocks.train(min(wanted, size))
    return ws.blocks.test(min(wanted, ws.blocks.test_size))


def _configs(ws: Workspace, system: str, size: int) -> tuple[type[Network], Any, TrainConfig]:
    language = ws.preset.language
    recipe = language.recipes[system]
    network = NETWORKS[recipe.network]
    config = network.Config(ws.blocks.vocab_size, length=language.length, **recipe.model)
    return network, config, TrainConfig(steps=recipe.sizes[size], seed=ws.seed, **recipe.training)


def _origin(ws: Workspace, system: str, size: int) -> dict[str, Any]:
    """What determines a system."""
    origin = {"blocks": ws.blocks.sha256, "size": size, "system": system}
    if system == LIMIT:
        return origin
    network, config, training = _configs(ws, system, size)
    return {**origin, "network": network.__name__, "model": asdict(config), "training": asdict(training)}


def _measured(ws: Workspace) -> list[int]:
    return [ws.preset.language.sequences, ws.preset.language.generated]
