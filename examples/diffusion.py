"""A language diffusion model, whole, in forty lines: forward process, denoiser, evidence bound, reverse process.

The denoiser here is exact: Bayes' rule on a grammar, by belief propagation. A trained network takes its place in one
line (`uddm.train`, or `DiT.from_pretrained`); everything else stays.
"""

import numpy as np
import torch

from uddm import HierarchyBayes, UniformProcess, evidence_bound, reverse
from uddm.corpora import RandomHierarchy


def main(n: int = 200, seed: int = 0) -> None:
    # data: strings of a Random Hierarchy Model, L = 2^3 tokens of K = 4 symbols
    grammar = RandomHierarchy(symbols=4, rules=2, branching=2, depth=3, seed=seed)
    x = torch.from_numpy(grammar.sample(n, rng=seed))

    # forward: each token is replaced by a uniform draw with probability 1 - alpha_t
    process = UniformProcess(grammar.symbols)
    z = process.corrupt(x, 0.5, generator=seed)
    print(f"t = 0.5: {(z != x).double().mean():.3f} of the tokens differ")

    # denoiser: p(x_l | z without z_l), the x_theta of the reverse process
    denoiser = HierarchyBayes(grammar, process)
    own = denoiser.cavity(z, 0.5).gather(-1, x[..., None]).exp().mean()
    print(f"the cavity gives the right token {own:.3f} on average, guessing 0.250")

    # bound: of an exact denoiser it is the entropy of the language, log of the number of strings
    bound = evidence_bound(process, denoiser, x, times=64, generator=seed).total
    half = 1.96 * bound.std() / n**0.5
    print(f"evidence bound {bound.mean():.3f} +- {half:.3f} nats, entropy {np.log(grammar.n_strings):.3f}")

    # reverse: from noise to strings, all of which the grammar should have
    generated = reverse(
        process, denoiser, process.prior((n, grammar.length), generator=seed), steps=200, generator=seed
    )
    print(f"{grammar.is_valid(generated.numpy()).mean():.3f} of the generated strings are valid")


if __name__ == "__main__":
    main()
