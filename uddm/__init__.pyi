from . import config as config
from . import corpora as corpora
from . import curriculum as curriculum
from . import denoisers as denoisers
from . import duality as duality
from . import evaluation as evaluation
from . import hierarchy as hierarchy
from . import objective as objective
from .config import Curriculum as Curriculum
from .config import DiTConfig as DiTConfig
from .config import HollowMLPConfig as HollowMLPConfig
from .config import TrainConfig as TrainConfig
from .denoisers.base import Denoiser as Denoiser
from .denoisers.empirical_bayes import EmpiricalBayes as EmpiricalBayes
from .denoisers.hierarchy_bayes import HierarchyBayes as HierarchyBayes
from .denoisers.hollow import HollowMLP as HollowMLP
from .denoisers.transformer import DiT as DiT
from .importers import import_published as import_published
from .objective import evidence_bound as evidence_bound
from .objective import nelbo as nelbo
from .process import HybridProcess as HybridProcess
from .process import MaskedProcess as MaskedProcess
from .process import UniformProcess as UniformProcess
from .sampling import reverse as reverse
from .training import train as train

__all__ = [
    "Curriculum",
    "Denoiser",
    "DiT",
    "DiTConfig",
    "EmpiricalBayes",
    "HierarchyBayes",
    "HollowMLP",
    "HollowMLPConfig",
    "HybridProcess",
    "MaskedProcess",
    "TrainConfig",
    "UniformProcess",
    "config",
    "corpora",
    "curriculum",
    "denoisers",
    "duality",
    "evaluation",
    "evidence_bound",
    "hierarchy",
    "import_published",
    "nelbo",
    "objective",
    "reverse",
    "train",
]
