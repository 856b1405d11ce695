"""Pseudo-likelihood couplings with a ridge, row by row: Newton's method in the span of the patterns, and L-BFGS."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_blas_funcs, get_lapack_funcs, solve
from scipy.optimize import root_scalar
from scipy.special import expit

from amtheory._likelihood_loss import dots, norms

_FIELDS = 2**23  # that are fitted together
_MEMORY = 3  # pairs of L-BFGS
_PRECISION, _FIRST = 0.1, 1e-3  # of line searches, of the first one of Newton's method
_SAMPLE = 32  # rows that stand for all as long as their gradients are too long
_EXACT = 100  # iterations of L-BFGS after which the rows that are left get their own Hessians
_FLOOR = 1e-6  # relative size of the gradients that float32 resolves

Floats, Ints, Spins = NDArray[np.float64], NDArray[np.int64], NDArray[np.int8]
Reals = NDArray[np.floating]  # of the precision in which a stage works


@dataclass
class Rows:
    """Minimises l_l + (ridge / 2) ||W_l||^2 for every row l, chunk by chunk, each row with its own steps."""

    x: Spins
    beta: float
    ridge: float
    tolerance: float
    max_iterations: int
    count: Callable[[int], object]

    def fit(self, W: Floats) -> tuple[Floats, int, float]:
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

    def _newton(self, W: Reals, rows: Ints, dtype: type, tolerance: float, n: int) -> tuple[Reals, int, float]:
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

        def shared() -> tuple[float, float, Reals, Reals, Reals]:
            """ridge / d, kappa, C = (ridge / d + K)^-1, C y and 1 - y^T C y for each y."""
            shift = self.ridge / d
            C = _inverse(K.astype(np.float64) + shift * np.eye(P))
            kappa, C = 1 / C.diagonal().mean() - shift, C.astype(dtype)
            Cy = spins @ C
            return shift, kappa, C, Cy, 1 - dots(spins, Cy)

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
            some = np.argpartition(-dots(R, R), min(_SAMPLE, len(R)) - 1)[:_SAMPLE]
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

    def _mean_curvature(self, weights: Reals) -> float:
        """Mean second derivative of the loss in the fields."""
        sizes = np.abs(weights)
        return 4 * self.beta**2 / len(self.x) * max(float(np.vdot(sizes, 1 - sizes)) / sizes.size, 1e-30)

    def _quasi_newton(self, W: Reals, rows: Ints, dtype: type, tolerance: float, n: int) -> tuple[Floats, int, float]:
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
            residuals[active] = norms(gradient)
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
            linear, quadratic = self.ridge * dots(W, step), self.ridge * dots(step, step)
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

    def _newton_steps(self, gradient: Reals, weights: Reals, x: Reals, rows: Ints) -> Reals:
        """The inverse Hessian of each row times its gradient."""
        steps, sizes = np.empty_like(gradient), np.abs(weights)
        for step, l, D, right in zip(steps, rows, 4 * self.beta**2 / len(x) * sizes * (1 - sizes), gradient):
            hessian = (x.T * D) @ x + self.ridge * np.eye(len(right))
            hessian[l] = hessian[:, l] = 0
            hessian[l, l] = 1
            step[:] = solve(hessian, right, assume_a="pos")
        return steps

    def _slope(self, W: Reals, weights: Reals, x: Reals, rows: Ints) -> Reals:
        """ridge W - (2 beta / P) weights x without the diagonal."""
        (gemm,) = get_blas_funcs(("gemm",), (x,))
        slope = gemm(-2 * self.beta / len(x), x.T, weights.T, self.ridge, W.T).T
        slope[np.arange(len(rows)), rows] = 0
        return slope

    def _search(
        self,
        precision: float,
        fields: Reals,
        change: Reals,
        y: Spins,
        linear: Reals,
        quadratic: Reals,
        losses: Floats,
        weights: Reals,
    ) -> Reals:
        """Move `fields` along `change`; returns the steps (rows, 1)."""
        from amtheory import _likelihood_kernels as kernels

        steps = np.empty(len(y))
        linear, quadratic = linear.astype(np.float64), quadratic.astype(np.float64)
        kernels.search(fields, change, y, self.beta, linear, quadratic, precision, losses, weights, steps)
        return steps.astype(fields.dtype)[:, None]


def _inverse(positive: Floats) -> Floats:
    """The inverse of a positive definite matrix."""
    potrf, potri = get_lapack_funcs(("potrf", "potri"), (positive,))
    lower = potri(potrf(positive, lower=True)[0], lower=True)[0]
    return np.tril(lower) + np.tril(lower, -1).T


def _restricted(z: Reals, B: Reals, rows: Ints) -> Reals:
    """The solutions z = B q, q_l = 0, of row l in `rows` corrected to those at z_l = 0."""
    own = np.arange(len(rows)), rows
    z = z - (z[own] / B.diagonal()[rows])[:, None] * B[rows]
    z[own] = 0
    return z


def _residual(R: Reals, K: Reals, y: Reals) -> float:
    """The largest norm of sum_mu R_l^mu x^mu without spin l, the square of which is R_l^T (K - y_l y_l^T) R_l."""
    return np.sqrt(max((dots(R, R @ K) - dots(R, y) ** 2).max(), 0))


def _stalled(residuals: list[float], patience: int) -> bool:
    """Whether the last `patience` residuals are all above half the best one before."""
    return len(residuals) > patience and min(residuals[-patience:]) > min(residuals[:-patience]) / 2


def _two_loops(gradient: Reals, pairs: list[tuple[Reals, Reals]], solve: Callable[[Reals], Reals]) -> Reals:
    """Row by row the L-BFGS product of inverse Hessian and `gradient`; steps of 0 drop out."""
    q, later = gradient, []
    for step, change in reversed(pairs):
        curvature = dots(step, change)
        rho = np.divide(1, curvature, out=np.zeros_like(curvature), where=curvature > 0)
        alpha = (rho * dots(step, q))[:, None]
        q = q - alpha * change
        later.append((step, change, rho, alpha))
    z = solve(q)
    for step, change, rho, alpha in reversed(later):
        z += (alpha - (rho * dots(change, z))[:, None]) * step
    return z
