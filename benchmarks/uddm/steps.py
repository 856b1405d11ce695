"""A training step and generation at Tiny, K = 30522, L = 128, B = 4, against the plain way on the same network."""

import copy
import itertools
from pathlib import Path

import torch

from benchmarks.harness import Case, Peer
from benchmarks.uddm import plain
from uddm import DiT, DiTConfig, TrainConfig, UniformProcess, reverse
from uddm.training.batches import Batches, Sequences
from uddm.training.loop import _backward, _Objective
from uddm.training.state import State

K, L, B, STEPS = 30522, 128, 4, 10


def cases() -> list[Case]:
    torch.manual_seed(0)
    model = DiT(DiTConfig.tiny(K))
    torch.nn.init.normal_(model.output_layer.linear.weight, std=0.02)  # as if trained: not the same logits for all
    process = UniformProcess(K)
    data = process.prior((64, L), generator=0)
    return [_training(model, data), _generation(model)]


def _training(model: DiT, data: torch.Tensor) -> Case:
    ours, theirs = copy.deepcopy(model).train(), copy.deepcopy(model).train()
    config = TrainConfig(steps=10**6, batch_size=B, first_time=1e-3)
    state, objective = State(ours, config), _Objective(ours, config)
    batches = Batches(Sequences(data, ours), config, ours.process, B, torch.device("cpu"))
    optimizer = torch.optim.AdamW(theirs.parameters(), 3e-4, fused=True)
    noises = itertools.count()

    def own_step() -> None:
        loss, _ = state.clip(_backward(objective, batches, state.step), Path)
        state.advance(loss)

    def plain_step() -> None:
        (batch,) = batches.of(next(noises))
        plain.training_step(theirs, optimizer, batch.x, batch.z, theirs.process.one_minus_alpha(batch.t))

    title = f"training step, DiT tiny, K = {K}, L = {L}, B = {B}, float32"
    return Case(title, own_step, [Peer("one-hot loss over B L K", plain_step, bar=1.3)], rounds=7, name="uddm")


def _generation(model: DiT) -> Case:
    """Few steps for time's sake: at 1000 fewer tokens move in each, which is where our way draws."""
    model = model.eval()
    z = model.process.prior((B, L), generator=1)

    def own() -> None:
        reverse(model.process, model, z, steps=STEPS, last="none", generator=2)

    title = f"generation, {STEPS} steps, DiT tiny, K = {K}, L = {L}, B = {B}, float32"
    peer = Peer("float64 B L K posterior and draws", lambda: plain.generate(model, z, STEPS), bar=3)
    return Case(title, own, [peer], rounds=3, name="uddm")
