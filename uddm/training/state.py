"""Weights, their average and the optimizer's moments: one optimizer step, and their place on disk."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from uddm.checkpoints import check_finite, check_tensors, dump_tensors, read_tensors
from uddm.config import TrainConfig
from uddm.denoisers.network import Network
from uddm.files import clear_unfinished, write_atomically
from uddm.training import shards
from uddm.training.distributed import mean_over_ranks, on_first, rank

STATE = "state.safetensors"
_PARTS = ("weights", "average", "first", "second")  # of the saved state; the last two are AdamW's moments


class State:
    """Weights, their average and AdamW's moments after `step` steps."""

    def __init__(self, model: Network, config: TrainConfig):
        self.model, self.config, self.step = model, config, 0
        self.losses: list[float] = []  # since the last line of metrics.jsonl
        self.parameters = dict(model.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), config.learning_rate, config.betas, weight_decay=config.weight_decay, fused=True
        )
        self.optimizer.zero_grad()

    def clip(self, loss: Tensor, record: Callable[[], Path]) -> tuple[float, float]:
        """Clip the gradients in place; returns the loss over all processes and the gradient norm before clipping.

        Raises FloatingPointError if one of them is not finite, after `record`.
        """
        value = mean_over_ranks(loss).item()
        norm = whole_tensor(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip)).item()
        if not (math.isfinite(value) and math.isfinite(norm)):
            where = record()
            raise FloatingPointError(
                f"loss {value} and gradient norm {norm} at step {self.step}: the last saved state is kept, "
                f"the batch is in {where}"
            )
        return value, norm

    def advance(self, loss: float) -> None:
        """One optimizer step on the clipped gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for average, p in zip(self.average.values(), self.parameters.values(), strict=True):
                _own(average).lerp_(_own(p), 1 - decay)  # of DTensors each new weight would be planned anew
        self.losses.append(loss)

    def finished(self) -> dict[str, dict[str, Tensor]]:
        """The weights ("raw") and their average ("model"), gathered; FloatingPointError if they are not finite."""
        found = {
            folder: {name: whole_tensor(value.detach()).clone() for name, value in values.items()}
            for folder, values in (("raw", self.parameters), ("model", self.average))
        }
        for weights in found.values():
            self._check_finite(weights)
        return found

    def save(self, run: Path) -> None:
        """Write all of it, from rank 0, or each process its shards; FloatingPointError, and the older state stays, if
        it is not finite."""
        tensors: dict[str, Tensor] = {}
        for name, p in self.parameters.items():
            moments = self.optimizer.state[p]
            values = (p.detach(), self.average[name], moments["exp_avg"], moments["exp_avg_sq"])
            tensors |= {f"{part}.{name}": value for part, value in zip(_PARTS, values)}
        self._check_finite({**tensors, "loss": torch.tensor(self.losses)})
        path = run / STATE
        if self._is_sharded():
            shards.save(run, self.step, self.losses, tensors)
            on_first(partial(path.unlink, missing_ok=True))
        elif rank() == 0:
            tensors |= {"step": torch.tensor(self.step), "losses": torch.tensor(self.losses, dtype=torch.float64)}
            write_atomically(path, dump_tensors({name: value.cpu().contiguous() for name, value in tensors.items()}))
            shards.remove(run)

    def load(self, run: Path) -> None:
        """What was saved there, if anything was, whole or in shards; UnreadableFile unless it is of this network.

        The run belongs to this process and the others of its group: what one that was killed was writing goes.
        """
        on_first(partial(_clear, run))
        if (run / shards.RECORD).exists():
            parts = {f"{part}.{name}": torch.empty_like(p) for part in _PARTS for name, p in self.parameters.items()}
            self.step, self.losses = shards.load(run, parts)
        elif (path := run / STATE).exists():
            parts = read_tensors(path)
            own = {f"{part}.{name}": p for part in _PARTS for name, p in self.parameters.items()}
            self.losses = parts.pop("losses", torch.empty(0)).tolist()
            check_tensors(parts, {"step": torch.tensor(0), **own}, path)
            check_finite(parts, path)
            self.step = int(parts["step"])
        else:
            return
        for name, p in self.parameters.items():
            weights, average, first, second = (_like(p, parts[f"{part}.{name}"]) for part in _PARTS)
            with torch.no_grad():
                p.copy_(weights)
            self.average[name].copy_(average)
            step = torch.tensor(float(self.step), device=p.device)
            self.optimizer.state[p] = {"step": step, "exp_avg": first, "exp_avg_sq": second}

    def _is_sharded(self) -> bool:
        return any(isinstance(p, DTensor) for p in self.parameters.values())

    def _check_finite(self, tensors: dict[str, Tensor]) -> None:
        broken = [name for name, value in tensors.items() if not bool(whole_tensor(torch.isfinite(value).all()))]
        if broken:
            raise FloatingPointError(f"{broken[0]} is not finite at step {self.step}: the last saved state is kept")


def _clear(run: Path) -> None:
    for folder in (run, run / "raw", run / "model"):
        clear_unfinished(folder)


def discard(run: Path) -> None:
    """Remove the state of a run that has ended."""
    (run / STATE).unlink(missing_ok=True)
    shards.remove(run)


def whole_tensor(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _own(value: Tensor) -> Tensor:
    """The shard of this process, in the same memory, or the whole tensor where it is not sharded."""
    return value.to_local() if isinstance(value, DTensor) else value


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """`value` on the device of a parameter, and sharded as it is."""
    value = value.to(parameter.device)
    if isinstance(parameter, DTensor) and not isinstance(value, DTensor):
        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value
