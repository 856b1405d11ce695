"""The shape of the network: what the file says, what its tensors tell, and what the caller gives."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch

from uddm.checkpoints import check_tensors
from uddm.config import DiTConfig
from uddm.denoisers.transformer import DiT
from uddm.importers._torch_file import StoredTensor
from uddm.importers.layouts import ROTARY, Found

TEACHERS = ("duo", "duo_base", "udlm")
STUDENTS = ("distillation", "idlm", "idlm_duo", "idlm_dcd")
ALGORITHMS = (*TEACHERS, *STUDENTS)
"""Whose networks give x_theta, or the posterior, of uniform noise; STUDENTS are distilled to few steps, and no optimum
of the evidence bound."""
SETTINGS = {  # our name: where a Lightning configuration, or config.json, has it
    "vocab_size": ("vocab_size",),
    "length": ("model.length", "model_length"),
    "hidden_dim": ("model.hidden_size", "hidden_dim"),
    "blocks": ("model.n_blocks", "n_blocks"),
    "heads": ("model.n_heads", "n_heads"),
    "cond_dim": ("model.cond_dim", "cond_dim"),
    "dropout": ("model.dropout", "dropout"),
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


def refuse_other_models(path: Path, said: Mapping[str, Any]) -> None:
    """Other models share names and shapes, but mean something else: masked, autoregressive and hybrid ones, and those
    whose network reads the noise (audm) or belongs to another bound (max_coupling)."""
    allowed: dict[str, tuple[Any, ...]] = {
        "algorithm": ALGORITHMS,
        "diffusion": ("uniform",),
        "causal": (False,),
        "parameterization": ("mean", "d3pm"),
        "model_prediction": tuple(PREDICTS),
        "time_conditioning": (True, False),
    }
    for name, values in allowed.items():
        value = said.get(name)
        if value is not None and (_plain(value) if name == "algorithm" else value) not in values:
            known = ", ".join(map(str, values))
            raise ValueError(f"{path} is not of a uniform-state diffusion model: {name} {value!r} (known: {known})")


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
    seen = _shape(path, tensors)
    asked = {name: value for name, value in given.items() if value is not None and name != "distilled"}
    if not said:
        notes.append("there is no readable configuration: a uniform-state diffusion model is assumed")
    elif not said.keys() & {"algorithm", "diffusion"}:
        notes.append("no algorithm is recorded: a uniform-state diffusion model is assumed")
    for name, value in seen.items():
        if asked.get(name, value) != value:
            raise ValueError(f"`{name}` must be {value}, as in the tensors of {path}, got {asked[name]!r}")
        if said.get(name, value) != value:
            raise ValueError(f"{path}: the configuration says {name} = {said[name]!r}, the tensors say {value}")
    config = {name: said.get(name) for name in SHAPE} | seen
    config["schedule"] = asked.get("schedule") or _schedule(path, said, notes)
    if "model_prediction" in said:
        config["predicts"] = PREDICTS[said["model_prediction"]]
    if not said.get("time_conditioning", True):
        config["time_conditioning"] = False
    config["dropout"] = said.get("dropout", DiTConfig.dropout)
    if "dropout" not in said and "dropout" not in asked:
        notes.append(f"dropout is not recorded: {DiTConfig.dropout}")
    if "heads" not in said and "heads" in seen:
        notes.append(f"heads are inferred from {ROTARY}")
    return config | asked


def _shape(path: Path, tensors: Mapping[str, StoredTensor]) -> dict[str, int]:
    """What the shapes of the tensors tell."""

    def matrix(name: str) -> tuple[int, int]:
        if name not in tensors:
            raise ValueError(f"{path} lacks {name}")
        match tensors[name].shape:
            case (rows, columns):
                return rows, columns
        raise ValueError(f"{path}: {name} has shape {tensors[name].shape}, not that of a matrix")

    vocab_size, hidden_dim = matrix("vocab_embed.embedding")
    cond_dim, _ = matrix("sigma_map.mlp.0.weight")
    blocks = len({match[1] for name in tensors if (match := re.match(r"blocks\.(\d+)\.", name))})
    shape = {"vocab_size": vocab_size, "hidden_dim": hidden_dim, "blocks": blocks, "cond_dim": cond_dim}
    if ROTARY in tensors:
        frequencies = math.prod(tensors[ROTARY].shape)
        if not frequencies or hidden_dim % (2 * frequencies):
            raise ValueError(f"{path}: {ROTARY} has shape {tensors[ROTARY].shape}, which fits no heads of {hidden_dim}")
        shape["heads"] = hidden_dim // (2 * frequencies)
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


def check_names_and_shapes(found: Found, config: Mapping[str, Any]) -> list[str]:
    """Against a network of that shape, made without memory; the names in its order."""
    complete: dict[str, Any] = {name: 1 if value is None else value for name, value in config.items()}
    with torch.device("meta"):
        try:
            own = DiT(DiTConfig(**complete)).state_dict()
        except (TypeError, ValueError) as error:
            raise ValueError(f"{found.path}: {error}") from error
        own = {name: tensor for name, tensor in own.items() if name != ROTARY or name in found.tensors}
        check_tensors({name: torch.empty(s.shape) for name, s in found.tensors.items()}, own, found.path)
    return list(own)
