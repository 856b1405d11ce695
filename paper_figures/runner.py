"""Runs figures and claims: the cells they need in parallel, and each of them and the report as soon as its cells are
there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bridges.claims import CLAIMS, Finding
from bridges.manifest import code_version, manifest, to_attribute
from paper_figures import evidence, ledger, style
from paper_figures.cells import RESULTS, as_bytes, load
from paper_figures.engines import Engine, on_joblib, one_thread
from paper_figures.figure import Figure, choose, known
from paper_figures.forecast import forecast
from paper_figures.ledger import Failure
from paper_figures.progress import Progress
from paper_figures.report import earlier, is_done, read_record, write_record, write_report
from paper_figures.sweep import Plan, at_once, execute, plan
from paper_figures.task import Task
from paper_figures.workspace import Workspace
from uddm.files import write_atomically


class SweepError(RuntimeError):
    """Tasks failed, and what needs them is not drawn.

    Attributes
    ----------
    failures : of the tasks.
    report : of all else; None if there is nothing.
    """

    def __init__(self, failures: Sequence[Failure], report: Path | None):
        super().__init__("\n".join(["tasks failed:", *map(str, failures)]))
        self.failures, self.report = failures, report


def run(
    ws: Workspace,
    names: Sequence[str] = (),
    *,
    jobs: int | None = None,
    retry_failed: bool = False,
    engine: Engine = on_joblib,
) -> Path:
    """Make the named figures and decide the named claims, and the report; returns the report's path. By default they
    are all but those that the preset makes only if they are named.

    The report is written with the first of them that is complete, and again with each further one. It goes on showing
    what earlier runs with the same settings and code made in the folder. Finished work is read back, so an interrupted
    run goes on where it stopped; if nothing changed, neither the settings nor the code nor the files, there is nothing
    to do. A task that fails does not stop the others.

    Parameters
    ----------
    ws : the results folder, and what they are of.
    names : figures, as `paper_figures.figure.choose` takes them, and claims, "C1" to "C19".
    jobs : how many tasks run at once; by default as `paper_figures.sweep.at_once` says.
    retry_failed : whether to try tasks again on which this code has failed before.
    engine : where the cells are made; by default in processes of this machine, or as `joblib.parallel_config` says.

    Raises
    ------
    SweepError : at the end, if tasks failed.
    """
    begin, (figures, claims) = time.perf_counter(), _asked(names, ws.preset.by_name)
    ws.prepare()
    products: dict[str, Figure | evidence.Evidence] = {**figures, **claims}
    facts: dict[str, Any] = {
        "settings": asdict(ws.preset),
        "corpus": ws.corpus,
        "blocks": ws.blocks.sha256,
        "seed": ws.seed,
        "results": RESULTS,
        **code_version(),
    }
    report = ws.folder / "report.html"
    changed = facts["modified"] or not products.keys() <= {*known(), *CLAIMS}  # a file of one's own has no version
    if not changed and is_done(ws.folder, products, facts):
        return report
    jobs, todo = at_once(jobs, on_gpu=ws.device != "cpu"), plan(ws, products)
    entries, outcomes, others = earlier(ws.folder, facts, but=products)
    orders = {name: figure.ORDER for name, figure in {**known(), **figures}.items()}
    _announce(ws, todo, jobs, facts)
    failures: list[Failure] = []
    with Progress(todo.tasks, jobs, len(products)) as progress, one_thread():

        def failed(task: Task, failure: Failure) -> None:
            failures.append(failure)
            progress.over(task)
            progress.say(f"failed: {failure}")

        progress.say(forecast(ws, todo.tasks, jobs))
        if others:
            progress.say(f"left out of the report, as altered or of other settings or code: {', '.join(others)}")
        how: Any = {"retry_failed": retry_failed, "engine": engine}
        done = execute(ws, todo.tasks, jobs=jobs, done=progress.finished, failed=failed, **how)
        for number, name in enumerate(todo.ready(done)):
            if name in claims:
                outcomes[name] = _decide(ws, name, claims[name])
            else:
                entries[name] = _draw(ws, name, figures[name])
            record = manifest(
                preset=ws.name,
                about=ws.preset.about,
                jobs=jobs,
                seconds=time.perf_counter() - begin,
                tasks=progress.took,
                device=ws.device,
                skipped=ws.skipped,
                missing=[name for name in products if name not in {**entries, **outcomes}],
                figures=sorted(entries, key=lambda name: orders.get(name, np.inf)),
                claims=[name for name in CLAIMS if name in outcomes],
                **facts,
            )
            write_record(ws.folder, record, entries, outcomes)
            write_report(ws.folder)
            verdict = (
                f"{name}: {outcomes[name]['verdict']}{' (a rehearsal)' * ws.preset.rehearsal}"
                if name in outcomes
                else ""
            )
            progress.product(verdict or f"{name} is drawn")
            if number == 0:
                progress.say(f"the report grows in {report}")
    if failures:
        raise SweepError(failures, report if report.exists() else None)
    return report


def replot(folder: Path, names: Sequence[str] = ()) -> Path:
    """Draw the figures and decide the claims of a results folder again, from its stored datasets alone; returns the
    report's path.

    Parameters
    ----------
    folder : the results folder.
    names : as for `run`; by default all that the folder holds.

    Raises
    ------
    FileNotFoundError, ValueError : nothing was run there, one of the names was not, or a dataset is damaged.
    """
    record, (figures, claims) = read_record(folder), _asked(names)
    held = {**record["figures"], **record["claims"]}
    if missing := [name for name in (*figures, *claims) if names and name not in held]:
        raise ValueError(f"{folder} holds no {', '.join(missing)}: run it first")
    for name in held:
        if name in figures or name in claims:
            dataset = load(folder / "data" / f"{name}.nc")
            told = _pictures(folder, name, figures[name], dataset) if name in figures else _outcome(name, dataset)
            files = held[name]["files"] | told.get("files", {})
            record["figures" if name in figures else "claims"][name] = {**told, "files": files}
    write_record(folder, record["manifest"], record["figures"], record["claims"])
    return write_report(folder)


def _announce(ws: Workspace, todo: Plan, jobs: int, facts: dict[str, Any]) -> None:
    """Enter the plan in the ledger, for who asks how far it is."""
    tasks = [
        {
            "task": str(task),
            "function": f"{task.of.__module__}.{task.of.__qualname__}",
            "cost": task.cost,
            "entry": ledger.entry_path(ws, task).name,
            "cells": [ws.path(cell).name for cell in task.cells(ws)],
        }
        for task in todo.tasks
    ]
    told = {"preset": ws.name, "device": ws.device, "products": list(todo.products), "jobs": jobs, "tasks": tasks}
    ledger.write(ledger.plan_path(ws.folder), {**facts, **told, "since": ledger.now()})


def _asked(
    names: Sequence[str], left_out: Sequence[str] = ()
) -> tuple[dict[str, Figure], dict[str, evidence.Evidence]]:
    """The figures and claims of these names; if there is none, all but those left out."""
    claims = evidence.choose(names)
    others = [name for name in names if name not in claims]
    figures = choose(others) if others or not names else {}
    if names:
        return figures, claims
    kept: Any = ({name: value for name, value in each.items() if name not in left_out} for each in (figures, claims))
    return tuple(kept)


def _draw(ws: Workspace, name: str, figure: Figure) -> dict[str, Any]:
    """Compute a figure, write its files, and return what the report tells of it."""
    dataset = figure.compute(ws)
    files = _write(ws.folder, f"data/{name}.nc", _with_manifest(ws, dataset, figure=name))
    told = _pictures(ws.folder, name, figure, dataset)
    return {**told, "files": files | told["files"]}


def _decide(ws: Workspace, name: str, of: evidence.Evidence) -> dict[str, Any]:
    """Compute what decides a claim, write it, and return what the report tells of the claim."""
    dataset = of.compute(ws)
    files = _write(ws.folder, f"data/{name}.nc", _with_manifest(ws, dataset, claim=name))
    return {**_outcome(name, dataset), "files": files}


def _pictures(folder: Path, name: str, figure: Figure, dataset: xr.Dataset) -> dict[str, Any]:
    """Write figures/NAME.{png,pdf}, and tell what the report does."""
    files: dict[str, str] = {}
    with style.style():
        drawing = style.laid_out(figure.plot(dataset))
        for suffix in ("png", "pdf"):
            buffer = BytesIO()
            drawing.savefig(buffer, format=suffix, metadata={"CreationDate": None} if suffix == "pdf" else None)
            files |= _write(folder, f"figures/{name}.{suffix}", buffer.getvalue())
    html = getattr(figure, "html", None)
    return {
        "title": figure.TITLE,
        "caption": _caption(name, figure, dataset),
        "expected": figure.EXPECTED,
        "findings": figure.findings(dataset),
        "html": html(dataset) if html else "",
        "files": files,
    }


def _caption(name: str, figure: Figure, dataset: xr.Dataset) -> str:
    """With the attributes of the Dataset in the place of braces."""
    try:
        return figure.CAPTION.format(**dataset.attrs) if "{" in figure.CAPTION else figure.CAPTION
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"`CAPTION` of {name} has braces that no attribute of its Dataset fills: {error}") from error


def _outcome(name: str, dataset: xr.Dataset) -> dict[str, Any]:
    """What the report tells of a claim."""
    claim, outcome = CLAIMS[name], CLAIMS[name].decide(dataset)
    return {
        "statement": claim.statement,
        "source": claim.source,
        "statistic": claim.statistic,
        "verdict": outcome.verdict,
        "systems": outcome.systems,
        "reason": outcome.reason,
        "findings": [_plain(finding) for finding in outcome.findings],
        "figure": evidence.EVIDENCE[name].figure,
    }


def _plain(finding: Finding) -> dict[str, Any]:
    """Ready for JSON, which has no infinity."""
    value, low, high = (end if np.isfinite(end) else None for end in finding.estimate)
    return {**asdict(finding), "estimate": {"value": value, "low": low, "high": high}}


def _with_manifest(ws: Workspace, dataset: xr.Dataset, **facts: str) -> bytes:
    """A Dataset as the bytes of its file."""
    origin = {"preset": ws.name, "corpus": ws.corpus, "seed": ws.seed, "blocks": ws.blocks.sha256}
    dataset.attrs["manifest"] = to_attribute(manifest(**facts, **origin))
    return as_bytes(dataset)


def _write(folder: Path, file: str, content: bytes) -> dict[str, str]:
    """A file of the results folder; returns its name and sha256."""
    (folder / file).parent.mkdir(exist_ok=True)
    write_atomically(folder / file, content)
    return {file: hashlib.sha256(content).hexdigest()}
