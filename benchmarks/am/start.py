"""(g) What a second process pays: imports and the first cached kernel, as CPU time of the process."""

import subprocess
import sys
from statistics import median

LONGER = 3  # times as long as what it is built on takes to import, at most
LIBRARIES = "import numpy, numba"
RETRIEVAL = """
import numpy as np
from amtheory import Hopfield, retrieve
x = np.where(np.random.default_rng(0).random((10, 100)) < 0.5, -1, 1)
retrieve(Hopfield().fit(x), x)
"""


def cpu_time(code: str) -> float:
    code += "\nimport time; print(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def report() -> None:
    cpu_time(RETRIEVAL)  # fills the cache
    pairs = [(cpu_time(RETRIEVAL), cpu_time(LIBRARIES)) for _ in range(5)]
    ratios = sorted(own / libraries for own, libraries in pairs)
    verdict = "met" if median(ratios) <= LONGER else "MISSED"
    print("\n(g) second process: interpreter, imports and the first retrieval with cached kernels")
    print(f"  CPU time {median(own for own, _ in pairs):.2f} s, {median(ratios):.1f}x {LIBRARIES} ", end="")
    print(f"[{ratios[0]:.1f}, {ratios[-1]:.1f}]   bar {LONGER}: {verdict}")
