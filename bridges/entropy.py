"""Conditional entropy of tokens and sequences (arXiv 2604.26841, eq. 13, Figs. 3-5).

The entropy of a sequence is the sum over its tokens of H(x_l | z without l): an upper bound of the joint conditional
entropy, equal to it only if the tokens are independent given z. For a trained network it is the entropy of x_theta,
the cavity distribution, which ignores the evidence of the token's own z.
"""

from __future__ import annotations

import time
from typing import Any, overload

import numpy as np
import xarray as xr

from amtheory.intervals import Estimate, bootstrap_mean
from bridges.manifest import array_hash, manifest, to_attribute
from bridges.recovery import TOKEN_CLASSES
from bridges.streams import as_seed, stream
from bridges.system import MemorySystem, as_tokens, check_confidence, check_time


def conditional_entropy(
    system: MemorySystem,
    x: np.ndarray,
    *,
    t: float = 1e-5,
    classes: np.ndarray | None = None,
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Conditional entropies of the sequences x (N, L) as they stand, the system being told time t.

    Parameters
    ----------
    t : in (0, 1]; 1e-5 as published: sequences are taken as clean
    classes : (N, L) indices into `TOKEN_CLASSES`, kept beside the entropies for histograms by class
    rng : seed or generator of the bootstrap
    confidence : of the interval, in (0, 1)

    Returns
    -------
    Dataset: `token_entropy` (sample, position) and `sequence_entropy` (sample) in nats, `token_class` if given, and
    `mean_entropy` (estimate: value, low, high), nats per token with a bootstrap interval over sequences.

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range.
    """
    x = as_tokens("x", x, system)
    check_time("t", t)
    if classes is not None and np.shape(classes) != x.shape:
        raise ValueError(f"`classes` must have the shape of x, {x.shape}, got {np.shape(classes)}")
    if classes is not None and not np.isin(classes, range(len(TOKEN_CLASSES))).all():
        raise ValueError(f"`classes` must hold indices into {TOKEN_CLASSES}, got {np.unique(classes)}")
    check_confidence(confidence)
    seed, begin = as_seed(rng), time.perf_counter()
    entropy = system.conditional(x, t).entropy()
    mean = bootstrap_mean(entropy.mean(1), stream(seed, "entropy"), confidence=confidence)
    record = manifest(
        measurement="conditional_entropy",
        **{"seed": seed, "t": t, "confidence": confidence, "precision": "float64 reductions"},
        **{"system": system.describe(), "input": array_hash(x), "seconds": time.perf_counter() - begin},
    )
    variables = {
        "token_entropy": (("sample", "position"), entropy, {"units": "nats"}),
        "sequence_entropy": (("sample",), entropy.sum(1), {"units": "nats"}),
        "mean_entropy": (("estimate",), np.array(mean), {"units": "nats per token"}),
    }
    if classes is not None:
        variables["token_class"] = (("sample", "position"), np.asarray(classes, np.int8), {})
    coords = {"estimate": list(Estimate._fields)}
    return xr.Dataset(variables, coords=coords, attrs={"manifest": to_attribute(record)})


@overload
def entropy_gap(training: xr.DataArray, generated: xr.DataArray) -> xr.DataArray: ...
@overload
def entropy_gap(training: xr.Dataset | Estimate, generated: xr.Dataset | Estimate) -> Estimate: ...
def entropy_gap(training: Any, generated: Any) -> Any:
    """Mean conditional entropy of generated minus that of training sequences, nats per token (2604.26841, Fig. 5).

    Parameters
    ----------
    training, generated : two Datasets of `conditional_entropy`, two `Estimate`s, or two DataArrays over ``estimate``
        (value, low, high) and any other dimensions

    Returns
    -------
    An `Estimate`, or a DataArray of the same dimensions. The two intervals are added in quadrature, each end with the
    one that moves the difference to its side (Newcombe, Stat. Med. 17, 873, 1998).
    """
    if isinstance(training, xr.Dataset):
        training, generated = (Estimate(*dataset["mean_entropy"].values.tolist()) for dataset in (training, generated))
    arrays = isinstance(training, xr.DataArray)
    t, g = (
        [x.sel(estimate=name, drop=True) for name in Estimate._fields] if arrays else Estimate(*x)
        for x in (training, generated)
    )
    value = g[0] - t[0]
    low = value - ((g[0] - g[1]) ** 2 + (t[2] - t[0]) ** 2) ** 0.5
    high = value + ((g[2] - g[0]) ** 2 + (t[0] - t[1]) ** 2) ** 0.5
    return xr.concat([value, low, high], training.estimate) if arrays else Estimate(value, low, high)
