"""Texts as passages: what is cut where, what counts, and in which order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_worlds import K, L, Words, system, text

from bridges.probing.passages import passages_of, special_ids
from uddm.corpora import ByteTokenizer, CharacterTokenizer, bert_tokenizer, train_bpe

LETTERS = CharacterTokenizer()


def cut(texts, length=4, tokenizer=LETTERS, **how):
    return passages_of("suspect", texts, length, tokenizer=tokenizer, **how)


def read(found, tokenizer=LETTERS):
    """Passages as text, by document, in the order of the text if they are all there."""
    return sorted((int(number), tokenizer.decode(row)) for number, row in zip(found.document, found.tokens))


@pytest.mark.parametrize(
    ("document", "windows"),
    [
        ("abcd", ["abcd"]),
        ("abcde", ["abcd"]),
        ("abcdef", ["abcd", "cdef"]),
        ("abcdefgh", ["abcd", "efgh"]),
        ("abcdefghijk", ["abcd", "efgh", "hijk"]),
    ],
)
def test_windows_of_a_document(document, windows):
    """A remainder of half a passage at least reaches back."""
    found = cut([document])
    assert read(found) == [(0, window) for window in windows]
    assert (found.given, found.short) == (1, 0)
    assert found.counted.all()


def test_short_documents_are_joined_in_their_order():
    """With the separator between them; empty ones are none, and what is left over is counted."""
    found = cut(["ab", "", "uvwxyz", "c", "defg", "hi", "j", "k"])
    assert read(found) == [(0, "ab c"), (2, "uvwx"), (2, "wxyz"), (4, "defg"), (5, "hi j")]
    assert (found.given, found.short) == (8, 1)
    assert read(cut(["abc", "def"])) == [(0, " def"), (0, "abc ")]
    bare = passages_of("suspect", ["<1 2", "3 4"], 4, tokenizer=Words(), rng=0)
    assert bare.tokens.tolist() == [[1, 2, 3, 4]], "a tokenizer without a separator"


@given(st.lists(st.text("abcdefgh", max_size=30), max_size=8), st.integers(1, 7), st.integers(0, 99))
def test_every_passage_is_of_its_document(documents, length, seed):
    found = cut(documents, length, rng=seed)
    assert found.tokens.shape == found.counted.shape == (len(found.document), length)
    long = [number for number, document in enumerate(documents) if len(document) >= length]
    for row, number in zip(found.tokens, found.document):
        if number in long:
            assert LETTERS.decode(row) in documents[number]
    assert {*long} <= {*found.document.tolist()}, "no document is lost that fills a passage"
    for number in long:
        rows = (found.document == number).sum()
        whole, rest = divmod(len(documents[number]), length)
        assert rows == whole + (2 * rest >= length)
    assert found.short <= sum(0 < len(document) < length for document in documents)


def test_first_passages_are_from_as_many_documents_as_possible():
    documents = ["a" * 40, "b" * 8, "c" * 16, "d" * 4]
    for seed in range(5):
        found = cut(documents, rng=seed).document.tolist()
        assert len(found) == 17
        assert [sorted(found[:4]), sorted(found[4:7]), sorted(found[7:9])] == [[0, 1, 2, 3], [0, 1, 2], [0, 2]]
        limited = cut(documents, rng=seed, limit=6)
        assert limited.document.tolist() == found[:6], "a limit takes the first"
        assert limited.given == 4


def test_order_is_random_and_repeats_with_its_seed():
    documents = ["".join(chr(97 + (k + n) % 26) for n in range(12)) for k in range(26)]
    first, again, other = (cut(documents, rng=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.tokens, again.tokens)
    assert not np.array_equal(first.tokens, other.tokens)
    assert read(first) == read(other)
    assert [*first.document[:26]] != sorted(first.document[:26])
    assert len({int(row[0] - number) % 26 for row, number in zip(first.tokens[:26], first.document)}) > 1


@pytest.mark.statistical(alarm=1e-4)
def test_each_passage_may_be_the_first(seed, chi_square):
    """Of a document, whichever place it is cut from."""
    found = [LETTERS.decode(cut(["abcdefghijkl"], rng=seed(k), limit=1).tokens[0]) for k in range(300)]
    assert chi_square([found.count(window) for window in ("abcd", "efgh", "ijkl")], [1 / 3] * 3) > 1e-4


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "sat"]))
    return bert_tokenizer(path, separator="[CLS]")


def test_special_tokens_do_not_count(bert):
    assert {bert.bos_id, bert.eos_id, bert.separator_id} <= special_ids(bert)
    found = cut(["the cats", "sat"], 5, bert)
    assert found.tokens.tolist() == [[5, 6, 7, 2, 8]]
    assert found.counted.tolist() == [[True, True, True, False, True]]
    framed = cut(["the cats sat", "the", "cat"], 5, bert, framed=True)
    assert sorted(framed.tokens.tolist()) == [[2, 5, 2, 6, 3], [2, 5, 6, 7, 3]]
    assert sorted(framed.counted.sum(1).tolist()) == [2, 3]
    assert not special_ids(None) | special_ids(LETTERS) | special_ids(ByteTokenizer())


def test_framed_passages_of_subwords():
    """BOS and EOS are one token here, which separates documents, too."""
    tokenizer = train_bpe(["one two three"], 260)
    found = cut(["abcdef"], 5, tokenizer, framed=True)
    assert read(found, tokenizer) == [(0, f"<|endoftext|>{body}<|endoftext|>") for body in ("abc", "def")]
    assert found.counted.tolist() == [[False, True, True, True, False]] * 2


def test_a_passage_without_text_is_none():
    tokens = np.array([[0, 2, 0], [2, 2, 2], [1, 0, 1]])

    class Padding(Words):
        bos_id = 2

        class backend:
            get_added_tokens_decoder = staticmethod(dict)

    world = system(0.0)
    world.length = 3
    found = passages_of("suspect", tokens, 3, system=world, tokenizer=Padding())
    assert sorted(found.document.tolist()) == [0, 2]
    assert found.counted.tolist() == (found.tokens != 2).tolist()


def test_token_ids_are_documents_row_by_row():
    x = text(30, 0)
    x.setflags(write=False)
    found = passages_of("suspect", x, L, system=system(0.0), rng=4)
    assert sorted(found.document.tolist()) == [*range(30)]
    assert np.array_equal(found.tokens, x[found.document])
    assert found.tokens.dtype == found.document.dtype == np.int64
    assert len(passages_of("suspect", x, L, system=system(0.0), limit=7).tokens) == 7


@pytest.mark.parametrize("texts", [[], [""], ["abc", ""]])
def test_nothing_as_long_as_a_passage(texts):
    found = cut(texts, 8)
    assert found.tokens.shape == found.counted.shape == (0, 8)
    assert found.document.shape == (0,)
    assert (found.given, found.short) == (len(texts), sum(map(bool, texts)))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "`suspect` must hold documents", lambda: cut("a text")),
        (TypeError, "`suspect` must hold texts, .* got int", lambda: cut([0])),
        (TypeError, "got NoneType", lambda: cut(["abcd", None])),
        (ValueError, "`suspect` holds texts, so a tokenizer", lambda: cut(["abcd"], tokenizer=None)),
        (ValueError, "`framed` .* BOS and EOS", lambda: cut(["abcd"], framed=True)),
        (ValueError, "`framed` .* 2 in all", lambda: cut(["abcd"], 2, train_bpe(["a"], 257), framed=True)),
        (TypeError, "`system`", lambda: cut(text(3, 0), L)),
        (ValueError, "`suspect` must", lambda: cut(text(3, 0)[:, 1:], L, system=system(0.0))),
        (ValueError, "`suspect` must", lambda: cut(text(3, 0) + K, L, system=system(0.0))),
    ],
)
def test_bad_texts_are_named(error, message, call):
    with pytest.raises(error, match=message):
        call()
