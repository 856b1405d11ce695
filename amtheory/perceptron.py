"""Memories of maximal stability (Gardner, J. Phys. A 21, 257, 1988; Krauth and Mezard, J. Phys. A 20, L745, 1987)."""

import warnings
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from amtheory import _validation as check
from amtheory._memory import PairwiseMemory

_ROWS = 32  # rows between two steps of the progress bar
# of K / L + epsilon: the first is small enough for most rows, the path down from large ones leads the others there
_EPSILONS = (1e-6, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
_PIVOTS = 100  # that a row is given at each
_SWEEPS = 10  # between two certificates
_PENALTY, _RELAXATION = 0.1, 1.6  # of the alternating directions, in units of the eigenvalues of K / L


@dataclass(eq=False)
class PerceptronMargin(PairwiseMemory):
    """Couplings of large stability, Delta_l = x_l (W_l . x) / ||W_l|| >= kappa on all patterns; W_ll = 0, asymmetric.

    Each row is a perceptron on the other spins. With ``margin=None`` it has the largest kappa there is, which is
    unique: the minimum of ||W_l||^2 at x_l (W_l . x) >= 1. Row l is W_l = sum_mu a_mu x_l^mu x^mu, diagonal removed,
    with a >= 0, and any such a is a certificate (Cauchy-Schwarz):

        min_mu Delta_l^mu = kappa_lo  <=  kappa_max  <=  kappa_up = ||W_l|| / sum_mu a_mu.

    Rows that are not separable are reported by a RuntimeWarning and in `separable_`; a kappa_up of about 0 shows it.
    "exact" gives them couplings of nearly least squared violations sum_mu max(0, 1 - M_mu)^2, the other methods the
    last ones they tried.

    Parameters
    ----------
    margin : kappa >= 0, a stability and not a field: stop at the first couplings found with all stabilities >= kappa;
        default None, the largest kappa
    method : default None takes "exact" without `margin`, "adatron" with it.
        "exact": alternating directions on all rows at once find the support {a > 0} almost exactly, block principal
        pivoting finishes it. Memory is O(P^2 + P L).
        "adatron": dual coordinate ascent (Anlauf and Biehl, Europhys. Lett. 10, 687, 1989), linear convergence.
        "minover": Krauth and Mezard's, of historical interest; its gap falls like 1 / steps.
    symmetric : W = W^T, the minimum of ||W||^2 (all rows together) at x_l (W_l . x) >= 1, by dual coordinate ascent.
        Stabilities and the certificate are then those of the common norm: x_l (W_l . x) sqrt(L) / ||W||; default False
    tolerance : the largest gap kappa_up - kappa_lo, relative to kappa_up, that counts as converged; > 0
    max_sweeps : of "adatron", "minover" (P steps each) and the symmetric fit; >= 1

    Attributes
    ----------
    couplings_ : (L, L) float64; rows are scaled so that the smallest x_l (W_l . x) is 1, if it is positive
    margins_ : (L,) kappa_lo, computed in float64 from `couplings_`
    margin_bounds_ : (L,) kappa_up
    separable_ : (L,) bool, kappa_lo > 0
    converged_ : whether all rows reached `margin`, or were certified to `tolerance`

    Raises
    ------
    TypeError, ValueError : naming the parameter that is out of range

    See Also
    --------
    PseudoLikelihood : leads here as `beta_norm` goes to infinity; its margin M is a field in units of T, not a
        stability
    amtheory.theory.gardner.max_margin : kappa_max of random patterns, at the load P / (L - 1)

    Examples
    --------
    >>> from amtheory import PerceptronMargin
    >>> from amtheory.patterns import random_patterns
    >>> x = random_patterns(10, 40, rng=0)
    >>> memory = PerceptronMargin().fit(x)
    >>> memory.converged_, bool(memory.separable_.all())
    (True, True)
    >>> bool(abs(memory.stabilities(x).min(axis=0) - memory.margins_).max() < 1e-9)
    True
    """

    margin: float | None = None
    _: KW_ONLY
    method: Literal["exact", "adatron", "minover"] | None = None
    symmetric: bool = False
    tolerance: float = 1e-6
    max_sweeps: int = 10_000

    def __post_init__(self) -> None:
        if self.margin is not None:
            self.margin = check.real("margin", self.margin, positive=False)
        if self.method is not None:
            check.choice("method", self.method, ("exact", "adatron", "minover"))
        if self.margin is not None and self.method == "exact":
            raise ValueError("`method` must be 'adatron' or 'minover' with a `margin`, got 'exact'")
        if check.flag("symmetric", self.symmetric) and self.method not in (None, "adatron"):
            raise ValueError(f"`method` must be 'adatron' with `symmetric`, got {self.method!r}")
        self.tolerance = check.real("tolerance", self.tolerance, positive=True)
        check.integer("max_sweeps", self.max_sweeps, 1)

    def fit(self, patterns: ArrayLike) -> Self:
        """Learn `patterns`; repeated ones, also with the opposite sign, count once.

        Threads of linear algebra are as many as the environment variable AMTHEORY_NUM_THREADS says, one by default.

        Parameters
        ----------
        patterns : (P, L) spins in {-1, +1}, P >= 1, L >= 2

        Returns
        -------
        the memory itself

        Raises
        ------
        ValueError, TypeError : anything else

        Warns
        -----
        RuntimeWarning : rows that are not separable, do not reach `margin`, or are not certified to `tolerance`
        """
        x = check.spins("patterns", patterns)
        if x.shape[1] < 2:
            raise ValueError(f"`patterns` must have at least 2 spins each, got shape {x.shape}")
        x = np.unique(x * x[:, :1], axis=0).astype(np.float64)
        with threadpool_limits(check.threads(None), user_api="blas"):
            if self.symmetric:
                W, bounds = self._symmetric(x)
            elif self.margin is None and self.method in (None, "exact"):
                W, bounds = self._exact(x)
            else:
                W, bounds = self._iterative(x)
            smallest = (x * (x @ W.T)).min(axis=0)
        norms = np.full(len(W), np.linalg.norm(W) / np.sqrt(len(W))) if self.symmetric else np.linalg.norm(W, axis=1)
        self.margins_, self.margin_bounds_ = _ratio(smallest, norms), bounds
        self.separable_ = self.margins_ > 0
        unit = smallest.min() if self.symmetric else smallest[:, None]
        self.couplings_ = W / np.where(unit > 0, unit, 1)
        done = self._done(self.margins_.min() if self.symmetric else self.margins_, bounds)
        self.converged_ = bool(np.all(done))
        if not self.converged_:
            self._warn(np.broadcast_to(done, len(W)))
        return self

    def _done(self, lower: ArrayLike, upper: ArrayLike) -> NDArray[np.bool]:
        lower, upper = np.asarray(lower), np.asarray(upper)
        return upper - lower <= self.tolerance * upper if self.margin is None else lower >= self.margin

    def _warn(self, done: NDArray[np.bool]) -> None:
        L, goal = len(done), self.tolerance if self.margin is None else self.margin
        impossible = int(np.count_nonzero(~done & (self.margin_bounds_ <= goal)))
        open_ = int(np.count_nonzero(~done)) - impossible
        if self.margin is None:
            text = f"{impossible} of {L} rows are not separable, {open_} are not certified to a gap of {goal:g}"
        else:
            text = f"{impossible} of {L} rows cannot have a margin of {goal:g}, {open_} did not reach it"
        warnings.warn(f"{text}: see `margins_` and `margin_bounds_`", RuntimeWarning, stacklevel=3)

    def _exact(self, x: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        from amtheory import _fit_kernels

        (P, L), spins = x.shape, np.ascontiguousarray(x.T)
        G = x @ x.T / L
        active = _likely_support(x)
        W, lower, upper = np.zeros((L, L)), np.full(L, -np.inf), np.full(L, np.inf)
        rows = np.arange(L)
        for epsilon in _EPSILONS:
            C, q = _inverse(x, epsilon)
            for some in _chunks(rows, "margins"):
                a, on = np.zeros((len(some), P)), active[some]
                _fit_kernels.complementary_rows(spins[some], G, 1 / L, C, q[some], on, a, _PIVOTS)
                active[some] = on
                candidate, low, high = _certificate(x, np.maximum(a, 0), some)
                better = low > lower[some]
                W[some[better]], lower[some[better]] = candidate[better], low[better]
                upper[some] = np.minimum(upper[some], high)
            rows = np.flatnonzero(~self._done(lower, upper) & (upper > self.tolerance))
            if not len(rows):
                break
        return W, upper

    def _iterative(self, x: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        from amtheory import _fit_kernels

        P, L = x.shape
        G, spins = x @ x.T, np.ascontiguousarray(x.T)
        a = np.full((L, P), 1 / L)  # Hebb's rule
        W, lower, upper = _certificate(x, a)
        rows = np.arange(L)
        for sweeps in range(0, self.max_sweeps, _SWEEPS):
            given_up = upper < (self.margin or 0) if self.margin is not None else upper < self.tolerance
            rows = np.flatnonzero(~self._done(lower, upper) & ~given_up)
            if not len(rows):
                break
            for some in _chunks(rows, f"sweep {sweeps}"):
                for row in some:
                    number = min(_SWEEPS, self.max_sweeps - sweeps)
                    _fit_kernels.adatron(spins[row], G, a[row], number, self.method == "minover", 1.0)
            W[rows], lower[rows], upper[rows] = _certificate(x, a[rows], rows)
        return W, upper

    def _symmetric(self, x: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        from amtheory import _fit_kernels

        L = x.shape[1]
        W, a, upper = np.zeros((L, L)), np.zeros(x.shape), np.inf
        for _ in tqdm(range(0, self.max_sweeps, _SWEEPS), "symmetric margins", disable=None, delay=2, leave=False):
            _fit_kernels.symmetric_adatron(x, W, a, _SWEEPS)
            norm = np.linalg.norm(W) / np.sqrt(L)
            lower = (x * (x @ W.T)).min() / norm
            upper = min(upper, L * norm / a.sum())
            if self._done(lower, upper) or upper < max(self.margin or 0, self.tolerance):
                break
        return W, np.full(L, upper)


def _likely_support(x: NDArray[np.float64]) -> NDArray[np.bool]:
    """Where the a of all rows are probably > 0, (L, P): min a^T (K / L) a / 2 - sum a, a >= 0, by alternating
    directions (Boyd et al., Found. Trends Mach. Learn. 3, 1, 2011) in float32, until few indices change sides."""
    C, q = _inverse(x, _PENALTY)
    y, C, q = x.astype(np.float32), C.astype(np.float32), np.ascontiguousarray(q.T, np.float32)
    z, u = np.zeros_like(y), np.zeros_like(y)
    for step in range(1, 301):
        v = 1 + np.float32(_PENALTY) * (z - u)
        a = y * (C @ (y * v)) + q * np.sum(q * v, axis=0)
        a = _RELAXATION * a + (1 - _RELAXATION) * z
        before, z = z, np.maximum(a + u, 0)
        u += a - z
        if step % 10 == 0 and np.mean((before > 0) != (z > 0)) < 2e-4:
            break
    return np.ascontiguousarray((z > 0).T)


def _inverse(x: NDArray[np.float64], epsilon: float) -> tuple[NDArray, NDArray]:
    """C (P, P) and q (L, P) with (K / L + epsilon)^-1 = (y y^T) o C + q q^T for each row l, y = x_l.

    K / L + epsilon = (y y^T) o (A - y y^T / L), A = G / L + epsilon, hence C = A^-1 and q = y o (C y) / sqrt(L d) with
    d = 1 - y^T C y / L (Sherman and Morrison). For P >= L both come from T = (X^T X / L + epsilon)^-1, since
    C y = X T e_l and d = epsilon T_ll: the differences would cancel.
    """
    P, L = x.shape
    if P < L:
        C = np.linalg.inv(x @ x.T / L + epsilon * np.eye(P))
        Cy = C @ x
        d = 1 - np.sum(x * Cy, axis=0) / L
    else:
        T = np.linalg.inv(x.T @ x / L + epsilon * np.eye(L))
        C, Cy, d = (np.eye(P) - x @ T @ x.T / L) / epsilon, x @ T, epsilon * np.diag(T)
    return C, np.ascontiguousarray((x * Cy / np.sqrt(L * d)).T)


def _certificate(
    x: NDArray[np.float64], a: NDArray[np.float64], rows: NDArray[np.intp] | None = None
) -> tuple[NDArray, NDArray, NDArray]:
    """W, kappa_lo and kappa_up of the rows with these a (R, P)."""
    rows = np.arange(len(a)) if rows is None else rows
    y = x[:, rows]
    W = (a * y.T) @ x
    W[np.arange(len(rows)), rows] = 0
    norms = np.linalg.norm(W, axis=1)
    sums = a.sum(axis=1)
    upper = np.divide(norms, sums, out=np.full(len(rows), np.inf), where=sums > 0)
    return W, _ratio((y * (x @ W.T)).min(axis=0), norms), upper


def _ratio(margins: NDArray[np.float64], norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stabilities, 0 where there are no couplings."""
    return np.divide(margins, norms, out=np.zeros_like(margins), where=norms > 0)


def _chunks(rows: NDArray[np.intp], name: str) -> Iterator[NDArray[np.intp]]:
    starts = range(0, len(rows), _ROWS)
    for start in tqdm(starts, name, disable=None, delay=2, leave=False):
        yield rows[start : start + _ROWS]
