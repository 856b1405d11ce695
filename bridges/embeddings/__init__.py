"""From the first step of a linear denoiser to word embeddings: the eigenvectors of co-occurrence statistics.

With P(i, j) the frequency of words i, j in one window and P(i) its marginal, M(i, j) = P(i, j) / (P(i) P(j)). Word
embeddings are top eigenvectors times sqrt(eigenvalue) of M - 1, of log M, or of a bounded variant (arXiv 2505.18651,
2602.15029). The linear-logit diffusion model (`uddm.Linear`) takes its first step along the same matrix:
`first_step`, for uniform P(i) a multiple of M - 1.

Two languages in which all is known, of sentences of words that are independent given a latent: `CyclicLanguage`
(months) and `AttributeLanguage` (king, queen, man, woman).
"""

from bridges.embeddings.analogies import analogy_accuracy, read_analogies, word_sentences
from bridges.embeddings.languages import AttributeLanguage, CyclicLanguage
from bridges.embeddings.spectrum import STATISTICS, Embeddings, Statistic, cooccurrence, embed, first_step

__all__ = [
    "STATISTICS",
    "AttributeLanguage",
    "CyclicLanguage",
    "Embeddings",
    "Statistic",
    "analogy_accuracy",
    "cooccurrence",
    "embed",
    "first_step",
    "read_analogies",
    "word_sentences",
]
