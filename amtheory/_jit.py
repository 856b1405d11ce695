"""How kernels are compiled: they release the GIL, and stay on disk unless AMTHEORY_NUMBA_CACHE=0, as in `uddm`.

Nobody calls them from C: without the wrappers for it they compile in three quarters of the time.
"""

import os
from functools import partial
from typing import Any

import numba

_OPTIONS: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True}

jit: Any = partial(numba.njit, cache=os.environ.get("AMTHEORY_NUMBA_CACHE", "1") != "0", **_OPTIONS)
