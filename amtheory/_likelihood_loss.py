"""The negative log-pseudo-likelihood of each row of couplings, its gradient, and its differences.

l_l = (1/P) sum_x log(1 + exp(-2 M_l)), with the margin M_l = beta x_l sum_{m != l} W_lm x_m on an example x. Patterns
are (P, L), couplings (L, L) of zero diagonal.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]

_CHUNK = 2**19  # margins held at a time


def losses_and_slopes(couplings: Floats, patterns: NDArray[np.int8], beta: float) -> tuple[Floats, Floats]:
    """l_l for each row (L,) and its gradient (L, L), at couplings of zero diagonal."""
    P, L = patterns.shape
    losses, slopes = np.zeros(L), np.zeros((L, L))
    for x, margins in margins_of(couplings, patterns, beta):
        losses += np.logaddexp(0, -2 * margins).sum(axis=0)
        slopes -= (x * (2 * expit(-2 * margins))).T @ x  # 2 sigma(-2M) = 1 - tanh M, without cancellation
    np.fill_diagonal(slopes, 0)
    return losses / P, slopes * (beta / P)


def gains(couplings: Floats, change: Floats, patterns: NDArray[np.int8], beta: float) -> Floats:
    """l_l at W + `change` less l_l at W (L,), without the cancellation of a difference."""
    total = np.zeros(len(couplings))
    for (_, margins), (_, changes) in zip(margins_of(couplings, patterns, beta), margins_of(change, patterns, beta)):
        a, d = -2 * margins, -2 * changes
        near = np.log1p(expit(a) * np.expm1(np.clip(d, -1, 1)))
        total += np.where(np.abs(d) <= 1, near, np.logaddexp(0, a + d) - np.logaddexp(0, a)).sum(axis=0)
    return total / len(patterns)


def margins_of(couplings: Floats, patterns: NDArray[np.int8], beta: float) -> Iterator[tuple[Floats, Floats]]:
    """Chunks of the examples x with their margins M_l, both (chunk, L)."""
    rows = max(1, _CHUNK // patterns.shape[1])
    for start in range(0, len(patterns), rows):
        x = patterns[start : start + rows].astype(np.float64)
        yield x, beta * x * (x @ couplings.T)


def dots(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """Scalar products of rows."""
    return np.einsum("ij,ij->i", a, b)


def norms(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Euclidean norms of rows."""
    return np.sqrt(dots(rows, rows))
