"""From what was measured and what the checks found to one of four verdicts, in plain words.

The rules were fixed beforehand. A passage *comes back* if half of the attempts of any task restore every token of it.

- reproduces: more suspect than unseen passages come back, by Fisher's exact test at 5 %, one-sided.
- recognises: the area under the ROC curve of the primary score is above 1/2 with its 95 % interval, over documents.
- no evidence: neither, and the areas are not below 1/2 either; with the share of memorized passages that could have
  been missed.
- cannot say: a check failed on which the evidence rests, there is nothing to compare, or unseen text looks more like
  training text than suspect text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float64, Int64

from amtheory.intervals import Estimate, clopper_pearson
from bridges.conformal import conformal_p_values, discoveries, share_limit
from bridges.extractions import TASKS
from bridges.probing.checks import Check
from bridges.probing.evidence import PRIMARY, SIGNS
from bridges.roc import area_under_roc, operating_point

Verdict = Literal["reproduces", "recognises", "no evidence", "cannot say"]
VERDICTS: tuple[Verdict, ...] = ("reproduces", "recognises", "no evidence", "cannot say")
COMES_BACK = 0.5  # share of the attempts of one task
LEVEL = 0.05
RATES = (1e-2, 1e-3)  # of false positives


class Decision(NamedTuple):
    """A verdict and what it rests on.

    Parameters
    ----------
    verdict : one of `VERDICTS`
    headline : one sentence with the counts
    reasons : further sentences
    """

    verdict: Verdict
    headline: str
    reasons: tuple[str, ...]


def statistics(suspect: xr.Dataset, unseen: xr.Dataset, *, seed: int) -> dict[str, Any]:
    """What compares the two sides: areas of all scores, rates of the primary one, discoveries, what comes back.

    Parameters
    ----------
    suspect, unseen : as `evidence.of_passages` measures them
    seed : of the calibration half

    Returns
    -------
    dict
        `scored`, of each side the number of passages with the primary score, and of all; `areas`, of each score an
        Estimate; `rates`, of each rate of false positives an OperatingPoint, None where there are too few documents;
        `found`, which suspect documents are discoveries; `p_values`, of each suspect passage among the first passages
        of the unseen documents, NaN where there is no score, and `found_passages`, which of them are discoveries;
        `returned`, of each side and task, and of any task, how many passages come back of how many tried;
        `corruption`, "replaced" or "masked"; `retrieved`, of each side the mean share of replaced tokens that come back
        at t = 0.25 one at a time, and of the others that are altered, empty where that was not measured
    """
    sides = (suspect, unseen)
    areas = {}
    for name, sign in SIGNS.items():
        if all(name in side for side in sides):
            values = [_measured(side, name, sign) for side in sides]
            if all(len(scores) for scores, _ in values):
                (x, of_x), (y, of_y) = values
                areas[name] = area_under_roc(x, y, documents=(of_x, of_y))
    x, y = (_by_document(*_measured(side, PRIMARY, SIGNS[PRIMARY])) for side in sides)
    rates = {rate: operating_point(x, y, rate, rng=seed) if len(y) * rate >= 10 else None for rate in RATES}
    returned = {name: _returned(side) for name, side in (("suspect", suspect), ("unseen", unseen))}
    scored = {name: (int(side[PRIMARY].count()), side.sizes["sample"]) for name, side in zip(returned, sides)}
    found = discoveries(conformal_p_values(x, y), LEVEL)
    p, found_passages = _by_passage(suspect, unseen)
    retrieved = {name: _retrieved(side) for name, side in zip(returned, sides) if "retrieval" in side}
    return {
        **{"scored": scored, "areas": areas, "rates": rates, "found": found, "returned": returned},
        **{"p_values": p, "found_passages": found_passages, "retrieved": retrieved},
        "corruption": suspect.attrs.get("corruption", "replaced"),
    }


def decide(numbers: dict[str, Any] | None, checks: Sequence[Check]) -> Decision:
    """The verdict of `statistics`, None where there was no text to compare, under the checks."""
    failed = [check for check in checks if check.passed is False]
    spoilt = frozenset().union(*(check.spoils for check in failed))
    why = tuple(f"A check failed ({check.name}): {check.detail} {check.remedy}".strip() for check in failed)
    if "all" in spoilt:
        return Decision("cannot say", _because(failed, "all"), why)
    if numbers is None:
        headline = "Whether a text was learnt by heart is told only beside text that surely was not: none was given."
        return Decision("cannot say", headline, why)
    returned, area = numbers["returned"], numbers["areas"].get(PRIMARY)
    (count, tried), (of_unseen, tried_unseen) = (returned[side]["any"] for side in ("suspect", "unseen"))
    if "extraction" not in spoilt and tried and tried_unseen and _more(count, tried, of_unseen, tried_unseen):
        low, high = _counts(count, tried)
        under, over = _counts(of_unseen, tried_unseen)
        headline = (
            f"{count} of {tried} suspect passages [{low}, {high}] come back word for word from a part of them; of "
            f"{tried_unseen} unseen passages {of_unseen} [{under}, {over}]."
        )
        return Decision("reproduces", headline, (*_what_returned(numbers), *_told(numbers), *why))
    if "recognition" in spoilt:
        return Decision("cannot say", _because(failed, "recognition"), (*_what_returned(numbers), *why))
    if area is None:
        return Decision("cannot say", "There was no time to compare suspect and unseen text.", why)
    if area.low > 0.5:
        back = "it does not come back word for word more often" if tried else "whether it comes back was not tried"
        headline = f"Suspect text is told from unseen text (area under the ROC curve {_interval(area)}); {back}."
        return Decision("recognises", headline, (*_told(numbers), *_what_returned(numbers), *why))
    if area.high < 0.5:
        headline = (
            f"Unseen text looks more like training text than suspect text does (area {_interval(area)}): are the two "
            "exchanged, or of different kinds?"
        )
        return Decision("cannot say", headline, why)
    limit = 2 * area.high - 1
    headline = (
        f"Suspect text cannot be told apart from unseen text (area under the ROC curve {_interval(area)}): had the "
        f"model known more than {_percent(limit)} of the passages better than any unseen one, it would have shown."
    )
    missed = ()
    if tried:
        most = _percent(share_limit(count, tried))
        missed = (f"At most {most} of suspect passages come back word for word ({count} of {tried} did; 95 % limit).",)
    return Decision("no evidence", headline, (*missed, *_what_returned(numbers), *_told(numbers), *why))


def _measured(side: xr.Dataset, name: str, sign: int) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Scores of the passages that have one, and their documents."""
    values = sign * side[name].values
    kept = ~np.isnan(values)
    return values[kept], side.document.values[kept]


def _by_document(scores: Float64[np.ndarray, " n"], document: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " D"]:
    """Means over the passages of each document."""
    _, number, passages = np.unique(document, return_inverse=True, return_counts=True)
    return np.bincount(number, scores) / passages


def _by_passage(suspect: xr.Dataset, unseen: xr.Dataset) -> tuple[Float64[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """Conformal p-values of the suspect passages, and which are discoveries. They are compared with one passage of each
    unseen document, as those of one document are not exchangeable with another's."""
    scores = SIGNS[PRIMARY] * suspect[PRIMARY].values
    others, document = _measured(unseen, PRIMARY, SIGNS[PRIMARY])
    calibration = others[np.unique(document, return_index=True)[1]]
    there = ~np.isnan(scores)
    p, found = np.full(len(scores), np.nan), np.zeros(len(scores), bool)
    p[there] = conformal_p_values(scores[there], calibration)
    found[there] = discoveries(p[there], LEVEL)
    return p, found


def comes_back(side: xr.Dataset) -> Bool[np.ndarray, "N T"]:
    """Which passages come back in which task; False for what was not tried."""
    return side.extracted.values >= COMES_BACK if "extracted" in side else np.zeros((side.sizes["sample"], 0), bool)


def _returned(side: xr.Dataset) -> dict[str, tuple[int, int]]:
    """Of the first passage of each document: how many come back, of how many tried; by task and in any."""
    if "extracted" not in side:
        return {"any": (0, 0)}
    tried = ~np.isnan(side.extracted.values[:, 0])
    first = np.zeros(len(tried), bool)
    first[np.unique(side.document.values[tried], return_index=True)[1]] = True  # those tried stand in front
    came = comes_back(side)[first]
    by_task = {task: (int(came[:, k].sum()), len(came)) for k, task in enumerate(TASKS)}
    return by_task | {"any": (int(came.any(1).sum()), len(came))}


def _more(count: int, tried: int, other: int, tried_other: int) -> bool:
    """Fisher's exact test, one-sided: the first share is larger."""
    from scipy.stats import hypergeom  # a second to import

    p = hypergeom.sf(count - 1, tried + tried_other, count + other, tried)
    return bool(p <= LEVEL * (1 + 1e-9))  # that of 3 in 3 against 0 in 3 is 1/20, but for rounding


def _counts(count: int, trials: int) -> tuple[int, int]:
    """Clopper and Pearson's interval, in passages."""
    share = clopper_pearson(count, trials)
    return int(np.floor(share.low * trials)), int(np.ceil(share.high * trials))


def _retrieved(side: xr.Dataset) -> tuple[float, float]:
    return float(side.retrieval.mean()), float(side.retrieval_unstable.mean())


def _what_returned(numbers: dict[str, Any]) -> tuple[str, ...]:
    returned: dict[str, dict[str, tuple[int, int]]] = numbers["returned"]
    words = {
        "corrupted": f"a quarter of their tokens {numbers['corruption']}",
        "prefix": "their first half",
        "edges": "their first and last quarter",
    }
    said = []
    for task, given in words.items():
        if all(task in side for side in returned.values()):
            (a, n), (b, m) = returned["suspect"][task], returned["unseen"][task]
            said.append(f"Given {given}, {a} of {n} suspect and {b} of {m} unseen passages come back word for word.")
    if len(numbers["retrieved"]) == 2:
        shares = [share for side in ("suspect", "unseen") for share in numbers["retrieved"][side]]
        a, altered, b, altered_unseen = (f"{100 * share:.0f} %" for share in shares)
        said.append(
            "With a quarter of the tokens replaced, not masked, and the most probable token taken at one position "
            f"after the other, {a} of them come back in suspect and {b} in unseen passages; of the others {altered} "
            f"and {altered_unseen} are altered."
        )
    return tuple(said)


def _told(numbers: dict[str, Any]) -> tuple[str, ...]:
    """Who is found, at which rates, among how many if time was up."""
    found, said = numbers["found"], []
    (n, of_n), (m, of_m) = (numbers["scored"][side] for side in ("suspect", "unseen"))
    if (n, m) != (of_n, of_m):
        said.append(f"Time was up when {n} of {of_n} suspect and {m} of {of_m} unseen passages were scored.")
    passages, one_by_one = numbers["found_passages"], ""
    if len(passages) > len(found):
        one_by_one = f", and of {len(passages)} passages one by one {int(passages.sum())}"
    said.append(
        f"Of {len(found)} suspect documents {int(found.sum())} are found as learnt{one_by_one}, of which at most 5 % "
        "are expected to be false."
    )
    for rate, point in numbers["rates"].items():
        if point is not None:
            said.append(f"At {_percent(rate)} of false alarms {_interval(point.true_positive_rate)} of them are found.")
    if lacking := [rate for rate, point in numbers["rates"].items() if point is None]:
        needed = ", ".join(f"of {_percent(rate)} {10 / rate:,.0f}" for rate in lacking)
        said.append(f"To speak of a rate of false alarms it takes more unseen documents: {needed}.")
    return tuple(said)


def _because(failed: Sequence[Check], kind: str) -> str:
    names = [check.name for check in failed if kind in check.spoils]
    return f"What would be said does not hold, as a check failed: {', '.join(names)}."


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
