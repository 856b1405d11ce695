"""What a probe measures, passage by passage, in blocks that are kept and can be resumed.

The same random numbers meet the suspect and the unseen passages: block k of either is corrupted by the same streams, at
the same places where both blocks are full.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float64, Int64

from bridges.attractors import attraction, memories_of
from bridges.extractions import TASKS, extraction
from bridges.manifest import array_hash
from bridges.membership import mean_counted, membership_scores
from bridges.probing.checks import student_mean
from bridges.probing.passages import Passages
from bridges.probing.store import Part, Parts
from bridges.recovery import token_recovery
from bridges.sequential import SequentialSystem
from bridges.streams import stream
from bridges.system import MemorySystem

BLOCK = 50
GENERATED = 25  # sequences that are generated together
NOISE = (0.1, 0.25, 0.5)
MIDDLE = NOISE.index(0.25)
SWEEPS = 5
SIGNS = {
    "calibrated_surprise": 1,
    "pseudo_log_likelihood": 1,
    "calibrated_surprise_mean": 1,
    "min_k": 1,
    "entropy": -1,
    "bound": 1,
    "recovery": 1,
    "unstable_rate": -1,
    "retrieval": 1,
    "retrieval_unstable": -1,
    "zlib": 1,
    "reference": 1,
    "unigram": 1,
    "nearest": 1,
    "exact_memory": 1,
}
"""The scores of a passage, each with the sign that makes larger values more like a training sequence. The first is the
one on which a verdict rests, chosen beforehand; all others are shown beside it."""
PRIMARY = "calibrated_surprise"
BASELINES = ("unigram", "nearest", "exact_memory")
"""Scores that do not ask the model."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes
    ----------
    extracted : passages of each side, of one document each, whose reconstruction is tried; 0 for none
    generated : sequences generated to ask the model alone
    draws : attempts for each passage and task
    steps : of the reverse process; None for the system's own
    seed : of all that is random
    """

    extracted: int
    generated: int
    draws: int
    steps: int | None
    seed: int


def answers(system: MemorySystem) -> str:
    """A hash of what a system expects in fixed noise: it tells those apart that describe themselves alike."""
    return array_hash(system.conditional(system.uniform(4, stream(0, "answers")), 0.5).entropy().round(6))


class Clock:
    """A budget of minutes, None for no end."""

    def __init__(self, minutes: float | None):
        self.begin, self.minutes = time.monotonic(), minutes

    def is_out(self, share: float = 1.0) -> bool:
        """Whether that share of it is used up."""
        return self.minutes is not None and time.monotonic() > self.begin + 60 * self.minutes * share


def generated(
    system: MemorySystem, plan: Plan, parts: Parts, clock: Clock, share: float, told: Callable[[str, float], None]
) -> Int64[np.ndarray, "n L"]:
    """Sequences of the model's own: as many as planned, or those, 25 at a time, for which that share of the budget
    gives time, but the first of them in any case."""
    found: list[np.ndarray] = []
    for first in range(0, plan.generated, GENERATED):
        if found and clock.is_out(share):
            break
        told("generating", first / plan.generated)
        n = min(GENERATED, plan.generated - first)
        made = parts.get(f"generated-{first}-{n}", partial(_generate, system, n, plan, first))
        found.append(made["x"])
    return np.concatenate(found)


def _generate(system: MemorySystem, n: int, plan: Plan, first: int) -> Part:
    return {"x": system.generate(n, stream(plan.seed, "generate", first), steps=plan.steps)}


def alone(
    system: MemorySystem, samples: Int64[np.ndarray, "n L"], plan: Plan, parts: Parts, clock: Clock
) -> dict[str, Any]:
    """The model without any text: the entropy of what it generates, how many sequences that repeats, and, unless time
    is up, whether they are attractors."""

    def returns() -> Part:
        found = attraction(system, max(2, plan.generated // 4), steps=plan.steps, rng=plan.seed)
        return {name: found[name].values for name in ("recovery", "exact_match")}

    attracted = {} if clock.is_out() else parts.get("attraction", returns)
    kinds = ("own", "scrambled", "random")
    return {
        "samples": samples,
        "entropy": student_mean(system.conditional(samples, 1e-5).entropy().mean(1)),
        "memories": memories_of(samples),
        "attraction": {
            name: {kind: tuple(row[0]) for kind, row in zip(kinds, values)} for name, values in attracted.items()
        },
    }


def of_passages(
    system: MemorySystem,
    sides: dict[str, Passages],
    plan: Plan,
    parts: Parts,
    clock: Clock,
    *,
    decode: Callable[[Int64[np.ndarray, " n"]], bytes],
    reference: MemorySystem | None = None,
    train: Int64[np.ndarray, "P L"] | None = None,
    exact: MemorySystem | None = None,
    told: Callable[[str, float], None],
) -> dict[str, xr.Dataset]:
    """Scores, recovery and extraction of the passages of each side, NaN where the clock ran out first.

    Parameters
    ----------
    system, sides, plan, parts, clock : what is asked, about what, how much of it, kept where, until when
    decode : bytes of the text of token ids (n,)
    reference : another system of the same vocabulary and length
    train : training sequences
    exact : the exact memory of these, no better than which a detector can be
    told : hears what is done and which share of the work that is

    Returns
    -------
    dict
        for each side a Dataset over `sample`: the scores of `SIGNS` that there are; `recovery_at`, `unstable_at`
        (noise, sample), the latter NaN of a masked model; `extracted` (task, sample), the share of draws that gave the
        passage back; `token_surprise`, `final` and `corrupted` (sample, position), the latter at t = 0.25. Of a masked
        model, `retrieval_at` and `retrieval_unstable_at` (noise, sample), where tokens are replaced and not masked, and
        the model is run at T = 0 one position at a time (`SequentialSystem`). The attribute ``corruption`` is "masked"
        or "replaced"
    """
    found: dict[str, dict[int, Part]] = {name: {} for name in sides}
    jobs = list(_jobs(sides, plan, masked=system.carries_over))
    begun = "scores", 0  # which are made in any case, and what is begun on all sides
    for number, (name, kind, k) in enumerate(jobs):
        if (kind, k) != begun and clock.is_out():
            break
        begun = kind, k
        told(f"{kind} of {name} passages", number / max(1, len(jobs)))
        block = sides[name].rows(slice(k * BLOCK, (k + 1) * BLOCK))
        how = {
            "scores": lambda b=block: _scores(system, b, decode, reference, train, exact),
            "recovery": lambda b=block, k=k: _recovery(system, b, plan, k),
            "extraction": lambda b=block, k=k: _extraction(system, b, plan, k),
            "retrieval": lambda b=block, k=k: _retrieval(system, b, plan, k),
        }[kind]
        digest = array_hash(np.stack([block.tokens, block.counted]))
        found[name].setdefault(k, {}).update(parts.get(f"{name}-{kind}-{k}-{digest}", how))
    corruption = {"corruption": "masked" if system.carries_over else "replaced"}
    return {name: _joined(side, found[name]).assign_attrs(corruption) for name, side in sides.items()}


def _jobs(sides: dict[str, Passages], plan: Plan, *, masked: bool) -> Iterator[tuple[str, str, int]]:
    """All scores first, then the dear measurements, the sides in turn: whatever was done when time is up is as much of
    each."""
    numbers = range(max((-(-len(side.tokens) // BLOCK) for side in sides.values()), default=0))
    for kinds in (("scores",), ("recovery", "extraction", "retrieval")[: 2 + masked]):
        for k in numbers:
            for kind in kinds:
                for name, side in sides.items():
                    limit = plan.extracted if kind in ("extraction", "retrieval") else len(side.tokens)
                    if k * BLOCK < min(limit, len(side.tokens)):
                        yield name, kind, k


def _scores(
    system: MemorySystem,
    block: Passages,
    decode: Callable[[Int64[np.ndarray, " n"]], bytes],
    reference: MemorySystem | None,
    train: Int64[np.ndarray, "P L"] | None,
    exact: MemorySystem | None,
) -> Part:
    x, counted = block.tokens, block.counted
    asked = membership_scores(system, x, counted=counted, train=train, rng=0)
    part = {name: asked[name].values for name in SIGNS if name in asked}
    part["token_surprise"] = asked.token_calibrated_surprise.values
    per_token = np.array([len(zlib.compress(decode(row[keep]), 9)) / keep.sum() for row, keep in zip(x, counted)])
    part["zlib"] = part["pseudo_log_likelihood"] / per_token
    if reference is not None:
        expected = membership_scores(reference, x, counted=counted, rng=0).pseudo_log_likelihood.values
        with np.errstate(invalid="ignore"):  # what is impossible for both has no such score
            part["reference"] = part["pseudo_log_likelihood"] - expected
    if exact is not None:
        part["exact_memory"] = membership_scores(exact, x, counted=counted, rng=0).pseudo_log_likelihood.values
    if hasattr(system, "process"):
        part["bound"] = _bound(system, x, counted)
    return part


def _bound(system: Any, x: Int64[np.ndarray, "N L"], counted: Bool[np.ndarray, "N L"]) -> Float64[np.ndarray, " N"]:
    """Minus the terms of the evidence bound of the tokens that count, nats per token, (N,); without the prior's where
    that is infinite, as for all x."""
    from uddm.objective import token_bound

    bound = token_bound(system.process, system.denoiser, system.tokens(x), times=16, generator=0)
    total = bound.total if np.isfinite(system.process.prior_divergence()) else bound.diffusion + bound.reconstruction
    return mean_counted(-total.cpu().numpy(), counted)


def _recovery(system: MemorySystem, block: Passages, plan: Plan, k: int) -> Part:
    found = token_recovery(system, block.tokens, noise=NOISE, steps=plan.steps, rng=_block_seed(plan, k))
    recovered, unstable = _rates(found, block)
    if system.carries_over:
        unstable = np.full_like(unstable, np.nan)
    part = {"recovery_at": recovered.T, "unstable_at": unstable.T}
    part |= {name: found[name].values[MIDDLE] for name in ("corrupted", "final")}
    return part | {"recovery": recovered[MIDDLE], "unstable_rate": unstable[MIDDLE]}


def _retrieval(system: MemorySystem, block: Passages, plan: Plan, k: int) -> Part:
    block = block.rows(slice(plan.extracted - k * BLOCK))
    one_by_one, seed = SequentialSystem(system), _block_seed(plan, k)
    found = token_recovery(one_by_one, block.tokens, noise=NOISE, mode="posterior_mode", steps=SWEEPS, rng=seed)
    recovered, unstable = _rates(found, block)
    part = {"retrieval_at": recovered.T, "retrieval_unstable_at": unstable.T}
    return part | {"retrieval": recovered[MIDDLE], "retrieval_unstable": unstable[MIDDLE]}


def _rates(found: xr.Dataset, block: Passages) -> tuple[Float64[np.ndarray, "T N"], Float64[np.ndarray, "T N"]]:
    """Of the tokens that count: the share of those corrupted that come back, and of the others that are altered."""
    x, z, y, counted = block.tokens, found.corrupted.values, found.final.values, block.counted
    changed, intact, right = (z != x) & counted, (z == x) & counted, y == x
    with np.errstate(invalid="ignore"):
        return (changed & right).sum(-1) / changed.sum(-1), (intact & ~right).sum(-1) / intact.sum(-1)


def _block_seed(plan: Plan, k: int) -> int:
    return int(stream(plan.seed, "block", k).integers(2**63))


def _extraction(system: MemorySystem, block: Passages, plan: Plan, k: int) -> Part:
    x = block.tokens[: plan.extracted - k * BLOCK]
    found = extraction(system, x, draws=plan.draws, steps=plan.steps, rng=_block_seed(plan, k))
    return {"extracted": found.extracted.values.T / plan.draws}


_AXES = {
    "recovery_at": ("sample", "noise"),
    "unstable_at": ("sample", "noise"),
    "retrieval_at": ("sample", "noise"),
    "retrieval_unstable_at": ("sample", "noise"),
    "extracted": ("sample", "task"),
    **dict.fromkeys(("token_surprise", "corrupted", "final", "tokens", "counted"), ("sample", "position")),
}


def _joined(side: Passages, blocks: dict[int, Part]) -> xr.Dataset:
    """The blocks as one Dataset; NaN, or -1 of tokens, for what was not measured."""
    n = len(side.tokens)
    arrays: dict[str, np.ndarray] = {"tokens": side.tokens, "counted": side.counted, "document": side.document}
    for k, part in blocks.items():
        for name, values in part.items():
            if name not in arrays:
                missing = -1 if values.dtype.kind == "i" else np.nan
                arrays[name] = np.full((n, *values.shape[1:]), missing, values.dtype)
            arrays[name][k * BLOCK : k * BLOCK + len(values)] = values
    variables = {name: (_AXES.get(name, ("sample",)), values) for name, values in arrays.items()}
    return xr.Dataset(variables, coords={"noise": list(NOISE), "task": list(TASKS)})


def with_unigram(measured: dict[str, xr.Dataset], *, as_reference: bool = False) -> None:
    """Add the score `unigram`, the mean log-frequency of a passage's tokens in the text of all sides together; and, as
    `reference`, the pseudo-log-likelihood less it."""
    text = np.concatenate([m.tokens.values[m.counted.values] for m in measured.values()])
    frequency = np.bincount(text) / len(text)
    for m in measured.values():
        x, counted = m.tokens.values, m.counted.values
        logs = np.log(frequency[np.where(counted, x, text[0])])
        m["unigram"] = ("sample", logs.mean(1, where=counted))
        if as_reference:
            m["reference"] = m.pseudo_log_likelihood - m.unigram
