"""The Hopfield memory (Hopfield, PNAS 79, 2554, 1982)."""

from typing import Self

import numpy as np
from jaxtyping import Float64, Int32
from numpy.typing import ArrayLike

from amtheory import _validation as check
from amtheory._memory import Dynamics, PairwiseMemory


class Hopfield(PairwiseMemory):
    """Hebbian couplings W_ij = (1/L) sum_mu x_i^mu x_j^mu, W_ii = 0.

    The sums are integers and are kept as such, so that local fields are exact and a tie h_i = 0 is a tie;
    rounding of W would break it and change a per cent of the retrieved states. There are no ties if P is odd
    and L is even.

    Attributes
    ----------
    integer_couplings_ : (L, L) int32, J = sum_mu x^mu (x^mu)^T with zero diagonal
    couplings_ : (L, L) float64, W = J / L

    See Also
    --------
    DenseMemory : at order 2 the same fields
    amtheory.theory.hopfield : its retrieval states and first steps for L -> infinity

    Examples
    --------
    >>> from amtheory import Hopfield, retrieve
    >>> from amtheory.patterns import flip, overlap, random_patterns
    >>> x = random_patterns(5, 100, rng=0)
    >>> memory = Hopfield().fit(x)
    >>> final, info = retrieve(memory, flip(x, 10, rng=1))
    >>> overlap(final, x).tolist(), info.converged.tolist()
    ([1.0, 1.0, 1.0, 1.0, 1.0], [True, True, True, True, True])
    """

    integer_couplings_: Int32[np.ndarray, "L L"]

    def fit(self, patterns: ArrayLike) -> Self:
        """Learn `patterns`.

        Parameters
        ----------
        patterns : (P, L) spins in {-1, +1}

        Returns
        -------
        the memory itself

        Raises
        ------
        ValueError, TypeError : anything else
        """
        self._patterns = check.spins("patterns", patterns).copy()
        x = self._patterns.astype(np.float32 if len(self._patterns) < 2**24 else np.float64)  # sums stay exact
        J = (x.T @ x).astype(np.int32)
        np.fill_diagonal(J, 0)
        J.setflags(write=False)
        self.integer_couplings_ = J
        self.couplings_ = J / x.shape[1]
        return self

    def _make_dynamics(self) -> Dynamics:
        from amtheory._dynamics import pairwise

        return pairwise(self.integer_couplings_, 1 / len(self.integer_couplings_), self._patterns)

    def local_field(self, states: ArrayLike) -> Float64[np.ndarray, "M {self.length_}"]:
        """h_i = (1/L) sum_j J_ij s_j for each of `states` (M, L); the sum is exact, (M, L). See `PairwiseMemory`."""
        L = self.length_
        return check.spins("states", states, length=L) @ self.integer_couplings_.astype(np.float64) / L

    def energy(self, states: ArrayLike) -> Float64[np.ndarray, " M"]:
        """E = -1/2 sum_ij W_ij s_i s_j of each of `states` (M, L), extensive; returns (M,). See `PairwiseMemory`.

        The sum over pairs is an exact integer, divided once by 2L: equal energies compare equal.
        """
        s = check.spins("states", states, length=self.length_).astype(np.float64)
        J = self.integer_couplings_.astype(np.float64)
        return -np.sum(s * (s @ J), axis=1) / (2 * len(J))
