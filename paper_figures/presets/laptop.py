"""The transition on two cores; how it was chosen is told in docs/laptop-preset.md."""

from dataclasses import replace

from paper_figures.presets.schema import Hierarchy, Language, Memories, Preset, Recipe, Relaxation
from uddm.config import DiTConfig, HollowMLPConfig, TrainConfig, TreeUNetConfig

TRANSFORMER = TrainConfig(batch_size=64, learning_rate=3e-3, betas=(0.9, 0.99), warmup=100, decay="cosine", ema=0.998)
HOLLOW = replace(TRANSFORMER, log_fraction=0.5)
STRINGS = replace(TRANSFORMER, ema=0.99)
TREE = TrainConfig(batch_size=64, learning_rate=4e-3, warmup=75, decay="cosine", ema=0.99)

LAPTOP = Preset(
    about="the transition on two cores in about 45 minutes",
    language=Language(
        tokenizer="letters",
        length=16,
        recipes={
            "hollow network": Recipe(
                HollowMLPConfig(2, hidden_dim=160, blocks=3, embed_dim=32, cond_dim=64, dropout=0.0),
                HOLLOW,
                {64: 700, 256: 1000, 1024: 1600, 4096: 2400, 16384: 5000, 60000: 10000},
            ),
            "transformer": Recipe(
                DiTConfig(2, hidden_dim=96, blocks=3, heads=4, cond_dim=64, dropout=0.0),
                TRANSFORMER,
                {64: 4000, 256: 4000, 60000: 4000},
            ),
        },
        sequences=500,
        generated=500,
    ),
    memories=Memories(
        length=200,
        loads=(0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
        features=0.15,
        active=3,
        ridge=1e-2,
        disorder=5,
        sequences=200,
    ),
    hierarchy=Hierarchy(
        grammar={"symbols": 8, "rules": 2, "depth": 4},
        recipes={
            "tree network": Recipe(
                TreeUNetConfig(2, branching=2, depth=4),
                TREE,
                dict.fromkeys((16, 64, 128, 256, 1024, 4096, 16384), 1500),
            ),
            "transformer": Recipe(
                DiTConfig(2, hidden_dim=64, blocks=3, heads=4, cond_dim=32, dropout=0.0),
                STRINGS,
                dict.fromkeys((16, 128, 16384), 2500),
            ),
        },
        rules={
            "equal rules": {},
            "Zipf": {"zipf": 1.0},
            "Zipf, high levels": {"zipf": 1.0, "zipf_levels": (0, 1)},
        },
        course=(128, (100, 200, 400, 800, 1600)),
        grammars=3,
        sequences=1000,
    ),
    relaxation=Relaxation(
        grammar={"symbols": 8, "rules": 2, "depth": 6},
        alphas=(0.97, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35, 0.3),
        shown=(0.8, 0.3),
        turns=64,
        chains=300,
        grammars=12,
    ),
)
