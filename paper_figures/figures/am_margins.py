"""Margins and basins of the rules that learn binary memories."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from amtheory.intervals import student
from paper_figures import style
from paper_figures.measure import margins
from paper_figures.task import Task
from paper_figures.workspace import Workspace

ORDER = 63
TITLE = "What conditional likelihood does to margins and basins"
EXPECTED = (
    "Conditional likelihood maximises the margins, and a larger margin means a larger basin (arXiv 2604.26841, sec. "
    "3.1); basins need no energy (secs. 3.1 and 6); the further terms of the evidence bound might enlarge them (sec. "
    "3.2, a conjecture)."
)
CAPTION = (
    "Random patterns, L = {length}, loads alpha = P/L by colour in A to C, rules by mark. The margin is the smallest "
    "stability of all patterns and spins. A: how far below the largest possible margin couplings of largest "
    "conditional likelihood stay at a fixed norm (lines; dotted: .05, where claim C3 puts the end of the path), and "
    "couplings along {steps} steps of gradient descent from Hebb's (rings, at their mean norm). B: basin radius "
    "against the margin over the largest one; lines lead along the norms of A, from {least:g} to {most:g}; Hebb's "
    "margins below {left:g} stand at the edge. C: radius of asymmetric couplings minus that of their symmetric part. "
    "D: radius minus that of random couplings of the same row norms. E: radius at the minimum of the evidence bound "
    "minus that of pseudo-likelihood at the same norm. Radius: mean share of flipped spins that is tolerated, (1/2) "
    "int P_rec dm0, at a final overlap of {success:g}, T = 0, parallel dynamics (E: both). Pseudo-likelihood in C to E "
    "has the norm of the bound's minimum. Bars and bands: Student's 95 % intervals over {disorder} pattern sets, of "
    "differences where these are drawn."
)
LEFT = -0.5
RULES: dict[str, dict[str, Any]] = {
    "hebb": {"marker": "v", "color": style.GREY, "label": "Hebb"},
    "pseudo-inverse": {"marker": "D", "color": style.GREEN, "markersize": 4, "label": "pseudo-inverse"},
    "max margin": {"marker": "*", "color": style.VERMILION, "markersize": 8, "label": "largest margin"},
    "pseudo-likelihood": {"marker": "o", "color": style.BLUE, "label": "pseudo-likelihood"},
    "nelbo": {"marker": "s", "color": style.ORANGE, "label": "evidence bound"},
}
DYNAMICS: dict[str, dict[str, Any]] = {"parallel": {"fillstyle": "full"}, "sequential": {"fillstyle": "none"}}
_POINT: dict[str, Any] = {"linestyle": "none", "markersize": 5, "capsize": 2, "elinewidth": 1}


def tasks(ws: Workspace) -> list[Task]:
    return [*margins.identity_tasks(ws), *margins.pattern_tasks(ws)]


def compute(ws: Workspace) -> xr.Dataset:
    settings, names = ws.preset.margins, list(RULES)
    rules, path, training, largest = margins.rules(ws), margins.path(ws), margins.training(ws), margins.largest(ws)
    radius = rules.radius.sel(dynamics="parallel", drop=True)
    twins = margins.twins(ws).rename(rule="asymmetric")
    learned, symmetrised = (twins.radius.sel(couplings=name, drop=True) for name in twins.couplings.values)
    bound, likelihood = (margins.claim_C14(ws).radius.sel(rule=rule, drop=True) for rule in margins.BOUNDS)
    along = path.radius.sel(dynamics="parallel", drop=True)
    over_repeats = {
        "margin": path.stability / largest,
        "radius": along,
        "training_margin": training.stability / largest,
        "training_norm": training.norm,
        "rule_margin": (rules.stability / largest).sel(rule=names),
        "rule_radius": radius.sel(rule=names),
        "norm": rules.norm.sel(rule="nelbo", drop=True),
        "versus_largest": radius.sel(rule=names) - radius.sel(rule="max margin", drop=True),
        "versus_symmetrised": learned - symmetrised,
        "asymmetry": twins.asymmetry,
        "versus_random": margins.excess(ws).sel(rule=names),
        "versus_likelihood": bound - likelihood,
    }
    identity = margins.claim_C1(ws)
    found = xr.Dataset({name: student(values, "repeat") for name, values in over_repeats.items()})
    found = found.assign(unproved=identity.unproved.max(), gradient_error=identity.gradient_error.max())
    facts = {"length": settings.length, "disorder": settings.disorder, "steps": settings.steps, "left": LEFT}
    facts |= {"least": settings.norms[0], "most": settings.norms[-1], "success": margins.SUCCESS}
    return found.assign_attrs(facts)


def _bars(ax: Axes, x: xr.DataArray, y: xr.DataArray, **looks: Any) -> None:
    """A point for each place, with the intervals of y and, where it has some, of x."""

    def ends(values: xr.DataArray) -> tuple[Any, Any]:
        if "estimate" not in values.dims:
            return values, None
        value, low, high = (np.atleast_1d(values.sel(estimate=name)) for name in ("value", "low", "high"))
        return value, np.stack([value - low, high - value])

    (where, across), (value, along) = ends(x), ends(y)
    ax.errorbar(where, value, yerr=along, xerr=across, **(_POINT | looks))


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, 3, width=3.3, height=2.9)
    margin, basin, energy, excess, bound, legend = axes.flat
    loads = ds["load"].values
    colours = style.gradient(len(loads))
    for load, colour in zip(loads, colours, strict=True):
        at = ds.sel(load=load)
        style.curve(margin, ds.beta_norm, 1 - at.margin, color=colour)
        trained = at[["training_norm", "training_margin"]].sel(estimate="value")
        rings = {"color": colour, "markerfacecolor": "none", "markersize": 4, "markeredgewidth": 0.9}
        margin.plot(trained.training_norm, 1 - trained.training_margin, "o", **rings)

        along = at[["margin", "radius"]].sel(estimate="value")
        basin.plot(along.margin, along.radius, color=colour, marker="o", markersize=2.5)
        for rule in ("hebb", "pseudo-inverse", "max margin"):
            x = at.rule_margin.sel(rule=rule)
            x = x if x.sel(estimate="value") > LEFT else xr.DataArray(LEFT)
            _bars(basin, x, at.rule_radius.sel(rule=rule), **(RULES[rule] | {"color": colour}))
        for rule in ds.asymmetric.values:
            of = at.sel(asymmetric=rule)
            _bars(energy, of.asymmetry, of.versus_symmetrised, **(RULES[rule] | {"color": colour}))

    margin.axhline(0.05, color=style.GREY, linestyle=":", linewidth=1.2)
    margin.set(xscale="log", yscale="log", xlabel="norm beta ||W||", ylabel="1 - margin / largest", ylim=(5e-4, 8))
    margin.xaxis.set_minor_formatter(NullFormatter())
    basin.set(xlabel="margin / largest", ylabel="basin radius", xlim=(LEFT - 0.08, 1.08), ylim=(-0.01, None))
    energy.set(xlabel="asymmetry of the couplings", ylabel="radius: learned\nminus symmetrised", xlim=(0, None))

    gap = np.diff(loads).min() if len(loads) > 1 else 1.0
    for k, (rule, looks) in enumerate(RULES.items()):
        _bars(excess, ds["load"] + (k - 2) * gap / 12, ds.versus_random.sel(rule=rule), **looks)
    for k, (dynamics, looks) in enumerate(DYNAMICS.items()):
        values = ds.versus_likelihood.sel(dynamics=dynamics)
        own = {"marker": "s", "color": style.ORANGE, "label": dynamics}
        _bars(bound, ds["load"] + (k - 0.5) * gap / 8, values, **(own | looks))
    for ax in (energy, excess, bound):
        ax.axhline(0, color=style.GREY, linewidth=1)
    for ax in (excess, bound):
        ax.set(xlabel="load alpha = P/L", xticks=loads)
    excess.set_ylabel("radius minus that\nof random couplings")
    bound.set_ylabel("radius: evidence bound\nminus pseudo-likelihood")
    bound.legend()

    legend.set_axis_off()
    of_loads = [
        Line2D([], [], color=colour, linewidth=2.5, label=f"alpha = {load:g}")
        for load, colour in zip(loads, colours, strict=True)
    ]
    of_rules = [Line2D([], [], linestyle="none", **looks) for looks in RULES.values()]
    ring = {"marker": "o", "color": style.BLACK, "markerfacecolor": "none", "markersize": 4}
    of_rules.append(Line2D([], [], linestyle="none", label="gradient descent (A)", **ring))
    legend.add_artist(legend.legend(handles=of_loads, loc="upper left", fontsize=9))
    legend.legend(handles=of_rules, loc="lower left", fontsize=9)
    titles = ("margins", "margin and basin", "without an energy", "basins by rule", "further terms of the bound")
    for ax, title in zip(axes.flat, titles, strict=False):
        ax.set_title(title, loc="left")
    style.letters(axes.flat[:-1])
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = [
        f"gradient: {int(ds.unproved)} forms not proved by sympy; Hebb's rule times 1 - tanh of the margin "
        f"differs from the gradients, by complex steps and the library's, by {float(ds.gradient_error):.1e}, relative"
    ]
    for load in ds["load"].values:
        at = ds.sel(load=load)
        end, trained = at.isel(beta_norm=-1), at.isel(step=-1)
        lines.append(
            f"alpha = {load:g}: margin over the largest one {style.interval(end.margin)} at norm "
            f"{float(end.beta_norm):g}, {style.interval(trained.training_margin)} after {int(trained.step)} steps of "
            f"gradient descent, at norm {style.interval(trained.training_norm)}"
        )
        pseudo = at.sel(rule="pseudo-likelihood")
        lines.append(
            f"alpha = {load:g}: basin radius of the largest margin "
            f"{style.interval(at.rule_radius.sel(rule='max margin'))}, of pseudo-likelihood at norm "
            f"{style.interval(at.norm)}, with {style.interval(pseudo.rule_margin)} times that margin, "
            f"{style.interval(pseudo.rule_radius)}, larger by {style.interval(pseudo.versus_largest)}"
        )
        told = [
            f"{RULES[rule]['label']} {style.interval(at.versus_symmetrised.sel(asymmetric=rule))} at asymmetry "
            f"{style.interval(at.asymmetry.sel(asymmetric=rule))}"
            for rule in ds.asymmetric.values
        ]
        lines.append(f"alpha = {load:g}: radius of learned minus symmetrised couplings: {', '.join(told)}")
        told = [f"{looks['label']} {style.interval(at.versus_random.sel(rule=rule))}" for rule, looks in RULES.items()]
        lines.append(f"alpha = {load:g}: radius minus that of random couplings: {', '.join(told)}")
        told = [f"{name} {style.interval(at.versus_likelihood.sel(dynamics=name))}" for name in ds.dynamics.values]
        lines.append(
            f"alpha = {load:g}: radius of the evidence bound minus pseudo-likelihood, both at norm "
            f"{style.interval(at.norm)}: {', '.join(told)}"
        )
    return lines
