"""The table of presets makes sense, and the larger ones run, cut to what a test can do."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from paper_figures.__main__ import main
from paper_figures.cells import load
from paper_figures.forecast import forecast
from paper_figures.measure import language
from paper_figures.presets import GPU, PRESETS, WORKSTATION, Recipe
from paper_figures.report import read_record
from paper_figures.workspace import Workspace

FEW = {"sequences": 2, "generated": 2, "greedy_sequences": 2, "noise": (0.25,), "greedy_noise": (1.0,)}
SHORT = {"steps": 2, "greedy_steps": 2, "generation_steps": 2}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_consistent(name):
    preset = PRESETS[name]
    recipes = list(preset.language.recipes.values())
    for recipe in recipes:
        assert set(recipe.sizes) <= set(recipes[0].sizes), "every network is trained on sizes of the main one"
        assert list(recipe.sizes) == sorted(recipe.sizes)
    assert preset.memories.active % 2 == 1
    assert list(preset.memories.loads) == sorted(preset.memories.loads)


def test_the_larger_presets_are_what_their_names_say():
    """Three trainings and three widths, transformers, blocks of 32 and more; of the GPU five sizes in bfloat16."""
    for preset in (WORKSTATION, GPU):
        networks = [*preset.language.recipes.values(), *preset.language.widths.values()]
        assert len({recipe.width for recipe in networks}) >= 3
        assert "DiT" in {recipe.network.name for recipe in networks}
        assert preset.language.length >= 32
        assert next(iter(networks)).seeds == 3
        assert len(next(iter(networks)).sizes) >= 5
    assert all(recipe.seeds == 3 for recipe in WORKSTATION.language.recipes.values())
    assert {recipe.training.precision for recipe in GPU.language.recipes.values()} == {"bfloat16"}


def test_the_workstation_preset_fits_its_corpus_and_says_how_long_it_takes(tmp_path):
    ws = Workspace(tmp_path, "workstation")
    ws.prepare()
    told = forecast(ws, language.tasks(ws), 2)
    assert "trainings of" in told
    assert " h " in told, "on two cores"


def cut(recipe: Recipe) -> Recipe:
    """Two steps of a small network of its kind on eight sequences."""
    training = replace(recipe.training, batch_size=2, warmup=1)
    network = replace(recipe.network, hidden_dim=32, blocks=2, heads=2)
    return replace(recipe, sizes={8: 2}, seeds=1, training=training, network=network)


def test_the_gpu_preset_runs_without_one(tmp_path, run_command):
    """Its transformer in bfloat16, on word pieces with BOS and EOS."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcde"), 3)) for _ in range(40)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(words)]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    (tmp_path / "text.txt").write_text("\n\n".join(" ".join(rng.choice(words, 60)) for _ in range(40)))
    own = GPU.language
    small = replace(
        own,
        recipes={name: cut(recipe) for name, recipe in own.recipes.items()},
        widths={},
        variants={},
        **FEW,
        **SHORT,
    )
    where = [
        "--corpus",
        tmp_path / "text.txt",
        "--tokenizer",
        f"bert:{tmp_path / 'vocab.txt'}",
        "--out",
        tmp_path / "o",
    ]
    with mock.patch.dict(PRESETS, gpu=replace(GPU, language=small)):
        done = run_command(main, "run", "fig02", "--preset", "gpu", "--device", "cpu", "--jobs", 1, *where)
    assert done.returncode == 0, done.stderr
    assert read_record(tmp_path / "o")["manifest"]["device"] == "cpu"
    found = load(tmp_path / "o" / "data" / "fig02_recovery.nc")
    assert found.system.values.tolist() == ["DiT tiny", language.LIMIT]
    assert found.recovery.sel(system=language.LIMIT, split="train", estimate="value").item() > 0.9
