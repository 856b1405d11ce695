"""A binary associative memory as a measured system."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64, Num, Shaped
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import expit

from amtheory import Memory, retrieve
from amtheory import _validation as check
from bridges.system import Conditional, MemorySystem

MAX_SWEEPS = 100


class BinarySystem(MemorySystem):
    """A fitted memory, whose conditionals are p(s_l | s without l) = sigma(2 beta s_l h_l), h its local field.

    Token 1 is spin +1, token 0 is spin -1. Noise t flips each spin with probability t/2 (alpha_t = 1 - t at K = 2). The
    dynamics have one fixed temperature, so the time a system is told has no effect: "sample" runs at T = 1/beta, the
    other modes at T = 0 ("one_shot" for a single sweep), for 100 sweeps at most if `steps` is None. The last update has
    no effect either. Sequential updates visit the spins in random order, so that even at T = 0 they depend on the
    random stream; they cannot keep spins, and refuse `keep`.

    Parameters
    ----------
    memory : a fitted `amtheory` memory
    beta : inverse temperature in units of h, > 0; default None, the memory's own `beta` if it was trained at one
    update : "parallel", the default, or "sequential"

    Raises
    ------
    ValueError : `beta` or `update` out of range, or no `beta` for a memory that has none

    See Also
    --------
    likelihood_beta : a `beta` for memories that are trained at none

    Examples
    --------
    >>> import numpy as np
    >>> from amtheory import Hopfield
    >>> from amtheory.patterns import random_patterns
    >>> from bridges import BinarySystem, to_tokens
    >>> x = random_patterns(5, 100, rng=0)
    >>> system = BinarySystem(Hopfield().fit(x), beta=4.0)
    >>> z = system.corrupt(to_tokens(x), 0.2, np.random.default_rng(0))
    >>> bool((system.recover(z, mode="posterior_mode", rng=np.random.default_rng(1)) == to_tokens(x)).all())
    True
    """

    vocab_size = 2

    def __init__(
        self, memory: Memory, *, beta: float | None = None, update: Literal["parallel", "sequential"] = "parallel"
    ):
        if not hasattr(memory, "length_"):
            raise TypeError(f"`memory` must be a fitted memory of amtheory, got {type(memory).__name__}")
        check.choice("update", update, ("parallel", "sequential"))
        if beta is None:
            beta = getattr(memory, "beta", None)
        if beta is None:
            raise ValueError(f"`beta` must be given: {type(memory).__name__} is trained at no temperature of its own")
        beta = check.real("beta", beta, positive=True)
        self.memory: Any = memory  # of whichever class
        self.beta = beta
        self.update: Literal["parallel", "sequential"] = update
        self.length = memory.length_

    def corrupt(self, x: Int64[np.ndarray, "B L"], noise: float, rng: np.random.Generator) -> Int64[np.ndarray, "B L"]:
        return np.where(rng.random(x.shape) < noise, rng.integers(2, size=x.shape), x)

    def conditional(self, z: Int64[np.ndarray, "B L"], t: float) -> Conditional:
        return _Logistic(self.beta * self.memory.local_field(to_spins(z)))

    def recover(
        self,
        z: Int64[np.ndarray, "B L"],
        *,
        start: float = 1.0,
        mode: str = "sample",
        steps: int | None = None,
        last: str = "ancestral",
        keep: Bool[np.ndarray, "B L"] | None = None,
        rng: np.random.Generator,
    ) -> Int64[np.ndarray, "B L"]:
        return self._swept(z, mode, self.steps_taken(mode, steps), keep, rng)[0]

    def path(
        self,
        z: Int64[np.ndarray, "B L"],
        *,
        start: float = 1.0,
        mode: str = "sample",
        steps: int | None = None,
        last: str = "ancestral",
        keep: Bool[np.ndarray, "B L"] | None = None,
        rng: np.random.Generator,
    ) -> tuple[Float64[np.ndarray, " T"], Iterator[Int64[np.ndarray, "B L"]]]:
        sweeps, seed = self.steps_taken(mode, steps), copy.deepcopy(rng)
        times, (end, _) = np.full(sweeps + 1, float(start)), self._swept(z, mode, sweeps, keep, rng)
        if keep is not None and keep.any():
            found = (state for state, _ in self._swept_one_by_one(z, mode, sweeps, keep, seed))
            return times, islice(chain([z], found, repeat(end)), sweeps + 1)

        def states() -> Iterator[np.ndarray]:
            """Random numbers are keyed by the sweep: with the same ones, a shorter run is the beginning of a longer."""
            state, settled = z, False
            for n in range(sweeps):
                if n > 0 and not settled:
                    state, settled = self._swept(z, mode, n, None, copy.deepcopy(seed))
                yield state
            yield end

        return times, states()

    def _swept(
        self, z: np.ndarray, mode: str, sweeps: int, keep: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, bool]:
        """The states after so many sweeps, and whether all are fixed points."""
        if keep is None or not keep.any():
            states, info = retrieve(self.memory, to_spins(z), max_sweeps=sweeps, **self._dynamics(mode, rng))
            return to_tokens(states), bool(info.converged.all())
        (last,) = deque(self._swept_one_by_one(z, mode, sweeps, keep, rng), maxlen=1)
        return last

    def _swept_one_by_one(
        self, z: np.ndarray, mode: str, sweeps: int, keep: np.ndarray, rng: np.random.Generator
    ) -> Iterator[tuple[np.ndarray, bool]]:
        """That after each sweep, up to a fixed point; kept spins are put back, which, as all spins change at once, is
        the same as leaving them alone."""
        if self.update == "sequential":
            raise ValueError("`keep` must be None with sequential updates, which keep no spins: take parallel ones")
        state, how = z, self._dynamics(mode, rng)
        for _ in range(sweeps):
            before = state
            state = np.where(keep, z, to_tokens(retrieve(self.memory, to_spins(before), max_sweeps=1, **how)[0]))
            settled = mode != "sample" and np.array_equal(state, before)
            yield state, settled
            if settled:
                return

    def _dynamics(self, mode: str, rng: np.random.Generator) -> dict[str, Any]:
        return {"update": self.update, "temperature": 1 / self.beta if mode == "sample" else 0.0, "rng": rng}

    def generate(
        self, n: int, rng: np.random.Generator, *, steps: int | None = None
    ) -> Int64[np.ndarray, "{n} {self.length}"]:
        return self.recover(self.prior(n, rng), start=1.0, mode="sample", steps=steps, last="none", rng=rng)

    def steps_taken(self, mode: str, steps: int | None) -> int:
        return 1 if mode == "one_shot" else steps or MAX_SWEEPS

    def describe(self) -> dict[str, Any]:
        kind = type(self.memory).__name__
        return {"system": kind, "length": self.length, "beta": self.beta, "update": self.update}


class _Logistic(Conditional):
    """p(s) = exp(s f) / (2 cosh f) for fields f (B, L), arXiv 2604.26841 eq. 9."""

    def __init__(self, field: Float64[np.ndarray, "B L"]):
        self.field = field

    def entropy(self) -> Float64[np.ndarray, "B L"]:
        """H = log 2cosh f - f tanh f, free of cancellation at large |f|."""
        gap = 2 * np.abs(self.field)
        return np.logaddexp(0, -gap) + gap * expit(-gap)

    def log_prob_variance(self) -> Float64[np.ndarray, "B L"]:
        """p (1 - p) (2 f)^2, as the two values of log p are 2|f| apart; without overflow at large |f|."""
        gap = 2 * np.abs(self.field)
        return gap * expit(-gap) * gap * expit(gap)

    def mode(self) -> Int64[np.ndarray, "B L"]:
        return to_tokens(self._finite() >= 0)

    def log_prob(self, x: Int64[np.ndarray, "B L"]) -> Float64[np.ndarray, "B L"]:
        return -np.logaddexp(0, -2 * to_spins(x) * self.field)

    def certainty(self) -> tuple[Float64[np.ndarray, "B L"], Float64[np.ndarray, "B L"], Float64[np.ndarray, "B L"]]:
        gap = 2 * np.abs(self._finite())
        highest = expit(gap)
        return self.entropy(), highest, 2 * highest * expit(-gap)

    def sample(self, rng: np.random.Generator) -> Int64[np.ndarray, "B L"]:
        return to_tokens(rng.random(self.field.shape) < expit(2 * self._finite()))

    def _finite(self) -> np.ndarray:
        """The fields; ValueError for NaN, which every comparison would make a spin of."""
        if np.isnan(self.field).any():
            raise ValueError("the local fields hold NaN: the couplings are too large, or were altered after the fit")
        return self.field


def to_spins(tokens: ArrayLike) -> Int8[np.ndarray, " ..."]:
    """Token ids to spins, 1 to +1 and 0 to -1.

    Parameters
    ----------
    tokens : of any shape, 0 or 1

    Returns
    -------
    int8 of that shape

    Raises
    ------
    ValueError : other values
    TypeError : masked elements

    Examples
    --------
    >>> from bridges import to_spins
    >>> to_spins([[0, 1]]).tolist()
    [[-1, 1]]
    """
    tokens = check.unmasked("tokens", tokens)
    if tokens.dtype.kind not in "biuf":
        raise TypeError(f"`tokens` must be 0 or 1 as numbers, got dtype {tokens.dtype}")
    if not np.isin(tokens, (0, 1)).all():
        raise ValueError(f"`tokens` must be 0 or 1, got values in [{tokens.min()}, {tokens.max()}]")
    return np.where(tokens, 1, -1).astype(np.int8)


def to_tokens(spins: Shaped[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """Spins to token ids, 1 where positive and 0 elsewhere.

    Parameters
    ----------
    spins : array of any shape, of -1 and +1 or of truth values

    Returns
    -------
    int64 of that shape

    Raises
    ------
    TypeError : no numbers, or masked elements

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import to_tokens
    >>> to_tokens(np.array([[-1, 1]])).tolist()
    [[0, 1]]
    """
    spins = check.unmasked("spins", spins)
    if spins.dtype.kind not in "biuf":
        raise TypeError(f"`spins` must be -1 and +1, or truth values, got dtype {spins.dtype}")
    return (spins > 0).astype(np.int64)


def likelihood_beta(memory: Memory, patterns: Num[np.ndarray, "P L"], *, largest: float = 100.0) -> float:
    """The inverse temperature that maximises the conditional likelihood of patterns under fixed couplings.

    For memories, like Hopfield's, that are trained at none. The pseudo-likelihood objective is the same function, which
    `amtheory.PseudoLikelihood` maximises over the couplings at a fixed beta.

    Parameters
    ----------
    memory : a fitted `amtheory` memory
    patterns : (P, L) spins in {-1, +1}
    largest : upper bound of the result, > exp(-5); default 100. Patterns that are all stable reach it

    Returns
    -------
    beta in units of 1 / h, from exp(-5) to `largest`

    Raises
    ------
    ValueError, TypeError : patterns of other values or length

    Examples
    --------
    >>> from amtheory import Hopfield
    >>> from amtheory.patterns import random_patterns
    >>> from bridges import likelihood_beta
    >>> few, many = random_patterns(10, 100, rng=0), random_patterns(100, 100, rng=0)
    >>> likelihood_beta(Hopfield().fit(few), few) > likelihood_beta(Hopfield().fit(many), many)
    True
    """
    check.kind("memory", memory, Memory)
    patterns = check.spins("patterns", patterns, length=memory.length_)
    if (largest := check.real("largest", largest, positive=True)) <= np.exp(-5):
        raise ValueError(f"`largest` must be above exp(-5), got {largest}")
    aligned = patterns * memory.local_field(patterns)

    def loss(log_beta: float) -> float:
        return np.logaddexp(0, -2 * np.exp(log_beta) * aligned).mean()

    best: Any = minimize_scalar(loss, bounds=(-5, np.log(largest)), method="bounded")
    return float(np.exp(best.x))
