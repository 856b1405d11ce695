"""The exact memorization limit: Bayes inference on the empirical distribution of a finite data set.

    p(mu | z_t) = softmax_mu( b(t) n_mu(z) ),    n_mu = number of positions where z equals data[mu],

with b(t) = log(1 + K alpha_t/(1 - alpha_t)): an exponential dense associative memory (modern Hopfield network) whose
patterns are the training sequences and whose inverse temperature b(t) is annealed by the reverse process. At K = 2 the
inverse temperature for each spin is b/2 = atanh alpha_t. A perfectly trained network that only memorizes equals it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uddm._validation import check_tokens
from uddm.denoisers.base import Denoiser
from uddm.process import UniformProcess, _column
from uddm.streams import as_generator


class EmpiricalBayes(Denoiser):
    """Exact denoiser of the uniform distribution over the rows of `data`.

    Log-probabilities are float64 and -inf for tokens that no row has at a position.

    Parameters
    ----------
    data : training sequences, (P, L) ids; repeated rows count with their multiplicity.
    process : the forward process.
    """

    hollow = True

    def __init__(self, data: Tensor, process: UniformProcess):
        self.data = check_tokens("data", torch.as_tensor(data), process.vocab_size)
        self.process = process
        self.length = self.data.shape[1]

    def overlaps(self, z: Tensor) -> Tensor:
        """n_mu(z): the number of positions where each row of the data equals z, (B, P) int16."""
        z = check_tokens("z", z, self.process.vocab_size, length=self.data.shape[1])
        n = torch.zeros(len(z), len(self.data), dtype=torch.int16)
        for tokens, column in zip(z.T, self.data.T, strict=True):
            n += tokens[:, None] == column
        return n

    def weights(self, z: Tensor, t: float | Tensor) -> Tensor:
        """p(mu | z_t), (B, P) float64."""
        b = _column(self.process.evidence(t), z)
        return (b * self.overlaps(z)).softmax(-1)

    def cavity(self, z: Tensor, t: float | Tensor) -> Tensor:
        """As the posterior, with position l left out of n_mu: a matching row loses its factor exp(b)."""
        mass = self._token_mass(z, t)
        own = -_column(self.process.evidence(t), z)[..., None]
        return (mass.log() + torch.zeros_like(mass).scatter_(-1, z[..., None], 1) * own).log_softmax(-1)

    def posterior(self, z: Tensor, t: float | Tensor) -> Tensor:
        return self._token_mass(z, t).log().log_softmax(-1)

    def sample(self, z: Tensor, t: float | Tensor, *, generator: int | torch.Generator | None = None) -> Tensor:
        """Joint posterior samples x ~ p(x | z_t), (B, L): where the reverse process ends with infinitely many steps."""
        generator = as_generator(generator)
        uniform = torch.rand(len(z), 1, dtype=torch.float64, generator=generator)
        cdf = self.weights(z, t).cumsum(-1)
        rows = torch.searchsorted(cdf, uniform * cdf[:, -1:], right=True).squeeze(-1)
        return self.data[rows.clamp_max(len(self.data) - 1)]

    def _token_mass(self, z: Tensor, t: float | Tensor) -> Tensor:
        """sum_mu p(mu | z) 1[data[mu, l] = k]: (B, L, K)."""
        weights = self.weights(z, t)
        mass = weights.new_zeros(*z.shape, self.process.vocab_size)
        for l, column in enumerate(self.data.T):
            mass[:, l].index_add_(1, column, weights)
        return mass
