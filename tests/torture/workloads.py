"""What is disturbed, each the smallest of its kind: a command that goes on where it stopped, and what it ends with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import uddm.corpora.corpus
from bridges import as_system, probe, token_recovery
from paper_figures import runner
from paper_figures.cells import Cell, Cells, load
from paper_figures.presets import PRESETS, Preset
from paper_figures.report import verify
from paper_figures.workspace import Workspace
from tests.uddm.importers.published_files import save
from uddm import EmpiricalBayes, HollowMLP, HollowMLPConfig, TrainConfig, UniformProcess, train
from uddm.corpora import CharacterTokenizer, Corpus, TokenBlocks, prepare_blocks
from uddm.files import write_atomically
from uddm.importers import convert

SHAPE = HollowMLPConfig(6, length=5, hidden_dim=4, blocks=1, embed_dim=4, cond_dim=4)
DATA = torch.randint(6, (10, 5), generator=torch.Generator().manual_seed(0))
TRAINING = TrainConfig(steps=9, batch_size=4, warmup=1, checkpoint_every=2, log_every=2)
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """A command that may be interrupted.

    Attributes
    ----------
    run : the command, of a folder; the same again goes on.
    result : what it ends with, of the folder, to be compared bit for bit.
    finished : files that are kept once they are there and whole, as a pattern.
    """

    run: Callable[[Path], object]
    result: Callable[[Path], Result]
    finished: str = ""

    def kept(self, folder: Path) -> dict[Path, int]:
        """The finished parts and when they were written."""
        return {path: path.stat().st_mtime_ns for path in folder.glob(self.finished)} if self.finished else {}


def _bytes(folder: Path, *patterns: str) -> Result:
    paths = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def _values(dataset: xr.Dataset) -> Result:
    return {str(name): (variable.dims, _array(variable.values)) for name, variable in dataset.variables.items()}


def _array(values: np.ndarray) -> Any:
    return values.tolist() if values.dtype.kind == "O" else values.tobytes()


def _train(folder: Path) -> None:
    torch.manual_seed(0)
    train(HollowMLP(SHAPE), DATA, TRAINING, folder / "run", progress=None)


def _trained(folder: Path) -> Result:
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    return {**_bytes(folder, "run/model/*", "run/raw/*", "run/config.json"), "metrics": losses}


def _cell(n: int) -> Cell:
    def make() -> xr.Dataset:
        x = np.random.default_rng(n).integers(5, size=(6, 4))
        found = token_recovery(as_system(EmpiricalBayes(x, UniformProcess(5))), x, noise=[0.5], steps=2, rng=n)
        return found.drop_attrs()

    return Cell("recovery", {"n": n}, make)


def _measure(folder: Path) -> None:
    for n in range(4):
        Cells(folder, seed=0).get(_cell(n))


def _measured(folder: Path) -> Result:
    return {f"{n}": _values(load(Cells(folder, seed=0).path(_cell(n)))) for n in range(4)}


@cache
def _smallest() -> Preset:
    smoke = PRESETS["smoke"]
    recipes = {name: replace(recipe, sizes={8: 2}) for name, recipe in smoke.language.recipes.items()}
    return replace(smoke, language=replace(smoke.language, recipes=recipes, widths={}, variants={}))


def _sweep(folder: Path, jobs: int = 1) -> None:
    text = folder / "text.txt"
    if not text.exists():
        write_atomically(text, "\n\n".join(DOCUMENTS).encode())
    workspace = Workspace(folder / "results", _smallest(), corpus=(str(text),))
    runner.run(workspace, [str(Path(__file__).with_name("tiny.py"))], jobs=jobs)


def _swept(folder: Path) -> Result:
    problems = verify(folder / "results")
    return {**_values(load(folder / "results" / "data" / "tiny.nc")), "problems": problems}


@cache
def published() -> Path:
    """A published checkpoint in small."""
    import atexit
    import tempfile

    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return save(Path(folder.name) / "small.ckpt")


def _import(folder: Path) -> None:
    if not (folder / "model" / "config.json").exists():
        convert(published(), folder / "model")


def _import_into(folder: Path) -> None:
    """Into a folder that is there, as a mount is."""
    (folder / "model").mkdir(exist_ok=True)
    _import(folder)


def _imported(folder: Path) -> Result:
    return {"left": sorted(path.name for path in folder.glob(".import*"))} | _bytes(folder, "model/*")


def _probe(folder: Path) -> None:
    x, y = np.random.default_rng(0).integers(12, size=(2, 20, 8))
    model = EmpiricalBayes(x, UniformProcess(12))
    how = {"extracted": 4, "generated": 4, "draws": 1, "steps": 2}
    probe(model, suspect=x, unseen=y, folder=folder / "probe", rng=0, **how).write(folder / "probe")


def _probed(folder: Path) -> Result:
    report = json.loads((folder / "probe" / "report.json").read_text())
    return {k: v for k, v in report.items() if k not in ("record", "manifest", "checksum")}


DOCUMENTS = [
    " ".join(bytes(word).decode() for word in document)
    for document in np.random.default_rng(0).integers(97, 123, size=(24, 12, 6), dtype=np.uint8)
]


def _prepare(folder: Path) -> None:
    uddm.corpora.corpus._DOCUMENTS_IN_A_PART = 7
    prepare_blocks(Corpus("random", DOCUMENTS), CharacterTokenizer(), 10, cache_dir=folder)


def _prepared(folder: Path) -> Result:
    (directory,) = folder.glob("blocks-*")
    blocks = TokenBlocks(directory, verify=True)
    return {"sha256": blocks.sha256, "train": blocks.train().tobytes(), **_bytes(folder, "blocks-*/[!.]*")}


def _careless(folder: Path) -> None:
    """What the campaign must find: a file that is written bit by bit, and taken as it is where there is one."""
    if not (folder / "file").exists():
        with (folder / "file").open("w") as file:
            for n in range(20):
                file.write(f"{n} ")
                file.flush()


WORKS = {
    "training": Work(_train, _trained, "run/model/config.json"),
    "measurement": Work(_measure, _measured, "cells/*.nc"),
    "sweep": Work(_sweep, _swept, "results/cells/*.nc"),
    "import": Work(_import, _imported, "model/*"),
    "import into a folder": Work(_import_into, _imported),
    "probe": Work(_probe, _probed, "probe/*/*.npz"),
    "corpus": Work(_prepare, _prepared, "blocks-*/index.json"),
}
CARELESS = Work(_careless, lambda folder: _bytes(folder, "*"))
