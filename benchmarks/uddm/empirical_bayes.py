"""The exact memorization limit of a million rows: memory and time of each question, and time against plain ways."""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor

from benchmarks.harness import Case, Peer
from uddm import EmpiricalBayes, UniformProcess

K, L, T = 30522, 128, 0.5
PEAK = 0.13  # GB above the data and their ranks: the 95 MB promised at P = 10^6, and what a process's peak varies by


def rows_of_text(P: int) -> Tensor:
    """Independent tokens with frequencies ~ 1/rank, cut at K; int16 (P, L)."""
    data = torch.empty(P, L, dtype=torch.int16)
    generator = torch.Generator().manual_seed(0)
    for chunk in data.split(2**12):
        chunk.copy_(torch.exp(torch.rand(chunk.shape, generator=generator) * torch.log(torch.tensor(float(K)))) - 1)
    return data


def measure(P: int, B: int) -> None:
    """Print JSON: GB at their peak above the data, and CPU seconds."""
    torch.set_num_threads(1)
    process = UniformProcess(K)
    data = rows_of_text(P)
    z = process.corrupt(data[:B].long(), T, generator=1)
    few = torch.rand(z.shape, generator=torch.Generator().manual_seed(2)) < 0.01

    def ask(exact: EmpiricalBayes, z: Tensor) -> dict[str, float]:
        questions = {
            "log p(z)": lambda: exact.log_prob(z, T),
            "posterior samples": lambda: exact.sample(z, T, generator=0),
            "entropy of the cavity": lambda: exact.predict(z, T).entropy(),
            "its best tokens": lambda: exact.predict(z, T).best(),
            "its log-probabilities at 1 % of the tokens": lambda: exact.predict(z, T).log_probs(few[: len(z)]),
        }
        spent = {}
        for name, question in questions.items():
            start = time.process_time()
            question()
            spent[name] = (time.process_time() - start) / len(z)
        return spent

    ask(EmpiricalBayes(data[:1000], process), z[:2])  # kernels compiled, libraries loaded
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    exact = EmpiricalBayes(data, process)
    built = time.process_time() - start
    spent = ask(exact, z)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"peak": peak * 1024 / 1e9, "ranks": exact._data.nbytes / 1e9, "built": built, "spent": spent}))


def report(P: int = 10**6, B: int = 8) -> None:
    command = [sys.executable, "-m", "benchmarks.uddm.empirical_bayes", str(P), str(B)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    extra = found["peak"] - found["ranks"]
    print(f"\nexact Bayes of {P} rows, L = {L}, K = {K}, B = {B}, one thread")
    print(
        f"  {'memory above the data and their ranks':42s} {extra:10.3f} GB (ranks {found['ranks']:.3f})"
        f"   bar {PEAK} GB: {'met' if extra <= PEAK else 'MISSED'}"
    )
    print(f"  {'set-up':42s} {found['built']:10.3f} s")
    for name, seconds in found["spent"].items():
        print(f"  {name:42s} {1e3 * seconds:10.3f} ms for each sequence", flush=True)


def column_overlaps(z: Tensor, data: Tensor) -> Tensor:
    n = torch.zeros(len(z), len(data), dtype=torch.int16)
    for own, column in zip(z.T, data.T):
        n += own[:, None] == column
    return n


def plain_best(z: Tensor, data: Tensor, b: Tensor) -> Tensor:
    """Best tokens of the cavity from float64 weights (B, P) and masses (B, L, K), which underflow."""
    weights = (b * column_overlaps(z, data)).softmax(-1)
    mass = weights.new_zeros(*z.shape, K)
    for l, column in enumerate(data.T):
        mass[:, l].index_add_(1, column.long(), weights)
    mass.scatter_add_(-1, z[..., None], torch.expm1(-b) * mass.gather(-1, z[..., None]))
    return mass.log().log_softmax(-1).argmax(-1)


def cases(P: int = 10**5, B: int = 4) -> list[Case]:
    text, process = rows_of_text(P), UniformProcess(K)
    z, exact = process.corrupt(text[:B].long(), T, generator=1), EmpiricalBayes(text, process)
    columns = text.T.contiguous().T
    binary = UniformProcess(2)
    bits = binary.prior((P, L), generator=0)
    y, coin = binary.corrupt(bits[:64], T, generator=1), EmpiricalBayes(bits, binary)
    spins, small = 2 * bits.T.float() - 1, bits.to(torch.int8).T.contiguous().T

    def product() -> Tensor:
        return ((L + (2 * y.float() - 1) @ spins) / 2).short()

    title = f"P = {P}, L = {L}"
    of_text = [Peer("int16 columns in torch", lambda: column_overlaps(z.short(), columns), bar=5)]
    of_bits = [
        Peer("int8 columns in torch", lambda: column_overlaps(y.to(torch.int8), small), bar=5),
        Peer("float32 matrix product of spins", product, bar=1),
    ]
    masses = [Peer("float64 B P weights, B L K masses", lambda: plain_best(z, columns, process.own_logit(T)), bar=2)]
    return [
        Case(f"overlaps, {title}, K = {K}, B = {B}", lambda: exact.overlaps(z), of_text, name="uddm"),
        Case(f"overlaps, {title}, K = 2, B = {len(y)}", lambda: coin.overlaps(y), of_bits, name="uddm"),
        Case(f"best tokens, {title}, K = {K}, B = {B}", lambda: exact.predict(z, T).best(), masses, 3, name="uddm"),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=int)
    parser.add_argument("batch", type=int)
    options = parser.parse_args()
    measure(options.rows, options.batch)
