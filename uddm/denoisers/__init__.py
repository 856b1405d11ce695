"""What predicts clean tokens from noisy ones: networks and exact limits."""

from typing import TYPE_CHECKING, Any

from uddm.denoisers.base import Denoiser as Denoiser
from uddm.denoisers.empirical_bayes import EmpiricalBayes as EmpiricalBayes
from uddm.denoisers.hollow import HollowMLP as HollowMLP
from uddm.denoisers.hollow import HollowMLPConfig as HollowMLPConfig
from uddm.denoisers.linear import Linear as Linear
from uddm.denoisers.linear import LinearConfig as LinearConfig
from uddm.denoisers.network import Network as Network
from uddm.denoisers.transformer import DiT as DiT
from uddm.denoisers.transformer import DiTConfig as DiTConfig
from uddm.denoisers.tree import TreeUNet as TreeUNet
from uddm.denoisers.tree import TreeUNetConfig as TreeUNetConfig

if TYPE_CHECKING:
    from uddm.denoisers.hierarchy_bayes import HierarchyBayes as HierarchyBayes

NETWORKS: dict[str, type[Network]] = {"DiT": DiT, "HollowMLP": HollowMLP, "Linear": Linear, "TreeUNet": TreeUNet}


def __getattr__(name: str) -> Any:
    if name == "HierarchyBayes":  # loads numba
        from uddm.denoisers.hierarchy_bayes import HierarchyBayes

        return HierarchyBayes
    raise AttributeError(f"module 'uddm.denoisers' has no attribute {name!r}")
