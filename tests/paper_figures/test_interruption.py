"""A run killed at any moment leaves no worker behind, and goes on where it stopped; one that is asked to end loses no
step."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paper_figures.__main__ import main
from paper_figures.report import verify
from uddm.checkpoints import read_tensors

needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see the workers")

LONG = """
import sys
from dataclasses import replace
from paper_figures.__main__ import main
from paper_figures.presets import PRESETS

smoke = PRESETS["smoke"]
recipes = {
    name: replace(recipe, sizes={4: 10**6}, training=replace(recipe.training, checkpoint_every=10**6, log_every=1))
    for name, recipe in smoke.hierarchy.recipes.items()
}
PRESETS["smoke"] = replace(smoke, hierarchy=replace(smoke.hierarchy, recipes=recipes))
sys.argv = ["paper_figures", "run", "rhm_transition", "--preset", "smoke", "--jobs", "2", "--out", sys.argv[1]]
main()
"""


def descendants(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in children.read_text().split()] if children.exists() else []
    return found + [deeper for child in found for deeper in descendants(child)]


def wait_until(condition, seconds, run=None):
    """Of a process that is still running, if one is given."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert run is None or run.poll() is None, run.communicate()[1]
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.05)


@needs_proc
@pytest.mark.long  # as is tested of what it consists of: workers whose run is gone, cells that are there
def test_kill_and_go_on(tmp_path, run_command):
    cells, words = tmp_path / "cells", ["run", "am_entropy", "--preset", "smoke", "--out", str(tmp_path), "--jobs"]
    command = [sys.executable, "-m", "paper_figures", *words, "2"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: cells.exists() and any(cells.glob("*.nc")), 240, first)
    workers = descendants(first.pid)
    assert workers
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 30)
    finished = {cell: cell.stat().st_mtime_ns for cell in cells.glob("*.nc")}

    second = run_command(main, *words, "1")
    assert second.returncode == 0, second.stderr
    assert second.stdout.strip().endswith("report.html")
    assert {cell: cell.stat().st_mtime_ns for cell in finished} == finished, "finished cells are not made again"
    assert verify(tmp_path) == []


@needs_proc
@pytest.mark.long  # the parts are tested alone: signals of trainings, and workers whose run is gone
@pytest.mark.parametrize(
    ("end", "name"),
    [
        (os.kill, "SIGTERM"),
        (os.killpg, "SIGTERM"),  # as a scheduler does
        (os.killpg, "SIGINT"),  # as a terminal does
        (os.kill, "SIGKILL"),
    ],
)
def test_trainings_save_their_state_when_the_run_is_ended(tmp_path, end, name):
    """Long before the first checkpoint, at a step that nobody has chosen."""
    number = getattr(signal, name)
    words = [sys.executable, "-c", LONG, str(tmp_path)]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    cells, workers = tmp_path / "cells", []

    def steps():
        return [len(path.read_text().splitlines()) for path in sorted(cells.glob("train-*/metrics.jsonl"))]

    try:
        wait_until(lambda: len(steps()) == 2 and min(steps()) > 20, 240, run)
        workers, before = descendants(run.pid), steps()
        end(run.pid, number)
        _, err = run.communicate(timeout=60)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 30)
    finally:
        for pid in (run.pid, *workers):
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
    saved = [int(read_tensors(path)["step"]) for path in sorted(cells.glob("train-*/state.safetensors"))]
    assert len(saved) == 2, err
    assert all(after >= step for after, step in zip(saved, before, strict=True))
    assert max(saved) < 10**6
    assert list(tmp_path.glob(".stopped-*")) == []
    if name != "SIGKILL":
        assert run.returncode == 128 + number
        assert "run the same command again to go on" in err
        assert "leaked" not in err
        assert "Traceback" not in err
