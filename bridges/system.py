"""The one interface every measured system satisfies, whether a binary memory or a diffusion language model.

Tokens are int64 arrays of shape (B, L) with ids in [0, K); a binary memory has K = 2, id 1 for spin +1 and 0 for -1.
Noise is a diffusion time t in (0, 1]: the larger, the more tokens are replaced by uniform draws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from amtheory import _validation as check
from uddm.choices import LASTS, MODES


class Conditional(ABC):
    """The conditional distributions of the tokens of a batch z (B, L), each given the others. To be implemented.

    They are never stored, K being large: each method reduces over the vocabulary in chunks, where the system computes.
    All methods are of one distribution p(x_l | z without l), by default the *cavity*, which ignores the token's own
    z_l; not the *posterior* p(x_l | z), which `DiffusionSystem` measures when asked to. Nothing is drawn but by
    `sample`, and a sequence's results do not depend on the others of its batch, up to rounding.

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import Conditional
    >>> class Coins(Conditional):
    ...     def __init__(self, shape):
    ...         self.shape = shape
    ...     def entropy(self):
    ...         return np.full(self.shape, np.log(2))
    ...     def log_prob_variance(self):
    ...         return np.zeros(self.shape)
    ...     def mode(self):
    ...         return np.ones(self.shape, np.int64)
    ...     def log_prob(self, x):
    ...         return np.full(self.shape, -np.log(2))
    ...     def sample(self, rng):
    ...         return rng.integers(2, size=self.shape)
    >>> Coins((3, 4)).sample(np.random.default_rng(0)).shape
    (3, 4)
    """

    @abstractmethod
    def entropy(self) -> Float64[np.ndarray, "B L"]:
        """Nats for each token, (B, L) float64."""

    @abstractmethod
    def log_prob_variance(self) -> Float64[np.ndarray, "B L"]:
        """E[log^2 p] - H^2, the variance of log p(x_l | z without l) for x_l drawn from it, nats^2, (B, L) float64."""

    @abstractmethod
    def mode(self) -> Int64[np.ndarray, "B L"]:
        """Most probable tokens, (B, L) int64."""

    @abstractmethod
    def log_prob(self, x: Int64[np.ndarray, "B L"]) -> Float64[np.ndarray, "B L"]:
        """log p(x_l | z without l) of the given tokens `x` (B, L), (B, L) float64, -inf for impossible ones."""

    def surprise(
        self, x: Int64[np.ndarray, "B L"]
    ) -> tuple[Float64[np.ndarray, "B L"], Float64[np.ndarray, "B L"], Float64[np.ndarray, "B L"]]:
        """How surprising the tokens `x` (B, L) are, and how surprising tokens are: `log_prob` of them, `entropy` and
        `log_prob_variance`. To be overridden where one pass gives all three."""
        return self.log_prob(x), self.entropy(), self.log_prob_variance()

    def certainty(self) -> tuple[Float64[np.ndarray, "B L"], Float64[np.ndarray, "B L"], Float64[np.ndarray, "B L"]]:
        """How certain tokens are: `entropy`, the highest probability, and sum_k p_k (1 - p_k), each (B, L) float64. To
        be overridden where one pass gives all three; until then the last, which takes the whole law, is NaN."""
        return self.entropy(), np.exp(self.log_prob(self.mode())), np.full(self.mode().shape, np.nan)

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Int64[np.ndarray, "B L"]:
        """One independent draw for each token, (B, L) int64, from the generator `rng` alone.

        The draws of different tokens are independent given z: not a joint sample of the sequence.
        """


class MemorySystem(ABC):
    """A memory that can be corrupted, asked for its conditionals, and run. To be implemented by what is to be measured.

    A subclass sets `length` and `vocab_size` and defines all methods but `path`, `prior`, `uniform` and `steps_taken`.
    Tokens come in as int64 arrays (B, L) of ids in [0, K), B >= 1, checked by the measurement (`as_tokens`); they may
    be read-only and are left alone. Tokens go out as int64 arrays, on the CPU. What is random comes from the
    `numpy.random.Generator` that is given and from nothing else: the same state of it gives the same tokens, and
    torch's or numpy's global streams stay as they are. Whatever is measured can be pickled.

    Attributes
    ----------
    length : tokens in a sequence, L
    vocab_size : K; 2 for a binary memory, id 1 for spin +1
    mask : the id that hides a token of corrupted sequences, K or one of the K that no sequence holds; None, the
        default, where there is none
    carries_over : whether the dynamics leave all tokens that are shown as they are, so that there is no rate of
        unstable ones; default False

    See Also
    --------
    as_system : finds the system behind a memory, a denoiser or a checkpoint folder

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import MemorySystem, as_system, token_recovery
    >>> class Forgetful(MemorySystem):
    ...     length, vocab_size = 8, 2
    ...     def corrupt(self, x, noise, rng):
    ...         return np.where(rng.random(x.shape) < noise, rng.integers(2, size=x.shape), x)
    ...     def conditional(self, z, t):
    ...         raise NotImplementedError  # `Conditional` shows one; recovery asks for none
    ...     def recover(self, z, *, start=1.0, mode="sample", steps=None, last="ancestral", keep=None, rng):
    ...         return np.where(False if keep is None else keep, z, rng.integers(2, size=z.shape))
    ...     def generate(self, n, rng, *, steps=None):
    ...         return rng.integers(2, size=(n, self.length))
    ...     def describe(self):
    ...         return {"system": "Forgetful", "length": self.length}
    >>> found = token_recovery(Forgetful(), np.ones((500, 8), int), noise=0.5, rng=0)
    >>> found.recovery.sel(estimate="value").values.round(1).tolist()
    [0.5]
    """

    length: int
    vocab_size: int
    mask: int | None = None
    carries_over: bool = False

    @abstractmethod
    def corrupt(self, x: Int64[np.ndarray, "B L"], noise: float, rng: np.random.Generator) -> Int64[np.ndarray, "B L"]:
        """Replace each token with probability 1 - alpha_t at the time t = `noise`: by a uniform draw, or the mask.

        A draw may be the token itself: the expected fraction of altered tokens is (1 - alpha_t) (K - 1) / K, and
        1 - alpha_t under masks.

        Parameters
        ----------
        x : (B, L) int64
        noise : a diffusion time in (0, 1], not a fraction of tokens
        rng : generator of the draws

        Returns
        -------
        (B, L) int64
        """

    @abstractmethod
    def conditional(self, z: Int64[np.ndarray, "B L"], t: float) -> Conditional:
        """Conditionals of each token given the others, the system being told that `z` is at time `t`.

        Parameters
        ----------
        z : (B, L) int64
        t : in (0, 1]; a system without a notion of time ignores it

        Returns
        -------
        Conditional, which may compute when it is asked
        """

    @abstractmethod
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
        """Run the dynamics from `z` to their end.

        Parameters
        ----------
        z : (B, L) int64
        start : the time in (0, 1] that the system is told `z` is at, whatever corrupted it; default 1. A system without
            a notion of time ignores it
        mode : "sample", the stochastic dynamics, the default; "posterior_mode", which takes the most probable token of
            each update's law; "x0_mode", which draws the update with the most probable clean token; "one_shot", which
            takes the most probable clean token, once. "posterior_mode" and "one_shot" are deterministic. A system may
            have one deterministic dynamics for all but "sample"
        steps : number of steps, or of sweeps, >= 1; default None, the system's own
        last : the last update of a reverse process, "ancestral", the default, "greedy" or "none" (`uddm.reverse`);
            other systems ignore it
        keep : where tokens are known, as `z` has them, and stay, (B, L) bool; default None, nowhere. A system that
            cannot keep any refuses it by a ValueError
        rng : generator of all that is random; deterministic modes may draw from it what is not the tokens, such as an
            order

        Returns
        -------
        (B, L) int64

        See Also
        --------
        amtheory.retrieve : the dynamics of a binary memory, in spins, temperature and sweeps
        uddm.reverse : the reverse process of a diffusion model
        """

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
        """The states that `recover` goes through. May be left out: then it is taken to go from `z` to its end at once.

        Parameters
        ----------
        z, start, mode, steps, last, keep, rng : as `recover` is given them; the last state is what it returns

        Returns
        -------
        times : (T,) float64 in [0, 1], T >= 2, of each state; all `start` of a system without a notion of time
        states : one (B, L) int64 for each time, `z` first, made when it is asked for
        """
        end = self.recover(z, start=start, mode=mode, steps=steps, last=last, keep=keep, rng=rng)
        return np.array([start, 0.0]), iter([z, end])

    def prior(self, n: int, rng: np.random.Generator) -> Int64[np.ndarray, "{n} {self.length}"]:
        """What is left of sequences at t = 1. May be left out if that is `uniform`.

        Parameters
        ----------
        n : how many sequences, >= 1
        rng : generator of the draws

        Returns
        -------
        (n, L) int64
        """
        return self.uniform(n, rng)

    def uniform(self, n: int, rng: np.random.Generator) -> Int64[np.ndarray, "{n} {self.length}"]:
        """Sequences of independent tokens, each as probable as any other; masks are none.

        Parameters
        ----------
        n : how many, >= 1
        rng : generator of the draws

        Returns
        -------
        (n, L) int64
        """
        if self.mask is None or self.mask >= self.vocab_size:
            return rng.integers(self.vocab_size, size=(n, self.length))
        x = rng.integers(self.vocab_size - 1, size=(n, self.length))
        return x + (x >= self.mask)

    @abstractmethod
    def generate(
        self, n: int, rng: np.random.Generator, *, steps: int | None = None
    ) -> Int64[np.ndarray, "{n} {self.length}"]:
        """Sequences from the stochastic dynamics, started at noise.

        Parameters
        ----------
        n : how many, >= 1
        rng : generator of the noise and of the dynamics
        steps : as for `recover`

        Returns
        -------
        (n, L) int64
        """

    def steps_taken(self, mode: str, steps: int | None) -> int | None:
        """How many steps, or sweeps, `recover` takes, for the record. May be left out if it takes `steps` as they are.

        Parameters
        ----------
        mode, steps : as `recover` is given them

        Returns
        -------
        the number; None for one exact draw, which has no steps
        """
        return steps

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the system is, for the record that goes with each result.

        Returns
        -------
        values that JSON can hold, among them ``system``, a name, and ``length``; enough to make the system again
        """


def as_tokens(
    name: str, tokens: Any, system: MemorySystem, *, noisy: bool = False
) -> Int64[np.ndarray, "B {system.length}"]:
    """`tokens` as an int64 array (B, L) fit for `system`.

    Parameters
    ----------
    name : of the argument, for messages
    tokens : (B, L) integers of any type in [0, K), B >= 1
    system : whose `length`, `vocab_size` and `mask` are asked for
    noisy : whether they may hold the system's mask; default False

    Raises
    ------
    TypeError : not integers, or masked ones; `system` is none
    ValueError : wrong shape, ids outside [0, K), or masks
    """
    check_system(system)
    tokens = check.unmasked(name, tokens)
    if tokens.dtype.kind not in "iu":
        raise TypeError(f"`{name}` must hold integer token ids, got dtype {tokens.dtype}")
    if tokens.ndim != 2 or tokens.shape[1] != system.length or len(tokens) == 0:
        raise ValueError(f"`{name}` must have shape (B, {system.length}) with B >= 1, got {tokens.shape}")
    hidden = tokens == system.mask if system.mask is not None else np.zeros(tokens.shape, bool)
    shown = tokens[~hidden] if noisy else tokens
    if shown.size and (shown.min() < 0 or shown.max() >= system.vocab_size):
        raise ValueError(
            f"`{name}` must hold token ids in [0, {system.vocab_size - 1}], got ids in [{shown.min()}, {shown.max()}]"
        )
    if hidden.any() and not noisy:
        raise ValueError(f"`{name}` must hold tokens, got the mask, id {system.mask}, {hidden.sum()} times")
    return tokens.astype(np.int64)


def check_system(system: Any) -> None:
    """Raises TypeError unless `system` has what tells a measured system from the memory or denoiser behind it."""
    if not hasattr(system, "vocab_size"):
        raise TypeError(f"`system` must be a MemorySystem, which `as_system` makes, got {type(system).__name__}")


def check_time(name: str, t: Any) -> float:
    """`t` as a float in (0, 1].

    Parameters
    ----------
    name : of the argument, for messages
    t : a number

    Raises
    ------
    TypeError : no number
    ValueError : outside (0, 1]
    """
    if isinstance(t, bool) or not isinstance(t, int | float | np.number):
        raise TypeError(f"`{name}` must be a number in (0, 1], got {t!r}")
    if not 0 < t <= 1:
        raise ValueError(f"`{name}` must lie in (0, 1], got {t}")
    return float(t)


def check_times(name: str, times: Any) -> list[float]:
    """One time, or several, as a list of floats in (0, 1].

    Parameters
    ----------
    name : of the argument, for messages
    times : a number or an iterable of numbers

    Raises
    ------
    TypeError : no numbers
    ValueError : outside (0, 1], or none at all
    """
    many = isinstance(times, Iterable) and not isinstance(times, str)
    found = [check_time(name, t) for t in (check.several(name, times) if many else [times])]
    if not found:
        raise ValueError(f"`{name}` must hold at least one time in (0, 1], got none")
    return found


def check_dynamics(mode: str, last: str, steps: int | None) -> None:
    """Raises ValueError unless `mode` and `last` are among `uddm.choices` and `steps` is None or an integer >= 1."""
    check.choice("mode", mode, MODES)
    check.choice("last", last, LASTS)
    if steps is not None and (not isinstance(steps, Integral) or isinstance(steps, bool) or steps < 1):
        raise ValueError(f"`steps` must be None or an integer >= 1, got {steps!r}")


def check_confidence(confidence: float) -> None:
    """Raises TypeError, ValueError unless `confidence` is a number in (0, 1)."""
    check.between("confidence", confidence, 0, 1)
