"""Diffusion language models at each training-set size, and their measurements, beside the exact memorization limit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

import bridges
import uddm
from bridges import token_classes
from paper_figures.cells import Cell, joined, stack
from paper_figures.measure.networks import Training, is_row
from paper_figures.task import Task
from paper_figures.workspace import Workspace

if TYPE_CHECKING:
    from bridges import MemorySystem

LIMIT = "memorization limit"
"""The system that stands for the empirical-Bayes denoiser of the training set."""
SPLITS = ("train", "test")
SEQUENCES = (*SPLITS, "generated")
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
    return [*trained, *(Task(cells, (LIMIT, size), 100 + size / 100) for size in sizes(ws))]


def main_tasks(ws: Workspace) -> list[Task]:
    """Those of the main network alone."""
    return _trainings(ws, main(ws))


def _trainings(ws: Workspace, system: str) -> list[Task]:
    steps = ws.preset.language.recipes[system].sizes
    return [Task(cells, (system, size), float(steps[size])) for size in steps]


def cells(ws: Workspace, system_and_size: tuple[str, int]) -> list[Cell]:
    """Every measurement on one system; those of Figures 1 and 3 on the main network alone."""
    system, size = system_and_size
    measured, language = Measured(ws, system, size), ws.preset.language
    found = [measured.recovery(split, noise) for split in SPLITS for noise in language.noise]
    if system == main(ws):
        found += [measured.greedy(split, noise) for split in SPLITS for noise in language.greedy_noise]
        found += [measured.classes(split) for split in SPLITS]
    return found + [measured.entropy(sequences) for sequences in SEQUENCES]


class Measured:
    """One system at one training-set size, and the cells of what is measured on it."""

    def __init__(self, ws: Workspace, system: str, size: int):
        self.ws, self.size, self.language = ws, size, ws.preset.language
        self.training = None if system == LIMIT else self._training(system)
        self.name = self.training.name if self.training else "limit"
        determined = self.training.key if self.training else {"system": LIMIT}
        self.origin: dict[str, Any] = {"blocks": ws.blocks.sha256, "size": size, **determined}

    def _training(self, system: str) -> Training:
        recipe, vocab_size, length = self.language.recipes[system], self.ws.blocks.vocab_size, self.language.length
        steps = recipe.sizes[self.size]
        return Training(recipe, vocab_size=vocab_size, length=length, steps=steps, seed=self.ws.seed)

    @cached_property
    def system(self) -> MemorySystem:
        """The network, read, resumed or trained; or the limit."""
        import torch

        data = self.ws.blocks.train(self.size)
        if self.training is None:
            process = uddm.UniformProcess(self.ws.blocks.vocab_size)
            return bridges.as_system(uddm.EmpiricalBayes(torch.from_numpy(data), process))
        name, weights = f"train-{self.name}-{self.size}", self.ws.keyed_seed("weights")
        network = self.training.run(self.ws, name, self.origin, data, weights, tokenizer=self.ws.tokenizer)
        return bridges.as_system(network)

    def greedy(self, split: str, noise: float) -> Cell:
        """Experiment 1: deterministic dynamics told t = 1, whatever the corruption."""
        steps = self.language.greedy_steps
        return self._recovery("greedy", split, noise, start=1.0, mode="posterior_mode", last="ancestral", steps=steps)

    def recovery(self, split: str, noise: float) -> Cell:
        """Experiment 2: the stochastic reverse process from the time of the corruption."""
        steps = self.language.steps if self.training else None  # None: exact joint samples
        return self._recovery("recovery", split, noise, steps=steps)

    def _recovery(self, what: str, split: str, noise: float, **arguments: Any) -> Cell:
        def make() -> xr.Dataset:
            x = self._sequences(split)
            return bridges.token_recovery(self.system, x, noise=noise, rng=self.ws.seed, **arguments)

        key = {**arguments, "noise": noise, "split": split, "sequences": self._number(split)}
        return self._cell(f"{what}-{split}-{noise:g}", key, make)

    def entropy(self, sequences: str) -> Cell:
        """Experiment 3: conditional entropy at t = 1e-5 of training, test or generated sequences, the sequences
        themselves (`tokens`), and whether each is a training sequence (`copied`)."""
        ws, n = self.ws, self._number(sequences)
        key: dict[str, Any] = {"split": sequences, "sequences": n}
        steps = self.language.generation_steps if self.training else None
        if sequences == "generated":
            key["steps"] = steps

        def make() -> xr.Dataset:
            if sequences == "generated":
                x = self.system.generate(n, steps=steps, rng=np.random.default_rng([ws.seed, self.size]))
            else:
                x = self._sequences(sequences)
            dataset = bridges.conditional_entropy(self.system, x, rng=ws.seed)
            copied = is_row(x, ws.blocks.train(self.size))
            return dataset.assign(tokens=(("sample", "position"), x), copied=(("sample",), copied))

        return self._cell(f"entropy-{sequences}", key, make)

    def classes(self, split: str) -> Cell:
        """Token entropies at t = 1e-5 of the sequences that Experiment 2 ended in, with the class of each token."""
        recovery = self.recovery(split, class_noise(self.ws))

        def make() -> xr.Dataset:
            run = self.ws.get(recovery).squeeze("noise")
            original, corrupted, final = (run[name].values for name in ("original", "corrupted", "final"))
            classes = token_classes(original, corrupted, final)
            return bridges.conditional_entropy(self.system, final, classes=classes, rng=self.ws.seed)

        return self._cell(f"classes-{split}", {"of": recovery.key}, make)

    def _cell(self, what: str, key: dict[str, Any], make: Callable[[], xr.Dataset]) -> Cell:
        return Cell(f"{self.name}-{self.size}-{what}", {**self.origin, **key}, make)

    def _number(self, sequences: str) -> int:
        """How many sequences of a kind are measured."""
        if sequences == "generated":
            return self.language.generated
        return min(self.language.sequences, self.size if sequences == "train" else self.ws.blocks.test_size)

    def _sequences(self, split: str) -> np.ndarray:
        blocks = self.ws.blocks.train if split == "train" else self.ws.blocks.test
        return blocks(self._number(split))


def greedy_recovery(ws: Workspace, size: int, split: str) -> xr.Dataset:
    """Experiment 1 on the main network, over `noise`."""
    measured = Measured(ws, main(ws), size)
    return joined([ws.get(measured.greedy(split, noise)) for noise in ws.preset.language.greedy_noise], "noise")


def recovery(ws: Workspace, system: str, size: int, split: str) -> xr.Dataset:
    """Experiment 2, over `noise`."""
    measured = Measured(ws, system, size)
    return joined([ws.get(measured.recovery(split, noise)) for noise in ws.preset.language.noise], "noise")


def entropy(ws: Workspace, system: str, size: int, sequences: str) -> xr.Dataset:
    """Experiment 3."""
    return ws.get(Measured(ws, system, size).entropy(sequences))


def class_entropy(ws: Workspace, size: int, split: str) -> xr.Dataset:
    """Token entropies by class, of the main network."""
    return ws.get(Measured(ws, main(ws), size).classes(split))


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
    return bridges.frequency_chance(ws.blocks.train(), ws.preset.language.noise, vocab_size=ws.blocks.vocab_size)


def rates(recovered: xr.Dataset) -> xr.Dataset:
    """A recovery without its tokens."""
    return recovered.drop_vars(["original", "corrupted", "final"])
