"""The pictures of a probe's page, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bridges.probing.evidence import NOISE, PRIMARY

LOOKS = {"suspect": ("#b2182b", "o"), "unseen": ("#2166ac", "s"), "train": ("#555555", "^")}
"""Colour and mark of each side."""


class Picture(NamedTuple):
    """SVG, and what to see in it."""

    svg: Markup
    caption: str


def pictures(measured: Mapping[str, xr.Dataset]) -> list[Picture]:
    """ROC curve, the plane of surprise and entropy, and recovery against the noise; those for which there are data.

    Parameters
    ----------
    measured : for each side a Dataset, as `evidence.of_passages` gives it
    """
    found = [
        Picture(
            _svg(_roc(measured)),
            "How many suspect passages are found among few false alarms; a model that learnt nothing by heart follows"
            " the dashed line.",
        ),
        Picture(
            _svg(_plane(measured)),
            "Each mark is a passage. To the left the model finds such text easy; upwards it is less surprised than it"
            " should be by text as easy as that.",
        ),
    ]
    if all("recovery_at" in side for side in measured.values()):
        found.append(
            Picture(
                _svg(_recovery(measured)),
                f"How many of the {_corruption(measured)} tokens come back, the more of the text is"
                f" {_corruption(measured)}; bars are twice the standard error.",
            )
        )
    return found


def _roc(measured: Mapping[str, xr.Dataset]) -> Figure:
    figure, ax = _axes("false alarms among unseen passages", "passages found")
    unseen = np.sort(_measured(measured["unseen"]))[::-1]
    false = np.arange(1, len(unseen) + 1) / len(unseen)
    for name, side in measured.items():
        if name != "unseen":
            colour, _ = LOOKS[name]
            ax.step(false, (_measured(side)[:, None] >= unseen).mean(0), where="post", color=colour, label=name)
    ax.plot(false, false, "--", color="#555555", label="chance")
    ax.set(xscale="log", xlim=(false[0], 1), ylim=(0, 1.02))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside upper left", ncols=4, frameon=False)
    return figure


def _measured(side: xr.Dataset) -> np.ndarray:
    """The primary scores that there are."""
    return side[PRIMARY].dropna("sample").values


def _plane(measured: Mapping[str, xr.Dataset]) -> Figure:
    figure, ax = _axes("entropy, nats per token", "calibrated surprise, lowest fifth")
    for name, side in measured.items():
        colour, mark = LOOKS[name]
        ax.plot(side.entropy, side[PRIMARY], mark, color=colour, mfc="none", ms=4, label=name)
    figure.legend(loc="outside upper left", ncols=4, frameon=False)
    return figure


def _recovery(measured: Mapping[str, xr.Dataset]) -> Figure:
    figure, ax = _axes(f"tokens {_corruption(measured)} (noise t)", f"{_corruption(measured)} tokens that come back")
    for name, side in measured.items():
        colour, mark = LOOKS[name]
        values = side.recovery_at.values
        count = (~np.isnan(values)).sum(0)
        with np.errstate(invalid="ignore"):
            mean = np.nansum(values, 0) / count
            error = np.sqrt(np.nansum((values - mean) ** 2, 0)) / count
        ax.errorbar(NOISE, mean, 2 * error, fmt=f"{mark}-", color=colour, mfc="none", label=name)
    ax.set(ylim=(0, 1.02), xlim=(0, None))
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside upper left", ncols=4, frameon=False)
    return figure


def _corruption(measured: Mapping[str, xr.Dataset]) -> str:
    return next(iter(measured.values())).attrs.get("corruption", "replaced")


def _axes(x: str, y: str):
    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    ax = figure.add_subplot(xlabel=x, ylabel=y)
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def _svg(figure: Figure) -> Markup:
    """To stand in a page; the same bytes each time."""
    text = io.StringIO()
    with rc_context({"svg.hashsalt": "probe", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return Markup(text.getvalue()[text.getvalue().index("<svg") :])
