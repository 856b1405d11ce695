"""The pseudo-likelihood memory against autograd, a per-row solver and replica theory."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from amtheory import PseudoLikelihood
from amtheory._likelihood_loss import gains
from amtheory.patterns import random_features, random_patterns
from amtheory.perceptron import PerceptronMargin
from amtheory.pseudolikelihood import gradient, loss

ROUNDING = 100 * 2.0**-52  # of means of 11 terms below 2 that depend on fields, sums of 7, with up to unit slope


@pytest.fixture(scope="module")
def example():
    """Couplings with a diagonal (to be ignored), patterns, beta."""
    return np.random.default_rng(0).standard_normal((7, 7)), random_patterns(11, 7, rng=1), 0.8


def test_loss_is_the_log_probability_of_each_spin_given_the_others(example):
    w, x, beta = example
    total = 0.0
    for pattern in x:
        for l in range(7):
            field = beta * sum(w[l, m] * pattern[m] for m in range(7) if m != l)
            total -= np.log(expit(2 * pattern[l] * field)) / len(x)
    assert loss(w, x, beta) == pytest.approx(total, rel=1e-13)


def test_gradient_equals_autograd(example):
    torch = pytest.importorskip("torch")
    w, x, beta = example
    weights, examples = torch.tensor(w, requires_grad=True), torch.tensor(x, dtype=torch.float64)
    margins = beta * examples * (examples @ (weights * (1 - torch.eye(7))).T)
    # float64 throughout: -(M - log 2 cosh M), summed over spins, averaged over examples
    (torch.log(2 * torch.cosh(margins)) - margins).sum(1).mean().backward()
    np.testing.assert_allclose(gradient(w, x, beta), weights.grad, atol=ROUNDING)


def test_gradient_equals_the_closed_form(example):
    w, x, beta = example
    expected = np.zeros((7, 7))
    for l in range(7):
        for m in set(range(7)) - {l}:
            for pattern in x.astype(float):
                margin = beta * pattern[l] * sum(w[l, k] * pattern[k] for k in range(7) if k != l)
                expected[l, m] -= beta / len(x) * pattern[l] * pattern[m] * (1 - np.tanh(margin))
    np.testing.assert_allclose(gradient(w, x, beta), expected, atol=ROUNDING)


def test_large_margins_neither_overflow_nor_vanish():
    x = np.array([[1, 1]])
    w = np.array([[0.0, 300.0], [-1000.0, 0.0]])
    assert loss(w, x, 1.0) == 2000.0
    np.testing.assert_allclose(gradient(w, x, 1.0), [[0, -2 * np.exp(-600)], [-2, 0]])


@pytest.mark.parametrize("P", [15, 30, 200])
def test_ridge_solution_equals_one_solver_per_row(P):
    x, beta, ridge = random_patterns(P, 20, rng=2), 0.7, 0.01
    memory = PseudoLikelihood(beta, ridge=ridge, tolerance=1e-8).fit(x)
    assert memory.converged_
    assert (np.diag(memory.couplings_) == 0).all()
    for l in (0, 13):
        inputs = np.delete(x, l, axis=1) * x[:, l, None] * beta

        def objective(w, inputs=inputs):
            return np.logaddexp(0, -2 * inputs @ w).mean() + ridge / 2 * w @ w

        row = minimize(objective, np.zeros(19), tol=1e-10)
        np.testing.assert_allclose(np.delete(memory.couplings_[l], l), row.x, atol=1e-6)


def row_by_row(x, beta, ridge):
    """The minimum by Newton's method from SciPy, row by row."""
    P, L = x.shape
    found = np.zeros((L, L))
    for l in range(L):
        inputs = np.delete(x, l, axis=1) * x[:, l, None] * beta

        def objective(w, inputs=inputs):
            slope = ridge * w - 2 / P * expit(-2 * inputs @ w) @ inputs
            return np.logaddexp(0, -2 * inputs @ w).mean() + ridge / 2 * w @ w, slope

        def hessian(w, inputs=inputs):
            curvatures = 4 / P * expit(2 * inputs @ w) * expit(-2 * inputs @ w)
            return inputs.T * curvatures @ inputs + ridge * np.eye(L - 1)

        row = minimize(
            objective, np.zeros(L - 1), jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-12}
        )
        found[l, np.arange(L) != l] = row.x
    return found


def longest_gradient(memory, x, ridge):
    return np.linalg.norm(gradient(memory.couplings_, x, memory.beta) + ridge * memory.couplings_, axis=1).max()


SYSTEMS = {
    "one pattern": random_patterns(1, 12, rng=0),
    "P < L": random_patterns(12, 30, rng=1),
    "P = L - 1": random_patterns(19, 20, rng=2),
    "P = L": random_patterns(20, 20, rng=3),
    "P > L": random_patterns(50, 20, rng=4),
    "repeated patterns": random_patterns(6, 20, rng=5)[[0, 1, 2, 3, 4, 5, 0, 0, 1]],
    "opposite patterns": np.concatenate([random_patterns(4, 20, rng=6), -random_patterns(4, 20, rng=6)]),
    "all spins equal": np.ones((3, 10), np.int8),
    "two spins": np.array([[1, 1], [1, -1], [1, 1]]),
    "contradiction": np.array([[1, 1, 1], [1, 1, -1], [-1, 1, 1], [-1, 1, -1]]),
    "features, P < L": random_features(15, 30, 5, rng=7)[0],
    "features, P > L": random_features(90, 30, 5, rng=8)[0],
}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize(("beta", "ridge"), [(1.0, 1e-3), (0.5, 0.1), (3.0, 1e-4)])
def test_ridge_solutions_equal_those_of_scipy(name, beta, ridge):
    x = SYSTEMS[name]
    memory = PseudoLikelihood(beta, ridge=ridge, tolerance=1e-10).fit(x)
    assert memory.converged_
    assert (np.diag(memory.couplings_) == 0).all()
    assert longest_gradient(memory, x, ridge) < 1.1e-10
    np.testing.assert_allclose(memory.couplings_, row_by_row(x, beta, ridge), atol=1e-6)


@pytest.mark.parametrize(("P", "L"), [(40, 100), (95, 100), (100, 100), (150, 100), (300, 100)])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6, 1e-9])
def test_convergence_is_that_of_the_float64_gradient(P, L, tolerance):
    x = random_patterns(P, L, rng=9)
    memory = PseudoLikelihood(ridge=1e-3, tolerance=tolerance).fit(x)
    assert memory.converged_
    assert longest_gradient(memory, x, 1e-3) < tolerance * (1 + 1e-5)


@pytest.mark.parametrize("P", [20, 90])
def test_rows_may_be_fitted_in_chunks(P, monkeypatch):
    x = random_patterns(P, 40, rng=10)
    whole = PseudoLikelihood(tolerance=1e-9).fit(x)
    monkeypatch.setattr("amtheory._likelihood_rows._FIELDS", 7 * P)
    chunks = PseudoLikelihood(tolerance=1e-9).fit(x)
    np.testing.assert_allclose(chunks.couplings_, whole.couplings_, atol=3e-6)


@pytest.mark.parametrize("P", [20, 90])
@pytest.mark.parametrize("parameters", [{}, {"beta_norm": 1.5}, {"symmetric": True}])
def test_gauge_covariance(P, parameters):
    """x_l -> g_l x_l takes W_lm to g_l W_lm g_m."""
    x, g = random_patterns(P, 30, rng=11), random_patterns(1, 30, rng=12)[0]
    memory = PseudoLikelihood(tolerance=1e-8, **parameters)
    expected = g[:, None] * memory.fit(x).couplings_ * g
    np.testing.assert_allclose(memory.fit(x * g).couplings_, expected, atol=3e-5)


@pytest.mark.parametrize("P", [20, 90])
@pytest.mark.parametrize("parameters", [{}, {"beta_norm": 1.5}, {"symmetric": True}])
def test_the_start_does_not_change_the_minimum(P, parameters):
    x = random_patterns(P, 40, rng=13)
    memory = PseudoLikelihood(tolerance=1e-7, **parameters)
    cold, iterations = memory.fit(x).couplings_, memory.n_iter_
    elsewhere = memory.fit(x, np.random.default_rng(14).standard_normal((40, 40))).couplings_
    np.testing.assert_allclose(elsewhere, cold, atol=2e-4)
    start = cold.copy()
    np.testing.assert_allclose(memory.fit(x, start).couplings_, cold, atol=2e-4)
    assert memory.n_iter_ <= iterations
    np.testing.assert_array_equal(start, cold)


def test_a_warm_start_saves_iterations():
    x = random_patterns(60, 40, rng=15)
    start = PseudoLikelihood(ridge=1.1e-3).fit(x).couplings_
    cold, warm = PseudoLikelihood(ridge=1e-3).fit(x), PseudoLikelihood(ridge=1e-3).fit(x, start)
    assert warm.n_iter_ < cold.n_iter_


@pytest.mark.parametrize("P", [5, 12, 40])
def test_symmetric_couplings_minimise_the_sum_of_all_rows(P):
    L, beta, ridge = 8, 1.3, 0.01
    x = random_patterns(P, L, rng=16)
    memory = PseudoLikelihood(beta, ridge=ridge, tolerance=1e-8, symmetric=True).fit(x)
    W, pairs = memory.couplings_, np.triu_indices(L, 1)
    np.testing.assert_array_equal(W, W.T)
    assert memory.converged_
    assert (np.diag(W) == 0).all()

    def objective(w):
        couplings = np.zeros((L, L))
        couplings[pairs] = w
        couplings += couplings.T
        return loss(couplings, x, beta) + ridge / 2 * np.sum(couplings**2)

    found = minimize(objective, np.zeros(len(pairs[0])), tol=1e-9)
    np.testing.assert_allclose(W[pairs], found.x, atol=2e-5)
    assert objective(W[pairs]) <= found.fun + 1e-12
    steps = 1e-5 * np.eye(len(pairs[0]))
    slopes = [(objective(W[pairs] + s) - objective(W[pairs] - s)) / 2e-5 for s in steps]
    np.testing.assert_allclose(slopes, 0, atol=1e-8)


def test_infinite_norm_is_the_largest_margin():
    x = random_patterns(20, 40, rng=17)
    memory, perceptron = PseudoLikelihood(beta_norm=np.inf).fit(x), PerceptronMargin().fit(x)
    np.testing.assert_array_equal(memory.couplings_, perceptron.couplings_)
    assert memory.converged_
    assert memory.n_iter_ == 0
    smallest = [PseudoLikelihood(beta_norm=b, tolerance=1e-4).fit(x).stabilities(x).min(axis=0) for b in (3, 10, 30)]
    gaps = [(memory.stabilities(x).min(axis=0) - s).mean() for s in smallest]
    assert 0 < gaps[2] < gaps[1] / 2 < gaps[0] / 4


def test_infinite_norm_needs_separable_rows():
    x = np.array([[a, a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    with pytest.raises(
        ValueError, match=r"`patterns`: rows \[2, 3\] of the couplings \(2 in all\) cannot separate them"
    ):
        PseudoLikelihood(beta_norm=np.inf).fit(x)


@pytest.mark.parametrize("beta_norm", [0.3, 1.0, 20.0])
def test_solution_on_the_sphere(beta_norm):
    """The gradient is antiparallel to W_l, and the loss is least among solutions of any ridge scaled to it."""
    x, beta = random_patterns(30, 40, rng=3), 1.7
    memory = PseudoLikelihood(beta, beta_norm=beta_norm).fit(x)
    assert memory.converged_
    np.testing.assert_allclose(beta * memory.norms_, beta_norm, rtol=1e-12)
    slope = gradient(memory.couplings_, x, beta)
    cosine = np.sum(slope * memory.couplings_, axis=1) / np.linalg.norm(slope, axis=1) / memory.norms_
    np.testing.assert_allclose(cosine, -1, atol=1e-8)
    least = loss(memory.couplings_, x, beta)
    for ridge in (1e-4, 1e-2, 1.0):
        other = PseudoLikelihood(beta, ridge=ridge).fit(x)
        assert loss(other.couplings_ * (memory.norms_ / other.norms_)[:, None], x, beta) > least


@pytest.mark.parametrize("tolerance", [1e-6, 1e-10, 1e-13])
@pytest.mark.parametrize("beta_norm", [1e-100, 1e-12, 1e-8, 1e-5, 1e-4, 1e-3, 0.03])
def test_small_norms_are_hebbian(beta_norm, tolerance):
    """The losses differ from log 2 by the norm, and between directions by the square of their angle times that.

    Gradients -(beta/P) sum_x x_l x (1 - tanh M_l) differ from those at W = 0, along Hebb's rule h, by at most
    beta lambda beta_norm, with lambda the largest eigenvalue of sum_x x x^T / P, since |tanh M| <= |M|.
    """
    x = random_patterns(30, 40, rng=4)
    memory = PseudoLikelihood(2.0, beta_norm=beta_norm, tolerance=tolerance).fit(x)
    assert memory.converged_
    hebb = x.T @ x / 30 - np.eye(40)
    norms, largest = np.linalg.norm(hebb, axis=1, keepdims=True), np.linalg.eigvalsh(hebb)[-1] + 1
    deviation = np.linalg.norm(memory.couplings_ * 2.0 / beta_norm - hebb / norms, axis=1)
    assert deviation.max() < 2 * (largest * beta_norm + tolerance) / norms.min()


@pytest.mark.parametrize("P", [30, 100])
@pytest.mark.parametrize("beta", [0.01, 1.0, 100.0])
@pytest.mark.parametrize(
    "parameters",
    [
        {"beta_norm": 1e-6},
        {"beta_norm": 0.1},
        {"beta_norm": 2.0},
        {},
        {"ridge": 1e4},
        {"symmetric": True},
        {"symmetric": True, "ridge": 1e4},
    ],
)
def test_no_warning_at_a_minimum_that_float64_resolves_no_better(P, beta, parameters):
    """A tolerance that no gradient reaches stands for the rounding of one, at every scale."""
    x, L = random_patterns(P, 40, rng=19), 40
    memory = PseudoLikelihood(beta, tolerance=1e-300, max_iterations=5000, **parameters).fit(x)
    assert memory.converged_
    slope, ridge = gradient(memory.couplings_, x, beta), parameters.get("ridge", 1e-3)
    if "beta_norm" in parameters:
        slope /= -np.log(expit(2 * x * memory.conditional_field(x))).mean(axis=0)[:, None]
        unit = memory.couplings_ / memory.norms_[:, None]
        slope -= np.sum(slope * unit, axis=1, keepdims=True) * unit
        most = parameters["beta_norm"]
    else:
        slope += ridge * memory.couplings_
        most = beta * np.sqrt(2 * np.log(2) / ridge)
    if "symmetric" in parameters:
        slope = (slope + slope.T) / 2
    rounding = 2.0**-52 * beta * np.sqrt(L) * (P + L * most)
    assert np.linalg.norm(slope, axis=1).max() < 3 * rounding + 1e-11 * beta * np.sqrt(L)  # kernels to 2e-12


def test_gains_keep_the_digits_that_a_difference_of_losses_loses():
    """That of a step t along the gradient g is -t |g|^2 to first order, also at t = 1e-12; and that of a long one."""
    x = random_patterns(60, 30, rng=20)
    W = np.random.default_rng(21).standard_normal((30, 30)) / 5
    np.fill_diagonal(W, 0)
    slope = gradient(W, x, 1.3)
    for step in (1e-12, 1e-9, 1e-6):
        found = gains(W, -step * slope, x, 1.3)
        np.testing.assert_allclose(found, -step * np.sum(slope**2, axis=1), rtol=1e4 * step + 1e-9)
    for step in (0.1, 30.0, 1e4):
        found = gains(W, -step * slope, x, 1.3)
        assert found.sum() == pytest.approx(loss(W - step * slope, x, 1.3) - loss(W, x, 1.3), rel=1e-12)


@pytest.mark.statistical(alarm=0.01)
@pytest.mark.parametrize(
    ("gamma", "beta_norm", "mean", "variance"),
    [
        (0.5, 1, 1.252969, 0.132467),
        pytest.param(0.5, 2, 1.194432, 0.081528, marks=pytest.mark.long),
        pytest.param(1, 1, 0.849189, 0.243485, marks=pytest.mark.long),
    ],
)
def test_stabilities_agree_with_replica_theory(gamma, beta_norm, mean, variance, seed):
    """Replica-symmetric moments at gamma = P / (L - 1), the method of Griniasty and Gutfreund (1991).

    Over 10 samples of the disorder at L = 201, within 3 standard errors (false alarms: about 1 %, Student's t
    with 9 degrees of freedom being wider than a Gaussian) plus 1 / L: the deviation measured at L = 101, 201,
    401 is of order 0.5 / L.
    """
    L = 201
    moments = []
    for n in range(10):
        x = random_patterns(round(gamma * (L - 1)), L, rng=seed(n))
        stabilities = PseudoLikelihood(beta_norm=beta_norm, tolerance=1e-4).fit(x).stabilities(x)
        moments.append([stabilities.mean(), stabilities.var()])
    error = 3 * np.std(moments, axis=0, ddof=1) / np.sqrt(10) + 1 / L
    difference = np.abs(np.mean(moments, axis=0) - [mean, variance])
    assert (difference < error).all()
    assert error.max() < 0.02


def test_conditional_field_is_that_of_the_loss():
    x = random_features(60, 20, 5, rng=5)[0]
    memory = PseudoLikelihood(2.0).fit(x)
    log_probabilities = np.log(expit(2 * x * memory.conditional_field(x)))
    assert loss(memory.couplings_, x, 2.0) == pytest.approx(-log_probabilities.sum(axis=1).mean())
    np.testing.assert_array_equal(memory.conditional_field(x), 2.0 * memory.local_field(x))


def test_correlated_data_converge():
    x, _, sample_unseen = random_features(1000, 100, 10, active=3, rng=6)
    memory = PseudoLikelihood().fit(x)
    assert memory.converged_
    assert (memory.stabilities(sample_unseen(200)) > 0).mean() > 0.95


def test_failure_to_converge_warns():
    memory = PseudoLikelihood(ridge=1e-6, max_iterations=3)
    with pytest.warns(RuntimeWarning, match="stopped after 3 iterations with a gradient norm of"):
        memory.fit(random_patterns(30, 20, rng=0))
    assert not memory.converged_
    assert memory.n_iter_ == 3


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"beta": 0}, ValueError, "`beta` must be a finite number > 0, got 0"),
        ({"beta": np.inf}, ValueError, "`beta` must be a finite number > 0, got inf"),
        ({"beta": "1"}, TypeError, "`beta` must be a finite number > 0, got '1'"),
        ({"beta": 1e-300}, ValueError, r"`beta` must be in \[1e-12, 1e\+12\], got 1e-300"),
        ({"beta_norm": 1e300}, ValueError, r"`beta_norm` must be in \[1e-100, 10000\], got 1e\+300"),
        ({"beta_norm": np.zeros(0)}, TypeError, "`beta_norm` must be a finite number > 0"),
        ({"beta": 1e12, "ridge": 1e-12}, ValueError, "`ridge` must be at least 1e-28 beta.2, got 1e-12 at beta = 1"),
        ({"ridge": -1}, ValueError, "`ridge` must be a finite number > 0, got -1"),
        ({"beta_norm": 0.0}, ValueError, "`beta_norm` must be a finite number > 0"),
        ({"ridge": 1, "beta_norm": 1}, ValueError, "give `ridge` or `beta_norm`, not both"),
        ({"symmetric": True, "beta_norm": 1}, ValueError, "`symmetric` needs `ridge`.*got 1"),
        ({"tolerance": 0}, ValueError, "`tolerance`"),
        ({"max_iterations": 0}, ValueError, "`max_iterations` must be at least 1"),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        PseudoLikelihood(**parameters)


@pytest.mark.parametrize(
    ("name", "number"),
    [("beta", Fraction(1, 2)), ("beta", 2**39), ("ridge", np.longdouble(0.5)), ("beta_norm", Decimal("0.5"))],
)
def test_parameters_are_numbers_of_any_type(name, number):
    x = random_patterns(3, 8, rng=0)
    fitted, expected = (PseudoLikelihood(**{name: value}).fit(x) for value in (number, float(number)))
    np.testing.assert_array_equal(fitted.couplings_, expected.couplings_)


def test_bad_patterns_and_couplings():
    with pytest.raises(ValueError, match=r"`patterns` must have at least 2 spins each, got shape \(3, 1\)"):
        PseudoLikelihood().fit([[1], [1], [-1]])
    with pytest.raises(ValueError, match=r"`patterns`.*got shape \(0, 4\)"):
        PseudoLikelihood().fit(np.empty((0, 4)))
    with pytest.raises(ValueError, match=r"spins \[0, 1\] are uncorrelated with all others"):
        PseudoLikelihood(beta_norm=1.0).fit([[1, 1], [1, -1]])
    with pytest.raises(ValueError, match=r"`couplings` must be a square matrix \(L, L\), got shape \(2, 3\)"):
        loss(np.ones((2, 3)), [[1, 1]], 1.0)
    with pytest.raises(ValueError, match="`couplings` must be finite, got 1 NaN or infinity"):
        gradient([[0, np.inf], [1, 0]], [[1, 1]], 1.0)
    x = [[1, 1], [1, -1], [1, 1]]
    with pytest.raises(ValueError, match=r"`start` must have the shape \(2, 2\).*got \(3, 3\)"):
        PseudoLikelihood().fit(x, np.ones((3, 3)))
    with pytest.raises(ValueError, match="`start` must be finite"):
        PseudoLikelihood().fit(x, [[0, np.nan], [1, 0]])
    with pytest.raises(ValueError, match="`start` must have no row of zeros"):
        PseudoLikelihood(beta_norm=1.0).fit(x, np.eye(2))


def test_a_failed_fit_leaves_the_memory_as_it_was():
    memory = PseudoLikelihood().fit(random_patterns(5, 10, rng=0))
    before = memory.couplings_
    with pytest.raises(ValueError, match="`start`"):
        memory.fit(random_patterns(5, 10, rng=1), np.ones((3, 3)))
    assert memory.couplings_ is before
