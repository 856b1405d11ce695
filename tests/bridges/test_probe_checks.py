"""The checks before a verdict: on laws whose answer is known by formula, on exact limits, on small trained networks."""

import dataclasses

import numpy as np
import pytest
import torch
from small_worlds import ZIPF, bayes, network

from amtheory import Hopfield
from amtheory.patterns import random_patterns
from bridges import BinarySystem, DiffusionSystem, as_system
from bridges.probing.checks import own_token, precision, sharpness, tokenization
from bridges.probing.texts import enough, leaks, shift
from uddm import Denoiser, DiT, DiTConfig, EmpiricalBayes, TrainConfig, UniformProcess, train
from uddm.denoisers import HalfPrecision

K, L = 8, 8


class Law(Denoiser):
    """The same law at every place, with `own(t)` added to the logit of the token that stands there."""

    def __init__(self, logits, own=lambda t: 0.0, length=L):
        self.logits = torch.as_tensor(logits, dtype=torch.float64)
        self.own, self.process, self.length = own, UniformProcess(len(self.logits)), length

    def cavity(self, z, t):
        own = self.own(t) * torch.nn.functional.one_hot(z, len(self.logits))
        return (self.logits + own).log_softmax(-1)


def system_of(own=lambda t: 0.0, logits=None):
    return DiffusionSystem(Law(np.linspace(-1, 1, K) if logits is None else logits, own))


def text(n=60, seed=0, k=K):
    return np.random.default_rng(seed).integers(k, size=(n, L))


def chain(n, seed):
    """A Markov chain, which two neighbours say something about."""
    rng, step = np.random.default_rng(seed), np.random.default_rng(5).dirichlet(np.full(K, 0.3), K).cumsum(1)
    x = np.zeros((n, L), int)
    x[:, 0] = rng.integers(K, size=n)
    for l in range(1, L):
        x[:, l] = (step[x[:, l - 1]] > rng.random((n, 1))).argmax(1)
    return x


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Transformers of a CPU-second or two each: of cavity logits, of posterior ones, which take longer to learn how
    much to add, and of posterior ones by cross-entropy, the last two as if they were cavities."""

    def made(name, predicts, loss, steps):
        torch.manual_seed(0)
        shape = {"hidden_dim": 16, "blocks": 1, "heads": 2, "cond_dim": 16, "dropout": 0.0}
        model = DiT(DiTConfig(K, length=L, predicts=predicts, **shape))
        config = TrainConfig(steps, 32, 1e-2, warmup=10, decay="cosine", ema=0.9, loss=loss, checkpoint_every=10**6)
        return train(model, chain(4000, 0), config, tmp_path_factory.mktemp(name), progress=None)

    models = {
        "cavity": made("cavity", "cavity", "nelbo", 100),
        "posterior": made("posterior", "posterior", "nelbo", 200),
        "cross-entropy": made("cross-entropy", "posterior", "cross-entropy", 100),
    }
    for model in models.values():
        model.config = dataclasses.replace(model.config, predicts="cavity")
    return models


def test_trained_networks_are_told_apart(trained):
    x = chain(100, 1)
    found = {name: own_token(as_system(model), x, rng=0) for name, model in trained.items()}
    assert {name: each.passed for name, each in found.items()} == {
        "cavity": True,
        "posterior": False,
        "cross-entropy": False,
    }
    assert "an approximate cavity" in found["cavity"].detail
    assert "a posterior, as Bayes' rule predicts" in found["posterior"].detail
    assert "after training by cross-entropy" in found["cross-entropy"].detail
    declared = own_token(as_system(trained["cavity"], conditional="posterior"), x, rng=0)
    assert declared.passed is False
    assert "a posterior, as Bayes' rule predicts" in declared.detail
    assert declared.spoils == {"entropy", "recognition"}


def test_posterior_logits_are_a_cavity_on_the_times_of_training(trained):
    """But not below, where the evidence that is subtracted grows beyond what the network has learned to add."""
    model = trained["posterior"]
    declared, model.config = model.config, dataclasses.replace(model.config, predicts="posterior")
    found = own_token(as_system(model), chain(100, 1), rng=0)
    model.config = declared
    assert found.passed is False
    assert "an approximate cavity, but not at t = 1e-05" in found.detail
    assert found.remedy.startswith("Measure at t = 0.01")


def test_a_trained_cavity_passes_all_checks_of_a_model(trained):
    system, x = as_system(trained["cavity"]), chain(100, 1)
    samples = system.generate(200, np.random.default_rng(0), steps=50)
    checks = tokenization(system, x), precision(system, x), sharpness(system, samples)
    assert [(each.passed, each.remedy) for each in checks] == [(True, "")] * 3
    assert tokenization(system, (x + 3) % K).passed is False, "other ids for the same tokens"


@pytest.mark.parametrize(
    "system",
    [
        as_system(bayes(ZIPF)),
        as_system(network(K=3, L=4)),
        BinarySystem(Hopfield().fit(random_patterns(3, 8, rng=3)), beta=0.7),
        as_system(EmpiricalBayes(torch.tensor(text(12, k=3)), UniformProcess(3))),
    ],
    ids=["HierarchyBayes", "HollowMLP", "Hopfield", "EmpiricalBayes"],
)
def test_what_cannot_see_its_token_does_not_follow(system):
    x = np.random.default_rng(0).integers(system.vocab_size, size=(30, system.length))
    found = own_token(system, x, rng=0)
    assert found.passed
    assert "the law does not depend on it" in found.detail


EVIDENCE = UniformProcess(K).own_logit


@pytest.mark.parametrize(
    ("own", "law"),
    [
        (lambda t: 0.9, "an approximate cavity."),
        (lambda t: -0.9, "an approximate cavity."),
        (lambda t: 1.1, "less than Bayes' rule"),
        (EVIDENCE, "a posterior,"),
        (lambda t: 0.85 * EVIDENCE(t), "a posterior,"),
        (lambda t: min(5.0, EVIDENCE(t)), "less than Bayes' rule"),
        (lambda t: 1.3 * EVIDENCE(t), "a copy of the token"),
        (lambda t: 50.0, "a copy of the token"),
        (lambda t: -EVIDENCE(t), "subtracted all the same"),
        (lambda t: 2 * (t < 0.001), "but not at t = 1e-05"),
    ],
)
def test_what_a_law_is_called(own, law):
    """The change of the log-odds is `own` itself, whatever the rest of the law."""
    found = own_token(system_of(own), text(), rng=0)
    assert law in found.detail
    assert ", ".join(f"{float(own(t)):.3g}" for t in (1e-5, 0.01, 0.3)) in found.detail
    assert found.passed == law.startswith("an approximate cavity") == (found.remedy == "")


def test_two_states_have_less_evidence():
    """b(0.3) = 1.73 at K = 2: half of it is what a token may do."""
    x, b = text(k=2), float(UniformProcess(2).own_logit(0.3))
    passed = [
        own_token(system_of(lambda t, own=own: own, np.zeros(2)), x, rng=0).passed for own in (0.49 * b, 0.51 * b)
    ]
    assert passed == [True, False]


def test_only_counted_tokens_are_exchanged():
    """A law that copies padding alone is a cavity of the text."""
    logits, x = np.zeros(K), text(k=K - 1)
    x[:, 5:] = K - 1

    class Padded(Law):
        def cavity(self, z, t):
            return torch.where((z == K - 1)[..., None], 50.0 * torch.eye(K)[z], self.logits).log_softmax(-1)

    system, counted = DiffusionSystem(Padded(logits)), x < K - 1
    assert own_token(system, x, counted=counted, rng=0).passed
    one = own_token(system, x, counted=~counted, rng=0)
    assert one.passed is None
    assert one.remedy


def documents_of(rng, n, passages=1, topic=0.3):
    """Passages of n documents, each with frequencies of its own: tokens (n passages, 40) and labels."""
    p = rng.dirichlet(np.full(20, 1 / topic), n)
    x = np.stack([rng.choice(20, (passages, 40), p=row) for row in p])
    return x.reshape(-1, 40), np.repeat(np.arange(n), passages)


@pytest.mark.statistical(alarm=1e-3)
def test_shift_is_rarely_seen_where_there_is_none(seed):
    """In at most 5 % of 40 repeats, and three standard errors; negative control: passages taken for documents, where
    the classifier knows the others of a document."""
    rng, failed = np.random.default_rng(seed(0)), np.zeros(2)
    for _ in range(40):
        (x, of_x), (y, of_y) = documents_of(rng, 25, 4), documents_of(rng, 30, 4)
        failed += [
            shift(x, y, documents=(of_x, of_y), rng=0).passed is False,
            shift(x, y, rng=0).passed is False,
        ]
    assert failed[0] / 40 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 40)
    assert failed[1] / 40 > 0.5


def test_shift_is_seen():
    rng = np.random.default_rng(0)
    (x, of_x), (y, of_y) = documents_of(rng, 25, 2), documents_of(rng, 30, 2)
    y[:, ::4] = rng.integers(5, size=y[:, ::4].shape)
    found = shift(x, y, documents=(of_x, of_y), rng=0)
    assert found.passed is False
    assert found.remedy
    assert found.spoils == {"recognition"}
    counted = np.ones(y.shape, bool)
    counted[:, ::4] = False
    assert shift(x, y, documents=(of_x, of_y), counted=(np.ones(x.shape, bool), counted), rng=0).passed
    assert shift(x[:12], y, documents=(of_x[:12], of_y), rng=0).passed is None


def shared_by_hand(rows, counted, documents, n):
    def grams(tokens, counts):
        return {tuple(tokens[k : k + n]) for k in range(len(tokens) - n + 1) if counts[k : k + n].all()}

    own = [grams(*pair) for pair in zip(rows, counted)]
    return [
        any(mine & other for other, label in zip(own, documents) if label != document)
        for mine, document in zip(own, documents)
    ]


@pytest.mark.parametrize("n", [1, 3, 5])
def test_leaks_are_those_of_a_count_by_hand(n):
    rng = np.random.default_rng(n)
    x, y = rng.integers(n + 2, size=(8, 9)), rng.integers(n + 2, size=(12, 9))
    x[:, 0], y[:, 0] = 99, 98  # different documents are told apart by their first token, if by nothing else
    of_y = np.repeat(np.arange(6), 2)
    counted = rng.random(x.shape) < 0.9, rng.random(y.shape) < 0.9
    _, of_suspect, of_unseen = leaks(x, y, n=n, counted=counted, documents=(np.arange(8), of_y))
    by_hand = shared_by_hand([*x, *y], [*counted[0], *counted[1]], [*range(8), *(of_y + 8)], n)
    assert [*of_suspect, *of_unseen] == by_hand


def test_what_is_shared_can_be_left_out():
    x, y = np.random.default_rng(0).integers(1000, size=(2, 100, 40))
    assert not any(part.any() for part in leaks(x, y)[1:])
    y[:5], y[7] = x[:5], y[9]
    found, of_x, of_y = leaks(x, y)
    assert found.passed
    assert "5 and 7 share 14 tokens in a row" in found.detail  # 95/log 1000
    assert np.flatnonzero(of_x).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(of_y).tolist() == [0, 1, 2, 3, 4, 7, 9]
    assert not any(part.any() for part in leaks(x[~of_x], y[~of_y])[1:])
    assert leaks(x, y, documents=(np.arange(100), np.zeros(100, int)))[2].sum() == 5, "one document is shared by none"


def test_too_much_that_is_shared():
    x, y = np.random.default_rng(0).integers(1000, size=(2, 100, 40))
    assert leaks(x, x)[0].passed is False
    assert leaks(x, np.concatenate([y, x[:51]]))[0].passed is False
    assert leaks(x, np.concatenate([y, x[:49]]))[0].passed
    assert leaks(x, y, train=y[:49])[0].passed
    assert leaks(x, y, train=y[:51])[0].passed is False


def test_short_passages_and_poor_alphabets_have_fewer_tokens_in_a_row():
    x, y = np.random.default_rng(0).integers(2, size=(2, 10, 16))
    assert "share 12 tokens" in leaks(x, y)[0].detail
    assert "share 1 tokens" in leaks(x[:, :1], y[:, :1])[0].detail


def test_no_law_that_ignores_the_text_passes():
    """But the frequencies themselves do, which are at the border, and whoever is better."""
    rng = np.random.default_rng(0)
    x = rng.choice(K, (400, L), p=(p := rng.dirichlet(np.ones(K))))
    assert tokenization(system_of(logits=np.zeros(K)), x).passed is False
    assert tokenization(system_of(logits=np.log(np.roll(p, 3))), x).passed is False
    assert tokenization(system_of(logits=np.log(np.bincount(x.ravel()) / x.size)), x).passed
    assert tokenization(system_of(lambda t: 0.5, np.log(p)), x).passed


def test_an_overconfident_model_has_the_right_tokens():
    """Right on two thirds of the tokens, sure of another one on the rest: far worse than the frequencies, not lost."""
    x = text()
    wrong = np.random.default_rng(1).random(x.shape) < 1 / 3
    wrong_z = torch.as_tensor(np.where(wrong, (x + 1) % K, x))

    class Sure(Law):
        def cavity(self, z, t):
            return (40.0 * torch.eye(K, dtype=torch.float64)[wrong_z]).log_softmax(-1)

    system = DiffusionSystem(Sure(np.zeros(K)), batch_size=len(x))
    found = tokenization(system, x)
    assert found.passed
    assert f"Perplexity given all other tokens is {np.exp(40 * wrong.mean()):.4g}" in found.detail
    assert tokenization(system, x, counted=wrong).passed is False
    assert tokenization(system, x, counted=wrong).spoils == {"all"}


def test_the_entropy_has_a_plateau():
    assert precision(system_of(), text()).passed
    assert precision(as_system(bayes(ZIPF)), ZIPF.sample(50, rng=0)).passed
    below = precision(system_of(lambda t: 3.0 * (t < 0.0005)), text())  # as a network below the times of its training
    assert below.passed is False
    assert below.spoils == {"entropy"}
    assert precision(system_of(lambda t: float("nan")), text()).passed is False


def test_half_precision_is_named():
    model = DiT(DiTConfig(K, length=L, hidden_dim=8, blocks=1, heads=2, cond_dim=4))
    assert "float" not in precision(as_system(model), text()).detail
    found = precision(as_system(HalfPrecision(model)), text())
    assert found.passed
    assert "computed in float16, of relative precision 1e-03" in found.detail
    model.output_layer.linear.bfloat16()
    assert "computed in bfloat16, of relative precision 8e-03" in precision(as_system(model), text()).detail


def tempered(temperature):
    return np.log(np.array([0.5, 0.3, 0.2])) / temperature


@pytest.mark.parametrize(
    ("law", "samples", "passed"),
    [(1, 1, True), (0.5, 1, True), (0.3, 1, False), (1, 0.5, False), (1.0, 1.3, True), (0.3, 0.3, True)],
)
def test_certainty_against_what_is_right(law, samples, passed):
    """Of independent tokens the difference is that of the two highest probabilities: .16 at temperature .5, .31 at .3.
    2400 tokens give it within .02. A temperature in both cannot be seen."""
    p = [np.exp(tempered(T)) / np.exp(tempered(T)).sum() for T in (law, samples)]
    x = np.random.default_rng(0).choice(3, (300, L), p=p[1])
    found = sharpness(system_of(logits=tempered(law)), x)
    assert found.passed == passed
    assert abs(float(found.detail.split("difference of ")[1].split(" ")[0]) - (p[0][0] - p[1][0])) < 0.04


def test_exact_limits_are_calibrated_on_their_own_text():
    """Also that of memorization, which is not calibrated on other text."""
    for system in (as_system(bayes(ZIPF)), as_system(EmpiricalBayes(torch.tensor(text(9, k=2)), UniformProcess(2)))):
        assert sharpness(system, system.generate(300, np.random.default_rng(0))).passed


def test_a_distilled_model_says_so():
    class Student(DiffusionSystem):
        def describe(self):
            return super().describe() | {"origin": {"distilled": True}}

    found = sharpness(Student(Law(np.zeros(K))), text())
    assert found.passed is False
    assert "distilled" in found.detail
    assert found.spoils == {"entropy"}


@pytest.mark.parametrize(
    ("suspect", "unseen", "rate", "passed", "takes"),
    [(20, 20, None, True, None), (19, 100, None, False, None), (100, 19, 0.1, False, 100), (20, 999, 0.01, True, 1000),
     (20, 1000, 0.01, True, None), (0, 0, None, False, None)],
)  # fmt: skip
def test_enough(suspect, unseen, rate, passed, takes):
    found = enough(suspect, unseen, rate)
    assert found.passed is passed
    assert (found.remedy == "") is passed
    assert ("would take" in found.detail) is (takes is not None)
    assert takes is None or f"would take {takes} " in found.detail


def test_checks_repeat_with_a_seed_and_leave_arrays_alone():
    system, x, y = as_system(bayes(ZIPF), conditional="posterior"), ZIPF.sample(40, rng=0), ZIPF.sample(40, rng=1)
    for array in (x, y):
        array.setflags(write=False)
    assert own_token(system, x, rng=3) == own_token(system, x, rng=3)
    assert shift(x, y, rng=3) == shift(x, y, rng=3)
    assert np.array_equal(leaks(x, y)[2], leaks(x, y)[2])


@pytest.mark.parametrize(
    ("error", "name", "call"),
    [
        (ValueError, "x", lambda: own_token(system_of(), text() + 1)),
        (ValueError, "counted", lambda: own_token(system_of(), text(), counted=np.zeros((60, L), bool))),
        (ValueError, "counted", lambda: precision(system_of(), text(), counted=np.ones((60, L)))),
        (ValueError, "counted", lambda: tokenization(system_of(), text(), counted=np.ones(L, bool))),
        (ValueError, "probes", lambda: own_token(system_of(), text(), probes=0)),
        (TypeError, "rng", lambda: own_token(system_of(), text(), rng="seed")),
        (ValueError, "t", lambda: tokenization(system_of(), text(), t=0)),
        (TypeError, "samples", lambda: sharpness(system_of(), text() / 2)),
        (TypeError, "suspect", lambda: shift(text() / 2, text())),
        (ValueError, "unseen", lambda: shift(text(), text()[0])),
        (ValueError, "unseen", lambda: leaks(text(), text() - 1)),
        (ValueError, "documents", lambda: leaks(text(), text(), documents=(np.arange(40), np.arange(59)))),
        (ValueError, "folds", lambda: shift(text(), text(), folds=1)),
        (ValueError, "n", lambda: leaks(text(), text(), n=L + 1)),
        (ValueError, "train", lambda: leaks(text(), text(), train=text()[:0])),
        (ValueError, "n_unseen", lambda: enough(20, -1)),
        (ValueError, "rate", lambda: enough(20, 20, 1)),
    ],
)
def test_bad_arguments_are_named(error, name, call):
    with pytest.raises(error, match=f"`{name}`"):
        call()
