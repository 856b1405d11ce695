"""Co-occurrences: the first step of the linear denoiser, and word embeddings, where all is known in closed form."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from bridges.embeddings import (
    STATISTICS,
    AttributeLanguage,
    CyclicLanguage,
    Embeddings,
    analogy_accuracy,
    cooccurrence,
    embed,
    first_step,
    read_analogies,
    spectrum,
    word_sentences,
)
from uddm import UniformProcess
from uddm.denoisers import Linear, LinearConfig
from uddm.objective import nelbo

WEAK, STRONG = (0.2, 0.22, 0.24, 0.26, 0.28), (0.2, 0.5, 0.6, 0.7, 0.75)


@pytest.mark.parametrize("t", [0.05, 0.4, 0.9])
@pytest.mark.parametrize("uniform", [False, True])
def test_the_first_step_is_the_gradient_of_the_denoiser(t, uniform):
    """Autograd of uddm's objective on `Linear` at A = 0, h = log P_l, all clean and noisy pairs enumerated."""
    K, process = 3, UniformProcess(3)
    alpha, speed = float(process.alpha(t)), float(process.rate(t))
    joint = np.random.default_rng(0).dirichlet(np.ones(9)).reshape(3, 3)
    if uniform:
        joint = np.eye(3) / 6 + np.roll(np.eye(3), 1, 1) / 10 + np.roll(np.eye(3), 2, 1) / 15
    pairs = torch.tensor(list(itertools.product(range(K), repeat=2)))
    want = {name: torch.zeros(K, K, dtype=torch.float64) for name in ("nelbo", "cross-entropy")}
    for name in want:
        model = Linear(LinearConfig(K, length=2)).double()
        with torch.no_grad():
            model.bias.copy_(torch.tensor(np.log([joint.sum(1), joint.sum(0)])))
        for x, p in zip(pairs, joint.ravel()):
            x = x.expand_as(pairs)
            weight = p * torch.where(pairs == x, alpha + (1 - alpha) / K, (1 - alpha) / K).prod(1)
            log_p = model(pairs, torch.ones(9)).log_softmax(-1)
            clean = -log_p.gather(-1, x[..., None])[..., 0]
            loss = nelbo(process, log_p, x, pairs, t) / speed if name == "nelbo" else clean
            (weight * loss[:, 0]).sum().backward()
        got = -model.coupling.grad[0, :, 1, :].numpy()
        np.testing.assert_allclose(got, first_step(joint, alpha, objective=name), atol=1e-6)
    if uniform:
        np.testing.assert_allclose(first_step(joint, alpha), 2 * alpha**2 * (joint - 1 / 9), atol=1e-12)


def test_the_first_step_has_the_eigenvectors_of_the_embeddings():
    M = CyclicLanguage(7, 1.5).ratio()
    step = first_step(M / 49, 0.5)
    np.testing.assert_allclose(step * 49 / (2 * 0.25), M - 1, atol=1e-12)


@given(
    sentences=st.lists(st.lists(st.integers(0, 4), max_size=7), min_size=1, max_size=6),
    window=st.integers(1, 8),
    block=st.integers(1, 9),
)
def test_counts_are_those_of_a_loop(sentences, window, block):
    want = np.zeros((5, 5))
    for s in sentences:
        for i, j in itertools.combinations(range(len(s)), 2):
            if j - i <= window:
                want[s[i], s[j]] += 1
                want[s[j], s[i]] += 1
    arrays = [np.array(s, int) for s in sentences]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spectrum, "_BLOCK", block)
        if want.any():
            np.testing.assert_array_equal(cooccurrence(iter(arrays), 5, window=window).toarray(), want)
        else:
            with pytest.raises(ValueError, match="two words or more"):
                cooccurrence(arrays, 5, window=window)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("dense", [True, False])
def test_embeddings_are_eigenvectors(statistic, dense, monkeypatch):
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.8, (30, 30)).astype(float)
    counts += counts.T + np.eye(30)
    p = counts.sum(0) / counts.sum()
    M = counts / counts.sum() / np.outer(p, p)
    matrix = {
        "ratio": M - 1,
        "log": np.log(np.where(M > 0, M, 1)),
        "positive-log": np.log(np.maximum(M, 1)),
        "bounded": 2 * (M - 1) / (M + 1),
    }[statistic]
    monkeypatch.setattr(spectrum, "_DENSE", 1000 if dense else 1)
    stored = sparse.csr_array(np.where(counts > 0, counts, -1))
    stored.data[stored.data < 0] = 0
    got = embed(stored, 5, statistic=statistic)
    assert stored.nnz == 900
    for v in got.eigenvectors.T:
        assert v[abs(v) >= 0.9 * abs(v).max()][0] > 0
    np.testing.assert_allclose(got.eigenvalues, np.linalg.eigvalsh(matrix)[::-1][:5], atol=1e-9)
    np.testing.assert_allclose(matrix @ got.eigenvectors, got.eigenvectors * got.eigenvalues, atol=1e-8)
    np.testing.assert_allclose(got.vectors, got.eigenvectors * np.sqrt(got.eigenvalues))
    np.testing.assert_allclose(embed(7 * counts, 5, statistic=statistic).vectors, got.vectors, atol=1e-7)


@pytest.mark.parametrize("words", [7, 12])
def test_months_lie_on_a_circle(words):
    language = CyclicLanguage(words, 1.5)
    M = language.ratio()
    np.testing.assert_allclose(M.mean(1), 1)
    spectrum = language.eigenvalues()
    np.testing.assert_allclose(np.sort(spectrum), np.linalg.eigvalsh(M - 1), atol=1e-12)
    np.testing.assert_allclose(spectrum[1:], words * abs(np.fft.fft(language.profile()))[1:] ** 2, atol=1e-12)
    x, y = embed(M, 2, statistic="ratio").vectors.T
    np.testing.assert_allclose(x**2 + y**2, 2 * spectrum[1] / words)
    steps = np.angle(np.roll(x + 1j * y, -1) / (x + 1j * y))
    np.testing.assert_allclose(abs(steps), 2 * np.pi / words)
    assert len(np.unique(np.sign(steps))) == 1


def test_sharp_seasons():
    language = CyclicLanguage(12, 800.0)
    np.testing.assert_allclose(language.profile(), np.eye(12)[0], atol=1e-40)
    assert np.ptp(language.sample(50, 4, rng=0), axis=1).max() == 0


@pytest.mark.statistical(alarm=2e-4)
@pytest.mark.parametrize("language", [CyclicLanguage(12, 1.5), AttributeLanguage((0.3, 0.5, 0.6))])
def test_samples_have_the_stated_co_occurrences(language, chi_square, seed):
    """Pairs at two distances are P = M / K^2; false-alarm rate 1e-4 each. Control: independent words."""
    K = len(language.ratio())
    x = language.sample(40_000, 3, rng=seed(1))
    assert x.shape == (40_000, 3)
    for other in (1, 2):
        counts = np.zeros((K, K))
        np.add.at(counts, (x[:, 0], x[:, other]), 1)
        assert chi_square(counts, language.ratio() / K**2) > 1e-4
        assert chi_square(counts, np.full((K, K), 1 / K**2)) < 1e-10
    np.testing.assert_array_equal(x, language.sample(40_000, 3, rng=seed(1)))


@pytest.mark.statistical(alarm=1e-3)
@pytest.mark.parametrize("language", [CyclicLanguage(12, 1.5), AttributeLanguage((0.3, 0.5, 0.6))])
def test_counts_converge_as_one_over_root_n(language, seed):
    """Two words a sentence: an off-diagonal pair has P = M / K^2, and M is off by sqrt(M / (2 n)) K. The root mean
    square of K (K - 1)/2 such errors is within 25 % of it for all but about 1e-3 of seeds."""
    M = language.ratio()
    K = len(M)
    above = np.triu_indices(K, 1)
    for n in (4_000, 256_000):
        counts = cooccurrence(language.sample(n, 2, rng=seed(2)), K, window=1).toarray()
        errors = counts / (2 * n) * K**2 - M
        want = K * np.sqrt(M[above].mean() / (2 * n))
        assert np.sqrt((errors[above] ** 2).mean()) == pytest.approx(want, rel=0.35)
        spectra = [embed(m, 3, statistic="ratio").eigenvalues for m in (counts, M)]
        assert abs(np.subtract(*spectra)).max() < 4 * K**1.5 / np.sqrt(n)


@pytest.mark.parametrize("strengths", [WEAK, STRONG])
def test_attributes_have_the_stated_modes(strengths):
    language = AttributeLanguage(strengths)
    M = language.ratio()
    chi, of_ratio, of_log = language.modes()
    np.testing.assert_allclose(M @ chi, chi * of_ratio, atol=1e-10)
    np.testing.assert_allclose(np.log(M) @ chi, chi * of_log, atol=1e-10)


def accuracy(matrix, language, dimension, statistic):
    words = range(len(matrix))
    vectors = embed(matrix, dimension, statistic=statistic).vectors
    return float(analogy_accuracy(vectors, words, language.analogies()).accuracy.sel(category="all", estimate="value"))


def test_analogies_are_in_the_top_eigenvectors():
    """Property i: weak attributes, whose singletons lead the spectrum of M: w(a) = sum_k a_k e_k exactly."""
    language = AttributeLanguage(WEAK)
    a, got = language.attributes(), embed(language.ratio(), 5, statistic="ratio")
    np.testing.assert_allclose(got.eigenvalues, 32 * np.array(WEAK)[::-1])
    np.testing.assert_allclose(abs(got.vectors), np.sqrt(WEAK)[::-1] * np.ones((32, 1)))
    np.testing.assert_allclose(abs(a.T @ got.eigenvectors), np.eye(5)[::-1] * np.sqrt(32), atol=1e-10)
    assert accuracy(language.ratio(), language, 5, "ratio") == 1
    np.testing.assert_allclose(embed(3 * language.ratio(), 5, statistic="ratio").vectors, got.vectors, atol=1e-10)


def test_analogies_strengthen_and_saturate_with_the_dimension():
    """Property ii: nothing for fewer modes than attributes, all from there on."""
    language = AttributeLanguage(WEAK)
    for statistic in ("ratio", "log"):
        by_dimension = [accuracy(language.ratio(), language, d, statistic) for d in (2, 4, 5, 10, 20, 32)]
        assert by_dimension[0] < 0.1
        assert by_dimension == sorted(by_dimension)
        assert by_dimension[2:] == [1, 1, 1, 1]


def test_the_logarithm_enhances_analogies():
    """Property iii: for strong attributes products such as .75 * .7 > .5 lead the spectrum of M, not that of log M."""
    language = AttributeLanguage(STRONG)
    _, of_ratio, of_log = language.modes()
    singletons = {1, 2, 4, 8, 16}
    assert set(np.argsort(-of_log)[:5].tolist()) == singletons
    assert set(np.argsort(-of_ratio)[1:6].tolist()) != singletons
    assert accuracy(language.ratio(), language, 5, "log") == 1
    assert accuracy(language.ratio(), language, 5, "ratio") < 0.5


@pytest.mark.parametrize("strengths", [WEAK, STRONG])
def test_analogies_survive_without_the_pairs_of_their_relation(strengths):
    """Property iv: the eigenvectors stay, the eigenvalues shift as stated."""
    language, r = AttributeLanguage(strengths), 2
    chi, of_ratio, of_log = language.modes()
    N, s = len(chi), np.array(strengths)
    c = (1 - s[r]) * np.prod(1 + np.delete(s, r))
    m = 1 - c / N
    up = np.where(np.arange(N) >> r & 1, 1, -1)
    reduced = language.without_relation(r)
    assert (reduced == 0).sum() == N
    np.testing.assert_allclose(reduced @ chi, chi * (of_ratio + up * c) / m, atol=1e-10)
    logs = np.log(np.where(reduced > 0, reduced, 1))
    shifted = of_log + up * np.log(c / m)
    shifted[0] -= N * np.log(m)
    np.testing.assert_allclose(logs @ chi, chi * shifted, atol=1e-9)
    questions = {k: v for k, v in language.analogies().items() if k.startswith(f"{r},")}
    vectors = embed(reduced, 5, statistic="log").vectors
    assert (analogy_accuracy(vectors, range(N), questions).accuracy.sel(estimate="value") == 1).all()


def test_accuracy_by_hand():
    words = ["man", "woman", "king", "queen", "apple"]
    vectors = np.array([[1.0, 0, 1], [1, 1, 1], [1, 0, -1], [1, 1, -1], [-1, 0, 0]])
    asked = {
        "royal": [("man", "king", "woman", "queen"), ("man", "woman", "king", "apple"), ("man", "woman", "pear", "x")],
        "none": [("a", "b", "c", "d")],
    }
    got = analogy_accuracy(vectors, words, asked)
    assert got.category.values.tolist() == ["royal", "none", "all"]
    assert got.questions.values.tolist() == [2, 0, 2]
    assert got.left_out.values.tolist() == [1, 1, 2]
    np.testing.assert_allclose(got.accuracy[:, 0], [0.5, np.nan, 0.5])
    modes = Embeddings(vectors, np.ones(3), vectors)
    assert got.identical(analogy_accuracy(modes, words, asked))
    low, high = 0.5 - 0.4055, 0.5 + 0.4055  # Wilson's for 1 of 2
    np.testing.assert_allclose(got.accuracy[0, 1:], [low, high], atol=2e-4)
    assert float(got.chance) == 0.5


def test_directions_count_and_questions_do_not_answer_themselves():
    """On a circle b - a + c is at 38.4 degrees, nearer to the word at 30 than to d; the longest would win unscaled."""
    angles = np.deg2rad([0, 10, 30, 50, 100, 8])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1) * np.array([[1], [1], [1], [1], [9], [1]])
    got = analogy_accuracy(vectors, range(6), {"x": [(0, 1, 2, 3), (0, 2, 1, 3), (0, 2, 1, 3)]})
    np.testing.assert_allclose(got.accuracy[:, 0], 1)
    np.testing.assert_allclose(got.nearest[:, 0], 1 / 3)  # to c, at 30 or 10; to b it would be 2/3


@pytest.mark.statistical(alarm=1e-6)
def test_random_embeddings_are_at_chance(seed):
    """False-alarm rate about 1e-6 (5 sigma)."""
    language = AttributeLanguage((0.3,) * 6)
    vectors = np.random.default_rng(seed(0)).normal(size=(64, 8))
    got = analogy_accuracy(vectors, range(64), language.analogies())
    assert float(got.accuracy[-1, 0]) < 1 / 61 + 5 * np.sqrt(1 / 61 / 1920)


def test_words_of_a_text():
    words, ids = word_sentences(["The cat's hat, the <unk> 3 Été", "", "a hat; the b_c"], most=3)
    assert words[:2] == ["the", "hat"]
    assert [i.tolist()[:2] for i in ids] == [[0, 2], [1, 0]]
    assert word_sentences(["a a b"], fewest=2)[0] == ["a"]
    assert word_sentences(["don't", "don’t"])[0] == ["don't"]
    with pytest.raises(TypeError, match="`lines` must be"):
        word_sentences("the cat sat")


def test_questions_are_read(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text(": one\nA b C d\n\n: two\n")
    assert read_analogies(path) == {"one": [("a", "b", "c", "d")], "two": []}
    path.write_text(": one\na b c d", encoding="utf-8-sig")
    assert list(read_analogies(path)) == ["one"]
    path.write_text("a b c d\n")
    with pytest.raises(ValueError, match=r":1: must be"):
        read_analogies(path)


@pytest.mark.long
def test_text_is_above_chance(shared_data):
    """A few hundred thousand words of news give analogies far above chance; shuffled embeddings do not."""
    lines = itertools.chain.from_iterable(p.read_text().splitlines() for p in sorted((shared_data / "lm1b").iterdir()))
    words, ids = word_sentences(lines, most=1000)
    questions = read_analogies(shared_data / "analogy" / "questions-words.txt")
    vectors = embed(cooccurrence(ids, len(words), window=5), 50, statistic="positive-log").vectors
    got = analogy_accuracy(vectors, words, questions).sel(category="all")
    assert float(got.accuracy.sel(estimate="low")) > 10 * float(got.chance)
    shuffled = analogy_accuracy(np.random.default_rng(0).permutation(vectors), words, questions).sel(category="all")
    assert float(shuffled.accuracy.sel(estimate="low")) < 2 * float(got.chance)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: first_step(np.ones((2, 2)), 0.5), "`joint` must be square"),
        (lambda: first_step([[1.0, 0], [0, 0]], 0.5), "no empty row"),
        (lambda: first_step(np.full((2, 2), 0.25), 1.0), "`alpha` must be"),
        (lambda: cooccurrence([[0, 3]], 3, window=1), "`sentences` must hold ids"),
        (lambda: cooccurrence([[0, 1]], 3, window=0), "`window` must be"),
        (lambda: embed([[0, 1.0], [2, 0]], 1), "symmetric"),
        (lambda: embed([[1.0, 0], [0, 0]], 1), "no empty row"),
        (lambda: embed([[np.nan, 1.0], [1, 1]], 1), "`counts` must be finite"),
        (lambda: embed([[np.inf, 1.0], [1, 1]], 1), "`counts` must be finite"),
        (lambda: embed([[1, 1j], [1j, 1]], 1), "`counts` must be finite real"),
        (lambda: embed(np.ones((3, 3)), 4), "`dimension` must be"),
        (lambda: embed(np.ones((3, 3)), 2, statistic="count"), "`statistic` must be one of"),
        (lambda: CyclicLanguage(2), "`words` must be"),
        (lambda: CyclicLanguage(5, 0.0), "`concentration` must be"),
        (lambda: AttributeLanguage((0.5, 1.0)), "`strengths` must be"),
        (lambda: analogy_accuracy(np.ones((4, 2)), ["a"] * 4, {"c": []}), "`words` must be"),
        (lambda: analogy_accuracy(np.ones((3, 2)), list("abcd"), {"c": []}), "`embeddings` must be"),
        (lambda: analogy_accuracy(np.ones((4, 2)), list("abcd"), {}), "`questions` must have"),
        (lambda: analogy_accuracy(np.ones((4, 2)), list("abcd"), {"all": []}), "`questions` must have"),
        (
            lambda: analogy_accuracy(np.ones((4, 2)), list("abcd"), {"c": [tuple("abc")] * 4}),
            "`questions` must be of four",
        ),
        (lambda: analogy_accuracy(np.ones((4, 2)), list("abcd"), {"c": []}, confidence=95), "`confidence` must"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_level_is_a_number_and_strengths_are_several():
    with pytest.raises(TypeError, match="`alpha` must be"):
        first_step(np.full((2, 2), 0.25), "a")
    with pytest.raises(TypeError, match="`strengths` must be"):
        AttributeLanguage(0.5)
