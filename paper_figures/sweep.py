"""Planning apart from execution: what figures and claims need, and making it on any engine.

A plan is a value. Its tasks may be done in any order and anywhere that sees the folder: what one needs of another it
reads from its cell, or makes. Where they run is up to an engine (`paper_figures.engines`), with the same results.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

from joblib import effective_n_jobs
from joblib.parallel import get_active_backend

from paper_figures import ledger
from paper_figures.engines import Engine, on_joblib
from paper_figures.evidence import Evidence
from paper_figures.figure import Figure
from paper_figures.ledger import Failure
from paper_figures.task import Task
from paper_figures.workspace import Workspace

CHEAP = 5000.0
"""A figure whose tasks cost less, in steps of a language model's training, comes before the others."""

ON_GPU = 4
"""Tasks at once that share a GPU."""

ATTEMPTS = 3
"""Workers that a task may take with it, before it counts as failed."""


class TaskError(RuntimeError):
    """A task failed."""


@dataclass(frozen=True)
class Plan:
    """The tasks of each product, a figure or a claim, in the order in which they are to be done."""

    products: Mapping[str, tuple[Task, ...]]

    @property
    def tasks(self) -> list[Task]:
        """Each once, however many products need it."""
        return list(dict.fromkeys(chain(*self.products.values())))

    def ready(self, done: Iterable[Task]) -> Iterator[str]:
        """The products, each as soon as all its tasks are done."""
        waiting, left = dict(self.products), set(self.tasks)
        for task in chain([None], done):
            left -= {task}
            for name in [name for name, own in waiting.items() if left.isdisjoint(own)]:
                del waiting[name]
                yield name

    def __str__(self) -> str:
        """A line for each product, and one for each of its tasks that none before it has, with their costs."""
        lines, seen = [], set()
        for name, own in self.products.items():
            lines.append(f"{sum(task.cost for task in own):10.0f}  {name}, {len(own)} tasks")
            lines += [f"{task.cost:10.0f}    {task}" for task in own if task not in seen]
            seen.update(own)
        return "\n".join(lines)


def plan(ws: Workspace, products: Mapping[str, Figure | Evidence]) -> Plan:
    """The tasks of each product, the most expensive first; cheap figures first, the others in the order given. A claim
    waits for no turn of its own: it is ready with the figures that show it."""
    tasks = {
        name: tuple(sorted(dict.fromkeys(product.tasks(ws)), key=lambda task: -task.cost))
        for name, product in products.items()
    }
    costs = {name: sum(task.cost for task in own) for name, own in tasks.items()}
    cheap = {name: costs[name] for name in costs if costs[name] <= CHEAP and not isinstance(products[name], Evidence)}
    by_cost = sorted(tasks, key=lambda name: cheap.get(name, math.inf))  # sorted() is stable
    return Plan({name: tasks[name] for name in by_cost})


def at_once(jobs: int | None = None, *, on_gpu: bool = False) -> int:
    """How many tasks run at once: `jobs`; else what `joblib.parallel_config` says; else as many as its backend offers,
    which is one for each core that the system grants, but few where they share a GPU."""
    asked: Any = get_active_backend()[1]
    return effective_n_jobs(jobs or asked or -1) if jobs or asked or not on_gpu else min(effective_n_jobs(-1), ON_GPU)


def execute(
    ws: Workspace,
    tasks: Sequence[Task],
    *,
    jobs: int,
    done: Callable[[Task, float], object],
    failed: Callable[[Task, Failure], object] | None = None,
    retry_failed: bool = True,
    engine: Engine = on_joblib,
) -> Iterator[Task]:
    """Make the cells of all tasks.

    A task that is lost with its worker is begun again, at most `ATTEMPTS` times, the last of them alone: then it is its
    own. One that another run is making is left for the end, and waited for there.

    Parameters
    ----------
    ws : of the cells.
    tasks : begun in their order.
    jobs : how many run at once.
    done : told each task that is done, and the seconds it took.
    failed : told each task that failed, and how; by default a failure is raised.
    retry_failed : whether those are tried again of which the ledger says that this code has failed on them.
    engine : where they run.

    Yields
    ------
    The tasks as they are done; if the engine gives its outcomes together, at the end. One whose checkpoint cannot be
    read is done as well, and `ws` goes on without the file.

    Raises
    ------
    TaskError : a task failed, and `failed` is not given: finished cells are kept.
    """
    left, busy, deaths = dict(enumerate(tasks)), set[int](), Counter[int]()
    failed = failed or _raise
    if not retry_failed:
        for number, task in enumerate(tasks):
            if ledger.would_fail_again(entry := ledger.read(ledger.entry_path(ws, task))):
                failed(left.pop(number), ledger.failure(entry))
    while left:
        suspects = [number for number in left if deaths[number] == ATTEMPTS - 1]
        batch = {number: left[number] for number in [n for n in left if n not in suspects] or suspects[:1]}
        for number, state, seconds, failure, unreadable in engine(ws, batch, jobs=jobs, waited=busy):
            if state == "busy":
                busy.add(number)
            elif state == "killed":
                deaths[number] += 1
                if deaths[number] == ATTEMPTS:
                    task = left.pop(number)
                    error = MemoryError(f"its worker was killed {ATTEMPTS} times (out of memory?)")
                    failed(task, ledger.failure(ledger.fail(ledger.entry_path(ws, task), task, error)))
            elif failure:
                failed(left.pop(number), failure)
            elif state == "done":
                if unreadable:
                    ws.lose(*unreadable)
                task = left.pop(number)
                done(task, seconds)
                yield task


def _raise(_task: Task, failure: Failure) -> NoReturn:
    raise TaskError(str(failure))
