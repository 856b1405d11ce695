"""Chains of U-turns, and what they remember of where they started (Kang, Levi, Wegner, Korchinski, Wyart, arXiv
2605.27006).

Where x' is a joint sample of the posterior, the kernel of a U-turn is reversible with respect to p (`bridges.uturn`)
and so a Metropolis-Hastings proposal for any target pi ~ p e^{-E} that needs no probability of the model. The rules:

    always  no target: all U-turns are taken.
    exact   accept with probability min(1, e^{-(E(x') - E(x))}); only for joint samples.
    naive   the same for any reverse process. Its error is not bounded by anything: on small spaces, see
            `bridges.fragmentation.kernel_bias`.
    path    for a reverse process of S factorised steps R_k on times t = t_0 > ... > t_S = 0, of a model whose log p is
            known. From x draw a path of noise x = u_S, u_{S-1}, ..., u_0 = z by the forward kernels q_k(u_k | u_{k+1}),
            then z = w_0, ..., w_S = x' by R_k(w_{k+1} | w_k), and accept with probability

                min(1, pi(x') Q(w) R(u) / (pi(x) Q(u) R(w))),    Q(w) = prod_k q_k(w_k | w_{k+1}),
                                                                 R(w) = prod_k R_k(w_{k+1} | w_k).

            Proof: the pair g = (u, w) is drawn with probability Q(u) R(w), and the exchange of its halves, g* = (w, u),
            is an involution that exchanges x and x'. Hence the flow through g, pi(x) Q(u) R(w) min(1, ...) =
            min(pi(x) Q(u) R(w), pi(x') Q(w) R(u)), is that through g*, and summed over all g from x to x' gives
            pi(x) k(x, x') = pi(x') k(x', x). Both halves are redrawn each time: kept, they would be part of the state.
            As the steps grow finer R(w) tends to Q(w) p(x') / p(z), and the acceptance to that of the exact rule; S = 1
            is min(1, pi(x') q(z | x') R(x | z) / (pi(x) q(z | x) R(x' | z))).
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float64, Int64, Integer, Num
from tqdm import tqdm

from amtheory._validation import function as check_function
from amtheory.intervals import Estimate, bootstrap_mean, resampled_sums, student, wilson
from bridges.autocorrelation import autocorrelation_time
from bridges.manifest import array_hash, manifest, to_attribute
from bridges.streams import as_seed, stream
from bridges.system import as_tokens, check_confidence
from bridges.uturn import UTurn
from uddm import EmpiricalBayes, UniformProcess
from uddm._validation import check_choice, check_flag, check_kind, check_positive_int

Rule = Literal["always", "exact", "naive", "path"]
RULES: tuple[Rule, ...] = get_args(Rule)
Values = Callable[[Int64[np.ndarray, "N L"]], Num[np.ndarray, " N"]]
MEASUREMENT = "uturn_chains"
_PER_STEP = {
    "tokens": ("step", "chain", "position"),
    **dict.fromkeys(("accepted", "equal", "nearest", "observable"), ("step", "chain")),
    **dict.fromkeys(("overlap", "others"), ("step", "height", "chain")),
    "chance": ("step", "height"),
}


def chains(
    uturn: UTurn,
    x: Integer[np.ndarray, "N L"] | xr.Dataset,
    n_steps: int,
    *,
    rule: Rule = "always",
    energy: Values | None = None,
    log_prob: Values | None = None,
    grammar: Any = None,
    observable: Values | None = None,
    keep_tokens: bool = False,
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
    progress: bool = False,
) -> xr.Dataset:
    """N independent chains of `n_steps` U-turns, and what they remember of where they started.

    The overlap of a chain with its start, at some height above the tokens, is the fraction of equal symbols; chance is
    the overlap with the starts of the *other* chains; the relaxation function is

        C(k) = (overlap(k) - chance(k)) / (1 - chance(k)),

    1 at the start and 0 when a chain recalls its own start as well as any other's, whatever law the chains tend to. The
    starts must therefore be independent draws: from the data, or from p for equilibrium autocorrelations.

    Parameters
    ----------
    uturn : one step of a chain
    x : starts (N, L), N >= 2 for C(k); or an earlier result, to be carried on to `n_steps` in all with its own seed
        (leave `rng` out). The rule, U-turn and grammars must be those of its record; networks, data and functions are
        not in it and not compared
    n_steps : U-turns in all, >= 1
    rule : of acceptance, see the module
    energy : E, from tokens (N, L) to (N,); rules "exact" and "naive" need it, "path" may have it
    log_prob : log p up to a constant, from tokens (N, L) to (N,); for the rule "path", whose target is p e^{-E}; the
        others ignore it
    grammar : has `parse`, tokens (N, L) -> symbols at levels 0 (root) to depth - 1, each (N, n), -1 where there is none
    observable : from tokens (N, L) to (N,), -inf allowed; its autocorrelation time and effective sample size are
        estimated (NaN if some value is -inf) from all steps: for a target other than the law of the starts, carry on
        the `final` states of a first run, which is left out
    keep_tokens : keep the states of all steps
    rng : seed or generator; each step has its own streams. The first U-turn is `token_recovery` with this seed
    confidence : of the intervals, in (0, 1)
    progress : show a progress bar

    Returns
    -------
    Dataset over `step` (1 to n_steps), `chain`, `position`, `height` (0 for tokens; with a grammar up to depth for the
    root) and `estimate` (value, low, high: bootstrap over chains, Wilson's where all are 0 or all are 1):

    - `start`, `final` (chain, position), and `tokens` (step, chain, position) if kept;
    - `overlap` (step, height, chain), `chance` (step, height), `relaxation` C(k) (step, height, estimate), and
      `others` (step, height, chain): the mean overlap of a chain with the starts of the others and of these with its
      own, whose mean is `chance` and whose spread is part of the interval of C(k);
    - `equal` (step, chain): the string is the start; `nearest` (step, chain): no other start is nearer in Hamming
      distance, 1/n if n are as near; `equal_rate` and `nearest_rate` (step, estimate);
    - `accepted` (step, chain) and `acceptance` (estimate);
    - with an observable `observable` (step, chain), `autocorrelation_time` and `effective_sample_size` (estimate).

    An interrupt (Ctrl-C) ends the chains early with a warning and what was measured so far, which can be carried on.

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range.

    Examples
    --------
    Joint samples leave the law of the data as it is, so that no chain leaves them:

    >>> import torch
    >>> from bridges import UTurn, chains
    >>> from uddm import EmpiricalBayes, UniformProcess
    >>> x = torch.tensor([[0, 1, 2, 0], [2, 1, 0, 2], [1, 1, 1, 1]])
    >>> uturn = UTurn(EmpiricalBayes(x, UniformProcess(3)), noise=0.9)
    >>> result = chains(uturn, x.numpy(), 20, rng=0)
    >>> result.sizes["step"], bool((result.final.values[:, None] == x.numpy()).all(-1).any(-1).all())
    (20, True)
    """
    check_kind("uturn", uturn, UTurn)
    check_positive_int("n_steps", n_steps)
    check_confidence(confidence)
    for name, value in (("keep_tokens", keep_tokens), ("progress", progress)):
        check_flag(name, value)
    if grammar is not None and not hasattr(grammar, "parse"):
        raise TypeError(f"`grammar` must have a method parse, as RandomHierarchy, got {type(grammar).__name__}")
    for name, value in (("energy", energy), ("log_prob", log_prob), ("observable", observable)):
        if value is not None:
            check_function(name, value)
    check_rule(uturn, rule, energy, log_prob)
    facts = _facts(uturn, rule, energy, grammar, observable, keep_tokens)
    if isinstance(x, xr.Dataset):
        if rng is not None:
            raise ValueError(f"`rng` must be None where `x` is a result, whose seed is carried on, got {rng!r}")
        start, seed, rows = _carried_on(x, facts, n_steps)
    else:
        start, seed, rows = as_tokens("x", x, uturn.system), as_seed(rng), []
    begin, origin = time.perf_counter(), _Origin(start, grammar, uturn.system.vocab_size)
    x = rows[-1]["tokens"] if rows else start
    target = _Target(rule, energy, log_prob, x)
    try:
        for k in tqdm(range(len(rows) + 1, n_steps + 1), desc="U-turns", disable=None if progress else True):
            own = seed if k == 1 else int(stream(seed, "step", k).integers(2**63))
            proposal, ratio = uturn.path_step(x, rng=own) if rule == "path" else (uturn.step(x, rng=own), 0.0)
            x, accepted = target.decide(x, proposal, ratio, own)
            row = {"tokens": x, "accepted": accepted, **origin.recalled(x)}
            if observable:
                row["observable"] = evaluate("observable", observable, x)
            rows.append(row)
            if not keep_tokens and k > 1:
                rows[-2].pop("tokens", None)
    except KeyboardInterrupt:
        if not rows:
            raise
        warnings.warn(f"interrupted after {len(rows)} of {n_steps} U-turns", RuntimeWarning, stacklevel=2)
    record = manifest(
        measurement=MEASUREMENT,
        **facts,
        seed=seed,
        confidence=confidence,
        input=array_hash(start),
        seconds=time.perf_counter() - begin,
    )
    return _dataset(start, rows, keep_tokens, seed, confidence).assign_attrs(manifest=to_attribute(record))


def relaxation_times(
    *results: xr.Dataset, rng: int | np.random.Generator | None = None, confidence: float = 0.95
) -> xr.Dataset:
    """tau_h = sum over k = 1 ... n of C_h(k), in U-turns, of results of `chains` with equal `n_steps`.

    At most n; about n means no relaxation within the chains. Of one result, intervals are bootstrap over chains; of
    several, from different grammars say, tau is averaged over results, with Student's interval.

    Parameters
    ----------
    results : Datasets of `chains`, each an argument
    rng : seed or generator of the bootstrap
    confidence : of the intervals, in (0, 1)

    Returns
    -------
    Dataset over `height` and `estimate` (value, low, high): `relaxation_time`, and `versus_tokens`, the difference
    tau_h - tau_0, paired within chain or result: negative where a level forgets before the tokens do.

    Raises
    ------
    TypeError : anything but a result of `chains`.
    ValueError : no result, or results of different steps or heights.

    Examples
    --------
    The more noise, the sooner a chain forgets where it started:

    >>> from bridges import relaxation_times
    >>> import torch
    >>> from bridges import UTurn, chains
    >>> from uddm import EmpiricalBayes, UniformProcess
    >>> x = torch.tensor([[0, 1, 2, 0], [2, 1, 0, 2], [1, 1, 1, 1]])
    >>> uturn = UTurn(EmpiricalBayes(x, UniformProcess(3)), noise=0.9)
    >>> little = UTurn(uturn.system, noise=0.1)
    >>> slow, fast = (relaxation_times(chains(u, x.numpy(), 30, rng=0), rng=0) for u in (little, uturn))
    >>> bool((slow.relaxation_time > fast.relaxation_time).sel(estimate="value").all())
    True
    """
    check_confidence(confidence)
    for r in results:
        if not isinstance(r, xr.Dataset) or "others" not in r:
            raise TypeError(f"`results` must be Datasets of `chains`, each an argument, got {type(r).__name__}")
    if len({(len(r.step), len(r.height)) for r in results}) != 1:
        raise ValueError(f"`results` must be at least one, of equal steps and heights, got {len(results)}")
    times = [_normalised(r).sum("step", skipna=False).transpose("height", "chain").values for r in results]
    taus = times[0] if len(times) == 1 else np.stack([t.mean(1) for t in times], 1)
    seed = as_seed(rng)

    def estimates(name: str, values: np.ndarray) -> np.ndarray:
        if len(results) > 1:
            over = xr.DataArray(values, dims=("height", "result"))
            return student(over, "result", confidence).transpose("height", "estimate").values
        how = [stream(seed, name, h) for h in range(len(values))]
        return np.array([bootstrap_mean(v, rng, confidence=confidence) for v, rng in zip(values, how)])

    variables = {
        name: (("height", "estimate"), estimates(name, values), {"units": "U-turns"})
        for name, values in (("relaxation_time", taus), ("versus_tokens", taus - taus[0]))
    }
    return xr.Dataset(variables, coords={"height": results[0].height, "estimate": list(Estimate._fields)})


def check_rule(uturn: UTurn, rule: str, energy: Any, log_prob: Any) -> None:
    """ValueError if the rule is unknown, cannot be exact for this U-turn, or lacks what it needs."""
    check_choice("rule", rule, RULES)
    if rule == "always" and energy is not None:
        raise ValueError("`rule` must be 'exact', 'naive' or 'path' for chains with an energy, got 'always'")
    if rule in ("exact", "naive") and energy is None:
        raise ValueError(f"`energy` must be given for the rule {rule!r}, got None")
    if rule == "exact" and not uturn.exact:
        raise ValueError("`rule` 'exact' needs joint posterior samples (steps=None and a denoiser that draws them)")
    if rule == "path":
        uturn.grid  # noqa: B018  (raises)
        if log_prob is None:
            raise ValueError("`log_prob` must be given for the rule 'path', got None")


def evaluate(name: str, function: Values, x: Integer[np.ndarray, "N L"], sign: int = 1) -> Float64[np.ndarray, " N"]:
    """sign times the function, (N,); numbers or -inf."""
    values = sign * np.asarray(function(x), np.float64)
    if values.shape != (len(x),) or not (values < np.inf).all():
        got = f"shape {values.shape}" if values.shape != (len(x),) else sign * values[~(values < np.inf)][0]
        raise ValueError(f"`{name}` must give a number for each of {len(x)} strings, got {got}")
    return values


class _Target:
    """What the rule compares, up to a constant: -E for "exact" and "naive", log p - E for "path", nothing for "always";
    and its value at the states that the chains are in."""

    def __init__(self, rule: str, energy: Values | None, log_prob: Values | None, x: np.ndarray):
        self.terms = [("energy", energy, -1)] if energy else []
        self.terms += [("log_prob", log_prob, 1)] if rule == "path" and log_prob else []
        self.logs = np.zeros(len(x))
        for name, function, sign in self.terms:
            values = evaluate(name, function, x, sign)
            if not np.isfinite(values).all():
                got = sign * values[~np.isfinite(values)][0]
                raise ValueError(f"`{name}` must be finite at the states to start from, got {got}")
            self.logs += values

    def decide(
        self, x: np.ndarray, proposal: np.ndarray, ratio: np.ndarray | float, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The next states, and which proposals were accepted; `ratio` is the log-ratio of the path's probabilities."""
        if not self.terms:
            return proposal, np.ones(len(x), bool)
        proposed = np.sum([evaluate(name, f, proposal, sign) for name, f, sign in self.terms], 0)
        accepted = -stream(seed, "accept").standard_exponential(len(x)) <= proposed - self.logs + ratio
        self.logs = np.where(accepted, proposed, self.logs)
        return np.where(accepted[:, None], proposal, x), accepted


class _Origin:
    """The starts of the chains, and what states have in common with them."""

    def __init__(self, start: np.ndarray, grammar: Any, vocab_size: int):
        self.start, self.grammar, self.vocab_size = start, grammar, vocab_size
        distinct, self.own = np.unique(start, axis=0, return_inverse=True)
        self.symbols = self._symbols(start)
        self.memory = EmpiricalBayes(torch.as_tensor(distinct), UniformProcess(vocab_size))  # whose overlaps are fast

    def recalled(self, x: np.ndarray) -> dict[str, np.ndarray]:
        overlap, others, chance = self._overlaps(self._symbols(x))
        recalled = {"equal": (x == self.start).all(1), "nearest": self._nearest(x)}
        return recalled | {"overlap": overlap, "others": others, "chance": chance}

    def _symbols(self, x: np.ndarray) -> list[np.ndarray]:
        """Symbols by height above the tokens, tokens first."""
        return [x] if self.grammar is None else [x, *reversed(self.grammar.parse(x))]

    def _overlaps(self, now: list[np.ndarray]) -> list[np.ndarray]:
        """Overlaps of each chain with its own start (height, chain); of it with the starts of others, and of these with
        its own, on average (height, chain); and of all with the starts of others (height,)."""
        found = []
        for a, b in zip(now, self.symbols):
            n, width = a.shape
            size = 2 + int(max(self.vocab_size - 1, a.max(), b.max()))
            cells = np.arange(width) * size + 1
            counts = [np.bincount((s + cells).ravel(), minlength=size * width) for s in (a, b)]
            for count in counts:
                count[::size] = 0  # symbol -1, which equals nothing
            same = (a == b) & (a >= 0)
            met = (counts[1][a + cells] + counts[0][b + cells] - 2 * same).sum(1)
            pairs = 2 * (n - 1) * width if n > 1 else np.nan
            found.append((same.mean(1), met / pairs, met.sum() / (n * pairs)))
        return [np.stack(values) for values in zip(*found)]

    def _nearest(self, x: np.ndarray) -> np.ndarray:
        """1/n for each string (N, L) whose own start is among the n nearest starts, else 0."""
        share = []
        for r in np.array_split(np.arange(len(x)), 1 + len(x) * (1 + self.own.max()) // 2**24):
            near = self.memory.overlaps(torch.as_tensor(x[r])).numpy()
            best = near == near.max(1, keepdims=True)
            share.append(best[np.arange(len(r)), self.own[r]] / best.sum(1))
        return np.concatenate(share)


def _facts(
    uturn: UTurn, rule: str, energy: Values | None, grammar: Any, observable: Values | None, keep_tokens: bool
) -> dict[str, Any]:
    """What chains that are carried on must have in common, for the record."""
    language = getattr(getattr(uturn.system, "denoiser", None), "grammar", None)
    return {
        "rule": rule,
        "exact": uturn.exact,
        "energy": energy is not None,
        "grammar": _arguments(grammar),
        "observable": observable is not None,
        "keep_tokens": keep_tokens,
        "language": _arguments(language),
        **uturn.describe(),
    }


def _arguments(grammar: Any) -> Any:
    """What a grammar is, for the record; of one that cannot tell, whether there is one."""
    return grammar.to_dict() if hasattr(grammar, "to_dict") else grammar is not None


def _carried_on(
    before: xr.Dataset, facts: dict[str, Any], n_steps: int
) -> tuple[np.ndarray, int, list[dict[str, np.ndarray]]]:
    """Starts, seed and rows of an earlier result."""
    record = json.loads(before.attrs.get("manifest", "{}"))
    if record.get("measurement") != MEASUREMENT:
        raise ValueError("`x` must be tokens or a result of `chains` with its manifest, got another Dataset")
    differs = [name for name, value in json.loads(to_attribute(facts)).items() if record.get(name) != value]
    if differs:
        raise ValueError(f"`x` must be a result of the same chains, got another {', '.join(differs)}")
    if n_steps < len(before.step):
        raise ValueError(f"`n_steps` must be at least the {len(before.step)} steps of `x`, got {n_steps}")
    names = [name for name in _PER_STEP if name in before]
    rows = [{name: before[name].values[k] for name in names} for k in range(len(before.step))]
    rows[-1]["tokens"] = before.final.values
    return before.start.values, record["seed"], rows


def _dataset(start: np.ndarray, rows: list[dict[str, Any]], keep_tokens: bool, seed: int, confidence: float):
    data = xr.Dataset(
        {
            name: (dims, np.stack([row[name] for row in rows]))
            for name, dims in _PER_STEP.items()
            if name in rows[0] and (name != "tokens" or keep_tokens)
        }
        | {"start": (("chain", "position"), start), "final": (("chain", "position"), rows[-1]["tokens"])},
        coords={
            "step": np.arange(1, len(rows) + 1),
            "height": np.arange(rows[0]["overlap"].shape[0]),
            "estimate": list(Estimate._fields),
        },
    )
    rates = {"relaxation": _normalised(data), "equal_rate": data.equal, "nearest_rate": data.nearest}
    rates["acceptance"] = data.accepted.mean("step")
    data = data.assign(_means(rates, seed, confidence))
    if "observable" in data:
        values, tau = data.observable.values, Estimate(np.nan, np.nan, np.nan)
        if np.isfinite(values).all():
            tau = autocorrelation_time(values, rng=seed, confidence=confidence)
        data["autocorrelation_time"] = (("estimate",), np.array(tau), {"units": "U-turns"})
        data["effective_sample_size"] = (("estimate",), data.accepted.size / np.array([tau.value, tau.high, tau.low]))
    return data


def _normalised(data: xr.Dataset) -> xr.DataArray:
    """C(k) with the influence of each chain on it, that on chance included, so that resampled means have the spread of
    C(k); NaN where chance is 1, the starts being all equal."""
    free = (1 - data.chance).where(data.chance < 1)
    value = (data.overlap.mean("chain") - data.chance) / free
    alone = (data.overlap - data.chance) / free
    return alone - 2 * (1 - value) * (data.others - data.others.mean("chain")) / free


def _means(rates: dict[str, xr.DataArray], seed: int, confidence: float) -> dict[str, Any]:
    """Means over chains, all of one bootstrap; Wilson's intervals where all are 0 or all are 1."""
    rates = {name: values.transpose("chain", ...) for name, values in rates.items()}
    n = len(next(iter(rates.values())))
    flat = np.concatenate([values.values.reshape(n, -1) for values in rates.values()], 1, dtype=np.float64)
    means = np.full((flat.shape[1], 3), np.nan)
    means[:, 0] = flat.mean(0)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    for at in range(0, flat.shape[1] if n > 1 else 0, 4096):  # columns whose 1000 resamples are in memory together
        sums = resampled_sums(flat[:, at : at + 4096], stream(seed, "bootstrap"), 1000)
        means[at : at + 4096, 1:] = np.quantile(sums / n, tails, axis=0).T
    for column in np.flatnonzero((flat == 0).all(0) | (flat == 1).all(0)):
        means[column] = wilson(n * means[column, 0], n, confidence)
    parts = np.split(means, np.cumsum([values[0].size for values in rates.values()])[:-1])
    return {
        name: ((*values.dims[1:], "estimate"), part.reshape(*values.shape[1:], 3))
        for (name, values), part in zip(rates.items(), parts)
    }
