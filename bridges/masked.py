"""A masked model as a measured system: a masked diffusion model, a masked language model, or an exact limit of one.

What such a model expects at a position whose token it cannot see is the cavity p(x_l | x without l) itself, so one pass
for each position gives it, the position masked and all others shown. With `passes=g` every g-th position is masked at
once, and g passes do for the sequence. Then the law at l lacks the tokens at l +- g, l +- 2g, ... too, and its mean
entropy is too large by the information that they have of x_l beyond the tokens shown, I(x_l; masked | shown) >= 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from bridges.diffusion import DiffusionSystem, _Chunked
from bridges.system import Conditional
from uddm import MaskedProcess
from uddm._validation import check_kind, check_positive_int
from uddm.denoisers.base import Denoiser, batches, inference
from uddm.prediction import DensePrediction, Prediction


class MaskedSystem(DiffusionSystem):
    """A masked model with masks for noise and its own reverse process, which carries over all tokens that are shown.

    At time t = `noise` the share of masks is 1 - alpha_t, on average, by the schedule of the model. As no token that is
    shown is ever altered there is no rate of unstable ones, and sequences without masks stay as they are.

    Parameters
    ----------
    denoiser : a `uddm.Denoiser` whose process is a `uddm.MaskedProcess`
    passes : of the denoiser for the conditionals of a sequence, 1 to L: g masks every g-th position at once, which
        makes entropies too large (see the module); default None, one for each position, which is exact
    batch_size : sequences that meet the denoiser together; default None, as many as fit a modest memory

    With `steps=None` a denoiser that can draw joint samples does so, as for `DiffusionSystem`; others take 1000 steps.
    After `last="none"` masks may be left.

    Raises
    ------
    TypeError : `passes` is no integer
    ValueError : another process, or `passes` out of range

    See Also
    --------
    SequentialSystem : the same model as a memory that restores what was replaced, not masked

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import MaskedSystem
    >>> from uddm import EmpiricalBayes, MaskedProcess
    >>> x = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 1]])
    >>> system = MaskedSystem(EmpiricalBayes(x, MaskedProcess(4)))
    >>> system.conditional(x[:1], 0.5).entropy().round(3).tolist()  # of two rows that begin alike
    [[0.0, 0.0, 0.0, 0.693]]
    >>> system.recover(np.array([[3, 4, 4, 4]]), rng=np.random.default_rng(0)).tolist()  # the mask is 4
    [[3, 2, 1, 0]]
    """

    mask: int
    carries_over = True

    def __init__(self, denoiser: Denoiser, *, passes: int | None = None, batch_size: int | None = None):
        check_kind("denoiser", denoiser, Denoiser)
        if not isinstance(denoiser.process, MaskedProcess):
            raise ValueError(f"`denoiser` must have a MaskedProcess, got {denoiser.process!r}")
        super().__init__(denoiser, batch_size=batch_size)
        if passes is not None and check_positive_int("passes", passes) > self.length:
            raise ValueError(f"`passes` must be at most the length {self.length}, got {passes}")
        self.passes = passes

    def conditional(self, z: Int64[np.ndarray, "B L"], t: float) -> Conditional:
        return _Hidden(self, self.tokens(z), t)

    def _known(self, z: np.ndarray, keep: np.ndarray | None) -> Tensor | None:
        """Tokens that are shown stay, also in a joint draw from a z that is impossible."""
        shown = z != self.mask
        return super()._known(z, shown if keep is None else keep | shown)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "passes": self.passes or self.length}

    def hide(self, z: Int64[Tensor, "B L"], where: Bool[Tensor, "B L"]) -> Int64[Tensor, "B L"]:
        """`z` (B, L) with masks where `where` (B, L) holds."""
        return z.masked_fill(where, self.mask)


class _Hidden(_Chunked):
    """Reductions of the laws of masked positions, which exist for one chunk of passes at a time."""

    def __init__(self, system: MaskedSystem, z: Int64[Tensor, "B L"], t: float):
        super().__init__(system.denoiser, "cavity", z, t, system.batch_size)
        self.system = system

    def _reduce(self, reduction: Callable[[Prediction, Any], Tensor]) -> np.ndarray:
        (B, L), device = self.z.shape, self.z.device
        g = self.system.passes or L
        position, found = torch.arange(L, device=device), []
        with inference(self.denoiser):
            for r in batches(self.z[:1].expand(B * g, L), self.system.vocab_size, self.system.batch_size):
                number = torch.arange(B * g, device=device)[r]
                row = number // g
                hidden = position % g == (number % g)[:, None]
                law = self.denoiser.predict(self.system.hide(self.z[row], hidden), self.t).log_probs(hidden)
                at = row[:, None].expand_as(hidden)[hidden], position.expand_as(hidden)[hidden]
                found.append((*at, reduction(DensePrediction(law[None]), tuple(index[None] for index in at))[0]))
        row, l, values = (torch.cat(part) for part in zip(*found))
        return values[(row * L + l).argsort()].view(B, L, *values.shape[1:]).cpu().numpy()
