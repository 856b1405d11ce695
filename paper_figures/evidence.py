"""What decides each claim: the tasks whose cells it needs, and the dataset that `bridges.claims.Claim.decide` takes.

Repeats are trainings on training sets of their own (text), grammars (hierarchical language) and data sets (binary
memories).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from bridges import (
    SCORES,
    TOKEN_CLASSES,
    area_under_roc,
    find_transition,
    frequency_chance,
    ks_distance,
    true_positive_rate,
)
from bridges.claims import ends
from paper_figures.cells import stack
from paper_figures.measure import hierarchy, language, margins, memories, nearest, noises, relaxation
from paper_figures.measure.networks import unigram_entropy
from paper_figures.task import Task
from paper_figures.workspace import Workspace

TEXT, GRAMMAR, SPINS = "text", "hierarchical language", "binary memory"
FALSE_POSITIVES = 0.01
"""Share of unseen sequences taken for training sequences, at which those that are found are counted."""

_LEARNED = {"system": memories.PSEUDO_LIKELIHOOD}

Measured = language.Measured | hierarchy.Measured | memories.Measured


class Evidence(NamedTuple):
    """Of one claim.

    Parameters
    ----------
    tasks : of a workspace, what has to be done before `compute`
    compute : of a workspace, from the cells of these tasks, what the claim's `needs` name
    figure : that shows it
    """

    tasks: Callable[[Workspace], Sequence[Task]]
    compute: Callable[[Workspace], xr.Dataset]
    figure: str


# --- the three transitions ---------------------------------------------------------------------------


def transition_tasks(ws: Workspace) -> list[Task]:
    """Of the main network on text, the tree network on the grammars, and the binary memories."""
    return [*language.main_tasks(ws), *hierarchy.main_tasks(ws), *memories.tasks(ws)]


def _together(parts: Mapping[str, Any]) -> Any:
    """Systems one after the other, all DataArrays or all Datasets; NaN where one lacks a size or a repeat."""
    numbered = [part.assign_coords(repeat=range(part.sizes["repeat"])) for part in parts.values()]
    return xr.concat(numbered, xr.Variable("system", list(parts)), join="outer", coords="minimal", compat="override")


def _text(ws: Workspace, make: Callable[..., xr.Dataset], **axes: Sequence[str]) -> xr.Dataset:
    return language.by_seed(ws, language.main(ws), make, **axes).rename(dataset_size="size")


def _grammars(ws: Workspace) -> xr.Dataset:
    found = hierarchy.measurements(ws, hierarchy.sweep(ws, hierarchy.networks(ws)[0]), "size")
    return found.rename(grammar="repeat")


def _spins(ws: Workspace, found: xr.Dataset) -> xr.Dataset:
    """By the number of patterns."""
    found = found.rename(alpha="size", disorder="repeat")
    return found.assign_coords(size=np.round(found["size"] * ws.preset.memories.length))


def on_each(ws: Workspace, make: Callable[[Measured], xr.Dataset]) -> xr.Dataset:
    """`make(measured)` over (system, size, repeat) of all that `transition_tasks` make."""
    return _together(
        {
            TEXT: _text(ws, make),
            GRAMMAR: hierarchy.by_grammar(ws, make).rename(grammar="repeat"),
            SPINS: _spins(ws, memories.by_load(ws, make)),
        }
    )


def recovery(ws: Workspace) -> xr.Dataset:
    """`recovery` of training and test tokens against the size of the training set, on each system."""

    spins = _spins(ws, memories.recoveries(ws).sel(_LEARNED, drop=True)).recovery
    noise = nearest(ws.preset.memories.noise)
    parts = {
        TEXT: _text(ws, language.recovery, split=language.SPLITS).recovery,
        GRAMMAR: _grammars(ws).recovery,
        SPINS: spins.sel(split=list(language.SPLITS), noise=noise, drop=True),
    }
    return _together({name: each.sel(estimate="value", drop=True) for name, each in parts.items()}).to_dataset(
        name="recovery"
    )


def sequence_entropy(ws: Workspace, sequences: str) -> dict[str, xr.DataArray]:
    """Conditional entropies of single sequences in nats, over (size, repeat, sample), by system."""

    return {
        TEXT: _text(ws, lambda measured: language.sequence_entropy(measured, sequences)).sequence_entropy,
        GRAMMAR: _grammars(ws).sequence_entropy.sel(sequences=sequences, drop=True),
        SPINS: _spins(ws, memories.entropies(ws).sel(_LEARNED | {"sequences": sequences}, drop=True)).sequence_entropy,
    }


def entropies(ws: Workspace) -> xr.Dataset:
    """`entropy` of training sequences in nats per token, and that of the frequencies of tokens, `unigram`."""
    lengths = {TEXT: ws.preset.language.length, GRAMMAR: _grammar(ws).grammar.length, SPINS: ws.preset.memories.length}
    found = {name: each.mean("sample") / lengths[name] for name, each in sequence_entropy(ws, "train").items()}
    unigram = {
        TEXT: unigram_entropy(language.frequent(ws), ws.blocks.vocab_size),
        GRAMMAR: float(_grammars(ws).unigram.isel(size=-1).mean()),
        SPINS: np.log(2),
    }
    return xr.Dataset({"entropy": _together(found), "unigram": ("system", list(unigram.values()))})


def distances(ws: Workspace) -> xr.Dataset:
    """`distance` of the distributions of sequence entropies, training against generated."""
    train, generated = sequence_entropy(ws, "train"), sequence_entropy(ws, "generated")

    def distance(*samples: np.ndarray) -> float:
        there = [sample[np.isfinite(sample)] for sample in samples]
        return ks_distance(*there) if all(map(len, there)) else np.nan

    dims = {"input_core_dims": [["sample"], ["other"]], "vectorize": True}
    found = {
        name: xr.apply_ufunc(distance, train[name], generated[name].rename(sample="other"), **dims) for name in train
    }
    return _together(found).to_dataset(name="distance")


def _grammar(ws: Workspace) -> hierarchy.Measured:
    return hierarchy.Measured(ws, hierarchy.sweep(ws, hierarchy.networks(ws)[0])[0])


# --- what entropy tells ------------------------------------------------------------------------------


def token_classes(ws: Workspace) -> xr.Dataset:
    """`area` under the ROC of token entropy, failed against recovered tokens, on each system."""
    recovered, failed = (TOKEN_CLASSES.index(name) for name in ("recovered", "failed"))

    def area(measured: Measured) -> xr.Dataset:
        found = [ws.get(measured.classes(split)) for split in language.SPLITS]
        entropy, classes = (
            np.concatenate([each[name].values for each in found]) for name in ("token_entropy", "token_class")
        )
        parts = [entropy[classes == code] for code in (failed, recovered)]
        return xr.Dataset({"area": area_under_roc(*parts).value if all(map(len, parts)) else np.nan})

    return on_each(ws, area)


def curvature_tasks(ws: Workspace) -> list[Task]:
    """Of the main network on text, and the binary memories."""
    return [*language.main_tasks(ws), *memories.tasks(ws)]


def curvature(ws: Workspace) -> xr.Dataset:
    """Rank correlations over the test sequences of entropy with curvature and with the basin of the same sequence, at
    the largest training set, on text and binary memories."""

    def correlations(measured: language.Measured | memories.Measured, basins: Sequence[np.ndarray]) -> xr.Dataset:
        """basins: shares of tokens that are right after recovery from each noise, of the first sequences."""
        scores, basin = ws.get(measured.scores()).sel(split="test").dropna("sample"), np.mean(basins, axis=0)
        entropy, both = scores.entropy.values, min(len(basin), scores.sizes["sample"])
        return xr.Dataset(
            {
                "curvature_correlation": _rank_correlation(entropy, scores.curvature.values),
                "basin_correlation": _rank_correlation(entropy[:both], basin[:both]),
            }
        )

    def on_text(measured: language.Measured) -> xr.Dataset:
        runs = [ws.get(measured.recovery("test", noise)).squeeze("noise") for noise in ws.preset.language.noise]
        return correlations(measured, [(run.final == run.original).mean("position").values for run in runs])

    def on_spins(repeat: int) -> xr.Dataset:
        measured = memories.Measured(ws, max(memories.loads(ws)), repeat)
        return correlations(measured, [ws.get(measured.basins(t)).restored.values for t in ws.preset.memories.noise])

    text = _text(ws, on_text).isel(size=-1, drop=True)
    return _together({TEXT: text, SPINS: stack(on_spins, repeat=memories.disorders(ws))})


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's, ties at their mean rank."""
    from scipy.stats import rankdata  # a second to import

    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def detection(ws: Workspace) -> xr.Dataset:
    """On each system, of training against unseen sequences, by score, each with the sign that makes it detect: `area`
    under the ROC; `detected`, the share of training sequences that are found at `FALSE_POSITIVES`, where the unseen
    ones are enough for it."""

    def detected(members: xr.DataArray, others: xr.DataArray, seed: int) -> float:
        if len(others) * FALSE_POSITIVES < 10:
            return np.nan
        return true_positive_rate(members, others, FALSE_POSITIVES, rng=seed).value

    def rates(measured: Measured) -> xr.Dataset:
        found = ws.get(measured.scores())
        names = [name for name in SCORES if name in found]
        samples = [
            [(SCORES[name] * found[name].sel(split=split)).dropna("sample") for split in language.SPLITS]
            for name in names
        ]
        found = {
            "area": [area_under_roc(*each).value for each in samples],
            "detected": [detected(members, others, measured.seed) for members, others in samples],
        }
        return xr.Dataset({name: ("score", values) for name, values in found.items()}, {"score": names})

    return on_each(ws, rates)


# --- text --------------------------------------------------------------------------------------------


def model_size(ws: Workspace) -> xr.Dataset:
    """`crossing`, where test recovery has come within .05 of training recovery, and `gap` at the largest size, by
    width."""

    def of_width(measured: language.Measured) -> xr.Dataset:
        recovery = {split: language.recovery(measured, split).recovery for split in language.SPLITS}
        entropy = {name: language.entropy(measured, name).mean_entropy for name in ("train", "generated")}
        found = {**recovery, "gap": entropy["generated"] - entropy["train"]}
        return xr.Dataset(found).sel(estimate="value", drop=True)

    crossings, gaps, widths = [], [], language.widths(ws)
    for name in widths.values():
        found = language.by_seed(ws, name, of_width)
        curves = [found[split].transpose("repeat", ...).values for split in language.SPLITS]
        crossings.append([find_transition(found.dataset_size.values, *each).value for each in zip(*curves)])
        gaps.append(found.gap.isel(dataset_size=-1).values)
    dims = ("system", "width", "repeat")
    return xr.Dataset(
        {"crossing": (dims, [crossings]), "gap": (dims, [gaps])}, {"system": [TEXT], "width": list(widths)}
    )


# --- hierarchical language ---------------------------------------------------------------------------


def memorized_first(ws: Workspace) -> xr.Dataset:
    """`common_first`: memorized share of the commonest quartile of substrings minus that of the rarest; `advance`: that
    of whole strings, minus that with the first rules. Means over the course of training, by rules."""
    names = list(ws.preset.hierarchy.rules)
    courses = [hierarchy.measurements(ws, hierarchy.course(ws, rules), "steps").memorized for rules in names]
    found = xr.concat(courses, xr.Variable("system", names)).sel(estimate="value", drop=True)
    found = found.mean("steps").rename(grammar="repeat")
    by_quartile = found.sel(level=hierarchy.COMMON_LEVEL, drop=True)
    whole = found.isel(level=-1, drop=True).sel(quartile=0, drop=True)
    common_first = by_quartile.sel(quartile=4, drop=True) - by_quartile.sel(quartile=1, drop=True)
    advance = whole.isel(system=slice(1, None)) - whole.isel(system=0, drop=True)
    return xr.Dataset({"common_first": common_first.isel(system=slice(1, None)), "advance": advance})


def ergodicity(ws: Workspace) -> xr.Dataset:
    """`relaxation` of the root after all U-turns, by signal level."""
    settings = ws.preset.relaxation

    def root(alpha: float, repeat: int) -> xr.Dataset:
        found = ws.get(relaxation.chains(ws, alpha, repeat)).relaxation.isel(step=-1, height=-1, drop=True)
        return found.sel(estimate="value", drop=True).to_dataset(name="relaxation")

    return stack(root, alpha=settings.alphas, repeat=relaxation.grammars(ws)).expand_dims(system=[GRAMMAR])


def basins(ws: Workspace) -> xr.Dataset:
    """What the binary memories say of C2, and the `recovery_excess` over chance of training tokens of the networks at
    the smallest size."""
    recovered = recovery(ws).recovery.sel(split="train", drop=True)
    noise, strings = nearest(ws.preset.language.noise), _grammar(ws).strings["all"]
    symbols = _grammar(ws).grammar.symbols
    chance = {
        TEXT: language.chance(ws).sel(noise=noise).item(),
        GRAMMAR: frequency_chance(strings, ws.preset.hierarchy.noise, vocab_size=symbols).item(),
    }
    smallest, _ = ends(recovered.sel(system=list(chance)), "size")
    excess = smallest - xr.DataArray(list(chance.values()), {"system": list(chance)}, "system")
    return xr.merge([margins.claim_C2(ws), excess.to_dataset(name="recovery_excess")], join="outer")


# --- the noise ---------------------------------------------------------------------------------------


def under_noises(ws: Workspace) -> xr.Dataset:
    """`retrieved` of training and test tokens against the size of the training set, under each noise."""
    names = {noises.STRINGS: GRAMMAR, noises.TEXT: TEXT}
    found = {
        f"{name}, {kind}": noises.over_sizes(ws, data, kind, noises.retrieval)[["retrieved"]]
        for data, name in names.items()
        for kind in noises.kinds(ws)
        if noises.cases(ws, data, kind)
    }
    return _together(found)


EVIDENCE: dict[str, Evidence] = {
    "C1": Evidence(margins.identity_tasks, margins.claim_C1, "am_margins"),
    "C2": Evidence(lambda ws: [*margins.pattern_tasks(ws), *transition_tasks(ws)], basins, "am_margins"),
    "C3": Evidence(margins.pattern_tasks, margins.claim_C3, "am_margins"),
    "C4": Evidence(margins.pattern_tasks, margins.claim_C4, "am_margins"),
    "C5": Evidence(transition_tasks, recovery, "transition"),
    "C6": Evidence(transition_tasks, recovery, "transition"),
    "C7": Evidence(transition_tasks, recovery, "transition"),
    "C8": Evidence(transition_tasks, entropies, "transition"),
    "C9": Evidence(transition_tasks, token_classes, "fig03_token_entropy"),
    "C10": Evidence(transition_tasks, distances, "fig04_sequence_entropy"),
    "C11": Evidence(language.width_tasks, model_size, "fig09_model_size"),
    "C12": Evidence(margins.feature_tasks, margins.claim_C12, "am_features"),
    "C13": Evidence(margins.pattern_tasks, margins.claim_C13, "am_margins"),
    "C14": Evidence(margins.pattern_tasks, margins.claim_C14, "am_margins"),
    "C15": Evidence(curvature_tasks, curvature, "fig03_token_entropy"),
    "C16": Evidence(transition_tasks, detection, "detection"),
    "C17": Evidence(hierarchy.course_tasks, memorized_first, "rhm_memorization"),
    "C18": Evidence(relaxation.tasks, ergodicity, "rhm_relaxation"),
    "C19": Evidence(noises.tasks, under_noises, "noises"),
}
"""By claim."""


def choose(names: Sequence[str] = ()) -> dict[str, Evidence]:
    """That of the claims among the names, "C1" to "C19"; of all claims if there is no name at all."""
    return {claim: evidence for claim, evidence in EVIDENCE.items() if claim in names or not names}
