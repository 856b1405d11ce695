"""What a run says while it works, and in which order it works."""

import io
import sys

import pytest

from paper_figures import progress
from paper_figures.progress import Progress
from paper_figures.task import Task


def first(ws, argument):
    """Cells."""


def second(ws, argument):
    """Other ones."""


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_time_left_follows_measured_rates(clock):
    tasks = [Task(first, 1, 10.0), Task(first, 2, 20.0), Task(second, 3, 5.0), Task(second, 4, 5.0)]
    shown = Progress(tasks, jobs=1, products=2)
    assert shown.seconds_left() is None
    clock.now = 20.0
    shown.finished(tasks[0], 20.0)  # 2 seconds for a cost of 1, the only rate there is
    assert shown.seconds_left() == pytest.approx(2 * (20 + 5 + 5))
    clock.now = 30.0
    assert shown.seconds_left() == pytest.approx(2 * (20 + 5 + 5) - 10)
    clock.now = 70.0
    shown.finished(tasks[1], 50.0)  # 70 seconds for 30
    shown.finished(tasks[2], 1.0)  # the other function is quicker: .2
    assert shown.seconds_left() == pytest.approx(1.0)
    shown.finished(tasks[3], 1.0)
    assert shown.seconds_left() == 0


def test_the_longest_task_bounds_the_time_left(clock):
    tasks = [Task(first, 1, 1.0), Task(first, 2, 100.0), Task(first, 3, 1.0)]
    shown = Progress(tasks, jobs=2, products=1)
    shown.finished(tasks[0], 1.0)
    assert shown.seconds_left() == pytest.approx(100)


def test_a_task_that_overruns_does_not_make_time_negative(clock):
    tasks = [Task(first, 1, 1.0), Task(first, 2, 1.0)]
    shown = Progress(tasks, jobs=1, products=1)
    shown.finished(tasks[0], 1.0)
    clock.now = 50.0
    assert shown.seconds_left() == 0


def test_what_runs_is_what_was_started_first(clock):
    tasks = [Task(first, ("net", n), 1.0) for n in range(5)]
    shown = Progress(tasks, jobs=2, products=1)
    clock.now = 65.0
    shown.finished(tasks[1], 65.0)
    clock.now = 70.0
    assert "running: test_progress first net 0 (1 min 10 s), test_progress first net 2 (5 s)" in shown.line()
    assert shown.line().startswith("1 of 5 cells, 0 of 1 figures and claims; ")


def test_a_file_gets_lines_without_being_asked(monkeypatch):
    """At once, and then after each interval, whatever the tasks do."""
    monkeypatch.setattr(progress, "EVERY", 0.02)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Progress([Task(first, 1, 1.0)], jobs=1, products=3) as shown:
        while sys.stderr.getvalue().count("0 of 1 cells, 0 of 3 figures and claims") < 4:
            shown.quiet.wait(0.01)
        shown.product("fig99 is drawn")
    assert "fig99 is drawn; 1 of 3 figures and claims" in sys.stderr.getvalue()
    assert progress.EVERY < 60
