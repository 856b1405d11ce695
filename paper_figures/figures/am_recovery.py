"""Figures 1 and 2 for binary memories: basins and recovery against the load."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from amtheory.intervals import student
from paper_figures import style
from paper_figures.measure import memories
from paper_figures.workspace import Workspace

ORDER = 61
TITLE = "Basins and recovery of binary memories on random-features data"
EXPECTED = (
    "Conditional-likelihood training alone makes basins around the training patterns, and, overloaded, around unseen "
    "patterns of the same features (arXiv 2604.26841, sec. 3.1; D'Amico et al. 2026; Kalaj et al. 2025). Hopfield's "
    "couplings do so less."
)
CAPTION = (
    "A, B: fraction of all spins equal to the original after parallel T = 0 dynamics, against the noise t of the "
    "corruption (each spin flips with probability t/2), for the pseudo-likelihood memory and training (A) or unseen "
    "patterns (B). C, D: fraction of flipped spins restored at noise {noise:g} against the load alpha = P/L, for the "
    "pseudo-likelihood memory and for Hopfield's. Data: x = sgn(sum of +-f over {active} "
    "of D = {features:g} L random features f). Bands: Student's 95 % intervals over {disorder} independent data sets, "
    "L = {length}."
)
NOISE = 0.25

tasks = memories.tasks


def compute(ws: Workspace) -> xr.Dataset:
    settings = ws.preset.memories
    cells = memories.recoveries(ws)
    names = ["recovery", "total_recovery", "unstable_rate"]
    values = cells[names].sel(estimate="value", drop=True).to_dataarray("rate")
    rates = student(values, "disorder").to_dataset("rate")
    noise = min(settings.noise, key=lambda t: abs(t - NOISE))
    return rates.assign_attrs(
        noise=noise,
        length=settings.length,
        active=settings.active,
        features=settings.features,
        disorder=settings.disorder,
    )


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, 2, width=4.4, height=3.0, sharey=True)
    colours = style.gradient(ds.sizes["alpha"])
    for ax, split, title in zip(axes[0], ("train", "test"), ("training patterns", "unseen patterns"), strict=True):
        for colour, load in zip(colours, ds.alpha.values, strict=True):
            values = ds.total_recovery.sel(system="pseudo-likelihood", alpha=load, split=split)
            style.curve(ax, ds.noise, values, color=colour, label=f"{load:g}", **style.LINES[split])
        ax.plot(ds.noise, 1 - ds.noise / 2, color=style.GREY, linewidth=1, label="nothing moves")
        ax.set(xlabel="noise t of the corruption", ylim=(-0.02, 1.02))
        ax.set_title(f"pseudo-likelihood, {title}", loc="left")
    axes[0, 1].legend(title="load", ncols=2)
    axes[0, 0].set_ylabel("total recovery\n(fraction of spins)")
    for ax, system in zip(axes[1], ds.system.values, strict=True):
        for split in ds.split.values:
            values = ds.recovery.sel(system=system, split=split, noise=ds.attrs["noise"])
            style.curve(ax, ds.alpha, values, color=style.COLOURS[split], label=split, **style.LINES[split])
        ax.set(xscale="log", xlabel="load alpha = P/L")
        ax.set_title(system, loc="left")
    axes[1, 0].set_ylabel("flipped spins restored\n(fraction)")
    axes[1, 0].legend()
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    at = ds.sel(noise=ds.attrs["noise"])
    for system in ds.system.values:
        for load in ds.alpha.values[[0, ds.sizes["alpha"] // 2, -1]]:
            part = at.sel(system=system, alpha=load)
            told = ", ".join(f"{split} {style.interval(part.recovery.sel(split=split))}" for split in ds.split.values)
            altered = style.interval(part.unstable_rate.sel(split="test"))
            lines.append(
                f"{system}, alpha = {load:g}, noise {ds.attrs['noise']:g}: flipped spins restored {told}; intact spins "
                f"of unseen patterns altered {altered}"
            )
    return lines
