"""What must hold before a verdict on a model is given; each check says what it found and which evidence it spoils.

The ranges stand beside their reasons. That of `sharpness` and the times of `own_token` were chosen on small trained
networks, all others before any model was looked at. Of token arrays (N, L) only those count that `counted` (N, L) says:
padding and other special tokens are in no statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer, UInt64
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from amtheory import _validation as check
from amtheory.intervals import Estimate, mean_and_error, student_quantile
from bridges.roc import area_under_roc
from bridges.streams import as_seed, stream
from bridges.system import MemorySystem, as_tokens, check_time

OWN_TIMES = (1e-5, 0.01, 0.3)  # where evidence is taken, and two in the range that all networks are trained in
FOLLOWS = 1.0  # nats; an own token that changes odds by less than e leaves entropies their order
BAYES = 0.2  # relative; how far a posterior's evidence may be off
SHIFTED = 0.55  # area under the ROC of a classifier that knows no model
LEAKING = 0.5  # of the passages, which are left out
GRAM_NATS = 95.0  # what 13 subwords hold, at some 7.3 nats each at their frequencies: GPT-3's n-gram of contamination
PLATEAU_TIMES = (1e-5, 1e-3, 1e-2)
RELEVANT = 10  # neighbours on which a token depends, at most
SHARPER_SAMPLES, SHARPER_LAWS = -0.05, 0.25  # probability that the most probable token is right, less how often it is
ROUNDING = 0.01  # nats; entropies below are the same
LEAST_DOCUMENTS = 20  # a side: below 19 no conformal p-value reaches 5 %


class Check(NamedTuple):
    """What one check found.

    Parameters
    ----------
    name : of the check
    passed : None if it could not be made
    detail : a sentence with the numbers
    remedy : what would help; "" if it passed
    spoils : what counts for nothing if it fails: "recognition", "entropy", "extraction", or "all"

    Examples
    --------
    >>> from bridges.probing.checks import enough
    >>> enough(5, 100).passed, sorted(enough(5, 100).spoils)
    (False, ['recognition'])
    """

    name: str
    passed: bool | None
    detail: str
    remedy: str
    spoils: frozenset[str]


def own_token(
    system: MemorySystem,
    x: Integer[np.ndarray, "N L"],
    *,
    counted: Bool[np.ndarray, "N L"] | None = None,
    probes: int = 40,
    rng: int | np.random.Generator | None = None,
) -> Check:
    """Does what the system expects at a position follow the token that stands there?

    A token a of noisy text is replaced by another one of the text, b, and half of the change of log p(a)/p(b) at its
    place is taken. That of a cavity is 0. That of a posterior is b(t) of `uddm.process.Process.own_logit`, whatever the
    model, by Bayes' rule. The median over places fails beyond 1 nat, or b(t)/2 if that is less, at any of t = 1e-5,
    0.01 and 0.3: the entropy of such a law vanishes for every text as t -> 0.

    The detail says what the law is, as far as can be told: independent of the own token; an approximate cavity; a
    posterior, within 20 % of b(t) at the two larger times; less than one, as cross-entropy leaves it, which is blind at
    small t where hardly a token is replaced; a copy beyond what is evidence; a cavity from which evidence was
    subtracted that it never had; or a cavity at the two larger times alone, as of a network of posterior logits, which
    does not know b(t) at times on which it was not trained.

    Parameters
    ----------
    system : any; of one without a `process`, alpha_t = 1 - t
    x : (N, L) sequences, ids in [0, K)
    counted : (N, L) which tokens count; default None, all
    probes : places for each time, >= 1; default 40. The system is asked about four sequences for each
    rng : None, an integer seed >= 0 or a Generator

    Returns
    -------
    Check : it spoils "entropy" and "recognition"

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import as_system
    >>> from bridges.probing.checks import own_token
    >>> from uddm import HierarchyBayes, UniformProcess
    >>> from uddm.corpora import RandomHierarchy
    >>> grammar = RandomHierarchy(symbols=4, rules=2, depth=2, seed=0)
    >>> denoiser, x = HierarchyBayes(grammar, UniformProcess(4)), grammar.sample(50, rng=0)
    >>> [own_token(as_system(denoiser, conditional=law), x, rng=0).passed for law in ("cavity", "posterior")]
    [True, False]
    """
    name, spoils = "own token", frozenset({"entropy", "recognition"})
    x, seed = as_tokens("x", x, system), as_seed(rng)
    counted, probes = _counted(counted, x), check.integer("probes", probes, 1)
    if len(np.unique(x[counted])) < 2:
        return Check(name, None, "There are no two different tokens to exchange.", "Give more text.", spoils)
    found = [_own_shifts(system, x, counted, t, probes, stream(seed, "own token", t)) for t in OWN_TIMES]
    moved, evidence = np.median(found, axis=1), np.array([_own_logit(system, t) for t in OWN_TIMES])
    law, remedy = _law_of(moved, evidence, bool(np.abs(found).max() < 1e-3))  # rounding of float32 log-probabilities
    detail = (
        f"Replacing a token moves the log-odds of it at its place by {_list(moved)} nats at t = {_list(OWN_TIMES)} "
        f"(median of {probes} places), a posterior's by {_list(evidence)}: {law}."
    )
    return Check(name, not remedy, detail, remedy, spoils)


def _own_shifts(
    system: MemorySystem,
    x: Int64[np.ndarray, "N L"],
    counted: Bool[np.ndarray, "N L"],
    t: float,
    probes: int,
    rng: np.random.Generator,
) -> Float64[np.ndarray, " {probes}"]:
    """Half of the change of log p(a)/p(b) between z_l = a and z_l = b, at random places l of text at time t."""
    row, l = np.divmod(rng.choice(np.flatnonzero(counted), probes), x.shape[1])
    a, text = x[row, l], x[counted]
    b = rng.choice(text, probes)
    while (same := b == a).any():
        b[same] = rng.choice(text, same.sum())
    at_a, i = system.corrupt(x[row], t, rng), np.arange(probes)
    at_b = at_a.copy()
    at_a[i, l], at_b[i, l] = a, b
    law = system.conditional(np.concatenate([at_a, at_b]), t)
    of_a, of_b = (law.log_prob(np.concatenate([y, y])).reshape(2, probes, -1)[:, i, l] for y in (at_a, at_b))
    return _less(_less(*of_a), _less(*of_b)) / 2


def _less(one: Float64[np.ndarray, " n"], other: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """one - other, 0 for equal infinities."""
    return np.subtract(one, other, where=one != other, out=np.zeros_like(one))


def _own_logit(system: MemorySystem, t: float) -> float:
    process: Any = getattr(system, "process", None)
    return float(process.own_logit(t)) if process else float(np.log1p(system.vocab_size * (1 - t) / t))


def _law_of(shift: Float64[np.ndarray, " T"], evidence: Float64[np.ndarray, " T"], exact: bool) -> tuple[str, str]:
    """What a law is that moves by `shift`, and the remedy if it is no cavity."""
    others = "Recovery and extraction need no cavity."
    if (np.abs(shift) <= np.minimum(FOLLOWS, evidence / 2)).all():
        return ("the law does not depend on it" if exact else "an approximate cavity"), ""
    trained, of_trained = shift[1:], evidence[1:]
    if (np.abs(trained) <= np.minimum(FOLLOWS, of_trained / 2)).all():
        return (
            f"an approximate cavity, but not at t = {OWN_TIMES[0]:g}, which is below the times of its training",
            f"Measure at t = {OWN_TIMES[1]:g}. {others}",
        )
    if (np.abs(trained - of_trained) <= BAYES * of_trained).all():
        return (
            "a posterior, as Bayes' rule predicts",
            f"Measure the cavity, or import the model as one that predicts the posterior. {others}",
        )
    if (trained > (1 + BAYES) * of_trained).any():
        return "a copy of the token, beyond what it is evidence of", others
    if (shift < 0).all():
        return (
            "a cavity from which the token's evidence was subtracted all the same",
            "Import the model as one that predicts the cavity.",
        )
    return "it follows the token, less than Bayes' rule at small t, as after training by cross-entropy", others


def shift(
    suspect: Integer[np.ndarray, "N L"],
    unseen: Integer[np.ndarray, "M L"],
    *,
    counted: tuple[Bool[np.ndarray, "N L"], Bool[np.ndarray, "M L"]] | None = None,
    documents: tuple[ArrayLike, ArrayLike] | None = None,
    folds: int = 5,
    rng: int | np.random.Generator | None = None,
) -> Check:
    """Are suspect and unseen text told apart by their words alone, without asking the model?

    Multinomial naive Bayes on the counts of tokens of each document, with one added to each, cross-validated over
    documents. It fails if the area under the ROC is above 0.55 with its interval above 0.5: whatever tells the two
    apart may then be the words, not memory. As no model is asked, memorization cannot make it fail. Where both are of
    one source it fails in some 5 % (3 to 7 % of simulations with 10 to 100 documents a side).

    Parameters
    ----------
    suspect, unseen : (N, L) and (M, L) token ids >= 0
    counted : (N, L) and (M, L) which tokens count; default None, all
    documents : (N,) and (M,) integer labels of the document that each passage is from; default None, each its own
    folds : of the cross-validation, >= 2; default 5. Each side needs two documents for each
    rng : None, an integer seed >= 0 or a Generator, of the folds

    Returns
    -------
    Check : it spoils "recognition"

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> import numpy as np
    >>> from bridges.probing.checks import shift
    >>> rng = np.random.default_rng(0)
    >>> some, more = rng.integers(8, size=(2, 30, 50))
    >>> others = rng.integers(9, size=(30, 50))
    >>> shift(some, more, rng=0).passed, shift(some, others, rng=0).passed
    (True, False)
    """
    name, spoils = "shift", frozenset({"recognition"})
    sides = _sides(suspect, unseen, counted, documents)
    folds, rng = check.integer("folds", folds, 2), stream(as_seed(rng), "shift")
    token = np.unique(np.concatenate([x[keep] for x, keep, _ in sides]), return_inverse=True)[1]
    document = [np.unique(labels[np.nonzero(keep)[0]], return_inverse=True)[1] for _, keep, labels in sides]
    sizes = [int(each.max()) + 1 for each in document]
    if min(sizes) < 2 * folds:
        detail = f"There are {sizes[0]} suspect and {sizes[1]} unseen documents, too few to learn their words."
        return Check(name, None, detail, f"Give at least {2 * folds} documents of each.", spoils)
    document = np.concatenate([document[0], document[1] + sizes[0]])
    bags = csr_array((np.ones(len(token)), (document, token)))
    suspected = np.arange(sum(sizes)) < sizes[0]
    fold = np.concatenate([rng.permutation(size) % folds for size in sizes])
    score = np.empty(len(fold))
    for k in range(folds):
        counts = np.stack([1 + bags[(fold != k) & (suspected == side)].sum(0) for side in (True, False)])
        odds = np.log(counts / counts.sum(1, keepdims=True))
        score[fold == k] = bags[fold == k] @ (odds[0] - odds[1])
    score /= bags.sum(1)
    area = area_under_roc(score[suspected], score[~suspected])
    passed = not (area.low > 0.5 and area.value > SHIFTED)
    detail = f"A classifier that sees only words tells suspect from unseen documents with an area of {_interval(area)}."
    return Check(name, passed, detail, "" if passed else "Give unseen text of the same source and time.", spoils)


def leaks(
    suspect: Integer[np.ndarray, "N L"],
    unseen: Integer[np.ndarray, "M L"],
    *,
    train: Integer[np.ndarray, "P L"] | None = None,
    counted: tuple[Bool[np.ndarray, "N L"], Bool[np.ndarray, "M L"]] | None = None,
    documents: tuple[ArrayLike, ArrayLike] | None = None,
    n: int | None = None,
) -> tuple[Check, Bool[np.ndarray, " N"], Bool[np.ndarray, " M"]]:
    """Which passages are no text of their own: licences, quotations, unseen text that was suspect all the while.

    A passage is shared if n of its tokens in a row, all counted, stand in another document, of either side. Nothing
    that is shared tells whether its own document was learnt, so it is to be left out of both sides. As this rule does
    not know which side a passage is of, text of one source stays exchangeable under it. The check fails if more than
    half of either side is shared, or more than half of the unseen text stands in training text.

    Parameters
    ----------
    suspect, unseen : (N, L) and (M, L) token ids >= 0
    train : (P, L) training sequences; default None, not known
    counted : (N, L) and (M, L) which tokens count; default None, all
    documents : (N,) and (M,) integer labels of the document that each passage is from; default None, each its own
    n : tokens in a row, in [1, L]; default None, as many as hold 95 nats at the frequencies of the text, as do 13
        subwords, but at most three quarters of a passage

    Returns
    -------
    check : it spoils "recognition"
    shared_suspect, shared_unseen : (N,) and (M,) bool

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> import numpy as np
    >>> from bridges.probing.checks import leaks
    >>> x, y = np.random.default_rng(0).integers(100, size=(2, 20, 30))
    >>> y[3, 5:20] = x[7, 10:25]
    >>> y[4] = y[9]
    >>> found, of_x, of_y = leaks(x, y, n=13)
    >>> found.passed, np.flatnonzero(of_x).tolist(), np.flatnonzero(of_y).tolist()
    (True, [7], [3, 4, 9])
    """
    sides = _sides(suspect, unseen, counted, documents)
    text = np.concatenate([x[keep] for x, keep, _ in sides])
    length = min(x.shape[1] for x, _, _ in sides)
    if n is None:
        n = max(1, min(int(np.ceil(GRAM_NATS / max(_unigram_entropy(text), 0.1))), 3 * length // 4))
    n = check.integer("n", n, 1, length)
    known = None if train is None else _ids("train", train)
    size = 1 + max(int(x.max()) for x in (text, known) if x is not None)
    (row_x, gram_x), (row_y, gram_y) = (_grams(x, keep, n, size) for x, keep, _ in sides)
    of_x, of_y = (np.unique(labels, return_inverse=True)[1] for _, _, labels in sides)
    gram = np.unique(np.concatenate([gram_x, gram_y]), return_inverse=True)[1]
    row = np.concatenate([row_x, row_y + len(of_x)])
    document = np.concatenate([of_x, of_y + of_x.max() + 1])
    pairs = np.unique(np.stack([gram, document[row]]), axis=1)
    shared = np.zeros(len(document), bool)
    shared[row[(np.bincount(pairs[0]) > 1)[gram]]] = True
    of_suspect, of_unseen = np.split(shared, [len(of_x)])
    shares = [of_suspect.mean(), of_unseen.mean()]
    detail = (
        f"Of {len(of_x)} suspect and {len(of_y)} unseen passages {of_suspect.sum()} and {of_unseen.sum()} share {n} "
        "tokens in a row with another document, and are left out."
    )
    if known is not None:
        there = np.isin(gram_y, _grams(known, np.ones(known.shape, bool), n, size)[1])
        shares.append(len(np.unique(row_y[there])) / len(of_y))
        detail += f" Of the unseen ones {len(np.unique(row_y[there]))} share as many with training text."
    passed = bool(max(shares) <= LEAKING)
    remedy = "" if passed else "Give other unseen text, each document once."
    return Check("leaks", passed, detail, remedy, frozenset({"recognition"})), of_suspect, of_unseen


def _grams(
    x: Int64[np.ndarray, "N L"], counted: Bool[np.ndarray, "N L"], n: int, size: int
) -> tuple[Int64[np.ndarray, " G"], UInt64[np.ndarray, " G"]]:
    """Passage and hash of all n counted tokens in a row, of ids below `size`: two different ones among 1e6 have
    one hash with a probability below 1e-5."""
    rng = np.random.default_rng(0)
    of_token, of_place = (rng.integers(2**64, size=count, dtype=np.uint64) | np.uint64(1) for count in (size, n))
    starts = x.shape[1] - n + 1
    gram, whole = np.zeros((len(x), starts), np.uint64), np.ones((len(x), starts), bool)
    for k in range(n):
        gram += of_token[x[:, k : k + starts]] * of_place[k]
        whole &= counted[:, k : k + starts]
    return np.nonzero(whole)[0], gram[whole]


def tokenization(
    system: MemorySystem,
    x: Integer[np.ndarray, "N L"],
    *,
    counted: Bool[np.ndarray, "N L"] | None = None,
    t: float = 0.01,
) -> Check:
    """Does the model know anything of the text, as it was made into tokens?

    It fails if the even mixture of model and frequencies predicts the text worse than the frequencies alone, with its
    95 % interval: mean log((p/u + 1)/2) < 0, u being the frequencies in the text itself. If what the model expects has
    nothing to do with the text, E[p/u] <= 1, and the mean is negative by Jensen's inequality; so it is of a uniform
    law. Whoever predicts better than the frequencies passes, as log((r + 1)/2) >= (log r)/2, and so may an
    overconfident model, which knows its own few texts by heart and is far worse than the frequencies on others. A law
    that follows the token itself passes with any tokens: `own_token` comes first.

    Parameters
    ----------
    system : any
    x : (N, L) sequences, ids in [0, K)
    counted : (N, L) which tokens count; default None, all
    t : in (0, 1]; default 0.01: sequences are as good as clean, at a time on which all networks are trained

    Returns
    -------
    Check : it spoils "all"

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from bridges import as_system
    >>> from bridges.probing.checks import tokenization
    >>> from uddm import HierarchyBayes, UniformProcess
    >>> from uddm.corpora import RandomHierarchy
    >>> grammar = RandomHierarchy(symbols=4, rules=2, depth=2, seed=0)
    >>> system, x = as_system(HierarchyBayes(grammar, UniformProcess(4))), grammar.sample(50, rng=0)
    >>> tokenization(system, x).passed, tokenization(system, (x + 1) % 4).passed  # other ids for the same tokens
    (True, False)
    """
    x, t = as_tokens("x", x, system), check_time("t", t)
    counted = _counted(counted, x)
    log_p = system.conditional(x, t).log_prob(x)
    _, number, times = np.unique(x[counted], return_inverse=True, return_counts=True)
    gain = np.zeros(x.shape)
    gain[counted] = np.log((np.exp(log_p[counted]) * len(number) / times[number] + 1) / 2)
    mean = _mean(_passage_means(gain, counted))
    passed = not mean.high < 0
    with np.errstate(over="ignore"):
        model, frequencies = np.exp(-log_p[counted].mean()), np.exp(_unigram_entropy(x[counted]))
    of_both = "no worse" if passed else "worse"
    detail = (
        f"Perplexity given all other tokens is {model:.4g}, that of the text's own frequencies {frequencies:.4g}, of "
        f"chance {system.vocab_size}; mixed with the frequencies the model is {of_both} than they are."
    )
    remedy = "" if passed else "See that tokenizer, separators and vocabulary are those of the training."
    return Check("tokenization", passed, detail, remedy, frozenset({"all"}))


def precision(
    system: MemorySystem, x: Integer[np.ndarray, "N L"], *, counted: Bool[np.ndarray, "N L"] | None = None
) -> Check:
    """Is the entropy of clean text the same at all small t, as a number of the text and not of the arithmetic?

    The mean entropies H at t = 1e-5, 1e-3 and 0.01 must not differ by more than 5 %, 0.01 nats and what noise may do: a
    token that depends on at most ten others lacks one of them with a probability below 10 t, and then its entropy is at
    most log K. Half precision is named: it resolves no probability better than its epsilon.

    Parameters
    ----------
    system : any
    x : (N, L) sequences, ids in [0, K)
    counted : (N, L) which tokens count; default None, all

    Returns
    -------
    Check : it spoils "entropy"

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory import Hopfield
    >>> from amtheory.patterns import random_patterns
    >>> from bridges import as_system, to_tokens
    >>> from bridges.probing.checks import precision
    >>> x = random_patterns(8, 100, rng=0)
    >>> precision(as_system(Hopfield().fit(x), beta=1.0), to_tokens(x)).passed  # it has no time
    True
    """
    x = as_tokens("x", x, system)
    counted = _counted(counted, x)
    H = np.array([system.conditional(x, t).entropy()[counted].mean() for t in PLATEAU_TIMES])
    noise = RELEVANT * np.array(PLATEAU_TIMES) * np.log(system.vocab_size)
    passed = bool((np.abs(H - H[0]) <= 0.05 * H[0] + ROUNDING + noise).all())
    half = _half_precision(system)
    detail = f"The entropy of a token is {_list(H)} nats at t = {_list(PLATEAU_TIMES)}" + (
        f", {half}." if half else "."
    )
    remedy = "" if passed else "Compute in float32, and at times on which the model was trained."
    return Check("precision", passed, detail, remedy, frozenset({"entropy"}))


def _half_precision(system: MemorySystem) -> str:
    """In words, the half precision in which a system computes; "" if it does not."""
    import torch

    from uddm.denoisers import HalfPrecision

    denoiser: Any = getattr(system, "denoiser", None)
    half = {torch.float16} if isinstance(denoiser, HalfPrecision) else set()
    if isinstance(denoiser, torch.nn.Module):
        half = {p.dtype for p in denoiser.parameters()} & {torch.float16, torch.bfloat16}
    words = [f"{str(dtype).partition('.')[2]}, of relative precision {torch.finfo(dtype).eps:.0e}" for dtype in half]
    return f"computed in {' and '.join(sorted(words))}" if words else ""


def sharpness(
    system: MemorySystem,
    samples: Integer[np.ndarray, "n L"],
    *,
    counted: Bool[np.ndarray, "n L"] | None = None,
    t: float = 1e-5,
) -> Check:
    """Is the model as certain of what it generates as it is right?

    Of sequences drawn from the law whose conditionals these are, the mean highest probability of a token equals the
    share of tokens that are the most probable one, exactly. It fails if the difference, with its 95 % interval over
    sequences, lies below -0.05, as of a sampler that is sharper than the conditionals (a lower temperature, a nucleus),
    or above 0.25, as of conditionals that are. A network that overfits is overconfident where its own samples err, by
    up to 0.2 in ours, which is not to fail. A model whose record (`describe`) says ``distilled`` fails in any case.

    The text that is asked about would not do: a model that memorizes is overconfident on all that is unseen. What
    cannot be seen is a temperature in both: the law p^(1/T) has conditionals of its own, which are sharp. Nor may one
    near 1 be, in either.

    Parameters
    ----------
    system : any
    samples : (n, L) sequences that the model generated, ids in [0, K)
    counted : (n, L) which tokens count; default None, all
    t : in (0, 1]; default 1e-5: sequences are taken as clean

    Returns
    -------
    Check : it spoils "entropy"

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import as_system
    >>> from bridges.probing.checks import sharpness
    >>> from uddm import HierarchyBayes, UniformProcess
    >>> from uddm.corpora import RandomHierarchy
    >>> system = as_system(HierarchyBayes(RandomHierarchy(symbols=4, rules=2, depth=2, seed=0), UniformProcess(4)))
    >>> sharpness(system, system.generate(200, np.random.default_rng(0))).passed
    True
    """
    name, spoils = "sharpness", frozenset({"entropy"})
    x, t = as_tokens("samples", samples, system), check_time("t", t)
    counted = _counted(counted, x)
    if system.describe().get("distilled"):
        detail = "The model was distilled: its laws are those of few large steps, not conditionals of its text."
        return Check(name, False, detail, "Ask the teacher; recovery and extraction stand.", spoils)
    law = system.conditional(x, t)
    highest, right = law.certainty()[1], (law.mode() == x).astype(np.float64)
    excess = _mean(_passage_means(highest - right, counted))
    passed = excess.high >= SHARPER_SAMPLES and excess.low <= SHARPER_LAWS
    detail = (
        f"On its own text the model expects its best guess of a token to be right in {highest[counted].mean():.1%}, "
        f"and it is in {right[counted].mean():.1%}: a difference of {_interval(excess)}."
    )
    remedy = "" if passed else "Sample and measure at temperature 1, with more steps; recovery and extraction stand."
    return Check(name, passed, detail, remedy, spoils)


def enough(n_suspect: int, n_unseen: int, rate: float | None = None) -> Check:
    """Are there enough documents? At least 20 a side, for a conformal p-value of 5 % to exist.

    Parameters
    ----------
    n_suspect, n_unseen : documents, >= 0
    rate : in (0, 1); default None. Of false positives, at which the rate of true ones is asked for: the detail says
        whether there are the 10/rate unseen documents that it takes

    Returns
    -------
    Check : it spoils "recognition"

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from bridges.probing.checks import enough
    >>> enough(100, 200, 0.01).detail
    'There are 100 suspect and 200 unseen documents; a false-positive rate of 0.01 would take 1000 unseen ones.'
    """
    n_suspect, n_unseen = check.integer("n_suspect", n_suspect, 0), check.integer("n_unseen", n_unseen, 0)
    passed = min(n_suspect, n_unseen) >= LEAST_DOCUMENTS
    detail = f"There are {n_suspect} suspect and {n_unseen} unseen documents"
    if rate is not None:
        if not 0 < check.real("rate", rate, positive=True) < 1:
            raise ValueError(f"`rate` must lie in (0, 1), got {rate}")
        if n_unseen * rate < 10:
            detail += f"; a false-positive rate of {rate:g} would take {int(np.ceil(10 / rate))} unseen ones"
    remedy = "" if passed else f"Give at least {LEAST_DOCUMENTS} documents of each."
    return Check("enough", passed, f"{detail}.", remedy, frozenset({"recognition"}))


def _counted(counted: Any, x: Int64[np.ndarray, "N L"], name: str = "counted") -> Bool[np.ndarray, "N L"]:
    """Which tokens of `x` count. Raises ValueError unless it is a mask of its shape in which any does."""
    if counted is None:
        return np.ones(x.shape, bool)
    mask = check.unmasked(name, counted)
    if mask.dtype != bool or mask.shape != x.shape or not mask.any():
        raise ValueError(
            f"`{name}` must be a mask of shape {x.shape} with a true element, got shape {mask.shape} of dtype "
            f"{mask.dtype}"
        )
    return mask


def _ids(name: str, tokens: Any) -> Int64[np.ndarray, "N L"]:
    """`tokens` as int64 (N, L). Raises TypeError unless integers, ValueError for another shape or negative ones."""
    tokens = check.unmasked(name, tokens)
    if tokens.dtype.kind not in "iu":
        raise TypeError(f"`{name}` must hold integer token ids, got dtype {tokens.dtype}")
    if tokens.ndim != 2 or tokens.size == 0 or tokens.min() < 0:
        raise ValueError(f"`{name}` must have shape (N, L), N and L >= 1, and no negative ids, got {tokens.shape}")
    return tokens.astype(np.int64)


def _sides(
    suspect: Any, unseen: Any, counted: Any, documents: Any
) -> list[tuple[Int64[np.ndarray, "N L"], Bool[np.ndarray, "N L"], Int64[np.ndarray, " N"]]]:
    """Tokens, which of them count, and the documents of the suspect and the unseen passages, checked."""
    sides = []
    for k, (name, tokens) in enumerate((("suspect", suspect), ("unseen", unseen))):
        x = _ids(name, tokens)
        labels = np.arange(len(x)) if documents is None else check.unmasked("documents", documents[k])
        if labels.shape != (len(x),) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"`documents` must hold {len(x)} integer labels of `{name}`, got shape {labels.shape} of dtype "
                f"{labels.dtype}"
            )
        sides.append((x, _counted(None if counted is None else counted[k], x), labels.astype(np.int64)))
    return sides


def _unigram_entropy(tokens: Int64[np.ndarray, " n"]) -> float:
    """Nats a token, of their frequencies."""
    p = np.unique(tokens, return_counts=True)[1] / len(tokens)
    return float(-(p * np.log(p)).sum())


def _passage_means(values: Float64[np.ndarray, "N L"], counted: Bool[np.ndarray, "N L"]) -> Float64[np.ndarray, " n"]:
    """Means over the tokens that count, of the passages that have any."""
    kept = counted.any(1)
    return np.where(counted, values, 0.0)[kept].sum(1) / counted[kept].sum(1)


def _mean(values: Float64[np.ndarray, " n"]) -> Estimate:
    """With Student's interval; of one value, or of infinite ones, a point."""
    if len(values) == 1 or not np.isfinite(values).all():
        return Estimate(*[float(values.mean())] * 3)
    mean, error = mean_and_error(values)
    half = student_quantile(len(values), 0.95) * error
    return Estimate(float(mean), float(mean - half), float(mean + half))


def _list(values: Sequence[float] | Float64[np.ndarray, " n"]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
