"""A figure of one's own with SWEEP_TASKS tasks, which take SWEEP_SECONDS each: what the tests of engines run."""

import os
import socket
import time

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from paper_figures.cells import Cell
from paper_figures.task import Task

ORDER, TITLE, EXPECTED, CAPTION = 0, "Sweep", "", ""


def cells(ws, n):
    def make():
        with (ws.folder / "begun").open("a") as file:
            file.write(f"{n} {socket.gethostname()} {os.environ.get('SLURMD_NODENAME')} {os.getpid()}\n")
        time.sleep(float(os.environ.get("SWEEP_SECONDS", "0")))
        return xr.Dataset({"draws": ("x", np.random.default_rng([ws.seed, n]).normal(size=100))})

    return [Cell(f"part-{n}", {"n": n}, make)]


def tasks(ws):
    return [Task(cells, n, 1.0) for n in range(int(os.environ.get("SWEEP_TASKS", "12")))]


def compute(ws):
    return xr.concat([ws.get(cell) for task in tasks(ws) for cell in task.cells(ws)], "n")


def plot(ds):
    return Figure()


def findings(ds):
    return [f"{ds.sizes['n']} parts"]
