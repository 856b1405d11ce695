"""What goes with every result."""

import json
import subprocess

import numpy as np
import torch

from bridges import as_system, conditional_entropy, token_recovery
from bridges.manifest import array_hash, code_version, manifest, to_attribute
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
    assert record["threads"]["torch"] == torch.get_num_threads()
    assert json.loads(to_attribute(record)) == record


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


def test_code_version(repository, monkeypatch):
    found = subprocess.run(["git", "-C", repository, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    version = code_version()
    if found.returncode == 0:
        assert version["commit"] == found.stdout.strip()
        assert isinstance(version["modified"], bool)
    else:
        assert version == {"commit": None, "modified": None}
    monkeypatch.setenv("PATH", "")
    assert code_version() == {"commit": None, "modified": None}


def test_what_json_does_not_know_becomes_text(tmp_path):
    assert json.loads(to_attribute({"path": tmp_path, "number": np.float64(0.5)})) == {
        "path": str(tmp_path),
        "number": 0.5,
    }
