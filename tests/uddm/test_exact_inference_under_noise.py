"""The exact denoisers under every noise: Bayes' rule by enumeration, and the whole bound without chance."""

import itertools

import numpy as np
import pytest
import torch

from uddm import EmpiricalBayes, HierarchyBayes, HybridProcess, MaskedProcess, UniformProcess
from uddm.corpora import RandomHierarchy
from uddm.objective import nelbo
from uddm.prediction import DensePrediction

K = 3
PROCESSES = {
    "uniform": UniformProcess(K, "linear"),
    "masked": MaskedProcess(K),
    "gidd": HybridProcess(K, p_unif=0.3),
    "gidd, gamma 2": HybridProcess(K, p_unif=0.3, gamma=2.0),
    "xdlm": HybridProcess(K, law="xdlm", p_unif=0.1),
    "hdlm": HybridProcess(K, law="hdlm", p_unif=0.05),
}
DATA = torch.tensor([[0, 1, 2, 0], [0, 1, 2, 0], [2, 2, 1, 0], [1, 0, 2, 1]])
GRAMMAR = RandomHierarchy(symbols=K, rules=2, depth=2, seed=1)
LANGUAGES = {"data": lambda p: EmpiricalBayes(DATA, p), "grammar": lambda p: HierarchyBayes(GRAMMAR, p)}
every_process = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
every_language = pytest.mark.parametrize("language", LANGUAGES)


def strings(language):
    return DATA if language == "data" else torch.as_tensor(GRAMMAR.enumerate())


def states(process):
    return torch.tensor(list(itertools.product(range(process.state_size), repeat=4)))


def likelihood(process, x, z, t):
    """q_t(z_l | x_l) of all pairs of strings, (P, B, L), from the shares of the clean token, of tokens and of masks."""
    alpha, noise = process.alpha(t), process.one_minus_alpha(t)
    share = process.token_share(torch.tensor(t, dtype=torch.float64), torch.zeros(()).double())
    fresh = torch.where(z == process.mask, noise * (1 - share), noise * share / K) if process.mask else noise / K
    return alpha * (x[:, None] == z) + fresh


@every_language
@every_process
def test_exact_denoisers_are_enumeration(process, language):
    """To 1e-12, at all z that are possible: of all four, or of the others of a position."""
    exact, x, z = LANGUAGES[language](process), strings(language), states(process)
    clean = torch.nn.functional.one_hot(x, K).double()
    for t in (1e-3, 0.3, 0.9):
        seen = likelihood(process, x, z, t)
        mass = seen.prod(-1)
        possible = mass.sum(0) > 0
        torch.testing.assert_close(exact.log_prob(z, t).exp(), mass.mean(0), rtol=1e-12, atol=1e-14)
        mean = torch.einsum("pb,plk->blk", mass / mass.sum(0), clean)
        torch.testing.assert_close(exact.posterior(z, t).exp()[possible], mean[possible], rtol=0, atol=1e-12)
        for l in range(4):
            others = seen[..., [m for m in range(4) if m != l]].prod(-1)
            known = others.sum(0) > 0
            cavity = torch.einsum("pb,pk->bk", others / others.sum(0), clean[:, l])
            torch.testing.assert_close(exact.cavity(z, t).exp()[known, l], cavity[known], rtol=0, atol=1e-12)


def whole_bound(process, exact, x):
    """The integral over (0, 1) of the mean of the diffusion term over all z: as alpha falls from 1 to 0 there is no
    other term. By 61 nodes of tanh and sinh, which no power of t or 1 - t at the ends can harm."""
    z, total = states(process), 0.0
    for u in np.linspace(-3, 3, 61):
        t, weight = 1 / (1 + np.exp(-np.pi * np.sinh(u))), 0.1 * np.pi * np.cosh(u)
        if t == 1:
            continue
        seen = likelihood(process, x, z, t)
        log_p = exact.cavity(z, t).expand(len(x), *z.shape, K)
        clean, noisy = (ids.expand(len(x), *z.shape).flatten(0, 1) for ids in (x[:, None], z))
        terms = nelbo(process, DensePrediction(log_p.flatten(0, 1)), clean, noisy, t).view(len(x), *z.shape)
        chance = seen.prod(-1)[..., None]
        total += weight * t * (1 - t) * torch.where(chance > 0, chance * terms, 0.0).sum((1, 2)).mean().item()
    return total


@every_language
@every_process
def test_bound_of_the_exact_denoiser_is_the_entropy(process, language):
    """To 1e-11, or, where the term grows as t^(-1/2), 5e-6, which is what the quadrature leaves out below t = 1e-14; of
    hdlm, whose first noise is there at all times, it is less: the reconstruction adds the rest."""
    x = strings(language)
    counts = np.unique(x, axis=0, return_counts=True)[1] / len(x)
    entropy = -(counts * np.log(counts)).sum()
    found = whole_bound(process, LANGUAGES[language](process), x)
    if process is PROCESSES["hdlm"]:
        assert entropy - 0.5 < found < entropy
    else:
        assert found == pytest.approx(entropy, abs=5e-6 if process is PROCESSES["gidd"] else 1e-11)
    if language == "data" and process is PROCESSES["gidd"]:
        assert whole_bound(process, EmpiricalBayes(DATA[1:], process), x) > entropy + 0.01
