"""What is trained and measured for the figures: each module gives tasks, and reads back what they made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

import bridges
from paper_figures.cells import stack

if TYPE_CHECKING:
    from bridges import DiffusionSystem, MemorySystem
    from uddm import Denoiser

Number = TypeVar("Number", int, float)

FOLLOWED = 64
"""How many sequences are followed along the dynamics, at most."""
FOLLOWED_STATES = 33
"""At how many states on their way conditionals are measured."""
NOISE = 0.25
"""Noise at which the recovery of systems is compared, and whose recovered sequences are classified token by token
(Figs. 3 and 12 to 14)."""
CLEAN = 1e-5
"""The time that systems are told when sequences are taken as they stand."""


def three(values: Sequence[Number]) -> list[Number]:
    """The smallest, a middle and the largest of distinct values; fewer if there are fewer."""
    ordered = sorted(values)
    return sorted({ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1]})


def nearest(noises: Sequence[float], wanted: float = NOISE) -> float:
    """The one nearest to the noise that is wanted."""
    return min(noises, key=lambda t: abs(t - wanted))


def as_system(denoiser: Denoiser) -> DiffusionSystem:
    """`bridges.as_system` of a denoiser, under its own noise."""
    found = bridges.as_system(denoiser)
    assert isinstance(found, bridges.DiffusionSystem)
    return found


def traced(system: MemorySystem, n: int, seed: int, **how: Any) -> xr.Dataset:
    """`bridges.trajectory` of n sequences from noise, without its laws of single tokens."""
    return bridges.trajectory(system, n, rng=seed, **how).drop_vars(["token_entropy", "top_probability", "gini"])


def classified(system: MemorySystem, recovered: xr.Dataset) -> xr.Dataset:
    """`token_entropy`, nats, of the sequences that a recovery (`bridges.token_recovery` at one noise) ended in, and
    `token_class`, which of `bridges.TOKEN_CLASSES` each token is in, over (sample, position)."""
    run = recovered.squeeze("noise")
    original, corrupted, final = (run[name].values for name in ("original", "corrupted", "final"))
    entropy, each = system.conditional(final, CLEAN).entropy().astype(np.float32), ("sample", "position")
    classes = bridges.token_classes(original, corrupted, final)
    return xr.Dataset({"token_entropy": (each, entropy), "token_class": (each, classes)})


def scored(system: MemorySystem, x: np.ndarray, train: np.ndarray | None, seed: int) -> xr.Dataset:
    """`bridges.membership_scores` of sequences, over `sample`, and their `curvature`: the sum over positions of
    sum_k p_k (1 - p_k), the trace of the Hessian of -log p in the logits. Of a spin, whose logits are -f and f, it is
    half of the second derivative of -log p in its field f."""
    found = bridges.membership_scores(system, x, t=CLEAN, train=train, rng=seed).drop_dims("position")
    *_, gini = system.conditional(x, CLEAN).certainty()
    # numbered, so that fewer than elsewhere are filled with NaN
    return found.assign(curvature=("sample", gini.sum(1))).assign_coords(sample=range(len(x)))


def retrieved(system: DiffusionSystem, sequences: Mapping[str, np.ndarray], noise: float, seed: int) -> xr.Dataset:
    """`retrieved` (split, estimate): tokens replaced by uniform draws, that share of all, which the conditionals
    restore, one position at a time at T = 0 (`bridges.SequentialSystem`), taking all others as they stand; and
    `returned`, whole sequences."""
    memory = bridges.SequentialSystem(system, schedule="linear")

    def of(split: str) -> xr.Dataset:
        how: Any = {"noise": noise, "start": CLEAN, "mode": "posterior_mode", "rng": seed}
        found = bridges.token_recovery(memory, sequences[split], **how).squeeze("noise", drop=True)
        return found[["recovery", "exact_match"]].rename(recovery="retrieved", exact_match="returned")

    return stack(of, split=list(sequences))
