"""Uniform-state discrete diffusion language models: a process plus a denoiser.

Conventions, stated once: tokens are int64 of shape (B, L), ids in [0, K); times t lie in (0, 1], one for all or one for
each sequence; entropies and losses are in nats; `cavity` is the distribution of a token given the others, `posterior`
the one given all. Names are imported on first use, so `import uddm` loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uddm import belief as belief
    from uddm import corpora as corpora
    from uddm import curriculum as curriculum
    from uddm import denoisers as denoisers
    from uddm import duality as duality
    from uddm import objective as objective
    from uddm._reverse import reverse as reverse
    from uddm.curriculum import Curriculum as Curriculum
    from uddm.denoisers.base import Denoiser as Denoiser
    from uddm.denoisers.empirical_bayes import EmpiricalBayes as EmpiricalBayes
    from uddm.denoisers.hierarchy_bayes import HierarchyBayes as HierarchyBayes
    from uddm.denoisers.hollow import HollowMLP as HollowMLP
    from uddm.denoisers.hollow import HollowMLPConfig as HollowMLPConfig
    from uddm.denoisers.transformer import DiT as DiT
    from uddm.denoisers.transformer import DiTConfig as DiTConfig
    from uddm.importers import import_published as import_published
    from uddm.objective import evidence_bound as evidence_bound
    from uddm.objective import nelbo as nelbo
    from uddm.process import UniformProcess as UniformProcess
    from uddm.training import TrainConfig as TrainConfig
    from uddm.training import train as train

__all__ = [
    "Curriculum",
    "Denoiser",
    "DiT",
    "DiTConfig",
    "EmpiricalBayes",
    "HierarchyBayes",
    "HollowMLP",
    "HollowMLPConfig",
    "TrainConfig",
    "UniformProcess",
    "belief",
    "corpora",
    "curriculum",
    "denoisers",
    "duality",
    "evidence_bound",
    "import_published",
    "nelbo",
    "objective",
    "reverse",
    "train",
]

_HOMES = {
    "Curriculum": "uddm.curriculum",
    "Denoiser": "uddm.denoisers.base",
    "DiT": "uddm.denoisers.transformer",
    "DiTConfig": "uddm.denoisers.transformer",
    "EmpiricalBayes": "uddm.denoisers.empirical_bayes",
    "HollowMLP": "uddm.denoisers.hollow",
    "HollowMLPConfig": "uddm.denoisers.hollow",
    "TrainConfig": "uddm.training",
    "HierarchyBayes": "uddm.denoisers",
    "UniformProcess": "uddm.process",
    "evidence_bound": "uddm.objective",
    "import_published": "uddm.importers",
    "nelbo": "uddm.objective",
    "reverse": "uddm._reverse",
    "train": "uddm.training",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value
    if name in __all__:
        return import_module(f"uddm.{name}")
    raise AttributeError(f"module 'uddm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
