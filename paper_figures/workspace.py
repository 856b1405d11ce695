"""A results folder: its cells, and what they are of."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from paper_figures import published
from paper_figures.cells import Cells
from paper_figures.presets import Language, Preset, named
from uddm import corpora
from uddm.corpora.lm1b import lm1b_test
from uddm.corpora.tokenizer_files import TOKENIZER_FORMS
from uddm.files import as_path

if TYPE_CHECKING:
    from uddm.corpora import TokenBlocks, Tokenizer


class Workspace(Cells):
    """The results of one preset on one corpus in one folder.

    Parameters
    ----------
    folder : created if needed
    preset : a key of `PRESETS`, or a preset of one's own
    corpus : "python-docs", or paths of text files; LM1B brings its own test set
    tokenizer : as `uddm.corpora.tokenizer_from_name` takes it; by default that of the preset
    checkpoints : published networks to measure in the place of those of the preset: a folder, or hf://owner/name;
        `paper_figures.published` says which files of it
    half : whether these are measured in half precision too
    sequences : of each kind that are measured at most; by default as many as the preset says
    seed : of the data split, initial weights, training and measurements
    device : of networks

    Raises
    ------
    ValueError : no such preset, or one that lacks a tokenizer or checkpoints that are not given; no checkpoint that
        fits the corpus
    """

    def __init__(
        self,
        folder: str | Path,
        preset: str | Preset,
        *,
        corpus: Sequence[str] = ("python-docs",),
        tokenizer: str | None = None,
        checkpoints: str | None = None,
        half: bool = False,
        sequences: int | None = None,
        seed: int = 0,
        device: str = "cpu",
    ):
        self.name, self.preset = (preset, named(preset)) if isinstance(preset, str) else ("custom", preset)
        super().__init__(as_path("folder", folder).absolute(), seed)
        self.corpus, self.device = tuple(corpus), device
        self.skipped: list[str] = []
        if tokenizer is not None:
            self._speak(replace(self.preset.language, tokenizer=tokenizer))
        if not self.preset.language.tokenizer:
            raise ValueError(f"`tokenizer` must be given for preset {self.name!r}: {TOKENIZER_FORMS}")
        if sequences is not None:
            names = ("sequences", "generated", "greedy_sequences")
            fewer = {name: min(sequences, getattr(self.preset.language, name)) for name in names}
            self._speak(replace(self.preset.language, **fewer))
        if checkpoints is not None:
            networks, reasons = published.find(checkpoints, self.blocks)
            self._skip(reasons)
            self._speak(published.with_networks(self.preset.language, networks, half=half))
        elif not self.preset.language.recipes:
            raise ValueError(f"`checkpoints` must be given for preset {self.name!r}")

    def _speak(self, language: Language) -> None:
        """Another language in the preset."""
        self.preset = replace(self.preset, language=language)

    def _skip(self, reasons: Sequence[str]) -> None:
        """Record and tell what is left out, each once."""
        for reason in reasons:
            if reason not in self.skipped:
                self.skipped.append(reason)
                print(f"skipped: {reason}", file=sys.stderr, flush=True)

    def lose(self, source: str, reason: str) -> None:
        """Go on without a checkpoint that cannot be read."""
        self._skip([reason])
        self._speak(published.without(self.preset.language, source))

    def prepare(self) -> None:
        """Read the corpus, the first time anything asks for it, and cut it into blocks in the folder."""
        language = self.preset.language
        networks = (language.recipes | language.widths).values()
        needed = max(size for network in networks for size in network.sizes)
        if self.blocks.train_size < needed:
            raise ValueError(
                f"`corpus` gives {self.blocks.train_size} training sequences of length {language.length}, "
                f"but preset {self.name!r} needs {needed}"
            )

    @cached_property
    def _text(self) -> tuple[Tokenizer, TokenBlocks]:
        language = self.preset.language
        corpus = corpora.load_corpus(self.corpus)
        tokenizer = corpora.tokenizer_from_name(language.tokenizer, corpus)
        options = {"packing": language.packing, "test": lm1b_test(self.corpus), "seed": self.seed}
        blocks = corpora.prepare_blocks(corpus, tokenizer, language.length, cache_dir=self.folder / "corpus", **options)
        return tokenizer, blocks

    @property
    def tokenizer(self) -> Tokenizer:
        """That of the corpus."""
        return self._text[0]

    @property
    def blocks(self) -> TokenBlocks:
        """The corpus as token blocks."""
        return self._text[1]
