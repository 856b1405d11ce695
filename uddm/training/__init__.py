"""Training: a `TrainConfig` determines a run, `train` runs or resumes it; `run` starts from text."""

from uddm.training.from_text import run as run
from uddm.training.loop import train as train
