"""The exact denoiser of a finite data set against Bayes' rule by explicit enumeration."""

import itertools
import math
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amtheory.theory import channel
from uddm import EmpiricalBayes, UniformProcess
from uddm.denoisers import empirical_bayes
from uddm.prediction import DensePrediction

ALMOST_NEVER = 1e-6  # false-alarm rate of every chi-square test here


@st.composite
def problems(draw):
    """A process, data with repeated rows, noisy tokens, and their times."""
    K, L = draw(st.integers(2, 5)), draw(st.integers(1, 5))
    tokens = st.lists(st.integers(0, K - 1), min_size=L, max_size=L)
    rows = draw(st.lists(tokens, min_size=1, max_size=5))
    rows += draw(st.lists(st.sampled_from(rows), max_size=3))
    z = draw(st.lists(tokens, min_size=1, max_size=4))
    t = draw(st.lists(st.floats(1e-4, 1.0), min_size=len(z), max_size=len(z)))
    schedule = draw(st.sampled_from(["log-linear", "linear"]))
    return UniformProcess(K, schedule), torch.tensor(rows), torch.tensor(z), torch.tensor(t, dtype=torch.float64)


def odds(process, t):
    """K alpha/(1 - alpha), (B, 1)."""
    noise = process.one_minus_alpha(t)[:, None]
    return process.vocab_size * (1 - noise) / noise


def enumerate_bayes(process, data, z, t, *, leave_out):
    """p(x_l | z), or p(x_l | z without l), for one z (L,): (L, K)."""
    K, L = process.vocab_size, len(z)
    kept = process.alpha(t).item()
    result = np.zeros((L, K))
    for l in range(L):
        for x in data.tolist():
            seen = [m for m in range(L) if not (leave_out and m == l)]
            result[l, x[l]] += np.prod([kept * (z[m] == x[m]) + (1 - kept) / K for m in seen])
    return result / result.sum(1, keepdims=True)


@given(problems())
def test_cavity_and_posterior_are_bayes_rule(problem):
    process, data, z, t = problem
    exact = EmpiricalBayes(data, process)
    for got, leave_out in ((exact.cavity(z, t), True), (exact.posterior(z, t), False)):
        assert got.shape == (*z.shape, process.vocab_size)
        assert got.dtype == torch.float64
        for b in range(len(z)):
            want = enumerate_bayes(process, data, z[b].tolist(), t[b], leave_out=leave_out)
            np.testing.assert_allclose(got[b].exp(), want, rtol=1e-9, atol=1e-14)
            assert np.array_equal(torch.isneginf(got[b]), want == 0)


@given(problems())
def test_posterior_is_the_cavity_with_its_own_logit(problem):
    process, data, z, t = problem
    exact = EmpiricalBayes(data, process)
    restored = process.clean_posterior(exact.cavity(z, t), z, t)
    torch.testing.assert_close(restored.exp(), exact.posterior(z, t).exp(), rtol=1e-9, atol=1e-14)
    one_hot = torch.nn.functional.one_hot(data, process.vocab_size).double()
    mixed = torch.einsum("bp,plk->blk", exact.weights(z, t), one_hot)
    torch.testing.assert_close(mixed, exact.posterior(z, t).exp(), rtol=1e-9, atol=1e-14)


@given(problems(), st.integers(0, 2**32 - 1))
def test_order_of_the_data_does_not_matter(problem, seed):
    process, data, z, t = problem
    shuffled = data[torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))]
    one, other = EmpiricalBayes(data, process), EmpiricalBayes(shuffled, process)
    torch.testing.assert_close(one.cavity(z, t).exp(), other.cavity(z, t).exp(), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(one.posterior(z, t).exp(), other.posterior(z, t).exp(), rtol=1e-12, atol=1e-15)


@given(problems())
def test_cavity_does_not_depend_on_the_own_token(problem):
    process, data, z, t = problem
    exact = EmpiricalBayes(data, process)
    other = z.clone()
    other[:, 0] = (z[:, 0] + 1) % process.vocab_size
    before, after = (exact.cavity(tokens, t)[:, 0].exp() for tokens in (z, other))
    torch.testing.assert_close(before, after, rtol=1e-9, atol=1e-14)


def test_multiplicity_counts():
    process = UniformProcess(3)
    twice = EmpiricalBayes(torch.tensor([[0], [0], [1]]), process)
    np.testing.assert_allclose(twice.cavity(torch.tensor([[2]]), 0.5)[0, 0].exp(), [2 / 3, 1 / 3, 0], atol=1e-15)


@pytest.mark.parametrize("t", [1e-5, 0.1, 0.5, 0.9, 0.999])
def test_binary_inverse_temperature(t):
    """At K = 2 the weights are those of a dense memory, exp(beta sum_l s_l x_l) with beta = atanh(alpha)."""
    process = UniformProcess(2)
    alpha = process.alpha(t).item()
    assert process.own_logit(t).item() / 2 == pytest.approx(np.arctanh(alpha), rel=1e-9)
    data, z = torch.tensor([[0, 0, 1], [1, 1, 1], [1, 0, 0]]), torch.tensor([[1, 0, 1]])
    fields = np.arctanh(alpha) * ((2 * data - 1) @ (2 * z[0] - 1)).numpy()
    want = np.exp(fields - fields.max())
    np.testing.assert_allclose(EmpiricalBayes(data, process).weights(z, t)[0], want / want.sum(), rtol=1e-8)


def test_no_underflow_at_published_size():
    """K = 30522, L = 128, t = 1e-5: exponents of thousands. The row itself is certain; so is a unique repair."""
    process = UniformProcess(30522)
    data = torch.randint(30522, (20, 128), generator=torch.Generator().manual_seed(0))
    exact, z = EmpiricalBayes(data[:2], process), data[:1].clone()
    z[0, 5] = (z[0, 5] + 1) % 30522
    cavity, posterior = exact.cavity(z, 1e-5), exact.posterior(z, 1e-5)
    assert not cavity.isnan().any()
    assert not posterior.isnan().any()
    assert torch.equal(cavity.argmax(-1), data[:1])
    assert torch.equal(posterior.argmax(-1), data[:1])
    torch.testing.assert_close(cavity.exp().sum(-1), torch.ones(1, 128, dtype=torch.float64))


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_joint_samples_have_the_posterior_law(chi_square, seed):
    process = UniformProcess(3)
    data = torch.tensor([[0, 1, 2], [0, 1, 2], [2, 2, 2], [1, 0, 0], [0, 0, 2]])
    exact, z, t, n = EmpiricalBayes(data, process), torch.tensor([[0, 0, 1]]), 0.6, 40_000

    def law(t):
        kept = process.alpha(t).item()
        likelihood = [np.prod([kept * (a == b) + (1 - kept) / 3 for a, b in zip(x, z[0].tolist())]) for x in rows]
        weights = np.array([data.tolist().count(list(x)) for x in rows]) * likelihood
        return weights / weights.sum()

    rows = list(itertools.product(range(3), repeat=3))
    samples = exact.sample(z.expand(n, 3), t, generator=seed(3))
    assert samples.shape == (n, 3)
    counts = torch.bincount(samples @ torch.tensor([9, 3, 1]), minlength=27)
    assert chi_square(counts, law(t)) > ALMOST_NEVER
    assert chi_square(counts, law(0.5)) < ALMOST_NEVER
    assert torch.equal(samples, exact.sample(z.expand(n, 3), t, generator=seed(3)))


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_joint_samples_given_known_tokens(chi_square, seed):
    """Bayes' rule on the rows that have them; tokens that are known put in place of drawn ones have another law."""
    process, n, t = UniformProcess(3), 20_000, 0.6
    data = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 2, 0], [1, 0, 0], [0, 0, 2]])
    exact, z, keep = EmpiricalBayes(data, process), torch.tensor([[0, 0, 1]]), torch.tensor([True, False, False])
    alpha = process.alpha(t).item()
    right = alpha + (1 - alpha) / 3, (1 - alpha) / 3
    rows, weights = [[0, 0, 2], [0, 1, 2], [0, 2, 0]], np.array([right[0] * right[1], 2 * right[1] ** 2, right[1] ** 2])
    samples = exact.sample(z.expand(n, 3), t, keep=keep, generator=seed(3))
    found, counts = samples.unique(dim=0, return_counts=True)
    assert found.tolist() == rows
    assert chi_square(counts, weights / weights.sum()) > ALMOST_NEVER
    overwritten = torch.where(keep, z, exact.sample(z.expand(n, 3), t, generator=seed(3)))
    counts = [int((overwritten == torch.tensor(row)).all(1).sum()) for row in rows]
    assert chi_square([*counts, n - sum(counts)], [*weights / weights.sum(), 0]) < ALMOST_NEVER


def test_known_tokens_that_no_row_has():
    """Then the rows with most of them count, and the known tokens stay all the same, on any device of z."""
    data = torch.tensor([[0, 1, 2, 0], [2, 1, 0, 2], [2, 2, 0, 1]])
    exact, z = EmpiricalBayes(data, UniformProcess(3)), torch.tensor([[2, 1, 1, 0], [1, 0, 1, 2]])
    keep = torch.tensor([[True, True, True, False], [True, True, True, True]])
    samples = exact.sample(z.int(), 1e-5, keep=keep, generator=0)
    assert samples.tolist() == [[2, 1, 1, 2], [1, 0, 1, 2]]


REPEATED = torch.tensor([[0, 1, 2, 3, 0], [0, 1, 2, 3, 0], [2, 2, 2, 2, 2], [1, 0, 0, 3, 2], [0, 0, 2, 1, 1]])


def exact_log_probs(process, data, z, t, *, leave_out):
    """log p(x_l | z), or log p(x_l | z without l), in 50 digits, rounded at the end: (L, K)."""
    K, L = process.vocab_size, len(z)
    result = np.full((L, K), -np.inf)
    with mpmath.workdps(50):
        noise = mpmath.mpf(process.one_minus_alpha(t).item())
        ratio = 1 / (1 + K * (1 - noise) / noise)  # exp(-b)
        for l in range(L):
            seen = [m for m in range(L) if not (leave_out and m == l)]
            mass = [mpmath.mpf(0)] * K
            for x in data.tolist():
                mass[x[l]] += ratio ** sum(z[m] != x[m] for m in seen)
            for k in set(data[:, l].tolist()):
                others = sum(mass[j] for j in range(K) if j != k)
                result[l, k] = -mpmath.log1p(others / mass[k])
    return result


@pytest.mark.parametrize("t", [5e-324, 1e-300, 1e-30, 1e-5, 0.1, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("way", ["numba", "torch"])
def test_log_probabilities_keep_their_digits(t, way, monkeypatch):
    """Also those of exponents in the thousands, those next to 0, and where all rows near z have the own token."""
    monkeypatch.setattr(empirical_bayes, "_compiled", lambda tensor: way == "numba")
    process = UniformProcess(4, "linear")
    exact = EmpiricalBayes(REPEATED, process)
    z = torch.cat([REPEATED, torch.tensor([[0, 1, 2, 3, 3], [3, 3, 3, 0, 3]])])
    for leave_out, got in ((True, exact.cavity(z, t)), (False, exact.posterior(z, t))):
        entropy = empirical_bayes._OnSupport(exact, z, t, leave_out=leave_out).entropy()
        for i, tokens in enumerate(z.tolist()):
            want = exact_log_probs(process, REPEATED, tokens, t, leave_out=leave_out)
            np.testing.assert_allclose(got[i], want, rtol=1e-12, atol=1e-290)
            h = [-np.sum(np.exp(row[np.isfinite(row)]) * row[np.isfinite(row)]) for row in want]
            np.testing.assert_allclose(entropy[i], h, rtol=1e-11, atol=1e-290)


def test_subtracting_the_own_match_would_lose_the_digits():
    """Negative control: at t = 1e-9 the other rows' mass is lost in a difference of sums of float64, each within
    2^-52 of 1 for some order of summation."""
    process, t = UniformProcess(4, "linear"), 1e-9
    z = REPEATED[:1]
    weights = EmpiricalBayes(REPEATED, process).weights(z, t)[0].numpy()
    own = weights[REPEATED[:, 0].numpy() == z[0, 0].item()].sum()
    others = weights[REPEATED[:, 0].numpy() != z[0, 0].item()].sum()
    assert 0 < others < 2**-53
    assert abs(weights.sum() - own - others) > 0.9 * others
    other = exact_log_probs(process, REPEATED, z[0].tolist(), t, leave_out=True)[0]
    assert np.isfinite(other[:3]).all()


@given(problems())
def test_log_prob_is_the_mixture(problem):
    process, data, z, t = problem
    got = EmpiricalBayes(data, process).log_prob(z, t)
    assert got.dtype == torch.float64
    for b in range(len(z)):
        kept = process.alpha(t[b]).item()
        channel = kept * (data == z[b]).double() + (1 - kept) / process.vocab_size
        assert got[b].item() == pytest.approx(channel.prod(1).mean().log().item(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("t", [5e-324, 1e-12, 0.3, 1.0])
def test_log_prob_is_normalised(t):
    exact = EmpiricalBayes(torch.tensor([[0, 1, 2], [0, 1, 2], [2, 2, 2]]), UniformProcess(3))
    z = torch.tensor(list(itertools.product(range(3), repeat=3)))
    assert exact.log_prob(z, t).exp().sum().item() == pytest.approx(1, rel=1e-12)


@given(problems(), st.randoms(use_true_random=False))
def test_reductions_are_those_of_the_stored_log_probabilities(problem, random):
    process, data, z, t = problem
    exact = EmpiricalBayes(data, process)
    lazy, stored = exact.predict(z, t), DensePrediction(exact.cavity(z, t))
    x = (z + torch.tensor([[random.randrange(process.vocab_size) for _ in row] for row in z])) % process.vocab_size
    where = torch.tensor([[random.random() < 0.5 for _ in row] for row in z])
    torch.testing.assert_close(lazy.entropy(), stored.entropy(), rtol=1e-9, atol=1e-14)
    assert torch.equal(lazy.log_prob(x), stored.log_prob(x))
    assert torch.equal(lazy.log_probs(), stored.values)
    assert torch.equal(lazy.log_probs(where), stored.log_probs(where))
    highest, tokens = lazy.best()
    assert torch.equal(highest, stored.best()[0])
    assert torch.equal(stored.log_prob(tokens), highest)
    c = odds(process, t)
    sums = lazy.sums(z, x, c, reverse=True)
    u = 1 + c[..., None] * stored.values.exp()
    others = torch.arange(process.vocab_size) != x[..., None]
    torch.testing.assert_close(sums.excess, (others * (u - 1 - u.log())).sum(-1), rtol=1e-8, atol=1e-7)
    torch.testing.assert_close(sums.reverse_excess, (others * (1 / u - 1 + u.log())).sum(-1), rtol=1e-8, atol=1e-7)
    assert torch.equal(sums.at_z, lazy.log_prob(z))
    assert torch.equal(sums.at_x, lazy.log_prob(x))
    assert torch.equal(sums.entropy, lazy.entropy())
    assert not sums.log_Z.any()
    assert not lazy.sums(z, x, c).reverse_excess.any()


def everything(data, process, z, t):
    exact = EmpiricalBayes(data, process)
    prediction = exact.predict(z, t)
    where = (z + torch.arange(z.shape[1])) % 3 == 0
    return [
        exact.data,
        exact.overlaps(z),
        exact.cavity(z, t),
        exact.posterior(z, t),
        exact.log_prob(z, t),
        exact.weights(z, t),
        exact.sample(z, t, generator=5),
        prediction.log_probs(where),
        *prediction.best(),
        *prediction.sums(z, z, odds(process, t), reverse=True),
    ]


@pytest.mark.parametrize("chunk", [1, 50, 3000])
def test_chunks_do_not_matter(chunk, monkeypatch):
    process = UniformProcess(40)
    data = process.prior((300, 9), generator=0)
    t = torch.linspace(0.05, 1, 20, dtype=torch.float64)
    z = process.corrupt(data[:20], t, generator=1)
    whole = everything(data, process, z, t)
    monkeypatch.setattr(empirical_bayes, "CHUNK", chunk)
    for one, other in zip(whole, everything(data, process, z, t), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("K", [2, 40, 200, 40_000])
def test_torch_and_numba_agree(K, monkeypatch):
    """The first is the way of every other device. Ranks are int8, int16 or int32."""
    process = UniformProcess(K)
    data = process.prior((400, 3), generator=0)
    data = torch.cat([data, torch.arange(K)[:, None].expand(K, 3)])
    z = process.corrupt(data[:6], 0.5, generator=1)
    compiled = everything(data, process, z, torch.full((6,), 0.5, dtype=torch.float64))
    assert torch.equal(compiled[0], data)
    monkeypatch.setattr(empirical_bayes, "_compiled", lambda tensor: False)
    plain = everything(data, process, z, torch.full((6,), 0.5, dtype=torch.float64))
    for one, other in zip(compiled, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("L", [127, 128, 300])
def test_overlaps_of_long_rows(L):
    """Matches beyond the range of the bytes that they are counted in."""
    process = UniformProcess(3)
    data = process.prior((5, L), generator=0)
    want = (data[:, None] == data).sum(-1)
    assert want.diagonal().tolist() == [L] * 5
    assert torch.equal(EmpiricalBayes(data, process).overlaps(data).long(), want)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_data_on_a_gpu():
    process = UniformProcess(40)
    data = process.prior((300, 9), generator=0)
    z, t = process.corrupt(data[:20], 0.5, generator=1), torch.full((20,), 0.5, dtype=torch.float64)
    assert EmpiricalBayes(data.cuda(), process).data.is_cuda
    for one, other in zip(everything(data, process, z, t)[1:], everything(data.cuda(), process, z, t)[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "uint16", "uint32", "uint64"])
def test_data_of_any_integer_type(dtype):
    process = UniformProcess(4)
    exact = EmpiricalBayes(REPEATED.to(getattr(torch, dtype)), process)
    assert torch.equal(exact.data, REPEATED)
    assert torch.equal(exact.cavity(REPEATED, 0.3), EmpiricalBayes(REPEATED, process).cavity(REPEATED, 0.3))


MEMORY = """
import resource, torch
from uddm import EmpiricalBayes, UniformProcess

torch.set_num_threads(1)
process = UniformProcess(30522)
data = process.prior((20_000, 8), generator=0).short()
z = process.corrupt(data[:100].long(), 0.1, generator=1)
few = (torch.arange(100)[:, None] % 20 == 0) & (torch.arange(8) % 2 == 0)

def used(exact):
    prediction = exact.predict(z, 0.1)
    assert abs(prediction.log_probs(few).exp().sum().item() - 20) < 1e-9
    exact.log_prob(z.repeat(20, 1), 0.1)
    return prediction.best()[1], exact.sample(z, 0.1, generator=0)

used(EmpiricalBayes(data[:100], process))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for tokens in used(EmpiricalBayes(data, process)):
    assert torch.equal(tokens, data[:100].long())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_does_not_grow_with_the_batch():
    """100 sequences of 8 tokens, K = 30522: 195 MB of log-probabilities that are not made. 80 MB of overlaps
    of 2000 sequences that are not in memory together."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 30


def test_tokens_may_be_anything_that_numpy_makes_an_array_of():
    z = torch.tensor([[0, 1, 2], [2, 0, 0]])
    exact = EmpiricalBayes([[0, 1, 2], [2, 1, 0]], UniformProcess(3))
    methods = [
        exact.weights,
        exact.log_prob,
        exact.cavity,
        exact.posterior,
        lambda z, t: exact.sample(z, t, generator=0),
    ]
    for method in [*methods, lambda z, _: exact.overlaps(z)]:
        for same in (z.tolist(), z.numpy(), z.int()):
            torch.testing.assert_close(method(same, 0.5), method(z, 0.5), rtol=0, atol=0)


def test_bad_arguments_are_named():
    process = UniformProcess(3)
    with pytest.raises(ValueError, match="`data`"):
        EmpiricalBayes(torch.tensor([[0, 3]]), process)
    with pytest.raises(ValueError, match="`data`"):
        EmpiricalBayes(torch.zeros(0, 4, dtype=torch.long), process)
    with pytest.raises(ValueError, match="`data`"):
        EmpiricalBayes(torch.zeros(4, dtype=torch.long), process)
    with pytest.raises(ValueError, match=r"`data` .* got \(1, 32768\)"):
        EmpiricalBayes(torch.zeros(1, 2**15, dtype=torch.long), process)
    with pytest.raises(ValueError, match="`data`"):
        EmpiricalBayes(torch.tensor([[2**63, 0]], dtype=torch.uint64), process)
    with pytest.raises(TypeError, match="`data`"):
        EmpiricalBayes(torch.zeros(2, 4), process)
    exact = EmpiricalBayes(torch.tensor([[0, 1]]), process)
    for method in (exact.cavity, exact.posterior, exact.predict, exact.sample, exact.weights, exact.log_prob):
        with pytest.raises(ValueError, match="`z`"):
            method(torch.tensor([[0, 1, 2]]), 0.5)
        with pytest.raises(ValueError, match="`z`"):
            method(torch.tensor([[0, 5]]), 0.5)
        with pytest.raises(ValueError, match="`t`"):
            method(torch.tensor([[0, 1]]), 0.0)
    prediction = exact.predict(torch.tensor([[0, 1], [1, 1]]), 0.5)
    with pytest.raises(ValueError, match="`tokens`"):
        prediction.log_prob(torch.tensor([[0, 1]]))
    for where in (torch.ones(1, 2, dtype=torch.bool), torch.ones(2, 2)):
        with pytest.raises(ValueError, match="`where`"):
            prediction.log_probs(where)


def simulate(L, P, K, alpha, *, sets=40, each=60, seed=0):
    """Of random data sets: how often the nearest row is the true one, its posterior weight, and how often a posterior
    sample is it. Means over the data sets and their standard errors, (3,) each."""
    process = UniformProcess(K, "linear")
    generator = torch.Generator().manual_seed(seed)
    found = np.empty((sets, 3))
    for trial in range(sets):
        data = process.prior((P, L), generator=generator)
        exact, x = EmpiricalBayes(data, process), data[:each]
        z = process.corrupt(x, 1 - alpha, generator=generator)
        n, true = exact.overlaps(z), torch.arange(each)
        nearest = n == n.amax(1, keepdim=True)
        drawn = (exact.sample(z, 1 - alpha, generator=generator) == x).all(1)
        weight = exact.weights(z, 1 - alpha)[true, true]
        rates = (nearest[true, true] / nearest.sum(1), weight, drawn)
        found[trial] = [float(rate.double().mean()) for rate in rates]
    return found.mean(0), found.std(0, ddof=1) / math.sqrt(sets)


@pytest.mark.statistical(alarm=0.015)
@pytest.mark.parametrize(
    ("L", "P", "K", "share"),
    [*((60, 2000, 2, share) for share in (0.6, 0.8, 1.0, 1.2)), *((80, 5000, 4, share) for share in (0.8, 1.0))],
)
def test_simulations_of_the_denoiser(L, P, K, share, seed):
    """Within 3 standard errors (Student, 39 degrees of freedom: 0.5 % each), so that a new seed would fail one of these
    18 comparisons with probability at most 9 %. Three times as many sequences are told apart."""
    alpha = share * channel.critical_alpha(P, L, K)
    mean, error = simulate(L, P, K, alpha, seed=seed(0))
    best, weight = (law(P, L, K, alpha) for law in (channel.retrieval_probability, channel.posterior_weight))
    assert np.all(np.abs(mean - [best, weight, weight]) < 3 * error)
    more = channel.retrieval_probability(3 * P, L, K, alpha)
    assert abs(mean[0] - more) > 3 * error[0]
