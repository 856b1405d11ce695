"""The exact denoiser of a finite data set against Bayes' rule by explicit enumeration."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uddm import EmpiricalBayes, UniformProcess

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
def test_posterior_is_the_cavity_with_its_own_evidence(problem):
    process, data, z, t = problem
    exact = EmpiricalBayes(data, process)
    restored = process.clean_posterior(exact.cavity(z, t), z, t)
    torch.testing.assert_close(restored.exp(), exact.posterior(z, t).exp(), rtol=1e-9, atol=1e-14)


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
    assert process.evidence(t).item() / 2 == pytest.approx(np.arctanh(alpha), rel=1e-9)
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


def test_joint_samples_have_the_posterior_law(chi_square):
    process = UniformProcess(3)
    data = torch.tensor([[0, 1, 2], [0, 1, 2], [2, 2, 2], [1, 0, 0], [0, 0, 2]])
    exact, z, t, n = EmpiricalBayes(data, process), torch.tensor([[0, 0, 1]]), 0.6, 40_000

    def law(t):
        kept = process.alpha(t).item()
        likelihood = [np.prod([kept * (a == b) + (1 - kept) / 3 for a, b in zip(x, z[0].tolist())]) for x in rows]
        weights = np.array([data.tolist().count(list(x)) for x in rows]) * likelihood
        return weights / weights.sum()

    rows = list(itertools.product(range(3), repeat=3))
    samples = exact.sample(z.expand(n, 3), t, generator=3)
    assert samples.shape == (n, 3)
    counts = torch.bincount(samples @ torch.tensor([9, 3, 1]), minlength=27)
    assert chi_square(counts, law(t)) > ALMOST_NEVER
    assert chi_square(counts, law(0.5)) < ALMOST_NEVER
    assert torch.equal(samples, exact.sample(z.expand(n, 3), t, generator=3))


def test_bad_arguments_are_named():
    process = UniformProcess(3)
    with pytest.raises(ValueError, match="`data`"):
        EmpiricalBayes(torch.tensor([[0, 3]]), process)
    with pytest.raises(ValueError, match="`data`"):
        EmpiricalBayes(torch.zeros(0, 4, dtype=torch.long), process)
    with pytest.raises(TypeError, match="`data`"):
        EmpiricalBayes(torch.zeros(2, 4), process)
    exact = EmpiricalBayes(torch.tensor([[0, 1]]), process)
    for method in (exact.cavity, exact.posterior, exact.sample, exact.weights):
        with pytest.raises(ValueError, match="`z`"):
            method(torch.tensor([[0, 1, 2]]), 0.5)
        with pytest.raises(ValueError, match="`z`"):
            method(torch.tensor([[0, 5]]), 0.5)
        with pytest.raises(ValueError, match="`t`"):
            method(torch.tensor([[0, 1]]), 0.0)
