"""Text corpora: documentation of the running Python, text files, LM1B shards."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from uddm.corpora import documentation
from uddm.files import default_cache_dir, write_atomically


@dataclass(frozen=True)
class Corpus:
    """A named list of documents; no text is shared between the documents of training and of testing.

    Raises ValueError if no document has any text.
    """

    name: str
    documents: Sequence[str]

    def __post_init__(self):
        if not any(document.strip() for document in self.documents):
            raise ValueError(f"corpus {self.name!r} is empty")

    @cached_property
    def sha256(self) -> str:
        """Of all documents, each ended by a zero byte."""
        digest = hashlib.sha256()
        for document in self.documents:
            digest.update(document.encode() + b"\0")
        return digest.hexdigest()


def load_corpus(spec: str | Path | Sequence[str | Path]) -> Corpus:
    """The corpus that `spec` names: "python-docs", or one or more UTF-8 text files or folders of them.

    Blank lines separate the documents of a file. LM1B shards (files called `news.en*`) hold one sentence
    a line: each is a document, passed through `lm1b_detokenize`. Folders are read recursively in sorted
    order, without hidden files.

    Raises FileNotFoundError for a missing path, ValueError for text that is not UTF-8 or an empty corpus.
    """
    names = [spec] if isinstance(spec, str | Path) else list(spec)
    if names == ["python-docs"]:
        return documentation_text()
    paths = [Path(name) for name in names]
    if not paths:
        raise ValueError("`corpus` must name at least one file or folder")
    documents = [document for path in paths for file in _files(path) for document in _read_documents(file)]
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
    return Corpus(name, documents)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"corpus {path} does not exist; give a file, a folder, or python-docs")
    if path.is_file():
        return [path]
    files = (file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts))


def _read_documents(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"corpus file {file} is not UTF-8 text: {error}") from error
    if file.name.startswith("news.en"):
        return [lm1b_detokenize(line) for line in text.split("\n") if line.strip()]
    return [paragraph.strip() for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]


_LM1B_RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(https?) : / / ", r"\1://"),
        (r" '(\w+)", r"'\1"),
        (r" (\w+) \. ", r" \1. "),
        (r" (\w+) \.$", r" \1."),
        (r" \? ", "? "),
        (r" \?$", "?"),
        (r" ! ", "! "),
        (r" !$", "!"),
        (r" , ", ", "),
        (r" : ", ": "),
        (r" ; ", "; "),
        (r" / ", "/"),
        (r'" ([^"]+) "', r'"\1"'),
        (r"' ([^']+) '", r"'\1'"),
        (r"\( ([^()]+) \)", r"(\1)"),
        (r"\[ ([^\[\]]+) \]", r"[\1]"),
        (r"([$£]) ", r"\1"),
    )
]


def lm1b_detokenize(sentence: str) -> str:
    """An LM1B sentence with the spaces around punctuation and inside quotes removed.

    These are the rules with which published LM1B diffusion models (MDLM, Duo) were trained; like them it
    leaves "did n't" and "10 %" alone.
    """
    for pattern, replacement in _LM1B_RULES:
        sentence = pattern.sub(replacement, sentence)
    return sentence


def documentation_text(cache_dir: str | Path | None = None) -> Corpus:
    """English prose from the documentation of the running Python: the corpus "python-docs".

    One document per paragraph, about 1.2 million characters in all. The text depends on the Python
    version and on the rules of extraction only. It is kept in `cache_dir` (None for $UDDM_CACHE or
    ~/.cache/uddm) beside its sha256; a cached text that no longer has it is made again.
    """
    folder = Path(default_cache_dir() if cache_dir is None else cache_dir)
    rules = hashlib.sha256(Path(documentation.__file__).read_bytes()).hexdigest()[:8]
    path = folder / f"python-docs-{platform.python_version()}-{rules}.txt"
    checksum = path.with_suffix(".sha256")
    data = _read_verified(path, checksum)
    if data is None:
        data = "\n\n".join(documentation.extract_paragraphs()).encode()
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
        write_atomically(checksum, hashlib.sha256(data).hexdigest().encode())
    return Corpus("python-docs", data.decode().split("\n\n"))


def _read_verified(path: Path, checksum: Path) -> bytes | None:
    """The content of `path` if it has the sha256 that `checksum` holds."""
    try:
        data = path.read_bytes()
        return data if hashlib.sha256(data).hexdigest() == checksum.read_text() else None
    except FileNotFoundError:
        return None
