"""Parts of a probe that are kept while it runs, so that a run that ends early goes on where it was."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from uddm.files import UnreadableFile, read_sealed, sealed, write_atomically

Part = dict[str, np.ndarray]


class Parts:
    """Arrays by name, each part in a file of its own under a hash of all that determines it.

    Parameters
    ----------
    folder : of the files, made when there is one to write; None keeps nothing
    key : what determines all parts, ready for JSON
    """

    def __init__(self, folder: Path | None, key: Mapping[str, Any]):
        text = json.dumps(key, sort_keys=True, default=str)
        self.folder = folder and folder / hashlib.sha256(text.encode()).hexdigest()[:12]

    def get(self, name: str, make: Callable[[], Part]) -> Part:
        """The part of that name, read or made; a damaged one is made again, and said so."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.npz"
        try:
            return _read(path)
        except FileNotFoundError:
            pass
        except UnreadableFile as error:
            print(f"{error}; it is made again", file=sys.stderr, flush=True)
        part = make()
        content = BytesIO()
        np.savez(content, allow_pickle=False, **part)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, sealed(content.getvalue()))
        return part


def _read(path: Path) -> Part:
    """UnreadableFile for anything that this class did not write."""
    content = read_sealed(path)
    try:
        with np.load(BytesIO(content), allow_pickle=False) as stored:
            if sum(member.file_size for member in stored.zip.infolist()) > len(content):
                raise UnreadableFile(f"{path} is none of ours: it is compressed")
            return dict(stored)
    except UnreadableFile:
        raise
    except Exception as error:  # whatever numpy and zipfile say of a file that only looks like ours
        raise UnreadableFile(f"{path} holds no arrays: {error}") from error
