"""What a run says while it works: a bar on a terminal, elsewhere a line at least once a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from threading import Event, Thread
from typing import Any, Self

from tqdm import tqdm

from paper_figures.task import Task

EVERY = 50.0
"""Seconds between two lines; less than a minute, whatever a line takes to come out."""


class Progress:
    """Follows tasks that `jobs` processes take in their order."""

    def __init__(self, tasks: Sequence[Task], jobs: int, products: int):
        self.tasks, self.jobs, self.products, self.ready = tasks, jobs, products, 0
        self.begin = time.monotonic()
        self.left: dict[Task, float | None] = dict.fromkeys(tasks)  # when it began to run
        self.spent: dict[Any, tuple[float, float]] = {}  # function: cost and seconds of what has finished
        self.took: dict[str, float] = {}  # seconds of each task that has finished
        self.quiet = Event()
        self.bar = tqdm(
            total=sum(task.cost for task in tasks),
            desc="cells",
            disable=None,
            bar_format="{l_bar}{bar}| {elapsed}{postfix}",
        )
        self._start()

    def __enter__(self) -> Self:
        if self.bar.disable:
            self.say(self.line())
            Thread(target=self._every_minute, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.quiet.set()
        self.bar.close()

    def finished(self, task: Task, seconds: float) -> None:
        """A task is done, after so many seconds of work."""
        self.took[str(task)] = round(seconds, 2)
        costs, took = self.spent.get(task.of, (0.0, 0.0))
        self.spent[task.of] = costs + task.cost, took + seconds
        self.over(task)

    def over(self, task: Task) -> None:
        """A task is done, or will not be."""
        del self.left[task]
        self._start()
        self.bar.update(task.cost)
        self.bar.set_postfix_str(self.outlook(), refresh=False)

    def product(self, what: str) -> None:
        """A figure is drawn, or a claim decided."""
        self.ready += 1
        self.say(f"{what}; {self.ready} of {self.products} figures and claims")

    def say(self, text: str) -> None:
        """One line, beside the bar if there is one."""
        if self.bar.disable:
            print(f"[{duration(time.monotonic() - self.begin)}] {text}", file=sys.stderr, flush=True)
        else:
            self.bar.write(text, file=sys.stderr)

    def line(self) -> str:
        """What is done, what runs, and when it will end."""
        now = time.monotonic()
        running = [f"{task} ({duration(now - since)})" for task, since in list(self.left.items()) if since is not None]
        done = len(self.tasks) - len(self.left)
        parts = [f"{done} of {len(self.tasks)} cells, {self.ready} of {self.products} figures and claims"]
        parts += [f"running: {', '.join(running)}"] if running else []
        return "; ".join([*parts, self.outlook()])

    def outlook(self) -> str:
        seconds = self.seconds_left()
        return "time left not known yet" if seconds is None else f"about {duration(seconds)} left"

    def seconds_left(self) -> float | None:
        """From measured rates; None before anything was measured."""
        now = time.monotonic()
        left = [
            (task.of, task.cost, now - since if since is not None else 0.0) for task, since in list(self.left.items())
        ]
        return seconds_left(left, self.spent, self.jobs)

    def _start(self) -> None:
        """The first tasks that are left are those that run."""
        now = time.monotonic()
        for task in list(self.left)[: self.jobs]:
            if self.left[task] is None:
                self.left[task] = now

    def _every_minute(self) -> None:
        while not self.quiet.wait(EVERY):
            self.say(self.line())


def seconds_left(
    left: Sequence[tuple[Any, float, float]], spent: Mapping[Any, tuple[float, float]], jobs: int
) -> float | None:
    """Until `jobs` processes have done what is left.

    The rate is that of finished tasks of the same function; of functions of which none has finished, that of all.

    Parameters
    ----------
    left : function, cost and seconds spent already of each task
    spent : by function, the cost and the seconds of what has finished
    jobs : how many run at once

    Returns
    -------
    float, or None if nothing has finished yet
    """
    costs, took = (sum(part) for part in zip(*spent.values())) if spent else (0.0, 0.0)
    if not costs:
        return None if left else 0.0
    each = []
    for of, cost, so_far in left:
        own_costs, own_seconds = spent.get(of, (costs, took))
        each.append(max(cost * own_seconds / own_costs - so_far, 0.0))
    return max([0.0, sum(each) / jobs, *each])


def duration(seconds: float) -> str:
    """In words."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 120:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
