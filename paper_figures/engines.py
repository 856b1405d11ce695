"""Engines: where tasks are made. joblib's backends, Dask's among them; `paper_figures.slurm` is another.

To an engine tasks are numbered, and it gives their outcomes as they come. What was made lies in cells, so that an
outcome that is lost with a process loses nothing that was finished.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Literal, NamedTuple, Protocol

from joblib import Parallel, delayed, parallel_config
from joblib.parallel import BACKENDS, get_active_backend
from threadpoolctl import threadpool_limits

from paper_figures import ledger
from paper_figures.ledger import Failure
from paper_figures.measure.networks import UnreadableCheckpoint
from paper_figures.task import Task
from paper_figures.workers import serve, stopped_first
from paper_figures.workspace import Workspace

_KILLED = ("TerminatedWorkerError", "BrokenProcessPool", "KilledWorker")  # of loky and Dask

_turn = threading.Lock()  # torch has one random stream and one number of threads in a process


class Outcome(NamedTuple):
    """What became of a task.

    Parameters
    ----------
    number : of the task
    state : "busy" if another run is making it, "ended" if it was asked to stop, "killed" if its worker was
    seconds : of work
    failure : of a task that failed
    unreadable : a checkpoint that a task would have needed, and why it cannot be read; such a task is done
    """

    number: int
    state: Literal["done", "failed", "busy", "ended", "killed"]
    seconds: float = 0.0
    failure: Failure | None = None
    unreadable: tuple[str, str] | None = None


class Engine(Protocol):
    """Makes tasks somewhere."""

    def __call__(
        self, ws: Workspace, tasks: Mapping[int, Task], /, *, jobs: int, waited: Collection[int]
    ) -> Iterator[Outcome]:
        """The outcomes of numbered tasks, begun in their order, `jobs` at once; a task that another run is making is
        waited for if its number is among `waited`. A task without an outcome is to be tried again."""
        ...


def on_joblib(
    ws: Workspace, tasks: Mapping[int, Task], /, *, jobs: int, waited: Collection[int] = ()
) -> Iterator[Outcome]:
    """On the processes of this machine; inside `joblib.parallel_config(backend=...)` on that backend."""
    backend, _ = get_active_backend()
    ours = os.getpid() if isinstance(backend, BACKENDS.get("loky", ())) else None
    calls = (
        delayed(work)(ws.on_line(1 + place % jobs), task, number, ours, wait=number in waited)
        for place, (number, task) in enumerate(tasks.items())
    )
    how: Any = {"n_jobs": jobs, "batch_size": 1}
    try:
        parallel: Any = Parallel(**how, return_as="generator_unordered")
    except ValueError:  # of backends that cannot
        parallel = Parallel(**how)
    with nullcontext() if ours is None else stopped_first(ws.folder):
        try:
            yield from parallel(calls)
        except Exception as error:
            if type(error).__name__ not in _KILLED:
                raise
            begun = [n for n in tasks if ledger.read(ledger.entry_path(ws, tasks[n])).get("state") == "running"]
            for number in begun or tasks:
                yield Outcome(number, "killed")


def work(ws: Workspace, task: Task, number: int, owner: int | None = None, *, wait: bool = False) -> Outcome:
    """Make the cells of a task, in whatever process."""
    if owner is not None and owner != os.getpid():
        serve(owner, ws.folder)
    with _turn, one_thread():
        begin, cells = time.monotonic(), task.cells(ws)
        if all(ws.holds(cell) for cell in cells):
            return Outcome(number, "done", time.monotonic() - begin)

        def make() -> dict[str, Any]:
            try:
                for cell in cells:
                    ws.get(cell)
            except UnreadableCheckpoint as error:
                return {"unreadable": error.args}
            return {}

        return outcome_of(number, ledger.perform(ledger.entry_path(ws, task), task, make, wait=wait))


@contextmanager
def dask(address: str | None = None, workers: int = 1) -> Iterator[None]:
    """Within it, joblib runs on the Dask cluster with a scheduler at that address; without one, on a cluster of so many
    worker processes on this machine, started for the time. A task whose worker dies is given to another."""
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
        cluster = address or stack.enter_context(LocalCluster(**local))
        client = stack.enter_context(Client(cluster))
        stack.enter_context(parallel_config("dask", client=client))
        yield


def outcome_of(number: int, entry: ledger.Entry) -> Outcome:
    """What an entry tells; "killed" if that is not how it ended."""
    match entry.get("state"):
        case "done":
            return Outcome(number, "done", entry["seconds"], unreadable=entry.get("unreadable"))
        case "failed":
            return Outcome(number, "failed", failure=ledger.failure(entry))
        case "busy" | "ended" as state:
            return Outcome(number, state)
    return Outcome(number, "killed")


@contextmanager
def one_thread() -> Iterator[None]:
    """Results do not depend on how many cores there are; nor do files on a Dask client, on which xarray would lock
    them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    dask = sys.modules.get("dask")
    try:
        with threadpool_limits(1), dask.config.set(scheduler="synchronous") if dask else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)
