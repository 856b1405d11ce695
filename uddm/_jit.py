"""How kernels are compiled."""

import os

import numba

jit = numba.njit(nogil=True, cache=os.environ.get("AMTHEORY_NUMBA_CACHE", "1") != "0", error_model="numpy")
