"""Extraction: counted by hand on scripted systems, against exact laws where a system has them."""

import itertools
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from test_token_recovery import Scripted

from amtheory import Hopfield
from amtheory.intervals import wilson
from amtheory.patterns import random_patterns
from bridges import as_system, extraction, to_tokens
from bridges.extractions import TASKS
from uddm import EmpiricalBayes, UniformProcess
from uddm.sampling import END

PROCESS = UniformProcess(3)
DATA = np.array([[0, 0, 1], [0, 0, 2], [1, 2, 0], [1, 1, 1], [2, 0, 1]])
EXACT = EmpiricalBayes(torch.tensor(DATA), PROCESS)
STATES = torch.tensor(list(itertools.product(range(3), repeat=3)))
PLACES = DATA @ [9, 3, 1]  # of the data among all states
T = 0.9
CONFIDENCE = 1 - 1e-7  # of each of the intervals, of which a test has at most 15; in this tail Wilson's are rough
ALARM = 1e-5


class Memory(Scripted):
    """Ends where `script(z, keep)` says, and keeps what it was asked."""

    def recover(self, z, *, keep=None, rng, **how):
        self.asked.append({"z": z, "keep": keep, **how})
        return self.script(z, keep)


X = np.random.default_rng(0).integers(4, size=(4, 6))


def corruption():
    """q(z | x) of each of the data and all z, (5, 27)."""
    kept = PROCESS.alpha(T).item()
    return torch.stack([(kept * (x == STATES).double() + (1 - kept) / 3).prod(1) for x in torch.tensor(DATA)])


def after(steps):
    """The probability that the reverse process of so many steps ends where a corruption came from, (5,)."""
    law = corruption()
    for t, s in pairwise([*np.linspace(T, END, steps + 1).tolist(), 0.0]):
        one = PROCESS.posterior(EXACT.cavity(STATES, t), STATES, t, s)
        law = law @ torch.stack([one[:, l, STATES[:, l]] for l in range(3)]).prod(0)
    return law.numpy()[np.arange(5), PLACES]


def in_the_limit():
    """sum_z q(z | x) p(x | z) by Bayes' rule, (5,)."""
    law = corruption()
    return (law * law / law.sum(0)).sum(1).numpy()


def measured(seed, tasks, attempts=1000, **options):
    """Intervals of p_z of each of the data, by task."""
    found = extraction(as_system(EXACT), np.repeat(DATA, attempts // 2, 0), tasks=tasks, draws=2, rng=seed, **options)
    counts = found.extracted.values.reshape(len(tasks), 5, attempts // 2).sum(-1)
    return [[wilson(count, attempts, CONFIDENCE) for count in row] for row in counts]


def inside(intervals, law):
    return [low <= p <= high for (_, low, high), p in zip(intervals, law, strict=True)]


@pytest.mark.statistical(alarm=ALARM)
def test_the_exact_limit_gives_back_by_bayes_rule(seed):
    """Given tokens leave the strings that have them, equally probable after pure noise, alpha_1 = 1e-3."""
    corrupted, prefix, edges = measured(seed(0), TASKS, noise=T, given=2 / 3)
    assert all(inside(corrupted, in_the_limit()))
    assert all(inside(prefix, [1 / 2, 1 / 2, 1, 1, 1]))
    assert all(inside(edges, [1, 1, 1, 1, 1]))
    assert not all(inside(prefix, [1 / 5] * 5)), "negative control"


@pytest.mark.statistical(alarm=ALARM)
def test_extraction_grows_with_the_steps_to_the_exact_law(seed):
    """Exactly, by products of the kernels of all updates, and as measured: what independent tokens of a single step do
    not give back, many steps do. The error falls as 1 / S. 1500 attempts miss the two largest errors of one step, .086
    and .077, with probabilities of 4e-4 and .012, both of them with 5e-6."""
    laws = {steps: after(steps) for steps in (1, 2, 4, 8, 16, 32)}
    limit = in_the_limit()
    means = [law.mean() for law in laws.values()] + [limit.mean()]
    assert (np.diff(means) > 0).all()
    errors = [np.abs(law - limit).max() for law in laws.values()]
    assert all(second < 0.8 * first for first, second in pairwise(errors))
    for steps, attempts in ((1, 1500), (16, 1000)):
        (found,) = measured(seed(steps), ["corrupted"], attempts, noise=T, steps=steps)
        assert all(inside(found, laws[steps]))
        assert all(inside(found, limit)) == (steps == 16), "one step is told from the limit"


def test_counts():
    """Of a system that gives back what it can be sure of; the others it is told to keep, and is told at which time."""
    memory = Memory(lambda z, keep: z)
    found = extraction(memory, X, draws=7, given=0.4, noise=0.3, mode="x0_mode", steps=2, last="none", rng=0)
    assert found.sizes == {"task": 3, "sample": 4, "estimate": 3, "position": 6}
    kept = found.kept.values
    assert kept.astype(int).tolist() == [[0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1]]
    assert len(memory.asked) == 3, "all draws of a task together"
    counts = np.zeros((3, 4), int)
    for task, asked in enumerate(memory.asked):
        assert asked["start"] == (1.0 if task else 0.3)
        assert (asked["mode"], asked["steps"], asked["last"]) == ("x0_mode", 2, "none")
        z = asked["z"].reshape(7, 4, 6)
        if task:
            assert np.array_equal(asked["keep"], np.tile(kept[task], (28, 1)))
            assert np.array_equal(z[..., kept[task]], np.tile(X[:, kept[task]], (7, 1, 1)))
            assert (z != X).any()
        counts[task] = (z == X).all(2).sum(0)
    assert np.array_equal(found.extracted, counts)
    for task, sample in np.ndindex(3, 4):
        np.testing.assert_allclose(found.p_z[task, sample], wilson(counts[task, sample], 7), rtol=1e-12)
    np.testing.assert_allclose(found.extraction_rate[0], wilson(int((counts[0] > 0).sum()), 4), rtol=1e-12)
    record = json.loads(found.attrs["manifest"])
    assert (record["draws"], record["noise"], record["given"], record["steps"]) == (7, 0.3, 0.4, 2)


def test_all_and_nothing():
    rates = [
        extraction(Memory(lambda z, keep, y=y: np.tile(y, (5, 1))), X, draws=5, rng=0).p_z.sel(estimate="value")
        for y in (X, (X + 1) % 4)
    ]
    assert (rates[0] == 1).all()
    assert (rates[1] == 0).all()


def test_the_same_positions_are_corrupted_in_other_sequences():
    """With the same fresh tokens, sequence by sequence, however many there are; anew in each draw."""
    others = (DATA + 1) % 3  # which differ from the data everywhere: where both end alike, both were replaced
    corrupted = []
    for x in (DATA, others, DATA[:2]):
        memory = Memory(lambda z, keep: z, corrupt=as_system(EXACT).corrupt)
        memory.length, memory.vocab_size = 3, 3
        extraction(memory, x, tasks=["corrupted"], draws=3, noise=0.5, rng=7)
        corrupted.append(memory.asked[0]["z"].reshape(3, *x.shape))
    one, other, few = corrupted
    assert np.array_equal(one == other, (one != DATA) | (other != others))
    assert np.array_equal(one[:, :2], few)
    assert not np.array_equal(one[0] != DATA, one[1] != DATA)


def test_tasks_do_not_depend_on_each_other():
    found = extraction(as_system(EXACT), DATA, draws=4, noise=T, rng=3).extracted
    alone = extraction(as_system(EXACT), DATA, tasks=["edges"], draws=4, noise=T, rng=3).extracted
    assert np.array_equal(alone[0], found.sel(task="edges"))


def test_attempts_beyond_what_fits_together(monkeypatch):
    """Twice as many calls, each of half the attempts."""
    monkeypatch.setattr("bridges.extractions.ROWS", 8)
    memory = Memory(lambda z, keep: z)
    found = extraction(memory, X, tasks=["prefix"], draws=3, rng=0)
    assert [len(asked["z"]) for asked in memory.asked] == [8, 4]
    counts = sum((asked["z"].reshape(-1, 4, 6) == X).all(2).sum(0) for asked in memory.asked)
    assert np.array_equal(found.extracted[0], counts)


@pytest.mark.parametrize("steps", [None, 3])
def test_batches_do_not_matter(steps):
    one, other = (
        extraction(as_system(EXACT, batch_size=size), DATA, draws=3, noise=T, steps=steps, rng=1) for size in (None, 2)
    )
    assert one.drop_attrs().identical(other.drop_attrs())


def test_deterministic_draws_differ_by_their_noise():
    """Where nothing is changed, all of them end alike."""
    found = extraction(as_system(EXACT), DATA, mode="one_shot", noise=2e-5, draws=4, rng=0, tasks=["corrupted"])
    assert set(found.extracted.values.ravel()) <= {0, 4}


def test_a_binary_memory_completes_its_patterns():
    """Few patterns, from a half of each; not with another half than a stored one."""
    patterns = random_patterns(3, 100, rng=0)
    system = as_system(Hopfield().fit(patterns), beta=4.0)
    options = {"mode": "posterior_mode", "draws": 3, "rng": 0}
    assert (extraction(system, to_tokens(patterns), **options).extracted == 3).all()
    others = to_tokens(random_patterns(3, 100, rng=1))
    assert (extraction(system, others, tasks=["prefix", "edges"], **options).extracted == 0).all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tasks": "prefix"}, ValueError, "`tasks`"),
        ({"tasks": []}, ValueError, "`tasks`"),
        ({"tasks": ["suffix"]}, ValueError, "`tasks`.*'suffix'"),
        ({"tasks": ["edges", "edges"]}, ValueError, "`tasks`"),
        ({"noise": 0.0}, ValueError, "`noise`"),
        ({"given": 0.0}, ValueError, "`given`"),
        ({"given": 0.1}, ValueError, "`given`.*some of the 3 tokens"),
        ({"given": 0.9}, ValueError, "`given`.*not all"),
        ({"given": 1.5}, ValueError, "`given`"),
        ({"draws": 0}, ValueError, "`draws`"),
        ({"draws": 1.5}, TypeError, "`draws`"),
        ({"mode": "best"}, ValueError, "`mode`"),
        ({"last": "best"}, ValueError, "`last`"),
        ({"steps": 0}, ValueError, "`steps`"),
        ({"confidence": 1.0}, ValueError, "`confidence`"),
    ],
)
def test_bad_arguments_are_named(changes, error, message):
    with pytest.raises(error, match=message):
        extraction(as_system(EXACT), DATA, **{"rng": 0} | changes)
