"""Planning apart from execution: what figures and claims need, and making it on whatever joblib runs on.

A plan is a value. Its tasks may be done in any order and anywhere that sees the folder: what one needs of another it
reads from its cell, or makes. By default they run on processes of this machine; within
`joblib.parallel_config(backend=...)` on that backend, with the same results.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import BACKENDS, get_active_backend
from threadpoolctl import threadpool_limits

from paper_figures.evidence import Evidence
from paper_figures.figure import Figure
from paper_figures.measure.networks import UnreadableCheckpoint
from paper_figures.task import Task
from paper_figures.workers import serve, stopped_first
from paper_figures.workspace import Workspace

CHEAP = 5000.0
"""A figure whose tasks cost less, in steps of a language model's training, comes before the others."""

ON_GPU = 4
"""Tasks at once that share a GPU."""

_turn = threading.Lock()  # torch has one random stream and one number of threads in a process


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
    ws: Workspace, tasks: Sequence[Task], *, jobs: int, done: Callable[[Task, float], object]
) -> Iterator[Task]:
    """Make the cells of all tasks.

    Parameters
    ----------
    ws : of the cells.
    tasks : begun in their order.
    jobs : how many run at once.
    done : told each task that is done, and the seconds it took.

    Yields
    ------
    The tasks as they are done; if the backend gives its results together, at the end. One whose checkpoint cannot be
    read is done as well, and `ws` goes on without the file.

    Raises
    ------
    What a task raises, and joblib's TerminatedWorkerError for a worker that was killed: finished cells are kept.
    """
    backend, _ = get_active_backend()
    ours = os.getpid() if isinstance(backend, BACKENDS.get("loky", ())) else None
    calls = (delayed(_work)(ws.on_line(1 + n % jobs), task, n, ours) for n, task in enumerate(tasks))
    how: Any = {"n_jobs": jobs, "batch_size": 1}
    try:
        parallel: Any = Parallel(**how, return_as="generator_unordered")
    except ValueError:  # of backends that cannot
        parallel = Parallel(**how)
    with nullcontext() if ours is None else stopped_first(ws.folder):
        for number, seconds, lost in parallel(calls):
            if lost:
                ws.lose(*lost)
            done(tasks[number], seconds)
            yield tasks[number]


def _work(ws: Workspace, task: Task, number: int, owner: int | None) -> tuple[int, float, tuple[str, str] | None]:
    """The number, the seconds it took, and a checkpoint that could not be read, with the reason."""
    if owner is not None and owner != os.getpid():
        serve(owner, ws.folder)
    lost = None
    with _turn, one_thread():
        begin = time.monotonic()
        try:
            for cell in task.cells(ws):
                ws.get(cell)
        except UnreadableCheckpoint as error:
            lost = error.args
    return number, time.monotonic() - begin, lost


@contextmanager
def one_thread() -> Iterator[None]:
    """Results do not depend on how many cores there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
