"""What predicts clean tokens from noisy ones: networks, each known to the registry by being imported here, and exact
limits, which load numba on first use."""

from typing import TYPE_CHECKING

import lazy_loader

from uddm.denoisers.base import Denoiser as Denoiser
from uddm.denoisers.half import HalfPrecision as HalfPrecision
from uddm.denoisers.half import in_precision as in_precision
from uddm.denoisers.hollow import HollowMLP as HollowMLP
from uddm.denoisers.hollow import HollowMLPConfig as HollowMLPConfig
from uddm.denoisers.linear import Linear as Linear
from uddm.denoisers.linear import LinearConfig as LinearConfig
from uddm.denoisers.llama import Llama as Llama
from uddm.denoisers.llama import LlamaConfig as LlamaConfig
from uddm.denoisers.network import NETWORKS as NETWORKS
from uddm.denoisers.network import Network as Network
from uddm.denoisers.network import network_of as network_of
from uddm.denoisers.pretrained import DiffusionGemma as DiffusionGemma
from uddm.denoisers.pretrained import MaskedLanguageModel as MaskedLanguageModel
from uddm.denoisers.transformer import DiT as DiT
from uddm.denoisers.transformer import DiTConfig as DiTConfig
from uddm.denoisers.tree import TreeUNet as TreeUNet
from uddm.denoisers.tree import TreeUNetConfig as TreeUNetConfig

if TYPE_CHECKING:
    from uddm.denoisers.empirical_bayes import EmpiricalBayes as EmpiricalBayes
    from uddm.denoisers.hierarchy_bayes import HierarchyBayes as HierarchyBayes

__getattr__, _, _ = lazy_loader.attach(
    __name__, submod_attrs={"empirical_bayes": ["EmpiricalBayes"], "hierarchy_bayes": ["HierarchyBayes"]}
)

__all__ = [
    "NETWORKS",
    "Denoiser",
    "DiT",
    "DiTConfig",
    "DiffusionGemma",
    "EmpiricalBayes",
    "HalfPrecision",
    "HierarchyBayes",
    "HollowMLP",
    "HollowMLPConfig",
    "Linear",
    "LinearConfig",
    "Llama",
    "LlamaConfig",
    "MaskedLanguageModel",
    "Network",
    "TreeUNet",
    "TreeUNetConfig",
    "in_precision",
    "network_of",
]
