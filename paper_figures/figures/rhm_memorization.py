"""Which substrings of a hierarchical language are memorized first, and what fat-tailed rules change."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from amtheory.intervals import student
from paper_figures import style
from paper_figures.measure import hierarchy
from paper_figures.workspace import Workspace

ORDER = 30
TITLE = "What is memorized first: substrings of a hierarchical language"
EXPECTED = (
    "Common substrings are memorized first, and over-produced by models whose training is stopped early, though all "
    "training strings differ; fat tails of the rule probabilities delay memorization, those of high-level rules most "
    "(Rodriguez et al., arXiv 2605.30642)."
)
CAPTION = (
    "The tree network trained on {size} distinct strings for ever longer (A to D, F), of grammars whose rules are "
    "equally probable, or have Zipf's law f_k ~ k^-2, on all levels or on the two highest. Memorized share: the "
    "regression of the generated strings' deviations from the exact probability of a substring on those of the "
    "training strings, 0 for an exact sampler of the grammar and 1 for one of the training set, so that what is common "
    "in the language does not count. It proves what is memorized first: A, whole strings; B, by length of the "
    "substring, {rules}; C, substrings of {length} tokens by how probable they are in the language, quartiles from "
    "rare to common, {rules}; F, the most common quartile minus the rarest. D: how much oftener than in the language "
    "the training set's substrings of {length} tokens are generated, {rules}. E: as B, against the number of training "
    "strings, {usual}. Bands: Student's 95 % intervals over {grammars} grammars."
)

tasks = hierarchy.course_tasks


def compute(ws: Workspace) -> xr.Dataset:
    settings = ws.preset.hierarchy
    names = list(settings.rules)
    courses = [hierarchy.measurements(ws, hierarchy.course(ws, rules), "steps") for rules in names]
    course = xr.concat(courses, xr.Variable("rules", names)).sel(estimate="value", drop=True)
    sweep = hierarchy.measurements(ws, hierarchy.sweep(ws, hierarchy.networks(ws)[0]), "size")
    whole = course.memorized.sel(quartile=0, drop=True).isel(level=-1, drop=True)
    at_level = course.memorized.sel(level=hierarchy.COMMON_LEVEL, drop=True)
    dataset = xr.Dataset(
        {
            "memorized": student(course.memorized, "grammar"),
            "overproduced": student(course.overproduced, "grammar"),
            "common_first": student(at_level.sel(quartile=4) - at_level.sel(quartile=1), "grammar"),
            "advance": student(whole - whole.isel(rules=0, drop=True), "grammar"),
            "by_size": student(sweep.memorized.sel(estimate="value", quartile=0, drop=True), "grammar"),
        }
    )
    facts = {"grammars": settings.grammars, "size": settings.course[0], "usual": names[0], "rules": names[1]}
    return dataset.assign_attrs(**facts, length=settings.grammar.get("branching", 2) ** hierarchy.COMMON_LEVEL)


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, 3, width=3.7, height=2.9)
    (whole, levels, quartiles), (excess, sizes, difference) = axes
    shown = ds.sel(rules=ds.attrs["rules"])
    marker = {"marker": "o", "markersize": 4}
    colours = (style.BLACK, style.VERMILION, style.ORANGE)
    for rules, colour in zip(ds.rules.values, colours, strict=False):
        look = {"color": colour, "label": rules, **marker}
        style.curve(whole, ds.steps, ds.memorized.sel(rules=rules, quartile=0).isel(level=-1), **look)
        style.curve(difference, ds.steps, ds.common_first.sel(rules=rules), **look)
    branching = round(ds.attrs["length"] ** (1 / hierarchy.COMMON_LEVEL))
    for level, colour in zip(ds.level.values, style.gradient(ds.sizes["level"]), strict=True):
        look = {"color": colour, "label": f"{branching**level} tokens", **marker}
        style.curve(levels, ds.steps, shown.memorized.sel(level=level, quartile=0), **look)
        style.curve(sizes, ds["size"], ds.by_size.sel(level=level), **look)
    names = {1: "rarest", 4: "most common"}
    for quartile, colour in zip((1, 2, 3, 4), style.gradient(4), strict=True):
        look = {"color": colour, "label": names.get(quartile, f"quartile {quartile}"), **marker}
        for ax, values in ((quartiles, shown.memorized), (excess, shown.overproduced)):
            style.curve(ax, ds.steps, values.sel(level=hierarchy.COMMON_LEVEL, quartile=quartile), **look)
    titles = ("whole strings", "by length", "by probability", "over-production", "by training strings", "common first")
    for ax, title in zip(axes.flat, titles, strict=True):
        ax.set_title(title, loc="left")
        ax.set(xscale="log", xlabel="training steps", ylabel="memorized share", ylim=(-0.25, 1.9))
        ax.axhline(0, color=style.GREY, linewidth=1)
    excess.axhline(1, color=style.GREY, linewidth=1)
    excess.set(ylabel="generated / exact sampler", yscale="log", ylim=(0.5, 5))
    excess.yaxis.set_major_formatter(ScalarFormatter())
    excess.yaxis.set_minor_formatter(ScalarFormatter())
    sizes.set(xlabel="training strings P")
    difference.set(ylabel="most common minus rarest")
    for ax in axes.flat:
        ax.legend(loc="upper left", ncols=2)
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for steps in ds.steps.values:
        at = ds.sel(steps=steps)
        told = [
            f"{rules}: {style.interval(at.memorized.sel(rules=rules, quartile=0).isel(level=-1))}, "
            f"common minus rare {style.interval(at.common_first.sel(rules=rules))}"
            for rules in ds.rules.values
        ]
        ahead = [f"{rules} {style.interval(at.advance.sel(rules=rules))}" for rules in ds.rules.values[1:]]
        lines.append(
            f"{steps} training steps, memorized share of whole strings, and that of the most common minus that of the "
            f"rarest substrings of {ds.attrs['length']} tokens: {'; '.join(told)}. Whole strings, minus those of "
            f"{ds.attrs['usual']}: {', '.join(ahead)}"
        )
    return lines
