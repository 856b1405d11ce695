"""What memories with pairwise couplings have in common."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amtheory import _validation as check


class PairwiseMemory:
    """A memory whose spins interact through W (L, L), ``couplings_``, learned by ``fit(patterns)``."""

    couplings_: NDArray[np.float64]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.endswith("_") and not name.startswith("_"):
                raise AttributeError(f"{type(self).__name__} has no `{name}` yet: call `fit(patterns)` first")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def norms_(self) -> NDArray[np.float64]:
        """||W_l||_2 of each row, (L,)."""
        return np.linalg.norm(self.couplings_, axis=1)

    def local_field(self, states: ArrayLike) -> NDArray[np.float64]:
        """h_l = sum_m W_lm s_m for each of `states` (M, L); returns (M, L)."""
        return check.spins("states", states, length=len(self.couplings_)) @ self.couplings_.T

    def stabilities(self, patterns: ArrayLike) -> NDArray[np.float64]:
        """Delta_l = x_l (W_l . x) / ||W_l|| for each of `patterns` (P, L); returns (P, L).

        Scale-free: x is a fixed point of the dynamics if all its Delta_l > 0. NaN where W_l = 0.
        """
        x = check.spins("patterns", patterns, length=len(self.couplings_))
        with np.errstate(invalid="ignore"):
            return x * self.local_field(x) / self.norms_
