"""Figure 5: average conditional entropies and the entropy gap."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from bridges import entropy_gap
from paper_figures import style
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 55
TITLE = "Average conditional entropy and the entropy gap (language model)"
EXPECTED = (
    "The average entropies of training and generated sequences rise with the training set; a gap opens between them "
    "and narrows again (arXiv 2604.26841, Fig. 5)."
)
CAPTION = (
    "Conditional entropy in nats per token (system told t = 1e-5) of training, test and generated sequences, for each"
    " network, and thin grey with the same line styles for the exact memorization limit on the same training sets. "
    "Last panel: the entropy gap, generated minus training. Bands: Student's 95 % intervals over {seeds} trainings on "
    "training sets of their own (of a single one: bootstrap over sequences); for the gap the two intervals added in "
    "quadrature."
)
SEQUENCES = ("train", "test", "generated")

tasks = language.tasks


def compute(ws: Workspace) -> xr.Dataset:
    dataset = language.over_systems(ws, language.systems(ws), language.mean_entropy, sequences=SEQUENCES)
    return dataset.assign_attrs(seeds=language.recipes(ws)[language.main(ws)].seeds)


def gap(entropies: xr.DataArray) -> xr.DataArray:
    """The entropy gap over the other dimensions, from a DataArray over `sequences` and `estimate`."""
    return entropy_gap(*(entropies.sel(sequences=name, drop=True) for name in ("train", "generated")))


def plot(ds: xr.Dataset) -> Figure:
    networks = [system for system in ds.system.values if system != language.LIMIT]
    fig, axes = style.figure(1, len(networks) + 1, width=3.6, height=3.2)
    difference = axes[0, -1]
    for ax, system, line in zip(axes[0], networks, ("-", "--", ":"), strict=False):
        shown = ds.mean_entropy.sel(system=system).dropna("dataset_size", how="all")
        for name in SEQUENCES:
            limit = ds.mean_entropy.sel(system=language.LIMIT, sequences=name, estimate="value")
            ax.plot(
                ds.dataset_size, limit, color=style.GREY, **{**style.LINES[name], "markersize": 2.5, "linewidth": 0.8}
            )
            values = shown.sel(sequences=name)
            style.curve(ax, shown.dataset_size, values, color=style.COLOURS[name], label=name, **style.LINES[name])
        ax.set(ylabel="conditional entropy (nats per token)", ylim=(-0.05, 1.05 * float(ds.mean_entropy.max())))
        ax.set_title(system, loc="left")
        colour = style.BLACK if system == networks[0] else style.GREY
        look = {"color": colour, "linestyle": line, "marker": "o", "markersize": 4, "label": system}
        style.curve(difference, shown.dataset_size, gap(shown), **look)
    axes[0, 0].plot([], [], color=style.GREY, linewidth=0.8, label=language.LIMIT)
    axes[0, 0].legend()
    difference.axhline(0, color=style.GREY, linewidth=1)
    difference.set(ylabel="entropy gap (nats per token)")
    difference.set_title("generated minus train", loc="left")
    difference.legend()
    for ax in axes[0]:
        ax.set(xscale="log", xlabel="training sequences")
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for system in ds.system.values:
        shown = ds.mean_entropy.sel(system=system).dropna("dataset_size", how="all")
        for size in shown.dataset_size.values:
            at = shown.sel(dataset_size=size)
            told = ", ".join(f"{name} {style.interval(at.sel(sequences=name))}" for name in SEQUENCES)
            lines.append(f"{system}, {size} training sequences: {told}; gap {style.interval(gap(at))} nats per token")
    return lines
