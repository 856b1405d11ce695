"""The distribution of the stabilities Delta = x_l W_l . x / ||W_l|| of stored patterns, and what follows from it.

If the couplings are many and small, the field of a stored pattern seen through a state of overlap m_0 is Gaussian
around m_0 Delta with variance 1 - m_0^2, so that after one parallel T = 0 step

    m_1 = f(m_0) = E erf(m_0 Delta / sqrt(2 (1 - m_0^2))).

Reference: Kepler and Abbott, J. Physique 49, 1657 (1988).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.special import erf

from amtheory._validation import Broadcast, reals
from amtheory.theory import _gauss


@dataclass(frozen=True, eq=False)
class StabilityDistribution:
    """The discrete distribution with probability `weights[i]` at the stability `nodes[i]`.

    A density is represented by the nodes of a quadrature, dense around Delta = 0.

    Parameters
    ----------
    nodes : (n,) stabilities, finite
    weights : (n,) >= 0, of sum 1 within 1e-9

    Raises
    ------
    ValueError : anything else

    See Also
    --------
    amtheory.PairwiseMemory.stabilities : measures them

    Examples
    --------
    >>> from amtheory.theory.stability import StabilityDistribution
    >>> even = StabilityDistribution([1.0, 3.0], [0.5, 0.5])
    >>> even.mean(), even.variance(), even.first_step(0.5) < even.first_step(0.6)
    (2.0, 1.0, np.True_)
    """

    nodes: Float64[np.ndarray, " n"]
    weights: Float64[np.ndarray, " n"]

    def __post_init__(self) -> None:
        nodes, weights = (reals(name, getattr(self, name)) for name in ("nodes", "weights"))
        if nodes.ndim != 1 or nodes.shape != weights.shape or not len(nodes) or not np.isfinite(nodes).all():
            raise ValueError(
                f"`nodes` and `weights` must be finite, one-dimensional and of the same length >= 1, "
                f"got shapes {nodes.shape} and {weights.shape}"
            )
        if not ((weights >= 0).all() and abs(weights.sum() - 1) < 1e-9):
            raise ValueError(f"`weights` must be >= 0 and sum to 1, got a sum of {weights.sum()}")
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "weights", weights)

    def mean(self) -> float:
        """E Delta."""
        return float(self.weights @ self.nodes)

    def variance(self) -> float:
        """E (Delta - E Delta)^2."""
        return float(self.weights @ (self.nodes - self.mean()) ** 2)

    def first_step(self, m0: ArrayLike) -> Broadcast:
        """f(m_0), the overlap after one parallel T = 0 step; f(1) = P(Delta > 0) - P(Delta < 0).

        Parameters
        ----------
        m0 : the overlap before, in [-1, 1], of any shape

        Returns
        -------
        m_1, float64

        Raises
        ------
        ValueError : out of range
        """
        m0 = _gauss.checked("m0", m0, lambda m: np.abs(m) <= 1, "in [-1, 1]")
        with np.errstate(divide="ignore"):
            gain = m0 / np.sqrt(2 * (1 - m0) * (1 + m0))
        with np.errstate(invalid="ignore"):
            steps = erf(gain[..., None] * self.nodes)
        return (np.where(self.nodes == 0, 0.0, steps) @ self.weights)[()]

    def slope(self) -> float:
        """f'(0) = sqrt(2 / pi) E Delta; above 1, the pattern attracts from any overlap in a dilute memory."""
        return np.sqrt(2 / np.pi) * self.mean()

    def dilute_edge(self) -> float:
        """The smallest overlap from which iterating f reaches its highest fixed point: its last unstable fixed point.

        Exact edge of the basin only in extremely dilute asymmetric memories. 0.0 if f(m) > m right from 0, or from
        1e-6; 1.0 if no fixed point in (0, 1] is attractive, up to overlaps of 1 - 1e-10.
        """
        head, tail = np.logspace(-6, -3, 30)[:-1], 1 - np.logspace(-10, -2, 161)[::-1]
        grid = np.concatenate([head, np.linspace(1e-3, 0.99, 496)[:-1], tail])
        gains = np.asarray(self.first_step(grid)) - grid
        above = np.flatnonzero(gains > 0)
        if not len(above):
            return 1.0
        below = np.flatnonzero(gains[: above[-1]] <= 0)
        if not len(below):
            return 0.0
        i = below[-1]
        return _gauss.root(lambda m: float(self.first_step(m)) - m, float(grid[i]), float(grid[i + 1]))


def hebb(load: float) -> StabilityDistribution:
    """The Hopfield memory: Delta ~ N(1 / sqrt(load), 1), L -> infinity.

    Parameters
    ----------
    load : P / L > 0

    Returns
    -------
    StabilityDistribution

    Raises
    ------
    ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.stability import hebb
    >>> round(hebb(0.25).mean(), 6), round(hebb(0.25).variance(), 6)
    (2.0, 1.0)
    """
    load = float(_gauss.positive("load", load, ndim=0))
    centre = 1 / np.sqrt(load)
    t, w = _gauss.rule(_gauss.zoom(-centre))
    return StabilityDistribution(centre + t, w / w.sum())


def pseudo_inverse(load: float) -> StabilityDistribution:
    """The projection memory without its diagonal: Delta = sqrt((1 - load) / load).

    Parameters
    ----------
    load : P / L in (0, 1)

    Returns
    -------
    StabilityDistribution, of one node

    Raises
    ------
    ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.stability import pseudo_inverse
    >>> pseudo_inverse(0.5).mean(), pseudo_inverse(0.5).variance()
    (1.0, 0.0)
    """
    load = float(_gauss.checked("load", load, lambda v: (v > 0) & (v < 1), "in (0, 1)", ndim=0))
    return StabilityDistribution(np.array([np.sqrt((1 - load) / load)]), np.ones(1))


def empirical(stabilities: ArrayLike) -> StabilityDistribution:
    """Measured stabilities, all of the same weight.

    Parameters
    ----------
    stabilities : of any shape, at least one, finite, as `amtheory.PairwiseMemory.stabilities` gives them

    Returns
    -------
    StabilityDistribution

    Raises
    ------
    ValueError, TypeError : there is none, or one is not finite

    Examples
    --------
    >>> from amtheory import Hopfield
    >>> from amtheory.patterns import random_patterns
    >>> from amtheory.theory.stability import empirical
    >>> x = random_patterns(20, 100, rng=0)
    >>> round(empirical(Hopfield().fit(x).stabilities(x)).mean(), 1)  # 1 / sqrt(0.2), less finite-size effects
    2.2
    """
    nodes = reals("stabilities", stabilities).ravel()
    if not len(nodes) or not np.isfinite(nodes).all():
        raise ValueError(f"`stabilities` must be finite and at least one, got shape {np.shape(stabilities)}")
    return StabilityDistribution(nodes, np.full(len(nodes), 1 / len(nodes)))
