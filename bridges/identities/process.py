"""The process (section 2): noise, its reversal, and what a noisy token tells of a clean one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bridges.identities._algebra import contracted
from bridges.identities._check import Sides, identity
from bridges.identities._symbols import (
    POSITIONS,
    STATES,
    IndexedBase,
    K,
    L,
    Matrix,
    Sum,
    alpha_s,
    alpha_t,
    d,
    i,
    k,
    log,
    n,
    noisy,
    p,
    sp,
    speed,
    x,
    z,
)


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


@identity(
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
        for each in (token, now):
            found = process.posterior(clean, torch.tensor([[each]]), late, early)[0, 0]
            for then, probability in enumerate(found.tolist()):
                yield {**point, x: token, z: each, i: then}, [probability, found.sum().item()]

    return Sides(
        derived=entries(_bayes(i, z, x)),
        corrected=entries(_reverse(i, z, lambda k: d(k, x))),
        printed=entries(_reverse(i, z, lambda k: d(k, x), last=1)),
        measure=measure,
    )


@identity(
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


@identity(
    "",
    "b = log q(z = x | x)/q(z != x | x) = log(1 + K alpha/(1 - alpha)), which is 2 atanh(alpha) at K = 2",
    library="uddm.UniformProcess.own_logit",
)
def own_logit() -> Sides:
    ratio = log(_forward(0, 0, alpha_t) / _forward(0, 1, alpha_t))

    def measure(rng: np.random.Generator) -> Any:
        from uddm import UniformProcess

        process, late, _, point = _process(rng, 5)
        yield point, [p.own_logit(late).item() for p in (process, UniformProcess(2, "linear"))]

    return Sides(
        derived=Matrix([ratio, ratio.subs(K, 2)]),
        corrected=Matrix([log(1 + K * alpha_t / (1 - alpha_t)), 2 * sp.atanh(alpha_t)]),
        measure=measure,
    )


@identity(
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


@identity(
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
