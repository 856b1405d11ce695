"""The same arguments give the same bits, wherever in memory they lie.

Compilers keep two versions of a loop, one for arrays that may overlap, and choose by their addresses; where sums may be
reordered the two differ in the last bits. If the bounds they compare are wider than the arrays, neighbours count as
overlapping, and a fit depends on what was allocated before it.
"""

from itertools import permutations

import numpy as np
import pytest

import amtheory._likelihood_kernels as kernels


def placed(arrays, order, gap):
    """Copies of the arrays in one buffer, in that order, `gap` bytes apart."""
    buffer = np.zeros(sum(a.nbytes for a in arrays) + (gap + 64) * len(arrays) + 64, np.uint8)
    at, copies = -buffer.ctypes.data % 64, {}
    for n in order:
        a = arrays[n]
        copies[n] = buffer[at : at + a.nbytes].view(a.dtype).reshape(a.shape)
        copies[n][...] = a
        at += a.nbytes + gap
        at += -at % a.itemsize
    return [copies[n] for n in range(len(arrays))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [37, 480, 512, 700])
def test_a_line_search_does_not_depend_on_its_neighbours(dtype, size):
    """Fields, directions, spins and weights of 1 row, back to back in all 24 orders, against far apart."""
    rng = np.random.default_rng(0)
    fields, directions = rng.normal(size=(2, 1, size)).astype(dtype)
    spins = rng.choice([-1.0, 1.0], size=(1, size)).astype(dtype)
    directions = np.abs(directions) * spins  # downhill
    losses, weights = np.empty(1), np.empty_like(fields)
    kernels.weigh(fields, spins, 0.7, losses, weights)

    def found(order, gap):
        f, d, y, w = placed([fields, directions, spins, weights], order, gap)
        steps, own = np.empty(1), losses.copy()
        kernels.search(f, d, y, 0.7, np.array([0.01]), np.array([0.02]), 1e-6, own, w, steps)
        return steps, own, f.copy(), w.copy()

    wanted = found(range(4), 10_000)
    assert wanted[0] > 0
    for order in permutations(range(4)):
        for one, other in zip(found(order, 0), wanted, strict=True):
            np.testing.assert_array_equal(one, other)
