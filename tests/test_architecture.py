"""Who may import whom, read from the source; and what importing a package may load."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest

FORBIDDEN = {
    "amtheory": {"uddm", "bridges", "paper_figures", "torch"},
    "uddm": {"amtheory", "bridges", "paper_figures"},
    "bridges": {"paper_figures"},
    "paper_figures": set(),
}
HEAVY = ("torch", "numba", "scipy", "sympy", "matplotlib", "xarray", "pandas")


def imported(source: str) -> set[str]:
    """Top-level names that a module imports anywhere, functions and `if TYPE_CHECKING` included; relative imports and
    calls of `import_module` or `__import__` with a name of their own package are not counted."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and node.args:
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if isinstance(first, ast.JoinedStr):
                first = first.values[0]
            if function in ("import_module", "__import__", "run_module") and isinstance(first, ast.Constant):
                found.add(first.value.split(".")[0])
    return found


def sources_of(repository, package: str) -> dict[str, str]:
    """The modules of a package by name; of one that imports lazily, the stub says what."""
    sources = {}
    for path in sorted((repository / package).rglob("*.py*")):  # a stub after its module
        if path.suffix in (".py", ".pyi"):
            parts = path.relative_to(repository).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            sources[name] = sources.get(name, "") + "\n" + path.read_text(encoding="utf-8")
    return sources


def violations(package: str, sources: dict[str, str]) -> list[str]:
    return [
        f"{name} imports {other}"
        for name, text in sources.items()
        for other in sorted(imported(text) & FORBIDDEN[package])
    ]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_follow_the_arrows(repository, package):
    sources = sources_of(repository, package)
    assert len(sources) > 5
    assert violations(package, sources) == []


@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "import numpy, torch.nn as nn",
        "from torch import Tensor",
        "from bridges.system import as_system",
        "def f():\n    from uddm import reverse",
        "if TYPE_CHECKING:\n    import uddm.process",
        "from importlib import import_module\nx = import_module('paper_figures.style')",
        "import importlib\nx = importlib.import_module(f'uddm.{name}')",
        "x = __import__('torch')",
        "try:\n    import torch\nexcept ImportError:\n    pass",
    ],
)
def test_checker_sees_a_forbidden_import(source):
    """Negative control: each of these would be reported in amtheory."""
    assert violations("amtheory", {"bad.py": source})


@pytest.mark.parametrize(
    "source", ["import numpy", "from . import torch", "torch = 1", "'import torch'", "from amtheory import x"]
)
def test_checker_lets_the_rest_pass(source):
    assert violations("amtheory", {"good.py": source}) == []


def arrows(sources: dict[str, str]) -> dict[str, set[str]]:
    """Which modules of a package each of them imports, anywhere: lazily and for type checkers, too."""
    graph = {}
    for name, text in sources.items():
        found = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level:  # of a stub: in its own package
                inside = {f"{name}.{alias.name}" for alias in node.names}
                found |= {f"{name}.{node.module}"} if node.module else inside
            elif isinstance(node, ast.ImportFrom) and node.module:
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= inside & sources.keys() or {node.module}
        graph[name] = found & sources.keys() - {name}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a loop; empty if there are none."""
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_files_import_each_other_in_a_circle(repository, package):
    sources = sources_of(repository, package)
    assert not any("from ." in path.read_text() for path in (repository / package).rglob("*.py")), "only in stubs"
    assert all(path.read_bytes().isascii() for path in (repository / package).rglob("*.pyi")), "read in any locale"
    assert circle(arrows(sources)) == []


@pytest.mark.parametrize(
    "other", ["import p.a", "from p.a import x", "from p import a", "def f():\n    from p.a import x", "import p.c"]
)
def test_a_circle_is_noticed(other):
    """Negative control: b imports a, or what imports a, and a imports b."""
    assert circle(arrows({"p.a": "from p.b import y", "p.b": other, "p.c": "if TYPE_CHECKING:\n    from p import a"}))
    assert not circle(arrows({"p.a": "import numpy, q.a", "p.b": other, "p.c": "from q import a"}))
    assert circle(arrows({"p": "from .a import x", "p.a": "from p.b import y", "p.b": "import p"}))


def loaded(statement: str, repository) -> list[str]:
    code = f"import sys; {statement}; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    return done.stdout.split()


@pytest.mark.parametrize(
    "package",
    [
        *("amtheory", "uddm", "bridges", "paper_figures", "uddm.corpora", "uddm.config", "paper_figures.presets"),
        *("uddm.__main__", "bridges.__main__", "paper_figures.__main__"),
    ],
)
def test_import_is_light(repository, package):
    assert loaded(f"import {package}; dir({package})", repository) == []


def test_heavy_import_is_noticed(repository):
    """Negative control: using a name loads what it needs."""
    assert "numba" in loaded("from amtheory import retrieve", repository)


@pytest.mark.parametrize("package", ["amtheory", "uddm", "bridges"])
def test_every_public_name_exists(package):
    module = __import__(package)
    for name in dir(module):
        if not name.startswith("_"):
            assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        module.nonsense  # noqa: B018
