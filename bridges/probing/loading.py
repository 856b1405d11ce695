"""From what stands on the command line to a system and its texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bridges.measured import as_system
from bridges.system import MemorySystem


def load(
    source: str,
    out: Path,
    *,
    tokenizer: str | None = None,
    weights: Literal["ema", "raw"] = "ema",
    device: str | None = None,
    passes: int | None = None,
) -> tuple[MemorySystem, Any]:
    """A model and its tokenizer, None if there is none.

    Parameters
    ----------
    source : a folder of ours, or a published checkpoint, which is imported into the folder `out`/model, once
    out : folder of the results
    tokenizer : a file or folder; default None, that of the model folder
    weights : of a Lightning file, "ema", the default, or "raw"
    device : default None, a GPU if there is one
    passes : of a masked model, as of `bridges.MaskedSystem`; default None, one for each position

    Raises
    ------
    FileNotFoundError, ValueError : nothing there, or no model that can be read; `out`/model holds another one; `passes`
        of a model that is not masked
    """
    from uddm import MaskedProcess
    from uddm._validation import check_device
    from uddm.checkpoints import FORMAT, ORIGIN
    from uddm.corpora import load_tokenizer, read_tokenizer
    from uddm.denoisers import Network
    from uddm.files import read_json
    from uddm.importers import convert, import_transformers, inspect_published
    from uddm.importers.hub import TOKENIZERS, local
    from uddm.importers.transformers_models import is_transformers

    folder = Path(source)
    of_library = folder if folder.exists() or (out / "model").exists() else local(source)[0]
    if is_transformers(of_library):
        model = import_transformers(source, tokenizer=tokenizer).to(check_device(device))
        there = tokenizer or next((of_library / name for name in TOKENIZERS if (of_library / name).exists()), None)
        return as_system(model), there and read_tokenizer(there)
    if not (folder / "config.json").exists() or read_json(folder / "config.json").get("format") != FORMAT:
        folder = out / "model"
        if not (folder / "config.json").exists():
            convert(source, folder, weights=weights, tokenizer=tokenizer)
        else:
            known = read_json(folder / ORIGIN)
            same = known.get("source") == source and known.get("weights") in (weights, "as published")
            if same and Path(source).exists():  # a training may have written it anew
                now = inspect_published(source, weights=weights)
                same = (now.size, now.step) == (known.get("size"), known.get("step"))
            if not same:
                raise ValueError(f"{folder} holds another model than {source}: name another folder for the results")
    model = Network.from_pretrained(folder, dtype="stored").to(check_device(device))
    if passes is not None and not isinstance(model.process, MaskedProcess):
        raise ValueError(f"`passes` are of masked models, got {model.process!r}")
    system = as_system(model, **({} if passes is None else {"passes": passes}))
    if tokenizer is not None:
        return system, read_tokenizer(tokenizer, bert_separator="[CLS]")
    own = folder / "tokenizer.json"
    return system, load_tokenizer(own) if own.exists() else None


def documents(name: str, files: Sequence[str]) -> list[str]:
    """The documents of text files and folders, separated by blank lines.

    Parameters
    ----------
    name : of the option, for messages
    files : their paths

    Raises
    ------
    FileNotFoundError, ValueError : nothing there, no text, or none in it
    """
    from uddm.corpora import load_corpus

    if not files:
        raise ValueError(f"`{name}` must be followed by text files or folders, got none")
    return list(load_corpus([*files]).documents)
