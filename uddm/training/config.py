"""What determines a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from uddm._validation import check_choice, check_positive_int, check_seed
from uddm.curriculum import Curriculum


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation of the NELBO; the defaults are the published recipe (Sahoo et al. 2025; arXiv 2604.26841).

    Parameters
    ----------
    steps, batch_size : optimizer steps, and sequences in each.
    learning_rate : AdamW's, reached after `warmup` linear steps, then "constant" or "cosine" to zero.
    betas, weight_decay : AdamW's.
    clip : bound on the gradient norm.
    loss : "nelbo", "jump" (the bound without a vocabulary sum) or "cross-entropy" (of denoising: no bound).
    curriculum : relaxed inputs for the first steps (Sahoo et al. 2025), or None.
    precision : of the network up to its read-out, "float32" or "bfloat16" (autocast). Weights, read-out and loss are
        float32.
    ema : decay of the weight average, warmed up as min(ema, (1 + n)/(10 + n)).
    first_time : times are stratified over (first_time, 1].
    log_fraction : share of the times stratified in log t instead, in [0, 1]; losses are reweighted, so that the
        objective stays the NELBO.
    seed : of the data order, times, corruption and dropout, each keyed by step.
    log_every, checkpoint_every : steps between lines of metrics.jsonl, and between saved states.
    """

    steps: int = 1_000_000
    batch_size: int = 512
    learning_rate: float = 3e-4
    warmup: int = 2500
    decay: Literal["constant", "cosine"] = "constant"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip: float = 1.0
    loss: Literal["nelbo", "jump", "cross-entropy"] = "nelbo"
    curriculum: Curriculum | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    ema: float = 0.9999
    first_time: float = 1e-3
    log_fraction: float = 0.0
    seed: int = 1
    log_every: int = 100
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "checkpoint_every"):
            check_positive_int(name, getattr(self, name))
        check_positive_int("warmup", self.warmup, at_least=0)
        check_seed("seed", self.seed)
        check_choice("decay", self.decay, ("constant", "cosine"))
        check_choice("loss", self.loss, ("nelbo", "jump", "cross-entropy"))
        check_choice("precision", self.precision, ("float32", "bfloat16"))
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be positive and finite, got {getattr(self, name)}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"`betas` must be two numbers in [0, 1), got {self.betas}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"`weight_decay` must be >= 0 and finite, got {self.weight_decay}")
        for name, value in (("ema", self.ema), ("first_time", self.first_time)):
            if not 0 < value < 1:
                raise ValueError(f"`{name}` must lie in (0, 1), got {value}")
        if not 0 <= self.log_fraction <= 1:
            raise ValueError(f"`log_fraction` must lie in [0, 1], got {self.log_fraction}")

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ..., steps - 1."""
        rate = self.learning_rate * min(1.0, (step + 1) / max(self.warmup, 1))
        if self.decay == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return rate
