"""Every measured system: conditionals that agree with one another, corruption, recovery and generation."""

import functools
import pickle

import numpy as np
import pytest
import torch

from bridges import DiffusionSystem, MaskedSystem, MemorySystem, SequentialSystem, as_system
from uddm.choices import LASTS, MODES
from uddm.denoisers import HalfPrecision

ALMOST_NEVER = 1e-6  # false-alarm rate of every chi-square test here
T = 0.3
# of log-probabilities up to 10 of a float32 network: some 128 roundings, each within 2^-24, on the way from a token
ROUNDING = 128 * 10 * 2.0**-24


once = functools.cache(lambda make: make())


@pytest.fixture
def system(make_system):
    return once(make_system)


def some_tokens(system, n=7, seed=0):
    return system.uniform(n, np.random.default_rng(seed))


def some_states(system, n=7, seed=0):
    """Some of whose tokens are masked, where there are masks."""
    z = some_tokens(system, n, seed)
    hidden = np.random.default_rng(9).random(z.shape) < 0.5
    return z if system.mask is None else np.where(hidden, system.mask, z)


def rounding(system):
    """Of log-probabilities: networks compute in float32, all else in float64."""
    denoiser = getattr(system, "denoiser", None)
    if isinstance(denoiser, HalfPrecision):
        return 8 * 10 * 2.0**-11  # of the end of a layer
    return ROUNDING if isinstance(denoiser, torch.nn.Module) else 1e-10


def probabilities(system, z):
    """(B, L, K) of tokens z (B, L)."""
    conditional = system.conditional(z, T)
    return np.exp(np.stack([conditional.log_prob(np.full_like(z, k)) for k in range(system.vocab_size)], -1))


def some_steps(system, mode):
    """Few, and the default, unless that is 1000, or a hundred of as many passes as there are tokens."""
    many = {DiffusionSystem: 1000, MaskedSystem: 1000, SequentialSystem: 100}.get(type(system))
    return (3,) if many and system.steps_taken(mode, None) == many else (3, None)


def assert_tokens(system, tokens, n, *, masks=False):
    assert isinstance(tokens, np.ndarray)
    assert (tokens.shape, tokens.dtype) == ((n, system.length), np.int64)
    tokens = np.where(masks & (tokens == system.mask), 0, tokens)
    assert 0 <= tokens.min() <= tokens.max() < system.vocab_size


def test_it_says_what_it_is(system):
    assert isinstance(system, MemorySystem)
    assert as_system(system) is system
    record = system.describe()
    assert isinstance(record["system"], str)
    assert record["length"] == system.length


def test_conditionals_reduce_one_distribution(system):
    z, error = some_tokens(system), rounding(system)
    conditional, p = system.conditional(z, T), probabilities(system, z)
    assert p.dtype == conditional.entropy().dtype == np.float64
    np.testing.assert_allclose(p.sum(-1), 1, atol=error)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), 0).sum(-1)
    np.testing.assert_allclose(conditional.entropy(), entropy, atol=np.log(system.vocab_size) * error)
    mode = conditional.mode()
    assert_tokens(system, mode, len(z))
    np.testing.assert_allclose(np.take_along_axis(p, mode[..., None], -1)[..., 0], p.max(-1), atol=2 * error)
    certainty = [entropy, p.max(-1), (p * (1 - p)).sum(-1)]
    for found, want, scale in zip(conditional.certainty(), certainty, (np.log(system.vocab_size), 2, 2), strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, want, atol=scale * error)
    alone = [system.conditional(z[b : b + 1], T).entropy() for b in range(len(z))]
    np.testing.assert_allclose(np.concatenate(alone), entropy, atol=2 * np.log(system.vocab_size) * error)


@pytest.mark.statistical(alarm=1e-5)
def test_conditional_samples(system, chi_square, seed):
    n, z = 2000, some_states(system, 1, seed=4)
    conditional = system.conditional(np.repeat(z, n, 0), T)
    samples = conditional.sample(np.random.default_rng(seed(5)))
    assert_tokens(system, samples, n)
    assert np.array_equal(samples, conditional.sample(np.random.default_rng(seed(5))))
    assert not np.array_equal(samples, conditional.sample(np.random.default_rng(seed(6))))
    p, rejected = probabilities(system, z)[0], 0
    p /= p.sum(-1, keepdims=True)
    for l in range(system.length):
        counts = np.bincount(samples[:, l], minlength=system.vocab_size)
        assert chi_square(counts, p[l]) > ALMOST_NEVER
        rejected += chi_square(counts, np.roll(p[l], 1)) < ALMOST_NEVER
    assert rejected, "negative control"


@pytest.mark.statistical(alarm=2 * ALMOST_NEVER)
def test_corruption_law(system, chi_square, seed):
    """Every token is replaced by a uniform draw, or a mask, with probability 1 - alpha_t; alpha_t = 1 - t for spins."""
    x, rng, n = some_tokens(system, 1), np.random.default_rng(seed(0)), 3000
    for noise in (0.2, 1.0):
        z = system.corrupt(np.repeat(x, n, 0), noise, rng)
        assert_tokens(system, z, n, masks=system.carries_over)
        process, K = getattr(system, "corruption", getattr(system, "process", None)), system.vocab_size
        kept = process.alpha(noise).item() if process else 1 - noise
        counts = np.bincount(np.where(z == system.mask, K, (z - x) % K).ravel(), minlength=K + 1)
        fresh = np.eye(K + 1)[K] if system.carries_over else np.append(np.full(K, 1 / K), 0)
        law = kept * np.eye(K + 1)[0] + (1 - kept) * fresh
        assert chi_square(counts, law) > ALMOST_NEVER
        assert noise == 1 or chi_square(counts, np.full(len(law), 1 / len(law))) < ALMOST_NEVER


def test_corruption_is_determined_by_rng(system):
    x = some_tokens(system)
    one, again, other = (system.corrupt(x, 0.7, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("mode", MODES)
def test_recovery(system, mode):
    """With the seed of the stream alone, from a mode that draws nothing with none, and never with the global one."""
    z = some_states(system, 6)
    in_order = getattr(system, "order", "fixed") == "fixed" and getattr(system, "update", "parallel") == "parallel"
    for steps in some_steps(system, mode):
        options = {"start": 0.5, "mode": mode, "steps": steps, "last": "greedy" if system.carries_over else "none"}
        one, again, other = (system.recover(z, **options, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert_tokens(system, one, 6)
        assert np.array_equal(one, again)
        if mode in ("posterior_mode", "one_shot") and in_order:
            assert np.array_equal(one, other)
        if system.carries_over:
            assert np.array_equal(one[z != system.mask], z[z != system.mask])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("last", LASTS)
def test_the_path_is_that_of_recovery(system, mode, last):
    """From z to the very tokens that `recover` gives for the same stream, at times that never rise."""
    z, start = some_states(system, 6), 0.5
    for steps in some_steps(system, mode):
        options = {"start": start, "mode": mode, "steps": steps, "last": last}
        times, states = system.path(z, **options, rng=np.random.default_rng(1))
        states = list(states)
        assert len(times) == len(states) >= 2
        assert times[0] == start
        assert (np.diff(times) <= 0).all()
        assert times[-1] >= 0
        assert np.array_equal(states[0], z)
        assert np.array_equal(states[-1], system.recover(z, **options, rng=np.random.default_rng(1)))
        for state in states:
            assert_tokens(system, state, 6, masks=True)


def some_kept(system):
    """Whole sequences, none of them, and all in between: (6, L) bool."""
    rng = np.random.default_rng(4)
    return rng.random((6, system.length)) < np.linspace(0, 1, 6)[:, None]


@pytest.mark.parametrize("mode", MODES)
def test_kept_tokens_stay(system, mode):
    """In every state; the others may change, and do as without any if none is kept. A system may refuse to keep."""
    z, keep = some_states(system, 6), some_kept(system)
    keep.setflags(write=False)
    for steps in some_steps(system, mode):
        options = {"start": 0.5, "mode": mode, "steps": steps, "last": "greedy"}

        def recovered(keep, options=options):
            return system.recover(z, **options, keep=keep, rng=np.random.default_rng(1))

        free = system.recover(z, **options, rng=np.random.default_rng(1))
        assert np.array_equal(recovered(None), free)
        assert np.array_equal(recovered(np.zeros_like(keep)), free)
        if getattr(system, "update", "parallel") == "sequential":
            with pytest.raises(ValueError, match="`keep`"):
                recovered(keep)
            continue
        final = recovered(keep)
        assert_tokens(system, final, 6, masks=True)
        assert np.array_equal(final[keep], z[keep])
        assert (final != z).any() or not (free != z)[~keep].any()
        assert np.array_equal(recovered(np.ones_like(keep)), z)
        _, states = system.path(z, **options, keep=keep, rng=np.random.default_rng(1))
        states = list(states)
        assert all(np.array_equal(state[keep], z[keep]) for state in states)
        assert np.array_equal(states[-1], final)


@pytest.mark.parametrize("last", LASTS)
def test_every_last_update(system, last):
    options = {"start": 0.5, "mode": "sample", "steps": 2, "last": last, "rng": np.random.default_rng(0)}
    assert_tokens(system, system.recover(some_tokens(system), **options), 7)


def test_generation(system):
    one, again, other = (system.generate(40, rng=np.random.default_rng(seed), steps=5) for seed in (1, 1, 2))
    assert_tokens(system, one, 40)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_the_prior_is_uniform(system, chi_square, seed):
    """Or masks."""
    noise = system.prior(3000, np.random.default_rng(seed(0)))
    if system.carries_over:
        assert (noise == system.mask).all()
        noise = system.uniform(3000, np.random.default_rng(seed(0)))
    assert_tokens(system, noise, 3000)
    counts = np.bincount(noise.ravel(), minlength=system.vocab_size)
    alike = (np.arange(system.vocab_size) != system.mask).astype(float)
    assert chi_square(counts, alike / alike.sum()) > ALMOST_NEVER


def test_arguments_are_left_alone_and_may_be_read_only(system):
    z = some_tokens(system)
    z.setflags(write=False)
    conditional = system.conditional(z, T)
    for reduce in (conditional.entropy, conditional.mode, lambda: conditional.log_prob(z)):
        reduce()
    system.corrupt(z, 0.5, np.random.default_rng(0))
    system.recover(z, start=0.5, mode="posterior_mode", steps=2, last="greedy", rng=np.random.default_rng(0))
    assert np.array_equal(z, some_tokens(system))


def test_one_sequence(system):
    z = some_tokens(system, 1)
    assert_tokens(system, system.corrupt(z, 0.5, np.random.default_rng(0)), 1, masks=True)
    assert_tokens(system, system.recover(z, steps=2, rng=np.random.default_rng(0)), 1)
    assert_tokens(system, system.generate(1, np.random.default_rng(0), steps=2), 1)
    assert system.conditional(z, T).entropy().shape == z.shape


def test_copies_are_the_system(system):
    z = some_tokens(system)
    again = pickle.loads(pickle.dumps(system))
    assert np.array_equal(again.conditional(z, T).entropy(), system.conditional(z, T).entropy())
    assert again.describe() == system.describe()
