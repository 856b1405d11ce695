"""How improbable a text is to a model: bounds on -log p of documents and of their tokens, and the rates made of them.

A document is cut as in training: its tokens are ended by the separator ("stream"), or ended by it and cut into pieces
between BOS and EOS ("sentences"); these special tokens are scored like any other. Windows have the length L of the
model. The last one reaches back: it ends with the document, and of its tokens only those that are new are scored,
given the others, which stay clean (`uddm.objective.token_bound`). A document that is shorter than a window is scored at
its own length by a network that takes any (`Denoiser.any_length`), and not at all by another. With B the bound on
-log p of a document, in nats, its sum over windows:

    nats per token = B / scored tokens,            perplexity = exp(nats per token),
    bits per byte = B / (log 2 * bytes),           bits per word = B / (log 2 * words),

bytes being those of its text in UTF-8, and words what white space separates. Where a tokenizer leaves something out
(case, punctuation), it is the tokens that are scored, but the text whose bytes are counted. The full bound is a bound;
the published variant, the diffusion term alone, is not (`uddm.objective.Bound`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike
from tqdm import tqdm

from uddm._validation import (
    check_choice,
    check_flag,
    check_iterable,
    check_kind,
    check_positive_int,
    check_reals,
    check_seed,
    check_text,
)
from uddm.choices import Packing
from uddm.corpora.packing import ended
from uddm.corpora.tokenizers import Tokenizer
from uddm.denoisers.base import Denoiser, inference
from uddm.objective import token_bound
from uddm.streams import keyed_seed

__all__ = [
    "RATES",
    "TOTALS",
    "DocumentScore",
    "document_rates",
    "overall_rates",
    "rates",
    "ratio_interval",
    "score_documents",
    "token_rows",
]

DRAWS = 8
"""Independent draws of the noise, each a bound of its own, from whose spread its interval is."""
CLEAN = 1e-5
"""The time at which the cavity of clean tokens is asked for, as in the published conditional entropy."""
_TOGETHER = 64  # windows that meet the denoiser together, and share their noise's stream


@dataclass(frozen=True, eq=False)
class DocumentScore:
    """What a model says of one document.

    Attributes
    ----------
    name : of the document
    size, words : bytes of its text in UTF-8, and words
    windows : how many it was cut into
    tokens : scored tokens, (n,) ids; none if it is too short to be scored
    special : which of them the packing has put there, (n,)
    diffusion, reconstruction, prior, published : the terms of the bound, nats for each token, (n,)
    log_prob, entropy : log x_theta of the token in the clean text, and the entropy of x_theta, nats, (n,): the cavity
        of arXiv 2604.26841 at t = 1e-5, given all other tokens of its window
    bound_draws, published_draws : full bound and published variant of the document, nats, by draw of the noise, (8,)

    Examples
    --------
    Each number is one of a token, and their sum the bound of the document:

    >>> from uddm import DiT, DiTConfig
    >>> from uddm.corpora import CharacterTokenizer
    >>> from uddm.evaluation import score_documents
    >>> model = DiT(DiTConfig(27, length=4, hidden_dim=8, blocks=1, heads=2, cond_dim=4))
    >>> (score,) = score_documents(model, CharacterTokenizer(), [("a", "any text")], times=8)
    >>> score.windows, len(score.bound), bool(abs(score.bound.sum() - score.bound_draws.mean()) < 1e-9)
    (3, 9, True)
    """

    name: str
    size: int
    words: int
    windows: int
    tokens: Int64[np.ndarray, " n"]
    special: Bool[np.ndarray, " n"]
    diffusion: Float64[np.ndarray, " n"]
    reconstruction: Float64[np.ndarray, " n"]
    prior: Float64[np.ndarray, " n"]
    published: Float64[np.ndarray, " n"]
    log_prob: Float64[np.ndarray, " n"]
    entropy: Float64[np.ndarray, " n"]
    bound_draws: Float64[np.ndarray, " draws"]
    published_draws: Float64[np.ndarray, " draws"]

    @property
    def bound(self) -> Float64[np.ndarray, " n"]:
        """The full bound, nats for each token, (n,): its sum bounds -log p of the document."""
        return self.diffusion + self.reconstruction + self.prior

    @property
    def denominators(self) -> dict[str, float]:
        """What a rate is over: one for each of `RATES`."""
        return {"nats_per_token": len(self.tokens), "bits_per_byte": self.size, "bits_per_word": self.words}


RATES = {"nats_per_token": 1.0, "bits_per_byte": 1 / math.log(2), "bits_per_word": 1 / math.log(2)}
"""Names of rates, and how many of their units a nat is."""
TOTALS: tuple[str, ...] = ("full bound", "published variant")


def score_documents(
    denoiser: Denoiser,
    tokenizer: Tokenizer,
    documents: Sequence[tuple[str, str]],
    *,
    packing: Packing = "stream",
    times: int = 32,
    seed: int = 0,
    progress: bool | None = False,
) -> list[DocumentScore]:
    """Score documents, each by itself, as the module says.

    Parameters
    ----------
    denoiser : the model, of K tokens
    tokenizer : its tokenizer
    documents : their names and texts
    packing : "stream", the default, or "sentences", as in the training (`uddm.corpora.prepare_blocks`)
    times : diffusion times for each window, in 8 stratified sets, rounded up to a multiple of 8; default 32
    seed : of the noise; default 0
    progress : whether to show a bar on stderr; None for one on a terminal; default False

    Returns
    -------
    One `DocumentScore` for each document

    Raises
    ------
    ValueError : no document, or one without text; a tokenizer of another vocabulary or without the special tokens that
        `packing` needs
    FloatingPointError : a bound that is not a number

    Examples
    --------
    A network that has not been trained gives every token the same probability:

    >>> from uddm import DiT, DiTConfig
    >>> from uddm.corpora import ByteTokenizer
    >>> from uddm.evaluation import score_documents
    >>> model = DiT(DiTConfig(256, length=8, hidden_dim=8, blocks=1, heads=2, cond_dim=4))
    >>> (score,) = score_documents(model, ByteTokenizer(), [("a", "twelve bytes")], times=8)
    >>> len(score.tokens), score.windows, score.entropy.round(3).max().item()  # of the separator, too; log 256 = 5.545
    (13, 2, 5.545)
    """
    check_kind("denoiser", denoiser, Denoiser)
    check_kind("tokenizer", tokenizer, Tokenizer)
    check_choice("packing", packing, ("stream", "sentences"))
    times = check_positive_int("times", times)
    check_seed("seed", seed)
    if progress is not None:
        check_flag("progress", progress)
    documents = list(check_iterable("documents", documents))
    if not all(isinstance(each, tuple | list) and len(each) == 2 for each in documents):
        raise TypeError("`documents` must be pairs of a name and a text")
    if not documents:
        raise ValueError("`documents` must hold at least one")
    if tokenizer.vocab_size != denoiser.process.vocab_size:
        sizes = f"{tokenizer.vocab_size}, not the {denoiser.process.vocab_size} of the model"
        raise ValueError(f"`tokenizer` must have as many tokens as the model, got {sizes}")
    frame: tuple[int, ...] = ()
    if packing == "sentences":
        special = (tokenizer.bos_id, tokenizer.eos_id, tokenizer.separator_id)
        frame = tuple(token for token in special[:2] if token is not None)
        if None in special:
            raise ValueError("packing 'sentences' needs a tokenizer with BOS, EOS and separator tokens")
    windows: list[_Window] = []
    for number, (name, text) in enumerate(documents):
        check_text("documents", text)
        body = np.concatenate([*ended(tokenizer.encode_pieces(text), tokenizer.separator_id), np.empty(0, np.int64)])
        if not text.strip() or not len(body):
            raise ValueError(f"`documents` must hold text: {name} holds none")
        windows += _cut(number, body, denoiser, frame, tokenizer.separator_id)
    columns = _scored(denoiser, windows, -(-times // DRAWS), seed, progress)
    parts: list[list[tuple[_Window, _Found]]] = [[] for _ in documents]
    for window, found in zip(windows, columns):
        parts[window.document].append((window, found))
    return [_document(name, text, mine) for (name, text), mine in zip(documents, parts)]


class _Window(NamedTuple):
    """Tokens (l,) of a document, which are given and not scored, and which are special."""

    document: int
    tokens: np.ndarray
    given: np.ndarray
    special: np.ndarray


def _cut(
    document: int, body: np.ndarray, denoiser: Denoiser, frame: tuple[int, ...], separator: int | None
) -> Iterator[_Window]:
    width = denoiser.length - len(frame)
    if width < 1:
        raise ValueError(f"packing 'sentences' needs windows of at least 3 tokens, got a model of {denoiser.length}")
    if len(body) < width and not denoiser.any_length:
        return
    special = np.zeros(len(body), bool)
    special[-1] = separator is not None
    for start in range(0, len(body), width):
        first = max(0, min(start, len(body) - width))
        tokens, given, put = (
            body[first : first + width],
            np.zeros(min(width, len(body)), bool),
            special[first : first + width],
        )
        given[: start - first] = True
        if frame:
            tokens, put = np.r_[frame[0], tokens, frame[1]], np.r_[True, put, True]
            given = np.r_[False, given, False]
        yield _Window(document, tokens, given, put)


_Found = tuple[np.ndarray, np.ndarray]
"""Of a window the `_COLUMNS`, (6, l), and full bound and published variant by draw, (DRAWS, 2)."""
_COLUMNS = ("diffusion", "reconstruction", "prior", "published", "log_prob", "entropy")


def _scored(
    denoiser: Denoiser, windows: Sequence[_Window], times: int, seed: int, progress: bool | None
) -> list[_Found]:
    process, device = denoiser.process, getattr(denoiser, "device", None)
    by_length = sorted(range(len(windows)), key=lambda n: (len(windows[n].tokens), n))
    together: list[list[int]] = []
    for n in by_length:
        full = not together or len(together[-1]) == _TOGETHER
        if full or len(windows[together[-1][0]].tokens) != len(windows[n].tokens):
            together.append([])
        together[-1].append(n)
    found: list[Any] = [None] * len(windows)
    bar = tqdm(total=len(windows), desc="scoring", unit=" windows", disable=None if progress is None else not progress)
    with bar, inference(denoiser):
        for number, rows in enumerate(together):
            x, given = (torch.from_numpy(np.stack([windows[n][k] for n in rows])).to(device) for k in (1, 2))
            seeds = (keyed_seed(seed, "evaluation", number, draw) for draw in range(DRAWS))
            bounds = [token_bound(process, denoiser, x, given=given, times=times, generator=s) for s in seeds]
            means = [torch.stack(term).mean(0) for term in zip(*bounds)]
            columns = torch.stack([*means, *_given_others(denoiser, x)], 1).cpu().numpy()
            draws = torch.stack([torch.stack([b.total.sum(1), b.published.sum(1)], 1) for b in bounds], 1).cpu().numpy()
            for n, one, drawn in zip(rows, columns, draws):
                found[n] = (one, drawn)
            bar.update(len(rows))
    return found


def _given_others(denoiser: Denoiser, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log x_theta of x and the entropy of x_theta, given all other tokens, nats, each (B, L).

    A network does not learn to say more of a token than it sees, if noise leaves no doubt of it: it is masked for that,
    and a pass made for each.
    """
    process, at = denoiser.process, torch.arange(x.shape[1], device=x.device)
    if process.mask is None or denoiser.hollow or bool(process.own_logit(CLEAN).isfinite()):
        prediction = denoiser.predict(x, CLEAN)
        return prediction.log_prob(x).double(), prediction.entropy().double()
    found = []
    for l in range(x.shape[1]):
        prediction = denoiser.predict(x.masked_fill(at == l, process.mask), CLEAN)
        found.append((prediction.log_prob(x)[:, l].double(), prediction.entropy()[:, l].double()))
    log_prob, entropy = (torch.stack(values, 1) for values in zip(*found))
    return log_prob, entropy


def _document(name: str, text: str, parts: Sequence[tuple[_Window, _Found]]) -> DocumentScore:
    new = [~window.given for window, _ in parts]
    empty = np.empty((len(_COLUMNS), 0))
    columns = np.concatenate([empty, *(one[:, k] for k, (_, (one, _)) in zip(new, parts))], 1)
    if np.isnan(columns).any():
        raise FloatingPointError(f"the bound of {name} is not a number: the weights overflow")
    draws = sum((drawn for _, (_, drawn) in parts), np.zeros((DRAWS, 2)))
    tokens = [window.tokens[k] for k, (window, _) in zip(new, parts)]
    special = [window.special[k] for k, (window, _) in zip(new, parts)]
    return DocumentScore(
        name,
        len(text.encode()),
        len(text.split()),
        len(parts),
        np.concatenate([np.empty(0, np.int64), *tokens]),
        np.concatenate([np.empty(0, bool), *special]),
        *columns,
        *draws.T,
    )


def ratio_interval(numerators: ArrayLike, denominators: ArrayLike) -> tuple[float, float, float]:
    """sum a_i / sum b_i with its 95 % interval over the units i, that of the ratio estimator (Cochran 1977, ch. 6).

    With residuals e_i = a_i - r b_i the variance of r is m/(m - 1) sum e_i^2 / (sum b_i)^2, and the interval Student's
    with m - 1 degrees of freedom; for equal b_i it is that of a mean. Of one unit the limits are NaN.

    Parameters
    ----------
    numerators, denominators : a and b of m units, (m,), b > 0

    Examples
    --------
    >>> from uddm.evaluation import ratio_interval
    >>> [round(limit, 3) for limit in ratio_interval([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])]
    [2.0, -0.484, 4.484]
    """
    from scipy.special import stdtrit

    a, b = check_reals("numerators", numerators), check_reals("denominators", denominators)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"`numerators` and `denominators` must have shape (m,), m >= 1, got {a.shape} and {b.shape}")
    if not (b > 0).all():
        raise ValueError(f"`denominators` must be > 0, got {b.min():g}")
    m, ratio = len(a), a.sum() / b.sum()
    if m < 2:
        return float(ratio), math.nan, math.nan
    half = stdtrit(m - 1, 0.975) * math.sqrt(m / (m - 1) * ((a - ratio * b) ** 2).sum()) / b.sum()
    return float(ratio), float(ratio - half), float(ratio + half)


def rates(
    nats: Mapping[str, ArrayLike], denominators: Mapping[str, ArrayLike]
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """For each term its rates, with 95 % intervals over the units (`ratio_interval`).

    Parameters
    ----------
    nats : by term, nats of m units, (m,); of a term in `TOTALS` there is the perplexity, too
    denominators : by rate, one of `RATES`, what it is over, (m,)

    Examples
    --------
    >>> from uddm.evaluation import rates
    >>> rates({"full bound": [0.0, 0.0]}, {"nats_per_token": [3, 4]})["full bound"]["perplexity"]
    (1.0, 1.0, 1.0)
    """
    check_kind("nats", nats, Mapping)
    check_kind("denominators", denominators, Mapping)
    if "nats_per_token" not in denominators and not nats.keys().isdisjoint(TOTALS):
        raise ValueError(f"`denominators` must have nats_per_token for a perplexity, got {list(denominators)}")
    for rate in denominators:
        check_choice("denominators", rate, RATES)
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    for term, values in nats.items():
        found[term] = {
            rate: ratio_interval(RATES[rate] * check_reals("nats", values), over) for rate, over in denominators.items()
        }
        if term in TOTALS:
            value, low, high = (math.exp(min(limit, 700.0)) for limit in found[term]["nats_per_token"])
            found[term]["perplexity"] = value, low, high
    return found


def document_rates(score: DocumentScore) -> dict[str, dict[str, tuple[float, float, float]]]:
    """`rates` of the `TOTALS` of one document, with 95 % intervals over the noise.

    Parameters
    ----------
    score : of a document with scored tokens
    """
    check_kind("score", score, DocumentScore)
    draws = dict(zip(TOTALS, (score.bound_draws, score.published_draws)))
    return rates(draws, {rate: np.full(DRAWS, over) for rate, over in score.denominators.items()})


def overall_rates(scores: Sequence[DocumentScore]) -> dict[str, dict[str, tuple[float, float, float]]]:
    """`rates` of all terms for all documents together, with 95 % intervals over documents.

    Parameters
    ----------
    scores : of documents with scored tokens
    """
    scores = _checked(scores)
    nats = {
        **{term: [getattr(score, term).sum() for score in scores] for term in ("diffusion", "reconstruction", "prior")},
        **dict(zip(TOTALS, ([s.bound.sum() for s in scores], [s.published.sum() for s in scores]))),
    }
    return rates(nats, {rate: [score.denominators[rate] for score in scores] for rate in RATES})


def token_rows(scores: Sequence[DocumentScore], tokenizer: Tokenizer) -> Iterator[dict[str, Any]]:
    """A row for each scored token: document, position from 0, id, text, whether the packing has put it there, the terms
    of its bound, the bound, log x_theta of it and the entropy of x_theta, in nats.

    Parameters
    ----------
    scores : of documents
    tokenizer : that they were scored with
    """
    check_kind("tokenizer", tokenizer, Tokenizer)
    for score in _checked(scores):
        texts = {token: tokenizer.decode([token]) for token in np.unique(score.tokens).tolist()}
        for n, token in enumerate(score.tokens.tolist()):
            row = {"document": score.name, "position": n, "id": token, "token": texts[token]}
            row |= {"special": bool(score.special[n])}
            names = ("diffusion", "reconstruction", "prior", "bound", "log_prob", "entropy")
            yield row | {name: float(getattr(score, name)[n]) for name in names}


def _checked(scores: Sequence[DocumentScore]) -> list[DocumentScore]:
    found = list(check_iterable("scores", scores))
    for score in found:
        check_kind("scores", score, DocumentScore)
    if not found:
        raise ValueError("`scores` must hold at least one")
    return found
