"""Measured systems against conditionals and laws written out for each; what all have in common is in tests/common."""

import itertools

import numpy as np
import pytest
import torch

from amtheory import DenseMemory, Hopfield, PerceptronMargin, PseudoInverse, PseudoLikelihood
from amtheory.patterns import random_patterns
from bridges import BinarySystem, DiffusionSystem, as_system, likelihood_beta, to_spins, to_tokens
from bridges.binary import MAX_SWEEPS
from bridges.system import as_tokens, check_time
from uddm import DiT, DiTConfig, EmpiricalBayes, HollowMLP, HollowMLPConfig, UniformProcess
from uddm.choices import MODES

ALMOST_NEVER = 1e-6  # false-alarm rate of every chi-square test here
T = 0.3
# of log-probabilities up to 10 of a float32 network: some 128 roundings, each within 2^-24, on the way from a token
ROUNDING = 128 * 10 * 2.0**-24


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


def logistic_conditionals(system, z):
    """p(s_l | others) = exp(beta s_l h_l) / (2 cosh), h_l = sum_m W_lm s_m, one spin at a time."""
    W, result = system.memory.couplings_, np.zeros((*z.shape, 2))
    for b, l in np.ndindex(z.shape):
        h = sum(W[l, m] * (2 * z[b, m] - 1) for m in range(system.length) if m != l)
        result[b, l] = sigmoid(-2 * system.beta * h), sigmoid(2 * system.beta * h)
    return result


def boltzmann_conditionals(system, z):
    """p(s_l | others) from the energies of both values of the spin."""
    result = np.zeros((*z.shape, 2))
    for l, value in np.ndindex(system.length, 2):
        s = 2 * z - 1
        s[:, l] = 2 * value - 1
        result[:, l, value] = np.exp(-system.beta * system.memory.energy(s))
    return result / result.sum(-1, keepdims=True)


def bayes_conditionals(system, z):
    """p(x_l | z without l), or p(x_l | z), under the rows of the data, by enumeration."""
    K, kept = system.vocab_size, system.process.alpha(T).item()
    data, result = system.denoiser.data.numpy(), np.zeros((*z.shape, system.vocab_size))
    for b, l in np.ndindex(z.shape):
        for x in data:
            seen = [m for m in range(len(x)) if m != l or system.kind == "posterior"]
            result[b, l, x[l]] += np.prod([kept * (x[m] == z[b, m]) + (1 - kept) / K for m in seen])
    return result / result.sum(-1, keepdims=True)


def rounding(system):
    """Of log-probabilities: networks compute in float32, all else in float64."""
    return ROUNDING if isinstance(getattr(system, "denoiser", None), torch.nn.Module) else 1e-10


def network_conditionals(system, z):
    model = system.denoiser.eval()
    with torch.no_grad():
        return model.cavity(torch.tensor(z), T).double().exp().numpy()


def randomised(model):
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.4)
    return model.train()


def systems():
    torch.manual_seed(0)
    shape = {"length": 6, "hidden_dim": 16, "blocks": 1, "cond_dim": 8}
    patterns = random_patterns(3, 8, rng=0)
    data = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3], [1, 1, 1, 1], [3, 2, 0, 0], [0, 2, 2, 3]])
    exact = EmpiricalBayes(data, UniformProcess(4))
    return {
        "Hopfield": (as_system(Hopfield().fit(patterns), beta=1.5), logistic_conditionals),
        "PseudoInverse": (as_system(PseudoInverse().fit(patterns), beta=2.0), logistic_conditionals),
        "PerceptronMargin": (as_system(PerceptronMargin().fit(patterns[:2]), beta=0.5), logistic_conditionals),
        "DenseMemory": (as_system(DenseMemory("exp", beta=0.4).fit(patterns)), boltzmann_conditionals),
        "PseudoLikelihood": (
            as_system(PseudoLikelihood(beta=0.7).fit(patterns), update="sequential"),
            logistic_conditionals,
        ),
        "EmpiricalBayes": (as_system(exact), bayes_conditionals),
        "EmpiricalBayes-posterior": (as_system(exact, conditional="posterior", batch_size=5), bayes_conditionals),
        "DiT": (as_system(randomised(DiT(DiTConfig(5, heads=2, **shape)))), network_conditionals),
        "HollowMLP": (
            as_system(randomised(HollowMLP(HollowMLPConfig(5, embed_dim=4, **shape))), batch_size=500),
            network_conditionals,
        ),
    }


SYSTEMS = systems()


@pytest.fixture(params=SYSTEMS)
def case(request):
    return SYSTEMS[request.param]


def some_tokens(system, n=7, seed=0):
    return np.random.default_rng(seed).integers(system.vocab_size, size=(n, system.length))


def test_conditional_reduces_the_explicit_distribution(case):
    system, explicit = case
    z = some_tokens(system)
    p = explicit(system, z)
    error = rounding(system)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=error)
    conditional = system.conditional(z, T)

    entropy = conditional.entropy()
    assert entropy.shape == z.shape
    assert entropy.dtype == np.float64
    with np.errstate(divide="ignore", invalid="ignore"):
        want = -np.where(p > 0, p * np.log(p), 0).sum(-1)
    np.testing.assert_allclose(entropy, want, atol=np.log(system.vocab_size) * error)  # slope -log p, on average

    log_probs = np.stack([conditional.log_prob(np.full_like(z, k)) for k in range(system.vocab_size)], -1)
    assert log_probs.shape == p.shape
    assert log_probs.dtype == np.float64
    np.testing.assert_allclose(np.exp(log_probs), p, atol=error)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=error)

    mode = conditional.mode()
    assert mode.dtype == np.int64
    chosen = np.take_along_axis(p, mode[..., None], -1)[..., 0]
    np.testing.assert_allclose(chosen, p.max(-1), atol=2 * error)


@pytest.mark.parametrize("name", ["DiT", "EmpiricalBayes"])
@pytest.mark.parametrize("mode", MODES)
def test_batch_size_does_not_matter(name, mode):
    """Bit for bit in the exact limit; a network's numbers round otherwise, and of its 200 draws, each of which turns
    where a number passes one of 5 edges, one in a thousand seeds would have one that close to an edge."""
    denoiser = SYSTEMS[name][0].denoiser
    one, other = DiffusionSystem(denoiser), DiffusionSystem(denoiser, batch_size=2)
    z = some_tokens(one, 7)
    for steps in (4, None) if (name, mode) == ("EmpiricalBayes", "sample") else (4,):
        options = {"start": 0.8, "mode": mode, "steps": steps, "last": "greedy"}
        assert np.array_equal(*(s.recover(z, **options, rng=np.random.default_rng(1)) for s in (one, other)))
    first, second = one.conditional(z, T), other.conditional(z, T)
    error = ROUNDING * np.log(5) if name == "DiT" else 0
    np.testing.assert_allclose(first.entropy(), second.entropy(), rtol=0, atol=error)
    assert np.array_equal(first.mode(), second.mode())
    assert np.array_equal(first.sample(np.random.default_rng(0)), second.sample(np.random.default_rng(0)))


def test_network_is_measured_without_dropout():
    system = SYSTEMS["DiT"][0]
    system.denoiser.train()
    z = some_tokens(system)
    assert np.array_equal(system.conditional(z, T).entropy(), system.conditional(z, T).entropy())
    assert system.denoiser.training


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_default_generation_of_the_exact_limit_has_the_law_of_its_data(chi_square, seed):
    system = SYSTEMS["EmpiricalBayes"][0]
    generated = system.generate(20_000, steps=None, rng=np.random.default_rng(seed(0)))
    rows, counts = np.unique(generated, axis=0, return_counts=True)
    assert rows.tolist() == [[0, 1, 2, 3], [0, 2, 2, 3], [1, 1, 1, 1], [3, 2, 0, 0]]
    assert chi_square(counts, [0.4, 0.2, 0.2, 0.2]) > ALMOST_NEVER
    assert chi_square(counts, [0.25] * 4) < ALMOST_NEVER


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_default_recovery_of_the_exact_limit_is_a_joint_posterior_sample(chi_square, seed):
    system = SYSTEMS["EmpiricalBayes"][0]
    z = np.repeat([[0, 1, 1, 1]], 20_000, 0)
    options = {"mode": "sample", "steps": None, "last": "ancestral", "rng": np.random.default_rng(seed(0))}
    rows, counts = np.unique(system.recover(z, start=0.7, **options), axis=0, return_counts=True)
    kept, data = system.process.alpha(0.7).item(), system.denoiser.data.numpy()
    weights = [np.prod(kept * (row == z[0]) + (1 - kept) / 4) * (data == row).all(1).sum() for row in rows]
    assert len(rows) == 4
    assert chi_square(counts, np.array(weights) / sum(weights)) > ALMOST_NEVER


def test_binary_dynamics():
    """Deterministic modes run W at T = 0, `one_shot` a single sweep; written out for a parallel memory."""
    patterns = random_patterns(5, 21, rng=1)
    memory = Hopfield().fit(patterns)
    system = BinarySystem(memory, beta=3.0)
    z = some_tokens(system, 50)

    def sweep(tokens):
        spins = 2 * tokens - 1
        fields = spins @ memory.integer_couplings_.T
        return np.where(fields > 0, 1, np.where(fields < 0, 0, tokens))

    options = {"start": 1.0, "last": "none", "rng": np.random.default_rng(0)}
    assert np.array_equal(system.recover(z, mode="one_shot", steps=9, **options), sweep(z))
    end = z
    for _ in range(4):
        end = sweep(end)
    for mode in ("posterior_mode", "x0_mode"):
        assert np.array_equal(system.recover(z, mode=mode, steps=4, **options), end)
    assert MAX_SWEEPS >= 100
    stored = to_tokens(patterns)
    assert (system.recover(stored, mode="posterior_mode", steps=None, **options) == stored).mean() > 0.9


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_binary_sampling_has_the_boltzmann_law(chi_square, seed):
    """Sequential dynamics of symmetric couplings at T = 1/beta: exp(beta sum_{l<m} W_lm s_l s_m) after many sweeps."""
    system = BinarySystem(Hopfield().fit(random_patterns(3, 4, rng=2)), beta=0.8, update="sequential")
    n = 20_000
    z = np.zeros((n, 4), np.int64)
    final = system.recover(z, start=1.0, mode="sample", steps=30, last="none", rng=np.random.default_rng(seed(0)))
    spins = 2 * np.array(list(itertools.product(range(2), repeat=4))) - 1

    def law(beta):
        weights = np.exp(beta * np.einsum("bl,lm,bm->b", spins, system.memory.couplings_, spins) / 2)
        return weights / weights.sum()

    counts = np.bincount(final @ [8, 4, 2, 1], minlength=16)
    assert chi_square(counts, law(0.8)) > ALMOST_NEVER
    assert chi_square(counts, law(0.4)) < ALMOST_NEVER


class Fields:
    """A memory with given fields."""

    def __init__(self, fields):
        self.fields, self.length_, self.beta = np.asarray(fields, float), len(fields), 1.0

    def local_field(self, states):
        return np.broadcast_to(self.fields, np.shape(states))


def test_binary_entropy_is_stable_at_large_fields():
    """H = log 2cosh f - f tanh f, from log 2 to the asymptote (1 + 2|f|) exp(-2|f|), without overflow."""
    f = np.array([0.0, 1e-9, 0.1, -0.5, 2.0, -3.0, 8.0])
    x = np.zeros((1, len(f)), np.int64)
    conditional = BinarySystem(Fields(f)).conditional(x, 0.5)
    np.testing.assert_allclose(conditional.entropy()[0], np.log(2 * np.cosh(f)) - f * np.tanh(f), rtol=1e-8, atol=1e-12)

    large = np.array([30.0, -100.0, 300.0, -1e4, 1e300])
    x = np.zeros((1, len(large)), np.int64)
    conditional = BinarySystem(Fields(large)).conditional(x, 0.5)
    entropy = conditional.entropy()[0]
    np.testing.assert_allclose(entropy[:3], ((1 + 2 * np.abs(large)) * np.exp(-2 * np.abs(large)))[:3], rtol=1e-12)
    assert np.array_equal(entropy[3:], [0, 0])
    np.testing.assert_allclose(conditional.log_prob(x)[0], [-60, 0, -600, 0, -2e300], atol=1e-12)
    assert conditional.mode().tolist() == [[1, 0, 1, 0, 1]]
    assert conditional.sample(np.random.default_rng(0)).tolist() == [[1, 0, 1, 0, 1]]


def test_likelihood_beta_is_a_maximum():
    patterns = random_patterns(30, 40, rng=0)
    memory = Hopfield().fit(patterns)
    beta = likelihood_beta(memory, patterns)
    assert 0.1 < beta < 50

    def likelihood(beta):
        return (
            BinarySystem(memory, beta=beta).conditional(to_tokens(patterns), 0.5).log_prob(to_tokens(patterns)).mean()
        )

    assert likelihood(beta) > max(likelihood(0.98 * beta), likelihood(1.02 * beta))
    grid = np.exp(np.linspace(-4, 4, 60))
    assert likelihood(beta) >= max(likelihood(b) for b in grid)


def test_likelihood_beta_of_separable_patterns_is_the_largest_allowed():
    patterns = random_patterns(1, 20, rng=0)
    assert likelihood_beta(Hopfield().fit(patterns), patterns, largest=7.0) == pytest.approx(7.0, rel=1e-3)


def test_spins_and_tokens():
    spins = random_patterns(3, 5, rng=0)
    assert np.array_equal(to_spins(to_tokens(spins)), spins)
    assert to_spins([[0, 1]]).tolist() == [[-1, 1]]
    assert (to_spins([[0, 1]]).dtype, to_tokens(spins).dtype) == (np.int8, np.int64)


def test_as_system_dispatch(tmp_path):
    model = SYSTEMS["DiT"][0].denoiser
    assert isinstance(as_system(model), DiffusionSystem)
    assert as_system(model, conditional="posterior").kind == "posterior"
    model.save_pretrained(tmp_path)
    for path in (tmp_path, str(tmp_path)):
        loaded = as_system(path)
        assert isinstance(loaded, DiffusionSystem)
        assert (loaded.length, loaded.vocab_size) == (6, 5)
    memory = PseudoLikelihood(beta=0.5).fit(random_patterns(3, 8, rng=0))
    assert isinstance(as_system(memory), BinarySystem)
    assert as_system(memory).beta == 0.5
    assert as_system(memory, beta=2.0).beta == 2.0


@pytest.mark.parametrize("thing", [None, 3, np.eye(4), Hopfield(), UniformProcess(3), object()])
def test_what_cannot_be_measured_is_refused(thing):
    with pytest.raises(TypeError, match="`memory` must be a fitted binary memory"):
        as_system(thing)


def test_bad_arguments_are_named():
    memory = Hopfield().fit(random_patterns(3, 8, rng=0))
    for beta in (None, 0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="`beta`"):
            as_system(memory, beta=beta)
    with pytest.raises(ValueError, match="`update`"):
        as_system(memory, beta=1.0, update="random")
    with pytest.raises(ValueError, match="`conditional`"):
        as_system(SYSTEMS["EmpiricalBayes"][0].denoiser, conditional="joint")
    with pytest.raises(FileNotFoundError, match="/no/such/folder"):
        as_system("/no/such/folder")


def test_token_checks():
    system = SYSTEMS["EmpiricalBayes"][0]
    good = as_tokens("x", [[0, 1, 2, 3]], system)
    assert good.dtype == np.int64
    assert as_tokens("x", torch.tensor([[0, 1, 2, 3]]), system).tolist() == good.tolist()
    assert as_tokens("x", np.array([[0, 1, 2, 3]], np.uint8), system).dtype == np.int64
    for bad in ([[0, 1, 2, 4]], [[0, 1, 2, -1]], [[0, 1, 2]], [0, 1, 2, 3], np.zeros((0, 4), int)):
        with pytest.raises(ValueError, match="`x`"):
            as_tokens("x", bad, system)
    for bad in ([[0.0, 1, 2, 3]], [[True] * 4], [["a"] * 4]):
        with pytest.raises(TypeError, match="`x`"):
            as_tokens("x", bad, system)
    assert check_time("t", 1) == 1.0
    for bad in (0, 1.0001, -1, np.nan):
        with pytest.raises(ValueError, match="`t`"):
            check_time("t", bad)
