"""What each process of `test_distributed.py` runs: ``torchrun ... distributed_worker.py FOLDER``."""

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import torch
from safetensors.torch import save_file

import uddm.training.loop as loop
from uddm import DiT, DiTConfig, TrainConfig, train
from uddm.training import distributed
from uddm.training.batches import Batches, Sequences
from uddm.training.distributed import process_group, rank, world_size
from uddm.training.loop import _backward, _Objective, _parallel

DATA = torch.randint(6, (40, 5), generator=torch.Generator().manual_seed(0))
CONFIG = TrainConfig(steps=12, batch_size=8, learning_rate=1e-2, warmup=3, seed=3, log_every=3, checkpoint_every=3)


def make() -> DiT:
    torch.manual_seed(1)
    return DiT(DiTConfig(6, length=5, hidden_dim=16, blocks=2, heads=2, cond_dim=8, dropout=0.0))


def gradients(folder: Path, parallel: str, micro_batch: int) -> None:
    """The gradients of step 4 after weights that are not those at the start, and this process's tokens."""
    model = make()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    objective = _parallel(_Objective(model, CONFIG), parallel)
    batches = Batches(Sequences(DATA, model), CONFIG, model.process, micro_batch, torch.device("cpu"))
    _backward(objective, batches, 4)
    found = {}
    for name, p in model.named_parameters():
        found[name] = (p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad).contiguous()
    for name in ("x", "z", "t"):
        found[f"batch.{name}"] = torch.cat([getattr(batch, name) for batch in batches.of(4)])
    save_file(found, folder / f"{parallel}-{rank()}.safetensors")


def run(folder: Path, parallel: str, *, kill_at: int | None = None) -> None:
    """A training run, the last process of which may be killed."""

    class Dying(Batches):
        def of(self, step):
            if step == kill_at and rank() == world_size() - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().of(step)

    loop.Batches = Dying
    model = train(make(), DATA, CONFIG, folder, parallel=parallel, progress=None)
    save_file(
        {name: p.contiguous() for name, p in model.state_dict().items()}, folder / f"returned-{rank()}.safetensors"
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    distributed.MEETING = timedelta(seconds=20)
    with process_group():
        for parallel in ("ddp", "fsdp"):
            if not (folder / f"{parallel}-killed").exists():
                gradients(folder, parallel, micro_batch=2)
                run(folder / f"{parallel}-whole", parallel)
                run(folder / f"{parallel}-killed", parallel, kill_at=8)
            run(folder / f"{parallel}-killed", parallel)
