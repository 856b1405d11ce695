"""Stabilities of pseudo-likelihood memories beside their replica theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amtheory.intervals import student
from paper_figures import style
from paper_figures.measure import theory
from paper_figures.workspace import Workspace

ORDER = 72
TITLE = "The stabilities that pseudo-likelihood gives random patterns, and their theory"
EXPECTED = (
    "Conditional likelihood is Hebb's rule with weights that spare patterns of large margin, and leads to the largest "
    "margin (arXiv 2604.26841, eqs. (10) and (11)). By replica theory of its loss (Griniasty and Gutfreund 1991) a "
    "finite norm takes noisy patterns closest to the stored ones."
)
CAPTION = (
    "Pseudo-likelihood memories of random patterns at fixed norm beta ||W_l|| of the couplings of each of the L = "
    "{length} neurons, loads P / (L - 1). A: density of the stabilities of the patterns at load {shown:g}, measured "
    "(filled) and by theory (lines). B, C: their mean and variance against the norm. D: overlap after one parallel "
    "step from overlap {start:.3f}; stars: where it is largest by theory. Lines: replica symmetric theory, L -> "
    "infinity; to the left Hebb's rule, to the right the largest margin. Bars: Student's 95 % intervals over "
    "{disorder} sets of patterns."
)
COLOURS, MARKS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE), "os^D"
QUANTITIES = {
    "mean": "mean stability",
    "variance": "variance of stabilities",
    "first_step": "overlap after one step",
}

tasks = theory.likelihood_tasks


def compute(ws: Workspace) -> xr.Dataset:
    settings, found, curves = ws.preset.theory, theory.likelihoods(ws), theory.replica_curves(ws)
    measured = xr.Dataset({name: student(found[name], "repeat") for name in QUANTITIES})
    measured = measured.assign(density=found.density.mean("repeat"))
    curves = curves.rename({name: f"{name}_theory" for name in (*QUANTITIES, "density")})
    return measured.merge(curves).assign_attrs(
        length=settings.likelihood_inputs + 1,
        shown=settings.likelihood_loads[-1],
        start=theory.start_overlap(ws),
        disorder=settings.disorder,
    )


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, 2, width=3.7, height=2.8)
    _densities(axes[0, 0], ds)
    for ax, (name, label) in zip(axes.flat[1:], QUANTITIES.items(), strict=True):
        for load, colour, mark in zip(ds["load"].values, COLOURS, MARKS):
            at = ds.sel(load=load)
            value, low, high = (at[name].sel(estimate=end).values for end in ("value", "low", "high"))
            looks: dict[str, Any] = {"color": colour, "marker": mark, "markerfacecolor": "white", "markersize": 4.5}
            errors = np.stack([value - low, high - value])
            ax.errorbar(ds.norm, value, yerr=errors, linestyle="none", capsize=2, label=f"load {load:g}", **looks)
            ax.plot(ds.line_norm, at[f"line_{name}"], color=colour)
            if name == "first_step":
                best = at.line_first_step.idxmax()
                ax.plot(best, at.line_first_step.max(), "*", color=colour, markersize=11)
        ax.set(xscale="log", xlabel="norm beta ||W_l||", ylabel=label)
        ax.set_xticks(ds.norm.values, [f"{norm:g}" for norm in ds.norm.values])
        ax.minorticks_off()
    axes[0, 1].legend()
    for ax, title in zip(axes.flat, ("distribution", "mean", "variance", "first step"), strict=True):
        ax.set_title(title, loc="left")
    style.letters(axes)
    return fig


def _densities(ax: Axes, ds: xr.Dataset) -> None:
    """At the smallest, a middle and the largest norm."""
    at, width = ds.sel(load=ds.attrs["shown"]), float(ds.stability[1] - ds.stability[0])
    edges = np.append(ds.stability - width / 2, ds.stability[-1] + width / 2)
    norms = ds.norm.values[[0, ds.sizes["norm"] // 2, -1]]
    for norm, colour, line in zip(norms, (style.BLACK, style.GREEN, style.PURPLE), ("--", "-.", "-"), strict=True):
        ax.stairs(at.density.sel(norm=norm), edges, color=colour, fill=True, alpha=0.25)
        ax.plot(ds.stability, at.density_theory.sel(norm=norm), color=colour, linestyle=line, label=f"norm {norm:g}")
    ax.set(xlabel="stability of a pattern", ylabel="density", xlim=(-2, 3.5), ylim=(0, None))
    ax.legend()


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for load in ds["load"].values:
        at = ds.sel(load=load)
        told = [
            f"{QUANTITIES[name]} {theory.deviation(at[name], at[f'{name}_theory'], ds.attrs['disorder'])}"
            for name in QUANTITIES
        ]
        best, line = at.first_step.sel(estimate="value").idxmax(), at.line_first_step.idxmax()
        lines.append(
            f"load {load:g}: fit minus theory is furthest from 0, {'; '.join(told)}; expected of order 1/L; the first "
            f"step is best at norm {float(best):g} of those fitted, by theory at {float(line):.2g}"
        )
    return lines
