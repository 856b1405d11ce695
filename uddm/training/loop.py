"""The training loop: AdamW on the NELBO, a weight average, and exact resume after any interruption.

Every random stream is keyed by (seed, purpose, step), so the state to save is weights, average and optimizer moments.
They stand in one safetensors file, replaced atomically: a run killed at any moment and started again ends with the
weights of a run that was never interrupted, bit for bit (same machine, same number of threads).
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from uddm._validation import check_tokens
from uddm.checkpoints import check_tensors, dump_tensors, load_pretrained, read_json, read_tensors, to_json
from uddm.denoisers.network import Network
from uddm.files import write_atomically
from uddm.objective import expected_nelbo, nelbo, stratified_times, time_weights
from uddm.streams import keyed_generator, keyed_seed
from uddm.training.config import TrainConfig


def train(
    model: Network,
    data: Tensor,
    config: TrainConfig,
    run_dir: str | Path,
    *,
    tokenizer: Any = None,
    device: str | torch.device = "cpu",
    progress: int | None = 0,
) -> Network:
    """Train `model` on `data`, or go on where `run_dir` stopped; return the model with its averaged weights.

    `run_dir` receives config.json (what determines the run), state.safetensors (to resume), metrics.jsonl (step, loss
    in nats per token, gradient norm, learning rate, seconds) and, at the end, the folder `model` (`save_pretrained`).

    Parameters
    ----------
    model : initial weights; used only if the run has not started.
    data : training sequences, (N, L) ids.
    progress : screen line of the progress bar, 0 for the current one; None for no bar.

    Raises
    ------
    ValueError : `run_dir` holds a run of another configuration or data, or an unreadable state.
    FloatingPointError : loss or gradient is not finite; the last saved state is kept.
    """
    data = check_tokens("data", torch.as_tensor(data), model.config.vocab_size, length=model.config.length)
    run = Path(run_dir)
    run.mkdir(parents=True, exist_ok=True)
    _claim(run / "config.json", model, data, config)
    if (run / "model" / "config.json").exists():
        return load_pretrained(run / "model").to(device)

    model.to(device).train()
    state = _State(model, config)
    if (run / "state.safetensors").exists():
        state.load(run / "state.safetensors")
    _truncate_metrics(run / "metrics.jsonl", state.step)
    order = _Order(len(data), config.batch_size, config.seed)
    bar = tqdm(
        total=config.steps,
        initial=state.step,
        desc=run.name,
        position=progress,
        disable=True if progress is None else None,
    )
    try:
        with torch.random.fork_rng(), bar, (run / "metrics.jsonl").open("a") as metrics:
            losses, begin = [], time.perf_counter()
            while state.step < config.steps:
                loss, norm = _step(state, data[order.batch(state.step)], device)
                losses.append(loss)
                bar.update()
                if state.step % config.log_every == 0:
                    line = {
                        "step": state.step,
                        "loss": sum(losses) / len(losses),
                        "gradient_norm": norm,
                        "learning_rate": config.rate(state.step - 1),
                        "seconds": time.perf_counter() - begin,
                    }
                    metrics.write(json.dumps(line) + "\n")
                    metrics.flush()
                    bar.set_postfix(loss=f"{line['loss']:.3f}")
                    losses, begin = [], time.perf_counter()
                if state.step % config.checkpoint_every == 0:
                    state.save(run / "state.safetensors")
    except KeyboardInterrupt:
        if state.whole:
            state.save(run / "state.safetensors")
        raise
    model.load_state_dict(state.average, strict=False)
    model.eval().save_pretrained(run / "model", tokenizer)
    (run / "state.safetensors").unlink(missing_ok=True)
    return model


_PARTS = ("weights", "average", "first", "second")  # of the saved state; the last two are AdamW's moments


class _State:
    """Weights, their average and AdamW's moments after `step` steps."""

    def __init__(self, model: Network, config: TrainConfig):
        self.model, self.config, self.step = model, config, 0
        self.whole = False  # whether weights, average and moments are all those of `step`, which is not 0
        self.parameters = dict(model.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), config.learning_rate, config.betas, weight_decay=config.weight_decay, fused=True
        )
        self.optimizer.zero_grad()

    def advance(self) -> float:
        """One optimizer step on the gradients in place; returns their norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip).item()
        if not norm < float("inf"):
            raise FloatingPointError(f"gradient norm {norm} at step {self.step}: the last saved state is kept")
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate(self.step)
        self.whole = False
        self.optimizer.step()
        self.optimizer.zero_grad()
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for average, p in zip(self.average.values(), self.parameters.values(), strict=True):
                average.lerp_(p, 1 - decay)
        self.step += 1
        self.whole = True
        return norm

    def save(self, path: Path) -> None:
        tensors = {"step": torch.tensor(self.step)}
        for name, p in self.parameters.items():
            moments = self.optimizer.state[p]
            tensors |= {
                f"weights.{name}": p.detach(),
                f"average.{name}": self.average[name],
                f"first.{name}": moments["exp_avg"],
                f"second.{name}": moments["exp_avg_sq"],
            }
        write_atomically(path, dump_tensors({k: v.cpu().contiguous() for k, v in tensors.items()}))

    def load(self, path: Path) -> None:
        tensors = read_tensors(path)
        own = {f"{part}.{name}": p for part in _PARTS for name, p in self.parameters.items()}
        check_tensors(tensors, {"step": torch.tensor(0), **own}, path)
        self.step = int(tensors["step"])
        parts = {part: {name: tensors[f"{part}.{name}"] for name in self.parameters} for part in _PARTS}
        self.model.load_state_dict(parts["weights"], strict=False)
        for name, p in self.parameters.items():
            self.average[name].copy_(parts["average"][name])
            self.optimizer.state[p] = {
                "step": torch.tensor(float(self.step), device=p.device),
                "exp_avg": parts["first"][name].to(p.device),
                "exp_avg_sq": parts["second"][name].to(p.device),
            }
        self.whole = True


def _step(state: _State, x: Tensor, device: str | torch.device) -> tuple[float, float]:
    """Loss and gradient norm of one optimizer step on clean tokens x (B, L)."""
    config, process, step = state.config, state.model.process, state.step
    times = {"low": config.first_time, "log_fraction": config.log_fraction}
    t = stratified_times(len(x), **times, generator=keyed_generator(config.seed, "times", step))
    z = process.corrupt(x, t, generator=keyed_generator(config.seed, "corruption", step))
    weights = time_weights(t, **times).float()
    x, z, t, weights = x.to(device), z.to(device), t.to(device), weights.to(device)
    torch.manual_seed(keyed_seed(config.seed, "dropout", step))
    cavity = state.model.cavity(z, t)
    per_token = expected_nelbo(process, cavity, x, t) if state.model.hollow else nelbo(process, cavity, x, z, t)
    loss = (weights * per_token.mean(1)).mean()
    if not torch.isfinite(loss):
        raise FloatingPointError(f"loss {loss.item()} at step {state.step}: the last saved state is kept")
    loss.backward()
    return loss.item(), state.advance()


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
        first, last = int(positions[0]) // self.size, int(positions[-1]) // self.size
        epochs = torch.cat([self.epoch(number) for number in range(first, last + 1)])
        return epochs[positions - first * self.size]


def _claim(path: Path, model: Network, data: Tensor, config: TrainConfig) -> None:
    """Write what determines the run, or refuse a folder that holds another one."""
    content = hashlib.sha256(data.numpy().tobytes()).hexdigest()
    parts = {
        "model": model.config.to_dict(),
        "training": asdict(config),
        "data": {"sequences": len(data), "sha256": content},
    }
    wanted = json.loads(to_json(parts))  # as it reads back: tuples become lists
    if not path.exists():
        write_atomically(path, to_json(wanted))
        return
    found = read_json(path)
    for part, values in wanted.items():
        for key, value in values.items():
            if found.get(part, {}).get(key) != value:
                there = found.get(part, {}).get(key)
                raise ValueError(f"{path.parent} holds another run: its {part}.{key} is {there!r}, not {value!r}")


def _truncate_metrics(path: Path, step: int) -> None:
    """Drop lines written after the saved state."""
    if path.exists():
        whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
        kept = [line for line in whole if json.loads(line)["step"] <= step]
        write_atomically(path, "".join(line + "\n" for line in kept).encode())
