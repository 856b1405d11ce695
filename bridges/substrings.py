"""Which substrings of its training strings a model of a hierarchical language has memorized, and over-produces.

A substring of level k is the s^k tokens below one symbol of the grammar, at its place in the string; the last level is
the whole string. Let n_w, g_w and p_w be the shares of the training strings, of the generated strings, and of the
strings of an exact sampler of the grammar, that have w in its place. Common substrings are frequent in all three, so
none of these says anything by itself. Over the substrings W of the training strings,

    memorized = sum_W (g_w - p_w)(n_w - p_w) / sum_W (n_w - p_w)^2        overproduced = sum_W g_w / sum_W p_w

The first is 0 for an exact sampler of the grammar, whatever the rule probabilities, and 1 for a sampler of the training
set: the share of the training set's deviations from the language that the model repeats. The second is 1 for the
sampler of the grammar. That models memorize what is typical first, and over-produce it, is the claim of arXiv
2605.30642.

A training set of distinct strings deviates from the language also by being distinct: with unequal rules common strings
are rarer in it than p, and a model that has the law of such sets scores above 0 without repeating any of them. Another
such set, as the generated strings, tells how much: about .4 at levels 1 to 3 for 1024 strings of 8 symbols, 2
rules, depth 4, Zipf 1, and 0 within errors for 128 of them, or for equal rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Integer

from amtheory.intervals import Estimate, bootstrap_mean, wilson
from bridges.streams import as_seed, stream
from bridges.system import check_confidence
from uddm._validation import check_tokens

if TYPE_CHECKING:
    from uddm.corpora import RandomHierarchy

QUARTILES = 4


def substring_memorization(
    grammar: RandomHierarchy,
    training: Integer[np.ndarray, "P d"],
    generated: Integer[np.ndarray, "N d"],
    *,
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Memorization and over-production of the training strings' substrings, by level and by how common they are.

    Parameters
    ----------
    grammar : a `uddm.corpora.RandomHierarchy`
    training : (P, d) strings of the grammar, d = s^L, that the model was trained on
    generated : (N, d) strings that the model made, of the same alphabet
    rng : None, an integer seed >= 0 or a Generator, of the bootstrap over generated strings; default None, fresh
        entropy
    confidence : of the intervals, in (0, 1); default 0.95

    Returns
    -------
    Dataset over `level` (1: s tokens, ..., L: the string), `quartile` of the substrings' probability p_w (1: rarest,
    4: most common, 0: all together) and `estimate` (value, low, high): `memorized` and `overproduced`, as above, NaN
    where there is nothing to compare; and `probability` (level, quartile), the mean p_w. Substrings of equal p_w are in
    one quartile, that of their middle, so that others may be empty; if all are equal there are none. Intervals are
    bootstrap over generated strings, and at least as wide as Wilson's of the number of substrings found, which holds
    also where few are, or none.

    Raises
    ------
    TypeError, ValueError : strings of the wrong shape or alphabet, training strings not of the grammar, `confidence`
        out of range

    Examples
    --------
    >>> from bridges import substring_memorization
    >>> from uddm.corpora import RandomHierarchy
    >>> grammar = RandomHierarchy(symbols=4, rules=2, branching=2, depth=2, seed=0)
    >>> training = grammar.sample(8, rng=0)
    >>> found = substring_memorization(grammar, training, training, rng=0)  # a model that repeats them
    >>> found.memorized.sel(quartile=0, estimate="value").values.round(2).tolist()
    [1.0, 1.0]
    """
    check_confidence(confidence)
    if not hasattr(grammar, "symbols"):
        raise TypeError(f"`grammar` must be a RandomHierarchy, got {type(grammar).__name__}")
    given = {"training": training, "generated": generated}
    training, generated = (
        check_tokens(name, x, grammar.symbols, length=grammar.length).numpy() for name, x in given.items()
    )
    if not np.isfinite(grammar.log_prob(training)).all():
        raise ValueError("`training` must hold strings of the grammar")
    seed = as_seed(rng)
    shape = (grammar.depth, QUARTILES + 1)
    memorized, overproduced = np.full((*shape, 3), np.nan), np.full((*shape, 3), np.nan)
    probability = np.full(shape, np.nan)
    for level in range(1, grammar.depth + 1):
        words, n, places = _substrings(grammar, training, generated, level)
        log_p = _log_probs(grammar, words, level)
        p = np.exp(log_p)
        quartile = _quartiles(log_p)
        for q in range(QUARTILES + 1):
            chosen = quartile == q if q else np.ones(len(p), bool)
            deviation, chance = (n - p) * chosen, p[chosen].sum()
            norm = (deviation**2).sum()
            probability[level - 1, q] = p[chosen].mean() if chosen.any() else np.nan
            rng = stream(seed, "substrings", level, q)
            if norm > 0:
                share = _mean_total(deviation / norm, chosen, places, rng, confidence)
                memorized[level - 1, q] = np.array(share) - p @ deviation / norm
            if chance > 0:
                overproduced[level - 1, q] = _mean_total(chosen / chance, chosen, places, rng, confidence)
    dims = ("level", "quartile", "estimate")
    return xr.Dataset(
        {
            "memorized": (dims, memorized),
            "overproduced": (dims, overproduced),
            "probability": (("level", "quartile"), probability),
        },
        coords={
            "level": range(1, grammar.depth + 1),
            "quartile": range(QUARTILES + 1),
            "estimate": list(Estimate._fields),
        },
    )


def _substrings(
    grammar: RandomHierarchy, training: np.ndarray, generated: np.ndarray, level: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct (place, tokens...) of a level in the training strings, (W, 1 + s^k); their shares n_w, (W,); and for
    the substrings of each generated string their index among these, or W if it is none of them, (N, places)."""

    def cut(x: np.ndarray) -> np.ndarray:
        parts = x.reshape(len(x), -1, grammar.branching**level)
        place = np.broadcast_to(np.arange(parts.shape[1])[None, :, None], (*parts.shape[:2], 1))
        return np.concatenate([place, parts], -1).reshape(-1, 1 + parts.shape[2]).astype(np.int64)

    words, counts = np.unique(cut(training), axis=0, return_counts=True)
    index = {word.tobytes(): w for w, word in enumerate(words)}
    found = [index.get(word.tobytes(), len(words)) for word in cut(generated)]
    return words, counts / len(training), np.array(found).reshape(len(generated), -1)


def _log_probs(grammar: RandomHierarchy, words: np.ndarray, level: int) -> np.ndarray:
    """log p_w: what belief propagation says of strings seen only at these places."""
    from uddm.hierarchy import belief

    size = grammar.branching**level
    found = []
    for block in np.array_split(words, 1 + len(words) // 4096):
        likelihood = np.ones((len(block), grammar.length, grammar.symbols))
        rows, columns = np.arange(len(block))[:, None], block[:, :1] * size + np.arange(size)
        likelihood[rows, columns] = np.eye(grammar.symbols)[block[:, 1:]]
        found.append(belief.log_prob(grammar, likelihood))
    return np.concatenate(found)


def _quartiles(log_p: np.ndarray) -> np.ndarray:
    """1 to 4 by rank; equal values, but for rounding, have their mean rank; 0 if all are equal."""
    _, group, sizes = np.unique(log_p.round(9), return_inverse=True, return_counts=True)
    rank = (sizes.cumsum() - (sizes + 1) / 2)[group]
    return (1 + rank * QUARTILES // len(log_p)) * (len(sizes) > 1)


def _mean_total(
    weights: np.ndarray, chosen: np.ndarray, places: np.ndarray, rng: np.random.Generator, confidence: float
) -> Estimate:
    """The mean over generated strings of the `weights` of their substrings, which are 0 for those not `chosen`.

    With h of the substrings chosen, the mean is their mean weight times h/N, of which Wilson gives the interval.
    """
    value, low, high = bootstrap_mean(_total(weights, places), rng, confidence=confidence)
    rate, least, most = wilson(_total(chosen, places).sum(), places.size, confidence)
    slope = value / rate if rate else weights[chosen].mean() * places.shape[1]
    ends = sorted((slope * least, slope * most))
    return Estimate(value, float(np.minimum(low, ends[0])), float(np.maximum(high, ends[1])))


def _total(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Sum of `values` (W,) over the substrings of each generated string that are among W, (N,)."""
    return np.append(values, 0.0)[places].sum(1)
