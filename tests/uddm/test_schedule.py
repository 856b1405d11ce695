"""Noise schedules against their definitions in 40 digits."""

import math

import mpmath as mp
import pytest
import torch

from uddm import UniformProcess
from uddm.process.schedule import Cosine, GaussianDual, Linear, LogLinear, get_schedule

K = 50
TIMES = [1e-12, 0.01, 0.5, 0.999, 1.0]


def gaussian_dual(t):
    mu = mp.exp(-(mp.mpf("-3.5") + mp.mpf(t) * mp.mpf("1.75")) / 2)
    wins = mp.quad(lambda z: mp.npdf(z - mu) * mp.ncdf(z) ** (K - 1), range(-8, 18, 2), method="gauss-legendre")
    return (K * wins - 1) / (K - 1)


EXACT = {
    "log-linear": lambda t: 1 - (1 - mp.mpf(1e-3)) * t,
    "linear": lambda t: 1 - t,
    "cosine": lambda t: 1 - mp.cos(mp.pi / 2 * (1 - (1 - mp.mpf(1e-3)) * t)),
    "gaussian": gaussian_dual,
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("t", TIMES)
def test_one_minus_alpha_and_rate(name, t):
    """Also where 1 - alpha is 1e-12: no digit is lost."""
    schedule, time = get_schedule(name, K), torch.tensor(t)
    with mp.workdps(40):
        exact, t = EXACT[name], mp.mpf(float(time.double()))
        noise, h = 1 - exact(t), mp.mpf("1e-10")
        rate = (exact(t - h) - exact(t + h)) / (2 * h)
        assert float(schedule.one_minus_alpha(time)) == pytest.approx(float(noise), rel=1e-13, abs=0)
        assert float(schedule.rate(time)) == pytest.approx(float(rate), rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("schedule", "first", "last"),
    [
        (LogLinear(), 1, 1e-3),
        (LogLinear(0.1), 1, 0.1),
        (Linear(), 1, 0),
        (Cosine(), 1, 2 * math.sin(math.pi * 1e-3 / 4) ** 2),
        (Cosine(0.2), 1, 1 - math.cos(0.1 * math.pi)),
    ],
)
def test_ends(schedule, first, last):
    process = UniformProcess(K, schedule)
    assert float(process.alpha(0.0)) == first
    assert float(process.alpha(1.0)) == pytest.approx(last, abs=1e-15)


@pytest.mark.parametrize(
    ("vocab_size", "gamma", "alpha"),
    [(30522, -3.5, 0.942), (30522, -1.75, 0.049), (50258, -3.5, 0.928), (50258, -1.75, 0.038)],
)
def test_ends_of_the_published_curriculum(vocab_size, gamma, alpha):
    """Reference numbers of an independent quadrature, three digits after the point."""
    ends = UniformProcess(vocab_size, "gaussian").alpha(torch.tensor([0.0, 1.0]))
    assert abs(float(ends[0 if gamma == -3.5 else 1]) - alpha) < 5e-4


def test_gaussian_amplitude():
    schedule, t = GaussianDual(K, -2.0, 3.0), torch.tensor([0.0, 0.4, 1.0])
    assert schedule.gaussian_alpha(t) ** 2 == pytest.approx([1 / (1 + math.exp(gamma)) for gamma in (-2, 0, 3)])


@pytest.mark.parametrize("name", EXACT)
def test_shape_and_precision(name):
    process = UniformProcess(K, name)
    for t in (torch.tensor(0.5), torch.tensor([0.5, 0.1]), torch.full((2, 3), 0.5, dtype=torch.float64)):
        for value in (process.one_minus_alpha(t), process.rate(t)):
            assert value.shape == t.shape
            assert value.dtype == torch.float64
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    assert (process.one_minus_alpha(t).diff() > 0).all()
    alone = process.one_minus_alpha(t[[3, 1999]])  # each has all digits but those of 1e-13
    torch.testing.assert_close(process.one_minus_alpha(t)[[3, 1999]], alone, rtol=2e-13, atol=0)


def test_own_object_is_returned():
    schedule = Cosine(0.2)
    assert get_schedule(schedule, K) is schedule
    assert get_schedule("gaussian", K) == GaussianDual(K)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("`schedule` must be one of 'log-linear', 'linear', 'cosine', 'gaussian'", lambda: get_schedule("cubic", K)),
        ("`vocab_size`", lambda: GaussianDual(1)),
        ("`gamma_min`", lambda: GaussianDual(K, 1.0, 1.0)),
        ("`gamma_min`", lambda: GaussianDual(K, -math.inf, 1.0)),
        ("`gamma_min`", lambda: GaussianDual(K, 0.0, math.nan)),
    ],
)
def test_rejects(words, wrong):
    with pytest.raises(ValueError, match=words):
        wrong()
