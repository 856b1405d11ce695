"""Overnight on a many-core machine: larger networks, longer blocks of byte pairs, three trainings of everything."""

from dataclasses import replace

from paper_figures.presets.laptop import LAPTOP
from paper_figures.presets.schema import Language, Preset, Protocol, Recipe
from uddm.config import DiTConfig, HollowMLPConfig, TrainConfig, TreeUNetConfig

STEPS = {64: 10_000, 256: 10_000, 1024: 10_000, 4096: 10_000, 8192: 10_000, 11_000: 15_000}
SLOW = TrainConfig(
    batch_size=64, learning_rate=1e-3, betas=(0.9, 0.99), warmup=500, decay="cosine", ema=0.999, log_fraction=0.5
)


def hollow(width: int) -> Recipe:
    """The main network of text, of any width."""
    network = HollowMLPConfig(2, hidden_dim=width, blocks=3, embed_dim=64, cond_dim=64, dropout=0.0)
    return Recipe(network, SLOW, STEPS, seeds=3)


def transformer(width: int) -> Recipe:
    """One of four blocks and four heads."""
    network = DiTConfig(2, hidden_dim=width, blocks=4, heads=4, cond_dim=64, dropout=0.0)
    return Recipe(network, SLOW, STEPS, seeds=3)


TREE, HOLLOW = LAPTOP.hierarchy.recipes.values()
SIZES = dict.fromkeys((16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384), 4000)

WORKSTATION = Preset(
    about="larger networks and transformers on byte pairs, overnight on a many-core machine",
    rehearsal=False,
    language=Language(
        tokenizer="bpe:1024",
        length=32,
        recipes={"hollow network": hollow(256), "transformer": transformer(256)},
        widths={f"hollow network, width {width}": hollow(width) for width in (64, 128)},
        variants={
            "raw weights": replace(hollow(256), protocol=Protocol("raw")),
            "half precision": replace(hollow(256), protocol=Protocol(precision="float16"), seeds=1),
        },
        sequences=500,
        generated=500,
        greedy_sequences=200,
        noise=(0.1, 0.25, 0.5, 0.75, 1.0),
        steps=64,
        greedy_steps=200,
        generation_steps=128,
    ),
    memories=replace(
        LAPTOP.memories,
        length=500,
        other_lengths=dict.fromkeys((100, 200), LAPTOP.memories.loads),
        disorder=10,
        sequences=500,
    ),
    margins=replace(LAPTOP.margins, length=200, feature_length=4000, disorder=20),
    hierarchy=replace(
        LAPTOP.hierarchy,
        recipes={
            "tree network": replace(TREE, network=TreeUNetConfig(2, branching=2, depth=4, hidden_dim=64), sizes=SIZES),
            "hollow network": replace(
                HOLLOW, network=HollowMLPConfig(2, hidden_dim=192, blocks=3, dropout=0.0), sizes=SIZES
            ),
            "transformer": transformer(128),
        },
        course=(128, (100, 200, 400, 800, 1600, 4000)),
        grammars=10,
        sequences=1000,
    ),
    relaxation=replace(LAPTOP.relaxation, chains=400, grammars=24),
    theory=LAPTOP.theory,
    noises=replace(LAPTOP.noises, text_sizes=tuple(STEPS), strings=(16, 64, 256, 1024, 4096, 16384), sequences=300),
)
