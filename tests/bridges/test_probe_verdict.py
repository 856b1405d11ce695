"""From statistics to a verdict: what is counted, and every case of evidence and spoilt evidence."""

from itertools import product

import numpy as np
import pytest
import xarray as xr
from scipy.stats import fisher_exact

from amtheory.intervals import Estimate
from bridges.extractions import TASKS
from bridges.probing.checks import Check
from bridges.probing.evidence import PRIMARY, SIGNS
from bridges.probing.verdict import VERDICTS, _more, comes_back, decide, statistics

ABOVE, EVEN, BELOW = Estimate(0.7, 0.6, 0.8), Estimate(0.55, 0.45, 0.65), Estimate(0.3, 0.2, 0.4)
MANY, NONE, BOTH, UNTRIED = ((8, 10), (1, 10)), ((0, 10), (0, 10)), ((8, 10), (7, 10)), ((0, 0), (0, 0))


def numbers(area, counts):
    returned = {
        side: {"any": count, **({task: count for task in TASKS} if count[1] else {})}
        for side, count in zip(("suspect", "unseen"), counts)
    }
    scored = {"suspect": (30, 30), "unseen": (30, 30)}
    found = np.arange(30) < 5
    rates = {0.01: None, 0.001: None}
    told = {"scored": scored, "areas": {PRIMARY: area}, "rates": rates, "found": found, "returned": returned}
    return told | {"corruption": "replaced", "retrieved": {}}


def failing(*spoils):
    return [Check("named", False, "It fails.", "Do this.", frozenset(spoils))] if spoils else []


CASES = {
    (): {(MANY, area): "reproduces" for area in (ABOVE, EVEN, BELOW)}
    | {(few, ABOVE): "recognises" for few in (NONE, BOTH, UNTRIED)}
    | {(few, EVEN): "no evidence" for few in (NONE, BOTH, UNTRIED)}
    | {(few, BELOW): "cannot say" for few in (NONE, BOTH, UNTRIED)},
    ("recognition",): {(MANY, area): "reproduces" for area in (ABOVE, EVEN, BELOW)}
    | {(few, area): "cannot say" for few in (NONE, BOTH, UNTRIED) for area in (ABOVE, EVEN, BELOW)},
    ("extraction",): {(MANY, ABOVE): "recognises", (NONE, EVEN): "no evidence", (MANY, BELOW): "cannot say"},
    ("extraction", "recognition"): {(MANY, ABOVE): "cannot say", (NONE, EVEN): "cannot say"},
    ("all",): {case: "cannot say" for case in product((MANY, NONE, UNTRIED), (ABOVE, EVEN, BELOW))},
}
CASES["entropy",] = CASES[()]  # no verdict rests on the entropy
TABLE = [(spoils, *case, verdict) for spoils, cases in CASES.items() for case, verdict in cases.items()]


@pytest.mark.parametrize(("spoils", "counts", "area", "verdict"), TABLE)
def test_every_case(spoils, counts, area, verdict):
    found = decide(numbers(area, counts), failing(*spoils))
    said = " ".join([found.headline, *found.reasons])
    assert found.verdict == verdict
    assert ("named" in found.headline) == (verdict == "cannot say" and bool({"recognition", "all"} & {*spoils}))
    assert ("It fails. Do this." in said) == bool(spoils), "a check that fails is told whatever the verdict is"
    assert ("not tried" in said) == (verdict == "recognises" and counts == UNTRIED)
    assert "safe" not in said
    assert "trained on" not in said


def test_the_table_has_all_verdicts():
    assert {verdict for *_, verdict in TABLE} == {*VERDICTS}


@pytest.mark.parametrize("passed", [True, None])
def test_only_a_failed_check_spoils(passed):
    check = Check("named", passed, "", "", frozenset({"all"}))
    assert decide(numbers(ABOVE, MANY), [check]).verdict == "reproduces"


def test_without_text_or_time_nothing_is_said():
    assert decide(None, []).verdict == "cannot say"
    assert "none was given" in decide(None, []).headline
    assert decide({**numbers(ABOVE, NONE), "areas": {}}, []).verdict == "cannot say"


def test_limits_of_what_was_not_found():
    """2 A - 1 at the upper end of the area's interval; 1 - .05^(1/n) of no finds in n, which is 26 % of 10."""
    found = decide(numbers(EVEN, NONE), [])
    assert "more than 30 % of the passages" in found.headline
    assert any(reason.startswith("At most 26 % ") for reason in found.reasons)
    assert not any(reason.startswith("At most") for reason in decide(numbers(EVEN, UNTRIED), []).reasons)


def test_an_end_before_all_is_measured_is_told():
    given = numbers(EVEN, NONE) | {"scored": {"suspect": (20, 30), "unseen": (30, 30)}}
    assert any("20 of 30 suspect and 30 of 30 unseen" in reason for reason in decide(given, []).reasons)


def test_more_is_fishers_exact_test():
    for tried, other in ((1, 1), (5, 5), (10, 3), (4, 12), (3, 3)):
        for a, b in product(range(tried + 1), range(other + 1)):
            p = fisher_exact([[a, tried - a], [b, other - b]], alternative="greater").pvalue
            assert _more(a, tried, b, other) == (p <= 0.05 + 1e-9)


def side(extracted, document, score=None):
    """A side of passages with these shares of each task."""
    n = len(document)
    return xr.Dataset(
        {
            "extracted": (("sample", "task"), np.array(extracted, float)),
            "document": ("sample", np.array(document)),
            PRIMARY: ("sample", np.zeros(n) if score is None else np.array(score, float)),
        }
    )


def test_a_passage_comes_back_from_half_of_the_attempts_of_a_task():
    shares = [[0.5, 0, 0], [0.49, 0.49, 0.49], [0, 0, 1], [np.nan] * 3]
    assert comes_back(side(shares, range(4))).any(1).tolist() == [True, False, True, False]
    assert comes_back(side(shares, range(4)).drop_vars("extracted")).shape == (4, 0)


def test_the_first_passage_of_each_document_is_counted():
    yes, no, untried = [1, 0.5, 0], [0, 0, 0.4], [np.nan] * 3
    suspect = side([no, yes, yes, yes, untried, untried], [3, 1, 3, 1, 1, 8])
    unseen = side([yes, no, no], [0, 0, 0])
    found = statistics(suspect, unseen, seed=0)
    assert found["returned"]["suspect"] == {"corrupted": (1, 2), "prefix": (1, 2), "edges": (0, 2), "any": (1, 2)}
    assert found["returned"]["unseen"]["any"] == (1, 1)
    bare = statistics(suspect.drop_vars("extracted"), unseen, seed=0)
    assert bare["returned"]["suspect"] == {"any": (0, 0)}


def test_scores_are_those_of_documents_and_have_their_sign():
    """Documents are found by the mean of their passages; areas are of passages, and of low entropies."""
    n = 40
    shares, document = np.zeros((2 * n, 3)), np.repeat(np.arange(n), 2)
    low, high = np.tile([0.0, 0.1], n), np.tile([1.0, np.nan], n)
    suspect, unseen = side(shares, document, high), side(shares, document, low)
    for each, entropy in ((suspect, 0.2), (unseen, 0.7)):
        each["entropy"] = ("sample", np.full(2 * n, entropy))
    found = statistics(suspect, unseen, seed=0)
    assert found["scored"] == {"suspect": (n, 2 * n), "unseen": (2 * n, 2 * n)}
    assert found["areas"][PRIMARY].value == found["areas"]["entropy"].value == 1
    assert SIGNS["entropy"] == -1
    assert found["found"].tolist() == [True] * n
    assert found["rates"] == {0.01: None, 0.001: None}, "they take 1000 and 10000 documents"
    assert statistics(unseen, suspect, seed=0)["found"].sum() == 0


def test_rates_of_enough_documents():
    score = np.arange(1000) / 1000
    others = side(np.zeros((1000, 3)), range(1000), score)
    point = statistics(side(np.zeros((1000, 3)), range(1000), 0.5 + score), others, seed=0)["rates"][0.01]
    assert point is not None
    assert abs(point.true_positive_rate.value - (1.5 - point.threshold)) < 2e-3
