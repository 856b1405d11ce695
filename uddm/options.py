"""What `python -m uddm train` can be told; apart from what does it, so that the command line answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


def _given(metavar: str) -> object:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


Paths = Annotated[tuple[str, ...] | None, _given("PATH...")]
Text = Annotated[str | None, _given("TEXT")]
Whole = Annotated[int | None, _given("INT")]
Real = Annotated[float | None, _given("FLOAT")]


@dataclass(frozen=True)
class Options:
    """A run from text to model. None leaves an option to the preset, or to the class it goes to."""

    corpus: Paths = None
    """"python-docs" (documentation of this Python installation), texts, tar archives of texts, or LM1B."""
    test_corpus: Paths = None
    """Texts of the test set. By default LM1B's own; of other texts, a tenth of the documents."""
    tokenizer: Text = None
    """letters, characters:K, bytes, bpe:K, gpt2:FOLDER, bert:VOCAB_FILE, or a tokenizer file or folder."""
    length: Whole = None
    """Tokens in a sequence."""
    packing: Annotated[Literal["stream", "sentences"] | None, _given("{stream,sentences}")] = None
    """"stream" puts a separator between documents and cuts; "sentences" adds BOS and EOS to each piece, as for LM1B."""
    sequences: Whole = None
    """Size of the training subset, a prefix of one permutation; by default all."""
    fraction: Real = None
    """Size of the training subset as a share of all training sequences."""
    network: Annotated[Literal["HollowMLP", "DiT"] | None, _given("{HollowMLP,DiT}")] = None
    """HollowMLP learns in minutes on a CPU; DiT is the published transformer."""
    hidden_dim: Whole = None
    """Width of the network."""
    blocks: Whole = None
    """Depth of the network."""
    heads: Whole = None
    """Attention heads of a DiT."""
    embed_dim: Whole = None
    """Width of the token embeddings of a HollowMLP."""
    window: Whole = None
    """How far a HollowMLP sees to either side."""
    expansion: Whole = None
    """Hidden units of a HollowMLP's blocks, in units of its width."""
    dropout: Real = None
    """On the residual branches."""
    schedule: Annotated[
        Literal["log-linear", "linear", "cosine", "gaussian"] | None, _given("{log-linear,linear,cosine,gaussian}")
    ] = None
    """Noise schedule."""
    predicts: Annotated[Literal["cavity", "posterior"] | None, _given("{cavity,posterior}")] = None
    """What the logits are those of."""
    steps: Whole = None
    """Optimizer steps."""
    batch_size: Whole = None
    """Sequences in a step, on all processes together."""
    learning_rate: Real = None
    """Of AdamW."""
    warmup: Whole = None
    """Linear steps up to the learning rate."""
    decay: Annotated[Literal["constant", "cosine"] | None, _given("{constant,cosine}")] = None
    """Of the learning rate after that."""
    betas: Annotated[tuple[float, float] | None, _given("FLOAT FLOAT")] = None
    """Of AdamW."""
    ema: Real = None
    """Decay of the weight average."""
    loss: Annotated[Literal["nelbo", "jump", "cross-entropy"] | None, _given("{nelbo,jump,cross-entropy}")] = None
    """The bound that is trained on, or the cross-entropy of denoising."""
    log_fraction: Real = None
    """Share of the times stratified in log t."""
    curriculum: Annotated[bool | None, _given("{True,False}")] = None
    """Relaxed inputs for the first half of the steps (DiT)."""
    precision: Annotated[Literal["float32", "bfloat16"] | None, _given("{float32,bfloat16}")] = None
    """Of the network up to its read-out."""
    seed: Whole = None
    """Of data split, weights and training."""
    checkpoint_every: Whole = None
    """Steps between saved states."""
    log_every: Whole = None
    """Steps between lines of metrics.jsonl."""
