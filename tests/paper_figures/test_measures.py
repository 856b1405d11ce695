"""The numbers the figures compute themselves, against independent ways to the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from paper_figures import fig05_average_entropy, language
from paper_figures.presets import PRESETS
from uddm import UniformProcess


def workspace(tokens, vocab_size, noise):
    blocks = SimpleNamespace(train=lambda: np.asarray(tokens), vocab_size=vocab_size)
    return SimpleNamespace(blocks=blocks, preset=SimpleNamespace(language=SimpleNamespace(noise=noise)))


def test_chance_equals_enumeration():
    """Sum over clean tokens x, noisy tokens z != x and Bayes' guesses y."""
    tokens, K, noise = [[0, 0, 0, 1, 1, 2]], 3, (0.1, 0.5, 0.9)
    p = np.array([3, 2, 1]) / 6
    chances = language.chance(workspace(tokens, K, noise))
    for t in noise:
        alpha = float(UniformProcess(K).alpha(t))
        q = alpha * np.eye(K) + (1 - alpha) / K  # q[x, z]
        corrupted = recovered = 0.0
        for x in range(K):
            for z in set(range(K)) - {x}:
                guess = p * q[:, z] / (p @ q[:, z])
                corrupted += p[x] * q[x, z]
                recovered += p[x] * q[x, z] * guess[x]
        assert float(chances.sel(noise=t)) == pytest.approx(recovered / corrupted, rel=1e-12)


def test_chance_at_full_noise_is_that_two_tokens_agree():
    rng = np.random.default_rng(0)
    tokens = rng.choice(20, p=(p := rng.dirichlet(np.ones(20))), size=(50_000, 1))
    assert float(language.chance(workspace(tokens, 20, (1.0,)))[0]) == pytest.approx((p**2).sum(), rel=0.05)


def test_the_gap_adds_intervals_in_quadrature():
    values = [[1.0, 0.7, 1.4], [3.0, 2.6, 3.3]]  # train, generated: value, low, high
    entropies = xr.DataArray(
        values,
        coords={"sequences": ["train", "generated"], "estimate": ["value", "low", "high"]},
        dims=("sequences", "estimate"),
    )
    gap = fig05_average_entropy.gap(entropies)
    np.testing.assert_allclose(gap, [2.0, 2 - np.hypot(0.4, 0.4), 2 + np.hypot(0.3, 0.3)])


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_consistent(name):
    preset = PRESETS[name]
    recipes = list(preset.language.recipes.values())
    for recipe in recipes:
        assert set(recipe.sizes) <= set(recipes[0].sizes), "every network is trained on sizes of the main one"
        assert list(recipe.sizes) == sorted(recipe.sizes)
    assert preset.memories.active % 2 == 1
    assert list(preset.memories.loads) == sorted(preset.memories.loads)
