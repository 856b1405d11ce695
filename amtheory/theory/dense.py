"""How many random patterns a dense associative memory holds, for the energies of `amtheory.DenseMemory`.

Polynomial energy of order n: in the field of one spin of a stored pattern that pattern contributes L^(n-1) and each of
the others a term of mean 0 and variance (2n - 3)!! L^(n-1), so their P terms, taken as Gaussian, flip the spin with
the probability of `one_step_error`.

References: Krotov and Hopfield, NIPS 2016; Demircigil, Heusel, Löwe, Upgang and Vermet, J. Stat. Phys. 168, 288 (2017).
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erfc, erfcinv, factorial2, xlogy

from amtheory import _validation as check
from amtheory.theory import _gauss


def one_step_error(order: int, L: ArrayLike, P: ArrayLike, m0: ArrayLike = 1.0) -> check.Broadcast:
    """Fraction of wrong spins after one parallel T = 0 step from a state of overlap m_0 with a stored pattern,

        (1/2) erfc(m_0^(n-1) sqrt(L^(n-1) / (2 (2n - 3)!! P))),

    the state being independent of the P - 1 other patterns; P >> 1, L >> 1.

    Parameters
    ----------
    order : integer n, 2 to 100; 2 is the Hopfield memory
    L, P : numbers of spins and of patterns, > 0, not necessarily whole; broadcast
    m0 : in [0, 1], default 1; broadcasts with these

    Returns
    -------
    fraction in [0, 1/2], float64

    Raises
    ------
    TypeError, ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.dense import one_step_error
    >>> round(float(one_step_error(3, 60, 240)), 4)
    0.0127
    """
    n = _order(order)
    L, P = _gauss.positive("L", L), _gauss.positive("P", P)
    m0 = _gauss.checked("m0", m0, lambda m: (m >= 0) & (m <= 1), "in [0, 1]")
    check.together(L=L, P=P, m0=m0)
    return erfc(m0 ** (n - 1) * np.exp(((n - 1) * np.log(L) - _log_crosstalk(n) - np.log(P)) / 2))[()] / 2


def capacity(order: int, L: ArrayLike, error: ArrayLike | None = None) -> check.Broadcast:
    """Number P of patterns that can be stored: with `error`, so that `one_step_error` is that,

        P = L^(n-1) / (2 (2n - 3)!! erfcinv(2 error)^2),

    or else so that a stored pattern has no wrong spin, to leading order in L,

        P = L^(n-1) / (2 (2n - 3)!! log L).

    For no error in any of the patterns divide the latter by n.

    Parameters
    ----------
    order : integer n, 2 to 100
    L : number of spins, > 1
    error : fraction of wrong spins in (0, 1/2); default None, no wrong spin; broadcasts with `L`

    Returns
    -------
    P, float64

    Raises
    ------
    TypeError, ValueError : out of range, or P above 1e308

    Examples
    --------
    >>> from amtheory.theory.dense import capacity
    >>> round(float(capacity(3, 60, error=0.0127)))
    240
    """
    n = _order(order)
    L = _gauss.checked("L", L, lambda v: (v > 1) & (v < np.inf), "finite and > 1")
    if error is None:
        square = np.log(L)
    else:
        error = _gauss.checked("error", error, lambda e: (e > 0) & (e < 0.5), "in (0, 1/2)")
        square = erfcinv(2 * check.together(L=L, error=error)[1]) ** 2
    exponent = (n - 1) * np.log(L) - _log_crosstalk(n) - np.log(square)
    if np.any(exponent > 709):
        raise ValueError(f"`L` must be so small that the capacity at order {n} is below 1e308, got {L}")
    return np.exp(exponent)[()]


def exponential_capacity(corrupted: ArrayLike) -> check.Broadcast:
    """Exponent c of the number exp(c L) of patterns that the exponential memory surely holds, L -> infinity,

        c = I(1 - 2 rho) / 2,   I(a) = ((1 + a) log(1 + a) + (1 - a) log(1 - a)) / 2:

    below it, with a probability that tends to 1, one T = 0 step at beta = 1 restores a pattern from a fraction rho of
    wrong spins (Demircigil et al. 2017). A bound.

    Parameters
    ----------
    corrupted : rho in [0, 1/2)

    Returns
    -------
    c in nats per spin, float64: log(2) / 2 at rho = 0

    Raises
    ------
    ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.dense import exponential_capacity
    >>> exponential_capacity([0.0, 0.1]).round(3).tolist()
    [0.347, 0.184]
    """
    rho = _gauss.checked("corrupted", corrupted, lambda r: (r >= 0) & (r < 0.5), "in [0, 1/2)")
    return (np.log(2) + xlogy(rho, rho) + xlogy(1 - rho, 1 - rho))[()] / 2


def _order(order: int) -> int:
    return check.integer("order", order, 2, 100)


def _log_crosstalk(n: int) -> float:
    """log of 2 (2n - 3)!!, with E S^(2n-2) = (2n - 3)!! L^(n-1) for a sum S of L fair signs."""
    return float(np.log(2 * factorial2(2 * n - 3)))
