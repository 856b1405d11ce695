"""Hopfield memory of patterns made of random features, L -> infinity, T = 0, replica symmetry.

The P = alpha L examples are x = sgn(sum_k c_k f_k), with D = alpha_D L random features f_k, each in every example, with
Gaussian (or fair sign) coefficients c_k. With few examples the Hebbian memory stores them; with many it learns the
features, and then has attractors at mixtures of few features that it has never seen. (Examples that are themselves
made of a few features each are outside of this theory: their features are attractors at smaller loads.)

With K = 2 / pi, a = alpha / alpha_D and averages over a local field in units of its noise, y per feature, a state with
overlap m with each of n features (n odd) solves, xi being the sum of n fair signs,

    dq = 2 t <phi(y xi)>,    n m = <xi erf(y xi / sqrt(2))>,    y = a (K / d1) m t,    t = 1 / sqrt(alpha qh),
    d1 = 1 - K dq / d2 - (1 - K) dq,    d2 = 1 - a dq K / d1,
    pd = n m^2 / alpha_D + (1 + a dq^2 ph) / d2^2,    ph = K (K pd + 1 - K) / d1^2,
    qh = (1 - K) (K pd + 1 - K) / d1^2 + (ph + a K^2 / d1^2) / d2^2.

An example has an overlap m with the state by itself, and w by its features, m and w being those with x and with the
Gaussian sum u = sum_k c_k f_k / sqrt(D) that it is the sign of:

    dq = 2 t <phi(y0 + y1 v)>,   m = <erf((y0 + y1 v) / sqrt(2))>,   w = <v erf((y0 + y1 v) / sqrt(2))>,
    v = abs(u),    y0 = m t,    y1 = a (K / d1) w t,    and w^2 in the place of n m^2 in pd.

The states at given alpha_D are a curve, parametrised by y or y0; its turning point is the spinodal.

References: Negri, Lauditi, Perugini, Lucibello and Malatesta, Phys. Rev. Lett. 131, 257301 (2023), and, for mixtures,
Kalaj, Lauditi, Perugini, Lucibello, Malatesta and Negri, arXiv 2407.05658. The code published with the former has
d1 for d1^2 in ph for a feature, which lowers its learning line by up to 7 %, and leaves out w, which raises its
storage line (0.0680 instead of 0.0208 at alpha_D = 0.05); simulations agree with the equations above.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import comb, erf, ndtr, owens_t

from amtheory import _validation as check
from amtheory.theory import _gauss

_K = 2 / np.pi  # the part of the variance of a sign that is linear in its Gaussian argument


class _State(NamedTuple):
    alpha: float
    a: float
    overlap: float


def storage_load(alpha_D: ArrayLike) -> check.Broadcast:
    """The largest alpha = P / L at which the examples are attractors.

    Parameters
    ----------
    alpha_D : D / L in [1e-4, 1e6]

    Returns
    -------
    alpha, float64: tends to the 0.1379 of independent patterns for many features, to 0.51 alpha_D for few

    Raises
    ------
    ValueError : out of range

    See Also
    --------
    amtheory.patterns.random_features : the function of the module's name, which draws such examples

    Examples
    --------
    >>> from amtheory.theory.random_features import storage_load
    >>> round(float(storage_load(0.05)), 4)
    0.0208
    """
    return _gauss.elementwise(lambda d: _example(_storage_spinodal(d), d).alpha, _features(alpha_D))


def learning_load(alpha_D: ArrayLike) -> check.Broadcast:
    """The smallest alpha = P / L at which the features are attractors.

    Parameters
    ----------
    alpha_D : D / L in [1e-4, 1e6]

    Returns
    -------
    alpha, float64, np.inf if there is none, for alpha_D >= 0.1379, where even perfectly learned features are too many

    Raises
    ------
    ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.random_features import learning_load
    >>> learning_load([0.01, 0.2]).round(4).tolist()
    [0.0979, inf]
    """
    return generalization_load(alpha_D, 1)


def generalization_load(alpha_D: ArrayLike, n: int) -> check.Broadcast:
    """The smallest alpha = P / L at which symmetric mixtures of `n` features are attractors, seen before or not.

    Parameters
    ----------
    alpha_D : D / L in [1e-4, 1e6]
    n : an odd number, 1 to 99; 1 is `learning_load`

    Returns
    -------
    alpha, float64, np.inf if there is none

    Raises
    ------
    TypeError, ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.random_features import generalization_load
    >>> round(float(generalization_load(0.01, 3)), 3)
    0.521
    """
    n = _number(n)

    def one(d: float) -> float:
        y = _mixture_spinodal(d, n)
        return d * _mixture(y, d, n).a if y else np.inf

    return _gauss.elementwise(one, _features(alpha_D))


def storage_overlap(alpha: ArrayLike, alpha_D: ArrayLike) -> check.Broadcast:
    """Overlap of an example with its attractor.

    Parameters
    ----------
    alpha : load P / L > 0
    alpha_D : D / L in [1e-4, 1e6]; broadcasts with `alpha`

    Returns
    -------
    overlap, float64, 0.0 above `storage_load`

    Raises
    ------
    ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.random_features import storage_overlap
    >>> round(float(storage_overlap(0.03, 0.2)), 5)
    0.99939
    """

    def one(load: float, d: float) -> float:
        y = _storage_spinodal(d)
        if load > _example(y, d).alpha:
            return 0.0
        load = max(load, 1e-12)  # the overlap is 1.0
        high = 1.01 / np.sqrt(load)  # since y0 <= t and qh >= 1
        return _example(_gauss.root(lambda v: _example(v, d).alpha - load, y, high), d).overlap

    return _gauss.elementwise(one, *check.together(alpha=_gauss.positive("alpha", alpha), alpha_D=_features(alpha_D)))


def learning_overlap(alpha: ArrayLike, alpha_D: ArrayLike) -> check.Broadcast:
    """Overlap of a feature with its attractor.

    Parameters
    ----------
    alpha : load P / L > 0
    alpha_D : D / L in [1e-4, 1e6]; broadcasts with `alpha`

    Returns
    -------
    overlap, float64, 0.0 below `learning_load`

    Raises
    ------
    ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.random_features import learning_overlap
    >>> round(float(learning_overlap(0.14, 0.01)), 5)
    0.99378
    """
    return generalization_overlap(alpha, alpha_D, 1)


def generalization_overlap(alpha: ArrayLike, alpha_D: ArrayLike, n: int) -> check.Broadcast:
    """Overlap of the sign of the sum of `n` features with its attractor.

    Parameters
    ----------
    alpha : load P / L > 0
    alpha_D : D / L in [1e-4, 1e6]; broadcasts with `alpha`
    n : an odd number, 1 to 99

    Returns
    -------
    overlap, float64, 0.0 below `generalization_load`

    Raises
    ------
    TypeError, ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.random_features import generalization_overlap
    >>> generalization_overlap([0.4, 0.6], 0.01, 3).round(1).tolist()
    [0.0, 1.0]
    """
    n = _number(n)

    def one(load: float, d: float) -> float:
        y = _mixture_spinodal(d, n)
        if y == 0 or load < d * _mixture(y, d, n).a:
            return 0.0
        high = 1 / np.sqrt(d)
        return _mixture(_gauss.root(lambda v: 1 / _mixture(v, d, n).a - d / load, y, high), d, n).overlap

    return _gauss.elementwise(one, *check.together(alpha=_gauss.positive("alpha", alpha), alpha_D=_features(alpha_D)))


def _features(alpha_D: ArrayLike) -> NDArray[np.float64]:
    return _gauss.checked("alpha_D", alpha_D, lambda d: (d >= 1e-4) & (d <= 1e6), "in [1e-4, 1e6]")


def _number(n: int) -> int:
    n = check.integer("n", n, 1, 99)
    if n % 2 == 0:
        raise ValueError(f"`n` must be odd, got {n}")
    return n


def _alpha(a: float, t: float, dq: float, d1: float, d2: float, signal: float) -> float:
    """alpha from t^2 alpha qh = 1, with pd = a signal / alpha + ...; -inf outside of the domain of the equations."""
    feedback = a * (dq / d2) ** 2 * _K / d1**2 if d1 > 0 and d2 > 0 else np.inf  # of ph on itself, through pd
    if feedback * _K >= 1:
        return -np.inf
    slope = _K * (1 - _K + _K / d2**2) / d1**2 / (1 - feedback * _K)  # d qh / d(pd without ph)
    rest = slope * (1 / _K - 1) + a * (_K / (d1 * d2)) ** 2
    return (1 / t**2 - slope * signal * a) / (slope / d2**2 + rest)


def _example(y0: float, alpha_D: float) -> _State:
    """The state with that y0."""

    def state(y1: float) -> _State:
        # averages over |u| of Phi, phi and |u| Phi at y0 + y1 |u|
        scale = np.sqrt(1 + y1**2)
        h = y0 / scale
        m = 2 * ndtr(h) - 1 + 4 * owens_t(h, y1)
        width = 4 / scale * _gauss.density(h) * ndtr(-h * y1)
        w = np.sqrt(_K) * (2 * ndtr(y0) - 1) + y1 * width
        t = y0 / m
        dq, d2, a_over_d1 = width * t, 1 - width * y1 / w, y1 / (t * _K * w)
        d1 = 1 - dq * (_K / d2 + 1 - _K)
        a = a_over_d1 * d1
        return _State(_alpha(a, t, dq, d1, d2, w**2), a, float(m))

    def excess(y1: float) -> float:  # > 0 at y1 = 0, where a = 0, and < 0 at y1 = 1
        found = state(y1)
        return found.alpha - alpha_D * found.a if found.alpha > 0 else -1.0

    return state(_gauss.root(excess, 0.0, 1.0))


def _mixture(y: float, alpha_D: float, n: int) -> _State:
    """The state of the smallest alpha; infinite alpha and a where there is none."""
    m, width, overlap, d2, limit = _learned(y, n)
    if alpha_D >= limit:
        return _State(np.inf, np.inf, overlap)

    def state(log_t: float) -> _State:
        t = float(np.exp(log_t))
        d1 = 1 - width * t * (_K / d2 + 1 - _K)
        a = y / (t * _K * m) * d1
        return _State(_alpha(a, t, width * t, d1, d2, n * m**2), a, overlap)

    def excess(log_t: float) -> float:
        found = state(log_t)
        return found.alpha / found.a - alpha_D if found.alpha > 0 else -alpha_D

    high = -np.log(n * m**2 * y)  # where alpha < 0, since slope >= K / d1^2 and m <= 1
    low = high - 1
    while excess(low) < 0:
        low -= 2
    return state(_gauss.root(excess, low, high))


def _learned(y: float, n: int) -> tuple[float, float, float, float, float]:
    """m, dq / t, the overlap of the sign of a mixture, d2, and alpha_D in the limit of many examples."""
    xi, p = _signs(n)
    reply = erf(y * xi / np.sqrt(2))
    m, width = p @ (xi * reply) / n, 2 * p @ _gauss.density(y * xi)
    d2 = 1 - width * y / m
    return float(m), float(width), float(p @ (np.sign(xi) * reply)), float(d2), float(m * d2 / y) ** 2


@lru_cache(maxsize=16)
def _signs(n: int) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
    """The values of a sum of n fair signs, and their probabilities."""
    k = np.arange(n + 1)
    return 2.0 * k - n, np.asarray(comb(n, k)) / 2.0**n


@lru_cache(maxsize=256)
def _storage_spinodal(alpha_D: float) -> float:
    """The y0 of the largest alpha."""
    found: Any = minimize_scalar(
        lambda y: -_example(y, alpha_D).alpha, bounds=(0.5, 4.0), method="bounded", options={"xatol": 1e-9}
    )
    return float(found.x)


@lru_cache(maxsize=256)
def _mixture_spinodal(alpha_D: float, n: int) -> float:
    """The y of the smallest alpha; 0.0 if there is no state."""

    def loss(y: float) -> float:
        """-1 / a, continued to where there is no state."""
        limit = _learned(y, n)[-1]
        return alpha_D - limit if alpha_D >= limit else -1 / _mixture(y, alpha_D, n).a

    grid = np.geomspace(0.05, 20, 120)
    i = int(np.argmin([loss(y) for y in map(float, grid)]))
    ends = (grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)])
    found: Any = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-9})
    return float(found.x) if found.fun < 0 else 0.0
