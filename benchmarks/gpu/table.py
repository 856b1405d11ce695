"""The table: printed while it grows, each part on its own, within a budget of seconds."""

import contextlib
import gc
import math
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import torch


@dataclass(frozen=True)
class Row:
    part: str
    quantity: str
    value: float | None  # None where the device has no such number
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Part:
    """`seconds` that it may take on an H100, compilation included."""

    name: str
    seconds: float
    run: Callable[["Table"], None]


@dataclass
class Table:
    device: torch.device
    budget: float
    begin: float = field(default_factory=time.perf_counter)
    rows: list[Row] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # part -> what went wrong
    skipped: list[str] = field(default_factory=list)
    bf16_rate: float | None = None  # floating-point operations of a large matrix product, each second
    part: str = ""

    def run(self, parts: list[Part]) -> None:
        with _alarm(self.budget):
            for part in parts:
                self.part, left = part.name, self.budget - self.seconds
                if part.seconds > left:
                    self.skipped.append(part.name)
                    print(f"{part.name:16s} skipped: it may take {part.seconds:g} s, of {left:.0f} s left", flush=True)
                    continue
                try:
                    part.run(self)
                except Exception as error:
                    self._fail(traceback.format_exc())
                    print(f"{part.name:16s} FAILED: {_in_one_line(error)}", flush=True)
                self.release()

    def add(self, quantity: str, value: float | None, unit: str = "", note: str = "") -> None:
        row = Row(self.part, quantity, value, unit, note)
        self.rows.append(row)
        number = "-" if value is None else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
        print(f"{row.part:16s} {quantity:44s} {number:>12s} {unit:10s} {note}".rstrip(), flush=True)

    def check(self, quantity: str, difference: float, bound: float) -> None:
        """A row for a difference, and a failure of the part unless it is at most `bound`."""
        met = difference <= bound  # not if it is NaN
        self.add(quantity, difference, "", f"at most {bound:.2g}: {'met' if met else 'MISSED'}")
        if not met:
            self._fail(f"{quantity}: {difference:.3g} is not at most {bound:.3g}\n")

    def _fail(self, why: str) -> None:
        self.failed[self.part] = self.failed.get(self.part, "") + why

    def to_dict(self) -> dict:
        rows = [{**asdict(row), "value": row.value if math.isfinite(row.value or 0) else None} for row in self.rows]
        return {"rows": rows, "failed": self.failed, "skipped": self.skipped, "seconds": self.seconds}

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begin

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def release(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def time(self, run: Callable[[], object], calls: int = 1) -> float:
        """Seconds of one of several calls, all work on the device done."""
        self.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            run()
        self.synchronize()
        return (time.perf_counter() - start) / calls

    def peak(self, run: Callable[[], object]) -> float | None:
        """GB that a call takes above what is there before; None on a CPU, where torch does not count."""
        self.release()
        if self.device.type != "cuda":
            run()
            return None
        self.synchronize()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        run()
        self.synchronize()
        return (torch.cuda.max_memory_allocated(self.device) - before) / 1e9

    def compare(
        self, runs: dict[str, Callable[[], object]], tokens: int, rounds: int = 5, at_least: float = 0.3
    ) -> dict[str, float]:
        """Rates and peaks of ways to do the same, the first of them ours; median seconds of each.

        All have run before. They take turns, so that a clock that changes meets all of them.
        """
        peaks = {name: self.peak(run) for name, run in runs.items()}
        calls = {name: max(1, min(50, round(at_least / self.time(run)))) for name, run in runs.items()}
        found = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                found[name].append(self.time(run, calls[name]))
        own = next(iter(runs))
        for name, seconds in found.items():
            self.add(name, tokens / median(seconds), "tokens/s")
            self.add(f"{name}: memory it takes", peaks[name], "GB")
            if name != own:
                ratios = sorted(theirs / ours for ours, theirs in zip(found[own], seconds, strict=True))
                spread = f"[{ratios[0]:.2f}, {ratios[-1]:.2f}] times as fast as: {name}"
                self.add(own, median(ratios), "x", spread)
        return {name: median(seconds) for name, seconds in found.items()}


def _in_one_line(error: Exception) -> str:
    """The error, and where the checkout raised it."""
    root = str(Path(__file__).resolve().parents[2])
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(root)]
    frames = [frame for frame in frames if "site-packages" not in frame.filename]
    where = f" ({Path(frames[-1].filename).relative_to(root)}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{where}"


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """TimeoutError in whatever runs after so many seconds, where the system has alarms."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError(f"the budget of {seconds:g} s is spent")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
