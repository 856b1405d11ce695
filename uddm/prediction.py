"""x_theta of a batch, not stored: what the reverse process, the objective and the measurements ask of it.

A denoiser's `predict(z, t)` gives a `Prediction`: as log-probabilities (`DensePrediction`), or as hidden states and a
read-out (`HeadPrediction`), from which each method makes the logits of a chunk of tokens at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor

from uddm._validation import check_distributions
from uddm.head import VocabularySums, chunk_size, logits_in_chunks, vocabulary_sums


class Prediction(ABC):
    """Distributions over the K clean tokens at each of (B, L) positions."""

    @abstractmethod
    def log_probs(self, where: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B L K"] | Float[Tensor, "n K"]:
        """Log-probabilities (B, L, K), or (n, K) of the n positions where a (B, L) mask holds."""

    @abstractmethod
    def log_prob(self, tokens: Integer[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """Log-probabilities of given tokens (B, L): (B, L)."""

    @abstractmethod
    def best(self) -> tuple[Float[Tensor, "B L"], Int64[Tensor, "B L"]]:
        """The highest log-probabilities and their tokens, each (B, L); ValueError where they are not finite."""

    @abstractmethod
    def entropy(self) -> Float[Tensor, "B L"]:
        """Nats, (B, L)."""

    @abstractmethod
    def entropy_and_variance(self) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        """The entropy, nats, and the variance of log p(x_l) for x_l drawn from p, nats^2, each (B, L)."""

    def certainty(self) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        """The entropy, nats, the highest probability, and sum_k p_k (1 - p_k), each (B, L)."""
        p = self.log_probs().double().exp()
        return torch.special.entr(p).sum(-1), p.amax(-1), (p * (1 - p)).sum(-1)


class SummedPrediction(Prediction):
    """One that gives the objective its sums over the vocabulary, with no tensor (B, L, K)."""

    vocab_size: int

    @abstractmethod
    def sums(
        self, z: Integer[Tensor, "B L"], x: Integer[Tensor, "B L"], c: Float[Tensor, "B 1"], *, reverse: bool = False
    ) -> VocabularySums:
        """The sums of `uddm.head` for noisy and clean tokens z and x (B, L), each (B, L); c = K alpha/(1 - alpha) is
        (B, 1). `log_Z`, `at_z` and `at_x` matter only by their differences."""


class DensePrediction(Prediction):
    """Log-probabilities (B, L, K) in memory."""

    def __init__(self, values: Float[Tensor, "B L K"]):
        self.values = values

    def log_probs(self, where: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B L K"] | Float[Tensor, "n K"]:
        return self.values if where is None else self.values[where]

    def log_prob(self, tokens: Integer[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        return self.values.gather(-1, tokens[..., None]).squeeze(-1)

    def best(self) -> tuple[Float[Tensor, "B L"], Int64[Tensor, "B L"]]:
        highest, tokens = self.values.max(-1)
        check_distributions("prediction", highest)
        return highest, tokens

    def entropy(self) -> Float[Tensor, "B L"]:
        return torch.special.entr(self.values.double().exp()).sum(-1)

    def entropy_and_variance(self) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        entropy = self.entropy()
        return entropy, log_prob_variance(self.values.double(), entropy)


class HeadPrediction(SummedPrediction):
    """softmax(W h + b), less `own_logit` at the noisy token z: h (B, L, d), W (K, d), b (K,), the rest (B, L)."""

    def __init__(
        self,
        h: Float[Tensor, "B L d"],
        weight: Float[Tensor, "K d"],
        bias: Float[Tensor, " K"],
        z: Integer[Tensor, "B L"],
        own_logit: Float[Tensor, "B L"] | None = None,
    ):
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self.h, self.weight, self.bias, self.z = h.to(dtype), weight.to(dtype), bias.to(dtype), z
        self.own_logit = None if own_logit is None else own_logit.to(dtype)
        self.vocab_size = len(bias)

    def log_probs(self, where: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B L K"] | Float[Tensor, "n K"]:
        chosen = ... if where is None else where
        logits = F.linear(self.h[chosen], self.weight, self.bias)
        if self.own_logit is not None:
            logits = logits.scatter_add(-1, self.z[chosen][..., None], -self.own_logit[chosen][..., None])
        return logits.log_softmax(-1)

    def log_prob(self, tokens: Integer[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        logits = torch.linalg.vecdot(self.h, self.weight[tokens]) + self.bias[tokens]
        if self.own_logit is not None:
            logits = logits - self.own_logit * (tokens == self.z)
        return logits - self._log_Z

    def best(self) -> tuple[Float[Tensor, "B L"], Int64[Tensor, "B L"]]:
        self._log_Z, highest, best = self._chunked(lambda logits: (logits.logsumexp(1), *logits.max(1)))
        highest = highest - self._log_Z
        check_distributions("prediction", highest)
        return highest, best

    def entropy(self) -> Float[Tensor, "B L"]:
        return self._chunked(_log_Z_and_entropy)[1]

    def entropy_and_variance(self) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        """The two, and log Z on the way: `log_prob` has no sum left to do."""

        def reduction(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            highest, shifted, p, total = _exponentials(logits)
            mean = (shifted * p).sum(1) / total
            variance = ((shifted - mean[:, None]) ** 2 * p).sum(1) / total
            return highest + total.log(), total.log() - mean, variance

        self._log_Z, entropy, variance = self._chunked(reduction)
        return entropy, variance

    def certainty(self) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        def reduction(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            p = logits.softmax(1)
            return _log_Z_and_entropy(logits)[1], p.amax(1), (p * (1 - p)).sum(1)

        entropy, highest, gini = self._chunked(reduction)
        return entropy, highest, gini

    def sums(
        self, z: Integer[Tensor, "B L"], x: Integer[Tensor, "B L"], c: Float[Tensor, "B 1"], *, reverse: bool = False
    ) -> VocabularySums:
        """As promised, and differentiable.

        Raises ValueError for tokens of another shape or, if an own logit was subtracted, other noisy tokens.
        """
        for name, tokens in (("z", z), ("x", x)):
            if tokens.shape != self.z.shape:
                raise ValueError(f"`{name}` must have shape {tuple(self.z.shape)}, got {tuple(tokens.shape)}")
        if self.own_logit is not None and not torch.equal(z, self.z):
            raise ValueError("`z` must be the noisy tokens of the prediction, as what they say is taken from it")
        flat = (value.flatten() for value in (z, x, c.expand(z.shape)))
        own_logit = None if self.own_logit is None else self.own_logit.flatten()
        h = self.h.flatten(0, 1)
        sums = vocabulary_sums(h, self.weight, self.bias, *flat, own_logit=own_logit, reverse=reverse)
        return VocabularySums(*(value.view_as(self.z) for value in sums))

    @cached_property
    def _log_Z(self) -> Tensor:
        return self._chunked(lambda logits: (logits.logsumexp(1),))[0]

    def _chunked(self, reduction: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
        """Reductions (n, K) -> (n,) of the logits of all positions, each (B, L)."""
        own_logit = None if self.own_logit is None else self.own_logit.flatten()
        chunks = logits_in_chunks(
            self.h.flatten(0, 1), self.weight, self.bias, self.z.flatten(), own_logit, chunk_size(len(self.bias))
        )
        parts = [reduction(logits) for _, logits in chunks]
        return [torch.cat(part).view_as(self.z) for part in zip(*parts)]


def log_prob_variance(log_p: Float[Tensor, "*shape K"], entropy: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """sum_k p_k (log p_k + H)^2, the variance of log p under p; nothing of tokens with p = 0."""
    return torch.where(log_p > -torch.inf, log_p.exp() * (log_p + entropy[..., None]) ** 2, 0.0).sum(-1)


def _exponentials(logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The highest logit g of each token, (n,); g_k - g, in place of the logits; its exponentials; their sum, (n,)."""
    highest = logits.amax(1)
    p = logits.sub_(highest[:, None]).exp()
    return highest, logits, p, p.sum(1)


def _log_Z_and_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    highest, shifted, p, total = _exponentials(logits)
    return highest + total.log(), total.log() - (shifted * p).sum(1) / total
