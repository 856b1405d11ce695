"""What a sweep of published networks costs, from what is measured here: ``python -m benchmarks.scale``, some minutes.

Measured are the operations of a forward pass (torch's counter), the rate at which this machine does them in training
and in measuring, and the bytes of what is stored. What a GPU does is assumed: its rate in bfloat16 and the share of it
that a training makes use of, as none was measured.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.speed import model_flops
from benchmarks.machine import describe
from benchmarks.uddm.steps import own_step, trained
from paper_figures.measure.networks import forward_flop, parameters
from uddm import DiTConfig, TrainConfig
from uddm.training.batches import Batches, Sequences
from uddm.training.state import State

VOCAB_SIZE, LENGTH = 30522, 128
NETWORKS = {"tiny": DiTConfig.tiny, "small": DiTConfig.small, "medium": DiTConfig.medium}
FILES = 62
"""Cells of the main network of the preset `paper`: 10 of stochastic recovery, 20 of deterministic, 15 of fixed points,
9 of entropies, 2 each of bounds, classes and examples, scores and a trajectory."""
BACKWARD = 2
"""Operations of a backward pass, in units of the forward one."""


@dataclass(frozen=True)
class Sweep:
    """162 models: three networks, nine training-set sizes, six seeds, trained as published; each is measured as the
    main network of the preset `paper` is.

    gpu, mfu: floating-point operations per second of a GPU, dense bfloat16, and the share of it that is assumed.
    sequences: training and test sequences that are measured, each. levels, greedy: noise levels of the stochastic
    recovery, and levels and times of the deterministic one. reverse_steps: of a whole reverse process. state_every:
    training steps from one state to the next, which replaces it. link: bytes per second of a network.
    """

    sizes: int = 9
    seeds: int = 6
    steps: int = 1_000_000
    batch_size: int = 512
    gpu: float = 989e12
    mfu: float = 0.35
    sequences: int = 5000
    generated: int = 20_000
    levels: int = 5
    greedy: int = 10
    reverse_steps: int = 1000
    state_every: int = 10_000
    link: float = 1e9 / 8

    @property
    def of_each(self) -> int:
        """Models of each network."""
        return self.sizes * self.seeds

    @property
    def models(self) -> int:
        return len(NETWORKS) * self.of_each

    @property
    def rate(self) -> float:
        """Operations per second that are assumed of a GPU."""
        return self.gpu * self.mfu


def shape(name: str) -> DiTConfig:
    return NETWORKS[name](VOCAB_SIZE, length=LENGTH)


def training_flop(config: DiTConfig, sweep: Sweep) -> float:
    """Of one model, by torch's count: forward, and twice that backward."""
    return (1 + BACKWARD) * forward_flop(config) * sweep.batch_size * sweep.steps


def measuring_flop(config: DiTConfig, sweep: Sweep) -> float:
    """Of one model: recovery of training and test sequences from every level, half of all steps on average, and by the
    deterministic dynamics, which asks the network in a few of them; generation; an entropy of each."""
    recovered = 2 * sweep.sequences * sweep.levels * sweep.reverse_steps / 2
    deterministic = 2 * sweep.sequences * sweep.greedy * 4
    generated = sweep.generated * sweep.reverse_steps
    return forward_flop(config) * (recovered + deterministic + generated + 2 * sweep.sequences + sweep.generated)


def model_bytes(config: DiTConfig) -> int:
    """Of the weights in `model.safetensors`, float32."""
    return 4 * parameters(config)


def state_bytes(config: DiTConfig) -> int:
    """Of `state.safetensors`: weights, their average and two moments, float32."""
    return 4 * model_bytes(config)


def cell_bytes(sweep: Sweep) -> tuple[int, int]:
    """Of a cell of recovery, three arrays of tokens in 32 bits; and for each sequence of an entropy, tokens in 32 bits
    and entropies in 64."""
    return sweep.sequences * LENGTH * 3 * 4, LENGTH * (4 + 8)


def cells_bytes(sweep: Sweep) -> int:
    """Of the large cells of one model."""
    recovery, entropy = cell_bytes(sweep)
    return 2 * (sweep.levels + sweep.greedy) * recovery + (2 * sweep.sequences + sweep.generated) * entropy


def costs(sweep: Sweep) -> dict[str, dict[str, float]]:
    """By network, and of all together. What is kept of a model are its averaged and its last weights."""
    found: dict[str, dict[str, float]] = {}
    for name in NETWORKS:
        config, n = shape(name), sweep.of_each
        states = n * state_bytes(config)
        found[name] = {
            "training, FLOP": n * training_flop(config, sweep),
            "training, GPU-hours": n * training_flop(config, sweep) / sweep.rate / 3600,
            "measuring, GPU-hours": n * measuring_flop(config, sweep) / sweep.rate / 3600,
            "models, GB": n * 2 * model_bytes(config) / 1e9,
            "states, all at once, GB": states / 1e9,
            "states written, GB": states * sweep.steps / sweep.state_every / 1e9,
            "cells, GB": n * cells_bytes(sweep) / 1e9,
            "models over the link, hours": n * model_bytes(config) / sweep.link / 3600,
            "published checkpoints over the link, hours": states / sweep.link / 3600,
        }
    found["all"] = {key: sum(found[name][key] for name in NETWORKS) for key in found["tiny"]}
    return found


def measured(name: str, *, batch: int, rounds: int, config: DiTConfig | None = None) -> dict[str, Any]:
    """Of one core: a training step and a forward pass of `batch` sequences, in operations per second."""
    config = config or shape(name)
    model = trained(replace(config, dropout=0.0))
    data = model.process.prior((4 * batch, config.length), generator=0)
    recipe = TrainConfig(steps=10**6, batch_size=batch)
    step = own_step(model, Batches(Sequences(data, model), recipe, model.process, batch, torch.device("cpu")))
    training = [_seconds(step) for _ in range(rounds + 1)][1:]
    with torch.no_grad():
        forward = [_seconds(lambda: model.predict(data[:batch], 0.1).entropy()) for _ in range(rounds)]
    flop = forward_flop(config) * batch
    return {
        "steps of one sequence, each s": batch / median(training),
        "training, GFLOP/s": (1 + BACKWARD) * flop / median(training) / 1e9,
        "measuring, GFLOP/s": flop / median(forward) / 1e9,
    }


def _seconds(run: Any) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def stored(config: DiTConfig) -> dict[str, float]:
    """Bytes of a stored model and of a stored state, what is said of them, and how fast the state is saved and read."""
    model = trained(replace(config, dropout=0.0))
    state = State(model, TrainConfig(steps=1, batch_size=1))
    for p in state.parameters.values():
        p.grad = torch.zeros_like(p)
    state.advance(0.0)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        begin = time.perf_counter()
        state.save(Path(folder))
        saved = time.perf_counter()
        state.load(Path(folder))
        read = time.perf_counter()
        sizes = [(Path(folder) / f"{name}.safetensors").stat().st_size for name in ("model", "state")]
    return {
        "model, bytes": sizes[0],
        "model, said": model_bytes(config),
        "state, bytes": sizes[1],
        "state, said": state_bytes(config),
        "state saved, GB/s": sizes[1] / (saved - begin) / 1e9,
        "state read, GB/s": sizes[1] / (read - saved) / 1e9,
    }


def looked_for(files: int) -> float:
    """Seconds to look for so many files in one folder, as planning does."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.nc" for number in range(files)]
        for path in paths:
            path.touch()
        begin = time.perf_counter()
        assert all(path.exists() for path in paths)
        return time.perf_counter() - begin


def table(found: dict[str, dict[str, float]]) -> str:
    lines = ["| | " + " | ".join(found) + " |", "|---|" + "---|" * len(found)]
    for key in found["all"]:
        form = ".2e" if "FLOP" in key else ",.1f"
        lines.append(f"| {key} | " + " | ".join(f"{column[key]:{form}}" for column in found.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mfu", type=float, default=Sweep.mfu, help="share of a GPU's rate that is assumed")
    parser.add_argument("--gpu", type=float, default=Sweep.gpu, help="FLOP/s of a GPU, bfloat16")
    parser.add_argument("--largest", choices=NETWORKS, default="small", help="up to which networks are measured here")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    given = parser.parse_args()
    sweep = Sweep(mfu=given.mfu, gpu=given.gpu)
    found: dict[str, Any] = {"costs": costs(sweep), "here": {}, "stored": {}}
    print(describe(), end="\n\n")
    for name in NETWORKS:
        config = shape(name)
        ours, counted = (1 + BACKWARD) * forward_flop(config), model_flops(config) * LENGTH
        print(f"{name}: {parameters(config):,} parameters, {ours / 1e9:.1f} GFLOP a sequence and step,", end=" ")
        print(f"{counted / 1e9:.1f} without the conditioning", flush=True)
    for name in list(NETWORKS)[: list(NETWORKS).index(given.largest) + 1]:
        found["here"][name] = measured(name, batch=4 if name == "tiny" else 1, rounds=3)
        found["stored"][name] = stored(shape(name))
        told = found["here"][name] | found["stored"][name]
        print(f"{name} on one core: " + ", ".join(f"{key} {value:,.4g}" for key, value in told.items()), flush=True)
    files = FILES * sweep.models
    found["looking for files, s"] = looked_for(files)
    print(f"looking for {files:,} files: {found['looking for files, s']:.2g} s")
    print(f"\n{sweep.models} models, a GPU of {sweep.gpu / 1e12:.0f} TFLOP/s at {sweep.mfu:.0%}\n")
    print(table(found["costs"]))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
