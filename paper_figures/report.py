"""One self-contained HTML page with the claims and figures of a results folder, and the check that it is whole."""

from __future__ import annotations

import base64
import hashlib
import json
import textwrap
from collections.abc import Iterable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from bridges.pieces import visible
from paper_figures.cells import load
from uddm.files import read_json, to_json, write_atomically

TITLE = "Memorization to generalization in associative memories"
TEMPLATE = "report.html.jinja"
TAGS = {"h4", "p", "span", "table", "tr", "th", "td"}
"""Of what figures write as text."""

_SHOWN = ("preset", "about", "settings", "corpus", "seed", "seconds", "tasks", "jobs", "missing", "skipped")
_ENTRY = ("title", "caption", "expected", "findings", "html", "files")
_CLAIM = ("statement", "source", "statistic", "verdict", "systems", "reason", "findings", "figure", "files")


def write_report(folder: Path) -> Path:
    """Assemble report.html from figures/ and figures.json; returns its path.

    Raises FileNotFoundError where nothing was run, ValueError for unreadable files.
    """
    path = folder / "report.html"
    write_atomically(path, _page(folder, read_record(folder)))
    return path


def _page(folder: Path, record: dict[str, Any]) -> bytes:
    manifest = record["manifest"]
    figures = [
        {"name": name, "image": _image(folder, name, record["figures"][name]), **record["figures"][name]}
        for name in manifest["figures"]  # in their order
    ]
    for figure in figures:
        _Markup(folder / "figures.json", figure["name"]).feed(figure["html"] or "")
    claims = [{"name": name, **record["claims"][name]} for name in manifest["claims"]]
    told = {"figures": figures, "claims": claims, "manifest": manifest, "record": json.dumps(manifest, indent=1)}
    page = _template().render(title=TITLE, rehearsal=manifest["settings"]["rehearsal"], **told)
    return page.encode(errors="backslashreplace")  # names of files need not be valid text


@cache
def _template() -> Template:
    rooms = FileSystemLoader(Path(__file__).parent)
    options: dict[str, Any] = {
        "finalize": visible,
        "trim_blocks": True,
        "lstrip_blocks": True,
        "keep_trailing_newline": True,
    }
    return Environment(loader=rooms, autoescape=True, undefined=StrictUndefined, **options).get_template(TEMPLATE)


class _Markup(HTMLParser):
    """Refuses markup that no figure writes, which a record from elsewhere may hold."""

    def __init__(self, record: Path, figure: str):
        super().__init__()
        self.source = f"{record}: {figure}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS or any(name != "class" for name, _ in attrs):
            raise ValueError(f"{self.source} has markup that no figure writes: {self.get_starttag_text()!r}")


def write_record(folder: Path, manifest: dict[str, Any], figures: dict[str, Any], claims: dict[str, Any]) -> None:
    """figures.json: the run's manifest, and for each figure and each claim what is told of it and the hashes of its
    files."""
    write_atomically(folder / "figures.json", to_json({"manifest": manifest, "figures": figures, "claims": claims}))


def claims_table(folder: Path) -> str:
    """A line for each claim of a results folder: name, verdict, statement, and below it the numbers."""
    record = read_record(folder)
    lines = (
        ["A rehearsal: too little training for a verdict.", ""] if record["manifest"]["settings"]["rehearsal"] else []
    )
    for name in record["manifest"]["claims"]:
        claim = record["claims"][name]
        lines.append(f"{name:4}{claim['verdict']:11}{claim['statement']}")
        lines += textwrap.wrap(claim["reason"], 116, initial_indent=" " * 15, subsequent_indent=" " * 15)
    return "\n".join(lines) if record["manifest"]["claims"] else "no claim was decided in this run"


def is_done(folder: Path, names: Iterable[str], facts: dict[str, Any]) -> bool:
    """Whether the folder holds, whole and unaltered, what a run of these names would make with these facts in its
    manifest."""
    try:
        record = read_record(folder)
        whole = not _problems(folder, record)
    except (FileNotFoundError, ValueError):
        return False
    made = {*record["figures"], *record["claims"]}
    return whole and made.issuperset(names) and _agrees(record["manifest"], facts)


def earlier(
    folder: Path, facts: dict[str, Any], *, but: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """What the record of a results folder tells of the figures and of the claims, `but` for some, that are whole and of
    runs with these facts in their manifest; and the names of the others."""
    try:
        record = read_record(folder)
    except (FileNotFoundError, ValueError):
        return {}, {}, []
    agrees = _agrees(record["manifest"], facts)
    figures, claims = (
        {k: v for k, v in record[kind].items() if agrees and k not in but and not _problems_of(folder, v)}
        for kind in ("figures", "claims")
    )
    return figures, claims, [k for k in record["figures"] | record["claims"] if k not in {*figures, *claims, *but}]


def _agrees(manifest: dict[str, Any], facts: dict[str, Any]) -> bool:
    return all(manifest.get(name) == value for name, value in json.loads(json.dumps(facts)).items())


def verify(folder: Path) -> list[str]:
    """What is wrong with a results folder: missing, altered or unreadable files, figures without data."""
    record = read_record(folder)
    datasets = [folder / "data" / f"{name}.nc" for name in (*record["figures"], *record["claims"])]
    empty = [problem for path in datasets if path.exists() for problem in _check_data(path)]
    return _problems(folder, record) + empty


def _problems(folder: Path, record: dict[str, Any]) -> list[str]:
    told = record["figures"] | record["claims"]
    problems = [problem for entry in told.values() for problem in _problems_of(folder, entry)]
    report = folder / "report.html"
    if not report.exists():
        problems.append("report.html is missing")
    elif not problems and report.read_bytes() != _page(folder, record):
        problems.append("report.html differs from what its figures give")
    return problems


def _problems_of(folder: Path, entry: dict[str, Any]) -> list[str]:
    """Of one figure or claim."""
    problems = []
    for file, expected in entry["files"].items():
        path = folder / file
        if not path.exists():
            problems.append(f"{file} is missing")
        elif _hash(path.read_bytes()) != expected:
            problems.append(f"{file} differs from what was written")
    return problems


def _check_data(path: Path) -> list[str]:
    try:
        dataset = load(path)
    except ValueError as error:
        return [str(error)]
    problems = [] if "manifest" in dataset.attrs else [f"{path.name} has no manifest"]
    for name, values in dataset.data_vars.items():
        if values.dtype.kind == "f" and np.isnan(values).all():
            problems.append(f"{path.name}: {name} holds no number")
    return problems


def read_record(folder: Path) -> dict[str, Any]:
    """What `write_record` wrote; FileNotFoundError if there is none, ValueError if it is not of this version."""
    path = folder / "figures.json"
    if not path.exists():
        raise FileNotFoundError(f"no results in {folder}: run `python -m paper_figures run --out {folder}` first")
    record = read_json(path)
    try:
        lacking = [key for key in _SHOWN if key not in record["manifest"]]
        for kind, keys in (("figures", _ENTRY), ("claims", _CLAIM)):
            told = record[kind] | {name: record[kind][name] for name in record["manifest"][kind]}
            lacking += [f"{key} of {name}" for name, entry in told.items() for key in keys if key not in entry]
            lacking += [f"files of {name}" for name, entry in told.items() if not isinstance(entry["files"], dict)]
    except (KeyError, TypeError, AttributeError):
        lacking = ["its figures"]
    if lacking:
        raise ValueError(f"{path} is no record of this version, it lacks {', '.join(lacking)}: make the figures again")
    return record


def _image(folder: Path, name: str, entry: dict[str, Any]) -> str:
    path = folder / "figures" / f"{name}.png"
    content = path.read_bytes()
    if _hash(content) != entry["files"][f"figures/{name}.png"]:
        raise ValueError(f"{path} differs from what was written: make the figure again")
    return base64.b64encode(content).decode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
