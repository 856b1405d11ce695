"""Figure 2: recovery of corrupted tokens against the size of the training set."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from paper_figures import language, style
from paper_figures.workspace import Workspace

TITLE = "Recovery of corrupted tokens against training-set size (language model)"
SOURCES = (language,)
EXPECTED = (
    "Training tokens are recovered perfectly and test tokens not at all with little data; the curves of training and "
    "test recovery converge as the training set grows (arXiv 2604.26841, Fig. 2)."
)
CAPTION = (
    "Fraction of corrupted tokens restored by the stochastic reverse process started at the noise t of the "
    "corruption, pooled over sequences, for networks trained on the same nested subsets, and for the exact "
    "memorization limit: Bayes inference on the empirical distribution of the training set (an exponential dense "
    "associative memory). Train solid, test dashed. Grey band: chance over the same noises, "
    "inference from single-token frequencies alone. Bands: 95 % bootstrap over sequences."
)


def compute(ws: Workspace) -> xr.Dataset:
    def rates(ws: Workspace, system: str, size: int, split: str) -> xr.Dataset:
        return language.rates(language.recovery(ws, system, size, split))

    return language.over_systems(ws, rates, split=language.SPLITS).assign(chance=language.chance(ws))


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(1, ds.sizes["system"], width=3.6, height=3.4, sharey=True)
    for ax, system in zip(axes[0], ds.system.values, strict=True):
        shown = ds.sel(system=system).dropna("dataset_size", subset=["recovery"], how="all")
        for colour, noise in zip(style.gradient(ds.sizes["noise"]), ds.noise.values, strict=True):
            for split in ds.split.values:
                values = shown.recovery.sel(noise=noise, split=split)
                label = f"t = {noise:g}" if split == "train" else None
                style.curve(ax, shown.dataset_size, values, color=colour, label=label, **style.LINES[split])
        ax.axhspan(float(ds.chance.min()), float(ds.chance.max()), color=style.GREY, alpha=0.4, linewidth=0)
        ax.set(xscale="log", xlabel="training sequences", ylim=(-0.02, 1.02))
        ax.set_title(system, loc="left")
    axes[0, 0].set_ylabel("corrupted tokens recovered (fraction)")
    for split in ("train", "test"):
        axes[0, 0].plot([], [], color=style.BLACK, label=split, **style.LINES[split])
    axes[0, 0].legend(ncols=2)
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    at = ds.recovery.sel(noise=0.25, method="nearest")
    noise = float(at.noise)
    lines = []
    for system in ds.system.values:
        for size in at.sel(system=system).dropna("dataset_size", how="all").dataset_size.values:
            part = at.sel(system=system, dataset_size=size)
            told = ", ".join(f"{split} {style.interval(part.sel(split=split))}" for split in ds.split.values)
            lines.append(f"{system}, {size} training sequences, t = {noise:g}: {told}")
    return [*lines, f"chance at t = {noise:g}: {float(ds.chance.sel(noise=noise)):.3f}"]
