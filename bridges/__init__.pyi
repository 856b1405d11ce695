from .basin_comparison import basin_verdict as basin_verdict
from .basin_comparison import compare_basins as compare_basins
from .binary import BinarySystem as BinarySystem
from .binary import likelihood_beta as likelihood_beta
from .binary import to_spins as to_spins
from .binary import to_tokens as to_tokens
from .diffusion import DiffusionSystem as DiffusionSystem
from .embeddings import embed as embed
from .entropy import conditional_entropy as conditional_entropy
from .entropy import entropy_gap as entropy_gap
from .identities import check_all as check_all
from .measured import as_system as as_system
from .recovery import TOKEN_CLASSES as TOKEN_CLASSES
from .recovery import frequency_chance as frequency_chance
from .recovery import token_classes as token_classes
from .recovery import token_recovery as token_recovery
from .substrings import substring_memorization as substring_memorization
from .system import Conditional as Conditional
from .system import MemorySystem as MemorySystem
from .uturn import UTurn as UTurn
from .uturn_chains import chains as chains
from .uturn_chains import relaxation_times as relaxation_times

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
