"""A network in another precision: in half, as published measurements were made, or in float64, to see what it does."""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from uddm._validation import check_choice, check_kind, check_tokens
from uddm.checkpoints import HALF
from uddm.choices import PRECISIONS, Precision
from uddm.denoisers.base import Denoiser, inference
from uddm.denoisers.network import Network
from uddm.process.base import PerSequence


class HalfPrecision(Denoiser):
    """A network whose x_theta is a number of half precision: blocks and read-out under autocast, and their softmax.

    In float16 the measurements of arXiv 2604.26841 were made. Probabilities below 3e-8 are zero there, which decides
    where "posterior_mode" moves a token, and makes the evidence bound of surprising tokens infinite: to compare with
    those numbers, not to get better ones. On a CPU it is several times slower than float32.

    Parameters
    ----------
    network : whose weights are used, and stay as they are; its logits are those of the cavity
    dtype : torch.float16, the default, or torch.bfloat16, which has 8 bits for a probability, however small

    Raises
    ------
    ValueError : a network of posterior logits, or another dtype

    Examples
    --------
    >>> import torch
    >>> from uddm import DiT, DiTConfig
    >>> from uddm.denoisers import HalfPrecision
    >>> model = HalfPrecision(DiT(DiTConfig(3, length=4, hidden_dim=8, blocks=1, heads=2, cond_dim=4)))
    >>> model.cavity(torch.tensor([[0, 1, 2, 0]]), 0.5)[0, 0].exp().tolist()  # 1/3 to 11 bits
    [0.33325195..., 0.33325195..., 0.33325195...]
    """

    def __init__(self, network: Network, dtype: torch.dtype = torch.float16):
        check_kind("network", network, Network)
        if not isinstance(dtype, torch.dtype) or dtype not in HALF:
            raise ValueError(f"`dtype` must be torch.float16 or torch.bfloat16, got {dtype}")
        if network.config.predicts != "cavity":
            raise ValueError(f"`network` must predict the cavity, got one that predicts the {network.config.predicts}")
        self.network, self.process, self.dtype = network, network.process, dtype
        self.length, self.any_length, self.hollow = network.length, network.any_length, network.hollow

    @property
    def origin(self) -> dict[str, Any] | None:
        """Where the weights come from, as of the network."""
        return self.network.origin

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.device

    def cavity(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Float[Tensor, "B L K"]:
        """log x_theta, (B, L, K) float32 down to -inf, for tokens z (B, L) at times t, () or (B,) in (0, 1]."""
        z = check_tokens("z", z, self.process.state_size)
        with inference(self.network), torch.autocast(self.device.type, self.dtype):
            logits = self.network(z, self.network.told(self.process, z, t))
        return self.network._tokens_only(logits).to(self.dtype).log_softmax(-1).exp().float().log()


def in_precision(network: Network, precision: Precision) -> Denoiser:
    """The network as it is when computed, weights and all, in "fp16", "bf16", "fp32" or "fp64".

    Half precisions are those of `HalfPrecision`; the others a copy, whose weights are those of the network widened to
    float32 or float64.

    Parameters
    ----------
    network : stays as it is
    precision : one of these words

    Raises
    ------
    ValueError : another word, or half precision of a network of posterior logits
    """
    check_choice("precision", precision, PRECISIONS)
    if precision in ("fp16", "bf16"):
        return HalfPrecision(network, torch.float16 if precision == "fp16" else torch.bfloat16)
    return copy.deepcopy(network).to(torch.float32 if precision == "fp32" else torch.float64).eval()
