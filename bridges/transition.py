"""Where memorization ends as the training set grows, and how that depends on the width of the model or on its size.

Three marks of it (arXiv 2604.26841, Figs. 2, 5): the recovery of training examples falls to that of test examples; the
entropy gap, generated minus training, is largest; so is the perplexity of test text. The *size* of a training set is
any of its measures: strings P, the load P / L of a binary memory, tokens of a text.

Each repeat (a seed, a disorder sample, a grammar) has a location of its own, and what is estimated is their geometric
mean, with Student's interval of the mean logarithm. A repeat whose location is outside the sizes measured is kept as a
bound on it, so that the interval is open on that side.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from amtheory import _validation as check
from amtheory.intervals import Estimate, mean_and_error, student_quantile

Floats = NDArray[np.float64]


def find_transition(
    sizes: ArrayLike, train: ArrayLike, test: ArrayLike, *, level: float = 0.05, confidence: float = 0.95
) -> Estimate:
    """The size at which the recovery of training examples has fallen to that of test examples, r_train - r_test =
    level (arXiv 2604.26841, Fig. 2).

    The two curves meet and do not cross, so that `level` says what counts as met. The difference of each repeat is made
    falling by isotonic regression, which leaves a falling one as it is, and interpolated linearly in log size.

    Parameters
    ----------
    sizes : (n,) sizes of the training set > 0, ascending, n >= 2; in any unit
    train, test : (repeats, n) rates of recovery of training and of test examples, or (n,) for one repeat; arrays, or
        DataArrays in this order of dimensions
    level : the smallest difference that counts, > 0, in the unit of the rates; default 0.05
    confidence : of the interval, in (0, 1); default 0.95

    Returns
    -------
    Estimate : in the unit of `sizes`. The geometric mean over repeats, and an interval for that of all repeats that
        could have been made: Student's of the mean logarithm, (0, inf) for one repeat. It holds neither other levels
        nor what happens between two sizes. Of 95 % intervals from 3 and 10 repeats of simulated curves, scattered by
        up to e and with noise of up to 0.02, 91 % or more cover. More noise shifts the location up, as curves that meet
        are flat there, and more repeats do not help: of 30 with noise 0.03, 81 % cover.

        A repeat that is above `level` at all sizes counts as the largest size, and `high` is inf; one that is below
        it at all sizes counts as the smallest, and `low` is 0. Where all repeats are above, `value` is inf, and `low`
        the largest size if their mean difference there is above `level` by Student's test, else 0; where all are below,
        `value` is 0, and `high` the smallest size or inf.

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range; NaN is

    See Also
    --------
    find_peak : the transition by a curve that is largest there
    scaling_exponent : how it depends on the width
    amtheory.basins.finite_size_scaling : where recovery curves of several L cross, as functions of the overlap

    Examples
    --------
    >>> from bridges import find_transition
    >>> sizes = [100, 200, 400, 800]
    >>> train = [[1.0, 0.9, 0.6, 0.5], [1.0, 0.9, 0.55, 0.5], [1.0, 0.9, 0.65, 0.5]]
    >>> test = [[0.2, 0.3, 0.5, 0.5], [0.2, 0.3, 0.48, 0.5], [0.2, 0.3, 0.52, 0.5]]
    >>> [round(number) for number in find_transition(sizes, train, test)]
    [553, 415, 737]
    >>> find_transition(sizes[:2], [1.0, 0.9], [0.2, 0.3])  # one repeat, and beyond the sizes
    Estimate(value=inf, low=0.0, high=inf)
    """
    sizes, train, test = _curves("sizes", sizes, 2, train=train, test=test)
    level = check.real("level", level, positive=True)
    difference = train - test
    beyond = np.stack([level - difference[:, 0], difference[:, -1] - level], axis=1)
    logs = (_log_fall(np.log(sizes), each, level) for each in difference)
    return _geometric_mean(logs, sizes[[0, -1]], beyond, confidence)


def find_peak(sizes: ArrayLike, values: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """The size at which a curve is largest, such as the entropy gap (arXiv 2604.26841, Fig. 5) or the perplexity of
    test text.

    In each repeat it is the vertex of the parabola in log size through the largest value and its two neighbours.

    Parameters
    ----------
    sizes : (n,) sizes of the training set > 0, ascending, n >= 3; in any unit
    values : (repeats, n) curves in any unit, or (n,) for one repeat; an array, or a DataArray in this order of
        dimensions
    confidence : of the interval, in (0, 1); default 0.95

    Returns
    -------
    Estimate : in the unit of `sizes`. The geometric mean over repeats, and an interval for that of all repeats that
        could have been made: Student's of the mean logarithm, (0, inf) for one repeat. Noise that moves the largest
        value to another size is scatter like any other; a shape that is no parabola through three sizes is not held. Of
        95 % intervals from 3 and 10 repeats of simulated curves, 91 % or more cover.

        A repeat that is largest at the last size counts as the last but one, since its peak is beyond that, and `high`
        is inf; one that is largest at the first counts as the second, and `low` is 0. Where all repeats are largest at
        the last, `value` is inf, and `low` the last size but one if the mean curve rises from there by Student's test,
        else 0; where all are largest at the first, `value` is 0, and `high` the second size or inf.

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range; NaN is, and a curve that is largest at both ends

    See Also
    --------
    find_transition : by curves of training and test examples that meet
    bridges.entropy_gap : one value of such a curve

    Examples
    --------
    >>> from bridges import find_peak
    >>> gaps = [[0.0, 0.3, 0.4, 0.1], [0.0, 0.25, 0.4, 0.1], [0.0, 0.35, 0.4, 0.1]]
    >>> [round(number) for number in find_peak([100, 200, 400, 800], gaps)]
    [335, 284, 394]
    """
    sizes, values = _curves("sizes", sizes, 3, values=values)
    for k, curve in enumerate(values):
        if curve[0] == curve[-1] == curve.max():
            raise ValueError(f"`values` must have a peak, got the maximum at both ends in repeat {k}")
    beyond = np.stack([values[:, 0] - values[:, 1], values[:, -1] - values[:, -2]], axis=1)
    logs = (_log_peak(np.log(sizes), each) for each in values)
    return _geometric_mean(logs, sizes[[1, -2]], beyond, confidence)


def scaling_exponent(scale: ArrayLike, locations: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """d log(location) / d log(scale): how a transition moves with the width of a model, or with L.

    A straight line is fitted by least squares to the logarithms of each repeat.

    Parameters
    ----------
    scale : (n,) widths, numbers of parameters, or L > 0, ascending, n >= 2; in any unit
    locations : (repeats, n) > 0, of `find_transition` or `find_peak` in single repeats, or (n,) for one repeat; an
        array, or a DataArray in this order of dimensions
    confidence : of the interval, in (0, 1); default 0.95

    Returns
    -------
    Estimate : the mean exponent of the repeats, with Student's interval, (-inf, inf) for one repeat

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range; a location of 0 or inf, outside the sizes
        measured, is

    Examples
    --------
    >>> from bridges import scaling_exponent
    >>> [round(number, 2) for number in scaling_exponent([128, 256], [[1000, 2000], [1000, 2200], [1000, 1800]])]
    [1.0, 0.64, 1.35]
    """
    scale, locations = _curves("scale", scale, 2, locations=locations)
    if not (locations > 0).all():
        raise ValueError(f"`locations` must be > 0, got {locations.min():g}: 0 is one below the sizes measured")
    mean, half = _student(np.polyfit(np.log(scale), np.log(locations).T, 1)[0], confidence)
    return Estimate(float(mean), float(mean - half), float(mean + half))


def _curves(name: str, x: ArrayLike, fewest: int, **curves: ArrayLike) -> list[Floats]:
    """`x` as (n,) and `curves` as (repeats, n), float64 and finite; `x` positive, ascending, n >= `fewest`."""
    array = check.unmasked(name, x)
    points = array.astype(np.float64) if array.dtype.kind in "iuf" and array.ndim == 1 else np.empty(0)
    if len(points) < fewest or not (points[0] > 0 and (np.diff(points) > 0).all() and points[-1] < np.inf):
        raise ValueError(f"`{name}` must be {fewest} or more finite numbers > 0, ascending, got {x!r}")
    checked, (first, *_) = [points], curves
    for curve, values in curves.items():
        array = check.unmasked(curve, values)
        if array.dtype.kind not in "iuf" or array.ndim not in (1, 2) or array.shape[-1] != len(points):
            allowed = f"numbers of shape (repeats, {len(points)}) or ({len(points)},)"
            raise ValueError(f"`{curve}` must be {allowed}, as `{name}` is, got {array.dtype} of shape {array.shape}")
        array = np.atleast_2d(array.astype(np.float64))
        if not len(array) or not np.isfinite(array).all():
            raise ValueError(
                f"`{curve}` must be finite, of one repeat or more, got {np.count_nonzero(~np.isfinite(array))} NaN or "
                f"infinity in {len(array)} repeats"
            )
        if len(checked) > 1 and array.shape != checked[1].shape:
            raise ValueError(f"`{curve}` must have as many repeats as `{first}`, {len(checked[1])}, got {len(array)}")
        checked.append(array)
    return checked


def _log_fall(x: Floats, y: Floats, level: float) -> float:
    """Where y(x), made falling, has fallen to `level`; -inf if all of it is below, inf if all is above."""
    fallen = isotonic_regression(y, increasing=False).x
    return float(np.interp(level, fallen[::-1], x[::-1], left=np.inf, right=-np.inf))


def _log_peak(x: Floats, y: Floats) -> float:
    """The vertex of the parabola through the largest y and its neighbours; -inf or inf if it is the first or the last.

    The slope of a parabola is linear, and midway between two points that of their chord.
    """
    top = y.max()
    if top in (y[0], y[-1]):
        return -np.inf if top == y[0] else np.inf
    near = slice(y.argmax() - 1, y.argmax() + 2)
    slopes, midway = np.diff(y[near]) / np.diff(x[near]), (x[near][1:] + x[near][:-1]) / 2
    return float(np.interp(0.0, -slopes, midway))


def _geometric_mean(logs: Iterable[float], ends: Floats, beyond: Floats, confidence: float) -> Estimate:
    """That of the locations of repeats, of which -inf and inf are below `ends[0]` and above `ends[1]`.

    Where all are, the curves themselves say how surely: `beyond` (repeats, 2) is positive in the mean where the
    location is below the first end, or above the second.
    """
    logs = np.array(list(logs))
    below, above = logs == -np.inf, logs == np.inf
    mean, half = _student(np.where(below, np.log(ends[0]), np.where(above, np.log(ends[1]), logs)), confidence)
    surely = np.subtract(*_student(beyond, confidence)) > 0
    if above.all():
        return Estimate(np.inf, float(ends[1]) if surely[1] else 0.0, np.inf)
    if below.all():
        return Estimate(0.0, 0.0, float(ends[0]) if surely[0] else np.inf)
    with np.errstate(over="ignore"):
        value, low, high = np.exp([mean, mean - half, mean + half]).tolist()
    return Estimate(value, 0.0 if below.any() else low, np.inf if above.any() else high)


def _student(values: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Mean over repeats, and how far Student's interval reaches to each side: inf for one repeat."""
    quantile = student_quantile(len(values), check.real("confidence", confidence, positive=True))
    mean, error = mean_and_error(values)
    return mean, np.full_like(mean, np.inf) if len(values) == 1 else quantile * error
