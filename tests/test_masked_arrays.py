"""Masked elements are refused by every package, as numpy would hand out what lies under the mask; arrays without any
mean what they always mean."""

import numpy as np
import pytest
import torch

from amtheory import Hopfield, PseudoInverse, PseudoLikelihood, retrieve, theory
from amtheory.patterns import binarize, random_patterns
from bridges import DiffusionSystem, as_system, conditional_entropy, to_spins, token_recovery
from bridges.embeddings import cooccurrence
from uddm import EmpiricalBayes, HierarchyBayes, UniformProcess, evidence_bound, nelbo, reverse
from uddm.corpora import CharacterTokenizer, RandomHierarchy
from uddm.denoisers import Linear

SPINS = random_patterns(3, 20, rng=0)
MEMORY = Hopfield().fit(SPINS)
PROCESS = UniformProcess(3)
TOKENS = np.array([[0, 1, 2], [2, 2, 1], [1, 0, 0]])
DENOISER = EmpiricalBayes(torch.as_tensor(TOKENS), PROCESS)
SYSTEM = DiffusionSystem(DENOISER)
TIMES = np.array([0.2, 0.5, 0.9])


def masked(array, where):
    array = np.ma.masked_array(array, mask=False)
    array[where] = np.ma.masked
    return array


def rng():
    return np.random.default_rng(0)


def loss(x, z, t=0.5):
    return nelbo(PROCESS, DENOISER.predict(torch.as_tensor(TOKENS), 0.5), x, z, t)


SPIN_USES = {
    "fit": lambda x: Hopfield().fit(x).couplings_,
    "fit by projection": lambda x: PseudoInverse().fit(x).couplings_,
    "fit by likelihood": lambda x: PseudoLikelihood(ridge=1.0).fit(x).couplings_,
    "stabilities": lambda x: MEMORY.stabilities(x),
    "local fields": lambda x: MEMORY.local_field(x),
    "states": lambda x: retrieve(MEMORY, x)[0],
}
TOKEN_USES = {
    "recovery": lambda x: token_recovery(SYSTEM, x, noise=0.5, steps=2, rng=0).final,
    "entropy": lambda x: conditional_entropy(SYSTEM, x, rng=0).token_entropy,
    "recovery of an associative memory": lambda x: (
        token_recovery(
            as_system(MEMORY, beta=1.0), np.ma.concatenate([x] * 7, axis=1)[:, :20] % 2, noise=0.5, rng=0
        ).final
    ),
    "corrupt": lambda x: SYSTEM.corrupt(x, 0.5, rng()),
    "conditional": lambda x: SYSTEM.conditional(x, 0.5).entropy(),
    "log_prob": lambda x: SYSTEM.conditional(TOKENS, 0.5).log_prob(x),
    "recover": lambda x: SYSTEM.recover(x, steps=2, rng=rng()),
    "reverse": lambda x: reverse(PROCESS, DENOISER, x, steps=2, generator=0),
    "bound": lambda x: evidence_bound(PROCESS, DENOISER, x, times=2, generator=0).total,
    "loss of clean tokens": lambda x: loss(x, TOKENS),
    "loss of noisy tokens": lambda x: loss(TOKENS, x),
    "process": lambda x: PROCESS.corrupt(x, 0.5, generator=0),
    "cavity": lambda x: DENOISER.cavity(x, 0.5),
}
TIME_USES = {
    "alpha": PROCESS.alpha,
    "rate": PROCESS.rate,
    "loss at times": lambda t: loss(TOKENS, TOKENS, t),
    "recovery at noises": lambda t: token_recovery(SYSTEM, TOKENS, noise=t, steps=2, rng=0).final,
}
GRAMMAR = RandomHierarchy(symbols=3, rules=1, branching=3, depth=1, seed=0)
COUPLINGS = np.array([[0.0, 1.0], [1.0, 0.0]])
PAIRS = np.array([[0, 1], [1, 1]])
OTHER_USES = {
    "training set of the exact limit": (lambda x: EmpiricalBayes(x, PROCESS).cavity(TOKENS, 0.5), TOKENS),
    "external field": (lambda h: HierarchyBayes(GRAMMAR, PROCESS, field=h).cavity(TOKENS, 0.5), np.zeros((3, 3))),
    "a string to draw": (lambda x: [GRAMMAR.draw(x)], GRAMMAR.sample(1, rng=0)[0]),
    "linear model": (lambda W: Linear.from_couplings(W).cavity(PAIRS, 0.5).detach(), COUPLINGS),
    "data to binarise": (binarize, np.arange(6.0).reshape(3, 2)),
    "tokens to spins": (to_spins, np.array([0, 1, 1])),
    "load": (theory.hopfield.overlap, np.array([0.01, 0.02])),
    "stabilities of a theory": (lambda x: theory.stability.empirical(x).nodes, np.array([0.1, 0.2])),
    "sentences": (lambda x: cooccurrence([x], 3, window=1).toarray(), np.array([0, 1, 2])),
    "ids to decode": (lambda x: [CharacterTokenizer().decode(x)], np.array([1, 2, 3])),
}
USES = [
    *((use, SPINS) for use in SPIN_USES.values()),
    (lambda W: retrieve(W, SPINS)[0], MEMORY.couplings_),
    *((use, TOKENS) for use in TOKEN_USES.values()),
    *((use, TIMES) for use in TIME_USES.values()),
    *OTHER_USES.values(),
]
NAMES = [*SPIN_USES, "couplings", *TOKEN_USES, *TIME_USES, *OTHER_USES]


@pytest.mark.parametrize(("use", "array"), USES, ids=NAMES)
def test_masked_elements_are_refused(use, array):
    for where in (0, -1, (0,) * array.ndim):
        with pytest.raises(TypeError, match="masked"):
            use(masked(array, where))


@pytest.mark.parametrize(("use", "array"), USES, ids=NAMES)
@pytest.mark.parametrize("mask", [False, np.ma.nomask])
def test_arrays_that_could_have_masked_elements_but_have_none_are_as_any(use, array, mask):
    np.testing.assert_array_equal(use(np.ma.masked_array(array, mask=mask)), use(array))


@pytest.mark.parametrize(("use", "array"), [use for use in USES if use[1].ndim == 2][:8], ids=NAMES[:8])
def test_masked_rows_of_lists_are_refused(use, array):
    rows = [masked(array[0], 0), *array[1:]]
    for value in (rows, tuple(rows), [list(rows[0]), *map(list, array[1:])]):
        with pytest.raises(TypeError, match="masked"):
            use(value)


def test_a_masked_number_is_no_number():
    nothing = np.ma.masked_array([1.0], mask=True)[0]
    for call in (
        lambda: retrieve(MEMORY, SPINS, temperature=nothing),
        lambda: retrieve(MEMORY, SPINS, max_sweeps=nothing),
        lambda: PseudoLikelihood(ridge=nothing).fit(SPINS),
        lambda: token_recovery(SYSTEM, TOKENS, noise=nothing),
        lambda: PROCESS.alpha(nothing),
    ):
        with pytest.raises(TypeError):
            call()


@pytest.mark.filterwarnings("ignore::UserWarning")  # both kinds of tensor are called prototypes
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.as_tensor(TOKENS).to_sparse(),
        lambda: torch.as_tensor(TOKENS).to_sparse_csr(),
        lambda: torch.masked.masked_tensor(torch.as_tensor(TOKENS), torch.as_tensor(TOKENS) > 0),
        lambda: torch.nested.nested_tensor([torch.zeros(3).long(), torch.zeros(2).long()], layout=torch.jagged),
        lambda: torch.nested.nested_tensor([torch.zeros(3).long(), torch.zeros(3).long()], layout=torch.strided),
    ],
    ids=["sparse", "compressed", "masked", "jagged", "nested"],
)
def test_tensors_that_are_not_dense_are_refused(make):
    tokens = make()
    with pytest.raises(TypeError, match="`x` must be a dense tensor without a mask"):
        PROCESS.corrupt(tokens, 0.5, generator=0)


@pytest.mark.parametrize(
    "value",
    [[[1, -1], [1]], np.array([[1, None]]), np.array([(1, -1)], dtype=[("a", int), ("b", int)]), "+-", object()],
    ids=["ragged", "objects", "fields", "text", "object"],
)
def test_what_is_no_array_of_numbers_is_refused_by_name(value):
    with pytest.raises((TypeError, ValueError), match="`patterns` must"):
        Hopfield().fit(value)
    with pytest.raises((TypeError, ValueError), match="`x` must"):
        token_recovery(SYSTEM, value, noise=0.5)
    with pytest.raises((TypeError, ValueError), match="`z` must"):
        reverse(PROCESS, DENOISER, value)
    with pytest.raises(TypeError, match="`t` must be a number"):
        PROCESS.alpha(value)
