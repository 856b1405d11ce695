"""The diffusion transformer (DiT) of the published uniform diffusion language models.

Embedding; noise level sigma -> 256 sinusoidal features -> MLP -> conditioning vector; blocks of

    h <- h + gate_1 attention( modulate(norm(h)) ),     h <- h + gate_2 MLP( modulate(norm(h)) )

with shift, scale and gate linear in the conditioning vector (adaLN, zero-initialised), rotary full attention, and a
modulated linear read-out to K logits, zero-initialised so that training starts from x_theta uniform. Parameter names
are those of the published checkpoints (Sahoo et al. 2025, s-sahoo/duo), which load by name.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from uddm._validation import check_time
from uddm.config import DiTConfig as DiTConfig
from uddm.curriculum import SoftTokens
from uddm.denoisers.layers import Linear, NoiseLevel, Norm, ReadOut, widened, zero_linear
from uddm.denoisers.network import Network, for_each
from uddm.process import Process
from uddm.process.base import PerSequence


class DiT(Network):
    """Diffusion transformer: logits of the cavity distribution x_theta from tokens and noise level.

    Parameters
    ----------
    config : its shape

    Examples
    --------
    Before training, every token is as probable as any other:

    >>> import torch
    >>> from uddm import DiT, DiTConfig
    >>> model = DiT(DiTConfig(4, length=3, hidden_dim=8, blocks=1, heads=2, cond_dim=4))
    >>> model.cavity(torch.tensor([[0, 1, 2]]), 0.5).exp()[0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    Config: ClassVar = DiTConfig
    config: DiTConfig
    reads_relaxed = True
    any_length = True
    made_of_weights = True

    def __init__(self, config: DiTConfig):
        super().__init__(config)
        d = config.hidden_dim
        self.vocab_embed = _Embedding(self.process.state_size, d)
        self.sigma_map = NoiseLevel(config.cond_dim)
        self.rotary_emb = _Rotary(d // config.heads)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.blocks))
        self.output_layer = ReadOut(d, config.vocab_size, config.cond_dim)

    def hidden(self, z: Integer[Tensor, "B L"] | SoftTokens, sigma: Float[Tensor, " B"]) -> Float[Tensor, "B L d"]:
        """What the read-out sees of tokens z (B, L), or relaxed ones, at noise levels sigma (B,): (B, L, d)."""
        told = sigma if self.config.time_conditioning else torch.zeros_like(sigma)
        condition = F.silu(self.sigma_map(told))
        h = self.vocab_embed(z)
        rotation = self.rotary_emb(h.shape[1])
        for block in self.blocks:
            h = block(h, condition, rotation)
        return self.output_layer.modulate(h, condition)

    def told(self, process: Process, z: Integer[Tensor, "B L"], t: PerSequence) -> Float[Tensor, " B"]:
        """Noise levels sigma (B,) of z (B, L) at times t, () or (B,), under `process`; or t, if it reads that."""
        if self.config.time_conditioning == "t":
            return for_each(check_time("t", t), z)
        return super().told(process, z, t)


class _Embedding(nn.Module):
    def __init__(self, rows: int, d: int):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(rows, d).uniform_(-1 / math.sqrt(d), 1 / math.sqrt(d)))

    def forward(self, z: Tensor | SoftTokens) -> Tensor:
        """(B, L, d): rows of the embedding, or their averages under relaxed tokens."""
        if isinstance(z, Tensor):
            return widened(F.embedding(z, self.embedding))
        tokens, weights = z.tokens.flatten(0, 1), z.weights.flatten(0, 1)
        h = F.embedding_bag(tokens, self.embedding, per_sample_weights=weights, mode="sum")
        return h.view(*z.rest.shape, -1) + z.rest[..., None] * self.embedding.mean(0)


class _Rotary(nn.Module):
    """Half-split rotary position embedding, base 10000."""

    inv_freq: Tensor

    def __init__(self, head_dim: int):
        super().__init__()
        self.register_buffer("inv_freq", 1 / 10000 ** (torch.arange(0, head_dim, 2).float() / head_dim))

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        """cos and sin, each (L, head_dim)."""
        angles = torch.arange(length, device=self.inv_freq.device)[:, None] * self.inv_freq
        angles = torch.cat([angles, angles], -1)
        return angles.cos(), angles.sin()


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotation
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


class _Block(nn.Module):
    def __init__(self, config: DiTConfig):
        super().__init__()
        d = config.hidden_dim
        self.heads, self.dropout = config.heads, config.dropout
        # Registration order is that of the published checkpoints, whose EMA weights carry no names.
        self.norm1 = Norm(d)
        self.attn_qkv = Linear(d, 3 * d, bias=False)
        self.attn_out = Linear(d, d, bias=False)
        self.norm2 = Norm(d)
        self.mlp = nn.Sequential(Linear(d, 4 * d), nn.GELU(approximate="tanh"), Linear(4 * d, d))
        self.adaLN_modulation = zero_linear(config.cond_dim, 6 * d)

    def attention(self, h: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = self.attn_qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(_rotate(q, rotation), _rotate(k, rotation), v)
        return self.attn_out(h.transpose(1, 2).flatten(-2))

    def forward(self, h: Tensor, condition: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        modulation = self.adaLN_modulation(condition)[:, None]
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation.chunk(6, -1)
        mixed = self.attention(self.norm1(h) * (1 + scale_1) + shift_1, rotation)
        h = h + gate_1 * F.dropout(mixed, self.dropout, self.training)
        passed = self.mlp(self.norm2(h) * (1 + scale_2) + shift_2)
        return h + gate_2 * F.dropout(passed, self.dropout, self.training)
