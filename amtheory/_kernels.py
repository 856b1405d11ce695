"""The numba kernels of the dynamics: incremental integer local fields and counter-based randomness.

**Decisions do not depend on how a field was computed.** The dynamics is defined by `_defining_field`, a float64
sum in a fixed order. The kernels follow v_i = sum_j n_ij s_j instead, W_ij = unit_i (n_ij + rounding), in
integers, where sums are exact in any order, and know |h_i / unit_i - v_i| <= error_i (see `amtheory._dynamics`).
What that leaves open is decided by the defining field. Couplings that are integers have error_i = 0.

**Random numbers** are a function of (seed, row, sweep, counter), through the mixer of SplitMix64 (Steele,
Lea and Flood, OOPSLA 2014), never of the order of execution. In sweep t of row r, counter k < L draws the
k-th site of the visiting order and counter L + i the noise of site i.

**One long file**, as the kernels call each other, and numba's cache on disk misses a change in another file.
"""

import math

import numpy as np

from amtheory._jit import jit

_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)

_REACH, _BINS = 32, 1024  # sigma(x) is tabulated on this many bins of [-reach, reach]
_BINS_PER_UNIT = _BINS / (2 * _REACH)
_SIGMA = 1 / (1 + np.exp(-np.linspace(-_REACH, _REACH, _BINS + 1)[1:-1]))
# In each bin: u < sigma if the first 32 bits of u are < _SURELY, u >= sigma if they are > _HARDLY. The first and
# the last bin reach to infinity.
_SURELY = np.floor(2.0**32 * np.concatenate([[0.0], _SIGMA]) * (1 - 1e-9)).astype(np.uint32)
_HARDLY = np.minimum(np.ceil(2.0**32 * np.concatenate([_SIGMA, [1.0]]) * (1 + 1e-9)), 2.0**32 - 1).astype(np.uint32)

_SCAN = 64  # sites looked at together


PARALLEL, SEQUENTIAL, TYPEWRITER = 0, 1, 2

# Memories come as plain tuples, the fields of `amtheory._dynamics.Integers` and `DenseIntegers` in order: a type of our
# own in a signature would make numba's cache on disk unreadable once it moves. The columns of `Integers`, whose dtype
# differs from memory to memory, come beside the rest, W: what does not need them is compiled once.
UNIT, ERROR, WEIGHTS, PATTERNS, WORDS, GROUP = range(6)
D_PATTERNS, D_COLUMNS, D_WEIGHTS, D_LENGTH, D_BETA, D_UNIT = range(6)


# --- random numbers


@jit
def _mix(z):
    z = (z ^ (z >> np.uint64(30))) * _MULTIPLIER_1
    z = (z ^ (z >> np.uint64(27))) * _MULTIPLIER_2
    return z ^ (z >> np.uint64(31))


@jit
def _stream(seed, row, sweep):
    return _mix(_mix(_mix(seed) + np.uint64(row)) + np.uint64(sweep))


@jit
def _draw(stream, counter):
    return _mix(stream + np.uint64(counter + 1) * _INCREMENT)


@jit
def _below(n, bits):
    """An integer in [0, n), n < 2**32, uniform within n / 2**32."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@jit
def _logit(bits):
    """log(u / (1 - u)) for u uniform on the centres of 2**52 cells of (0, 1); u and 1 - u are exact."""
    u = (np.float64(bits >> np.uint64(12)) + 0.5) * 2.0**-52
    return math.log(u / (1.0 - u))


# --- local fields


@jit
def _defining_field(site, state, couplings):
    """sum_j W_ij s_j as eight interleaved partial sums and that of the last L mod 8 terms."""
    a = b = c = d = e = f = g = h = tail = 0.0
    whole = state.size - state.size % 8
    for j in range(0, whole, 8):
        a += couplings[site, j] * state[j]
        b += couplings[site, j + 1] * state[j + 1]
        c += couplings[site, j + 2] * state[j + 2]
        d += couplings[site, j + 3] * state[j + 3]
        e += couplings[site, j + 4] * state[j + 4]
        f += couplings[site, j + 5] * state[j + 5]
        g += couplings[site, j + 6] * state[j + 6]
        h += couplings[site, j + 7] * state[j + 7]
    for j in range(whole, state.size):
        tail += couplings[site, j] * state[j]
    return ((a + b) + (c + d)) + ((e + f) + (g + h)) + tail


@jit
def _add_column(fields, column, spin):
    """The field of one spin that has become `spin`."""
    if spin > 0:
        for i in range(fields.size):
            fields[i] += 2 * np.int32(column[i])
    else:
        for i in range(fields.size):
            fields[i] -= 2 * np.int32(column[i])


@jit
def _add_columns(fields, columns, group, sites, n, state, total):
    """The fields of n spins that have flipped, at `sites`; `total` (L,) int16 holds the sums of `group` columns."""
    if group == 0:
        for k in range(n):
            _add_column(fields, columns[sites[k]], state[sites[k]])
        return
    k = 0
    while k < n:
        end = min(n, k + group)
        total[:] = 0
        while k + 4 <= end:
            column_a, column_b = columns[sites[k]], columns[sites[k + 1]]
            column_c, column_d = columns[sites[k + 2]], columns[sites[k + 3]]
            a, b = state[sites[k]], state[sites[k + 1]]
            c, d = state[sites[k + 2]], state[sites[k + 3]]
            for i in range(fields.size):
                total[i] += a * column_a[i] + b * column_b[i] + c * column_c[i] + d * column_d[i]
            k += 4
        while k < end:
            column_a, a = columns[sites[k]], state[sites[k]]
            for i in range(fields.size):
                total[i] += a * column_a[i]
            k += 1
        for i in range(fields.size):
            fields[i] += 2 * np.int32(total[i])


@jit
def _popcount(word):
    """The number of bits set; compilers know the idiom and use the machine's instruction."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@jit
def _hebbian_field(state, field, W, total):
    """v_i = sum_mu (x^mu . s) x_i^mu - P s_i, from the patterns alone; `W[WORDS]` holds their spins as bits."""
    P, L = W[PATTERNS].shape
    bits, overlaps = np.zeros(W[WORDS].shape[1], np.uint64), np.zeros(P + 3, np.int16)
    for k in range(bits.size):
        word = np.uint64(0)
        for j in range(64 * k, min(64 * k + 64, L)):
            word |= np.uint64(state[j] > 0) << np.uint64(j & 63)
        bits[k] = word
    for mu in range(P):
        different = np.uint64(0)
        for k in range(bits.size):
            different += _popcount(bits[k] ^ W[WORDS][mu, k])
        overlaps[mu] = L - 2 * np.int64(different)
    for i in range(L):
        field[i] = -P * np.int32(state[i])
    total[:] = 0
    room = 2**15 - 1  # what the int16 sums can still take
    for mu in range(0, P, 4):
        pattern_a, pattern_b = W[PATTERNS][mu], W[PATTERNS][min(mu + 1, P - 1)]
        pattern_c, pattern_d = W[PATTERNS][min(mu + 2, P - 1)], W[PATTERNS][min(mu + 3, P - 1)]
        a, b, c, d = overlaps[mu], overlaps[mu + 1], overlaps[mu + 2], overlaps[mu + 3]  # 0 beyond P
        largest = abs(np.int64(a)) + abs(np.int64(b)) + abs(np.int64(c)) + abs(np.int64(d))
        if room < largest:
            for i in range(L):
                field[i] += np.int32(total[i])
            total[:] = 0
            room = 2**15 - 1
        if largest < 2**15:
            room -= largest
            for i in range(L):
                total[i] += a * pattern_a[i] + b * pattern_b[i] + c * pattern_c[i] + d * pattern_d[i]
        else:
            for i in range(L):
                field[i] += np.int32(a) * pattern_a[i] + np.int32(b) * pattern_b[i]
                field[i] += np.int32(c) * pattern_c[i] + np.int32(d) * pattern_d[i]
    for i in range(L):
        field[i] += np.int32(total[i])


@jit
def hebbian_fields(states, fields, W):
    """Integer fields of `states` (M, L) from the patterns of W, into `fields`."""
    total = np.empty(states.shape[1], np.int16)
    for row in range(states.shape[0]):
        _hebbian_field(states[row], fields[row], W, total)


@jit
def column_fields(states, fields, columns, group):
    """Integer fields of `states` (M, L) from the columns, into `fields`, which start as those of all spins -1."""
    L = states.shape[1]
    sites, total = np.empty(L, np.int32), np.empty(L, np.int16)
    for row in range(states.shape[0]):
        n = np.int64(0)  # for a literal 0 numba would compile `_add_columns` once more
        for site in range(L):
            if states[row, site] > 0:
                sites[n] = site
                n += 1
        _add_columns(fields[row], columns, group, sites, n, states[row], total)


# --- decisions


@jit
def _bin(position):
    return np.int32(min(max(position, np.float32(0)), np.float32(_BINS - 1)))


@jit
def _verdict(agreement, scale, slack, spin, bits):
    """Whether a spin stays (1) or flips (-1) at T > 0, as far as v_i s_i and the table of sigma tell; else 0.

    With u' = u for spin +1 and 1 - u for -1, it stays iff u' < sigma(2 h_i s_i / T): mostly, as branches like it.
    """
    top = np.uint32(bits >> np.uint64(32))
    if spin < 0:
        top = ~top
    position = np.float32(agreement) * scale + np.float32(_BINS / 2)
    if top < _SURELY[_bin(position - slack)]:
        return 1
    if top > _HARDLY[_bin(position + slack)]:
        return -1
    return 0


@jit
def _open_spin(site, state, v, W, noise, bits):
    """sgn(h - noise logit(u)), a tie keeping the spin: the definition, for where v_i does not decide.

    Called rarely: the reference counts of array arguments cost more than a comparison.
    """
    h = W[UNIT][site] * v if W[ERROR][site] == 0 else _defining_field(site, state, W[WEIGHTS])
    gap = h - noise * _logit(bits) if noise > 0.0 else h
    return 1 if gap > 0.0 else -1 if gap < 0.0 else state[site]


@jit
def _unstable_sites(state, field, W, sites, limit):
    """Fill `sites` with those that would flip at T = 0, and stop when there are `limit`; returns their number."""
    L, n = state.size, 0
    error = W[ERROR]
    for start in range(0, L, _SCAN):
        stop = min(start + _SCAN, L)
        least = np.int32(1)
        for i in range(start, stop):
            least = min(least, np.int32(np.int32(state[i]) * field[i] - error[i]))
        if least > 0:
            continue
        candidates = n
        for i in range(start, stop):  # without branches
            sites[candidates] = i
            candidates += np.int32(state[i]) * field[i] <= error[i]
        for k in range(n, candidates):
            i = np.int64(sites[k])
            if state[i] * field[i] < -error[i] or _open_spin(i, state, field[i], W, 0.0, np.uint64(0)) != state[i]:
                sites[n] = i
                n += 1
        if n >= limit:
            break
    return n


@jit
def _copy(a, b):
    """b[: a.size] = a, which numba would take seconds to compile, for the sake of an error that cannot occur."""
    for k in range(a.size):
        b[k] = a[k]


@jit
def _same(a, b):
    if a.size != b.size:
        return False
    for k in range(a.size):  # noqa: SIM110
        if a[k] != b[k]:
            return False
    return True


# --- dynamics


@jit
def _bins_of_unit(W, noise):
    """Bins of the table of sigma per unit of v_i, and per error_i with room for the roundings of float32."""
    L = W[UNIT].size
    scale, slack = np.zeros(L, np.float32), np.zeros(L, np.float32)
    if noise > 0.0:
        for i in range(L):
            bins = min(W[UNIT][i] / noise * _BINS_PER_UNIT, 1e30)
            scale[i] = bins
            slack[i] = bins * W[ERROR][i] * 1.001 + 1e-2
    return scale, slack


@jit
def _open_run(state, saved, row, max_sweeps, reference, overlaps):
    """The record of a row: sweeps done, sweeps to do, when `saved` was the state, differences from it, flips before."""
    _copy(state, saved)
    if overlaps.size > 0:
        overlap = np.int64(0)
        for i in range(state.size):
            overlap += state[i] * reference[row, i]
        overlaps[row, 0] = overlap
    return np.array([0, max_sweeps, 0, 0, 0])


@jit
def _next_place(k, L, update, stream):
    """Where the k-th site of a sweep stands in `order`: at k or, if SEQUENTIAL, at a random place of those from k on.

    `order` itself is not passed: counting its references would take a quarter of a sweep.
    """
    return k + _below(L - k, _draw(stream, k)) if update == SEQUENTIAL else k


@jit
def _close_sweep(
    record, n, flipped, before, saved, state, row, update, noise, max_sweeps, sweeps, cycle_length, reference, overlaps
):
    """Count a sweep that made n flips, recognise fixed points and cycles, and set how many sweeps are still to do.

    Cycles are found by Brent's method (BIT 20, 176, 1980), which compares with the states of sweeps 0, 1, 2, 4,
    8, ..., and those of length 2 in parallel dynamics also by the flips of two successive sweeps.
    """
    sweep, _, saved_at, different, n_before = record
    sweep += 1
    for k in range(n):
        different += 1 if state[flipped[k]] != saved[flipped[k]] else -1
    if overlaps.size > 0:
        gain = np.int64(0)
        for k in range(n):
            gain += state[flipped[k]] * reference[row, flipped[k]]
        overlaps[row, sweep] = overlaps[row, sweep - 1] + 2 * gain
    if noise == 0.0 and cycle_length[row] == 0:
        if n == 0:
            cycle_length[row] = 1
        elif update == PARALLEL and _same(flipped[:n], before[:n_before]):
            cycle_length[row] = 2
        elif update != SEQUENTIAL and different == 0:
            cycle_length[row] = sweep - saved_at
        if cycle_length[row] > 0:
            sweeps[row] = sweep
            record[1] = sweep + (max_sweeps - sweep) % cycle_length[row]
        elif sweep >= 2 * saved_at:
            _copy(state, saved)
            saved_at, different = sweep, 0
        _copy(flipped[:n], before)
    record[0], record[2], record[3], record[4] = sweep, saved_at, different, n


@jit
def _close_run(record, row, max_sweeps, sweeps, cycle_length, overlaps):
    if cycle_length[row] == 0:
        sweeps[row] = max_sweeps
    elif overlaps.size > 0:
        for sweep in range(record[0] + 1, max_sweeps + 1):
            overlaps[row, sweep] = overlaps[row, sweep - cycle_length[row]]


@jit
def relax(
    states, fields, columns, W, update, noise, seed, first_row, max_sweeps, sweeps, cycle_length, reference, overlaps
):
    """Run pairwise dynamics in place, one row of `states` after the other.

    `update` is PARALLEL, SEQUENTIAL (a fresh random order each sweep) or TYPEWRITER (sites in order). `fields`
    (M, L) int32 are those of `states`. At noise = 0 a row stops when it has met a fixed point or a state of
    before; a cycle is returned in the phase it has after `max_sweeps`. If `overlaps` (M, max_sweeps + 1) is
    not empty, it receives those with `reference` (M, L), times L, after each sweep.
    """
    L = states.shape[1]
    flipped, before, order = np.empty(L + 1, np.int32), np.empty(L + 1, np.int32), np.empty(L, np.int32)
    saved, total = np.empty(L, np.int8), np.empty(L, np.int16)
    error = W[ERROR]
    scale, slack = _bins_of_unit(W, noise)
    for row in range(states.shape[0]):
        state, field = states[row], fields[row]
        record = _open_run(state, saved, row, max_sweeps, reference, overlaps)
        while record[0] < record[1]:
            stream = _stream(seed, first_row + row, record[0])
            n = 0
            if noise == 0.0:
                n = _unstable_sites(state, field, W, flipped, L if update == PARALLEL else 1)
            elif update == PARALLEL:
                for site in range(L):
                    bits = _draw(stream, L + site)
                    verdict = _verdict(field[site] * state[site], scale[site], slack[site], state[site], bits)
                    if verdict == 0:
                        verdict = _open_spin(site, state, field[site], W, noise, bits) * state[site]
                    if verdict < 0:
                        flipped[n] = site
                        n += 1
            if update == PARALLEL:
                for k in range(n):
                    state[flipped[k]] = -state[flipped[k]]
                if n >= W[PATTERNS].shape[0] > 0:
                    _hebbian_field(state, field, W, total)
                else:
                    _add_columns(field, columns, W[GROUP], flipped, n, state, total)
            elif n > 0 or noise > 0.0:
                n = 0
                for k in range(L):
                    order[k] = k
                for k in range(L):
                    place = _next_place(k, L, update, stream)
                    site, order[place] = order[place], order[k]
                    spin, bits = state[site], np.uint64(0)
                    agreement = field[site] * spin
                    if noise > 0.0:
                        bits = _draw(stream, L + site)
                        verdict = _verdict(agreement, scale[site], slack[site], spin, bits)
                    else:
                        verdict = 1 if agreement > error[site] else -1 if agreement < -error[site] else 0
                    if verdict == 0:
                        verdict = _open_spin(np.int64(site), state, field[site], W, noise, bits) * spin
                    if verdict < 0:
                        state[site] = -spin
                        _add_column(field, columns[site], state[site])
                        flipped[n] = site
                        n += 1
            _close_sweep(
                *(record, n, flipped, before, saved, state, row, update, noise, max_sweeps, sweeps),
                *(cycle_length, reference, overlaps),
            )
        _close_run(record, row, max_sweeps, sweeps, cycle_length, overlaps)


# --- dense memories


@jit
def _pattern_overlaps(state, D, overlaps):
    for mu in range(overlaps.size):
        overlap = np.int64(0)
        for i in range(state.size):
            overlap += D[D_PATTERNS][mu, i] * state[i]
        overlaps[mu] = overlap


@jit
def _logaddexp(a, b):
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))


@jit
def _dense_field(site, spin, overlaps, D, finite):
    """The local field h = (E(s_i = -1) - E(s_i = +1)) / 2, or, unless `finite`, a number of its sign."""
    column, offset = D[D_COLUMNS][site], D[D_LENGTH]
    if D[D_BETA] > 0.0:  # weights relative to the largest overlap
        top = overlaps[0]
        for mu in range(overlaps.size):
            top = max(top, overlaps[mu])
        offset = D[D_WEIGHTS].size - 2 - top
    plus = minus = 0.0
    for mu in range(overlaps.size):
        x = column[mu]
        weight = D[D_WEIGHTS][overlaps[mu] - x * spin + offset]
        if x > 0:
            plus += weight
        else:
            minus += weight
    if D[D_BETA] == 0.0 or not finite:
        return (plus - minus) * D[D_UNIT]
    if plus == 0.0 or minus == 0.0:
        return 1.0 if minus == 0.0 else -1.0
    # log(plus + exp(-2 beta) minus) - log(exp(-2 beta) plus + minus), over 2 beta
    ratio, twice = math.log(plus / minus), 2.0 * D[D_BETA]
    return (_logaddexp(ratio, -twice) - _logaddexp(ratio - twice, 0.0)) / twice


@jit
def dense_fields(states, fields, D):
    """Local fields of `states` (M, L) into `fields`."""
    overlaps = np.empty(D[D_PATTERNS].shape[0], np.int32)
    for row in range(states.shape[0]):
        _pattern_overlaps(states[row], D, overlaps)
        for site in range(states.shape[1]):
            fields[row, site] = _dense_field(site, states[row, site], overlaps, D, True)


@jit
def relax_dense(states, D, update, noise, seed, first_row, max_sweeps, sweeps, cycle_length, reference, all_overlaps):
    """As `relax`, for a dense memory: the overlaps with all patterns are followed instead of the local fields."""
    L, P = states.shape[1], D[D_PATTERNS].shape[0]
    flipped, before, order = np.empty(L, np.int32), np.empty(L, np.int32), np.empty(L, np.int32)
    saved, overlaps = np.empty(L, np.int8), np.empty(P, np.int32)
    for row in range(states.shape[0]):
        state = states[row]
        _pattern_overlaps(state, D, overlaps)
        record = _open_run(state, saved, row, max_sweeps, reference, all_overlaps)
        while record[0] < record[1]:
            stream = _stream(seed, first_row + row, record[0])
            n = 0
            for k in range(L):
                order[k] = k
            for k in range(L):
                place = _next_place(k, L, update, stream)
                site, order[place] = order[place], order[k]
                gap = _dense_field(site, state[site], overlaps, D, noise > 0.0)
                if noise > 0.0:
                    gap -= noise * _logit(_draw(stream, L + site))
                if gap * state[site] < 0.0:
                    flipped[n] = site
                    n += 1
                    if update != PARALLEL:
                        state[site] = -state[site]
                        for mu in range(P):
                            overlaps[mu] += 2 * state[site] * D[D_COLUMNS][site, mu]
            if update == PARALLEL:
                for k in range(n):
                    site = flipped[k]
                    state[site] = -state[site]
                    for mu in range(P):
                        overlaps[mu] += 2 * state[site] * D[D_COLUMNS][site, mu]
            _close_sweep(
                *(record, n, flipped, before, saved, state, row, update, noise, max_sweeps, sweeps),
                *(cycle_length, reference, all_overlaps),
            )
        _close_run(record, row, max_sweeps, sweeps, cycle_length, all_overlaps)
