"""How well scores that need no training set tell memorized sequences from unseen ones."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from amtheory.intervals import student
from paper_figures import style
from paper_figures.evidence import FALSE_POSITIVES, GRAMMAR, SPINS, TEXT, detection, transition_tasks
from paper_figures.workspace import Workspace

ORDER = 69
TITLE = "Detecting training sequences (text, hierarchical language, binary memory)"
EXPECTED = (
    "Conditional entropy is a practical diagnostic of memorization for deployed models, without their training set "
    "(arXiv 2604.26841, sec. 6)."
)
CAPTION = (
    "How well scores tell training from unseen sequences, against the number of the former. A, C, D: area under the "
    "ROC, 1/2 being chance, for the language model, networks on a hierarchical language and the pseudo-likelihood "
    "binary memory. B: share of the language model's training sequences that are found with a threshold fixed on "
    "unseen sequences so that 1 % of these exceed it. Entropy: mean conditional entropy, low for members. Likelihood: "
    "mean log p of each token given all others. Min-K%: mean log p of the lowest fifth. Min-K%++: mean calibrated "
    "surprise, (log p + H) / sd(log p), of the lowest fifth. Nearest: largest share of tokens equal to a training "
    "sequence, which knows the training set. Bands: Student's 95 % intervals over {repeats} trainings, grammars and "
    "data sets."
)
_LOOKS = {
    "entropy": ("entropy", style.BLACK, "-", "o"),
    "pseudo_log_likelihood": ("likelihood", style.BLUE, "--", "s"),
    "calibrated_surprise": ("Min-K%++", style.VERMILION, "-.", "^"),
    "min_k": ("Min-K%", style.GREEN, ":", "D"),
    "nearest": ("nearest (knows)", style.GREY, "-", "x"),
}
_PANELS = (
    ("area", TEXT, "training sequences", 0.5),
    ("detected", TEXT, "training sequences", FALSE_POSITIVES),
    ("area", GRAMMAR, "training strings", 0.5),
    ("area", SPINS, "training patterns", 0.5),
)
"""Of what, on which system, against what, and its value by chance."""
_TOLD = {"area": "area under the ROC", "detected": "found at 1 % of false positives"}

tasks = transition_tasks


def compute(ws: Workspace) -> xr.Dataset:
    rates = detection(ws).sel(score=list(_LOOKS)).rename(size="dataset_size")
    repeats = rates.area.notnull().any(["dataset_size", "score"]).sum("repeat").values
    intervals = rates.map(lambda each: student(each, "repeat"))
    return intervals.assign_attrs(repeats=", ".join(map(str, repeats)))


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, 2, width=4.2, height=2.9)
    for ax, (name, system, against, chance) in zip(axes.flat, _PANELS, strict=True):
        for score, (label, colour, line, marker) in _LOOKS.items():
            look = {"color": colour, "linestyle": line, "marker": marker, "markersize": 4, "label": label}
            look |= {"markerfacecolor": "white"} if marker in "sD" else {}
            values = ds[name].sel(system=system, score=score).dropna("dataset_size", how="all")
            style.curve(ax, values.dataset_size, values, **look)
        ax.axhline(chance, color=style.GREY, linewidth=1)
        ax.set(xscale="log", xlabel=against, ylabel=_TOLD[name], ylim=(0.35 if name == "area" else -0.03, 1.03))
        ax.set_title(system, loc="left")
    axes[1, 1].legend(loc="center left", handlelength=3.5)
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for name, system, against, _ in _PANELS:
        of_system = ds[name].sel(system=system).dropna("dataset_size", how="all")
        for size in of_system.dataset_size.values:
            told = ", ".join(
                f"{label} {style.interval(of_system.sel(dataset_size=size, score=score))}"
                for score, (label, *_) in _LOOKS.items()
            )
            lines.append(f"{system}, {int(size)} {against}, {_TOLD[name]}: {told}")
    return lines
