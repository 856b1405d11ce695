"""A real Dask cluster of two worker processes runs a sweep, and loses one of them half-way."""

import os
import signal
import time
from pathlib import Path
from threading import Thread

import pytest
import xarray as xr

from paper_figures.__main__ import main
from paper_figures.cells import load

pytest.importorskip("distributed", reason="needs the extra dask")
FIGURE = Path(__file__).parent / "sweep_figure.py"


def made(folder):
    return {path.name: path.read_bytes() for path in (folder / "cells").glob("*.nc")}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of distributed, whose worker we kill
def test_a_sweep_that_loses_a_worker(tmp_path, run_command, monkeypatch):
    """It ends complete, and equal to that of this process; what the lost worker was making is made by another."""
    out, lost = tmp_path / "out", []

    def kill():
        deadline = time.monotonic() + 240
        while len(made(out)) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        number, *_, pid = (out / "begun").read_text().splitlines()[-1].split()
        os.kill(int(pid), signal.SIGKILL)
        lost.extend([number, pid])

    monkeypatch.setenv("SWEEP_SECONDS", "0.3")
    killer = Thread(target=kill)
    killer.start()
    words = ["run", FIGURE, "--preset", "smoke"]
    done = run_command(main, *words, "--out", out, "--engine", "dask", "--jobs", "2")
    killer.join()
    assert (done.returncode, done.stdout) == (0, f"{out / 'report.html'}\n"), done.stderr

    begun = [line.split() for line in (out / "begun").read_text().splitlines()]
    assert str(os.getpid()) not in {pid for *_, pid in begun}
    assert len({pid for *_, pid in begun}) in (2, 3), "the nanny starts another one, which may come too late"
    again = [number for number, *_ in begun]
    assert {*again} == {str(n) for n in range(12)}
    assert len(again) <= 13, "what was made is not made again"

    monkeypatch.setenv("SWEEP_SECONDS", "0")
    assert run_command(main, *words, "--out", tmp_path / "alone", "--jobs", "1").returncode == 0
    assert len(made(out)) == 12
    assert made(out) == made(tmp_path / "alone")
    one, other = (load(folder / "data" / "sweep_figure.nc").drop_attrs() for folder in (out, tmp_path / "alone"))
    xr.testing.assert_identical(one, other)


def test_an_address_is_that_of_dask(tmp_path, run_command):
    done = run_command(main, "run", FIGURE, "--preset", "smoke", "--out", tmp_path / "out", "--address", "tcp://x:1")
    assert (done.returncode, done.stderr) == (2, "error: `address` is that of a Dask cluster: add --engine dask\n")
