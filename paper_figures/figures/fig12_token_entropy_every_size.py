"""Figures 12 to 14: conditional entropy of recovered and of failed tokens, at every size and width."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from paper_figures import style
from paper_figures.cells import stack
from paper_figures.figures import fig03_token_entropy
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 56
TITLE = "Conditional entropy of tokens by what became of them, at every size and width"
EXPECTED = (
    "At every size of the training set and of the model recovered tokens gather near zero and failed ones do not; the "
    "two overlap more as the training set grows (arXiv 2604.26841, Figs. 12 to 14, at noise t = 0.25)."
)
CAPTION = (
    "As Figure 3, by size of the training set (columns) and width of the network (rows): density of the conditional "
    "entropy of single tokens (nats, network told t = 1e-5) in the sequences that the stochastic reverse process ended "
    "in, started from training and test sequences at noise {noise:g}, one training each. In brackets: numbers of "
    "tokens. The vertical axes are logarithmic."
)

tasks = language.width_tasks


def compute(ws: Workspace) -> xr.Dataset:
    names = language.widths(ws)

    def of_width(width: int) -> xr.Dataset:
        return fig03_token_entropy.densities(ws, names[width], list(language.recipes(ws)[names[width]].sizes))

    return stack(of_width, width=list(names)).assign_attrs(noise=language.nearest(ws.preset.language.noise))


def plot(ds: xr.Dataset) -> Figure:
    rows = [(width, split) for width in ds.width.values for split in ds.split.values]
    fig, axes = style.figure(len(rows), ds.sizes["dataset_size"], width=1.75, height=1.25, sharex=True, sharey=True)
    for line, (width, split) in zip(axes, rows, strict=True):
        for ax, size in zip(line, ds.dataset_size.values, strict=True):
            at = ds.tokens.sel(width=width, split=split, dataset_size=size)
            if at.notnull().all():  # else a network that was not trained on so many
                fig03_token_entropy.panel(ax, at.coarsen(entropy=2).sum(), fontsize=6)
            ax.minorticks_off()  # which would take most of the time of drawing
        line[0].set_ylabel(f"width {width}, {split}\ndensity (1/nat)")
    for ax, size in zip(axes[0], ds.dataset_size.values, strict=True):
        ax.set_title(f"{size} sequences", loc="left")
    for ax in axes[-1]:
        ax.set_xlabel("entropy (nats)")
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for width in ds.width.values:
        told = []
        for size in ds.dataset_size.values:
            tokens = ds.tokens.sel(width=width, dataset_size=size)
            if tokens.notnull().all():
                certain = tokens.sel(entropy=slice(0, 0.1)).sum(["split", "entropy"]) / tokens.sum(["split", "entropy"])
                recovered, failed = (float(certain.sel(token_class=name)) for name in fig03_token_entropy.CLASSES)
                told.append(f"{size} sequences {recovered:.3f} and {failed:.3f}")
        shares = ", ".join(told)
        lines.append(f"width {width}, share of the recovered and of the failed tokens below 0.1 nats: {shares}")
    return lines
