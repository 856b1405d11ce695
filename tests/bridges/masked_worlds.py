"""Masked models whose laws are known: of any law over a few strings, and of the couplings of a binary memory."""

import itertools

import numpy as np
import probe_worlds
import torch
from torch.nn.functional import logsigmoid, one_hot

from uddm import Denoiser, MaskedProcess


def strings(vocab_size, length):
    return np.array(list(itertools.product(range(vocab_size), repeat=length)))


class Joint(Denoiser):
    """The exact conditionals of a law (K^L,) over all strings given the tokens that are shown; of a position that is
    shown itself it gives what stands there, as masked models may."""

    def __init__(self, law, vocab_size, length):
        self.process, self.length, self.passes = MaskedProcess(vocab_size), length, []
        x, z = (torch.as_tensor(strings(size, length)) for size in (vocab_size, vocab_size + 1))
        fits = ((z[:, None] == x) | (z[:, None] == vocab_size)).all(-1).double()
        law = torch.einsum("zx,x,xlk->zlk", fits, torch.as_tensor(law), one_hot(x, vocab_size).double())
        self.table = (law / law.sum(-1, keepdim=True)).log()  # of every z, in the order of `strings`

    def cavity(self, z, t):
        self.passes.append(len(z))
        return self.table[z @ (self.process.state_size ** torch.arange(self.length).flip(0))]


class Fields(Denoiser):
    """p(s_l | the spins that are shown) = sigma(2 beta s_l h_l) of a memory's couplings, spins not shown being zero."""

    def __init__(self, couplings, beta):
        self.couplings, self.beta = torch.tensor(couplings, dtype=torch.float64), beta
        self.process, self.length = MaskedProcess(2), len(couplings)

    def cavity(self, z, t):
        spins = (2.0 * z - 1).masked_fill(z == self.process.mask, 0.0).double()
        field = self.beta * spins @ self.couplings.T
        return torch.stack([logsigmoid(-2 * field), logsigmoid(2 * field)], -1)


class MaskedRemembering(Denoiser):
    """`probe_worlds.Remembering` under masks: the Markov chain, exactly, and by the weight `share` stored ones."""

    def __init__(self, stored, share):
        self.process, self.length, self.share = MaskedProcess(probe_worlds.K), probe_worlds.L, share
        self.stored, self.step = torch.as_tensor(stored), torch.tensor(probe_worlds.STEP)
        self.tokens = one_hot(self.stored, probe_worlds.K).double()

    def cavity(self, z, t):
        seen = one_hot(z, probe_worlds.K + 1)[..., :-1].double() + (z == probe_worlds.K)[..., None]
        before, after = torch.ones_like(seen), torch.ones_like(seen)  # messages, from the left and from the right
        for l in range(1, self.length):  # not normalised: 24 steps of at least 1e-7 are no underflow
            before[:, l] = (before[:, l - 1] * seen[:, l - 1]) @ self.step
            after[:, -l - 1] = (after[:, -l] * seen[:, -l]) @ self.step.T
        law = before * after / (before * after).sum(-1, keepdim=True)
        if self.share:
            equal = (z[..., None] == self.stored.T).double()
            fits = (1e3 * (equal.sum(1, keepdim=True) - equal)).softmax(-1)  # of the others, most of those shown
            memory = torch.einsum("blp,plk->blk", fits, self.tokens)
            law = (1 - self.share) * law + self.share * memory
        return law.log()
