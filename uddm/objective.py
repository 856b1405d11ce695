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
from uddm.prediction import Prediction, SummedPrediction
from uddm.process import UniformProcess, _at, _column
from uddm.streams import as_generator


def nelbo(
    process: UniformProcess, cavity_log_probs: Tensor | Prediction, x: Tensor, z: Tensor, t: float | Tensor
) -> Tensor:
    """Diffusion term of the NELBO at time t, nats per token and unit time, (B, L).

    In the precision of `cavity_log_probs`, but at least float32.

    Parameters
    ----------
    cavity_log_probs : log x_theta, (B, L, K), or what a denoiser's `predict` gives, of which no tensor of that size is
        made, forward or backward.
    x, z : clean and noisy tokens, (B, L).
    t : () or (B,) in (0, 1].
    """
    x, z = _matching(process, x, z)
    terms = _Terms.of(process, cavity_log_probs, x, z, t)
    same = z == x
    ratio = _excess(torch.where(same, terms.d_x, -terms.log_u_z))
    visible = torch.where(same, 1 + terms.c, torch.ones_like(terms.c))  # K q_t(z | x) / (1 - alpha)
    return terms.speed / visible * (terms.divergence() / process.vocab_size + ratio / terms.noise)


def expected_nelbo(
    process: UniformProcess, cavity_log_probs: Tensor | Prediction, x: Tensor, t: float | Tensor
) -> Tensor:
    """E of `nelbo` over the token's own z ~ q_t(. | x), given all other noisy tokens, (B, L).

    Exact for a denoiser whose x_theta at a position does not depend on that position's z (`Denoiser.hollow`), and then
    an estimator of the same objective in which every token counts at every t, not the few that were replaced.
    """
    x = check_tokens("x", x, process.vocab_size)
    terms = _Terms.of(process, cavity_log_probs, x, x, t, reverse=True)
    ratios = terms.reverse_excess + _excess(terms.d_x)
    return terms.speed / process.vocab_size * (terms.noise * terms.divergence() + ratios)


def reconstruction(
    process: UniformProcess, cavity_log_probs: Tensor | Prediction, x: Tensor, z: Tensor, t: float | Tensor
) -> Tensor:
    """-log p_theta(x | z_t) in nats per token, (B, L).

    At the first time t that the diffusion term leaves out it completes the bound. At all times it is the cross-entropy
    of denoising, which trains the posterior, and the cavity hardly at all as t -> 0.
    """
    x, z = _matching(process, x, z)
    terms = _Terms.of(process, cavity_log_probs, x, z, t)
    return torch.where(z == x, -terms.log_p_x - terms.d_x, terms.log_u_z - terms.log_p_x)


def jump_nelbo(
    process: UniformProcess, cavity_log_probs: Tensor | Prediction, x: Tensor, z: Tensor, t: float | Tensor
) -> Tensor:
    """Diffusion term of another bound, that of the reverse process that jumps from z to x alone, (B, L).

        l = (-alpha'/(1 - alpha)) ( 1[z = x] - p(z | z_t) - 1[z != x] log p(x | z_t) ) >= 0

    with p the posterior, its optimum (Gat et al. 2024; generalized KL divergence of `flow_matching`). It needs no sum
    over the vocabulary. Nats per token and unit time; arguments as for `nelbo`.
    """
    x, z = _matching(process, x, z)
    terms = _Terms.of(process, cavity_log_probs, x, z, t)
    stay = (1 + terms.c) * (terms.log_p_z - terms.log_u_z).exp()  # p(z | z_t)
    kept = -torch.expm1(terms.log_p_x) * (-terms.log_u_z).exp()  # 1 - p(z | z_t) at z = x
    moved = terms.log_u_z - terms.log_p_x - stay
    return terms.speed * (1 - terms.noise) / terms.noise * torch.where(z == x, kept, moved)


LOSSES: dict[str, Callable[..., Tensor]] = {"nelbo": nelbo, "jump": jump_nelbo, "cross-entropy": reconstruction}


class _Terms(NamedTuple):
    """What the objectives need: columns (B, 1), then (B, L).

    With u_j = 1 + c x_theta[j], v_j = 1 + c on the clean token and 1 elsewhere, so that K q_t is (1 - alpha) u or v,
    and d_j = log(v_j/u_j): KL = sum_j q_t(j | x) [exp(-d_j) - 1 + d_j]. No summand can be negative, and all vanish
    without cancellation at x_theta = x.
    """

    speed: Tensor  # -alpha'/alpha
    noise: Tensor  # 1 - alpha
    c: Tensor  # K alpha/(1 - alpha)
    log_p_z: Tensor
    log_p_x: Tensor
    excess: Tensor  # sum of exp(-d) - 1 + d over j != x
    reverse_excess: Tensor  # sum of exp(d) - 1 - d over j != x; 0 unless asked for

    @classmethod
    def of(
        cls,
        process: UniformProcess,
        cavity: Tensor | Prediction,
        x: Tensor,
        z: Tensor,
        t: float | Tensor,
        *,
        reverse: bool = False,
    ) -> _Terms:
        noise = _column(process.one_minus_alpha(check_time("t", t)), x)
        speed = _column(process.rate(t), x) / (1 - noise).clamp_min(1e-12)  # all terms vanish as alpha^2
        c = process.vocab_size * (1 - noise) / noise
        if isinstance(cavity, SummedPrediction):
            if cavity.vocab_size != process.vocab_size:
                raise ValueError(
                    f"`cavity_log_probs` must be over {process.vocab_size} tokens, got {cavity.vocab_size}"
                )
            sums = cavity.sums(z, x, c, reverse=reverse)
            log_p_z, log_p_x = (value.double() - sums.log_Z.double() for value in (sums.at_z, sums.at_x))
            return cls(speed, noise, c, log_p_z, log_p_x, sums.excess.double(), sums.reverse_excess.double())
        log_p = cavity.log_probs() if isinstance(cavity, Prediction) else cavity
        check_log_probs("cavity_log_probs", log_p, x, process.vocab_size)
        log_p = log_p.to(torch.promote_types(log_p.dtype, torch.float32))
        speed, noise, c = (value.to(log_p.dtype) for value in (speed, noise, c))
        scaled = (c[..., None] * log_p.exp()).scatter(-1, x[..., None], 0.0)
        log_u = torch.log1p(scaled)
        back = _excess(-log_u).sum(-1) if reverse else torch.zeros_like(c)
        return cls(speed, noise, c, _at(log_p, z), _at(log_p, x), (scaled - log_u).sum(-1), back)

    @property
    def log_u_z(self) -> Tensor:
        return torch.log1p(self.c * self.log_p_z.exp())

    @property
    def d_x(self) -> Tensor:
        return torch.log1p(self.c) - torch.log1p(self.c * self.log_p_x.exp())

    def divergence(self) -> Tensor:
        """K KL( q_t(. | x) || q_t(. | x_theta) ) / (1 - alpha)."""
        return self.excess + (1 + self.c) * _excess(-self.d_x)


def _excess(d: Tensor) -> Tensor:
    """exp(d) - 1 - d >= 0."""
    return torch.expm1(d) - d


def _matching(process: UniformProcess, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Clean and noisy tokens, once they are known to have one shape."""
    x, z = check_tokens("x", x, process.vocab_size), check_tokens("z", z, process.vocab_size)
    if x.shape != z.shape:
        raise ValueError(f"`z` must have the shape of x, {tuple(x.shape)}, got {tuple(z.shape)}")
    return x, z


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
    """Monte-Carlo terms of the evidence bound, nats for each sequence, float64 (B,).

    published : the variant published as "perplexity bound", the diffusion term averaged over times in (first, 1] and
        nothing else: not strictly a bound.
    """

    diffusion: Tensor
    reconstruction: Tensor
    prior: Tensor
    published: Tensor

    @property
    def total(self) -> Tensor:
        """The full bound on -log p(x)."""
        return self.diffusion + self.reconstruction + self.prior


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
        terms = [term(process, denoiser.predict(z[r], time[r]), x[r], z[r], time[r]) for r in rows]
        return torch.cat(terms).double().sum(1)

    with inference(denoiser):
        average = sum((at(t[:, k], nelbo) for k in range(times)), torch.zeros(len(x), device=x.device)) / times
        start = at(torch.full((len(x),), first, dtype=torch.float64), reconstruction)
    return Bound((1 - first) * average, start, torch.full_like(start, prior(process) * x.shape[1]), average)
