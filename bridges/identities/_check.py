"""What an identity is, how it is checked, and how the result is told."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from amtheory._validation import choice, kind, several
from bridges.identities._algebra import contracted, evaluate, vanishes
from bridges.identities._symbols import d, sp
from bridges.streams import as_seed, stream

TOLERANCE = 1e-8
POINTS, MORE_POINTS = 3, 100
WIDTH = 100


@dataclass(frozen=True)
class Sides:
    """What is compared: sympy expressions, or column matrices of them.

    Attributes
    ----------
    derived : the end of the derivation
    corrected : the form this library implements
    printed : the paper's form; None if it prints none
    measure : generator -> for each case the formula distinguishes, a pair (values of all free symbols: numbers, and
        arrays for indexed ones; what the library makes of them: a number for each entry)
    signs : symbols that are +1 or -1
    given : values known from the premises
    """

    derived: Any
    corrected: Any
    measure: Callable[[np.random.Generator], Iterable[tuple[dict[Any, Any], Any]]]
    printed: Any = None
    signs: tuple[Any, ...] = ()
    given: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Identity:
    """An equation (of the paper, or "" if it has none there) with its derivation; `erratum` says what the paper's form
    lacks, `library` what the numbers are compared with."""

    name: str
    equation: str
    statement: str
    library: str
    sides: Callable[[], Sides]
    erratum: str = ""


@dataclass(frozen=True)
class Check:
    """Whether sympy proves the corrected and the printed form (None: not printed) from the derivation, and the largest
    difference between the corrected form and the library's numbers, NaN if one of them is."""

    identity: Identity
    sides: Sides
    holds_corrected: bool
    holds_as_printed: bool | None
    numeric_error: float

    @property
    def derivation(self) -> Any:
        """The end of the derivation."""
        return self.sides.derived

    @property
    def passed(self) -> bool:
        """Whether the corrected form is proved, the library agrees with it, and the printed form fails exactly where
        an erratum is recorded."""
        flagged = (self.holds_as_printed is False) == bool(self.identity.erratum)
        return self.holds_corrected and self.numeric_error <= TOLERANCE and flagged


@dataclass(frozen=True)
class Remark:
    """A mistake of the paper that is no matter of algebra."""

    subject: str
    fact: str


REMARKS = (
    Remark(
        "section 3.1",
        "'Larger kappa implies larger basins' is no identity and false as it stands: at P/L = 0.5 couplings of largest "
        "margin have smaller basins than those of pseudo-likelihood at beta |W| = 2.",
    ),
    Remark(
        "appendix A, tokenizer",
        "The text says GPT-2 (50257 tokens); the parameter counts (24M, 135M, 384M) and the published configuration "
        "are those of bert-base-uncased (30522 tokens).",
    ),
    Remark(
        "table 1, scale by sigma",
        "The flag has no effect in the published code, where the network is conditioned on -log alpha_t always.",
    ),
)

IDENTITIES: dict[str, Identity] = {}


def identity(equation: str, statement: str, *, library: str, erratum: str = "") -> Callable[[Any], Any]:
    """Decorator of the function that derives the `Sides` of an identity, whose name is that of the function."""

    def register(sides: Callable[[], Sides]) -> Callable[[], Sides]:
        name = sides.__name__.replace("_", "-")
        IDENTITIES[name] = Identity(name, equation, statement, library, sides, erratum)
        return sides

    return register


def check(identity: str | Identity, *, rng: int | np.random.Generator | None = 0) -> Check:
    """Derive an identity, given itself or by name, and compare it with its forms and, at random points, the library.

    Raises
    ------
    ValueError : no identity of that name.
    ArithmeticError : sympy can neither prove a form nor is it refuted at any of the points.
    """
    if not isinstance(identity, Identity):
        identity = IDENTITIES[choice("identity", identity, tuple(IDENTITIES))]
    sides = identity.sides()
    generator = stream(as_seed(rng), "identities", identity.name)
    cases = [case for _ in range(POINTS) for case in sides.measure(generator)]

    def holds(name: str, form: Any) -> bool:
        differences = [one - other for one, other in zip(_entries(sides.derived), _entries(form), strict=True)]

        def refuted(points: Iterable[dict[Any, Any]]) -> bool:
            return any(not np.abs(evaluate(differences, point)).max() <= TOLERANCE for point in points)

        if refuted(point for point, _ in cases):
            return False
        if all(vanishes(contracted(difference).subs(sides.given), sides.signs) for difference in differences):
            return True
        if refuted(point for _ in range(MORE_POINTS) for point, _ in sides.measure(generator)):
            return False
        raise ArithmeticError(f"{identity.name}: the {name} form is neither proved nor refuted")

    errors = [
        one - other
        for point, value in cases
        for one, other in zip(evaluate(_entries(sides.corrected), point), np.ravel(value), strict=True)
    ]
    return Check(
        identity,
        sides,
        holds("corrected", sides.corrected),
        None if sides.printed is None else holds("printed", sides.printed),
        float(np.abs(errors).max()),
    )


def check_all(only: Iterable[str] | None = None, *, rng: int | np.random.Generator | None = 0) -> list[Check]:
    """Checks of identities, one by one.

    Parameters
    ----------
    only : names of `IDENTITIES`; by default all
    rng : seed or generator of the numbers at which the library is compared; default 0

    Raises
    ------
    ValueError : an unknown name.

    Examples
    --------
    >>> from bridges import check_all
    >>> [check.passed for check in check_all(["own-logit"])]
    [True]
    """
    asked = IDENTITIES if only is None else several("only", only)
    names = [choice("only", name, tuple(IDENTITIES)) for name in asked]
    seed = as_seed(rng)
    return [check(name, rng=seed) for name in names]


def report(result: Check) -> str:
    """A block of text, at most 100 columns wide unless a formula cannot be broken."""
    kind("result", result, Check)
    identity, sides = result.identity, result.sides
    where = f"eq. {identity.equation} of arXiv 2604.26841" if identity.equation else "not in arXiv 2604.26841"
    printed = "not printed"
    if result.holds_as_printed is not None:
        printed = ("holds: " if result.holds_as_printed else "FAILS: ") + _text(sides.printed)
    status = "holds" if result.holds_corrected else "FAILS"
    lines = {
        "statement": identity.statement,
        "derived": _text(sides.derived),
        "as printed": printed,
        "erratum": identity.erratum,
        "corrected": f"{status}: {_text(sides.corrected)}",
        "library": f"{identity.library}; largest difference {result.numeric_error:.1e}",
    }
    mark = "" if result.passed else "   *** does not pass ***"
    return "\n".join([f"{identity.name}: {where}{mark}", *(_block(*line) for line in lines.items() if line[1])])


def remark_report(remark: Remark) -> str:
    """A block of text for an erratum that no equation can settle."""
    kind("remark", remark, Remark)
    return f"{remark.subject} of arXiv 2604.26841\n{_block('erratum', remark.fact)}"


def summary(results: Sequence[Check]) -> str:
    """The closing count."""
    results = several("results", results)
    for result in results:
        kind("results", result, Check)
    printed = [c for c in results if c.holds_as_printed is not None]
    errata = [c.identity.equation for c in printed if not c.holds_as_printed]
    failing = f": {', '.join(dict.fromkeys(errata))}" if errata else ""
    return textwrap.fill(
        f"{sum(c.passed for c in results)} of {len(results)} identities pass; of {len(printed)} printed forms "
        f"{len(printed) - len(errata)} hold and {len(errata)} fail{failing}",
        WIDTH,
    )


def _text(form: Any) -> str:
    short = sp.Function("d")
    return ";  ".join(dict.fromkeys(sp.sstr(sp.sympify(e).replace(d, short)) for e in _entries(form)))


def _block(label: str, text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=f"  {label:12}", subsequent_indent=" " * 14, break_long_words=False
    )


def _entries(form: Any) -> list[Any]:
    return list(form) if isinstance(form, sp.MatrixBase) else [form]
