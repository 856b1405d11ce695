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

    Parameters
    ----------
    cavity_log_probs : log x_theta, (B, L, K).
    x, z : clean and noisy tokens, (B, L).
    t : () or (B,) in (0, 1].
    """
    z = check_tokens("z", z, process.vocab_size)
    speed, noise, c, log_u, d_x, divergence = _terms(process, cavity_log_probs, x, t)
    same = z == x
    ratio = _excess(torch.where(same, d_x, -_at(log_u, z)))
    visible = torch.where(same, 1 + c, torch.ones_like(c))  # K q_t(z | x) / (1 - alpha)
    return speed / visible * (divergence / process.vocab_size + ratio / noise)


def expected_nelbo(process: UniformProcess, cavity_log_probs: Tensor, x: Tensor, t: float | Tensor) -> Tensor:
    """E of `nelbo` over the token's own z ~ q_t(. | x), given all other noisy tokens, (B, L).

    Exact for a denoiser whose x_theta at a position does not depend on that position's z (`Denoiser.hollow`), and then
    an estimator of the same objective in which every token counts at every t, not the few that were replaced.
    """
    speed, noise, _, log_u, d_x, divergence = _terms(process, cavity_log_probs, x, t)
    other = _excess(-log_u)  # where z != x
    ratios = other.sum(-1) - _at(other, x) + _excess(d_x)
    return speed / process.vocab_size * (noise * divergence + ratios)


def _terms(process: UniformProcess, cavity_log_probs: Tensor, x: Tensor, t: float | Tensor) -> tuple[Tensor, ...]:
    """-alpha'/alpha, 1 - alpha, c, log u, d_x and K KL / (1 - alpha).

    With c = K alpha/(1 - alpha), u_j = 1 + c x_theta[j], v_j = 1 + c on the clean token and 1 elsewhere (so that K q_t
    is (1 - alpha) u or v) and d_j = log(v_j/u_j): KL = sum_j q_t(j | x) [exp(-d_j) - 1 + d_j]. No summand can be
    negative, and all vanish without cancellation at x_theta = x.
    """
    x = check_tokens("x", x, process.vocab_size)
    check_log_probs("cavity_log_probs", cavity_log_probs, x, process.vocab_size)
    noise = _column(process.one_minus_alpha(check_time("t", t)), x)
    speed = _column(process.rate(t), x) / (1 - noise).clamp_min(torch.finfo(torch.float64).tiny)
    c = process.vocab_size * (1 - noise) / noise
    dtype = cavity_log_probs.dtype
    log_v, c, speed, noise = (value.to(dtype) for value in (torch.log1p(c), c, speed, noise))
    scaled = c[..., None] * cavity_log_probs.exp()
    log_u = torch.log1p(scaled)
    other = scaled - log_u  # exp(-d) - 1 + d where v = 1
    d_x = log_v - _at(log_u, x)
    divergence = other.sum(-1) - _at(other, x) + (1 + c) * _excess(-d_x)
    return speed, noise, c, log_u, d_x, divergence


def _excess(d: Tensor) -> Tensor:
    """exp(d) - 1 - d >= 0."""
    return torch.expm1(d) - d


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

    Parameters
    ----------
    x : clean tokens, (B, L).
    times : stratified diffusion times drawn for each sequence.
    first : the time below which the reconstruction term takes over, in (0, 1).
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
