"""Noise schedules: the probability alpha_t that a token has not been replaced, decreasing on t in [0, 1].

Every schedule gives 1 - alpha_t directly: at t = 1e-5 a float32 alpha_t would lose 0.6 % of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from uddm._validation import check_choice


class Schedule(Protocol):
    def one_minus_alpha(self, t: Tensor) -> Tensor:
        """1 - alpha_t, float64, same shape as `t`."""
        ...

    def rate(self, t: Tensor) -> Tensor:
        """-d alpha_t / dt > 0, float64, same shape as `t`."""
        ...


@dataclass(frozen=True)
class LogLinear:
    """alpha_t = 1 - (1 - floor) t, so that alpha_1 = floor (Sahoo et al. 2024, 2025: floor = 1e-3)."""

    floor: float = 1e-3

    def one_minus_alpha(self, t: Tensor) -> Tensor:
        return (1 - self.floor) * t.double()

    def rate(self, t: Tensor) -> Tensor:
        return (1 - self.floor) + 0 * t.double()


@dataclass(frozen=True)
class Linear(LogLinear):
    """alpha_t = 1 - t."""

    floor: float = 0.0


SCHEDULES: dict[str, type[LogLinear]] = {"log-linear": LogLinear, "linear": Linear}


def get_schedule(schedule: str | Schedule) -> Schedule:
    """The schedule of that name ("log-linear", "linear"), or the object itself."""
    if isinstance(schedule, str):
        return SCHEDULES[check_choice("schedule", schedule, SCHEDULES)]()
    return schedule
