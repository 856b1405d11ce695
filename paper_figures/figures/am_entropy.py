"""Figures 4 and 5 for binary memories: conditional entropies against the load."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from amtheory.intervals import student
from paper_figures import style
from paper_figures.figures.fig05_average_entropy import gap
from paper_figures.measure import memories
from paper_figures.workspace import Workspace

ORDER = 62
TITLE = "Conditional entropy of binary memories on random-features data"
EXPECTED = (
    "As for the language model: entropies of training patterns start at zero and leave it as the load grows, and "
    "those of unseen patterns come down to meet them (arXiv 2604.26841, Figs. 4 and 5, and sec. 3.1)."
)
CAPTION = (
    "A, B: conditional entropy H = log 2cosh f - f tanh f, f = beta h, in nats per spin, of training, unseen and "
    "generated patterns (Glauber dynamics at T = 1/beta from random spins) against the load alpha = P/L. The pseudo-"
    "likelihood memory has the inverse temperature it was trained at; Hopfield's is the one that maximises the "
    "conditional likelihood of its training patterns. C: the entropy gap, generated minus training. D: densities of "
    "sequence entropies of the pseudo-likelihood memory at the smallest, a middle and the largest load, training "
    "filled, generated as lines. Bands: Student's 95 % intervals over {disorder} independent data sets, L = {length}."
)

tasks = memories.tasks


def compute(ws: Workspace) -> xr.Dataset:
    settings = ws.preset.memories
    cells = memories.entropies(ws)
    per_spin = cells.sequence_entropy.mean("sample") / settings.length
    dataset = xr.Dataset(
        {
            "mean_entropy": student(per_spin, "disorder"),
            "sequence_entropy": cells.sequence_entropy,
            "beta_norm": cells.beta_norm.mean("disorder"),
        }
    )
    return dataset.assign_attrs(length=settings.length, disorder=settings.disorder)


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, 2, width=4.4, height=3.0)
    for ax, system in zip(axes[0], ds.system.values, strict=True):
        for name in ds.sequences.values:
            values = ds.mean_entropy.sel(system=system, sequences=name)
            style.curve(ax, ds.alpha, values, color=style.COLOURS[name], label=name, **style.LINES[name])
        ax.set(xscale="log", xlabel="load alpha = P/L", ylabel="conditional entropy (nats per spin)")
        ax.set_title(system, loc="left")
    axes[0, 0].legend()
    difference, histogram = axes[1]
    for system, line, colour in zip(ds.system.values, ("-", "--"), (style.BLACK, style.GREY), strict=True):
        values = gap(ds.mean_entropy.sel(system=system))
        style.curve(difference, ds.alpha, values, color=colour, linestyle=line, marker="o", markersize=4, label=system)
    difference.axhline(0, color=style.GREY, linewidth=1)
    difference.set(xscale="log", xlabel="load alpha = P/L", ylabel="entropy gap (nats per spin)")
    difference.set_title("generated minus training", loc="left")
    difference.legend()
    chosen = ds.alpha.values[[0, ds.sizes["alpha"] // 2, -1]]
    entropies = ds.sequence_entropy.sel(system="pseudo-likelihood", sequences=["train", "generated"], alpha=chosen)
    edges = np.linspace(0, float(entropies.quantile(0.99)) + 1e-9, 40)
    for colour, load in zip((style.BLUE, style.PURPLE, style.ORANGE), chosen, strict=True):
        for name in ("train", "generated"):
            values = entropies.sel(alpha=load, sequences=name).values.ravel()
            density, _ = np.histogram(values[np.isfinite(values)], edges, density=True)
            filled = name == "train"
            histogram.stairs(density, edges, color=colour, fill=filled, alpha=0.35 if filled else 1, linewidth=1.4,
                             label=f"alpha = {load:g}" if not filled else None)  # fmt: skip
    histogram.set(xlabel="sequence entropy (nats)", ylabel="density", yscale="log")
    histogram.legend()
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for system in ds.system.values:
        for load in ds.alpha.values[[0, ds.sizes["alpha"] // 2, -1]]:
            at = ds.mean_entropy.sel(system=system, alpha=load)
            told = ", ".join(f"{name} {style.interval(at.sel(sequences=name))}" for name in ds.sequences.values)
            lines.append(f"{system}, alpha = {load:g}: {told} nats per spin")
    return lines
