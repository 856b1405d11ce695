"""Token recovery counted by hand, on scripted systems whose answers are known."""

import json

import numpy as np
import pytest
import torch

from bridges import TOKEN_CLASSES, Conditional, MemorySystem, as_system, token_classes, token_recovery
from uddm import EmpiricalBayes, UniformProcess

RATES = ("recovery", "recovery_mean", "total_recovery", "unstable_rate", "exact_match")


class Scripted(MemorySystem):
    """Corrupts and recovers as told: `script(x, z, rng)` gives the final tokens."""

    length, vocab_size = 6, 4

    def __init__(self, script, corrupt=None):
        self.script, self.asked = script, []
        self.corruption = corrupt or (lambda x, noise, rng: np.where(rng.random(x.shape) < noise, (x + 1) % 4, x))

    def corrupt(self, x, noise, rng):
        self.x = x
        return self.corruption(x, noise, rng)

    def conditional(self, z, t) -> Conditional:
        raise NotImplementedError

    def recover(self, z, *, start, mode, steps, last, keep=None, rng):
        self.asked.append({"start": start, "mode": mode, "steps": steps, "last": last})
        return self.script(self.x, z, rng)

    def generate(self, n, *, steps, rng):
        raise NotImplementedError

    def describe(self):
        return {"system": "Scripted"}


X = np.random.default_rng(0).integers(4, size=(30, 6))
perfect = Scripted(lambda x, z, rng: x)
frozen = Scripted(lambda x, z, rng: z)
wrong = Scripted(lambda x, z, rng: (x + 2) % 4)
half = Scripted(lambda x, z, rng: np.where(rng.random(x.shape) < 0.5, x, (x + 3) % 4))


def values(dataset):
    return {name: dataset[name].sel(estimate="value").values for name in RATES}


def count_by_hand(x, z, y):
    """The definitions, one token at a time."""
    restored = corrupted = kept = unstable = whole = equal = 0
    means = []
    for n in range(len(x)):
        here, there = 0, 0
        for l in range(x.shape[1]):
            equal += y[n, l] == x[n, l]
            if z[n, l] != x[n, l]:
                here += 1
                there += y[n, l] == x[n, l]
            else:
                kept += 1
                unstable += y[n, l] != x[n, l]
        corrupted, restored = corrupted + here, restored + there
        whole += all(y[n] == x[n])
        if here:
            means.append(there / here)
    return {
        "recovery": restored / corrupted if corrupted else np.nan,
        "recovery_mean": np.mean(means) if means else np.nan,
        "total_recovery": equal / x.size,
        "unstable_rate": unstable / kept if kept else np.nan,
        "exact_match": whole / len(x),
    }


@pytest.mark.parametrize("system", [perfect, frozen, wrong, half], ids=["perfect", "frozen", "wrong", "half"])
def test_counts(system):
    result = token_recovery(system, X, noise=[0.1, 0.5, 1.0], rng=1)
    got = values(result)
    for k in range(3):
        want = count_by_hand(X, result.corrupted.values[k], result.final.values[k])
        for name in RATES:
            assert got[name][k] == pytest.approx(want[name], nan_ok=True), name


def test_known_memories():
    result = values(token_recovery(perfect, X, noise=0.4, rng=1))
    assert [result[name].item() for name in RATES] == [1, 1, 1, 0, 1]
    data = token_recovery(frozen, X, noise=0.4, rng=1)
    corrupted = (data.corrupted.values[0] != X).mean()
    result = values(data)
    assert 0.3 < corrupted < 0.5
    assert result["recovery"] == result["recovery_mean"] == result["unstable_rate"] == 0
    assert result["total_recovery"] == pytest.approx(1 - corrupted)
    result = values(token_recovery(wrong, X, noise=0.4, rng=1))
    assert [result[name].item() for name in RATES] == [0, 0, 0, 1, 0]


def test_pooled_and_per_sequence_means_differ():
    """Two sequences, 1 of 1 and 1 of 5 corrupted tokens restored: pooled 2/6, mean (1 + 1/5)/2."""
    x = np.zeros((2, 6), int)
    z = np.array([[1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]])
    y = np.array([[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0]])
    result = values(token_recovery(Scripted(lambda *_: y, lambda *_: z), x, noise=0.5, rng=0))
    assert result["recovery"] == pytest.approx(1 / 3)
    assert result["recovery_mean"] == pytest.approx(0.6)
    assert result["exact_match"] == 0.5
    assert result["unstable_rate"] == 0


def test_nothing_corrupted():
    system = Scripted(lambda x, z, rng: x, lambda x, noise, rng: x)
    result = token_recovery(system, X, noise=[0.1], rng=0)
    assert np.isnan(result.recovery).all()
    assert np.isnan(result.recovery_mean).all()
    assert result.total_recovery.sel(estimate="value").item() == 1
    assert result.unstable_rate.sel(estimate="value").item() == 0


def test_everything_corrupted():
    system = Scripted(lambda x, z, rng: z, lambda x, noise, rng: (x + 1) % 4)
    result = token_recovery(system, X, noise=[0.1], rng=0)
    assert np.isnan(result.unstable_rate).all()
    assert values(result)["total_recovery"] == 0


def test_sequences_without_corruption_are_left_out_of_the_mean():
    x, z = np.zeros((2, 6), int), np.zeros((2, 6), int)
    z[0, :2] = 1
    y = z.copy()
    y[0, 0] = 0
    result = values(token_recovery(Scripted(lambda *_: y, lambda *_: z), x, noise=0.5, rng=0))
    assert result["recovery_mean"] == 0.5


def test_does_not_depend_on_the_list_of_noises():
    for system in (half, as_system(EmpiricalBayes(torch.tensor(X[:5]), UniformProcess(4)))):
        several = token_recovery(system, X, noise=[0.9, 0.1, 0.5], rng=3)
        for noise in (0.1, 0.5, 0.9):
            alone = token_recovery(system, X, noise=noise, rng=3)
            assert several.sel(noise=[noise]).drop_attrs().identical(alone.drop_attrs())
        assert not several.drop_attrs().identical(token_recovery(system, X, noise=[0.9, 0.1, 0.5], rng=4).drop_attrs())


def test_layout():
    result = token_recovery(half, X, noise=[0.2, 0.7], rng=0)
    assert dict(result.sizes) == {"noise": 2, "estimate": 3, "sample": 30, "position": 6}
    assert result.noise.values.tolist() == [0.2, 0.7]
    assert result.estimate.values.tolist() == ["value", "low", "high"]
    assert np.array_equal(result.original, X)
    assert result.corrupted.dims == result.final.dims == ("noise", "sample", "position")
    for name in RATES:
        assert result[name].dims == ("noise", "estimate")
        value, low, high = result[name].transpose("estimate", "noise").values
        assert ((low <= value) & (value <= high) & (low >= 0) & (high <= 1)).all()
        assert (low < high).all() or name == "exact_match"


def test_confidence_widens_intervals():
    def width(confidence):
        result = token_recovery(half, X, noise=0.5, rng=0, confidence=confidence)
        return [(result[name].sel(estimate="high") - result[name].sel(estimate="low")).item() for name in RATES]

    assert all(a < b for a, b in zip(width(0.5), width(0.99), strict=True))


def test_the_system_is_told_what_was_asked():
    system = Scripted(lambda x, z, rng: z)
    token_recovery(system, X, noise=[0.2, 0.6], rng=0)
    token_recovery(system, X, noise=[0.2], start=1.0, mode="posterior_mode", steps=7, last="none", rng=0)
    assert [call["start"] for call in system.asked] == [0.2, 0.6, 1.0]
    assert system.asked[-1] == {"start": 1.0, "mode": "posterior_mode", "steps": 7, "last": "none"}


def test_classes():
    x = np.array([[0, 0, 0, 0, 0]])
    z = np.array([[0, 0, 1, 1, 1]])
    y = np.array([[0, 2, 0, 1, 2]])
    classes = token_classes(x, z, y)
    assert [TOKEN_CLASSES[c] for c in classes[0]] == ["stable", "unstable", "recovered", "failed", "failed"]
    assert classes.dtype == np.int8


def test_exact_limit_remembers():
    """Random rows far below capacity: nearly all comes back at small noise, chance level (1/4) at t = 1."""
    data = np.random.default_rng(0).integers(4, size=(20, 24))
    system = as_system(EmpiricalBayes(torch.tensor(data), UniformProcess(4)))
    result = values(token_recovery(system, data, noise=[0.2, 1.0], rng=0))
    assert result["recovery"][0] > 0.99
    assert 0.1 < result["recovery"][1] < 0.45
    assert result["exact_match"][0] > 0.9


@pytest.mark.parametrize(
    ("error", "name", "change"),
    [
        (ValueError, "`noise`", {"noise": 0.0}),
        (ValueError, "`noise`", {"noise": [0.5, 1.5]}),
        (ValueError, "`noise`", {"noise": np.nan}),
        (ValueError, "`start`", {"start": 0.0}),
        (ValueError, "`start`", {"start": 2.0}),
        (ValueError, "`mode`", {"mode": "greedy"}),
        (ValueError, "`confidence`", {"confidence": 1.0}),
        (ValueError, "`confidence`", {"confidence": 0.0}),
    ],
)
def test_bad_arguments_are_named(error, name, change):
    arguments = {"x": X, "noise": 0.5, "rng": 0} | change
    with pytest.raises(error, match=name):
        token_recovery(half, **arguments)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"steps": 0}, ValueError, "`steps` must be None or an integer >= 1, got 0"),
        ({"steps": 2.5}, ValueError, "`steps`"),
        ({"last": "foo"}, ValueError, "`last` must be one of"),
        ({"noise": []}, ValueError, "`noise` must hold at least one time"),
        ({"noise": "a"}, TypeError, "`noise` must be a number"),
        ({"noise": True}, TypeError, "`noise` must be a number"),
        ({"noise": [[0.1]]}, TypeError, "`noise` must be a number"),
    ],
)
def test_more_bad_arguments_are_named(changes, error, message):
    with pytest.raises(error, match=message):
        token_recovery(perfect, np.zeros((2, perfect.length), np.int64), **({"noise": 0.5, "rng": 0} | changes))


def test_the_record_says_what_was_done():
    limit = as_system(EmpiricalBayes(torch.zeros(2, 4, dtype=torch.long), UniformProcess(3)))
    x = np.zeros((2, 4), np.int64)
    for changes, steps in (({}, None), ({"mode": "x0_mode", "steps": 3}, 3), ({"mode": "one_shot"}, 1)):
        record = json.loads(token_recovery(limit, x, noise=0.5, rng=0, **changes).attrs["manifest"])
        assert record["steps"] == steps
        assert record["precision"]


def test_a_measured_system_takes_no_options():
    with pytest.raises(TypeError, match="takes no options, got beta"):
        as_system(perfect, beta=1.0)
