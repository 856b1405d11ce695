"""The state of a training in shards: each process writes and reads its own, by `torch.distributed.checkpoint`.

The shards of a step are safetensors files in a folder of their own. A record beside them, replaced atomically, says
which step is the last whole one, and the sha256 of each of its files. No pickle is written or read.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load as read_shards
from torch.distributed.checkpoint.state_dict_saver import save as write_shards

from uddm.corpora.packing import sha256_of
from uddm.files import UnreadableFile, damaged, read_json, to_json, write_atomically
from uddm.training.distributed import on_first, rank, world_size

RECORD = "state.json"


def save(run: Path, step: int, losses: list[float], tensors: Mapping[str, Tensor]) -> None:
    """Write the shards of all processes, and then the record; the shards of earlier steps go."""
    folder = run / f"state-{step}"
    on_first(lambda: shutil.rmtree(folder, ignore_errors=True))  # what a run that died here left
    write_shards(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    record = {"folder": folder.name, "step": step, "losses": losses, "files": _digests(folder)}

    def finish() -> None:
        write_atomically(run / RECORD, to_json(record))
        for other in run.glob("state-*"):
            if other != folder:
                shutil.rmtree(other)

    on_first(finish)


def load(run: Path, tensors: Mapping[str, Tensor]) -> tuple[int, list[float]]:
    """Fill tensors, sharded in any way or not at all; gives the step and the losses. UnreadableFile for damage."""
    record = read_json(run / RECORD)
    name, step, losses = (record.get(key) for key in ("folder", "step", "losses"))
    if not (isinstance(name, str) and re.fullmatch(r"state-\d+", name) and type(step) is int):
        raise UnreadableFile(f"{run / RECORD} is no record of a state")
    if not isinstance(losses, list) or not all(type(loss) is float for loss in losses):
        raise UnreadableFile(f"{run / RECORD} is no record of a state")
    if _digests(run / name) != record.get("files"):
        raise damaged(run / name)
    try:
        reader = HuggingFaceStorageReader(str(run / name))
        read_shards(dict(tensors), storage_reader=reader, no_dist=not dist.is_initialized())
    except (CheckpointException, RuntimeError, ValueError) as error:
        raise UnreadableFile(f"{run / name} is not the state of this network: {error}") from error
    return step, losses


def remove(run: Path) -> None:
    """The record first: shards without one are nothing."""
    (run / RECORD).unlink(missing_ok=True)
    for folder in run.glob("state-*"):
        shutil.rmtree(folder)


def _digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file, of which each process reads its share."""
    files = sorted(folder.glob("*.safetensors"))
    own = {file.name: sha256_of(file) for file in files[rank() :: world_size()]}
    if world_size() == 1:
        return own
    parts: list[dict[str, str]] = [{}] * world_size()
    dist.all_gather_object(parts, own)
    return {name: digest for part in parts for name, digest in part.items()}
