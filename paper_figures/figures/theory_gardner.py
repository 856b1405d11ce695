"""Fitted margins beside the largest there are, by Gardner's theory, and the end of them by Cover's count."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import betainc

import amtheory
from amtheory.intervals import student
from paper_figures import style
from paper_figures.measure import theory
from paper_figures.workspace import Workspace

ORDER = 71
TITLE = "The largest margins of random patterns and their theory"
EXPECTED = (
    "At each load gamma = P/L there is a largest margin (arXiv 2604.26841, eq. (7) and below): Gardner's theory (1988) "
    "gives it for random patterns, down to zero at load 2."
)
CAPTION = (
    "Couplings of largest margin (PerceptronMargin) of random patterns, by the number of inputs N = L - 1 of a neuron. "
    "A: the margin kappa, the smallest stability of a neuron's patterns. B: share of the patterns that lie on it. Both "
    "where all neurons are separated; lines: Gardner's theory, N -> infinity, up to its capacity (dotted). C: share of "
    "neurons that can have all patterns right: those not proved to have no such couplings (full marks, bars), and "
    "those for which some were found (open marks). Lines: Cover's count (1965) for N inputs in general position. Bars: "
    "Student's 95 % intervals over {disorder} sets of patterns."
)
CAPACITY = 2.0
COLOURS, MARKS = (style.ORANGE, style.BLUE, style.BLACK, style.GREEN), "os^D"

tasks = theory.perceptron_tasks


def compute(ws: Workspace) -> xr.Dataset:
    found, gardner = theory.perceptrons(ws), amtheory.theory.gardner
    loads = np.round(found["load"] * found.inputs) / found.inputs
    whole = (found.separated == 1).all("repeat")
    measured = found.assign(margin=found.margin.where(whole), on_margin=found.on_margin.where(whole))
    ds = xr.Dataset({name: student(values, "repeat") for name, values in measured.items()})
    line = np.linspace(float(loads.min()) / 2, CAPACITY, 101)
    wide = xr.DataArray(np.linspace(1, float(loads.max()), 101), dims="wide_load")
    on_margin = xr.apply_ufunc(gardner.support_fraction, loads.clip(max=CAPACITY))
    return (
        ds.assign(
            margin_theory=xr.apply_ufunc(gardner.max_margin, loads).where(whole),
            on_margin_theory=on_margin.where(whole),
            separable_theory=_cover(loads, found.inputs).where(found.separable.notnull().all("repeat")),
            line_margin=("line_load", gardner.max_margin(line)),
            line_on_margin=("line_load", gardner.support_fraction(line)),
            line_separable=_cover(wide, found.inputs),
        )
        .assign_coords(line_load=line, wide_load=wide)
        .assign_attrs(disorder=ws.preset.theory.disorder)
    )


def _cover(load: xr.DataArray, inputs: xr.DataArray) -> xr.DataArray:
    """Probability that P = load N random dichotomies in general position are linear, P(Bin(P - 1, 1/2) < N)."""
    return xr.apply_ufunc(betainc, np.maximum((load - 1) * inputs, 1e-9), inputs.astype(float), 0.5)


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(1, 3, width=3.1, height=3.0)
    margin, on_margin, separable = axes.flat
    margin.plot(ds.line_load, ds.line_margin, color=style.GREY, label="theory")
    on_margin.plot(ds.line_load, ds.line_on_margin, color=style.GREY)
    for k, (inputs, colour, mark) in enumerate(zip(ds.inputs.values, COLOURS, MARKS)):
        at = ds.sel(inputs=inputs)
        looks: dict[str, Any] = {"color": colour, "marker": mark}
        _bars(margin, at.margin, label=f"N = {inputs}", **looks)
        _bars(on_margin, at.on_margin, **looks)
        separable.plot(ds.wide_load, at.line_separable, color=colour, linestyle=("-", "--", "-.", ":")[k])
        _bars(separable, at.separable, **looks)
        found = at.separated.sel(estimate="value")
        separable.plot(ds["load"], found, linestyle="none", markerfacecolor="white", markersize=4.5, **looks)
    margin.set(ylabel="largest margin kappa", ylim=(0, None))
    margin.legend()
    on_margin.set(ylabel="patterns on the margin (share)", ylim=(0.45, 1.02))
    separable.set(ylabel="neurons that can be right (share)", ylim=(-0.03, 1.03), xlim=(1, None))
    for ax, title in zip(axes.flat, ("margins", "support", "capacity"), strict=True):
        ax.axvline(CAPACITY, color=style.GREY, linestyle=":", linewidth=1.2)
        ax.set(xlabel="load P/N")
        ax.set_title(title, loc="left")
    style.letters(axes)
    return fig


def _bars(ax: Axes, values: xr.DataArray, **looks: Any) -> None:
    value, low, high = (values.sel(estimate=end).values for end in ("value", "low", "high"))
    errors = np.stack([value - low, high - value])
    ax.errorbar(values["load"], value, yerr=errors, linestyle="none", markersize=4.5, capsize=2, elinewidth=1, **looks)


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    words = {
        "margin": "margin minus theory is furthest from 0",
        "on_margin": "share of patterns on it",
        "separable": "share of neurons that can be right minus Cover's",
    }
    for inputs in ds.inputs.values:
        at, told = ds.sel(inputs=inputs), []
        for name, what in words.items():
            expected = at[f"{name}_theory"]
            if expected.notnull().any():
                told.append(f"{what}, {theory.deviation(at[name], expected, ds.attrs['disorder'])}")
        missed = (at.separable - at.separated).sel(estimate="value")
        told.append(f"such couplings not found for up to {float(missed.max()):.2g} of the neurons")
        lines.append(f"{inputs} inputs: {'; '.join(told)}")
    return [*lines, "margins at finite N are expected to exceed the theory by an amount of order 1/N"]
