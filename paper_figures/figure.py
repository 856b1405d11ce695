"""What a figure is, and which there are.

A figure is a module with the names of `Figure`. It is known by standing in paper_figures/figures. A file of your own is
one as well, called by its path, `python -m paper_figures run squares.py`, if it holds

    import xarray as xr
    from paper_figures import style

    ORDER, TITLE, EXPECTED, CAPTION = 100, "Squares", "They grow.", "Squares of the first numbers."
    def tasks(ws): return []
    def compute(ws): return xr.Dataset({"square": ("number", [0, 1, 4, 9])})
    def plot(ds):
        fig, axes = style.figure(1, 1)
        axes[0, 0].plot(ds.square)
        return fig
    def findings(ds): return [f"the largest is {int(ds.square.max())}"]
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Protocol, runtime_checkable

import matplotlib.figure
import xarray as xr

from paper_figures import figures
from paper_figures.task import Task, from_file
from paper_figures.workspace import Workspace


@runtime_checkable
class Figure(Protocol):
    """A module that is a figure. To import it must load neither torch nor what is compiled: `list` reads the titles.

    It may also have `html(ds)`, a string of markup, escaped, that the report shows of the Dataset below the drawing.
    """

    ORDER: int
    """Its place in the list and in the report, ascending."""
    TITLE: str
    """One line."""
    EXPECTED: str
    """What the paper says, and where."""
    CAPTION: str
    """What is drawn, with the meaning of error bars; attributes of the Dataset may stand in it in braces."""

    def tasks(self, ws: Workspace, /) -> Sequence[Task]:
        """What has to be done before `compute`, which reads the cells of these tasks and computes no others."""
        ...

    def compute(self, ws: Workspace, /) -> xr.Dataset:
        """Everything that is drawn or told, labelled, with its units."""
        ...

    def plot(self, ds: xr.Dataset, /) -> matplotlib.figure.Figure:
        """The drawing, from the stored Dataset alone; in our style (`paper_figures.style`)."""
        ...

    def findings(self, ds: xr.Dataset, /) -> list[str]:
        """What this run shows, in sentences with numbers and intervals."""
        ...


@cache
def known() -> dict[str, Figure]:
    """The figures of paper_figures/figures by name, in their order."""
    names = [module.name for module in iter_modules(figures.__path__, f"{figures.__name__}.")]
    return _in_order({name.rpartition(".")[2]: as_figure(import_module(name)) for name in names})


def choose(names: Sequence[str] = ()) -> dict[str, Figure]:
    """Figures by full name, by the part before the underscore ("fig02"), or by the path of a file, in their order; all
    known ones if no name is given.

    Raises
    ------
    ValueError : there is no such figure.
    """
    every, chosen = known(), {}
    short = {name.partition("_")[0]: name for name in every if name.startswith(("fig", "tab"))}
    for name in names:
        path, full = Path(name), short.get(name, name)
        if full in every:
            chosen[full] = every[full]
        elif path.suffix == ".py" and path.stem in every:
            raise ValueError(f"{name} has the name of a figure that there is")
        elif path.suffix == ".py" and path.is_file():
            chosen[path.stem] = as_figure(from_file(path))
        else:
            known_ones = f"{', '.join(every)}, or claims C1, C2, ..."
            raise ValueError(f"`names` must be files that hold a figure, or among {known_ones}, got {name!r}")
    return _in_order(chosen) if chosen else every


def as_figure(module: Any) -> Figure:
    """`module`, which must have all names of `Figure`; ValueError if it lacks some."""
    if not isinstance(module, Figure):
        names = [name for name in (*Figure.__annotations__, *vars(Figure)) if not name.startswith("_")]
        lacking = [name for name in names if not hasattr(module, name)]
        raise ValueError(f"{getattr(module, '__file__', module)} is no figure: it lacks {', '.join(lacking)}")
    return module


def _in_order(chosen: dict[str, Figure]) -> dict[str, Figure]:
    return dict(sorted(chosen.items(), key=lambda item: item[1].ORDER))
