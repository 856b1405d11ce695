"""Hopfield memory of patterns made of random features, L -> infinity, T = 0, replica symmetry.

The P = alpha L examples are x = sgn(sum_k c_k f_k), with D = alpha_D L random features f_k and Gaussian (or fair sign)
coefficients c_k. With few examples the Hebbian memory stores them; with many it learns the features, and then has
attractors at mixtures of few features that it has never seen.

With k1^2 = 2 / pi, ks^2 = 1 - 2 / pi, a = alpha / alpha_D and t = 1 / sqrt(alpha qh), a state with overlap m with each
of n features (n odd) solves, zeta being the positive odd numbers up to n with p = binom(n, (n + zeta) / 2) / 2^n,

    dq = 4 t sum p phi(zeta y),         m = (2 / n) sum p zeta erf(zeta y / sqrt(2)),    y = a dph m t,
    d1 = 1 - k1^2 dq / d2 - ks^2 dq,    d2 = 1 - a dq dph,                               dph = k1^2 / d1,
    pd = n m^2 / alpha_D + (1 + a dq^2 ph) / d2^2,    ph = k1^2 (k1^2 pd + ks^2) / d1^2,
    qh = ks^2 (k1^2 pd + ks^2) / d1^2 + (ph + a dph^2) / d2^2;

for an example, n = 1 with y = m t and without m^2 in pd. At given y all but the equation for t is explicit, and the
states are the y where t^2 alpha qh = 1: the spinodal is the load at which the minimum over y of the left side is 1.

References: Negri, Lauditi, Perugini, Lucibello and Malatesta, Phys. Rev. Lett. 131, 257301 (2023), and, for mixtures,
Kalaj, Lauditi, Perugini, Lucibello, Malatesta and Negri, arXiv 2407.05658.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import comb, erf

from amtheory import _validation as check
from amtheory.theory import _gauss

_LINEAR = 2 / np.pi
_REST = 1 - _LINEAR
_LARGEST = 1e6  # of the learning loads looked for


def storage_load(alpha_D: ArrayLike) -> Any:
    """The largest alpha = P / L at which the examples are attractors, for `alpha_D` = D / L in [1e-4, 1e6].

    Tends to the 0.1379 of independent patterns for many features. Raises ValueError out of range. Example:
    0.0364 at alpha_D = 0.01.
    """
    return _gauss.elementwise(lambda d: _spinodal(d, 0), _features(alpha_D))


def learning_load(alpha_D: ArrayLike) -> Any:
    """The smallest alpha = P / L at which the features are attractors, for `alpha_D` = D / L in [1e-4, 1e6].

    np.inf if there is none up to 1e6, as for alpha_D >= 0.1379, where even perfectly learned features are too many.
    Raises ValueError out of range. Example: 0.0979 at alpha_D = 0.01.
    """
    return generalization_load(alpha_D, 1)


def generalization_load(alpha_D: ArrayLike, n: int) -> Any:
    """The smallest alpha = P / L at which symmetric mixtures of `n` features are attractors, seen before or not.

    `n` odd, at most 99; 1 is `learning_load`. np.inf if there is none up to 1e6. Raises ValueError out of range.
    Example: 0.521 at alpha_D = 0.01 and n = 3.
    """
    n = check.integer("n", n, 1, 99)
    if n % 2 == 0:
        raise ValueError(f"`n` must be odd, got {n}")
    return _gauss.elementwise(lambda d: _spinodal(d, n), _features(alpha_D))


def _features(alpha_D: ArrayLike) -> Any:
    return _gauss.checked("alpha_D", alpha_D, lambda d: (d >= 1e-4) & (d <= 1e6), "in [1e-4, 1e6]")


@lru_cache(maxsize=1024)
def _spinodal(alpha_D: float, n: int) -> float:
    """Of an example if n = 0, else of a mixture of n features."""

    def lowest(log_alpha: float) -> float:
        """The minimum over y of log(t^2 alpha qh): there is a state if it is negative."""
        alpha = float(np.exp(log_alpha))
        grid = np.linspace(np.log(0.02), np.log(50), 400)
        values = _log_ratio(grid, alpha, alpha_D, n)
        i = int(np.argmin(values))
        ends = (grid[max(i - 1, 0)], grid[min(i + 1, 399)])
        found: Any = minimize_scalar(
            lambda u: float(_log_ratio(np.array([u]), alpha, alpha_D, n)[0]), bounds=ends, method="bounded"
        )
        return min(float(found.fun), float(values[i]))

    # from where there is no state: an example at high load, a feature at low load
    down, up = np.log(0.2) - 0.1 * np.arange(120), np.arange(np.log(alpha_D) - 2, np.log(_LARGEST), 0.1)
    scan = up if n else down
    previous = float(scan[0])
    for point in map(float, scan):
        if lowest(point) < 0:
            return float(np.exp(_gauss.root(lowest, previous, point)))
        previous = point
    return np.inf


def _log_ratio(log_y: Any, alpha: float, alpha_D: float, n: int) -> Any:
    """log(t^2 alpha qh) at each y; inf where the equations have no solution."""
    y = np.exp(log_y)
    a, k = alpha / alpha_D, max(n, 1)
    zeta = np.arange(1, k + 1, 2)
    p = comb(k, (k + zeta) // 2) / 2.0**k
    m = 2 / k * erf(np.multiply.outer(y, zeta) / np.sqrt(2)) @ (p * zeta)
    dq_over_t = 4 * _gauss.density(np.multiply.outer(y, zeta)) @ p
    with np.errstate(divide="ignore", invalid="ignore"):
        if n == 0:
            t = y / m
            dq = dq_over_t * t
            # d1 d2 = d1 - a k1^2 dq = (1 - ks^2 dq) d2 - k1^2 dq; d2 -> 1 as dq -> 0
            rest, linear = 1 - _REST * dq, _LINEAR * dq
            half = (rest + linear * (1 - a)) / 2
            d2 = (half + np.sqrt(half**2 - rest * linear)) / rest
            d1 = rest - linear / d2
        else:
            t_over_d1 = y / (a * _LINEAR * m)
            d2 = 1 - dq_over_t * y / m
            d1 = 1 / (1 + dq_over_t * t_over_d1 * (_REST + _LINEAR / d2))
            t = t_over_d1 * d1
            dq = dq_over_t * t
        # pd = first + second ph, ph = (k1^2 pd + ks^2) k1^2 / d1^2
        first = n * m**2 / alpha_D + 1 / d2**2
        second = a * (dq / d2) ** 2
        weight = _LINEAR / d1**2
        share = 1 - second * weight * _LINEAR
        pd = (first + second * weight * _REST) / share
        signal = (_LINEAR * pd + _REST) / d1**2
        qh = _REST * signal + (_LINEAR * signal + a * (_LINEAR / d1) ** 2) / d2**2
        good = (d1 > 0) & (d2 > 0) & (share > 0)
        return np.where(good, np.log(t**2 * alpha * np.where(good, qh, 1.0)), np.inf)
