"""From measurements to a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from amtheory import _validation as check
from amtheory.intervals import Estimate, mean_and_error, student_quantile

Floats = NDArray[np.float64]
Verdict = Literal["supported", "refuted", "undecided"]

CONFIDENCE = 0.95
"""That all intervals of one claim hold together."""


@dataclass(frozen=True)
class Part:
    """A number that a claim says is in an open range, on every system and every other coordinate but ``repeat``.

    Attributes
    ----------
    name : what is measured, with its range in words
    values : over ``repeat`` and others; NaN where nothing was measured, infinite where it is beyond what was measured
    low, high : ends of the range
    resolution : half an interval is at least this wide, as few repeats of a discrete quantity can agree by chance
    largest : a dimension along which the largest mean alone is meant; none by default
    everywhere : whether each measured system must have it, or else is undecided; False if one system is enough
    refutes : whether values outside the range refute the claim; False where they only take away a premise

    Examples
    --------
    >>> import xarray as xr
    >>> from bridges.claims import Part
    >>> Part("rate, above .5", xr.DataArray([0.7, 0.8], dims="repeat"), 0.5).high
    inf
    """

    name: str
    values: xr.DataArray
    low: float = -np.inf
    high: float = np.inf
    resolution: float = 0.0
    largest: str = ""
    everywhere: bool = True
    refutes: bool = True


@dataclass(frozen=True)
class Finding:
    """One number of an outcome: where, its interval over repeats, and what follows for the part.

    Attributes
    ----------
    part : its name
    system, at : where, the latter in words; empty where nothing is to be told apart
    estimate : mean over repeats with its interval, from -inf to inf where that is unknown; NaN for what was not
        measured
    repeats : how many there were
    verdict : "supported", "refuted" or "undecided"

    Examples
    --------
    >>> from amtheory import Estimate
    >>> from bridges.claims import Finding
    >>> Finding("rate, above .5", "text", "size 64", Estimate(0.7, 0.6, 0.8), 3, "supported").verdict
    'supported'
    """

    part: str
    system: str
    at: str
    estimate: Estimate
    repeats: int
    verdict: Verdict


@dataclass(frozen=True)
class Outcome:
    """What measurements say of a claim.

    Attributes
    ----------
    verdict : "supported", "refuted" or "undecided" at this scale
    findings : every number it rests on
    systems : verdict by system; "" for what is said of no system in particular
    reason : in a sentence, with the numbers that decided, and the verdict on each system if they differ

    Examples
    --------
    >>> from bridges import Outcome
    >>> Outcome("undecided", (), {}, "nothing was measured").estimates
    {}
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    systems: dict[str, Verdict]
    reason: str

    @property
    def estimates(self) -> dict[str, Estimate]:
        """The intervals by "system, part, where"."""
        return {", ".join(filter(None, (f.system, f.part, f.at))): f.estimate for f in self.findings}


@dataclass(frozen=True)
class Claim:
    """A statement, and how it is decided.

    Attributes
    ----------
    name : "C1" to "C19"
    statement : what is claimed
    source : where the paper, or a companion, says it
    statistic : what is computed, and the smallest effect that counts
    needs : the variables of the dataset that decides it, with their dimensions
    parts : what the dataset has to say, as ranges

    Examples
    --------
    >>> import xarray as xr
    >>> from bridges import Claim
    >>> from bridges.claims import Part
    >>> def parts(ds):
    ...     return [Part("heads minus tails, within .2", ds["excess"], -0.2, 0.2)]
    >>> fair = Claim("fair", "Coins are fair.", "folklore", "heads minus tails, .2", {"excess": ("repeat",)}, parts)
    >>> fair.decide(xr.Dataset({"excess": ("repeat", [0.02, -0.01, 0.03, 0.0])})).verdict
    'supported'
    """

    name: str
    statement: str
    source: str
    statistic: str
    needs: Mapping[str, Sequence[str]]
    parts: Callable[[xr.Dataset], list[Part]]

    def decide(self, dataset: xr.Dataset) -> Outcome:
        """The verdict that a dataset of measurements gives.

        Parameters
        ----------
        dataset : with the variables of `needs`, and labels along all their dimensions but ``repeat``, in any order; at
            least two values along ``repeat`` for a verdict. What a system lacks is NaN there, as are the repeats that
            it has fewer of; infinite is what was found to be beyond the range that was measured

        Returns
        -------
        Outcome

        Raises
        ------
        ValueError : a variable, a dimension or a label is missing; two labels of a dimension are the same

        Examples
        --------
        >>> import xarray as xr
        >>> from bridges import CLAIMS
        >>> recovery = xr.DataArray(
        ...     [[[[1.0, 0.98, 0.99], [0.4, 0.41, 0.4]], [[0.1, 0.12, 0.11], [0.4, 0.4, 0.39]]]],
        ...     {"system": ["text"], "split": ["train", "test"], "size": [64, 60000]},
        ...     ("system", "split", "size", "repeat"),
        ... )
        >>> CLAIMS["C5"].decide(xr.Dataset({"recovery": recovery})).verdict
        'supported'
        """
        check.kind("dataset", dataset, xr.Dataset)
        dataset = self._needed(dataset)
        if any(0 in variable.shape for variable in dataset.values()):
            return Outcome("undecided", (), {}, "nothing was measured")
        with np.errstate(all="ignore"):  # of what is infinite
            parts = self.parts(dataset)
            findings = _findings(parts)
        findings += _not_measured(parts, findings, _measured_systems(dataset))
        by_system: dict[str, list[Verdict]] = {}
        for finding in findings:
            by_system.setdefault(finding.system, []).append(finding.verdict)
        systems: dict[str, Verdict] = {name: _all_of(verdicts) for name, verdicts in by_system.items()}
        verdict = _all_of(list(systems.values()))
        return Outcome(verdict, tuple(findings), systems, _reason(verdict, findings, systems))

    def _needed(self, dataset: xr.Dataset) -> xr.Dataset:
        """The variables of `needs` as float64, dimensions in that order, with no coordinates but labels. ValueError as
        for `decide`."""
        for name, dims in self.needs.items():
            if name not in dataset:
                raise ValueError(f"`dataset` must have the variable {name!r} to decide {self.name}")
            got = dataset[name].dims
            if set(got) != set(dims):
                raise ValueError(
                    f"`dataset` must have {name!r} over {', '.join(dims)} to decide {self.name}, "
                    f"got {', '.join(map(str, got)) or 'no dimension'}"
                )
            for dim in (dim for dim in dims if dim != "repeat"):
                if dim not in dataset.indexes:
                    raise ValueError(f"`dataset` must have labels along {dim!r} to decide {self.name}, got none")
                if not (labels := dataset.indexes[dim]).is_unique:
                    twice = labels[labels.duplicated()][0]
                    raise ValueError(f"`dataset` must have different labels along {dim!r}, got {twice!r} twice")
        dataset = dataset.reset_coords()  # such as are not labels
        found = {name: dataset[name].transpose(*dims).astype(np.float64) for name, dims in self.needs.items()}
        return xr.Dataset(found)


def _all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a statement about all."""
    if "refuted" in verdicts:
        return "refuted"
    return "supported" if verdicts and "undecided" not in verdicts else "undecided"


def _findings(parts: Sequence[Part]) -> list[Finding]:
    """Of all that was measured."""
    cells = [(part, *cell) for part in parts for cell in _cells(part)]
    confidence = 1 - (1 - CONFIDENCE) / max(sum(len(rows) for *_, rows in cells), 1)
    return [_finding(*cell, confidence) for cell in cells]


def _cells(part: Part) -> list[tuple[str, dict[str, object], dict[object, Floats]]]:
    """System, other labels, and what was measured in single repeats, of each cell where anything was: one row, or along
    `part.largest` several, by label."""
    dims = [str(dim) for dim in part.values.dims if dim not in ("repeat", part.largest)]
    values = part.values.transpose(*dims, *filter(None, [part.largest]), "repeat")
    array = values.values if part.largest else values.values[..., None, :]
    alike = values.indexes[part.largest].tolist() if part.largest else [None]
    names = [values.indexes[dim].tolist() for dim in dims]
    cells = []
    for index in np.ndindex(array.shape[:-2]):
        rows = {label: np.sort(row[~np.isnan(row)]) for label, row in zip(alike, array[index])}
        rows = {label: row for label, row in rows.items() if len(row)}
        if rows:
            labels = {dim: names[k][index[k]] for k, dim in enumerate(dims)}
            cells.append((str(labels.pop("system", "")), labels, rows))
    return cells


def _finding(
    part: Part, system: str, labels: dict[str, object], rows: dict[object, Floats], confidence: float
) -> Finding:
    estimates = {label: _interval(row, confidence, part.resolution) for label, row in rows.items()}
    label = max(rows, key=lambda each: (len(rows[each]) > 1, estimates[each].value))
    value, repeats = estimates[label].value, len(rows[label])
    low, high = (max(ends) for ends in list(zip(*estimates.values()))[1:])
    at = {**labels, part.largest: label} if part.largest else labels
    verdict: Verdict = "undecided"
    if part.low < low and high < part.high:
        verdict = "supported"
    elif (high < part.low or part.high < low) and part.refutes:
        verdict = "refuted"
    told = ", ".join(f"{name} {each}" for name, each in at.items())
    return Finding(part.name, system, told, Estimate(value, low, high), repeats, verdict)


def _interval(repeats: Floats, confidence: float, resolution: float) -> Estimate:
    """Student's, at least as wide as `resolution` says; of one repeat, or where one is infinite, it is unbounded."""
    mean, error = mean_and_error(repeats)
    if len(repeats) < 2 or np.isinf(repeats).any():
        return Estimate(np.inf if np.isnan(mean) else float(mean), -np.inf, np.inf)
    half = max(student_quantile(len(repeats), confidence) * error, resolution)
    return Estimate(float(mean), float(mean - half), float(mean + half))


def _measured_systems(dataset: xr.Dataset) -> list[str]:
    """Those of which a repeat of anything was measured."""
    found = [
        values.notnull().any([dim for dim in values.dims if dim != "system"]).values
        for values in dataset.values()
        if {"system", "repeat"} <= set(values.dims)
    ]
    return [str(name) for name in dataset.indexes["system"][np.any(found, axis=0)]] if found else []


def _not_measured(parts: Sequence[Part], findings: Sequence[Finding], systems: Sequence[str]) -> list[Finding]:
    """A claim is not supported by a half of it."""
    lacking = []
    for part in parts:
        has = {finding.system for finding in findings if finding.part == part.name}
        if part.everywhere and "system" in part.values.dims and systems:
            lacking += [(part.name, system) for system in systems if system not in has]
        elif not has:
            lacking.append((part.name, ""))
    unknown = Estimate(np.nan, -np.inf, np.inf)
    return [Finding(part, system, "", unknown, 0, "undecided") for part, system in lacking]


def _reason(verdict: Verdict, findings: Sequence[Finding], systems: Mapping[str, Verdict]) -> str:
    if not findings:
        return "nothing was measured"
    told = []
    for finding in (f for f in findings if f.verdict == verdict):
        where = ", ".join(filter(None, (finding.system, finding.at)))
        told.append(f"{where}{': ' if where else ''}{finding.part}: {_number(finding)}")
    lines = "; ".join(told[:4]) + (f"; and {len(told) - 4} more" if len(told) > 4 else "")
    if len(set(systems.values())) > 1:
        each = (f"{name or 'in general'}: {on_it}" for name, on_it in systems.items())
        lines = f"{', '.join(each)}. {lines}"
    return lines


def _number(finding: Finding) -> str:
    value, low, high = finding.estimate
    if not finding.repeats:
        return "not measured"
    if finding.repeats == 1:
        return f"{value:.3g} in a single repeat"
    if np.isinf(value):
        return "beyond what was measured"
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"
