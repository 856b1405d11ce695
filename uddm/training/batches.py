"""What each step trains on: order, times and corruption, each from its own stream keyed by the step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from uddm._validation import check_array, check_ids, check_tokens
from uddm.checkpoints import dump_tensors
from uddm.config import TrainConfig
from uddm.curriculum import SoftTokens
from uddm.denoisers.network import Network
from uddm.files import write_atomically
from uddm.objective import stratified_times, time_weights
from uddm.process import Process
from uddm.streams import keyed_generator, keyed_seed
from uddm.training.distributed import rank, world_size


class Batch(NamedTuple):
    """A micro-batch on the device: clean tokens x and noisy ones z (n, L), what the network reads instead of z, times
    (n,) of `process`, and weights (n,) that sum to the share of the global mean."""

    x: Tensor
    inputs: Tensor | SoftTokens
    z: Tensor
    t: Tensor
    weights: Tensor
    process: Process


class Batches:
    """The micro-batches of this process.

    All processes draw the whole batch of a step, and take their rows of it; only dropout and a curriculum's relaxed
    tokens, too large for that, have a stream for each micro-batch.
    """

    def __init__(
        self,
        sequences: Sequences,
        config: TrainConfig,
        process: Process,
        micro_batch: int,
        device: torch.device,
    ):
        self.sequences, self.config, self.process = sequences, config, process
        self.micro_batch, self.device = micro_batch, device
        self.number = config.batch_size // (world_size() * micro_batch)  # for one step
        self.order = _Order(len(sequences), config.batch_size, config.seed)

    def of(self, step: int) -> Iterator[Batch]:
        config, process = self.config, self.process
        x = self.sequences.rows(self.order.batch(step))
        generator = keyed_generator(config.seed, "times", step)
        curriculum = config.curriculum if config.curriculum and config.curriculum.active(step) else None
        if curriculum:
            process = curriculum.process(process.vocab_size)
            t, z = stratified_times(len(x), low=1e-9, generator=generator), x
            weights = torch.ones_like(t)
        else:
            span = {"low": config.first_time, "log_fraction": config.log_fraction}
            t = stratified_times(len(x), **span, generator=generator)
            z = process.corrupt(x, t, generator=keyed_generator(config.seed, "corruption", step))
            weights = time_weights(t, **span)
        weights = weights.float() * world_size() / len(x)
        share = len(x) // world_size()
        for first in range(rank() * share, (rank() + 1) * share, self.micro_batch):
            rows = slice(first, first + self.micro_batch)
            clean, noisy, times, share_of_mean = (value[rows].to(self.device) for value in (x, z, t, weights))
            _seed(self.device, keyed_seed(config.seed, "dropout", step, first))
            inputs = noisy
            if curriculum:
                noise = keyed_generator(config.seed, "corruption", step, first, device=self.device)
                inputs = curriculum.corrupt(clean, times, step, process.vocab_size, generator=noise)
                noisy = inputs.hard
            yield Batch(clean, inputs, noisy, times, share_of_mean, process)

    def record(self, step: int, run: Path) -> Path:
        """Write this process's rows of a step to a file that can be looked at."""
        parts = list(self.of(step))
        tensors = {name: torch.cat([getattr(part, name) for part in parts]).cpu() for name in ("x", "z", "t")}
        if isinstance(parts[0].inputs, SoftTokens):
            for name in SoftTokens._fields:
                tensors[f"inputs.{name}"] = torch.cat([getattr(part.inputs, name) for part in parts]).cpu()
        path = run / f"offending-{rank()}.safetensors"
        write_atomically(path, dump_tensors({"step": torch.tensor(step), **tensors}))
        return path


def _seed(device: torch.device, seed: int) -> None:
    """`torch.manual_seed` for the CPU and one device: for all that there could be, it takes as long as a small step."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


class Sequences:
    """Training sequences (N, L) in memory or on disk, checked and summed up without a copy of the whole."""

    def __init__(self, data: Tensor | np.ndarray, model: Network):
        self.data = check_ids("data", data).cpu() if isinstance(data, Tensor) else check_array("data", data)
        if self.data.ndim != 2:
            raise ValueError(f"`data` must have shape (N, L), got {tuple(self.data.shape)}")
        if not isinstance(self.data, Tensor) and self.data.dtype.kind not in "iu":
            raise TypeError(f"`data` must hold integer token ids, got dtype {self.data.dtype}")
        digest = hashlib.sha256()
        for start in range(0, max(len(self.data), 1), 2**16):
            part = self.rows(slice(start, start + 2**16))
            part = check_tokens("data", part, model.config.vocab_size, length=model.config.length)
            digest.update(part.numpy().tobytes())
        self.sha256 = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.data)

    def rows(self, which: Tensor | slice) -> Tensor:
        if isinstance(self.data, Tensor):
            rows = self.data[which]
        else:
            rows = self.data[which.numpy() if isinstance(which, Tensor) else which]
            rows = torch.from_numpy(rows.astype(np.int64))
        return rows.long()


class _Order:
    """Endless sequence of epochs, each a permutation keyed by its number, cut into batches keyed by the step."""

    def __init__(self, size: int, batch_size: int, seed: int):
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.epoch = lru_cache(maxsize=2)(self._epoch)

    def _epoch(self, number: int) -> Tensor:
        return torch.randperm(self.size, generator=keyed_generator(self.seed, "epoch", number))

    def batch(self, step: int) -> Tensor:
        """Indices (B,) of the batch of step 0, 1, ..."""
        positions = torch.arange(step * self.batch_size, (step + 1) * self.batch_size)
        numbers, within = positions // self.size, positions % self.size
        return torch.cat([self.epoch(int(n))[within[numbers == n]] for n in numbers.unique()])
