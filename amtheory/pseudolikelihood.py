"""The pseudo-likelihood memory (D'Amico et al., arXiv 2507.05147).

Each spin is a logistic regression on the others, p(s_l | s_others) = sigma(2 s_l f_l), with the conditional
field f_l = beta sum_{m != l} W_lm s_m and, on an example x, the margin M_l = x_l f_l.
"""

import warnings
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Self

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from amtheory import _validation as check
from amtheory._likelihood_joint import Sphere, Symmetric, fit_jointly
from amtheory._likelihood_loss import losses_and_slopes
from amtheory._likelihood_rows import Rows
from amtheory._memory import PairwiseMemory

_DEFAULT_RIDGE = 1e-3
_SMALLEST_RIDGE = 1e-28  # at beta = 1; weights of examples, which are of its order, are float32


def loss(couplings: ArrayLike, patterns: ArrayLike, beta: float) -> float:
    """Negative log-pseudo-likelihood per example, in nats,

        -(1/P) sum_x sum_l [M_l - log 2 cosh f_l] = (1/P) sum_x sum_l log(1 + exp(-2 M_l))

    (arXiv 2604.26841 eq. (10)).

    Parameters
    ----------
    couplings : W (L, L), the diagonal of which is ignored
    patterns : (P, L) spins in {-1, +1}
    beta : inverse temperature > 0

    Returns
    -------
    nats per example, summed over its L spins

    Raises
    ------
    ValueError, TypeError : naming the argument that is out of range

    See Also
    --------
    bridges.likelihood_beta : minimises it over beta, at given couplings
    amtheory.diffusion_memory.linear_nelbo : the same with noise in the context

    Examples
    --------
    >>> import numpy as np
    >>> from amtheory.patterns import random_patterns
    >>> from amtheory.pseudolikelihood import loss
    >>> nats = loss(np.zeros((10, 10)), random_patterns(3, 10, rng=0), 1.0)
    >>> round(float(nats / np.log(2)), 6)  # bits
    10.0
    """
    return float(losses_and_slopes(*_checked(couplings, patterns, beta))[0].sum())


def gradient(couplings: ArrayLike, patterns: ArrayLike, beta: float) -> Float64[np.ndarray, "L L"]:
    """Gradient of `loss`: for m != l exactly

        dloss / dW_lm = -(beta/P) sum_x x_l x_m [1 - tanh M_l],

    and 0 for m = l: Hebb's rule with weights that vanish on examples of large margin. In arXiv 2604.26841
    eq. (11) the factor beta and the restriction m != l are left implicit.

    Parameters
    ----------
    couplings, patterns, beta : as for `loss`

    Returns
    -------
    (L, L) float64

    Raises
    ------
    ValueError, TypeError : naming the argument that is out of range

    Examples
    --------
    >>> import numpy as np
    >>> from amtheory import Hopfield
    >>> from amtheory.patterns import random_patterns
    >>> from amtheory.pseudolikelihood import gradient
    >>> x = random_patterns(5, 10, rng=0)
    >>> descent = -gradient(np.zeros((10, 10)), x, 1.0)  # Hebb's rule
    >>> bool(np.allclose(descent, Hopfield().fit(x).couplings_ * 10 / 5))
    True
    """
    return losses_and_slopes(*_checked(couplings, patterns, beta))[1]


@dataclass(eq=False)
class PseudoLikelihood(PairwiseMemory):
    """Couplings that minimise the negative log-pseudo-likelihood, W_ll = 0, not symmetric unless asked for.

    Row l minimises l_l = (1/P) sum_x log(1 + exp(-2 M_l)), M_l = beta x_l sum_{m != l} W_lm x_m. On linearly
    separable patterns (random ones: P < 2L) this alone sends ||W_l|| to infinity, so one of two conditions
    says which solution is meant:

    - `ridge`: add (ridge / 2) ||W_l||^2 (the default, with ridge = 1e-3);
    - `beta_norm`: fix beta ||W_l|| = beta_norm, as if training were stopped there. On random patterns this
      leads from Hebb's rule (beta_norm -> 0) to the largest margin (beta_norm = infinity, the couplings of
      `amtheory.PerceptronMargin`, scaled so that the smallest x_l (W_l . x) is 1). If l_l has a minimum of
      smaller norm, which takes patterns that are not separable, the solution is a local minimum on the sphere.

    Parameters
    ----------
    beta : inverse temperature, in [1e-12, 1e12]; default 1
    ridge : in [1e-28, 1e12] and at least 1e-28 beta^2; default None, 1e-3 without `beta_norm`
    beta_norm : in [1e-100, 1e4], or infinite; not together with `ridge`; default None
    tolerance : the fit ends when for every row the gradient of l_l + (ridge / 2) ||W_l||^2, or that of log l_l
        along the sphere, has a Euclidean norm of at most this; with `ridge`, W_l is then within tolerance / ridge
        of the minimum. Below 2^-52 beta sqrt(L) (P + L b), where b is `beta_norm` or, with `ridge`, the upper bound
        beta sqrt(2 log 2 / ridge) of beta ||W_l||, rounding hides the gradient, and that is taken instead. With
        beta_norm = infinity, the relative gap between the margins and their upper bounds; > 0, default 1e-6
    max_iterations : after which the fit warns; >= 1, default 2000
    symmetric : minimise the sum over l of the above over W = W^T; needs `ridge`. Gradients are then symmetrised;
        default False

    Attributes
    ----------
    couplings_ : (L, L) float64
    norms_ : (L,) ||W_l||
    converged_ : whether `tolerance` was reached
    n_iter_ : iterations used, by the slowest row; 0 with beta_norm = infinity

    Raises
    ------
    TypeError, ValueError : naming the parameter that is out of range

    See Also
    --------
    PerceptronMargin : the largest stability, Delta = x_l (W_l . x) / ||W_l||; the margin M here is beta ||W_l|| Delta
    DiffusionMemory : the objective with noise in the context
    bridges.likelihood_beta : the same objective over beta, at the couplings of another memory
    amtheory.theory.pseudolikelihood : stabilities and norms for L -> infinity

    Examples
    --------
    >>> from amtheory import PseudoLikelihood
    >>> from amtheory.patterns import random_patterns
    >>> x = random_patterns(20, 50, rng=0)
    >>> memory = PseudoLikelihood(beta_norm=2.0).fit(x)
    >>> bool(memory.converged_), memory.norms_.round(6).max().item()
    (True, 2.0)
    >>> bool((memory.stabilities(x) > 0).all())
    True
    """

    beta: float = 1.0
    _: KW_ONLY
    ridge: float | None = None
    beta_norm: float | None = None
    tolerance: float = 1e-6
    max_iterations: int = 2000
    symmetric: bool = False

    def __post_init__(self) -> None:
        self.beta = check.scale("beta", self.beta)
        self.tolerance = check.real("tolerance", self.tolerance, positive=True)
        check.integer("max_iterations", self.max_iterations, 1)
        if self.ridge is not None and self.beta_norm is not None:
            raise ValueError(f"give `ridge` or `beta_norm`, not both, got {self.ridge} and {self.beta_norm}")
        if self.ridge is not None:
            self.ridge = check.scale("ridge", self.ridge, _SMALLEST_RIDGE)
            if self.ridge < _SMALLEST_RIDGE * self.beta**2:
                raise ValueError(f"`ridge` must be at least 1e-28 beta^2, got {self.ridge} at beta = {self.beta}")
        if self.beta_norm is not None and not (isinstance(self.beta_norm, Real) and self.beta_norm == np.inf):
            self.beta_norm = check.scale("beta_norm", self.beta_norm, 1e-100, 1e4)
        if check.flag("symmetric", self.symmetric) and self.beta_norm is not None:
            raise ValueError(f"`symmetric` needs `ridge`: it cannot fix the norm of each row, got {self.beta_norm}")

    def fit(self, patterns: ArrayLike, start: ArrayLike | None = None) -> Self:
        """Learn `patterns`.

        With `ridge`, each row has its own steps, but all share matrix products and one approximate Hessian: for
        P < L Newton's method in the span of the patterns, otherwise, or if that stalls, preconditioned L-BFGS. Rows
        that are still left after 100 iterations of it get Newton's method with their own Hessians.
        Float32 leads to the minimum as far as it resolves gradients, float64 from there. With `beta_norm` or
        `symmetric` all rows are minimised jointly by preconditioned L-BFGS. Matrix products use as many threads as
        the environment variable AMTHEORY_NUM_THREADS says, one by default.

        Parameters
        ----------
        patterns : (P, L) spins in {-1, +1}, P >= 1, L >= 2
        start : couplings (L, L), the diagonal of which is ignored, from which the fit starts; default None, zero or,
            with `beta_norm`, Hebb's rule. The minimum does not depend on it, only the time it takes (none of it with
            beta_norm = infinity)

        Returns
        -------
        the memory itself

        Raises
        ------
        ValueError, TypeError : anything else; `beta_norm` is given and a spin is uncorrelated with all others, or a row
            of `start` is zero; `beta_norm` is infinite and a row is not separable

        Warns
        -----
        RuntimeWarning : `tolerance` is not reached
        """
        x = check.spins("patterns", patterns)
        L = x.shape[1]
        if L < 2:
            raise ValueError(f"`patterns` must have at least 2 spins each, got shape {x.shape}")
        W = None
        if start is not None:
            W = check.couplings("start", start).astype(np.float64)
            if len(W) != L:
                raise ValueError(f"`start` must have the shape {(L, L)} that `patterns` ask for, got {W.shape}")
            np.fill_diagonal(W, 0)
            if self.beta_norm is not None and not W.any(axis=1).all():
                raise ValueError("`start` must have no row of zeros, which has no direction, with `beta_norm`")
        if self.beta_norm == np.inf:
            return self._fit_largest_margin(x)
        ridge = _DEFAULT_RIDGE if self.ridge is None else self.ridge
        most = self.beta * np.sqrt(2 * np.log(2) / ridge) if self.beta_norm is None else self.beta_norm
        rounding = np.finfo(np.float64).eps * self.beta * np.sqrt(L) * (len(x) + L * most)
        tolerance = max(self.tolerance, rounding)
        with (
            threadpool_limits(check.threads(None), user_api="blas"),
            tqdm(desc="pseudo-likelihood", unit=" iterations", disable=None, delay=2, leave=False) as bar,
        ):
            if self.symmetric or self.beta_norm is not None:
                norm = None if self.beta_norm is None else self.beta_norm / self.beta
                problem = Symmetric(x, self.beta, ridge) if norm is None else Sphere(x, self.beta, norm)
                W, iterations, residual = fit_jointly(problem, W, tolerance, self.max_iterations, bar.update)
            else:
                rows = Rows(x, self.beta, ridge, tolerance, self.max_iterations, bar.update)
                W, iterations, residual = rows.fit(np.zeros((L, L)) if W is None else W)
        self.couplings_, self.n_iter_, self.converged_ = W, iterations, residual <= tolerance
        if not self.converged_:
            warnings.warn(
                f"pseudo-likelihood fit stopped after {self.n_iter_} iterations with a gradient norm of "
                f"{residual:.1e} > tolerance = {tolerance:.1e}: raise `max_iterations`, `tolerance` or "
                "`ridge`, or lower `beta_norm`",
                RuntimeWarning,
                stacklevel=2,
            )
        return self

    def _fit_largest_margin(self, x: NDArray[np.int8]) -> Self:
        from amtheory.perceptron import PerceptronMargin

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of what is raised here, or in `converged_`
            perceptron = PerceptronMargin(tolerance=self.tolerance).fit(x)
        lost = np.flatnonzero(~perceptron.separable_)
        if lost.size:
            raise ValueError(
                f"`patterns`: rows {lost[:5].tolist()} of the couplings ({lost.size} in all) cannot separate them, "
                "so that `beta_norm` must be finite"
            )
        self.couplings_, self.n_iter_, self.converged_ = perceptron.couplings_, 0, perceptron.converged_
        return self

    def conditional_field(self, states: ArrayLike) -> Float64[np.ndarray, "M {self.length_}"]:
        """f_l = beta sum_{m != l} W_lm s_m, for which p(s_l = +1 | s_others) = sigma(2 f_l): beta times `local_field`.

        Parameters
        ----------
        states : (M, L) spins in {-1, +1}

        Returns
        -------
        (M, L) float64

        Raises
        ------
        ValueError, TypeError : states of other values or length
        """
        return self.beta * self.local_field(states)


def _checked(
    couplings: ArrayLike, patterns: ArrayLike, beta: float
) -> tuple[NDArray[np.float64], NDArray[np.int8], float]:
    w = check.couplings("couplings", couplings).astype(np.float64)
    np.fill_diagonal(w, 0)
    return w, check.spins("patterns", patterns, length=len(w)), check.real("beta", beta, positive=True)
