"""The negative evidence lower bound (arXiv 2604.26841, eq. 3) in continuous time, in nats per token.

    -log p(x) <= E_t[ nelbo ] + reconstruction + prior

With q_t(. | p) = alpha_t p + (1 - alpha_t) pi_t and rho = q_t(z | x) / q_t(z | x_theta), the diffusion term is

    l = nu_t(z) / q_t(z | x) [ KL( q_t(. | x) || q_t(. | x_theta) ) + rho - 1 - log rho ] >= 0,

the limit T -> infinity of T KL( q(z_s | z_t, x) || q(z_s | z_t, x_theta) ) with s = t - 1/T. Here nu_t(z) is the rate
at which z takes the place of another symbol, the limit of T q(z_t = z | z_s): for uniform noise, eq. 3, it is
-alpha'_t/(K alpha_t). The process has these terms, in a form without cancellation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Integer
from torch import Tensor

from uddm._validation import (
    check_kind,
    check_log_probs,
    check_mask,
    check_number,
    check_positive_int,
    check_time,
    check_tokens,
)
from uddm.choices import Loss
from uddm.denoisers.base import Denoiser, batches, inference
from uddm.prediction import DensePrediction, Prediction, SummedPrediction
from uddm.process import Process
from uddm.process.base import PerSequence
from uddm.streams import as_generator


def nelbo(
    process: Process,
    cavity_log_probs: Float[Tensor, "B L K"] | Prediction,
    x: Integer[Tensor, "B L"],
    z: Integer[Tensor, "B L"],
    t: PerSequence,
) -> Float[Tensor, "B L"]:
    """Diffusion term of the NELBO at time t, nats per token and unit time, (B, L).

    In the precision of `cavity_log_probs`, but at least float32.

    Parameters
    ----------
    process : the noise
    cavity_log_probs : log x_theta, (B, L, K), or what a denoiser's `predict` gives, of which no tensor of that size is
        made, forward or backward
    x, z : clean and noisy tokens, (B, L) ids
    t : times, () or (B,) in (0, 1]

    Raises
    ------
    TypeError, ValueError : tokens, times or probabilities of another kind, shape or range.

    See Also
    --------
    evidence_bound : all terms of the bound, over all times.
    expected_nelbo : its mean over the token's own z.

    Examples
    --------
    Nothing is lost where x_theta is certain of the truth, and something where it knows nothing:

    >>> import torch
    >>> from uddm import UniformProcess, nelbo
    >>> x = torch.tensor([[0, 1]])
    >>> certain, ignorant = torch.eye(2)[x].clamp_min(1e-30).log(), torch.full((1, 2, 2), 0.5).log()
    >>> [bool(nelbo(UniformProcess(2), log_p, x, x, 0.5).max() > 1e-6) for log_p in (certain, ignorant)]
    [False, True]
    """
    x, z = _matching(process, x, z)
    return process.diffusion(_prediction(process, cavity_log_probs, x), x, z, t)


def expected_nelbo(
    process: Process, cavity_log_probs: Float[Tensor, "B L K"] | Prediction, x: Integer[Tensor, "B L"], t: PerSequence
) -> Float[Tensor, "B L"]:
    """E of `nelbo` over the token's own z ~ q_t(. | x), given all other noisy tokens, (B, L).

    Exact for a denoiser whose x_theta at a position does not depend on that position's z (`Denoiser.hollow`), and then
    an estimator of the same objective in which every token counts at every t, not the few that were replaced. The
    arguments `process`, `cavity_log_probs`, `x` and `t` are those of `nelbo`.
    """
    check_kind("process", process, Process)
    x = check_tokens("x", x, process.vocab_size)
    return process.expected_diffusion(_prediction(process, cavity_log_probs, x), x, t)


def reconstruction(
    process: Process,
    cavity_log_probs: Float[Tensor, "B L K"] | Prediction,
    x: Integer[Tensor, "B L"],
    z: Integer[Tensor, "B L"],
    t: PerSequence,
) -> Float[Tensor, "B L"]:
    """-log p_theta(x | z_t) in nats per token, (B, L).

    At the first time t that the diffusion term leaves out it completes the bound. At all times it is the cross-entropy
    of denoising, which trains the posterior, and the cavity hardly at all as t -> 0. The arguments `process`,
    `cavity_log_probs`, `x`, `z` and `t` are those of `nelbo`.
    """
    x, z = _matching(process, x, z)
    return process.reconstruction(_prediction(process, cavity_log_probs, x), x, z, t)


def jump_nelbo(
    process: Process,
    cavity_log_probs: Float[Tensor, "B L K"] | Prediction,
    x: Integer[Tensor, "B L"],
    z: Integer[Tensor, "B L"],
    t: PerSequence,
) -> Float[Tensor, "B L"]:
    """Diffusion term of another bound, that of the reverse process that jumps from z to x alone, (B, L).

        l = (-alpha'/(1 - alpha)) ( 1[z = x] - p(z | z_t) - 1[z != x] log p(x | z_t) ) >= 0

    with p the posterior, its optimum (Gat et al. 2024; generalized KL divergence of `flow_matching`). It needs no sum
    over the vocabulary. Nats per token and unit time; the arguments `process`, `cavity_log_probs`, `x`, `z` and `t` are
    those of `nelbo`.
    """
    x, z = _matching(process, x, z)
    return process.jump(_prediction(process, cavity_log_probs, x), x, z, t)


LOSSES: dict[Loss, Callable[..., Tensor]] = {"nelbo": nelbo, "jump": jump_nelbo, "cross-entropy": reconstruction}


def _matching(process: Process, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Clean and noisy tokens, once they are known to have one shape."""
    check_kind("process", process, Process)
    x, z = check_tokens("x", x, process.vocab_size), check_tokens("z", z, process.state_size)
    if x.shape != z.shape:
        raise ValueError(f"`z` must have the shape of x, {tuple(x.shape)}, got {tuple(z.shape)}")
    return x, z


def _prediction(process: Process, cavity: Tensor | Prediction, x: Tensor) -> Prediction:
    if isinstance(cavity, SummedPrediction):
        if cavity.vocab_size != process.vocab_size:
            raise ValueError(f"`cavity_log_probs` must be over {process.vocab_size} tokens, got {cavity.vocab_size}")
        return cavity
    log_p = cavity.log_probs() if isinstance(cavity, Prediction) else cavity
    return DensePrediction(check_log_probs("cavity_log_probs", log_p, x, process.vocab_size))


def prior(process: Process) -> float:
    """KL( q(z_1 | x) || law that the reverse process starts from ) in nats per token; the same for every x."""
    check_kind("process", process, Process)
    return process.prior_divergence()


def stratified_times(
    n: int, *, low: float = 1e-3, log_fraction: float = 0.0, generator: int | torch.Generator | None = None
) -> Float64[Tensor, " {n}"]:
    """n times in (low, 1], in random order; float64 (n,).

    One uniform in each of equal strata; of a share `log_fraction` of the times, rounded down, it is log t that is
    stratified, which visits small t more often. `time_weights` undoes that in an average over times. `generator` is a
    seed or a torch.Generator.

    Raises
    ------
    ValueError : `low` or `log_fraction` outside their ranges, n below 1.
    """
    if check_positive_int("n", n) >= 2**63:
        raise ValueError(f"`n` must be below 2**63, got {n}")
    low = check_number("low", low, low=0, high=1)
    check_number("log_fraction", log_fraction, low=0, high=1, closed="[]")
    generator = as_generator(generator)
    logarithmic = int(n * log_fraction)
    u = torch.rand(n, dtype=torch.float64, device=generator.device, generator=generator)
    u[:logarithmic] = (u[:logarithmic] + torch.arange(logarithmic, device=u.device)) / max(logarithmic, 1)
    u[logarithmic:] = (u[logarithmic:] + torch.arange(n - logarithmic, device=u.device)) / max(n - logarithmic, 1)
    t = 1 - (1 - low) * u
    t[:logarithmic] = low ** u[:logarithmic]
    return t[torch.randperm(n, device=generator.device, generator=generator)]


def time_weights(t: Float[Tensor, " n"], *, low: float = 1e-3, log_fraction: float = 0.0) -> Float[Tensor, " n"]:
    """Density of the uniform distribution on (low, 1] over that of n = len(t) times from `stratified_times` with the
    same `low` and `log_fraction`, (n,): the balance heuristic of multiple importance sampling (Veach and Guibas 1995).
    """
    low = check_number("low", low, low=0, high=1)
    check_number("log_fraction", log_fraction, low=0, high=1, closed="[]")
    t = check_time("t", t)
    if t.ndim != 1 or not len(t):
        raise ValueError(f"`t` must have shape (n,) with n >= 1, got {tuple(t.shape)}")
    share = int(len(t) * log_fraction) / len(t)
    uniform = 1 / (1 - low)
    return uniform / (share / (t * -math.log(low)) + (1 - share) * uniform)


class Bound(NamedTuple):
    """Monte-Carlo terms of the evidence bound, float64: nats for each sequence, (B,), or each token, (B, L).

    Attributes
    ----------
    diffusion : the average over times in (first, 1]
    reconstruction : -log p_theta(x | z) at the first time
    prior : divergence of z_1 from what the reverse process starts from
    published : the variant published as "perplexity bound", the diffusion term averaged over times in (first, 1] and
        nothing else: not strictly a bound

    Examples
    --------
    >>> import torch
    >>> from uddm.objective import Bound
    >>> Bound(*torch.tensor([[2.0], [0.5], [0.25], [2.1]]).double()).total.item()
    2.75
    """

    diffusion: Float64[Tensor, "*shape"]
    reconstruction: Float64[Tensor, "*shape"]
    prior: Float64[Tensor, "*shape"]
    published: Float64[Tensor, "*shape"]

    @property
    def total(self) -> Float64[Tensor, "*shape"]:
        """The full bound on -log p(x)."""
        return self.diffusion + self.reconstruction + self.prior


def evidence_bound(
    process: Process,
    denoiser: Denoiser,
    x: Integer[Tensor, "B L"],
    *,
    times: int = 64,
    first: float = 1e-3,
    generator: int | torch.Generator | None = None,
) -> Bound:
    """An unbiased estimate of the bound on -log p(x) for each sequence.

    Parameters
    ----------
    process : the noise
    denoiser : what predicts
    x : clean tokens, (B, L) ids
    times : stratified diffusion times drawn for each sequence
    first : the time below which the reconstruction term takes over, in (0, 1)
    generator : seed or torch.Generator

    Raises
    ------
    TypeError, ValueError : an argument of another kind or out of its range.

    Examples
    --------
    For two equally probable strings the bound of their exact denoiser is log 2:

    >>> import torch
    >>> from uddm import EmpiricalBayes, UniformProcess, evidence_bound
    >>> x, process = torch.tensor([[0, 1, 1], [1, 0, 1]]), UniformProcess(2)
    >>> bound = evidence_bound(process, EmpiricalBayes(x, process), x.repeat(200, 1), times=8, generator=0)
    >>> abs(bound.total.mean().item() - 0.693) < 0.1
    True
    """
    terms = token_bound(process, denoiser, x, times=times, first=first, generator=generator)
    return Bound(*(term.sum(1) for term in terms))


def token_bound(
    process: Process,
    denoiser: Denoiser,
    x: Integer[Tensor, "B L"],
    *,
    given: Bool[Tensor, "B L"] | None = None,
    times: int = 64,
    first: float = 1e-3,
    generator: int | torch.Generator | None = None,
) -> Bound:
    """The terms of `evidence_bound` token by token, (B, L), whose sum over a sequence bounds its -log p(x).

    Parameters
    ----------
    process, denoiser, x, times, first, generator : as for `evidence_bound`
    given : tokens that stay clean at all times, (B, L), whose terms are 0: the sum then bounds -log p of the others
        given these, for the reverse process that never changes them; None, the default, for none

    Raises
    ------
    TypeError, ValueError : an argument of another kind or out of its range.

    Examples
    --------
    Of two strings the first token, known, tells the second:

    >>> import torch
    >>> from uddm import EmpiricalBayes, UniformProcess
    >>> from uddm.objective import token_bound
    >>> x, process = torch.tensor([[0, 1], [1, 0]]), UniformProcess(2)
    >>> bayes, given = EmpiricalBayes(x, process), torch.tensor([[True, False], [True, False]])
    >>> free, told = (token_bound(process, bayes, x, given=g, times=40, generator=0).total for g in (None, given))
    >>> told[:, 0].tolist(), bool((told.sum(1) < free.sum(1)).all())
    ([0.0, 0.0], True)
    """
    check_kind("process", process, Process)
    check_kind("denoiser", denoiser, Denoiser)
    length = None if denoiser.any_length else denoiser.length
    x = check_tokens("x", x, process.vocab_size, length=length)
    check_positive_int("times", times)
    first = check_number("first", first, low=0, high=1)
    given = torch.zeros_like(x, dtype=torch.bool) if given is None else check_mask("given", given, x)
    generator = as_generator(generator, x.device)
    t = torch.stack([stratified_times(times, low=first, generator=generator) for _ in range(len(x))])

    def at(time: Tensor, term: Callable[..., Tensor]) -> Tensor:
        z = torch.where(given, x, process.corrupt(x, time, generator=generator))
        rows = batches(x, process.vocab_size)
        terms = [term(process, denoiser.predict(z[r], time[r]), x[r], z[r], time[r]) for r in rows]
        return torch.cat(terms).double().masked_fill(given, 0.0)

    with inference(denoiser):
        average = sum((at(t[:, k], nelbo) for k in range(times)), torch.zeros_like(x, dtype=torch.float64)) / times
        start = at(torch.full((len(x),), first, dtype=torch.float64), reconstruction)
    whole = torch.full_like(start, prior(process)).masked_fill(given, 0.0)
    return Bound((1 - first) * average, start, whole, average)
