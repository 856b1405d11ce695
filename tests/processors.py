"""The tests that compute, as if on other processors: ``python -m tests.processors [NAME ... | --in-turn]``.

Libraries choose their code by the instructions of the processor. The settings below make them choose that of a smaller
one by environment variables, in a process of its own for each; a setting that this machine lacks is left out, never
forced. `--in-turn` runs one of the others, which one depends on the commit. The exit status is 1 if a test fails or a
library does not do as it was told.

What is the same bit for bit, and where:

- On one machine, with one set of libraries and as many threads, and with `NUMBA_DISABLE_JIT` as it was: the same call
  with the same seed gives the same bits, and a training that was killed and goes on those of one that was not. Where a
  docstring says that results do not depend on the number of threads or processes, on how a batch is split or on what
  else is in it, that holds for the bits: binary dynamics and basins, the samplers and the exact inference of the random
  hierarchy, the exact denoiser.
- Whatever the processor: what is made of integers alone. These are random bits, `random_patterns`, strings of grammars
  with equal rules, Hebb's `integer_couplings_` and the dynamics at T = 0 on them, token blocks and their checksums.
- Nowhere else. The last bits of a float depend on the order of sums and on the exp, log and fused multiply-add that
  numpy, torch, BLAS and libm have for each generation of processors. So a number may differ from that in an array, a
  row from that of a batch that a network reads, a fit from that of another machine; and so may a draw, a sign or an
  argmax where the float that decides it is that close to an edge. Tests of these allow for the rounding of the number
  format times the length of the sums.
"""

import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".pytest_cache" / "processors"  # numba's, one for each setting

COMPUTES = (
    "tests/amtheory",
    "tests/bridges/test_autocorrelation.py",
    "tests/bridges/test_conditional_entropy.py",
    "tests/bridges/test_embeddings.py",
    "tests/bridges/test_fragmentation.py",
    "tests/bridges/test_chance_and_gap.py",
    "tests/bridges/test_linear_bridge.py",
    "tests/bridges/test_measured_systems.py",
    "tests/bridges/test_substrings.py",
    "tests/bridges/test_token_recovery.py",
    "tests/bridges/test_uturn.py",
    "tests/bridges/test_uturn_chains.py",
    "tests/common/test_every_denoiser.py",
    "tests/common/test_every_measurement.py",
    "tests/common/test_every_memory.py",
    "tests/common/test_every_process.py",
    "tests/common/test_every_system.py",
    "tests/uddm/test_distributed.py",
    "tests/uddm/test_duality.py",
    "tests/uddm/test_empirical_bayes.py",
    "tests/uddm/test_head.py",
    "tests/uddm/test_hierarchy.py",
    "tests/uddm/test_hierarchy_bayes.py",
    "tests/uddm/test_hollow.py",
    "tests/uddm/test_latent_clustering.py",
    "tests/uddm/test_linear.py",
    "tests/uddm/test_objective.py",
    "tests/uddm/test_process.py",
    "tests/uddm/test_sampling.py",
    "tests/uddm/test_schedule.py",
    "tests/uddm/test_transformer.py",
    "tests/uddm/test_tree.py",
)
KERNELS = (  # of numba, at sizes that plain Python can do
    "tests/amtheory/test_retrieval.py::test_equals_the_reference",
    "tests/amtheory/test_retrieval.py::test_rounded_ties_follow_the_defining_order_of_summation",
    "tests/amtheory/test_retrieval.py::test_zero_fields_keep_the_spins",
    "tests/amtheory/test_retrieval.py::test_longer_cycles_are_recognised",
    "tests/amtheory/test_retrieval.py::test_the_phase_of_a_two_cycle_is_that_after_max_sweeps",
    "tests/amtheory/test_dense.py::test_order_two_is_the_hopfield_memory",
    "tests/amtheory/test_dense.py::test_one_parallel_step_follows_the_fields",
    "tests/amtheory/test_perceptron.py::test_equals_enumeration",
    "tests/amtheory/test_pseudolikelihood.py::test_ridge_solution_equals_one_solver_per_row",
    "tests/amtheory/test_pseudolikelihood.py::test_ridge_solutions_equal_those_of_scipy",
    "tests/amtheory/test_pseudolikelihood.py::test_no_warning_at_a_minimum_that_float64_resolves_no_better",
    "tests/uddm/test_hierarchy.py",
    "tests/uddm/test_hierarchy_bayes.py::test_inference_is_enumeration",
    "tests/uddm/test_hierarchy_bayes.py::test_any_factorised_noise",
    "tests/uddm/test_hierarchy_bayes.py::test_denoiser_is_enumeration",
    "tests/uddm/test_hierarchy_bayes.py::test_denoiser_of_any_factorised_noise",
    "tests/uddm/test_hierarchy_bayes.py::test_likelihoods_beyond_the_range_of_products",
    "tests/uddm/test_hierarchy_bayes.py::test_samples_by_kernel_and_by_logarithms",
    "tests/uddm/test_hierarchy_bayes.py::test_most_probable_derivation",
    "tests/uddm/test_empirical_bayes.py::test_cavity_and_posterior_are_bayes_rule",
    "tests/uddm/test_empirical_bayes.py::test_log_probabilities_keep_their_digits",
    "tests/uddm/test_empirical_bayes.py::test_overlaps_of_long_rows",
    "tests/uddm/test_empirical_bayes.py::test_chunks_do_not_matter",
)


@dataclass(frozen=True)
class Setting:
    """What to tell the libraries, and what they must say in return."""

    flag: str  # of the processor, without which it is left out
    variables: dict[str, str]
    says: dict[str, str]  # regular expressions
    tests: tuple[str, ...] = COMPUTES


SETTINGS = {
    "avx512": Setting(
        "avx512bw",
        {
            "NPY_DISABLE_CPU_FEATURES": "AVX512_ICL AVX512_SPR",
            "OPENBLAS_CORETYPE": "SkylakeX",
            "ATEN_CPU_CAPABILITY": "avx512",
            "MKL_CBWR": "AVX512",
            "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
            "NUMBA_CPU_NAME": "skylake-avx512",
            "NUMBA_CPU_FEATURES": "",
        },
        {
            "numpy": "X86_V2 X86_V3 X86_V4",
            "OpenBLAS": "SkylakeX",
            "torch": "AVX512",
            "MKL": "AVX512|AUTO",  # it takes AVX for granted on processors of Intel only
            "oneDNN": ".*AVX-512.*",
            "numba": "skylake-avx512",
        },
    ),
    "avx2": Setting(
        "avx2",
        {
            "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
            "OPENBLAS_CORETYPE": "Haswell",
            "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_CBWR": "AVX2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": "",
        },
        {
            "numpy": "X86_V2 X86_V3",
            "OpenBLAS": "Haswell",
            "torch": "AVX2",
            "MKL": "AVX2|AUTO",
            "oneDNN": "Intel AVX2",
            "numba": "haswell",
        },
    ),
    "sse": Setting(
        "sse4_2",  # below it numpy does not start
        {
            "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
            "OPENBLAS_CORETYPE": "Nehalem",
            "ATEN_CPU_CAPABILITY": "default",
            "MKL_CBWR": "COMPATIBLE",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "NUMBA_CPU_NAME": "x86-64-v2",
            "NUMBA_CPU_FEATURES": "",
            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-AVX512F",  # exp, log, sin of math, and of numba
        },
        {
            "numpy": "X86_V2",
            "OpenBLAS": "Nehalem",
            "torch": "DEFAULT",
            "MKL": "COMPATIBLE",
            "oneDNN": "Intel SSE4.1",
            "numba": "x86-64-v2",
        },
    ),
    "interpreted": Setting("", {"NUMBA_DISABLE_JIT": "1"}, {"compiled": "False"}, KERNELS),
    # no processor's, but the same kernels again, with an IndexError where one leaves an array
    "bounds": Setting("", {"NUMBA_BOUNDSCHECK": "1"}, {"bounds": "True"}, KERNELS),
}


def look() -> None:
    """Print what each library runs on, as one line of JSON among what MKL and oneDNN print in their verbose mode."""
    import numba
    import numpy
    import scipy.linalg
    import threadpoolctl
    import torch
    from numba.core.registry import cpu_target
    from numpy._core._multiarray_umath import __cpu_features__ as features

    torch.ones(64, 64) @ torch.ones(64, 64)
    torch.nn.functional.relu(torch.ones(1, 4, 16, 16).to_mkldnn())
    scipy.linalg.get_blas_funcs("gemm")  # of an OpenBLAS of its own
    pools = threadpoolctl.threadpool_info()
    levels = ("X86_V2", "X86_V3", "X86_V4", "AVX512_ICL", "AVX512_SPR")
    found = {
        "numpy": " ".join(name for name in levels if features[name]),
        "OpenBLAS": " ".join({str(pool["architecture"]) for pool in pools if pool["internal_api"] == "openblas"}),
        "torch": torch.backends.cpu.get_cpu_capability(),
        "numba": cpu_target.target_context.codegen().magic_tuple()[1],
        "compiled": str(not numba.config.DISABLE_JIT),
        "bounds": str(bool(numba.config.BOUNDSCHECK)),
        "versions": " ".join(f"{module.__name__} {module.__version__}" for module in (numpy, scipy, torch, numba)),
    }
    print(json.dumps(found), flush=True)


def seen(environment: dict[str, str]) -> dict[str, str]:
    """What the libraries say in a process of this environment."""
    verbose = {"MKL_VERBOSE": "1", "ONEDNN_VERBOSE": "1"}
    command = [sys.executable, "-c", "from tests.processors import look; look()"]
    done = subprocess.run(command, env=environment | verbose, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the libraries do not load:\n{done.stderr[-2000:]}")
    found = {}
    for name, pattern in (("MKL", r"\bCNR:(\w+)"), ("oneDNN", r"cpu,isa:(.+)")):
        match = re.search(pattern, done.stdout)
        found[name] = match[1] if match else "does not say"
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{"))) | found


def flags() -> set[str]:
    """The instructions of this processor, as Linux names them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    match = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(match[1].split()) if match else set()


def reason_to_skip(setting: Setting) -> str:
    """Why this machine cannot run it, or nothing."""
    if setting.flag and setting.flag not in flags():
        return f"this processor ({platform.machine()}) has no {setting.flag}"
    return ""


def chosen_in_turn(names: list[str]) -> str:
    """One of the names, by the commit, or by the day where there is none."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    number = int(done.stdout, 16) if done.returncode == 0 else int(time.time() // 86400)
    return names[number % len(names)]


def run(name: str, setting: Setting) -> tuple[bool, str]:
    """Whether all is well, and pytest's last line."""
    print(f"\n== {name}", flush=True)
    cache = {"NUMBA_CACHE_DIR": str(CACHE / name)}
    for variable, value in (setting.variables | cache).items():
        print(f"   {variable}={value}")
    environment = {**os.environ, **setting.variables, **cache}
    found = seen(environment)
    print("  ", ", ".join(f"{library}: {said}" for library, said in found.items()), flush=True)
    for library, pattern in setting.says.items():
        if not re.fullmatch(pattern, found[library]):
            return False, f"{library} says {found[library]!r}, not {pattern!r}"
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-m", "not long", *setting.tests]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    last = ""
    for line in process.stdout or ():
        print(line, end="", flush=True)
        last = line.strip() or last
    return process.wait() == 0, last


def main(arguments: list[str]) -> int:
    unknown = [name for name in arguments if name not in SETTINGS and name != "--in-turn"]
    if unknown or ("--in-turn" in arguments and len(arguments) > 1):
        print(
            f"usage: python -m tests.processors [--in-turn | NAME ...], names: {', '.join(SETTINGS)}", file=sys.stderr
        )
        return 2
    skipped = {name: reason for name, setting in SETTINGS.items() if (reason := reason_to_skip(setting))}
    if arguments == ["--in-turn"]:
        arguments = [chosen_in_turn([name for name in SETTINGS if name not in skipped])]
    table = []
    for name in arguments or SETTINGS:
        start = time.monotonic()
        well, line = (True, f"skipped: {skipped[name]}") if name in skipped else run(name, SETTINGS[name])
        table.append((name, "ok" if well else "FAILED", f"{time.monotonic() - start:.0f} s", line))
    print("\nsetting      result  seconds  tests")
    for name, result, seconds, line in table:
        print(f"{name:12} {result:7} {seconds:>7}  {line}")
    return int(any(result == "FAILED" for _, result, *_ in table))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
