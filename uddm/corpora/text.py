"""From names to corpora: documentation of the running Python, text files, LM1B."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from uddm._validation import check_iterable
from uddm.corpora import documentation
from uddm.corpora.corpus import (
    LINES,
    PARAGRAPHS,
    WHOLE,
    Corpus,
    Shards,
    Source,
    check_regular,
    files_in,
    is_gzipped,
    is_tarball,
)
from uddm.corpora.lm1b import SENTENCES, SHARDS, TARBALLS, check_shards
from uddm.files import UnreadableFile, as_path, default_cache_dir, write_atomically


def load_corpus(spec: str | Path | Sequence[str | Path]) -> Corpus:
    """The corpus that `spec` names: "python-docs", or one or more UTF-8 text files, folders of them, LM1B tarballs.

    Blank lines separate the documents of a file. LM1B shards (files called `news.en*`) hold one sentence
    a line: each is a document, passed through `lm1b_detokenize`. Folders are read recursively in sorted
    order, without hidden files; links to folders are followed, each folder once. A tar archive, gzipped or not, is the
    LM1B tarball and gives its training shards; so does a folder with training shards, which leaves out the held-out
    ones beside them (`load_lm1b` gives these), and tells on stderr which are missing.

    Documents are not kept in memory, but read from the files whenever they are iterated.

    Parameters
    ----------
    spec : the word, or a path, or several paths

    Returns
    -------
    Corpus

    Raises
    ------
    FileNotFoundError : there is nothing at a path
    ValueError : JSON, a pipe, a compressed file, text that is not UTF-8 (on reading it), or an empty corpus

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from uddm.corpora import load_corpus
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     count = Path(folder, "animals.txt").write_text("A cat.\\n\\nA dog and\\na bird.\\n")
    ...     list(load_corpus(folder).documents)
    ['A cat.', 'A dog and\\na bird.']
    """
    names = [spec] if isinstance(spec, str | Path) else list(check_iterable("spec", spec))
    if names == ["python-docs"]:
        return documentation_text()
    paths = [as_path("spec", name) for name in names]
    if not paths:
        raise ValueError("`spec` must name at least one file or folder")
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
    return Corpus(name, Shards([source for path in paths for source in _sources(path)]))


def read_documents(paths: Sequence[str | Path], *, lines: bool = False) -> list[tuple[str, str]]:
    """Names and texts of UTF-8 text files, each one document, or each of their `lines` that is not blank.

    Without white space at its ends; the name of a line is that of the file and its number among them.

    Raises
    ------
    FileNotFoundError : there is no such file
    ValueError : a folder, a pipe, a compressed or empty file, text that is not UTF-8
    """
    documents = []
    for path in (as_path("text", path) for path in paths):
        if not path.exists():
            raise FileNotFoundError(f"text {path} does not exist")
        if path.is_dir():
            raise ValueError(f"text {path} is a folder: name its files")
        check_regular(path)
        if is_gzipped(path):
            raise ValueError(f"text {path} is compressed: unpack it first")
        found = [text for text in Shards([Source(path, LINES if lines else WHOLE)]) if text]
        if not found:
            raise ValueError(f"text {path} is empty")
        documents += [(f"{path}:{n}" if lines else str(path), text) for n, text in enumerate(found, 1)]
    return documents


def _sources(path: Path) -> Iterator[Source]:
    if not path.exists():
        raise FileNotFoundError(f"corpus {path} does not exist; give a file, a folder, or python-docs")
    files = [path]
    if path.is_dir():
        files = files_in(path)
        if any(SHARDS["train"].fullmatch(file.name) for file in files):
            files = [file for file in files if not _held_out(file)]
            check_shards(path, files, "train")
    else:
        check_regular(path)
    for file in files:
        if file.suffix in (".json", ".jsonl"):
            raise UnreadableFile(
                f"corpus file {file} is JSON; write its texts to a text file, blank lines between them"
            )
        if file.name.endswith(TARBALLS) or is_tarball(file):
            yield Source(file, SENTENCES, SHARDS["train"])
        elif is_gzipped(file):
            raise ValueError(f"corpus file {file} is compressed: unpack it first")
        else:
            yield Source(file, SENTENCES if file.name.startswith("news.en") else PARAGRAPHS)


def _held_out(shard: Path) -> bool:
    return shard.name.startswith("news.en") and not SHARDS["train"].fullmatch(shard.name)


def documentation_text(cache_dir: str | Path | None = None) -> Corpus:
    """English prose from the documentation of the running Python: the corpus "python-docs".

    One document per paragraph, about 1.2 million characters in all. The text depends on the Python
    version and on the rules of extraction only.

    Parameters
    ----------
    cache_dir : where the text is kept beside its sha256; a text that no longer has it is made again, and where nothing
        can be kept, it is made each time; None, the default, for $UDDM_CACHE or ~/.cache/uddm
    """
    data = None
    with contextlib.suppress(OSError):  # never made, or no place to keep it
        data = _read_verified(_cached(cache_dir))
    if data is None:
        data = "\n\n".join(documentation.extract_paragraphs()).encode()
        with contextlib.suppress(OSError):
            _keep(_cached(cache_dir), data)
    return Corpus("python-docs", data.decode().split("\n\n"))


def _cached(cache_dir: str | Path | None) -> Path:
    folder = default_cache_dir() if cache_dir is None else as_path("cache_dir", cache_dir)
    rules = hashlib.sha256(Path(documentation.__file__).read_bytes()).hexdigest()[:8]
    return folder / f"python-docs-{platform.python_version()}-{rules}.txt"


def _read_verified(path: Path) -> bytes | None:
    """The content of `path` if it has the sha256 in the file beside it."""
    data = path.read_bytes()
    return data if _sha256(data) == path.with_suffix(".sha256").read_bytes() else None


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    write_atomically(path.with_suffix(".sha256"), _sha256(data))


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
