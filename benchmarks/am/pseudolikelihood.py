"""Pseudo-likelihood fits against what a user would write with SciPy, in float64.

No row may have a gradient longer than `TOLERANCE` at the end. SciPy's own `gtol` bounds entries, not lengths: with
`TOLERANCE` / sqrt(L) it keeps the promise, and goes on for too long (lengths of about 1e-5). The other peers stop
through the callback, at the first iterate that is good enough. Those that fit row by row are timed on some rows, chosen
evenly; their time is linear in the number.
"""

from functools import partial

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from amtheory import PseudoLikelihood
from amtheory.patterns import random_patterns
from benchmarks.harness import Case, Peer

RIDGE, TOLERANCE = 1e-3, 1e-4


def _lbfgs(objective, size, row, exactly=True):
    """SciPy's L-BFGS from 0 until the gradients of all rows of length `row` are short enough."""
    last = np.empty(size)

    def value_and_slope(w):
        value, last[:] = objective(w)
        return value, last.copy()

    def stop(w):
        if exactly and np.linalg.norm(last.reshape(-1, row), axis=1).max() <= TOLERANCE:
            raise StopIteration

    options = {"ftol": 0.0, "gtol": 0.0 if exactly else TOLERANCE / np.sqrt(row), "maxiter": 10_000, "maxfun": 100_000}
    return minimize(value_and_slope, np.zeros(size), jac=True, method="L-BFGS-B", callback=stop, options=options).x


def joint(x):
    """All couplings as one vector."""
    P, L = x.shape

    def objective(w):
        W = w.reshape(L, L)
        margins = x * (x @ W.T)
        slope = RIDGE * W - 2 / P * (x * expit(-2 * margins)).T @ x
        np.fill_diagonal(slope, 0)
        return np.logaddexp(0, -2 * margins).sum() / P + RIDGE / 2 * w @ w, slope.ravel()

    return _lbfgs(objective, L * L, L).reshape(L, L)


def row_by_row(x, rows, exactly):
    """A logistic regression for each spin."""
    P, L = x.shape
    found = np.zeros((len(rows), L))
    for W, l in zip(found, rows):
        inputs = np.delete(x, l, axis=1) * x[:, l, None]

        def objective(w, inputs=inputs):
            margins = inputs @ w
            slope = RIDGE * w - 2 / P * (expit(-2 * margins) @ inputs)
            return np.logaddexp(0, -2 * margins).mean() + RIDGE / 2 * w @ w, slope

        W[np.arange(L) != l] = _lbfgs(objective, L - 1, L - 1, exactly)
    return found


def cases() -> list[Case]:
    found = []
    for L, load, bar_rows, bar_joint in (
        (1000, 0.5, {"avx512": 90, "avx2": 50}, {"avx512": 40, "avx2": 30}),
        (500, 1.0, 10, 5),
        (500, 1.5, 10, 5),
        (500, 3.0, 10, 5),
    ):
        patterns = random_patterns(round(load * L), L, rng=0)
        x = patterns.astype(np.float64)
        rows = np.linspace(0, L - 1, 5).astype(int)
        found.append(
            Case(
                f"(e) pseudo-likelihood, L = {L}, P / L = {load}, ridge = {RIDGE}, gradients <= {TOLERANCE}",
                partial(PseudoLikelihood(ridge=RIDGE, tolerance=TOLERANCE).fit, patterns),
                [
                    Peer("L-BFGS row by row, gtol", partial(row_by_row, x, rows, False), len(rows) / L, bar_rows),
                    Peer("L-BFGS row by row, callback", partial(row_by_row, x, rows, True), len(rows) / L),
                    Peer("joint L-BFGS, callback", partial(joint, x), 1.0, bar_joint),
                ],
                rounds=3,
            )
        )
    return found
