"""Masked models against enumeration: their cavities, their noise, and what they do when they run."""

import numpy as np
import pytest
import torch
from masked_worlds import Joint, strings

from bridges import (
    DiffusionSystem,
    MaskedSystem,
    UTurn,
    as_system,
    attraction,
    conditional_entropy,
    extraction,
    fixed_points,
    membership_scores,
    token_recovery,
    trajectory,
)
from bridges.fragmentation import kernel_bias, kernel_matrix
from bridges.system import as_tokens
from uddm import EmpiricalBayes, MaskedProcess, UniformProcess

ALMOST_NEVER = 1e-6  # false-alarm rate of every chi-square test here
K, L = 3, 4
STRINGS = strings(K, L)
LAW = np.random.default_rng(0).dirichlet(np.full(len(STRINGS), 0.5))
DATA = np.array([[0, 1, 2, 0], [0, 1, 2, 0], [2, 2, 1, 1], [0, 2, 2, 0]])


def joint():
    return Joint(LAW, K, L)


def enumerated(z, l, hidden):
    """p(x_l | tokens of z outside `hidden`), (K,), by adding up the law."""
    shown = [m for m in range(L) if m not in hidden and z[m] < K]
    fits = (STRINGS[:, shown] == z[shown]).all(1) * LAW
    p = np.array([fits[STRINGS[:, l] == k].sum() for k in range(K)])
    return p / p.sum()


@pytest.mark.parametrize("passes", [None, 1, 2, 3, L])
def test_cavities_are_those_of_the_law(passes):
    """Of clean strings and of some with masks, to rounding; the model copies the tokens that it is shown."""
    z = np.concatenate([STRINGS, np.where(np.random.default_rng(1).random(STRINGS.shape) < 0.3, K, STRINGS)])
    law = MaskedSystem(joint(), passes=passes).conditional(z, 0.5)
    g = passes or L
    p = np.array([[enumerated(row, l, range(l % g, L, g)) for l in range(L)] for row in z])
    found = np.exp(np.stack([law.log_prob(np.full_like(z, k)) for k in range(K)], -1))
    np.testing.assert_allclose(found, p, rtol=1e-11)
    entropy = -(p * np.log(p)).sum(-1)
    np.testing.assert_allclose(law.entropy(), entropy, atol=1e-12)
    variance = (p * (np.log(p) + entropy[..., None]) ** 2).sum(-1)
    np.testing.assert_allclose(law.log_prob_variance(), variance, atol=1e-12)
    x = STRINGS[np.arange(len(z)) % len(STRINGS)]
    for one, other in zip(law.surprise(x), (law.log_prob(x), entropy, variance), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    assert np.array_equal(law.mode(), p.argmax(-1))
    np.testing.assert_allclose(law.certainty()[2], (p * (1 - p)).sum(-1), atol=1e-12)


def test_a_model_that_copies_is_not_asked_what_it_is_shown():
    """Negative control: asked as a denoiser of all positions at once it is certain of everything."""
    assert DiffusionSystem(joint()).conditional(STRINGS, 0.5).entropy().max() < 1e-12
    assert MaskedSystem(joint()).conditional(STRINGS, 0.5).entropy().mean() > 0.3


def test_fewer_passes_say_less():
    """H(x_l | fewer others) - H(x_l | all others) is information: not negative, on average over the law."""
    mean = [
        np.average(MaskedSystem(joint(), passes=g).conditional(STRINGS, 0.5).entropy().mean(1), weights=LAW)
        for g in (4, 2, 1)
    ]
    assert mean[0] < mean[1] - 0.01 < mean[2] - 0.02
    one = -sum(p * np.log(p) for l in range(L) for p in [enumerated(STRINGS[0], l, range(L))]).sum() / L
    assert mean[2] == pytest.approx(one, abs=1e-12), "of one pass, the entropy of single tokens"


@pytest.mark.parametrize("passes", [None, 2])
def test_passes_are_as_many_as_said_and_come_in_batches(passes):
    denoiser = joint()
    system, z = MaskedSystem(denoiser, passes=passes, batch_size=7), STRINGS[:10]
    entropy = system.conditional(z, 0.5).entropy()
    assert sum(denoiser.passes) == 10 * (passes or L)
    assert max(denoiser.passes) == 7
    assert np.array_equal(entropy, MaskedSystem(denoiser, passes=passes).conditional(z, 0.5).entropy())
    assert system.describe()["passes"] == (passes or L)


def test_as_system_finds_it():
    found = as_system(joint(), passes=2, batch_size=5)
    assert (type(found), found.passes, found.batch_size, found.mask) == (MaskedSystem, 2, 5, K)
    assert type(as_system(EmpiricalBayes(DATA, UniformProcess(K)))) is DiffusionSystem
    with pytest.raises(ValueError, match="MaskedProcess"):
        MaskedSystem(EmpiricalBayes(DATA, UniformProcess(K)))
    for passes, error in ((0, ValueError), (L + 1, ValueError), (1.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match="`passes`"):
            MaskedSystem(joint(), passes=passes)


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_generation_has_the_law_of_the_model(chi_square, seed):
    """Of the exact limit, in one joint draw."""
    system, counts = MaskedSystem(EmpiricalBayes(DATA, MaskedProcess(K))), [0.25, 0.5, 0.25]
    rows, found = np.unique(system.generate(9000, np.random.default_rng(seed(0))), axis=0, return_counts=True)
    order = np.argsort(found)
    assert rows[order[-1]].tolist() == [0, 1, 2, 0]
    assert chi_square(np.sort(found), np.sort(counts)) > ALMOST_NEVER
    assert chi_square(np.sort(found), np.full(3, 1 / 3)) < ALMOST_NEVER


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_many_steps_generate_the_law(chi_square, seed):
    """In 300 steps two tokens are hardly ever drawn at once, each by itself; in one step all are."""
    system, n = MaskedSystem(joint()), 2000

    def p_value(steps):
        x = system.generate(n, np.random.default_rng(seed(1)), steps=steps)
        return chi_square(np.bincount(x @ K ** np.arange(L)[::-1], minlength=K**L), LAW)

    assert p_value(300) > ALMOST_NEVER
    assert p_value(1) < ALMOST_NEVER, "negative control"


@pytest.mark.parametrize("steps", [None, 5])
@pytest.mark.parametrize("mode", ["sample", "posterior_mode", "x0_mode", "one_shot"])
def test_tokens_that_are_shown_are_carried_over(mode, steps):
    """Also those that no string of the model has together."""
    system, rng = MaskedSystem(EmpiricalBayes(DATA, MaskedProcess(K))), np.random.default_rng(0)
    x = system.uniform(50, rng)
    z = system.corrupt(x, 0.5, rng)
    assert set(np.unique(z)) == {0, 1, 2, 3}
    steps = 30 if mode != "sample" and steps is None else steps
    y = system.recover(z, start=0.5, mode=mode, steps=steps, last="greedy", rng=rng)
    assert np.array_equal(y[z < K], x[z < K])
    assert y.max() < K


def test_results_say_that_there_is_no_unstable_rate():
    system = MaskedSystem(joint())
    found = token_recovery(system, STRINGS, noise=[0.2, 0.6], steps=5, rng=0)
    assert np.isnan(found.unstable_rate).all()
    assert "carried over" in found.unstable_rate.attrs["reason"]
    assert not np.isnan(found.recovery).any()
    assert (found.corrupted.values == K).mean((1, 2)) == pytest.approx([0.2, 0.6], abs=0.1)
    other = token_recovery(as_system(EmpiricalBayes(DATA, UniformProcess(K))), DATA, noise=0.5, steps=5, rng=0)
    assert "reason" not in other.unstable_rate.attrs
    with pytest.raises(ValueError, match="carries all of them over"):
        fixed_points(system, STRINGS)


def test_measurements_of_a_masked_model():
    """All that ask for what every system has."""
    system = MaskedSystem(EmpiricalBayes(DATA, MaskedProcess(K)))
    assert conditional_entropy(system, DATA, rng=0).mean_entropy.sel(estimate="value") < 0.4
    assert (membership_scores(system, DATA, train=DATA).nearest == 1).all()
    given = extraction(system, DATA[2:3], draws=3, rng=0)
    assert given.p_z.sel(task="prefix", estimate="value").item() == 1
    returned = attraction(system, 30, noise=0.2, rng=0)
    assert returned.exact_match.sel(kind="own", estimate="value").item() > 0.9
    z = np.array([[0, 3, 3, 3], [3, 3, 3, 1]])
    along = trajectory(system, z, steps=6, record=3, rng=0)
    assert np.array_equal(along.initial, z)
    assert along.final.values[:, [0, 3]].tolist() == [[0, 0], [2, 1]]
    assert along.mean_entropy.sel(estimate="value").values[-1] < along.mean_entropy.sel(estimate="value").values[0]


@pytest.mark.parametrize(("rule", "mode"), [("exact", "sample"), ("path", "factorised"), ("naive", "factorised")])
def test_uturns_under_masks_keep_the_law(rule, mode):
    """By the rules that are exact, to rounding; by the naive one they do not."""
    uturn = UTurn(EmpiricalBayes(DATA, MaskedProcess(K)), 0.6, mode=mode)
    support, p = np.unique(DATA, axis=0, return_counts=True)

    def log_prob(x):
        return np.log([p[(support == row).all(1)].sum() / len(DATA) for row in x])

    how = {"rule": rule, "energy": lambda x: 0.3 * x.sum(1), "log_prob": log_prob}
    target = p * np.exp(-0.3 * support.sum(1))
    bias = kernel_bias(kernel_matrix(uturn, support, **how), target / target.sum())
    assert (bias.one_step < 1e-12) == (rule != "naive")


def test_a_mask_among_the_ids_is_no_token():
    process = MaskedProcess(K + 1, mask=1)
    system = MaskedSystem(EmpiricalBayes(np.array([[0, 2, 3], [3, 0, 2]]), process))
    assert (system.mask, system.vocab_size) == (1, 4)
    noise = system.uniform(3000, np.random.default_rng(0))
    assert set(np.unique(noise)) == {0, 2, 3}
    assert set(np.unique(system.corrupt(noise, 0.5, np.random.default_rng(0)))) == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="got the mask, id 1, 2 times"):
        as_tokens("x", [[1, 0, 1]], system)
    assert as_tokens("x", [[1, 0, 1]], system, noisy=True).tolist() == [[1, 0, 1]]
    assert np.isneginf(system.conditional(np.array([[0, 2, 3]]), 0.5).log_prob(np.ones((1, 3), np.int64))).all()


def test_masks_beside_the_ids_are_named():
    for noisy, x in ((False, [[0, K, 0, 0]]), (True, [[0, K + 1, 0, 0]]), (True, [[-1, 0, 0, 0]])):
        with pytest.raises(ValueError, match="`x` must hold token ids in"):
            as_tokens("x", x, MaskedSystem(joint()), noisy=noisy)


def test_a_time_is_told():
    """A model may listen to it."""

    class Timed(Joint):
        def cavity(self, z, t):
            return super().cavity(z, t) * 0 + torch.tensor([t, 1 - t, 1e-9], dtype=torch.float64).log()

    law = MaskedSystem(Timed(LAW, K, L)).conditional(STRINGS[:1], 0.25)
    np.testing.assert_allclose(law.log_prob(np.zeros((1, L), np.int64)), np.log(0.25), rtol=1e-12)
