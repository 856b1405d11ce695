"""The main job, end to end, at the smallest scale: every figure, the report, the checks, the second run."""

import json
import re

import numpy as np
import pytest
import xarray as xr

import bridges.manifest
from paper_figures import runner
from paper_figures.report import verify, write_report
from paper_figures.runner import FIGURES, choose, run
from paper_figures.workspace import Workspace, load, save


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    run(Workspace(folder, "smoke"), jobs=1)
    return folder


def test_every_figure_is_in_the_report_with_what_it_should_show(results):
    page = (results / "report.html").read_text()
    for name in FIGURES:
        assert f'<section id="{name}">' in page
    assert page.count('src="data:image/png;base64,iVBOR') == len(FIGURES)
    assert page.count("What the paper says") == len(FIGURES)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page), "the report must be self-contained"
    assert "Manifest" in page
    assert '"commit"' in page.replace("&quot;", '"')


def test_the_folder_verifies_and_a_changed_file_is_found(results):
    assert verify(results) == []
    figure = results / "figures" / "fig02_recovery.png"
    content = figure.read_bytes()
    figure.write_bytes(content[:-1])
    assert verify(results) == ["figures/fig02_recovery.png differs from what was written"]
    figure.unlink()
    assert verify(results) == ["figures/fig02_recovery.png is missing"]
    figure.write_bytes(content)
    report = results / "report.html"
    page = report.read_bytes()
    report.write_bytes(page.replace(b"training", b"testing", 1))
    assert verify(results) == ["report.html differs from what its figures give"]
    report.write_bytes(page)


def test_a_record_of_another_kind_is_refused_by_name(results, tmp_path):
    for content in (
        b"{}",
        b'{"figures": {}, "manifest": {"figures": []}}',
        b'{"figures": 1, "manifest": 2}',
        b"[]",
        b"?",
    ):
        (tmp_path / "figures.json").write_bytes(content)
        for look in (verify, write_report):
            with pytest.raises(ValueError, match=r"figures\.json"):
                look(tmp_path)


def test_a_damaged_picture_does_not_get_into_the_report(results):
    figure = results / "figures" / "fig02_recovery.png"
    content = figure.read_bytes()
    figure.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"fig02_recovery\.png differs from what was written: make the figure again"):
        write_report(results)
    figure.write_bytes(content)


def test_data_are_labelled_and_traceable(results):
    for name in FIGURES:
        dataset = load(results / "data" / f"{name}.nc")
        facts = json.loads(dataset.attrs["manifest"])
        assert {"figure", "preset", "corpus", "seed", "blocks", "commit", "versions", "threads"} <= facts.keys()
    recovery = load(results / "data" / "fig02_recovery.nc").recovery
    assert recovery.dims == ("system", "dataset_size", "split", "noise", "estimate")
    low, value, high = (recovery.sel(estimate=name) for name in ("low", "value", "high"))
    untrained = value.isnull().all(["split", "noise"])  # the transformer has fewer sizes
    assert untrained.sum() == 2
    assert bool(((low <= value) & (value <= high) | untrained).all())


def test_the_memorization_limit_memorizes(results):
    recovery = load(results / "data" / "fig02_recovery.nc").recovery.sel(system="memorization limit", estimate="value")
    at = recovery.sel(noise=0.25, dataset_size=32)
    assert at.sel(split="train") > 0.9
    assert at.sel(split="test") < 0.5


def test_data_do_not_depend_on_the_number_of_processes(results, tmp_path):
    run(Workspace(tmp_path, "smoke"), ["am_entropy"], jobs=2)
    one, other = (load(folder / "data" / "am_entropy.nc").drop_attrs() for folder in (tmp_path, results))
    xr.testing.assert_identical(one, other)


def test_a_second_run_computes_nothing(results):
    cells = {path: path.stat().st_mtime_ns for path in (results / "cells").glob("*.nc")}
    data = load(results / "data" / "fig05_average_entropy.nc")
    run(Workspace(results, "smoke"), ["fig05"], jobs=1)
    assert {path: path.stat().st_mtime_ns for path in (results / "cells").glob("*.nc")} == cells
    again = load(results / "data" / "fig05_average_entropy.nc")
    np.testing.assert_array_equal(again.mean_entropy, data.mean_entropy)
    write_report(results)


def test_nothing_is_done_where_nothing_changed(tmp_path, monkeypatch):
    code = {"commit": "abc", "modified": False}
    for module in (runner, bridges.manifest):
        monkeypatch.setattr(module, "code_version", lambda: code)
    drawn = []
    monkeypatch.setattr(runner, "_completed", lambda ws, tasks, jobs, progress: tasks)

    def draw(ws, name, module):
        drawn.append([name])
        return draw_nothing(ws, name)

    monkeypatch.setattr(runner, "_draw", draw)
    for folder in ("data", "figures"):
        (tmp_path / folder).mkdir()
    first, again = (run(Workspace(tmp_path, "smoke"), ["fig02"]) for _ in range(2))
    assert first == again == tmp_path / "report.html"
    assert drawn == [["fig02_recovery"]]
    run(Workspace(tmp_path, "smoke"), ["fig03"])
    assert len(drawn) == 2, "another figure"
    (tmp_path / "figures" / "fig03_token_entropy.png").write_bytes(b"altered")
    run(Workspace(tmp_path, "smoke"), ["fig03"])
    assert len(drawn) == 3, "an altered file"
    code["modified"] = True
    run(Workspace(tmp_path, "smoke"), ["fig03"])
    assert len(drawn) == 4, "modified code"


def draw_nothing(ws, name):
    save(xr.Dataset({"value": 1.0}, attrs={"manifest": "{}"}), ws.folder / "data" / f"{name}.nc")
    for suffix in ("png", "pdf"):
        (ws.folder / "figures" / f"{name}.{suffix}").write_bytes(b"figure")
    return {"title": name, "caption": "", "expected": "", "findings": []}


def test_figures_are_chosen_by_short_name():
    assert choose(["fig03", "am_entropy"]) == ["fig03_token_entropy", "am_entropy"]
    assert choose([]) == list(FIGURES)
    with pytest.raises(ValueError, match=r"`names` must be figures among .*, got 'fig99'"):
        choose(["fig99"])
