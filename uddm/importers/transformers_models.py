"""Folders of the `transformers` library as denoisers: any masked language model, and DiffusionGemma.

The library builds the network from `config.json`; weights and tokenizers are read here. Nothing that comes with a
folder is run: no code of its own (`auto_map`), no pickle, no kernels, quantizers or adapters that it may name.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uddm._validation import check_choice
from uddm.checkpoints import check_finite, read_tensors
from uddm.choices import WEIGHT_TYPES, WeightType
from uddm.corpora.subwords import SubwordTokenizer
from uddm.corpora.tokenizer_files import read_tokenizer
from uddm.denoisers.pretrained import DiffusionGemma, MaskedLanguageModel
from uddm.files import UnreadableFile, read_json
from uddm.importers._torch_file import TorchFile
from uddm.importers.hub import local
from uddm.importers.layouts import FOLDER_WEIGHTS, INDEX

DIFFUSION_GEMMA = "diffusion_gemma"
MASKS = ("[MASK]", "<mask>")
FOREIGN = {  # what a configuration may ask for beside the network: code, or another way to compute
    *("auto_map", "attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation"),
    *("fusion_config", "kernel_config", "transformers_weights", "name_or_path", "_name_or_path"),
}


def is_transformers(path: str | Path) -> bool:
    """Whether `path` is a folder whose `config.json` describes a model that `import_transformers` reads: one whose
    `model_type` the library itself has, as a masked language model or DiffusionGemma."""
    config = Path(path) / "config.json"
    if not config.is_file():
        return False
    settings = read_json(config)
    kind = settings.get("model_type")
    if not isinstance(kind, str) or "auto_map" in settings:
        return False
    if find_spec("transformers") is None:  # then `import_transformers` says what to install
        return kind == DIFFUSION_GEMMA or "MaskedLM" in str(settings.get("architectures"))
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return kind == DIFFUSION_GEMMA or kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def import_transformers(
    source: str | Path, *, tokenizer: str | Path | None = None, dtype: WeightType = "stored", **options: Any
) -> MaskedLanguageModel | DiffusionGemma:
    """A model of the `transformers` library as a denoiser in evaluation mode, on the CPU.

    The mask, and what stands before and after a text, are what the tokenizer says, or else `config.json`. The model's
    `origin` says where its weights are from, what was put around a text, and which tensors were not used, such as other
    heads.

    Parameters
    ----------
    source : a folder with `config.json` and `model.safetensors`, or its shards, or `pytorch_model.bin`, whose pickle is
        read and not run; or one on the hub, "owner/name" or "hf://owner/name[@revision][/path/inside]"
    tokenizer : a `tokenizer.json` of the `tokenizers` library, BERT's `vocab.txt`, or a folder with one of them; by
        default what is in the folder
    dtype : "stored", the default: the network has the type of most of its numbers, computes in it, and its last layer
        in float32; or "float32"
    **options : of `MaskedLanguageModel`, `mask`, `before`, `after`, `never` and `length`; of `DiffusionGemma`,
        `prompt`, `self_conditioning`, `predicts` and `length`

    Returns
    -------
    MaskedLanguageModel or DiffusionGemma

    Raises
    ------
    ImportError : the library is not installed
    FileNotFoundError : no such folder, or no weights in it
    ValueError : another kind of model; a damaged file; tensors that are missing, not finite or of the wrong shape,
        named; quantized weights; a mask that nothing names
    """
    check_choice("dtype", dtype, WEIGHT_TYPES)
    folder, revision = local(source)
    if find_spec("transformers") is None:
        raise ImportError(f"{source} is a model of the `transformers` library: pip install 'amtheory[transformers]'")
    if not is_transformers(folder):
        raise ValueError(f"{source} is no folder of a masked language model of `transformers`, or of DiffusionGemma")
    settings = read_json(folder / "config.json")
    gemma = settings["model_type"] == DIFFUSION_GEMMA
    files, weights = _weights(folder, dtype)
    model, unused = _built(folder, settings, weights)
    origin = {
        "source": str(source),
        "revision": revision,
        "file": files[0].name,
        "sha256": _sha256(files),
        "weights": "as published",
        "distilled": False,
        "algorithm": type(model).__name__,
        "unused": unused,
    }
    if gemma:
        return DiffusionGemma(model, **options, origin=origin)
    named = _named_ids(folder if tokenizer is None else Path(tokenizer), model.config)
    options = named | options
    if options.get("mask") is None:
        raise ValueError(f"nothing in {source} says which id is the mask: pass `mask`, or the tokenizer")
    return MaskedLanguageModel(model, **options, origin=origin | {name: list(options[name]) for name in _AROUND})


_AROUND = ("before", "after")


def _weights(folder: Path, dtype: WeightType) -> tuple[list[Path], dict[str, Tensor]]:
    """The files that hold the tensors of floating-point numbers, and these, each in memory once."""
    for name in FOLDER_WEIGHTS:
        index = folder / f"{name}{INDEX}"
        if (folder / name).exists():
            files = [folder / name]
        elif index.exists():
            shards = read_json(index).get("weight_map")
            names = {*shards.values()} if isinstance(shards, dict) else set()
            if not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
                raise UnreadableFile(f"{index} has no weight_map that names files beside it")
            files = [folder / n for n in sorted(names)]
        else:
            continue
        weights: dict[str, Tensor] = {}
        for file in files:
            weights |= read_tensors(file, dtype) if file.suffix == ".safetensors" else _of_torch_save(file, dtype)
        weights = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
        check_finite(weights, files[0])
        return files, weights
    raise FileNotFoundError(f"{folder} holds neither {' nor '.join(FOLDER_WEIGHTS)}")


def _of_torch_save(path: Path, dtype: WeightType) -> dict[str, Tensor]:
    file = TorchFile(path)
    if not isinstance(file.root, dict):
        raise UnreadableFile(f"{path} holds no state_dict")
    stored = {name: file.tensor(value) for name, value in file.root.items()}
    return {str(name): file.load(tensor, dtype) for name, tensor in stored.items() if tensor is not None}


def _built(folder: Path, settings: dict[str, Any], weights: dict[str, Tensor]) -> tuple[Any, list[str]]:
    """The model in evaluation mode, and the names of the tensors that it does not use."""
    import transformers

    path = folder / "config.json"
    if "quantization_config" in settings:
        raise UnreadableFile(f"{path} speaks of quantized weights, which are not read")
    try:
        config = transformers.AutoConfig.for_model(**_network_alone(settings))
    except Exception as error:  # of whatever kind the library's own checks are
        raise UnreadableFile(f"{path}: {' '.join(str(error).split())}") from error
    if getattr(config, "is_decoder", False):
        raise UnreadableFile(f"{path} describes a causal model (is_decoder), which sees no token that follows")
    numbers = Counter()
    for tensor in weights.values():
        numbers[tensor.dtype] += tensor.numel()
    if settings["model_type"] == DIFFUSION_GEMMA:
        kind = transformers.DiffusionGemmaForBlockDiffusion
    else:
        kind = transformers.MODEL_FOR_MASKED_LM_MAPPING[type(config)]
    try:
        with _quiet():
            model, found = kind.from_pretrained(
                None,
                config=config,
                state_dict=weights,
                dtype=numbers.most_common(1)[0][0] if numbers else torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:
        raise UnreadableFile(f"{folder}: {kind.__name__} is not made of it: {error}") from error
    for name, *shapes in sorted(found["mismatched_keys"]):
        of_file, own = map(tuple, shapes)
        raise UnreadableFile(f"{folder}: {name} has shape {of_file}, not {own}")
    if found["missing_keys"]:
        raise UnreadableFile(f"{folder} lacks {', '.join(sorted(found['missing_keys']))} of a {kind.__name__}")
    return model.eval(), sorted(found["unexpected_keys"])


def _network_alone(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _network_alone(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if name not in FOREIGN
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's bars and reports; what they say is raised or returned here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _named_ids(tokenizer: Path, config: Any) -> dict[str, Any]:
    """The ids `mask`, `before` and `after`, as far as tokenizer or configuration name them."""
    of_config: dict[str, Any] = {"mask": _first_id(config, "mask_token_id")}
    for name, kinds in (("before", ("cls", "bos")), ("after", ("sep", "eos"))):
        found = next((i for kind in kinds if (i := _first_id(config, f"{kind}_token_id")) is not None), None)
        of_config[name] = [] if found is None else [found]
    names = [tokenizer] if tokenizer.is_file() else [tokenizer / "tokenizer.json", tokenizer / "vocab.txt"]
    path = next(filter(Path.is_file, names), None)
    if path is None:
        return of_config
    if path.suffix == ".txt" or "model" not in read_json(path):
        words = read_tokenizer(path)
        mask = _mask_of(words.backend) if isinstance(words, SubwordTokenizer) else None
        around = ([] if i is None else [i] for i in (words.bos_id, words.eos_id))
        return {"mask": of_config["mask"] if mask is None else mask, **dict(zip(_AROUND, around))}
    from tokenizers import Tokenizer as Backend

    try:
        backend = Backend.from_file(str(path))
    except Exception as error:
        raise UnreadableFile(f"{path} is no file of the `tokenizers` library: {error}") from error
    encoded = backend.encode("a")
    added = list(zip(encoded.ids, encoded.special_tokens_mask))
    before, after = ([i for i, _ in takewhile(lambda token: token[1], tokens)] for tokens in (added, reversed(added)))
    mask = _mask_of(backend)
    return {"mask": of_config["mask"] if mask is None else mask, "before": before, "after": after[::-1]}


def _mask_of(backend: Any) -> int | None:
    return next((i for word in MASKS if (i := backend.token_to_id(word)) is not None), None)


def _first_id(config: Any, name: str) -> int | None:
    value = getattr(config, name, None)
    return value[0] if isinstance(value, list) and value else value


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
