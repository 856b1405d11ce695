"""Gaussian duality (appendix B): the uniform process as the argmax of a Gaussian one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np

from bridges.identities._check import Sides, identity
from bridges.identities._symbols import K, Matrix, Rational, Symbol, exp, pi, sp


def _normal(y: Any) -> Any:
    return exp(-(y**2) / 2) / sp.sqrt(2 * pi)


def _printed_normal(y: Any) -> Any:
    return exp(-(y**2)) / sp.sqrt(2 * pi)


@identity(
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


@identity(
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
