"""A memory of P random sequences as a random code: how noisy a sequence can be and still be recognised.

Each of the L tokens of a stored sequence, all of its K values being equally likely, is kept with probability alpha and
else drawn anew from all K, as uniform discrete diffusion does at signal level alpha: it is right with probability
s = alpha + (1 - alpha) / K. The ideal memory returns the sequence with most tokens in common. References: Shannon,
Bell Syst. Tech. J. 27, 379 (1948); Lucibello and Mézard, Phys. Rev. Lett. 132, 077301 (2024), for memories as random
energy models.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, xlog1py, xlogy

from amtheory import _validation as check
from amtheory.theory import _gauss


def capacity(alpha: ArrayLike, K: ArrayLike) -> Any:
    """Capacity of the channel in nats per token: up to exp(L capacity) sequences can be told apart, L -> infinity,

        log K + s log s + (1 - s) log((1 - s) / (K - 1)),   s = alpha + (1 - alpha) / K.

    (K - 1) alpha^2 / 2 for K alpha << 1, log K at alpha = 1. `alpha` in [0, 1] and integers `K` >= 2 broadcast.
    Raises ValueError out of range.
    """
    a = _level(alpha)
    k = _gauss.checked("K", K, lambda k: (k >= 2) & (k < np.inf) & (k == np.floor(k)), "integers >= 2")
    # the relative entropy of s and 1 / K, with all terms positive
    return ((_excess((k - 1) * a) + (k - 1) * _excess(-a)) / k)[()]


def critical_alpha(P: int, L: int, K: int) -> float:
    """The alpha at which log(P) / L equals the `capacity`, above which P sequences of L tokens are recognised.

    NaN if P > K^L. Integers P >= 1, of any size, L >= 1 and K >= 2. Raises TypeError or ValueError otherwise.
    Example: 0.374733 for P = 10000, L = 128, K = 2.
    """
    P, L, K = check.integer("P", P, 1), check.integer("L", L, 1), check.integer("K", K, 2)
    rate = math.log(P) / L
    if P == 1:
        return 0.0
    if rate >= math.log(K) * (1 - 1e-15):  # so near that only integers tell
        return math.nan if P > K**L else 1.0
    return _gauss.root(lambda a: math.sqrt(capacity(a, K)) - math.sqrt(rate), 0.0, 1.0)


def retrieval_probability(P: int, L: int, K: int, alpha: ArrayLike) -> Any:
    """Probability that of P random sequences the noisy one has most tokens in common with its own, exact at finite L,

        sum_n Bin(n; L, s) (F(n)^P - F(n - 1)^P) / (P f(n)),

    f and F being the probabilities of n and of at most n common tokens, Bin(L, 1/K), for another sequence; ties are
    broken at random. `alpha` in [0, 1] of any shape; integers P >= 1, of any size, L >= 1 and K >= 2. Raises
    TypeError or ValueError otherwise. Example: 0.6786 for P = 2000, L = 60, K = 2 at the critical alpha.
    """
    P, L, K = check.integer("P", P, 1), check.integer("L", L, 1), check.integer("K", K, 2)
    levels = _level(alpha)
    if P == 1:
        return np.ones(levels.shape)[()]
    n = np.arange(L + 1)
    choices = gammaln(L + 1) - gammaln(n + 1) - gammaln(L - n + 1)
    log_f = choices - n * math.log(K) + (L - n) * math.log1p(-1 / K)
    log_below = np.logaddexp.accumulate(log_f)
    log_above = np.append(np.logaddexp.accumulate(log_f[::-1])[-2::-1], -np.inf)
    log_F = np.where(log_below < -0.7, log_below, -np.exp(_log_minus_log1m(log_above)))
    # F^P - (F - f)^P = F^P (1 - (1 - r)^P), r = f / F, and F^(P - 1) = exp(-exp(log(P - 1) + log(-log F)))
    log_r = np.minimum(log_f - log_F, 0.0)
    log_cost = np.where(log_below < -0.7, np.log(np.maximum(-log_F, 1e-300)), _log_minus_log1m(log_above))
    others = np.exp(-np.exp(np.minimum(math.log(P - 1) + log_cost, 700.0)))
    tied = np.exp(np.minimum(math.log(P) + _log_minus_log1m(log_r), 700.0))
    shares = -np.expm1(-tied) * np.exp(np.clip(-math.log(P) - log_r, -700.0, 700.0))
    wins = others * np.where(math.log(P) + log_r < -40, 1.0, shares)

    def one(a: float) -> float:
        return min(1.0, float(_binomial(L, a + (1 - a) / K) @ wins))

    return _gauss.elementwise(one, levels)


def posterior_weight(P: int, L: int, K: int, alpha: ArrayLike) -> Any:
    """Mean weight of the right sequence in the posterior over P random ones: how often a sample of it is right,

        sum_n Bin(n; L, s) int du w exp(-u w) ( sum_m f(m) exp(-u exp(b m)) )^(P-1),    w = exp(b n),

    with b = log(1 + K alpha/(1 - alpha)), n and m common tokens as in `retrieval_probability`, from
    1/y = int_0^inf exp(-u y) du, exactly: in log u the trapezoidal rule converges exponentially, and errs by less than
    1e-13 of the result, in a time that grows as L^2 log P. Never above `retrieval_probability`; arguments and errors as
    there, but P <= 1e300.
    Example: 0.5563 for P = 5000, L = 80, K = 4 at the critical alpha.
    """
    P, L, K = check.integer("P", P, 1, 10**300), check.integer("L", L, 1), check.integer("K", K, 2)
    n, f, step = np.arange(L + 1), _binomial(L, 1 / K), 1 / 8
    x = np.arange(-math.log(P) - 37, 4.5, step)  # log(u w), which has the density exp(x - exp(x))
    density = step * np.exp(x - np.exp(x))

    def one(a: float) -> float:
        if P == 1 or a == 1:
            return float(retrieval_probability(P, L, K, a))
        b = math.log1p(K * a / (1 - a))
        own, total = _binomial(L, a + (1 - a) / K), 0.0
        for k in np.flatnonzero(own > 1e-17 / P):
            lost = np.expm1(-np.exp(np.minimum(x[:, None] + b * (n - k), 50.0))) @ f
            with np.errstate(divide="ignore"):
                total += own[k] * (density @ np.exp((P - 1) * np.log1p(np.maximum(lost, -1.0))))
        return min(1.0, float(total))

    return _gauss.elementwise(one, _level(alpha))


def _binomial(L: int, p: float) -> Any:
    """Bin(n; L, p) for n = 0..L."""
    n = np.arange(L + 1)
    return np.exp(gammaln(L + 1) - gammaln(n + 1) - gammaln(L - n + 1) + xlogy(n, p) + xlog1py(L - n, -p))


def _level(alpha: ArrayLike) -> Any:
    return _gauss.checked("alpha", alpha, lambda a: (a >= 0) & (a <= 1), "in [0, 1]")


def _excess(x: Any) -> Any:
    """(1 + x) log(1 + x) - x >= 0, to relative precision."""
    k = np.arange(2, 12)
    series = np.power.outer(np.minimum(x, 0.02), k) @ ((-1.0) ** k / (k * (k - 1)))
    return np.where(np.abs(x) < 0.02, series, xlog1py(1 + x, x) - x)


def _log_minus_log1m(log_x: Any) -> Any:
    """log(-log(1 - x)) for x in [0, 1] given by its logarithm."""
    x = np.exp(np.clip(log_x, -40.0, 0.0))
    with np.errstate(divide="ignore"):
        return np.where(log_x < -40, log_x, np.log(-np.log1p(-x)))
