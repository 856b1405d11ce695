"""Noise: what becomes of clean tokens with time, and what Bayes' rule says of the way back.

`Process` is what all kinds of noise have in common; each kind has a file of its own, as have the schedules.
"""

from uddm.process.absorbing import MaskedProcess
from uddm.process.base import Process, Transition
from uddm.process.hybrid import HybridProcess
from uddm.process.schedule import Schedule
from uddm.process.uniform import UniformProcess

__all__ = ["HybridProcess", "MaskedProcess", "Process", "Schedule", "Transition", "UniformProcess"]
