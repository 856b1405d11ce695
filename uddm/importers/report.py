"""What was found in a published checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Report:
    """What was found in a published checkpoint. Prints as a table.

    Attributes
    ----------
    source, revision : as asked for; the commit, if it came from the hub
    format : "Lightning checkpoint", "hub folder" or "bare weights"
    file, size, sha256 : name, bytes and checksum of the file with the weights, or of all shards one after the other
        and the name of their index; the checksum only by `convert`
    step, epoch : of the training, where recorded
    weights : "ema", "raw", or "as published" where a file holds one set
    decay, updates : of the average
    dtype : what the weights are stored in
    parameters : their number
    network : "DiT" or "Llama"
    config : of the network; None for what is neither recorded nor given
    distilled : whether it is a student of few steps, whose distributions are not those that a training on the evidence
        bound gives: its entropies tell nothing of its data
    training : algorithm, data, tokenizer and seed, as far as recorded
    settings : the whole recorded configuration
    skipped : bytes that were not read, by top-level key
    notes : what was assumed
    """

    source: str
    revision: str | None
    format: str
    file: str
    size: int
    sha256: str | None
    step: int | None
    epoch: int | None
    weights: str
    decay: float | None
    updates: int | None
    dtype: str
    parameters: int
    network: str
    config: dict[str, Any]
    distilled: bool
    training: dict[str, Any]
    settings: dict[str, Any] = field(repr=False)
    skipped: dict[str, int]
    notes: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        """What `import_published` has to be told."""
        return [name for name, value in self.config.items() if value is None]

    @property
    def origin(self) -> dict[str, Any]:
        """What a network made of it carries as its `origin`."""
        names = ("source", "revision", "file", "sha256", "weights", "distilled")
        return {name: getattr(self, name) for name in names} | {"algorithm": self.training.get("algorithm")}

    def _details(self, c: dict[str, Any]) -> str:
        """What is special to the kind of network."""
        if self.network == "Llama":
            special = (f"{name} {value}" for name, value in c.items() if name not in _SHAPE and value is not False)
            return ", ".join([*special, "told no time"])
        told = {True: "", False: "told no noise level, ", "t": "told t, "}[c.get("time_conditioning", True)]
        return f"cond {c['cond_dim']}, dropout {c['dropout']}, {told}{c.get('predicts', 'cavity')}"

    def __str__(self) -> str:
        c = {name: "?" if value is None else value for name, value in self.config.items()}
        average = ""
        if self.weights == "ema":
            average = f", decay {_or_unknown(self.decay)}, {_or_unknown(self.updates)} updates"
        rows = {
            "format": f"{self.format}, {_megabytes(self.size)}",
            "sha256": self.sha256,
            "trained": self.step is not None and f"{self.step:,} steps, epoch {_or_unknown(self.epoch)}",
            "with": ", ".join(f"{name} {value}" for name, value in self.training.items()),
            "weights": f"{self.weights}{average}, {self.parameters:,} numbers of {self.dtype}",
            "model": f"{self.network}, K = {c['vocab_size']}, L = {c['length']}, d = {c['hidden_dim']}, "
            f"{c['blocks']} blocks, {c['heads']} heads, {self._details(c)}",
            "noise": f"{c.get('noise', 'uniform')}, {c['schedule']} schedule"
            + "".join(f", {name} {c[name]}" for name in ("p_unif", "mask") if name in c),
            "missing": ", ".join(f"`{name}`, to be passed" for name in self.missing),
            "distilled": self.distilled and "yes: its entropies tell nothing of its training data",
            "skipped": ", ".join(f"{name} {_megabytes(size)}" for name, size in self.skipped.items()),
            **{f"note {n}": note for n, note in enumerate(self.notes, 1)},
        }
        revision = f" at {self.revision}" if self.revision else ""
        return "\n".join([f"{self.source}{revision}", *(f"  {name:9}{row}" for name, row in rows.items() if row)])


_SHAPE = ("vocab_size", "length", "hidden_dim", "blocks", "heads", "schedule", "noise", "mask", "p_unif", "predicts")


def _or_unknown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
