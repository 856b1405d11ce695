"""Hybrid noise: some fresh draws are tokens, the others the mask.

At noise n = n_t of a schedule, the clean token, tokens that are all alike, and the mask have the shares

    gidd    1 - n,                B (n (1 - n))^(gamma/2),   n          B = 2^gamma p/(1 - p)  (von Ruette et al. 2025)
    xdlm    1 - n,                p n,                       (1 - p) n                         (arXiv 2602.01362)
    hdlm    (1 - p)(1 - n),       p (1 - n),                 n                                 (arXiv 2504.06416)

over their sum. So p is the share of tokens among all ids at n = 1/2; among the fresh draws; and among the ids that are
no masks: under "hdlm" that noise is there from the first moment, and stays.

Between n and n + dn a symbol gives way to a mask at the rate M/(n (1 - n)) and to a token at h U/(n (1 - n)), where U
and M are the shares of the two and h = d log(U/alpha) / d log(n/(1 - n)). With these rates nu, u and v of
`uddm.process._ratios`, the diffusion term of `uddm.objective` is, in units of (dn/dt)/(n (1 - n)),

    KL at a mask,    h [ KL + rho - 1 - log rho ] / v_z at a token.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from uddm._validation import check_choice, check_number, check_time
from uddm.choices import HYBRIDS, HybridName
from uddm.prediction import Prediction
from uddm.process._ratios import Ratios, excess
from uddm.process.absorbing import MaskedProcess
from uddm.process.base import PerSequence, Process, _column
from uddm.process.schedule import Schedule, get_schedule


class HybridProcess(Process):
    """Each token is kept, or replaced by another or by the mask, in shares that change with time.

    Parameters
    ----------
    vocab_size : K >= 2, the number of ids that a denoiser gives probabilities of
    schedule : of n, as of the other processes: "linear", n_t = t, in the published ones
    law : "gidd", "xdlm" or "hdlm", as the module says
    p_unif : p of that law, in [0, 1): all masks at 0, as in `MaskedProcess`; under "xdlm" it may be 1, which is uniform
        noise
    gamma : of "gidd", in (0, 2]; 1, the default, as published
    mask : the id of the mask; by default K, beside the tokens. One of the K ids is one that x never holds, to which a
        denoiser gives probability 0, and which no fresh draw is

    Times `t` and `s` are floats or tensors of shape () or (B,), one for each sequence, in (0, 1]; `prediction` is what
    a denoiser's `predict` gives for noisy tokens `z`.

    Raises
    ------
    TypeError, ValueError : an argument of another kind or out of its range.

    Examples
    --------
    Half-way, of the tokens of a string one in ten is random, under "gidd", and of the others half are masks:

    >>> import torch
    >>> from uddm import HybridProcess
    >>> process = HybridProcess(27, p_unif=0.1)
    >>> round(process.alpha(0.5).item(), 6)
    0.45
    >>> z = process.corrupt(torch.zeros(2000, 100, dtype=torch.long), 0.5, generator=0)
    >>> abs((z == process.mask).double().mean().item() - 0.45) < 0.01
    True
    """

    mask: int

    def __init__(
        self,
        vocab_size: int,
        schedule: str | Schedule = "linear",
        *,
        law: HybridName = "gidd",
        p_unif: float = 0.1,
        gamma: float = 1.0,
        mask: int | None = None,
    ):
        check_choice("law", law, HYBRIDS)
        check_number("p_unif", p_unif, low=0, high=1, closed="[]" if law == "xdlm" else "[")
        check_number("gamma", gamma, low=0, high=2, closed="]")
        mixed = Gidd(p_unif, gamma) if law == "gidd" else {"xdlm": Xdlm, "hdlm": Hdlm}[law](p_unif)
        base = get_schedule(schedule, vocab_size)
        super().__init__(vocab_size, HybridSchedule(base, mixed), mask=vocab_size if mask is None else mask)
        self._law, self._base = mixed, base
        self._without_tokens = MaskedProcess(vocab_size, self._base, mask=mask) if p_unif == 0 else None

    def token_share(self, t: Float64[Tensor, " ..."], s: Float64[Tensor, " ..."]) -> Float64[Tensor, " ..."]:
        """Of U_t - r U_s and M_t - r M_s, r = alpha_t/alpha_s, that of the tokens."""
        n_t, n_s = self._base.one_minus_alpha(t), torch.where(s > 0, self._base.one_minus_alpha(s), 0.0)
        now, then = self._law.tokens(n_t), self._law.tokens(n_s)
        tokens = (now * (1 - n_s) - then * (1 - n_t)).clamp_min(0)
        masks = self._law.masked * (n_t - n_s)
        at_once = tokens + masks == 0  # no time passes, or nothing is left at s
        tokens, masks = torch.where(at_once, now, tokens), torch.where(at_once, self._law.masked * n_t, masks)
        return tokens / (tokens + masks).clamp_min(torch.finfo(torch.float64).tiny)

    def own_logit(self, t: float | Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """b(t) = log(1 + T alpha/U) for T tokens: what a token's own z adds to the logit of z; a mask adds nothing."""
        n = self._base.one_minus_alpha(check_time("t", t))
        return torch.full_like(n, math.inf) if self._without_tokens else torch.log1p(self._tokens * self._law.signal(n))

    def diffusion(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.nelbo`, (B, L)."""
        if self._without_tokens:
            return self._without_tokens.diffusion(prediction, x, z, t)
        at = self._at(prediction, x, z, t)
        divergence = at.each * at.ratios.divergence()
        seen = at.growth / at.ratios.visible * (divergence + excess(at.ratios.log_ratio))
        return at.speed * torch.where(z == self.mask, divergence, seen)

    def expected_diffusion(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.expected_nelbo`, (B, L)."""
        if self._without_tokens:
            return self._without_tokens.expected_diffusion(prediction, x, t)
        at = self._at(prediction, x, x, t, reverse=True)
        of_kl = at.masks + at.growth * self._tokens * at.each
        return at.speed * at.each * (of_kl * at.ratios.divergence() + at.growth * at.ratios.mean_excess())

    def jump(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.jump_nelbo`, (B, L): a bound under "xdlm", whose fresh draws have one law at all
        times; of the others a loss with the same optimum, as there noise does not become signal by jumps to x alone.
        """
        if self._without_tokens:
            return self._without_tokens.jump(prediction, x, z, t)
        ratios = self._at(prediction, x, z, t).ratios
        speed = _column(self.rate(t) / self.one_minus_alpha(t), x).to(ratios.c.dtype)
        return speed * torch.where(z == self.mask, -ratios.log_p_x, ratios.jump())

    def reconstruction(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.reconstruction`, (B, L)."""
        if self._without_tokens:
            return self._without_tokens.reconstruction(prediction, x, z, t)
        ratios = self._at(prediction, x, z, t).ratios
        return torch.where(z == self.mask, -ratios.log_p_x, ratios.reconstruction())

    def prior_divergence(self) -> float:
        """KL( q(z_1 | x) || fresh draws at time 1 ) in nats per token; 0 if alpha_1 = 0."""
        if self._without_tokens:
            return self._without_tokens.prior_divergence()
        noise, n = self.one_minus_alpha(1.0), self._base.one_minus_alpha(torch.tensor(1.0))
        own = 1 - noise + self._law.tokens(n) / self._law.total(n) / self._tokens
        return float(own * torch.log1p(self._tokens * self._law.signal(n)) + noise.log())

    def _at(self, prediction: Prediction, x: Tensor, z: Tensor, t: PerSequence, *, reverse: bool = False) -> _Terms:
        t = check_time("t", t)
        n = _column(self._base.one_minus_alpha(t), x).clamp_max(1 - 1e-14)  # where n -> 1 all terms have a limit
        law, token = self._law, z.clamp_max(self.vocab_size - 1)
        ratios = Ratios.of(prediction, x, token, self._tokens * law.signal(n), reverse=reverse)
        total = law.total(n)
        dtype = ratios.c.dtype
        return _Terms(
            speed=(_column(self._base.rate(t), x) / (n * (1 - n))).to(dtype),
            each=(law.tokens(n) / total / self._tokens).to(dtype),
            masks=(law.masked * n / total).to(dtype),
            growth=law.growth(n).to(dtype),
            ratios=ratios,
        )


class _Terms(NamedTuple):
    """Columns (B, 1), and what depends on the prediction."""

    speed: Tensor  # (dn/dt)/(n (1 - n))
    each: Tensor  # U for each of the tokens
    masks: Tensor  # M
    growth: Tensor  # h
    ratios: Ratios


@dataclass(frozen=True)
class Law(ABC):
    """Shares at noise n, up to their sum: `kept` (1 - n), `tokens`, `masked` n; functions of float64 tensors."""

    p_unif: float
    kept = 1.0
    masked = 1.0

    @abstractmethod
    def tokens(self, n: Tensor) -> Tensor:
        """Of all tokens that are fresh draws."""

    @abstractmethod
    def signal(self, n: Tensor) -> Tensor:
        """alpha/U, where there are such tokens, p > 0."""

    @abstractmethod
    def growth(self, n: Tensor) -> Tensor:
        """h."""

    def total(self, n: Tensor) -> Tensor:
        """The sum."""
        return self.kept * (1 - n) + self.tokens(n) + self.masked * n


@dataclass(frozen=True)
class Gidd(Law):
    """Fresh tokens come and go: most of them half-way."""

    gamma: float = 1.0

    @property
    def scale(self) -> float:
        """B."""
        return 2**self.gamma * self.p_unif / (1 - self.p_unif)

    def tokens(self, n: Tensor) -> Tensor:
        return self.scale * (n * (1 - n)) ** (self.gamma / 2)

    def signal(self, n: Tensor) -> Tensor:
        return (1 - n) ** (1 - self.gamma / 2) / (self.scale * n ** (self.gamma / 2))

    def growth(self, n: Tensor) -> Tensor:
        return self.gamma / 2 * (1 - n) + (1 - self.gamma / 2) * n


@dataclass(frozen=True)
class Xdlm(Law):
    """Fresh draws have one law at all times."""

    @property
    def masked(self) -> float:  # type: ignore[override]
        return 1 - self.p_unif

    def tokens(self, n: Tensor) -> Tensor:
        return self.p_unif * n

    def signal(self, n: Tensor) -> Tensor:
        return (1 - n) / (self.p_unif * n)

    def growth(self, n: Tensor) -> Tensor:
        return torch.ones_like(n)


@dataclass(frozen=True)
class Hdlm(Law):
    """A string with some random tokens, which are masked as the others are."""

    @property
    def kept(self) -> float:  # type: ignore[override]
        return 1 - self.p_unif

    def tokens(self, n: Tensor) -> Tensor:
        return torch.where(n > 0, self.p_unif * (1 - n), 0.0)

    def signal(self, n: Tensor) -> Tensor:
        return torch.where(n > 0, torch.full_like(n, (1 - self.p_unif) / self.p_unif), torch.inf)

    def growth(self, n: Tensor) -> Tensor:
        return torch.zeros_like(n)


@dataclass(frozen=True)
class HybridSchedule:
    """The schedule alpha_t of a law at the noise of another schedule."""

    base: Schedule
    law: Law

    def one_minus_alpha(self, t: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """1 - alpha_t, float64, same shape as `t`."""
        n = self.base.one_minus_alpha(t)
        return (self.law.tokens(n) + self.law.masked * n) / self.law.total(n)

    def rate(self, t: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """-d alpha_t / dt, float64, same shape as `t`: alpha times the two rates of the module."""
        n, law = self.base.one_minus_alpha(t), self.law
        arriving = law.growth(n) * law.tokens(n) + law.masked * n
        return law.kept * arriving / (n * law.total(n) ** 2) * self.base.rate(t)
