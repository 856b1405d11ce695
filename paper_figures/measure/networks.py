"""Networks from the recipes of a preset, and what they copy of their training sets."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_figures.cells import Cells
from paper_figures.presets import Recipe

if TYPE_CHECKING:
    from uddm.denoisers import Network


class Training:
    """A recipe for data of some vocabulary and length: a network and its training as values."""

    def __init__(self, recipe: Recipe, *, vocab_size: int, length: int, steps: int, seed: int):
        self.model = replace(recipe.network, vocab_size=vocab_size, length=length)
        self.config = replace(recipe.training, steps=steps, seed=seed)
        self.name = self.model.name

    @property
    def key(self) -> dict[str, Any]:
        """What determines the trained network besides its data and first weights."""
        return {"network": self.name, "model": self.model.to_dict(), "training": asdict(self.config)}

    def run(self, cells: Cells, name: str, key: dict[str, Any], data: np.ndarray, weights: int, **more: Any) -> Network:
        """The network trained on `data` from the first weights of the seed `weights`: read, resumed or trained."""
        import torch

        from uddm.denoisers import network_of

        torch.manual_seed(weights)
        return cells.trained(name, key, network_of(self.model)(self.model), data, self.config, **more)


def unigram_entropy(x: np.ndarray, vocab_size: int) -> float:
    """Entropy of the frequencies of single tokens, in nats."""
    frequencies = np.bincount(x.ravel(), minlength=vocab_size) / x.size
    return float(-(frequencies[frequencies > 0] * np.log(frequencies[frequencies > 0])).sum())


def is_row(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Whether each row of x is a row of the table."""
    rows = {row.tobytes() for row in table}
    return np.array([row.tobytes() in rows for row in x])
