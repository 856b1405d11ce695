"""Files of `torch.save`, Lightning checkpoints among them, read without running anything they contain.

A pickle is a program for a stack machine. `read_pickle` runs it on a machine that can make constants, lists, tuples and
dicts and nothing else: a global is a name that is never looked up, a call is a `Record` of that name and its arguments,
and so no class or function of any module is touched, whatever the file asks for. Tensors stay records, too: `TorchFile`
reads the numbers of those that are asked for, verifies their checksums, and leaves the rest on the disk.
"""

from __future__ import annotations

import math
import pickletools
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

CONSTANTS = {
    op.name
    for op in pickletools.opcodes
    if op.arg and not op.stack_before and op.stack_after and op.stack_after[0] is not pickletools.anyobject
}
CONTAINERS = {"collections.OrderedDict": 0, "collections.defaultdict": 1}  # read as plain dicts; arguments when empty
DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
}
LARGEST_PICKLE = 2**28
LOCAL_HEADER = struct.Struct("<4s22xHH")


@dataclass(eq=False)
class Record:
    """What a pickle would have made by calling the global `name` with `arguments` (None: the global itself).

    `state` is what it would then have set, `entries` and `elements` what it would have put in.
    """

    name: str
    arguments: Any = None
    state: Any = None
    entries: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)


def read_pickle(data: bytes | bytearray) -> Any:
    """The constants, lists, tuples, dicts and `Record`s that a pickle describes; sets are read as lists.

    Time and memory are linear in the length of `data`. Raises ValueError if it is not a pickle, or uses the registry of
    extensions or out-of-band buffers, which no file of `torch.save` does.
    """
    try:
        return _run(data)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"not a readable pickle: {type(error).__name__}: {error}") from error


def _run(data: bytes | bytearray) -> Any:
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        taken = stack[start:]
        del stack[start:]
        return taken

    def last(n: int) -> list[Any]:
        if n > len(stack):
            raise IndexError("empty stack")
        taken = stack[len(stack) - n :]
        del stack[len(stack) - n :]
        return taken

    argument: Any
    for opcode, argument, _ in pickletools.genops(data):
        match opcode.name:
            case name if name in CONSTANTS:
                stack.append(argument)
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE" as name:
                stack.append(name == "NEWTRUE")
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                stack.append(tuple(last(int(name[-1]))))
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "LIST" | "FROZENSET":
                stack.append(since_mark())
            case "DICT":
                items = since_mark()
                stack.append({})
                _set_items(stack[-1], items)
            case "APPEND":
                (item,) = last(1)
                _extend(stack[-1], [item])
            case "APPENDS" | "ADDITEMS":
                items = since_mark()
                _extend(stack[-1], items)
            case "SETITEM":
                items = last(2)
                _set_items(stack[-1], items)
            case "SETITEMS":
                items = since_mark()
                _set_items(stack[-1], items)
            case "MARK":
                marks.append(len(stack))
            case "POP" if marks and marks[-1] == len(stack):
                marks.pop()
            case "POP":
                last(1)
            case "POP_MARK":
                since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_global(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_global(*last(2)))
            case "REDUCE" | "NEWOBJ":
                stack.append(_call(*last(2)))
            case "NEWOBJ_EX":
                function, arguments, keywords = last(3)
                stack.append(_call(function, (arguments, keywords)))
            case "INST":
                stack.append(_call(_global(*argument.split(" ", 1)), tuple(since_mark())))
            case "OBJ":
                function, *arguments = since_mark()
                stack.append(_call(function, tuple(arguments)))
            case "BUILD":
                (state,) = last(1)
                if isinstance(stack[-1], Record):  # the attributes of a container are of no use
                    stack[-1].state = state
            case "PERSID":
                stack.append(Record("<storage>", argument))
            case "BINPERSID":
                stack.append(Record("<storage>", *last(1)))
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case name:
                raise ValueError(f"opcode {name}")
    raise ValueError("no end")


def _global(module: Any, name: Any) -> Record:
    if not (isinstance(module, str) and isinstance(name, str)):
        raise TypeError("a global must be named by strings")
    return Record(f"{module}.{name}")


def _call(function: Any, arguments: Any) -> Any:
    if not isinstance(function, Record) or function.arguments is not None:
        return Record("<call>", (function, arguments))
    if isinstance(arguments, tuple) and CONTAINERS.get(function.name) == len(arguments):
        return {}
    return Record(function.name, arguments)


def _extend(target: Any, items: list[Any]) -> None:
    elements = target.elements if isinstance(target, Record) else target
    if not isinstance(elements, list):
        raise TypeError(f"cannot append to {type(target).__name__}")
    elements.extend(items)


def _set_items(target: Any, items: list[Any]) -> None:
    entries = target.entries if isinstance(target, Record) else target
    if not isinstance(entries, dict):
        raise TypeError(f"cannot set an item of {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Hashing a deeply nested tuple overflows the C stack, and keys other than scalars are of no use.
        scalar = key is None or isinstance(key, str | int | float | bytes)
        entries[key if scalar else Record("<key>", key)] = value


def plain(value: Any, *, most: int = 100_000, deepest: int = 64) -> Any:
    """OmegaConf objects, namespaces and containers of them as dicts, lists and scalars; None for anything else.

    Raises ValueError if that makes more than `most` values, or nests deeper than `deepest`.
    """
    left = most

    def convert(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > deepest:
            raise ValueError("a configuration that large or deep is not read")
        match value:
            case None | str() | bool() | float():
                return value
            case int() if value.bit_length() < 64:
                return value
            case dict():
                return {str(k): convert(v, depth + 1) for k, v in value.items() if isinstance(k, str | int | float)}
            case list() | tuple():
                return [convert(v, depth + 1) for v in value]
            case Record(state={"_content": content}) | Record(state={"_val": content}):
                return convert(content, depth + 1)
            case Record(name="argparse.Namespace", state=dict() as content):
                return convert(content, depth + 1)
            case Record(entries=content) if content:
                return convert(content, depth + 1)
        return None

    return convert(value, 0)


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor of floating-point numbers lies: in the storage `key` of so many `elements`, strided."""

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

    def load(self, stored: StoredTensor) -> Tensor:
        """The tensor itself, float32 and contiguous, in memory of its own; ValueError if its checksum differs."""
        content = self.read(f"data/{stored.key}")
        if self._swap:
            np.frombuffer(content, f"u{stored.dtype.itemsize}").byteswap(inplace=True)
        storage = torch.frombuffer(content, dtype=stored.dtype)
        tensor = storage.as_strided(stored.shape, stored.stride, stored.offset).float().contiguous()
        return tensor if tensor.numel() * 4 == tensor.untyped_storage().nbytes() else tensor.clone()

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
