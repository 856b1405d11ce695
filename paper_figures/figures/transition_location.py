"""Where memorization ends, by three marks on three systems; how that depends on the width of networks and the length of
memories."""

from __future__ import annotations

from functools import partial
from math import comb
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from amtheory.intervals import Estimate, student
from bridges import find_peak, find_transition, scaling_exponent
from paper_figures import style
from paper_figures.cells import stack
from paper_figures.evidence import GRAMMAR, SPINS, TEXT
from paper_figures.measure import hierarchy, language, memories, nearest
from paper_figures.task import Task
from paper_figures.workspace import Workspace

ORDER = 45
TITLE = "Where memorization ends, by three marks on three systems"
EXPECTED = (
    "The recoveries of training and test tokens meet about where the entropy gap and the perplexity of unseen text are "
    "largest, and at larger training sets for larger models (arXiv 2604.26841, sec. 5, Figs. 2, 5 and 9, and the "
    "read-me of the authors' code)."
)
CAPTION = (
    "A to C: the size of the training set at which the recoveries of training and test tokens have come within "
    "{level:g}, at noise t = {noise} for spins, strings and text; at which the entropy gap, generated minus training, "
    "is largest; and at which the perplexity of unseen sequences is. Its logarithm is the evidence bound per token for "
    "text, else the mean of -log p of a token given all others. Bars: Student's 95 % intervals over {repeats}, which "
    "are the crosses; arrows: no end among the sizes measured; words: no repeat has the mark between two of them. "
    "D to F: the curves of the pseudo-likelihood memory of L spins, on examples made of D = {features:g} L random "
    "features, of which {examples} differ at L = {shortest}; bands as in A, the grey line in D at {level:g}."
)
MARKS = {"recovery": "recoveries meet", "gap": "entropy gap largest", "perplexity": "perplexity largest"}
SIZES = {SPINS: "load alpha = P/L", GRAMMAR: "training strings P", TEXT: "training sequences"}
SCALES = {SPINS: "L = {}", GRAMMAR: "depth {}", TEXT: "width {}"}
LEVEL = 0.05
"""Difference of recoveries that have met."""


def tasks(ws: Workspace) -> list[Task]:
    return [*memories.finite_size_tasks(ws), *hierarchy.main_tasks(ws), *language.width_tasks(ws)]


def compute(ws: Workspace) -> xr.Dataset:
    """Of each `system` at each `scale`, a series: `location` (series, mark, estimate) and that of `each` (series, mark,
    repeat), among sizes from `smallest` to `largest` (series). 0 and infinity are beyond these, NaN of too few sizes.
    And `curve` (length, mark, alpha, estimate) of the memories."""
    settings, grammar, widths = ws.preset.memories, ws.preset.hierarchy, language.widths(ws)
    measured = {
        (SPINS, length): memories.by_load(ws, _spins, length).rename(alpha="size", disorder="repeat")
        for length in memories.lengths(ws)
    }
    curves = {length: student(found.to_dataarray("mark"), "repeat") for (_, length), found in measured.items()}
    measured[GRAMMAR, grammar.grammar["depth"]] = hierarchy.by_grammar(ws, _strings).rename(grammar="repeat")
    for width, name in widths.items():
        measured[TEXT, width] = language.by_seed(ws, name, _text).rename(dataset_size="size")
    dataset = xr.concat([_located(found) for found in measured.values()], "series", join="outer")
    along = xr.Variable("length", list(curves))
    dataset["curve"] = xr.concat(list(curves.values()), along, join="outer").rename(size="alpha")
    systems, scales = map(list, zip(*measured, strict=True))
    trainings = language.recipes(ws)[language.main(ws)].seeds
    repeats = {"data sets": settings.disorder, "grammars": grammar.grammars, "trainings": trainings}
    return dataset.assign_coords(system=("series", systems), scale=("series", scales)).assign_attrs(
        level=LEVEL,
        noise=f"{nearest(settings.noise):g}, {grammar.noise:g} and {nearest(ws.preset.language.noise):g}",
        repeats=", ".join(f"{number} {what}" for what, number in repeats.items()),
        features=settings.features,
        shortest=min(curves),
        examples=comb(round(settings.features * min(curves)), settings.active) * 2**settings.active,
    )


def _spins(measured: memories.Measured) -> xr.Dataset:
    ws, learned = measured.ws, {"system": memories.PSEUDO_LIKELIHOOD}
    recovery = ws.get(measured.recovery(nearest(ws.preset.memories.noise))).recovery.sel(learned, drop=True)
    entropy = ws.get(measured.entropy()).sequence_entropy.sel(learned, drop=True).mean("sample") / measured.length
    return _curves(recovery.squeeze("noise", drop=True), entropy, _surprise(measured))


def _strings(measured: hierarchy.Measured) -> xr.Dataset:
    found = hierarchy.measured(measured.ws, measured.case)
    return _curves(found.recovery, found.entropy, _surprise(measured))


def _text(measured: language.Measured) -> xr.Dataset:
    recovery = stack(partial(language.recovery, measured), split=language.SPLITS).recovery
    entropy = stack(partial(language.mean_entropy, measured), sequences=("train", "generated")).mean_entropy
    return _curves(recovery, entropy, measured.ws.get(measured.bound("test")).bound.mean("sample"))


def _surprise(measured: memories.Measured | hierarchy.Measured) -> xr.DataArray:
    """-log p of a token of unseen sequences given all others, in the mean."""
    return -measured.ws.get(measured.scores()).pseudo_log_likelihood.sel(split="test", drop=True).mean("sample")


def _curves(recovery: xr.DataArray, entropy: xr.DataArray, log_perplexity: xr.DataArray) -> xr.Dataset:
    """Those that the marks are of."""
    restored, uncertain = recovery.to_dataset("split"), entropy.to_dataset("sequences")
    difference, gap = restored.train - restored.test, uncertain.generated - uncertain.train
    values = zip(MARKS, (difference, gap, log_perplexity), strict=True)
    return xr.Dataset(dict(values)).sel(estimate="value", drop=True)


def _located(curves: xr.Dataset) -> xr.Dataset:
    """From curves over (repeat, size)."""
    sizes = curves["size"].values.astype(float)

    def find(mark: str, values: np.ndarray) -> Estimate:
        if len(sizes) < (2 if mark == "recovery" else 3):
            return Estimate(np.nan, np.nan, np.nan)
        if mark == "recovery":
            return find_transition(sizes, values, np.zeros_like(values), level=LEVEL)
        return find_peak(sizes, values)

    def of_mark(mark: str) -> xr.Dataset:
        values = curves[mark].transpose("repeat", "size").values
        each = [find(mark, one).value for one in values]
        return xr.Dataset({"location": ("estimate", list(find(mark, values))), "each": ("repeat", each)})

    labels = {"estimate": list(Estimate._fields), "repeat": range(curves.sizes["repeat"])}
    return stack(of_mark, mark=list(MARKS)).assign(smallest=sizes[0], largest=sizes[-1]).assign_coords(labels)


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, 3, width=3.0, height=2.6)
    for ax, system in zip(axes[0], SIZES, strict=True):
        _draw_locations(ax, ds.isel(series=(ds.system == system).values), SCALES[system])
        ax.set(xlabel=SIZES[system])
        ax.set_title(system, loc="left")
    for ax in axes[0, 1:]:
        ax.set_yticklabels([])
    for ax, mark in zip(axes[1], MARKS, strict=True):
        for length, look in zip(ds.length.values, _looks(ds.sizes["length"]), strict=True):
            shown = ds.curve.sel(length=length, mark=mark).dropna("alpha", how="all")
            shown = np.exp(shown) if mark == "perplexity" else shown
            style.curve(ax, shown.alpha, shown, label=SCALES[SPINS].format(length), **look)
        ax.set(xscale="log", xlabel=SIZES[SPINS])
        ax.set_title(SPINS, loc="left")
    axes[1, 0].set_ylabel("recovery, train minus test")
    axes[1, 0].axhline(LEVEL, color=style.GREY, linewidth=1)
    axes[1, 1].set_ylabel("entropy gap (nats per spin)")
    axes[1, 1].axhline(0, color=style.GREY, linewidth=1)
    axes[1, 2].set_ylabel("perplexity of unseen patterns")
    axes[1, 0].legend()
    style.letters(axes)
    return fig


def _looks(n: int) -> list[dict[str, Any]]:
    return [{"color": colour, "marker": "os^Dv"[k % 5], "markersize": 4} for k, colour in enumerate(style.gradient(n))]


def _draw_locations(ax: Axes, ds: xr.Dataset, label: str) -> None:
    """A row for each mark, a bar in it for each scale."""
    n, span = ds.sizes["series"], (float(ds.smallest.min()) / 1.4, float(ds.largest.max()) * 1.4)
    ax.set(xscale="log", xlim=span, ylim=(len(MARKS) - 0.5, -0.9))
    for k, look in enumerate(_looks(n)):
        for row, mark in enumerate(MARKS):
            _draw_location(ax, row + (k - (n - 1) / 2) * 0.8 / n, ds.isel(series=k).sel(mark=mark), span, look)
        ax.plot([], [], label=label.format(int(ds.scale[k])), **look)
    ax.set_yticks(range(len(MARKS)), ["\n".join(mark.rsplit(" ", 1)) for mark in MARKS.values()])
    ax.tick_params(axis="y", length=0, pad=8)
    ax.yaxis.grid(False)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend(loc="upper center", ncols=n, columnspacing=0.8, handlelength=1, handletextpad=0.4)


def _draw_location(ax: Axes, y: float, at: xr.Dataset, span: tuple[float, float], look: dict[str, Any]) -> None:
    """A bar as far as the axis goes, with an arrow where it goes on, and below it the repeats that are on the axis."""
    value, low, high = at.location.values
    left, right = span
    ax.plot(np.clip([low, high], left, right), [y, y], color=look["color"])
    for end, beyond, arrow in ((left, low < left, "<"), (right, high > right, ">")):
        if beyond:
            ax.plot(end, y, arrow, color=look["color"], clip_on=False)
    if words := _nowhere(at):
        place, side = ((high * 1.15, "left") if high < right else (low / 1.15, "right") if low > left
                       else (np.sqrt(left * right), "center"))  # fmt: skip
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        ax.text(place, y, words, fontsize=7, ha=side, va="center", bbox=box)
    else:
        ax.plot(value, y, **look)
        each = at.each.where((at.each > left) & (at.each < right))
        ax.plot(each, np.full(each.shape, y + 0.12), "x", color=style.GREY, markersize=3, markeredgewidth=0.8)


def _nowhere(at: xr.Dataset) -> str:
    """Why there is no location between two sizes; nothing where there is one."""
    value = float(at.location.sel(estimate="value"))
    if np.isnan(value):
        return "too few sizes"
    return {0.0: "at or below the smallest size", np.inf: "at or above the largest size"}.get(value, "")


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for k in range(ds.sizes["series"]):
        at = ds.isel(series=k)
        system = str(at.system.values)
        told = ", ".join(f"{name} {_told(at.sel(mark=mark))}" for mark, name in MARKS.items())
        lines.append(f"{system}, {SCALES[system].format(int(at.scale))}, {SIZES[system]}: {told}")
    for system in SIZES:
        part = ds.isel(series=(ds.system == system).values)
        for mark, name in MARKS.items():
            each = part.each.sel(mark=mark).dropna("repeat").transpose("repeat", "series").values
            if part.sizes["series"] > 1 and each.size and (each > 0).all() and np.isfinite(each).all():
                found, scale = scaling_exponent(part.scale.values, each), SCALES[system].split()[0]
                exponent = f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
                lines.append(f"{system}: {name} at a size that goes as {scale} to the {exponent}")
    return lines


def _told(at: xr.Dataset) -> str:
    """The location of one mark, with its interval."""
    value, low, high = (f"{x:.3g}" if x < 100 else f"{x:.0f}" for x in at.location.values)
    return f"{_nowhere(at) or f'at {value}'}{'' if low == 'nan' else f' [{low}, {high}]'}"
