"""A training step and generation at Tiny, K = 30522, L = 128, B = 4, against the plain way on the same network."""

import copy
import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.harness import Case, Peer
from benchmarks.uddm import plain
from uddm import DiT, DiTConfig, TrainConfig, UniformProcess, reverse
from uddm.training.batches import Batches, Sequences
from uddm.training.loop import _backward, _Objective
from uddm.training.state import State

K, L, B, STEPS = 30522, 128, 4, 10


def trained(config: DiTConfig, std: float = 0.02) -> DiT:
    """As if trained: weights that start at 0, those of the read-out and of all gates, are not."""
    torch.manual_seed(0)
    model = DiT(config)
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=std)
    return model


def own_step(model: DiT, batches: Batches) -> Callable[[], None]:
    """A training step as `uddm.train` takes it."""
    state, objective = State(model.train(), batches.config), _Objective(model, batches.config)

    def step() -> None:
        loss, _ = state.clip(_backward(objective, batches, state.step), Path)
        state.advance(loss)

    return step


def plain_step(
    model: DiT, batches: Batches, losses: Callable[..., Tensor] = plain.sequence_losses
) -> Callable[[], None]:
    """A training step of the same batches with one-hot vectors."""
    optimizer = torch.optim.AdamW(model.train().parameters(), batches.config.learning_rate, fused=True)
    numbers, low = itertools.count(), batches.config.precision == "bfloat16"
    return lambda: plain.training_step(model, optimizer, batches.of(next(numbers)), losses, low)


def cases() -> list[Case]:
    model, process = trained(DiTConfig.tiny(K)), UniformProcess(K)
    return [_training(model, process.prior((64, L), generator=0)), _generation(model)]


def _training(model: DiT, data: Tensor) -> Case:
    config = TrainConfig(steps=10**6, batch_size=B, first_time=1e-3)
    batches = Batches(Sequences(data, model), config, model.process, B, torch.device("cpu"))
    own, theirs = own_step(copy.deepcopy(model), batches), plain_step(copy.deepcopy(model), batches)
    title = f"training step, DiT tiny, K = {K}, L = {L}, B = {B}, float32"
    return Case(title, own, [Peer("one-hot loss over B L K", theirs, bar=1.3)], rounds=7, name="uddm")


def _generation(model: DiT) -> Case:
    """Few steps for time's sake: at 1000 fewer tokens move in each, which is where our way draws."""
    model = model.eval()
    z = model.process.prior((B, L), generator=1)

    def own() -> None:
        reverse(model.process, model, z, steps=STEPS, last="none", generator=2)

    title = f"generation, {STEPS} steps, DiT tiny, K = {K}, L = {L}, B = {B}, float32"
    peer = Peer("float64 B L K posterior and draws", lambda: plain.generate(model, z, STEPS), bar=3)
    return Case(title, own, [peer], rounds=3, name="uddm")
