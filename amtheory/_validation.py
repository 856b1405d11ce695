"""Checks of arguments. Every message names the argument, what it got and what is allowed."""

import operator
import os
from collections.abc import Iterator, Mapping, Set
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike, NDArray

Seed = int | np.integer | np.random.Generator | None
"""What `rng` may be; see `generator`."""
LARGEST = 2**63 - 1
"""The largest size, or number of anything that numpy or a kernel counts."""
Broadcast = Float64[Any, " ..."]
"""What elementwise functions return: an array, or a numpy scalar if all arguments are numbers."""


def unmasked(name: str, value: ArrayLike) -> NDArray[Any]:
    """`value` as an array. Raises TypeError for masked elements, where numpy would give what lies under the mask, and
    for what numpy makes no array of."""
    if _has_masked(value):
        raise TypeError(f"`{name}` must not have masked elements, got some: fill them, or leave them out")
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"`{name}` must be an array, got {type(value).__name__}: {error}") from error


def _has_masked(value: Any) -> bool:
    """Whether `value`, or something in the lists and tuples that it is made of, has masked elements."""
    if isinstance(value, list | tuple):
        return any(map(_has_masked, value))
    return isinstance(value, np.ma.MaskedArray) and value.dtype.names is None and bool(np.any(value.mask))


def spins(name: str, value: ArrayLike, *, ndim: int | None = 2, length: int | None = None) -> NDArray[np.int8]:
    """`value` as a C-contiguous int8 array of -1 and +1.

    Raises ValueError unless it has `ndim` dimensions (None: at least one), no empty dimension, a last
    dimension of `length` (None: any) and only values exactly equal to -1 or +1; TypeError for masked elements.
    """
    array = unmasked(name, value)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"`{name}` must contain only -1 and +1 as numbers, got dtype {array.dtype}")
    if array.ndim == 0 or ndim not in (None, array.ndim) or 0 in array.shape:
        dimensions = "at least one dimension" if ndim is None else f"{ndim} dimension(s)"
        raise ValueError(f"`{name}` must have {dimensions}, none of size 0, got shape {array.shape}")
    if length not in (None, array.shape[-1]):
        raise ValueError(f"`{name}` must have {length} spins in its last dimension, got shape {array.shape}")
    allowed = (array == 1) | (array == -1)
    if not allowed.all():
        found = ", ".join(f"{v:g}" for v in np.unique(array[~allowed])[:5])
        raise ValueError(f"`{name}` must contain only -1 and +1, got values {{{found}}}")
    return np.ascontiguousarray(array, dtype=np.int8)


def couplings(name: str, value: ArrayLike) -> NDArray[Any]:
    """`value` as a square finite matrix: integers stay integers, anything real becomes float64.

    Raises ValueError otherwise, TypeError for masked elements.
    """
    array = unmasked(name, value)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"`{name}` must be a real matrix, got dtype {array.dtype}")
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise ValueError(f"`{name}` must be a square matrix (L, L), got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite, got {np.count_nonzero(~np.isfinite(array))} NaN or infinity")
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def integer(name: str, value: Any, minimum: int, maximum: int | None = LARGEST) -> int:
    """`value` as an int in [minimum, maximum], None for no maximum. Raises TypeError for a non-integer, ValueError out
    of range."""
    allowed = f"at least {minimum}" if maximum in (None, LARGEST) else f"in [{minimum}, {maximum}]"
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer {allowed}, got {value!r}") from None
    if isinstance(value, bool | np.bool):
        raise TypeError(f"`{name}` must be an integer {allowed}, got {value!r}")
    if number < minimum or (maximum is not None and number > maximum):
        allowed = f"in [{minimum}, 2**63)" if maximum == LARGEST < number else allowed
        raise ValueError(f"`{name}` must be {allowed}, got {number}")
    return number


def real(name: str, value: Any, *, positive: bool) -> float:
    """`value` as a finite float, > 0 if `positive`, else >= 0. Raises TypeError or ValueError otherwise."""
    allowed = "a finite number > 0" if positive else "a finite number >= 0"
    if isinstance(value, bool | np.bool | str) or value is np.ma.masked:
        raise TypeError(f"`{name}` must be {allowed}, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"`{name}` must be {allowed}, got {value!r}") from None
    if not (0 < number < np.inf or (number == 0 and not positive)):
        raise ValueError(f"`{name}` must be {allowed}, got {number}")
    return number


def scale(name: str, value: Any, low: float = 1e-12, high: float = 1e12) -> float:
    """`value` as a float in [low, high], which are > 0. Raises TypeError or ValueError otherwise."""
    number = real(name, value, positive=True)
    if not low <= number <= high:
        raise ValueError(f"`{name}` must be in [{low:g}, {high:g}], got {number}")
    return number


def between(name: str, value: Any, low: float, high: float, *, closed: bool = False) -> float:
    """`value` as a float in (low, high), or [low, high] if closed. Raises TypeError or ValueError otherwise."""
    allowed = f"a number in [{low}, {high}]" if closed else f"a number in ({low}, {high})"
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or np.asarray(value).itemsize > 8:
        raise TypeError(f"`{name}` must be {allowed}, got {value!r}")
    if not (low < value < high or (closed and value in (low, high))):
        raise ValueError(f"`{name}` must be {allowed}, got {value}")
    return float(value)


def reals(name: str, value: ArrayLike, *, ndim: int | None = None) -> NDArray[np.float64]:
    """`value` as an array of float64, NaN and infinity among them. Raises TypeError for what are no real numbers or
    are masked, ValueError unless it has `ndim` dimensions (None: any)."""
    array = unmasked(name, value)
    if array.dtype == object and all(isinstance(number, Real) for number in array.flat):  # of any size, or exact
        try:
            array = array.astype(np.float64)
        except OverflowError as error:
            raise ValueError(f"`{name}` must be numbers that float64 can hold: {error}") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{name}` must be real numbers, got dtype {array.dtype}")
    if ndim not in (None, array.ndim):
        raise ValueError(f"`{name}` must have {ndim} dimension(s), got shape {array.shape}")
    return array.astype(np.float64)


def together(**arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """The arrays, by the names of arguments. Raises ValueError unless their shapes broadcast."""
    try:
        np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        names, shapes = (", ".join(map(str, each)) for each in (arrays, [a.shape for a in arrays.values()]))
        raise ValueError(f"`{names.replace(', ', '`, `')}` must have shapes that broadcast, got {shapes}") from None
    return list(arrays.values())


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """`value` if it is one of `allowed`. Raises ValueError otherwise."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """`value` as a bool. Raises TypeError for what is none."""
    if not isinstance(value, bool | np.bool):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
    return bool(value)


def function(name: str, value: Any) -> None:
    """Raises TypeError unless `value` can be called, classes excepted."""
    if isinstance(value, type) or not callable(value):
        raise TypeError(f"`{name}` must be a function, got {value!r}")


def drawn_from(rng: Any) -> np.random.Generator:
    """`rng`, if it is a generator. Raises TypeError otherwise."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"`rng` must be a numpy.random.Generator, got {rng!r}")
    return rng


def kind(name: str, value: Any, *kinds: type) -> None:
    """Raises TypeError unless `value` is of one of the kinds."""
    if not isinstance(value, kinds):
        allowed = " or ".join(each.__name__ for each in kinds)
        raise TypeError(f"`{name}` must be a {allowed}, got {type(value).__name__}")


def iterated(name: str, value: Any) -> Iterator[Any]:
    """An iterator over `value`. Raises TypeError for one text, for what is not iterable, and for what has no order."""
    try:
        if not isinstance(value, str | bytes | Mapping | Set):
            return iter(value)
    except TypeError:
        pass
    raise TypeError(f"`{name}` must be a sequence, got {value!r}")


def several(name: str, value: Any) -> list[Any]:
    """`value` as a list, likewise."""
    return list(iterated(name, value))


def generator(rng: Any) -> np.random.Generator:
    """The generator meant by `rng`: None is fresh entropy, an integer >= 0 a seed, a Generator itself.

    Raises TypeError for anything else, ValueError for a negative seed.
    """
    if rng is None or isinstance(rng, np.random.Generator):
        return np.random.default_rng(rng)
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer):
        raise TypeError(f"`rng` must be None, an integer >= 0 or a numpy.random.Generator, got {rng!r}")
    return np.random.default_rng(integer("rng", rng, 0, None))


def threads(value: Any) -> int:
    """`value`, or if None the environment variable AMTHEORY_NUM_THREADS, or else 1. At least 1."""
    if value is not None:
        return integer("threads", value, 1)
    text = os.environ.get("AMTHEORY_NUM_THREADS", "1")
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"the environment variable AMTHEORY_NUM_THREADS must be an integer >= 1, got {text!r}")
    return int(text)
