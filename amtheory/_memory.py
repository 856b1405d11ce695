"""What memories have in common."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amtheory import _validation as check


class Dynamics(Protocol):
    """The dynamics of a memory in the form that `amtheory.retrieve` runs."""

    def prepare(self, batch: int) -> None:
        """Build what `batch` states need, before threads share it."""
        ...

    def relax(self, states: NDArray[np.int8], *arguments: Any) -> None:
        """Run `states` (M, L) in place; the arguments are those of the kernels."""
        ...


class Memory(ABC):
    """A binary memory; what ``fit(patterns)`` learns is in attributes that end in ``_``.

    `length_` is the number L of spins.
    """

    _dynamics: Dynamics | None = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            if name.endswith("_"):
                raise AttributeError(f"{type(self).__name__} has no `{name}` yet: call `fit(patterns)` first")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    @abstractmethod
    def length_(self) -> int: ...

    @abstractmethod
    def local_field(self, states: ArrayLike) -> NDArray[np.float64]: ...

    @abstractmethod
    def energy(self, states: ArrayLike) -> NDArray[np.float64]: ...

    @abstractmethod
    def _make_dynamics(self) -> Dynamics: ...

    def dynamics(self) -> Dynamics:
        """What `retrieve` runs, made on first use; a fit resets it."""
        if self._dynamics is None:
            self._dynamics = self._make_dynamics()
        return self._dynamics

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_dynamics": None}


class PairwiseMemory(Memory):
    """A memory whose spins interact through W (L, L), ``couplings_``."""

    @property
    def couplings_(self) -> NDArray[np.float64]:
        """W (L, L), read-only."""
        return self._couplings

    @couplings_.setter
    def couplings_(self, couplings: NDArray[np.float64]) -> None:
        couplings.setflags(write=False)  # what the dynamics derives from them is kept
        self._couplings = couplings
        self._dynamics = None

    @property
    def length_(self) -> int:
        return len(self.couplings_)

    @property
    def norms_(self) -> NDArray[np.float64]:
        """||W_l||_2 of each row, (L,)."""
        return np.linalg.norm(self.couplings_, axis=1)

    def asymmetry(self) -> float:
        """||W - W^T|| / ||W + W^T|| (Frobenius): 0 if symmetric, about 1 if W_ij and W_ji are independent."""
        W = self.couplings_
        return float(np.linalg.norm(W - W.T) / np.linalg.norm(W + W.T))

    def local_field(self, states: ArrayLike) -> NDArray[np.float64]:
        """h_l = sum_m W_lm s_m for each of `states` (M, L); returns (M, L)."""
        return check.spins("states", states, length=self.length_) @ self.couplings_.T

    def stabilities(self, patterns: ArrayLike) -> NDArray[np.float64]:
        """Delta_l = x_l (W_l . x) / ||W_l|| for each of `patterns` (P, L); returns (P, L).

        Scale-free: x is a fixed point of the dynamics if all its Delta_l > 0. NaN where W_l = 0.
        """
        x = check.spins("patterns", patterns, length=self.length_)
        with np.errstate(invalid="ignore"):
            return x * self.local_field(x) / self.norms_

    def energy(self, states: ArrayLike) -> NDArray[np.float64]:
        """E = -1/2 sum_ij W_ij s_i s_j of each of `states` (M, L), extensive; returns (M,).

        Sequential dynamics at T = 0 never raises it. Raises ValueError unless W is symmetric, up to rounding.
        """
        s = check.spins("states", states, length=self.length_).astype(np.float64)
        if self.asymmetry() > 1e-12:
            raise ValueError(f"couplings must be symmetric to have an energy, got asymmetry() = {self.asymmetry():.2g}")
        return -np.sum(s * (s @ self.couplings_.T), axis=1) / 2

    def _make_dynamics(self) -> Dynamics:
        from amtheory._dynamics import pairwise

        return pairwise(check.couplings("couplings_", self.couplings_))


class Couplings(PairwiseMemory):
    """A memory given by its couplings W (L, L), square and finite; a diagonal acts as given. W is copied.

    Raises ValueError for anything else.
    """

    def __init__(self, couplings: ArrayLike) -> None:
        self._given = check.couplings("couplings", couplings).copy()
        self.couplings_ = self._given.astype(np.float64)

    def _make_dynamics(self) -> Dynamics:
        from amtheory._dynamics import pairwise

        return pairwise(self._given)
