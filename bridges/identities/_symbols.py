"""Sympy, and the symbols of all chapters with what is assumed of them; the notation is that of `bridges.identities`."""

from typing import Any

import sympy

sp: Any = sympy  # whose own annotations deny much of its algebra
IndexedBase, KroneckerDelta, Matrix, Sum, Symbol = sp.IndexedBase, sp.KroneckerDelta, sp.Matrix, sp.Sum, sp.Symbol
Rational, exp, log, pi, symbols, tanh = sp.Rational, sp.exp, sp.log, sp.pi, sp.symbols, sp.tanh

d = KroneckerDelta
K, L, P = symbols("K L P", integer=True, positive=True)
a, b, i, j, k, l, m, mu, n, x, z = symbols("a b i j k l m mu n x z", integer=True)
alpha_t, alpha_s, beta, speed, tau = symbols("alpha_t alpha_s beta speed tau", positive=True)
A, W, f, s = (IndexedBase(name, real=True) for name in "AWfs")
p, q, u, v = (IndexedBase(name, positive=True) for name in "pquv")
tokens, noisy = IndexedBase("x", integer=True), IndexedBase("z", integer=True)
POSITIONS, OTHERS, EXAMPLES, STATES = (n, 0, L - 1), (j, 0, L - 1), (mu, 0, P - 1), (k, 0, K - 1)
