"""What a result needs to be traced and repeated."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

LIBRARIES = ("amtheory", "numpy", "scipy", "numba", "torch", "xarray")


def manifest(**facts: Any) -> dict[str, Any]:
    """`facts` with code version, library versions, platform and thread counts."""
    return {**facts, **code_version(), "versions": _versions(), "platform": _platform(), "threads": _threads()}


def array_hash(array: np.ndarray) -> str:
    """sha256 of an array's shape, dtype and content, first 16 hex digits."""
    array = np.ascontiguousarray(array)
    return hashlib.sha256(f"{array.shape} {array.dtype}".encode() + array.tobytes()).hexdigest()[:16]


def code_version() -> dict[str, Any]:
    """Commit of the checkout this runs from, and whether it was modified; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "modified": None if status is None else bool(status)}


def to_attribute(record: dict[str, Any]) -> str:
    """The record as the JSON text that a Dataset's attribute `manifest` holds."""
    return json.dumps(record, sort_keys=True, default=str)


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


def _threads() -> dict[str, Any]:
    counts: dict[str, Any] = {"AMTHEORY_NUM_THREADS": os.environ.get("AMTHEORY_NUM_THREADS", "1")}
    if "torch" in sys.modules:
        counts["torch"] = sys.modules["torch"].get_num_threads()
    return counts
