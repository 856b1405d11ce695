"""Figure 3 for binary memories and for a hierarchical language."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from paper_figures import style
from paper_figures.cells import stack
from paper_figures.evidence import GRAMMAR, SPINS
from paper_figures.figures import fig03_token_entropy
from paper_figures.measure import hierarchy, memories, nearest, three
from paper_figures.task import Task
from paper_figures.workspace import Workspace

ORDER = 74
TITLE = "Conditional entropy of tokens by what became of them (binary memory, hierarchical language)"
EXPECTED = (
    "As for the language model: recovered tokens have near-zero conditional entropy, failed ones a broad distribution "
    "at higher entropy (arXiv 2604.26841, Fig. 3, for text alone)."
)
CAPTION = (
    "As Figure 3: density of the conditional entropy of single tokens (nats) in the sequences that recovery ended in, "
    "for the smallest, a middle and the largest training set. Upper two rows: pseudo-likelihood memory of {length} "
    "spins on random-features data, retrieval at T = 0 from noise {spin_noise:g}; a spin's entropy is at most log 2. "
    "Lower two rows: the {network} on strings of a Random Hierarchy Model of {symbols} symbols, the stochastic reverse "
    "process from noise {string_noise:g}. Recovered: corrupted and restored; failed: corrupted and not restored. One "
    "training each; the vertical axes are logarithmic."
)
_WHAT = {SPINS: "patterns", GRAMMAR: "strings"}


def tasks(ws: Workspace) -> list[Task]:
    return [*memories.tasks(ws), *hierarchy.main_tasks(ws)]


def compute(ws: Workspace) -> xr.Dataset:
    settings, symbols = ws.preset.memories, ws.preset.hierarchy.grammar["symbols"]
    networks = {case.size: case for case in hierarchy.sweep(ws, hierarchy.networks(ws)[0]) if case.grammar == 0}

    def of_spins(dataset_size: int, split: str) -> xr.Dataset:
        return fig03_token_entropy.counts(ws.get(patterns[dataset_size].classes(split)), 2)

    def of_strings(dataset_size: int, split: str) -> xr.Dataset:
        cell = hierarchy.Measured(ws, networks[dataset_size]).classes(split)
        return fig03_token_entropy.counts(ws.get(cell), symbols)

    measured = [memories.Measured(ws, load, 0) for load in three(memories.loads(ws))]
    patterns = {round(each.load * settings.length): each for each in measured}
    parts = {
        SPINS: stack(of_spins, dataset_size=list(patterns), split=hierarchy.SPLITS),
        GRAMMAR: stack(of_strings, dataset_size=three(list(networks)), split=hierarchy.SPLITS),
    }
    ds = xr.concat(list(parts.values()), xr.Variable("system", list(parts)), join="outer")
    return ds.assign_attrs(
        length=settings.length,
        spin_noise=nearest(settings.noise),
        network=hierarchy.networks(ws)[0],
        symbols=symbols,
        string_noise=ws.preset.hierarchy.noise,
    )


def plot(ds: xr.Dataset) -> Figure:
    parts = [_part(ds, system) for system in _WHAT]
    columns = max(part.sizes["dataset_size"] for part in parts)
    fig, axes = style.figure(4, columns, width=3.2, height=2.1, sharex="row", sharey="row")
    for rows, part, (system, what) in zip((axes[:2], axes[2:]), parts, _WHAT.items(), strict=True):
        drawn = part.sizes["dataset_size"]
        fig03_token_entropy.draw(rows[:, :drawn], part, what)
        rows[0, 0].set_title(f"{system}, {rows[0, 0].get_title(loc='left')}", loc="left")
        for ax in rows[:, drawn:].flat:
            ax.set_visible(False)
    return fig


def _part(ds: xr.Dataset, system: str) -> xr.Dataset:
    """One system's, at its own sizes and in its own bins, as Figure 3 has them."""
    part = ds.sel(system=system, drop=True)
    return part.dropna("dataset_size", how="all").dropna("entropy", how="all", subset=["tokens"])


def findings(ds: xr.Dataset) -> list[str]:
    return [
        f"{system}, {line}"
        for system, what in _WHAT.items()
        for line in fig03_token_entropy.findings(_part(ds, system), what)
    ]
