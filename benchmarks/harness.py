"""Ratios of CPU time, one thread, interleaved in one process: what a loaded machine cannot distort."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from benchmarks.machine import Bar, bar_here


@dataclass
class Peer:
    """Another way to the same result. `share` is the part of the work that `run` does; its time is scaled up."""

    name: str
    run: Callable[[], object]
    share: float = 1.0
    bar: Bar = None  # the ratio to reach


@dataclass
class Case:
    title: str
    run: Callable[[], object]
    peers: list[Peer] = field(default_factory=list)
    rounds: int = 5
    name: str = "amtheory"


def cpu_time(run: Callable[[], object], at_least: float = 0.05) -> float:
    """Seconds of one call, averaged over as many as take `at_least` seconds."""
    start, calls = time.process_time(), 0
    while (spent := time.process_time() - start) < at_least:
        run()
        calls += 1
    return spent / calls


def compare(case: Case) -> None:
    """Run everything once unmeasured, then `case.rounds` times in turn; print medians of times and of ratios."""
    case.run()
    own, others = [], {peer.name: [] for peer in case.peers}
    for _ in range(case.rounds):
        own.append(cpu_time(case.run))
        for peer in case.peers:
            others[peer.name].append(cpu_time(peer.run) / peer.share)
    print(f"\n{case.title}\n  {case.name:42s} {1e3 * median(own):10.3f} ms", flush=True)
    for peer in case.peers:
        ratios = sorted(theirs / ours for ours, theirs in zip(own, others[peer.name]))
        bar = bar_here(peer.bar)
        verdict = "" if bar is None else f"   bar {bar:g}: {'met' if median(ratios) >= bar else 'MISSED'}"
        spread = f"[{ratios[0]:.1f}, {ratios[-1]:.1f}]"
        times = f"{1e3 * median(others[peer.name]):10.3f} ms   {median(ratios):7.1f}x {spread:16s}"
        print(f"  {peer.name:42s} {times}{verdict}", flush=True)
