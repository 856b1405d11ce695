"""The One Billion Word Benchmark (LM1B; Chelba et al., arXiv 1312.3005), read from its published tarball or shards."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Literal

from uddm._validation import check_choice, check_text
from uddm.corpora.corpus import Corpus, Format, Shards, Source, check_regular, files_in, is_tarball
from uddm.files import UnreadableFile, as_path

TARBALLS = (".tar.gz", ".tgz", ".tar")
SHARDS = {
    "train": re.compile(r"news\.en-(?!00000-)\d{5}-of-\d{5}"),
    "test": re.compile(r"news\.en\.heldout-\d{5}-of-\d{5}"),
}
"""Names of the shards. 00000-of-00100 is no training shard: the 50 held-out ones are cut from it."""

_RULES = [
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

    Parameters
    ----------
    sentence : words and punctuation with spaces between
    """
    check_text("sentence", sentence)
    for pattern, replacement in _RULES:
        sentence = pattern.sub(replacement, sentence)
    return sentence


def _sentences(lines: Iterable[str]) -> Iterator[str]:
    return (line.removesuffix("\n") for line in lines if line.strip())


_rules = hashlib.sha256(repr([(pattern.pattern, text) for pattern, text in _RULES]).encode()).hexdigest()[:8]
SENTENCES = Format(f"lm1b {_rules}", _sentences, lm1b_detokenize)
"""One sentence a line, tokenized: each is a document, passed through `lm1b_detokenize`."""


def load_lm1b(path: str | Path, split: Literal["train", "test"] = "train") -> Corpus:
    """LM1B, one document a sentence, read from disk as it is needed: never unpacked, never all in memory.

    Parameters
    ----------
    path : the tarball `1-billion-word-language-modeling-benchmark-r13output.tar.gz`, unzipped or not, or a folder
        with shards somewhere in it, behind links, too. Shards that a folder lacks are told on stderr.
    split : "train", the default, the shards `news.en-00001-of-00100` to `-00099-` (30,301,028 sentences), or "test",
        all 50 shards `news.en.heldout-*` (306,688 sentences), as in TFDS and the Hugging Face hub. Perplexities in the
        tradition of Chelba et al. are measured on the first of these only: load_corpus of that one file.

    Returns
    -------
    Corpus; a tarball is read when its documents are, with the errors of `uddm.corpora.corpus.Shards`

    Raises
    ------
    FileNotFoundError : there is nothing at `path`
    ValueError : another split, another kind of file, or a folder without shards of that split or with two of one name
    """
    check_choice("split", split, SHARDS)
    path, name = as_path("path", path), f"LM1B {split}"
    if not path.exists():
        raise FileNotFoundError(f"LM1B {path} does not exist; give its tarball or a folder of its shards")
    if not path.is_dir():
        check_regular(path)
        if not path.name.endswith(TARBALLS) and not is_tarball(path):
            raise ValueError(f"LM1B {path} is neither a folder nor a tarball ({', '.join(TARBALLS)})")
        return Corpus(name, Shards([Source(path, SENTENCES, SHARDS[split])]))
    shards = [file for file in files_in(path) if SHARDS[split].fullmatch(file.name)]
    if not shards:
        raise UnreadableFile(f"folder {path} holds no {split} shard of LM1B, named like {SHARDS[split].pattern}")
    check_shards(path, shards, split)
    return Corpus(name, Shards([Source(file, SENTENCES) for file in sorted(shards, key=lambda file: file.name)]))


def lm1b_test(paths: Sequence[str]) -> Corpus | None:
    """LM1B's own test set, where the corpus at `paths` is LM1B with its training shards; elsewhere None, to hold out
    documents."""
    if len(paths) != 1 or not Path(paths[0]).exists():
        return None
    try:
        load_lm1b(paths[0], "train")
    except ValueError:
        return None
    return load_lm1b(paths[0], "test")


def check_shards(folder: Path, shards: Iterable[Path], split: Literal["train", "test"]) -> None:
    """ValueError if two shards have one name; and a line on stderr if some are missing."""
    names = sorted(shard.name for shard in shards if SHARDS[split].fullmatch(shard.name))
    for name, following in pairwise(names):
        if name == following:
            raise ValueError(f"{folder} holds more than one file {name}")
    first, total = int(split == "train"), max(int(name[-5:]) for name in names)
    if missing := sorted(set(range(first, total)) - {int(name[-14:-9]) for name in names}):
        runs = [[n for _, n in run] for _, run in groupby(enumerate(missing), key=lambda entry: entry[1] - entry[0])]
        numbers = ", ".join(f"{run[0]:05}" + (f" to {run[-1]:05}" if len(run) > 1 else "") for run in runs)
        print(f"{folder} lacks {len(missing)} of {total - first} {split} shards of LM1B: {numbers}", file=sys.stderr)
