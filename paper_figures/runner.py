"""Runs figures: the cells they need in parallel, and each figure and the report as soon as its cells are there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

from bridges.manifest import code_version, manifest, to_attribute
from paper_figures import style
from paper_figures.cells import RESULTS, as_bytes
from paper_figures.figure import Figure, choose
from paper_figures.progress import Progress
from paper_figures.report import is_done, write_record, write_report
from paper_figures.sweep import at_once, execute, one_thread, plan
from paper_figures.workspace import Workspace
from uddm.files import write_atomically


def run(ws: Workspace, names: Sequence[str] = (), *, jobs: int | None = None) -> Path:
    """Make the named figures (all by default) and the report; returns the report's path.

    The report is written with the first figure that is complete, and again with each further one. Finished work is read
    back, so an interrupted run goes on where it stopped; if nothing changed, neither the request nor the code nor the
    files, there is nothing to do. Where the cells are made is told by `joblib.parallel_config`; by default in one
    process for each core that the system grants.

    Parameters
    ----------
    ws : the results folder, and what they are of.
    names : figures, as `paper_figures.figure.choose` takes them.
    jobs : how many tasks run at once.
    """
    figures, begin = choose(names), time.perf_counter()
    request: dict[str, Any] = {
        "figures": list(figures),
        "settings": asdict(ws.preset),
        "corpus": ws.corpus,
        "blocks": ws.blocks.sha256,
        "seed": ws.seed,
        "results": RESULTS,
        **code_version(),
    }
    report = ws.folder / "report.html"
    if not request["modified"] and is_done(ws.folder, request):
        return report
    jobs, todo = at_once(jobs), plan(ws, figures)
    entries: dict[str, dict[str, Any]] = {}
    with Progress(todo.tasks, jobs, len(figures)) as progress, one_thread():
        for name in todo.drawable(execute(ws, todo.tasks, jobs=jobs, done=progress.finished)):
            entries[name] = _draw(ws, name, figures[name])
            record = manifest(
                preset=ws.name,
                about=ws.preset.about,
                jobs=jobs,
                seconds=time.perf_counter() - begin,
                missing=[name for name in figures if name not in entries],
                **{**request, "figures": [name for name in figures if name in entries]},
            )
            write_record(ws.folder, record, entries)
            write_report(ws.folder)
            progress.figure(name)
            if len(entries) == 1:
                progress.say(f"the report grows in {report}")
    return report


def _draw(ws: Workspace, name: str, figure: Figure) -> dict[str, Any]:
    """Write data/NAME.nc and figures/NAME.{png,pdf}; returns what the report tells of the figure."""
    files: dict[str, str] = {}

    def write(file: str, content: bytes) -> None:
        (ws.folder / file).parent.mkdir(exist_ok=True)
        write_atomically(ws.folder / file, content)
        files[file] = hashlib.sha256(content).hexdigest()

    dataset = figure.compute(ws)
    facts = {"figure": name, "preset": ws.name, "corpus": ws.corpus, "seed": ws.seed, "blocks": ws.blocks.sha256}
    dataset.attrs["manifest"] = to_attribute(manifest(**facts))
    write(f"data/{name}.nc", as_bytes(dataset))
    with style.style():
        drawing = figure.plot(dataset)
        for suffix in ("png", "pdf"):
            buffer = BytesIO()
            drawing.savefig(buffer, format=suffix, metadata={"CreationDate": None} if suffix == "pdf" else None)
            write(f"figures/{name}.{suffix}", buffer.getvalue())
    return {
        "title": figure.TITLE,
        "caption": figure.CAPTION.format(**dataset.attrs) if "{" in figure.CAPTION else figure.CAPTION,
        "expected": figure.EXPECTED,
        "findings": figure.findings(dataset),
        "files": files,
    }
