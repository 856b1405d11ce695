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
from torch import Tensor

from uddm._validation import check_distributions
from uddm.head import VocabularySums, chunk_size, logits_in_chunks, vocabulary_sums


class Prediction(ABC):
    """Distributions over the K clean tokens at each of (B, L) positions."""

    @abstractmethod
    def log_probs(self, where: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, L, K), or (n, K) of the n positions where a (B, L) mask holds."""

    @abstractmethod
    def log_prob(self, tokens: Tensor) -> Tensor:
        """Log-probabilities of given tokens (B, L): (B, L)."""

    @abstractmethod
    def best(self) -> tuple[Tensor, Tensor]:
        """The highest log-probabilities and their tokens, each (B, L); ValueError where they are not finite."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """Nats, (B, L)."""


class SummedPrediction(Prediction):
    """One that gives the objective its sums over the vocabulary, with no tensor (B, L, K)."""

    vocab_size: int

    @abstractmethod
    def sums(self, z: Tensor, x: Tensor, c: Tensor, *, reverse: bool = False) -> VocabularySums:
        """The sums of `uddm.head` for noisy and clean tokens z and x (B, L), each (B, L); c = K alpha/(1 - alpha) is
        (B, 1). `log_Z`, `at_z` and `at_x` matter only by their differences."""


class DensePrediction(Prediction):
    """Log-probabilities (B, L, K) in memory."""

    def __init__(self, values: Tensor):
        self.values = values

    def log_probs(self, where: Tensor | None = None) -> Tensor:
        return self.values if where is None else self.values[where]

    def log_prob(self, tokens: Tensor) -> Tensor:
        return self.values.gather(-1, tokens[..., None]).squeeze(-1)

    def best(self) -> tuple[Tensor, Tensor]:
        highest, tokens = self.values.max(-1)
        check_distributions("prediction", highest)
        return highest, tokens

    def entropy(self) -> Tensor:
        return torch.special.entr(self.values.double().exp()).sum(-1)


class HeadPrediction(SummedPrediction):
    """softmax(W h + b), less `own_logit` at the noisy token z: h (B, L, d), W (K, d), b (K,), the rest (B, L)."""

    def __init__(self, h: Tensor, weight: Tensor, bias: Tensor, z: Tensor, own_logit: Tensor | None = None):
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self.h, self.weight, self.bias, self.z, self.own_logit = (
            h.to(dtype),
            weight.to(dtype),
            bias.to(dtype),
            z,
            own_logit,
        )
        self.vocab_size = len(bias)

    def log_probs(self, where: Tensor | None = None) -> Tensor:
        chosen = ... if where is None else where
        logits = F.linear(self.h[chosen], self.weight, self.bias)
        if self.own_logit is not None:
            logits = logits.scatter_add(-1, self.z[chosen][..., None], -self.own_logit[chosen][..., None])
        return logits.log_softmax(-1)

    def log_prob(self, tokens: Tensor) -> Tensor:
        logits = torch.linalg.vecdot(self.h, self.weight[tokens]) + self.bias[tokens]
        if self.own_logit is not None:
            logits = logits - self.own_logit * (tokens == self.z)
        return logits - self._log_Z

    def best(self) -> tuple[Tensor, Tensor]:
        self._log_Z, highest, best = self._chunked(lambda logits: (logits.logsumexp(1), *logits.max(1)))
        highest = highest - self._log_Z
        check_distributions("prediction", highest)
        return highest, best

    def entropy(self) -> Tensor:
        return self._chunked(_log_Z_and_entropy)[1]

    def sums(self, z: Tensor, x: Tensor, c: Tensor, *, reverse: bool = False) -> VocabularySums:
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


def _log_Z_and_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    highest = logits.amax(1)
    shifted = logits.sub_(highest[:, None])
    p = shifted.exp()
    total = p.sum(1)
    return highest + total.log(), total.log() - (shifted * p).sum(1) / total
