"""Hopfield memory: one step of parallel dynamics, and the retrieval state of large systems at T = 0.

References: Amit, Gutfreund and Sompolinsky, Phys. Rev. Lett. 55, 1530 (1985) and Ann. Phys. 173, 30 (1987).
"""

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betainc, erf

from amtheory import _validation as check


def one_step_overlap(L: int, P: int, flips: int, ties: Literal["keep", "random"] = "keep") -> float:
    """Mean overlap with a stored pattern after one parallel T = 0 step, exact at finite size.

    The step starts from the pattern with `flips` spins reversed, chosen independently of the other patterns.
    Site by site, L x_i h_i = S + B with the signal S = L - 2 flips - 1 (spin intact) or L - 2 flips + 1
    (spin reversed) and a crosstalk B that is a sum of (P - 1)(L - 1) independent fair signs, so

        m_1 = mean over sites of P(S + B > 0) - P(S + B < 0) + x_i s_i P(S + B = 0),

    the last term only if ``ties="keep"`` (a zero field keeps the spin); with ``ties="random"`` it averages
    to zero. Random patterns, Hebbian couplings, zero diagonal. Example: L = 200, P = 20, 40 flips gives
    0.949022.

    Raises TypeError or ValueError unless L, P >= 1, 0 <= flips <= L and `ties` is known.
    """
    L, P = check.integer("L", L, 1), check.integer("P", P, 1)
    flips = check.integer("flips", flips, 0, L)
    check.choice("ties", ties, ("keep", "random"))
    n = (P - 1) * (L - 1)

    def mean_spin(signal: int, spin: int) -> float:
        # B = n - 2K with K ~ Bin(n, 1/2), hence S + B > 0 iff K < (n + S) / 2
        above = _fair_binomial_cdf((n + signal - 1) // 2, n)
        below = 1 - _fair_binomial_cdf((n + signal) // 2, n)
        return above - below + (ties == "keep") * spin * (1 - above - below)

    intact, reversed_ = mean_spin(L - 2 * flips - 1, +1), mean_spin(L - 2 * flips + 1, -1)
    return ((L - flips) * intact + flips * reversed_) / L


def one_step_map(alpha: ArrayLike, m0: ArrayLike) -> NDArray[np.float64]:
    """m_1 = erf(m_0 / sqrt(2 alpha)): overlap after one parallel T = 0 step from overlap m_0, L -> infinity.

    `alpha` > 0 and `m0` in [-1, 1] broadcast. Raises ValueError out of range.
    """
    alpha, m0 = np.asarray(alpha, dtype=np.float64), np.asarray(m0, dtype=np.float64)
    if not (alpha > 0).all():
        raise ValueError(f"`alpha` must be > 0, got {alpha}")
    if not (np.abs(m0) <= 1).all():
        raise ValueError(f"`m0` must be in [-1, 1], got {m0}")
    return erf(m0 / np.sqrt(2 * alpha))


def overlap(alpha: ArrayLike) -> NDArray[np.float64]:
    """Overlap m of the retrieval state at T = 0, L -> infinity, replica symmetry.

    m = erf(y) with y the largest root of

        sqrt(2 alpha) = erf(y) / y - (2 / sqrt(pi)) exp(-y^2);

    0.0 above the critical load, where there is none. `alpha` = P / L >= 0, of any shape, which the result
    has too. Raises ValueError if `alpha` is negative or NaN.
    """
    loads = np.asarray(alpha, dtype=np.float64)
    if not (loads >= 0).all():
        raise ValueError(f"`alpha` must be >= 0, got {loads}")
    return np.reshape([_overlap(load) for load in loads.flat], loads.shape)[()]


@cache
def critical_load() -> float:
    """alpha_c = 0.1379..., the largest load with a retrieval state at T = 0 (replica symmetry)."""
    return _root_of_load(_critical_argument()) ** 2 / 2


def _overlap(alpha: float) -> float:
    if alpha > critical_load():
        return 0.0
    if alpha == 0:
        return 1.0
    lowest, highest = _critical_argument(), 1 / np.sqrt(2 * alpha)
    if _root_of_load(lowest) <= np.sqrt(2 * alpha):
        return erf(lowest)
    return erf(_solve(lambda y: _root_of_load(y) - np.sqrt(2 * alpha), lowest, highest))


def _root_of_load(y: float) -> float:
    """sqrt(2 alpha) as a function of y = m / sqrt(2 alpha r)."""
    return erf(y) / y - 2 / np.sqrt(np.pi) * np.exp(-(y**2))


@cache
def _critical_argument() -> float:
    """Where `_root_of_load` is largest: erf(y) = (2 / sqrt(pi)) y (1 + 2 y^2) exp(-y^2)."""
    return _solve(lambda y: erf(y) - 2 / np.sqrt(np.pi) * y * (1 + 2 * y**2) * np.exp(-(y**2)), 1.0, 2.0)


def _solve(f: Callable[[float], float], a: float, b: float) -> float:
    return float(brentq(f, a, b, xtol=1e-14))  # pyright: ignore[reportArgumentType]


def _fair_binomial_cdf(k: int, n: int) -> float:
    """P(K <= k) for K ~ Bin(n, 1/2) and any integer k."""
    if k < 0 or k >= n:
        return float(k >= n)
    return float(betainc(n - k, k + 1, 0.5))
