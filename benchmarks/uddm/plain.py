"""The peers: the loss and the reverse step as reference implementations write them (Schiff et al. 2024, `diffusion.py`;
Sahoo et al. 2025, `algo.py`), with every (B, L, K) tensor they make, on the same network."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from uddm import DiT
from uddm.training.batches import Batch


def log_x_theta(model: DiT, z: Tensor, noise: Tensor) -> Tensor:
    return model(z, -torch.log1p(-noise).float()).log_softmax(-1)


def one_hot_loss(log_x_theta: Tensor, x: Tensor, z: Tensor, noise: Tensor, K: int) -> Tensor:
    """NELBO with one-hot vectors, (B, L): log-linear schedule, -alpha' = 1 - 1e-3."""
    alpha = (1 - noise).float()[:, None, None]
    x_bar = K * alpha * F.one_hot(x, K) + 1 - alpha
    xt_bar = K * alpha * log_x_theta.exp() + 1 - alpha
    x_z = x_bar.gather(-1, z[..., None])
    xt_z = xt_bar.gather(-1, z[..., None])
    total = (x_bar / x_z * (xt_z.log() - xt_bar.log() + x_bar.log() - x_z.log())).sum(-1, keepdim=True)
    return ((1 - 1e-3) / (K * alpha) * (total - K / x_z + K / xt_z)).squeeze(-1)


def sequence_losses(model: DiT, x: Tensor, z: Tensor, noise: Tensor) -> Tensor:
    """Nats per token of each sequence, (B,)."""
    return one_hot_loss(log_x_theta(model, z, noise), x, z, noise, model.config.vocab_size).mean(1)


def training_step(
    model: DiT,
    optimizer: torch.optim.Optimizer,
    micro_batches: Iterable[Batch],
    losses: Callable[..., Tensor] = sequence_losses,
    low_precision: bool = False,
) -> None:
    optimizer.zero_grad()
    for batch in micro_batches:
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=low_precision):
            found = losses(model, batch.x, batch.z, model.process.one_minus_alpha(batch.t))
        (batch.weights * found).sum().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


@torch.no_grad()
def generate(model: DiT, z: Tensor, steps: int) -> Tensor:
    """Regular updates: posterior and categorical draws in float64 over the vocabulary."""
    K = model.config.vocab_size
    times = torch.linspace(1, 1e-5, steps + 1, device=z.device)
    for t, s in pairwise(times):
        alpha_t, alpha_s = 1 - (1 - 1e-3) * t, 1 - (1 - 1e-3) * s
        p = log_x_theta(model, z, (1 - alpha_t).expand(len(z))).to(torch.float64).exp()
        one_hot = F.one_hot(z, K)
        ratio = alpha_t / alpha_s
        posterior = (
            K * alpha_t * p * one_hot
            + (ratio - alpha_t) * one_hot
            + (alpha_s - alpha_t) * p
            + (1 - ratio) * (1 - alpha_s) / K
        ) / (K * alpha_t * p.gather(-1, z[..., None]) + 1 - alpha_t)
        exponential = 1e-10 - (torch.rand_like(posterior) + 1e-10).log()
        z = (posterior / exponential).argmax(-1)
    return z
