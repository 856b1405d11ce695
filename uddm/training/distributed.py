"""One run on several processes: ``python -m torch.distributed.run --nproc-per-node 4 -m uddm train ...``.

Alone, a process is rank 0 of 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Result = TypeVar("Result")


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the processes that torchrun started; gives the device of this one: its GPU (nccl), or the CPU (gloo)."""
    cuda = torch.cuda.is_available()
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield torch.device("cuda" if cuda else "cpu")
        return
    device = torch.device("cpu")
    if cuda:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def on_first(function: Callable[[], Result]) -> Result:
    """What `function` returns on rank 0, on every rank; an error of rank 0 is raised on all."""
    if world_size() == 1:
        return function()
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = function()
        except Exception as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def mean_over_ranks(value: Tensor) -> Tensor:
    if world_size() > 1:
        dist.all_reduce(value)
        value /= world_size()
    return value
