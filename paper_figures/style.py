"""How the figures look: colour-blind-safe, readable in grey, train solid and test dashed everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE, GREY = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73"),
    *("#0072B2", "#D55E00", "#CC79A7", "#8C8C8C"),
)
LINES: dict[str, dict[str, Any]] = {
    "train": {"linestyle": "-", "marker": "o", "markersize": 4},
    "test": {"linestyle": "--", "marker": "s", "markersize": 4, "markerfacecolor": "white"},
    "features": {"linestyle": ":", "marker": "^", "markersize": 4},
    "generated": {"linestyle": "-.", "marker": "D", "markersize": 4},
}
COLOURS = {"train": BLUE, "test": VERMILION, "generated": GREEN, "features": PURPLE}
SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "figure.dpi": 110,
    "savefig.dpi": 140,
    "svg.hashsalt": "amtheory",
}


@contextmanager
def style() -> Iterator[None]:
    """Our settings on top of matplotlib's own, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def figure(rows: int, columns: int, *, width: float = 3.2, height: float = 2.7, **options: Any) -> tuple[Figure, Any]:
    """A figure with a (rows, columns) array of axes, outside pyplot's global state."""
    fig = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return fig, fig.subplots(rows, columns, squeeze=False, **options)


def laid_out(fig: Figure) -> Figure:
    """The figure with its axes where the layout puts them, for good: `savefig` draws one that has a layout twice, each
    time."""
    fig.set_dpi(matplotlib.rcParams["savefig.dpi"])
    if engine := fig.get_layout_engine():
        engine.execute(fig)
        fig.set_layout_engine(None)
    return fig


def gradient(n: int) -> list[Any]:
    """n colours from dark to light, legible on white."""
    return [matplotlib.colormaps["cividis"](x) for x in np.linspace(0.0, 0.88, n)]


def curve(ax: Axes, x: xr.DataArray, values: xr.DataArray, **options: Any) -> None:
    """Values with their intervals, from a DataArray over one dimension and `estimate`."""
    value, low, high = (values.sel(estimate=name).values for name in ("value", "low", "high"))
    colour = options.get("color")
    ax.plot(x, value, **options)
    ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def letters(axes: np.ndarray) -> None:
    """A, B, C, ... above the axes."""
    for letter, ax in zip("ABCDEFGHIJKL", axes.flat, strict=False):
        ax.set_title(f"{letter}  {ax.get_title(loc='left')}", loc="left", fontweight="bold")


def interval(values: xr.DataArray) -> str:
    """'0.318 [0.301, 0.335]' from a DataArray over `estimate` alone."""
    value, low, high = (float(values.sel(estimate=name)) for name in ("value", "low", "high"))
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
