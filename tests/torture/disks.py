"""Disks that are full at any byte or file, calls of the system that fail, folders that cannot be written."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.torture.interruptions import goes_on, undisturbed
from tests.torture.processes import Ended, disturbed, forked, signalled
from tests.torture.workloads import WORKS, Work
from uddm.files import UnreadableFile

NAMES = ("training", "measurement", "import", "import into a folder", "corpus", "probe")
CALLS = ("fsync", "replace", "link", "mkdir", "open")
PAGE = 4096


@contextmanager
def disk() -> Iterator[Path | None]:
    """A small disk in memory, None for who may not mount one."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder]
        if subprocess.run(command, capture_output=True).returncode:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def _mounted(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def _refused(ended: Ended, folder: Path) -> str | None:
    """What is wrong with how a command ends that the disk stops: it must name a file of the folder."""
    error = ended.error
    if error is None and ended.status == 0:
        return None
    if isinstance(error, UnreadableFile) and str(folder) in str(error):
        return f"took an unfinished file for a damaged one: {error}"
    named = isinstance(error, OSError) and error.errno is not None and str(folder) in str(error)
    return None if named else f"ended with {ended.status}, {error!r}: {ended.said[-400:]}"


def full(rng: np.random.Generator, trials: int) -> Iterator[str | None]:
    """A disk with room for so many pages, or so many files; without a disk of one's own, for so many bytes a file."""
    with disk() as mount:
        for n in range(trials):
            name = NAMES[n % len(NAMES)]
            work, share = WORKS[name], (n // len(NAMES) + rng.random()) / -(-trials // len(NAMES))
            files, pages = _needs(work)
            with tempfile.TemporaryDirectory(dir=mount) as own:
                folder = Path(own)
                if mount is None:
                    ended = forked(partial(_limited, work, folder, int(share**2 * pages * PAGE)))
                else:
                    scarce = (
                        f"nr_inodes={4 + int(share * files)}"
                        if n % 3 == 0
                        else f"size={PAGE * (1 + int(share * pages))}"
                    )
                    ended = _on(mount, scarce, partial(work.run, folder))
                problem = _refused(ended, folder) or goes_on(work, folder)
            yield problem and f"{name}, disk of {share:.2f} of its need: {problem}"


def _on(mount: Path, options: str, run: Callable[[], Any]) -> Ended:
    """`run` on a disk that has other options meanwhile."""
    _mounted(mount, options)
    try:
        return forked(run)
    finally:
        _mounted(mount, "rw,size=64m,nr_inodes=100000")


@cache
def _needs(work: Work) -> tuple[int, int]:
    """Files and pages of an undisturbed run."""
    undisturbed(work)
    with tempfile.TemporaryDirectory() as folder:
        forked(partial(work.run, Path(folder)))
        sizes = [path.stat().st_size if path.is_file() else PAGE for path in Path(folder).rglob("*")]
    return len(sizes) + 4, sum(-(-size // PAGE) for size in sizes) + 4


def _limited(work: Work, folder: Path, size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    work.run(folder)


def failing(rng: np.random.Generator, trials: int) -> Iterator[str | None]:
    """One call of the system fails, or all from one on: no space, or a fault of the device."""
    for n in range(trials):
        name, call = NAMES[n % len(NAMES)], CALLS[n // len(NAMES) % len(CALLS)]
        work, number = WORKS[name], (errno.ENOSPC, errno.EIO)[rng.integers(2)]
        with tempfile.TemporaryDirectory() as own:
            folder = Path(own)
            at, forever = int(rng.integers(_number(work, call) + 1)), bool(rng.integers(2))
            ended = forked(partial(_calls, work, folder, call, at, number, forever))
            problem = _refused(ended, folder) or goes_on(work, folder)
        yield problem and f"{name}, {call} number {at} gives {errno.errorcode[number]}: {problem}"


@cache
def _number(work: Work, call: str) -> int:
    """How often an undisturbed run makes a call of the system."""
    undisturbed(work)
    with tempfile.TemporaryDirectory() as folder:
        return forked(partial(_calls, work, Path(folder), call)).value


def _calls(work: Work, folder: Path, call: str, at: int | None = None, number: int = 0, forever: bool = False) -> int:
    """Run a command, one of whose calls fails; gives how many there were."""
    count, inner = -1, getattr(os, call)

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if at is not None and (count == at or (forever and count > at)):
            raise OSError(number, os.strerror(number), *([str(arguments[0])] if call != "fsync" else []))
        return inner(*arguments, **options)

    setattr(os, call, failing)
    work.run(folder)
    return count + 1


def read_only(rng: np.random.Generator, trials: int) -> Iterator[str | None]:
    """A folder that cannot be written any more: what is finished in it is read, and what is not is refused by name."""
    with disk() as mount:
        for n in range(trials if mount else 0):
            name = NAMES[n % len(NAMES)]
            work, finished = WORKS[name], n // len(NAMES) % 2 == 0
            with tempfile.TemporaryDirectory(dir=mount) as own:
                folder = Path(own)
                at = undisturbed(work)[1].draw(rng)
                forked(
                    partial(work.run, folder) if finished else disturbed(partial(work.run, folder), at, signalled(9))
                )
                ended = _on(mount, "ro", partial(work.run, folder))
                problem = _refused(ended, folder)
                if finished and name not in ("probe",) and (ended.status or ended.error):
                    problem = f"what is finished is not read: {ended.error!r}: {ended.said[-400:]}"
                problem = problem or goes_on(work, folder)
            yield problem and f"{name}: {problem}"
