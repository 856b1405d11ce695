"""The loss head: every sum over the vocabulary that the objective and the measurements need, from hidden states and
output weights, without the logits (B, L, K) of a batch.

With logits g_k = W_k h + b_k of one token, p = softmax(g), c = K alpha/(1 - alpha) and u_k = 1 + c p_k, one pass over
the vocabulary, in chunks of tokens, gives

    log Z = logsumexp(g),  g_z,  g_x,  H = -sum_k p_k log p_k,
    E = sum_{k != x} (c p_k - log u_k),  R = sum_{k != x} (1/u_k - 1 + log u_k).

E is S = sum_k log u_k in the form that loses no digits: S = c - E - (c p_x - log u_x). The backward pass makes each
chunk's logits again, unless they are few: for F = sum_k f(p_k), dF/dg_k = p_k (f'(p_k) - sum_l p_l f'(p_l)).
Products and reductions are in float32 (or float64, if the weights are), also under autocast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

KEPT = 2**24  # logits that the backward pass need not make again


class VocabularySums(NamedTuple):
    """Per token, each (N,): log Z, g_z, g_x, H, E and, where asked for, R (else 0)."""

    log_Z: Tensor
    at_z: Tensor
    at_x: Tensor
    entropy: Tensor
    excess: Tensor
    reverse_excess: Tensor


def vocabulary_sums(
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    z: Tensor,
    x: Tensor,
    c: Tensor,
    *,
    own_logit: Tensor | None = None,
    reverse: bool = False,
    chunk: int | None = None,
) -> VocabularySums:
    """The sums of N tokens, differentiable with respect to h, weight and bias.

    Parameters
    ----------
    h : what the read-out sees, (N, d).
    weight, bias : the read-out, (K, d) and (K,).
    z, x : noisy and clean tokens, (N,) ids.
    c : K alpha/(1 - alpha), (N,).
    own_logit : subtracted from the logit at z, (N,), for logits that are those of the posterior.
    reverse : whether R is wanted, which only `expected_nelbo` needs.
    chunk : tokens whose logits exist together; by default as many as make some 7 million logits.
    """
    dtype = torch.promote_types(weight.dtype, torch.float32)
    with torch.autocast(h.device.type, enabled=False):
        h, weight, bias, c = (value.to(dtype) for value in (h, weight, bias, c))
        own_logit = None if own_logit is None else own_logit.to(dtype)
        chunk = chunk or chunk_size(len(weight))
        sums: Any = _Sums.apply(h, weight, bias, z, x, c, own_logit, reverse, chunk)
    return VocabularySums._make(sums if reverse else (*sums, torch.zeros_like(sums[0])))


def chunk_size(vocab_size: int) -> int:
    return max(1, 7_000_000 // vocab_size)  # below 32 MB, where malloc would return memory to the system each time


def logits_in_chunks(
    h: Tensor, weight: Tensor, bias: Tensor, z: Tensor, own_logit: Tensor | None, chunk: int
) -> Iterator[tuple[slice, Tensor]]:
    """Rows and their logits (n, K), which the caller may overwrite."""
    for start in range(0, len(h), chunk):
        rows = slice(start, start + chunk)
        logits = F.linear(h[rows], weight, bias)
        if own_logit is not None:
            logits.scatter_add_(1, z[rows, None], -own_logit[rows, None])
        yield rows, logits


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h, weight, bias, z, x, c, own_logit, reverse, chunk):
        ctx.set_materialize_grads(False)
        sums, kept = h.new_empty(5 + reverse, len(h)), []
        keep = any(ctx.needs_input_grad) and len(h) * len(weight) <= KEPT
        for rows, logits in logits_in_chunks(h, weight, bias, z, own_logit, chunk):
            sums[:, rows] = torch.stack(_on(h.device, _sums)(logits, z[rows], x[rows], c[rows], reverse))
            if keep:
                kept.append(logits)
        ctx.save_for_backward(h, weight, bias, z, x, c, own_logit, sums[0], sums[3], *kept)
        ctx.chunk = chunk
        return tuple(sums.clone().unbind())

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None):  # type: ignore[override]
        h, weight, bias, z, x, c, own_logit, log_Z, entropy, *kept = ctx.saved_tensors
        grad_h, grad_weight, grad_bias = torch.empty_like(h), torch.zeros_like(weight), torch.zeros_like(bias)
        again = ((r, g.sub_(log_Z[r, None])) for r, g in logits_in_chunks(h, weight, bias, z, own_logit, ctx.chunk))
        rows_of_kept = (slice(start, start + ctx.chunk) for start in range(0, len(h), ctx.chunk))
        for rows, log_p in zip(rows_of_kept, kept) if kept else again:
            given = (None if g is None else g[rows] for g in upstream)
            tokens = (value[rows] for value in (entropy, z, x, c))
            grad = _on(h.device, _gradient)(log_p, *tokens, *given)
            torch.mm(grad, weight, out=grad_h[rows])
            grad_weight.addmm_(grad.T, h[rows])
            grad_bias += grad.sum(0)
        return grad_h, grad_weight, grad_bias, None, None, None, None, None, None


def _sums(logits: Tensor, z: Tensor, x: Tensor, c: Tensor, reverse: bool) -> tuple[Tensor, ...]:
    """`VocabularySums` of one chunk; `logits` become log p."""
    at_z, at_x = (logits.gather(1, token[:, None]).squeeze(1) for token in (z, x))
    highest = logits.amax(1)
    weights = (logits - highest[:, None]).exp_()
    total = weights.sum(1)
    log_Z = highest + total.log()
    log_p = logits.sub_(log_Z[:, None])
    entropy = -(weights * log_p).sum(1) / total
    scaled = weights.mul_((c / total)[:, None]).scatter_(1, x[:, None], 0.0)  # c p, but for the clean token
    log_u = torch.log1p(scaled)
    excess = (scaled - log_u).sum(1)
    sums = (log_Z, at_z, at_x, entropy, excess)
    return (*sums, (log_u - scaled / (1 + scaled)).sum(1)) if reverse else sums


def _gradient(
    log_p: Tensor,
    entropy: Tensor,
    z: Tensor,
    x: Tensor,
    c: Tensor,
    for_log_Z: Tensor | None,
    for_z: Tensor | None,
    for_x: Tensor | None,
    for_entropy: Tensor | None,
    for_excess: Tensor | None,
    for_reverse: Tensor | None = None,
) -> Tensor:
    """Gradient with respect to the logits of one chunk, (n, K), from those with respect to its sums."""
    p = log_p.exp()
    scaled = (p * c[:, None]).scatter_(1, x[:, None], 0.0)
    fraction = scaled.div_(scaled + 1)  # 1 - 1/u; f' = c (1 - 1/u) of E, and c (1 - 1/u)/u of R
    scale = torch.zeros_like(c)[:, None] if for_excess is None else (c * for_excess)[:, None]
    if for_reverse is not None:
        scale = scale + (c * for_reverse)[:, None] * (1 - fraction)
    slope = fraction.mul_(scale)
    if for_entropy is not None:
        slope -= (log_p + entropy[:, None]).mul_(for_entropy[:, None])
    centre = (p * slope).sum(1)
    grad = slope.sub_((centre if for_log_Z is None else centre - for_log_Z)[:, None]).mul_(p)
    for token, given in ((z, for_z), (x, for_x)):
        if given is not None:
            grad.scatter_add_(1, token[:, None], given[:, None])
    return grad


@lru_cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)


def _on(device: torch.device, function: Callable[..., Any]) -> Callable[..., Any]:
    """Fused into a few kernels on a GPU, as it stands on a CPU."""
    return _compiled(function) if device.type == "cuda" else function
