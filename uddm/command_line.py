"""How the command lines of all packages meet their users."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tyro


@contextmanager
def user_errors() -> Iterator[None]:
    """What the user can mend, or a diverged training, ends with one line and status 2; all else is a defect of ours."""
    try:
        yield
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def run_commands(commands: Mapping[str, Callable[..., Any]], *, prog: str, description: str | None) -> None:
    """Dispatch sys.argv to one of the functions; an interruption ends with status 130 and says how to go on."""
    try:
        tyro.extras.subcommand_cli_from_dict(dict(commands), prog=prog, description=description)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        sys.exit(130)
