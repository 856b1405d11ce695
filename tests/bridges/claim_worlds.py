"""For each claim how a dataset is made whose parts come out as wanted."""

import re
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom

from bridges import CLAIMS
from bridges.claims import deciding, paper


class World(NamedTuple):
    """A claim's measurements, whose parts come out as wanted.

    `make` takes, for each part, what it is in each repeat of each system: (S, R), or (load, R) if there are no systems.
    `inside` and `outside` have a value for each part, `bounds` the ends of its range, as the demand for the claim has
    them. A part of `premises` refutes nothing.
    """

    make: Callable[..., xr.Dataset]
    inside: tuple[float, ...]
    bounds: tuple[tuple[float, ...], ...]
    outside: tuple[float, ...]
    premises: tuple[int, ...] = ()
    cells: str = "system"


def over(**labels):
    """Makes an array over systems (or loads), the labels in the order given, and repeats, of values (S, R) at each."""

    def array(first, *values):
        stacked = np.stack(np.broadcast_arrays(*values), axis=1)
        names = [f"s{k}" for k in range(len(stacked))] if first == "system" else np.arange(len(stacked)) / 10
        shape = (len(stacked), *map(len, labels.values()), stacked.shape[-1])
        return xr.DataArray(stacked.reshape(shape), {first: names, **labels}, (first, *labels, "repeat"))

    return array


def plain(values):
    return over()("system", values)


SIZES = [1000, 10, 100]  # no part may depend on the order
at_sizes = over(size=SIZES)
LOG = np.log(SIZES)


def c1(unproved, error):
    return xr.Dataset({"unproved": ("repeat", unproved[0]), "gradient_error": plain(error)})


def c2(radius, recovery):
    return xr.Dataset({"radius_excess": over(load=[0.3])("system", radius), "recovery_excess": plain(recovery)})


def c3(ratio):
    return xr.Dataset({"margin_ratio": over(beta_norm=[10, 100, 1])("system", ratio - 0.3, ratio, ratio - 0.6)})


def c4(basin, margin=0.3):
    rules = over(rule=["wide", "narrow"])
    stability, radius = rules("load", 0.5 + margin + 0 * basin, 0.5), rules("load", 0.2 + basin, 0.2)
    return xr.Dataset({"stability": stability, "radius": radius})


def recovery(train, test):
    curves = over(split=["train", "test"], size=SIZES)("system", *train, *test)
    return xr.Dataset({"recovery": curves})


def c5(slope):
    return recovery([0.5 + slope * x for x in LOG], [0.3, 0.1, 0.2])


def c6(slope):
    return recovery([0.3, 0.1, 0.2], [0.5 + slope * x for x in LOG])


def c7(difference):
    return recovery([0.4 + difference, 1.0, 0.7], [0.4, 0.1, 0.2])


def c8(smallest, largest):
    entropy = at_sizes("system", 3.0 * largest, smallest, 0.7)
    return xr.Dataset({"entropy": entropy, "unigram": ("system", np.full(len(smallest), 3.0))})


def c9(area):
    return xr.Dataset({"area": at_sizes("system", area + 0.03, area - 0.05, area + 0.02)})


def c10(smallest, largest, excess):
    above = np.maximum(smallest, largest)
    distance = over(size=[100, 1000, 10, 200])("system", above + excess, largest, smallest, above + excess - 0.2)
    return xr.Dataset({"distance": distance})


def c11(later, gap):
    widths = [64, 256, 128]
    at_widths = over(width=widths)
    crossing = at_widths("system", *(np.exp(5 + later * x) for x in np.log(widths)))
    return xr.Dataset({"crossing": crossing, "gap": at_widths("system", *(1 + gap * x for x in np.log(widths)))})


def c12(beyond, before):
    overlap = over(load=[0.3, 0.1, 0.11, 0.05])("system", beyond, 0.5, 0.95, before)  # in between anything goes
    return xr.Dataset({"overlap": overlap, "spinodal": ("system", np.full(len(beyond), 0.1))})


def c13(asymmetry, radius):
    radii = over(couplings=["symmetrised", "as learned"])("system", 0.3, 0.3 + radius)
    return xr.Dataset({"radius": radii, "asymmetry": plain(asymmetry)})


def c14(radius):
    rules = over(rule=["hebb", "nelbo", "pseudo-likelihood"], dynamics=["parallel"])
    return xr.Dataset({"radius": rules("load", 0.0, 0.3 + radius, 0.3)})


def c15(curvature, basin):
    both = {"curvature_correlation": curvature, "basin_correlation": basin}
    return xr.Dataset({name: plain(values) for name, values in both.items()})


def c16(area):
    return xr.Dataset({"area": over(size=SIZES, score=["loss", "entropy"])("system", 1, 0.5, 0.1, area, 0.9, 0.6)})


def c17(common, advance):
    return xr.Dataset({"common_first": plain(common), "advance": plain(advance)})


def c18(quiet, noisy):
    return xr.Dataset({"relaxation": over(alpha=[0.9, 0.1, 0.5])("system", quiet, noisy, 0.3)})


def c19(memorized, slope, difference):
    test = [0.5 + slope * x for x in LOG]
    curves = over(split=["train", "test"], size=SIZES)
    train = [test[0] + difference, test[1] + memorized, 0.6]
    return xr.Dataset({"retrieved": curves("system", *train, *test)})


WORLDS = {
    "C1": World(c1, (0, 1e-13), ((0.5,), (1e-10,)), (1, 1e-8)),
    "C2": World(c2, (0.06, 0.5), ((0.02,), (0.2,)), (-0.02, -0.1)),
    "C3": World(c3, (0.99,), ((0.95,),), (0.8,)),
    "C4": World(c4, (0.03,), ((-0.005,),), (-0.05,), cells="load"),
    "C5": World(c5, (-0.05,), ((-0.01,),), (0.03,)),
    "C6": World(c6, (0.05,), ((0.01,),), (-0.03,)),
    "C7": World(c7, (0.0,), ((-0.05, 0.05),), (0.3,)),
    "C8": World(c8, (0.005, 0.5), ((0.05,), (0.1,)), (0.5, 0.01)),
    "C9": World(c9, (0.95,), ((0.8,),), (0.6,)),
    "C10": World(c10, (0.05, 0.05, 0.6), ((0.2,), (0.2,), (0.2,)), (0.5, 0.5, 0.0)),
    "C11": World(c11, (1.0, -0.1), ((0.0,), (0.0,)), (-1.0, 0.1)),
    "C12": World(c12, (0.99, 0.3), ((0.9,), (0.9,)), (0.5, 0.97)),
    "C13": World(c13, (0.2, 0.05), ((0.01,), (-0.02,)), (0.0, -0.1), premises=(0,)),
    "C14": World(c14, (0.05,), ((0.0,),), (-0.05,), cells="load"),
    "C15": World(c15, (0.8, -0.5), ((0.5,), (-0.2,)), (0.1, 0.2)),
    "C16": World(c16, (0.95,), ((0.8,),), (0.6,)),
    "C17": World(c17, (0.3, -0.3), ((0.1,), (-0.1,)), (-0.1, 0.1)),
    "C18": World(c18, (0.8, 0.02), ((0.5,), (0.1,)), (0.2, 0.4)),
    "C19": World(c19, (0.5, 0.05, 0.0), ((0.2,), (0.01,), (-0.05, 0.05)), (0.0, -0.03, 0.3)),
}

ZIGZAG = np.array([1, -1, 1, -1])  # repeats around a mean
N = 800
OF_N = binom.sf(N // 20, N, 0.025)  # an event of 2.5 % in more than 5 % of N


def distance(world, part):
    """From the bounds of a part to what is well inside, or outside."""
    return min(abs(level[part] - bound) for level in (world.inside, world.outside) for bound in world.bounds[part])


def measured(name, *changed):
    """Systems whose parts are inside their ranges, but for those that are `changed` in each."""
    world, values = WORLDS[name], []
    for k, inside in enumerate(world.inside):
        level = np.array([[of_system.get(k, inside)] for of_system in changed or ({},)])
        spread = distance(world, k) * np.where(np.isin(level, world.bounds[k]), 0.5, 1 / 30)
        values.append(level + spread * ZIGZAG)
    return world.make(*values)


def decide(name, dataset):
    outcome = CLAIMS[name].decide(dataset)
    assert len(outcome.estimates) == len(outcome.findings), "each number has a key of its own"
    for finding in outcome.findings:
        value, low, high = finding.estimate
        assert low <= value <= high or finding.repeats == 0
        assert finding.repeats > 1 or finding.verdict == "undecided", "not by a single run"
    return outcome


def same(outcome, other):
    assert (outcome.verdict, outcome.systems) == (other.verdict, other.systems)
    assert outcome.estimates.keys() == other.estimates.keys()
    for key, estimate in outcome.estimates.items():
        assert other.estimates[key] == pytest.approx(estimate, rel=1e-9, abs=1e-12, nan_ok=True)


def one_by_one(name, values, confidence=deciding.CONFIDENCE):
    """The verdict that each system, or load, would have if there were no others, all decided together to save time."""
    world, joint = WORLDS[name], 1 - (1 - confidence) * len(values[0])
    with mock.patch.multiple(deciding, CONFIDENCE=joint), mock.patch.multiple(paper, CONFIDENCE=joint):
        findings = CLAIMS[name].decide(world.make(*values)).findings
    verdicts = {}
    for finding in findings:
        cell = finding.system if world.cells == "system" else re.search(r"load ([\d.]+)", finding.at)[1]
        verdicts.setdefault(cell, []).append(finding.verdict)
    in_general = verdicts.pop("", [])
    return [deciding._all_of([*each, *in_general]) for each in verdicts.values()]


def drawn(name, rng, part, level, n=N):
    """Normal repeats, 3 to 5 of them, of n systems: `part` at `level`, the others well inside."""
    world, there = WORLDS[name], rng.integers(3, 6, n)
    values = []
    for k, inside in enumerate(world.inside):
        at_bound = k == part and level in world.bounds[k]
        spread = abs(world.outside[k] - level) / 5 if at_bound else distance(world, k) / 30
        repeats = (level if k == part else inside) + spread * rng.normal(size=(n, 5))
        values.append(np.where(np.arange(5) < there[:, None], repeats, np.nan))
    return values
