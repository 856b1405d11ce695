"""The two-state linear denoiser: its bound against the diffusion objective itself, its fit, and its basins."""

import itertools

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import t as student_t

from amtheory import DiffusionMemory, Hopfield, PseudoLikelihood, basins
from amtheory.diffusion_memory import _objective, diffusion_slope, diffusion_term, linear_nelbo
from amtheory.patterns import random_patterns
from bridges import as_system
from bridges.basin_comparison import _rules, basin_verdict, compare_basins
from uddm import TrainConfig, UniformProcess, train
from uddm.denoisers import Linear, LinearConfig
from uddm.objective import expected_nelbo, nelbo


def couplings(L, seed=0, norm=1.5):
    W = np.random.default_rng(seed).normal(size=(L, L))
    np.fill_diagonal(W, 0)
    return norm * W / np.linalg.norm(W, axis=1, keepdims=True)


def enumerated(W, patterns):
    """nelbo_l by its definition: a loop over patterns and contexts, adaptive quadrature over the noise."""
    P, L = patterns.shape
    contexts = np.array(list(itertools.product((-1, 1), repeat=L)))

    def at(a):
        total = np.zeros(L)
        for x in patterns:
            weight = ((1 + a * x * contexts) / 2).prod(1)
            tau = x * np.tanh(contexts @ W.T)
            phi = np.arctanh(a) - np.arctanh(a * tau) - a * tau * (1 - tau) / (1 - (a * tau) ** 2)
            total += weight @ phi
        return total / P

    return np.array([quad(lambda a, l=l: at(a)[l], 0, 1, epsabs=1e-7)[0] for l in range(L)])


@pytest.mark.parametrize("schedule", ["log-linear", "cosine"])
@pytest.mark.parametrize("t", [0.02, 0.4, 0.97])
def test_the_term_is_the_diffusion_objective(schedule, t):
    """Per unit of alpha, averaged over the token's own noise, and by enumeration of that noise."""
    process, u = UniformProcess(2, schedule), np.linspace(-8, 8, 33)
    alpha, speed = float(process.alpha(t)), float(process.rate(t))
    log_p = torch.tensor(np.stack([-np.logaddexp(0, 2 * u), -np.logaddexp(0, -2 * u)], -1))[None]
    x = torch.ones(1, len(u), dtype=torch.long)
    want = diffusion_term(alpha, u)
    np.testing.assert_allclose(expected_nelbo(process, log_p, x, t)[0] / speed, want, rtol=1e-6, atol=1e-9)
    own = (1 + alpha) / 2 * nelbo(process, log_p, x, x, t) + (1 - alpha) / 2 * nelbo(process, log_p, x, 1 - x, t)
    np.testing.assert_allclose(own[0] / speed, want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("u", [-6.0, -1.0, 0.0, 0.3, 2.0, 7.0])
def test_a_clean_context_gives_the_pseudo_likelihood(u):
    integral = quad(lambda s: float(diffusion_term(np.tanh(s), u)) / np.cosh(s) ** 2, 0, 16)[0]
    assert integral == pytest.approx(np.logaddexp(0, -2 * u), abs=1e-8)


@given(u=st.floats(-5, 5), a=st.floats(0.01, 0.95))
def test_term_and_slope(u, a):
    term, slope = diffusion_term(a, u), diffusion_slope(a, u)
    assert term >= -1e-14  # some ten roundings of numbers below 4
    assert term == pytest.approx(quad(lambda v: 2 * a * (1 - v) / (1 - (a * v) ** 2) ** 2, np.tanh(u), 1)[0], abs=1e-8)
    central = (diffusion_term(a, u + 1e-5) - diffusion_term(a, u - 1e-5)) / 2e-5
    assert slope == pytest.approx(central, abs=1e-6)
    assert slope <= 0


def test_large_fields_are_finite():
    assert np.isfinite(diffusion_term([0.0, 1 - 1e-9], [[-1e4], [1e4]])).all()
    assert np.isfinite(diffusion_slope([0.0, 1 - 1e-9], [[-1e4], [1e4]])).all()


def test_exact_bound_is_its_definition():
    x, W = random_patterns(3, 4, rng=0), couplings(4)
    np.testing.assert_allclose(linear_nelbo(3 * W, x, field="exact"), enumerated(3 * W, x), rtol=1e-5)
    np.testing.assert_allclose(linear_nelbo(W, x, field="exact"), enumerated(W, x), atol=3e-6)
    np.testing.assert_array_equal(linear_nelbo(W + np.eye(4), x, field="exact"), linear_nelbo(W, x, field="exact"))


@pytest.mark.parametrize("field", ["exact", "gaussian"])
def test_the_first_step_is_two_thirds_of_hebb(field):
    x, step = random_patterns(5, 6, rng=1), 0.02
    hebb = x.T @ x / 5.0
    for l, m in ((0, 1), (2, 5), (4, 3)):
        W = np.zeros((2, 6, 6))
        W[0, l, m], W[1, l, m] = step, -step
        slope = np.subtract(*(linear_nelbo(w, x, field=field)[l] for w in W)) / (2 * step)
        assert slope == pytest.approx(-2 / 3 * hebb[l, m], abs=2e-3)


@pytest.mark.parametrize(
    ("margin", "norm"),
    [(0, 0), (0.01, 0.005), (0.7, 0.3), (2, 1.5), (-1, 2), (-12, 4), (-20, 1), (9, 4), (3, 10), (-60, 19)],
)
def test_the_gaussian_average_is_its_integral(margin, norm):
    """Of a row of this norm and this margin on one pattern; in s = atanh a, with 1 - a exact."""
    xi, step = np.linspace(-9, 9, 1001, retstep=True)
    normal = step * np.exp(-(xi**2) / 2) / np.sqrt(2 * np.pi)

    def at(s):
        gap, u = 2 * expit(-2 * s), np.tanh(s) * margin + norm * xi / np.cosh(s)
        a, above, below = 1 - gap, 2 * expit(-2 * u), 2 * expit(2 * u)  # 1 - tau and 1 + tau
        product = (gap + a * above) * (gap + a * below)
        ratios = np.log1p(a * above / gap) + np.log1p(a * above / (gap + a * below))
        return normal @ (ratios / 2 - a * (1 - above) * above / product) * gap * (2 - gap)

    want = sum(quad(at, *ends, epsabs=1e-9)[0] for ends in itertools.pairwise((0, 1, 8, 20 + abs(margin))))
    W = np.zeros((401, 401))
    W[0, 1:] = margin / 400 + np.sqrt((norm**2 - margin**2 / 400) / 400) * np.tile([1, -1], 200)
    assert linear_nelbo(W, np.ones((1, 401)))[0] == pytest.approx(want, abs=3e-6, rel=1e-7)


@pytest.mark.parametrize("field", ["exact", "gaussian"])
@pytest.mark.parametrize("norm", [0.004, 0.5, 12])
def test_the_gradient(field, norm):
    objective, W, V = _objective(random_patterns(7, 6, rng=1), field), couplings(6, norm=norm), couplings(6, 1, 1.0)
    step = 1e-4 * max(norm, 0.1)
    central = (objective(W + step * V)[0] - objective(W - step * V)[0]) / (2 * step)
    np.testing.assert_allclose((objective(W)[1] * V).sum(1), central, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("field", ["exact", "gaussian"])
def test_hardly_correlated_patterns(field):
    """All states of 9 spins and one of them again: couplings of 1e-3, and the fit gets there; without it none."""
    x = np.array(list(itertools.product((-1, 1), repeat=9)))
    memory = DiffusionMemory(field=field).fit(np.concatenate([x, -x[:1]]))
    assert memory.converged_
    assert (memory.nelbo_ < np.log(2)).all()
    np.testing.assert_allclose(memory.couplings_[~np.eye(9, dtype=bool)], memory.norms_[0] / np.sqrt(8), rtol=5e-3)
    assert 1e-3 < memory.norms_[0] < 1e-2
    alone = DiffusionMemory(field=field).fit(x)
    assert not alone.couplings_.any()
    np.testing.assert_allclose(alone.nelbo_, np.log(2), rtol=1e-9)


@pytest.mark.statistical(alarm=1e-4)
def test_the_gaussian_field_is_the_limit_of_many_spins(seed):
    """The error of the bound falls like 1/L; sampled contexts at L = 100, 4 standard errors."""
    errors = []
    for L in (4, 12):
        x, W = np.ones((1, L)), 1.5 / np.sqrt(L - 1) * (np.ones((L, L)) - np.eye(L))
        exact, gaussian = (linear_nelbo(W, x, field=f).mean() for f in ("exact", "gaussian"))
        errors.append(abs(exact - gaussian))
    assert errors[1] < 0.5 * errors[0]
    rng = np.random.default_rng(seed(3))
    x, W = random_patterns(30, 100, rng=seed(3)), couplings(100)
    which, a = rng.integers(30, size=20000), rng.random((20000, 1))
    z = np.where(rng.random((20000, 100)) < (1 + a) / 2, x[which], -x[which])
    sampled = diffusion_term(a, x[which] * (z @ W.T)).mean(1)
    error = sampled.std() / np.sqrt(len(sampled))
    want = linear_nelbo(W, x).mean()
    assert abs(sampled.mean() - want) < 4 * error + 0.002 * want
    assert abs(sampled.mean() - linear_nelbo(1.2 * W, x).mean()) > 4 * error  # negative control


@pytest.mark.parametrize("field", ["exact", "gaussian"])
@pytest.mark.parametrize("norm", [None, 0.7])
def test_the_fit_is_a_minimum(field, norm):
    L = 8
    x = random_patterns(6, L, rng=4)
    memory = DiffusionMemory(norm, field=field).fit(x)
    W = memory.couplings_
    assert memory.converged_
    assert not np.diagonal(W).any()
    np.testing.assert_allclose(memory.nelbo_, linear_nelbo(W, x, field=field), atol=1e-12)
    for seed in range(5):
        V = W + 0.05 * couplings(L, seed)
        if norm is not None:
            np.testing.assert_allclose(memory.norms_, norm)
            V *= norm / np.linalg.norm(V, axis=1, keepdims=True)
        assert (linear_nelbo(V, x, field=field) > memory.nelbo_).all()


@pytest.mark.parametrize("field", ["exact", "gaussian"])
def test_noise_makes_the_norm_finite(field):
    """Separable patterns: along the solution the bound has its minimum at the norm of the fit."""
    x = random_patterns(4, 10, rng=5)
    memory = DiffusionMemory(field=field).fit(x)
    along = np.array([linear_nelbo(c * memory.couplings_, x, field=field).mean() for c in (0.5, 1, 1.5, 2, 3)])
    assert along.argmin() == 1
    assert (np.diff(along[1:]) > 0).all()


def test_small_norms_are_hebbian():
    x = random_patterns(9, 40, rng=6)
    hebb = x.T @ x.astype(float) - 9 * np.eye(40)
    W = DiffusionMemory(1e-2).fit(x).couplings_
    np.testing.assert_allclose(W * 100, hebb / np.linalg.norm(hebb, axis=1, keepdims=True), atol=0.02)


def test_a_memory_like_others():
    x = random_patterns(4, 40, rng=7)
    memory = DiffusionMemory().fit(x)
    assert as_system(memory).beta == 1
    curve = basins.basin_curve(DiffusionMemory(), 4, 40, [0.8], samples=2, rng=0)
    assert curve.recovered.mean() == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiffusionMemory(0.0), "`norm` must be"),
        (lambda: DiffusionMemory(field="sampled"), "`field` must be one of"),
        (lambda: DiffusionMemory(tolerance=-1), "`tolerance` must be"),
        (lambda: DiffusionMemory().fit([[1], [-1]]), "`patterns` must have at least 2 spins"),
        (lambda: DiffusionMemory().fit([[1, 0]]), "`patterns` must contain only"),
        (lambda: DiffusionMemory(field="exact").fit(np.ones((1, 15))), "more than 14 spins"),
        (lambda: DiffusionMemory(1.0).fit([[1, 1], [1, -1]]), "`patterns` must correlate"),
        (lambda: DiffusionMemory(20.0), "`norm` must be below 20"),
        (lambda: DiffusionMemory(19.9).fit(np.ones((1, 1700))), "`patterns` are beyond"),
        (lambda: linear_nelbo(40 * couplings(5), np.ones((1, 5))), "`couplings` are beyond"),
        (lambda: linear_nelbo(np.ones((1900, 1900)) / 3, np.ones((1, 1900))), "`couplings` are beyond"),
        (lambda: diffusion_term(1.0, 0.0), "`alpha` must be in"),
        (lambda: diffusion_slope([0.5, 1.5], 0.0), "`alpha` must be in"),
        (lambda: linear_nelbo(np.eye(3), np.ones((2, 4))), "`couplings` must have shape"),
        (lambda: compare_basins(20, [0.01]), "`loads` must each give"),
        (lambda: compare_basins(20, [0.2], dynamics=["typewriter"]), "`dynamics` must be one of"),
        (lambda: compare_basins(20, [0.2], samples=1), "`samples` must be"),
        (lambda: compare_basins(20, 0.2), "`loads` must be a sequence"),
        (lambda: compare_basins(20, [0.2], dynamics=[]), "`dynamics` must not be empty"),
        (lambda: compare_basins(20, [0.2], norms=[25]), "`norm` must be below 20"),
        (lambda: compare_basins(20, [0.2], m0=[0.5, 1.0]), "`m0` must be"),
        (lambda: compare_basins(20, [0.2], m0=[0.0, 1.0, 0.5, 1.0]), "`m0` must be"),
        (lambda: compare_basins(20, [0.2], m0=["0", "1"]), "`m0` must be real numbers"),
        (lambda: compare_basins(20, [0.2], training_steps=-1), "`training_steps` must be"),
        (lambda: basin_verdict(xr.Dataset()), "`curves` must be of `compare_basins`"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_an_unfinished_fit_says_so():
    with pytest.warns(RuntimeWarning, match="raise `max_iterations`"):
        memory = DiffusionMemory(max_iterations=1).fit(random_patterns(5, 20, rng=0))
    assert not memory.converged_


@pytest.mark.long
def test_training_reaches_the_exact_minimum(tmp_path):
    """`uddm.train` on the linear denoiser, with its noisy gradients and biases; both signs make the biases vanish."""
    x = random_patterns(6, 5, rng=3)
    x = np.concatenate([x, -x])
    want = DiffusionMemory(field="exact").fit(x).couplings_
    config = TrainConfig(800, 256, 0.03, warmup=1, decay="cosine", ema=0.98, checkpoint_every=10**6)
    tokens = torch.tensor((x > 0).astype(np.int64))
    model = train(Linear(LinearConfig(2, length=5)), tokens, config, tmp_path, progress=None)
    got = model.couplings().detach().numpy()
    assert np.linalg.norm(got - want) < 0.06 * np.linalg.norm(want)
    assert model.external_fields().abs().max() < 0.06


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    return compare_basins(40, [0.1, 0.5], samples=3, norms=[1.0], probes=4, rng=0)


def test_one_ruler(small):
    rules = ["hebb", "nelbo", "pseudo-likelihood", "nelbo, norm 1", "pseudo-likelihood, norm 1", "max margin"]
    assert small["rule"].values.tolist() == rules
    assert dict(small.recovered.sizes) == {
        "load": 2, "rule": 6, "dynamics": 2, "sample": 3, "initial_overlap": 21
    }  # fmt: skip
    np.testing.assert_allclose(small.norm.sel(rule="pseudo-likelihood"), small.norm.sel(rule="nelbo"), rtol=1e-5)
    np.testing.assert_allclose(small.norm.sel(rule="nelbo, norm 1"), 1)
    value, low, high = (small.mean_radius.sel(estimate=e) for e in ("value", "low", "high"))
    assert ((low <= value) & (value <= high)).all()
    np.testing.assert_allclose(value, small.radius.mean("sample"))
    parallel, sequential = (small.recovered.sel(dynamics=d) for d in ("parallel", "sequential"))
    assert (parallel != sequential).any()
    fourths = 4 * small.recovered  # of 4 probes
    assert (fourths == fourths.round()).all()
    assert (fourths % 4 != 0).any()
    assert (small.radius.sel(rule="hebb", load=0.5) < small.radius.sel(rule="nelbo", load=0.5)).all()


def test_each_rule_is_what_its_name_says():
    x = random_patterns(5, 9, rng=2)
    of_rules = dict(_rules(x, [3.0], "exact", 200, 0))
    nelbo = DiffusionMemory(field="exact").fit(x)
    want = {
        "hebb": Hopfield(),
        "nelbo": nelbo,
        "pseudo-likelihood": PseudoLikelihood(beta_norm=float(nelbo.norms_.mean())),
        "nelbo, norm 3": DiffusionMemory(3.0, field="exact"),
        "pseudo-likelihood, norm 3": PseudoLikelihood(beta_norm=3.0),
        "max margin": PseudoLikelihood(beta_norm=np.inf),
    }
    assert list(of_rules) == [*want, "nelbo, trained"]
    for name, memory in want.items():
        np.testing.assert_allclose(of_rules[name].couplings_, memory.fit(x).couplings_, atol=1e-4)
    directions = {name: m.couplings_ / m.norms_[:, None] for name, m in of_rules.items()}
    for one, other in itertools.combinations(want, 2):
        assert np.abs(directions[one] - directions[other]).max() > 0.01
    assert (directions["nelbo, trained"] * directions["nelbo"]).sum(1).min() > 0.99
    assert (directions["nelbo, trained"] * directions["hebb"]).sum(1).min() < 0.99
    np.testing.assert_allclose(of_rules["nelbo, trained"].norms_, nelbo.norms_, rtol=0.15)


@pytest.mark.long  # that training finds the minimum's couplings is tested above, in less
def test_training_has_the_basins_of_the_minimum():
    curves = compare_basins(10, [0.4], samples=2, norms=[], field="exact", training_steps=200, rng=0)
    one = basin_verdict(curves, rule="nelbo, trained", against="nelbo")
    assert abs(one.difference.sel(estimate="value")).max() < 0.02
    other = basin_verdict(curves, rule="hebb", against="nelbo")
    assert abs(other.difference.sel(estimate="value")).max() > 0.02, "negative control"


def test_the_mean_radius_is_near_the_half_point(small):
    """(1/2) int P_rec dm0 against (1 - m0)/2 at P_rec = 1/2, for curves that do rise from 0 to 1."""
    curve = small.sel(load=0.1, rule="nelbo", dynamics="parallel")
    half = basins.radius(curve, rng=0).value
    assert float(curve.radius.mean()) == pytest.approx(half, abs=0.04)


def test_samples_do_not_depend_on_their_number_or_company(small):
    again = compare_basins(40, [0.5], samples=2, norms=[], dynamics=["sequential"], probes=4, rng=0)
    for rule in ("hebb", "nelbo", "max margin"):
        want = small.recovered.sel(load=0.5, rule=rule, dynamics="sequential").isel(sample=slice(2))
        np.testing.assert_array_equal(again.recovered.sel(load=0.5, rule=rule, dynamics="sequential"), want)
    loose = compare_basins(40, [0.5], samples=2, norms=[], dynamics=["sequential"], probes=4, success=0.5, rng=0)
    assert (loose.recovered >= again.recovered).all()
    assert loose.recovered.mean() > again.recovered.mean() + 0.02


def curves_of(differences):
    """Radii of two rules over (load, dynamics, sample)."""
    base = np.random.default_rng(0).uniform(0, 0.3, differences.shape)
    radius = xr.DataArray(np.stack([base + differences, base]), dims=("rule", "load", "dynamics", "sample"))
    return xr.Dataset({"radius": radius}).assign_coords(rule=["nelbo", "pseudo-likelihood"])


def test_the_verdict():
    d = np.array([0.01, 0.02, 0.03, 0.02, 0.02])
    clear = np.stack([d, d + 0.1])[:, None]  # two loads
    mean, error = d.mean(), d.std(ddof=1) / np.sqrt(5)
    one = basin_verdict(curves_of(clear))
    assert one.attrs["verdict"] == "supported"
    half = student_t(4).ppf(0.9875) * error  # two intervals that hold together
    np.testing.assert_allclose(one.difference[:, 0, 0], [mean, mean - half, mean + half], rtol=1e-5)
    mixed = basin_verdict(curves_of(clear * np.array([1, -1])[:, None, None]))
    assert mixed.verdict.values.ravel().tolist() == ["supported", "refuted"]
    assert mixed.attrs["verdict"] == "refuted"
    unclear = basin_verdict(curves_of(np.stack([d - mean, d])[:, None]))
    assert unclear.attrs["verdict"] == "inconclusive at this scale"
    for few in (clear[..., :4], 0 * clear + 0.25):  # samples, values
        assert basin_verdict(curves_of(few)).attrs["verdict"] == "inconclusive at this scale"
    same = basin_verdict(curves_of(clear), against="nelbo")
    assert same.attrs["verdict"] == "inconclusive at this scale"
    with pytest.raises(ValueError, match="`rule` must be one of"):
        basin_verdict(curves_of(clear), rule="hopfield")


@pytest.mark.long
def test_noise_does_not_enlarge_basins_at_high_load():
    """At load 0.7 the bound's couplings have smaller basins than the pseudo-likelihood's of the same norm, and larger
    ones than Hebb's. Bonferroni level 5 %."""
    curves = compare_basins(60, [0.7], samples=8, norms=[], probes=10, rng=1)
    assert basin_verdict(curves).attrs["verdict"] == "refuted"
    assert basin_verdict(curves, against="hebb").attrs["verdict"] == "supported"
