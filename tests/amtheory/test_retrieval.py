"""Retrieval dynamics against an independent implementation in plain Python, exact laws and symmetries."""

import hashlib
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from amtheory import Hopfield, PseudoLikelihood, retrieve
from amtheory.patterns import flip, overlap, random_patterns
from amtheory.theory.hopfield import one_step_overlap

UPDATES = ("parallel", "sequential")


# --- the reference: one row at a time, Python integers and floats, sums in order of j, no incremental fields


def _mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def _bits(seed, row, sweep, counter):
    stream = _mix((_mix((_mix(seed) + row) % 2**64) + sweep) % 2**64)
    return _mix((stream + (counter + 1) * 0x9E3779B97F4A7C15) % 2**64)


def _new_spin(couplings, unit, s, site, temperature, bits):
    field = 0 * couplings[0][0]
    for weight, spin in zip(couplings[site], s):
        field += weight * spin
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
                chosen = k + ((_bits(seed, row, sweep, k) >> 32) * (L - k) >> 32)
                order[k], order[chosen] = order[chosen], order[k]
                s[order[k]] = _new_spin(couplings, unit, s, order[k], temperature, noise[order[k]])
        final.append(s)
    return np.array(final, dtype=np.int8)


def _systems(P, L, seed):
    """(what `retrieve` is given, couplings in the reference's arithmetic, unit): ties, rounded ties, none."""
    memory = Hopfield().fit(random_patterns(P, L, rng=seed))
    noise = np.random.default_rng(seed).standard_normal((L, L))
    np.fill_diagonal(noise, 0)
    return {
        "Hopfield": (memory, memory.integer_couplings_, L),
        "integers": (memory.integer_couplings_, memory.integer_couplings_, 1),
        "Hebb / L in floats": (memory.couplings_, memory.couplings_, 1),
        "asymmetric": (noise, noise, 1),
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
    """Hebb / L in float64 has ties that rounding breaks. The result is that of the sum in order of j."""
    memory = Hopfield().fit(random_patterns(20, 60, rng=0))
    start = random_patterns(200, 60, rng=1)
    final, _ = retrieve(memory.couplings_, start, max_sweeps=1)
    np.testing.assert_array_equal(final, reference(memory.couplings_, 1, start, "parallel", 0.0, 1, 0))
    # negative control: exact ties, and reversed order, decide differently
    assert (final != retrieve(memory, start, max_sweeps=1)[0]).any()
    backwards = reference(memory.couplings_[::-1, ::-1], 1, start[:, ::-1], "parallel", 0.0, 1, 0)[:, ::-1]
    assert (final != backwards).any()


# --- reproducibility


def _memories():
    x = random_patterns(24, 60, rng=3)
    hopfield = Hopfield().fit(x)
    return {"Hopfield": hopfield, "Hebb / L": hopfield.couplings_, "PseudoLikelihood": PseudoLikelihood().fit(x)}


@pytest.mark.parametrize("temperature", [0.0, 0.4])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("name", ["Hopfield", "Hebb / L", "PseudoLikelihood"])
def test_threads_and_batches_do_not_matter(name, update, temperature):
    memory = _memories()[name]
    start = random_patterns(300, 60, rng=4)
    options = {"update": update, "temperature": temperature, "max_sweeps": 15, "rng": 5}
    whole, info = retrieve(memory, start, threads=1, **options)
    runs = {"two threads": ([(0, 300)], 2), "batches of 64": ([(a, a + 64) for a in range(0, 300, 64)], 1)}
    runs["batches of 1"] = ([(a, a + 1) for a in range(300)], 1)
    for run, (pieces, threads) in runs.items():
        parts = [retrieve(memory, start[a:b], threads=threads, first_row=a, **options) for a, b in pieces]
        np.testing.assert_array_equal(whole, np.concatenate([s for s, _ in parts]), err_msg=run)
        np.testing.assert_array_equal(info.sweeps, np.concatenate([i.sweeps for _, i in parts]), err_msg=run)
        np.testing.assert_array_equal(
            info.cycle_length, np.concatenate([i.cycle_length for _, i in parts]), err_msg=run
        )


def test_seeds_matter():
    start = random_patterns(10, 60, rng=4)
    runs = [retrieve(_memories()["Hopfield"], start, temperature=0.8, max_sweeps=5, rng=r)[0] for r in (1, 1, 2)]
    assert (runs[0] == runs[1]).all()
    assert (runs[0] != runs[2]).any()


def _digest():
    memory = Hopfield().fit(random_patterns(4, 16, rng=0))
    digest = {}
    for couplings in (memory, memory.couplings_):
        for update in UPDATES:
            for temperature in (0.0, 0.5):
                final, info = retrieve(
                    *(couplings, random_patterns(6, 16, rng=1)),
                    update=update, temperature=temperature, max_sweeps=8, rng=2, threads=2,
                )  # fmt: skip
                key = f"{type(couplings).__name__} {update} {temperature}"
                digest[key] = hashlib.sha256(final.tobytes() + info.sweeps.tobytes()).hexdigest()
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


def test_longer_cycles_are_reported_as_neither():
    ring = np.roll(np.eye(3), 1, axis=0)  # spin i copies spin i - 1: period 3
    final, info = retrieve(ring, [[1, -1, -1]], max_sweeps=7)
    np.testing.assert_array_equal(final, [[-1, 1, -1]])
    assert (info.sweeps[0], info.cycle_length[0], info.converged[0]) == (7, 0, False)


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


def test_one_step_overlap_of_the_hopfield_memory():
    """Simulation over 400 samples of the disorder within 3 standard errors (false alarms: 0.3 %)."""
    L, P, flips = 200, 20, 40
    samples = []
    for seed in range(400):
        x = random_patterns(P, L, rng=seed)
        after, _ = retrieve(Hopfield().fit(x), flip(x, flips, rng=seed + 1000), max_sweeps=1)
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


def test_sequential_dynamics_samples_the_boltzmann_distribution():
    """40000 independent chains of 4 spins, 16 states, chi-square at the 0.1 % level."""
    half = np.triu(np.random.default_rng(0).standard_normal((4, 4)), 1)
    couplings, temperature = half + half.T, 1.3
    every = np.array([[1 if k >> l & 1 else -1 for l in range(4)] for k in range(16)])
    start = random_patterns(40000, 4, rng=1)
    final, info = retrieve(couplings, start, update="sequential", temperature=temperature, max_sweeps=30, rng=2)
    assert (info.cycle_length == 0).all()
    assert (info.sweeps == 30).all()

    def p_value(temperature):
        weights = np.exp(0.5 * np.einsum("ki,ij,kj->k", every, couplings, every) / temperature)
        return _chi_square_p_value(_counts(final), weights / weights.sum())

    assert p_value(temperature) > 1e-3
    assert p_value(1.05 * temperature) < 1e-6  # negative control: 5 % off is rejected


def test_one_parallel_step_at_finite_temperature():
    """Spins are set independently with P(s_i = +1) = sigma(2 h_i / T), chi-square at the 0.1 % level."""
    couplings = np.random.default_rng(3).standard_normal((4, 4))
    np.fill_diagonal(couplings, 0)
    s, temperature = np.array([1, -1, 1, 1]), 2.0
    final, _ = retrieve(couplings, np.tile(s, (40000, 1)), temperature=temperature, max_sweeps=1, rng=4)

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
        (GOOD, [[1, 1]], {"first_row": -1}, ValueError, "`first_row` must be at least 0, got -1"),
    ],
)
def test_bad_input(couplings, states, options, error, message):
    with pytest.raises(error, match=message):
        retrieve(couplings, states, **options)


def test_memories_must_be_fitted():
    with pytest.raises(AttributeError, match=r"PseudoLikelihood has no `couplings_` yet: call `fit\(patterns\)`"):
        retrieve(PseudoLikelihood(), [[1, 1]])
    with pytest.raises(AttributeError, match=r"Hopfield has no"):
        retrieve(Hopfield(), [[1, 1]])
