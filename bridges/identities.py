"""The equations of arXiv 2604.26841 and the exact bridges between its two kinds of memory, derived again.

Each identity is derived by sympy from its premises, with symbolic numbers of tokens L, states K and examples P wherever
a sum over them occurs, and compared with three things: its corrected form, the form printed in the paper, and numbers
from the functions of this library that implement it (from torch for the Laplace entropy, which none implements).

    check_all()                        # a Verdict for each of IDENTITIES
    print(report(check("gradient")))

python -m bridges identities prints all of them.

`REMARKS` holds the paper's errata that no equation can settle. Notation: x[l] the clean, z[l] the noisy token at
position l, p[k] = x_theta of token k, alpha_t and alpha_s the signal at times t > s; a sum over positions, examples or
tokens runs from 0. d(i, j) is Kronecker's delta.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import permutations, product
from typing import Any

import mpmath
import numpy as np
import sympy

from amtheory._validation import choice
from bridges.streams import as_seed, stream

sp: Any = sympy  # whose own annotations deny much of its algebra
IndexedBase, KroneckerDelta, Matrix, Sum, Symbol = sp.IndexedBase, sp.KroneckerDelta, sp.Matrix, sp.Sum, sp.Symbol
Rational, exp, log, pi, symbols, tanh = sp.Rational, sp.exp, sp.log, sp.pi, sp.symbols, sp.tanh

TOLERANCE = 1e-8
POINTS, MORE_POINTS = 3, 100
WIDTH = 100

d = KroneckerDelta
K, L, P = symbols("K L P", integer=True, positive=True)
a, b, i, j, k, l, m, mu, n, x, z = symbols("a b i j k l m mu n x z", integer=True)
alpha_t, alpha_s, beta, speed, tau = symbols("alpha_t alpha_s beta speed tau", positive=True)
A, W, f, s = (IndexedBase(name, real=True) for name in "AWfs")
p, q, u, v = (IndexedBase(name, positive=True) for name in "pquv")
tokens, noisy = IndexedBase("x", integer=True), IndexedBase("z", integer=True)
POSITIONS, OTHERS, EXAMPLES, STATES = (n, 0, L - 1), (j, 0, L - 1), (mu, 0, P - 1), (k, 0, K - 1)


@dataclass(frozen=True)
class Sides:
    """What is compared: sympy expressions, or column matrices of them.

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
class Verdict:
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


def check(identity: str | Identity, *, rng: int | np.random.Generator | None = 0) -> Verdict:
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
    return Verdict(
        identity,
        sides,
        holds("corrected", sides.corrected),
        None if sides.printed is None else holds("printed", sides.printed),
        float(np.abs(errors).max()),
    )


def check_all(only: Iterable[str] | None = None, *, rng: int | np.random.Generator | None = 0) -> list[Verdict]:
    """Verdicts on the identities of these names; by default on all. Arguments and errors as for `check`."""
    names = [choice("only", name, tuple(IDENTITIES)) for name in (IDENTITIES if only is None else only)]
    seed = as_seed(rng)
    return [check(name, rng=seed) for name in names]


def report(verdict: Verdict) -> str:
    """A block of text, at most 100 columns wide unless a formula cannot be broken."""
    identity, sides = verdict.identity, verdict.sides
    where = f"eq. {identity.equation} of arXiv 2604.26841" if identity.equation else "not in arXiv 2604.26841"
    printed = "not printed"
    if verdict.holds_as_printed is not None:
        printed = ("holds: " if verdict.holds_as_printed else "FAILS: ") + _text(sides.printed)
    status = "holds" if verdict.holds_corrected else "FAILS"
    lines = {
        "statement": identity.statement,
        "derived": _text(sides.derived),
        "as printed": printed,
        "erratum": identity.erratum,
        "corrected": f"{status}: {_text(sides.corrected)}",
        "library": f"{identity.library}; largest difference {verdict.numeric_error:.1e}",
    }
    mark = "" if verdict.passed else "   *** does not pass ***"
    return "\n".join([f"{identity.name}: {where}{mark}", *(_block(*line) for line in lines.items() if line[1])])


def remark_report(remark: Remark) -> str:
    """A block of text for an erratum that no equation can settle."""
    return f"{remark.subject} of arXiv 2604.26841\n{_block('erratum', remark.fact)}"


def summary(verdicts: Sequence[Verdict]) -> str:
    """The closing count."""
    printed = [v for v in verdicts if v.holds_as_printed is not None]
    errata = [v.identity.equation for v in printed if not v.holds_as_printed]
    failing = f": {', '.join(dict.fromkeys(errata))}" if errata else ""
    return textwrap.fill(
        f"{sum(v.passed for v in verdicts)} of {len(verdicts)} identities pass; of {len(printed)} printed forms "
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


# Algebra


def contracted(expression: Any) -> Any:
    """All sums over the whole range of an index freed of deltas and constants; other indices lie in the range.

    sum_j g(d(j, i), j) = g(1, i) - g(0, i) + sum_j g(0, j),    sum_j (c g(j) + h(j)) = c sum_j g(j) + sum_j h(j).
    """
    return expression.replace(Sum, lambda summand, *limits: reduce(_total, limits, summand))


def _total(summand: Any, limit: Any) -> Any:
    index = limit[0]
    deltas = sorted(summand.atoms(KroneckerDelta), key=sp.default_sort_key)
    for delta in sorted(deltas, key=lambda delta: index not in delta.args):
        rest = summand.subs(delta, 0)
        if index in delta.args:
            other = next(argument for argument in delta.args if argument != index)
            return (summand.subs(delta, 1) - rest).subs(index, other) + _total(rest, limit)
        if delta.has(index):
            linear = IndexedBase(sp.Dummy())[index]
            return _total(rest + linear * (summand.subs(delta, 1) - rest), limit).xreplace({linear: delta})
    total = sp.Integer(0)
    for term in sp.Add.make_args(_expanded(summand)):
        constant, dependent = term.as_independent(index, as_Add=False)
        total += constant * (limit[2] - limit[1] + 1 if dependent == 1 else Sum(dependent, limit))
    return total


def _expanded(expression: Any) -> Any:
    """Products of sums multiplied out, but not inside functions."""
    masks = {inner: sp.Dummy() for inner in expression.atoms(sp.Function, Sum)}
    return sp.expand(expression.xreplace(masks)).xreplace({mask: inner for inner, mask in masks.items()})


def vanishes(expression: Any, signs: Sequence[Any] = (), distinct: Sequence[Any] = ()) -> bool:
    """Whether sympy proves that the expression is zero for all indices, equal or not, and both values of `signs`.

    distinct : deltas that are known to be zero
    """
    expression = contracted(sp.sympify(expression))
    deltas = sorted(expression.atoms(KroneckerDelta), key=sp.default_sort_key)
    delta = next((e for e in deltas if not e.has(*_bound(expression))), None)
    if delta is not None:
        apart = [other.subs(*delta.args) for other in distinct]
        equal = expression.subs(*delta.args).subs({other: 0 for other in apart if other != 1})
        unequal = expression.subs(delta, 0)
        merged = [sign.subs(*delta.args) for sign in signs]
        return (1 in apart or vanishes(equal, merged, apart)) and vanishes(unequal, signs, [*distinct, delta])
    if signs:
        return all(vanishes(expression.xreplace({signs[0]: sp.Integer(value)}), signs[1:]) for value in (1, -1))
    # with alpha = 1/(1 + c) and tau = r/(1 + r) the arguments of all logarithms are ratios of sums of positive terms
    expression = _normalised(_split(expression.rewrite([tanh, sp.cosh, sp.sinh], exp).rewrite(sp.atanh, log)))
    return all(_is_zero(part) for part in _by_limits(expression))


def _normalised(expression: Any) -> Any:
    """Contracted, with the probabilities p, u and v adding up to one over all K states."""
    whole = [Sum(base[k], STATES).as_dummy() for base in (p, u, v)]
    return contracted(expression).replace(
        lambda e: isinstance(e, Sum) and e.as_dummy() in whole, lambda e: sp.Integer(1)
    )


def _split(expression: Any) -> Any:
    c, r = symbols("c r", positive=True)
    expression = expression.subs({alpha_t: 1 / (1 + c), tau: r / (1 + r)})
    return sp.expand_log(expression.replace(log, lambda argument: log(sp.factor(argument))))


def _is_zero(expression: Any) -> bool:
    masks = {inner: sp.Dummy() for inner in expression.atoms(log, Sum)}
    linear = sp.collect(sp.expand(expression.xreplace(masks)), list(masks.values()), evaluate=False)
    if all(sp.cancel(coefficient) == 0 for coefficient in linear.values()):
        return True
    return sp.cancel(expression) == 0 or sp.simplify(expression) == 0


def _by_limits(expression: Any, taken: dict[Any, Any] | None = None) -> list[Any]:
    """The summands of sums over the same range, put together, and what stands in no sum: if all vanish, so does it.

    taken : indices of the sums around it, with their ranges; sums over the same range may be taken in any order
    """
    taken = taken or {}
    fresh = sp.Dummy(integer=True)
    orders = [dict(zip(taken, order)) for order in permutations(taken)]
    orders = [order for order in orders if all(taken[one] == taken[other] for one, other in order.items())]
    parts: dict[Any, Any] = {}
    for term in sp.Add.make_args(_expanded(expression)):
        first = next((factor for factor in sp.Mul.make_args(term) if isinstance(factor, Sum)), None)
        if first is None:
            limits, summand = (), min((term.xreplace(order) for order in orders), key=sp.default_sort_key)
        else:
            *inner, (index, *limits) = first.limits
            summand = Sum(first.function, *inner) if inner else first.function
            limits, summand = tuple(limits), term / first * summand.xreplace({index: fresh})
        parts[limits] = parts.get(limits, 0) + summand
    return [
        part
        for limits, whole in parts.items()
        for part in (_by_limits(whole, {**taken, fresh: limits}) if limits else [whole])
    ]


def _bound(expression: Any) -> list[Any]:
    return [limit[0] for each in expression.atoms(Sum) for limit in each.limits] or [sp.Dummy()]


def evaluate(expressions: Iterable[Any], point: dict[Any, Any]) -> np.ndarray:
    """Float64 values of the expressions at a point: numbers for symbols, arrays for indexed bases."""
    numbers = {key: value for key, value in point.items() if not isinstance(key, IndexedBase)}
    tables = {key: np.asarray(value) for key, value in point.items() if isinstance(key, IndexedBase)}

    def entry(base: Any, *index: Any) -> Any:
        return sp.sympify(tables[base][tuple(map(int, index))].item())

    values = [sp.sympify(e).subs(numbers).doit().replace(sp.Indexed, entry) for e in expressions]
    return np.array([float(sp.N(value)) for value in values])


def _identity(equation: str, statement: str, *, library: str, erratum: str = "") -> Callable[[Any], Any]:
    def register(sides: Callable[[], Sides]) -> Callable[[], Sides]:
        name = sides.__name__.replace("_", "-")
        IDENTITIES[name] = Identity(name, equation, statement, library, sides, erratum)
        return sides

    return register


# Associative memories (section 3.1)


def _field(i: Any, spin: Callable[[Any], Any]) -> Any:
    """f_i = beta sum_{j != i} W_ij s_j."""
    return beta * Sum((1 - d(i, j)) * W[i, j] * spin(j), OTHERS)


def _spins(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.choice([-1, 1], shape)


@_identity(
    "(6)",
    "the spin s is flipped if -s is more probable under psi, whose log-odds of s are 2 s h; for h > 0, h < 0 and h = 0",
    erratum="sgn(0) = 0 is no spin; where the field vanishes both are equally probable, and the old spin s is kept",
    library="amtheory.retrieve",
)
def update() -> Sides:
    h, old = Symbol("h", positive=True), Symbol("s")
    fields = (h, -h, sp.Integer(0))

    def chosen(spin: int, field: Any) -> int:
        return -spin if (-2 * spin * field).is_positive else spin

    def measure(rng: np.random.Generator) -> Any:
        from amtheory import Couplings, retrieve

        coupling, last = rng.uniform(0.1, 2), int(_spins(rng))
        couplings = np.zeros((4, 4))
        couplings[:2, 3] = coupling * last, -coupling * last
        for spin in (1, -1):
            state = [[spin, spin, spin, last]]
            final = retrieve(Couplings(couplings), state, update="parallel", max_sweeps=1)[0]
            yield {h: coupling, old: spin}, final[0, :3]

    return Sides(
        derived=Matrix([sum((1 + spin * old) / 2 * chosen(spin, field) for spin in (1, -1)) for field in fields]),
        corrected=Matrix([sp.sign(field) + (1 - sp.sign(field) ** 2) * old for field in fields]),
        printed=Matrix([sp.sign(field) for field in fields]),
        measure=measure,
        signs=(old,),
    )


@_identity(
    "(7)",
    "a pattern moved by kappa towards the hyperplane of W still has the sign x iff x h >= kappa |W|: least x h at "
    "margin kappa, x = +1 or -1; h = W.x",
    erratum="sgn(h + kappa) = x asks for x h > -kappa x: less than a fixed point if x = 1, and not scale-free",
    library="amtheory.Couplings.stabilities",
)
def margin() -> Sides:
    kappa, h, X, norm = symbols("kappa h x |W|", real=True)
    spin = IndexedBase("X")
    row = IndexedBase("w")
    moved = contracted(Sum(row[j] * (spin[j] - X * kappa * row[j] / norm), OTHERS))
    moved = moved.subs({Sum(row[j] * spin[j], OTHERS): h, Sum(row[j] ** 2, OTHERS): norm**2})

    def least(field: Any) -> Any:
        (boundary,) = sp.solve(field, h)
        return X * boundary

    def measure(rng: np.random.Generator) -> Any:
        from amtheory import Couplings

        x, couplings = _spins(rng, 5), rng.normal(size=(5, 5))
        for pattern in (x, -x):
            # at h = W.x the margin is the stability
            stability = Couplings(couplings).stabilities(pattern[None])[0, 0]
            point = {kappa: stability, norm: np.linalg.norm(couplings[0]), X: pattern[0]}
            yield point, pattern[0] * (couplings[0] @ pattern)

    return Sides(
        derived=least(moved),
        corrected=kappa * norm,
        printed=least(h + kappa),
        measure=measure,
        signs=(X,),
    )


@_identity(
    "(9)",
    "psi(s_l) = exp(s_l f)/(2 cosh f), f = beta sum_m W_lm s_m, normalised from exp(s_l f); as W_ll = 0, the sum over "
    "all m, as printed, is that over m != l",
    library="uddm.denoisers.Linear.from_couplings",
)
def conditional() -> Sides:
    X, F = symbols("sigma f")
    weight = exp(X * F)
    psi = weight / sum(weight.subs(X, value) for value in (1, -1))
    field = _field(l, lambda j: s[j])

    def measure(rng: np.random.Generator) -> Any:
        import torch

        from uddm.denoisers.linear import Linear

        couplings, state = rng.normal(size=(4, 4)).astype(np.float32).astype(float), _spins(rng, 4)
        strength = 0.5  # the model's beta W is then exact in float32
        np.fill_diagonal(couplings, 0)
        model = Linear.from_couplings(couplings, beta=strength).double()
        z = torch.as_tensor((state + 1) // 2)[None]
        with torch.no_grad():
            prob = model(z, torch.zeros(1)).softmax(-1)[0, 1, (state[1] + 1) // 2]
        yield {L: 4, l: 1, beta: strength, W: couplings, s: state}, prob.item()

    def logistic(field: Any) -> Any:
        return (exp(X * F) / (2 * sp.cosh(F))).subs({X: s[l], F: field})

    return Sides(
        derived=psi.subs({X: s[l], F: field}),
        corrected=logistic(field),
        printed=logistic(beta * Sum(W[l, j] * s[j], OTHERS)),
        measure=measure,
        given={W[l, l]: 0},
    )


def _examples(rng: np.random.Generator) -> tuple[Any, Any, float, dict[Any, Any]]:
    examples, couplings, strength = _spins(rng, 2, 3), rng.normal(size=(3, 3)), rng.uniform(0.1, 1)
    fields = strength * examples @ (couplings - np.diag(np.diag(couplings))).T
    point = {L: 3, P: 2, beta: strength, s: examples, f: fields, W: couplings}
    return examples, couplings, strength, point


@_identity(
    "(10)",
    "-log prod_l psi(x_l), averaged over examples, = mean of sum_l log(1 + exp(-2 M_l)), M_l = x_l f_l",
    library="amtheory.pseudolikelihood.loss",
)
def pseudo_likelihood() -> Sides:
    X, F = s[mu, n], f[mu, n]
    psi = exp(X * F) / (2 * sp.cosh(F))

    def measure(rng: np.random.Generator) -> Any:
        from amtheory.pseudolikelihood import loss

        examples, couplings, strength, point = _examples(rng)
        yield point, loss(couplings, examples, strength)

    def mean(term: Any) -> Any:
        return Sum(Sum(term, POSITIONS), EXAMPLES) / P

    return Sides(
        derived=mean(-log(psi)),
        corrected=mean(log(1 + exp(-2 * X * F))),
        printed=-mean(X * F - log(2 * sp.cosh(F))),
        measure=measure,
        signs=(X,),
    )


@_identity(
    "(11)",
    "dL/dW_lm = -(beta/P) sum_x x_l x_m [1 - tanh M_l] for m != l, and 0 for m = l, where W_ll is no variable",
    erratum="the sign of proportionality hides the factor beta and the condition m != l; printed: as an equation",
    library="amtheory.pseudolikelihood.gradient",
)
def gradient() -> Sides:
    def field(i: Any) -> Any:
        return _field(i, lambda j: s[mu, j])

    loss = -Sum(Sum(s[mu, i] * field(i) - log(2 * sp.cosh(field(i))), (i, 0, L - 1)), EXAMPLES) / P
    slope = contracted(sp.diff(loss, W[l, m]).xreplace({field(i): f[mu, i]}))
    slope = slope.replace(sp.sinh, lambda u: tanh(u) * sp.cosh(u))
    hebb = s[mu, l] * s[mu, m] * (1 - tanh(s[mu, l] * f[mu, l]))

    def measure(rng: np.random.Generator) -> Any:
        from amtheory.pseudolikelihood import gradient

        examples, couplings, strength, point = _examples(rng)
        slope = gradient(couplings, examples, strength)
        for column in range(3):
            yield {**point, l: 1, m: column}, slope[1, column]

    return Sides(
        derived=slope,
        corrected=-(1 - d(l, m)) * beta * Sum(hebb, EXAMPLES) / P,
        printed=-Sum(hebb, EXAMPLES) / P,
        measure=measure,
        signs=(s[mu, l],),
    )


@_identity(
    "",
    "K states: dL/dA_lm[a, b] = -beta (e_x - p)[a] e_z[b] = -beta (1 - p_x) (e_x - pi)[a] e_z[b] with x = x_l, "
    "z = x_m, m != l, and pi the distribution p restricted to the wrong tokens: Hebb's term times the penalty 1 - p_x",
    library="autograd through uddm.denoisers.Linear",
)
def token_gradient() -> Sides:
    def logit(k: Any) -> Any:
        return beta * Sum((1 - d(l, n)) * A[l, k, n, tokens[n]], POSITIONS)

    norm = Sum(exp(logit(k)), STATES)
    slope = contracted(sp.diff(-logit(tokens[l]) + log(norm), A[l, a, m, b]))
    slope = slope.subs(contracted(norm), exp(contracted(logit(a))) / p[a])
    right = p[tokens[l]]
    wrong = p[a] * (1 - d(a, tokens[l])) / (1 - right)

    def measure(rng: np.random.Generator) -> Any:
        import torch

        from uddm.denoisers.linear import Linear, LinearConfig

        model, strength = Linear(LinearConfig(3, length=4)).double(), rng.uniform(0.1, 1)
        torch.nn.init.normal_(model.coupling, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
        z = torch.as_tensor(rng.integers(3, size=(1, 4)))
        log_p = model(z, torch.zeros(1)).log_softmax(-1)[0, 1]
        (slope,) = torch.autograd.grad(-log_p[z[0, 1]], model.coupling)
        point = {L: 4, K: 3, l: 1, beta: strength, tokens: z[0].numpy(), p: log_p.exp().detach().numpy()}
        for row, other, column in product(range(3), (1, 2), range(3)):
            # the model's coupling is beta A, so that d/dA = beta d/dcoupling
            yield {**point, m: other, a: row, b: column}, strength * slope[1, row, other, column].item()

    return Sides(
        derived=slope,
        corrected=-(1 - d(l, m)) * beta * (1 - right) * (d(a, tokens[l]) - wrong) * d(b, tokens[m]),
        measure=measure,
    )


@_identity(
    "",
    "K = 2, token 1 for spin +1: the linear logits g[k] = h[k] + sum_m A_lm[k, x_m] are fields: log(p_+ / p_-) = 2 f, "
    "f = theta + sum_m W_lm s_m, W = (A_++ - A_+- - A_-+ + A_--)/4, theta = (h_+ - h_-)/2 + "
    "sum_m (A_++ + A_+- - A_-+ - A_--)/4, m != l",
    library="uddm.denoisers.Linear",
)
def two_states() -> Sides:
    bias = IndexedBase("h")

    def logit(state: int) -> Any:
        spins = sum(A[l, state, n, to] * (1 + (2 * to - 1) * s[n]) / 2 for to in (0, 1))
        return bias[l, state] + Sum((1 - d(l, n)) * spins, POSITIONS)

    def quarter(signs: tuple[int, int, int, int]) -> Any:
        return sum(sign * A[l, *pair] for sign, pair in zip(signs, [(1, n, 1), (1, n, 0), (0, n, 1), (0, n, 0)])) / 4

    softmax = [exp(logit(state)) / (exp(logit(0)) + exp(logit(1))) for state in (0, 1)]
    theta = (bias[l, 1] - bias[l, 0]) / 2 + Sum((1 - d(l, n)) * quarter((1, 1, -1, -1)), POSITIONS)

    def measure(rng: np.random.Generator) -> Any:
        import torch

        from uddm.denoisers.linear import Linear, LinearConfig

        model, state = Linear(LinearConfig(2, length=4)).double(), _spins(rng, 4)
        values = {bias: rng.normal(size=(4, 2)), A: rng.normal(size=(4, 2, 4, 2))}
        with torch.no_grad():
            model.bias.copy_(torch.as_tensor(values[bias]))
            model.coupling.copy_(torch.as_tensor(values[A]))
            log_p = model(torch.as_tensor((state + 1) // 2)[None], torch.zeros(1)).log_softmax(-1)[0, 2]
            fields = model.external_fields() + model.couplings() @ torch.as_tensor(state, dtype=torch.float64)
        # the library's own W and theta must give what its softmax gives
        odds = (log_p[1] - log_p[0]).item()
        yield {L: 4, l: 2, s: state, **values}, [odds, 2 * fields[2].item()]

    odds = sp.expand_log(log(sp.cancel(softmax[1] / softmax[0])), force=True)
    corrected = 2 * (theta + Sum((1 - d(l, n)) * quarter((1, -1, -1, 1)) * s[n], POSITIONS))
    return Sides(
        derived=Matrix([odds] * 2),
        corrected=Matrix([corrected] * 2),
        measure=measure,
    )


# The process (section 2)


def _forward(i: Any, j: Any, alpha: Any) -> Any:
    """q(i | j) = alpha d(i, j) + (1 - alpha)/K, eq. (1)."""
    return alpha * d(i, j) + (1 - alpha) / K


def _bayes(i: Any, z: Any, x: Any) -> Any:
    """q(z_s = i | z_t = z, x) from eq. (1) and the transition q(z_t | z_s), that with alpha_t/alpha_s."""
    return _forward(i, x, alpha_s) * _forward(z, i, alpha_t / alpha_s) / _forward(z, x, alpha_t)


def _reverse(i: Any, z: Any, clean: Callable[[Any], Any], last: Any = 1 - alpha_s) -> Any:
    """Eq. (2) at z_s = i for a distribution `clean`, with the factor `last` in its last term."""
    r = alpha_t / alpha_s
    scale = K * alpha_t * clean(z)
    kept = (scale + r - alpha_t) * d(i, z)
    return (kept + (alpha_s - alpha_t) * clean(i) + (1 - r) * last / K) / (scale + 1 - alpha_t)


def _network(k: Any) -> Any:
    return p[k]


def _process(rng: np.random.Generator, states: int, schedule: str = "linear") -> tuple[Any, float, float, dict]:
    """A process, times t > s, and the values of its symbols."""
    from uddm import UniformProcess

    process = UniformProcess(states, schedule)
    early, late = (float(time) for time in np.sort(rng.uniform(0.05, 0.95, 2)))
    at = {alpha_t: process.alpha(late).item(), alpha_s: process.alpha(early).item(), K: states}
    return process, late, early, {**at, speed: process.rate(late).item()}


def _distribution(rng: np.random.Generator, states: int) -> tuple[np.ndarray, Any]:
    """Probabilities, and their logarithms as a (1, 1, K) tensor."""
    import torch

    probabilities = rng.dirichlet(np.ones(states))
    return probabilities, torch.as_tensor(probabilities).log()[None, None]


@_identity(
    "(2)",
    "q(z_s | z_t, x) = q(z_s | x) q(z_t | z_s)/q(z_t | x) = [K alpha_t z_t x + (r - alpha_t) z_t + (alpha_s - alpha_t) "
    "x + (1 - r)(1 - alpha_s)/K]/(K alpha_t <z_t, x> + 1 - alpha_t), r = alpha_t/alpha_s; and its sum over z_s",
    erratum="the last term lacks the factor 1 - alpha_s, so that the probabilities add up to more than one",
    library="uddm.UniformProcess.posterior",
)
def posterior() -> Sides:
    def entries(form: Any) -> Any:
        return Matrix([form, sp.factor(contracted(Sum(form, (i, 0, K - 1))))])

    def measure(rng: np.random.Generator) -> Any:
        import torch

        process, late, early, point = _process(rng, 4)
        token, now = (int(each) for each in rng.permutation(4)[:2])
        clean = torch.full((1, 1, 4), -torch.inf, dtype=torch.float64)
        clean[..., token] = 0
        for noisy in (token, now):
            found = process.posterior(clean, torch.tensor([[noisy]]), late, early)[0, 0]
            for then, probability in enumerate(found.tolist()):
                yield {**point, x: token, z: noisy, i: then}, [probability, found.sum().item()]

    return Sides(
        derived=entries(_bayes(i, z, x)),
        corrected=entries(_reverse(i, z, lambda k: d(k, x))),
        printed=entries(_reverse(i, z, lambda k: d(k, x), last=1)),
        measure=measure,
    )


@_identity(
    "(5)",
    "sum_k p(x = k | z_t) q(z_s | z_t, x = k) = q(z_s | z_t, x_theta), eq. (2), if x_theta = p is the cavity "
    "distribution, that of the token given the others; p(x = k | z_t) is proportional to p[k] q(z_t | k)",
    erratum="the softmax of the logits is x_theta, not the transition psi, which is eq. (2) at x_theta",
    library="uddm.UniformProcess.posterior",
)
def transition() -> Sides:
    evidence = p[k] * _forward(z, k, alpha_t)
    exact = contracted(Sum(evidence * _bayes(i, z, k), STATES)) / contracted(Sum(evidence, STATES))

    def measure(rng: np.random.Generator) -> Any:
        import torch

        process, late, early, point = _process(rng, 4)
        probabilities, log_p = _distribution(rng, 4)
        now = int(rng.integers(4))
        for then, found in enumerate(process.posterior(log_p, torch.tensor([[now]]), late, early)[0, 0].tolist()):
            yield {**point, z: now, i: then, p: probabilities}, found

    return Sides(
        derived=sp.simplify(exact.subs(Sum(p[k], STATES), 1)),
        corrected=_reverse(i, z, _network),
        printed=p[i],
        measure=measure,
    )


@_identity(
    "",
    "b = log q(z = x | x)/q(z != x | x) = log(1 + K alpha/(1 - alpha)), which is 2 atanh(alpha) at K = 2",
    library="uddm.UniformProcess.evidence",
)
def evidence() -> Sides:
    ratio = log(_forward(0, 0, alpha_t) / _forward(0, 1, alpha_t))

    def measure(rng: np.random.Generator) -> Any:
        from uddm import UniformProcess

        process, late, _, point = _process(rng, 5)
        yield point, [p.evidence(late).item() for p in (process, UniformProcess(2, "linear"))]

    return Sides(
        derived=Matrix([ratio, ratio.subs(K, 2)]),
        corrected=Matrix([log(1 + K * alpha_t / (1 - alpha_t)), 2 * sp.atanh(alpha_t)]),
        measure=measure,
    )


@_identity(
    "",
    "log q(z | x) = b sum_l d(z_l, x_l) + L log((1 - alpha)/K): the posterior of a finite data set is "
    "softmax_mu(b n_mu), an exponential dense memory; here the log-odds of two rows",
    library="uddm.EmpiricalBayes.weights",
)
def dense_memory() -> Sides:
    rows = IndexedBase("xi", integer=True)

    def log_likelihood(row: int) -> Any:
        return Sum(log(_forward(noisy[n], rows[row, n], alpha_t)), POSITIONS)

    def matches(row: int) -> Any:
        return Sum(d(noisy[n], rows[row, n]), POSITIONS)

    def measure(rng: np.random.Generator) -> Any:
        import torch

        from uddm import EmpiricalBayes

        process, late, _, point = _process(rng, 3)
        data, state = rng.integers(3, size=(4, 6)), rng.integers(3, size=6)
        weights = EmpiricalBayes(torch.as_tensor(data), process).weights(torch.as_tensor(state)[None], late)[0]
        yield {**point, L: 6, rows: data, noisy: state}, torch.log(weights[0] / weights[1]).item()

    return Sides(
        derived=log_likelihood(0) - log_likelihood(1),
        corrected=log(1 + K * alpha_t / (1 - alpha_t)) * (matches(0) - matches(1)),
        measure=measure,
    )


@_identity(
    "(12)",
    "no token of a sequence is changed with probability prod_l q(z_l = x_l) = (1 - (1 - alpha)(1 - 1/K))^L > 0",
    erratum="the rate is 0/0 for such sequences: they are left out, or changed tokens are pooled; printed: never",
    library="uddm.EmpiricalBayes.weights of all K^L sequences",
)
def nothing_changed() -> Sides:
    def measure(rng: np.random.Generator) -> Any:
        import torch

        from uddm import EmpiricalBayes

        process, late, _, point = _process(rng, 3)
        data = torch.cartesian_prod(*[torch.arange(3)] * 4)
        row = int(rng.integers(len(data)))
        # q(z | x) adds up to one over x as well
        kept = EmpiricalBayes(data, process).weights(data[row][None], late)[0, row]
        yield {**point, L: 4}, kept.item()

    return Sides(
        derived=sp.Product(_forward(x, x, alpha_t), POSITIONS).doit(),
        corrected=(1 - (1 - alpha_t) * (1 - 1 / K)) ** L,
        printed=sp.Integer(0),
        measure=measure,
    )


# The bound (sections 2 and 3)


def _scaled(i: Any, clean: Any) -> Any:
    """K q_t(i | clean) for a distribution `clean` at i."""
    return K * alpha_t * clean + 1 - alpha_t


def _nelbo(z: Any, x: Any) -> Any:
    """The diffusion term as `uddm.nelbo` writes it, at z_t = z for the clean token x."""
    one, other = _scaled(z, d(z, x)), _scaled(z, p[z])
    summand = _scaled(k, d(k, x)) / K * log(_scaled(k, d(k, x)) / _scaled(k, p[k]))
    return speed / (alpha_t * one) * (Sum(summand, STATES) + one / other - 1 - log(one / other))


@_identity(
    "",
    "T KL(q(z_s | z_t, x) || q(z_s | z_t, x_theta)) at s = t - 1/T tends to (-alpha'/alpha) [KL(q_t(. | x) || "
    "q_t(. | x_theta)) + rho - 1 - log rho]/(K q_t(z | x)), rho = q_t(z | x)/q_t(z | x_theta), q_t(. | p) = "
    "alpha p + (1 - alpha)/K, speed = -alpha', K q_t(k | p) = K alpha p[k] + 1 - alpha",
    library="uddm.nelbo",
)
def continuous_time() -> Sides:
    eps = Symbol("epsilon", positive=True)

    def after(i: Any, clean: Callable[[Any], Any]) -> Any:
        return _reverse(i, z, clean).subs(alpha_s, alpha_t + speed * eps)

    def rate(probability: Any) -> Any:
        return sp.factor(sp.limit(sp.cancel(probability / eps), eps, 0))

    # at z_s = z both probabilities tend to 1; elsewhere both are of order epsilon
    stay, stay_network = after(z, lambda k: d(k, x)), after(z, _network)
    same = sp.diff(stay * log(stay / stay_network), eps).subs(eps, 0)
    given, network = (rate(after(k, clean).subs(d(k, z), 0)) for clean in (lambda k: d(k, x), _network))
    derived = sp.factor(same) + Sum((1 - d(k, z)) * given * log(given / network), STATES)

    def measure(rng: np.random.Generator) -> Any:
        import torch

        from uddm import nelbo

        process, late, _, point = _process(rng, 4, "log-linear")
        probabilities, log_p = _distribution(rng, 4)
        clean = int(rng.integers(4))
        for now in (clean, (clean + 1) % 4):
            value = nelbo(process, log_p, torch.tensor([[clean]]), torch.tensor([[now]]), late).item()
            yield {**point, x: clean, z: now, p: probabilities}, value

    return Sides(derived=derived, corrected=_nelbo(z, x), measure=measure)


@_identity(
    "",
    "one noisy token: with G = KL(q_t(. | x) || q_t(. | p)) and p the same at all t, E over z_t of the diffusion term "
    "is dG/dt, and G = 0 at alpha = 0 and -log p[x] at alpha = 1: the whole bound is -log p[x]",
    library="UniformProcess.posterior over three steps (the whole bound); uddm.objective.expected_nelbo (the mean)",
)
def single_token() -> Sides:
    divergence = _scaled(k, d(k, x)) / K * log(_scaled(k, d(k, x)) / _scaled(k, p[k]))
    mean = Sum(_scaled(i, d(i, x)) / K * _nelbo(i, x), (i, 0, K - 1))

    positive, w = symbols("p w", positive=True)
    # dG/d alpha written with w = K q_t(k | p), which splits it into terms without p, with 1/w and with log w
    slope = sp.diff(divergence, alpha_t).subs(p[k], (w - 1 + alpha_t) / (K * alpha_t))
    slope = sp.expand(slope).subs(w, _scaled(k, p[k]))

    def end(alpha: int) -> Any:
        """The limit of G, term by term."""
        own, other = divergence.subs(k, x).subs(p[x], positive), divergence.subs(d(k, x), 0).subs(p[k], positive)
        own, other = (sp.limit(term, alpha_t, alpha, "-" if alpha else "+") for term in (own, other))
        return own.subs(positive, p[x]) + contracted(Sum((1 - d(k, x)) * other.subs(positive, p[k]), STATES))

    def measure(rng: np.random.Generator) -> Any:
        import torch

        from uddm.objective import expected_nelbo

        process, late, early, point = _process(rng, 4)
        probabilities, log_p = _distribution(rng, 4)
        clean = int(rng.integers(4))
        known = torch.full((1, 1, 4), -torch.inf, dtype=torch.float64)
        known[..., clean] = 0
        whole = 0.0
        for t, s in ((1.0, late), (late, early), (early, 0.0)):
            alpha = process.alpha(t).item()
            for now in range(4):
                exact, model = (process.posterior(each, torch.tensor([[now]]), t, s) for each in (known, log_p))
                weight = alpha * (now == clean) + (1 - alpha) / 4
                whole += weight * (torch.xlogy(exact, exact) - torch.xlogy(exact, model)).sum().item()
        mean = expected_nelbo(process, log_p, torch.tensor([[clean]]), late).item()
        yield {**point, x: clean, p: probabilities}, [mean, whole]

    return Sides(
        derived=Matrix([speed * Sum(slope, STATES), end(1) - end(0)]),
        corrected=Matrix([mean, -log(p[x])]),
        measure=measure,
    )


@_identity(
    "",
    "K = 2, tau = x tanh f of a field without the token's own z: E over that z of the diffusion term, by d alpha, is "
    "atanh alpha - atanh(alpha tau) - alpha tau (1 - tau)/(1 - alpha^2 tau^2); at fixed tau = tanh M its integral over "
    "alpha from 0 to 1 is -log((1 + tau)/2) = log(1 + exp(-2 M)), the pseudo-likelihood",
    library="uddm.objective.expected_nelbo, and its integral over time",
)
def noisy_training() -> Sides:
    def density(alpha: Any) -> Any:
        return sp.atanh(alpha) - sp.atanh(alpha * tau) - alpha * tau * (1 - tau) / (1 - alpha**2 * tau**2)

    mean = sp.Add(*(_scaled(now, d(now, 0)) / K * _nelbo(sp.Integer(now), sp.Integer(0)) for now in (0, 1)))
    mean = mean.subs({K: 2, speed: 1}).doit().subs({p[0]: (1 + tau) / 2, p[1]: (1 - tau) / 2})
    alpha = Symbol("alpha", positive=True)
    primitive = sp.integrate(density(alpha), alpha).subs(log((alpha * tau) ** 2 - 1), log(1 - (alpha * tau) ** 2))
    if sp.cancel(sp.diff(primitive, alpha) - sp.diff(sp.integrate(density(alpha), alpha), alpha)) != 0:
        raise ArithmeticError("noisy-training: the primitive that is real has another derivative")
    whole = sp.limit(primitive, alpha, 1, "-") - primitive.subs(alpha, 0)

    def measure(rng: np.random.Generator) -> Any:
        import torch

        from uddm import UniformProcess
        from uddm.objective import expected_nelbo

        process, margin, late = UniformProcess(2, "linear"), rng.uniform(0.1, 2), rng.uniform(0.1, 0.9)
        log_p = torch.tensor([margin, -margin], dtype=torch.float64).log_softmax(0)[None, None]
        u, weights = np.polynomial.legendre.leggauss(64)
        u, weights = (u + 1) / 2, weights / 2
        # t = u^4 smooths the logarithm at t = 0
        values = [expected_nelbo(process, log_p, torch.tensor([[0]]), t).item() for t in [late, *u**4]]
        yield {alpha_t: 1 - late, tau: np.tanh(margin)}, [values[0], (weights * 4 * u**3 * values[1:]).sum()]

    return Sides(
        derived=Matrix([mean, whole]),
        corrected=Matrix([density(alpha_t), -log((1 + tau) / 2)]),
        measure=measure,
    )


# Entropy (section 4 and appendix C)


@_identity(
    "(13)",
    "two tokens: H(x_1) + H(x_2) - H(x_1, x_2) = KL(q || u v), q[i, j] their joint distribution, u[i] = sum_j q[i, j], "
    "v[j] = sum_i q[i, j]; -log r lies above its tangent at r = 1, whose mean at r = u v/q is 0, so that KL >= 0: the "
    "sum of token entropies bounds the joint entropy from above, and more tokens add further such terms",
    erratum="the sum of token entropies is called the entropy of the sequence, which it is for independent tokens only",
    library="bridges.DiffusionSystem(EmpiricalBayes, conditional='posterior')",
)
def sequence_entropy() -> Sides:
    first, second = (i, 0, K - 1), (j, 0, K - 1)
    margin_u, margin_v = Sum(q[i, j], second), Sum(q[i, j], first)
    r = Symbol("r", positive=True)
    convex = -log(r)
    tangent = convex.subs(r, 1) + convex.diff(r).subs(r, 1) * (r - 1)
    if not convex.diff(r, 2).is_positive:
        raise ArithmeticError("sequence-entropy: -log r is not convex")

    def mean(value: Any) -> Any:
        return Sum(q[i, j] * value, first, second)

    def measure(rng: np.random.Generator) -> Any:
        import torch

        from bridges.diffusion import DiffusionSystem
        from uddm import EmpiricalBayes

        process, late, _, point = _process(rng, 3)
        data, state = rng.integers(3, size=(6, 2)), rng.integers(3, size=(1, 2))
        data[:3] = np.stack([np.arange(3)] * 2, 1)
        memory = EmpiricalBayes(torch.as_tensor(data), process)
        joint = np.full((3, 3), 1e-300)
        np.add.at(joint, tuple(data.T), memory.weights(torch.as_tensor(state), late)[0].numpy())
        total = DiffusionSystem(memory, conditional="posterior").conditional(state, late).entropy().sum()
        excess = total + (joint * np.log(joint)).sum()
        yield {**point, q: joint, u: joint.sum(1), v: joint.sum(0)}, [excess, 0]

    tokens_apart = -Sum(margin_u * log(u[i]), first) - Sum(margin_v * log(v[j]), second)
    least = mean(tangent.subs(r, u[i] * v[j] / q[i, j]))
    return Sides(
        derived=Matrix([tokens_apart + mean(log(q[i, j])), least]),
        corrected=Matrix([mean(log(q[i, j] / (u[i] * v[j]))), 0]),
        printed=Matrix([0, 0]),
        measure=measure,
        given={mean(1): 1},
    )


@_identity(
    "(21)-(23)",
    "Laplace, in coordinates along the eigenvectors of the Hessian (a rotation), where Z of (21), the integral of "
    "exp(E(x*) - E), factorises and log det is the sum of log lambda: log Z = (D/2) log 2 pi - (1/2) log det; "
    "H = <E - E(x*)> + log Z = (D/2)(1 + log 2 pi) - (1/2) log det; dH/d log det = -1/2",
    erratum="with C the mean of the omitted quadratic term, D/2, (D/2) log 2 pi is lost from the first line of (23) to "
    "the second; and H is affine in log det, not inversely proportional to it (dH/d log det = -H/log det)",
    library="none: torch.distributions.MultivariateNormal, of a full covariance matrix",
)
def laplace() -> Sides:
    D = Symbol("D", integer=True, positive=True)
    y, eigenvalue, shift = Symbol("y", real=True), Symbol("lambda", positive=True), Symbol("shift", real=True)
    eigenvalues = IndexedBase("lambda", positive=True)
    weight = exp(-eigenvalue * y**2 / 2)
    Z = sp.integrate(weight, (y, -sp.oo, sp.oo))
    energy = sp.integrate(eigenvalue * y**2 / 2 * weight, (y, -sp.oo, sp.oo)) / Z
    entropy = sp.simplify(energy + log(Z))
    every = (n, 0, D - 1)
    scaled = entropy.subs(eigenvalue, eigenvalues[n] * exp(shift / D))  # which adds `shift` to log det
    log_det = Sum(log(eigenvalues[n]), every)
    normaliser = D * log(2 * pi) / 2 - log_det / 2
    printed = D / 2 - log_det / 2

    def measure(rng: np.random.Generator) -> Any:
        import torch

        root = rng.normal(size=(3, 3))
        hessian = root @ root.T + np.eye(3)

        def law(scale: float) -> Any:
            top = torch.zeros(3, dtype=torch.float64)
            return torch.distributions.MultivariateNormal(top, precision_matrix=torch.as_tensor(scale * hessian))

        more, one, less = (law(scale).entropy().item() for scale in (np.e, 1, 1 / np.e))
        values = [-law(1).log_prob(torch.zeros(3, dtype=torch.float64)).item(), one, (more - less) / 6]
        yield {D: 3, eigenvalues: np.linalg.eigvalsh(hessian)}, values  # log det differs by 6

    log_z = Sum(log(Z).subs(eigenvalue, eigenvalues[n]), every)
    slope = contracted(Sum(sp.diff(scaled, shift), every))
    return Sides(
        derived=Matrix([log_z, Sum(scaled.subs(shift, 0), every), slope]),
        corrected=Matrix([normaliser, D / 2 + normaliser, -Rational(1, 2)]),
        printed=Matrix([normaliser, printed, -printed / log_det]),
        measure=measure,
    )


@_identity(
    "",
    "the discrete twin at K = 2: H(M) = log 2 cosh M - M tanh M, and dH/dM = -M sech^2 M, entropy of eq. (9)",
    library="bridges.BinarySystem, and its central difference",
)
def binary_entropy() -> Sides:
    M = Symbol("M", real=True)
    psi = [exp(spin * M) / (2 * sp.cosh(M)) for spin in (1, -1)]
    entropy = -sum(prob * sp.expand_log(log(prob), force=True) for prob in psi)

    def measure(rng: np.random.Generator) -> Any:
        from amtheory import Couplings
        from bridges.binary import BinarySystem

        margin, step = rng.normal(), 1e-5

        def entropy(field: float) -> float:
            system = BinarySystem(Couplings(np.array([[0, field], [field, 0]])), beta=1.0)
            return system.conditional(np.ones((1, 2), int), 1.0).entropy()[0, 0]

        yield {M: margin}, [entropy(margin), (entropy(margin + step) - entropy(margin - step)) / (2 * step)]

    return Sides(
        derived=Matrix([entropy, sp.diff(entropy, M)]),
        corrected=Matrix([log(2 * sp.cosh(M)) - M * tanh(M), -M / sp.cosh(M) ** 2]),
        measure=measure,
    )


# Gaussian duality (appendix B)


def _normal(y: Any) -> Any:
    return exp(-(y**2) / 2) / sp.sqrt(2 * pi)


def _printed_normal(y: Any) -> Any:
    return exp(-(y**2)) / sp.sqrt(2 * pi)


@_identity(
    "(17)",
    "K = 2: T = 2 [int phi(y - mu) Phi(y) dy - 1/2] = erf(mu/2), mu = a/sqrt(1 - a^2), a = alpha~",
    erratum="phi lacks the factor 1/2 in its exponent; as printed, with Phi the normal distribution, T(0) = 1/sqrt(2) "
    "- 1 = -0.29",
    library="uddm.duality.uniform_alpha",
)
def gaussian_transform() -> Sides:
    ratio, y, nu = Symbol("mu", positive=True), Symbol("y", real=True), Symbol("nu", positive=True)

    def transform(phi: Callable[[Any], Any]) -> Any:
        # dT/dmu = 2 int phi(y) Phi'(y + mu) dy; at mu = 0 the odd part of Phi does not count
        slope = sp.simplify(2 * sp.integrate(phi(y) * _normal(y + nu), (y, -sp.oo, sp.oo)))
        start = 2 * (sp.integrate(phi(y), (y, -sp.oo, sp.oo)) / 2 - Rational(1, 2))
        return sp.simplify(start + sp.integrate(slope, (nu, 0, ratio)))

    def measure(rng: np.random.Generator) -> Any:
        from uddm.duality import uniform_alpha

        amplitude = rng.uniform(0.05, 0.95)
        yield {ratio: amplitude / np.sqrt(1 - amplitude**2)}, uniform_alpha(amplitude, 2)

    return Sides(
        derived=transform(_normal),
        corrected=sp.erf(ratio / 2),
        printed=transform(_printed_normal),
        measure=measure,
    )


@_identity(
    "(17)",
    "T = K/(K - 1) (w - 1/K): the own of K coordinates is the largest with probability w = int phi(y - mu) "
    "Phi(y)^(K-1) dy, which is T + (1 - T)/K; and at mu = 0, where w = int Phi^(K-1) dPhi, T = 0",
    erratum="with phi as printed, and Phi its integral, Phi ends at 1/sqrt(2) and T(0) < 0: -1/2 at K = 2",
    library="uddm.duality.uniform_alpha at K = 100; w by quadrature",
)
def gaussian_argmax() -> Sides:
    y, level, largest, T = Symbol("y", real=True), Symbol("Phi", positive=True), Symbol("w"), Symbol("T")

    def start(phi: Callable[[Any], Any]) -> Any:
        end = sp.integrate(phi(y), (y, -sp.oo, sp.oo))
        return sp.integrate(level ** (K - 1), (level, 0, end))

    def transform(chance: Any) -> Any:
        return K / (K - 1) * (chance - 1 / K)

    (derived,) = sp.solve(T + (1 - T) / K - largest, T)

    def measure(rng: np.random.Generator) -> Any:
        from uddm.duality import uniform_alpha

        amplitude = rng.uniform(0.05, 0.95)
        mu = amplitude / np.sqrt(1 - amplitude**2)
        chance: Any = mpmath.quad(lambda y: mpmath.npdf(y - mu) * mpmath.ncdf(y) ** 99, np.arange(-8, mu + 9))
        yield {K: 100, largest: float(chance)}, [uniform_alpha(amplitude, 100), uniform_alpha(0.0, 100)]

    return Sides(
        derived=Matrix([derived, derived.subs(largest, start(_normal))]),
        corrected=Matrix([transform(largest), 0]),
        printed=Matrix([transform(largest), sp.simplify(transform(start(_printed_normal)))]),
        measure=measure,
    )
