"""A binary memory, what it retrieves, and the theory that says how much: in forty lines.

Learn patterns, flip spins, run the dynamics, and hold the result against the replica theory of the Hopfield memory
(Amit, Gutfreund and Sompolinsky 1985) and against couplings of maximal conditional likelihood.
"""

import numpy as np

from amtheory import Hopfield, PseudoLikelihood, retrieve, theory
from amtheory.basins import basin_curve, radius
from amtheory.patterns import flip, overlap, random_patterns


def main(L: int = 1000, load: float = 0.1, seed: int = 0) -> None:
    # learn: W_ij = (1/L) sum_mu x_i^mu x_j^mu
    patterns = random_patterns(round(load * L), L, rng=seed)
    memory = Hopfield().fit(patterns)

    # retrieve: every pattern with a tenth of its spins flipped, parallel dynamics at T = 0
    states, info = retrieve(memory, flip(patterns, L // 10, rng=seed), rng=seed)
    m = overlap(states, patterns)
    print(f"load {load}, L = {L}: mean overlap {m.mean():.4f} after {info.sweeps.max()} sweeps at most")
    print(f"fixed points: {np.mean(info.cycle_length == 1):.0%} of the states")

    # theory: the overlap of the retrieval states for L -> infinity, and the load at which they vanish
    print(
        f"replica theory: {float(theory.hopfield.overlap(load)):.4f}, up to load {theory.hopfield.critical_load():.4f}"
    )

    # basins: half of the states within this distance come back; another rule has larger ones
    for rule in (Hopfield(), PseudoLikelihood(ridge=1e-2)):
        curve = basin_curve(rule, 20, 200, np.linspace(0, 1, 11), samples=5, success=0.95, rng=seed)
        found = radius(curve, rng=seed)
        print(f"{type(rule).__name__:17} radius {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] at load 0.1")


if __name__ == "__main__":
    main()
