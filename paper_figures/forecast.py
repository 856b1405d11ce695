"""What a run is going to take, before it starts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from typing import Any

from paper_figures.measure import hierarchy, language, noises
from paper_figures.measure.networks import COST_FLOP, Training, training_flop
from paper_figures.progress import duration
from paper_figures.task import Task
from paper_figures.workspace import Workspace

SIDE, REPEATS = 1024, 5
EFFICIENCY = 0.35
"""Of what a core does in a matrix product of that side, what it does in training and measuring: that of the laptop
preset, whose networks are small."""


def forecast(ws: Workspace, tasks: Sequence[Task], jobs: int) -> str:
    """The trainings that are left, in TFLOP, and on a CPU the time of all that is left, in words."""
    left = [task for task in tasks if any(not ws.path(cell).exists() for cell in task.cells(ws))]
    trainings = {}
    for task in left:
        network = measured.network if (measured := _measured(ws, task)) else None
        if isinstance(network, Training):
            trainings[ws.place("", measured.origin)] = training_flop(network)
    work = sum(trainings.values()) / 1e12
    told = f"{len(left)} of {len(tasks)} tasks are left, {len(trainings)} trainings of {work:.3g} TFLOP among them"
    if ws.device != "cpu":
        return told
    times = [_flop(ws, task) / _flop_per_second() for task in left]
    expected, processes = duration(max([0.0, sum(times) / jobs, *times])), "process" if jobs == 1 else "processes"
    return f"{told}: expect about {expected} with {jobs} {processes}"


def _measured(ws: Workspace, task: Task) -> Any:
    """What a task of networks measures; None of others."""
    makers: dict[Any, Any] = {
        language.cells: language.Measured,
        hierarchy.cells: hierarchy.Measured,
        noises.cells: noises.measured,
    }
    return makers[task.of](ws, task.argument) if task.of in makers else None


def _flop(ws: Workspace, task: Task) -> float:
    """Of networks on text as counted, of all else as its cost says."""
    counted = language.flop(ws, task.argument) if task.of is language.cells else None
    return task.cost * COST_FLOP if counted is None else counted


@cache
def _flop_per_second() -> float:
    """Of a task, on one core."""
    import torch

    a = torch.ones(SIDE, SIDE)
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        torch.mm(a, a)
        seconds.append(time.perf_counter() - begin)
    return EFFICIENCY * 2 * SIDE**3 / min(seconds)
