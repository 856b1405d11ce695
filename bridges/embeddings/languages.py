"""Two languages in which the spectrum of co-occurrences is known in closed form."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from amtheory import _validation as check

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CyclicLanguage:
    """N words on a circle, as months: a sentence has a season s, uniform, and words of probability p(i - s),

        p(d) proportional to exp(kappa cos(2 pi d / N)),      M(i, j) = C(i - j) = N sum_e p(e) p(e + i - j).

    M is circulant: its eigenvectors are Fourier modes, lambda_k = sum_D C(D) cos(2 pi k D / N) = N abs(p^(k))^2 (of
    M - 1 but for k = 0, where 0), and the first pair of embeddings is a circle (arXiv 2602.15029).

    ValueError unless `words` N >= 3 and `concentration` kappa > 0.
    """

    words: int = 12
    concentration: float = 1.0

    def __post_init__(self) -> None:
        check.integer("words", self.words, 3)
        check.real("concentration", self.concentration, positive=True)

    def profile(self) -> Float64[np.ndarray, " {self.words}"]:
        """p (N,)."""
        p = np.exp(self.concentration * (np.cos(2 * np.pi * np.arange(self.words) / self.words) - 1))
        return p / p.sum()

    def ratio(self) -> Float64[np.ndarray, "{self.words} {self.words}"]:
        """M (N, N)."""
        p, i = self.profile(), np.arange(self.words)
        C = self.words * np.array([p @ np.roll(p, d) for d in i])
        return C[(i[:, None] - i) % self.words]

    def eigenvalues(self) -> Float64[np.ndarray, " {self.words}"]:
        """Of M - 1, lambda_k for k = 0, ..., N - 1."""
        D = np.arange(self.words)
        spectrum = np.cos(2 * np.pi * np.outer(D, D) / self.words) @ self.ratio()[0]
        return np.where(D == 0, 0.0, spectrum)

    def sample(self, sentences: int, length: int, *, rng: Any = None) -> Int64[np.ndarray, "{sentences} {length}"]:
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
        for strength in check.several("strengths", self.strengths) or [None]:
            if not check.real("strengths", strength, positive=False) < 1:
                raise ValueError(f"`strengths` must be numbers in [0, 1), got {self.strengths}")

    def attributes(self) -> Int64[np.ndarray, "K n"]:
        """a of each word, (2^n, n); bit k of a word's number is a_k = 1."""
        n = len(self.strengths)
        return 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1) - 1

    def ratio(self) -> Float64[np.ndarray, "K K"]:
        """M (2^n, 2^n)."""
        return _of_words([[1 + s, 1 - s], [1 - s, 1 + s]] for s in self.strengths)

    def modes(self) -> tuple[Float64[np.ndarray, "K K"], Float64[np.ndarray, " K"], Float64[np.ndarray, " K"]]:
        """chi_S (2^n, 2^n), column S for the set of the bits of S, and the eigenvalues of M and of log M."""
        s, N = np.array(self.strengths), 2 ** len(self.strengths)
        inside = self.attributes() > 0  # row S
        chi = _of_words([[1, -1], [1, 1]] for _ in self.strengths)
        of_log = np.where(inside.sum(1) == 1, N * (inside * np.arctanh(s)).sum(1), 0.0)
        of_log[0] = N / 2 * np.log1p(-(s**2)).sum()
        return chi, N * np.where(inside, s, 1).prod(1), of_log

    def without_relation(self, r: int) -> Float64[np.ndarray, "K K"]:
        """M (2^n, 2^n), with zeros for the pairs that differ in attribute r alone."""
        r = check.integer("r", r, 0, len(self.strengths) - 1)
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

    def sample(self, sentences: int, length: int, *, rng: Any = None) -> Int64[np.ndarray, "{sentences} {length}"]:
        """(sentences, length) words."""
        given = _of_words(np.array([[1 + r, 1 - r], [1 - r, 1 + r]]) / 2 for r in np.sqrt(self.strengths))
        return _sample_given_latents(given, sentences, length, rng)


def _of_words(factors: Iterable[Any]) -> Floats:
    """The product over attributes k, which are bits k of rows and columns, of factors (2, 2); (2^n, 2^n)."""
    return functools.reduce(lambda product, factor: np.kron(factor, product), factors, np.ones((1, 1)))


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
