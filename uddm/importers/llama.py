"""Published transformers of Llama's kind: their names, what their configurations say, and their noise.

    LLaDA   masks; `model.transformer.blocks.N.{q_proj, attn_out, ff_proj, ...}` (arXiv 2502.09992)
    Dream   masks; Qwen2's names; logits one position to the left (arXiv 2508.15487; DiffuCoder and Dream-Coder, too)
    GIDD    3B and 10B: uniform tokens, all but one id, or masks; scaled weights (arXiv 2512.10858)
    Sumi    uniform tokens; Llama's names; a sink in the softmax (arXiv 2606.19005)

Names, keys and sums were read, in November 2026, in the code that these repositories publish or copies of it on GitHub:
LLaDA in `modeling_llada.py` (zhaoyMa/Saber) and `configuration_llada.py` (charleschen-ml/pa-dllm); Dream in copies of
`modeling_dream.py` and of its `generation_utils.py`, where the logits are shifted; GIDD in `modeling_gidd_hf.py`,
`configuration_gidd.py` and `schedule.py` (dvruette/gidd-easydel); Sumi in a copy of `modeling_sumi.py`. No weights were
at hand. What these do not tell, and is taken for granted: GIDD's id without noise, 3, is a default of its sampler and
in no configuration; that Dream was trained on 2048 positions, others say, and its configuration has Qwen2's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uddm.importers._torch_file import StoredTensor
from uddm.importers.configuration import Given
from uddm.importers.layouts import Found

GIDD_RESERVED = 3
DREAM_LENGTH = 2048
_ALL_OF_IT = 20.0  # a logit beyond which a share is 0 or 1 at all noise levels


@dataclass(frozen=True)
class Family:
    """Models whose tensors and configuration are called alike.

    Parameters
    ----------
    name : what they are called
    model_type : as `config.json` has it, lower case
    parts : ours -> theirs, of the parts of the names of tensors; "" for one that they leave out
    prefix : of the names of all tensors but, where `bare_head`, the read-out
    settings : our field -> places where `config.json` may have it, dotted
    fixed : place in `config.json` -> the values there, if any, that mean what this network does
    constants : fields that are the same in all of them
    adapt : what else becomes of the fields, from `config.json`, which gives notes
    """

    name: str
    model_type: str
    settings: Mapping[str, tuple[str, ...]]
    fixed: Mapping[str, tuple[Any, ...]]
    parts: Mapping[str, str] = field(default_factory=dict)
    prefix: str = "model."
    bare_head: bool = True
    constants: Mapping[str, Any] = field(default_factory=dict)
    adapt: Callable[[Mapping[str, Any], dict[str, Any]], list[str]] = lambda said, config: []

    def published(self, own: str) -> str:
        """Their name of a tensor of ours."""
        parts = [self.parts.get(part, part) for part in own.split(".")]
        bare = self.bare_head and own.startswith("lm_head.")
        return ("" if bare else self.prefix) + ".".join(part for part in parts if part)

    def arguments(self, found: Found, given: Given, notes: list[str]) -> dict[str, Any]:
        """Arguments of `LlamaConfig`, None for those that nothing tells."""
        said, path = found.settings, found.path
        if not said:
            raise ValueError(f"{path} has the tensors of {self.name}, whose config.json says the rest: name its folder")
        for place, values in self.fixed.items():
            value = _at(said, place)
            if value is not None and value not in values:
                raise ValueError(f"{path}: config.json has {place} = {value!r}, with which {self.name} is not read")
        config: dict[str, Any] = dict(self.constants) | self._flags(found)
        for name, places in self.settings.items():
            values = [value for place in places if isinstance(value := _at(said, place), bool | int | float | str)]
            if values:
                config[name] = values[0]
        for name in ("hidden_dim", "blocks", "heads", "mlp_dim", "rope_base", "norm_eps"):
            if name not in config:
                raise ValueError(f"{path}: config.json does not say {self.settings[name][0]}")
        rows, blocks = self._counted(found)
        if config["blocks"] != blocks:
            raise ValueError(f"{path}: config.json says {config['blocks']} layers, the tensors say {blocks}")
        config |= {"vocab_size": rows, "schedule": "linear", "length": config.get("length")}
        try:
            if _at(said, "vocab_size") and said["vocab_size"] > rows:
                raise ValueError(f"config.json says vocab_size = {said['vocab_size']}, the tensors say {rows}")
            notes += self.adapt(said, config)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        for name, value in given.items():
            if value is not None and name in ("length", "schedule", "mask"):
                config[name] = value
            elif value is not None and name != "distilled" and value != config.get(name):
                raise ValueError(f"`{name}` must be left out for {path}, a {self.name}, got {value!r}")
        if config["noise"] == "masked":
            config.setdefault("mask", None)
        return config

    def _counted(self, found: Found) -> tuple[int, int]:
        """Rows of the embedding and layers, of the tensors that there are."""
        shape = found.tensors[self.published("embed_tokens.weight")].shape
        within = f"{self.prefix}{self.parts.get('layers', 'layers')}."
        layers = {name.removeprefix(within).partition(".")[0] for name in found.tensors if name.startswith(within)}
        return shape[0] if shape else 0, len(layers)

    def _flags(self, found: Found) -> dict[str, bool]:
        """What tensors are there, where `config.json` need not say it."""

        def has(own: str) -> bool:
            return self.published(own) in found.tensors

        qkv, mlp = (has(f"layers.0.{at}_proj.bias") for at in ("self_attn.q", "mlp.up"))
        return {"qkv_bias": qkv, "mlp_bias": mlp, "tied": not has("lm_head.weight")}


def _at(settings: Mapping[str, Any], place: str) -> Any:
    """What `config.json` has at a dotted place, None for nothing."""
    value: Any = settings
    for key in place.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _dream(said: Mapping[str, Any], config: dict[str, Any]) -> list[str]:
    config["length"] = DREAM_LENGTH
    return [
        f"L = {DREAM_LENGTH}, as others say that it was trained: max_position_embeddings is that of Qwen2",
        "the first position has no logits of its own: it must hold a token that is known",
    ]


def _gidd(said: Mapping[str, Any], config: dict[str, Any]) -> list[str]:
    if "residual_scale" in config:
        config["residual_scale"] /= config["blocks"]
    config["sink"] = "learned" if config.get("sink") else "none"
    if config["tied"]:
        config.pop("head_scale", None)
    shift, low, high = (said.get(key) for key in ("noise_type", "min_log_snr", "max_log_snr"))
    if not isinstance(shift, int | float) or abs(shift) < _ALL_OF_IT:
        raise ValueError(
            f"config.json says noise_type = {shift!r}: a share sigmoid(log-SNR + noise_type) of the fresh draws are "
            f"tokens, and only all ({_ALL_OF_IT:g} or more) or none of them are read"
        )
    config |= {"noise": "uniform" if shift > 0 else "masked", "mask": GIDD_RESERVED}
    return [
        f"id {GIDD_RESERVED} is {'no fresh draw' if shift > 0 else 'the mask'}, as in the published sampler",
        f"trained at log-SNR from {low} to {high}, with alpha_t = 1 - t",
    ]


def _sumi(said: Mapping[str, Any], config: dict[str, Any]) -> list[str]:
    return ["alpha_t = 1 - t, as in the published loss; the published sampler has log-SNR from -9 to 9"]


def _places(**settings: str) -> dict[str, tuple[str, ...]]:
    return {name: tuple(places.split()) for name, places in settings.items()}


_SHAPE = _places(
    hidden_dim="hidden_size",
    blocks="num_hidden_layers",
    heads="num_attention_heads",
    kv_heads="num_key_value_heads",
    head_dim="head_dim",
    mlp_dim="intermediate_size",
    length="max_position_embeddings",
    norm_eps="rms_norm_eps",
    rope_base="rope_theta rope_parameters.rope_theta",
    tied="tie_word_embeddings",
)
_PLAIN_ROTATION = {"rope_scaling": (), "rope_parameters.rope_type": ("default",)}
FAMILIES = (
    Family(
        "LLaDA",
        "llada",
        settings=_places(
            hidden_dim="d_model",
            blocks="n_layers",
            heads="n_heads",
            kv_heads="n_kv_heads",
            mlp_dim="mlp_hidden_size",
            length="max_sequence_length",
            norm_eps="rms_norm_eps",
            rope_base="rope_theta",
            tied="weight_tying",
            mask="mask_token_id",
        ),
        fixed={
            **{"block_type": ("llama",), "activation_type": ("silu",), "layer_norm_type": ("rms",), "rope": (True,)},
            **{"layer_norm_with_affine": (True,), "block_group_size": (1,)},
            **dict.fromkeys(("alibi", "include_bias", "bias_for_layer_norm", "multi_query_attention"), (False,)),
            **dict.fromkeys(("scale_logits", "attention_layer_norm", "input_emb_norm"), (False,)),
        },
        parts={
            **{"embed_tokens": "wte", "norm": "ln_f", "lm_head": "ff_out", "layers": "blocks", "self_attn": ""},
            **{"o_proj": "attn_out", "input_layernorm": "attn_norm", "post_attention_layernorm": "ff_norm"},
            **{"mlp": "", "gate_proj": "ff_proj", "down_proj": "ff_out"},
        },
        prefix="model.transformer.",
        bare_head=False,
        constants={"noise": "masked"},
    ),
    Family(
        "Dream",
        "dream",
        settings=_SHAPE | _places(mask="mask_token_id"),
        fixed=_PLAIN_ROTATION | {"hidden_act": ("silu",), "use_sliding_window": (False,)},
        constants={"noise": "masked", "shifted": True},
        adapt=_dream,
    ),
    Family(
        "Sumi",
        "sumi",
        settings=_SHAPE,
        fixed=_PLAIN_ROTATION | {"hidden_act": ("silu",), "attention_bias": (False,)},
        constants={"noise": "uniform", "sink": "zero"},
        adapt=_sumi,
    ),
    Family(
        "GIDD",
        "gidd",
        settings=_SHAPE
        | _places(
            soft_cap="attn_soft_cap",
            qk_norm="use_qk_norm",
            residual_scale="resid_scale",
            weight_scale="weight_scaling",
            head_scale="head_scaling",
            sink="attention_bias",
        ),
        fixed=_PLAIN_ROTATION | {"is_causal": (False,)},
        parts={
            **{"input_layernorm": "attn_layernorm", "post_attention_layernorm": "mlp_layernorm"},
            **{"sink_key": "k_bias", "sink_value": "v_bias"},
        },
        constants={"mlp": "relu2", "centered_norms": True},
        adapt=_gidd,
    ),
)


def family_of(path: Path, tensors: Mapping[str, StoredTensor], settings: Mapping[str, Any]) -> Family | None:
    """Whose tensors these are, None for those of the diffusion transformer; ValueError for models that are not read."""
    kind = str(settings.get("model_type", "")).lower()
    family = next((family for family in FAMILIES if family.published("embed_tokens.weight") in tensors), None)
    if family is None or "vocab_embed.embedding" in tensors:
        return None
    if family.name != "LLaDA":  # the others are called alike
        family = next((family for family in FAMILIES if family.model_type == kind), None)
    if family is None or (kind and kind != family.model_type):
        names = ", ".join(family.name for family in FAMILIES)
        found = f"model_type {kind!r}" if kind else "no config.json that says its model_type"
        raise ValueError(f"{path} has the tensors of a language model, and {found}: what is read is {names}")
    return family
