"""What a preset says: everything a figure depends on besides the corpus and the seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from uddm.choices import Last, Packing
from uddm.config import NetworkConfig, TrainConfig


@dataclass(frozen=True)
class Protocol:
    """How a trained network is measured.

    weights: their average ("ema"), or those of the last step ("raw"). precision: of the network, read-out and x_theta.
    last: call of a generation. The published numbers are those of `PUBLISHED`, in half precision.
    """

    weights: Literal["ema", "raw"] = "ema"
    precision: Literal["float32", "float16"] = "float32"
    last: Last = "ancestral"


OURS = Protocol()
PUBLISHED = Protocol("raw", "float32", "greedy")


@dataclass(frozen=True)
class Recipe:
    """A network, its training, and `sizes`: optimizer steps by training-set size; of `seeds` that give training subset,
    first weights and batches; and how it is measured. Vocabulary, length, steps and seed are those of the data, the
    size and the run, whatever the configurations say."""

    network: NetworkConfig
    training: TrainConfig
    sizes: dict[int, int]
    seeds: int = 1
    protocol: Protocol = OURS

    @property
    def width(self) -> int:
        """Of the network's hidden states."""
        return self.network.to_dict()["hidden_dim"]


@dataclass(frozen=True)
class Published:
    """Networks of one shape that others have trained: their checkpoint files by training-set size, what tells the
    content of each file, and how they are measured."""

    files: dict[int, str]
    contents: dict[int, str]
    network: NetworkConfig
    protocol: Protocol = OURS
    seeds: int = 1

    @property
    def sizes(self) -> dict[int, int]:
        """Optimizer steps that are left to do, by training-set size."""
        return dict.fromkeys(self.files, 0)

    @property
    def width(self) -> int:
        """Of the network's hidden states."""
        return self.network.to_dict()["hidden_dim"]


@dataclass(frozen=True)
class Language:
    """Diffusion language models trained on nested subsets of one corpus.

    recipes: by the name in the figures; the first is the main one, drawn in all figures. widths: networks of its kind
    and other widths, for what depends on the size of the model. variants: the main one under other protocols, by what
    is different. sequences, generated, greedy_sequences: how many are measured, by deterministic dynamics the last.
    steps, greedy_steps, generation_steps: of the reverse process in Experiments 2, 1 and 3; if `entered`, of the whole
    process, which a corruption at time t enters at t. limit: largest training set whose exact memorization limit is
    measured. packing: of the corpus, as for `uddm.corpora.prepare_blocks`.
    """

    tokenizer: str
    length: int
    recipes: dict[str, Recipe | Published]
    sequences: int
    generated: int
    greedy_sequences: int
    widths: dict[str, Recipe | Published] = field(default_factory=dict)
    variants: dict[str, Recipe | Published] = field(default_factory=dict)
    entered: bool = False
    limit: int = 1_000_000
    packing: Packing = "stream"
    greedy_noise: tuple[float, ...] = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)
    noise: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 1.0)
    steps: int = 16
    greedy_steps: int = 50
    generation_steps: int = 64


@dataclass(frozen=True)
class Memories:
    """Binary memories trained on random-features data x = sgn(sum_k c_k f_k), c_k = +-1 for `active` features, else 0.

    length, loads: L, and alpha = P / L. other_lengths: with their loads, of memories in which only the end of
    memorization is located. features: alpha_D = D / L. disorder: number of independent data sets.
    """

    length: int
    loads: tuple[float, ...]
    features: float
    active: int
    ridge: float
    disorder: int
    sequences: int
    other_lengths: dict[int, tuple[float, ...]] = field(default_factory=dict)
    noise: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 0.75)
    sweeps: int = 100


@dataclass(frozen=True)
class Margins:
    """Binary memories whose margins and basins are compared, and the retrieval of features by Hebb's couplings.

    On random patterns: length, loads. norms: beta ||W_l|| of the pseudo-likelihood memories, ascending. steps, rate: of
    gradient descent from Hebb's couplings, in which each row moves by rate / length times its gradient. On examples
    made of random features: feature_length, feature_loads, and features / feature_length, how many there are; mixed:
    odd, features in an unseen example. On both: disorder samples, and probes, patterns that retrieval starts from.
    """

    length: int
    loads: tuple[float, ...]
    norms: tuple[float, ...]
    feature_length: int
    feature_loads: tuple[float, ...]
    features: float
    disorder: int
    mixed: int = 3
    probes: int = 20
    steps: int = 400
    rate: float = 10.0


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
class Theory:
    """Random patterns in memories whose theory is known for L -> infinity, or exactly; `disorder` samples of them.

    Hopfield's: hopfield_length, hopfield_loads, ascending, temperatures of `sweeps` sweeps from `probes` patterns.
    Largest margins: perceptrons, loads P / N by the number of inputs N = L - 1, ascending. Pseudo-likelihood:
    likelihood_inputs, likelihood_loads, norms beta ||W_l||, ascending, start_overlap before the first step.
    Empirical Bayes on sequences of random letters: letters K, lengths, ascending, rates log P / L in nats, ascending,
    noise t = 1 - alpha_t of `noisy` sequences. points: of a line.
    """

    hopfield_length: int
    hopfield_loads: tuple[float, ...]
    temperatures: tuple[float, ...]
    perceptrons: dict[int, tuple[float, ...]]
    likelihood_inputs: int
    likelihood_loads: tuple[float, ...]
    norms: tuple[float, ...]
    lengths: tuple[int, ...]
    rates: tuple[float, ...]
    noise: tuple[float, ...]
    disorder: int
    points: int
    probes: int = 10
    sweeps: int = 60
    start_overlap: float = 0.7
    letters: int = 4
    noisy: int = 200


@dataclass(frozen=True)
class Noises:
    """The main networks of text and of the hierarchical language, trained on the same data in as many steps under each
    of several noises.

    kinds: what is different in the configuration of the network, by the name in the figures; the first is that of the
    main networks themselves. text_sizes, strings: some of their training-set sizes. noise: share of tokens replaced by
    uniform draws, of `sequences` training and as many unseen ones, that the conditionals are to restore.
    """

    kinds: dict[str, dict[str, Any]]
    text_sizes: tuple[int, ...]
    strings: tuple[int, ...]
    noise: float = 0.25
    sequences: int = 100


@dataclass(frozen=True)
class Preset:
    """A named scale of the same figures and claims. rehearsal: whether verdicts mean nothing yet. by_name: figures and
    claims that are left out unless they are asked for, as they take too long."""

    about: str
    rehearsal: bool
    language: Language
    memories: Memories
    margins: Margins
    hierarchy: Hierarchy
    relaxation: Relaxation
    theory: Theory
    noises: Noises
    by_name: tuple[str, ...] = ()
