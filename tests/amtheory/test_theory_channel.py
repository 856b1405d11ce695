"""The channel against enumeration, simulation and its limits."""

import itertools
import json
import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr

from amtheory.theory import channel


@given(st.floats(0, 1), st.integers(2, 10**5))
def test_capacity(alpha, K):
    """The mutual information of input and output, both uniform."""
    row = np.full(K, (1 - alpha) / K)
    row[0] += alpha
    assert channel.capacity(alpha, K) == pytest.approx(rel_entr(row, 1 / K).sum(), rel=1e-9, abs=1e-11)


def test_limits_of_the_capacity():
    np.testing.assert_allclose(channel.capacity([[0.0], [1.0]], [2, 50257]), [[0, 0], np.log([2, 50257])], rtol=1e-14)
    assert channel.capacity(1e-9, [2, 1001]) == pytest.approx([5e-19, 5e-16], rel=1e-6)
    assert np.ndim(channel.capacity(0.5, 2)) == 0


def test_critical_alpha():
    found = [channel.critical_alpha(P, 128, 2) for P in (10**2, 10**4, 10**6)]
    assert found == pytest.approx([0.2666, 0.374733, 0.4560], abs=6e-5)
    assert channel.critical_alpha(1, 10, 3) == 0.0
    assert channel.critical_alpha(3**10, 10, 3) == pytest.approx(1)
    assert math.isnan(channel.critical_alpha(3**10 + 1, 10, 3))
    assert channel.critical_alpha(2**60, 60, 2) == 1
    assert math.isnan(channel.critical_alpha(2**60 + 1, 60, 2))  # of the same logarithm in floats
    below = channel.critical_alpha(2**60 - 2**40, 60, 2)
    assert 0 < 1 - below < 1e-6
    assert channel.capacity(below, 2) == pytest.approx(math.log(2**60 - 2**40) / 60, rel=1e-12)
    assert 0.1 < channel.critical_alpha(10**400, 1024, 50257) < 0.2


def test_critical_alpha_against_the_reference_file(shared_data):
    for point, expected in json.loads((shared_data / "reference" / "theory.json").read_text())["rem_alpha_c"].items():
        K, L, P = (int(float(v)) for v in point.split(","))
        assert channel.critical_alpha(P, L, K) == pytest.approx(expected, abs=1e-9)


@given(st.integers(2, 10**30), st.integers(20, 10**4), st.integers(2, 10**5))
def test_critical_alpha_is_where_the_capacity_is_the_rate(P, L, K):
    alpha = channel.critical_alpha(P, L, K)
    if math.log(P) < L * math.log(K) * (1 - 1e-12):
        assert channel.capacity(alpha, K) == pytest.approx(math.log(P) / L, rel=1e-7)
    else:
        assert math.isnan(alpha) or alpha == pytest.approx(1)


@pytest.mark.parametrize(("P", "L", "K", "alpha"), [(2, 3, 2, 0.3), (5, 7, 3, 0.5), (30, 10, 2, 0.2), (3, 4, 50, 0.01)])
def test_retrieval_probability_equals_enumeration(P, L, K, alpha):
    """Over how many common tokens the right sequence has, and how many of the others tie with it."""

    def law(p):
        return np.array([math.comb(L, n) * p**n * (1 - p) ** (L - n) for n in range(L + 1)])

    right, other = law(alpha + (1 - alpha) / K), law(1 / K)
    expected = sum(
        right[n] * math.comb(P - 1, k) * other[n] ** k * other[:n].sum() ** (P - 1 - k) / (k + 1)
        for n in range(L + 1)
        for k in range(P)
    )
    assert channel.retrieval_probability(P, L, K, alpha) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("P", "L", "K"), [(10**7, 128, 2), (10**7, 40, 2), (10**15, 64, 50257), (10**30, 100, 2)])
@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_retrieval_probability_in_exact_arithmetic(P, L, K, fraction):
    alpha = fraction * channel.critical_alpha(P, L, K)
    with localcontext(prec=400):
        s, other, expected, below = Decimal(alpha) + (1 - Decimal(alpha)) / K, 1 / Decimal(K), Decimal(0), Decimal(0)
        for n in range(L + 1):
            f = math.comb(L, n) * other**n * (1 - other) ** (L - n)
            upto = min(below + f, Decimal(1))
            expected += math.comb(L, n) * s**n * (1 - s) ** (L - n) * (upto**P - below**P) / (P * f)
            below = upto
    assert channel.retrieval_probability(P, L, K, alpha) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.statistical(alarm=1e-6)
def test_retrieval_probability_of_a_simulation(seed):
    """200 sequences in each of 400 samples: standard error at most 0.025, so one seed in 1e6 fails."""
    P, L, K, rng = 200, 40, 3, np.random.default_rng(seed(1))
    alpha = channel.critical_alpha(P, L, K)
    won = []
    for _ in range(400):
        x = rng.integers(K, size=(P, L), dtype=np.int8)
        z = np.where(rng.random(L) < alpha, x[0], rng.integers(K, size=L))
        common = (x == z).sum(axis=1)
        won.append((common[0] == common.max()) / (common == common.max()).sum())
    assert np.mean(won) == pytest.approx(channel.retrieval_probability(P, L, K, alpha), abs=0.12)
    assert np.mean(won) != pytest.approx(channel.retrieval_probability(100 * P, L, K, alpha), abs=0.12)  # control


def test_retrieval_probability_at_known_points():
    a = channel.critical_alpha(2000, 60, 2)
    found = channel.retrieval_probability(2000, 60, 2, np.multiply(a, [0.6, 0.8, 1.0]))
    assert found == pytest.approx([0.1351, 0.3672, 0.6786], abs=5e-5)
    assert channel.retrieval_probability(1, 5, 2, [0.0, 0.5]).tolist() == [1.0, 1.0]
    assert channel.retrieval_probability(7, 20, 3, 0.0) == pytest.approx(1 / 7, rel=1e-11)  # all P are alike


def test_retrieval_probability_of_huge_memories():
    """The transition sharpens around the critical alpha."""
    P, L, K = 10**400, 1024, 50257
    a = channel.critical_alpha(P, L, K)
    low, high = channel.retrieval_probability(P, L, K, [0.7 * a, 1.3 * a])
    assert low < 0.01 < 0.99 < high
    assert channel.retrieval_probability(10**12, 20000, 2, 0.0) == pytest.approx(1e-12, rel=1e-6)


@given(st.integers(2, 10**40), st.integers(1, 300), st.integers(2, 1000), st.floats(0, 1), st.floats(0, 1))
def test_retrieval_probability_grows_with_alpha_and_falls_with_the_load(P, L, K, a, b):
    low, high = channel.retrieval_probability(P, L, K, sorted([a, b]))
    assert 0 <= low <= high * (1 + 1e-9) <= 1 + 1e-9
    assert channel.retrieval_probability(2 * P, L, K, a) <= channel.retrieval_probability(P, L, K, a) * (1 + 1e-9)


def weight_by_enumeration(P, L, K, alpha):
    """Over how many common tokens each sequence has, in rational arithmetic."""
    s, other = Fraction(alpha) + (1 - Fraction(alpha)) / K, Fraction(1, K)

    def law(p):
        return [math.comb(L, n) * p**n * (1 - p) ** (L - n) for n in range(L + 1)]

    right, f = law(s), law(other)
    ratio = 1 + K * Fraction(alpha) / (1 - Fraction(alpha))  # exp(b)
    return float(
        sum(
            right[n] * math.prod(f[m] for m in others) / sum(ratio ** (m - n) for m in (n, *others))
            for n, *others in itertools.product(range(L + 1), repeat=P)
        )
    )


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize(("P", "L", "K"), [(1, 5, 2), (2, 3, 2), (4, 4, 3), (5, 3, 2), (3, 4, 50)])
def test_posterior_weight_by_enumeration(P, L, K, alpha):
    expected = weight_by_enumeration(P, L, K, alpha)
    assert channel.posterior_weight(P, L, K, alpha) == pytest.approx(expected, rel=1e-12)


def test_limits_of_the_posterior_weight():
    assert channel.posterior_weight(7, 20, 3, 0.0) == pytest.approx(1 / 7, rel=1e-12)  # all P are alike
    assert channel.posterior_weight(10**9, 30, 30522, 1e-15) == pytest.approx(1e-9, rel=1e-6)
    assert channel.posterior_weight(1, 20, 3, [0.0, 0.5, 1.0]) == pytest.approx([1, 1, 1], rel=1e-14)
    assert channel.posterior_weight(10**9, 64, 30522, 1.0) == pytest.approx(1, rel=1e-12)
    twins = sum(math.comb(8, k) * (1 / 4) ** k * (3 / 4) ** (8 - k) / (k + 1) for k in range(9))
    assert channel.posterior_weight(10**300, 6, 2, 0.0) == pytest.approx(1e-300, rel=1e-12)
    assert channel.posterior_weight(9, 2, 2, 1.0) == pytest.approx(twins, rel=1e-12)  # copies share alike


@given(st.integers(1, 10**9), st.integers(1, 40), st.integers(2, 10**5), st.floats(0, 1), st.floats(0, 1))
def test_posterior_weight_is_monotone_and_below_the_best(P, L, K, one, other):
    levels = sorted([one, other])
    low, high = channel.posterior_weight(P, L, K, levels)
    assert (1 - 1e-9) / P <= low <= high * (1 + 1e-9)
    assert channel.posterior_weight(2 * P, L, K, one) <= channel.posterior_weight(P, L, K, one) * (1 + 1e-9)
    assert np.all([low, high] <= channel.retrieval_probability(P, L, K, levels) * (1 + 1e-9))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: channel.capacity(1.1, 2), ValueError, r"`alpha` must be in \[0, 1\], got 1.1"),
        (lambda: channel.capacity(0.5, 1), ValueError, "`K` must be integers >= 2, got 1"),
        (lambda: channel.capacity(0.5, 2.5), ValueError, "`K` must be integers >= 2, got 2.5"),
        (lambda: channel.critical_alpha(0, 1, 2), ValueError, "`P` must be at least 1, got 0"),
        (lambda: channel.critical_alpha(1e30, 1, 2), TypeError, "`P` must be an integer"),
        (lambda: channel.retrieval_probability(2, 0, 2, 0.5), ValueError, "`L` must be at least 1, got 0"),
        (lambda: channel.posterior_weight(2, 3, 1, 0.5), ValueError, "`K` must be at least 2, got 1"),
        (lambda: channel.posterior_weight(10**300 + 1, 3, 2, 0.5), ValueError, "`P` must be in"),
        (lambda: channel.posterior_weight(2.5, 3, 2, 0.5), TypeError, "`P` must be an integer"),
        (lambda: channel.retrieval_probability(2, 3, 2, -1), ValueError, r"`alpha` must be in \[0, 1\], got -1"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
