"""The pseudo-likelihood memory (D'Amico et al., arXiv 2507.05147).

Each spin is a logistic regression on the others, p(s_l | s_others) = sigma(2 s_l f_l), with the conditional
field f_l = beta sum_{m != l} W_lm s_m and, on an example x, the margin M_l = x_l f_l.
"""

import warnings
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from amtheory import _validation as check
from amtheory._memory import PairwiseMemory

_CHUNK = 2**19  # margins held at a time
_STAGE = 20  # L-BFGS iterations between two preconditioners
_DEFAULT_RIDGE = 1e-3


def loss(couplings: ArrayLike, patterns: ArrayLike, beta: float) -> float:
    """Negative log-pseudo-likelihood per example, in nats,

        -(1/P) sum_x sum_l [M_l - log 2 cosh f_l] = (1/P) sum_x sum_l log(1 + exp(-2 M_l))

    (arXiv 2604.26841 eq. (10)). `couplings` (L, L), the diagonal of which is ignored; `patterns` (P, L).
    """
    return float(_losses_and_slopes(*_checked(couplings, patterns, beta))[0].sum())


def gradient(couplings: ArrayLike, patterns: ArrayLike, beta: float) -> NDArray[np.float64]:
    """Gradient of `loss`, (L, L): for m != l exactly

        dloss / dW_lm = -(beta/P) sum_x x_l x_m [1 - tanh M_l],

    and 0 for m = l: Hebb's rule with weights that vanish on examples of large margin. In arXiv 2604.26841
    eq. (11) the factor beta and the restriction m != l are left implicit.
    """
    return _losses_and_slopes(*_checked(couplings, patterns, beta))[1]


@dataclass(eq=False)
class PseudoLikelihood(PairwiseMemory):
    """Couplings that minimise the negative log-pseudo-likelihood, W_ll = 0, not symmetric.

    Row l minimises l_l = (1/P) sum_x log(1 + exp(-2 M_l)), M_l = beta x_l sum_{m != l} W_lm x_m. On linearly
    separable patterns (random ones: P < 2L) this alone sends ||W_l|| to infinity, so one of two conditions
    says which solution is meant:

    - `ridge`: add (ridge / 2) ||W_l||^2 (the default, with ridge = 1e-3);
    - `beta_norm`: fix beta ||W_l|| = beta_norm, as if training were stopped there. On random patterns this
      leads from Hebb's rule (beta_norm -> 0) to the largest margin (beta_norm -> infinity). If l_l has a
      minimum of smaller norm, which takes patterns that are not separable, the solution is a local minimum on
      the sphere.

    Parameters
    ----------
    beta : inverse temperature > 0
    ridge, beta_norm : > 0, at most one of them
    tolerance : the fit ends when for every row the gradient of l_l + (ridge / 2) ||W_l||^2, or that of log l_l
        along the sphere, has a Euclidean norm of at most this; with `ridge`, W_l is then within tolerance / ridge
        of the minimum. Float64 losses do not resolve gradients much below 1e-8
    max_iterations : L-BFGS iterations, after which the fit warns

    Attributes
    ----------
    couplings_ : (L, L) float64
    norms_ : (L,) ||W_l||
    converged_ : whether `tolerance` was reached
    n_iter_ : iterations used

    Raises TypeError or ValueError naming the parameter that is out of range.
    """

    beta: float = 1.0
    _: KW_ONLY
    ridge: float | None = None
    beta_norm: float | None = None
    tolerance: float = 1e-6
    max_iterations: int = 2000

    def __post_init__(self) -> None:
        check.real("beta", self.beta, positive=True)
        check.real("tolerance", self.tolerance, positive=True)
        check.integer("max_iterations", self.max_iterations, 1)
        if self.ridge is not None and self.beta_norm is not None:
            raise ValueError(f"give `ridge` or `beta_norm`, not both, got {self.ridge} and {self.beta_norm}")
        for name in ("ridge", "beta_norm"):
            if getattr(self, name) is not None:
                check.real(name, getattr(self, name), positive=True)

    def fit(self, patterns: ArrayLike) -> Self:
        """Learn `patterns` (P, L), P >= 1, L >= 2.

        All rows are minimised jointly by L-BFGS in coordinates W H^(1/2), where H, renewed every few iterations,
        is the Hessian averaged over rows. Matrix products use as many threads as the environment variable
        AMTHEORY_NUM_THREADS says, one by default.

        Warns (RuntimeWarning) if `tolerance` is not reached. Raises ValueError unless the patterns are spins
        in {-1, +1}, or if `beta_norm` is given and a spin is uncorrelated with all others.
        """
        x = check.spins("patterns", patterns)
        if x.shape[1] < 2:
            raise ValueError(f"`patterns` must have at least 2 spins each, got shape {x.shape}")
        if self.beta_norm is None:
            problem = _Ridge(x, self.beta, _DEFAULT_RIDGE if self.ridge is None else self.ridge)
        else:
            problem = _Sphere(x, self.beta, self.beta_norm / self.beta)
        with threadpool_limits(check.threads(None), user_api="blas"):
            point, self.n_iter_, progress = problem.at(problem.start()), 0, 1
            while point.residual > self.tolerance and self.n_iter_ < self.max_iterations and progress:
                iterations = min(_STAGE, self.max_iterations - self.n_iter_)
                point, progress = _descend(problem, point, iterations, self.tolerance)
                self.n_iter_ += progress
        self.couplings_ = point.couplings
        self.converged_ = bool(point.residual <= self.tolerance)
        if not self.converged_:
            warnings.warn(
                f"pseudo-likelihood fit stopped after {self.n_iter_} iterations with a gradient norm of "
                f"{point.residual:.1e} > tolerance = {self.tolerance:.1e}: raise `max_iterations`, `tolerance` or "
                "`ridge`, or lower `beta_norm`",
                RuntimeWarning,
                stacklevel=2,
            )
        return self

    def conditional_field(self, states: ArrayLike) -> NDArray[np.float64]:
        """f_l = beta sum_{m != l} W_lm s_m, for which p(s_l = +1 | s_others) = sigma(2 f_l); (M, L) -> (M, L)."""
        return self.beta * self.local_field(states)


class _Point(NamedTuple):
    """A place on the way to the minimum of F(W(U)), U the free parameters."""

    couplings: NDArray[np.float64]  # W
    values: NDArray[np.float64]  # F, row by row
    slope: NDArray[np.float64]  # dF/dU
    residual: float  # the largest norm of a row of dF/dW along the constraint
    weights: NDArray[np.float64]  # dF/dl_l
    multiplier: float  # of ||W_l||^2 / 2, averaged over rows


@dataclass
class _Ridge:
    """F = sum_l l_l + (ridge / 2) ||W||^2 with W = U."""

    x: NDArray[np.int8]
    beta: float
    ridge: float

    def start(self) -> NDArray[np.float64]:
        return np.zeros((self.x.shape[1], self.x.shape[1]))

    def at(self, free: NDArray[np.float64]) -> _Point:
        losses, slopes = _losses_and_slopes(free, self.x, self.beta)
        slopes += self.ridge * free
        values = losses + self.ridge / 2 * np.sum(free**2, axis=1)
        return _Point(free, values, slopes, _largest_row(slopes), np.ones(len(free)), self.ridge)


@dataclass
class _Sphere:
    """F = sum_l log l_l with W_l = norm U_l / ||U_l||; the logarithm puts easy and hard rows on one scale."""

    x: NDArray[np.int8]
    beta: float
    norm: float

    def start(self) -> NDArray[np.float64]:
        """Hebb's rule, the direction of the minimum for norm -> 0."""
        hebb = self.x.T.astype(np.float64) @ self.x
        np.fill_diagonal(hebb, 0)
        lonely = np.flatnonzero(~hebb.any(axis=1))
        if lonely.size:
            raise ValueError(
                f"`patterns`: spins {lonely[:5].tolist()} are uncorrelated with all others, so that `beta_norm` "
                "leaves the direction of their couplings open; use `ridge`"
            )
        return hebb

    def at(self, free: NDArray[np.float64]) -> _Point:
        scale = self.norm / np.linalg.norm(free, axis=1, keepdims=True)
        couplings = scale * free
        losses, slopes = _losses_and_slopes(couplings, self.x, self.beta)
        slopes /= losses[:, None]
        multipliers = -np.sum(couplings * slopes, axis=1, keepdims=True) / self.norm**2
        slopes += multipliers * couplings
        residual, multiplier = _largest_row(slopes), float(multipliers.mean())
        return _Point(couplings, np.log(losses), scale * slopes, residual, 1 / losses, multiplier)


def _descend(problem: _Ridge | _Sphere, point: _Point, iterations: int, tolerance: float) -> tuple[_Point, int]:
    """Up to `iterations` of L-BFGS in Y = U H^(1/2) from U = W; returns the new point and the number done.

    U_ll = 0 means that Y_l is orthogonal to row l of H^(-1/2), on which gradients are projected.
    """
    curvatures, axes = eigh(_mean_hessian(point, problem.x, problem.beta))
    root, inverse_root = axes * curvatures**0.5 @ axes.T, axes * curvatures**-0.5 @ axes.T

    def at(y: NDArray[np.float64]) -> _Point:
        free = y.reshape(root.shape) @ inverse_root
        np.fill_diagonal(free, 0)
        return problem.at(free)

    def value_and_slope(y: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        _, values, slope, *_ = at(y)
        gain = np.sum(values - point.values)  # differences row by row keep the digits that a sum would lose
        return gain, _orthogonal(slope @ inverse_root, inverse_root).ravel()

    # ||dF/dU_l|| <= sqrt(max curvature) ||dF/dY_l|| <= sqrt(L max curvature) max |dF/dY|
    gtol = tolerance / np.sqrt(len(root) * curvatures[-1])
    options = {"maxiter": iterations, "gtol": gtol, "ftol": 0.0}
    result = minimize(value_and_slope, (point.couplings @ root).ravel(), jac=True, method="L-BFGS-B", options=options)
    return at(result.x), result.nit


def _mean_hessian(point: _Point, x: NDArray[np.int8], beta: float) -> NDArray[np.float64]:
    """(beta^2/P) sum_x x x^T mean_l (dF/dl_l) (1 - tanh^2 M_l) + multiplier, positive definite."""
    hessian = np.zeros_like(point.couplings)
    for examples, margins in _margins(point.couplings, x, beta):
        curvatures = 4 * expit(2 * margins) * expit(-2 * margins) @ point.weights / len(point.weights)
        hessian += (examples.T * (beta**2 / len(x) * curvatures)) @ examples
    floor = 1e-6 * np.trace(hessian) / len(hessian)
    return hessian + max(point.multiplier, floor) * np.eye(len(hessian))


def _losses_and_slopes(
    couplings: NDArray[np.float64], patterns: NDArray[np.int8], beta: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """l_l for each row (L,) and its gradient (L, L), at couplings of zero diagonal."""
    P, L = patterns.shape
    losses, slopes = np.zeros(L), np.zeros((L, L))
    for x, margins in _margins(couplings, patterns, beta):
        losses += np.logaddexp(0, -2 * margins).sum(axis=0)
        slopes -= (x * (2 * expit(-2 * margins))).T @ x  # 2 sigma(-2M) = 1 - tanh M, without cancellation
    np.fill_diagonal(slopes, 0)
    return losses / P, slopes * (beta / P)


def _margins(
    couplings: NDArray[np.float64], patterns: NDArray[np.int8], beta: float
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Chunks of the examples x with their margins M_l, both (chunk, L)."""
    rows = max(1, _CHUNK // patterns.shape[1])
    for start in range(0, len(patterns), rows):
        x = patterns[start : start + rows].astype(np.float64)
        yield x, beta * x * (x @ couplings.T)


def _checked(couplings: ArrayLike, patterns: ArrayLike, beta: float) -> tuple[NDArray, NDArray, float]:
    w = check.couplings("couplings", couplings).astype(np.float64)
    np.fill_diagonal(w, 0)
    return w, check.spins("patterns", patterns, length=len(w)), check.real("beta", beta, positive=True)


def _orthogonal(rows: NDArray[np.float64], normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row less its component along the same row of `normals`."""
    parts = np.sum(rows * normals, axis=1, keepdims=True) / np.sum(normals**2, axis=1, keepdims=True)
    return rows - parts * normals


def _largest_row(rows: NDArray[np.float64]) -> float:
    return np.linalg.norm(rows, axis=1).max()
