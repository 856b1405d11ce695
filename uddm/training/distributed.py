"""One run on several processes: ``python -m torch.distributed.run --nproc-per-node 4 -m uddm train ...``.

Alone, a process is rank 0 of 1.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import _set_pg_timeout

from uddm._validation import check_device

Result = TypeVar("Result")
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
MEETING = timedelta(minutes=5)
"""How long processes wait for each other at the start: after a restart one may look where another was before."""
PATIENCE = timedelta(hours=24)
"""How long they wait later, while rank 0 prepares a corpus."""


@contextmanager
def process_group(device: str | None = None) -> Iterator[torch.device]:
    """Join the processes that torchrun started; gives the device of this one, `device` or its GPU or else the CPU."""
    own = check_device(device)
    if dist.is_initialized() or not _started_by_torchrun():
        yield own
        return
    cuda = own.type == "cuda"
    if cuda:
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if cuda else "gloo", device_id=own if cuda else None, timeout=MEETING)
    _set_pg_timeout(PATIENCE)
    try:
        yield own
    finally:
        time.sleep(0.2)  # for gloo's threads to drop their last tensors: later they abort (pytorch/pytorch#179291)
        dist.destroy_process_group()


def _started_by_torchrun() -> bool:
    """Schedulers set some of its variables, too; on one process these mean nothing."""
    missing = [name for name in TORCHRUN if name not in os.environ]
    if missing and int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise ValueError(
            f"WORLD_SIZE = {os.environ['WORLD_SIZE']} is set, but {', '.join(missing)} is not: start several processes "
            "with `python -m torch.distributed.run`, or unset WORLD_SIZE"
        )
    return not missing


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


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether it is set on one process at least; the same answer on all."""
    if world_size() == 1:
        return flag
    flags = torch.tensor(float(flag), device=device)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags)
