"""Text corpora, tokenizers, and token blocks on disk.

From a name to training data:

    corpus = load_corpus("python-docs")
    tokenizer = tokenizer_from_name("letters", corpus)
    blocks = prepare_blocks(corpus, tokenizer, length=16)
    blocks.train(512)  # (512, 16) int64, the first 512 blocks of one seeded permutation

The data of arXiv 2604.26841, from the published tarball, in bounded memory:

    tokenizer = gpt2_tokenizer("encoder.json", "vocab.bpe")
    train, test = load_lm1b("1-billion-word-....tar.gz"), load_lm1b("1-billion-word-....tar.gz", "test")
    blocks = prepare_blocks(train, tokenizer, 128, test=test, packing="sentences", seed=1)
    for fraction in fractions():
        blocks.train(blocks.size_of(fraction), copy=False)  # (n, 128) uint16, a view of the file
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uddm.corpora.blocks import TokenBlocks as TokenBlocks
    from uddm.corpora.blocks import fractions as fractions
    from uddm.corpora.blocks import prepare_blocks as prepare_blocks
    from uddm.corpora.corpus import Corpus as Corpus
    from uddm.corpora.hierarchy import RandomHierarchy as RandomHierarchy
    from uddm.corpora.latent_clustering import LatentClusters as LatentClusters
    from uddm.corpora.latent_clustering import cluster_latents as cluster_latents
    from uddm.corpora.lm1b import lm1b_detokenize as lm1b_detokenize
    from uddm.corpora.lm1b import load_lm1b as load_lm1b
    from uddm.corpora.text import documentation_text as documentation_text
    from uddm.corpora.text import load_corpus as load_corpus
    from uddm.corpora.tokenizers import LETTERS as LETTERS
    from uddm.corpora.tokenizers import ByteTokenizer as ByteTokenizer
    from uddm.corpora.tokenizers import CharacterTokenizer as CharacterTokenizer
    from uddm.corpora.tokenizers import SubwordTokenizer as SubwordTokenizer
    from uddm.corpora.tokenizers import Tokenizer as Tokenizer
    from uddm.corpora.tokenizers import bert_tokenizer as bert_tokenizer
    from uddm.corpora.tokenizers import gpt2_tokenizer as gpt2_tokenizer
    from uddm.corpora.tokenizers import load_tokenizer as load_tokenizer
    from uddm.corpora.tokenizers import read_tokenizer as read_tokenizer
    from uddm.corpora.tokenizers import tokenizer_from_name as tokenizer_from_name
    from uddm.corpora.tokenizers import train_bpe as train_bpe

__all__ = [
    "LETTERS",
    "ByteTokenizer",
    "CharacterTokenizer",
    "Corpus",
    "LatentClusters",
    "RandomHierarchy",
    "SubwordTokenizer",
    "TokenBlocks",
    "Tokenizer",
    "bert_tokenizer",
    "cluster_latents",
    "documentation_text",
    "fractions",
    "gpt2_tokenizer",
    "lm1b_detokenize",
    "load_corpus",
    "load_lm1b",
    "load_tokenizer",
    "prepare_blocks",
    "read_tokenizer",
    "tokenizer_from_name",
    "train_bpe",
]

_HOMES = {
    "TokenBlocks": "uddm.corpora.blocks",
    "fractions": "uddm.corpora.blocks",
    "prepare_blocks": "uddm.corpora.blocks",
    "Corpus": "uddm.corpora.corpus",
    "RandomHierarchy": "uddm.corpora.hierarchy",
    "LatentClusters": "uddm.corpora.latent_clustering",
    "cluster_latents": "uddm.corpora.latent_clustering",
    "lm1b_detokenize": "uddm.corpora.lm1b",
    "load_lm1b": "uddm.corpora.lm1b",
    "documentation_text": "uddm.corpora.text",
    "load_corpus": "uddm.corpora.text",
    "LETTERS": "uddm.corpora.tokenizers",
    "ByteTokenizer": "uddm.corpora.tokenizers",
    "CharacterTokenizer": "uddm.corpora.tokenizers",
    "SubwordTokenizer": "uddm.corpora.tokenizers",
    "Tokenizer": "uddm.corpora.tokenizers",
    "bert_tokenizer": "uddm.corpora.tokenizers",
    "gpt2_tokenizer": "uddm.corpora.tokenizers",
    "load_tokenizer": "uddm.corpora.tokenizers",
    "read_tokenizer": "uddm.corpora.tokenizers",
    "tokenizer_from_name": "uddm.corpora.tokenizers",
    "train_bpe": "uddm.corpora.tokenizers",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'uddm.corpora' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
