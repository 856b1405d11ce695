"""The tree network: what each leaf hears, what the positions of a level share, and that it learns a small grammar."""

import math

import pytest
import torch

from uddm import DiT, EmpiricalBayes, TrainConfig, nelbo, train
from uddm.denoisers import TreeUNet, TreeUNetConfig

# of log-probabilities up to 10 of a float32 network: some 128 roundings, each within 2^-24, on the way from a token
ROUNDING = 128 * 10 * 2.0**-24

SMALL = {"hidden_dim": 8, "cond_dim": 8}


def initial(vocab_size=5, seed=0, **changes):
    torch.manual_seed(seed)
    return TreeUNet(TreeUNetConfig(vocab_size, **(SMALL | changes))).eval()


def make(vocab_size=5, seed=0, **changes):
    """A small network with random weights everywhere, also where training starts from zero."""
    model = initial(vocab_size, seed, **changes)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(1 if "norm" in name else 0, 0.3)
    return model


def tokens(model, batch=4, seed=0):
    return model.process.prior((batch, model.length), generator=seed)


TREES = [(2, 1), (2, 2), (2, 3), (2, 4), (3, 2), (5, 1)]


@pytest.mark.parametrize(("branching", "depth"), TREES)
def test_shapes(branching, depth):
    model = make(branching=branching, depth=depth)
    assert model.length == model.config.length == branching**depth
    z, t = tokens(model), torch.tensor([0.1, 0.4, 0.7, 1.0])
    with torch.no_grad():
        log_probs = model.cavity(z, t)
        assert log_probs.shape == (4, branching**depth, 5)
        assert log_probs.dtype == torch.float32
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(z.shape), rtol=0, atol=ROUNDING)
        for b in range(4):
            alone = model.cavity(z[b : b + 1], t[b].item())
            torch.testing.assert_close(log_probs[b : b + 1], alone, rtol=0, atol=ROUNDING)
        assert (model.cavity(z, 0.1) - model.cavity(z, 0.9)).abs().max() > 1e-3


@pytest.mark.parametrize("hollow", [True, False])
@pytest.mark.parametrize(("branching", "depth"), TREES)
def test_a_token_reaches_all_leaves_but_its_own(branching, depth, hollow):
    """Bit for bit; and, negative control, itself too in a network that is not hollow."""
    model = make(branching=branching, depth=depth, hollow=hollow)
    assert model.hollow is hollow
    z = tokens(model, 2)
    for position in range(model.length):
        other = z.clone()
        other[:, position] = (z[:, position] + 1) % 5
        with torch.no_grad():
            reached = (model.cavity(z, 0.3) != model.cavity(other, 0.3)).any(-1)
        want = [l != position or not hollow for l in range(model.length)]
        assert reached.tolist() == [want, want]


@pytest.mark.parametrize(("branching", "depth"), TREES)
def test_positions_of_a_level_share_weights_and_children_do_not(branching, depth):
    model, condition = make(branching=branching, depth=depth), torch.randn(2, 8)
    family = torch.randn(2, branching, 8)
    with torch.no_grad():
        for up in model.up:
            once, nodes = up(family, condition), up(family.repeat(1, 3, 1), condition)
            torch.testing.assert_close(nodes, once.expand(2, 3, 8), rtol=0, atol=ROUNDING)
        parent = torch.randn(2, 1, 8)
        for down in model.down:
            once = down(parent, family, condition)
            nodes = down(parent.expand(2, 3, 8), family.repeat(1, 3, 1), condition)
            torch.testing.assert_close(nodes, once.repeat(1, 3, 1), rtol=0, atol=ROUNDING)
            alike = down(parent, family[:, :1].expand(2, branching, 8), condition)
            assert (alike[:, 0] - alike[:, 1]).abs().max() > 1e-3, "the first child is not the second"
    weights = [p for name, p in model.named_parameters() if "combine.weight" in name]
    assert len({p.data_ptr() for p in weights}) == 2 * depth - 1, "levels have their own weights"


def test_equal_subtrees_are_summed_up_equally():
    """Strings (A B) and (B A) of halves with equal leaves: the halves' summaries, hence the messages, are exchanged."""
    model = make(branching=2, depth=3)
    seen = []
    model.up[-1].register_forward_hook(lambda *call: seen.append(call[-1]))
    A, B = tokens(model, 2)[:, :4]
    with torch.no_grad():
        model.cavity(torch.stack([torch.cat([A, B]), torch.cat([B, A])]), 0.3)
    torch.testing.assert_close(seen[0][0], seen[0][1].flip(0), rtol=0, atol=ROUNDING)
    assert (seen[0][0, 0] - seen[0][0, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("hollow", [True, False])
def test_uniform_at_initialisation(hollow):
    model = initial(hollow=hollow)
    torch.testing.assert_close(model.cavity(tokens(model), 0.5), torch.full((4, 16, 5), -math.log(5)))


@pytest.mark.parametrize("hollow", [True, False])
def test_every_parameter_learns(hollow):
    model = initial(hollow=hollow, blocks=2).train()
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    x, z = tokens(model, 8), tokens(model, 8, 1)
    for _ in range(3):  # zero-initialised layers let gradients pass one after the other
        optimizer.zero_grad()
        nelbo(model.process, model.cavity(z, 0.3), x, z, 0.3).mean().backward()
        optimizer.step()
    assert [name for name, p in model.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_the_size_of_the_demonstration():
    count = sum(p.numel() for p in TreeUNet(TreeUNetConfig(8)).parameters())
    assert 200_000 < count < 350_000


def test_dropout_acts_in_training_only():
    model = make(dropout=0.5)
    z = tokens(model)
    with torch.no_grad():
        assert torch.equal(model.cavity(z, 0.5), model.cavity(z, 0.5))
        model.train()
        assert not torch.equal(model.cavity(z, 0.5), model.cavity(z, 0.5))


def grammar():
    """All 24 strings of a grammar: each of 3 symbols has 2 of the 9 pairs below it, on both levels."""
    upper = {0: [(0, 1), (2, 2)], 1: [(1, 0), (0, 2)], 2: [(1, 1), (2, 0)]}
    lower = {0: [(0, 0), (1, 2)], 1: [(2, 1), (0, 2)], 2: [(1, 0), (2, 2)]}
    return torch.tensor(
        [(*left, *right) for pairs in upper.values() for a, b in pairs for left in lower[a] for right in lower[b]]
    )


def test_it_learns_a_grammar(tmp_path):
    """With all strings as data the optimum is exact inference on the grammar."""
    x = grammar()
    assert len(x.unique(dim=0)) == 24
    config = TrainConfig(steps=250, batch_size=48, learning_rate=5e-3, warmup=20, decay="cosine", ema=0.95)
    model = initial(3, depth=2, hidden_dim=24)
    exact = EmpiricalBayes(x, model.process)
    z = model.process.corrupt(x.repeat(20, 1), 0.5, generator=0)

    def distance(model):
        """Mean KL divergence from exact inference, nats per token."""
        with torch.no_grad():
            return (
                torch.nn.functional.kl_div(
                    model.cavity(z, 0.5).double(), exact.cavity(z, 0.5), log_target=True, reduction="sum"
                ).item()
                / z.numel()
            )

    assert distance(model) > 0.1
    assert distance(train(model, x, config, tmp_path, progress=None)) < 0.02


@pytest.mark.parametrize("hollow", [True, False])
def test_twenty_steps_lower_the_loss(tmp_path, hollow):
    model = initial(3, depth=2, hollow=hollow)
    x = torch.arange(3).repeat_interleave(4).view(3, 4)  # every token equals the others
    config = TrainConfig(steps=20, batch_size=48, learning_rate=1e-2, warmup=0, ema=0.5)
    many = x.repeat(100, 1)
    z = model.process.corrupt(many, 0.5, generator=0)

    def loss(model):
        return nelbo(model.process, model.predict(z, 0.5), many, z, 0.5).mean().item()

    before = loss(model)
    assert loss(train(model, x, config, tmp_path, progress=None)) < 0.8 * before


@pytest.mark.parametrize("changes", [{}, {"branching": 3, "depth": 2, "hollow": False, "schedule": "linear"}])
def test_it_reads_back_bit_for_bit(tmp_path, changes):
    model = make(**changes)
    assert TreeUNetConfig(**model.config.to_dict()) == model.config
    model.save_pretrained(tmp_path)
    again = TreeUNet.from_pretrained(tmp_path)
    assert (again.config, again.hollow) == (model.config, model.hollow)
    z = tokens(model)
    assert torch.equal(model.cavity(z, 0.2), again.cavity(z, 0.2))
    with pytest.raises(ValueError, match="holds a TreeUNet, not a DiT"):
        DiT.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vocab_size", {"vocab_size": 1}),
        ("length", {"length": 15}),
        ("length", {"length": 128}),
        ("branching", {"branching": 1}),
        ("branching", {"branching": 2.0}),
        ("depth", {"depth": 0}),
        ("expansion", {"expansion": 0}),
        ("blocks", {"blocks": 0}),
        ("hidden_dim", {"hidden_dim": True}),
        ("dropout", {"dropout": 1.0}),
        ("schedule", {"schedule": "quadratic"}),
        ("predicts", {"predicts": "x"}),
        ("predicts", {"predicts": "posterior"}),
    ],
)
def test_bad_shapes_are_named(name, changes):
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        initial(**changes)


def test_a_network_with_its_own_token_may_predict_the_posterior():
    model = make(hollow=False, predicts="posterior")
    z = tokens(model)
    logits = model(z, model.process.sigma(torch.full((4,), 0.3)).float())
    torch.testing.assert_close(model.posterior(z, 0.3), logits.log_softmax(-1), rtol=0, atol=ROUNDING)


def test_bad_tokens_are_named():
    with pytest.raises(ValueError, match="`z` must have length 16, got 8"):
        make().cavity(torch.zeros(1, 8, dtype=torch.long), 0.5)
