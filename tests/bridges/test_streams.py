"""Random streams keyed by what they are for."""

import numpy as np
import pytest

from bridges.streams import as_seed, stream


def test_streams():
    assert as_seed(5) == 5
    assert as_seed(np.random.default_rng(0)) == as_seed(np.random.default_rng(0))
    assert as_seed(None) != as_seed(None)
    for bad, error in ((True, TypeError), (1.0, TypeError), ("1", TypeError), (-1, ValueError)):
        with pytest.raises(error, match="`rng`"):
            as_seed(bad)
    of_numpy = stream(0, np.str_("a"), np.float64(0.1), np.int8(2))
    assert of_numpy.integers(2**60) == stream(0, "a", 0.1, 2).integers(2**60)
    draws = [stream(0, "a", 0.1), stream(0, "a", 0.2), stream(0, "b", 0.1), stream(1, "a", 0.1)]
    assert len({generator.integers(2**60) for generator in draws}) == 4
    assert stream(0, "a", 0.1).integers(2**60) == stream(0, "a", 0.1).integers(2**60)
