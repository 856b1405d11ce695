"""What memories have in common."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float64, Int8, Int32, Int64
from numpy.typing import ArrayLike

from amtheory import _validation as check


class Dynamics(Protocol):
    """The dynamics of a fitted memory in the form in which `retrieve` runs it. To be implemented.

    Any object with these two methods is one. A `PairwiseMemory` has its own; another `Memory` makes its own.
    """

    def prepare(self, batch: int) -> None:
        """Build what `batch` states need, which threads then share; called once, before `relax`. May do nothing."""
        ...

    def relax(
        self,
        states: Int8[np.ndarray, "M L"],
        update: int,
        noise: float,
        seed: np.uint64,
        first_row: int,
        max_sweeps: int,
        sweeps: Int64[np.ndarray, " M"],
        cycle_length: Int64[np.ndarray, " M"],
        reference: Int8[np.ndarray, "M L"] | Int8[np.ndarray, "M 0"],
        overlaps: Int32[np.ndarray, "M {max_sweeps+1}"] | Int32[np.ndarray, "M 0"],
        /,
    ) -> None:
        """Run each of `states` to its end, in place.

        Several threads call it at once, each with rows of its own. A row's result depends on its state, on what the
        arguments say, and on random numbers keyed by (seed, `first_row` + its index, sweep, site): never on the other
        rows. So it is the same for any split of a batch. At T = 0 nothing is drawn but the order of sequential updates.

        Parameters
        ----------
        states : (M, L) int8 in {-1, +1}, C-contiguous; overwritten by the final states
        update : PARALLEL, SEQUENTIAL (a random order in each sweep) or TYPEWRITER, of `amtheory._kernels`
        noise : T / 2 >= 0: a spin is set to +1 with probability 1 / (1 + exp(-h / noise)), at 0 to sgn(h), a zero field
            keeping it
        seed : of all random numbers
        first_row : the index of ``states[0]`` in the batch
        max_sweeps : >= 1; with noise exactly this many
        sweeps : (M,), receives the sweeps done, the idle one that shows a fixed point included
        cycle_length : (M,) zeros, receives 1 at a fixed point, c > 1 in a cycle of c states, which is left in the phase
            it has after `max_sweeps`
        reference : (M, L), or (M, 0) for none
        overlaps : (M, max_sweeps + 1), receives sum_l s_l r_l with the reference r after 0, 1, ... sweeps; or (M, 0)
        """
        ...


class Memory(ABC):
    """A binary memory of L spins. To be implemented by those without couplings; others derive from `PairwiseMemory`.

    A subclass defines

    - ``fit(patterns)``, unless it is given what others learn: it checks spins (P, L), learns them and forgets what it
      knew, leaves what it has learnt in attributes that end in ``_``, resets ``_dynamics`` to None, and returns the
      memory; it neither keeps nor changes the array it was given;
    - `length_`, `local_field` and `energy`;
    - ``_make_dynamics()``, the `Dynamics` of these fields.

    Arguments of its constructor are checked there and kept under their names, so that a copy can be fitted to other
    patterns. A fit is deterministic. From here come `dynamics`, pickles and copies, which leave the dynamics out,
    and the AttributeError that says to call ``fit`` first.

    See Also
    --------
    PairwiseMemory : all but ``fit``, for couplings
    DenseMemory : an implementation without couplings

    Examples
    --------
    >>> from amtheory import DenseMemory, Memory
    >>> from amtheory.patterns import random_patterns
    >>> x = random_patterns(3, 8, rng=0)
    >>> memory: Memory = DenseMemory(order=4).fit(x)
    >>> memory.length_, memory.local_field(x).shape, memory.energy(x).shape
    (8, (3, 8), (3,))
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
    def length_(self) -> int:
        """The number L of spins."""

    @abstractmethod
    def local_field(self, states: ArrayLike) -> Float64[np.ndarray, "M {self.length_}"]:
        """h_i = (E(s_i = -1) - E(s_i = +1)) / 2, the other spins as they are, for each of `states`.

        Without an energy, the field whose sign the dynamics follows.

        Parameters
        ----------
        states : (M, L) spins in {-1, +1}

        Returns
        -------
        (M, L) float64

        Raises
        ------
        ValueError, TypeError : states of other values or length
        """

    @abstractmethod
    def energy(self, states: ArrayLike) -> Float64[np.ndarray, " M"]:
        """E of each of `states`, extensive: what sequential dynamics at T = 0 never raises.

        Parameters
        ----------
        states : (M, L) spins in {-1, +1}

        Returns
        -------
        (M,) float64

        Raises
        ------
        ValueError, TypeError : states of other values or length, or there is no energy
        """

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
    """A memory whose spins interact through couplings W (L, L), h_i = sum_j W_ij s_j. To be implemented: ``fit`` alone.

    ``fit(patterns)`` checks spins (P, L), assigns `couplings_`, float64, finite and with a zero diagonal, and returns
    the memory; W need not be symmetric. All else comes from here, and is made anew when couplings are assigned. What
    `Memory` says of ``fit`` and of the constructor holds.

    Three numbers of a pattern x at spin l are easily confused: the *local field* h_l = sum_m W_lm x_m; the *stability*
    Delta_l = x_l h_l / ||W_l||, which is not changed by a rescaling of W; and a *margin*, which for a perceptron is the
    smallest stability over the patterns (`PerceptronMargin`), for the pseudo-likelihood beta x_l h_l
    (`PseudoLikelihood`).

    Examples
    --------
    >>> import numpy as np
    >>> from amtheory import PairwiseMemory, retrieve
    >>> from amtheory.patterns import random_patterns
    >>> class Clipped(PairwiseMemory):  # signs of Hebb's couplings
    ...     def fit(self, patterns):
    ...         W = np.sign(patterns.T @ patterns.astype(float))
    ...         np.fill_diagonal(W, 0)
    ...         self.couplings_ = W
    ...         return self
    >>> x = random_patterns(3, 60, rng=0)
    >>> memory = Clipped().fit(x)
    >>> bool((memory.stabilities(x) > 0).all()), bool((retrieve(memory, x)[0] == x).all())
    (True, True)
    """

    @property
    def couplings_(self) -> Float64[np.ndarray, "L L"]:
        """W (L, L), read-only."""
        return self._couplings

    @couplings_.setter
    def couplings_(self, couplings: Float64[np.ndarray, "L L"]) -> None:
        couplings.setflags(write=False)  # what the dynamics derives from them is kept
        self._couplings = couplings
        self._dynamics = None

    @property
    def length_(self) -> int:
        return len(self.couplings_)

    @property
    def norms_(self) -> Float64[np.ndarray, " {self.length_}"]:
        """||W_l||_2 of each row, (L,)."""
        return np.linalg.norm(self.couplings_, axis=1)

    def asymmetry(self) -> float:
        """||W - W^T|| / ||W + W^T|| (Frobenius): 0 if symmetric, about 1 if W_ij and W_ji are independent."""
        W = self.couplings_
        return float(np.linalg.norm(W - W.T) / np.linalg.norm(W + W.T))

    def local_field(self, states: ArrayLike) -> Float64[np.ndarray, "M {self.length_}"]:
        """h_l = sum_m W_lm s_m for each of `states`; neither aligned nor normalized, as `stabilities` are.

        Parameters
        ----------
        states : (M, L) spins in {-1, +1}

        Returns
        -------
        (M, L) float64, in the units of W

        Raises
        ------
        ValueError, TypeError : states of other values or length
        """
        return check.spins("states", states, length=self.length_) @ self.couplings_.T

    def stabilities(self, patterns: ArrayLike) -> Float64[np.ndarray, "P {self.length_}"]:
        """Delta_l = x_l (W_l . x) / ||W_l|| for each of `patterns`, whether stored or not.

        Scale-free: x is a fixed point of the dynamics if all its Delta_l > 0.

        Parameters
        ----------
        patterns : (P, L) spins in {-1, +1}

        Returns
        -------
        (P, L) float64, NaN where W_l = 0

        Raises
        ------
        ValueError, TypeError : patterns of other values or length

        See Also
        --------
        local_field : h_l, without x_l and the norm
        amtheory.theory.stability : the distribution of stabilities, and the first step that follows from it
        """
        x = check.spins("patterns", patterns, length=self.length_)
        with np.errstate(invalid="ignore"):
            return x * self.local_field(x) / self.norms_

    def energy(self, states: ArrayLike) -> Float64[np.ndarray, " M"]:
        """E = -1/2 sum_ij W_ij s_i s_j of each of `states`, extensive. Sequential dynamics at T = 0 never raises it.

        Parameters
        ----------
        states : (M, L) spins in {-1, +1}

        Returns
        -------
        (M,) float64, in the units of W

        Raises
        ------
        ValueError, TypeError : states of other values or length; W is not symmetric, up to rounding
        """
        s = check.spins("states", states, length=self.length_).astype(np.float64)
        if self.asymmetry() > 1e-12:
            raise ValueError(f"couplings must be symmetric to have an energy, got asymmetry() = {self.asymmetry():.2g}")
        return -np.sum(s * (s @ self.couplings_.T), axis=1) / 2

    def _make_dynamics(self) -> Dynamics:
        from amtheory._dynamics import pairwise

        return pairwise(check.couplings("couplings_", self.couplings_))


class Couplings(PairwiseMemory):
    """A memory given by its couplings instead of patterns; it has no ``fit``.

    `retrieve` takes a matrix as well, but prepares it each time.

    Parameters
    ----------
    couplings : W (L, L), real and finite; a diagonal acts as given; copied. Integers are kept as such: their fields are
        exact

    Attributes
    ----------
    couplings_ : (L, L) float64

    Raises
    ------
    ValueError, TypeError : anything else

    Examples
    --------
    >>> from amtheory import Couplings, retrieve
    >>> pair = Couplings([[0, 1], [1, 0]])  # two spins that want to be equal
    >>> final, info = retrieve(pair, [[1, 1], [1, -1]])
    >>> final.tolist(), info.cycle_length.tolist()
    ([[1, 1], [1, -1]], [1, 2])
    """

    def __init__(self, couplings: ArrayLike) -> None:
        self._given = check.couplings("couplings", couplings).copy()
        self.couplings_ = self._given.astype(np.float64)

    def _make_dynamics(self) -> Dynamics:
        from amtheory._dynamics import pairwise

        return pairwise(self._given)
