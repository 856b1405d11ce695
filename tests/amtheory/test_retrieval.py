"""Retrieval dynamics against an independent implementation in plain Python, exact laws and symmetries."""

import functools
import hashlib
import json
import math
import operator
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from amtheory import Couplings, DenseMemory, Hopfield, PseudoLikelihood, retrieve
from amtheory.patterns import flip, overlap, random_patterns
from amtheory.theory.hopfield import one_step_overlap

UPDATES = ("parallel", "sequential", "typewriter")


# --- the reference: one row at a time, Python integers and floats, sums in the defining order, nothing incremental


def _mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def _bits(seed, row, sweep, counter):
    stream = _mix((_mix((_mix(seed) + row) % 2**64) + sweep) % 2**64)
    return _mix((stream + (counter + 1) * 0x9E3779B97F4A7C15) % 2**64)


def _sum(terms):
    """One after the other; `sum` itself compensates for rounding since Python 3.12."""
    return functools.reduce(operator.add, terms, 0)


def _field(weights, s):
    """Eight interleaved partial sums, and one of the last terms."""
    terms, whole = [weight * spin for weight, spin in zip(weights, s)], len(s) - len(s) % 8
    a, b, c, d, e, f, g, h = (_sum(terms[k:whole:8]) for k in range(8))
    return ((a + b) + (c + d)) + ((e + f) + (g + h)) + _sum(terms[whole:])


def _new_spin(couplings, unit, s, site, temperature, bits):
    field = _field(couplings[site], s)
    u = ((bits >> 12) + 0.5) * 2.0**-52
    threshold = unit * temperature / 2 * math.log(u / (1 - u)) if temperature else 0
    return s[site] if field == threshold else 1 if field > threshold else -1


def reference(couplings, unit, states, update, temperature, max_sweeps, rng):
    """Run exactly `max_sweeps` sweeps of s_i <- sgn(sum_j W_ij s_j - threshold), W = couplings / unit."""
    seed = int(np.random.default_rng(rng).integers(2**64, dtype=np.uint64))
    couplings, L = couplings.tolist(), len(couplings)
    final = []
    for row, s in enumerate(states.tolist()):
        for sweep in range(max_sweeps):
            noise = [_bits(seed, row, sweep, L + i) for i in range(L)]
            if update == "parallel":
                s = [_new_spin(couplings, unit, s, i, temperature, noise[i]) for i in range(L)]
                continue
            order = list(range(L))
            for k in range(L):
                if update == "typewriter":
                    s[k] = _new_spin(couplings, unit, s, k, temperature, noise[k])
                    continue
                chosen = k + ((_bits(seed, row, sweep, k) >> 32) * (L - k) >> 32)
                order[k], order[chosen] = order[chosen], order[k]
                s[order[k]] = _new_spin(couplings, unit, s, order[k], temperature, noise[order[k]])
        final.append(s)
    return np.array(final, dtype=np.int8)


def _systems(P, L, seed):
    """(what `retrieve` is given, couplings in the reference's arithmetic, unit): ties, rounded ties, none, scales."""
    memory = Hopfield().fit(random_patterns(P, L, rng=seed))
    noise = np.random.default_rng(seed).standard_normal((L, L))
    np.fill_diagonal(noise, 0)
    return {
        "Hopfield": (memory, memory.integer_couplings_, L),
        "integers": (memory.integer_couplings_, memory.integer_couplings_, 1),
        "Hebb / L in floats": (memory.couplings_, memory.couplings_, 1),
        "asymmetric": (noise, noise, 1),
        "with a diagonal": (noise + np.eye(L), noise + np.eye(L), 1),
        "over many decades": (noise**15, noise**15, 1),
        "large": (1e300 * noise, 1e300 * noise, 1),
        "small": (1e-300 * noise, 1e-300 * noise, 1),
        "large integers": (np.rint(1e6 * noise).astype(int), np.rint(1e6 * noise).astype(int), 1),
        "integers that overflow": (np.rint(1e9 * noise).astype(int), np.rint(1e9 * noise).astype(int), 1),
        "bytes": (np.rint(9 * noise).astype(np.int8), np.rint(9 * noise).astype(int), 1),
    }


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("temperature", [0.0, 0.7])
@settings(max_examples=15, deadline=None)
@given(P=st.integers(1, 8), L=st.integers(1, 24), sweeps=st.integers(1, 7), seed=st.integers(0, 2**32))
def test_equals_the_reference(update, temperature, P, L, sweeps, seed):
    start = random_patterns(5, L, rng=seed + 1)
    for name, (memory, couplings, unit) in _systems(P, L, seed).items():
        options = {"update": update, "temperature": temperature, "max_sweeps": sweeps, "rng": seed}
        final, _ = retrieve(memory, start, **options)
        np.testing.assert_array_equal(final, reference(couplings, unit, start, **options), err_msg=name)


def test_rounded_ties_follow_the_defining_order_of_summation():
    """Hebb / L in float64 has ties that rounding breaks. The result is that of one order of summation."""
    memory = Hopfield().fit(random_patterns(20, 60, rng=0))
    start = random_patterns(200, 60, rng=1)
    final, _ = retrieve(memory.couplings_, start, max_sweeps=1)
    np.testing.assert_array_equal(final, reference(memory.couplings_, 1, start, "parallel", 0.0, 1, 0))
    # negative control: exact ties, and reversed order, decide differently
    assert (final != retrieve(memory, start, max_sweeps=1)[0]).any()
    backwards = reference(memory.couplings_[::-1, ::-1], 1, start[:, ::-1], "parallel", 0.0, 1, 0)[:, ::-1]
    assert (final != backwards).any()


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("temperature", [0.0, 0.3])
@pytest.mark.parametrize(("P", "L"), [(5, 200), (60, 200), (150, 300), (300, 130)])
def test_every_way_to_the_fields_gives_the_same_states(update, temperature, P, L):
    """Low rank, matrix products, columns (few states), and float couplings that happen to be integers."""
    x = random_patterns(P, L, rng=0)
    memory, start = Hopfield().fit(x), flip(x[np.arange(40) % P], L // 5, rng=1)
    options = {"update": update, "max_sweeps": 30, "rng": 2}
    ways = {
        "low rank": (memory, temperature),
        "integers": (memory.integer_couplings_, L * temperature),
        "prepared integers": (Couplings(memory.integer_couplings_), L * temperature),
        "floats": (memory.integer_couplings_.astype(float), L * temperature),
        "scaled floats": (memory.integer_couplings_ * 2.0**-40, 2.0**-40 * L * temperature),
    }
    runs = {name: retrieve(w, start, temperature=t, **options) for name, (w, t) in ways.items()}
    few = [retrieve(memory.integer_couplings_, start[k : k + 1], temperature=L * temperature, first_row=k, **options)
           for k in range(40)]  # fmt: skip
    runs["columns"] = np.concatenate([s for s, _ in few]), runs["integers"][1]
    for name, (states, info) in runs.items():
        np.testing.assert_array_equal(states, runs["low rank"][0], err_msg=name)
        np.testing.assert_array_equal(info.sweeps, runs["low rank"][1].sweeps, err_msg=name)


def test_large_fields_are_exact():
    """Correlated patterns: overlaps beyond a quarter of int16, couplings beyond int8 and int16; sums beyond float32."""
    for P, L, bias in ((2, 8300, 0.9), (9000, 60, 0.9), (40_500, 20, 0.99)):
        signs = np.random.default_rng(0).random((P, L)) < (1 + bias) / 2
        x = np.where(signs, 1, -1).astype(np.int8)
        memory, start = Hopfield().fit(x), random_patterns(3, L, rng=1)
        after, _ = retrieve(memory, np.concatenate([start, x[:3]]), max_sweeps=1)
        start = np.concatenate([start, x[:3]])
        exact = start.astype(np.int64) @ x.T.astype(np.int64) @ x.astype(np.int64) - P * start.astype(np.int64)
        np.testing.assert_array_equal(after, np.where(exact == 0, start, np.sign(exact)))
    couplings, start = np.random.default_rng(0).integers(2**18, 2**19, (60, 60)), random_patterns(20, 60, rng=1)
    exact = start @ couplings.T
    assert abs(start[:, None] * couplings).sum(-1).max() > 2**24
    np.testing.assert_array_equal(retrieve(couplings, start, max_sweeps=1)[0], np.sign(exact))


def test_any_layout_and_dtype_of_the_input():
    memory, start = _memories()["PseudoLikelihood"], random_patterns(20, 60, rng=4)
    expected, _ = retrieve(memory, start)
    W = memory.couplings_
    padded = np.zeros((120, 120))
    padded[::2, ::2] = W
    for couplings in (W, np.asfortranarray(W), padded[::2, ::2], W.tolist(), W.astype(np.longdouble)):
        for states in (start, start.astype(float), np.asfortranarray(start), np.repeat(start, 2, axis=1)[:, ::2]):
            np.testing.assert_array_equal(retrieve(couplings, states)[0], expected)
    single = W.astype(np.float32)
    np.testing.assert_array_equal(retrieve(single, start)[0], retrieve(single.astype(np.float64), start)[0])


def test_patterns_and_couplings_are_kept_as_they_were_given():
    x = random_patterns(5, 60, rng=0)
    given, start = x.copy(), random_patterns(20, 60, rng=1)
    memory, couplings = Hopfield().fit(given), np.random.default_rng(0).standard_normal((60, 60))
    fixed = Couplings(couplings)
    before = retrieve(memory, start)[0], retrieve(fixed, start)[0]
    given *= -1
    given[:, ::2] *= -1
    couplings *= -1
    memory._dynamics = fixed._dynamics = None
    np.testing.assert_array_equal(retrieve(memory, start)[0], before[0])
    np.testing.assert_array_equal(retrieve(fixed, start)[0], before[1])
    with pytest.raises(ValueError, match="read-only"):
        fixed.couplings_[0, 0] = 1
    np.testing.assert_array_equal(retrieve(memory.fit(-x[:2]), x[:2])[0], x[:2])  # a new fit is a new dynamics


def test_memories_can_be_pickled():
    start = random_patterns(20, 60, rng=1)
    for memory in (*_memories().values(), Couplings(np.eye(60)), DenseMemory().fit(start)):
        again = pickle.loads(pickle.dumps(memory))
        np.testing.assert_array_equal(retrieve(again, start)[0], retrieve(memory, start)[0])


# --- reproducibility


def _memories():
    x = random_patterns(24, 60, rng=3)
    hopfield = Hopfield().fit(x)
    dense = {f"dense {order}": DenseMemory(order).fit(x) for order in (3, "exp")}
    fitted = {"Hopfield": hopfield, "PseudoLikelihood": PseudoLikelihood().fit(x)}
    return {**fitted, "Hebb / L": hopfield.couplings_, **dense}


@pytest.mark.parametrize("temperature", [0.0, 0.4])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("name", ["Hopfield", "Hebb / L", "PseudoLikelihood", "dense 3", "dense exp"])
def test_threads_and_batches_do_not_matter(name, update, temperature):
    memory = _memories()[name]
    start = random_patterns(300, 60, rng=4)
    options = {"update": update, "temperature": temperature, "max_sweeps": 15, "rng": 5}
    whole, info = retrieve(memory, start, threads=1, **options)
    runs = {
        "two threads": ([(0, 300)], 2),
        "four threads": ([(0, 300)], 4),
        "batches of 64": ([(a, a + 64) for a in range(0, 300, 64)], 1),
    }
    runs["batches of 1"] = ([(a, a + 1) for a in range(300)], 1)
    for run, (pieces, threads) in runs.items():
        parts = [retrieve(memory, start[a:b], threads=threads, first_row=a, **options) for a, b in pieces]
        np.testing.assert_array_equal(whole, np.concatenate([s for s, _ in parts]), err_msg=run)
        np.testing.assert_array_equal(info.sweeps, np.concatenate([i.sweeps for _, i in parts]), err_msg=run)
        np.testing.assert_array_equal(
            info.cycle_length, np.concatenate([i.cycle_length for _, i in parts]), err_msg=run
        )


def _digest():
    x = random_patterns(4, 16, rng=0)
    memory = Hopfield().fit(x)
    asymmetric = np.random.default_rng(0).standard_normal((16, 16))
    ways = {"low rank": memory, "integers": memory.integer_couplings_, "floats": memory.couplings_,
            "asymmetric": asymmetric,
            "dense 3": DenseMemory(3).fit(x), "dense exp": DenseMemory("exp").fit(x)}  # fmt: skip
    digest = {}
    for name, couplings in ways.items():
        for update in UPDATES:
            for temperature in (0.0, 0.5):
                for M in (2, 6):
                    final, info = retrieve(
                        *(couplings, random_patterns(M, 16, rng=1)),
                        update=update, temperature=temperature, max_sweeps=8, rng=2, threads=2, reference=x[0],
                    )  # fmt: skip
                    result = final.tobytes() + info.sweeps.tobytes() + info.overlaps.tobytes()
                    digest[f"{name} {update} {temperature} {M}"] = hashlib.sha256(result).hexdigest()
    return digest


def test_same_without_the_compiler():
    code = "import json, test_retrieval; print(json.dumps(test_retrieval._digest()))"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.path.dirname(__file__)}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == _digest()


def test_thread_count_from_the_environment(monkeypatch):
    memory, start = _memories()["Hopfield"], random_patterns(3, 60, rng=0)
    monkeypatch.setenv("AMTHEORY_NUM_THREADS", "2")
    retrieve(memory, start)
    monkeypatch.setenv("AMTHEORY_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="AMTHEORY_NUM_THREADS must be an integer >= 1, got 'many'"):
        retrieve(memory, start)


# --- exact laws


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("name", ["Hopfield", "PseudoLikelihood"])
def test_spin_flip_and_gauge_symmetry(name, update):
    """s -> -s, and s_i -> g_i s_i with W_ij -> g_i g_j W_ij, turn trajectories into trajectories."""
    memory = _memories()[name]
    start, gauge = random_patterns(50, 60, rng=6), random_patterns(1, 60, rng=7)
    final, info = retrieve(memory, start, update=update, rng=8)
    mirrored, mirrored_info = retrieve(memory, -start, update=update, rng=8)
    np.testing.assert_array_equal(mirrored, -final)
    np.testing.assert_array_equal(mirrored_info.sweeps, info.sweeps)
    exact = memory.integer_couplings_ if name == "Hopfield" else memory.couplings_
    turned, turned_info = retrieve(exact * gauge * gauge.T, start * gauge, update=update, rng=8)
    np.testing.assert_array_equal(turned, final * gauge)
    np.testing.assert_array_equal(turned_info.cycle_length, info.cycle_length)


def test_energy_never_rises_in_sequential_dynamics():
    memory = Hopfield().fit(random_patterns(31, 100, rng=0))
    states, rises_if_parallel = random_patterns(200, 100, rng=1), 0
    for first_row in range(0, 2400, 200):  # twelve sweeps, each with orders of its own
        before = memory.energy(states)
        rises_if_parallel += (memory.energy(retrieve(memory, states, max_sweeps=1)[0]) > before).sum()
        states, info = retrieve(memory, states, update="sequential", max_sweeps=1, first_row=first_row, rng=2)
        assert (memory.energy(states) <= before).all()
    assert info.converged.mean() > 0.9
    assert rises_if_parallel > 0  # negative control


def test_symmetric_parallel_dynamics_ends_in_cycles_of_length_at_most_two():
    memory = Hopfield().fit(random_patterns(40, 120, rng=0))
    start = random_patterns(300, 120, rng=1)
    final, info = retrieve(memory, start, max_sweeps=500)
    assert set(info.cycle_length) == {1, 2}
    once, twice = (retrieve(memory, final, max_sweeps=n)[0] for n in (1, 2))
    np.testing.assert_array_equal(twice, final)
    np.testing.assert_array_equal((once == final).all(axis=1), info.converged)


def test_the_phase_of_a_two_cycle_is_that_after_max_sweeps():
    antiferromagnet = np.array([[0, -1], [-1, 0]])
    start = np.array([[1, 1], [1, -1]])
    for sweeps in range(1, 8):
        final, info = retrieve(antiferromagnet, start, max_sweeps=sweeps)
        np.testing.assert_array_equal(final, [[(-1) ** sweeps] * 2, [1, -1]])
        np.testing.assert_array_equal(info.sweeps, [min(sweeps, 2), 1])
        np.testing.assert_array_equal(info.cycle_length, [2 if sweeps > 1 else 0, 1])


@pytest.mark.parametrize(("L", "shift"), [(3, 1), (5, 1), (12, 1), (12, 5), (40, 1)])
def test_longer_cycles_are_recognised(L, shift):
    """In a ring spin i copies spin i - shift, so a single + spin travels round it: period L if shift is coprime."""
    ring, start = np.roll(np.eye(L), shift, axis=0), -np.ones((1, L))
    start[0, 0] = 1
    for sweeps in range(3 * L, 4 * L):
        final, info = retrieve(ring, start, max_sweeps=sweeps)
        np.testing.assert_array_equal(final, np.roll(start, sweeps * shift, axis=1))
        assert (info.cycle_length[0], info.converged[0]) == (L, False)
        assert L <= info.sweeps[0] <= 3 * L
    _, unfinished = retrieve(ring, start, max_sweeps=L - 1)
    assert (unfinished.cycle_length[0], unfinished.sweeps[0]) == (0, L - 1)


@pytest.mark.parametrize("update", ["parallel", "typewriter"])
def test_cycles_of_asymmetric_couplings_return_to_their_states(update):
    couplings = np.random.default_rng(0).standard_normal((20, 20))
    start = random_patterns(200, 20, rng=1)
    final, info = retrieve(couplings, start, update=update, max_sweeps=3000)
    assert (info.cycle_length > 0).all()
    assert (info.cycle_length > 2).any()
    for length in set(info.cycle_length):
        of_length = final[info.cycle_length == length]
        again = [retrieve(couplings, of_length, update=update, max_sweeps=n)[0] for n in range(1, length + 1)]
        np.testing.assert_array_equal(again[-1], of_length)
        assert all((state != of_length).any(axis=1).all() for state in again[:-1])  # and not before


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_overlaps_are_those_of_shorter_runs(update, temperature):
    """Fixed points, 2-cycles and longer cycles among them."""
    x = random_patterns(30, 40, rng=0)
    for couplings in (Hopfield().fit(x), np.random.default_rng(0).standard_normal((40, 40))):
        options = {"update": update, "temperature": temperature, "rng": 1, "reference": x}
        _, info = retrieve(couplings, x, max_sweeps=40, **options)
        assert info.overlaps.shape == (30, 41)
        assert (info.overlaps[:, 0] == 1).all()
        for sweeps in (1, 2, 5, 39, 40):
            final, _ = retrieve(couplings, x, max_sweeps=sweeps, **options)
            np.testing.assert_array_equal(info.overlaps[:, sweeps], overlap(final, x))
    one = retrieve(couplings, x, update=update, rng=1, max_sweeps=3, reference=x[0])[1]
    np.testing.assert_array_equal(one.overlaps[:, 0], overlap(x, x[0]))
    assert retrieve(couplings, x, max_sweeps=3)[1].overlaps is None


def test_zero_fields_keep_the_spins():
    start = random_patterns(4, 9, rng=0)
    for update in UPDATES:
        final, info = retrieve(np.zeros((9, 9)), start, update=update)
        np.testing.assert_array_equal(final, start)
        assert info.converged.all()


def test_inputs_are_left_alone():
    memory, start = _memories()["Hopfield"], random_patterns(4, 60, rng=0)
    before = start.copy()
    retrieve(memory, start, temperature=1.0, max_sweeps=3)
    np.testing.assert_array_equal(start, before)


# --- statistics; every seed is fixed


@pytest.mark.statistical(alarm=3e-3)
def test_one_step_overlap_of_the_hopfield_memory(seed):
    """Simulation over 400 samples of the disorder within 3 standard errors."""
    L, P, flips = 200, 20, 40
    samples = []
    for n in range(400):
        x = random_patterns(P, L, rng=seed(n))
        after, _ = retrieve(Hopfield().fit(x), flip(x, flips, rng=seed(n + 1000)), max_sweeps=1)
        samples.append(overlap(after, x).mean())
    mean, error = np.mean(samples), np.std(samples, ddof=1) / 20
    assert one_step_overlap(L, P, flips) == pytest.approx(0.949022, abs=5e-7)
    assert abs(mean - one_step_overlap(L, P, flips)) < 3 * error
    assert abs(mean - math.erf(0.6 / math.sqrt(0.2))) > 3 * error  # the limit of large L is told apart


def _counts(states):
    return np.bincount((states > 0) @ (1 << np.arange(states.shape[1])), minlength=2 ** states.shape[1])


def _chi_square_p_value(counts, probabilities):
    expected = counts.sum() * probabilities
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1)


@pytest.mark.statistical(alarm=1e-3)
def test_sequential_dynamics_samples_the_boltzmann_distribution(seed):
    """40000 independent chains of 4 spins, 16 states, chi-square at the 0.1 % level."""
    half = np.triu(np.random.default_rng(0).standard_normal((4, 4)), 1)
    couplings, temperature = half + half.T, 1.3
    every = np.array([[1 if k >> l & 1 else -1 for l in range(4)] for k in range(16)])
    start = random_patterns(40000, 4, rng=seed(1))
    final, info = retrieve(couplings, start, update="sequential", temperature=temperature, max_sweeps=30, rng=seed(2))
    assert (info.cycle_length == 0).all()
    assert (info.sweeps == 30).all()

    def p_value(temperature):
        weights = np.exp(0.5 * np.einsum("ki,ij,kj->k", every, couplings, every) / temperature)
        return _chi_square_p_value(_counts(final), weights / weights.sum())

    assert p_value(temperature) > 1e-3
    assert p_value(1.05 * temperature) < 1e-6  # negative control: 5 % off is rejected


@pytest.mark.statistical(alarm=1e-3)
def test_one_parallel_step_at_finite_temperature(seed):
    """Spins are set independently with P(s_i = +1) = sigma(2 h_i / T), chi-square at the 0.1 % level."""
    couplings = np.random.default_rng(3).standard_normal((4, 4))
    np.fill_diagonal(couplings, 0)
    s, temperature = np.array([1, -1, 1, 1]), 2.0
    final, _ = retrieve(couplings, np.tile(s, (40000, 1)), temperature=temperature, max_sweeps=1, rng=seed(4))

    def p_value(temperature):
        plus = 1 / (1 + np.exp(-2 * couplings @ s / temperature))
        every = np.arange(16)[:, None] >> np.arange(4) & 1
        return _chi_square_p_value(_counts(final), np.prod(np.where(every, plus, 1 - plus), axis=1))

    assert p_value(temperature) > 1e-3
    assert p_value(1.05 * temperature) < 1e-6


# --- bad input

GOOD = np.array([[0.0, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("couplings", "states", "options", "error", "message"),
    [
        (GOOD, [[1, 0], [2, 1]], {}, ValueError, r"`states` must contain only -1 and \+1, got values {0, 2}"),
        (GOOD, [[1, np.nan]], {}, ValueError, r"`states` must contain only -1 and \+1, got values {nan}"),
        (GOOD, [[True, False]], {}, ValueError, "`states`.*got dtype bool"),
        (GOOD, [1, 1], {}, ValueError, r"`states` must have 2 dimension\(s\).*got shape \(2,\)"),
        (GOOD, np.ones((0, 2)), {}, ValueError, r"`states`.*none of size 0, got shape \(0, 2\)"),
        (GOOD, [[1, 1, 1]], {}, ValueError, r"`states` must have 2 spins.*got shape \(1, 3\)"),
        (np.ones((2, 3)), [[1, 1]], {}, ValueError, r"`memory_or_couplings` must be a square.*\(2, 3\)"),
        (GOOD * np.nan, [[1, 1]], {}, ValueError, "`memory_or_couplings` must be finite, got 4"),
        (GOOD.astype(complex), [[1, 1]], {}, ValueError, "`memory_or_couplings`.*complex128"),
        (GOOD, [[1, 1]], {"temperature": -1}, ValueError, "`temperature` must be a finite number >= 0, got -1"),
        (GOOD, [[1, 1]], {"temperature": "hot"}, TypeError, "`temperature`.*'hot'"),
        (GOOD, [[1, 1]], {"update": "random"}, ValueError, "`update` must be one of 'parallel', 'sequential'"),
        (GOOD, [[1, 1]], {"max_sweeps": 0}, ValueError, "`max_sweeps` must be at least 1, got 0"),
        (GOOD, [[1, 1]], {"max_sweeps": 1.5}, TypeError, "`max_sweeps` must be an integer"),
        (GOOD, [[1, 1]], {"rng": "seed"}, TypeError, "`rng` must be None, an integer >= 0 or a numpy"),
        (GOOD, [[1, 1]], {"rng": -3}, ValueError, "`rng` must be at least 0, got -3"),
        (GOOD, [[1, 1]], {"threads": 0}, ValueError, "`threads` must be at least 1, got 0"),
        (GOOD, [[1, 1]], {"reference": [1, 1, 1]}, ValueError, "`reference` must have 2 spins"),
        (
            GOOD,
            [[1, 1]],
            {"reference": [[1, 1], [1, 1]]},
            ValueError,
            r"`reference` must have shape \(2,\) or \(1, 2\)",
        ),
        (GOOD, [[1, 1]], {"first_row": -1}, ValueError, "`first_row` must be at least 0, got -1"),
    ],
)
def test_bad_input(couplings, states, options, error, message):
    with pytest.raises(error, match=message):
        retrieve(couplings, states, **options)
