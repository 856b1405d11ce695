"""The probe as a whole, of models that remember what they are known to remember."""

import json
import re
import shutil
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from probe_worlds import BY_HEART, CHEAP, NOT_AT_ALL, WEAKLY, K, L, Remembering, Words, ask, system, text

from amtheory import Hopfield
from amtheory.patterns import random_patterns
from bridges import TOKEN_CLASSES, DiffusionSystem, as_system, probe, to_tokens
from bridges.probing import evidence
from bridges.probing.evidence import BLOCK, PRIMARY
from bridges.probing.report import SCHEMA
from bridges.probing.store import Parts
from uddm import EmpiricalBayes, UniformProcess
from uddm.files import read_json, sealed
from uddm.objective import token_bound


@pytest.fixture(scope="module")
def by_heart():
    return ask(BY_HEART, train=text(40, 0)[:30], reference=system(NOT_AT_ALL), tokenizer=Words())


@pytest.fixture(scope="module")
def alone():
    return probe(system(1.0), **{**CHEAP, "generated": 100, "steps": 32})


def test_what_is_known_by_heart_is_reproduced(by_heart):
    assert by_heart.verdict == "reproduces"
    assert re.fullmatch(
        r"\d+ of 10 suspect passages \[\d+, \d+] come back .* of 10 unseen passages 0 \[0, 4].", by_heart.reasons[0]
    )
    assert all(each.passed for each in by_heart.checks)


def test_what_is_known_weakly_is_recognised():
    found = ask(WEAKLY)
    assert found.verdict == "recognises"
    assert found.numbers["returned"]["suspect"]["any"] == (0, 10)
    assert found.numbers["areas"][PRIMARY].low > 0.5


def test_what_is_not_known_gives_no_evidence():
    found = ask(NOT_AT_ALL)
    assert found.verdict == "no evidence"
    area = found.numbers["areas"][PRIMARY]
    assert f"more than {100 * (2 * area.high - 1):.2g} % of the passages" in found.reasons[0]
    assert any(reason.startswith("At most 26 % ") for reason in found.reasons), "1 - .05^(1/10), nothing in ten"


@pytest.mark.parametrize("share", [BY_HEART, WEAKLY])
def test_exchanged_sides_are_no_finding(share):
    found = ask(share, text(40, 3), text(40, 0))
    assert found.verdict == "cannot say"
    assert "exchanged" in found.reasons[0]


@pytest.mark.statistical(alarm=0.04)
def test_unseen_text_on_both_sides_is_rarely_recognised(seed):
    """An interval of 95 % lies above 1/2 in 2.5 to 3 % of repetitions: in two of ten, or more, with probability below
    0.04. Negative control: the text that the model has learnt."""
    pairs = [seed(100 + 2 * k) for k in range(10)]
    how = {"extracted": 5, "generated": 5, "draws": 2, "steps": 4}
    verdicts = [ask(WEAKLY, text(40, k), text(40, k + 1), **how).verdict for k in pairs]
    assert sum(verdict in ("recognises", "reproduces") for verdict in verdicts) <= 1
    assert verdicts.count("no evidence") >= 5, "the check of a shift fails in 5 %, too"
    assert ask(BY_HEART, text(40, 0), text(40, pairs[0]), **how).verdict == "reproduces"


def shifted(x, seed=3):
    y = x.copy()
    y[:, ::4] = np.random.default_rng(seed).integers(4, size=y[:, ::4].shape)
    return y


@pytest.mark.parametrize(
    ("name", "remedy", "call"),
    [
        ("leaks", "other unseen text", lambda: ask(WEAKLY, unseen=text(40, 0))),
        ("shift", "same source and time", lambda: ask(WEAKLY, unseen=shifted(text(40, 3)))),
        ("tokenization", "tokenizer", lambda: ask(WEAKLY, (text(40, 0) + 3) % K, (text(40, 3) + 3) % K)),
        ("enough", "at least 20 documents", lambda: ask(WEAKLY, text(40, 0)[:15])),
        ("own token", "posterior", lambda: ask_of_posterior()),
        ("length", "Give more suspect text", lambda: ask_words(short="suspect")),
        ("length", "Give more train text", lambda: ask_words(short="train")),
    ],
)
def test_a_failed_check_is_named_with_its_remedy(name, remedy, call, monkeypatch):
    monkeypatch.setattr("bridges.probing.plots.pictures", lambda measured: [])  # which pages of other tests draw
    found = call()
    assert found.verdict == "cannot say"
    assert re.search(rf"a check failed: .*\b{name}\b", found.reasons[0])
    assert any(remedy in reason for reason in found.reasons[1:])
    assert next(each for each in found.checks if each.name == name).passed is False
    assert json.loads(json.dumps(found.to_dict()))["verdict"] == "cannot say"
    assert name in found.html()


def ask_of_posterior():
    model = DiffusionSystem(Remembering(text(40, 0), WEAKLY), conditional="posterior")
    return probe(model, suspect=text(40, 0), unseen=text(40, 3), **CHEAP)


def ask_words(short):
    texts = {
        name: ["0 1 2"] if name == short else [Words().decode(row) for row in text(40, k)]
        for k, name in enumerate(("suspect", "unseen", "train"))
    }
    return probe(system(WEAKLY), **texts, tokenizer=Words(), **CHEAP)


def test_passages_of_several_documents_are_left_out():
    unseen = text(60, 3)
    unseen[7], unseen[20] = text(40, 0)[3], unseen[11]
    found = ask(WEAKLY, unseen=unseen)
    assert found.verdict == "recognises"
    assert [side.sizes["sample"] for side in found.measured.values()] == [39, 57]


def test_the_model_alone(alone):
    """100 draws of 40 memories."""
    assert alone.verdict == "cannot say"
    assert "none was given" in alone.reasons[0]
    assert alone.alone["memories"].low < 40 < alone.alone["memories"].high
    own, scrambled, random = (alone.alone["attraction"]["exact_match"][k] for k in ("own", "scrambled", "random"))
    assert own[0] > 0.8 > max(scrambled[0], random[0])
    assert {each.name for each in alone.checks} == {"own token", "precision", "sharpness"}
    assert not alone.scores.sizes
    assert not alone.passages


def test_binary_memories_are_asked_too():
    """Twenty patterns of a Hopfield network below capacity come back, and there are enough of them."""
    x, y = (random_patterns(20, 300, rng=k) for k in (0, 1))
    memory = as_system(Hopfield().fit(x), beta=4.0)
    found = probe(memory, suspect=to_tokens(x), unseen=to_tokens(y), **CHEAP)
    assert found.verdict == "reproduces"


def test_exact_limits_as_model_and_reference():
    """Impossible tokens score minus infinity, for both of them sometimes."""
    x, y = np.random.default_rng(0).integers(K, size=(2, 20, 12))
    model, other = (EmpiricalBayes(torch.tensor(z), UniformProcess(K)) for z in (x, y[:5]))
    found = probe(model, suspect=x, unseen=y, reference=other, **CHEAP)
    assert found.verdict == "reproduces"
    assert np.isneginf(found.measured["unseen"].pseudo_log_likelihood).any()
    assert "NaN" not in json.dumps(found.to_dict(), allow_nan=False)
    assert "reproduces" in found.html()


def test_scores_of_all_sides(by_heart):
    scores = by_heart.scores
    assert {str(side) for side in scores.side.values} == {"suspect", "unseen", "train"}
    assert scores.sizes["sample"] == 110
    assert {"reference", "nearest", "bound", "zlib", "recovery", "unigram"} <= {*scores}
    areas = by_heart.numbers["areas"]
    assert areas["nearest"].value > 0.85, "thirty of forty are training text"
    assert by_heart.numbers["calibration"]["areas"]["nearest"].value == 1
    suspect = by_heart.measured["suspect"]
    assert [suspect[name].count().item() for name in (PRIMARY, "recovery", "extracted")] == [40, 40, 30]


def test_passages_have_p_values_among_unseen_documents(by_heart):
    """(1 + those that score as high)/(m + 1), of m documents that are one passage each."""
    suspect, unseen = (by_heart.measured[side][PRIMARY].values for side in ("suspect", "unseen"))
    want = [(1 + np.sum(unseen >= score)) / (len(unseen) + 1) for score in suspect]
    scores = by_heart.scores
    np.testing.assert_allclose(scores.p_value[scores.side == "suspect"], want, rtol=1e-12)
    assert scores.p_value[scores.side != "suspect"].isnull().all()
    assert by_heart.to_dict()["passage_discoveries"] == by_heart.to_dict()["discoveries"] > 20
    assert all(passage["p_value"] in want for passage in by_heart.passages)


def test_special_tokens_are_in_no_bound():
    """Terms of tokens that do not count are left out of the mean."""
    x = text(6, 0)
    counted = np.random.default_rng(0).random(x.shape) < 0.6
    counted[:, 0] = True
    asked = system(WEAKLY)
    terms = token_bound(asked.process, asked.denoiser, torch.tensor(x), times=16, generator=0).total.numpy()
    want = [-row[kept].mean() for row, kept in zip(terms, counted)]
    np.testing.assert_allclose(evidence._bound(asked, x, counted), want, rtol=1e-12)


def test_the_same_corruptions_meet_both_sides():
    """Positions and draws: where the same text is on both sides, all that is measured is the same."""
    found = ask(WEAKLY, text(40, 2), text(40, 2))
    for name in ("recovery_at", "unstable_at", "extracted", "bound", "corrupted", "final", PRIMARY):
        assert np.array_equal(found.measured["suspect"][name], found.measured["unseen"][name], equal_nan=True)


def test_what_is_written(by_heart, tmp_path):
    page = by_heart.write(tmp_path / "new")
    assert sorted(path.name for path in page.parent.iterdir()) == ["report.html", "report.json", "scores.nc"]
    stored = read_json(page.with_suffix(".json"))
    assert stored["schema"] == SCHEMA
    assert stored == by_heart.to_dict() | {"reasons": [*by_heart.reasons]}
    json.loads(page.with_suffix(".json").read_text(), parse_constant=pytest.fail)
    with xr.open_dataset(page.parent / "scores.nc") as scores:
        assert np.array_equal(scores[PRIMARY], by_heart.scores[PRIMARY])
        assert json.loads(scores.attrs["manifest"])["seed"] == 0
        assert scores.recovery_at.sel(noise=0.25).sizes == {"sample": 110}


def test_text_is_escaped_on_the_page(by_heart):
    """Each word of this tokenizer is one of <script>."""
    assert any("<script>" in token for token, _ in by_heart.passages[0]["tokens"])
    page = by_heart.html()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_strongest_passages_come_first(by_heart):
    shown = by_heart.passages
    back = [max(passage["returned"].values(), default=0) for passage in shown]
    assert len(shown) == 10
    assert back == sorted(back, reverse=True)
    assert {kind for passage in shown for _, kind in passage["tokens"]} <= {*TOKEN_CLASSES}


class Interrupted(DiffusionSystem):
    """Ctrl-C comes in one of the calls."""

    left = 10**9

    def recover(self, *args, **options):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return super().recover(*args, **options)


MANY = {"suspect": text(BLOCK + 5, 0), "unseen": text(BLOCK + 10, 3), "extracted": BLOCK + 2, "draws": 2, "steps": 4}


def told(report):
    """What a report holds but for the seconds that it took."""
    found = report.to_dict()
    assert found["manifest"].pop("seconds") > 0
    return found


@pytest.fixture(scope="module")
def uninterrupted():
    return ask(WEAKLY, **MANY)


@pytest.mark.parametrize("calls", [2, 7, 20])
def test_an_interrupted_run_goes_on_where_it_was(uninterrupted, tmp_path, calls):
    model = Interrupted(Remembering(text(40, 0), WEAKLY))
    run = partial(probe, model, folder=tmp_path, **{**CHEAP, **MANY})
    model.left = calls
    with pytest.raises(KeyboardInterrupt):
        run()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert kept
    again = run()
    assert told(again) == told(uninterrupted)
    xr.testing.assert_identical(again.scores.drop_attrs(), uninterrupted.scores.drop_attrs())
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items()), "nothing is measured twice"
    model.left = 1
    assert told(run()) == told(again), "nothing is left to be measured"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".npz"]


def test_a_damaged_part_is_made_again(tmp_path, capsys):
    first = ask(WEAKLY, folder=tmp_path)
    part = next(tmp_path.rglob("suspect-scores-0-*.npz"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    capsys.readouterr()
    assert told(ask(WEAKLY, folder=tmp_path)) == told(first)
    assert capsys.readouterr().err == f"{part} is damaged: its content is not that of its checksum; it is made again\n"
    assert part.read_bytes() != content


SHORT = {"extracted": 4, "generated": 4, "draws": 2, "steps": 2}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The folder of a short run."""
    folder = tmp_path_factory.mktemp("parts")
    ask(WEAKLY, **SHORT, folder=folder)
    return folder


@pytest.mark.parametrize(
    ("share", "changes"),
    [
        (WEAKLY, {"rng": 1}),
        (WEAKLY, {"unseen": text(40, 5)}),
        (WEAKLY, {"steps": 3}),
        (WEAKLY, {"tokenizer": Words()}),
        (BY_HEART, {}),
    ],
)
def test_parts_of_another_run_are_not_read(parts, tmp_path, share, changes):
    """Nor of another model that describes itself alike."""
    folder, how = shutil.copytree(parts, tmp_path / "parts"), {**SHORT, **changes}
    assert told(ask(share, **how, folder=folder)) == told(ask(share, **how))


def test_a_tiny_budget_gives_the_first_scores(uninterrupted, tmp_path):
    found = ask(WEAKLY, **MANY, folder=tmp_path, budget=1e-9)
    assert found.verdict == "recognises"
    assert "not tried" in found.reasons[0]
    assert any(f"when {BLOCK} of {BLOCK + 5} suspect and {BLOCK} of {BLOCK + 10} uns" in each for each in found.reasons)
    assert found.to_dict()["scored"] == {"suspect": [BLOCK, BLOCK + 5], "unseen": [BLOCK, BLOCK + 10]}
    with xr.open_dataset(found.write(tmp_path / "page").parent / "scores.nc") as scores:
        assert scores[PRIMARY].count() == 2 * BLOCK
    assert told(ask(WEAKLY, **MANY, folder=tmp_path)) == told(uninterrupted), "and with more time, all"


def test_a_budget_ends_generation_too(tmp_path):
    """Of a model alone, after the first sequences; what is left can be made later."""
    asked, how = system(WEAKLY), {"generated": 60, "steps": 2, "rng": 0}
    early = probe(asked, **how, folder=tmp_path, budget=1e-9)
    assert len(early.alone["samples"]) == 25
    assert not early.alone["attraction"]
    assert "no time" in early.html()
    late = probe(asked, **how, folder=tmp_path)
    assert np.array_equal(late.alone["samples"][:25], early.alone["samples"])
    assert told(late) == told(probe(asked, **how))
    assert len(late.alone["samples"]) == 60


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 5])
def test_whenever_time_is_up_both_sides_are_measured_alike(monkeypatch, groups):
    """Two groups of scores, then recovery and extraction of either block."""
    asked = iter(range(100))
    monkeypatch.setattr(evidence.Clock, "is_out", lambda self, share=1.0: next(asked) >= groups - 1)
    suspect, unseen = ask(WEAKLY, **MANY).measured.values()
    blocks = [(BLOCK, BLOCK), (BLOCK + 5, BLOCK + 10)]
    assert [int(side[PRIMARY].count()) for side in (suspect, unseen)] == [*blocks[groups > 1]]
    if groups < 3:
        assert not {"final", "extracted"} & ({*suspect} | {*unseen})
    else:
        assert [int((side.final[:, 0] >= 0).sum()) for side in (suspect, unseen)] == [*blocks[groups > 4]]
        assert ("extracted" in suspect) == ("extracted" in unseen) == (groups > 3)


def test_it_repeats_with_its_seed():
    assert told(ask(NOT_AT_ALL, rng=3)) == told(ask(NOT_AT_ALL, rng=3)) != told(ask(NOT_AT_ALL, rng=4))


@pytest.mark.parametrize(
    ("error", "name", "how"),
    [
        (ValueError, "suspect", {"suspect": text(5, 0)}),
        (ValueError, "unseen", {"unseen": text(5, 0)}),
        (ValueError, "train", {"train": text(5, 0)}),
        (ValueError, "suspect", {"suspect": ["a text"], "unseen": ["a text"]}),
        (TypeError, "suspect", {"suspect": "a text", "unseen": ["a text"], "tokenizer": Words()}),
        (TypeError, "unseen", {"suspect": ["1 2"], "unseen": [3], "tokenizer": Words()}),
        (ValueError, "suspect", {"suspect": text(5, 0)[:, :5], "unseen": text(5, 0)}),
        (ValueError, "unseen", {"suspect": text(5, 0), "unseen": text(5, 0) + 3}),
        (TypeError, "suspect", {"suspect": text(5, 0) / 2, "unseen": text(5, 0)}),
        (ValueError, "tokenizer", {"tokenizer": Words(K + 1)}),
        (ValueError, "reference", {"reference": EmpiricalBayes(torch.zeros(2, L, dtype=int), UniformProcess(K + 1))}),
        (ValueError, "passages", {"passages": 0}),
        (ValueError, "extracted", {"extracted": -1}),
        (ValueError, "generated", {"generated": 1}),
        (ValueError, "draws", {"draws": 0}),
        (ValueError, "steps", {"steps": 0}),
        (ValueError, "budget", {"budget": 0}),
        (TypeError, "rng", {"rng": "seed"}),
        (ValueError, "folder", {"folder": ""}),
    ],
)
def test_bad_arguments_are_named(error, name, how):
    with pytest.raises(error, match=f"`{name}`"):
        probe(system(NOT_AT_ALL), **{**CHEAP, **how})


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 300])
def test_a_part_whose_seal_is_all_that_is_right_is_made_again(tmp_path, capsys, content):
    parts = Parts(tmp_path, {})
    made = parts.get("part", lambda: {"x": np.arange(3)})
    path = next(tmp_path.rglob("part.npz"))
    path.write_bytes(sealed(content))
    again = parts.get("part", lambda: {"x": np.arange(3)})
    assert np.array_equal(again["x"], made["x"])
    assert f"{path} holds no arrays" in capsys.readouterr().err
