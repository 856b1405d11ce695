"""Does the noise matter: the same networks, trained under uniform, masked and hybrid noise, under one ruler."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amtheory.intervals import Estimate, student
from bridges import find_transition
from paper_figures import style
from paper_figures.cells import stack
from paper_figures.measure import hierarchy, language, nearest, noises
from paper_figures.measure.noises import STRINGS, TEXT
from paper_figures.workspace import Workspace

ORDER = 47
TITLE = "The same memory under every noise"
EXPECTED = (
    "What makes a language model a memory is that it is trained by conditional likelihood (arXiv 2604.26841, eqs. 8 to "
    "11), so that masked and hybrid noise should lead through the same transition as uniform noise."
)
CAPTION = (
    "The main networks trained in as many steps on the same strings of the hierarchical language (above) and the same "
    "text (below), under {kinds} noise. A and D: share of tokens that their conditionals restore, one position at a "
    "time, the most probable token each time, of the {replaced:.0%} replaced by uniform draws: the memory of eq. 8, "
    "which knows nothing of the noise of the training. Solid: training sequences; dashed: unseen ones; light grey, the "
    "same of exact inference on the training strings, dark grey of that on the grammar. B and E: recovery by the "
    "reverse process of each, at its own noise, t = {own}; of tokens that were changed or masked, which says more of "
    "what is left of a sequence than of the memory, as masks tell where to look. C and F: conditional entropy of "
    "training sequences (solid) and generated ones (dashed). Bands: Student's 95 % intervals over {repeats}."
)
LEVEL = 0.05
"""Difference of the recoveries of training and unseen sequences that have met."""
SHOWN = {
    "retrieved": "tokens retrieved",
    "recovery": "tokens recovered, own process",
    "entropy": "entropy (nats per token)",
}
LOOKS = {
    "uniform": {"color": style.BLUE, "marker": "o"},
    "masked": {"color": style.VERMILION, "marker": "s"},
    "hybrid": {"color": style.GREEN, "marker": "^"},
}

tasks = noises.tasks


def compute(ws: Workspace) -> xr.Dataset:
    """Over (data, kind, size, ...), NaN where there is no such size: `retrieved`, `recovery` and `returned` (split,
    estimate), `entropy` (sequences, estimate), `copies` (estimate), and `meet` (data, kind, estimate), the size at
    which training and test retrieval have come within `LEVEL`; of strings `limit` (system, size, split)."""
    found = {data: _over_kinds(ws, data) for data in (STRINGS, TEXT) if noises.cases(ws, data, noises.kinds(ws)[0])}
    values = xr.concat(list(found.values()), xr.Variable("data", list(found)), join="outer")
    dataset = xr.Dataset({name: student(values[name], "repeat") for name in values})
    dataset["meet"] = xr.concat([_met(each.retrieved) for each in found.values()], dataset["data"])
    limits = {
        name: noises.over_sizes(ws, STRINGS, name, noises.retrieval).retrieved.mean("repeat")
        for name in hierarchy.LIMITS
    }
    dataset["limit"] = xr.concat(list(limits.values()), xr.Variable("limits", list(limits)))
    settings, language_noise = ws.preset.noises, nearest(ws.preset.language.noise)
    repeats = {"grammars": ws.preset.hierarchy.grammars, "trainings": int(values.sizes["repeat"])}
    return dataset.assign_attrs(
        kinds=", ".join(settings.kinds),
        replaced=settings.noise,
        own=f"{ws.preset.hierarchy.noise:g} and {language_noise:g}",
        repeats=", ".join(f"{number} {what}" for what, number in repeats.items()),
    )


def _over_kinds(ws: Workspace, data: str) -> xr.Dataset:
    """What is measured on text or strings, over (kind, size, repeat)."""
    kinds = noises.kinds(ws)
    every = [noises.over_sizes(ws, data, kind, _values) for kind in kinds]
    return xr.concat(every, xr.Variable("kind", kinds))


def _values(measured: noises.Measured) -> xr.Dataset:
    ws = measured.ws
    if isinstance(measured, hierarchy.Measured):
        found = ws.get(measured.generation())[["entropy", "copies"]]
        found["recovery"] = ws.get(measured.recovery()).recovery
    else:
        found = stack(lambda split: language.recovery(measured, split), split=language.SPLITS)
        entropy = stack(lambda sequences: language.mean_entropy(measured, sequences), sequences=language.SEQUENCES)
        found["entropy"] = entropy.mean_entropy
        found["copies"] = language.entropy(measured, "generated").copied.mean()
    return xr.merge([noises.retrieval(measured), found.sel(estimate="value", drop=True)], combine_attrs="drop")


def _met(retrieved: xr.DataArray) -> xr.DataArray:
    """The crossing of each kind, over (kind, estimate)."""
    sizes = retrieved["size"].values.astype(float)

    def of(kind: str) -> xr.Dataset:
        each = [retrieved.sel(kind=kind, split=split).transpose("repeat", "size").values for split in language.SPLITS]
        found = find_transition(sizes, *each, level=LEVEL) if len(sizes) > 1 else Estimate(np.nan, np.nan, np.nan)
        return xr.Dataset({"meet": ("estimate", list(found))}, {"estimate": list(Estimate._fields)})

    return stack(of, kind=list(retrieved.kind.values)).meet


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(ds.sizes["data"], 3, width=3.2, height=2.7)
    for row, data in zip(axes, ds["data"].values, strict=True):
        shown = ds.sel(data=data).dropna("size", how="all", subset=["retrieved"])
        for ax, (name, label) in zip(row, SHOWN.items(), strict=True):
            _curves(ax, shown[name], ("train", "generated") if name == "entropy" else language.SPLITS)
            ax.set(xscale="log", ylabel=label, xlabel=f"training {'strings' if data == STRINGS else 'sequences'} P")
        if data == STRINGS:
            for system, colour in zip(hierarchy.LIMITS, ("#BBBBBB", style.GREY), strict=True):
                for split, line in zip(language.SPLITS, ("-", "--"), strict=True):
                    row[0].plot(shown["size"], shown.limit.sel(limits=system, split=split), color=colour, ls=line, lw=1)
        for ax in row[:2]:
            ax.set(ylim=(-0.02, 1.02))
        row[0].set_title("hierarchical language" if data == STRINGS else "text", loc="left")
    axes[0, 0].legend()
    style.letters(axes)
    return fig


def _curves(ax: Axes, values: xr.DataArray, pair: tuple[str, ...]) -> None:
    dim = "split" if "split" in values.dims else "sequences"
    for kind in values.kind.values:
        for label, line in zip(pair, ("-", "--"), strict=True):
            look = {**LOOKS[str(kind)], "linestyle": line, "markersize": 4}
            if line == "--":
                look |= {"markerfacecolor": "white"}
            name = str(kind) if line == "-" else None
            style.curve(ax, values["size"], values.sel({"kind": kind, dim: label}), label=name, **look)


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for data in ds["data"].values:
        there = ds.sel(data=data).dropna("size", how="all", subset=["retrieved"])
        for kind in ds.kind.values:
            at = there.sel(kind=kind)
            ends = [
                f"of {int(size)} {', '.join(_told(at.sel(size=size), split) for split in language.SPLITS)}, copies "
                f"{style.interval(at.copies.sel(size=size))}"
                for size in at["size"].values[[0, -1]]
            ]
            value, low, high = at.meet.values
            meet = (
                "do not meet between the sizes"
                if not 0 < value < np.inf
                else f"meet at {value:.0f} [{low:.0f}, {high:.0f}]"
            )
            lines.append(f"{data}, {kind}: retrieved {'; '.join(ends)}; training and unseen {meet}")
    return lines


def _told(at: xr.Dataset, split: str) -> str:
    return f"{split} {style.interval(at.retrieved.sel(split=split))}"
