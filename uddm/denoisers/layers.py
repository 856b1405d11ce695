"""Layers that networks share: how the noise level enters, and how logits leave."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uddm.config import ResidualConfig


def widened(values: Tensor) -> Tensor:
    """As float32 at least: half precision is widened, float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class Linear(nn.Linear):
    """One whose weights may be stored in half precision, and are widened to that of its input as they are used."""

    def forward(self, input: Tensor) -> Tensor:
        dtype = torch.promote_types(input.dtype, self.weight.dtype)
        return F.linear(input, self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype))


class NoiseLevel(nn.Module):
    """sigma -> cos and sin of 128 frequencies each (max period 10000) -> Linear -> SiLU -> Linear."""

    features = 256

    def __init__(self, cond_dim: int):
        super().__init__()
        self.mlp = nn.Sequential(Linear(self.features, cond_dim), nn.SiLU(), Linear(cond_dim, cond_dim))

    def forward(self, sigma: Tensor) -> Tensor:
        half = self.features // 2
        frequencies = torch.exp(-math.log(10000) / half * torch.arange(half, device=sigma.device))
        angles = sigma[:, None] * frequencies
        waves = torch.cat([angles.cos(), angles.sin()], -1)
        return self.mlp(waves.to(torch.promote_types(waves.dtype, next(self.mlp.parameters()).dtype)))


class Norm(nn.Module):
    """LayerNorm without bias, computed in float32 at least."""

    def __init__(self, d: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, h: Tensor) -> Tensor:
        h = widened(h)
        return F.layer_norm(h, (h.shape[-1],), self.weight.to(h.dtype))


def zero_linear(inputs: int, outputs: int) -> Linear:
    linear = Linear(inputs, outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class ResidualBlock(nn.Module):
    """h + gate MLP( norm(h), shifted and scaled by the condition ), with `expansion` d hidden units.

    Gates start at 0; without them, as suits few blocks, nothing has to open first.
    """

    def __init__(self, config: ResidualConfig, expansion: int, *, gated: bool):
        super().__init__()
        d, hidden = config.hidden_dim, expansion * config.hidden_dim
        self.dropout, self.parts = config.dropout, 3 if gated else 2
        self.norm = Norm(d)
        self.mlp = nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, d))
        self.adaLN_modulation = zero_linear(config.cond_dim, self.parts * d)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        shift, scale, *gate = self.adaLN_modulation(condition)[:, None].chunk(self.parts, -1)
        passed = F.dropout(self.mlp(self.norm(h) * (1 + scale) + shift), self.dropout, self.training)
        return h + (gate[0] * passed if gate else passed)


class ReadOut(nn.Module):
    """Norm, shift and scale by the conditioning vector, Linear to K; zero-initialised: training starts from uniform."""

    def __init__(self, d: int, vocab_size: int, cond_dim: int):
        super().__init__()
        self.norm_final = Norm(d)
        self.linear = zero_linear(d, vocab_size)
        self.adaLN_modulation = zero_linear(cond_dim, 2 * d)

    def modulate(self, h: Tensor, condition: Tensor) -> Tensor:
        """What `linear` reads, (B, L, d)."""
        shift, scale = self.adaLN_modulation(condition)[:, None].chunk(2, -1)
        return self.norm_final(h) * (1 + scale) + shift
