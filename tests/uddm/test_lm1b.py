"""LM1B from tarball and shards: the same blocks, whatever happens on the way, in bounded memory.

The published benchmark: 99 training shards, and shard 00000 cut into 50 held-out ones; both stand in the tarball.
Chelba et al. (arXiv 1312.3005) test on the first held-out shard: 159,658 words with sentence ends, as in
tensor2tensor's lm1b.py. Its MD5 sum is in README.corpus_generation_checkpoints of the benchmark.
"""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from uddm.corpora import (
    ByteTokenizer,
    TokenBlocks,
    lm1b_detokenize,
    load_corpus,
    load_lm1b,
    prepare_blocks,
    tokenizer_from_name,
    train_bpe,
)

ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
TRAIN, TEST = "training-monolingual.tokenized.shuffled", "heldout-monolingual.tokenized.shuffled"


def sentences(seed, number):
    rng = np.random.default_rng(seed)
    letters = rng.integers(97, 123, size=(number, 12, 5), dtype=np.uint8)
    return [" ".join(word.tobytes().decode() for word in words) + " , é ." for words in letters]


FILES = {
    f"{TRAIN}/news.en-00003-of-00100": sentences(3, 50),
    f"{TEST}/news.en.heldout-00001-of-00050": sentences(11, 40),
    f"{TRAIN}/._news.en-00001-of-00100": ["no shard"],
    f"{TRAIN}/news.en-00001-of-00100": sentences(1, 61),
    f"{TEST}/news.en-00000-of-00100": sentences(10, 40) + sentences(11, 40),
    "README": ["no shard either"],
    f"{TEST}/news.en.heldout-00000-of-00050": sentences(10, 40),
    f"{TRAIN}/news.en-00002-of-00100": sentences(2, 1),
}


def write_folder(folder, files=FILES):
    for name, lines in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder


def write_tarball(path, files=FILES):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for folder in (TRAIN, TEST):
            member = tarfile.TarInfo(f"lm/{folder}")
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        for name, lines in files.items():
            data = lines if isinstance(lines, bytes) else "".join(line + "\n" for line in lines).encode()
            member = tarfile.TarInfo(f"lm/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("lm1b"))


@pytest.fixture(scope="module")
def tarball(tmp_path_factory):
    return write_tarball(tmp_path_factory.mktemp("tarball") / "lm.tar.gz")


def documents(*names):
    return [lm1b_detokenize(line) for name in names for line in FILES[name]]


TRAIN_DOCUMENTS = documents(*(f"{TRAIN}/news.en-0000{i}-of-00100" for i in (1, 2, 3)))
TEST_DOCUMENTS = documents(*(f"{TEST}/news.en.heldout-0000{i}-of-00050" for i in (0, 1)))


# --- reading -----------------------------------------------------------------------------------------


def test_splits(folder, tarball):
    assert list(load_lm1b(folder).documents) == TRAIN_DOCUMENTS
    assert list(load_lm1b(folder, "test").documents) == TEST_DOCUMENTS
    assert not set(TRAIN_DOCUMENTS) & set(TEST_DOCUMENTS)
    for corpus, expected in ((load_lm1b(tarball), TRAIN_DOCUMENTS), (load_lm1b(tarball, "test"), TEST_DOCUMENTS)):
        in_its_own_order = list(corpus.documents)
        assert in_its_own_order != expected
        assert sorted(in_its_own_order) == sorted(expected)
    assert TRAIN_DOCUMENTS[0].endswith(", é.")


def test_by_name(folder, tarball):
    """A tarball or a folder gives its training shards, a folder without any its held-out ones, a file itself."""
    assert load_corpus(tarball).sha256 == load_lm1b(tarball).sha256
    assert list(load_corpus(folder / TRAIN).documents) == TRAIN_DOCUMENTS
    with_readme = {*TRAIN_DOCUMENTS, "no shard either"}
    assert set(load_corpus(folder).documents) == with_readme
    file = folder / TEST / "news.en.heldout-00000-of-00050"
    assert list(load_corpus(file).documents) == documents(f"{TEST}/{file.name}")


@pytest.mark.parametrize("packing", ["stream", "sentences"])
@pytest.mark.parametrize("own_test", [False, True])
def test_tarball_and_folder_give_identical_blocks(folder, tarball, tmp_path, packing, own_test):
    tokenizer = train_bpe(TRAIN_DOCUMENTS, 300)
    bits = []
    for path in (folder, tarball):
        test = load_lm1b(path, "test") if own_test else None
        blocks = prepare_blocks(load_lm1b(path), tokenizer, 16, test=test, packing=packing, cache_dir=tmp_path, seed=1)
        bits.append(blocks.sha256)
    assert bits[0] == bits[1]
    assert len(list(tmp_path.iterdir())) == 2
    if own_test:
        inner = 14 if packing == "sentences" else 16
        for size, texts in ((blocks.train_size, TRAIN_DOCUMENTS), (blocks.test_size, TEST_DOCUMENTS)):
            assert size == sum(len(ids) + 1 for ids in tokenizer.encode_batch(texts)) // inner


def test_cut_or_changed_tarball(tarball, tmp_path):
    """Wherever a tarball ends early, and whichever bit is wrong: an error, before any block is made."""
    data = tarball.read_bytes()
    damaged = [data[: len(data) * k // 12] for k in range(12)] + [data[:-1], data[:-9]]
    for position in np.random.default_rng(0).integers(20, len(data), size=8):
        damaged.append(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
    for content in damaged:
        (tmp_path / "cut.tar.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"cut\.tar\.gz is damaged or incomplete|cut\.tar\.gz: .* is not UTF-8"):
            prepare_blocks(load_lm1b(tmp_path / "cut.tar.gz"), ByteTokenizer(), 16, cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.bin"))
    (tmp_path / "cut.tar.gz").write_bytes(data)
    assert prepare_blocks(load_lm1b(tmp_path / "cut.tar.gz"), ByteTokenizer(), 16, cache_dir=tmp_path).train_size


def test_errors(tmp_path, folder):
    with pytest.raises(ValueError, match="`split` must be one of 'train', 'test', got 'valid'"):
        load_lm1b(folder, "valid")  # pyright: ignore[reportArgumentType]
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist"):
        load_lm1b(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no train shard"):
        load_lm1b(folder / TEST)
    with pytest.raises(ValueError, match=r"README is neither a folder nor a tarball"):
        load_lm1b(folder / "README")

    shard = f"{TRAIN}/news.en-00001-of-00100"
    for files, message in (
        ({"README": ["text"]}, r"holds no file with a name like news\\\.en"),
        ({shard: "café".encode("latin-1")}, r"lm\.tgz: news\.en-00001-of-00100 is not UTF-8"),
        ({shard: ["a"], f"copy/{shard}": ["b"]}, r"holds more than one file news\.en-00001-of-00100"),
        ({shard: b""}, "too short for one training block of `length` 16: it has 0 documents"),
    ):
        for test_fraction in (0.0, 0.1):
            corpus = load_lm1b(write_tarball(tmp_path / "lm.tgz", files))
            with pytest.raises(ValueError, match=message):
                prepare_blocks(corpus, ByteTokenizer(), 16, cache_dir=tmp_path, test_fraction=test_fraction)


# --- resuming ----------------------------------------------------------------------------------------

KILLED = """
import json, os, signal, sys
from pathlib import Path
from uddm.corpora import ByteTokenizer, load_lm1b, packing, prepare_blocks

source, cache = Path(sys.argv[1]), Path(sys.argv[2])

def run(cache, *deaths):
    "Prepare the blocks in processes that die before the given event each, and a last one that does not."
    for death in (*deaths, None):
        child = os.fork()
        if not child:
            prepare(cache, death)
            os._exit(0)
        died = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        if not died:
            return
    raise RuntimeError("the last one died too")

def prepare(cache, death):
    events, encoded = 0, 0
    def event(function):
        def counted(*arguments, **options):
            nonlocal events
            events += 1
            if events == death:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return counted
    class Counting(ByteTokenizer):
        def encode_batch(self, texts):
            nonlocal encoded
            encoded += len(texts)
            return super().encode_batch(texts)
    os.replace, os.fsync = event(os.replace), event(os.fsync)
    packing._TokenFile.write = event(packing._TokenFile.write)
    packing._WINDOW, packing._READ = 4000, 2000
    train, test = load_lm1b(source), load_lm1b(source, "test")
    prepare_blocks(train, Counting(), 16, test=test, cache_dir=cache)
    (cache / "events").write_text(json.dumps([events, encoded]))

run(cache / "whole")
events, _ = json.loads((cache / "whole/events").read_text())
for death in sorted({*range(1, events, 29), *range(events - 16, events + 1)}):
    run(cache / f"killed-{death:04}", death, 1 + death // 2)
"""


def contents(cache):
    (blocks,) = cache.glob("blocks-*")
    return {file.name: file.read_bytes() for file in blocks.glob("*.bin")}


def test_killed_at_any_moment(tarball, tmp_path):
    """Two processes in a row die before some write, flush or renaming, and a third ends with the same bytes."""
    subprocess.run([sys.executable, "-W", "error", "-c", KILLED, tarball, tmp_path], check=True, env=ENVIRONMENT)
    whole = contents(tmp_path / "whole")
    assert set(whole) == {"train.bin", "test.bin"}
    runs = sorted(tmp_path.glob("killed-*"))
    assert len(runs) > 20
    encoded = []
    for run in runs:
        assert contents(run) == whole
        assert not list(run.glob("blocks-*/unfinished"))
        encoded.append(json.loads((run / "events").read_text())[1])
    everything = len(TRAIN_DOCUMENTS) + len(TEST_DOCUMENTS)
    assert encoded[0] == everything
    assert encoded[-1] == 0  # all parts were whole: nothing is encoded twice
    assert any(0 < n < everything for n in encoded)


def test_damaged_part_is_encoded_again(tarball, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    corpus, options = load_lm1b(tarball), {"test_fraction": 0.2, "cache_dir": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr("uddm.corpora.packing._without_repeats", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare_blocks(corpus, ByteTokenizer(), 16, **options)
    part = next(tmp_path.glob("blocks-*/unfinished/0/*00003-of-00100.train.bin"))
    part.write_bytes(part.read_bytes()[:-2])
    texts = []
    monkeypatch.setattr(
        ByteTokenizer, "encode", lambda self, text: texts.append(text) or np.frombuffer(text.encode(), np.uint8)
    )
    resumed = prepare_blocks(corpus, ByteTokenizer(), 16, **options).sha256
    assert texts == documents(f"{TRAIN}/news.en-00003-of-00100")
    assert prepare_blocks(corpus, ByteTokenizer(), 16, **options | {"cache_dir": tmp_path / "new"}).sha256 == resumed


# --- memory ------------------------------------------------------------------------------------------

MEMORY = """
import sys
from pathlib import Path
from uddm.corpora import ByteTokenizer, load_lm1b, packing, prepare_blocks

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024

packing._WINDOW, packing._READ = 2**22, 2**20
source, large = Path(sys.argv[1]), load_lm1b(Path(sys.argv[1]) / "large.tar.gz")
prepare_blocks(load_lm1b(source / "small"), ByteTokenizer(), 128, cache_dir=source / "cache")
before = peak()
if sys.argv[2] == "prepare":
    blocks = prepare_blocks(large, ByteTokenizer(), 128, cache_dir=source / "cache")
    print(peak() - before, blocks.train_size + blocks.test_size)
else:
    text = [list(documents) for _, documents in large.parts(clean=False)]
    print(peak() - before, 0)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to measure memory")
def test_memory_does_not_grow_with_the_text(tmp_path):
    """1 MB of text, then 21 MB in three shards: 42 MB of token ids, through windows of 4 MB.

    Allowed are 45 bytes for each block, 17 for each document, and two windows. Control: the text in a list takes more.
    """
    letters = np.random.default_rng(0).integers(97, 123, size=(3, 7000, 1000), dtype=np.uint8)
    letters[:, :, ::7] = 32
    shards = [[line.tobytes().decode() for line in shard] for shard in letters]
    names = [f"{TRAIN}/news.en-0000{i}-of-00100" for i in (1, 2, 3)]
    write_folder(tmp_path / "small", {names[0]: shards[0][:1000]})
    write_tarball(tmp_path / "large.tar.gz", dict(zip(names, shards)))

    def growth(what):
        command = [sys.executable, "-c", MEMORY, tmp_path, what]
        return map(float, subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.PIPE).stdout.split())

    megabytes, blocks = growth("prepare")
    assert blocks > 160_000
    allowed = (45 * blocks + 17 * 21_000) / 2**20 + 8
    assert megabytes < allowed
    megabytes, _ = growth("list")
    assert megabytes > 1.2 * allowed


# --- real shards -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared_data):
    return shared_data / "lm1b"


def test_published_test_set(real):
    shard = real / "news.en.heldout-00000-of-00050"
    assert hashlib.md5(shard.read_bytes()).hexdigest() == "ce1e84fb6d856ced56ba2c551104f6ac"
    lines = shard.read_text(encoding="utf-8").splitlines()
    assert sum(len(line.split()) + 1 for line in lines) == 159_658
    texts = list(load_corpus(shard).documents)
    assert texts == [lm1b_detokenize(line) for line in lines]
    assert len(list(load_lm1b(real, "test").documents)) == len(list(load_corpus(real).documents)) == 24_277


@pytest.mark.parametrize(("name", "ids"), [("gpt2:gpt2", (50256,) * 3), ("bert:bert/vocab.txt", (101, 102, 102))])
def test_packing_as_published(real, shared_data, tmp_path, name, ids):
    """Every sentence ends with the separator; the whole is cut in 126 and put between BOS and EOS."""
    kind, _, path = name.partition(":")
    corpus = load_corpus(real / "news.en.heldout-00000-of-00050")
    tokenizer = tokenizer_from_name(f"{kind}:{shared_data / path}", corpus)
    bos, eos, separator = ids
    blocks = prepare_blocks(corpus, tokenizer, 128, packing="sentences", test_fraction=0, cache_dir=tmp_path, seed=1)
    stream = [i for text in corpus.documents for i in (*tokenizer.encode(text), separator)]
    expected = [(bos, *stream[i : i + 126], eos) for i in range(0, len(stream) - 125, 126)]
    assert sorted(expected) == sorted(map(tuple, blocks.train().tolist()))
    assert expected != list(map(tuple, blocks.train().tolist()))
    again = TokenBlocks(next(tmp_path.iterdir()), verify=True)
    assert np.array_equal(again.train(20), blocks.train(20))
    if kind == "gpt2":
        assert tokenizer.decode(stream).split("<|endoftext|>")[:-1] == list(corpus.documents)


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
