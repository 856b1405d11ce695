"""What must agree: the device with the CPU to stated bounds, and deterministic runs with each other to the bit."""

import copy
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.speed import product_precision
from benchmarks.gpu.table import Table
from benchmarks.uddm.steps import trained
from bridges import as_system, conditional_entropy
from uddm import Curriculum, DiT, DiTConfig, TrainConfig, train
from uddm.objective import LOSSES
from uddm.training import loop

CONFIDENCE = 5  # standard deviations


def answers(model: DiT, x: Tensor, z: Tensor, t: Tensor, device: torch.device) -> dict[str, Tensor]:
    """Losses, their gradients (all parameters as one vector), log x_theta and entropies in float32, on the CPU."""
    model = copy.deepcopy(model).to(device).eval()
    x, z, t = (value.to(device) for value in (x, z, t))
    found = {}
    for name, loss in LOSSES.items():
        value = loss(model.process, model.predict(z, t), x, z, t).mean()
        gradient = torch.autograd.grad(value, list(model.parameters()))
        found[f"loss {name}"] = value.detach()
        found[f"gradient of {name}"] = torch.cat([part.flatten() for part in gradient])
    with torch.no_grad():
        found["log x_theta"] = model.cavity(z, t)
    measured = conditional_entropy(as_system(model), x.cpu().numpy(), rng=0)
    return {name: value.cpu() for name, value in found.items()} | {
        "entropy": torch.from_numpy(measured.token_entropy.values)
    }


def differences(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, float]:
    """Of gradients the length of the difference over the length; of all else the largest absolute difference."""
    found = {}
    for name in one:
        a, b = one[name].double(), other[name].double()
        apart = (a - b).norm() / a.norm() if name.startswith("gradient") else (a - b).abs().max()
        found[name] = float(apart)
    return found


def bounds(model: DiT, log_probs: Tensor, t: Tensor) -> dict[str, float]:
    """What two float32 computations in different order may differ by.

    n roundings in series, each at most u = 2^-24 and as likely up as down, change a result by at most s sqrt(n) u of
    its size, but for s standard deviations (Higham and Mary 2019); so do the other computation's. On the way to a logit
    stand in each block two norms (a mean and a variance of d terms), products over d, d, d and 4 d terms, and attention
    (d/heads, and L twice); then a norm and a product over d. The sum over the vocabulary, of K terms, adds to log Z.
    Losses are changed by at most 3 speed/noise times as much as a log-probability, as each of their three terms has a
    smaller slope (speed = -alpha'/alpha); an entropy, sum p (-log p), by (1 + log K). A gradient is a product of three
    factors that depend on log-probabilities, and is summed over as many terms again, and over all tokens.
    """
    c, u = model.config, 2**-24
    assert isinstance(c, DiTConfig)
    d, s = c.hidden_dim, 2 * CONFIDENCE * u
    series = c.blocks * (4 * d + 7 * d + d // c.heads + 2 * c.length) + 3 * d
    size = float((log_probs - log_probs.mean(-1, keepdim=True)).abs().max())  # of a logit
    log_prob = s * (math.sqrt(series) * size + math.sqrt(c.vocab_size))
    noise = model.process.one_minus_alpha(t)
    loss = 3 * float((model.process.rate(t) / (1 - noise) / noise).mean()) * log_prob
    tokens = log_probs[..., 0].numel()
    gradient = 3 * log_prob + s * math.sqrt(2 * series + tokens)
    named = {"log x_theta": log_prob, "entropy": (1 + math.log(c.vocab_size)) * log_prob}
    for name in LOSSES:
        named |= {f"loss {name}": loss, f"gradient of {name}": gradient}
    return named


def small_model(sizes: Sizes) -> DiT:
    shape = {"hidden_dim": 64, "blocks": 2, "heads": 4, "cond_dim": 32}
    return trained(sizes.network("tiny", **(shape | sizes.shape)), std=0.1)


def with_the_cpu(sizes: Sizes, table: Table) -> None:
    """A small network, with few tokens, whose logits the backward pass keeps, and with more, whose it makes again."""
    model = small_model(sizes)
    for B in (2, 8):
        x = sizes.text(B)
        t = torch.linspace(0.05, 0.9, B, dtype=torch.float64)
        z = model.process.corrupt(x, t, generator=1)
        with product_precision("highest"):
            found = [answers(model, x, z, t, device) for device in (torch.device("cpu"), table.device)]
        allowed = bounds(model, found[0]["log x_theta"], t)
        for name, difference in differences(*found).items():
            table.check(f"{name}, B = {B}", difference, allowed[name])


def deterministic_runs(sizes: Sizes, table: Table) -> None:
    """Two whole runs, and one that is stopped after its state was saved half-way, and resumed."""
    with tempfile.TemporaryDirectory() as folder:
        first = _run(sizes, table, Path(folder) / "first")
        table.check(
            "two deterministic runs, unequal weights", _unequal(first, _run(sizes, table, Path(folder) / "b")), 0
        )
        with _stopped(sizes.steps // 2 + 1):
            _run(sizes, table, Path(folder) / "c")
        if not (Path(folder) / "c" / "state.safetensors").exists():
            raise RuntimeError("the stopped run left no saved state")
        table.check("stopped and resumed, unequal weights", _unequal(first, _run(sizes, table, Path(folder) / "c")), 0)


def _run(sizes: Sizes, table: Table, folder: Path) -> DiT:
    """A run with a curriculum for its first steps, dropout, and a saved state half-way."""
    half = sizes.steps // 2
    recipe = TrainConfig(
        steps=sizes.steps,
        batch_size=max(sizes.B // 8, 2),
        warmup=1,
        curriculum=Curriculum(end=half),
        precision="bfloat16",
        checkpoint_every=half,
    )
    model, data = trained(sizes.network("tiny")), sizes.text(sizes.corpus)
    found = train(model, data, recipe, folder, device=table.device, deterministic=True, progress=None)
    assert isinstance(found, DiT)
    return found


class _Stop(Exception):
    """As a crash would stop a run: nothing is saved on the way out."""


@contextmanager
def _stopped(step: int) -> Iterator[None]:
    """Whatever trains inside stops in step 0, 1, ..."""
    backward, left = loop._backward, iter(range(step))

    def counted(*arguments) -> Tensor:
        if next(left, None) is None:
            raise _Stop
        return backward(*arguments)

    with mock.patch.object(loop, "_backward", counted):
        try:
            yield
        except _Stop:
            return
    raise RuntimeError(f"the run did not reach step {step}")


def _unequal(one: DiT, other: DiT) -> int:
    """Number of weights that differ in any bit."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return sum(int((a != b).sum()) for a, b in pairs)
