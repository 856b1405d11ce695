import json
from pathlib import Path
from unittest import mock

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
    read_tokenizer,
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
    assert tokenizer.encode("<|endoftext|>").tolist() == [27, 91, 437, 1659, 5239, 91, 29]  # as tiktoken encodes it
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


# --- vocabulary files as people have them ------------------------------------------------------------

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz[]", "the", "cat", "##s"]
GPT2 = {"<|endoftext|>": 0} | {symbol: i for i, symbol in enumerate([*"abcdefgz<|>Ġ", "ab", "checksum"], start=1)}


def bert_file(path, lines=BERT, encoding="utf-8"):
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def gpt2_files(folder, vocabulary=GPT2, names=("encoder.json", "vocab.bpe"), encoding="utf-8"):
    folder.mkdir(exist_ok=True)
    (folder / names[0]).write_text(json.dumps(vocabulary), encoding=encoding)
    (folder / names[1]).write_text("#version: 0.2\na b\n", encoding=encoding)
    return folder


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "", "", "the", "cat"], "line 6, is empty"),
        (["", *BERT], "line 1, is empty"),
        ([*BERT, "cat"], f"line {len(BERT) + 1}, repeats the token 'cat' of line {BERT.index('cat') + 1}"),
        (["[PAD]", *BERT], "line 2, repeats the token '\\[PAD\\]' of line 1"),
    ],
)
def test_every_line_of_a_bert_vocabulary_is_a_token(tmp_path, lines, problem):
    with pytest.raises(ValueError, match=rf"vocab\.txt, {problem}"):
        bert_tokenizer(bert_file(tmp_path / "vocab.txt", lines))


@pytest.mark.parametrize(
    "change", [{"z": 5000}, {"<|endoftext|>": 5000}, {"z": 1}, {"z": -1}, {"z": 1.5}, {"z": None}, {"z": True}]
)
@pytest.mark.parametrize("pad_token", [True, False])
def test_ids_of_a_gpt2_vocabulary(tmp_path, change, pad_token):
    folder = gpt2_files(tmp_path / "gpt2", GPT2 | change)
    with pytest.raises(ValueError, match=r"encoder\.json"):
        gpt2_tokenizer(folder / "encoder.json", folder / "vocab.bpe", pad_token=pad_token)


@pytest.mark.parametrize("change", [{"z": 5000}, {"z": 1}])
def test_ids_of_a_saved_or_given_vocabulary(tmp_path, change):
    folder = gpt2_files(tmp_path / "gpt2")
    tokenizer = gpt2_tokenizer(folder / "encoder.json", folder / "vocab.bpe")
    definition = tokenizer.definition()
    definition["tokenizer"]["model"]["vocab"] |= change
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition))
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer file: .* id"):
        load_tokenizer(tmp_path / "tokenizer.json")
    backend = type(tokenizer.backend).from_str(json.dumps(definition["tokenizer"]))
    with pytest.raises(ValueError, match="id"):
        SubwordTokenizer(backend, **tokenizer.special)


def test_token_called_checksum(tmp_path):
    folder = gpt2_files(tmp_path / "gpt2")
    tokenizer = gpt2_tokenizer(folder / "encoder.json", folder / "vocab.bpe")
    assert tokenizer.decode([GPT2["checksum"]]) == "checksum"
    tokenizer.save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path / "tokenizer.json").fingerprint == tokenizer.fingerprint


def test_byte_order_marks(tmp_path):
    for n, encoding in enumerate(("utf-8", "utf-8-sig")):
        gpt2_files(tmp_path / f"gpt2-{n}", encoding=encoding)
        bert_file(tmp_path / f"vocab-{n}.txt", encoding=encoding)
        (tmp_path / f"{n}.json").write_text(json.dumps(BPE.definition()), encoding=encoding)
    for form in ("gpt2:{}/gpt2-{}", "bert:{}/vocab-{}.txt", "{}/{}.json"):
        plain, marked = (tokenizer_from_name(form.format(tmp_path, n), CORPUS) for n in (0, 1))
        assert plain.fingerprint == marked.fingerprint


# --- text that contains special tokens ---------------------------------------------------------------


@pytest.fixture(scope="module")
def subword_tokenizers(tmp_path_factory):
    """One of every kind, each also as saved and loaded, and as the library saves it."""
    folder = gpt2_files(tmp_path_factory.mktemp("special"))
    made = [
        BPE,
        gpt2_tokenizer(folder / "encoder.json", folder / "vocab.bpe"),
        bert_tokenizer(bert_file(folder / "vocab.txt")),
        bert_tokenizer(folder / "vocab.txt", separator="[CLS]"),
    ]
    loaded = []
    for tokenizer in made:
        tokenizer.save(folder / "saved.json")
        tokenizer.backend.save(str(folder / "of-the-library.json"))
        separator = tokenizer.special["separator"]
        loaded += [
            load_tokenizer(folder / "saved.json"),
            read_tokenizer(folder / "of-the-library.json", bert_separator=separator),
        ]
        assert loaded[-1].fingerprint == loaded[-2].fingerprint == tokenizer.fingerprint
    return made + loaded


SPECIAL = ["<|endoftext|>", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"]


@given(parts=st.lists(st.sampled_from([*SPECIAL, " ", "a", "the cat", "<|", "[", "\n"]), max_size=8))
def test_text_has_no_special_tokens(subword_tokenizers, parts):
    text = "".join(parts)
    for tokenizer in subword_tokenizers:
        special = {tokenizer.bos_id, tokenizer.eos_id, tokenizer.separator_id}
        for ids in (tokenizer.encode(text), *tokenizer.encode_batch([text]), *tokenizer.encode_pieces(text)):
            assert special.isdisjoint(ids.tolist())
    assert BPE.decode(BPE.encode(text)) == text


def test_blocks_made_when_text_had_special_tokens_are_no_longer_taken():
    definition = BPE.definition()
    assert definition.pop("encode_special_tokens") is True
    with mock.patch.object(SubwordTokenizer, "definition", return_value=definition):
        before = SubwordTokenizer(BPE.backend, **BPE.special).fingerprint
    assert before != BPE.fingerprint


def test_vocabulary_in_which_words_are_special_is_refused():
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "?": 3}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with pytest.raises(ValueError, match="the text '<s>' would be encoded as a special token"):
        SubwordTokenizer(backend, bos="<s>", eos="</s>", separator="</s>")


# --- one resolver for files and folders --------------------------------------------------------------


def test_every_file_and_folder_of_a_tokenizer(tmp_path):
    hub = gpt2_files(tmp_path / "hub", names=("vocab.json", "merges.txt"))
    gpt2 = gpt2_files(tmp_path / "gpt2")
    bert_file(tmp_path / "vocab.txt")
    (tmp_path / "run").mkdir()
    BPE.save(tmp_path / "run" / "tokenizer.json")
    (tmp_path / "library").mkdir()
    bert_tokenizer(tmp_path / "vocab.txt").backend.save(str(tmp_path / "library" / "tokenizer.json"))
    (tmp_path / "empty").mkdir()

    as_gpt2 = gpt2_tokenizer(gpt2 / "encoder.json", gpt2 / "vocab.bpe").fingerprint
    as_bert = bert_tokenizer(tmp_path / "vocab.txt").fingerprint
    expected = {
        **dict.fromkeys((gpt2, gpt2 / "encoder.json", gpt2 / "vocab.bpe"), as_gpt2),
        **dict.fromkeys((hub, hub / "vocab.json", hub / "merges.txt"), as_gpt2),
        **dict.fromkeys((tmp_path, tmp_path / "vocab.txt"), as_bert),
        **dict.fromkeys((tmp_path / "library", tmp_path / "library" / "tokenizer.json"), as_bert),
        **dict.fromkeys((tmp_path / "run", tmp_path / "run" / "tokenizer.json"), BPE.fingerprint),
    }
    for path, fingerprint in expected.items():
        assert read_tokenizer(path).fingerprint == fingerprint
        assert tokenizer_from_name(str(path), CORPUS).fingerprint == fingerprint
    assert tokenizer_from_name(f"gpt2:{hub}", CORPUS).fingerprint == as_gpt2
    for path in (tmp_path / "vocab.txt", tmp_path / "library"):
        assert read_tokenizer(path, bert_separator="[CLS]").separator_id == BERT.index("[CLS]")
    with pytest.raises(FileNotFoundError, match=r"empty holds none of vocab\.txt, encoder\.json"):
        read_tokenizer(tmp_path / "empty")
    with pytest.raises(ValueError, match="`path` must name a file or folder"):
        read_tokenizer("")


def test_library_file_neither_truncates_nor_pads(tmp_path):
    backend = train_bpe(PROSE, 270).backend
    backend.enable_truncation(4)
    backend.enable_padding(length=50, pad_token="<|endoftext|>")
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = tokenizer_from_name(str(tmp_path / "tokenizer.json"), CORPUS)
    assert tokenizer.decode(tokenizer.encode(PROSE[0])) == PROSE[0]
    assert np.array_equal(tokenizer.encode_batch(PROSE[:1])[0], BPE.encode(PROSE[0]))


def test_library_file_whose_special_tokens_are_not_known(tmp_path):
    backend = train_bpe(PROSE, 270).backend
    path = tmp_path / "tokenizer.json"
    path.write_text(backend.to_str().replace("<|endoftext|>", "</s>"))
    with pytest.raises(ValueError, match=r"tokenizer\.json is a file of the `tokenizers` library .*SubwordTokenizer\("):
        tokenizer_from_name(str(path), CORPUS)
    backend.save(str(path))
    with pytest.raises(
        ValueError, match=r"tokenizer\.json is a file of the `tokenizers` library, which `read_tokenizer` reads"
    ):
        load_tokenizer(path)
    path.write_text(json.dumps(json.loads(backend.to_str()) | {"model": {"type": "Unheard"}}))
    with pytest.raises(ValueError, match=r"tokenizer\.json: "):
        read_tokenizer(path)


# --- saved files say when they are damaged -----------------------------------------------------------


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer(" é中\U0001f600\ufffd"), ByteTokenizer(), BPE], ids=type)
def test_flipped_bits_of_a_saved_tokenizer(tokenizer, tmp_path):
    """A bit may turn the name of the checksum into another, and nothing is lost; any other is noticed."""
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    content = path.read_bytes()
    assert load_tokenizer(path).fingerprint == tokenizer.fingerprint
    rng, refused = np.random.default_rng(0), []
    for position in rng.integers(0, len(content), size=100):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert load_tokenizer(path).fingerprint == tokenizer.fingerprint
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all("tokenizer.json" in message for message in refused)


# --- long texts in pieces ----------------------------------------------------------------------------


@settings(deadline=None)
@given(text=st.text("ab  Σσς'é\u0301中.\n\xa0\x1c\ufffd", max_size=60) | st.text(max_size=30), size=st.integers(1, 9))
def test_pieces_have_the_ids_of_the_whole(subword_tokenizers, text, size):
    greek = CharacterTokenizer(" abσς\u0301中?", replacement="?")
    others = [*character_tokenizers(), greek, CharacterTokenizer(" ab", lowercase=False), ByteTokenizer()]
    with mock.patch("uddm.corpora.tokenizers._PIECE", size):
        for tokenizer in (*others, *subword_tokenizers):
            pieces = list(tokenizer.encode_pieces(text))
            assert np.array_equal(np.concatenate([[], *pieces]), tokenizer.encode(text))


def test_bpe_learnt_from_pieces_is_the_same():
    with mock.patch("uddm.corpora.tokenizers._PIECE", 7):
        assert train_bpe(PROSE, 270).fingerprint == BPE.fingerprint


def test_entries_of_another_tokenizer_are_refused(tmp_path):
    """As of two files spliced, where the checksum is lost."""
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"type": "byte", "alphabet": "abc"}))
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer file"):
        load_tokenizer(path)


def test_a_number_of_too_many_digits_is_refused(tmp_path):
    (tmp_path / "encoder.json").write_text('{"a": ' + "9" * 5000 + "}")
    (tmp_path / "vocab.bpe").write_text("")
    with pytest.raises(ValueError, match=r"encoder\.json is not valid JSON"):
        read_tokenizer(tmp_path)
