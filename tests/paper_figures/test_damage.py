"""One flipped bit anywhere in what is stored: found when it is read, and mended or refused by name, or harmless."""

import shutil
import sys

import numpy as np
import pytest
import torch
import xarray as xr

import uddm.training.loop as loop
from bridges.claims import CLAIMS
from paper_figures.__main__ import main
from paper_figures.cells import Cell, Cells, load
from paper_figures.figure import known
from uddm import HollowMLP, HollowMLPConfig, TrainConfig, train
from uddm.files import UnreadableFile

SEED = 12


def flipped(content, rng):
    damaged = bytearray(content)
    damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
    return bytes(damaged)


def test_flips_in_a_cell(tmp_path, capsys):
    """Every one is found, since the seal covers each byte; the cell that is made again is the one that was."""
    cells, rng = Cells(tmp_path, seed=0), np.random.default_rng(SEED)

    def make():
        values = np.random.default_rng(0).normal(size=(20, 3))
        return xr.Dataset({"value": (("a", "b"), values), "name": ("b", ["x", "y", "é"])}, attrs={"manifest": "{}"})

    cell = Cell("cell", {}, make)
    made, path = cells.get(cell), cells.path(cell)
    content = path.read_bytes()
    for trial in range(250):
        path.write_bytes(flipped(content, rng))
        with pytest.raises(UnreadableFile, match=path.name):
            load(path)
        if trial % 25:
            continue
        xr.testing.assert_identical(cells.get(cell), made)
        assert "it is made again" in capsys.readouterr().err
        assert path.read_bytes() == content


def test_flips_in_the_state_of_a_training(tmp_path, monkeypatch):
    """Weights, average and moments are those of the run that nothing happened to, or the file is refused by name."""
    data = torch.randint(6, (10, 5), generator=torch.Generator().manual_seed(0))
    config = TrainConfig(steps=6, batch_size=4, warmup=1, checkpoint_every=4, log_every=1)

    def run(folder):
        torch.manual_seed(0)
        model = HollowMLP(HollowMLPConfig(6, length=5, hidden_dim=4, blocks=1, embed_dim=4, cond_dim=4))
        return train(model, data, config, folder, progress=None)

    whole = run(tmp_path / "whole").state_dict()
    inner, calls = loop._backward, iter(range(100))

    def crashing(*arguments):
        if next(calls) == 5:
            raise RuntimeError("crash")
        return inner(*arguments)

    monkeypatch.setattr(loop, "_backward", crashing)
    with pytest.raises(RuntimeError, match="crash"):
        run(tmp_path / "crashed")
    monkeypatch.undo()
    rng, refused, harmless = np.random.default_rng(SEED), 0, 0
    names = ["state.safetensors"] * 3 + ["config.json", "metrics.jsonl"]
    for trial in range(250):
        folder, name = tmp_path / f"trial-{trial}", names[trial % len(names)]
        shutil.copytree(tmp_path / "crashed", folder)
        (folder / name).write_bytes(flipped((folder / name).read_bytes(), rng))
        try:
            resumed = run(folder).state_dict()
        except ValueError as error:
            refused += str(folder) in str(error)
        else:
            harmless += all(torch.equal(resumed[key], whole[key]) for key in whole)
        shutil.rmtree(folder)
    assert refused + harmless == 250
    assert refused > 150
    assert harmless >= 50, "a log is no result"


@pytest.mark.long
def test_flips_in_a_whole_run(tmp_path, monkeypatch, capsys):
    """After each, the same command gives the same data, or ends with one line that names the file."""
    command = ["paper_figures", "run", "--preset", "smoke", "--jobs", "1", "--out"]
    rng = np.random.default_rng(SEED)

    def run(folder):
        monkeypatch.setattr(sys, "argv", [*command, str(folder)])
        try:
            main()
        except SystemExit as ended:
            return ended.code
        return 0

    assert run(tmp_path / "whole") == 0
    wanted = {path.name: load(path).drop_attrs() for path in (tmp_path / "whole" / "data").glob("*.nc")}
    assert wanted.keys() == {f"{name}.nc" for name in (*known(), *CLAIMS)}
    files = [p for part in ("cells", "corpus") for p in sorted((tmp_path / "whole" / part).rglob("*")) if p.is_file()]
    files = [path for path in files if path.stat().st_size]
    sizes = np.array([path.stat().st_size for path in files], float)
    for trial in range(20):
        folder = tmp_path / "damaged"
        shutil.copytree(tmp_path / "whole", folder)
        for part in ("data", "figures"):
            shutil.rmtree(folder / part)
        (folder / "figures.json").unlink()
        weights = sizes / sizes.sum() if trial % 2 else np.full(len(files), 1 / len(files))
        path = folder / files[rng.choice(len(files), p=weights)].relative_to(tmp_path / "whole")
        path.write_bytes(flipped(path.read_bytes(), rng))
        capsys.readouterr()
        status, said = run(folder), capsys.readouterr().err
        outcome = said.splitlines()[-1] if status else "same data"
        with capsys.disabled():
            print(f"\n{trial}: {path.relative_to(folder)}: {outcome}")
        if status:
            assert status == 2
            assert "error: " in said.splitlines()[-1]
            assert "/damaged/" in said.splitlines()[-1]
        else:
            for name, dataset in wanted.items():
                xr.testing.assert_identical(load(folder / "data" / name).drop_attrs(), dataset)
        shutil.rmtree(folder)
