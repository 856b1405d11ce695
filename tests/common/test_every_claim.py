"""Every claim is decided from the cells of its tasks, and a run stores just that."""

import numpy as np
import pytest
import xarray as xr

from bridges.claims import CLAIMS
from paper_figures.cells import load, save
from paper_figures.evidence import EVIDENCE, choose
from paper_figures.figure import known
from paper_figures.report import claims_table
from paper_figures.workspace import Workspace
from uddm.files import read_json


@pytest.fixture(scope="module")
def workspace(smoke_results):
    return Workspace(smoke_results, "smoke")


@pytest.fixture(scope="module", params=CLAIMS)
def computed(request, workspace):
    """A claim, its dataset, and the paths of the cells that it was computed from."""
    read, get = set(), workspace.get
    workspace.get = lambda cell: read.add(workspace.path(cell)) or get(cell)
    try:
        return request.param, EVIDENCE[request.param].compute(workspace), read
    finally:
        del workspace.get


def test_every_claim_has_evidence_and_a_figure_that_shows_it():
    assert list(EVIDENCE) == list(CLAIMS)
    assert {evidence.figure for evidence in EVIDENCE.values()} <= set(known())


def test_it_is_computed_from_the_cells_of_its_tasks_and_no_others(computed, workspace):
    name, _, read = computed
    assert read <= {workspace.path(cell) for task in EVIDENCE[name].tasks(workspace) for cell in task.cells(workspace)}


def test_the_dataset_holds_what_the_claim_needs(computed, tmp_path):
    name, dataset, _ = computed
    for variable, dims in CLAIMS[name].needs.items():
        assert set(dataset[variable].dims) == set(dims)
        assert dataset[variable].notnull().any()
        assert "repeat" not in dims or dataset.sizes["repeat"] >= 2, "none is decided by a single run"
    save(dataset, tmp_path / "claim.nc")
    xr.testing.assert_identical(load(tmp_path / "claim.nc"), dataset)


def test_a_run_stores_the_dataset_and_the_outcome(computed, workspace):
    name, dataset, _ = computed
    stored = load(workspace.folder / "data" / f"{name}.nc")
    xr.testing.assert_identical(stored.drop_attrs(), dataset.drop_attrs())
    told, outcome = read_json(workspace.folder / "figures.json")["claims"][name], CLAIMS[name].decide(stored)
    assert (told["verdict"], told["systems"], told["reason"]) == (outcome.verdict, outcome.systems, outcome.reason)
    for finding, number in zip(told["findings"], outcome.findings, strict=True):
        ends = [finding["estimate"][end] for end in ("value", "low", "high")]
        ends = [np.nan if end is None else end for end in ends]
        np.testing.assert_array_equal(ends, [end if np.isfinite(end) else np.nan for end in number.estimate])
    assert f"{name:4}{outcome.verdict}" in claims_table(workspace.folder)


def test_claims_are_chosen_by_name():
    assert list(choose()) == list(CLAIMS)
    assert list(choose(["C7", "transition", "C1"])) == ["C1", "C7"]
    assert choose(["transition"]) == {}
