"""What a result needs to be traced and repeated."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from threadpoolctl import ThreadpoolController

LIBRARIES = ("amtheory", "numpy", "scipy", "numba", "torch", "xarray")


def manifest(**facts: Any) -> dict[str, Any]:
    """The record of a result: what is given, with code version, library versions, platform and thread counts.

    Parameters
    ----------
    facts : keywords; by custom ``measurement``, the function's name, ``seed``, its arguments, ``system``, what its
        `describe` says, ``input``, the `array_hash` of the sequences, and ``seconds``

    Returns
    -------
    dict of the facts and ``commit``, ``modified``, ``versions``, ``platform``, ``threads``

    Examples
    --------
    >>> from bridges.manifest import manifest
    >>> sorted(manifest(measurement="fixed_points", seed=0))
    ['commit', 'measurement', 'modified', 'platform', 'seed', 'threads', 'versions']
    """
    return {**facts, **code_version(), "versions": _versions(), "platform": _platform(), "threads": _threads()}


def array_hash(array: Shaped[np.ndarray, " ..."]) -> str:
    """sha256 of the shape, dtype and content of `array`, first 16 hex digits."""
    array = np.ascontiguousarray(array)
    return hashlib.sha256(f"{array.shape} {array.dtype}".encode() + array.tobytes()).hexdigest()[:16]


@cache
def code_version() -> dict[str, Any]:
    """Commit of the checkout this runs from, and whether it was modified; None where these files are in none.

    Asked once a process, without a lock on the checkout or a change to it.
    """
    root = Path(__file__).resolve().parent.parent
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> str | None:
        command = ["git", "--no-optional-locks", "-C", str(root), *words]
        try:
            done = subprocess.run(command, capture_output=True, check=True, env=own)
        except (OSError, subprocess.CalledProcessError):
            return None
        return os.fsdecode(done.stdout).strip()

    top = git("rev-parse", "--show-toplevel")
    tracked = git("ls-files", "--error-unmatch", Path(__file__).resolve().relative_to(root).as_posix())
    if top is None or tracked is None or Path(top).resolve() != root:  # a repository of somebody else around us
        return {"commit": None, "modified": None}
    return {"commit": git("rev-parse", "HEAD"), "modified": git("status", "--porcelain", "--untracked-files=no") != ""}


def to_attribute(record: dict[str, Any]) -> str:
    """The dict `record` as the JSON text of a Dataset's attribute `manifest`; what JSON lacks becomes its ``str``."""
    return json.dumps(record, sort_keys=True, default=str)


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _platform() -> dict[str, Any]:
    return {"system": platform.platform(), "machine": platform.machine(), "cores": os.cpu_count()}


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """The loaded ones, looked for again where more modules are imported than the last time: that takes longer than all
    else that a record holds."""
    return ThreadpoolController()


def _threads() -> dict[str, Any]:
    """Of our kernels, and of the libraries that are loaded by now, torch's among them; not where their files lie."""
    libraries = [
        {k: v for k, v in library.items() if k != "filepath"} for library in _libraries(len(sys.modules)).info()
    ]
    return {
        "AMTHEORY_NUM_THREADS": os.environ.get("AMTHEORY_NUM_THREADS", "1"),
        "libraries": sorted(libraries, key=json.dumps),  # which are found in any order
    }
