"""Along the dynamics: how sure the system is of each token on the way, and when a token ceases to change.

Of a diffusion system the way is its reverse process, of a binary memory the sweeps of its dynamics.
"""

from __future__ import annotations

import time
from numbers import Integral

import numpy as np
import xarray as xr
from jaxtyping import Integer

from amtheory import _validation as check
from amtheory.intervals import Estimate, bootstrap_mean, bootstrap_ratio
from bridges.manifest import array_hash, manifest, to_attribute
from bridges.streams import as_seed, stream
from bridges.system import MemorySystem, as_tokens, check_confidence, check_dynamics, check_system, check_time

END = 1e-5
"""The time that the system is told at the end, where sequences are taken as clean."""


def trajectory(
    system: MemorySystem,
    x: int | Integer[np.ndarray, "N L"],
    *,
    start: float = 1.0,
    mode: str = "sample",
    last: str = "ancestral",
    steps: int | None = None,
    record: int = 51,
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Follow the dynamics from noise, or from given sequences, and measure the conditionals of the states on the way.

    The final tokens are those of `MemorySystem.recover` from the same states with the same stream. Where that is a
    single exact draw, as of the exact denoisers without `steps`, there is no way, only its two ends.

    Parameters
    ----------
    system : what `as_system` gives, or any `MemorySystem`; one without a `path` of its own is seen at its ends
    x : (N, L) sequences from which the dynamics start, ids in [0, K) or masks; or their number N >= 1, for noise
    start : time in (0, 1] that the dynamics are told first; default 1.0
    mode : "sample", the default, "posterior_mode", "x0_mode" or "one_shot", as for `MemorySystem.recover`
    last : the last update of the reverse process, "ancestral", the default, "greedy" or "none"
    steps : steps of the reverse process, or sweeps of a binary memory, >= 1; default None, the system's own
    record : at how many states conditionals are measured, >= 2; default 51. The first, the last and others evenly
        between; all of them if there are fewer
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy
    confidence : of the intervals, in (0, 1); default 0.95

    Returns
    -------
    Dataset over `step`, the updates or sweeps done at the states that are recorded, `sample` and `position`:

    - `time` (step), that of each state; the system is told 1e-5 at the least;
    - of the law of each token given all others, as `MemorySystem.conditional` has it, over (step, sample, position):
      `token_entropy` in nats, `top_probability`, of the most probable token, and `gini`, sum_k p_k (1 - p_k);
    - `commit` (sample, position): how many updates were done when the token took the value that it keeps to the end, 0
      if it never changed, and `commit_time`, the time of that state. All updates count, recorded or not;
    - `mean_entropy`, nats per token, `mean_top_probability`, and `committed`, the fraction of tokens that do not change
      any more, each over `step` and `estimate` (value, low, high) with bootstrap intervals over sequences;
    - tokens `initial` and `final` (sample, position).

    The attribute `manifest` is the record from which it can be repeated.

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    See Also
    --------
    conditional_entropy : of sequences as they stand

    Examples
    --------
    >>> from amtheory import Hopfield
    >>> from amtheory.patterns import flip, random_patterns
    >>> from bridges import as_system, to_tokens, trajectory
    >>> x = random_patterns(5, 100, rng=0)
    >>> system, z = as_system(Hopfield().fit(x), beta=4.0), to_tokens(flip(x, 20, rng=1))
    >>> found = trajectory(system, z, mode="posterior_mode", steps=3, rng=0)
    >>> found.committed.sel(estimate="value").values.tolist(), int(found.commit.max())
    ([0.8, 1.0, 1.0, 1.0], 1)
    """
    check_system(system)
    z = None if isinstance(x, Integral) and not isinstance(x, bool) else as_tokens("x", x, system, noisy=True)
    n = check.integer("x", x, 1) if z is None else len(z)
    check_time("start", start)
    check_dynamics(mode, last, steps)
    check.integer("record", record, 2)
    check_confidence(confidence)
    seed, begin = as_seed(rng), time.perf_counter()
    if z is None:
        z = system.prior(n, stream(seed, "noise"))
    options = {"start": float(start), "mode": mode, "steps": steps, "last": last}
    times, states = system.path(z, **options, rng=stream(seed, "recover"))
    recorded = np.unique(np.linspace(0, len(times) - 1, record).round().astype(np.int64))
    found, commit, before = [], np.zeros(z.shape, np.int64), z
    for step, (t, state) in enumerate(zip(times, states, strict=True)):
        commit[state != before] = step
        if step in recorded:
            found.append(system.conditional(state, max(float(t), END)).certainty())
        before = state
    entropy, top, gini = (np.stack(each) for each in zip(*found, strict=True))
    every = np.full(n, z.shape[1])
    committed = [
        bootstrap_ratio((commit <= step).sum(1), every, _bootstrap(seed), confidence=confidence) for step in recorded
    ]
    committed[-1] = Estimate(1.0, 1.0, 1.0)  # by definition
    means = {
        "mean_entropy": [bootstrap_mean(e, _bootstrap(seed), confidence=confidence) for e in entropy.mean(2)],
        "mean_top_probability": [bootstrap_mean(p, _bootstrap(seed), confidence=confidence) for p in top.mean(2)],
        "committed": committed,
    }
    taken = {"steps": system.steps_taken(mode, steps)}
    provenance = manifest(
        measurement="trajectory",
        **{"seed": seed, **options, **taken, "confidence": confidence, "precision": "float64 mixtures and draws"},
        **{"system": system.describe(), "input": array_hash(z), "seconds": time.perf_counter() - begin},
    )
    along, tokens = ("step", "sample", "position"), ("sample", "position")
    return xr.Dataset(
        {
            "token_entropy": (along, entropy, {"units": "nats"}),
            "top_probability": (along, top),
            "gini": (along, gini),
            "commit": (tokens, commit),
            "commit_time": (tokens, times[commit]),
            "initial": (tokens, z),
            "final": (tokens, before),
            **{name: (("step", "estimate"), np.array(mean)) for name, mean in means.items()},
        },
        coords={"step": recorded, "time": ("step", times[recorded]), "estimate": list(Estimate._fields)},
        attrs={"manifest": to_attribute(provenance)},
    )


def _bootstrap(seed: int) -> np.random.Generator:
    """The same for every state: sequences are followed, so they are resampled together."""
    return stream(seed, "bootstrap")
