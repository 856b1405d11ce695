"""Memorization to generalization on the Random Hierarchy Model, between its two exact limits."""

from __future__ import annotations

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amtheory.intervals import student
from paper_figures import style
from paper_figures.measure import hierarchy
from paper_figures.measure.hierarchy import GENERALIZATION, LIMITS, MEMORIZATION, SEQUENCES, SPLITS
from paper_figures.workspace import Workspace

ORDER = 20
TITLE = "The transition between its exact limits: a hierarchical language"
EXPECTED = (
    "With few training strings a network is an associative memory of them, with many it knows the grammar "
    "(arXiv 2604.26841, secs. 3 and 4, for text, where neither end is known). Levels of the grammar are learned one "
    "after the other (Favero et al. 2025)."
)
CAPTION = (
    "Networks trained on P distinct strings of a Random Hierarchy Model of {symbols} symbols, {rules} rules for each, "
    "branching {branching} and depth {depth}. It proves where a network stands, as both ends are computed: blue and "
    "red, the tree network; light lines of the same style, exact Bayes inference on the training strings (memorization "
    "limit); grey, exact inference on the grammar by belief propagation, sampled as the networks are (generalization "
    "limit). A: fraction of changed tokens restored at noise t = {noise:g}. B: conditional entropy at t = 1e-5. C: the "
    "entropy gap, generated minus training. D: share of the tuples of generated strings that the grammar has, by level "
    "(1: tokens); dotted, of exact inference with as many reverse steps ({reverse}). E: generated strings that are "
    "training strings; dotted, the share expected of a sampler of the grammar. F: as A, for {other} ({steps} steps of "
    "training). Bands: Student's 95 % intervals over {grammars} grammars (A, C to E), bootstrap over strings "
    "(F); small marks in B: the grammars."
)

_OTHERS = ("chance", "sequence_entropy", "unigram")
"""What is measured for claims, or drawn without an interval."""

tasks = hierarchy.sweep_tasks


def compute(ws: Workspace) -> xr.Dataset:
    settings = ws.preset.hierarchy
    main, *others = hierarchy.networks(ws)
    systems = [main, *LIMITS]
    cells = [hierarchy.measurements(ws, hierarchy.sweep(ws, system), "size") for system in systems]
    values = xr.concat(cells, xr.Variable("system", systems)).sel(estimate="value", drop=True)
    values = values.rename(size="dataset_size")
    values["gap"] = values.entropy.sel(sequences="generated") - values.entropy.sel(sequences="train")
    chance = values.chance.mean("grammar")
    dataset = xr.Dataset({name: student(values[name], "grammar") for name in values if name not in _OTHERS})
    dataset["chance"] = chance.sel(system=main)
    found = values.recovery.sel(system=main) - values.recovery.sel(system=list(LIMITS)).rename(system="limit")
    dataset["excess"] = student(found, "grammar")
    dataset["entropy_by_grammar"] = values.entropy.sel(system=main)
    for other in others[:1]:
        found = hierarchy.measurements(ws, hierarchy.sweep(ws, other), "size")
        dataset["other"] = found.recovery.isel(grammar=0).rename(size="other_size")
    facts = {"symbols": 0, "rules": 0, "branching": 2, "depth": 0} | settings.grammar
    return dataset.assign_attrs(
        **facts,
        noise=settings.noise,
        grammars=settings.grammars,
        other=others[0],
        reverse=settings.steps,
        steps=max(settings.recipes[others[0]].sizes.values()),
    )


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, 3, width=3.7, height=2.9)
    main = str(ds.system.values[0])
    (recovery, entropy, difference), (valid, copies, transformer) = axes
    for ax in (recovery, transformer):
        _limits(ax, ds, ds.recovery, "split", SPLITS)
        ax.set(ylim=(-0.02, 1.02), ylabel=f"changed tokens restored, t = {ds.attrs['noise']:g}")
    for split in SPLITS:
        look = {"color": style.COLOURS[split], "label": split, **style.LINES[split]}
        style.curve(recovery, ds.dataset_size, ds.recovery.sel(system=main, split=split), **look)
        style.curve(transformer, ds.other_size, ds.other.sel(split=split), **look)
    for system, colour, alpha in ((MEMORIZATION, style.BLUE, 0.45), (GENERALIZATION, style.GREY, 1)):
        recovery.plot([], [], color=colour, alpha=alpha, linewidth=1, label=system)
    recovery.set_title(main, loc="left")
    transformer.set_title(ds.attrs["other"], loc="left")
    _limits(entropy, ds, ds.entropy, "sequences", SEQUENCES[:2])
    for name in SEQUENCES:
        look = {"color": style.COLOURS[name], **style.LINES[name]}
        values = ds.entropy.sel(system=main, sequences=name, estimate="value")
        entropy.plot(ds.dataset_size, values, label=name, **look)
        each = ds.entropy_by_grammar.sel(sequences=name).transpose("dataset_size", "grammar")
        entropy.plot(ds.dataset_size, each, **{**look, "linestyle": "", "markersize": 2, "alpha": 0.5})
    entropy.set(ylabel="conditional entropy (nats per token)", ylim=(None, 1.25 * entropy.get_ylim()[1]))
    style.curve(difference, ds.dataset_size, ds.gap.sel(system=main), color=style.BLACK, marker="o", markersize=4)
    difference.axhline(0, color=style.GREY, linewidth=1)
    difference.set(ylabel="entropy gap (nats per token)")
    for level, colour in zip(ds.level.values, style.gradient(ds.sizes["level"]), strict=True):
        values = ds.valid.sel(system=main, level=level)
        style.curve(valid, ds.dataset_size, values, color=colour, marker="o", markersize=4, label=f"level {level}")
        exact = ds.valid.sel(system=GENERALIZATION, level=level, estimate="value")
        valid.plot(ds.dataset_size, exact, color=colour, alpha=0.6, linewidth=1, linestyle=":")
    valid.set(ylim=(-0.02, 1.02), ylabel="grammatical tuples, generated")
    for system, colour, name in ((MEMORIZATION, style.SKY, MEMORIZATION), (main, style.BLUE, main)):
        style.curve(copies, ds.dataset_size, ds.copies.sel(system=system), color=colour, marker="o", markersize=4,
                    label=name)  # fmt: skip
    copies.plot(ds.dataset_size, ds.chance, color=style.GREY, linestyle=":", label="chance")
    copies.set(ylim=(-0.02, 1.02), ylabel="copies of training strings")
    for ax in axes.flat:
        ax.set(xscale="log", xlabel="training strings P")
    for ax in (recovery, entropy, valid, copies):
        ax.legend()
    style.letters(axes)
    return fig


def _limits(ax: Axes, ds: xr.Dataset, values: xr.DataArray, dim: str, names: tuple[str, ...]) -> None:
    exact = values.sel(estimate="value")
    for name in names:
        look = {"linestyle": style.LINES[name]["linestyle"], "linewidth": 1}
        ax.plot(ds.dataset_size, exact.sel({"system": MEMORIZATION, dim: name}), color=style.COLOURS[name], alpha=0.45,
                **look)  # fmt: skip
        ax.plot(ds.dataset_size, exact.sel({"system": GENERALIZATION, dim: name}), color=style.GREY, **look)


def findings(ds: xr.Dataset) -> list[str]:
    main = str(ds.system.values[0])
    lines = []
    for size in ds.dataset_size.values:
        at = ds.sel(dataset_size=size)
        told = [
            f"{split} {style.interval(at.recovery.sel(system=main, split=split))} ("
            + ", ".join(f"minus {s} {style.interval(at.excess.sel(limit=s, split=split))}" for s in LIMITS)
            + ")"
            for split in SPLITS
        ]
        copied = f"copies {style.interval(at.copies.sel(system=main))}, chance {float(at.chance):.4f}"
        lines.append(f"{size} strings: restored {', '.join(told)}; {copied}")
    gaps = ds.gap.sel(system=main)
    peak = int(gaps.sel(estimate="value").argmax("dataset_size"))
    told = f"{ds.dataset_size.values[peak]} strings: {style.interval(gaps.isel(dataset_size=peak))} nats per token"
    return [*lines, f"entropy gap largest at {told}"]
