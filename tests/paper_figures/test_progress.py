"""What a run says while it works, and in which order it works."""

import io
import sys

import pytest

from paper_figures import progress
from paper_figures.progress import Progress, label
from paper_figures.runner import FIGURES, _plan, import_module
from paper_figures.workspace import Workspace


def first(ws, argument, line):
    """A task."""


def second(ws, argument, line):
    """Another one."""


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
    tasks = [(first, 1, 10.0), (first, 2, 20.0), (second, 3, 5.0), (second, 4, 5.0)]
    shown = Progress(tasks, jobs=1, figures=2)
    assert shown.seconds_left() is None
    clock.now = 20.0
    shown.finished(0, 20.0)  # 2 seconds for a cost of 1, the only rate there is
    assert shown.seconds_left() == pytest.approx(2 * (20 + 5 + 5))
    clock.now = 30.0
    assert shown.seconds_left() == pytest.approx(2 * (20 + 5 + 5) - 10)
    clock.now = 70.0
    shown.finished(1, 50.0)  # 70 seconds for 30
    shown.finished(2, 1.0)  # the other function is quicker: .2
    assert shown.seconds_left() == pytest.approx(1.0)
    shown.finished(3, 1.0)
    assert shown.seconds_left() == 0


def test_the_longest_task_bounds_the_time_left(clock):
    shown = Progress([(first, 1, 1.0), (first, 2, 100.0), (first, 3, 1.0)], jobs=2, figures=1)
    shown.finished(0, 1.0)
    assert shown.seconds_left() == pytest.approx(100)


def test_a_task_that_overruns_does_not_make_time_negative(clock):
    shown = Progress([(first, 1, 1.0), (first, 2, 1.0)], jobs=1, figures=1)
    shown.finished(0, 1.0)
    clock.now = 50.0
    assert shown.seconds_left() == 0


def test_what_runs_is_what_was_started_first(clock):
    tasks = [(first, ("net", n), 1.0) for n in range(5)]
    shown = Progress(tasks, jobs=2, figures=1)
    clock.now = 65.0
    shown.finished(1, 65.0)
    clock.now = 70.0
    assert "running: test_progress net 0 (1 min 10 s), test_progress net 2 (5 s)" in shown.line()
    assert shown.line().startswith("1 of 5 cells, 0 of 1 figures; ")


def test_a_file_gets_lines_without_being_asked(monkeypatch):
    """At once, and then after each interval, whatever the tasks do."""
    monkeypatch.setattr(progress, "EVERY", 0.02)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Progress([(first, 1, 1.0)], jobs=1, figures=3) as shown:
        while sys.stderr.getvalue().count("0 of 1 cells, 0 of 3 figures") < 4:
            shown.quiet.wait(0.01)
        shown.figure("fig99")
    assert "fig99 is drawn, 1 of 3 figures" in sys.stderr.getvalue()
    assert progress.EVERY < 60


def test_cheap_figures_come_first_and_then_the_central_one(tmp_path):
    modules = {name: import_module(f"paper_figures.{name}") for name in FIGURES}
    plan = _plan(Workspace(tmp_path, "laptop"), modules)
    assert list(plan)[:4] == ["am_recovery", "am_entropy", "rhm_relaxation", "transition"]
    assert sorted(plan) == sorted(FIGURES)
    for own in plan.values():
        costs = [cost for *_, cost in own]
        assert costs == sorted(costs, reverse=True)


def test_labels_are_words():
    assert label((first, ("hollow network", 64), 1.0)) == "test_progress hollow network 64"
    assert label((first, 0.5, 1.0)) == "test_progress 0.5"
