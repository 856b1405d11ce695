"""From names to corpora: documentation of the running Python, text files, LM1B."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from uddm.corpora import documentation
from uddm.corpora.corpus import PARAGRAPHS, Corpus, Shards, Source
from uddm.corpora.lm1b import SENTENCES, SHARDS, TARBALLS
from uddm.files import default_cache_dir, write_atomically


def load_corpus(spec: str | Path | Sequence[str | Path]) -> Corpus:
    """The corpus that `spec` names: "python-docs", or one or more UTF-8 text files, folders of them, LM1B tarballs.

    Blank lines separate the documents of a file. LM1B shards (files called `news.en*`) hold one sentence
    a line: each is a document, passed through `lm1b_detokenize`. Folders are read recursively in sorted
    order, without hidden files. A `.tar.gz` or `.tgz` is the LM1B tarball and gives its training shards; so does a
    folder with training shards, which leaves out the held-out ones beside them (`load_lm1b` gives these).

    Documents are not kept in memory, but read from the files whenever they are iterated.

    Raises FileNotFoundError for a missing path, ValueError for JSON, text that is not UTF-8 (on reading it) or an
    empty corpus.
    """
    names = [spec] if isinstance(spec, str | Path) else list(spec)
    if names == ["python-docs"]:
        return documentation_text()
    paths = [Path(name) for name in names]
    if not paths:
        raise ValueError("`corpus` must name at least one file or folder")
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
    return Corpus(name, Shards([source for path in paths for source in _sources(path)]))


def _sources(path: Path) -> Iterator[Source]:
    if not path.exists():
        raise FileNotFoundError(f"corpus {path} does not exist; give a file, a folder, or python-docs")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        files = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        if any(SHARDS["train"].fullmatch(file.name) for file in files):
            files = [file for file in files if not _held_out(file)]
    for file in files:
        if file.suffix in (".json", ".jsonl"):
            raise ValueError(f"corpus file {file} is JSON; write its texts to a text file, with blank lines between")
        if file.name.endswith(TARBALLS):
            yield Source(file, SENTENCES, SHARDS["train"])
        else:
            yield Source(file, SENTENCES if file.name.startswith("news.en") else PARAGRAPHS)


def _held_out(shard: Path) -> bool:
    return shard.name.startswith("news.en") and not SHARDS["train"].fullmatch(shard.name)


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
