"""The empirical-Bayes memory of random sequences beside its exact success and the capacity of the channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import amtheory
from amtheory.intervals import student
from paper_figures import style
from paper_figures.measure import theory
from paper_figures.workspace import Workspace

ORDER = 73
TITLE = "The noise at which the empirical-Bayes memory loses its sequences"
EXPECTED = (
    "A perfectly trained model that only memorizes is Bayes' rule on its training set, an exponential dense memory "
    "(arXiv 2604.26841, secs. 1 and 2). Of random sequences it retrieves one up to the noise at which log P / L is the "
    "capacity of the channel, where its posterior collapses onto that one (Lucibello and Mezard 2024)."
)
CAPTION = (
    "Empirical-Bayes denoiser of P random sequences of L tokens, {letters} letters, uniform noise t = 1 - alpha_t. A, "
    "B: at rate log P / L = {rate:g}, how often the sequence of highest posterior is the right one (A), and the mean "
    "posterior weight of the right one (B), that is how often a sample of the posterior is right. Lines: exact "
    "probabilities at finite L; dotted: the noise at which the rate is the channel's capacity. C: posterior weight at "
    "L = {length}, by rate; line: capacity of the channel, below which the posterior collapses onto the right sequence "
    "as L -> infinity; rings: noise at which the exact weight is 1/2 at this L. Bars: Student's 95 % intervals over "
    "{disorder} data sets, {noisy} noisy sequences each."
)
QUANTITIES = {"best": "right one is the best (share)", "weight": "weight of the right one"}
COLOURS, MARKS = (style.BLUE, style.VERMILION, style.BLACK, style.GREEN), "os^D"

tasks = theory.code_tasks


def compute(ws: Workspace) -> xr.Dataset:
    settings, channel = ws.preset.theory, amtheory.theory.channel
    found, exact = theory.codes(ws), theory.exact_codes(ws)
    measured = xr.Dataset({name: student(found[name], "repeat") for name in ("best", "weight")})
    exact = exact.rename({name: f"{name}_theory" for name in ("best", "weight")})
    sizes = [[theory.sequences(rate, length) for length in settings.lengths] for rate in settings.rates]
    P = xr.DataArray(sizes, {"rate": list(settings.rates), "length": list(settings.lengths)}, ("rate", "length"))
    true_rate = np.log(P) / P.length
    collapse = xr.apply_ufunc(
        lambda P, L: 1 - channel.critical_alpha(int(P), int(L), settings.letters), P, P.length, vectorize=True
    )
    half = [[_half(exact.line_weight.sel(rate=r, length=L)) for L in settings.lengths] for r in settings.rates]
    capacity = "line_noise", channel.capacity(1 - exact.line_noise.values, settings.letters)
    return measured.merge(exact).assign(
        sequences=P, true_rate=true_rate, collapse=collapse, half=(("rate", "length"), half), capacity=capacity
    ).assign_attrs(
        letters=settings.letters,
        rate=settings.rates[-1],
        length=settings.lengths[-1],
        disorder=settings.disorder,
        noisy=settings.noisy,
    )  # fmt: skip


def _half(weight: xr.DataArray) -> float:
    """The noise at which it has fallen to 1/2."""
    return float(np.interp(-0.5, -weight, weight.line_noise))


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(1, 3, width=3.4, height=3.1)
    of_rate = ds.sel(rate=ds.attrs["rate"])
    for ax, (name, label) in zip(axes[0, :2], QUANTITIES.items(), strict=True):
        for length, colour, mark in zip(ds.length.values, COLOURS, MARKS):
            at = of_rate.sel(length=length)
            value, low, high = (at[name].sel(estimate=end).values for end in ("value", "low", "high"))
            looks: dict[str, Any] = {"color": colour, "marker": mark, "markerfacecolor": "white", "markersize": 4.5}
            errors, size = np.stack([value - low, high - value]), f"L = {length}, P = {int(at.sequences)}"
            ax.errorbar(ds.noise, value, yerr=errors, linestyle="none", capsize=2, elinewidth=1, label=size, **looks)
            ax.plot(ds.line_noise, at[f"line_{name}"], color=colour)
        ax.axvline(float(of_rate.collapse[-1]), color=style.GREY, linestyle=":", linewidth=1.4)
        ax.set(xlabel="noise t", ylabel=label, ylim=(-0.02, 1.02), xlim=(0, 1))
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=ds.sizes["length"])

    plane, at = axes[0, 2], ds.sel(length=ds.attrs["length"])
    noise, rate = np.meshgrid(ds.noise, at.true_rate)
    values = at.weight.sel(estimate="value").transpose("rate", "noise")
    shown = plane.scatter(
        noise, rate, c=values, cmap="cividis", vmin=0, vmax=1, s=38, edgecolor=style.BLACK, linewidth=0.5
    )
    fig.colorbar(shown, ax=plane, label="posterior weight of the right one")
    plane.plot(ds.line_noise, ds.capacity, color=style.VERMILION)
    plane.plot(at.half, at.true_rate, "o", color=style.VERMILION, markerfacecolor="none", markersize=11)
    plane.set(xlabel="noise t", ylabel="rate log P / L (nats per token)", xlim=(0.2, 1))
    plane.set(ylim=(0, 1.25 * float(at.true_rate.max())))
    for ax, title in zip(axes.flat, ("the best", "samples", f"samples, L = {ds.attrs['length']}"), strict=True):
        ax.set_title(title, loc="left")
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for name, words in QUANTITIES.items():
        off = theory.deviation(ds[name], ds[f"{name}_theory"], ds.attrs["disorder"])
        lines.append(f"{words}: measured minus exact is furthest from 0, {off}")
    for rate in ds.rate.values:
        at = ds.sel(rate=rate)
        told = [
            f"{float(at.half.sel(length=L)) - float(at.collapse.sel(length=L)):+.3f} at L = {L}"
            for L in ds.length.values
        ]
        lines.append(f"rate {rate:g}: exact weight 1/2 at a noise above the capacity's by {', '.join(told)}")
    return lines
