"""Random streams keyed by what they are for, never by a position in a shared stream.

`keyed_generator(seed, "corruption", step)` gives the same stream whatever ran before it, so that a run resumed
at `step` needs no saved sampler state, and results do not depend on order or on the number of threads.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from uddm._validation import check_distributions, check_positive_int, check_seed


def keyed_seed(seed: int, *keys: int | str) -> int:
    """A 63-bit seed from `seed` >= 0 and a path of integers and words."""
    check_positive_int("seed", seed, at_least=0, bounded=False)
    path = [zlib.crc32(k.encode()) if isinstance(k, str) else int(k) for k in keys]
    state = np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)[0]
    return int(state) >> 1


def keyed_generator(seed: int, *keys: int | str, device: str | torch.device = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(keyed_seed(seed, *keys))


def as_generator(generator: int | torch.Generator | None, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator from a seed, from a generator (returned unchanged), or from entropy if None.

    TypeError for anything else, ValueError for a seed that is negative or has more than 64 bits.
    """
    if isinstance(generator, torch.Generator):
        return generator
    fresh = torch.Generator(device)
    if generator is None:
        fresh.seed()
        return fresh
    if isinstance(generator, bool) or not isinstance(generator, (int, np.integer)):
        raise TypeError(f"`generator` must be None, an int >= 0 or a torch.Generator, got {type(generator).__name__}")
    return fresh.manual_seed(check_seed("generator", generator))


def as_rng(rng: Any) -> np.random.Generator:
    """A numpy Generator from a seed, from a Generator (returned unchanged), or from entropy if None."""
    if rng is None or isinstance(rng, np.random.Generator):
        return np.random.default_rng(rng)
    if isinstance(rng, bool) or not isinstance(rng, (int, np.integer)):
        raise TypeError(f"`rng` must be None, an int >= 0 or a numpy Generator, got {type(rng).__name__}")
    return np.random.default_rng(check_positive_int("rng", rng, at_least=0))


def inverse_cdf(log_probs: Float[Tensor, "*shape K"], uniform: Float[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Categorical draws by inversion in float64: log-probabilities (..., K), numbers in [0, 1) (...) -> ids (...).

    ValueError where the probabilities have no finite, positive sum.
    """
    cdf = log_probs.double().exp().cumsum(-1)
    check_distributions("log_probs", cdf[..., -1].log())
    drawn = torch.searchsorted(cdf, (uniform[..., None] * cdf[..., -1:]).contiguous(), right=True).squeeze(-1)
    return drawn.clamp_max(log_probs.shape[-1] - 1)
