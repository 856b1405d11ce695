"""How well scores that need no training set tell memorized sequences from unseen ones."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from amtheory.intervals import student
from paper_figures import style
from paper_figures.evidence import detection
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 69
TITLE = "Detecting training sequences (language model)"
EXPECTED = (
    "Conditional entropy is a practical diagnostic of memorization for deployed models, without their training set "
    "(arXiv 2604.26841, sec. 6)."
)
CAPTION = (
    "Area under the ROC of training against unseen sequences, by score, against the size of the training set; 1/2 is "
    "chance. Entropy: mean conditional entropy, low for members. Likelihood: mean log p of each token given all "
    "others. Calibrated surprise: (log p + H) / sd(log p), mean of the lowest fifth of tokens (Min-K%++). Min-K: mean "
    "log p of the lowest fifth. Nearest: largest share of tokens equal to a training sequence, which knows the "
    "training set. Bands: Student's 95 % intervals over {seeds} trainings on training sets of their own."
)
_LOOKS = {
    "entropy": ("entropy", style.BLACK, "-"),
    "pseudo_log_likelihood": ("likelihood", style.BLUE, "--"),
    "calibrated_surprise": ("calibrated surprise", style.VERMILION, "-."),
    "min_k": ("Min-K", style.GREEN, ":"),
    "nearest": ("nearest (knows)", style.GREY, "-"),
}

tasks = language.main_tasks


def compute(ws: Workspace) -> xr.Dataset:
    area = detection(ws).area.squeeze("system", drop=True).rename(size="dataset_size")
    found = student(area, "repeat").to_dataset(name="area")
    return found.assign_attrs(seeds=area.sizes["repeat"])


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(1, 1, width=5.4, height=3.4)
    ax = axes[0, 0]
    for score, (name, colour, line) in _LOOKS.items():
        look = {"color": colour, "linestyle": line, "marker": "o", "markersize": 4, "label": name}
        style.curve(ax, ds.dataset_size, ds.area.sel(score=score), **look)
    ax.axhline(0.5, color=style.GREY, linewidth=1)
    ax.set(xscale="log", xlabel="training sequences", ylabel="area under the ROC", ylim=(0.35, 1.03))
    ax.legend()
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    return [
        f"{size} training sequences: "
        + ", ".join(
            f"{name} {style.interval(ds.area.sel(dataset_size=size, score=score))}"
            for score, (name, *_) in _LOOKS.items()
        )
        for size in ds.dataset_size.values
    ]
