"""Every figure: a Dataset from the cells of its tasks, a drawing of that alone, and words about it."""

import io
import re
from html.parser import HTMLParser

import matplotlib.figure
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

from paper_figures import style
from paper_figures.cells import Cells, load, save
from paper_figures.figure import as_figure, known
from paper_figures.workspace import Workspace
from uddm.files import read_json

COMPUTED = {}


@pytest.fixture
def workspace(figure, request, tmp_path):
    """The smoke preset, with what the tasks of the figure make."""
    if figure in known().values():
        return Workspace(request.getfixturevalue("smoke_results"), "smoke")
    ws = Workspace(tmp_path, "smoke")
    for task in figure.tasks(ws):
        for cell in task.cells(ws):
            ws.get(cell)
    return ws


@pytest.fixture
def computed(figure, workspace, monkeypatch):
    """The Dataset, and the cells that it was made from; computed once."""
    read, get = set(), Cells.get

    def reading(cells, cell):
        read.add(cells.path(cell))
        return get(cells, cell._replace(make=pytest.fail))

    if figure.__name__ not in COMPUTED:
        with monkeypatch.context() as patched:
            patched.setattr(Cells, "get", reading)
            COMPUTED[figure.__name__] = figure.compute(workspace), read
    dataset, read = COMPUTED[figure.__name__]
    return dataset.copy(deep=True), read


@pytest.fixture
def ds(computed):
    return computed[0]


def test_it_has_the_names_of_a_figure_and_a_place_of_its_own(figure):
    assert as_figure(figure) is figure
    for text in (figure.TITLE, figure.EXPECTED, figure.CAPTION):
        assert re.fullmatch(r"\S.*\S", text), "one line"
    assert len(figure.TITLE) <= 100
    others = [other for other in known().values() if other is not figure]
    assert figure.ORDER not in [other.ORDER for other in others]
    assert figure.TITLE not in [other.TITLE for other in others]


def test_it_is_computed_from_the_cells_of_its_tasks_and_no_others(figure, workspace, computed):
    _, read = computed
    assert read <= {workspace.path(cell) for task in figure.tasks(workspace) for cell in task.cells(workspace)}


def test_the_dataset_is_labelled_and_can_be_kept(ds, tmp_path):
    assert isinstance(ds, xr.Dataset)
    assert not [name for name in ds.dims if str(name).startswith("dim_")]
    assert all(np.isfinite(value).any() for value in ds.data_vars.values() if value.dtype.kind == "f")
    save(ds, tmp_path / "figure.nc")
    xr.testing.assert_identical(load(tmp_path / "figure.nc"), ds)


def test_it_draws_the_dataset_alone(figure, ds):
    """With axes that say what they are, and without changing the data or the style of others."""
    before, settings = ds.copy(deep=True), dict(plt.rcParams)
    with style.style():
        drawn = figure.plot(ds)
    assert isinstance(drawn, matplotlib.figure.Figure)
    shown = [ax for ax in drawn.axes if ax.get_visible() and ax.has_data()]
    assert hasattr(figure, "html") or any(ax.get_xlabel() for ax in shown)  # text needs no axes
    assert hasattr(figure, "html") or any(ax.get_ylabel() for ax in shown)
    plt.close(drawn)
    xr.testing.assert_identical(ds, before)
    assert dict(plt.rcParams) == settings


def test_what_it_writes_into_the_report_is_text_and_no_script(figure, ds):
    """Few tags, all of them closed; whatever the data say, there are no others."""
    if not hasattr(figure, "html"):
        pytest.skip("it is drawn only")

    def tags(dataset):
        found, reader = [], HTMLParser()
        reader.handle_starttag = lambda tag, attrs: found.append((tag, [name for name, _ in attrs]))
        reader.handle_endtag = lambda tag: found.append((f"/{tag}", []))
        reader.feed(figure.html(dataset))
        return found

    names = [name for name, _ in tags(ds)]
    assert {name.strip("/") for name in names} <= {"h4", "p", "span", "table", "tr", "th", "td"}
    assert all(names.count(name) == names.count(f"/{name}") for name in names if not name.startswith("/"))
    hostile = ds.copy(deep=True)
    for name, value in hostile.data_vars.items():
        if value.dtype.kind == "U":
            hostile[name] = xr.full_like(value, "<img src=x onerror=alert(1)><script>").astype("U40")
    assert sorted(tags(hostile)) == sorted(tags(ds))


def test_its_words_are_complete(figure, ds):
    """Nothing is left in braces, and findings have numbers, if there are any at this scale."""
    caption = figure.CAPTION.format(**ds.attrs) if "{" in figure.CAPTION else figure.CAPTION
    assert "{" not in caption
    findings = figure.findings(ds)
    assert all(isinstance(line, str) and line.strip() for line in findings)
    assert not findings or re.search(r"\d", " ".join(findings))


def test_a_run_stores_just_that(figure, ds, workspace):
    """The findings are of the stored data."""
    name = name_of(figure)
    stored = load(workspace.folder / "data" / f"{name}.nc")
    xr.testing.assert_identical(ds.drop_attrs(), stored.drop_attrs())
    assert figure.findings(stored) == read_json(workspace.folder / "figures.json")["figures"][name]["findings"]


def name_of(figure):
    name = next((name for name, other in known().items() if other is figure), None)
    return name or pytest.skip("a figure of a user, which the run has not made")


def assert_the_picture_is_of_the_stored_data(figure, name, folder):
    buffer = io.BytesIO()
    with style.style():
        style.laid_out(figure.plot(load(folder / "data" / f"{name}.nc"))).savefig(buffer, format="png")
    assert buffer.getvalue() == (folder / "figures" / f"{name}.png").read_bytes()


@pytest.mark.parametrize("name", ["am_features", "fig02_recovery", "tab01_networks"])
def test_pictures_are_of_the_stored_data(name, smoke_results):
    """Of a curve, several panels and a table; `test_the_picture_is_of_the_stored_data` asks all figures."""
    assert_the_picture_is_of_the_stored_data(known()[name], name, smoke_results)


@pytest.mark.long  # each is laid out and painted again, by what paints all figures of a run
def test_the_picture_is_of_the_stored_data(figure, workspace):
    assert_the_picture_is_of_the_stored_data(figure, name_of(figure), workspace.folder)
