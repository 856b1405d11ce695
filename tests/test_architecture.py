"""Who may import whom, read from the source; and what importing a package may load."""

import ast
import subprocess
import sys

import pytest

FORBIDDEN = {
    "amtheory": {"uddm", "bridges", "paper_figures", "torch"},
    "uddm": {"amtheory", "bridges", "paper_figures"},
    "bridges": {"paper_figures"},
    "paper_figures": set(),
}
HEAVY = ("torch", "numba", "scipy", "matplotlib", "xarray", "pandas")


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
        elif isinstance(node, ast.Dict):  # tables of lazy imports: name -> module
            values = [v.value for v in node.values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
            found |= {value.split(".")[0] for value in values if value.split(".")[0] in FORBIDDEN}
    return found


def violations(package: str, sources: dict[str, str]) -> list[str]:
    return [
        f"{name} imports {other}"
        for name, text in sources.items()
        for other in sorted(imported(text) & FORBIDDEN[package])
    ]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_follow_the_arrows(repository, package):
    sources = {str(path): path.read_text() for path in (repository / package).rglob("*.py")}
    assert sources
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
        "_HOMES = {'reverse': 'uddm._reverse'}",
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


def loaded(statement: str, repository) -> list[str]:
    code = f"import sys; {statement}; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    return done.stdout.split()


@pytest.mark.parametrize("package", ["amtheory", "uddm", "bridges", "paper_figures", "uddm.corpora"])
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
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        module.nonsense  # noqa: B018
