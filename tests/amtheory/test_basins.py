"""Basins: exact laws, reproducibility, intervals that cover, scaling of synthetic curves, known radii."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from amtheory import Hopfield, PerceptronMargin, PseudoInverse, PseudoLikelihood
from amtheory.basins import basin_curve, finite_size_scaling, measure_basin, radius, summary
from amtheory.patterns import biased_patterns, random_features, random_patterns

hopfield_curve = partial(basin_curve, Hopfield(), 9, 60, success=0.9)


def synthetic(rng, *, L=100, samples=30, trials=100, m_c=0.7, nu=2.0, shift=0.0, at_edge=0.0, grid=0.02):
    """Curves P_rec = Phi(at_edge + u), u = (m0 - m_c) L^(1/nu), binomial; m_c differs by N(0, shift^2) in samples."""
    m0 = np.arange(m_c - 0.25, min(m_c + 0.25, 1), grid)
    u = (m0 - m_c + shift * rng.standard_normal((samples, 1))) * L ** (1 / nu)
    p = rng.binomial(trials, ndtr(at_edge + u)) / trials
    return xr.Dataset({"recovered": (("sample", "initial_overlap"), p)}, {"initial_overlap": m0}, {"L": L})


@settings(max_examples=30)
@given(st.integers(2, 40), st.lists(st.floats(-1, 1), min_size=1, max_size=6), st.integers(0, 2**31))
def test_without_couplings_nothing_moves(L, m0, seed):
    patterns = random_patterns(3, L, rng=seed)
    curve = measure_basin(np.zeros((L, L)), patterns, m0, starts=2, rng=seed)
    actual = curve["initial_overlap"].values
    np.testing.assert_array_equal(curve["flips"], np.unique([round(L * (1 - m) / 2) for m in m0])[::-1])
    np.testing.assert_allclose(actual, 1 - 2 * curve["flips"].values / L, atol=1e-15)
    assert np.max([np.abs(actual - m).min() for m in m0]) <= 1 / L + 1e-12
    np.testing.assert_allclose(curve["final_overlap"], [actual], atol=1e-12)
    np.testing.assert_array_equal(curve["recovered"], [actual == 1])
    np.testing.assert_array_equal(curve["ending"].sel(status="fixed point"), 1)
    np.testing.assert_array_equal(curve["sweeps"], 1)


def test_a_stored_fixed_point_is_recovered_from_itself():
    x = random_patterns(3, 100, rng=0)
    memory = Hopfield().fit(x)
    assert (memory.stabilities(x) > 0).all()
    curve = measure_basin(memory, x, [0.9, 1.0], rng=0).sel(initial_overlap=1.0)
    assert curve["recovered"] == curve["final_overlap"] == 1


@pytest.mark.parametrize("update", ["parallel", "sequential", "typewriter"])
def test_endings_are_told_apart(update):
    """Ferromagnetic pairs keep a pattern, antiferromagnetic ones flip it for ever in parallel."""
    pair = np.array([[0, 1], [1, 0]])
    for sign, ending in ((1, "fixed point"), (-1, "2-cycle" if update == "parallel" else "fixed point")):
        curve = measure_basin(sign * pair, [[1, 1]], 1.0, update=update, rng=0)
        assert curve["ending"].sel(status=ending) == 1
    ring = np.roll(np.eye(3), 1, axis=0)
    curve = measure_basin(ring, [[1, 1, -1]], 1.0)
    assert curve["ending"].sel(status="longer cycle") == 1
    assert measure_basin(ring, [[1, 1, -1]], 1.0, max_sweeps=2)["ending"].sel(status="unfinished") == 1


def test_endings_sum_to_one_and_overlaps_grow():
    curve = basin_curve(Hopfield(), 21, 100, np.linspace(0, 1, 6), samples=3, rng=1, max_sweeps=4)
    np.testing.assert_allclose(curve["ending"].sum("status"), 1, atol=1e-12)
    assert (curve["ending"].sel(status="unfinished") > 0).any()
    assert (curve["final_overlap"].mean("sample").diff("initial_overlap") > 0).all()


def test_results_do_not_depend_on_processes_samples_or_other_overlaps():
    curve = hopfield_curve([0.2, 0.6, 1.0], samples=4, patterns_per_sample=5, update="sequential", rng=7)
    again = hopfield_curve([0.2, 0.6, 1.0], samples=4, patterns_per_sample=5, update="sequential", rng=7, n_jobs=2)
    assert curve.identical(again)
    part = hopfield_curve([0.6], samples=2, patterns_per_sample=5, update="sequential", rng=7)
    xr.testing.assert_equal(part, curve.sel(initial_overlap=[0.6]).isel(sample=[0, 1]))
    other = hopfield_curve([0.6], samples=2, patterns_per_sample=5, update="sequential", rng=8)
    assert not part.equals(other)
    assert not part.isel(sample=0).equals(part.isel(sample=1))


def test_the_recorded_seed_repeats_a_run():
    curve = hopfield_curve([0.2, 0.6], samples=2)
    assert curve.identical(hopfield_curve([0.2, 0.6], samples=2, rng=curve.attrs["seed"]))
    generator = np.random.default_rng(0)
    assert not hopfield_curve(0.2, samples=1, rng=generator).equals(hopfield_curve(0.2, samples=1, rng=generator))


def test_attributes_say_how_it_was_made(tmp_path):
    features = partial(random_features, D=5)
    memory = PseudoLikelihood(ridge=0.1)
    curve = basin_curve(memory, 4, 20, 0.5, samples=1, starts=3, ensemble=features, rng=3)
    expected = {"P": 4, "L": 20, "load": 0.2, "samples": 1, "patterns_per_sample": 4, "starts": 3, "seed": 3}
    expected |= {"update": "parallel", "max_sweeps": 300, "success": 1.0, "ensemble": "random_features(D=5)"}
    assert "ridge=0.1" in repr(memory)
    assert curve.attrs == expected | {"rule": repr(memory)}
    curve.to_netcdf(tmp_path / "curve.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "curve.nc", engine="h5netcdf") as saved:
        xr.testing.assert_equal(saved.load(), curve)
        assert saved.attrs == curve.attrs


def test_the_rule_given_is_not_touched_and_the_ensemble_is_used():
    rule = Hopfield()
    curve = basin_curve(rule, 5, 50, 0.8, samples=2, ensemble=partial(biased_patterns, bias=0.9), rng=0)
    assert vars(rule) == {}
    assert not curve.equals(basin_curve(rule, 5, 50, 0.8, samples=2, rng=0))


def test_summary_has_means_standard_errors_and_intervals():
    curve = hopfield_curve([0.1, 0.5, 1.0], samples=6, rng=0)
    result = summary(curve)
    for name in ("final_overlap", "recovered", "sweeps"):
        values = curve[name].values
        np.testing.assert_allclose(result[name].sel(estimate="value"), values.mean(axis=0))
        np.testing.assert_allclose(result[name].sel(estimate="standard_error"), values.std(axis=0, ddof=1) / 6**0.5)
    assert result["ending"].dims == ("estimate", "initial_overlap", "status")
    np.testing.assert_allclose(
        result["sweeps"].sel(estimate="high") - result["sweeps"].sel(estimate="value"),
        2.570582 * result["sweeps"].sel(estimate="standard_error"),  # Student's t with 5 degrees of freedom
        rtol=1e-6,
    )
    for name in ("recovered", "ending"):
        low, value, high = (result[name].sel(estimate=e) for e in ("low", "value", "high"))
        assert ((low >= 0) & (low <= value) & (value <= high) & (high <= 1)).all()
        assert (low < high).all()
    alone = summary(curve.isel(sample=[0]))["recovered"]
    assert np.isfinite(alone.sel(estimate="value")).all()
    assert np.isnan(alone.sel(estimate=["standard_error", "low", "high"])).all()


def test_unanimous_samples_get_wilsons_interval():
    """For 0 of n trials it ends at z^2 / (n + z^2)."""
    p = np.tile([0.0, 1.0, 0.3], (10, 1))
    curve = xr.Dataset({"recovered": (("sample", "initial_overlap"), p)}, {"initial_overlap": [0.1, 0.5, 0.9]})
    low, high = summary(curve)["recovered"].sel(estimate=["low", "high"]).values
    end = 1.959964**2 / (10 + 1.959964**2)
    np.testing.assert_allclose([low[0], high[0], low[1], high[1]], [0, end, 1 - end, 1], atol=1e-6)
    assert low[2] < 0.2
    assert high[2] > 0.5


@pytest.mark.statistical(alarm=0.01)
def test_intervals_of_fractions_cover(seed):
    """Beta-binomial P_rec in 400 sets of 10 samples: 95 % intervals cover 92 to 98 %.

    Negative control: the same trials, all taken as independent samples, give intervals that cover less than 80 %.
    """
    rng = np.random.default_rng(seed(0))

    def covered(values):
        low, high = summary(
            xr.Dataset({"recovered": (("sample", "initial_overlap"), values)}, {"initial_overlap": np.arange(400)})
        )["recovered"].sel(estimate=["low", "high"])
        return np.mean((low <= 0.4) & (high >= 0.4))

    trials = rng.random((20, 10, 400)) < rng.beta(4, 6, (10, 400))
    assert 0.92 <= covered(trials.mean(axis=0)) <= 0.98
    assert covered(trials.reshape(200, 400).astype(float)) < 0.8


def test_radius_interpolates_a_monotone_curve():
    curve = xr.Dataset(
        {"recovered": (("sample", "initial_overlap"), [[0.0, 0.2, 0.4, 0.8, 1.0]])},
        {"initial_overlap": [0.5, 0.6, 0.7, 0.8, 0.9]},
    )
    value, low, high = radius(curve)
    assert value == pytest.approx((1 - 0.725) / 2)
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("p", [[0.0, 0.1, 0.49], [0.51, 0.8, 1.0]])
def test_radius_beyond_the_measured_overlaps_is_nan_and_said(p):
    curve = xr.Dataset({"recovered": (("sample", "initial_overlap"), [p, p])}, {"initial_overlap": [0.5, 0.6, 0.7]})
    with pytest.warns(UserWarning, match=r"P_rec = 1/2 is not reached between m0 = 0.5 and 0.7"):
        assert np.isnan(radius(curve)).all()


def test_an_interval_that_leaves_the_measured_overlaps_is_open():
    curve = xr.Dataset(
        {"recovered": (("sample", "initial_overlap"), [[0.0, 0.3], [0.1, 0.9], [0.2, 0.8], [0.1, 0.4]])},
        {"initial_overlap": [0.5, 0.6]},
    )
    value, low, high = radius(curve, rng=0)
    assert np.isnan(low)
    assert value < high < 0.25


@pytest.mark.statistical(alarm=0.02)
def test_intervals_of_the_radius_cover(seed):
    """150 sets of 12 disorder samples: 95 % intervals cover 90 to 99 %.

    Negative control: 12 groups of trials that ignore which sample they come from cover less than 80 %.
    """
    rng = np.random.default_rng(seed(1))
    good = bad = 0
    for _ in range(150):
        curve = synthetic(rng, samples=12, trials=40, shift=0.03)
        low, high = radius(curve, resamples=400, rng=rng)[1:]
        good += low <= 0.15 <= high
        p = curve["recovered"].values.mean(axis=0)
        mixed = curve.assign(recovered=(("sample", "initial_overlap"), rng.binomial(40, p, (12, len(p))) / 40))
        low, high = radius(mixed, resamples=400, rng=rng)[1:]
        bad += low <= 0.15 <= high
    assert 135 <= good <= 148
    assert bad < 120


@pytest.mark.statistical(alarm=2e-3)
def test_scaling_recovers_the_edge_and_the_exponent(seed):
    """20 sets with P_rec = 0.62 at the edge: coverage of 95 % intervals at least 15 of 20."""
    rng = np.random.default_rng(seed(2))
    covered = np.zeros(4)
    ratios = []
    for _ in range(20):
        curves = [synthetic(rng, L=L, nu=2.5, at_edge=0.3, trials=400) for L in (400, 100, 200)]
        result = finite_size_scaling(curves, nu=None, resamples=100, rng=rng)
        assert result.sizes == (100, 200, 400)
        truths = (0.7, 0.7, 0.7, 2.5)
        estimates = (*result.crossings, result.critical_overlap, result.nu)
        covered += [low <= truth <= high for truth, (_, low, high) in zip(truths, estimates)]
        assert result.critical_overlap.value == pytest.approx(0.7, abs=0.01)
        assert result.nu.value == pytest.approx(2.5, abs=0.3)
        ratios.append(result.chi2 / result.degrees_of_freedom)
    assert (covered >= 15).all()
    assert 0.8 < np.mean(ratios) < 1.3


@pytest.mark.statistical(alarm=1e-3)
def test_a_wrong_exponent_and_sizes_without_a_common_crossing_are_seen_in_chi2(seed):
    rng = np.random.default_rng(seed(3))
    curves = [synthetic(rng, L=L, nu=4.0, trials=400) for L in (100, 200, 400)]
    right, wrong = (finite_size_scaling(curves, nu=nu, resamples=2, rng=0) for nu in (4.0, 1.5))
    assert right.chi2 < 2 * right.degrees_of_freedom
    assert wrong.chi2 > 5 * wrong.degrees_of_freedom
    assert wrong.nu == (1.5, pytest.approx(np.nan, nan_ok=True), pytest.approx(np.nan, nan_ok=True))
    drifting = [synthetic(rng, L=L, m_c=m_c, trials=400) for L, m_c in ((100, 0.7), (200, 0.6), (400, 0.66))]
    result = finite_size_scaling(drifting, resamples=2, rng=0)
    assert result.chi2 > 5 * result.degrees_of_freedom


def test_parallel_curves_do_not_cross():
    rng = np.random.default_rng(4)
    curves = [synthetic(rng, L=100, m_c=m_c, trials=10**6) for m_c in (0.7, 0.6)]
    curves[1].attrs["L"] = 200
    assert np.isnan(finite_size_scaling(curves, resamples=10, rng=0).crossings[0]).all()


@pytest.mark.statistical(alarm=0.01)
@pytest.mark.parametrize(
    ("rule", "known"),
    [
        pytest.param(PseudoInverse(), 0.095, id="pseudo-inverse"),
        pytest.param(PerceptronMargin(), 0.13, id="maximal margin"),
        pytest.param(
            *(PseudoLikelihood(beta_norm=2.0, tolerance=1e-3), 0.16), id="pseudo-likelihood", marks=pytest.mark.long
        ),
    ],
)
def test_known_radii(rule, known, seed):
    """Load 1/2, L = 400, parallel: independently measured radii. The largest margin does not have the largest basin."""
    m0 = 1 - 2 * known + np.arange(-0.08, 0.09, 0.02)
    curve = basin_curve(rule, 200, 400, m0, samples=4, patterns_per_sample=50, starts=2, rng=seed(0))
    value, low, high = radius(curve, rng=seed(0))
    assert value == pytest.approx(known, abs=0.01)
    assert high - low < 0.02


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: basin_curve(Hopfield, 3, 9, 0.5), TypeError, "`rule` must be a memory with a method fit"),
        (lambda: basin_curve(np.eye(3), 3, 9, 0.5), TypeError, "`rule` must be a memory with a method fit"),
        (lambda: basin_curve(Hopfield(), 0, 9, 0.5), ValueError, "`P` must be at least 1, got 0"),
        (lambda: hopfield_curve(1.5), ValueError, r"`m0` must be in \[-1, 1\], got 1.5"),
        (lambda: hopfield_curve([0.5, np.nan]), ValueError, r"`m0` must be in \[-1, 1\]"),
        (lambda: hopfield_curve([]), ValueError, r"`m0` must be in \[-1, 1\], got \[\]"),
        (lambda: hopfield_curve("high"), ValueError, r"`m0` must be in \[-1, 1\], got 'high'"),
        (lambda: hopfield_curve(0.5, success=95), ValueError, r"`success` must be in \[-1, 1\], got \[95\]"),
        (lambda: hopfield_curve(0.5, samples=0), ValueError, "`samples` must be at least 1, got 0"),
        (lambda: hopfield_curve(0.5, patterns_per_sample=10), ValueError, r"`patterns_per_sample` must be in \[1, 9\]"),
        (lambda: hopfield_curve(0.5, starts=0), ValueError, "`starts` must be at least 1, got 0"),
        (lambda: hopfield_curve(0.5, update="random"), ValueError, "`update` must be one of 'parallel'"),
        (lambda: hopfield_curve(0.5, max_sweeps=0), ValueError, "`max_sweeps` must be at least 1, got 0"),
        (lambda: hopfield_curve(0.5, rng="a"), TypeError, "`rng` must be None, an integer >= 0 or"),
        (
            lambda: hopfield_curve(0.5, ensemble=lambda P, L, rng: random_patterns(P + 1, L, rng=rng)),
            ValueError,
            r"`ensemble` must return spins of shape \(9, 60\), got shape \(10, 60\)",
        ),
        (lambda: measure_basin(np.eye(3), [[1, -1]], 0.5), ValueError, "`patterns` must have 3 spins"),
        (lambda: measure_basin(np.ones((2, 3)), [[1, -1]], 0.5), ValueError, "must be a square matrix"),
        (lambda: radius(synthetic(np.random.default_rng(0)), confidence=95), ValueError, r"`confidence` .* got 95"),
        (
            lambda: radius(synthetic(np.random.default_rng(0)), resamples=0),
            ValueError,
            "`resamples` must be at least 1",
        ),
        (
            lambda: finite_size_scaling([synthetic(np.random.default_rng(0))] * 2),
            ValueError,
            r"`curves` must be of two or more different sizes L, got \[100, 100\]",
        ),
        (
            lambda: finite_size_scaling([synthetic(np.random.default_rng(0), L=L, grid=0.2) for L in (100, 200)]),
            ValueError,
            r"`curves` must have more points with P_rec within \(0.05, 0.95\)",
        ),
        (
            lambda: finite_size_scaling([synthetic(np.random.default_rng(0), L=L) for L in (9, 99)], window=(1, 0)),
            ValueError,
            "`window` must be two numbers 0 <= low < high <= 1",
        ),
        (
            lambda: finite_size_scaling([synthetic(np.random.default_rng(0), L=L) for L in (9, 99)], nu=-1),
            ValueError,
            "`nu` must be a finite number > 0, got -1",
        ),
        (
            lambda: finite_size_scaling([synthetic(np.random.default_rng(0), L=L) for L in (9, 99)], nu=1e-300),
            ValueError,
            "`nu` must be at least 0.1, got 1e-300",
        ),
        (
            lambda: finite_size_scaling([synthetic(np.random.default_rng(0), L=L) for L in (9, 99)], window=0.5),
            ValueError,
            r"`window` must have 1 dimension\(s\), got shape \(\)",
        ),
        (lambda: radius(xr.Dataset()), ValueError, "`curves` must be of `basin_curve` or `measure_basin`"),
        (lambda: basin_curve(Hopfield(), 3, 8, 0.5, ensemble=1), TypeError, "`ensemble` must be a function, got 1"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_interrupt_ends_all_processes():
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"  # ignored under a shell's "&"
        "from amtheory import Hopfield, basins; print('ready', flush=True);"
        "basins.basin_curve(Hopfield(), 100, 1000, [0.1] , samples=10**6, rng=0, n_jobs=2)"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(4)  # the workers are up, or starting
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    deadline = time.monotonic() + 20
    while group_is_alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def group_is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
