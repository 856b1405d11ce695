"""Seeds mean the same in all packages: integers >= 0, ValueError for negative ones, TypeError for anything else."""

import numpy as np
import pytest
import torch

from amtheory import Hopfield, retrieve
from amtheory.patterns import random_patterns
from bridges import DiffusionSystem, conditional_entropy, token_recovery
from bridges.streams import as_seed
from uddm import EmpiricalBayes, UniformProcess, evidence_bound, reverse
from uddm.corpora import RandomHierarchy
from uddm.curriculum import relaxed_argmax
from uddm.streams import as_generator, as_rng, keyed_generator, keyed_seed

PROCESS = UniformProcess(3)
X = torch.tensor([[0, 1, 2], [2, 2, 1]])
DENOISER = EmpiricalBayes(X, PROCESS)
SYSTEM = DiffusionSystem(DENOISER)
GRAMMAR = RandomHierarchy(symbols=3, rules=2, branching=2, depth=2, seed=0)
USES = {
    "rng": [
        lambda rng: random_patterns(2, 5, rng=rng),
        lambda rng: retrieve(Hopfield().fit([[1, -1, 1]]), [[1, 1, 1]], temperature=0.5, rng=rng),
        lambda rng: GRAMMAR.sample(2, rng=rng),
        lambda rng: token_recovery(SYSTEM, X.numpy(), noise=0.5, rng=rng),
        lambda rng: conditional_entropy(SYSTEM, X.numpy(), rng=rng),
        as_seed,
        as_rng,
    ],
    "generator": [
        lambda generator: PROCESS.corrupt(X, 0.5, generator=generator),
        lambda generator: PROCESS.prior((2, 3), generator=generator),
        lambda generator: reverse(PROCESS, DENOISER, X, steps=2, generator=generator),
        lambda generator: evidence_bound(PROCESS, DENOISER, X, times=2, generator=generator),
        lambda generator: DENOISER.sample(X, 0.5, generator=generator),
        lambda generator: relaxed_argmax(X, 0.5, 3, 1.0, top_k=2, generator=generator),
        as_generator,
    ],
}
ALL = [(name, use) for name, uses in USES.items() for use in uses]


@pytest.mark.parametrize(("name", "use"), ALL)
def test_seeds(name, use):
    for seed in (0, 1, np.int64(7), np.uint8(7), 2**63):
        use(seed)
    for seed in (-1, np.int64(-1), -(2**80)):
        with pytest.raises(ValueError, match=f"`{name}` must be .*at least 0|`{name}` must be an integer >= 0"):
            use(seed)
    for seed in (True, 1.0, "1", [1], np.array([1])):
        with pytest.raises(TypeError, match=f"`{name}` must be None, an int"):
            use(seed)


def test_seeds_that_torch_has_no_room_for():
    as_generator(2**64 - 1)
    with pytest.raises(ValueError, match=r"`generator` must be an integer below 2\*\*64, got 18446744073709551616"):
        as_generator(2**64)


def test_seeds_of_keyed_streams():
    for make in (keyed_seed, keyed_generator):
        make(2**80, "key")
        for seed, error in ((-1, ValueError), (0.5, TypeError), (True, TypeError)):
            with pytest.raises(error, match="`seed` must be an integer >= 0, got"):
                make(seed, "key")
