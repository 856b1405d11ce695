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
from numpy.typing import ArrayLike, NDArray

from uddm._jit import jit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LANES = 64  # strings side by side
_SAFE = 1e-200


class Grammar(Protocol):
    """What inference needs to know of a grammar: `RandomHierarchy` satisfies it.

    symbols, rules, branching, depth : v, m, s, L
    length, n_latents : d = s^L, and the symbols above the tokens
    widths : number of symbols of levels 0 ... L - 1
    tables : for each level the right-hand sides of its rules, (symbols, m, s)
    rule_probs : p_r, (L, m)
    """

    @property
    def symbols(self) -> int: ...

    @property
    def rules(self) -> int: ...

    @property
    def branching(self) -> int: ...

    @property
    def depth(self) -> int: ...

    @property
    def length(self) -> int: ...

    @property
    def n_latents(self) -> int: ...

    @property
    def widths(self) -> tuple[int, ...]: ...

    @cached_property
    def tables(self) -> tuple[Ints, ...]: ...

    @cached_property
    def rule_probs(self) -> Floats: ...


class Beliefs(NamedTuple):
    """Probabilities, and log p of the observations."""

    cavity: Floats  # (B, d, v)
    posterior: Floats  # (B, d, v)
    latents: list[Floats]  # posteriors at levels 0 ... L-1, each (B, s^l, n_c or v); or []
    log_prob: Floats  # (B,)


def infer(grammar: Grammar, likelihood: ArrayLike, *, latents: bool = False) -> Beliefs:
    """Cavity, posterior, log p(z) and, if asked for, latents from leaf likelihoods (B, d, v) >= 0.

    Raises ValueError for likelihoods of the wrong shape, negative or not finite.
    """
    likelihood = _checked(grammar, likelihood)
    B = len(likelihood)
    cavity, posterior, log_p = np.empty_like(likelihood), np.empty_like(likelihood), np.empty(B)
    nodes = np.empty((B if latents else 0, grammar.n_latents, max(grammar.widths)))
    hard = np.empty(B, np.bool)
    _marginals(likelihood, *_arrays(grammar), cavity, posterior, nodes, log_p, hard)
    levels = np.split(nodes, _starts(grammar)[1:] - 1, 1) if latents else []
    found = Beliefs(cavity, posterior, [level[..., :n] for level, n in zip(levels, grammar.widths)], log_p)
    if hard.any():
        exact = reference(grammar, likelihood[hard])
        cavity[hard], posterior[hard], log_p[hard] = exact.cavity, exact.posterior, exact.log_prob
        for level, values in zip(found.latents, exact.latents):
            level[hard] = values
    return found


def log_prob(grammar: Grammar, likelihood: ArrayLike) -> Floats:
    """log p(z) = log sum_x p(x) prod_i lambda_i(x_i), (B,); errors as for `infer`."""
    likelihood = _checked(grammar, likelihood)
    log_p, hard = np.empty(len(likelihood)), np.empty(len(likelihood), np.bool)
    _evidence(likelihood, *_arrays(grammar), log_p, hard)
    if hard.any():
        log_p[hard] = _root(_inside(grammar, likelihood[hard], np.logaddexp))
    return log_p


def sample(grammar: Grammar, likelihood: ArrayLike, uniform: ArrayLike) -> Ints:
    """Joint posterior samples x ~ p(x | z), (B, d): class first, then rules from the top down.

    `uniform` are numbers in [0, 1), (B, 1 + n_latents), which decide by inversion. Raises ValueError as `infer`, for
    `uniform` of another shape or range, and for impossible observations.
    """
    likelihood = _checked(grammar, likelihood)
    B = len(likelihood)
    uniform = np.ascontiguousarray(uniform, np.float64)
    if uniform.shape != (B, 1 + grammar.n_latents):
        raise ValueError(f"`uniform` must have shape {(B, 1 + grammar.n_latents)}, got {uniform.shape}")
    if not (uniform.min() >= 0 and uniform.max() < 1):
        raise ValueError(f"`uniform` must lie in [0, 1), got numbers in [{uniform.min():g}, {uniform.max():g}]")
    x, hard = np.empty((B, grammar.length), np.int64), np.empty(B, np.bool)
    _samples(likelihood, *_arrays(grammar), uniform, x, hard)
    if hard.any():
        x[hard] = _descend(grammar, _inside(grammar, likelihood[hard], np.logaddexp), uniform[hard])
    return x


def most_probable(grammar: Grammar, likelihood: ArrayLike) -> tuple[Ints, Floats]:
    """The string of the most probable derivation, (B, d), and log p(derivation, z), (B,), by the max-sum algorithm.

    In an unambiguous grammar that is argmax_x p(x | z) and log p(x, z); in an ambiguous one finding the most probable
    string is another, NP-hard problem. Of equals any may be taken. Errors as for `sample`.
    """
    likelihood = _checked(grammar, likelihood)
    messages = _inside(grammar, likelihood, np.maximum)
    x = _descend(grammar, messages)
    return x, (messages[0][:, 0] - np.log(grammar.widths[0])).max(-1)


def reference(grammar: Grammar, likelihood: ArrayLike) -> Beliefs:
    """As `infer`, in plain numpy and logarithms: slow, and exact for any likelihoods of float64."""
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
    likelihood = np.ascontiguousarray(likelihood, np.float64)
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


# --- kernels: messages are (node, symbol, lane), nodes counted from the root, level by level


@jit
def _normalise(message, size, total, hard):
    """Divide by the sum over symbols, which `total` becomes, per lane."""
    for w in range(_LANES):
        total[w] = 0.0
    for a in range(size):
        for w in range(_LANES):
            total[w] += message[a, w]
    inverse = np.empty(_LANES)
    for w in range(_LANES):
        hard[w] |= not total[w] > _SAFE
        inverse[w] = 1.0 / total[w]
    for a in range(size):
        for w in range(_LANES):
            message[a, w] *= inverse[w]


@jit
def _record(total, product, log_p):
    """Multiply `product` by `total`, per lane, and move its logarithm to `log_p` before it leaves the range."""
    for w in range(_LANES):
        if 1e-100 < total[w] < 1e100:
            product[w] *= total[w]
            if not 1e-100 < product[w] < 1e100:
                log_p[w] += np.log(product[w])
                product[w] = 1.0
        else:
            log_p[w] += np.log(total[w])


@jit
def _upward(likelihood, start, rules, probs, widths, up, log_p, hard):
    """Fill `up` for the rows from `start`, the last one repeated, and `log_p` with log p(z), each per lane."""
    B, d, v = likelihood.shape
    L, _, m, s = rules.shape
    log_p[:] = -np.log(widths[0])
    hard[:] = False
    term, total, product = np.empty(_LANES), np.empty(_LANES), np.ones(_LANES)
    leaf = up.shape[0] - d
    for i in range(d):
        for w in range(_LANES):
            row = likelihood[min(start + w, B - 1), i]
            total[w] = 0.0
            for a in range(v):
                total[w] += row[a]
            hard[w] |= not 1e-300 < total[w] < 1e300
            inverse = 1.0 / total[w]
            for a in range(v):
                up[leaf + i, a, w] = row[a] * inverse
        _record(total, product, log_p)
    nodes, first = d // s, leaf - d // s
    for level in range(L - 1, -1, -1):
        for u in range(first, first + nodes):
            message, child = up[u], s * u + 1
            for a in range(widths[level]):
                for w in range(_LANES):
                    message[a, w] = 0.0
                for r in range(m):
                    p, rule = probs[level, r], rules[level, a, r]
                    if s == 2:
                        left, right = up[child, rule[0]], up[child + 1, rule[1]]
                        for w in range(_LANES):
                            message[a, w] += p * left[w] * right[w]
                    else:
                        _product(term, p, up, child, rule, -1)
                        for w in range(_LANES):
                            message[a, w] += term[w]
            _normalise(message, widths[level], total, hard)
            _record(total, product, log_p)
        nodes //= s
        first -= nodes
    log_p += np.log(product)


@jit
def _downward(rules, probs, widths, up, down, hard):
    """Fill `down` with the normalised cavities of all nodes, per lane."""
    L, _, m, s = rules.shape
    term, total = np.empty(_LANES), np.empty(_LANES)
    down[0] = 1.0 / widths[0]
    nodes, first = 1, 0
    for level in range(L):
        for u in range(first, first + nodes):
            child = s * u + 1
            down[child : child + s] = 0.0
            for a in range(widths[level]):
                mu = down[u, a]
                for r in range(m):
                    p, rule = probs[level, r], rules[level, a, r]
                    if s == 2:
                        left, right = up[child, rule[0]], up[child + 1, rule[1]]
                        to_left, to_right = down[child, rule[0]], down[child + 1, rule[1]]
                        for w in range(_LANES):
                            x = p * mu[w]
                            to_left[w] += x * right[w]
                            to_right[w] += x * left[w]
                    else:
                        for j in range(s):
                            _product(term, p, up, child, rule, j)
                            mu_child = down[child + j, rule[j]]
                            for w in range(_LANES):
                                mu_child[w] += mu[w] * term[w]
            for j in range(s):
                _normalise(down[child + j], widths[level + 1], total, hard)
        first += nodes
        nodes *= s


@jit
def _product(term, p, up, child, rule, left_out):
    """`term` <- p times the messages of the children to the symbols of a rule, but for the child `left_out`."""
    for w in range(_LANES):
        term[w] = p
    for k in range(rule.size):
        if k != left_out:
            message = up[child + k, rule[k]]
            for w in range(_LANES):
                term[w] *= message[w]


@jit
def _room(likelihood, rules):
    """Messages of all nodes, and two numbers for each lane."""
    d, v = likelihood.shape[1:]
    nodes = d + (d - 1) // (rules.shape[3] - 1)
    return np.empty((nodes, max(v, rules.shape[1]), _LANES)), np.empty(_LANES), np.empty(_LANES, np.bool_)


@jit
def _evidence(likelihood, rules, probs, widths, log_p, hard):
    up, log_p_lanes, hard_lanes = _room(likelihood, rules)
    for start in range(0, len(likelihood), _LANES):
        _upward(likelihood, start, rules, probs, widths, up, log_p_lanes, hard_lanes)
        for row in range(start, min(start + _LANES, len(likelihood))):
            log_p[row], hard[row] = log_p_lanes[row - start], hard_lanes[row - start]


@jit
def _marginals(likelihood, rules, probs, widths, cavity, posterior, latents, log_p, hard):
    """All `Beliefs`; latents are (B, n_latents, n_c or v), or (0, ...) to leave them out."""
    B, d, v = likelihood.shape
    up, log_p_lanes, hard_lanes = _room(likelihood, rules)
    down, total, above = np.empty_like(up), np.empty(_LANES), len(up) - d
    for start in range(0, B, _LANES):
        _upward(likelihood, start, rules, probs, widths, up, log_p_lanes, hard_lanes)
        _downward(rules, probs, widths, up, down, hard_lanes)
        for u in range(0 if len(latents) else above, len(up)):
            size = widths[0] if u == 0 else v
            for a in range(size):
                for w in range(_LANES):
                    up[u, a, w] *= down[u, a, w]
            _normalise(up[u], size, total, hard_lanes)
        for row in range(start, min(start + _LANES, B)):
            w = row - start
            for i in range(d):
                for a in range(v):
                    cavity[row, i, a] = down[above + i, a, w]
                    posterior[row, i, a] = up[above + i, a, w]
            if len(latents):
                latents[row] = up[:above, :, w]
            log_p[row], hard[row] = log_p_lanes[w], hard_lanes[w]


@jit
def _samples(likelihood, rules, probs, widths, uniform, x, hard):
    B, d = likelihood.shape[:2]
    L, _, m, s = rules.shape
    up, log_p_lanes, hard_lanes = _room(likelihood, rules)
    symbols, cdf = np.empty(len(up), np.int64), np.empty(max(m, up.shape[1]))
    above = len(up) - d
    for start in range(0, B, _LANES):
        _upward(likelihood, start, rules, probs, widths, up, log_p_lanes, hard_lanes)
        for row in range(start, min(start + _LANES, B)):
            w = row - start
            hard[row] = hard_lanes[w]
            if hard[row]:
                continue
            for c in range(widths[0]):
                cdf[c] = up[0, c, w]
            symbols[0] = _draw(cdf[: widths[0]], uniform[row, 0])
            nodes, first = 1, 0
            for level in range(L):
                for u in range(first, first + nodes):
                    table = rules[level, symbols[u]]
                    for r in range(m):
                        cdf[r] = probs[level, r]
                        for j in range(s):
                            cdf[r] *= up[s * u + 1 + j, table[r, j], w]
                    rule = table[_draw(cdf[:m], uniform[row, 1 + u])]
                    for j in range(s):
                        symbols[s * u + 1 + j] = rule[j]
                first += nodes
                nodes *= s
            for i in range(d):
                x[row, i] = symbols[above + i]


@jit
def _draw(weights, uniform):
    """An index by inversion; sums up `weights`."""
    for k in range(1, weights.size):
        weights[k] += weights[k - 1]
    target = min(uniform * weights[-1], np.nextafter(weights[-1], 0.0))
    k = 0
    while weights[k] <= target:
        k += 1
    return k
