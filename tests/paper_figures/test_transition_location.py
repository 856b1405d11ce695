"""Where memorization ends, as one figure has it of all systems, against what is known of it."""

from math import comb

import numpy as np
import pytest
import xarray as xr

from bridges import find_transition
from paper_figures import evidence, style
from paper_figures.evidence import GRAMMAR, SPINS, TEXT
from paper_figures.figures import perplexity, transition_location
from paper_figures.measure import memories
from paper_figures.workspace import Workspace

SIZES = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


@pytest.fixture(scope="module")
def ws(smoke_results):
    return Workspace(smoke_results, "smoke")


@pytest.fixture(scope="module")
def ds(ws):
    return transition_location.compute(ws)


def of(ds, system):
    """Its series."""
    return ds.isel(series=(ds.system == system).values)


def located(repeats=3, **curves):
    """Of text, from curves by mark: others than given meet, and peak, at 4."""
    x = np.log(SIZES / 4)
    every = {"recovery": transition_location.LEVEL - x, "gap": -(x**2), "perplexity": -(x**2)} | curves
    variables = {mark: (("repeat", "size"), np.tile(curve, (repeats, 1))) for mark, curve in every.items()}
    found = transition_location._located(xr.Dataset(variables, {"size": SIZES}))
    return found.expand_dims("series").assign_coords(system=("series", [TEXT]), scale=("series", [8]))


def drawn(found):
    with style.style():
        _, axes = style.figure(1, 1)
        transition_location._draw_locations(axes[0, 0], found, "width {}")
    return axes[0, 0]


def arrows(ax):
    return [line.get_marker() for line in ax.lines if line.get_marker() in ("<", ">")]


def test_locations_of_text_are_those_of_the_claim_and_of_the_figure_of_perplexities(ws, ds):
    text = of(ds, TEXT)
    crossing = evidence.model_size(ws).crossing.squeeze("system")
    assert text.scale.values.tolist() == crossing.width.values.tolist() == [16, 32, 48]
    np.testing.assert_array_equal(text.each.sel(mark="recovery").isel(repeat=slice(2)), crossing)
    peak = perplexity.compute(ws).peak
    np.testing.assert_allclose(text.location.sel(mark="perplexity"), peak)
    assert np.isfinite(peak.sel(width=32)).any()


def test_locations_of_spins_and_strings_are_from_the_recoveries_that_the_claims_are_of(ws, ds):
    recovery = evidence.recovery(ws).recovery.transpose("system", "split", "repeat", "size")
    for system, scale, unit in ((SPINS, 60, 60), (GRAMMAR, 2, 1)):
        found = recovery.sel(system=system).dropna("size", how="all").dropna("repeat", how="all")
        wanted = find_transition(found["size"].values / unit, *found.values)
        at = of(ds, system).swap_dims(series="scale").sel(scale=scale, mark="recovery")
        assert at.location.values == pytest.approx(wanted)


def test_another_length_is_another_memory_at_the_same_loads(ws, ds):
    assert ds.length.values.tolist() == of(ds, SPINS).scale.values.tolist() == [30, 60]
    assert ds.curve.sel(estimate="value").notnull().all()
    short = memories.Measured(ws, 1.0, 0, 30)
    assert {name: len(x.T) for name, x in short.data.items()} == dict.fromkeys(short.data, 30)
    assert len(short.data["patterns"]) == 30
    assert list(short.systems) == [memories.PSEUDO_LIKELIHOOD]
    assert ws.path(short.entropy()) != ws.path(memories.Measured(ws, 1.0, 0).entropy())
    features = round(0.15 * 30)
    assert ds.attrs["examples"] == comb(features, 3) * 2**3 == 32
    seen = {x.tobytes() for load in (1.0, 8.0) for x in memories.Measured(ws, load, 0, 30).data["patterns"]}
    assert len(seen) <= 32


def test_what_is_known_is_found():
    found = located()
    np.testing.assert_allclose(found.location, 4)
    np.testing.assert_allclose(found.each, 4)
    assert transition_location.findings(found)[0].count("at 4 [4, 4]") == 3
    assert arrows(drawn(found)) == []


@pytest.mark.parametrize(
    ("curve", "words", "arrow"),
    [(SIZES, "at or above the largest size [8, inf]", ">"), (-SIZES, "at or below the smallest size [0, 2]", "<")],
)
def test_what_has_no_peak_is_drawn_without_one(curve, words, arrow):
    found = located(perplexity=curve)
    assert transition_location.findings(found)[0].endswith(f"perplexity largest {words}")
    ax = drawn(found)
    assert arrows(ax) == [arrow]
    assert [text.get_text() for text in ax.texts] == [words.partition(" [")[0]]


def test_one_repeat_has_an_interval_without_ends():
    found = located(repeats=1)
    assert transition_location.findings(found)[0].count("at 4 [0, inf]") == 3
    assert arrows(drawn(found)) == ["<", ">"] * 3
