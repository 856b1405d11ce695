"""Cells are computed once, keyed by what determines them, and never half-written."""

import threading

import numpy as np
import pytest
import xarray as xr

from paper_figures.cells import CLASSIC, NETCDF4, Cell, Cells, as_bytes, joined, load, save, stack
from uddm.files import UnreadableFile, sealed


@pytest.fixture
def cells(tmp_path):
    return Cells(tmp_path, seed=0)


def test_a_cell_is_made_once_for_each_key(cells):
    calls = []

    def make(value):
        calls.append(value)
        return xr.Dataset({"value": value})

    for key in (0.1, 0.1, 0.15, 1, 0.1):
        assert cells.get(Cell(f"cell-{key}", {"key": key}, lambda key=key: make(key))).value == key
    assert calls == [0.1, 0.15, 1]


def test_names_with_dots_do_not_collide(cells):
    made = [cells.get(Cell("load-0.1", {"disorder": d}, lambda d=d: xr.Dataset({"d": d}))) for d in range(3)]
    assert [int(dataset.d) for dataset in made] == [0, 1, 2]


def test_a_cell_is_a_value(cells):
    """Where it will be is known without making it, and is another place for another seed, name, key or version."""
    cell = Cell("cell", {"a": 1, "b": (2, 3)}, pytest.fail)
    path = cells.path(cell)
    assert path == cells.path(Cell("cell", {"b": [2, 3], "a": 1}, pytest.fail))
    others = [cell._replace(name="other"), cell._replace(key={"a": 1, "b": (2, 4)})]
    assert len({path, Cells(cells.folder, seed=1).path(cell), *map(cells.path, others)}) == 4
    assert not cells.path(cell).exists()


def test_a_cell_comes_back_as_it_was_made(cells):
    """Also what its file has no type for; and it opens in plain xarray."""
    made = xr.Dataset(
        {
            "real": (("x", "y"), np.random.default_rng(0).normal(size=(3, 2)), {"units": "nats"}),
            "lacking": ("x", [np.nan, np.inf, -0.0]),
            "tokens": (("x", "y"), np.arange(6).reshape(3, 2)),
            "small": ("x", np.array([-1, 0, 3], np.int8)),
            "truth": ("x", [True, False, True]),
            "one": 2.0**-1074,
        },
        {"x": [2, 4, 8], "y": ["value", "é"], "noise": 0.1},
        {"manifest": '{"a": 1}'},
    )
    cell = Cell("cell", {}, lambda: made)
    for found in (cells.get(cell), cells.get(cell)):
        xr.testing.assert_identical(found, made)
        assert {n: v.dtype for n, v in found.variables.items() if v.dtype != object} == {
            n: v.dtype for n, v in made.variables.items() if n != "y"
        }
    xr.testing.assert_identical(xr.load_dataset(cells.path(cell)), made)


def test_what_classic_netcdf_cannot_hold_is_kept_all_the_same(cells):
    made = xr.Dataset({"n": ("x", [1, 2**40])})
    xr.testing.assert_identical(cells.get(Cell("cell", {}, lambda: made)), made)


def test_an_interrupted_cell_leaves_nothing_behind(cells):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cells.get(Cell("cell", {}, interrupted))
    assert list(cells.folder.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "data.nc"
    save(xr.Dataset({"value": 1.0}), path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(xr.Dataset({"value": 2.0}), path)
    monkeypatch.undo()
    assert load(path).value == 1.0
    assert [file.name for file in tmp_path.iterdir()] == ["data.nc"]


def test_unreadable_data_is_named(tmp_path):
    (tmp_path / "data.nc").write_bytes(b"not netCDF")
    with pytest.raises(ValueError, match=r"data\.nc is damaged"):
        load(tmp_path / "data.nc")
    with pytest.raises(FileNotFoundError, match=r"missing\.nc"):
        load(tmp_path / "missing.nc")


def test_two_writers_of_one_process_number_do_not_meet(tmp_path, monkeypatch):
    """Containers that share a folder share process numbers: each writes under a name that no other has."""
    monkeypatch.setattr("os.getpid", lambda: 1)
    failed, datasets = [], [xr.Dataset({"a": ("x", np.full(20_000, float(n)))}) for n in range(4)]

    def write(dataset):
        try:
            for _ in range(10):
                save(dataset, tmp_path / "data.nc")
                load(tmp_path / "data.nc")
        except Exception as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(dataset,)) for dataset in datasets]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    assert [file.name for file in tmp_path.iterdir()] == ["data.nc"]


def test_a_stored_dataset_opens_in_plain_xarray(tmp_path):
    dataset = xr.Dataset({"value": ("x", np.arange(5.0))}, attrs={"text": "é"})
    save(dataset, tmp_path / "data.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "data.nc"), dataset)


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "unsealed", "text"])
def test_a_damaged_cell_is_made_again_and_said_so(cells, capsys, damage):
    def make():
        return xr.Dataset({"value": ("x", np.arange(100.0))})

    cell = Cell("cell", {}, make)
    made, path = cells.get(cell), cells.path(cell)
    content = path.read_bytes()
    damaged = {
        "truncated": content[:500],
        "empty": b"",
        "flipped": content[:500] + bytes([content[500] ^ 4]) + content[501:],
        "unsealed": content[:-1],
        "text": b"version https://git-lfs.github.com/spec/v1",
    }
    path.write_bytes(damaged[damage])
    xr.testing.assert_identical(cells.get(cell), made)
    assert "is damaged: its content is not that of its checksum; it is made again" in capsys.readouterr().err
    assert path.read_bytes() == content
    cells.get(cell._replace(make=pytest.fail))


def test_stack_puts_every_result_at_its_labels():
    result = stack(lambda a, b: xr.Dataset({"text": f"{a}{b}"}), a=["x", "y"], b=[1, 2, 3])
    assert result.text.sel(a="y", b=3) == "y3"
    assert result.text.dims == ("a", "b")


def test_what_is_joined_is_what_it_was_cut_from():
    """Dimensions in their order, and what does not have the dimension once."""
    values = {"a": (("x", "noise", "y"), np.random.default_rng(0).normal(size=(2, 3, 4))), "b": ("x", [1.0, 2.0])}
    whole = xr.Dataset(values, {"noise": [0.1, 0.25, 0.5], "y": list("abcd")})
    parts = [whole.isel(noise=[n]).assign_attrs(n=n) for n in range(3)]
    xr.testing.assert_identical(joined(parts, "noise"), whole)


def test_stack_fills_shorter_results_with_nan():
    def make(n):
        return xr.Dataset({"value": ("sample", np.ones(n))}, coords={"sample": range(n)})

    assert np.isnan(stack(make, n=[1, 3]).value.sel(n=1)).sum() == 2


@pytest.mark.parametrize("engine", [NETCDF4, CLASSIC])
def test_a_file_whose_seal_is_all_that_is_right_is_refused(tmp_path, engine):
    """Someone made the checksum fit: whatever the netCDF library says of it, the file is named."""
    content, rng = as_bytes(xr.Dataset({"x": ("n", np.arange(9.0))}), engine)[:-73], np.random.default_rng(0)
    path, refused = tmp_path / "cell.nc", 0
    for _ in range(40):
        path.write_bytes(sealed(content[: rng.integers(len(content))]))
        try:
            load(path)
        except UnreadableFile as error:
            refused += str(path) in str(error)
    assert refused >= 20
