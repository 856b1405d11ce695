"""What the figures compare measurements with, against independent ways to the same."""

import numpy as np
import pytest
import torch
import xarray as xr

from amtheory import Estimate, Hopfield
from amtheory.patterns import random_patterns
from bridges import BinarySystem, conditional_entropy, entropy_gap, frequency_chance, to_tokens
from uddm import HybridProcess, MaskedProcess, UniformProcess


@pytest.mark.parametrize("schedule", ["log-linear", "linear"])
def test_chance_equals_enumeration(schedule):
    """Sum over clean tokens x, noisy tokens z != x and Bayes' guesses y."""
    tokens, K, noise = np.array([[0, 0, 0, 1, 1, 2]]), 3, (0.1, 0.5, 0.9)
    p = np.array([3, 2, 1]) / 6
    chances = frequency_chance(tokens, noise, vocab_size=K, schedule=schedule)
    for t in noise:
        alpha = float(UniformProcess(K, schedule).alpha(t))
        q = alpha * np.eye(K) + (1 - alpha) / K  # q[x, z]
        corrupted = recovered = 0.0
        for x in range(K):
            for z in set(range(K)) - {x}:
                guess = p * q[:, z] / (p @ q[:, z])
                corrupted += p[x] * q[x, z]
                recovered += p[x] * q[x, z] * guess[x]
        assert float(chances.sel(noise=t)) == pytest.approx(recovered / corrupted, rel=1e-12)


@pytest.mark.parametrize(
    "process",
    [
        MaskedProcess(3),
        HybridProcess(3, p_unif=0.3),
        HybridProcess(4, mask=3),
        HybridProcess(3, law="xdlm", p_unif=1.0),
    ],
    ids=repr,
)
def test_chance_under_other_noise(process):
    """The same sum over all states z, masks among them, of which every one is corrupted."""
    tokens, p = np.array([[0, 0, 0, 1, 1, 2]]), np.array([3, 2, 1]) / 6
    for t in (0.1, 0.5, 0.9):
        q = process.transition(t).prob(torch.arange(process.state_size), torch.arange(3)[:, None]).numpy()
        corrupted = recovered = 0.0
        for x in range(3):
            for z in set(range(process.state_size)) - {x}:
                if q[x, z]:
                    corrupted += p[x] * q[x, z]
                    recovered += p[x] * q[x, z] * p[x] * q[x, z] / (p @ q[:, z])
        chance = float(frequency_chance(tokens, t, process=process)[0])
        assert chance == pytest.approx(recovered / corrupted, rel=1e-12)
    if isinstance(process, MaskedProcess):
        assert chance == pytest.approx((p**2).sum(), rel=1e-12)


@pytest.mark.statistical(alarm=1e-6)
def test_chance_at_full_noise_is_that_two_tokens_agree(seed):
    rng = np.random.default_rng(seed(0))
    tokens = rng.choice(20, p=(p := rng.dirichlet(np.ones(20))), size=(50_000, 1))
    assert float(frequency_chance(tokens, 1.0, vocab_size=20)[0]) == pytest.approx((p**2).sum(), rel=0.05)


def test_chance_refuses_what_it_cannot_count():
    with pytest.raises(TypeError, match="`vocab_size` or `process`"):
        frequency_chance(np.array([[1]]), 0.5)
    with pytest.raises(ValueError, match="`x` must hold token ids"):
        frequency_chance(np.array([[3]]), 0.5, vocab_size=3)
    with pytest.raises(ValueError, match="`noise` must lie in"):
        frequency_chance(np.array([[1]]), [0.5, 0.0], vocab_size=3)
    with pytest.raises(TypeError, match="`noise` must be a"):
        frequency_chance(np.array([[1]]), "0.5", vocab_size=3)


TRAINING, GENERATED = Estimate(1.0, 0.7, 1.4), Estimate(3.0, 2.6, 3.3)
WANTED = [2.0, 2 - np.hypot(0.4, 0.4), 2 + np.hypot(0.3, 0.3)]


def test_the_gap_is_of_two_of_a_kind():
    with pytest.raises(ValueError, match="`training` must be of `conditional_entropy`"):
        entropy_gap(xr.Dataset(), xr.Dataset())
    with pytest.raises(TypeError, match="`training` must be a Dataset, DataArray or Estimate, both alike"):
        entropy_gap(xr.Dataset({"mean_entropy": ("estimate", list(TRAINING))}), GENERATED)


def test_the_gap_adds_intervals_in_quadrature():
    found = entropy_gap(TRAINING, GENERATED)
    assert isinstance(found, Estimate)
    np.testing.assert_allclose(found, WANTED)
    over = xr.DataArray([TRAINING, GENERATED], {"n": [1, 2], "estimate": list(Estimate._fields)}, ("n", "estimate"))
    arrays = entropy_gap(over, over.isel(n=[1, 0]).assign_coords(n=[1, 2]))
    np.testing.assert_allclose(arrays.sel(n=1), WANTED)
    assert arrays.sel(n=2, estimate="value") == -2


def test_the_gap_of_two_measurements_is_that_of_their_means():
    patterns = random_patterns(5, 30, rng=0)
    system = BinarySystem(Hopfield().fit(patterns), beta=1.0)
    one, other = (conditional_entropy(system, to_tokens(x), rng=0) for x in (patterns, random_patterns(9, 30, rng=1)))
    found = entropy_gap(one, other)
    assert found.value == pytest.approx(float((other.mean_entropy - one.mean_entropy).sel(estimate="value")))
    assert found.low < found.value < found.high
