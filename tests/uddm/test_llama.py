"""The transformer of Llama's kind: against `transformers` where that has it, and against plain sums elsewhere."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from uddm.denoisers import Llama, LlamaConfig

K, L = 11, 7


def random(config, seed=0):
    """A network with random weights everywhere."""
    torch.manual_seed(seed)
    model = Llama(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(float("norm" in name and not config.centered_norms), 0.4)
    return model


def tokens(seed=0):
    return torch.randint(K, (3, L), generator=torch.Generator().manual_seed(seed))


def logits(model, z):
    with torch.no_grad():
        return model(z, torch.ones(len(z)))


# --- transformers


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["Llama", "Qwen2"])
def test_the_logits_are_those_of_transformers(kind, tied):
    """To 1e-5, with a mask of attention that hides nothing; and not with a causal one, as a negative control."""
    transformers = pytest.importorskip("transformers", reason="needs the extra [transformers]")
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "vocab_size": K, "max_position_embeddings": 32, "tie_word_embeddings": tied}
    made = getattr(transformers, f"{kind}Config")(**shape, rms_norm_eps=1e-6, attn_implementation="eager")
    made.rope_parameters = {"rope_type": "default", "rope_theta": 500.0}
    torch.manual_seed(1)
    other = getattr(transformers, f"{kind}ForCausalLM")(made).eval()
    own = {"length": L, "hidden_dim": 16, "blocks": 2, "heads": 4, "kv_heads": 2, "mlp_dim": 24, "tied": tied}
    ours = random(LlamaConfig(K, **own, rope_base=500.0, norm_eps=1e-6, qkv_bias=kind == "Qwen2"))
    weights = {name if name == "lm_head.weight" else f"model.{name}": w for name, w in ours.state_dict().items()}
    missing = other.load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys
    assert set(missing.missing_keys) <= ({"lm_head.weight"} if tied else set())
    z = tokens()
    with torch.no_grad():
        seen = other(z, attention_mask=torch.zeros(3, 1, L, L)).logits
        causal = other(z).logits
    assert (logits(ours, z) - seen).abs().max() < 1e-5
    assert (logits(ours, z) - causal).abs().max() > 1e-2


# --- plain sums, in float64


def rms(u, weight, config):
    return u / np.sqrt((u**2).mean(-1, keepdims=True) + config.norm_eps) * (weight + config.centered_norms)


def rotated(x, position, base):
    """One head's vector, turned pair by pair: (x_i, x_{i + d/2}) by position base^(-2i/d)."""
    half = len(x) // 2
    out = np.empty_like(x)
    for i in range(half):
        angle = position * base ** (-2 * i / len(x))
        out[i] = x[i] * math.cos(angle) - x[i + half] * math.sin(angle)
        out[i + half] = x[i] * math.sin(angle) + x[i + half] * math.cos(angle)
    return out


def reference(model, z):
    """Logits (L, K) of one string z (L,), head by head and position by position."""
    c = model.config
    w = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}

    def linear(name, u):
        scale = u.shape[-1] ** -0.5 if c.weight_scale == "fan_in" else c.weight_scale
        return scale * u @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    h = w["embed_tokens.weight"][z]
    for n in range(c.blocks):
        at, mlp = f"layers.{n}.self_attn", f"layers.{n}.mlp"
        u = rms(h, w[f"layers.{n}.input_layernorm.weight"], c)
        q, k, v = (linear(f"{at}.{part}_proj", u) for part in "qkv")
        if c.qk_norm:
            q, k = rms(q, w[f"{at}.q_norm.weight"], c), rms(k, w[f"{at}.k_norm.weight"], c)
        out = np.zeros((len(z), c.heads * c.head_dim))
        for head in range(c.heads):
            group = head // (c.heads // c.kv_heads)
            own, shared = (slice(m * c.head_dim, (m + 1) * c.head_dim) for m in (head, group))
            for i in range(len(z)):
                query = rotated(q[i, own], i, c.rope_base)
                keys = [rotated(k[j, shared], j, c.rope_base) for j in range(len(z))]
                values = [v[j, shared] for j in range(len(z))]
                if c.sink != "none":
                    zero = np.zeros(c.head_dim)
                    keys.append(w[f"{at}.sink_key"][group] if c.sink == "learned" else zero)
                    values.append(w[f"{at}.sink_value"][group] if c.sink == "learned" else zero)
                scores = np.array([query @ key / math.sqrt(c.head_dim) for key in keys])
                if c.soft_cap:
                    scores = c.soft_cap * np.tanh(scores / c.soft_cap)
                p = np.exp(scores) / np.exp(scores).sum()
                out[i, own] = p @ np.array(values)
        h = h + c.residual_scale * linear(f"{at}.o_proj", out)
        u = rms(h, w[f"layers.{n}.post_attention_layernorm.weight"], c)
        up = linear(f"{mlp}.up_proj", u)
        if c.mlp == "relu2":
            inner = np.maximum(up, 0) ** 2
        else:
            gate = linear(f"{mlp}.gate_proj", u)
            inner = gate / (1 + np.exp(-gate)) * up
        h = h + c.residual_scale * linear(f"{mlp}.down_proj", inner)
    g = c.head_scale * rms(h, w["norm.weight"], c) @ w["embed_tokens.weight" if c.tied else "lm_head.weight"].T
    return np.concatenate([g[:1], g[:-1]]) if c.shifted else g


SHAPE = {"length": L, "hidden_dim": 12, "blocks": 2, "heads": 2, "mlp_dim": 10}
OPTIONS = [
    {},
    {"kv_heads": 1, "head_dim": 4, "rope_base": 500.0, "norm_eps": 1e-2},
    {"sink": "zero", "kv_heads": 1},
    {"sink": "learned", "kv_heads": 1},
    {"qkv_bias": True, "mlp_bias": True, "shifted": True},
    {"qk_norm": True, "soft_cap": 1.5, "mlp": "relu2"},
    {"weight_scale": "fan_in", "head_scale": 3.0, "residual_scale": 2.0, "centered_norms": True},
    {"weight_scale": 0.7, "tied": True},
    {"qk_norm": True, "soft_cap": 2.0, "sink": "learned", "mlp": "relu2", "mlp_bias": True, "centered_norms": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_logits_are_those_of_plain_sums(options):
    """Float32 sums of some ten terms, two layers of them: within 1e-5 of the largest logit."""
    model = random(LlamaConfig(K, **SHAPE | options))
    z = tokens()
    found = logits(model, z).double().numpy()
    for string, row in zip(z.numpy(), found):
        want = reference(model, string)
        assert np.abs(row - want).max() < 1e-5 * max(1, np.abs(want).max())


@pytest.mark.parametrize("options", OPTIONS[1:], ids=str)
def test_every_option_matters(options):
    """Negative control of the test above: without it the same weights give other logits."""
    model = random(LlamaConfig(K, **SHAPE | options))
    for name in options.keys() - {"tied", "qkv_bias", "mlp_bias", "kv_heads", "head_dim", "qk_norm", "mlp", "sink"}:
        default = {f: LlamaConfig.__dataclass_fields__[f].default for f in options}
        other = Llama(LlamaConfig(K, **SHAPE | options | {name: default[name]})).eval()
        other.load_state_dict(model.state_dict())
        assert (logits(other, tokens()) - logits(model, tokens())).abs().max() > 1e-3, name


# --- what it is


def test_it_is_told_no_time_and_takes_any_length():
    model = random(LlamaConfig(K, **SHAPE))
    z = tokens()
    assert torch.equal(model.cavity(z, 0.1), model.cavity(z, 0.9))
    assert model.cavity(torch.cat([z, z], 1), 0.1).shape == (3, 2 * L, K)


def test_half_precision_is_widened_as_it_is_used(tmp_path):
    """A stored bfloat16 network gives the numbers of the one whose weights were widened, bit for bit."""
    wide = random(LlamaConfig(K, **SHAPE | OPTIONS[-1])).bfloat16()
    wide.save_pretrained(tmp_path)
    wide = wide.float()
    kept = Llama.from_pretrained(tmp_path, dtype="stored")
    assert {p.dtype for p in kept.parameters()} == {torch.bfloat16}
    assert torch.equal(kept.cavity(tokens(), 0.5), wide.cavity(tokens(), 0.5))


def test_a_new_one_of_scaled_weights_is_as_one_without():
    """Layers start as `torch.nn.Linear` does, whatever the factor on them."""
    torch.manual_seed(0)
    scaled = Llama(LlamaConfig(K, **SHAPE, weight_scale=0.1)).layers[0].mlp.up_proj
    bound = 12**-0.5
    assert 0.8 * bound < scaled.weight.abs().max() * 0.1 <= bound
    assert isinstance(scaled, nn.Linear)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kv_heads": 3}, "`heads` must be a multiple of `kv_heads` = 3, got 2"),
        ({"head_dim": 3}, "`head_dim` must be even, got 3"),
        ({"hidden_dim": 14}, r"`hidden_dim` must be a multiple of 2 \* heads = 4, got 14"),
        ({"blocks": 0}, "`blocks` must be an integer >= 1"),
        ({"mlp": "gelu"}, "`mlp` must be one of"),
        ({"sink": "one"}, "`sink` must be one of"),
        ({"soft_cap": 0.0}, "`soft_cap` must lie in \\(0, inf\\)"),
        ({"weight_scale": math.inf}, "`weight_scale` must lie in \\(0, inf\\)"),
    ],
)
def test_bad_shapes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        LlamaConfig(K, **SHAPE | change)
