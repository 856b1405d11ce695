"""A transformer of Llama's kind that sees both sides and is told no time: that of large diffusion language models.

    h <- h + c attention( norm(h) ),     h <- h + c MLP( norm(h) ),     g = s W norm(h)

with root-mean-square norms, rotary positions (half-split), keys and values that groups of heads share, and

    MLP(u) = W_down ( silu(W_gate u) * W_up u )    or    W_down relu(W_up u)^2.

What the published models add is an option each (LLaDA arXiv 2502.09992, Dream 2508.15487, GIDD at scale 2512.10858,
Sumi 2606.19005): biases of queries, keys and values; norms of queries and keys over all heads together; a soft cap
c tanh(q k/c) on the scores of attention; a sink, one more key and value that stand at no position, learned or zero,
which makes the softmax exp(s_j)/(1 + sum exp(s)); factors on weights, residual branches and logits; a read-out that is
the embedding; and logits that stand one position to the left of the token that they are of.

Parameters are named as in the Llama of `transformers`, without its prefix `model.`.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from uddm.config import LlamaConfig as LlamaConfig
from uddm.denoisers.layers import Linear
from uddm.denoisers.network import Network


class Llama(Network):
    """Bidirectional transformer without a noise level: logits of the cavity distribution x_theta from tokens alone.

    Under masks the logits at a mask are those of the cavity, as the position is not seen, and those at a token mean
    nothing. With `shifted` logits, the first position has none of its own: it must hold a token that is known.

    Parameters
    ----------
    config : its shape

    Examples
    --------
    Before training, every token is as probable as any other:

    >>> import torch
    >>> from uddm.denoisers import Llama, LlamaConfig
    >>> model = Llama(LlamaConfig(4, length=3, hidden_dim=8, blocks=1, heads=2, kv_heads=1))
    >>> model.cavity(torch.tensor([[0, 1, 2]]), 0.5).exp()[0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    Config: ClassVar = LlamaConfig
    config: LlamaConfig
    any_length = True
    made_of_weights = True

    def __init__(self, config: LlamaConfig):
        super().__init__(config)
        d, K = config.hidden_dim, config.vocab_size
        self.embed_tokens = _Embedding(self.process.state_size, d)
        self.layers = nn.ModuleList(_Layer(self.config) for _ in range(config.blocks))
        self.norm = _RMSNorm(d, config)
        if not config.tied:
            self.lm_head = Linear(d, K, bias=False)
            nn.init.zeros_(self.lm_head.weight)

    def hidden(self, z: Integer[Tensor, "B L"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B L d"]:
        """What the read-out sees of tokens z (B, L), whatever sigma: (B, L, d)."""
        h = self.embed_tokens(z)
        rotation = _rotation(h.shape[1], self.config, h.device)
        for layer in self.layers:
            h = layer(h, rotation)
        h = self.norm(h) * self.config.head_scale
        return torch.cat([h[:, :1], h[:, :-1]], 1) if self.config.shifted else h

    def read_out(self) -> tuple[Float[Tensor, "K d"], Float[Tensor, " K"]]:
        """The rows that make logits of `hidden`, and biases, which are zero."""
        K = self.config.vocab_size
        weight = self.embed_tokens.weight[:K] if self.config.tied else self.lm_head.weight
        return weight, torch.zeros(K, device=weight.device)


class _Embedding(nn.Module):
    def __init__(self, rows: int, d: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, d).uniform_(-1 / math.sqrt(d), 1 / math.sqrt(d)))

    def forward(self, z: Tensor) -> Tensor:
        return F.embedding(z, self.weight).float()


class _RMSNorm(nn.Module):
    """u/sqrt(mean u^2 + eps), times weights that are stored as they are, or as what they exceed one by."""

    def __init__(self, d: int, config: LlamaConfig):
        super().__init__()
        self.eps, self.offset = config.norm_eps, float(config.centered_norms)
        self.weight = nn.Parameter(torch.full((d,), 1 - self.offset))

    def forward(self, u: Tensor) -> Tensor:
        return F.rms_norm(u.float(), u.shape[-1:], eps=self.eps) * (self.offset + self.weight.float())


class _Scaled(Linear):
    """`scale` W u + b; weights start so that the whole is what it would be without."""

    def __init__(self, inputs: int, outputs: int, config: LlamaConfig, *, bias: bool = False):
        super().__init__(inputs, outputs, bias=bias)
        self.scale = inputs**-0.5 if config.weight_scale == "fan_in" else config.weight_scale
        with torch.no_grad():
            self.weight /= self.scale

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input * self.scale)


class _Attention(nn.Module):
    def __init__(self, config: LlamaConfig):
        super().__init__()
        d, queries, keys = config.hidden_dim, config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.head_dim, self.soft_cap, self.sink = config.head_dim, config.soft_cap, config.sink
        self.q_proj = _Scaled(d, queries, config, bias=config.qkv_bias)
        self.k_proj = _Scaled(d, keys, config, bias=config.qkv_bias)
        self.v_proj = _Scaled(d, keys, config, bias=config.qkv_bias)
        self.o_proj = _Scaled(queries, d, config)
        self.q_norm = _RMSNorm(queries, config) if config.qk_norm else nn.Identity()
        self.k_norm = _RMSNorm(keys, config) if config.qk_norm else nn.Identity()
        if config.sink == "learned":
            self.sink_key, self.sink_value = (
                nn.Parameter(0.02 * torch.randn(config.kv_heads, config.head_dim)) for _ in range(2)
            )

    def forward(self, u: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = self.q_norm(self.q_proj(u)), self.k_norm(self.k_proj(u)), self.v_proj(u)
        q, k, v = (x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for x in (q, k, v))
        q, k = _rotate(q, rotation), _rotate(k, rotation)
        if self.sink != "none":
            k, v = self._with_sink(k, "sink_key"), self._with_sink(v, "sink_value")
        mixed = self._mixed(q, k, v)
        return self.o_proj(mixed.transpose(1, 2).flatten(-2))

    def _with_sink(self, x: Tensor, name: str) -> Tensor:
        """(B, heads, 1 + L, head_dim)."""
        if self.sink == "zero":
            return F.pad(x, (0, 0, 1, 0))
        first = getattr(self, name).to(x.dtype)[:, None].expand(len(x), -1, -1, -1)
        return torch.cat([first, x], 2)

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.soft_cap is None:
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        group = q.shape[1] // k.shape[1]
        k, v = (x.repeat_interleave(group, 1) for x in (k, v))
        scores = q @ k.mT / math.sqrt(self.head_dim)
        return (self.soft_cap * torch.tanh(scores / self.soft_cap)).softmax(-1) @ v


class _MLP(nn.Module):
    def __init__(self, config: LlamaConfig):
        super().__init__()
        d, hidden, bias = config.hidden_dim, config.mlp_dim, config.mlp_bias
        self.gated = config.mlp == "swiglu"
        if self.gated:
            self.gate_proj = _Scaled(d, hidden, config, bias=bias)
        self.up_proj = _Scaled(d, hidden, config, bias=bias)
        self.down_proj = _Scaled(hidden, d, config, bias=bias)

    def forward(self, u: Tensor) -> Tensor:
        up = self.up_proj(u)
        return self.down_proj(F.silu(self.gate_proj(u)) * up if self.gated else up.relu().square())


class _Layer(nn.Module):
    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.residual_scale = config.residual_scale
        self.input_layernorm = _RMSNorm(config.hidden_dim, config)
        self.self_attn = _Attention(config)
        self.post_attention_layernorm = _RMSNorm(config.hidden_dim, config)
        self.mlp = _MLP(config)

    def forward(self, h: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        h = h + self.residual_scale * self.self_attn(self.input_layernorm(h), rotation)
        return h + self.residual_scale * self.mlp(self.post_attention_layernorm(h))


def _rotation(length: int, config: LlamaConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin, each (L, head_dim)."""
    exponents = torch.arange(0, config.head_dim, 2, device=device).float() / config.head_dim
    frequencies = 1 / config.rope_base**exponents
    angles = torch.arange(length, device=device)[:, None] * frequencies
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotation
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin
