"""What is public is documented: a docstring that names every parameter, examples that run, and a list of the names
that somebody has read. After a change of what is public: ``python -m tests.test_docstrings > tests/public_names.txt``.
"""

import ast
import doctest
import functools
import inspect
import re
import sys
import textwrap
import types
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("amtheory", "uddm", "bridges")
NAMES = ROOT / "tests" / "public_names.txt"
# the functions of `uddm` that have an example; in the other packages each one has, and so has every class
MAIN = (
    "uddm.corpora.load_corpus",
    "uddm.corpora.prepare_blocks",
    "uddm.corpora.tokenizer_from_name",
    "uddm.duality.uniform_alpha",
    "uddm.evidence_bound",
    "uddm.nelbo",
    "uddm.reverse",
    "uddm.train",
)


def names_of(module: types.ModuleType) -> list[str]:
    """What a module offers: its ``__all__``; without one, the functions and classes that it, or a package's own file,
    defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    inside = (module.__name__ + ".") if hasattr(module, "__path__") else module.__name__
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isroutine(inspect.unwrap(thing)) or inspect.isclass(thing))
        and f"{thing.__module__}.".startswith(inside)
        and (hasattr(module, "__path__") or thing.__module__ == module.__name__)
    ]


@functools.cache
def public(package: str) -> dict[str, object]:
    """What a package and the modules among its names offer, by dotted name; these modules, too."""
    found, open_ = {}, [import_module(package)]
    while open_:
        module = open_.pop()
        for name in names_of(module):
            thing = getattr(module, name)
            found[f"{module.__name__}.{name}"] = thing
            if isinstance(thing, types.ModuleType):
                open_.append(thing)
    return found


def callables(package: str) -> dict[str, object]:
    """Each public function and class once, under the shortest of its names."""
    found: dict[int, str] = {}
    things = public(package)
    for name in sorted(things, key=lambda name: (name.count("."), name)):
        if callable(things[name]):
            found.setdefault(id(things[name]), name)
    return {name: things[name] for name in found.values()}


def with_methods(name: str, thing: object):
    """(name, what it is, its docstring, what else may name its parameters) of a function, or of a class, its methods
    and its properties."""
    doc = inspect.getdoc(thing) or ""
    if not inspect.isclass(thing):
        yield name, thing, doc, ""
        return
    yield name, thing, thing.__doc__ or "", fields(thing)
    for key, method in vars(thing).items():
        if not key.startswith("_") and (inspect.isroutine(method) or isinstance(method, property | classmethod)):
            yield f"{name}.{key}", getattr(thing, key), inspect.getdoc(getattr(thing, key)) or "", doc


def fields(cls: type) -> str:
    """The fields of a class and of its bases that have a docstring below them, as entries."""
    found = []
    for base in cls.__mro__:
        if base.__module__.split(".")[0] not in PACKAGES:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        for field, below in zip(tree.body, tree.body[1:]):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found.append(f"{ast.unparse(field.target)} : {below.value.value}")
    return "\n".join(found)


def parameters(thing: object) -> list[str]:
    try:
        signature = inspect.signature(thing)
    except (ValueError, TypeError):  # of what is written in C, or a property
        return []
    return [name for name in signature.parameters if name not in ("self", "cls", "args", "kwargs", "_")]


def is_named(parameter: str, text: str) -> bool:
    """Whether `text` has an entry for it, or the word; an article is no name, unless it has backticks."""
    word = rf"(?<![\w.]){re.escape(parameter)}(?!\w)"
    entry = rf"^ *(?:[\w*`]+, )*[*`]*{re.escape(parameter)}`*(?:, [\w*`]+)* : "
    quoted = " ".join(re.findall(r"`+(.+?)`+", text))
    return bool(re.search(entry, text, re.MULTILINE) or re.search(word, quoted if parameter == "a" else text))


def missing(name: str, thing: object) -> dict[str, list[str]]:
    """By name, the parameters that a docstring leaves out; a list of nothing where there is no docstring at all."""
    found = {}
    for each, what, doc, more in with_methods(name, thing):
        left_out = [p for p in parameters(what) if not is_named(p, f"{doc}\n{more}")]
        if left_out or not doc.strip():
            found[each] = left_out
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_docstring_names_all_parameters(package):
    found = {k: v for name, thing in callables(package).items() for k, v in missing(name, thing).items()}
    assert not found, "\n".join(f"{name}: {', '.join(left_out) or 'no docstring'}" for name, left_out in found.items())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_module_is_in_the_api_reference(package):
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    modules = [package, *(thing.__name__ for thing in public(package).values() if isinstance(thing, types.ModuleType))]
    assert [name for name in modules if f"automodule:: {name}\n   :members:" not in pages] == []


def without():
    def f(x): ...

    return f


def others():
    def f(a, order, tau):
        """A sum of orders, a mean."""

    return f


def entries():
    def f(a, order, tau, *z):
        """
        Parameters
        ----------
        a, order : two
            of one line
        tau : one
        *z : any
        """

    return f


def quoted():
    def f(order, a, z):
        """By `order`, as ``g(a, b)``, of z."""

    return f


@pytest.mark.parametrize(
    ("make", "found"), [(without, {"f": ["x"]}), (others, {"f": ["a", "order", "tau"]}), (entries, {}), (quoted, {})]
)
def test_what_is_left_out_is_noticed(make, found):
    """Negative control."""
    assert missing("f", make()) == found


def has_example(thing: object) -> bool:
    return bool(re.search(r"^ *Examples\n *--------\n.*>>> ", thing.__doc__ or "", re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("package", PACKAGES)
def test_classes_and_main_functions_have_examples(package):
    """Protocols have none: what satisfies them has."""
    assert {name for name in MAIN if name.startswith(f"{package}.")} <= public(package).keys(), (
        "MAIN names what is gone"
    )
    shown = {
        name: thing
        for name, thing in callables(package).items()
        if (inspect.isclass(thing) and not getattr(thing, "_is_protocol", False))
        or (inspect.isfunction(thing) and (package != "uddm" or name in MAIN))
    }
    without_one = [name for name, thing in shown.items() if not has_example(thing)]
    assert not without_one, "\n".join(without_one)


def modules_with_examples() -> list[str]:
    files = [path for package in (*PACKAGES, "paper_figures") for path in (ROOT / package).rglob("*.py")]
    found = [path.relative_to(ROOT).with_suffix("") for path in files if re.search(r"^ *>>> ", path.read_text(), re.M)]
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in found)


@pytest.mark.parametrize("name", [name for name in modules_with_examples() if name.split(".")[0] not in PACKAGES])
def test_examples_run(name):
    """Those of the packages run in `test_shapes.py`, where shapes are checked at every call."""
    done = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert done.attempted > 0
    assert done.failed == 0, "see above"


def test_public_names_are_those_that_were_read():
    """Whoever adds a name here has seen to it that it should be one that others rely on."""
    before, now = NAMES.read_text().split(), sorted(name for package in PACKAGES for name in public(package))
    changed = {"new": sorted(set(now) - set(before)), "gone": sorted(set(before) - set(now))}
    assert before == now, f"{changed}: if so it should be, python -m tests.test_docstrings > tests/public_names.txt"


if __name__ == "__main__":
    sys.stdout.write("".join(f"{name}\n" for name in sorted(n for package in PACKAGES for n in public(package))))
