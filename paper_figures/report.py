"""One self-contained HTML page with every figure of a results folder, and the check that the folder is whole."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from paper_figures.workspace import load
from uddm.files import read_json, to_json, write_atomically

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
h1 {{ font-size: 1.6rem; }} h2 {{ font-size: 1.2rem; margin-top: 3rem; }}
img {{ max-width: 100%; height: auto; }} figcaption, .note {{ font-size: .9rem; color: #444; }}
figure {{ margin: 1rem 0; }} li {{ font-size: .85rem; font-variant-numeric: tabular-nums; }}
pre {{ font-size: .75rem; background: #f6f6f6; padding: 1rem; overflow-x: auto; }}
nav a {{ margin-right: 1rem; display: inline-block; }}
</style>
<h1>{title}</h1>
<p>{about}</p>
<nav>{links}</nav>
{sections}
<h2 id="manifest">Manifest</h2>
<pre>{manifest}</pre>
</html>
"""
SECTION = """<section id="{name}">
<h2>{name}: {title}</h2>
<figure><img alt="{title}" src="data:image/png;base64,{image}"><figcaption>{caption}</figcaption></figure>
<p class="note"><b>What the paper says.</b> {expected}</p>
{findings}
</section>
"""

_SHOWN = ("preset", "about", "corpus", "seed", "seconds", "jobs", "missing")
_ENTRY = ("title", "caption", "expected", "findings", "files")


def write_report(folder: Path) -> Path:
    """Assemble report.html from figures/ and figures.json; returns its path.

    Raises FileNotFoundError where nothing was run, ValueError for unreadable files.
    """
    path = folder / "report.html"
    write_atomically(path, _page(folder, _record(folder)))
    return path


def _page(folder: Path, record: dict[str, Any]) -> bytes:
    manifest = record["manifest"]
    names = manifest["figures"]  # in their order
    about = (
        f"Preset {manifest['preset']} ({manifest['about']}); corpus: {', '.join(manifest['corpus'])}; "
        f"seed {manifest['seed']}; {manifest['seconds']:.0f} s on {manifest['jobs']} processes."
    )
    if manifest["missing"]:
        about += f" Not finished: still to come are {', '.join(manifest['missing'])}."
    page = PAGE.format(
        title="Memorization to generalization in associative memories",
        about=html.escape(about),
        links="".join(f'<a href="#{name}">{name}</a>' for name in [*names, "manifest"]),
        sections="\n".join(_section(folder, name, record["figures"][name]) for name in names),
        manifest=html.escape(json.dumps(manifest, indent=1)),
    )
    return page.encode(errors="backslashreplace")  # names of files need not be valid text


def write_record(folder: Path, manifest: dict[str, Any], figures: dict[str, dict[str, Any]]) -> None:
    """figures.json: the run's manifest, and for each figure its texts and the hashes of its files."""
    for name, entry in figures.items():
        entry["files"] = {file.as_posix(): _hash(folder / file) for file in _files(name)}
    write_atomically(folder / "figures.json", to_json({"manifest": manifest, "figures": figures}))


def is_done(folder: Path, request: dict[str, Any]) -> bool:
    """Whether the folder holds, whole and unaltered, what a run with these facts in its manifest would make."""
    try:
        found = _record(folder)["manifest"]
        whole = not verify(folder)
    except (FileNotFoundError, ValueError):
        return False
    return whole and all(found.get(name) == value for name, value in json.loads(json.dumps(request)).items())


def verify(folder: Path) -> list[str]:
    """What is wrong with a results folder: missing, altered or unreadable files, figures without data."""
    problems, record = [], _record(folder)
    for name, entry in record["figures"].items():
        for file, expected in entry["files"].items():
            path = folder / file
            if not path.exists():
                problems.append(f"{file} is missing")
            elif _hash(path) != expected:
                problems.append(f"{file} differs from what was written")
        data = folder / "data" / f"{name}.nc"
        if data.exists():
            problems += _check_data(data)
    report = folder / "report.html"
    if not report.exists():
        problems.append("report.html is missing")
    elif not problems and report.read_bytes() != _page(folder, record):
        problems.append("report.html differs from what its figures give")
    return problems


def _check_data(path: Path) -> list[str]:
    try:
        dataset = load(path)
    except ValueError as error:
        return [str(error)]
    problems = [] if "manifest" in dataset.attrs else [f"{path.name} has no manifest"]
    for name, values in dataset.data_vars.items():
        if values.dtype.kind == "f" and not np.isfinite(values).any():
            problems.append(f"{path.name}: {name} holds no finite value")
    return problems


def _record(folder: Path) -> dict[str, Any]:
    path = folder / "figures.json"
    if not path.exists():
        raise FileNotFoundError(f"no results in {folder}: run `python -m paper_figures run --out {folder}` first")
    record = read_json(path)
    try:
        shown = {name: record["figures"][name] for name in record["manifest"]["figures"]}
        lacking = [key for key in _SHOWN if key not in record["manifest"]]
        lacking += [f"{key} of {name}" for name, entry in shown.items() for key in _ENTRY if key not in entry]
    except (KeyError, TypeError, AttributeError):
        lacking = ["its figures"]
    if lacking:
        raise ValueError(f"{path} is no record of this version, it lacks {', '.join(lacking)}: make the figures again")
    return record


def _section(folder: Path, name: str, entry: dict[str, Any]) -> str:
    path = folder / "figures" / f"{name}.png"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["files"][f"figures/{name}.png"]:
        raise ValueError(f"{path} differs from what was written: make the figure again")
    image = base64.b64encode(content).decode()
    items = "".join(f"<li>{html.escape(line)}</li>" for line in entry["findings"])
    texts = {key: html.escape(entry[key]) for key in ("title", "caption", "expected")}
    findings = f'<p class="note"><b>What this run shows.</b></p><ul>{items}</ul>' if items else ""
    return SECTION.format(name=name, image=image, findings=findings, **texts)


def _files(name: str) -> tuple[Path, ...]:
    return Path("data") / f"{name}.nc", Path("figures") / f"{name}.png", Path("figures") / f"{name}.pdf"


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
