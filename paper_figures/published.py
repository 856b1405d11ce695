"""The published checkpoints of a folder or a hub repository, `<size>/lm1b-<size>-<fraction>.ckpt`, as the networks of a
preset.

A fraction is that of all training sequences; the training set of a checkpoint is taken to be as many of the first
blocks of the corpus. Whether the networks know these sequences better than test sequences, figure `detection` says.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from paper_figures.presets import PUBLISHED, Language, Protocol, Published, Recipe
from uddm.config import DiTConfig
from uddm.files import as_path

if TYPE_CHECKING:
    from uddm.corpora import TokenBlocks

NAME = re.compile(r"(?:.*/)?(?P<size>\w+)/lm1b-(?P=size)-(?P<fraction>[0-9.]+(?:e-?[0-9]+)?)\.ckpt")
MISNAMED = "it is not named <size>/lm1b-<size>-<fraction>.ckpt"
SHAPES = {"tiny": DiTConfig.tiny, "small": DiTConfig.small, "medium": DiTConfig.medium}


@dataclass(frozen=True)
class File:
    """A checkpoint: where it is, what tells its content, the name of its size, and the fraction it was trained on."""

    source: str
    content: str
    size: str
    fraction: float


def find(source: str, blocks: TokenBlocks) -> tuple[dict[str, Published], list[str]]:
    """The networks of a folder or of a hub repository, hf://owner/name[@revision], by the name of their size, the
    narrowest first, and what was left out, with the reason.

    Of local files the configuration and the shapes of all tensors are checked here, the weights when they are read.
    """
    files, skipped = _on_hub(source) if source.startswith("hf://") else _in_folder(as_path("checkpoints", source))
    found: dict[str, dict[int, File]] = {}
    shapes: dict[str, DiTConfig] = {}
    for file in files:
        try:
            size, shape = blocks.size_of(file.fraction), _shape(file, blocks)
            _check(shape, shapes.setdefault(file.size, shape), blocks)
        except (OSError, ValueError) as error:
            skipped.append(f"{file.source}: {error}")
            continue
        if size in found.setdefault(file.size, {}):
            skipped.append(f"{file.source}: {found[file.size][size].source} has as many training sequences, {size}")
        else:
            found[file.size][size] = file
    every = {size: file.fraction for own in found.values() for size, file in own.items()}
    for name, own in found.items():
        lacking = [f"{every[size]:g}" for size in sorted(every.keys() - own.keys())]
        skipped += [f"{name} has no checkpoint at {', '.join(lacking)} of the corpus"] if lacking else []
    networks = {
        name: Published(
            {size: own[size].source for size in sorted(own)},
            {size: own[size].content for size in sorted(own)},
            shapes[name],
        )
        for name, own in found.items()
        if own
    }
    return dict(sorted(networks.items(), key=lambda item: item[1].width)), skipped


def with_networks(language: Language, networks: dict[str, Published], *, half: bool) -> Language:
    """A language of the published networks: the main one has the most training-set sizes, and the narrowest of these is
    taken; it is measured under our and under the published protocol, the latter in half precision too if asked."""
    if not networks:
        raise ValueError("`checkpoints` must hold a readable <size>/lm1b-<size>-<fraction>.ckpt, got none")
    main = max(networks, key=lambda name: len(networks[name].files))
    variants: dict[str, Recipe | Published] = {
        f"{main}, raw weights": replace(networks[main], protocol=Protocol("raw"))
    }
    if half:
        in_half = replace(PUBLISHED, precision="float16")
        variants[f"{main}, published protocol, half precision"] = replace(networks[main], protocol=in_half)
    return replace(
        language,
        recipes={main: networks[main], f"{main}, published protocol": replace(networks[main], protocol=PUBLISHED)},
        widths={name: network for name, network in networks.items() if name != main},
        variants=variants,
    )


def without(language: Language, source: str) -> Language:
    """The same without a file that could not be read after all; ValueError if the main network has no other."""

    def left(networks: dict[str, Recipe | Published]) -> dict[str, Recipe | Published]:
        kept = {
            name: replace(network, files={size: file for size, file in network.files.items() if file != source})
            for name, network in networks.items()
            if isinstance(network, Published)
        }
        return {name: network for name, network in kept.items() if network.files}

    recipes = left(language.recipes)
    if len(recipes) < len(language.recipes):
        raise ValueError(f"no checkpoint of {next(iter(language.recipes))} could be read")
    return replace(language, recipes=recipes, widths=left(language.widths), variants=left(language.variants))


def _in_folder(folder: Path) -> tuple[list[File], list[str]]:
    """The checkpoints of a folder, and what else it holds."""
    if not folder.is_dir():
        raise FileNotFoundError(f"`checkpoints` must be a folder or hf://owner/name[@revision], got {folder}")
    files, others = [], []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = NAME.fullmatch(path.as_posix())
        try:
            if name is None:
                others.append(f"{path}: {MISNAMED}")
            else:
                files.append(File(str(path), _content(path), name["size"], float(name["fraction"])))
        except OSError as error:
            others.append(f"{path}: {error}")
    return files, others


def _on_hub(source: str) -> tuple[list[File], list[str]]:
    """The checkpoints of a repository at one commit; their content is known without fetching them."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    repository, _, revision = source.removeprefix("hf://").strip("/").partition("@")
    try:
        info = HfApi().model_info(repository, revision=revision or None, files_metadata=True)
    except (OSError, HFValidationError) as error:
        raise FileNotFoundError(f"cannot look into {source!r}: {error}") from error
    files, others = [], []
    for entry in info.siblings or []:
        name = NAME.fullmatch(entry.rfilename)
        if name is not None:
            content = entry.lfs.sha256 if entry.lfs else str(entry.blob_id)
            place = f"hf://{repository}@{info.sha}/{entry.rfilename}"
            files.append(File(place, content, name["size"], float(name["fraction"])))
        elif entry.rfilename.endswith(".ckpt"):
            others.append(f"{entry.rfilename}: {MISNAMED}")
    return files, others


def _content(path: Path) -> str:
    """A hash of the checksums that a file of `torch.save` holds of its parts, or of the whole of another file."""
    digest = hashlib.sha256()
    try:
        with ZipFile(path) as archive:
            digest.update(repr([(part.filename, part.file_size, part.CRC) for part in archive.infolist()]).encode())
    except BadZipFile:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def _shape(file: File, blocks: TokenBlocks) -> DiTConfig:
    """Of the network, which a file on the hub has by its name."""
    if file.source.startswith("hf://"):
        if file.size not in SHAPES:
            raise ValueError(f"its size is none of {', '.join(SHAPES)}")
        return SHAPES[file.size](blocks.vocab_size, length=blocks.length)
    from uddm.importers import inspect_published

    return DiTConfig(**inspect_published(file.source).config)


def _check(shape: DiTConfig, same: DiTConfig, blocks: TokenBlocks) -> None:
    """ValueError unless a network fits the corpus, and is shaped as others of its size."""
    for what, own, wanted in (
        ("tokens in its vocabulary", shape.vocab_size, blocks.vocab_size),
        ("tokens in a sequence", shape.length, blocks.length),
    ):
        if own != wanted:
            raise ValueError(f"it has {own} {what}, the corpus {wanted}")
    if shape != same:
        raise ValueError(f"it is shaped {shape}, others of this size {same}")
