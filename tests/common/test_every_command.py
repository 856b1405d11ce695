"""Every command of every program: help that tells all, and a user who errs gets one line."""

import inspect
import os
import subprocess
import sys
from dataclasses import is_dataclass

import pytest
from members import commands, programs


def test_help_tells_what_it_does_and_takes(command, run_command):
    module, name, function = command
    done = run_command(module.main, name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    shown = " ".join(done.stdout.replace("│", " ").split())
    assert inspect.getdoc(function).split("\n\n")[0].replace("\n", " ") in shown
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not is_dataclass(parameter.default):  # whose fields are options
            assert f"--{parameter.name.replace('_', '-')}" in shown
    assert name in module.__doc__, "the program's own help names it"


def test_every_argument_is_described(command):
    _, _, function = command
    described = (inspect.getdoc(function) or "").partition("Args:")[2]
    for parameter in inspect.signature(function).parameters:
        assert f"{parameter}:" in described


@pytest.mark.parametrize("words", [["nowhere", "nowhere", "--no-such-option"], [""]], ids=["unknown", "empty"])
def test_a_bad_word_ends_with_status_2_and_does_nothing(command, run_command, tmp_path, monkeypatch, words):
    module, name, _ = command
    monkeypatch.chdir(tmp_path)
    done = run_command(module.main, name, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert ("an argument is empty" if words == [""] else "no-such-option") in done.stderr
    assert list(tmp_path.iterdir()) == []


HELP = """
import contextlib, io, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named torch", name=name)

sys.meta_path.insert(0, Missing())
from {program}.__main__ import main
for words in {words!r}:
    sys.argv = ["program", *words]
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        try:
            main()
        except SystemExit as end:
            assert not end.code, words
    assert "usage: " in shown.getvalue().lower()
"""


@pytest.mark.parametrize("program", programs())
def test_help_needs_no_torch(repository, tmp_path, program):
    words = [["--help"], *([name, "--help"] for module, name, _ in commands().values() if program in module.__name__)]
    code = HELP.format(program=program, words=words)
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
