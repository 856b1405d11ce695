"""Figure 3: conditional entropy of recovered and of failed tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bridges import TOKEN_CLASSES
from paper_figures import style
from paper_figures.cells import stack
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 53
TITLE = "Conditional entropy of tokens by what became of them (language model)"
EXPECTED = (
    "Recovered tokens have near-zero conditional entropy, failed ones a broad distribution at higher entropy; many "
    "stable low-entropy tokens remain in the generalization phase (arXiv 2604.26841, Fig. 3)."
)
CAPTION = (
    "Density of the conditional entropy of single tokens (nats, network told t = 1e-5) in the sequences that the "
    "stochastic reverse process ended in, started from training (top) and test sequences (bottom) at noise {noise:g},"
    " for the smallest, a middle and the largest training set. Recovered: corrupted and restored; failed: corrupted "
    "and not restored. The vertical axis is logarithmic."
)
CLASSES = {"recovered": style.GREEN, "failed": style.VERMILION}

tasks = language.main_tasks


def compute(ws: Workspace) -> xr.Dataset:
    return densities(ws, language.main(ws), language.three_sizes(ws))


def densities(ws: Workspace, system: str, sizes: Sequence[int]) -> xr.Dataset:
    """`counts` of a network's first seed."""

    def counted(dataset_size: int, split: str) -> xr.Dataset:
        measured = language.Measured(ws, language.Case(system, dataset_size, 0))
        return counts(ws.get(measured.classes(split)), ws.blocks.vocab_size)

    dataset = stack(counted, dataset_size=list(sizes), split=language.SPLITS)
    return dataset.assign_attrs(noise=language.nearest(ws.preset.language.noise))


def counts(tokens: xr.Dataset, vocab_size: int) -> xr.Dataset:
    """`tokens`, their numbers by class and entropy (the middle of each bin, nats), and the `mean` and `median` entropy
    of each class, of what `measure.classified` gives."""
    top = np.log(vocab_size)
    edges = np.linspace(0, top, 41)
    entropy = tokens.token_entropy.values.clip(max=top)  # which single precision may exceed
    parts = [entropy[tokens.token_class.values == code] for code in range(len(TOKEN_CLASSES))]
    return xr.Dataset(
        {
            "tokens": (("token_class", "entropy"), np.array([np.histogram(part, edges)[0] for part in parts])),
            "mean": ("token_class", [part.mean() if len(part) else np.nan for part in parts]),
            "median": ("token_class", [np.median(part) if len(part) else np.nan for part in parts]),
        },
        {"token_class": list(TOKEN_CLASSES), "entropy": (edges[1:] + edges[:-1]) / 2},
    )


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, ds.sizes["dataset_size"], width=3.2, height=2.5, sharex=True, sharey=True)
    draw(axes, ds)
    return fig


def draw(axes: np.ndarray, ds: xr.Dataset, what: str = "sequences") -> None:
    """Densities by class, a row for each split and a column for each size, which is a number of training `what`."""
    for row, split in zip(axes, ds.split.values, strict=True):
        for ax, size in zip(row, ds.dataset_size.values, strict=True):
            panel(ax, ds.tokens.sel(dataset_size=size, split=split))
            if split == "train":
                ax.set_title(f"{size} training {what}", loc="left")
        row[0].set_ylabel(f"{split} {what}\ndensity (1/nat)")
    for ax in axes[-1]:
        ax.set_xlabel("conditional entropy (nats)")


def panel(ax: Axes, tokens: xr.DataArray, **legend: Any) -> None:
    """Densities from numbers of tokens by class and entropy."""
    width = float(tokens.entropy[1] - tokens.entropy[0])
    edges = np.append(tokens.entropy - width / 2, tokens.entropy[-1] + width / 2)
    for name, colour in CLASSES.items():
        counts = tokens.sel(token_class=name)
        density = counts / max(float(counts.sum()), 1) / width
        look = {"color": colour, "linestyle": "-" if name == "recovered" else "--", "linewidth": 1.4}
        ax.stairs(density, edges, label=f"{name} ({int(counts.sum())})", fill=False, **look)
    ax.set_yscale("log")
    ax.margins(y=0.3)
    ax.legend(loc="upper right", **legend)


def findings(ds: xr.Dataset, what: str = "sequences") -> list[str]:
    lines = []
    for size in ds.dataset_size.values:
        for split in ds.split.values:
            at = ds.sel(dataset_size=size, split=split)
            median = {name: float(at["median"].sel(token_class=name)) for name in TOKEN_CLASSES}
            told = ", ".join(f"{name} {value:.3f}" for name, value in median.items())
            lines.append(f"{size} training {what}, {split}: median entropy (nats) {told}")
    return lines
