"""Ends, slopes and differences of curves, NaN where nothing was measured and infinite beyond what was."""

from __future__ import annotations

import numpy as np
import xarray as xr

from amtheory import _validation as check


def ends(values: xr.DataArray, along: str) -> tuple[xr.DataArray, xr.DataArray]:
    """The values at the smallest and at the largest label along a dimension at which each system was measured.

    Parameters
    ----------
    values : over `along` and others; NaN where nothing was measured
    along : a dimension with numbers as labels, in any order

    Returns
    -------
    smallest, largest : over the other dimensions; the same if a system was measured at one label alone

    Examples
    --------
    >>> import xarray as xr
    >>> from bridges.claims import ends
    >>> smallest, largest = ends(xr.DataArray([3.0, 1.0, 2.0], {"size": [300, 100, 200]}, ["size"]), "size")
    >>> smallest.item(), largest.item()
    (1.0, 3.0)
    """
    values = _ascending(_along(values, along), along)
    measured = _measured(values, along)
    first = measured.argmax(along)
    last = measured.sizes[along] - 1 - measured.isel({along: slice(None, None, -1)}).argmax(along)
    return values.isel({along: first}, drop=True), values.isel({along: last}, drop=True)


def log_slope(values: xr.DataArray, along: str) -> xr.DataArray:
    """Slope of least squares against the natural logarithm of the labels along a dimension.

    Parameters
    ----------
    values : over `along`, ``repeat`` and others; NaN where nothing was measured
    along : a dimension with numbers > 0 as labels, in any order

    Returns
    -------
    DataArray over the other dimensions: NaN for a repeat that lacks a label that others have, since a curve that bends
    has another slope there, and for fewer than two labels; infinite where a value is

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> from bridges.claims import log_slope
    >>> values = xr.DataArray([[1.0], [3.0]], {"size": [1.0, np.e]}, ["size", "repeat"])
    >>> log_slope(values, "size").values.round(9).tolist()
    [2.0]
    """
    measured = _along(values, along).notnull()
    x = xr.apply_ufunc(np.log, values[along].astype(np.float64)).where(measured)
    centred = x - x.mean(along)
    slope = (centred * values.where(~infinite(values))).sum(along, min_count=2) / (centred**2).sum(along)
    whole = (measured == measured.any("repeat")).all(along) & (measured.sum(along) > 1)
    return slope.where(~infinite(values).any(along), np.inf).where(whole)


def infinite(values: xr.DataArray) -> xr.DataArray:
    return abs(values) == np.inf


def _along(values: xr.DataArray, along: str) -> xr.DataArray:
    """The values, if they are labelled and have that dimension."""
    check.kind("values", values, xr.DataArray)
    check.choice("along", along, tuple(map(str, values.dims)))
    return values


def _ascending(values: xr.DataArray, along: str) -> xr.DataArray:
    return values.sortby(values[along].astype(np.float64))


def _measured(values: xr.DataArray, along: str) -> xr.DataArray:
    """Of each system: at which labels it was."""
    return values.notnull().any([dim for dim in values.dims if dim not in (along, "system")])


def two_ends(values: xr.DataArray, along: str) -> tuple[xr.DataArray, xr.DataArray]:
    """As `ends`; NaN where they are the same, which says nothing of a change."""
    several = _measured(values, along).sum(along) > 1
    smallest, largest = ends(values, along)
    return smallest.where(several), largest.where(several)


def between(values: xr.DataArray, along: str) -> xr.DataArray:
    """The values at all labels but the ends."""
    values = _ascending(values, along)
    number = _measured(values, along).cumsum(along)
    return values.where((number > 1) & (number < number.isel({along: -1}, drop=True)))


def at_label(values: xr.DataArray, dim: str, label: str) -> xr.DataArray:
    if label not in values.indexes[dim]:
        raise ValueError(
            f"`dataset` must have {label!r} along {dim!r}, got {', '.join(map(str, values.indexes[dim])) or 'nothing'}"
        )
    return values.sel({dim: label}, drop=True)


def minus(values: xr.DataArray, others: xr.DataArray) -> xr.DataArray:
    """Infinite where one of them is, so that a repeat that is beyond what was measured is not lost."""
    beyond = (infinite(values) | infinite(others)) & values.notnull() & others.notnull()
    return (values - others).where(~beyond, np.inf)
