"""Figure 10: what becomes of the tokens of training sequences, in text."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from paper_figures import texts
from paper_figures.cells import stack
from paper_figures.figures import fig01_basins
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 59
TITLE = "Recovery of training sequences, token by token (language model)"
EXPECTED = (
    "In the memorization phase nearly all corrupted tokens of training sequences come back, at every model size; with "
    "more training data fewer do, and other fitting tokens take their places (arXiv 2604.26841, Fig. 10)."
)
CAPTION = (
    "Training sequences after the stochastic reverse process, started at noise t = {noise:g}, for three sizes of the "
    f"training set and each width of the network; tokens are marked as {texts.TOLD}."
)
CHARACTERS = 160
"""Of each sequence that are drawn."""
INCHES = 2.7
"""Width of a text."""

tasks = language.width_tasks


def compute(ws: Workspace) -> xr.Dataset:
    return examples(ws, "train")


def examples(ws: Workspace, split: str) -> xr.Dataset:
    """Text of a few sequences over (width, dataset_size, stage, sample, position)."""
    names, wanted = language.widths(ws), set(language.three_sizes(ws))
    for name in names.values():
        wanted &= set(language.recipes(ws)[name].sizes)

    def one(width: int, dataset_size: int) -> xr.Dataset:
        measured = language.Measured(ws, language.Case(names[width], dataset_size, 0))
        return fig01_basins.as_text(ws, ws.get(measured.examples(split)).squeeze("noise", drop=True))

    noise = language.nearest(ws.preset.language.noise, language.EXAMPLE_NOISE)
    return stack(one, width=list(names), dataset_size=sorted(wanted)).assign_attrs(noise=noise)


def plot(ds: xr.Dataset) -> Figure:
    widths, sizes = ds.width.values, ds.dataset_size.values
    every = {(width, size): _drawn(ds, width, size) for width in widths for size in sizes}
    tall = 0.35 + max(texts.height(rows, INCHES) for rows in every.values())
    fig = Figure(figsize=((INCHES + 0.2) * len(sizes), 0.4 + len(widths) * tall), layout="constrained")
    top, bottom = fig.subfigures(2, 1, height_ratios=[0.4, len(widths) * tall], squeeze=False).flat
    texts.legend(top.subplots(), (INCHES + 0.1) * len(sizes))
    axes = bottom.subplots(len(widths), len(sizes), squeeze=False)
    for line, width in zip(axes, widths, strict=True):
        for ax, size in zip(line, sizes, strict=True):
            texts.draw(ax, every[width, size], INCHES)
            ax.set_title(f"width {width}, {size} training sequences", loc="left", fontsize=8)
    return fig


def _drawn(ds: xr.Dataset, width: int, size: int) -> list[texts.Row]:
    rows = fig01_basins.rows(ds.sel(width=width, dataset_size=size), "recovered")
    return [texts.cut(row, CHARACTERS) for row in rows]


def html(ds: xr.Dataset) -> str:
    """The whole texts before and after, to be selected."""
    parts = []
    for width in ds.width.values:
        for size in ds.dataset_size.values:
            for stage in ds.stage.values:
                heading = f"width {width}, {size} training sequences, noise {ds.attrs['noise']:g}, {stage}"
                parts.append(texts.html(heading, fig01_basins.rows(ds.sel(width=width, dataset_size=size), stage)))
    return "\n".join(parts)


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for width in ds.width.values:
        for size in ds.dataset_size.values:
            rows = fig01_basins.rows(ds.sel(width=width, dataset_size=size), "recovered")
            names = [name for row in rows for _, name in row]
            told = ", ".join(f"{names.count(name)} {name}" for name in ("recovered", "failed", "unstable"))
            lines.append(f"width {width}, {size} training sequences: of {len(names)} tokens shown {told}")
    return lines
