"""Files that are cut, flipped, spliced, or written by someone who knows the format, given to every reader.

Of a file that carries a checksum, damage is noticed or changes nothing that is read. What is forged, its checksum
made to fit, is refused by name or is what it says.
"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from bridges.probing.store import Parts
from paper_figures import runner
from paper_figures.cells import CLASSIC, as_bytes, load
from paper_figures.report import claims_table, read_record, verify
from paper_figures.workspace import Workspace
from tests.torture.interruptions import MEGABYTE
from tests.torture.processes import forked
from tests.torture.workloads import WORKS, _smallest, published
from tests.uddm.importers.published_files import hub_folder, shards, state
from uddm import DiT, DiTConfig, HollowMLP, HollowMLPConfig
from uddm.checkpoints import dump_tensors
from uddm.corpora import ByteTokenizer, CharacterTokenizer, TokenBlocks, load_tokenizer, read_tokenizer, train_bpe
from uddm.denoisers import Network
from uddm.files import CHECKSUM, sealed, to_json
from uddm.importers import convert, import_published

MEMORY = 256 * MEGABYTE
"""What a reader may take for a file of some kilobytes."""
SECONDS = 20
BATCH = 40
REFUSED = (ValueError, OSError, FloatingPointError)
ODD: tuple[Any, ...] = (
    *(None, True, "", "x" * 300, "../../etc/passwd", -1, 0, 2**31, 2**63, 2**200, 1e300, float("nan"), float("inf")),
    *([], {}, [[]], {"a": None}, [1, 2, 3], "NaN", -0.5, "\ud800"),
)


@dataclass(frozen=True)
class Reader:
    """Files in a folder, and what is read of them.

    Attributes
    ----------
    make : writes the files of one or another content into an empty folder.
    read : what the folder says, to be compared; it raises what it refuses.
    checked : whether the files carry checksums, so that damage is noticed wherever it matters.
    """

    make: Callable[[Path, int], object]
    read: Callable[[Path], Any]
    checked: bool = True


# --- What is read


def _weights(model: torch.nn.Module) -> dict[str, bytes]:
    return {
        name: tensor.contiguous().view(torch.uint8).numpy().tobytes() for name, tensor in model.state_dict().items()
    }


def _make_model(folder: Path, n: int) -> None:
    torch.manual_seed(n)
    if n % 2:
        HollowMLP(HollowMLPConfig(27, length=4 + n, hidden_dim=4)).save_pretrained(folder, CharacterTokenizer())
    else:
        tokenizer = train_bpe(["the cat sat on the mat", "the dog sat on the log"], 260 + n)
        shape = {"length": 4, "hidden_dim": 4, "blocks": 1, "heads": 1, "cond_dim": 2}
        DiT(DiTConfig(260 + n, **shape)).save_pretrained(folder, tokenizer)


def _read_model(folder: Path) -> Any:
    model, tokenizer = Network.from_pretrained(folder), load_tokenizer(folder / "tokenizer.json")
    return model.config, _weights(model), tokenizer.definition()


def _make_imported(folder: Path, n: int) -> None:
    convert(published(), folder / "model", weights=("ema", "raw")[n])


def _read_imported(folder: Path) -> Any:
    model = Network.from_pretrained(folder / "model")
    return model.origin, _weights(model)


def _read_published(folder: Path) -> Any:
    model = import_published(folder / "published")
    return model.config, _weights(model)


def _make_checkpoint(folder: Path, n: int) -> None:
    shutil.copy(published(), folder / "published")


def _make_hub(folder: Path, n: int) -> None:
    from tests.uddm.importers.published_files import AVERAGE, RAW

    hub = hub_folder(folder / "published", weights=state((RAW, AVERAGE)[n]))
    if n:
        (hub / "model.safetensors").unlink()
        shards(hub, state(AVERAGE))


def _read_cell(folder: Path) -> Any:
    dataset = load(folder / "cell.nc")
    return repr(dataset), {str(k): v.values.tolist() for k, v in dataset.variables.items() if v.dtype != object}


def _make_cell(folder: Path, n: int, **engine: Any) -> None:
    rng = np.random.default_rng(n)
    dataset = xr.Dataset(
        {"value": (("a", "b"), rng.integers(99, size=(4, 3 + n))), "name": ("b", list("xyzu"[: 3 + n]))}
    )
    (folder / "cell.nc").write_bytes(as_bytes(dataset.assign_attrs(manifest="{}"), **engine))


def _make_blocks(folder: Path, n: int) -> None:
    from uddm.corpora import Corpus, prepare_blocks

    letters = np.random.default_rng(n).integers(97, 123, size=(8, 60), dtype=np.uint8)
    blocks = prepare_blocks(
        Corpus("x", [row.tobytes().decode() for row in letters]), CharacterTokenizer(), 5 + n, cache_dir=folder / "made"
    )
    blocks.directory.rename(folder / "blocks")
    shutil.rmtree(folder / "made")
    (folder / "blocks" / ".lock").unlink(missing_ok=True)


def _read_blocks(folder: Path) -> Any:
    blocks = TokenBlocks(folder / "blocks", verify=True)
    return blocks.vocab_size, blocks.train().tolist(), blocks.test().tolist() if blocks.test_size else []


def _make_tokenizer(folder: Path, n: int) -> None:
    made = (
        CharacterTokenizer("abc d", lowercase=False, replacement="a"),
        ByteTokenizer(),
        train_bpe(["the cat"], 259),
    )[n]
    made.save(folder / "tokenizer.json")


def _make_words(folder: Path, n: int) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "cat", "é"]
    (folder / "vocab.txt").write_text("\n".join(words[: 8 + n]))


def _make_gpt(folder: Path, n: int) -> None:
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    (folder / "encoder.json").write_text(json.dumps({token: i for i, token in enumerate([*letters, "th", "the"])}))
    (folder / "vocab.bpe").write_text("#version: 0.2\nt h\nth e\n")


def _read_any_tokenizer(folder: Path) -> Any:
    tokenizer = read_tokenizer(folder)
    return tokenizer.definition(), tokenizer.encode("the cab a cat").tolist()


def _make_record(folder: Path, n: int) -> None:
    (folder / "text.txt").write_text("\n\n".join(f"{chr(97 + k)} " * 40 + "word " * k for k in range(20)))
    workspace = Workspace(folder / "results", _smallest(), corpus=(str(folder / "text.txt"),), seed=n)
    runner.run(workspace, [str(Path(__file__).with_name("tiny.py"))], jobs=1)
    for name in ("cells", "corpus", "figures"):
        shutil.rmtree(folder / "results" / name)
    (folder / "results" / "report.html").unlink()


def _read_results(folder: Path) -> Any:
    results = folder / "results"
    record = read_record(results)
    problems = verify(results)
    if any("tiny.nc" in problem for problem in problems):
        raise ValueError(f"{results}: {problems}")
    return record["figures"]["tiny"]["findings"], claims_table(results), record["manifest"]["seed"]


def _make_part(folder: Path, n: int) -> None:
    Parts(folder, {}).get("part", lambda: {"x": np.arange(5 + n), "y": np.ones((2, n + 1))})


def _read_part(folder: Path) -> Any:
    def again() -> Any:
        raise OSError(f"{folder}: to be made again")

    return {name: array.tolist() for name, array in Parts(folder, {}).get("part", again).items()}


def _make_state(folder: Path, n: int) -> None:
    from tests.torture.workloads import DATA, SHAPE, TRAINING
    from uddm.training import loop

    backward = loop._backward

    def stop(objective: Any, batches: Any, step: int) -> Any:
        if step == 5 + 2 * n:
            raise KeyboardInterrupt
        return backward(objective, batches, step)

    loop._backward = stop
    torch.manual_seed(0)
    try:
        loop.train(HollowMLP(SHAPE), DATA, TRAINING, folder / "run", progress=None)
    except KeyboardInterrupt:
        pass
    finally:
        loop._backward = backward
    (folder / "run" / ".lock").unlink(missing_ok=True)


def _read_state(folder: Path) -> Any:
    WORKS["training"].run(folder)
    return WORKS["training"].result(folder)["run/model/model.safetensors"]


READERS = {
    "model": Reader(_make_model, _read_model),
    "state": Reader(_make_state, _read_state),
    "imported": Reader(_make_imported, _read_imported),
    "checkpoint": Reader(_make_checkpoint, _read_published),
    "hub": Reader(_make_hub, _read_published, checked=False),
    "blocks": Reader(_make_blocks, _read_blocks),
    "cell": Reader(partial(_make_cell, engine=CLASSIC), _read_cell),
    "netCDF-4": Reader(_make_cell, _read_cell),
    "results": Reader(_make_record, _read_results),
    "part": Reader(_make_part, _read_part),
    "tokenizer": Reader(_make_tokenizer, lambda folder: load_tokenizer(folder / "tokenizer.json").definition()),
    "vocab.txt": Reader(_make_words, _read_any_tokenizer, checked=False),
    "encoder.json": Reader(_make_gpt, _read_any_tokenizer, checked=False),
}


# --- What is done to them


def _damaged(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Cut, flipped, overwritten, doubled, or the start of one file and the end of another."""
    size, at = len(content), int(rng.integers(len(content) + 1))
    match int(rng.integers(7)):
        case 0:
            return content[:at]
        case 1:
            return content + rng.bytes(int(rng.integers(1, 100)))
        case 2 | 3:
            changed = bytearray(content)
            for place in rng.integers(size, size=int(rng.integers(1, 4))) if size else ():
                changed[place] ^= 1 << int(rng.integers(8))
            return bytes(changed)
        case 4:
            return content[:at] + other[min(at, len(other)) :]
        case 5:
            stop = min(size, at + int(rng.integers(1, 64)))
            return content[:at] + bytes([int(rng.choice([0, 255]))]) * (stop - at) + content[stop:]
        case _:
            stop = min(size, at + int(rng.integers(1, 64)))
            return content[:stop] + content[at:]


def _odd(value: Any, rng: np.random.Generator) -> Any:
    """A JSON value, in which something is replaced, removed, added or nested deep."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = [*value][rng.integers(len(value))]
        changed = dict(value)
        match int(rng.integers(6)):
            case 0:
                del changed[key]
            case 1:
                changed[f"{key}_"] = changed.pop(key)
            case _:
                changed[key] = _odd(changed[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.8:
        n = int(rng.integers(len(value)))
        return [*value[:n], _odd(value[n], rng), *value[n + 1 :]]
    if type(value) is int and rng.random() < 0.5:
        return int(rng.choice([-value, value + 1, value * 2**20, -1, 0, 2**62]))
    return ODD[rng.integers(len(ODD))]


def _nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def _forged_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Another object, its checksum made to fit; or text that no object comes of."""
    match int(rng.integers(12)):
        case 0:
            return _nested(int(rng.choice([60, 900, 100_000])))
        case 1:
            return content.rstrip()[:-1] + b', "model": "DiT", "format": 1, "format": 2}'
        case 2:
            return b'{"a": ' + b"9" * int(rng.choice([400, 5000])) + b"}"
    value = json.loads(content)
    had = isinstance(value, dict) and value.pop(CHECKSUM, None) is not None
    for _ in range(int(rng.integers(1, 3))):
        value = _odd(value, rng)
    if had and isinstance(value, dict):
        try:
            return to_json(value)
        except (ValueError, UnicodeEncodeError):
            pass
    return json.dumps(value).encode(errors="surrogatepass")


def _forged_safetensors(content: bytes, rng: np.random.Generator) -> bytes:
    """A header that says something else of the same numbers, or numbers that are none, with their checksum."""
    size = int.from_bytes(content[:8], "little")
    header, numbers = json.loads(content[8 : 8 + size]), content[8 + size :]
    match int(rng.integers(5)):
        case 0:
            return int(rng.choice([0, 2**31, 2**62, len(content)])).to_bytes(8, "little") + content[8:]
        case 1:
            text = content[8 : 8 + size].rstrip()
            name = [*header][-1]
            twice = text[:-1] + b", " + json.dumps(name).encode() + b": " + json.dumps(header[name]).encode() + b"}"
            return len(twice).to_bytes(8, "little") + twice + numbers
        case 2:
            deep = _nested(int(rng.choice([100, 50_000])))
            return len(deep).to_bytes(8, "little") + deep + numbers
        case 3:
            tensors = {}
            for name, told in header.items():
                if name != "__metadata__":
                    start, stop = told["data_offsets"]
                    dtype = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}[told["dtype"]]
                    tensors[name] = torch.empty(told["shape"], dtype=dtype)
                    tensors[name].flatten().view(torch.uint8).numpy()[:] = np.frombuffer(numbers[start:stop], np.uint8)
            name = [*tensors][rng.integers(len(tensors))]
            value = float(rng.choice([np.nan, np.inf, -1e30, -1.0])) if tensors[name].is_floating_point() else -5
            changed = tensors[name].flatten().clone()
            changed[int(rng.integers(changed.numel() + 1)) :][:1] = value
            shape = tensors[name].shape if rng.random() < 0.8 else (-1,)
            return b"".join(map(bytes, dump_tensors({**tensors, name: changed.reshape(shape)})))
    head = json.dumps(_odd(header, rng)).encode(errors="surrogatepass")
    return len(head).to_bytes(8, "little") + head + numbers


def _forged_pickle(content: bytes, rng: np.random.Generator) -> bytes:
    """A file of torch.save, one part of which is changed, with the checksums of the archive."""
    made = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as archive, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as copy:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("data.pkl")]
        target = pickles[0] if rng.random() < 0.7 else names[rng.integers(len(names))]
        for name in names:
            part = archive.read(name)
            copy.writestr(name, _damaged(part, part[::-1], rng) if name == target else part)
    return made.getvalue()


def _forged(path: Path, content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """By someone who knows the format and its checksum."""
    match path.suffix:
        case ".json":
            return _forged_json(content, rng)
        case ".safetensors":
            return _forged_safetensors(content, rng)
        case "":
            return _forged_pickle(content, rng)
        case ".nc" | ".npz":
            inner = len(sealed(b""))
            return sealed(_damaged(content[:-inner], other[:-inner], rng))
        case _:
            return rng.bytes(int(rng.integers(200)))


def _mutated(folder: Path, other: Path, rng: np.random.Generator) -> tuple[Path, bool]:
    """Change one file of the folder; gives which, and whether the change is forged."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ("README.md", "text.txt"))
    path = files[rng.integers(len(files))]
    same = other / path.relative_to(folder)
    spare = same if same.exists() else files[rng.integers(len(files))]
    content, others, forged = path.read_bytes(), spare.read_bytes(), bool(rng.random() < 0.4)
    if rng.random() < 0.03:
        path.unlink()
        forged = True
    else:
        changed = _forged(path, content, others, rng) if forged else _damaged(content, others, rng)
        path.write_bytes(changed)
        forged |= changed == others  # a whole file in the place of another
    return path, forged


def _asked(reader: Reader, folder: Path) -> tuple[Any, BaseException | None]:
    try:
        return reader.read(folder), None
    except REFUSED as error:
        return None, error


def _one(reader: Reader, wanted: Any, whole: Path, other: Path, rng: np.random.Generator) -> str | None:
    """One mutation of a copy of the folder, and what is wrong with how it is read."""
    with tempfile.TemporaryDirectory() as own:
        folder = Path(own) / "copy"
        shutil.copytree(whole, folder)
        path, forged = _mutated(folder, other, rng)
        how = f"{'forged' if forged else 'damaged'} {path.relative_to(folder)}"
        signal.alarm(SECONDS)
        try:
            found, error = _asked(reader, folder)
        except BaseException as other_kind:
            return f"{how}: {type(other_kind).__name__}: {str(other_kind)[:200]}"
        finally:
            signal.alarm(0)
        if error is not None:
            named = str(folder) in str(error)
            return None if named else f"{how}: {type(error).__name__} names no file: {str(error)[:200]}"
        if not forged and reader.checked and found != wanted:
            return f"{how}: another value was read"
    return None


def of(reader: Reader, rng: np.random.Generator, trials: int) -> Iterator[str | None]:
    """So many mutations of what one reader reads, in processes whose memory is bounded."""
    with tempfile.TemporaryDirectory() as own:
        folders = [Path(own) / name for name in ("one", "other")]
        for n, folder in enumerate(folders):
            folder.mkdir()
            reader.make(folder, n)
        wanted = []
        for folder in folders:
            copy = Path(own) / f"copy of {folder.name}"
            shutil.copytree(folder, copy)
            wanted.append(reader.read(copy))
        progress = Path(own) / "progress"

        def batch(number: int, seeds: list[int]) -> list[str | None]:
            found = []
            for seed in seeds:
                progress.write_text(f"{seed}")
                which = seed % 2
                found.append(
                    _one(reader, wanted[which], folders[which], folders[1 - which], np.random.default_rng(seed))
                )
            return found

        for start in range(0, trials, BATCH):
            seeds = [int(seed) for seed in rng.integers(2**32, size=min(BATCH, trials - start))]
            while seeds:
                ended = forked(partial(batch, start, seeds), seconds=SECONDS * BATCH, memory=MEMORY)
                if ended.value is not None:
                    yield from (problem and f"seed {seed}: {problem}" for seed, problem in zip(seeds, ended.value))
                    break
                reached = int(progress.read_text())
                yield f"seed {reached}: the reader ended with {ended.status}, {ended.error!r}: {ended.said[-300:]}"
                seeds = seeds[seeds.index(reached) + 1 :]


def all_readers(rng: np.random.Generator, trials: int, *names: str) -> Iterator[str | None]:
    """The same share of the trials for every reader."""
    chosen = names or tuple(READERS)
    for name in chosen:
        for problem in of(READERS[name], rng, -(-trials // len(chosen))):
            yield problem and f"{name}, {problem}"
