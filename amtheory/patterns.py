"""Ensembles of patterns, corruption and overlaps.

With the same seed the result is the same, and fewer patterns are a prefix of more.
"""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from jaxtyping import Int8
from numpy.typing import ArrayLike, NDArray

from amtheory import _validation as check

Spins = NDArray[np.int8]

_BLOCK = 2**22  # real numbers held at a time


def random_patterns(P: int, L: int, *, rng: check.Seed = None) -> Int8[np.ndarray, "{P} {L}"]:
    """Independent unbiased spins: P(x = +1) = 1/2 for each.

    Parameters
    ----------
    P, L : numbers of patterns and of spins, >= 1
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy

    Returns
    -------
    (P, L) int8 in {-1, +1}

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.patterns import random_patterns
    >>> x = random_patterns(3, 1000, rng=0)
    >>> x.shape, x.dtype.name, bool((x[:2] == random_patterns(2, 1000, rng=0)).all())
    ((3, 1000), 'int8', True)
    """
    shape = check.integer("P", P, 1), check.integer("L", L, 1)
    return _fair_spins(check.generator(rng), shape)


def biased_patterns(P: int, L: int, bias: float, *, rng: check.Seed = None) -> Int8[np.ndarray, "{P} {L}"]:
    """Independent spins of mean `bias`: P(x = +1) = (1 + bias) / 2 for each.

    Parameters
    ----------
    P, L : numbers of patterns and of spins, >= 1
    bias : in (-1, 1)
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy

    Returns
    -------
    (P, L) int8 in {-1, +1}

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.patterns import biased_patterns
    >>> round(float(biased_patterns(10, 1000, 0.8, rng=0).mean()), 1)
    0.8
    """
    shape = check.integer("P", P, 1), check.integer("L", L, 1)
    return _spins(check.generator(rng), shape, check.between("bias", bias, -1, 1))


def correlated_chains(
    P: int, L: int, correlation: float, *, along: Literal["sites", "patterns"] = "sites", rng: check.Seed = None
) -> Int8[np.ndarray, "{P} {L}"]:
    """Unbiased spins in stationary Markov chains, with correlations that decay exponentially:

        along sites:     < x_i^mu x_j^nu > = delta_{mu nu} c^|i - j|
        along patterns:  < x_i^mu x_j^nu > = delta_{ij} c^|mu - nu|

    Along sites each pattern is a configuration of an open Ising chain with tanh(J / T) = c: spatially correlated
    patterns. Along patterns each is the one before with its spins flipped independently with probability (1 - c) / 2:
    semantically correlated patterns (Löwe, Ann. Appl. Probab. 8, 1216, 1998, for both).

    Parameters
    ----------
    P, L : numbers of patterns and of spins, >= 1
    correlation : c of neighbours, in (-1, 1)
    along : "sites", the default, or "patterns"
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy

    Returns
    -------
    (P, L) int8 in {-1, +1}

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.patterns import correlated_chains
    >>> x = correlated_chains(10, 1000, 0.5, rng=0)
    >>> round(float((x[:, 1:] * x[:, :-1]).mean()), 1)
    0.5
    """
    shape = check.integer("P", P, 1), check.integer("L", L, 1)
    correlation = check.between("correlation", correlation, -1, 1)
    check.choice("along", along, ("sites", "patterns"))
    of_starts, of_steps = check.generator(rng).spawn(2)
    steps = _spins(of_steps, shape, correlation)  # x_{i+1} / x_i
    if along == "sites":
        steps[:, 0] = _fair_spins(of_starts, (P,))
        return np.cumprod(steps, axis=1, dtype=np.int8)
    steps[0] = _fair_spins(of_starts, (L,))
    return np.cumprod(steps, axis=0, dtype=np.int8)


def prototypes(
    P: int, L: int, K: int, quality: float, *, rng: check.Seed = None
) -> tuple[Int8[np.ndarray, "{P} {L}"], Int8[np.ndarray, "{K} {L}"], Callable[..., Int8[np.ndarray, "n {L}"]]]:
    """Noisy examples of K prototypes: x_i^mu = chi_i^mu p_i^(mu mod K), < chi > = r, so that < x . p / L > = r.

    The prototypes p in {-1, +1}^L have independent unbiased spins, and each spin of an example differs from its
    prototype independently with probability (1 - r) / 2: learning K concepts, from P / K examples each, of quality r
    (Fontanari, J. Phys. France 51, 2421, 1990; Agliari et al., arXiv 2401.16114). Two examples of one prototype
    have the mean overlap r^2. With the same seed, the prototypes do not depend on P.

    Parameters
    ----------
    P, L : numbers of examples and of spins, >= 1
    K : number of prototypes, >= 1
    quality : r in [0, 1]
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy

    Returns
    -------
    patterns : (P, L) int8; example mu belongs to prototype mu mod K, ``prototypes[np.arange(P) % K]``
    prototypes : (K, L) int8
    sample_unseen : function ``(n, rng=None) -> (n, L) int8``, new examples of the same prototypes, in the same order.
        With ``rng=None`` it continues a stream of its own, so the examples of successive calls are independent, and
        reproducible from the seed given here

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.patterns import prototypes
    >>> examples, concepts, sample_unseen = prototypes(6, 1000, 3, 0.8, rng=0)
    >>> (examples * concepts[[0, 1, 2, 0, 1, 2]]).mean(axis=1).round(1).tolist()
    [0.8, 0.8, 0.8, 0.8, 0.8, 0.8]
    >>> sample_unseen(4).shape
    (4, 1000)
    """
    P, L, K = check.integer("P", P, 1), check.integer("L", L, 1), check.integer("K", K, 1)
    quality = check.between("quality", quality, 0, 1, closed=True)
    of_prototypes, of_patterns, of_unseen = check.generator(rng).spawn(3)
    of_each = _fair_spins(of_prototypes, (K, L))

    def sample(n: int, generator: np.random.Generator) -> Spins:
        examples = _spins(generator, (n, L), quality)
        for k in range(K):
            examples[k::K] *= of_each[k]
        return examples

    return sample(P, of_patterns), of_each, _unseen(sample, of_unseen)


def random_features(
    P: int,
    L: int,
    D: int,
    *,
    active: int | None = None,
    coefficients: Literal["gaussian", "binary"] = "gaussian",
    rng: check.Seed = None,
) -> tuple[Int8[np.ndarray, "{P} {L}"], Int8[np.ndarray, "{D} {L}"], Callable[..., Int8[np.ndarray, "n {L}"]]]:
    """Random-features ("hidden manifold") examples, x = sgn(sum_k c_k f_k).

    The D features f_k in {-1, +1}^L have independent unbiased spins. Each example has its own coefficients
    c_k, standard normal or +-1, all non-zero (`active=None`) or non-zero on exactly `active` features drawn
    at random (Negri et al., Phys. Rev. Lett. 131, 257301; Kalaj et al., arXiv 2407.05658). The two loads
    are alpha = P / L and alpha_D = D / L. With the same seed, the features do not depend on P.

    Parameters
    ----------
    P, L : numbers of examples and of spins, >= 1
    D : number of features, >= 1
    active : number of features in each example, 1 to D; default None, all of them
    coefficients : "gaussian", the default, or "binary", fair signs of an odd number of features, which cannot tie
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy

    Returns
    -------
    patterns : (P, L) int8
    features : (D, L) int8
    sample_unseen : function ``(n, rng=None) -> (n, L) int8``, new examples made of the same features. With ``rng=None``
        it continues a stream of its own, so the examples of successive calls are independent, and reproducible from the
        seed given here

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range; binary coefficients of an even number of features

    See Also
    --------
    amtheory.theory.random_features : the module of the same name, at which loads examples and features are attractors

    Examples
    --------
    >>> from amtheory.patterns import random_features
    >>> x, features, sample_unseen = random_features(4, 1000, 10, active=1, rng=0)
    >>> abs(x @ features.T.astype(int)).max(axis=1).tolist()  # of one feature each
    [1000, 1000, 1000, 1000]
    >>> sample_unseen(2).shape
    (2, 1000)
    """
    P, L, D = check.integer("P", P, 1), check.integer("L", L, 1), check.integer("D", D, 1)
    active = D if active is None else check.integer("active", active, 1, D)
    check.choice("coefficients", coefficients, ("gaussian", "binary"))
    if coefficients == "binary" and active % 2 == 0:
        raise ValueError(f"`active` (all of D if None) must be odd for binary coefficients, got {active}")

    of_features, of_patterns, of_unseen = check.generator(rng).spawn(3)
    features = _fair_spins(of_features, (D, L))

    signals = features.astype(np.float64)

    def sample(n: int, generator: np.random.Generator) -> Spins:
        of_coefficients, of_supports = generator.spawn(2)
        if coefficients == "gaussian":
            c = of_coefficients.standard_normal((n, D))
        else:
            c = _fair_spins(of_coefficients, (n, D)).astype(np.float64)
        if active < D:
            c *= _random_subsets(of_supports, (n, D), active)
        above = [c[rows] @ signals > 0 for rows in _blocks(n, L)]
        return _as_spins(np.concatenate(above))

    return sample(P, of_patterns), features, _unseen(sample, of_unseen)


def binarize(data: ArrayLike, threshold: Literal["median", "mean"] | ArrayLike = "median") -> Int8[np.ndarray, "n L"]:
    """Real data as spins: +1 where a feature exceeds its threshold, -1 where it does not.

    The trailing dimensions are flattened, in C order. A value equal to its threshold gives -1: with "median", half or
    more of the spins of a feature are -1.

    Parameters
    ----------
    data : (n, ...) real numbers or booleans, all finite
    threshold : "median", the default, or "mean" of each feature over the n rows; or one number for all features; or an
        array with one number for each, of the shape of ``data[0]``. To treat new data as the old:
        ``np.median(old, axis=0)``

    Returns
    -------
    (n, L) int8 in {-1, +1}

    Raises
    ------
    ValueError : NaN or infinity, anything not real, less than two dimensions, an empty dimension, or thresholds of
        another shape
    TypeError : masked elements

    Warns
    -----
    UserWarning : "median" or "mean" meets features that are constant over the rows. They are kept, as -1

    Examples
    --------
    >>> from amtheory.patterns import binarize
    >>> binarize([[0.1, 5.0], [0.2, 7.0], [0.9, 6.0]]).tolist()
    [[-1, -1], [-1, 1], [1, -1]]
    """
    array = check.unmasked("data", data)
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"`data` must have at least two dimensions, none of size 0, got shape {array.shape}")
    shape = array.shape[1:]
    array = _finite("data", array).reshape(len(array), -1)
    if not isinstance(threshold, str):
        thresholds = _finite("threshold", check.unmasked("threshold", threshold))
        if thresholds.shape not in ((), shape):
            raise ValueError(f"`threshold` must be one number or have shape {shape}, got shape {thresholds.shape}")
        return _as_spins(array > thresholds.ravel())
    check.choice("threshold", threshold, ("median", "mean"))
    above = array > (np.median(array, axis=0) if threshold == "median" else array.mean(axis=0, dtype=np.float64))
    constant = (array == array[0]).all(axis=0)
    if constant.any():
        above[:, constant] = False  # a rounded mean may lie below
        warnings.warn(
            f"{np.count_nonzero(constant)} of {len(constant)} features of `data` are constant: their spins are all -1",
            stacklevel=2,
        )
    return _as_spins(above)


def flip(states: ArrayLike, flips: int, *, rng: check.Seed = None) -> Int8[np.ndarray, "... L"]:
    """`states` with exactly `flips` distinct random spins of each reversed: overlap 1 - 2 flips / L.

    Parameters
    ----------
    states : (..., L) spins in {-1, +1}; not modified
    flips : the number of spins, not a share, 0 to L
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy

    Returns
    -------
    (..., L) int8

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from amtheory.patterns import flip, overlap, random_patterns
    >>> x = random_patterns(2, 100, rng=0)
    >>> overlap(flip(x, 10, rng=1), x).tolist()
    [0.8, 0.8]
    """
    states = check.spins("states", states, ndim=None)
    flips = check.integer("flips", flips, 0, states.shape[-1])
    return np.where(_random_subsets(check.generator(rng), states.shape, flips), -states, states)


def overlap(a: ArrayLike, b: ArrayLike) -> check.Broadcast:
    """m = (1/L) sum_l a_l b_l in [-1, 1] over the last axis, of any two states or patterns.

    Parameters
    ----------
    a, b : (..., L) spins in {-1, +1}; the other axes broadcast

    Returns
    -------
    float64, of the shape that the other axes broadcast to

    Raises
    ------
    ValueError, TypeError : other values, or different L

    See Also
    --------
    amtheory.retrieve : gives the overlap m(t) with a reference as the dynamics proceed, ``info.overlaps``
    amtheory.theory.hopfield.overlap : the overlap m of the retrieval state, by theory

    Examples
    --------
    >>> from amtheory.patterns import overlap
    >>> float(overlap([1, 1, -1, -1], [1, 1, 1, -1]))
    0.5
    """
    a = check.spins("a", a, ndim=None)
    a, b = check.together(a=a, b=check.spins("b", b, ndim=None, length=a.shape[-1]))
    return np.mean(a * b, axis=-1)


def _fair_spins(rng: np.random.Generator, shape: tuple[int, ...]) -> Spins:
    return 2 * rng.integers(0, 2, shape, dtype=np.int8) - 1


def _random_subsets(rng: np.random.Generator, shape: tuple[int, ...], size: int) -> NDArray[np.bool]:
    """Indicators, along the last axis, of independent uniform subsets of `size` elements."""
    return rng.permuted(np.broadcast_to(np.arange(shape[-1]) < size, shape), axis=-1)


def _spins(rng: np.random.Generator, shape: tuple[int, int], mean: float) -> Spins:
    """Independent spins with this mean."""
    P, L = shape
    up = np.empty(shape, bool)
    for rows in _blocks(P, L):
        up[rows.start : rows.stop] = rng.random((len(rows), L)) < (1 + mean) / 2
    return _as_spins(up)


def _as_spins(up: NDArray[np.bool]) -> Spins:
    return 2 * up.view(np.int8) - 1


def _blocks(P: int, L: int) -> list[range]:
    """The rows 0, ..., P - 1 in blocks of about _BLOCK numbers."""
    step = max(1, _BLOCK // L)
    return [range(start, min(start + step, P)) for start in range(0, P, step)]


def _unseen(sample: Callable[[int, np.random.Generator], Spins], stream: np.random.Generator) -> Callable[..., Spins]:
    def sample_unseen(n: int, rng: check.Seed = None) -> Spins:
        """`n` new examples, (n, L) int8; from a stream of their own if `rng` is None."""
        return sample(check.integer("n", n, 1), stream if rng is None else check.generator(rng))

    return sample_unseen


def _finite(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must contain real numbers, got dtype {array.dtype}")
    unusable = np.count_nonzero(~np.isfinite(array))
    if unusable:
        raise ValueError(f"`{name}` must be finite, got {unusable} NaN or infinity")
    return array
