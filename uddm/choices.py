"""Words that functions, configurations and command lines choose from, each said once; loads nothing."""

from typing import Literal, get_args

Mode = Literal["sample", "posterior_mode", "x0_mode", "one_shot"]
"""How an update of the reverse process chooses its tokens (`uddm.sampling`)."""
Last = Literal["ancestral", "greedy", "none"]
"""The last update of the reverse process, at t = 1e-5 (`uddm.sampling`)."""
ScheduleName = Literal["log-linear", "linear", "cosine", "gaussian"]
"""Noise schedules (`uddm.process.schedule`)."""
NoiseName = Literal["uniform", "masked", "hybrid"]
"""Kinds of noise (`uddm.process`)."""
HybridName = Literal["gidd", "xdlm", "hdlm"]
"""Laws of hybrid noise (`uddm.process.hybrid`)."""
Predicts = Literal["cavity", "posterior"]
"""What the logits of a network are those of (`uddm.denoisers`)."""
Loss = Literal["nelbo", "jump", "cross-entropy"]
"""What is trained on (`uddm.objective`)."""
Packing = Literal["stream", "sentences"]
"""How documents are cut into sequences (`uddm.corpora.prepare_blocks`)."""
WeightType = Literal["float32", "stored"]
"""What weights that are read are kept in (`uddm.denoisers.Network.from_pretrained`)."""

MODES: tuple[Mode, ...] = get_args(Mode)
LASTS: tuple[Last, ...] = get_args(Last)
SCHEDULES: tuple[ScheduleName, ...] = get_args(ScheduleName)
NOISES: tuple[NoiseName, ...] = get_args(NoiseName)
HYBRIDS: tuple[HybridName, ...] = get_args(HybridName)
PREDICTS: tuple[Predicts, ...] = get_args(Predicts)
LOSSES: tuple[Loss, ...] = get_args(Loss)
WEIGHT_TYPES: tuple[WeightType, ...] = get_args(WeightType)
