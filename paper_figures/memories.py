"""Binary memories on random-features data at each load, with the measurements made on the language model."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import xarray as xr

from amtheory import Hopfield, PseudoLikelihood
from amtheory.patterns import random_features
from bridges import BinarySystem, conditional_entropy, likelihood_beta, to_tokens, token_recovery
from paper_figures.workspace import Task, Workspace, stack

SYSTEMS = ("pseudo-likelihood", "Hopfield")
SPLITS = ("train", "test", "features")
MEASURED = ("train", "test", "generated")


def loads(ws: Workspace) -> list[float]:
    return list(ws.preset.memories.loads)


def tasks(ws: Workspace) -> list[Task]:
    memories = ws.preset.memories
    return [(run, load, memories.disorder * (20 + load / 2)) for load in memories.loads]


def run(ws: Workspace, load: float, line: int | None = None) -> None:
    """Every measurement at one load."""
    for disorder in range(ws.preset.memories.disorder):
        cell(ws, load, disorder)


def cell(ws: Workspace, load: float, disorder: int) -> xr.Dataset:
    """All measurements on one data set: recovery rates (system, split, noise, estimate), sequence entropies (system,
    sequences, sample) in nats, and the learned inverse temperature beta ||W_l|| averaged over rows."""
    memories = ws.preset.memories
    key = {**asdict(memories), "coefficients": "binary", "loads": load, "disorder": disorder}

    def make() -> xr.Dataset:
        seeds = [ws.seed, disorder]
        length, n = memories.length, memories.sequences
        patterns, features, unseen = random_features(
            round(load * length),
            length,
            round(memories.features * length),
            active=memories.active,
            coefficients="binary",
            rng=np.random.default_rng(seeds),
        )
        pseudo, hopfield = PseudoLikelihood(beta=1.0, ridge=memories.ridge).fit(patterns), Hopfield().fit(patterns)
        systems = {
            "pseudo-likelihood": BinarySystem(pseudo),
            "Hopfield": BinarySystem(hopfield, beta=likelihood_beta(hopfield, patterns)),
        }
        data = {"train": patterns[:n], "test": unseen(n, np.random.default_rng([*seeds, 1])), "features": features[:n]}

        def recovery(system: str, split: str) -> xr.Dataset:
            x = to_tokens(data[split])
            full = token_recovery(
                systems[system],
                x,
                **{"noise": memories.noise, "mode": "posterior_mode", "steps": memories.sweeps, "rng": ws.seed},
            )
            return full.drop_vars(["original", "corrupted", "final"])

        def entropy(system: str, sequences: str) -> xr.Dataset:
            measured = systems[system]
            if sequences == "generated":
                x = measured.generate(n, steps=memories.sweeps, rng=np.random.default_rng([*seeds, 2]))
            else:
                x = to_tokens(data[sequences])
            per_sequence = conditional_entropy(measured, x, rng=ws.seed)["sequence_entropy"]
            # fewer training patterns than n are filled with NaN
            numbered = per_sequence.assign_coords(sample=range(len(per_sequence)))
            return numbered.reindex(sample=range(n)).to_dataset(name="sequence_entropy")

        strength = {name: system.beta * system.memory.norms_.mean() for name, system in systems.items()}
        return xr.merge(
            [
                stack(recovery, system=SYSTEMS, split=SPLITS),
                stack(entropy, system=SYSTEMS, sequences=MEASURED),
                xr.Dataset({"beta_norm": ("system", [strength[name] for name in SYSTEMS])}),
            ]
        )

    return ws.cell(f"memories-{load:g}-{disorder}", key, make)


def measurements(ws: Workspace) -> xr.Dataset:
    """All cells over (alpha, disorder, ...), alpha being the load."""
    return stack(lambda alpha, disorder: cell(ws, alpha, disorder), alpha=loads(ws), disorder=disorders(ws))


def disorders(ws: Workspace) -> list[int]:
    return list(range(ws.preset.memories.disorder))
