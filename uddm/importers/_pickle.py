"""Pickles read without running anything they contain, and what OmegaConf pickles as plain dicts.

A pickle is a program for a stack machine. `read_pickle` runs it on a machine that can make constants, lists, tuples and
dicts and nothing else: a global is a name that is never looked up, a call is a `Record` of that name and its arguments,
and so no class or function of any module is touched, whatever the file asks for.

Made by hand, since time and memory must be linear in the length of a hostile file. `pickle.Unpickler` is not, even with
a `find_class` that gives nothing away: it makes room for any memo index that is named (five bytes ask for gigabytes)
and hashes any key (that of a tuple nested deep enough ends the process). `torch.load` with `weights_only` refuses
whatever is not of torch, as configurations are not.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import Any

CONSTANTS = {
    op.name
    for op in pickletools.opcodes
    if op.arg and not op.stack_before and op.stack_after and op.stack_after[0] is not pickletools.anyobject
}
CONTAINERS = {"collections.OrderedDict": 0, "collections.defaultdict": 1}  # read as plain dicts; arguments when empty


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
