"""The central picture twice: memorization to generalization in a language model and in a binary memory."""

from __future__ import annotations

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import style
from paper_figures.figures import am_entropy, am_recovery, fig05_average_entropy
from paper_figures.measure import language, memories
from paper_figures.task import Task
from paper_figures.workspace import Workspace

ORDER = 10
TITLE = "The transition twice: a diffusion language model and a Hopfield-type memory"
EXPECTED = (
    "Both trained by conditional likelihood alone: basins around training examples shrink, basins around unseen "
    "examples grow, the two meet, and conditional entropy leaves zero."
)
CAPTION = (
    "Left: uniform discrete diffusion language model (hollow network), against the number of training sequences. "
    "Right: pseudo-likelihood binary memory on random-features data, against the load. Top: fraction of corrupted "
    "tokens restored at noise t = 0.25. Bottom: conditional entropy in nats per token. Bands: Student's 95 % "
    "intervals over trainings on data sets of their own."
)


def tasks(ws: Workspace) -> list[Task]:
    return [*language.main_tasks(ws), *memories.tasks(ws)]


def compute(ws: Workspace) -> xr.Dataset:
    network = language.main(ws)
    rates = language.by_seed(ws, network, language.rates, split=language.SPLITS)
    recovery = language.over_seeds(rates).recovery
    entropies_of = language.by_seed(ws, network, language.mean_entropy, sequences=fig05_average_entropy.SEQUENCES)
    entropy = language.over_seeds(entropies_of).mean_entropy
    am_rates, am_entropies = am_recovery.compute(ws), am_entropy.compute(ws)
    nearest = {"noise": am_recovery.NOISE, "method": "nearest", "drop": True}
    return xr.Dataset(
        {
            "text_recovery": recovery.sel(**nearest),
            "text_entropy": entropy,
            "chance": language.chance(ws).sel(**nearest),
            "spin_recovery": am_rates.recovery.sel(
                system="pseudo-likelihood", noise=am_rates.attrs["noise"], split=["train", "test"], drop=True
            ),
            "spin_entropy": am_entropies.mean_entropy.sel(system="pseudo-likelihood", drop=True),
        }
    )


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(2, 2, width=4.2, height=2.7)
    columns = [
        ("text", ds.dataset_size, "training sequences", "language diffusion model, English text"),
        ("spin", ds.alpha, "load alpha = P/L", "pseudo-likelihood memory, random features"),
    ]
    for column, (kind, x, label, title) in enumerate(columns):
        recovery, entropy = axes[:, column]
        _curves(recovery, x, ds[f"{kind}_recovery"], "split")
        _curves(entropy, x, ds[f"{kind}_entropy"], "sequences")
        recovery.set_title(title, loc="left")
        recovery.set(ylim=(-0.02, 1.02), ylabel="corrupted tokens restored")
        entropy.set(xlabel=label, ylabel="entropy (nats per token)")
    axes[0, 0].axhline(float(ds.chance), color=style.GREY, linewidth=1)
    axes[0, 1].axhline(0.5, color=style.GREY, linewidth=1)
    axes[1, 0].legend()
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    """None of its own: its numbers are those of the figures it is drawn from."""
    return []


def _curves(ax: Axes, x: xr.DataArray, values: xr.DataArray, dim: str) -> None:
    for name in values[dim].values:
        style.curve(ax, x, values.sel({dim: name}), color=style.COLOURS[name], label=name, **style.LINES[name])
    ax.set_xscale("log")
