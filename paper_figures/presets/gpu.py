"""Transformers of the published kind, from tiny to small, on one GPU; what runs without one is that of the laptop."""

from dataclasses import replace

from paper_figures.presets.laptop import LAPTOP
from paper_figures.presets.schema import Language, Preset, Protocol, Recipe
from uddm.config import DiTConfig, TrainConfig

STEPS = {64: 1000, 512: 1000, 4096: 1200, 16384: 1500, 40_000: 2000}
FAST = TrainConfig(
    batch_size=256,
    learning_rate=1e-3,
    betas=(0.9, 0.99),
    warmup=200,
    decay="cosine",
    ema=0.995,
    precision="bfloat16",
    log_fraction=0.5,
)


def transformer(network: DiTConfig, seeds: int) -> Recipe:
    """Trained on every size."""
    return Recipe(replace(network, dropout=0.0), FAST, STEPS, seeds)


TINY = transformer(DiTConfig.tiny(2), seeds=3)

GPU = Preset(
    about="transformers on BERT's or GPT-2's tokens, one GPU for about an hour; needs --corpus and --tokenizer",
    rehearsal=False,
    language=Language(
        tokenizer="",
        length=128,
        recipes={"DiT tiny": TINY},
        widths={
            "DiT, width 128": transformer(DiTConfig(2, hidden_dim=128, blocks=8, heads=4), seeds=3),
            "DiT small": transformer(DiTConfig.small(2), seeds=1),
        },
        variants={
            "raw weights": replace(TINY, protocol=Protocol("raw")),
            "half precision": replace(TINY, protocol=Protocol(precision="float16")),
        },
        sequences=200,
        generated=200,
        greedy_sequences=100,
        steps=32,
        greedy_steps=100,
        generation_steps=128,
        packing="sentences",
    ),
    memories=LAPTOP.memories,
    margins=LAPTOP.margins,
    hierarchy=LAPTOP.hierarchy,
    relaxation=LAPTOP.relaxation,
    theory=LAPTOP.theory,
    noises=replace(LAPTOP.noises, text_sizes=(64, 4096, 40_000)),
    by_name=LAPTOP.by_name,
)
