"""Entropy (section 4 and appendix C): of a sequence, and near a minimum of the energy."""

from __future__ import annotations

from typing import Any

import numpy as np

from bridges.identities._algebra import contracted
from bridges.identities._check import Sides, identity
from bridges.identities._symbols import (
    IndexedBase,
    K,
    Matrix,
    Rational,
    Sum,
    Symbol,
    exp,
    i,
    j,
    log,
    n,
    pi,
    q,
    sp,
    tanh,
    u,
    v,
)
from bridges.identities.process import _process


@identity(
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


@identity(
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


@identity(
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
