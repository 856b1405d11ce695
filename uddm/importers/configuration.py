"""The shape of the network: what the file says, what its tensors tell, and what the caller gives."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch

from uddm.checkpoints import check_tensors
from uddm.config import DiTConfig
from uddm.denoisers import Network
from uddm.files import UnreadableFile
from uddm.importers._torch_file import StoredTensor
from uddm.importers.layouts import CACHES, ROTARY, Found

TEACHERS = ("duo", "duo_base", "udlm")
STUDENTS = ("distillation", "idlm", "idlm_duo", "idlm_dcd")
ALGORITHMS = (*TEACHERS, *STUDENTS)
"""Whose networks give x_theta, or the posterior, of uniform noise; STUDENTS are distilled to few steps, and no optimum
of the evidence bound."""
MASKED = ("mdlm",)
MASKS = {50258: 50257, 30522: 103}
"""The mask of MDLM, by K: the id after GPT-2's tokens, or BERT's own (its `diffusion.py`, kuleshov-group/mdlm)."""
SETTINGS = {  # our name: where a Lightning configuration, or config.json, has it; GIDD's config.json last
    "vocab_size": ("vocab_size",),
    "length": ("model.length", "model_length", "max_seq_len"),
    "hidden_dim": ("model.hidden_size", "hidden_dim", "hidden_size"),
    "blocks": ("model.n_blocks", "n_blocks", "num_hidden_layers"),
    "heads": ("model.n_heads", "n_heads", "num_attention_heads"),
    "cond_dim": ("model.cond_dim", "cond_dim", "timestep_cond_dim"),
    "dropout": ("model.dropout", "dropout", "attention_dropout"),
    "p_unif": ("p_uniform",),
    "mask": ("mask_token_id",),
    "noise": ("noise.type",),
    "noise_eps": ("noise.eps",),
    "algorithm": ("algo.name", "model_type"),
    "parameterization": ("algo.parameterization", "parameterization"),
    "model_prediction": ("algo.model_prediction",),
    "diffusion": ("diffusion",),
    "causal": ("algo.causal_attention", "causal"),
    "time_conditioning": ("algo.time_conditioning", "time_conditioning"),
    "tokenizer": ("data.tokenizer_name_or_path",),
    "data": ("data.train",),
    "wrap": ("data.wrap",),
    "seed": ("seed",),
}
PREDICTS = {"mean": "posterior", "mean_loo": "cavity"}  # of `algo.model_prediction`; other code trains the cavity
SHAPE = ("vocab_size", "length", "hidden_dim", "blocks", "heads", "cond_dim")


class Given(TypedDict, total=False):
    """What the caller says in place of a published file, or where it says nothing; None leaves it to the file."""

    heads: int | None
    length: int | None
    schedule: str | None
    dropout: float | None
    distilled: bool | None
    mask: int | None
    p_unif: float | None


def recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says under our names, as far as it does."""
    return {name: value for name, places in SETTINGS.items() if (value := _at(settings, places)) is not None}


def _at(settings: Mapping[str, Any], places: Iterable[str]) -> Any:
    """The scalar at the first of these dotted places that has one; not an interpolation or a missing value."""
    for place in places:
        value: Any = settings
        for key in place.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, bool | int | float) or (isinstance(value, str) and not re.match(r"\$\{|\?\?\?$", value)):
            return value
    return None


def noise_of(path: Path, tensors: Mapping[str, StoredTensor], said: Mapping[str, Any]) -> str:
    """The kind of noise: "uniform", "masked" or "gidd", which is hybrid; ValueError for other models.

    These share names and shapes, but mean something else: autoregressive ones, those whose network reads the noise
    (audm), belongs to another bound (max_coupling) or another noise (xdlm, sedd).
    """
    if CACHES[0] in tensors or "p_unif" in said:
        noise, allowed = "gidd", {"causal": (False,)}
    else:
        algorithm = _plain(said["algorithm"]) if "algorithm" in said else None
        masks = said.get("parameterization") == "subs" or said.get("diffusion") == "absorbing_state"
        noise = "masked" if algorithm in MASKED or (algorithm is None and masks) else "uniform"
        allowed = {
            "algorithm": MASKED if noise == "masked" else (*ALGORITHMS, *MASKED),
            "diffusion": ("absorbing_state",) if noise == "masked" else ("uniform",),
            "causal": (False,),
            "parameterization": ("subs",) if noise == "masked" else ("mean", "d3pm"),
            "model_prediction": tuple(PREDICTS),
            "time_conditioning": (True, False),
        }
    for name, values in allowed.items():
        value = said.get(name)
        if value is not None and (_plain(value) if name == "algorithm" else value) not in values:
            known = ", ".join(map(str, values))
            raise ValueError(f"{path} is not of a diffusion model that is read: {name} {value!r} (known: {known})")
    return noise


def is_distilled(source: str, said: Mapping[str, Any], given: Given) -> bool:
    """Whether it is a student of few steps, as the caller, its algorithm, or its file's or repository's name says."""
    if (asked := given.get("distilled")) is not None:
        return bool(asked)
    if _plain(said.get("algorithm")) in STUDENTS:
        return True
    hub = source.startswith("hf://")
    names = re.split(r"[/\\]", re.sub(r"@[^/]*", "", source) if hub else source.rstrip("/"))
    return any(re.search("distill|idlm", name.lower()) for name in (names if hub else names[-2:]))


def _plain(algorithm: Any) -> str:
    return str(algorithm).lower().replace("-", "_")


def arguments(
    path: Path, tensors: Mapping[str, StoredTensor], said: Mapping[str, Any], given: Given, notes: list[str]
) -> dict[str, Any]:
    """Arguments of `DiTConfig`, None for those that nothing tells."""
    noise, seen = noise_of(path, tensors, said), _shape(path, tensors)
    asked = {name: value for name, value in given.items() if value is not None and name != "distilled"}
    if noise == "uniform" and not said:
        notes.append("there is no readable configuration: a uniform-state diffusion model is assumed")
    elif noise == "uniform" and not said.keys() & {"algorithm", "diffusion"}:
        notes.append("no algorithm is recorded: a uniform-state diffusion model is assumed")
    for name, value in seen.items():
        if asked.get(name, value) != value:
            raise ValueError(f"`{name}` must be {value}, as in the tensors of {path}, got {asked[name]!r}")
        if said.get(name, value) != value:
            raise ValueError(f"{path}: the configuration says {name} = {said[name]!r}, the tensors say {value}")
    config = {name: said.get(name) for name in SHAPE} | seen
    config["schedule"] = asked.get("schedule") or ("linear" if noise == "gidd" else _schedule(path, said, notes))
    if "model_prediction" in said:
        config["predicts"] = PREDICTS[said["model_prediction"]]
    if not said.get("time_conditioning", noise != "masked"):
        config["time_conditioning"] = False
    if noise != "uniform":
        config |= _masks(noise, said, config, asked, notes)
    config["dropout"] = said.get("dropout", DiTConfig.dropout)
    if "dropout" not in said and "dropout" not in asked:
        notes.append(f"dropout is not recorded: {DiTConfig.dropout}")
    if "heads" not in said and "heads" in seen:
        notes.append("heads are inferred from the rotary embedding")
    if config.get("noise") == "masked":
        asked.pop("p_unif", None)
    return config | asked


def _masks(
    noise: str, said: Mapping[str, Any], config: Mapping[str, Any], asked: Mapping[str, Any], notes: list[str]
) -> dict[str, Any]:
    """What noise with masks adds to the configuration."""
    mask = said.get("mask", MASKS.get(config["vocab_size"]))
    if "mask" not in said and "mask" not in asked and mask is not None:
        notes.append(f"the mask is inferred from K: id {mask}")
    if noise == "gidd":
        p_unif = asked.get("p_unif", said.get("p_unif"))
        hybrid = {"noise": "hybrid", "p_unif": p_unif} if p_unif != 0 else {"noise": "masked"}
        return hybrid | {"mask": mask, "time_conditioning": "t"}
    if not config.get("time_conditioning", True) and "schedule" not in asked:
        notes.append("alpha_t = 1 - t: the network is not told the time, on which its bound does not depend then")
        return {"noise": "masked", "mask": mask, "schedule": "linear"}
    return {"noise": "masked", "mask": mask}


def _shape(path: Path, tensors: Mapping[str, StoredTensor]) -> dict[str, int]:
    """What the shapes of the tensors tell."""

    def matrix(name: str) -> tuple[int, int]:
        if name not in tensors:
            raise UnreadableFile(f"{path} lacks {name}")
        match tensors[name].shape:
            case (rows, columns):
                return rows, columns
        raise UnreadableFile(f"{path}: {name} has shape {tensors[name].shape}, not that of a matrix")

    vocab_size, hidden_dim = matrix("vocab_embed.embedding")
    cond_dim, _ = matrix("sigma_map.mlp.0.weight")
    blocks = len({match[1] for name in tensors if (match := re.match(r"blocks\.(\d+)\.", name))})
    shape = {"vocab_size": vocab_size, "hidden_dim": hidden_dim, "blocks": blocks, "cond_dim": cond_dim}
    for name in ROTARY, CACHES[0]:
        if name in tensors:
            of_head = 2 * math.prod(tensors[name].shape) if name == ROTARY else (tensors[name].shape or (0,))[-1]
            if not of_head or hidden_dim % of_head:
                raise UnreadableFile(
                    f"{path}: {name} has shape {tensors[name].shape}, which fits no heads of {hidden_dim}"
                )
            shape["heads"] = hidden_dim // of_head
    return shape


def _schedule(path: Path, said: Mapping[str, Any], notes: list[str]) -> str:
    """Our name of the noise schedule.

    Earlier published code fixes alpha_1 = 1e-3 while its configuration says eps = 0; later code has eps = 1e-3.
    """
    noise, eps = said.get("noise"), said.get("noise_eps", 1e-3)
    if noise is None:
        notes.append("the noise schedule is not recorded: log-linear, that of all published models")
        return "log-linear"
    name = "log-linear" if noise == "loglinear" else noise
    if name not in ("log-linear", "cosine"):
        raise ValueError(f"{path}: noise.type = {noise!r} is unknown; pass `schedule`")
    if eps == 0 and name == "log-linear":
        notes.append(
            "noise.eps = 0 is recorded; alpha_1 = 1e-3 is assumed, which the code of that time had all the same"
        )
    elif eps != 1e-3:
        raise ValueError(f"{path}: noise.eps = {eps!r}, but our {name} schedule has 1e-3")
    return name


def check_names_and_shapes(
    found: Found, network: type[Network], config: Mapping[str, Any], published: Callable[[str], str] = str
) -> list[str]:
    """Against a network of that shape, made without memory, whose tensors have the `published` names in the file; then
    they have ours, which are returned in the order of the network."""
    complete: dict[str, Any] = {name: value for name, value in config.items() if value is not None}
    complete = {name: 1 for name in ("length", "heads", "mask") if config.get(name, 1) is None} | complete
    try:
        own = network.empty(network.Config(**complete)).state_dict()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # also of sizes that no tensor has
        raise ValueError(f"{found.path}: {error}") from error
    names = {published(name): name for name in own if name != ROTARY or name in found.tensors}
    found.caches = {name: found.tensors[name] for name in CACHES if name in found.tensors}
    tensors = {name: stored for name, stored in found.tensors.items() if name not in CACHES}
    shapes = {name: torch.empty(stored.shape, device="meta") for name, stored in tensors.items()}
    check_tensors(shapes, {name: own[ours] for name, ours in names.items()}, found.path)
    found.tensors = {names[name]: stored for name, stored in tensors.items()}
    return list(names.values())
