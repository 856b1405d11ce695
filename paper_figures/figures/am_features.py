"""What an overloaded Hopfield memory of random-features examples has as attractors."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import amtheory
from amtheory.intervals import student
from paper_figures import style
from paper_figures.measure import margins
from paper_figures.workspace import Workspace

ORDER = 64
TITLE = "Beyond its capacity a Hopfield memory retrieves features and unseen examples"
EXPECTED = (
    "Overloaded with examples made of common features, a Hopfield memory has the features as attractors from one load "
    "on, and from a larger one mixtures of few of them that it has never seen (Negri et al. 2023; Kalaj et al. 2025; "
    "arXiv 2604.26841, sec. 4)."
)
CAPTION = (
    "Overlap of states with where T = 0 sequential dynamics leads from them, against the load alpha = P/L; Hebb's "
    "couplings, L = {length}, of examples sgn(sum of Gaussian coefficients times D = {features} random features). "
    "Unseen examples are signs of sums of {mixed} features with random signs or, circles, more examples of the law of "
    "the training set. Lines: replica theory from its spinodals (dotted) on, D -> infinity; below them the states are "
    "no attractors, and what remains of them is not predicted. Bars: Student's 95 % intervals over {disorder} data "
    "sets."
)
LOOKS: dict[str, dict[str, Any]] = {
    "features": {"color": style.PURPLE, "marker": "^"},
    "unseen examples": {"color": style.VERMILION, "marker": "s"},
    "unseen examples of all features": {"color": style.GREY, "marker": "o", "markerfacecolor": "white"},
}

tasks = margins.feature_tasks


def compute(ws: Workspace) -> xr.Dataset:
    settings, alpha_D, theory = ws.preset.margins, margins.features_load(ws), amtheory.theory.random_features
    found = margins.retrievals(ws)
    loads = np.geomspace(found["load"][0] / 1.2, 1.2 * found["load"][-1], 200)
    curves = [theory.generalization_overlap(loads, alpha_D, n) for n in (1, settings.mixed)]
    curves.append(np.zeros(len(loads)))  # of no theory
    attractor = xr.DataArray(
        np.stack(curves), {"system": list(margins.STATES), "theory_load": loads}, ("system", "theory_load")
    )
    facts = {"length": settings.feature_length, "features": round(alpha_D * settings.feature_length)}
    facts |= {"mixed": settings.mixed, "disorder": settings.disorder}
    return xr.Dataset(
        {
            "overlap": student(found.overlap, "repeat"),
            "theory": attractor.where(attractor > 0),
            "spinodal": margins.spinodals(ws),
        }
    ).assign_attrs(facts)


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(1, 1, width=5.6, height=3.4)
    ax = axes[0, 0]
    for system, looks in LOOKS.items():
        at = ds.sel(system=system)
        name = f"{system} of {ds.attrs['mixed']} features" if system == "unseen examples" else system
        value, low, high = (at.overlap.sel(estimate=end).values for end in ("value", "low", "high"))
        errors = np.stack([value - low, high - value])
        ax.errorbar(ds["load"], value, yerr=errors, linestyle="none", markersize=5, capsize=2, label=name, **looks)
        ax.plot(ds.theory_load, at.theory, color=looks["color"])
        if np.isfinite(at.spinodal):
            ax.axvline(float(at.spinodal), color=looks["color"], linestyle=":", linewidth=1.2)
    ax.set(xscale="log", xlabel="load alpha = P/L", ylabel="overlap after retrieval", ylim=(0, 1.03))
    ax.set_xticks(ds["load"].values, [f"{load:g}" for load in ds["load"].values])
    ax.minorticks_off()
    fig.legend(loc="outside upper center", ncols=3)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for system in ds.system.values:
        at = ds.sel(system=system)
        told = ", ".join(f"{style.interval(at.overlap.sel(load=load))} at {load:g}" for load in ds["load"].values)
        spinodal = float(at.spinodal)
        where = "no theory" if np.isnan(spinodal) else f"attractors by theory from load {spinodal:.3f} on"
        lines.append(f"{system} ({where}): overlap {told}")
    return lines
