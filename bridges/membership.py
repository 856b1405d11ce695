"""Membership scores: how much a sequence looks, to a system, like one that it was trained on.

All come from one pass over the sequences as they stand, p_l being the law of token l given the others (the cavity):

    pseudo-log-likelihood  (1/L) sum_l log p_l(x_l),          entropy  (1/L) sum_l H_l,
    calibrated surprise  c_l = (log p_l(x_l) + H_l) / sd_l,   sd_l^2 = Var log p_l(y), y drawn from p_l.

As E log p_l(y) = -H_l, a sequence drawn token by token from the model's own conditionals has c_l of mean 0 and variance
1, whether its text is easy or hard. Its mean over the lowest fifth of positions is Min-K%++ (Zhang et al.,
arXiv 2404.02936), with all other tokens in place of the earlier ones; that of log p_l is Min-K% (Shi et al., arXiv
2310.16789). A score says nothing by itself, as text can be easy without having been seen: it is compared with those of
unseen sequences of the same source (`bridges.roc`).
"""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float64, Int64, Integer

from amtheory import _validation as check
from bridges.manifest import array_hash, manifest, to_attribute
from bridges.streams import as_seed
from bridges.system import MemorySystem, as_tokens, check_time

SCORES = MappingProxyType(
    {
        "pseudo_log_likelihood": 1,
        "entropy": -1,
        "calibrated_surprise": 1,
        "calibrated_surprise_mean": 1,
        "min_k": 1,
        "nearest": 1,
    }
)
"""The scores of `membership_scores`, each with the sign that makes larger values more like a training sequence."""

LEAST_SD = 1e-3  # nats: where float32 rounds log p by 1e-6, a smaller standard deviation would magnify that
FIFTH = 5  # 1 / the share of positions that are the lowest
PAIRS = 2**20  # of a sequence and a training sequence that are in memory together


def membership_scores(
    system: MemorySystem,
    x: Integer[np.ndarray, "N L"],
    *,
    t: float = 1e-5,
    counted: Bool[np.ndarray, "N L"] | None = None,
    train: Integer[np.ndarray, "P L"] | None = None,
    rng: int | np.random.Generator | None = None,
) -> xr.Dataset:
    """Scores of sequences by which those that the system was trained on might be told from others.

    Parameters
    ----------
    system : what `as_system` gives, or any `MemorySystem`; one that measures the cavity, as the posterior follows each
        token's own z
    x : (N, L) sequences, ids in [0, K)
    t : in (0, 1]; default 1e-5: sequences are taken as clean
    counted : (N, L) bool, which tokens count, at least one of each sequence: padding and other special tokens belong in
        no score; default None, all
    train : (P, L) the training sequences, ids in [0, K), for `nearest`; default None, without it
    rng : None, an integer seed >= 0 or a Generator. Nothing is drawn: it is kept in the record, as of every measurement

    Returns
    -------
    Dataset over `sample` and `position`:

    - `token_log_prob` log p_l(x_l), nats; `token_entropy` H_l, nats; `token_calibrated_surprise` c_l, in standard
      deviations, which are taken as 1e-3 nats where they are smaller: 0 for the token that a certain system expects,
      and for each of equally probable ones;
    - over `sample`, their means over the positions that count: `pseudo_log_likelihood`, `entropy`,
      `calibrated_surprise_mean`; and the means over the lowest fifth of these, rounded up: `min_k`, of log p_l, and
      `calibrated_surprise`, of c_l. The latter is Min-K%++, which has no other name here;
    - with `train`, `nearest` (sample): the largest share of equal tokens with any training sequence. It knows the
      answer, so that no detector is expected to do better.

    Larger is more like a training sequence, but for `entropy`: `SCORES` has the signs. A sequence with an impossible
    token scores -inf, but for the entropy. Its score less that of another system, a reference trained on other
    sequences, is a score again.

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    See Also
    --------
    area_under_roc : how well a score tells members from others
    true_positive_rate : how many members it finds among few false alarms
    conditional_entropy : the entropies alone, with an interval

    Examples
    --------
    >>> from amtheory import Hopfield
    >>> from amtheory.patterns import random_patterns
    >>> from bridges import area_under_roc, as_system, membership_scores, to_tokens
    >>> x = random_patterns(8, 100, rng=0)
    >>> system = as_system(Hopfield().fit(x), beta=1.0)
    >>> stored, others = (membership_scores(system, to_tokens(y)) for y in (x, random_patterns(8, 100, rng=1)))
    >>> area_under_roc(stored.calibrated_surprise, others.calibrated_surprise).value
    1.0
    """
    x = as_tokens("x", x, system)
    check_time("t", t)
    counted = as_counted("counted", counted, x)
    train = None if train is None else as_tokens("train", train, system)
    seed, begin = as_seed(rng), time.perf_counter()
    log_prob, entropy, variance = system.conditional(x, t).surprise(x)
    calibrated = (log_prob + entropy) / np.sqrt(variance).clip(LEAST_SD)
    each, nats, deviations = ("sample", "position"), {"units": "nats"}, {"units": "standard deviations"}
    per_token = {"units": "nats per token"}
    variables = {
        "token_log_prob": (each, log_prob, nats),
        "token_entropy": (each, entropy, nats),
        "token_calibrated_surprise": (each, calibrated, deviations),
        "pseudo_log_likelihood": ("sample", mean_counted(log_prob, counted), per_token),
        "entropy": ("sample", mean_counted(entropy, counted), per_token),
        "calibrated_surprise": ("sample", lowest_mean(calibrated, counted), deviations),
        "calibrated_surprise_mean": ("sample", mean_counted(calibrated, counted), deviations),
        "min_k": ("sample", lowest_mean(log_prob, counted), per_token),
    }
    if train is not None:
        variables["nearest"] = ("sample", nearest_share(x, train, counted), {"units": "share of tokens"})
    record = manifest(
        measurement="membership_scores",
        **{"seed": seed, "t": t, "counted": array_hash(counted), "train": None if train is None else array_hash(train)},
        **{"precision": "float64 reductions", "least_sd": LEAST_SD, "lowest": 1 / FIFTH},
        **{"system": system.describe(), "input": array_hash(x), "seconds": time.perf_counter() - begin},
    )
    return xr.Dataset(variables, attrs={"manifest": to_attribute(record)})


def as_counted(name: str, counted: Any, x: Int64[np.ndarray, "N L"]) -> Bool[np.ndarray, "N L"]:
    """Which tokens of `x` (N, L) count; None for all. ValueError unless a mask of that shape, with one in each row."""
    if counted is None:
        return np.ones(x.shape, bool)
    mask = check.unmasked(name, counted)
    if mask.dtype != bool or mask.shape != x.shape or not mask.any(1).all():
        got = f"shape {mask.shape} of dtype {mask.dtype}"
        raise ValueError(f"`{name}` must be a bool mask of shape {x.shape}, true somewhere in each row, got {got}")
    return mask


def mean_counted(values: Float64[np.ndarray, "N L"], counted: Bool[np.ndarray, "N L"]) -> Float64[np.ndarray, " N"]:
    """Mean over the positions of each row of `values` (N, L) that count."""
    return values.mean(1, where=counted)


def lowest_mean(
    values: Float64[np.ndarray, "N L"], counted: Bool[np.ndarray, "N L"] | None = None
) -> Float64[np.ndarray, " N"]:
    """Mean over the lowest fifth of the positions of each row of `values` (N, L) that count, rounded up: ceil(L/5) of
    L."""
    counted = np.ones(values.shape, bool) if counted is None else counted
    ordered = np.sort(np.where(counted, values, np.inf), axis=1)
    return ordered.mean(1, where=np.arange(values.shape[1]) < -(-counted.sum(1, keepdims=True) // FIFTH))


def nearest_share(
    x: Int64[np.ndarray, "N L"], train: Int64[np.ndarray, "P L"], counted: Bool[np.ndarray, "N L"] | None = None
) -> Float64[np.ndarray, " N"]:
    """max over mu of the share of the positions that count where `x` (N, L) equals row mu of `train` (P, L): 1 for a
    copy, (N,).

    No more than about a million pairs are in memory at a time, in the smallest integers that hold ids and counts: the
    comparisons cost what they move.
    """
    counted = np.ones(x.shape, bool) if counted is None else counted
    ids = np.min_scalar_type(max(x.max(), train.max()))
    x, train = x.astype(ids), train.astype(ids)
    rows, found = max(1, PAIRS // len(train)), []
    for start in range(0, len(x), rows):
        block, mask = x[start : start + rows], counted[start : start + rows]
        equal = np.zeros((len(block), len(train)), np.min_scalar_type(x.shape[1]))
        for own, counts, column in zip(block.T, mask.T, np.ascontiguousarray(train.T)):
            equal += (own[:, None] == column) & counts[:, None]
        found.append(equal.max(1))
    return np.concatenate(found) / counted.sum(1)
