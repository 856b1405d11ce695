from .blocks import TokenBlocks as TokenBlocks
from .blocks import fractions as fractions
from .blocks import prepare_blocks as prepare_blocks
from .corpus import Corpus as Corpus
from .hierarchical import LatentClusters as LatentClusters
from .hierarchical import RandomHierarchy as RandomHierarchy
from .hierarchical import cluster_latents as cluster_latents
from .lm1b import lm1b_detokenize as lm1b_detokenize
from .lm1b import load_lm1b as load_lm1b
from .subwords import SubwordTokenizer as SubwordTokenizer
from .subwords import bert_tokenizer as bert_tokenizer
from .subwords import gpt2_tokenizer as gpt2_tokenizer
from .subwords import train_bpe as train_bpe
from .text import documentation_text as documentation_text
from .text import load_corpus as load_corpus
from .tokenizer_files import load_tokenizer as load_tokenizer
from .tokenizer_files import read_tokenizer as read_tokenizer
from .tokenizer_files import tokenizer_from_name as tokenizer_from_name
from .tokenizers import LETTERS as LETTERS
from .tokenizers import ByteTokenizer as ByteTokenizer
from .tokenizers import CharacterTokenizer as CharacterTokenizer
from .tokenizers import Tokenizer as Tokenizer

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
