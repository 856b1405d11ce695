"""Retrieval states of the Hopfield memory beside the theory of Amit, Gutfreund and Sompolinsky."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import amtheory
from amtheory.intervals import student
from paper_figures import style
from paper_figures.measure import theory
from paper_figures.workspace import Workspace

ORDER = 70
TITLE = "Retrieval in the Hopfield memory and its replica theory"
EXPECTED = (
    "Not in the paper, whose associative memories begin with this one (arXiv 2604.26841, sec. 1): Hebb's couplings "
    "hold up to .138 L random patterns at T = 0, with few wrong spins right up to the end, and fewer patterns the "
    "higher the temperature (Amit, Gutfreund and Sompolinsky 1985, 1987)."
)
CAPTION = (
    "Hopfield memory of random patterns, L = {length}, sequential dynamics from {probes} of the patterns themselves, "
    "over the second half of {sweeps} sweeps. A: overlap m with the pattern against the load alpha = P/L. B: fraction "
    "of wrong spins, (1 - m) / 2, of the same states. Lines: replica symmetric theory, L -> infinity, up to the load "
    "where retrieval ends (dotted); no state near a pattern is predicted beyond. No point stands for fewer wrong spins "
    "than {seen:g}. C: the same points, filled by overlap; up to the solid line there are retrieval states, up to the "
    "dashed one they have the lowest free energy. Bars: Student's 95 % intervals over {disorder} sets of patterns."
)
COLOURS, MARKS = (style.BLACK, style.BLUE, style.VERMILION, style.GREEN, style.PURPLE), "osD^v"
SEEN = 1e-5
"""The least fraction of wrong spins that is drawn."""
NEAR = 0.1
"""The end of retrieval, relatively."""

tasks = theory.hopfield_tasks


def compute(ws: Workspace) -> xr.Dataset:
    settings, found = ws.preset.theory, theory.hopfields(ws)
    loads = np.round(found["load"] * settings.hopfield_length) / settings.hopfield_length
    expected = xr.apply_ufunc(amtheory.theory.hopfield.overlap, loads, found.temperature)
    overlaps = {"overlap": student(found.overlap, "repeat"), "theory": expected.where(expected > 0)}
    facts = {"length": settings.hopfield_length, "probes": settings.probes, "sweeps": settings.sweeps}
    facts |= {"disorder": settings.disorder, "seen": SEEN}
    return xr.Dataset(overlaps).merge(theory.equilibria(ws)).assign_attrs(facts)


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(1, 3, width=3.3, height=3.1)
    overlap, wrong, phases = axes.flat
    for T, colour, mark in zip(ds.temperature.values, COLOURS, MARKS):
        at = ds.sel(temperature=T)
        points: dict[str, Any] = {"color": colour, "marker": mark, "linestyle": "none", "markersize": 4.5}
        value, low, high = (at.overlap.sel(estimate=end).values for end in ("value", "low", "high"))
        bars = {"capsize": 2, "elinewidth": 1, "markerfacecolor": "white"} | points
        overlap.errorbar(ds["load"], value, yerr=np.stack([value - low, high - value]), label=f"T = {T:g}", **bars)
        overlap.plot(at.line_load, at.line_overlap, color=colour)
        overlap.axvline(float(at.line_load[-1]), color=colour, linestyle=":", linewidth=1)
        some = (1 - value) / 2 > SEEN
        value, low, high = ((1 - end[some]) / 2 for end in (value, high, low))
        errors = np.stack([value - np.maximum(low, SEEN / 2), high - value])
        wrong.errorbar(ds["load"][some], value, yerr=errors, **bars)
        wrong.plot(at.line_load, (1 - at.line_overlap) / 2, color=colour)
        wrong.axvline(float(at.line_load[-1]), color=colour, linestyle=":", linewidth=1)
    loads, temperatures = np.meshgrid(ds["load"], ds.temperature, indexing="ij")
    values = ds.overlap.sel(estimate="value").transpose("load", "temperature")
    shown = phases.scatter(
        loads, temperatures, c=values, cmap="cividis", vmin=0, vmax=1, s=45, edgecolor=style.BLACK, linewidth=0.6
    )
    fig.colorbar(shown, ax=phases, label="overlap m")
    phases.plot(ds.spinodal, ds.line_temperature, color=style.BLACK, label="retrieval states")
    phases.plot(ds.first_order, ds.line_temperature, color=style.BLACK, linestyle="--", label="of lowest free energy")
    phases.legend(loc="upper right")

    last = 1.08 * float(ds["load"][-1])
    overlap.set(ylabel="overlap m", ylim=(0, 1.03))
    fig.legend(*overlap.get_legend_handles_labels(), loc="outside upper left", ncols=ds.sizes["temperature"])
    wrong.set(ylabel="wrong spins (1 - m) / 2", yscale="log", ylim=(SEEN, 0.7))
    phases.set(ylabel="temperature T", ylim=(-0.04, 1.02))
    for ax, title in zip(axes.flat, ("retrieval", "its errors", "where it is stable"), strict=True):
        ax.set(xlabel="load alpha = P/L", xlim=(0, last))
        ax.set_title(title, loc="left")
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for T in ds.temperature.values:
        at, end = ds.sel(temperature=T), float(ds.line_load.sel(temperature=T)[-1])
        told = [f"by theory retrieval ends at load {end:.4f}"]
        parts = {
            f"up to {1 - NEAR:g} of it": at["load"] <= (1 - NEAR) * end,
            "nearer, where states decay at finite L": (at["load"] > (1 - NEAR) * end) & at.theory.notnull(),
        }
        for where, chosen in parts.items():
            if chosen.any():
                part = at.sel(load=chosen)
                off = theory.deviation(part.overlap, part.theory, ds.attrs["disorder"])
                told.append(f"overlap minus theory is furthest from 0, {where}, {off}")
        if at.theory.isnull().any():
            beyond = at.overlap.sel(load=at.theory.isnull())
            ends = [f"{style.interval(beyond.isel(load=k))} at load {beyond['load'].values[k]:g}" for k in (0, -1)]
            told.append(f"beyond, overlap {' and '.join(dict.fromkeys(ends))}")
        lines.append(f"T = {T:g}: {'; '.join(told)}")
    return lines
