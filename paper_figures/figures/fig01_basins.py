"""Figure 1: basins around training examples shrink, basins around unseen examples grow; drawn in three ways."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from bridges import TOKEN_CLASSES, token_classes
from paper_figures import style, texts
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
    "A: sequences before and after deterministic dynamics, at the smallest and the largest training set; tokens are "
    f"marked as {texts.TOLD}. B and C: fraction of all tokens equal to the original at the end, against the noise of "
    "the corruption; the dynamics take the mode of the posterior at each step and are told t = 1 (B) or the noise (C). "
    "Grey: nothing moves. D: sequences that stay whole without any corruption, the dynamics told t = 1 (left) or t = "
    "{example_noise:g} (right), as released code measures it, with random sequences as control. Bands: Student's 95 % "
    "intervals over {seeds} trainings on training sets of their own. Posterior-mode dynamics is frozen until its last "
    "updates, so this is a thresholded one-shot recall whose threshold depends on the number of steps."
)
EXAMPLE_NOISE = 0.2
EXAMPLES = 4
CHARACTERS = 80
"""Of each sequence that are drawn."""

tasks = language.main_tasks


def compute(ws: Workspace) -> xr.Dataset:
    network = language.main(ws)

    def rates(measured: language.Measured, split: str, told: str) -> xr.Dataset:
        return language.greedy(measured, split, told)[["total_recovery", "unstable_rate"]]

    def fixed(measured: language.Measured, sequences: str) -> xr.Dataset:
        return language.fixed(measured, sequences)[["fixed"]]

    def intact(dataset_size: int, split: str) -> xr.Dataset:
        run = language.greedy(language.Measured(ws, language.Case(network, dataset_size, 0)), split)
        return (run.corrupted == run.original).mean(["sample", "position"]).to_dataset(name="intact")

    def examples(example_size: int, split: str) -> xr.Dataset:
        measured = language.Measured(ws, language.Case(network, example_size, 0))
        run = language.greedy(measured, split).sel(noise=EXAMPLE_NOISE, method="nearest")
        run = run[["original", "corrupted", "final"]].isel(sample=slice(EXAMPLES)).drop_vars("noise")
        return as_text(ws, run)

    sizes = language.sizes(ws)
    dataset = xr.merge(
        [
            language.over_seeds(language.by_seed(ws, network, rates, split=language.SPLITS, told=language.TOLD)),
            language.over_seeds(language.by_seed(ws, network, fixed, sequences=language.FIXED)),
            stack(intact, dataset_size=sizes, split=language.SPLITS),
            stack(examples, example_size=[sizes[0], sizes[-1]], split=language.SPLITS),
        ]
    )
    noise = language.nearest(ws.preset.language.greedy_noise, EXAMPLE_NOISE)
    return dataset.assign_attrs(example_noise=noise, seeds=language.recipes(ws)[network].seeds)


def as_text(ws: Workspace, run: xr.Dataset) -> xr.Dataset:
    """Of `original`, `corrupted` and `final` tokens (sample, position) the text of the last two, over `stage`, and what
    became of each token."""
    original, corrupted, final = (run[name].values for name in ("original", "corrupted", "final"))
    written = [[texts.pieces(ws.tokenizer, row) for row in tokens.tolist()] for tokens in (corrupted, final)]
    classes = token_classes(original, corrupted, final)
    variables = {
        "text": (("stage", "sample", "position"), np.array(written, dtype=str)),
        "token_class": (("sample", "position"), classes),
    }
    return xr.Dataset(variables, {"stage": ["corrupted", "recovered"]})


def rows(at: xr.Dataset, stage: str) -> list[texts.Row]:
    """The sequences of `as_text` for `paper_figures.texts`."""
    names = np.array([TOKEN_CLASSES[code] for code in at.token_class.values.ravel()]).reshape(at.token_class.shape)
    if stage == "corrupted":
        names = np.where(np.isin(names, ("recovered", "failed")), texts.CORRUPTED, "stable")
    written = at.text.sel(stage=stage).values
    return [list(zip(map(str, row), map(str, looks), strict=True)) for row, looks in zip(written, names, strict=True)]


def plot(ds: xr.Dataset) -> Figure:
    fig = Figure(figsize=(10, 11), layout="constrained")
    top, *others = fig.subfigures(4, 1, height_ratios=[1, 1.2, 1.2, 1], squeeze=False).flat
    legend, panels = top.subfigures(2, 1, height_ratios=[0.12, 1], squeeze=False).flat
    texts.legend(legend.subplots(), 9.5)
    columns = [(split, stage) for split in ds.split.values for stage in ds.stage.values]
    axes = panels.subplots(ds.sizes["example_size"], len(columns), squeeze=False)
    for line, size in zip(axes, ds.example_size.values, strict=True):
        for ax, (split, stage) in zip(line, columns, strict=True):
            shown = rows(ds.sel(example_size=size, split=split), stage)
            texts.draw(ax, [texts.cut(row, CHARACTERS) for row in shown], 2.3)
            ax.set_title(f"{split}, {stage}", loc="left", fontsize=8, style="italic")
        line[0].set_title(f"{size} training sequences: {line[0].get_title(loc='left')}", loc="left", fontsize=8)
    axes[0, 0].set_title(f"A  {axes[0, 0].get_title(loc='left')}", loc="left", fontsize=8)
    for part, told, letter in zip(others, ds.told.values, "BC", strict=False):
        _basins(part, ds.sel(told=told), letter)
    _fixed(others[-1], ds)
    return fig


def _basins(part: Figure, ds: xr.Dataset, letter: str) -> None:
    axes = part.subplots(1, 2, sharey=True)
    colours = style.gradient(ds.sizes["dataset_size"])
    for ax, split, title in zip(axes, ("train", "test"), ("training", "unseen"), strict=True):
        for colour, size in zip(colours, ds.dataset_size.values, strict=True):
            values = ds.total_recovery.sel(dataset_size=size, split=split)
            style.curve(ax, ds.noise, values, color=colour, label=f"{size}", **style.LINES[split])
        intact = ds.intact.sel(split=split).mean("dataset_size")
        ax.plot(ds.noise, intact, color=style.GREY, linewidth=1, label="nothing moves")
        ax.set(xlabel="noise t of the corruption", ylim=(-0.02, 1.02))
        ax.set_title(f"{letter}  {title} sequences, {ds.told.item()}", loc="left", fontweight="bold")
    axes[0].set_ylabel("total recovery\n(fraction of tokens)")
    axes[1].legend(title="training sequences")


def _fixed(part: Figure, ds: xr.Dataset) -> None:
    axes = part.subplots(1, 2, sharey=True)
    for ax, start in zip(axes, (ds.start.values[-1], ds.attrs["example_noise"]), strict=True):
        for name in ds.sequences.values:
            look = {"color": style.GREY, "linestyle": ":", "marker": "x", "markersize": 5} if name == "random" else {
                "color": style.COLOURS[name], **style.LINES[name]}  # fmt: skip
            values = ds.fixed.sel(start=start, sequences=name)
            style.curve(ax, ds.dataset_size, values, label=name, **look)
        ax.set(xscale="log", xlabel="training sequences", ylim=(-0.02, 1.02))
        ax.set_title(f"D  no corruption, told t = {start:g}", loc="left", fontweight="bold")
    axes[0].set_ylabel("sequences that stay\n(fraction)")
    axes[1].legend()


def findings(ds: xr.Dataset) -> list[str]:
    noise, found = ds.attrs["example_noise"], []
    for told in ds.told.values:
        at = ds.sel(noise=noise, told=told)
        found += [
            f"{size} training sequences, noise {noise:g}, {told}: total recovery train "
            f"{style.interval(at.total_recovery.sel(dataset_size=size, split='train'))}, test "
            f"{style.interval(at.total_recovery.sel(dataset_size=size, split='test'))}; intact tokens altered, test "
            f"{style.interval(at.unstable_rate.sel(dataset_size=size, split='test'))}"
            for size in ds.dataset_size.values
        ]
    for size in ds.dataset_size.values[[0, -1]]:
        at = ds.fixed.sel(dataset_size=size, start=noise)
        told = ", ".join(f"{name} {style.interval(at.sel(sequences=name))}" for name in ds.sequences.values)
        found.append(f"{size} training sequences, no corruption, told t = {noise:g}: sequences that stay, {told}")
    return found
