"""Noise schedules: the probability alpha_t that a token has not been replaced, decreasing on t in [0, 1].

Every schedule gives 1 - alpha_t directly: at t = 1e-5 a float32 alpha_t would lose 0.6 % of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from uddm._validation import check_choice, check_positive_int
from uddm.choices import SCHEDULES
from uddm.duality import UniformAlpha, alpha_of_gamma


class Schedule(Protocol):
    """What a schedule of one's own has to have: two functions of times t in [0, 1], a float64 tensor of any shape.

    alpha_t decreases; it need not begin at 1 nor end at 0.
    """

    def one_minus_alpha(self, t: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """1 - alpha_t, float64, same shape as `t`."""
        ...

    def rate(self, t: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """-d alpha_t / dt > 0, float64, same shape as `t`."""
        ...


@dataclass(frozen=True)
class LogLinear:
    """alpha_t = 1 - (1 - floor) t, so that alpha_1 = floor (Sahoo et al. 2024, 2025: floor = 1e-3)."""

    floor: float = 1e-3

    def one_minus_alpha(self, t: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        return (1 - self.floor) * t.double()

    def rate(self, t: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        return (1 - self.floor) + 0 * t.double()


@dataclass(frozen=True)
class Linear(LogLinear):
    """alpha_t = 1 - t."""

    floor: float = 0.0


@dataclass(frozen=True)
class Cosine:
    """alpha_t = 1 - cos(pi/2 (1 - (1 - e) t)), so that alpha_1 is about (pi e)^2/8 (Sahoo et al. 2025: e = 1e-3)."""

    e: float = 1e-3

    def one_minus_alpha(self, t: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        return torch.sin(math.pi / 2 * (1 - self.e) * t.double())

    def rate(self, t: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        speed = math.pi / 2 * (1 - self.e)
        return speed * torch.cos(speed * t.double())


@dataclass(frozen=True)
class GaussianDual:
    """alpha_t = T(a_t), that of the argmax of a Gaussian of amplitude a_t, with a_t^2 = sigmoid(-gamma_t) and

        gamma_t = gamma_min + t (gamma_max - gamma_min)

    (T of `uddm.duality`; Sahoo et al. 2025). The defaults are those of the curriculum of the published LM1B models: at
    their K = 30522, alpha_t falls from 0.94 to 0.05, so that neither small nor full noise is seen.

    Parameters
    ----------
    vocab_size : K >= 2.
    gamma_min, gamma_max : gamma at t = 0 and at t = 1, minus the log of the signal-to-noise ratio; increasing.
    """

    vocab_size: int
    gamma_min: float = -3.5
    gamma_max: float = -1.75

    def __post_init__(self) -> None:
        check_positive_int("vocab_size", self.vocab_size, at_least=2)
        if not -math.inf < self.gamma_min < self.gamma_max < math.inf:
            raise ValueError(f"`gamma_min` must be below `gamma_max`, got {self.gamma_min} and {self.gamma_max}")

    def gaussian_alpha(self, t: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """The amplitude a_t, float64, same shape as `t`."""
        return torch.sigmoid(-self._gamma(t)).sqrt()

    def one_minus_alpha(self, t: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        return self._alpha(t).one_minus_alpha

    def rate(self, t: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        return -self._alpha(t).derivative * (self.gamma_max - self.gamma_min)

    def _gamma(self, t: Tensor) -> Tensor:
        return self.gamma_min + t.double() * (self.gamma_max - self.gamma_min)

    def _alpha(self, t: Tensor) -> UniformAlpha:
        return alpha_of_gamma(self._gamma(t), self.vocab_size)


_MAKERS: dict[str, Callable[[int], Schedule]] = {
    "log-linear": lambda vocab_size: LogLinear(),
    "linear": lambda vocab_size: Linear(),
    "cosine": lambda vocab_size: Cosine(),
    "gaussian": GaussianDual,
}


def get_schedule(schedule: str | Schedule, vocab_size: int) -> Schedule:
    """The schedule of that name ("log-linear", "linear", "cosine", "gaussian") for K tokens, or the object itself."""
    if isinstance(schedule, str):
        return _MAKERS[check_choice("schedule", schedule, SCHEDULES)](vocab_size)
    if isinstance(schedule, type) or not all(
        callable(getattr(schedule, name, None)) for name in ("one_minus_alpha", "rate")
    ):
        raise TypeError(f"`schedule` must be one of {', '.join(SCHEDULES)}, or a Schedule, got {schedule!r}")
    return schedule
