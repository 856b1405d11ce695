"""The examples run, and show what they say: 40 lines each, seeded."""

import re
import runpy

import pytest


def numbers(repository, name, capsys, **options):
    path = repository / "examples" / f"{name}.py"
    code = [line for line in path.read_text().splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= 40
    runpy.run_path(str(path))["main"](**options)
    return [
        [float(number) for number in re.findall(r"-?\d+\.\d+", line)] for line in capsys.readouterr().out.splitlines()
    ]


def test_memory(repository, capsys):
    retrieved, _, theory, hebb, likelihood = numbers(repository, "memory", capsys)
    assert retrieved[1] == pytest.approx(theory[0], abs=0.005)  # 3 standard errors over 100 patterns of 1000 spins
    assert hebb[2] < likelihood[1], "the interval of one radius ends below that of the other"


def test_diffusion(repository, capsys):
    corrupted, cavity, bound, valid = numbers(repository, "diffusion", capsys, n=100)
    assert corrupted[1] == pytest.approx(0.3746, abs=0.06)  # (1 - alpha_t)(1 - 1/K), 3.5 standard errors of 800 tokens
    assert cavity[0] > 0.3
    assert abs(bound[0] - bound[2]) < 2 * bound[1]
    assert valid[0] > 0.95
