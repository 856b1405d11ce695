"""The one interface every measured system satisfies, whether a binary memory or a diffusion language model.

Tokens are int64 arrays of shape (B, L) with ids in [0, K); a binary memory has K = 2, id 1 for spin +1 and 0 for -1.
Noise is a diffusion time t in (0, 1]: the larger, the more tokens are replaced by uniform draws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from amtheory._validation import unmasked

MODES = ("sample", "posterior_mode", "x0_mode", "one_shot")
LASTS = ("ancestral", "greedy", "none")


class Conditional(ABC):
    """The conditional distributions p(x_l | z without l) of a batch of sequences, never stored: each method reduces
    over the vocabulary in chunks, where the system computes."""

    @abstractmethod
    def entropy(self) -> np.ndarray:
        """Nats for each token, (B, L) float64."""

    @abstractmethod
    def mode(self) -> np.ndarray:
        """Most probable tokens, (B, L) int64."""

    @abstractmethod
    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """log p(x_l | z without l) of the given tokens, (B, L) float64."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """One independent draw for each token, (B, L) int64."""


class MemorySystem(ABC):
    """A memory that can be corrupted, asked for its conditionals, and run."""

    length: int
    vocab_size: int

    @abstractmethod
    def corrupt(self, x: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
        """Replace each token by a uniform draw with probability 1 - alpha(noise), noise in (0, 1]."""

    @abstractmethod
    def conditional(self, z: np.ndarray, t: float) -> Conditional:
        """Conditionals of each token given the others, at time t in (0, 1]."""

    @abstractmethod
    def recover(
        self,
        z: np.ndarray,
        *,
        start: float = 1.0,
        mode: str = "sample",
        steps: int | None = None,
        last: str = "ancestral",
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Run the dynamics from z, told that it is at time `start`; returns the final tokens (B, L)."""

    @abstractmethod
    def generate(self, n: int, rng: np.random.Generator, *, steps: int | None = None) -> np.ndarray:
        """n sequences from the stochastic dynamics started at uniform noise, (n, L)."""

    def steps_taken(self, mode: str, steps: int | None) -> int | None:
        """The number of steps, or sweeps, that `recover` takes when asked for `steps`; None for one exact draw."""
        return steps

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the system is, for the record that goes with each result."""


def as_tokens(name: str, tokens: Any, system: MemorySystem) -> np.ndarray:
    """`tokens` as int64 (B, L) fit for `system`.

    Raises:
        TypeError: not integers, or masked ones.
        ValueError: wrong shape, or ids outside [0, K).
    """
    tokens = unmasked(name, tokens)
    if tokens.dtype.kind not in "iu":
        raise TypeError(f"`{name}` must hold integer token ids, got dtype {tokens.dtype}")
    if tokens.ndim != 2 or tokens.shape[1] != system.length or len(tokens) == 0:
        raise ValueError(f"`{name}` must have shape (B, {system.length}) with B >= 1, got {tokens.shape}")
    if tokens.min() < 0 or tokens.max() >= system.vocab_size:
        raise ValueError(
            f"`{name}` must hold token ids in [0, {system.vocab_size - 1}], got ids in [{tokens.min()}, {tokens.max()}]"
        )
    return tokens.astype(np.int64)


def check_time(name: str, t: Any) -> float:
    """`t` as a float in (0, 1]; TypeError if it is no number, ValueError if it lies outside."""
    if isinstance(t, bool) or not isinstance(t, int | float | np.number):
        raise TypeError(f"`{name}` must be a number in (0, 1], got {t!r}")
    if not 0 < t <= 1:
        raise ValueError(f"`{name}` must lie in (0, 1], got {t}")
    return float(t)


def check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must lie in (0, 1), got {confidence}")
