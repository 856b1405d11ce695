"""Cells: computations kept on disk, each under a hash of everything that determines its numbers.

Interrupt a run at any time and start it again: finished cells are read back, and an unfinished training goes on from
its last saved state.
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import xarray as xr

import uddm
from uddm.files import UnreadableFile, read_sealed, sealed, write_atomically

if TYPE_CHECKING:
    from uddm import TrainConfig
    from uddm.denoisers import Network

RESULTS = 8
"""Version of what the cells hold: raise it when a change of the code alters results."""

Engine = Literal["h5netcdf", "scipy"]
NETCDF4: Engine = "h5netcdf"
CLASSIC: Engine = "scipy"
"""Of netCDF files. Cells are many and small, and classic: written and read in a twentieth of the time."""
INFLATED = 8
"""Bytes in memory for each in a cell's file, at most: letters take 4, and cells are not compressed."""


class Cell(NamedTuple):
    """One computation as a value: nothing is computed before a store is asked for it.

    Parameters
    ----------
    name : what its file is called, before the hash; for people who look.
    key : everything that determines the numbers besides the seed, ready for JSON. What is only drawn, names in figures
        or which curves are shown, and what determines other cells alone, does not belong here.
    make : gives the Dataset; may read other cells.
    """

    name: str
    key: dict[str, Any]
    make: Callable[[], xr.Dataset]


class Cells:
    """The cells of one seed, in the folder `cells` of a results folder.

    Attributes
    ----------
    folder : of the results.
    seed : of everything random.
    line : of the screen, for the progress bar of a training; None for no bar.
    device : on which networks are trained and measured.
    """

    line: int | None = None
    device: str = "cpu"

    def __init__(self, folder: Path, seed: int):
        self.folder, self.seed = folder, seed

    def on_line(self, line: int | None) -> Self:
        """The same cells, seen by who writes on that line of the screen."""
        other = copy.copy(self)
        other.line = line
        return other

    def keyed_seed(self, *keys: int | str) -> int:
        """A seed for one purpose (`uddm.streams.keyed_seed`)."""
        from uddm.streams import keyed_seed

        return keyed_seed(self.seed, *keys)

    def place(self, name: str, key: dict[str, Any]) -> Path:
        """Where what has that name and key lives, without suffix."""
        text = json.dumps({"results": RESULTS, "seed": self.seed, **key}, sort_keys=True)
        return self.folder / "cells" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def path(self, cell: Cell) -> Path:
        """The file of a cell, whether there is one or not."""
        place = self.place(cell.name, cell.key)
        return place.with_name(f"{place.name}.nc")

    def holds(self, cell: Cell) -> bool:
        """Whether its file is there, and undamaged."""
        try:
            read_sealed(self.path(cell))
        except (FileNotFoundError, UnreadableFile):
            return False
        return True

    def get(self, cell: Cell) -> xr.Dataset:
        """The Dataset of the cell, made now if it is missing or damaged."""
        path = self.path(cell)
        try:
            return _read(path, *_state(path)).copy(deep=False)
        except FileNotFoundError:
            pass
        except UnreadableFile as error:
            print(f"{error}; it is made again", file=sys.stderr, flush=True)
        dataset = cell.make()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save(dataset, path, CLASSIC)
        except ValueError:  # what it cannot hold, as integers beyond 32 bits
            save(dataset, path)
        return _read(path, *_state(path)).copy(deep=False)

    def trained(
        self,
        name: str,
        key: dict[str, Any],
        model: Network,
        data: np.ndarray,
        config: TrainConfig,
        weights: Literal["ema", "raw"],
        **options: Any,
    ) -> Network:
        """`model` as `uddm.train` leaves it in the folder kept for that key: read, resumed or trained; with averaged
        weights, or those of the last step."""
        place = self.place(name, key)
        try:
            averaged = uddm.train(model, data, config, place, progress=self.line, device=self.device, **options)
            if weights == "ema":
                return averaged
            return type(model).from_pretrained(place / "raw").to(averaged.device)
        except UnreadableFile as error:
            raise UnreadableFile(f"{error}; delete the folder {place} to train it again") from error


def save(dataset: xr.Dataset, path: Path, engine: Engine = NETCDF4) -> None:
    """Write netCDF with its checksum at the end, replacing the file only once it is whole."""
    write_atomically(path, as_bytes(dataset, engine))


def as_bytes(dataset: xr.Dataset, engine: Engine = NETCDF4) -> bytes:
    """What `save` writes."""
    return sealed(bytes(dataset.to_netcdf(engine=engine)))


def load(path: Path) -> xr.Dataset:
    """Read a Dataset into memory; UnreadableFile, naming it, if it is damaged or none of ours."""
    try:
        content = read_sealed(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no results at {path}") from error
    try:
        with xr.open_dataset(BytesIO(content)) as dataset:
            if dataset.nbytes > INFLATED * len(content):
                raise UnreadableFile(f"{path} is none of ours: it is compressed")
            return dataset.load()
    except UnreadableFile:
        raise
    except Exception as error:  # whatever the netCDF libraries say of a file that only looks like ours
        raise UnreadableFile(f"{path} is not a readable netCDF file: {error}") from error


def _state(path: Path) -> tuple[int, ...]:
    """What tells a file from one that replaced it, or that was altered."""
    about = path.stat()
    return about.st_ino, about.st_mtime_ns, about.st_size


@lru_cache(maxsize=1024)
def _read(path: Path, *state: int) -> xr.Dataset:
    """A cell in a state, for all figures and claims that ask for it: its values are read-only."""
    dataset = _widened(load(path))
    for variable in dataset.data_vars.values():
        variable.values.flags.writeable = False
    return dataset


def _widened(dataset: xr.Dataset) -> xr.Dataset:
    """With the 64-bit integers that classic netCDF does not have."""
    variables = {name: variable.to_base_variable() for name, variable in dataset.variables.items()}
    return dataset.assign({name: v.astype(np.int64) for name, v in variables.items() if v.dtype == np.int32})


def stack(make: Callable[..., xr.Dataset], **axes: Sequence[Any]) -> xr.Dataset:
    """`make(a=..., b=...)` over the grid of the given axes, as one Dataset with these dimensions in front."""
    (name, labels), *rest = axes.items()
    parts = [stack(partial(make, **{name: label}), **dict(rest)) if rest else make(**{name: label}) for label in labels]
    label = xr.DataArray(np.asarray(labels), dims=name, name=name)
    return xr.concat(parts, label, join="outer", combine_attrs="drop")


def joined(parts: Sequence[xr.Dataset], dim: str) -> xr.Dataset:
    """Datasets that have the dimension already, and are otherwise alike, one after the other along it."""
    how: Any = {"data_vars": "minimal", "coords": "minimal", "compat": "override", "join": "exact"}
    return xr.concat(parts, dim, combine_attrs="drop", **how)
