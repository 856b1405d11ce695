"""The reverse process: each update against its exact law, and the whole chain against an exact joint posterior."""

import itertools
from itertools import pairwise

import numpy as np
import pytest
import torch

from uddm import Denoiser, DiT, DiTConfig, EmpiricalBayes, UniformProcess, reverse
from uddm.choices import LASTS, MODES
from uddm.sampling import END, path, update
from uddm.streams import inverse_cdf

ALMOST_NEVER = 1e-6  # false-alarm rate of every chi-square test here
DATA = torch.tensor([[0, 1, 2], [0, 1, 2], [2, 2, 2], [1, 0, 0], [0, 0, 2]])


class Fixed(Denoiser):
    """The same distribution whatever z is."""

    def __init__(self, process, probabilities):
        self.process, self.log_probs = process, torch.tensor(np.array(probabilities, np.float64)).log()
        self.length = len(self.log_probs)

    def cavity(self, z, t):
        return self.log_probs.expand(len(z), -1, -1)


class Recording(Denoiser):
    """Passes on another denoiser and keeps what it was asked."""

    def __init__(self, denoiser):
        self.inner, self.process, self.length, self.calls = denoiser, denoiser.process, denoiser.length, []

    def cavity(self, z, t):
        self.calls.append((z.clone(), t))
        return self.inner.cavity(z, t)


def small_network(K=6, L=5, seed=0):
    torch.manual_seed(seed)
    model = DiT(DiTConfig(K, length=L, hidden_dim=16, blocks=2, heads=2, cond_dim=8))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.4)
    return model


def one_hot_at_mode(probabilities):
    return np.eye(len(probabilities))[np.argmax(probabilities)]


CAVITY = np.array([0.05, 0.6, 0.3, 0.05])


@pytest.mark.statistical(alarm=ALMOST_NEVER)
@pytest.mark.parametrize("mode", ["sample", "x0_mode"])
@pytest.mark.parametrize(("t", "s"), [(0.9, 0.5), (0.5, 0.45), (1e-5, 0.0)])
@pytest.mark.parametrize("z", [0, 1])
def test_one_update_has_the_law_of_the_posterior(mode, t, s, z, chi_square, seed):
    process, n = UniformProcess(4), 100_000
    denoiser, tokens = Fixed(process, [CAVITY]), torch.full((n, 1), z)
    choice, draw = torch.rand((2, n, 1), dtype=torch.float64, generator=torch.Generator().manual_seed(seed(11)))
    counts = torch.bincount(
        update(process, denoiser.predict(tokens, t), tokens, t, s, mode, choice, draw)[:, 0], minlength=4
    )
    used = CAVITY if mode == "sample" else one_hot_at_mode(CAVITY)

    def law(t, s):
        return process.posterior(torch.tensor(used).log()[None, None], tokens[:1], t, s)[0, 0]

    assert chi_square(counts, law(t, s)) > ALMOST_NEVER
    if t > 0.1 and (mode == "sample" or z != 1):
        assert chi_square(counts, law(t, 0.8 * s)) < ALMOST_NEVER


@pytest.mark.statistical(alarm=ALMOST_NEVER)
@pytest.mark.parametrize("mode", ["sample", "x0_mode"])
def test_chain_has_the_law_of_the_product_of_posteriors(mode, chi_square, seed):
    """Three updates from t = 0.9 by the public function, two positions with cavities of their own."""
    process, n = UniformProcess(4), 60_000
    cavities = np.array([CAVITY, [0.4, 0.1, 0.2, 0.3]])
    z = torch.tensor([[0, 3]]).expand(n, 2)
    final = reverse(process, Fixed(process, cavities), z, start=0.9, steps=3, mode=mode, last="none", generator=seed(5))

    def law(position):
        used = cavities[position] if mode == "sample" else one_hot_at_mode(cavities[position])
        matrix = np.eye(4)
        for t, s in pairwise(np.linspace(0.9, 1e-5, 4)):
            log_probs = torch.tensor(used).log().expand(4, 1, 4)
            matrix = matrix @ process.posterior(log_probs, torch.arange(4)[:, None], t, s)[:, 0].numpy()
        return matrix[int(z[0, position])]

    joint = torch.bincount(4 * final[:, 0] + final[:, 1], minlength=16)
    assert chi_square(joint, np.outer(law(0), law(1))) > ALMOST_NEVER
    assert chi_square(torch.bincount(final[:, 0], minlength=4), law(1)) < ALMOST_NEVER


@pytest.mark.parametrize(
    "denoiser", [small_network().eval(), EmpiricalBayes(DATA, UniformProcess(3))], ids=["DiT", "exact"]
)
@pytest.mark.parametrize(("start", "steps"), [(1.0, 8), (0.7, 12), (0.05, 3)])
@pytest.mark.parametrize("last", LASTS)
def test_posterior_mode_is_the_argmax_of_the_posterior_at_each_step(denoiser, start, steps, last):
    """Against the chain of every update of the grid, of which `reverse` may skip those where nothing can move."""
    process, watched = denoiser.process, Recording(denoiser)
    z = process.prior((40, denoiser.length), generator=1)
    final = reverse(process, watched, z, start=start, steps=steps, mode="posterior_mode", last=last)
    grid = np.linspace(start, END, steps + 1).tolist()
    updates = list(itertools.pairwise(grid)) + ([(END, 0.0)] if last == "ancestral" else [])
    chain, moving, tokens = [], [], z
    for t, s in updates:
        chain.append(tokens)
        with torch.no_grad():
            tokens = process.posterior(denoiser.cavity(tokens, t), tokens, t, s).argmax(-1)
        if not torch.equal(tokens, chain[-1]):
            moving.append(t)
    if last == "greedy":
        updates.append((END, None))
        chain.append(tokens)
        with torch.no_grad():
            tokens = denoiser.cavity(tokens, END).argmax(-1)
    assert torch.equal(final, tokens)
    assert moving
    asked = [t for _, t in watched.calls]
    for t in moving:
        assert np.isclose(asked, t, rtol=1e-12).any()
    for state, t in watched.calls:
        (step,) = (k for k, (time, _) in enumerate(updates) if np.isclose(time, t, rtol=1e-12))
        assert torch.equal(state, chain[step])


@pytest.mark.parametrize(("start", "steps", "moving"), [(1.0, 1000, 1), (0.3, 200, 1), (1.0, 100, 2), (0.6, 100, 2)])
def test_posterior_mode_is_frozen_until_its_last_regular_updates(start, steps, moving):
    """A certain prediction moves a token in the last update, or, with dt**2 > 1e-5, in the last but one."""
    process = UniformProcess(4)
    certain, z = Recording(Fixed(process, [[0, 1, 0, 0]])), torch.tensor([[0], [1], [2], [3]])
    final = reverse(process, certain, z, start=start, steps=steps, mode="posterior_mode", last="none")
    assert torch.equal(final, torch.ones_like(z))
    tokens, first = certain.calls[0]
    assert torch.equal(tokens, z)
    assert first == pytest.approx(np.linspace(start, END, steps + 1)[steps - moving], rel=1e-12)


@pytest.mark.parametrize(("steps", "fires"), [(10, True), (32, True), (33, False), (90, False)])
def test_posterior_mode_from_pure_noise_fires_at_the_start_only_with_few_steps(steps, fires):
    """At alpha_1 = 1e-3 a certain prediction moves a token iff (alpha_s - alpha_t) alpha_s > alpha_t (1 - alpha_s)."""
    process = UniformProcess(4)
    certain = Recording(Fixed(process, [[0, 1, 0, 0]]))
    z = torch.tensor([[0], [1], [2], [3]])
    alpha_t, alpha_s = process.alpha(1.0).item(), process.alpha(1 - (1 - END) / steps).item()
    assert fires == ((alpha_s - alpha_t) * alpha_s > alpha_t * (1 - alpha_s))
    final = reverse(process, certain, z, steps=steps, mode="posterior_mode", last="none")
    assert (certain.calls[0][1] == 1.0) == fires
    assert torch.equal(certain.calls[1][0] if fires else final, torch.ones_like(z))
    assert torch.equal(final, torch.ones_like(z))


def test_one_shot_is_the_argmax_of_the_cavity():
    model = small_network().eval()
    z = model.process.prior((30, 5), generator=0)
    for last in LASTS:
        got = reverse(model.process, model, z, start=0.3, mode="one_shot", last=last, steps=7)
        with torch.no_grad():
            assert torch.equal(got, model.cavity(z, 0.3).argmax(-1))
            assert not torch.equal(got, model.posterior(z, 0.3).argmax(-1))


def test_kept_tokens_are_seen_and_others_draw_as_before():
    """A denoiser that ignores z draws the others as it does alone; it is shown the kept ones at every update."""
    process = UniformProcess(4)
    watched = Recording(Fixed(process, [CAVITY, [0.4, 0.1, 0.2, 0.3]]))
    z = process.prior((200, 2), generator=0)
    free, kept = (
        reverse(process, watched, z, steps=6, keep=keep, generator=1) for keep in (None, torch.tensor([True, False]))
    )
    assert torch.equal(kept[:, 1], free[:, 1])
    assert torch.equal(kept[:, 0], z[:, 0])
    assert (free[:, 0] != z[:, 0]).any()
    assert len(watched.calls) == 14
    assert all(torch.equal(state[:, 0], z[:, 0]) for state, _ in watched.calls[7:])


@pytest.mark.parametrize(
    ("error", "keep"),
    [
        (ValueError, torch.ones(5, dtype=torch.bool)),
        (ValueError, torch.ones(3, 2, 1, dtype=torch.bool)),
        (ValueError, torch.ones(1, 2, dtype=torch.bool)),
        (TypeError, torch.ones(3, 2)),
        (TypeError, np.ones((3, 2), int)),
        (TypeError, np.ma.masked_array(np.ones((3, 2), bool), mask=True)),
        (TypeError, "all"),
    ],
)
def test_what_cannot_say_what_is_kept_is_named(error, keep):
    process = UniformProcess(4)
    z, exact = process.prior((3, 2), generator=0), EmpiricalBayes(torch.tensor([[0, 1]]), process)
    for call in (lambda: path(process, exact, z, keep=keep), lambda: exact.sample(z, 0.5, keep=keep)):
        with pytest.raises(error, match="`keep`"):
            call()


def test_last_update():
    model = small_network()
    z = model.process.prior((200, 5), generator=0)
    none, ancestral, greedy = (
        reverse(model.process, model, z, steps=6, last=last, generator=1) for last in ("none", "ancestral", "greedy")
    )
    model.eval()
    with torch.no_grad():
        assert torch.equal(greedy, model.cavity(none, END).argmax(-1))
    assert (none == ancestral).float().mean() > 0.999
    assert (none != greedy).any()


@pytest.mark.parametrize("mode", MODES)
def test_batch_size_does_not_matter(mode):
    model = small_network()
    z = model.process.prior((17, 5), generator=0)
    runs = [
        reverse(model.process, model, z, steps=5, mode=mode, generator=3, batch_size=size)
        for size in (None, 1, 4, 17, 99)
    ]
    assert all(torch.equal(runs[0], run) for run in runs)


@pytest.mark.parametrize("mode", MODES)
def test_randomness(mode):
    """Same seed, same result; deterministic modes do not depend on it; z is left alone."""
    process = UniformProcess(6)
    model = EmpiricalBayes(process.prior((40, 5), generator=1), process)
    z = process.prior((50, 5), generator=0)
    before = z.clone()
    one, again, other = (reverse(model.process, model, z, steps=5, mode=mode, generator=g) for g in (3, 3, 4))
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (mode in ("posterior_mode", "one_shot"))
    assert torch.equal(z, before)
    assert one.shape == z.shape
    assert one.dtype == torch.int64
    stream = torch.Generator().manual_seed(3)
    assert torch.equal(one, reverse(model.process, model, z, steps=5, mode=mode, generator=stream))


def test_network_runs_without_dropout_and_returns_to_training():
    model = small_network().train()
    z = model.process.prior((50, 5), generator=0)
    results = [reverse(model.process, model, z, steps=3, generator=1) for _ in range(2)]
    assert torch.equal(*results)
    assert model.training
    assert all(not r.requires_grad for r in results)
    model.eval()
    reverse(model.process, model, z, steps=1)
    assert not model.training


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("last", LASTS)
def test_the_path_is_that_of_the_reverse_process(mode, last):
    """From z on, an update at a time, and with whatever the reader computes in between."""
    model = small_network().train()
    z, options = model.process.prior((4, 5), generator=0), {"start": 0.7, "steps": 5, "mode": mode, "last": last}
    times, states = path(model.process, model, z, **options, generator=1)
    found = []
    for state in states:
        assert model.training, "restored between states"
        assert torch.is_grad_enabled()
        found.append(state.clone())
    regular = [0.7] if mode == "one_shot" else np.linspace(0.7, END, 6)
    np.testing.assert_allclose(times, [*regular, *([0.0] if last != "none" or mode == "one_shot" else [])])
    assert len(found) == len(times)
    assert torch.equal(found[0], z)
    assert torch.equal(found[-1], reverse(model.process, model, z, **options, generator=1))
    if mode != "one_shot":
        draws = torch.Generator().manual_seed(1)
        model.eval()
        for (t, s), before, after in zip(pairwise(times), found[:-1], found[1:], strict=True):
            if s == 0 or (mode == "posterior_mode" and model.process.frozen(t, s)):
                continue
            choice, draw = torch.rand((2, 4, 5), dtype=torch.float64, generator=draws)
            with torch.no_grad():
                prediction = model.predict(before, t)
                assert torch.equal(after, update(model.process, prediction, before, t, s, mode, choice, draw))


@pytest.mark.parametrize("start", [2e-5, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("mode", MODES)
def test_starts_at_any_time_from_any_tokens(start, mode):
    exact = EmpiricalBayes(DATA, UniformProcess(3))
    z = torch.tensor(list(itertools.product(range(3), repeat=3)))
    final = reverse(exact.process, exact, z, start=start, steps=4, mode=mode, generator=0)
    assert final.shape == z.shape
    assert ((final >= 0) & (final < 3)).all()


def test_clean_data_stay():
    exact = EmpiricalBayes(DATA, UniformProcess(3))
    for mode in ("sample", "posterior_mode"):  # the others forget what the token's own z says
        assert torch.equal(reverse(exact.process, exact, DATA, start=1e-3, steps=50, mode=mode, generator=0), DATA)


@pytest.mark.statistical(alarm=1e-6)
def test_many_steps_converge_to_the_exact_joint_posterior(seed):
    """Total variation from p(x | z): below 0.1 with 24 steps (false-alarm rate 1e-6), not if the posterior mean is
    plugged in instead of the cavity, and 0.08 with 2 steps. That it vanishes is tested for every process."""
    exact, start, n = EmpiricalBayes(DATA, UniformProcess(3)), 0.8, 8000
    z = torch.tensor([[0, 0, 1]])
    code = torch.tensor([9, 3, 1])
    weights = exact.weights(z, start)[0]
    law = torch.zeros(27, dtype=torch.float64).index_add_(0, DATA @ code, weights)

    class PluggedPosterior(Fixed):
        def __init__(self):
            self.process, self.length = exact.process, 3

        def cavity(self, z, t):
            return exact.posterior(z, t)

    def distance(denoiser, steps):
        final = reverse(exact.process, denoiser, z.expand(n, 3), start=start, steps=steps, generator=seed(9))
        return (torch.bincount(final @ code, minlength=27) / n - law).abs().sum().item() / 2

    assert distance(exact, 2) > 0.08
    assert distance(PluggedPosterior(), 24) > 0.1 > distance(exact, 24)


@pytest.mark.statistical(alarm=ALMOST_NEVER)
def test_inverse_cdf(chi_square, seed):
    p = torch.tensor([0.0, 0.2, 0.0, 0.5, 0.3, 0.0], dtype=torch.float64)
    uniform = torch.tensor([0.0, 0.1999, 0.2001, 0.6999, 0.7001, 1 - 2**-53], dtype=torch.float64)
    assert inverse_cdf(p.log().expand(6, 6), uniform).tolist() == [1, 1, 3, 3, 4, 4]
    draws = inverse_cdf(
        p.log().float().expand(50_000, 6), torch.rand(50_000, generator=torch.Generator().manual_seed(seed(0)))
    )
    assert chi_square(torch.bincount(draws, minlength=6), p) > ALMOST_NEVER


@pytest.mark.statistical(alarm=1e-5)
def test_rare_moves_are_sampled_at_their_rate(seed):
    """1e-4 of jumps spread over K = 5000 tokens: 30 expected in 300 000 (Poisson, false-alarm rate 1e-5)."""
    process, n = UniformProcess(5000), 300_000
    uniform = Fixed(process, np.full((1, 5000), 1 / 5000))
    s = 0.5 - 1e-4
    choice, draw = torch.rand((2, n, 1), dtype=torch.float64, generator=torch.Generator().manual_seed(seed(0)))
    z = torch.zeros(n, 1, dtype=torch.long)
    moved = (update(process, uniform.predict(z, 0.5), z, 0.5, s, "sample", choice, draw) != 0).sum().item()
    expected = n * (1 - process.posterior(uniform.cavity(z[:1], 0.5), z[:1], 0.5, s)[0, 0, 0].item())
    assert abs(moved - expected) < 4.5 * expected**0.5


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("`z`", {"z": torch.tensor([[0, 1, 3]])}),
        ("`z`", {"z": torch.tensor([0, 1, 2])}),
        ("`z`", {"z": torch.tensor([[0, 1]])}),
        ("`start`", {"start": 0.0}),
        ("`start`", {"start": 1e-5}),
        ("`start`", {"start": 1.2}),
        ("`steps`", {"steps": 0}),
        ("`mode`", {"mode": "mode"}),
        ("`last`", {"last": "mean"}),
    ],
)
def test_bad_arguments_are_named(name, change):
    exact = EmpiricalBayes(DATA, UniformProcess(3))
    arguments = {"z": DATA, "steps": 3} | change
    with pytest.raises(ValueError, match=name):
        reverse(exact.process, exact, **arguments)
    for name, bad in (("`z`", {"z": DATA.double()}), ("`steps`", {"steps": 2.5})):
        with pytest.raises(TypeError, match=name):
            reverse(exact.process, exact, **{"z": DATA, "steps": 3} | bad)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be an integer >= 1, got 0"),
        ({"batch_size": -1}, "`batch_size`"),
        ({"process": UniformProcess(7)}, "`process` must have the denoiser's vocabulary size 3, got 7"),
    ],
)
def test_more_bad_arguments_are_named(changes, message):
    process = UniformProcess(3)
    denoiser = EmpiricalBayes(torch.zeros(2, 4, dtype=torch.long), process)
    z = torch.zeros(1, 4, dtype=torch.long)
    arguments = {"process": process, "denoiser": denoiser, "z": z, "steps": 2, "generator": 0} | changes
    with pytest.raises(ValueError, match=message):
        reverse(**arguments)


def test_a_misshapen_time_is_named():
    denoiser = EmpiricalBayes(torch.zeros(2, 4, dtype=torch.long), UniformProcess(3))
    with pytest.raises(ValueError, match=r"`t` must be a scalar or have shape \(1,\), got \(3,\)"):
        denoiser.cavity(torch.zeros(1, 4, dtype=torch.long), torch.tensor([0.1, 0.2, 0.3]))


@pytest.mark.parametrize("start", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 7, 31, 50, 400])
def test_frozen_updates_are_skipped_and_nothing_is_missed(start, steps):
    """A denoiser certain of a token that never is there: it moves all tokens at the first update that can move any."""

    class Certain(Denoiser):
        calls: list

        def __init__(self, process, length):
            self.process, self.length, self.calls = process, length, []

        def cavity(self, z, t):
            self.calls.append(float(t))
            wanted = (torch.zeros_like(z) == z).long()  # 1 where z is 0, else 0: never z itself
            return torch.nn.functional.one_hot(wanted, self.process.vocab_size).double().log()

    process = UniformProcess(5)
    z = torch.zeros(1, 3, dtype=torch.long)
    denoiser = Certain(process, 3)
    reverse(process, denoiser, z, start=start, steps=steps, mode="posterior_mode", last="none")
    grid = torch.linspace(start, END, steps + 1, dtype=torch.float64).tolist()
    expected = []
    for t, s in itertools.pairwise(grid):
        posterior = process.posterior(denoiser.cavity(z, t), z, t, s)
        if not torch.equal(posterior.argmax(-1), z):
            expected.append(t)
    asked = denoiser.calls[: -len(grid) + 1]
    assert set(expected) <= set(asked)
    assert len(asked) <= len(expected) + 1
