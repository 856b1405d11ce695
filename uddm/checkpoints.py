"""Models on disk: a folder with `config.json`, `model.safetensors`, a model card and, optionally, `tokenizer.json`.

Which class a name stands for is what `uddm.denoisers.network` knows.

Nothing on a load path executes pickled code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as _load
from safetensors.torch import save as _dump
from torch import Tensor

from uddm.files import CHECKSUM, UnreadableFile, as_path, damaged, instead, read_json, to_json, write_atomically

FORMAT = 1
CARD = """---
library_name: amtheory
tags: [uniform-state-discrete-diffusion, diffusion-language-model]
---
# {model}: K = {vocab_size}, L = {length}

A uniform-state discrete diffusion language model (`uddm.{model}`, {parameters:,} parameters, {schedule} schedule).
Its logits are those of the {predicts} distribution of the clean tokens.

```python
from uddm.denoisers import {model}
model = {model}.from_pretrained("path/to/this/folder")
```
"""


class Stored(NamedTuple):
    """What a model folder holds: the name of a network, its configuration and its weights."""

    folder: Path
    name: str
    config: dict[str, Any]
    weights: dict[str, Tensor]


def save(
    folder: str | Path,
    name: str,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    parameters: int,
    tokenizer: Any = None,
) -> None:
    """Write the folder; each file is replaced atomically, `config.json` last. The card tells the `parameters`."""
    folder = as_path("folder", folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in weights.items()}
    card = CARD.format(model=name, parameters=parameters, **config)
    write_atomically(folder / "model.safetensors", dump_tensors(tensors))
    write_atomically(folder / "README.md", card.encode())
    if tokenizer is not None:
        tokenizer.save(folder / "tokenizer.json")
    write_atomically(folder / "config.json", to_json({"format": FORMAT, "model": name, **config}))


def load(path_or_repo: str | Path, revision: str | None = None) -> Stored:
    """What is in a folder, or in a hub repository of that layout.

    Raises FileNotFoundError, or UnreadableFile for weights that are not finite and for files that are damaged or of
    another kind.
    """
    folder = _local_folder(path_or_repo, revision)
    path = folder / "config.json"
    config = read_json(path)
    if (folder / "model" / "config.json").exists():
        raise ValueError(f"{folder} is a training run, whose model is in {folder / 'model'}")
    name = config.pop("model", None)
    if config.pop("format", None) != FORMAT or not isinstance(name, str):
        raise UnreadableFile(f"{path} does not describe a model in format {FORMAT}")
    weights = read_tensors(folder / "model.safetensors")
    check_finite(weights, folder / "model.safetensors")
    return Stored(folder, name, config, weights)


def check_tensors(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], source: Path) -> None:
    """UnreadableFile, naming what differs, unless `weights` of a file have the names and shapes of `own`."""
    for problem, keys in (("lacks", own.keys() - weights.keys()), ("has unexpected", weights.keys() - own.keys())):
        if keys:
            raise UnreadableFile(f"{source} {problem} {', '.join(sorted(keys))}")
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise UnreadableFile(f"{source}: {name} has shape {tuple(tensor.shape)}, not {tuple(own[name].shape)}")


def check_finite(weights: Mapping[str, Tensor], source: Path) -> None:
    """UnreadableFile naming a tensor that holds NaN or an infinity, of which no prediction could be trusted."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UnreadableFile(f"{source}: {name} holds numbers that are not finite")


def dump_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file with the checksum of names, types, shapes and numbers in its metadata."""
    header, numbers = _split(_dump(dict(tensors)))
    head = json.dumps({"__metadata__": {CHECKSUM: _checksum(header, numbers)}, **header}).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + numbers


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; UnreadableFile if it is truncated, damaged or not one."""
    content = path.read_bytes()
    try:
        tensors = _load(content)
    except SafetensorError as error:
        raise UnreadableFile(f"{path} is not a readable safetensors file{instead(content)}: {error}") from error
    header, numbers = _split(content)
    checksum = header.pop("__metadata__", {}).get(CHECKSUM)
    if checksum is not None and checksum != _checksum(header, numbers):
        raise damaged(path)
    return tensors


def _split(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """Header and numbers of a safetensors file."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), memoryview(content)[end:]


def _checksum(header: dict[str, Any], numbers: memoryview) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(numbers)
    return digest.hexdigest()


def _local_folder(path_or_repo: str | Path, revision: str | None) -> Path:
    folder = Path(path_or_repo)
    if folder.is_dir():
        return folder
    repository = str(path_or_repo)
    local = folder.parent.exists() or repository.startswith((".", "/", "~"))
    if folder.exists() or repository.count("/") != 1 or local:
        raise FileNotFoundError(f"no model folder {repository!r} (a hub repository is written owner/name)")
    from huggingface_hub import snapshot_download

    files = ["config.json", "model.safetensors", "tokenizer.json"]
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=files))
    except OSError as error:
        raise FileNotFoundError(f"no model folder {repository!r}, nor such a hub repository: {error}") from error
