"""Text to token ids and back: characters, bytes, byte-pair encoding, GPT-2 and BERT.

Ids are int64 in [0, vocab_size). `encode` gives no special tokens, whatever the text; whoever packs sequences adds
them, with `bos_id`, `eos_id` and `separator_id` (None where a tokenizer has no such token).
"""

from __future__ import annotations

import hashlib
import json
import re
import string
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64, Integer

from uddm.files import as_path, read_json, read_text, to_json, write_atomically

if TYPE_CHECKING:
    import tokenizers

    from uddm.corpora.corpus import Corpus

LETTERS = " " + string.ascii_lowercase
END_OF_TEXT = "<|endoftext|>"

_PIECE = 2**14  # characters
_BEFORE_SPACE = re.compile(r"(?<=[\w!-~])(?= )")  # after what is no white space, by anybody's definition


class Tokenizer(ABC):
    """What every tokenizer offers.

    Attributes
    ----------
    vocab_size : K; all ids are in [0, K)
    bos_id, eos_id : ids that open and close a packed sequence, or None
    separator_id : id put between two documents, or None

    Examples
    --------
    >>> import numpy as np
    >>> from uddm.corpora import Tokenizer
    >>> class Digits(Tokenizer):
    ...     vocab_size = 10
    ...     def encode(self, text):
    ...         return np.array([int(c) for c in text if c in "0123456789"], np.int64)
    ...     def decode(self, ids): return "".join(str(i) for i in ids)
    ...     def definition(self):
    ...         return {"type": "digits"}
    >>> Digits().decode(Digits().encode("3.14")), [ids.tolist() for ids in Digits().encode_batch(["31", "4"])]
    ('314', [[3, 1], [4]])
    """

    vocab_size: int
    bos_id: int | None = None
    eos_id: int | None = None
    separator_id: int | None = None

    @abstractmethod
    def encode(self, text: str) -> Int64[np.ndarray, " n"]:
        """Token ids of `text`, shape (n,), int64, without special tokens."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | Integer[np.ndarray, " n"]) -> str:
        """The text of `ids`, shape (n,).

        Raises
        ------
        TypeError : masked ids, or what is no array
        ValueError : ids outside [0, vocab_size), or of another shape
        """

    @abstractmethod
    def definition(self) -> dict[str, Any]:
        """Everything that determines the ids, as a JSON object with a "type"."""

    def encode_batch(self, texts: Sequence[str]) -> list[Int64[np.ndarray, " _"]]:
        """`encode` of each of the `texts`."""
        return [self.encode(text) for text in texts]

    def encode_pieces(self, text: str) -> Iterator[Int64[np.ndarray, " _"]]:
        """The ids of `encode` of `text` in consecutive pieces; in bounded memory for the tokenizers that say so."""
        yield self.encode(text)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the sha256 of the definition: equal fingerprints, equal ids."""
        canonical = json.dumps(self.definition(), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def save(self, path: str | Path) -> None:
        """Write the definition as one JSON file at `path`, which `load_tokenizer` reads back."""
        write_atomically(as_path("path", path), to_json(self.definition()))

    def _checked(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        from uddm._validation import check_array

        ids = check_array("ids", ids).astype(np.int64)
        if ids.ndim != 1:
            raise ValueError(f"`ids` must have shape (n,), got {ids.shape}")
        if ids.size and (ids.min() < 0 or ids.max() >= self.vocab_size):
            raise ValueError(f"`ids` must be in [0, {self.vocab_size}), got ids in [{ids.min()}, {ids.max()}]")
        return ids


class CharacterTokenizer(Tokenizer):
    """One token per character; without arguments, the 26 lower-case letters and the space.

    Text is normalised first: white space outside the alphabet becomes a space, any other character
    outside it becomes `replacement`, and runs of spaces become one. Then decode(encode(text)) equals
    the normalised text, and encoding that again gives the same ids. The space separates documents.
    `encode_pieces` needs little memory, unless `lowercase` meets long text without spaces: the case of the Greek
    letter sigma depends on the word.

    Parameters
    ----------
    alphabet : distinct characters, the space among them; the id of a character is its index; default `LETTERS`
    lowercase : whether to fold accents (NFKD without combining marks) and lower-case first; default True
    replacement : a character of the alphabet; default the space

    Raises
    ------
    ValueError : an alphabet with repeats, without the space or without the replacement

    Examples
    --------
    >>> from uddm.corpora import CharacterTokenizer
    >>> letters = CharacterTokenizer()
    >>> letters.vocab_size, letters.encode("A  bee!").tolist(), letters.decode([3, 1, 2])
    (27, [1, 0, 2, 5, 5, 0], 'cab')
    """

    def __init__(self, alphabet: str = LETTERS, *, lowercase: bool = True, replacement: str = " "):
        if len(set(alphabet)) != len(alphabet):
            raise ValueError("`alphabet` must not repeat a character")
        if " " not in alphabet or len(replacement) != 1 or replacement not in alphabet:
            raise ValueError("`alphabet` must contain the space and the one-character replacement")
        self.alphabet = alphabet
        self.lowercase = lowercase
        self.replacement = replacement
        self.vocab_size = len(alphabet)
        self.separator_id = alphabet.index(" ")
        self._ids = {character: i for i, character in enumerate(alphabet)}

    @classmethod
    def train(cls, texts: str | Iterable[str], vocab_size: int, *, lowercase: bool = False) -> CharacterTokenizer:
        """Alphabet of the space, the most frequent characters of a text or of several, and U+FFFD, which replaces all
        others.

        Parameters
        ----------
        texts : one or several
        vocab_size : K >= 2, at most 2 + the number of distinct characters in the texts
        lowercase : whether to fold accents and lower-case first; default False

        Raises
        ------
        ValueError : `vocab_size` is out of range
        """
        counts = Counter()
        for text in (texts,) if isinstance(texts, str) else texts:
            for piece in _pieces(text):
                counts.update(_fold(piece) if lowercase else piece)
        counts = {c: n for c, n in counts.items() if not c.isspace() and c != "\ufffd"}
        if not 2 <= vocab_size <= len(counts) + 2:
            raise ValueError(
                f"`vocab_size` must be in [2, {len(counts) + 2}] for a text of {len(counts)} distinct "
                f"characters, got {vocab_size}"
            )
        by_frequency = sorted(counts, key=lambda c: (-counts[c], c))
        alphabet = " " + "".join(by_frequency[: vocab_size - 2]) + "\ufffd"
        return cls(alphabet, lowercase=lowercase, replacement="\ufffd")

    def encode(self, text: str) -> Int64[np.ndarray, " n"]:
        if self.lowercase:
            text = _fold(text)
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
        distinct, inverse = np.unique(points, return_inverse=True)
        ids = np.array([self._id(chr(point)) for point in distinct], dtype=np.int64)[inverse]
        space = ids == self.separator_id
        return ids[~(space & np.r_[False, space[:-1]])]

    def encode_pieces(self, text: str) -> Iterator[Int64[np.ndarray, " _"]]:
        after_space = False
        for piece in _pieces(text, anywhere=not self.lowercase):
            ids = self.encode(piece)
            if ids.size:
                yield ids[int(after_space and ids[0] == self.separator_id) :]
                after_space = bool(ids[-1] == self.separator_id)

    def _id(self, character: str) -> int:
        if character in self._ids:
            return self._ids[character]
        return self._ids[" " if character.isspace() else self.replacement]

    def decode(self, ids: Sequence[int] | Integer[np.ndarray, " n"]) -> str:
        return "".join(self.alphabet[i] for i in self._checked(ids))

    def definition(self) -> dict[str, Any]:
        return {
            "type": "character",
            "alphabet": self.alphabet,
            "lowercase": self.lowercase,
            "replacement": self.replacement,
        }


def _pieces(text: str, *, anywhere: bool = False) -> Iterator[str]:
    """A text cut after some 2**14 characters each, in front of a space that follows a word, or `anywhere`."""
    start = 0
    while len(text) - start > _PIECE:
        stop = start + _PIECE
        if not anywhere:
            space = _BEFORE_SPACE.search(text, stop)
            stop = len(text) if space is None else space.start()
        yield text[start:stop]
        start = stop
    yield text[start:]


def _fold(text: str) -> str:
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return text.lower()


class ByteTokenizer(Tokenizer):
    """The 256 bytes of UTF-8; a newline separates documents. Ids that are not UTF-8 decode to U+FFFD.

    `encode_pieces` needs little memory.

    Examples
    --------
    >>> from uddm.corpora import ByteTokenizer
    >>> ByteTokenizer().encode("née").tolist(), ByteTokenizer().decode([104, 105])
    ([110, 195, 169, 101], 'hi')
    """

    vocab_size = 256
    separator_id = 10

    def encode(self, text: str) -> Int64[np.ndarray, " n"]:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)

    def encode_pieces(self, text: str) -> Iterator[Int64[np.ndarray, " _"]]:
        return map(self.encode, _pieces(text, anywhere=True))

    def decode(self, ids: Sequence[int] | Integer[np.ndarray, " n"]) -> str:
        return self._checked(ids).astype(np.uint8).tobytes().decode(errors="replace")

    def definition(self) -> dict[str, Any]:
        return {"type": "byte"}


class SubwordTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library, with the names of its special tokens.

    Where it cuts texts into words as GPT-2 or BERT do, `encode_pieces` needs little memory for text with spaces;
    otherwise as much as `encode`, up to 200 bytes a character.

    Parameters
    ----------
    backend : the library's tokenizer, which is taken over: it neither truncates nor pads from now on, and the name of
        a special token that stands in a text is text
    bos, eos, separator : special tokens of its vocabulary

    Raises
    ------
    ValueError : a vocabulary whose ids are not 0, 1, ..., K - 1, a special token that it lacks, or one that is the
        token of an ordinary text

    Examples
    --------
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> from uddm.corpora import SubwordTokenizer
    >>> backend = Tokenizer(models.WordLevel({"?": 0, "to": 1, "be": 2, "<end>": 3}, unk_token="?"))
    >>> backend.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> words = SubwordTokenizer(backend, bos="<end>", eos="<end>", separator="<end>")
    >>> words.encode("to be or").tolist(), words.separator_id, words.decode([1, 2])
    ([1, 2, 0], 3, 'to be')
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, bos: str, eos: str, separator: str):
        _check_vocabulary(backend.get_vocab())
        for token in (bos, eos, separator):
            if backend.token_to_id(token) is None:
                raise ValueError(f"special token {token!r} is not in the vocabulary")
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self.backend = backend
        self.special = {"bos": bos, "eos": eos, "separator": separator}
        self.vocab_size = backend.get_vocab_size()
        self.bos_id = backend.token_to_id(bos)
        self.eos_id = backend.token_to_id(eos)
        self.separator_id = backend.token_to_id(separator)
        for token in (bos, eos, separator):
            if not {self.bos_id, self.eos_id, self.separator_id}.isdisjoint(self.encode(token).tolist()):
                raise ValueError(f"the text {token!r} would be encoded as a special token: mark it as special")

    def encode(self, text: str) -> Int64[np.ndarray, " n"]:
        return np.array(self.backend.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def encode_batch(self, texts: Sequence[str]) -> list[Int64[np.ndarray, " _"]]:
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]

    def encode_pieces(self, text: str) -> Iterator[Int64[np.ndarray, " _"]]:
        return map(self.encode, _pieces(text) if _cuts_at_spaces(self.backend) else (text,))

    def decode(self, ids: Sequence[int] | Integer[np.ndarray, " n"]) -> str:
        return self.backend.decode(self._checked(ids).tolist(), skip_special_tokens=False)

    def definition(self) -> dict[str, Any]:
        return {
            "type": "subword",
            "special": self.special,
            "encode_special_tokens": True,  # else texts with special tokens would have other ids
            "tokenizer": json.loads(self.backend.to_str()),
        }


def _cuts_at_spaces(backend: tokenizers.Tokenizer) -> bool:
    """Whether no token, nor the normal form of a word, depends on what is on the other side of a cut of `_pieces`."""
    from tokenizers import normalizers, pre_tokenizers

    words, normalizer = backend.pre_tokenizer, backend.normalizer
    gpt2 = isinstance(words, pre_tokenizers.ByteLevel) and words.use_regex and not words.add_prefix_space
    bert = isinstance(words, pre_tokenizers.BertPreTokenizer) and isinstance(normalizer, normalizers.BertNormalizer)
    only_special = all(token.special for token in backend.get_added_tokens_decoder().values())
    return only_special and (bert or (gpt2 and normalizer is None))


def _check_vocabulary(ids: dict[str, int]) -> None:
    """ValueError unless the ids of K tokens are 0, 1, ..., K - 1, which bound those of every text."""
    token_of: dict[int, str] = {}
    for token, i in ids.items():
        if not 0 <= i < len(ids):
            raise ValueError(f"token {token!r} has id {i}, but {len(ids)} tokens must have the ids 0 to {len(ids) - 1}")
        if i in token_of:
            raise ValueError(f"the tokens {token_of[i]!r} and {token!r} both have the id {i}")
        token_of[i] = token


def train_bpe(texts: Iterable[str], vocab_size: int) -> SubwordTokenizer:
    """Byte-level byte-pair encoding learnt from texts, with `<|endoftext|>` as the only special token.

    Parameters
    ----------
    texts : to learn from
    vocab_size : K >= 257, the bytes and the special token

    Raises
    ------
    ValueError : `vocab_size` is out of range, or the texts are too short for that many tokens
    """
    if vocab_size < 257:
        raise ValueError(f"`vocab_size` must be at least 257 for byte-level BPE, got {vocab_size}")
    from tokenizers import pre_tokenizers, trainers

    backend = _byte_level_bpe()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((piece for text in texts for piece in _pieces(text)), trainer)
    if backend.get_vocab_size() < vocab_size:
        raise ValueError(f"`vocab_size` must be at most {backend.get_vocab_size()} for these texts, got {vocab_size}")
    return SubwordTokenizer(backend, bos=END_OF_TEXT, eos=END_OF_TEXT, separator=END_OF_TEXT)


def gpt2_tokenizer(encoder_json: str | Path, vocab_bpe: str | Path, *, pad_token: bool = True) -> SubwordTokenizer:
    """The GPT-2 tokenizer from its published files; `<|endoftext|>` (50256) opens, closes and separates.

    Parameters
    ----------
    encoder_json, vocab_bpe : paths of the vocabulary and of the merges
    pad_token : whether the vocabulary ends with an unused `[PAD]`, K = 50258, as in published uniform diffusion
        models, the default; without it K = 50257

    Raises
    ------
    FileNotFoundError, ValueError : naming the file that is missing or something else
    """
    vocabulary = _read_vocabulary(encoder_json)
    merges = [
        tuple(line.split())
        for line in read_text(vocab_bpe).split("\n")
        if line.strip() and not line.startswith("#version")
    ]
    try:
        backend = _byte_level_bpe(vocabulary, merges)
        backend.add_special_tokens([END_OF_TEXT, "[PAD]"] if pad_token else [END_OF_TEXT])
        return SubwordTokenizer(backend, bos=END_OF_TEXT, eos=END_OF_TEXT, separator=END_OF_TEXT)
    except Exception as error:
        raise ValueError(f"{encoder_json} and {vocab_bpe} do not define a BPE tokenizer: {error}") from error


def _read_vocabulary(path: str | Path) -> dict[str, int]:
    """Tokens and their ids from a JSON object, which may well hold a token "checksum"."""
    try:
        vocabulary = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(vocabulary, dict) or not all(type(i) is int for i in vocabulary.values()):
        raise ValueError(f"{path} must hold a JSON object of tokens and their ids")
    return vocabulary


def _byte_level_bpe(
    vocabulary: dict[str, int] | None = None, merges: list[tuple[str, ...]] | None = None
) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    backend = Backend(models.BPE(vocab=vocabulary, merges=merges))  # type: ignore[arg-type]
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def bert_tokenizer(vocab_txt: str | Path, *, separator: str = "[SEP]") -> SubwordTokenizer:
    """The uncased BERT WordPiece tokenizer from its `vocab.txt` (K = 30522 for bert-base-uncased).

    `[CLS]` (101) opens and `[SEP]` (102) closes a sequence.

    Parameters
    ----------
    vocab_txt : path of the vocabulary, a token a line
    separator : a token of it, put between two documents; default "[SEP]". Published uniform diffusion models were
        trained with sentences separated by "[CLS]", with which text is packed as they saw it.

    Raises
    ------
    FileNotFoundError, ValueError : naming the file that is missing or something else
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    vocabulary: dict[str, int] = {}
    for i, token in enumerate(read_text(vocab_txt).rstrip("\n").split("\n")):
        if not token or token in vocabulary:
            what = f"repeats the token {token!r} of line {vocabulary[token] + 1}" if token else "is empty"
            raise ValueError(f"{vocab_txt}, line {i + 1}, {what}: each line must be the token whose id is its number")
        vocabulary[token] = i
    missing = {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"} - vocabulary.keys()
    if missing:
        raise ValueError(f"{vocab_txt} is not a BERT vocabulary: it lacks {', '.join(sorted(missing))}")
    backend = Backend(models.WordPiece(vocabulary, unk_token="[UNK]"))  # type: ignore[call-arg]
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    try:
        return SubwordTokenizer(backend, bos="[CLS]", eos="[SEP]", separator=separator)
    except ValueError as error:
        raise ValueError(f"{vocab_txt}: {error}") from error


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read back what `Tokenizer.save` wrote at `path`.

    Raises
    ------
    FileNotFoundError, ValueError : naming the file that is missing, damaged or something else
    """
    definition = read_json(path)
    try:
        match definition:
            case {"type": "character", "alphabet": str(alphabet), **options}:
                return CharacterTokenizer(alphabet, **options)
            case {"type": "byte"}:
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
    path : our `tokenizer.json`; that of the `tokenizers` library, if it has the special tokens of BERT or GPT-2;
        BERT's `vocab.txt`; GPT-2's `encoder.json` and `vocab.bpe`, also called `vocab.json` and `merges.txt`; or a
        folder with one of these
    bert_separator : the separator of BERT's tokens, see `bert_tokenizer`; default "[SEP]"

    Raises
    ------
    FileNotFoundError, ValueError : naming the file, for anything else
    """
    path = as_path("path", path)
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


def _of_the_library(path: Path, definition: dict[str, Any], bert_separator: str) -> SubwordTokenizer:
    """The tokenizer of a file of the `tokenizers` library, with special tokens as BERT or GPT-2 call them."""
    bert = {"bos": "[CLS]", "eos": "[SEP]", "separator": bert_separator}
    try:
        backend = _backend(definition)
        for special in (bert, dict.fromkeys(bert, END_OF_TEXT)):
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
    kind, _, argument = name.partition(":")
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
    raise ValueError(f"`tokenizer` must be one of {TOKENIZER_FORMS}; got {name!r}")
