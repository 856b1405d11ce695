"""The one table of presets: everything a figure depends on besides the corpus and the seed.

How the laptop preset was chosen is told in docs/laptop-preset.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """A network and its training: `sizes` maps training-set size to optimizer steps; `model` and `training` are fields
    of the network's configuration and of `uddm.TrainConfig`."""

    network: str
    sizes: dict[int, int]
    model: dict[str, Any]
    training: dict[str, Any]


@dataclass(frozen=True)
class Language:
    """Diffusion language models trained on nested subsets of one corpus.

    recipes: by the name in the figures; the first is the main one, drawn in all figures. sequences, generated: how many
    are measured. steps, greedy_steps, generation_steps: of the reverse process in Experiments 2, 1 and 3.
    """

    tokenizer: str
    length: int
    recipes: dict[str, Recipe]
    sequences: int
    generated: int
    greedy_noise: tuple[float, ...] = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)
    noise: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 1.0)
    steps: int = 16
    greedy_steps: int = 50
    generation_steps: int = 64


@dataclass(frozen=True)
class Memories:
    """Binary memories trained on random-features data x = sgn(sum_k c_k f_k), c_k = +-1 for `active` features, else 0.

    loads: alpha = P / L. features: alpha_D = D / L. disorder: number of independent data sets.
    """

    length: int
    loads: tuple[float, ...]
    features: float
    active: int
    ridge: float
    disorder: int
    sequences: int
    noise: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 0.75)
    sweeps: int = 100


@dataclass(frozen=True)
class Hierarchy:
    """Networks trained on nested sets of distinct strings of the Random Hierarchy Model.

    grammar: arguments of `uddm.corpora.RandomHierarchy`. recipes: by the name in the figures; the first is trained on
    `grammars` grammars, others on the first of these. rules: further arguments, by the name in the figures; the first
    hold for all recipes. course: a training-set size and numbers of training steps, at which the first recipe is used
    on all rules. sequences: how many of each kind are measured. noise: of the corruption whose recovery is measured.
    steps: of the reverse process.
    """

    grammar: dict[str, Any]
    recipes: dict[str, Recipe]
    rules: dict[str, dict[str, Any]]
    course: tuple[int, tuple[int, ...]]
    grammars: int
    sequences: int
    noise: float = 0.5
    steps: int = 32


@dataclass(frozen=True)
class Relaxation:
    """Chains of U-turns with the exact denoiser of a Random Hierarchy Model.

    grammar: arguments of `uddm.corpora.RandomHierarchy`. alphas: signal levels alpha_t of the U-turns, falling; shown:
    the two whose chains are drawn. turns, chains: in each of `grammars` grammars.
    """

    grammar: dict[str, Any]
    alphas: tuple[float, ...]
    shown: tuple[float, float]
    turns: int
    chains: int
    grammars: int


@dataclass(frozen=True)
class Preset:
    """A named scale of the same figures."""

    language: Language
    memories: Memories
    hierarchy: Hierarchy
    relaxation: Relaxation
    about: str = field(default="")


HOLLOW = {"hidden_dim": 160, "blocks": 3, "embed_dim": 32, "cond_dim": 64, "dropout": 0.0}
TRANSFORMER = {"hidden_dim": 96, "blocks": 3, "heads": 4, "cond_dim": 64, "dropout": 0.0}
FAST = {"batch_size": 64, "learning_rate": 3e-3, "betas": (0.9, 0.99), "warmup": 100, "decay": "cosine"}

TREE = {"batch_size": 64, "learning_rate": 4e-3, "warmup": 75, "decay": "cosine", "ema": 0.99}

PRESETS: dict[str, Preset] = {
    "smoke": Preset(
        about="every figure in under two minutes, to see that all works; too little training to show the transition",
        language=Language(
            tokenizer="letters",
            length=12,
            recipes={
                "hollow network": Recipe(
                    "HollowMLP",
                    {32: 100, 256: 100, 2048: 100},
                    {**HOLLOW, "hidden_dim": 32, "blocks": 2, "embed_dim": 16, "cond_dim": 16},
                    {**FAST, "warmup": 10, "learning_rate": 1e-2, "ema": 0.98},
                ),
                "transformer": Recipe(
                    "DiT",
                    {32: 60},
                    {**TRANSFORMER, "hidden_dim": 32, "blocks": 2, "cond_dim": 16},
                    {**FAST, "warmup": 10, "learning_rate": 1e-2, "ema": 0.98},
                ),
            },
            sequences=48,
            generated=48,
            noise=(0.25, 0.5, 1.0),
            greedy_noise=(0.1, 0.2, 0.5),
            steps=20,
            greedy_steps=40,
            generation_steps=20,
        ),
        memories=Memories(
            length=60,
            loads=(0.1, 1.0, 8.0),
            features=0.15,
            active=3,
            ridge=1e-2,
            disorder=3,
            sequences=50,
            noise=(0.1, 0.25, 0.5),
        ),
        hierarchy=Hierarchy(
            grammar={"symbols": 4, "rules": 2, "depth": 2},
            recipes={
                "tree network": Recipe(
                    "TreeUNet", {4: 60, 24: 60}, {"branching": 2, "depth": 2, "hidden_dim": 16}, {**FAST, "warmup": 5}
                ),
                "transformer": Recipe("DiT", {4: 40}, {**TRANSFORMER, "hidden_dim": 32}, {**FAST, "warmup": 5}),
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
    ),
    "laptop": Preset(
        about="the transition on two cores in about 40 minutes",
        language=Language(
            tokenizer="letters",
            length=16,
            recipes={
                "hollow network": Recipe(
                    "HollowMLP",
                    {64: 700, 256: 1000, 1024: 1600, 4096: 2400, 16384: 5000, 60000: 10000},
                    HOLLOW,
                    {**FAST, "ema": 0.998, "log_fraction": 0.5},
                ),
                "transformer": Recipe("DiT", {64: 4000, 256: 4000, 60000: 4000}, TRANSFORMER, {**FAST, "ema": 0.998}),
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
                    "TreeUNet",
                    dict.fromkeys((16, 64, 128, 256, 1024, 4096, 16384), 1500),
                    {"branching": 2, "depth": 4},
                    TREE,
                ),
                "transformer": Recipe(
                    "DiT",
                    dict.fromkeys((16, 128, 16384), 2500),
                    {"hidden_dim": 64, "blocks": 3, "heads": 4, "cond_dim": 32, "dropout": 0.0},
                    {**FAST, "ema": 0.99},
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
    ),
}
