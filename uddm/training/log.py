"""What a run says while it trains."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Self

from tqdm import tqdm

from uddm.config import TrainConfig
from uddm.files import naming, write_atomically
from uddm.training.distributed import rank


class Log:
    """metrics.jsonl, a progress bar and, if wanted, TensorBoard events; on rank 0 alone."""

    def __init__(self, run: Path, config: TrainConfig, step: int, tensorboard: bool, progress: int | None):
        self.run, self.config, self.first = run, config, rank() == 0
        self.begin, self.events = time.perf_counter(), None
        if not self.first:
            return
        _truncate_metrics(run / "metrics.jsonl", step)
        self.file = (run / "metrics.jsonl").open("a", encoding="utf-8")
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.events = SummaryWriter(str(run), purge_step=step + 1)
        self.bar = tqdm(
            total=config.steps,
            initial=step,
            desc=run.name,
            position=progress,
            disable=True if progress is None else None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.first:
            self.file.close()
            self.bar.close()
        if self.events:
            self.events.close()

    def add(self, step: int, losses: list[float], norm: float) -> None:
        """After a step: every `log_every` of them, and at the end, write the mean of the losses and forget these."""
        if self.first:
            self.bar.update()
        if step % self.config.log_every and step < self.config.steps:
            return
        mean = sum(losses) / len(losses)
        losses.clear()
        if not self.first:
            return
        line = {
            "step": step,
            "loss": mean,
            "gradient_norm": norm,
            "learning_rate": self.config.rate(step - 1),
            "seconds": time.perf_counter() - self.begin,
        }
        with naming(self.run / "metrics.jsonl"):
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        self.bar.set_postfix(loss=f"{line['loss']:.3f}")
        if self.events:
            for name in ("loss", "gradient_norm", "learning_rate"):
                self.events.add_scalar(name, line[name], step)
        self.begin = time.perf_counter()


def _truncate_metrics(path: Path, step: int) -> None:
    """Drop lines written after the saved state, and torn ones."""
    if path.exists():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [line for line in lines if _step(line) <= step]
        write_atomically(path, "".join(line + "\n" for line in kept).encode())


def _step(line: str) -> float:
    """The step of a line; infinite if it is not whole."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return math.inf
