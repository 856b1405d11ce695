"""Cells are computed once, keyed by what determines them, and never half-written."""

import threading

import numpy as np
import pytest
import xarray as xr

from paper_figures.workspace import Workspace, load, save, stack


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path, "smoke")
    (tmp_path / "cells").mkdir()
    return workspace


def test_a_cell_is_made_once_for_each_key(workspace):
    calls = []

    def make(value):
        calls.append(value)
        return xr.Dataset({"value": value})

    for key in (0.1, 0.1, 0.15, 1, 0.1):
        assert workspace.cell(f"cell-{key}", {"key": key}, lambda key=key: make(key)).value == key
    assert calls == [0.1, 0.15, 1]


def test_names_with_dots_do_not_collide(workspace):
    cells = [workspace.cell("load-0.1", {"disorder": d}, lambda d=d: xr.Dataset({"d": d})) for d in range(3)]
    assert [int(cell.d) for cell in cells] == [0, 1, 2]


def test_an_interrupted_cell_leaves_nothing_behind(workspace):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workspace.cell("cell", {}, interrupted)
    assert list((workspace.folder / "cells").iterdir()) == []


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
def test_a_damaged_cell_is_made_again_and_said_so(workspace, capsys, damage):
    def make():
        return xr.Dataset({"value": ("x", np.arange(100.0))})

    cell = workspace.cell("cell", {}, make)
    (path,) = (workspace.folder / "cells").iterdir()
    content = path.read_bytes()
    damaged = {
        "truncated": content[:1000],
        "empty": b"",
        "flipped": content[:3000] + bytes([content[3000] ^ 4]) + content[3001:],
        "unsealed": content[:-1],
        "text": b"version https://git-lfs.github.com/spec/v1",
    }
    path.write_bytes(damaged[damage])
    xr.testing.assert_identical(workspace.cell("cell", {}, make), cell)
    assert "is damaged: its content is not that of its checksum; it is made again" in capsys.readouterr().err
    assert path.read_bytes() == content
    workspace.cell("cell", {}, pytest.fail)


def test_stack_puts_every_result_at_its_labels():
    result = stack(lambda a, b: xr.Dataset({"text": f"{a}{b}"}), a=["x", "y"], b=[1, 2, 3])
    assert result.text.sel(a="y", b=3) == "y3"
    assert result.text.dims == ("a", "b")


def test_stack_fills_shorter_results_with_nan():
    def make(n):
        return xr.Dataset({"value": ("sample", np.ones(n))}, coords={"sample": range(n)})

    assert np.isnan(stack(make, n=[1, 3]).value.sel(n=1)).sum() == 2
