"""Runs figures: the cells they need in parallel, then each figure's data and drawing, then the report."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from io import BytesIO
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from bridges.manifest import code_version, manifest, to_attribute
from paper_figures import style
from paper_figures.report import is_done, write_record, write_report
from paper_figures.workspace import RESULTS, Workspace, save
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

    Finished work is read back, so an interrupted run goes on where it stopped; if nothing changed, neither the request
    nor the code nor the files, there is nothing to do.
    """
    chosen, begin = choose(names), time.perf_counter()
    request = {
        **{"figures": chosen, "settings": asdict(ws.preset), "corpus": ws.corpus, "blocks": ws.blocks.sha256},
        **{"seed": ws.seed, "results": RESULTS, **code_version()},
    }
    if not request["modified"] and is_done(ws.folder, request):
        return ws.folder / "report.html"
    jobs = jobs or len(os.sched_getaffinity(0))
    modules = {name: import_module(f"paper_figures.{name}") for name in chosen}
    _fill_cells(ws, modules, jobs)
    entries = {}
    for name in tqdm(chosen, desc="figures", disable=None):
        entries[name] = _draw(ws, name, modules[name])
    record = manifest(
        **{"preset": ws.name, "about": ws.preset.about, "jobs": jobs, "seconds": time.perf_counter() - begin},
        **request,
    )
    write_record(ws.folder, record, entries)
    return write_report(ws.folder)


def _fill_cells(ws: Workspace, modules: dict[str, ModuleType], jobs: int) -> None:
    """Compute what is missing, the most expensive pieces first, each on one thread of its own process."""
    sources = dict.fromkeys(source for module in modules.values() for source in module.SOURCES)
    tasks = sorted(dict.fromkeys(task for source in sources for task in source(ws)), key=lambda task: -task[2])
    with (
        parallel_config("loky", inner_max_num_threads=1),
        tqdm(
            total=sum(cost for *_, cost in tasks), desc="cells", disable=None, bar_format="{l_bar}{bar}| {elapsed}"
        ) as bar,
    ):
        calls = (delayed(_work)(ws, *task, 1 + n % jobs, os.getpid()) for n, task in enumerate(tasks))
        for cost in Parallel(n_jobs=jobs, return_as="generator_unordered")(calls):
            bar.update(cost)


def _work(ws: Workspace, function: Any, argument: Any, cost: float, line: int, parent: int) -> float:
    import torch

    torch.set_num_threads(1)
    if os.getpid() != parent:
        Thread(target=_end_with, args=(parent,), daemon=True).start()
    function(ws, argument, line)
    return cost


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
