"""Binary associative memories and their theory.

Conventions, the same everywhere in the package:

- spins are ``int8`` in {-1, +1}; patterns have shape (P, L), states (M, L);
- ``W[i, j]`` acts from spin j onto spin i; the diagonal is zero; the local field is h_i = sum_j W_ij s_j;
- a zero local field keeps the spin;
- temperatures are those of P(s_i = +1) = sigma(2 h_i / T), sigma(u) = 1 / (1 + exp(-u));
- the load is alpha = P / L;
- ``rng`` is None, a non-negative integer seed, or a :class:`numpy.random.Generator`.

Everything below is imported on first use, so ``import amtheory`` is immediate.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amtheory import basins, intervals, patterns, theory
    from amtheory._memory import Couplings
    from amtheory.dense import DenseMemory
    from amtheory.diffusion_memory import DiffusionMemory
    from amtheory.hopfield import Hopfield
    from amtheory.intervals import Estimate
    from amtheory.perceptron import PerceptronMargin
    from amtheory.pseudoinverse import PseudoInverse
    from amtheory.pseudolikelihood import PseudoLikelihood
    from amtheory.retrieval import retrieve

__all__ = [
    "Couplings",
    "DenseMemory",
    "DiffusionMemory",
    "Estimate",
    "Hopfield",
    "PerceptronMargin",
    "PseudoInverse",
    "PseudoLikelihood",
    "basins",
    "intervals",
    "patterns",
    "retrieve",
    "theory",
]

_HOME = {
    "Couplings": "_memory",
    "DenseMemory": "dense",
    "DiffusionMemory": "diffusion_memory",
    "Estimate": "intervals",
    "Hopfield": "hopfield",
    "PerceptronMargin": "perceptron",
    "PseudoInverse": "pseudoinverse",
    "PseudoLikelihood": "pseudolikelihood",
    "retrieve": "retrieval",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOME.get(name, name)}")
    value = getattr(module, name) if name in _HOME else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
