"""Text to token ids and back: what every tokenizer offers; characters and bytes.

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
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer

from uddm._validation import check_array, check_flag, check_iterable, check_positive_int, check_text, check_utf8
from uddm.files import as_path, to_json, write_atomically

LETTERS = " " + string.ascii_lowercase

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
        return [self.encode(check_text("texts", text)) for text in check_iterable("texts", texts)]

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
        ids = check_array("ids", ids)
        if ids.size and ids.dtype.kind not in "iu":
            raise TypeError(f"`ids` must hold integers, got dtype {ids.dtype}")
        ids = ids.astype(np.int64)
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
        check_text("alphabet", alphabet)
        check_text("replacement", replacement)
        check_flag("lowercase", lowercase)
        if len(set(alphabet)) != len(alphabet):
            raise ValueError("`alphabet` must not repeat a character")
        if " " not in alphabet or len(replacement) != 1 or replacement not in alphabet:
            raise ValueError("`alphabet` must contain the space and the one-character replacement")
        self.alphabet = alphabet
        self.lowercase = lowercase
        self.replacement = replacement
        self.vocab_size = len(alphabet)
        self.separator_id = alphabet.index(" ")
        self._table = _Table(alphabet, replacement)

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
        vocab_size, lowercase = check_positive_int("vocab_size", vocab_size), check_flag("lowercase", lowercase)
        counts = Counter()
        for text in (texts,) if isinstance(texts, str) else check_iterable("texts", texts):
            for piece in pieces(check_text("texts", text)):
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
        check_text("text", text)
        if self.lowercase:
            text = _fold(text)
        points = text.translate(self._table).encode("utf-32-le", "surrogatepass")
        ids = np.frombuffer(points, dtype="<u4").astype(np.int64)
        space, kept = ids == self.separator_id, np.ones(ids.size, dtype=bool)
        kept[1:] = ~(space[1:] & space[:-1])
        return ids[kept]

    def encode_pieces(self, text: str) -> Iterator[Int64[np.ndarray, " _"]]:
        check_text("text", text)
        after_space = False
        for piece in pieces(text, anywhere=not self.lowercase):
            ids = self.encode(piece)
            if ids.size:
                yield ids[int(after_space and ids[0] == self.separator_id) :]
                after_space = bool(ids[-1] == self.separator_id)

    def decode(self, ids: Sequence[int] | Integer[np.ndarray, " n"]) -> str:
        return "".join(self.alphabet[i] for i in self._checked(ids))

    def definition(self) -> dict[str, Any]:
        return {
            "type": "character",
            "alphabet": self.alphabet,
            "lowercase": self.lowercase,
            "replacement": self.replacement,
        }


class _Table(dict[int, int]):
    """For `str.translate`: from code points to ids, those of characters outside of the alphabet as they come."""

    def __init__(self, alphabet: str, replacement: str):
        super().__init__({ord(character): i for i, character in enumerate(alphabet)})
        self._space, self._replacement = self[ord(" ")], self[ord(replacement)]

    def __missing__(self, point: int) -> int:
        found = self._space if chr(point).isspace() else self._replacement
        self[point] = found
        return found


def pieces(text: str, *, anywhere: bool = False) -> Iterator[str]:
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
        return np.frombuffer(check_utf8("text", text), dtype=np.uint8).astype(np.int64)

    def encode_pieces(self, text: str) -> Iterator[Int64[np.ndarray, " _"]]:
        return map(self.encode, pieces(check_text("text", text), anywhere=True))

    def decode(self, ids: Sequence[int] | Integer[np.ndarray, " n"]) -> str:
        return self._checked(ids).astype(np.uint8).tobytes().decode(errors="replace")

    def definition(self) -> dict[str, Any]:
        return {"type": "byte"}
