"""Binary memories on random-features data at each load, with the measurements made on the language model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

import amtheory
import bridges
from amtheory.patterns import random_features
from paper_figures.cells import Cell, joined, stack
from paper_figures.measure import FOLLOWED, classified, nearest, scored, three, traced
from paper_figures.task import Task
from paper_figures.workspace import Workspace

if TYPE_CHECKING:
    from bridges import BinarySystem

PSEUDO_LIKELIHOOD = "pseudo-likelihood"
"""Of which single spins and patterns are looked at."""
SYSTEMS = (PSEUDO_LIKELIHOOD, "Hopfield")
SPLITS = ("train", "test", "features")
MEASURED = ("train", "test", "generated")


def loads(ws: Workspace, length: int | None = None) -> list[float]:
    """Of the memories that are measured in full, or of those of another length."""
    memories = ws.preset.memories
    return list(memories.loads if length in (None, memories.length) else memories.other_lengths[length])


def disorders(ws: Workspace) -> list[int]:
    return list(range(ws.preset.memories.disorder))


def lengths(ws: Workspace) -> list[int]:
    """L of the memories that are measured in full, and of the others, ascending."""
    return sorted({ws.preset.memories.length, *ws.preset.memories.other_lengths})


def followed(ws: Workspace) -> list[tuple[float, int]]:
    """Of what trajectories are drawn: three loads, on the first data set."""
    return [(load, 0) for load in three(loads(ws))]


def tasks(ws: Workspace) -> list[Task]:
    return [_task(load, disorder) for load in loads(ws) for disorder in disorders(ws)]


def followed_tasks(ws: Workspace) -> list[Task]:
    return [_task(load, disorder) for load, disorder in followed(ws)]


def finite_size_tasks(ws: Workspace) -> list[Task]:
    """Those of all lengths."""
    others = [length for length in lengths(ws) if length != ws.preset.memories.length]
    cases = [(length, load, disorder) for length in others for load in loads(ws, length) for disorder in disorders(ws)]
    return [*tasks(ws), *(Task(other_length, case, 10 + case[1]) for case in cases)]


def _task(load: float, disorder: int) -> Task:
    return Task(cells, (load, disorder), 50 + load * 1.5)


def cells(ws: Workspace, load_and_disorder: tuple[float, int]) -> list[Cell]:
    """Every measurement at one load on one data set."""
    measured = Measured(ws, *load_and_disorder)
    noises = ws.preset.memories.noise
    found = [*map(measured.recovery, noises), measured.entropy(), *map(measured.classes, SPLITS[:2]), measured.scores()]
    if measured.load == max(loads(ws)):
        found += map(measured.basins, noises)
    return found + [measured.trajectory()] * (load_and_disorder in followed(ws))


def other_length(ws: Workspace, length_load_and_disorder: tuple[int, float, int]) -> list[Cell]:
    """What tells where memorization ends, of the pseudo-likelihood memory of another length."""
    length, load, disorder = length_load_and_disorder
    measured = Measured(ws, load, disorder, length)
    return [measured.recovery(nearest(ws.preset.memories.noise)), measured.entropy(), measured.scores()]


class Measured:
    """The memories of one data set, and the cells of what is measured on them; of other lengths than the preset's main
    one, the pseudo-likelihood memory alone."""

    def __init__(self, ws: Workspace, load: float, disorder: int, length: int | None = None):
        self.ws, self.load, self.disorder, self.memories = ws, load, disorder, ws.preset.memories
        self.length = length or self.memories.length
        self.names = SYSTEMS if self.length == self.memories.length else (PSEUDO_LIKELIHOOD,)
        self.seed = ws.keyed_seed("measurements", disorder)

    @cached_property
    def data(self) -> dict[str, np.ndarray]:
        """All training patterns ("patterns"), and the spins that are measured: some of them ("train"), of as many
        unseen patterns ("test"), and of the features."""
        memories, seeds = self.memories, [self.ws.seed, self.disorder]
        patterns, features, unseen = random_features(
            round(self.load * self.length),
            self.length,
            round(memories.features * self.length),
            active=memories.active,
            coefficients="binary",
            rng=np.random.default_rng(seeds),
        )
        n = memories.sequences
        test = unseen(n, np.random.default_rng([*seeds, 1]))
        return {"patterns": patterns, "train": patterns[:n], "test": test, "features": features[:n]}

    @cached_property
    def systems(self) -> dict[str, BinarySystem]:
        patterns = self.data["patterns"]
        pseudo = amtheory.PseudoLikelihood(beta=1.0, ridge=self.memories.ridge).fit(patterns)
        found = {PSEUDO_LIKELIHOOD: bridges.BinarySystem(pseudo)}
        if "Hopfield" in self.names:
            hopfield = amtheory.Hopfield().fit(patterns)
            found["Hopfield"] = bridges.BinarySystem(hopfield, beta=bridges.likelihood_beta(hopfield, patterns))
        return found

    def recovery(self, noise: float) -> Cell:
        """Recovery rates at one noise, over (system, split, noise, estimate)."""

        def rates(system: str, split: str) -> xr.Dataset:
            return self._recovered(system, split, noise).drop_vars(["original", "corrupted", "final"])

        def make() -> xr.Dataset:
            return stack(rates, system=self.names, split=SPLITS)

        return self._cell(f"recovery-{noise:g}", {"noise": noise}, make)

    def classes(self, split: str) -> Cell:
        """What the recovery of training or test patterns ended in, spin by spin: `classified`."""
        noise = nearest(self.memories.noise)

        def make() -> xr.Dataset:
            recovered = self._recovered(PSEUDO_LIKELIHOOD, split, noise)
            return classified(self.systems[PSEUDO_LIKELIHOOD], recovered)

        return self._cell(f"classes-{split}", {"noise": noise}, make)

    def basins(self, noise: float) -> Cell:
        """`restored` (sample): the share of the spins of each test pattern that are right after its recovery."""

        def make() -> xr.Dataset:
            run = self._recovered(PSEUDO_LIKELIHOOD, "test", noise).squeeze("noise", drop=True)
            return (run.final == run.original).mean("position").to_dataset(name="restored")

        return self._cell(f"basins-{noise:g}", {"noise": noise}, make)

    def _recovered(self, system: str, split: str, noise: float) -> xr.Dataset:
        x, how = bridges.to_tokens(self.data[split]), {"mode": "posterior_mode", "steps": self.memories.sweeps}
        return bridges.token_recovery(self.systems[system], x, noise=noise, **how, rng=self.ws.seed)

    def scores(self) -> Cell:
        """Training and test patterns `scored`, over (split, sample)."""

        def scores(split: str) -> xr.Dataset:
            x, train = (bridges.to_tokens(self.data[name]) for name in (split, "patterns"))
            return scored(self.systems[PSEUDO_LIKELIHOOD], x, train, self.seed)

        return self._cell("scores", {}, lambda: stack(scores, split=SPLITS[:2]))

    def entropy(self) -> Cell:
        """Sequence entropies in nats over (system, sequences, sample), and the learned inverse temperature
        beta ||W_l|| averaged over rows, over `system`."""
        n = self.memories.sequences

        def entropy(system: str, sequences: str) -> xr.Dataset:
            measured = self.systems[system]
            if sequences == "generated":
                rng = np.random.default_rng([self.ws.seed, self.disorder, 2])
                x = measured.generate(n, steps=self.memories.sweeps, rng=rng)
            else:
                x = bridges.to_tokens(self.data[sequences])
            per_sequence = bridges.conditional_entropy(measured, x, rng=self.ws.seed)["sequence_entropy"]
            # fewer training patterns than n are filled with NaN
            numbered = per_sequence.assign_coords(sample=range(len(per_sequence)))
            return numbered.reindex(sample=range(n)).to_dataset(name="sequence_entropy")

        def make() -> xr.Dataset:
            entropies = stack(entropy, system=self.names, sequences=MEASURED)
            strength = [(s := self.systems[name]).beta * s.memory.norms_.mean() for name in self.names]
            return entropies.assign(beta_norm=("system", strength))

        return self._cell("entropy", {}, make)

    def trajectory(self) -> Cell:
        """The pseudo-likelihood memory at T = 0 from random spins, sweep by sweep, `traced`."""
        n, sweeps = min(FOLLOWED, self.memories.sequences), self.memories.sweeps

        def make() -> xr.Dataset:
            how = {"mode": "posterior_mode", "steps": sweeps, "record": sweeps + 1}
            return traced(self.systems[PSEUDO_LIKELIHOOD], n, self.ws.seed, **how)

        return self._cell("trajectory", {"followed": n}, make)

    def _cell(self, what: str, key: dict[str, Any], make: Any) -> Cell:
        memories = self.memories
        origin = {
            "length": self.length,
            "load": self.load,
            "features": memories.features,
            "active": memories.active,
            "coefficients": "binary",
            "ridge": memories.ridge,
            "disorder": self.disorder,
            "sequences": memories.sequences,
            "sweeps": memories.sweeps,
            **({} if self.names == SYSTEMS else {"systems": self.names}),
        }
        return Cell(f"memories-{self.load:g}-{self.disorder}-{what}", {**origin, **key}, make)


def by_load(ws: Workspace, make: Callable[[Measured], xr.Dataset], length: int | None = None) -> xr.Dataset:
    """`make(measured)` over (alpha, disorder), alpha being the load; by default of the memories measured in full."""

    def one(alpha: float, disorder: int) -> xr.Dataset:
        return make(Measured(ws, alpha, disorder, length))

    return stack(one, alpha=loads(ws, length), disorder=disorders(ws))


def recoveries(ws: Workspace) -> xr.Dataset:
    """Recovery rates over (alpha, disorder, ...)."""
    noises = ws.preset.memories.noise
    return by_load(ws, lambda measured: joined([ws.get(measured.recovery(noise)) for noise in noises], "noise"))


def entropies(ws: Workspace) -> xr.Dataset:
    """Sequence entropies and inverse temperatures over (alpha, disorder, ...)."""
    return by_load(ws, lambda measured: ws.get(measured.entropy()))
