"""Text corpora, tokenizers, and token blocks on disk.

From a name to training data::

    corpus = load_corpus("python-docs")
    tokenizer = tokenizer_from_name("letters", corpus)
    blocks = prepare_blocks(corpus, tokenizer, length=16)
    blocks.train(512)  # (512, 16) int64, the first 512 blocks of one seeded permutation

The data of arXiv 2604.26841, from the published tarball, in bounded memory::

    tokenizer = gpt2_tokenizer("encoder.json", "vocab.bpe")
    train, test = load_lm1b("1-billion-word-....tar.gz"), load_lm1b("1-billion-word-....tar.gz", "test")
    blocks = prepare_blocks(train, tokenizer, 128, test=test, packing="sentences", seed=1)
    for fraction in fractions():
        blocks.train(blocks.size_of(fraction), copy=False)  # (n, 128) uint16, a view of the file
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
