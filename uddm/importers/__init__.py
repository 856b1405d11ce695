"""Published checkpoints, read safely and turned into our own folders.

Diffusion transformers (`DiT`) and transformers of Llama's kind (`Llama`; which, and under what names, stands in
`uddm.importers.llama`) come in three layouts:

- Lightning files `.ckpt` (`lemoncmd/lldms-associative-memory`, and what github.com/s-sahoo/duo, MzeroMiko/XDLM (its
  `udlm`) and samsongourevitch/rev_udm (its `udlm`) train): the weights
  `state_dict`, their average `ema.shadow_params` without names, the configuration as a pickled OmegaConf object, and
  optimizer states. Nothing of them is run, and neither Lightning nor OmegaConf is needed.
- Hub folders `config.json` + `model.safetensors` (`kuleshov-group/udlm-lm1b`, `s-sahoo/duo`; masked,
  `kuleshov-group/mdlm-owt`; hybrid, `dvruette/gidd-small-p_unif-0.1` and the like, with caches of rotations), or
  `pytorch_model.bin`; also in shards, with an index of them.
- A bare file of weights, safetensors or `torch.save`, or the index of shards.

Which of them a file is, its first bytes tell, whatever it is called.
Which algorithms are known, `uddm.importers.configuration` says; others are refused by name, as their networks mean
something else. What the configuration says is compared with the shapes of the tensors; what it does not say is taken
from them, and what neither says is asked for. Each number is in memory once, in the type in which it is stored unless
float32 is asked for.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import torch

from uddm._validation import check_choice
from uddm.checkpoints import ORIGIN, check_finite, stored_checksum
from uddm.choices import WEIGHT_TYPES, WeightType
from uddm.denoisers import DiT, Llama
from uddm.denoisers.transformer import _Rotary
from uddm.files import as_path, locked, naming, sync_folder, to_json, write_atomically
from uddm.importers.configuration import (
    Given,
    arguments,
    check_names_and_shapes,
    is_distilled,
    recorded,
)
from uddm.importers.hub import local
from uddm.importers.layouts import CACHES, ROTARY, Found, named_average, open_published, skipped
from uddm.importers.llama import family_of
from uddm.importers.report import Report
from uddm.importers.transformers_models import import_transformers, inspect_transformers, is_transformers

if TYPE_CHECKING:
    from uddm.corpora import Tokenizer

__all__ = ["Report", "convert", "import_published", "import_transformers", "inspect_published", "inspect_transformers"]

WEIGHTS = ("ema", "raw")
UNFINISHED, LOCK = ".import", ".lock"
TOKENIZERS = {30522: "bert-base-uncased", 50258: "gpt2"}


def import_published(
    source: str | Path,
    *,
    weights: Literal["ema", "raw"] = "ema",
    dtype: WeightType = "float32",
    **given: Unpack[Given],
) -> DiT | Llama:
    """A published checkpoint as a network in evaluation mode on the CPU, which carries where it is from as `origin`.

    No code of the file is run, and only the tensors that are needed are read. Of files of `torch.save` the checksums
    are verified; safetensors files carry none.

    Parameters
    ----------
    source : a `.ckpt`, `.bin` or `.safetensors` file, a folder with `config.json` and weights, or one on the hub:
        "owner/name", or "hf://owner/name[@revision][/path/inside]" for a folder or a file inside. Names of tensors may
        have the prefixes of `torch.compile` and `DistributedDataParallel`.
    weights : of a Lightning file, the exponential moving average, "ema", the default, or the weights themselves, "raw"
    dtype : "float32", the default, for a network that can be trained, or "stored", for one to be asked only, whose
        half-precision weights take half the memory; the numbers that it gives are the same (`Network.from_pretrained`)
    **given : what is said in place of the file, or where it says nothing; None, the default, leaves it to the file:
        `heads`, their number, an integer >= 1; `length`, L >= 1 tokens in a sequence; `schedule` of the noise, one that
        `DiTConfig` takes; `dropout` in [0, 1); `distilled`, whether it is a student of few steps; `mask`, the id of
        the mask in [0, K); `p_unif` in [0, 1) of hybrid noise, as `uddm.HybridProcess` takes it

    Returns
    -------
    DiT or Llama in evaluation mode

    Raises
    ------
    TypeError : a keyword that is none of these
    FileNotFoundError : there is no such file, folder or hub repository, or no network
    ValueError : a damaged file, one that is something else, one of another kind of model, tensors that are missing,
        unexpected, not finite or of the wrong shape, a configuration that contradicts them, or one that does not say
        what no tensor does; the message names the file and the key
    """
    found, report = _examine(source, weights, given)
    model = _build(found, report, dtype)
    model.origin = replace(report, sha256=_sha256(found.files)).origin
    return model


def inspect_published(source: str | Path, *, weights: Literal["ema", "raw"] = "ema", **given: Unpack[Given]) -> Report:
    """What `import_published` would import, with the same checks, but for the checksums of weights that are not read.

    Parameters
    ----------
    source, weights, **given : as for `import_published`

    Returns
    -------
    Report, whose `config` has None for what neither the file nor the caller gives

    Raises
    ------
    TypeError, FileNotFoundError, ValueError : as `import_published`
    """
    return _examine(source, weights, given)[1]


def convert(
    source: str | Path,
    folder: str | Path,
    *,
    weights: Literal["ema", "raw"] = "ema",
    dtype: WeightType = "stored",
    tokenizer: Tokenizer | str | Path | None = None,
    **given: Unpack[Given],
) -> Report:
    """Write a published checkpoint as a folder that `Network.from_pretrained` reads, with the report in `import.json`.

    A new folder appears whole or not at all; in one that is there, `config.json` appears last. What an import that was
    killed has left is cleared away by the next one into the same folder.

    Parameters
    ----------
    source, weights, **given : as for `import_published`
    dtype : what the folder's weights are, "float32", or, by default, "stored": half-precision ones as they are, which
        take half the disk and lose nothing; it is on reading that `from_pretrained` makes them float32 or does not
    folder : a new or empty folder
    tokenizer : saved along: a `Tokenizer`, or a file or folder that `uddm.corpora.read_tokenizer` reads, where the
        separator of BERT is then [CLS], with which these models were trained; None, the default, for none

    Returns
    -------
    Report, with the checksum of the file

    Raises
    ------
    FileExistsError : `folder` has content, or is a file
    TypeError, FileNotFoundError, ValueError : as `import_published`; a tokenizer of another vocabulary
    """
    folder = as_path("folder", folder)
    _check_free(folder)
    found, report = _examine(source, weights, given)
    saved = _tokenizer(tokenizer, report)
    model = _build(found, report, dtype)
    report = replace(report, sha256=_sha256(found.files))
    there = folder.exists()
    unfinished = folder / UNFINISHED if there else folder.with_name(f"{UNFINISHED}.{folder.name}")
    unfinished.mkdir(parents=True, exist_ok=True)
    with locked(unfinished / LOCK, f"imports into {folder}"):
        _check_free(folder)  # another process may have filled it
        try:
            for path in (*_left(folder), *(path for path in unfinished.iterdir() if path.name != LOCK)):
                path.unlink()
            model.save_pretrained(unfinished, saved)
            checksum = stored_checksum(unfinished / "model.safetensors")
            record = to_json({**asdict(report), "origin": report.origin, "model_checksum": checksum})
            if there:
                _fill(folder, unfinished, record)
            else:
                write_atomically(unfinished / ORIGIN, record)
                (unfinished / LOCK).unlink(missing_ok=True)
                unfinished.replace(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return report


def _check_free(folder: Path) -> None:
    """FileExistsError for a file, or a folder that holds something else than what a killed import has left."""
    if folder.exists() and (not folder.is_dir() or {*folder.iterdir()} - {folder / UNFINISHED, *_left(folder)}):
        raise FileExistsError(f"{folder} exists already; choose a new folder")


def _left(folder: Path) -> list[Path]:
    """What an import into a folder had moved there when it was killed: it ends with config.json."""
    if not (folder / UNFINISHED).is_dir() or (folder / "config.json").exists():
        return []
    names = (ORIGIN, f".{ORIGIN}.*", "model.safetensors", "README.md", "tokenizer.json")
    return [path for name in names for path in folder.glob(name)]


def _fill(folder: Path, model: Path, record: bytes) -> None:
    """Move a model and its record into an empty folder, which may be a mount or a link that nothing can replace."""
    found = [file for file in model.iterdir() if file.name != LOCK]
    files = sorted(found, key=lambda file: file.name == "config.json")
    write_atomically(folder / ORIGIN, record, exclusive=True)  # of two imports at once, one goes on
    try:
        for file in files:
            file.replace(folder / file.name)
        with naming(folder):
            sync_folder(folder)
    except BaseException:
        for name in (ORIGIN, *(file.name for file in files)):
            (folder / name).unlink(missing_ok=True)
        raise


def _sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def _examine(source: str | Path, weights: str, given: Given) -> tuple[Found, Report]:
    if unknown := given.keys() - Given.__annotations__.keys():
        raise TypeError(f"unexpected keyword {min(unknown)!r}: what may be given is {', '.join(Given.__annotations__)}")
    check_choice("weights", weights, WEIGHTS)
    path, revision = local(source)
    if is_transformers(path):
        raise ValueError(
            f"{source} is a model of the `transformers` library, which is used as it is: `import_transformers` reads it"
        )
    found = open_published(path)
    path = found.path
    said = recorded(found.settings)
    notes: list[str] = []
    family = family_of(path, found.tensors, found.settings)
    if family is None:
        config = arguments(path, found.tensors, said, given, notes)
        order = check_names_and_shapes(found, DiT, config)
    else:
        config = family.arguments(found, given, notes)
        order = check_names_and_shapes(found, Llama, config, family.published)
    if found.format != "Lightning checkpoint":
        if weights == "raw":
            raise ValueError(f"`weights` must be left out for {path}, which holds one set of weights, as published")
        weights = "as published"
    found.chosen = found.tensors | (named_average(found, order) if weights == "ema" else {})
    parameters = {name: stored for name, stored in found.chosen.items() if name != ROTARY}
    numbers = {name: math.prod(stored.shape) for name, stored in parameters.items()}
    size = sum(file.stat().st_size for file in found.files)
    if sum(n * parameters[name].dtype.itemsize for name, n in numbers.items()) > size:
        raise ValueError(f"{path}: tensors share their numbers, and would take more memory than the file has")
    if family is not None:
        said = said | {"algorithm": family.name}
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
        network="DiT" if family is None else "Llama",
        config=config,
        distilled=is_distilled(str(source), said, given),
        training=training,
        settings=found.settings,
        skipped=skipped(found),
        notes=tuple(notes),
    )
    return found, report


def _build(found: Found, report: Report, dtype: WeightType) -> DiT | Llama:
    check_choice("dtype", dtype, WEIGHT_TYPES)
    if report.missing:
        raise ValueError(f"{found.path} does not say `{'`, `'.join(report.missing)}`: pass it")
    network = DiT if report.network == "DiT" else Llama
    model = network.empty(network.Config(**report.config))
    state = {name: found.read(stored, dtype) for name, stored in found.chosen.items() if name != ROTARY}
    check_finite(state, found.path)
    if isinstance(model, DiT):
        rotary = _Rotary(model.config.hidden_dim // model.config.heads)
        _check_rotary(found, rotary)
        state[ROTARY] = rotary.inv_freq
    model.load_state_dict(state, assign=True)
    return model.eval()


def _check_rotary(found: Found, own: _Rotary) -> None:
    """ValueError unless stored frequencies, or cosines and sines of them for queries and keys, are ours."""
    pairs = [(ROTARY, own.inv_freq)] if ROTARY in found.tensors else []
    for name, stored in found.caches.items():
        turned = own(stored.shape[1] if len(stored.shape) == 5 else 1)[CACHES.index(name)]
        still = torch.full_like(turned, float(name == CACHES[0]))  # of values, which are not rotated
        pairs.append((name, torch.stack([turned, turned, still], 1)[None, :, :, None]))
    for name, ours in pairs:
        stored = (found.tensors | found.caches)[name]
        published, rounding = found.read(stored, "float32"), 4 * torch.finfo(stored.dtype).eps
        atol = 0.0 if name == ROTARY else 5e-4  # a float32 angle of thousands is rounded by so much
        if published.shape != ours.shape or not torch.allclose(published, ours, rtol=rounding, atol=atol):
            raise ValueError(f"{found.path}: {name} is not that of rotary embeddings of base 10000")


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _tokenizer(tokenizer: Tokenizer | str | Path | None, report: Report) -> Tokenizer | None:
    """One of the model: of all its ids, or, as large models have more than tokens, of those that texts hold."""
    from uddm.corpora.tokenizer_files import read_tokenizer

    if isinstance(tokenizer, str | Path):
        tokenizer = read_tokenizer(as_path("tokenizer", tokenizer), bert_separator="[CLS]")
    if tokenizer is not None and not hasattr(tokenizer, "vocab_size"):
        raise TypeError(f"`tokenizer` must be a Tokenizer or a path, got {type(tokenizer).__name__}")
    vocab_size = report.config["vocab_size"]
    if tokenizer is not None and not tokenizer_fits(tokenizer.vocab_size, vocab_size, report.network):
        raise ValueError(f"`tokenizer` must have the {vocab_size} tokens of the model, got {tokenizer.vocab_size}")
    return tokenizer


def tokenizer_fits(tokens: int, vocab_size: int, network: str) -> bool:
    """Whether a tokenizer of so many tokens is one for a network of K ids: a `Llama` may have more of them."""
    return tokens == vocab_size or (network == "Llama" and tokens < vocab_size)
