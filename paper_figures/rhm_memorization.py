"""Which substrings of a hierarchical language are memorized first, and what fat-tailed rules change."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from paper_figures import hierarchy, style
from paper_figures.memories import over_disorder
from paper_figures.workspace import Workspace

TITLE = "What is memorized first: substrings of a hierarchical language"
SOURCES = (hierarchy,)
EXPECTED = (
    "Common substrings are memorized first, and over-produced, though all training strings differ; fat tails of the "
    "rule probabilities delay memorization, those of high-level rules most (Rodriguez et al., arXiv 2605.30642)."
)
CAPTION = (
    "The tree network trained on P distinct strings of grammars whose rules are equally probable, or have Zipf's law "
    "f_k ~ k^-2, on all levels or on the two highest. Memorized share: the regression of the generated strings' "
    "deviations from the exact probability of a substring on those of the training strings, 0 for an exact sampler of "
    "the grammar and 1 for one of the training set, so that what is common in the language does not count. A: whole "
    "strings. B: by length of the substring, {rules}. C: by how probable a substring of {length} tokens is in the "
    "language, quartiles from rare to common, {rules}. D: how much oftener than in the language the training set's "
    "substrings of {length} tokens are generated. Bands: Student's 95 % intervals over {grammars} grammars."
)
LEVEL = 2
"""Of the substrings that are told apart by how common they are."""


def compute(ws: Workspace) -> xr.Dataset:
    settings = ws.preset.hierarchy
    main, names = hierarchy.networks(ws)[0], list(settings.rules)
    cells = [hierarchy.measurements(ws, main, rules) for rules in names]
    values = xr.concat(cells, xr.Variable("rules", names), join="inner").sel(estimate="value", drop=True)
    wanted = values[["memorized", "overproduced"]].rename(grammar="disorder")
    dataset = xr.Dataset({name: over_disorder(wanted[name]) for name in wanted})
    length = settings.grammar.get("branching", 2) ** LEVEL
    return dataset.assign_attrs(grammars=settings.grammars, rules=names[1], length=length)


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, 2, width=4.2, height=2.9)
    (whole, levels), (quartiles, excess) = axes
    shown = ds.sel(rules=ds.attrs["rules"])
    colours = (style.BLACK, style.VERMILION, style.ORANGE)
    for rules, colour in zip(ds.rules.values, colours, strict=False):
        values = ds.memorized.sel(rules=rules, quartile=0).isel(level=-1)
        style.curve(whole, ds.dataset_size, values, color=colour, marker="o", markersize=4, label=rules)
    whole.set_title("whole strings", loc="left")
    for level, colour in zip(ds.level.values, style.gradient(ds.sizes["level"]), strict=True):
        values = shown.memorized.sel(level=level, quartile=0)
        style.curve(levels, ds.dataset_size, values, color=colour, marker="o", markersize=4, label=f"level {level}")
    levels.set_title("by length", loc="left")
    names = {1: "rarest", 4: "most common"}
    for ax, variable, title in (
        (quartiles, "memorized", "by probability"),
        (excess, "overproduced", "over-production"),
    ):
        for quartile, colour in zip((1, 2, 3, 4), style.gradient(4), strict=True):
            values = shown[variable].sel(level=LEVEL, quartile=quartile)
            label = names.get(quartile, f"quartile {quartile}")
            style.curve(ax, ds.dataset_size, values, color=colour, marker="o", markersize=4, label=label)
        ax.set_title(title, loc="left")
    for ax in (whole, levels, quartiles):
        ax.axhline(0, color=style.GREY, linewidth=1)
        ax.set(ylabel="memorized share")
    excess.axhline(1, color=style.GREY, linewidth=1)
    excess.set(ylabel="generated / exact sampler", yscale="log")
    for ax in axes.flat:
        ax.set(xscale="log", xlabel="training strings P")
        ax.legend()
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for size in ds.dataset_size.values:
        at = ds.memorized.sel(dataset_size=size)
        whole = [f"{r} {style.interval(at.sel(rules=r, quartile=0).isel(level=-1))}" for r in ds.rules.values]
        by = at.sel(rules=ds.attrs["rules"], level=LEVEL)
        told = f"rarest {style.interval(by.sel(quartile=1))}, most common {style.interval(by.sel(quartile=4))}"
        lines.append(
            f"{size} strings: memorized share of whole strings {', '.join(whole)}; of substrings of "
            f"{ds.attrs['length']} tokens, {ds.attrs['rules']}: {told}"
        )
    return lines
