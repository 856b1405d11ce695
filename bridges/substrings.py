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
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bridges.intervals import Estimate, bootstrap_mean
from bridges.streams import as_seed, stream
from bridges.system import check_confidence

QUARTILES = 4


def substring_memorization(
    grammar: Any,
    training: np.ndarray,
    generated: np.ndarray,
    *,
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Memorization and over-production of the training strings' substrings, by level and by how common they are.

    Parameters
    ----------
    grammar : a `uddm.corpora.RandomHierarchy`
    training, generated : strings (P, d) and (N, d)
    rng : seed or generator of the bootstrap over generated strings
    confidence : of the intervals, in (0, 1)

    Returns
    -------
    Dataset over `level` (1: s tokens, ..., L: the string), `quartile` of the substrings' probability p_w (1: rarest,
    4: most common, 0: all together) and `estimate` (value, low, high): `memorized` and `overproduced`, as above, NaN
    where there is nothing to compare; and `probability` (level, quartile), the mean p_w.

    Raises
    ------
    ValueError : strings of the wrong shape or alphabet, training strings not of the grammar, `confidence` out of range.
    """
    check_confidence(confidence)
    training, generated = np.asarray(training), np.asarray(generated)
    if not np.isfinite(grammar.log_prob(training)).all():
        raise ValueError("`training` must hold strings of the grammar")
    grammar.is_valid(generated)  # shape and alphabet
    seed = as_seed(rng)
    shape = (grammar.depth, QUARTILES + 1)
    memorized, overproduced = np.full((*shape, 3), np.nan), np.full((*shape, 3), np.nan)
    probability = np.full(shape, np.nan)
    for level in range(1, grammar.depth + 1):
        words, n, places = _substrings(grammar, training, generated, level)
        p = np.exp(_log_probs(grammar, words, level))
        quartile = 1 + (p.argsort(kind="stable").argsort() * QUARTILES // len(p))
        for q in range(QUARTILES + 1):
            chosen = quartile == q if q else np.ones(len(p), bool)
            deviation, chance = (n - p) * chosen, p[chosen].sum()
            norm = (deviation**2).sum()
            probability[level - 1, q] = p[chosen].mean() if chosen.any() else np.nan
            how = {"rng": stream(seed, "substrings", level, q), "confidence": confidence}
            if norm > 0:
                per_string = (_total(deviation, places) - p @ deviation) / norm
                memorized[level - 1, q] = bootstrap_mean(per_string, **how)
            if chance > 0:
                overproduced[level - 1, q] = bootstrap_mean(_total(chosen / chance, places), **how)
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
    grammar: Any, training: np.ndarray, generated: np.ndarray, level: int
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


def _log_probs(grammar: Any, words: np.ndarray, level: int) -> np.ndarray:
    """log p_w: what belief propagation says of strings seen only at these places."""
    from uddm import belief

    size = grammar.branching**level
    found = []
    for block in np.array_split(words, 1 + len(words) // 4096):
        likelihood = np.ones((len(block), grammar.length, grammar.symbols))
        rows, columns = np.arange(len(block))[:, None], block[:, :1] * size + np.arange(size)
        likelihood[rows, columns] = np.eye(grammar.symbols)[block[:, 1:]]
        found.append(belief.log_prob(grammar, likelihood))
    return np.concatenate(found)


def _total(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Sum of `values` (W,) over the substrings of each generated string that are among W, (N,)."""
    return np.append(values, 0.0)[places].sum(1)
