"""What a user can get wrong ends with one line that names it, status 2 and no traceback."""

import random
import subprocess
import sys
from functools import partial

import pytest

from paper_figures.__main__ import main


@pytest.fixture
def command(run_command):
    return partial(run_command, main)


@pytest.fixture
def empty_file(tmp_path):
    path = tmp_path / "empty.txt"
    path.write_text(" \n\n ")
    return str(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--preset", "desktop"], "`preset` must be one of smoke, laptop"),
        (["run", "fig99"], "`names` must be files that hold a figure, or among"),
        (["run", "--corpus", "EMPTY"], "empty"),
        (["run", "--corpus", "/nowhere.txt"], "/nowhere.txt"),
        (["run", "--jobs", "0"], "`jobs` must be at least 1"),
        (["report", "/nowhere"], "no results in /nowhere"),
        (["verify", "/nowhere"], "no results in /nowhere"),
        (["draw"], "Available subcommands"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_user_errors(words, message, empty_file, tmp_path, command):
    words = [empty_file if word == "EMPTY" else word for word in words]
    out = ["--out", str(tmp_path / "out")] if words[0] == "run" else []
    done = command(*words, *out)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_corpus_too_short_for_the_preset_says_how_short(tmp_path, command):
    text = tmp_path / "short.txt"
    letters = random.Random(0)
    text.write_text("\n\n".join("".join(letters.choices("abcdefgh ", k=50)) for _ in range(60)))
    done = command("run", "--preset", "smoke", "--corpus", str(text), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "`corpus` gives" in done.stderr
    assert "preset 'smoke' needs 2048" in done.stderr


def test_list_names_figures_and_presets():
    """In a process of its own, as a user's."""
    words = [sys.executable, "-m", "paper_figures", "list"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for word in ("fig01_basins", "am_entropy", "transition", "smoke", "laptop"):
        assert word in done.stdout
