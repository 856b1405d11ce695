"""The diffusion transformer (DiT) of the published uniform diffusion language models.

Embedding; noise level sigma -> 256 sinusoidal features -> MLP -> conditioning vector; blocks of

    h <- h + gate_1 mix( modulate(norm(h)) ),     h <- h + gate_2 MLP( modulate(norm(h)) )

with shift, scale and gate linear in the conditioning vector (adaLN, zero-initialised), rotary full attention as the
mixer, and a modulated linear read-out to K logits, zero-initialised so that training starts from x_theta uniform.
Parameter names are those of the published checkpoints (Sahoo et al. 2025, s-sahoo/duo), which load by name.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uddm._validation import check_choice, check_positive_int, check_tokens
from uddm.denoisers.base import Denoiser
from uddm.process import UniformProcess

Mixer = Literal["attention", "convolution"]


@dataclass(frozen=True)
class DiTConfig:
    """Shape of a DiT.

    Args:
        vocab_size: K.
        length: L, the sequence length it is trained on.
        hidden_dim: width d, a multiple of 2 * heads.
        blocks, heads: number of blocks and of attention heads.
        cond_dim: width of the conditioning vector.
        dropout: on the two residual branches, in [0, 1).
        schedule: noise schedule of the process, "log-linear" or "linear".
        mixers: what mixes positions, cycled over the blocks. ("attention",) is the published network;
            "convolution" is a depthwise convolution of width `kernel`, which learns local structure with far fewer
            training steps and suits small budgets.
        kernel: odd width of the convolutions.
    """

    vocab_size: int
    length: int = 128
    hidden_dim: int = 256
    blocks: int = 8
    heads: int = 8
    cond_dim: int = 128
    dropout: float = 0.1
    schedule: str = "log-linear"
    mixers: tuple[Mixer, ...] = ("attention",)
    kernel: int = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "mixers", tuple(self.mixers))
        check_positive_int("vocab_size", self.vocab_size, at_least=2)
        for name in ("length", "hidden_dim", "blocks", "heads", "cond_dim", "kernel"):
            check_positive_int(name, getattr(self, name))
        if self.hidden_dim % (2 * self.heads):
            raise ValueError(f"`hidden_dim` must be a multiple of 2 * heads = {2 * self.heads}, got {self.hidden_dim}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must lie in [0, 1), got {self.dropout}")
        if self.kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd, got {self.kernel}")
        if not self.mixers:
            raise ValueError("`mixers` must name at least one mixer, got none")
        for mixer in self.mixers:
            check_choice("mixers", mixer, ("attention", "convolution"))

    @classmethod
    def tiny(cls, vocab_size: int, **changes: Any) -> DiTConfig:
        """8 blocks, d = 256 (23.66M parameters at K = 30522)."""
        return replace(cls(vocab_size), **changes)

    @classmethod
    def small(cls, vocab_size: int, **changes: Any) -> DiTConfig:
        """12 blocks, d = 768 (139.29M parameters at K = 30522)."""
        return replace(cls(vocab_size, hidden_dim=768, blocks=12, heads=12), **changes)

    @classmethod
    def medium(cls, vocab_size: int, **changes: Any) -> DiTConfig:
        """24 blocks, d = 1024 (384.04M parameters at K = 30522)."""
        return replace(cls(vocab_size, hidden_dim=1024, blocks=24, heads=16), **changes)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class DiT(nn.Module, Denoiser):
    """Diffusion transformer: logits of the cavity distribution x_theta from tokens and noise level.

    As a `Denoiser`, `cavity(z, t)` and `posterior(z, t)` give float32 log-probabilities (B, L, K).
    """

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config
        self.process = UniformProcess(config.vocab_size, config.schedule)
        self.length = config.length
        d = config.hidden_dim
        self.vocab_embed = _Embedding(config.vocab_size, d)
        self.sigma_map = _NoiseLevel(config.cond_dim)
        self.rotary_emb = _Rotary(d // config.heads)
        self.blocks = nn.ModuleList(_Block(config, config.mixers[n % len(config.mixers)]) for n in range(config.blocks))
        self.output_layer = _Output(d, config.vocab_size, config.cond_dim)

    def forward(self, z: Tensor, sigma: Tensor) -> Tensor:
        """Logits (B, L, K) for tokens z (B, L) at noise levels sigma = -log alpha_t, shape (B,)."""
        condition = F.silu(self.sigma_map(sigma))
        h = self.vocab_embed.embedding[z]
        rotation = self.rotary_emb(z.shape[1])
        for block in self.blocks:
            h = block(h, condition, rotation)
        return self.output_layer(h, condition)

    def cavity(self, z: Tensor, t: float | Tensor) -> Tensor:
        z = check_tokens("z", z, self.config.vocab_size)
        sigma = self.process.sigma(t).to(z.device, torch.float32).expand(len(z))
        return self(z, sigma).float().log_softmax(-1)

    @property
    def device(self) -> torch.device:
        return self.vocab_embed.embedding.device

    def save_pretrained(self, folder: str | Path, tokenizer: Any = None) -> None:
        """Write `config.json`, `model.safetensors`, a model card and, if given, `tokenizer.json`."""
        from uddm.checkpoints import save_pretrained

        save_pretrained(self, folder, tokenizer)

    @classmethod
    def from_pretrained(cls, path_or_repo: str | Path, revision: str | None = None) -> DiT:
        """Read a folder written by `save_pretrained`, or a hub repository of that layout. No pickle is read.

        Raises:
            FileNotFoundError: no such folder or file.
            ValueError: the folder does not hold a readable model; the message names the file or the key.
        """
        from uddm.checkpoints import load_pretrained

        return load_pretrained(path_or_repo, revision)


class _Embedding(nn.Module):
    def __init__(self, vocab_size: int, d: int):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(vocab_size, d).uniform_(-1 / math.sqrt(d), 1 / math.sqrt(d)))


class _NoiseLevel(nn.Module):
    """sigma -> cos and sin of 128 frequencies each (max period 10000) -> Linear -> SiLU -> Linear."""

    features = 256

    def __init__(self, cond_dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(self.features, cond_dim), nn.SiLU(), nn.Linear(cond_dim, cond_dim))

    def forward(self, sigma: Tensor) -> Tensor:
        half = self.features // 2
        frequencies = torch.exp(-math.log(10000) / half * torch.arange(half, device=sigma.device))
        angles = sigma[:, None] * frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], -1))


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


class _Norm(nn.Module):
    """LayerNorm without bias, computed in float32."""

    def __init__(self, d: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, h: Tensor) -> Tensor:
        return F.layer_norm(h.float(), (h.shape[-1],), self.weight)


def _zero_linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class _Block(nn.Module):
    def __init__(self, config: DiTConfig, mixer: Mixer):
        super().__init__()
        d = config.hidden_dim
        self.heads, self.dropout = config.heads, config.dropout
        # Registration order is that of the published checkpoints, whose EMA weights carry no names.
        self.norm1 = _Norm(d)
        if mixer == "attention":
            self.attn_qkv = nn.Linear(d, 3 * d, bias=False)
            self.attn_out = nn.Linear(d, d, bias=False)
            self.mix = self.attention
        else:
            self.conv = nn.Conv1d(d, d, config.kernel, padding=config.kernel // 2, groups=d)
            self.conv_out = nn.Linear(d, d, bias=False)
            self.mix = self.convolution
        self.norm2 = _Norm(d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(approximate="tanh"), nn.Linear(4 * d, d))
        self.adaLN_modulation = _zero_linear(config.cond_dim, 6 * d)

    def attention(self, h: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = self.attn_qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(_rotate(q, rotation), _rotate(k, rotation), v)
        return self.attn_out(h.transpose(1, 2).flatten(-2))

    def convolution(self, h: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        return self.conv_out(self.conv(h.transpose(1, 2)).transpose(1, 2))

    def forward(self, h: Tensor, condition: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        modulation = self.adaLN_modulation(condition)[:, None]
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation.chunk(6, -1)
        mixed = self.mix(self.norm1(h) * (1 + scale_1) + shift_1, rotation)
        h = h + gate_1 * F.dropout(mixed, self.dropout, self.training)
        passed = self.mlp(self.norm2(h) * (1 + scale_2) + shift_2)
        return h + gate_2 * F.dropout(passed, self.dropout, self.training)


class _Output(nn.Module):
    def __init__(self, d: int, vocab_size: int, cond_dim: int):
        super().__init__()
        self.norm_final = _Norm(d)
        self.linear = _zero_linear(d, vocab_size)
        self.adaLN_modulation = _zero_linear(cond_dim, 2 * d)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(condition)[:, None].chunk(2, -1)
        return self.linear(self.norm_final(h) * (1 + scale) + shift)
