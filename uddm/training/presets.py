"""Named recipes: what `python -m uddm train` does, each number of which an option can replace."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from uddm._validation import check_choice, check_device, check_positive_int
from uddm.corpora import Corpus, TokenBlocks, Tokenizer, load_corpus, load_lm1b, prepare_blocks, tokenizer_from_name
from uddm.curriculum import Curriculum
from uddm.denoisers import NETWORKS, Network
from uddm.denoisers.transformer import DiTConfig
from uddm.options import Options
from uddm.streams import keyed_seed
from uddm.training.config import TrainConfig
from uddm.training.distributed import on_first
from uddm.training.loop import check_micro_batch, claim, train


def _paper(config: DiTConfig) -> Options:
    """The defaults of `TrainConfig` on sentence-packed LM1B, with the curriculum (arXiv 2604.26841, Table 1).

    The published parameter counts are those of BERT's vocabulary, K = 30522; the paper's text says GPT-2. Both go.
    """
    return Options(
        length=config.length,
        packing="sentences",
        network="DiT",
        hidden_dim=config.hidden_dim,
        blocks=config.blocks,
        heads=config.heads,
        curriculum=True,
        precision="bfloat16",
        seed=1,
    )


PRESETS: dict[str, Options] = {
    "letters": Options(
        corpus=("python-docs",),
        tokenizer="letters",
        length=16,
        packing="stream",
        network="HollowMLP",
        hidden_dim=160,
        blocks=3,
        dropout=0.0,
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
    "paper-tiny": _paper(DiTConfig.tiny(2)),
    "paper-small": _paper(DiTConfig.small(2)),
    "paper-medium": _paper(DiTConfig.medium(2)),
}
RECIPE = {f.name for f in fields(TrainConfig)} & {f.name for f in fields(Options)} - {"curriculum"}
SHAPE = (
    "length",
    "hidden_dim",
    "blocks",
    "heads",
    "embed_dim",
    "window",
    "expansion",
    "dropout",
    "schedule",
    "predicts",
)


def run(out: str | Path, preset: str = "letters", options: Options | None = None, **how: Any) -> Network:
    """Cut a corpus into blocks, train a network on them, and return it; go on where `out` stopped.

    Parameters
    ----------
    out : the run folder of `uddm.train`, which also holds the blocks, in `corpus`.
    preset : "letters", "paper-tiny", "paper-small" or "paper-medium".
    options : in place of what the preset says.
    how : device, micro_batch, parallel, compile, deterministic, tensorboard, progress of `uddm.train`.

    Raises
    ------
    ValueError : an option that is missing, out of range, or none of the network's; and the errors of `uddm.train`.
    """
    asked = {name: value for name, value in vars(options or Options()).items() if value is not None}
    chosen = dict(vars(PRESETS[check_choice("preset", preset, PRESETS)])) | asked
    for name in ("corpus", "tokenizer"):
        if chosen[name] is None:
            raise ValueError(f"`{name}` must be given with the preset {preset!r}")
    if chosen["fraction"] is not None and chosen["sequences"] is not None:
        raise ValueError("`fraction` and `sequences` exclude each other")
    if chosen["fraction"] is not None and not 0 < chosen["fraction"] <= 1:
        raise ValueError(f"`fraction` must lie in (0, 1], got {chosen['fraction']}")
    if chosen["sequences"] is not None:
        check_positive_int("sequences", chosen["sequences"])

    network = NETWORKS[chosen["network"]]
    known = {field.name for field in fields(network.Config)}
    if foreign := sorted(asked.keys() & set(SHAPE) - known):
        raise ValueError(f"`{foreign[0]}` is no option of a {network.__name__}")
    shape = {name: chosen[name] for name in SHAPE if name in known and chosen[name] is not None}
    recipe = TrainConfig(**{name: chosen[name] for name in RECIPE if chosen[name] is not None})
    if chosen["curriculum"]:
        recipe = replace(recipe, curriculum=Curriculum(end=max(recipe.steps // 2, 1)))

    check_micro_batch(recipe, how.get("micro_batch"))
    check_device(how.get("device", "cpu"))

    def prepare() -> tuple[TokenBlocks, Tokenizer]:
        corpus = load_corpus(chosen["corpus"])
        tokenizer = tokenizer_from_name(chosen["tokenizer"], corpus)
        claim(Path(out), network.Config(tokenizer.vocab_size, **shape), recipe, None)
        return _blocks(chosen, corpus, tokenizer, Path(out)), tokenizer

    blocks, tokenizer = on_first(prepare)
    size = chosen["sequences"] if chosen["fraction"] is None else blocks.size_of(chosen["fraction"])
    if size and size > blocks.train_size:
        raise ValueError(f"`sequences` must be at most the {blocks.train_size} that the corpus gives, got {size}")
    torch.manual_seed(keyed_seed(recipe.seed, "weights"))
    model = network(network.Config(tokenizer.vocab_size, **shape))
    return train(model, blocks.train(size, copy=False), recipe, out, tokenizer=tokenizer, **how)


def _blocks(chosen: dict[str, Any], corpus: Corpus, tokenizer: Tokenizer, out: Path) -> TokenBlocks:
    test = load_corpus(chosen["test_corpus"]) if chosen["test_corpus"] else _lm1b_test(chosen["corpus"])
    options = {name: chosen[name] for name in ("packing", "seed")}
    return prepare_blocks(corpus, tokenizer, chosen["length"], cache_dir=out / "corpus", test=test, **options)


def _lm1b_test(paths: tuple[str, ...]) -> Corpus | None:
    """LM1B's own test set, where the corpus is LM1B with its training shards; elsewhere None, to hold out documents."""
    if len(paths) != 1 or not Path(paths[0]).exists():
        return None
    try:
        load_lm1b(paths[0], "train")
    except ValueError:
        return None
    return load_lm1b(paths[0], "test")
