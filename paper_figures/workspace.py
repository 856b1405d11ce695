"""A results folder: its cells, and what they are of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from paper_figures.cells import Cells
from paper_figures.presets import PRESETS, Preset
from uddm import corpora
from uddm.files import as_path

if TYPE_CHECKING:
    from uddm.corpora import TokenBlocks, Tokenizer


class Workspace(Cells):
    """The results of one preset on one corpus in one folder.

    Parameters
    ----------
    folder : created if needed
    preset : a key of `PRESETS`
    corpus : "python-docs", or paths of text files
    seed : of the data split, initial weights, training and measurements
    """

    def __init__(self, folder: str | Path, preset: str, *, corpus: Sequence[str] = ("python-docs",), seed: int = 0):
        if preset not in PRESETS:
            raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}, got {preset!r}")
        super().__init__(as_path("folder", folder), seed)
        self.name, self.corpus = preset, tuple(corpus)
        self.preset: Preset = PRESETS[preset]

    def prepare(self) -> None:
        """Read the corpus, the first time anything asks for it, and cut it into blocks in the folder."""
        _ = self.blocks

    @cached_property
    def _text(self) -> tuple[Tokenizer, TokenBlocks]:
        language = self.preset.language
        corpus = corpora.load_corpus(self.corpus)
        tokenizer = corpora.tokenizer_from_name(language.tokenizer, corpus)
        cache = self.folder / "corpus"
        blocks = corpora.prepare_blocks(corpus, tokenizer, language.length, cache_dir=cache, seed=self.seed)
        needed = max(size for recipe in (language.recipes | language.widths).values() for size in recipe.sizes)
        if blocks.train_size < needed:
            raise ValueError(
                f"`corpus` gives {blocks.train_size} training sequences of length {language.length}, "
                f"but preset {self.name!r} needs {needed}"
            )
        return tokenizer, blocks

    @property
    def tokenizer(self) -> Tokenizer:
        """That of the corpus."""
        return self._text[0]

    @property
    def blocks(self) -> TokenBlocks:
        """The corpus as token blocks."""
        return self._text[1]
