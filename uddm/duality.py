"""Gaussian duality (Sahoo et al. 2025, arXiv 2506.10892): the uniform process as the argmax of a Gaussian one.

For a clean token x of K, one-hot, w = a x + sqrt(1 - a^2) eps with eps ~ N(0, I_K) has argmax w ~ Cat(alpha x +
(1 - alpha)/K), where alpha = T(a). With mu = a / sqrt(1 - a^2) and Phi, phi the standard normal law,

    T(a) = K/(K-1) [ int phi(z - mu) Phi(z)^(K-1) dz - 1/K ]                               (arXiv 2604.26841, eq. 17)

(phi as printed there lacks the 1/2 in its exponent, which would make T(0) = -0.29 at K = 2). The difference cancels
where T is small. Integrated by parts, with the weight v(z) = K phi(z) Phi(z)^(K-2), nothing does:

    1 - T = int v(z) Phi(z - mu) dz,    dT/dmu = int v(z) phi(z - mu) dz,
    T = K/(K-1) int phi(z) Phi(z)^(K-1) (exp(mu z - mu^2/2) - 1) dz.

All integrands are entire functions with Gaussian tails, for which equidistant nodes converge exponentially: relative
errors are below 1e-13 for K from 2 to 10^6, wherever T and 1 - T exceed 1e-300.

`uddm.curriculum` lets a network read w itself, relaxed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from uddm._validation import check_time, check_vocab_size

Values = TypeVar("Values", float, Float[np.ndarray, "*shape"], Float[Tensor, "*shape"])


class UniformAlpha(NamedTuple):
    """alpha, 1 - alpha and a derivative of alpha, each float64 and precise by itself.

    Attributes
    ----------
    alpha, one_minus_alpha : in [0, 1]
    derivative : of alpha, by what the function that returns it says

    Examples
    --------
    >>> import torch
    >>> from uddm.duality import alpha_of_gamma
    >>> found = alpha_of_gamma(torch.zeros(()), vocab_size=2)  # T = erf(mu / 2), mu = exp(-gamma / 2)
    >>> round(found.alpha.item(), 6), round(found.derivative.item(), 6)
    (0.5205, -0.219696)
    """

    alpha: Float64[Tensor, " ..."]
    one_minus_alpha: Float64[Tensor, " ..."]
    derivative: Float64[Tensor, " ..."]


def uniform_alpha(gaussian_alpha: Values, vocab_size: int) -> Values:
    """T(a), the alpha of the argmax of a Gaussian of amplitude a; increasing, T(0) = 0, T(1) = 1.

    Parameters
    ----------
    gaussian_alpha : a in [0, 1], a number, array or tensor
    vocab_size : K >= 2

    Returns
    -------
    T in [0, 1], a number, array or tensor like a, float64

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from uddm.duality import gaussian_alpha, uniform_alpha
    >>> alpha = uniform_alpha(0.5, vocab_size=27)
    >>> 0 < alpha < 0.5, round(gaussian_alpha(alpha, vocab_size=27), 9)
    (True, 0.5)
    """
    return _same_kind("gaussian_alpha", gaussian_alpha, lambda a: _transform(_ratio(a), vocab_size).alpha)


def uniform_alpha_derivative(gaussian_alpha: Values, vocab_size: int) -> Values:
    """dT/da at the `gaussian_alpha` a, for `vocab_size` K, and errors: all as for `uniform_alpha`."""

    def derivative(a: Tensor) -> Tensor:
        mu = _ratio(a)
        return _transform(mu, vocab_size).derivative * (1 + mu**2) ** 1.5

    return _same_kind("gaussian_alpha", gaussian_alpha, derivative)


def gaussian_alpha(alpha: Values, vocab_size: int) -> Values:
    """The inverse of T: the Gaussian amplitude a at which the argmax keeps its token with probability alpha.

    Newton's method on log T (alpha < 1/2), from the left, or on log(1 - T). Both are concave in mu, being a cumulative
    distribution and its complement of a log-concave density, so that the iterates are monotone from the second on.

    Parameters
    ----------
    alpha : in [0, 1], a number, array or tensor
    vocab_size : K >= 2

    Returns
    -------
    a in [0, 1], a number, array or tensor like alpha, float64

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range
    """

    check_vocab_size(vocab_size)

    def inverse(alpha: Tensor) -> Tensor:
        low, target = alpha < 0.5, alpha.clamp(torch.finfo(torch.float64).tiny, 1 - 2**-53)
        mu = torch.where(low, target, math.sqrt(2 * math.log(vocab_size)))  # T(mu) < 0.8 mu
        for _ in range(100):
            T, rest, slope = _transform(mu, vocab_size)
            step = torch.where(low, T * torch.log(target / T), rest * torch.log(rest / (1 - target))) / slope
            mu = mu + step
            if bool((step.abs() <= 1e-9 * mu).all()):  # the next step would be of the order of its square
                break
        return torch.where((alpha > 0) & (alpha < 1), mu / torch.sqrt(1 + mu**2), alpha)

    return _same_kind("alpha", alpha, inverse)


def alpha_of_gamma(gamma: Float[Tensor, "*shape"], vocab_size: int) -> UniformAlpha:
    """T, 1 - T and dT/dgamma < 0 at a^2 = sigmoid(-gamma), that is at the signal-to-noise ratio mu^2 = exp(-gamma).

    Parameters
    ----------
    gamma : real numbers, of any shape
    vocab_size : K >= 2

    Returns
    -------
    UniformAlpha, of the shape and on the device of gamma

    Raises
    ------
    ValueError : `vocab_size` is out of its range
    """
    if not isinstance(gamma, Tensor) or not gamma.is_floating_point() or gamma.layout is not torch.strided:
        raise TypeError(f"`gamma` must be a dense tensor of floating-point numbers, got {type(gamma).__name__}")
    mu = torch.exp(-gamma.double() / 2)
    T, rest, slope = _transform(mu, vocab_size)
    return UniformAlpha(T, rest, -mu / 2 * slope)


def _transform(mu: Tensor, vocab_size: int) -> UniformAlpha:
    """T, 1 - T and dT/dmu at mu >= 0, float64."""
    K = check_vocab_size(vocab_size)
    # 1 - T is concentrated at z = mu/2 and below 1e-300 from mu = 54 on; at K = 10^6 Phi^K rises over a width of 1/5
    z = torch.arange(-7 * 16, 34 * 16 + 1, dtype=torch.float64, device=mu.device) / 16
    log_cdf = torch.special.log_ndtr(z)
    log_density = -(z**2) / 2 - 0.5 * math.log(2 * math.pi)
    v = K / 16 * torch.exp(log_density + (K - 2) * log_cdf)
    u = K / (K - 1) / 16 * torch.exp(log_density + (K - 1) * log_cdf)

    def integrals(m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rest = (v * torch.erfc((m - z) / math.sqrt(2))).sum(-1) / 2
        slope = (v * torch.exp(-((z - m) ** 2) / 2)).sum(-1) / math.sqrt(2 * math.pi)
        small = (u * torch.expm1(m * (z - m / 2))).sum(-1)  # overflows only where it is not used
        return torch.where(rest < 0.5, 1 - rest, small), rest, slope

    parts = [integrals(m) for m in mu.reshape(-1, 1).split(1024)]  # which bounds the memory
    return UniformAlpha(*(torch.cat(part).reshape(mu.shape) for part in zip(*parts)))


def _ratio(a: Tensor) -> Tensor:
    """mu = a / sqrt(1 - a^2), cut where nothing of 1 - T is left in float64."""
    return (a / torch.sqrt((1 - a) * (1 + a))).clamp(max=100)


def _same_kind(name: str, values: Values, function: Callable[[Tensor], Tensor]) -> Values:
    result = function(check_time(name, values, closed=True))
    if isinstance(values, Tensor):
        return result
    return result.numpy() if result.ndim else result.item()  # type: ignore[return-value]
