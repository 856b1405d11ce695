"""Figures 12 to 14: conditional entropy of recovered and of failed tokens, at every size of the training set."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from paper_figures.figures import fig03_token_entropy
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 56
TITLE = "Conditional entropy of tokens by what became of them, at every training-set size"
EXPECTED = (
    "At every size recovered tokens gather near zero and failed ones do not; the two overlap more as the training set "
    "grows (arXiv 2604.26841, Figs. 12 to 14, at noise t = 0.25)."
)
CAPTION = (
    "As Figure 3, at every size of the training set: density of the conditional entropy of single tokens (nats, "
    "network told t = 1e-5) in the sequences that the stochastic reverse process ended in, started from training (top)"
    " and test sequences (bottom) at noise {noise:g}, one training each. The vertical axis is logarithmic."
)

tasks = language.main_tasks


def compute(ws: Workspace) -> xr.Dataset:
    return fig03_token_entropy.densities(ws, language.sizes(ws))


def plot(ds: xr.Dataset) -> Figure:
    return fig03_token_entropy.plot(ds)


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for size in ds.dataset_size.values:
        tokens = ds.tokens.sel(dataset_size=size).sum("split")
        certain = tokens.sel(entropy=slice(0, 0.1)).sum("entropy") / tokens.sum("entropy")
        told = ", ".join(f"{name} {float(certain.sel(token_class=name)):.3f}" for name in ("recovered", "failed"))
        lines.append(f"{size} training sequences: share of tokens below 0.1 nats, {told}")
    return lines
