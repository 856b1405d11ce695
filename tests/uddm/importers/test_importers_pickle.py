"""Pickles: nothing in them is executed, plain data are read, and hostile ones cost no more than their length."""

import contextlib
import copyreg
import io
import os
import pickle
import pickletools
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from published_files import AVERAGE, SETTINGS, checkpoint, same, save

from uddm.importers import convert, import_published, inspect_published
from uddm.importers._pickle import Record, plain, read_pickle

# --- Nothing is executed


class Command:
    """Its pickle creates a file when it is loaded the usual way."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payloads(marker):
    create = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Command(os.system, f"touch {marker}"),
        "builtins.exec": Command(exec, create),
        "builtins.eval": Command(eval, create),
        "method of an object": Command(Path.touch, marker),
        "nested": Command(getattr, Command(__import__, "os"), "system"),
        "subprocess": Command(subprocess.call, ["touch", str(marker)]),
        "reconstructor": Command(copyreg._reconstructor, Path, object, None),
    }


@pytest.mark.parametrize("kind", payloads(Path("x")))
@pytest.mark.parametrize("protocol", [2, 4])
def test_planted_code_does_not_run(tmp_path, kind, protocol):
    marker = tmp_path / "ran"
    payload = payloads(marker)[kind]
    content = checkpoint(hyper_parameters={"config": SETTINGS, "tokenizer": payload}, callbacks=payload)
    torch.save(content, tmp_path / "a.ckpt", pickle_protocol=protocol)
    assert same(import_published(tmp_path / "a.ckpt"), AVERAGE)
    assert inspect_published(tmp_path / "a.ckpt").settings == SETTINGS
    convert(tmp_path / "a.ckpt", tmp_path / "out")
    assert not marker.exists()
    # in the place of what is needed, too
    for name, value in {"hyper_parameters": payload, "state_dict": payload, "ema": payload}.items():
        torch.save(checkpoint(**{name: value}), tmp_path / "b.ckpt", pickle_protocol=protocol)
        with pytest.raises(ValueError, match=r"b\.ckpt"):
            import_published(tmp_path / "b.ckpt")
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["os.system", "builtins.exec", "builtins.eval", "method of an object", "subprocess"])
def test_planted_code_would_run(tmp_path, kind):
    """Negative control: the usual loader runs it."""
    save(tmp_path / "a.ckpt", callbacks=payloads(tmp_path / "ran")[kind])
    torch.load(tmp_path / "a.ckpt", weights_only=False)
    assert (tmp_path / "ran").exists()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def programs(marker):
    """Every way in which a pickle can call something, as opcodes."""
    command = text(f"touch {marker}")
    return {
        "REDUCE": b"\x80\x02cposix\nsystem\n" + command + b"\x85R.",
        "INST": b"(" + command + b"iposix\nsystem\n.",
        "OBJ": b"(cposix\nsystem\n" + command + b"o.",
        "STACK_GLOBAL": b"\x80\x04" + text("posix") + text("system") + b"\x93" + command + b"\x85R.",
        "dotted STACK_GLOBAL": b"\x80\x04" + text("shutil") + text("os.system") + b"\x93" + command + b"\x85R.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n" + text("touch") + text(str(marker)) + b"\x86\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n)}"
        + text("args")
        + text("touch")
        + text(str(marker))
        + b"\x86s\x92.",
        "SETITEM": b"cos\nenviron\n" + text(f"PLANTED_{marker.name}") + text("yes") + b"s.",
        "APPEND": b"csys\npath\n" + command + b"a.",
        "EXTEND by REDUCE": b"csys\npath\n(" + command + b"e.",
        "call of a call": b"cbuiltins\ngetattr\ncposix\nsystem\n" + text("__call__") + b"\x86R" + command + b"\x85R.",
    }


@pytest.mark.parametrize("kind", programs(Path("x")))
def test_opcodes_that_call(tmp_path, kind):
    marker = tmp_path / f"ran_{os.getpid()}"
    path = list(sys.path)
    read = read_pickle(programs(marker)[kind])
    assert isinstance(read, Record)
    assert not marker.exists()
    assert sys.path == path
    assert f"PLANTED_{marker.name}" not in os.environ


@pytest.mark.parametrize("kind", ["REDUCE", "INST", "OBJ", "STACK_GLOBAL", "dotted STACK_GLOBAL", "call of a call"])
def test_opcodes_that_would_call(tmp_path, kind):
    """Negative control of `programs`."""
    pickle.loads(programs(tmp_path / "ran")[kind])
    assert (tmp_path / "ran").exists()


def test_state_is_not_set(tmp_path):
    """BUILD calls `__setstate__`, or fills `__dict__`, of whatever a call made."""
    build = b"cos\n__dict__\n}" + text("sep") + text("planted") + b"sb."
    assert read_pickle(build).state == {"sep": "planted"}
    assert os.sep == "/"


@pytest.mark.parametrize(
    "program",
    [
        b"\x82\x01.",
        b"\x83\x01\x00.",
        b"\x84\x01\x00\x00\x00.",
        b"\x80\x05\x97.",
        b"\x80\x05N\x98.",
        b".",
        b"",
        b"N",
        b"0.",
        b"t.",
        b"h\x05.",
        b"R.",
        b"NNR.",
        b"N\x85a.",
        b"NNNs.",
        b"]NNs.",
        b"}(Nu.",
        b"\x80\x04NN\x93.",
        b"I9" + b"9" * 5000 + b"\n.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab.",
        b"\x8b\xff\xff\xff\x7fab.",
        b"\x8a\xff.",
    ],
)
def test_malformed_pickles(program):
    if program == b"NNR.":
        assert isinstance(read_pickle(program), Record)
    else:
        with pytest.raises(ValueError, match="not a readable pickle"):
            read_pickle(program)


def test_extension_registry_is_not_used(tmp_path):
    """An extension code stands for a global that is never looked up by name."""
    copyreg.add_extension("posix", "system", 217)
    try:
        program = b"\x80\x02\x82\xd9" + text(f"touch {tmp_path / 'ran'}") + b"\x85R."
        with pytest.raises(ValueError, match="EXT1"):
            read_pickle(program)
        assert not (tmp_path / "ran").exists()
        pickle.loads(program)  # negative control
        assert (tmp_path / "ran").exists()
    finally:
        copyreg.remove_extension("posix", "system", 217)
        copyreg.clear_extension_cache()


# --- Plain data


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()


values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.tuples(inner, inner)
        | st.lists(inner, max_size=5).map(tuple)
    ),
)


@given(values, st.integers(3, 5), st.booleans())
def test_plain_data_are_read_as_by_pickle(value, protocol, slow):
    """At protocols below 3, bytes are calls."""
    file = io.BytesIO()
    (pickle._Pickler if slow else pickle.Pickler)(file, protocol).dump(value)
    assert read_pickle(file.getvalue()) == value


@given(st.lists(st.none() | st.booleans() | st.integers() | st.text()), st.integers(0, 5))
def test_old_protocols(value, protocol):
    data = pickle.dumps({"a": [*value], "b": (*value, *value), "c": {n: v for n, v in enumerate(value)}}, protocol)
    assert read_pickle(data) == pickle.loads(data)


@given(st.binary(max_size=60) | st.lists(st.sampled_from([o.code for o in pickletools.opcodes])).map("".join))
def test_any_bytes_give_a_value_or_a_value_error(data):
    data = data.encode("latin-1") if isinstance(data, str) else data
    with contextlib.suppress(ValueError):
        read_pickle(data + b".")


@pytest.mark.parametrize(
    "program",
    [
        b"N" + b"\x85" * 200_000 + b".",
        b"]" * 200_000 + b"a" * 199_999 + b".",
        b"}N" + b"\x85" * 200_000 + b"Ns.",  # the hash of a deep tuple would overflow the stack
        b"cos\nsystem\n" + b")R" * 200_000 + b".",
        b"]q\x00h\x00a.",
    ],
)
def test_depth_does_not_matter(program):
    read = read_pickle(program)
    if isinstance(read, dict | Record):  # no configuration
        assert plain(read) in ({}, None)
    else:
        with pytest.raises(ValueError, match="large or deep"):
            plain(read)
