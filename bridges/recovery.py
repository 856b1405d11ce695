"""Token recovery: corrupt a sequence, run the dynamics, count what came back (arXiv 2604.26841, eq. 12, Figs. 1, 2).

Experiment 1 (deterministic retrieval): `start=1.0, mode="posterior_mode"`; the dynamics are told t = 1 at any noise.
Experiment 2 (stochastic retrieval): `start=None`; the noise sets both.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Int8, Integer

from amtheory import _validation as check
from amtheory.intervals import Estimate, bootstrap_ratio, wilson
from bridges.manifest import array_hash, manifest, to_attribute
from bridges.streams import as_seed, stream
from bridges.system import MemorySystem, as_tokens, check_confidence, check_dynamics, check_time, check_times

if TYPE_CHECKING:
    from uddm.process import Process

TOKEN_CLASSES = ("stable", "unstable", "recovered", "failed")
"""Uncorrupted and kept, uncorrupted and altered, corrupted and restored, corrupted and not restored."""

CARRIED_OVER = "tokens that are shown are carried over by the dynamics, so that none can be unstable"


def token_classes(
    original: Integer[np.ndarray, "*shape"],
    corrupted: Integer[np.ndarray, "*shape"],
    recovered: Integer[np.ndarray, "*shape"],
) -> Int8[np.ndarray, "*shape"]:
    """Which of `TOKEN_CLASSES` each token belongs to.

    Parameters
    ----------
    original, corrupted, recovered : token ids before, after the corruption and at the end; three arrays of one shape

    Returns
    -------
    int8 of that shape: an index into `TOKEN_CLASSES`

    Raises
    ------
    TypeError, ValueError : no ids, or arrays of different shapes

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import TOKEN_CLASSES, token_classes
    >>> classes = token_classes(np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2]), np.array([1, 3, 1, 3]))
    >>> [TOKEN_CLASSES[c] for c in classes]
    ['stable', 'unstable', 'recovered', 'failed']
    """
    named = {"original": original, "corrupted": corrupted, "recovered": recovered}
    original, corrupted, recovered = (check.unmasked(name, array) for name, array in named.items())
    for name, array in zip(named, (original, corrupted, recovered)):
        if array.dtype.kind not in "iu" or array.shape != original.shape:
            raise ValueError(
                f"`{name}` must be integer ids of shape {original.shape}, got {array.dtype}, {array.shape}"
            )
    return np.where(corrupted == original, recovered != original, 2 + (recovered != original)).astype(np.int8)


def frequency_chance(
    x: Integer[np.ndarray, "N L"],
    noise: float | Sequence[float],
    *,
    vocab_size: int | None = None,
    schedule: str = "log-linear",
    process: Process | None = None,
) -> xr.DataArray:
    """Recovery of corrupted tokens by Bayes inference that knows the frequencies of single tokens only: what a model
    must exceed to have learnt anything else.

    Parameters
    ----------
    x : (N, L) token ids in [0, vocab_size), from which the frequencies are taken
    noise : one time in (0, 1] that corrupts, or several
    vocab_size, schedule : K >= 2 and the schedule of uniform noise, of `uddm.choices`; default "log-linear"
    process : other noise, in their place, as that of a denoiser; default None

    Returns
    -------
    DataArray over ``noise``: the probability that a corrupted token (z != x, masks among them) is drawn right from its
    posterior

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range, or missing

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import frequency_chance
    >>> x = np.array([[0, 0, 1, 2]])
    >>> chance = frequency_chance(x, [0.5, 1.0], vocab_size=3)
    >>> bool(chance.sel(noise=0.5) < chance.sel(noise=1.0))  # a corrupted token's own z misleads, unless all is noise
    True
    >>> round(chance.sel(noise=1.0).item(), 3)  # sum of squared frequencies
    0.375
    >>> from uddm import MaskedProcess
    >>> round(frequency_chance(x, 0.5, process=MaskedProcess(3)).item(), 3)  # a mask says nothing
    0.375
    """
    import torch

    from uddm import UniformProcess
    from uddm._validation import check_kind, check_tokens
    from uddm.process import Process

    if process is None:
        if vocab_size is None:
            raise TypeError("`vocab_size` or `process` must be given")
        process = UniformProcess(vocab_size, schedule)
    check_kind("process", process, Process)
    K = process.vocab_size
    counts = torch.bincount(check_tokens("x", x, K).ravel(), minlength=K)
    frequency, tokens = counts.double() / counts.sum(), process.is_token(torch.arange(K))

    def at(t: float) -> float:
        # p(x | z) = f_x / (1 + f_z (e^b - 1)) for z != x, of which every token is equally likely, and f_x at a mask
        b = process.own_logit(t).clamp_max(700)  # infinite where there is no such token
        _, wrong, hidden = (log.exp() for log in process.log_likelihoods(t))
        weights = torch.sigmoid(-(frequency.log() + b + torch.log(-torch.expm1(-b)))) * tokens
        of_tokens = wrong * (frequency**2 * (weights.sum() - weights)).sum()
        right = of_tokens + hidden * (frequency**2).sum()
        return float(right / (wrong * (tokens.sum() - 1) + hidden))

    times = check_times("noise", noise)
    return xr.DataArray([at(t) for t in times], coords={"noise": times})


def token_recovery(
    system: MemorySystem,
    x: Integer[np.ndarray, "N L"],
    *,
    noise: float | Sequence[float],
    start: float | None = None,
    mode: str = "sample",
    last: str = "ancestral",
    steps: int | None = None,
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Corrupt each sequence at each noise, run the dynamics from there, and compare (arXiv 2604.26841, eq. 12).

    Two rates that are easily confused: *token recovery* is of the corrupted tokens alone, *total recovery* (Fig. 1) of
    all tokens, so that it is high at little noise even if nothing is restored.

    Parameters
    ----------
    system : what `as_system` gives, or any `MemorySystem`
    x : (N, L) reference sequences, ids in [0, K)
    noise : one time in (0, 1] that corrupts, or several; not a fraction of tokens: see `MemorySystem.corrupt`. Of
        spins, time t flips a fraction t / 2
    start : time in (0, 1] that the dynamics are told; default None, the noise itself
    mode : "sample", the default, "posterior_mode", "x0_mode" or "one_shot", as for `MemorySystem.recover`
    last : the last update of the reverse process, "ancestral", the default, "greedy" or "none"
    steps : steps of the reverse process, or sweeps of a binary memory, >= 1; default None, the system's own
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy. Each noise has a stream of its own, so
        results do not depend on the list
    confidence : of the intervals, in (0, 1); default 0.95

    Returns
    -------
    Dataset over `noise`, `sample`, `position`:

    - tokens `original` (sample, position), `corrupted` and `final` (noise, sample, position);
    - `recovery`: restored / corrupted tokens, pooled over sequences;
      `recovery_mean`: the same ratio within each sequence, averaged (as published; sequences without a corrupted token
      are NaN and left out); `total_recovery`: all tokens equal to the original at the end; `unstable_rate`: altered /
      uncorrupted tokens, NaN with the attribute ``reason`` where the dynamics carry all of these over, as that of a
      masked model; `exact_match`: whole sequences restored. Each over `noise` and `estimate`
      (value, low, high): bootstrap intervals over sequences, Wilson's for `exact_match`.

    The attribute `manifest` is the record from which it can be repeated.

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    See Also
    --------
    frequency_chance : the recovery that the frequencies of tokens alone allow
    amtheory.basins.basin_curve : recovery from a given number of flips, in many memories

    Examples
    --------
    >>> from amtheory import Hopfield
    >>> from amtheory.patterns import random_patterns
    >>> from bridges import as_system, to_tokens, token_recovery
    >>> x = random_patterns(5, 100, rng=0)
    >>> system = as_system(Hopfield().fit(x), beta=4.0)
    >>> found = token_recovery(system, to_tokens(x), noise=[0.2, 0.4], mode="posterior_mode", rng=0)
    >>> found.recovery.sel(estimate="value").values.tolist()
    [1.0, 1.0]
    """
    x = as_tokens("x", x, system)
    times = check_times("noise", noise)
    if start is not None:
        check_time("start", start)
    check_dynamics(mode, last, steps)
    check_confidence(confidence)
    seed, begin = as_seed(rng), time.perf_counter()
    corrupted, final, rates = [], [], []
    for t in times:
        z = system.corrupt(x, t, stream(seed, "corrupt", t))
        told = t if start is None else start
        y = system.recover(z, start=told, mode=mode, steps=steps, last=last, rng=stream(seed, "recover", t))
        corrupted.append(z)
        final.append(y)
        rates.append(_rates(x, z, y, stream(seed, "bootstrap", t), confidence))
        if system.carries_over:
            rates[-1]["unstable_rate"] = Estimate(np.nan, np.nan, np.nan)
    record = manifest(
        measurement="token_recovery",
        **{"seed": seed, "start": start, "mode": mode, "last": last, "steps": system.steps_taken(mode, steps)},
        **{"confidence": confidence, "precision": "float64 mixtures and draws"},
        **{"system": system.describe(), "input": array_hash(x), "seconds": time.perf_counter() - begin},
    )
    found = xr.Dataset(
        {
            "original": (("sample", "position"), x),
            "corrupted": (("noise", "sample", "position"), np.stack(corrupted)),
            "final": (("noise", "sample", "position"), np.stack(final)),
            **{name: (("noise", "estimate"), np.array([r[name] for r in rates])) for name in rates[0]},
        },
        coords={"noise": times, "estimate": list(Estimate._fields)},
        attrs={"manifest": to_attribute(record)},
    )
    if system.carries_over:
        found.unstable_rate.attrs["reason"] = CARRIED_OVER
    return found


def _rates(
    x: np.ndarray, z: np.ndarray, y: np.ndarray, rng: np.random.Generator, confidence: float
) -> dict[str, Estimate]:
    changed, restored = z != x, y == x
    corrupted = changed.sum(1)
    recovered = (changed & restored).sum(1)
    intact = (~changed).sum(1)
    some = corrupted > 0
    per_sequence = recovered[some] / corrupted[some]
    return {
        "recovery": bootstrap_ratio(recovered, corrupted, rng, confidence=confidence),
        "recovery_mean": bootstrap_ratio(per_sequence, np.ones(len(per_sequence)), rng, confidence=confidence),
        "total_recovery": bootstrap_ratio(restored.sum(1), np.full(len(x), x.shape[1]), rng, confidence=confidence),
        "unstable_rate": bootstrap_ratio((~changed & ~restored).sum(1), intact, rng, confidence=confidence),
        "exact_match": wilson(restored.all(1).sum(), len(x), confidence),
    }
