"""What predicts clean tokens from noisy ones: the transformer and the exact limits."""

from uddm.denoisers.base import Denoiser as Denoiser
from uddm.denoisers.empirical_bayes import EmpiricalBayes as EmpiricalBayes
from uddm.denoisers.transformer import DiT as DiT
from uddm.denoisers.transformer import DiTConfig as DiTConfig
