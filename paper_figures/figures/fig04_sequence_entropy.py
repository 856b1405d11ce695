"""Figure 4: distribution of sequence entropies, training against generated."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from bridges import ks_distance
from paper_figures import style
from paper_figures.cells import stack
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 54
TITLE = "Conditional entropy of training and generated sequences (language model)"
EXPECTED = (
    "With little data both distributions lie near zero; they separate at intermediate sizes and overlap again, at "
    "positive values, once the model generalizes (arXiv 2604.26841, Fig. 4)."
)
CAPTION = (
    "Density of the sequence conditional entropy (sum over tokens, nats, network told t = 1e-5) of training sequences"
    " and of sequences generated from noise by the stochastic reverse process."
)
SEQUENCES = ("train", "generated")

tasks = language.main_tasks


def compute(ws: Workspace) -> xr.Dataset:
    def entropies(dataset_size: int, sequences: str) -> xr.Dataset:
        measured = language.Measured(ws, language.Case(language.main(ws), dataset_size, 0))
        return language.sequence_entropy(measured, sequences)

    return stack(entropies, dataset_size=language.three_sizes(ws), sequences=SEQUENCES)


def plot(ds: xr.Dataset) -> Figure:
    columns = ds.sizes["dataset_size"]
    fig, axes = style.figure(1, columns, width=3.2, height=2.7, sharex=True)
    edges = np.linspace(0, float(ds.sequence_entropy.max()) * 1.02 + 1e-9, 36)
    for ax, size in zip(axes[0], ds.dataset_size.values, strict=True):
        for name in SEQUENCES:
            values = ds.sequence_entropy.sel(dataset_size=size, sequences=name).dropna("sample")
            density, _ = np.histogram(values, edges, density=True)
            ax.stairs(density, edges, color=style.COLOURS[name], linestyle=style.LINES[name]["linestyle"], label=name,
                      fill=name == "train", alpha=0.45 if name == "train" else 1, linewidth=1.4)  # fmt: skip
        ax.set_title(f"{size} training sequences", loc="left")
        ax.set_xlabel("sequence entropy (nats)")
        ax.set_yticks([])
    axes[0, 0].set_ylabel("density")
    axes[0, 0].legend()
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for size in ds.dataset_size.values:
        train, generated = (
            ds.sequence_entropy.sel(dataset_size=size, sequences=name).dropna("sample").values for name in SEQUENCES
        )
        copied = float(ds.copied.sel(dataset_size=size, sequences="generated").mean())
        lines.append(
            f"{size} training sequences: median sequence entropy train {np.median(train):.2f}, generated "
            f"{np.median(generated):.2f} nats; largest difference of the two distribution functions "
            f"{ks_distance(train, generated):.2f}; "
            f"copies of training sequences among the generated {copied:.3f}"
        )
    return lines
