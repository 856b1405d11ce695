"""Maximal stability: certificates, brute force, independent solvers, Gardner's theory, symmetries."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, linprog, minimize
from scipy.stats import norm

from amtheory import PerceptronMargin
from amtheory.patterns import random_patterns


def quietly(memory, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return memory.fit(x)


def enumerated_margin(x, row):
    """The largest margin of a row from the equality-constrained solution on each subset of patterns; 0 if none."""
    z = np.delete(x * x[:, [row]], row, axis=1).astype(float)
    best = 0.0
    for size in range(1, min(z.shape) + 1):
        for subset in itertools.combinations(range(len(z)), size):
            w = np.linalg.pinv(z[list(subset)]) @ np.ones(size)
            if np.linalg.norm(w) > 0:
                best = max(best, (z @ w).min() / np.linalg.norm(w))
    return best


def separable(x, row):
    """Whether some w has x_l (w . x) >= 1 on all patterns: a linear programme."""
    z = np.delete(x * x[:, [row]], row, axis=1)
    return linprog(np.zeros(z.shape[1]), A_ub=-z, b_ub=-np.ones(len(z)), bounds=(None, None)).status == 0


@settings(max_examples=40, deadline=None)
@given(P=st.integers(1, 6), L=st.integers(2, 7), seed=st.integers(0, 2**32))
def test_equals_enumeration(P, L, seed):
    """Non-separable rows, repeated and contradictory patterns among them."""
    x = random_patterns(P, L, rng=seed)
    memory = quietly(PerceptronMargin(), x)
    for row in range(L):
        expected = enumerated_margin(x, row)
        assert memory.separable_[row] == separable(x, row) == (expected > 1e-9)
        assert memory.margin_bounds_[row] == pytest.approx(expected, abs=1e-6)
        if memory.separable_[row]:
            assert memory.margins_[row] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 1.5])
def test_every_row_is_certified(gamma):
    x = random_patterns(round(gamma * 200), 200, rng=0)
    memory = PerceptronMargin().fit(x)
    assert memory.converged_
    assert memory.separable_.all()
    gap = memory.margin_bounds_ - memory.margins_
    assert gap.max() < 1e-6
    assert gap.min() > -1e-12
    np.testing.assert_allclose(memory.margins_, memory.stabilities(x).min(axis=0), rtol=1e-12)
    np.testing.assert_allclose((x * memory.local_field(x)).min(axis=0), 1, rtol=1e-12)
    assert (np.diag(memory.couplings_) == 0).all()
    # negative control: other couplings have smaller margins
    disturbed = memory.couplings_ + 1e-3 * np.random.default_rng(0).standard_normal((200, 200)) / 200
    np.fill_diagonal(disturbed, 0)
    margins = (x * (x @ disturbed.T)).min(axis=0) / np.linalg.norm(disturbed, axis=1)
    assert (margins < memory.margins_).all()


@pytest.mark.statistical(alarm=0.01)
def test_mean_margin_follows_gardner(seed):
    """L = 300, means over rows within 3 standard errors and 1 / L; rows are nearly independent."""
    for gamma in (0.5, 1.0, 1.5):
        x = random_patterns(round(gamma * 299), 300, rng=seed(1))
        margins = PerceptronMargin().fit(x).margins_
        load = len(x) / 299
        theory = brentq(lambda k, load=load: load * ((1 + k**2) * norm.cdf(k) + k * norm.pdf(k)) - 1, 0, 5)
        assert abs(margins.mean() - theory) < 3 * margins.std() / np.sqrt(300) + 1 / 300


def test_agrees_with_scikit_learn():
    svm = pytest.importorskip("sklearn.svm")
    for gamma in (0.5, 1.0, 1.5):
        x = random_patterns(round(gamma * 100), 100, rng=2)
        memory = quietly(PerceptronMargin(), x)
        for row in np.flatnonzero(memory.separable_)[:4]:
            inputs = x.astype(float)
            inputs[:, row] = 0
            machine = svm.LinearSVC(loss="hinge", fit_intercept=False, C=1e6, tol=1e-8, max_iter=2_000_000)
            w = machine.fit(inputs, x[:, row]).coef_[0] if len(set(x[:, row])) > 1 else None
            margin = (x[:, row] * (inputs @ w)).min() / np.linalg.norm(w)
            assert memory.margins_[row] == pytest.approx(margin, abs=1e-3)
            assert memory.margins_[row] >= margin - 1e-6


@settings(max_examples=15, deadline=None)
@given(P=st.integers(1, 40), L=st.integers(30, 60), seed=st.integers(0, 2**32))
def test_symmetries_and_monotonicity(P, L, seed):
    x = random_patterns(P, L, rng=seed)
    gauge, signs = random_patterns(1, L, rng=seed + 1), random_patterns(1, P, rng=seed + 2).T
    memory = quietly(PerceptronMargin(), x)
    if not memory.converged_:
        return
    W = memory.couplings_
    scale = np.abs(W).max()
    np.testing.assert_allclose(PerceptronMargin().fit(x * gauge).couplings_, W * gauge * gauge.T, atol=1e-7 * scale)
    np.testing.assert_allclose(PerceptronMargin().fit(x * signs).couplings_, W, atol=1e-7 * scale)
    repeated = np.concatenate([x, x[: P // 2], -x[P // 2 :]])
    np.testing.assert_allclose(PerceptronMargin().fit(repeated).couplings_, W, atol=1e-7 * scale)
    fewer = PerceptronMargin().fit(x[: (P + 1) // 2])
    assert (fewer.margins_ >= memory.margins_ - 1e-9).all()


def test_one_pattern_and_equal_patterns():
    x = random_patterns(1, 50, rng=0)
    np.testing.assert_allclose(PerceptronMargin().fit(x).margins_, 7)  # sqrt(L - 1)
    np.testing.assert_allclose(PerceptronMargin().fit(np.ones((4, 50))).margins_, 7)


def test_contradictory_patterns_cost_one_row():
    x = random_patterns(30, 60, rng=0)
    x[1] = x[0]
    x[1, 3] *= -1
    with pytest.warns(RuntimeWarning, match="1 of 60 rows are not separable, 0 are not certified"):
        memory = PerceptronMargin().fit(x)
    np.testing.assert_array_equal(np.flatnonzero(~memory.separable_), [3])
    assert memory.margin_bounds_[3] < 1e-6
    assert not memory.converged_
    rest = np.delete(memory.margin_bounds_ - memory.margins_, 3)
    assert rest.max() < 1e-6


def test_above_the_capacity_no_row_is_separable():
    with pytest.warns(RuntimeWarning, match="80 of 80 rows are not separable"):
        memory = PerceptronMargin().fit(random_patterns(240, 80, rng=0))
    assert not memory.separable_.any()
    assert memory.margin_bounds_.max() < 1e-6
    assert np.isfinite(memory.couplings_).all()


@pytest.mark.parametrize("method", ["adatron", "minover"])
def test_iterative_methods_reach_the_same_margins(method):
    x = random_patterns(20, 50, rng=3)
    exact = PerceptronMargin().fit(x).margins_
    tolerance = {"adatron": 1e-6, "minover": 3e-3}[method]
    memory = PerceptronMargin(method=method, tolerance=tolerance).fit(x)
    assert (memory.margins_ <= exact + 1e-9).all()
    assert (memory.margin_bounds_ >= exact - 1e-9).all()
    assert (memory.margins_ >= exact * (1 - tolerance) - 1e-9).all()


@pytest.mark.parametrize("method", [None, "minover"])
def test_a_given_margin_is_reached_and_hardly_exceeded(method):
    x = random_patterns(20, 60, rng=3)
    for margin in (0.0, 0.5, 1.0):
        memory = PerceptronMargin(margin, method=method).fit(x)
        assert memory.converged_
        assert (memory.stabilities(x) >= margin - 1e-12).all()
    with pytest.warns(RuntimeWarning, match="60 of 60 rows cannot have a margin of 4, 0 did not reach it"):
        unreachable = PerceptronMargin(4.0, method=method).fit(x)
    assert (unreachable.margin_bounds_ < 4).all()


def test_symmetric_couplings_are_the_minimum_of_the_norm():
    """Against a general solver of the same quadratic programme."""
    x = random_patterns(3, 6, rng=2)
    memory = PerceptronMargin(symmetric=True).fit(x)
    W = memory.couplings_
    np.testing.assert_array_equal(W, W.T)
    assert memory.asymmetry() == 0
    upper = np.triu_indices(6, 1)

    def matrix(values):
        V = np.zeros((6, 6))
        V[upper] = values
        return V + V.T

    constraint = {"type": "ineq", "fun": lambda v: (x * (x @ matrix(v))).ravel() - 1}
    start = 2 * W[upper] + 0.1
    best = minimize(lambda v: 0.5 * v @ v, start, jac=lambda v: v, constraints=constraint, options={"ftol": 1e-12})
    np.testing.assert_allclose(W[upper], best.x, atol=1e-4)
    # the couplings of larger margins without symmetry have no larger smallest margin over a common norm
    assert memory.margins_.min() == pytest.approx(memory.margin_bounds_[0], rel=1e-5)


def test_patterns_are_fixed_points():
    x = random_patterns(60, 80, rng=0)
    np.testing.assert_array_equal(np.sign(PerceptronMargin().fit(x).local_field(x)), x)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"margin": -0.1}, ValueError, "`margin` must be a finite number >= 0, got -0.1"),
        ({"margin": "large"}, TypeError, "`margin`.*'large'"),
        ({"method": "svm"}, ValueError, "`method` must be one of 'exact', 'adatron', 'minover', got 'svm'"),
        ({"margin": 0.1, "method": "exact"}, ValueError, "`method` must be 'adatron' or 'minover'.*got 'exact'"),
        ({"symmetric": True, "method": "minover"}, ValueError, "`method` must be 'adatron' with `symmetric`"),
        ({"tolerance": 0}, ValueError, "`tolerance` must be a finite number > 0, got 0"),
        ({"max_sweeps": 0}, ValueError, "`max_sweeps` must be at least 1, got 0"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=message):
        PerceptronMargin(**options)


def test_one_spin_has_no_others():
    with pytest.raises(ValueError, match=r"`patterns` must have at least 2 spins each, got shape \(2, 1\)"):
        PerceptronMargin().fit([[1], [-1]])
