"""The package as a whole."""

import subprocess
import sys

import pytest

import amtheory


def test_import_is_light():
    code = "import sys, amtheory; print([m for m in ('numpy', 'scipy', 'numba', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_nothing_here_needs_torch():
    code = (
        "import sys, amtheory; sys.modules['torch'] = None; [getattr(amtheory, n) for n in amtheory.__all__];"
        "amtheory.retrieve(amtheory.PseudoLikelihood().fit([[1, -1], [1, 1]]), [[1, 1]])"
    )
    subprocess.check_call([sys.executable, "-W", "error", "-c", code])


def test_names():
    assert set(amtheory.__all__) <= set(dir(amtheory))
    assert amtheory.theory.hopfield.critical_load() < 0.138
    with pytest.raises(AttributeError, match="Perceptron"):
        _ = amtheory.Perceptron
