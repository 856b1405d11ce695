"""One U-turn: a token recovery, and paths of noise of the same law."""

import numpy as np
import pytest
import torch
from scipy import stats
from small_worlds import ALMOST_NEVER, TINY, UNIFORM, bayes, network, number
from toy_noise import Mixed

from amtheory import Hopfield
from amtheory.patterns import random_patterns
from bridges import UTurn, as_system, chains, token_recovery
from uddm import EmpiricalBayes, UniformProcess
from uddm.process.schedule import GaussianDual


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: bayes(UNIFORM), {}),
        (lambda: bayes(UNIFORM), {"steps": 5}),
        (lambda: EmpiricalBayes(torch.tensor(UNIFORM.sample(20, rng=0)), UniformProcess(4)), {}),
        (lambda: network(L=4), {"steps": 6}),
        (lambda: network(L=4), {"steps": 6, "mode": "posterior_mode"}),
        (lambda: network(L=4), {"mode": "one_shot"}),
        (lambda: as_system(Hopfield().fit(random_patterns(2, 4, rng=0)), beta=1.0), {"steps": 3}),
    ],
    ids=["grammar", "grammar-steps", "memory", "network", "posterior_mode", "one_shot", "hopfield"],
)
def test_one_uturn_is_token_recovery(make, options):
    system = as_system(make())
    x = np.random.default_rng(0).integers(system.vocab_size, size=(30, 4))
    for noise in (0.3, 0.9):
        uturn = UTurn(system, noise, **options)
        recovered = token_recovery(system, x, noise=noise, rng=7, **options).final.values[0]
        assert np.array_equal(uturn.step(x, rng=7), recovered)
        chain = chains(uturn, x, 2, rng=7, keep_tokens=True)
        assert np.array_equal(chain.tokens.values[0], recovered)
        assert not np.array_equal(uturn.step(x, rng=8), recovered) or options.get("mode") == "one_shot"
        rates = chain.overlap.values[0, 0].mean()
        total = token_recovery(system, x, noise=noise, rng=7, **options).total_recovery.sel(estimate="value").item()
        assert rates == pytest.approx(total)


def test_batches_do_not_matter():
    model, x = network(), np.random.default_rng(0).integers(4, size=(20, 5))
    log_prob = lambda x: np.zeros(len(x))  # noqa: E731
    for options in ({"mode": "factorised"}, {"steps": 3}):
        for rule in ("always", "path"):
            whole, parts = (
                chains(UTurn(as_system(model, batch_size=b), 0.5, **options), x, 3, rule=rule, log_prob=log_prob, rng=1)
                for b in (None, 3)
            )
            assert np.array_equal(whole.final, parts.final)


@pytest.mark.statistical(alarm=ALMOST_NEVER)
@pytest.mark.parametrize("options", [{"steps": 2}, {"mode": "factorised"}], ids=["steps", "factorised"])
def test_path_step_has_the_law_of_step(options, seed):
    """Also where alpha_0 < 1: then z is corrupted by 1 - alpha_t, not by what is left of it after time 0."""
    model = network(K=3, L=2)
    model.process = UniformProcess(3, GaussianDual(3, gamma_min=0.0, gamma_max=2.0))
    assert model.process.alpha(0.0) < 0.9
    assert p_value_of_paths(UTurn(model, 0.01, **options), np.zeros((15_000, 2), int), seed) > ALMOST_NEVER


def p_value_of_paths(uturn, x, seed):
    """Chi-square of two samples: of steps, and of the ends of paths. Of 15,000 each in 9 cells it is below
    `ALMOST_NEVER` in 19 of 20 cases where the laws have sum (p - q)^2/(p + q) above 60/15,000."""
    steps, paths = (
        np.bincount(number(y, 3), minlength=9) for y in (uturn.step(x, rng=seed(0)), uturn.path_step(x, rng=seed(1))[0])
    )
    seen = (steps + paths) > 0
    return stats.chi2.sf(((steps - paths)[seen] ** 2 / (steps + paths)[seen]).sum(), seen.sum() - 1)


@pytest.mark.statistical(alarm=ALMOST_NEVER)
@pytest.mark.parametrize("share", [0.0, 0.4], ids=["absorbing", "mixed"])
@pytest.mark.parametrize("options", [{"steps": 2}, {"mode": "factorised"}], ids=["steps", "factorised"])
def test_path_step_of_other_noise_has_the_law_of_step(share, options, seed):
    memory = EmpiricalBayes(torch.tensor(TINY), Mixed(2, share=share))
    x = TINY[np.arange(15_000) % 3]
    assert p_value_of_paths(UTurn(memory, 0.6, **options), x, seed) > ALMOST_NEVER
    ratio = UTurn(memory, 0.6, **options).path_step(x, rng=0)[1]
    assert np.isfinite(ratio).all()
    assert np.ptp(ratio) > 0.1


EXACT = UTurn(bayes(UNIFORM), 0.5)
STEPS = UTurn(bayes(UNIFORM), 0.5, steps=3)
HOPFIELD = as_system(Hopfield().fit(random_patterns(2, 4, rng=0)), beta=1.0)
X = UNIFORM.unique(5, rng=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UTurn(bayes(UNIFORM), 0.0), "`noise`"),
        (lambda: UTurn(bayes(UNIFORM), 0.5, steps=0), "`steps`"),
        (lambda: UTurn(bayes(UNIFORM), 0.5, mode="joint"), "`mode` must be one of .*'factorised', got 'joint'"),
        (lambda: UTurn(HOPFIELD, 0.5, mode="factorised"), "`mode` 'factorised' needs a denoiser"),
        (lambda: UTurn(network(), 1e-5, steps=3), "`noise` must exceed 1e-05"),
        (lambda: UTurn(network(), 1e-6, mode="one_shot"), "`noise` must exceed 1e-05"),
        (lambda: UTurn(HOPFIELD, 0.5).grid, "`uturn`"),
        (lambda: UTurn(HOPFIELD, 0.5).path_step(X), "`uturn`"),
        (lambda: EXACT.step(X[0]), "`x` must have shape"),
        (lambda: EXACT.step(X[:0]), "`x` must have shape"),
        (lambda: STEPS.path_step((X + 4).tolist()), "`x` must hold token ids"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_types_are_named():
    for wrong in (X.astype(bool), X.astype(float)):
        with pytest.raises(TypeError, match="`x` must hold integer"):
            EXACT.step(wrong)
    with pytest.raises(TypeError, match="`noise`"):
        UTurn(bayes(UNIFORM), "a")  # type: ignore[arg-type]
