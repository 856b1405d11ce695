"""No token is drawn or chosen where the log-probabilities are not finite: comparisons with NaN would give one all the
same, the last, the first or the one that stands there."""

import numpy as np
import pytest
import torch

from bridges import DiffusionSystem
from uddm import Denoiser, DiT, DiTConfig, HollowMLP, HollowMLPConfig, UniformProcess, reverse
from uddm.choices import LASTS, MODES
from uddm.prediction import DensePrediction, HeadPrediction
from uddm.streams import inverse_cdf

K, L = 7, 4
NOT_FINITE = [float("nan"), float("inf")]


def networks():
    torch.manual_seed(0)
    return {
        "DiT": DiT(DiTConfig(K, length=L, hidden_dim=8, blocks=1, heads=2, cond_dim=4)),
        "HollowMLP": HollowMLP(HollowMLPConfig(K, length=L, hidden_dim=8)),
    }


def damaged(name, value):
    """A network of which one output weight, that of one token, is not finite."""
    model = networks()[name].eval()
    outputs = [p for p in model.parameters() if p.shape[0] == K]
    with torch.no_grad():
        outputs[-1].view(K, -1)[3, 0] = value
    return model


class Table(Denoiser):
    """The same log-probabilities everywhere."""

    def __init__(self, log_probs):
        self.process, self.length, self.log_probs = UniformProcess(K), L, log_probs

    def cavity(self, z, t):
        return self.log_probs.expand(*z.shape, K)


def even(changes=()):
    log_probs = torch.full((K,), -np.log(K))
    for token, value in dict(changes).items():
        log_probs[token] = value
    return log_probs


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("name", networks())
@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("mode", MODES)
def test_the_reverse_process_of_a_damaged_network_raises(name, value, mode, last):
    model = damaged(name, value)
    noise = model.process.prior((5, L), generator=0)
    with pytest.raises(ValueError, match=r"must be log-probabilities, got NaN, infinity or nothing in \d+ of 20"):
        reverse(model.process, model, noise, steps=4, mode=mode, last=last, generator=0)


@pytest.mark.parametrize("value", NOT_FINITE)
def test_truncated_predictions_raise(value):
    model = damaged("HollowMLP", value)
    noise = model.process.prior((5, L), generator=0)
    with pytest.raises(ValueError, match="must be log-probabilities"):
        reverse(model.process, model, noise, steps=4, nucleus=0.9, generator=0)


def test_weights_that_overflow_raise():
    """Finite ones, whose products are not."""
    model = networks()["HollowMLP"].eval()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1e30)
    noise = model.process.prior((5, L), generator=0)
    with pytest.raises(ValueError, match="must be log-probabilities"):
        reverse(model.process, model, noise, steps=4, generator=0)


@pytest.mark.parametrize("changes", [{2: np.nan}, {2: np.inf}, dict.fromkeys(range(K), -np.inf)])
def test_draws_and_modes_of_log_probabilities_raise(changes):
    rows = torch.stack([even(), even(changes), even()])
    with pytest.raises(ValueError, match=r"`log_probs` must be log-probabilities, got NaN, .* in 1 of 3"):
        inverse_cdf(rows, torch.tensor([0.1, 0.5, 0.9]))
    with pytest.raises(ValueError, match=r"`prediction` must be log-probabilities, got NaN, .* in 1 of 3"):
        DensePrediction(rows[None]).best()
    for mode in ("one_shot", "x0_mode", "posterior_mode"):
        with pytest.raises(ValueError, match="must be log-probabilities"):
            reverse(UniformProcess(K), Table(even(changes)), torch.zeros(2, L).long(), steps=3, mode=mode)
    with pytest.raises(ValueError, match="must be log-probabilities"):  # from t = 1 to 1e-5 some token moves
        reverse(UniformProcess(K), Table(even(changes)), torch.zeros(50, L).long(), steps=3, generator=0)


@pytest.mark.parametrize("where", ["h", "weight", "bias", "own_logit"])
@pytest.mark.parametrize("value", NOT_FINITE)
def test_the_mode_of_a_head_raises(where, value):
    random = torch.Generator().manual_seed(0)
    given = {
        "h": torch.randn(2, L, 5, generator=random),
        "weight": torch.randn(K, 5, generator=random),
        "bias": torch.zeros(K),
        "z": torch.zeros(2, L).long(),
        "own_logit": torch.ones(2, L),
    }
    highest, tokens = HeadPrediction(**given).best()
    assert torch.equal(tokens, HeadPrediction(**given).log_probs().argmax(-1))
    assert highest.isfinite().all()
    given[where].view(-1)[0] = -value if where == "own_logit" else value
    with pytest.raises(ValueError, match="`prediction` must be log-probabilities"):
        HeadPrediction(**given).best()


@pytest.mark.parametrize("kind", ["cavity", "posterior"])
@pytest.mark.parametrize("name", networks())
def test_measured_conditionals_raise(name, kind):
    conditional = DiffusionSystem(damaged(name, float("nan")), conditional=kind).conditional(np.zeros((3, L), int), 0.5)
    with pytest.raises(ValueError, match="must be log-probabilities"):
        conditional.mode()
    with pytest.raises(ValueError, match="must be log-probabilities"):
        conditional.sample(np.random.default_rng(0))


def test_tokens_that_cannot_be_are_no_error():
    """Minus infinity is the logarithm of a probability, too."""
    impossible = even(dict.fromkeys(range(1, K), -torch.inf) | {0: 0.0})
    for mode in MODES:
        final = reverse(UniformProcess(K), Table(impossible), torch.ones(9, L).long(), steps=5, mode=mode, generator=0)
        assert final.shape == (9, L)
    assert inverse_cdf(impossible.expand(3, K), torch.tensor([0.0, 0.5, 0.99])).tolist() == [0, 0, 0]
