"""What predicts clean tokens from noisy ones: networks and exact limits."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from uddm.denoisers.base import Denoiser as Denoiser
from uddm.denoisers.hollow import HollowMLP as HollowMLP
from uddm.denoisers.hollow import HollowMLPConfig as HollowMLPConfig
from uddm.denoisers.linear import Linear as Linear
from uddm.denoisers.linear import LinearConfig as LinearConfig
from uddm.denoisers.network import NETWORKS as NETWORKS
from uddm.denoisers.network import Network as Network
from uddm.denoisers.transformer import DiT as DiT
from uddm.denoisers.transformer import DiTConfig as DiTConfig
from uddm.denoisers.tree import TreeUNet as TreeUNet
from uddm.denoisers.tree import TreeUNetConfig as TreeUNetConfig

if TYPE_CHECKING:
    from uddm.denoisers.empirical_bayes import EmpiricalBayes as EmpiricalBayes
    from uddm.denoisers.hierarchy_bayes import HierarchyBayes as HierarchyBayes

_COMPILED = {"EmpiricalBayes": "empirical_bayes", "HierarchyBayes": "hierarchy_bayes"}  # load numba


def __getattr__(name: str) -> Any:
    if name in _COMPILED:
        return getattr(import_module(f"uddm.denoisers.{_COMPILED[name]}"), name)
    raise AttributeError(f"module 'uddm.denoisers' has no attribute {name!r}")
