"""The measurements behind claims C1 to C4 and C12 to C14: what must hold whatever the disorder, and what the claims
ask for."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from amtheory import Couplings, Hopfield, PerceptronMargin
from amtheory import pseudolikelihood as library
from amtheory.patterns import overlap, random_patterns
from amtheory.retrieval import retrieve
from amtheory.theory import random_features as theory
from bridges.claims import CLAIMS
from paper_figures.figures import am_features, am_margins
from paper_figures.measure import margins
from paper_figures.presets import PRESETS
from paper_figures.workspace import Workspace

SMOKE = PRESETS["smoke"].margins
DECIDED = ("C1", "C2", "C3", "C4", "C12", "C13", "C14")
OF = {"C1": margins.identity_tasks, "C12": margins.feature_tasks}


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    """With all cells made."""
    ws = Workspace(tmp_path_factory.mktemp("margins"), "smoke")
    for task in margins.tasks(ws):
        for cell in task.cells(ws):
            ws.get(cell)
    return ws


def changed(ws, **changes):
    other = Workspace(ws.folder, "smoke", seed=ws.seed)
    other.preset = replace(other.preset, margins=replace(SMOKE, **changes))
    return other


def paths(ws):
    return {ws.path(cell).name for task in margins.tasks(ws) for cell in task.cells(ws)}


def dataset(ws, name):
    """What decides a claim, with the half of C2 that is measured on networks."""
    found = getattr(margins, f"claim_{name}")(ws)
    if name == "C2":
        coords = {"system": ["text"], "repeat": found.repeat}
        networks = xr.DataArray(np.ones((1, SMOKE.disorder)), coords, ("system", "repeat"), "recovery_excess")
        found = xr.merge([found, networks], join="outer")
    return found


@pytest.mark.parametrize("name", DECIDED)
def test_each_claim_gets_what_it_needs_from_its_tasks_alone(ws, name, monkeypatch):
    own = OF.get(name, margins.pattern_tasks)(ws)
    there = {ws.path(cell) for task in own for cell in task.cells(ws)}
    get = Workspace.get

    def reading(self, cell):
        assert self.path(cell) in there
        return get(self, cell._replace(make=pytest.fail))

    monkeypatch.setattr(Workspace, "get", reading)
    found = dataset(ws, name)
    for variable, dims in CLAIMS[name].needs.items():
        assert set(found[variable].dims) == set(dims)
        assert found[variable].notnull().any()
    outcome = CLAIMS[name].decide(found)
    assert len(outcome.findings) > 0
    expected = margins.INSTANCES if name == "C1" else SMOKE.disorder
    assert {finding.repeats for finding in outcome.findings if finding.repeats} == {expected}


def test_the_gradient_by_complex_steps_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    x, W, beta, h = random_patterns(7, 6, rng=rng), rng.standard_normal((6, 6)), 0.7, 1e-5
    np.fill_diagonal(W, 0)
    found = margins._complex_steps(W, x, beta)
    for i, j in ((0, 3), (5, 1)):
        step = np.zeros_like(W)
        step[i, j] = h
        # the third derivative is at most 4: an error of (4 / 6) h^2, and rounding of 1e-16 / h
        difference = (library.loss(W - step, x, beta) - library.loss(W + step, x, beta)) / (2 * h)
        assert found[i, j] == pytest.approx(difference, abs=1e-9)
    assert not found.diagonal().any()


def test_a_wrong_gradient_is_seen(ws, monkeypatch):
    """Negative control: a gradient that is off by 1e-9 refutes C1."""
    right = library.gradient
    monkeypatch.setattr(library, "gradient", lambda *arguments: right(*arguments) * (1 + 1e-9))
    errors = [float(margins.gradient(ws, k).make().gradient_error) for k in range(3)]
    assert min(errors) > 1e-10
    assert float(ws.get(margins.gradient(ws, 0)).gradient_error) < 1e-13


def test_no_margin_is_beyond_the_largest_and_norms_lead_to_it(ws):
    largest, rules, path = margins.largest(ws), margins.rules(ws), margins.path(ws)
    assert (rules.stability <= largest + 1e-6).all()
    assert (path.stability <= largest + 1e-6).all()
    assert (path.stability.diff("beta_norm") > 0).all()
    np.testing.assert_allclose(path.norm, np.broadcast_to(SMOKE.norms, path.norm.shape), rtol=1e-9)
    measured = margins.Measured(ws, SMOKE.loads[0], 1)
    own = PerceptronMargin().fit(measured.patterns).stabilities(measured.patterns).min()
    assert float(largest.sel(load=SMOKE.loads[0], repeat=1)) == pytest.approx(own, rel=1e-12)


def test_gradient_descent_starts_at_hebb_and_follows_the_loss(ws):
    measured = margins.Measured(ws, SMOKE.loads[0], 0)
    found = ws.get(measured.training())
    W = Hopfield().fit(measured.patterns).couplings_
    W = W - SMOKE.rate / SMOKE.length * library.gradient(W, measured.patterns, 1.0)
    first = Couplings(W)
    assert float(found.norm[0]) == pytest.approx(first.norms_.mean(), rel=1e-12)
    assert float(found.stability[0]) == pytest.approx(first.stabilities(measured.patterns).min(), rel=1e-9)
    assert found.step.values[[0, -1]].tolist() == [1, SMOKE.steps]
    assert (found.norm.diff("step") > 0).all()


def test_the_radius_is_the_mean_share_of_flips_that_is_tolerated(ws):
    """One pattern alone attracts every state of positive overlap, from the smallest that is measured, .05, on."""
    measured = margins.Measured(ws, 1 / SMOKE.length, 0)
    radius = measured._measure(Hopfield().fit(measured.patterns), ["parallel"]).radius
    assert 0.475 <= float(radius[0]) <= 0.5
    every = margins.rules(ws).radius.sel(dynamics="parallel")
    assert (every.sel(rule="random") < 0.05).all()
    assert (every.sel(rule="pseudo-inverse", load=0.25) > 0.2).all()


def test_twins_share_their_symmetric_part(ws):
    measured = margins.Measured(ws, SMOKE.loads[1], 0)
    for rule in margins.ASYMMETRIC:
        learned, twin = (measured.memories[name] for name in (rule, f"{rule}, symmetrised"))
        assert twin.asymmetry() == 0
        assert learned.asymmetry() > 0
        np.testing.assert_allclose(twin.couplings_, (learned.couplings_ + learned.couplings_.T) / 2)
    random, pseudo = measured.memories["random"], measured.memories["pseudo-likelihood"]
    np.testing.assert_allclose(random.norms_, pseudo.norms_)
    assert not random.couplings_.diagonal().any()
    assert pseudo.norms_.mean() == pytest.approx(measured.memories["nelbo"].norms_.mean(), rel=1e-9)


def test_sequential_basins_are_of_the_bound_and_its_rival_alone(ws):
    there = margins.rules(ws).radius.sel(dynamics="sequential").notnull().all(["load", "repeat"])
    assert set(there.rule.values[there.values]) == set(margins.BOUNDS)


@pytest.mark.parametrize(("load", "stable"), [(0.005, False), (10.0, True)])
def test_features_are_attractors_of_many_examples_and_not_of_one(ws, load, stable):
    found = margins.retrieval(ws, load, 0).make().overlap
    assert (found.sel(system=["features", "unseen examples"]) > 0.99).all() == stable
    # by hand: where sequential dynamics leads from the features, which does not depend on the order at a fixed point
    if stable:
        seed = ws.keyed_seed("features", round(load * SMOKE.feature_length), 0)
        D = round(SMOKE.features * SMOKE.feature_length)
        x, features, _ = margins.random_features(round(load * SMOKE.feature_length), SMOKE.feature_length, D, rng=seed)
        final, _ = retrieve(Hopfield().fit(x), features)
        assert float(found.sel(system="features")) == pytest.approx(overlap(final, features).mean())


def test_spinodals_are_of_the_features_that_there_are(ws):
    alpha_D = 4 / 200
    assert margins.features_load(ws) == alpha_D
    learned, mixed, nothing = margins.spinodals(ws).values
    assert learned == theory.learning_load(alpha_D) < theory.generalization_load(alpha_D, 3) == mixed
    assert np.isnan(nothing)


PATTERN_CELLS, FEATURE_CELLS = 2 * 3 * 3, 2 * 3


@pytest.mark.parametrize(
    ("changes", "new"),
    [
        ({"loads": (0.25, 0.5, 1.0)}, 3 * 3),
        ({"disorder": 4}, 2 * 3 + 2),
        ({"feature_loads": (0.1, 1.0, 2.0)}, 3),
        ({"norms": (1.0, 2.0, 8.0)}, 2 * 3),
        ({"steps": 51}, 2 * 3),
        ({"rate": 1.0}, 2 * 3),
        ({"length": 25}, PATTERN_CELLS),
        ({"feature_length": 201}, FEATURE_CELLS),
        ({"features": 0.025}, FEATURE_CELLS),
        ({"mixed": 1}, FEATURE_CELLS),
        ({"probes": 5}, 2 * 2 * 3 + FEATURE_CELLS),
    ],
    ids=str,
)
def test_what_determines_numbers_is_in_the_key_and_nothing_else(ws, changes, new):
    assert len(paths(ws)) == PATTERN_CELLS + FEATURE_CELLS + 1 + margins.INSTANCES
    assert len(paths(changed(ws, **changes)) - paths(ws)) == new


def test_cells_are_functions_of_their_keys(ws):
    """Made again, alone and in another order, they are the same; repeats differ."""
    again = Workspace(ws.folder, "smoke")
    for cell in reversed(margins.on_patterns(again, (SMOKE.loads[1], 2))):
        xr.testing.assert_identical(cell.make().drop_attrs(), ws.get(cell).drop_attrs())
    one, other = (margins.Measured(ws, SMOKE.loads[1], repeat).patterns for repeat in (0, 1))
    assert (one != other).any()
    cell = margins.retrieval(again, SMOKE.feature_loads[1], 2)
    xr.testing.assert_identical(cell.make(), ws.get(cell))


def test_figures_show_what_decides(ws):
    drawn, learned = am_margins.compute(ws), am_features.compute(ws)
    ratio = margins.claim_C3(ws).margin_ratio.mean("repeat")
    np.testing.assert_allclose(drawn.margin.sel(estimate="value"), ratio)
    difference = margins.claim_C14(ws).radius.diff("rule").squeeze("rule").mean("repeat")
    np.testing.assert_allclose(-drawn.versus_likelihood.sel(estimate="value").transpose(*difference.dims), difference)
    overlaps = margins.claim_C12(ws).overlap.mean("repeat").sel(system="features")
    np.testing.assert_allclose(learned.overlap.sel(estimate="value", system="features"), overlaps)
    features = learned.sel(system="features")
    np.testing.assert_array_equal(features.theory.notnull(), features.theory_load > float(features.spinodal))
