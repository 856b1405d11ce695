"""Retrieval dynamics."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64
from numpy.typing import ArrayLike
from threadpoolctl import ThreadpoolController

from amtheory import _kernels
from amtheory import _validation as check
from amtheory._memory import Couplings, Memory

_BLOCK = 256  # rows whose initial fields one matrix product computes
_UPDATES = {"parallel": _kernels.PARALLEL, "sequential": _kernels.SEQUENTIAL, "typewriter": _kernels.TYPEWRITER}


@dataclass(frozen=True)
class RetrievalInfo:
    """How each retrieval ended; arrays of shape (M,).

    Attributes
    ----------
    sweeps : sweeps done until the end was recognised, the idle sweep that shows it included; else `max_sweeps`
    cycle_length : 1 fixed point; c > 1 cycle of c states, which takes parallel or typewriter updates; 0 neither
        recognised within `max_sweeps`, or T > 0
    overlaps : if a reference was given, (M, max_sweeps + 1), the overlap m(t) with it after t = 0, 1, ... sweeps; else
        None

    Examples
    --------
    >>> from amtheory import Couplings, retrieve
    >>> _, info = retrieve(Couplings([[0, 1], [1, 0]]), [[1, 1], [1, -1]], max_sweeps=3, reference=[1, 1])
    >>> info.cycle_length.tolist(), info.converged.tolist(), info.overlaps.tolist()
    ([1, 2], [True, False], [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    """

    sweeps: Int64[np.ndarray, " M"]
    cycle_length: Int64[np.ndarray, " M"]
    overlaps: Float64[np.ndarray, "M T"] | None = None

    @property
    def converged(self) -> Bool[np.ndarray, " M"]:
        """Whether a fixed point was reached."""
        return self.cycle_length == 1


def retrieve(
    memory_or_couplings: Memory | ArrayLike,
    states: ArrayLike,
    *,
    update: Literal["parallel", "sequential", "typewriter"] = "parallel",
    temperature: float = 0.0,
    max_sweeps: int = 100,
    reference: ArrayLike | None = None,
    rng: check.Seed = None,
    threads: int | None = None,
    first_row: int = 0,
) -> tuple[Int8[np.ndarray, "M L"], RetrievalInfo]:
    """Run the dynamics of a memory from each of `states`.

    With the local field h_i, for couplings sum_j W_ij s_j, a spin is set to sgn(h_i) at T = 0, a zero field
    keeping it, and to +1 with probability sigma(2 h_i / T) at T > 0 (heat bath). For symmetric W, and for dense
    memories, the sequential dynamics then samples exp(-E / T) with the memory's energy. At T = 0 symmetric W lead
    to fixed points, or, if parallel, 2-cycles (Hopfield 1982; Amit, Gutfreund and Sompolinsky 1985); asymmetric W
    can have longer cycles.

    Results are the same bit for bit for any number of threads and any split of a batch: random numbers are
    keyed by (seed, row, sweep, site), so ``retrieve(memory, states[a:b], rng=seed, first_row=a)`` gives rows
    a to b of ``retrieve(memory, states, rng=seed)``; and fields are followed in exact integers, those too
    close to their threshold for the rounding of W being summed in float64 in a fixed order. Integer couplings,
    those of a Hopfield memory included, are exact.

    Parameters
    ----------
    memory_or_couplings : a fitted memory, or W (L, L), square and finite; a diagonal acts as given. To use the
        same W many times, wrap it in `amtheory.Couplings`, which prepares it once
    states : (M, L) spins in {-1, +1}; not modified
    update : "parallel", the default, sets all spins at once, "sequential" one after the other in a fresh random
        order per state and sweep, "typewriter" one after the other in the order of their indices
    temperature : T >= 0, in units of h. T = 0, the default, stops at fixed points and cycles; T > 0 does `max_sweeps`
    max_sweeps : >= 1, default 100; a sweep updates each spin once
    reference : (L,) or (M, L) spins: record in ``info.overlaps`` the overlap with them after each sweep; default None
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy
    threads : number of threads, >= 1; default None takes the environment variable AMTHEORY_NUM_THREADS, or else 1
    first_row : the index >= 0 of ``states[0]``, when `states` is part of a larger batch; default 0

    Returns
    -------
    states : (M, L) int8. A cycle is returned in the phase it has after exactly `max_sweeps` sweeps
    info : RetrievalInfo, how each ended

    Raises
    ------
    ValueError, TypeError : naming the argument: spins other than -1 and +1, shapes that do not fit, couplings that are
        not square and finite, a negative temperature, or anything else out of range

    See Also
    --------
    bridges.MemorySystem.recover : the same for any measured system, in terms of diffusion time
    uddm.reverse : the reverse process of a diffusion language model

    Examples
    --------
    >>> from amtheory import Hopfield, retrieve
    >>> from amtheory.patterns import flip, random_patterns
    >>> x = random_patterns(5, 100, rng=0)
    >>> final, info = retrieve(Hopfield().fit(x), flip(x, 20, rng=1), reference=x)
    >>> info.overlaps[:, 0].tolist(), info.overlaps[:, -1].tolist()
    ([0.6, 0.6, 0.6, 0.6, 0.6], [1.0, 1.0, 1.0, 1.0, 1.0])
    """
    if isinstance(memory_or_couplings, Memory):
        memory = memory_or_couplings
    else:
        memory = Couplings(check.couplings("memory_or_couplings", memory_or_couplings))
    L = memory.length_
    final = check.spins("states", states, length=L).copy()
    M = len(final)
    kind = _UPDATES[check.choice("update", update, tuple(_UPDATES))]
    noise = check.real("temperature", temperature, positive=False) / 2
    max_sweeps = check.integer("max_sweeps", max_sweeps, 1)
    first_row = check.integer("first_row", first_row, 0)
    threads = check.threads(threads)
    seed = check.generator(rng).integers(2**64, dtype=np.uint64)
    targets, overlaps = np.empty((M, 0), np.int8), np.empty((M, 0), np.int32)
    if reference is not None:
        targets = check.spins("reference", reference, ndim=None, length=L)
        if targets.shape not in ((L,), (M, L)):
            raise ValueError(f"`reference` must have shape ({L},) or ({M}, {L}), got {targets.shape}")
        targets, overlaps = np.broadcast_to(targets, (M, L)), np.empty((M, max_sweeps + 1), np.int32)
    info = RetrievalInfo(np.zeros(M, np.int64), np.zeros(M, np.int64))

    def relax(start: int) -> None:
        rows = slice(start, start + _BLOCK)
        with np.errstate(over="ignore"):  # the wrap-around of random bits warns if numba's JIT is disabled
            dynamics.relax(
                *(final[rows], kind, noise, seed, first_row + start, max_sweeps),
                *(info.sweeps[rows], info.cycle_length[rows]),
                *(np.require(targets[rows], requirements=["C", "W"]), overlaps[rows]),
            )

    dynamics = memory.dynamics()
    dynamics.prepare(M)
    with _blas().limit(limits=1, user_api="blas"):
        if threads == 1 or M <= _BLOCK:
            for start in range(0, M, _BLOCK):
                relax(start)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(relax, range(0, M, _BLOCK)))
    return final, info if reference is None else replace(info, overlaps=overlaps / L)


@cache
def _blas() -> ThreadpoolController:
    """The linear algebra libraries in use; finding them takes milliseconds."""
    return ThreadpoolController()
