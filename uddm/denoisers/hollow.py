"""A network that cannot see the token it predicts: the cavity by construction, for small budgets.

Each position reads the embeddings of all other tokens in its window, each through weights of its own offset (a
two-sided neural n-gram, Bengio et al. 2003; "hollow" as in Sun et al. 2023), and refines the sum in residual blocks
that do not mix positions. As x_theta at a position does not depend on the position's own z, the NELBO can be averaged
over that z in closed form (`uddm.objective.expected_nelbo`): the same objective with far less variance, so that a few
thousand training steps teach what a transformer needs many more for.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from uddm.config import HollowMLPConfig as HollowMLPConfig
from uddm.denoisers.layers import NoiseLevel, ReadOut, ResidualBlock
from uddm.denoisers.network import Network


class HollowMLP(Network):
    """Two-sided neural n-gram: logits of x_theta at each position from all other tokens of its window.

    Parameters
    ----------
    config : its shape

    Examples
    --------
    >>> import torch
    >>> from uddm import HollowMLP, HollowMLPConfig
    >>> model = HollowMLP(HollowMLPConfig(4, length=3, hidden_dim=8, blocks=1, cond_dim=4))
    >>> one, other = (model.hidden(torch.tensor([[0, own, 2]]), torch.ones(1)) for own in (1, 3))
    >>> torch.equal(one[:, 1], other[:, 1]), torch.equal(one[:, 0], other[:, 0])
    (True, False)
    """

    Config: ClassVar = HollowMLPConfig
    config: HollowMLPConfig
    hollow = True

    own_token_hidden: Float[Tensor, " span"]

    def __init__(self, config: HollowMLPConfig):
        super().__init__(config)
        self.window = self.config.window or 1
        span, d = 2 * self.window + 1, config.hidden_dim
        # one more row for positions beyond the ends
        self.embedding = nn.Parameter(0.3 * torch.randn(self.process.state_size + 1, config.embed_dim))
        bound = (2 * self.window * config.embed_dim) ** -0.5
        self.offsets = nn.Parameter(torch.empty(d, config.embed_dim, span).uniform_(-bound, bound))
        own = torch.ones(span)
        own[self.window] = 0
        self.register_buffer("own_token_hidden", own, persistent=False)
        self.sigma_map = NoiseLevel(config.cond_dim)
        self.sigma_in = nn.Linear(config.cond_dim, d)
        self.blocks = nn.ModuleList(ResidualBlock(config, config.expansion, gated=True) for _ in range(config.blocks))
        self.output_layer = ReadOut(d, config.vocab_size, config.cond_dim)

    def hidden(self, z: Integer[Tensor, "B L"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B L d"]:
        """What the read-out sees of tokens z (B, L) at noise levels sigma (B,): (B, L, d)."""
        condition = F.silu(self.sigma_map(sigma))
        padded = F.pad(z, (self.window, self.window), value=self.process.state_size)
        windows = self.embedding[padded].unfold(1, len(self.own_token_hidden), 1)
        context = windows.mT.flatten(2)  # each row one piece of memory, as an embedding follows that of its neighbour
        weights = (self.offsets * self.own_token_hidden).mT.flatten(1)
        h = F.linear(context, weights) + self.sigma_in(condition)[:, None]
        for block in self.blocks:
            h = block(h, condition)
        return self.output_layer.modulate(h, condition)
