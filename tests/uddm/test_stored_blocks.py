"""Token blocks on disk: checked whenever a process opens them, made again when damaged; waiting, and full disks."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from uddm.corpora import ByteTokenizer, CharacterTokenizer, Corpus, TokenBlocks, prepare_blocks
from uddm.files import read_json

LETTERS = CharacterTokenizer()
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}


def random_corpus(documents=20, seed=0):
    words = np.random.default_rng(seed).integers(97, 123, size=(documents, 12, 6), dtype=np.uint8)
    return Corpus("random", [b" ".join(word.tobytes() for word in document).decode() for document in words])


CORPUS = random_corpus()


def prepare(cache, **options):
    return prepare_blocks(CORPUS, LETTERS, 10, cache_dir=cache, **options)


def contents(blocks):
    return (
        (blocks.vocab_size, blocks.length, blocks.train_size, blocks.test_size, blocks.sha256),
        (blocks.train().tobytes(), blocks.test().tobytes()),
    )


@pytest.fixture
def folder(tmp_path):
    return prepare(tmp_path).directory


class Clock:
    """Times of modification for files that are changed faster than the file system's clock ticks."""

    def __init__(self):
        self.time = 10**18

    def write(self, path, data):
        path.write_bytes(data)
        self.time += 1
        os.utime(path, ns=(self.time, self.time))


# --- damage ------------------------------------------------------------------------------------------


def test_flipped_bits(folder, capsys, monkeypatch):
    """Of any file: what is read is what was written, or the file is named; and the blocks are made again."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # nothing here asks for durability
    rng, clock = np.random.default_rng(0), Clock()
    expected, whole = contents(TokenBlocks(folder)), {path.name: path.read_bytes() for path in folder.glob("[!.]*")}
    assert set(whole) == {"train.bin", "test.bin", "index.json"}
    refused = dict.fromkeys(whole, 0)
    for name, data in whole.items():
        for position in rng.integers(0, len(data), size=100):
            damaged = bytearray(data)
            damaged[position] ^= 1 << rng.integers(8)
            clock.write(folder / name, damaged)
            try:
                assert contents(TokenBlocks(folder)) == expected
                message = None
            except (ValueError, FileNotFoundError) as error:
                message = str(error)
            capsys.readouterr()
            assert contents(prepare(folder.parent)) == expected
            said = capsys.readouterr().err
            if message is None:
                assert "damaged" not in said
            else:
                refused[name] += 1
                assert str(folder / name) in message
                assert f"{folder} is damaged: made again\n" in said
                assert (folder / name).read_bytes() == data
    assert refused["train.bin"] == refused["test.bin"] == 100
    assert refused["index.json"] > 80  # a flip may turn the name of the checksum into another: nothing is lost


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"{}",
        b'{"length": 10}',
        b"[" * 100_000,
        b'{"train": "sha256"}',
        b'{"checksum": 3}',
    ],
)
def test_garbage_in_place_of_a_file(folder, garbage):
    expected = contents(TokenBlocks(folder))
    for name in ("index.json", "train.bin", "test.bin"):
        Clock().write(folder / name, garbage)
        with pytest.raises(ValueError, match=name):
            TokenBlocks(folder)
        assert contents(prepare(folder.parent)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"vocab_size": "27"},
        {"vocab_size": -1},
        {"length": 5},
        {"length": None},
        {"length": True},
        {"dtype": "<u4"},
        {"dtype": "<f8"},
        {"dtype": ["<u2"]},
        {"train": 3},
        {"train": {"file": "../train.bin", "blocks": 10, "sha256": 3}},
    ],
)
def test_old_index_that_cannot_be_true(folder, change):
    """One without a checksum, of an earlier version, is read; and not believed if it contradicts the files."""
    expected, index = contents(TokenBlocks(folder)), read_json(folder / "index.json")
    for split in ("train", "test"):  # as it was written
        index[split]["seen"] = {"bytes": 3, "modified_ns": 4}
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    assert contents(TokenBlocks(folder)) == expected
    assert contents(prepare(folder.parent)) == expected
    (folder / "index.json").write_text(json.dumps(index | change))
    with pytest.raises(ValueError, match=r"index\.json is not a block index|\.bin differs"):
        TokenBlocks(folder)


def test_rot_under_the_old_time_is_found_by_the_next_process(folder):
    path = folder / "train.bin"
    status, data = path.stat(), bytearray(path.read_bytes())
    data[9] ^= 64
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    code = "import sys; from uddm.corpora import TokenBlocks; TokenBlocks(sys.argv[1])"
    run = subprocess.run([sys.executable, "-c", code, folder], env=ENVIRONMENT, capture_output=True, text=True)
    assert f"{path} differs from what was written" in run.stderr


def test_opening_writes_nothing(folder, tmp_path):
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    os.utime(copied / "train.bin", ns=(1, 1))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copied.iterdir()}
    TokenBlocks(copied, verify=True)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copied.iterdir()} == before


# --- parts -------------------------------------------------------------------------------------------


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """A cache whose parts are all encoded, and no blocks made yet."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("uddm.corpora.corpus._DOCUMENTS_IN_A_PART", 7)
    with monkeypatch.context() as patch:
        patch.setattr("uddm.corpora.packing._without_repeats", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "cache")
    return tmp_path / "cache"


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff",
        b"null",
        b"[1]",
        b"{}",
        b'{"\\u0000": "x"}',
        b'{"../../../x": "x"}',
        b'{"a": 1}',
        b"{" * 9000,
        "half",
    ],
)
def test_record_that_is_garbage_is_made_again(interrupted, tmp_path, capsys, garbage):
    records = sorted(interrupted.glob("blocks-*/unfinished/0/*.json"))
    assert len(records) == 3
    for record in records[:2]:
        record.write_bytes(record.read_bytes()[:30] if garbage == "half" else garbage)
    capsys.readouterr()
    assert contents(prepare(interrupted)) == contents(prepare(tmp_path / "new"))
    assert "damaged" not in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["flip", "cut", "lose"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_damaged_part_is_made_again(interrupted, tmp_path, capsys, damage, split):
    part = max(interrupted.glob(f"blocks-*/unfinished/0/*.{split}.bin"), key=lambda path: path.stat().st_size)
    data = bytearray(part.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    elif damage == "cut":
        part.write_bytes(data[:-2])
    else:
        part.unlink()
    assert contents(prepare(interrupted)) == contents(prepare(tmp_path / "new"))
    assert "damaged" not in capsys.readouterr().err


# --- ids ---------------------------------------------------------------------------------------------


class FarIds(ByteTokenizer):
    """Gives ids that its `vocab_size` does not allow."""

    vocab_size = 100


@pytest.mark.parametrize("long", [False, True])
def test_ids_are_checked_before_they_are_stored(tmp_path, monkeypatch, long):
    if long:
        monkeypatch.setattr("uddm.corpora.packing._CHARACTERS_AT_A_TIME", 10)
    with pytest.raises(
        ValueError, match=r"`tokenizer` must give ids in \[0, 100\), its `vocab_size`, got ids in \[32, 122\]"
    ):
        prepare_blocks(CORPUS, FarIds(), 10, cache_dir=tmp_path)
    assert not list(tmp_path.rglob("*.bin"))


@pytest.mark.parametrize("name", ["bos_id", "eos_id", "separator_id"])
@pytest.mark.parametrize("token", [-1, 256, 65536])
def test_special_ids_are_checked(tmp_path, name, token):
    tokenizer = ByteTokenizer()
    setattr(tokenizer, name, token)
    with pytest.raises(ValueError, match=rf"`tokenizer` must have a {name} in \[0, 256\), got {token}"):
        prepare_blocks(CORPUS, tokenizer, 10, cache_dir=tmp_path)


# --- full disks, and other processes -----------------------------------------------------------------


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_failed_tries_leave_nothing_and_name_the_file(tmp_path, monkeypatch, failing):
    """The disk is full while token ids are written, or when they are flushed or renamed: three tries, no leftovers."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    for _ in range(3):
        with monkeypatch.context() as patch:
            if failing == "write":  # a limit on the size of files acts like a full disk
                resource.setrlimit(resource.RLIMIT_FSIZE, (300, limit[1]))
            else:
                patch.setattr(os, failing, full)
            try:
                with pytest.raises(OSError, match=r"\.(bin|json)'") as caught:
                    prepare(tmp_path)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
        assert str(tmp_path) in str(caught.value.filename)
        left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
        assert all(name == ".lock" or name.endswith((".bin", ".json")) for name in left)
    prepare(tmp_path)


def test_error_of_a_text_leaves_no_token_file(tmp_path):
    class Broken(CharacterTokenizer):
        def encode_batch(self, texts):
            raise MemoryError

    with pytest.raises(MemoryError):
        prepare_blocks(CORPUS, Broken(), 10, cache_dir=tmp_path)
    assert not list(tmp_path.rglob("*.bin*"))


def test_waiting_is_told(tmp_path):
    blocks = prepare(tmp_path)
    (blocks.directory / "index.json").unlink()
    code = "import sys; from test_stored_blocks import prepare; print(prepare(sys.argv[1]).sha256)"
    command = [sys.executable, "-c", code, tmp_path]
    with FileLock(blocks.directory / ".lock"):
        options = {"cwd": Path(__file__).parent, "env": ENVIRONMENT, "text": True}
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        assert f"waiting for another process that prepares {blocks.directory} (" in run.stderr.readline()
        assert run.poll() is None
    assert run.communicate()[0] == f"{blocks.sha256}\n"
