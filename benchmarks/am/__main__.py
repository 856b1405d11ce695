"""Speed of `amtheory` against named peers on the same work: ``python -m benchmarks.am [WORD...]`` (titles with a WORD).

One thread, process CPU time, everything interleaved; the numbers are medians over rounds, ratios with their range.
"""

import os
import sys

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

from benchmarks.am import margin, pseudolikelihood, retrieval, start  # noqa: E402
from benchmarks.harness import compare  # noqa: E402
from benchmarks.machine import describe  # noqa: E402

print(describe(), flush=True)
words = sys.argv[1:]
for module in (retrieval, pseudolikelihood, margin):
    for case in module.cases():
        if not words or any(word in case.title for word in words):
            compare(case)
if not words or "(g)" in words:
    start.report()
