"""How kernels are compiled: they release the GIL, and stay on disk unless AMTHEORY_NUMBA_CACHE=0, as in `amtheory`.

Nobody calls them from C, hence no wrappers for it.
"""

import os
from typing import Any

import numba

_OPTIONS: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True, "error_model": "numpy"}

jit: Any = numba.njit(cache=os.environ.get("AMTHEORY_NUMBA_CACHE", "1") != "0", **_OPTIONS)
