"""Deployed masked, hybrid and uniform models: published names, read into networks that give the published logits."""

import json
import math
import re
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from published_files import (
    AVERAGE,
    DEPLOYED,
    GIDD_DIT,
    LLADA,
    MDLM,
    K,
    L,
    gidd_dit,
    hub_folder,
    llada,
    shards,
    state,
    tensors,
)
from safetensors.torch import save_file

from bridges import as_system
from bridges.probing.checks import own_token
from uddm import DiT, DiTConfig, HybridProcess, MaskedProcess, UniformProcess
from uddm import __main__ as program
from uddm.denoisers import Llama, Network
from uddm.importers import convert, import_published, inspect_published


def tokens(seed=0):
    return torch.randint(K, (3, L), generator=torch.Generator().manual_seed(seed))


def logits(model, z, level=0.0):
    with torch.no_grad():
        return model(z, torch.full((len(z),), level))


def folder(path, name, **changes):
    settings, shapes = DEPLOYED[name]
    return hub_folder(path / name, settings, tensors(shapes), **changes)


# --- Straightforward sums over the published tensors, one string at a time, in float64


def normed(u, weight, eps):
    return u / torch.sqrt((u**2).mean(-1, keepdim=True) + eps) * weight


def turned(x, theta):
    """(L, head_dim): pairs i and i + head_dim/2 by the angle position theta^(-2i/head_dim), as complex numbers."""
    half = x.shape[-1] // 2
    angle = torch.arange(len(x))[:, None].double() * theta ** (-torch.arange(half).double() / half)
    z = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], -1)


def attention(q, k, v, heads, theta, *, cap=None, sink=None):
    """(L, d): heads of q, and those of k and v, which groups share; `sink`, one more score and value for each head."""
    out, width = [], q.shape[1] // heads
    for head in range(heads):
        group = head * (k.shape[1] // width) // heads
        at, of = (slice(n * width, (n + 1) * width) for n in (head, group))
        turned_q = turned(q[:, at], theta)
        scores = turned_q @ turned(k[:, of], theta).T
        values = v[:, of]
        if sink:
            scores = torch.cat([scores, turned_q @ sink[0][group][:, None]], 1)
            values = torch.cat([values, sink[1][group][None]])
        scores = scores / math.sqrt(width)
        scores = cap * torch.tanh(scores / cap) if cap else scores
        out.append(scores.softmax(-1) @ values)
    return torch.cat(out, -1)


def of_llada(w, z):
    h, t = w["model.transformer.wte.weight"][z], "model.transformer"
    for n in range(LLADA["n_layers"]):
        b = {name: w[f"{t}.blocks.{n}.{name}.weight"] for name in ("q_proj", "k_proj", "v_proj", "attn_out", "ff_proj")}
        b |= {name: w[f"{t}.blocks.{n}.{name}.weight"] for name in ("up_proj", "ff_out", "attn_norm", "ff_norm")}
        u = normed(h, b["attn_norm"], 1e-5)
        mixed = attention(*(u @ b[f"{part}_proj"].T for part in "qkv"), 4, 500000.0)
        h = h + mixed @ b["attn_out"].T
        u = normed(h, b["ff_norm"], 1e-5)
        h = h + (torch.nn.functional.silu(u @ b["ff_proj"].T) * (u @ b["up_proj"].T)) @ b["ff_out"].T
    return normed(h, w[f"{t}.ln_f.weight"], 1e-5) @ w[f"{t}.ff_out.weight"].T


def of_qwen(w, z, *, theta, eps, sink=False):
    h, silu = w["model.embed_tokens.weight"][z], torch.nn.functional.silu
    zero = (torch.zeros(2, 4).double(), torch.zeros(2, 4).double()) if sink else None
    for n in range(2):
        b = {name.removeprefix(f"model.layers.{n}."): tensor for name, tensor in w.items()}
        u = normed(h, b["input_layernorm.weight"], eps)
        q, k, v = (
            u @ b[f"self_attn.{part}_proj.weight"].T + b.get(f"self_attn.{part}_proj.bias", 0.0) for part in "qkv"
        )
        h = h + attention(q, k, v, 4, theta, sink=zero) @ b["self_attn.o_proj.weight"].T
        u = normed(h, b["post_attention_layernorm.weight"], eps)
        inner = silu(u @ b["mlp.gate_proj.weight"].T) * (u @ b["mlp.up_proj.weight"].T)
        h = h + inner @ b["mlp.down_proj.weight"].T
    return normed(h, w["model.norm.weight"], eps) @ w["lm_head.weight"].T


def of_dream(w, z):
    """The logits of `transformers`' Qwen2, moved by one, as the published sampler does."""
    g = of_qwen(w, z, theta=1e6, eps=1e-6)
    return torch.cat([g[:1], g[:-1]])


def of_sumi(w, z):
    """The softmax has one more score, 0, whose value is nothing."""
    return of_qwen(w, z, theta=5e5, eps=1e-5, sink=True)


def of_gidd(w, z):
    """Norms of weight 1 + w, queries and keys normed whole, a cap of 30, a learned sink, relu^2, factors 4/2 and 32."""
    h = w["model.embed_tokens.weight"][z]
    for n in range(2):
        b = {name.removeprefix(f"model.layers.{n}."): tensor for name, tensor in w.items()}
        u = normed(h, 1 + b["attn_layernorm.weight"], 1e-6)
        q, k, v = (u @ b[f"self_attn.{part}_proj.weight"].T for part in "qkv")
        q, k = (normed(x, 1 + b[f"self_attn.{part}_norm.weight"], 1e-6) for x, part in ((q, "q"), (k, "k")))
        sink = (b["self_attn.k_bias"], b["self_attn.v_bias"])
        h = h + 2 * attention(q, k, v, 4, 1e4, cap=30.0, sink=sink) @ b["self_attn.o_proj.weight"].T
        u = normed(h, 1 + b["mlp_layernorm.weight"], 1e-6)
        inner = (u @ b["mlp.up_proj.weight"].T + b["mlp.up_proj.bias"]).relu() ** 2
        h = h + 2 * (inner @ b["mlp.down_proj.weight"].T + b["mlp.down_proj.bias"])
    return 32 * normed(h, 1 + w["model.norm.weight"], 1e-6) @ w["lm_head.weight"].T


REFERENCE = {"LLaDA": of_llada, "Dream": of_dream, "Sumi": of_sumi, "GIDD": of_gidd}


@pytest.mark.parametrize("name", DEPLOYED)
def test_logits_are_those_of_the_published_sums(tmp_path, name):
    """Float32 sums of some twenty terms, two layers of them: within 1e-5 of the largest logit."""
    weights = tensors(DEPLOYED[name][1])
    model = import_published(folder(tmp_path, name))
    assert type(model) is Llama
    assert not model.training
    found = logits(model, tokens()).double()
    for z, row in zip(tokens(), found):
        want = REFERENCE[name]({key: tensor.double() for key, tensor in weights.items()}, z)
        assert (row - want).abs().max() < 1e-5 * max(1, want.abs().max())


PROCESSES = {
    "LLaDA": lambda p: type(p) is MaskedProcess and p.mask == 9,
    "Dream": lambda p: type(p) is MaskedProcess and p.mask == 10,
    "Sumi": lambda p: type(p) is UniformProcess,
    "GIDD": lambda p: p.mask == 3 and float(p.token_share(torch.tensor(0.5), torch.tensor(0.0))) == 1,
}


@pytest.mark.parametrize("name", DEPLOYED)
def test_their_noise(tmp_path, name):
    process = import_published(folder(tmp_path, name)).process
    assert PROCESSES[name](process)
    assert process.vocab_size == process.state_size == K
    assert process.alpha(0.25).item() == 0.75


def test_uniform_noise_over_all_ids_but_one(tmp_path):
    """GIDD's id 3 is never drawn, and the others alike (6 sigma: a false alarm in 10^8 runs)."""
    process = import_published(folder(tmp_path, "GIDD")).process
    z = process.corrupt(torch.zeros(2000, 100, dtype=torch.long), 0.5, generator=0)
    share = np.bincount(z.flatten(), minlength=K) / z.numel()
    assert share[3] == 0
    assert np.abs(share[[*range(1, 3), *range(4, K)]] - 0.5 / (K - 1)).max() < 6 * math.sqrt(0.05 / z.numel())


@pytest.mark.parametrize("shift", [-1000.0, 0.0, None])
def test_noise_of_gidd_at_scale(tmp_path, shift):
    source = folder(tmp_path, "GIDD", noise_type=shift)
    if shift == -1000.0:
        assert type(import_published(source).process) is MaskedProcess
        return
    with pytest.raises(ValueError, match=rf"noise_type = {shift!r}: a share sigmoid"):
        inspect_published(source)


@pytest.mark.parametrize("name", ["LLaDA", "Dream", "GIDD"])
def test_the_mask_is_never_predicted(tmp_path, name):
    model = import_published(folder(tmp_path, name))
    z = tokens()
    z[:, 1:4] = model.process.mask
    prediction = model.predict(z, 0.5)
    log_p = prediction.log_probs().double()
    assert (log_p[..., model.process.mask].exp() == 0).all()
    assert torch.allclose(log_p.exp().sum(-1), torch.ones(z.shape).double(), atol=1e-6)
    assert torch.isfinite(prediction.entropy()).all()
    assert (prediction.best()[1] != model.process.mask).all()


@pytest.mark.parametrize("name", DEPLOYED)
def test_a_folder_of_ours_gives_the_same(tmp_path, name):
    settings, shapes = DEPLOYED[name]
    source = hub_folder(tmp_path / "hub", settings, tensors(shapes, dtype=torch.bfloat16))
    report = convert(source, tmp_path / "out")
    assert (report.network, report.dtype, report.training["algorithm"]) == ("Llama", "bfloat16", name)
    kept, wide = (Network.from_pretrained(tmp_path / "out", dtype=dtype) for dtype in ("stored", "float32"))
    assert {p.dtype for p in kept.parameters()} == {torch.bfloat16}
    assert kept.origin["algorithm"] == name
    assert repr(kept.process) == repr(import_published(source).process)
    assert torch.equal(logits(kept, tokens()), logits(wide, tokens()))
    assert torch.equal(logits(kept, tokens()), logits(import_published(source), tokens()))


@pytest.mark.parametrize("name", DEPLOYED)
def test_shards_and_torch_files(tmp_path, name):
    settings, shapes = DEPLOYED[name]
    whole = import_published(folder(tmp_path, name)).state_dict()
    for kind in ("model-{:05}-of-{:05}.safetensors", "pytorch_model-{:05}-of-{:05}.bin"):
        source = tmp_path / kind[:5]
        source.mkdir()
        (source / "config.json").write_text(json.dumps(settings))
        shards(source, tensors(shapes), names=kind)
        read = import_published(source).state_dict()
        assert all(torch.equal(read[key], whole[key]) for key in whole | read)


# --- What is wrong is called by its published name

WRONG = {
    "LLaDA": ("model.transformer.blocks.1.ff_out.weight", (16, 24)),
    "Dream": ("model.layers.1.self_attn.k_proj.bias", (8,)),
    "Sumi": ("model.layers.0.mlp.down_proj.weight", (16, 24)),
    "GIDD": ("model.layers.1.self_attn.v_bias", (4, 4)),
}


@pytest.mark.parametrize("name", DEPLOYED)
@pytest.mark.parametrize("function", [import_published, inspect_published])
def test_wrong_tensors_are_named(tmp_path, name, function):
    settings, shapes = DEPLOYED[name]
    wrong, shape = WRONG[name]
    for n, (change, message) in enumerate(
        [
            ({wrong: None}, f"lacks {wrong}"),
            ({wrong: (*shape, 2)}, f"{wrong} has shape {(*shape, 2)}, not {shape}"),
            ({"model.extra.weight": (3,)}, "has unexpected model.extra.weight"),
        ]
    ):
        changed = {key: value for key, value in (shapes | change).items() if value is not None}
        with pytest.raises(ValueError, match=re.escape(message)):
            function(hub_folder(tmp_path / str(n), settings, tensors(changed)))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("LLaDA", {"block_type": "sequential"}, "config.json has block_type = 'sequential', with which LLaDA is not"),
        ("LLaDA", {"attention_layer_norm": True}, "attention_layer_norm = True"),
        ("LLaDA", {"rope_theta": None}, "does not say rope_theta"),
        ("LLaDA", {"model_type": "llada2_moe"}, "model_type 'llada2_moe': what is read is LLaDA, Dream, Sumi, GIDD"),
        ("LLaDA", {"n_heads": 3}, "`hidden_dim` must be a multiple of"),
        ("LLaDA", {"n_layers": 10**9}, "says 1000000000 layers, the tensors say 2"),
        ("LLaDA", {"d_model": "wide"}, "`hidden_dim` must be an integer"),
        ("LLaDA", {"d_model": 2**40}, "LLaDA"),
        ("LLaDA", {"mlp_hidden_size": 10**30}, "LLaDA"),
        ("Dream", {"rope_scaling": {"type": "yarn"}}, "rope_scaling = "),
        ("Dream", {"model_type": "qwen2"}, "model_type 'qwen2'"),
        ("Dream", {"vocab_size": 12}, "config.json says vocab_size = 12, the tensors say 11"),
        ("Sumi", {"attention_bias": True}, "attention_bias = True"),
        ("Sumi", {"rope_parameters": {"rope_theta": 1e4, "rope_type": "yarn"}}, "rope_type = 'yarn'"),
        ("GIDD", {"is_causal": True}, "is_causal = True"),
        ("GIDD", {"weight_scaling": "fan_out"}, "`weight_scale` must be"),
        ("GIDD", {"attention_bias": False}, r"has unexpected model\.layers\.0\.self_attn\.k_bias"),
    ],
)
def test_configurations_that_mean_something_else(tmp_path, name, change, message):
    with pytest.raises(ValueError, match=message) as error:
        inspect_published(folder(tmp_path, name, **change))
    assert str(tmp_path) in str(error.value)


def test_a_file_alone_does_not_say_enough(tmp_path):
    for name, message in (("LLaDA", "LLaDA, whose config.json says the rest"), ("Dream", "no config.json")):
        with pytest.raises(ValueError, match=message):
            inspect_published(folder(tmp_path, name) / "model.safetensors")


def test_what_is_missing_is_said_without_loading(tmp_path):
    source = folder(tmp_path, "LLaDA", mask_token_id=None)
    report = inspect_published(source)
    assert report.missing == ["mask"]
    assert "missing  `mask`, to be passed" in str(report)
    with pytest.raises(ValueError, match="does not say `mask`: pass it"):
        import_published(source)
    assert import_published(source, mask=5).process.mask == 5
    with pytest.raises(ValueError, match="`dropout` must be left out"):
        import_published(source, dropout=0.1)


def test_the_command_says_it(tmp_path, capsys):
    """`python -m uddm inspect`, and `import` with what is missing."""
    source = folder(tmp_path, "LLaDA", mask_token_id=None)
    program.inspect(str(source))
    assert "`mask`, to be passed" in capsys.readouterr().out
    program.import_(str(source), tmp_path / "out", mask=5)
    assert "noise    masked, linear schedule, mask 5" in capsys.readouterr().out
    assert Network.from_pretrained(tmp_path / "out").process.mask == 5


@pytest.mark.parametrize("name", DEPLOYED)
def test_what_is_said_of_it(tmp_path, name):
    text = str(inspect_published(folder(tmp_path, name)))
    assert f"algorithm {name}" in text
    assert "Llama, K = 11, L = " in text
    for piece in {"Dream": ("L = 2048", "shifted True", "masked, linear schedule, mask 10")}.get(name, ()):
        assert piece in text


# --- Diffusion transformers


def test_mdlm(tmp_path):
    """Told no noise level, logits of tokens given masks; the mask's is -inf, and so the rest are normalised."""
    source = hub_folder(tmp_path / "mdlm", MDLM, state(AVERAGE))
    assert inspect_published(source).missing == ["mask"], "K = 11 tells none"
    model = import_published(source, mask=10)
    assert type(model.process) is MaskedProcess
    assert model.process.mask == 10
    z = tokens()
    want = logits(AVERAGE, z, 0.0)
    want[..., 10] = -math.inf
    torch.testing.assert_close(model.cavity(z, 0.7).exp(), want.softmax(-1), rtol=0, atol=1e-6)
    assert torch.equal(model.cavity(z, 0.7), model.cavity(z, 0.1))


def test_the_mask_of_mdlm_is_told_by_its_vocabulary(tmp_path):
    for size, mask in ((50258, 50257), (30522, 103)):
        shape = {"vocab_size": size, "model_length": 4, "hidden_dim": 8, "n_blocks": 1, "n_heads": 2, "cond_dim": 4}
        weights = state(DiT(DiTConfig(size, length=4, hidden_dim=8, blocks=1, heads=2, cond_dim=4)))
        report = inspect_published(hub_folder(tmp_path / str(size), MDLM | shape, weights))
        assert (report.config["noise"], report.config["mask"], report.missing) == ("masked", mask, [])
        assert f"id {mask}" in str(report)


def test_gidd_is_told_the_time(tmp_path):
    source = hub_folder(tmp_path / "gidd", GIDD_DIT, gidd_dit(AVERAGE, 20))
    model = import_published(source, mask=10)
    assert type(model.process) is HybridProcess
    assert (model.config.heads, model.config.length, model.config.dropout) == (2, L, 0.0)
    z = tokens()
    for t in (0.1, 0.9):
        want = logits(AVERAGE, z, t)
        want[..., 10] = -math.inf
        torch.testing.assert_close(model.cavity(z, t).exp(), want.softmax(-1), rtol=0, atol=1e-6)
    assert not torch.equal(model.cavity(z, 0.1), model.cavity(z, 0.9))
    convert(source, tmp_path / "out", mask=10)
    again = Network.from_pretrained(tmp_path / "out")
    assert torch.equal(again.cavity(z, 0.3), model.cavity(z, 0.3))
    assert repr(again.process) == repr(model.process)
    # c_t = B sqrt(t (1 - t)), B = 2 p/(1 - p): `gidd/diffusion_process.py`
    c = 2 * 0.1 / 0.9 * math.sqrt(0.3 * 0.7)
    assert model.process.alpha(0.3).item() == pytest.approx(0.7 / (1 + c), abs=1e-12)


def test_caches_of_other_rotations_are_refused(tmp_path):
    for n, name in enumerate(("cos", "sin")):
        weights = gidd_dit(AVERAGE)
        weights[f"rotary_emb.{name}_cached"] = weights[f"rotary_emb.{name}_cached"] * 1.01
        with pytest.raises(ValueError, match=f"{name}_cached is not that of rotary embeddings of base 10000"):
            import_published(hub_folder(tmp_path / str(n), GIDD_DIT, weights), mask=10)
    weights = gidd_dit(AVERAGE)
    weights["rotary_emb.cos_cached"] = torch.ones(3)
    with pytest.raises(ValueError, match=r"rotary_emb\.cos_cached has shape \(3,\), which fits no heads"):
        inspect_published(hub_folder(tmp_path / "shape", GIDD_DIT, weights))


# --- A network that copies its own token


def copying(settings, shapes):
    """Branches that add nothing, and a read-out that is the embedding: every token predicts itself."""
    weights = tensors(shapes)
    for name, tensor in weights.items():
        if any(part in name for part in ("o_proj", "down_proj")):
            tensor.zero_()
    weights["lm_head.weight"] = 4 * weights["model.embed_tokens.weight"]
    return settings, weights


@pytest.mark.parametrize("name", ["Sumi", "GIDD"])
def test_a_copy_of_the_own_token_is_seen(tmp_path, name):
    """By the check of the probe; and it finds no copy where the read-out knows nothing of the embedding."""
    settings, weights = copying(*DEPLOYED[name])
    x = tokens(1).numpy()
    x[x == 3] = 4
    copies = import_published(hub_folder(tmp_path / "copies", settings, weights), length=L)
    check = own_token(as_system(copies), x, rng=0)
    assert check.passed is False
    assert "copy" in check.detail or "follows the token" in check.detail
    weights["lm_head.weight"] = torch.zeros(K, 16)
    other = import_published(hub_folder(tmp_path / "other", settings, weights), length=L)
    assert own_token(as_system(other), x, rng=0).passed


# --- Memory

MEASURE = """
import torch, uddm.importers
torch.set_num_threads(1)
def high():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
def peak(function, **how):
    open("/proc/self/clear_refs", "w").write("5")
    before = high()
    kept = function(source, **how)
    return high() - before
uddm.importers.import_published(small)
print(peak(uddm.importers.inspect_published), peak(uddm.importers.import_published, dtype=dtype))
"""


def peaks(source, small, dtype):
    """Bytes by which a process that has everything else in memory grows, at most: to inspect, and to import."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of a process is measured as Linux tells it")
    said = small.parent / "said"
    measuring = forked.start(exec, MEASURE, {"source": source, "small": small, "dtype": dtype}, said=said)
    measuring.join()
    assert measuring.exitcode == 0, said.read_text()
    return [int(number) for number in said.read_text().split()]


def large(path, size, layout):
    """A LLaDA of about `size` bytes of bfloat16, in many tensors of which none is most of it."""
    d, blocks = 512, max(1, size // (2 * 512 * 512 * 16))
    settings = LLADA | {"d_model": d, "n_layers": blocks, "mlp_hidden_size": 4 * d, "n_heads": 8, "n_kv_heads": 8}
    shapes = llada(d, 4 * d, blocks)
    weights = {name: torch.full(shape, 0.01, dtype=torch.bfloat16) for name, shape in shapes.items()}
    path.mkdir()
    (path / "config.json").write_text(json.dumps(settings))
    save_file(weights, path / layout) if layout.endswith("safetensors") else torch.save(weights, path / layout)
    return path, sum(2 * w.numel() for w in weights.values())


@pytest.mark.parametrize(
    ("size", "layout", "dtype"),
    [
        (64e6, "model.safetensors", "stored"),
        (64e6, "pytorch_model.bin", "stored"),
        pytest.param(1e9, "model.safetensors", "stored", marks=pytest.mark.long),
        pytest.param(1e9, "model.safetensors", "float32", marks=pytest.mark.long),
    ],
)
def test_a_checkpoint_is_in_memory_once(tmp_path, size, layout, dtype, record_property):
    """Stored bfloat16 stays what it is: the peak is 1.01 of the file. To look at it takes next to none; float32 is
    twice the file, as it must be, and a tenth in holes that the allocator leaves."""
    source, file = large(tmp_path / "large", int(size), layout)
    look, read = (peak / file for peak in peaks(source, folder(tmp_path, "LLaDA"), dtype))
    record_property("peak over file", (look, read))
    print(f"{file:.3g} bytes, {layout} as {dtype}: {look:.3f} of it to inspect, {read:.3f} to import")
    assert look < 0.1
    low, high = (0.9, 1.1) if dtype == "stored" else (1.9, 2.3)
    assert low < read < high
