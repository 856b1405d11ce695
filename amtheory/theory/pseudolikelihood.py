"""The pseudo-likelihood memory of random patterns, L -> infinity: stabilities from Hebb's rule to the largest margin.

Row l minimises the mean of log(1 + exp(-2 M)), M = b Delta, at a fixed norm b = beta ||W_l||, the `beta_norm` of
`amtheory.PseudoLikelihood`. Zero-temperature replica symmetric theory of a convex loss: Delta is distributed as the
proximal map of a Gaussian t ~ N(0, 1),

    Delta(t) = argmin_D log(1 + exp(-2 b D)) + (D - t)^2 / (2 x),    E (Delta(t) - t)^2 = L / P,

the second equation fixing x. The norm has the Lagrange multiplier

    ridge = beta^2 E[(1 - tanh M) M] / b^2

in the convention of the package, (1/P) sum log(1 + exp(-2 M)) + (ridge / 2) ||W_l||^2 with M = beta x_l W_l . x.
Exact where the ridge is >= 0. Without self-coupling each neuron has L - 1 inputs, so at finite size compare with
load = P / (L - 1).

Reference: Griniasty and Gutfreund, J. Phys. A 24, 715 (1991), for the loss log(1 + exp(-2 M)).
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from amtheory import _validation as check
from amtheory.theory import _gauss
from amtheory.theory.stability import StabilityDistribution


class Stability(NamedTuple):
    """Mean and variance of the stabilities of the stored patterns, as `stability` gives them.

    Parameters
    ----------
    mean, variance : float64, of the shape that the arguments broadcast to

    Examples
    --------
    >>> from amtheory.theory.pseudolikelihood import stability
    >>> found = stability(0.5, 1.0)
    >>> bool(found.mean > 1), bool(found.variance < 1)
    (True, True)
    """

    mean: check.Broadcast
    variance: check.Broadcast


class Solution(NamedTuple):
    """The replica symmetric solution.

    Parameters
    ----------
    x : of the module's equations
    ridge : at beta = 1; multiply by beta^2
    distribution : of the stabilities

    Examples
    --------
    >>> from amtheory.theory.pseudolikelihood import solve
    >>> found = solve(0.5, 1.0)
    >>> found.x > 0, found.ridge > 0, round(found.distribution.mean(), 4)
    (True, True, 1.253)
    """

    x: float
    ridge: float
    distribution: StabilityDistribution


def solve(load: float, beta_norm: float) -> Solution:
    """The solution at a given load and norm.

    A negative ridge means that the loss has its minimum at a smaller norm (`max_likelihood_norm`); there the
    theory is a continuation. At a load below 2, x grows as exp(2 beta_norm kappa), kappa being the largest margin, and
    the ridge falls as its inverse, to np.inf and 0.0 in the end.

    Parameters
    ----------
    load : P / L > 0; at finite size P / (L - 1)
    beta_norm : beta ||W_l|| in (0, 1e4]

    Returns
    -------
    Solution

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.theory.pseudolikelihood import solve
    >>> solve(3.0, 1.0).ridge > 0 > solve(3.0, 1.5).ridge  # the minimum is between
    True
    """
    return _solve(_load(load), _norm(beta_norm))


def stability(load: ArrayLike, beta_norm: ArrayLike) -> Stability:
    """Mean and variance of the stabilities at a given load and norm; see `solve`.

    Parameters
    ----------
    load : P / L > 0; at finite size P / (L - 1)
    beta_norm : beta ||W_l|| in (0, 1e4]; broadcasts with `load`

    Returns
    -------
    Stability: mean, variance, which tend to 1 / sqrt(load) and 1, Hebb's rule, as `beta_norm` -> 0

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    See Also
    --------
    amtheory.theory.stability : the module, for any memory

    Examples
    --------
    >>> from amtheory.theory.pseudolikelihood import stability
    >>> [round(float(number), 6) for number in stability(0.5, 1.0)]
    [1.252969, 0.132467]
    """
    load, beta_norm = check.together(load=check.reals("load", load), beta_norm=check.reals("beta_norm", beta_norm))
    return Stability(
        _gauss.elementwise(lambda g, b: solve(g, b).distribution.mean(), load, beta_norm),
        _gauss.elementwise(lambda g, b: solve(g, b).distribution.variance(), load, beta_norm),
    )


def ridge_at_norm(load: float, beta_norm: float, beta: float = 1.0) -> float:
    """The ridge of ``amtheory.PseudoLikelihood(beta, ridge=...)`` at which beta ||W_l|| is `beta_norm`; see `solve`.

    Parameters
    ----------
    load : P / L > 0; at finite size P / (L - 1)
    beta_norm : beta ||W_l|| in (0, 1e4]
    beta : inverse temperature, in [1e-12, 1e12]; default 1

    Returns
    -------
    ridge, negative beyond `max_likelihood_norm`

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.theory.pseudolikelihood import norm_at_ridge, ridge_at_norm
    >>> round(norm_at_ridge(0.5, ridge_at_norm(0.5, 2.0)), 6)
    2.0
    """
    return solve(load, beta_norm).ridge * check.scale("beta", beta) ** 2


def norm_at_ridge(load: float, ridge: float, beta: float = 1.0) -> float:
    """beta ||W_l|| of ``amtheory.PseudoLikelihood(beta, ridge=ridge)``, the inverse of `ridge_at_norm`.

    Parameters
    ----------
    load : P / L > 0; at finite size P / (L - 1)
    ridge : > 0
    beta : inverse temperature, in [1e-12, 1e12]; default 1

    Returns
    -------
    beta ||W_l||

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range; a norm outside [1e-6, 1e4]

    Examples
    --------
    >>> from amtheory.theory.pseudolikelihood import norm_at_ridge
    >>> norm_at_ridge(0.5, 0.1) > norm_at_ridge(0.5, 0.2)
    True
    """
    load, target = _load(load), check.real("ridge", ridge, positive=True)
    target /= check.scale("beta", beta) ** 2
    return _where_ridge(load, target, f"`ridge` = {ridge}")


def max_likelihood_norm(load: float) -> float:
    """beta ||W_l|| of the minimum of the loss without ridge, which there is above load 2 alone.

    Parameters
    ----------
    load : P / L > 2; at finite size P / (L - 1)

    Returns
    -------
    beta ||W_l||, which diverges at load 2, below which the patterns are separable

    Raises
    ------
    TypeError, ValueError : out of range; a norm outside [1e-6, 1e4]

    Examples
    --------
    >>> from amtheory.theory.pseudolikelihood import max_likelihood_norm
    >>> round(max_likelihood_norm(3.0), 6)
    1.183524
    """
    if _load(load) <= 2:
        raise ValueError(f"`load` must be > 2, got {load}")
    return _where_ridge(float(load), 0.0, f"`load` = {load}")


def best_beta(load: float, m0: float) -> float:
    """The norm beta ||W_l|| at which one step from a given overlap leads closest to the pattern.

    Maximises `first_step(m0)` of `solve(load, beta_norm).distribution`; grows with `m0`, since close to a pattern
    only its smallest stabilities matter.

    Parameters
    ----------
    load : P / L > 0; at finite size P / (L - 1)
    m0 : the overlap, in (0, 1)

    Returns
    -------
    beta ||W_l|| in [0.01, 100]

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.theory.pseudolikelihood import best_beta
    >>> round(best_beta(0.5, 0.7), 2)
    0.67
    """
    load = _load(load)
    m0 = float(_gauss.checked("m0", m0, lambda m: (m > 0) & (m < 1), "in (0, 1)", ndim=0))
    grid = np.log(10) * np.linspace(-2, 2, 33)

    def loss(log_norm: float) -> float:
        return -float(_solve(load, float(np.exp(log_norm))).distribution.first_step(m0))

    i = int(np.argmin([loss(u) for u in grid]))
    ends = (grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)])
    found: Any = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def _load(load: float) -> float:
    return check.scale("load", load)


def _norm(beta_norm: float) -> float:
    norm = check.real("beta_norm", beta_norm, positive=True)
    if norm > 1e4:
        raise ValueError(f"`beta_norm` must be in (0, 1e4], got {beta_norm}")
    return norm


def _shift(t: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    """Delta(t) - t > 0, whose logarithm u solves u + log(1 + exp(2 b (t + e^u))) = a = log(2 b x).

    The left side is convex and increasing in u, so that Newton's method from above decreases to the root.
    """
    with np.errstate(divide="ignore"):
        above = np.log(np.maximum((a - 2 * b * t) / (2 * b), 0))  # since log(1 + exp(y)) >= y, if u >= 0
    u = np.minimum(a, np.maximum(above, 0))
    for _ in range(200):
        growth = np.exp(u)
        y = 2 * b * (t + growth)
        step = (u + np.logaddexp(0, y) - a) / (1 + 2 * b * growth * expit(y))
        u -= step
        if np.abs(step).max() < 1e-13 * max(1.0, abs(a)):
            break
    return np.exp(u)


@lru_cache(maxsize=512)
def _solve(load: float, b: float) -> Solution:
    # Delta(t) turns within a few 1 / b around t = a / (2 b) from the margin to t
    turn = np.sinh(np.linspace(-5, 5, 21)) / 2

    def excess(a: float) -> float:
        t, w = _gauss.rule((a + turn) / (2 * b))
        return float(np.log(w @ _shift(t, a, b) ** 2) + np.log(load))

    low, high = -1.0, 1.0
    while excess(low) > 0:
        low *= 2
    while excess(high) < 0:
        high *= 2
    a = _gauss.root(excess, low, high)
    zero = -np.exp(min(a, 9)) / 2  # Delta(-x b) = 0; far outside if a > 3
    t, w = _gauss.rule([*(a + turn) / (2 * b), *_gauss.zoom(zero)])
    delta = t + _shift(t, a, b)
    w = w / w.sum()
    ridge = w @ (2 * expit(-2 * b * delta) * delta) / b
    with np.errstate(over="ignore"):
        x = float(np.exp(a - np.log(2 * b)))
    return Solution(x, float(ridge), StabilityDistribution(delta, w))


def _where_ridge(load: float, target: float, what: str) -> float:
    """The norm of the given ridge at beta = 1; the ridge times the norm falls from 1 / sqrt(load) as the norm grows."""

    def excess(log_norm: float) -> float:
        b = float(np.exp(log_norm))
        return b * (_solve(load, b).ridge - target)

    low = high = 0.0
    try:
        while excess(low) < 0 and low > -14:
            low -= 1
        while excess(high) > 0 and high < 9.2:
            high += 0.5
        return float(np.exp(_gauss.root(excess, low, high)))
    except ValueError:
        raise ValueError(f"{what} leads to a norm that is too large or too small") from None
