"""A plan says what is to be done and does nothing; what is done does not depend on where."""

import errno
import os
import signal
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context

import joblib
import numpy as np
import pytest
import torch
import xarray as xr
from joblib._parallel_backends import ThreadingBackend

from paper_figures import cells, engines, ledger
from paper_figures.cells import Cell, load
from paper_figures.evidence import EVIDENCE
from paper_figures.figure import choose, known
from paper_figures.measure import hierarchy
from paper_figures.sweep import ATTEMPTS, CHEAP, Plan, TaskError, at_once, execute, plan
from paper_figures.task import Task
from paper_figures.workspace import Workspace


def number(ws, n):
    """Cells that hold what a task could get wrong: its numbers, and the settings of the process it runs in."""

    def make():
        draws = np.random.default_rng([ws.seed, n]).normal(size=5)
        return xr.Dataset({"draws": ("x", draws), "threads": torch.get_num_threads()})

    return [Cell(f"number-{n}", {"n": n}, make)]


def failing(ws, n):
    def make():
        raise FloatingPointError(f"task {n} has failed\nfor some reason")

    return [*number(ws, n), Cell(f"failing-{n}", {"n": n}, make)]


def killed(ws, n):
    """The first `n` workers that begin it are killed."""

    def make():
        with (ws.folder / "begun").open("a") as file:
            file.write("begun\n")
        if len((ws.folder / "begun").read_text().splitlines()) <= n:
            os.kill(os.getpid(), signal.SIGKILL)
        return xr.Dataset()

    return [Cell("killed", {"n": n}, make)]


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
    with pytest.raises(TaskError, match="failing 7: FloatingPointError: task 7 has failed"):
        done_on(tmp_path, [*TASKS[:2], Task(failing, 7, 1.0)], jobs=1)
    assert all(ws.path(cell).exists() for task in TASKS[:2] for cell in task.cells(ws))


def swept(folder, tasks, jobs=2, **how):
    """The tasks that were done, and those that failed."""
    failures = {}
    ws, told = Workspace(folder, "smoke"), {"done": lambda *_: None, "failed": failures.__setitem__}
    return list(execute(ws, tasks, jobs=jobs, **told, **how)), failures


@pytest.mark.parametrize("backend", ["sequential", "multiprocessing", "together"])
def test_a_task_that_fails_does_not_stop_the_others(tmp_path, backend):
    joblib.register_parallel_backend("together", Together)
    task = Task(failing, 7, 1.0)
    with joblib.parallel_config(backend=backend):
        finished, failures = swept(tmp_path, [task, *TASKS])
    assert sorted(finished, key=TASKS.index) == TASKS
    (failure,) = failures.values()
    assert failure[:3] == ("test_sweep failing 7", "FloatingPointError: task 7 has failed", socket.gethostname())
    assert abs(datetime.now(UTC) - datetime.fromisoformat(failure.at)) < timedelta(minutes=5)
    ws = Workspace(tmp_path, "smoke")
    assert 'raise FloatingPointError(f"task {n} has failed' in ledger.read(ledger.entry_path(ws, task))["traceback"]
    assert [ws.path(cell).exists() for cell in task.cells(ws)] == [True, False]


def test_what_this_code_has_failed_on_is_not_tried_again_unless_asked_for(tmp_path, code):
    ws, task = Workspace(tmp_path, "smoke"), Task(failing, 7, 1.0)
    (made,) = (ws.path(cell) for cell in number(ws, 7))

    def tried(**how):
        made.unlink(missing_ok=True)
        finished, failures = swept(tmp_path, [task, TASKS[0]], jobs=1, **how)
        assert (finished, failures.keys()) == ([TASKS[0]], {task})
        return made.exists()

    assert tried(retry_failed=False), "the first time"
    assert not tried(retry_failed=False)
    assert tried(retry_failed=True)
    code["commit"] = "def"
    assert tried(retry_failed=False), "other code"
    code["modified"] = True
    assert tried(retry_failed=False), "code without a version"


def test_what_the_system_is_to_blame_for_is_tried_again(tmp_path, code, monkeypatch):
    ws, task = Workspace(tmp_path, "smoke"), TASKS[0]
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(cells, "save", lambda *_: (_ for _ in ()).throw(full))
    ((_, failure),) = swept(tmp_path, [task], jobs=1)[1].items()
    assert failure.error == "OSError: [Errno 28] No space left on device"
    assert ledger.read(ledger.entry_path(ws, task))["state"] == "failed"
    monkeypatch.undo()
    assert swept(tmp_path, [task], jobs=1, retry_failed=False) == ([task], {})


@pytest.mark.parametrize("deaths", [1, pytest.param(ATTEMPTS, marks=pytest.mark.long)])
def test_a_worker_that_is_killed(tmp_path, deaths):
    """What it took with it is made by others; what takes one after the other is given up, and nothing else."""
    task = Task(killed, deaths, 1.0)
    finished, failures = swept(tmp_path, [task, *TASKS])
    assert {*finished} | {*failures} == {task, *TASKS}
    assert (tmp_path / "begun").read_text().count("begun") == min(deaths + 1, ATTEMPTS)
    if deaths < ATTEMPTS:
        assert failures == {}
    else:
        assert failures.keys() == {task}
        assert failures[task].error == f"MemoryError: its worker was killed {ATTEMPTS} times (out of memory?)"


def once(ws, n):
    """It tells who makes it, and takes a moment."""

    def make():
        with (ws.folder / "made").open("a") as file:
            file.write(f"{n} {os.getpid()}\n")
        time.sleep(0.2)
        return xr.Dataset({"n": n})

    return [Cell(f"once-{n}", {"n": n}, make)]


def test_two_runs_of_the_same_tasks_share_them(tmp_path):
    """In one folder at the same time, begun in the same order: each task is made by one of them, and both have all."""
    tasks = [Task(once, n, 1.0) for n in range(6)]
    with get_context("fork").Pool(2) as pool:
        runs = [pool.apply_async(swept, (tmp_path, tasks, 1)) for _ in range(2)]
        for run in runs:
            finished, failures = run.get(60)
            assert (sorted(finished, key=tasks.index), failures) == (tasks, {})
    lines = [line.split() for line in (tmp_path / "made").read_text().splitlines()]
    assert sorted(n for n, _ in lines) == [str(n) for n in range(6)]
    assert len({pid for _, pid in lines}) == 2


def test_who_takes_workers_along_is_found(tmp_path):
    """Of two tasks that are lost together again and again, one has only been beside the other."""
    guilty, batches = 1, []

    def engine(ws, tasks, /, *, jobs, waited):
        batches.append([*tasks])
        for number, task in tasks.items():
            if number == guilty or (guilty in tasks and number == 0):
                yield engines.Outcome(number, "killed")
            else:
                yield engines.work(ws, task, number)

    finished, failures = swept(tmp_path, TASKS[:4], engine=engine)
    assert batches == [[0, 1, 2, 3], [0, 1], [0], [1]]
    assert (finished, failures.keys()) == ([TASKS[2], TASKS[3], TASKS[0]], {TASKS[1]})


def test_what_is_there_is_not_entered_again(tmp_path):
    swept(tmp_path, TASKS, jobs=1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").iterdir()}
    swept(tmp_path, TASKS, jobs=1)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").iterdir()} == before
    assert len(before) == 2 * len(TASKS)


@pytest.mark.parametrize("backend", ["threading", "sequential", "multiprocessing", "counting"])
def test_workers_of_others_are_not_ended(tmp_path, monkeypatch, backend):
    """Where the processes are not of our making, nobody watches over them."""
    joblib.register_parallel_backend("counting", Counting)
    monkeypatch.setattr(engines, "serve", pytest.fail)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        done_on(tmp_path)


def test_a_worker_of_another_owner_is_not_ended_by_us(tmp_path, monkeypatch):
    """In a process that has no owner, as one that Dask or Slurm has started, and in the owner itself."""
    watched = []
    monkeypatch.setattr(engines, "serve", lambda owner, folder: watched.append(owner))
    ws = Workspace(tmp_path, "smoke")
    for owner in (None, os.getpid()):
        engines.work(ws, TASKS[0], 0, owner)
    assert watched == []
    engines.work(ws, TASKS[0], 0, os.getppid())
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
