"""The table of presets makes sense."""

import pytest

from paper_figures.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_consistent(name):
    preset = PRESETS[name]
    recipes = list(preset.language.recipes.values())
    for recipe in recipes:
        assert set(recipe.sizes) <= set(recipes[0].sizes), "every network is trained on sizes of the main one"
        assert list(recipe.sizes) == sorted(recipe.sizes)
    assert preset.memories.active % 2 == 1
    assert list(preset.memories.loads) == sorted(preset.memories.loads)
