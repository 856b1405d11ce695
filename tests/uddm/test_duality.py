"""Gaussian duality: T against its definition in 40 digits and closed forms; the relaxed argmax against its laws."""

import itertools
import json
import math
from collections import Counter
from dataclasses import asdict
from functools import cache

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc, gammaincc, ndtr

from uddm import Curriculum
from uddm.curriculum import _distinct, _largest_normals, _log_mean_exp_below, relaxed_argmax
from uddm.duality import alpha_of_gamma, gaussian_alpha, uniform_alpha, uniform_alpha_derivative
from uddm.process.schedule import GaussianDual

ALMOST_NEVER = 1e-6  # false-alarm rate of every statistical test here
VOCABULARIES = [2, 3, 100, 30522, 10**6]
AMPLITUDES = st.floats(0, 1)


@cache
def below(z, K):
    """Phi(z)^(K-1), kept because mpmath visits the same nodes for every mu."""
    return mp.ncdf(z) ** (K - 1)


def definition(mu, K):
    """T = K/(K-1) [int phi(z - mu) Phi(z)^(K-1) dz - 1/K], and dT/dmu, whose integrand has a factor z - mu; mu < 14.

    Both at once, as real and imaginary part; phi is below e^-98 beyond 14.
    """
    ends = range(math.floor(mu) - 14, math.ceil(mu) + 15)
    wins = mp.quad(lambda z: mp.npdf(z - mu) * below(z, K) * mp.mpc(1, z - mu), list(ends), method="gauss-legendre")
    return (K * wins.real - 1) / (K - 1), K * wins.imag / (K - 1)


@pytest.mark.parametrize("K", VOCABULARIES)
@pytest.mark.parametrize("a", [1e-12, 0.3, 0.9, 0.97, 0.99])
def test_transform_is_its_definition(K, a):
    with mp.workdps(40):
        exact_a = mp.mpf(a)
        root = mp.sqrt(1 - exact_a**2)
        T, slope = definition(exact_a / root, K)
        assert uniform_alpha(a, K) == pytest.approx(float(T), rel=1e-13, abs=0)
        assert uniform_alpha_derivative(a, K) == pytest.approx(float(slope / root**3), rel=1e-13, abs=0)


@pytest.mark.parametrize("K", VOCABULARIES)
@pytest.mark.parametrize("gamma", [30.0, -1.75, -3.5, -5.0])
def test_alpha_of_gamma_and_its_complement(K, gamma):
    got = alpha_of_gamma(torch.tensor(gamma), K)
    with mp.workdps(40):
        mu = mp.exp(-mp.mpf(gamma) / 2)
        T, slope = definition(mu, K)
        exact = [float(value) for value in (T, 1 - T, -mu / 2 * slope)]
    assert [float(value) for value in got] == pytest.approx(exact, rel=1e-13, abs=0)


REFERENCE = [
    (100, 0.3, 1.125184640553612e-02),
    (100, 0.6, 4.277608132843221e-02),
    (100, 0.9, 0.3384003596252066),
    (50257, 0.6, 3.476042052180782e-04),
    (50257, 0.9, 1.804584237784807e-02),
    (50257, 0.97, 0.4090020701657609),
]


@pytest.mark.parametrize(("K", "a", "T"), REFERENCE)
def test_reference_numbers(K, a, T):
    assert uniform_alpha(a, K) == pytest.approx(T, rel=2e-14)


@given(st.floats(1e-300, 1, exclude_max=True))
def test_two_tokens_have_the_error_function(a):
    mu = a / math.sqrt((1 - a) * (1 + a))
    assert uniform_alpha(a, 2) == pytest.approx(math.erf(mu / 2), rel=1e-13, abs=0)


@pytest.mark.parametrize("mu", [0.1, 2.0, 10.0, 30.0, 52.0])
def test_complement_keeps_its_digits_to_the_end_of_the_number_range(mu):
    """K = 2: 1 - T = erfc(mu/2). As mu grows, 1 - T -> K P(one given Gaussian exceeds that of x) = K/2 erfc(mu/2).

    The relative tolerance is what the rounding of gamma = -2 log mu leaves: d log(1 - T)/d gamma = mu^2/4.
    """
    gamma = torch.tensor(-2 * math.log(mu), dtype=torch.float64)
    rounding = 1e-14 + 1e-15 * mu**2
    exact = float(mp.erfc(mp.mpf(mu) / 2))
    assert float(alpha_of_gamma(gamma, 2).one_minus_alpha) == pytest.approx(exact, rel=rounding, abs=0)
    if mu > 25:
        got = float(alpha_of_gamma(gamma, 10**6).one_minus_alpha)
        assert got == pytest.approx(5e5 * exact, rel=rounding, abs=0)


@given(st.floats(1e-6, 0.999))
def test_derivative_for_three_tokens(a):
    """dT/dmu = 3 phi(mu/sqrt 2) Phi(mu/sqrt 6)/sqrt 2, for v(z) phi(z - mu) is a Gaussian times Phi."""
    mu = a / math.sqrt((1 - a) * (1 + a))
    slope = 3 * math.exp(-(mu**2) / 4) / math.sqrt(4 * math.pi) * ndtr(mu / math.sqrt(6))
    assert uniform_alpha_derivative(a, 3) == pytest.approx(slope * (1 + mu**2) ** 1.5, rel=1e-12, abs=1e-300)


def test_density_as_printed_would_not_give_an_alpha():
    """Negative control of the erratum: eq. (17) with phi(z) = exp(-z^2)/sqrt(2 pi), at a = 0 and K = 2."""
    z = np.linspace(-9, 9, 20001)
    wins = np.trapezoid(np.exp(-(z**2)) / math.sqrt(2 * math.pi) * ndtr(z), z)
    assert 2 * (wins - 1 / 2) == pytest.approx(-0.29, abs=5e-3)
    assert uniform_alpha(0.0, 2) == 0


@given(AMPLITUDES, AMPLITUDES, st.sampled_from([*VOCABULARIES, 7, 10**9]))
def test_increasing_from_zero_to_one(a, b, K):
    low, high = uniform_alpha(np.sort([a, b]), K)
    assert 0 <= low <= high <= 1
    if a > 1e-300 and abs(a - b) > 1e-6 and high < 1 - 1e-6:
        assert low < high
    assert uniform_alpha_derivative(a, K) >= 0
    np.testing.assert_array_equal(uniform_alpha(np.array([0.0, 1.0]), K), [0, 1])
    np.testing.assert_array_equal(gaussian_alpha(np.array([0.0, 1.0]), K), [0, 1])
    assert uniform_alpha_derivative(1.0, K) == 0


@given(
    st.one_of(st.floats(1e-250, 1, exclude_max=True), st.floats(1e-12, 1e-3).map(lambda d: 1 - d)),
    st.integers(2, 10**6),
)
def test_inverse(alpha, K):
    assert uniform_alpha(gaussian_alpha(alpha, K), K) == pytest.approx(alpha, rel=2e-13, abs=0)


@given(st.floats(1e-200, 0.95), st.integers(2, 10**6))
def test_inverse_of_the_transform(a, K):
    assert gaussian_alpha(uniform_alpha(a, K), K) == pytest.approx(a, rel=1e-11, abs=0)


TWICE = 2e-13  # between two sums for T or its inverse, each within 1e-13 of it: those of one row and of many differ


@pytest.mark.parametrize("K", [2, 9, 30522])
@pytest.mark.parametrize("function", [uniform_alpha, uniform_alpha_derivative, gaussian_alpha])
def test_result_is_of_the_kind_of_the_argument(function, K):
    number = function(0.5, K)
    assert type(number) is float
    array = function(np.array([[0.5, 0.2]], np.float32), K)
    assert isinstance(array, np.ndarray)
    assert (array.dtype, array.shape) == (np.float64, (1, 2))
    assert array[0, 0] == pytest.approx(number, rel=TWICE, abs=0)
    tensor = function(torch.tensor([0.5, 0.2]), K)
    assert isinstance(tensor, torch.Tensor)
    assert (tensor.dtype, tensor.shape) == (torch.float64, (2,))
    assert float(tensor[0]) == pytest.approx(number, rel=TWICE, abs=0)


def test_a_long_array_is_its_parts():
    a = np.linspace(0, 1, 2500)
    parts = [uniform_alpha(float(value), 50) for value in a[::250]]
    np.testing.assert_allclose(uniform_alpha(a, 50)[::250], parts, rtol=TWICE)


# The relaxed argmax


def law(z, x, K, alpha, chi_square):
    """p-value of tokens z under Cat(alpha x + (1 - alpha)/K)."""
    counts = np.bincount(z.flatten().numpy(), minlength=K)
    return chi_square(counts, alpha * np.eye(K)[x] + (1 - alpha) / K)


@pytest.mark.statistical(alarm=ALMOST_NEVER)
@pytest.mark.parametrize(("K", "a"), [(2, 0.5), (5, 0.2), (5, 0.8), (40, 0.9)])
@pytest.mark.parametrize("top_k", [None, 1, 2, 5, 40])
def test_hard_tokens_have_the_uniform_law(K, a, top_k, chi_square, seed):
    soft = relaxed_argmax(torch.full((200, 100), 1), a, K, 0.1, top_k=top_k, generator=seed(K))
    alpha = uniform_alpha(a, K)
    assert law(soft.hard, 1, K, alpha, chi_square) > ALMOST_NEVER
    assert law(soft.hard, 1, K, alpha + 0.06, chi_square) < ALMOST_NEVER
    assert law(soft.hard, 0, K, alpha, chi_square) < ALMOST_NEVER


@pytest.mark.statistical(alarm=3 * ALMOST_NEVER)
@pytest.mark.parametrize("top_k", [None, 3])
def test_one_amplitude_for_each_sequence(top_k, chi_square, seed):
    a = torch.tensor([0.0, 0.4, 0.9, 1.0])
    hard = relaxed_argmax(torch.full((4, 20000), 2), a, 6, 1e-3, top_k=top_k, generator=seed(1)).hard
    for z, amplitude in zip(hard[:3], a[:3].tolist()):
        assert law(z, 2, 6, uniform_alpha(amplitude, 6), chi_square) > ALMOST_NEVER
    assert (hard[3] == 2).all()


def totals(soft, K):
    """The K weights of each position, (N, K) float64."""
    tokens, weights, rest = (value.reshape(-1, value.shape[-1]) for value in (*soft[:2], soft.rest[..., None]))
    return torch.zeros(len(tokens), K, dtype=torch.float64).scatter(1, tokens, weights.double()) + rest.double() / K


def two_sample(a, b):
    """p-value that two samples of cells have one law: sum (n - m)^2/(n + m) for samples of one size."""
    assert len(a) == len(b)
    n, m = Counter(a), Counter(b)
    cells = [cell for cell in n | m if n[cell] + m[cell] >= 10]
    return gammaincc((len(cells) - 1) / 2, sum((n[c] - m[c]) ** 2 / (n[c] + m[c]) for c in cells) / 2)


@pytest.mark.statistical(alarm=3 * ALMOST_NEVER)
@pytest.mark.parametrize("top_k", [2, 3, 5, 9])
def test_largest_entries_have_their_joint_law(top_k, seed):
    """Tokens in order with the differences w_1 - w_j, against the same from all K = 5 entries."""
    K, tau, x = 5, 0.7, torch.full((300, 100), 3)

    def cells(a, k, stream):
        soft = relaxed_argmax(x, a, K, tau, top_k=k, generator=seed(stream))
        p, kept = totals(soft, K), min(top_k, K)
        tokens = soft.tokens[..., :kept].reshape(-1, kept)
        differences = tau * (p.gather(1, tokens[:, :1]) / p.gather(1, tokens)).log()
        bins = torch.bucketize(differences[:, 1:].contiguous(), torch.tensor([0.3, 0.8, 1.5], dtype=torch.float64))
        return {
            "tokens": [tuple(row) for row in tokens.tolist()],
            "differences": [tuple(row) for row in bins.tolist()],
            "both": [tuple(row) for row in torch.cat([tokens[:, :2], bins[:, :1]], 1).tolist()],
        }

    exact, got, other = cells(0.6, None, 1), cells(0.6, top_k, 2), cells(0.5, top_k, 3)
    for name in exact:
        assert two_sample(exact[name], got[name]) > ALMOST_NEVER, name
    assert two_sample(exact["both"], other["both"]) < ALMOST_NEVER


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_all_entries_have_the_law_of_the_exact_weights(seed):
    """k = K: the weight of the winner, and of x, in deciles."""
    K, tau, x = 5, 0.7, torch.zeros(400, 100, dtype=torch.int64)
    exact, got, hotter = (
        totals(relaxed_argmax(x, 0.6, K, t, top_k=k, generator=seed(s)), K)
        for t, k, s in [(tau, None, 1), (tau, K, 2), (0.8, K, 3)]
    )
    deciles = torch.quantile(exact[:20000].max(1).values, torch.linspace(0.1, 0.9, 9, dtype=torch.float64))

    def cells(p):
        return list(zip(torch.bucketize(p.max(1).values, deciles).tolist(), (p[:, 0] * 4).int().tolist()))

    assert two_sample(cells(exact), cells(got)) > ALMOST_NEVER
    assert two_sample(cells(exact), cells(hotter)) < ALMOST_NEVER


@pytest.mark.parametrize("top_k", [None, 1, 3, 50])
@pytest.mark.parametrize("tau", [1e-3, 0.1, 1.0, 1e6])
def test_weights(top_k, tau):
    K, x = 50, torch.arange(50).repeat(4, 1)
    a = torch.tensor([0.0, 0.5, 0.99, 1.0])
    tokens, weights, rest = relaxed_argmax(x, a, K, tau, top_k=top_k, generator=0)
    k = top_k or K
    assert tokens.shape == weights.shape == (4, 50, k)
    assert rest.shape == (4, 50)
    assert (tokens.dtype, weights.dtype, rest.dtype) == (torch.int64, torch.float32, torch.float32)
    assert (tokens.sort(-1).values.diff(dim=-1) > 0).all()
    assert tokens.min() >= 0
    assert tokens.max() < K
    assert (weights.diff(dim=-1) <= 0).all()
    assert weights.min() >= 0
    assert ((weights.sum(-1) + rest) - 1).abs().max() < 1e-5
    assert k < K or (rest == 0).all()


@pytest.mark.parametrize("top_k", [None, 4])
def test_limits_of_the_temperature(top_k):
    x = torch.arange(20).repeat(10, 1)
    for tau in (1e-300, 1e-12):
        cold = relaxed_argmax(x, 0.8, 20, tau, top_k=top_k, generator=0)
        assert (cold.weights[..., 0] == 1).all()
        assert (cold.weights[..., 1:] == 0).all()
        assert (cold.rest == 0).all()
    hot = totals(relaxed_argmax(x, 0.8, 20, 1e9, top_k=top_k, generator=0), 20)
    np.testing.assert_allclose(hot, 1 / 20, atol=1e-7)


@pytest.mark.statistical(alarm=1e-8)
@pytest.mark.parametrize(("K", "top_k", "tau"), [(2000, 10, 0.3), (2000, 100, 0.3), (2000, 100, 0.1), (300, 299, 1.0)])
def test_truncated_softmax_has_the_mean_weights_of_the_exact_one(K, top_k, tau, seed):
    """Mean weight of x, of the winner and of the second, within 6 standard errors and 0.002."""
    x, a = torch.randint(K, (20, 100), generator=torch.Generator().manual_seed(seed(0))), 0.9
    exact, got = (relaxed_argmax(x, a, K, tau, top_k=k, generator=seed(s)) for k, s in [(None, 1), (top_k, 2)])

    def figures(soft):
        p = totals(soft, K)
        return torch.stack([p.gather(1, x.reshape(-1, 1)).squeeze(1), *p.topk(2).values.unbind(1)])

    assert exact.rest.max() == 0
    difference, error = (f(figures(exact), figures(got)) for f in (_mean_difference, _standard_error))
    assert (difference <= 6 * error + 2e-3).all(), (difference, error)


def _mean_difference(a, b):
    return (a.mean(1) - b.mean(1)).abs()


def _standard_error(a, b):
    return torch.sqrt((a.var(1) + b.var(1)) / a.shape[1])


@pytest.mark.parametrize("b", [0.0, 0.3, 5.0, 200.0])
@pytest.mark.parametrize("c", [-4.0, 0.0, 3.5])
def test_mean_of_the_tail(b, c):
    """log E[exp(b g) | g < c] by quadrature, u = c - g."""
    with mp.workdps(30):
        scale = 1 / (1 + abs(mp.mpf(b) - c))
        edges = [0, *(scale * mp.mpf(2) ** j for j in range(9))]
        total = mp.quad(lambda u: mp.exp(-b * u) * mp.npdf(c - u), edges)
        exact = float(b * mp.mpf(c) + mp.log(total / mp.ncdf(c)))
    got = _log_mean_exp_below(*(torch.tensor(value, dtype=torch.float64) for value in (c, b)))
    assert float(got) == pytest.approx(exact, rel=1e-13, abs=1e-13)


def uniform_cells(*coordinates):
    """Counts and probabilities of 6 equal bins of each coordinate in [0, 1], jointly."""
    counts, _ = np.histogramdd(np.stack(coordinates, 1), [np.linspace(0, 1, 7)] * len(coordinates))
    return counts, np.full(counts.shape, 1 / counts.size)


@pytest.mark.statistical(alarm=ALMOST_NEVER)
@pytest.mark.parametrize("n", [3, 50, 10**6, 10**12])
def test_largest_normals(n, chi_square, seed):
    """The upper probabilities q_j of the largest are the smallest of n uniforms: q_3 ~ Beta(3, n - 2), and q_1/q_2,
    (q_2/q_3)^2 and the law of q_3 are independent uniforms."""
    g = _largest_normals(n, (200, 150, 3), torch.Generator().manual_seed(seed(3))).reshape(-1, 3).numpy()
    assert (np.diff(g) <= 0).all()
    q = ndtr(-g)
    ratios = q[:, 0] / q[:, 1], (q[:, 1] / q[:, 2]) ** 2
    assert chi_square(*uniform_cells(betainc(3, n - 2, q[:, 2]), *ratios)) > ALMOST_NEVER
    assert chi_square(*uniform_cells(betainc(3, 1.1 * n - 2, q[:, 2]))) < ALMOST_NEVER


def test_a_uniform_number_that_is_zero(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.zeros(shape, dtype=torch.float64))
    assert _largest_normals(100, (3,), torch.Generator()).isfinite().all()


@pytest.mark.statistical(alarm=ALMOST_NEVER)
@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_distinct_tokens_are_uniform_in_all_orders(m, chi_square, seed):
    K, x = 6, torch.full((200, 100), 2)
    drawn = Counter(map(tuple, _distinct(x, K, m, torch.Generator().manual_seed(seed(m))).reshape(-1, m).tolist()))
    allowed = list(itertools.permutations([0, 1, 3, 4, 5], m))
    assert set(drawn) <= set(allowed)
    assert chi_square([drawn[choice] for choice in allowed], np.full(len(allowed), 1 / len(allowed))) > ALMOST_NEVER
    once = np.full(len(allowed), 1 / (len(allowed) - 1))
    once[0] = 0
    assert chi_square([drawn[choice] for choice in allowed], once) < ALMOST_NEVER


def test_repeated_tokens_are_found_in_a_large_vocabulary():
    """200 of 999 ids: nearly every row has to be mended."""
    x = torch.randint(1000, (30, 10), generator=torch.Generator().manual_seed(0))
    ids = _distinct(x, 1000, 200, torch.Generator().manual_seed(1))
    assert (ids.sort(-1).values.diff(dim=-1) > 0).all()
    assert (ids != x[..., None]).all()
    assert (ids.min(), ids.max()) == (0, 999)


@pytest.mark.statistical(alarm=6e-7)
def test_vocabulary_of_a_trillion(seed):
    """Nothing is K wide."""
    x = torch.full((50, 100), 10**12 - 1)
    soft = relaxed_argmax(x, 0.98, 10**12, 1e-3, top_k=4, generator=seed(0))
    kept = (soft.hard == x).double().mean()
    alpha = uniform_alpha(0.98, 10**12)
    assert abs(kept - alpha) < 5 * math.sqrt(alpha * (1 - alpha) / x.numel())  # 5 standard errors
    assert (soft.tokens.sort(-1).values.diff(dim=-1) > 0).all()


@pytest.mark.parametrize("top_k", [None, 3])
def test_seed_decides(top_k):
    x = torch.arange(12).reshape(3, 4)

    def draw(generator):
        return relaxed_argmax(x, 0.5, 12, 0.5, top_k=top_k, generator=generator)

    for one, same, other in zip(draw(7), draw(torch.Generator().manual_seed(7)), draw(8)):
        assert torch.equal(one, same)
        assert one.eq(0).all() or not torch.equal(one, other)


# The curriculum


def test_published_curriculum():
    curriculum = Curriculum()
    assert [curriculum.active(step) for step in (0, 499_999, 500_000)] == [True, True, False]
    assert curriculum.tau(0) == curriculum.tau(123_456) == 1e-3
    assert curriculum.process(30522).schedule == GaussianDual(30522, -3.5, -1.75)
    assert Curriculum(**json.loads(json.dumps(asdict(curriculum)))) == curriculum


def test_temperature_is_geometric():
    curriculum = Curriculum(start=100, end=200, tau_start=0.1, tau_end=0.001)
    assert not curriculum.active(99)
    assert [curriculum.tau(step) for step in (100, 150, 200)] == pytest.approx([0.1, 0.01, 0.001])


@pytest.mark.statistical(alarm=6 * ALMOST_NEVER)
@pytest.mark.parametrize("top_k", [None, 2, 32])
def test_curriculum_and_its_process_have_one_law(top_k, chi_square, seed):
    K, curriculum = 8, Curriculum(gamma_min=-2.0, gamma_max=2.0, top_k=top_k)
    t, x = torch.tensor([0.1, 0.5, 1.0]), torch.full((3, 20000), 5)
    process = curriculum.process(K)
    soft = curriculum.corrupt(x, t, 10, K, generator=seed(2))
    assert soft.tokens.shape[-1] == min(top_k or K, K)
    for z, z_process, alpha in zip(soft.hard, process.corrupt(x, t, generator=seed(3)), process.alpha(t).tolist()):
        assert law(z, 5, K, alpha, chi_square) > ALMOST_NEVER
        assert law(z_process, 5, K, alpha, chi_square) > ALMOST_NEVER
        assert law(z, 5, K, alpha + 0.06, chi_square) < ALMOST_NEVER


def test_top_k_of_the_published_curriculum_leaves_nothing_out():
    soft = Curriculum().corrupt(torch.zeros(50, 100, dtype=torch.int64), 0.5, 0, 30522, generator=0)
    assert soft.rest.max() < 1e-30


X = torch.tensor([[0, 1, 2]])


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (r"`gaussian_alpha` must lie in \[0, 1\], got 1.5", lambda: uniform_alpha(1.5, 4)),
        ("`gaussian_alpha`", lambda: uniform_alpha_derivative(math.nan, 4)),
        ("`alpha`", lambda: gaussian_alpha(np.array([0.5, -0.1]), 4)),
        ("`vocab_size`", lambda: uniform_alpha(0.5, 1)),
        ("`vocab_size`", lambda: alpha_of_gamma(torch.tensor(0.5), 2.5)),
        ("`x`", lambda: relaxed_argmax(X, 0.5, 2, 1.0)),
        ("`gaussian_alpha`", lambda: relaxed_argmax(X, -0.5, 4, 1.0)),
        ("`gaussian_alpha` must be a scalar", lambda: relaxed_argmax(X, torch.tensor([0.5, 0.5]), 4, 1.0)),
        ("`tau`", lambda: relaxed_argmax(X, 0.5, 4, 0.0)),
        ("`tau`", lambda: relaxed_argmax(X, 0.5, 4, math.inf)),
        ("`top_k`", lambda: relaxed_argmax(X, 0.5, 4, 1.0, top_k=0)),
        ("`start`", lambda: Curriculum(start=-1)),
        ("`end`", lambda: Curriculum(start=5, end=5)),
        ("`gamma_min`", lambda: Curriculum(gamma_min=1.0, gamma_max=0.0)),
        ("`tau_start`", lambda: Curriculum(tau_start=0.0)),
        ("`tau_end`", lambda: Curriculum(tau_end=math.nan)),
        ("`top_k`", lambda: Curriculum(top_k=0)),
        ("`t`", lambda: Curriculum().corrupt(X, 1.5, 0, 4)),
        ("`t` must be a scalar", lambda: Curriculum().corrupt(X, torch.tensor([0.5, 0.5]), 0, 4)),
    ],
)
def test_rejects(words, wrong):
    with pytest.raises((TypeError, ValueError), match=words):
        wrong()
