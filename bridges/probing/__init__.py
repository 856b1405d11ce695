"""Does a deployed model memorize: what is asked of it, what must hold before anything is said, and a verdict.

Three tiers, by what the user has: the model alone; suspect text and text that was surely not trained on, of the same
source; and true training text, for calibration.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

from amtheory import _validation as check
from bridges.manifest import array_hash, manifest
from bridges.measured import as_system
from bridges.probing import checks, evidence, texts, verdict
from bridges.probing.passages import Passages, passages_of
from bridges.probing.report import Report
from bridges.probing.store import Parts
from bridges.streams import as_seed, stream
from bridges.system import MemorySystem
from uddm.files import as_path

SIDES = ("suspect", "unseen", "train")


def probe(
    model: Any,
    *,
    suspect: Any = None,
    unseen: Any = None,
    train: Any = None,
    reference: Any = None,
    tokenizer: Any = None,
    framed: bool = False,
    length: int | None = None,
    passages: int = 500,
    extracted: int = 100,
    generated: int = 200,
    draws: int = 20,
    steps: int | None = 32,
    budget: float | None = None,
    folder: str | Path | None = None,
    rng: int | np.random.Generator | None = None,
    progress: bool = False,
) -> Report:
    """Ask a model whether it memorizes, and give a verdict that can be acted on.

    Parameters
    ----------
    model : what `as_system` takes: a model folder, a denoiser, a binary memory, or any `MemorySystem`
    suspect : texts that it may have been trained on: documents, strings; or token ids (N, L), each row a document
    unseen : texts of the same source on which it was surely not trained; with `suspect` or not at all
    train : texts on which it was trained, for calibration
    reference : another model of the same tokens, trained on other text, whose pseudo-log-likelihood is subtracted in
        one of the scores; or "unigram", the frequencies of single tokens
    tokenizer : of texts, a `uddm.corpora.Tokenizer`; default None, that of a model folder
    framed : whether the model's sequences begin with BOS and end with EOS; default False
    length : tokens of a passage, >= 1, of a model that takes any number of them; default None, the model's own
    passages : of each side that are scored, at most; default 500
    extracted : of each side whose reconstruction is tried, at most, the first of each document; default 100
    generated : sequences that are generated to ask the model alone, >= 2; default 200
    draws : attempts to reconstruct each passage, for each task of `extraction`; default 20
    steps : of the reverse process; default 32; None for the system's own. More steps extract more
    budget : minutes, after which the verdict rests on what is measured by then; a quarter of them for what the model
        generates; default None, no end. The first part of each is measured in any case
    folder : keeps what is measured, so that the same call goes on after an interruption; default None
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy
    progress : show a bar; default False

    Returns
    -------
    Report, whose `verdict` is "reproduces", "recognises", "no evidence" or "cannot say"

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range; only one of `suspect` and `unseen`; texts without
        a tokenizer

    See Also
    --------
    membership_scores, extraction, count_memories, attraction : what it is made of

    Examples
    --------
    The exact limit of memorization, asked about its own strings:

    >>> import numpy as np
    >>> from bridges import probe
    >>> from uddm import EmpiricalBayes, UniformProcess
    >>> x, y = np.random.default_rng(0).integers(12, size=(2, 40, 12))
    >>> few = {"extracted": 10, "generated": 20, "draws": 2, "steps": 8}
    >>> report = probe(EmpiricalBayes(x, UniformProcess(12)), suspect=x, unseen=y, **few, rng=0)
    >>> report.verdict
    'reproduces'
    """
    system, tokenizer = _with_tokenizer(model, tokenizer)
    system = _of_length(system, length)
    unigram = isinstance(reference, str) and reference == "unigram"
    other = None if reference is None or unigram else _of_length(as_system(reference), length)
    if other is not None and (other.length, other.vocab_size) != (system.length, system.vocab_size):
        raise ValueError(
            f"`reference` must have the model's length {system.length} and vocabulary {system.vocab_size}, got "
            f"{other.length} and {other.vocab_size}"
        )
    if (suspect is None) != (unseen is None):
        raise ValueError("`suspect` and `unseen` must be given together: nothing can be said of one without the other")
    if train is not None and suspect is None:
        raise ValueError("`train` calibrates the comparison of `suspect` and `unseen`, which are not given")
    passages, extracted = check.integer("passages", passages, 1), check.integer("extracted", extracted, 0)
    generated, draws = check.integer("generated", generated, 2), check.integer("draws", draws, 1)
    folder = None if folder is None else as_path("folder", folder)
    check.flag("progress", progress)
    if budget is not None:
        budget = check.real("budget", budget, positive=True)
    seed, begin = as_seed(rng), time.perf_counter()
    clock = evidence.Clock(budget)
    sides = {
        name: passages_of(
            name,
            given,
            system.length,
            system=system,
            tokenizer=tokenizer,
            framed=framed,
            limit=passages,
            rng=stream(seed, "passages"),
        )
        for name, given in zip(SIDES, (suspect, unseen, train))
        if given is not None
    }
    plan = evidence.Plan(extracted, generated, draws, steps, seed)
    record = {
        "system": system.describe(),
        "reference": reference if unigram else None if other is None else other.describe(),
        "input": {name: array_hash(side.tokens) for name, side in sides.items()},
        **{"extracted": extracted, "generated": generated, "draws": draws, "steps": steps, "seed": seed},
    }
    asked = [evidence.answers(each) for each in (system, other) if folder is not None and each is not None]
    parts = Parts(folder and folder / "parts", {**record, "answers": asked})
    with tqdm(total=1.0, desc="probe", disable=None if progress else True, leave=False, bar_format=_BAR) as bar:

        def told(what: str, share: float) -> None:
            bar.set_description(what)
            bar.update(share - bar.n)

        samples = evidence.generated(system, plan, parts, clock, 0.25 if sides else 0.75, told)
        found, numbers = _checks(system, sides, samples, seed), None
        measured: dict[str, xr.Dataset] = {}
        if sides and not any(each.passed is False and "all" in each.spoils for each in found):
            how: dict[str, Any] = {"decode": _bytes_of(tokenizer), "reference": other, "told": told}
            if "train" in sides:
                how |= {"train": sides["train"].tokens, "exact": _exact(system, sides["train"].tokens)}
            measured = evidence.of_passages(system, sides, plan, parts, clock, **how)
            evidence.with_unigram(measured, as_reference=unigram)
            numbers = verdict.statistics(measured["suspect"], measured["unseen"], seed=seed)
            if "train" in measured:
                numbers["calibration"] = verdict.statistics(measured["train"], measured["unseen"], seed=seed)
        told("corrupting what was generated", 1.0)
        alone = evidence.alone(system, samples, plan, parts, clock)
    facts = manifest(measurement="probe", **record, seconds=time.perf_counter() - begin)
    return Report(verdict.decide(numbers, found), tuple(found), measured, alone, numbers, facts, tokenizer)


_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


def _checks(system: MemorySystem, sides: dict[str, Passages], samples: np.ndarray, seed: int) -> list[checks.Check]:
    """All that can be made; passages that are shared by documents are left out of `sides`."""
    found = []
    if sides:
        found.append(_length(sides, system.length))
    if sides and all(len(side.tokens) for side in sides.values()):
        suspect, unseen = sides["suspect"], sides["unseen"]
        train = sides["train"].tokens if "train" in sides else None
        both: dict[str, Any] = {
            "counted": (suspect.counted, unseen.counted),
            "documents": (suspect.document, unseen.document),
        }
        leaks, *shared = texts.leaks(suspect.tokens, unseen.tokens, train=train, **both)
        found.append(leaks)
        if leaks.passed:
            suspect, unseen = (side.rows(~leaving) for side, leaving in zip((suspect, unseen), shared))
            sides |= {"suspect": suspect, "unseen": unseen}
            both = {"counted": (suspect.counted, unseen.counted), "documents": (suspect.document, unseen.document)}
        few, mask = unseen.tokens[: evidence.BLOCK], unseen.counted[: evidence.BLOCK]
        every = np.concatenate([suspect.tokens[: len(few)], few])
        marks = np.concatenate([suspect.counted[: len(few)], mask])
        found += [
            texts.shift(suspect.tokens, unseen.tokens, **both, rng=seed),
            texts.enough(len(np.unique(suspect.document)), len(np.unique(unseen.document)), verdict.RATES[0]),
            checks.tokenization(system, every, counted=marks),
            checks.own_token(system, every, counted=marks, rng=seed),
            checks.precision(system, few, counted=mask),
        ]
    else:
        found += [checks.own_token(system, samples, rng=seed), checks.precision(system, samples[: evidence.BLOCK])]
    return [*found, checks.sharpness(system, samples)]


def _of_length(system: MemorySystem, length: int | None) -> MemorySystem:
    if length is None or check.integer("length", length, 1) == system.length:
        return system
    if not getattr(getattr(system, "denoiser", None), "any_length", False):
        raise ValueError(f"`length` must be the {system.length} tokens that this model takes, got {length}")
    system = copy.copy(system)
    system.length = length
    return system


def _exact(system: MemorySystem, train: np.ndarray) -> MemorySystem | None:
    """The exact memory of the training passages, under the model's own noise."""
    process = getattr(system, "process", None)
    if process is None:
        return None
    from uddm import EmpiricalBayes

    return as_system(EmpiricalBayes(train, process))


def _length(sides: dict[str, Passages], length: int) -> checks.Check:
    """Is there a passage on every side?"""
    empty = [name for name, side in sides.items() if not len(side.tokens)]
    said = [
        f"{len(side.tokens)} {name} passages of {length} tokens from {side.given} documents"
        + (f", of which {side.short} at the end are too short" if side.short else "")
        for name, side in sides.items()
    ]
    remedy = f"Give more {' and '.join(empty)} text." if empty else ""
    return checks.Check("length", not empty, f"There are {'; '.join(said)}.", remedy, frozenset({"all"}))


def _with_tokenizer(model: Any, tokenizer: Any) -> tuple[MemorySystem, Any]:
    """The system, and the tokenizer that is given or stands in the model's folder."""
    system = as_system(model)
    if tokenizer is None and isinstance(model, str | Path) and (path := Path(model) / "tokenizer.json").exists():
        from uddm.corpora import read_tokenizer

        tokenizer = read_tokenizer(path)
    if tokenizer is not None:
        from uddm.corpora import Tokenizer

        check.kind("tokenizer", tokenizer, Tokenizer)
    if tokenizer is not None and tokenizer.vocab_size != system.vocab_size:
        from uddm.importers import tokenizer_fits

        network = type(getattr(system, "denoiser", None)).__name__
        if not tokenizer_fits(tokenizer.vocab_size, system.vocab_size, network):
            raise ValueError(
                f"`tokenizer` must be the model's, of {system.vocab_size} tokens, got one of {tokenizer.vocab_size}"
            )
    return system, tokenizer


def _bytes_of(tokenizer: Any) -> Callable[[np.ndarray], bytes]:
    """The text of tokens as bytes; their ids where there is no tokenizer."""
    if tokenizer is None:
        return lambda ids: ids.astype("<u4").tobytes()
    return lambda ids: tokenizer.decode(ids).encode()
