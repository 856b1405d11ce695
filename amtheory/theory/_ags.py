"""Replica symmetric equations of the Hopfield memory at a temperature T > 0, solved along s = sqrt(alpha r).

At fixed s, m = <tanh((s z + m) / T)> has at most one root m > 0, and

    q = <tanh^2>,    C = (1 - q) / T,    alpha = s^2 (1 - C)^2 / q

follow without iteration. The retrieval states of a temperature are one curve alpha(s), 0 at both of its ends:
its rising part are the states, its maximum is the spinodal. Nothing is lost where two solutions merge.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import xlogy

from amtheory.theory import _gauss


class State(NamedTuple):
    s: float
    m: float
    q: float
    susceptibility: float
    alpha: float

    @property
    def r(self) -> float:
        return self.q / (1 - self.susceptibility) ** 2


def retrieval(s: float, T: float) -> State:
    """The state with m > 0 at `s` < `end_of_retrieval(T)`, for T < 1."""

    def excess(m: float) -> float:
        t, w = _rule(s, m, T)
        return float(w @ np.tanh((s * t + m) / T)) - m

    # concave in m > 0, with the root below 1 and a positive slope at 0
    low = 0.5
    while low > 1e-9 and excess(low) < 0:
        low /= 2
    return _state(s, _gauss.root(excess, low, 1.0) if excess(1.0) < 0 else 1.0, T)


def spin_glass(alpha: float, T: float) -> State | None:
    """The state with m = 0 and q > 0, for T < 1 + sqrt(alpha), at alpha = 0 its limit; None above."""
    if 1 + np.sqrt(alpha) <= T:
        return None
    low = end_of_retrieval(T) if T < 1 else 1e-8
    if _state(low, 0.0, T).alpha >= alpha:
        return _state(low, 0.0, T) if T < 1 else None
    high = 2 * (low + np.sqrt(alpha) + 1)
    while _state(high, 0.0, T).alpha < alpha:
        high *= 2
    return _state(_gauss.root(lambda s: _state(s, 0.0, T).alpha / alpha - 1, low, high), 0.0, T)


@lru_cache(maxsize=256)
def end_of_retrieval(T: float) -> float:
    """The s at which m -> 0 and C -> 1, for T < 1."""
    return _gauss.root(lambda s: _state(s, 0.0, T).susceptibility - 1, 0.0, 1.0)


@lru_cache(maxsize=256)
def spinodal(T: float) -> State:
    """The retrieval state of the largest load, for 0 < T < 1."""
    found: Any = minimize_scalar(
        lambda s: -retrieval(s, T).alpha, bounds=(0.0, end_of_retrieval(T)), method="bounded", options={"xatol": 1e-10}
    )
    return retrieval(float(found.x), T)


@lru_cache(maxsize=4096)
def retrieval_at(alpha: float, T: float) -> State | None:
    """The retrieval state at load `alpha` and 0 < T; None if there is none."""
    if T >= 1:
        return None
    if alpha == 0:
        return retrieval(0.0, T)
    top = spinodal(T)
    if alpha > top.alpha:
        return None
    return retrieval(_gauss.root(lambda s: retrieval(s, T).alpha - alpha, 0.0, top.s), T)


def free_energy(alpha: float, T: float, state: State | None) -> float:
    """Per spin, of a solution of the equations; None is the paramagnet m = q = r = 0."""
    if state is None:  # T >= 1 + sqrt(alpha), up to rounding
        gap = max(1 - 1 / T, np.sqrt(alpha) / (1 + np.sqrt(alpha)))
        return float(alpha / 2 + xlogy(alpha * T, gap) / 2 - T * np.log(2))
    s, m, q, c, _ = state
    t, w = _rule(s, m, T)
    y = (s * t + m) / T
    # alpha r = s^2, beta (1 - q) = C, and 1 - C = sqrt(alpha q) / s without the rounding of C
    gap = np.sqrt(alpha * q) / s if s > 0 else 1.0
    interaction = (xlogy(alpha * T, gap) - s * np.sqrt(alpha * q) + s**2 * c) / 2
    return float(alpha / 2 + m**2 / 2 + interaction - T * (w @ np.logaddexp(y, -y)))


@lru_cache(maxsize=256)
def first_order(T: float) -> float:
    """The load at which the retrieval state and the spin glass have the same free energy, for 0 < T < 1."""

    def gap(s: float) -> float:
        state = retrieval(s, T)
        glass = spin_glass(state.alpha, T)
        return free_energy(state.alpha, T, state) - free_energy(state.alpha, T, glass)

    top = spinodal(T)
    return retrieval(_gauss.root(gap, top.s / 100, top.s), T).alpha


def _rule(s: float, m: float, T: float) -> tuple[_gauss.Array, _gauss.Array]:
    """tanh((s t + m) / T) turns within a few T / s around t = -m / s."""
    return _gauss.rule((2 * np.arange(-10, 11) * T - m) / s) if s > 0 else _gauss.rule()


def _state(s: float, m: float, T: float) -> State:
    t, w = _rule(s, m, T)
    y = (s * t + m) / T
    decay = np.exp(-2 * np.abs(y))
    q = float(w @ np.tanh(y) ** 2)
    c = float(w @ (4 * decay / (1 + decay) ** 2)) / T
    if q == 0:  # s = m = 0
        return State(s, m, q, c, (T - 1) ** 2)
    return State(s, m, q, c, s**2 * (1 - c) ** 2 / q)
