"""Hopfield memory: steps of parallel dynamics, and the states of large systems in equilibrium.

Temperatures are in units in which W_ij = (1 / L) sum_mu x_i^mu x_j^mu, as `amtheory.Hopfield` has them; alpha = P / L
is the load, and not the signal level alpha_t of a diffusion process (`amtheory.theory.channel`).

References: Amit, Gutfreund and Sompolinsky, Phys. Rev. Lett. 55, 1530 (1985) and Ann. Phys. 173, 30 (1987).
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import betainc, erf

from amtheory import _validation as check
from amtheory.theory import _ags, _gauss

_COLD = 1e-8  # the lowest temperature told from 0; results there differ by about as much
_WARM = 0.9995  # where lines are replaced by their asymptotic form


class OrderParameters(NamedTuple):
    """Of retrieval states: overlap m, Edwards-Anderson q, and r; see `order_parameters`.

    Parameters
    ----------
    m, q, r : float64, of the shape that the arguments broadcast to

    Examples
    --------
    >>> from amtheory.theory.hopfield import order_parameters
    >>> m, q, r = order_parameters(0.1)
    >>> round(float(m), 3), float(q), bool(r > 1)
    (0.998, 1.0, True)
    """

    m: check.Broadcast
    q: check.Broadcast
    r: check.Broadcast


def one_step_overlap(L: int, P: int, flips: int, ties: Literal["keep", "random"] = "keep") -> float:
    """Mean overlap with a stored pattern after one parallel T = 0 step, exact at finite size.

    The step starts from the pattern with `flips` spins reversed, chosen independently of the other patterns.
    Site by site, L x_i h_i = S + B with the signal S = L - 2 flips - 1 (spin intact) or L - 2 flips + 1
    (spin reversed) and a crosstalk B that is a sum of (P - 1)(L - 1) independent fair signs, so

        m_1 = mean over sites of P(S + B > 0) - P(S + B < 0) + x_i s_i P(S + B = 0),

    the last term only if ``ties="keep"`` (a zero field keeps the spin); with ``ties="random"`` it averages
    to zero. Random patterns, Hebbian couplings, zero diagonal.

    Parameters
    ----------
    L, P : numbers of spins and of patterns, >= 1
    flips : number of spins reversed at the start, 0 to L
    ties : "keep", the default, as `amtheory.retrieve` has it, or "random"

    Returns
    -------
    m_1 in [-1, 1]

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.theory.hopfield import one_step_overlap
    >>> round(one_step_overlap(200, 20, 40), 6)
    0.949022
    """
    L, P = check.integer("L", L, 1), check.integer("P", P, 1)
    flips = check.integer("flips", flips, 0, L)
    check.choice("ties", ties, ("keep", "random"))
    n = (P - 1) * (L - 1)

    def mean_spin(signal: int, spin: int) -> float:
        # B = n - 2K with K ~ Bin(n, 1/2), hence S + B > 0 iff K < (n + S) / 2
        above = _fair_binomial_cdf((n + signal - 1) // 2, n)
        below = 1 - _fair_binomial_cdf((n + signal) // 2, n)
        return above - below + (ties == "keep") * spin * (1 - above - below)

    intact, reversed_ = mean_spin(L - 2 * flips - 1, +1), mean_spin(L - 2 * flips + 1, -1)
    return ((L - flips) * intact + flips * reversed_) / L


def one_step_map(alpha: ArrayLike, m0: ArrayLike, diagonal: bool = False) -> check.Broadcast:
    """m_1 = erf(m_0 / sqrt(2 alpha)): overlap after one parallel T = 0 step from overlap m_0, L -> infinity.

    With the `diagonal` of the Hebbian couplings kept, W_ii = alpha holds every spin where it is,

        m_1 = (1 + m_0)/2 erf((m_0 + alpha) / sqrt(2 alpha)) + (1 - m_0)/2 erf((m_0 - alpha) / sqrt(2 alpha)).

    Parameters
    ----------
    alpha : load P / L > 0
    m0 : in [-1, 1]; broadcasts with `alpha`
    diagonal : default False, as `amtheory.Hopfield` has it

    Returns
    -------
    m_1, float64

    Raises
    ------
    ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.hopfield import one_step_map
    >>> one_step_map(0.1, [0.2, 0.5]).round(3).tolist()
    [0.473, 0.886]
    """
    alpha, m0 = _load_and_overlap(alpha, m0)
    if not check.flag("diagonal", diagonal):
        return erf(m0 / np.sqrt(2 * alpha))
    width = np.sqrt(2 * alpha)
    return (1 + m0) / 2 * erf((m0 + alpha) / width) + (1 - m0) / 2 * erf((m0 - alpha) / width)


def two_step_map(alpha: ArrayLike, m0: ArrayLike) -> check.Broadcast:
    """Overlap m_2 after two parallel T = 0 steps from overlap m_0, L -> infinity, zero diagonal.

    Exact: the field of the second step remembers the first state through every pattern. With u = m_0 / sqrt(alpha),
    m_1 of `one_step_map`, c = 2 sqrt(alpha) phi(u) and v = alpha + 4 phi(u)^2 + 4 sqrt(alpha) m_0 m_1 phi(u),

        m_2 = (1 + m_0)/2 erf((m_1 + c) / sqrt(2 v)) + (1 - m_0)/2 erf((m_1 - c) / sqrt(2 v)).

    Reference: Gardner, Derrida and Mottishaw, J. Physique 48, 741 (1987).

    Parameters
    ----------
    alpha : load P / L > 0
    m0 : in [-1, 1]; broadcasts with `alpha`

    Returns
    -------
    m_2, float64

    Raises
    ------
    ValueError : out of range

    Examples
    --------
    >>> from amtheory.theory.hopfield import one_step_map, two_step_map
    >>> bool(two_step_map(0.1, 0.2) < one_step_map(0.1, one_step_map(0.1, 0.2)))  # not the map iterated
    True
    """
    alpha, m0 = _load_and_overlap(_gauss.positive("alpha", alpha), m0)
    m1 = one_step_map(alpha, m0)
    phi = _gauss.density(m0 / np.sqrt(alpha))
    c = 2 * np.sqrt(alpha) * phi
    width = np.sqrt(2 * (alpha + 4 * phi**2 + 4 * np.sqrt(alpha) * m0 * m1 * phi))
    return (1 + m0) / 2 * erf((m1 + c) / width) + (1 - m0) / 2 * erf((m1 - c) / width)


def overlap(alpha: ArrayLike, temperature: ArrayLike = 0.0) -> check.Broadcast:
    """Overlap m of the retrieval state, L -> infinity, replica symmetry.

    At T = 0, m = erf(y) with y the largest root of

        sqrt(2 alpha) = erf(y) / y - (2 / sqrt(pi)) exp(-y^2);

    for T > 0 see `order_parameters`.

    Parameters
    ----------
    alpha : load P / L >= 0
    temperature : T >= 0, default 0; broadcasts with `alpha`

    Returns
    -------
    m, float64, 0.0 above the critical load, where there is no such state

    Raises
    ------
    ValueError : one is negative or NaN

    See Also
    --------
    amtheory.patterns.overlap : of two given states

    Examples
    --------
    >>> from amtheory.theory.hopfield import overlap
    >>> overlap([0.0, 0.1, 0.2]).round(3).tolist()
    [1.0, 0.998, 0.0]
    """

    def one(load: float, T: float) -> float:
        if T < _COLD:
            return _overlap(load)
        state = _ags.retrieval_at(load, T)
        return 0.0 if state is None else state.m

    return _gauss.elementwise(one, *_load_and_temperature(alpha, temperature))


def order_parameters(alpha: ArrayLike, temperature: ArrayLike = 0.0) -> OrderParameters:
    """Overlap m, q and r of the retrieval state, L -> infinity, replica symmetry.

    At temperature T, with averages over z ~ N(0, 1),

        m = <tanh((sqrt(alpha r) z + m) / T)>,   q = <tanh^2>,   r = q / (1 - (1 - q) / T)^2;

    q is the overlap of two states of the same valley, alpha r the variance of the crosstalk.

    Parameters
    ----------
    alpha : load P / L >= 0
    temperature : T >= 0, default 0; broadcasts with `alpha`

    Returns
    -------
    OrderParameters m, q, r, NaN where there is no such state

    Raises
    ------
    ValueError : one is negative or NaN

    Examples
    --------
    >>> from amtheory.theory.hopfield import order_parameters
    >>> [round(float(number), 6) for number in order_parameters(0.1, 0.2)]
    [0.989085, 0.984417, 1.157809]
    """

    def one(load: float, T: float, name: str) -> float:
        if T < _COLD:
            m = _overlap(load)
            return {"m": m, "q": 1.0, "r": _r(load, m)}[name] if m else np.nan
        state = _ags.retrieval_at(load, T)
        return getattr(state, name) if state else np.nan

    loads, temperatures = _load_and_temperature(alpha, temperature)
    return OrderParameters(
        *(_gauss.elementwise(lambda a, T, name=name: one(a, T, name), loads, temperatures) for name in "mqr")
    )


def free_energy(
    alpha: ArrayLike, temperature: ArrayLike, state: Literal["retrieval", "spin glass"] = "retrieval"
) -> check.Broadcast:
    """Free energy per spin, of H = -(1/2) sum_{i != j} W_ij s_i s_j, L -> infinity, replica symmetry.

        f = alpha/2 + m^2/2 + (alpha T / 2) [log(1 - C) - (q / T) / (1 - C)] + alpha r C / 2
            - T <log 2 cosh((sqrt(alpha r) z + m) / T)>,   C = (1 - q) / T,

    at T = 0 the energy alpha/2 - m^2/2 - alpha r/2. The "spin glass" is the state of m = 0: q > 0 below
    `spin_glass_temperature`, the paramagnet q = 0 above; at T = 0 its replica symmetric energy is
    -1/pi - sqrt(2 alpha / pi), and at alpha = 0 it is the limit alpha -> 0.

    Parameters
    ----------
    alpha : load P / L >= 0, finite
    temperature : T >= 0, finite; broadcasts with `alpha`
    state : "retrieval", the default, or "spin glass"

    Returns
    -------
    f, float64, NaN where there is no retrieval state

    Raises
    ------
    ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.theory.hopfield import free_energy
    >>> bool(free_energy(0.04, 0.0) < free_energy(0.04, 0.0, "spin glass"))
    True
    """
    check.choice("state", state, ("retrieval", "spin glass"))

    def one(load: float, T: float) -> float:
        if state == "spin glass":
            return _ags.free_energy(load, T, _ags.spin_glass(load, T)) if T >= _COLD else _glass_energy(load)
        if T < _COLD:
            m = _overlap(load)
            return load / 2 - m**2 / 2 - load * _r(load, m) / 2 if m else np.nan
        found = _ags.retrieval_at(load, T)
        return _ags.free_energy(load, T, found) if found else np.nan

    return _gauss.elementwise(one, *_load_and_temperature(alpha, temperature, largest=np.finfo(float).max))


def critical_load(temperature: ArrayLike = 0.0) -> check.Broadcast:
    """alpha_M(T), the largest load with a retrieval state, replica symmetry.

    Slightly larger at T = 0.02 than at T = 0, an artefact of replica symmetry.

    Parameters
    ----------
    temperature : T >= 0, default 0

    Returns
    -------
    alpha_M, float64: 0.1379... at T = 0, 0.0 for T >= 1

    Raises
    ------
    ValueError : `temperature` is negative or NaN

    Examples
    --------
    >>> from amtheory.theory.hopfield import critical_load
    >>> round(float(critical_load()), 4)
    0.1379
    """

    def one(T: float) -> float:
        return _on_line(lambda u: _ags.spinodal(u).alpha, T) if T >= _COLD else _critical_load()

    return _gauss.elementwise(one, _temperature(temperature))


def first_order_load(temperature: ArrayLike = 0.0) -> check.Broadcast:
    """alpha_c1(T), the load up to which retrieval has a lower free energy than the spin glass.

    Parameters
    ----------
    temperature : T >= 0, default 0

    Returns
    -------
    alpha_c1, float64: 0.0518543 at T = 0, 0.0 for T >= 1

    Raises
    ------
    ValueError : `temperature` is negative or NaN

    Examples
    --------
    >>> from amtheory.theory.hopfield import first_order_load
    >>> round(float(first_order_load()), 7)
    0.0518543
    """

    def one(T: float) -> float:
        return _on_line(_ags.first_order, T) if T >= _COLD else _first_order_load()

    return _gauss.elementwise(one, _temperature(temperature))


def spinodal_temperature(alpha: ArrayLike) -> check.Broadcast:
    """T_M(alpha), the highest temperature with a retrieval state.

    Parameters
    ----------
    alpha : load P / L >= 0

    Returns
    -------
    T_M, float64: 1.0 at alpha = 0, 1 - 1.95 sqrt(alpha) to first order, NaN above 0.13818, where there is none

    Raises
    ------
    ValueError : `alpha` is negative or NaN

    Examples
    --------
    >>> from amtheory.theory.hopfield import critical_load, spinodal_temperature
    >>> T = spinodal_temperature(0.1)
    >>> round(float(critical_load(T)), 6)
    0.1
    """
    return _gauss.elementwise(lambda a: _highest_temperature(critical_load, a), _load(alpha))


def first_order_temperature(alpha: ArrayLike) -> check.Broadcast:
    """T_c(alpha), up to which retrieval has the lowest free energy.

    Parameters
    ----------
    alpha : load P / L >= 0

    Returns
    -------
    T_c, float64: 1.0 at alpha = 0, 1 - 2.6 sqrt(alpha) to first order, NaN where retrieval is lowest at no temperature

    Raises
    ------
    ValueError : `alpha` is negative or NaN

    Examples
    --------
    >>> from amtheory.theory.hopfield import first_order_temperature
    >>> float(first_order_temperature(0.0))
    1.0
    """
    return _gauss.elementwise(lambda a: _highest_temperature(first_order_load, a), _load(alpha))


def spin_glass_temperature(alpha: ArrayLike) -> check.Broadcast:
    """T_g = 1 + sqrt(alpha), below which the paramagnet freezes into a spin glass.

    Parameters
    ----------
    alpha : load P / L >= 0

    Returns
    -------
    T_g, float64

    Raises
    ------
    ValueError : `alpha` is negative or NaN

    Examples
    --------
    >>> from amtheory.theory.hopfield import spin_glass_temperature
    >>> float(spin_glass_temperature(0.25))
    1.5
    """
    return (1 + np.sqrt(_load(alpha)))[()]


def _load(alpha: ArrayLike) -> NDArray[np.float64]:
    return _gauss.checked("alpha", alpha, lambda a: a >= 0, ">= 0")


def _temperature(temperature: ArrayLike) -> NDArray[np.float64]:
    return _gauss.checked("temperature", temperature, lambda T: T >= 0, ">= 0")


def _load_and_temperature(
    alpha: ArrayLike, temperature: ArrayLike, largest: float = np.inf
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    loads, temperatures = _load(alpha), _temperature(temperature)
    if (loads > largest).any() or (temperatures > largest).any():
        raise ValueError(f"`alpha` and `temperature` must be finite, got {alpha} and {temperature}")
    loads, temperatures = check.together(alpha=loads, temperature=temperatures)
    return loads, temperatures


def _load_and_overlap(alpha: ArrayLike, m0: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    loads = _gauss.checked("alpha", alpha, lambda a: a > 0, "> 0")
    overlaps = _gauss.checked("m0", m0, lambda m: np.abs(m) <= 1, "in [-1, 1]")
    loads, overlaps = check.together(alpha=loads, m0=overlaps)
    return loads, overlaps


@cache
def _critical_load() -> float:
    return _root_of_load(_critical_argument()) ** 2 / 2


@cache
def _first_order_load() -> float:
    def gap(load: float) -> float:
        m = _overlap(load)
        return load / 2 - m**2 / 2 - load * _r(load, m) / 2 - _glass_energy(load)

    return _solve(gap, 0.01, 0.1)


def _glass_energy(load: float) -> float:
    return -1 / np.pi - np.sqrt(2 * load / np.pi)


def _r(load: float, m: float) -> float:
    """r = (m / y)^2 / (2 alpha) at T = 0, with m = erf(y) for which `m` may be too close to 1."""
    if load == 0:
        return 1.0
    y = _overlap_argument(load)
    return (m / y) ** 2 / (2 * load)


def _on_line(line: Callable[[float], float], T: float) -> float:
    """`line` at T > 0; proportional to (1 - T)^2 near 1, where free energies differ by little more than rounding."""
    return line(min(T, _WARM)) * min(1.0, max(1 - T, 0.0) / (1 - _WARM)) ** 2


@cache
def _peak(line: Callable[[float], Any]) -> tuple[float, float]:
    """Where a line alpha(T) is highest, and how high: replica symmetric lines fall only above T = 0.02 or 0.1."""
    found: Any = minimize_scalar(lambda T: -line(T), bounds=(1e-3, 0.3), method="bounded", options={"xatol": 1e-6})
    return float(found.x), -float(found.fun)


def _highest_temperature(line: Callable[[float], Any], alpha: float) -> float:
    if alpha == 0:
        return 1.0
    T, highest = _peak(line)
    if alpha > highest:
        return np.nan
    # the lines are close to (1 - T)^2 near T = 1
    edge = 1.0
    while line(1 - edge / 2) > alpha:
        edge /= 2
    return _solve(lambda T: np.sqrt(line(T)) - np.sqrt(alpha), max(T, 1 - edge), 1 - edge / 2)


def _overlap(alpha: float) -> float:
    if alpha > _critical_load():
        return 0.0
    return float(erf(_overlap_argument(alpha))) if alpha else 1.0


def _overlap_argument(alpha: float) -> float:
    """y = m / sqrt(2 alpha r) at 0 < `alpha` <= the critical load."""
    lowest, highest = _critical_argument(), 1 / np.sqrt(2 * alpha)
    if highest > 20:  # erf(20) = 1
        return float(highest)
    if _root_of_load(lowest) <= np.sqrt(2 * alpha):
        return lowest
    # the root is below `highest`, by less than rounding if alpha is small
    return _solve(lambda y: _root_of_load(y) - np.sqrt(2 * alpha), lowest, 1.001 * highest)


def _root_of_load(y: float) -> float:
    """sqrt(2 alpha) as a function of y = m / sqrt(2 alpha r)."""
    return erf(y) / y - 2 / np.sqrt(np.pi) * np.exp(-(y**2))


@cache
def _critical_argument() -> float:
    """Where `_root_of_load` is largest: erf(y) = (2 / sqrt(pi)) y (1 + 2 y^2) exp(-y^2)."""
    return _solve(lambda y: erf(y) - 2 / np.sqrt(np.pi) * y * (1 + 2 * y**2) * np.exp(-(y**2)), 1.0, 2.0)


def _solve(f: Callable[[float], float], a: float, b: float) -> float:
    return float(brentq(f, a, b, xtol=1e-14))  # pyright: ignore[reportArgumentType]


def _fair_binomial_cdf(k: int, n: int) -> float:
    """P(K <= k) for K ~ Bin(n, 1/2) and any integer k."""
    if k < 0 or k >= n:
        return float(k >= n)
    return float(betainc(n - k, k + 1, 0.5))
