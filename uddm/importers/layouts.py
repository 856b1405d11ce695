"""Weights in any of the published layouts, as names and places of tensors that are not read yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uddm.checkpoints import check_safetensors, read_header, read_numbers
from uddm.choices import WeightType
from uddm.files import instead, read_json
from uddm.importers._pickle import Record, plain
from uddm.importers._torch_file import StoredTensor, TorchFile

PREFIXES = ("backbone.", "diffusion.model.backbone.")
WRAPPERS = ("_orig_mod", "module")  # of torch.compile and DistributedDataParallel: parts of names that mean nothing
ROTARY = "rotary_emb.inv_freq"
CACHES = ("rotary_emb.cos_cached", "rotary_emb.sin_cached")  # of GIDD, in its place: (1, L, 3, 1, head_dim)
FOLDER_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"  # of shards: `model.safetensors.index.json` in place of `model.safetensors`
DTYPES = {"F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass
class Found:
    """A checkpoint before its weights are read: where the tensors are, and what is said about them."""

    path: Path
    format: str
    tensors: dict[str, StoredTensor]
    read: Callable[[StoredTensor, WeightType], Tensor]
    shards: list[Path] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    average: list[StoredTensor] | None = None
    storages: dict[str, dict[str, int]] = field(default_factory=dict)
    caches: dict[str, StoredTensor] = field(default_factory=dict)
    chosen: dict[str, StoredTensor] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        return self.shards or [self.path]


def open_published(path: Path) -> Found:
    if not path.is_dir():
        return _read(path)
    for name in (name for weights in FOLDER_WEIGHTS for name in (weights, weights + INDEX)):
        if (path / name).exists():
            settings = read_json(path / "config.json")
            if settings.get("model") == "DiT" and "format" in settings:
                raise ValueError(f"{path} is a folder of ours: DiT.from_pretrained reads it")
            found = _read(path / name)
            found.format, found.settings = "hub folder", settings
            return found
    raise FileNotFoundError(f"{path} holds neither {' nor '.join(FOLDER_WEIGHTS)}")


def _read(path: Path) -> Found:
    """Weights in a file of any of the three kinds."""
    if path.name.endswith(INDEX):
        return _read_shards(path)
    with path.open("rb") as file:
        start = file.read(512)
    if start[7:9] == b"\0{":  # eight bytes of the length of a header in JSON
        return _read_safetensors(path)
    if what := instead(start):
        raise ValueError(f"{path} is no file of weights{what}")
    return _read_safetensors(path) if path.suffix == ".safetensors" and start[:2] != b"PK" else _read_torch(path)


def _read_shards(path: Path) -> Found:
    """The files that an index names, as one."""
    names = list(_mapping(read_json(path).get("weight_map")).values())
    if not names or not all(isinstance(n, str) and re.fullmatch(r"[^/\\]+\.(safetensors|bin)", n) for n in names):
        raise ValueError(f"{path} has no weight_map that names files beside it")
    shards = {}
    for name in sorted(set(names)):
        if not path.with_name(name).exists():
            raise FileNotFoundError(f"{path} names {name}, which is not beside it")
        shards[name] = _read(path.with_name(name))
    tensors = {}
    for file, shard in shards.items():
        for name, stored in shard.tensors.items():
            if name in tensors:
                raise ValueError(f"{path.with_name(file)}: {name} is in another shard, too")
            tensors[name] = replace(stored, key=f"{file}/{stored.key}")

    def read(stored: StoredTensor, dtype: WeightType) -> Tensor:
        file, key = stored.key.split("/", 1)
        return shards[file].read(replace(stored, key=key), dtype)

    return Found(path, "bare weights", tensors, read, shards=[path.with_name(file) for file in shards])


def _read_safetensors(path: Path) -> Found:
    check_safetensors(path)
    with path.open("rb") as file:
        header, start = read_header(file), file.tell()
    tensors = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{path}: {key} is {entry['dtype']}, not a floating-point tensor")
        tensors[key] = StoredTensor(key, tuple(entry["shape"]), DTYPES[entry["dtype"]], offset=entry["data_offsets"][0])

    def read(stored: StoredTensor, dtype: WeightType) -> Tensor:
        """Read, not mapped: pages of a mapped file would stay in memory beside the tensor."""
        with path.open("rb") as file:
            file.seek(start + stored.offset)
            return read_numbers(file, stored.shape, stored.dtype, dtype)

    return Found(path, "bare weights", _own_names(path, tensors), read)


def _read_torch(path: Path) -> Found:
    file = TorchFile(path)
    root = file.root

    def tensor(name: str, value: Any) -> StoredTensor:
        stored = file.tensor(value)
        if stored is None:
            raise ValueError(f"{path}: {name} is not a floating-point tensor")
        return stored

    lightning = isinstance(root, dict) and "state_dict" in root
    state = root["state_dict"] if lightning else root
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"{path} holds no state_dict")
    tensors = _own_names(path, {name: tensor(name, value) for name, value in state.items()})
    if not lightning:
        return Found(path, "bare weights", tensors, file.load)
    ema = _mapping(root.get("ema"))
    shadow, seen = ema.get("shadow_params"), set()
    return Found(
        path,
        "Lightning checkpoint",
        tensors,
        file.load,
        settings=_hyper_parameters(root.get("hyper_parameters")),
        facts={"step": root.get("global_step"), "epoch": root.get("epoch")}
        | {"decay": ema.get("decay"), "updates": ema.get("num_updates")},
        average=[tensor(f"ema.shadow_params[{n}]", value) for n, value in enumerate(shadow)]
        if isinstance(shadow, list)
        else None,
        storages={str(name): file.storages(value, seen) for name, value in root.items()},
    )


def _hyper_parameters(hyper: Any) -> dict[str, Any]:
    """`hyper_parameters.config`, or `hyper_parameters` itself where it has no such entry; nothing if unreadable."""
    try:
        return _mapping(plain(_mapping(hyper).get("config", hyper)))
    except ValueError:
        return {}


def _mapping(value: Any) -> dict[Any, Any]:
    """The entries of a dict, of an object that is one, or none."""
    value = value.entries if isinstance(value, Record) else value
    return value if isinstance(value, dict) else {}


def _own_names(path: Path, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Without wrappers, and without a prefix, which all have or none."""
    names = {name: ".".join(part for part in name.split(".") if part not in WRAPPERS) for name in tensors}
    prefix = next((prefix for prefix in PREFIXES if any(own.startswith(prefix) for own in names.values())), "")
    others = [name for name, own in names.items() if not own.startswith(prefix)]
    if 0 < len(others) < len(names):
        raise ValueError(f"{path} has unexpected {', '.join(sorted(others))}")
    own_names = {names[name].removeprefix(prefix): stored for name, stored in tensors.items()}
    if len(own_names) < len(names):
        raise ValueError(f"{path} has tensors whose names differ by {' or '.join(WRAPPERS)} only")
    return own_names


def named_average(found: Found, order: list[str]) -> dict[str, StoredTensor]:
    """The moving average by name: it is a list in the order in which the network registers its parameters."""
    if found.average is None:
        raise ValueError(f"{found.path} holds no ema.shadow_params: pass weights='raw' for the weights themselves")
    if list(found.tensors) != order:
        raise ValueError(f"{found.path}: state_dict is out of order, so that ema.shadow_params cannot be named")
    names = [name for name in order if name != ROTARY]
    if len(found.average) != len(names):
        raise ValueError(
            f"{found.path}: ema.shadow_params has {len(found.average)} tensors, state_dict {len(names)} parameters"
        )
    for n, (name, stored) in enumerate(zip(names, found.average)):
        if stored.shape != found.tensors[name].shape:
            want = found.tensors[name].shape
            raise ValueError(f"{found.path}: ema.shadow_params[{n}] has shape {stored.shape}, but {name} has {want}")
    return dict(zip(names, found.average))


def skipped(found: Found) -> dict[str, int]:
    used = {stored.key for stored in found.chosen.values()}
    unread = {}
    for name, storages in found.storages.items():
        unread[name] = sum(size for key, size in storages.items() if key not in used)
        used |= storages.keys()
    return {name: size for name, size in unread.items() if size}
