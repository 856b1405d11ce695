"""float32 keeps within what rounding allows, and docs/numerical-trust.md says by how much."""

import math
import re

import pytest
import torch

from benchmarks import precision


@pytest.fixture(scope="module", params=precision.SIZES)
def rows(request):
    return {row.quantity: row for row in precision.rows(request.param)}


@pytest.fixture(scope="module")
def told(repository):
    """The rows of the page's table: difference, bound and share by quantity and K."""
    page = (repository / "docs" / "numerical-trust.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| ([a-z0-9 ]+) \| ([\d,]+) \| (\S+) \| (\S+) \| (\S+) \|$", page, re.MULTILINE)
    return {(name, int(K.replace(",", ""))): tuple(map(float, numbers)) for name, K, *numbers in lines}


def test_every_difference_is_within_its_bound(rows):
    """At every position, in all quantities; and there is a difference, so that something was compared."""
    assert rows.keys() == precision.QUANTITIES.keys()
    for row in rows.values():
        assert 0 < row.difference <= row.bound < math.inf
        assert row.share < 1


def test_the_table_is_what_the_script_prints(rows, told):
    """Bounds follow from the numbers and are the same everywhere; differences may not exceed them on other machines."""
    assert len(told) == len(precision.SIZES) * len(precision.QUANTITIES)
    for name, row in rows.items():
        difference, bound, share = told[name, row.K]
        assert bound == pytest.approx(row.bound, rel=0.06)
        assert 0 < difference <= bound
        assert share < 1


@pytest.mark.parametrize("K", [2, 100])
@pytest.mark.parametrize("quantity", ["loss", "posterior", "entropy", "sampling"])
def test_bfloat16_is_found_out(monkeypatch, K, quantity):
    """The negative control: log-probabilities of 8 bits exceed the bounds of 24."""
    monkeypatch.setattr(precision.Case, "rounded", property(lambda case: case.exact.bfloat16().float()))
    found = [pair for peak in (0.0, 20.0) for pair in precision.QUANTITIES[quantity](precision.case(K, peak=peak))]
    assert max(float((difference / bound).max()) for difference, bound in found) > 1


def test_draws_of_float32_lose_tokens_where_there_are_many():
    """Those whose probability is below the spacing of the draws, 6e-8."""
    assert precision.never_drawn(2) == 0
    assert precision.never_drawn(262_144) > 1e-4
    uniform = torch.rand(10**5, generator=torch.Generator().manual_seed(0))
    assert (uniform / precision.UNIFORM == (uniform / precision.UNIFORM).round()).all(), "the grid is that of torch"
