"""Figure 1: basins around training examples shrink, basins around unseen examples grow."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bridges import TOKEN_CLASSES, token_classes
from paper_figures import style
from paper_figures.cells import stack
from paper_figures.measure import language
from paper_figures.workspace import Workspace

ORDER = 51
TITLE = "Basins of attraction under deterministic dynamics (language model)"
EXPECTED = (
    "With few training sequences the model restores corrupted training tokens and alters tokens of unseen sequences; "
    "with many, unseen tokens stay as they are, and the two recoveries meet (arXiv 2604.26841, Fig. 1)."
)
CAPTION = (
    "A: sequences before corruption, corrupted, and after deterministic dynamics, at the smallest and the largest "
    "training set; tokens are marked as corrupted and restored (bold green), corrupted and not restored (dotted orange"
    " box), intact but altered (vermilion box). B: fraction of all tokens equal to the original at the end, against "
    "the noise of the corruption; the dynamics are told t = 1 and take the mode of the posterior at each step. Grey: "
    "nothing moves. Bands: Student's 95 % intervals over {seeds} trainings on training sets of their own. "
    "Posterior-mode dynamics is frozen until its last updates, so this is a thresholded one-shot recall whose "
    "threshold depends on the number of steps."
)
EXAMPLE_NOISE = 0.2
EXAMPLES = 4
_LOOKS: dict[str, dict[str, Any]] = {
    "stable": {"color": style.GREY},
    "recovered": {"color": style.GREEN, "weight": "bold"},
    "failed": {
        "color": style.ORANGE,
        "bbox": {"boxstyle": "round,pad=0.05", "fc": "none", "ec": style.ORANGE, "ls": ":"},
    },
    "unstable": {"color": style.VERMILION, "bbox": {"boxstyle": "round,pad=0.05", "fc": "none", "ec": style.VERMILION}},
}

tasks = language.main_tasks


def compute(ws: Workspace) -> xr.Dataset:
    network = language.main(ws)

    def rates(measured: language.Measured, split: str) -> xr.Dataset:
        return language.greedy(measured, split)[["total_recovery", "unstable_rate"]]

    def intact(dataset_size: int, split: str) -> xr.Dataset:
        run = language.greedy(language.Measured(ws, language.Case(network, dataset_size, 0)), split)
        return (run.corrupted == run.original).mean(["sample", "position"]).to_dataset(name="intact")

    def examples(example_size: int, split: str) -> xr.Dataset:
        measured = language.Measured(ws, language.Case(network, example_size, 0))
        run = language.greedy(measured, split).sel(noise=EXAMPLE_NOISE, method="nearest")
        run = run[["original", "corrupted", "final"]].isel(sample=slice(EXAMPLES)).drop_vars("noise")
        decode = ws.tokenizer.decode
        text = [[[decode([token]) for token in row] for row in run[name].values] for name in run]
        return xr.Dataset({"text": (("stage", "sample", "position"), np.array(text, dtype=str))})

    sizes = language.sizes(ws)
    dataset = xr.merge(
        [
            language.over_seeds(language.by_seed(ws, network, rates, split=language.SPLITS)),
            stack(intact, dataset_size=sizes, split=language.SPLITS),
            stack(examples, example_size=[sizes[0], sizes[-1]], split=language.SPLITS),
        ]
    )
    nearest = min(ws.preset.language.greedy_noise, key=lambda t: abs(t - EXAMPLE_NOISE))
    facts = {"example_noise": nearest, "seeds": language.recipes(ws)[network].seeds}
    return dataset.assign_coords(stage=["original", "corrupted", "final"]).assign_attrs(facts)


def plot(ds: xr.Dataset) -> Figure:
    fig = Figure(figsize=(10, 5.8), layout="constrained")
    top, bottom = fig.subfigures(2, 1, height_ratios=[1, 1.5], squeeze=False).flat
    panels = top.subplots(1, 2)
    for ax, size in zip(panels, ds.example_size.values, strict=True):
        _texts(ax, ds.sel(example_size=size), ds.attrs["example_noise"])
        ax.set_title(f"{size} training sequences", loc="left")
    panels[0].set_title(f"A  {ds.example_size.values[0]} training sequences", loc="left", fontweight="bold")
    for left, (name, look) in enumerate(_LOOKS.items()):
        panels[0].text(20 * left, -ds.sizes["sample"] - 0.2, name, fontsize=7, family="monospace", **look)
    axes = bottom.subplots(1, 2, sharey=True)
    colours = style.gradient(ds.sizes["dataset_size"])
    for ax, split, title in zip(axes, ("train", "test"), ("B  training sequences", "unseen sequences"), strict=True):
        for colour, size in zip(colours, ds.dataset_size.values, strict=True):
            values = ds.total_recovery.sel(dataset_size=size, split=split)
            style.curve(ax, ds.noise, values, color=colour, label=f"{size}", **style.LINES[split])
        intact = ds.intact.sel(split=split).mean("dataset_size")
        ax.plot(ds.noise, intact, color=style.GREY, linewidth=1, label="nothing moves")
        ax.set(xlabel="noise t of the corruption", ylim=(-0.02, 1.02))
        ax.set_title(title, loc="left", fontweight="bold")
    axes[0].set_ylabel("total recovery (fraction of tokens)")
    axes[1].legend(title="training sequences")
    return fig


def findings(ds: xr.Dataset) -> list[str]:
    sizes = ds.dataset_size.values
    noise = float(ds.noise.sel(noise=EXAMPLE_NOISE, method="nearest"))
    at = ds.sel(noise=noise)
    return [
        f"{size} training sequences, noise {noise:g}: total recovery train "
        f"{style.interval(at.total_recovery.sel(dataset_size=size, split='train'))}, test "
        f"{style.interval(at.total_recovery.sel(dataset_size=size, split='test'))}; intact tokens altered, test "
        f"{style.interval(at.unstable_rate.sel(dataset_size=size, split='test'))}"
        for size in sizes
    ]


def _texts(ax: Axes, ds: xr.Dataset, noise: float) -> None:
    """Original, corrupted and final sequences, in fixed-width letters on a grid."""
    ax.set_axis_off()
    length, samples = ds.sizes["position"], ds.sizes["sample"]
    columns = [(split, stage) for split in ds.split.values for stage in ("corrupted", "final")]
    width = length + 3
    ax.set(xlim=(0, width * len(columns)), ylim=(-samples - 0.6, 1.4))
    for column, (split, stage) in enumerate(columns):
        left = column * width
        heading = {"corrupted": f"{split}, noise {noise:g}", "final": "recovered"}[stage]
        ax.text(left, 0.7, heading, fontsize=7, style="italic")
        at = ds.text.sel(split=split)
        original, corrupted, final = (at.sel(stage=name).values for name in ("original", "corrupted", "final"))
        classes = token_classes(original, corrupted, final)
        shown = {"corrupted": corrupted, "final": final}[stage]
        for row, position in np.ndindex(samples, length):
            character = str(shown[row, position])
            if stage == "corrupted":
                kept = shown[row, position] == original[row, position]
                look: dict[str, Any] = {"color": style.GREY} if kept else {"weight": "bold"}
            else:
                look = dict(_LOOKS[TOKEN_CLASSES[classes[row, position]]])
            box = look.pop("bbox", None)
            if box:  # one of its own for each, so that neighbours do not overlap
                corner = (left + position - 0.44, -row - 0.12)
                ax.add_patch(Rectangle(corner, 0.88, 0.42, fill=False, ec=box["ec"], ls=box.get("ls", "-"), lw=0.9))
            character = "·" if character == " " else character
            ax.text(left + position, -row, character, family="monospace", fontsize=8, ha="center", **look)
