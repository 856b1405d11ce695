import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uddm.corpora import (
    ByteTokenizer,
    CharacterTokenizer,
    Corpus,
    TokenBlocks,
    documentation_text,
    lm1b_detokenize,
    load_corpus,
    prepare_blocks,
    tokenizer_from_name,
    train_bpe,
)

LM1B = Path(__file__).parents[3] / "shared" / "data" / "lm1b"
LETTERS = CharacterTokenizer()


def random_corpus(documents=60, seed=0):
    """Documents of random words: repeats of a block of ten letters are practically impossible."""
    rng = np.random.default_rng(seed)
    words = rng.integers(97, 123, size=(documents, 40, 6), dtype=np.uint8)
    return Corpus("random", [b" ".join(word.tobytes() for word in doc).decode() for doc in words])


CORPUS = random_corpus()


# --- token blocks ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    return prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path_factory.mktemp("blocks"))


@settings(deadline=None)
@given(st.data())
def test_subsets_are_nested(blocks, data):
    for take, size in ((blocks.train, blocks.train_size), (blocks.test, blocks.test_size)):
        large = data.draw(st.integers(1, size))
        small = data.draw(st.integers(1, large))
        assert np.array_equal(take(small), take(large)[:small])
        assert np.array_equal(take(large), take()[:large])


def test_blocks(blocks):
    train, test = blocks.train(), blocks.test()
    assert type(train) is type(test) is np.ndarray
    assert train.dtype == test.dtype == np.int64
    assert train.shape == (blocks.train_size, 10)
    assert test.shape == (blocks.test_size, 10)
    assert blocks.vocab_size == 27
    assert blocks.length == 10
    # 6 of 60 documents, each of 280 characters with its separator; one remainder for each split
    assert blocks.test_size == 6 * 280 // 10
    assert blocks.train_size == 54 * 280 // 10


def test_train_and_test_share_no_document(blocks):
    def documents_with(some_blocks):
        pieces = [LETTERS.decode(block).strip() for block in some_blocks]
        return {i for i, text in enumerate(CORPUS.documents) if any(piece in text for piece in pieces)}

    held_out, trained = documents_with(blocks.test()), documents_with(blocks.train())
    assert len(held_out) == 6
    assert len(trained) == 54
    assert not held_out & trained


def test_repeated_blocks_are_dropped(tmp_path):
    repetitive = Corpus("repetitive", ["abcd " * 2, "abcd " * 3, *(f"{c}{c}cd" for c in "efghijklmnop")])
    blocks = prepare_blocks(repetitive, LETTERS, 5, cache_dir=tmp_path, test_fraction=0.5)
    both = np.concatenate([blocks.train(), blocks.test()])
    assert len(np.unique(both, axis=0)) == len(both)


def test_stream_is_cut_without_loss(tmp_path):
    corpus = Corpus("sentences", ["One two.", " Three!  four ", "?", "five six seven"])
    blocks = prepare_blocks(corpus, LETTERS, 3, cache_dir=tmp_path, test_fraction=0)
    stream = "one two three four five six seven "
    expected = {stream[i : i + 3] for i in range(0, len(stream) - 2, 3)}
    assert {LETTERS.decode(block) for block in blocks.train()} == expected
    assert blocks.test_size == 0
    assert blocks.test().shape == (0, 3)


def test_sentences_are_packed_with_special_tokens(tmp_path):
    tokenizer = train_bpe(CORPUS.documents, 300)
    blocks = prepare_blocks(CORPUS, tokenizer, 16, cache_dir=tmp_path, packing="sentences", test_fraction=0)
    train = blocks.train()
    assert (train[:, 0] == tokenizer.bos_id).all()
    assert (train[:, -1] == tokenizer.eos_id).all()
    tokens = sum(len(ids) + 1 for ids in tokenizer.encode_batch(CORPUS.documents))
    assert blocks.train_size == tokens // 14
    assert (train[:, 1:-1] == tokenizer.separator_id).sum() in (
        len(CORPUS.documents),
        len(CORPUS.documents) - 1,
    )


def test_seed_changes_the_split_and_the_order_only(tmp_path, blocks):
    other = prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path, seed=1)
    again = prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path)
    assert other.sha256 != blocks.sha256
    assert again.sha256 == blocks.sha256
    assert np.array_equal(again.train(), blocks.train())


def test_folder_depends_on_everything_that_determines_the_blocks(tmp_path):
    folders = set()
    variants = [
        (CORPUS, LETTERS, 10, {}),
        (CORPUS, ByteTokenizer(), 10, {}),
        (CORPUS, CharacterTokenizer(LETTERS.alphabet[::-1]), 10, {}),
        (CORPUS, LETTERS, 11, {}),
        (CORPUS, LETTERS, 10, {"seed": 1}),
        (CORPUS, LETTERS, 10, {"test_fraction": 0.2}),
        (random_corpus(seed=1), LETTERS, 10, {}),
    ]
    for n, (corpus, tokenizer, length, options) in enumerate(variants, start=1):
        blocks = prepare_blocks(corpus, tokenizer, length, cache_dir=tmp_path, **options)
        folders = set(tmp_path.iterdir())
        assert len(folders) == n
        assert blocks.length == length
        if corpus is CORPUS:
            text = " ".join(corpus.documents)
            assert tokenizer.decode(blocks.train(1)[0]).replace("\n", " ").strip() in text


def only_folder(path):
    (folder,) = path.iterdir()
    return folder


def test_blocks_are_reused(tmp_path):
    prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path)
    before = {file: file.stat().st_mtime_ns for file in only_folder(tmp_path).iterdir()}
    prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path)
    assert before == {file: file.stat().st_mtime_ns for file in only_folder(tmp_path).iterdir()}
    assert {file.name for file in before} == {"train.bin", "test.bin", "index.json"}


@pytest.mark.parametrize("missing", ["index.json", "train.bin", "test.bin"])
def test_half_written_folder_is_made_again(tmp_path, missing):
    expected = prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path).sha256
    folder = only_folder(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError):
        TokenBlocks(folder)
    assert prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path).sha256 == expected


def test_killed_while_writing(tmp_path):
    """A process that dies before the index is written leaves nothing that a later one takes for blocks."""
    script = """
import os, sys
import uddm.corpora.blocks as module
from test_corpora import CORPUS, LETTERS
write = module.write_atomically
module.write_atomically = lambda path, data: os._exit(9) if path.name == "index.json" else write(path, data)
module.prepare_blocks(CORPUS, LETTERS, 10, cache_dir=sys.argv[1])
"""
    here = Path(__file__).parent
    killed = subprocess.run(
        [sys.executable, "-c", script, tmp_path], cwd=here, env={"PYTHONPATH": str(here.parents[1])}
    )
    assert killed.returncode == 9
    assert {file.name for file in only_folder(tmp_path).iterdir()} == {"train.bin", "test.bin"}
    assert prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path).train_size > 0


def test_corruption_is_detected_and_repaired(tmp_path):
    expected = prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path).train()
    folder = only_folder(tmp_path)
    data = bytearray((folder / "train.bin").read_bytes())
    data[7] ^= 1
    (folder / "train.bin").write_bytes(data)
    with pytest.raises(ValueError, match=r"train\.bin differs"):
        TokenBlocks(folder)
    assert np.array_equal(prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path).train(), expected)
    (folder / "index.json").write_text(json.dumps({"length": 10}))
    with pytest.raises(ValueError, match=r"index\.json"):
        TokenBlocks(folder)


@pytest.mark.parametrize("n", [0, -1, 10**6])
def test_asking_for_too_many(blocks, n):
    with pytest.raises(ValueError, match=rf"\[1, {blocks.train_size}\], the number of training blocks"):
        blocks.train(n)
    with pytest.raises(ValueError, match=rf"\[1, {blocks.test_size}\], the number of test blocks"):
        blocks.test(n)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "`length` must be at least 1"),
        ({"length": 2, "packing": "sentences"}, "`length` must be at least 3"),
        ({"packing": "words"}, "`packing` must be"),
        ({"packing": "sentences"}, "needs a tokenizer with BOS"),
        ({"test_fraction": 1.0}, "`test_fraction` must be in"),
        ({"test_fraction": -0.1}, "`test_fraction` must be in"),
        ({"length": 100_000}, "too short for one training block"),
        ({"length": 2000}, "too short for one test block"),
    ],
)
def test_bad_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        prepare_blocks(CORPUS, LETTERS, **{"length": 10, **options}, cache_dir=tmp_path)


# --- corpora -----------------------------------------------------------------------------------------


def test_one_document_cannot_be_split(tmp_path):
    corpus = Corpus("novel", ["all in one paragraph " * 10])
    with pytest.raises(ValueError, match="it has 1 documents"):
        prepare_blocks(corpus, LETTERS, 8, cache_dir=tmp_path)
    assert prepare_blocks(corpus, LETTERS, 8, cache_dir=tmp_path, test_fraction=0).train_size == 21


def test_text_files(tmp_path):
    (tmp_path / "b.txt").write_text("first\nparagraph\n \n\nsecond\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "c.txt").write_text("third")
    (tmp_path / ".hidden").write_bytes(b"\xff")
    assert load_corpus(tmp_path / "b.txt").documents == ["first\nparagraph", "second"]
    assert load_corpus(tmp_path).documents == ["third", "first\nparagraph", "second"]
    assert load_corpus([str(tmp_path / "b.txt"), tmp_path / "a"]).documents[-1] == "third"


def test_hash_knows_where_documents_end():
    assert Corpus("x", ["ab", "c"]).sha256 != Corpus("x", ["a", "bc"]).sha256
    assert Corpus("x", ["ab", "c"]).sha256 == Corpus("y", ["ab", "c"]).sha256


def test_bad_corpora(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_corpus(tmp_path / "nowhere")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(ValueError, match=r"empty\.txt.* is empty"):
        load_corpus(tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt is not UTF-8"):
        load_corpus(tmp_path / "latin.txt")
    with pytest.raises(ValueError, match="at least one"):
        load_corpus([])
    with pytest.raises(ValueError, match="empty"):
        Corpus("nothing", [])


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (
            'Wal-Mart \'s founder said : " We let folks know , " he said .',
            'Wal-Mart\'s founder said: "We let folks know," he said.',
        ),
        ("It did n't rise 10 % ( again ) ; why ?", "It did n't rise 10 % (again); why?"),
        ("$ 5 and £ 6 at http : / / a.b / c !", "$5 and £6 at http://a.b/c!"),
    ],
)
def test_lm1b_detokenize(sentence, expected):
    assert lm1b_detokenize(sentence) == expected


@pytest.mark.skipif(not LM1B.exists(), reason="LM1B shards are not on this machine")
def test_lm1b_shards(tmp_path):
    shards = sorted(LM1B.glob("news.en*"))
    corpus = load_corpus(shards[0])
    assert len(corpus.documents) > 5000
    assert corpus.documents[0] == lm1b_detokenize(shards[0].read_text(encoding="utf-8").partition("\n")[0])
    assert not any("\n" in document for document in corpus.documents)
    assert len(load_corpus(LM1B).documents) == 24277
    blocks = prepare_blocks(corpus, LETTERS, 32, cache_dir=tmp_path)
    assert blocks.train_size > 20_000


@pytest.fixture(scope="module")
def python_docs_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("python-docs")
    documentation_text(folder)
    return folder


def test_python_docs(python_docs_folder):
    corpus = documentation_text(python_docs_folder)
    text = " ".join(corpus.documents)
    assert corpus.name == "python-docs"
    assert len(text) > 1_000_000
    assert len(set(corpus.documents)) == len(corpus.documents)
    letters_and_spaces = sum(character.isalpha() or character == " " for character in text)
    assert letters_and_spaces / len(text) > 0.94
    assert not any(debris in text for debris in (">>>", "::", "``", ":func:", "===", "\n", "{", "\\"))


def test_python_docs_is_the_same_every_time(python_docs_folder):
    """A damaged cache is detected, and the text made again is the same."""
    expected = documentation_text(python_docs_folder)
    (path,) = python_docs_folder.glob("*.txt")
    path.write_bytes(path.read_bytes()[:1000])
    assert documentation_text(python_docs_folder) == expected
    assert {file.suffix for file in python_docs_folder.iterdir()} == {".txt", ".sha256"}


def test_embedded_corpus_by_name(python_docs_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("UDDM_CACHE", str(python_docs_folder))
    corpus = load_corpus("python-docs")
    tokenizer = tokenizer_from_name("letters", corpus)
    blocks = prepare_blocks(corpus, tokenizer, 16, cache_dir=tmp_path)
    assert blocks.train_size > 60_000
    assert blocks.test_size > 5_000


def test_import_is_light():
    code = "import sys, uddm.corpora; print({'numpy', 'tokenizers', 'torch', 'tqdm'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
