"""The statistical tests with other seeds: ``python -m tests.seeds [N [WORDS OF PYTEST ...]]``, N = 20 by default.

A test that is marked ``statistical(alarm=p)`` takes its seeds from the fixture `seed`, and fails for a share p of them
though nothing is wrong. The environment variable TEST_SEED says which seeds: 0, those of `make test`; another number,
others (hypothesis takes it for its examples, too); 1-20, one after the other. Here they are 1-N, and the failures are
counted against what the stated rates let expect. The exit status is 1 if one test, or all together, failed more often
than chance does with probability 1e-3: then either the code is wrong, or the rate that the test states.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMPROBABLE = 1e-3


def numbers() -> range:
    """What TEST_SEED asks for."""
    text = os.environ.get("TEST_SEED", "0")
    if not re.fullmatch(r"\d+(-\d+)?", text):
        raise pytest.UsageError(f"the environment variable TEST_SEED must be a number, or two like 1-20, got {text!r}")
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


class Seeds:
    """The seeds of a test, moved by so much that two numbers never give the same."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, n: int) -> int:
        return n + 10**6 * self.number


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a statistical test once for each of the numbers, if they are several."""
    several = [Seeds(number) for number in numbers()]
    if len(several) > 1 and metafunc.definition.get_closest_marker("statistical"):
        metafunc.parametrize("seed", several, ids=[f"seed{each.number}" for each in several])


def alarm(item: pytest.Item) -> float | None:
    """The rate that a statistical test states, None for any other."""
    marker = item.get_closest_marker("statistical")
    if marker is None:
        return None
    rate = marker.kwargs.get("alarm", 0)
    if not 0 < rate < 1:
        raise pytest.UsageError(f"{item.nodeid} states no `alarm` in (0, 1)")
    if "seed" not in item.fixturenames:
        raise pytest.UsageError(f"{item.nodeid} takes no `seed`")
    return rate


def read(results: Path) -> tuple[dict[str, float], Counter[str]]:
    """The rate that each test states, and how many of its seeds failed, of a file that pytest wrote."""
    rates, failures = {}, Counter()
    for case in ElementTree.parse(results).iter("testcase"):
        name = re.sub(r"\[seed\d+\]|seed\d+-|-seed\d+", "", case.attrib["name"])
        test = f"{case.attrib['classname'].replace('.', '/')}.py::{name}"
        (rates[test],) = (float(p.attrib["value"]) for p in case.iter("property") if p.attrib["name"] == "alarm")
        failures[test] += case.find("failure") is not None or case.find("error") is not None
    return rates, +failures


def verdict(rates: dict[str, float], failures: Counter[str], n: int) -> tuple[list[str], bool]:
    """What to print of n seeds, and whether failures are as rare as stated."""
    from scipy.stats import binom, poisson

    lines, well = [], True
    for test, count in failures.most_common():
        chance = float(binom.sf(count - 1, n, rates[test]))
        too_often = chance < IMPROBABLE / len(rates)  # any of them could have been the one
        lines.append(f"{test}: {count} of {n}, stated {rates[test]:g}{', TOO OFTEN' if too_often else ''}")
        well &= not too_often
    expected, count = n * sum(rates.values()), failures.total()
    too_often = bool(poisson.sf(count - 1, expected) < IMPROBABLE)
    counted = f"{len(rates)} tests, {n} seeds: {count} false alarms, {expected:.2g} expected"
    return [*lines, counted + ", TOO MANY" * too_often], well and not too_often


def main(arguments: list[str]) -> int:
    count, *words = arguments or ["20"]
    if not count.isdecimal() or not int(count):
        print("usage: python -m tests.seeds [N [WORDS OF PYTEST ...]], N >= 1", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.xml")
        command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-m", "statistical and not long"]
        environment = {**os.environ, "TEST_SEED": f"1-{count}"}
        status = subprocess.run([*command, f"--junitxml={results}", *words], cwd=ROOT, env=environment).returncode
        if status not in (0, 1):
            return status
        lines, well = verdict(*read(results), int(count))
    print(*lines, sep="\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
