"""Diffusion language models at each training-set size, from several seeds, and their measurements, beside the exact
memorization limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

import bridges
import uddm
from amtheory.intervals import student
from bridges import token_classes
from paper_figures.cells import Cell, joined, stack
from paper_figures.measure.networks import Training, is_row
from paper_figures.presets import Recipe
from paper_figures.task import Task
from paper_figures.workspace import Workspace

if TYPE_CHECKING:
    from bridges import MemorySystem

LIMIT = "memorization limit"
"""The system that stands for the empirical-Bayes denoiser of the training set."""
SPLITS = ("train", "test")
SEQUENCES = (*SPLITS, "generated")
NOISE = 0.25
"""Noise at which the recovery of systems is compared, and whose recovered sequences are classified token by token
(Figs. 3 and 12 to 14)."""


class Case(NamedTuple):
    """A system, the number of training sequences, and the seed of which ones, of the first weights and of the
    batches."""

    system: str
    size: int
    seed: int


def recipes(ws: Workspace) -> dict[str, Recipe]:
    """Of all trained networks, the main one first."""
    return ws.preset.language.recipes | ws.preset.language.widths


def systems(ws: Workspace) -> list[str]:
    """The networks that are drawn in all figures, the main one first, and the exact limit."""
    return [*ws.preset.language.recipes, LIMIT]


def main(ws: Workspace) -> str:
    return systems(ws)[0]


def widths(ws: Workspace) -> dict[int, str]:
    """The main network and the others of its kind, by width, ascending."""
    named = {name: recipes(ws)[name].width for name in (main(ws), *ws.preset.language.widths)}
    return {width: name for name, width in sorted(named.items(), key=lambda item: item[1])}


def cases(ws: Workspace, system: str) -> list[Case]:
    """A system at its training-set sizes; the limit at those of the main network, of its first seed."""
    recipe = recipes(ws)[main(ws) if system == LIMIT else system]
    seeds = 1 if system == LIMIT else recipe.seeds
    return [Case(system, size, seed) for size in recipe.sizes for seed in range(seeds)]


def sizes(ws: Workspace) -> list[int]:
    """Training-set sizes of the main network; no other has more."""
    return list(recipes(ws)[main(ws)].sizes)


def three_sizes(ws: Workspace) -> list[int]:
    """The smallest, a middle and the largest size."""
    every = sizes(ws)
    return sorted({every[0], every[(len(every) - 1) // 2], every[-1]})


def tasks(ws: Workspace, names: Sequence[str] | None = None) -> list[Task]:
    """Of the named systems; by default those that are drawn in all figures."""
    return [Task(cells, case, _cost(ws, case)) for system in names or systems(ws) for case in cases(ws, system)]


def _cost(ws: Workspace, case: Case) -> float:
    """In training steps of the main network."""
    if case.system == LIMIT:
        return 20 + case.size / 200
    recipe, widest = recipes(ws)[case.system], recipes(ws)[main(ws)].width
    return 200 + recipe.sizes[case.size] * (recipe.width / widest) ** 0.5


def main_tasks(ws: Workspace) -> list[Task]:
    """Those of the main network alone."""
    return tasks(ws, [main(ws)])


def width_tasks(ws: Workspace) -> list[Task]:
    """Those of the main network and the others of its kind."""
    return tasks(ws, list(widths(ws).values()))


def cells(ws: Workspace, case: Case) -> list[Cell]:
    """Every measurement on one system; on the main network those of Figures 1 and 3 too, on other widths the recovery
    at one noise."""
    measured, language = Measured(ws, case), ws.preset.language
    noises = [nearest(language.noise)] if case.system in language.widths else language.noise
    found = [measured.recovery(split, noise) for split in SPLITS for noise in noises]
    if case.system == main(ws):
        found += [measured.greedy(split, noise) for split in SPLITS for noise in language.greedy_noise]
        found += [measured.classes(split) for split in SPLITS]
        found += [measured.scores()]
    return found + [measured.entropy(sequences) for sequences in SEQUENCES]


def nearest(noises: Sequence[float]) -> float:
    """The one nearest to `NOISE`."""
    return min(noises, key=lambda t: abs(t - NOISE))


class Measured:
    """One system of one training set, and the cells of what is measured on it."""

    def __init__(self, ws: Workspace, case: Case):
        self.ws, self.case, self.language = ws, case, ws.preset.language
        self.training = None if case.system == LIMIT else self._training()
        self.name = self.training.name if self.training else "limit"
        determined = self.training.key if self.training else {"system": LIMIT}
        self.origin: dict[str, Any] = {
            "blocks": ws.blocks.sha256,
            "size": case.size,
            "subset": case.seed,
            **determined,
        }
        self.seed = ws.keyed_seed("measurements", case.seed)

    def _training(self) -> Training:
        ws, (system, size, seed) = self.ws, self.case
        recipe = recipes(ws)[system]
        return Training(
            recipe,
            vocab_size=ws.blocks.vocab_size,
            length=self.language.length,
            steps=recipe.sizes[size],
            seed=ws.keyed_seed("batches", seed),
        )

    @cached_property
    def data(self) -> np.ndarray:
        """The training sequences: nested subsets for each seed."""
        order = np.random.default_rng(self.ws.keyed_seed("subset", self.case.seed)).permutation(
            self.ws.blocks.train_size
        )
        return self.ws.blocks.train()[order[: self.case.size]]

    @cached_property
    def system(self) -> MemorySystem:
        """The network, read, resumed or trained; or the limit."""
        import torch

        if self.training is None:
            process = uddm.UniformProcess(self.ws.blocks.vocab_size)
            return bridges.as_system(uddm.EmpiricalBayes(torch.from_numpy(self.data), process))
        weights = self.ws.keyed_seed("weights", self.case.seed)
        trained = self.training.run(
            self.ws, f"train-{self._label}", self.origin, self.data, weights, tokenizer=self.ws.tokenizer
        )
        return bridges.as_system(trained)

    def greedy(self, split: str, noise: float) -> Cell:
        """Experiment 1: deterministic dynamics told t = 1, whatever the corruption."""
        steps = self.language.greedy_steps
        number = min(self.language.greedy_sequences, self._number(split))
        told = {"start": 1.0, "mode": "posterior_mode", "last": "ancestral"}
        return self._recovery("greedy", split, noise, number, steps=steps, **told)

    def recovery(self, split: str, noise: float) -> Cell:
        """Experiment 2: the stochastic reverse process from the time of the corruption."""
        steps = self.language.steps if self.training else None  # None: exact joint samples
        return self._recovery("recovery", split, noise, self._number(split), steps=steps)

    def _recovery(self, what: str, split: str, noise: float, number: int, **arguments: Any) -> Cell:
        def make() -> xr.Dataset:
            x = self._sequences(split)[:number]
            return bridges.token_recovery(self.system, x, noise=noise, rng=self.seed, **arguments)

        key = {**arguments, "noise": noise, "split": split, "sequences": number}
        return self._cell(f"{what}-{split}-{noise:g}", key, make)

    def entropy(self, sequences: str) -> Cell:
        """Experiment 3: conditional entropy at t = 1e-5 of training, test or generated sequences, the sequences
        themselves (`tokens`), and whether each is a training sequence (`copied`)."""
        n, key = self._number(sequences), {"split": sequences, "sequences": self._number(sequences)}
        steps = self.language.generation_steps if self.training else None
        if sequences == "generated":
            key["steps"] = steps

        def make() -> xr.Dataset:
            if sequences == "generated":
                x = self.system.generate(n, steps=steps, rng=np.random.default_rng(self.seed))
            else:
                x = self._sequences(sequences)
            dataset = bridges.conditional_entropy(self.system, x, rng=self.seed)
            return dataset.assign(tokens=(("sample", "position"), x), copied=(("sample",), is_row(x, self.data)))

        return self._cell(f"entropy-{sequences}", key, make)

    def classes(self, split: str) -> Cell:
        """Token entropies at t = 1e-5 of the sequences that Experiment 2 ended in, with the class of each token."""
        recovery = self.recovery(split, nearest(self.language.noise))

        def make() -> xr.Dataset:
            run = self.ws.get(recovery).squeeze("noise")
            original, corrupted, final = (run[name].values for name in ("original", "corrupted", "final"))
            classes = token_classes(original, corrupted, final)
            return bridges.conditional_entropy(self.system, final, classes=classes, rng=self.seed)

        return self._cell(f"classes-{split}", {"of": recovery.key}, make)

    def scores(self) -> Cell:
        """`bridges.membership_scores` of training and test sequences, over (split, sample), and their `curvature`: the
        sum over positions of sum_k p_k (1 - p_k), the trace of the Hessian of -log p in the logits."""
        numbers = {split: self._number(split) for split in SPLITS}

        def scores(split: str) -> xr.Dataset:
            x = self._sequences(split)
            found = bridges.membership_scores(self.system, x, train=self.data, rng=self.seed).drop_dims("position")
            found["curvature"] = "sample", gini(self.system, x).sum(1)
            return found.assign_coords(sample=range(numbers[split]))

        return self._cell("scores", {"sequences": numbers}, lambda: stack(scores, split=SPLITS))

    @property
    def _label(self) -> str:
        return f"{self.name}-{self.case.size}-{self.case.seed}"

    def _cell(self, what: str, key: dict[str, Any], make: Callable[[], xr.Dataset]) -> Cell:
        return Cell(f"{self._label}-{what}", {**self.origin, **key}, make)

    def _number(self, sequences: str) -> int:
        """How many sequences of a kind are measured."""
        if sequences == "generated":
            return self.language.generated
        return min(self.language.sequences, self.case.size if sequences == "train" else self.ws.blocks.test_size)

    def _sequences(self, split: str) -> np.ndarray:
        return self.data[: self._number(split)] if split == "train" else self.ws.blocks.test(self._number(split))


def rates(measured: Measured, split: str, noises: Sequence[float] | None = None) -> xr.Dataset:
    """Experiment 2 without its tokens, over `noise`."""
    language = measured.ws.preset.language
    runs = [measured.ws.get(measured.recovery(split, noise)) for noise in noises or language.noise]
    return joined(runs, "noise").drop_vars(["original", "corrupted", "final"])


def recovery(measured: Measured, split: str) -> xr.Dataset:
    """`recovery` of Experiment 2 at the noise at which systems are compared."""
    noise = nearest(measured.ws.preset.language.noise)
    return rates(measured, split, [noise])[["recovery"]].squeeze("noise", drop=True)


def greedy(measured: Measured, split: str) -> xr.Dataset:
    """Experiment 1, over `noise`."""
    noises = measured.ws.preset.language.greedy_noise
    return joined([measured.ws.get(measured.greedy(split, noise)) for noise in noises], "noise")


def entropy(measured: Measured, sequences: str) -> xr.Dataset:
    """Experiment 3."""
    return measured.ws.get(measured.entropy(sequences))


def mean_entropy(measured: Measured, sequences: str) -> xr.Dataset:
    """`mean_entropy` of Experiment 3."""
    return entropy(measured, sequences)[["mean_entropy"]]


def sequence_entropy(measured: Measured, sequences: str) -> xr.Dataset:
    """`sequence_entropy` and `copied` of Experiment 3; the samples are numbered, so that fewer than elsewhere are
    filled with NaN."""
    found = entropy(measured, sequences)[["sequence_entropy", "copied"]]
    return found.astype(float).assign_coords(sample=range(found.sizes["sample"]))


def gini(system: MemorySystem, x: np.ndarray, t: float = 1e-5) -> np.ndarray:
    """1 - sum_k p_k^2 of the law of each token given all others, for small vocabularies, (N, L)."""
    law = system.conditional(x, t)
    squares = np.zeros(x.shape)
    for token in range(system.vocab_size):
        squares += np.exp(2 * law.log_prob(np.full_like(x, token)))
    return 1 - squares


def by_seed(ws: Workspace, system: str, make: Callable[..., xr.Dataset], **axes: Any) -> xr.Dataset:
    """`make(measured, ...)` of a system over (dataset_size, repeat, ...), a repeat for each seed."""
    measured = {(case.size, case.seed): Measured(ws, case) for case in cases(ws, system)}
    own_sizes, seeds = (sorted({key[place] for key in measured}) for place in (0, 1))

    def one(dataset_size: int, repeat: int, **rest: Any) -> xr.Dataset:
        return make(measured[dataset_size, repeat], **rest)

    return stack(one, dataset_size=own_sizes, repeat=seeds, **axes)


def over_seeds(values: xr.Dataset) -> xr.Dataset:
    """Means with Student's intervals over `repeat`; of one seed, the intervals over sequences that it has."""
    if values.sizes["repeat"] == 1:
        return values.squeeze("repeat", drop=True)
    mean = values.map(lambda each: student(each.sel(estimate="value", drop=True), "repeat"))
    return mean.transpose(..., "estimate")


def over_systems(ws: Workspace, names: Sequence[str], make: Callable[..., xr.Dataset], **axes: Any) -> xr.Dataset:
    """`over_seeds` of systems over (system, dataset_size, ...); NaN where a system lacks a size."""
    return stack(lambda system: over_seeds(by_seed(ws, system, make, **axes)), system=names)


def chance(ws: Workspace) -> xr.DataArray:
    """`bridges.frequency_chance` of the training sequences, over `noise`."""
    return bridges.frequency_chance(ws.blocks.train(), ws.preset.language.noise, vocab_size=ws.blocks.vocab_size)
