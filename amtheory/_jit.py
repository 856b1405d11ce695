"""How kernels are compiled: they release the GIL, and stay on disk unless AMTHEORY_NUMBA_CACHE=0, as in `uddm`."""

import os
from functools import partial

import numba

jit = partial(numba.njit, nogil=True, cache=os.environ.get("AMTHEORY_NUMBA_CACHE", "1") != "0")
