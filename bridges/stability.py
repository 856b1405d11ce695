"""Fixed points: which sequences the deterministic dynamics leaves as they are (arXiv 2604.26841, Fig. 1).

The published greedy experiment corrupts nothing: it asks which training sequences, unseen ones and, as a control,
sequences of uniform draws stay as they are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Integer

from amtheory.intervals import Estimate, bootstrap_ratio, wilson
from bridges.manifest import array_hash, manifest, to_attribute
from bridges.streams import as_seed, stream
from bridges.system import MemorySystem, as_tokens, check_confidence, check_dynamics, check_times


def fixed_points(
    system: MemorySystem,
    x: Integer[np.ndarray, "N L"],
    *,
    start: float | Sequence[float] = 1.0,
    mode: str = "posterior_mode",
    last: str = "ancestral",
    steps: int | None = None,
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Run the dynamics from each sequence as it stands, and count what stays (arXiv 2604.26841, Fig. 1).

    Few sequences of uniform draws stay as they are if it is memory that holds others in place; if they stay too, the
    dynamics does not move: those of `mode="posterior_mode"` move a token only above a threshold that depends on the
    number of steps (`uddm.reverse`).

    Parameters
    ----------
    system : what `as_system` gives, or any `MemorySystem`
    x : (N, L) sequences, ids in [0, K); as a control, uniform draws
    start : one time in (0, 1] that the dynamics are told, or several; default 1.0
    mode : "posterior_mode", the default, "one_shot", "x0_mode" or "sample", as for `MemorySystem.recover`
    last : the last update of the reverse process, "ancestral", the default, "greedy" or "none"
    steps : steps of the reverse process, or sweeps of a binary memory, >= 1; default None, the system's own
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy. Each start has a stream of its own, so
        results do not depend on the list
    confidence : of the intervals, in (0, 1); default 0.95

    Returns
    -------
    Dataset over `start`, `sample`, `position`:

    - tokens `original` (sample, position) and `final` (start, sample, position);
    - `fixed`: whole sequences that end as they began, with Wilson's interval; `kept`: tokens that do, with a bootstrap
      interval over sequences. Each over `start` and `estimate` (value, low, high).

    The attribute `manifest` is the record from which it can be repeated.

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range; a system that carries over all tokens, as a masked
        model does: every sequence stays, and it is its `SequentialSystem` that has fixed points

    See Also
    --------
    token_recovery : from corrupted sequences

    Examples
    --------
    >>> from amtheory import Hopfield
    >>> from amtheory.patterns import random_patterns
    >>> from bridges import as_system, fixed_points, to_tokens
    >>> stored, others = random_patterns(5, 100, rng=0), random_patterns(5, 100, rng=1)
    >>> system = as_system(Hopfield().fit(stored), beta=4.0)
    >>> [fixed_points(system, to_tokens(x), rng=0).fixed.sel(estimate="value").item() for x in (stored, others)]
    [1.0, 0.0]
    """
    x = as_tokens("x", x, system)
    times = check_times("start", start)
    check_dynamics(mode, last, steps)
    check_confidence(confidence)
    if system.carries_over:
        raise ValueError("`system` must be able to alter tokens, got a masked model, which carries all of them over")
    seed, begin = as_seed(rng), time.perf_counter()
    final, fixed, kept = [], [], []
    for t in times:
        y = system.recover(x, start=t, mode=mode, steps=steps, last=last, rng=stream(seed, "recover", t))
        same, every = y == x, np.full(len(x), x.shape[1])
        final.append(y)
        fixed.append(wilson(same.all(1).sum(), len(x), confidence))
        kept.append(bootstrap_ratio(same.sum(1), every, stream(seed, "bootstrap", t), confidence=confidence))
    record = manifest(
        measurement="fixed_points",
        **{"seed": seed, "mode": mode, "last": last, "steps": system.steps_taken(mode, steps)},
        **{"confidence": confidence, "precision": "float64 mixtures and draws"},
        **{"system": system.describe(), "input": array_hash(x), "seconds": time.perf_counter() - begin},
    )
    return xr.Dataset(
        {
            "original": (("sample", "position"), x),
            "final": (("start", "sample", "position"), np.stack(final)),
            "fixed": (("start", "estimate"), np.array(fixed)),
            "kept": (("start", "estimate"), np.array(kept)),
        },
        coords={"start": times, "estimate": list(Estimate._fields)},
        attrs={"manifest": to_attribute(record)},
    )
