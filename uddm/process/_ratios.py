"""What the bounds need of a prediction where some fresh draws are tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from uddm.prediction import Prediction, SummedPrediction


class Ratios(NamedTuple):
    """Ratios of q_t(. | x) and q_t(. | x_theta) on the tokens, in units of what fresh draws give each of them.

    With u_j = 1 + c x_theta[j], v_j = 1 + c on the clean token and 1 elsewhere, these laws are v and u in the units
    w = (1 - alpha) pi_t(j), and c = alpha/w. With d_j = log(v_j/u_j), KL = w sum_j v_j [exp(-d_j) - 1 + d_j]. No
    summand can be negative, and all vanish without cancellation at x_theta = x. At a mask both laws agree.
    """

    c: Tensor  # (B, 1), and (B, L) from here on
    same: Tensor  # z = x
    log_p_z: Tensor
    log_p_x: Tensor
    excess: Tensor  # sum of exp(-d) - 1 + d over j != x
    reverse_excess: Tensor  # sum of exp(d) - 1 - d over j != x; 0 unless asked for

    @classmethod
    def of(cls, prediction: Prediction, x: Tensor, z: Tensor, c: Tensor, *, reverse: bool = False) -> Ratios:
        """Of clean and noisy tokens (B, L), none of them a mask."""
        if isinstance(prediction, SummedPrediction):
            sums = prediction.sums(z, x, c, reverse=reverse)
            log_p_z, log_p_x = (value.double() - sums.log_Z.double() for value in (sums.at_z, sums.at_x))
            return cls(c, z == x, log_p_z, log_p_x, sums.excess.double(), sums.reverse_excess.double())
        log_p = prediction.log_probs()
        log_p = log_p.to(torch.promote_types(log_p.dtype, torch.float32))
        c = c.to(log_p.dtype)
        scaled = (c[..., None] * log_p.exp()).scatter(-1, x[..., None], 0.0)
        log_u = torch.log1p(scaled)
        back = excess(-log_u).sum(-1) if reverse else torch.zeros_like(c)
        return cls(c, z == x, _at(log_p, z), _at(log_p, x), (scaled - log_u).sum(-1), back)

    @property
    def visible(self) -> Tensor:
        """v_z."""
        return torch.where(self.same, 1 + self.c, torch.ones_like(self.c))

    @property
    def log_u_z(self) -> Tensor:
        return torch.log1p(self.c * self.log_p_z.exp())

    @property
    def d_x(self) -> Tensor:
        return torch.log1p(self.c) - torch.log1p(self.c * self.log_p_x.exp())

    @property
    def log_ratio(self) -> Tensor:
        """log rho = log( q_t(z | x) / q_t(z | x_theta) )."""
        return torch.where(self.same, self.d_x, -self.log_u_z)

    def divergence(self) -> Tensor:
        """KL( q_t(. | x) || q_t(. | x_theta) ) / w."""
        return self.excess + (1 + self.c) * excess(-self.d_x)

    def mean_excess(self) -> Tensor:
        """sum_z rho - 1 - log rho over all tokens z."""
        return self.reverse_excess + excess(self.d_x)

    def reconstruction(self) -> Tensor:
        """-log p(x | z), p the posterior."""
        return -self.log_p_x - self.log_ratio

    def jump(self) -> Tensor:
        """1[z = x] - p(z | z_t) - 1[z != x] log p(x | z_t), p the posterior."""
        stay = (1 + self.c) * (self.log_p_z - self.log_u_z).exp()  # p(z | z_t)
        kept = -torch.expm1(self.log_p_x) * (-self.log_u_z).exp()  # 1 - p(z | z_t) at z = x
        moved = self.log_u_z - self.log_p_x - stay
        return torch.where(self.same, kept, moved)


def excess(d: Tensor) -> Tensor:
    """exp(d) - 1 - d >= 0."""
    return torch.expm1(d) - d


def _at(values: Tensor, tokens: Tensor) -> Tensor:
    """values[b, l, tokens[b, l]]: (B, L)."""
    return values.gather(-1, tokens[..., None]).squeeze(-1)
