"""What the processes of `test_runs_side_by_side.py` run: a training as a command, slow enough to be interrupted."""

import sys
import time

import torch

import uddm.training.loop as loop
from uddm import HollowMLP, HollowMLPConfig, TrainConfig, train
from uddm.command_line import run_commands
from uddm.training.distributed import process_group


def run(folder: str, steps: int) -> None:
    torch.manual_seed(0)
    model = HollowMLP(HollowMLPConfig(6, length=5, hidden_dim=8, blocks=1, embed_dim=4, cond_dim=8))
    data = torch.randint(6, (40, 5), generator=torch.Generator().manual_seed(0))
    config = TrainConfig(steps=steps, batch_size=4, warmup=1, log_every=10, checkpoint_every=10**6)
    with process_group("cpu"):
        train(model, data, config, folder, progress=None)


def main(command: str, steps: int, folder: str) -> None:
    quick = loop._backward

    def _backward(*arguments):
        time.sleep(0.01)
        return quick(*arguments)

    loop._backward = _backward
    sys.argv = ["script", command, "--steps", str(steps), "--folder", str(folder)]
    run_commands({"run": run, "none": run}, prog="script", description=None)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
