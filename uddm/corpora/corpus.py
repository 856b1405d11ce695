"""Corpora: named documents, in memory or read from disk whenever they are iterated."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, groupby, islice
from pathlib import Path
from typing import IO, Any, BinaryIO

from uddm._validation import check_iterable, check_text, check_utf8
from uddm.files import UnreadableFile

_DOCUMENTS_IN_A_PART = 65_536
_GZIP = b"\x1f\x8b"
_CUT_SHORT = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError)


@dataclass(frozen=True)
class Corpus:
    """A named collection of documents; no text is shared between the documents of training and of testing.

    Parameters
    ----------
    name : for messages
    documents : a list of texts, `Shards`, or anything else that gives the same documents whenever it is iterated

    Raises
    ------
    TypeError : `documents` is an iterator, which could be read once only
    ValueError : no document has any text (for a tarball, not before it is read), or one has NUL characters (when it is
        hashed or read from a file)

    Examples
    --------
    >>> from uddm.corpora import Corpus
    >>> corpus = Corpus("greetings", ["good morning", "good night"])
    >>> corpus.sha256 == Corpus("the same text", ("good morning", "good night")).sha256
    True
    """

    name: str
    documents: Iterable[str]

    def __post_init__(self):
        check_text("name", self.name)
        if iter(check_iterable("documents", self.documents)) is self.documents:
            raise TypeError(f"`documents` must be iterable again and again, got a {type(self.documents).__name__}")
        archive = isinstance(self.documents, Shards) and any(source.members for source in self.documents.sources)
        if not archive and not any(check_text("documents", d).strip() for d in self.documents):
            raise ValueError(f"`documents` must have text: corpus {self.name!r} is empty")

    @cached_property
    def sha256(self) -> str:
        """Equal for equal text: that of all documents, each ended by a zero byte, or of the files of `Shards`.

        Raises
        ------
        ValueError : a document has NUL characters
        """
        if isinstance(self.documents, Shards):
            return self.documents.sha256
        digest = hashlib.sha256()
        for document in self.documents:
            if "\0" in document:
                raise ValueError(f"corpus {self.name!r} has a document with NUL characters, which no text has")
            digest.update(check_utf8("documents", document))
            digest.update(b"\0")
        return digest.hexdigest()

    def parts(self, *, clean: bool = True) -> Iterator[tuple[str, Iterable[str]]]:
        """Pieces of the corpus, each under a key; sorting the keys gives the order of the documents.

        The pieces come in the order that is quickest to read; each must be read, or given up, before the next.

        Parameters
        ----------
        clean : with False the documents come as they stand in the files: as many, sooner; default True
        """
        if isinstance(self.documents, Shards):
            yield from self.documents.parts(clean=clean)
            return
        documents = iter(self.documents)
        for number in count():
            part = list(islice(documents, _DOCUMENTS_IN_A_PART))
            if not part:
                return
            yield f"{number:08}", part


@dataclass(frozen=True)
class Format:
    """How documents stand in a text file: `split` finds them among its lines, `clean` makes each into plain text.

    The name is part of the identity of a corpus: formats that give different documents have different names.
    """

    name: str
    split: Callable[[Iterable[str]], Iterator[str]]
    clean: Callable[[str], str] = str


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Runs of lines between blank ones, without white space at their ends."""
    for text, run in groupby(lines, key=lambda line: bool(line.strip())):
        if text:
            yield "".join(run).strip()


PARAGRAPHS = Format("paragraphs", paragraphs)
WHOLE = Format("whole", lambda lines: iter(["".join(lines).strip()]))
LINES = Format("lines", lambda lines: (line.strip() for line in lines if line.strip()))


def files_in(folder: Path) -> list[Path]:
    """The files in a folder and its folders, sorted, without hidden ones. Links to folders are followed, but every
    folder is read once, under its own name if it has one here.

    Raises
    ------
    OSError : what cannot be read
    ValueError : a pipe or device
    """
    files, folders, links, seen = [], [folder], [], set()
    while folders or links:
        here = folders.pop() if folders else links.pop()
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for path in sorted(here.iterdir(), reverse=True):
            if path.name.startswith("."):
                continue
            if path.is_dir():
                (links if path.is_symlink() else folders).append(path)
            else:
                check_regular(path)
                files.append(path)
    return sorted(files)


def check_regular(path: Path) -> None:
    """Refuse, before it is opened, what is no file that can be read again and again."""
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(f"corpus file {path} is a link to nothing")
    if not path.is_file():
        raise ValueError(f"corpus {path} is a pipe or device, which cannot be read twice: write its text to a file")


def is_gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def is_tarball(path: Path) -> bool:
    """Whether a file is a tar archive, gzipped or not, by its first block: names are lost when browsers unpack."""
    with contextlib.suppress(*_CUT_SHORT), _unzipped(path) as file:
        tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        return True
    return False


def _unzipped(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(path) if is_gzipped(path) else path.open("rb")


@dataclass(frozen=True)
class Source:
    """A text file, or, where `members` is given, the files with such names in a tarball, gzipped or not."""

    path: Path
    format: Format
    members: re.Pattern[str] | None = None

    def parts(self, *, clean: bool) -> Iterator[tuple[str, Iterator[str]]]:
        """Name and documents of every file; '' is the name of a file that is not in a tarball."""
        for name, file in self._files():
            yield name, self._documents(file, f"{self.path}: {name}" if name else str(self.path), clean)

    def _files(self) -> Iterator[tuple[str, BinaryIO]]:
        if self.members is None:
            with self.path.open("rb") as file:
                yield "", file
            return
        found = set()
        with self._whole(), _unzipped(self.path) as archive:
            with tarfile.open(fileobj=archive, mode="r|") as members:
                for member in members:
                    name = Path(member.name).name
                    if not member.isfile() or not self.members.fullmatch(name):
                        continue
                    if name in found:
                        raise ValueError(f"{self.path} holds more than one file {name}")
                    found.add(name)
                    file = members.extractfile(member)
                    if file is not None:
                        yield name, io.BufferedReader(_Forward(file))
            if isinstance(archive, gzip.GzipFile):
                while archive.read(2**20):  # to the end of the gzip stream, where its checksum is
                    pass
            else:  # the mark of the end of an archive, which is not missed when members are
                archive.seek(members.offset)
                if archive.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError("no end of the archive")
        if not found:
            name = self.members.pattern
            raise UnreadableFile(
                f"{self.path} holds no file with a name like {name}, as LM1B does; unpack other archives"
            )

    def _documents(self, file: BinaryIO, where: str, clean: bool) -> Iterator[str]:
        try:
            with self._whole(), io.TextIOWrapper(file, encoding="utf-8-sig") as lines:
                documents = self.format.split(_text(lines, where))
                yield from map(self.format.clean, documents) if clean else documents
        except UnicodeDecodeError as error:
            raise ValueError(
                f"corpus file {where} is not UTF-8 text ({error}); convert it, for instance with iconv"
            ) from error

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except _CUT_SHORT as error:
            raise ValueError(f"{self.path} is damaged or incomplete ({error}): get it again") from error


def _text(lines: Iterable[str], where: str) -> Iterator[str]:
    for line in lines:
        if "\0" in line:
            raise ValueError(f"corpus file {where} holds NUL bytes, so it is binary data or not UTF-8 text; convert it")
        yield line


class _Forward(io.RawIOBase):
    """A file inside a tarball that is read as a stream, which lacks the `seekable` that TextIOWrapper asks for."""

    def __init__(self, file: IO[bytes]):
        self.file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True)
class Shards:
    """The documents of text files and tarballs, read anew whenever they are iterated.

    At most one document is in memory. Within a tarball documents come in its own order, which need not be that of
    the names of its files.

    Parameters
    ----------
    sources : in the order of the documents

    Raises
    ------
    FileNotFoundError : a file has gone, when it is read
    ValueError : when it is read, naming it: a file that is not UTF-8 (with or without a byte order mark) or has NUL
        bytes, or a tarball that is damaged, incomplete or without the files looked for
    """

    sources: Sequence[Source]

    def __iter__(self) -> Iterator[str]:
        for _, documents in self.parts():
            yield from documents

    def parts(self, *, clean: bool = True) -> Iterator[tuple[str, Iterator[str]]]:
        """One piece for each file; see `Corpus.parts`."""
        for number, source in enumerate(self.sources):
            for name, documents in source.parts(clean=clean):
                yield f"{number:08}{name and '-'}{name}", documents

    @cached_property
    def sha256(self) -> str:
        """Of the text and the format of every file, whatever their names and folders."""
        content = []
        for source in self.sources:
            with source.path.open("rb") as file:
                if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                    file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            content.append([source.format.name, source.members and source.members.pattern, digest])
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()
