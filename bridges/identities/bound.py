"""The evidence bound (sections 2 and 3): its limit in continuous time, and its value where that is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bridges.identities._algebra import contracted
from bridges.identities._check import Sides, identity
from bridges.identities._symbols import (
    STATES,
    K,
    Matrix,
    Sum,
    Symbol,
    alpha_s,
    alpha_t,
    d,
    i,
    k,
    log,
    p,
    sp,
    speed,
    symbols,
    tau,
    x,
    z,
)
from bridges.identities.process import _distribution, _network, _process, _reverse


def _scaled(i: Any, clean: Any) -> Any:
    """K q_t(i | clean) for a distribution `clean` at i."""
    return K * alpha_t * clean + 1 - alpha_t


def _nelbo(z: Any, x: Any) -> Any:
    """The diffusion term as `uddm.nelbo` writes it, at z_t = z for the clean token x."""
    one, other = _scaled(z, d(z, x)), _scaled(z, p[z])
    summand = _scaled(k, d(k, x)) / K * log(_scaled(k, d(k, x)) / _scaled(k, p[k]))
    return speed / (alpha_t * one) * (Sum(summand, STATES) + one / other - 1 - log(one / other))


@identity(
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


@identity(
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


@identity(
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
