"""Languages, a memory and a network small enough to sum over all strings and paths, for the tests of U-turns."""

from functools import cache
from itertools import pairwise, product

import numpy as np
import torch

from bridges import UTurn, as_system
from uddm import EmpiricalBayes, HierarchyBayes, HollowMLP, HollowMLPConfig, UniformProcess
from uddm.corpora import RandomHierarchy

ALMOST_NEVER = 1e-6  # false-alarm rate of every chi-square test of U-turns


def bayes(grammar):
    return HierarchyBayes(grammar, UniformProcess(grammar.symbols, "linear"))


UNIFORM = RandomHierarchy(symbols=4, rules=2, depth=2, classes=3, seed=0)
ZIPF = RandomHierarchy(symbols=3, rules=2, depth=2, seed=1, zipf=1.0)
AMBIGUOUS = RandomHierarchy(symbols=3, rules=2, depth=2, seed=2, ambiguous=True)
TINY = np.array([[0, 0], [1, 1], [1, 0]])  # K = 2, L = 2: small enough to sum over paths
TINY_P = np.array([0.5, 0.25, 0.25])
TINY_SYSTEM = as_system(EmpiricalBayes(torch.tensor(TINY[[0, 0, 1, 2]]), UniformProcess(2, "linear")))


def states(K, L):
    return np.array(list(product(range(K), repeat=L)))


def number(x, K):
    return x @ K ** np.arange(x.shape[1])[::-1]


def energy(x):
    """Some energy, standard deviation 1.5."""
    return 1.5 * np.random.default_rng(5).standard_normal(4**4)[number(x, 4)]


def tiny_energy(x):
    return np.array([0.0, np.inf, 1.0, -0.5])[number(x, 2)]


def tiny_log_prob(x):
    return np.array([np.log(0.5), -np.inf, np.log(0.25), np.log(0.25)])[number(x, 2)]


def network(K=4, L=5):
    torch.manual_seed(0)
    model = HollowMLP(HollowMLPConfig(vocab_size=K, length=L, hidden_dim=16, blocks=1, embed_dim=8))
    with torch.no_grad():
        for weight in model.output_layer.parameters():
            weight.normal_(0, 0.5)
    return model


def tiny_paths(steps):
    """All halves of a U-turn of factorised steps between strings of K = 2, L = 2: z, x', Q and R of each."""
    uturn, every, process = UTurn(TINY_SYSTEM, 0.6, steps=steps), states(2, 2), TINY_SYSTEM.process
    grid, halves = uturn.grid, []
    assert len(grid) == steps + 2
    back = [
        process.posterior(TINY_SYSTEM.denoiser.cavity(torch.tensor(every), t), torch.tensor(every), t, s).numpy()
        for t, s in pairwise(grid)
    ]
    alpha = [process.alpha(t).item() for t in grid]
    for path in product(range(4), repeat=steps + 2):  # from z at grid[0] to x' at time 0
        q = r = 1.0
        for k, (noisy, clean) in enumerate(pairwise(path)):
            kept = alpha[k] / alpha[k + 1]
            q *= np.prod(kept * (every[noisy] == every[clean]) + (1 - kept) / 2)
            r *= np.prod([back[k][noisy, l, every[clean, l]] for l in range(2)])
        halves.append((path[0], path[-1], q, r))
    return halves


@cache
def tiny_path_kernel():
    """The path rule of two steps summed over all pairs of halves, between the strings of TINY."""
    weight = np.exp(tiny_log_prob(states(2, 2)) - tiny_energy(states(2, 2)))
    kernel = np.zeros((4, 4))
    halves = [h for h in tiny_paths(2) if weight[h[1]] > 0]
    for z, x, q_u, r_u in halves:
        for middle, y, q_w, r_w in halves:
            if middle == z and q_u * r_w > 0:
                kernel[x, y] += min(q_u * r_w, weight[y] / weight[x] * q_w * r_u)
    kernel = kernel[np.ix_([0, 3, 2], [0, 3, 2])]
    np.fill_diagonal(kernel, 0)
    np.fill_diagonal(kernel, 1 - kernel.sum(1))
    return kernel


def tiny_target():
    target = TINY_P * np.exp(-tiny_energy(TINY))
    return target / target.sum()
