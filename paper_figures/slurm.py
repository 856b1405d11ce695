"""Tasks as jobs of Slurm, in job arrays, by submitit.

Before its time is up a job saves the state of its training and is queued again. Slurm queues those of a node that fails
again, and those that it preempts, if the cluster is set up to; a job that is asked to end otherwise is submitted again,
as long as the run lives. With the run, its jobs end. What a job has made, its cells and its entry in the ledger tell:
nothing that it pickles is read.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from paper_figures import ledger
from paper_figures.engines import Outcome, outcome_of, work
from paper_figures.slurm_options import SlurmOptions
from paper_figures.task import Task
from paper_figures.workspace import Workspace

AT_ONCE = 256
"""Jobs that run at once, if nothing else is said."""
SELDOM = 30.0
"""Seconds between two questions to Slurm at most."""
LATE = 15.0
"""Seconds that a file written on another machine may take to be seen."""
TIMEOUTS = 1000
"""Times that a job may come to the end of its time, and be queued again."""
ARRAY = 1000
"""Jobs in an array at most, as Slurm has it by default."""


@dataclass(frozen=True)
class Slurm:
    """An engine (`paper_figures.engines.Engine`): one job for each task."""

    options: SlurmOptions

    def __call__(
        self, ws: Workspace, tasks: Mapping[int, Task], /, *, jobs: int, waited: Collection[int] = ()
    ) -> Iterator[Outcome]:
        """The outcomes of the tasks, `jobs` at once; one that another run is making is waited for."""
        there = [number for number, task in tasks.items() if all(ws.holds(cell) for cell in task.cells(ws))]
        for number in there:
            yield Outcome(number, "done")
        waiting = self._submit(ws, {number: task for number, task in tasks.items() if number not in there}, jobs)
        pause = 1.0
        try:
            while waiting:
                time.sleep(pause)
                queued = _queued()
                over = [number for number, job in waiting.items() if queued is not None and job.id not in queued]
                pause = 1.0 if over else min(1.2 * pause, SELDOM)
                for number in over:
                    ended = waiting.pop(number).outcome(number)
                    if ended.state == "ended":
                        waiting |= self._submit(ws, {number: tasks[number]}, jobs)
                    else:
                        yield ended
        finally:
            if waiting:
                subprocess.run(["scancel", *(job.id for job in waiting.values())], check=False)

    def _submit(self, ws: Workspace, tasks: Mapping[int, Task], jobs: int) -> dict[int, _Job]:
        from submitit import SlurmExecutor

        executor = SlurmExecutor(ws.folder / "sweep" / "slurm", max_num_timeout=TIMEOUTS)
        executor.update_parameters(
            job_name="paper_figures",
            partition=self.options.partition,
            time=self.options.time,
            mem=f"{round(1024 * self.options.memory)}M",
            cpus_per_task=self.options.cpus,
            gpus_per_node=self.options.gpus or None,
            array_parallelism=jobs,
            additional_parameters={"requeue": True, **dict(option.split("=", 1) for option in self.options.sbatch)},
        )
        submitted, numbers = dict[int, _Job](), list(tasks)
        for start in range(0, len(numbers), ARRAY):
            some = numbers[start : start + ARRAY]
            paths = [ledger.entry_path(ws, tasks[number]) for number in some]
            before = [ledger.read(path) for path in paths]
            array = executor.map_array(_Work(), repeat(ws), [tasks[number] for number in some], some)
            submitted |= {n: _Job(job.job_id, path, entry) for n, job, path, entry in zip(some, array, paths, before)}
        return submitted


class _Work:
    """`work`, as submitit calls it in a job."""

    def __call__(self, ws: Workspace, task: Task, number: int) -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        work(ws.on_line(None), task, number, wait=True)

    def checkpoint(self, *arguments: Any) -> Any:
        """What runs when the job is queued again: the same, as the state is in the folder."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


class _Job(NamedTuple):
    """A job that was submitted, the entry of its task, and what that said before."""

    id: str
    path: Path
    before: ledger.Entry

    def outcome(self, number: int) -> Outcome:
        """What the entry says now, which may take its time to come over the network."""
        deadline = time.monotonic() + LATE
        while True:
            entry = ledger.read(self.path)
            if entry != self.before and entry.get("state") != "running":
                return outcome_of(number, entry)
            if time.monotonic() > deadline:
                return Outcome(number, "killed")
            time.sleep(0.5)


def _queued() -> set[str] | None:
    """The jobs of this user that wait, run or are about to end; None if Slurm does not answer."""
    words = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return set(done.stdout.split()) if done.returncode == 0 else None
