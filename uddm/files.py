"""Crash-safe files and the cache folder."""

import contextlib
import os
import secrets
from pathlib import Path


def default_cache_dir() -> Path:
    """The folder named by the environment variable UDDM_CACHE, else ~/.cache/uddm."""
    return Path(os.environ.get("UDDM_CACHE") or Path.home() / ".cache" / "uddm")


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` so that after a crash `path` holds either the old content or all of the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
