"""numba has one switch: one file of a package knows it, and one variable keeps compiled kernels off the disk."""

import os
import re
import subprocess
import sys

import pytest

KERNELS = """
import importlib, os
from amtheory import _fit_kernels, _jit, _kernels, _likelihood_kernels
from uddm import _jit as _jit_of_uddm
from uddm.denoisers import empirical_bayes
from uddm.hierarchy import _kernels as belief_kernels

for switch in ("0", "1"):
    os.environ["AMTHEORY_NUMBA_CACHE"] = switch
    for module in (_jit, _jit_of_uddm, _kernels, _fit_kernels, _likelihood_kernels, belief_kernels, empirical_bayes):
        importlib.reload(module)
    kernels = _kernels.relax, _fit_kernels.adatron, _likelihood_kernels.search, belief_kernels.marginals
    print(*(kernel.stats.cache_path is not None for kernel in (*kernels, empirical_bayes._add_up)))
"""


@pytest.mark.parametrize("package", ["amtheory", "uddm", "bridges", "paper_figures"])
def test_one_file_of_a_package_knows_numba(repository, package):
    numba = re.compile(r"^\s*(import|from) numba|NUMBA_CACHE", re.MULTILINE)
    sources = {path: path.read_text(encoding="utf-8") for path in (repository / package).rglob("*.py")}
    knows = {path.name for path, text in sources.items() if numba.search(text)}
    assert knows == ({"_jit.py"} if package in ("amtheory", "uddm") else set())


def test_the_switch_keeps_all_kernels_off_the_disk(repository):
    environment = os.environ | {"NUMBA_DISABLE_JIT": "0"}
    command = [sys.executable, "-c", KERNELS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=repository, env=environment)
    off, on = done.stdout.splitlines()
    assert off.split() == ["False"] * 5
    assert on.split() == ["True"] * 5
