"""`python -m tests.processors`: what is left out, what is chosen, and what makes it fail."""

import os
from dataclasses import replace
from pathlib import Path

import processors
import pytest


@pytest.fixture
def runs(monkeypatch):
    """The settings that are run, none of which runs any test."""
    found = []
    monkeypatch.setattr(processors, "run", lambda name, setting: (found.append(name) or name != "bad", "3 passed"))
    return found


def test_settings_that_the_machine_lacks_are_left_out_with_a_reason(runs, monkeypatch, capsys):
    monkeypatch.setattr(processors, "flags", lambda: {"sse4_2", "avx2"})
    assert processors.main([]) == 0
    assert runs == ["avx2", "sse", "interpreted", "bounds"]
    assert "has no avx512bw" in capsys.readouterr().out
    assert processors.main(["avx512"]) == 0
    assert runs == ["avx2", "sse", "interpreted", "bounds"], "not forced by its name either"
    monkeypatch.setattr(processors, "flags", set)
    assert processors.main(["sse", "interpreted"]) == 0
    assert runs[4:] == ["interpreted"]


def test_the_commit_decides_which_one_runs_in_turn(runs, monkeypatch):
    monkeypatch.setattr(processors, "flags", lambda: {"sse4_2", "avx2"})
    assert processors.main(["--in-turn"]) == 0
    (first,) = runs
    names = ["avx2", "sse", "interpreted", "bounds"]
    assert first == processors.chosen_in_turn(names)
    commits = iter(f"{n:040x}\n" for n in range(8))
    done = type("Done", (), {"returncode": 0})
    monkeypatch.setattr(
        processors.subprocess, "run", lambda *_, **__: type("Done", (done,), {"stdout": next(commits)})()
    )
    assert [processors.chosen_in_turn(names) for _ in range(8)] == names * 2


def test_a_failure_ends_with_status_1_and_unknown_names_with_2(runs, monkeypatch, capsys):
    monkeypatch.setattr(processors, "SETTINGS", {"good": processors.SETTINGS["interpreted"]} | {"bad": replace(
        processors.SETTINGS["interpreted"], variables={})})  # fmt: skip
    assert processors.main(["good"]) == 0
    assert processors.main([]) == 1
    table = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split()[:2] for line in table] == [["good", "ok"], ["bad", "FAILED"]]
    assert all("3 passed" in line for line in table)
    for wrong in (["better"], ["--in-turn", "good"], ["--help"]):
        assert processors.main(wrong) == 2
        assert "names: good, bad" in capsys.readouterr().err


def test_a_library_that_does_not_obey_is_a_failure(monkeypatch):
    setting = processors.SETTINGS["avx2"]
    monkeypatch.setattr(processors, "seen", lambda environment: dict.fromkeys(setting.says, "AVX1024"))
    assert processors.run("avx2", setting) == (False, "numpy says 'AVX1024', not 'X86_V2 X86_V3'")


@pytest.mark.skipif("sse4_2" not in processors.flags(), reason="needs an x86 processor")
def test_the_libraries_take_the_code_of_the_baseline():
    setting = processors.SETTINGS["sse"]
    found = processors.seen({**os.environ, **setting.variables})
    assert {name: found[name] for name in setting.says} == {
        "numpy": "X86_V2",
        "OpenBLAS": "Nehalem",
        "torch": "DEFAULT",
        "MKL": "COMPATIBLE",
        "oneDNN": "Intel SSE4.1",
        "numba": "x86-64-v2",
    }


@pytest.mark.parametrize("name", processors.SETTINGS)
def test_the_tests_of_a_setting_exist(name):
    for test in processors.SETTINGS[name].tests:
        assert Path(processors.ROOT, test.split("::")[0]).exists(), test
