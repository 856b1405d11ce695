"""What docs/security.md promises: nothing that is read is executed or unpacked, pages show text as text, temporary
files are private, and the wheel holds the packages and nothing else."""

import ast
import io
import os
import re
import stat
import subprocess
import sys
import tarfile
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bridges import probe
from bridges.pieces import visible
from bridges.probing.report import Report
from paper_figures import report
from uddm import EmpiricalBayes, UniformProcess
from uddm.corpora import load_corpus
from uddm.files import write_atomically

PACKAGES = ("amtheory", "uddm", "bridges", "paper_figures")
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "code", "codeop", "runpy"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    *("torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "joblib.load", "yaml.load"),
    *(
        "yaml.unsafe_load",
        "yaml.full_load",
        "numpy.lib.format.read_array",
        "pandas.read_pickle",
        "os.system",
        "os.popen",
    ),
    *("sympy.parse_expr", "shutil.unpack_archive", "tempfile.mktemp", "importlib.util.spec_from_file_location"),
}
METHODS = {"extract", "extractall", "unpack_archive", "read_pickle", "allow_pickle", "broadcast_object_list"}
METHODS |= {"gather_object", "all_gather_object", "scatter_object_list", "recv_object_list"}
KEYWORDS = {"trust_remote_code": False, "allow_pickle": False, "shell": False, "weights_only": True}
OPENERS = {"zipfile.ZipFile", "tarfile.open", "gzip.open", "bz2.open", "lzma.open", "zipfile.Path"}

ALLOWED = {
    "uddm/training/distributed.py: broadcast_object_list": "between processes of one training",
    "uddm/training/shards.py: all_gather_object": "between processes of one training",
    "paper_figures/task.py: importlib.util.spec_from_file_location": "a figure of one's own",
    "paper_figures/figure.py: import_module": "of the modules of our own folder of figures, found there by name",
}
"""All exceptions there are, each with its reason."""


def names_of_modules(tree):
    """What each name of a module stands for, dotted: `np` is numpy, `load` of `from torch import load` torch.load."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split(".")[0]: alias.asname and alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {name: dotted or name for name, dotted in names.items()}


def dotted(node, names):
    """The dotted name of an expression, as far as it has one."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (before := dotted(node.value, names)):
        return f"{before}.{node.attr}"
    return ""


def dangers(source):
    """What in a source could run or unpack what it reads, by name."""
    tree, found = ast.parse(source), set()
    names = names_of_modules(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in MODULES}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {node.module} if node.module.split(".")[0] in MODULES else set()
        elif isinstance(node, ast.Name) and node.id in BUILTINS - {"compile"}:
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and node.attr in METHODS:
            found.add(node.attr)
        elif isinstance(node, ast.Call):
            name = dotted(node.func, names)
            found |= {name} & {"compile"}
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            given = {arg: getattr(value, "value", ...) for arg, value in keywords.items()}
            found |= {name} & CALLS
            found |= {f"{arg}={given[arg]}" for arg, safe in KEYWORDS.items() if given.get(arg, safe) is not safe}
            if name == "numpy.load" and given.get("allow_pickle") is not False:
                found.add("numpy.load without allow_pickle=False")
            if name.endswith("import_module") and not isinstance(node.args[0], ast.Constant | ast.JoinedStr):
                found.add("import_module")
    return found


def sources(repository):
    for package in PACKAGES:
        for path in sorted((repository / package).rglob("*.py")):
            yield path.relative_to(repository).as_posix(), path.read_text(encoding="utf-8")


def test_nothing_that_is_read_can_run(repository):
    found = {f"{path}: {danger}" for path, source in sources(repository) for danger in dangers(source)}
    assert found == ALLOWED.keys()


@pytest.mark.parametrize(
    ("source", "danger"),
    [
        ("import pickle", "pickle"),
        ("from pickle import loads as f", "pickle"),
        ("import dill as d", "dill"),
        ("eval(x)", "eval"),
        ("run = exec", "exec"),
        ("compile(x, '', 'exec')", "compile"),
        ("import torch as t; t.load(p)", "torch.load"),
        ("from torch import load as l; l(p)", "torch.load"),
        ("import numpy as np; np.load(p)", "numpy.load without allow_pickle=False"),
        ("import numpy as np; np.load(p, allow_pickle=True)", "allow_pickle=True"),
        ("import joblib; joblib.load(p)", "joblib.load"),
        ("import yaml; yaml.load(p)", "yaml.load"),
        ("import subprocess as s; s.run(p, shell=True)", "shell=True"),
        ("M.from_pretrained(p, trust_remote_code=flag)", "trust_remote_code=Ellipsis"),
        ("archive.extractall(p)", "extractall"),
        ("import tempfile; tempfile.mktemp()", "tempfile.mktemp"),
        ("importlib.import_module(name)", "import_module"),
    ],
)
def test_each_danger_would_be_found(source, danger):
    """The negative control."""
    assert danger in dangers(source)


@pytest.mark.parametrize(
    "source", ["re.compile(p)", "model.eval()", "import numpy as np; np.load(p, allow_pickle=False)"]
)
def test_what_is_harmless_is_not(source):
    assert dangers(source) == set()


# --- archives


def test_archives_are_read_in_three_places_and_unpacked_in_none(repository):
    """That `extract`, `extractall` and `unpack_archive` are nowhere, the first test says."""
    opened = {}
    for path, source in sources(repository):
        tree = ast.parse(source)
        names = names_of_modules(tree)
        found = {dotted(node.func, names) for node in ast.walk(tree) if isinstance(node, ast.Call)} & OPENERS
        if found:
            opened[path] = found
    assert opened == {
        "paper_figures/published.py": {"zipfile.ZipFile"},
        "uddm/corpora/corpus.py": {"gzip.open", "tarfile.open"},
        "uddm/importers/_torch_file.py": {"zipfile.ZipFile"},
    }


def test_members_of_a_tarball_write_nothing_wherever_their_names_point(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    with tarfile.open(inside / "corpus.tar", "w") as archive:
        for name in ("news.en-00001-of-00100", "../../escaped", f"{tmp_path}/absolute", "lm/../../up"):
            member = tarfile.TarInfo(name)
            member.size = 6
            archive.addfile(member, io.BytesIO(b"a b c\n"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            member = tarfile.TarInfo("link")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    corpus = load_corpus([str(inside / "corpus.tar")])
    assert list(corpus.documents) == ["a b c"]
    assert {path.name for path in tmp_path.rglob("*")} == {"inside", "corpus.tar"}


# --- pages


EVIL = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \"' {{ 7*7 }} {% raw %} javascript:alert(3) &lt;b&gt; "
    "\x00\x1b\x85\u202e"
)
ATTRIBUTES = {
    *("id", "class", "href", "src", "alt", "charset", "name", "content", "lang", "http-equiv"),
    *("x", "y", "x1", "x2", "y1", "y2", "d", "transform", "style", "width", "height", "viewbox", "version", "xmlns"),
    *("xmlns:xlink", "xlink:href", "clip-path", "type", "points", "rdf:about", "rdf:resource", "xmlns:dc", "xmlns:cc"),
    *("xmlns:rdf", "cx", "cy", "r"),
}
TAGS = {
    *("html", "meta", "title", "style", "h1", "h2", "h4", "p", "nav", "a", "table", "tr", "td", "th", "div", "span"),
    *("details", "summary", "ul", "li", "section", "figure", "img", "figcaption", "pre", "b", "i", "br", "svg", "g"),
    *("path", "defs", "use", "text", "tspan", "rect", "clippath", "metadata", "rdf:rdf", "cc:work", "dc:type"),
    *("dc:date", "dc:format", "dc:creator", "cc:agent", "dc:title"),
}


class Page(HTMLParser):
    """Tags, their attributes and the text of a page, as a browser has them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def check(page):
    """That nothing in it runs, is fetched or turns what is written; its text."""
    seen = Page(page)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)
    assert seen.tags <= TAGS, seen.tags - TAGS
    assert {name for name, _ in seen.attributes} <= ATTRIBUTES
    links = [value for name, value in seen.attributes if name in ("href", "src", "xlink:href")]
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in links)
    policy = next(value for name, value in seen.attributes if name == "content" and "-src" in value)
    assert policy.startswith("default-src 'none';")
    assert "script" not in policy
    return seen.text


class Evil:
    """A tokenizer whose every token is hostile, with the names that a Report asks for."""

    def decode(self, ids):
        return EVIL * len(ids)


def test_a_page_of_a_probe_shows_what_is_hostile_as_text(tmp_path):
    """Text, path, name of the model and reasons; the last one is not even text."""
    x = np.random.default_rng(0).integers(3, size=(30, 6))
    made = probe(
        EmpiricalBayes(x, UniformProcess(3)), suspect=x[:12], unseen=x[15:27], generated=8, steps=4, draws=2, rng=0
    )
    decision = made.decision._replace(headline=EVIL, reasons=(EVIL,))
    checks = tuple(check._replace(detail=EVIL, remedy=EVIL) for check in made.checks)
    record = {**made.record, "system": {**made.record["system"], "origin": {"source": EVIL + "\udcff"}}}
    hostile = Report(decision, checks, made.measured, made.alone, made.numbers, record, Evil())
    text = check(hostile.write(tmp_path).read_text(encoding="utf-8"))
    assert hostile.passages
    assert text.count(visible(EVIL)) > len(checks) + len(hostile.passages)


@pytest.fixture
def record(tmp_path):
    """Of a results folder with a figure and a claim, all of it hostile."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "drawn.png").write_bytes(b"a picture")
    estimate = {"value": 1.0, "low": None, "high": None}
    finding = {"system": EVIL, "at": EVIL, "part": EVIL, "estimate": estimate, "repeats": 3, "verdict": EVIL}
    claim = dict.fromkeys(("statement", "source", "statistic", "reason", "systems"), EVIL)
    figure = dict.fromkeys(("title", "caption", "expected"), EVIL) | {"findings": [EVIL], "html": "<p>of ours</p>"}
    manifest = dict.fromkeys(("preset", "about", "seed"), EVIL) | {
        "corpus": [EVIL],
        "missing": [EVIL],
        "skipped": [EVIL],
    }
    manifest |= {"figures": ["drawn"], "claims": ["C1"], "settings": {"rehearsal": True}, "seconds": 1.0, "jobs": 2}
    return {
        "manifest": {**manifest, "tasks": {EVIL: 1.0}},
        "figures": {"drawn": {**figure, "files": {"figures/drawn.png": report._hash(b"a picture")}}},
        "claims": {"C1": {**claim, "verdict": "refuted", "findings": [finding], "figure": "drawn", "files": {}}},
    }


def test_a_report_shows_what_is_hostile_as_text(record, tmp_path):
    """With every entry that `read_record` asks for, in a record that anyone may have written."""
    report.write_record(tmp_path, *record.values())
    page = report.write_report(tmp_path).read_text(encoding="utf-8")
    assert check(page).count(visible(EVIL)) > 12
    assert page.count("<p>of ours</p>") == 1


@pytest.mark.parametrize("html", ["<script>1</script>", "<p onclick=f()>a</p>", "<a href='javascript:f()'>a</a>"])
def test_markup_that_no_figure_writes_is_refused(record, tmp_path, html):
    record["figures"]["drawn"]["html"] = html
    report.write_record(tmp_path, *record.values())
    with pytest.raises(ValueError, match=r"drawn has markup that no figure writes"):
        report.write_report(tmp_path)


def test_the_check_of_pages_would_find_a_script():
    """The negative control."""
    for page in ("<script>1</script>", "<p>\u202e", "<p onclick='1'>", "<a href='javascript:1'>", "<p>"):
        with pytest.raises((AssertionError, StopIteration)):
            check(page)


# --- temporary files


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644)])
def test_files_are_written_beside_their_place_with_the_rights_of_the_user(tmp_path, monkeypatch, mask, mode):
    seen, replace = [], os.replace

    def watched(source, target):
        seen.append((Path(source), stat.S_IMODE(os.stat(source).st_mode)))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    before = os.umask(mask)
    try:
        for _ in range(2):
            write_atomically(tmp_path / "file", b"content")
    finally:
        os.umask(before)
    assert [path.parent for path, _ in seen] == [tmp_path, tmp_path]
    assert [rights for _, rights in seen] == [mode, mode]
    assert seen[0][0] != seen[1][0]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda n: "guessed")
    (tmp_path / ".file.guessed").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "file", b"content")
    assert not (tmp_path / "victim").exists()


def test_no_temporary_file_has_a_name_that_could_be_guessed(repository):
    """Those of `tempfile` are made with 0600 and 0700 and random names."""
    made = set()
    for path, source in sources(repository):
        tree = ast.parse(source)
        names = names_of_modules(tree)
        made |= {dotted(node.func, names) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not [text for text in texts if re.match(r"/(tmp|var/tmp|dev/shm)\b", text)], path
    assert {name for name in made if name.startswith("tempfile.")} <= {
        "tempfile.TemporaryDirectory",
        "tempfile.mkstemp",
        "tempfile.mkdtemp",
    }


# --- the wheel


def test_the_wheel_holds_the_packages_and_nothing_else(repository, tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", str(repository), "--no-deps", "-q", "-w", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip(f"the build backend is not to be had: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        required = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", archive.read(metadata).decode(), re.MULTILINE)
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=repository, capture_output=True, text=True, check=True)
    info = metadata.removesuffix("METADATA")
    assert names == {*tracked.stdout.splitlines()} | {f"{info}{name}" for name in FILED}
    assert {"torch", "transformers", "safetensors"}.isdisjoint(required)
    suffixes = {Path(name).suffix for name in names if not name.startswith(info)}
    assert suffixes == {".py", ".pyi", ".jinja", ".typed"}


FILED = ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")
