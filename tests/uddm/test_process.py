"""The forward process and its reverse posterior, against Bayes' rule on explicit transition matrices."""

import itertools

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_noise import Mixed

from uddm import UniformProcess
from uddm.process import Process
from uddm.process.schedule import GaussianDual
from uddm.sampling import END

ALMOST_NEVER = 1e-6  # false-alarm rate of every chi-square test here
SEEDS = st.integers(0, 2**32 - 1)
TIMES = st.floats(1e-5, 1.0)


def kernel(process, t, s=0.0):
    """q(z_t | z_s) as a matrix, rows z_s, columns z_t."""
    K, kept = process.vocab_size, float(process.alpha(t) / process.alpha(s))
    return kept * np.eye(K) + (1 - kept) / K


def bayes(process, clean, z, t, s):
    """q(z_s | z_t = z) by Bayes' rule if x has the distribution `clean` (K,)."""
    joint = (clean @ kernel(process, s)) * kernel(process, t, s)[:, z]
    return joint / joint.sum()


def random_log_probs(shape, seed, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, dtype=torch.float64, generator=generator)).log_softmax(-1)


def random_ids(shape, K, seed):
    return torch.randint(K, shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(2, 300), TIMES, st.floats(0, 1), st.sampled_from([0.3, 3.0, 30.0]), SEEDS)
def test_posterior_rows_sum_to_one_and_are_not_negative(K, t, fraction, scale, seed):
    process = UniformProcess(K)
    log_probs = random_log_probs((2, 3, K), seed, scale)
    posterior = process.posterior(log_probs, random_ids((2, 3), K, seed), t, fraction * t)
    assert posterior.dtype == torch.float64
    assert (posterior >= 0).all()
    assert (posterior.sum(-1) - 1).abs().max() < 1e-12


@given(st.integers(2, 20), st.floats(1e-3, 0.999), st.floats(0, 1), st.sampled_from(["log-linear", "linear"]), SEEDS)
def test_posterior_is_bayes_rule(K, t, fraction, schedule, seed):
    process, s = UniformProcess(K, schedule), fraction * t
    log_probs, z = random_log_probs((1, 2, K), seed), random_ids((1, 2), K, seed)
    posterior = process.posterior(log_probs, z, t, s)
    for l in range(2):
        want = bayes(process, log_probs[0, l].exp().numpy(), int(z[0, l]), t, s)
        np.testing.assert_allclose(posterior[0, l], want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("t", [5e-324, 1e-308, 1e-5, 0.5, 1 - 1e-9, 1.0])
def test_own_logit_keeps_its_digits(t):
    """log(1 + K alpha/(1 - alpha)) in 50 digits, also where c(t) overflows and where b(t) is near 0. Some ten roundings
    and logarithms, each within 2^-52."""
    with mpmath.workdps(50):
        want = mpmath.log1p(30522 * (1 - mpmath.mpf(t)) / mpmath.mpf(t))
    assert UniformProcess(30522, "linear").own_logit(t).item() == pytest.approx(float(want), rel=10 * 2**-52, abs=0)


@pytest.mark.parametrize(("t", "s"), [(0.9, 0.4), (1.0, 0.999), (0.5, 0.0), (1e-5, 0.0)])
def test_posterior_given_the_clean_token(t, s):
    process = UniformProcess(4)
    for x, z in itertools.product(range(4), repeat=2):
        one_hot = torch.full((1, 1, 4), -torch.inf, dtype=torch.float64)
        one_hot[..., x] = 0
        got = process.posterior(one_hot, torch.tensor([[z]]), t, s)[0, 0]
        np.testing.assert_allclose(got, bayes(process, np.eye(4)[x], z, t, s), rtol=1e-9, atol=1e-14)


def test_printed_equation_without_its_factor_does_not_sum_to_one():
    """Negative control of the erratum: eq. (2) as printed, at K = 3, t = 0.5, s = 0.4."""
    process = UniformProcess(3)
    a_t, a_s = float(process.alpha(0.5)), float(process.alpha(0.4))
    x, z = np.array([0.2, 0.5, 0.3]), np.eye(3)[0]
    r, D = a_t / a_s, 3 * a_t * 0.2 + 1 - a_t
    common = 3 * a_t * x * z + (r - a_t) * z + (a_s - a_t) * x
    printed = (common + (1 - r) / 3) / D
    corrected = (common + (1 - r) * (1 - a_s) / 3) / D
    assert printed.sum() > 1.05
    got = process.posterior(torch.tensor(np.log(x))[None, None], torch.tensor([[0]]), 0.5, 0.4)[0, 0]
    np.testing.assert_allclose(got, corrected, rtol=1e-12)


def exact_reverse_kernels(process, p, t, s):
    """All z_t with the exact per-token reverse kernels, cavities and posterior means of p over K^L sequences.

    p(z_s[l] | z_t) = sum_x p(x | z_t) q(z_s[l] | z_t[l], x[l]), by enumeration of x.
    """
    K, L = process.vocab_size, 3
    sequences = list(itertools.product(range(K), repeat=L))
    forward = kernel(process, t)
    states, kernels, cavities, means = [], [], [], []
    for z in sequences:
        likelihood = np.array([[forward[x[l], z[l]] for l in range(L)] for x in sequences])
        reverse, cavity, mean = np.zeros((L, K)), np.zeros((L, K)), np.zeros((L, K))
        for i, x in enumerate(sequences):
            for l in range(L):
                reverse[l] += p[i] * likelihood[i].prod() * bayes(process, np.eye(K)[x[l]], z[l], t, s)
                mean[l, x[l]] += p[i] * likelihood[i].prod()
                cavity[l, x[l]] += p[i] * np.delete(likelihood[i], l).prod()
        states.append(z)
        kernels.append(reverse / reverse.sum(1, keepdims=True))
        cavities.append(cavity / cavity.sum(1, keepdims=True))
        means.append(mean / mean.sum(1, keepdims=True))
    return torch.tensor(states), np.array(kernels), torch.tensor(np.array(cavities)), torch.tensor(np.array(means))


@pytest.mark.parametrize(("t", "s"), [(0.6, 0.3), (0.95, 0.9), (0.2, 0.0)])
def test_exact_reverse_kernel_is_the_plug_in_of_the_cavity_and_not_of_the_posterior(t, s):
    process = UniformProcess(3)
    p = np.random.default_rng(4).dirichlet(np.full(27, 0.3))
    z, exact, cavity, mean = exact_reverse_kernels(process, p, t, s)
    np.testing.assert_allclose(process.posterior(cavity.log(), z, t, s), exact, atol=1e-12)
    np.testing.assert_allclose(process.clean_posterior(cavity.log(), z, t).exp(), mean, atol=1e-12)
    assert np.abs(process.posterior(mean.log(), z, t, s).numpy() - exact).max() > 1e-3


@given(st.integers(2, 100_000), TIMES, st.floats(0, 0.999), st.floats(0, 1), st.sampled_from(["log-linear", "linear"]))
def test_mixture_weights(K, t, fraction, at_z, schedule):
    process = UniformProcess(K, schedule)
    weights = process.mixture(torch.tensor([[at_z]], dtype=torch.float64), torch.tensor([[1]]), t, fraction * t)
    assert all(w.dtype == torch.float64 and w.shape == (1, 1) and w >= 0 for w in weights)
    assert abs(sum(w.item() for w in weights) - 1) < 1e-12


def test_mixture_takes_one_time_for_each_sequence():
    process = UniformProcess(5)
    log_probs, z = random_log_probs((3, 2, 5), 0), random_ids((3, 2), 5, 1)
    t, s = torch.tensor([0.3, 0.6, 0.9]), torch.tensor([0.1, 0.6, 0.0])
    together = process.posterior(log_probs, z, t, s)
    for b in range(3):
        alone = process.posterior(log_probs[b : b + 1], z[b : b + 1], t[b].item(), s[b].item())
        torch.testing.assert_close(together[b : b + 1], alone, rtol=1e-12, atol=0)
    at_equal_times = torch.nn.functional.one_hot(z[1], 5).double()
    torch.testing.assert_close(together[1], at_equal_times, rtol=0, atol=1e-12)


@pytest.mark.statistical(alarm=6 * ALMOST_NEVER)
@pytest.mark.parametrize("schedule", ["log-linear", "linear"])
def test_corrupt_has_the_forward_law(schedule, chi_square, seed):
    K, n, times = 5, 40_000, torch.tensor([0.2, 0.7, 1.0])
    process = UniformProcess(K, schedule)
    x = torch.tensor([[0, 3]]).expand(3, 2).repeat_interleave(n, 0)
    z = process.corrupt(x, times.repeat_interleave(n), generator=seed(7)).reshape(3, n, 2)
    for i, t in enumerate(times.tolist()):
        for l, token in enumerate((0, 3)):
            counts = torch.bincount(z[i, :, l], minlength=K)
            assert chi_square(counts, kernel(process, t)[token]) > ALMOST_NEVER
    changed_always = 0.7 / (K - 1) * np.ones(K)  # if the uniform draw could not return the token itself
    changed_always[0] = 0.3
    assert chi_square(torch.bincount(z[1, :, 0], minlength=K), changed_always) < ALMOST_NEVER


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_corrupt_treats_positions_independently(chi_square, seed):
    process = UniformProcess(3)
    z = process.corrupt(torch.zeros(50_000, 2, dtype=torch.long), 0.5, generator=seed(3))
    counts = torch.bincount(3 * z[:, 0] + z[:, 1], minlength=9)
    one = kernel(process, 0.5)[0]
    assert chi_square(counts, np.outer(one, one)) > ALMOST_NEVER
    assert chi_square(torch.bincount(4 * z[:, 0], minlength=9), np.outer(one, one)) < ALMOST_NEVER


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_prior_is_uniform(chi_square, seed):
    z = UniformProcess(7).prior((10_000, 3), generator=seed(0))
    assert z.shape == (10_000, 3)
    assert chi_square(torch.bincount(z.flatten(), minlength=7), np.full(7, 1 / 7)) > ALMOST_NEVER


def test_random_streams():
    process, x = UniformProcess(9), random_ids((4, 6), 9, 0)
    assert torch.equal(process.corrupt(x, 0.5, generator=1), process.corrupt(x, 0.5, generator=1))
    assert not torch.equal(process.corrupt(x, 0.5, generator=1), process.corrupt(x, 0.5, generator=2))
    stream = torch.Generator().manual_seed(1)
    first = process.corrupt(x, 0.5, generator=stream)
    assert torch.equal(first, process.corrupt(x, 0.5, generator=1))
    assert not torch.equal(first, process.corrupt(x, 0.5, generator=stream))
    assert process.corrupt(x, 0.5).shape == x.shape
    with pytest.raises(TypeError, match="`generator`"):
        process.corrupt(x, 0.5, generator="1")


@pytest.mark.parametrize(("schedule", "floor"), [("log-linear", 1e-3), ("linear", 0.0)])
def test_schedules(schedule, floor):
    process = UniformProcess(10, schedule)
    assert process.alpha(0.0) == 1
    assert process.alpha(1.0).item() == pytest.approx(floor, abs=1e-15)
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    assert (process.alpha(t).diff() < 0).all()
    slope = (process.alpha(t + 1e-4) - process.alpha(t - 1e-4)) / 2e-4
    torch.testing.assert_close(process.rate(t), -slope, rtol=1e-9, atol=0)
    assert process.one_minus_alpha(1e-5).item() == pytest.approx((1 - floor) * 1e-5, rel=1e-14)
    torch.testing.assert_close(process.sigma(t), -process.alpha(t).log(), rtol=1e-9, atol=1e-12)
    assert process.sigma(1.0).item() == pytest.approx(-np.log(1e-3))
    forward = kernel(process, 0.37)
    assert process.own_logit(0.37).item() == pytest.approx(np.log(forward[0, 0] / forward[0, 1]), rel=1e-12)


def test_own_schedule():
    class Cosine:
        def one_minus_alpha(self, t):
            return torch.cos(torch.pi / 2 * (1 - t))

        def rate(self, t):
            return torch.pi / 2 * torch.sin(torch.pi / 2 * (1 - t))

    process = UniformProcess(3, Cosine())
    log_probs, z = random_log_probs((1, 1, 3), 0), torch.tensor([[2]])
    want = bayes(process, log_probs[0, 0].exp().numpy(), 2, 0.8, 0.3)
    np.testing.assert_allclose(process.posterior(log_probs, z, 0.8, 0.3)[0, 0], want, rtol=1e-12)


GOOD = {"log_probs": random_log_probs((2, 3, 4), 0), "z": random_ids((2, 3), 4, 0)}


@pytest.mark.parametrize(
    ("error", "name", "call"),
    [
        (ValueError, "`t`", lambda p: p.corrupt(GOOD["z"], 0.0)),
        (ValueError, "`t`", lambda p: p.corrupt(GOOD["z"], 1.001)),
        (ValueError, "`t`", lambda p: p.corrupt(GOOD["z"], -0.5)),
        (ValueError, "`t`", lambda p: p.corrupt(GOOD["z"], float("nan"))),
        (ValueError, "`t`", lambda p: p.corrupt(GOOD["z"], torch.tensor([0.5, 0.0]))),
        (ValueError, "`t`", lambda p: p.corrupt(GOOD["z"], torch.tensor([0.1, 0.2, 0.3]))),
        (ValueError, "`t`", lambda p: p.corrupt(GOOD["z"], torch.full((2, 3), 0.5))),
        (ValueError, "`t`", lambda p: p.alpha(1.5)),
        (ValueError, "`t`", lambda p: p.rate(0.0)),
        (ValueError, "`t`", lambda p: p.posterior(GOOD["log_probs"], GOOD["z"], 0.0, 0.0)),
        (ValueError, "`s`", lambda p: p.posterior(GOOD["log_probs"], GOOD["z"], 0.3, 0.4)),
        (
            ValueError,
            "`s`",
            lambda p: p.mixture(torch.rand(2, 3), GOOD["z"], torch.tensor([0.3, 0.9]), torch.tensor([0.2, 0.95])),
        ),
        (ValueError, "`x`", lambda p: p.corrupt(torch.tensor([[0, 4]]), 0.5)),
        (ValueError, "`x`", lambda p: p.corrupt(torch.tensor([[0, -1]]), 0.5)),
        (ValueError, "`x`", lambda p: p.corrupt(torch.tensor([0, 1]), 0.5)),
        (ValueError, "`x`", lambda p: p.corrupt(torch.zeros(0, 3, dtype=torch.long), 0.5)),
        (TypeError, "`x`", lambda p: p.corrupt(torch.tensor([[0.0, 1.0]]), 0.5)),
        (TypeError, "`x`", lambda p: p.corrupt(torch.tensor([[True, False]]), 0.5)),
        (ValueError, "`z`", lambda p: p.posterior(GOOD["log_probs"], GOOD["z"] + 4, 0.5, 0.2)),
        (ValueError, "`cavity_log_probs`", lambda p: p.posterior(GOOD["log_probs"][..., :3], GOOD["z"], 0.5, 0.2)),
        (ValueError, "`cavity_log_probs`", lambda p: p.posterior(GOOD["log_probs"][:1], GOOD["z"], 0.5, 0.2)),
        (ValueError, "`cavity_log_probs`", lambda p: p.clean_posterior(GOOD["log_probs"][0], GOOD["z"], 0.5)),
        (TypeError, "`cavity_log_probs`", lambda p: p.clean_posterior(GOOD["log_probs"].to_sparse(), GOOD["z"], 0.5)),
        (TypeError, "`cavity_log_probs`", lambda p: p.clean_posterior(GOOD["log_probs"].to("meta"), GOOD["z"], 0.5)),
        (TypeError, "`t`", lambda p: p.own_logit({})),
        (TypeError, "`t`", lambda p: p.own_logit(np.ones(2, np.complex64))),
        (ValueError, "`vocab_size`", lambda _: UniformProcess(2**63)),
        (ValueError, "`vocab_size`", lambda _: UniformProcess(1)),
        (TypeError, "`vocab_size`", lambda _: UniformProcess(3.0)),
        (ValueError, "`schedule`", lambda _: UniformProcess(3, "cubic")),
    ],
)
def test_bad_arguments_are_named(error, name, call):
    with pytest.raises(error, match=name):
        call(UniformProcess(4))


def test_nothing_moves_where_no_time_passes():
    """s = t, also at t = 1 of the linear schedule, where alpha vanishes."""
    process = UniformProcess(3, "linear")
    log_probs = torch.randn(2, 4, 3, dtype=torch.float64).log_softmax(-1)
    z = torch.randint(3, (2, 4))
    for t in (0.3, 1.0):
        posterior = process.posterior(log_probs, z, t, t)
        torch.testing.assert_close(posterior, torch.nn.functional.one_hot(z, 3).double())


@pytest.mark.parametrize("s", [-0.1, 1.5, torch.tensor([0.1, 0.1, 0.1])])
def test_a_bad_earlier_time_is_named(s):
    process = UniformProcess(3)
    log_probs = torch.zeros(2, 4, 3).log_softmax(-1)
    with pytest.raises(ValueError, match="`s`"):
        process.posterior(log_probs, torch.zeros(2, 4, dtype=torch.long), 0.9, s)


def test_numpy_integers_are_integers():
    assert UniformProcess(np.int64(4)).vocab_size == 4


def test_the_string_at_time_zero_is_clean_where_the_schedule_is_not():
    process = UniformProcess(3, GaussianDual(3, gamma_min=0.0, gamma_max=2.0))
    assert process.alpha(0.0) < 0.9
    for t in (1e-9, 0.4):
        assert process.transition(t, 0.0).removed.item() == process.one_minus_alpha(t).item()
    later = 1 - (process.alpha(0.4) / process.alpha(1e-9)).item()
    assert process.transition(0.4, 1e-9).removed.item() == pytest.approx(later, rel=1e-12)


@pytest.mark.parametrize(("mask", "error"), [(5, ValueError), (-1, ValueError), (1.0, TypeError)])
def test_a_bad_mask_is_named(mask, error):
    with pytest.raises(error, match="`mask`"):
        Mixed(4, share=0.5, mask=mask)


@pytest.mark.parametrize(
    ("t", "s", "name"),
    [
        (0.0, 0.0, "`t`"),
        (1.1, 0.0, "`t`"),
        (0.3, 0.4, "`s`"),
        (0.3, -0.1, "`s`"),
        (torch.tensor([0.5, 0.1]), 0.2, "`s`"),
    ],
)
def test_bad_times_of_a_transition_are_named(t, s, name):
    with pytest.raises(ValueError, match=name):
        UniformProcess(3).transition(t, s)


def test_a_transition_has_one_time_for_each_sequence():
    with pytest.raises(ValueError, match=r"`t` must be a scalar or have shape \(3,\)"):
        UniformProcess(3).transition(torch.tensor([0.1, 0.2])).sample(torch.zeros(3, 2, dtype=torch.long))


@pytest.mark.parametrize("name", sorted(Process.__abstractmethods__))
def test_what_differs_by_noise_must_be_there(name):
    own = {method: getattr(UniformProcess, method) for method in Process.__abstractmethods__ - {name}}
    with pytest.raises(TypeError, match=name):
        type("Unfinished", (Process,), own)(3)
    assert type("Finished", (Process,), own | {name: getattr(UniformProcess, name)})(3).vocab_size == 3


def test_how_it_shows_itself():
    assert repr(UniformProcess(3, "linear")) == "UniformProcess(vocab_size=3, schedule=Linear(floor=0.0))"
    assert repr(Mixed(3, share=0.5)) == "Mixed(vocab_size=3, schedule=Linear(floor=0.0), mask=3)"
    assert END == 1e-5
