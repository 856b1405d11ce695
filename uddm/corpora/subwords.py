"""Tokens that are words or parts of words, by the `tokenizers` library: byte-pair encoding, GPT-2 and BERT."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64, Integer

from uddm._validation import check_flag, check_iterable, check_positive_int, check_text, check_utf8
from uddm.corpora.tokenizers import Tokenizer, pieces
from uddm.files import as_path, read_text

if TYPE_CHECKING:
    import tokenizers

END_OF_TEXT = "<|endoftext|>"


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
        if not hasattr(backend, "get_vocab"):
            raise TypeError(f"`backend` must be a tokenizers.Tokenizer, got {type(backend).__name__}")
        _check_vocabulary(backend.get_vocab())
        for name, token in (("bos", bos), ("eos", eos), ("separator", separator)):
            if backend.token_to_id(check_utf8(name, token).decode()) is None:
                raise ValueError(f"`{name}` must be a token: special token {token!r} is not in the vocabulary")
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self.backend = backend
        self.special = {"bos": bos, "eos": eos, "separator": separator}
        self.vocab_size = backend.get_vocab_size()
        self.bos_id = backend.token_to_id(bos)
        self.eos_id = backend.token_to_id(eos)
        self.separator_id = backend.token_to_id(separator)
        for name, token in (("bos", bos), ("eos", eos), ("separator", separator)):
            if not {self.bos_id, self.eos_id, self.separator_id}.isdisjoint(self.encode(token).tolist()):
                raise ValueError(
                    f"`{name}`: the text {token!r} would be encoded as a special token: mark it as special"
                )

    def encode(self, text: str) -> Int64[np.ndarray, " n"]:
        return np.array(
            self.backend.encode(check_utf8("text", text).decode(), add_special_tokens=False).ids, dtype=np.int64
        )

    def encode_batch(self, texts: Sequence[str]) -> list[Int64[np.ndarray, " _"]]:
        encodings = self.backend.encode_batch_fast(
            [check_utf8("texts", t).decode() for t in check_iterable("texts", texts)], add_special_tokens=False
        )
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]

    def encode_pieces(self, text: str) -> Iterator[Int64[np.ndarray, " _"]]:
        check_text("text", text)
        return map(self.encode, pieces(text) if _cuts_at_spaces(self.backend) else (text,))

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
    """Whether no token, nor the normal form of a word, depends on what is on the other side of a cut of `pieces`."""
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
    vocab_size : K in [257, 2^20], the bytes and the special token

    Raises
    ------
    ValueError : `vocab_size` is out of range, or the texts are too short for that many tokens
    """
    if not 257 <= check_positive_int("vocab_size", vocab_size) <= 2**20:  # for which memory is taken beforehand
        raise ValueError(f"`vocab_size` must be at least 257 for byte-level BPE, and at most 2^20, got {vocab_size}")
    check_iterable("texts", texts)
    from tokenizers import pre_tokenizers, trainers

    backend = _byte_level_bpe()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((piece for text in texts for piece in pieces(check_text("texts", text))), trainer)
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
    encoder_json, vocab_bpe = as_path("encoder_json", encoder_json), as_path("vocab_bpe", vocab_bpe)
    check_flag("pad_token", pad_token)
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
    text = read_text(path)
    try:
        vocabulary = json.loads(text)
    except (ValueError, RecursionError) as error:
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

    vocab_txt, separator = as_path("vocab_txt", vocab_txt), check_utf8("separator", separator).decode()
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
