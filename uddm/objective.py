"""The negative evidence lower bound (arXiv 2604.26841, eq. 3) in continuous time, in nats per token.

    -log p(x) <= E_t[ nelbo ] + reconstruction + prior

With q_t(. | p) = alpha_t p + (1 - alpha_t)/K and rho = q_t(z | x) / q_t(z | x_theta), the diffusion term is

    l = (-alpha'_t / alpha_t) / (K q_t(z | x)) [ KL( q_t(. | x) || q_t(. | x_theta) ) + rho - 1 - log rho ] >= 0,

the limit T -> infinity of T KL( q(z_s | z_t, x) || q(z_s | z_t, x_theta) ) with s = t - 1/T.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from uddm._validation import check_log_probs, check_positive_int, check_time, check_tokens
from uddm.denoisers.base import Denoiser, batches, inference
from uddm.process import UniformProcess, _at, _column
from uddm.streams import as_generator


def nelbo(process: UniformProcess, cavity_log_probs: Tensor, x: Tensor, z: Tensor, t: float | Tensor) -> Tensor:
    """Diffusion term of the NELBO at time t, nats per token and unit time, (B, L).

    In the precision of `cavity_log_probs`, but at least float32.

    Parameters
    ----------
    cavity_log_probs : log x_theta, (B, L, K).
    x, z : clean and noisy tokens, (B, L).
    t : () or (B,) in (0, 1].
    """
    z = _matching(process, x, z)
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
    speed = _column(process.rate(t), x) / (1 - noise).clamp_min(1e-12)  # all terms below vanish as alpha^2
    c = process.vocab_size * (1 - noise) / noise
    dtype = torch.promote_types(cavity_log_probs.dtype, torch.float32)
    log_v, c, speed, noise = (value.to(dtype) for value in (torch.log1p(c), c, speed, noise))
    scaled = c[..., None] * cavity_log_probs.to(dtype).exp()
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
    _matching(process, x, z)
    return -_at(process.clean_posterior(cavity_log_probs, z, t), x)


def _matching(process: UniformProcess, x: Tensor, z: Tensor) -> Tensor:
    """z, once it is known to be noisy tokens of the shape of the clean ones."""
    z = check_tokens("z", z, process.vocab_size)
    if check_tokens("x", x, process.vocab_size).shape != z.shape:
        raise ValueError(f"`z` must have the shape of x, {tuple(x.shape)}, got {tuple(z.shape)}")
    return z


def prior(process: UniformProcess) -> float:
    """KL( q(z_1 | x) || uniform ) in nats per token; the same for every x."""
    noise = process.one_minus_alpha(1.0)
    signal = process.vocab_size * (1 - noise)
    kept, other = (noise + signal) / process.vocab_size, noise / process.vocab_size
    return float(kept * torch.log(noise + signal) + (process.vocab_size - 1) * other * torch.log(noise))


def stratified_times(
    n: int, *, low: float = 1e-3, log_fraction: float = 0.0, generator: int | torch.Generator | None = None
) -> Tensor:
    """n times in (low, 1], in random order; float64 (n,).

    One uniform in each of equal strata; of a share `log_fraction` of the times, rounded down, it is log t that is
    stratified, which visits small t more often. `time_weights` undoes that in an average over times.
    """
    check_positive_int("n", n)
    for name, value, inside in (("low", low, 0 < low < 1), ("log_fraction", log_fraction, 0 <= log_fraction <= 1)):
        if not inside:
            raise ValueError(f"`{name}` must lie between 0 and 1, got {value}")
    generator = as_generator(generator)
    logarithmic = int(n * log_fraction)
    u = torch.rand(n, dtype=torch.float64, device=generator.device, generator=generator)
    u[:logarithmic] = (u[:logarithmic] + torch.arange(logarithmic, device=u.device)) / max(logarithmic, 1)
    u[logarithmic:] = (u[logarithmic:] + torch.arange(n - logarithmic, device=u.device)) / max(n - logarithmic, 1)
    t = 1 - (1 - low) * u
    t[:logarithmic] = low ** u[:logarithmic]
    return t[torch.randperm(n, device=generator.device, generator=generator)]


def time_weights(t: Tensor, *, low: float = 1e-3, log_fraction: float = 0.0) -> Tensor:
    """Density of the uniform distribution on (low, 1] over that of n = len(t) times from `stratified_times`, (n,): the
    balance heuristic of multiple importance sampling (Veach and Guibas 1995)."""
    share = int(len(t) * log_fraction) / len(t)
    uniform = 1 / (1 - low)
    return uniform / (share / (t * -math.log(low)) + (1 - share) * uniform)


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
    if not 0 < first < 1:
        raise ValueError(f"`first` must lie in (0, 1), got {first}")
    generator = as_generator(generator, x.device)
    t = torch.stack([stratified_times(times, low=first, generator=generator) for _ in range(len(x))])

    def at(time: Tensor, term: Callable[..., Tensor]) -> Tensor:
        z = process.corrupt(x, time, generator=generator)
        rows = batches(x, process.vocab_size)
        terms = [term(process, denoiser.cavity(z[r], time[r]), x[r], z[r], time[r]) for r in rows]
        return torch.cat(terms).double().sum(1)

    with inference(denoiser):
        diffusion = sum((at(t[:, k], nelbo) for k in range(times)), torch.zeros(len(x), device=x.device))
        start = at(torch.full((len(x),), first, dtype=torch.float64), reconstruction)
    return Bound((1 - first) * diffusion / times, start, torch.full_like(start, prior(process) * x.shape[1]))
