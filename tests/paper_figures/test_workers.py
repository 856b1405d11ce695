"""Workers of ours end with their owner, and are given time to save what they have done."""

import shlex
import signal
import subprocess
import sys
import time

import pytest

SERVE = """
import os, signal, sys, time
from pathlib import Path
from paper_figures import workers

workers.serve(os.getppid(), Path(sys.argv[1]))
stop = signal.getsignal(signal.SIGTERM)

def save(number, frame):
    print("saved", flush=True)
    stop(number, frame)

signal.signal(signal.SIGTERM, save)
print("begun", flush=True)
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def start(tmp_path):
    """Start a worker that says when it is told to stop, as a training does that saves its state: one that serves this
    process, or a shell that ends with its input."""
    started, words = [], [sys.executable, "-c", SERVE, str(tmp_path)]

    def start(*, shell=False):
        words_of_shell = ["sh", "-c", f"{shlex.join(words)} & read line"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen(words_of_shell if shell else words, **pipes)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_who_has_lost_its_owner_saves_its_state_and_ends(start, tmp_path):
    child, shell = start(), start(shell=True)
    out, _ = shell.communicate(timeout=60)  # until the worker, too, has closed its output
    assert out == "saved\n"
    time.sleep(1.5)
    assert child.poll() is None, "negative control: its owner lives"
    assert list(tmp_path.iterdir()) == []


def test_who_is_told_to_stop_saves_its_state_and_waits(start, tmp_path):
    child = start()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):  # which its owner hears
        child.send_signal(number)
    time.sleep(0.3)
    assert list(tmp_path.iterdir()) == []
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == "saved\n"
    time.sleep(0.5)
    assert [path.name for path in tmp_path.iterdir()] == [f".stopped-{child.pid}"]
    assert child.poll() is None
