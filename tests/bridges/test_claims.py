"""The rules that decide the claims, on datasets that are made so that the answer is known."""

from unittest import mock

import numpy as np
import pytest
import xarray as xr
from claim_worlds import (
    OF_N,
    WORLDS,
    ZIGZAG,
    N,
    c1,
    c2,
    c4,
    decide,
    distance,
    drawn,
    measured,
    one_by_one,
    over,
    plain,
    same,
)
from scipy.stats import binom

from bridges import CLAIMS
from bridges.claims import Claim, Part, ends, log_slope
from paper_figures.cells import CLASSIC, NETCDF4, load, save

PARTS = [(name, part) for name in CLAIMS for part in range(len(WORLDS[name].inside if name in WORLDS else ()))]


def test_every_claim_has_its_world():
    assert list(WORLDS) == list(CLAIMS)
    assert all(name == claim.name for name, claim in CLAIMS.items())


@pytest.mark.parametrize("name", CLAIMS)
def test_ranges_are_those_demanded(name):
    world, parts = WORLDS[name], CLAIMS[name].parts(measured(name))
    bounds = [tuple(end for end in (part.low, part.high) if np.isfinite(end)) for part in parts]
    assert tuple(bounds) == world.bounds
    assert [k for k, part in enumerate(parts) if not part.refutes] == list(world.premises)
    assert len(world.inside) == len(world.outside) == len(parts)
    assert all(part.resolution <= distance(world, k) / 5 for k, part in enumerate(parts)), "it hides no effect"


@pytest.mark.parametrize("name", CLAIMS)
def test_supported(name):
    outcome = decide(name, measured(name))
    assert outcome.verdict == "supported"
    assert set(outcome.systems.values()) == {"supported"}
    parts = dict.fromkeys(finding.part for finding in outcome.findings)
    assert len(parts) == len(WORLDS[name].inside)
    for finding in outcome.findings:
        level = WORLDS[name].inside[list(parts).index(finding.part)]
        assert finding.estimate.value == pytest.approx(level, rel=1e-9, abs=1e-12)
        assert f"{finding.part}: {finding.estimate.value:.3g} [" in outcome.reason


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_refuted_by_any_part(name, part):
    world = WORLDS[name]
    outcome = decide(name, measured(name, {part: world.outside[part]}))
    assert outcome.verdict == ("undecided" if part in world.premises else "refuted")
    (told,) = {finding.part for finding in outcome.findings if finding.verdict != "supported"}
    assert outcome.reason.count(told) == 1
    assert "supported" not in outcome.reason or len(outcome.systems) > 1


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_undecided_at_a_bound(name, part):
    for bound in WORLDS[name].bounds[part]:
        outcome = decide(name, measured(name, {part: bound}))
        assert outcome.verdict == "undecided"
        assert {finding.verdict for finding in outcome.findings} <= {"supported", "undecided"}


@pytest.mark.parametrize("name", [name for name in CLAIMS if "system" in str(CLAIMS[name].needs)])
def test_mixed_systems_are_told_one_by_one(name):
    world = WORLDS[name]
    last = len(world.inside) - 1
    outcome = decide(name, measured(name, {}, {last: world.outside[last]}, {last: world.bounds[last][0]}))
    assert outcome.verdict == "refuted"
    of_each = {name: verdict for name, verdict in outcome.systems.items() if name}
    assert of_each == {"s0": "supported", "s1": "refuted", "s2": "undecided"}
    told, numbers = outcome.reason.split(". ", 1)
    assert told.endswith("s0: supported, s1: refuted, s2: undecided")
    assert "s1" in numbers
    assert "s0" not in numbers
    assert decide(name, measured(name, {}, {last: world.bounds[last][0]})).verdict == "undecided", "no majority"


@pytest.mark.statistical(alarm=4 * OF_N)
@pytest.mark.parametrize(("name", "part"), [each for each in PARTS if each != ("C1", 0)])
def test_null_data_support_nothing(name, part, seed):
    """At the bound itself an interval of one of n parts lies on either side with probability at most 2.5 % / n."""
    rng = np.random.default_rng([seed(0), int(name[1:]), part])
    for bound in WORLDS[name].bounds[part]:
        found = one_by_one(name, drawn(name, rng, part, bound))
        assert len(found) == N
        for verdict in ("supported", "refuted"):
            assert found.count(verdict) <= 0.05 * N


@pytest.mark.statistical(alarm=2 * binom.sf(10, 200, 0.0125))
def test_null_proofs_support_nothing(seed):
    """What is said of no system has one value in each repeat: 200 datasets of two parts."""
    values = drawn("C1", np.random.default_rng(seed(1)), 0, 0.5, 200)
    found = [decide("C1", c1(*(each[[k]] for each in values))).verdict for k in range(200)]
    for verdict in ("supported", "refuted"):
        assert found.count(verdict) <= 10


@pytest.mark.statistical(alarm=1e-9)
@pytest.mark.parametrize("name", CLAIMS)
def test_clear_effects_are_nearly_always_found(name, seed):
    """Negative control: 30 standard deviations from the bounds, where Student's quantile for 3 repeats is 9 at most."""
    rng, world = np.random.default_rng([seed(2), int(name[1:])]), WORLDS[name]
    found = one_by_one(name, drawn(name, rng, 0, world.inside[0], 200))
    assert found.count("supported") == 200


@pytest.mark.statistical(alarm=binom.cdf(100, N, 0.25))
def test_short_intervals_are_noticed(seed):
    """Negative control: those that hold with 50 %."""
    values = drawn("C3", np.random.default_rng(seed(3)), 0, 0.95)
    assert one_by_one("C3", values, confidence=0.5).count("supported") > 0.1 * N


@pytest.mark.parametrize("name", [name for name in CLAIMS if name != "C1"])
def test_one_by_one_is_as_alone(name):
    """What the tests above rely on; C1 has a number that all systems share."""
    values = drawn(name, np.random.default_rng(0), 0, WORLDS[name].bounds[0][0], 3)
    alone = [decide(name, WORLDS[name].make(*(each[[k]] for each in values))).verdict for k in range(3)]
    assert one_by_one(name, [each[:3] for each in values]) == alone


@pytest.mark.statistical(alarm=2 * OF_N)
def test_many_cells_are_corrected_for(seed):
    """Of 10 loads at the bound one would seem to be outside in every fourth dataset."""
    rng = np.random.default_rng(seed(4))
    radius = 0.02 + 0.01 * rng.normal(size=(10, N, 4))

    def make(*loads):
        excess = over(load=np.arange(10))("system", *loads)
        return xr.Dataset({"radius_excess": excess, "recovery_excess": plain(np.full((N, 4), np.nan))})

    with mock.patch.dict(WORLDS, C2=WORLDS["C2"]._replace(make=make)):
        found = one_by_one("C2", list(radius))
    assert found.count("refuted") <= 0.05 * N
    rough = np.abs(radius.mean(-1) - 0.02) > 3.18 * radius.std(-1, ddof=1) / 2
    assert rough.any(0).mean() > 0.2, "negative control: Student's interval of each load alone"


@pytest.mark.statistical(alarm=2 * OF_N)
def test_the_choice_of_the_middle_makes_no_peak(seed):
    """C10 speaks of the largest distance between the ends. Here all are at the bound; who chose the size that looks
    best, even by the other repeats, and then forgot the choice, would be wrong in 8 % of datasets."""
    rng, sizes = np.random.default_rng(seed(5)), 2.0 ** np.arange(12)

    def make(*values):
        return xr.Dataset({"distance": over(size=sizes)("system", *values)})

    values = np.full((12, N, 5), 0.05) + 1e-4 * rng.normal(size=(12, N, 5))
    values[1:-1] += 0.2 + 0.03 * rng.normal(size=(10, N, 5))
    with mock.patch.dict(WORLDS, C10=WORLDS["C10"]._replace(make=make)):
        found = one_by_one("C10", list(values))
        values[5] += 0.4
        clear = one_by_one("C10", list(values[:, :20]))
    assert found.count("supported") <= 0.05 * N
    assert clear.count("supported") == 20, "negative control"


@pytest.mark.statistical(alarm=2 * OF_N)
@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_unsure_margins_decide_nothing(margin, seed):
    """C4 would be supported by other pairs if one whose margins are not told apart did not count: it might be the one
    of larger margin and smaller radius."""
    rng = np.random.default_rng([seed(6), int(10 * margin)])
    basin, margins = -0.005 + 0.01 * rng.normal(size=(N, 4)), margin + 0.05 * rng.normal(size=(N, 4))
    with mock.patch.dict(WORLDS, C4=WORLDS["C4"]._replace(make=lambda basin, margin: c4(basin, margin))):
        found = one_by_one("C4", [basin, margins])
    assert found.count("supported") <= 0.05 * N
    assert found.count("refuted") <= 0.05 * N


def test_pairs_of_unsure_margins():
    unsure = 0.1 * ZIGZAG[None]
    for basin, verdict in ((0.0, "supported"), (-0.1, "undecided"), (0.1, "undecided")):
        assert decide("C4", c4(basin + 1e-4 * ZIGZAG[None], unsure)).verdict == verdict
    for margin, verdict in ((0.3, "refuted"), (-0.3, "supported")):
        outcome = decide("C4", c4(-0.1 + 1e-4 * ZIGZAG[None], margin + unsure / 30))
        (finding,) = outcome.findings
        assert outcome.verdict == verdict
        assert (
            finding.at
            == f"load 0.0, rule {'wide' if margin > 0 else 'narrow'}, minus {'narrow' if margin > 0 else 'wide'}"
        )
    equal = decide("C4", c4(0.1 * ZIGZAG[None], 0.0))
    assert (equal.verdict, equal.findings) == ("undecided", ())
    beyond = decide("C4", c4(-0.1 + 1e-4 * ZIGZAG[None], np.array([[0.3, np.inf, 0.3, 0.3]])))
    assert {finding.verdict for finding in beyond.findings} == {"undecided", "supported"}


# --- what datasets look like


@pytest.mark.parametrize("name", CLAIMS)
def test_one_repeat_decides_nothing(name):
    world = WORLDS[name]
    changed = [{}, *({part: level} for part, level in enumerate(world.outside))]
    for each in changed:
        dataset = measured(name, each)
        first = xr.DataArray([True, False, False, False], dims="repeat")
        lacking = {key: values.where(first) for key, values in dataset.items() if "repeat" in values.dims}
        for one in (dataset.isel(repeat=[0]), dataset.assign(lacking)):
            outcome = decide(name, one)
            assert outcome.verdict == "undecided"
            assert "in a single repeat" in outcome.reason


@pytest.mark.parametrize("name", CLAIMS)
def test_nothing_decides_nothing(name):
    dataset = measured(name)
    outcome = decide(name, dataset * np.nan)
    assert (outcome.verdict, set(outcome.systems.values())) == ("undecided", {"undecided"} if name != "C4" else set())
    assert "measured" in outcome.reason
    for dim in dataset.sizes:
        none = decide(name, dataset.isel({dim: slice(0)}))
        assert (none.verdict, none.findings, none.reason) == ("undecided", (), "nothing was measured")


@pytest.mark.parametrize("name", CLAIMS)
def test_what_is_missing_is_named(name):
    claim, dataset = CLAIMS[name], measured(name)
    for variable, dims in claim.needs.items():
        with pytest.raises(ValueError, match=f"`dataset` must have the variable '{variable}' to decide {name}"):
            claim.decide(dataset.drop_vars(variable))
        for dim in dims:
            with pytest.raises(ValueError, match=f"must have '\\w+' over .*{dim}.* to decide {name}, got .*other"):
                claim.decide(dataset.rename({dim: "other"}))
            one = dataset.assign({variable: dataset[variable].isel({dim: 0}, drop=True)})
            with pytest.raises(
                ValueError, match=f"must have '{variable}' over {', '.join(dims)} to decide {name}, got"
            ):
                claim.decide(one)
            if dim != "repeat":
                with pytest.raises(ValueError, match=f"must have labels along '{dim}' to decide {name}, got none"):
                    claim.decide(dataset.drop_vars(dim))
                with pytest.raises(ValueError, match=f"must have different labels along '{dim}', got .* twice"):
                    claim.decide(xr.concat([dataset, dataset], dim, data_vars="minimal"))


@pytest.mark.parametrize(
    ("name", "dim", "label"),
    [("C5", "split", "train"), ("C6", "split", "test"), ("C7", "split", "test"), ("C13", "couplings", "symmetrised"),
     ("C14", "rule", "nelbo"), ("C16", "score", "entropy")],
)  # fmt: skip
def test_missing_labels_are_named(name, dim, label):
    dataset = measured(name)
    with pytest.raises(ValueError, match=f"`dataset` must have '{label}' along '{dim}', got "):
        CLAIMS[name].decide(dataset.drop_sel({dim: label}))


@pytest.mark.parametrize("name", CLAIMS)
def test_order_is_of_no_importance(name):
    world, rng = WORLDS[name], np.random.default_rng(7)
    dataset = measured(name, {}, {0: world.bounds[0][0]}, {0: world.outside[0]})
    outcome = decide(name, dataset)
    for dim in dataset.sizes:
        permuted = dataset.isel({dim: rng.permutation(dataset.sizes[dim])})
        same(decide(name, permuted.transpose(*reversed(list(dataset.sizes)))), outcome)


@pytest.mark.parametrize("engine", [CLASSIC, NETCDF4])
@pytest.mark.parametrize("name", CLAIMS)
def test_read_back_is_the_same(name, engine, tmp_path):
    world = WORLDS[name]
    dataset = measured(name, {}, {0: world.bounds[0][0]})
    path = tmp_path / "measured.nc"
    save(dataset, path, engine)
    assert decide(name, load(path)) == decide(name, dataset)


def labels(dim, change):
    return lambda ds: ds.assign_coords({dim: change(ds[dim])})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("C3", labels("beta_norm", lambda x: x**2)),
        ("C4", lambda ds: ds.assign(stability=7 * ds["stability"])),
        ("C5", labels("size", lambda x: 7 * x)),
        ("C6", labels("size", lambda x: x / 8)),
        ("C7", labels("size", np.log)),
        ("C8", labels("size", lambda x: x.astype(str))),
        ("C9", labels("size", lambda x: -x)),
        ("C8", lambda ds: ds.set_coords("unigram")),
        ("C10", labels("size", lambda x: x.astype(float))),
        ("C11", labels("width", lambda x: 3 * x)),
        ("C11", lambda ds: ds.assign(crossing=5 * ds["crossing"])),
        ("C12", lambda ds: labels("load", lambda x: x / 4)(ds.assign(spinodal=ds["spinodal"] / 4))),
        ("C16", labels("size", np.sqrt)),
        ("C18", labels("alpha", lambda x: x**3)),
        ("C1", lambda ds: ds.assign(unproved=ds["unproved"].round().astype(int))),
        ("C2", labels("system", lambda x: range(3, 3 + len(x)))),
        ("C15", lambda ds: ds.assign_coords(seed=("repeat", range(4)), noise=0.1, kind=("system", ["a", "b", "c"]))),
    ],
)
def test_units_and_kinds_of_labels_are_of_no_importance(name, change):
    world = WORLDS[name]
    dataset = measured(name, {}, {0: world.bounds[0][0]}, {0: world.outside[0]})
    if name == "C1":
        dataset["unproved"] = dataset["unproved"] * 0
    outcome, other = decide(name, dataset), decide(name, change(dataset))
    assert list(outcome.systems.values()) == list(other.systems.values())
    for one, two in zip(outcome.findings, other.findings, strict=True):
        assert (one.part, one.repeats, one.verdict) == (two.part, two.repeats, two.verdict)
        assert two.estimate == pytest.approx(one.estimate, rel=1e-9, abs=1e-12, nan_ok=True)


def test_systems_have_their_own_sizes_and_repeats():
    few, many = (np.arange(4) < n for n in (3, 4))
    curve, zigzag = {10: 1.0, 100: 0.8, 1000: 0.3, 10000: 0.25}, np.array([0.01, -0.01, 0.005, -0.005])
    train = over(size=list(curve))("system", *(level + np.tile(zigzag, (2, 1)) for level in curve.values()))
    there = xr.DataArray([[1, 1, 1, 0], [0, 1, 1, 1]], dims=("system", "size")) > 0
    there = there & xr.DataArray([few, many], dims=("system", "repeat"))
    both = xr.concat([train, train - 0.3], xr.Variable("split", ["train", "test"])).where(there)
    for name in ("C5", "C6", "C7"):
        outcome = decide(name, xr.Dataset({"recovery": both}))
        first, second = outcome.findings
        assert (first.repeats, second.repeats) == (3, 4)
        for k, each in enumerate(outcome.findings):
            alone = both.isel(system=[k]).dropna("size", how="all").dropna("repeat", how="all")
            assert decide(name, xr.Dataset({"recovery": alone})).findings[0].estimate.value == each.estimate.value
    first, second = decide("C5", xr.Dataset({"recovery": both})).findings
    assert first.estimate.value == pytest.approx(np.polyfit(np.log([10, 100, 1000]), [1, 0.8, 0.3], 1)[0], abs=0.002)
    assert second.estimate.value == pytest.approx(np.polyfit(np.log([10, 100, 1000]), [0.8, 0.3, 0.25], 1)[0], abs=1e-9)


def test_ends_are_those_of_each_system():
    values = xr.DataArray(
        [[[np.nan], [1.0], [2.0]], [[3.0], [4.0], [np.nan]], [[np.nan]] * 3],
        {"system": list("abc"), "size": ["100", "1000", "20"]},
        ("system", "size", "repeat"),
    )
    smallest, largest = ends(values, "size")
    np.testing.assert_array_equal(smallest.squeeze(), [2, 3, np.nan])
    np.testing.assert_array_equal(largest.squeeze(), [1, 4, np.nan])


def test_slope_is_that_of_least_squares():
    rng, sizes = np.random.default_rng(0), [300, 10, 50, 1]
    y = rng.normal(size=(4, 3))
    y[2, 1], y[0, 2] = np.nan, np.inf
    values = xr.DataArray(y, {"size": sizes}, ("size", "repeat"))
    with np.errstate(all="raise"):
        slope = log_slope(values, "size").values
    assert slope[0] == pytest.approx(np.polyfit(np.log(sizes), y[:, 0], 1)[0], rel=1e-9)
    assert np.isnan(slope[1]), "it would be that of other sizes"
    assert slope[2] == np.inf
    assert np.isnan(log_slope(values.isel(size=[0]), "size")).all()


@pytest.mark.parametrize(
    ("name", "dim"),
    [*((name, "size") for name in ("C5", "C6", "C7", "C8", "C10")), ("C11", "width"), ("C18", "alpha")],
)
def test_one_label_says_nothing_of_a_change(name, dim):
    for changed in ({}, {0: WORLDS[name].outside[0]}):
        dataset = measured(name, changed)
        for k in range(dataset.sizes[dim]):
            outcome = decide(name, dataset.isel({dim: [k]}))
            assert (outcome.verdict, outcome.systems) == ("undecided", {"s0": "undecided"})
            assert "not measured" in outcome.reason


def test_without_a_middle_there_is_no_peak():
    two = measured("C10").sel(size=[10, 1000])
    outcome = decide("C10", two)
    assert (outcome.verdict, outcome.findings[-1].repeats) == ("undecided", 0)
    (peak,) = (finding.at for finding in decide("C10", measured("C10")).findings if "between" in finding.part)
    assert peak == "size 100"


HALVES = [
    (name, variable)
    for name in CLAIMS
    for variable in CLAIMS[name].needs
    if len(CLAIMS[name].needs) > 1 and name not in ("C2", "C4") and variable not in ("entropy", "overlap")
]


@pytest.mark.parametrize(("name", "variable"), HALVES)
def test_half_a_claim_is_not_supported(name, variable):
    """One of two systems lacks a variable; of C1, which is a proof and a number, all do."""
    dataset = measured(name, {}, {})
    there = xr.DataArray([True, False], dims="system") if name != "C1" else False
    outcome = decide(name, dataset.assign({variable: dataset[variable].where(there)}))
    assert outcome.verdict == "undecided"
    assert "not measured" in outcome.reason
    assert outcome.systems == {"s0": "supported", "s1": "undecided"} or name == "C1"


def test_one_side_of_a_spinodal_is_half_a_claim():
    dataset = measured("C12")
    for side in (dataset["load"] > 0.1, dataset["load"] <= 0.1):
        outcome = decide("C12", dataset.sel(load=side))
        assert outcome.verdict == "undecided"
        assert "not measured" in outcome.reason


def test_systems_may_share_a_claim_between_them():
    """C2 speaks of the radius of binary memories and of the recovery of networks; both must be there."""
    dataset = measured("C2", {}, {})
    first = xr.DataArray([True, False], dims="system")
    shared = dataset.assign(
        radius_excess=dataset["radius_excess"].where(first), recovery_excess=dataset["recovery_excess"].where(~first)
    )
    assert decide("C2", shared).systems == {"s0": "supported", "s1": "supported"}
    for variable in CLAIMS["C2"].needs:
        outcome = decide("C2", shared.assign({variable: np.nan * shared[variable]}))
        assert outcome.verdict == "undecided"
        assert "in general: undecided" in outcome.reason


def test_what_was_never_measured_is_no_system():
    dataset = measured("C5", {}, {})
    lacking = dataset.where(xr.DataArray([True, False], dims="system"))
    assert decide("C5", lacking).systems == {"s0": "supported"}


@pytest.mark.parametrize(
    ("name", "changed", "where"),
    [
        ("C5", "recovery", {"split": "train", "size": 10}),
        ("C7", "recovery", {"split": "train", "size": 1000}),
        ("C8", "entropy", {"size": 1000}),
        ("C10", "distance", {"size": 100}),
        ("C11", "crossing", {"width": 256}),
        ("C13", "radius", {"couplings": "as learned"}),
        ("C14", "radius", {"rule": "nelbo"}),
    ],
)
def test_what_is_beyond_is_neither_lost_nor_decided(name, changed, where):
    """One of four repeats, and then on both sides of a difference, where it would be NaN."""
    others = {dim: slice(None) for dim in where if dim in ("split", "couplings", "rule")}
    for at in (where, where | others):
        dataset = measured(name)
        dataset[changed].loc[at | {"repeat": 2}] = np.inf
        outcome = decide(name, dataset)
        assert outcome.verdict == "undecided"
        (finding,) = (each for each in outcome.findings if each.verdict == "undecided")
        assert finding.repeats == 4
        assert "beyond what was measured" in outcome.reason


def test_a_crossing_below_all_sizes_is_beyond():
    dataset = measured("C11")
    dataset["crossing"][0, 0, 1] = 0
    assert decide("C11", dataset).verdict == "undecided"


def test_areas_are_averaged_over_the_same_sizes():
    """Nothing failed at the smallest size in one repeat: it is left out of all."""
    dataset = measured("C9")
    dataset["area"].loc[{"size": 10, "repeat": 1}] = np.nan
    (finding,) = decide("C9", dataset).findings
    assert (finding.repeats, finding.estimate.value) == (4, pytest.approx(0.95 + 0.025))


def test_discrete_repeats_that_agree_by_chance():
    outcome = decide("C2", c2(np.full((1, 3), 0.021), np.full((1, 3), 0.5)))
    assert outcome.verdict == "undecided", "the radius is known to .002"
    assert outcome.findings[0].estimate == pytest.approx((0.021, 0.019, 0.023))


def test_a_claim_of_ones_own():
    """Without systems, of one number in an open range on both sides."""
    own = Claim("own", "", "", "", {"x": ("repeat",)}, lambda ds: [Part("x, between 0 and 1", ds["x"], 0, 1)])
    for level, verdict in (
        (0.5, "supported"),
        (1.5, "refuted"),
        (-0.5, "refuted"),
        (1.0, "undecided"),
        (0, "undecided"),
    ):
        outcome = own.decide(xr.Dataset({"x": ("repeat", level + ZIGZAG / 20)}))
        assert (outcome.verdict, outcome.systems) == (verdict, {"": verdict})
    assert outcome.estimates.keys() == {"x, between 0 and 1"}
