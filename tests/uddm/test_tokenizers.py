from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uddm.corpora import (
    LETTERS,
    ByteTokenizer,
    CharacterTokenizer,
    Corpus,
    SubwordTokenizer,
    bert_tokenizer,
    gpt2_tokenizer,
    load_tokenizer,
    tokenizer_from_name,
    train_bpe,
)

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="published vocabulary files are not on this machine")

PROSE = [
    "The quick brown fox jumps over the lazy dog.",
    "A longer sentence, so that pairs of characters repeat: the fox, the dog, the hen.",
] * 3
CORPUS = Corpus("prose", PROSE)
BPE = train_bpe(PROSE, 270)


def character_tokenizers():
    return [
        CharacterTokenizer(),
        CharacterTokenizer.train(" ".join(PROSE), 20),
        CharacterTokenizer.train(" ".join(PROSE), 20, lowercase=True),
    ]


@pytest.fixture(scope="module", params=["letters", "characters:20", "bytes", "bpe:270"])
def tokenizer(request):
    return tokenizer_from_name(request.param, CORPUS)


def test_letters_fold_case_accents_and_everything_else():
    tokenizer = CharacterTokenizer()
    assert tokenizer.vocab_size == 27
    assert tokenizer.decode(tokenizer.encode("Ünder  the\nCafé_no. 42!")) == "under the cafe no "
    assert tokenizer.encode("az ").tolist() == [1, 26, 0]
    assert tokenizer.separator_id == 0
    assert tokenizer.bos_id is tokenizer.eos_id is None


@settings(deadline=None)
@given(st.text())
def test_character_round_trip_on_normalised_text(text):
    for tokenizer in character_tokenizers():
        ids = tokenizer.encode(text)
        normalised = tokenizer.decode(ids)
        assert set(normalised) <= set(tokenizer.alphabet)
        assert "  " not in normalised
        assert np.array_equal(tokenizer.encode(normalised), ids)


@settings(deadline=None)
@given(st.text(alphabet=LETTERS))
def test_letters_are_kept_as_they_are(text):
    tokenizer = CharacterTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)).split() == text.split()


@settings(deadline=None, max_examples=50)
@given(text=st.text())
def test_byte_and_bpe_round_trip(text):
    for tokenizer in (ByteTokenizer(), BPE):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_trained_alphabet_keeps_the_most_frequent():
    tokenizer = CharacterTokenizer.train("aaaa bbb cc d", 4)
    assert tokenizer.alphabet == " ab\ufffd"
    assert tokenizer.decode(tokenizer.encode("a d b\tc")) == "a \ufffd b \ufffd"


def test_alphabet_of_many_texts():
    one = CharacterTokenizer.train(" ".join(PROSE), 20, lowercase=True)
    assert CharacterTokenizer.train(iter(PROSE), 20, lowercase=True).fingerprint == one.fingerprint


@pytest.mark.parametrize("vocab_size", [1, 7])
def test_trained_alphabet_bounds(vocab_size):
    with pytest.raises(ValueError, match=r"`vocab_size` must be in \[2, 6\]"):
        CharacterTokenizer.train("aaaa bbb cc d", vocab_size)


@pytest.mark.parametrize("arguments", [("abc",), (" aa",), (" ab",)])
def test_bad_alphabet(arguments):
    with pytest.raises(ValueError, match="alphabet"):
        CharacterTokenizer(*arguments, replacement="?")


def test_every_tokenizer(tokenizer, tmp_path):
    ids = tokenizer.encode(PROSE[0])
    assert ids.dtype == np.int64
    assert ids.ndim == 1
    assert 0 <= ids.min() <= ids.max() < tokenizer.vocab_size
    assert all(map(np.array_equal, tokenizer.encode_batch(PROSE), map(tokenizer.encode, PROSE)))
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.decode([]) == ""

    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert type(loaded) is type(tokenizer)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert np.array_equal(loaded.encode(PROSE[0]), ids)
    assert (loaded.bos_id, loaded.eos_id, loaded.separator_id) == (
        tokenizer.bos_id,
        tokenizer.eos_id,
        tokenizer.separator_id,
    )
    assert loaded.vocab_size == tokenizer.vocab_size


def test_ids_out_of_range(tokenizer):
    for ids in ([-1], [tokenizer.vocab_size]):
        with pytest.raises(ValueError, match="`ids` must be in"):
            tokenizer.decode(ids)
    with pytest.raises(ValueError, match="shape"):
        tokenizer.decode([[0]])


def test_truncated_file_is_named(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        load_tokenizer(path)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[1]",
        '{"type": "character"}',
        '{"type": "character", "alphabet": "aa"}',
        '{"type": "byte", "type": "unknown"}',
        '{"type": "subword", "special": {}, "tokenizer": {}}',
        "\x00\x01",
    ],
)
def test_bad_file_is_named(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        load_tokenizer(path)


def test_fingerprints_differ():
    fingerprints = [tokenizer.fingerprint for tokenizer in (*character_tokenizers(), ByteTokenizer(), BPE)]
    assert len(set(fingerprints)) == len(fingerprints)
    assert train_bpe(PROSE, 270).fingerprint == BPE.fingerprint


@pytest.mark.parametrize("vocab_size", [256, 10_000])
def test_bpe_vocabulary_bounds(vocab_size):
    with pytest.raises(ValueError, match="vocab_size"):
        train_bpe(PROSE, vocab_size)


@pytest.mark.parametrize("name", ["", "words", "letters:3", "characters", "characters:many", "bpe:", "gpt2", "bert:"])
def test_unknown_name_lists_the_forms(name):
    with pytest.raises(ValueError, match=r"letters, characters:K, bytes, bpe:K"):
        tokenizer_from_name(name, CORPUS)


def test_missing_files(tmp_path):
    for name in (f"gpt2:{tmp_path}", f"bert:{tmp_path}/vocab.txt", f"{tmp_path}/tokenizer.json"):
        with pytest.raises(FileNotFoundError):
            tokenizer_from_name(name, CORPUS)


def test_bert_needs_its_special_tokens(tmp_path):
    (tmp_path / "vocab.txt").write_text("hello\nworld\n")
    with pytest.raises(ValueError, match=r"vocab\.txt.*\[CLS\]"):
        bert_tokenizer(tmp_path / "vocab.txt")


@needs_data
def test_gpt2(tmp_path):
    tokenizer = tokenizer_from_name(f"gpt2:{DATA / 'gpt2'}", CORPUS)
    assert isinstance(tokenizer, SubwordTokenizer)
    assert tokenizer.encode("Hello world").tolist() == [15496, 995]
    assert tokenizer.encode("<|endoftext|>").tolist() == [50256]
    assert tokenizer.vocab_size == 50258
    assert tokenizer.bos_id == tokenizer.eos_id == tokenizer.separator_id == 50256
    text = "Long before the  advent of e-commerce — 1,024 naïve\nshops."
    assert tokenizer.decode(tokenizer.encode(text)) == text
    unpadded = gpt2_tokenizer(DATA / "gpt2/encoder.json", DATA / "gpt2/vocab.bpe", pad_token=False)
    assert unpadded.vocab_size == 50257
    tokenizer.save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path / "tokenizer.json").fingerprint == tokenizer.fingerprint


@needs_data
def test_bert(tmp_path):
    tokenizer = tokenizer_from_name(f"bert:{DATA / 'bert/vocab.txt'}", CORPUS)
    assert tokenizer.encode("hello world").tolist() == [7592, 2088]
    assert tokenizer.decode(tokenizer.encode("Héllo, WORLD")) == "hello, world"
    assert tokenizer.vocab_size == 30522
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.separator_id) == (101, 102, 102)
    assert bert_tokenizer(DATA / "bert/vocab.txt", separator="[CLS]").separator_id == 101
    tokenizer.save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path / "tokenizer.json").fingerprint == tokenizer.fingerprint
