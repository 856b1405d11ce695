"""The uniform-state forward process and its reverse posterior (arXiv 2604.26841, eqs. 1 and 2).

Symbols: vocabulary size K, clean tokens x, noisy tokens z_t, and x_theta (here `cavity`), the distribution over the
clean token at one position given the noisy tokens at all *other* positions.

Eq. (2) as printed lacks a factor (1 - alpha_s) in its last term and does not sum to one; the form below does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uddm._validation import check_log_probs, check_positive_int, check_time, check_tokens
from uddm.schedule import Schedule, get_schedule
from uddm.streams import as_generator


class UniformProcess:
    """z_t ~ Cat(alpha_t x + (1 - alpha_t)/K): each token is replaced by a uniform draw with probability 1 - alpha_t.

    The draw may return the token itself, so P(z_t != x) = (1 - alpha_t)(1 - 1/K).

    Parameters
    ----------
    vocab_size : K >= 2.
    schedule : "log-linear" (alpha_1 = 1e-3), "linear", "cosine", "gaussian" (the dual of a Gaussian process), or an
        object with `one_minus_alpha` and `rate`.

    Times are floats or tensors of shape () or (B,), one for each sequence, in (0, 1].
    """

    def __init__(self, vocab_size: int, schedule: str | Schedule = "log-linear"):
        self.vocab_size = check_positive_int("vocab_size", vocab_size, at_least=2)
        self.schedule = get_schedule(schedule, self.vocab_size)

    def __repr__(self) -> str:
        return f"UniformProcess(vocab_size={self.vocab_size}, schedule={self.schedule!r})"

    def one_minus_alpha(self, t: float | Tensor) -> Tensor:
        """1 - alpha_t as float64; t in [0, 1]."""
        return self.schedule.one_minus_alpha(check_time("t", t, closed=True))

    def alpha(self, t: float | Tensor) -> Tensor:
        """alpha_t as float64; t in [0, 1]."""
        return 1 - self.one_minus_alpha(t)

    def rate(self, t: float | Tensor) -> Tensor:
        """-d alpha_t / dt as float64; t in (0, 1]."""
        return self.schedule.rate(check_time("t", t))

    def sigma(self, t: float | Tensor) -> Tensor:
        """Noise level -log alpha_t that conditions the network; alpha_t is held above 1e-3 so that it is finite."""
        return -torch.log1p(-self.one_minus_alpha(check_time("t", t)).clamp(max=1 - 1e-3))

    def signal(self, t: float | Tensor) -> Tensor:
        """c(t) = K alpha_t / (1 - alpha_t), the odds of keeping a token in units of one uniform draw; t in (0, 1]."""
        noise = self.one_minus_alpha(check_time("t", t))
        return self.vocab_size * (1 - noise) / noise

    def evidence(self, t: float | Tensor) -> Tensor:
        """b(t) = log(1 + c(t)): log-likelihood ratio of a token's own observation z_t = x against z_t != x."""
        noise = self.one_minus_alpha(check_time("t", t))
        return torch.log1p((self.vocab_size - 1) * (1 - noise)) - noise.log()  # c(t) overflows below t ~ 1e-304

    def corrupt(self, x: Tensor, t: float | Tensor, *, generator: int | torch.Generator | None = None) -> Tensor:
        """Sample z_t ~ q(z_t | x), eq. (1). `x`: (B, L) ids; returns (B, L) ids on the same device."""
        x = check_tokens("x", x, self.vocab_size)
        noise = _column(self.one_minus_alpha(check_time("t", t)), x)
        generator = as_generator(generator, x.device)
        replaced = torch.rand(x.shape, dtype=torch.float64, device=x.device, generator=generator) < noise
        return torch.where(replaced, self.prior(x.shape, generator=generator), x)

    def prior(self, shape: tuple[int, ...] | torch.Size, *, generator: int | torch.Generator | None = None) -> Tensor:
        """Uniform tokens of that shape: z_1."""
        generator = as_generator(generator)
        return torch.randint(self.vocab_size, tuple(shape), device=generator.device, generator=generator)

    def mixture(self, cavity_at_z: Tensor, t: float | Tensor, s: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The reverse posterior as a three-way mixture: stay at z_t, draw from x_theta, draw uniformly.

        With r = alpha_t / alpha_s and D = K alpha_t x_theta[z] + 1 - alpha_t, the weights are
        (K alpha_t x_theta[z] + r - alpha_t)/D, (alpha_s - alpha_t)/D and (1 - r)(1 - alpha_s)/D; they sum to one.

        Parameters
        ----------
        cavity_at_z : x_theta[z], probabilities (B, L).
        t, s : times, 0 <= s <= t <= 1.

        Returns
        -------
        Three (B, L) float64 tensors.
        """
        cavity_at_z = cavity_at_z.double()
        noise_t = _column(self.one_minus_alpha(check_time("t", t)), cavity_at_z)
        noise_s = _column(self.one_minus_alpha(check_time("s", s, closed=True)), cavity_at_z, "s")
        if bool((noise_s > noise_t).any()):
            raise ValueError(f"`s` must not exceed `t`, got s = {s} and t = {t}")
        alpha_t, alpha_s = 1 - noise_t, 1 - noise_s
        removed = (noise_t - noise_s) / alpha_s.clamp_min(torch.finfo(torch.float64).tiny)  # 1 - alpha_t / alpha_s
        own = self.vocab_size * alpha_t * cavity_at_z
        denominator = own + noise_t
        stay = own + noise_s * (1 - removed)  # r - alpha_t = (1 - alpha_s) alpha_t / alpha_s
        return (
            stay / denominator,
            (noise_t - noise_s) / denominator,
            removed * noise_s / denominator,
        )

    def posterior(self, cavity_log_probs: Tensor, z: Tensor, t: float | Tensor, s: float | Tensor) -> Tensor:
        """q(z_s | z_t, x_theta), eq. (2) corrected: probabilities (B, L, K) in float64, rows summing to one.

        Parameters
        ----------
        cavity_log_probs : log x_theta, (B, L, K), normalised over K.
        z : z_t, (B, L) ids.
        t, s : times, 0 <= s <= t <= 1.
        """
        z = check_tokens("z", z, self.vocab_size)
        cavity = check_log_probs("cavity_log_probs", cavity_log_probs, z, self.vocab_size).double().exp()
        stay, denoise, uniform = self.mixture(_at(cavity, z), t, s)
        result = denoise[..., None] * cavity + uniform[..., None] / self.vocab_size
        return result.scatter_add(-1, z[..., None], stay[..., None])

    def clean_posterior(self, cavity_log_probs: Tensor, z: Tensor, t: float | Tensor) -> Tensor:
        """log p(x_l | z_t) = log_softmax(log x_theta + b(t) onehot(z_l)), (B, L, K): the cavity with the token's
        own evidence restored."""
        z = check_tokens("z", z, self.vocab_size)
        check_log_probs("cavity_log_probs", cavity_log_probs, z, self.vocab_size)
        own = _column(self.evidence(t), z).to(cavity_log_probs.dtype).expand(z.shape)
        return cavity_log_probs.scatter_add(-1, z[..., None], own[..., None]).log_softmax(-1)


def _column(value: Tensor, like: Tensor, name: str = "t") -> Tensor:
    """A scalar or (B,) value as (B or 1, 1), on the device of `like`, to meet (B, L); errors speak of `name`."""
    value = value.to(like.device)
    if value.ndim > 1 or (value.ndim == 1 and value.shape[0] not in (1, like.shape[0])):
        raise ValueError(f"`{name}` must be a scalar or have shape ({like.shape[0]},), got {tuple(value.shape)}")
    return value.reshape(-1, 1)


def _at(values: Tensor, tokens: Tensor) -> Tensor:
    """values[b, l, tokens[b, l]]: (B, L)."""
    return values.gather(-1, tokens[..., None]).squeeze(-1)
