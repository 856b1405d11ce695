"""Corpora: named documents, in memory or read from disk whenever they are iterated."""

from __future__ import annotations

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

_DOCUMENTS_IN_A_PART = 65_536


@dataclass(frozen=True)
class Corpus:
    """A named collection of documents; no text is shared between the documents of training and of testing.

    Parameters
    ----------
    name : for messages.
    documents : a list, `Shards`, or anything else that gives the same documents whenever it is iterated.

    Raises TypeError for an iterator, which could be read once only, and ValueError if no document has any text
    (for a tarball, not before it is read).
    """

    name: str
    documents: Iterable[str]

    def __post_init__(self):
        if iter(self.documents) is self.documents:
            raise TypeError(f"`documents` must be iterable again and again, got a {type(self.documents).__name__}")
        archive = isinstance(self.documents, Shards) and any(source.members for source in self.documents.sources)
        if not archive and not any(document.strip() for document in self.documents):
            raise ValueError(f"corpus {self.name!r} is empty")

    @cached_property
    def sha256(self) -> str:
        """Equal for equal text: that of all documents, each ended by a zero byte, or of the files of `Shards`."""
        if isinstance(self.documents, Shards):
            return self.documents.sha256
        digest = hashlib.sha256()
        for document in self.documents:
            digest.update(document.encode() + b"\0")
        return digest.hexdigest()

    def parts(self, *, clean: bool = True) -> Iterator[tuple[str, Iterable[str]]]:
        """Pieces of the corpus, each under a key; sorting the keys gives the order of the documents.

        The pieces come in the order that is quickest to read; each must be read, or given up, before the next.
        With `clean` False the documents come as they stand in the files: as many, sooner.
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


@dataclass(frozen=True)
class Source:
    """A text file, or, where `members` is given, the files with such names in a gzipped tarball."""

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
        with self._whole(), gzip.open(self.path) as archive:
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
            while archive.read(2**20):  # to the end of the gzip stream, where its checksum is
                pass
        if not found:
            raise ValueError(f"{self.path} holds no file with a name like {self.members.pattern}")

    def _documents(self, file: BinaryIO, where: str, clean: bool) -> Iterator[str]:
        try:
            with self._whole(), io.TextIOWrapper(file, encoding="utf-8") as lines:
                documents = self.format.split(lines)
                yield from map(self.format.clean, documents) if clean else documents
        except UnicodeDecodeError as error:
            raise ValueError(
                f"corpus file {where} is not UTF-8 text ({error}); convert it, for instance with iconv"
            ) from error

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
            raise ValueError(f"{self.path} is damaged or incomplete ({error}): get it again") from error


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

    Raises, when read, FileNotFoundError, or ValueError naming a file that is not UTF-8 or a tarball that is damaged,
    incomplete or without the files looked for.
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
        """Of the content and the format of every file, whatever their names and folders."""
        content = []
        for source in self.sources:
            with source.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            content.append([source.format.name, source.members and source.members.pattern, digest])
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()
