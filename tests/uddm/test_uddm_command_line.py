"""python -m uddm: train, sample and evaluate work together, and user errors end with one line and status 2."""

import random
import subprocess
import sys

import pytest


def command(*words):
    return subprocess.run([sys.executable, "-m", "uddm", *map(str, words)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    letters = random.Random(0)
    path.write_text("\n\n".join("".join(letters.choices("abcdefgh ", k=50)) for _ in range(60)))
    return path


@pytest.fixture(scope="module")
def model(text, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    done = command("train", out, "--corpus", text, "--steps", 20, "--hidden-dim", 16, "--length", 8)
    assert done.returncode == 0, done.stderr
    return out / "model"


def test_training_again_does_nothing(model, text):
    before = (model / "model.safetensors").stat().st_mtime_ns
    done = command("train", model.parent, "--corpus", text, "--steps", 20, "--hidden-dim", 16, "--length", 8)
    assert done.returncode == 0
    assert done.stdout.strip() == str(model)
    assert (model / "model.safetensors").stat().st_mtime_ns == before


def test_sampling_prints_text_and_repeats_with_its_seed(model):
    first, again, other = (command("sample", model, "--n", 3, "--steps", 5, "--seed", s).stdout for s in (1, 1, 2))
    assert len(first.splitlines()) == 3
    assert first == again != other


def test_evaluation_prints_every_term(model, text):
    printed = command("evaluate", model, "--corpus", text, "--n", 20, "--times", 4).stdout
    for term in ("diffusion", "reconstruction", "prior", "full bound", "published variant"):
        assert term in printed


def test_user_errors(model, text, tmp_path):
    truncated = tmp_path / "truncated"
    truncated.mkdir()
    for file in model.iterdir():
        content = file.read_bytes()
        (truncated / file.name).write_bytes(content[:500] if file.suffix == ".safetensors" else content)
    cases = [
        (["sample", "/nowhere"], "no model folder '/nowhere'"),
        (["sample", truncated], "model.safetensors is not a readable safetensors file"),
        (["sample", model, "--n", "0"], "`n` must be an integer >= 1, got 0"),
        (["sample", model, "--steps", "0"], "`steps` must be an integer >= 1, got 0"),
        (["train", tmp_path / "run", "--corpus", text, "--tokenizer", "words"], "words"),
        (["train", model.parent, "--corpus", text, "--length", "8", "--steps", "30"], "holds another run"),
        (["evaluate", model, "--corpus", "/nowhere.txt"], "/nowhere.txt"),
    ]
    for words, message in cases:
        done = command(*words)
        assert done.returncode == 2, words
        assert message in done.stderr
        assert "Traceback" not in done.stderr
