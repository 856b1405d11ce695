"""Membership scores against sums over all strings, and the moments of log p against those of explicit distributions."""

import json
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_worlds import AMBIGUOUS, UNIFORM, ZIPF, bayes, network, states

from amtheory import Couplings, Hopfield, PseudoLikelihood
from amtheory.patterns import random_patterns
from bridges import SCORES, BinarySystem, area_under_roc, as_system, conditional_entropy, membership_scores, to_tokens
from bridges import membership as module
from uddm import EmpiricalBayes, UniformProcess
from uddm import prediction as predictions
from uddm.prediction import DensePrediction, HeadPrediction

DATA = np.random.default_rng(0).integers(3, size=(12, 7))
UNSEEN = np.random.default_rng(1).integers(3, size=(12, 7))
SYSTEM = as_system(EmpiricalBayes(torch.tensor(DATA), UniformProcess(3)))
T = 0.2
ROUNDING = 1e-5  # of a network of a few float32 products with log-probabilities below 10


def enumerated(strings, weights, alpha, z, K):
    """p(x_l | z without l), (B, L, K), of the language that has `strings` (P, L) with `weights`, by its definition."""
    kept = alpha * (z[:, None] == strings) + (1 - alpha) / K  # (B, P, L)
    others = np.stack([np.delete(kept, l, 2).prod(2) for l in range(z.shape[1])], -1) * weights[:, None]
    p = np.einsum("bpl,plk->blk", others, np.eye(K)[strings])
    return p / p.sum(-1, keepdims=True)


def scores_of(p, x):
    """The scores by their definitions, of tokens x (B, L) under p (B, L, K)."""
    log_p = np.log(np.where(p > 0, p, 1.0))
    at_x = np.take_along_axis(np.log(p, where=p > 0, out=np.full_like(p, -np.inf)), x[..., None], -1)[..., 0]
    mean = (p * log_p).sum(-1)
    sd = np.sqrt(((p * log_p**2).sum(-1) - mean**2).clip(0)).clip(1e-3)
    calibrated, least = (at_x - mean) / sd, int(np.ceil(x.shape[1] / 5))
    return {
        "token_log_prob": at_x,
        "token_entropy": -mean,
        "token_calibrated_surprise": calibrated,
        "pseudo_log_likelihood": at_x.mean(1),
        "entropy": -mean.mean(1),
        "calibrated_surprise_mean": calibrated.mean(1),
        "calibrated_surprise": np.partition(calibrated, least - 1)[:, :least].mean(1),
        "min_k": np.partition(at_x, least - 1)[:, :least].mean(1),
    }


def assert_scores(result, want):
    assert set(result.data_vars) == set(want)
    for name, value in want.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-9, atol=1e-9, err_msg=name)


def test_scores_in_the_memorization_limit():
    p = enumerated(DATA, np.ones(len(DATA)), SYSTEM.process.alpha(T).item(), UNSEEN, 3)
    assert_scores(membership_scores(SYSTEM, UNSEEN, t=T), scores_of(p, UNSEEN))


@pytest.mark.parametrize("grammar", [UNIFORM, ZIPF, AMBIGUOUS], ids=["uniform", "zipf", "ambiguous"])
def test_scores_in_the_generalization_limit(grammar):
    strings = states(grammar.symbols, grammar.length)
    denoiser, x = bayes(grammar), strings[::7]
    p = enumerated(strings, np.exp(grammar.log_prob(strings)), denoiser.process.alpha(T).item(), x, grammar.symbols)
    assert_scores(membership_scores(as_system(denoiser), x, t=T), scores_of(p, x))


def test_scores_of_a_binary_memory():
    W = np.random.default_rng(2).normal(size=(6, 6)) / 3
    np.fill_diagonal(W, 0)
    x = states(2, 6)
    up = 1 / (1 + np.exp(-2 * 0.7 * (2 * x - 1) @ W.T))
    p = np.stack([1 - up, up], -1)
    assert_scores(membership_scores(BinarySystem(Couplings(W), beta=0.7), x), scores_of(p, x))


@pytest.mark.parametrize(
    "system",
    [
        SYSTEM,
        as_system(bayes(ZIPF)),
        as_system(network()),
        as_system(network(), conditional="posterior"),
        BinarySystem(Hopfield().fit(random_patterns(3, 8, rng=3)), beta=0.7),
    ],
    ids=["EmpiricalBayes", "HierarchyBayes", "network", "its posterior", "Hopfield"],
)
def test_moments_are_those_of_the_distribution(system):
    """And of one pass as of three, bit for bit; calibrated surprise has mean 0 and variance 1 under the law itself."""
    x = np.random.default_rng(0).integers(system.vocab_size, size=(6, system.length))
    conditional = system.conditional(x, T)
    every = [conditional.surprise(np.full_like(x, k)) for k in range(system.vocab_size)]
    log_p, (_, entropy, variance) = np.stack([log_prob for log_prob, _, _ in every], -1), every[0]
    assert all(np.array_equal(each, conditional.log_prob(np.full_like(x, k))) for k, (each, _, _) in enumerate(every))
    assert np.array_equal(entropy, conditional.entropy())
    assert np.array_equal(variance, conditional.log_prob_variance())
    assert variance.dtype == np.float64
    p, error = np.exp(log_p), ROUNDING if isinstance(getattr(system, "denoiser", None), torch.nn.Module) else 1e-10
    shifted = log_p + entropy[..., None]
    np.testing.assert_allclose(variance, np.where(p > 0, p * shifted**2, 0).sum(-1), atol=error)
    c = shifted / np.sqrt(variance)[..., None]
    np.testing.assert_allclose((p * c).sum(-1), 0, atol=100 * error)
    np.testing.assert_allclose((p * c**2).sum(-1), 1, atol=100 * error)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("own", [False, True])
def test_the_head_sums_in_chunks_what_is_never_stored(dtype, tolerance, scale, own):
    generator = torch.Generator().manual_seed(0)
    h, weight = (torch.randn(shape, generator=generator).to(dtype) for shape in ((4, 5, 3), (1000, 3)))
    z, x = torch.randint(1000, (2, 4, 5), generator=generator)
    own_logit = torch.full((4, 5), 3.0, dtype=dtype) if own else None
    read_out = scale * h, weight, torch.linspace(-1, 1, 1000, dtype=dtype), z, own_logit
    seen = []
    with mock.patch.object(predictions, "chunk_size", return_value=3):
        head = HeadPrediction(*read_out)
        chunked = head._chunked
        head._chunked = lambda reduction: chunked(lambda logits: seen.append(len(logits)) or reduction(logits))
        entropy, variance = head.entropy_and_variance()
        before = len(seen)
        log_prob = head.log_prob(x)
        assert max(seen) == 3
        assert len(seen) == before, "log Z was known"
        assert torch.equal(log_prob, HeadPrediction(*read_out).log_prob(x))
        assert torch.equal(entropy, HeadPrediction(*read_out).entropy())
    logits = (scale * h).double() @ weight.double().T + read_out[2].double()
    if own:
        logits[torch.nn.functional.one_hot(z, 1000).bool()] -= 3
    exact = DensePrediction(logits.log_softmax(-1))
    p, log_p = exact.values.exp(), exact.values
    brute = (p * log_p**2).sum(-1) - (p * log_p).sum(-1) ** 2
    close = {"rtol": tolerance * max(scale, 1), "atol": tolerance * max(scale, 1)}
    torch.testing.assert_close(exact.entropy_and_variance()[1], brute, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(variance.double(), brute, **close)
    torch.testing.assert_close(entropy.double(), exact.entropy(), **close)
    torch.testing.assert_close(log_prob.double(), exact.log_prob(x), **close)


class Fields:
    """A memory with given fields."""

    def __init__(self, fields):
        self.fields, self.length_, self.beta = np.asarray(fields, float), len(fields), 1.0

    def local_field(self, states):
        return np.broadcast_to(self.fields, np.shape(states))


def test_variance_of_two_states():
    """p q (2f)^2, from 4 f^2/4 to 4 f^2 exp(-2|f|), without overflow."""
    f = np.array([0.0, 1e-9, 0.1, -0.5, 2.0, -3.0, 30.0, -300.0, 1e4, -1e300])
    variance = BinarySystem(Fields(f)).conditional(np.zeros((1, len(f)), np.int64), T).log_prob_variance()[0]
    p = 1 / (1 + np.exp(-2 * f[:6]))
    np.testing.assert_allclose(variance[:6], p * (1 - p) * 4 * f[:6] ** 2, rtol=1e-12)
    np.testing.assert_allclose(variance[6:8], 4 * f[6:8] ** 2 * np.exp(-2 * np.abs(f[6:8])), rtol=1e-12)
    assert np.array_equal(variance[8:], [0, 0])


def test_where_the_system_is_certain():
    """The expected token has calibrated surprise 0, any other a large negative one; nothing is divided by 0."""
    system = BinarySystem(Fields([1e4, 1e4, 1e4]))
    expected, one_other = membership_scores(system, [[1, 1, 1], [1, 0, 1]]).token_calibrated_surprise.values
    assert np.array_equal(expected, [0, 0, 0])
    np.testing.assert_allclose(one_other, [0, -2e4 / module.LEAST_SD, 0])


def test_impossible_tokens():
    """Minus infinity, which has its place in an order, and no NaN; the entropy stays as it is."""
    data = np.array([[0, 0, 0, 0, 0, 1], [0, 1, 1, 0, 0, 0]])
    result = membership_scores(as_system(EmpiricalBayes(torch.tensor(data), UniformProcess(3))), [[0, 0, 0, 0, 2, 1]])
    assert result.token_log_prob.values[0, 4] == -np.inf
    for name in ("pseudo_log_likelihood", "min_k", "calibrated_surprise", "calibrated_surprise_mean"):
        assert result[name].item() == -np.inf
    assert 0 <= result.entropy < np.log(3)


@pytest.mark.parametrize(
    ("system", "seen", "unseen"),
    [
        (SYSTEM, DATA, UNSEEN),
        (
            as_system(PseudoLikelihood(beta=1.0, ridge=1e-3).fit(random_patterns(8, 30, rng=0))),
            to_tokens(random_patterns(8, 30, rng=0)),
            to_tokens(random_patterns(50, 30, rng=1)),
        ),
    ],
    ids=["EmpiricalBayes", "PseudoLikelihood"],
)
def test_training_sequences_score_above_unseen_ones(system, seen, unseen):
    """With the sign that SCORES says, which names the scores that there are; and not above themselves."""
    seen, unseen = (membership_scores(system, x, t=T, train=seen) for x in (seen, unseen))
    assert {name for name in seen.data_vars if seen[name].dims == ("sample",)} == set(SCORES)
    for name, sign in SCORES.items():
        assert area_under_roc(sign * seen[name], sign * unseen[name]).low > 0.5, name
        assert area_under_roc(sign * seen[name], sign * seen[name]).value == pytest.approx(0.5)


def test_no_detector_beats_the_nearest_training_sequence():
    seen, unseen = (membership_scores(SYSTEM, x, train=DATA) for x in (DATA, UNSEEN))
    assert (seen.nearest == 1).all()
    assert (unseen.nearest < 1).all()
    assert area_under_roc(seen.nearest, unseen.nearest).value == 1


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(1, 40), st.randoms(use_true_random=False))
def test_nearest_is_the_largest_share_of_equal_tokens(N, P, L, pairs, random):
    x, train = (np.array([[random.randrange(3) for _ in range(L)] for _ in range(n)]) for n in (N, P))
    want = [max(sum(u == v for u, v in zip(row, other)) / L for other in train) for row in x]
    with mock.patch.object(module, "PAIRS", pairs):
        np.testing.assert_allclose(module.nearest_share(x, train), want, rtol=1e-15)


@pytest.mark.parametrize(("L", "count"), [(1, 1), (5, 1), (6, 2), (10, 2), (128, 26)])
def test_the_lowest_fifth(L, count):
    values = np.random.default_rng(0).permuted(np.arange(3.0 * L).reshape(3, L), axis=1)
    np.testing.assert_allclose(module.lowest_mean(values), np.arange(3) * L + (count - 1) / 2)


def test_min_k_plus_plus_under_its_other_name():
    """(log p - mu)/sigma, mu = E log p: the token that is drawn, not its entropy, decides the sign."""
    result = membership_scores(SYSTEM, UNSEEN, t=T)
    calibrated = result.token_calibrated_surprise
    above = result.token_log_prob > -result.token_entropy
    assert ((calibrated > 0) == above).all()
    assert (result.calibrated_surprise <= result.calibrated_surprise_mean).all()
    assert (result.min_k <= result.pseudo_log_likelihood).all()


def test_the_difference_to_a_reference_is_a_score():
    """Of unigrams here, under which what is common to both languages cancels."""
    grammar = as_system(bayes(ZIPF))
    strings = ZIPF.enumerate()
    memorized = as_system(EmpiricalBayes(torch.tensor(strings[::3]), UniformProcess(3, "linear")))

    def score(x):
        own, reference = (membership_scores(system, x, t=0.5).pseudo_log_likelihood for system in (memorized, grammar))
        return own - reference

    assert area_under_roc(score(strings[::3]), score(strings[1::3])).value > 0.9


def test_one_call_of_the_denoiser_for_each_chunk():
    system = as_system(network(), batch_size=3)
    x = np.random.default_rng(0).integers(4, size=(8, 5))
    with mock.patch.object(system.denoiser, "predict", wraps=system.denoiser.predict) as predict:
        membership_scores(system, x, train=x)
    assert [len(call.args[0]) for call in predict.call_args_list] == [3, 3, 2]


@pytest.mark.parametrize("of", [lambda: EmpiricalBayes(torch.tensor(DATA), UniformProcess(3)), lambda: bayes(UNIFORM),
                                network], ids=["EmpiricalBayes", "HierarchyBayes", "network"])  # fmt: skip
def test_batches_do_not_matter(of):
    whole, parts = (as_system(of(), batch_size=size) for size in (None, 2))
    x = np.random.default_rng(0).integers(3, size=(7, whole.length))
    together, train = membership_scores(whole, x, t=T, train=x[::2]), x[::2]
    for system, rows in ((parts, slice(None)), (whole, slice(2, 5))):
        other = membership_scores(system, x[rows], t=T, train=train)
        for name in together.data_vars:
            np.testing.assert_allclose(other[name], together[name][rows], rtol=1e-4, atol=ROUNDING, err_msg=name)


def test_agrees_with_the_conditional_entropy():
    scores, entropies = membership_scores(SYSTEM, DATA), conditional_entropy(SYSTEM, DATA, rng=0)
    assert np.array_equal(scores.token_entropy, entropies.token_entropy)
    np.testing.assert_allclose(scores.entropy.mean(), entropies.mean_entropy[0])


def test_the_record_has_the_training_set():
    train = DATA.astype(np.uint8)
    train.setflags(write=False)
    with_train, again, without = (
        json.loads(membership_scores(SYSTEM, UNSEEN, train=each, rng=0).attrs["manifest"])
        for each in (train, DATA.tolist(), None)
    )
    assert with_train["train"] == again["train"] != without["train"] is None
    assert with_train["t"] == 1e-5


@pytest.mark.parametrize(
    ("error", "name", "change"),
    [
        (ValueError, "`t`", {"t": 0.0}),
        (TypeError, "`t`", {"t": "0.5"}),
        (ValueError, "`train`", {"train": DATA[:0]}),
        (ValueError, "`train`", {"train": DATA[:, 1:]}),
        (ValueError, "`train`", {"train": DATA + 1}),
        (TypeError, "`train`", {"train": DATA / 2}),
        (TypeError, "`train`", {"train": np.ma.masked_equal(DATA, 0)}),
    ],
)
def test_bad_arguments_are_named(error, name, change):
    with pytest.raises(error, match=name):
        membership_scores(**({"system": SYSTEM, "x": DATA} | change))
