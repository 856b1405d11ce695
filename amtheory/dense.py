"""Dense associative memories: energies that are steeper than quadratic in the overlaps with the patterns.

References: Krotov and Hopfield, NIPS 2016 (polynomial); Demircigil et al., J. Stat. Phys. 168, 288 (2017)
(exponential); Ramsauer et al., ICLR 2021 (its logarithm).
"""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from amtheory import _validation as check
from amtheory._memory import Dynamics, Memory


@dataclass(eq=False)
class DenseMemory(Memory):
    """A memory that keeps its patterns, with an energy of their unnormalised overlaps x^mu . s in [-L, L],

        order n:  E(s) = -(1 / (n L^(n-1))) sum_mu (x^mu . s)^n
        "exp":    E(s) = -(1 / beta) log sum_mu exp(beta x^mu . s).

    The local field is h_i = (E(s_i = -1) - E(s_i = +1)) / 2 at the other spins as they are, so that the heat
    bath of `retrieve` samples exp(-E / T), and T = 0 sets each spin to the sign of lower energy. Order 2 is the
    Hopfield memory: same fields. The exponential memory has the T = 0 dynamics of E = -sum_mu exp(beta x^mu . s);
    at T = 1 / beta it samples the mixture of noisy patterns sum_mu prod_i exp(beta x_i^mu s_i).

    For even n, s and -s have the same energy; for odd n the memory tells a pattern from its negative. While
    P L^n < 2^53 the fields of order n are exact integers, and ties are ties.

    Parameters
    ----------
    order : an integer n >= 2, or "exp"; default 3
    beta : inverse temperature of "exp", in (0, 300], which sets the shape of the energy and not the temperature of the
        dynamics; default 1; of no effect at order n

    Attributes
    ----------
    patterns_ : (P, L) int8

    Raises
    ------
    TypeError, ValueError : naming the parameter that is out of range

    See Also
    --------
    amtheory.theory.dense : how many random patterns it holds

    Examples
    --------
    >>> from amtheory import DenseMemory, Hopfield, retrieve
    >>> from amtheory.patterns import random_patterns
    >>> x = random_patterns(40, 50, rng=0)
    >>> for memory in (Hopfield(), DenseMemory(order=4), DenseMemory("exp")):
    ...     print(bool((retrieve(memory.fit(x), x)[0] == x).all()))
    False
    True
    True
    """

    order: int | Literal["exp"] = 3
    _: KW_ONLY
    beta: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.order, str):
            check.integer("order", self.order, 2)
        elif self.order != "exp":
            raise ValueError(f"`order` must be an integer >= 2 or 'exp', got {self.order!r}")
        self.beta = check.real("beta", self.beta, positive=True)
        if self.beta > 300:
            raise ValueError(f"`beta` must be in (0, 300], got {self.beta}")

    def fit(self, patterns: ArrayLike) -> Self:
        """Learn `patterns`, which are copied.

        Parameters
        ----------
        patterns : (P, L) spins in {-1, +1}

        Returns
        -------
        the memory itself

        Raises
        ------
        ValueError, TypeError : anything else; L^order overflows
        """
        x = check.spins("patterns", patterns).copy()
        if self.order != "exp" and self.order * np.log(x.shape[1] + 1) + np.log(len(x)) > 700:
            raise ValueError(
                f"`order` must be smaller for `patterns` of {x.shape[1]} spins, got {self.order}: L^order overflows"
            )
        x.setflags(write=False)
        self.patterns_ = x
        self._dynamics = None
        return self

    @property
    def length_(self) -> int:
        return self.patterns_.shape[1]

    def local_field(self, states: ArrayLike) -> Float64[np.ndarray, "M {self.length_}"]:
        """h_i = (E(s_i = -1) - E(s_i = +1)) / 2 for each of `states` (M, L); returns (M, L). See `Memory`."""
        dynamics: Any = self.dynamics()
        return dynamics.fields(check.spins("states", states, length=self.length_))

    def energy(self, states: ArrayLike) -> Float64[np.ndarray, " M"]:
        """E of each of `states` (M, L), extensive; returns (M,). See `Memory`."""
        s = check.spins("states", states, length=self.length_).astype(np.float64)
        overlaps = s @ self.patterns_.T
        if self.order == "exp":
            return -logsumexp(self.beta * overlaps, axis=1) / self.beta
        return -np.sum(overlaps**self.order, axis=1) / (self.order * self.length_ ** (self.order - 1.0))

    def _make_dynamics(self) -> Dynamics:
        from amtheory._dynamics import Dense, DenseIntegers

        L = self.length_
        if self.order == "exp":
            # exp(beta (k - top - 1)) at k + offset, where no overlap exceeds `top`; the common factor is of no effect
            weights, beta, unit = np.exp(self.beta * np.arange(-2.0 * L - 1, 1)), self.beta, 1.0
        else:
            k = np.arange(-L, L + 1).astype(object)  # Python integers: exact up to the rounding to float64
            weights = (((k + 1) ** self.order - (k - 1) ** self.order) // 2).astype(np.float64)
            beta, unit = 0.0, 1 / (self.order * L ** (self.order - 1.0))
        columns = np.ascontiguousarray(self.patterns_.T)
        return Dense(DenseIntegers(self.patterns_, columns, weights, L, float(beta), float(unit)))
