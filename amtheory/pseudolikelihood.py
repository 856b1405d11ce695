"""The pseudo-likelihood memory (D'Amico et al., arXiv 2507.05147).

Each spin is a logistic regression on the others, p(s_l | s_others) = sigma(2 s_l f_l), with the conditional
field f_l = beta sum_{m != l} W_lm s_m and, on an example x, the margin M_l = x_l f_l.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh, get_blas_funcs, get_lapack_funcs, solve
from scipy.optimize import minimize, root_scalar
from scipy.special import expit
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from amtheory import _validation as check
from amtheory._memory import PairwiseMemory

_CHUNK = 2**19  # margins held at a time
_STAGE = 20  # joint L-BFGS iterations between two preconditioners
_DEFAULT_RIDGE = 1e-3
_FIELDS = 2**23  # that are fitted together
_MEMORY = 3  # pairs of the row by row L-BFGS
_PRECISION, _FIRST = 0.1, 1e-3  # of line searches, of the first one of Newton's method
_SAMPLE = 32  # rows that stand for all as long as their gradients are too long
_EXACT = 100  # iterations of L-BFGS after which the rows that are left get their own Hessians
_FLOOR = 1e-6  # relative size of the gradients that float32 resolves
_SMALL = 1e-10  # mean gains that differences of objectives do not resolve well


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
    """Couplings that minimise the negative log-pseudo-likelihood, W_ll = 0, not symmetric unless asked for.

    Row l minimises l_l = (1/P) sum_x log(1 + exp(-2 M_l)), M_l = beta x_l sum_{m != l} W_lm x_m. On linearly
    separable patterns (random ones: P < 2L) this alone sends ||W_l|| to infinity, so one of two conditions
    says which solution is meant:

    - `ridge`: add (ridge / 2) ||W_l||^2 (the default, with ridge = 1e-3);
    - `beta_norm`: fix beta ||W_l|| = beta_norm, as if training were stopped there. On random patterns this
      leads from Hebb's rule (beta_norm -> 0) to the largest margin (beta_norm = infinity, the couplings of
      `amtheory.PerceptronMargin`, scaled so that the smallest x_l (W_l . x) is 1). If l_l has a minimum of
      smaller norm, which takes patterns that are not separable, the solution is a local minimum on the sphere.

    Parameters
    ----------
    beta : inverse temperature > 0
    ridge, beta_norm : > 0, at most one of them; `beta_norm` may be infinite
    tolerance : the fit ends when for every row the gradient of l_l + (ridge / 2) ||W_l||^2, or that of log l_l
        along the sphere, has a Euclidean norm of at most this; with `ridge`, W_l is then within tolerance / ridge
        of the minimum. Below 2^-52 beta sqrt(L) (P + L b), where b is `beta_norm` or, with `ridge`, the upper bound
        beta sqrt(2 log 2 / ridge) of beta ||W_l||, rounding hides the gradient, and that is taken instead. With
        beta_norm = infinity, the relative gap between the margins and their upper bounds
    max_iterations : after which the fit warns
    symmetric : minimise the sum over l of the above over W = W^T; needs `ridge`. Gradients are then symmetrised

    Attributes
    ----------
    couplings_ : (L, L) float64
    norms_ : (L,) ||W_l||
    converged_ : whether `tolerance` was reached
    n_iter_ : iterations used, by the slowest row; 0 with beta_norm = infinity

    Raises TypeError or ValueError naming the parameter that is out of range.
    """

    beta: float = 1.0
    _: KW_ONLY
    ridge: float | None = None
    beta_norm: float | None = None
    tolerance: float = 1e-6
    max_iterations: int = 2000
    symmetric: bool = False

    def __post_init__(self) -> None:
        check.real("beta", self.beta, positive=True)
        check.real("tolerance", self.tolerance, positive=True)
        check.integer("max_iterations", self.max_iterations, 1)
        if self.ridge is not None and self.beta_norm is not None:
            raise ValueError(f"give `ridge` or `beta_norm`, not both, got {self.ridge} and {self.beta_norm}")
        if self.ridge is not None:
            check.real("ridge", self.ridge, positive=True)
        if self.beta_norm is not None and self.beta_norm != np.inf:
            check.real("beta_norm", self.beta_norm, positive=True)
        if self.symmetric and self.beta_norm is not None:
            raise ValueError(f"`symmetric` needs `ridge`: it cannot fix the norm of each row, got {self.beta_norm}")

    def fit(self, patterns: ArrayLike, start: ArrayLike | None = None) -> Self:
        """Learn `patterns` (P, L), P >= 1, L >= 2, from the couplings `start` (L, L), the diagonal of which is ignored.

        The minimum does not depend on `start`, only the time it takes (none of it with beta_norm = infinity).

        With `ridge`, each row has its own steps, but all share matrix products and one approximate Hessian: for
        P < L Newton's method in the span of the patterns, otherwise, or if that stalls, preconditioned L-BFGS. Rows
        that are still left after 100 iterations of it get Newton's method with their own Hessians.
        Float32 leads to the minimum as far as it resolves gradients, float64 from there. With `beta_norm` or
        `symmetric` all rows are minimised jointly by preconditioned L-BFGS. Matrix products use as many threads as
        the environment variable AMTHEORY_NUM_THREADS says, one by default.

        Warns (RuntimeWarning) if `tolerance` is not reached. Raises ValueError unless the patterns are spins
        in {-1, +1}, if `beta_norm` is given and a spin is uncorrelated with all others, or if it is infinite and
        a row is not separable.
        """
        x = check.spins("patterns", patterns)
        L = x.shape[1]
        if L < 2:
            raise ValueError(f"`patterns` must have at least 2 spins each, got shape {x.shape}")
        W = None
        if start is not None:
            W = check.couplings("start", start).astype(np.float64)
            if len(W) != L:
                raise ValueError(f"`start` must have the shape {(L, L)} that `patterns` ask for, got {W.shape}")
            np.fill_diagonal(W, 0)
            if self.beta_norm is not None and not W.any(axis=1).all():
                raise ValueError("`start` must have no row of zeros, which has no direction, with `beta_norm`")
        if self.beta_norm == np.inf:
            return self._fit_largest_margin(x)
        ridge = _DEFAULT_RIDGE if self.ridge is None else self.ridge
        most = self.beta * np.sqrt(2 * np.log(2) / ridge) if self.beta_norm is None else self.beta_norm
        rounding = np.finfo(np.float64).eps * self.beta * np.sqrt(L) * (len(x) + L * most)
        tolerance = max(self.tolerance, rounding)
        with (
            threadpool_limits(check.threads(None), user_api="blas"),
            tqdm(desc="pseudo-likelihood", unit=" iterations", disable=None, delay=2, leave=False) as bar,
        ):
            if self.symmetric or self.beta_norm is not None:
                norm = None if self.beta_norm is None else self.beta_norm / self.beta
                problem = _Symmetric(x, self.beta, ridge) if norm is None else _Sphere(x, self.beta, norm)
                W, iterations, residual = self._fit_jointly(problem, W, tolerance, bar.update)
            else:
                rows = _Rows(x, self.beta, ridge, tolerance, self.max_iterations, bar.update)
                W, iterations, residual = rows.fit(np.zeros((L, L)) if W is None else W)
        self.couplings_, self.n_iter_, self.converged_ = W, iterations, residual <= tolerance
        if not self.converged_:
            warnings.warn(
                f"pseudo-likelihood fit stopped after {self.n_iter_} iterations with a gradient norm of "
                f"{residual:.1e} > tolerance = {tolerance:.1e}: raise `max_iterations`, `tolerance` or "
                "`ridge`, or lower `beta_norm`",
                RuntimeWarning,
                stacklevel=2,
            )
        return self

    def _fit_largest_margin(self, x: NDArray[np.int8]) -> Self:
        from amtheory.perceptron import PerceptronMargin

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of what is raised here, or in `converged_`
            perceptron = PerceptronMargin(tolerance=self.tolerance).fit(x)
        lost = np.flatnonzero(~perceptron.separable_)
        if lost.size:
            raise ValueError(
                f"`patterns`: rows {lost[:5].tolist()} of the couplings ({lost.size} in all) cannot separate them, "
                "so that `beta_norm` must be finite"
            )
        self.couplings_, self.n_iter_, self.converged_ = perceptron.couplings_, 0, perceptron.converged_
        return self

    def _fit_jointly(
        self,
        problem: "_Sphere | _Symmetric",
        start: NDArray | None,
        tolerance: float,
        count: Callable[[int], object],
    ) -> tuple[NDArray[np.float64], int, float]:
        point, iterations, progress = problem.at(problem.start() if start is None else start), 0, 1
        while point.residual > tolerance and iterations < self.max_iterations and progress:
            stage = min(_STAGE, self.max_iterations - iterations)
            point, progress = _descend(problem, point, stage, tolerance)
            iterations += progress
            count(progress)
        return point.couplings, iterations, point.residual

    def conditional_field(self, states: ArrayLike) -> NDArray[np.float64]:
        """f_l = beta sum_{m != l} W_lm s_m, for which p(s_l = +1 | s_others) = sigma(2 f_l); (M, L) -> (M, L)."""
        return self.beta * self.local_field(states)


@dataclass
class _Rows:
    """Minimises l_l + (ridge / 2) ||W_l||^2 for every row l, chunk by chunk, each row with its own steps."""

    x: NDArray[np.int8]
    beta: float
    ridge: float
    tolerance: float
    max_iterations: int
    count: Callable[[int], object]

    def fit(self, W: NDArray[np.float64]) -> tuple[NDArray[np.float64], int, float]:
        """The couplings reached from W, the iterations and the largest norm of a gradient, in float64."""
        P, L = self.x.shape
        found, most, worst = [], 0, 0.0
        coarse = _FLOOR * self.beta * np.sqrt(L)  # no gradient of a loss is longer than beta sqrt(L)
        size = max(1, _FIELDS // P)
        for rows in (np.arange(i, min(i + size, L)) for i in range(0, L, size)):
            w, n, residual = W[rows], 0, np.inf
            for dtype, tolerance in ((np.float32, max(self.tolerance, coarse)), (np.float64, self.tolerance)):
                if P < L and residual > self.tolerance and (dtype == np.float32 or self.tolerance < coarse):
                    w, n, residual = self._newton(w, rows, dtype, tolerance, n)
                if dtype == np.float64 or residual > tolerance:
                    w, n, residual = self._quasi_newton(w, rows, dtype, tolerance, n)
            found.append(w)
            most, worst = max(most, n), max(worst, residual)
        return found[0] if len(found) == 1 else np.concatenate(found), most, worst

    def _newton(self, W: NDArray, rows: NDArray, dtype: type, tolerance: float, n: int) -> tuple[NDArray, int, float]:
        """Newton's method for P < L, on the coefficients A of W_l = sum_mu A_l^mu x^mu, diagonal removed.

        Fields are h_l = K_l A_l with K_l = K - y y^T, K the Gram matrix and y the spins l of the patterns, and
        gradients sum_mu R_l^mu x^mu with R = ridge A - (2 beta / P) y sigma(-2 M). With D the second derivatives of
        the loss in the fields, the step -(ridge + D K_l)^-1 R_l is approximated by (ridge / d + K_l)^-1 V_l, with
        d = mean D, for all rows at once: V is -R / D, as far as ridge and a typical eigenvalue kappa of K_l tell.
        The first step leads along the fields of W or, if that is 0, of the pseudo-inverse.
        """
        from amtheory import _likelihood_kernels as kernels

        P = len(self.x)
        x, y = self.x.astype(dtype), np.ascontiguousarray(self.x.T[rows])
        K, spins = x @ x.T, y.astype(dtype)
        A, fields, weights = np.zeros_like(spins), np.zeros_like(spins), spins / 2
        losses, linear, quadratic = np.full(len(rows), np.log(2)), np.empty(len(rows)), np.empty(len(rows))
        margin, d = self._pseudo_inverse()
        V = W.astype(dtype) @ x.T if W.any() else dtype(margin) * spins
        U, precision, residuals = np.empty_like(V), _FIRST, []

        def shared() -> tuple[float, float, NDArray, NDArray, NDArray]:
            shift = self.ridge / d
            C = _inverse(K.astype(np.float64) + shift * np.eye(P))
            kappa, C = 1 / C.diagonal().mean() - shift, C.astype(dtype)
            Cy = spins @ C
            return shift, kappa, C, Cy, 1 - _dots(spins, Cy)

        resolution = np.sqrt(np.finfo(dtype).eps)
        shift, kappa, C, Cy, left = shared()
        while True:
            np.matmul(V, C, out=U)
            kernels.leave_spin(U, Cy, left, y, A, shift, resolution, V, linear, quadratic)
            U *= self._search(precision, fields, V, y, self.ridge * linear, self.ridge * quadratic, losses, weights)
            A += U
            n += 1
            self.count(1)
            R = U
            kernels.residuals(A, weights, self.beta, self.ridge, R)
            some = np.argpartition(-_dots(R, R), min(_SAMPLE, len(R)) - 1)[:_SAMPLE]
            residual = _residual(R[some], K, spins[some])
            residuals.append(residual if residual > tolerance else _residual(R, K, spins))
            if residuals[-1] <= tolerance or n == self.max_iterations or _stalled(residuals, 4):
                break
            d, precision = self._mean_curvature(weights), _PRECISION
            if not 0.5 < shift * d / self.ridge < 2:
                shift, kappa, C, Cy, left = shared()
            kernels.targets(R, weights, self.beta, self.ridge, shift, kappa, V)
        W = A @ x
        W[np.arange(len(rows)), rows] = 0
        return W, n, residuals[-1]

    def _pseudo_inverse(self) -> tuple[float, float]:
        """The best a for couplings of coefficients a (K_l)^-1 y, and D there; y^T (K_l)^-1 y is about P / (L - P)."""
        P, L = self.x.shape
        pull = self.ridge * P / (2 * self.beta**2 * (L - P))
        m = root_scalar(lambda m: pull * m - expit(-2 * m), bracket=(0, 1 / pull)).root
        return m / self.beta, 4 * self.beta**2 / P * expit(2 * m) * expit(-2 * m)

    def _mean_curvature(self, weights: NDArray) -> float:
        """Mean second derivative of the loss in the fields."""
        sizes = np.abs(weights)
        return 4 * self.beta**2 / len(self.x) * max(float(np.vdot(sizes, 1 - sizes)) / sizes.size, 1e-30)

    def _quasi_newton(
        self, W: NDArray, rows: NDArray, dtype: type, tolerance: float, n: int
    ) -> tuple[NDArray[np.float64], int, float]:
        """L-BFGS row by row from B = (d X^T X + ridge)^-1, d the mean second derivative, restricted to W_ll = 0."""
        from amtheory import _likelihood_kernels as kernels

        x, y, result = self.x.astype(dtype), np.ascontiguousarray(self.x.T[rows]), W.astype(dtype)
        W, active, residuals, losses = result, np.arange(len(rows)), np.empty(len(rows)), np.empty(len(rows))
        fields = W @ x.T
        weights = np.empty_like(fields)
        kernels.weigh(fields, y, self.beta, losses, weights)
        gradient = self._slope(W, weights, x, rows)
        most, pairs, d, B = [], [], 0.0, np.empty(0)
        while True:
            residuals[active] = _norms(gradient)
            most.append(residuals.max())
            slow = len(most) > _EXACT
            stalled = dtype == np.float32 and (slow or _stalled(most, 20))
            if most[-1] <= tolerance or n == self.max_iterations or stalled:
                break
            keep = residuals[active] > tolerance
            if 2 * np.count_nonzero(keep) < len(active):
                result[active] = W
                active, rows, W, y = active[keep], rows[keep], W[keep], y[keep]
                fields, losses, weights, gradient = fields[keep], losses[keep], weights[keep], gradient[keep]
                pairs = [(step[keep], change[keep]) for step, change in pairs]
            mean = self._mean_curvature(weights)
            if not 0.5 < d / mean < 2:
                d, X = mean, self.x.astype(np.float64)
                B = _inverse(d * (X.T @ X) + self.ridge * np.eye(len(X.T))).astype(dtype)
            if slow:
                step = -self._newton_steps(gradient, weights, x, rows)
            else:
                step = -_two_loops(gradient, pairs, lambda q, B=B, rows=rows: _restricted(q @ B, B, rows))
            linear, quadratic = self.ridge * _dots(W, step), self.ridge * _dots(step, step)
            step *= self._search(_PRECISION, fields, step @ x.T, y, linear, quadratic, losses, weights)
            if not step.any():
                break
            W = W + step
            before, gradient = gradient, self._slope(W, weights, x, rows)
            pairs = [*pairs, (step, gradient - before)][-_MEMORY:]
            n += 1
            self.count(1)
        if W is not result:
            result[active] = W
        return result.astype(np.float64, copy=False), n, most[-1]

    def _newton_steps(self, gradient: NDArray, weights: NDArray, x: NDArray, rows: NDArray) -> NDArray:
        """The inverse Hessian of each row times its gradient."""
        steps, sizes = np.empty_like(gradient), np.abs(weights)
        for step, l, D, right in zip(steps, rows, 4 * self.beta**2 / len(x) * sizes * (1 - sizes), gradient):
            hessian = (x.T * D) @ x + self.ridge * np.eye(len(right))
            hessian[l] = hessian[:, l] = 0
            hessian[l, l] = 1
            step[:] = solve(hessian, right, assume_a="pos")
        return steps

    def _slope(self, W: NDArray, weights: NDArray, x: NDArray, rows: NDArray) -> NDArray:
        """ridge W - (2 beta / P) weights x without the diagonal."""
        (gemm,) = get_blas_funcs(("gemm",), (x,))
        slope = gemm(-2 * self.beta / len(x), x.T, weights.T, self.ridge, W.T).T
        slope[np.arange(len(rows)), rows] = 0
        return slope

    def _search(
        self,
        precision: float,
        fields: NDArray,
        change: NDArray,
        y: NDArray,
        linear: NDArray,
        quadratic: NDArray,
        losses: NDArray,
        weights: NDArray,
    ) -> NDArray:
        """Move `fields` along `change`; returns the steps (rows, 1)."""
        from amtheory import _likelihood_kernels as kernels

        steps = np.empty(len(y))
        linear, quadratic = linear.astype(np.float64), quadratic.astype(np.float64)
        kernels.search(fields, change, y, self.beta, linear, quadratic, precision, losses, weights, steps)
        return steps.astype(fields.dtype)[:, None]


def _inverse(positive: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of a positive definite matrix."""
    potrf, potri = get_lapack_funcs(("potrf", "potri"), (positive,))
    lower = potri(potrf(positive, lower=True)[0], lower=True)[0]
    return np.tril(lower) + np.tril(lower, -1).T


def _dots(a: NDArray, b: NDArray) -> NDArray:
    """Scalar products of rows."""
    return np.einsum("ij,ij->i", a, b)


def _restricted(z: NDArray, B: NDArray, rows: NDArray) -> NDArray:
    """The solutions z = B q, q_l = 0, of row l in `rows` corrected to those at z_l = 0."""
    own = np.arange(len(rows)), rows
    z = z - (z[own] / B.diagonal()[rows])[:, None] * B[rows]
    z[own] = 0
    return z


def _residual(R: NDArray, K: NDArray, y: NDArray) -> float:
    """The largest norm of sum_mu R_l^mu x^mu without spin l, the square of which is R_l^T (K - y_l y_l^T) R_l."""
    return np.sqrt(max((_dots(R, R @ K) - _dots(R, y) ** 2).max(), 0))


def _stalled(residuals: list[float], patience: int) -> bool:
    """Whether the last `patience` residuals are all above half the best one before."""
    return len(residuals) > patience and min(residuals[-patience:]) > min(residuals[:-patience]) / 2


def _two_loops(gradient: NDArray, pairs: list[tuple[NDArray, NDArray]], solve: Callable[[NDArray], NDArray]) -> NDArray:
    """Row by row the L-BFGS product of inverse Hessian and `gradient`; steps of 0 drop out."""
    q, later = gradient, []
    for step, change in reversed(pairs):
        curvature = _dots(step, change)
        rho = np.divide(1, curvature, out=np.zeros_like(curvature), where=curvature > 0)
        alpha = (rho * _dots(step, q))[:, None]
        q = q - alpha * change
        later.append((step, change, rho, alpha))
    z = solve(q)
    for step, change, rho, alpha in reversed(later):
        z += (alpha - (rho * _dots(change, z))[:, None]) * step
    return z


class _Point(NamedTuple):
    """A place on the way to the minimum of F(W(U)), U the free parameters."""

    couplings: NDArray[np.float64]  # W
    values: NDArray[np.float64]  # F, row by row
    slope: NDArray[np.float64]  # dF/dU
    residual: float  # the largest norm of a row of dF/dW along the constraint
    weights: NDArray[np.float64]  # dF/dl_l
    multiplier: float  # of ||W_l||^2 / 2, averaged over rows


class _Coordinates(NamedTuple):
    """Of free parameters U, such that the mean Hessian is 1 in them."""

    start: NDArray[np.float64]
    free: Callable[[NDArray], NDArray]  # U
    pull: Callable[[NDArray], NDArray]  # dF/dU as a derivative in the coordinates
    entries: int  # coordinates that a row of W depends on


@dataclass
class _Sphere:
    """F = sum_l log l_l with W_l = norm U_l / ||U_l||; the logarithm puts easy and hard rows on one scale."""

    x: NDArray[np.int8]
    beta: float
    norm: float

    def coordinates(self, W: NDArray, curvatures: NDArray, axes: NDArray) -> _Coordinates:
        """U H^(1/2). U_ll = 0 means that row l is orthogonal to row l of H^(-1/2), on which slopes are projected."""
        root, inverse_root = axes * curvatures**0.5 @ axes.T, axes * curvatures**-0.5 @ axes.T
        return _Coordinates(
            W @ root,
            lambda y: _hollow(y @ inverse_root),
            lambda slope: _orthogonal(slope @ inverse_root, inverse_root),
            len(W),
        )

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
        residual, multiplier = _norms(slopes).max(), float(multipliers.mean())
        return _Point(couplings, np.log(losses), scale * slopes, residual, 1 / losses, multiplier)

    def gains(self, W: NDArray[np.float64], point: _Point) -> NDArray[np.float64]:
        change = _orthogonal(W - point.couplings, W + point.couplings)  # rounding does not lead off the sphere
        return np.log1p(_gains(point.couplings, change, self.x, self.beta) * point.weights)


@dataclass
class _Symmetric:
    """F = sum_l l_l + (ridge / 2) ||W||^2 with W = (U + U^T) / 2."""

    x: NDArray[np.int8]
    beta: float
    ridge: float

    def coordinates(self, W: NDArray, curvatures: NDArray, axes: NDArray) -> _Coordinates:
        """In the basis of the axes of H, an entry U_ij of the symmetric U has the curvature (H_i + H_j) / 2."""
        scale = np.sqrt((curvatures + curvatures[:, None]) / 2)
        return _Coordinates(
            scale * (axes.T @ W @ axes),
            lambda y: _hollow(axes @ (y / scale) @ axes.T),
            lambda slope: (axes.T @ slope @ axes) / scale,
            W.size,
        )

    def start(self) -> NDArray[np.float64]:
        return np.zeros((self.x.shape[1], self.x.shape[1]))

    def at(self, free: NDArray[np.float64]) -> _Point:
        W = (free + free.T) / 2
        losses, slopes = _losses_and_slopes(W, self.x, self.beta)
        slopes = (slopes + slopes.T) / 2 + self.ridge * W
        values = losses + self.ridge / 2 * _dots(W, W)
        return _Point(W, values, slopes, _norms(slopes).max(), np.ones(len(W)), self.ridge)

    def gains(self, W: NDArray[np.float64], point: _Point) -> NDArray[np.float64]:
        change = W - point.couplings
        pull = self.ridge / 2 * _dots(change, W + point.couplings)
        return _gains(point.couplings, change, self.x, self.beta) + pull


def _descend(problem: _Sphere | _Symmetric, point: _Point, iterations: int, tolerance: float) -> tuple[_Point, int]:
    """Up to `iterations` of L-BFGS from U = W in coordinates Y of U; returns the new point and the number done."""
    curvatures, axes = eigh(_mean_hessian(point, problem.x, problem.beta))
    start, free, pull, entries = problem.coordinates(point.couplings, curvatures, axes)

    def at(y: NDArray[np.float64]) -> _Point:
        return problem.at(free(y.reshape(start.shape)))

    def value_and_slope(y: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
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


def _gains(
    couplings: NDArray[np.float64], change: NDArray[np.float64], patterns: NDArray[np.int8], beta: float
) -> NDArray[np.float64]:
    """l_l at W + `change` less l_l at W (L,), without the cancellation of a difference."""
    total = np.zeros(len(couplings))
    for (_, margins), (_, changes) in zip(_margins(couplings, patterns, beta), _margins(change, patterns, beta)):
        a, d = -2 * margins, -2 * changes
        near = np.log1p(expit(a) * np.expm1(np.clip(d, -1, 1)))
        total += np.where(np.abs(d) <= 1, near, np.logaddexp(0, a + d) - np.logaddexp(0, a)).sum(axis=0)
    return total / len(patterns)


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


def _hollow(square: NDArray[np.float64]) -> NDArray[np.float64]:
    """`square`, its diagonal set to 0."""
    np.fill_diagonal(square, 0)
    return square


def _norms(rows: NDArray) -> NDArray:
    return np.sqrt(_dots(rows, rows))
