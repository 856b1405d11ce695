"""The paper's memory with K states: its twin among binary memories, its law at T = 1, its fixed points at T = 0."""

from functools import partial

import numpy as np
import pytest
from masked_worlds import Fields, Joint, strings

from amtheory import Hopfield, PseudoLikelihood, _kernels, retrieve
from amtheory.patterns import flip, random_patterns
from bridges import (
    BinarySystem,
    MaskedSystem,
    SequentialSystem,
    as_system,
    fixed_points,
    to_spins,
    to_tokens,
    token_recovery,
)
from uddm import EmpiricalBayes, MaskedProcess, UniformProcess

ALMOST_NEVER = 1e-6  # false-alarm rate of every chi-square test here
K, L = 3, 4
STRINGS = strings(K, L)
LAW = np.random.default_rng(0).dirichlet(np.full(len(STRINGS), 0.5))
OPTIONS = {"start": 0.5, "last": "ancestral"}


def memories():
    patterns = random_patterns(12, 40, rng=0)
    yield PseudoLikelihood(beta=0.6).fit(patterns), patterns
    yield Hopfield().fit(patterns[:4]), patterns[:4]  # whose fields are zero often


class Orders:
    """A generator whose random orders are those of the sweeps of `retrieve`."""

    def __init__(self, seed, length):
        self.seed, self.length, self.sweep = np.uint64(seed), length, 0

    def permuted(self, rows, axis):
        drawn = [self.order(row) for row in range(len(rows))]
        self.sweep += 1
        return np.array(drawn)

    def order(self, row):
        with np.errstate(over="ignore"):
            stream = np.uint64(_kernels._stream(self.seed, row, self.sweep))
            order, found = np.arange(self.length), []
            for k in range(self.length):
                place = _kernels._next_place(k, self.length, _kernels.SEQUENTIAL, stream)
                found.append(order[place])
                order[place] = order[k]
        return found


def given(generator, _):
    return generator


@pytest.mark.parametrize("sweeps", [1, 2, 100])
@pytest.mark.parametrize("order", ["fixed", "random"])
def test_at_two_states_it_is_retrieval(order, sweeps, monkeypatch):
    """Spin by spin, in the same order, of a model that expects each by the couplings of a memory; ties keep a spin."""
    for memory, patterns in memories():
        z = to_tokens(np.concatenate([flip(patterns, n, rng=n) for n in (4, 10, 20)]))
        system = SequentialSystem(Fields(memory.couplings_, 0.6), order=order)
        orders = Orders(np.random.default_rng(5).integers(2**64, dtype=np.uint64), system.length)
        if order == "random":
            monkeypatch.setattr(np.random, "default_rng", partial(given, orders))
        mine = system.recover(
            z, mode="posterior_mode", steps=sweeps, **OPTIONS, rng=np.random.Generator(np.random.PCG64())
        )
        monkeypatch.undo()
        update = {"fixed": "typewriter", "random": "sequential"}[order]
        theirs, info = retrieve(memory, to_spins(z), update=update, max_sweeps=sweeps, rng=np.random.default_rng(5))
        assert np.array_equal(mine, to_tokens(theirs))
        assert sweeps < 100 or info.converged.all()
        assert not np.array_equal(mine, z), "negative control"


def test_conditionals_are_those_of_the_memory():
    for memory, patterns in memories():
        x = to_tokens(patterns)
        mine, theirs = SequentialSystem(Fields(memory.couplings_, 0.6)), BinarySystem(memory, beta=0.6)
        np.testing.assert_allclose(mine.conditional(x, 0.1).entropy(), theirs.conditional(x, 0.1).entropy(), atol=1e-12)


@pytest.mark.statistical(alarm=2 * ALMOST_NEVER)
@pytest.mark.parametrize("order", ["fixed", "random"])
def test_draws_are_gibbs_sampling(order, chi_square, seed):
    """From one string to the law of all of them in 30 sweeps; not to that of another model, nor in a single sweep."""
    system, n = SequentialSystem(Joint(LAW, K, L), order=order), 4000

    def p_value(sweeps, law):
        z = np.repeat(STRINGS[[LAW.argmin()]], n, 0)
        x = system.recover(z, mode="sample", steps=sweeps, **OPTIONS, rng=np.random.default_rng(seed(0)))
        return chi_square(np.bincount(x @ K ** np.arange(L)[::-1], minlength=K**L), law)

    assert p_value(30, LAW) > ALMOST_NEVER
    assert p_value(30, LAW[::-1]) < ALMOST_NEVER
    assert p_value(1, LAW) < ALMOST_NEVER


@pytest.mark.parametrize("order", ["fixed", "random"])
def test_the_mode_climbs_to_a_maximum(order):
    """No sweep lowers the probability of a string, and at the end no single token can raise it."""
    system = SequentialSystem(Joint(LAW, K, L), order=order)
    _, states = system.path(STRINGS, mode="posterior_mode", **OPTIONS, rng=np.random.default_rng(0))
    p = np.array([LAW[x @ K ** np.arange(L)[::-1]] for x in states])
    assert (np.diff(p, axis=0) >= 0).all()
    assert (p[-1] > p[0]).any()
    end = system.recover(STRINGS, mode="posterior_mode", **OPTIONS, rng=np.random.default_rng(0))
    for l in range(L):
        for k in range(K):
            other = end.copy()
            other[:, l] = k
            assert (LAW[other @ K ** np.arange(L)[::-1]] <= p[-1]).all()
    fixed = fixed_points(system, np.unique(end, axis=0), rng=0).fixed
    assert fixed.sel(estimate="value").item() == 1


def test_nothing_is_asked_of_what_has_settled():
    denoiser = Joint(LAW, K, L)
    system, best = SequentialSystem(denoiser), STRINGS[[LAW.argmax()] * 5]
    system.recover(best, mode="posterior_mode", **OPTIONS, rng=np.random.default_rng(0))
    assert denoiser.passes == [5] * L
    assert system.steps_taken("sample", None) == 100
    assert system.steps_taken("one_shot", 7) == 1


def test_batches_and_rows_do_not_matter():
    """Which of the others have settled no less."""
    one = SequentialSystem(MaskedSystem(Joint(LAW, K, L), batch_size=7))
    other = SequentialSystem(Joint(LAW, K, L))
    for mode in ("sample", "posterior_mode"):
        how = {"mode": mode, "steps": 3, **OPTIONS}
        whole, again = (s.recover(STRINGS, **how, rng=np.random.default_rng(1)) for s in (one, other))
        assert np.array_equal(whole, again)
    z = STRINGS.copy()
    z[40:] = STRINGS[LAW.argmax()]
    how = {"mode": "posterior_mode", **OPTIONS}
    whole, part = (other.recover(x, **how, rng=np.random.default_rng(1)) for x in (STRINGS, z))
    assert np.array_equal(whole[:40], part[:40])


def test_masks_are_filled_and_kept_tokens_stay():
    z = np.array([[0, K, K, 1], [K, K, K, K]])
    for mode in ("sample", "posterior_mode", "one_shot"):
        system = SequentialSystem(EmpiricalBayes(np.array([[0, 1, 2, 1], [2, 2, 1, 0]]), MaskedProcess(K)))
        keep = np.array([[True, False, False, True], [False] * 4])
        end = system.recover(z, mode=mode, steps=20, keep=keep, **OPTIONS, rng=np.random.default_rng(0))
        assert end[0].tolist() == [0, 1, 2, 1]
        assert end.max() < K


@pytest.mark.statistical(alarm=ALMOST_NEVER)
@pytest.mark.parametrize("schedule", [None, "log-linear", "cosine"])
def test_corruption_is_that_of_uniform_noise(schedule, chi_square, seed):
    """By the schedule of the model or another one; a mask among the ids is never drawn."""
    denoiser = EmpiricalBayes(np.array([[0, 2, 3]]), MaskedProcess(K + 1, mask=1))
    system = SequentialSystem(denoiser, schedule=schedule)
    z = system.corrupt(np.zeros((4000, 3), np.int64), 0.4, np.random.default_rng(seed(0)))
    alpha = UniformProcess(K, schedule or "linear").alpha(0.4).item()
    law = np.array([alpha + (1 - alpha) / 3, 0, (1 - alpha) / 3, (1 - alpha) / 3])
    assert chi_square(np.bincount(z.ravel(), minlength=4), law) > ALMOST_NEVER
    assert repr(schedule or "linear").strip("'").replace("-", "")[:3].lower() in repr(system.corruption).lower()


def test_stored_strings_come_back_from_uniform_corruption():
    """As those of a Hopfield memory do, with an unstable rate; and to a uniform model by the same rule."""
    x = np.random.default_rng(0).integers(6, size=(12, 24))
    for process in (MaskedProcess(6), UniformProcess(6)):
        system = SequentialSystem(EmpiricalBayes(x, process))
        found = token_recovery(system, x, noise=[0.3, 1.0], start=0.3, mode="posterior_mode", rng=0)
        little, much = found.exact_match.sel(estimate="value").values
        assert little == 1 > 0.3 > much
        assert found.unstable_rate.sel(estimate="value").values[0] == 0
        assert found.unstable_rate.sel(estimate="value").values[1] > 0.3


def test_it_is_made_of_denoisers():
    for model in (Hopfield(), as_system(Hopfield().fit(random_patterns(2, 8, rng=0)), beta=1.0)):
        with pytest.raises(TypeError, match="`m"):
            SequentialSystem(model)
    with pytest.raises(ValueError, match="`order`"):
        SequentialSystem(Joint(LAW, K, L), order="sorted")
    with pytest.raises(ValueError, match="`schedule`"):
        SequentialSystem(Joint(LAW, K, L), schedule="never")
    told = SequentialSystem(Joint(LAW, K, L)).describe()
    assert (told["model"]["system"], told["order"]) == ("Joint", "random")
