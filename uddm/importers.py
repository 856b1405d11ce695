"""Published checkpoints of the transformer, read safely and turned into our own folders.

Three layouts hold the same parameters under the same names:

- Lightning files `.ckpt` (`lemoncmd/lldms-associative-memory`, and whatever github.com/s-sahoo/duo trains): the weights
  `state_dict`, their average `ema.shadow_params` without names, the configuration as a pickled OmegaConf object, and
  optimizer states. They are read by `uddm._lightning`, which runs nothing and needs neither Lightning nor OmegaConf.
- Hub folders `config.json` + `model.safetensors` (`kuleshov-group/udlm-lm1b`, `s-sahoo/duo`), or `pytorch_model.bin`;
  also in shards, with an index of them.
- A bare file of weights, safetensors or `torch.save`, or the index of shards.

Which of them a file is, its first bytes tell, whatever it is called.
What the configuration says is compared with the shapes of the tensors; what it does not say is taken from them, and
what neither says is asked for.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from uddm._lightning import Record, StoredTensor, TorchFile, plain
from uddm._validation import check_choice
from uddm.checkpoints import check_finite, check_tensors
from uddm.denoisers.transformer import DiT, DiTConfig, _Rotary
from uddm.files import as_path, instead, read_json, sync_folder, to_json, write_atomically

if TYPE_CHECKING:
    from uddm.corpora import Tokenizer

WEIGHTS = ("ema", "raw")
PREFIX = "backbone."
WRAPPERS = ("_orig_mod", "module")  # of torch.compile and DistributedDataParallel: parts of names that mean nothing
ROTARY = "rotary_emb.inv_freq"
FOLDER_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"  # of shards: `model.safetensors.index.json` in place of `model.safetensors`
FILES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")
DTYPES = {"F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16}
TOKENIZERS = {30522: "bert-base-uncased", 50258: "gpt2"}
OTHER_MODELS = ("ar", "bd3lm", "d3pm", "mdlm", "sedd")
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
    "diffusion": ("diffusion",),
    "causal": ("algo.causal_attention", "causal"),
    "time_conditioning": ("algo.time_conditioning", "time_conditioning"),
    "tokenizer": ("data.tokenizer_name_or_path",),
    "data": ("data.train",),
    "wrap": ("data.wrap",),
    "seed": ("seed",),
}
SHAPE = ("vocab_size", "length", "hidden_dim", "blocks", "heads", "cond_dim")


@dataclass(frozen=True)
class Report:
    """What was found in a published checkpoint. Prints as a table.

    Attributes
    ----------
    source, revision : as asked for; the commit, if it came from the hub.
    format : "Lightning checkpoint", "hub folder" or "bare weights".
    file, size, sha256 : name, bytes and checksum of the file with the weights, or of all shards one after the other
        and the name of their index; the checksum only by `convert`.
    step, epoch : of the training, where recorded.
    weights : "ema", "raw", or "as published" where a file holds one set.
    decay, updates : of the average.
    dtype : what the weights are stored in; they are read as float32.
    parameters : their number.
    config : of the `DiT`; None for what is neither recorded nor given.
    training : algorithm, data, tokenizer and seed, as far as recorded.
    settings : the whole recorded configuration.
    skipped : bytes that were not read, by top-level key.
    notes : what was assumed.
    """

    source: str
    revision: str | None
    format: str
    file: str
    size: int
    sha256: str | None
    step: int | None
    epoch: int | None
    weights: str
    decay: float | None
    updates: int | None
    dtype: str
    parameters: int
    config: dict[str, Any]
    training: dict[str, Any]
    settings: dict[str, Any] = field(repr=False)
    skipped: dict[str, int]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        c = {name: "?" if value is None else value for name, value in self.config.items()}
        average = ""
        if self.weights == "ema":
            average = f", decay {_or_unknown(self.decay)}, {_or_unknown(self.updates)} updates"
        rows = {
            "format": f"{self.format}, {_megabytes(self.size)}",
            "sha256": self.sha256,
            "trained": self.step is not None and f"{self.step:,} steps, epoch {_or_unknown(self.epoch)}",
            "with": ", ".join(f"{name} {value}" for name, value in self.training.items()),
            "weights": f"{self.weights}{average}, {self.parameters:,} numbers of {self.dtype}",
            "model": f"DiT, K = {c['vocab_size']}, L = {c['length']}, d = {c['hidden_dim']}, {c['blocks']} blocks, "
            f"{c['heads']} heads, cond {c['cond_dim']}, dropout {c['dropout']}, {c['schedule']} schedule",
            "skipped": ", ".join(f"{name} {_megabytes(size)}" for name, size in self.skipped.items()),
            **{f"note {n}": note for n, note in enumerate(self.notes, 1)},
        }
        revision = f" at {self.revision}" if self.revision else ""
        return "\n".join([f"{self.source}{revision}", *(f"  {name:9}{row}" for name, row in rows.items() if row)])


def import_published(
    source: str | Path,
    *,
    weights: Literal["ema", "raw"] = "ema",
    heads: int | None = None,
    length: int | None = None,
    schedule: str | None = None,
    dropout: float | None = None,
) -> DiT:
    """A published checkpoint as a `DiT` in evaluation mode, float32, on the CPU.

    No code of the file is run, and only the tensors that are needed are read. Of files of `torch.save` the checksums
    are verified; safetensors files carry none.

    Parameters
    ----------
    source : a `.ckpt`, `.bin` or `.safetensors` file, a folder with `config.json` and weights, or one on the hub:
        "owner/name", or "hf://owner/name[@revision][/path/inside]" for a folder or a file inside. Names of tensors may
        have the prefixes of `torch.compile` and `DistributedDataParallel`.
    weights : of a Lightning file, the exponential moving average or the weights themselves.
    heads, length, schedule, dropout : in place of what the file says, or where it says nothing.

    Raises
    ------
    FileNotFoundError : there is no such file, folder or hub repository, or no network.
    ValueError : a damaged file, one that is something else, one of another kind of model, tensors that are missing,
        unexpected, not finite or of the wrong shape, a configuration that contradicts them, or one that does not say
        what no tensor does; the message names the file and the key.
    """
    found, report = _examine(source, weights, heads=heads, length=length, schedule=schedule, dropout=dropout)
    return _build(found, report)


def inspect_published(
    source: str | Path,
    *,
    weights: Literal["ema", "raw"] = "ema",
    heads: int | None = None,
    length: int | None = None,
    schedule: str | None = None,
    dropout: float | None = None,
) -> Report:
    """What `import_published` would import, with the same checks, but for the checksums of weights that are not read.

    Entries of `config` that neither the file nor the caller gives are None.
    """
    return _examine(source, weights, heads=heads, length=length, schedule=schedule, dropout=dropout)[1]


def convert(
    source: str | Path,
    folder: str | Path,
    *,
    weights: Literal["ema", "raw"] = "ema",
    heads: int | None = None,
    length: int | None = None,
    schedule: str | None = None,
    dropout: float | None = None,
    tokenizer: Tokenizer | str | Path | None = None,
) -> Report:
    """Write a published checkpoint as a folder that `DiT.from_pretrained` reads, with the report in `import.json`.

    A new folder appears whole or not at all; in one that is there, `config.json` appears last.

    Parameters
    ----------
    folder : a new or empty folder.
    tokenizer : saved along: a `Tokenizer`, or a file or folder that `uddm.corpora.tokenizers.read_tokenizer` reads,
        where the separator of BERT is then [CLS], with which these models were trained.

    The other parameters, and errors, are those of `import_published`. FileExistsError if `folder` has content.
    """
    folder = as_path("folder", folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists already; choose a new folder")
    found, report = _examine(source, weights, heads=heads, length=length, schedule=schedule, dropout=dropout)
    saved = _tokenizer(tokenizer, report.config["vocab_size"])
    model = _build(found, report)
    report = replace(report, sha256=_sha256(found.files))
    record = to_json(asdict(report))
    there = folder.exists()
    unfinished = (folder if there else folder.parent) / f".import.{secrets.token_hex(4)}"
    try:
        model.save_pretrained(unfinished, saved)
        if there:
            _fill(folder, unfinished, record)
        else:
            write_atomically(unfinished / "import.json", record)
            unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return report


def _fill(folder: Path, model: Path, record: bytes) -> None:
    """Move a model and its record into an empty folder, which may be a mount or a link that nothing can replace."""
    files = sorted(model.iterdir(), key=lambda file: file.name == "config.json")
    write_atomically(folder / "import.json", record, exclusive=True)  # of two imports at once, one goes on
    try:
        for file in files:
            file.replace(folder / file.name)
    except BaseException:
        for name in ("import.json", *(file.name for file in files)):
            (folder / name).unlink(missing_ok=True)
        raise
    sync_folder(folder)


def _sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


@dataclass
class _Found:
    """A checkpoint before its weights are read: where the tensors are, and what is said about them."""

    path: Path
    format: str
    tensors: dict[str, StoredTensor]
    read: Callable[[StoredTensor], Tensor]
    shards: list[Path] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    average: list[StoredTensor] | None = None
    storages: dict[str, dict[str, int]] = field(default_factory=dict)
    chosen: dict[str, StoredTensor] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        return self.shards or [self.path]


def _examine(source: str | Path, weights: str, **given: Any) -> tuple[_Found, Report]:
    check_choice("weights", weights, WEIGHTS)
    path, revision = _local(source)
    found = _open(path)
    path = found.path
    said = {name: value for name, places in SETTINGS.items() if (value := _at(found.settings, places)) is not None}
    _refuse_other_models(path, said)
    notes: list[str] = []
    config = _configuration(path, found.tensors, said, given, notes)
    order = _check_names_and_shapes(found, config)
    if found.format != "Lightning checkpoint":
        if weights == "raw":
            raise ValueError(f"`weights` must be left out for {path}, which holds one set of weights, as published")
        weights = "as published"
    found.chosen = found.tensors | (_named_average(found, order) if weights == "ema" else {})
    parameters = {name: stored for name, stored in found.chosen.items() if name != ROTARY}
    numbers = {name: math.prod(stored.shape) for name, stored in parameters.items()}
    size = sum(file.stat().st_size for file in found.files)
    if sum(n * parameters[name].dtype.itemsize for name, n in numbers.items()) > size:
        raise ValueError(f"{path}: tensors share their numbers, and would take more memory than the file has")
    training = {name: said[name] for name in ("algorithm", "data", "tokenizer", "wrap", "seed") if name in said}
    if "tokenizer" not in training and config["vocab_size"] in TOKENIZERS:
        training["tokenizer"] = TOKENIZERS[config["vocab_size"]]
        notes.append("the tokenizer is inferred from K")
    averaged = weights == "ema"
    report = Report(
        source=str(source),
        revision=revision,
        format=found.format,
        file=path.name,
        size=size,
        sha256=None,
        step=_number(found.facts.get("step")),
        epoch=_number(found.facts.get("epoch")),
        weights=weights,
        decay=_number(found.facts.get("decay")) if averaged else None,
        updates=_number(found.facts.get("updates")) if averaged else None,
        dtype=", ".join(sorted({str(s.dtype).removeprefix("torch.") for s in parameters.values()})),
        parameters=sum(numbers.values()),
        config=config,
        training=training,
        settings=found.settings,
        skipped=_skipped(found),
        notes=tuple(notes),
    )
    return found, report


def _build(found: _Found, report: Report) -> DiT:
    for name in ("heads", "length"):
        if report.config[name] is None:
            raise ValueError(f"{found.path} does not say `{name}`: pass it")
    config = DiTConfig(**report.config)
    with torch.device("meta"):
        model = DiT(config)
    state = {name: found.read(stored) for name, stored in found.chosen.items() if name != ROTARY}
    check_finite(state, found.path)
    state[ROTARY] = _Rotary(config.hidden_dim // config.heads).inv_freq
    if ROTARY in found.tensors:
        stored = found.tensors[ROTARY]
        if not torch.allclose(found.read(stored), state[ROTARY], rtol=4 * torch.finfo(stored.dtype).eps, atol=0):
            raise ValueError(f"{found.path}: {ROTARY} is not that of rotary embeddings of base 10000")
    model.load_state_dict(state, assign=True)
    return model.eval()


def _local(source: str | Path) -> tuple[Path, str | None]:
    """The file or folder, downloaded if need be, and its commit on the hub."""
    text = str(source)
    path = as_path("source", source)
    if not text.startswith("hf://") and path.exists():
        return path, None
    parts = re.fullmatch(r"(hf://)?([\w.-]+/[\w.-]+)(?:@([^/]+))?(?:/(.+))?", text)
    hub, repository, revision, inside = parts.groups() if parts else (None,) * 4
    if repository is None or not (hub or (inside is None and not text.startswith(".") and not path.parent.exists())):
        raise FileNotFoundError(
            f"no checkpoint {text!r} (on the hub: owner/name, or hf://owner/name[@revision][/path/inside])"
        )
    path = _download(text, repository, revision and unquote(revision), (inside or "").rstrip("/"))
    commits = re.findall(r"/snapshots/([^/]+)", path.as_posix())
    return path, commits[-1] if commits else None


def _download(source: str, repository: str, revision: str | None, inside: str) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        if inside.endswith(FILES):
            return Path(hf_hub_download(repository, inside, revision=revision))
        for weights in FOLDER_WEIGHTS:
            names = ("config.json", weights, weights + INDEX, "-*.".join(weights.split(".")))
            files = [f"{inside}/{name}".lstrip("/") for name in names]
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=files)) / inside
            if any((folder / name).exists() for name in (weights, weights + INDEX)):
                return folder
    except (OSError, EntryNotFoundError, HFValidationError) as error:
        raise FileNotFoundError(
            f"cannot fetch {source!r}: {error}. Without a network, pass the path of a downloaded copy"
        ) from error
    raise FileNotFoundError(
        f"{source!r} holds neither {' nor '.join(FOLDER_WEIGHTS)}; name a file in it, as hf://owner/name/path/file.ckpt"
    )


def _open(path: Path) -> _Found:
    if not path.is_dir():
        return _read(path)
    for name in (name for weights in FOLDER_WEIGHTS for name in (weights, weights + INDEX)):
        if (path / name).exists():
            settings = read_json(path / "config.json")
            if settings.get("model") == "DiT" and "format" in settings:
                raise ValueError(f"{path} is a folder of ours: DiT.from_pretrained reads it")
            found = _read(path / name)
            found.format, found.settings = "hub folder", settings
            return found
    raise FileNotFoundError(f"{path} holds neither {' nor '.join(FOLDER_WEIGHTS)}")


def _read(path: Path) -> _Found:
    """Weights in a file of any of the three kinds."""
    if path.name.endswith(INDEX):
        return _read_shards(path)
    with path.open("rb") as file:
        start = file.read(512)
    if start[7:9] == b"\0{":  # eight bytes of the length of a header in JSON
        return _read_safetensors(path)
    if what := instead(start):
        raise ValueError(f"{path} is no file of weights{what}")
    return _read_safetensors(path) if path.suffix == ".safetensors" and start[:2] != b"PK" else _read_torch(path)


def _read_shards(path: Path) -> _Found:
    """The files that an index names, as one."""
    names = list(_mapping(read_json(path).get("weight_map")).values())
    if not names or not all(isinstance(n, str) and re.fullmatch(r"[^/\\]+\.(safetensors|bin)", n) for n in names):
        raise ValueError(f"{path} has no weight_map that names files beside it")
    shards = {}
    for name in sorted(set(names)):
        if not path.with_name(name).exists():
            raise FileNotFoundError(f"{path} names {name}, which is not beside it")
        shards[name] = _read(path.with_name(name))
    tensors = {}
    for file, shard in shards.items():
        for name, stored in shard.tensors.items():
            if name in tensors:
                raise ValueError(f"{path.with_name(file)}: {name} is in another shard, too")
            tensors[name] = replace(stored, key=f"{file}/{stored.key}")

    def read(stored: StoredTensor) -> Tensor:
        file, key = stored.key.split("/", 1)
        return shards[file].read(replace(stored, key=key))

    return _Found(path, "bare weights", tensors, read, shards=[path.with_name(file) for file in shards])


def _read_safetensors(path: Path) -> _Found:
    def read(stored: StoredTensor) -> Tensor:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(stored.key).to(torch.float32, copy=True)

    tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            for key in names:
                part = file.get_slice(key)
                if part.get_dtype() not in DTYPES:
                    raise ValueError(f"{path}: {key} is {part.get_dtype()}, not a floating-point tensor")
                tensors[key] = StoredTensor(key, tuple(part.get_shape()), DTYPES[part.get_dtype()])
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    return _Found(path, "bare weights", _own_names(path, tensors), read)


def _read_torch(path: Path) -> _Found:
    file = TorchFile(path)
    root = file.root

    def tensor(name: str, value: Any) -> StoredTensor:
        stored = file.tensor(value)
        if stored is None:
            raise ValueError(f"{path}: {name} is not a floating-point tensor")
        return stored

    lightning = isinstance(root, dict) and "state_dict" in root
    state = root["state_dict"] if lightning else root
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"{path} holds no state_dict")
    tensors = _own_names(path, {name: tensor(name, value) for name, value in state.items()})
    if not lightning:
        return _Found(path, "bare weights", tensors, file.load)
    ema = _mapping(root.get("ema"))
    shadow, seen = ema.get("shadow_params"), set()
    return _Found(
        path,
        "Lightning checkpoint",
        tensors,
        file.load,
        settings=_hyper_parameters(root.get("hyper_parameters")),
        facts={"step": root.get("global_step"), "epoch": root.get("epoch")}
        | {"decay": ema.get("decay"), "updates": ema.get("num_updates")},
        average=[tensor(f"ema.shadow_params[{n}]", value) for n, value in enumerate(shadow)]
        if isinstance(shadow, list)
        else None,
        storages={str(name): file.storages(value, seen) for name, value in root.items()},
    )


def _hyper_parameters(hyper: Any) -> dict[str, Any]:
    """`hyper_parameters.config`, or `hyper_parameters` itself where it has no such entry; nothing if unreadable."""
    try:
        return _mapping(plain(_mapping(hyper).get("config", hyper)))
    except ValueError:
        return {}


def _mapping(value: Any) -> dict[Any, Any]:
    """The entries of a dict, of an object that is one, or none."""
    value = value.entries if isinstance(value, Record) else value
    return value if isinstance(value, dict) else {}


def _own_names(path: Path, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Without wrappers, and without the prefix, which all have or none."""
    names = {name: ".".join(part for part in name.split(".") if part not in WRAPPERS) for name in tensors}
    others = [name for name, own in names.items() if not own.startswith(PREFIX)]
    if 0 < len(others) < len(names):
        raise ValueError(f"{path} has unexpected {', '.join(sorted(others))}")
    own_names = {names[name].removeprefix(PREFIX): stored for name, stored in tensors.items()}
    if len(own_names) < len(names):
        raise ValueError(f"{path} has tensors whose names differ by {' or '.join(WRAPPERS)} only")
    return own_names


def _named_average(found: _Found, order: list[str]) -> dict[str, StoredTensor]:
    """The moving average by name: it is a list in the order in which the network registers its parameters."""
    if found.average is None:
        raise ValueError(f"{found.path} holds no ema.shadow_params: pass weights='raw' for the weights themselves")
    if list(found.tensors) != order:
        raise ValueError(f"{found.path}: state_dict is out of order, so that ema.shadow_params cannot be named")
    names = [name for name in order if name != ROTARY]
    if len(found.average) != len(names):
        raise ValueError(
            f"{found.path}: ema.shadow_params has {len(found.average)} tensors, state_dict {len(names)} parameters"
        )
    for n, (name, stored) in enumerate(zip(names, found.average)):
        if stored.shape != found.tensors[name].shape:
            want = found.tensors[name].shape
            raise ValueError(f"{found.path}: ema.shadow_params[{n}] has shape {stored.shape}, but {name} has {want}")
    return dict(zip(names, found.average))


def _skipped(found: _Found) -> dict[str, int]:
    used = {stored.key for stored in found.chosen.values()}
    skipped = {}
    for name, storages in found.storages.items():
        skipped[name] = sum(size for key, size in storages.items() if key not in used)
        used |= storages.keys()
    return {name: size for name, size in skipped.items() if size}


def _at(settings: Mapping[str, Any], places: Iterable[str]) -> Any:
    """The scalar at the first of these dotted places that has one; not an interpolation or a missing value."""
    for place in places:
        value: Any = settings
        for key in place.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, bool | int | float) or (isinstance(value, str) and not re.match(r"\$\{|\?\?\?$", value)):
            return value
    return None


def _refuse_other_models(path: Path, said: Mapping[str, Any]) -> None:
    """Models of masked tokens and autoregressive ones share names and shapes, but mean something else."""
    problems = {
        f"algorithm {said.get('algorithm')!r}": re.split("[-_]", str(said.get("algorithm")).lower())[0] in OTHER_MODELS,
        "diffusion = absorbing_state": said.get("diffusion") == "absorbing_state",
        "causal attention": said.get("causal") is True,
        "no conditioning on the noise level": said.get("time_conditioning") is False,
        f"parameterization {said.get('parameterization')!r}": said.get("parameterization", "mean")
        not in ("mean", "d3pm"),
    }
    for problem, present in problems.items():
        if present:
            raise ValueError(f"{path} is not of a uniform-state diffusion model: {problem}")


def _configuration(
    path: Path, tensors: Mapping[str, StoredTensor], said: Mapping[str, Any], given: Mapping[str, Any], notes: list[str]
) -> dict[str, Any]:
    """Arguments of `DiTConfig`, None for those that nothing tells."""
    seen = _shape(path, tensors)
    if not said:
        notes.append("there is no readable configuration: a uniform-state diffusion model is assumed")
    for name, value in seen.items():
        if given.get(name) not in (None, value):
            raise ValueError(f"`{name}` must be {value}, as in the tensors of {path}, got {given[name]!r}")
        if said.get(name, value) != value:
            raise ValueError(f"{path}: the configuration says {name} = {said[name]!r}, the tensors say {value}")
    config = {name: said.get(name) for name in SHAPE} | seen
    config["schedule"] = given.get("schedule") or _schedule(path, said, notes)
    config["dropout"] = said.get("dropout", DiTConfig.dropout)
    if "dropout" not in said and given.get("dropout") is None:
        notes.append(f"dropout is not recorded: {DiTConfig.dropout}")
    if "heads" not in said and "heads" in seen:
        notes.append(f"heads are inferred from {ROTARY}")
    return config | {name: value for name, value in given.items() if value is not None}


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


def _check_names_and_shapes(found: _Found, config: Mapping[str, Any]) -> list[str]:
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


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _or_unknown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _tokenizer(tokenizer: Tokenizer | str | Path | None, vocab_size: int) -> Tokenizer | None:
    from uddm.corpora.tokenizers import read_tokenizer

    if isinstance(tokenizer, str | Path):
        tokenizer = read_tokenizer(tokenizer, bert_separator="[CLS]")
    if tokenizer is not None and tokenizer.vocab_size != vocab_size:
        raise ValueError(f"`tokenizer` must have the {vocab_size} tokens of the model, got {tokenizer.vocab_size}")
    return tokenizer
