"""The published checkpoints, measured as their authors did; what needs none is that of the laptop.

Noise levels, numbers of sequences and the grid of 1000 steps that a corruption at time t enters at t are those of the
released scripts. Networks are found by `paper_figures.published`, and come in two protocols: ours, and the published
one, with the weights of the last step and a greedy last call.
"""

from dataclasses import replace

from paper_figures.presets.laptop import LAPTOP
from paper_figures.presets.schema import Language, Preset

NOISE = (0.05, 0.1, 0.25, 0.5, 1.0)

PAPER = Preset(
    about="the published checkpoints, as published and as ours; needs --checkpoints, --corpus and --tokenizer",
    rehearsal=False,
    language=Language(
        tokenizer="",
        length=128,
        recipes={},
        sequences=5000,
        generated=20_000,
        greedy_sequences=5000,
        greedy_noise=NOISE,
        noise=NOISE,
        steps=1000,
        greedy_steps=1000,
        generation_steps=1000,
        entered=True,
        packing="sentences",
    ),
    memories=LAPTOP.memories,
    margins=LAPTOP.margins,
    hierarchy=LAPTOP.hierarchy,
    relaxation=LAPTOP.relaxation,
    theory=LAPTOP.theory,
    noises=replace(LAPTOP.noises, text_sizes=()),
    by_name=LAPTOP.by_name,
)
