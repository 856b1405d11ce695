"""From what a user has to what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridges.system import MemorySystem


def as_system(memory: Any, **options: Any) -> MemorySystem:
    """The measured system behind a fitted binary memory, a denoiser, or a checkpoint folder.

    Parameters
    ----------
    memory : a fitted `amtheory` memory, a `uddm.Denoiser`, the path of a model's folder, or a `MemorySystem`, which is
        returned as it is
    options : keywords of `bridges.BinarySystem` (`beta`, `update`), of `bridges.DiffusionSystem` (`conditional`,
        `batch_size`) or, for a denoiser of masked tokens, of `bridges.MaskedSystem` (`passes`, `batch_size`)

    Returns
    -------
    MemorySystem

    Raises
    ------
    TypeError : nothing that can be measured, or options that it does not take
    FileNotFoundError, ValueError : an unreadable checkpoint, or an option out of range

    Examples
    --------
    >>> from amtheory import Hopfield
    >>> from amtheory.patterns import random_patterns
    >>> from bridges import as_system
    >>> system = as_system(Hopfield().fit(random_patterns(3, 40, rng=0)), beta=2.0)
    >>> system.length, system.vocab_size
    (40, 2)
    """
    if isinstance(memory, MemorySystem):
        if options:
            raise TypeError(f"`memory` is a measured system already and takes no options, got {', '.join(options)}")
        return memory
    if isinstance(memory, (str, Path)):
        from uddm.denoisers import Network
        from uddm.importers.transformers_models import import_transformers, is_transformers

        memory = import_transformers(memory) if is_transformers(memory) else Network.from_pretrained(memory)
    if hasattr(memory, "cavity"):
        from bridges.diffusion import DiffusionSystem
        from bridges.masked import MaskedSystem
        from uddm import MaskedProcess

        if isinstance(memory.process, MaskedProcess):
            return MaskedSystem(memory, **options)
        return DiffusionSystem(memory, **options)
    if hasattr(memory, "length_"):
        from bridges.binary import BinarySystem

        return BinarySystem(memory, **options)
    raise TypeError(
        "`memory` must be a fitted binary memory (of amtheory), a denoiser (with cavity) or a checkpoint folder, "
        f"got {type(memory).__name__}"
    )
