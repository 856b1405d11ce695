"""The projection memory (Personnaz, Guyon and Dreyfus, J. Phys. Lett. 46, L359, 1985; Kanter and Sompolinsky, Phys.
Rev. A 35, 380, 1987)."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from amtheory import _validation as check
from amtheory._memory import PairwiseMemory

_RANK_TOLERANCE = 1e-10  # of eigenvalues of the Gram matrix, relative to the largest


class PseudoInverse(PairwiseMemory):
    """W = X^+ X less its diagonal: the projector onto the span of the patterns X (P, L). Symmetric.

    All patterns have the same stability at spin l, sqrt((1 - p_l) / p_l) with p_l the diagonal of the projector;
    p_l is about P / L for random patterns. Repeated and linearly dependent patterns span what the others do.

    Attributes
    ----------
    couplings_ : (L, L) float64
    rank_ : the dimension of the span, of Gram eigenvalues above 1e-10 of the largest

    See Also
    --------
    amtheory.theory.stability.pseudo_inverse : its stabilities for L -> infinity

    Examples
    --------
    >>> from amtheory import PseudoInverse
    >>> from amtheory.patterns import random_patterns
    >>> x = random_patterns(20, 100, rng=0)
    >>> memory = PseudoInverse().fit(x)
    >>> memory.rank_, bool((memory.stabilities(x) > 1).all())
    (20, True)
    """

    rank_: int

    def fit(self, patterns: ArrayLike) -> Self:
        """Learn `patterns`, with as many threads as the environment variable AMTHEORY_NUM_THREADS says, one by default.

        Parameters
        ----------
        patterns : (P, L) spins in {-1, +1}, of rank below L

        Returns
        -------
        the memory itself

        Raises
        ------
        ValueError, TypeError : anything else; patterns that span the whole space, where W = 0
        """
        x = check.spins("patterns", patterns).astype(np.float64)
        P, L = x.shape
        with threadpool_limits(check.threads(None), user_api="blas"):
            # the eigenvectors of X X^T or X^T X, whichever is smaller, give an orthonormal basis of the span
            values, vectors = np.linalg.eigh(x @ x.T if P < L else x.T @ x)
            kept = values > _RANK_TOLERANCE * values[-1]
            basis = vectors[:, kept]
            if P < L:
                basis = x.T @ (basis / np.sqrt(values[kept]))
            W = basis @ basis.T
        rank = int(np.count_nonzero(kept))
        if rank == L:
            raise ValueError(f"`patterns` must not span all of the {L} dimensions, got {P} of rank {rank}")
        W = (W + W.T) / 2
        np.fill_diagonal(W, 0)
        self.rank_ = rank
        self.couplings_ = W
        return self
