"""Every measurement of `bridges`: a function of a measured system and its sequences that gives a labelled Dataset."""

import inspect
import json

import numpy as np
import pytest
import xarray as xr
from members import ARGUMENTS, EXACT, fitted

from amtheory import Hopfield
from bridges import MemorySystem, as_system

SYSTEMS = {
    "a binary memory": lambda: as_system(fitted(Hopfield), beta=1.0),
    "an exact limit": lambda: as_system(EXACT["EmpiricalBayes"]()),
}


@pytest.fixture(params=SYSTEMS)
def system(request):
    return SYSTEMS[request.param]()


def some_tokens(system, n=8):
    return np.random.default_rng(0).integers(system.vocab_size, size=(n, system.length))


def required(measurement):
    """What it has to be given beside the system and the sequences."""
    parameters = list(inspect.signature(measurement).parameters.values())[2:]
    names = [p.name for p in parameters if p.default is p.empty]
    unknown = sorted(set(names) - ARGUMENTS.keys())
    assert not unknown, f"add {unknown}, of {measurement.__name__}, to ARGUMENTS in tests/common/members.py"
    return {name: ARGUMENTS[name] for name in names}


def measure(measurement, system, x=None, **options):
    return measurement(system, some_tokens(system) if x is None else x, **required(measurement), **{"rng": 0} | options)


def test_it_is_documented(measurement):
    assert inspect.getdoc(measurement)


def test_the_result_is_labelled_and_recorded(measurement, system, tmp_path):
    """With every axis named, and a manifest from which it can be repeated; it survives a netCDF file."""
    result = measure(measurement, system)
    assert isinstance(result, xr.Dataset)
    assert not [name for name in result.dims if str(name).startswith("dim_")]
    record = json.loads(result.attrs["manifest"])
    assert (record["measurement"], record["seed"]) == (measurement.__name__, 0)
    assert record["system"] == json.loads(json.dumps(system.describe()))
    result.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "result.nc", engine="h5netcdf") as read:
        xr.testing.assert_equal(read, result)
        assert read.attrs["manifest"] == result.attrs["manifest"]


def test_it_depends_on_the_seed_alone(measurement, system):
    """The seed, a generator made of it no less; and not the global streams, which it leaves alone."""
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, again = measure(measurement, system), measure(measurement, system)
    assert one.drop_attrs().identical(again.drop_attrs())
    generated, repeated = (measure(measurement, system, rng=np.random.default_rng(3)) for _ in range(2))
    assert generated.drop_attrs().identical(repeated.drop_attrs())
    by_seed = measure(measurement, system, rng=json.loads(generated.attrs["manifest"])["seed"])
    assert by_seed.drop_attrs().identical(generated.drop_attrs())
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_sequences_are_left_alone_and_may_be_read_only(measurement, system):
    x = some_tokens(system)
    x.setflags(write=False)
    want = measure(measurement, system)
    assert measure(measurement, system, x).drop_attrs().identical(want.drop_attrs())
    assert measure(measurement, system, x.astype(np.uint8)).drop_attrs().identical(want.drop_attrs())
    assert measure(measurement, system, x.tolist()).drop_attrs().identical(want.drop_attrs())
    assert np.array_equal(x, some_tokens(system))


def test_one_sequence(measurement, system):
    assert isinstance(measure(measurement, system, some_tokens(system, 1)), xr.Dataset)


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (ValueError, lambda x: x + 4),
        (ValueError, lambda x: x - 4),
        (ValueError, lambda x: x[:, 1:]),
        (ValueError, lambda x: x[:0]),
        (ValueError, lambda x: x[0]),
        (TypeError, lambda x: x / 2),
        (TypeError, lambda x: np.ma.masked_equal(x, 0)),
    ],
    ids=["too large", "negative", "too short", "empty", "a vector", "floats", "masked"],
)
def test_bad_sequences_are_named(measurement, system, error, change):
    with pytest.raises(error, match="`x`"):
        measure(measurement, system, change(some_tokens(system)))


@pytest.mark.parametrize(("error", "rng"), [(TypeError, "seed"), (TypeError, 1.0), (ValueError, -1)])
def test_bad_seeds_are_named(measurement, system, error, rng):
    with pytest.raises(error, match="`rng`"):
        measure(measurement, system, rng=rng)


def test_its_system_comes_first_and_is_any(measurement):
    system, x, *others = inspect.signature(measurement).parameters.values()
    assert (system.name, x.name) == ("system", "x")
    assert getattr(system.annotation, "__name__", system.annotation) == MemorySystem.__name__
    assert all(p.kind is p.KEYWORD_ONLY for p in others)
