"""Command line of the fault campaign."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from tests.torture import disks, interruptions, mutations
from tests.torture.interruptions import through
from uddm.streams import keyed_seed

ALL = {"training": 3, "measurement": 2, "sweep": 2, "import": 1, "import into a folder": 1, "probe": 2, "corpus": 2}
SHORT = {name: weight for name, weight in ALL.items() if name not in ("sweep", "probe")}
Trials = Callable[[np.random.Generator, int], Iterator[str | None]]
KINDS: dict[str, tuple[Trials, int]] = {
    "control": (interruptions.control, 30),
    "kill": (partial(through, interruptions.kill, ALL), 180),
    "signal": (partial(through, interruptions.end, ALL), 80),
    "memory": (partial(through, interruptions.exhaust, ALL), 40),
    "twice": (partial(through, interruptions.double, SHORT), 40),
    "clock": (partial(through, interruptions.jump, SHORT), 30),
    "gradient": (partial(through, interruptions.poison, {"training": 1}), 30),
    "disk": (disks.full, 120),
    "call": (disks.failing, 120),
    "read-only": (disks.read_only, 30),
    "mutation": (mutations.all_readers, 4000),
}
"""Of each kind, what runs its trials, and how many there are in a whole campaign."""


def campaign(kinds: dict[str, int], seed: int) -> int:
    """Run so many trials of each kind, print what fails, and give the number of failures."""
    failures, begin = 0, time.perf_counter()
    for kind, trials in kinds.items():
        number, failed, start = 0, 0, time.perf_counter()
        for problem in KINDS[kind][0](np.random.default_rng(keyed_seed(seed, kind)), trials):
            number += 1
            if problem:
                failed += 1
                print(f"{kind}, trial {number}: {problem}", flush=True)
        failures += failed
        print(f"{kind:10}{number:6} trials{failed:6} failures{time.perf_counter() - start:8.1f} s", flush=True)
    print(f"in all {failures} failures, {time.perf_counter() - begin:.0f} s, seed {seed}")
    return failures


def asked(words: list[str], every: int | None) -> dict[str, int]:
    """How many trials of which kinds: KIND, or KIND=TRIALS; all kinds by default."""
    pairs = [word.partition("=")[::2] for word in words or KINDS]
    if unknown := [kind for kind, trials in pairs if kind not in KINDS or not (trials or "0").isdecimal()]:
        raise SystemExit(
            f"error: no kind of fault {unknown[0]!r}: there are {', '.join(KINDS)}, each also as KIND=TRIALS"
        )
    return {kind: int(trials or every or KINDS[kind][1]) for kind, trials in pairs}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=sys.modules["tests.torture"].__doc__)
    parser.add_argument("kind", nargs="*", help=f"KIND or KIND=TRIALS, of {', '.join(KINDS)}; all by default")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random; default 0")
    parser.add_argument("--trials", type=int, help="of each kind, in place of those of a whole campaign")
    words = parser.parse_args()
    torch.set_num_threads(1)
    sys.exit(1 if campaign(asked(words.kind, words.trials), words.seed) else 0)


if __name__ == "__main__":
    main()
