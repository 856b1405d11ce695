"""Retrieval against what a user would write: the same states, the same stopping rules, float32 couplings.

Peers stop at fixed points and 2-cycles and keep the spin on a tie. They are timed on some of the states where
they are slow; their time is linear in the number of states.
"""

import numba
import numpy as np

from amtheory import Couplings, Hopfield, PseudoInverse, retrieve
from amtheory.patterns import flip, random_patterns
from benchmarks.harness import Case, Peer

STEPS = 50


# --- parallel dynamics at T = 0


def naive_parallel(W, states):
    """A loop over states of a matrix-vector product and np.sign."""
    final = []
    for s in states:
        before = np.zeros_like(s)
        for _ in range(STEPS):
            field = W @ s
            new = np.where(field == 0, s, np.sign(field))
            if (new == s).all() or (new == before).all():
                break
            before, s = s, new
        final.append(new)
    return np.array(final)


def batched_parallel(W, states):
    """One matrix product for the whole batch until every state has ended."""
    before, s = np.zeros_like(states), states
    for _ in range(STEPS):
        field = s @ W.T
        new = np.where(field == 0, s, np.sign(field))
        if ((new == s).all(axis=1) | (new == before).all(axis=1)).all():
            break
        before, s = s, new
    return new


def compacted_parallel(W, states):
    """As `batched_parallel`, of the states that have not ended; signs by copysign, which needs no temporaries."""
    final, rows = states.copy(), np.arange(len(states))
    before, s = np.zeros_like(states), states
    for _ in range(STEPS):
        new = s @ W.T
        tied = new == 0
        np.copysign(np.float32(1), new, out=new)
        if tied.any():
            new[tied] = s[tied]
        final[rows] = new
        going = (new != s).any(axis=1) & (new != before).any(axis=1)
        before, s, rows = s[going], new[going], rows[going]
        if not len(rows):
            break
    return final


# --- sequential dynamics


def naive_sequential(W, states, rng):
    """A loop over states and sites of dot products."""
    final = []
    for state in states:
        s = state.copy()
        for _ in range(STEPS):
            changed = False
            for i in rng.permutation(len(s)):
                field = W[i] @ s
                if field * s[i] < 0:
                    s[i] = -s[i]
                    changed = True
            if not changed:
                break
        final.append(s)
    return np.array(final)


def incremental_sequential(W, states, rng):
    """Local fields kept up to date with one column per flip; only unstable sites are tried again in a sweep."""
    columns, final = np.ascontiguousarray(W.T), []
    for state in states:
        s, field = state.copy(), W @ state
        for _ in range(STEPS):
            changed = False
            for i in rng.permutation(len(s)):
                if field[i] * s[i] < 0:
                    s[i] = -s[i]
                    field += 2 * s[i] * columns[i]
                    changed = True
            if not changed:
                break
        final.append(s)
    return np.array(final)


def naive_glauber(W, states, temperature, sweeps, rng):
    final = []
    for state in states:
        s = state.copy()
        for _ in range(sweeps):
            for i in rng.permutation(len(s)):
                s[i] = 1 if rng.random() < 1 / (1 + np.exp(-2 * (W[i] @ s) / temperature)) else -1
        final.append(s)
    return np.array(final)


def careful_glauber(W, states, temperature, sweeps, rng):
    """Incremental fields, and thresholds drawn a sweep at a time: +1 iff h > (T/2) logistic noise."""
    columns, final = np.ascontiguousarray(W.T), []
    for state in states:
        s, field = state.copy(), W @ state
        for _ in range(sweeps):
            order = rng.permutation(len(s)).tolist()
            thresholds = (temperature / 2 * rng.logistic(size=len(s))).tolist()
            for i in order:
                new = 1.0 if field[i] > thresholds[i] else -1.0
                if new != s[i]:
                    s[i] = new
                    field += 2 * new * columns[i]
        final.append(s)
    return np.array(final)


@numba.njit(cache=True)
def incremental_numba(W, columns, states, temperature, sweeps):
    """What a user would compile: incremental fields, numba's generator, exp."""
    final = states.copy()
    for row in range(len(final)):
        s = final[row]
        field = np.dot(W, s)
        for _ in range(sweeps):
            for i in np.random.permutation(len(s)):  # noqa: NPY002
                new = 1.0 if np.random.random() < 1 / (1 + np.exp(-2 * field[i] / temperature)) else -1.0  # noqa: NPY002
                if new != s[i]:
                    s[i] = new
                    for k in range(len(s)):
                        field[k] += 2 * new * columns[i, k]
    return final


def _start(patterns, M, overlap):
    L = patterns.shape[1]
    return flip(patterns[np.arange(M) % len(patterns)], round(L * (1 - overlap) / 2), rng=1)


def cases() -> list[Case]:
    found = []
    L, alpha, M = 2000, 0.1, 1000
    patterns = random_patterns(round(alpha * L), L, rng=0)
    start = _start(patterns, M, 0.8)
    s = start.astype(np.float32)
    hopfield = Hopfield().fit(patterns)
    W = hopfield.couplings_.astype(np.float32)
    rounded = Couplings(W)
    inverse = PseudoInverse().fit(patterns)
    V = inverse.couplings_.astype(np.float32)

    def parallel_peers(W, bar_naive=None, bar_blas=None):
        return [
            Peer("naive NumPy", lambda: naive_parallel(W, s[:16]), 16 / M, bar_naive),
            Peer("batched NumPy", lambda: batched_parallel(W, s)),
            Peer("batched sgemm of active states", lambda: compacted_parallel(W, s), 1.0, bar_blas),
        ]

    title = f"parallel, T = 0, L = {L}, alpha = {alpha}, M = {M}, initial overlap 0.8"
    for name, memory, matrix, bars in (
        ("(a) any float couplings: Hebb / L", rounded, W, ({"avx512": 15, "avx2": 10}, 1.5)),
        ("(a) Hebbian integers", hopfield, W, ({"avx512": 30, "avx2": 25}, {"avx512": 3, "avx2": 5})),
        ("(a) any float couplings: pseudo-inverse, where two steps suffice", inverse, V, (None, None)),
    ):
        run = lambda memory=memory: retrieve(memory, start, max_sweeps=STEPS)  # noqa: E731
        found.append(Case(f"{name}, {title}", run, parallel_peers(matrix, *bars)))

    large = random_patterns(400, 4000, rng=0)
    one, large_hopfield = _start(large, 1, 0.8), Hopfield().fit(large)
    large_W, one_s = large_hopfield.couplings_.astype(np.float32), one.astype(np.float32)
    found.append(
        Case(
            "(b) Hebbian integers, parallel, T = 0, L = 4000, alpha = 0.1, M = 1",
            lambda: retrieve(large_hopfield, one, max_sweeps=STEPS),
            [Peer("naive NumPy", lambda: naive_parallel(large_W, one_s), 1.0, 18)],
            rounds=11,
        )
    )

    for name, memory, bars in (("Hebbian integers", hopfield, (70, 12)), ("any float couplings", rounded, (None, 12))):
        found.append(
            Case(
                f"(c) {name}, sequential, T = 0, L = {L}, alpha = {alpha}, M = {M}, initial overlap 0.8",
                lambda memory=memory: retrieve(memory, start, update="sequential", max_sweeps=STEPS, rng=0),
                [
                    Peer("naive NumPy", lambda: naive_sequential(W, s[:4], np.random.default_rng(0)), 4 / M, bars[0]),
                    Peer(
                        "incremental NumPy",
                        lambda: incremental_sequential(W, s[:32], np.random.default_rng(0)),
                        32 / M,
                        bars[1],
                    ),
                ],
            )
        )

    L, alpha, M, temperature, sweeps = 2000, 0.05, 256, 0.3, 20
    patterns = random_patterns(round(alpha * L), L, rng=0)
    warm, warm_hopfield = _start(patterns, M, 0.8), Hopfield().fit(patterns)
    warm_W, warm_s = warm_hopfield.couplings_.astype(np.float32), warm.astype(np.float32)
    warm_columns = np.ascontiguousarray(warm_W.T)

    def glauber(memory):
        return lambda: retrieve(memory, warm, update="sequential", temperature=temperature, max_sweeps=sweeps, rng=0)

    rounded = Couplings(warm_W)
    for name, memory, bars in (
        ("Hebbian integers", warm_hopfield, (150, 18)),
        ("any float couplings", rounded, (None, 18)),
    ):
        found.append(
            Case(
                f"(d) {name}, Glauber, sequential, T = {temperature}, {sweeps} sweeps, L = {L}, M = {M}",
                glauber(memory),
                [
                    Peer(
                        "naive NumPy",
                        lambda: naive_glauber(warm_W, warm_s[:1], temperature, sweeps, np.random.default_rng(0)),
                        1 / M,
                        bars[0],
                    ),
                    Peer(
                        "careful NumPy",
                        lambda: careful_glauber(warm_W, warm_s[:8], temperature, sweeps, np.random.default_rng(0)),
                        8 / M,
                        bars[1],
                    ),
                    Peer(
                        "incremental numba",
                        lambda: incremental_numba(warm_W, warm_columns, warm_s[:64], temperature, sweeps),
                        64 / M,
                    ),
                ],
                rounds=3,
            )
        )
    return found
