"""Processes that have torch when they begin: forked from one that has imported it and done nothing else."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["torch._dynamo", "torch.distributed.run", "uddm.training.from_text"])


def start(function: Callable, *arguments, said: Path) -> ForkServerProcess:
    """Begin `function(*arguments)` in a process that writes to the file `said`: an error is its exit code 1."""
    process = _SERVER.Process(target=_speaking, args=(said, function, *arguments))
    process.start()
    return process


def torchrun(*words, said: Path, restarts: int = 0) -> ForkServerProcess:
    """Begin ``torchrun --nproc-per-node 2``, the workers of which have torch, too; `words` are a script and its own."""
    options = ["--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}", "--start-method=fork", "--run-path"]
    return start(_run, [*options, *map(str, words)], said=said)


def _speaking(said: Path, function: Callable, *arguments) -> None:
    with said.open("w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    _one_thread()
    function(*arguments)


def _run(arguments: list[str]) -> None:
    from torch.distributed.run import main

    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # after a restart nobody looks where another was before
    main(arguments)


def _one_thread() -> None:
    """As in the tests, whose numbers could differ in the last bits."""
    import torch

    torch.set_num_threads(1)
