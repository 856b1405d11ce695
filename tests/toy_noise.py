"""Another noise: what it takes to add one."""

import math

import torch
import torch.nn.functional as F

from uddm.process import Process


class Mixed(Process):
    """A fresh draw is a token with probability `share`, a number or a function of time, else the mask, by default the
    id K. The terms of the bound are sums over all states, as the theory has them."""

    def __init__(self, vocab_size, schedule="linear", *, share, mask=None):
        super().__init__(vocab_size, schedule, mask=vocab_size if mask is None else mask)
        self.share = share

    def token_share(self, t, s):
        if not callable(self.share):
            return torch.full_like(t, self.share)
        n_t, n_s = self.one_minus_alpha(t), self.one_minus_alpha(s)
        between = (n_t * self.share(t) * (1 - n_s) - (1 - n_t) * n_s * self.share(s)) / (n_t - n_s)
        return torch.where((s > 0) & (s < t), between, self.share(t))

    def diffusion(self, prediction, x, z, t):
        return self._at_all_z(prediction, x, t)[1].gather(-1, z[..., None])[..., 0]

    def expected_diffusion(self, prediction, x, t):
        law, terms = self._at_all_z(prediction, x, t)
        return (law * terms).sum(-1)

    def jump(self, prediction, x, z, t):
        log_p = self.clean_posterior(prediction.log_probs(), z, t)
        at_x, at_z = (F.pad(log_p, (0, 1)).gather(-1, i[..., None])[..., 0] for i in (x, z))
        moved = -at_x - torch.where(z == self.mask, 0.0, at_z.exp())
        return (self.rate(t) / self.one_minus_alpha(t)).reshape(-1, 1) * torch.where(z == x, -at_z.expm1(), moved)

    def reconstruction(self, prediction, x, z, t):
        return -self.clean_posterior(prediction.log_probs(), z, t).gather(-1, x[..., None])[..., 0]

    def prior_divergence(self):
        left, fresh = self.alpha(1.0).item(), self._mass(torch.ones(1))[0, 0, (self.mask + 1) % self.state_size].item()
        own = left + fresh
        infinite = left and not fresh
        return (
            math.inf
            if infinite
            else own * math.log(own / fresh * (1 - left)) + (1 - own) * math.log1p(-left)
            if left
            else 0.0
        )

    def _mass(self, t):
        """(1 - alpha_t) pi_t of all states, (B, 1, states)."""
        t = torch.as_tensor(t, dtype=torch.float64).reshape(-1, 1, 1)
        return self.fresh_mass(self.one_minus_alpha(t), torch.arange(self.state_size), t)

    def _at_all_z(self, prediction, x, t):
        """q_t(z | x), and the diffusion term for every z: (B, L, states)."""
        noise, rate = (value.reshape(-1, 1, 1) for value in (self.one_minus_alpha(t), self.rate(t)))
        mass, arriving = (
            self._mass(t),
            (self._mass(t) - self._mass(t - 1e-6)) / 1e-6 + rate / (1 - noise) * self._mass(t),
        )
        of_tokens = (F.one_hot(x, self.vocab_size).double(), prediction.log_probs().double().exp())
        Q, P = ((1 - noise) * F.pad(p, (0, self.state_size - self.vocab_size)) + mass for p in of_tokens)
        log_ratio = torch.where(Q > 0, Q / P, 1.0).log()
        bracket = (Q * log_ratio).sum(-1, keepdim=True) + torch.expm1(log_ratio) - log_ratio
        return Q, torch.where(Q > 0, arriving / Q * bracket, 0.0)
