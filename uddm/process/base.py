"""What all noise has in common: a token is kept, or replaced by a fresh draw.

    q(z_t | x) = alpha_t 1[z_t = x] + (1 - alpha_t) pi_t(z_t)

Symbols: K clean tokens x; noisy tokens z_t, among which there may be a mask, which says nothing of x; and x_theta (here
`cavity`), the distribution over the clean token at one position given the noisy tokens at all *other* positions.

All tokens are alike: a fresh draw is a token with probability a_t, each as probable as any other, and else the mask. So
a kind of noise is what its schedule alpha_t and its a_t make of it: a_t = 1 is uniform noise, a_t = 0 absorbing noise,
and what lies between are mixtures of both. With r = alpha_t/alpha_s, from a time s to a later one t

    q(z_t | z_s) = r 1[z_t = z_s] + (1 - r) pi_{t|s}(z_t),
    (1 - r) pi_{t|s} = (1 - alpha_t) pi_t - r (1 - alpha_s) pi_s,

and everything else is Bayes' rule.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int64, Integer
from torch import Tensor

from uddm._validation import (
    check_ids,
    check_iterable,
    check_log_probs,
    check_positive_int,
    check_time,
    check_tokens,
    check_vocab_size,
)
from uddm.prediction import DensePrediction, Prediction
from uddm.process.schedule import Schedule, get_schedule
from uddm.streams import as_generator

Stream = torch.Generator | np.random.Generator
"""What random numbers come from: torch's on a device, or numpy's."""
PerSequence = float | Float[Tensor, ""] | Float[Tensor, "#B"]
"""One number for all sequences, or one for each."""


class Process(ABC):
    """Noise that a kind of its own defines by `token_share`, the a_t of the module, and its terms of the bound.

    Times are floats or tensors of shape () or (B,), one for each sequence, in (0, 1].

    Parameters
    ----------
    vocab_size : K >= 2, the number of ids that x may hold.
    schedule : "log-linear" (alpha_1 = 1e-3), "linear", "cosine", "gaussian" (the dual of a Gaussian process), or an
        object with `one_minus_alpha` and `rate`.
    mask : the id of z that is no token: K, or one of the K that x never holds; None if there is none.
    """

    def __init__(self, vocab_size: int, schedule: str | Schedule = "log-linear", *, mask: int | None = None):
        self.vocab_size = check_vocab_size(vocab_size)
        if mask is not None and check_positive_int("mask", mask, at_least=0) > vocab_size:
            raise ValueError(f"`mask` must be at most `vocab_size`, {vocab_size}, got {mask}")
        self.mask = mask
        self.state_size = self.vocab_size + (mask == vocab_size)
        """The number of ids that z may hold."""
        self.schedule = get_schedule(schedule, self.vocab_size)
        self._tokens = self.state_size - (mask is not None)

    def __repr__(self) -> str:
        mask = "" if self.mask is None else f", mask={self.mask}"
        return f"{type(self).__name__}(vocab_size={self.vocab_size}, schedule={self.schedule!r}{mask})"

    @abstractmethod
    def token_share(self, t: Float64[Tensor, " ..."], s: Float64[Tensor, " ..."]) -> Float64[Tensor, " ..."]:
        """The share of tokens, not masks, among the fresh draws between times s and t, 0 <= s <= t <= 1: float64.

        From s = 0, where the string is clean, it is the a_t of pi_t. Finite at all times.
        """

    @abstractmethod
    def diffusion(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.nelbo`, (B, L), for a prediction over K tokens and checked ones."""

    @abstractmethod
    def expected_diffusion(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.expected_nelbo`, (B, L)."""

    @abstractmethod
    def jump(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.jump_nelbo`, (B, L)."""

    @abstractmethod
    def reconstruction(
        self, prediction: Prediction, x: Int64[Tensor, "B L"], z: Int64[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L"]:
        """The term of `uddm.objective.reconstruction`, (B, L)."""

    @abstractmethod
    def prior_divergence(self) -> float:
        """KL( q(z_1 | x) || law of `prior` ) in nats per token; the same for every x."""

    def frozen(self, t: float, s: float) -> bool:
        """Whether the most probable z_s is z_t whatever x_theta, so that no denoiser need be asked; False in doubt."""
        return False

    def one_minus_alpha(self, t: float | Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """1 - alpha_t as float64; t in [0, 1]."""
        return self.schedule.one_minus_alpha(check_time("t", t, closed=True))

    def alpha(self, t: float | Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """alpha_t as float64; t in [0, 1]."""
        return 1 - self.one_minus_alpha(t)

    def rate(self, t: float | Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """-d alpha_t / dt as float64; t in (0, 1]."""
        return self.schedule.rate(check_time("t", t))

    def sigma(self, t: float | Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Noise level -log alpha_t that conditions the network; alpha_t is held above 1e-3 so that it is finite."""
        return -torch.log1p(-self.one_minus_alpha(check_time("t", t)).clamp(max=1 - 1e-3))

    def own_logit(self, t: float | Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """b(t) = log( q(z_t = x | x) / q(z_t = x | another x) ): what a token's own z adds to the logit of z, in nats.

        log(1 + K alpha_t/(1 - alpha_t)) for uniform noise, infinite for absorbing noise. A mask adds nothing.
        """
        noise, share = self._noise_and_share(t)
        finite = torch.log1p((self._tokens / share - 1) * (1 - noise)) - noise.log()  # K alpha/(1 - alpha) can overflow
        return torch.where(share > 0, finite, torch.inf)

    def log_likelihoods(
        self, t: float | Float[Tensor, "*shape"]
    ) -> tuple[Float64[Tensor, "*shape"], Float64[Tensor, "*shape"], Float64[Tensor, "*shape"]]:
        """log q(z_t | x) of the token z_t = x, of any other token, and of the mask."""
        noise, share = self._noise_and_share(t)
        right = torch.log1p(-noise * (1 - share / self._tokens))
        wrong = noise.log() - math.log(self._tokens) + share.log()
        return right, wrong, noise.log() + torch.log1p(-share)

    def corrupt(
        self, x: Integer[Tensor, "B L"], t: PerSequence, *, generator: int | Stream | None = None
    ) -> Int64[Tensor, "B L"]:
        """Sample z_t ~ q(z_t | x). `x`: (B, L) ids; returns (B, L) ids on the same device."""
        x = check_tokens("x", x, self.vocab_size)
        return self.transition(t).sample(x, generator=generator)

    def prior(
        self, shape: tuple[int, ...] | torch.Size, *, generator: int | Stream | None = None
    ) -> Int64[Tensor, " ..."]:
        """Fresh draws of that shape: z_1."""
        sizes = tuple(check_positive_int("shape", size, at_least=0) for size in check_iterable("shape", shape))
        return self._drawn(sizes, 1.0, 0.0, _stream(generator))

    def transition(self, t: PerSequence, s: PerSequence = 0.0) -> Transition:
        """The law q(z_t | z_s), 0 <= s <= t <= 1; s = 0 is the clean string, also where the schedule's alpha_0 < 1."""
        t, s = check_time("t", t), check_time("s", s, closed=True)
        noise_s = torch.where(s > 0, self.one_minus_alpha(s), 0.0) if bool(s.any()) else torch.zeros_like(s)
        return Transition(self, t, s, _removed(self.one_minus_alpha(t), noise_s, t, s))

    def mixture(
        self, cavity_at_z: Float[Tensor, "B L"], z: Integer[Tensor, "B L"], t: PerSequence, s: PerSequence
    ) -> tuple[Float64[Tensor, "B L"], Float64[Tensor, "B L"], Float64[Tensor, "B L"]]:
        """The reverse posterior q(z_s | z_t, x_theta) as a three-way mixture: stay at z_t, draw from x_theta, draw from
        pi_s (`fresh`).

        With r = alpha_t/alpha_s and D = alpha_t x_theta[z] + (1 - alpha_t) pi_t(z), the weights are

            (alpha_t x_theta[z] + r (1 - alpha_s) pi_s(z))/D,  (alpha_s - alpha_t) pi_{t|s}(z)/D,
            (1 - r)(1 - alpha_s) pi_{t|s}(z)/D;

        they sum to one. An impossible z, D = 0, stays.

        Parameters
        ----------
        cavity_at_z : x_theta[z], probabilities (B, L), 0 for a mask.
        z : z_t, (B, L) ids.
        t, s : times, 0 <= s <= t <= 1.

        Returns
        -------
        Three (B, L) float64 tensors.
        """
        noise_t = _column(self.one_minus_alpha(check_time("t", t)), cavity_at_z)
        noise_s = _column(self.one_minus_alpha(check_time("s", s, closed=True)), cavity_at_z, "s")
        removed = _removed(noise_t, noise_s, t, s)
        own = self._tokens * (1 - noise_t) * cavity_at_z.double()  # this and all below is in units of 1/K
        stay = own + noise_s * self._share(z, s, 0.0) * (1 - removed)
        between = self._share(z, t, s)
        denominator = own + noise_t * self._share(z, t, 0.0)
        impossible = denominator == 0
        denominator = denominator + impossible
        return (
            (stay + impossible) / denominator,
            (noise_t - noise_s) * between / denominator,
            removed * noise_s * between / denominator,
        )

    def fresh(self, draw: Float[Tensor, "B L"], t: PerSequence, s: PerSequence = 0.0) -> Int64[Tensor, "B L"]:
        """Fresh draws from pi_{t|s}, made of uniform numbers `draw` (B, L) in [0, 1); times () or (B,)."""
        if self.mask is None:
            return (draw * self._tokens).long()
        share = self.token_share(*_times(t, s, draw))
        token = (draw / share * self._tokens).clamp_max(self._tokens - 1).long()
        return torch.where(draw < share, token + (token >= self.mask), self.mask)

    def fresh_mass(
        self,
        weight: Float[Tensor, " ..."],
        z: Integer[Tensor, " ..."],
        t: float | Float[Tensor, " ..."],
        s: float | Float[Tensor, " ..."] = 0.0,
    ) -> Float[Tensor, " ..."]:
        """weight pi_{t|s}(z), what of the weight of fresh draws falls on ids z; (B, L), or that by broadcasting."""
        alike = self._tokens if self.mask is None else torch.where(z == self.mask, 1, self._tokens)
        return weight * self._share(z, t, s) / alike

    def cavity_at(self, prediction: Prediction, z: Integer[Tensor, "B L"]) -> Float64[Tensor, "B L"]:
        """x_theta[z], 0 for a mask: probabilities (B, L) in float64."""
        if self.mask is None:
            return prediction.log_prob(z).double().exp()
        at = prediction.log_prob(z.clamp_max(self.vocab_size - 1)).double().exp()
        return at.masked_fill(z == self.mask, 0.0)

    def is_token(self, z: Integer[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """Whether ids are tokens, not the mask, of the shape of z."""
        return torch.ones_like(z, dtype=torch.bool) if self.mask is None else z != self.mask

    def added_at(
        self, values: Float[Tensor, "B L K"], z: Integer[Tensor, "B L"], own: Float[Tensor, "B L"]
    ) -> Float[Tensor, "B L K"]:
        """values (B, L, K) of the tokens that x may be, with `own` (B, L) added at z, where that is one of them."""
        if self.mask is not None:
            own, z = own.masked_fill(z == self.mask, 0.0), z.clamp_max(self.vocab_size - 1)
        return values.scatter_add(-1, z[..., None], own[..., None])

    def posterior(
        self, cavity_log_probs: Float[Tensor, "B L K"], z: Integer[Tensor, "B L"], t: PerSequence, s: PerSequence
    ) -> Float64[Tensor, "B L {self.state_size}"]:
        """q(z_s | z_t, x_theta): probabilities (B, L, state_size) in float64, rows summing to one.

        Parameters
        ----------
        cavity_log_probs : log x_theta, (B, L, K), normalised over K.
        z : z_t, (B, L) ids.
        t, s : times, 0 <= s <= t <= 1.
        """
        z = check_tokens("z", z, self.state_size)
        cavity = DensePrediction(check_log_probs("cavity_log_probs", cavity_log_probs, z, self.vocab_size))
        stay, denoise, fresh = self.mixture(self.cavity_at(cavity, z), z, t, s)
        states, then = torch.arange(self.state_size, device=z.device), _column(check_time("s", s, closed=True), z)
        probabilities = F.pad(cavity.log_probs().double().exp(), (0, self.state_size - self.vocab_size))
        result = denoise[..., None] * probabilities + self.fresh_mass(fresh[..., None], states, then[..., None])
        return result.scatter_add(-1, z[..., None], stay[..., None])

    def clean_posterior(
        self, cavity_log_probs: Float[Tensor, "B L K"], z: Integer[Tensor, "B L"], t: PerSequence
    ) -> Float[Tensor, "B L K"]:
        """log p(x_l | z_t) = log_softmax(log x_theta + b(t) onehot(z_l)), (B, L, K): the cavity with what the token's
        own z says restored.

        Parameters
        ----------
        cavity_log_probs : log x_theta, (B, L, K), normalised over K.
        z : z_t, (B, L) ids; a mask says nothing.
        t : times in (0, 1].
        """
        z = check_tokens("z", z, self.state_size)
        check_log_probs("cavity_log_probs", cavity_log_probs, z, self.vocab_size)
        own = _column(self.own_logit(t), z).to(cavity_log_probs.dtype).expand(z.shape)
        own = own.clamp_max(torch.finfo(own.dtype).max / 2)  # infinity less infinity is no number
        return self.added_at(cavity_log_probs, z, own).log_softmax(-1)

    def _noise_and_share(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """1 - alpha_t and a_t."""
        t = check_time("t", t)
        return self.one_minus_alpha(t), self.token_share(t, torch.zeros_like(t))

    def _share(self, z: Tensor, t: float | Tensor, s: float | Tensor) -> float | Tensor:
        """The share of ids of the kind of z, token or mask, among the fresh draws between s and t."""
        if self.mask is None:
            return 1.0
        tokens = self.token_share(*_times(t, s, z))
        return torch.where(z == self.mask, 1 - tokens, tokens)

    def _drawn(self, shape: tuple[int, ...], t: float | Tensor, s: float | Tensor, generator: Stream) -> Tensor:
        """Fresh draws from pi_{t|s}, (B, L)."""
        return self.fresh(_uniform(shape, generator), t, s)


@dataclass(frozen=True)
class Transition:
    """The law q(z_t | z_s) of `Process.transition`.

    Parameters
    ----------
    process : the noise.
    t, s : times () or (B,), s <= t.
    removed : 1 - alpha_t/alpha_s, the probability that a token is replaced between them, () or (B,).
    """

    process: Process
    t: Float64[Tensor, " ..."]
    s: Float64[Tensor, " ..."]
    removed: Float64[Tensor, " ..."]

    def prob(self, noisy: Integer[Tensor, " ..."], clean: Integer[Tensor, " ..."]) -> Float64[Tensor, " ..."]:
        """q(z_t = noisy | z_s = clean) of ids that meet by broadcasting, float64."""
        noisy, clean = check_ids("noisy", noisy), check_ids("clean", clean)
        try:
            torch.broadcast_shapes(noisy.shape, clean.shape)
        except RuntimeError as error:
            raise ValueError(f"`noisy` and `clean` must have shapes that broadcast: {error}") from error
        removed = _column(self.removed, noisy)
        return self.process.fresh_mass(removed, noisy, self.t, self.s) + (1 - removed) * (noisy == clean)

    def sample(self, z: Integer[Tensor, "B L"], *, generator: int | Stream | None = None) -> Int64[Tensor, "B L"]:
        """z_t for z_s, (B, L) ids on the same device."""
        z = check_tokens("z", z, self.process.state_size)
        stream = _stream(generator, z.device)
        replaced = _uniform(z.shape, stream).to(z.device) < _column(self.removed, z)
        return torch.where(replaced, self.process._drawn(z.shape, self.t, self.s, stream).to(z.device), z)


def _stream(generator: int | Stream | None, device: str | torch.device = "cpu") -> Stream:
    return generator if isinstance(generator, np.random.Generator) else as_generator(generator, device)


def _uniform(shape: tuple[int, ...], generator: Stream) -> Tensor:
    """Uniform numbers in [0, 1), float64."""
    if isinstance(generator, np.random.Generator):
        return torch.as_tensor(generator.random(shape))
    return torch.rand(shape, dtype=torch.float64, device=generator.device, generator=generator)


def _times(t: float | Tensor, s: float | Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Times that meet `like`, (B, L), by broadcasting, on its device."""
    t, s = (torch.as_tensor(time, dtype=torch.float64, device=like.device) for time in (t, s))
    return t[:, None] if t.ndim == 1 else t, s[:, None] if s.ndim == 1 else s


def _removed(noise_t: Tensor, noise_s: Tensor, t: float | Tensor, s: float | Tensor) -> Tensor:
    """1 - alpha_t/alpha_s from 1 - alpha at both times; ValueError where s comes later."""
    if bool((noise_s > noise_t).any()):
        raise ValueError(f"`s` must not exceed `t`, got s = {s} and t = {t}")
    return (noise_t - noise_s) / (1 - noise_s).clamp_min(torch.finfo(torch.float64).tiny)


def _column(value: Tensor, like: Tensor, name: str = "t") -> Tensor:
    """A scalar or (B,) value as (B or 1, 1), on the device of `like`, to meet (B, L); errors speak of `name`."""
    value = value.to(like.device)
    if value.ndim > 1 or (value.ndim == 1 and value.shape[0] not in (1, like.shape[0])):
        raise ValueError(f"`{name}` must be a scalar or have shape ({like.shape[0]},), got {tuple(value.shape)}")
    return value.reshape(-1, 1)
