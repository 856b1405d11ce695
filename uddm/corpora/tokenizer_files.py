"""Tokenizers from files of any kind that we know, and from the words of a command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uddm._validation import check_kind, check_text
from uddm.corpora.corpus import Corpus
from uddm.corpora.subwords import END_OF_TEXT, SubwordTokenizer, bert_tokenizer, gpt2_tokenizer, train_bpe
from uddm.corpora.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer
from uddm.files import as_path, read_json

if TYPE_CHECKING:
    import tokenizers


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read back what `Tokenizer.save` wrote at `path`.

    Raises
    ------
    FileNotFoundError, ValueError : naming the file that is missing, damaged or something else
    """
    path = as_path("path", path)
    definition = read_json(path)
    try:
        match definition:
            case {"type": "character", "alphabet": str(alphabet), **options}:
                return CharacterTokenizer(alphabet, **options)
            case {"type": "byte", **others} if not others:
                return ByteTokenizer()
            case {"type": "subword", "special": dict(special), "tokenizer": dict(backend)}:
                return SubwordTokenizer(_backend(backend), **special)
    except Exception as error:
        raise ValueError(f"{path} is not a tokenizer file: {error}") from error
    if _is_of_the_library(definition):
        raise ValueError(f"{path} is a file of the `tokenizers` library, which `read_tokenizer` reads")
    raise ValueError(f"{path} is not a tokenizer file")


_GPT2_FILES = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))


def read_tokenizer(path: str | Path, *, bert_separator: str = "[SEP]") -> Tokenizer:
    """The tokenizer in a file or folder of any kind that we know.

    Parameters
    ----------
    path : our `tokenizer.json`; that of the `tokenizers` library, if it has the special tokens of BERT, GPT-2, RoBERTa
        or Gemma; BERT's `vocab.txt`; GPT-2's `encoder.json` and `vocab.bpe`, also called `vocab.json` and `merges.txt`;
        or a folder with one of these
    bert_separator : the separator of BERT's tokens, see `bert_tokenizer`; default "[SEP]"

    Raises
    ------
    FileNotFoundError, ValueError : naming the file, for anything else
    """
    path, bert_separator = as_path("path", path), check_text("bert_separator", bert_separator)
    if path.is_dir():
        files = [path / name for name in ("vocab.txt", *(names[0] for names in _GPT2_FILES), "tokenizer.json")]
        path = next(filter(Path.exists, files), path)
        if path.is_dir():
            raise FileNotFoundError(f"folder {path} holds none of {', '.join(file.name for file in files)}")
    for names in _GPT2_FILES:
        if path.name in names:
            return gpt2_tokenizer(*(path.with_name(name) for name in names))
    if path.suffix == ".txt":
        return bert_tokenizer(path, separator=bert_separator)
    definition = read_json(path)
    return _of_the_library(path, definition, bert_separator) if _is_of_the_library(definition) else load_tokenizer(path)


def _is_of_the_library(definition: dict[str, Any]) -> bool:
    return "type" not in definition and {"model", "added_tokens"} <= definition.keys()


# of RoBERTa, ESM and Gemma
_OTHERS = [
    {"bos": first, "eos": last, "separator": last}
    for first, last in (("<s>", "</s>"), ("<cls>", "<eos>"), ("<bos>", "<eos>"))
]


def _of_the_library(path: Path, definition: dict[str, Any], bert_separator: str) -> SubwordTokenizer:
    """The tokenizer of a file of the `tokenizers` library, with special tokens by a name that we know."""
    bert = {"bos": "[CLS]", "eos": "[SEP]", "separator": bert_separator}
    try:
        backend = _backend(definition)
        for special in (bert, dict.fromkeys(bert, END_OF_TEXT), *_OTHERS):
            if all(backend.token_to_id(token) is not None for token in special.values()):
                return SubwordTokenizer(backend, **special)
    except Exception as error:
        raise ValueError(f"{path}: {error}") from error
    raise ValueError(
        f"{path} is a file of the `tokenizers` library without [CLS] and [SEP] or {END_OF_TEXT}: say which tokens "
        "open, close and separate, SubwordTokenizer(Tokenizer.from_file(FILE), bos=..., eos=..., separator=...), "
        "and give the file to which its `save` writes"
    )


def _backend(definition: dict[str, Any]) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer as Backend

    return Backend.from_str(json.dumps(definition))


TOKENIZER_FORMS = "letters, characters:K, bytes, bpe:K, gpt2:FOLDER, bert:VOCAB_FILE, or a tokenizer file or folder"


def tokenizer_from_name(name: str, corpus: Corpus) -> Tokenizer:
    """The tokenizer that a command-line word names:

    letters          26 lower-case letters and the space, K = 27
    characters:K     the most frequent characters of the corpus
    bytes            K = 256
    bpe:K            byte-level BPE trained on the corpus
    gpt2:FOLDER      GPT-2 from FOLDER/encoder.json and vocab.bpe, or vocab.json and merges.txt, K = 50258
    bert:VOCAB_FILE  BERT WordPiece from its vocab.txt
    FILE or FOLDER   anything that `read_tokenizer` reads, such as a saved tokenizer.json

    Parameters
    ----------
    name : one of these
    corpus : to learn from, where something is learnt

    Raises
    ------
    FileNotFoundError : a file that is named is missing
    ValueError : anything else, listing these forms; or a file or a number K that is not of this kind

    Examples
    --------
    >>> from uddm.corpora import Corpus, tokenizer_from_name
    >>> corpus = Corpus("song", ["la la la", "do re mi"])
    >>> [tokenizer_from_name(name, corpus).vocab_size for name in ("letters", "characters:4", "bytes")]
    [27, 4, 256]
    """
    check_kind("corpus", corpus, Corpus)
    kind, _, argument = check_text("name", name).partition(":")
    match kind:
        case "letters" if not argument:
            return CharacterTokenizer()
        case "bytes" if not argument:
            return ByteTokenizer()
        case "characters" if argument.isdecimal():
            return CharacterTokenizer.train(corpus.documents, int(argument))
        case "bpe" if argument.isdecimal():
            return train_bpe(corpus.documents, int(argument))
        case "gpt2" if argument:
            pairs = [[Path(argument) / name for name in names] for names in _GPT2_FILES]
            return gpt2_tokenizer(*next((pair for pair in pairs if pair[0].exists()), pairs[0]))
        case "bert" if argument:
            return bert_tokenizer(argument)
        case _ if name and (name.endswith((".json", ".txt")) or Path(name).exists()):
            return read_tokenizer(name)
    raise ValueError(f"`name` must be that of a tokenizer, one of {TOKENIZER_FORMS}; got {name!r}")
