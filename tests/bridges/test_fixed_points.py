"""Fixed points counted by hand, on scripted systems and on memories whose fixed points are enumerated."""

import json

import numpy as np
import pytest
import torch
from small_worlds import states
from test_token_recovery import Scripted

from amtheory import Couplings
from amtheory.intervals import wilson
from bridges import as_system, fixed_points
from uddm import EmpiricalBayes, UniformProcess

X = np.random.default_rng(0).integers(4, size=(30, 6))


def moving(script):
    """A system that moves x by script(x, rng)."""
    system = Scripted(lambda _, z, rng: script(z, rng))
    system.x = None
    return system


still = moving(lambda z, rng: z)
shifting = moving(lambda z, rng: (z + 1) % 4)
some = moving(lambda z, rng: np.where(rng.random(z.shape) < 0.1, (z + 1) % 4, z))


def value(rate):
    return rate.sel(estimate="value").values


def test_counts():
    found = fixed_points(some, X, start=[0.2, 1.0], rng=0)
    for k in range(2):
        whole = sum(bool((x == y).all()) for x, y in zip(X, found.final.values[k], strict=True))
        assert 0 < whole < 30
        assert found.fixed.values[k].tolist() == list(wilson(whole, 30))
        assert value(found.kept)[k] == pytest.approx(sum((found.final.values[k] == X).ravel().tolist()) / X.size)
        assert found.kept.values[k, 1] < value(found.kept)[k] < found.kept.values[k, 2]
    assert [value(fixed_points(still, X, rng=0)[name]).item() for name in ("fixed", "kept")] == [1, 1]
    assert [value(fixed_points(shifting, X, rng=0)[name]).item() for name in ("fixed", "kept")] == [0, 0]


def test_layout():
    found = fixed_points(some, X, start=[0.2, 0.7], rng=0)
    assert dict(found.sizes) == {"start": 2, "estimate": 3, "sample": 30, "position": 6}
    assert found.start.values.tolist() == [0.2, 0.7]
    assert np.array_equal(found.original, X)
    assert found.final.dims == ("start", "sample", "position")
    assert found.fixed.dims == found.kept.dims == ("start", "estimate")


def test_nothing_is_corrupted_and_the_dynamics_are_told_what_was_asked():
    system = Scripted(lambda x, z, rng: z, lambda *_: pytest.fail("corrupted"))
    system.x = None
    fixed_points(system, X, rng=0)
    fixed_points(system, X, start=(0.3, 0.6), mode="one_shot", steps=7, last="none", rng=0)
    default = {"start": 1.0, "mode": "posterior_mode", "steps": None, "last": "ancestral"}
    other = {"mode": "one_shot", "steps": 7, "last": "none"}
    assert system.asked == [default, {"start": 0.3, **other}, {"start": 0.6, **other}]


def test_does_not_depend_on_the_list_of_starts():
    several = fixed_points(some, X, start=[0.9, 0.1, 0.5], rng=3)
    for start in (0.1, 0.5, 0.9):
        alone = fixed_points(some, X, start=start, rng=3)
        assert several.sel(start=[start]).drop_attrs().identical(alone.drop_attrs())
    assert not several.drop_attrs().identical(fixed_points(some, X, start=[0.9, 0.1, 0.5], rng=4).drop_attrs())


def test_fixed_points_of_couplings_by_enumeration():
    """Of all states of six spins those are fixed that every local field agrees with, or, at zero, leaves alone."""
    W = np.random.default_rng(1).integers(-2, 3, size=(6, 6))
    W = W + W.T
    np.fill_diagonal(W, 0)
    every = states(2, 6)
    spins = 2 * every - 1
    agree = ((spins @ W) * spins >= 0).all(1)
    assert 0 < agree.sum() < len(every)
    found = fixed_points(as_system(Couplings(W), beta=1.0), every, steps=1, rng=0)
    assert np.array_equal((found.final.values[0] == every).all(1), agree)
    assert value(found.fixed).item() == agree.mean()


def test_one_shot_of_the_exact_limit_keeps_its_data_and_no_control():
    data = np.random.default_rng(0).integers(4, size=(8, 24))
    system = as_system(EmpiricalBayes(torch.tensor(data), UniformProcess(4)))
    noise = np.random.default_rng(1).integers(4, size=(50, 24))
    options = {"start": 0.3, "mode": "one_shot", "rng": 0}
    assert value(fixed_points(system, data, **options).fixed).item() == 1
    assert value(fixed_points(system, noise, **options).fixed).item() == 0


def test_the_record_says_what_was_done():
    record = json.loads(fixed_points(some, X, start=0.4, steps=3, rng=0).attrs["manifest"])
    told = {name: record[name] for name in ("measurement", "mode", "last", "steps", "seed")}
    assert told == {
        "measurement": "fixed_points",
        "mode": "posterior_mode",
        "last": "ancestral",
        "steps": 3,
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"start": 0.0}, ValueError, "`start` must lie in"),
        ({"start": [0.5, 1.5]}, ValueError, "`start` must lie in"),
        ({"start": []}, ValueError, "`start` must hold at least one time"),
        ({"start": None}, TypeError, "`start` must be a number"),
        ({"start": "a"}, TypeError, "`start` must be a number"),
        ({"mode": "greedy"}, ValueError, "`mode` must be one of"),
        ({"last": "foo"}, ValueError, "`last` must be one of"),
        ({"steps": 0}, ValueError, "`steps` must be None or an integer >= 1, got 0"),
        ({"confidence": 1.0}, ValueError, "`confidence`"),
    ],
)
def test_bad_arguments_are_named(changes, error, message):
    with pytest.raises(error, match=message):
        fixed_points(still, X, **{"rng": 0, **changes})
