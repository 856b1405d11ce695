"""Ensembles of patterns, corruption and overlaps."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amtheory import _validation as check

Spins = NDArray[np.int8]


def random_patterns(P: int, L: int, *, rng: Any = None) -> Spins:
    """Independent unbiased spins: P(x = +1) = 1/2 for each entry of the (P, L) int8 result.

    With the same seed, fewer patterns are a prefix of more. Raises TypeError or ValueError unless P, L >= 1.
    """
    shape = check.integer("P", P, 1), check.integer("L", L, 1)
    return _fair_spins(check.generator(rng), shape)


def random_features(
    P: int,
    L: int,
    D: int,
    *,
    active: int | None = None,
    coefficients: Literal["gaussian", "binary"] = "gaussian",
    rng: Any = None,
) -> tuple[Spins, Spins, Callable[..., Spins]]:
    """Random-features ("hidden manifold") examples, x = sgn(sum_k c_k f_k).

    The D features f_k in {-1, +1}^L have independent unbiased spins. Each example has its own coefficients
    c_k, standard normal or +-1, all non-zero (`active=None`) or non-zero on exactly `active` features drawn
    at random (Negri et al., Phys. Rev. Lett. 131, 257301; Kalaj et al., arXiv 2407.05658). The two loads
    are alpha = P / L and alpha_D = D / L.

    Returns
    -------
    patterns : (P, L) int8
    features : (D, L) int8
    sample_unseen : function ``(n, rng=None) -> (n, L) int8``
        New examples made of the same features. With ``rng=None`` it continues a stream of its own, so the
        examples of successive calls are independent, and reproducible from the seed given here.

    With the same seed, fewer patterns are a prefix of more, and the features do not depend on P.

    Raises ValueError if binary coefficients would meet an even number of features, where ties sgn(0) occur.
    """
    P, L, D = check.integer("P", P, 1), check.integer("L", L, 1), check.integer("D", D, 1)
    active = D if active is None else check.integer("active", active, 1, D)
    check.choice("coefficients", coefficients, ("gaussian", "binary"))
    if coefficients == "binary" and active % 2 == 0:
        raise ValueError(f"`active` (all of D if None) must be odd for binary coefficients, got {active}")

    of_features, of_patterns, of_unseen = check.generator(rng).spawn(3)
    features = _fair_spins(of_features, (D, L))

    def sample(n: int, generator: np.random.Generator) -> Spins:
        of_coefficients, of_supports = generator.spawn(2)
        if coefficients == "gaussian":
            c = of_coefficients.standard_normal((n, D))
        else:
            c = _fair_spins(of_coefficients, (n, D)).astype(np.float64)
        if active < D:
            c *= _random_subsets(of_supports, (n, D), active)
        return np.where(c @ features > 0, np.int8(1), np.int8(-1))

    def sample_unseen(n: int, rng: Any = None) -> Spins:
        """`n` new examples of the same features, (n, L) int8."""
        return sample(check.integer("n", n, 1), of_unseen if rng is None else check.generator(rng))

    return sample(P, of_patterns), features, sample_unseen


def flip(states: ArrayLike, flips: int, *, rng: Any = None) -> Spins:
    """`states` (..., L) with exactly `flips` distinct random spins of each reversed: overlap 1 - 2 flips / L.

    Raises ValueError unless 0 <= flips <= L.
    """
    states = check.spins("states", states, ndim=None)
    flips = check.integer("flips", flips, 0, states.shape[-1])
    return np.where(_random_subsets(check.generator(rng), states.shape, flips), -states, states)


def overlap(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """m = (1/L) sum_l a_l b_l in [-1, 1] over the last axis; the other axes broadcast."""
    a = check.spins("a", a, ndim=None)
    b = check.spins("b", b, ndim=None, length=a.shape[-1])
    return np.mean(a * b, axis=-1)


def _fair_spins(rng: np.random.Generator, shape: tuple[int, ...]) -> Spins:
    return 2 * rng.integers(0, 2, shape, dtype=np.int8) - 1


def _random_subsets(rng: np.random.Generator, shape: tuple[int, ...], size: int) -> NDArray[np.bool]:
    """Indicators, along the last axis, of independent uniform subsets of `size` elements."""
    return rng.permuted(np.broadcast_to(np.arange(shape[-1]) < size, shape), axis=-1)
