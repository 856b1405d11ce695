"""Exact inference on a Random Hierarchy grammar by belief propagation, under any noise that factorises over tokens.

The noise is given as leaf likelihoods lambda_i(a) = p(observation of token i | x_i = a), (B, d, v), up to a factor for
each token that returns in log p: `alpha 1[z_i = a] + (1 - alpha)/v` for uniform noise, ones for a masked token,
exp(-h_i(a)) for an external field. With rules a -> (r_1 ... r_s) of probability p_r and the uniform prior pi,

    upward      lambda_u(a) = sum_r p_r prod_j lambda_child j( r_j ),    p(z) = sum_c pi(c) lambda_root(c)
    downward    mu_root = pi,    mu_child j(b) ~ sum_{a, r: r_j = b} mu_u(a) p_r prod_{k != j} lambda_child k( r_k )

the cavity p(x_i | all observations but the i-th) is mu_i, the posterior mu lambda, at latent symbols too. Derivations
are summed over, so all of it is exact in ambiguous grammars. Where the observations are impossible, log p is -inf and
what is conditioned on them NaN.

Two implementations. `reference` and what it calls, in numpy, keep logarithms throughout. The numba kernels keep
normalised messages, a block of strings side by side; where the sum of a message falls below 1e-200, so that products
lost to underflow may matter, the string is handed to the logarithms. Results of a row do not depend on other rows.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike, NDArray

from uddm._validation import check_flag, check_reals
from uddm.hierarchy import _kernels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Grammar(Protocol):
    """What inference needs to know of a grammar: `RandomHierarchy` satisfies it."""

    @property
    def symbols(self) -> int:
        """v, the number of tokens, and of symbols of every level but the first."""
        ...

    @property
    def rules(self) -> int:
        """m of each symbol."""
        ...

    @property
    def branching(self) -> int:
        """s children of a symbol."""
        ...

    @property
    def depth(self) -> int:
        """L levels of rules."""
        ...

    @property
    def length(self) -> int:
        """d = s^L tokens."""
        ...

    @property
    def n_latents(self) -> int:
        """Number of symbols above the tokens."""
        ...

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of symbols of the levels 0 ... L."""
        ...

    @cached_property
    def tables(self) -> tuple[Int64[np.ndarray, "_ m s"], ...]:
        """For each of the levels 0 ... L - 1 the right-hand sides of its rules, (symbols, m, s)."""
        ...

    @cached_property
    def rule_probs(self) -> Float64[np.ndarray, "L m"]:
        """p_r of the rules of each level, (L, m)."""
        ...


class Beliefs(NamedTuple):
    """Probabilities, and log p of the observations.

    Attributes
    ----------
    cavity, posterior : of the tokens, each (B, d, v) float64
    latents : posteriors of the symbols of levels 0 ... L-1, each (B, s^l, n_c or v); [] if not asked for
    log_prob : log p(z) in nats, (B,) float64

    Examples
    --------
    >>> import numpy as np
    >>> from uddm.hierarchy import RandomHierarchy, belief
    >>> grammar = RandomHierarchy(symbols=4, rules=2, depth=2, seed=0)
    >>> x = grammar.sample(3, rng=0)
    >>> found = belief.reference(grammar, np.eye(4)[x])  # each token observed without noise; `infer` is faster
    >>> found.posterior.argmax(-1).tolist() == x.tolist(), np.allclose(found.log_prob, grammar.log_prob(x))
    (True, True)
    """

    cavity: Float64[np.ndarray, "B d v"]
    posterior: Float64[np.ndarray, "B d v"]
    latents: list[Float64[np.ndarray, "B _ _"]]
    log_prob: Float64[np.ndarray, " B"]


def infer(grammar: Grammar, likelihood: ArrayLike, *, latents: bool = False) -> Beliefs:
    """Cavity, posterior, log p(z) and, if asked for, latents.

    Parameters
    ----------
    grammar : what the strings are of
    likelihood : lambda_i(a) of the leaves, (B, d, v), finite and >= 0
    latents : whether to find the posteriors of the latent symbols; default False

    Returns
    -------
    Beliefs

    Raises
    ------
    ValueError : likelihoods of the wrong shape, negative or not finite
    """
    likelihood, latents = _checked(grammar, likelihood), check_flag("latents", latents)
    B = len(likelihood)
    cavity, posterior, log_p = np.empty_like(likelihood), np.empty_like(likelihood), np.empty(B)
    nodes = np.empty((B if latents else 0, grammar.n_latents, max(grammar.widths)))
    hard = np.empty(B, np.bool)
    _kernels.marginals(likelihood, *_arrays(grammar), cavity, posterior, nodes, log_p, hard)
    levels = np.split(nodes, _starts(grammar)[1:] - 1, 1) if latents else []
    found = Beliefs(cavity, posterior, [level[..., :n] for level, n in zip(levels, grammar.widths)], log_p)
    if hard.any():
        exact = reference(grammar, likelihood[hard])
        cavity[hard], posterior[hard], log_p[hard] = exact.cavity, exact.posterior, exact.log_prob
        for level, values in zip(found.latents, exact.latents):
            level[hard] = values
    return found


def log_prob(grammar: Grammar, likelihood: ArrayLike) -> Float64[np.ndarray, " B"]:
    """log p(z) = log sum_x p(x) prod_i lambda_i(x_i), (B,); `grammar`, `likelihood` and errors as for `infer`."""
    likelihood = _checked(grammar, likelihood)
    log_p, hard = np.empty(len(likelihood)), np.empty(len(likelihood), np.bool)
    _kernels.log_prob(likelihood, *_arrays(grammar), log_p, hard)
    if hard.any():
        log_p[hard] = _root(_inside(grammar, likelihood[hard], np.logaddexp))
    return log_p


def sample(grammar: Grammar, likelihood: ArrayLike, uniform: ArrayLike) -> Int64[np.ndarray, "B {grammar.length}"]:
    """Joint posterior samples x ~ p(x | z), (B, d): class first, then rules from the top down.

    Parameters
    ----------
    grammar, likelihood : as for `infer`
    uniform : numbers in [0, 1), (B, 1 + n_latents), which decide by inversion

    Returns
    -------
    (B, d) int64

    Raises
    ------
    ValueError : as `infer`; `uniform` of another shape or range; impossible observations
    """
    likelihood = _checked(grammar, likelihood)
    B = len(likelihood)
    uniform = np.ascontiguousarray(check_reals("uniform", uniform))
    if uniform.shape != (B, 1 + grammar.n_latents):
        raise ValueError(f"`uniform` must have shape {(B, 1 + grammar.n_latents)}, got {uniform.shape}")
    if not (uniform.min() >= 0 and uniform.max() < 1):
        raise ValueError(f"`uniform` must lie in [0, 1), got numbers in [{uniform.min():g}, {uniform.max():g}]")
    x, hard = np.empty((B, grammar.length), np.int64), np.empty(B, np.bool)
    _kernels.samples(likelihood, *_arrays(grammar), uniform, x, hard)
    if hard.any():
        x[hard] = _descend(grammar, _inside(grammar, likelihood[hard], np.logaddexp), uniform[hard])
    return x


def most_probable(
    grammar: Grammar, likelihood: ArrayLike
) -> tuple[Int64[np.ndarray, "B {grammar.length}"], Float64[np.ndarray, " B"]]:
    """The string of the most probable derivation, (B, d), and log p(derivation, z), (B,), by the max-sum algorithm.

    In an unambiguous grammar that is argmax_x p(x | z) and log p(x, z); in an ambiguous one finding the most probable
    string is another, NP-hard problem. Of equals any may be taken.

    Parameters
    ----------
    grammar, likelihood : as for `infer`

    Raises
    ------
    ValueError : as `infer`; impossible observations
    """
    likelihood = _checked(grammar, likelihood)
    messages = _inside(grammar, likelihood, np.maximum)
    x = _descend(grammar, messages)
    return x, (messages[0][:, 0] - np.log(grammar.widths[0])).max(-1)


def reference(grammar: Grammar, likelihood: ArrayLike) -> Beliefs:
    """As `infer`, latents included, in plain numpy and logarithms: slow, and exact for any likelihoods of float64.

    Parameters
    ----------
    grammar, likelihood : as for `infer`

    Raises
    ------
    ValueError : as `infer`
    """
    likelihood = _checked(grammar, likelihood)
    up = _inside(grammar, likelihood, np.logaddexp)
    down = _outside(grammar, up)
    nodes = [_normalised(mu + below) for mu, below in zip(down, up)]
    return Beliefs(_normalised(down[-1]), nodes[-1], nodes[:-1], _root(up))


def _inside(grammar: Grammar, likelihood: Floats, add: np.ufunc) -> list[Floats]:
    """log lambda of levels 0 ... L, each (B, s^l, n_l), with `add` (logaddexp or maximum) as the sum over rules."""
    with np.errstate(divide="ignore"):
        messages = [np.log(likelihood)]
    for level in reversed(range(grammar.depth)):
        prob, *children = _factors(grammar, level, messages[0])
        messages.insert(0, add.reduce(sum(children, prob), -1))
    return messages


def _outside(grammar: Grammar, up: list[Floats]) -> list[Floats]:
    """log mu of levels 0 ... L, each (B, s^l, n_l)."""
    down = [np.full_like(up[0], -np.log(grammar.widths[0]))]
    for level, table in enumerate(grammar.tables):
        prob, *children = _factors(grammar, level, up[level + 1])
        mu = np.empty((*up[level].shape[:2], grammar.branching, grammar.symbols))
        for j in range(grammar.branching):
            others = sum(children[:j] + children[j + 1 :], prob + down[level][..., None])
            for b in range(grammar.symbols):
                mu[:, :, j, b] = np.logaddexp.reduce(others[..., table[..., j] == b], -1, initial=-np.inf)
        down.append(mu.reshape(up[level + 1].shape))
    return down


def _descend(grammar: Grammar, messages: list[Floats], uniform: Floats | None = None) -> Ints:
    """Strings (B, d) from upward messages: by inversion of `uniform` (B, 1 + n_latents), or most probable if None."""
    if np.isneginf(messages[0]).all(-1).any():
        raise ValueError("`likelihood` must allow some string in each row, got a row that excludes all")
    columns = iter(() if uniform is None else np.split(uniform, _starts(grammar), 1))
    symbols = _chosen(messages[0], next(columns, None))
    for level, table in enumerate(grammar.tables):
        prob, *children = _factors(grammar, level, messages[level + 1])
        weights = np.take_along_axis(sum(children, prob), symbols[..., None, None], 2)[:, :, 0]
        symbols = table[symbols, _chosen(weights, next(columns, None))].reshape(len(symbols), -1)
    return symbols


def _factors(grammar: Grammar, level: int, messages: Floats) -> list[Floats]:
    """Logarithms of p_r, broadcastable, and of lambda_child j(r_j), to (B, s^l, n_l, m), from the children's lambda."""
    children = messages.reshape(len(messages), -1, grammar.branching, grammar.symbols)
    table = grammar.tables[level]
    with np.errstate(divide="ignore"):
        prob = np.log(grammar.rule_probs[level])
    return [prob, *(children[:, :, j][..., table[..., j]] for j in range(grammar.branching))]


def _chosen(log_weights: Floats, uniform: Floats | None) -> Ints:
    """Indices along the last axis: by inversion of `uniform`, or of the largest if None."""
    if uniform is None:
        return log_weights.argmax(-1)
    cdf = np.exp(log_weights - log_weights.max(-1, keepdims=True)).cumsum(-1)
    target = np.minimum(uniform * cdf[..., -1], np.nextafter(cdf[..., -1], 0))
    return (cdf <= target[..., None]).sum(-1)


def _root(messages: list[Floats]) -> Floats:
    """log sum_c pi(c) lambda_root(c), (B,)."""
    return np.logaddexp.reduce(messages[0][:, 0], -1) - np.log(messages[0].shape[-1])


def _normalised(log_weights: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.exp(log_weights - np.logaddexp.reduce(log_weights, -1, keepdims=True))


def _starts(grammar: Grammar) -> Ints:
    """Columns where levels 0 ... L-1 start, if one column for the class stands before them."""
    return 1 + (grammar.branching ** np.arange(grammar.depth) - 1) // (grammar.branching - 1)


def _checked(grammar: Grammar, likelihood: ArrayLike) -> Floats:
    if not hasattr(grammar, "tables"):
        raise TypeError(f"`grammar` must be a grammar, such as RandomHierarchy, got {type(grammar).__name__}")
    likelihood = np.ascontiguousarray(check_reals("likelihood", likelihood))
    shape = (grammar.length, grammar.symbols)
    if likelihood.ndim != 3 or likelihood.shape[1:] != shape or not len(likelihood):
        raise ValueError(f"`likelihood` must have shape (B, {shape[0]}, {shape[1]}), got {likelihood.shape}")
    if not (likelihood.min() >= 0 and likelihood.max() < np.inf):
        raise ValueError("`likelihood` must be finite and >= 0, got a number that is not")
    return likelihood


def _arrays(grammar: Grammar) -> tuple[Ints, Floats, Ints]:
    """For the kernels: rules (L, n_c or v, m, s), their probabilities (L, m), symbols of each level (L + 1,)."""
    widths = np.array(grammar.widths)
    rules = np.zeros((grammar.depth, widths.max(), grammar.rules, grammar.branching), np.int64)
    for level, table in enumerate(grammar.tables):
        rules[level, : len(table)] = table
    return rules, grammar.rule_probs, widths
