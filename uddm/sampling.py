"""The reverse process, for any denoiser, from any (z, t).

On the grid start = t_0 > ... > t_S = 1e-5 each update replaces z_t by a draw from (or the mode of) the posterior
q(z_s | z_t, x_theta), which is a three-way mixture (`Process.mixture`): stay, draw from x_theta, draw afresh. The
choice is made on float64 scalars, and the K entries of x_theta are touched only where a token draws from it: float32
categorical draws under-sample rare moves several-fold, and a float64 (B, L, K) tensor is never needed.

The modes:

- sample: the stochastic reverse process.
- posterior_mode: the most probable token of the posterior. Under uniform noise a token z moves to y iff
  (alpha_s - alpha_t) x_theta[y] > K alpha_t x_theta[z] + alpha_t (1 - alpha_s)/alpha_s, which on a fine uniform grid is
  impossible before the last regular update: a thresholded one-shot recall, not a dynamics of many steps, whose
  threshold depends on S. On coarse grids a near-certain prediction also fires at the last but one update (S below about
  316 start) and, from start = 1, at the first (S up to 32).
- x0_mode: x_theta replaced by its most probable token, then sampled.
- one_shot: argmax x_theta at the start, once; `steps` and `last` have no effect.

The last update, at t = 1e-5: "ancestral" one more update to t = 0 (practically the identity, but argmax x_theta in
x0_mode), "greedy" argmax x_theta, "none" no update.

Clamped tokens (`keep`: a prompt, the surroundings of a gap) are what every update leaves alone. As the denoiser is told
one time for all tokens, it takes them to be as noisy as the others: the others approach their law given the clamped
tokens, and do not reach it with more steps. `EmpiricalBayes.sample` and `HierarchyBayes.sample` draw from it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Bool, Float64, Int64, Integer
from torch import Tensor
from tqdm import tqdm

from uddm._validation import (
    check_choice,
    check_distributions,
    check_flag,
    check_keep,
    check_kind,
    check_number,
    check_one_time,
    check_positive_int,
    check_tokens,
)
from uddm.choices import LASTS, MODES, Last, Mode
from uddm.denoisers.base import Denoiser, batches, inference
from uddm.prediction import DensePrediction, Prediction
from uddm.process import Process
from uddm.streams import as_generator, inverse_cdf

END = 1e-5
"""The last time at which the denoiser is asked."""


def reverse(
    process: Process,
    denoiser: Denoiser,
    z: Integer[Tensor, "B L"],
    *,
    start: float = 1.0,
    steps: int = 1000,
    mode: Mode = "sample",
    last: Last = "ancestral",
    nucleus: float = 1.0,
    keep: Bool[Tensor, "B L"] | Bool[Tensor, " L"] | None = None,
    generator: int | torch.Generator | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> Int64[Tensor, "B L"]:
    """Run the reverse process from noisy tokens to clean ones.

    Parameters
    ----------
    process : the noise
    denoiser : what predicts clean tokens, of the same vocabulary
    z : tokens at time `start`, (B, L)
    start : the time the denoiser is told the tokens are at, in (1e-5, 1]. It may differ from the time that
        corrupted them.
    steps : number S of regular updates on the uniform grid from `start` to 1e-5
    mode, last : see the module docstring
    nucleus : x_theta is cut to its most probable tokens, the fewest that hold this share of it, and renormalised before
        it enters the posterior; in (0, 1]. Truncating the posterior instead would mostly forbid to move.
    keep : where tokens are known, as z has them, and stay, bool (B, L), or (L,) for all rows; default None, nowhere.
        Random numbers are those drawn without it.
    generator : seed or CPU generator. Random numbers are drawn for all rows of a step at once, so the result does
        not depend on `batch_size`.
    batch_size : sequences that meet the denoiser together; by default as many as fit a modest memory
    progress : show a progress bar over the steps

    Returns
    -------
    Tokens (B, L).

    Raises
    ------
    ValueError : an argument out of its range, or a denoiser whose log-probabilities are not finite.
    TypeError : `keep` does not hold bool.

    See Also
    --------
    amtheory.retrieve : the dynamics of a binary memory.
    bridges.MemorySystem.recover : either of them behind one interface.

    Examples
    --------
    The exact denoiser of two strings ends in one of them:

    >>> import torch
    >>> from uddm import EmpiricalBayes, UniformProcess, reverse
    >>> process, x = UniformProcess(3), torch.tensor([[0, 1, 2, 0], [2, 1, 0, 2]])
    >>> z = process.prior((5, 4), generator=0)
    >>> ends = reverse(process, EmpiricalBayes(x, process), z, steps=50, generator=1)
    >>> bool((ends[:, None] == x).all(-1).any(-1).all())
    True

    A prompt is the beginning of all that comes out:

    >>> z[:, :2], known = torch.tensor([2, 1]), torch.tensor([True, True, False, False])
    >>> ends = reverse(process, EmpiricalBayes(x, process), z, steps=50, keep=known, generator=1)
    >>> ends[:, :2].unique(dim=0).tolist()
    [[2, 1]]
    """
    check_flag("progress", progress)
    options = {"start": start, "steps": steps, "mode": mode, "last": last, "nucleus": nucleus, "keep": keep}
    times, states = path(process, denoiser, z, **options, generator=generator, batch_size=batch_size)
    shown = tqdm(states, desc="reverse", total=len(times), disable=None if progress else True, leave=False)
    return deque(shown, maxlen=1).pop()


def path(
    process: Process,
    denoiser: Denoiser,
    z: Integer[Tensor, "B L"],
    *,
    start: float = 1.0,
    steps: int = 1000,
    mode: Mode = "sample",
    last: Last = "ancestral",
    nucleus: float = 1.0,
    keep: Bool[Tensor, "B L"] | Bool[Tensor, " L"] | None = None,
    generator: int | torch.Generator | None = None,
    batch_size: int | None = None,
) -> tuple[list[float], Iterator[Int64[Tensor, "B L"]]]:
    """The states that `reverse` goes through, of which it returns the last; arguments and errors are the same.

    Returns
    -------
    times : T + 1 falling numbers, `start` first; 0.0 last, unless `last` is "none"
    states : one (B, L) for each time, `z` first, made when it is asked for; to be left alone, as the next is made of it
    """
    check_kind("process", process, Process)
    check_kind("denoiser", denoiser, Denoiser)
    z = check_tokens("z", z, process.state_size)
    if denoiser.process.vocab_size != process.vocab_size:
        own = denoiser.process.vocab_size
        raise ValueError(f"`process` must have the denoiser's vocabulary size {own}, got {process.vocab_size}")
    start = check_one_time("start", start, low=END)
    check_positive_int("steps", steps)
    check_choice("mode", mode, MODES)
    check_choice("last", last, LASTS)
    check_number("nucleus", nucleus, low=0, high=1, closed="]")
    known = None if keep is None else check_keep(keep, z)
    generator = as_generator(generator)
    rows = batches(z, process.vocab_size, batch_size)
    if mode == "one_shot":
        times = [start, 0.0]
    else:
        times = torch.linspace(start, END, steps + 1, dtype=torch.float64).tolist()
        times += [] if last == "none" else [0.0]

    def after(z: Tensor, t: float, s: float) -> Tensor:
        if mode == "one_shot" or (s == 0 and last == "greedy"):
            return torch.cat([_best(process, denoiser.predict(z[r], t), z[r], t) for r in rows])
        if mode == "posterior_mode" and process.frozen(t, s):
            return z
        choice, draw = torch.rand((2, *z.shape), dtype=torch.float64, generator=generator).to(z.device)
        updated = []
        for r in rows:
            prediction = denoiser.predict(z[r], t)
            if nucleus < 1:
                prediction = truncated(prediction, nucleus)
            updated.append(update(process, prediction, z[r], t, s, mode, choice[r], draw[r]))
        return torch.cat(updated)

    def states(z: Tensor) -> Iterator[Tensor]:
        yield z
        for t, s in pairwise(times):
            with inference(denoiser):  # which ends before others compute
                updated = after(z, t, s)
            z = updated if known is None else torch.where(known, z, updated)
            yield z

    return times, states(z)


def truncated(prediction: Prediction, nucleus: float) -> DensePrediction:
    """Each distribution cut to the fewest most probable tokens that hold a share `nucleus` of it, and renormalised."""
    log_probs, tokens = prediction.log_probs().sort(-1, descending=True)
    before = log_probs.double().exp().cumsum(-1).roll(1, -1)
    before[..., 0] = 0
    kept = torch.where(before < nucleus, log_probs, -torch.inf).log_softmax(-1)
    return DensePrediction(torch.empty_like(kept).scatter_(-1, tokens, kept))


def update(
    process: Process,
    prediction: Prediction,
    z: Int64[Tensor, "B L"],
    t: float,
    s: float,
    mode: Mode,
    choice: Float64[Tensor, "B L"],
    draw: Float64[Tensor, "B L"],
) -> Int64[Tensor, "B L"]:
    """One update of z, (B, L) ids, from t to s.

    Parameters
    ----------
    process : the noise.
    prediction : x_theta for z at time t.
    z : tokens at time t, (B, L).
    t, s : times, 0 <= s <= t <= 1.
    mode : "sample", "posterior_mode" or "x0_mode".
    choice, draw : uniform numbers (B, L) in [0, 1), of which "posterior_mode" makes no use.
    """
    if mode == "sample":
        stay, denoise, _ = process.mixture(process.cavity_at(prediction, z), z, t, s)
        predicted = choice >= stay
        afresh = choice >= stay + denoise
        z = torch.where(afresh, process.fresh(draw, s), z)
        from_denoiser = predicted & ~afresh
        any_drawn, undefined = torch.stack((from_denoiser.any(), stay.isnan().any())).tolist()
        if undefined:  # as NaN compares with nothing, these tokens would stay
            check_distributions("prediction", stay)
        if any_drawn:
            z[from_denoiser] = inverse_cdf(prediction.log_probs(from_denoiser), draw[from_denoiser])
        return z
    best, y = prediction.best()
    if mode == "posterior_mode":
        return _mode(process, prediction, z, t, s, best.double().exp(), y)
    stay, denoise, _ = process.mixture((y == z).double(), z, t, s)
    z = torch.where(choice >= stay + denoise, process.fresh(draw, s), z)
    return torch.where((choice >= stay) & (choice < stay + denoise), y, z)


def _best(process: Process, prediction: Prediction, z: Tensor, t: float) -> Tensor:
    """argmax x_theta; tokens that the noise cannot have made are kept."""
    y = prediction.best()[1]
    if process.mask is None:
        return y
    return torch.where((z != process.mask) & process.own_logit(t).isinf(), z, y)


def _mode(process: Process, prediction: Prediction, z: Tensor, t: float, s: float, best: Tensor, y: Tensor) -> Tensor:
    """The most probable z_s: z itself, the most probable clean token y, or the mask, compared without what all tokens
    have in common."""
    at_z = process.cavity_at(prediction, z)
    stay, denoise, fresh = process.mixture(at_z, z, t, s)
    common = process.fresh_mass(fresh, z, s)
    here = stay + denoise * at_z
    there = denoise * best + (process.fresh_mass(fresh, y, s) - common)
    found = torch.where(there > here, y, z)
    if process.mask is None:
        return found
    mask = torch.full_like(z, process.mask)
    hidden = process.fresh_mass(fresh, mask, s) - common
    return torch.where((z != mask) & (hidden > torch.maximum(here, there)), mask, found)


def log_kernel(
    process: Process, prediction: Prediction, z: Int64[Tensor, "B L"], then: Int64[Tensor, "B L"], t: float, s: float
) -> Float64[Tensor, "B L"]:
    """log q(z_s = then | z_t = z, x_theta), the law of an `update` that samples: float64 (B, L).

    Parameters
    ----------
    process : the noise.
    prediction : x_theta for z at time t.
    z, then : ids at times t and s, (B, L).
    t, s : times, 0 <= s <= t <= 1.
    """
    stay, denoise, fresh = process.mixture(process.cavity_at(prediction, z), z, t, s)
    same, predicted = then == z, process.cavity_at(prediction, then)
    return (stay * same + denoise * predicted + process.fresh_mass(fresh, then, s)).log()
