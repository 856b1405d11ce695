"""The evidence bound of training and unseen sequences against the size of the training set, and where it peaks."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from bridges import find_peak
from paper_figures import style
from paper_figures.cells import stack
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 65
TITLE = "Perplexity of unseen sequences and where it peaks (language model)"
EXPECTED = (
    "The perplexity of validation text peaks where the recoveries of training and test tokens begin to meet, at about "
    "1e-3 of LM1B for tiny and 1e-2 for medium models (read-me of the authors' code)."
)
CAPTION = (
    "Perplexity per token, the exponential of the full evidence bound in nats per token, of training (solid) and test "
    "sequences (dashed) for each width of the network. Bands: Student's 95 % intervals over {seeds} trainings on "
    "training sets of their own (of a single one: over sequences). Dotted: the peak of the test curve, where it lies "
    "inside."
)

tasks = language.width_tasks


def compute(ws: Workspace) -> xr.Dataset:
    names = language.widths(ws)
    found = {width: language.by_seed(ws, name, language.bound, split=language.SPLITS) for width, name in names.items()}
    drawn = stack(lambda width: language.over_seeds(found[width]), width=list(names))
    peaks = [_peak(each.bound.sel(split="test", estimate="value")) for each in found.values()]
    return drawn.assign(peak=(("width", "estimate"), np.array(peaks))).assign_attrs(
        seeds=language.recipes(ws)[language.main(ws)].seeds
    )


def _peak(bounds: xr.DataArray) -> list[float]:
    """Of the test curve, with an interval; 0 or infinity at an end of the sizes, NaN of fewer than three."""
    if bounds.sizes["dataset_size"] < 3:
        return [np.nan] * 3
    return list(find_peak(bounds.dataset_size.values, bounds.transpose("repeat", "dataset_size").values))


def _inside(peak: xr.DataArray) -> bool:
    """Whether it lies between two sizes."""
    return 0 < float(peak.sel(estimate="value")) < np.inf


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(1, 2, width=4.2, height=3.1)
    for width, colour in zip(ds.width.values, style.gradient(ds.sizes["width"]), strict=True):
        at = ds.sel(width=width)
        for ax, split in zip(axes[0], ds.split.values, strict=True):
            shown = np.exp(at.bound.sel(split=split)).dropna("dataset_size", how="all")
            style.curve(ax, shown.dataset_size, shown, color=colour, label=f"width {width}", **style.LINES[split])
            if split == "test" and _inside(at.peak):
                ax.axvline(float(at.peak.sel(estimate="value")), color=colour, linestyle=":", linewidth=1)
            ax.set(xscale="log", yscale="log", xlabel="training sequences", ylabel="perplexity per token")
            ax.set_title(f"{'training' if split == 'train' else 'unseen'} sequences", loc="left")
            for axis in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
                axis(LogFormatter(minor_thresholds=(1.5, 0.5)))
    axes[0, 0].legend()
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for width in ds.width.values:
        at, peak = ds.sel(width=width), ds.peak.sel(width=width)
        told = ", ".join(
            f"{size}: {style.interval(at.bound.sel(dataset_size=size, split='test'))}"
            for size in ds.dataset_size.values
            if np.isfinite(at.bound.sel(dataset_size=size, split="test", estimate="value"))
        )
        where = style.interval(peak) if _inside(peak) else "at an end of the sizes measured"
        lines.append(
            f"width {width}: bound of test sequences in nats per token by training sequences, {told}; peak {where}"
        )
    return lines
