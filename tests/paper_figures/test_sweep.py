"""A plan says what is to be done and does nothing; what is done does not depend on where."""

import os
import signal
import time
from dataclasses import replace

import joblib
import numpy as np
import pytest
import torch
import xarray as xr
from joblib._parallel_backends import ThreadingBackend

from paper_figures import sweep
from paper_figures.cells import Cell, load
from paper_figures.evidence import EVIDENCE
from paper_figures.figure import choose, known
from paper_figures.measure import hierarchy
from paper_figures.sweep import CHEAP, Plan, at_once, execute, plan
from paper_figures.task import Task
from paper_figures.workspace import Workspace


def number(ws, n):
    """Cells that hold what a task could get wrong: its numbers, and the settings of the process it runs in."""

    def make():
        draws = np.random.default_rng([ws.seed, n]).normal(size=5)
        return xr.Dataset({"draws": ("x", draws), "threads": torch.get_num_threads()})

    return [Cell(f"number-{n}", {"n": n}, make)]


def failing(ws, n):
    raise FloatingPointError(f"task {n} has failed")


def killed(ws, n):
    os.kill(os.getpid(), signal.SIGKILL)


TASKS = [Task(number, n, 1.0) for n in range(5)]


def done_on(folder, tasks=TASKS, jobs=None, seed=0):
    """The tasks, in the order in which they were done, and what their cells hold."""
    ws, told = Workspace(folder, "smoke", seed=seed), []
    jobs = at_once(jobs)
    finished = list(execute(ws, tasks, jobs=jobs, done=lambda task, seconds: told.append((task, seconds >= 0))))
    assert told == [(task, True) for task in finished]
    return finished, [load(ws.path(cell)) for task in tasks for cell in task.cells(ws)]


def test_a_plan_is_a_value(tmp_path):
    """It names all that there is to do, and reads and writes nothing."""
    ws = Workspace(tmp_path / "out", "laptop")
    every = {**choose(), **EVIDENCE}
    whole = plan(ws, every)
    assert whole == plan(Workspace(tmp_path / "elsewhere", "laptop"), every)
    cheap = [
        name for name, own in whole.products.items() if name in known() and sum(task.cost for task in own) <= CHEAP
    ]
    assert list(whole.products)[: len(cheap) + 1] == [*cheap, "transition"], "cheap ones first"
    assert {"am_recovery", "am_entropy", "rhm_relaxation"} <= set(cheap)
    assert set(whole.products) == set(every)
    for own in whole.products.values():
        costs = [task.cost for task in own]
        assert costs == sorted(costs, reverse=True)
    assert len(whole.tasks) == len(set(whole.tasks)) < sum(map(len, whole.products.values()))
    assert set(plan(ws, choose(["fig02"])).tasks) == set(whole.products["fig02_recovery"])
    text = str(whole)
    for task in whole.tasks:
        assert text.count(f"    {task}\n") + text.endswith(f"    {task}") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_figure_is_ready_once_its_tasks_are_done():
    first, second, third = TASKS[:3]
    figures = {"none": (), "one": (first,), "both": (first, second), "other": (third,)}
    taken = []

    def done():
        for task in (second, first, third):
            taken.append(task)
            yield task

    seen = [(name, len(taken)) for name in Plan(figures).ready(done())]
    assert seen == [("none", 0), ("one", 2), ("both", 2), ("other", 3)]


def test_a_task_is_told_in_words():
    assert str(Task(number, ("hollow network", 64), 1.0)) == "test_sweep number hollow network 64"
    assert str(Task(number, 0.5, 1.0)) == "test_sweep number 0.5"


class Counting(ThreadingBackend):
    """A backend of somebody else: counts what it is given."""

    given = 0

    def submit(self, func, callback=None):
        type(self).given += 1
        return super().submit(func, callback)


class Together(Counting):
    """One that gives all its results at the end."""

    supports_return_generator = False


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return done_on(tmp_path_factory.mktemp("alone"), jobs=1)


@pytest.mark.parametrize("backend", ["threading", "sequential", "multiprocessing", "loky", "counting", "together"])
def test_results_are_those_of_any_backend(tmp_path, alone, backend):
    for name, cls in (("counting", Counting), ("together", Together)):
        joblib.register_parallel_backend(name, cls)
        cls.given = 0
    with joblib.parallel_config(backend=backend, n_jobs=2):
        finished, made = done_on(tmp_path)
    assert sorted(finished, key=TASKS.index) == TASKS
    for one, other in zip(alone[1], made, strict=True):
        xr.testing.assert_identical(one, other)
    assert (Counting.given + Together.given == len(TASKS)) == (backend in ("counting", "together"))


def test_networks_are_trained_in_threads_as_alone(tmp_path):
    """Though torch has one random stream for all of them."""

    def trained(backend):
        ws = Workspace(tmp_path / backend, "smoke")
        few = {
            name: replace(recipe, sizes=dict.fromkeys(recipe.sizes, 3))
            for name, recipe in ws.preset.hierarchy.recipes.items()
        }
        ws.preset = replace(ws.preset, hierarchy=replace(ws.preset.hierarchy, recipes=few, grammars=3))
        tasks = [task for task in hierarchy.sweep_tasks(ws) if task.argument.steps]
        with joblib.parallel_config(backend=backend, n_jobs=4):
            assert len(list(execute(ws, tasks, jobs=at_once(), done=lambda task, seconds: None))) == 7
        return [load(ws.path(cell)) for task in tasks for cell in task.cells(ws)]

    for one, other in zip(trained("sequential"), trained("threading"), strict=True):
        xr.testing.assert_identical(one.drop_attrs(), other.drop_attrs())  # which say how long it took


def test_the_number_of_jobs(monkeypatch):
    """What is asked for, else what the caller's configuration says, else all that there is."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert at_once(2) == 2
    assert at_once() == 1
    with joblib.parallel_config(n_jobs=5):
        assert at_once() == 5
        assert at_once(2) == 2
    with joblib.parallel_config(backend="sequential"):
        assert at_once() == 1


def test_a_task_that_fails_is_raised_and_finished_cells_stay(tmp_path):
    ws = Workspace(tmp_path, "smoke")
    with pytest.raises(FloatingPointError, match="task 7 has failed"):
        done_on(tmp_path, [*TASKS[:2], Task(failing, 7, 1.0)], jobs=1)
    assert all(ws.path(cell).exists() for task in TASKS[:2] for cell in task.cells(ws))


def test_a_worker_that_is_killed_is_an_error(tmp_path):
    with pytest.raises(Exception, match="worker") as error:
        done_on(tmp_path, [Task(killed, n, 1.0) for n in range(2)], jobs=2)
    assert type(error.value).__name__ == "TerminatedWorkerError"


@pytest.mark.parametrize("backend", ["threading", "sequential", "multiprocessing", "counting"])
def test_workers_of_others_are_not_ended(tmp_path, monkeypatch, backend):
    """Where the processes are not of our making, nobody watches over them."""
    joblib.register_parallel_backend("counting", Counting)
    monkeypatch.setattr(sweep, "serve", pytest.fail)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        done_on(tmp_path)


def test_a_worker_of_another_owner_is_not_ended_by_us(tmp_path, monkeypatch):
    """In a process that has no owner, as one that Dask or Slurm has started, and in the owner itself."""
    watched = []
    monkeypatch.setattr(sweep, "serve", lambda owner, folder: watched.append(owner))
    ws = Workspace(tmp_path, "smoke")
    for owner in (None, os.getpid()):
        sweep._work(ws, TASKS[0], 0, owner)
    assert watched == []
    sweep._work(ws, TASKS[0], 0, os.getppid())
    assert watched == [os.getppid()], "negative control: a worker of ours"


def test_threads_take_turns(tmp_path, monkeypatch):
    together, most = [], []

    def slow(ws, n):
        together.append(n)
        most.append(len(together))
        time.sleep(0.05)
        together.remove(n)
        return []

    with joblib.parallel_config(backend="threading", n_jobs=4):
        done_on(tmp_path, [Task(slow, n, 1.0) for n in range(6)])
    assert max(most) == 1
