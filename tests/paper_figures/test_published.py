"""The published checkpoints: which files are measured and how, and that nothing is lost over a bad one."""

import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
import xarray as xr

import uddm
from bridges import DiffusionSystem, conditional_entropy
from paper_figures import cells as store
from paper_figures import published
from paper_figures.__main__ import main
from paper_figures.cells import load
from paper_figures.measure import language
from paper_figures.presets import PAPER, PRESETS, PUBLISHED, SMOKE, Protocol
from paper_figures.report import read_record, verify
from paper_figures.workspace import Workspace
from uddm import DiT, DiTConfig, import_published
from uddm.denoisers import HalfPrecision

LENGTH = 8
WIDTHS = {"tiny": 16, "small": 24}
FRACTIONS = {"tiny": (0.1, 0.5, 1.0), "small": (0.1, 1.0)}
NAMES = ("fig02", "fig09", "protocols", "C11")  # none of which needs a network of ours

SMALL = replace(
    SMOKE,
    rehearsal=False,
    language=replace(
        PAPER.language,
        tokenizer="letters",
        packing="stream",
        length=LENGTH,
        sequences=6,
        generated=6,
        greedy_sequences=4,
        noise=(0.25, 0.5),
        greedy_noise=(0.2, 1.0),
        steps=20,
        greedy_steps=20,
        generation_steps=10,
    ),
)
"""The paper preset with fewer sequences and steps."""


def network(seed, width, vocab_size=27):
    torch.manual_seed(seed)
    model = DiT(DiTConfig(vocab_size, length=LENGTH, hidden_dim=width, blocks=1, heads=2, cond_dim=4))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.3)
    return model


def save(path, seed, width, **shape):
    """A Lightning checkpoint, whose weights and whose average are two networks."""
    raw, average = network(seed, width, **shape), network(seed + 1000, width, **shape)
    model = {"hidden_size": width, "cond_dim": 4, "n_blocks": 1, "n_heads": 2, "length": LENGTH, "dropout": 0.1}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "state_dict": {f"backbone.{name}": value for name, value in raw.state_dict().items()},
        "ema": {"decay": 0.9999, "num_updates": 7, "shadow_params": [p.detach() for p in average.parameters()]},
        "hyper_parameters": {"config": {"model": model, "noise": {"type": "log-linear"}}},
        "global_step": 1_000_000,
    }
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Text for some 250 training sequences."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("etaoinshr"), rng.integers(2, 7))) for _ in range(60)]
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n\n".join(" ".join(rng.choice(words, 25)) for _ in range(20)))
    return path


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Two sizes and three fractions, of which one is missing, one is damaged in its weights; and what is foreign."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for number, (size, fractions) in enumerate(FRACTIONS.items()):
        for fraction in fractions:
            save(folder / size / f"lm1b-{size}-{fraction}.ckpt", 10 * number + int(10 * fraction), WIDTHS[size])
    path = save(folder / "small" / "lm1b-small-0.8.ckpt", 77, WIDTHS["small"])
    content = bytearray(path.read_bytes())
    needle = network(77 + 1000, WIDTHS["small"]).vocab_embed.embedding.detach().numpy().tobytes()[:64]
    content[content.index(needle) + 5] ^= 1
    path.write_bytes(content)
    (folder / "small" / "lm1b-small-0.3.ckpt").write_text("no checkpoint")
    (folder / "tiny" / "notes.txt").write_text("<script>")
    save(folder / "medium" / "lm1b-medium-0.5.ckpt", 5, 32, vocab_size=31)
    return folder


def words(checkpoints, corpus, out, *names):
    where = ["--preset", "paper", "--checkpoints", checkpoints, "--corpus", corpus, "--out", out, "--jobs", "1"]
    return ["paper_figures", "run", *map(str, [*names, *where])]


@pytest.fixture(scope="module")
def whole(checkpoints, corpus, tmp_path_factory):
    """The results of an uninterrupted run, and what it said."""
    out, said = tmp_path_factory.mktemp("whole") / "out", []
    with (
        mock.patch.dict(PRESETS, paper=SMALL),
        mock.patch.object(sys, "argv", words(checkpoints, corpus, out, *NAMES)),
        mock.patch.object(sys.stderr, "write", said.append),
    ):
        main()
    return SimpleNamespace(folder=out, said="".join(said))


def test_what_cannot_be_measured_is_told_and_nothing_else_is_lost(whole, checkpoints):
    skipped = read_record(whole.folder)["manifest"]["skipped"]
    told = "\n".join(skipped)
    for file in (
        "small-0.8.ckpt: ",
        "small-0.3.ckpt: ",
        "notes.txt: it is not named",
        "medium-0.5.ckpt: it has 31 tokens",
    ):
        assert file in told
    assert "small has no checkpoint at 0.5 of the corpus" in told
    assert all(f"skipped: {reason}" in whole.said for reason in skipped)
    assert verify(whole.folder) == []
    record = read_record(whole.folder)
    assert record["manifest"]["missing"] == []
    sizes = load(whole.folder / "data" / "fig09_model_size.nc")
    there = np.isfinite(sizes.recovery.sel(split="test", estimate="value"))
    assert there.sum("dataset_size").to_series().to_dict() == {16: 3, 24: 2}


def test_both_protocols_are_drawn(whole):
    systems = load(whole.folder / "data" / "fig02_recovery.nc").system.values.tolist()
    assert systems == ["tiny", "tiny, published protocol", language.LIMIT]
    changes = load(whole.folder / "data" / "protocols.nc")
    assert changes.variant.values.tolist() == ["tiny, published protocol", "tiny, raw weights"]
    assert (abs(changes.entropy.sel(estimate="value")) > 1e-3).all(), "two networks of other weights"


def test_numbers_are_those_of_the_weights_that_are_named(whole, checkpoints, corpus):
    """Entropies and bounds of the cells against the imported networks, asked here."""
    with mock.patch.dict(PRESETS, paper=SMALL):
        ws = Workspace(whole.folder, "paper", checkpoints=str(checkpoints), corpus=[str(corpus)])
    size = ws.blocks.size_of(0.5)
    x = ws.blocks.train(size)[:6]
    file = checkpoints / "tiny" / "lm1b-tiny-0.5.ckpt"
    found = {}
    for system, weights in (("tiny", "ema"), ("tiny, raw weights", "raw"), ("tiny, published protocol", "raw")):
        measured = language.Measured(ws, language.Case(system, size, 0))
        cell = measured.entropy("train")._replace(make=pytest.fail)
        own = conditional_entropy(DiffusionSystem(import_published(file, weights=weights)), x, rng=measured.seed)
        np.testing.assert_array_equal(ws.get(cell).tokens, x)
        np.testing.assert_allclose(ws.get(cell).token_entropy, own.token_entropy, rtol=1e-5)
        found[system] = own.token_entropy.values
    assert abs(found["tiny"] - found["tiny, raw weights"]).max() > 0.01


def test_generation_ends_as_the_protocol_says(whole, checkpoints, corpus):
    with mock.patch.dict(PRESETS, paper=SMALL):
        ws = Workspace(whole.folder, "paper", checkpoints=str(checkpoints), corpus=[str(corpus)])
    size = ws.blocks.size_of(0.1)
    system = DiffusionSystem(import_published(checkpoints / "tiny" / "lm1b-tiny-0.1.ckpt", weights="raw"))
    for name, last in (("tiny, raw weights", "ancestral"), ("tiny, published protocol", "greedy")):
        measured = language.Measured(ws, language.Case(name, size, 0))
        own = system.generate(6, np.random.default_rng(measured.seed), steps=10, last=last)
        np.testing.assert_array_equal(ws.get(measured.entropy("generated")).tokens, own)


def test_a_corruption_enters_the_grid_at_its_time(checkpoints, corpus, tmp_path):
    with mock.patch.dict(PRESETS, paper=SMALL):
        ws = Workspace(tmp_path, "paper", checkpoints=str(checkpoints), corpus=[str(corpus)])
    measured = language.Measured(ws, language.Case("tiny", ws.blocks.size_of(0.1), 0))
    steps = [measured.recovery("train", noise).key["steps"] for noise in (0.25, 0.5)]
    assert steps == [5, 10], "20 steps of the whole process"
    told = [measured.greedy("train", 0.2, told).key for told in language.TOLD]
    assert [(key["start"], key["steps"]) for key in told] == [(1.0, 20), (0.2, 4)]


def test_stopped_and_resumed(whole, checkpoints, corpus, tmp_path, monkeypatch):
    """A run that is stopped on the way and started again ends with the same data, and measures nothing twice."""
    line, save = words(checkpoints, corpus, tmp_path / "out", "protocols"), store.save

    def written():
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").glob("*.nc")}

    def stopped(*what):
        if len(written()) == 20:
            raise KeyboardInterrupt
        return save(*what)

    def run():
        with mock.patch.dict(PRESETS, paper=SMALL), mock.patch.object(sys, "argv", line):
            main()

    monkeypatch.setattr(store, "save", stopped)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run()
    monkeypatch.undo()
    before = written()
    assert len(before) == 20
    run()
    assert before.items() < written().items()
    again, data = (load(folder / "data" / "protocols.nc") for folder in (tmp_path / "out", whole.folder))
    xr.testing.assert_identical(again.drop_attrs(), data.drop_attrs())


def test_another_file_is_measured_anew_and_a_moved_one_is_not(checkpoints, corpus, tmp_path):
    moved = tmp_path / "moved" / "tiny" / "lm1b-tiny-0.5.ckpt"
    moved.parent.mkdir(parents=True)
    moved.write_bytes((checkpoints / "tiny" / "lm1b-tiny-0.5.ckpt").read_bytes())

    def cells(folder):
        with mock.patch.dict(PRESETS, paper=SMALL):
            ws = Workspace(tmp_path / "out", "paper", checkpoints=str(folder), corpus=[str(corpus)])
        return {ws.path(cell) for cell in language.cells(ws, language.Case("tiny", ws.blocks.size_of(0.5), 0))}

    assert cells(moved.parents[1]) == cells(checkpoints)
    before = cells(moved.parents[1])
    save(moved, 99, WIDTHS["tiny"])
    assert not cells(moved.parents[1]) & before


def test_half_precision_is_one_more_protocol(checkpoints, corpus, tmp_path):
    with mock.patch.dict(PRESETS, paper=SMALL):
        ws = Workspace(tmp_path, "paper", checkpoints=str(checkpoints), corpus=[str(corpus)], half=True)
    *_, name = language.variants(ws)
    measured = language.Measured(ws, language.Case(name, ws.blocks.size_of(1.0), 0))
    assert measured.protocol == replace(PUBLISHED, precision="float16")
    assert isinstance(measured.system.denoiser, HalfPrecision)
    assert ws.preset.language.variants["tiny, raw weights"].protocol == Protocol("raw")


def test_the_main_network_is_the_narrowest_of_those_with_most_sizes(checkpoints, corpus, tmp_path):
    with mock.patch.dict(PRESETS, paper=SMALL):
        ws = Workspace(tmp_path, "paper", checkpoints=str(checkpoints), corpus=[str(corpus)])
    assert len(ws.preset.language.widths["small"].files) == 3, "one of them is found damaged later"
    assert language.main(ws) == "tiny"
    assert list(language.widths(ws)) == [16, 24]


def test_what_is_missing_is_said(checkpoints, corpus, tmp_path, run_command):
    def run(*more):
        return run_command(main, "run", "fig02", "--preset", "paper", "--out", tmp_path / "out", *more)

    letters = ["--tokenizer", "letters", "--corpus", corpus]
    empty = tmp_path / "empty"
    empty.mkdir()
    for words, message in (
        ([], "`tokenizer` must be given for preset 'paper'"),
        (letters, "`checkpoints` must be given for preset 'paper'"),
        (["--sequences", 1], "`sequences` must be at least 2"),
        (["--device", "abacus"], "`device` must be one that torch can use here"),
    ):
        done = run(*words)
        assert done.returncode == 2
        assert message in done.stderr
    for folder, message in (
        (empty, "must hold a readable <size>/lm1b-<size>-<fraction>.ckpt, got none"),
        (tmp_path / "nowhere", "`checkpoints` must be a folder or hf://"),
    ):
        with mock.patch.dict(PRESETS, paper=SMALL):
            done = run("--corpus", corpus, "--checkpoints", folder)
        assert done.returncode == 2
        assert message in done.stderr


def test_files_on_the_hub(monkeypatch):
    """Their names, commit and hashes are known without fetching them; the shape is that of their size."""

    class Hub:
        def model_info(self, repository, revision, files_metadata):
            assert (repository, revision, files_metadata) == ("owner/name", "v1", True)
            names = ["tiny/lm1b-tiny-0.5.ckpt", "tiny/other.ckpt", "huge/lm1b-huge-0.5.ckpt", "README.md"]
            lfs = SimpleNamespace(sha256="of the content")
            siblings = [SimpleNamespace(rfilename=name, lfs=lfs, blob_id="blob") for name in names]
            return SimpleNamespace(sha="c0ffee", siblings=siblings)

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    blocks = SimpleNamespace(vocab_size=30522, length=128, size_of=lambda fraction: round(1000 * fraction))
    networks, skipped = published.find("hf://owner/name@v1", blocks)
    assert networks["tiny"].files == {500: "hf://owner/name@c0ffee/tiny/lm1b-tiny-0.5.ckpt"}
    assert networks["tiny"].contents == {500: "of the content"}
    assert networks["tiny"].network == DiTConfig.tiny(30522, length=128)
    assert [reason.partition(": ")[2][:20] for reason in skipped] == ["it is not named <siz", "its size is none of "]


def test_the_published_fractions_are_names_that_are_known():
    for fraction in uddm.corpora.blocks.fractions():
        for size in published.SHAPES:
            name = published.NAME.fullmatch(f"folder/{size}/lm1b-{size}-{fraction:.8g}.ckpt")
            assert name is not None
            assert float(name["fraction"]) == pytest.approx(fraction, rel=1e-12)
    for foreign in (
        "tiny/lm1b-small-0.5.ckpt",
        "tiny/lm1b-tiny-half.ckpt",
        "lm1b-tiny-0.5.ckpt",
        "tiny/lm1b-tiny-0.5.pt",
    ):
        assert published.NAME.fullmatch(foreign) is None
