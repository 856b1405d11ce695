"""Files made to exhaust memory are refused by name before they take any: each is read in a process that has little."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from io import BytesIO
from itertools import count

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from paper_figures.cells import save
from uddm import HollowMLP, HollowMLPConfig
from uddm.checkpoints import LARGEST_HEADER
from uddm.corpora import CharacterTokenizer
from uddm.files import LARGEST_TEXT, read_json, sealed, to_json
from uddm.importers._torch_file import LARGEST_PICKLE

MEGABYTES = 400
"""That a process may take beside what it has once all is imported."""
READER = """
import contextlib, io, json, resource, sys
from pathlib import Path
import numpy, torch, xarray, h5netcdf, tokenizers
from bridges.probing.store import Parts
from paper_figures.cells import load as cell
from paper_figures.report import read_record as record
from uddm import import_published
from uddm.corpora import TokenBlocks as blocks, load_tokenizer, read_tokenizer
from uddm.denoisers import Network
model = Network.from_pretrained

def part(folder):
    store = Parts(Path(folder), {})
    store.folder = Path(folder)
    with contextlib.redirect_stderr(io.StringIO()) as told:
        store.get("a", dict)
    if told.getvalue():
        raise ValueError(told.getvalue())

for good in json.loads(sys.argv[2]):
    eval(good)  # what is imported late
pages = int(open("/proc/self/statm").read().split()[5])
resource.setrlimit(resource.RLIMIT_DATA, 2 * [pages * resource.getpagesize() + int(sys.argv[1]) * 2**20])
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for line in sys.stdin:
    try:
        eval(line)
        print("null", flush=True)
    except BaseException as error:
        print(json.dumps([type(error).__name__, isinstance(error, (ValueError, OSError)), str(error)]), flush=True)
"""
TERABYTE = 2**40


def sparse(path, start=b"", size=TERABYTE):
    """A file of that size which takes no room on the disk."""
    path.write_bytes(start)
    os.truncate(path, size)


def header(tensors):
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


def like_the_model(good, size):
    """The header of a good file, its first tensor grown to `size` numbers."""
    with (good / "model.safetensors").open("rb") as file:
        described = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    names = sorted(described.keys() - {"__metadata__"}, key=lambda name: described[name]["data_offsets"])
    described[names[0]]["shape"], end = [size], 0
    for name in names:
        begin, end = end, end + 4 * int(np.prod(described[name]["shape"]))
        described[name]["data_offsets"] = [begin, end]
    return header(described), end


def models(folder, good):
    """Model folders, one file of which is bad."""
    config, number = read_json(good / "config.json"), count()

    def bad(**files):
        path = folder / f"model{next(number)}"
        path.mkdir()
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (path / name).symlink_to(good / name)
        for name, write in files.items():
            file = path / f"{name}.{'safetensors' if name == 'model' else 'json'}"
            file.unlink()
            write(file)
        return f"model({str(path)!r})"

    def configured(**changes):
        return bad(config=lambda file: file.write_bytes(to_json({**config, **changes})))

    many = {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(3 * 10**5)}
    grown, end = like_the_model(good, 2**36)
    none = {"a": {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}
    yield "JSON of a terabyte", bad(config=sparse)
    yield "JSON without end", bad(config=lambda file: file.symlink_to("/dev/zero"))
    yield "nested JSON", bad(config=lambda file: file.write_text('{"a":' + 10**6 * "["))
    yield "a long number", bad(config=lambda file: file.write_text('{"a":' + 10**6 * "1" + "}"))
    yield "many blocks", configured(blocks=10**9)
    yield "a wide network", configured(hidden_dim=10**9)
    yield "a large vocabulary", configured(vocab_size=10**12)
    yield "a deep tree", configured(model="TreeUNet", depth=10**9)
    yield "many couplings", configured(model="Linear", length=10**6)
    yield "a long header", bad(model=lambda file: sparse(file, (90 * 10**6).to_bytes(8, "little") + b"{"))
    yield "many tensors", bad(model=lambda file: file.write_bytes(header(many)))
    yield "a header past the end", bad(model=lambda file: file.write_bytes((2**63).to_bytes(8, "little") + b"{}"))
    yield "weights of a terabyte", bad(model=lambda file: sparse(file, grown, len(grown) + end))
    yield "a shape that overflows", bad(model=lambda file: file.write_bytes(header(none)))


def tokenizers(folder):
    deep = folder / "deep.json"
    deep.write_text('{"model":' + 10**5 * '{"a":' + "1" + 10**5 * "}" + "}")
    yield "a nested tokenizer", f"read_tokenizer({str(deep)!r})"
    sparse(folder / "large.json")
    yield "a tokenizer of a terabyte", f"load_tokenizer({str(folder / 'large.json')!r})"
    sparse(folder / "vocab.txt")
    yield "a vocabulary of a terabyte", f"read_tokenizer({str(folder / 'vocab.txt')!r})"
    (folder / "encoder.json").write_text('{"a": 0}')
    sparse(folder / "vocab.bpe")
    yield "merges of a terabyte", f"read_tokenizer({str(folder / 'encoder.json')!r})"


def pickled(path, program):
    """A file of torch.save whose pickle is that."""
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("archive/data.pkl", program)
        new.writestr("archive/version", "3\n")


def checkpoints(folder):
    doubled = b"\x80\x02]" + 10**5 * b"2\x86" + b"."  # a pair of itself, 10^5 times
    config = pickle.dumps({"state_dict": {}, "hyper_parameters": {"config": [[0] * 999] * 10**4}}, 2)
    programs = {
        "a long pickle": (LARGEST_PICKLE + 1) * b"]",
        "a pickle of pairs": doubled,
        "a string that is not there": b"\x80\x02X\xff\xff\xff\x7fab.",
        "a long integer that is not there": b"\x80\x02\x8b\xff\xff\xff\x7fab.",
        "a pickled configuration that repeats itself": config,
    }
    for number, (name, program) in enumerate(programs.items()):
        pickled(folder / f"{number}.ckpt", program)
        yield name, f"import_published({str(folder / f'{number}.ckpt')!r})"
    storage = folder / "compressed.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(10**7)}}, folder / "whole.ckpt")
    with zipfile.ZipFile(folder / "whole.ckpt") as old, zipfile.ZipFile(storage, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    yield "a compressed checkpoint", f"import_published({str(storage)!r})"
    names = folder / "shards"
    names.mkdir()
    (names / "config.json").write_text("{}")
    sparse(names / "model.safetensors.index.json")
    yield "an index of a terabyte", f"import_published({str(names)!r})"


def results(folder):
    content = BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("a", (2**38,), "f8", chunks=(2**20,), compression="gzip")  # filled with zeros
    (folder / "cell.nc").write_bytes(sealed(content.getvalue()))
    yield "a compressed netCDF file", f"cell(Path({str(folder / 'cell.nc')!r}))"
    part, values = BytesIO(), BytesIO()
    np.save(values, np.zeros(0))
    start = values.getvalue().replace(b"(0,), }      ", b"(%d,), }" % 2**26)
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new, new.open("a.npy", "w") as member:
        member.write(start)
        for _ in range(2**9):
            member.write(bytes(2**20))
    (folder / "a.npz").write_bytes(sealed(part.getvalue()))
    yield "compressed parts of a probe", f"part({str(folder)!r})"
    sparse(folder / "figures.json")
    yield "a record of a terabyte", f"record(Path({str(folder)!r}))"
    (folder / "blocks").mkdir()
    sparse(folder / "blocks" / "index.json")
    yield "an index of blocks of a terabyte", f"blocks({str(folder / 'blocks')!r})"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What became of each file: None if it was read, else the name of the exception, whether it is one of those that
    say a file is bad, and its message."""
    folder = tmp_path_factory.mktemp("limits")
    good = folder / "good"
    torch.manual_seed(0)
    HollowMLP(HollowMLPConfig(27, length=8, hidden_dim=4)).save_pretrained(good, CharacterTokenizer())
    save(xr.Dataset({"a": ("n", np.zeros(3))}), folder / "good.nc")
    torch.save({"state_dict": {"a": torch.zeros(3)}}, folder / "good.ckpt")
    cases = {
        "a good model": f"model({str(good)!r})",
        "a good cell": f"cell(Path({str(folder / 'good.nc')!r}))",
        "what needs memory": f"bytes(2 * {MEGABYTES} * 2**20)",
    }
    for make in (tokenizers, checkpoints, results):
        (folder / make.__name__).mkdir()
        cases |= make(folder / make.__name__)
    (folder / "models").mkdir()
    cases |= models(folder / "models", good)
    imports = [cases["a good model"], cases["a good cell"], f"load_tokenizer({str(good / 'tokenizer.json')!r})"]
    command = [sys.executable, "-c", READER, str(MEGABYTES), json.dumps(imports)]
    done = subprocess.run(command, input="\n".join(cases.values()), capture_output=True, text=True, timeout=300)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(cases), [*cases][len(lines)] + done.stderr
    return dict(zip(cases, lines))


def test_what_is_good_is_read_and_what_is_large_is_not(outcomes):
    """The negative control: 800 MB have no room there."""
    assert outcomes["a good model"] is None
    assert outcomes["a good cell"] is None
    assert outcomes["what needs memory"][0] == "MemoryError"


def test_what_would_exhaust_memory_is_refused(outcomes):
    bad = {name: said for name, said in outcomes.items() if "good" not in name and name != "what needs memory"}
    assert len(bad) > 25
    assert {name: said for name, said in bad.items() if said is None or not said[1]} == {}


def test_the_limits_leave_room_for_what_there_is():
    """Gemma's tokenizer.json has 33 MB; the headers of weights 100 bytes for each of a few thousand tensors."""
    assert LARGEST_TEXT > 1.5 * 33e6
    assert LARGEST_HEADER > 100 * 10**5
