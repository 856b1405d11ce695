import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uddm.corpora import (
    ByteTokenizer,
    CharacterTokenizer,
    Corpus,
    SubwordTokenizer,
    TokenBlocks,
    documentation,
    documentation_text,
    fractions,
    load_corpus,
    prepare_blocks,
    tokenizer_from_name,
    train_bpe,
)

LETTERS = CharacterTokenizer()


def random_corpus(documents=60, seed=0):
    """Documents of random words: repeats of a block of ten letters are practically impossible."""
    rng = np.random.default_rng(seed)
    words = rng.integers(97, 123, size=(documents, 40, 6), dtype=np.uint8)
    return Corpus("random", [b" ".join(word.tobytes() for word in doc).decode() for doc in words])


CORPUS = random_corpus()
DOCUMENTS = list(CORPUS.documents)


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
        return {i for i, text in enumerate(DOCUMENTS) if any(piece in text for piece in pieces)}

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
    tokenizer = train_bpe(DOCUMENTS, 300)
    blocks = prepare_blocks(CORPUS, tokenizer, 16, cache_dir=tmp_path, packing="sentences", test_fraction=0)
    train = blocks.train()
    assert (train[:, 0] == tokenizer.bos_id).all()
    assert (train[:, -1] == tokenizer.eos_id).all()
    tokens = sum(len(ids) + 1 for ids in tokenizer.encode_batch(DOCUMENTS))
    assert blocks.train_size == tokens // 14
    assert (train[:, 1:-1] == tokenizer.separator_id).sum() in (
        len(DOCUMENTS),
        len(DOCUMENTS) - 1,
    )


def cut(stream, width):
    return [tuple(stream[i : i + width]) for i in range(0, len(stream) - width + 1, width)]


def token_stream(documents, tokenizer):
    """Ids of all documents, each without separators at its ends, followed by one."""
    stream, separator = [], tokenizer.separator_id
    for document in documents:
        ids = tokenizer.encode(document).tolist()
        while ids and ids[0] == separator:
            ids = ids[1:]
        while ids and ids[-1] == separator:
            ids = ids[:-1]
        stream += [*ids, separator] if ids else []
    return stream


class Pairs(CharacterTokenizer):
    """Letters, with tokens that open and close a block."""

    bos_id, eos_id = 27, 28

    def __init__(self):
        super().__init__()
        self.vocab_size = 29


@settings(deadline=None, max_examples=30)
@given(
    documents=st.lists(st.text("ab ", max_size=12), min_size=1, max_size=30),
    length=st.integers(3, 7),
    packing=st.sampled_from(["stream", "sentences"]),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 20), st.integers(1, 60)),
)
def test_blocks_are_the_stream_cut_without_repeats_however_small_the_pieces(documents, length, packing, sizes):
    documents = ["aaab aa bbb", *documents]
    special = 2 * (packing == "sentences")
    expected = set(cut(token_stream(documents, Pairs()), length - special))
    bounds = {"_DOCUMENTS_AT_A_TIME": sizes[1], "_READ": 2 * sizes[2], "_WINDOW": sizes[3]}
    with tempfile.TemporaryDirectory() as folder:
        options = {"packing": packing, "test_fraction": 0.0, "cache_dir": Path(folder) / "large"}
        train = prepare_blocks(Corpus("x", documents), Pairs(), length, **options).train()
        with (
            mock.patch("uddm.corpora.corpus._DOCUMENTS_IN_A_PART", sizes[0]),
            mock.patch.multiple("uddm.corpora.packing", **bounds),
        ):
            options["cache_dir"] = Path(folder) / "small"
            in_small_pieces = prepare_blocks(Corpus("x", documents), Pairs(), length, **options).train()
    body = train[:, 1:-1] if special else train
    assert len(body) == len(expected)
    assert set(map(tuple, body.tolist())) == expected
    assert np.array_equal(train, in_small_pieces)
    if special:
        assert (train[:, 0] == 27).all()
        assert (train[:, -1] == 28).all()


@settings(deadline=None, max_examples=20)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=3, max_size=20),
    fraction=st.floats(0.05, 0.9),
    seed=st.integers(0, 5),
    per_part=st.integers(1, 7),
)
def test_held_out_documents(sizes, fraction, seed, per_part):
    """Held out are the first documents of the seeded order, up to the one that reaches the fraction."""
    documents = [chr(97 + i) * size for i, size in enumerate(sizes)]
    held_out, taken = [], 0
    for i in np.random.default_rng([seed, 0]).permutation(len(sizes)):
        if taken < fraction * sum(sizes):
            held_out.append(documents[i])
        taken += sizes[i]
    with tempfile.TemporaryDirectory() as folder, mock.patch("uddm.corpora.corpus._DOCUMENTS_IN_A_PART", per_part):
        options = {"test_fraction": fraction, "seed": seed, "cache_dir": folder}
        if len(held_out) == len(documents):
            with pytest.raises(ValueError, match="too short for one training block"):
                prepare_blocks(Corpus("x", documents), LETTERS, 1, **options)
            return
        blocks = prepare_blocks(Corpus("x", documents), LETTERS, 1, **options)
    letters = {LETTERS.decode(block) for block in blocks.test()} - {" "}
    assert letters == {document[0] for document in held_out}


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


def visible(folder):
    return {file.name for file in folder.iterdir() if not file.name.startswith(".")}


def test_blocks_are_reused(tmp_path):
    prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path)
    before = {file: file.stat().st_mtime_ns for file in only_folder(tmp_path).iterdir()}
    prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path)
    assert before == {file: file.stat().st_mtime_ns for file in only_folder(tmp_path).iterdir()}
    assert visible(only_folder(tmp_path)) == {"train.bin", "test.bin", "index.json"}


@pytest.mark.parametrize("missing", ["index.json", "train.bin", "test.bin"])
def test_half_written_folder_is_made_again(tmp_path, missing):
    expected = prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path).sha256
    folder = only_folder(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError):
        TokenBlocks(folder)
    assert prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path).sha256 == expected


def test_separator_changes_the_folder(tmp_path):
    backend = train_bpe(DOCUMENTS, 300).backend
    backend.add_special_tokens(["[SEP]"])
    for n, separator in enumerate(["<|endoftext|>", "[SEP]"], start=1):
        special = {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "separator": separator}
        blocks = prepare_blocks(
            CORPUS, SubwordTokenizer(backend, **special), 16, packing="sentences", cache_dir=tmp_path
        )
        assert len(list(tmp_path.iterdir())) == n
        assert (blocks.train()[:, 1:-1] == backend.token_to_id("[SEP]")).any() == (separator == "[SEP]")


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


def test_file_is_checked_once_and_again_after_a_change(tmp_path, monkeypatch):
    prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path / "a")
    folder = only_folder(tmp_path / "a")
    copied = Path(shutil.copytree(folder, tmp_path / "b", copy_function=shutil.copyfile))
    os.utime(copied / "train.bin", ns=(1, 1))
    reads = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: reads.append(Path(a[0].name).name) or digest(*a))
    TokenBlocks(folder)
    assert reads == []
    TokenBlocks(copied)
    TokenBlocks(copied)
    assert reads.count("train.bin") == 1
    TokenBlocks(folder, verify=True)
    assert reads.count("train.bin") == 2

    status = (folder / "train.bin").stat()  # one that leaves no trace is found by `verify`, or by another process
    data = bytearray((folder / "train.bin").read_bytes())
    data[-1] ^= 1
    (folder / "train.bin").write_bytes(data)
    os.utime(folder / "train.bin", ns=(status.st_atime_ns, status.st_mtime_ns))
    TokenBlocks(folder)
    with pytest.raises(ValueError, match=r"train\.bin differs"):
        TokenBlocks(folder, verify=True)


def test_processes_at_once(tmp_path, blocks):
    """One makes the blocks, the others wait for it."""
    script = """
import sys, time
from test_corpora import CORPUS, CharacterTokenizer, prepare_blocks

class Slow(CharacterTokenizer):
    def encode_batch(self, texts):
        print("encoding")
        time.sleep(1)
        return super().encode_batch(texts)

print(prepare_blocks(CORPUS, Slow(), 10, cache_dir=sys.argv[1]).sha256)
"""
    here = Path(__file__).parent
    options = {"cwd": here, "env": {"PYTHONPATH": str(here.parents[1])}, "stdout": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen([sys.executable, "-c", script, tmp_path], **options) for _ in range(3)]
    lines = [line for run in runs for line in run.communicate()[0].splitlines()]
    assert sorted(lines) == sorted(["encoding", *3 * [blocks.sha256]])
    assert visible(only_folder(tmp_path)) == {"train.bin", "test.bin", "index.json"}


def test_view_of_the_file(blocks):
    view = blocks.train(50, copy=False)
    assert view.dtype == np.uint16
    assert not view.flags.writeable
    assert np.shares_memory(view, blocks.train(20, copy=False))
    assert np.array_equal(view, blocks.train(50))
    rows = np.array([3, 41, 3])
    assert np.array_equal(blocks.train(copy=False)[rows], blocks.train()[rows])
    assert np.array_equal(blocks.test(5, copy=False), blocks.test(5))


def test_fractions():
    f = fractions()
    assert f.shape == (54,)
    assert (np.diff(f) > 0).all()
    assert f[[0, 1, -1]].tolist() == [1e-4, 0.00071875, 1.0]
    for grid in (0.01 + 0.03 * np.arange(34), np.linspace(1e-4, 1e-2, 17), np.linspace(0.01, 0.07, 7)):
        assert np.isclose(f, grid[:, None], rtol=1e-9).any(1).all()


def test_size_of_a_fraction(blocks, monkeypatch):
    sizes = [blocks.size_of(f) for f in fractions() if f * blocks.train_size > 1]
    assert sizes == sorted(sizes)
    assert sizes[-1] == blocks.train_size
    small, large = blocks.train(blocks.size_of(0.01)), blocks.train(blocks.size_of(0.29))
    assert np.array_equal(small, large[: len(small)])
    monkeypatch.setattr(TokenBlocks, "train_size", 100)
    assert [blocks.size_of(k / 100) for k in range(1, 101)] == list(range(1, 101))
    assert blocks.size_of(np.float64(0.299)) == 29
    for bad in (0.0, -0.1, 1.01, float("nan")):
        with pytest.raises(ValueError, match=r"`fraction` must lie in \(0, 1\]"):
            blocks.size_of(bad)
    with pytest.raises(ValueError, match="`fraction` must be at least 1/100"):
        blocks.size_of(0.009)


def test_test_corpus(tmp_path):
    train, test = Corpus("train", ["abcdefgh", "ijkl"]), Corpus("test", ["mnop", "bcdqrst", "cdbx"])
    blocks = prepare_blocks(train, LETTERS, 3, test=test, cache_dir=tmp_path)
    expected = {"abc", "def", "gh ", "ijk"}, {"mno", "p b", "cdq", "rst", " cd", "bx "}
    assert tuple({LETTERS.decode(block) for block in split()} for split in (blocks.train, blocks.test)) == expected
    swapped = prepare_blocks(test, LETTERS, 3, test=train, cache_dir=tmp_path)
    assert swapped.sha256 != blocks.sha256
    assert prepare_blocks(train, LETTERS, 3, test=test, cache_dir=tmp_path, test_fraction=0.5).sha256 == blocks.sha256
    both = prepare_blocks(train, LETTERS, 3, test=Corpus("same", ["abcxyz"]), cache_dir=tmp_path)
    assert [LETTERS.decode(block) for block in both.test()] == ["xyz"]
    with pytest.raises(ValueError, match="of `length` 3: it has 1 documents, and test blocks that also are"):
        prepare_blocks(train, LETTERS, 3, test=Corpus("tiny", ["a"]), cache_dir=tmp_path)


@pytest.mark.parametrize("n", [0, -1, 10**6])
def test_asking_for_too_many(blocks, n):
    with pytest.raises(
        ValueError, match=rf"`n` must be .*(>= 1|\[1, {blocks.train_size}\], the number of training blocks)"
    ):
        blocks.train(n)
    with pytest.raises(ValueError, match=rf"`n` must be .*(>= 1|\[1, {blocks.test_size}\], the number of test blocks)"):
        blocks.test(n)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "`length` must be an integer >= 1"),
        ({"length": 2, "packing": "sentences"}, "`length` must be at least 3"),
        ({"packing": "words"}, "`packing` must be"),
        ({"packing": "sentences"}, "needs a tokenizer with BOS"),
        ({"test_fraction": 1.0}, "`test_fraction` must lie in"),
        ({"test_fraction": -0.1}, "`test_fraction` must lie in"),
        ({"length": 100_000}, "too short for one training block"),
        ({"length": 2000}, "too short for one test block"),
    ],
)
def test_bad_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        prepare_blocks(CORPUS, LETTERS, **{"length": 10, **options}, cache_dir=tmp_path)
    assert not any(visible(folder) for folder in tmp_path.iterdir())


# --- corpora -----------------------------------------------------------------------------------------


def test_one_document_cannot_be_split(tmp_path):
    corpus = Corpus("novel", ["all in one paragraph " * 10])
    with pytest.raises(ValueError, match="corpus 'novel' is one document"):
        prepare_blocks(corpus, LETTERS, 8, cache_dir=tmp_path)
    assert prepare_blocks(corpus, LETTERS, 8, cache_dir=tmp_path, test_fraction=0).train_size == 21


def test_text_files(tmp_path):
    (tmp_path / "b.txt").write_text("first\nparagraph\n \n\nsecond\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "c.txt").write_text("third")
    (tmp_path / ".hidden").write_bytes(b"\xff")
    assert list(load_corpus(tmp_path / "b.txt").documents) == ["first\nparagraph", "second"]
    corpus = load_corpus(tmp_path)
    assert list(corpus.documents) == list(corpus.documents) == ["third", "first\nparagraph", "second"]
    assert list(load_corpus([str(tmp_path / "b.txt"), tmp_path / "a"]).documents)[-1] == "third"


@settings(deadline=None)
@given(st.text("ab \t\n\r\x0b\x85\u2028\xa0é", max_size=40))
def test_paragraphs_of_a_file(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_bytes(f"first\n\n{text}".encode())
        as_text = path.read_text(encoding="utf-8")
        expected = [part.strip() for part in re.split(r"\n\s*\n", as_text) if part.strip()]
        assert list(load_corpus(path).documents) == expected


def test_files_and_memory_give_the_same_blocks(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("\n\n".join(DOCUMENTS[20 * number : 20 * number + 20]))
    from_files = prepare_blocks(load_corpus(tmp_path), LETTERS, 10, cache_dir=tmp_path / "cache")
    assert from_files.sha256 == prepare_blocks(CORPUS, LETTERS, 10, cache_dir=tmp_path / "cache").sha256


def test_changed_file_changes_the_folder(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("some words to begin with")
    first = load_corpus(path).sha256
    path.rename(tmp_path / "b.txt")
    assert load_corpus(tmp_path / "b.txt").sha256 == first
    path.write_text("some words to begin With")
    assert load_corpus(path).sha256 != first


def test_documents_of_any_iterable(tmp_path, blocks):
    class Again:
        def __iter__(self):
            return iter(DOCUMENTS)

    again = Corpus("again", Again())
    assert again.sha256 == CORPUS.sha256
    assert prepare_blocks(again, LETTERS, 10, cache_dir=tmp_path).sha256 == blocks.sha256
    with pytest.raises(TypeError, match="`documents` must be iterable again and again, got a list_iterator"):
        Corpus("once", iter(DOCUMENTS))


@pytest.mark.parametrize("per_part", [1, 3, 100])
@pytest.mark.parametrize("growth", [1, -1])
def test_text_that_changes_while_it_is_read(tmp_path, monkeypatch, growth, per_part):
    class Changing:
        def __init__(self):
            self.size = 12

        def __iter__(self):
            self.size += growth
            return iter(["some words"] * self.size)

    monkeypatch.setattr("uddm.corpora.corpus._DOCUMENTS_IN_A_PART", per_part)
    with pytest.raises(ValueError, match="'changing' has changed while it was read"):
        prepare_blocks(Corpus("changing", Changing()), LETTERS, 3, cache_dir=tmp_path)


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
    (tmp_path / "stories.json").write_text("[]")
    with pytest.raises(ValueError, match=r"stories\.json is JSON"):
        load_corpus(tmp_path / "stories.json")
    with pytest.raises(ValueError, match="at least one"):
        load_corpus([])
    with pytest.raises(ValueError, match="empty"):
        Corpus("nothing", [])


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
    assert len(set(corpus.documents)) == len(list(corpus.documents))
    letters_and_spaces = sum(character.isalpha() or character == " " for character in text)
    assert letters_and_spaces / len(text) > 0.94
    assert not any(debris in text for debris in (">>>", "::", "``", ":func:", "===", "\n", "{", "\\"))


def test_python_docs_is_the_same_every_time(python_docs_folder, monkeypatch):
    """What is left out as said before depends on earlier texts only: the first ones alone give what the whole begins
    with."""
    first = list(itertools.islice(documentation._docstrings(), 4000))
    monkeypatch.setattr(documentation, "_docstrings", lambda: first)
    again = documentation.extract_paragraphs()
    assert len(again) > 1000
    assert again == list(documentation_text(python_docs_folder).documents)[: len(again)]


def test_a_damaged_cache_of_python_docs_is_made_again(monkeypatch, tmp_path):
    monkeypatch.setattr(documentation, "extract_paragraphs", lambda: ["one paragraph", "another"])
    expected = documentation_text(tmp_path)
    (path,) = tmp_path.glob("*.txt")
    path.write_bytes(path.read_bytes()[:10])
    assert documentation_text(tmp_path) == expected
    assert {file.suffix for file in tmp_path.iterdir()} == {".txt", ".sha256"}


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
