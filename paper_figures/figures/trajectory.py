"""Certainty and commitment of tokens along the reverse process, and along the sweeps of a binary memory."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from paper_figures import style
from paper_figures.cells import Cell, stack
from paper_figures.measure import FOLLOWED, hierarchy, language, memories
from paper_figures.task import Task
from paper_figures.workspace import Workspace

ORDER = 68
TITLE = "From noise to memory: certainty and commitment along the dynamics"
EXPECTED = (
    "The paper shows the ends: generated sequences have low conditional entropy where the model memorizes, and more "
    "where it generalizes (arXiv 2604.26841, Figs. 4, 5). Its code measures the entropies on the way, too."
)
CAPTION = (
    "At most {sequences} sequences followed from uniform noise to their end. Left: the main network on text, by the "
    "number of training sequences, {text_steps} steps of the stochastic reverse process. Middle: the {network} on "
    "strings of the first grammar, by the number of training strings, and the exact denoiser of that grammar, "
    "{grammar_steps} steps. Right: the pseudo-likelihood memory, by its load, parallel sweeps at T = 0. Top: "
    "conditional entropy of a token given all others in the state of that moment, mean over tokens. Middle row: the "
    "same of the probability of the most probable token. Bottom: tokens that have the value that they end with and "
    "change no more: the distribution function of commit times. Bands: 95 % bootstrap intervals over sequences."
)
ROWS = {
    "mean_entropy": "entropy\n(nats per token)",
    "mean_top_probability": "top-1 probability",
    "committed": "committed tokens\n(fraction)",
}

COLUMNS = {
    "text": ("text", "training sequences", "time", "time t of the reverse process"),
    "grammar": ("grammar", "training strings", "time", "time t of the reverse process"),
    "spins": ("binary memory", "load", "step", "sweeps"),
}
"""Title, what tells systems apart, what the dynamics go along, and its name."""


def tasks(ws: Workspace) -> list[Task]:
    return [*language.followed_tasks(ws), *hierarchy.followed_tasks(ws), *memories.followed_tasks(ws)]


def compute(ws: Workspace) -> xr.Dataset:
    """By column, text, grammar and spins, the curves of `ROWS` over systems and states, and the median commit time."""
    texts = {str(case.size): language.Measured(ws, case).trajectory() for case in language.followed(ws)}
    strings = {
        case.system if case.system == hierarchy.GENERALIZATION else str(case.size): cell
        for case in hierarchy.followed(ws)
        for cell in [hierarchy.Measured(ws, case).trajectory()]
    }
    spins = {
        f"{load:g}": memories.Measured(ws, load, disorder).trajectory() for load, disorder in memories.followed(ws)
    }
    parts = [_column(ws, "text", texts), _column(ws, "grammar", strings), _column(ws, "spins", spins)]
    steps = {"text_steps": ws.preset.language.generation_steps, "grammar_steps": ws.preset.hierarchy.steps}
    return xr.merge(parts).assign_attrs(**steps, sequences=FOLLOWED, network=hierarchy.networks(ws)[0])


def _column(ws: Workspace, column: str, cells: Mapping[str, Cell]) -> xr.Dataset:
    """Of the systems in one column, against the time, or of memories, which have none, against the sweeps."""
    along, commit = ("step", "commit") if column == "spins" else ("time", "commit_time")

    def curves(system: str) -> xr.Dataset:
        found = ws.get(cells[system])
        kept = found[list(ROWS)].assign(commit=found[commit].median())
        return kept.swap_dims(step=along).drop_vars({"step", "time"} - {along})

    found = stack(curves, system=list(cells))
    return found.rename({name: f"{column}_{name}" for name in (*found.data_vars, "system", along)})


def plot(ds: xr.Dataset) -> Figure:
    fig, axes = style.figure(len(ROWS), len(COLUMNS), width=3.3, height=2.2, sharex="col")
    for shown, (column, (title, legend, along, place)) in zip(axes.T, COLUMNS.items(), strict=True):
        systems = [str(name) for name in ds[f"{column}_system"].values]
        sizes = [name for name in systems if name != hierarchy.GENERALIZATION]
        looks = dict(zip(sizes, zip(style.gradient(len(sizes)), ("-", "--", ":"), strict=False), strict=True))
        for ax, (row, unit) in zip(shown, ROWS.items(), strict=True):
            for system in systems:
                colour, line = looks.get(system, (style.BLACK, "-."))
                values = ds[f"{column}_{row}"].sel({f"{column}_system": system})
                label = system if system in looks else "exact"
                style.curve(ax, ds[f"{column}_{along}"], values, color=colour, linestyle=line, label=label)
            ax.set(ylabel=unit, ylim=(0, None if row == "mean_entropy" else 1.03))
        shown[0].set_title(title, loc="left")
        shown[-1].set_xlabel(place)
        if along == "time":
            shown[-1].set_xlim(1, 0)
            shown[-1].legend(title=legend, loc="upper left")
        else:
            shown[-1].set_xscale("symlog", linthresh=1)
            shown[-1].set_xlim(0, float(ds[f"{column}_{along}"].max()))
            shown[-1].xaxis.set_major_formatter(ScalarFormatter())
            shown[-1].legend(title=legend, loc="lower right")
    style.letters(axes)
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    lines = []
    for column, (title, legend, along, _) in COLUMNS.items():
        moment = "t = {:.2f}" if along == "time" else "sweep {:g}"
        for system in ds[f"{column}_system"].values:
            at = ds.sel({f"{column}_system": system})
            entropy = at[f"{column}_mean_entropy"]
            first, last = (style.interval(entropy.isel({f"{column}_{along}": k})) for k in (0, -1))
            which = system if system == hierarchy.GENERALIZATION else f"{legend} {system}"
            commit = moment.format(float(at[f"{column}_commit"]))
            lines.append(
                f"{title}, {which}: entropy {first} nats per token in noise and {last} at the end; half of the tokens "
                f"change no more from {commit} on"
            )
    return lines
