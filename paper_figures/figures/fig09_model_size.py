"""Figures 9 and 5 by the size of the model: what a wider network memorizes, and where it stops."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from amtheory.intervals import student
from bridges import scaling_exponent
from paper_figures import style
from paper_figures.evidence import model_size
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 58
TITLE = "Basins, entropies and the transition by model size (language model)"
EXPECTED = (
    "Larger models need more data before the recoveries of training and test tokens meet, and their entropy gap is "
    "smaller (arXiv 2604.26841, sec. 5, Figs. 5 and 9)."
)
CAPTION = (
    "The hollow network at widths of {widths}. A: fraction of corrupted tokens restored at noise t = {noise:g}, train "
    "solid, test dashed. B: conditional entropy of training (solid) and generated (dash-dotted) sequences, at t = "
    "1e-5. C: training-set size at which training and test recovery differ by no more than .05. D: the entropy gap, "
    "generated minus training, at {largest} sequences. Bands and bars: Student's 95 % intervals over {seeds} trainings"
    " on training sets of their own; crosses: the trainings."
)

tasks = language.width_tasks


def compute(ws: Workspace) -> xr.Dataset:
    names = language.widths(ws)
    kinds = ("train", "generated")
    dataset = xr.merge(
        [
            language.over_systems(ws, list(names.values()), language.recovery, split=language.SPLITS),
            language.over_systems(ws, list(names.values()), language.mean_entropy, sequences=kinds),
        ]
    )
    dataset = dataset.assign_coords(system=list(names)).rename(system="width")
    located = model_size(ws).squeeze("system", drop=True)
    dataset["crossing"], dataset["gap"] = located.crossing, located.gap
    facts = {
        "noise": language.nearest(ws.preset.language.noise),
        "largest": language.sizes(ws)[-1],
        "seeds": located.sizes["repeat"],
    }
    return dataset.assign_attrs(facts, widths=", ".join(map(str, names)))


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, 2, width=4.2, height=2.9)
    (recovery, entropy), (crossing, gap) = axes
    for width, colour in zip(ds.width.values, style.gradient(ds.sizes["width"]), strict=True):
        for ax, values, dim in ((recovery, ds.recovery, "split"), (entropy, ds.mean_entropy, "sequences")):
            for name in values[dim].values:
                label = f"width {width}" if name == "train" else None
                shown = values.sel({"width": width, dim: name})
                style.curve(ax, ds.dataset_size, shown, color=colour, label=label, **style.LINES[name])
    for ax, values, level in ((crossing, np.log(ds.crossing.where(ds.crossing > 0)), True), (gap, ds.gap, False)):
        finite = values.where(np.isfinite(values))
        mean = student(finite, "repeat")
        scale = np.exp if level else np.asarray
        value, low, high = (scale(mean.sel(estimate=name)) for name in ("value", "low", "high"))
        ax.errorbar(
            ds.width, value, [value - low, high - value], color=style.BLACK, marker="o", markersize=4, capsize=3
        )
        for repeat in ds.repeat.values:
            ax.plot(ds.width, scale(finite.sel(repeat=repeat)), "x", color=style.GREY, markersize=4)
        ax.set(xscale="log", xlabel="width of the network")
        ax.set_xticks(ds.width.values, [str(width) for width in ds.width.values], minor=False)
        ax.minorticks_off()
    recovery.set(ylim=(-0.02, 1.02), ylabel="corrupted tokens restored")
    entropy.set(ylabel="entropy (nats per token)")
    crossing.set(ylabel="training sequences where they meet")
    if np.isfinite(ds.crossing.where(ds.crossing > 0)).any():  # somewhere between two sizes
        crossing.set(yscale="log")
    gap.set(ylabel="entropy gap (nats per token)")
    for ax in (recovery, entropy):
        ax.set(xscale="log", xlabel="training sequences")
    recovery.legend()
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for width in ds.width.values:
        at = ds.sel(width=width)
        where = ", ".join(f"{value:.0f}" for value in at.crossing.values)
        lines.append(
            f"width {width}: recoveries meet at {where} sequences; gap {style.interval(student(at.gap, 'repeat'))}"
        )
    crossings = ds.crossing.transpose("repeat", "width").values
    if np.isfinite(crossings).all() and (crossings > 0).all():
        exponent = scaling_exponent(ds.width.values, crossings)
        lines.append(
            f"the size at which they meet grows as width to the {exponent.value:.2f} [{exponent.low:.2f}, "
            f"{exponent.high:.2f}]"
        )
    return lines
