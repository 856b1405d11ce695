"""Arguments of every public function, changed from valid ones: ``python -m tests.fuzz.arguments [WORD ...]``.

What a call may come to: a result, or a ValueError or TypeError that names an argument, as `` `name` ``. A change that
keeps the value (another memory layout, byte order or integer type, a numpy scalar, a list) must give the same result,
or be refused by name; one that no function could mean (text for a number, NaN for a size) must be refused. Arguments
stay as they were. A file that is not there or cannot be used is an OSError or an UnreadableFile.
"""

import argparse
import copy
import faulthandler
import inspect
import math
import os
import random
import re
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy import sparse

from tests.fuzz import calls
from tests.fuzz.calls import Call

LONGEST = 10.0  # CPU-seconds that one call may take
MEMORY = 4 * 2**30  # bytes that the process may take beside what it has
OBJECT = object()

# those of which a huge number asks for work without end, which a function may begin
WORK = {"steps", "n_steps", "samples", "starts", "resamples", "times", "draws", "probes", "passages", "training_steps",
        "generated"}  # fmt: skip
# what means nothing to us, or that a caller may pass on: names of things, and whatever the hint says may be anything
# or that may be unknown, as the quantile of one sample is NaN
FREE = {
    "tokenizer", "name", "statement", "source", "statistic", "reason", "progress", "options", "changes", "given",
    "quantile",
}  # fmt: skip
# of which what they are made of speaks by names of its own
ALSO = {
    **dict.fromkeys(
        ["bridges.UTurn", "bridges.probe", "bridges.SequentialSystem", "bridges.as_system"], ("memory", "path_or_repo")
    ),
    **dict.fromkeys(
        ["bridges.attraction", "bridges.extraction", "bridges.precision_audit", "bridges.token_recovery"], ("start",)
    ),
    "bridges.compare_basins": ("patterns",),  # drawn ones; of so few spins some are unfit
}
# valid calls that take longer than any call may here
LONG = {("bridges.check_all", "only", "None"), ("bridges.probe", "steps", "None")}


# ---- values -------------------------------------------------------------------------------------------------------


def readonly(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def strided(a):
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def backwards(a):
    return a[..., ::-1].copy()[..., ::-1]


def integers(dtype):
    def change(a):
        if a.dtype.kind not in "iu" or (a.astype(dtype) != a).any():
            raise Unsuitable
        return a.astype(dtype)

    return change


def strided_tensor(t):
    return torch.stack([t, t], -1)[..., 0]


class Unsuitable(Exception):
    """A change that makes nothing of this value."""


# changes that keep the value
ARRAYS_ALIKE: dict[str, Callable[[np.ndarray], Any]] = {
    "read-only": readonly,
    "strided": strided,
    "backwards": backwards,
    "Fortran": np.asfortranarray,
    "swapped bytes": lambda a: a.astype(a.dtype.newbyteorder()),
    "list": lambda a: a.tolist(),
    "masked, nowhere": lambda a: np.ma.masked_array(a),
    "subclass": lambda a: a.view(np.memmap),
    **{dtype: integers(dtype) for dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint64")},
    "tensor": lambda a: torch.as_tensor(a.copy()),
}
TENSORS_ALIKE: dict[str, Callable[[torch.Tensor], Any]] = {
    "strided": strided_tensor,
    "transposed": lambda t: t.mT.contiguous().mT if t.ndim > 1 else t,
    "array": lambda t: t.numpy().copy(),
    "leaf": lambda t: t.clone().requires_grad_() if t.is_floating_point() else t.int(),
    "list": lambda t: t.tolist(),
}
INTEGERS_ALIKE: dict[str, Callable[[int], Any]] = {
    "int64": np.int64,
    "uint8": lambda n: np.uint8(n) if 0 <= n < 256 else np.uint64(n) if n >= 0 else np.int32(n),
    "0-d": lambda n: np.array(n),
    "tensor": lambda n: torch.tensor(n),
    "flag": lambda n: n,
}
FLOATS_ALIKE: dict[str, Callable[[float], Any]] = {
    "float64": np.float64,
    "0-d": lambda x: np.array(x),
    "tensor": lambda x: torch.tensor(x, dtype=torch.float64),
    "Fraction": Fraction,
}
STRINGS_ALIKE: dict[str, Callable[[str], Any]] = {"str_": np.str_}

# any others: those of ANYTHING, and of arrays and numbers what stands near them
ANYTHING: dict[str, Any] = {
    "None": None, "True": True, "text": "text", "empty text": "", "surrogate": "\ud800", "bytes": b"x",
    "object": OBJECT,
    "nan": math.nan, "infinity": math.inf, "-infinity": -math.inf, "-1": -1, "0": 0, "1": 1, "2": 2, "0.5": 0.5,
    "1.5": 1.5, "-0.0": -0.0, "1e-300": 1e-300, "1e300": 1e300, "2**31": 2**31, "2**63": 2**63, "2**64": 2**64,
    "10**30": 10**30, "-10**30": -(10**30), "10**400": 10**400, "1j": 1j, "float32": np.float32(0.5),
    "longdouble": np.longdouble(0.5), "int8": np.int8(-1), "[]": [], "()": (), "{}": {}, "set": {1}, "[None]": [None],
    "array of text": np.array(["a", "b"]), "array of objects": np.array([None, 1]), "0-d text": np.array("text"),
    "empty array": np.zeros(0), "empty matrix": np.zeros((0, 0)), "masked": np.ma.masked, "Decimal": Decimal("0.5"),
    "class": int, "module": math, "NaT": np.datetime64("NaT"), "ragged": [[1, 2], [3]], "tensor": torch.tensor([0.5]),
    "empty tensor": torch.zeros(0), "sparse": torch.eye(2).to_sparse(), "fields": np.zeros(2, [("a", int), ("b", int)]),
    "range": range(3), "path": Path("nowhere/at all"), "path with NUL": "a\0b", "Dataset": xr.Dataset(),
}  # fmt: skip


def one(value):
    """Change one element."""

    def change(a):
        a = a.astype(np.result_type(a, np.asarray(value).dtype))
        a.reshape(-1)[-1:] = value
        return a

    return change


ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "none": lambda a: a[:0],
    "first": lambda a: a[:1],
    "no columns": lambda a: a[..., :0],
    "one column": lambda a: a[..., :1],
    "one row": lambda a: a[0],
    "one more axis": lambda a: a[None],
    "flat": np.ravel,
    "transposed": lambda a: a.T,
    "twice": lambda a: np.concatenate([a, a]),
    "twice as long": lambda a: np.concatenate([a, a], -1),
    "one NaN": one(math.nan),
    "one infinity": one(math.inf),
    "one -1": one(-1),
    "one huge": one(2**62),
    "one 1e300": one(1e300),
    "one more": lambda a: a + 1,
    "nothing": lambda a: 0 * a,
    "halves": lambda a: a + 0.5,
    "negative": lambda a: -1 * a,
    "masked": lambda a: np.ma.masked_array(a, np.arange(a.size).reshape(a.shape) == 0),
    **{
        dtype: lambda a, dtype=dtype: a.astype(dtype)
        for dtype in (
            "float16",
            "float32",
            "longdouble",
            "complex64",
            "complex128",
            "bool",
            "object",
            "str",
            "S4",
            "M8[s]",
        )
    },
    "float64": lambda a: a.astype(float),
}
TENSORS: dict[str, Callable[[torch.Tensor], Any]] = {
    **{
        name: lambda t, change=change: torch.as_tensor(change(t.numpy().copy()))
        for name, change in ARRAYS.items()
        if name not in ("longdouble", "object", "str", "S4", "M8[s]", "masked")
    },
    "bfloat16": lambda t: t.bfloat16(),
    "sparse": lambda t: t.to_sparse(),
    "meta": lambda t: t.to("meta"),
    "dim names": lambda t: t.unsqueeze(0),
}
NUMBERS: dict[str, Callable[[Any], Any]] = {
    "one more": lambda n: n + 1,
    "negative": lambda n: -n,
    "twice": lambda n: 2 * n,
    "nearby": lambda n: math.nextafter(n, math.inf),
    "as text": str,
    "in a list": lambda n: [n],
    "in an array": lambda n: np.array([n]),
    "half": lambda n: n / 2,
}
SEQUENCES: dict[str, Callable[[Any], Any]] = {
    "none": lambda s: s[:0],
    "first": lambda s: s[:1],
    "twice": lambda s: s + s,
    "backwards": lambda s: s[::-1],
    "as text": str,
    "with None": lambda s: [*s, None],
    "with NaN": lambda s: [*s, math.nan],
    "iterator": iter,
}


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def alike(value: Any) -> dict[str, Callable[[Any], Any]]:
    """The changes that keep a value of this kind."""
    if is_array(value):
        return ARRAYS_ALIKE
    if isinstance(value, torch.Tensor):
        return TENSORS_ALIKE
    if isinstance(value, bool):
        return {"bool_": np.bool_}
    for kind, changes in ((int, INTEGERS_ALIKE), (float, FLOATS_ALIKE), (str, STRINGS_ALIKE)):
        if isinstance(value, kind):
            return changes
    if isinstance(value, Path):
        return {"text": str}
    if isinstance(value, list) and value and all(isinstance(v, int | float) for v in value):
        return {
            "tuple": tuple,
            "array": np.array,
            **{k: lambda v, f=f: f(np.array(v)) for k, f in ARRAYS_ALIKE.items()},
        }
    return {"tuple": tuple} if isinstance(value, list) else {}


def unlike(value: Any) -> dict[str, Callable[[Any], Any]]:
    """The other changes."""
    near: dict[str, Callable[[Any], Any]] = {}
    if is_array(value):
        near = ARRAYS
    elif isinstance(value, torch.Tensor):
        near = TENSORS
    elif isinstance(value, int | float):
        near = NUMBERS
    elif isinstance(value, list | tuple | str):
        near = SEQUENCES
    return near | {name: lambda _, v=v: v for name, v in ANYTHING.items()}


def changes(name: str, value: Any) -> Iterator[tuple[str, bool, Callable[[Any], Any]]]:
    """(what is done to an argument, whether its value stays, how)."""
    for what, change in alike(value).items():
        yield what, True, change
    for what, change in unlike(value).items():
        if not (name in WORK and what in ("2**31", "2**63", "2**64", "10**30", "10**400")):
            yield what, False, change


def meaningless(what: str, parameter: inspect.Parameter, value: Any) -> bool:
    """Whether no function takes the changed argument for what its hint says."""
    hint = str(parameter.annotation)
    if parameter.name in FREE or "Any" in hint or what == "None" or (what == "Dataset" and "Mapping" in hint):
        return False
    number = (
        isinstance(value, int | float) and not isinstance(value, bool) and not re.search("str|Literal|Schedule", hint)
    )
    array = is_array(value) or isinstance(value, torch.Tensor)
    if what in ("object", "class", "module", "Dataset"):
        return not isinstance(value, bool)
    if number and what in (
        "text",
        "surrogate",
        "bytes",
        "1j",
        "nan",
        "{}",
        "set",
        "array of text",
        "as text",
        "ragged",
    ):
        return True
    return array and what in ("text", "complex128", "str", "objectM8[s]", "masked", "array of text", "ragged", "{}")


# ---- one call -----------------------------------------------------------------------------------------------------


def same(a: Any, b: Any) -> bool:
    """Whether two results are, up to rounding."""
    if isinstance(a, xr.Dataset | xr.DataArray):
        return (type(a) is type(b) and a.drop_attrs().broadcast_equals(b.drop_attrs())) or _close_labelled(a, b)
    if isinstance(a, torch.Tensor | np.ndarray | np.generic | float | int | bool):
        return _close(a, b)
    if sparse.issparse(a):
        return sparse.issparse(b) and _close(a.toarray(), b.toarray())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "fit"):
        return all(same(value, vars(b)[key]) for key, value in vars(a).items() if key.endswith("_"))
    if is_dataclass(a) and not isinstance(a, type):
        names = [field.name for field in fields(a) if field.compare and field.name != "record"]  # which has the time
        return all(same(getattr(a, name), getattr(b, name)) for name in names)
    if isinstance(a, torch.nn.Module):
        return same(dict(a.state_dict()), dict(b.state_dict()))
    return a == b or type(a).__eq__ is object.__eq__ or callable(a) or isinstance(a, Path)


def _close(a: Any, b: Any) -> bool:
    if any(isinstance(v, torch.Tensor) and (v.layout is not torch.strided or v.is_meta) for v in (a, b)):
        return type(a) is type(b) and a.shape == b.shape
    a, b = (v.detach().float() if isinstance(v, torch.Tensor) and v.dtype is torch.bfloat16 else v for v in (a, b))
    a, b = (np.asarray(v.detach() if isinstance(v, torch.Tensor) else v) for v in (a, b))
    a, b = (v.astype(float) if v.dtype == object and v.size == 1 else v for v in (a, b))
    if "O" in (a.dtype.kind, b.dtype.kind) or a.dtype.kind not in "fc":
        return a.shape == b.shape and bool(np.all(a == b))
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-7, equal_nan=True)


def _close_labelled(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, xr.DataArray):
        return a.dims == b.dims and _close(a.values, b.values)
    return set(a.variables) == set(b.variables) and all(
        _close(a[k].values, b[k].values) if a[k].dtype.kind in "fiub" else bool((a[k].values == b[k].values).all())
        for k in a.variables
    )


def names_an_argument(error: BaseException, call: Call, arguments: dict[str, Any], path: bool) -> bool:
    """Whether a refusal says in backticks what it is about: an argument, or a field of one."""
    from uddm.files import UnreadableFile

    if path and isinstance(error, OSError | UnreadableFile):
        return True
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return True  # of sizes that are honest
    if not isinstance(error, ValueError | TypeError):
        return False
    inside = (key for value in arguments.values() if isinstance(value, dict) for key in value)
    known = {*ALSO.get(call.name, ()), *inside, *call.signature.parameters}
    quoted = {re.split(r"\W", text)[0] for text in re.findall(r"`+([^`]+)`", str(error))}
    return bool(known & quoted)


class Endless(BaseException):
    """A call took too long; what takes long outside of Python ends the process, a while later."""


def give_up(*_):
    raise Endless


class Finding(Exception):
    """What a call should not have come to."""


def judge(call: Call, changed: dict[str, tuple[str, bool, Any]], expected: Any) -> str:
    """Call a function with changed arguments; what it came to. Raises Finding."""
    arguments = calls.arguments_of(call.name, call.signature)
    arguments |= {name: value for name, (_, _, value) in changed.items()}
    before = copy.deepcopy(
        {k: v for k, v in arguments.items() if isinstance(v, np.ndarray | torch.Tensor | list | dict)}
    )
    told = ", ".join(f"{name}: {what}" for name, (what, _, _) in changed.items())
    hints = {n: f"{call.signature.parameters[n].annotation}{n}" for n in changed}
    path = any(
        isinstance(value, str | Path) or re.search("Path|folder|path|file|dir|spec", hints[name])
        for name, (_, _, value) in changed.items()
    )
    try:
        found = call(arguments)
        if inspect.isgenerator(found):
            found = list(found)
    except Exception as error:
        if names_an_argument(error, call, arguments, path):
            return "refused"
        raise Finding(f"{call.name}({told}) -> {type(error).__name__}: {str(error)[:200]}") from error
    if not all(same(before[name], arguments[name]) for name in before if changed.get(name, ("",))[0] != "leaf"):
        raise Finding(f"{call.name}({told}) changes its arguments")
    if all(keeps for _, keeps, _ in changed.values()) and not same(expected, found):
        raise Finding(f"{call.name}({told}) gives another result: {str(found)[:150]!r}, not {str(expected)[:150]!r}")
    for name, (what, keeps, _) in changed.items():
        if not keeps and meaningless(what, call.signature.parameters[name], call.arguments[name]):
            raise Finding(f"{call.name}({told}) gives a result: {str(found)[:150]!r}")
    return "done"


def some_changes(call: Call, rng: random.Random) -> dict[str, tuple[str, bool, Callable[[Any], Any]]]:
    """One to three arguments of a call, and what to make of them."""
    names = [n for n, p in call.signature.parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    several = min(rng.choice((1, 1, 1, 2, 3)), len(names))
    return {name: rng.choice(list(changes(name, call.arguments[name]))) for name in rng.sample(names, several)}


def applied(call: Call, chosen: dict[str, tuple[str, bool, Callable]]) -> dict[str, tuple[str, bool, Any]]:
    made = {}
    for name, (what, keeps, change) in chosen.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made[name] = (what, keeps, change(copy.deepcopy(call.arguments[name])))
        except (Unsuitable, TypeError, ValueError, OverflowError, IndexError, RuntimeError, AttributeError):
            continue
    return made


class Fuzz:
    """Calls a function again and again, and keeps account."""

    def __init__(self, examples: int, start: int):
        self.examples, self.start = examples, start
        self.count: Counter[str] = Counter()
        self.findings: dict[str, str] = {}

    def of(self, name: str, make: Callable[[], Any], signature: inspect.Signature, every: bool) -> None:
        try:
            call = Call(name, make(), signature, calls.arguments_of(name, signature))
            expected = call(calls.arguments_of(name, signature))
            if inspect.isgenerator(expected):
                expected = list(expected)
        except Exception as error:
            self.found(name, f"{name} has no valid call: add a row to CALLS in tests/fuzz/calls.py ({error!r})")
            return
        self.count["functions"] += 1
        if not call.arguments or all(
            p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in signature.parameters.values()
        ):
            return

        def once(chosen):
            changed = {n: change for n, change in applied(call, chosen).items() if (name, n, change[0]) not in LONG}
            if changed:
                signal.alarm(int(10 * LONGEST))
                signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)
                told = {n: what for n, (what, _, _) in changed.items()}
                LAST.write(f"{name} {told}\n")
                try:
                    self.count["examples"] += 1
                    self.count[judge(call, changed, expected)] += 1
                except Finding as found:
                    self.count["findings"] += 1
                    self.found(self.kind(name, changed, found), str(found))
                    if "-v" in sys.argv:
                        traceback.print_exc()
                except Endless:
                    self.count["findings"] += 1
                    self.found(f"{name} {sorted(changed)} endless", f"{name}({told}) takes more than {LONGEST:g} s")
                finally:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                    signal.alarm(0)

        if every:
            for argument, value in call.arguments.items():
                if signature.parameters[argument].kind in (
                    inspect.Parameter.VAR_KEYWORD,
                    inspect.Parameter.VAR_POSITIONAL,
                ):
                    continue
                for change in changes(argument, value):
                    once({argument: change})
        rng = random.Random(f"{name} {self.start}")
        for _ in range(self.examples):
            once(some_changes(call, rng))

    def found(self, kind: str, text: str) -> None:
        if kind not in self.findings:
            self.findings[kind] = text
            print(text.replace("\n", " "), flush=True)

    @staticmethod
    def kind(name: str, changed: dict, found: Finding) -> str:
        return f"{name} {sorted(changed)} {re.sub('[^a-zA-Z ]', '', str(found).partition('->')[2])[:60]}"


LAST = sys.stderr


def main() -> str | None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.arguments", description=__doc__)
    parser.add_argument("words", nargs="*", help="only functions with one of these in their names")
    parser.add_argument("--examples", type=int, default=0, help="random changes of one to three arguments of each")
    parser.add_argument("--quick", action="store_true", help="leave out the functions that take seconds")
    parser.add_argument("--every", action="store_true", help="besides, every change of one argument")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin with no other function after that")
    parser.add_argument("--last", type=Path, help="a file that says what was called last")
    options = parser.parse_args()
    global LAST
    LAST = open(options.last or os.devnull, "w", buffering=1)  # noqa: SIM115
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    warnings.simplefilter("ignore")  # a result of NaN or infinity, told by a warning, is an honest one
    signal.signal(signal.SIGVTALRM, give_up)
    faulthandler.register(signal.SIGALRM, chain=True)  # says where it is, and ends the process
    torch.set_num_threads(1)
    os.chdir(calls.FOLDER)  # a text may be the path of something that is written

    fuzz, start = Fuzz(options.examples, options.seed), time.monotonic()
    for name, make, signature in calls.functions():
        if time.monotonic() - start > options.seconds:
            break
        if options.quick and name in calls.SLOW:
            continue
        if not options.words or any(word in name for word in options.words):
            fuzz.of(name, make, signature, options.every)
    print(", ".join(f"{n} {what}" for what, n in fuzz.count.items()))
    return f"{len(fuzz.findings)} kinds of findings" if fuzz.findings else None


if __name__ == "__main__":
    sys.exit(main())
