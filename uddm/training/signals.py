"""Signals that ask a process to end wait until what they would interrupt is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")  # the last one is what submitit sends


@dataclass
class Pending:
    """The number of the signal that came, 0 for none."""

    number: int = 0


@contextmanager
def deferred() -> Iterator[Pending]:
    """Keep the first such signal, and raise it again at the end, when it does what it would have done before.

    A second one does not wait. Outside of the main thread, where Python has no signals, nothing changes.
    """
    pending = Pending()
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return

    def keep(number: int, _frame: object) -> None:
        if pending.number:
            raise KeyboardInterrupt
        pending.number = number

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in taken:
        signal.signal(number, keep)
    try:
        yield pending
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
        if pending.number:
            signal.raise_signal(pending.number)
