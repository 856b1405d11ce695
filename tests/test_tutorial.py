"""The pages of the documentation run, and what their prose says is what their cells find."""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
executed_by_the_docs = pytest.mark.long  # what the pages show is tested in small elsewhere; `make docs` runs them, too


def executed(page, number_of_cells):
    """The names that the cells of a page define."""
    mpl.use("Agg")
    found = {}
    cells = re.findall(r"^```\{code-cell\} python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    assert len(cells) == number_of_cells
    with mpl.rc_context():
        for cell in cells:
            exec(compile(cell.replace("plt.show()", "plt.close('all')"), page, "exec"), found)
    return found


@pytest.fixture(scope="module")
def names():
    return executed("associative-memories.md", 7)


@executed_by_the_docs
def test_hopfield_follows_the_replica_theory_below_its_capacity(names):
    """L = 1000: within 4 standard errors of 5 samples, and 1e-4, where alpha <= .1; loss of retrieval beyond .138."""
    assert names["hopfield"].critical_load() == pytest.approx(0.1379055665, abs=1e-9)
    mean, error = names["measured"].T
    P = np.round(np.array([0.021, 0.061, 0.101]) * 1000)
    theory = names["hopfield"].overlap(P / 1000)
    assert (np.abs(mean[:3] - theory) < 4 * error[:3] + 1e-4).all()
    assert mean[-1] < 0.7
    assert abs(np.mean(names["steps"]) - names["exact"]) < 4 * names["step_error"]


@executed_by_the_docs
def test_margins_follow_gardner_and_are_certified(names):
    assert names["gap"] < 1e-6
    for load, fit in names["fits"].items():
        assert fit.margins_.mean() == pytest.approx(names["gardner"].max_margin(load), abs=0.01)


@executed_by_the_docs
def test_the_largest_margin_does_not_have_the_largest_basin(names):
    inverse, margin, likelihood = names["radii"].values()
    assert inverse.value < margin.value < likelihood.value
    assert likelihood.low > margin.high
    assert names["curves"]["Hebb"].recovered.max() < 0.05


@executed_by_the_docs
def test_examples_then_features_then_unseen_examples_are_attractors(names):
    loads, kept, lines = names["loads"], names["kept"], names["lines"]
    features, unseen = np.array(kept["features"]), np.array(kept["unseen examples"])
    assert kept["training examples"][0] > 0.95 > kept["training examples"][4]  # stored, and no more
    assert (features[loads > 1.5 * lines[0]] > 0.97).all()
    assert features[loads < 0.5 * lines[0]].max() < 0.9
    assert (unseen[loads > 1.8 * lines[1]] > 0.97).all()
    assert unseen[loads < 0.5 * lines[1]].max() < 0.95


@executed_by_the_docs
def test_failed_retrieval_ends_in_two_cycles(names):
    assert names["two_cycles"] > 0.9


@executed_by_the_docs
def test_modes_agree_when_told_the_time_and_only_the_frozen_one_recalls_when_told_another():
    page = executed("reverse-process.md", 2)
    table, movable = page["table"], page["updates_that_can_move"]
    for mode, start, S in table:
        recovered, kept = table[mode, start, S]
        if start == 0.25 or (mode == "posterior_mode" and S >= 20):
            assert min(recovered, kept) > 0.95
        elif mode != "posterior_mode":
            assert max(recovered, kept) < 0.3
    assert table["posterior_mode", 1.0, 5][0] < 0.95
    assert movable(1000, 0.25) == [999]
    assert movable(10, 1.0) == [0, 8, 9]


@executed_by_the_docs
def test_the_audit_says_what_its_cells_find():
    """Seeded throughout; with another Python's documentation the verdict on 60,000
    passages is another in 5 % of cases."""
    names = executed("audit.md", 8)
    reports = {name: names[name] for name in ("of_all", "of_64", "swapped", "elsewhere")}
    assert {name: report.verdict for name, report in reports.items()} == {
        "of_all": "no evidence",
        "of_64": "reproduces",
        "swapped": "cannot say",
        "elsewhere": "recognises",
    }
    assert "exchanged" in reports["swapped"].reasons[0]
    assert reports["of_64"].alone["memories"].value == np.inf  # no two of what it generates are alike
    assert all(check.passed for check in reports["of_64"].checks if check.name != "sharpness")


def restoration(token_recovery, as_system, denoiser, x):
    return float(token_recovery(as_system(denoiser), x, noise=[0.5], rng=1).recovery.sel(estimate="value")[0])


@executed_by_the_docs
def test_the_page_on_exact_limits_says_what_its_cells_find():
    """Seeded throughout, so that nothing here can fail by chance."""
    names = executed("exact-limits.md", 6)
    measured = names["token_recovery"], names["as_system"]
    restored = {
        name: [restoration(*measured, names[name], names[split]) for split in ("training", "unseen")]
        for name in ("memory", "knowledge")
    }
    assert restored["memory"][0] > restored["knowledge"][0] + 0.3
    assert restored["memory"][1] < restored["knowledge"][1] - 0.05
    assert names["bias"].stationary > 0.01  # the naive rule's
    assert names["bias"].one_step > 0.001
    assert names["times"][-1] < names["times"][0]  # at large noise the root is faster
    assert (names["verdict"].difference.sel(load=0.6, estimate="high") < 0).any()
