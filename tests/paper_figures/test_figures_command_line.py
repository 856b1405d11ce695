"""What a user can get wrong ends with one line that names it, status 2 and no traceback."""

import random
import subprocess
import sys
from functools import partial

import pytest

from paper_figures.__main__ import AGAIN, main
from paper_figures.task import _files


@pytest.fixture
def command(run_command):
    return partial(run_command, main)


@pytest.fixture
def empty_file(tmp_path):
    path = tmp_path / "empty.txt"
    path.write_text(" \n\n ")
    return str(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--preset", "desktop"], "`preset` must be one of smoke, laptop"),
        (["run", "fig99"], "`names` must be files that hold a figure, or among"),
        (["run", "--corpus", "EMPTY"], "empty"),
        (["run", "--corpus", "/nowhere.txt"], "/nowhere.txt"),
        (["run", "--jobs", "0"], "`jobs` must be at least 1"),
        (["report", "/nowhere"], "no results in /nowhere"),
        (["verify", "/nowhere"], "no results in /nowhere"),
        (["draw"], "Available subcommands"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_user_errors(words, message, empty_file, tmp_path, command):
    words = [empty_file if word == "EMPTY" else word for word in words]
    out = ["--out", str(tmp_path / "out")] if words[0] == "run" else []
    done = command(*words, *out)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_corpus_too_short_for_the_preset_says_how_short(tmp_path, command):
    text = tmp_path / "short.txt"
    letters = random.Random(0)
    text.write_text("\n\n".join("".join(letters.choices("abcdefgh ", k=50)) for _ in range(60)))
    done = command("run", "--preset", "smoke", "--corpus", str(text), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "`corpus` gives" in done.stderr
    assert "preset 'smoke' needs 2048" in done.stderr


def test_list_names_figures_and_presets():
    """In a process of its own, as a user's."""
    words = [sys.executable, "-m", "paper_figures", "list"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for word in ("fig01_basins", "am_entropy", "transition", "smoke", "laptop"):
        assert word in done.stdout


OWN = """
from matplotlib.figure import Figure
import xarray as xr
from paper_figures.cells import Cell
from paper_figures.task import Task

ORDER, TITLE, EXPECTED, CAPTION = 0, "Own", "", ""

def cells(ws, n):
    def make():
        if n in {failing!r}:
            raise FloatingPointError("loss is not finite")
        return xr.Dataset({{"n": n}})
    return [Cell("own", {{"n": n}}, make)]

def tasks(ws): return [Task(cells, n, 1.0) for n in {numbers!r}]
def compute(ws): return xr.Dataset({{"value": 1.0}})
def plot(ds): return Figure()
def findings(ds): return []
"""


def test_what_fails_stops_nothing_else_and_is_listed(tmp_path, command):
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(OWN.format(numbers=[1, 2], failing=[]))
    bad.write_text(OWN.format(numbers=[3, 4, 5], failing=[3, 5]))
    words = ["run", str(bad), str(good), "--preset", "smoke", "--jobs", "1", "--out", str(tmp_path / "out")]
    done = command(*words)
    assert (done.returncode, done.stdout) == (1, f"{tmp_path / 'out' / 'report.html'}\n")
    listed = done.stderr.partition("\ntasks failed:\n")[2].splitlines()
    assert [line.partition(" (")[0] for line in listed] == [
        "bad 3: FloatingPointError: loss is not finite",
        "bad 5: FloatingPointError: loss is not finite",
        AGAIN,
    ]
    assert "Traceback" not in done.stderr
    assert [path.stem for path in (tmp_path / "out" / "figures").glob("*.png")] == ["good"]
    assert len(list((tmp_path / "out" / "cells").glob("own-*.nc"))) == 3
    bad.write_text(OWN.format(numbers=[3, 4, 5], failing=[]))  # which has no version, so it is tried again
    _files.clear()
    for name in [name for name in sys.modules if name.endswith(".bad")]:
        del sys.modules[name]
    done = command(*words)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'out' / 'report.html'}\n")
