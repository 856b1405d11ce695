"""Files that are whole or not there, say when they have been damaged, and are written by one process at a time; and
the cache folder.

A file that we write carries its own checksum: a JSON object in its entry "checksum", any other file in a seal at its
end (netCDF readers do not look there), a safetensors file in its metadata (`uddm.checkpoints`). Files without one, of
earlier versions or of other people, are read as they are.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

CHECKSUM = "checksum"
LARGEST_TEXT = 2**26
"""Bytes of a JSON or vocabulary file, at most: Gemma's tokenizer has half of them; parsed, one takes up to 25 times."""
_SEAL = b"\nsha256 "
_SEALED = len(_SEAL) + 64 + 1
_NO_FOLDER_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

_OTHER_KINDS = {
    b"\x1f\x8b": "a gzip file: unpack it first",
    b"BZh": "a bzip2 file: unpack it first",
    b"\xfd7zXZ": "an xz file: unpack it first",
    b"\x28\xb5\x2f\xfd": "a Zstandard file: unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it first",
    b"\x80\3": "a bare pickle",
    b"\x80\4": "a bare pickle",
    b"\x80\5": "a bare pickle",
    b"\x93NUMPY": "an array of numpy",
    b"\x89HDF": "an HDF5 file",
    b"GGUF": "a GGUF file",
    b"%PDF": "a PDF",
    b"{": "JSON text",
}


class UnreadableFile(ValueError):
    """A file that is damaged, or holds something else than it should."""


def default_cache_dir() -> Path:
    """The folder named by the environment variable UDDM_CACHE, else ~/.cache/uddm; OSError where there is no home."""
    if named := os.environ.get("UDDM_CACHE"):
        return Path(named)
    try:
        return Path.home() / ".cache" / "uddm"
    except RuntimeError as error:
        raise OSError("this user has no home folder: name a cache folder in UDDM_CACHE") from error


def as_path(name: str, path: str | Path) -> Path:
    """`path`; TypeError if it is none, ValueError if it is the empty text, which would mean the current folder."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"`{name}` must be a path, got {type(path).__name__}")
    try:
        readable = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        readable = False
    if not readable:
        raise ValueError(f"`{name}` must be a name that the system can hold, got {str(path)!r}")
    if path == "":
        raise ValueError(f"`{name}` must name a file or folder, got an empty text (for the current folder, write .)")
    return Path(path)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system that name no file, such as a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def write_atomically(path: Path, data: bytes | Sequence[bytes | memoryview], *, exclusive: bool = False) -> None:
    """Write `data`, or its pieces, so that after a crash `path` holds either the old content or all of the new one.

    With `exclusive`, FileExistsError if the file exists: of several processes one succeeds.
    """
    pieces = [data] if isinstance(data, bytes) else data
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with naming(path):
        try:
            with temporary.open("xb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            if exclusive:
                _link(temporary, path, pieces)
            else:
                os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        sync_folder(path.parent)


def clear_unfinished(folder: Path) -> None:
    """Remove what `write_atomically` was writing there when it was killed; nobody may be writing there now."""
    for path in folder.glob(".*"):
        if re.fullmatch(r"\..+\.[0-9a-f]{8}", path.name):
            path.unlink()


def _link(temporary: Path, path: Path, pieces: Sequence[bytes | memoryview]) -> None:
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with path.open("xb") as file:  # exclusive all the same, but not whole at once
            file.writelines(pieces)


def sync_folder(folder: Path) -> None:
    """Make renames last, on file systems that offer it: the content of files is safe without."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_FSYNC:
            raise
    finally:
        os.close(descriptor)


def damaged(path: str | Path) -> UnreadableFile:
    """What to raise for a file whose checksum is not that of its content."""
    return UnreadableFile(f"{path} is damaged: its content is not that of its checksum")


@contextlib.contextmanager
def locked(path: Path, task: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file, which the system releases when a process dies; where it has no locks, go on without.

    Waits for another process that holds it, and says so after a second: "waiting for another process that `task`". If
    `wait` is False it does not: it gives False, and nothing is held.
    """
    lock, ours = FileLock(path), True
    with contextlib.suppress(NotImplementedError, OSError):  # no locks here, or a folder that cannot be written
        try:
            lock.acquire(timeout=1 if wait else 0)
        except Timeout:
            ours = wait
            if wait:
                notice = f"waiting for another process that {task} (it holds {path}; end it if it should not run)"
                print(notice, file=sys.stderr, flush=True)
                lock.acquire()
    try:
        yield ours
    finally:
        lock.release()


def sealed(data: bytes) -> bytes:
    """`data` with its checksum at the end, for `read_sealed`."""
    return data + _SEAL + hashlib.sha256(data).hexdigest().encode() + b"\n"


def read_sealed(path: Path) -> bytes:
    """The data of a file written by `sealed`; UnreadableFile, naming it, if it is damaged or was never sealed."""
    content = path.read_bytes()
    data = content[:-_SEALED]
    if content != sealed(data):
        raise damaged(path)
    return data


def read_text(path: str | Path) -> str:
    """UTF-8 text, with or without a byte order mark; UnreadableFile, naming it, if it is anything else or has more than
    LARGEST_TEXT bytes."""
    try:
        return io.TextIOWrapper(io.BytesIO(_whole(path)), encoding="utf-8-sig").read()
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{path} is not UTF-8 text: {error}") from error


def instead(start: bytes) -> str:
    """What a file is in place of what it should be, as far as its first 512 bytes tell: " but a web page", or ""."""
    text = start[:512].lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        return " but a Git LFS pointer, in whose place `git lfs pull` puts the file"
    if text.startswith((b"<!doctype", b"<html")):
        return " but a web page: the download went wrong"
    if start[257:262] == b"ustar":
        return " but a tar archive: unpack it first"
    return next((f" but {kind}" for first, kind in _OTHER_KINDS.items() if start.startswith(first)), "")


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file, without its checksum; UnreadableFile if it holds anything else, is damaged, or has
    more than LARGEST_TEXT bytes."""
    content = _whole(path)
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        other = "" if content.startswith(b"{") else instead(content)
        raise UnreadableFile(f"{path} is not readable JSON{other}: {error}") from error
    if not isinstance(value, dict):
        raise UnreadableFile(f"{path} must hold a JSON object, got {type(value).__name__}")
    checksum = value.pop(CHECKSUM, None)
    if checksum is not None and checksum != json_checksum(value):
        raise damaged(path)
    return value


def _whole(path: str | Path) -> bytes:
    """What a file holds, of which no more is read than it may have: it may be a device, whose size says nothing."""
    with Path(path).open("rb") as file:
        content = file.read(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise UnreadableFile(f"{path} has more than {LARGEST_TEXT:,} bytes, which no file of its kind has")
    return content


def to_json(value: dict[str, Any]) -> bytes:
    """A JSON object with its checksum, for `read_json`."""
    value = json.loads(json.dumps(value))
    return (json.dumps({**value, CHECKSUM: json_checksum(value)}, indent=1, sort_keys=True) + "\n").encode()


def json_checksum(value: Any) -> str:
    """sha256 of a JSON value, however it is laid out."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
