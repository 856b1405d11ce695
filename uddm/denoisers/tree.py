"""A U-Net shaped like the tree of a grammar, whose two passes are those of belief propagation.

Sequences of length s^D are the leaves of a tree of depth D in which every node has s children. Upward, a node combines
what its children found; downward, a child hears its parent and, over the skip connections, its siblings:

    u_node = up( u_child 1, ..., u_child s ),    u_leaf = embedding of z
    w_child j = down_j( w_parent, {u_child k, k != j} ),    w_root learned

and x_theta at a leaf is read from its w. All positions of a level share their weights, no two levels do. As w never
meets what comes from below its node, x_theta at a leaf does not depend on the leaf's own z: a cavity by construction
(`uddm.objective.expected_nelbo`), and exact for strings of the Random Hierarchy Model (Cagnetta et al. 2024) if u and w
are the messages of belief propagation, likelihood of the symbol below the node and its probability given all else.
Networks of this shape, but with the own token, learn that grammar by diffusion in Favero et al. (2025).
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from uddm.config import TreeUNetConfig as TreeUNetConfig
from uddm.denoisers.layers import NoiseLevel, ReadOut, ResidualBlock
from uddm.denoisers.network import Network


class TreeUNet(Network):
    """U-Net on a tree of given branching and depth: logits of x_theta at the leaves.

    Parameters
    ----------
    config : its shape

    Examples
    --------
    >>> import torch
    >>> from uddm.denoisers import TreeUNet, TreeUNetConfig
    >>> model = TreeUNet(TreeUNetConfig(4, branching=2, depth=3, hidden_dim=8))
    >>> model.cavity(torch.zeros(1, 8, dtype=torch.long), 0.5).shape
    torch.Size([1, 8, 4])
    """

    Config: ClassVar = TreeUNetConfig
    config: TreeUNetConfig

    def __init__(self, config: TreeUNetConfig):
        super().__init__(config)
        self.hollow = config.hollow
        d = config.hidden_dim
        self.embedding = nn.Parameter(torch.randn(self.process.state_size, d))
        self.root = nn.Parameter(torch.randn(d))
        self.sigma_map = NoiseLevel(config.cond_dim)
        self.up = nn.ModuleList(_Up(config) for _ in range(config.depth - 1))
        self.down = nn.ModuleList(_Down(config) for _ in range(config.depth))
        self.output_layer = ReadOut(d, config.vocab_size, config.cond_dim)

    def hidden(self, z: Integer[Tensor, "B L"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B L d"]:
        """What the read-out sees of tokens z (B, L) at noise levels sigma (B,): (B, L, d)."""
        if z.shape[1] != self.length:
            raise ValueError(f"`z` must have length {self.length}, got {z.shape[1]}")
        condition = F.silu(self.sigma_map(sigma))
        levels = [self.embedding[z]]
        for up in self.up:
            levels.append(up(levels[-1], condition))
        w = self.root.expand(len(z), 1, -1)
        for down in self.down:
            w = down(w, levels.pop(), condition)
        return self.output_layer.modulate(w, condition)


class _Up(nn.Module):
    """States of children (B, s n, d) -> of their parents (B, n, d)."""

    def __init__(self, config: TreeUNetConfig):
        super().__init__()
        self.branching, d = config.branching, config.hidden_dim
        self.combine = nn.Linear(self.branching * d, d)
        self.blocks = nn.ModuleList(ResidualBlock(config, config.expansion, gated=False) for _ in range(config.blocks))

    def forward(self, children: Tensor, condition: Tensor) -> Tensor:
        u = self.combine(children.unflatten(1, (-1, self.branching)).flatten(2))
        for block in self.blocks:
            u = block(u, condition)
        return u


class _Down(nn.Module):
    """Downward states of parents (B, n, d) and upward ones of their children (B, s n, d) -> downward ones of these."""

    heard: Tensor

    def __init__(self, config: TreeUNetConfig):
        super().__init__()
        self.branching, d = config.branching, config.hidden_dim
        s = self.branching
        self.combine = nn.Linear((s + 1) * d, s * d)
        heard = torch.ones(s, s + 1)
        if config.hollow:
            heard[:, :s] -= torch.eye(s)
        self.register_buffer("heard", heard.repeat_interleave(d, 0).repeat_interleave(d, 1), persistent=False)
        self.blocks = nn.ModuleList(ResidualBlock(config, config.expansion, gated=False) for _ in range(config.blocks))

    def forward(self, parents: Tensor, children: Tensor, condition: Tensor) -> Tensor:
        family = torch.cat([children.unflatten(1, (-1, self.branching)).flatten(2), parents], -1)
        w = F.linear(family, self.combine.weight * self.heard, self.combine.bias)
        w = w.unflatten(2, (self.branching, -1)).flatten(1, 2)
        for block in self.blocks:
            w = block(w, condition)
        return w
