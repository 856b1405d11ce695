"""What a job of a sweep asks of Slurm: options of the command line, which are read before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SlurmOptions:
    """Of each job, which makes one task.

    Args:
        partition: of the cluster; by default its own default.
        time: minutes; before they are over, the job saves its state and is queued again.
        memory: GB.
        cpus: cores; a task computes on one.
        gpus: on the job's node.
        sbatch: further options of sbatch, such as account=physics constraint=a100.
    """

    partition: str | None = None
    time: int = 24 * 60
    memory: float = 8.0
    cpus: int = 1
    gpus: int = 0
    sbatch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("time", 1), ("cpus", 1), ("gpus", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, got {getattr(self, name)}")
        if not self.memory > 0:
            raise ValueError(f"`memory` must be above 0, got {self.memory}")
        for option in self.sbatch:
            if not option.partition("=")[2]:
                raise ValueError(f"`sbatch` must be of the form NAME=VALUE, got {option!r}")
