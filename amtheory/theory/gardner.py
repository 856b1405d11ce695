"""Optimal storage of random patterns: the largest margin of a perceptron with L -> infinity inputs.

The stability of a pattern at a neuron is Delta = x_l W_l . x / ||W_l||, the margin its minimum over the patterns.
Without self-coupling each neuron has L - 1 inputs, so at finite size compare with load = P / (L - 1).
Replica symmetric, exact for margins >= 0. References: Gardner, J. Phys. A 21, 257 (1988); Kepler and Abbott,
J. Physique 49, 1657 (1988).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from amtheory import _validation as check
from amtheory.theory import _gauss
from amtheory.theory.stability import StabilityDistribution


def capacity(margin: ArrayLike, bias: ArrayLike = 0.0) -> check.Broadcast:
    """Largest load P / L at which random patterns can be stored with a margin kappa.

        1 / load = F(kappa),  F(a) = int_{-a}^inf (t + a)^2 phi(t) dt = (1 + a^2) Phi(a) + a phi(a);

    patterns of mean spin b in (-1, 1), with s = sqrt(1 - b^2):

        1 / load = min_v (1 + b)/2 F((kappa - v b) / s) + (1 - b)/2 F((kappa + v b) / s).

    Parameters
    ----------
    margin : kappa >= 0, the smallest stability, finite
    bias : b in (-1, 1), default 0; broadcasts with `margin`

    Returns
    -------
    load, float64: 2.0 at margin 0 and bias 0

    Raises
    ------
    ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.gardner import capacity
    >>> capacity([0.0, 1.0]).round(4).tolist()
    [2.0, 0.5196]
    """
    margin = _gauss.checked("margin", margin, lambda k: (k >= 0) & (k <= 1e150), "in [0, 1e150]")
    margin, bias = check.together(margin=margin, bias=_bias(bias))
    return _gauss.elementwise(lambda k, b: 1 / _inverse_load(k, b), margin, bias)


def max_margin(load: ArrayLike, bias: ArrayLike = 0.0) -> check.Broadcast:
    """Largest margin kappa at a given load: the inverse of `capacity`.

    Parameters
    ----------
    load : P / L > 0; at finite size P / (L - 1)
    bias : mean spin of the patterns, in (-1, 1), default 0; broadcasts with `load`

    Returns
    -------
    kappa, float64, NaN where it would be negative

    Raises
    ------
    ValueError : out of range

    See Also
    --------
    amtheory.PerceptronMargin : which reaches it

    Examples
    --------
    >>> from amtheory.theory.gardner import max_margin
    >>> round(float(max_margin(0.5)), 6)
    1.034314
    """
    return _gauss.elementwise(_max_margin, *check.together(load=_gauss.positive("load", load), bias=_bias(bias)))


def support_fraction(load: ArrayLike) -> check.Broadcast:
    """Fraction Phi(kappa) of the unbiased patterns that lie on the margin; times `load`, support vectors per input.

    Parameters
    ----------
    load : P / L in (0, 2]

    Returns
    -------
    fraction, float64

    Raises
    ------
    ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.gardner import support_fraction
    >>> round(float(support_fraction(2.0)), 6)
    0.5
    """
    return ndtr(max_margin(_separable(load)))[()]


def stability_distribution(load: float) -> StabilityDistribution:
    """P(Delta) = Phi(kappa) delta(Delta - kappa) + phi(Delta) [Delta > kappa] at the largest margin kappa.

    Parameters
    ----------
    load : P / L in (0, 2], of unbiased patterns

    Returns
    -------
    StabilityDistribution, whose last node is kappa

    Raises
    ------
    ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.gardner import max_margin, stability_distribution
    >>> distribution = stability_distribution(0.5)
    >>> bool(distribution.nodes.min() == max_margin(0.5)), distribution.mean() > 1
    (True, True)
    """
    kappa = float(max_margin(_separable(load, ndim=0)))
    t, w = _gauss.rule([*_gauss.zoom(0.0), kappa])
    keep = t > kappa
    nodes, weights = np.append(t[keep], kappa), np.append(w[keep], ndtr(kappa))
    return StabilityDistribution(nodes, weights / weights.sum())


def _separable(load: ArrayLike, *, ndim: int | None = None) -> NDArray[np.float64]:
    return _gauss.checked("load", load, lambda g: (g > 0) & (g <= 2), "in (0, 2]", ndim=ndim)


def _bias(bias: ArrayLike) -> NDArray[np.float64]:
    return _gauss.checked("bias", bias, lambda b: np.abs(b) < 1, "in (-1, 1)")


def _f(a: float) -> float:
    return (1 + a**2) * ndtr(a) + a * _gauss.density(a)


def _slope(a: float) -> float:
    """F'(a) / 2."""
    return a * ndtr(a) + _gauss.density(a)


def _inverse_load(kappa: float, bias: float) -> float:
    b, s = abs(bias), np.sqrt((1 - bias) * (1 + bias))
    if b == 0:
        return float(_f(kappa))

    def downhill(v: float) -> float:  # decreasing in v, positive at v = 0, since F is convex
        return (1 + b) * _slope((kappa - v * b) / s) - (1 - b) * _slope((kappa + v * b) / s)

    high = 1.0
    while downhill(high) > 0:
        high *= 2
    v = _gauss.root(downhill, 0.0, high)
    return float(((1 + b) * _f((kappa - v * b) / s) + (1 - b) * _f((kappa + v * b) / s)) / 2)


def _max_margin(load: float, bias: float) -> float:
    if load * _inverse_load(0.0, bias) > 1:
        return np.nan
    # F(a) >= (1 + a^2) / 2, for a >= 0, and bias only helps
    high = 1.0
    while load * _inverse_load(high, bias) < 1:
        high *= 2
    return _gauss.root(lambda k: load * _inverse_load(k, bias) - 1, 0.0, high)
