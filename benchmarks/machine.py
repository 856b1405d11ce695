"""The machine, as far as speed depends on it: its vector instructions say which bars hold."""

import platform
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

Bar = float | dict[str, float] | None  # a ratio to reach, for all machines or by `kind`


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, set[str]]:
    """Name and instruction sets, as Linux tells them or else as numpy finds them."""
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text(encoding="utf-8").splitlines())
        found = {key.strip(): value.strip() for key, _, value in lines}
        flags = set((found.get("flags") or found.get("Features") or "").split())
        return found.get("model name", platform.machine()), flags
    features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    return platform.processor() or platform.machine(), {name.lower() for name, has in features.items() if has}


def kind(flags: set[str] | None = None) -> str:
    """ "avx512", "avx2" or "other"."""
    flags = processor()[1] if flags is None else flags
    return "avx512" if "avx512f" in flags else "avx2" if "avx2" in flags else "other"


def bar_here(bar: Bar, here: str | None = None) -> float | None:
    """The bar for this kind of machine; None where there is none."""
    return bar.get(here or kind()) if isinstance(bar, dict) else bar


def describe() -> str:
    import torch

    name, flags = processor()
    vectors = sorted(flag for flag in flags if flag.startswith(("avx", "amx", "neon", "asimd", "sve")))
    blas = {
        f"{pool['internal_api']} {pool.get('architecture', '')}"
        for pool in threadpool_info()
        if "blas" in pool["user_api"]
    }
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{name}: {' '.join(vectors)}\n"
        f"bars of kind {kind(flags)}; BLAS {', '.join(sorted(blas))}; torch {torch.__version__}, {capability}"
    )
