"""What goes with every result."""

import importlib.util
import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

import bridges.manifest
from bridges import as_system, conditional_entropy, token_recovery
from bridges.manifest import array_hash, manifest, to_attribute
from uddm import EmpiricalBayes, UniformProcess

DATA = np.random.default_rng(0).integers(3, size=(6, 4))
SYSTEM = as_system(EmpiricalBayes(torch.tensor(DATA), UniformProcess(3)))
ALWAYS = {"commit", "modified", "versions", "platform", "threads"}


def test_required_fields():
    record = manifest(seed=3, note="text")
    assert record.keys() == ALWAYS | {"seed", "note"}
    assert record["versions"].keys() >= {"python", "numpy", "scipy", "torch", "xarray"}
    assert record["versions"]["numpy"] == np.__version__
    assert record["platform"].keys() >= {"system", "machine", "cores"}
    assert record["threads"].keys() == {"AMTHEORY_NUM_THREADS", "libraries"}
    assert json.loads(to_attribute(record)) == record


@pytest.mark.parametrize("number", [1, 2])
def test_threads_of_each_library(number):
    """Those of torch are openmp's."""
    with threadpool_limits(number):
        libraries = manifest()["threads"]["libraries"]
    assert {library["user_api"] for library in libraries} >= {"blas", "openmp"}
    assert {library["num_threads"] for library in libraries} == {number}
    assert not any("filepath" in library for library in libraries)


def test_measurements_carry_theirs():
    recovery = token_recovery(SYSTEM, DATA, noise=0.5, mode="x0_mode", steps=3, rng=7)
    record = json.loads(recovery.attrs["manifest"])
    assert record.keys() >= ALWAYS | {
        "seed",
        "start",
        "mode",
        "last",
        "steps",
        "confidence",
        "system",
        "input",
        "seconds",
    }
    assert (record["measurement"], record["seed"], record["mode"]) == ("token_recovery", 7, "x0_mode")
    assert (record["steps"], record["last"]) == (3, "ancestral")
    assert record["input"] == array_hash(DATA)
    assert record["system"] == SYSTEM.describe()
    assert record["seconds"] > 0

    record = json.loads(conditional_entropy(SYSTEM, DATA, t=0.25, rng=7).attrs["manifest"])
    assert record.keys() >= ALWAYS | {"seed", "t", "confidence", "precision", "system", "input", "seconds"}
    assert (record["measurement"], record["seed"], record["t"]) == ("conditional_entropy", 7, 0.25)


def test_array_hash():
    a = np.arange(6)
    hashes = [array_hash(a), array_hash(a.reshape(2, 3)), array_hash(a.astype(np.int32)), array_hash(a[::-1])]
    assert len(set(hashes)) == 4
    assert array_hash(a) == array_hash(np.arange(12)[::2] // 2)
    assert len(hashes[0]) == 16


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", "-C", folder, *identity, *words], capture_output=True, text=True, check=True).stdout


def version_of(root):
    """What `code_version` says in a copy of its file in the folder `root`."""
    path = root / "bridges" / "manifest.py"
    spec = importlib.util.spec_from_file_location("copied_manifest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.code_version()


@pytest.fixture
def checkout(tmp_path):
    """A repository that holds a copy of the file."""
    root = tmp_path / "checkout"
    (root / "bridges").mkdir(parents=True)
    shutil.copy(bridges.manifest.__file__, root / "bridges" / "manifest.py")
    git(tmp_path, "init", "-q", "checkout")
    git(root, "add", ".")
    git(root, "commit", "-qm", "all")
    return root


def test_code_version(checkout, monkeypatch):
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert version_of(checkout) == {"commit": commit, "modified": False}
    (checkout / "bridges" / "manifest.py").write_text(
        "# changed\n" + (checkout / "bridges" / "manifest.py").read_text()
    )
    assert version_of(checkout) == {"commit": commit, "modified": True}
    monkeypatch.setenv("PATH", "")
    assert version_of(checkout) == {"commit": None, "modified": None}


def test_the_repository_around_an_installation_is_not_ours(checkout):
    """As where a virtual environment stands in a user's own repository, tracked or not."""
    site = checkout / "venv" / "site-packages"
    shutil.copytree(checkout / "bridges", site / "bridges")
    assert version_of(site) == {"commit": None, "modified": None}
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "the environment, too")
    assert version_of(site) == {"commit": None, "modified": None}


def test_a_repository_that_does_not_track_us_is_not_ours(checkout):
    git(checkout, "rm", "-rq", "--cached", "bridges")
    git(checkout, "commit", "--allow-empty", "-qm", "no code")
    assert version_of(checkout) == {"commit": None, "modified": None}


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"])
def test_git_is_asked_about_us_whatever_the_environment_says(checkout, tmp_path, monkeypatch, name):
    commit = git(checkout, "rev-parse", "HEAD").strip()
    other = tmp_path / "other"
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv(name, str(other / ".git" if name == "GIT_DIR" else other / "index"))
    assert version_of(checkout) == {"commit": commit, "modified": False}


def test_to_look_is_not_to_touch(checkout):
    """`git status` would renew the index where times of files differ from it."""
    os.utime(checkout / "bridges" / "manifest.py", (1, 1))
    index = checkout / ".git" / "index"
    before = index.read_bytes(), index.stat().st_mtime_ns
    assert version_of(checkout)["modified"] is False
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_what_json_does_not_know_becomes_text(tmp_path):
    assert json.loads(to_attribute({"path": tmp_path, "number": np.float64(0.5)})) == {
        "path": str(tmp_path),
        "number": 0.5,
    }
