"""The main job where a system lacks what ours has, under settings and names that are not ours."""

import os
import subprocess
import sys

import matplotlib
import pytest

from paper_figures import runner, style
from paper_figures.__main__ import main
from paper_figures.report import verify
from paper_figures.runner import run
from paper_figures.workspace import Workspace
from uddm.corpora import documentation_text

SCRIPT = r"""
import os, sys
from pathlib import Path
from uddm.corpora import documentation
del os.sched_getaffinity  # as on macOS
os.process_cpu_count = os.cpu_count
out, figure, text = sys.argv[1:]
# no cache has the text, and its extraction takes many seconds
documentation.extract_paragraphs = lambda: Path(text).read_text(encoding="utf-8").split("\n\n")
sys.argv = ["paper_figures", "run", figure, "--preset", "smoke", "--out", out]
from paper_figures.__main__ import main
main()
"""

RECALL = """
import xarray as xr
from paper_figures import style
from paper_figures.cells import Cell
from paper_figures.task import Task

ORDER, TITLE, EXPECTED, CAPTION = 100, "Recall", "It is perfect.", "Overlaps of patterns that are retrieved."

def cell():
    from amtheory import PseudoInverse, retrieve
    from amtheory.patterns import random_patterns

    def make():
        x = random_patterns(3, 20, rng=0)
        return xr.Dataset({"overlap": ("pattern", (retrieve(PseudoInverse().fit(x), x)[0] * x).mean(1))})

    return Cell("recall", {}, make)

def cells(ws, _):
    return [cell()]

def tasks(ws):
    return [Task(cells, None, 1)]

def compute(ws):
    return ws.get(cell())

def plot(ds):
    fig, axes = style.figure(1, 1)
    axes[0, 0].plot(ds.overlap)
    return fig

def findings(ds):
    return [f"all overlaps are {ds.overlap.min():g}"]
"""


def test_no_processes_no_home_foreign_settings(tmp_path, repository):
    """No semaphores, no `sched_getaffinity`, a cache that cannot be written, and a matplotlibrc that asks for LaTeX."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nsavefig.bbox: tight\nfont.size: 30\n")
    (tmp_path / "cache").write_text("a file, where a folder should be")
    strange = {
        "JOBLIB_MULTIPROCESSING": "0",
        "MATPLOTLIBRC": str(tmp_path),
        "UDDM_CACHE": str(tmp_path / "cache"),
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "LC_ALL": "C",
    }
    out, figure, text = (tmp_path / name for name in ("out", "recall.py", "text"))
    figure.write_text(RECALL)
    text.write_text("\n\n".join(documentation_text().documents), encoding="utf-8")
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(out), str(figure), str(text)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=repository, env={**os.environ, **strange}
    )
    assert done.returncode == 0, done.stderr
    assert verify(out) == []
    assert "recall is drawn; 1 of 1 figures and claims" in done.stderr
    assert "all overlaps are 1" in (out / "report.html").read_text()


def test_looks_do_not_depend_on_the_users_settings():
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30.0, "axes.grid": False}):
        with style.style():
            inside = dict(matplotlib.rcParams)
        assert matplotlib.rcParams["font.size"] == 30
    with style.style():
        assert inside == dict(matplotlib.rcParams)
    assert inside["text.usetex"] is False
    assert inside["font.size"] == style.SETTINGS["font.size"]


@pytest.fixture
def drawn(monkeypatch, nothing):
    """Figures that cost nothing."""
    draw = runner._draw
    monkeypatch.setattr(runner, "execute", lambda ws, tasks, **_: tasks)
    monkeypatch.setattr(runner, "_draw", lambda ws, name, figure: draw(ws, name, nothing))


@pytest.fixture
def text(tmp_path):
    """A corpus whose name is not UTF-8."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n\n".join(documentation_text().documents))
    return path


def test_a_corpus_whose_name_is_no_text(tmp_path, text, drawn):
    report = run(Workspace(tmp_path / "out", "smoke", corpus=[text]), ["fig02"])
    assert "caf\\udce9.txt" in report.read_text(encoding="utf-8")
    assert verify(tmp_path / "out") == []


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["paper_figures", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_a_full_disk_is_one_line(tmp_path, drawn, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", str(tmp_path / "figures.json"))

    monkeypatch.setattr(runner, "write_record", full)
    assert command(monkeypatch, "run", "fig02", "--preset", "smoke", "--out", tmp_path) == 2
    assert "error: [Errno 28] No space left on device: " in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"{}", b"[]", b"\xff", b'{"figures": {}, "manifest": {}}', b""])
def test_a_record_that_is_none_is_one_line_and_is_made_again(tmp_path, drawn, monkeypatch, capsys, content):
    (tmp_path / "figures.json").write_bytes(content)
    for words in (["verify", tmp_path], ["report", tmp_path]):
        assert command(monkeypatch, *words) == 2
        assert "figures.json" in capsys.readouterr().err
    run(Workspace(tmp_path, "smoke"), ["fig02"])
    assert verify(tmp_path) == []


def test_as_many_processes_as_the_system_grants(tmp_path, drawn, monkeypatch):
    """Quotas of containers and LOKY_MAX_CPU_COUNT count, not only how many cores there are."""
    asked = []
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    monkeypatch.setattr(runner, "execute", lambda ws, tasks, *, jobs, **_: asked.append(jobs) or tasks)
    run(Workspace(tmp_path, "smoke"), ["fig02"])
    assert asked == [1]


def test_the_report_grows(tmp_path, drawn, monkeypatch):
    """It stands with the first figure, says what is missing, and nothing is missing at the end."""
    seen, write = [], runner.write_report

    def look(folder):
        path = write(folder)
        seen.append(path.read_text().count("<section"))
        assert ("Not finished: still to come are" in path.read_text()) == (seen[-1] < 3)
        assert verify(folder) == []
        return path

    monkeypatch.setattr(runner, "write_report", look)
    run(Workspace(tmp_path, "smoke"), ["fig02", "am_recovery", "rhm_relaxation"])
    assert seen == [1, 2, 3]
