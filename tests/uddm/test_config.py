"""Settings: plain data without torch, the same for the library, the command line and the record of a run."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

import uddm.__main__
from uddm import DiTConfig, HollowMLP, HollowMLPConfig, TrainConfig, denoisers
from uddm.config import RUNS, SHAPES, RunConfig
from uddm.denoisers import NETWORKS, TreeUNetConfig, network_of
from uddm.training.loop import claim


def test_every_network_of_the_package_has_its_shape():
    assert {name: network.Config for name, network in NETWORKS.items() if hasattr(denoisers, name)} == SHAPES
    assert network_of(SHAPES["DiT"](4)) is NETWORKS["DiT"]
    assert all(shape(4).name == name for name, shape in SHAPES.items())
    with pytest.raises(TypeError, match="`config` must be that of a network, got RunConfig"):
        network_of(RUNS["letters"])  # type: ignore[arg-type]


def test_a_network_writes_out_what_follows_from_other_settings():
    config = HollowMLPConfig(4, length=6)
    assert replace(config, length=9).resolved().window == 8, "no window of the old length is left behind"
    assert HollowMLP(config).config == HollowMLPConfig(4, length=6, window=5) == HollowMLPConfig(**config.to_dict())
    assert TreeUNetConfig(4, branching=3, depth=2).to_dict()["length"] == 9


def test_a_run_of_an_earlier_version_goes_on(tmp_path):
    """What version 0.1.0 wrote for this network and training."""
    network = {"vocab_size": 4, "length": 6, "schedule": "log-linear", "predicts": "cavity", "hidden_dim": 8}
    network |= {"blocks": 1, "cond_dim": 4, "dropout": 0.0, "embed_dim": 4, "window": 5, "expansion": 2}
    training = {"steps": 5, "batch_size": 2, "learning_rate": 0.0003, "warmup": 2500, "decay": "constant"}
    training |= {"betas": [0.9, 0.999], "weight_decay": 0.0, "clip": 1.0, "loss": "nelbo", "curriculum": None}
    training |= {"precision": "float32", "ema": 0.9999, "first_time": 0.001, "log_fraction": 0.0, "seed": 1}
    training |= {"log_every": 100, "checkpoint_every": 1000}
    (tmp_path / "config.json").write_text(json.dumps({"model": network, "training": training, "data": {}}))
    config = HollowMLPConfig(4, length=6, hidden_dim=8, blocks=1, cond_dim=4, dropout=0.0, embed_dim=4)
    claim(tmp_path, config, TrainConfig(steps=5, batch_size=2), None)
    with pytest.raises(ValueError, match=r"holds another run: its model.window is 5, not 3"):
        claim(tmp_path, replace(config, window=3), TrainConfig(steps=5, batch_size=2), None)


def asked(monkeypatch, *words) -> RunConfig:
    """The settings with which `python -m uddm train` would call the library."""
    given = []
    monkeypatch.setattr("sys.argv", ["uddm", "train", "somewhere", *words])
    monkeypatch.setattr("uddm.training.run", lambda out, config, **how: given.append(config))
    uddm.__main__.main()
    return given[0]


@pytest.mark.parametrize("preset", RUNS)
def test_the_command_line_has_the_settings_of_its_preset(monkeypatch, preset, capsys):
    assert asked(monkeypatch, "--preset", preset) == RUNS[preset]
    changed = asked(monkeypatch, f"--preset={preset}", "--steps", "7", "--length", "5", "--fraction", "0.5")
    want = RUNS[preset]
    want = replace(
        want, network=replace(want.network, length=5), training=replace(want.training, steps=7), fraction=0.5
    )
    assert changed == want
    assert (changed.recipe.curriculum is not None) == preset.startswith("paper")
    if changed.recipe.curriculum:
        assert changed.recipe.curriculum.end == 3


@pytest.mark.parametrize("name", SHAPES)
def test_every_network_can_be_asked_for_and_keeps_what_the_preset_says_of_it(monkeypatch, name, capsys):
    config = asked(monkeypatch, "--network", name, *(["--length", "16"] if name != "TreeUNet" else []))
    assert type(config.network) is SHAPES[name]
    if "hidden_dim" in {f.name for f in fields(SHAPES[name])}:
        assert config.network.hidden_dim == 160  # type: ignore[attr-defined]


def test_integers_are_kept_as_plain_ones():
    config = DiTConfig(np.int64(27), hidden_dim=np.int32(256), heads=np.uint8(128))  # 2 * 128 is no uint8
    assert config == DiTConfig(27, hidden_dim=256, heads=128)
    assert type(config.heads) is int


def test_shapes_are_refused_by_name():
    with pytest.raises(TypeError, match="`time_conditioning`"):
        DiTConfig(27, time_conditioning=np.array(["t", "t"]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`branching` \*\* `depth` must be below"):
        TreeUNetConfig(8, depth=2**31)
    with pytest.raises(TypeError, match="`length`"):
        TreeUNetConfig(8, length=np.zeros(2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("named", "wrong"),
    [
        ("`packing`", {"packing": "tight"}),
        ("`sequences`", {"sequences": 0}),
        ("`fraction`", {"fraction": 1.5}),
        ("`fraction` and `sequences`", {"fraction": 0.5, "sequences": 3}),
    ],
)
def test_a_run_has_settings_in_their_ranges(named, wrong):
    with pytest.raises(ValueError, match=named):
        replace(RUNS["letters"], **wrong)
    with pytest.raises(ValueError, match="`schedule`"):
        HollowMLPConfig(4, schedule="steep")  # type: ignore[arg-type]
