"""Relaxed tokens, what the published models read for the first half of their training (Sahoo et al. 2025, arXiv
2506.10892): `uddm.Curriculum` says when and how far.

For a clean token x of K, one-hot, and w = a x + sqrt(1 - a^2) eps with eps ~ N(0, I_K), the token argmax w has the law
of the uniform process at alpha = T(a) (`uddm.duality`). In place of argmax w a network can be given softmax(w / tau)
times its embedding to read, with the NELBO at z = argmax w and that alpha.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float32, Int64, Integer
from torch import Tensor

from uddm._validation import check_kind, check_number, check_positive_int, check_time, check_tokens, check_vocab_size
from uddm.process.base import PerSequence, _column
from uddm.process.schedule import GaussianDual
from uddm.streams import as_generator


class SoftTokens(NamedTuple):
    """softmax(w / tau) of each position by its k largest entries: what a network reads in place of z = argmax w.

    With an embedding E it reads sum_k weights E[tokens] + rest mean(E). Weights and rest sum to one.

    Attributes
    ----------
    tokens : (B, L, k) ids, distinct, those of the largest entry first
    weights : (B, L, k) float32 in [0, 1]; what a token has above its share rest / K
    rest : (B, L) float32, mass that is spread uniformly over all K tokens; 0 if k = K

    Examples
    --------
    >>> import torch
    >>> from uddm.curriculum import relaxed_argmax
    >>> soft = relaxed_argmax(torch.tensor([[0, 2, 3]]), 1.0, vocab_size=4, tau=0.1, top_k=2, generator=0)
    >>> soft.hard.tolist(), soft.weights.shape, soft.rest.shape  # without noise each is the clean token
    ([[0, 2, 3]], torch.Size([1, 3, 2]), torch.Size([1, 3]))
    """

    tokens: Int64[Tensor, "B L k"]
    weights: Float32[Tensor, "B L k"]
    rest: Float32[Tensor, "B L"]

    @property
    def hard(self) -> Int64[Tensor, "B L"]:
        """z = argmax w, (B, L) ids."""
        return self.tokens[..., 0]


def relaxed_argmax(
    x: Integer[Tensor, "B L"],
    gaussian_alpha: PerSequence,
    vocab_size: int,
    tau: float,
    *,
    top_k: int | None = None,
    generator: int | torch.Generator | None = None,
) -> SoftTokens:
    """Sample softmax(w / tau) for w = a x + sqrt(1 - a^2) eps in R^K; its `hard` tokens are z ~ q(z | x), alpha = T(a).

    With `top_k` no tensor is K wide: the k largest entries are drawn as order statistics of K - 1 Gaussians, given to
    distinct random tokens, and joined by the entry of x. The k tokens and their entries of w have their exact law. For
    the sum of the other exp(w_j / tau) stands its mean given the smallest Gaussian drawn, which changes the weights, at
    K = 30522, k = 32 and gamma in [-3.5, -1.75], by 2e-2 of themselves (rms) at tau = 0.1, 2e-3 at 0.03 and at 1, 3e-7
    at 0.01 and not at all at 0.001.

    Parameters
    ----------
    x : clean tokens, (B, L) ids
    gaussian_alpha : a in [0, 1], one for all or (B,)
    vocab_size : K >= 2
    tau : temperature > 0
    top_k : number k >= 1 of entries kept, at most K of them; None, the default, for all K, from K-wide float64 tensors
    generator : of the noise: an integer seed or a torch.Generator on the device of x; None, the default, fresh entropy

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range
    """
    K = check_vocab_size(vocab_size)
    x = check_tokens("x", x, K)
    a = _column(check_time("gaussian_alpha", gaussian_alpha, closed=True), x, "gaussian_alpha")[..., None]
    tau = check_number("tau", tau, low=0)
    generator = as_generator(generator, x.device)
    spread = torch.sqrt((1 - a) * (1 + a))
    if top_k is None:
        eps = torch.randn(*x.shape, K, dtype=torch.float64, device=x.device, generator=generator)
        w, tokens = (spread * eps).scatter_add(-1, x[..., None], a.expand(*x.shape, 1)).sort(-1, descending=True)
        return SoftTokens(tokens, (w / tau).softmax(-1).float(), torch.zeros(x.shape, device=x.device))

    k = min(check_positive_int("top_k", top_k), K)
    m = min(k, K - 1)
    largest = _largest_normals(K - 1, (*x.shape, m), generator)
    own = a + spread * torch.randn(*x.shape, 1, dtype=torch.float64, device=x.device, generator=generator)
    w, order = torch.cat([own, spread * largest], -1).sort(-1, descending=True)
    tokens = torch.cat([x[..., None], _distinct(x, K, m, generator)], -1).gather(-1, order)
    tail = math.log(K - 1 - m) if m < K - 1 else -math.inf
    tail = tail + _log_mean_exp_below(largest[..., -1:], spread / tau)
    mass = torch.cat([w / tau, tail], -1).softmax(-1)
    weights, rest = mass[..., :k], mass[..., k:].sum(-1, keepdim=True)
    if k < K:  # the other K - k tokens get all of `rest` when it is spread over K
        weights, rest = (weights - rest / (K - k)).clamp_min(0), rest * K / (K - k)
    return SoftTokens(tokens[..., :k], weights.float(), rest.squeeze(-1).float())


def relaxed_tokens(
    x: Integer[Tensor, "B L"],
    t: PerSequence,
    schedule: GaussianDual,
    tau: float,
    *,
    top_k: int | None = None,
    generator: int | torch.Generator | None = None,
) -> SoftTokens:
    """`relaxed_argmax` at times t of the process whose alpha_t is that of a schedule.

    Parameters
    ----------
    x : clean tokens, (B, L) ids
    t : times, () or (B,) in (0, 1]
    schedule : with the amplitudes a_t and the number of tokens K
    tau, top_k, generator : as for `relaxed_argmax`

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range
    """
    check_kind("schedule", schedule, GaussianDual)
    K = schedule.vocab_size
    x = check_tokens("x", x, K)
    amplitude = schedule.gaussian_alpha(_column(check_time("t", t), x).squeeze(1))
    return relaxed_argmax(x, amplitude, K, tau, top_k=top_k, generator=generator)


def _largest_normals(n: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """The m largest of n standard Gaussians, decreasing along the last of the dimensions (..., m).

    -log of the j-th largest of n uniforms is sum_{i<=j} E_i/(n - i + 1) with exponential E_i (Renyi 1953).
    """
    uniform = torch.rand(shape, dtype=torch.float64, device=generator.device, generator=generator)
    exponential = -torch.log1p(-uniform.clamp_min(2**-54))  # torch.rand may return 0
    s = (exponential / (n - torch.arange(shape[-1], device=uniform.device))).cumsum(-1)
    return -torch.special.ndtri(-torch.expm1(-s))  # from the probability above, which has all its digits


def _distinct(x: Tensor, vocab_size: int, m: int, generator: torch.Generator) -> Tensor:
    """For each token m distinct ids other than it, uniform and in random order: (B, L, m)."""
    n, like = vocab_size - 1, {"device": x.device, "generator": generator}
    if 2 * m > n:
        ids = torch.rand(*x.shape, n, dtype=torch.float64, **like).argsort(-1)[..., :m]
    else:
        # Draw repeated ids again. This treats all ids alike, so that all ordered choices are equally likely.
        ids = torch.randint(n, (*x.shape, m), **like)
        while (count := int((again := _repeats(ids)).sum())) > 0:
            ids[again] = torch.randint(n, (count,), **like)
    return ids + (ids >= x[..., None])


def _repeats(ids: Tensor) -> Tensor:
    """Whether an id stands already at an earlier place of the last dimension."""
    ordered, places = ids.sort(stable=True, dim=-1)
    same = torch.zeros_like(ids, dtype=torch.bool)
    same[..., 1:] = ordered[..., 1:] == ordered[..., :-1]
    return torch.zeros_like(same).scatter(-1, places, same)


def _log_mean_exp_below(c: Tensor, b: Tensor) -> Tensor:
    """log E[exp(b g) | g < c] = b^2/2 + log Phi(c - b) - log Phi(c) for a standard Gaussian g, b >= 0.

    As b c - c^2/2 + log(erfcx((b - c)/sqrt 2)/2) - log Phi(c), since b^2/2 has no digits left at b = sqrt(1 - a^2)/tau.
    """
    return b * c - c**2 / 2 + torch.log(torch.special.erfcx((b - c) / math.sqrt(2)) / 2) - torch.special.log_ndtr(c)
