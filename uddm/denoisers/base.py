"""What every denoiser offers: the cavity and the posterior distribution of clean tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from uddm._validation import check_positive_int
from uddm.prediction import DensePrediction, Prediction
from uddm.process import Process
from uddm.process.base import PerSequence


class Denoiser(ABC):
    """Predicts clean tokens from noisy ones, under a given process.

    Two distributions, never to be confused:

    - `cavity`: log p(x_l | z_t without position l). It is the x_theta of the reverse process and the optimum of the
      NELBO (the plug-in reverse kernel is rational in x_theta, and exact only for the cavity).
    - `posterior`: log p(x_l | z_t), the cavity with what the token's own z says, b(t), restored.

    To implement: set `process` and `length`, and define `cavity`. `hollow` may be True only if the cavity at a position
    never depends on that position's own z. `predict` may be overridden where the K probabilities of a batch need not
    exist, and `posterior` where it is known without the cavity. In all methods `z` are noisy tokens, (B, L) ids, and
    `t` their times, one number in (0, 1] or (B,). Not to be confused with a measured system
    (`bridges.MemorySystem`), which `bridges.as_system` makes of a denoiser.

    Examples
    --------
    A language of independent tokens, 0 more frequent than 1:

    >>> import torch
    >>> from uddm import Denoiser, UniformProcess
    >>> class Unigram(Denoiser):
    ...     process, length, hollow = UniformProcess(2), 3, True
    ...     def cavity(self, z, t):
    ...         return torch.tensor([0.75, 0.25]).log().expand(*z.shape, 2)
    >>> z = torch.tensor([[0, 1, 1]])
    >>> [[round(p, 2) for p in row] for row in Unigram().posterior(z, 0.5).exp()[0].tolist()]
    [[0.9, 0.1], [0.5, 0.5], [0.5, 0.5]]
    """

    process: Process
    length: int
    any_length: bool = False
    """Whether sequences of other lengths than `length` make sense too, as in rotary attention; not where positions are
    weighted by where they are, or by how far the ends are."""
    hollow: bool = False
    """Whether `cavity` at a position does not depend on that position's own z, by construction."""

    @abstractmethod
    def cavity(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Float[Tensor, "B L K"]:
        """log p(x_l | z without l): (B, L, K) for tokens z (B, L) at times t, () or (B,) in (0, 1]."""

    def predict(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Prediction:
        """The cavity distribution, kept as whatever it takes to reduce it without storing it."""
        return DensePrediction(self.cavity(z, t))

    def posterior(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Float[Tensor, "B L K"]:
        """log p(x_l | z): (B, L, K)."""
        return self.process.clean_posterior(self.cavity(z, t), z, t)


@contextmanager
def inference(denoiser: Denoiser) -> Iterator[None]:
    """No gradients and, for a network, no dropout; its mode is restored afterwards."""
    network = denoiser if isinstance(denoiser, nn.Module) and denoiser.training else None
    if network:
        network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if network:
            network.train()


def batches(z: Integer[Tensor, "B L"], vocab_size: int, batch_size: int | None = None) -> list[slice]:
    """Row slices of `z` (B, L) small enough for (b, L, K) to stay near 2**26 entries, and for b <= 1024."""
    if batch_size is not None:
        check_positive_int("batch_size", batch_size)
    else:
        batch_size = max(1, min(1024, 2**26 // (z.shape[1] * vocab_size)))
    return [slice(n, n + batch_size) for n in range(0, len(z), batch_size)]
