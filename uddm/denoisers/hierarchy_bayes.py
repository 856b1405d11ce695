"""The exact generalization limit: Bayes inference on the distribution of strings of a Random Hierarchy grammar.

A perfectly trained network that has learned the grammar equals it. For equally probable strings it is also the
`EmpiricalBayes` denoiser, an exponential dense associative memory, whose patterns are all P_max strings of the grammar;
belief propagation (`uddm.belief`) evaluates it without a sum over them. Noise other than that of the process, such as
masks, per-token alpha or external fields, goes to the functions of `uddm.belief` as likelihoods.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from uddm import belief
from uddm._validation import check_time, check_tokens
from uddm.corpora.hierarchy import RandomHierarchy
from uddm.denoisers.base import Denoiser, batches
from uddm.process import UniformProcess, _column
from uddm.streams import as_generator


class HierarchyBayes(Denoiser):
    """Exact denoiser of the strings of `grammar`, with the probabilities that it gives them.

    Log-probabilities are float64, -inf for tokens that are impossible, and NaN where the observations are (which takes
    alpha_t = 1). Rows are computed in as many threads as torch uses; results do not depend on it.

    Parameters
    ----------
    grammar : the grammar, ambiguous ones included.
    process : the forward process, whose vocabulary is that of the grammar.

    Raises ValueError if the vocabulary sizes differ.
    """

    hollow = True

    def __init__(self, grammar: RandomHierarchy, process: UniformProcess):
        if process.vocab_size != grammar.symbols:
            raise ValueError(f"`process` must have vocabulary size {grammar.symbols}, got {process.vocab_size}")
        self.grammar = grammar
        self.process = process
        self.length = grammar.length

    def likelihood(self, z: Tensor, t: float | Tensor) -> Tensor:
        """p(z_l | x_l = a) = alpha_t 1[z_l = a] + (1 - alpha_t)/K, (B, L, K) float64."""
        z = check_tokens("z", z, self.process.vocab_size, length=self.length).cpu()
        noise = _column(self.process.one_minus_alpha(check_time("t", t)), z)[..., None]
        result = (noise / self.process.vocab_size).expand(*z.shape, self.process.vocab_size)
        return result.scatter_add(-1, z[..., None], (1 - noise).expand(*z.shape, 1))

    def cavity(self, z: Tensor, t: float | Tensor) -> Tensor:
        return self._rows(z, t, lambda likelihood: [belief.infer(self.grammar, likelihood).cavity])[0].log()

    def posterior(self, z: Tensor, t: float | Tensor) -> Tensor:
        return self._rows(z, t, lambda likelihood: [belief.infer(self.grammar, likelihood).posterior])[0].log()

    def latents(self, z: Tensor, t: float | Tensor) -> list[Tensor]:
        """log p(symbol | z_t) for the symbols of levels 0 (the class) ... depth - 1, each (B, s^l, n_c or v)."""
        levels = self._rows(z, t, lambda likelihood: belief.infer(self.grammar, likelihood, latents=True).latents)
        return [level.log() for level in levels]

    def log_prob(self, z: Tensor, t: float | Tensor) -> Tensor:
        """log p(z_t), nats for each sequence, (B,) float64."""
        return self._rows(z, t, lambda likelihood: [belief.log_prob(self.grammar, likelihood)])[0]

    def sample(self, z: Tensor, t: float | Tensor, *, generator: int | torch.Generator | None = None) -> Tensor:
        """Joint posterior samples x ~ p(x | z_t), (B, L): where the reverse process ends with infinitely many steps."""
        shape = (len(z), 1 + self.grammar.n_latents)
        uniform = torch.rand(shape, dtype=torch.float64, generator=as_generator(generator)).numpy()
        return self._rows(z, t, lambda likelihood, u: [belief.sample(self.grammar, likelihood, u)], uniform)[0]

    def map(self, z: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """argmax_x p(x | z_t), (B, L), and log p(x | z_t) there, (B,).

        In an ambiguous grammar: the string of the most probable derivation, and the log-probability of that derivation.
        """

        def best(likelihood: np.ndarray) -> list[np.ndarray]:
            x, log_joint = belief.most_probable(self.grammar, likelihood)
            return [x, log_joint - belief.log_prob(self.grammar, likelihood)]

        x, value = self._rows(z, t, best)
        return x, value

    def _rows(self, z: Tensor, t: float | Tensor, function: Callable[..., list[np.ndarray]], *more: np.ndarray):
        """What `function` makes of the likelihoods, and rows of `more`, in batches of rows."""
        z = check_tokens("z", z, self.process.vocab_size, length=self.length)
        t = torch.as_tensor(t, dtype=torch.float64)

        def at(rows: slice) -> list[np.ndarray]:
            likelihood = self.likelihood(z[rows], t[rows] if t.ndim == 1 and len(t) == len(z) else t)
            return function(likelihood.numpy(), *(array[rows] for array in more))

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            parts = list(pool.map(at, batches(z, self.process.vocab_size)))
        return [torch.from_numpy(np.concatenate(part)).to(z.device) for part in zip(*parts)]
