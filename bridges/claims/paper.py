"""What arXiv 2604.26841 and its companions claim, and the smallest effects that count."""

from __future__ import annotations

import numpy as np
import xarray as xr

from amtheory.intervals import student
from bridges.claims.curves import at_label, between, ends, infinite, log_slope, minus, two_ends
from bridges.claims.deciding import CONFIDENCE, Claim, Part

_CURVES = {"recovery": ("system", "split", "size", "repeat")}


def _identity(ds: xr.Dataset) -> list[Part]:
    return [
        Part("symbolic forms that are not proved, none", ds["unproved"], high=0.5),
        Part("largest difference of the gradients, relative, below 1e-10", ds["gradient_error"], high=1e-10),
    ]


def _basins_appear(ds: xr.Dataset) -> list[Part]:
    """Of which binary memories have the first, networks the second."""
    return [
        Part("basin radius minus that of random couplings of the same norms, above .02", ds["radius_excess"], 0.02,
             resolution=0.002, everywhere=False),
        Part("recovery of training tokens minus chance, above .2", ds["recovery_excess"], 0.2, resolution=0.02,
             everywhere=False),
    ]  # fmt: skip


def _margins(ds: xr.Dataset) -> list[Part]:
    return [Part("smallest stability over kappa_max at the largest norm, above .95",
                 ends(ds["margin_ratio"], "beta_norm")[1], 0.95)]  # fmt: skip


def _margin_and_basin(ds: xr.Dataset) -> list[Part]:
    """A pair of which nobody knows which margin is the larger refutes nothing; but it may be one that would, and so
    must be known before the claim is supported."""
    stability, radius = (minus(ds[name], ds[name].rename(rule="minus")) for name in ("stability", "radius"))
    different = stability["rule"] != stability["minus"]
    confidence = 1 - (1 - CONFIDENCE) / max(int(different.sum()) * ds.sizes["load"], 1)
    beyond = infinite(stability)
    margin = student(stability.where(~beyond), "repeat", confidence).where(~beyond.any("repeat"))
    certain = margin.sel(estimate="low", drop=True) > 0
    excluded = margin.sel(estimate="high", drop=True) <= 0
    possible = different & stability.notnull().any("repeat") & ~certain & ~excluded
    parts = [
        Part("basin radius minus that of a rule of smaller margin, above -.005", radius.where(certain), -0.005,
             resolution=0.0005),
        Part("basin radius minus that of a rule of perhaps smaller margin, above -.005", radius.where(possible), -0.005,
             resolution=0.0005, refutes=False),
    ]  # fmt: skip
    return [part for part in parts if part.values.notnull().any()]


def _training_shrinks(ds: xr.Dataset) -> list[Part]:
    slope = log_slope(at_label(ds["recovery"], "split", "train"), "size")
    return [Part("slope of training recovery against log size, below -.01", slope, high=-0.01, resolution=0.001)]


def _test_grows(ds: xr.Dataset) -> list[Part]:
    slope = log_slope(at_label(ds["recovery"], "split", "test"), "size")
    return [Part("slope of test recovery against log size, above .01", slope, 0.01, resolution=0.001)]


def _they_meet(ds: xr.Dataset) -> list[Part]:
    difference = minus(*(at_label(ds["recovery"], "split", split) for split in ("train", "test")))
    return [Part("training minus test recovery at the largest size, within .05", two_ends(difference, "size")[1],
                 -0.05, 0.05, resolution=0.005)]  # fmt: skip


def _any_noise(ds: xr.Dataset) -> list[Part]:
    difference = minus(*(at_label(ds["retrieved"], "split", split) for split in ("train", "test")))
    smallest, largest = two_ends(difference, "size")
    slope = log_slope(at_label(ds["retrieved"], "split", "test"), "size")
    return [
        Part("training minus test recovery at the smallest size, above .2", smallest, 0.2, resolution=0.02),
        Part("slope of test recovery against log size, above .01", slope, 0.01, resolution=0.001),
        Part("training minus test recovery at the largest size, within .05", largest, -0.05, 0.05, resolution=0.005),
    ]


def _entropy_vanishes(ds: xr.Dataset) -> list[Part]:
    smallest, largest = two_ends(ds["entropy"], "size")
    return [
        Part("entropy of training sequences at the smallest size, below .05 nats per token", smallest, high=0.05,
             resolution=0.005),
        Part("entropy of training sequences at the largest size over the unigram entropy, above .1",
             largest / ds["unigram"], 0.1, resolution=0.01),
    ]  # fmt: skip


def _entropy_tells(ds: xr.Dataset) -> list[Part]:
    """Where nothing failed in some repeats, their mean would be over other sizes than that of the rest."""
    measured = ds["area"].notnull()
    in_all = (measured == measured.any("size")).all("repeat")
    return [Part("area under the ROC of token entropy, failed against recovered, above .8",
                 ds["area"].where(in_all).mean("size"), 0.8, resolution=0.01)]  # fmt: skip


def _distributions(ds: xr.Dataset) -> list[Part]:
    distance = ds["distance"]
    smallest, largest = two_ends(distance, "size")
    excess = minus(between(distance, "size"), xr.apply_ufunc(np.maximum, smallest, largest))
    return [
        Part("distance of the distributions at the smallest size, below .2", smallest, high=0.2, resolution=0.02),
        Part("distance of the distributions at the largest size, below .2", largest, high=0.2, resolution=0.02),
        Part("largest distance between, minus the larger of those at the ends, above .2", excess, 0.2, resolution=0.02,
             largest="size"),
    ]  # fmt: skip


def _larger_models(ds: xr.Dataset) -> list[Part]:
    """A crossing of 0 is one below all sizes."""
    later = log_slope(xr.apply_ufunc(np.log, ds["crossing"]), "width")
    return [
        Part("slope of log crossing size against log width, above 0", later, 0.0),
        Part("slope of the entropy gap at the largest size against log width, below 0", log_slope(ds["gap"], "width"),
             high=0.0),
    ]  # fmt: skip


def _spinodals(ds: xr.Dataset) -> list[Part]:
    load, spinodal, overlap = ds["load"], ds["spinodal"], ds["overlap"]
    return [
        Part("overlap beyond 1.25 spinodals, above .9", overlap.where(load > 1.25 * spinodal), 0.9, resolution=0.005),
        Part("overlap below 0.8 spinodals, below .9", overlap.where(load < 0.8 * spinodal), high=0.9, resolution=0.005),
    ]


def _no_energy(ds: xr.Dataset) -> list[Part]:
    """Couplings that are symmetric have an energy, and say nothing of whether it is needed."""
    difference = minus(*(at_label(ds["radius"], "couplings", name) for name in ("as learned", "symmetrised")))
    return [
        Part("asymmetry of the couplings, above .01", ds["asymmetry"], 0.01, refutes=False),
        Part("basin radius minus that of the symmetrised couplings, above -.02", difference, -0.02, resolution=0.002),
    ]


def _further_terms(ds: xr.Dataset) -> list[Part]:
    difference = minus(*(at_label(ds["radius"], "rule", name) for name in ("nelbo", "pseudo-likelihood")))
    return [Part("basin radius, NELBO minus pseudo-likelihood, above 0", difference, 0.0, resolution=0.0005)]


def _curvature(ds: xr.Dataset) -> list[Part]:
    return [
        Part("rank correlation of entropy and curvature, above .5", ds["curvature_correlation"], 0.5, resolution=0.01),
        Part("rank correlation of entropy and the basin of the same sequence, below -.2", ds["basin_correlation"],
             high=-0.2, resolution=0.01),
    ]  # fmt: skip


def _detects(ds: xr.Dataset) -> list[Part]:
    area = ends(at_label(ds["area"], "score", "entropy"), "size")[0]
    return [Part("area under the ROC, training against unseen by low entropy, at the smallest size, above .8", area,
                 0.8, resolution=0.01)]  # fmt: skip


def _memorized_first(ds: xr.Dataset) -> list[Part]:
    return [
        Part("memorized share of the commonest quartile of substrings minus the rarest, above .1", ds["common_first"],
             0.1, resolution=0.01),
        Part("memorized share of strings, fat tails minus equal rules, below -.1", ds["advance"], high=-0.1,
             resolution=0.01),
    ]  # fmt: skip


def _ergodicity(ds: xr.Dataset) -> list[Part]:
    """The signal level alpha is 1 minus the noise."""
    noisy, quiet = two_ends(ds["relaxation"], "alpha")
    return [
        Part("memory of the root after all U-turns at the least noise, above .5", quiet, 0.5, resolution=0.01),
        Part("memory of the root after all U-turns at the most noise, below .1", noisy, high=0.1, resolution=0.01),
    ]


CLAIMS: dict[str, Claim] = {
    claim.name: claim
    for claim in (
        Claim(
            "C1",
            "The gradient of the log conditional likelihood is Hebb's rule, each term times 1 - tanh of its margin.",
            "arXiv 2604.26841, eq. (10); D'Amico et al. 2026",
            "a proof by sympy, and the largest relative difference of the gradients on random couplings, below 1e-10",
            {"unproved": ("repeat",), "gradient_error": ("system", "repeat")},
            _identity,
        ),
        Claim(
            "C2",
            "Conditional likelihood alone makes basins of attraction around the training examples.",
            "arXiv 2604.26841, secs. 3.1 and 5",
            "binary: radius of pseudo-likelihood minus that of random couplings of the same row norms, .02 at each "
            "load; networks: recovery of training tokens minus chance, .2",
            {"radius_excess": ("system", "load", "repeat"), "recovery_excess": ("system", "repeat")},
            _basins_appear,
        ),
        Claim(
            "C3",
            "Conditional likelihood maximises the margins.",
            "arXiv 2604.26841, sec. 3.1",
            "smallest stability over the largest possible one, kappa_max, at the end of the path of growing norm, .95",
            {"margin_ratio": ("system", "beta_norm", "repeat")},
            _margins,
        ),
        Claim(
            "C4",
            "A larger margin means a larger basin of attraction.",
            "arXiv 2604.26841, sec. 3.1",
            "of every pair of rules of which one has certainly the larger smallest stability: its radius minus the "
            "other's, -.005; a pair of which neither has is undecided, unless the radius is above that either way",
            {"stability": ("load", "rule", "repeat"), "radius": ("load", "rule", "repeat")},
            _margin_and_basin,
        ),
        Claim(
            "C5",
            "Basins around training examples shrink as the training set grows.",
            "arXiv 2604.26841, Figs. 1 and 2",
            "slope of training recovery against the logarithm of the training-set size, -.01 per factor e",
            _CURVES,
            _training_shrinks,
        ),
        Claim(
            "C6",
            "Basins around unseen examples grow with the training set.",
            "arXiv 2604.26841, Figs. 1 and 2",
            "slope of test recovery against the logarithm of the training-set size, .01 per factor e",
            _CURVES,
            _test_grows,
        ),
        Claim(
            "C7",
            "Training and test recovery meet.",
            "arXiv 2604.26841, Fig. 2",
            "training minus test recovery at the largest size, within .05 (an equivalence test)",
            _CURVES,
            _they_meet,
        ),
        Claim(
            "C8",
            "Conditional entropy vanishes in memorization and stays finite in generalization.",
            "arXiv 2604.26841, Figs. 4 and 5",
            "entropy of training sequences at the smallest size, .05 nats per token; at the largest, a tenth of the "
            "unigram entropy",
            {"entropy": ("system", "size", "repeat"), "unigram": ("system",)},
            _entropy_vanishes,
        ),
        Claim(
            "C9",
            "Recovered tokens have little entropy, failed ones a broad distribution above it.",
            "arXiv 2604.26841, Figs. 3 and 12 to 14",
            "area under the ROC of token entropy, failed against recovered tokens, mean over the sizes at which all "
            "repeats have both, .8",
            {"area": ("system", "size", "repeat")},
            _entropy_tells,
        ),
        Claim(
            "C10",
            "Entropies of training and generated sequences agree, part, and agree again.",
            "arXiv 2604.26841, Figs. 4 and 15 to 17",
            "Kolmogorov-Smirnov distance: below .2 at both ends, and .2 above them in the middle",
            {"distance": ("system", "size", "repeat")},
            _distributions,
        ),
        Claim(
            "C11",
            "Larger models delay the transition and narrow the entropy gap.",
            "arXiv 2604.26841, sec. 5, Figs. 5 and 9",
            "slopes of the log of the crossing size and of the gap at the largest size against the log of the width, 0",
            {"crossing": ("system", "width", "repeat"), "gap": ("system", "width", "repeat")},
            _larger_models,
        ),
        Claim(
            "C12",
            "Beyond its capacity an associative memory generalizes: features and unseen examples become attractors.",
            "Kalaj et al. 2025; arXiv 2604.26841, sec. 4",
            "overlap after retrieval, .9 above 1.25 spinodal loads and below it under 0.8",
            {"overlap": ("system", "load", "repeat"), "spinodal": ("system",)},
            _spinodals,
        ),
        Claim(
            "C13",
            "Basins of attraction do not need an energy.",
            "arXiv 2604.26841, secs. 3.1 and 6",
            "basin radius of the asymmetric couplings (asymmetry .01, else undecided) minus that of their symmetric "
            "part, -.02",
            {"radius": ("system", "couplings", "repeat"), "asymmetry": ("system", "repeat")},
            _no_energy,
        ),
        Claim(
            "C14",
            "The further terms of the evidence bound enlarge basins.",
            "arXiv 2604.26841, sec. 3.2, a conjecture",
            "basin radius at the minimum of the bound minus that of pseudo-likelihood at the same norm, 0",
            {"radius": ("load", "rule", "dynamics", "repeat")},
            _further_terms,
        ),
        Claim(
            "C15",
            "Conditional entropy tracks the curvature of the energy around a sequence.",
            "arXiv 2604.26841, sec. 4 and Appendix C",
            "rank correlation over sequences with the curvature, .5, and with the size of each one's own basin, -.2",
            {"curvature_correlation": ("system", "repeat"), "basin_correlation": ("system", "repeat")},
            _curvature,
        ),
        Claim(
            "C16",
            "Conditional entropy detects memorized sequences without the training set.",
            "arXiv 2604.26841, sec. 6",
            "area under the ROC of training against unseen sequences at the smallest size, .8",
            {"area": ("system", "size", "score", "repeat")},
            _detects,
        ),
        Claim(
            "C17",
            "Common substrings are memorized first, and fat-tailed rules delay memorization.",
            "Rodriguez et al., arXiv 2605.30642",
            "memorized share, mean over training: commonest minus rarest quartile, .1; strings of fat-tailed rules "
            "minus those of equal rules, -.1",
            {"common_first": ("system", "repeat"), "advance": ("system", "repeat")},
            _memorized_first,
        ),
        Claim(
            "C18",
            "Chains of U-turns lose ergodicity as the noise falls.",
            "Kang et al., arXiv 2605.27006",
            "memory of the root after all U-turns: .5 at the least noise, below .1 at the most",
            {"relaxation": ("system", "alpha", "repeat")},
            _ergodicity,
        ),
        Claim(
            "C19",
            "Conditional likelihood, not uniform noise, makes the memory: trained under any noise, it memorizes, then "
            "generalizes.",
            "arXiv 2604.26841, eqs. 8 to 11, taken at their word",
            "recovery of uniformly replaced tokens by the conditionals alone, one position at a time: training minus "
            "test at the smallest size, .2; slope of test against log size, .01; training minus test at the largest "
            "size, within .05",
            {"retrieved": ("system", "split", "size", "repeat")},
            _any_noise,
        ),
    )
}
"""The claims by name."""
