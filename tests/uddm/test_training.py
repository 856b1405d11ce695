"""Training: against a hand-written loop, and exact resume after every kind of interruption; one file, since its tests
share trainings that take seconds."""

import json
import math
import shutil
import signal
import sys
import time

import forked
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import uddm.training.loop as loop
from uddm import Curriculum, DiT, DiTConfig, HollowMLP, HollowMLPConfig, TrainConfig, nelbo, train
from uddm.curriculum import SoftTokens
from uddm.denoisers import Linear, LinearConfig
from uddm.files import read_json, to_json
from uddm.objective import expected_nelbo, stratified_times
from uddm.streams import keyed_generator

SHAPE = {"vocab_size": 6, "length": 5, "hidden_dim": 8, "blocks": 2, "heads": 2, "cond_dim": 8, "dropout": 0.2}
FAST = {"batch_size": 4, "learning_rate": 1e-2, "warmup": 3, "log_every": 4, "checkpoint_every": 5, "seed": 3}
DATA = torch.randint(6, (10, 5), generator=torch.Generator().manual_seed(0))


def make(**changes):
    torch.manual_seed(0)
    return DiT(DiTConfig(**(SHAPE | changes)))


def config(steps=20, **changes):
    return TrainConfig(steps=steps, **(FAST | changes))


def run(folder, steps=20, *, data=DATA, model=None, **changes):
    return train(model or make(), data, config(steps, **changes), folder, progress=None)


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return all(torch.equal(one[name], other[name]) for name in one)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run(tmp_path_factory.mktemp("uninterrupted"))


class Interrupted(BaseException):
    """Ends a run as a crash would: nothing is saved on the way out."""


def interrupt(monkeypatch, step, error=Interrupted):
    """Raise `error`, or press Ctrl-C, in the loss of that step (0, 1, ...)."""
    calls = iter(range(10**6))

    def failing(*arguments):
        if next(calls) == step:
            if error is not KeyboardInterrupt:
                raise error
            signal.raise_signal(signal.SIGINT)
        return nelbo(*arguments)

    monkeypatch.setitem(loop.LOSSES, "nelbo", failing)


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """The folder of a run that crashed in step 12, with the state after step 10: to be copied only."""
    folder = tmp_path_factory.mktemp("crashed")
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, 12)
        with pytest.raises(Interrupted):
            run(folder)
    assert load_file(folder / "state.safetensors")["step"] == 10
    return folder


@pytest.fixture
def stopped(crashed, tmp_path):
    shutil.copytree(crashed, tmp_path, dirs_exist_ok=True)
    return tmp_path


TWO = torch.tensor([[0, 1, 2, 3, 4], [5, 4, 3, 2, 1]])


@pytest.mark.parametrize("name", ["nelbo", "jump", "cross-entropy"])
def test_losses_decrease(tmp_path, name):
    """Two sequences are soon known by heart."""
    model = make(dropout=0.0, hidden_dim=16)
    run(tmp_path, 150, data=TWO, model=model, batch_size=32, log_every=50, checkpoint_every=1000, loss=name)
    losses = [line["loss"] for line in metrics(tmp_path)]
    assert losses[-1] < 0.6 * losses[0]


def test_is_a_function_of_its_arguments(tmp_path, uninterrupted):
    torch.manual_seed(99)
    model = make()
    torch.manual_seed(17)
    torch.rand(5)
    assert same(run(tmp_path / "a", model=model), uninterrupted)
    assert not same(run(tmp_path / "b", seed=4), uninterrupted)


def test_leaves_the_global_random_stream_alone(tmp_path):
    torch.manual_seed(5)
    want = torch.rand(3)
    model = make()
    torch.manual_seed(5)
    run(tmp_path, 3, model=model)
    assert torch.equal(torch.rand(3), want)


def test_is_adamw_on_the_nelbo_with_a_weight_average(tmp_path):
    """A second loop, written out: order, times, corruption, warm-up, clipping, AdamW, average of the weights."""
    changes = {"dropout": 0.0}
    settings = config(20, clip=0.3, ema=0.6, weight_decay=0.1, decay="cosine", betas=(0.8, 0.9))
    trained = train(make(**changes), DATA, settings, tmp_path, progress=None)

    model, order = make(**changes), []
    average = [p.detach().clone() for p in model.parameters()]
    first, second = ([torch.zeros_like(p) for p in model.parameters()] for _ in range(2))
    for epoch in range(8):
        order += torch.randperm(10, generator=keyed_generator(3, "epoch", epoch)).tolist()
    for n in range(20):
        x = DATA[order[4 * n : 4 * n + 4]]
        t = stratified_times(4, generator=keyed_generator(3, "times", n))
        z = model.process.corrupt(x, t, generator=keyed_generator(3, "corruption", n))
        loss = nelbo(model.process, model.cavity(z, t), x, z, t).mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = math.sqrt(sum((g**2).sum().item() for g in gradients))
        rate = 1e-2 * min(1, (n + 1) / 3) * (1 + math.cos(math.pi * n / 20)) / 2
        decay = min(0.6, (1 + n) / (10 + n))
        with torch.no_grad():
            for p, g, m, v, a in zip(model.parameters(), gradients, first, second, average, strict=True):
                g = g * min(1, 0.3 / norm)
                p.mul_(1 - rate * 0.1)
                m.mul_(0.8).add_(0.2 * g)
                v.mul_(0.9).add_(0.1 * g**2)
                p.sub_(rate * (m / (1 - 0.8 ** (n + 1))) / ((v / (1 - 0.9 ** (n + 1))).sqrt() + 1e-8))
                a.copy_(decay * a + (1 - decay) * p)
        if n % 4 == 3:
            line = metrics(tmp_path)[n // 4]
            assert line["step"] == n + 1
            assert line["gradient_norm"] == pytest.approx(norm, rel=1e-3)
            assert line["learning_rate"] == pytest.approx(rate, rel=1e-12)
    gap = 0.0
    for got, a, last in zip(trained.parameters(), average, model.parameters(), strict=True):
        torch.testing.assert_close(got, a, rtol=1e-3, atol=1e-5)
        gap = max(gap, (got - last).abs().max().item())
    assert gap > 1e-4  # negative control: the last weights are not their average


def test_learning_rate_schedule():
    constant = config(100, learning_rate=0.5, warmup=10)
    assert [constant.rate(n) for n in (0, 4, 9, 10, 99)] == pytest.approx([0.05, 0.25, 0.5, 0.5, 0.5])
    assert config(100, learning_rate=0.5, warmup=0).rate(0) == 0.5
    cosine = config(100, learning_rate=0.5, warmup=10, decay="cosine")
    assert [cosine.rate(n) for n in (10, 50, 75)] == pytest.approx(
        [0.5 * (1 + math.cos(math.pi * k)) / 2 for k in (0.1, 0.5, 0.75)]
    )
    assert cosine.rate(0) == pytest.approx(0.05)
    assert 0 < cosine.rate(99) < 2e-4
    assert all(a > b for a, b in zip([cosine.rate(n) for n in range(10, 99)], [cosine.rate(n) for n in range(11, 100)]))


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (10, 10), (3, 7), (8, 1)])
def test_every_sequence_once_in_each_epoch(tmp_path, monkeypatch, size, batch):
    data, seen = torch.tensor([[k % 6, k // 6, 0, 0, 0] for k in range(size)]), []

    def watch(process, log_probs, x, z, t):
        seen.extend((x[:, 0] + 6 * x[:, 1]).tolist())
        return nelbo(process, log_probs, x, z, t)

    monkeypatch.setitem(loop.LOSSES, "nelbo", watch)
    run(tmp_path, steps=3 * size, data=data, batch_size=batch)
    epochs = [seen[k : k + size] for k in range(0, len(seen), size)]
    assert len(seen) == 3 * size * batch
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    assert size < 8 or len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize("changes", [{}, {"checkpoint_every": 1}, {"checkpoint_every": 100}, {"log_every": 7}])
def test_resume_after_a_crash_is_exact(tmp_path, monkeypatch, uninterrupted, changes):
    for step in (3, 8, 7):  # three crashes, counted from where each run starts
        interrupt(monkeypatch, step)
        with pytest.raises(Interrupted):
            run(tmp_path, **changes)
        monkeypatch.undo()
    assert same(run(tmp_path, **changes), uninterrupted)
    lines = range(changes.get("log_every", 4), 21, changes.get("log_every", 4))
    assert [line["step"] for line in metrics(tmp_path)] == sorted({*lines, 20})


def test_resume_ignores_the_model_given(stopped, uninterrupted):
    torch.manual_seed(123)
    assert same(run(stopped, model=DiT(DiTConfig(**SHAPE))), uninterrupted)


@pytest.mark.parametrize("damage", ["nothing", "moments", "step", "average"])
def test_resume_needs_the_whole_state(stopped, uninterrupted, damage):
    """Negative control of exact resume: every part of the state matters."""
    state = load_file(stopped / "state.safetensors")
    if damage == "step":
        state["step"] = state["step"] + 1
    for name in state:
        if damage == "moments" and name.startswith(("first.", "second.")):
            state[name] = torch.zeros_like(state[name])
        if damage == "average" and name.startswith("average."):
            state[name] = state["weights" + name.removeprefix("average")].clone()
    save_file(state, stopped / "state.safetensors")
    assert same(run(stopped), uninterrupted) == (damage == "nothing")


def test_kill_and_resume_gives_the_same_weights_bit_for_bit(tmp_path):
    """`kill -9` in the middle, in another process, then the same run again."""
    steps, killed, said = 300, tmp_path / "killed", tmp_path / "said"
    child = forked.start(run, killed, steps, said=said)
    log, deadline = killed / "metrics.jsonl", time.monotonic() + 60
    while time.monotonic() < deadline and child.exitcode is None:
        if log.exists() and log.read_text().count("\n") > 10:
            break
        time.sleep(0.005)
    assert child.exitcode is None, said.read_text()
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert not (killed / "model").exists()
    reached = int(load_file(killed / "state.safetensors")["step"])
    assert 40 <= reached < steps

    again = forked.start(run, killed, steps, said=said)
    again.join(120)
    assert again.exitcode == 0, said.read_text()
    resumed = DiT.from_pretrained(killed / "model")
    assert same(resumed, run(tmp_path / "whole", steps, checkpoint_every=1000))
    assert [line["step"] for line in metrics(killed)] == list(range(4, steps + 1, 4))
    assert not list(killed.glob("state*"))


def test_keyboard_interrupt_saves(tmp_path, monkeypatch, uninterrupted):
    interrupt(monkeypatch, 13, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.undo()
    assert load_file(tmp_path / "state.safetensors")["step"] == 13
    assert not (tmp_path / "model").exists()
    assert same(run(tmp_path), uninterrupted)


def test_finished_run_is_read_and_not_repeated(tmp_path, monkeypatch, uninterrupted):
    run(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {".lock", "config.json", "metrics.jsonl", "model", "raw"}
    interrupt(monkeypatch, 0)
    again = run(tmp_path)
    assert same(again, uninterrupted)
    assert not again.training
    assert same(DiT.from_pretrained(tmp_path / "model"), uninterrupted)


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        ("training.learning_rate", {"learning_rate": 2e-2}),
        ("training.steps", {"steps": 21}),
        ("training.seed", {"seed": 4}),
        ("training.betas", {"betas": (0.9, 0.99)}),
        ("model.dropout", {"model": make(dropout=0.3)}),
        ("model.cond_dim", {"model": make(cond_dim=4)}),
        ("data.sequences", {"data": DATA[:9]}),
        ("data.sha256", {"data": DATA.flip(0)}),
    ],
)
def test_another_run_in_the_folder_is_refused(tmp_path, monkeypatch, finished, key, arguments):
    if finished:
        run(tmp_path, 1)
    else:
        interrupt(monkeypatch, 0)
        with pytest.raises(Interrupted):
            run(tmp_path, 1)
        monkeypatch.undo()
    with pytest.raises(ValueError, match=rf"another run.*{key}"):
        run(tmp_path, **({"steps": 1} | arguments))


@pytest.mark.parametrize("damage", ["truncated", "empty", "header", "text"])
def test_unreadable_state_is_refused(stopped, damage):
    path = stopped / "state.safetensors"
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[: len(content) // 2],
            "empty": b"",
            "header": content[:8] + b"!" + content[9:],
            "text": b"not a state",
        }[damage]
    )
    with pytest.raises(ValueError, match=r"state\.safetensors is not a readable"):
        run(stopped)


@pytest.mark.parametrize("part", ["step", "weights", "average", "first", "second"])
def test_incomplete_state_is_refused(stopped, part):
    state = load_file(stopped / "state.safetensors")
    name = part if part == "step" else f"{part}.vocab_embed.embedding"
    save_file({key: value for key, value in state.items() if key != name}, stopped / "state.safetensors")
    with pytest.raises(ValueError, match=r"state\.safetensors lacks.*" + name.removeprefix(f"{part}.")):
        run(stopped)


def test_state_of_another_network_is_refused(stopped):
    state = load_file(stopped / "state.safetensors")
    state["weights.vocab_embed.embedding"] = torch.zeros(3, 3)
    save_file(state, stopped / "state.safetensors")
    with pytest.raises(ValueError, match=r"vocab_embed\.embedding has shape"):
        run(stopped)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_not_a_number_stops_and_keeps_the_last_state(tmp_path, monkeypatch, uninterrupted, where):
    calls = iter(range(100))

    def poisoned(process, log_probs, x, z, t):
        loss = nelbo(process, log_probs, x, z, t)
        if next(calls) != 12:
            return loss
        if where == "loss":
            return loss * math.nan
        loss.register_hook(lambda gradient: gradient * math.nan)
        return loss * 1

    monkeypatch.setitem(loop.LOSSES, "nelbo", poisoned)
    with pytest.raises(FloatingPointError, match="step 12"):
        run(tmp_path)
    monkeypatch.undo()
    state = load_file(tmp_path / "state.safetensors")
    assert state["step"] == 10
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert same(run(tmp_path), uninterrupted)


def test_torn_metrics_line_is_dropped(stopped, uninterrupted):
    with (stopped / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "loss": 1.0}\ngarbled }\n[8]\n{"step": 16, "lo')
    assert same(run(stopped), uninterrupted)
    assert [line["step"] for line in metrics(stopped)] == [4, 8, 12, 16, 20]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("`steps`", {"steps": 0}),
        ("`batch_size`", {"batch_size": 1.5}),
        ("`log_every`", {"log_every": 0}),
        ("`checkpoint_every`", {"checkpoint_every": -1}),
        ("`warmup`", {"warmup": -1}),
        ("`decay`", {"decay": "linear"}),
        ("`learning_rate`", {"learning_rate": 0.0}),
        ("`learning_rate`", {"learning_rate": math.nan}),
        ("`clip`", {"clip": -1.0}),
        ("`ema`", {"ema": 1.0}),
        ("`first_time`", {"first_time": 0.0}),
    ],
)
def test_bad_configurations_are_named(name, change):
    with pytest.raises((TypeError, ValueError), match=name):
        TrainConfig(**change)


@pytest.mark.parametrize(
    ("error", "data"),
    [
        (ValueError, DATA + 1),
        (ValueError, DATA[:, :4]),
        (ValueError, DATA[:0]),
        (ValueError, DATA[0]),
        (TypeError, DATA.double()),
        (TypeError, DATA.bool()),
        (TypeError, DATA.numpy().astype(complex)),
        (TypeError, DATA.to_sparse()),
        (ValueError, np.int64(1)),
    ],
)
def test_bad_data_are_named(tmp_path, error, data):
    with pytest.raises(error, match="`data`"):
        run(tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()


def test_a_hollow_network_resumes_too(tmp_path, monkeypatch):
    def make_hollow():
        torch.manual_seed(0)
        return HollowMLP(HollowMLPConfig(6, length=5, hidden_dim=8, blocks=1, embed_dim=4, cond_dim=8))

    expected = run(tmp_path / "whole", model=make_hollow(), log_fraction=0.5)
    calls = iter(range(100))

    def failing(*arguments):
        if next(calls) == 12:
            raise Interrupted
        return expected_nelbo(*arguments)

    monkeypatch.setattr(loop, "expected_nelbo", failing)
    with pytest.raises(Interrupted):
        run(tmp_path / "crashed", model=make_hollow(), log_fraction=0.5)
    monkeypatch.undo()
    assert same(run(tmp_path / "crashed", model=make_hollow(), log_fraction=0.5), expected)


@pytest.mark.parametrize("step", [0, 10])
def test_an_interruption_inside_the_optimizer_step_saves_no_torn_state(tmp_path, monkeypatch, uninterrupted, step):
    """Weights that moved while their average did not must not be saved as one state."""
    inner, calls = torch.optim.AdamW.step, iter(range(100))

    def interrupted(optimizer, *arguments):
        inner(optimizer, *arguments)
        if next(calls) == step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.undo()
    assert load_file(tmp_path / "state.safetensors")["step"] == step + 1
    assert same(run(tmp_path), uninterrupted)


def test_an_interruption_before_the_first_step_is_just_that(tmp_path, monkeypatch):
    interrupt(monkeypatch, 0, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_gradients_left_on_the_model_have_no_effect(tmp_path, uninterrupted):
    model = make()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    assert same(run(tmp_path, model=model), uninterrupted)


@pytest.mark.parametrize("part", ["average", "first", "second"])
def test_misshapen_moments_are_refused(stopped, part):
    state = load_file(stopped / "state.safetensors")
    state[f"{part}.vocab_embed.embedding"] = state[f"{part}.vocab_embed.embedding"][:1].clone()
    save_file(state, stopped / "state.safetensors")
    with pytest.raises(ValueError, match=rf"{part}\.vocab_embed\.embedding has shape \(1, 8\), not \(6, 8\)"):
        run(stopped)


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt])
def test_the_log_does_not_show_a_resume(tmp_path, monkeypatch, uninterrupted, error):
    """Interrupted off the grid of `log_every`: lines are means over all their steps, and what differs is the time."""
    interrupt(monkeypatch, 7, error)
    with pytest.raises(error):
        run(tmp_path)
    monkeypatch.undo()
    run(tmp_path)
    run(tmp_path / "whole")
    resumed, whole = ([{**line, "seconds": 0} for line in metrics(folder)] for folder in (tmp_path, tmp_path / "whole"))
    assert resumed == whole
    assert [line["step"] for line in resumed] == [4, 8, 12, 16, 20]


def test_a_short_run_has_a_line_too(tmp_path):
    run(tmp_path, 3)
    assert [line["step"] for line in metrics(tmp_path)] == [3]


@pytest.mark.parametrize(
    "changes",
    [
        {"betas": (0.9, 1.0)},
        {"betas": (0.9,)},
        {"weight_decay": -1.0},
        {"learning_rate": math.inf},
        {"log_fraction": 2.0},
        {"seed": -1},
        {"seed": 1.5},
        {"curriculum": {}},
    ],
    ids=str,
)
def test_more_bad_configurations_are_named(changes):
    with pytest.raises((TypeError, ValueError), match=f"`{next(iter(changes))}`"):
        TrainConfig(**changes)


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path, micro_batch):
    whole, parts = (
        train(make(dropout=0.0), DATA, config(8), tmp_path / str(size), micro_batch=size, progress=None)
        for size in (4, micro_batch)
    )
    for name, wanted in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], wanted, rtol=1e-3, atol=1e-4)
    for wrong in (3, 0):
        with pytest.raises((TypeError, ValueError), match="`micro_batch`"):
            train(make(), DATA, config(), tmp_path / "odd", micro_batch=wrong, progress=None)


def test_a_network_of_posterior_logits_learns_its_cavity(tmp_path):
    """Of two sequences that differ in one token, the others tell nothing about it: x_theta is 1/2 there, its own z or
    not, while the posterior follows z."""
    data = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, 3, 5]]).repeat(10, 1)
    model = make(predicts="posterior", dropout=0.0, hidden_dim=32)
    model = run(
        tmp_path,
        400,
        data=data,
        model=model,
        loss="cross-entropy",
        learning_rate=5e-3,
        batch_size=32,
        checkpoint_every=1000,
    )
    z, t = torch.tensor([[0, 1, 2, 3, 4]]), 0.3
    with torch.no_grad():
        cavity, posterior = model.cavity(z, t).exp()[0, 4], model.posterior(z, t).exp()[0, 4]
    assert abs(cavity[4].item() - 0.5) < 0.15
    alpha = model.process.alpha(t).item()
    c = model.process.vocab_size * alpha / (1 - alpha)
    torch.testing.assert_close(posterior[4], (1 + c) * cavity[4] / (1 + c * cavity[4]), rtol=1e-3, atol=0)
    assert posterior[4] > 0.85


def test_curriculum_is_on_for_its_steps_and_resumes(tmp_path, monkeypatch):
    seen, read = [], DiT.hidden

    def watch(self, z, sigma):
        seen.append(type(z).__name__)
        return read(self, z, sigma)

    monkeypatch.setattr(DiT, "hidden", watch)
    curriculum = Curriculum(end=6, top_k=4, tau_start=0.1)
    uninterrupted = run(tmp_path / "one", 10, curriculum=curriculum)
    assert seen == ["SoftTokens"] * 6 + ["Tensor"] * 4
    monkeypatch.undo()
    interrupt(monkeypatch, 7)
    with pytest.raises(Interrupted):
        run(tmp_path / "two", 10, curriculum=curriculum)
    monkeypatch.undo()
    assert same(run(tmp_path / "two", 10, curriculum=curriculum), uninterrupted)
    with pytest.raises(ValueError, match="`curriculum`"):
        train(HollowMLP(HollowMLPConfig(6, length=5)), DATA, config(curriculum=curriculum), tmp_path / "three")


def test_embedding_of_relaxed_tokens_is_their_average():
    model = make()
    tokens = torch.tensor([[[3, 1], [0, 5]]])
    soft = SoftTokens(tokens, torch.tensor([[[0.7, 0.2], [0.6, 0.4]]]), torch.tensor([[0.1, 0.0]]))
    E = model.vocab_embed.embedding
    found = model.vocab_embed(soft)[0]
    torch.testing.assert_close(found[0], 0.7 * E[3] + 0.2 * E[1] + 0.1 * E.mean(0))
    torch.testing.assert_close(found[1], 0.6 * E[0] + 0.4 * E[5])
    torch.testing.assert_close(model.vocab_embed(soft.hard)[0], E[[3, 0]])


def test_bfloat16_stays_close_and_keeps_its_weights_in_float32(tmp_path):
    exact = run(tmp_path / "a", 8, model=make(dropout=0.0))
    low = run(tmp_path / "b", 8, model=make(dropout=0.0), precision="bfloat16")
    for name, wanted in exact.state_dict().items():
        found = low.state_dict()[name]
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, atol=0.05, rtol=0)
    assert not same(exact, low)
    for one, other in zip(metrics(tmp_path / "a"), metrics(tmp_path / "b"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=0.01)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore:Guards may run slower on Python 3.13.0")
def test_compiled_and_deterministic_training_agree_with_plain(tmp_path, monkeypatch):
    """Captured and differentiated as on a GPU, but not compiled to C++, which takes a minute."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compiler(function, backend="aot_eager"))
    plain = run(tmp_path / "plain", 4, model=make(dropout=0.0))
    options = {"compile": True, "deterministic": True, "tensorboard": True}
    model = train(make(dropout=0.0), DATA, config(4), tmp_path / "other", progress=None, **options)
    for name, wanted in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], wanted, atol=1e-5, rtol=1e-4)
    assert not torch.are_deterministic_algorithms_enabled()
    assert "hidden" not in vars(model)
    assert list((tmp_path / "other").glob("events.out.tfevents.*"))


def test_a_missing_tensorboard_is_told_before_anything_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match="tensorboard"):
        train(make(), DATA, config(4), tmp_path / "run", progress=None, tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_the_offending_batch_is_recorded(tmp_path, monkeypatch):
    def poisoned(process, cavity, x, z, t):
        return nelbo(process, cavity, x, z, t) * torch.where(x[:, :1] == DATA[7, 0], torch.nan, 1.0)

    monkeypatch.setitem(loop.LOSSES, "nelbo", poisoned)
    with pytest.raises(FloatingPointError, match="offending-0"):
        run(tmp_path)
    found = load_file(tmp_path / "offending-0.safetensors")
    assert found["x"].shape == found["z"].shape == (4, 5)
    assert bool((found["x"][:, 0] == DATA[7, 0]).any())
    assert found["t"].shape == (4,)


def test_memory_mapped_data_train_as_tensors_do(tmp_path):
    path = tmp_path / "data.bin"
    DATA.numpy().astype(np.uint16).tofile(path)
    mapped = np.memmap(path, np.uint16, mode="r", shape=tuple(DATA.shape))
    assert same(run(tmp_path / "a", 6, data=mapped), run(tmp_path / "b", 6))
    assert same(run(tmp_path / "a", 6), run(tmp_path / "b", 6, data=mapped))


def test_a_state_that_is_not_finite_does_not_replace_the_last(tmp_path):
    from uddm.training.state import State

    state = State(make(), config())
    for p in state.parameters.values():
        p.grad = torch.ones_like(p)
    loss, norm = state.clip(torch.tensor(1.0), lambda: tmp_path)
    assert norm == pytest.approx(sum(p.numel() for p in state.parameters.values()) ** 0.5)
    state.advance(loss)
    state.save(tmp_path)
    before = (tmp_path / "state.safetensors").read_bytes()
    next(iter(state.parameters.values())).data[0, 0] = torch.inf
    with pytest.raises(FloatingPointError, match="not finite"):
        state.save(tmp_path)
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_finite_weights_without_a_finite_loss_do_not_replace_the_last_state(tmp_path, monkeypatch, uninterrupted):
    """A rate of 1e37 in the step before a state is saved leaves weights that are finite and of no use."""
    rate = TrainConfig.rate
    monkeypatch.setattr(TrainConfig, "rate", lambda self, step: 1e37 if step == 9 else rate(self, step))
    with pytest.raises(FloatingPointError, match="at step 10: the last saved state is kept"):
        run(tmp_path)
    monkeypatch.undo()
    assert int(load_file(tmp_path / "state.safetensors")["step"]) == 5
    assert same(run(tmp_path), uninterrupted)


def test_a_diverged_model_is_not_published(tmp_path):
    with pytest.raises(FloatingPointError, match="not finite"):
        run(tmp_path, 1, learning_rate=3e38, warmup=0)
    assert not (tmp_path / "model").exists()


def test_the_record_holds_what_the_network_read_under_a_curriculum(tmp_path, monkeypatch):
    monkeypatch.setitem(loop.LOSSES, "nelbo", lambda *arguments: nelbo(*arguments) * torch.nan)
    with pytest.raises(FloatingPointError):
        run(tmp_path, curriculum=Curriculum(end=5, top_k=4))
    found = load_file(tmp_path / "offending-0.safetensors")
    assert torch.equal(found["inputs.tokens"][..., 0], found["z"])
    torch.testing.assert_close(found["inputs.weights"].sum(-1) + found["inputs.rest"], torch.ones(4, 5))


def test_frozen_parameters_are_refused(tmp_path):
    model = make()
    next(model.parameters()).requires_grad_(False)
    with pytest.raises(ValueError, match="`model` must have trainable parameters only"):
        run(tmp_path, model=model)


def test_linear_logits_are_in_float32_under_autocast(tmp_path):
    """They are a read-out and nothing else: both precisions are the same."""
    shape = {"vocab_size": 6, "length": 5}
    exact, low = (
        run(tmp_path / precision, 5, model=Linear(LinearConfig(**shape)), precision=precision)
        for precision in ("float32", "bfloat16")
    )
    assert same(exact, low)


@pytest.mark.parametrize("part", ["model", "training", "data"])
def test_a_configuration_that_is_no_run_is_refused(stopped, part):
    record = read_json(stopped / "config.json")
    (stopped / "config.json").write_bytes(to_json(record | {part: [1]}))
    with pytest.raises(ValueError, match=rf"config\.json is not the configuration of a run: its {part} is \[1\]"):
        run(stopped)


def test_a_state_that_is_not_finite_is_refused(stopped):
    state = load_file(stopped / "state.safetensors")
    state["first.vocab_embed.embedding"][0, 0] = math.inf
    save_file(state, stopped / "state.safetensors")
    with pytest.raises(ValueError, match=r"state\.safetensors: first\.vocab_embed\.embedding holds numbers"):
        run(stopped)


def test_what_a_killed_process_was_writing_goes(stopped, uninterrupted):
    left = [stopped / ".state.safetensors.0123abcd", stopped / "raw" / ".README.md.0123abcd"]
    (stopped / "raw").mkdir()
    for path in left:
        path.write_bytes(b"half")
    assert same(run(stopped), uninterrupted)
    assert not any(path.exists() for path in left)
