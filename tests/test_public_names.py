"""`from PACKAGE import *` gives the public names, all of them and nothing else."""

import subprocess
import sys

import pytest

PACKAGES = ("amtheory", "uddm", "uddm.corpora", "bridges")


@pytest.mark.parametrize("package", PACKAGES)
def test_all_public_names_come_with_a_star(package):
    names: dict[str, object] = {}
    exec(f"from {package} import *", names)
    module = sys.modules[package]
    given = names.keys() - {"__builtins__"}
    assert given == set(module.__all__)
    assert {name for name in dir(module) if not name.startswith("_")} >= given
    assert all(names[name] is getattr(module, name) for name in given)
    assert len(given) >= 10


@pytest.mark.parametrize("package", PACKAGES)
def test_the_list_of_names_loads_nothing(package, repository):
    code = f"import sys, {package} as p; p.__all__, dir(p); print({{'torch', 'scipy', 'numba'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert done.stdout.strip() == "set()"
