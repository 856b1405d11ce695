"""Extraction: how often a passage comes back word for word from a part of it.

A passage x is *(n, p)-discoverably extractable* if n independent attempts give it back with probability p (Hayes et
al., arXiv 2410.19482); p_z is the probability of one attempt, here estimated as the share of `draws` that end in x, all
L tokens of it. What an attempt is given, its *task*:

    corrupted   every token, each replaced by a uniform draw, or masked, with probability 1 - alpha_t at t = `noise`;
    prefix      the first `given` L tokens as they are, and noise;
    edges       the first and the last `given` L / 2 tokens as they are, and noise between them.

Given tokens are kept by the dynamics. By chance, a prediction that is uniform over the K tokens restores m unknown
tokens with probability K^-m, and dynamics that change nothing restore a corrupted passage with probability
(alpha_t + (1 - alpha_t)/K)^L: not negligible where a passage is short, or its tokens are predictable. So p_z says
something beside that of unseen passages of the same source. With one seed these are corrupted at the same positions:
streams are keyed by the index of the sequence and of the draw.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Int64, Integer
from scipy.special import ndtri

from amtheory import _validation as check
from amtheory.intervals import Estimate, wilson, wilson_ends
from bridges.manifest import array_hash, manifest, to_attribute
from bridges.streams import as_seed, stream
from bridges.system import MemorySystem, as_tokens, check_confidence, check_dynamics, check_time

TASKS = ("corrupted", "prefix", "edges")
"""What an attempt of `extraction` is given."""
ROWS = 4096  # attempts that are made together


def extraction(
    system: MemorySystem,
    x: Integer[np.ndarray, "N L"],
    *,
    tasks: Sequence[str] = TASKS,
    noise: float = 0.25,
    given: float = 0.5,
    draws: int = 20,
    mode: str = "sample",
    steps: int | None = None,
    last: str = "ancestral",
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """How often each sequence is given back exactly, from a corruption of it, its beginning, or its two ends.

    Parameters
    ----------
    system : what `as_system` gives, or any `MemorySystem`; all tasks but "corrupted" need one that keeps tokens
    x : (N, L) sequences, ids in [0, K)
    tasks : of "corrupted", "prefix" and "edges"; default all three
    noise : time in (0, 1] that corrupts in the task "corrupted", and that the dynamics are told there; default 0.25
    given : share of tokens that are given in the other two, in (0, 1), rounded to whole tokens; default a half
    draws : attempts for each sequence and task, >= 1; default 20
    mode : "sample", the default, "posterior_mode", "x0_mode" or "one_shot", as for `MemorySystem.recover`. With
        deterministic ones, draws differ by their noise alone
    steps : steps of the reverse process, or sweeps of a binary memory, >= 1; default None, the system's own
    last : the last update of the reverse process, "ancestral", the default, "greedy" or "none"
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy
    confidence : of the intervals, in (0, 1); default 0.95

    Returns
    -------
    Dataset over `task` and `sample`:

    - `extracted` (task, sample): how many of the draws gave the sequence back, all tokens equal;
    - `p_z` (task, sample, estimate): their share, and Wilson's interval;
    - `extraction_rate` (task, estimate): share of sequences that came back at least once, and Wilson's interval, each
      sequence being one trial;
    - `kept` (task, position): whether a token is given as it is.

    The attribute `manifest` is the record from which it can be repeated.

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range; `given` that gives no token, or all of them; a
        system that keeps no tokens

    See Also
    --------
    token_recovery : token by token, also where a sequence does not come back as a whole
    membership_scores : how well sequences are recognised, whether or not they come back

    Examples
    --------
    The exact limit of memorization gives its strings back, when it is told how they begin:

    >>> import numpy as np
    >>> from bridges import as_system, extraction
    >>> from uddm import EmpiricalBayes, UniformProcess
    >>> stored, unseen = np.array([[0, 1, 2, 3], [3, 2, 1, 0]]), np.array([[0, 1, 1, 1]])
    >>> system = as_system(EmpiricalBayes(stored, UniformProcess(4)))
    >>> for x in (stored, unseen):
    ...     extraction(system, x, tasks=["prefix"], rng=0).p_z.sel(task="prefix", estimate="value").values.tolist()
    [1.0, 1.0]
    [0.0]
    """
    x = as_tokens("x", x, system)
    check.between("given", given, 0, 1)
    if isinstance(tasks, str) or not (tasks := check.several("tasks", tasks)) or len(set(map(str, tasks))) < len(tasks):
        raise ValueError(f"`tasks` must hold some of {', '.join(map(repr, TASKS))}, each once, got {tasks!r}")
    kept = np.array([_kept(check.choice("tasks", task, TASKS), given, x.shape[1]) for task in tasks])
    noise = check_time("noise", noise)
    check.integer("draws", draws, 1)
    check_dynamics(mode, last, steps)
    check_confidence(confidence)
    seed, begin = as_seed(rng), time.perf_counter()
    extracted = np.zeros((len(tasks), len(x)), np.int64)
    together = max(1, ROWS // len(x))
    for counts, task, known in zip(extracted, tasks, kept):
        for first in range(0, draws, together):
            attempts = range(first, min(first + together, draws))
            z = np.concatenate([_given(system, x, task, noise, known, seed, draw) for draw in attempts])
            how = {"mode": mode, "steps": steps, "last": last}
            how |= {"start": noise} if task == "corrupted" else {"start": 1.0, "keep": np.broadcast_to(known, z.shape)}
            y = system.recover(z, **how, rng=stream(seed, "recover", task, first))
            counts += (y.reshape(len(attempts), *x.shape) == x).all(2).sum(0)
    share = extracted / draws
    low, high = wilson_ends(share, draws, ndtri((1 + confidence) / 2))
    rates = [wilson(found, len(x), confidence) for found in np.count_nonzero(extracted, axis=1)]
    record = manifest(
        measurement="extraction",
        **{"seed": seed, "tasks": list(tasks), "noise": noise, "given": given, "draws": draws, "mode": mode},
        **{"steps": system.steps_taken(mode, steps), "last": last, "confidence": confidence},
        **{"precision": "float64 mixtures and draws", "system": system.describe(), "input": array_hash(x)},
        seconds=time.perf_counter() - begin,
    )
    return xr.Dataset(
        {
            "extracted": (("task", "sample"), extracted),
            "p_z": (("task", "sample", "estimate"), np.stack([share, low, high], -1)),
            "extraction_rate": (("task", "estimate"), np.array(rates)),
            "kept": (("task", "position"), kept),
        },
        coords={"task": list(tasks), "estimate": list(Estimate._fields)},
        attrs={"manifest": to_attribute(record)},
    )


def _given(
    system: MemorySystem, x: Int64[np.ndarray, "N L"], task: str, noise: float, known: Any, seed: int, draw: int
) -> Int64[np.ndarray, "N L"]:
    """What an attempt starts from."""
    if task != "corrupted":
        return np.where(known, x, system.prior(len(x), stream(seed, "prior", task, draw)))
    own = (stream(seed, "corrupt", noise, draw, i) for i in range(len(x)))
    return np.concatenate([system.corrupt(x[[i]], noise, rng) for i, rng in enumerate(own)])


def _kept(task: str, given: float, length: int) -> Bool[np.ndarray, " {length}"]:
    """Which positions are given as they are."""
    position = np.arange(length)
    if task == "corrupted":
        return position < 0
    each = round(given * length) if task == "prefix" else round(given * length / 2)
    kept = (position < each) | ((task == "edges") & (position >= length - each))
    if kept.all() or not kept.any():
        allowed = f"lie in (0, 1) and give some of the {length} tokens, not all, in the task {task!r}"
        raise ValueError(f"`given` must {allowed}, got {given}")
    return kept
