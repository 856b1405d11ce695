"""Every setting once: shapes of networks, training, whole runs and their presets, as plain data that loads no torch.

What is here is what the command line offers, with these words; what `uddm.train` and `Network.save_pretrained` record;
and what the figures are made from. The longest file for that reason: one place to look, whatever the setting.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from uddm._validation import (
    check_choice,
    check_curriculum,
    check_flag,
    check_iterable,
    check_kind,
    check_number,
    check_positive_int,
    check_seed,
    check_tree,
)
from uddm.choices import (
    HYBRIDS,
    LOSSES,
    NOISES,
    PREDICTS,
    SCHEDULES,
    HybridName,
    Loss,
    NoiseName,
    Packing,
    Predicts,
    ScheduleName,
)

if TYPE_CHECKING:
    import torch
    import tyro
    from jaxtyping import Integer

    from uddm.curriculum import SoftTokens
    from uddm.process import Process, UniformProcess
    from uddm.process.base import PerSequence
    from uddm.process.schedule import GaussianDual
else:
    with suppress(ImportError):  # its marks in annotations are for the command line, which cannot do without it
        import tyro


def _shown(metavar: str) -> object:
    """How the help of the command line writes a value that may be left out."""
    return tyro.conf.arg(metavar=metavar)


def _settle(config: Any, *names: str, at_least: int = 1) -> None:
    """Makes integers of any type plain ones."""
    for name in names:
        object.__setattr__(config, name, check_positive_int(name, getattr(config, name), at_least=at_least))


@dataclass(frozen=True)
class NetworkConfig:
    """What every network's configuration holds.

    Examples
    --------
    >>> from uddm.config import NetworkConfig
    >>> NetworkConfig(27, length=16).to_dict()
    {'vocab_size': 27, 'length': 16, 'schedule': 'log-linear', 'predicts': 'cavity'}
    >>> NetworkConfig(27, noise="masked", schedule="linear").process().state_size
    28
    """

    vocab_size: Annotated[int, tyro.conf.Suppress]
    """K >= 2; in a preset a placeholder, which the tokenizer's takes the place of."""
    length: int = 128
    """Tokens in a sequence, L."""
    schedule: ScheduleName = "log-linear"
    """Noise schedule of the process; with masks "linear", after which nothing is left, for the full bound to be finite.
    """
    predicts: Predicts = "cavity"
    """Whether the logits are those of the cavity x_theta, as published, or of the distribution given all tokens."""
    noise: NoiseName = "uniform"
    """Replaces tokens by others, by the mask, or by both."""
    law: HybridName = "gidd"
    """Of hybrid noise (`uddm.process.hybrid`)."""
    p_unif: float = 0.1
    """How much of hybrid noise is tokens, as its law says, in (0, 1)."""
    mask: Annotated[int | None, tyro.conf.Suppress] = None
    """Id of the mask, one of the K that no text holds; by default there is none under uniform noise, else K."""

    def __post_init__(self) -> None:
        _settle(self, "vocab_size", at_least=2)
        _settle(self, "length")
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("predicts", self.predicts, PREDICTS)
        check_choice("noise", self.noise, NOISES)
        check_choice("law", self.law, HYBRIDS)
        check_number("p_unif", self.p_unif, low=0, high=1)
        if self.mask is not None and check_positive_int("mask", self.mask, at_least=0) >= self.vocab_size:
            raise ValueError(f"`mask` must be one of the {self.vocab_size} ids, got {self.mask}")
        if self.noise == "masked" and self.predicts == "posterior":
            raise ValueError("`predicts` must be 'cavity' under masked noise, which leaves no doubt of a token's own z")

    @property
    def name(self) -> str:
        """The name of the network whose shape it is: "DiT" of a DiTConfig."""
        return type(self).__name__.removesuffix("Config")

    def resolved(self) -> Self:
        """The same with what follows from other settings written out, as a network has it."""
        return self

    def process(self) -> Process:
        """The noise. Uniform noise that spares a mask among the K ids is hybrid noise of tokens alone."""
        from uddm.process import HybridProcess, MaskedProcess, UniformProcess

        K, schedule = self.vocab_size, self.schedule
        if self.noise == "masked":
            return MaskedProcess(K, schedule, mask=self.mask)
        if self.noise == "hybrid":
            return HybridProcess(K, schedule, law=self.law, p_unif=self.p_unif, mask=self.mask)
        if self.mask is not None:
            return HybridProcess(K, schedule, law="xdlm", p_unif=1.0, mask=self.mask)
        return UniformProcess(K, schedule)

    def to_dict(self) -> dict[str, Any]:
        """What is stored, from which the class makes an equal configuration.

        What uniform noise has no use for is left out, as it was before there was another.
        """
        said = asdict(self.resolved())
        unused = {"uniform": ("noise", "law", "p_unif"), "masked": ("law", "p_unif"), "hybrid": ()}[self.noise]
        return {k: v for k, v in said.items() if k not in unused and not (k == "mask" and v is None)}


@dataclass(frozen=True)
class ResidualConfig(NetworkConfig):
    """Shape of a network of residual blocks conditioned on the noise level.

    Examples
    --------
    >>> from uddm.config import ResidualConfig
    >>> ResidualConfig(27, dropout=1.5)
    Traceback (most recent call last):
    ValueError: `dropout` must lie in [0, 1), got 1.5
    """

    hidden_dim: int = 256
    """Width d of the network."""
    blocks: int = 8
    """Number of residual blocks."""
    cond_dim: int = 128
    """Width of the vector that conditions on the noise level."""
    dropout: float = 0.1
    """On the residual branches, in [0, 1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _settle(self, "hidden_dim", "blocks", "cond_dim")
        check_number("dropout", self.dropout, low=0, high=1, closed="[")


@dataclass(frozen=True)
class DiTConfig(ResidualConfig):
    """Shape of the published transformer; the defaults are those of `tiny`.

    Examples
    --------
    >>> from uddm import DiTConfig
    >>> DiTConfig.small(30522, length=64).hidden_dim
    768
    """

    heads: int = 8
    """Attention heads; the width is a multiple of twice their number."""
    time_conditioning: bool | Literal["t"] = True
    """Whether the network is told the noise level sigma, or the time "t" itself, as GIDD is; if not, it is told 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _settle(self, "heads")
        if self.hidden_dim % (2 * self.heads):
            raise ValueError(f"`hidden_dim` must be a multiple of 2 * heads = {2 * self.heads}, got {self.hidden_dim}")
        told = self.time_conditioning
        if not isinstance(told, bool) and not (isinstance(told, str) and told == "t"):
            raise TypeError(f"`time_conditioning` must be True, False or 't', got {self.time_conditioning!r}")

    def to_dict(self) -> dict[str, Any]:
        said = super().to_dict()
        if self.time_conditioning is True:  # as every network has it that was stored before there was a choice
            del said["time_conditioning"]
        return said

    @classmethod
    def tiny(cls, vocab_size: int, **changes: Any) -> DiTConfig:
        """8 blocks, d = 256: 23.66M parameters at `vocab_size` 30522; `changes` to it by name."""
        return replace(cls(vocab_size), **changes)

    @classmethod
    def small(cls, vocab_size: int, **changes: Any) -> DiTConfig:
        """12 blocks, d = 768: 139.29M parameters at `vocab_size` 30522; `changes` to it by name."""
        return replace(cls(vocab_size, hidden_dim=768, blocks=12, heads=12), **changes)

    @classmethod
    def medium(cls, vocab_size: int, **changes: Any) -> DiTConfig:
        """24 blocks, d = 1024: 384.04M parameters at `vocab_size` 30522; `changes` to it by name."""
        return replace(cls(vocab_size, hidden_dim=1024, blocks=24, heads=16), **changes)


@dataclass(frozen=True)
class LlamaConfig(NetworkConfig):
    """Shape of a bidirectional transformer of Llama's kind, with what the published ones add.

    Examples
    --------
    >>> from uddm.denoisers import LlamaConfig
    >>> LlamaConfig(27, hidden_dim=64, heads=4).resolved().head_dim
    16
    """

    hidden_dim: int = 256
    """Width d of the network."""
    blocks: int = 8
    """Number of layers."""
    heads: int = 8
    """Attention heads."""
    kv_heads: int = 0
    """Heads of keys and values, each shared by as many others; 0 for as many as there are."""
    head_dim: int = 0
    """Width of a head, even; 0 for hidden_dim / heads."""
    mlp_dim: int = 0
    """Hidden units of an MLP; 0 for 4 hidden_dim."""
    mlp: Literal["swiglu", "relu2"] = "swiglu"
    """Gated, silu(gate) up, or not, relu(up)^2."""
    rope_base: float = 10_000.0
    """Base of the frequencies of rotary positions."""
    norm_eps: float = 1e-5
    """Added to the mean square in a norm."""
    centered_norms: bool = False
    """Whether weights of norms are stored as what they exceed one by."""
    qkv_bias: bool = False
    """Biases of queries, keys and values."""
    mlp_bias: bool = False
    """Biases of the MLP."""
    qk_norm: bool = False
    """Whether queries and keys have a norm each, over all heads together, before they are rotated."""
    soft_cap: Annotated[float | None, _shown("FLOAT")] = None
    """c of c tanh(score/c), of the scores of attention; None for none."""
    sink: Literal["none", "zero", "learned"] = "none"
    """One more key and value that stand at no position: zero, or learned for each head."""
    residual_scale: float = 1.0
    """Factor on what a layer adds."""
    weight_scale: float | Literal["fan_in"] = 1.0
    """Factor on the weights of a layer; "fan_in" for 1/sqrt(inputs)."""
    head_scale: float = 1.0
    """Factor on the logits."""
    tied: bool = False
    """Whether the read-out is the embedding."""
    shifted: bool = False
    """Whether logits stand one position to the left of the token that they are of."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _settle(self, "hidden_dim", "blocks", "heads")
        _settle(self, "kv_heads", "head_dim", "mlp_dim", at_least=0)
        if not self.head_dim and self.hidden_dim % (2 * self.heads):
            raise ValueError(f"`hidden_dim` must be a multiple of 2 * heads = {2 * self.heads}, got {self.hidden_dim}")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"`heads` must be a multiple of `kv_heads` = {self.kv_heads}, got {self.heads}")
        if self.head_dim % 2:
            raise ValueError(f"`head_dim` must be even, got {self.head_dim}")
        check_choice("mlp", self.mlp, ("swiglu", "relu2"))
        check_choice("sink", self.sink, ("none", "zero", "learned"))
        for name in ("rope_base", "norm_eps", "soft_cap", "residual_scale", "weight_scale", "head_scale"):
            value = getattr(self, name)
            if value is None or (name == "weight_scale" and isinstance(value, str) and value == "fan_in"):
                continue
            check_number(name, value, low=0)

    def resolved(self) -> Self:
        return replace(
            self,
            kv_heads=self.kv_heads or self.heads,
            head_dim=self.head_dim or self.hidden_dim // self.heads,
            mlp_dim=self.mlp_dim or 4 * self.hidden_dim,
        )


@dataclass(frozen=True)
class HollowMLPConfig(ResidualConfig):
    """Shape of a two-sided neural n-gram, which learns in minutes on a CPU.

    Examples
    --------
    >>> from uddm import HollowMLPConfig
    >>> HollowMLPConfig(27, length=16).resolved().window
    15
    """

    embed_dim: int = 32
    """Width of the token embeddings."""
    window: Annotated[int | None, _shown("INT")] = None
    """How far each position sees to either side; None for the whole sequence, length - 1."""
    expansion: int = 2
    """Hidden units of a block, in units of the width."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _settle(self, "embed_dim", "expansion")
        if self.window is not None:
            _settle(self, "window")
        if self.predicts == "posterior":
            raise ValueError("`predicts` must be 'cavity' for a hollow network, got 'posterior'")

    def resolved(self) -> Self:
        return replace(self, window=max(self.length - 1, 1) if self.window is None else self.window)


@dataclass(frozen=True)
class TreeUNetConfig(ResidualConfig):
    """Shape of a U-Net on a tree, for strings of the Random Hierarchy Model.

    Examples
    --------
    >>> from uddm.denoisers import TreeUNetConfig
    >>> TreeUNetConfig(8, branching=2, depth=4).length
    16
    """

    length: int = 0
    """branching ** depth, which it is by default."""
    hidden_dim: int = 64
    blocks: int = 1
    """Residual blocks of each level, on the way up and again on the way down."""
    cond_dim: int = 32
    dropout: float = 0.0
    branching: int = 2
    """Children s of a node, >= 2."""
    depth: int = 4
    """Levels D below the root."""
    expansion: int = 2
    """Hidden units of a block, in units of the width."""
    hollow: bool = True
    """Whether a child does not hear itself on the way down."""

    def __post_init__(self) -> None:
        check_tree(self.branching, self.depth)
        _settle(self, "branching", "depth", "expansion")
        _settle(self, "length", at_least=0)
        leaves = self.branching**self.depth
        if self.length not in (0, leaves):
            raise ValueError(f"`length` must be branching ** depth = {leaves}, got {self.length}")
        object.__setattr__(self, "length", leaves)
        super().__post_init__()
        if check_flag("hollow", self.hollow) and self.predicts == "posterior":
            raise ValueError("`predicts` must be 'cavity' for a hollow network, got 'posterior'")


@dataclass(frozen=True)
class LinearConfig(NetworkConfig):
    """Shape of logits linear in the tokens, of L^2 K^2 couplings in memory.

    Examples
    --------
    >>> from uddm.denoisers import LinearConfig
    >>> LinearConfig(2, length=30).self_coupling
    False
    """

    self_coupling: bool = False
    """Whether A_ll is learnt too; the logits are then not those of a cavity by construction."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("self_coupling", self.self_coupling)
        if not self.self_coupling and self.predicts == "posterior":
            raise ValueError("`predicts` must be 'cavity' without self-coupling, got 'posterior'")


SHAPES: dict[str, type[NetworkConfig]] = {
    "DiT": DiTConfig,
    "Llama": LlamaConfig,
    "HollowMLP": HollowMLPConfig,
    "TreeUNet": TreeUNetConfig,
    "Linear": LinearConfig,
}
"""The configuration of each network of the package, by the network's name."""


@dataclass(frozen=True)
class Curriculum:
    """The training steps during which the network reads softmax(w / tau), not z (Sahoo et al. 2025).

    At time t of the process of `process(vocab_size)`, whose schedule is `GaussianDual`:

        soft = curriculum.corrupt(x, t, step, vocab_size, generator=generator)
        prediction = network.predict_at(soft, soft.hard, process, t)
        loss = nelbo(process, prediction, x, soft.hard, t)

    The defaults are those of the published LM1B models (K = 30522), except that there `top_k` is None, which at
    tau = 1e-3 makes no difference that float32 resolves.

    Examples
    --------
    >>> from uddm import Curriculum
    >>> curriculum = Curriculum(start=0, end=100, tau_start=1e-1, tau_end=1e-3)
    >>> curriculum.active(99), curriculum.active(100), round(curriculum.tau(50), 6)
    (True, False, 0.01)
    """

    start: int = 0
    """First step at which it is on."""
    end: int = 500_000
    """First step at which it is off again."""
    gamma_min: float = -3.5
    """gamma at t = 0; uniform in t."""
    gamma_max: float = -1.75
    """gamma at t = 1."""
    tau_start: float = 1e-3
    """Temperature at `start`; its logarithm is linear in the step."""
    tau_end: float = 1e-3
    """Temperature at `end`."""
    top_k: int | None = 32
    """Entries of the softmax that are kept, as in `uddm.curriculum.relaxed_argmax`; None for all."""

    def __post_init__(self) -> None:
        check_positive_int("start", self.start, at_least=0)
        check_positive_int("end", self.end, at_least=self.start + 1)
        for name in ("gamma_min", "gamma_max"):
            check_number(name, getattr(self, name))
        self.schedule(2)  # checks gamma
        for name in ("tau_start", "tau_end"):
            check_number(name, getattr(self, name), low=0)
        if self.top_k is not None:
            check_positive_int("top_k", self.top_k)

    def active(self, step: int) -> bool:
        """Whether the curriculum is on at step 0, 1, ..."""
        return self.start <= check_positive_int("step", step, at_least=0) < self.end

    def tau(self, step: int) -> float:
        """Temperature at a step from `start` to `end`."""
        check_positive_int("step", step, at_least=0)
        return self.tau_start * (self.tau_end / self.tau_start) ** ((step - self.start) / (self.end - self.start))

    def schedule(self, vocab_size: int) -> GaussianDual:
        """That of `process`."""
        from uddm.process.schedule import GaussianDual

        return GaussianDual(vocab_size, self.gamma_min, self.gamma_max)

    def process(self, vocab_size: int) -> UniformProcess:
        """The process whose alpha_t and rate the objective takes; z = `corrupt(x, t, ...).hard` has its forward law."""
        from uddm.process import UniformProcess

        return UniformProcess(vocab_size, self.schedule(vocab_size))

    def corrupt(
        self,
        x: Integer[torch.Tensor, "B L"],
        t: PerSequence,
        step: int,
        vocab_size: int,
        *,
        generator: int | torch.Generator | None = None,
    ) -> SoftTokens:
        """Sample what the network reads at a step for clean tokens x (B, L) at times t, () or (B,) in (0, 1]."""
        from uddm.curriculum import relaxed_tokens

        schedule, tau = self.schedule(vocab_size), self.tau(step)
        return relaxed_tokens(x, t, schedule, tau, top_k=self.top_k, generator=generator)


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation of the NELBO; the defaults are the published recipe (Sahoo et al. 2025; arXiv 2604.26841).

    Examples
    --------
    >>> from uddm import TrainConfig
    >>> config = TrainConfig(steps=100, learning_rate=1e-3, warmup=10, decay="cosine")
    >>> [round(config.rate(step), 6) for step in (0, 9, 50)]
    [0.0001, 0.00098, 0.0005]
    """

    steps: int = 1_000_000
    """Optimizer steps."""
    batch_size: int = 512
    """Sequences in a step, on all processes together."""
    learning_rate: float = 3e-4
    """Of AdamW, after the warm-up."""
    warmup: int = 2500
    """Linear steps up to the learning rate."""
    decay: Literal["constant", "cosine"] = "constant"
    """Of the learning rate after that; "cosine" to zero."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW."""
    weight_decay: float = 0.0
    """Of AdamW."""
    clip: float = 1.0
    """Bound on the norm of the gradient."""
    loss: Loss = "nelbo"
    """The bound, or "jump", the same without a sum over the vocabulary; or denoising cross-entropy, which is none."""
    curriculum: Annotated[Curriculum | None, tyro.conf.Suppress] = None
    """Relaxed inputs for some steps (Sahoo et al. 2025), or None."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the network up to its read-out (autocast); weights, read-out and loss are float32."""
    ema: float = 0.9999
    """Decay of the weight average, warmed up as min(ema, (1 + n)/(10 + n))."""
    first_time: float = 1e-3
    """Times are stratified over (first_time, 1]."""
    log_fraction: float = 0.0
    """Share of the times stratified in log t instead, in [0, 1], reweighted so that the objective stays the NELBO."""
    seed: int = 1
    """Of data split, weights, data order, times, corruption and dropout, the last four keyed by step."""
    log_every: int = 100
    """Steps between lines of metrics.jsonl."""
    checkpoint_every: int = 1000
    """Steps between saved states."""

    def __post_init__(self) -> None:
        _settle(self, "steps", "batch_size", "log_every", "checkpoint_every")
        _settle(self, "warmup", at_least=0)
        check_seed("seed", self.seed)
        check_choice("decay", self.decay, ("constant", "cosine"))
        check_choice("loss", self.loss, LOSSES)
        if self.curriculum is not None:
            check_kind("curriculum", self.curriculum, Curriculum)
        check_choice("precision", self.precision, ("float32", "bfloat16"))
        for name in ("learning_rate", "clip"):
            check_number(name, getattr(self, name), low=0)
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise TypeError(f"`betas` must be two numbers in [0, 1), got {self.betas!r}")
        for beta in self.betas:
            check_number("betas", beta, low=0, high=1, closed="[")
        check_number("weight_decay", self.weight_decay, low=0, closed="[")
        for name in ("ema", "first_time"):
            check_number(name, getattr(self, name), low=0, high=1)
        check_number("log_fraction", self.log_fraction, low=0, high=1, closed="[]")

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ..., steps - 1."""
        check_positive_int("step", step, at_least=0)
        rate = self.learning_rate * min(1.0, (step + 1) / max(self.warmup, 1))
        if self.decay == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return rate


@dataclass(frozen=True)
class RunConfig:
    """A run from text to model (`uddm.training.run`).

    Examples
    --------
    >>> from dataclasses import replace
    >>> from uddm.config import RUNS
    >>> run = replace(RUNS["letters"], fraction=0.1)
    >>> run.network.length, run.training.steps
    (16, 2000)
    """

    network: Annotated[NetworkConfig, tyro.conf.arg(name="")]
    """Its shape; of which class it is, says which network."""
    training: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    """Its optimisation."""
    corpus: Annotated[tuple[str, ...] | None, _shown("PATH...")] = None
    """"python-docs" (documentation of this Python installation), texts, tar archives of texts, or LM1B."""
    test_corpus: Annotated[tuple[str, ...] | None, _shown("PATH...")] = None
    """Texts of the test set. By default LM1B's own; of other texts, a tenth of the documents."""
    tokenizer: Annotated[str | None, _shown("TEXT")] = None
    """letters, characters:K, bytes, bpe:K, gpt2:FOLDER, bert:VOCAB_FILE, or a tokenizer file or folder."""
    packing: Packing = "stream"
    """"stream" puts a separator between documents and cuts; "sentences" adds BOS and EOS to each piece, as for LM1B."""
    sequences: Annotated[int | None, _shown("INT")] = None
    """Size of the training subset, a prefix of one permutation; by default all."""
    fraction: Annotated[float | None, _shown("FLOAT")] = None
    """Size of the training subset as a share of all training sequences, in (0, 1]."""
    curriculum: bool = False
    """Relaxed inputs for the first half of the steps (DiT)."""

    def __post_init__(self) -> None:
        check_kind("network", self.network, NetworkConfig)
        check_kind("training", self.training, TrainConfig)
        for name in ("corpus", "test_corpus"):
            if getattr(self, name) is not None:
                check_iterable(name, getattr(self, name))
        check_choice("packing", self.packing, ("stream", "sentences"))
        if self.sequences is not None:
            check_positive_int("sequences", self.sequences)
        if self.fraction is not None:
            check_number("fraction", self.fraction, low=0, high=1, closed="]")
        check_flag("curriculum", self.curriculum)
        if self.fraction is not None and self.sequences is not None:
            raise ValueError("`fraction` and `sequences` exclude each other")
        if self.curriculum or self.training.curriculum:
            check_curriculum(self.network)

    @property
    def recipe(self) -> TrainConfig:
        """`training` with the curriculum in it."""
        half = Curriculum(end=max(self.training.steps // 2, 1)) if self.curriculum else self.training.curriculum
        return replace(self.training, curriculum=half)


def _published(network: DiTConfig) -> RunConfig:
    """The defaults of `TrainConfig` on sentence-packed LM1B, with the curriculum (arXiv 2604.26841, Table 1).

    The published parameter counts are those of BERT's vocabulary, K = 30522; the paper's text says GPT-2. Both go.
    """
    return RunConfig(network, TrainConfig(precision="bfloat16"), packing="sentences", curriculum=True)


RUNS: dict[str, RunConfig] = {
    "letters": RunConfig(
        HollowMLPConfig(2, length=16, hidden_dim=160, blocks=3, dropout=0.0),
        TrainConfig(
            steps=2000,
            batch_size=64,
            learning_rate=3e-3,
            warmup=100,
            decay="cosine",
            betas=(0.9, 0.99),
            ema=0.998,
            checkpoint_every=500,
            seed=0,
        ),
        corpus=("python-docs",),
        tokenizer="letters",
    ),
    "paper-tiny": _published(DiTConfig.tiny(2)),
    "paper-small": _published(DiTConfig.small(2)),
    "paper-medium": _published(DiTConfig.medium(2)),
}
"""Named runs: what `python -m uddm train` does, each setting of which an option replaces."""
