"""How far a run is, from its results folder alone: read, never written, from any machine that sees the folder."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from paper_figures import ledger
from paper_figures.progress import duration, seconds_left
from uddm.files import read_json

MISSED = 3
"""Signs of life that a process may miss."""


def status(folder: Path) -> str:
    """A table of what is done, what runs where, what failed, what is left, and when all of it will be done.

    A process that does not touch its entry while it is watched, at most some seconds, counts as lost, whatever the
    clocks say.

    Raises
    ------
    FileNotFoundError, ValueError : nothing was run there, or the plan is damaged.
    """
    path = ledger.plan_path(folder)
    if not path.exists():
        raise FileNotFoundError(f"no run in {folder}: `python -m paper_figures run --out {folder}` starts one")
    plan = read_json(path)
    made = {file.name for file in os.scandir(folder / "cells")} if (folder / "cells").exists() else set[str]()
    entries = {task["entry"]: ledger.read(path.with_name(task["entry"])) for task in plan["tasks"]}
    running = {name for name, entry in entries.items() if entry.get("state") == "running"}
    living = _living([path.with_name(name) for name in running])

    def state(task: dict[str, Any]) -> str:
        if made.issuperset(task["cells"]):
            return "done"
        if task["entry"] in running:
            return "running" if task["entry"] in living else "lost"
        return "failed" if entries[task["entry"]].get("state") == "failed" else "left"

    tasks = defaultdict[str, list[dict[str, Any]]](list)
    for task in plan["tasks"]:
        tasks[state(task)].append(task)
    told = {name: [entries[task["entry"]] for task in own] for name, own in tasks.items()}
    lines = [
        f"preset {plan['preset']}, {len(plan['products'])} figures and claims, begun {_local(plan['since'])}",
        f"done     {len(tasks['done'])} of {len(plan['tasks'])} tasks",
        f"running  {len(tasks['running'])}",
        *(f"    {_where(entry)}" for entry in told.get("running", ())),
        f"failed   {len(tasks['failed'])}",
        *(f"    {ledger.failure(entry)}" for entry in told.get("failed", ())),
        f"left     {len(tasks['left'] + tasks['lost'])}",
        *(f"    lost with its process: {_where(entry)}" for entry in told.get("lost", ())),
    ]
    return "\n".join([*lines, _end(tasks, entries)])


def _end(tasks: Mapping[str, list[dict[str, Any]]], entries: Mapping[str, ledger.Entry]) -> str:
    """When all will be done, at the rate of what is done, by as many as work now."""
    if not tasks["running"]:
        waiting = tasks["left"] + tasks["lost"]
        return "nothing runs now: if no run waits for its turn, the same command goes on" if waiting else "ended"
    spent = defaultdict[str, tuple[float, float]](lambda: (0.0, 0.0))
    for task in tasks["done"]:
        if (took := entries[task["entry"]].get("seconds")) is not None:
            costs, seconds = spent[task["function"]]
            spent[task["function"]] = costs + task["cost"], seconds + took
    left = [(task["function"], task["cost"], 0.0) for task in tasks["left"] + tasks["lost"]]
    left += [(task["function"], task["cost"], _since(entries[task["entry"]])) for task in tasks["running"]]
    seconds = seconds_left(left, spent, len(tasks["running"]))
    if seconds is None:
        return "end      not known before a task has finished"
    end = datetime.now().astimezone() + timedelta(seconds=seconds)
    return f"end      {end:%Y-%m-%d %H:%M} (in {duration(seconds)}) at this rate"


def _living(paths: list[Path]) -> set[str]:
    """The names of the entries that are touched while they are watched."""
    first = {path: _touched(path) for path in paths}
    living, deadline = set[str](), time.monotonic() + MISSED * ledger.BEAT
    while len(living) < len(first) and time.monotonic() < deadline:
        time.sleep(ledger.BEAT / 10)
        living |= {path.name for path, before in first.items() if _touched(path) != before}
    return living


def _touched(path: Path) -> int:
    """The time of the file, after opening it: a network file system answers `stat` from memory for some seconds."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return 0


def _where(entry: ledger.Entry) -> str:
    return f"{entry['task']}: {entry['host']}, process {entry['pid']}, since {_local(entry['since'])}"


def _since(entry: ledger.Entry) -> float:
    """Seconds, which may be off by what two clocks differ by."""
    return max((datetime.now(UTC) - datetime.fromisoformat(entry["since"])).total_seconds(), 0.0)


def _local(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"
