"""Memories in the form in which the kernels run them.

Couplings become integers, in which local fields are exact sums, whatever the order of summation.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amtheory import _kernels

_LARGEST = 8191  # of |n_ij|: sums of four columns fit into int16
_LARGEST_SUM = 2**23  # of sum_j |n_ij|: exact in float32
_FEW = 4  # the columns of the + spins give the fields of fewer states than this faster than a matrix product


class Integers(NamedTuple):
    """W_ij = unit_i (n_ij + rounding), with |h_i / unit_i - sum_j n_ij s_j| <= error_i for every state.

    h_i is the float64 sum of `_kernels._defining_field`; error_i = 0 means that it is never needed.
    """

    columns: NDArray[np.integer]  # (L, L), columns[j, i] = n_ij
    unit: NDArray[np.float64]  # (L,)
    error: NDArray[np.int32]  # (L,)
    weights: NDArray[np.float64]  # W, or (0, 0) if all errors are 0
    patterns: NDArray[np.int8]  # (P, L) with n = X^T X less its diagonal, where that is worth using; else (0, L)
    words: NDArray[np.uint64]  # the patterns as bits, (P, ceil(L / 64))
    group: int  # how many columns add up in int16


class Pairwise:
    """Dynamics of integer fields v_i = sum_j n_ij s_j, which start by whichever exact way is the fastest."""

    def __init__(self, integers: Integers) -> None:
        self.integers = integers

    @cached_property
    def _matrix(self) -> NDArray[np.floating]:
        columns = self.integers.columns
        exact_in_float32 = np.abs(columns.astype(np.int64)).sum(axis=0).max() < 2**24
        return columns.astype(np.float32 if exact_in_float32 else np.float64)

    def prepare(self, batch: int) -> None:
        if batch >= _FEW and not len(self.integers.patterns):
            _ = self._matrix

    def relax(self, states: NDArray[np.int8], *arguments: Any) -> None:
        columns, *rest = _plain(self.integers)
        _kernels.relax(states, self.fields(states), columns, tuple(rest), *arguments)

    def fields(self, states: NDArray[np.int8]) -> NDArray[np.int32]:
        """v of `states` (M, L), (M, L)."""
        states = np.require(states, requirements="W")
        columns, *rest = _plain(self.integers)
        if len(self.integers.patterns):
            fields = np.empty(states.shape, np.int32)
            _kernels.hebbian_fields(states, fields, tuple(rest))
        elif len(states) < _FEW:
            all_minus = -self.integers.columns.sum(axis=0, dtype=np.int32)
            fields = np.tile(all_minus, (len(states), 1))
            _kernels.column_fields(states, fields, columns, self.integers.group)
        else:
            fields = (states.astype(self._matrix.dtype) @ self._matrix).astype(np.int32)
        return fields


def pairwise(couplings: NDArray[Any], unit: float = 1.0, patterns: NDArray[np.int8] | None = None) -> Pairwise:
    """W = unit * couplings, exact if they are integers; `patterns` (P, L) with couplings X^T X less the diagonal."""
    L = len(couplings)
    if couplings.dtype.kind in "iu":
        sums = np.abs(couplings, dtype=np.float64).sum(axis=1)
        if sums.max() < 2**31 - 1:
            if patterns is None or 5 * len(patterns) > 2 * L or L >= 2**15:
                patterns = np.empty((0, L), np.int8)
            exact = np.zeros(L, np.int32), np.empty((0, 0)), patterns
            return Pairwise(_integers(couplings, np.full(L, unit), *exact))
    return Pairwise(_rounded(couplings.astype(np.float64) * unit))


def _rounded(W: NDArray[np.float64]) -> Integers:
    """The finest integers that keep columns and sums small, and the bound on what rounding and summation lose.

    The sum of L terms in any order is within L u sum_j |W_ij| (1 + O(L u)), u = eps / 2, of the exact one
    (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2).
    """
    L, sizes = len(W), np.abs(W)
    peaks = sizes.max(axis=1)
    relative = (sizes / np.where(peaks > 0, peaks, 1)[:, None]).sum(axis=1)  # sum_j |W_ij| / max_j |W_ij|
    unit = np.maximum(peaks * np.maximum(1 / _LARGEST, relative / _LARGEST_SUM), 1e-300)
    scaled = W / unit[:, None]
    n = np.rint(scaled)
    lost = np.abs(scaled - n).sum(axis=1) + 2 * np.finfo(np.float64).eps * (L + 1) * np.abs(scaled).sum(axis=1)
    error = np.where(peaks > 0, np.ceil(1.001 * lost), 0).astype(np.int32)
    return _integers(n.astype(np.int16), unit, error, W, np.empty((0, L), np.int8))


def _integers(
    n: NDArray[np.integer],
    unit: NDArray[np.float64],
    error: NDArray[np.int32],
    weights: NDArray[np.float64],
    patterns: NDArray[np.int8],
) -> Integers:
    largest = int(max(n.max(), -int(n.min())))
    dtype = next(dtype for dtype in (np.int8, np.int16, np.int32) if largest <= np.iinfo(dtype).max)
    group = 0 if dtype is np.int32 else (2**15 - 1) // max(largest, 1)
    padding = (0, 0), (0, -len(n) % 64)
    words = np.packbits(np.pad(patterns > 0, padding), axis=1, bitorder="little").view(np.uint64)
    return Integers(np.ascontiguousarray(n.T, dtype), unit, error, weights, patterns, words, group)


class DenseIntegers(NamedTuple):
    """A dense memory, as the kernels use it; formulas in `amtheory.dense`."""

    patterns: NDArray[np.int8]  # (P, L)
    columns: NDArray[np.int8]  # (L, P)
    weights: NDArray[np.float64]  # of a pattern with overlap k (without the site in question), at k + offset
    length: int  # the offset of polynomial memories
    beta: float  # 0 for polynomial memories
    unit: float


class Dense:
    """Dynamics that follow the overlaps with all patterns."""

    def __init__(self, integers: DenseIntegers) -> None:
        self.integers = integers

    def prepare(self, batch: int) -> None:
        pass

    def relax(self, states: NDArray[np.int8], *arguments: Any) -> None:
        _kernels.relax_dense(states, _plain(self.integers), *arguments)

    def fields(self, states: NDArray[np.int8]) -> NDArray[np.float64]:
        fields = np.empty(states.shape)
        _kernels.dense_fields(np.require(states, requirements="W"), fields, _plain(self.integers))
        return fields


def _plain(integers: Integers | DenseIntegers) -> tuple[Any, ...]:
    """The fields, all arrays read-only: numba compiles a kernel anew for arrays that it may write to."""
    views = [value.view() if isinstance(value, np.ndarray) else value for value in integers]
    for view in views:
        if isinstance(view, np.ndarray):
            view.flags.writeable = False
    return tuple(views)
