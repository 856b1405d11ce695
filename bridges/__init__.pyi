from .attractors import attraction as attraction
from .attractors import count_memories as count_memories
from .attractors import memories_of as memories_of
from .attractors import near_duplicates as near_duplicates
from .basin_comparison import basin_verdict as basin_verdict
from .basin_comparison import compare_basins as compare_basins
from .binary import BinarySystem as BinarySystem
from .binary import likelihood_beta as likelihood_beta
from .binary import to_spins as to_spins
from .binary import to_tokens as to_tokens
from .claims import CLAIMS as CLAIMS
from .claims import Claim as Claim
from .claims import Outcome as Outcome
from .conformal import conformal_p_values as conformal_p_values
from .conformal import discoveries as discoveries
from .conformal import share_limit as share_limit
from .diffusion import DiffusionSystem as DiffusionSystem
from .embeddings import embed as embed
from .entropy import conditional_entropy as conditional_entropy
from .entropy import entropy_gap as entropy_gap
from .extractions import extraction as extraction
from .identities import check_all as check_all
from .masked import MaskedSystem as MaskedSystem
from .measured import as_system as as_system
from .membership import SCORES as SCORES
from .membership import membership_scores as membership_scores
from .precision import precision_audit as precision_audit
from .probing import probe as probe
from .recovery import TOKEN_CLASSES as TOKEN_CLASSES
from .recovery import frequency_chance as frequency_chance
from .recovery import token_classes as token_classes
from .recovery import token_recovery as token_recovery
from .roc import OperatingPoint as OperatingPoint
from .roc import RocCurve as RocCurve
from .roc import area_under_roc as area_under_roc
from .roc import ks_distance as ks_distance
from .roc import operating_point as operating_point
from .roc import roc_curve as roc_curve
from .roc import true_positive_rate as true_positive_rate
from .sequential import SequentialSystem as SequentialSystem
from .stability import fixed_points as fixed_points
from .substrings import substring_memorization as substring_memorization
from .system import Conditional as Conditional
from .system import MemorySystem as MemorySystem
from .trajectories import trajectory as trajectory
from .transition import find_peak as find_peak
from .transition import find_transition as find_transition
from .transition import scaling_exponent as scaling_exponent
from .uturn import UTurn as UTurn
from .uturn_chains import chains as chains
from .uturn_chains import relaxation_times as relaxation_times

__all__ = [
    "CLAIMS",
    "SCORES",
    "TOKEN_CLASSES",
    "BinarySystem",
    "Claim",
    "Conditional",
    "DiffusionSystem",
    "MaskedSystem",
    "MemorySystem",
    "OperatingPoint",
    "Outcome",
    "RocCurve",
    "SequentialSystem",
    "UTurn",
    "area_under_roc",
    "as_system",
    "attraction",
    "basin_verdict",
    "chains",
    "check_all",
    "compare_basins",
    "conditional_entropy",
    "conformal_p_values",
    "count_memories",
    "discoveries",
    "embed",
    "entropy_gap",
    "extraction",
    "find_peak",
    "find_transition",
    "fixed_points",
    "frequency_chance",
    "ks_distance",
    "likelihood_beta",
    "membership_scores",
    "memories_of",
    "near_duplicates",
    "operating_point",
    "precision_audit",
    "probe",
    "relaxation_times",
    "roc_curve",
    "scaling_exponent",
    "share_limit",
    "substring_memorization",
    "to_spins",
    "to_tokens",
    "token_classes",
    "token_recovery",
    "trajectory",
    "true_positive_rate",
]
