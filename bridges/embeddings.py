"""From the first step of a linear denoiser to word embeddings: the eigenvectors of co-occurrence statistics.

With P(i, j) the frequency of words i, j in one window and P(i) its marginal, M(i, j) = P(i, j) / (P(i) P(j)). Word
embeddings are top eigenvectors times sqrt(eigenvalue) of M - 1, of log M, or of a bounded variant (arXiv 2505.18651,
2602.15029). The linear-logit diffusion model (`uddm.Linear`) takes its first step along the same matrix:
`first_step`, for uniform P(i) a multiple of M - 1.

Two languages in which all is known, of sentences of words that are independent given a latent: `CyclicLanguage`
(months) and `AttributeLanguage` (king, queen, man, woman).
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from amtheory import _validation as check
from amtheory.intervals import Estimate, wilson
from bridges.system import check_confidence

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Statistic = Literal["ratio", "log", "positive-log", "bounded"]
STATISTICS = ("ratio", "log", "positive-log", "bounded")

_BLOCK = 2**20  # tokens counted at a time
_DENSE = 1000  # words of which the whole spectrum is found
_QUESTIONS = 512  # questions answered at a time


def first_step(joint: ArrayLike, alpha: float, *, objective: Literal["nelbo", "cross-entropy"] = "nelbo") -> Floats:
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
    joint = check.unmasked("joint", joint).astype(np.float64)
    if joint.ndim != 2 or joint.shape[0] != joint.shape[1] or not (joint >= 0).all() or not np.isclose(joint.sum(), 1):
        raise ValueError(f"`joint` must be square, >= 0 and sum to 1, got shape {joint.shape}, sum {joint.sum():.6g}")
    p, K = joint.sum(1), len(joint)
    if not (p > 0).all():
        raise ValueError("`joint` must have no empty row")
    if not 0 <= check.real("alpha", alpha, positive=False) < 1:
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
    check.integer("vocab_size", vocab_size, 1)
    check.integer("window", window, 1)
    counts = sparse.csr_array((vocab_size, vocab_size), dtype=np.float64)
    block, size = [], 0
    for sentence in sentences:
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


class Embeddings(NamedTuple):
    """vectors (K, d) = eigenvectors (K, d) * sqrt(eigenvalues (d,)), the largest first; negative ones give zeros."""

    vectors: Floats
    eigenvalues: Floats
    eigenvectors: Floats


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

    Raises ValueError for arguments out of range.
    """
    S: Any = sparse.csr_array(counts, copy=True)
    K = S.shape[0]
    if S.dtype.kind not in "biuf" or not np.isfinite(S.data).all():
        raise ValueError(f"`counts` must be finite real numbers, got dtype {S.dtype}, NaN or infinity")
    S = S.astype(np.float64, copy=False)
    if S.shape != (K, K) or not K or (S.data < 0).any() or abs(S - S.T).max() > 1e-9 * S.max():
        raise ValueError(f"`counts` must be square, symmetric and >= 0, got shape {S.shape}")
    check.integer("dimension", dimension, 1, K)
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


def _sample_given_latents(of_latents: Floats, sentences: int, length: int, rng: Any) -> NDArray[np.int64]:
    """Sentences of a latent drawn at random and words that are independent given it, P(word | latent) (Z, K)."""
    check.integer("sentences", sentences, 1)
    check.integer("length", length, 1)
    generator = check.generator(rng)
    Z, K = of_latents.shape
    latent = generator.integers(Z, size=(sentences, 1))
    edges = np.cumsum(of_latents, axis=1) + np.arange(Z)[:, None]  # one search for all latents
    u = np.minimum(generator.random((sentences, length)), 1 - 1e-15) + latent
    return np.minimum(np.searchsorted(edges.ravel(), u, side="right") - K * latent, K - 1)


@dataclass(frozen=True)
class CyclicLanguage:
    """N words on a circle, as months: a sentence has a season s, uniform, and words of probability p(i - s),

        p(d) proportional to exp(kappa cos(2 pi d / N)),      M(i, j) = C(i - j) = N sum_e p(e) p(e + i - j).

    M is circulant: its eigenvectors are Fourier modes, lambda_k = sum_D C(D) cos(2 pi k D / N) = N |p^(k)|^2 (of M - 1
    but for k = 0, where 0), and the first pair of embeddings is a circle (arXiv 2602.15029).

    ValueError unless `words` N >= 3 and `concentration` kappa > 0.
    """

    words: int = 12
    concentration: float = 1.0

    def __post_init__(self) -> None:
        check.integer("words", self.words, 3)
        check.real("concentration", self.concentration, positive=True)

    def profile(self) -> Floats:
        """p (N,)."""
        p = np.exp(self.concentration * (np.cos(2 * np.pi * np.arange(self.words) / self.words) - 1))
        return p / p.sum()

    def ratio(self) -> Floats:
        """M (N, N)."""
        p, i = self.profile(), np.arange(self.words)
        C = self.words * np.array([p @ np.roll(p, d) for d in i])
        return C[(i[:, None] - i) % self.words]

    def eigenvalues(self) -> Floats:
        """Of M - 1, lambda_k for k = 0, ..., N - 1."""
        D = np.arange(self.words)
        spectrum = np.cos(2 * np.pi * np.outer(D, D) / self.words) @ self.ratio()[0]
        return np.where(D == 0, 0.0, spectrum)

    def sample(self, sentences: int, length: int, *, rng: Any = None) -> NDArray[np.int64]:
        """(sentences, length) words."""
        i = np.arange(self.words)
        return _sample_given_latents(self.profile()[(i - i[:, None]) % self.words], sentences, length, rng)


@dataclass(frozen=True)
class AttributeLanguage:
    """2^n words with n binary attributes a in {-1, 1}^n: royal or not, female or not (arXiv 2505.18651).

        M = prod_k (1 + s_k a_k a'_k)

    A sentence has a preference b_k = +-1 for each attribute, uniform, and the attributes of its words follow it with
    probability (1 + sqrt(s_k))/2. For each set S of attributes chi_S = prod_{k in S} a_k is an eigenvector:

        M:      2^n prod_{k in S} s_k                                  (M - 1: 0 for the empty S)
        log M:  2^n atanh s_k for S = {k}, 2^(n-1) sum_k log(1 - s_k^2) for the empty S, 0 for all others

    Embeddings in the n modes chi_{k} have exact analogies, w(a) = sum_k a_k e_k, those of log M at any dimension, those
    of M until the next set, of eigenvalue 2^n prod s_k, enters.

    Without the pairs that differ in attribute r alone, all of which have the same M = c = (1 - s_r) prod_{k != r} (1 +
    s_k), M loses c times the flip of a_r: the eigenvectors stay, the eigenvalue of chi_S rises by c if r is in S and
    falls by c if not. Then M is divided by its new mean m. For log M, where such a pair counts as 0, the shift is
    log(c/m) instead, and 2^n log m less for the empty S.

    Matrices are (2^n, 2^n): 8 MiB for n = 10. ValueError unless all `strengths` s_k are in [0, 1).
    """

    strengths: tuple[float, ...]

    def __post_init__(self) -> None:
        if np.ndim(self.strengths) != 1 or not self.strengths or not all(0 <= s < 1 for s in self.strengths):
            raise ValueError(f"`strengths` must be numbers in [0, 1), got {self.strengths}")

    def attributes(self) -> NDArray[np.int64]:
        """a of each word, (2^n, n); bit k of a word's number is a_k = 1."""
        n = len(self.strengths)
        return 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1) - 1

    def ratio(self) -> Floats:
        """M (2^n, 2^n)."""
        return _of_words([[1 + s, 1 - s], [1 - s, 1 + s]] for s in self.strengths)

    def modes(self) -> tuple[Floats, Floats, Floats]:
        """chi_S (2^n, 2^n), column S for the set of the bits of S, and the eigenvalues of M and of log M."""
        s, N = np.array(self.strengths), 2 ** len(self.strengths)
        inside = self.attributes() > 0  # row S
        chi = _of_words([[1, -1], [1, 1]] for _ in self.strengths)
        of_log = np.where(inside.sum(1) == 1, N * (inside * np.arctanh(s)).sum(1), 0.0)
        of_log[0] = N / 2 * np.log1p(-(s**2)).sum()
        return chi, N * np.where(inside, s, 1).prod(1), of_log

    def without_relation(self, r: int) -> Floats:
        """M (2^n, 2^n), with zeros for the pairs that differ in attribute r alone."""
        check.integer("r", r, 0, len(self.strengths) - 1)
        i, M = np.arange(2 ** len(self.strengths)), self.ratio()
        M[i, i ^ 1 << r] = 0
        return M / M.mean()

    def analogies(self) -> dict[str, list[tuple[int, int, int, int]]]:
        """a : b :: c : d for each pair of attributes, "k,l": b is a with a_k flipped, c with a_l, d with both."""
        n = len(self.strengths)
        return {
            f"{k},{l}": [(w, w ^ 1 << k, w ^ 1 << l, w ^ 1 << k ^ 1 << l) for w in range(2**n)]
            for k, l in itertools.permutations(range(n), 2)
        }

    def sample(self, sentences: int, length: int, *, rng: Any = None) -> NDArray[np.int64]:
        """(sentences, length) words."""
        given = _of_words(np.array([[1 + r, 1 - r], [1 - r, 1 + r]]) / 2 for r in np.sqrt(self.strengths))
        return _sample_given_latents(given, sentences, length, rng)


def _of_words(factors: Iterable[Any]) -> Floats:
    """The product over attributes k, which are bits k of rows and columns, of factors (2, 2); (2^n, 2^n)."""
    return functools.reduce(lambda product, factor: np.kron(factor, product), factors, np.ones((1, 1)))


def word_sentences(lines: Iterable[str], *, most: int = 10_000, fewest: int = 1) -> tuple[list[str], list[NDArray]]:
    """The words of a text, the most frequent first, and its non-empty lines as arrays of their ids.

    Words are runs of letters and apostrophes (straight, or typographic, which count as straight) of the text in lower
    case. Kept are at most `most` of those that occur `fewest` times or more; the others are dropped from the lines, and
    windows reach over the gap. TypeError if `lines` is one string.
    """
    if isinstance(lines, str):
        raise TypeError("`lines` must be an iterable of lines, got one string: split it, as by str.splitlines")
    check.integer("most", most, 1)
    check.integer("fewest", fewest, 1)
    texts = [re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", line.lower().replace("’", "'")) for line in lines]
    frequency = Counter(itertools.chain.from_iterable(texts))
    words = [word for word, count in frequency.most_common(most) if count >= fewest]
    number = {word: i for i, word in enumerate(words)}
    return words, [ids for text in texts if len(ids := np.array([number[w] for w in text if w in number], int))]


def read_analogies(path: str | Path) -> dict[str, list[tuple[str, str, str, str]]]:
    """Questions a : b :: c : d of each category, in lower case, from a file such as Google's questions-words.txt:
    lines ": category", and lines of four words. ValueError for other lines."""
    questions: dict[str, list[tuple[str, str, str, str]]] = {}
    category = None
    for n, line in enumerate(Path(path).read_text(encoding="utf-8-sig").splitlines(), 1):
        if line.startswith(":"):
            category = questions.setdefault(line[1:].strip(), [])
        elif line.strip():
            words = line.lower().split()
            if category is None or len(words) != 4:
                raise ValueError(f"{path}:{n}: must be ': category' or four words, got {line!r}")
            a, b, c, d = words
            category.append((a, b, c, d))
    return questions


def analogy_accuracy(
    embeddings: ArrayLike | Embeddings,
    words: Sequence[Any],
    questions: Mapping[str, Sequence[tuple[Any, Any, Any, Any]]],
    *,
    confidence: float = 0.95,
) -> xr.Dataset:
    """How often w(b) - w(a) + w(c) is nearest to w(d): 3CosAdd, unit vectors, a, b and c excluded as answers.

    Parameters
    ----------
    embeddings : (K, d), one row for each of `words`, or what `embed` returns
    questions : for each category (none of the name "all"), a : b :: c : d; those with a word that is not in `words` are
        left out

    Returns
    -------
    xarray.Dataset over ``category``, the last of which is "all"

    - ``accuracy`` (with ``estimate``): Wilson's interval. Questions share words, so that it is too narrow for the
      question how other words would do
    - ``nearest`` (with ``estimate``): the same for the word nearest to w(c), without a and b: what needs no analogy
    - ``chance``: 1/(K - 3)
    - ``questions``, ``left_out``

    Raises ValueError for embeddings of another shape, repeated or fewer than 4 words, or questions of other forms.
    """
    import xarray as xr

    check_confidence(confidence)
    vectors = embeddings.vectors if isinstance(embeddings, Embeddings) else embeddings
    vectors = check.unmasked("embeddings", vectors).astype(np.float64)
    number = {word: i for i, word in enumerate(words)}
    if vectors.ndim != 2 or len(vectors) != len(words) or not np.isfinite(vectors).all():
        raise ValueError(f"`embeddings` must be finite, one row for each of {len(words)} words, got {vectors.shape}")
    if len(number) != len(words) or len(words) < 4:
        raise ValueError(f"`words` must be 4 or more different words, got {len(number)}")
    if not questions or "all" in questions:
        raise ValueError(f"`questions` must have a category, and none of the name 'all', got {list(questions)}")
    if not all(len(q) == 4 for asked in questions.values() for q in asked):
        raise ValueError("`questions` must be of four words each, a : b :: c : d")
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1)
    known = {
        category: np.array([[number[w] for w in q] for q in asked if all(w in number for w in q)], int).reshape(-1, 4)
        for category, asked in questions.items()
    }
    right = {category: _answers(unit, asked) for category, asked in known.items()}
    right["all"] = np.concatenate(list(right.values()))
    asked = [len(q) for q in questions.values()]
    counts = np.array([len(r) for r in right.values()])
    rates = np.array([[wilson(r[:, kind].sum(), len(r), confidence) for r in right.values()] for kind in (0, 1)])
    return xr.Dataset(
        {
            "accuracy": (("category", "estimate"), rates[0]),
            "nearest": (("category", "estimate"), rates[1]),
            "chance": 1 / (len(words) - 3),
            "questions": ("category", counts),
            "left_out": ("category", np.array([*asked, sum(asked)]) - counts),
        },
        coords={"category": list(right), "estimate": list(Estimate._fields)},
        attrs={"confidence": confidence},
    )


def _answers(unit: Floats, questions: NDArray[np.int64]) -> NDArray[np.bool]:
    """Whether d is found with the analogy, and without it, (n, 2). A tie counts as wrong."""
    right = np.zeros((len(questions), 2), bool)
    for start in range(0, len(questions), _QUESTIONS):
        rows = questions[start : start + _QUESTIONS]
        a, b, c, d = rows.T
        for kind, target in enumerate((unit[b] - unit[a] + unit[c], unit[c])):
            similarity = target @ unit.T
            np.put_along_axis(similarity, rows[:, :3], -np.inf, axis=1)
            answer = np.take_along_axis(similarity, d[:, None], axis=1)
            np.put_along_axis(similarity, d[:, None], -np.inf, axis=1)
            right[start : start + _QUESTIONS, kind] = answer[:, 0] > similarity.max(1) + 1e-9
    return right
