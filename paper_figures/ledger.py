"""The ledger of a sweep: what was planned, and of each task where it runs, what it took, or how it failed.

It lies in the folder `sweep` of a results folder: the plan, and an entry for each task that was begun. Results do not
depend on it: a task is done when its cells are there. An entry is written by who holds the lock beside it, and its file
is touched every `BEAT` seconds while the task runs, so that others see whether its process lives without trusting a
clock.
"""

from __future__ import annotations

import os
import re
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

from bridges.manifest import manifest
from paper_figures.task import Task
from paper_figures.workspace import Workspace
from uddm.command_line import explanation
from uddm.files import locked, read_json, to_json, write_atomically

BEAT = 2.0
"""Seconds between two signs of life."""

Entry = dict[str, Any]
"""Its "state" is "running", "done", "failed" or "ended", when it was asked to stop."""

_CODE = ("commit", "modified", "versions")


class Failure(NamedTuple):
    """Of a task: its name in words; the error, as the last line of a traceback; the host; and when (ISO 8601)."""

    task: str
    error: str
    host: str
    at: str

    def __str__(self) -> str:
        return f"{self.task}: {self.error} ({self.host}, {self.at})"


def plan_path(folder: Path) -> Path:
    """Of the last run in a results folder."""
    return folder / "sweep" / "plan.json"


def entry_path(ws: Workspace, task: Task) -> Path:
    """Of a task, whose cells determine it."""
    name, cells = re.sub(r"[^\w.]+", "-", str(task))[:80], [ws.path(cell).name for cell in task.cells(ws)]
    return ws.folder / "sweep" / f"{ws.place(name, {'cells': cells}).name}.json"


def read(path: Path) -> Entry:
    """An entry; an empty one if there is none, or none that can be read."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def write(path: Path, entry: Entry) -> Entry:
    """Write an entry, and return it; on a full disk or in a read-only folder nothing is written, and no error made of
    it: the cells will meet the same."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, to_json(entry))
    return entry


def perform(path: Path, task: Task, make: Callable[[], Mapping[str, Any]], *, wait: bool) -> Entry:
    """Make a task, with an entry that says what becomes of it, and return the last one; of state "busy" if another
    process is making the task, unless it is to be waited for."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock"), f"makes {task}", wait=wait) as ours:
        if not ours:
            return {"state": "busy"}
        entry = {**_here(task), "since": now()}
        write(path, {"state": "running", **entry})
        begin, over = time.monotonic(), Event()
        Thread(target=_beat, args=(path, over), daemon=True).start()
        try:
            found = make()
        except Exception as error:
            return fail(path, task, error)
        except BaseException:
            write(path, {"state": "ended", **entry})
            raise
        finally:
            over.set()
        return write(path, {"state": "done", "seconds": time.monotonic() - begin, **entry, **found})


def fail(path: Path, task: Task, error: Exception) -> Entry:
    """Enter the failure of a task, and what tells whether the same would happen again."""
    failed = {
        "state": "failed",
        "at": now(),
        "error": traceback.format_exception_only(error)[-1].splitlines()[0],
        "traceback": "".join(traceback.format_exception(error)),
        "repeats": explanation(error) is None and not task.own,
    }
    return write(path, {**failed, **_here(task), **manifest()})


def failure(entry: Entry) -> Failure:
    """What the entry of a task that failed tells."""
    return Failure(*(entry[name] for name in Failure._fields))


def would_fail_again(entry: Entry) -> bool:
    """Whether it tells of a failure that this code would repeat, as cells are functions of their settings: not one of
    the system's (a full disk, no memory), and not one of code without a version."""
    if entry.get("state") != "failed" or not entry["repeats"] or entry["modified"]:
        return False
    code = manifest()
    return all(entry[name] == code[name] for name in _CODE)


def now() -> str:
    """ISO 8601, in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _here(task: Task) -> Entry:
    return {"task": str(task), "host": socket.gethostname(), "pid": os.getpid()}


def _beat(path: Path, over: Event) -> None:
    while not over.wait(BEAT):
        with suppress(OSError):
            os.utime(path)
