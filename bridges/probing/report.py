"""What a probe found: as an object, as JSON and netCDF, and as one page for readers outside the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bridges.extractions import TASKS
from bridges.pieces import pieces, visible
from bridges.probing import plots
from bridges.probing.checks import Check
from bridges.probing.evidence import BASELINES, PRIMARY
from bridges.probing.verdict import Decision, Verdict
from bridges.recovery import TOKEN_CLASSES, token_classes
from uddm.files import as_path, to_json, write_atomically

SCHEMA = 1
"""Version of what the JSON holds."""
SHOWN = 10


@dataclass(frozen=True)
class Report:
    """What `bridges.probe` found.

    Attributes
    ----------
    decision : verdict, headline and reasons
    checks : what had to hold before, each with what it found
    measured : for each side ("suspect", "unseen", "train") a Dataset over its passages
    alone : what the model said without any text: `memories` and `entropy` (Estimate), `attraction`, `samples`
    numbers : what compares the sides, None where nothing was compared
    record : the manifest
    tokenizer : of the texts, if there is one

    Examples
    --------
    >>> from bridges import probe
    >>> from uddm import EmpiricalBayes, UniformProcess
    >>> report = probe(EmpiricalBayes([[0, 1, 2, 0], [2, 1, 0, 1]], UniformProcess(3)), generated=20, steps=None, rng=0)
    >>> report.verdict
    'cannot say'
    """

    decision: Decision
    checks: tuple[Check, ...]
    measured: Mapping[str, xr.Dataset]
    alone: Mapping[str, Any]
    numbers: Mapping[str, Any] | None
    record: Mapping[str, Any]
    tokenizer: Any = None

    @property
    def verdict(self) -> Verdict:
        """ "reproduces", "recognises", "no evidence" or "cannot say"."""
        return self.decision.verdict

    @property
    def reasons(self) -> tuple[str, ...]:
        """The headline, and what else the verdict rests on."""
        return (self.decision.headline, *self.decision.reasons)

    @cached_property
    def scores(self) -> xr.Dataset:
        """All that was measured of passages, over `sample`, with the coordinate `side`; empty if nothing was."""
        if not self.measured:
            return xr.Dataset()
        measured = dict(self.measured)
        if self.numbers:
            measured["suspect"] = measured["suspect"].assign(p_value=("sample", self.numbers["p_values"]))
        names = measured.items()
        sides = [data.assign_coords(side=("sample", [name] * data.sizes["sample"])) for name, data in names]
        joined = xr.concat(sides, "sample", data_vars="minimal", coords="minimal", compat="override", join="outer")
        return joined.assign_attrs(manifest=json.dumps(self.record, sort_keys=True, default=str))

    @cached_property
    def passages(self) -> list[dict[str, Any]]:
        """The strongest suspect passages: text, score, what came back, and the class of each token at t = 0.25."""
        if "suspect" not in self.measured:
            return []
        side = self.measured["suspect"]
        score = np.nan_to_num(side[PRIMARY].values, nan=-np.inf)
        back = np.nan_to_num(side.extracted.values, nan=0.0).max(1) if "extracted" in side else np.zeros(len(score))
        p = self.numbers["p_values"] if self.numbers else np.full(len(score), np.nan)
        return [self._passage(side, int(i), float(p[i])) for i in np.lexsort((-score, -back))[:SHOWN]]

    def _passage(self, side: xr.Dataset, i: int, p: float) -> dict[str, Any]:
        x = side.tokens.values[i]
        texts = pieces(self.tokenizer, x) if self.tokenizer else [f"{token} " for token in x]
        classes = [""] * len(x)
        if "final" in side and (side.final.values[i] >= 0).all():
            found = token_classes(x, side.corrupted.values[i], side.final.values[i])
            classes = [TOKEN_CLASSES[c] for c in found]
        shares = side.extracted.values[i] if "extracted" in side else np.full(len(TASKS), np.nan)
        return {
            "document": int(side.document.values[i]),
            "score": float(side[PRIMARY].values[i]),
            "p_value": p,
            "returned": {task: float(share) for task, share in zip(TASKS, shares) if not np.isnan(share)},
            "tokens": [list(pair) for pair in zip(texts, classes)],
        }

    def to_dict(self) -> dict[str, Any]:
        """What the JSON holds, with `schema`, the version of its form."""
        numbers = self.numbers or {}
        return _plain(
            {
                "schema": SCHEMA,
                "verdict": self.verdict,
                "reasons": self.reasons,
                "checks": [{**check._asdict(), "spoils": sorted(check.spoils)} for check in self.checks],
                "scored": numbers.get("scored", {}),
                "areas": numbers.get("areas", {}),
                "primary_score": PRIMARY,
                "true_positive_rates": {f"{rate:g}": point for rate, point in numbers.get("rates", {}).items()},
                "returned": numbers.get("returned", {}),
                "discoveries": int(np.sum(numbers["found"])) if numbers else None,
                "passage_discoveries": int(np.sum(numbers["found_passages"])) if numbers else None,
                "calibration_areas": numbers.get("calibration", {}).get("areas", {}),
                "memories": self.alone["memories"],
                "entropy": self.alone["entropy"],
                "attraction": self.alone["attraction"],
                "passages": self.passages,
                "manifest": self.record,
            }
        )

    def write(self, folder: str | Path) -> Path:
        """Write report.html, report.json and scores.nc, each whole or not at all.

        Parameters
        ----------
        folder : made if need be

        Returns
        -------
        path of the page
        """
        folder = as_path("folder", folder)
        made = {
            "scores.nc": bytes(self.scores.to_netcdf(engine="h5netcdf")),
            "report.json": to_json(self.to_dict()),
            "report.html": self.html().encode(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in made.items():
            write_atomically(folder / name, content)
        return folder / "report.html"

    def html(self) -> str:
        """The page."""
        from jinja2 import Environment, PackageLoader

        pages = Environment(
            loader=PackageLoader("bridges", "probing"), autoescape=True, trim_blocks=True, finalize=visible
        )
        pages.globals["inf"] = float("inf")
        pages.filters |= {"interval": _interval, "percent": lambda share: f"{100 * share:.0f} %"}
        return pages.get_template("page.html.jinja").render(
            report=self,
            pictures=plots.pictures(self.measured) if self.numbers else [],
            numbers=self.numbers,
            alone=self.alone,
            baselines=BASELINES,
            primary=PRIMARY,
            record=json.dumps(_plain(self.record), indent=1, sort_keys=True),
        )


def _plain(value: Any) -> Any:
    """As JSON can hold it: numbers that are not finite become None."""
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _interval(values: Any) -> str:
    value, low, high = values
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
