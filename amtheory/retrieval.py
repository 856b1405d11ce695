"""Retrieval dynamics of memories with pairwise couplings."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from amtheory import _kernels
from amtheory import _validation as check
from amtheory._memory import PairwiseMemory

_BLOCK = 128  # rows whose initial fields one matrix product computes


@dataclass(frozen=True)
class RetrievalInfo:
    """How each retrieval ended; arrays of shape (M,).

    Attributes
    ----------
    sweeps : sweeps done until the end was recognised, the idle sweep that shows it included; else `max_sweeps`
    cycle_length : 1 fixed point, 2 two-cycle (parallel updates only), 0 neither within `max_sweeps`, or T > 0
    """

    sweeps: NDArray[np.int64]
    cycle_length: NDArray[np.int64]

    @property
    def converged(self) -> NDArray[np.bool]:
        """Whether a fixed point was reached."""
        return self.cycle_length == 1


def retrieve(
    memory_or_couplings: PairwiseMemory | ArrayLike,
    states: ArrayLike,
    *,
    update: Literal["parallel", "sequential"] = "parallel",
    temperature: float = 0.0,
    max_sweeps: int = 100,
    rng: Any = None,
    threads: int | None = None,
    first_row: int = 0,
) -> tuple[NDArray[np.int8], RetrievalInfo]:
    """Run the dynamics of a memory from each of `states`.

    With the local field h_i = sum_j W_ij s_j, a spin is set to sgn(h_i) at T = 0, a zero field keeping it,
    and to +1 with probability sigma(2 h_i / T) at T > 0 (heat bath). For symmetric W the sequential dynamics
    then samples exp(-E / T), E = -1/2 sum_ij W_ij s_i s_j; the T = 0 dynamics ends in fixed points, or, if
    parallel, 2-cycles (Hopfield 1982; Amit, Gutfreund and Sompolinsky 1985).

    Parameters
    ----------
    memory_or_couplings : a fitted memory, or W (L, L), square and finite; a diagonal acts as given
    states : (M, L) spins in {-1, +1}; not modified
    update : "parallel" sets all spins at once, "sequential" one after the other, in a fresh random order per
        state and sweep
    temperature : T >= 0, in units of h. T = 0 stops at fixed points and 2-cycles; T > 0 does `max_sweeps`
    max_sweeps : >= 1; a sweep updates each spin once
    rng : None, integer or Generator
    threads : number of threads, >= 1; None takes the environment variable AMTHEORY_NUM_THREADS, or else 1
    first_row : the index of ``states[0]``, when `states` is part of a larger batch

    Returns
    -------
    states : (M, L) int8. A 2-cycle is returned in the phase it has after exactly `max_sweeps` sweeps.
    info : RetrievalInfo

    Results are the same bit for bit for any number of threads and any split of a batch: random numbers are
    keyed by (seed, row, sweep, site), so ``retrieve(memory, states[a:b], rng=seed, first_row=a)`` gives rows
    a to b of ``retrieve(memory, states, rng=seed)``; and fields within rounding error of their threshold are
    recomputed in a fixed order. Integer couplings, those of a Hopfield memory included, are summed exactly.

    Raises ValueError or TypeError naming the argument for spins other than -1 and +1, shapes that do not fit,
    couplings that are not square and finite, a negative temperature, or anything else out of range.
    """
    couplings, unit = _couplings(memory_or_couplings)
    final = check.spins("states", states, length=len(couplings)).copy()
    kernels = {"parallel": _kernels.relax_parallel, "sequential": _kernels.relax_sequential}
    kernel = kernels[check.choice("update", update, tuple(kernels))]
    noise = unit * check.real("temperature", temperature, positive=False) / 2
    max_sweeps = check.integer("max_sweeps", max_sweeps, 1)
    first_row = check.integer("first_row", first_row, 0)
    threads = check.threads(threads)
    seed = check.generator(rng).integers(2**64, dtype=np.uint64)

    couplings, rounding = _working_precision(couplings)
    columns = np.ascontiguousarray(couplings.T)
    info = RetrievalInfo(np.zeros(len(final), np.int64), np.zeros(len(final), np.int64))

    def relax(start: int) -> None:
        rows = slice(start, start + _BLOCK)
        block = final[rows]
        fields = block.astype(couplings.dtype) @ columns
        with np.errstate(over="ignore"):  # the wrap-around of random bits warns if numba's JIT is disabled
            kernel(
                *(block, fields, couplings, columns, rounding, noise, seed, first_row + start, max_sweeps),
                *(info.sweeps[rows], info.cycle_length[rows]),
            )

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        list(pool.map(relax, range(0, len(final), _BLOCK)))
    return final, info


def _couplings(memory_or_couplings: PairwiseMemory | ArrayLike) -> tuple[NDArray[Any], int]:
    """Couplings, integer if they are known as such, and the factor by which they exceed W."""
    if not isinstance(memory_or_couplings, PairwiseMemory):
        return check.couplings("memory_or_couplings", memory_or_couplings), 1
    integers = getattr(memory_or_couplings, "integer_couplings_", None)
    if integers is None:
        return check.couplings("couplings_", memory_or_couplings.couplings_), 1
    return integers, len(integers)


def _working_precision(couplings: NDArray[Any]) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
    """Couplings in the dtype of the sums, and eps ||W_i||_1 for each row, 0 if all sums are exact."""
    exact_couplings = couplings.dtype.kind in "iu"
    couplings = couplings.astype(np.float64)
    norms = np.abs(couplings).sum(axis=1)
    if exact_couplings and norms.max() < 2**53:
        dtype = np.float32 if norms.max() < 2**24 else np.float64
        return couplings.astype(dtype), np.zeros(len(couplings))
    return couplings, np.finfo(np.float64).eps * norms
