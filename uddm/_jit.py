"""How kernels are compiled: they release the GIL, and stay on disk unless AMTHEORY_NUMBA_CACHE=0, as in `amtheory`.

Nobody calls them from C, hence no wrappers for it.
"""

import os

import numba

jit = numba.njit(
    nogil=True, no_cfunc_wrapper=True, cache=os.environ.get("AMTHEORY_NUMBA_CACHE", "1") != "0", error_model="numpy"
)
