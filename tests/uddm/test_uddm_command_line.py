"""python -m uddm: train, sample and evaluate work together, and user errors end with one line and status 2."""

import contextlib
import json
import os
import pty
import random
import re
import shutil
import sys
import threading
import unicodedata
from functools import partial
from unittest import mock

import forked
import pytest
import torch
from safetensors.torch import load_file, save_file

import uddm.__main__
from uddm import DiT, DiTConfig, HollowMLP, HollowMLPConfig
from uddm.__main__ import _prompt, main
from uddm.corpora import ByteTokenizer, train_bpe


@pytest.fixture(scope="module")
def command(run_command):
    return partial(run_command, main)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    letters = random.Random(0)
    path.write_text("\n\n".join("".join(letters.choices("abcdefgh ", k=50)) for _ in range(60)))
    return path


@pytest.fixture(scope="module")
def model(text, tmp_path_factory, command):
    out = tmp_path_factory.mktemp("run")
    done = command("train", out, "--corpus", text, "--steps", 20, "--hidden-dim", 16, "--length", 8)
    assert done.returncode == 0, done.stderr
    return out / "model"


def test_training_again_does_nothing(model, text, command):
    before = (model / "model.safetensors").stat().st_mtime_ns
    done = command("train", model.parent, "--corpus", text, "--steps", 20, "--hidden-dim", 16, "--length", 8)
    assert done.returncode == 0
    assert done.stdout.strip() == str(model)
    assert (model / "model.safetensors").stat().st_mtime_ns == before


def test_sampling_prints_text_and_repeats_with_its_seed(model, command):
    first, again, other = (command("sample", model, "--n", 3, "--steps", 5, "--seed", s).stdout for s in (1, 1, 2))
    assert len(first.splitlines()) == 3
    assert first == again != other


def test_a_prompt_begins_every_sample(model, command):
    words = ("sample", model, "--n", 4, "--steps", 5, "--seed", 1)
    prompted, longest = (command(*words, "--prompt", prompt).stdout.splitlines() for prompt in ("abc", "abcdefg"))
    assert len(prompted) == len(longest) == 4
    assert all(line.startswith("abc") for line in prompted)
    assert len({line[3:] for line in prompted}) > 1
    assert all(line.startswith("abcdefg") and len(line) <= 8 for line in longest)
    assert prompted != command(*words).stdout.splitlines()


def test_a_prompt_after_bos(tmp_path, command):
    """Of a model whose sequences begin with it."""
    tokenizer = train_bpe(["one two three"], 260)
    HollowMLP(HollowMLPConfig(260, length=6, hidden_dim=8)).save_pretrained(tmp_path / "model", tokenizer)
    words = ("sample", tmp_path / "model", "--n", 2, "--steps", 2, "--prompt", "on", "--format", "json")
    for packing, begin in (("stream", "on"), ("sentences", "<|endoftext|>on")):
        samples = [json.loads(line) for line in command(*words, "--packing", packing).stdout.splitlines()]
        assert len(samples) == 2
        assert all(sample.startswith(begin) for sample in samples)
    with pytest.raises(ValueError, match="`prompt` must have at least one token"):
        _prompt("", tokenizer, "sentences", 6)


def test_evaluation_prints_every_term(model, text, command):
    printed = command("evaluate", model, "--corpus", text, "--n", 20, "--times", 4).stdout
    for term in ("diffusion", "reconstruction", "prior", "full bound", "published variant"):
        assert term in printed
    both = command("evaluate", model, "--n", 20, "--times", 4).stdout
    assert "training set: 20 sequences" in both
    assert "test set: " in both


def test_user_errors(model, text, tmp_path, monkeypatch, capsys):
    truncated = tmp_path / "truncated"
    truncated.mkdir()
    for file in model.iterdir():
        content = file.read_bytes()
        (truncated / file.name).write_bytes(content[:500] if file.suffix == ".safetensors" else content)
    other, bare = tmp_path / "other", tmp_path / "bare"
    for folder in (other, bare):
        HollowMLP(HollowMLPConfig(5, length=4, hidden_dim=4)).save_pretrained(folder)
    (other / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
    diverging = ["--steps", 1, "--hidden-dim", 8, "--length", 8, "--warmup", 0, "--learning-rate", 3e38]
    cases = [
        (["sample", "/nowhere"], "no model folder '/nowhere'"),
        (["sample", truncated], "model.safetensors is not a readable safetensors file"),
        (["sample", model, "--n", "0"], "`n` must be an integer >= 1, got 0"),
        (["sample", model, "--steps", "0"], "`steps` must be an integer >= 1, got 0"),
        (["sample", model, "--prompt", ""], "an argument is empty"),
        (
            ["sample", model, "--prompt", "abcdefgh"],
            "`prompt` must have fewer tokens than a sequence, which has 8, got 8",
        ),
        (["sample", model, "--prompt", "a", "--packing", "sentences"], "needs a tokenizer with a BOS token"),
        (["sample", model, "--seed", "-1"], "`seed` must be an integer >= 0, got -1"),
        (["sample", model, "--seed", 2**64], "`seed` must be an integer below 2**64"),
        (["evaluate", model, "--seed", "-1"], "`seed` must be an integer >= 0, got -1"),
        (["evaluate", model, "--seed", 2**64], "`seed` must be an integer below 2**64"),
        (["train", tmp_path / "run", "--corpus", text, "--seed", "-1"], "`seed` must be an integer >= 0, got -1"),
        (["train", tmp_path / "run", "--corpus", text, "--tokenizer", "words"], "words"),
        (["train", model.parent, "--corpus", text, "--length", "8", "--steps", "30"], "holds another run"),
        (["evaluate", model, "--corpus", "/nowhere.txt"], "/nowhere.txt"),
        (["sample", model, "--nucleus", "0"], "`nucleus` must lie in (0, 1], got 0.0"),
        (["train", tmp_path / "run", "--preset", "paper-tiny"], "`corpus` must be given"),
        (["train", tmp_path / "run", "--corpus", text, "--heads", "2"], "`heads` is no option of a HollowMLP"),
        (["import", "/nowhere.ckpt", tmp_path / "imported"], "/nowhere.ckpt"),
        (["train", tmp_path / "run", "--corpus", text, "--fraction", "5"], "`fraction` must lie in (0, 1], got 5.0"),
        (["train", tmp_path / "run", "--corpus", text, "--sequences", "0"], "`sequences` must be an integer >= 1"),
        (["train", tmp_path / "run", "--corpus", text, "--micro-batch", "0"], "`micro_batch` must be"),
        (["train", tmp_path / "run", "--corpus", text, "--device", "nosuch"], "`device` must be one that torch can"),
        (["train", tmp_path / "run", "--corpus", text, "--predicts", "posterior"], "`predicts` must be 'cavity'"),
        (["sample", model, "--device", "nosuch"], "`device` must be one that torch can use"),
        (["sample", model, "--device", "meta"], "`device` must be one that torch can use"),
        (["sample", model.parent], f"is a training run, whose model is in {model}"),
        (["sample", other], "holds a tokenizer of another model: it has 27 tokens, the model 5"),
        (["sample", bare], "holds no tokenizer.json"),
        (["train", tmp_path / "diverged", "--corpus", text, *diverging], "not finite"),
    ]
    for words, message in cases:
        monkeypatch.setattr(sys, "argv", ["uddm", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2, words
        printed = capsys.readouterr().err
        assert message in printed
        assert len([line for line in printed.splitlines() if line.startswith("error: ")]) == 1
    assert not (tmp_path / "run").exists(), "what is wrong with the options is found before a corpus is cut"


@pytest.fixture
def bytes_model(tmp_path):
    """An untrained model of bytes: of 600 of them, less than e^-2 have no ESC."""
    torch.manual_seed(0)
    HollowMLP(HollowMLPConfig(256, length=200, hidden_dim=8)).save_pretrained(tmp_path / "bytes", ByteTokenizer())
    return tmp_path / "bytes"


SAMPLE = ("--n", "6", "--steps", "1")


def test_json_tells_samples_with_line_breaks_apart(bytes_model, command):
    plain, lines = (command("sample", bytes_model, *SAMPLE, "--format", form).stdout for form in ("text", "json"))
    samples = [json.loads(line) for line in lines.splitlines()]
    assert len(samples) == 6
    assert "".join(f"{sample}\n" for sample in samples) == plain
    assert any("\n" in sample for sample in samples)
    assert lines.isascii()
    assert not re.search(r"[\0-\x09\x0b-\x1f]", lines)
    assert "\x1b" in plain, "what is no terminal gets the text as it is"


def on_a_terminal(*words):
    """What a command writes to a terminal."""
    reader, writer = pty.openpty()
    written = []

    def read():
        with contextlib.suppress(OSError):  # EIO, once nobody can write any more
            while part := os.read(reader, 2**16):
                written.append(part)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        with (
            open(writer, "w", encoding="utf-8") as terminal,
            contextlib.redirect_stdout(terminal),
            mock.patch.object(sys, "argv", ["uddm", *map(str, words)]),
        ):
            main()
    finally:
        reading.join()
        os.close(reader)
    return b"".join(written).replace(b"\r\n", b"\n").decode()


def test_a_terminal_gets_no_control_characters(bytes_model, command):
    shown = on_a_terminal("sample", bytes_model, *SAMPLE)
    plain = command("sample", bytes_model, *SAMPLE).stdout
    control = {c for c in plain if unicodedata.category(c) == "Cc"} - {"\n", "\t"}
    assert shown == "".join(rf"\x{ord(c):02x}" if c in control else c for c in plain)
    assert r"\x1b" in shown


def test_what_a_checkpoint_says_of_itself_reaches_a_terminal_escaped(tmp_path):
    torch.manual_seed(0)
    hub = tmp_path / "hub"
    hub.mkdir()
    save_file(
        DiT(DiTConfig(5, length=4, hidden_dim=8, blocks=1, heads=2, cond_dim=4)).state_dict(), hub / "model.safetensors"
    )
    settings = {"model_length": 4, "n_heads": 2, "model_type": "duo", "data": {"train": "duo\x1b]0;title\x07"}}
    (hub / "config.json").write_text(json.dumps(settings))
    shown = on_a_terminal("import", hub, tmp_path / "out")
    assert r"duo\x1b]0;title\x07" in shown
    assert "\x1b" not in shown


def spoiled(model, folder, change):
    """A copy of a model folder, without checksums, in which `change` has been applied to its weights."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("what", ["sample", "evaluate"])
def test_numbers_that_are_not_finite_end_with_a_message(model, text, tmp_path, monkeypatch, capsys, what):
    def not_a_number(weights):
        next(tensor for name, tensor in weights.items() if "output" in name).view(-1)[0] = float("nan")

    def overflowing(weights):
        for tensor in weights.values():
            tensor.fill_(1e30)

    words = {"sample": ["--n", "2", "--steps", "3"], "evaluate": ["--corpus", str(text), "--n", "5", "--times", "2"]}
    expected = {"sample": "must be log-probabilities, got NaN", "evaluate": "is not a number: the weights overflow"}
    for change, message in ((not_a_number, "holds numbers that are not finite"), (overflowing, expected[what])):
        folder = spoiled(model, tmp_path / change.__name__, change)
        monkeypatch.setattr(sys, "argv", ["uddm", what, str(folder), *words[what]])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert ended.value.code == 2
        assert message in printed.err
        assert not printed.out


def test_evaluation_says_when_the_blocks_differ_from_those_of_the_training(model, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    shutil.copytree(model.parent, run)
    (index,) = run.glob("corpus/blocks-*/index.json")
    blocks, config = index.parent / "train.bin", json.loads((run / "config.json").read_text())
    monkeypatch.setattr(sys, "argv", ["uddm", "evaluate", str(run / "model")])

    def refused():
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().err

    content, time = blocks.read_bytes(), blocks.stat()
    blocks.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(blocks, ns=(time.st_atime_ns, time.st_mtime_ns))
    message = refused()
    assert str(index.parent) in message
    assert "differ" in message
    blocks.write_bytes(content)
    config.pop("checksum", None)  # of a run with other data, whose blocks have the shape of these
    config["data"]["sha256"] = "0" * 64
    (run / "config.json").write_text(json.dumps(config))
    assert f"the blocks in {index.parent} differ from those of the training" in refused()


def test_evaluation_needs_a_corpus_beside_what_is_no_run(model, tmp_path, monkeypatch, capsys):
    shutil.copytree(model, tmp_path / "model")
    for content in ({}, {"data": None}, {"data": {}}, {"data": {"sequences": 3}}):
        (tmp_path / "config.json").write_text(json.dumps(content))
        monkeypatch.setattr(sys, "argv", ["uddm", "evaluate", str(tmp_path / "model")])
        with pytest.raises(SystemExit):
            main()
        assert f"`corpus` must be given: {tmp_path} is no run folder" in capsys.readouterr().err


def test_a_refused_command_leaves_the_run_as_it_was(model, text, monkeypatch, capsys):
    words = ["train", model.parent, "--corpus", text, "--steps", 20, "--hidden-dim", 16, "--length", 12]
    before = sorted(model.parent.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["uddm", *map(str, words)])
    with pytest.raises(SystemExit):
        main()
    assert "its model.length is 8, not 12" in capsys.readouterr().err
    assert sorted(model.parent.rglob("*")) == before


def test_the_paper_preset_trains_a_nested_fraction_of_lm1b(shared_data, tmp_path, command):
    """`--fraction` of a folder of shards, with the published network made small enough for a test."""
    bert = f"bert:{shared_data / 'bert' / 'vocab.txt'}"
    small = ["--hidden-dim", 8, "--blocks", 1, "--heads", 2, "--steps", 2, "--batch-size", 2, "--precision", "float32"]
    shard = shared_data / "lm1b" / "news.en.heldout-00000-of-00050"
    words = ["train", tmp_path, "--preset", "paper-tiny", "--fraction", 0.01, "--corpus", shard, "--tokenizer", bert]
    done = command(*words, *small, "--test-corpus", shared_data / "lm1b" / "news.en.heldout-00010-of-00050")
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "config.json").read_text())
    (index,) = tmp_path.glob("corpus/blocks-*/index.json")
    blocks = json.loads(index.read_text())
    assert run["model"]["vocab_size"] == 30522
    assert run["data"]["sequences"] == blocks["train"]["blocks"] // 100 > 5
    assert run["training"]["curriculum"]["end"] == 1
    assert run["training"]["ema"] == 0.9999
    assert blocks["packing"] == "sentences"


def test_two_processes_train_one_model(text, tmp_path, command):
    out, said = tmp_path / "run", tmp_path / "said"
    words = ["train", out, "--corpus", text, "--steps", 3, "--hidden-dim", 16, "--length", 8]
    launched = forked.torchrun(uddm.__main__.__file__, *words, said=said)
    launched.join(300)
    assert launched.exitcode == 0, said.read_text()
    assert said.read_text().splitlines().count(str(out / "model")) == 1, "the first of them prints it"
    assert command("sample", out / "model", "--n", 1, "--steps", 2).returncode == 0
