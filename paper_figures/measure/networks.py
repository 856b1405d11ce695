"""Trained networks, from the recipes of a preset or as others have published them, and what they copy of their training
sets."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_figures.cells import Cells
from paper_figures.presets import OURS, Protocol, Published, Recipe

if TYPE_CHECKING:
    from uddm import Denoiser
    from uddm.config import NetworkConfig
    from uddm.denoisers import Network


COST_FLOP = 7.8e8
"""Of a task's unit of cost: a training step of the text network of the laptop preset."""


class UnreadableCheckpoint(ValueError):
    """A published file that cannot be read, its source, and the reason."""


class Training:
    """A recipe for data of some vocabulary and length: a network and its training as values."""

    def __init__(self, recipe: Recipe, *, vocab_size: int, length: int, steps: int, seed: int):
        self.model = replace(recipe.network, vocab_size=vocab_size, length=length)
        self.config = replace(recipe.training, steps=steps, seed=seed)
        self.name, self.protocol = self.model.name, recipe.protocol

    @property
    def key(self) -> dict[str, Any]:
        """What determines the trained network besides its data and first weights."""
        return {"network": self.name, "model": self.model.to_dict(), "training": asdict(self.config)}

    def run(self, cells: Cells, name: str, key: dict[str, Any], data: np.ndarray, weights: int, **more: Any) -> Network:
        """The network trained on `data` from the first weights of the seed `weights`: read, resumed or trained."""
        import torch

        from uddm.denoisers import network_of

        torch.manual_seed(weights)
        return cells.trained(
            name, key, network_of(self.model)(self.model), data, self.config, self.protocol.weights, **more
        )


class Checkpoint:
    """A published checkpoint, imported when it is needed."""

    def __init__(self, published: Published, size: int):
        self.file, self.content = published.files[size], published.contents[size]
        self.model, self.protocol = published.network, published.protocol
        self.name = self.model.name

    @property
    def key(self) -> dict[str, Any]:
        """What determines the network: what the file holds, wherever it lies."""
        return {"network": self.name, "checkpoint": self.content}

    def read(self, device: str) -> Network:
        """The network, on that device; UnreadableCheckpoint if it cannot be read."""
        from uddm import import_published

        try:
            return import_published(self.file, weights=self.protocol.weights).to(device)
        except (OSError, ValueError) as error:
            raise UnreadableCheckpoint(self.file, str(error)) from error


def as_measured(network: Network, protocol: Protocol) -> Denoiser:
    """The network in the precision of the protocol."""
    from uddm.denoisers import HalfPrecision

    return HalfPrecision(network) if protocol.precision == "float16" else network


def protocol_key(protocol: Protocol) -> dict[str, Any]:
    """What a protocol adds to the key of what is measured; nothing, if it is ours."""
    return {} if protocol == OURS else {"protocol": asdict(protocol)}


def training_flop(training: Training) -> float:
    """Floating-point operations of the matrix products of a training: three times those of its forward passes."""
    return 3 * forward_flop(training.model) * training.config.batch_size * training.config.steps


@cache
def parameters(shape: NetworkConfig) -> int:
    """Numbers that a network learns."""
    return sum(p.numel() for p in _without_memory(shape).parameters())


@cache
def forward_flop(shape: NetworkConfig) -> float:
    """Floating-point operations of the matrix products of a network for one sequence."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = _without_memory(shape)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, shape.length, dtype=torch.int64), torch.zeros(1))
    return float(counter.get_total_flops())


def _without_memory(shape: NetworkConfig) -> Network:
    import torch

    from uddm.denoisers import network_of

    with torch.device("meta"):
        return network_of(shape)(shape)


def unigram_entropy(x: np.ndarray, vocab_size: int) -> float:
    """Entropy of the frequencies of single tokens, in nats."""
    frequencies = np.bincount(x.ravel(), minlength=vocab_size) / x.size
    return float(-(frequencies[frequencies > 0] * np.log(frequencies[frequencies > 0])).sum())


def is_row(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Whether each row of x is a row of the table, of which it reads a part at a time."""
    weights = np.random.default_rng(0).integers(2**63, size=x.shape[1], dtype=np.uint64)

    def hashed(rows: np.ndarray) -> np.ndarray:
        return (rows.astype(np.uint64) * weights).sum(1)

    wanted, found = hashed(x), set()
    for start in range(0, len(table), 2**17):
        rows = table[start : start + 2**17]
        found.update(row.tobytes() for row in rows[np.isin(hashed(rows), wanted)].astype(x.dtype))
    return np.array([row.tobytes() in found for row in x])
