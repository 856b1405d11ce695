"""What every network has in common: its configuration, its place on disk, and how the noise level enters."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uddm import checkpoints
from uddm._validation import check_choice, check_positive_int, check_tokens
from uddm.checkpoints import check_tensors
from uddm.curriculum import SoftTokens
from uddm.denoisers.base import Denoiser
from uddm.files import UnreadableFile
from uddm.prediction import DensePrediction, HeadPrediction, Prediction
from uddm.process import UniformProcess, _column


@dataclass(frozen=True)
class NetworkConfig:
    """What every network's configuration holds.

    Parameters
    ----------
    vocab_size : K
    length : L, the sequence length it is trained on
    schedule : noise schedule of the process: "log-linear", "linear", "cosine" or "gaussian"
    predicts : what the logits are those of. "cavity": x_theta itself, as in the published models. "posterior": the
        distribution given all tokens, from which x_theta follows by taking the token's own evidence b(t) away.
    """

    vocab_size: int
    length: int = 128
    schedule: str = "log-linear"
    predicts: Literal["cavity", "posterior"] = "cavity"

    def __post_init__(self) -> None:
        check_positive_int("vocab_size", self.vocab_size, at_least=2)
        check_positive_int("length", self.length)
        check_choice("predicts", self.predicts, ("cavity", "posterior"))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ResidualConfig(NetworkConfig):
    """Shape of a network of residual blocks conditioned on the noise level: as `NetworkConfig`, and

    Parameters
    ----------
    hidden_dim : width d
    blocks : number of residual blocks
    cond_dim : width of the conditioning vector
    dropout : on the residual branches, in [0, 1)
    """

    hidden_dim: int = 256
    blocks: int = 8
    cond_dim: int = 128
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hidden_dim", "blocks", "cond_dim"):
            check_positive_int(name, getattr(self, name))
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must lie in [0, 1), got {self.dropout}")


NETWORKS: dict[str, type[Network]] = {}
"""Every class of networks under its name, by which a stored model finds it; a subclass enters by being defined."""


class Network(nn.Module, Denoiser):
    """A trainable denoiser.

    `forward(z, sigma)` gives the logits (B, L, K) for tokens z (B, L) at noise levels sigma = -log alpha_t (B,); those
    of the cavity distribution x_theta, unless the configuration says otherwise. A network that ends with a shared
    linear read-out defines `hidden(z, sigma)`, what `output_layer.linear` reads, instead: its logits need then never
    exist for a whole batch.
    """

    Config: ClassVar[type[NetworkConfig]]
    """The class of its configuration; the network itself is made from one."""
    output_layer: ReadOut
    reads_relaxed: ClassVar[bool] = False
    """Whether `hidden` takes `SoftTokens` too, as a curriculum needs."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        NETWORKS[cls.__name__] = cls

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.process = UniformProcess(config.vocab_size, config.schedule)
        self.length = config.length

    def hidden(self, z: Any, sigma: Tensor) -> Tensor | None:
        """What the read-out sees, (B, L, d); None for a network without one."""
        return None

    def forward(self, z: Tensor, sigma: Tensor) -> Tensor:
        """Logits (B, L, K) for tokens z (B, L) at noise levels sigma = -log alpha_t, shape (B,)."""
        h = self.hidden(z, sigma)
        if h is None:
            raise NotImplementedError(f"{type(self).__name__} defines neither `hidden` nor `forward`")
        return self.output_layer.linear(h)

    def predict(self, z: Tensor, t: float | Tensor) -> Prediction:
        z = check_tokens("z", z, self.config.vocab_size)
        return self.predict_at(z, z, self.process, t)

    def predict_at(
        self, inputs: Tensor | SoftTokens, z: Tensor, process: UniformProcess, t: float | Tensor
    ) -> Prediction:
        """x_theta when the network reads `inputs`, the noisy tokens z (B, L) themselves or their relaxation."""
        sigma = _column(process.sigma(t), z).float().expand(len(z), 1).squeeze(1)
        evidence = None
        if self.config.predicts == "posterior":
            evidence = _column(process.evidence(t), z).float().expand(z.shape)
        h = self.hidden(inputs, sigma)
        if h is not None:
            linear = self.output_layer.linear
            return HeadPrediction(h, linear.weight, linear.bias, z, evidence)
        logits: Tensor = self(inputs, sigma).float()
        if evidence is not None:
            logits = logits.scatter_add(-1, z[..., None], -evidence[..., None])
        return DensePrediction(logits.log_softmax(-1))

    def cavity(self, z: Tensor, t: float | Tensor) -> Tensor:
        return self.predict(z, t).log_probs()

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def save_pretrained(self, folder: str | Path, tokenizer: Any = None) -> None:
        """Write `config.json`, `model.safetensors`, a model card and, if given, `tokenizer.json`."""
        checkpoints.save(
            folder,
            type(self).__name__,
            self.config.to_dict(),
            self.state_dict(),
            parameters=sum(p.numel() for p in self.parameters()),
            tokenizer=tokenizer,
        )

    @classmethod
    def from_pretrained(cls, path_or_repo: str | Path, revision: str | None = None) -> Self:
        """Read a folder written by `save_pretrained`, or a hub repository of that layout, in evaluation mode.

        `Network.from_pretrained` reads any network, a class of its own only its own. No pickle is read.

        Raises
        ------
        FileNotFoundError : no such folder or file.
        ValueError : the folder does not hold a readable model of this class; the message names the file or the key.
        """
        stored = checkpoints.load(path_or_repo, revision)
        path, network = stored.folder / "config.json", NETWORKS.get(stored.name)
        if network is None:
            raise UnreadableFile(
                f"{path} does not describe one of {', '.join(NETWORKS)} in format {checkpoints.FORMAT}"
            )
        if not issubclass(network, cls):
            raise ValueError(f"{path_or_repo} holds a {network.__name__}, not a {cls.__name__}")
        try:
            model = network(network.Config(**stored.config))
        except (TypeError, ValueError) as error:
            raise UnreadableFile(f"{path}: {error}") from error
        check_tensors(stored.weights, model.state_dict(), stored.folder / "model.safetensors")
        model.load_state_dict(stored.weights)
        return model.eval()


class NoiseLevel(nn.Module):
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


class Norm(nn.Module):
    """LayerNorm without bias, computed in float32."""

    def __init__(self, d: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, h: Tensor) -> Tensor:
        return F.layer_norm(h.float(), (h.shape[-1],), self.weight)


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
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
