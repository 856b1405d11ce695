"""Two states and linear logits: what the diffusion objective adds to the pseudo-likelihood memory, and to its basins.

At noise level a in [0, 1] (the schedule's alpha) a spin z_m of the context equals x_m with probability (1 + a)/2. With
f_l(z) = sum_{m != l} W_lm z_m, the field of `uddm.Linear`, and tau = x_l tanh f_l(z), the diffusion bound of token l is

    nelbo_l = int_0^1 da E_z[ phi(a, tau) ]   nats,
    phi(a, tau) = atanh a - atanh(a tau) - a tau (1 - tau)/(1 - a^2 tau^2) = int_tau^1 2 a (1 - v)/(1 - a^2 v^2)^2 dv,

`uddm.objective.expected_nelbo` at K = 2 integrated over time, whatever the schedule. A context without noise gives
log(1 + exp(-2 x_l f_l)), the pseudo-likelihood (arXiv 2604.26841 eq. 10): the two objectives differ by the noise alone.
The slope in W_lm is Hebb's rule with another penalty on large margins,

    d nelbo_l / dW_lm = -int_0^1 da E_z[ x_l z_m (1 - tau) * 2 a (1 - tau^2)/(1 - a^2 tau^2)^2 ],

at W = 0 -(2/3) <x_l x_m>. Noise also shows each pattern in contexts that contradict it. As ||W_l|| -> infinity their
share exp(-2 |f|) of the slope outweighs that of the others, exp(-4 |f|), so that the minimum has a finite norm, where
the pseudo-likelihood of separable patterns has none (its limit is the largest margin).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.optimize import minimize
from scipy.special import expit

from amtheory import Hopfield, PerceptronMargin, PseudoLikelihood
from amtheory import _validation as check
from amtheory._memory import PairwiseMemory
from amtheory.basins import measure_basin
from amtheory.patterns import random_patterns
from bridges.intervals import student
from bridges.manifest import manifest, to_attribute
from bridges.streams import as_seed, stream
from bridges.system import check_confidence

Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[Floats, Floats]]

_LEVELS = 40  # noise levels of the integral over a
_LONGEST = 14  # spins whose contexts are enumerated
# M / r and log r of the table of Gaussian averages, which vary as fast as 1/r near M = 0
_STABILITIES = 0.1 * np.sinh(np.linspace(-np.arcsinh(100), np.arcsinh(400), 141))
_LOG_NORMS = np.linspace(np.log(0.02), np.log(20), 47)


def diffusion_term(alpha: ArrayLike, alignment: ArrayLike) -> Floats:
    """phi(a, tanh u) >= 0 for a in [0, 1) and u = x_l f_l, in nats per unit of a; broadcasts."""
    a, missing, product = _mixtures(alpha, alignment)
    ratios = np.log1p(a * missing / (1 - a)) + np.log1p(a * missing / (1 + a - a * missing))
    return ratios / 2 - a * (1 - missing) * missing / product


def diffusion_slope(alpha: ArrayLike, alignment: ArrayLike) -> Floats:
    """d phi(a, tanh u) / du = -2 a (1 - tau) (1 - tau^2)/(1 - a^2 tau^2)^2 <= 0; arguments as for `diffusion_term`."""
    a, missing, product = _mixtures(alpha, alignment)
    return -2 * a * missing**2 * (2 - missing) / product**2


def _mixtures(alpha: ArrayLike, alignment: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """a, 1 - tau and 1 - a^2 tau^2, without cancellation."""
    a, missing = np.asarray(alpha, np.float64), 2 * expit(-2 * np.asarray(alignment, np.float64))
    return a, missing, (1 - a + a * missing) * (1 + a - a * missing)


def linear_nelbo(
    couplings: ArrayLike, patterns: ArrayLike, *, field: Literal["gaussian", "exact"] = "gaussian"
) -> Floats:
    """nelbo_l of couplings W (L, L), the diagonal of which is ignored, averaged over `patterns` (P, L); (L,) nats.

    `field` is how E_z is taken, as for `DiffusionMemory`. ValueError for arguments of other shapes or values.
    """
    W, x = check.couplings("couplings", couplings).astype(np.float64), check.spins("patterns", patterns)
    if len(W) != x.shape[1]:
        raise ValueError(f"`couplings` must have shape {(x.shape[1],) * 2} as `patterns` ask for, got {W.shape}")
    np.fill_diagonal(W, 0)
    return _objective(x, field)(W)[0]


@dataclass(eq=False)
class DiffusionMemory(PairwiseMemory):
    """Couplings that minimise the diffusion bound, without noise in the gradient: the two-state `uddm.Linear`, trained.

    They include the inverse temperature, as those of `uddm.Linear.couplings`, and W_ll = 0; there are no biases, which
    vanish if patterns come with both signs. The objective is not convex (a context that contradicts the pattern loses
    its pull, 1 - tau^2), so that the minimum is that found from Hebb's rule.

    Parameters
    ----------
    norm : None, or ||W_l|| > 0 of each row, as `beta_norm` of `amtheory.PseudoLikelihood`. Both objectives lead to
        Hebb's rule as it goes to 0
    field : how the average over the context is taken. "exact": all 2^(L - 1) contexts, L <= 14. "gaussian": x_l f_l is
        normal, of its exact mean a M and variance (1 - a^2) ||W_l||^2, M = x_l W_l . x, as for L -> infinity: each row
        then depends on a pattern through its margin alone; the bound is off by O(1/L)
    tolerance : the fit ends when no component of the gradient of nelbo_l exceeds this
    max_iterations : after which the fit warns

    Attributes
    ----------
    couplings_ : (L, L) float64
    norms_ : (L,) ||W_l||
    nelbo_ : (L,) nats per token
    converged_ : whether `tolerance` was reached

    Raises TypeError or ValueError naming the parameter that is out of range.
    """

    norm: float | None = None
    _: KW_ONLY
    field: Literal["gaussian", "exact"] = "gaussian"
    tolerance: float = 1e-6
    max_iterations: int = 2000
    beta = 1.0
    """W is in units of the temperature."""

    def __post_init__(self) -> None:
        if self.norm is not None:
            check.real("norm", self.norm, positive=True)
        check.choice("field", self.field, ("gaussian", "exact"))
        check.real("tolerance", self.tolerance, positive=True)
        check.integer("max_iterations", self.max_iterations, 1)

    def fit(self, patterns: ArrayLike) -> Self:
        """Learn `patterns` (P, L), P >= 1, L >= 2, by L-BFGS on all rows.

        Warns (RuntimeWarning) if `tolerance` is not reached. Raises ValueError unless the patterns are spins in
        {-1, +1}, if L > 14 with "exact", or if "gaussian" needs norms above 20 or stabilities above 40 (very low load).
        """
        x = check.spins("patterns", patterns)
        L = x.shape[1]
        if L < 2:
            raise ValueError(f"`patterns` must have at least 2 spins each, got shape {x.shape}")
        objective = _objective(x, self.field)
        start = x.T @ x.astype(np.float64)
        np.fill_diagonal(start, 0)
        start /= np.maximum(np.linalg.norm(start, axis=1, keepdims=True), 1)
        if self.norm is not None:
            if not start.any(axis=1).all():
                raise ValueError("`patterns` must correlate each spin with another for `norm` to fix a direction")
            objective, start = _on_sphere(objective, self.norm), start * self.norm

        def total(flat: Floats) -> tuple[float, Floats]:
            losses, gradient = objective(flat.reshape(L, L))
            return losses.sum(), gradient.ravel()

        options = {"maxiter": self.max_iterations, "maxfun": 2 * self.max_iterations, "maxcor": 10}
        options |= {"gtol": self.tolerance, "ftol": 0.0}
        found = minimize(total, start.ravel(), jac=True, method="L-BFGS-B", options=options)
        W = found.x.reshape(L, L)
        if self.norm is not None:
            W = W * self.norm / np.linalg.norm(W, axis=1, keepdims=True)
        self.nelbo_, residual = objective(W)[0], np.abs(found.jac).max()
        if self.field == "gaussian":
            _check_range(W, x)
        self.couplings_, self.converged_ = W, bool(residual <= self.tolerance)
        if not self.converged_:
            warnings.warn(
                f"the fit stopped after {found.nit} iterations with a gradient of {residual:.1e} > tolerance = "
                f"{self.tolerance:.1e}: raise `max_iterations` or `tolerance`",
                RuntimeWarning,
                stacklevel=2,
            )
        return self


def _objective(x: NDArray[np.int8], field: str) -> Objective:
    """W (L, L) of zero diagonal -> nelbo_l (L,) and its gradient (L, L)."""
    check.choice("field", field, ("gaussian", "exact"))
    if field == "exact" and x.shape[1] > _LONGEST:
        raise ValueError(f"`field` must be 'gaussian' for more than {_LONGEST} spins, got 'exact' for {x.shape[1]}")
    return _exact(x) if field == "exact" else _gaussian(x.astype(np.float64))


def _levels() -> tuple[Floats, Floats]:
    """Nodes and weights of int_0^1 da, in a = sin(theta): smooth at a = 1, where fields are sqrt(1 - a^2) wide."""
    nodes, weights = np.polynomial.legendre.leggauss(_LEVELS)
    theta = np.pi / 4 * (1 + nodes)
    return np.sin(theta), np.pi / 4 * weights * np.cos(theta)


def _exact(x: NDArray[np.int8]) -> Objective:
    """Enumerates z: weights q(a, sign, z) = E_x[ 1(x_l = sign) p_a(z | x) ] for each row."""
    P, L = x.shape
    a, da = _levels()
    z = 2.0 * (np.arange(2 ** (L - 1))[:, None] >> np.arange(L - 1) & 1) - 1
    matches = np.arange(L)
    binomial = da[:, None] * ((1 + a[:, None]) / 2) ** matches * ((1 - a[:, None]) / 2) ** (L - 1 - matches)
    signs = np.array([1, -1])

    def weights(l: int) -> Floats:
        agreeing = ((L - 1 + z @ np.delete(x, l, 1).T) / 2).astype(int)  # (contexts, P)
        return np.stack([binomial[:, agreeing[:, x[:, l] == s]].sum(2) for s in signs], 1) / P

    of_rows = [weights(l) for l in range(L)]

    def objective(W: Floats) -> tuple[Floats, Floats]:
        losses, gradient = np.empty(L), np.zeros((L, L))
        for l, q in enumerate(of_rows):
            u = signs[:, None] * (z @ np.delete(W[l], l))
            losses[l] = (q * diffusion_term(a[:, None, None], u)).sum()
            pull = signs @ (q * diffusion_slope(a[:, None, None], u)).sum(0)
            gradient[l, np.arange(L) != l] = pull @ z
        return losses, gradient

    return objective


def _gaussian(x: Floats) -> Objective:
    """With G(M, r) = int da E_xi[ phi(a, tanh(a M + sqrt(1 - a^2) r xi)) ]: dG/dW_l = G_M x_l x + G_r W_l / r."""
    table = _table()

    def objective(W: Floats) -> tuple[Floats, Floats]:
        r = np.maximum(np.linalg.norm(W, axis=1), np.exp(_LOG_NORMS[0]))
        stability = x * (x @ W.T) / r
        where = stability, np.broadcast_to(np.log(r), stability.shape)
        by_stability = table.ev(*where, dx=1)
        by_norm = (table.ev(*where, dy=1) - stability * by_stability).mean(0) / r
        gradient = (x * by_stability / r).T @ x / len(x) + (by_norm / r)[:, None] * W
        np.fill_diagonal(gradient, 0)
        return table.ev(*where).mean(0), gradient

    return objective


def _check_range(W: Floats, x: NDArray[np.int8]) -> None:
    r = np.linalg.norm(W, axis=1)
    stability = x * (x @ W.T) / r
    if (np.log(r) >= _LOG_NORMS[-1]).any() or (np.abs(stability) >= _STABILITIES[-1]).any():
        raise ValueError(
            f"`patterns` are too few for `field` 'gaussian', which knows norms below {np.exp(_LOG_NORMS[-1]):.0f} and "
            f"stabilities below {_STABILITIES[-1]:.0f}, got {r.max():.3g} and {np.abs(stability).max():.3g}"
        )


@lru_cache(maxsize=1)
def _table() -> RectBivariateSpline:
    """G as a function of M / r and log r. Trapezoids in xi, whose error is exp(-pi^2 / (r step))."""
    a, da = _levels()
    signal, noise = np.multiply.outer(_STABILITIES, a)[..., None], np.sqrt(1 - a**2)[:, None]

    def average(r: float) -> Floats:
        xi, step = np.linspace(-6.5, 6.5, int(13 / min(0.25, 0.8 / r)) + 1, retstep=True)
        weights = np.multiply.outer(da, step * np.exp(-(xi**2) / 2) / np.sqrt(2 * np.pi))
        return (diffusion_term(a[:, None], r * (signal + noise * xi)) * weights).sum((1, 2))

    values = np.stack([average(float(r)) for r in np.exp(_LOG_NORMS)], axis=1)
    return RectBivariateSpline(_STABILITIES, _LOG_NORMS, values, kx=5, ky=5)


def _on_sphere(objective: Objective, norm: float) -> Objective:
    """The objective of W = norm V / ||V||, row by row, as a function of V."""

    def of_directions(V: Floats) -> tuple[Floats, Floats]:
        length = np.linalg.norm(V, axis=1, keepdims=True)
        losses, gradient = objective(norm * V / length)
        radial = (gradient * V).sum(1, keepdims=True) * V / length**2
        return losses, (gradient - radial) * norm / length

    return of_directions


def compare_basins(
    length: int,
    loads: Sequence[float],
    *,
    samples: int = 10,
    norms: Sequence[float] = (1.0, 2.0, 4.0),
    dynamics: Sequence[Literal["parallel", "sequential"]] = ("parallel", "sequential"),
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
    - "max margin": the pseudo-likelihood at infinite norm, its minimum without a ridge.

    Parameters
    ----------
    length : spins L
    loads : P / L, each giving P = round(load L) >= 1
    samples : memories of independent patterns, >= 2
    norms : ||W_l|| in units of the temperature
    dynamics : "parallel" and "sequential", at T = 0
    m0 : initial overlaps in [0, 1]; by default 0, 0.05, ..., 1
    probes : patterns probed in each sample, at most P
    success : final overlap that counts as recovery
    rng : seed or generator

    Returns
    -------
    xarray.Dataset over ``load``, ``rule``, ``dynamics``, ``sample``

    - ``recovered`` (also over ``initial_overlap``): P_rec, which `amtheory.basins.radius` takes too
    - ``radius``: R = (1/2) int_0^1 P_rec dm0, the mean fraction of flipped spins tolerated; for a step (1 - m_c)/2
    - ``mean_radius`` (with ``estimate`` for ``sample``): mean and Student's interval over samples
    - ``norm``: mean ||W_l||

    Raises TypeError or ValueError naming the argument that is out of range.
    """
    check.integer("length", length, 2)
    check.integer("samples", samples, 2)
    probes = check.integer("probes", probes, 1)
    check_confidence(confidence)
    for name, values in (("loads", loads), ("norms", norms)):
        for value in values:
            check.real(name, value, positive=True)
    sizes = [round(load * length) for load in loads]
    if not sizes or min(sizes) < 1:
        raise ValueError(f"`loads` must each give at least one pattern of {length} spins, got {list(loads)}")
    for update in dynamics:
        check.choice("dynamics", update, ("parallel", "sequential"))
    m0 = np.linspace(0, 1, 21) if m0 is None else np.asarray(m0, np.float64)
    if m0.ndim != 1 or len(m0) < 2 or not (m0 >= 0).all():
        raise ValueError(f"`m0` must be two or more overlaps in [0, 1], got {m0.tolist()}")
    seed, begin = as_seed(rng), time.perf_counter()

    def of_sample(P: int, k: int) -> xr.Dataset:
        x = random_patterns(P, length, rng=stream(seed, "patterns", P, k))
        probed = x[stream(seed, "probes", P, k).permutation(P)[:probes]]
        flips = int(stream(seed, "flips", P, k).integers(2**32))
        settings: dict[str, Any] = {"success": success, "rng": flips}
        of_rules = {}
        for rule, memory in _rules(x, norms):
            curves = [measure_basin(memory, probed, m0, update=update, **settings)["recovered"] for update in dynamics]
            of_rules[rule] = xr.Dataset(
                {"recovered": xr.concat(curves, "dynamics"), "norm": ("sample", [memory.norms_.mean()])}
            )
        return xr.concat(list(of_rules.values()), "rule").assign_coords(rule=list(of_rules))

    measured = [xr.concat([of_sample(P, k) for k in range(samples)], "sample") for P in sizes]
    curves = xr.concat(measured, "load").assign_coords(load=[P / length for P in sizes], dynamics=list(dynamics))
    curves = curves.transpose("load", "rule", "dynamics", "sample", "initial_overlap")
    curves["radius"] = curves["recovered"].integrate("initial_overlap") / 2
    curves["mean_radius"] = student(curves["radius"], "sample", confidence)
    settings = {"length": length, "samples": samples, "probes": probes, "success": success, "confidence": confidence}
    record = manifest(measurement="compare_basins", seed=seed, seconds=time.perf_counter() - begin, **settings)
    curves["radius"].attrs["units"] = curves["mean_radius"].attrs["units"] = "fraction of spins"
    return curves.assign_attrs(manifest=to_attribute(record))


def _rules(x: NDArray[np.int8], norms: Sequence[float]) -> Iterator[tuple[str, PairwiseMemory]]:
    """Names and fitted memories."""
    yield "hebb", Hopfield().fit(x)
    nelbo = DiffusionMemory().fit(x)
    yield "nelbo", nelbo
    yield "pseudo-likelihood", PseudoLikelihood(beta_norm=float(nelbo.norms_.mean())).fit(x)
    for norm in norms:
        yield f"nelbo, norm {norm:g}", DiffusionMemory(norm).fit(x)
        yield f"pseudo-likelihood, norm {norm:g}", PseudoLikelihood(beta_norm=norm).fit(x)
    yield "max margin", PerceptronMargin().fit(x)


def basin_verdict(
    curves: xr.Dataset, *, rule: str = "nelbo", against: str = "pseudo-likelihood", confidence: float = 0.95
) -> xr.Dataset:
    """Does `rule` have larger basins than `against`? The conjecture of arXiv 2604.26841 that the further terms of the
    NELBO enlarge basins, as rules of `compare_basins`.

    Returns
    -------
    xarray.Dataset over ``load`` and ``dynamics``

    - ``difference`` (with ``estimate``): mean over samples of R(rule) - R(against), paired, with Student's interval,
      at a level at which all intervals together hold with probability `confidence` (Bonferroni)
    - ``verdict``: "supported" (the interval is positive), "refuted" (negative), else "inconclusive at this scale"

    The attribute ``verdict`` is that of the statement for all loads and dynamics: refuted by one, supported by all.

    Raises ValueError for a rule that was not measured, KeyError for a dataset of another kind.
    """
    check_confidence(confidence)
    for name, value in (("rule", rule), ("against", against)):
        check.choice(name, value, tuple(curves["rule"].values.tolist()))
    radius = curves["radius"]
    difference = radius.sel(rule=rule, drop=True) - radius.sel(rule=against, drop=True)
    cells = difference.sizes["load"] * difference.sizes["dynamics"]
    estimate = student(difference, "sample", 1 - (1 - confidence) / cells)
    low, high = estimate.sel(estimate="low", drop=True), estimate.sel(estimate="high", drop=True)
    verdict = xr.where(low > 0, "supported", xr.where(high < 0, "refuted", "inconclusive at this scale"))
    whole = "inconclusive at this scale"
    if (verdict == "refuted").any():
        whole = "refuted"
    elif (verdict == "supported").all():
        whole = "supported"
    attributes = {"rule": rule, "against": against, "confidence": confidence, "verdict": whole}
    return xr.Dataset({"difference": estimate, "verdict": verdict}, attrs=attributes)
