"""The training loop: AdamW on the NELBO, a weight average, and exact resume after any interruption.

Every random stream is keyed by (seed, purpose, step), so the state to save is weights, average and optimizer moments.
They stand in one safetensors file, or in shards with a record (`uddm.training.shards`), replaced atomically: a run
killed at any moment and started again ends with the weights of a run that was never interrupted, bit for bit (same
machine, same number of threads).

On several processes (`uddm.training.distributed`) each takes its rows of one global batch, whose order, times and
corruption are those of a single process: the gradients are the same, but for rounding and what has a stream for each
micro-batch, dropout and a curriculum's relaxed tokens.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor, nn

from uddm._validation import (
    check_choice,
    check_curriculum,
    check_device,
    check_flag,
    check_kind,
    check_positive_int,
)
from uddm.config import NetworkConfig, TrainConfig
from uddm.denoisers.network import Network
from uddm.files import UnreadableFile, as_path, locked, read_json, to_json, write_atomically
from uddm.objective import LOSSES, expected_nelbo
from uddm.training.batches import Batch, Batches, Sequences
from uddm.training.distributed import any_rank, on_first, world_size
from uddm.training.log import Log
from uddm.training.signals import deferred
from uddm.training.state import State, discard


def train(
    model: Network,
    data: Integer[Tensor, "P L"] | Integer[np.ndarray, "P L"],
    config: TrainConfig,
    run_dir: str | Path,
    *,
    tokenizer: Any = None,
    device: str | torch.device = "cpu",
    micro_batch: int | None = None,
    parallel: Literal["ddp", "fsdp"] = "ddp",
    compile: bool = False,
    deterministic: bool = False,
    tensorboard: bool = False,
    progress: int | None = 0,
) -> Network:
    """Train `model` on `data`, or go on where `run_dir` stopped; return the model with its averaged weights.

    Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 end it after the step at hand, with its state saved; another process
    that trains in the same folder is waited for.

    `run_dir` receives config.json (what determines the run), state.safetensors or, of "fsdp", state.json and its shards
    (to resume, on any number of processes), metrics.jsonl (step, loss in nats per token, gradient norm, learning rate,
    seconds) and, at the end, the folders `raw`, with the weights of the last step, and `model`, with their average
    (`save_pretrained`).

    Parameters
    ----------
    model : initial weights; used only if the run has not started
    data : training sequences, (N, L) ids; a memory-mapped array stays on disk
    config : optimizer, loss, numbers of steps and of sequences in a batch, seed
    run_dir : folder of the run, new or that of this run
    tokenizer : saved with the model; default None
    device : of the network; default "cpu"
    micro_batch : sequences in a forward pass on one process; gradients accumulate over as many passes as the batch
        takes, which changes what is drawn by dropout and a curriculum; None, the default, for the whole share of the
        process
    parallel : on several processes, copies of the model, "ddp", the default, or shards of it, "fsdp", whose state is
        saved in shards, too
    compile : torch.compile the network up to its read-out; default False
    deterministic : only algorithms that give the same bits each time, also on a GPU; slower; default False. Where
        cuBLAS has been used already, set CUBLAS_WORKSPACE_CONFIG=:4096:8 before.
    tensorboard : also write the metrics as TensorBoard events (the extra `tensorboard`); default False
    progress : screen line of the progress bar; default 0, the current one; None for no bar

    Returns
    -------
    Network in evaluation mode, with averaged weights: `model` itself, or what was saved where the run had ended

    Raises
    ------
    ValueError : `run_dir` holds a run of another configuration or data, or an unreadable state; `micro_batch` or the
        number of processes does not divide the batch; `model` has frozen parameters or weights of half precision, or
        does not read the relaxed tokens of a curriculum, or has no uniform noise for it; data that are no sequences of
        the model
    KeyboardInterrupt : Ctrl-C or one of the signals, after the state is saved
    FloatingPointError : loss or gradient is not finite. The weights were not touched, and the last saved state is kept,
        which had a finite loss and gradient itself. The batch is in `offending-RANK.safetensors` of `run_dir`: clean
        tokens x, noisy tokens z and what the network read instead under a curriculum, times t, step. Or the trained
        weights are not finite.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> from uddm import HollowMLP, HollowMLPConfig, TrainConfig, train
    >>> data = torch.arange(40).reshape(8, 5) % 3
    >>> model = HollowMLP(HollowMLPConfig(3, length=5, hidden_dim=4, cond_dim=4, embed_dim=4, blocks=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = train(model, data, TrainConfig(steps=2, batch_size=4), folder, progress=None)
    >>> model.training, model.cavity(data, 0.5).shape
    (False, torch.Size([8, 5, 3]))
    """
    check_kind("model", model, Network)
    check_kind("config", config, TrainConfig)
    check_choice("parallel", parallel, ("ddp", "fsdp"))
    for name, value in (("compile", compile), ("deterministic", deterministic), ("tensorboard", tensorboard)):
        check_flag(name, value)
    if tensorboard:
        import_module("torch.utils.tensorboard")  # where it is not installed nothing is begun
    if config.curriculum and not model.reads_relaxed:
        raise ValueError(f"`curriculum` needs a network that reads relaxed tokens, as DiT, got {type(model).__name__}")
    if config.curriculum:
        check_curriculum(model.config)
    sequences = Sequences(data, model)
    if not all(p.requires_grad for p in model.parameters()):
        raise ValueError("`model` must have trainable parameters only, got frozen ones")
    if half := {p.dtype for p in model.parameters() if p.dtype.itemsize < 4}:
        raise ValueError(f"`model` must have float32 weights to be trained, got {half.pop()}: load it as float32")
    micro_batch, device = check_micro_batch(config, micro_batch), check_device(device)
    run = as_path("run_dir", run_dir)
    data_record = {"sequences": len(sequences), "sha256": sequences.sha256}
    on_first(lambda: claim(run, model.config, config, data_record))

    def finished() -> bool:
        return on_first((run / "model" / "config.json").exists)

    if finished():
        return type(model).from_pretrained(run / "model").to(device)
    objective = _Objective(model, config)
    with ExitStack() as stack:
        on_first(lambda: stack.enter_context(locked(run / ".lock", f"trains in {run}")))
        if finished():  # by the process that was waited for
            return type(model).from_pretrained(run / "model").to(device)
        model.to(device).train()
        model.origin = None  # its weights are going to be others
        if compile:
            stack.enter_context(_compiled(model))
        stack.enter_context(_deterministic(deterministic))
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        wrapped = _parallel(objective, parallel)
        state = State(model, config)
        state.load(run)
        log = stack.enter_context(Log(run, config, state.step, tensorboard, progress))
        batches, start = Batches(sequences, config, model.process, micro_batch, device), state.step

        pending = stack.enter_context(deferred())
        while state.step < config.steps:
            loss, norm = state.clip(_backward(wrapped, batches, state.step), lambda: batches.record(state.step, run))
            stop = any_rank(bool(pending.number), device)
            if state.step > start and (stop or state.step % config.checkpoint_every == 0):
                state.save(run)  # of weights that are known to give finite gradients
            if stop:
                pending.number = pending.number or signal.SIGTERM  # that of another process
                raise KeyboardInterrupt
            state.advance(loss)
            log.add(state.step, state.losses, norm)
        finished_weights = state.finished()
        if world_size() > 1 and parallel == "fsdp":
            model = type(model)(model.config).to(device)
        for name, weights in finished_weights.items():
            model.load_state_dict(weights, strict=False)
            on_first(partial(model.eval().save_pretrained, run / name, tokenizer))
        on_first(partial(discard, run))
    return model


class _Objective(nn.Module):
    """The loss of a batch as one module, so that what wraps it meets every use of a weight."""

    def __init__(self, model: Network, config: TrainConfig):
        super().__init__()
        self.model, self.config = model, config

    def forward(self, batch: Batch) -> Tensor:
        """Weighted sum over sequences of the mean loss over tokens."""
        low_precision = self.config.precision == "bfloat16"
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=low_precision):
            cavity = self.model.predict_at(batch.inputs, batch.z, batch.process, batch.t)
        if self.config.loss == "nelbo" and self.model.hollow:
            per_token = expected_nelbo(batch.process, cavity, batch.x, batch.t)
        else:
            per_token = LOSSES[self.config.loss](batch.process, cavity, batch.x, batch.z, batch.t)
        return (batch.weights * per_token.mean(1)).sum()


def _backward(objective: nn.Module, batches: Batches, step: int) -> Tensor:
    """Gradients of one step, accumulated over the micro-batches of this process; the mean loss over all processes."""
    total = torch.zeros((), dtype=torch.float64, device=batches.device)
    for number, batch in enumerate(batches.of(step), 1):
        with _accumulating(objective, last=number == batches.number):
            loss = objective(batch)
            loss.backward()
        total += loss.detach()
    return total


def _parallel(objective: _Objective, parallel: str) -> Any:
    if world_size() == 1:
        return objective
    if parallel == "ddp":
        return nn.parallel.DistributedDataParallel(objective)
    from torch.distributed.fsdp import fully_shard

    for block in getattr(objective.model, "blocks", ()):
        fully_shard(block)
    return fully_shard(objective)


@contextmanager
def _accumulating(objective: Any, last: bool) -> Iterator[None]:
    """Gradients meet those of other processes after the last micro-batch only."""
    if isinstance(objective, nn.parallel.DistributedDataParallel):
        with nullcontext() if last else objective.no_sync():
            yield
        return
    if hasattr(objective, "set_requires_gradient_sync"):  # sharded
        objective.set_requires_gradient_sync(last)
    yield


@contextmanager
def _compiled(model: Network) -> Iterator[None]:
    vars(model)["hidden"] = torch.compile(model.hidden)  # beside the class's own
    try:
        yield
    finally:
        del vars(model)["hidden"]


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def check_micro_batch(config: TrainConfig, micro_batch: int | None) -> int:
    """Sequences in a forward pass of each process; ValueError unless the batch is a whole number of them."""
    share, rest = divmod(config.batch_size, world_size())
    if rest or not share:
        raise ValueError(f"`batch_size` must be a multiple of the {world_size()} processes, got {config.batch_size}")
    micro_batch = min(share if micro_batch is None else check_positive_int("micro_batch", micro_batch), share)
    if share % micro_batch:
        raise ValueError(f"`micro_batch` must divide the {share} sequences of a process, got {micro_batch}")
    return micro_batch


def claim(run: Path, model: NetworkConfig, config: TrainConfig, data: dict[str, Any] | None) -> None:
    """Write what determines the run, or refuse a folder that holds another one; only the latter without `data`.

    Of several processes that claim one folder at once, one writes and the others find what it wrote.
    """
    path = run / "config.json"
    parts = {"model": model.to_dict(), "training": asdict(config), "data": data or {}}
    wanted = json.loads(json.dumps(parts))  # as it reads back: tuples become lists
    if data and not path.exists():
        run.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            write_atomically(path, to_json(wanted), exclusive=True)
    if not path.exists():
        return
    found = read_json(path)
    for part, values in wanted.items():
        if not isinstance(held := found.get(part, {}), dict):
            raise UnreadableFile(f"{path} is not the configuration of a run: its {part} is {held!r}")
        for key, value in values.items():
            if (there := held.get(key)) != value:
                raise ValueError(f"{path.parent} holds another run: its {part}.{key} is {there!r}, not {value!r}")
