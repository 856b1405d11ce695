"""Models on disk: a folder with `config.json`, `model.safetensors`, a model card and, optionally, `tokenizer.json`.

Which class a name stands for is what `uddm.denoisers.network` knows.

Nothing on a load path executes pickled code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from uddm._validation import check_text
from uddm.choices import WeightType
from uddm.files import CHECKSUM, UnreadableFile, as_path, damaged, instead, read_json, to_json, write_atomically

FORMAT = 1
HALF = (torch.float16, torch.bfloat16)
PIECE = 2**16  # numbers that are in memory twice while their type is changed; a larger piece would leave holes
ORIGIN = "import.json"
WEIGHTS = "model.safetensors"
LARGEST_HEADER = 2**24
"""Bytes of the header of a safetensors file, at most: a hundred for each tensor, and parsed thirty times as many."""
_NAMES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"},
}
_TYPES = {name: dtype for dtype, name in _NAMES.items()}
CARD = """---
library_name: amtheory
tags: [{kind}-discrete-diffusion, diffusion-language-model]
---
# {model}: K = {vocab_size}, L = {length}

A {kind} discrete diffusion language model (`uddm.{model}`, {parameters:,} parameters, {schedule} schedule).
Its logits are those of the {predicts} distribution of the clean tokens.

```python
from uddm.denoisers import {model}
model = {model}.from_pretrained("path/to/this/folder")
```
"""


class Stored(NamedTuple):
    """What a model folder holds: the name of a network, its configuration, its weights, as tensors without numbers, and
    where these come from."""

    folder: Path
    name: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    origin: dict[str, Any] | None

    @property
    def path(self) -> Path:
        """The file of the weights."""
        return self.folder / WEIGHTS

    def weights(self, dtype: WeightType = "float32") -> dict[str, Tensor]:
        """Their numbers, each once in memory; UnreadableFile if the file is damaged or they are not finite."""
        weights = read_tensors(self.path, dtype)
        check_finite(weights, self.path)
        return weights


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
    if tokenizer is not None and not callable(getattr(tokenizer, "save", None)):
        raise TypeError(f"`tokenizer` must be a Tokenizer, got {type(tokenizer).__name__}")
    folder.mkdir(parents=True, exist_ok=True)
    noise = config.get("noise", "uniform")
    kind = {"uniform": "uniform-state"}.get(noise, noise)
    card = CARD.format(model=name, parameters=parameters, kind=kind, **config)
    write_atomically(folder / WEIGHTS, dump_tensors(weights))
    write_atomically(folder / "README.md", card.encode())
    if tokenizer is not None:
        tokenizer.save(folder / "tokenizer.json")
    write_atomically(folder / "config.json", to_json({"format": FORMAT, "model": name, **config}))


def load(path_or_repo: str | Path, revision: str | None = None) -> Stored:
    """What is in a folder, or in a hub repository of that layout; the numbers are not read yet.

    Raises FileNotFoundError, or UnreadableFile for files that are damaged or of another kind.
    """
    if revision is not None:
        check_text("revision", revision)
    folder = _local_folder(path_or_repo, revision)
    path = folder / "config.json"
    config = read_json(path)
    if (folder / "model" / "config.json").exists():
        raise UnreadableFile(f"{folder} is a training run, whose model is in {folder / 'model'}")
    name = config.pop("model", None)
    if config.pop("format", None) != FORMAT or not isinstance(name, str):
        raise UnreadableFile(f"{path} does not describe a model in format {FORMAT}")
    return Stored(folder, name, config, _without_numbers(folder / WEIGHTS), _origin(folder))


def _origin(folder: Path) -> dict[str, Any] | None:
    """What the record of an import says, if the weights are still those that were imported."""
    if not (folder / ORIGIN).exists():
        return None
    record = read_json(folder / ORIGIN)
    checksum = stored_checksum(folder / WEIGHTS)
    return record.get("origin") if checksum is not None and checksum == record.get("model_checksum") else None


def stored_checksum(path: Path) -> str | None:
    """The checksum that a safetensors file of ours says it has."""
    with path.open("rb") as file:
        return read_header(file).get("__metadata__", {}).get(CHECKSUM)


def owned(tensor: Tensor, dtype: WeightType | None, *, copy: bool = True) -> Tensor:
    """A view of a file in memory of its own: as it is, or its floating-point numbers as float32, unless half ones are
    to stay as "stored". Without `copy`, the tensor itself if it is so already."""
    return tensor.to(_kept(tensor.dtype, dtype), copy=copy, memory_format=torch.contiguous_format)


def _kept(stored: torch.dtype, dtype: WeightType | None) -> torch.dtype:
    """What numbers of a stored type are made."""
    keep = dtype is None or not stored.is_floating_point or (dtype == "stored" and stored in HALF)
    return stored if keep else torch.float32


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
        if tensor.is_floating_point() and tensor.numel():
            extremes = torch.stack(torch.aminmax(tensor))  # NaN if any is, and no second tensor of that size
            if not bool(torch.isfinite(extremes).all()):
                raise UnreadableFile(f"{source}: {name} holds numbers that are not finite")


def dump_tensors(tensors: Mapping[str, Tensor]) -> list[bytes | memoryview]:
    """A safetensors file, in pieces, with the checksum of names, types, shapes and numbers in its metadata."""
    header: dict[str, Any] = {}
    numbers, end = [], 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):  # so that all are aligned
        tensor = tensors[name].detach().cpu().contiguous()
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        numbers.append(tensor.reshape(-1).view(torch.uint8).numpy().data)
    digest = _digest(header)
    for piece in numbers:
        digest.update(piece)
    head = json.dumps({"__metadata__": {CHECKSUM: digest.hexdigest()}, **header}).encode()
    head += b" " * (-len(head) % 8)
    return [len(head).to_bytes(8, "little") + head, *numbers]


def read_tensors(path: Path, dtype: WeightType | None = None) -> dict[str, Tensor]:
    """Tensors of a safetensors file, `owned`; UnreadableFile if it is truncated, damaged or not one.

    Read one after the other: each number is in memory once.
    """
    described, tensors = _without_numbers(path), {}
    with path.open("rb") as file:
        header = read_header(file)
        checksum = header.pop("__metadata__", {}).get(CHECKSUM)
        digest = _digest(header)
        for name in sorted(header, key=lambda name: header[name]["data_offsets"]):
            tensors[name] = read_numbers(file, described[name].shape, described[name].dtype, dtype, digest)
    if checksum is not None and checksum != digest.hexdigest():
        raise damaged(path)
    return tensors


def _without_numbers(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file that is whole, as its header has them: they take no memory."""
    check_safetensors(path)
    with path.open("rb") as file:
        header = read_header(file)
    tensors = {}
    for name in header.keys() - {"__metadata__"}:
        stored, shape = header[name]["dtype"], header[name]["shape"]
        if stored not in _TYPES:
            raise UnreadableFile(f"{path}: {name} is of type {stored}, which is not read")
        try:
            tensors[name] = torch.empty(shape, dtype=_TYPES[stored], device="meta")
        except RuntimeError as error:
            raise UnreadableFile(f"{path}: {name} has shape {tuple(shape)}, which no tensor has") from error
    return tensors


def check_safetensors(path: Path) -> None:
    """UnreadableFile unless header and size of a safetensors file are as they should be; a header of more than
    LARGEST_HEADER bytes is not parsed."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if LARGEST_HEADER < length <= path.stat().st_size - 8:
        raise UnreadableFile(f"{path} is no file of weights: its header has more than {LARGEST_HEADER:,} bytes")
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        with path.open("rb") as file:
            other = instead(file.read(512))
        raise UnreadableFile(f"{path} is not a readable safetensors file{other}: {error}") from error


def read_numbers(
    file: BufferedReader,
    shape: Sequence[int],
    stored: torch.dtype,
    dtype: WeightType | None = None,
    digest: hashlib._Hash | None = None,
) -> Tensor:
    """The tensor that comes next in an open file, of the type of `owned`, piece by piece; `digest` has its bytes."""
    numbers = torch.empty(tuple(shape), dtype=_kept(stored, dtype))
    flat = numbers.reshape(-1)
    piece = flat if numbers.dtype == stored else torch.empty(min(len(flat), PIECE), dtype=stored)
    for start in range(0, len(flat), len(piece) or 1):
        part = piece[: len(flat) - start]
        content = part.view(torch.uint8).numpy().data
        file.readinto(content)
        if digest:
            digest.update(content)
        if part.dtype != flat.dtype:
            flat[start : start + len(part)] = part
    return numbers


def read_header(file: BinaryIO) -> dict[str, Any]:
    """Header of an open safetensors file, whose numbers are then to be read."""
    return json.loads(file.read(int.from_bytes(file.read(8), "little")))


def _digest(header: dict[str, Any]) -> hashlib._Hash:
    """The checksum of a header, to be updated with the numbers."""
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode())


def _local_folder(path_or_repo: str | Path, revision: str | None) -> Path:
    folder = as_path("path_or_repo", path_or_repo)
    if folder.is_dir():
        return folder
    repository = str(path_or_repo)
    local = folder.parent.exists() or repository.startswith((".", "/", "~"))
    if folder.exists() or repository.count("/") != 1 or local:
        raise FileNotFoundError(f"no model folder {repository!r} (a hub repository is written owner/name)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    files = ["config.json", "model.safetensors", "tokenizer.json", ORIGIN]
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=files))
    except (OSError, HFValidationError) as error:
        raise FileNotFoundError(f"no model folder {repository!r}, nor such a hub repository: {error}") from error
