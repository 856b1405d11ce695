"""Linear logits: the diffusion model whose two-state case is the pseudo-likelihood associative memory.

    g_l(k) = h_l[k] + sum_{m != l} A_lm[k, z_m],    x_theta(k) at l = softmax_k g_l

with biases h (L, K) and couplings A (L, K, L, K), the same at every noise level; where there is a mask, to it as to one
more token. A token does not couple to itself, so that g_l is a cavity field: a network that may copy its own token has
zero loss as t -> 0 whatever it has learned.

Two states (token 1 is spin +1, token 0 is spin -1): p(x_l = s) = exp(s f_l)/(2 cosh f_l), arXiv 2604.26841 eq. 9, with

    f_l = (g_+ - g_-)/2 = theta_l + sum_m W_lm z_m,    W_lm = (A_++ - A_+- - A_-+ + A_--)/4,

where A_+- = A_lm[+, -], and an inverse temperature is part of W: our W is the beta W of eq. 9.

Learning: at h = A = 0, and with all tokens equally frequent at each position, the gradient of the NELBO at time t is

    d nelbo / d A_lm[k, j] = 2 (d alpha/dt) alpha^2 ( P(x_l = k, x_m = j) - 1/K^2 ),

so that the first step of training is the Hebb rule on centred co-occurrences.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from numpy.typing import ArrayLike
from torch import Tensor, nn

from uddm._validation import check_array
from uddm.choices import ScheduleName
from uddm.config import LinearConfig as LinearConfig
from uddm.denoisers.network import Network


class Linear(Network):
    """Logits linear in the tokens: biases h and pair couplings A, which start at zero.

    x_theta determines h and A up to a gauge: a change of A_lm[k, j] that does not depend on k has no effect, and one
    that does not depend on j acts as a change of h_l[k]. `gauge_fixed` gives what is determined.

    Parameters
    ----------
    config : its shape

    Examples
    --------
    The two-state model of a memory's couplings has them as those of its field:

    >>> import numpy as np
    >>> from uddm.denoisers import Linear
    >>> W = np.array([[0.0, 0.5], [-0.25, 0.0]])
    >>> Linear.from_couplings(W).couplings().tolist()
    [[0.0, 0.5], [-0.25, 0.0]]
    """

    Config: ClassVar = LinearConfig
    config: LinearConfig
    allowed: Float[Tensor, "L 1 L 1"]

    def __init__(self, config: LinearConfig):
        super().__init__(config)
        L, K, states = config.length, config.vocab_size, self.process.state_size
        self.hollow = not config.self_coupling
        self.bias = nn.Parameter(torch.zeros(L, K))
        self.coupling = nn.Parameter(torch.zeros(L, K, L, states))
        pairs = torch.ones(L, L) - (torch.eye(L) if self.hollow else 0)
        self.register_buffer("allowed", pairs[:, None, :, None], persistent=False)

    @classmethod
    def from_couplings(
        cls, W: ArrayLike, bias: ArrayLike = 0.0, *, beta: float = 1.0, schedule: ScheduleName = "log-linear"
    ) -> Linear:
        """The two-state model of a memory with couplings W: f_l = beta ( sum_m W_lm s_m + bias_l ).

        Parameters
        ----------
        W : (L, L), W[l, m] acts from m on l; zero diagonal, not necessarily symmetric.
        bias : external fields, () or (L,), in units of W.
        beta : inverse temperature, > 0.
        schedule : noise schedule.

        Raises
        ------
        ValueError : W is not square, not finite or has a diagonal; `bias` has another shape or is not finite;
            beta is not positive.
        """
        W, bias = (check_array(name, value).astype(np.float64) for name, value in (("W", W), ("bias", bias)))
        if W.ndim != 2 or len(W) != W.shape[-1] or not len(W) or not np.isfinite(W).all():
            raise ValueError(f"`W` must be a square matrix of finite numbers, got shape {W.shape}")
        if np.diagonal(W).any():
            raise ValueError("`W` must have a zero diagonal")
        if bias.shape not in ((), (len(W),)) or not np.isfinite(bias).all():
            raise ValueError(f"`bias` must be finite, a number or of shape ({len(W)},), got shape {bias.shape}")
        if not 0 < beta < np.inf:
            raise ValueError(f"`beta` must be positive and finite, got {beta}")
        model = cls(LinearConfig(2, length=len(W), schedule=schedule))
        spin = np.array([-1.0, 1.0])
        with torch.no_grad():
            model.bias.copy_(torch.as_tensor(beta * np.multiply.outer(np.broadcast_to(bias, len(W)), spin)))
            model.coupling.copy_(torch.as_tensor(beta * np.einsum("lm,k,j->lkmj", W, spin, spin)))
        return model.eval()

    def forward(self, z: Integer[Tensor, "B L"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B L K"]:
        """Logits g (B, L, K) for tokens z (B, L); they do not depend on sigma."""
        L, K = self.bias.shape
        if z.shape[1] != L:
            raise ValueError(f"`z` must have length {L}, got {z.shape[1]}")
        states = F.one_hot(z, self.process.state_size).to(self.bias.dtype).flatten(1)
        coupling = (self.coupling * self.allowed).view(L * K, -1)
        with torch.autocast(z.device.type, enabled=False):  # there is nothing here but a read-out
            return F.linear(states, coupling, self.bias.flatten()).view(-1, L, K)

    @torch.no_grad()
    def gauge_fixed(self) -> tuple[Float[Tensor, "L K"], Float[Tensor, "L K L K"]]:
        """h (L, K) and A (L, K, L, states) of the same x_theta, in the gauge in which they sum to zero over tokens."""
        A = self.coupling * self.allowed
        over_tokens = A.mean(3, keepdim=True)
        A, h = A - over_tokens, self.bias + over_tokens.sum((2, 3))
        return h - h.mean(1, keepdim=True), A - A.mean(1, keepdim=True)

    def couplings(self) -> Float[Tensor, "L L"]:
        """W (L, L) of f = theta + W z, for two states; ValueError for more."""
        return self._spins()[1]

    def external_fields(self) -> Float[Tensor, " L"]:
        """theta (L,) of f = theta + W z, for two states; ValueError for more."""
        return self._spins()[0]

    def _spins(self) -> tuple[Tensor, Tensor]:
        if self.process.state_size != 2:
            mask = "" if self.process.mask is None else " and a mask"
            raise ValueError(f"spins need `vocab_size` 2, got {self.config.vocab_size}{mask}: use gauge_fixed()")
        h, A = self.gauge_fixed()
        return h[:, 1], A[:, 1, :, 1]
