"""Set-up shared by all tests: one thread, hypothesis profiles, the shared data, and one statistical test.

Statistical tests have fixed seeds, which the environment variable TEST_SEED moves: see `tests.seeds`. The false-alarm
rate that each states is the one that a new seed would have.
"""

import gc
import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import seeds
import torch
from filelock import FileLock
from hypothesis import HealthCheck, settings
from scipy.special import gammaincc

torch.set_num_threads(1)
gc.set_threshold(10_000, 20, 20)  # most of what a test run makes stays

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("local", patient)
settings.register_profile("ci", patient, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

ROOT = Path(__file__).resolve().parents[1]
FIRST = (
    *("test_every_figure", "test_training", "test_published", "test_identities", "test_benchmarks", "test_distributed"),
    *("test_runs_side_by_side", "test_lm1b", "test_interruption", "test_dask", "test_torture", "test_command_line"),
    *("test_limits", "test_uddm_command_line", "test_linear_bridge", "test_retrieval", "test_run", "test_keys"),
    *("test_strange_homes", "test_basins", "test_shapes", "test_empirical_bayes", "test_pseudolikelihood"),
    *("test_every_system", "test_probe", "test_claims", "test_sweep", "test_public_arguments", "test_howto"),
)
"""The files that take longest: begun last, one would run while the other process has nothing left to do. While the one
process makes the figures, and compiles numba's kernels for it, the other begins with what needs none."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    config.addinivalue_line("markers", "statistical(alarm): fails for this share of seeds though nothing is wrong")
    if first := seeds.numbers()[0]:
        config.option.hypothesis_seed = first


def pytest_generate_tests(metafunc):
    seeds.parametrize(metafunc)


def pytest_collection_modifyitems(items):
    rank = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))
    for item in items:
        if rate := seeds.alarm(item):
            item.user_properties.append(("alarm", float(rate)))  # of numpy it would not reach the other process


def pytest_collection_finish():
    """What is there by now stays, and is not looked through for garbage again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def seed() -> Callable[[int], int]:
    """Where a statistical test starts its streams: n itself, unless TEST_SEED moves it."""
    return seeds.Seeds(seeds.numbers()[0])


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the shared data are not on this machine ({folder})")
    return folder


@pytest.fixture(scope="session")
def smoke_results(tmp_path_factory) -> Path:
    """The results of all figures at the smallest scale, made once for all processes of a test run: to be read only."""
    from paper_figures.runner import run
    from paper_figures.workspace import Workspace

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke"
    with FileLock(f"{folder}.lock"):
        if not folder.with_suffix(".whole").exists():
            run(Workspace(folder, "smoke"), jobs=1)
            folder.with_suffix(".whole").touch()
    return folder


@pytest.fixture(scope="session")
def run_command() -> Callable[..., SimpleNamespace]:
    """`main` of a command line with these words, in this process, where torch is loaded: its `returncode`, `stdout` and
    `stderr`. An exception that would show the user a traceback comes through."""

    def run(main, *words) -> SimpleNamespace:
        out, err, status = io.StringIO(), io.StringIO(), 0
        with mock.patch.object(sys, "argv", ["program", *map(str, words)]), redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as ended:
                status = ended.code or 0
        return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())

    return run


@pytest.fixture(scope="session")
def chi_square() -> Callable[..., float]:
    """p-value of counts under cell probabilities; cells that expect fewer than 5 are pooled, forbidden ones give 0."""

    def p_value(counts, probabilities) -> float:
        counts, probabilities = (np.asarray(a, np.float64).ravel() for a in (counts, probabilities))
        assert counts.shape == probabilities.shape
        np.testing.assert_allclose(probabilities.sum(), 1, atol=1e-9)
        if counts[probabilities == 0].any():
            return 0.0
        expected = counts.sum() * probabilities
        rare = expected < 5
        if rare.any():
            counts = np.append(counts[~rare], counts[rare].sum())
            expected = np.append(expected[~rare], expected[rare].sum())
            counts, expected = counts[expected > 0], expected[expected > 0]
        if len(counts) == 1:
            return 1.0
        statistic = ((counts - expected) ** 2 / expected).sum()
        return float(gammaincc((len(counts) - 1) / 2, statistic / 2))

    return p_value
