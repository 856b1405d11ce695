"""Whether one conditional entropy can be quoted: entropies at three times that the network is told."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from paper_figures import style
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 67
TITLE = "Conditional entropy by the time that the network is told (language model)"
EXPECTED = (
    "Entropies are quoted at t = 1e-5 (arXiv 2604.26841, App. A), which training, whose times begin at 1e-3, never "
    "meets: one number may be quoted if those at later times agree with it."
)
CAPTION = (
    "Conditional entropy in nats per token of training, test and generated sequences as they stand, the main network "
    "being told t = 1e-5, 1e-3 and 1e-2, against the size of the training set. Bands: Student's 95 % intervals over "
    "{seeds} trainings on training sets of their own (of a single one: bootstrap over sequences)."
)

tasks = language.main_tasks


def compute(ws: Workspace) -> xr.Dataset:
    network = language.main(ws)

    def entropy(measured: language.Measured, sequences: str, t: float) -> xr.Dataset:
        return ws.get(measured.entropy(sequences, t))[["mean_entropy"]]

    found = language.by_seed(ws, network, entropy, sequences=language.SEQUENCES, t=language.TIMES)
    return language.over_seeds(found).assign_attrs(seeds=language.recipes(ws)[network].seeds)


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(1, ds.sizes["sequences"], width=3.2, height=2.9, sharey=True)
    for ax, name in zip(axes[0], ds.sequences.values, strict=True):
        for t, colour, line in zip(ds.t.values, style.gradient(ds.sizes["t"]), ("-", "--", ":"), strict=True):
            values = ds.mean_entropy.sel(sequences=name, t=t)
            look = {"color": colour, "linestyle": line, "marker": style.LINES[name]["marker"], "markersize": 4}
            style.curve(ax, ds.dataset_size, values, label=f"t = {t:g}", **look)
        ax.set(xscale="log", xlabel="training sequences")
        ax.set_title(name, loc="left")
    axes[0, 0].set_ylabel("entropy (nats per token)")
    axes[0, 0].legend()
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for name in ds.sequences.values:
        values = ds.mean_entropy.sel(sequences=name, estimate="value")
        spread = abs(values - values.isel(t=0)).max("t")
        worst = int(spread.values.argmax())
        lines.append(
            f"{name} sequences: what is quoted at t = {float(ds.t[0]):g} moves by at most {float(spread[worst]):.3f} "
            f"nats per token until t = {float(ds.t[-1]):g}, at {int(ds.dataset_size[worst])} training sequences"
        )
    return lines
