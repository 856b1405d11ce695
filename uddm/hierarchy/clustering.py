"""What strings alone tell about their grammar: iterative latent clustering, a baseline for learned denoisers.

Tuples that one symbol makes (synonyms) have the same law of cousins, the tuples with the same grandparent. Level by
level from the tokens: cluster the tuples by the law of their cousins, replace each by its cluster, and go on with the
string that is s times shorter. As the target is the latent symbol and not a token, the correlations do not weaken with
the level: some v m^3/(1 - m/v^(s-1)) strings are enough at any depth, where learning from tokens takes v m^(L+1)
(Korchinski, Favero and Wyart, arXiv 2605.27734). At m = v^(s-1) all tuples occur, cousins are independent, and nothing
can be learned. The class has no cousins, and is not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from uddm._validation import check_kind, check_positive_int, check_tokens, check_tree
from uddm.hierarchy.grammar import Ints, RandomHierarchy, count_tuples
from uddm.streams import as_rng

Floats = NDArray[np.float64]

_RESTARTS = 20


@dataclass(frozen=True)
class LatentClusters:
    """Clusters of all tuples of strings, found by `cluster_latents`.

    Parameters
    ----------
    x : the strings, (P, d) ids
    levels : clusters of the tuples, levels[h] (P, d/s^(h+1)), h = 0 those of tokens

    Examples
    --------
    >>> from uddm.corpora import RandomHierarchy, cluster_latents
    >>> grammar = RandomHierarchy(symbols=4, rules=2, depth=2, seed=0)
    >>> found = cluster_latents(grammar.sample(2000, rng=0), symbols=4, branching=2, depth=2, rng=0)
    >>> [level.shape for level in found.levels], found.purity(grammar).tolist()
    ([(2000, 2)], [1.0])
    """

    x: Int64[np.ndarray, "P d"]
    levels: list[Int64[np.ndarray, "P _"]]

    def purity(self, grammar: RandomHierarchy) -> Float64[np.ndarray, " {len(self.levels)}"]:
        """Share of tuples whose symbol is the most frequent of their cluster, in [0, 1]; (L - 1,) from the leaves up.

        Parameters
        ----------
        grammar : that of the strings, unambiguous

        Raises
        ------
        ValueError : another grammar
        """
        check_kind("grammar", grammar, RandomHierarchy)
        strings = self.x.shape[1] == grammar.length and self.x.max() < grammar.symbols
        if grammar.ambiguous or not (strings and grammar.is_valid(self.x).all()):
            raise ValueError("`grammar` must be that of the strings and unambiguous, got one that is not")
        _, *latents = grammar.parse(self.x)
        counts = [np.zeros((clusters.max() + 1, grammar.symbols)) for clusters in self.levels]
        for count, clusters, symbols in zip(counts, self.levels, reversed(latents)):
            np.add.at(count, (clusters, symbols), 1)
        return np.array([count.max(1).sum() / count.sum() for count in counts])


def cluster_latents(x: ArrayLike, *, symbols: int, branching: int, depth: int, rng: Any = None) -> LatentClusters:
    """Cluster the tuples of strings into v symbols at each level but the class.

    A level with D kinds of tuples, v m if those below were found, takes memory ~ D^2 and time ~ s^2 D^3.

    Parameters
    ----------
    x : strings, (P, s^L) ids
    symbols, branching, depth : v >= 2, s >= 2 and L >= 2, as for `RandomHierarchy`
    rng : a seed or a numpy Generator, for the starts of k-means; None, the default, fresh entropy

    Returns
    -------
    LatentClusters

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range
    """
    symbols = check_positive_int("symbols", symbols, at_least=2)
    branching, depth = check_tree(branching, depth, least_depth=2)
    count_tuples(symbols, branching)
    tokens = check_tokens("x", x, symbols, length=branching**depth).numpy()
    rng, levels, string = as_rng(rng), [], tokens
    for _ in range(depth - 1):
        codes = string.reshape(len(tokens), -1, branching) @ symbols ** np.arange(branching)
        kinds, ids = np.unique(codes, return_inverse=True)
        ids = ids.reshape(codes.shape)
        string = _kmeans(*_contexts(ids, len(kinds), branching, symbols), symbols, rng)[ids]
        levels.append(string)
    return LatentClusters(tokens, levels)


def _contexts(ids: Ints, D: int, s: int, v: int) -> tuple[Floats, Floats]:
    """Principal v - 1 components of the law of the cousins of each kind of tuple, (D, v - 1), and its count, (D,).

    For ordered positions j, k below a grandparent, [p(cousin at k | tuple at j) - p(cousin at k)]/sqrt p(cousin at k),
    in which all entries of a row have the same noise, 1/count: rows enter the decomposition times sqrt(count).
    """
    families, gram = ids.reshape(-1, s), np.zeros((D, D))
    for j in range(s):
        for k in set(range(s)) - {j}:
            joint = np.bincount(families[:, j] * D + families[:, k], minlength=D * D).reshape(D, D)
            expected = joint.sum(1, keepdims=True) * joint.sum(0) / len(families)
            scale = np.sqrt(np.maximum(expected, 1e-300))
            block = (joint - expected) / scale  # times sqrt(count at j)
            gram += block @ block.T
    count = np.bincount(families.ravel(), minlength=D).astype(np.float64)
    squares, U = eigh(gram, subset_by_index=[max(0, D - v + 1), D - 1])
    return U * np.sqrt(np.maximum(squares, 0) / count[:, None]), count


def _kmeans(points: Floats, weights: Floats, k: int, rng: np.random.Generator) -> Ints:
    """Clusters (D,) of points (D, n) with weights: the best of several runs of Lloyd's algorithm from k-means++ starts
    (Arthur and Vassilvitskii 2007)."""
    k = min(k, len(points))
    best, lowest = np.zeros(len(points), np.int64), np.inf
    for _ in range(_RESTARTS):
        chosen = [rng.choice(len(points), p=weights / weights.sum())]
        for _ in range(k - 1):
            far = weights * _distances(points, points[chosen]).min(1)
            chosen.append(rng.choice(len(points), p=far / far.sum()) if far.any() else chosen[0])
        centres, labels = points[chosen], np.full(len(points), -1)
        while (new := (distances := _distances(points, centres)).argmin(1)).tolist() != labels.tolist():
            labels = new
            members = np.eye(k)[labels] * weights[:, None]
            mass = members.sum(0)
            centres = np.where(mass[:, None] > 0, members.T @ points / np.maximum(mass, 1e-300)[:, None], centres)
        inertia = (weights * distances.min(1)).sum()
        if inertia < lowest:
            best, lowest = labels, inertia
    return best


def _distances(points: Floats, centres: Floats) -> Floats:
    return ((points[:, None] - centres) ** 2).sum(-1)
