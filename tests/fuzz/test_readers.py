"""Readers of files of strangers: whatever is in one, they read it, or refuse by an error that names it (`readers`).

Without coverage to guide it; for that there is ``python -m tests.fuzz``.
"""

import random
import subprocess
import sys

import pytest
import seeds

from tests.fuzz.readers import READERS, changed, read, samples

CHANGES = 60


@pytest.mark.parametrize("reader", READERS)
def test_files_that_are_as_they_should_be_are_read(reader):
    assert all(read(reader, data) for data in samples(reader))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", READERS)
def test_changed_files_are_read_or_refused_by_name(reader):
    rng = random.Random(f"{reader} {seeds.numbers()[0]}")
    refused = sum(not read(reader, changed(rng.choice(samples(reader)), rng)) for _ in range(CHANGES))
    assert refused > 0
    assert read(reader, b"") == (reader in ("analogies", "merges"))  # of which there may be none


@pytest.mark.long  # as `make fuzz`, for longer
def test_a_few_seconds_with_coverage(repository):
    pytest.importorskip("atheris", reason="atheris is not installed (Linux, Python 3.11)")
    command = [sys.executable, "-m", "tests.fuzz", "blocks", "--seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository)
    assert done.returncode == 0, done.stdout + done.stderr
