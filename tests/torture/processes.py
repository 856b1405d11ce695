"""Work in a forked process, which may be killed at any of its steps, and how it ended."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

FILES = {"open", "write", "writelines", "flush", "fsync", "replace", "link", "unlink", "mkdir", "rmdir", "rename"}
"""Names of the built-in functions that change files."""


class Ended(NamedTuple):
    """How a process ended: its exit status, or minus the signal; what the work returned or raised; what it said."""

    status: int
    value: Any = None
    error: BaseException | None = None
    said: str = ""


def forked(work: Callable[[], Any], *, seconds: float = 120, memory: int | None = None) -> Ended:
    """What becomes of `work` in a process of its own, which may take so many seconds and bytes more than this one."""
    return started(work, memory=memory).wait(seconds)


class Child(NamedTuple):
    pid: int
    reading: int
    said: Path

    def wait(self, seconds: float = 120) -> Ended:
        """A process that takes longer is killed, and counts as one that hangs."""
        deadline, outcome = time.monotonic() + seconds, b""
        os.set_blocking(self.reading, False)
        while True:
            with suppress(BlockingIOError):
                while part := os.read(self.reading, 2**20):
                    outcome += part
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                os.close(self.reading)
                return Ended(0, error=TimeoutError(f"no end after {seconds} s"))
            time.sleep(0.002)
        with suppress(BlockingIOError):
            while part := os.read(self.reading, 2**20):
                outcome += part
        os.close(self.reading)
        said = self.said.read_text(errors="replace")
        self.said.unlink()
        value, error = pickle.loads(outcome) if outcome else (None, None)
        return Ended(os.waitstatus_to_exitcode(status), value, error, said)


def started(work: Callable[[], Any], *, memory: int | None = None) -> Child:
    """A forked process that does `work`."""
    reading, writing = os.pipe()
    said = Path(f"/tmp/.torture-{os.getpid()}-{reading}-{time.monotonic_ns()}")
    if pid := os.fork():
        os.close(writing)
        return Child(pid, reading, said)
    status, outcome = 1, (None, None)
    try:
        os.close(reading)
        descriptor = os.open(said, os.O_CREAT | os.O_WRONLY, 0o600)
        for number in (1, 2):
            os.dup2(descriptor, number)
        if memory is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        outcome, status = (work(), None), 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        traceback.print_exc()
        outcome = (None, _portable(error))
    finally:
        sys.setprofile(None)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps(outcome))
        os._exit(status)


def _portable(error: BaseException) -> BaseException:
    """An error that can be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class Steps(NamedTuple):
    """Of an undisturbed work: how many calls and returns, and which of them change files."""

    number: int
    files: list[int]

    def draw(self, rng: Any) -> int:
        """One of them, half of the time where files are changed, before or after that."""
        if self.files and rng.random() < 0.5:
            return int(rng.choice(self.files)) + int(rng.integers(2))
        return int(rng.integers(1, self.number + 1))


def counted(work: Callable[[], Any]) -> Callable[[], Steps]:
    """The work, giving its steps."""

    def count() -> Steps:
        number, files = 0, []

        def step(_frame: object, event: str, function: Any) -> None:
            nonlocal number
            number += 1
            if event == "c_call" and getattr(function, "__name__", "") in FILES:
                files.append(number)

        sys.setprofile(step)
        try:
            work()
        finally:
            sys.setprofile(None)
        return Steps(number, files)

    return count


def disturbed(work: Callable[[], Any], at: int, disturb: Callable[[], object]) -> Callable[[], Any]:
    """The work, at the `at`-th step of which something happens."""

    def do() -> Any:
        number = 0

        def step(*_: object) -> None:
            nonlocal number
            number += 1
            if number == at:
                sys.setprofile(None)
                disturb()

        sys.setprofile(step)
        try:
            return work()
        finally:
            sys.setprofile(None)

    return do


def signalled(number: int) -> Callable[[], None]:
    """Sends a signal to the process that calls it."""
    return lambda: os.kill(os.getpid(), number)
