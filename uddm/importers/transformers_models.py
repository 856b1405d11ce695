"""Folders of the `transformers` library as denoisers: any masked language model, and DiffusionGemma.

The library builds the network from `config.json`; weights and tokenizers are read here. Nothing that comes with a
folder is run: no code of its own (`auto_map`), no pickle, no kernels, quantizers or adapters that it may name.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from uddm._validation import check_choice
from uddm.checkpoints import check_finite, read_tensors
from uddm.choices import WEIGHT_TYPES, WeightType
from uddm.corpora.subwords import SubwordTokenizer
from uddm.corpora.tokenizer_files import read_tokenizer
from uddm.denoisers.pretrained import DiffusionGemma, MaskedLanguageModel
from uddm.files import UnreadableFile, as_path, read_json
from uddm.importers._torch_file import StoredTensor, TorchFile
from uddm.importers.hub import local
from uddm.importers.layouts import DTYPES, FOLDER_WEIGHTS, INDEX

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
    folder, revision, settings = _found(source)
    gemma = settings["model_type"] == DIFFUSION_GEMMA
    files = _files(folder)
    model, unused = _built(folder, settings, _weights(files, dtype))
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
    named = _named_ids(folder if tokenizer is None else as_path("tokenizer", tokenizer), model.config)
    options = named | options
    if options.get("mask") is None:
        raise ValueError(f"nothing in {source} says which id is the mask: pass `mask`, or the `tokenizer`")
    return MaskedLanguageModel(model, **options, origin=origin | {name: list(options[name]) for name in _AROUND})


_AROUND = ("before", "after")


@dataclass(frozen=True)
class TransformersReport:
    """What a folder of the library holds, as far as that is known without its weights. Prints as a table.

    Attributes
    ----------
    source, revision : as asked for; the commit, if it came from the hub
    model : the library's class for it
    size, parameters, dtype : bytes of the files, their numbers, and the types of these
    vocab_size : K
    ids : `mask`, `before` and `after`, as far as tokenizer or configuration name them; none of DiffusionGemma
    missing, unused : names of tensors that the class has and the files lack, and the other way round; None where the
        library makes its own tensors of the stored ones
    """

    source: str
    revision: str | None
    model: str
    size: int
    parameters: int
    dtype: str
    vocab_size: int
    ids: dict[str, Any]
    missing: tuple[str, ...] | None
    unused: tuple[str, ...] | None

    def __str__(self) -> str:
        named = {"missing": self.missing, "unused": self.unused}
        rows = {
            "model": f"{self.model} of the `transformers` library, K = {self.vocab_size}",
            "weights": f"{self.parameters:,} numbers of {self.dtype}, {self.size / 1e6:,.1f} MB",
            **{name: f"{'not known' if value is None else value}" for name, value in self.ids.items()},
            **{name: "not known before it is loaded" if v is None else ", ".join(v) for name, v in named.items()},
        }
        revision = f" at {self.revision}" if self.revision else ""
        return "\n".join([f"{self.source}{revision}", *(f"  {name:9}{row}" for name, row in rows.items() if row)])


def inspect_transformers(source: str | Path, *, tokenizer: str | Path | None = None) -> TransformersReport:
    """What `import_transformers` would read, without its weights.

    Parameters
    ----------
    source, tokenizer : as for `import_transformers`

    Raises
    ------
    ImportError, FileNotFoundError, ValueError : as `import_transformers`, but for what only the weights tell
    """
    folder, revision, settings = _found(source)
    from transformers.conversion_mapping import get_model_conversion_mapping

    kind, config = _kind(folder, settings)
    with torch.device("meta"), _quiet():
        model = kind(config)
    files = _files(folder)
    stored = {name: tensor for file in files for name, tensor in _headers(file).items()}
    own, tied = model.state_dict().keys(), getattr(model, "all_tied_weights_keys", {}).keys()
    missing = unused = None
    if not get_model_conversion_mapping(model, add_legacy=False):
        missing, unused = tuple(sorted(own - tied - stored.keys())), tuple(sorted(stored.keys() - own))
    gemma = settings["model_type"] == DIFFUSION_GEMMA
    return TransformersReport(
        source=str(source),
        revision=revision,
        model=kind.__name__,
        size=sum(file.stat().st_size for file in files),
        parameters=sum(math.prod(shape) for shape, _ in stored.values()),
        dtype=", ".join(sorted({str(dtype).removeprefix("torch.") for _, dtype in stored.values()})),
        vocab_size=int(config.get_text_config().vocab_size),
        ids={} if gemma else _named_ids(folder if tokenizer is None else as_path("tokenizer", tokenizer), config),
        missing=missing,
        unused=unused,
    )


def _found(source: str | Path) -> tuple[Path, str | None, dict[str, Any]]:
    """The folder, its commit on the hub and its configuration; an error if it is none of the library's models."""
    folder, revision = local(source)
    if find_spec("transformers") is None:
        raise ImportError(f"{source} is a model of the `transformers` library: pip install 'amtheory[transformers]'")
    if not is_transformers(folder):
        raise UnreadableFile(
            f"{source} is no folder of a masked language model of `transformers`, or of DiffusionGemma"
        )
    return folder, revision, read_json(folder / "config.json")


def _headers(path: Path) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shapes and types of the tensors of floating-point numbers in a file."""
    if path.suffix != ".safetensors":
        return {name: (stored.shape, stored.dtype) for name, stored in _of_torch_save(TorchFile(path)).items()}
    try:
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            types = {name: DTYPES.get(part.get_dtype()) for name, part in parts.items()}
            return {name: (tuple(parts[name].get_shape()), kind) for name, kind in types.items() if kind is not None}
    except SafetensorError as error:
        raise UnreadableFile(f"{path} is not a readable safetensors file: {error}") from error


def _files(folder: Path) -> list[Path]:
    """The files that hold the weights."""
    for name in FOLDER_WEIGHTS:
        index = folder / f"{name}{INDEX}"
        if (folder / name).exists():
            return [folder / name]
        if index.exists():
            shards = read_json(index).get("weight_map")
            names = {*shards.values()} if isinstance(shards, dict) else set()
            if not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
                raise UnreadableFile(f"{index} has no weight_map that names files beside it")
            return [folder / n for n in sorted(names)]
    raise FileNotFoundError(f"{folder} holds neither {' nor '.join(FOLDER_WEIGHTS)}")


def _weights(files: list[Path], dtype: WeightType) -> dict[str, Tensor]:
    """Their tensors of floating-point numbers, each in memory once."""
    weights: dict[str, Tensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            weights |= read_tensors(file, dtype)
        else:
            saved = TorchFile(file)
            weights |= {name: saved.load(stored, dtype) for name, stored in _of_torch_save(saved).items()}
    weights = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
    check_finite(weights, files[0])
    return weights


def _of_torch_save(file: TorchFile) -> dict[str, StoredTensor]:
    if not isinstance(file.root, dict):
        raise UnreadableFile(f"{file.path} holds no state_dict")
    found = {str(name): file.tensor(value) for name, value in file.root.items()}
    return {name: stored for name, stored in found.items() if stored is not None}


def _built(folder: Path, settings: dict[str, Any], weights: dict[str, Tensor]) -> tuple[Any, list[str]]:
    """The model in evaluation mode, and the names of the tensors that it does not use."""
    kind, config = _kind(folder, settings)
    numbers = Counter()
    for tensor in weights.values():
        numbers[tensor.dtype] += tensor.numel()
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


def _kind(folder: Path, settings: dict[str, Any]) -> tuple[Any, Any]:
    """The library's class for the model, and its configuration."""
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
    if settings["model_type"] == DIFFUSION_GEMMA:
        return transformers.DiffusionGemmaForBlockDiffusion, config
    return transformers.MODEL_FOR_MASKED_LM_MAPPING[type(config)], config


def _network_alone(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _network_alone(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if name not in FOREIGN
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's bars and reports; what they say is raised or returned here."""
    from transformers.utils import logging as of_library

    level, bars = of_library.get_verbosity(), of_library.is_progress_bar_enabled()
    of_library.set_verbosity(logging.CRITICAL)
    of_library.disable_progress_bar()
    try:
        yield
    finally:
        of_library.set_verbosity(level)
        if bars:
            of_library.enable_progress_bar()


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
    value: Any = getattr(config, name, None)
    return next(iter(value), None) if isinstance(value, list) else value


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
