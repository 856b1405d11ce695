"""Figure 2: recovery of corrupted tokens against the size of the training set."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from paper_figures import style
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 52
TITLE = "Recovery of corrupted tokens against training-set size (language model)"
EXPECTED = (
    "Training tokens are recovered perfectly and test tokens not at all with little data; the curves of training and "
    "test recovery converge as the training set grows (arXiv 2604.26841, Fig. 2)."
)
CAPTION = (
    "Top: fraction of corrupted tokens restored by the stochastic reverse process started at the noise t of the "
    "corruption, pooled over sequences; middle: the same within each sequence, averaged over sequences, as published; "
    "bottom: fraction of intact tokens that it alters. For networks trained on the same nested subsets, and for the "
    "exact memorization limit: Bayes inference on the empirical distribution of the training set (an exponential dense"
    " associative memory). Train solid, test dashed. Grey band: chance over the same noises, inference from "
    "single-token frequencies alone. Bands: Student's 95 % intervals over {seeds} trainings on training sets of their "
    "own (of a single one: bootstrap over sequences)."
)

tasks = language.tasks


def compute(ws: Workspace) -> xr.Dataset:
    dataset = language.over_systems(ws, language.systems(ws), language.rates, split=language.SPLITS)
    seeds = language.recipes(ws)[language.main(ws)].seeds
    return dataset.assign(chance=language.chance(ws)).assign_attrs(seeds=seeds)


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(3, ds.sizes["system"], width=4.2, height=2.6, sharey="row")
    for column, system in zip(axes.T, ds.system.values, strict=True):
        shown = ds.sel(system=system).dropna("dataset_size", subset=["recovery"], how="all")
        for ax, rate in zip(column, ("recovery", "recovery_mean", "unstable_rate"), strict=True):
            for colour, noise in zip(style.gradient(ds.sizes["noise"]), ds.noise.values, strict=True):
                for split in ds.split.values:
                    values = shown[rate].sel(noise=noise, split=split)
                    label = f"t = {noise:g}" if split == "train" else None
                    style.curve(ax, shown.dataset_size, values, color=colour, label=label, **style.LINES[split])
            ax.set(xscale="log", ylim=(-0.02, 1.02))
        for ax in column[:2]:
            ax.axhspan(float(ds.chance.min()), float(ds.chance.max()), color=style.GREY, alpha=0.4, linewidth=0)
        column[0].set_title(system, loc="left")
        column[-1].set_xlabel("training sequences")
    axes[0, 0].set_ylabel("corrupted tokens\nrestored, pooled")
    axes[1, 0].set_ylabel("mean of the rates\nof sequences")
    axes[2, 0].set_ylabel("intact tokens\naltered")
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
            altered = ds.unstable_rate.sel(noise=noise, system=system, dataset_size=size, split="test")
            lines.append(
                f"{system}, {size} training sequences, t = {noise:g}: restored {told}; intact test tokens altered "
                f"{style.interval(altered)}"
            )
    difference = float(abs(ds.recovery_mean - ds.recovery).sel(estimate="value", noise=noise).max())
    return [
        *lines,
        f"mean of the rates of sequences and pooled rate differ by {difference:.3f} at most at t = {noise:g}",
        f"chance at t = {noise:g}: {float(ds.chance.sel(noise=noise)):.3f}",
    ]
