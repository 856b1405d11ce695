"""Pseudo-likelihood couplings at fixed norms, or symmetric ones: all rows together, by preconditioned L-BFGS."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import expit

from amtheory._likelihood_loss import dots, gains, losses_and_slopes, margins_of, norms

_STAGE = 20  # L-BFGS iterations between two preconditioners
_SMALL = 1e-10  # mean gains that differences of objectives do not resolve well

Floats = NDArray[np.float64]


class Point(NamedTuple):
    """A place on the way to the minimum of F(W(U)), U the free parameters."""

    couplings: Floats  # W
    values: Floats  # F, row by row
    slope: Floats  # dF/dU
    residual: float  # the largest norm of a row of dF/dW along the constraint
    weights: Floats  # dF/dl_l
    multiplier: float  # of ||W_l||^2 / 2, averaged over rows


class Coordinates(NamedTuple):
    """Of free parameters U, such that the mean Hessian is 1 in them."""

    start: Floats
    free: Callable[[Floats], Floats]  # U
    pull: Callable[[Floats], Floats]  # dF/dU as a derivative in the coordinates
    entries: int  # coordinates that a row of W depends on


@dataclass
class Sphere:
    """F = sum_l log l_l with W_l = norm U_l / ||U_l||; the logarithm puts easy and hard rows on one scale."""

    x: NDArray[np.int8]
    beta: float
    norm: float

    def coordinates(self, W: Floats, curvatures: Floats, axes: Floats) -> Coordinates:
        """U H^(1/2). U_ll = 0 means that row l is orthogonal to row l of H^(-1/2), on which slopes are projected."""
        root, inverse_root = axes * curvatures**0.5 @ axes.T, axes * curvatures**-0.5 @ axes.T
        return Coordinates(
            W @ root,
            lambda y: _hollow(y @ inverse_root),
            lambda slope: _orthogonal(slope @ inverse_root, inverse_root),
            len(W),
        )

    def start(self) -> Floats:
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

    def at(self, free: Floats) -> Point:
        scale = self.norm / np.linalg.norm(free, axis=1, keepdims=True)
        couplings = scale * free
        losses, slopes = losses_and_slopes(couplings, self.x, self.beta)
        slopes /= losses[:, None]
        multipliers = -np.sum(couplings * slopes, axis=1, keepdims=True) / self.norm**2
        slopes += multipliers * couplings
        residual, multiplier = norms(slopes).max(), float(multipliers.mean())
        return Point(couplings, np.log(losses), scale * slopes, residual, 1 / losses, multiplier)

    def gains(self, W: Floats, point: Point) -> Floats:
        change = _orthogonal(W - point.couplings, W + point.couplings)  # rounding does not lead off the sphere
        return np.log1p(gains(point.couplings, change, self.x, self.beta) * point.weights)


@dataclass
class Symmetric:
    """F = sum_l l_l + (ridge / 2) ||W||^2 with W = (U + U^T) / 2."""

    x: NDArray[np.int8]
    beta: float
    ridge: float

    def coordinates(self, W: Floats, curvatures: Floats, axes: Floats) -> Coordinates:
        """In the basis of the axes of H, an entry U_ij of the symmetric U has the curvature (H_i + H_j) / 2."""
        scale = np.sqrt((curvatures + curvatures[:, None]) / 2)
        return Coordinates(
            scale * (axes.T @ W @ axes),
            lambda y: _hollow(axes @ (y / scale) @ axes.T),
            lambda slope: (axes.T @ slope @ axes) / scale,
            W.size,
        )

    def start(self) -> Floats:
        return np.zeros((self.x.shape[1], self.x.shape[1]))

    def at(self, free: Floats) -> Point:
        W = (free + free.T) / 2
        losses, slopes = losses_and_slopes(W, self.x, self.beta)
        slopes = (slopes + slopes.T) / 2 + self.ridge * W
        values = losses + self.ridge / 2 * dots(W, W)
        return Point(W, values, slopes, norms(slopes).max(), np.ones(len(W)), self.ridge)

    def gains(self, W: Floats, point: Point) -> Floats:
        change = W - point.couplings
        pull = self.ridge / 2 * dots(change, W + point.couplings)
        return gains(point.couplings, change, self.x, self.beta) + pull


def fit_jointly(
    problem: Sphere | Symmetric,
    start: Floats | None,
    tolerance: float,
    max_iterations: int,
    count: Callable[[int], object],
) -> tuple[Floats, int, float]:
    """The couplings reached from `start` (None: those of the problem), the iterations and the largest residual."""
    point, iterations, progress = problem.at(problem.start() if start is None else start), 0, 1
    while point.residual > tolerance and iterations < max_iterations and progress:
        stage = min(_STAGE, max_iterations - iterations)
        point, progress = _descend(problem, point, stage, tolerance)
        iterations += progress
        count(progress)
    return point.couplings, iterations, point.residual


def _descend(problem: Sphere | Symmetric, point: Point, iterations: int, tolerance: float) -> tuple[Point, int]:
    """Up to `iterations` of L-BFGS from U = W in coordinates Y of U; returns the new point and the number done."""
    curvatures, axes = eigh(_mean_hessian(point, problem.x, problem.beta))
    start, free, pull, entries = problem.coordinates(point.couplings, curvatures, axes)

    def at(y: Floats) -> Point:
        return problem.at(free(y.reshape(start.shape)))

    def value_and_slope(y: Floats) -> tuple[float, Floats]:
        couplings, values, slope, *_ = at(y)
        gains = values - point.values  # differences row by row keep the digits that a sum would lose
        if abs(gains.sum()) < _SMALL * len(gains):
            gains = problem.gains(couplings, point)
        return gains.sum(), pull(slope).ravel()

    # ||dF/dU_l|| <= sqrt(max curvature) ||dF/dY|| <= sqrt(entries max curvature) max |dF/dY|
    gtol = tolerance / np.sqrt(entries * curvatures[-1])
    options = {"maxiter": iterations, "gtol": gtol, "ftol": 0.0}
    result = minimize(value_and_slope, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return at(result.x), result.nit


def _mean_hessian(point: Point, x: NDArray[np.int8], beta: float) -> Floats:
    """(beta^2/P) sum_x x x^T mean_l (dF/dl_l) (1 - tanh^2 M_l) + multiplier, positive definite."""
    hessian = np.zeros_like(point.couplings)
    for examples, margins in margins_of(point.couplings, x, beta):
        curvatures = 4 * expit(2 * margins) * expit(-2 * margins) @ point.weights / len(point.weights)
        hessian += (examples.T * (beta**2 / len(x) * curvatures)) @ examples
    floor = 1e-6 * np.trace(hessian) / len(hessian)
    return hessian + max(point.multiplier, floor) * np.eye(len(hessian))


def _orthogonal(rows: Floats, normals: Floats) -> Floats:
    """Each row less its component along the same row of `normals`."""
    parts = np.sum(rows * normals, axis=1, keepdims=True) / np.sum(normals**2, axis=1, keepdims=True)
    return rows - parts * normals


def _hollow(square: Floats) -> Floats:
    """`square`, its diagonal set to 0."""
    np.fill_diagonal(square, 0)
    return square
