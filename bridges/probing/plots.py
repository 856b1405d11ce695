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
from bridges.roc import roc_curve

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
            " the dashed line. The shade is the 95 % band.",
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
    unseen, of_unseen = _measured(measured["unseen"])
    for name, side in measured.items():
        if name != "unseen":
            colour, (scores, documents) = LOOKS[name][0], _measured(side)
            curve = roc_curve(scores, unseen, documents=(documents, of_unseen))
            ax.step(curve.false_positive_rate, curve.true_positive_rate, where="post", color=colour, label=name)
            ax.fill_between(curve.false_positive_rate, curve.low, curve.high, color=colour, alpha=0.15, lw=0)
    ends = np.array([1 / len(unseen), 1])
    false = np.geomspace(*ends)
    ax.plot(false, false, "--", color="#555555", label="chance")
    ax.set(xscale="log", xlim=ends, ylim=(0, 1.02))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside upper left", ncols=4, frameon=False)
    return figure


def _measured(side: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The primary scores that there are, and their documents."""
    there = side.dropna("sample", subset=[PRIMARY])
    return there[PRIMARY].values, there.document.values


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
