"""Texts as people have them: archives, links, marks and encodings, pipes, one huge document, no place for a cache."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import uddm.corpora
from uddm.corpora import (
    ByteTokenizer,
    CharacterTokenizer,
    Corpus,
    documentation_text,
    lm1b_detokenize,
    load_corpus,
    load_lm1b,
    packing,
    prepare_blocks,
)

LETTERS = CharacterTokenizer()
SHARDS = {f"news.en-0000{i}-of-00100": [f"shard {i} , line {n} ." for n in range(400)] for i in (1, 2, 3)}
HELD_OUT = "news.en.heldout-00000-of-00050"


def sentences(*names):
    return [lm1b_detokenize(line) for name in names for line in SHARDS[name]]


def write_shards(folder, names=tuple(SHARDS)):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("\n".join(SHARDS[name]) + "\n")
    return folder


def archive(members=SHARDS, *, format=tarfile.GNU_FORMAT):
    """The bytes of a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, lines in members.items():
            data = "".join(line + "\n" for line in lines).encode()
            member = tarfile.TarInfo(f"lm/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def paragraphs(seed, number=30):
    letters = np.random.default_rng(seed).integers(97, 123, size=(number, 60), dtype=np.uint8)
    return [row.tobytes().decode() for row in letters]


# --- archives ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "format"),
    [
        *((name, tarfile.GNU_FORMAT) for name in ("lm.tar", "lm.tar.gz", "lm.tgz", "lm.txt", "lm")),
        *(("lm", format) for format in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT)),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_archive_is_told_by_its_content(tmp_path, name, zipped, format):
    data = archive({**SHARDS, HELD_OUT: ["held out"]}, format=format)
    (tmp_path / name).write_bytes(gzip.compress(data, 1) if zipped else data)
    for corpus in (load_corpus(tmp_path / name), load_corpus(tmp_path), load_lm1b(tmp_path / name)):
        assert list(corpus.documents) == sentences(*SHARDS)
    assert list(load_lm1b(tmp_path / name, "test").documents) == ["held out"]


@pytest.mark.parametrize("name", ["lm.tar", "lm.tar.gz"])
def test_plain_archive_that_ends_early(tmp_path, name):
    """Wherever it is cut, between two members, too: an archive has a mark at its end."""
    data = archive()
    member = len(data.rstrip(b"\0")) // 512 // 3 * 512  # near the end of one: try the blocks around it
    for stop in (0, 100, 512, 1000, *range(member - 1024, member + 2048, 512), len(data.rstrip(b"\0"))):
        (tmp_path / name).write_bytes(data[:stop])
        with pytest.raises(ValueError, match=rf"{name} is damaged or incomplete"):
            list(load_lm1b(tmp_path / name).documents)
    damaged = bytearray(data)
    damaged[data.index(b"lm/news.en-00002")] ^= 1  # the header of the second member has a checksum
    (tmp_path / name).write_bytes(damaged)
    with pytest.raises(ValueError, match=rf"{name} is damaged or incomplete"):
        list(load_lm1b(tmp_path / name).documents)


def test_archive_of_other_texts_says_so(tmp_path):
    (tmp_path / "novels.tar").write_bytes(archive({"novel.txt": ["text"]}))
    with pytest.raises(ValueError, match=r"novels\.tar holds no file with a name like news.*; unpack other archives"):
        prepare_blocks(load_corpus(tmp_path / "novels.tar"), LETTERS, 8, cache_dir=tmp_path)


def test_compressed_text_says_so(tmp_path):
    (tmp_path / "text.txt").write_bytes(gzip.compress(b"some text"))
    with pytest.raises(ValueError, match=r"text\.txt is compressed: unpack it"):
        load_corpus(tmp_path / "text.txt")


@pytest.mark.parametrize(
    "content", [b"some \0 text\n", "UTF-16 without a mark".encode("utf-16-le"), b"text\n\n" + bytes(600)]
)
def test_binary_data_that_is_valid_utf8(tmp_path, content):
    (tmp_path / "text.txt").write_bytes(b"first document\n\n" + content)
    with pytest.raises(ValueError, match=r"text\.txt holds NUL bytes"):
        list(load_corpus(tmp_path / "text.txt").documents)
    (tmp_path / "lm.tar").write_bytes(archive({"news.en-00001-of-00100": ["a\0b"]}))
    with pytest.raises(ValueError, match=r"lm\.tar: news\.en-00001-of-00100 holds NUL bytes"):
        list(load_corpus(tmp_path / "lm.tar").documents)


def test_nul_in_memory_would_hide_where_documents_end():
    with pytest.raises(ValueError, match="corpus 'x' has a document with NUL characters"):
        _ = Corpus("x", ["a\0b"]).sha256


# --- folders -----------------------------------------------------------------------------------------


def test_links_to_folders_are_followed_once(tmp_path):
    (tmp_path / "cf" / "inner").mkdir(parents=True)
    (tmp_path / "store" / "deep").mkdir(parents=True)
    (tmp_path / "cf" / "a.txt").write_text("of a")
    (tmp_path / "cf" / "inner" / "b.txt").write_text("of b")
    (tmp_path / "store" / "deep" / "c.txt").write_text("of c")
    (tmp_path / "cf" / "linked").symlink_to("../store")
    (tmp_path / "cf" / "again").symlink_to("../store/deep")
    (tmp_path / "cf" / "aaa").symlink_to("inner")  # read under its own name
    (tmp_path / "store" / "cycle").symlink_to("../cf")
    (tmp_path / "cf" / ".hidden").symlink_to("/")
    (tmp_path / "cf" / "d.txt").symlink_to("a.txt")
    # a.txt, again/c.txt (links come after folders, in their own order), d.txt, inner/b.txt
    assert list(load_corpus(tmp_path / "cf").documents) == ["of a", "of c", "of a", "of b"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_shard_behind_a_linked_folder(tmp_path, split):
    names = {"train": list(SHARDS), "test": [name.replace("news.en", "news.en.heldout") for name in SHARDS]}[split]
    for name in names:
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        (tmp_path / "elsewhere" / name).write_text(name + "\n")
    (tmp_path / "lm").mkdir()
    (tmp_path / "elsewhere" / names[0]).rename(tmp_path / "lm" / names[0])
    (tmp_path / "lm" / "more").symlink_to(tmp_path / "elsewhere")
    assert list(load_lm1b(tmp_path / "lm", split).documents) == names
    assert sorted(load_corpus(tmp_path / "lm").documents) == names


@pytest.mark.parametrize("hidden_by", ["folder", "link", "pipe"])
def test_what_cannot_be_read_is_an_error(tmp_path, monkeypatch, hidden_by):
    (tmp_path / "cf" / "closed").mkdir(parents=True)
    (tmp_path / "cf" / "a.txt").write_text("text")
    write_shards(tmp_path / "cf")
    if hidden_by == "folder":  # for root, too
        scan = os.scandir
        listdir = os.listdir

        def closed(function):
            def refusing(path="."):
                if Path(os.fspath(path)).name == "closed":
                    raise PermissionError(13, "Permission denied", str(path))
                return function(path)

            return refusing

        monkeypatch.setattr(os, "scandir", closed(scan))
        monkeypatch.setattr(os, "listdir", closed(listdir))
    elif hidden_by == "link":
        (tmp_path / "cf" / "closed" / "b.txt").symlink_to("nowhere")
    else:
        os.mkfifo(tmp_path / "cf" / "closed" / "b.txt")
    for load in (load_corpus, load_lm1b):
        with pytest.raises((OSError, ValueError), match="closed"):
            load(tmp_path / "cf")


def test_missing_shards_are_told(tmp_path, capsys):
    write_shards(tmp_path / "lm", ["news.en-00001-of-00100", "news.en-00003-of-00100"])
    (tmp_path / "lm" / HELD_OUT).write_text("held out\n")
    expected = f"{tmp_path / 'lm'} lacks 97 of 99 train shards of LM1B: 00002, 00004 to 00099\n"
    for load in (load_lm1b, load_corpus):
        load(tmp_path / "lm")
        assert capsys.readouterr().err == expected
    load_lm1b(tmp_path / "lm", "test")
    assert capsys.readouterr().err == f"{tmp_path / 'lm'} lacks 49 of 50 test shards of LM1B: 00001 to 00049\n"
    for i in range(1, 100):
        (tmp_path / "lm" / f"news.en-{i:05}-of-00100").write_text("all\n")
    load_lm1b(tmp_path / "lm")
    load_corpus(tmp_path / "lm")
    assert capsys.readouterr().err == ""


def test_shard_that_is_there_twice(tmp_path):
    write_shards(tmp_path / "lm")
    write_shards(tmp_path / "lm" / "copy", ["news.en-00002-of-00100"])
    for load in (load_lm1b, load_corpus):
        with pytest.raises(ValueError, match=r"lm holds more than one file news\.en-00002-of-00100"):
            load(tmp_path / "lm")


# --- marks and encodings -----------------------------------------------------------------------------


def test_byte_order_mark_is_no_text(tmp_path):
    for n, encoding in enumerate(("utf-8", "utf-8-sig")):
        (tmp_path / str(n)).mkdir()
        (tmp_path / str(n) / "a.txt").write_text("ein Wörterbuch\n\nzweites", encoding=encoding)
        (tmp_path / str(n) / "b.txt").write_text("noch eines", encoding=encoding)
    plain, marked = (load_corpus(tmp_path / str(n)) for n in (0, 1))
    assert list(marked.documents) == list(plain.documents) == ["ein Wörterbuch", "zweites", "noch eines"]
    assert marked.sha256 == plain.sha256
    (tmp_path / "news.en-00001-of-00002").write_text("eins\nzwei\n", encoding="utf-8-sig")
    assert list(load_corpus(tmp_path / "news.en-00001-of-00002").documents) == ["eins", "zwei"]


LAZY = "ignore::EncodingWarning:lazy_loader"  # it reads our stubs, which are ASCII


def test_locale_does_not_matter(tmp_path):
    """Whatever the encoding of the locale, a folder whose name has other characters gives the same blocks."""
    folder = tmp_path / "Wörter"
    folder.mkdir()
    (folder / "a.txt").write_text("\n\n".join(["é", *paragraphs(0)]), encoding="utf-8")
    script = (
        "import sys; from uddm.corpora import TokenBlocks, load_corpus, load_tokenizer\n"
        "from uddm.corpora import prepare_blocks, tokenizer_from_name\n"
        "corpus = load_corpus(sys.argv[1])\n"
        "tokenizer = tokenizer_from_name('characters:28', corpus); tokenizer.save(sys.argv[1] + '/.t')\n"
        "blocks = prepare_blocks(corpus, load_tokenizer(sys.argv[1] + '/.t'), 8, cache_dir=sys.argv[2])\n"
        "print(blocks.sha256, TokenBlocks(blocks.directory).sha256)\n"
    )
    outputs = set()
    for n, utf8 in enumerate("01"):
        environment = {"PYTHONUTF8": utf8, "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
        strict = ["-X", "warn_default_encoding", "-W", "error::EncodingWarning", "-W", LAZY]
        command = [sys.executable, *strict, "-c", script]
        run = subprocess.run(
            [*command, folder, tmp_path / f"cache-{n}"],
            env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        outputs.add(run.stdout)
    assert len(outputs) == 1


# --- pipes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [load_corpus, load_lm1b])
def test_pipes_are_refused_before_they_are_read(tmp_path, load):
    os.mkfifo(tmp_path / "pipe")
    read, write = os.pipe()
    os.write(write, b"text")
    try:
        for path in (tmp_path / "pipe", Path("/dev/null"), f"/dev/fd/{read}"):
            with pytest.raises(ValueError, match="is a pipe or device, which cannot be read twice"):
                load(path)
        assert os.read(read, 10) == b"text"
    finally:
        os.close(read)
        os.close(write)


# --- one huge document -------------------------------------------------------------------------------


def test_one_document_says_what_separates_documents(tmp_path):
    (tmp_path / "text8").write_text(" ".join(paragraphs(0, 3000)))
    corpus = load_corpus(tmp_path / "text8")
    message = (
        "corpus 'text8' is one document, .*: blank lines separate documents.* a test corpus .* a test fraction of 0"
    )
    with pytest.raises(ValueError, match=message):
        prepare_blocks(corpus, LETTERS, 16, cache_dir=tmp_path)
    assert prepare_blocks(corpus, LETTERS, 16, cache_dir=tmp_path, test_fraction=0).train_size == 61 * 3000 // 16


@given(
    st.lists(st.lists(st.integers(0, 2), max_size=4).map(np.array), max_size=6),
    st.one_of(st.none(), st.just(0)),
)
def test_pieces_end_as_the_whole_does(pieces, separator):
    pieces = [piece.astype(np.int64) for piece in pieces]
    whole = np.concatenate([np.empty(0, np.int64), *pieces]).tolist()
    if separator is not None:
        while whole and whole[0] == separator:
            whole = whole[1:]
        while whole and whole[-1] == separator:
            whole = whole[:-1]
        whole += [separator] if whole else []
    assert [i for ids in packing.ended(pieces, separator) for i in ids] == whole


def test_long_documents_in_pieces_give_the_same_blocks(tmp_path, monkeypatch):
    """A document longer than a batch, some in a batch, and batches of one."""
    text = "\n\n".join(" ".join(paragraphs(seed, number)) for seed, number in enumerate((1, 50, 2, 1, 1, 20)))
    (tmp_path / "a.txt").write_text(text + "\n")
    corpus = load_corpus(tmp_path / "a.txt")
    expected = [prepare_blocks(corpus, t, 8, cache_dir=tmp_path / "whole").sha256 for t in (LETTERS, ByteTokenizer())]
    monkeypatch.setattr("uddm.corpora.packing._CHARACTERS_AT_A_TIME", 150)
    monkeypatch.setattr("uddm.corpora.tokenizers._PIECE", 20)
    cut = [prepare_blocks(corpus, t, 8, cache_dir=tmp_path / "pieces").sha256 for t in (LETTERS, ByteTokenizer())]
    assert cut == expected


MEMORY = """
import sys
from pathlib import Path
from uddm.corpora import load_corpus, packing, prepare_blocks, tokenizer_from_name

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024

packing._WINDOW, packing._READ = 2**22, 2**20
folder = Path(sys.argv[1])
small = load_corpus(folder / "small.txt")
tokenizer = tokenizer_from_name(sys.argv[2], small)
prepare_blocks(small, tokenizer, 64, cache_dir=folder / "cache", test_fraction=0)
before = peak()
prepare_blocks(load_corpus(folder / "large.txt"), tokenizer, 64, cache_dir=folder / "cache", test_fraction=0)
print(peak() - before)
"""


@pytest.fixture(scope="module")
def one_long_line(tmp_path_factory):
    """A folder with a text of 8 MB and the beginning of it."""
    words = [word[: 1 + n % 9] for n, word in enumerate(paragraphs(0, 1000))]
    chosen = np.random.default_rng(0).integers(0, len(words), size=1_400_000)
    large = " ".join(words[i] for i in chosen)
    folder = tmp_path_factory.mktemp("long")
    (folder / "large.txt").write_text(large)
    (folder / "small.txt").write_text(large[:200_000])
    return folder


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to measure memory")
@pytest.mark.parametrize(
    "name", ["letters", *(pytest.param(name, marks=pytest.mark.long) for name in ("bpe:300", "bytes"))]
)
def test_memory_of_one_long_line(one_long_line, name):
    """8 MB in one line: three times the document, 45 bytes for each block of at least 64 characters, and 8 MB."""
    size = (one_long_line / "large.txt").stat().st_size
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEMORY, one_long_line, name]
    output = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout
    allowed = (3 * size + 45 * size / 64) / 2**20 + 8
    assert float(output) < allowed


# --- no place for a cache ----------------------------------------------------------------------------


@pytest.fixture
def quick_documentation(monkeypatch):
    monkeypatch.setattr("uddm.corpora.documentation.extract_paragraphs", lambda: ["one paragraph", "another"])


def no_home(monkeypatch, tmp_path):
    monkeypatch.delenv("UDDM_CACHE", raising=False)

    def refuse():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", refuse)


def read_only(monkeypatch, tmp_path):
    monkeypatch.setenv("UDDM_CACHE", str(tmp_path))

    def refuse(*_, **__):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr("uddm.corpora.text.write_atomically", refuse)


def a_file(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("UDDM_CACHE", str(tmp_path / "file" / "cache"))


@pytest.mark.parametrize("place", [no_home, read_only, a_file])
def test_documentation_without_a_place_to_keep_it(quick_documentation, monkeypatch, tmp_path, place):
    place(monkeypatch, tmp_path)
    before = set(tmp_path.rglob("*"))
    assert list(load_corpus("python-docs").documents) == ["one paragraph", "another"]
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe\x80", b"0" * 64, bytes(64)])
def test_documentation_with_a_garbled_checksum_is_made_again(quick_documentation, tmp_path, garbage):
    expected = documentation_text(tmp_path)
    (checksum,) = tmp_path.glob("*.sha256")
    whole = checksum.read_bytes()
    checksum.write_bytes(garbage)
    assert documentation_text(tmp_path) == expected
    assert checksum.read_bytes() == whole


def test_star_import():
    names = {}
    exec("from uddm.corpora import *", names)
    assert names.keys() - {"__builtins__"} == set(uddm.corpora.__all__)
