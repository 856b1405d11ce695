"""A bounded sample of the fault campaign: ``make torture`` runs all of it."""

import os
import re
import subprocess
import sys

import pytest

SAMPLE = {"control": 4, "kill": 1, "twice": 1, "gradient": 1, "disk": 1, "call": 1, "read-only": 1, "mutation": 13}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_sample_of_every_kind_of_fault(repository):
    command = [sys.executable, "-m", "tests.torture", *(f"{kind}={trials}" for kind, trials in SAMPLE.items())]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    told = re.findall(r"^(\S+) +(\d+) trials +0 failures", done.stdout, re.MULTILINE)
    assert {kind: int(number) for kind, number in told} == SAMPLE
