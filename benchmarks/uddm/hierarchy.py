"""Belief propagation on a Random Hierarchy grammar against plain numpy, and its throughput on one thread."""

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.harness import Case, Peer, compare, cpu_time
from benchmarks.machine import describe
from uddm.corpora import RandomHierarchy
from uddm.hierarchy import belief

N = 1024  # at a time, as a denoiser asks
BAR = 4  # times plain numpy


def plain(grammar: RandomHierarchy, likelihood: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cavity, posterior and log p(z) as one would write them in numpy for s = 2: normalised messages, linear scale."""
    one_hot = np.eye(grammar.symbols)
    up, norms = [likelihood], []
    for table, probs in zip(reversed(grammar.tables), reversed(grammar.rule_probs)):
        left, right = up[0][:, ::2][..., table[..., 0]], up[0][:, 1::2][..., table[..., 1]]
        message = (left * right) @ probs
        norms.append(message.sum(-1))
        up.insert(0, message / norms[-1][..., None])
    log_p = sum(np.log(norm).sum(1) for norm in norms) - np.log(grammar.widths[0])
    down = np.full_like(up[0], 1 / grammar.widths[0])
    for table, probs, below in zip(grammar.tables, grammar.rule_probs, up[1:]):
        parents = (down[..., None] * probs).reshape(*down.shape[:2], -1)
        a, b = table.reshape(-1, 2).T
        message = np.empty_like(below)
        message[:, ::2] = (parents * below[:, 1::2][..., b]) @ one_hot[a]
        message[:, 1::2] = (parents * below[:, ::2][..., a]) @ one_hot[b]
        down = message / message.sum(-1, keepdims=True)
    posterior = down * likelihood
    return down, posterior / posterior.sum(-1, keepdims=True), log_p.reshape(-1)


def report() -> None:
    _report(8, 4, 4)
    _report(16, 4, 5)


def _report(v: int, m: int, L: int) -> None:
    grammar = RandomHierarchy(symbols=v, rules=m, depth=L)
    rng = np.random.default_rng(0)
    x = grammar.sample(N, rng=rng)
    z = np.where(rng.random(x.shape) < 0.5, x, rng.integers(v, size=x.shape))
    likelihood = 0.5 * np.eye(v)[z] + 0.5 / v
    found, peer = belief.infer(grammar, likelihood), plain(grammar, likelihood)
    difference = max(abs(a - b).max() for a, b in zip((*found[:2], found.log_prob), peer))
    case = Case(
        f"posterior, cavity and log p(z) of {N} strings, v = {v}, m = {m}, s = 2, L = {L}, one thread",
        lambda: belief.infer(grammar, likelihood),
        [
            Peer("plain numpy", lambda: plain(grammar, likelihood), bar=BAR),
            Peer("numpy in logarithms (belief.reference)", lambda: belief.reference(grammar, likelihood)),
        ],
        name="uddm",
    )
    compare(case)
    uniform = rng.random((N, 1 + grammar.n_latents))
    jobs = {
        "posterior, cavity and log p(z)": case.run,
        "log p(z)": lambda: belief.log_prob(grammar, likelihood),
        "joint posterior sample": lambda: belief.sample(grammar, likelihood, uniform),
        "sample of the grammar": lambda: grammar.sample(N, rng=rng),
    }
    print(f"  largest difference to plain numpy {difference:.1e}")
    for name, job in jobs.items():
        rate = N / min(cpu_time(job) for _ in range(3))
        print(f"  {name:42s} {rate:10,.0f} sequences/s", flush=True)


if __name__ == "__main__":
    with threadpool_limits(1):
        print(describe(), flush=True)
        report()
