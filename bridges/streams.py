"""Random streams keyed by what they are for, so that results do not depend on order or on what else was measured."""

from __future__ import annotations

import zlib

import numpy as np

from amtheory._validation import integer


def as_seed(rng: int | np.random.Generator | None) -> int:
    """The integer that keys all streams of one measurement: the seed given, or one drawn.

    Parameters
    ----------
    rng : an integer seed >= 0; a Generator, from which one is drawn; or None, for fresh entropy

    Raises
    ------
    TypeError : anything else
    ValueError : a negative seed

    Examples
    --------
    >>> from bridges.streams import as_seed
    >>> as_seed(3)
    3
    """
    if rng is None:
        return int(np.random.default_rng().integers(2**63))
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    if isinstance(rng, bool) or not isinstance(rng, (int, np.integer)):
        raise TypeError(f"`rng` must be None, an integer >= 0 or a numpy.random.Generator, got {rng!r}")
    return integer("rng", rng, 0, None)


def stream(seed: int, *keys: str | float) -> np.random.Generator:
    """The generator that belongs to a seed and a path of words and numbers, which say what it is for.

    Parameters
    ----------
    seed : >= 0, as `as_seed` gives it
    keys : words and numbers

    Returns
    -------
    numpy.random.Generator: the same for equal keys, independent for others

    Examples
    --------
    >>> from bridges.streams import stream
    >>> one, again, other = (stream(0, "recover", t).integers(2**32) for t in (0.1, 0.1, 0.2))
    >>> bool(one == again), bool(one == other)
    (True, False)
    """
    plain = (key.item() if isinstance(key, np.generic) else key for key in keys)
    return np.random.default_rng([seed, *(zlib.crc32(repr(key).encode()) for key in plain)])
