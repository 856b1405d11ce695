"""A denoiser of a diffusion language model, or an exact limit of one, as a measured system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, Integer
from torch import Tensor

from amtheory import _validation as check
from bridges.system import Conditional, MemorySystem
from uddm import reverse, sampling
from uddm.denoisers.base import Denoiser, batches, inference
from uddm.prediction import DensePrediction, Prediction
from uddm.streams import inverse_cdf

STEPS = 1000


class DiffusionSystem(MemorySystem):
    """A denoiser with the reverse process of its own forward process.

    The *cavity* is the law of a token given the others' z, x_theta; the *posterior* that given its own z too.

    Parameters
    ----------
    denoiser : a `uddm.Denoiser`
    conditional : which of the two distributions is measured: "cavity", the default, the x_theta of the published
        conditional entropy, or "posterior". Of no effect on the dynamics
    batch_size : sequences that meet the denoiser together; default None, as many as fit a modest memory

    With `steps=None` a denoiser that can draw joint posterior samples (its method `sample`) does so: the law of the
    reverse process with infinitely many steps; given kept tokens, which its `sample` then takes as `keep`, their law
    given these, which no number of steps reaches (`uddm.sampling`). Others take 1000 steps.

    Raises
    ------
    ValueError : another `conditional`

    See Also
    --------
    as_system : makes one, also from the folder of a checkpoint
    MaskedSystem : of a masked model, whose cavity takes a mask
    SequentialSystem : the same conditionals as a memory, one position at a time

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import DiffusionSystem
    >>> from uddm import EmpiricalBayes, UniformProcess
    >>> x = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])
    >>> system = DiffusionSystem(EmpiricalBayes(x, UniformProcess(4)))  # the exact limit of memorization
    >>> system.conditional(x, 1e-5).mode().tolist()
    [[0, 1, 2, 3], [3, 2, 1, 0]]
    >>> system.recover(np.array([[0, 1, 2, 0]]), start=0.5, mode="one_shot", rng=np.random.default_rng(0)).tolist()
    [[0, 1, 2, 3]]
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        conditional: Literal["cavity", "posterior"] = "cavity",
        batch_size: int | None = None,
    ):
        if not hasattr(denoiser, "process"):
            raise TypeError(f"`denoiser` must be a uddm.Denoiser, got {type(denoiser).__name__}")
        check.choice("conditional", conditional, ("cavity", "posterior"))
        if batch_size is not None:
            check.integer("batch_size", batch_size, 1)
        self.denoiser, self.kind, self.batch_size = denoiser, conditional, batch_size
        self.process = denoiser.process
        self.length, self.vocab_size = denoiser.length, denoiser.process.vocab_size
        self.mask = denoiser.process.mask

    def corrupt(self, x: Int64[np.ndarray, "B L"], noise: float, rng: np.random.Generator) -> Int64[np.ndarray, "B L"]:
        return self.process.corrupt(_as_tensor("x", x), noise, generator=_seed(rng)).numpy()

    def conditional(self, z: Int64[np.ndarray, "B L"], t: float) -> Conditional:
        return _Chunked(self.denoiser, self.kind, self.tokens(z), t, self.batch_size)

    def recover(
        self,
        z: Int64[np.ndarray, "B L"],
        *,
        start: float = 1.0,
        mode: str = "sample",
        steps: int | None = None,
        last: str = "ancestral",
        keep: Bool[np.ndarray, "B L"] | None = None,
        rng: np.random.Generator,
    ) -> Int64[np.ndarray, "B L"]:
        tokens, known = self.tokens(z), self._known(z, keep)
        steps = self.steps_taken(mode, steps)
        if steps is None:
            joint: Callable[..., Tensor] = self.denoiser.sample  # type: ignore[attr-defined]
            stream = torch.Generator().manual_seed(_seed(rng))
            rows = batches(tokens, self.vocab_size, self.batch_size)
            given = [{} if known is None else {"keep": known[r]} for r in rows]
            return torch.cat([joint(tokens[r], start, **k, generator=stream) for r, k in zip(rows, given)]).numpy()
        options: dict[str, Any] = {"start": start, "steps": steps, "mode": mode, "last": last, "keep": known}
        recovered = reverse(
            self.process, self.denoiser, tokens, **options, generator=_seed(rng), batch_size=self.batch_size
        )
        return recovered.cpu().numpy()

    def path(
        self,
        z: Int64[np.ndarray, "B L"],
        *,
        start: float = 1.0,
        mode: str = "sample",
        steps: int | None = None,
        last: str = "ancestral",
        keep: Bool[np.ndarray, "B L"] | None = None,
        rng: np.random.Generator,
    ) -> tuple[Float64[np.ndarray, " T"], Iterator[Int64[np.ndarray, "B L"]]]:
        options: dict[str, Any] = {"start": start, "steps": self.steps_taken(mode, steps), "mode": mode, "last": last}
        if options["steps"] is None:
            return super().path(z, **options, keep=keep, rng=rng)
        options |= {"keep": self._known(z, keep), "generator": _seed(rng), "batch_size": self.batch_size}
        times, states = sampling.path(self.process, self.denoiser, self.tokens(z), **options)
        return np.array(times), (state.cpu().numpy() for state in states)

    def prior(self, n: int, rng: np.random.Generator) -> Int64[np.ndarray, "{n} {self.length}"]:
        return self.process.prior((n, self.length), generator=rng).numpy()

    def generate(
        self, n: int, rng: np.random.Generator, *, steps: int | None = None, last: str = "ancestral"
    ) -> Int64[np.ndarray, "{n} {self.length}"]:
        """n sequences from noise, as of any system.

        Parameters
        ----------
        n, rng, steps : as of any system
        last : the last update of the reverse process, "ancestral", the default, "greedy" or "none"

        Returns
        -------
        (n, L) int64
        """
        return self.recover(self.prior(n, rng), start=1.0, mode="sample", steps=steps, last=last, rng=rng)

    def steps_taken(self, mode: str, steps: int | None) -> int | None:
        if mode == "one_shot":
            return 1
        exact = steps is None and mode == "sample" and hasattr(self.denoiser, "sample")
        return None if exact else STEPS if steps is None else steps

    def describe(self) -> dict[str, Any]:
        origin = getattr(self.denoiser, "origin", None)
        return {
            "system": type(self.denoiser).__name__,
            "length": self.length,
            "vocab_size": self.vocab_size,
            "process": repr(self.process),
            "conditional": self.kind,
            **({} if origin is None else {"origin": origin}),
        }

    def tokens(self, z: Integer[np.ndarray, "B L"]) -> Integer[Tensor, "B L"]:
        """The token ids `z` (B, L) as a tensor, where the denoiser computes."""
        return _as_tensor("z", z, getattr(self.denoiser, "device", None))

    def hide(self, z: Int64[Tensor, "B L"], where: Bool[Tensor, "B L"]) -> Int64[Tensor, "B L"]:
        """What the denoiser is to be given of `z` (B, L) for its cavities where a mask (B, L) holds: here z itself, as
        they ignore the token that stands there."""
        return z

    def _known(self, z: np.ndarray, keep: np.ndarray | None) -> Tensor | None:
        """Where tokens of z stay, on the device; None for nowhere."""
        return None if keep is None else _as_tensor("keep", keep, getattr(self.denoiser, "device", None))


class _Chunked(Conditional):
    """Reductions of predictions that exist for one chunk of rows at a time."""

    def __init__(self, denoiser: Denoiser, kind: str, z: Int64[Tensor, "B L"], t: float, batch_size: int | None):
        self.denoiser, self.kind, self.z, self.t = denoiser, kind, z, t
        self.rows = batches(z, denoiser.process.vocab_size, batch_size)

    def _reduce(self, reduction: Callable[[Prediction, slice], Tensor]) -> np.ndarray:
        with inference(self.denoiser):
            chunks = [reduction(self._predict(self.z[r]), r) for r in self.rows]
        return torch.cat(chunks).cpu().numpy()

    def _predict(self, z: Tensor) -> Prediction:
        if self.kind == "cavity":
            return self.denoiser.predict(z, self.t)
        return DensePrediction(self.denoiser.posterior(z, self.t))

    def entropy(self) -> Float64[np.ndarray, "B L"]:
        return self._reduce(lambda p, _: p.entropy().double())

    def log_prob_variance(self) -> Float64[np.ndarray, "B L"]:
        return self._reduce(lambda p, _: p.entropy_and_variance()[1].double())

    def mode(self) -> Int64[np.ndarray, "B L"]:
        return self._reduce(lambda p, _: p.best()[1])

    def log_prob(self, x: Int64[np.ndarray, "B L"]) -> Float64[np.ndarray, "B L"]:
        tokens = _as_tensor("x", x, self.z.device)
        return self._reduce(lambda p, r: p.log_prob(tokens[r]).double())

    def surprise(
        self, x: Int64[np.ndarray, "B L"]
    ) -> tuple[Float64[np.ndarray, "B L"], Float64[np.ndarray, "B L"], Float64[np.ndarray, "B L"]]:
        """All three from one call of the denoiser for each chunk."""
        tokens = _as_tensor("x", x, self.z.device)

        def reduction(p: Prediction, r: slice) -> Tensor:
            entropy, variance = p.entropy_and_variance()
            return torch.stack([value.double() for value in (p.log_prob(tokens[r]), entropy, variance)], -1)

        log_prob, entropy, variance = np.moveaxis(self._reduce(reduction), -1, 0)
        return log_prob, entropy, variance

    def certainty(self) -> tuple[Float64[np.ndarray, "B L"], Float64[np.ndarray, "B L"], Float64[np.ndarray, "B L"]]:
        """All three from one call of the denoiser for each chunk."""
        entropy, highest, gini = np.moveaxis(self._reduce(lambda p, _: torch.stack(p.certainty(), -1).double()), -1, 0)
        return entropy, highest, gini

    def sample(self, rng: np.random.Generator) -> Int64[np.ndarray, "B L"]:
        uniform = torch.as_tensor(rng.random(tuple(self.z.shape)), device=self.z.device)
        return self._reduce(lambda p, r: inverse_cdf(p.log_probs(), uniform[r]))


def _as_tensor(name: str, array: np.ndarray, device: torch.device | None = None) -> Tensor:
    """The array on that device, copied if it is read-only, which torch does not know."""
    return torch.as_tensor(np.require(check.unmasked(name, array), requirements="W"), device=device)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**63))
