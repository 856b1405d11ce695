"""The README is true: its commands exist and run, its example runs, its files exist."""

import io
import re
import shlex
import shutil
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def commands(program):
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith(program)]


def test_two_commands_do_everything_and_ci_calls_the_second():
    assert commands("make") == ["make figures", "make test"]
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    for line in commands("make"):
        done = subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_command_lines_run(tmp_path, smoke_results, run_command, monkeypatch):
    """Where the cells of the preset are there; that they are made is tested of all figures."""
    from paper_figures.__main__ import main

    shutil.copytree(smoke_results / "cells", tmp_path / "smoke" / "cells")
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # a second process would load torch again
    lines = commands(".venv/bin/python -m paper_figures")
    assert len(lines) == 4
    for line in lines:
        done = run_command(main, *shlex.split(line.replace("results/", f"{tmp_path}/"))[3:])
        assert done.returncode == 0, done.stderr


def test_the_example_runs_in_ten_lines_or_so():
    (code,) = blocks("python")
    assert len(code.strip().splitlines()) <= 12
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(code, "README.md", "exec"), {})
    (printed,) = re.findall(r"```\n(training .*?)```", TEXT, re.DOTALL)
    numbers, expected = ([float(n) for n in re.findall(r"\d+\.\d*", text)] for text in (out.getvalue(), printed))
    assert len(numbers) == len(expected) == 12
    assert numbers == pytest.approx(expected, abs=0.0101), "one digit, where rounding falls the other way"


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\]\(((?!http)[^)]+)\)", TEXT))))
def test_links_lead_somewhere(name):
    assert (ROOT / name).exists()


def test_every_folder_has_its_row():
    table = TEXT[TEXT.index("## What is where") :]
    for folder in (path for path in ROOT.iterdir() if any(path.glob("*.py")) or any(path.glob("*.md"))):
        if folder.is_dir() and not folder.name.startswith((".", "_")):
            assert f"| `{folder.name}/` |" in table


def test_every_module_has_its_line():
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text[text.index("## What is where") :]
    named = set()
    for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        folder = ""
        for name in re.findall(r"`([^`]+)`", row):
            folder = f"{Path(name).parent}/" if "/" in name else folder
            pattern = name if "/" in name else folder + name
            found = list(ROOT.glob(pattern.rstrip("/") + ("/*.py" if pattern.endswith("/") else "")))
            assert found, f"docs/architecture.md names {pattern}, which does not exist"
            named |= set(found)
    internal = {"__init__.py", "__main__.py", "_memory.py", "_validation.py"}
    for package in ("amtheory", "uddm", "bridges", "paper_figures"):
        for module in (ROOT / package).rglob("*.py"):
            known = module in named or module.name in internal
            assert known, f"docs/architecture.md has no line for {module.relative_to(ROOT)}"


def test_paths_with_spaces_stay_one_word():
    words = [
        "make",
        "--no-print-directory",
        "--always-make",
        "--dry-run",
        "figures",
        "OUT=my results",
        "PYTHON=/opt/my python/bin/python",
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    commands = [shlex.split(line) for line in done.stdout.splitlines() if line]
    assert commands[-1][-2:] == ["--out", "my results"]
    assert commands[0][0] == "/opt/my python/bin/python"
