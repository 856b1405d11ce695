"""The negative evidence lower bound (arXiv 2604.26841, eq. 3) in continuous time, in nats per token.

    -log p(x) <= E_t[ nelbo ] + reconstruction + prior

With q_t(. | p) = alpha_t p + (1 - alpha_t)/K and rho = q_t(z | x) / q_t(z | x_theta), the diffusion term is

    l = (-alpha'_t / alpha_t) / (K q_t(z | x)) [ KL( q_t(. | x) || q_t(. | x_theta) ) + rho - 1 - log rho ] >= 0,

the limit T -> infinity of T KL( q(z_s | z_t, x) || q(z_s | z_t, x_theta) ) with s = t - 1/T.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from uddm._random import as_generator
from uddm._validation import check_log_probs, check_positive_int, check_time, check_tokens
from uddm.denoisers.base import Denoiser
from uddm.process import UniformProcess, _at, _column


def nelbo(process: UniformProcess, cavity_log_probs: Tensor, x: Tensor, z: Tensor, t: float | Tensor) -> Tensor:
    """Diffusion term of the NELBO at time t, nats per token and unit time, (B, L), in the precision of its input.

    Every summand is written so that it cannot be negative and vanishes without cancellation at x_theta = x. With
    c = K alpha/(1 - alpha), u_j = 1 + c x_theta[j] and v = 1 + c on the clean token, 1 elsewhere (K q_t = (1 - alpha) u):
    d_j = log(v_j/u_j) and KL = sum_j q_t(j | x) [exp(-d_j) - 1 + d_j].

    Args:
        cavity_log_probs: log x_theta, (B, L, K).
        x, z: clean and noisy tokens, (B, L).
        t: () or (B,) in (0, 1].
    """
    x = check_tokens("x", x, process.vocab_size)
    z = check_tokens("z", z, process.vocab_size)
    check_log_probs("cavity_log_probs", cavity_log_probs, z, process.vocab_size)
    noise = _column(process.one_minus_alpha(check_time("t", t)), z)
    speed = _column(process.rate(t), z) / (1 - noise).clamp_min(torch.finfo(torch.float64).tiny)
    c = process.vocab_size * (1 - noise) / noise
    dtype = cavity_log_probs.dtype
    log_v, c, speed = torch.log1p(c).to(dtype), c.to(dtype), speed.to(dtype)

    scaled = c[..., None] * cavity_log_probs.exp()
    log_u = torch.log1p(scaled)
    per_token = scaled - log_u  # exp(-d) - 1 + d where v = 1
    d_x = log_v - _at(log_u, x)
    # K KL / (1 - alpha)
    divergence = per_token.sum(-1) - _at(per_token, x) + (1 + c) * (torch.expm1(-d_x) + d_x)
    same = z == x
    d_z = torch.where(same, d_x, -_at(log_u, z))
    ratio = torch.expm1(d_z) - d_z  # rho - 1 - log rho
    visible = torch.where(same, 1 + c, torch.ones_like(c))  # K q_t(z | x) / (1 - alpha)
    noise = noise.to(dtype)
    return speed / visible * (divergence / process.vocab_size + ratio / noise)


def reconstruction(
    process: UniformProcess, cavity_log_probs: Tensor, x: Tensor, z: Tensor, t: float | Tensor
) -> Tensor:
    """-log p_theta(x | z_t) in nats per token, (B, L), at the first time t that the diffusion term leaves out."""
    x = check_tokens("x", x, process.vocab_size)
    return -_at(process.clean_posterior(cavity_log_probs, z, t), x)


def prior(process: UniformProcess) -> float:
    """KL( q(z_1 | x) || uniform ) in nats per token; the same for every x."""
    noise = process.one_minus_alpha(1.0)
    signal = process.vocab_size * (1 - noise)
    kept, other = (noise + signal) / process.vocab_size, noise / process.vocab_size
    return float(kept * torch.log(noise + signal) + (process.vocab_size - 1) * other * torch.log(noise))


def stratified_times(n: int, *, low: float = 1e-3, generator: int | torch.Generator | None = None) -> Tensor:
    """n times in (low, 1], one uniform in each of n equal strata, in random order; float64 (n,)."""
    generator = as_generator(generator)
    offsets = torch.rand(n, dtype=torch.float64, device=generator.device, generator=generator)
    order = torch.randperm(n, device=generator.device, generator=generator)
    return 1 - (1 - low) * (order + offsets) / n


class Bound(NamedTuple):
    """Monte-Carlo terms of the evidence bound, nats for each sequence, float64 (B,)."""

    diffusion: Tensor
    reconstruction: Tensor
    prior: Tensor

    @property
    def total(self) -> Tensor:
        """The full bound on -log p(x)."""
        return self.diffusion + self.reconstruction + self.prior

    @property
    def published(self) -> Tensor:
        """The variant published as "perplexity bound": the average diffusion term alone, not strictly a bound."""
        return self.diffusion


@torch.no_grad()
def evidence_bound(
    process: UniformProcess,
    denoiser: Denoiser,
    x: Tensor,
    *,
    times: int = 64,
    first: float = 1e-3,
    generator: int | torch.Generator | None = None,
) -> Bound:
    """An unbiased estimate of the bound on -log p(x) for each sequence.

    Args:
        x: clean tokens, (B, L).
        times: stratified diffusion times drawn for each sequence.
        first: the time below which the reconstruction term takes over, in (0, 1).
    """
    x = check_tokens("x", x, process.vocab_size)
    check_positive_int("times", times)
    generator = as_generator(generator, x.device)
    t = torch.stack([stratified_times(times, low=first, generator=generator) for _ in range(len(x))])
    diffusion = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for k in range(times):
        z = process.corrupt(x, t[:, k], generator=generator)
        diffusion += nelbo(process, denoiser.cavity(z, t[:, k]), x, z, t[:, k]).double().sum(1)
    z = process.corrupt(x, first, generator=generator)
    start = reconstruction(process, denoiser.cavity(z, first), x, z, first).double().sum(1)
    return Bound((1 - first) * diffusion / times, start, torch.full_like(start, prior(process) * x.shape[1]))
