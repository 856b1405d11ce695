"""Co-occurrence statistics and their leading eigenvectors: the first step of the linear denoiser, and embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from amtheory import _validation as check

Floats = NDArray[np.float64]
Statistic = Literal["ratio", "log", "positive-log", "bounded"]
STATISTICS = ("ratio", "log", "positive-log", "bounded")

_BLOCK = 2**20  # tokens counted at a time
_DENSE = 1000  # words of which the whole spectrum is found


def first_step(
    joint: ArrayLike, alpha: float, *, objective: Literal["nelbo", "cross-entropy"] = "nelbo"
) -> Float64[np.ndarray, "K K"]:
    """-d loss / d A_lm, (K, K), of the linear logits g_l(k) = h_l[k] + sum_m A_lm[k, z_m], at A = 0, h = log P_l.

    With C(k, j) = P(x_l = k, x_m = j) - P_l(k) P_m(j), q = alpha P_l + (1 - alpha)/K and J = diag(P_l) - P_l P_l^T,

        "cross-entropy" -log x_theta(x_l):      alpha C,
        "nelbo", per unit of alpha:             alpha^2 J diag(1/q + 1/(K q^2)) C,

    the latter of the diffusion term of the bound and 2 alpha^2 C for uniform P_l: the weight of the bound is 2 alpha.
    Integrated over alpha the two give C/2 and, for uniform P_l, (2/3) C = (2/3) (M - 1)/K^2 (if P_m is uniform too).

    Parameters
    ----------
    joint : P(x_l = k, x_m = j), (K, K), >= 0, sums to 1; P_l > 0
    alpha : the schedule's alpha, in [0, 1)

    Raises ValueError for anything else.
    """
    joint = check.reals("joint", joint, ndim=2)
    if joint.shape[0] != joint.shape[1] or not (joint >= 0).all() or not np.isclose(joint.sum(), 1):
        raise ValueError(f"`joint` must be square, >= 0 and sum to 1, got shape {joint.shape}, sum {joint.sum():.6g}")
    p, K = joint.sum(1), len(joint)
    if not (p > 0).all():
        raise ValueError("`joint` must have no empty row")
    if (alpha := check.real("alpha", alpha, positive=False)) >= 1:
        raise ValueError(f"`alpha` must be in [0, 1), got {alpha}")
    check.choice("objective", objective, ("nelbo", "cross-entropy"))
    C = joint - np.outer(p, joint.sum(0))
    if objective == "cross-entropy":
        return alpha * C
    q = alpha * p + (1 - alpha) / K
    weighted = p[:, None] * (1 / q + 1 / (K * q**2))[:, None] * C
    return alpha**2 * (weighted - np.outer(p, weighted.sum(0)))


def cooccurrence(sentences: Iterable[ArrayLike], vocab_size: int, *, window: int) -> sparse.csr_array:
    """Counts of ordered pairs of words at most `window` tokens apart in one sentence, (K, K) symmetric float64.

    Sentences are one-dimensional arrays of ids in [0, vocab_size), or the rows of one array; they are read once, in
    blocks. ValueError or TypeError for other ids, or without any pair.
    """
    vocab_size, window = check.integer("vocab_size", vocab_size, 1), check.integer("window", window, 1)
    counts = sparse.csr_array((vocab_size, vocab_size), dtype=np.float64)
    block, size = [], 0
    for sentence in check.iterated("sentences", sentences):
        words = check.unmasked("sentences", sentence)
        if words.ndim != 1 or (words.size and words.dtype.kind not in "iu"):
            raise TypeError(f"`sentences` must be 1-d arrays of integers, got dtype {words.dtype}, shape {words.shape}")
        if words.size and (words.min() < 0 or words.max() >= vocab_size):
            raise ValueError(f"`sentences` must hold ids in [0, {vocab_size - 1}], got [{words.min()}, {words.max()}]")
        block.append(words)
        size += len(words)
        if size >= _BLOCK:
            counts, block, size = counts + _pairs(block, vocab_size, window), [], 0
    if block:
        counts = counts + _pairs(block, vocab_size, window)
    if counts.nnz == 0:
        raise ValueError("`sentences` must have a sentence of two words or more")
    return sparse.csr_array(counts + counts.T)


def _pairs(block: list[NDArray[Any]], K: int, window: int) -> sparse.csr_array:
    words = np.concatenate(block).astype(np.int64)
    sentence = np.repeat(np.arange(len(block)), [len(s) for s in block])
    counts = sparse.csr_array((K, K), dtype=np.float64)
    for d in range(1, min(window, max(map(len, block)) - 1) + 1):
        within = sentence[d:] == sentence[:-d]
        pairs = words[:-d][within], words[d:][within]
        counts = counts + sparse.coo_array((np.ones(within.sum()), pairs), shape=(K, K)).tocsr()
    return counts


def _matrix(name: str, value: Any) -> NDArray[Any]:
    array = check.unmasked(name, value)
    if array.ndim != 2 or array.dtype.kind not in "biufc":
        raise ValueError(f"`{name}` must be a matrix of numbers, got shape {array.shape}, dtype {array.dtype}")
    return array


class Embeddings(NamedTuple):
    """vectors (K, d) = eigenvectors (K, d) * sqrt(eigenvalues (d,)), the largest first; negative ones give zeros."""

    vectors: Float64[np.ndarray, "K d"]
    eigenvalues: Float64[np.ndarray, " d"]
    eigenvectors: Float64[np.ndarray, "K d"]


def embed(counts: ArrayLike | sparse.sparray, dimension: int, *, statistic: Statistic = "log") -> Embeddings:
    """Word embeddings from co-occurrence counts, or probabilities, P(i, j) up to a factor.

    Parameters
    ----------
    counts : (K, K), finite, symmetric, >= 0, dense or sparse, no empty row
    dimension : d in [1, K]
    statistic : with M(i, j) = P(i, j)/(P(i) P(j)),

        - "ratio": M - 1
        - "log": log M, pointwise mutual information; pairs that never occur count as 0
        - "positive-log": max(log M, 0)
        - "bounded": 2 (M - 1)/(M + 1), in [-2, 2) (arXiv 2602.15029)

    Eigenvectors of one eigenvalue are defined up to a rotation; signs are such that the first component of at least 0.9
    of the largest magnitude is positive.

    Raises
    ------
    ValueError : an argument out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import embed
    >>> embed(np.array([[2.0, 1.0], [1.0, 2.0]]), 1, statistic="ratio").vectors.shape
    (2, 1)
    """
    found: Any = counts if sparse.issparse(counts) else _matrix("counts", counts)
    if found.dtype.kind not in "biuf" or not np.isfinite(found.sum()):
        raise ValueError(f"`counts` must be finite real numbers, got dtype {found.dtype}, NaN or infinity")
    S: Any = sparse.csr_array(found.astype(np.float64), copy=True)
    K = S.shape[0]
    if S.shape != (K, K) or not K or (S.data < 0).any() or abs(S - S.T).max() > 1e-9 * S.max():
        raise ValueError(f"`counts` must be square, symmetric and >= 0, got shape {S.shape}")
    dimension = check.integer("dimension", dimension, 1, K)
    check.choice("statistic", statistic, STATISTICS)
    total = np.asarray(S.sum(1)).ravel()
    if not (total > 0).all():
        raise ValueError(f"`counts` must have no empty row, got {np.count_nonzero(total == 0)}: drop these words")
    S.eliminate_zeros()
    rows = np.repeat(np.arange(K), np.diff(S.indptr))
    M = S.data * total.sum() / (total[rows] * total[S.indices])
    of_data, constant = {
        "ratio": (lambda: M, -1.0),
        "log": (lambda: np.log(M), 0.0),
        "positive-log": (lambda: np.maximum(np.log(M), 0), 0.0),
        "bounded": (lambda: 4 * M / (M + 1), -2.0),
    }[statistic]
    S.data = of_data()
    if K <= _DENSE or dimension > K // 2:
        eigenvalues, vectors = np.linalg.eigh(S.toarray() + constant)
        eigenvalues, vectors = eigenvalues[-dimension:], vectors[:, -dimension:]
    else:
        operator: Any = LinearOperator
        matrix = operator((K, K), lambda v: S @ v + constant * v.sum(0), dtype=np.float64)
        start = np.random.default_rng(0).normal(size=K)
        eigenvalues, vectors = eigsh(matrix, dimension, which="LA", v0=start)
    order = np.argsort(-eigenvalues, kind="stable")
    eigenvalues, vectors = eigenvalues[order], vectors[:, order]
    leading = (abs(vectors) >= 0.9 * abs(vectors).max(0)).argmax(0)
    vectors = vectors * np.where(vectors[leading, np.arange(dimension)] < 0, -1, 1)
    return Embeddings(vectors * np.sqrt(np.maximum(eigenvalues, 0)), eigenvalues, vectors)
