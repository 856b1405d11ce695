"""Worker processes of our own making: they end with their owner, and a training that runs in one saves its state first.

Only those of joblib's loky backend are ours. Signals that end the owner are passed on as SIGTERM, which `uddm.train`
takes as a request to save and stop. A worker that has stopped says so and waits to be killed: loky kills all workers
once one has died, whatever they are about to save.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import active_children
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

PATIENCE = 1.0
"""Seconds that workers have to hear of a signal themselves, as all processes of a job do that a scheduler ends: a
second one would not wait."""
GRACE = 20.0
"""Seconds that they have to stop after that."""

_OTHERS = [getattr(signal, name) for name in ("SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


@cache
def serve(owner: int, folder: Path) -> None:
    """Make this process a worker of the process `owner`, once."""

    def stop(_number: int, _frame: object) -> NoReturn:
        if os.getppid() == owner:
            with suppress(OSError):  # a full disk; then the owner waits
                _stopped(folder, os.getpid()).touch()
        while os.getppid() == owner:
            time.sleep(0.1)
        os._exit(1)

    def watch() -> NoReturn:
        while os.getppid() == owner:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)

    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which would outlive a process that is killed
    signal.signal(signal.SIGTERM, stop)
    for number in _OTHERS:  # a terminal sends them to all its processes
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def stopped_first(folder: Path) -> Iterator[None]:
    """A signal that somebody here handles is handled once the workers have stopped. In the main thread alone, where
    Python has signals."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, *_OTHERS)}
        before = {number: handler for number, handler in handlers.items() if callable(handler)}

    def end(number: int, frame: object) -> None:
        _handle(before)  # a second one does not wait
        ours = [child for child in active_children() if child.name.startswith("LokyProcess")]
        _wait(folder, ours, PATIENCE)
        for worker in _running(folder, ours):
            worker.terminate()
        _wait(folder, ours, GRACE)
        for worker in ours:
            _stopped(folder, worker.pid).unlink(missing_ok=True)
        before[number](number, frame)

    _handle(dict.fromkeys(before, end))
    try:
        yield
    finally:
        _handle(before)


def _handle(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _wait(folder: Path, workers: list[Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _running(folder, workers) and time.monotonic() < deadline:
        time.sleep(0.05)


def _running(folder: Path, workers: list[Any]) -> list[Any]:
    return [worker for worker in workers if worker.is_alive() and not _stopped(folder, worker.pid).exists()]


def _stopped(folder: Path, pid: int | None) -> Path:
    """A file that says that a worker has stopped."""
    return folder / f".stopped-{pid}"
