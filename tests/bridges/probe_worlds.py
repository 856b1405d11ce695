"""Text of a Markov chain, and models of it that remember some of it as well as one likes: what a probe should find is
known, and it takes a fraction of a second."""

import numpy as np
import torch
from torch.nn.functional import one_hot, pad

from bridges import DiffusionSystem, probe
from uddm import Denoiser, UniformProcess
from uddm.corpora import Tokenizer

K, L = 12, 24
STEP = np.random.default_rng(7).dirichlet(np.full(K, 0.4), K)


def text(n, seed):
    """Strings of the chain, (n, L); of more of them the first are the same."""
    u = np.random.default_rng(seed).random((n, L))
    x = (K * u).astype(np.int64)
    for l in range(1, L):
        x[:, l] = (STEP[x[:, l - 1]].cumsum(1) > u[:, [l]]).argmax(1)
    return x


class Words(Tokenizer):
    """Each token a tag of HTML, which no page may take for its own."""

    def __init__(self, vocab_size=K):
        self.vocab_size = vocab_size

    def encode(self, text):
        return np.array([int(word.strip("<script>")) for word in text.split()], np.int64)

    def decode(self, ids):
        return "".join(f"<script>{token} " for token in ids)

    def definition(self):
        return {"type": "words", "vocab_size": self.vocab_size}


class Remembering(Denoiser):
    """Expects a token by its two neighbours, and with the weight `share` by the `stored` strings that fit the rest."""

    hollow = True

    def __init__(self, stored, share):
        self.process, self.length, self.share = UniformProcess(K), L, share
        self.stored, self.log_step = torch.as_tensor(stored), torch.tensor(STEP).log()
        self.tokens = one_hot(self.stored, K).double()

    def cavity(self, z, t):
        before, after = self.log_step[z[:, :-1]], self.log_step.T[z[:, 1:]]
        law = (pad(before, (0, 0, 1, 0)) + pad(after, (0, 0, 0, 1))).softmax(-1)
        if self.share:
            equal = (z[..., None] == self.stored.T).double()
            others = (equal.sum(1, keepdim=True) - equal) * self.process.own_logit(t).reshape(-1, 1, 1)
            memory = torch.einsum("blp,plk->blk", others.softmax(-1), self.tokens)
            law = (1 - self.share) * law + self.share * memory
        return law.log()


def system(share, stored=None):
    """A measured model that remembers 40 strings, `text(40, 0)` by default: by heart, weakly or not at all."""
    return DiffusionSystem(Remembering(text(40, 0) if stored is None else stored, share))


BY_HEART, WEAKLY, NOT_AT_ALL = 0.95, 0.3, 0.0
CHEAP = {"extracted": 10, "generated": 20, "draws": 4, "steps": 8, "rng": 0}


def ask(share, suspect=None, unseen=None, **how):
    """The report on a model that remembers `text(40, 0)`, about that and other text of the chain by default."""
    suspect, unseen = text(40, 0) if suspect is None else suspect, text(40, 3) if unseen is None else unseen
    return probe(system(share), suspect=suspect, unseen=unseen, **{**CHEAP, **how})
