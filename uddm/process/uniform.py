"""Uniform noise (arXiv 2604.26841, eqs. 1 to 3): a fresh draw is any token, all alike.

    q(z_t | x) = alpha_t 1[z_t = x] + (1 - alpha_t)/K

Eq. (2), the reverse posterior, as printed lacks a factor (1 - alpha_s) in its last term and does not sum to one; with
pi_t = 1/K the form of `Process.mixture` does.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from uddm._validation import check_time
from uddm.prediction import Prediction
from uddm.process._ratios import Ratios, excess
from uddm.process.base import PerSequence, Process, Stream, _column
from uddm.process.schedule import Schedule


class UniformProcess(Process):
    """z_t ~ Cat(alpha_t x + (1 - alpha_t)/K): each token is replaced by a uniform draw with probability 1 - alpha_t.

    The draw may return the token itself, so P(z_t != x) = (1 - alpha_t)(1 - 1/K).

    Parameters
    ----------
    vocab_size : K >= 2
    schedule : "log-linear" (alpha_1 = 1e-3), "linear", "cosine", "gaussian" (the dual of a Gaussian process), or an
        object with `one_minus_alpha` and `rate`

    Times `t` and `s` are floats or tensors of shape () or (B,), one for each sequence, in (0, 1]; `prediction` is what
    a denoiser's `predict` gives for noisy tokens `z`.

    Raises
    ------
    TypeError, ValueError : a vocabulary size that is no integer above 1, or an unknown schedule.

    Examples
    --------
    >>> import torch
    >>> from uddm import UniformProcess
    >>> process = UniformProcess(27, "linear")
    >>> process.alpha(0.25).item()
    0.75
    >>> x = torch.zeros(2000, 100, dtype=torch.long)
    >>> z = process.corrupt(x, 0.25, generator=0)
    >>> abs((z != x).double().mean().item() - 0.25 * 26 / 27) < 0.01
    True
    """

    def __init__(self, vocab_size: int, schedule: str | Schedule = "log-linear"):
        super().__init__(vocab_size, schedule)

    def token_share(self, t: Float64[Tensor, " ..."], s: Float64[Tensor, " ..."]) -> Float64[Tensor, " ..."]:
        """All: there is no mask."""
        return torch.ones_like(t)

    def diffusion(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.nelbo`, (B, L): eq. 3, without cancellation."""
        speed, noise, ratios = self._ratios(prediction, x, z, t)
        return speed / ratios.visible * (ratios.divergence() / self.vocab_size + excess(ratios.log_ratio) / noise)

    def expected_diffusion(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.expected_nelbo`, (B, L)."""
        speed, noise, ratios = self._ratios(prediction, x, x, t, reverse=True)
        return speed / self.vocab_size * (noise * ratios.divergence() + ratios.mean_excess())

    def jump(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.jump_nelbo`, (B, L)."""
        _, noise, ratios = self._ratios(prediction, x, z, t)
        return _column(self.rate(t), x).to(noise.dtype) / noise * ratios.jump()

    def reconstruction(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.reconstruction`, (B, L)."""
        return self._ratios(prediction, x, z, t)[2].reconstruction()

    def prior_divergence(self) -> float:
        """KL( q(z_1 | x) || uniform tokens ) in nats per token."""
        noise = self.one_minus_alpha(1.0)
        signal = self.vocab_size * (1 - noise)
        kept, other = (noise + signal) / self.vocab_size, noise / self.vocab_size
        return float(kept * torch.log(noise + signal) + (self.vocab_size - 1) * other * torch.log(noise))

    def frozen(self, t: float, s: float) -> bool:
        """Whether the most probable z_s is z_t whatever x_theta."""
        noise_t, noise_s = self.one_minus_alpha(t), self.one_minus_alpha(s)
        return bool((noise_t - noise_s) * (1 - noise_s) <= (1 - noise_t) * noise_s)  # even if x_theta[y] = 1

    def _drawn(self, shape: tuple[int, ...], t: float | Tensor, s: float | Tensor, generator: Stream) -> Tensor:
        """Drawn as integers, which are not rounded."""
        if isinstance(generator, np.random.Generator):
            return torch.as_tensor(generator.integers(self.vocab_size, size=shape))
        return torch.randint(self.vocab_size, shape, device=generator.device, generator=generator)

    def _ratios(
        self, prediction: Prediction, x: Tensor, z: Tensor, t: PerSequence, *, reverse: bool = False
    ) -> tuple[Tensor, Tensor, Ratios]:
        """-alpha'/alpha and 1 - alpha, each (B, 1), and what depends on the prediction, at c = K alpha/(1 - alpha)."""
        noise = _column(self.one_minus_alpha(check_time("t", t)), x)
        speed = _column(self.rate(t), x) / (1 - noise).clamp_min(1e-12)  # all terms vanish as alpha^2
        ratios = Ratios.of(prediction, x, z, self.vocab_size * (1 - noise) / noise, reverse=reverse)
        return speed.to(ratios.c.dtype), noise.to(ratios.c.dtype), ratios
