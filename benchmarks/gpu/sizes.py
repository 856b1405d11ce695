"""What is measured on a GPU, and the same in small, for a CPU."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from uddm import DiTConfig


@dataclass(frozen=True)
class Sizes:
    K: int = 30522
    L: int = 128
    B: int = 256  # sequences of a training step
    corpus: int = 4096
    generated: int = 64  # sequences
    updates: int = 32  # few for time's sake: at 1000 fewer tokens move in each, which is where our way draws
    measured: int = 16384  # sequences of the conditional entropy
    product: int = 8192  # rows of the square matrices that tell the rate
    steps: int = 8  # of the training runs that must agree
    rounds: int = 5
    at_least: float = 0.3  # seconds of a measurement
    shape: dict[str, int] = field(default_factory=dict)  # in place of that of tiny and small
    compile: bool = True

    def network(self, name: str, **changes: float) -> DiTConfig:
        return getattr(DiTConfig, name)(self.K, **({"length": self.L} | self.shape | changes))

    def compiled(self, function: Callable) -> Callable:
        return torch.compile(function, dynamic=False) if self.compile else function

    def text(self, n: int, seed: int = 0) -> Tensor:
        """Independent tokens (n, L), the r-th with probability ~ 1/r, log(1 + 1/r)/log(K + 1)."""
        uniform = torch.rand(n, self.L, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return ((self.K + 1) ** uniform).long().clamp_max(self.K) - 1


FULL = Sizes()
TOY = Sizes(
    K=97,
    L=8,
    B=4,
    corpus=16,
    generated=2,
    updates=4,
    measured=8,
    product=64,
    steps=4,
    rounds=1,
    at_least=0.0,
    shape={"hidden_dim": 16, "blocks": 2, "heads": 2, "cond_dim": 8},
    compile=False,
)
