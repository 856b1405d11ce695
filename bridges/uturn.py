"""The U-turn: noise a string, denoise it (Kang, Levi, Wegner, Korchinski, Wyart, arXiv 2605.27006).

One U-turn is one token recovery: z ~ q_t(. | x), then x' by the reverse process from (z, t). If x' is a joint sample of
the posterior p(. | z), the kernel

    k(x, x') = sum_z q(z | x) p(x' | z) = sum_z q(z | x) q(z | x') p(x') / p(z)

is reversible with respect to p, with eigenvalues in [0, 1]. What other reverse processes need for that: the rules of
`bridges.uturn_chains`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64, Integer
from torch import Tensor

from bridges.diffusion import DiffusionSystem
from bridges.measured import as_system
from bridges.streams import as_seed, stream
from bridges.system import MemorySystem, as_tokens, check_time
from uddm._validation import check_choice, check_positive_int
from uddm.choices import MODES
from uddm.denoisers.base import batches, inference
from uddm.sampling import END, log_kernel, update


@dataclass(frozen=True, init=False)
class UTurn:
    """z ~ q_t(. | x), then x' by the reverse process from (z, t).

    Parameters
    ----------
    system : a measured system, or what `as_system` makes one of
    noise : t in (0, 1], above 1e-5 if the reverse process takes steps
    steps : of the reverse process; None for joint posterior samples if the denoiser draws them, else for the system's
        default
    mode : "sample"; "factorised", one draw of all tokens, each from its own posterior p(x_l | z), at time 0 (where a
        process with alpha_0 < 1 still has noise, as after `steps`); or a deterministic mode of `token_recovery`

    Raises TypeError or ValueError for an argument out of its range.

    Examples
    --------
    >>> import torch
    >>> from bridges import UTurn
    >>> from uddm import EmpiricalBayes, UniformProcess
    >>> x = torch.tensor([[0, 1, 2, 0], [2, 1, 0, 2]])
    >>> uturn = UTurn(EmpiricalBayes(x, UniformProcess(3)), noise=0.9)
    >>> uturn.exact
    True
    >>> bool((uturn.step(x.numpy(), rng=0)[:, None] == x.numpy()).all(-1).any(-1).all())
    True
    """

    system: MemorySystem
    noise: float
    steps: int | None
    mode: str

    def __init__(self, system: Any, noise: float, steps: int | None = None, mode: str = "sample"):
        for name, value in (("system", as_system(system)), ("noise", check_time("noise", noise))):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "steps", None if steps is None else check_positive_int("steps", steps))
        object.__setattr__(self, "mode", check_choice("mode", mode, (*MODES, "factorised")))
        diffuses = isinstance(self.system, DiffusionSystem)
        if mode == "factorised" and not diffuses:
            raise ValueError(f"`mode` 'factorised' needs a denoiser, got {type(self.system).__name__}")
        if diffuses and mode != "factorised" and not self.exact and self.noise <= END:
            raise ValueError(f"`noise` must exceed {END} for a reverse process of steps, got {self.noise}")

    @property
    def exact(self) -> bool:
        """Whether x' is a joint sample of the denoiser's posterior: then the kernel is reversible."""
        return self.mode == "sample" and self.system.steps_taken("sample", self.steps) is None

    @property
    def diffusion(self) -> DiffusionSystem:
        """The system, where its reverse process is stochastic and factorised.

        Raises ValueError if it is not: for joint samples, deterministic modes and binary memories.
        """
        factorised = self.mode == "factorised" or (self.mode == "sample" and not self.exact)
        if not factorised or not isinstance(self.system, DiffusionSystem):
            raise ValueError("`uturn` must have a stochastic factorised reverse process: `steps`, or mode 'factorised'")
        return self.system

    @property
    def grid(self) -> tuple[float, ...]:
        """Times noise = t_0 > ... > t_S = 0 between the updates of the factorised reverse process of `diffusion`."""
        if self.mode == "factorised":
            return self.noise, 0.0
        steps = self.diffusion.steps_taken("sample", self.steps) or 1
        return *torch.linspace(self.noise, END, steps + 1, dtype=torch.float64).tolist(), 0.0

    def step(
        self, x: Integer[np.ndarray, "N L"], *, rng: int | np.random.Generator | None = None
    ) -> Int64[np.ndarray, "N L"]:
        """x' for x, both (N, L): the final tokens of `token_recovery` at the same noise, steps, mode and seed `rng`."""
        x, seed = as_tokens("x", x, self.system), as_seed(rng)
        z = self.system.corrupt(x, self.noise, stream(seed, "corrupt", self.noise))
        back = stream(seed, "recover", self.noise)
        if self.mode == "factorised":
            return self._updated(self.diffusion.tokens(z), self.noise, 0.0, back)[0].cpu().numpy()
        return self.system.recover(z, start=self.noise, mode=self.mode, steps=self.steps, last="ancestral", rng=back)

    def path_step(
        self, x: Integer[np.ndarray, "N L"], *, rng: int | np.random.Generator | None = None
    ) -> tuple[Int64[np.ndarray, "N L"], Float64[np.ndarray, " N"]]:
        """x' of the same law as that of `step` for x (N, L), and log Q(w) R(u) / (Q(u) R(w)) of its path, (N,); `rng`
        is a seed or generator."""
        system, grid = self.diffusion, self.grid
        x, seed = as_tokens("x", x, system), as_seed(rng)
        down, noise = [system.tokens(x)], stream(seed, "corrupt", self.noise)
        for s, t in pairwise(grid[::-1]):
            down.append(system.process.transition(t, s).sample(down[-1], generator=noise))
        u = down[::-1]
        w, ratio, back = u[0], torch.zeros(len(x), dtype=torch.float64), stream(seed, "recover", self.noise)
        for (t, s), (old, new) in zip(pairwise(grid), pairwise(u)):
            w_next, log_w = self._updated(w, t, s, back)
            noising = system.process.transition(t, s)
            log_q_w, log_q_u = (noising.prob(*pair).log().sum(1).cpu() for pair in ((w, w_next), (old, new)))
            ratio += log_q_w - log_q_u
            ratio += self._updated(old, t, s, new)[1] - log_w
            w = w_next
        return w.cpu().numpy(), ratio.numpy()

    def _updated(self, z: Tensor, t: float, s: float, then: Tensor | np.random.Generator) -> tuple[Tensor, Tensor]:
        """y ~ R(. | z) from t to s, or y = `then` if these are tokens; and log R(y | z), (N,)."""
        system = self.diffusion
        drawn = isinstance(then, np.random.Generator)
        choice, draw = torch.as_tensor(then.random((2, *z.shape))).to(z.device) if drawn else (then, then)
        updated, logs = [], []
        with inference(system.denoiser):
            for r in batches(z, system.vocab_size, system.batch_size):
                prediction = system.denoiser.predict(z[r], t)
                y = update(system.process, prediction, z[r], t, s, "sample", choice[r], draw[r]) if drawn else then[r]
                updated.append(y)
                logs.append(log_kernel(system.process, prediction, z[r], y, t, s).sum(1))
        return torch.cat(updated), torch.cat(logs).cpu()

    def describe(self) -> dict[str, Any]:
        """What the U-turn is, for the record that goes with each result."""
        taken = 1 if self.mode == "factorised" else self.system.steps_taken(self.mode, self.steps)
        return {"noise": self.noise, "steps": taken, "mode": self.mode, "system": self.system.describe()}
