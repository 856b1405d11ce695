"""The numba kernels of the margin fits.

For spin l with y_mu = x_l^mu, couplings are W_l = sum_mu a_mu y_mu x^mu with a >= 0, diagonal removed, and margins
M_mu = (K a)_mu with K = (y y^T) o G - 1 1^T, G the Gram matrix of the patterns.
"""

import numpy as np

from amtheory._jit import jit

_ROUNDING = 1e-10  # what counts as zero: of a, relative to the largest; of margins, relative to 1


@jit
def _solve(factor, b):
    """b <- (factor factor^T)^-1 b for a lower triangular factor."""
    n = b.size
    for i in range(n):
        row, s = factor[i], b[i]
        for j in range(i):
            s -= row[j] * b[j]
        b[i] = s / row[i]
    for i in range(n - 1, -1, -1):
        row = factor[i]
        b[i] /= row[i]
        for j in range(i):
            b[j] -= b[i] * row[j]


@jit
def _without(inactive, n, y, C, q, factor, right, inverse_right, a):
    """a <- the solution of A_SS a_S = right_S, a_N = 0, where A^-1 = (y y^T) o C + q q^T.

    N is the n first of `inactive`, `factor` that of (A^-1)_NN, and inverse_right = A^-1 right. Returns what a
    multiplier of a_N = 0 would be: u with A a = right - u on N.
    """
    u = np.empty(n)
    for k in range(n):
        u[k] = inverse_right[inactive[k]]
    _solve(factor, u)
    along = 0.0
    total = np.zeros(y.size)
    for k in range(n):
        mu = inactive[k]
        along += q[mu] * u[k]
        weight, row = y[mu] * u[k], C[mu]
        for nu in range(y.size):
            total[nu] += weight * row[nu]
    for nu in range(y.size):
        a[nu] = inverse_right[nu] - y[nu] * total[nu] - q[nu] * along
    for k in range(n):
        a[inactive[k]] = 0.0
    return u


@jit
def _margins(a, y, G, own):
    """K a, a row of G for each a_mu > 0; `own` is what the diagonal of W would add, 1 in the units of G."""
    fields, total = np.zeros(y.size), 0.0
    for mu in range(y.size):
        if a[mu] != 0.0:
            weight, row = y[mu] * a[mu], G[mu]
            total += a[mu]
            for nu in range(y.size):
                fields[nu] += weight * row[nu]
    for nu in range(y.size):
        fields[nu] = y[nu] * fields[nu] - own * total
    return fields


@jit
def complementary_rows(spins, G, own, C, q, active, a, max_pivots):
    """a >= 0 with A a >= 1 and a_mu (A a - 1)_mu = 0, A = K + epsilon, for each row; then the same a for epsilon = 0.

    K and the Gram matrix G are in units of L, hence own = 1 / L. `spins` (R, P) holds y; C (P, P) and q (R, P) the
    inverse A^-1 = (y y^T) o C + q q^T; `active` (R, P) a guess of where a > 0, which is left as the answer.

    Block principal pivoting (Judice and Pires, Computers Oper. Res. 21, 587, 1994): all infeasible indices change
    sides; if that does not help four times in a row, only the last of them, which cannot cycle. With N the inactive
    indices, a_S = A_SS^-1 1 follows from the inverse of (A^-1)_NN. At last the error of order epsilon is removed by
    iterative refinement, as long as that converges.
    """
    R, P = spins.shape
    inactive = np.empty(P, np.int64)
    for row in range(R):
        y, on = spins[row], active[row]
        qs = q[row]
        ones = np.ones(P)
        inverse_ones = y * (C @ y) + qs * qs.sum()
        least, tries, n = P + 1, 0, np.int64(0)
        factor = np.empty((0, 0))
        for _ in range(max_pivots):
            n = np.int64(0)  # for a literal 0 numba would compile `_without` once more
            for mu in range(P):
                if not on[mu]:
                    inactive[n] = mu
                    n += 1
            block = np.empty((n, n))
            for i in range(n):
                mu = inactive[i]
                for j in range(i + 1):
                    nu = inactive[j]
                    block[i, j] = y[mu] * y[nu] * C[mu, nu] + qs[mu] * qs[nu]
                    block[j, i] = block[i, j]
            factor = np.linalg.cholesky(block)
            u = _without(inactive, n, y, C, qs, factor, ones, inverse_ones, a[row])
            infeasible, last, largest = 0, -1, 0.0
            for mu in range(P):
                largest = max(largest, abs(a[row, mu]))
            zero = -_ROUNDING * largest
            for mu in range(P):
                if on[mu] and a[row, mu] < zero:
                    infeasible, last = infeasible + 1, mu
            for k in range(n):
                if u[k] > _ROUNDING:
                    infeasible, last = infeasible + 1, max(last, inactive[k])
            if infeasible == 0:
                break
            tries = 0 if infeasible < least else tries + 1
            least = min(least, infeasible)
            if tries > 4:
                on[last] = not on[last]
                continue
            for mu in range(P):
                on[mu] = on[mu] and a[row, mu] >= zero
            for k in range(n):
                on[inactive[k]] = u[k] > _ROUNDING
        correction, residual, error = np.empty(P), np.zeros(P), np.inf
        for _ in range(20):
            before, error = error, 0.0
            margins = _margins(a[row], y, G, own)
            for mu in range(P):
                if on[mu]:
                    residual[mu] = 1.0 - margins[mu]
                    error = max(error, abs(residual[mu]))
            if error < 1e-12 or error > before / 2:
                break
            inverse_residual = y * (C @ (y * residual)) + qs * (qs * residual).sum()
            _without(inactive, n, y, C, qs, factor, residual, inverse_residual, correction)
            for mu in range(P):
                a[row, mu] += correction[mu]


@jit
def adatron(y, G, a, sweeps, minimal_over, rate):
    """`sweeps` sweeps of dual coordinate ascent on one row, a_mu <- max(0, a_mu + rate (1 - M_mu) / K_mu,mu); or, if
    `minimal_over`, as many times P steps of MinOver, which adds 1 to the a_mu of the smallest margin. In place."""
    P = y.size
    margins = _margins(a, y, G, 1.0)
    for _ in range(sweeps):
        for step in range(P):
            mu = step
            if minimal_over:
                mu = int(np.argmin(margins))
                change = 1.0
            else:
                change = max(-a[mu], rate * (1.0 - margins[mu]) / (G[mu, mu] - 1.0))
            if change != 0.0:
                a[mu] += change
                weight, row = change * y[mu], G[mu]
                for nu in range(P):
                    margins[nu] += weight * y[nu] * row[nu] - change


@jit
def symmetric_adatron(x, W, a, sweeps):
    """Dual coordinate ascent of ||W||^2 / 2 - sum a for symmetric W = sum a_mu,l sym(x_l^mu e_l x^mu). In place."""
    P, L = x.shape
    for _ in range(sweeps):
        for mu in range(P):
            for site in range(L):
                margin = 0.0
                for m in range(L):
                    margin += W[site, m] * x[mu, m]
                margin *= x[mu, site]
                change = max(-a[mu, site], 2.0 * (1.0 - margin) / (L - 1))
                if change != 0.0:
                    a[mu, site] += change
                    half = 0.5 * change * x[mu, site]
                    for m in range(L):
                        if m != site:
                            W[site, m] += half * x[mu, m]
                            W[m, site] = W[site, m]
