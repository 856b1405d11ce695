"""How well two samples are told apart, against counts over all pairs and what scipy and scikit-learn compute."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import logit, ndtr, ndtri
from scipy.stats import binom, binomtest, ks_2samp, mannwhitneyu
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_curve

from amtheory.intervals import clopper_pearson, wilson
from bridges import OperatingPoint, area_under_roc, ks_distance, operating_point, roc_curve, true_positive_rate

FEW = st.lists(st.integers(-3, 3), min_size=1, max_size=12)  # with many ties
TWO = st.lists(st.integers(-3, 3), min_size=2, max_size=12)
WIDE = st.lists(st.floats(allow_nan=False), min_size=1, max_size=12)  # infinite ones among them


def over_pairs(members, others):
    return np.mean([(a > b) + (a == b) / 2 for a in members for b in others])


@given(FEW | WIDE, FEW | WIDE)
def test_area_counts_pairs(members, others):
    area = area_under_roc(members, others)
    assert area.value == pytest.approx(over_pairs(members, others), abs=1e-12)
    assert 0 <= area.low <= area.value <= area.high <= 1
    assert area.low < area.high, "no interval is a point"
    U = mannwhitneyu(members, others, method="asymptotic").statistic if len({*members, *others}) > 1 else None
    assert U is None or area.value == pytest.approx(U / (len(members) * len(others)), abs=1e-12)


@given(FEW, FEW)
def test_area_is_that_of_the_curve(members, others):
    labels = np.repeat([1, 0], [len(members), len(others)])
    want = roc_auc_score(labels, members + others)
    assert area_under_roc(members, others).value == pytest.approx(want, abs=1e-12)


@given(TWO, TWO, st.floats(0.5, 0.999))
def test_the_variance_is_that_of_the_jackknife(members, others, confidence):
    """Leaving out one member after the other, and one other after the other (DeLong's estimate is the sum of both)."""

    def jackknife(values, area):
        left_out = [area([*values[:i], *values[i + 1 :]]) for i in range(len(values))]
        return (len(values) - 1) * np.var(left_out)

    variance = jackknife(members, lambda each: over_pairs(each, others))
    variance += jackknife(others, lambda each: over_pairs(members, each))
    assume(variance > 1e-12)
    value, low, high = area_under_roc(members, others, confidence=confidence)
    half = ndtri((1 + confidence) / 2) * np.sqrt(variance) / (value * (1 - value))
    np.testing.assert_allclose(1 / (1 / np.array([low, high]) - 1), np.exp(logit(value) + np.array([-half, half])))


@given(FEW, FEW, st.integers(0, 10**6))
def test_only_the_order_counts(members, others, seed):
    moved = dict(zip(range(-3, 4), np.sort(np.random.default_rng(seed).standard_cauchy(7))))
    monotone = [[moved[value] for value in values] for values in (members, others)]
    assert area_under_roc(*monotone) == area_under_roc(members, others)
    assert ks_distance(*monotone) == ks_distance(members, others)
    assert ks_distance(others, members) == pytest.approx(ks_distance(members, others), abs=1e-15)


@given(FEW | WIDE, FEW | WIDE)
def test_exchanged_samples(members, others):
    one, other = area_under_roc(members, others), area_under_roc(others, members)
    np.testing.assert_allclose(one, [1 - other.value, 1 - other.high, 1 - other.low], atol=1e-9)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 100), (3, 3), (30, 500), (500, 30)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_perfect_separation_has_the_interval_of_so_many_pairs(m, n, confidence):
    """Each of min(m, n) disjoint pairs is in order with the probability A; the worst law attains the product."""
    value, low, high = area_under_roc(np.arange(m) + n, np.arange(n), confidence=confidence)
    assert (value, high) == (1, 1)
    assert low ** min(m, n) == pytest.approx((1 - confidence) / 2)
    assert area_under_roc(np.arange(n), np.arange(m) + n, confidence=confidence).high == pytest.approx(1 - low)


def test_the_bound_for_perfect_separation_is_attained_and_never_missed():
    """P(perfect) <= A^min(m, n) for all laws on 5 scores tried, with equality where all others are equal."""
    rng, m, n = np.random.default_rng(0), 2, 3

    def perfect(p, q):  # P(min of m > max of n)
        below = np.concatenate([[0], np.cumsum(q)])[:-1] ** n  # all others under score k
        at_least = np.cumsum(p[::-1])[::-1]
        return ((at_least**m - np.append(at_least[1:], 0) ** m) * below).sum()

    def area(p, q):
        return (p * (np.concatenate([[0], np.cumsum(q)])[:-1] + q / 2)).sum()

    for p, q in zip(rng.dirichlet(np.full(5, 0.3), 500), rng.dirichlet(np.full(5, 0.3), 500)):
        assert perfect(p, q) <= area(p, q) ** m + 1e-12
    two, constant = np.array([0.3, 0, 0, 0, 0.7]), np.eye(5)[2]
    assert perfect(two, constant) == pytest.approx(area(two, constant) ** m)


def test_scores_that_are_all_equal():
    """Nothing is known but that no pair was told apart: half of the trials, not half for certain."""
    value, low, high = area_under_roc([1.0] * 20, [1.0] * 30)
    assert value == 0.5
    assert (low, high) == pytest.approx(binomtest(10, 20).proportion_ci(0.95, method="exact"))


def share_covered(interval, rng, area, m, n, repeats):
    shift = np.sqrt(2) * ndtri(area)  # of one Gaussian against another, of equal widths
    ends = [interval(shift + rng.standard_normal(m), rng.standard_normal(n)) for _ in range(repeats)]
    return np.mean([low <= area <= high for _, low, high in ends])


@pytest.mark.statistical(alarm=1e-2)
@pytest.mark.parametrize(("area", "m", "n"), [(0.5, 30, 30), (0.76, 20, 60), (0.9, 80, 80), (0.99, 30, 30)])
def test_coverage(area, m, n, seed):
    """Within 2.5 % of 95 % and three standard errors of 500 repeats; at .99, where a tenth of the samples is perfect,
    not below. Negative control: as many independent trials as there are pairs."""
    error = 0.025 + 3 * np.sqrt(0.95 * 0.05 / 500)
    covered = share_covered(area_under_roc, np.random.default_rng(seed(0)), area, m, n, 500)
    assert abs(covered - 0.95) < error

    def of_pairs(x, y):
        return wilson(area_under_roc(x, y).value * m * n, m * n)

    assert share_covered(of_pairs, np.random.default_rng(seed(1)), area, m, n, 100) < 0.95 - error


@given(TWO, TWO, st.integers(0, 10**6))
def test_documents_of_one_passage_change_nothing(members, others, seed):
    rng = np.random.default_rng(seed)
    labels = [rng.permutation(100)[: len(values)] for values in (members, others)]
    one, same = area_under_roc(members, others), area_under_roc(members, others, documents=labels)
    np.testing.assert_allclose(same, one, atol=1e-12)


@given(TWO, TWO, st.integers(1, 3), st.integers(1, 3))
def test_copies_within_a_document_are_no_evidence(members, others, r, s):
    """Each passage as often as one likes: the interval is that of the documents."""
    labels = [np.repeat(np.arange(len(values)), k) for values, k in ((members, r), (others, s))]
    copied = area_under_roc(np.repeat(members, r), np.repeat(others, s), documents=labels)
    np.testing.assert_allclose(copied, area_under_roc(members, others), atol=1e-9)


def test_the_variance_is_that_of_obuchowski():
    """Her eqs. 2 and 3, with the placements counted by hand, documents of unequal length."""
    rng = np.random.default_rng(0)
    members, others = rng.integers(0, 9, 20) + 2.0, rng.integers(0, 9, 30) + 0.0
    labels = [rng.integers(0, 6, 20), rng.integers(0, 7, 30)]
    value, low, high = area_under_roc(members, others, documents=labels)
    variance = 0.0
    for each, of_each in (
        (labels[0], [over_pairs([x], others) for x in members]),
        (labels[1], [over_pairs(members, [y]) for y in others]),
    ):
        documents = set(each.tolist())
        sums = [sum(v for v, d in zip(of_each, each) if d == one) for one in documents]
        sizes = [sum(d == one for d in each) for one in documents]
        S = sum((V - k * value) ** 2 for V, k in zip(sums, sizes)) * len(documents) / ((len(documents) - 1) * len(each))
        variance += S / len(each)
    half = ndtri(0.975) * np.sqrt(variance) / (value * (1 - value))
    np.testing.assert_allclose(logit([low, high]), logit(value) + np.array([-half, half]))


@pytest.mark.statistical(alarm=1e-2)
def test_coverage_over_documents(seed):
    """Passages of one document share half of their variance: documents cover within 3 % of 95 % and three standard
    errors of 500 repeats. Negative control: passages taken for independent."""
    rng, error = np.random.default_rng(seed(0)), 0.03 + 3 * np.sqrt(0.95 * 0.05 / 500)
    documents = np.repeat(np.arange(40), rng.integers(1, 10, 40)), np.repeat(np.arange(50), rng.integers(1, 10, 50))

    def scores(labels):
        return rng.standard_normal(len(labels))[labels] + rng.standard_normal(len(labels))

    covered = np.zeros(2)
    for _ in range(500):
        x, y = 2 * ndtri(0.7) + scores(documents[0]), scores(documents[1])
        for k, options in enumerate(({"documents": documents}, {})):
            _, low, high = area_under_roc(x, y, **options)
            covered[k] += low <= 0.7 <= high
    assert abs(covered[0] / 500 - 0.95) < error
    assert covered[1] / 500 < 0.95 - error


def test_separated_documents_have_the_interval_of_so_many():
    members, others, labels = np.arange(12) + 100, np.arange(30), (np.arange(12) // 3, np.arange(30) // 3)
    assert area_under_roc(members, others, documents=labels) == area_under_roc([1] * 4, [0] * 10)
    alike = [0.0, 1.0] * 10, np.arange(20) // 2  # each document the same: no variance between them
    assert area_under_roc(alike[0], alike[0], documents=(alike[1], alike[1])) == area_under_roc([0] * 10, [0] * 10)


@pytest.mark.parametrize("labels", [[0, 1], [0.0, 1.0, 2.0], [[0, 1, 2]], ["a", "b", "c"]])
def test_bad_documents_are_named(labels):
    with pytest.raises(ValueError, match="`documents` must hold 3 integer labels"):
        area_under_roc([1, 2, 3], [1, 2, 3], documents=(labels, [0, 1, 2]))


@given(FEW | WIDE, FEW | WIDE)
def test_ks_distance(a, b):
    grid = [*a, *b]
    want = max(abs(np.mean(np.array(a) <= u) - np.mean(np.array(b) <= u)) for u in grid)
    assert ks_distance(a, b) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 15])
def test_ks_distance_is_that_of_scipy(decimals):
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 50).round(decimals), rng.normal(0.3, 2, 70).round(decimals)
    assert ks_distance(a, b) == pytest.approx(ks_2samp(a, b).statistic, abs=1e-12)


def test_ks_distance_sees_what_the_area_does_not():
    a = np.arange(-10, 11)
    assert area_under_roc(a, 3 * a).value == pytest.approx(0.5)
    assert ks_distance(a, 3 * a) > 0.3
    assert ks_distance(a, a) == 0
    assert ks_distance(a, a + 100) == 1


@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.25, 0.5]), st.sampled_from([0.3, 0.5, 0.8]), st.booleans())
def test_rates_are_counts_above_the_threshold(seed, rate, calibration, tied):
    rng = np.random.default_rng(seed)
    members, others = rng.normal(1, 1, 40), rng.normal(0, 1, 137)
    if tied:
        members, others = members.round(), others.round()
    threshold, members_above, others_above = operating_point(members, others, rate, calibration=calibration, rng=seed)
    count = round(137 * calibration)
    above = int((others > threshold).sum())
    held_out = round(others_above.value * (137 - count))
    assert threshold in others
    assert above - held_out <= int(rate * (count + 1)) - 1, "fewer than k of the calibration scores exceed the k-th"
    assert tied or above - held_out == int(rate * (count + 1)) - 1
    for estimate, k, n in (
        (members_above, int((members > threshold).sum()), 40),
        (others_above, held_out, 137 - count),
    ):
        assert estimate.value == pytest.approx(k / n)
        assert estimate[1:] == pytest.approx(binomtest(k, n).proportion_ci(0.95, method="exact"), abs=1e-9)
    assert true_positive_rate(members, others, rate, calibration=calibration, rng=seed) == members_above


@pytest.mark.statistical(alarm=1e-6)
def test_the_false_positive_rate_is_kept_on_average(seed):
    """k/(c + 1) <= f exactly, over splits and samples, within 5 standard errors; not that of the next larger score."""
    c = h = 100
    points = [
        operating_point([0.0], np.random.default_rng(seed(i)).standard_normal(c + h), 0.1, rng=seed(i))
        for i in range(2000)
    ]
    rates = np.array([point.false_positive_rate.value for point in points])
    error = 5 * rates.std() / np.sqrt(len(rates))
    assert abs(rates.mean() - 10 / 101) < error
    assert abs(rates.mean() - 11 / 101) > error, "negative control"


def test_equal_scores_are_no_finds():
    """Above the threshold, not at it: of scores that are all equal none is, and the rate stays below what is asked."""
    point = operating_point(np.zeros(50), np.zeros(200), 0.1, rng=0)
    assert point == OperatingPoint(0.0, point.true_positive_rate, point.false_positive_rate)
    assert (point.true_positive_rate.value, point.false_positive_rate.value) == (0, 0)
    assert point.true_positive_rate.high == pytest.approx(1 - 0.025 ** (1 / 50))
    infinite = operating_point([-np.inf, 1.0], np.full(200, -np.inf), 0.1, rng=0)
    assert (infinite.threshold, infinite.true_positive_rate.value) == (-np.inf, 0.5)


def test_the_split_has_a_seed():
    rng = np.random.default_rng(0)
    members, others = rng.normal(1, 1, 300), rng.normal(0, 1, 1000)
    one, again, other = (operating_point(members, others, 0.05, rng=seed) for seed in (0, 0, 1))
    assert one == again
    assert one.threshold != other.threshold
    assert operating_point(members, others, 0.05, rng=np.random.default_rng(3)) == operating_point(
        members, others, 0.05, rng=np.random.default_rng(3)
    )


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01, 0.001])
def test_small_rates_need_many_others(rate):
    enough = round(10 / rate)
    assert true_positive_rate([1.0], np.arange(enough) / enough - 1, rate, rng=0).value == 1
    with pytest.raises(ValueError, match=f"`others` must hold at least 10/{rate:g} scores .* got {enough - 1}"):
        true_positive_rate([1.0], np.arange(enough - 1), rate, rng=0)


def test_the_binomial_interval_is_exact():
    """Each end leaves out a half of 5 %: P(K >= k) at the lower, P(K <= k) at the upper."""
    others = np.zeros(100)
    for k in (0, 1, 7, n := 10):
        value, low, high = true_positive_rate([1.0] * k + [-1.0] * (n - k), others, 0.1, rng=0)
        assert value == k / n
        assert low == 0 if k == 0 else binom.sf(k - 1, n, low) == pytest.approx(0.025)
        assert high == 1 if k == n else binom.cdf(k, n, high) == pytest.approx(0.025)


def test_samples_are_left_alone_and_may_be_read_only():
    members, others = np.array([3.0, 1.0, 2.0]), np.arange(100)[::-1].copy()
    for array in (members, others):
        array.setflags(write=False)
    area_under_roc(members, others)
    ks_distance(members, others)
    true_positive_rate(members, others, 0.1, rng=0)
    assert area_under_roc(np.array([3], np.uint8), np.array([1, 5], np.uint8)).value == 0.5


@pytest.mark.parametrize(
    ("error", "value"),
    [
        (ValueError, []),
        (ValueError, 1.0),
        (ValueError, [[1.0]]),
        (ValueError, [1.0, np.nan]),
        (TypeError, ["a"]),
        (TypeError, [1j]),
        (TypeError, [True]),
        (TypeError, np.ma.masked_equal([0, 1], 0)),
    ],
    ids=["none", "a number", "a matrix", "NaN", "text", "complex", "truth values", "masked"],
)
def test_bad_scores_are_named(error, value):
    fine = np.arange(100)
    for function, names in ((area_under_roc, ("members", "others")), (ks_distance, ("a", "b"))):
        for name, arguments in zip(names, ((value, fine), (fine, value))):
            with pytest.raises(error, match=f"`{name}`"):
                function(*arguments)
    for name, arguments in (("members", (value, fine)), ("others", (fine, value))):
        with pytest.raises(error, match=f"`{name}`"):
            true_positive_rate(*arguments, 0.1, rng=0)


@pytest.mark.parametrize(
    ("error", "name", "change"),
    [
        (ValueError, "`false_positive_rate`", {"false_positive_rate": 0}),
        (ValueError, "`false_positive_rate`", {"false_positive_rate": 1}),
        (ValueError, "`false_positive_rate`", {"false_positive_rate": np.nan}),
        (TypeError, "`false_positive_rate`", {"false_positive_rate": "0.1"}),
        (ValueError, "`calibration`", {"calibration": 1.0}),
        (ValueError, "`calibration`", {"calibration": 0.999}),
        (ValueError, "`calibration`", {"calibration": 0.01}),
        (TypeError, "`rng`", {"rng": "seed"}),
        (ValueError, "`confidence`", {"confidence": 95}),
    ],
)
def test_bad_arguments_are_named(error, name, change):
    with pytest.raises(error, match=name):
        true_positive_rate(**({"members": [1.0], "others": np.arange(100), "false_positive_rate": 0.1} | change))
    with pytest.raises(ValueError, match="`confidence`"):
        area_under_roc([1, 2], [0, 1], confidence=1.0)


@given(FEW | WIDE, FEW | WIDE)
def test_the_curve_counts(members, others):
    curve = roc_curve(members, others)
    for false, true, score in zip(curve.false_positive_rate, curve.true_positive_rate, sorted({*others})[::-1]):
        assert false == pytest.approx(np.mean([other >= score for other in others]))
        assert true == pytest.approx(np.mean([member >= score for member in members]))
    assert (curve.low <= curve.true_positive_rate).all()
    assert (curve.true_positive_rate <= curve.high).all()
    for rising in curve:
        assert (np.diff(rising) >= 0).all()
    labels = np.repeat([1, 0], [len(members), len(others)])
    if np.isfinite([*members, *others]).all():
        false, true, _ = sklearn_curve(labels, [*members, *others], drop_intermediate=False)
        points = set(zip(false.round(9), true.round(9)))
        assert points.issuperset(zip(curve.false_positive_rate.round(9), curve.true_positive_rate.round(9)))


@pytest.mark.statistical(alarm=1e-6)
@pytest.mark.parametrize(("m", "n"), [(30, 200), (200, 30)])
def test_the_band_of_the_curve_holds_at_each_rate(m, n, seed):
    """With 95 % or more, of Gaussian scores; the interval of the share of members alone does not."""
    repeats, missed, bare = 400, np.zeros(n), np.zeros(n)
    for i in range(repeats):
        rng = np.random.default_rng(seed(i))
        curve = roc_curve(rng.normal(1.5, 1, m), rng.normal(size=n))
        truth = ndtr(1.5 + ndtri(curve.false_positive_rate))
        missed += (truth < curve.low) | (truth > curve.high)
        bare += [not low <= true <= high for true, (low, high) in zip(truth, _bare(curve.true_positive_rate, m))]
    allowed = binom.isf(1e-6 / (2 * n), repeats, 0.05)
    assert missed.max() <= allowed
    assert (bare > allowed).any(), "negative control"


def _bare(shares, m):
    return [clopper_pearson(share * m, m)[1:] for share in shares]


def test_alike_passages_count_once_in_the_band():
    """Each passage four times, as one document: the band of the passages alone."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 1, 40), rng.normal(0, 1, 50)
    alone = roc_curve(x, y)
    documents = np.repeat(np.arange(40), 4), np.repeat(np.arange(50), 4)
    for found, want in zip(roc_curve(np.repeat(x, 4), np.repeat(y, 4), documents=documents), alone):
        np.testing.assert_allclose(found, want, atol=1e-12)
