"""Files of torch.save: tensors in every form they may have, and what is damaged or not what it claims."""

import contextlib
import io
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from published_files import AVERAGE, RAW, ROTARY, L, checkpoint, make, same, save, state

from uddm.importers import import_published
from uddm.importers._torch_file import TorchFile


@pytest.mark.parametrize("tensor", [torch.nn.Parameter, lambda t: t.double(), lambda t: t.t().contiguous().t()])
def test_tensors_in_other_forms(tmp_path, tensor):
    """Parameters, other precisions, strided views: the same numbers."""
    changed = {name: tensor(t) if t.ndim == 2 else t for name, t in state(RAW).items()}
    assert same(import_published(save(tmp_path / "a.ckpt", state_dict=changed), weights="raw"), RAW)


def test_tensors_that_share_a_storage(tmp_path):
    flat = torch.cat([t.flatten() for t in state(RAW).values()])
    parts = flat.split([t.numel() for t in state(RAW).values()])
    views = {name: part.view(t.shape) for (name, t), part in zip(state(RAW).items(), parts)}
    model = import_published(save(tmp_path / "a.ckpt", state_dict=views), weights="raw")
    assert same(model, RAW)
    assert all(p.untyped_storage().nbytes() == 4 * p.numel() for p in model.parameters())


def repack(path, change=lambda name, content: content, compression=zipfile.ZIP_STORED, twice=(), zip64=False):
    """Write the zip file again, through Python's zipfile."""
    with zipfile.ZipFile(path) as old:
        entries = {info.filename: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in entries.items():
            with new.open(name, "w", force_zip64=zip64) as file:
                file.write(change(name, content))
        for name in twice:
            new.writestr(name, entries[name])


def test_other_byte_order(ckpt):
    def swap(name, content):
        if name.endswith("byteorder"):
            return {b"little": b"big", b"big": b"little"}[content]
        return np.frombuffer(content, np.uint32).byteswap().tobytes() if "/data/" in name else content

    repack(ckpt, swap)
    assert same(import_published(ckpt), AVERAGE)


def test_without_a_record_of_the_byte_order(ckpt):
    """As before PyTorch 2.1."""
    with zipfile.ZipFile(ckpt) as old:
        entries = {info.filename: old.read(info) for info in old.infolist() if "byteorder" not in info.filename}
    with zipfile.ZipFile(ckpt, "w") as new:
        for name, content in entries.items():
            new.writestr(name, content)
    assert same(import_published(ckpt), AVERAGE)


def test_zip64(ckpt):
    repack(ckpt, zip64=True)
    assert same(import_published(ckpt), AVERAGE)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(tmp_path, protocol):
    torch.save(checkpoint(), tmp_path / "a.ckpt", pickle_protocol=protocol)
    assert same(import_published(tmp_path / "a.ckpt"), AVERAGE)


# --- Tensors that are not what they claim


class Hostile:
    def __init__(self, *arguments, function=torch._utils._rebuild_tensor_v2):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Storage(tuple):
    """Pickled as the persistent id ("storage", type, key, location, elements)."""

    __slots__ = ()


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return tuple(obj) if type(obj) is Storage else None


def archive(path, root, storages):
    """A file as of torch.save, with that content and storages."""
    file = io.BytesIO()
    Pickler(file, 2).dump(root)
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("a/data.pkl", file.getvalue())
        new.writestr("a/byteorder", sys.byteorder)
        for key, content in storages.items():
            new.writestr(f"a/data/{key}", content)
    return path


def hostile(offset=0, size=(4,), stride=(1,), elements=16, kind=torch.FloatStorage, key="0", extra=()):
    return Hostile(Storage(("storage", kind, key, "cpu", elements)), offset, size, stride, False, {}, *extra)


def read_one(tmp_path, value):
    file = TorchFile(archive(tmp_path / "a.bin", {"w": value}, {"0": np.arange(16, dtype="f4").tobytes()}))
    stored = file.tensor(file.root["w"])
    return stored and file.load(stored)


def test_hand_made_tensors(tmp_path):
    """Positive control of `hostile`."""
    want = torch.arange(16.0)
    assert torch.equal(read_one(tmp_path, hostile()), want[:4])
    assert torch.equal(read_one(tmp_path, hostile(3, (2, 3), (6, 2))), want[3:].as_strided((2, 3), (6, 2)))
    assert torch.equal(read_one(tmp_path, hostile(15, (), ())), want[15])
    assert read_one(tmp_path, hostile(extra=({"neg": True},))) is None
    assert read_one(tmp_path, hostile(kind=torch.LongStorage)) is None
    assert read_one(tmp_path, Hostile(3, function=torch._utils._rebuild_parameter)) is None


@pytest.mark.parametrize(
    "tensor",
    [
        hostile(offset=13),
        hostile(offset=-1),
        hostile(offset=2**62),
        hostile(size=(17,)),
        hostile(size=(-4,)),
        hostile(size=(2, 2), stride=(15, 1)),
        hostile(size=(2, 2), stride=(-1, 1)),
        hostile(size=(2**40, 2**40), stride=(0, 0)),
        hostile(size=(16, 2), stride=(1, 0)),
        hostile(size=(4, 4), stride=(1,)),
        hostile(size=(1,) * 9, stride=(1,) * 9),
        hostile(size=("4",)),
        hostile(size=(0,)),
        hostile(size=(4.0,)),
        hostile(elements=17),
        hostile(elements=2**60, size=(2**50,)),
        hostile(elements=15),
        hostile(kind=torch.DoubleStorage),
        hostile(key="1"),
        hostile(key="../data.pkl"),
    ],
)
def test_tensors_outside_of_their_storage(tmp_path, tensor):
    with pytest.raises(ValueError, match=r"a\.bin(: a tensor reaches outside|: storage .* does not hold| lacks data/)"):
        read_one(tmp_path, tensor)


def test_one_storage_for_many_tensors(tmp_path):
    """A small file must not ask for much memory."""
    blocks, d = 200, 16
    shapes = {name: tuple(t.shape) for name, t in make(0).state_dict().items()}
    block = {name.split(".", 2)[2]: shape for name, shape in shapes.items() if name.startswith("blocks.0.")}
    shapes = {name: shape for name, shape in shapes.items() if not name.startswith("blocks.")}
    shapes |= {f"blocks.{n}.{name}": shape for n in range(blocks) for name, shape in block.items()}
    elements = 256 * d

    def tensor(shape):
        return hostile(0, shape, tuple(int(np.prod(shape[n + 1 :])) for n in range(len(shape))), elements)

    root = {name: tensor(shape) for name, shape in shapes.items() if name != ROTARY}
    path = archive(tmp_path / "a.bin", root, {"0": bytes(4 * elements)})
    with pytest.raises(ValueError, match="would take more memory than the file has"):
        import_published(path, heads=2, length=L)


# --- Damaged files


def test_truncated(tmp_path, small):
    path = tmp_path / "a.ckpt"
    for keep in [
        0,
        1,
        2,
        3,
        30,
        100,
        1000,
        *(int(f * len(small)) for f in np.linspace(0.05, 0.999, 25)),
        len(small) - 1,
    ]:
        path.write_bytes(small[:keep])
        with pytest.raises(ValueError, match=r"a\.ckpt"):
            import_published(path)


def flipped_is_noticed(path, data, position, bit):
    data = bytearray(data)
    data[position] ^= 1 << bit
    path.write_bytes(data)
    with contextlib.suppress(ValueError):
        model = import_published(path)
        assert same(model, AVERAGE)
        assert model.config == AVERAGE.config


@given(data=st.data())
def test_a_flipped_bit_is_noticed_or_harmless(small, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "flipped.ckpt"
    position = data.draw(st.integers(0, len(small) - 1))
    flipped_is_noticed(path, small, position, data.draw(st.integers(0, 7)))


def test_flipped_bits_of_the_zip_directory(small, tmp_path):
    """A bit here and there in the last 2000 bytes, and in each byte of the first local header."""
    for position in (*range(len(small) - 2000, len(small), 17), *range(0, 64)):
        flipped_is_noticed(tmp_path / "a.ckpt", small, position, position % 8)


def test_flipped_bits_of_weights_are_noticed(small, tmp_path):
    """In contents that are needed, harmless is not possible."""
    file = tmp_path / "a.ckpt"
    file.write_bytes(small)
    needed = TorchFile(file)
    names = [needed.tensor(value).key for value in needed.root["ema"]["shadow_params"]]
    for key in names:
        start, info = needed._entry(f"data/{key}")
        damaged = bytearray(small)
        damaged[start + info.file_size // 2] ^= 0x10
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"a\.ckpt: data/{key} is damaged"):
            import_published(file)
        assert same(import_published(file, weights="raw"), RAW)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: repack(p, compression=zipfile.ZIP_DEFLATED), "is compressed or encrypted"),
        (lambda p: repack(p, twice=["small/data/0"]), "two files of one name"),
        (lambda p: repack(p, twice=["small/data.pkl"]), "two files of one name"),
        (lambda p: repack(p, lambda n, c: b"middle" if "byteorder" in n else c), "unknown byte order b'middle'"),
        (lambda p: repack(p, lambda n, c: c[:-9] if n.endswith("data.pkl") else c), r"data\.pkl is damaged"),
        (lambda p: p.write_bytes(b""), "truncated or not a file of torch.save"),
        (lambda p: p.write_bytes(b"x" * 5000), "truncated or not a file of torch.save"),
        (lambda p: zipfile.ZipFile(p, "w").close(), r"a zip archive, .* holds 0 data\.pkl, not one \(but nothing\)"),
        (lambda p: torch.save(checkpoint(), p, _use_new_zipfile_serialization=False), "before 1.6"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_other_files(ckpt, damage, message):
    damage(ckpt)
    with pytest.raises(ValueError, match=message) as error:
        import_published(ckpt)
    assert str(ckpt) in str(error.value)
