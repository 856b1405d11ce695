"""Memory and time of read-out plus loss, forward and backward, at B L = 4096, K = 50258, d = 256 in float32."""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

from benchmarks.uddm.plain import one_hot_loss
from uddm import UniformProcess
from uddm.objective import nelbo
from uddm.prediction import HeadPrediction

B, L, K, D = 32, 128, 50258, 256
PEAK = 1.5  # GB above the weights, at most
SLOWER = 1.3  # times the plain version's time, at most


def measure(way: str, threads: int) -> None:
    """Print JSON: peak memory above the weights in GB, and CPU seconds of the second pass."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    process = UniformProcess(K)
    h = torch.randn(B, L, D, requires_grad=True)
    linear = torch.nn.Linear(D, K)
    x = process.prior((B, L), generator=0)
    t = torch.linspace(0.01, 1, B, dtype=torch.float64)
    z = process.corrupt(x, t, generator=1)
    (h[:1, :8] @ linear.weight.T).sum().backward()  # gradients in place, libraries loaded
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        start = time.process_time()
        if way == "chunked":
            loss = nelbo(process, HeadPrediction(h, linear.weight, linear.bias, z), x, z, t).mean()
        else:
            loss = one_hot_loss(linear(h).log_softmax(-1), x, z, process.one_minus_alpha(t), K).mean()
        loss.backward()
        seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"peak": peak * 1024 / 1e9, "seconds": seconds, "loss": loss.item()}))


def report() -> None:
    found = {}
    for way in ("chunked", "plain"):
        command = [sys.executable, "-m", "benchmarks.uddm.head", way]
        found[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    own, plain = found["chunked"], found["plain"]
    ratio = own["seconds"] / plain["seconds"]
    print(f"\nread-out and loss, forward and backward, B L = {B * L}, K = {K}, d = {D}, float32, one thread")
    for way, numbers in found.items():
        print(f"  {way:42s} {numbers['peak']:6.2f} GB above the weights {numbers['seconds']:7.2f} s", flush=True)
    print(
        f"  losses {own['loss']:.6f}, {plain['loss']:.6f}   bar {PEAK} GB: {'met' if own['peak'] <= PEAK else 'MISSED'}"
    )
    print(f"  {ratio:.2f}x the time of the plain version   bar {SLOWER}: {'met' if ratio <= SLOWER else 'MISSED'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=("chunked", "plain"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    measure(options.way, options.threads)
