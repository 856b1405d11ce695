"""How far a run is, told from its folder."""

import os
import signal
import time
from multiprocessing import get_context

import xarray as xr

from paper_figures import ledger, runner
from paper_figures.__main__ import main
from paper_figures.cells import Cell
from paper_figures.status import status
from paper_figures.sweep import execute
from paper_figures.task import Task
from paper_figures.workspace import Workspace


def cell(ws, n):
    """Of n = "waits" one that is made until it is killed, of n = "fails" none."""

    def make():
        if n == "waits":
            time.sleep(60)
        if n == "fails":
            raise FloatingPointError("loss is not finite")
        return xr.Dataset({"n": n})

    return [Cell(f"cell-{n}", {"n": n}, make)]


def working(folder):
    ws = Workspace(folder, "smoke")
    list(execute(ws, [Task(cell, "waits", 1.0)], jobs=1, done=lambda *_: None))


def lines(folder):
    return [" ".join(line.split()) for line in status(folder).splitlines()]


def test_the_table(tmp_path, monkeypatch, nothing, run_command):
    """Of a run that has come half-way, beside a process that works, one that was killed, and one that failed."""
    ws = Workspace(tmp_path, "smoke")
    tasks = [Task(cell, n, 1.0) for n in ("0", "1", "fails", "2", "waits", "3")]
    nothing.tasks = lambda ws: tasks
    monkeypatch.setattr(runner, "choose", lambda names: {"nothing": nothing})
    monkeypatch.setattr(runner, "execute", lambda *_, **__: iter(()))
    runner.run(ws, ["nothing"])
    assert lines(tmp_path)[1:] == [
        *("done 0 of 6 tasks", "running 0", "failed 0", "left 6"),
        "nothing runs now: if no run waits for its turn, the same command goes on",
    ]

    list(execute(ws, tasks[:3], jobs=1, done=lambda *_: None, failed=lambda *_: None))
    monkeypatch.setattr(ledger, "BEAT", 0.1)
    worker = get_context("fork").Process(target=working, args=(tmp_path,))
    worker.start()
    path = ledger.entry_path(ws, tasks[4])
    while ledger.read(path).get("state") != "running":
        time.sleep(0.02)
    monkeypatch.setattr(ledger, "BEAT", 0.7)  # of who reads, to be patient
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "sweep").iterdir() if file != path}
    for jump in (0, -(10**6), 10**6):  # of the clock of whoever touches the file
        os.utime(path, (time.time() + jump,) * 2)
        told = lines(tmp_path)
        assert told[0].startswith("preset smoke, 1 figures and claims, begun 20")
        assert told[1:3] == ["done 2 of 6 tasks", "running 1"]
        assert told[3].startswith(f"test_status cell waits: {os.uname().nodename}, process {worker.pid}, since 20")
        assert told[4] == "failed 1"
        assert told[5].startswith("test_status cell fails: FloatingPointError: loss is not finite (")
        assert told[6] == "left 2"
        assert told[7].startswith("end 20")
    assert {file: file.stat().st_mtime_ns for file in before} == before, "it writes nothing"
    assert len(before) == len(list((tmp_path / "sweep").iterdir())) - 1

    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    told = lines(tmp_path)
    assert told[2] == "running 0"
    assert told[5] == "left 3"
    assert told[6].startswith("lost with its process: test_status cell waits: ")
    assert told[7] == "nothing runs now: if no run waits for its turn, the same command goes on"
    shown = run_command(main, "status", tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "lost with its process" in shown.stdout


def test_where_nothing_was_run(tmp_path, run_command):
    done = run_command(main, "status", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"no run in {tmp_path}" in done.stderr
