"""A real Slurm of two nodes on this machine runs a sweep, and loses one of them half-way."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slurm_cluster
import xarray as xr

from paper_figures.cells import load

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.long,
    pytest.mark.skipif(
        bool(slurm_cluster.missing()),
        reason=f"needs {', '.join(slurm_cluster.missing())}: apt-get install slurm-wlm munge",
    ),
]
FIGURE = Path(__file__).parent / "sweep_figure.py"


@pytest.fixture
def slurm(tmp_path):
    pytest.importorskip("submitit", reason="needs the extra slurm")
    (tmp_path / "slurm").mkdir()
    with slurm_cluster.cluster(tmp_path / "slurm") as cluster:
        yield cluster


def run(folder, *words, **environment):
    command = ["run", str(FIGURE), "--preset", "smoke", "--out", str(folder), *words]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": {**os.environ, **environment}}
    return subprocess.Popen([sys.executable, "-m", "paper_figures", *command], **options)


def made(folder):
    return {path.name: path.read_bytes() for path in (folder / "cells").glob("*.nc")}


def begun(folder):
    """Which task on which node, in the order in which they were begun."""
    path = folder / "begun"
    return [(line.split()[0], line.split()[2]) for line in path.read_text().splitlines()] if path.exists() else []


def on_node2(folder):
    """The number of the task that node2 is making, if any."""
    last = [n for n, node in begun(folder) if node == "node2"][-1:]
    return "".join(n for n in last if not any(name.startswith(f"part-{n}-") for name in made(folder)))


def test_a_sweep_that_loses_a_node(slurm, tmp_path):
    """It ends complete, and equal to that of a single process; what ran on the lost node is made on the other."""
    out, how = tmp_path / "out", ["--engine", "slurm", "--memory", "1", "--time", "30"]
    sweep = run(out, *how, SWEEP_SECONDS="4", **slurm.environment)
    try:
        while len(made(out)) < 4 or not (lost := on_node2(out)):
            assert sweep.poll() is None, sweep.communicate()
            time.sleep(0.05)
        killed = slurm.kill("node2")
        print(f"node2 went down while it made task {lost}, with {killed} processes; {len(made(out))} of 12 were made")
        print(slurm.ask("squeue", "--array"))
        words = [sys.executable, "-m", "paper_figures", "status", str(out)]
        print(status := subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        assert f"lost with its process: sweep_figure {lost}: " in status
        printed, err = sweep.communicate(timeout=900)
    finally:
        sweep.kill()
    print(printed, err, begun(out), slurm.ask("sinfo"), sep="\n")
    assert sweep.returncode == 0, err
    assert [node for n, node in begun(out) if n == lost] == ["node2", "node1"]
    alone = run(tmp_path / "alone", "--jobs", "1")
    assert alone.communicate(timeout=300)[0] == f"{tmp_path / 'alone' / 'report.html'}\n"
    assert len(made(tmp_path / "alone")) == 12
    assert made(out) == made(tmp_path / "alone")
    one, other = (load(folder / "data" / "sweep_figure.nc").drop_attrs() for folder in (out, tmp_path / "alone"))
    xr.testing.assert_identical(one, other)


@pytest.fixture
def two_jobs(slurm, tmp_path):
    """A sweep of two tasks, both of which have begun."""
    out, how = tmp_path / "out", ["--engine", "slurm", "--memory", "1", "--time", "30"]
    sweep = run(out, *how, SWEEP_TASKS="2", SWEEP_SECONDS="15", **slurm.environment)
    try:
        while len(begun(out)) < 2:
            assert sweep.poll() is None, sweep.communicate()
            time.sleep(0.05)
        yield sweep
    finally:
        sweep.kill()


def begins_twice(sweep, out):
    """Whether a sweep begins each task twice, and ends well."""
    printed, err = sweep.communicate(timeout=600)
    print(printed, err, begun(out), sep="\n")
    assert sweep.returncode == 0, err
    return sorted(n for n, _ in begun(out)) == ["0", "0", "1", "1"]


def test_jobs_that_are_asked_to_end(slurm, two_jobs, tmp_path):
    """One at the end of its time queues itself again; one that is cancelled is submitted again, as another job."""
    jobs = slurm.ask("squeue", "--array", "--noheader", "--format=%i").split()
    assert len(jobs) == 2
    slurm.ask("scancel", "--signal=USR2", jobs[0])
    slurm.ask("scancel", jobs[1])
    time.sleep(5)
    print(slurm.ask("squeue", "--array"))
    assert begins_twice(two_jobs, tmp_path / "out")
    logs = {path.name: path.read_text() for path in (tmp_path / "out" / "sweep" / "slurm").glob("*_log.*")}
    assert any("Requeued job" in text for text in logs.values())
    assert len({name.rpartition("_log")[0] for name in logs}) == 3


def test_jobs_that_are_preempted(slurm, two_jobs, tmp_path):
    """An urgent job takes both nodes; the tasks that ran there are made after it, and equal those of one process."""
    out, log = tmp_path / "out", tmp_path / "urgent.log"
    print(slurm.ask("sbatch", "--partition=urgent", "--nodes=2", f"--output={log}", "--wrap", "sleep 5"))
    while not log.exists():
        assert two_jobs.poll() is None, two_jobs.communicate()
        assert len(begun(out)) == 2
        time.sleep(0.05)
    assert not made(out)
    print(slurm.ask("squeue", "--array"))
    assert begins_twice(two_jobs, out)
    alone = run(tmp_path / "alone", "--jobs", "1", SWEEP_TASKS="2")
    assert alone.communicate(timeout=300)[0] == f"{tmp_path / 'alone' / 'report.html'}\n"
    assert len(made(out)) == 2
    assert made(out) == made(tmp_path / "alone")
