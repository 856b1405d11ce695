"""Table 1: the networks, their training, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from markupsafe import Markup
from matplotlib.figure import Figure

from paper_figures import style
from paper_figures.measure import hierarchy, language
from paper_figures.measure.networks import Checkpoint, Training, parameters, training_flop
from paper_figures.presets import Published
from paper_figures.task import Task
from paper_figures.workspace import Workspace

ORDER = 50
TITLE = "The networks and their training"
EXPECTED = (
    "Tiny, small and medium transformers of width 256, 768 and 1024 and 8, 12 and 24 blocks, conditioned on sigma, of "
    "length 128 and dropout .1, trained for 1,000,000 steps of 512 sequences (arXiv 2604.26841, Table 1, App. A)."
)
CAPTION = (
    "Shape, parameters and training of each network; TFLOP: of the matrix products of all its trainings in this "
    "preset, in 1e12 operations."
)
COLUMNS = {
    "network": "network",
    "parameters": "parameters",
    "hidden_dim": "width",
    "blocks": "blocks",
    "cond_dim": "conditioning",
    "length": "length",
    "vocab_size": "vocabulary",
    "dropout": "dropout",
    "sizes": "training sequences",
    "seeds": "seeds",
    "steps": "steps",
    "batch_size": "batch",
    "learning_rate": "learning rate",
    "tflop": "TFLOP",
}


def tasks(ws: Workspace) -> list[Task]:
    """None: what networks are is known before they are trained."""
    return []


def compute(ws: Workspace) -> xr.Dataset:
    entries = {
        f"text: {name}": _of_text(ws, name) for name in (*ws.preset.language.recipes, *ws.preset.language.widths)
    }
    entries |= {f"grammar: {name}": _of_grammar(ws, name) for name in hierarchy.networks(ws)}
    values = [[_told(entry.get(column, "")) for column in COLUMNS] for entry in entries.values()]
    cells = (("system", "column"), np.array(values, dtype=str))
    flop = [float(entry.get("tflop", 0)) for entry in entries.values()]
    return xr.Dataset(
        {"entry": cells, "tflop": ("system", flop)}, {"system": list(entries), "column": list(COLUMNS.values())}
    )


def _of_text(ws: Workspace, name: str) -> dict[str, Any]:
    networks = [language.Measured(ws, case).network for case in language.cases(ws, name)]
    recipe = language.recipes(ws)[name]
    return _entry([network for network in networks if network], recipe.seeds, list(recipe.sizes)) | (
        {"steps": "as published"} if isinstance(recipe, Published) else {}
    )


def _of_grammar(ws: Workspace, name: str) -> dict[str, Any]:
    every = hierarchy.sweep(ws, name)
    networks = [hierarchy.Measured(ws, case).network for case in every]
    sizes = sorted({case.size for case in every})
    return _entry([network for network in networks if network], len({case.grammar for case in every}), sizes)


def _entry(networks: list[Training | Checkpoint], seeds: int, sizes: list[int]) -> dict[str, Any]:
    trainings = [network for network in networks if isinstance(network, Training)]
    entry = networks[0].model.to_dict() | {"network": networks[0].name, "parameters": parameters(networks[0].model)}
    entry |= {"seeds": seeds, "sizes": _range(sizes) + f" ({len(sizes)} sizes)" * (len(sizes) > 1)}
    if trainings:
        config, steps = trainings[0].config, [training.config.steps for training in trainings]
        entry |= {"batch_size": config.batch_size, "learning_rate": config.learning_rate}
        entry |= {"steps": _range(steps)}
        entry |= {"tflop": sum(training_flop(training) for training in trainings) / 1e12}
    return entry


def _range(numbers: list[int]) -> str:
    low, high = (f"{end:,}" for end in (min(numbers), max(numbers)))
    return low if low == high else f"{low} to {high}"


def _told(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def plot(ds: xr.Dataset) -> Figure:
    fig = Figure(figsize=(1.3 + 1.35 * ds.sizes["system"], 3.4), layout="constrained")
    ax = fig.subplots()
    ax.set_axis_off()
    names = [name.replace(", ", ",\n").replace(": ", ":\n") for name in ds.system.values]
    table = ax.table(
        ds.entry.values.T, rowLabels=list(ds.column.values), colLabels=names, loc="center", cellLoc="center"
    )
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    for (row, _), cell in table.get_celld().items():
        cell.set_linewidth(0.4)
        cell.set_edgecolor(style.GREY)
        cell.set_height(0.15 if row == 0 else 0.062)
    return fig


def html(ds: xr.Dataset) -> str:
    """The table as text."""
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in ("", *ds.system.values))
    rows = [
        Markup("<tr><th>{}</th>{}</tr>").format(
            column, Markup("").join(Markup("<td>{}</td>").format(value) for value in ds.entry.sel(column=column).values)
        )
        for column in ds.column.values
    ]
    return Markup("<table><tr>{}</tr>{}</table>").format(head, Markup("").join(rows))


def findings(ds: xr.Dataset) -> list[str]:
    return [f"all trainings of this table together: {float(ds.tflop.sum()):.3g} TFLOP"]
