"""Ends that come at any step, and other company: kill -9, signals, no memory, a second process, clocks that jump."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import uddm.training.loop as loop
from tests.torture.processes import Steps, counted, disturbed, forked, signalled, started
from tests.torture.workloads import CARELESS, WORKS, Result, Work
from uddm.command_line import GO_ON, run_commands

MEGABYTE = 2**20
POLITE = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT)


@cache
def undisturbed(work: Work) -> tuple[Result, Steps]:
    """What it ends with, and its steps."""
    with tempfile.TemporaryDirectory() as folder:
        work.run(Path(folder))  # so that all that is loaded late is loaded
    with tempfile.TemporaryDirectory() as folder:
        steps = forked(counted(partial(work.run, Path(folder)))).value
        return work.result(Path(folder)), steps


def differs(work: Work, folder: Path) -> str | None:
    """In what the folder of a finished command differs from that of an undisturbed one; None if it does not."""
    wanted, found = undisturbed(work)[0], work.result(folder)
    names = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    return f"differs in {', '.join(sorted(names))}" if names else None


def goes_on(work: Work, folder: Path) -> str | None:
    """What is wrong with the same command again, in a folder where one was disturbed; None for nothing."""
    kept = work.kept(folder)
    again = forked(partial(work.run, folder))
    if again.status or again.error:
        return f"the same command again ends with {again.status}, {again.error!r}: {again.said[-300:]}"
    if "damaged" in again.said:
        return f"a file was not whole: {again.said[-300:]}"
    after = work.kept(folder)
    if lost := [path.name for path, when in kept.items() if after.get(path) != when]:
        return f"finished work was made again: {', '.join(lost)}"
    return differs(work, folder)


def kill(work: Work, rng: np.random.Generator, folder: Path) -> str | None:
    """kill -9 once or twice, at steps where half of the time a file is changed."""
    for _ in range(int(rng.integers(1, 3))):
        at = undisturbed(work)[1].draw(rng)
        ended = forked(disturbed(partial(work.run, folder), at, signalled(signal.SIGKILL)))
        if ended.error:
            return f"ended with {ended.error!r} before it was killed"
    return goes_on(work, folder)


def end(work: Work, rng: np.random.Generator, folder: Path) -> str | None:
    """A signal of a scheduler, a terminal or Ctrl-C: the command says how to go on, or has ended by then."""
    number, at = POLITE[rng.integers(len(POLITE))], undisturbed(work)[1].draw(rng)

    def command() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["command", "go"]

        def go() -> None:
            disturbed(partial(work.run, folder), at, signalled(number))()

        run_commands({"go": go, "none": go}, prog="command", description=None)

    ended = forked(command)
    told = ended.status == 128 + number and GO_ON in ended.said and "Traceback" not in ended.said
    if not told and (ended.status or ended.error):
        return f"{number.name}: status {ended.status}, {ended.said[-300:]}"
    return goes_on(work, folder)


def exhaust(work: Work, rng: np.random.Generator, folder: Path) -> str | None:
    """Memory ends anywhere; what comes of it is not asked, since the system may kill, but for what stands then."""
    forked(partial(work.run, folder), memory=int(rng.integers(16 * MEGABYTE)))
    return goes_on(work, folder)


def double(work: Work, rng: np.random.Generator, folder: Path) -> str | None:
    """The same command twice at once, one of which may be killed; each does all of it, or names what holds it up."""
    at = undisturbed(work)[1].draw(rng)
    killed = rng.random() < 0.5
    one = disturbed(partial(work.run, folder), at, signalled(signal.SIGKILL)) if killed else partial(work.run, folder)
    first = started(one)
    time.sleep(float(rng.random() * 0.2))
    second = started(partial(work.run, folder))
    ends = [first.wait(), second.wait()]
    for ended in ends[killed:]:
        if ended.error and not (isinstance(ended.error, OSError) and str(folder) in str(ended.error)):
            return f"{ended.error!r}: {ended.said[-300:]}"
    if all(ended.status for ended in ends):
        return "neither of two came to an end" if not killed else goes_on(work, folder)
    return goes_on(work, folder)


def jump(work: Work, rng: np.random.Generator, folder: Path) -> str | None:
    """Killed, and gone on with when files seem to be of another time, and the time of day jumps at every look at it."""
    forked(disturbed(partial(work.run, folder), undisturbed(work)[1].draw(rng), signalled(signal.SIGKILL)))
    for path in folder.rglob("*"):
        os.utime(path, (0, float(rng.choice([0.0, 1.0, 4e9]))))

    def run() -> None:
        true = time.time
        time.time = lambda: true() + float(rng.choice([-1e9, 0.0, 1e9]))
        work.run(folder)

    again = forked(run)
    if again.status or again.error:
        return f"ends with {again.error!r}: {again.said[-300:]}"
    return differs(work, folder)


def poison(work: Work, rng: np.random.Generator, folder: Path) -> str | None:
    """A gradient that is not finite, of any weight at any step: said, and the weights are untouched."""
    step, value = int(rng.integers(9)), float(rng.choice([np.nan, np.inf, -np.inf]))
    place = rng.random(2)
    backward = loop._backward

    def poisoned(objective: Any, batches: Any, number: int) -> torch.Tensor:
        loss = backward(objective, batches, number)
        if number == step:
            parameters = list(objective.parameters())
            gradient = parameters[int(place[0] * len(parameters))].grad
            gradient.view(-1)[int(place[1] * gradient.numel())] = value
        return loss

    def run() -> None:
        loop._backward = poisoned
        work.run(folder)

    ended = forked(run)
    if not isinstance(ended.error, FloatingPointError) or f"at step {step}" not in str(ended.error):
        return f"a gradient of {value} at step {step} ends with {ended.error!r}"
    return goes_on(work, folder)


def through(
    fault: Callable[[Work, np.random.Generator, Path], str | None],
    names: dict[str, float],
    rng: np.random.Generator,
    trials: int,
) -> Iterator[str | None]:
    """So many trials of a fault, dealt to the works by weight."""
    weights = np.array([*names.values()]) / sum(names.values())
    for n in range(trials):
        name = [*names][int(np.searchsorted(weights.cumsum(), (n + 0.5) / trials))]
        undisturbed(WORKS[name])  # before anything is forked, so that all children have the same published file
        with tempfile.TemporaryDirectory() as folder:
            problem = fault(WORKS[name], rng, Path(folder))
        yield problem and f"{name}: {problem}"


def control(rng: np.random.Generator, trials: int) -> Iterator[str | None]:
    """A command that writes carelessly: of the kills that come in between, the campaign must notice."""
    noticed = 0
    for _ in range(trials):
        with tempfile.TemporaryDirectory() as folder:
            noticed += kill(CARELESS, rng, Path(folder)) is not None
        yield None
    if not noticed:
        yield f"none of {trials} kills of a careless command was noticed"
