"""What every denoiser offers: the cavity and the posterior distribution of clean tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from uddm._validation import check_positive_int
from uddm.prediction import DensePrediction, Prediction
from uddm.process import UniformProcess


class Denoiser:
    """Predicts clean tokens from noisy ones, under a given process.

    Two distributions, never to be confused:

    - `cavity`: log p(x_l | z_t without position l). It is the x_theta of the reverse process and the optimum of the
      NELBO (the plug-in reverse kernel is rational in x_theta, and exact only for the cavity).
    - `posterior`: log p(x_l | z_t), the cavity with the token's own evidence b(t) restored.
    """

    process: UniformProcess
    length: int
    hollow: bool = False
    """Whether `cavity` at a position does not depend on that position's own z, by construction."""

    @abstractmethod
    def cavity(self, z: Tensor, t: float | Tensor) -> Tensor:
        """log p(x_l | z without l): (B, L, K) for tokens z (B, L) at times t, () or (B,) in (0, 1]."""

    def predict(self, z: Tensor, t: float | Tensor) -> Prediction:
        """The cavity distribution, kept as whatever it takes to reduce it without storing it."""
        return DensePrediction(self.cavity(z, t))

    def posterior(self, z: Tensor, t: float | Tensor) -> Tensor:
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


def batches(z: Tensor, vocab_size: int, batch_size: int | None = None) -> list[slice]:
    """Row slices of `z` (B, L) small enough for (b, L, K) to stay near 2**26 entries, and for b <= 1024."""
    if batch_size is not None:
        check_positive_int("batch_size", batch_size)
    else:
        batch_size = max(1, min(1024, 2**26 // (z.shape[1] * vocab_size)))
    return [slice(n, n + batch_size) for n in range(0, len(z), batch_size)]
