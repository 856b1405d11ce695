"""Command line: python -m bridges identities."""

from __future__ import annotations

import sys
from typing import Annotated

import tyro

from uddm.command_line import run_commands, user_errors


def identities(*, only: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="NAME...")] = None) -> None:
    """Derive the paper's equations and the exact bridges, and compare them with the library; half a minute for all.

    Ends with status 1 if a corrected form is not proved, the library disagrees with it, or a printed form fails where
    no erratum is recorded.

    Args:
        only: names of identities; by default all.
    """
    from bridges.identities import IDENTITIES, REMARKS, check_all, remark_report, report, summary
    from uddm._validation import check_choice

    results = []
    with user_errors():
        if only == ():
            raise ValueError("`only` must be followed by names of identities, got none")
        for name in only or ():
            check_choice("only", name, IDENTITIES)
        for name in only or IDENTITIES:
            results += check_all([name])
            print(report(results[-1]), end="\n\n", flush=True)
    if not only:
        print(*map(remark_report, REMARKS), sep="\n\n", end="\n\n")
    print(summary(results))
    if not all(result.passed for result in results):
        sys.exit(1)


def main() -> None:
    run_commands({"identities": identities}, prog="python -m bridges", description=__doc__)


if __name__ == "__main__":
    main()
