"""One ruler for binary associative memories and diffusion language models: token recovery and conditional entropy.

system = as_system(memory)                       # a fitted memory, a denoiser, or a checkpoint folder
token_recovery(system, x, noise=[0.1, 0.25])     # labelled rates with intervals
conditional_entropy(system, x)                   # nats, by token and sequence
chains(UTurn(system, noise=0.4), x, 100, rng=0)  # Markov chains of forward-backward steps
compare_basins(100, loads=[0.1, 0.5])            # learning rules on the same patterns
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridges.basin_comparison import basin_verdict as basin_verdict
    from bridges.basin_comparison import compare_basins as compare_basins
    from bridges.binary import BinarySystem as BinarySystem
    from bridges.binary import likelihood_beta as likelihood_beta
    from bridges.binary import to_spins as to_spins
    from bridges.binary import to_tokens as to_tokens
    from bridges.diffusion import DiffusionSystem as DiffusionSystem
    from bridges.embeddings import embed as embed
    from bridges.entropy import conditional_entropy as conditional_entropy
    from bridges.entropy import entropy_gap as entropy_gap
    from bridges.identities import check_all as check_all
    from bridges.measured import as_system as as_system
    from bridges.recovery import TOKEN_CLASSES as TOKEN_CLASSES
    from bridges.recovery import frequency_chance as frequency_chance
    from bridges.recovery import token_classes as token_classes
    from bridges.recovery import token_recovery as token_recovery
    from bridges.substrings import substring_memorization as substring_memorization
    from bridges.system import Conditional as Conditional
    from bridges.system import MemorySystem as MemorySystem
    from bridges.uturn import UTurn as UTurn
    from bridges.uturn import chains as chains
    from bridges.uturn import relaxation_times as relaxation_times

__all__ = [
    "TOKEN_CLASSES",
    "BinarySystem",
    "Conditional",
    "DiffusionSystem",
    "MemorySystem",
    "UTurn",
    "as_system",
    "basin_verdict",
    "chains",
    "check_all",
    "compare_basins",
    "conditional_entropy",
    "embed",
    "entropy_gap",
    "frequency_chance",
    "likelihood_beta",
    "relaxation_times",
    "substring_memorization",
    "to_spins",
    "to_tokens",
    "token_classes",
    "token_recovery",
]

_HOMES = {
    "BinarySystem": "binary",
    "Conditional": "system",
    "DiffusionSystem": "diffusion",
    "MemorySystem": "system",
    "TOKEN_CLASSES": "recovery",
    "UTurn": "uturn",
    "as_system": "measured",
    "basin_verdict": "basin_comparison",
    "chains": "uturn",
    "check_all": "identities",
    "compare_basins": "basin_comparison",
    "conditional_entropy": "entropy",
    "embed": "embeddings",
    "entropy_gap": "entropy",
    "frequency_chance": "recovery",
    "likelihood_beta": "binary",
    "relaxation_times": "uturn",
    "substring_memorization": "substrings",
    "to_spins": "binary",
    "to_tokens": "binary",
    "token_classes": "recovery",
    "token_recovery": "recovery",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(f"bridges.{_HOMES[name]}"), name)
        return value
    raise AttributeError(f"module 'bridges' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
