"""Figures 15 to 17: distribution of sequence entropies, training against generated, at every size and width."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from amtheory.intervals import student
from bridges import ks_distance
from paper_figures import style
from paper_figures.cells import stack
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 57
TITLE = "Conditional entropy of training and generated sequences, at every size and width"
EXPECTED = (
    "Training and generated sequences lie together near zero in small training sets, part at intermediate sizes and "
    "overlap again in large ones, at all model sizes (arXiv 2604.26841, Figs. 15 to 17)."
)
CAPTION = (
    "Density of the mean conditional entropy of a sequence (nats per token, network told t = 1e-5) of training "
    "(filled) and of generated sequences (lines), by size of the training set (columns) and width of the network "
    "(rows), one training each; D: the largest difference of the two distribution functions."
)
SEQUENCES = ("train", "generated")

tasks = language.width_tasks


def compute(ws: Workspace) -> xr.Dataset:
    def entropies(measured: language.Measured, sequences: str) -> xr.Dataset:
        found = language.sequence_entropy(measured, sequences)[["sequence_entropy"]] / ws.preset.language.length
        return found.rename(sequence_entropy="entropy")

    names = language.widths(ws)
    return stack(lambda width: language.by_seed(ws, names[width], entropies, sequences=SEQUENCES), width=list(names))


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(ds.sizes["width"], ds.sizes["dataset_size"], width=2.2, height=1.9, sharex=True)
    edges = np.linspace(0, float(ds.entropy.max()) * 1.02 + 1e-9, 36)
    for row, width in zip(axes, ds.width.values, strict=True):
        for ax, size in zip(row, ds.dataset_size.values, strict=True):
            at = ds.entropy.sel(width=width, dataset_size=size).isel(repeat=0)
            ax.set_yticks([])
            if at.isnull().all():  # a network that was not trained on so many
                continue
            for name in SEQUENCES:
                density, _ = np.histogram(at.sel(sequences=name).dropna("sample"), edges, density=True)
                filled, line = name == "train", style.LINES[name]["linestyle"]
                look = {"color": style.COLOURS[name], "linestyle": line, "linewidth": 1.4, "label": name}
                ax.stairs(density, edges, fill=filled, alpha=0.45 if filled else 1, **look)
            ax.text(0.97, 0.92, f"D = {_distance(at):.2f}", transform=ax.transAxes, ha="right", va="top", fontsize=7)
        row[0].set_ylabel(f"width {width}\ndensity")
    for ax, size in zip(axes[0], ds.dataset_size.values, strict=True):
        ax.set_title(f"{size} sequences", loc="left")
    for ax in axes[-1]:
        ax.set_xlabel("entropy (nats per token)")
    axes[0, -1].legend(loc="upper left")
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for width in ds.width.values:
        told = []
        for size in ds.dataset_size.values:
            at = ds.entropy.sel(width=width, dataset_size=size)
            if at.notnull().any():
                each = xr.DataArray([_distance(at.sel(repeat=repeat)) for repeat in ds.repeat.values], dims="repeat")
                told.append(f"{size} sequences {style.interval(student(each, 'repeat'))}")
        lines.append(f"width {width}, largest difference of the distribution functions: {', '.join(told)}")
    return lines


def _distance(entropies: xr.DataArray) -> float:
    return ks_distance(*(entropies.sel(sequences=name).dropna("sample").values for name in SEQUENCES))
