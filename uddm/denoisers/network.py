"""What every network has in common: its registry, its place on disk, and predictions from logits."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from uddm import checkpoints
from uddm._validation import check_choice, check_kind, check_tokens
from uddm.checkpoints import check_tensors
from uddm.choices import WEIGHT_TYPES, WeightType
from uddm.config import NetworkConfig
from uddm.curriculum import SoftTokens
from uddm.denoisers.base import Denoiser
from uddm.denoisers.layers import ReadOut, widened
from uddm.files import UnreadableFile
from uddm.prediction import DensePrediction, HeadPrediction, Prediction
from uddm.process import Process
from uddm.process.base import PerSequence, _column

NETWORKS: dict[str, type[Network]] = {}
"""Every class of networks under its name, by which a stored model finds it; a subclass enters by being defined."""


class Network(nn.Module, Denoiser):
    """A trainable denoiser.

    `forward(z, sigma)` gives the logits (B, L, K) for noisy ids z (B, L), of which there are `process.state_size`, at
    noise levels sigma = -log alpha_t (B,); those of the cavity distribution x_theta, unless the configuration says
    otherwise. Where the noise leaves no doubt of a token, as masked noise does, they mean nothing. A network that ends
    with a shared linear read-out defines `hidden(z, sigma)`, what `output_layer.linear` reads, instead: its logits need
    then never exist for a whole batch.

    To implement: a class of configurations `Config`, and `forward` or `hidden`; being defined, the class enters the
    registry, by which its folders are read. `reads_relaxed` if `hidden` takes `SoftTokens`, `hollow` if no position
    sees its own token.

    Parameters
    ----------
    config : the shape of the network, of its class `Config`

    Examples
    --------
    Logits that know nothing but the frequencies of tokens:

    >>> import torch
    >>> from torch import nn
    >>> from uddm.config import NetworkConfig
    >>> from uddm.denoisers import Network
    >>> class UnigramNetwork(Network):
    ...     Config, hollow = NetworkConfig, True
    ...     def __init__(self, config):
    ...         super().__init__(config)
    ...         self.logits = nn.Parameter(torch.zeros(config.vocab_size))
    ...     def forward(self, z, sigma):
    ...         return self.logits.expand(*z.shape, -1)
    >>> UnigramNetwork(NetworkConfig(4, length=3)).cavity(torch.tensor([[0, 1, 2]]), 0.5).exp()[0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    Config: ClassVar[type[NetworkConfig]]
    """The class of its configuration; the network itself is made from one."""
    output_layer: ReadOut
    reads_relaxed: ClassVar[bool] = False
    """Whether `hidden` takes `SoftTokens` too, as a curriculum needs."""
    made_of_weights: ClassVar[bool] = False
    """Whether all its tensors are parameters and buffers of its state_dict, none shared, and `forward` copes with
    those of half precision: a stored network is then made of what the file holds, without memory of its own."""
    origin: dict[str, Any] | None = None
    """Where an imported network's weights come from: source, revision, sha256, which weights, algorithm, and whether it
    is a distilled student; None for others."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        NETWORKS[cls.__name__] = cls

    def __init__(self, config: NetworkConfig):
        check_kind("config", config, NetworkConfig)
        super().__init__()
        self.config = config.resolved()
        self.process = config.process()
        self.length = config.length

    def hidden(self, z: Any, sigma: Float[Tensor, " B"]) -> Float[Tensor, "B L d"] | None:
        """What the read-out sees of tokens z (B, L) at noise levels sigma (B,): (B, L, d); None for a network without
        one."""
        return None

    def forward(self, z: Integer[Tensor, "B L"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B L K"]:
        """Logits (B, L, K) for tokens z (B, L) at noise levels sigma = -log alpha_t, shape (B,)."""
        h = self.hidden(z, sigma)
        if h is None:
            raise NotImplementedError(f"{type(self).__name__} defines neither `hidden` nor `forward`")
        return nn.functional.linear(h, *(value.to(h.dtype) for value in self.read_out()))

    def told(self, process: Process, z: Integer[Tensor, "B L"], t: PerSequence) -> Float[Tensor, " B"]:
        """What `forward` reads of times t, () or (B,), of z (B, L): noise levels sigma (B,) under `process`."""
        return noise_levels(process, z, t)

    def read_out(self) -> tuple[Float[Tensor, "K d"], Float[Tensor, " K"]]:
        """The weights (K, d) and biases (K,) that make logits of `hidden`; those of `output_layer.linear`."""
        return self.output_layer.linear.weight, self.output_layer.linear.bias

    def predict(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Prediction:
        """The cavity for tokens z (B, L) at times t, () or (B,) in (0, 1]."""
        z = check_tokens("z", z, self.process.state_size)
        return self.predict_at(z, z, self.process, t)

    def predict_at(
        self, inputs: Integer[Tensor, "B L"] | SoftTokens, z: Integer[Tensor, "B L"], process: Process, t: PerSequence
    ) -> Prediction:
        """x_theta when the network reads `inputs`, the noisy tokens z (B, L) themselves or their relaxation.

        Parameters
        ----------
        inputs : what the network reads
        z : the noisy tokens, (B, L) ids
        process : the forward process, that of the network or a curriculum's
        t : times, () or (B,) in (0, 1]
        """
        sigma = self.told(process, z, t)
        own_logit = None
        if self.config.predicts == "posterior":
            own = _column(process.own_logit(t), z).float().expand(z.shape)
            own_logit = own.masked_fill(~process.is_token(z), 0.0)
        token = z.clamp_max(process.vocab_size - 1)
        h = self.hidden(inputs, sigma)
        if h is not None:
            weight, bias = self.read_out()
            return HeadPrediction(h, weight, self._tokens_only(bias), token, own_logit)
        logits = self._tokens_only(widened(self(inputs, sigma)))
        if own_logit is not None:
            logits = logits.scatter_add(-1, token[..., None], -own_logit[..., None].to(logits.dtype))
        return DensePrediction(logits.log_softmax(-1))

    def _tokens_only(self, logits: Float[Tensor, "*shape K"]) -> Float[Tensor, "*shape K"]:
        """Logits, or the biases of a read-out, in which a mask that is one of the K ids has no chance."""
        if self.config.mask is None:
            return logits
        chance = torch.zeros_like(logits, dtype=torch.float32)
        chance[..., self.config.mask] = -1e30  # finite: 0 log 0 is no number
        return logits + chance

    def cavity(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Float[Tensor, "B L K"]:
        """log x_theta, (B, L, K), for tokens z (B, L) at times t, () or (B,) in (0, 1]."""
        return self.predict(z, t).log_probs()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def save_pretrained(self, folder: str | Path, tokenizer: Any = None) -> None:
        """Write `config.json`, `model.safetensors`, a model card and, if given, `tokenizer.json` into `folder`."""
        checkpoints.save(
            folder,
            type(self).__name__,
            self.config.to_dict(),
            self.state_dict(),
            parameters=sum(p.numel() for p in self.parameters()),
            tokenizer=tokenizer,
        )

    @classmethod
    def from_pretrained(
        cls, path_or_repo: str | Path, revision: str | None = None, *, dtype: WeightType = "float32"
    ) -> Self:
        """Read a folder written by `save_pretrained`, or a hub repository of that layout, in evaluation mode.

        `Network.from_pretrained` reads any network, a class of its own only its own. No pickle is read.

        Parameters
        ----------
        path_or_repo : a folder, or "owner/name" on the hub
        revision : of the hub repository; its main branch by default
        dtype : what the weights are kept in. "float32", the default, is what can be trained. With "stored", float16
            and bfloat16 stay what they are, in half the memory: a `DiT` computes in float32 all the same, layer by
            layer, and so gives the same numbers, bit for bit; for speed on a GPU put `torch.autocast` around it. Other
            networks are float32 either way

        Raises
        ------
        FileNotFoundError : no such folder or file.
        ValueError : the folder does not hold a readable model of this class; the message names the file or the key.
        """
        check_choice("dtype", dtype, WEIGHT_TYPES)
        stored = checkpoints.load(path_or_repo, revision)
        path, network = stored.folder / "config.json", NETWORKS.get(stored.name)
        if network is None:
            raise UnreadableFile(
                f"{path} does not describe one of {', '.join(NETWORKS)} in format {checkpoints.FORMAT}"
            )
        if not issubclass(network, cls):
            raise ValueError(f"{path_or_repo} holds a {network.__name__}, not a {cls.__name__}")
        try:
            _check_layers(stored.config, len(stored.tensors))
            config = network.Config(**stored.config)
            with torch.device("meta"):  # so that no configuration takes more memory than its weights
                shapes = network(config).state_dict()
        except (TypeError, ValueError, RuntimeError, MemoryError, OverflowError) as error:
            raise UnreadableFile(f"{path}: {error}") from error
        check_tensors(stored.tensors, shapes, stored.path)
        model = network.empty(config)
        model.load_state_dict(stored.weights(dtype), assign=network.made_of_weights)
        model.origin = stored.origin
        return model.eval()

    @classmethod
    def empty(cls, config: NetworkConfig) -> Self:
        """A network of this shape for weights to come; where it can be, without memory (`made_of_weights`)."""
        with torch.device("meta") if cls.made_of_weights else nullcontext():
            return cls(config)


def _check_layers(config: dict[str, Any], tensors: int) -> None:
    """ValueError if there are more layers than tensors: making them would take time and memory."""
    for name in ("blocks", "layers", "depth"):
        if isinstance(config.get(name), int) and config[name] > tensors:
            raise ValueError(f"{name} = {config[name]:,} in a file of {tensors:,} tensors")


def noise_levels(process: Process, z: Integer[Tensor, "B L"], t: PerSequence) -> Float[Tensor, " B"]:
    """sigma = -log alpha_t for each of the sequences z (B, L) at times t, () or (B,): what a network reads, (B,)."""
    return for_each(process.sigma(t), z)


def for_each(value: Float[Tensor, " ..."], z: Integer[Tensor, "B L"]) -> Float[Tensor, " B"]:
    """A number () or (B,) as one for each of the sequences z (B, L), on their device, (B,) float32."""
    return _column(value, z).float().expand(len(z), 1).squeeze(1)


def network_of(config: NetworkConfig) -> type[Network]:
    """The class in the registry whose configurations are of the class of `config`; TypeError if there is none."""
    for network in NETWORKS.values():
        if getattr(network, "Config", None) is type(config):
            return network
    raise TypeError(f"`config` must be that of a network, got {type(config).__name__}")
