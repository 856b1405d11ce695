"""Basins of attraction: what a memory retrieves at T = 0 from an initial overlap m0 with a pattern.

    m_f(m0)    mean final overlap with that pattern
    P_rec(m0)  fraction of states that end at m_f >= success
    R          (1 - m0) / 2 where P_rec(m0) = 1/2: the radius, as a fraction of spins

A state starts with exactly round(L (1 - m0) / 2) spins of its pattern flipped: m0 is rounded to the nearest overlap
that L spins can have, so that for odd L, m0 = 0 becomes 1 / L or -1 / L. The states of one memory share its couplings;
what is independent are the disorder samples, memories of independent patterns, and every standard error and interval
here is over these.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression, least_squares
from scipy.special import ndtr, ndtri

from amtheory import _validation as check
from amtheory._memory import Couplings, Memory
from amtheory.intervals import (
    Estimate,
    expanded_percentiles,
    mean_and_error,
    resampled_sums,
    student_quantile,
    wilson_ends,
)
from amtheory.patterns import flip, overlap, random_patterns
from amtheory.retrieval import retrieve

if TYPE_CHECKING:
    import xarray as xr

Update = Literal["parallel", "sequential", "typewriter"]
Floats = NDArray[np.float64]

_ENDINGS = ("fixed point", "2-cycle", "longer cycle", "unfinished")


def basin_curve(
    rule: Any,
    P: int,
    L: int,
    m0: ArrayLike,
    *,
    samples: int = 10,
    patterns_per_sample: int | None = None,
    starts: int = 1,
    update: Update = "parallel",
    max_sweeps: int = 300,
    success: float = 1.0,
    ensemble: Callable[..., Any] = random_patterns,
    rng: check.Seed = None,
    n_jobs: int = 1,
) -> "xr.Dataset":
    """m_f(m0) and P_rec(m0) of a learning rule, in memories of independent patterns.

    Sample k depends on (seed, k) only, not on `samples` or `n_jobs`, and its value at one m0 not on the other m0.

    Parameters
    ----------
    rule : a memory such as ``amtheory.PseudoInverse()``, of which a copy is fitted for each disorder sample
    P, L : number of patterns and of spins, >= 1
    m0 : initial overlaps in [-1, 1], a number or (n,), rounded to possible ones, 1 - 2 flips / L (for odd L, 0 to +-1 /
        L); any that then coincide become one
    samples : number of disorder samples, >= 1; default 10
    patterns_per_sample : number of patterns, drawn at random, that are probed in each sample, 1 to P; default None, all
        P
    starts : number of states for each probed pattern and m0, >= 1; default 1
    update : "parallel", the default, "sequential" or "typewriter", as for `amtheory.retrieve`; they have different
        basins
    max_sweeps : >= 1, default 300
    success : final overlap from which a state counts as recovered, in [-1, 1]; default 1. The attractors of Hopfield
        memories are near the patterns: for these take 0.95, say
    ensemble : function ``(P, L, rng=)`` that returns spins (P, L), or a tuple that begins with them; for instance
        ``functools.partial(amtheory.patterns.random_features, D=20)``; default `amtheory.patterns.random_patterns`
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy
    n_jobs : number of processes, as for `joblib.Parallel`; default 1

    Returns
    -------
    xarray.Dataset
        Means over the states of each disorder sample, with the dimensions ``sample`` and ``initial_overlap`` (the
        actual m0, ascending, with ``flips`` beside it):

        - ``final_overlap``: m_f. Cycles have that of their phase after exactly `max_sweeps` sweeps
        - ``recovered``: P_rec
        - ``ending``: fractions of a third dimension ``status``: "fixed point", "2-cycle", "longer cycle", and
          "unfinished" where `max_sweeps` ended the run
        - ``sweeps``

        The attributes say how it was made, among them the ``seed``, which as `rng` gives it again.

    Raises
    ------
    ValueError, TypeError : naming the argument that is out of range

    See Also
    --------
    measure_basin : the same of one memory that is fitted already
    bridges.token_recovery : corrupts by a diffusion time, not by a number of flips, and measures any system

    Examples
    --------
    >>> from amtheory import PseudoInverse
    >>> from amtheory.basins import basin_curve
    >>> curves = basin_curve(PseudoInverse(), 10, 100, [0.0, 0.9], samples=4, rng=0)
    >>> dict(curves.recovered.sizes)
    {'sample': 4, 'initial_overlap': 2}
    >>> curves.recovered.sel(initial_overlap=0.9).values.tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    import xarray as xr
    from joblib import Parallel, delayed
    from tqdm import tqdm

    if isinstance(rule, type) or not hasattr(rule, "fit"):
        raise TypeError(f"`rule` must be a memory with a method fit, such as amtheory.Hopfield(), got {rule!r}")
    check.function("ensemble", ensemble)
    P, L, samples = check.integer("P", P, 1), check.integer("L", L, 1), check.integer("samples", samples, 1)
    probes = P if patterns_per_sample is None else check.integer("patterns_per_sample", patterns_per_sample, 1, P)
    settings: dict[str, Any] = dict(starts=starts, update=update, max_sweeps=max_sweeps, success=success)
    _flips(L, m0, **settings)
    processes = min(check.integer("n_jobs", n_jobs, -check.LARGEST), samples)
    if processes == 0:
        raise ValueError(
            "`n_jobs` must not be 0: it is a number of processes, or -1 for as many as there are processors"
        )
    seed = _seed(rng)

    def measure(k: int) -> "xr.Dataset":
        of_patterns, of_probes, of_states = _stream(seed, k).spawn(3)
        drawn = ensemble(P, L, rng=of_patterns)
        patterns = check.spins("ensemble(P, L)", drawn[0] if isinstance(drawn, tuple) else drawn, length=L)
        if len(patterns) != P:
            raise ValueError(f"`ensemble` must return spins of shape ({P}, {L}), got shape {patterns.shape}")
        memory = copy.deepcopy(rule).fit(patterns)
        probed = patterns[of_probes.choice(P, probes, replace=False)]
        return measure_basin(memory, probed, m0, **settings, rng=of_states)

    jobs: Any = Parallel(n_jobs=processes, return_as="generator")(delayed(measure)(k) for k in range(samples))
    bar = tqdm(jobs, "disorder samples", total=samples, disable=None, delay=2, leave=False)
    return xr.concat(list(bar), "sample").assign_attrs(
        rule=_description(rule), ensemble=_description(ensemble), P=P, load=P / L, samples=samples, seed=seed
    )


def measure_basin(
    memory_or_couplings: Memory | ArrayLike,
    patterns: ArrayLike,
    m0: ArrayLike,
    *,
    starts: int = 1,
    update: Update = "parallel",
    max_sweeps: int = 300,
    success: float = 1.0,
    rng: check.Seed = None,
) -> "xr.Dataset":
    """m_f(m0) and P_rec(m0) of one fitted memory, from flipped patterns, whether it stores them or not.

    As `basin_curve`, which does this for each disorder sample; the ``sample`` dimension has size 1. Memories of one's
    own ensemble are put together by ``xarray.concat(measured, "sample")``.

    Parameters
    ----------
    memory_or_couplings : a fitted memory, or W (L, L), square and finite
    patterns : (P, L) spins in {-1, +1}, the states to recover
    m0 : initial overlaps in [-1, 1], a number or (n,), rounded to possible ones
    starts : number of states for each pattern and m0, >= 1; default 1
    update : "parallel", the default, "sequential" or "typewriter"
    max_sweeps : >= 1, default 300
    success : final overlap from which a state counts as recovered, in [-1, 1]; default 1
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy

    Returns
    -------
    xarray.Dataset, as of `basin_curve`

    Raises
    ------
    ValueError, TypeError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory import Hopfield
    >>> from amtheory.basins import measure_basin
    >>> from amtheory.patterns import random_patterns
    >>> x = random_patterns(3, 101, rng=0)
    >>> curve = measure_basin(Hopfield().fit(x), x, [0.0, 0.8], starts=20, success=0.95, rng=0)
    >>> curve.flips.values.tolist(), curve.recovered.values[0, 1].item()  # of 101 spins, 50.5 are rounded to 50
    ([50, 10], 1.0)
    """
    import xarray as xr

    memory = memory_or_couplings if isinstance(memory_or_couplings, Memory) else None
    if memory is None:
        memory = Couplings(check.couplings("memory_or_couplings", cast("ArrayLike", memory_or_couplings)))
    L = memory.length_
    patterns = check.spins("patterns", patterns, length=L)
    success = _overlaps("success", [success]).item()
    settings: dict[str, Any] = dict(starts=starts, update=update, max_sweeps=max_sweeps, success=success)
    flips = _flips(L, m0, **settings)
    seed = _seed(rng)
    targets = np.repeat(patterns, starts, axis=0)

    def relax(number: int) -> tuple[Any, ...]:
        of_flips, of_dynamics = _stream(seed, number).spawn(2)
        states = flip(targets, number, rng=of_flips)
        states, info = retrieve(memory, states, update=update, max_sweeps=max_sweeps, rng=of_dynamics)
        m, c = overlap(states, targets), info.cycle_length
        endings = [np.mean(c == 1), np.mean(c == 2), np.mean(c > 2), np.mean(c == 0)]
        return m.mean(), np.mean(m >= success), endings, info.sweeps.mean()

    final_overlap, recovered, ending, sweeps = zip(*map(relax, flips.tolist()))
    dimensions = ("sample", "initial_overlap")
    return xr.Dataset(
        {
            "final_overlap": (dimensions, [final_overlap]),
            "recovered": (dimensions, [recovered]),
            "ending": ((*dimensions, "status"), [ending]),
            "sweeps": (dimensions, [sweeps]),
        },
        {"initial_overlap": 1 - 2 * flips / L, "flips": ("initial_overlap", flips), "status": list(_ENDINGS)},
        {"rule": _description(memory), "L": L, "patterns_per_sample": len(patterns), "seed": seed} | settings,
    )


def summary(curves: "xr.Dataset", *, confidence: float = 0.95) -> "xr.Dataset":
    """Means over disorder samples and their errors.

    Intervals are Student's. Those of fractions are Wilson's, with Student's quantile and the effective number of trials
    n = p (1 - p) / standard_error^2, or, where all samples agree, with one trial for each; they stay in [0, 1], and are
    not empty where everything or nothing is recovered.

    Parameters
    ----------
    curves : of `basin_curve`, or of `measure_basin` put together along ``sample``
    confidence : of the intervals, in (0, 1); default 0.95

    Returns
    -------
    xarray.Dataset with the dimension ``estimate`` ("value", "standard_error", "low", "high") for ``sample``; one sample
    has no errors (NaN)

    Raises
    ------
    ValueError : `confidence` out of range

    Examples
    --------
    >>> from amtheory import PseudoInverse
    >>> from amtheory.basins import basin_curve, summary
    >>> curves = basin_curve(PseudoInverse(), 10, 100, 0.9, samples=4, rng=0)
    >>> recovered = summary(curves).recovered.sel(initial_overlap=0.9)
    >>> recovered.sel(estimate="value").item(), recovered.sel(estimate="low").item() < 0.9
    (1.0, True)
    """

    _check_curves(curves)
    student = student_quantile(curves.sizes["sample"], confidence)

    def estimate(values: Floats, *, fraction: bool) -> Floats:
        mean, error = mean_and_error(values)
        if not fraction:
            return np.stack([mean, error, mean - student * error, mean + student * error])
        agree = error == 0
        t = np.where(agree, ndtri((1 + confidence) / 2), student)
        trials = np.where(agree, len(values), mean * (1 - mean) / np.where(agree, 1, error) ** 2)
        return np.stack([mean, error, *wilson_ends(mean, trials, t)])

    means = {
        name: (("estimate", *array.dims[1:]), estimate(array.values, fraction=name in ("recovered", "ending")))
        for name, array in curves.transpose("sample", ...).data_vars.items()
    }
    return curves.assign(means).assign_coords(estimate=["value", "standard_error", "low", "high"])


def radius(
    curves: "xr.Dataset", *, confidence: float = 0.95, resamples: int = 2000, rng: check.Seed = None
) -> Estimate:
    """R = (1 - m0) / 2 where P_rec(m0) = 1/2, with a bootstrap interval over disorder samples.

    P_rec is made monotone by isotonic regression, which leaves a monotone curve as it is, and interpolated linearly.
    The interval is the expanded percentile one, for few samples (Hesterberg, Am. Stat. 69, 371, 2015).

    Parameters
    ----------
    curves : of `basin_curve`, or of `measure_basin` put together along ``sample``
    confidence : of the interval, in (0, 1); default 0.95
    resamples : number of bootstrap samples, >= 1; default 2000
    rng : None, an integer seed >= 0 or a Generator, of the bootstrap; default None, fresh entropy

    Returns
    -------
    Estimate : a fraction of spins. An end beyond the measured m0 is NaN, as are both for one sample; all is NaN where
        the measured m0 do not bracket P_rec = 1/2

    Raises
    ------
    ValueError, TypeError : naming the argument that is out of range

    Warns
    -----
    UserWarning : the measured m0 do not bracket P_rec = 1/2

    See Also
    --------
    bridges.compare_basins : its radius is the integral of P_rec over m0, which is this one for a step

    Examples
    --------
    >>> from amtheory import PseudoInverse
    >>> from amtheory.basins import basin_curve, radius
    >>> curves = basin_curve(PseudoInverse(), 10, 50, [0.0, 0.2, 0.4, 0.6], samples=4, rng=0)
    >>> R = radius(curves, rng=0)
    >>> R.low < R.value < R.high, round(R.value, 1)
    (True, 0.3)
    """

    _check_curves(curves)
    check.between("confidence", confidence, 0, 1)
    m0, p = curves["initial_overlap"].values, _recovered(curves)
    value = _level(m0, p.mean(axis=0), 0.5)
    if np.isinf(value):
        warnings.warn(
            f"P_rec = 1/2 is not reached between m0 = {m0[0]:.4g} and {m0[-1]:.4g}, where P_rec is "
            f"{p.mean(axis=0).min():.3g} to {p.mean(axis=0).max():.3g}: the radius is NaN",
            stacklevel=2,
        )
        return Estimate(np.nan, np.nan, np.nan)
    generator = check.generator(rng)
    resampled = np.array([_level(m0, q, 0.5) for q in _resampled_means(p, resamples, generator)])
    low, high = expanded_percentiles(resampled, len(p), confidence)
    return Estimate((1 - value) / 2, (1 - high) / 2, (1 - low) / 2)


@dataclass(frozen=True)
class Scaling:
    """What `finite_size_scaling` finds; its example shows one.

    Attributes
    ----------
    sizes : L, ascending
    crossings : m0 at which the curves of successive sizes cross; NaN if they do not
    critical_overlap : m_c
    nu : the exponent; without interval if it was given
    chi2 : of the collapse
    degrees_of_freedom : of the collapse

    Examples
    --------
    >>> from amtheory import Estimate
    >>> from amtheory.basins import Scaling
    >>> m_c, nu = Estimate(0.5, 0.49, 0.51), Estimate(2.0, float("nan"), float("nan"))
    >>> Scaling((100, 200), (m_c,), m_c, nu, chi2=11.0, degrees_of_freedom=9).critical_overlap.value
    0.5
    """

    sizes: tuple[int, ...]
    crossings: tuple[Estimate, ...]
    critical_overlap: Estimate
    nu: Estimate
    chi2: float
    degrees_of_freedom: int


def finite_size_scaling(
    curves: "Sequence[xr.Dataset]",
    *,
    nu: float | None = 2.0,
    window: tuple[float, float] = (0.05, 0.95),
    confidence: float = 0.95,
    resamples: int = 500,
    rng: check.Seed = None,
) -> Scaling:
    """The edge m_c of the basin for L -> infinity, from P_rec = F((m0 - m_c) L^(1/nu)) at several sizes.

    The sharpening curves of all sizes cross at m_c, where F need not be 1/2. Two estimates:

    - the crossing of each pair of successive sizes, by linear interpolation, which assumes nothing about F and drifts
      to m_c if sizes are too small;
    - a fit of the scaling form, F(u) = Phi(a + b u + c u^2) with Phi the normal distribution function, to the points
      with P_rec within `window`, by least squares in units of the standard errors over samples.

    A chi2 far above the degrees of freedom says that the form does not hold, in general because sizes are too small;
    intervals then mean little. Points of one size share their disorder, so that chi2 scatters more widely than for
    independent points. On synthetic curves that obey the form, 95 % intervals of m_c from 12 to 40 samples cover
    91 to 93 %.

    Parameters
    ----------
    curves : from `basin_curve`, at two or more sizes and the same load
    nu : the exponent >= 0.1 of the width L^(-1/nu); default 2, for fluctuations of m0 as of independent spins; None:
        fit it
    window : range of P_rec that is fitted, 0 <= low < high <= 1; default 0.05 to 0.95
    confidence : of the intervals, in (0, 1); default 0.95
    resamples : number of bootstrap samples, over the disorder samples of each size, >= 1; default 500
    rng : None, an integer seed >= 0 or a Generator, of the bootstrap; default None, fresh entropy

    Returns
    -------
    Scaling

    Raises
    ------
    ValueError, TypeError : fewer than two sizes, a size given twice, fewer points than the fit needs; or naming the
        argument that is out of range

    Examples
    --------
    >>> from amtheory import PseudoInverse
    >>> from amtheory.basins import basin_curve, finite_size_scaling
    >>> m0, few = [0.2, 0.3, 0.4, 0.5, 0.6], {"samples": 8, "patterns_per_sample": 4}
    >>> curves = [basin_curve(PseudoInverse(), L // 4, L, m0, **few, rng=0) for L in (24, 48)]
    >>> found = finite_size_scaling(curves, resamples=20, rng=0)
    >>> found.sizes, 0.3 < found.critical_overlap.value < 0.5
    ((24, 48), True)
    """
    for curve in (curves := check.several("curves", curves)):
        _check_curves(curve)
    curves = sorted(curves, key=lambda c: c.attrs["L"])
    sizes = tuple(int(c.attrs["L"]) for c in curves)
    if len(sizes) < 2 or len(set(sizes)) < len(sizes):
        raise ValueError(f"`curves` must be of two or more different sizes L, got {list(sizes)}")
    if nu is not None and (nu := check.real("nu", nu, positive=True)) < 0.1:
        raise ValueError(f"`nu` must be at least 0.1, got {nu}")
    ends = check.reals("window", window, ndim=1)
    if len(ends) != 2 or not 0 <= ends[0] < ends[1] <= 1:
        raise ValueError(f"`window` must be two numbers 0 <= low < high <= 1, got {window}")
    low, high = ends
    generator = check.generator(rng)

    m0, p = [c["initial_overlap"].values for c in curves], [_recovered(c) for c in curves]
    means, errors = zip(*map(mean_and_error, p))
    resampled = [_resampled_means(values, resamples, generator) for values in p]
    fewest = min(map(len, p))

    def crossing(i: int) -> Estimate:
        value = _crossing(m0[i], means[i], m0[i + 1], means[i + 1])
        again = [_crossing(m0[i], a, m0[i + 1], b) for a, b in zip(resampled[i], resampled[i + 1])]
        return Estimate(value, *expanded_percentiles(np.array(again), fewest, confidence))

    used = [(low < mean) & (mean < high) & (error > 0) for mean, error in zip(means, errors)]
    unknowns = 4 if nu else 5
    if sum(map(np.sum, used)) <= unknowns or sum(map(np.any, used)) < 2:
        raise ValueError(
            f"`curves` must have more points with P_rec within {window} than the fit has unknowns, {unknowns}, and at "
            f"two sizes or more; got {[int(u.sum()) for u in used]} at L = {list(sizes)}"
        )

    def joined(arrays: Sequence[Floats]) -> Floats:
        return np.concatenate([array[mask] for array, mask in zip(arrays, used)])

    m, error, target = joined(m0), joined(errors), joined(means)
    scale = joined([np.full(len(x), L / sizes[0]) for x, L in zip(m0, sizes)])

    def residuals(parameters: Floats, observed: Floats) -> Floats:
        m_c, a, b, c, *inverse_nu = parameters
        u = (m - m_c) * scale ** (1 / nu if nu else inverse_nu[0])
        return (ndtr(a + b * u + c * u**2) - observed) / error

    def jacobian(parameters: Floats, _: Floats) -> Floats:
        m_c, a, b, c, *inverse_nu = parameters
        power = scale ** (1 / nu if nu else inverse_nu[0])
        u = (m - m_c) * power
        slope = b + 2 * c * u
        density = np.exp(-((a + b * u + c * u**2) ** 2) / 2) / np.sqrt(2 * np.pi)
        columns = (-slope * power, np.ones_like(u), u, u**2, slope * u * np.log(scale))
        return np.transpose(columns[:unknowns]) * (density / error)[:, None]

    def fit(start: Floats | list[float], observed: Floats) -> Any:
        derivatives: Any = jacobian  # the types of scipy want a word
        return least_squares(residuals, start, derivatives, args=(observed,), x_scale="jac")

    slope = np.polyfit(m, ndtri(target), 1)[0]
    best = fit([m.mean(), 0.0, slope, 0.0, 0.5][:unknowns], target)
    again = np.array([fit(best.x, joined(q)).x for q in zip(*resampled)])

    def estimate(values: Floats) -> Estimate:
        return Estimate(float(values[0]), *expanded_percentiles(values[1:], fewest, confidence))

    found = np.vstack([best.x, again])
    return Scaling(
        sizes,
        tuple(map(crossing, range(len(sizes) - 1))),
        estimate(found[:, 0]),
        Estimate(nu, np.nan, np.nan) if nu else estimate(1 / found[:, 4]),
        float(2 * best.cost),
        len(m) - unknowns,
    )


def _check_curves(curves: Any) -> None:
    import xarray as xr

    check.kind("curves", curves, xr.Dataset)
    if "recovered" not in curves or set(curves["recovered"].dims) != {"sample", "initial_overlap"}:
        raise ValueError(f"`curves` must be of `basin_curve` or `measure_basin`, got variables {list(curves)}")


def _flips(L: int, m0: ArrayLike, *, starts: int, update: str, max_sweeps: int, success: float) -> NDArray[np.int64]:
    """The numbers of flips that `m0` asks for, descending, all arguments being in range."""
    check.integer("starts", starts, 1)
    check.choice("update", update, ("parallel", "sequential", "typewriter"))
    check.integer("max_sweeps", max_sweeps, 1)
    _overlaps("success", [success])
    return np.unique(np.rint(L * (1 - _overlaps("m0", m0)) / 2).astype(np.int64))[::-1]


def _overlaps(name: str, value: ArrayLike) -> Floats:
    array = check.unmasked(name, value)
    if array.dtype.kind not in "iuf" or array.ndim > 1 or array.size == 0 or not (np.abs(array) <= 1).all():
        raise ValueError(f"`{name}` must be in [-1, 1], got {value!r}")
    return array.astype(np.float64)


def _seed(rng: check.Seed) -> int:
    """`rng` if it is a seed, else a seed drawn from it."""
    generator = check.generator(rng)
    return int(rng) if isinstance(rng, int | np.integer) else int(generator.integers(2**63))


def _stream(seed: int, key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key,)))


def _description(thing: Any) -> str:
    """Name and parameters of a memory or a function."""
    if isinstance(thing, partial):
        name, parameters = thing.func.__name__, thing.keywords
    elif hasattr(thing, "__name__"):
        return thing.__name__
    else:
        name, parameters = type(thing).__name__, vars(thing)
    public = [f"{k}={v!r}" for k, v in parameters.items() if not (k.startswith("_") or k.endswith("_"))]
    return f"{name}({', '.join(public)})"


def _recovered(curves: "xr.Dataset") -> Floats:
    return curves["recovered"].transpose("sample", "initial_overlap").values


def _level(x: Floats, y: Floats, level: float) -> float:
    """Where y(x), made monotone, rises through `level`; -inf if all of it is above, inf if all is below."""
    y = isotonic_regression(y).x
    i = int(np.searchsorted(y, level))
    if i == len(y):
        return np.inf
    if i == 0:
        return float(x[0]) if y[0] == level else -np.inf
    return float(x[i - 1] + (level - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1]))


def _crossing(x_small: Floats, small: Floats, x_large: Floats, large: Floats) -> float:
    """Where large(x) - small(x) rises through 0 from its minimum to its maximum; NaN if it does not."""
    x = np.union1d(x_small, x_large)
    x = x[(x >= max(x_small[0], x_large[0])) & (x <= min(x_small[-1], x_large[-1]))]
    if x.size == 0:
        return np.nan
    difference = np.interp(x, x_large, large) - np.interp(x, x_small, small)
    i, j = np.argmin(difference), np.argmax(difference)
    if not (i < j and difference[i] < 0 < difference[j]):
        return np.nan
    return _level(x[i : j + 1], difference[i : j + 1], 0.0)


def _resampled_means(values: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Bootstrap: means over as many samples, drawn with replacement; (samples, ...) -> (resamples, ...)."""
    return resampled_sums(values, rng, check.integer("resamples", resamples, 1)) / len(values)
