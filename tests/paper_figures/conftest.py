"""What several tests of the figures use."""

from types import SimpleNamespace

import pytest
import xarray as xr
from matplotlib.figure import Figure

import bridges.manifest
from paper_figures import runner


@pytest.fixture
def nothing():
    """A figure that costs nothing."""
    return SimpleNamespace(
        ORDER=0,
        TITLE="Nothing",
        EXPECTED="",
        CAPTION="",
        tasks=lambda ws: [],
        compute=lambda ws: xr.Dataset({"value": 1.0}),
        plot=lambda ds: Figure(),
        findings=lambda ds: [],
    )


@pytest.fixture
def drawn(monkeypatch, nothing):
    """The names of figures in the order in which they are drawn, all as one that costs nothing."""
    names, inner = [], runner._draw
    monkeypatch.setattr(runner, "execute", lambda ws, tasks, **_: tasks)
    monkeypatch.setattr(runner, "_draw", lambda ws, name, figure: names.append(name) or inner(ws, name, nothing))
    return names


@pytest.fixture
def code(monkeypatch):
    """The version of the code, to be changed."""
    version = {"commit": "abc", "modified": False}
    for module in (runner, bridges.manifest):
        monkeypatch.setattr(module, "code_version", lambda: version)
    return version
