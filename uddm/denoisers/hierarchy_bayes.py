"""The exact generalization limit: Bayes inference on the distribution of strings of a Random Hierarchy grammar.

A perfectly trained network that has learned the grammar equals it. For equally probable strings it is also the
`EmpiricalBayes` denoiser, an exponential dense associative memory, whose patterns are all P_max strings of the grammar;
belief propagation (`uddm.hierarchy.belief`) evaluates it without a sum over them. It is exact for any noise that
factorises over tokens: a time for each token is an alpha for each, a mask is alpha = 0, and `field` adds external
fields.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, Integer
from numpy.typing import ArrayLike
from torch import Tensor

from uddm._validation import check_keep, check_kind, check_reals, check_time, check_tokens
from uddm.denoisers.base import Denoiser, batches
from uddm.hierarchy import RandomHierarchy, belief
from uddm.process import Process
from uddm.process.base import PerSequence, _column
from uddm.streams import as_generator

KNOWN = 1e-300  # likelihood of a token in place of a known one: so small that only other known ones weigh against it

PerToken = PerSequence | Float[Tensor, "B L"]


class HierarchyBayes(Denoiser):
    """Exact denoiser of the strings of `grammar`, with the probabilities p(x) that it gives them; in an external field,

        p(x) exp( sum_l h_l(x_l) ) / Z,    e.g. h_l = 0 for a token known for certain and -inf for all others.

    Log-probabilities are float64, -inf for tokens that are impossible or below 1e-300. Where all strings are, as masks
    among tokens that no string has are, those with most of the tokens count, as for `EmpiricalBayes`. Rows are computed
    in as many threads as torch uses; results do not depend on it. Times may also be (B, L), one for each token: with
    the schedule "linear", alpha = 1 - t, and 1 is a mask.

    Parameters
    ----------
    grammar : the grammar, ambiguous ones included
    process : the forward process, whose vocabulary is that of the grammar
    field : h, (L, K) nats below inf; a token 690 below the highest of its position may become impossible

    Raises
    ------
    ValueError : the vocabulary sizes differ, or a field of another shape, or that excludes all strings.

    In all methods `z` are noisy tokens, (B, L) ids, `t` their times, one number in (0, 1], (B,) or (B, L), and
    `generator` a seed or a torch.Generator.

    Examples
    --------
    A valid string is recovered from one that is not:

    >>> import torch
    >>> from uddm import HierarchyBayes, UniformProcess
    >>> from uddm.corpora import RandomHierarchy
    >>> grammar = RandomHierarchy(symbols=4, rules=2, depth=2, seed=0)
    >>> x = torch.from_numpy(grammar.sample(1, rng=0))
    >>> z = x.clone()
    >>> z[0, 0] = (x[0, 0] + 1) % 4
    >>> denoiser = HierarchyBayes(grammar, UniformProcess(4))
    >>> mended, _ = denoiser.map(z, 0.2)
    >>> grammar.is_valid(mended.numpy()).tolist()
    [True]
    """

    hollow = True

    def __init__(self, grammar: RandomHierarchy, process: Process, *, field: ArrayLike | None = None):
        check_kind("grammar", grammar, RandomHierarchy)
        check_kind("process", process, Process)
        if process.vocab_size != grammar.symbols:
            raise ValueError(f"`process` must have vocabulary size {grammar.symbols}, got {process.vocab_size}")
        self.grammar = grammar
        self.process = process
        self.length = grammar.length
        self._weight, self._log_Z = None, 0.0
        if field is not None:
            h, shape = check_reals("field", field), (self.length, grammar.symbols)
            if h.shape != shape or not (h < np.inf).all() or np.isneginf(h).all(1).any():
                allowed = f"have shape {shape}, with numbers below inf, not all -inf at a position"
                raise ValueError(f"`field` must {allowed}, got shape {h.shape}")
            self._weight = np.exp(h - h.max(1, keepdims=True))  # the shift cancels in `log_prob`
            self._log_Z = belief.log_prob(grammar, self._weight[None]).item()
            if self._log_Z == -np.inf:
                raise ValueError("`field` must allow some string of the grammar, got one that excludes all")

    def likelihood(self, z: Integer[Tensor, "B L"], t: PerToken) -> Float64[Tensor, "B L K"]:
        """q(z_l | x_l = a) = alpha_t 1[z_l = a] + (1 - alpha_t) pi_t(z_l), (B, L, K) float64."""
        z = check_tokens("z", z, self.process.state_size, length=self.length).cpu()
        return self._likelihood(z, *self._times(z, t))

    def cavity(self, z: Integer[Tensor, "B L"], t: PerToken) -> Float64[Tensor, "B L K"]:
        """log p(x_l | z without l), (B, L, K), by belief propagation."""

        def own_field(likelihood: np.ndarray) -> list[np.ndarray]:
            """With that of the token itself, which belongs to p(x), where `belief` has left it out."""
            cavity = self._beliefs(likelihood).cavity
            if self._weight is not None:
                cavity *= self._weight
                with np.errstate(invalid="ignore"):
                    cavity /= cavity.sum(-1, keepdims=True)
            return [cavity]

        return self._rows(z, t, own_field)[0].log()

    def posterior(self, z: Integer[Tensor, "B L"], t: PerToken) -> Float64[Tensor, "B L K"]:
        """log p(x_l | z_t), (B, L, K), by belief propagation."""
        return self._rows(z, t, lambda likelihood: [self._beliefs(likelihood).posterior])[0].log()

    def latents(self, z: Integer[Tensor, "B L"], t: PerToken) -> list[Float64[Tensor, "B _ _"]]:
        """log p(symbol | z_t) for the symbols of levels 0 (the class) ... depth - 1, each (B, s^l, n_c or v)."""
        levels = self._rows(z, t, lambda likelihood: self._beliefs(likelihood, latents=True).latents)
        return [level.log() for level in levels]

    def log_prob(self, z: Integer[Tensor, "B L"], t: PerToken) -> Float64[Tensor, " B"]:
        """log p(z_t), nats for each sequence, (B,) float64."""
        return self._rows(z, t, lambda likelihood: [belief.log_prob(self.grammar, likelihood)])[0] - self._log_Z

    def sample(
        self,
        z: Integer[Tensor, "B L"],
        t: PerToken,
        *,
        keep: Bool[Tensor, "B L"] | Bool[Tensor, " L"] | None = None,
        generator: int | torch.Generator | None = None,
    ) -> Int64[Tensor, "B L"]:
        """Joint posterior samples x ~ p(x | z_t), (B, L): where the reverse process ends with infinitely many steps.

        Tokens where `keep` holds, bool (B, L) or (L,), are known and stay as they are: only strings with all of them
        count, or, if there are none, those with most.
        """
        z, generator = check_tokens("z", z, self.process.state_size), as_generator(generator)
        known = torch.zeros_like(z, dtype=torch.bool) if keep is None else check_keep(keep, z)
        excluded = known[..., None] & (z[..., None] != torch.arange(self.process.vocab_size, device=z.device))
        shape = (len(z), 1 + self.grammar.n_latents)
        uniform = torch.rand(shape, dtype=torch.float64, device=generator.device, generator=generator).cpu().numpy()

        def drawn(likelihood: np.ndarray, excluded: np.ndarray, uniform: np.ndarray) -> list[np.ndarray]:
            likelihood = np.where(excluded, KNOWN, likelihood)
            if not likelihood.all():  # else nothing is impossible
                lost = np.isneginf(belief.log_prob(self.grammar, likelihood))
                likelihood[lost] = likelihood[lost].clip(KNOWN)
            return [belief.sample(self.grammar, likelihood, uniform)]

        return torch.where(known, z, self._rows(z, t, drawn, excluded.cpu().numpy(), uniform)[0])

    def map(self, z: Integer[Tensor, "B L"], t: PerToken) -> tuple[Int64[Tensor, "B L"], Float64[Tensor, " B"]]:
        """argmax_x p(x | z_t), (B, L), and log p(x | z_t) there, (B,).

        In an ambiguous grammar: the string of the most probable derivation, and the log-probability of that derivation.
        """

        def best(likelihood: np.ndarray) -> list[np.ndarray]:
            x, log_joint = belief.most_probable(self.grammar, likelihood)
            return [x, log_joint - belief.log_prob(self.grammar, likelihood)]

        x, value = self._rows(z, t, best)
        return x, value

    def _beliefs(self, likelihood: np.ndarray, *, latents: bool = False) -> belief.Beliefs:
        """Of z that are impossible, what the strings say that have most of their tokens, as `EmpiricalBayes` does."""
        found = belief.infer(self.grammar, likelihood, latents=latents)
        lost = np.isneginf(found.log_prob)
        if lost.any():
            nearest = belief.infer(self.grammar, likelihood[lost].clip(KNOWN), latents=latents)
            both = zip(
                (found.cavity, found.posterior, *found.latents), (nearest.cavity, nearest.posterior, *nearest.latents)
            )
            for values, instead in both:
                values[lost] = np.where(np.isnan(values[lost]), instead, values[lost])
        return found

    def _times(self, z: Tensor, t: float | Tensor) -> list[Tensor]:
        """t and 1 - alpha_t, each (B, 1), or (B, L) if t is."""
        t = check_time("t", t)
        values = (value.to(z.device) for value in (t, self.process.one_minus_alpha(t)))
        return [value if value.shape == z.shape else _column(value, z).expand(len(z), 1) for value in values]

    def _likelihood(self, z: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        result = self.process.fresh_mass(noise, z, t)[..., None].expand(*z.shape, self.process.vocab_size)
        return self.process.added_at(result, z, (1 - noise).expand(z.shape))

    def _rows(self, z: Tensor, t: float | Tensor, function: Callable[..., list[np.ndarray]], *more: np.ndarray):
        """What `function` makes of the likelihoods, field included, and rows of `more`, in batches of rows."""
        z = check_tokens("z", z, self.process.state_size, length=self.length)
        tokens, times = z.cpu(), self._times(z.cpu(), t)

        def at(rows: slice) -> list[np.ndarray]:
            likelihood = self._likelihood(tokens[rows], *(value[rows] for value in times)).numpy()
            if self._weight is not None:
                likelihood = likelihood * self._weight
            return function(likelihood, *(array[rows] for array in more))

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            parts = list(pool.map(at, batches(z, self.process.vocab_size)))
        return [torch.from_numpy(np.concatenate(part)).to(z.device) for part in zip(*parts)]
