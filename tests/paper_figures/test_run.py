"""The main job, end to end, at the smallest scale: every figure, the report, the checks, the second run."""

import html
import json
import re
import shutil

import numpy as np
import pytest
import xarray as xr

from bridges.claims import CLAIMS
from paper_figures import report, runner
from paper_figures.cells import load
from paper_figures.figure import known
from paper_figures.presets import PRESETS
from paper_figures.report import claims_table, verify, write_report
from paper_figures.runner import replot, run
from paper_figures.workspace import Workspace

FIGURES = list(known())


@pytest.fixture(scope="module")
def results(smoke_results, tmp_path_factory):
    """A copy, since these tests change it."""
    return shutil.copytree(smoke_results, tmp_path_factory.mktemp("results") / "smoke")


@pytest.fixture(scope="module")
def few(smoke_results, tmp_path_factory):
    """One figure and one claim, which are soon verified."""
    folder = tmp_path_factory.mktemp("few")
    shutil.copytree(smoke_results / "cells", folder / "cells")
    return run(Workspace(folder, "smoke"), ["am_entropy", "C18"], jobs=1).parent


def test_every_figure_is_in_the_report_with_what_it_should_show(results):
    page = (results / "report.html").read_text()
    for name in FIGURES:
        assert f'<section id="{name}">' in page
    assert page.count('src="data:image/png;base64,iVBOR') == len(FIGURES)
    assert page.count("What the paper says") == len(FIGURES)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page), "the report must be self-contained"
    for name, claim in CLAIMS.items():
        assert f'<tr id="{name}">' in page
        assert claim.statement in html.unescape(page)
    assert "A rehearsal" in page
    assert "Manifest" in page
    assert '"commit"' in html.unescape(page)


def test_what_a_preset_makes_by_name_is_left_out_unless_named():
    left_out = PRESETS["laptop"].by_name
    figures, claims = runner._asked((), left_out)
    assert {*known(), *CLAIMS} - {*figures, *claims} == {*left_out}
    figures, claims = runner._asked(left_out, left_out)
    assert {*figures, *claims} == {*left_out}
    assert {*known(), *CLAIMS} >= {name for preset in PRESETS.values() for name in preset.by_name}


def test_the_folder_verifies(smoke_results):
    assert verify(smoke_results) == []


def test_a_changed_file_is_found(few):
    assert verify(few) == []
    for file in ("figures/am_entropy.png", "data/C18.nc"):
        content = (few / file).read_bytes()
        (few / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert f"{file} differs from what was written" in verify(few)
        (few / file).unlink()
        assert f"{file} is missing" in verify(few)
        (few / file).write_bytes(content)
    report = few / "report.html"
    page = report.read_bytes()
    report.write_bytes(page.replace(b"What the paper says", b"What the paper said", 1))
    assert verify(few) == ["report.html differs from what its figures give"]
    report.write_bytes(page)
    assert verify(few) == []


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


def test_a_damaged_picture_does_not_get_into_the_report(few):
    figure = few / "figures" / "am_entropy.png"
    content = figure.read_bytes()
    figure.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"am_entropy\.png differs from what was written: make the figure again"):
        write_report(few)
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


def test_nothing_is_done_where_nothing_changed(tmp_path, drawn, code):
    first, again = (run(Workspace(tmp_path, "smoke"), ["fig02"]) for _ in range(2))
    assert first == again == tmp_path / "report.html"
    assert drawn == ["fig02_recovery"]
    run(Workspace(tmp_path, "smoke"), ["fig03"])
    assert len(drawn) == 2, "another figure"
    run(Workspace(tmp_path, "smoke"), ["fig03", "fig02"])
    assert len(drawn) == 2, "both are there"
    (tmp_path / "figures" / "fig03_token_entropy.png").write_bytes(b"altered")
    run(Workspace(tmp_path, "smoke"), ["fig03"])
    assert len(drawn) == 3, "an altered file"
    code["modified"] = True
    run(Workspace(tmp_path, "smoke"), ["fig03"])
    assert len(drawn) == 4, "modified code"


def test_the_report_holds_what_earlier_runs_made(tmp_path, drawn, code, capsys):
    """Of the same settings and code; what is not in it is told."""

    def shown(name, seed=0):
        run(Workspace(tmp_path, "smoke", seed=seed), [name])
        assert verify(tmp_path) == []
        return re.findall('<section id="(.*?)"', (tmp_path / "report.html").read_text())

    assert shown("fig03") == ["fig03_token_entropy"]
    assert shown("transition") == ["transition", "fig03_token_entropy"]
    assert shown("fig02") == ["transition", "fig02_recovery", "fig03_token_entropy"], "in their order"
    (tmp_path / "figures" / "fig02_recovery.png").write_bytes(b"altered")
    assert shown("fig04") == ["transition", "fig03_token_entropy", "fig04_sequence_entropy"]
    assert (
        "left out of the report, as altered or of other settings or code: fig02_recovery\n" in capsys.readouterr().err
    )
    code["commit"] = "def"
    assert shown("transition") == ["transition"]
    assert shown("fig04") == ["transition", "fig04_sequence_entropy"]
    assert shown("fig04", seed=1) == ["fig04_sequence_entropy"]
    assert "left out of the report, as altered or of other settings or code: transition\n" in capsys.readouterr().err


def test_files_are_read_once_to_see_that_nothing_changed(smoke_results, tmp_path, monkeypatch):
    """And the record as often: what was drawn is not read back to write it."""
    read, inner = [], report._hash
    monkeypatch.setattr(report, "_hash", lambda content: read.append(content) or inner(content))
    records, read_json = [], report.read_json
    monkeypatch.setattr(report, "read_json", lambda path: records.append(path) or read_json(path))
    assert report.is_done(smoke_results, [*FIGURES, *CLAIMS], {})
    assert len(records) == 1
    assert len(read) == 4 * len(FIGURES) + len(CLAIMS), "three files each, and the picture once more; and one"
    record = read_json(smoke_results / "figures.json")
    read.clear()
    report.write_record(tmp_path, record["manifest"], record["figures"], record["claims"])
    assert read == []


def test_what_comes_from_texts_does_not_become_markup(smoke_results):
    record = report.read_json(smoke_results / "figures.json")
    evil = "<script>alert('x')</script> & \"y\""
    for entry in record["figures"].values():
        entry |= {"title": evil, "caption": evil, "expected": evil, "findings": [evil]}
    for claim in record["claims"].values():
        claim |= {"statement": evil, "source": evil, "statistic": evil, "reason": evil}
    record["manifest"] |= {"corpus": [evil], "about": evil, "missing": [evil]}
    page = report._page(smoke_results, record).decode()
    assert "<script" not in page
    assert html.unescape(page).count(evil) == 5 * len(FIGURES) + 4 * len(CLAIMS) + 3
    assert html.escape("<script>") in page


def test_drawing_again_computes_nothing_and_changes_no_dataset(smoke_results, few, tmp_path, monkeypatch):
    results = shutil.copytree(smoke_results, tmp_path / "smoke")
    monkeypatch.setattr(runner, "execute", lambda *_, **__: pytest.fail("nothing is to be computed"))
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file() and path.suffix != ".lock"}
    (results / "figures" / "transition.png").write_bytes(b"altered")
    some = ["transition", "tab01", "theory_gardner", "C2", "C17"]  # the suite of all figures draws each again
    assert replot(results, some) == results / "report.html"
    assert {path: path.read_bytes() for path in before} == before, "which verifies"
    assert replot(few) == few / "report.html"
    assert replot(few, ["am_entropy", "C18"]).read_bytes() == (few / "report.html").read_bytes()
    assert verify(few) == []
    with pytest.raises(ValueError, match="holds no C7"):
        replot(few, ["C7"])
    with pytest.raises(FileNotFoundError, match="no results in"):
        replot(tmp_path / "nowhere")


def test_a_claim_alone(few, tmp_path):
    """It is decided without any figure; the table names it."""
    shutil.copytree(few / "cells", tmp_path / "cells")
    page = run(Workspace(tmp_path, "smoke"), ["C18"], jobs=1).read_text()
    assert '<tr id="C18">' in page
    assert "data:image/png" not in page
    assert verify(tmp_path) == []
    table = claims_table(tmp_path)
    assert table.startswith("A rehearsal")
    assert CLAIMS["C18"].statement in table


@pytest.mark.long
def test_two_processes_give_the_datasets_of_one(smoke_results, tmp_path):
    """Bit for bit, of every figure and claim."""
    run(Workspace(tmp_path, "smoke"), jobs=2)
    for path in sorted((smoke_results / "data").glob("*.nc")):
        xr.testing.assert_identical(load(tmp_path / "data" / path.name).drop_attrs(), load(path).drop_attrs())


@pytest.mark.parametrize("told", [3, {"tiny": 3}, {"tiny": {}}, {"tiny": dict.fromkeys(report._ENTRY, 3)}])
@pytest.mark.parametrize("kind", ["figures", "claims"])
def test_a_record_whose_entries_are_none_is_refused(tmp_path, kind, told):
    """Whether they are shown or not: its checksum fits, since it was written so."""
    manifest = {**dict.fromkeys(report._SHOWN), "figures": [], "claims": []}
    report.write_record(tmp_path, manifest, **{"figures": {}, "claims": {}, kind: told})
    with pytest.raises(ValueError, match=r"figures\.json is no record of this version"):
        report.verify(tmp_path)
