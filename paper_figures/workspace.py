"""A results folder: cached cells, figure data, figures, report.

A cell is one computation kept on disk under a hash of everything that determines it. Interrupt a run at any time and
start it again: finished cells are read back, and an unfinished training goes on from its last saved state.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from paper_figures.presets import PRESETS, Preset
from uddm import TrainConfig, train
from uddm.corpora import TokenBlocks, Tokenizer, load_corpus, prepare_blocks, tokenizer_from_name
from uddm.denoisers import Network
from uddm.files import UnreadableFile, as_path, read_sealed, sealed, write_atomically

RESULTS = 3
"""Version of what the cells hold: raise it when a change of the code alters results."""

Task = tuple[Callable[..., None], Any, float]
"""A function of (workspace, argument, screen line) that makes cells, its argument, and the expected cost."""


class Workspace:
    """The results of one preset on one corpus in one folder.

    Parameters
    ----------
    folder : created if needed
    preset : a key of `PRESETS`
    corpus : "python-docs", or paths of text files
    seed : of the data split, initial weights, training and measurements
    """

    def __init__(self, folder: str | Path, preset: str, *, corpus: Sequence[str] = ("python-docs",), seed: int = 0):
        if preset not in PRESETS:
            raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}, got {preset!r}")
        self.folder, self.name, self.seed = as_path("folder", folder), preset, seed
        self.corpus = tuple(corpus)
        self.preset: Preset = PRESETS[preset]

    def prepare(self) -> None:
        """Read the corpus, the first time anything asks for it, and make the folder."""
        _ = self.blocks

    @cached_property
    def _text(self) -> tuple[Tokenizer, TokenBlocks]:
        language = self.preset.language
        corpus = load_corpus(self.corpus)
        tokenizer = tokenizer_from_name(language.tokenizer, corpus)
        (self.folder / "cells").mkdir(parents=True, exist_ok=True)
        blocks = prepare_blocks(corpus, tokenizer, language.length, cache_dir=self.folder / "corpus", seed=self.seed)
        needed = max(size for recipe in language.recipes.values() for size in recipe.sizes)
        if blocks.train_size < needed:
            raise ValueError(
                f"`corpus` gives {blocks.train_size} training sequences of length {language.length}, "
                f"but preset {self.name!r} needs {needed}"
            )
        return tokenizer, blocks

    @property
    def tokenizer(self) -> Tokenizer:
        return self._text[0]

    @property
    def blocks(self) -> TokenBlocks:
        """The corpus as token blocks."""
        return self._text[1]

    def place(self, name: str, key: dict[str, Any]) -> Path:
        """Where the cell of that name and key lives, without suffix."""
        text = json.dumps({"results": RESULTS, "seed": self.seed, **key}, sort_keys=True)
        return self.folder / "cells" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def cell(self, name: str, key: dict[str, Any], make: Callable[[], xr.Dataset]) -> xr.Dataset:
        """The Dataset kept for that key, made now if it is missing or damaged."""
        place = self.place(name, key)
        path = place.with_name(f"{place.name}.nc")
        try:
            return load(path)
        except FileNotFoundError:
            pass
        except UnreadableFile as error:
            print(f"{error}; it is made again", file=sys.stderr, flush=True)
        save(make(), path)
        return load(path)

    def trained(
        self, name: str, key: dict[str, Any], model: Network, data: np.ndarray, config: TrainConfig, **options: Any
    ) -> Network:
        """`model` as `uddm.train` leaves it in the folder kept for that key: read, resumed or trained."""
        place = self.place(name, key)
        try:
            return train(model, data, config, place, **options)
        except UnreadableFile as error:
            raise UnreadableFile(f"{error}; delete the folder {place} to train it again") from error


def save(dataset: xr.Dataset, path: Path) -> None:
    """Write netCDF-4 with its checksum at the end, replacing the file only once it is whole."""
    write_atomically(path, sealed(bytes(dataset.to_netcdf(engine="h5netcdf"))))


def load(path: Path) -> xr.Dataset:
    """Read a Dataset into memory; UnreadableFile, naming it, if it is damaged or none of ours."""
    try:
        content = read_sealed(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no results at {path}") from error
    return xr.load_dataset(BytesIO(content), engine="h5netcdf")


def stack(make: Callable[..., xr.Dataset], **axes: Sequence[Any]) -> xr.Dataset:
    """`make(a=..., b=...)` over the grid of the given axes, as one Dataset with these dimensions in front."""
    (name, labels), *rest = axes.items()
    parts = [stack(partial(make, **{name: label}), **dict(rest)) if rest else make(**{name: label}) for label in labels]
    label = xr.DataArray(np.asarray(labels), dims=name, name=name)
    return xr.concat(parts, label, join="outer", combine_attrs="drop")


def is_row(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Whether each row of x is a row of the table."""
    rows = {row.tobytes() for row in table}
    return np.array([row.tobytes() in rows for row in x])


def slug(name: str) -> str:
    """A name fit for a file."""
    return name.replace(" ", "-")
