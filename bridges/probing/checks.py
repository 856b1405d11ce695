"""What must hold of a model before a verdict on it; each check says what it found and which evidence it spoils.

The ranges stand beside their reasons. That of `sharpness` and the times of `own_token` were chosen on small trained
networks, all others before any model was looked at. Of token arrays (N, L) only those count that `counted` (N, L) says:
padding and other special tokens are in no statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer

from amtheory import _validation as check
from amtheory.intervals import Estimate, mean_and_error, student_quantile
from bridges.streams import as_seed, stream
from bridges.system import MemorySystem, as_tokens, check_time

OWN_TIMES = (1e-5, 0.01, 0.3)  # where evidence is taken, and two in the range that all networks are trained in
FOLLOWS = 1.0  # nats; an own token that changes odds by less than e leaves entropies their order
BAYES = 0.2  # relative; how far a posterior's evidence may be off
PLATEAU_TIMES = (1e-5, 1e-3, 1e-2)
RELEVANT = 10  # neighbours on which a token depends, at most
SHARPER_SAMPLES, SHARPER_LAWS = -0.05, 0.25  # probability that the most probable token is right, less how often it is
ROUNDING = 0.01  # nats; entropies below are the same


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
    >>> from bridges.probing.texts import enough
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

    A masked model is asked about positions that it cannot see, and cannot copy: it passes unasked.

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
    counted, probes = as_mask(counted, x), check.integer("probes", probes, 1)
    if system.carries_over:
        return Check(
            name, True, "A token is masked where the model is asked about it, and cannot be copied.", "", spoils
        )
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
    counted = as_mask(counted, x)
    log_p = system.conditional(x, t).log_prob(x)
    _, number, times = np.unique(x[counted], return_inverse=True, return_counts=True)
    gain = np.zeros(x.shape)
    gain[counted] = np.log((np.exp(log_p[counted]) * len(number) / times[number] + 1) / 2)
    mean = student_mean(_passage_means(gain, counted))
    passed = not mean.high < 0
    with np.errstate(over="ignore"):
        model, frequencies = np.exp(-log_p[counted].mean()), np.exp(unigram_entropy(x[counted]))
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
    most log K. Half precision is named: it resolves no probability better than its epsilon. A masked model sees clean
    text beside the mask at any t: there is no plateau to look for, and the check is not made.

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
    counted = as_mask(counted, x)
    half = _half_precision(system)
    if system.carries_over:
        detail = "A masked model sees clean text beside the mask, whatever t: there is no plateau in t."
        detail += f" The entropies are {half}." if half else ""
        return Check("precision", None, detail, "", frozenset({"entropy"}))
    H = np.array([system.conditional(x, t).entropy()[counted].mean() for t in PLATEAU_TIMES])
    noise = RELEVANT * np.array(PLATEAU_TIMES) * np.log(system.vocab_size)
    passed = bool((np.abs(H - H[0]) <= 0.05 * H[0] + ROUNDING + noise).all())
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
    half = {denoiser.dtype} if isinstance(denoiser, HalfPrecision) else set()
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
    up to 0.2 in ours, which is not to fail. A model whose origin (`describe`) says ``distilled`` fails in any case.

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
    counted = as_mask(counted, x)
    if (system.describe().get("origin") or {}).get("distilled"):
        detail = "The model was distilled: its laws are those of few large steps, not conditionals of its text."
        return Check(name, False, detail, "Ask the teacher; recovery and extraction stand.", spoils)
    law = system.conditional(x, t)
    highest, right = law.certainty()[1], (law.mode() == x).astype(np.float64)
    excess = student_mean(_passage_means(highest - right, counted))
    passed = excess.high >= SHARPER_SAMPLES and excess.low <= SHARPER_LAWS
    detail = (
        f"On its own text the model expects its best guess of a token to be right in {highest[counted].mean():.1%}, "
        f"and it is in {right[counted].mean():.1%}: a difference of {in_words(excess)}."
    )
    remedy = "" if passed else "Sample and measure at temperature 1, with more steps; recovery and extraction stand."
    return Check(name, passed, detail, remedy, spoils)


def as_mask(counted: Any, x: Int64[np.ndarray, "N L"], name: str = "counted") -> Bool[np.ndarray, "N L"]:
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


def unigram_entropy(tokens: Int64[np.ndarray, " n"]) -> float:
    """Nats a token, of their frequencies."""
    p = np.unique(tokens, return_counts=True)[1] / len(tokens)
    return float(-(p * np.log(p)).sum())


def _passage_means(values: Float64[np.ndarray, "N L"], counted: Bool[np.ndarray, "N L"]) -> Float64[np.ndarray, " n"]:
    """Means over the tokens that count, of the passages that have any."""
    kept = counted.any(1)
    return np.where(counted, values, 0.0)[kept].sum(1) / counted[kept].sum(1)


def student_mean(values: Float64[np.ndarray, " n"]) -> Estimate:
    """With Student's interval; of one value, or of infinite ones, a point."""
    if len(values) == 1 or not np.isfinite(values).all():
        return Estimate(*[float(values.mean())] * 3)
    mean, error = mean_and_error(values)
    half = student_quantile(len(values), 0.95) * error
    return Estimate(float(mean), float(mean - half), float(mean + half))


def _list(values: Sequence[float] | Float64[np.ndarray, " n"]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def in_words(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
