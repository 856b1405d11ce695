"""Keys hold what determines the numbers: more of anything computes what is new, another drawing computes nothing, and
another setting computes all that depends on it."""

import json
from dataclasses import replace

import pytest

from paper_figures import cells as store
from paper_figures.figure import choose
from paper_figures.measure import hierarchy, language
from paper_figures.presets import PRESETS, Recipe
from paper_figures.sweep import execute, plan
from paper_figures.workspace import Workspace

NOISES = PRESETS["smoke"].noises
SMOKE = replace(PRESETS["smoke"], noises=replace(NOISES, text_sizes=(), strings=()))  # counted by themselves
HOLLOW, DIT = SMOKE.language.recipes.values()
TREE, SMALL = SMOKE.hierarchy.recipes.values()


def of_text(main=HOLLOW, other=DIT, **more):
    return {"hollow network": main, "transformer": other, **more}


def of_strings(main=TREE, other=SMALL):
    return {"tree network": main, "transformer": other}


def more(recipe, **sizes):
    """With further training-set sizes, size_512=100 for 100 steps on 512."""
    return replace(recipe, sizes=recipe.sizes | {int(size[5:]): steps for size, steps in sizes.items()})


def other(recipe):
    """With another training."""
    return replace(recipe, training=replace(recipe.training, ema=0.9))


def wider(recipe):
    return replace(recipe, network=replace(recipe.network, hidden_dim=40))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """One whose preset has other settings in one part."""
    folder, texts = tmp_path_factory.mktemp("keys"), {}

    def make(part="language", *, seed=0, **changes):
        ws = Workspace(folder, "smoke", seed=seed)
        ws.preset = replace(SMOKE, **{part: replace(getattr(SMOKE, part), **changes)})
        same = seed, ws.preset.language.tokenizer, ws.preset.language.length
        vars(ws)["_text"] = texts[same] if same in texts else texts.setdefault(same, ws._text)  # it takes seconds
        return ws

    return make


@pytest.fixture(scope="module")
def before(workspace):
    """Cells and trainings of the preset as it is."""
    return cells(workspace()), trainings(workspace())


def cells(ws):
    """Names of the files of all cells that the figures need."""
    return {ws.path(cell).name for task in plan(ws, choose()).tasks for cell in task.cells(ws)}


def trainings(ws):
    """What determines each training."""
    cases = [case for system in hierarchy.networks(ws) for case in hierarchy.sweep(ws, system)]
    cases += [case for rules in ws.preset.hierarchy.rules for case in hierarchy.course(ws, rules)]
    measured = [hierarchy.Measured(ws, case) for case in cases]
    for system in language.recipes(ws):
        measured += [language.Measured(ws, case) for case in language.cases(ws, system)]
    return {json.dumps([ws.seed, one.origin]) for one in measured}


FROZEN = 12 + 9  # deterministic recovery, told 1 or the noise, and fixed points of three kinds of sequences
MAIN = 6 + FROZEN + 2 + 1 + 3 * 3 + 2  # recovery, token classes, scores, entropies at three times, bounds
SHOWN = 3 * 2 + 3  # texts and trajectories of the first training at each size
WIDTHS, VARIANTS = (
    8 * 7 + 4 * 4,
    3 * 7 + 3 * 5,
)  # one recovery, entropies, bounds in float32; texts, classes
TEXT = 6 * MAIN + SHOWN + 9 + 3 * 9 + WIDTHS + VARIANTS  # the main network, the other, the limit, ...
MARGINS = 2 * 3 * 3 + 2 * 3 + 1 + 8  # 3 samples at 2 loads, and at 2 loads of features; a proof and 8 gradients
PATTERNS, BASINS = 4 + 2 + 1, 3  # recovery and entropies, spin classes, scores; at the largest load, by noise
OTHER_LENGTH = 9 * 3  # one recovery, entropies, scores
SPINS = 9 * PATTERNS + 3 * BASINS + 3 + OTHER_LENGTH  # three trajectories
SWEPT = 2 + 1  # token classes and scores of the main network at all sizes on all grammars
STRINGS = 19 * 2 + 4 * SWEPT + 3  # three trajectories
HOPFIELD, PERCEPTRON, LIKELIHOOD, CODES = 3 * 3 * 2 + 3, 5 * 3, 3 + 1, 4 * 3 + 4  # simulations, and lines of theory
THEORY = HOPFIELD + PERCEPTRON + LIKELIHOOD + CODES
CELLS = TEXT + SPINS + STRINGS + 4 + MARGINS + THEORY  # 4 of U-turns
OF_TEXT = 6 + 1 + 8
TRAININGS = OF_TEXT + 11


def test_there_are_as_many_as_there_should_be(before):
    assert tuple(map(len, before)) == (CELLS, TRAININGS)


@pytest.mark.parametrize(
    ("part", "changes", "new_cells", "new_trainings"),
    [
        ("language", {"noise": (0.25, 0.5, 0.75, 1.0)}, (6 + 1 + 3) * 2, 0),
        ("language", {"greedy_noise": (0.1, 0.2, 0.35, 0.5)}, 6 * (4 + 3), 0),
        ("language", {"recipes": of_text(more(HOLLOW, size_512=100))}, 2 * MAIN + 2 + 9, 2),
        ("language", {"recipes": of_text(other=more(DIT, size_256=60))}, 9, 1),
        ("language", {"recipes": of_text(wide=wider(DIT))}, 9, 1),
        ("language", {"recipes": of_text(replace(HOLLOW, seeds=3))}, 3 * MAIN, 3),
        ("language", {"recipes": of_text(other=replace(DIT, seeds=2))}, 9, 1),
        ("language", {"widths": {**SMOKE.language.widths, "wide": wider(HOLLOW)}}, 6 * 7 + 3 * 4, 6),
        ("memories", {"noise": (0.1, 0.25, 0.5, 0.75)}, 9 + 3, 0),
        ("memories", {"loads": (0.1, 1.0, 2.0, 8.0)}, 3 * PATTERNS, 0),
        ("memories", {"disorder": 4}, 3 * PATTERNS + BASINS + 3 * 3, 0),
        ("memories", {"other_lengths": {30: (0.1, 1.0, 8.0), 40: (1.0,)}}, 3 * 3, 0),
        ("margins", {"disorder": 4}, 2 * 3 + 2, 0),
        ("margins", {"loads": (0.25, 0.5, 0.75)}, 3 * 3, 0),
        ("margins", {"feature_loads": (0.1, 0.5, 1.0)}, 3, 0),
        ("hierarchy", {"grammars": 3}, (2 + 4 + 3) * 2 + 2 * SWEPT, 2 + 3),
        ("hierarchy", {"noise": 0.25}, 19 + 4 * 2, 0),
        ("hierarchy", {"recipes": of_strings(more(TREE, size_12=60))}, (2 + 4) * 2 + 2 * SWEPT + 1, 2),
        ("hierarchy", {"course": (24, (20, 40, 60))}, 4 * 2, 4),
        ("hierarchy", {"rules": {**SMOKE.hierarchy.rules, "steep": {"zipf": 2.0}}}, 4 * 2, 4),
        ("relaxation", {"alphas": (0.8, 0.5, 0.3)}, 2, 0),
        ("relaxation", {"grammars": 3}, 2, 0),
        ("theory", {"disorder": 4}, 3 * 2 + 5 + 1 + 4, 0),
        ("theory", {"hopfield_loads": (0.02, 0.08, 0.12, 0.16)}, 3 * 2, 0),
        ("theory", {"temperatures": (0.0, 0.2, 0.4)}, 3 * 3 + 1, 0),
        ("theory", {"perceptrons": {12: (0.5, 1.0, 2.0), 40: (0.5, 0.75, 1.0)}}, 3, 0),
        ("theory", {"likelihood_loads": (0.5, 1.0)}, 3 + 1, 0),
        ("theory", {"rates": (0.1, 0.2, 0.25)}, 2 * (3 + 1), 0),
        ("theory", {"lengths": (8, 12, 16)}, 2 * (3 + 1), 0),
    ],
    ids=str,
)
def test_one_more_is_one_more(workspace, before, part, changes, new_cells, new_trainings):
    ws = workspace(part, **changes)
    after = cells(ws), trainings(ws)
    assert len(after[0] - before[0]) == new_cells
    assert len(after[1] - before[1]) == new_trainings
    if changes != {"noise": 0.25}:  # another one, not one more
        assert before[0] < after[0]


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("relaxation", {"shown": (0.5, 0.8)}),
        ("language", {"recipes": {"a": HOLLOW, "b": DIT}}),
        ("hierarchy", {"recipes": {"a": TREE, "b": SMALL}}),
        ("hierarchy", {"rules": {"a": {}, "b": {"zipf": 1.0}}}),
    ],
    ids=str,
)
def test_another_drawing_computes_nothing(workspace, before, part, changes):
    assert cells(workspace(part, **changes)) == before[0]


@pytest.mark.parametrize(
    ("part", "changes", "same_cells", "same_trainings"),
    [
        ("language", {"length": 13}, CELLS - TEXT, 11),
        ("language", {"tokenizer": "bytes"}, CELLS - TEXT, 11),
        ("language", {"recipes": of_text(other(HOLLOW))}, CELLS - 6 * MAIN - SHOWN, TRAININGS - 3),
        ("language", {"recipes": of_text(wider(HOLLOW))}, CELLS - 6 * MAIN - SHOWN, TRAININGS - 3),
        (
            "language",
            {"recipes": of_text(replace(HOLLOW, sizes={**HOLLOW.sizes, 32: 40}))},
            CELLS - 2 * MAIN - 3,
            TRAININGS - 1,  # the variants keep the older one of the first seed
        ),
        (
            "language",
            {"sequences": 40},
            CELLS - TEXT + 6 * (FROZEN + 3 + 1) + 2 * 8 + SHOWN + 5 + 7 + (8 + 12 + 8 + 2) + (6 + 3 + 2),
            TRAININGS,
        ),
        ("language", {"generated": 40}, CELLS - (6 * 3 + 3 + 1 + 3 + 8 + 6), TRAININGS),
        ("language", {"steps": 21}, CELLS - 6 * (6 + 2) - 6 - 6 - (8 * 2 + 8 * 2) - 6 * 2, TRAININGS),
        ("language", {"greedy_steps": 41}, CELLS - 6 * FROZEN, TRAININGS),
        ("language", {"greedy_sequences": 25}, CELLS - 6 * FROZEN, TRAININGS),
        ("language", {"generation_steps": 21}, CELLS - (6 * 3 + 3 + 1 + 8 + 6), TRAININGS),
        ("memories", {"length": 61}, CELLS - SPINS + OTHER_LENGTH, TRAININGS),
        *(
            ("memories", {name: value}, CELLS - SPINS, TRAININGS)
            for name, value in [("features", 0.2), ("active", 5), ("ridge", 0.1)]
        ),
        ("memories", {"sequences": 51}, CELLS - SPINS, TRAININGS),
        ("memories", {"sweeps": 101}, CELLS - SPINS, TRAININGS),
        ("margins", {"length": 25}, CELLS - 18, TRAININGS),
        ("margins", {"feature_length": 201}, CELLS - 6, TRAININGS),
        ("margins", {"probes": 5}, CELLS - 12 - 6, TRAININGS),
        ("margins", {"rate": 5.0}, CELLS - 6, TRAININGS),
        ("margins", {"norms": (1.0, 4.0)}, CELLS - 6, TRAININGS),
        ("hierarchy", {"grammar": {"symbols": 5, "rules": 2, "depth": 2}}, CELLS - STRINGS, OF_TEXT),
        ("hierarchy", {"recipes": of_strings(other(TREE))}, CELLS - 10 * 2 - 4 * SWEPT - 2, OF_TEXT + 1),
        ("hierarchy", {"recipes": of_strings(other=wider(SMALL))}, CELLS - 2, TRAININGS - 1),
        ("hierarchy", {"sequences": 9}, CELLS - STRINGS, TRAININGS),
        ("hierarchy", {"steps": 9}, CELLS - 15 * 2 - 4 * SWEPT - 3, TRAININGS),
        ("relaxation", {"grammar": {"symbols": 4, "rules": 2, "depth": 2}}, CELLS - 4, TRAININGS),
        ("relaxation", {"turns": 5}, CELLS - 4, TRAININGS),
        ("relaxation", {"chains": 21}, CELLS - 4, TRAININGS),
        *(
            ("theory", {name: value}, CELLS - (HOPFIELD - 3), TRAININGS)
            for name, value in [("hopfield_length", 301), ("probes", 4), ("sweeps", 61)]
        ),
        *(
            ("theory", {name: value}, CELLS - LIKELIHOOD, TRAININGS)
            for name, value in [("likelihood_inputs", 44), ("norms", (0.5, 2.0, 4.0)), ("start_overlap", 0.5)]
        ),
        ("theory", {"letters": 3}, CELLS - CODES, TRAININGS),
        ("theory", {"noise": (0.2, 0.4, 0.6)}, CELLS - CODES, TRAININGS),
        ("theory", {"noisy": 61}, CELLS - 4 * 3, TRAININGS),
        ("theory", {"points": 9}, CELLS - 3 - 1 - 4, TRAININGS),
    ],
    ids=str,
)
def test_what_determines_numbers_is_in_the_key(workspace, before, part, changes, same_cells, same_trainings):
    after = workspace(part, **changes)
    assert len(cells(after) & before[0]) == same_cells
    assert len(trainings(after) & before[1]) == same_trainings


RETRIEVALS = 2 * 2 * 2 + 2 * 2 * 2 + 2 * 2 * 2  # text and strings under two noises, and two limits, two sizes, twice
OF_MASKED = 4 * 5 + 4 * 2  # recoveries and entropies of text, of strings two; under uniform noise they are there


def test_cells_of_the_noises(workspace, before):
    """What is measured on uniform noise is that of the sweeps, but for retrieval."""
    kinds = {field: getattr(NOISES, field) for field in ("kinds", "text_sizes", "strings")}
    found = cells(workspace("noises", **kinds))
    assert before[0] < found
    assert len(found - before[0]) == RETRIEVALS + OF_MASKED
    more = kinds | {"kinds": {**NOISES.kinds, "hybrid": {"noise": "hybrid", "schedule": "linear"}}}
    with_hybrid = cells(workspace("noises", **more))
    assert len(with_hybrid - found) == 8 + OF_MASKED
    assert found < with_hybrid
    for other in ({"noise": 0.5}, {"sequences": 9}):
        assert len(found & cells(workspace("noises", **kinds, **other))) == len(found) - RETRIEVALS
    renamed = {"kinds": dict(zip(("a", "b"), NOISES.kinds.values()))}
    assert cells(workspace("noises", **kinds | renamed)) == found


def test_another_seed_is_another_run(workspace, before):
    second = workspace(seed=1)
    assert not before[0] & cells(second)
    assert not before[1] & trainings(second)


def test_what_is_there_is_not_made_again(tmp_path, monkeypatch):
    """Counted: files that are written and trainings that take a step."""
    written, trained = [], []
    save, train = store.save, store.uddm.train
    monkeypatch.setattr(store, "save", lambda dataset, path, how: written.append(path.name) or save(dataset, path, how))

    def counted(model, data, config, run, **options):
        trained.extend([] if (run / "model").exists() else [run.name])
        return train(model, data, config, run, **options)

    monkeypatch.setattr(store.uddm, "train", counted)

    def made(part="hierarchy", **changes):
        """New cells and new trainings of a small sweep."""
        ws = Workspace(tmp_path, "smoke")
        recipes = {"tree network": Recipe(TREE.network, TREE.training, {4: 2}), "transformer": replace(SMALL, sizes={})}
        small = {"hierarchy": {"recipes": recipes, "course": (4, (2,)), "rules": {"equal rules": {}}, "grammars": 1}}
        small |= {"relaxation": {"grammars": 1}, "memories": {"loads": (0.1,), "disorder": 1}}
        small[part] |= changes
        ws.preset = replace(SMOKE, **{name: replace(getattr(SMOKE, name), **own) for name, own in small.items()})
        written.clear(), trained.clear()
        names = ["rhm_transition", "rhm_memorization", "rhm_relaxation", "am_recovery"]
        list(execute(ws, plan(ws, choose(names)).tasks, jobs=1, done=lambda task, seconds: None))
        assert len(set(written)) == len(written)
        return len(written), len(trained)

    spins = PATTERNS + BASINS  # of one load, the largest
    assert made() == ((1 + 2) * 2 + SWEPT + 2 + 2 + spins + 1, 1)
    assert made() == (0, 0)
    assert made("relaxation", shown=(0.5, 0.8)) == (0, 0)
    assert made(noise=0.25) == (1 + 2 + 2, 0), "recovery at another noise, of the network that is there"
    assert made(grammars=2) == ((1 + 2) * 2 + SWEPT, 1)
    assert made(course=(4, (2, 3))) == (2, 1)
    assert made("relaxation", alphas=(0.8, 0.5, 0.3)) == (1, 0)
    assert made("relaxation", grammars=2) == (2, 0)
    assert made("memories", noise=(0.1, 0.2, 0.25, 0.5)) == (1 + 1, 0)
    assert made("memories", disorder=2) == (spins, 0)
    assert made("memories", loads=(0.1, 1.0)) == (spins + 1, 0)
    assert made(steps=7) == ((1 + 1) * 2 + SWEPT + 2, 0), "negative control: all but the exact memory depends on it"
    assert made() == (0, 0)
