"""Proofs that an expression is zero: sums of symbolic length over functions of Kronecker's deltas.

`sympy.concrete.delta.deltasummation` sums a delta that is a factor of the summand, not one inside a function, as in
log(alpha d(i, x) + (1 - alpha)/K), which all of the process consists of. `contracted` takes those too.

Two rules are not general: the alpha_t and tau of `_symbols` lie in (0, 1), and p, u and v add up to one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, reduce
from itertools import permutations
from typing import Any

import numpy as np

from bridges.identities._symbols import (
    STATES,
    IndexedBase,
    KroneckerDelta,
    Sum,
    alpha_t,
    exp,
    k,
    log,
    p,
    sp,
    symbols,
    tanh,
    tau,
    u,
    v,
)


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
    with np.errstate(all="ignore"):  # what is undefined there is NaN or infinite
        values = _compiled(tuple(map(sp.sympify, expressions)), tuple(point))(*point.values())
    return np.array(values, np.float64)


@cache
def _compiled(expressions: tuple[Any, ...], arguments: tuple[Any, ...]) -> Callable[..., list[Any]]:
    return sp.lambdify(arguments, list(expressions), "numpy")
