"""Basins of the diffusion memory beside those of the rules it is compared with (arXiv 2604.26841, sec. 3.2)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from amtheory import DiffusionMemory, Hopfield, PerceptronMargin, PseudoLikelihood
from amtheory import _validation as check
from amtheory._memory import Couplings, PairwiseMemory
from amtheory.basins import measure_basin
from amtheory.intervals import student
from amtheory.patterns import random_patterns
from bridges.manifest import manifest, to_attribute
from bridges.streams import as_seed, stream
from bridges.system import check_confidence

_SAMPLES = 5  # that a verdict needs


def compare_basins(
    length: int,
    loads: Sequence[float],
    *,
    samples: int = 10,
    norms: Sequence[float] = (1.0, 2.0, 4.0),
    dynamics: Sequence[Literal["parallel", "sequential"]] = ("parallel", "sequential"),
    field: Literal["gaussian", "exact"] = "gaussian",
    training_steps: int = 0,
    m0: ArrayLike | None = None,
    probes: int = 20,
    success: float = 0.95,
    confidence: float = 0.95,
    rng: int | np.random.Generator | None = None,
) -> xr.Dataset:
    """Basins of the couplings that different objectives make of the same random patterns, under the same flips.

    T = 0 dynamics depends on the direction of each row of W alone, and so does what is compared; its norm says where
    along its path an objective was stopped. Rules:

    - "hebb";
    - "nelbo": `DiffusionMemory` at its minimum, which has a norm of its own;
    - "pseudo-likelihood": at that norm (the mean of the rows), that is at the same temperature;
    - "nelbo, norm r" and "pseudo-likelihood, norm r": both at each of `norms`;
    - "max margin": the pseudo-likelihood at infinite norm, its minimum without a ridge. Rows that cannot separate the
      patterns (load near 2 and above) are those of least squared violation, with a RuntimeWarning;
    - "nelbo, trained", given `training_steps`: `uddm.Linear` trained by `uddm.train`, on sampled times and contexts.

    Parameters
    ----------
    length : spins L, >= 2
    loads : P / L, one or more, each giving P = round(load L) >= 1
    samples : memories of independent patterns, >= 2; default 10
    norms : ||W_l|| > 0 in units of the temperature, none or several; default 1, 2 and 4
    dynamics : one or both of "parallel" and "sequential", at T = 0; default both
    field : of `DiffusionMemory`, "gaussian", the default, or "exact". "gaussian" is off at small L: at L = 12, P = 6
        its norms are about 15 % too large
    training_steps : of AdamW, 256 sequences in each, some seconds per 1000 for each memory; default 0, no training. 800
        lead to a cosine of 0.997 or more with the rows of the minimum at L = 12 to 100
    m0 : initial overlaps, ascending from 0 to 1; default None, 0, 0.05, ..., 1. Rounded as in `amtheory.basins`
    probes : patterns probed in each sample, >= 1, at most P; default 20
    success : final overlap that counts as recovery, in [-1, 1]; default 0.95
    confidence : of the intervals, in (0, 1); default 0.95
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy

    Returns
    -------
    xarray.Dataset over ``load``, ``rule``, ``dynamics``, ``sample``

    - ``recovered`` (also over ``initial_overlap``): P_rec, which `amtheory.basins.radius` takes too
    - ``radius``: R = (1/2) int_0^1 P_rec dm0, the mean fraction of flipped spins tolerated; for a step (1 - m_c)/2
    - ``mean_radius`` (with ``estimate`` for ``sample``): mean and Student's interval over samples
    - ``norm``: mean ||W_l||

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    See Also
    --------
    basin_verdict : decides which rule has the larger basins

    Examples
    --------
    >>> from bridges import compare_basins
    >>> small = {"samples": 2, "norms": [], "dynamics": ["parallel"], "field": "exact", "probes": 2, "m0": [0.0, 1.0]}
    >>> curves = compare_basins(8, [0.25], **small, rng=0)
    >>> curves.rule.values.tolist()
    ['hebb', 'nelbo', 'pseudo-likelihood', 'max margin']
    >>> curves.radius.dims
    ('load', 'rule', 'dynamics', 'sample')
    """
    length = check.integer("length", length, 2)
    check.integer("samples", samples, 2)
    probes = check.integer("probes", probes, 1)
    check_confidence(confidence)
    check.integer("training_steps", training_steps, 0)
    loads = [check.real("loads", load, positive=True) for load in check.several("loads", loads)]
    norms = [check.real("norms", norm, positive=True) for norm in check.several("norms", norms)]
    dynamics = check.several("dynamics", dynamics)
    for name, values in (("loads", loads), ("dynamics", dynamics)):
        if not values:
            raise ValueError(f"`{name}` must not be empty")
    for norm in norms:
        DiffusionMemory(norm, field=field)  # raises out of its range
    sizes = [round(load * length) for load in loads]
    if min(sizes) < 1:
        raise ValueError(f"`loads` must each give at least one pattern of {length} spins, got {loads}")
    for update in dynamics:
        check.choice("dynamics", update, ("parallel", "sequential"))
    m0 = np.linspace(0, 1, 21) if m0 is None else check.reals("m0", m0)
    if m0.ndim != 1 or len(m0) < 2 or m0[0] != 0 or m0[-1] != 1 or not (np.diff(m0) > 0).all():
        raise ValueError(f"`m0` must be overlaps that ascend from 0 to 1, got {m0.tolist()}")
    seed, begin = as_seed(rng), time.perf_counter()

    def of_sample(P: int, k: int) -> xr.Dataset:
        x = random_patterns(P, length, rng=stream(seed, "patterns", P, k))
        probed = x[stream(seed, "probes", P, k).permutation(P)[:probes]]
        flips = int(stream(seed, "flips", P, k).integers(2**32))
        training = int(stream(seed, "training", P, k).integers(2**32))
        settings: dict[str, Any] = {"success": success, "rng": flips}
        of_rules = {}
        for rule, memory in _rules(x, norms, field, training_steps, training):
            curves = [measure_basin(memory, probed, m0, update=update, **settings)["recovered"] for update in dynamics]
            of_rules[rule] = xr.Dataset(
                {"recovered": xr.concat(curves, "dynamics"), "norm": ("sample", [memory.norms_.mean()])}
            )
        return xr.concat(list(of_rules.values()), "rule").assign_coords(rule=list(of_rules))

    measured = [xr.concat([of_sample(P, k) for k in range(samples)], "sample") for P in sizes]
    curves = xr.concat(measured, "load").assign_coords(load=[P / length for P in sizes], dynamics=dynamics)
    curves = curves.transpose("load", "rule", "dynamics", "sample", "initial_overlap")
    curves["radius"] = curves["recovered"].integrate("initial_overlap") / 2
    curves["mean_radius"] = student(curves["radius"], "sample", confidence)
    settings = {"length": length, "samples": samples, "probes": probes, "success": success, "confidence": confidence}
    settings |= {"field": field, "training_steps": training_steps}
    record = manifest(measurement="compare_basins", seed=seed, seconds=time.perf_counter() - begin, **settings)
    curves["radius"].attrs["units"] = curves["mean_radius"].attrs["units"] = "fraction of spins"
    return curves.assign_attrs(manifest=to_attribute(record))


def _rules(
    x: NDArray[np.int8], norms: Sequence[float], field: Literal["gaussian", "exact"], steps: int, seed: int
) -> Iterator[tuple[str, PairwiseMemory]]:
    """Names and fitted memories."""
    yield "hebb", Hopfield().fit(x)
    nelbo = DiffusionMemory(field=field).fit(x)
    yield "nelbo", nelbo
    yield "pseudo-likelihood", PseudoLikelihood(beta_norm=float(nelbo.norms_.mean())).fit(x)
    for norm in norms:
        yield f"nelbo, norm {norm:g}", DiffusionMemory(norm, field=field).fit(x)
        yield f"pseudo-likelihood, norm {norm:g}", PseudoLikelihood(beta_norm=norm).fit(x)
    yield "max margin", PerceptronMargin().fit(x)
    if steps:
        yield "nelbo, trained", _trained(x, steps, seed)


def _trained(x: NDArray[np.int8], steps: int, seed: int) -> PairwiseMemory:
    """The two-state `uddm.Linear` trained by the sampled bound; patterns with both signs, so that biases vanish."""
    import torch

    from uddm import TrainConfig, train
    from uddm.denoisers import Linear, LinearConfig

    config = TrainConfig(steps, 256, 0.03, warmup=1, decay="cosine", ema=0.98, seed=seed)
    tokens = torch.as_tensor(np.concatenate([x, -x]) > 0).long()
    with tempfile.TemporaryDirectory() as run:
        model: Any = train(Linear(LinearConfig(2, length=x.shape[1])), tokens, config, run, progress=None)
    return Couplings(model.couplings().numpy())


def basin_verdict(
    curves: xr.Dataset, *, rule: str = "nelbo", against: str = "pseudo-likelihood", confidence: float = 0.95
) -> xr.Dataset:
    """Does `rule` have larger basins than `against`? The conjecture of arXiv 2604.26841 that the further terms of the
    NELBO enlarge basins, as rules of `compare_basins`.

    Parameters
    ----------
    curves : what `compare_basins` gives
    rule : one of its rules; default "nelbo"
    against : another; default "pseudo-likelihood"
    confidence : that all intervals hold together, in (0, 1); default 0.95

    Returns
    -------
    xarray.Dataset over ``load`` and ``dynamics``

    - ``difference`` (with ``estimate``): mean over samples of R(rule) - R(against), paired, with Student's interval,
      at a level at which all intervals together hold with probability `confidence` (Bonferroni)
    - ``verdict``: "supported" (the interval is positive), "refuted" (negative), else "inconclusive at this scale", as
      it is for fewer than 5 samples or equal differences: few values of a discrete quantity can agree by chance

    The attribute ``verdict`` is that of the statement for all loads and dynamics: refuted by one, supported by all.

    Raises
    ------
    ValueError : a rule that was not measured, a confidence out of range, or a dataset of another kind

    Examples
    --------
    >>> import xarray as xr
    >>> from bridges import basin_verdict
    >>> R = xr.DataArray([[[[0.20, 0.21, 0.22, 0.23, 0.24]], [[0.30, 0.32, 0.34, 0.36, 0.38]]]],
    ...                  dims=("load", "rule", "dynamics", "sample"))
    >>> curves = xr.Dataset({"radius": R}, {"rule": ["pseudo-likelihood", "nelbo"]})
    >>> basin_verdict(curves).verdict.values.tolist()
    [['supported']]
    """
    check_confidence(confidence)
    check.kind("curves", curves, xr.Dataset)
    if "radius" not in curves or "rule" not in curves.coords:
        raise ValueError(f"`curves` must be of `compare_basins`, got a Dataset of {list(curves)}")
    for name, value in (("rule", rule), ("against", against)):
        check.choice(name, value, tuple(curves["rule"].values.tolist()))
    radius = curves["radius"]
    difference = radius.sel(rule=rule, drop=True) - radius.sel(rule=against, drop=True)
    cells = difference.sizes["load"] * difference.sizes["dynamics"]
    estimate = student(difference, "sample", 1 - (1 - confidence) / cells)
    low, high = estimate.sel(estimate="low", drop=True), estimate.sel(estimate="high", drop=True)
    whole = "inconclusive at this scale"
    decided = (difference.std("sample") > 1e-12) & (difference.sizes["sample"] >= _SAMPLES)
    verdict = xr.where(decided & (low > 0), "supported", xr.where(decided & (high < 0), "refuted", whole))
    if (verdict == "refuted").any():
        whole = "refuted"
    elif (verdict == "supported").all():
        whole = "supported"
    attributes = {"rule": rule, "against": against, "confidence": confidence, "verdict": whole}
    return xr.Dataset({"difference": estimate, "verdict": verdict}, attrs=attributes)
