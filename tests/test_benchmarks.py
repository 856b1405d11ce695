"""The benchmarks' own logic, and the GPU check in small: what it prints, and that its checks can fail."""

import copy
import json
import math
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import harness, machine
from benchmarks.gpu import equality, speed
from benchmarks.gpu.__main__ import PARTS, main
from benchmarks.gpu.sizes import TOY
from benchmarks.gpu.table import Part, Table
from benchmarks.uddm import plain
from benchmarks.uddm.steps import plain_step, trained
from uddm import Curriculum, DiT, TrainConfig, nelbo, objective
from uddm.curriculum import SoftTokens
from uddm.denoisers import NETWORKS
from uddm.process import base, uniform
from uddm.training.batches import Batch, Batches, Sequences
from uddm.training.loop import _Objective

CPU = torch.device("cpu")
NOT_ON_A_BARE_MACHINE = ("tyro", "h5netcdf", "tokenizers", "sklearn", "matplotlib")


# --- machines and bars


@pytest.mark.parametrize(
    ("flags", "kind", "bar"),
    [
        ({"sse4_2", "avx", "avx2"}, "avx2", 40),
        ({"avx2", "avx512f", "amx_tile"}, "avx512", 70),
        ({"asimd"}, "other", None),
    ],
)
def test_the_bar_is_that_of_the_kind_of_machine(flags, kind, bar):
    assert machine.kind(flags) == kind
    assert machine.bar_here({"avx512": 70, "avx2": 40}, kind) == bar
    assert machine.bar_here(3, kind) == 3
    assert machine.bar_here(None, kind) is None


@pytest.mark.parametrize(("kind", "verdict"), [("avx512", "bar 1e+06: MISSED"), ("avx2", "bar 1e-06: met")])
def test_the_harness_judges_by_the_kind(monkeypatch, capsys, kind, verdict):
    monkeypatch.setattr(machine, "kind", lambda: kind)
    peer = harness.Peer("sleepy", lambda: sum(range(1000)), bar={"avx512": 1e6, "avx2": 1e-6})
    harness.compare(harness.Case("a case", lambda: sum(range(1000)), [peer], rounds=1))
    assert verdict in capsys.readouterr().out


def test_the_processor_is_read_from_linux_or_else_from_numpy(tmp_path):
    table = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 avx512f\npower management:\n"
    (tmp_path / "cpuinfo").write_text(table)
    assert machine.processor(tmp_path / "cpuinfo") == ("Some CPU @ 2 GHz", {"fpu", "avx2", "avx512f"})
    _, flags = machine.processor(tmp_path / "nothing")
    assert ("avx2" in flags) == ("avx2" in machine.processor()[1])
    assert "torch" in machine.describe()


# --- the GPU check in small


def test_the_gpu_check_runs_in_small_on_a_bare_cpu(repository, tmp_path):
    """With no package but those of the machine that lends the GPU; every part, every number, every equality."""
    code = f"import sys; sys.modules.update(dict.fromkeys({NOT_ON_A_BARE_MACHINE}))\n"
    code += "from benchmarks.gpu.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--device", "cpu", "--toy", "--json", str(tmp_path / "table.json")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "table.json").read_text())
    assert found["failed"] == {}
    assert found["skipped"] == []
    assert {row["part"] for row in found["rows"]} == {name for name, _, _ in PARTS}
    for row in found["rows"]:
        assert row["quantity"] in done.stdout
        assert row["unit"] == "GB" or math.isfinite(row["value"]), row  # memory is not counted on a CPU
        assert "MISSED" not in row["note"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so(capsys):
    assert main([]) == 2
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "--device cpu --toy" in said
    with pytest.raises(SystemExit):
        main(["--device", "cpu"])


def test_a_part_that_fails_says_so_and_the_others_go_on(capsys):
    table = Table(CPU, budget=100)

    def broken(table):
        table.check("kept", 0.0, 0.0)
        raise ValueError("one line\nand another")

    table.run(
        [
            Part("first", 1, broken),
            Part("second", 1, lambda table: table.check("not a number", math.nan, 1.0)),
            Part("third", 1000, broken),
            Part("fourth", 1, lambda table: table.add("rate", 3.0, "tokens/s")),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert set(table.failed) == {"first", "second"}
    assert "Traceback" in table.failed["first"]
    assert table.skipped == ["third"]
    assert [row.quantity for row in table.rows] == ["kept", "not a number", "rate"]
    (said,) = (line for line in lines if "FAILED" in line)
    assert "ValueError: one line and another (tests/test_benchmarks.py:" in said


def test_no_part_outlasts_the_budget():
    table = Table(CPU, budget=0.2)
    table.run([Part("endless", 0, lambda table: time.sleep(30))])
    assert "budget" in table.failed["endless"]
    assert table.seconds < 10


def perturbed(model, change):
    other = copy.deepcopy(model)
    with torch.no_grad():
        change(other)
    return other


def reorder(model):
    """The same function: hidden units and heads in another order, whose sums are rounded otherwise."""
    c = model.config
    for seed, block in enumerate(model.blocks):
        shuffle = torch.Generator().manual_seed(seed)
        units = torch.randperm(4 * c.hidden_dim, generator=shuffle)
        heads = torch.randperm(c.heads, generator=shuffle)
        block.mlp[0].weight.copy_(block.mlp[0].weight[units])
        block.mlp[0].bias.copy_(block.mlp[0].bias[units])
        block.mlp[2].weight.copy_(block.mlp[2].weight[:, units])
        block.attn_qkv.weight.copy_(block.attn_qkv.weight.unflatten(0, (3, c.heads, -1))[:, heads].flatten(0, 2))
        block.attn_out.weight.copy_(block.attn_out.weight.unflatten(1, (c.heads, -1))[:, heads].flatten(1))


def to_tf32(model):
    """Round all weights to the 10 bits of mantissa that TF32 keeps."""
    for p in model.parameters():
        p.copy_(((p.view(torch.int32) + 2**12) & -(2**13)).view(torch.float32))


def test_the_bounds_pass_another_order_and_catch_tf32():
    """Of hidden units for what is computed forward, of sequences for gradients."""
    sizes = replace(TOY, K=997, L=16, shape={})
    model = equality.small_model(sizes)
    x, t = sizes.text(8), torch.linspace(0.05, 0.9, 8, dtype=torch.float64)
    z = model.process.corrupt(x, t, generator=1)
    found = equality.answers(model, x, z, t, CPU)
    allowed = equality.bounds(model, found["log x_theta"], t)
    reordered = equality.differences(found, equality.answers(perturbed(model, reorder), x, z, t, CPU))
    reversed_ = equality.differences(found, equality.answers(model, x.flip(0), z.flip(0), t.flip(0), CPU))
    assert allowed.keys() == reordered.keys()
    for name, bound in allowed.items():
        assert 0 < (reversed_ if name.startswith("gradient") else reordered)[name] <= bound
    rounded = equality.differences(found, equality.answers(perturbed(model, to_tf32), x, z, t, CPU))
    assert rounded["log x_theta"] > 2 * allowed["log x_theta"]


def test_unequal_weights_are_counted():
    model = trained(TOY.network("tiny"))
    other = perturbed(model, lambda m: m.output_layer.linear.bias[:3].add_(1e-6))
    assert equality._unequal(model, copy.deepcopy(model)) == 0
    assert equality._unequal(model, other) == 3


def test_model_flops_are_those_of_the_operations():
    """Against torch's count, which includes the conditioning: once for each sequence, with no gradient of its input."""
    model = trained(TOY.network("tiny", dropout=0.0))
    c, x = model.config, TOY.text(3)
    noise = torch.full((3,), 0.5, dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        plain.sequence_losses(model, x, x, noise).mean().backward()
    weights = c.cond_dim * (6 * c.hidden_dim * c.blocks + 2 * c.hidden_dim + c.cond_dim)
    conditioning = 6 * weights + 4 * 256 * c.cond_dim
    assert counted.get_total_flops() == x.numel() * speed.model_flops(c) + len(x) * conditioning


def test_text_has_its_stated_law(chi_square):
    """Fixed seed; a new one would fail with probability 1e-4."""
    sizes = replace(TOY, K=50, L=100)
    counts = torch.bincount(sizes.text(1000).flatten(), minlength=50)
    ranks = torch.arange(1, 51, dtype=torch.float64)
    law = torch.log1p(1 / ranks) / math.log(51)
    assert chi_square(counts.numpy(), law.numpy()) > 1e-4
    assert chi_square(counts.flip(0).numpy(), law.numpy()) < 1e-4


def test_the_plain_loss_is_ours_and_does_not_depend_on_micro_batches():
    """To 1e-4: the one-hot form takes differences of K u / v in float32, whose rounding is some K eps = 1e-5."""
    model = trained(TOY.network("tiny", dropout=0.0))
    recipe = TrainConfig(steps=1, batch_size=4, clip=1e6)
    sequences, weights = Sequences(TOY.text(8), model), []
    for micro_batch in (4, 1):
        batches = Batches(sequences, recipe, model.process, micro_batch, CPU)
        for batch in batches.of(0):
            wanted = nelbo(model.process, model.predict(batch.z, batch.t), batch.x, batch.z, batch.t).mean(1)
            found = plain.sequence_losses(model, batch.x, batch.z, model.process.one_minus_alpha(batch.t))
            torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)
        copied = copy.deepcopy(model)
        plain_step(copied, batches)()
        weights.append(torch.cat([p.grad.flatten() for p in copied.parameters()]))
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-5 * float(weights[0].norm()))


@pytest.fixture
def elsewhere(monkeypatch):
    """A device that is not the CPU: torch's "meta", on which tensors have no values but still must not be mixed with
    those of the CPU; argument checks, which read values, let all pass."""
    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda _, *options, **more: autocast("cpu", *options, **more))
    for module in (base, uniform):
        monkeypatch.setattr(module, "check_time", lambda name, t, **_: torch.as_tensor(t, dtype=torch.float64))
    for module in (base, objective):
        monkeypatch.setattr(module, "check_tokens", lambda name, tokens, *_, **__: tokens)
    with FakeTensorMode(allow_non_fake_inputs=False):
        yield torch.device("meta")


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        *((name, loss) for name in NETWORKS for loss in ("nelbo", "curriculum")),
        *(("DiT", loss) for loss in ("jump", "cross-entropy")),  # which read the same outputs of any network
    ],
)
def test_a_training_step_mixes_no_devices(elsewhere, name, loss):
    with elsewhere:
        model = NETWORKS[name](NETWORKS[name].Config(vocab_size=50, length=16))
        x = z = inputs = torch.zeros(4, 16, dtype=torch.long)
        t, weights, of = torch.rand(4, dtype=torch.float64), torch.ones(4), model.process
    config = TrainConfig(precision="bfloat16", loss="nelbo" if loss == "curriculum" else loss)
    if loss == "curriculum":
        if not model.reads_relaxed:
            pytest.skip("reads no relaxed tokens")
        of = Curriculum().process(50)
        with elsewhere:
            inputs = SoftTokens(torch.zeros(4, 16, 3, dtype=torch.long), torch.rand(4, 16, 3), torch.rand(4, 16))
    _Objective(model, config)(Batch(x, inputs, z, t, weights, of)).backward()
    assert all(p.grad.device == elsewhere for p in model.parameters())


def test_the_plain_ways_mix_no_devices(elsewhere):
    with elsewhere:
        model = DiT(TOY.network("tiny"))
        x, noise = torch.zeros(4, TOY.L, dtype=torch.long), torch.rand(4, dtype=torch.float64)
    plain.sequence_losses(model, x, x, noise).sum().backward()
    assert plain.generate(model, x, 3).device == elsewhere
    with pytest.raises(RuntimeError, match="same device"):
        plain.sequence_losses(model, x, x, torch.rand(4, dtype=torch.float64))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_training_is_measured_compiled():
    sizes = replace(TOY, compile=True, shape={**TOY.shape, "blocks": 1})
    table = Table(CPU, budget=600)
    table.run([Part("training", 0, lambda table: speed.training("tiny", sizes, table))])
    assert table.failed == {}
