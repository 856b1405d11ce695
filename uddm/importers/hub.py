"""Where a checkpoint is: on this machine, or on the hub, from which it is then fetched."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from uddm.files import as_path
from uddm.importers.layouts import FOLDER_WEIGHTS, INDEX

TOKENIZERS = ("tokenizer.json", "vocab.txt")
FILES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")


def local(source: str | Path) -> tuple[Path, str | None]:
    """The file or folder, downloaded if need be, and its commit on the hub."""
    text = str(source)
    path = as_path("source", source)
    if not text.startswith("hf://") and path.exists():
        return path, None
    parts = re.fullmatch(r"(hf://)?([\w.-]+/[\w.-]+)(?:@([^/]+))?(?:/(.+))?", text)
    hub, repository, revision, inside = parts.groups() if parts else (None,) * 4
    if repository is None or not (hub or (inside is None and not text.startswith(".") and not path.parent.exists())):
        raise FileNotFoundError(
            f"no checkpoint {text!r} (on the hub: owner/name, or hf://owner/name[@revision][/path/inside])"
        )
    path = _download(text, repository, revision and unquote(revision), (inside or "").rstrip("/"))
    commits = re.findall(r"/snapshots/([^/]+)", path.as_posix())
    return path, commits[-1] if commits else None


def _download(source: str, repository: str, revision: str | None, inside: str) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        if inside.endswith(FILES):
            return Path(hf_hub_download(repository, inside, revision=revision))
        for weights in FOLDER_WEIGHTS:
            names = ("config.json", weights, weights + INDEX, "-*.".join(weights.split(".")), *TOKENIZERS)
            files = [f"{inside}/{name}".lstrip("/") for name in names]
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=files)) / inside
            if any((folder / name).exists() for name in (weights, weights + INDEX)):
                return folder
    except (OSError, EntryNotFoundError, HFValidationError) as error:
        raise FileNotFoundError(
            f"cannot fetch {source!r}: {error}. Without a network, pass the path of a downloaded copy"
        ) from error
    raise FileNotFoundError(
        f"{source!r} holds neither {' nor '.join(FOLDER_WEIGHTS)}; name a file in it, as hf://owner/name/path/file.ckpt"
    )
