"""How the command lines of all packages meet their users."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any, NoReturn, TextIO

import tyro

from uddm.files import UnreadableFile

GO_ON = "run the same command again to go on"
_POLITE = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")  # of schedulers, containers and closed terminals
_EXTRAS = {
    "torch": "torch",
    "safetensors": "torch",
    "tokenizers": "torch",
    "huggingface_hub": "torch",
    "tensorboard": "tensorboard",
    "distributed": "dask",
    "submitit": "slurm",
}


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C asked the process to end."""

    def __init__(self, number: int):
        self.number = number


@contextmanager
def user_errors() -> Iterator[None]:
    """Bad values, or a diverged training, end with one line and status 2; `run_commands` sees to the system's errors,
    and what neither knows is a defect of ours."""
    try:
        yield
    except (ValueError, TypeError, FloatingPointError) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    print(printable(f"error: {message}", sys.stderr), file=sys.stderr)
    sys.exit(2)


def printable(text: str, stream: TextIO) -> str:
    """`text`; for a terminal, with its control characters but for line breaks and tabs written as escapes."""
    if not stream.isatty():
        return text
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def run_commands(commands: Mapping[str, Callable[..., Any]], *, prog: str, description: str | None) -> None:
    """Dispatch sys.argv to one of the functions.

    Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 end it with status 128 + signal and a word on how to go on; a closed
    pipe ends it quietly, with status 141; bad settings and what the system denies end it with one line and status 2.
    Characters that the terminal or file cannot show are printed as escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # replaced by an object without it, or closed
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with _polite_signals():
            if "" in sys.argv[1:]:
                fail("an argument is empty: is a variable unset? (the current folder is written .)")
            try:
                later = {name: _later(command) for name, command in commands.items()}
                with user_errors():  # of settings that check themselves
                    do = tyro.extras.subcommand_cli_from_dict(later, prog=prog, description=description)
                do()
            finally:
                if sys.stdout:
                    sys.stdout.flush()
    except BrokenPipeError:
        _end_quietly()
    except KeyboardInterrupt as end:
        number = end.number if isinstance(end, Ended) else signal.SIGINT
        how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        with suppress(OSError):  # the terminal may be gone
            print(f"{how}: {GO_ON}", file=sys.stderr)
        sys.exit(128 + number)
    except Exception as error:
        message = explanation(error)
        if message is None:
            raise
        fail(message)


def explanation(error: BaseException) -> str | None:
    """What the user can do about an error that is no defect of ours, in one line; None for any other."""
    first = (str(error).strip().splitlines() or [""])[0]
    kind = type(error)
    if isinstance(error, ImportError):
        missing = (error.name or "").split(".")[0]
        if missing in _EXTRAS:
            return f"{missing} is not installed: python -m pip install 'amtheory[{_EXTRAS[missing]}]'"
        return None
    if kind.__name__ in ("TerminatedWorkerError", "BrokenProcessPool"):
        return f"a worker process was ended from outside (out of memory?): {GO_ON}, perhaps with fewer --jobs"
    if isinstance(error, MemoryError) or kind.__name__ == "OutOfMemoryError" or "can't allocate memory" in first:
        return f"out of memory ({first}): {GO_ON} with a smaller network, batch or number of processes"
    if kind.__module__.startswith(("torch._inductor", "torch._dynamo")):
        return f"torch.compile failed ({first}): leave --compile out"
    return str(error) if isinstance(error, OSError | UnreadableFile) else None


def _later(command: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """The command as what gives the call to be made."""

    @wraps(command)
    def call(*arguments: Any, **options: Any) -> Callable[[], Any]:
        return partial(command, *arguments, **options)

    return call


@contextmanager
def _polite_signals() -> Iterator[None]:
    """Signals that would end the process at once raise `Ended` instead; those that it was started to ignore stay so."""

    def end(number: int, _frame: object) -> NoReturn:
        raise Ended(number)

    numbers = [getattr(signal, name) for name in _POLITE if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _end_quietly() -> NoReturn:
    """Whoever read our output has gone: nothing more is written to it, also not when the interpreter ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(null, stream.fileno())
    sys.exit(141)
