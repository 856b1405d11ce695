"""Arguments of all kinds to every public function: a right result, or a refusal that names the argument (`arguments`).

In a process of its own, which may crash, hang or run out of memory without taking the others along: then it is the
last call that it has told of that failed.
"""

import os
import re
import subprocess
import sys

import pytest
import seeds


def fuzz(repository, folder, *words):
    told = folder / "last"
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.arguments", "--seed", str(seeds.numbers()[0]), "--last", told, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=repository,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode in (0, 1), f"the interpreter ended, {done.returncode}, at {told.read_text()}{done.stderr}"
    return done


def test_arguments_of_all_kinds(repository, tmp_path):
    done = fuzz(repository, tmp_path, "--examples", "4", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    functions, examples = (int(n) for n in re.match(r"(\d+) functions, (\d+) examples", done.stdout).groups())
    assert functions > 250
    assert examples > 3 * functions


@pytest.mark.long  # as `make fuzz`: every change of every argument by itself, and 50 of several
def test_arguments_of_all_kinds_at_length(repository, tmp_path):
    done = fuzz(repository, tmp_path, "--every", "--examples", "50")
    assert done.returncode == 0, done.stdout + done.stderr
