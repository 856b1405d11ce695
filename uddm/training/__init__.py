"""Training: `TrainConfig` determines a run, `train` runs or resumes it."""

from uddm.training.config import TrainConfig as TrainConfig
from uddm.training.loop import train as train
