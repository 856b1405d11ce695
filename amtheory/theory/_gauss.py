"""Averages over a standard Gaussian variable, and the checks and root finder that the theory modules share."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from amtheory._validation import reals

Array = NDArray[np.float64]
HALF_WIDTH = 10.0  # the Gaussian weight beyond is 1.5e-23


def density(t: ArrayLike) -> Array:
    """phi(t) = exp(-t^2 / 2) / sqrt(2 pi)."""
    return np.exp(-np.square(t) / 2) / np.sqrt(2 * np.pi)


def rule(breaks: Iterable[float] = (), panel: float = 0.5) -> tuple[Array, Array]:
    """Nodes t and weights w with sum w f(t) = int f(t) phi(t) dt, by composite Gauss-Legendre quadrature.

    16 nodes in each panel; panels are at most `panel` wide, cover |t| <= 10 and end at each of `breaks`, where
    f may jump or have a kink. For f of bounded growth and smooth on the scale of a panel the error is of the
    order of rounding.
    """
    inside = sorted({float(b) for b in breaks if abs(b) < HALF_WIDTH})
    return _rule(tuple(inside), panel)


def zoom(point: float) -> Array:
    """Breaks for `rule` that resolve any scale around `point`."""
    scales = 2.0 ** -np.arange(1, 25)
    return point + np.concatenate([-scales, [0.0], scales])


@cache
def _legendre() -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(16)


def _rule(breaks: tuple[float, ...], panel: float) -> tuple[Array, Array]:
    ends = np.array([-HALF_WIDTH, *breaks, HALF_WIDTH])
    widths = np.diff(ends)
    panels = np.ceil(widths / panel).astype(int)
    place = np.arange(panels.sum()) - np.repeat(np.cumsum(panels) - panels, panels)  # of a panel between two breaks
    edges = np.append(place * np.repeat(widths / panels, panels) + np.repeat(ends[:-1], panels), HALF_WIDTH)
    x, w = _legendre()
    half = np.diff(edges)[:, None] / 2
    t = (edges[:-1, None] + half + half * x).ravel()
    return t, (half * w).ravel() * density(t)


def root(f: Callable[[float], Any], a: float, b: float) -> float:
    """The root of `f` between `a` and `b`, where it has opposite signs."""
    return float(brentq(f, a, b, xtol=1e-14, rtol=1e-14))  # pyright: ignore[reportArgumentType]


def checked(
    name: str, value: ArrayLike, test: Callable[[Array], Any], allowed: str, *, ndim: int | None = None
) -> Array:
    """`value` as a float64 array. Raises ValueError naming what is `allowed` unless every element passes `test`."""
    array = reals(name, value, ndim=ndim)
    if not np.all(test(array)):
        raise ValueError(f"`{name}` must be {allowed}, got {value}")
    return array


def positive(name: str, value: ArrayLike, *, ndim: int | None = None) -> Array:
    return checked(name, value, lambda v: (v > 0) & (v < np.inf), "finite and > 0", ndim=ndim)


def elementwise(f: Callable[..., float], *arguments: ArrayLike) -> Array:
    """`f` of each element of the `arguments`, broadcast together; a numpy scalar if they all are numbers."""
    arrays = np.broadcast_arrays(*arguments)
    values = [f(*map(float, point)) for point in zip(*(a.flat for a in arrays))]
    return np.reshape(np.asarray(values, dtype=np.float64), arrays[0].shape)[()]
