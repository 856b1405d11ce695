"""What predicts clean tokens from noisy ones: networks and exact limits."""

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

NETWORKS: dict[str, type[Network]] = {"DiT": DiT, "HollowMLP": HollowMLP, "Linear": Linear, "TreeUNet": TreeUNet}
