"""A check on one GPU within six minutes: ``python -m benchmarks.gpu``; in small on a CPU with ``--device cpu --toy``.

It needs no network and no data: its text is random. Speed is told as ratios to plain ways on the same network, which
take turns in this run; equality is with the CPU to bounds that are printed, and to the bit between deterministic runs.
A part that fails says so, and the others go on; the exit status is then 1, and 2 if there is no GPU.
"""

import argparse
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product, for deterministic runs

import torch

from benchmarks.gpu import equality, speed
from benchmarks.gpu.sizes import FULL, TOY, Sizes
from benchmarks.gpu.table import Part, Table
from benchmarks.machine import describe

PARTS = (
    ("products", 15, speed.products),
    ("with the CPU", 45, equality.with_the_cpu),
    ("deterministic", 60, equality.deterministic_runs),
    ("training tiny", 90, partial(speed.training, "tiny")),
    ("generation", 20, speed.generation),
    ("entropy", 20, speed.entropy),
    ("read-out", 40, speed.read_out),
    ("training small", 90, partial(speed.training, "small")),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--toy", action="store_true", help="toy sizes, to see that all parts run")
    parser.add_argument("--budget", type=float, default=330, help="seconds; a part that may take longer is skipped")
    parser.add_argument("--json", type=Path, help="write the table to this file, with tracebacks of what failed")
    options = parser.parse_args(arguments)
    if options.device == "cpu" and not options.toy:
        parser.error("--device cpu needs --toy: the full sizes are those of a GPU")
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            f"no GPU was found by torch {torch.__version__}: "
            "to try this on the CPU, python -m benchmarks.gpu --device cpu --toy"
        )
        return 2
    table = Table(torch.device(options.device), options.budget)
    sizes: Sizes = TOY if options.toy else FULL
    if options.device == "cpu":
        torch.set_num_threads(1)
    if sizes.compile:
        torch._dynamo.config.recompile_limit = 64  # parts differ in what they compile one function for
    about = {"processor": describe(), "device": _device(table.device)}
    print("\n".join(about.values()), flush=True)
    table.run([Part(name, 0 if options.toy else seconds, partial(run, sizes)) for name, seconds, run in PARTS])
    print(f"{len(table.failed)} parts failed, {len(table.skipped)} skipped, {table.seconds:.0f} s", flush=True)
    if options.json:
        options.json.write_text(json.dumps({**about, **table.to_dict()}, indent=1) + "\n")
    return 1 if table.failed else 0


def _device(device: torch.device) -> str:
    if device.type == "cpu":
        return f"cpu, torch {torch.__version__}: no GPU is measured"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        driver = "unknown"
    about = torch.cuda.get_device_properties(device)
    return (
        f"{about.name}, {about.total_memory / 1e9:.0f} GB, capability {about.major}.{about.minor}, driver {driver}, "
        f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    )


if __name__ == "__main__":
    sys.exit(main())
