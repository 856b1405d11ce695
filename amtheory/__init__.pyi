from . import basins as basins
from . import intervals as intervals
from . import patterns as patterns
from . import theory as theory
from ._memory import Couplings as Couplings
from ._memory import Dynamics as Dynamics
from ._memory import Memory as Memory
from ._memory import PairwiseMemory as PairwiseMemory
from .dense import DenseMemory as DenseMemory
from .diffusion_memory import DiffusionMemory as DiffusionMemory
from .hopfield import Hopfield as Hopfield
from .intervals import Estimate as Estimate
from .perceptron import PerceptronMargin as PerceptronMargin
from .pseudoinverse import PseudoInverse as PseudoInverse
from .pseudolikelihood import PseudoLikelihood as PseudoLikelihood
from .retrieval import RetrievalInfo as RetrievalInfo
from .retrieval import retrieve as retrieve

__all__ = [
    "Couplings",
    "DenseMemory",
    "DiffusionMemory",
    "Dynamics",
    "Estimate",
    "Hopfield",
    "Memory",
    "PairwiseMemory",
    "PerceptronMargin",
    "PseudoInverse",
    "PseudoLikelihood",
    "RetrievalInfo",
    "basins",
    "intervals",
    "patterns",
    "retrieve",
    "theory",
]
