"""Associative memories (section 3.1): dynamics, margins, the conditional law of a spin and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from bridges.identities._algebra import contracted
from bridges.identities._check import Sides, identity
from bridges.identities._symbols import (
    EXAMPLES,
    OTHERS,
    POSITIONS,
    STATES,
    A,
    IndexedBase,
    K,
    L,
    Matrix,
    P,
    Sum,
    Symbol,
    W,
    a,
    b,
    beta,
    d,
    exp,
    f,
    i,
    j,
    k,
    l,
    log,
    m,
    mu,
    n,
    p,
    s,
    sp,
    symbols,
    tanh,
    tokens,
)


def _field(i: Any, spin: Callable[[Any], Any]) -> Any:
    """f_i = beta sum_{j != i} W_ij s_j."""
    return beta * Sum((1 - d(i, j)) * W[i, j] * spin(j), OTHERS)


def _spins(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.choice([-1, 1], shape)


@identity(
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


@identity(
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


@identity(
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


@identity(
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


@identity(
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


@identity(
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


@identity(
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
