"""U-turns on spaces small enough to enumerate: which strings small moves connect, and exact transition matrices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import combinations, pairwise, product
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64, Integer, Num
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from amtheory._validation import unmasked
from bridges.diffusion import DiffusionSystem
from bridges.system import as_tokens
from bridges.uturn import UTurn
from bridges.uturn_chains import Rule, Values, check_rule, evaluate
from uddm._validation import check_positive_int
from uddm.denoisers.base import inference
from uddm.process import Process

LARGEST = 2**12
"""States of the largest space whose transition matrices are made."""


@dataclass(frozen=True)
class Fragmentation:
    """Components of a set of strings joined by few substitutions.

    Parameters
    ----------
    labels : component of each given string, (P,); equal strings share one, and component 0 is the largest
    sizes : distinct strings in each component, descending
    """

    labels: Int64[np.ndarray, " P"]
    sizes: Int64[np.ndarray, " C"]

    @property
    def largest(self) -> float:
        """The share of the distinct strings that the largest component holds."""
        return self.sizes[0] / self.sizes.sum()

    @property
    def components(self) -> int:
        return len(self.sizes)


def fragmentation(strings: Integer[np.ndarray, "P L"], substitutions: int = 1) -> Fragmentation:
    """Connected components of the graph that joins strings which differ in at most `substitutions` tokens.

    It is the support graph of minimal U-turns, which change at most that many tokens at a time: chains among strings of
    a grammar, or of a training set, stay in their component. Strings are joined if they agree outside some
    `substitutions` positions; for each choice of these they are sorted by the rest: O(binomial(L, k) P log P).

    Parameters
    ----------
    strings : token ids (P, L), P >= 1
    substitutions : 1 to L

    Raises
    ------
    TypeError, ValueError : an argument out of its range.
    """
    strings = unmasked("strings", strings)
    if strings.dtype.kind not in "iu":
        raise TypeError(f"`strings` must hold integer token ids, got dtype {strings.dtype}")
    if strings.ndim != 2 or strings.size == 0:
        raise ValueError(f"`strings` must have shape (P, L) with P, L >= 1, got {strings.shape}")
    length = strings.shape[1]
    if check_positive_int("substitutions", substitutions) > length:
        raise ValueError(f"`substitutions` must be at most the length {length}, got {substitutions}")
    distinct, given = np.unique(strings, axis=0, return_inverse=True)
    labels = np.arange(len(distinct))
    for free in combinations(range(length), substitutions):
        rest = np.ascontiguousarray(np.delete(distinct, free, axis=1))
        if rest.shape[1] == 0:
            labels[:] = 0
            break
        rows = rest.view(np.dtype((np.void, rest.itemsize * rest.shape[1]))).ravel()
        _, first, group = np.unique(rows, return_index=True, return_inverse=True)
        links = coo_array((np.ones(len(labels)), (labels, labels[first[group]])), shape=(len(labels),) * 2)
        labels = connected_components(links, directed=False)[1][labels]
    _, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    return Fragmentation(np.argsort(order)[labels][given.ravel()], sizes[order])


def kernel_matrix(
    uturn: UTurn,
    support: Integer[np.ndarray, "M L"],
    *,
    rule: Rule = "always",
    energy: Values | None = None,
    log_prob: Values | None = None,
) -> Float64[np.ndarray, "M M"]:
    """Transition probabilities of `bridges.chains` between the strings of `support` (M, L): (M, M), float64.

    The noisy strings, and the intermediate ones, are all K^L, with K ids that a noisy token may hold. With the rule
    "always" a row lacks what leaves the support; with the others that is rejected (an infinite energy outside) and
    stays, as do strings that the target excludes.

    Parameters
    ----------
    uturn : of a denoiser; a stochastic one
    support : distinct strings
    log_prob : log p of the model, from tokens (M, L) to (M,), -inf allowed. Joint samples need it, p(x' | z) being
        p(x') q(z | x') normalised over the support; so does the rule "path"
    rule, energy : as in `bridges.chains`; "path" only for mode "factorised"

    Raises
    ------
    ValueError : K^L > 2^12, a binary memory, or an argument missing or out of its range.
    """
    grid = () if uturn.exact else uturn.grid
    system = uturn.system
    if not isinstance(system, DiffusionSystem):
        raise ValueError(f"`uturn` must be of a denoiser, got {type(system).__name__}")
    support = as_tokens("support", support, system)
    check_rule(uturn, rule, energy, log_prob)
    if uturn.exact and log_prob is None:
        raise ValueError("`log_prob` must be given for joint posterior samples, got None")
    if rule == "path" and uturn.mode != "factorised":
        raise ValueError("`rule` 'path' has a matrix here only for mode 'factorised', got mode 'sample'")
    if len(np.unique(support, axis=0)) < len(support):
        raise ValueError("`support` must hold distinct strings, got some twice")
    K, length = system.process.state_size, system.length
    if K**length > LARGEST:
        raise ValueError(f"`uturn` must have at most {LARGEST} strings in all, got {K}^{length}")
    states = np.array(list(product(range(K), repeat=length)))
    forward = _forward_matrix(system.process, support, states, uturn.noise)
    log_p = np.zeros(len(support)) if log_prob is None else evaluate("log_prob", log_prob, support)
    if uturn.exact:
        joint = forward.T * np.exp(log_p - log_p.max(initial=np.finfo(np.float64).min))
        back = joint / np.maximum(joint.sum(1, keepdims=True), np.finfo(np.float64).tiny)  # 0 from an impossible z
    else:
        back = np.eye(len(states))
        for t, s in pairwise(grid):
            back = back @ _reverse_matrix(system, states, t, s, support if s == 0 else states)
    if rule == "always":
        return forward @ back
    tilt = evaluate("energy", energy, support, -1) if energy else np.zeros(len(support))
    log_target = log_p + tilt if rule == "path" else tilt
    start = np.where(np.isfinite(log_target), log_target, np.inf)  # from an excluded string nothing is accepted
    gain = np.exp(np.minimum(log_target - start[:, None], 700.0))  # finite
    if rule == "path":
        kernel = np.stack(
            [
                np.minimum(q * back.T, ratio[:, None] * forward * returns).sum(1)
                for q, returns, ratio in zip(forward, back.T, gain)
            ]
        )
    else:
        kernel = forward @ back * np.minimum(gain, 1)
    np.fill_diagonal(kernel, 0)
    np.fill_diagonal(kernel, 1 - kernel.sum(1))
    return kernel


class KernelBias(NamedTuple):
    """How far a kernel k is from leaving a law p stationary and reversible; all 0 for an exact one.

    Attributes
    ----------
    leaving : probability to leave the support in one step from p
    one_step : total variation distance of p k from p, what leaves counted
    stationary : that of the law that the chain tends to from p, on average over time; NaN if mass leaves
    detailed_balance : sum over x, x' of abs(p(x) k(x, x') - p(x') k(x', x))
    """

    leaving: float
    one_step: float
    stationary: float
    detailed_balance: float


def kernel_bias(kernel: Num[np.ndarray, "M M"], p: Num[np.ndarray, " M"]) -> KernelBias:
    """The bias of a transition matrix `kernel` (M, M), rows summing to at most one, with respect to a law p (M,).

    Raises ValueError for other shapes, sums or numbers that are no probabilities.
    """
    p, kernel = (unmasked(name, value).astype(np.float64) for name, value in (("p", p), ("kernel", kernel)))
    if p.ndim != 1 or not np.isclose(p.sum(), 1) or p.min() < 0:
        raise ValueError(f"`p` must be (M,) probabilities that sum to one, got shape {p.shape} and sum {p.sum():g}")
    if kernel.shape != (len(p),) * 2:
        raise ValueError(f"`kernel` must have shape {(len(p),) * 2}, got {kernel.shape}")
    if not (kernel > -1e-9).all() or kernel.sum(1).max() > 1 + 1e-9:
        raise ValueError("`kernel` must hold probabilities whose rows sum to at most one")
    flow = p[:, None] * kernel
    leaving = max(0.0, 1 - flow.sum())
    stationary = np.nan
    if leaving < 1e-9:
        limit = (kernel + np.eye(len(p))) / 2  # of the same limit, and not periodic
        for _ in range(40):  # its power 2^40; normalised, so that rounding does not grow
            limit = limit @ limit
            limit /= limit.sum(1, keepdims=True)
        stationary = np.abs(p @ limit - p).sum() / 2
    one_step = (np.abs(flow.sum(0) - p).sum() + leaving) / 2
    return KernelBias(float(leaving), float(one_step), float(stationary), float(np.abs(flow - flow.T).sum()))


def _forward_matrix(process: Process, x: np.ndarray, states: np.ndarray, t: float) -> np.ndarray:
    """q_t(z | x) from clean strings x to all `states`."""
    clean, noisy, noising = torch.as_tensor(x), torch.as_tensor(states), process.transition(t)
    return reduce(np.multiply, (noising.prob(z, a[:, None]).numpy() for z, a in zip(noisy.T, clean.T)))


def _reverse_matrix(system: DiffusionSystem, states: np.ndarray, t: float, s: float, ends: np.ndarray) -> np.ndarray:
    """R(y | z) of one factorised update from t to s, from all `states` to `ends`."""
    z = system.tokens(states)
    with inference(system.denoiser):
        probs = system.process.posterior(system.denoiser.cavity(z, t), z, t, s).cpu().numpy()
    return reduce(np.multiply, (probs[:, l, ends[:, l]] for l in range(states.shape[1])))
