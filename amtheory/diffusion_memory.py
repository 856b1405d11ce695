"""The diffusion memory: what the bound of a two-state diffusion model with linear logits adds to the pseudo-likelihood.

At noise level a in [0, 1] (the schedule's alpha) a spin z_m of the context equals x_m with probability (1 + a)/2. With
f_l(z) = sum_{m != l} W_lm z_m, the field of `uddm.Linear`, and tau = x_l tanh f_l(z), the diffusion bound of token l is

    nelbo_l = int_0^1 da E_z[ phi(a, tau) ]   nats,
    phi(a, tau) = atanh a - atanh(a tau) - a tau (1 - tau)/(1 - a^2 tau^2) = int_tau^1 2 a (1 - v)/(1 - a^2 v^2)^2 dv,

`uddm.objective.expected_nelbo` at K = 2 integrated over time, whatever the schedule. A context without noise gives
log(1 + exp(-2 x_l f_l)), the pseudo-likelihood (arXiv 2604.26841 eq. 10): the two objectives differ by the noise alone.
At fixed tau, phi is the slope in a of the Kullback-Leibler divergence of the laws (1 +- a)/2 and (1 +- a tau)/2. The
slope of the bound in W_lm is Hebb's rule with another penalty on large margins,

    d nelbo_l / dW_lm = -int_0^1 da E_z[ x_l z_m (1 - tau) * 2 a (1 - tau^2)/(1 - a^2 tau^2)^2 ],

at W = 0 -(2/3) <x_l x_m>. Noise also shows each pattern in contexts that contradict it. As ||W_l|| -> infinity their
share exp(-2 |f|) of the slope outweighs that of the others, exp(-4 |f|), so that the minimum has a finite norm, where
the pseudo-likelihood of separable patterns has none (its limit is the largest margin).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import Literal, Self

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.optimize import minimize
from scipy.special import expit

from amtheory import _validation as check
from amtheory._memory import PairwiseMemory

Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[Floats, Floats]]

_LEVELS, _LAST = 56, np.tanh(8.0)  # noise levels of the integral over a, up to one without noise but for e^-16
_LONGEST = 14  # spins whose contexts are enumerated
_LARGEST, _STABLEST = 20.0, 40.0  # norms r and stabilities |M / q| in the table of Gaussian averages, q^2 = 1 + r^2,
_STABILITIES = 0.1 * np.sinh(np.linspace(-1, 1, 157) * np.arcsinh(10 * _STABLEST))  # which vary over 1/q near M = 0
_LOG_SCALES = np.log(np.cosh(np.linspace(0, np.arcsinh(_LARGEST), 31)))  # log q, at r = 0 dense in r


def diffusion_term(alpha: ArrayLike, alignment: ArrayLike) -> check.Broadcast:
    """phi(a, tanh u) >= 0 of the module's formula, in nats per unit of a.

    Parameters
    ----------
    alpha : noise level a in [0, 1), the schedule's alpha_t and not a load
    alignment : u = x_l f_l, any real number; broadcast with `alpha`

    Returns
    -------
    float64

    Raises
    ------
    ValueError : a level out of range

    Examples
    --------
    >>> from amtheory.diffusion_memory import diffusion_term
    >>> diffusion_term(0.5, [-20.0, 0.0, 20.0]).round(2).tolist()
    [2.43, 0.55, 0.0]
    """
    a, missing, product = _mixtures(alpha, alignment)
    ratios = np.log1p(a * missing / (1 - a)) + np.log1p(a * missing / (1 + a - a * missing))
    return ratios / 2 - a * (1 - missing) * missing / product


def diffusion_slope(alpha: ArrayLike, alignment: ArrayLike) -> check.Broadcast:
    """d phi(a, tanh u) / du = -2 a (1 - tau) (1 - tau^2)/(1 - a^2 tau^2)^2 <= 0.

    Parameters
    ----------
    alpha, alignment : a and u, as for `diffusion_term`

    Returns
    -------
    float64

    Raises
    ------
    ValueError : a level out of range

    Examples
    --------
    >>> from amtheory.diffusion_memory import diffusion_slope
    >>> float(diffusion_slope(0.5, 0.0))
    -1.0
    """
    a, missing, product = _mixtures(alpha, alignment)
    return -2 * a * missing**2 * (2 - missing) / product**2


def _mixtures(alpha: ArrayLike, alignment: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """a, 1 - tau and 1 - a^2 tau^2, without cancellation."""
    a, aligned = check.unmasked("alpha", alpha), check.unmasked("alignment", alignment)
    a, missing = a.astype(np.float64), 2 * expit(-2 * aligned.astype(np.float64))
    if not ((a >= 0) & (a < 1)).all():
        raise ValueError(f"`alpha` must be in [0, 1), got values in [{a.min()}, {a.max()}]")
    return a, missing, (1 - a + a * missing) * (1 + a - a * missing)


def linear_nelbo(
    couplings: ArrayLike, patterns: ArrayLike, *, field: Literal["gaussian", "exact"] = "gaussian"
) -> Float64[np.ndarray, " L"]:
    """nelbo_l of given couplings, averaged over patterns.

    Parameters
    ----------
    couplings : W (L, L) in units of the temperature, the diagonal of which is ignored
    patterns : (P, L) spins in {-1, +1}
    field : how E_z is taken, as for `DiffusionMemory`; default "gaussian"

    Returns
    -------
    (L,) float64, nats per token

    Raises
    ------
    ValueError, TypeError : arguments of other shapes or values; with "gaussian", norms above 20 or stabilities
        x_l W_l . x / ||W_l|| beyond +-40; with "exact", L > 14

    See Also
    --------
    amtheory.pseudolikelihood.loss : the same without noise in the context, summed over l

    Examples
    --------
    >>> import numpy as np
    >>> from amtheory.diffusion_memory import linear_nelbo
    >>> from amtheory.patterns import random_patterns
    >>> x = random_patterns(3, 10, rng=0)
    >>> without = linear_nelbo(np.zeros((10, 10)), x, field="exact")
    >>> bool(np.allclose(without, np.log(2)))  # one bit a token
    True
    """
    W, x = check.couplings("couplings", couplings).astype(np.float64), check.spins("patterns", patterns)
    if len(W) != x.shape[1]:
        raise ValueError(f"`couplings` must have shape {(x.shape[1],) * 2} as `patterns` ask for, got {W.shape}")
    np.fill_diagonal(W, 0)
    objective = _objective(x, field)
    if field == "gaussian":
        _check_range("couplings", W, x)
    return objective(W)[0]


@dataclass(eq=False)
class DiffusionMemory(PairwiseMemory):
    """Couplings that minimise the diffusion bound, without noise in the gradient: the two-state `uddm.Linear`, trained.

    They include the inverse temperature, as those of `uddm.Linear.couplings`, and W_ll = 0; there are no biases, which
    vanish if patterns come with both signs. The objective is not convex (a context that contradicts the pattern loses
    its pull, 1 - tau^2), so that the minimum is that found from Hebb's rule.

    Parameters
    ----------
    norm : ||W_l|| of each row in [1e-100, 1e12], below 20 with "gaussian", as `beta_norm` of
        `amtheory.PseudoLikelihood`; default None, that of the minimum. Both objectives lead to Hebb's rule as it goes
        to 0
    field : how the average over the context is taken. "exact": all 2^(L - 1) contexts, L <= 14. "gaussian", the
        default: x_l f_l is normal, of its exact mean a M and variance (1 - a^2) ||W_l||^2, M = x_l W_l . x, as for L ->
        infinity: each row then depends on a pattern through its margin alone; the bound is off by O(1/L)
    tolerance : the fit ends when no component of the gradient of nelbo_l exceeds this; > 0, default 1e-6
    max_iterations : after which the fit warns; >= 1, default 2000

    Attributes
    ----------
    couplings_ : (L, L) float64
    norms_ : (L,) ||W_l||
    nelbo_ : (L,) nats per token
    converged_ : whether `tolerance` was reached

    Raises
    ------
    TypeError, ValueError : naming the parameter that is out of range

    See Also
    --------
    PseudoLikelihood : the objective without noise in the context, convex, and without a minimum for separable patterns
    bridges.compare_basins : the basins of both

    Examples
    --------
    >>> from amtheory import DiffusionMemory
    >>> from amtheory.patterns import random_patterns
    >>> x = random_patterns(2, 8, rng=0)
    >>> memory = DiffusionMemory(field="exact").fit(x)
    >>> memory.converged_, bool(memory.nelbo_.mean() < 0.69)  # less than one bit a token
    (True, True)
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
            self.norm = check.scale("norm", self.norm, 1e-100)
        check.choice("field", self.field, ("gaussian", "exact"))
        if self.field == "gaussian" and self.norm is not None and self.norm >= _LARGEST:
            raise ValueError(f"`norm` must be below {_LARGEST:g} with `field` 'gaussian', got {self.norm}")
        self.tolerance = check.real("tolerance", self.tolerance, positive=True)
        check.integer("max_iterations", self.max_iterations, 1)

    def fit(self, patterns: ArrayLike) -> Self:
        """Learn `patterns`, by L-BFGS on all rows.

        Parameters
        ----------
        patterns : (P, L) spins in {-1, +1}, P >= 1, L >= 2

        Returns
        -------
        the memory itself

        Raises
        ------
        ValueError, TypeError : anything else; L > 14 with "exact"; "gaussian" needs norms above 20 or stabilities
            beyond +-40 (very low load); a spin that correlates with no other, if `norm` is given

        Warns
        -----
        RuntimeWarning : `tolerance` is not reached
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
            _check_range("patterns", W, x)
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
    """Nodes and weights of int_0^LAST da, in atanh a: a field u < 0 is paid for at all levels up to a = tanh |u|."""
    nodes, weights = np.polynomial.legendre.leggauss(_LEVELS)
    last = np.arctanh(_LAST)
    a = np.tanh(last / 2 * (1 + nodes))
    return a, last / 2 * weights * (1 - a**2)


def _clean(alignment: Floats) -> tuple[Floats, Floats]:
    """int_LAST^1 phi(a, tanh u) da and its slope in u, of a context without noise."""
    a, missing, product = _mixtures(_LAST, alignment)
    divergence = (1 + a) * np.log1p(a * missing / (1 + a - a * missing)) - (1 - a) * np.log1p(a * missing / (1 - a))
    return np.logaddexp(0, -2 * alignment) - divergence / 2, -missing * (1 - a**2) / product


def _exact(x: NDArray[np.int8]) -> Objective:
    """Enumerates x_l z: weights q(a, x_l z) = E_x[ p_a(z | x) ] for each row l."""
    P, L = x.shape
    a, da = _levels()
    z = 2.0 * (np.arange(2 ** (L - 1))[:, None] >> np.arange(L - 1) & 1) - 1
    matches = np.arange(L)
    binomial = da[:, None] * ((1 + a[:, None]) / 2) ** matches * ((1 - a[:, None]) / 2) ** (L - 1 - matches)
    aligned = [np.delete(x[:, [l]] * x, l, 1).astype(np.float64) for l in range(L)]

    def weights(y: Floats) -> Floats:
        agreeing = ((L - 1 + z @ y.T) / 2).astype(int) + L * np.arange(len(z))[:, None]  # (contexts, P)
        return binomial @ np.bincount(agreeing.ravel(), minlength=z.shape[0] * L).reshape(-1, L).T / P

    of_rows = [weights(y) for y in aligned]

    def objective(W: Floats) -> tuple[Floats, Floats]:
        losses, gradient = np.empty(L), np.zeros((L, L))
        for l, (y, q) in enumerate(zip(aligned, of_rows)):
            w = np.delete(W[l], l)
            u, (clean, pull) = z @ w, _clean(y @ w)
            losses[l] = (q * diffusion_term(a[:, None], u)).sum() + clean.mean()
            gradient[l, matches != l] = (q * diffusion_slope(a[:, None], u)).sum(0) @ z + pull @ y / P
        return losses, gradient

    return objective


def _gaussian(x: Floats) -> Objective:
    """With G(M, r) = int da E_xi[ phi(a, tanh(a M + sqrt(1 - a^2) r xi)) ]: dG/dW_l = G_M x_l x + G_r W_l / r."""
    table = _table()

    def objective(W: Floats) -> tuple[Floats, Floats]:
        q = np.sqrt(1 + (W**2).sum(1))
        stability = x * (x @ W.T) / q
        where = stability, np.broadcast_to(np.log(q), stability.shape)
        by_stability = table.ev(*where, dx=1)
        by_square = (table.ev(*where, dy=1) - stability * by_stability).mean(0) / q**2  # G_r / r
        gradient = (x * by_stability / q).T @ x / len(x) + by_square[:, None] * W
        np.fill_diagonal(gradient, 0)
        return table.ev(*where).mean(0), gradient

    return objective


def _check_range(name: str, W: Floats, x: NDArray[np.int8]) -> None:
    r = np.linalg.norm(W, axis=1)
    stability = np.abs(x @ W.T) / np.sqrt(1 + r**2)
    if (r >= _LARGEST).any() or (stability >= _STABLEST).any():
        raise ValueError(
            f"`{name}` are beyond `field` 'gaussian', which knows norms below {_LARGEST:g} and stabilities within "
            f"+-{_STABLEST:g}, got norms up to {r.max():.3g} and stabilities up to {stability.max():.3g}"
        )


@lru_cache(maxsize=1)
def _table() -> RectBivariateSpline:
    """G as a function of M / q and log q, q^2 = 1 + r^2: smooth at r = 0, and of the scale of M for large r.

    Trapezoids in xi, whose error is exp(-pi^2 / (r step)).
    """
    a, da = _levels()
    signal, noise = np.multiply.outer(_STABILITIES, a)[..., None], np.sqrt(1 - a**2)[:, None]

    def average(q: float) -> Floats:
        r = np.sqrt(q**2 - 1)
        xi, step = np.linspace(-6.5, 6.5, int(13 / min(0.25, 0.8 / max(r, 1))) + 1, retstep=True)
        weights = np.multiply.outer(da, step * np.exp(-(xi**2) / 2) / np.sqrt(2 * np.pi))
        noisy = diffusion_term(a[:, None], q * signal + r * noise * xi) * weights
        return noisy.sum((1, 2)) + _clean(q * _STABILITIES)[0]

    values = np.stack([average(float(q)) for q in np.exp(_LOG_SCALES)], axis=1)
    return RectBivariateSpline(_STABILITIES, _LOG_SCALES, values, kx=5, ky=5)


def _on_sphere(objective: Objective, norm: float) -> Objective:
    """The objective of W = norm V / ||V||, row by row, as a function of V."""

    def of_directions(V: Floats) -> tuple[Floats, Floats]:
        length = np.linalg.norm(V, axis=1, keepdims=True)
        losses, gradient = objective(norm * V / length)
        radial = (gradient * V).sum(1, keepdims=True) * V / length**2
        return losses, (gradient - radial) * norm / length

    return of_directions
