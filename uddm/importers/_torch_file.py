"""Files of `torch.save`, Lightning checkpoints among them: a zip of one pickle and the numbers of each storage.

Tensors stay records of the pickle: `TorchFile` reads the numbers of those that are asked for, verifies their checksums,
and leaves the rest on the disk.
"""

from __future__ import annotations

import math
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uddm.checkpoints import owned
from uddm.choices import WeightType
from uddm.importers._pickle import Record, read_pickle

DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
}
LARGEST_PICKLE = 2**24
"""Bytes, at most: what is read takes up to a hundred times as many, and those of published checkpoints have 1e5."""
LOCAL_HEADER = struct.Struct("<4s22xHH")


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor of floating-point numbers lies: in the storage `key` of so many `elements`, strided, from its
    element `offset`; of a safetensors file, whole, from its byte `offset` after the header."""

    key: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    stride: tuple[int, ...] = ()
    offset: int = 0
    elements: int = 0


class TorchFile:
    """A file written by `torch.save` in its zip format (PyTorch 1.6 or later).

    Attributes
    ----------
    root : what was saved, as `read_pickle` gives it.

    Raises
    ------
    OSError : the file cannot be opened.
    ValueError : it is no such file, truncated, damaged, compressed, or of the format before PyTorch 1.6; the message
        names the file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.size = self.path.stat().st_size
        with self.path.open("rb") as file:
            if file.read(4)[:2] == b"\x80\x02":
                raise ValueError(f"{path} is in the format of PyTorch before 1.6, which is not read")
        self._entries = dict(self._checked_entries())
        pickles = [name for name in self._entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            names = ", ".join([*self._entries][:3]) or "nothing"
            raise ValueError(
                f"{path} is a zip archive, but not a file of torch.save: it holds {len(pickles)} data.pkl, not one "
                f"(but {names}{', ...' if len(self._entries) > 3 else ''})"
            )
        self._folder = pickles[0].removesuffix("data.pkl")
        if self._entries[pickles[0]][1].file_size > LARGEST_PICKLE:
            raise ValueError(f"{path}: data.pkl has more than {LARGEST_PICKLE:,} bytes")
        order = bytes(self.read("byteorder")) if f"{self._folder}byteorder" in self._entries else b"little"
        if order not in (b"little", b"big"):
            raise ValueError(f"{path}: unknown byte order {order!r}")
        self._swap = order.decode() != sys.byteorder
        try:
            self.root = read_pickle(self.read("data.pkl"))
        except ValueError as error:
            raise ValueError(f"{path}: data.pkl is damaged: {error}") from error

    def _checked_entries(self) -> Iterator[tuple[str, tuple[int, zipfile.ZipInfo]]]:
        """Name, place of the content and directory entry of each file in the zip.

        Each name must stand in the directory and before the content: else a damaged name would hide its file.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                directory = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, OSError, OverflowError, ValueError, struct.error) as error:
            raise ValueError(f"{self.path} is truncated or not a file of torch.save: {error}") from error
        if len({info.filename for info in directory}) != len(directory):
            raise ValueError(f"{self.path} holds two files of one name")
        with self.path.open("rb") as file:
            for info in directory:
                file.seek(min(max(info.header_offset, 0), self.size))
                header = file.read(LOCAL_HEADER.size)
                if len(header) == LOCAL_HEADER.size:
                    signature, name, extra = LOCAL_HEADER.unpack(header)
                    start = info.header_offset + LOCAL_HEADER.size + name + extra
                    same = file.read(name) == info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
                    if signature == b"PK\3\4" and same and start + info.compress_size <= self.size:
                        yield info.filename, (start, info)
                        continue
                raise ValueError(f"{self.path}: {info.filename} is damaged")

    def read(self, name: str) -> bytearray:
        """Content of one file in the zip; ValueError if it is missing, compressed or fails its checksum."""
        start, info = self._entry(name)
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
            raise ValueError(f"{self.path}: {name} is compressed or encrypted, which torch.save does not do")
        content = bytearray(info.file_size)
        with self.path.open("rb") as file:
            file.seek(start)
            if file.readinto(content) != len(content) or zlib.crc32(content) != info.CRC:
                raise ValueError(f"{self.path}: {name} is damaged: its checksum differs")
        return content

    def _entry(self, name: str) -> tuple[int, zipfile.ZipInfo]:
        try:
            return self._entries[self._folder + name]
        except KeyError:
            raise ValueError(f"{self.path} lacks {name}") from None

    def tensor(self, value: Any) -> StoredTensor | None:
        """Where the tensor lies that `value` describes; None if it describes none of floating-point numbers.

        ValueError if it reaches outside of its storage or repeats elements of it.
        """
        match value:
            case Record("torch._utils._rebuild_parameter", (Record() as inner, *_)):
                value = inner
        match value:
            case Record(
                "torch._utils._rebuild_tensor_v2",
                (
                    Record("<storage>", ("storage", Record(kind), str(key), _, int(elements))),
                    int(offset),
                    tuple(shape),
                    tuple(stride),
                    _,
                    _,
                ),
            ) if kind in DTYPES:
                stored = StoredTensor(key, shape, DTYPES[kind], stride, offset, elements)
            # a seventh argument would mark a negated or conjugated view
            case _:
                return None
        if not _inside(stored):
            raise ValueError(f"{self.path}: a tensor reaches outside of its storage {key!r}")
        if self._entry(f"data/{key}")[1].file_size != elements * stored.dtype.itemsize:
            raise ValueError(f"{self.path}: storage {key!r} does not hold {elements} elements")
        return stored

    def load(self, stored: StoredTensor, dtype: WeightType = "float32") -> Tensor:
        """The tensor itself, contiguous, in memory of its own; ValueError if its checksum differs."""
        content = self.read(f"data/{stored.key}")
        if self._swap:
            np.frombuffer(content, f"u{stored.dtype.itemsize}").byteswap(inplace=True)
        tensor = torch.frombuffer(content, dtype=stored.dtype).as_strided(stored.shape, stored.stride, stored.offset)
        return owned(tensor, dtype, copy=tensor.numel() < stored.elements)

    def storages(self, value: Any, seen: set[int]) -> dict[str, int]:
        """Bytes of every storage that is reached from `value`, by its key; not through objects whose id is in `seen`,
        to which those on the way are added."""
        found: dict[str, int] = {}
        left = [value]
        while left:
            value = left.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            match value:
                case Record("<storage>", ("storage", _, str(key), *_)):
                    found[key] = self._entry(f"data/{key}")[1].file_size
                case Record():
                    left += [value.arguments, value.state, value.entries, value.elements]
                case dict():
                    left += value.values()
                case list() | tuple():
                    left += value
        return found


def _inside(stored: StoredTensor) -> bool:
    """Whether the tensor has elements, no more than its storage, and all of them there."""
    numbers = (*stored.shape, *stored.stride, stored.offset)
    if len(stored.shape) != len(stored.stride) or len(stored.shape) > 8:
        return False
    if not all(isinstance(n, int) and 0 <= n <= stored.elements for n in numbers) or 0 in stored.shape:
        return False
    highest = stored.offset + sum((n - 1) * step for n, step in zip(stored.shape, stored.stride))
    return highest < stored.elements and math.prod(stored.shape) <= stored.elements
