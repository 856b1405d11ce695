"""The reverse process, for any denoiser, from any (z, t).

On the grid start = t_0 > ... > t_S = 1e-5 each update replaces z_t by a draw from (or the mode of) the posterior
q(z_s | z_t, x_theta), which is a three-way mixture (`UniformProcess.mixture`): stay, draw from x_theta, draw uniformly.
The choice is made on float64 scalars, and the K entries of x_theta are touched only where a token draws from it:
float32 categorical draws under-sample rare moves several-fold, and a float64 (B, L, K) tensor is never needed.

Modes:
    sample: the stochastic reverse process.
    posterior_mode: the most probable token of the posterior. A token z moves to y iff
        (alpha_s - alpha_t) x_theta[y] > K alpha_t x_theta[z] + alpha_t (1 - alpha_s)/alpha_s, which on a fine uniform
        grid is impossible before the last regular update: a thresholded one-shot recall, not a dynamics of many steps,
        whose threshold depends on S. On coarse grids a near-certain prediction also fires at the last but one update
        (S below about 316 start) and, from start = 1, at the first (S up to 32).
    x0_mode: x_theta replaced by its most probable token, then sampled.
    one_shot: argmax x_theta at the start, once; `steps` and `last` have no effect.

The last update, at t = 1e-5: "ancestral" one more update to t = 0 (practically the identity, but argmax x_theta in
x0_mode), "greedy" argmax x_theta, "none" no update.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from uddm._validation import check_choice, check_distributions, check_positive_int, check_time, check_tokens
from uddm.denoisers.base import Denoiser, batches, inference
from uddm.prediction import DensePrediction, Prediction
from uddm.process import UniformProcess
from uddm.streams import as_generator, inverse_cdf

Mode = Literal["sample", "posterior_mode", "x0_mode", "one_shot"]
Last = Literal["ancestral", "greedy", "none"]
MODES: tuple[Mode, ...] = ("sample", "posterior_mode", "x0_mode", "one_shot")
LASTS: tuple[Last, ...] = ("ancestral", "greedy", "none")
END = 1e-5


def reverse(
    process: UniformProcess,
    denoiser: Denoiser,
    z: Tensor,
    *,
    start: float = 1.0,
    steps: int = 1000,
    mode: Mode = "sample",
    last: Last = "ancestral",
    nucleus: float = 1.0,
    generator: int | torch.Generator | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    """Run the reverse process from noisy tokens to clean ones.

    Parameters
    ----------
    z : tokens at time `start`, (B, L).
    start : the time the denoiser is told the tokens are at, in (1e-5, 1]. It may differ from the time that
        corrupted them.
    steps : number S of regular updates on the uniform grid from `start` to 1e-5.
    mode, last : see the module docstring.
    nucleus : x_theta is cut to its most probable tokens, the fewest that hold this share of it, and renormalised before
        it enters the posterior; in (0, 1]. Truncating the posterior instead would mostly forbid to move.
    generator : seed or CPU generator. Random numbers are drawn for all rows of a step at once, so the result does
        not depend on `batch_size`.
    batch_size : sequences that meet the denoiser together; by default as many as fit a modest memory.
    progress : show a progress bar over the steps.

    Returns
    -------
    Tokens (B, L).

    Raises
    ------
    ValueError : an argument out of its range, or a denoiser whose log-probabilities are not finite.
    """
    z = check_tokens("z", z, process.vocab_size)
    if denoiser.process.vocab_size != process.vocab_size:
        own = denoiser.process.vocab_size
        raise ValueError(f"`process` must have the denoiser's vocabulary size {own}, got {process.vocab_size}")
    start = check_time("start", start, low=END).item()
    check_positive_int("steps", steps)
    check_choice("mode", mode, MODES)
    check_choice("last", last, LASTS)
    if not 0 < nucleus <= 1:
        raise ValueError(f"`nucleus` must lie in (0, 1], got {nucleus}")
    generator = as_generator(generator)
    rows = batches(z, process.vocab_size, batch_size)
    with inference(denoiser):
        if mode == "one_shot":
            return torch.cat([denoiser.predict(z[r], start).best()[1] for r in rows])
        grid = torch.linspace(start, END, steps + 1, dtype=torch.float64).tolist()
        updates = list(pairwise(grid))
        if last == "ancestral":
            updates.append((END, 0.0))
        for t, s in tqdm(updates, desc="reverse", disable=None if progress else True, leave=False):
            if mode == "posterior_mode" and _frozen(process, t, s):
                continue
            choice, draw = torch.rand((2, *z.shape), dtype=torch.float64, generator=generator).to(z.device)
            updated = []
            for r in rows:
                prediction = denoiser.predict(z[r], t)
                if nucleus < 1:
                    prediction = truncated(prediction, nucleus)
                updated.append(update(process, prediction, z[r], t, s, mode, choice[r], draw[r]))
            z = torch.cat(updated)
        if last == "greedy":
            z = torch.cat([denoiser.predict(z[r], END).best()[1] for r in rows])
    return z


def _frozen(process: UniformProcess, t: float, s: float) -> bool:
    """Whether no token can move from t to s in posterior_mode, even if x_theta[y] = 1: no denoiser need be asked."""
    noise_t, noise_s = process.one_minus_alpha(t), process.one_minus_alpha(s)
    return bool((noise_t - noise_s) * (1 - noise_s) <= (1 - noise_t) * noise_s)


def truncated(prediction: Prediction, nucleus: float) -> DensePrediction:
    """Each distribution cut to the fewest most probable tokens that hold a share `nucleus` of it, and renormalised."""
    log_probs, tokens = prediction.log_probs().sort(-1, descending=True)
    before = log_probs.double().exp().cumsum(-1).roll(1, -1)
    before[..., 0] = 0
    kept = torch.where(before < nucleus, log_probs, -torch.inf).log_softmax(-1)
    return DensePrediction(torch.empty_like(kept).scatter_(-1, tokens, kept))


def update(
    process: UniformProcess,
    prediction: Prediction,
    z: Tensor,
    t: float,
    s: float,
    mode: Mode,
    choice: Tensor,
    draw: Tensor,
) -> Tensor:
    """One update of z from t to s; `choice` and `draw` are uniform numbers (B, L) in [0, 1)."""
    if mode == "sample":
        stay, denoise, _ = process.mixture(prediction.log_prob(z).double().exp(), t, s)
        predicted = choice >= stay
        uniform = choice >= stay + denoise
        z = torch.where(uniform, (draw * process.vocab_size).long(), z)
        from_denoiser = predicted & ~uniform
        any_drawn, undefined = torch.stack((from_denoiser.any(), stay.isnan().any())).tolist()
        if undefined:  # as NaN compares with nothing, these tokens would stay
            check_distributions("prediction", stay)
        if any_drawn:
            z[from_denoiser] = inverse_cdf(prediction.log_probs(from_denoiser), draw[from_denoiser])
        return z
    best, y = prediction.best()
    if mode == "posterior_mode":
        at_z = prediction.log_prob(z).double().exp()
        stay, denoise, _ = process.mixture(at_z, t, s)
        return torch.where(denoise * best.double().exp() > stay + denoise * at_z, y, z)
    stay, denoise, _ = process.mixture((y == z).double(), t, s)
    z = torch.where(choice >= stay + denoise, (draw * process.vocab_size).long(), z)
    return torch.where((choice >= stay) & (choice < stay + denoise), y, z)
