"""Along the dynamics: laws in closed form for two patterns, commitment counted by hand on scripted paths."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_token_recovery import Scripted

from amtheory import DenseMemory, Hopfield, PseudoLikelihood
from amtheory.patterns import random_patterns
from bridges import Conditional, DiffusionSystem, as_system, to_spins, to_tokens, trajectory
from bridges.streams import stream
from uddm import EmpiricalBayes, HierarchyBayes, HollowMLP, HollowMLPConfig, UniformProcess
from uddm.choices import LASTS, MODES
from uddm.corpora import RandomHierarchy

A, B = np.array([0, 1, 2, 3, 0]), np.array([3, 2, 1, 0, 1])  # which differ everywhere
PROCESS = UniformProcess(4)
TWO = as_system(EmpiricalBayes(torch.tensor(np.stack([A, B])), PROCESS))


class Thirds(Conditional):
    """One token has probability 2/3, another 1/3."""

    def __init__(self, shape):
        self.shape = shape

    def entropy(self):
        return np.full(self.shape, np.log(3) - 2 / 3 * np.log(2))

    def log_prob_variance(self):
        raise NotImplementedError

    def mode(self):
        return np.ones(self.shape, np.int64)

    def log_prob(self, x):
        return np.log(np.choose(np.asarray(x), [1 / 3, 2 / 3, 0, 0]))

    def sample(self, rng):
        raise NotImplementedError


class Walk(Scripted):
    """Goes through the states that it is given."""

    def __init__(self, states, times=None):
        super().__init__(None)
        self.states = states
        self.times = np.linspace(1, 0, len(states)) if times is None else np.array(times)
        self.length, self.told = states.shape[2], []

    def conditional(self, z, t):
        self.told.append(t)
        return Thirds(z.shape)

    def path(self, z, *, start, mode, steps, last, rng):
        return self.times, iter(self.states)


def law_of_two(z, t):
    """Entropy, highest probability and sum p (1 - p) of each token of z (B, L): that of A has odds exp(b(t) times
    (how many others are those of A minus how many are those of B))."""
    kept = PROCESS.alpha(t).item()
    b = np.log((kept + (1 - kept) / 4) / ((1 - kept) / 4))
    votes = (z == A).astype(int) - (z == B)
    odds = b * (votes.sum(1, keepdims=True) - votes)
    p, q = 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(odds))
    return -p * np.log(p) - q * np.log(q), np.maximum(p, q), 2 * p * q


@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("mode", MODES)
def test_two_patterns_in_closed_form(mode, last):
    x = TWO.corrupt(np.stack([A, B] * 10), 0.7, np.random.default_rng(0))
    options = {"start": 0.6, "mode": mode, "last": last, "steps": 12}
    found = trajectory(TWO, x, **options, record=99, rng=5)
    times, states = TWO.path(x, **options, rng=stream(5, "recover"))
    for k, (t, z) in enumerate(zip(times, states, strict=True)):
        assert found.time[k] == t
        for name, want in zip(("token_entropy", "top_probability", "gini"), law_of_two(z, max(t, 1e-5)), strict=True):
            np.testing.assert_allclose(found[name][k], want, atol=1e-9)
    assert found.sizes["step"] == len(times) == (2 if mode == "one_shot" else 13 + (last != "none"))


@pytest.mark.parametrize("mode", MODES)
def test_ends_where_recovery_does(mode, monkeypatch):
    monkeypatch.setattr("bridges.diffusion.STEPS", 20)  # where none are given
    torch.manual_seed(0)
    network = HollowMLP(HollowMLPConfig(vocab_size=4, length=5, hidden_dim=16, blocks=1, embed_dim=8))
    grammar = RandomHierarchy(symbols=4, rules=2, depth=2, seed=0)
    memory = PseudoLikelihood(beta=1.0, ridge=1e-2).fit(random_patterns(6, 12, rng=0))
    for system in (TWO, as_system(HierarchyBayes(grammar, PROCESS)), as_system(network), as_system(memory)):
        x = np.random.default_rng(0).integers(system.vocab_size, size=(20, system.length))
        for steps in (None, 6) if hasattr(getattr(system, "denoiser", memory), "sample") else (6,):
            found = trajectory(system, x, mode=mode, steps=steps, start=0.8, rng=2)
            want = system.recover(x, start=0.8, mode=mode, steps=steps, rng=stream(2, "recover"))
            assert np.array_equal(found.final, want)
            assert np.array_equal(found.initial, x)


def test_commitment_by_hand():
    """Four tokens over five states: one that never changes, one that does at the first and one at the last update, and
    one that comes back to what it was."""
    states = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 2], [0, 1, 0, 0], [0, 1, 3, 0]])[:, None]
    found = trajectory(Walk(states), states[0], record=3, rng=0)
    assert found.commit.values.tolist() == [[0, 1, 4, 3]]
    assert found.commit_time.values.tolist() == [[1.0, 0.75, 0.0, 0.25]]
    assert found.step.values.tolist() == [0, 2, 4]
    assert found.time.values.tolist() == [1.0, 0.5, 0.0]
    assert found.committed.sel(estimate="value").values.tolist() == [0.25, 0.5, 1.0]
    assert found.committed.values[-1].tolist() == [1, 1, 1]
    assert found.final.values.tolist() == [[0, 1, 3, 0]]


def test_conditionals_are_asked_at_recorded_states_alone():
    walk = Walk(np.zeros((11, 2, 3), np.int64))
    trajectory(walk, walk.states[0], record=3, rng=0)
    assert walk.told == [1.0, 0.5, 1e-5]


def test_a_law_without_certainty_of_its_own():
    walk = Walk(np.zeros((4, 2, 3), np.int64))
    found = trajectory(walk, walk.states[0], rng=0)
    np.testing.assert_allclose(found.top_probability, 2 / 3)
    np.testing.assert_allclose(found.mean_entropy.sel(estimate="value"), np.log(3) - 2 / 3 * np.log(2))
    assert np.isnan(found.gini).all()


def test_a_system_without_a_path_is_seen_at_its_ends():
    system = Scripted(lambda _, z, rng: np.where(np.arange(6) < 2, z, (z + 1) % 4))
    system.x, system.conditional = None, lambda z, t: Thirds(z.shape)
    x = np.zeros((3, 6), np.int64)
    found = trajectory(system, x, start=0.4, mode="one_shot", steps=9, last="none", rng=0)
    assert found.time.values.tolist() == [0.4, 0.0]
    assert found.commit.values.tolist() == [[0, 0, 1, 1, 1, 1]] * 3
    assert system.asked == [{"start": 0.4, "mode": "one_shot", "steps": 9, "last": "none"}]


@given(st.integers(1, 4), st.integers(2, 12), st.integers(1, 5), st.integers(2, 15), st.integers(0, 2**32 - 1))
def test_any_path(n, T, L, record, seed):
    """Commitment as it is defined, whatever is recorded, and the states that are."""
    states = np.random.default_rng(seed).integers(2, size=(T, n, L))
    found = trajectory(Walk(states), states[0], record=record, rng=0)
    for b, l in np.ndindex(n, L):
        stays = [k for k in range(T) if (states[k:, b, l] == states[-1, b, l]).all()]
        assert found.commit[b, l] == stays[0]
    steps = found.step.values
    assert len(steps) == min(record, T)
    assert (steps[0], steps[-1]) == (0, T - 1)
    assert np.diff(steps).max() - np.diff(steps).min() <= 1
    committed = found.committed.sel(estimate="value").values
    np.testing.assert_allclose(committed, [(found.commit.values <= k).mean() for k in steps])
    assert (np.diff(committed) >= 0).all()
    assert committed[-1] == 1


def test_what_is_recorded_changes_nothing_else():
    full = trajectory(TWO, 9, steps=20, record=22, rng=0)
    few = trajectory(TWO, 9, steps=20, record=4, rng=0)
    assert full.sel(step=few.step).drop_attrs().identical(few.drop_attrs())


@pytest.mark.parametrize("make", ["exact", "network"])
def test_batch_size_does_not_matter(make):
    torch.manual_seed(0)
    network = HollowMLP(HollowMLPConfig(vocab_size=4, length=5, hidden_dim=16, blocks=1, embed_dim=8))
    denoiser = TWO.denoiser if make == "exact" else network
    one, other = (
        trajectory(DiffusionSystem(denoiser, batch_size=size), 7, steps=8, record=4, rng=0) for size in (None, 2)
    )
    assert np.array_equal(one.final, other.final)
    assert np.array_equal(one.commit, other.commit)
    for name in ("token_entropy", "top_probability", "gini"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)  # float32, entropies of order 1


def test_starts_from_noise():
    """Of as many sequences as asked for, the noise from which generation starts."""
    found = trajectory(TWO, 6, steps=5, rng=3)
    z = TWO.prior(6, stream(3, "noise"))
    assert np.array_equal(found.initial, z)
    given = trajectory(TWO, z, steps=5, rng=3)
    assert found.drop_attrs().identical(given.drop_attrs())
    assert not np.array_equal(found.initial, trajectory(TWO, 6, steps=5, rng=4).initial)


def test_layout():
    found = trajectory(TWO, 6, steps=7, record=4, rng=0)
    assert dict(found.sizes) == {"step": 4, "sample": 6, "position": 5, "estimate": 3}
    for name in ("token_entropy", "top_probability", "gini"):
        assert found[name].dims == ("step", "sample", "position")
    for name in ("commit", "commit_time", "initial", "final"):
        assert found[name].dims == ("sample", "position")
    for name in ("mean_entropy", "mean_top_probability", "committed"):
        assert found[name].dims == ("step", "estimate")
        value, low, high = found[name].transpose("estimate", "step").values
        assert ((low <= value) & (value <= high)).all()
    np.testing.assert_allclose(found.mean_entropy[:, 0], found.token_entropy.mean(("sample", "position")))
    np.testing.assert_allclose(found.mean_top_probability[:, 0], found.top_probability.mean(("sample", "position")))
    record = json.loads(found.attrs["manifest"])
    assert [record[name] for name in ("measurement", "steps", "start", "mode")] == ["trajectory", 7, 1.0, "sample"]


def test_a_memory_is_no_system_yet():
    with pytest.raises(TypeError, match="`system` must be a MemorySystem, which `as_system` makes, got Hopfield"):
        trajectory(Hopfield().fit(random_patterns(3, 20, rng=0)), 5)


@pytest.mark.parametrize("update", ["parallel", "sequential"])
@pytest.mark.parametrize("mode", ["sample", "posterior_mode"])
@pytest.mark.parametrize("memory", [Hopfield(), DenseMemory("exp")], ids=["pairwise", "dense"])
def test_sweeps_are_those_of_ever_longer_runs(memory, mode, update):
    x = random_patterns(4, 30, rng=0)
    system = as_system(memory.fit(x), beta=0.7, update=update)
    z = np.random.default_rng(0).integers(2, size=(10, 30))
    times, states = system.path(z, start=0.3, mode=mode, steps=9, rng=np.random.default_rng(1))
    assert times.tolist() == [0.3] * 10
    states = list(states)
    assert np.array_equal(states[0], z)
    for n in range(1, 10):
        assert np.array_equal(states[n], system.recover(z, mode=mode, steps=n, rng=np.random.default_rng(1)))


def test_a_sweep_aligns_every_spin_with_its_field():
    memory = Hopfield().fit(random_patterns(12, 40, rng=0))
    system = as_system(memory, beta=1.0)
    z = np.random.default_rng(0).integers(2, size=(10, 40))
    _, states = system.path(z, mode="posterior_mode", steps=12, rng=np.random.default_rng(1))
    state = to_spins(z)
    for found in states:
        assert np.array_equal(found, to_tokens(state))
        field = memory.local_field(state)
        state = np.where(field == 0, state, np.sign(field)).astype(np.int8)


def test_paths_of_one_generator_differ():
    """A path takes from the generator what `recover` does."""
    system = as_system(Hopfield().fit(random_patterns(4, 30, rng=0)), beta=0.7)
    for one in (system, TWO):
        z, rng, other = one.prior(5, np.random.default_rng(0)), np.random.default_rng(1), np.random.default_rng(1)
        ends = [list(one.path(z, steps=4, rng=rng)[1])[-1] for _ in range(2)]
        assert not np.array_equal(*ends)
        for end in ends:
            assert np.array_equal(end, one.recover(z, steps=4, rng=other))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": 0}, ValueError, "`x` must be at least 1, got 0"),
        ({"x": True}, TypeError, "`x` must hold integer token ids"),
        ({"x": 2.0}, TypeError, "`x` must hold integer token ids"),
        ({"start": 0.0}, ValueError, "`start` must lie in"),
        ({"start": [0.5]}, TypeError, "`start` must be a number"),
        ({"mode": "greedy"}, ValueError, "`mode` must be one of"),
        ({"last": "foo"}, ValueError, "`last` must be one of"),
        ({"steps": 0}, ValueError, "`steps` must be None or an integer >= 1, got 0"),
        ({"record": 1}, ValueError, "`record` must be at least 2, got 1"),
        ({"record": 2.5}, TypeError, "`record` must be an integer"),
        ({"confidence": 0.0}, ValueError, "`confidence`"),
    ],
)
def test_bad_arguments_are_named(changes, error, message):
    with pytest.raises(error, match=message):
        trajectory(TWO, **{"x": 2, "rng": 0, **changes})
