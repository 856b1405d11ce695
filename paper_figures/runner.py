"""Runs figures: the cells they need in parallel, and each figure and the report as soon as its cells are there."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from io import BytesIO
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.parallel import BACKENDS
from threadpoolctl import threadpool_limits

from bridges.manifest import code_version, manifest, to_attribute
from paper_figures import style
from paper_figures.progress import Progress
from paper_figures.report import is_done, write_record, write_report
from paper_figures.workspace import RESULTS, Task, Workspace, save
from uddm.files import write_atomically

FIGURES = (
    "transition",
    "rhm_transition",
    "rhm_memorization",
    "rhm_relaxation",
    "fig01_basins",
    "fig02_recovery",
    "fig03_token_entropy",
    "fig04_sequence_entropy",
    "fig05_average_entropy",
    "am_recovery",
    "am_entropy",
)

CHEAP = 2000.0
"""A figure whose tasks cost less, in steps of a language model's training, comes before the others."""


def choose(names: Sequence[str]) -> list[str]:
    """Full names of figures given by full name or by the part before the underscore ("fig02"); all if none is given."""
    short = {name.partition("_")[0]: name for name in FIGURES if name.startswith("fig")}
    chosen = [short.get(name, name) for name in names] or list(FIGURES)
    for name, full in zip(names, chosen, strict=False):
        if full not in FIGURES:
            raise ValueError(f"`names` must be figures among {', '.join(FIGURES)}, got {name!r}")
    return [name for name in FIGURES if name in chosen]


def run(ws: Workspace, names: Sequence[str] = (), *, jobs: int | None = None) -> Path:
    """Make the named figures (all by default) and the report; returns the report's path.

    The report is written with the first figure that is complete, and again with each further one. Finished work is read
    back, so an interrupted run goes on where it stopped; if nothing changed, neither the request nor the code nor the
    files, there is nothing to do. By default one process for each core that the system grants.
    """
    chosen, begin = choose(names), time.perf_counter()
    request = {
        **{"figures": chosen, "settings": asdict(ws.preset), "corpus": ws.corpus, "blocks": ws.blocks.sha256},
        **{"seed": ws.seed, "results": RESULTS, **code_version()},
    }
    if not request["modified"] and is_done(ws.folder, request):
        return ws.folder / "report.html"
    modules = {name: import_module(f"paper_figures.{name}") for name in chosen}
    jobs = (jobs or cpu_count()) if "loky" in BACKENDS else 1  # where the system has no processes, in this one
    waiting = _plan(ws, modules)
    tasks = list(dict.fromkeys(task for own in waiting.values() for task in own))
    missing, entries = set(tasks), {}
    report = ws.folder / "report.html"
    with Progress(tasks, jobs, len(chosen)) as progress, _one_thread():
        for done in _completed(ws, tasks, jobs, progress):
            missing.discard(done)
            for name in [name for name, own in waiting.items() if missing.isdisjoint(own)]:
                del waiting[name]
                entries[name] = _draw(ws, name, modules[name])
                record = manifest(
                    **{"preset": ws.name, "about": ws.preset.about, "jobs": jobs},
                    **{"seconds": time.perf_counter() - begin, "missing": [n for n in chosen if n not in entries]},
                    **{**request, "figures": [n for n in chosen if n in entries]},
                )
                write_record(ws.folder, record, entries)
                write_report(ws.folder)
                progress.figure(name)
                if len(entries) == 1:
                    progress.say(f"the report grows in {report}")
    return report


def _plan(ws: Workspace, modules: dict[str, ModuleType]) -> dict[str, list[Task]]:
    """The tasks of each figure, the most expensive first; cheap figures first, the others in the order of FIGURES."""
    tasks = {
        name: sorted(dict.fromkeys(task for source in module.SOURCES for task in source(ws)), key=lambda task: -task[2])
        for name, module in modules.items()
    }
    costs = {name: sum(cost for *_, cost in own) for name, own in tasks.items()}

    def place(name: str) -> tuple[float, int]:
        return (costs[name] if costs[name] <= CHEAP else math.inf), FIGURES.index(name)

    return {name: tasks[name] for name in sorted(tasks, key=place)}


def _completed(ws: Workspace, tasks: Sequence[Task], jobs: int, progress: Progress) -> Iterator[Task]:
    """The tasks as they are done, each on one thread of its own process."""
    backend = {"backend": "loky", "inner_max_num_threads": 1} if jobs > 1 else {"backend": "sequential"}
    with parallel_config(**backend):
        calls = (delayed(_work)(ws, *task, number, 1 + number % jobs, os.getpid()) for number, task in enumerate(tasks))
        results: Any = Parallel(n_jobs=jobs, return_as="generator_unordered")(calls)
        for number, seconds in results:
            progress.finished(number, seconds)
            yield tasks[number]


def _work(ws: Workspace, function: Any, argument: Any, _: float, number: int, line: int, parent: int) -> Any:
    begin = time.monotonic()
    if os.getpid() != parent:
        Thread(target=_end_with, args=(parent,), daemon=True).start()
    with _one_thread():
        function(ws, argument, line)
    return number, time.monotonic() - begin


@contextmanager
def _one_thread() -> Iterator[None]:
    """Results do not depend on how many cores there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _end_with(parent: int) -> None:
    """End this worker when its parent is gone, however it was killed: nobody would wait for the result."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _draw(ws: Workspace, name: str, module: ModuleType) -> dict[str, Any]:
    """Write data/NAME.nc and figures/NAME.{png,pdf}; returns the texts of the report."""
    dataset = module.compute(ws)
    facts = {"figure": name, "preset": ws.name, "corpus": ws.corpus, "seed": ws.seed, "blocks": ws.blocks.sha256}
    dataset.attrs["manifest"] = to_attribute(manifest(**facts))
    for folder in ("data", "figures"):
        (ws.folder / folder).mkdir(exist_ok=True)
    save(dataset, ws.folder / "data" / f"{name}.nc")
    with style.style():
        fig = module.plot(dataset)
        for suffix in ("png", "pdf"):
            buffer = BytesIO()
            fig.savefig(buffer, format=suffix, metadata={"CreationDate": None} if suffix == "pdf" else None)
            write_atomically(ws.folder / "figures" / f"{name}.{suffix}", buffer.getvalue())
    return {
        "title": module.TITLE,
        "caption": module.CAPTION.format(**dataset.attrs) if "{" in module.CAPTION else module.CAPTION,
        "expected": module.EXPECTED,
        "findings": module.findings(dataset),
    }
