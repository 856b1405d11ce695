"""How every command meets its user: one line and status 2 where the user can act, quiet where nobody listens."""

import os
import resource
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from string import ascii_lowercase

import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from uddm.command_line import run_commands, user_errors
from uddm.files import UnreadableFile

PROGRAMS = ("uddm", "bridges", "paper_figures")


def call(monkeypatch, function, *words):
    """Run a command that is `function`; the status it ends with."""
    monkeypatch.setattr(sys, "argv", ["program", "do", *words])
    with pytest.raises(SystemExit) as ended:
        run_commands({"do": function, "rest": function}, prog="program", description=None)
    return ended.value.code


OUT_OF_MEMORY = type("OutOfMemoryError", (RuntimeError,), {})
COMPILER = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/results/cell.nc"), "No space left on device: '/results/cell.nc'"),
        (PermissionError(13, "Permission denied", "/results"), "Permission denied: '/results'"),
        (MemoryError("Unable to allocate 8 GiB"), "out of memory (Unable to allocate 8 GiB)"),
        (OUT_OF_MEMORY("CUDA out of memory.\nTried to allocate"), "out of memory (CUDA out of memory.)"),
        (RuntimeError("[alloc_cpu] DefaultCPUAllocator: can't allocate memory: 1 byte"), "out of memory ([alloc_cpu]"),
        (TerminatedWorkerError("A worker process managed by the executor was\nunexpectedly"), "a worker process was"),
        (COMPILER("no C++ compiler\nfound"), "torch.compile failed (no C++ compiler): leave --compile out"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "pip install 'amtheory[torch]'"),
        (ModuleNotFoundError("...", name="tensorboard.compat"), "pip install 'amtheory[tensorboard]'"),
        (UnreadableFile("cell.nc is damaged"), "cell.nc is damaged"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_user_can_mend_is_one_line(monkeypatch, capsys, error, said):
    def fails() -> None:
        raise error

    assert call(monkeypatch, fails) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert said in lines[0]


@pytest.mark.parametrize("error", [ValueError("ours"), KeyError("ours"), RuntimeError("ours"), ImportError("ours")])
def test_a_defect_of_ours_keeps_its_traceback(monkeypatch, error):
    def fails() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["program", "do"])
    with pytest.raises(type(error), match="ours"):
        run_commands({"do": fails, "rest": fails}, prog="program", description=None)


def test_values_are_checked_inside_of_user_errors(monkeypatch, capsys):
    def fails() -> None:
        with user_errors():
            raise ValueError("`n` must be at least 1, got 0")

    assert call(monkeypatch, fails) == 2
    assert capsys.readouterr().err == "error: `n` must be at least 1, got 0\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT"])
def test_signals_end_with_their_status(monkeypatch, capsys, name):
    number, before = getattr(signal, name), signal.getsignal(signal.SIGTERM)

    def waits() -> None:
        signal.raise_signal(number)

    assert call(monkeypatch, waits) == 128 + number
    assert "run the same command again to go on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_was_to_be_ignored_is(monkeypatch):
    """As `nohup` asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        def goes_on() -> None:
            signal.raise_signal(signal.SIGHUP)
            sys.exit(7)

        assert call(monkeypatch, goes_on) == 7
    finally:
        signal.signal(signal.SIGHUP, before)


SMALL = ["--corpus", "../text.txt", "--steps", "1", "--hidden-dim", "8", "--length", "8"]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("uddm", ["train", "", *SMALL]),
        ("paper_figures", ["run", "--preset", "smoke", "--out", ""]),
        ("paper_figures", ["run", "--preset", "smoke", "--corpus", ""]),
        ("paper_figures", ["report", ""]),
    ],
)
def test_an_empty_argument_is_not_the_current_folder(monkeypatch, capsys, tmp_path, program, words):
    (tmp_path / "text.txt").write_text("\n\n".join(f"the {letter} sat on the mat" for letter in ascii_lowercase))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("paper_figures.runner.run", lambda *_, **__: "report.html")  # were it taken, hours of work
    monkeypatch.setattr(sys, "argv", [program, *words])
    with pytest.raises(SystemExit) as ended:
        import_module(f"{program}.__main__").main()
    assert ended.value.code == 2
    assert "an argument is empty: is a variable unset?" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def python(*words, **options):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [(["uddm", "--help"], ""), (["uddm", "--help"], "1"), (["bridges", "--help"], ""), (["paper_figures", "list"], "")],
)
def test_a_closed_pipe_ends_it_quietly(repository, words, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=repository,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.stderr == ""
    assert done.returncode in (0, 141)


WITHOUT = """
import sys
from importlib import import_module

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == {missing!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)

sys.meta_path.insert(0, Missing())
codes = []
for words in {commands!r}:
    sys.argv = words
    try:
        import_module(words[0] + ".__main__").main()
    except SystemExit as end:
        codes.append(end.code)
print(codes)
"""


@pytest.mark.parametrize(
    ("missing", "commands"),
    [
        (
            "torch",
            [
                ["uddm", "train", "run"],
                ["uddm", "sample", "model"],
                ["paper_figures", "run", "am_recovery", "--preset", "smoke"],
                ["bridges", "identities"],
            ],
        ),
        ("safetensors", [["uddm", "import", "a", "b"]]),
    ],
)
def test_a_missing_package_says_what_to_install(tmp_path, repository, missing, commands):
    code = WITHOUT.format(missing=missing, commands=commands)
    done = python("-c", code, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(repository)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{[2] * len(commands)}"
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [f"error: {missing} is not installed: python -m pip install 'amtheory[torch]'"] * len(commands)
    assert "Traceback" not in done.stderr


def test_what_the_terminal_cannot_show_is_escaped(repository):
    script = """
from uddm.command_line import run_commands

def show() -> None:
    print("caf\\u00e9 \\ufffd \\udce9")

run_commands({"show": show, "rest": show}, prog="script", description=None)
"""
    done = python("-c", script, "show", cwd=repository, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (0, "caf\\xe9 \\ufffd \\udce9\n")


def test_a_network_that_does_not_fit_into_memory(tmp_path, repository):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"the {word} sat on the mat and looked around" for word in ascii_lowercase))
    words = ["-m", "uddm", "train", str(tmp_path / "run"), "--corpus", str(text), "--length", "8"]
    done = python(
        *words,
        *("--hidden-dim", "60000"),
        cwd=repository,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 * 10**9, 6 * 10**9)),
    )
    assert done.returncode == 2, done.stderr
    assert "error: out of memory" in done.stderr
    assert "Traceback" not in done.stderr
