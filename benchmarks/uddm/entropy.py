"""Memory of the conditional entropy of N sequences x 128 tokens at K = 30522: the same whatever N."""

import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch

from bridges import as_system, conditional_entropy
from uddm.denoisers import HollowMLP, HollowMLPConfig

L, K = 128, 30522


def measure(n: int) -> None:
    """Print JSON: peak memory of the process in GB, the size of the results in it, and CPU seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = HollowMLP(HollowMLPConfig(K, length=L, hidden_dim=32, embed_dim=16, blocks=1))
    torch.nn.init.normal_(model.output_layer.linear.weight)
    system, x = as_system(model), np.random.default_rng(0).integers(K, size=(n, L))
    start = time.process_time()
    found = conditional_entropy(system, x, rng=0)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"peak": peak * 1024 / 1e9, "results": found.nbytes / 1e9, "seconds": seconds}))


def report() -> None:
    print(f"\nconditional entropy of N sequences of {L} tokens, K = {K}, hollow network, one thread")
    for n in (1000, 10000):
        command = [sys.executable, "-m", "benchmarks.uddm.entropy", str(n)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        line = f"process {found['peak']:6.3f} GB, results {found['results']:.3f} GB {found['seconds']:9.1f} s"
        print(f"  N = {n:5d}   {line}", flush=True)


if __name__ == "__main__":
    measure(int(sys.argv[1]))
