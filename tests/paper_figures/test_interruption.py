"""A run killed at any moment leaves no worker behind, and goes on where it stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paper_figures.report import verify


def start(folder):
    words = ["-m", "paper_figures", "run", "am_entropy", "--preset", "smoke", "--jobs", "2", "--out", str(folder)]
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def descendants(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in children.read_text().split()] if children.exists() else []
    return found + [deeper for child in found for deeper in descendants(child)]


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see the workers")
def test_kill_and_go_on(tmp_path):
    cells = tmp_path / "cells"
    first = start(tmp_path)
    wait_until(lambda: cells.exists() and any(cells.glob("*.nc")), 240)
    workers = descendants(first.pid)
    assert workers
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 30)
    finished = {cell: cell.stat().st_mtime_ns for cell in cells.glob("*.nc")}

    second = start(tmp_path)
    out, err = second.communicate(timeout=400)
    assert second.returncode == 0, err
    assert out.strip().endswith("report.html")
    assert {cell: cell.stat().st_mtime_ns for cell in finished} == finished, "finished cells are not made again"
    assert verify(tmp_path) == []
