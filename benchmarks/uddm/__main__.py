"""Memory and speed of `uddm` against plain ways to the same results: ``python -m benchmarks.uddm``.

One thread, process CPU time, everything interleaved; the numbers are medians over rounds, ratios with their range.
"""

import os

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

from benchmarks.harness import compare  # noqa: E402
from benchmarks.machine import describe  # noqa: E402
from benchmarks.uddm import empirical_bayes, entropy, head, hierarchy, steps  # noqa: E402

print(describe(), flush=True)
head.report()
entropy.report()
empirical_bayes.report()
for case in [*steps.cases(), *empirical_bayes.cases()]:
    compare(case)
hierarchy.report()
