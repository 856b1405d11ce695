"""Which figures there are; a new one joins by existing. What each must keep is in `tests.common.test_every_figure`."""

import subprocess
import sys

import pytest
import xarray as xr

from paper_figures import runner
from paper_figures.__main__ import main
from paper_figures.cells import load
from paper_figures.figure import Figure, as_figure, choose, known
from paper_figures.report import verify
from paper_figures.runner import run
from paper_figures.workspace import Workspace

SQUARES = '''
"""A figure of a user."""
import xarray as xr
from paper_figures import style
from paper_figures.cells import Cell
from paper_figures.task import Task

ORDER, TITLE, EXPECTED, CAPTION = 45, "Squares", "They grow.", "Squares of {numbers} numbers."
def cells(ws, n): return [Cell(f"square-{n}", {"n": n}, lambda: xr.Dataset({"y": n**2}))]
def tasks(ws): return [Task(cells, n, 1.0) for n in range(4)]
def compute(ws): return xr.concat([ws.get(c) for t in tasks(ws) for c in t.cells(ws)], "x").assign_attrs(numbers=4)
def plot(ds):
    fig, axes = style.figure(1, 1)
    axes[0, 0].plot(ds.y)
    return fig
def findings(ds): return [f"the largest is {int(ds.y.max())}"]
'''


@pytest.fixture
def squares(tmp_path):
    path = tmp_path / "squares.py"
    path.write_text(SQUARES)
    return path


def test_the_figures_in_their_order():
    orders = [figure.ORDER for figure in known().values()]
    assert orders == sorted(set(orders))
    assert next(iter(known())) == "transition", "the central picture first"
    assert all(isinstance(figure, Figure) for figure in known().values())


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_file_of_ones_own_is_a_figure(squares, tmp_path, run_command, jobs):
    """Its cells too, which are made in processes that could not import it."""
    out = tmp_path / "out"
    done = run_command(main, "run", squares, "rhm_relaxation", "--preset", "smoke", "--out", out, "--jobs", jobs)
    assert done.returncode == 0, done.stderr
    assert verify(out) == []
    assert load(out / "data" / "squares.nc").y.values.tolist() == [0, 1, 4, 9]
    page = (out / "report.html").read_text()
    assert "the largest is 9" in page
    assert "Squares of 4 numbers." in page
    assert page.index('id="rhm_relaxation"') < page.index('id="squares"')
    assert "squares" not in known()


def test_a_file_of_ones_own_is_drawn_whenever_asked_for(squares, tmp_path, drawn, code):
    """It may have changed, and is under no version."""
    for _ in range(2):
        run(Workspace(tmp_path / "out", "smoke"), [str(squares)])
    assert drawn == ["squares", "squares"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("squares.py", SQUARES.replace("TITLE", "HEADING").replace("findings", "found"), "lacks TITLE, findings"),
        ("fig02_recovery.py", SQUARES, "has the name of a figure that there is"),
        ("nothing.py", None, "`names` must be files that hold a figure, or among transition, "),
    ],
)
def test_a_file_that_is_no_figure_is_refused_by_name(tmp_path, run_command, name, text, message):
    if text:
        (tmp_path / name).write_text(text)
    done = run_command(main, "run", tmp_path / name, "--preset", "smoke", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert name in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_a_figure_lacks_is_told(nothing):
    assert as_figure(nothing) is nothing
    del nothing.CAPTION
    with pytest.raises(ValueError, match="lacks CAPTION"):
        as_figure(nothing)


def test_figures_are_chosen_by_short_name():
    assert list(choose(["am_entropy", "fig03"])) == ["fig03_token_entropy", "am_entropy"]
    assert choose() == choose([]) == known()
    with pytest.raises(ValueError, match=r"`names` must be files that hold a figure, or among .*, got 'fig99'"):
        choose(["fig99"])


def test_titles_and_plans_need_no_torch(repository):
    code = """
import sys
from paper_figures.__main__ import list_figures
from paper_figures.figure import choose
from paper_figures.sweep import plan
from paper_figures.workspace import Workspace
list_figures()
print(plan(Workspace("nowhere", "laptop"), choose()))
print(*(name for name in ("torch", "numba") if name in sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert "The transition twice" in done.stdout
    assert "language hollow network 60000" in done.stdout
    assert done.stderr.strip() == ""


def test_braces_that_nothing_fills_are_named(nothing, monkeypatch):
    monkeypatch.setattr(nothing, "CAPTION", "magnetisation $m_{i}$")
    with pytest.raises(ValueError, match="`CAPTION` of mine has braces that no attribute of its Dataset fills: 'i'"):
        runner._caption("mine", nothing, xr.Dataset())
    monkeypatch.setattr(nothing, "CAPTION", "magnetisation $m_{{i}}$ of {spins} spins")
    assert runner._caption("mine", nothing, xr.Dataset(attrs={"spins": 3})) == "magnetisation $m_{i}$ of 3 spins"
