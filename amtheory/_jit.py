"""How kernels are compiled: they release the GIL, and stay on disk unless AMTHEORY_NUMBA_CACHE=0, as in `uddm`.

Nobody calls them from C: without the wrappers for it they compile in three quarters of the time.
"""

import os
from functools import partial

import numba

jit = partial(numba.njit, nogil=True, no_cfunc_wrapper=True, cache=os.environ.get("AMTHEORY_NUMBA_CACHE", "1") != "0")
