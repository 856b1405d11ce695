"""The figures that show memories of random patterns beside their theory."""

import re
from dataclasses import replace
from math import comb

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom

from amtheory import Hopfield, retrieve
from amtheory.patterns import overlap, random_patterns
from amtheory.theory import channel, gardner, hopfield, pseudolikelihood
from paper_figures.figures import theory_empirical_bayes, theory_gardner, theory_hopfield, theory_pseudolikelihood
from paper_figures.measure import theory
from paper_figures.presets import PRESETS
from paper_figures.workspace import Workspace

SMOKE = PRESETS["smoke"].theory
FIGURES = {
    theory_hopfield: ["theory"],
    theory_gardner: ["margin_theory", "on_margin_theory", "separable_theory"],
    theory_pseudolikelihood: ["mean_theory", "variance_theory", "first_step_theory"],
    theory_empirical_bayes: ["best_theory", "weight_theory"],
}


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("theory"), "smoke")


@pytest.fixture(scope="module")
def drawn(ws):
    """The datasets of the figures."""
    return {figure: figure.compute(ws) for figure in FIGURES}


def changed(ws, **changes):
    other = Workspace(ws.folder, "smoke", seed=ws.seed)
    other.preset = replace(other.preset, theory=replace(SMOKE, **changes))
    return other


# --- what is measured --------------------------------------------------------------------------------


def test_few_patterns_are_retrieved_and_many_are_not(drawn):
    m = drawn[theory_hopfield].overlap.sel(estimate="value")
    assert float(m.sel(load=0.02, temperature=0)) == 1, "6 patterns of 300 spins: crosstalk flips one with p < 1e-11"
    assert (m.sel(load=0.02) > 0.95).all()
    assert float(m.sel(load=0.16, temperature=0.4)) < 0.7


def test_at_zero_temperature_the_overlap_is_that_of_the_fixed_point(ws):
    """Found again from the same patterns: after half of the sweeps nothing moves, so that the mean over the others is
    the overlap of a fixed point."""
    P = round(0.12 * SMOKE.hopfield_length)
    seed = ws.keyed_seed("theory", "hopfield", P, 1)
    x = random_patterns(P, SMOKE.hopfield_length, rng=seed)
    final, info = retrieve(Hopfield().fit(x), x[: SMOKE.probes], update="sequential", rng=seed)
    assert info.converged.all()
    assert info.sweeps.max() <= SMOKE.sweeps // 2
    measured = theory.hopfield(ws, (0.12, 1))[SMOKE.temperatures.index(0.0)].make()
    assert float(measured.overlap) == pytest.approx(overlap(final, x[: SMOKE.probes]).mean(), abs=1e-12)
    assert float(measured.overlap) < 1, "negative control: it moved"


def test_neurons_of_few_patterns_are_separated_and_couplings_found_count_among_the_possible(drawn):
    ds = drawn[theory_gardner].sel(estimate="value")
    assert (ds.separated.sel(load=[0.5, 1.0]) == 1).all()
    assert not (ds.separated > ds.separable).any()
    assert (ds.margin > 0).sum() == (ds.separated == 1).sum()


def test_stabilities_of_the_fits_have_their_density(drawn):
    ds = drawn[theory_pseudolikelihood]
    width = float(ds.stability[1] - ds.stability[0])
    for density, mean in ((ds.density, ds["mean"].sel(estimate="value")), (ds.density_theory, ds.mean_theory)):
        total = density.sum("stability") * width
        np.testing.assert_allclose(total, 1, atol=0.01)
        np.testing.assert_allclose((density * ds.stability).sum("stability") * width, mean, atol=0.02)


@pytest.mark.statistical(alarm=1e-6)
def test_the_right_sequence_is_found_as_often_as_it_should(ws, seed):
    """One noisy sequence of each of many data sets: the number of right ones is binomial. The negative control is the
    probability at another noise."""
    n, rate, length, t = 600, 0.25, 8, 0.5
    one = changed(ws, noise=(t,), noisy=1)
    one.seed = seed(0)
    found = xr.concat([theory.code(one, (rate, length, k))[0].make() for k in range(n)], "repeat").squeeze("noise")
    P = theory.sequences(rate, length)
    right = int(found.best.sum())

    def p_value(alpha):
        law = binom(n, channel.retrieval_probability(P, length, SMOKE.letters, alpha))
        return 2 * min(law.cdf(right), law.sf(right - 1))

    assert p_value(1 - t) > 1e-6
    assert p_value(0.8) < 1e-9


# --- what theory says --------------------------------------------------------------------------------


def test_overlaps_are_those_of_the_order_parameters(drawn):
    ds = drawn[theory_hopfield]
    loads, temperatures = xr.broadcast(ds["load"], ds.temperature)  # whole numbers of patterns
    np.testing.assert_allclose(ds.theory.transpose(*loads.dims), hopfield.order_parameters(loads, temperatures).m)
    end = ds.isel(point=-1)
    assert float(end.line_load.sel(temperature=0)) == pytest.approx(0.1379055665, abs=1e-9), (
        "Amit, Gutfreund and Sompolinsky 1987, to more digits"
    )
    assert float(end.line_overlap.sel(temperature=0)) == pytest.approx(0.9674171155, abs=1e-4)
    assert float(hopfield.spinodal_temperature(end.line_load.sel(temperature=0.4))) == pytest.approx(0.4, abs=1e-4)
    assert (ds.first_order <= ds.spinodal).all()


def test_margins_are_those_of_the_capacity(drawn):
    ds = drawn[theory_gardner]
    kappa = ds.margin_theory.sel(inputs=40, load=[0.5, 1.0])
    np.testing.assert_allclose(gardner.capacity(kappa), [0.5, 1.0])
    np.testing.assert_allclose(gardner.capacity(ds.line_margin), ds.line_load)
    atoms = [gardner.stability_distribution(load).weights[-1] for load in (0.5, 1.0)]
    np.testing.assert_allclose(ds.on_margin_theory.sel(inputs=40, load=[0.5, 1.0]), atoms)


def test_separable_neurons_are_counted_as_by_cover(drawn):
    N, P = 12, 24
    expected = sum(comb(P - 1, k) for k in range(N)) / 2 ** (P - 1)
    assert float(drawn[theory_gardner].separable_theory.sel(inputs=N, load=2.0)) == pytest.approx(expected)
    assert expected == 0.5


def test_replica_curves_are_those_of_the_library(ws, drawn):
    ds = drawn[theory_pseudolikelihood].isel(load=0)
    for name in ("norm", "line_norm"):
        expected = pseudolikelihood.stability(0.5, ds[name])
        mean, variance = (f"{'line_' if name != 'norm' else ''}{what}" for what in ("mean", "variance"))
        after = "_theory" if name == "norm" else ""
        np.testing.assert_allclose(ds[mean + after], expected.mean)
        np.testing.assert_allclose(ds[variance + after], expected.variance)
    assert theory.start_overlap(ws) == pytest.approx(SMOKE.start_overlap, abs=1 / (SMOKE.likelihood_inputs + 1))


def test_the_posterior_collapses_at_the_capacity(drawn):
    ds = drawn[theory_empirical_bayes]
    np.testing.assert_allclose(channel.capacity(1 - ds.collapse, SMOKE.letters), ds.true_rate)
    np.testing.assert_allclose(ds.capacity, channel.capacity(1 - ds.line_noise, SMOKE.letters))
    for rate, length in ((0.1, 16), (0.25, 8)):
        at = ds.sel(rate=rate, length=length)
        expected = channel.posterior_weight(int(at.sequences), length, SMOKE.letters, 1 - ds.noise.values)
        np.testing.assert_allclose(at.weight_theory, expected)
    assert (ds.weight_theory <= ds.best_theory).all(), "no sample is right more often than the best"


# --- what is told ------------------------------------------------------------------------------------


def test_a_deviation_is_told_where_it_is_largest():
    values = xr.DataArray(
        [[0.5, 0.4, 0.6], [0.9, 0.8, 1.0]], {"load": [1.0, 2.0], "estimate": ["value", "low", "high"]}
    )
    expected = xr.DataArray([0.5, 1.0], {"load": [1.0, 2.0]})
    # Student's quantile for 4 samples is 3.182, so that a half-width of 0.1 is a standard error of 0.0314
    assert (
        theory.deviation(values, expected, 4) == "-0.1 at load 2, -3.2 standard errors; -0.05 in the mean of 2 places"
    )
    assert theory.deviation(values, expected.where(expected < 1), 4).startswith("+0 at load 1")
    exact = values.sel(load=[1.0]).copy(data=[[0.5] * 3])
    assert theory.deviation(exact, expected, 4) == "+0 at load 1", "no error is known"


@pytest.mark.parametrize(("figure", "name"), [(figure, name) for figure, names in FIGURES.items() for name in names])
def test_theory_that_is_off_is_noticed(drawn, figure, name):
    """Findings tell of a shift by 1, more than twice what deviates at this size."""
    ds = drawn[figure]
    before, after = figure.findings(ds), figure.findings(ds.assign({name: ds[name] + 1}))

    def largest(lines):
        return max(
            abs(float(number)) for number in re.findall(r"([+-][\d.e+-]+) at (?:load|norm|rate)", " ".join(lines))
        )

    assert largest(before) < 0.5 <= largest(after)


@pytest.mark.parametrize("name", PRESETS)
def test_loads_are_whole_numbers_of_patterns(name):
    """So that what is measured stands where it is drawn."""
    settings = PRESETS[name].theory
    grids = [(settings.hopfield_length, settings.hopfield_loads), *settings.perceptrons.items()]
    for size, loads in [*grids, (settings.likelihood_inputs, settings.likelihood_loads)]:
        np.testing.assert_allclose(np.multiply(size, loads), np.round(np.multiply(size, loads)), atol=1e-9)
