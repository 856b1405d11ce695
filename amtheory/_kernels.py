"""The numba kernels: single-spin dynamics with incremental local fields and counter-based randomness.

Set AMTHEORY_NUMBA_CACHE=0 to keep compiled kernels off the disk. The kernels release the GIL.

**Decisions do not depend on how a field was computed.** The dynamics is defined by the float64 sum of
W_ij s_j in order of j. Any other order of summation, and k incremental updates, differ from it by at most
(2L + k) u ||W_i||_1 (1 + O((L + k) u)), u = eps / 2 (Higham, Accuracy and Stability of Numerical
Algorithms, section 4.2). Where a field is closer than twice that to its threshold, it is recomputed in the
defining order. `rounding[i]` is eps ||W_i||_1, or 0 if all sums are exact (integer couplings).

**Random numbers** are a function of (seed, row, sweep, counter), through the mixer of SplitMix64 (Steele,
Lea and Flood, OOPSLA 2014), never of the order of execution. In sweep t of row r, counter k < L draws the
k-th site of the visiting order and counter L + i the noise of site i.
"""

import math
import os

import numba
import numpy as np

_jit = numba.njit(nogil=True, cache=os.environ.get("AMTHEORY_NUMBA_CACHE", "1") != "0")

_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)


@_jit
def _mix(z):
    z = (z ^ (z >> np.uint64(30))) * _MULTIPLIER_1
    z = (z ^ (z >> np.uint64(27))) * _MULTIPLIER_2
    return z ^ (z >> np.uint64(31))


@_jit
def _stream(seed, row, sweep):
    return _mix(_mix(_mix(seed) + np.uint64(row)) + np.uint64(sweep))


@_jit
def _draw(stream, counter):
    return _mix(stream + np.uint64(counter + 1) * _INCREMENT)


@_jit
def _below(n, bits):
    """An integer in [0, n), n < 2**32, uniform within n / 2**32."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@_jit
def _logit(bits):
    """log(u / (1 - u)) for u uniform on the centres of 2**52 cells of (0, 1); u and 1 - u are exact."""
    u = (np.float64(bits >> np.uint64(12)) + 0.5) * 2.0**-52
    return math.log(u / (1.0 - u))


@_jit
def _canonical_field(site, state, couplings):
    """The defining sum. Called rarely: the reference counts of array arguments cost more than a comparison."""
    field = 0.0
    for j in range(state.size):
        field += couplings[site, j] * state[j]
    return field


@_jit
def _flip(site, state, fields, columns):
    state[site] = -state[site]
    change = columns.dtype.type(2 * state[site])
    column = columns[site]
    for i in range(fields.size):
        fields[i] += change * column[i]


@_jit
def _same(a, b):
    if a.size != b.size:
        return False
    for k in range(a.size):  # noqa: SIM110
        if a[k] != b[k]:
            return False
    return True


@_jit
def relax_parallel(
    states, fields, couplings, columns, rounding, noise, seed, first_row, max_sweeps, sweeps, cycle_length
):
    """All spins at once: s_i <- sgn(h_i - noise logit(u_i)), in place, one row of `states` after the other.

    A spin is reversed iff s_i (h_i - noise logit(u_i)) < 0, so that a tie keeps it.
    `fields` (M, L) are those of `states`; `columns` is the transpose of `couplings`. At noise = 0 a row stops
    when it flips nothing (fixed point), or flips what it flipped before (2-cycle, returned in the phase it
    would have after `max_sweeps`).
    """
    L = states.shape[1]
    flipped, before = np.empty(L, np.int64), np.empty(L, np.int64)
    for row in range(states.shape[0]):
        state, field = states[row], fields[row]
        n_flipped, n_before, n_updates = 0, 0, 0
        for sweep in range(max_sweeps):
            stream = _stream(seed, first_row + row, sweep)
            n_flipped = 0
            for site in range(L):
                threshold = noise * _logit(_draw(stream, L + site)) if noise > 0.0 else 0.0
                error = (2 * L + n_updates) * rounding[site]
                gap = np.float64(field[site]) - threshold
                if abs(gap) < error:
                    gap = _canonical_field(site, state, couplings) - threshold
                if gap * state[site] < 0.0:
                    flipped[n_flipped] = site
                    n_flipped += 1
            for k in range(n_flipped):
                _flip(flipped[k], state, field, columns)
            n_updates += n_flipped
            sweeps[row] = sweep + 1
            if noise == 0.0:
                if n_flipped == 0:
                    cycle_length[row] = 1
                    break
                if _same(flipped[:n_flipped], before[:n_before]):
                    cycle_length[row] = 2
                    if (max_sweeps - sweep - 1) % 2 == 1:
                        for k in range(n_flipped):
                            state[flipped[k]] = -state[flipped[k]]
                    break
            flipped, before, n_before = before, flipped, n_flipped


@_jit
def relax_sequential(
    states, fields, couplings, columns, rounding, noise, seed, first_row, max_sweeps, sweeps, cycle_length
):
    """One spin at a time, in a fresh random order each sweep; otherwise as `relax_parallel`.

    At noise = 0 a row stops at the first sweep without a flip (fixed point).
    """
    L = states.shape[1]
    order = np.empty(L, np.int64)
    for row in range(states.shape[0]):
        state, field = states[row], fields[row]
        n_updates = 0
        for sweep in range(max_sweeps):
            stream = _stream(seed, first_row + row, sweep)
            n_flipped = 0
            for k in range(L):
                order[k] = k
            for k in range(L):
                chosen = k + _below(L - k, _draw(stream, k))
                site = order[chosen]
                order[chosen] = order[k]
                threshold = noise * _logit(_draw(stream, L + site)) if noise > 0.0 else 0.0
                error = (2 * L + n_updates + n_flipped) * rounding[site]
                gap = np.float64(field[site]) - threshold
                if abs(gap) < error:
                    gap = _canonical_field(site, state, couplings) - threshold
                if gap * state[site] < 0.0:
                    _flip(site, state, field, columns)
                    n_flipped += 1
            n_updates += n_flipped
            sweeps[row] = sweep + 1
            if noise == 0.0 and n_flipped == 0:
                cycle_length[row] = 1
                break
