"""The numba kernels of belief propagation, for `_LANES` strings side by side.

Messages are (node, symbol, lane), nodes counted from the root, level by level, each message divided by its sum over
symbols. A string for which a sum falls below `_SAFE` is marked as hard, and what is found for it not to be used.
"""

import numpy as np

from uddm._jit import jit

_LANES = 64
_SAFE = 1e-200


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
    for w in range(_LANES):
        log_p[w] += np.log(product[w])


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
def log_prob(likelihood, rules, probs, widths, log_p, hard):
    up, log_p_lanes, hard_lanes = _room(likelihood, rules)
    for start in range(0, len(likelihood), _LANES):
        _upward(likelihood, start, rules, probs, widths, up, log_p_lanes, hard_lanes)
        for row in range(start, min(start + _LANES, len(likelihood))):
            log_p[row], hard[row] = log_p_lanes[row - start], hard_lanes[row - start]


@jit
def marginals(likelihood, rules, probs, widths, cavity, posterior, latents, log_p, hard):
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
                for u in range(above):
                    for a in range(up.shape[1]):
                        latents[row, u, a] = up[u, a, w]
            log_p[row], hard[row] = log_p_lanes[w], hard_lanes[w]


@jit
def samples(likelihood, rules, probs, widths, uniform, x, hard):
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
