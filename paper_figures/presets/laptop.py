"""The transition on two cores; how it was chosen is told in docs/laptop-preset.md."""

from dataclasses import replace

from paper_figures.presets.schema import (
    Hierarchy,
    Language,
    Margins,
    Memories,
    Noises,
    Preset,
    Protocol,
    Recipe,
    Relaxation,
    Theory,
)
from uddm.config import HollowMLPConfig, TrainConfig, TreeUNetConfig

HOLLOW = TrainConfig(
    batch_size=64, learning_rate=3e-3, betas=(0.9, 0.99), warmup=75, decay="cosine", ema=0.99, log_fraction=0.5
)
TREE = TrainConfig(batch_size=64, learning_rate=4e-3, warmup=75, decay="cosine", ema=0.99)
STEPS = {64: 500, 256: 600, 1024: 800, 8192: 900, 60000: 1150}


def hollow(width: int) -> Recipe:
    """The main network of text, of any width."""
    network = HollowMLPConfig(2, hidden_dim=width, blocks=2, embed_dim=16, cond_dim=32, dropout=0.0)
    return Recipe(network, HOLLOW, STEPS, seeds=3)


LAPTOP = Preset(
    about="every figure and claim on two cores in about 15 minutes",
    rehearsal=False,
    language=Language(
        tokenizer="letters",
        length=16,
        recipes={"hollow network": hollow(96)},
        widths={f"hollow network, width {width}": hollow(width) for width in (24, 48)},
        variants={
            "raw weights": replace(hollow(96), protocol=Protocol("raw"), seeds=1),
            "half precision": replace(
                hollow(96),
                protocol=Protocol(precision="float16"),
                sizes={size: STEPS[size] for size in (64, 1024, 60000)},
                seeds=1,
            ),
        },
        sequences=200,
        generated=200,
        greedy_sequences=60,
        steps=10,
        generation_steps=32,
    ),
    memories=Memories(
        length=200,
        loads=(0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
        other_lengths={100: (0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)},
        features=0.15,
        active=3,
        ridge=1e-2,
        disorder=5,
        sequences=200,
    ),
    margins=Margins(
        length=80,
        loads=(0.1, 0.3, 0.5, 0.7),
        norms=(0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
        feature_length=2000,
        feature_loads=(0.05, 0.07, 0.1, 0.2, 0.35, 0.9, 1.2),
        features=0.01,
        disorder=8,
    ),
    hierarchy=Hierarchy(
        grammar={"symbols": 8, "rules": 2, "depth": 4},
        recipes={
            "tree network": Recipe(
                TreeUNetConfig(2, branching=2, depth=4, hidden_dim=32),
                TREE,
                dict.fromkeys((16, 64, 256, 1024, 8192), 600),
            ),
            "hollow network": Recipe(
                HollowMLPConfig(2, hidden_dim=64, blocks=2, embed_dim=16, cond_dim=32, dropout=0.0),
                HOLLOW,
                dict.fromkeys((16, 256, 8192), 600),
            ),
        },
        rules={
            "equal rules": {},
            "Zipf": {"zipf": 1.0},
            "Zipf, high levels": {"zipf": 1.0, "zipf_levels": (0, 1)},
        },
        course=(128, (100, 250, 600)),
        grammars=3,
        sequences=300,
    ),
    relaxation=Relaxation(
        grammar={"symbols": 8, "rules": 2, "depth": 6},
        alphas=(0.95, 0.8, 0.6, 0.5, 0.4, 0.3),
        shown=(0.8, 0.3),
        turns=64,
        chains=200,
        grammars=8,
    ),
    theory=Theory(
        hopfield_length=2000,
        hopfield_loads=(0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.13, 0.14, 0.15, 0.16),
        temperatures=(0.0, 0.2, 0.4, 0.6),
        perceptrons={
            24: (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5),
            48: (1.5, 1.75, 2.0, 2.25, 2.5),
            200: (0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
        },
        likelihood_inputs=200,
        likelihood_loads=(0.5, 1.5),
        norms=(0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
        lengths=(12, 24, 36),
        rates=(0.05, 0.1, 0.15, 0.2, 0.25),
        noise=tuple(k / 20 for k in range(6, 20)),
        disorder=4,
        points=25,
    ),
    noises=Noises(
        kinds={
            "uniform": {},
            "masked": {"noise": "masked", "schedule": "linear"},
            "hybrid": {"noise": "hybrid", "schedule": "linear", "p_unif": 0.2},
        },
        text_sizes=(64, 1024, 60000),
        strings=(16, 64, 256, 1024, 8192),
    ),
    by_name=("noises", "C19"),
)
