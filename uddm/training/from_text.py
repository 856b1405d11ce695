"""From text to a trained network: what `python -m uddm train` does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from uddm._validation import check_device
from uddm.config import RunConfig
from uddm.corpora import TokenBlocks, Tokenizer, load_corpus, prepare_blocks, tokenizer_from_name
from uddm.corpora.lm1b import lm1b_test
from uddm.denoisers import Network, network_of
from uddm.streams import keyed_seed
from uddm.training.distributed import on_first
from uddm.training.loop import check_micro_batch, claim, train


def run(out: str | Path, config: RunConfig, **how: Any) -> Network:
    """Cut a corpus into blocks, train a network on them, and return it; go on where `out` stopped.

    Parameters
    ----------
    out : the run folder of `uddm.train`, which also holds the blocks, in `corpus`
    config : what is trained, and on what; one of `uddm.config.RUNS` with some settings replaced, say. The network is
        the one in the registry whose class of configurations it names.
    **how : device, micro_batch, parallel, compile, deterministic, tensorboard, progress of `uddm.train`

    Returns
    -------
    Network in evaluation mode, with averaged weights

    Raises
    ------
    FileNotFoundError : a corpus or tokenizer file that is missing
    ValueError : no corpus or tokenizer is given, or a training subset larger than the training set; and the errors of
        `uddm.train`
    """
    recipe = config.recipe
    check_micro_batch(recipe, how.get("micro_batch"))
    check_device(how.get("device", "cpu"))
    network = network_of(config.network)

    if config.corpus is None or config.tokenizer is None:
        raise ValueError(f"`{'corpus' if config.corpus is None else 'tokenizer'}` must be given")
    names, tokens = config.corpus, config.tokenizer

    def prepare() -> tuple[TokenBlocks, Tokenizer]:
        corpus = load_corpus(names)
        tokenizer = tokenizer_from_name(tokens, corpus)
        claim(Path(out), replace(config.network, vocab_size=tokenizer.vocab_size), recipe, None)
        test = load_corpus(config.test_corpus) if config.test_corpus else lm1b_test(names)
        options = {"packing": config.packing, "seed": recipe.seed, "cache_dir": Path(out) / "corpus"}
        return prepare_blocks(corpus, tokenizer, config.network.length, test=test, **options), tokenizer

    blocks, tokenizer = on_first(prepare)
    size = config.sequences if config.fraction is None else blocks.size_of(config.fraction)
    if size and size > blocks.train_size:
        raise ValueError(f"`sequences` must be at most the {blocks.train_size} that the corpus gives, got {size}")
    torch.manual_seed(keyed_seed(recipe.seed, "weights"))
    model = network(replace(config.network, vocab_size=tokenizer.vocab_size))
    return train(model, blocks.train(size, copy=False), recipe, out, tokenizer=tokenizer, **how)
