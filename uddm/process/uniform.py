"""Uniform noise (arXiv 2604.26841, eqs. 1 to 3): a fresh draw is any token, all alike.

    q(z_t | x) = alpha_t 1[z_t = x] + (1 - alpha_t)/K

Eq. (2), the reverse posterior, as printed lacks a factor (1 - alpha_s) in its last term and does not sum to one; with
pi_t = 1/K the form of `Process.mixture` does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from uddm._validation import check_time
from uddm.prediction import Prediction, SummedPrediction
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
        terms = _Terms.of(self, prediction, x, z, t)
        visible = torch.where(z == x, 1 + terms.c, torch.ones_like(terms.c))  # K q_t(z | x) / (1 - alpha)
        return terms.speed / visible * (terms.divergence() / self.vocab_size + _excess(terms.log_ratio) / terms.noise)

    def expected_diffusion(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.expected_nelbo`, (B, L)."""
        terms = _Terms.of(self, prediction, x, x, t, reverse=True)
        ratios = terms.reverse_excess + _excess(terms.d_x)
        return terms.speed / self.vocab_size * (terms.noise * terms.divergence() + ratios)

    def jump(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.jump_nelbo`, (B, L)."""
        terms = _Terms.of(self, prediction, x, z, t)
        stay = (1 + terms.c) * (terms.log_p_z - terms.log_u_z).exp()  # p(z | z_t)
        kept = -torch.expm1(terms.log_p_x) * (-terms.log_u_z).exp()  # 1 - p(z | z_t) at z = x
        moved = terms.log_u_z - terms.log_p_x - stay
        return terms.speed * (1 - terms.noise) / terms.noise * torch.where(z == x, kept, moved)

    def reconstruction(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.reconstruction`, (B, L)."""
        terms = _Terms.of(self, prediction, x, z, t)
        return -terms.log_p_x - terms.log_ratio

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


class _Terms(NamedTuple):
    """What the bounds need: columns (B, 1), then (B, L).

    With u_j = 1 + c x_theta[j], v_j = 1 + c on the clean token and 1 elsewhere, so that K q_t is (1 - alpha) u or v,
    and d_j = log(v_j/u_j): KL = sum_j q_t(j | x) [exp(-d_j) - 1 + d_j]. No summand can be negative, and all vanish
    without cancellation at x_theta = x.
    """

    speed: Tensor  # -alpha'/alpha
    noise: Tensor  # 1 - alpha
    c: Tensor  # K alpha/(1 - alpha)
    same: Tensor  # z = x
    log_p_z: Tensor
    log_p_x: Tensor
    excess: Tensor  # sum of exp(-d) - 1 + d over j != x
    reverse_excess: Tensor  # sum of exp(d) - 1 - d over j != x; 0 unless asked for

    @classmethod
    def of(
        cls,
        process: Process,
        prediction: Prediction,
        x: Tensor,
        z: Tensor,
        t: float | Tensor,
        *,
        reverse: bool = False,
    ) -> _Terms:
        noise = _column(process.one_minus_alpha(check_time("t", t)), x)
        speed = _column(process.rate(t), x) / (1 - noise).clamp_min(1e-12)  # all terms vanish as alpha^2
        c = process.vocab_size * (1 - noise) / noise
        if isinstance(prediction, SummedPrediction):
            sums = prediction.sums(z, x, c, reverse=reverse)
            log_p_z, log_p_x = (value.double() - sums.log_Z.double() for value in (sums.at_z, sums.at_x))
            return cls(speed, noise, c, z == x, log_p_z, log_p_x, sums.excess.double(), sums.reverse_excess.double())
        log_p = prediction.log_probs()
        log_p = log_p.to(torch.promote_types(log_p.dtype, torch.float32))
        speed, noise, c = (value.to(log_p.dtype) for value in (speed, noise, c))
        scaled = (c[..., None] * log_p.exp()).scatter(-1, x[..., None], 0.0)
        log_u = torch.log1p(scaled)
        back = _excess(-log_u).sum(-1) if reverse else torch.zeros_like(c)
        return cls(speed, noise, c, z == x, _at(log_p, z), _at(log_p, x), (scaled - log_u).sum(-1), back)

    @property
    def log_u_z(self) -> Tensor:
        return torch.log1p(self.c * self.log_p_z.exp())

    @property
    def d_x(self) -> Tensor:
        return torch.log1p(self.c) - torch.log1p(self.c * self.log_p_x.exp())

    @property
    def log_ratio(self) -> Tensor:
        """log rho = log( q_t(z | x) / q_t(z | x_theta) )."""
        return torch.where(self.same, self.d_x, -self.log_u_z)

    def divergence(self) -> Tensor:
        """K KL( q_t(. | x) || q_t(. | x_theta) ) / (1 - alpha)."""
        return self.excess + (1 + self.c) * _excess(-self.d_x)


def _excess(d: Tensor) -> Tensor:
    """exp(d) - 1 - d >= 0."""
    return torch.expm1(d) - d


def _at(values: Tensor, tokens: Tensor) -> Tensor:
    """values[b, l, tokens[b, l]]: (B, L)."""
    return values.gather(-1, tokens[..., None]).squeeze(-1)
