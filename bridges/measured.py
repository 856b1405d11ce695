"""From what a user has to what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridges.system import MemorySystem


def as_system(memory: Any, **options: Any) -> MemorySystem:
    """The measured system behind a fitted binary memory, a denoiser, or a checkpoint folder.

    Options go to `bridges.BinarySystem` or `bridges.DiffusionSystem`.

    Raises:
        TypeError: nothing that can be measured.
        FileNotFoundError, ValueError: an unreadable checkpoint.
    """
    if isinstance(memory, MemorySystem):
        if options:
            raise TypeError(f"`memory` is a measured system already and takes no options, got {', '.join(options)}")
        return memory
    if isinstance(memory, (str, Path)):
        from uddm.denoisers import Network

        memory = Network.from_pretrained(memory)
    if hasattr(memory, "cavity"):
        from bridges.diffusion import DiffusionSystem

        return DiffusionSystem(memory, **options)
    if hasattr(memory, "length_"):
        from bridges.binary import BinarySystem

        return BinarySystem(memory, **options)
    raise TypeError(
        "`memory` must be a fitted binary memory (of amtheory), a denoiser (with cavity) or a checkpoint folder, "
        f"got {type(memory).__name__}"
    )
