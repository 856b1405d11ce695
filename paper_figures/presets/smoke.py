"""Every figure in under two minutes, to see that all works."""

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
from uddm.config import DiTConfig, HollowMLPConfig, TrainConfig, TreeUNetConfig

FAST = TrainConfig(batch_size=64, learning_rate=1e-2, betas=(0.9, 0.99), warmup=10, decay="cosine", ema=0.98)
STEEP = TrainConfig(batch_size=64, learning_rate=3e-3, betas=(0.9, 0.99), warmup=5, decay="cosine")


def hollow(width: int, sizes: dict[int, int]) -> Recipe:
    """The main network of text, of any width."""
    network = HollowMLPConfig(2, hidden_dim=width, blocks=2, embed_dim=16, cond_dim=16, dropout=0.0)
    return Recipe(network, FAST, sizes, seeds=2)


SMOKE = Preset(
    about="every figure in under two minutes, to see that all works; too little training to show the transition",
    rehearsal=True,
    language=Language(
        tokenizer="letters",
        length=12,
        recipes={
            "hollow network": hollow(32, {32: 50, 256: 50, 2048: 50}),
            "transformer": Recipe(
                DiTConfig(2, hidden_dim=32, blocks=2, heads=4, cond_dim=16, dropout=0.0), FAST, {32: 30}
            ),
        },
        widths={f"hollow network, width {width}": hollow(width, {32: 30, 2048: 30}) for width in (16, 48)},
        variants={
            name: replace(hollow(32, {32: 50, 256: 50, 2048: 50}), protocol=protocol, seeds=1)
            for name, protocol in {
                "raw weights": Protocol("raw"),
                "half precision": Protocol(precision="float16"),
            }.items()
        },
        sequences=32,
        generated=32,
        greedy_sequences=16,
        noise=(0.25, 0.5, 1.0),
        greedy_noise=(0.1, 0.2, 0.5),
        steps=10,
        greedy_steps=12,
        generation_steps=10,
    ),
    memories=Memories(
        length=60,
        loads=(0.1, 1.0, 8.0),
        other_lengths={30: (0.1, 1.0, 8.0)},
        features=0.15,
        active=3,
        ridge=1e-2,
        disorder=3,
        sequences=50,
        noise=(0.1, 0.25, 0.5),
    ),
    margins=Margins(
        length=24,
        loads=(0.25, 0.5),
        norms=(1.0, 8.0),
        feature_length=200,
        feature_loads=(0.1, 1.0),
        features=0.02,
        disorder=3,
        probes=6,
        steps=50,
    ),
    hierarchy=Hierarchy(
        grammar={"symbols": 4, "rules": 2, "depth": 2},
        recipes={
            "tree network": Recipe(TreeUNetConfig(2, branching=2, depth=2, hidden_dim=16), STEEP, {4: 60, 24: 60}),
            "transformer": Recipe(
                DiTConfig(2, hidden_dim=32, blocks=3, heads=4, cond_dim=64, dropout=0.0), STEEP, {4: 40}
            ),
        },
        rules={"equal rules": {}, "Zipf": {"zipf": 1.0}},
        course=(24, (20, 60)),
        grammars=2,
        sequences=8,
        steps=8,
    ),
    relaxation=Relaxation(
        grammar={"symbols": 4, "rules": 2, "depth": 3},
        alphas=(0.8, 0.5),
        shown=(0.8, 0.5),
        turns=4,
        chains=20,
        grammars=2,
    ),
    theory=Theory(
        hopfield_length=300,
        hopfield_loads=(0.02, 0.08, 0.16),
        temperatures=(0.0, 0.4),
        perceptrons={12: (0.5, 1.0, 2.0), 40: (0.5, 1.0)},
        likelihood_inputs=40,
        likelihood_loads=(0.5,),
        norms=(0.5, 1.0, 4.0),
        lengths=(8, 16),
        rates=(0.1, 0.25),
        noise=(0.2, 0.4, 0.6, 0.8),
        disorder=3,
        points=8,
        noisy=60,
    ),
    noises=Noises(
        kinds={"uniform": {}, "masked": {"noise": "masked", "schedule": "linear"}},
        text_sizes=(32, 2048),
        strings=(4, 24),
        sequences=8,
    ),
)
