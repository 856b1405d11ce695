"""Tasks: cells that are made together, in any process; those of files of one's own, too."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from paper_figures.cells import Cell
from paper_figures.workspace import Workspace

_files: dict[str, Path] = {}  # by the names of modules that no other process could import


@dataclass(frozen=True)
class Task:
    """Cells that are made one after the other in one process, since they share what is costly, such as a network.

    Parameters
    ----------
    of : a function of a module, of (workspace, argument), that gives the cells.
    argument : hashable; tells the tasks of one function apart, and is shown while they run.
    cost : expected, in steps of a language model's training.
    """

    of: Callable[[Workspace, Any], Sequence[Cell]]
    argument: Any
    cost: float

    def cells(self, ws: Workspace) -> Sequence[Cell]:
        """Its cells; nothing is computed."""
        return self.of(ws, self.argument)

    @property
    def own(self) -> bool:
        """Whether its function is of one of `from_file`, which no version of the code tells anything of."""
        return self.of.__module__ in _files

    def __str__(self) -> str:
        """In words: "language hollow network 64"; with the function, if it is not called `cells`."""
        parts = self.argument if isinstance(self.argument, tuple) else (self.argument,)
        function = [] if self.of.__name__ == "cells" else self.of.__name__.split("_")
        return " ".join([self.of.__module__.rpartition(".")[-1], *function, *map(str, parts)])

    def __reduce_ex__(self, protocol: Any) -> Any:
        """What crosses to another process; with the file, if the function is of one of `from_file`."""
        file = _files.get(self.of.__module__)
        if file is None:
            return super().__reduce_ex__(protocol)
        return _again, (file, self.of.__name__, self.argument, self.cost)


def _again(file: Path, name: str, argument: Any, cost: float) -> Task:
    return Task(getattr(from_file(file), name), argument, cost)


def from_file(path: Path) -> ModuleType:
    """The module in a file that belongs to no package, read once in a process; FileNotFoundError if there is none."""
    path = path.resolve(strict=True)
    name = f"{hashlib.sha256(str(path).encode(errors='surrogateescape')).hexdigest()[:12]}.{path.stem}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        _files[name] = path
    return sys.modules[name]
