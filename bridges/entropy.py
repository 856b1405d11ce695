"""Conditional entropy of tokens and sequences (arXiv 2604.26841, eq. 13, Figs. 3-5).

The entropy of a sequence is the sum over its tokens of H(x_l | z without l): an upper bound of the joint conditional
entropy, equal to it only if the tokens are independent given z. For a trained network it is the entropy of x_theta,
the cavity distribution, which ignores what the token's own z says.
"""

from __future__ import annotations

import time
from typing import Any, overload

import numpy as np
import xarray as xr
from jaxtyping import Integer

from amtheory import _validation as check
from amtheory.intervals import Estimate, bootstrap_mean
from bridges.manifest import array_hash, manifest, to_attribute
from bridges.recovery import TOKEN_CLASSES
from bridges.streams import as_seed, stream
from bridges.system import MemorySystem, as_tokens, check_confidence, check_time


def conditional_entropy(
    system: MemorySystem,
    x: Integer[np.ndarray, "N L"],
    *,
    t: float = 1e-5,
    classes: Integer[np.ndarray, "N L"] | None = None,
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Conditional entropies of the sequences as they stand, the system being told a time (arXiv 2604.26841, eq. 13).

    Parameters
    ----------
    system : what `as_system` gives, or any `MemorySystem`
    x : (N, L) sequences, ids in [0, K)
    t : in (0, 1]; default 1e-5, as published: sequences are taken as clean
    classes : (N, L) indices into `TOKEN_CLASSES`, kept beside the entropies for histograms by class; default None
    rng : None, an integer seed >= 0 or a Generator, of the bootstrap; default None, fresh entropy
    confidence : of the interval, in (0, 1); default 0.95

    Returns
    -------
    Dataset: `token_entropy` (sample, position) and `sequence_entropy` (sample) in nats, `token_class` if given, and
    `mean_entropy` (estimate: value, low, high), nats per token with a bootstrap interval over sequences.

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    See Also
    --------
    entropy_gap : of generated against training sequences

    Examples
    --------
    >>> from amtheory import Hopfield
    >>> from amtheory.patterns import random_patterns
    >>> from bridges import as_system, conditional_entropy, to_tokens
    >>> x = random_patterns(5, 100, rng=0)
    >>> system = as_system(Hopfield().fit(x), beta=4.0)
    >>> stored, others = (conditional_entropy(system, to_tokens(y), rng=0) for y in (x, random_patterns(5, 100, rng=1)))
    >>> stored.mean_entropy.sel(estimate="high").item() < others.mean_entropy.sel(estimate="low").item()
    True
    """
    x = as_tokens("x", x, system)
    t = check_time("t", t)
    classes = None if classes is None else check.unmasked("classes", classes)
    if classes is not None and classes.shape != x.shape:
        raise ValueError(f"`classes` must have the shape of x, {x.shape}, got {classes.shape}")
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

    Positive where the model is less sure of what it generates than of what it was trained on.

    Parameters
    ----------
    training, generated : two Datasets of `conditional_entropy`, two `Estimate`s, or two DataArrays over ``estimate``
        (value, low, high) and any other dimensions

    Returns
    -------
    An `Estimate`, or a DataArray of the same dimensions. The two intervals are added in quadrature, each end with the
    one that moves the difference to its side (Newcombe, Stat. Med. 17, 873, 1998).

    Examples
    --------
    >>> from amtheory import Estimate
    >>> from bridges import entropy_gap
    >>> gap = entropy_gap(Estimate(1.0, 0.7, 1.3), Estimate(3.0, 2.6, 3.4))
    >>> [round(number, 2) for number in gap]
    [2.0, 1.5, 2.5]
    """
    for name, value in (("training", training), ("generated", generated)):
        if isinstance(value, xr.Dataset) and "mean_entropy" not in value:
            raise ValueError(f"`{name}` must be of `conditional_entropy`, got a Dataset of {list(value)}")
    if all(isinstance(value, xr.Dataset) for value in (training, generated)):
        training, generated = (Estimate(*dataset["mean_entropy"].values.tolist()) for dataset in (training, generated))
    arrays = isinstance(training, xr.DataArray)
    for name, value in (("training", training), ("generated", generated)):
        if arrays != isinstance(value, xr.DataArray) or not (arrays or (isinstance(value, tuple) and len(value) == 3)):
            raise TypeError(
                f"`{name}` must be a Dataset, DataArray or Estimate, both alike, got {type(value).__name__}"
            )
    t, g = (
        [x.sel(estimate=name, drop=True) for name in Estimate._fields] if arrays else Estimate(*x)
        for x in (training, generated)
    )
    value = g[0] - t[0]
    low = value - ((g[0] - g[1]) ** 2 + (t[2] - t[0]) ** 2) ** 0.5
    high = value + ((g[2] - g[0]) ** 2 + (t[0] - t[1]) ** 2) ** 0.5
    return xr.concat([value, low, high], training.estimate) if arrays else Estimate(value, low, high)
