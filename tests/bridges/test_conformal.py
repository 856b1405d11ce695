"""Conformal p-values by counting and by their law, discoveries against scipy's, limits against the binomial law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, false_discovery_control

from amtheory.intervals import clopper_pearson
from bridges import conformal_p_values, discoveries, share_limit

SCORES = st.lists(st.integers(-3, 3) | st.floats(allow_nan=False), min_size=1, max_size=12)
P = st.lists(st.integers(0, 20).map(lambda k: k / 20) | st.floats(0, 1), min_size=1, max_size=20)


@given(SCORES, SCORES)
def test_p_values_count(scores, calibration):
    want = [(1 + sum(c >= s for c in calibration)) / (len(calibration) + 1) for s in scores]
    np.testing.assert_allclose(conformal_p_values(scores, calibration), want, rtol=1e-15)


@pytest.mark.statistical(alarm=1e-6)
@pytest.mark.parametrize("decimals", [0, 15])
def test_p_values_are_valid(decimals, seed):
    """P(p <= u) <= u, exactly k/(m + 1) at u = k/(m + 1) without ties, within 5 standard errors of 20000 repeats.
    Negative control: the share of calibration scores is 0 that often."""
    rng, m, n = np.random.default_rng(seed(0)), 9, 20000
    draws = rng.standard_normal((n, m + 1)).round(decimals)
    p = np.array([conformal_p_values(row[:1], row[1:])[0] for row in draws])
    for k in range(1, m + 1):
        share, error = np.mean(p <= k / (m + 1) + 1e-12), 5 * np.sqrt(k * (m + 1 - k) / n) / (m + 1)
        assert share < k / (m + 1) + error
        assert decimals == 0 or share > k / (m + 1) - error
    impossible = np.mean((draws[:, 1:] >= draws[:, :1]).mean(1) == 0)
    assert decimals == 0 or abs(impossible - 1 / (m + 1)) < 5 * np.sqrt(m / n) / (m + 1)


@given(P, st.floats(0.01, 0.99))
def test_discoveries_are_those_of_scipy(p, level):
    assert discoveries(p, level).tolist() == (false_discovery_control(p) <= level).tolist()


@pytest.mark.statistical(alarm=1e-4)
def test_the_false_discovery_rate_is_kept_with_a_shared_calibration_set(seed):
    """At most level times the share of true hypotheses, .1 * .8, on average over 2000 repeats, within four standard
    errors. Negative control: every p below the level."""
    rng, shares, naive = np.random.default_rng(seed(0)), [], []
    for _ in range(2000):
        p = conformal_p_values(np.append(rng.standard_normal(40), 3 + rng.standard_normal(10)), rng.standard_normal(99))
        for found, kept in ((discoveries(p, 0.1), shares), (p <= 0.1, naive)):
            kept.append(found[:40].sum() / max(1, found.sum()))
    assert np.mean(shares) < 0.08 + 4 * np.std(shares) / np.sqrt(2000)
    assert np.mean(naive) > 0.15


def test_nothing_is_found_among_too_few():
    """The smallest p is 1/(m + 1): k discoveries of n need k >= n/((m + 1) level)."""
    assert not discoveries(np.append(np.full(4, 0.01), np.ones(96)), 0.05).any()
    assert discoveries(np.append(np.full(20, 0.01), np.ones(80)), 0.05).sum() == 20


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 500), (3, 20), (20, 20)])
@pytest.mark.parametrize("confidence", [0.4, 0.9, 0.95])
def test_the_limit_is_where_so_few_are_unlikely(k, n, confidence):
    limit = share_limit(k, n, confidence=confidence)
    assert limit == 1 if k == n else binom.cdf(k, n, limit) == pytest.approx(1 - confidence)
    assert share_limit(k, n, confidence=confidence, power=0.5) == min(1, 2 * limit)


def test_the_rule_of_three():
    assert [share_limit(0, n) * n for n in (100, 1000, 10**5)] == pytest.approx([3, 3, 3], rel=0.02)


@given(st.integers(0, 50), st.integers(1, 50), st.floats(0.5, 0.99))
def test_the_binomial_interval_is_that_of_scipy(k, more, confidence):
    n = k + more - 1 or 1
    want = binomtest(k, n).proportion_ci(confidence, method="exact")
    assert clopper_pearson(k, n, confidence) == pytest.approx((k / n, *want), abs=1e-9)
    assert np.isnan(clopper_pearson(0, 0)).all()


@pytest.mark.parametrize(
    ("error", "name", "call"),
    [
        (ValueError, "scores", lambda: conformal_p_values([np.nan], [1.0])),
        (ValueError, "calibration", lambda: conformal_p_values([1.0], [])),
        (ValueError, "p", lambda: discoveries([0.5, 1.5])),
        (ValueError, "p", lambda: discoveries([])),
        (TypeError, "p", lambda: discoveries([True])),
        (ValueError, "level", lambda: discoveries([0.5], 1)),
        (ValueError, "n", lambda: share_limit(0, 0)),
        (ValueError, "found", lambda: share_limit(3, 2)),
        (TypeError, "found", lambda: share_limit(0.5, 2)),
        (ValueError, "confidence", lambda: share_limit(0, 2, confidence=95)),
        (ValueError, "power", lambda: share_limit(0, 2, power=0)),
        (ValueError, "power", lambda: share_limit(0, 2, power=1.1)),
    ],
)
def test_bad_arguments_are_named(error, name, call):
    with pytest.raises(error, match=f"`{name}`"):
        call()
