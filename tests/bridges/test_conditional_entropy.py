"""Conditional entropies as labelled results."""

import numpy as np
import pytest
import torch

from amtheory import Hopfield, PseudoLikelihood
from amtheory.patterns import random_patterns
from bridges import as_system, conditional_entropy, to_tokens, token_classes, token_recovery
from uddm import EmpiricalBayes, UniformProcess

DATA = np.random.default_rng(0).integers(3, size=(12, 5))
SYSTEM = as_system(EmpiricalBayes(torch.tensor(DATA), UniformProcess(3)))


def test_values_and_layout():
    result = conditional_entropy(SYSTEM, DATA, t=0.2, rng=0)
    want = SYSTEM.conditional(DATA, 0.2).entropy()
    assert dict(result.sizes) == {"sample": 12, "position": 5, "estimate": 3}
    assert np.array_equal(result.token_entropy, want)
    np.testing.assert_allclose(result.sequence_entropy, want.sum(1))
    value, low, high = result.mean_entropy.values
    assert value == pytest.approx(want.mean())
    assert low < value < high
    assert result.token_entropy.attrs["units"] == "nats"
    assert result.mean_entropy.attrs["units"] == "nats per token"
    assert ((want >= 0) & (want <= np.log(3))).all()


def test_certain_and_uniform_limits():
    """A row that nothing else resembles is certain given its other tokens; a lone position is as free as the data."""
    far = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]])
    certain = conditional_entropy(as_system(EmpiricalBayes(far, UniformProcess(3))), far.numpy(), rng=0)
    assert certain.token_entropy.max() < 1e-6
    alone = torch.tensor([[0], [1], [2]])
    uniform = conditional_entropy(as_system(EmpiricalBayes(alone, UniformProcess(3))), alone.numpy(), rng=0)
    np.testing.assert_allclose(uniform.token_entropy, np.log(3))


def test_binary_memory_of_few_patterns_is_certain_of_them_and_not_of_others():
    patterns = random_patterns(4, 30, rng=0)
    system = as_system(PseudoLikelihood(beta=1.0, ridge=1e-3).fit(patterns))
    known, other = (
        conditional_entropy(system, to_tokens(x), rng=0).mean_entropy.values
        for x in (patterns, random_patterns(50, 30, rng=1))
    )
    assert known[0] < 0.05 < 0.1 < other[0]
    assert known[2] < other[1]


def test_classes_go_along():
    recovered = token_recovery(SYSTEM, DATA, noise=0.5, rng=0)
    classes = token_classes(DATA, recovered.corrupted.values[0], recovered.final.values[0])
    result = conditional_entropy(SYSTEM, recovered.final.values[0], classes=classes, rng=0)
    assert np.array_equal(result.token_class, classes)
    assert result.token_class.dtype == np.int8


def test_seed_moves_only_the_interval():
    one, again, other = (conditional_entropy(SYSTEM, DATA, rng=seed) for seed in (0, 0, 1))
    assert one.drop_attrs().identical(again.drop_attrs())
    assert one.token_entropy.identical(other.token_entropy)
    assert not one.mean_entropy.identical(other.mean_entropy)


@pytest.mark.parametrize(
    ("error", "name", "change"),
    [
        (ValueError, "`t`", {"t": 0.0}),
        (ValueError, "`t`", {"t": 1.1}),
        (ValueError, "`classes`", {"classes": np.zeros((2, 2), int)}),
        (ValueError, "`confidence`", {"confidence": 95}),
    ],
)
def test_bad_arguments_are_named(error, name, change):
    with pytest.raises(error, match=name):
        conditional_entropy(**({"system": SYSTEM, "x": DATA, "rng": 0} | change))


def test_a_memory_is_no_system_yet():
    x = random_patterns(3, 20, rng=0)
    with pytest.raises(TypeError, match="`system` must be a MemorySystem, which `as_system` makes, got Hopfield"):
        conditional_entropy(Hopfield().fit(x), to_tokens(x))
