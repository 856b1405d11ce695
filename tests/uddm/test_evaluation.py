"""Evaluation of one's own text: bounds token by token, their sums and rates, and the command that prints them."""

import csv
import json
import math
from functools import partial

import numpy as np
import pytest
import torch

from uddm import DiT, DiTConfig, EmpiricalBayes, HollowMLP, HollowMLPConfig, UniformProcess, evidence_bound
from uddm.__main__ import main
from uddm.corpora import ByteTokenizer, CharacterTokenizer
from uddm.corpora.text import read_documents
from uddm.evaluation import DRAWS, document_rates, overall_rates, ratio_interval, score_documents, token_rows
from uddm.objective import token_bound

L = 8
LETTERS = CharacterTokenizer()
TEXT = "the quick brown fox jumps over the lazy dog and runs"
TOTALS = ("full bound", "published variant")


def dit(vocab_size=27, *, uniform=False, **changes):
    torch.manual_seed(0)
    model = DiT(DiTConfig(vocab_size, length=L, hidden_dim=16, blocks=1, heads=2, cond_dim=8, **changes))
    if not uniform:  # the read-out starts from zero: x_theta is uniform
        torch.nn.init.normal_(model.output_layer.linear.weight)
    return model.eval()


def hollow():
    torch.manual_seed(0)
    return HollowMLP(HollowMLPConfig(27, length=L, hidden_dim=8, blocks=1, cond_dim=4)).eval()


# --- Token by token


def test_the_tokens_of_a_sequence_sum_to_its_bound():
    model, x = dit(), torch.randint(27, (5, L))
    whole, parts = (f(model.process, model, x, times=4, generator=1) for f in (evidence_bound, token_bound))
    for one, other in zip(whole, parts):
        torch.testing.assert_close(one, other.sum(1), rtol=1e-12, atol=1e-12)
    assert parts.total.shape == x.shape


@pytest.mark.statistical(alarm=1e-5)
def test_given_tokens_cost_nothing_and_tell_what_they_tell(seed):
    """By the chain rule on four strings, with their exact denoiser: log 2 for the first half, and for the rest given
    it. Each of two z-scores within 4.6 (two-sided 5e-6); without the condition it would be log 4."""
    x = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]])
    process = UniformProcess(2, "linear")
    bayes = EmpiricalBayes(x, process)
    many = x.repeat(500, 1)
    for given, expected in ((torch.tensor([1, 1, 0, 0]), math.log(2)), (torch.zeros(4), math.log(4))):
        mask = given.bool().expand(many.shape)
        bound = token_bound(process, bayes, many, given=mask, times=8, generator=seed(0)).total
        assert not bool(bound[mask].any())
        total = bound.sum(1)
        error = float(total.std()) / len(total) ** 0.5
        assert abs(float(total.mean()) - expected) < 4.6 * error + 1e-3  # 1e-3: x_theta is float32, first > 0


def test_given_tokens_of_another_shape():
    model = dit()
    with pytest.raises(ValueError, match=r"`given` must have the shape of x, \(1, 8\), got \(8,\)"):
        token_bound(model.process, model, torch.zeros(1, L, dtype=torch.long), given=torch.zeros(L, dtype=torch.bool))


# --- Documents


@pytest.mark.parametrize("length", [1, 3, 7, 8, 9, 15, 16, 20])
@pytest.mark.parametrize("make", [dit, hollow])
def test_every_token_is_scored_once(make, length):
    """With the separator, n + 1 tokens in ceil((n + 1)/8) windows; one that is too short for one length has none."""
    text = "abcdefghijklmnopqrstuvwxyz"[:length]
    (score,) = score_documents(make(), LETTERS, [("a", text)], times=8)
    if make is hollow and length + 1 < L:
        assert (len(score.tokens), score.windows) == (0, 0)
        return
    assert score.tokens.tolist() == [*range(1, length + 1), 0]
    assert score.special.tolist() == [False] * length + [True]
    assert score.windows == math.ceil((length + 1) / L)
    assert (score.size, score.words) == (length, 1)
    for column in (score.diffusion, score.reconstruction, score.prior, score.log_prob, score.entropy):
        assert column.shape == (length + 1,)
        assert np.isfinite(column).all()
    assert (score.entropy <= math.log(27) + 1e-5).all()


def test_the_bound_of_a_document_is_the_sum_of_its_tokens_and_the_mean_of_its_draws():
    for score in score_documents(dit(), LETTERS, [("a", TEXT), ("b", "a short one")], times=16):
        assert score.bound_draws.shape == (DRAWS,)
        assert score.bound.sum() == pytest.approx(score.bound_draws.mean(), rel=1e-12)
        assert score.published.sum() == pytest.approx(score.published_draws.mean(), rel=1e-12)
        assert (score.bound == score.diffusion + score.reconstruction + score.prior).all()


def test_the_cavity_is_that_of_the_clean_window():
    model = dit()
    (score,) = score_documents(model, LETTERS, [("a", TEXT[:15])], times=8)
    x = torch.from_numpy(score.tokens).view(2, L)
    with torch.no_grad():
        log_p = model.cavity(x, 1e-5).double()
    np.testing.assert_allclose(score.log_prob, log_p.gather(-1, x[..., None]).flatten(), atol=1e-5)
    np.testing.assert_allclose(score.entropy, -(log_p.exp() * log_p).sum(-1).flatten(), atol=1e-5)


@pytest.mark.statistical(alarm=1e-5)
def test_a_uniform_model_takes_log_K_for_each_token(seed):
    """The bound is tight for x_theta uniform, which is exact for independent uniform tokens: 8 bits a byte, and one
    byte more for the separator. A t-score of 8 draws within 11.6, which is two-sided 8e-6."""
    text = "Twelve bytes" * 20
    (score,) = score_documents(dit(256, uniform=True), ByteTokenizer(), [("a", text)], times=64, seed=seed(0))
    np.testing.assert_allclose(score.entropy, math.log(256), rtol=1e-6)
    np.testing.assert_allclose(score.log_prob, -math.log(256), rtol=1e-6)
    exact = {"nats_per_token": math.log(256), "bits_per_byte": 8 * 241 / 240, "bits_per_word": 8 * 241 / 21}
    found = document_rates(score)["full bound"]
    for rate, expected in exact.items():
        value, low, high = found[rate]
        assert abs(value - expected) < 11.6 / 2.3646 * (high - low) / 2  # t_{7, .975} = 2.3646
    assert found["perplexity"][0] == pytest.approx(math.exp(found["nats_per_token"][0]))


@pytest.mark.statistical(alarm=1e-5)
def test_the_exact_denoiser_of_equally_probable_strings(seed):
    """-log p is log P for each of P strings; the negative control is a string that is none of them."""
    words = ["abcdefg", "gfedcba", "aceg bd", "bdf ace"]
    x = torch.from_numpy(np.stack([np.append(LETTERS.encode(word), 0) for word in words]))
    bayes = EmpiricalBayes(x, UniformProcess(27))
    scores = score_documents(bayes, LETTERS, [(word, word) for word in [*words, "zzzzzzz"]], times=64, seed=seed(0))
    totals = np.concatenate([score.bound_draws for score in scores[:4]])
    assert abs(totals.mean() - math.log(4)) < 4.5 * totals.std(ddof=1) / len(totals) ** 0.5 + 1e-3
    assert scores[4].bound.sum() > 10


def test_draws_repeat_with_their_seed_whatever_else_is_asked():
    first, again, other = (score_documents(dit(), LETTERS, [("a", TEXT)], times=8, seed=s)[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first.bound, again.bound)
    assert not np.array_equal(first.bound, other.bound)
    np.testing.assert_array_equal(first.entropy, other.entropy)


def test_sentences_stand_between_bos_and_eos(tmp_path):
    from uddm.corpora import bert_tokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    bert = bert_tokenizer(tmp_path / "vocab.txt")
    text = "a b c d e f g h"
    (score,) = score_documents(dit(13), bert, [("a", text)], packing="sentences", times=8)
    bos, eos, end = bert.bos_id, bert.eos_id, bert.separator_id
    assert score.tokens.tolist() == [bos, 5, 6, 7, 8, 9, 10, eos, bos, 11, 12, end, eos]
    assert score.special.sum() == 5
    with pytest.raises(ValueError, match="packing 'sentences' needs a tokenizer with BOS, EOS and separator tokens"):
        score_documents(dit(), LETTERS, [("a", TEXT)], packing="sentences")


# --- Rates


def test_ratios_of_equal_units_are_means():
    """Against Student's interval of a mean, t_{4, .975} = 2.776 (tables)."""
    a = np.array([1.0, 4.0, 2.0, 8.0, 5.0])
    value, low, high = ratio_interval(a, np.full(5, 2.0))
    half = 2.7764451 * (a / 2).std(ddof=1) / 5**0.5
    np.testing.assert_allclose([value, low, high], [2.0, 2 - half, 2 + half], rtol=1e-7)


@pytest.mark.statistical(alarm=1e-4)
def test_ratio_intervals_cover(seed):
    """Of 2000 intervals of 30 documents of unequal lengths at least 92 % and at most 97.5 %: 4.8 standard deviations
    of a binomial at 94.4 %, where linearisation leaves it."""
    rng = np.random.default_rng(seed(0))
    lengths = rng.integers(20, 200, (2000, 30))
    nats = 2.0 * lengths + rng.normal(0, 1, lengths.shape) * lengths**0.5 * 3
    covered = [low < 2.0 < high for _, low, high in map(ratio_interval, nats, lengths)]
    assert 0.92 < np.mean(covered) < 0.975


def test_all_documents_count_by_their_size():
    scores = score_documents(dit(), LETTERS, [("a", TEXT), ("b", "a short one"), ("c", "one more")], times=8)
    overall = overall_rates(scores)
    total = sum(score.bound.sum() for score in scores)
    sizes = {"nats_per_token": sum(len(s.tokens) for s in scores), "bits_per_byte": sum(s.size for s in scores)}
    assert overall["full bound"]["nats_per_token"][0] == pytest.approx(total / sizes["nats_per_token"])
    assert overall["full bound"]["bits_per_byte"][0] == pytest.approx(total / math.log(2) / sizes["bits_per_byte"])
    parts = sum(overall[term]["nats_per_token"][0] for term in ("diffusion", "reconstruction", "prior"))
    assert overall["full bound"]["nats_per_token"][0] == pytest.approx(parts)


# --- The command


@pytest.fixture(scope="module")
def command(run_command):
    return partial(run_command, main)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models with their tokenizer, and texts."""
    out = tmp_path_factory.mktemp("evaluation")
    dit().save_pretrained(out / "model", LETTERS)
    hollow().save_pretrained(out / "fixed", LETTERS)
    (out / "a.txt").write_text(f"{TEXT}\n\nand another paragraph\tof it\n")
    (out / "b.txt").write_text("short\n\nlonger than that\n")
    return out


def test_text_is_evaluated_and_every_token_listed(folder, tmp_path, command):
    words = ["evaluate", folder / "model", "--text", folder / "a.txt", folder / "b.txt", "--times", 8]
    done = command(*words, "--json", "--tokens", tmp_path / "tokens.jsonl")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["schema"] == 1
    first, second, whole = result["results"]
    assert (first["name"], whole["name"], whole["documents"]) == (str(folder / "a.txt"), "all", 2)
    assert first["bytes"] == (folder / "a.txt").stat().st_size - 1, "without the line break at the end"
    rows = [json.loads(line) for line in (tmp_path / "tokens.jsonl").read_text().splitlines()]
    for record in (first, second):
        mine = [row for row in rows if row["document"] == record["name"]]
        assert [row["position"] for row in mine] == list(range(record["tokens"]))
        total = math.fsum(row["bound"] for row in mine)
        assert record["terms"]["full bound"]["nats_per_token"][0] * record["tokens"] == pytest.approx(total, rel=1e-9)
    assert "".join(row["token"] for row in rows[: first["tokens"] - 1]) == LETTERS.decode(
        LETTERS.encode((folder / "a.txt").read_text().strip())
    )
    assert command(*words, "--tokens", tmp_path / "tokens.tsv").returncode == 0
    with (tmp_path / "tokens.tsv").open(newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [float(row["bound"]) for row in table] == [row["bound"] for row in rows]
    assert [json.loads(row["token"]) for row in table] == [row["token"] for row in rows]
    (score, _) = score_documents(dit(), LETTERS, read_documents([folder / "a.txt", folder / "b.txt"]), times=8)
    assert [*token_rows([score], LETTERS)] == rows[: first["tokens"]]


def test_what_is_printed(folder, command):
    words = ["evaluate", folder / "model", "--text", folder / "b.txt", "--times", 8]
    printed = command(*words).stdout
    for piece in ("nats per token", "bits per byte", "bits per word", "perplexity", *TOTALS, "intervals over noise"):
        assert piece in printed
    assert "nan" not in printed
    lines = command(*words, "--lines").stdout
    assert f"{folder / 'b.txt'}:1: 6 tokens, 1 windows, 5 bytes, 1 words" in lines
    assert "all: 2 documents" in lines


def test_documents_that_a_network_of_one_length_cannot_score(folder, command):
    words = ["evaluate", folder / "fixed", "--text", folder / "b.txt", "--times", 8, "--lines"]
    printed = command(*words).stdout
    assert "b.txt:1: not scored, it is shorter than the windows" in printed
    assert "all: 1 documents" in printed
    assert "(1 more not scored: shorter than a window)" in printed
    result = json.loads(command(*words, "--json").stdout)
    assert [record.get("unscored", False) for record in result["results"]] == [True, False, False]


def test_a_corpus_as_json(folder, command):
    words = ["evaluate", folder / "fixed", "--corpus", folder / "a.txt", "--times", 4, "--json"]
    (record,) = json.loads(command(*words).stdout)["results"]
    assert record["tokens"] == record["sequences"] * L
    assert record["terms"]["full bound"]["nats_per_token"][1] < record["terms"]["full bound"]["nats_per_token"][2]


def test_errors(folder, tmp_path, command):
    files = {
        "empty.txt": b"",
        "blank.txt": b" \n\n\t\n",
        "binary.txt": b"abc\0def",
        "latin.txt": "caf\xe9".encode("latin-1"),
        "packed.txt": b"\x1f\x8b\x08rest",
        "short.txt": b"abc",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    dit().save_pretrained(tmp_path / "bare")
    dit(5).save_pretrained(tmp_path / "other", LETTERS)
    ok = ["--text", folder / "a.txt"]
    cases = [
        (folder / "model", ["--text", tmp_path / "empty.txt"], "empty.txt is empty"),
        (folder / "model", ["--text", tmp_path / "blank.txt"], "blank.txt is empty"),
        (folder / "model", ["--text", tmp_path / "binary.txt"], "binary.txt holds NUL bytes"),
        (folder / "model", ["--text", tmp_path / "latin.txt"], "latin.txt is not UTF-8 text"),
        (folder / "model", ["--text", tmp_path / "packed.txt"], "packed.txt is compressed"),
        (folder / "model", ["--text", tmp_path], "is a folder: name its files"),
        (folder / "model", ["--text", tmp_path / "none.txt"], "none.txt does not exist"),
        (folder / "fixed", ["--text", tmp_path / "short.txt"], "no document has the 8 tokens that this model needs"),
        (folder / "model", [*ok, "--corpus", folder / "a.txt"], "`text` and `corpus` exclude each other"),
        (folder / "model", [*ok, "--tokens", tmp_path / "t.csv"], "`tokens` must be a file .tsv or .jsonl"),
        (folder / "model", ["--tokens", tmp_path / "t.tsv"], "`tokens` needs `text`"),
        (folder / "model", ["--lines"], "`lines` needs `text`"),
        (folder / "model", [*ok, "--times", 0], "`times` must be an integer >= 1"),
        (tmp_path / "bare", ok, "holds no tokenizer.json"),
        (tmp_path / "other", ok, "holds a tokenizer of another model: it has 27 tokens, the model 5"),
    ]
    for model, words, message in cases:
        done = command("evaluate", model, *words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert message in done.stderr
    with pytest.raises(ValueError, match="`tokenizer` must have as many tokens as the model, got 256, not the 27"):
        score_documents(dit(), ByteTokenizer(), [("a", TEXT)])
    with pytest.raises(ValueError, match="`documents` must hold at least one"):
        score_documents(dit(), LETTERS, [])
    assert not list(tmp_path.glob("t.*"))
