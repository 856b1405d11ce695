"""Rates and memory, against the plain ways on the same network and batches."""

import copy
import math
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
import torch.nn.functional as F

from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.table import Table
from benchmarks.uddm import plain
from benchmarks.uddm.steps import own_step, plain_step, trained
from bridges import as_system, conditional_entropy
from uddm import DiTConfig, TrainConfig, UniformProcess, nelbo, reverse
from uddm.prediction import HeadPrediction
from uddm.training.batches import Batches, Sequences
from uddm.training.loop import _compiled


def products(sizes: Sizes, table: Table) -> None:
    """The rate that the others are measured by: of a large product of random matrices in bfloat16."""
    n = sizes.product
    a, b = (torch.randn(n, n, device=table.device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    rate = 2 * n**3 / table.time(lambda: a @ b, 10)
    table.bf16_rate = rate
    table.add(f"product of {n} x {n} matrices, bfloat16", rate / 1e12, "TFLOP/s")


def model_flops(config: DiTConfig) -> int:
    """Floating-point operations that a training step needs for each token, nothing computed twice.

    6 for each weight that meets each token (a product and a sum, forward and twice backward): 12 d^2 in a block and
    K d in the read-out. The embedding is looked up, and the conditioning is once for each sequence: not counted. In
    each block attention has two products, q k' and p v, of 2 L d operations forward and twice that backward.
    """
    d = config.hidden_dim
    return config.blocks * (6 * 12 * d**2 + 12 * config.length * d) + 6 * config.vocab_size * d


def training(name: str, sizes: Sizes, table: Table) -> None:
    """A step of `uddm.train`, its network compiled, and one of the plain loss, compiled as a whole.

    Eager, the plain loss takes some eight float32 tensors (B, L, K) at once, of 4 GB each at B = 256: it should fit
    into the 80 GB of an H100. Where it does not, its micro-batch is halved until it does.
    """
    config = sizes.network(name)
    model = trained(config).to(table.device)
    recipe = TrainConfig(steps=10**6, batch_size=sizes.B, precision="bfloat16")
    sequences = Sequences(sizes.text(sizes.corpus), model)

    def batches(micro_batch: int) -> Batches:
        return Batches(sequences, recipe, model.process, micro_batch, table.device)

    with ExitStack() as stack:
        ours = copy.deepcopy(model)
        if sizes.compile:
            stack.enter_context(_compiled(ours))
        own = own_step(ours, batches(sizes.B))
        table.add("our first step, compilation included", table.time(own), "s")
        losses, micro_batch = sizes.compiled(plain.sequence_losses), sizes.B
        while True:
            theirs = plain_step(model, batches(micro_batch), losses)
            try:
                first = table.time(theirs)
                break
            except RuntimeError as error:  # the compiler wraps torch.OutOfMemoryError
                if micro_batch == 1 or "out of memory" not in str(error).lower():
                    raise
                micro_batch //= 2
            del theirs
            model.zero_grad()
            table.release()
        note = "" if micro_batch == sizes.B else f"does not fit: micro-batches of {micro_batch}"
        table.add("first plain step", first, "s", note or ("compiled" if sizes.compile else "eager, not compiled"))
        for step in (own, theirs) * 2:
            step()
        runs = {"our step": own, "plain step": theirs}
        found = table.compare(runs, sizes.B * sizes.L, sizes.rounds, sizes.at_least)
    for way, seconds in found.items():
        rate = model_flops(config) * sizes.B * sizes.L / seconds
        table.add(f"{way}: model FLOPs", rate / 1e12, "TFLOP/s")
        if table.bf16_rate:
            table.add(f"{way}: share of the measured bfloat16 rate", 100 * rate / table.bf16_rate, "%")


def read_out(sizes: Sizes, table: Table) -> None:
    """Read-out and loss alone, forward and backward: ours with float32 products, and with products in TF32."""
    d, K, device = sizes.network("tiny").hidden_dim, sizes.K, table.device
    process, x = UniformProcess(K), sizes.text(sizes.B).to(device)
    t = torch.linspace(0.01, 1, len(x), dtype=torch.float64, device=device)
    z, noise = process.corrupt(x, t, generator=1), process.one_minus_alpha(t)
    h = torch.randn(*x.shape, d, device=device, requires_grad=True)
    weight = torch.nn.Parameter(torch.randn(K, d, device=device) / math.sqrt(d))
    bias = torch.nn.Parameter(torch.zeros(K, device=device))

    def backward(loss: torch.Tensor) -> torch.Tensor:
        for leaf in (h, weight, bias):
            leaf.grad = None
        loss.backward()
        return loss.detach()

    def own() -> torch.Tensor:
        return backward(nelbo(process, HeadPrediction(h, weight, bias, z), x, z, t).mean())

    def in_tf32() -> torch.Tensor:
        with product_precision("high"):
            return own()

    def loss_of(h: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        log_probs = F.linear(h, weight, bias).log_softmax(-1)
        return plain.one_hot_loss(log_probs, x, z, noise, K).mean()

    compiled = sizes.compiled(loss_of)

    def theirs() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            loss = compiled(h, weight, bias)
        return backward(loss)

    runs = {"ours": own, "ours, TF32 products": in_tf32, "plain, bfloat16 products": theirs}
    values = {name: float(run()) for name, run in runs.items()}
    table.compare(runs, x.numel(), sizes.rounds, sizes.at_least)
    for name in list(runs)[1:]:
        table.add(f"{name}: loss, relative to ours", values[name] / values["ours"] - 1)


def generation(sizes: Sizes, table: Table) -> None:
    """The reverse process at tiny in float32."""
    model = trained(sizes.network("tiny")).to(table.device).eval()
    z = model.process.prior((sizes.generated, sizes.L), generator=1).to(table.device)
    runs = {
        "reverse process": lambda: reverse(model.process, model, z, steps=sizes.updates, last="none", generator=2),
        "float64 posteriors and draws, B L K": lambda: plain.generate(model, z, sizes.updates),
    }
    for run in runs.values():
        run()
    found = table.compare(runs, z.numel(), min(3, sizes.rounds), sizes.at_least)
    table.add("updates of all tokens", sizes.updates / found["reverse process"], "each s")


def entropy(sizes: Sizes, table: Table) -> None:
    """Conditional entropies at tiny in float32, float64 sums: the memory must not grow with the sequences."""
    system = as_system(trained(sizes.network("tiny")).to(table.device))
    text = sizes.text(sizes.measured).numpy()
    conditional_entropy(system, text[: sizes.generated], rng=0)
    for n in (sizes.measured // 4, sizes.measured):
        peak = table.peak(partial(conditional_entropy, system, text[:n], rng=0))
        table.add(f"conditional entropy of {n} sequences: memory", peak, "GB")
    seconds = table.time(partial(conditional_entropy, system, text, rng=0))
    table.add(f"conditional entropy of {len(text)} sequences", text.size / seconds, "tokens/s", "bootstrap included")


@contextmanager
def product_precision(precision: str):
    """ "highest": float32 products in float32; "high": in TF32, where the device has it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
