"""Small published checkpoints."""

import sys

import pytest
import torch
from published_files import SETTINGS, checkpoint, foreign, hub_folder, omegaconf


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Bytes of a checkpoint with OmegaConf and Lightning objects in it."""
    names = [f"omegaconf.{name}" for name in ("DictConfig", "ListConfig", "AnyNode", "base.ContainerMetadata")]
    path = tmp_path_factory.mktemp("checkpoint") / "small.ckpt"
    with foreign(*names, "lightning.trainer.Callback") as (*classes, callback):
        config = omegaconf(SETTINGS, classes)
        torch.save(checkpoint(hyper_parameters={"config": config}, callbacks={"best": callback()}), path)
    assert "omegaconf" not in sys.modules
    return path.read_bytes()


@pytest.fixture
def ckpt(tmp_path, small):
    (tmp_path / "small.ckpt").write_bytes(small)
    return tmp_path / "small.ckpt"


@pytest.fixture
def hub(tmp_path):
    return hub_folder(tmp_path / "hub")
