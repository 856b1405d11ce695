"""The probe of masked models, of which it is known what they remember."""

import re

import numpy as np
import pytest
from masked_worlds import MaskedRemembering
from probe_worlds import BY_HEART, CHEAP, NOT_AT_ALL, WEAKLY, text

from bridges import MaskedSystem, probe
from bridges.probing.evidence import PRIMARY


def ask(share, **how):
    model = MaskedRemembering(text(40, 0), share)
    return probe(model, suspect=text(40, 0), unseen=text(40, 3), **{**CHEAP, "draws": 2, "extracted": 5, **how})


@pytest.fixture(scope="module")
def by_heart():
    return ask(BY_HEART, extracted=10)


def test_what_is_known_by_heart_is_reproduced(by_heart):
    assert by_heart.verdict == "reproduces"
    assert all(each.passed is not False for each in by_heart.checks)
    said = " ".join(by_heart.reasons)
    assert re.search(r"a quarter of their tokens masked, \d+ of 10 suspect and 0 of 10 unseen", said)
    assert re.search(r"replaced, not masked, .* (9\d|100) % of them come back in suspect and \d+ % in unseen", said)


def test_what_is_known_weakly_is_recognised_and_the_rest_gives_no_evidence():
    weakly, not_at_all = ask(WEAKLY), ask(NOT_AT_ALL)
    assert weakly.verdict == "recognises"
    assert weakly.numbers["areas"][PRIMARY].low > 0.5
    assert not_at_all.verdict == "no evidence"


def test_both_ways_of_recovery_are_scored(by_heart):
    """Masks alter nothing, so that an unstable rate is of the other way alone."""
    side = by_heart.measured["suspect"]
    assert side.attrs["corruption"] == "masked"
    assert np.isnan(side.unstable_at).all()
    assert np.isnan(side.unstable_rate).all()
    assert "unstable_rate" not in by_heart.numbers["areas"]
    assert side.retrieval.count() == 10
    assert side.retrieval.mean() > 0.9 > 0.1 > side.retrieval_unstable.mean()
    assert by_heart.numbers["areas"]["retrieval"].value > 0.9
    assert np.isfinite(side.bound).all()
    assert (side.corrupted.values == 12).mean() == pytest.approx(0.25, abs=0.05)


def test_checks_that_masks_make_needless(by_heart):
    found = {check.name: check for check in by_heart.checks}
    assert found["own token"].passed
    assert "cannot be copied" in found["own token"].detail
    assert found["precision"].passed is None
    assert found["sharpness"].passed


def test_the_page_speaks_of_masks(by_heart, tmp_path):
    page = by_heart.write(tmp_path).read_text()
    for said in (
        "was masked at random",
        "masked and restored",
        "there is no such rate",
        "one position after the other",
    ):
        assert said in page, said
    assert "left alone, but changed" not in page
    kinds = {kind for passage in by_heart.passages for _, kind in passage["tokens"]}
    assert kinds == {"stable", "recovered"} | ({"failed"} & kinds)


def test_fewer_passes_do_for_a_verdict():
    model = MaskedSystem(MaskedRemembering(text(40, 0), BY_HEART), passes=6)
    found = probe(model, suspect=text(40, 0), unseen=text(40, 3), **{**CHEAP, "draws": 2, "extracted": 4})
    assert found.verdict == "reproduces"
    assert found.record["system"]["passes"] == 6
