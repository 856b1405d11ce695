"""Every memory: what `fit` learns, keeps and refuses, and local fields, energies and dynamics that belong together."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from members import PATTERNS, fitted

from amtheory import Memory, PairwiseMemory, retrieve
from amtheory.patterns import random_patterns

L = PATTERNS.shape[1]
OTHERS, STATES = random_patterns(3, L, rng=6), random_patterns(30, L, rng=2)
NOISY = {"temperature": 0.4, "update": "sequential", "max_sweeps": 5}


def assert_same(one, other):
    """The same fields, and the same dynamics, bit for bit."""
    np.testing.assert_array_equal(one.local_field(STATES), other.local_field(STATES))
    np.testing.assert_array_equal(*(retrieve(memory, STATES, rng=3, **NOISY)[0] for memory in (one, other)))


@pytest.fixture
def memory(make_memory):
    return fitted(make_memory)


def test_it_is_documented(memory):
    assert inspect.cleandoc(type(memory).__doc__ or "")


def test_fit_gives_the_memory_and_repeats(make_learner):
    memory = make_learner()
    assert memory.fit(PATTERNS) is memory
    assert memory.length_ == L
    assert_same(memory, make_learner().fit(PATTERNS))


def test_a_second_fit_leaves_nothing_of_the_first(make_learner):
    memory = make_learner().fit(OTHERS)
    retrieve(memory, STATES)  # makes what the dynamics need of the first
    assert (memory.local_field(STATES) != fitted(make_learner).local_field(STATES)).any()
    assert_same(memory.fit(PATTERNS), fitted(make_learner))


def test_arguments_of_the_constructor_are_kept_as_they_are(make_learner):
    memory = make_learner()
    names = list(inspect.signature(type(memory)).parameters)
    before = {name: getattr(memory, name) for name in names}
    memory.fit(PATTERNS)
    assert {name: getattr(memory, name) for name in names} == before
    assert_same(type(memory)(**before).fit(PATTERNS), memory)


@pytest.mark.parametrize("ran", [False, True])
def test_copies_are_the_memory(memory, ran):
    if ran:
        retrieve(memory, STATES)
    assert_same(pickle.loads(pickle.dumps(memory)), memory)
    assert_same(copy.deepcopy(memory), memory)


def read_only(x):
    x = x.copy()
    x.setflags(write=False)
    return x


FORMS = {
    "list": lambda x: x.tolist(),
    "float64": lambda x: x.astype(np.float64),
    "int64": lambda x: x.astype(np.int64),
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "read-only": read_only,
}


@pytest.mark.parametrize("form", FORMS)
def test_any_array_of_these_spins_is_the_same(make_memory, form):
    memory, taken, states = fitted(make_memory), fitted(make_memory, FORMS[form](PATTERNS)), FORMS[form](STATES)
    assert_same(taken, memory)
    np.testing.assert_array_equal(taken.local_field(states), memory.local_field(STATES))
    np.testing.assert_array_equal(retrieve(taken, states)[0], retrieve(memory, STATES)[0])


def test_patterns_are_neither_changed_nor_needed_again(make_learner):
    patterns = PATTERNS.copy()
    memory = make_learner().fit(patterns)
    np.testing.assert_array_equal(patterns, PATTERNS)
    patterns *= -1
    patterns[0] = 1
    assert_same(memory, fitted(make_learner))


def test_types_and_shapes(memory):
    field, (final, _) = memory.local_field(STATES), retrieve(memory, STATES)
    assert (field.dtype, field.shape) == (np.float64, STATES.shape)
    assert (final.dtype, final.shape) == (np.int8, STATES.shape)
    assert np.isfinite(field).all()
    if isinstance(memory, PairwiseMemory):
        W = memory.couplings_
        assert (W.dtype, W.shape, W.flags.writeable) == (np.float64, (L, L), False)
        assert (np.diag(W) == 0).all()
        np.testing.assert_allclose(field, STATES @ W.T, rtol=1e-12, atol=1e-12)
        assert memory.stabilities(PATTERNS).shape == PATTERNS.shape
        assert memory.norms_.shape == (L,)


def test_fields_are_half_the_energy_differences(memory):
    """h_i = (E(s_i = -1) - E(s_i = +1))/2, where there is an energy: not of couplings that are not symmetric."""
    if isinstance(memory, PairwiseMemory) and memory.asymmetry() > 1e-12:
        with pytest.raises(ValueError, match="must be symmetric to have an energy"):
            memory.energy(STATES)
        return
    assert (memory.energy(STATES).dtype, memory.energy(STATES).shape) == (np.float64, (len(STATES),))
    field = memory.local_field(STATES)
    for site in range(L):
        down, up = STATES.copy(), STATES.copy()
        down[:, site], up[:, site] = -1, 1
        np.testing.assert_allclose((memory.energy(down) - memory.energy(up)) / 2, field[:, site], atol=1e-10)


def test_a_parallel_sweep_follows_the_fields(memory):
    """Where rounding does not decide: fields of 0 keep their spins."""
    field, (after, _) = memory.local_field(STATES), retrieve(memory, STATES, max_sweeps=1)
    sure = np.abs(field) > 1e-9
    assert sure.mean() > 0.5
    np.testing.assert_array_equal(after[sure], np.sign(field)[sure])


def test_dynamics_depend_on_the_seed_alone(memory):
    one, again, other = (retrieve(memory, STATES, rng=seed, **NOISY)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    halves = [retrieve(memory, STATES[a : a + 15], rng=1, first_row=a, threads=2, **NOISY)[0] for a in (0, 15)]
    np.testing.assert_array_equal(np.concatenate(halves), one)


def test_one_pattern_and_one_state(make_learner):
    x = PATTERNS[:1]
    memory = make_learner().fit(x)
    assert memory.local_field(x).shape == (1, L)
    np.testing.assert_array_equal(retrieve(memory, x)[0], x)


BAD = {
    "empty": (np.ones((0, L)), r"none of size 0, got shape \(0, 8\)"),
    "no spins": (np.ones((3, 0)), r"none of size 0, got shape \(3, 0\)"),
    "a vector": (PATTERNS[0], r"must have 2 dimension\(s\)"),
    "zeros": (PATTERNS * 0, r"must contain only -1 and \+1, got values {0}"),
    "halves": (PATTERNS / 2, r"must contain only -1 and \+1, got values {-0.5, 0.5}"),
    "NaN": (np.full((2, L), np.nan), r"must contain only -1 and \+1, got values {nan"),
    "truth values": (PATTERNS > 0, "got dtype bool"),
    "words": ([["up"] * L], "got dtype <U2"),
    "masked": (np.ma.masked_less(PATTERNS, 0), "must not have masked elements"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_patterns_and_states_are_named(make_memory, bad):
    value, message = BAD[bad]
    memory = fitted(make_memory)
    for call in (memory.local_field, memory.energy, lambda states: retrieve(memory, states)):
        with pytest.raises((ValueError, TypeError), match=f"`states` .*{message}"):
            call(value)
    if hasattr(memory, "fit"):
        with pytest.raises((ValueError, TypeError), match=f"`patterns` .*{message}"):
            make_memory().fit(value)


def test_states_of_another_length_are_named(memory):
    for call in (memory.local_field, memory.energy, lambda states: retrieve(memory, states)):
        with pytest.raises(ValueError, match=r"`states` must have 8 spins .*got shape \(30, 7\)"):
            call(STATES[:, 1:])


def test_what_is_not_fitted_says_so(make_learner):
    memory: Memory = make_learner()
    for use in (lambda: memory.length_, lambda: memory.local_field(STATES), lambda: retrieve(memory, STATES)):
        with pytest.raises(AttributeError, match=rf"{type(memory).__name__} has no `\w+_` yet: call `fit\(patterns\)`"):
            use()
