"""A memory of P random sequences as a random code: how noisy a sequence can be and still be recognised.

Each of the L tokens of a stored sequence, all of its K values being equally likely, is kept with probability alpha and
else drawn anew from all K, as uniform discrete diffusion does at signal level alpha_t = alpha (in `hopfield` alpha is a
load): it is right with probability s = alpha + (1 - alpha) / K. The ideal memory returns the sequence with most tokens
in common. References: Shannon, Bell Syst. Tech. J. 27, 379 (1948); Lucibello and Mézard, Phys. Rev. Lett. 132, 077301
(2024), for memories as random energy models.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, xlog1py, xlogy

from amtheory import _validation as check
from amtheory.theory import _gauss


def capacity(alpha: ArrayLike, K: ArrayLike) -> check.Broadcast:
    """Capacity of the channel in nats per token: up to exp(L capacity) sequences can be told apart, L -> infinity,

        log K + s log s + (1 - s) log((1 - s) / (K - 1)),   s = alpha + (1 - alpha) / K.

    Parameters
    ----------
    alpha : signal level in [0, 1]
    K : number of values of a token, integers >= 2; broadcasts with `alpha`

    Returns
    -------
    capacity, float64: (K - 1) alpha^2 / 2 for K alpha << 1, log K at alpha = 1

    Raises
    ------
    ValueError : out of range

    Examples
    --------
    >>> import numpy as np
    >>> from amtheory.theory.channel import capacity
    >>> (capacity([0.0, 0.5, 1.0], 2) / np.log(2)).round(3).tolist()  # bits
    [0.0, 0.189, 1.0]
    """
    a = _level(alpha)
    k = _gauss.checked("K", K, lambda k: (k >= 2) & (k < np.inf) & (k == np.floor(k)), "integers >= 2")
    check.together(alpha=a, K=k)
    # the relative entropy of s and 1 / K, with all terms positive
    return ((_excess((k - 1) * a) + (k - 1) * _excess(-a)) / k)[()]


def critical_alpha(P: int, L: int, K: int) -> float:
    """The alpha at which log(P) / L equals the `capacity`, above which P sequences of L tokens are recognised.

    Parameters
    ----------
    P : number of sequences, an integer >= 1 of any size
    L : tokens in each, >= 1
    K : number of values of a token, >= 2

    Returns
    -------
    alpha in [0, 1], NaN if P > K^L

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.theory.channel import critical_alpha
    >>> round(critical_alpha(10_000, 128, 2), 6)
    0.374733
    """
    P, L, K = check.integer("P", P, 1, None), check.integer("L", L, 1), check.integer("K", K, 2)
    rate = math.log(P) / L
    if P == 1:
        return 0.0
    if rate >= math.log(K) * (1 - 1e-15):  # so near that only integers tell
        return math.nan if P > K**L else 1.0
    return _gauss.root(lambda a: math.sqrt(capacity(a, K)) - math.sqrt(rate), 0.0, 1.0)


def retrieval_probability(P: int, L: int, K: int, alpha: ArrayLike) -> check.Broadcast:
    """Probability that of P random sequences the noisy one has most tokens in common with its own, exact at finite L,

        sum_n Bin(n; L, s) (F(n)^P - F(n - 1)^P) / (P f(n)),

    f and F being the probabilities of n and of at most n common tokens, Bin(L, 1/K), for another sequence; ties are
    broken at random.

    Parameters
    ----------
    P : number of sequences, an integer >= 1 of any size
    L : tokens in each, >= 1
    K : number of values of a token, >= 2
    alpha : signal level in [0, 1], of any shape

    Returns
    -------
    probability, float64, of the shape of `alpha`

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.theory.channel import critical_alpha, retrieval_probability
    >>> round(float(retrieval_probability(2000, 60, 2, critical_alpha(2000, 60, 2))), 4)
    0.6786
    """
    P, L, K = check.integer("P", P, 1, None), check.integer("L", L, 1), check.integer("K", K, 2)
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


def posterior_weight(P: int, L: int, K: int, alpha: ArrayLike) -> check.Broadcast:
    """Mean weight of the right sequence in the posterior over P random ones: how often a sample of it is right,

        sum_n Bin(n; L, s) int du w exp(-u w) ( sum_m f(m) exp(-u exp(b m)) )^(P-1),    w = exp(b n),

    with b = log(1 + K alpha/(1 - alpha)), n and m common tokens as in `retrieval_probability`, from
    1/y = int_0^inf exp(-u y) du, exactly: in log u the trapezoidal rule converges exponentially, and errs by less than
    1e-13 of the result, in a time that grows as L^2 log P. Never above `retrieval_probability`.

    Parameters
    ----------
    P : number of sequences, an integer in [1, 1e300]
    L : tokens in each, >= 1
    K : number of values of a token, >= 2
    alpha : signal level in [0, 1], of any shape

    Returns
    -------
    weight, float64, of the shape of `alpha`

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.theory.channel import critical_alpha, posterior_weight
    >>> round(float(posterior_weight(5000, 80, 4, critical_alpha(5000, 80, 4))), 4)
    0.5563
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


def _binomial(L: int, p: float) -> NDArray[np.float64]:
    """Bin(n; L, p) for n = 0..L."""
    n = np.arange(L + 1)
    return np.exp(gammaln(L + 1) - gammaln(n + 1) - gammaln(L - n + 1) + xlogy(n, p) + xlog1py(L - n, -p))


def _level(alpha: ArrayLike) -> NDArray[np.float64]:
    return _gauss.checked("alpha", alpha, lambda a: (a >= 0) & (a <= 1), "in [0, 1]")


def _excess(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(1 + x) log(1 + x) - x >= 0, to relative precision."""
    k = np.arange(2, 12)
    series = np.power.outer(np.minimum(x, 0.02), k) @ ((-1.0) ** k / (k * (k - 1)))
    return np.where(np.abs(x) < 0.02, series, xlog1py(1 + x, x) - x)


def _log_minus_log1m(log_x: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(-log(1 - x)) for x in [0, 1] given by its logarithm."""
    x = np.exp(np.clip(log_x, -40.0, 0.0))
    with np.errstate(divide="ignore"):
        return np.where(log_x < -40, log_x, np.log(-np.log1p(-x)))
