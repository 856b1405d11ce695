"""The numba kernels of the pseudo-likelihood fits. Sums are vectorised, which takes leave to reorder them."""

import math

import numpy as np

from amtheory._jit import jit

_jit = jit(error_model="numpy", fastmath={"reassoc", "contract", "nsz"})

_BLOCK = 512  # factors 1 < 1 + exp(-z) <= 2 that a float64 product holds
_TRIALS = 30
_SLACK = 1e-14  # of the loss, its rounding


@_jit
def _negative_exponential(z):
    """exp(-z) for z >= 0 to 2e-12, and exp(-64) beyond 64: (exp(-z/128))^128, without branches or divisions."""
    u = min(z, 64.0) * (-1.0 / 128.0)
    p = 1.0 + u * (1.0 / 10.0) * (1.0 + u * (1.0 / 11.0) * (1.0 + u * (1.0 / 12.0)))
    p = 1.0 + u * (1.0 / 7.0) * (1.0 + u * (1.0 / 8.0) * (1.0 + u * (1.0 / 9.0) * p))
    p = 1.0 + u * (1.0 / 4.0) * (1.0 + u * (1.0 / 5.0) * (1.0 + u * (1.0 / 6.0) * p))
    p = 1.0 + u * (1.0 + u * (1.0 / 2.0) * (1.0 + u * (1.0 / 3.0) * p))
    p *= p
    p *= p
    p *= p
    p *= p
    p *= p
    p *= p
    return p * p


@_jit
def _along(t, fields, directions, spins, beta, weights):
    """Mean loss of a row at fields + t directions, its first two derivatives in t, and the `weights` there."""
    P = fields.size
    loss = slope = curvature = 0.0
    for start in range(0, P, _BLOCK):
        product, stop = 1.0, min(start + _BLOCK, P)
        h, direction, spin, weight = fields[start:stop], directions[start:stop], spins[start:stop], weights[start:stop]
        for mu in range(h.size):
            y, d = np.float64(spin[mu]), np.float64(direction[mu])
            z = 2.0 * beta * y * (np.float64(h[mu]) + t * d)
            e = _negative_exponential(abs(z))
            inverse = 1.0 / (1.0 + e)
            w = y * (inverse * e if z > 0.0 else inverse)
            loss += max(-z, 0.0)
            product *= 1.0 + e
            slope -= w * d
            curvature += inverse * inverse * e * d * d
            weight[mu] = w
        loss += math.log(product)
    return loss / P, 2.0 * beta / P * slope, 4.0 * beta * beta / P * curvature


@_jit
def weigh(fields, spins, beta, losses, weights):
    """The `losses` (L,) and `weights` y sigma(-2 beta y h) of `fields` h and `spins` y, (L, P)."""
    for l in range(fields.shape[0]):
        losses[l] = _along(0.0, fields[l], fields[l], spins[l], beta, weights[l])[0]


@_jit
def search(fields, directions, spins, beta, linear, quadratic, precision, losses, weights, steps):
    """For each row the t that nearly minimises the mean loss at h + t d, plus linear t + quadratic t^2 / 2.

    `fields` h, `directions` d and `spins` y are (L, P). Newton's method on the slope, from t = 1 and within a
    bracket, ends when the slope has shrunk by `precision` and the objective has not grown. Fills `steps` (L,) with t
    and moves `fields`, and their `losses` and `weights`, to h + t d.
    """
    P = fields.shape[1]
    for l in range(fields.shape[0]):
        row = fields[l], directions[l], spins[l], beta, weights[l]
        slope = 0.0
        for mu in range(P):
            slope -= np.float64(weights[l, mu]) * np.float64(directions[l, mu])
        start, goal = losses[l], -precision * (2.0 * beta / P * slope + linear[l])
        steps[l] = 0.0
        if goal <= 0.0:
            continue
        low, high, t = 0.0, np.inf, 1.0
        for _ in range(_TRIALS):
            losses[l], slope, curvature = _along(t, *row)
            slope += linear[l] + quadratic[l] * t
            gain = losses[l] - start + (linear[l] + quadratic[l] / 2.0 * t) * t
            if abs(slope) <= goal and gain <= _SLACK * start:
                break
            if slope > 0.0:
                high = t
            else:
                low = t
            t = min(t - slope / (curvature + quadratic[l]), 16.0 * t)
            if not low < t < high:
                if high == np.inf:  # the slope at `low`, the last t, has no digits left
                    t = low
                    break
                t = (low + high) / 2.0
        else:
            t = low  # the objective is convex: it falls as long as its slope is negative
            losses[l] = _along(t, *row)[0]
        steps[l] = t
        for mu in range(P):
            fields[l, mu] += t * directions[l, mu]


@_jit
def residuals(coefficients, weights, beta, ridge, out):
    """R = ridge A - (2 beta / P) weights."""
    P = weights.shape[1]
    for l in range(weights.shape[0]):
        for mu in range(P):
            out[l, mu] = ridge * coefficients[l, mu] - 2.0 * beta / P * weights[l, mu]


@_jit
def targets(R, weights, beta, ridge, shift, kappa, out):
    """V = -R (shift + kappa) / (ridge + kappa D), D the second derivatives of the loss in the fields."""
    P = weights.shape[1]
    for l in range(weights.shape[0]):
        for mu in range(P):
            w = abs(weights[l, mu])
            out[l, mu] = -R[l, mu] * (shift + kappa) / (ridge + kappa * 4.0 * beta * beta / P * w * (1.0 - w))


@_jit
def leave_spin(CV, Cy, left, spins, A, shift, resolution, V, linear, quadratic):
    """From C V to (C^-1 - y y^T)^-1 V = U by the formula of Sherman and Morrison, left = 1 - y^T C y, in place.

    V becomes the fields V - shift U that the coefficients U make, `linear` and `quadratic` their products with A and U.
    All are 0 where cancellations below the relative `resolution` hide `left` or `quadratic`, which are positive.
    """
    for l in range(V.shape[0]):
        along = size = 0.0
        linear[l] = quadratic[l] = 0.0
        for mu in range(V.shape[1]):
            along += spins[l, mu] * CV[l, mu]
        along /= max(left[l], resolution)
        for mu in range(V.shape[1]):
            CV[l, mu] += along * Cy[l, mu]
            V[l, mu] -= shift * CV[l, mu]
            linear[l] += A[l, mu] * V[l, mu]
            quadratic[l] += CV[l, mu] * V[l, mu]
            size += abs(CV[l, mu] * V[l, mu])
        if left[l] <= resolution or quadratic[l] <= resolution * size:
            CV[l], V[l] = 0.0, 0.0
            linear[l] = quadratic[l] = 0.0
