"""Absorbing noise (Austin et al. 2021; Sahoo et al. 2024, Shi et al. 2024): a fresh draw is the mask, always.

    q(z_t | x) = alpha_t 1[z_t = x] + (1 - alpha_t) 1[z_t = mask]

A token that is seen is the clean one, and the reverse process carries it over; at a mask, with probability
(alpha_s - alpha_t)/(1 - alpha_t), it draws from x_theta. All terms of the bound are cross-entropies at the masks.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from uddm._validation import check_time
from uddm.prediction import Prediction, SummedPrediction
from uddm.process.base import PerSequence, Process, Stream, _column
from uddm.process.schedule import Schedule


class MaskedProcess(Process):
    """Each token is replaced by the mask with probability 1 - alpha_t, and else seen as it is.

    Parameters
    ----------
    vocab_size : K >= 2, the number of ids that a denoiser gives probabilities of
    schedule : "linear", "log-linear" (alpha_1 = 1e-3), "cosine", "gaussian", or an object with `one_minus_alpha` and
        `rate`. The bound is infinite, by `prior_divergence` alone, unless alpha_1 = 0, as in the linear one: the
        reverse process starts from masks only
    mask : the id of the mask; by default K, beside the tokens. One of the K ids is one that x never holds, to which a
        denoiser gives probability 0

    Times `t` and `s` are floats or tensors of shape () or (B,), one for each sequence, in (0, 1]; `prediction` is what
    a denoiser's `predict` gives for noisy tokens `z`.

    Raises
    ------
    TypeError, ValueError : a vocabulary size that is no integer above 1, a mask that is no id from 0 to K, or an
        unknown schedule.

    Examples
    --------
    >>> import torch
    >>> from uddm import MaskedProcess
    >>> process = MaskedProcess(27)
    >>> process.mask, process.state_size
    (27, 28)
    >>> z = process.corrupt(torch.zeros(2000, 100, dtype=torch.long), 0.25, generator=0)
    >>> z.unique().tolist(), abs((z == 27).double().mean().item() - 0.25) < 0.01
    ([0, 27], True)
    """

    mask: int

    def __init__(self, vocab_size: int, schedule: str | Schedule = "linear", *, mask: int | None = None):
        super().__init__(vocab_size, schedule, mask=vocab_size if mask is None else mask)

    def token_share(self, t: Float64[Tensor, " ..."], s: Float64[Tensor, " ..."]) -> Float64[Tensor, " ..."]:
        """None."""
        return torch.zeros_like(t)

    def diffusion(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.nelbo`, (B, L): -alpha'_t/(1 - alpha_t) times -log x_theta[x] at the masks, 0 elsewhere."""
        return self._weighted(self.reconstruction(prediction, x, z, t), self._speed(t))

    def expected_diffusion(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.expected_nelbo`, (B, L): alpha'_t log x_theta[x]."""
        return self._weighted(surprise(prediction, x), self.rate(t))

    def jump(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.jump_nelbo`, (B, L): that of `diffusion`, as z goes to x and nowhere else."""
        return self.diffusion(prediction, x, z, t)

    def reconstruction(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.reconstruction`, (B, L): -log x_theta[x] at the masks, 0 elsewhere."""
        return torch.where(z == self.mask, surprise(prediction, x), 0.0)

    def prior_divergence(self) -> float:
        """KL( q(z_1 | x) || masks ): 0 if nothing is left of x at time 1, alpha_1 = 0, and else infinite."""
        return 0.0 if self.one_minus_alpha(1.0) == 1 else math.inf

    def frozen(self, t: float, s: float) -> bool:
        """Whether a mask stays with probability 1/2 at least, (1 - alpha_s)/(1 - alpha_t)."""
        return bool(self.one_minus_alpha(t) <= 2 * self.one_minus_alpha(s))

    def _speed(self, t: PerSequence) -> Tensor:
        return self.rate(t) / self.one_minus_alpha(check_time("t", t))

    def _weighted(self, loss: Tensor, weight: Tensor) -> Tensor:
        return _column(weight, loss).to(loss.dtype) * loss

    def _drawn(self, shape: tuple[int, ...], t: float | Tensor, s: float | Tensor, generator: Stream) -> Tensor:
        return torch.full(shape, self.mask)


def surprise(prediction: Prediction, x: Int64[Tensor, "B L"]) -> Float[Tensor, "B L"]:
    """-log x_theta[x], (B, L), at least float32."""
    if isinstance(prediction, SummedPrediction):
        sums = prediction.sums(x, x, torch.zeros(1, 1, device=x.device))
        return sums.log_Z.double() - sums.at_x.double()
    log_p = prediction.log_prob(x)
    return -log_p.to(torch.promote_types(log_p.dtype, torch.float32))
