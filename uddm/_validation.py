"""Argument checks shared by the package: one clear error, naming the argument, what was got and what is allowed.

numpy and torch are imported where arrays and tensors are, so that settings can be checked without them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import ArrayLike
    from torch import Tensor


def check_array(name: str, value: Any) -> np.ndarray:
    """`value` as an array; TypeError for masked elements, where numpy would give what lies under the mask, and for what
    numpy makes no array of."""
    import numpy as np

    _refuse_masked(name, value)
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"`{name}` must be an array, got {type(value).__name__}: {error}") from error


def _refuse_masked(name: str, value: Any) -> None:
    if _has_masked(value):
        raise TypeError(f"`{name}` must not have masked elements, got some: fill them, or leave them out")


def _has_masked(value: Any) -> bool:
    """Whether `value`, or something in the lists and tuples that it is made of, has masked elements."""
    import numpy as np

    if isinstance(value, list | tuple):
        return any(map(_has_masked, value))
    return isinstance(value, np.ma.MaskedArray) and value.dtype.names is None and bool(np.any(value.mask))


def check_tokens(name: str, tokens: Tensor | ArrayLike, vocab_size: int, *, length: int | None = None) -> Tensor:
    """Return `tokens`, a tensor or what numpy can make an array of, as int64 of shape (B, L) with ids in
    [0, vocab_size).

    Raises
    ------
    TypeError : not integers, masked ones, or a sparse or nested tensor.
    ValueError : wrong rank, wrong length, or an id outside the vocabulary.
    """
    import torch

    if not isinstance(tokens, torch.Tensor):
        tokens = check_integers(name, tokens)
    if (
        tokens.layout is not torch.strided
        or tokens.is_meta
        or tokens.is_nested
        or torch.masked.is_masked_tensor(tokens)
    ):
        raise TypeError(
            f"`{name}` must be a dense tensor without a mask, got a {type(tokens).__name__}, {tokens.layout}"
        )
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype is torch.bool:
        raise TypeError(f"`{name}` must hold integer token ids, got dtype {tokens.dtype}")
    if tokens.ndim != 2 or tokens.numel() == 0:
        raise ValueError(f"`{name}` must have shape (B, L) with B, L >= 1, got {tuple(tokens.shape)}")
    if length is not None and tokens.shape[1] != length:
        raise ValueError(f"`{name}` must have length {length}, got {tokens.shape[1]}")
    tokens = tokens.long()
    low, high = (int(v) for v in torch.aminmax(tokens))
    if low < 0 or high >= vocab_size:
        raise ValueError(f"`{name}` must hold token ids in [0, {vocab_size - 1}], got ids in [{low}, {high}]")
    return tokens


def check_integers(name: str, value: ArrayLike) -> Tensor:
    """`value` as an int64 tensor; TypeError unless it holds integers."""
    import torch

    array = check_array(name, value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"`{name}` must hold integer token ids, got dtype {array.dtype}")
    return torch.from_numpy(array.astype("int64"))


def check_ids(name: str, value: Tensor | ArrayLike) -> Tensor:
    """`value` as a dense tensor of integers, of any shape; TypeError otherwise."""
    import torch

    value = value if isinstance(value, torch.Tensor) else check_integers(name, value)
    numbers = value.is_floating_point() or value.is_complex() or value.dtype is torch.bool
    if numbers or value.layout is not torch.strided or value.is_meta:
        raise TypeError(f"`{name}` must be a dense tensor of integers, got {value.dtype}, {value.layout}")
    return value


def check_reals(name: str, value: ArrayLike) -> np.ndarray:
    """`value` as an array of float64; TypeError unless it holds real numbers."""
    array = check_array(name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{name}` must hold real numbers, got dtype {array.dtype}")
    return array.astype("float64")


def check_keep(keep: Any, z: Tensor) -> Tensor:
    """`keep` as a bool tensor (B, L), where `z` (B, L) is, of one of that shape, or (L,), for all rows.

    Raises
    ------
    TypeError : not bool, or masked.
    ValueError : another shape.
    """
    import numpy as np
    import torch

    if not isinstance(keep, torch.Tensor):
        array = check_array("keep", keep)
        keep = torch.from_numpy(np.require(array, requirements="W")) if array.dtype == bool else array
    if keep.dtype is not torch.bool:
        raise TypeError(f"`keep` must hold bool, got dtype {keep.dtype}")
    if keep.shape not in (z.shape, z.shape[1:]):
        raise ValueError(f"`keep` must have shape {tuple(z.shape)} or {tuple(z.shape[1:])}, got {tuple(keep.shape)}")
    return keep.to(z.device).expand_as(z)


def check_mask(name: str, value: Any, x: Tensor) -> Tensor:
    """`value` as a bool tensor of the shape of `x`; TypeError, ValueError for any other."""
    import torch

    if not isinstance(value, torch.Tensor):
        array = check_array(name, value)
        value = torch.from_numpy(array.copy()) if array.dtype == bool else array
    if value.dtype is not torch.bool:
        raise TypeError(f"`{name}` must hold bool, got dtype {value.dtype}")
    if value.shape != x.shape:
        raise ValueError(f"`{name}` must have the shape of x, {tuple(x.shape)}, got {tuple(value.shape)}")
    return value.to(x.device)


def check_time(name: str, t: Any, *, low: float = 0.0, closed: bool = False) -> Tensor:
    """Return `t` as a float64 tensor with every value in (low, 1], or [low, 1] if `closed`; TypeError if it is none."""
    import torch

    if type(t) is float and (low < t <= 1 or (closed and t == low)):  # as in most calls, in a fifth of the time
        return torch.tensor(t, dtype=torch.float64)
    _refuse_masked(name, t)
    if isinstance(t, Mapping) or "complex" in str(getattr(t, "dtype", "")):
        raise TypeError(f"`{name}` must be a number or an array of numbers, got {type(t).__name__}")
    try:
        t = torch.as_tensor(t, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"`{name}` must be a number or an array of numbers, got {t!r}") from error
    if t.layout is not torch.strided or t.is_meta:
        raise TypeError(f"`{name}` must be a number or a dense array of numbers, got {t!r}")
    inside = (t >= low if closed else t > low) & (t <= 1)
    if not bool(inside.all()):
        bracket = "[" if closed else "("
        bad = t.reshape(-1)[~inside.reshape(-1)][0].item()
        raise ValueError(f"`{name}` must lie in {bracket}{low:g}, 1], got {bad:g}")
    return t


def check_one_time(name: str, t: Any, *, low: float = 0.0) -> float:
    """`t` as a number in (low, 1]; TypeError for several or none."""
    times = check_time(name, t, low=low)
    if times.numel() != 1:
        raise TypeError(f"`{name}` must be one number, got shape {tuple(times.shape)}")
    return times.item()


def check_log_probs(name: str, log_probs: Tensor, z: Tensor, vocab_size: int) -> Tensor:
    """`log_probs`, a dense tensor (B, L, K) of floating-point numbers, where `z` is (B, L); TypeError, ValueError."""
    import torch

    if not isinstance(log_probs, torch.Tensor) or not log_probs.is_floating_point():
        got = log_probs.dtype if isinstance(log_probs, torch.Tensor) else type(log_probs).__name__
        raise TypeError(f"`{name}` must be a tensor of floating-point numbers, got {got}")
    if log_probs.layout is not torch.strided or (log_probs.is_meta and not z.is_meta):
        raise TypeError(f"`{name}` must be a dense tensor, got {log_probs.layout} on {log_probs.device}")
    if log_probs.shape != (*z.shape, vocab_size):
        want = (*z.shape, vocab_size)
        raise ValueError(f"`{name}` must have shape {tuple(want)}, got {tuple(log_probs.shape)}")
    return log_probs


def check_distributions(name: str, scale: Tensor) -> None:
    """ValueError unless log-sums or highest entries of log-probabilities are finite: NaN, which never compares, or no
    probability at all would give a token all the same."""
    if not bool(scale.isfinite().all()):
        bad = int(scale.numel() - scale.isfinite().sum())
        raise ValueError(
            f"`{name}` must be log-probabilities, got NaN, infinity or nothing in {bad} of {scale.numel()}"
        )


def check_choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    allowed = tuple(allowed)
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def check_flag(name: str, value: Any) -> bool:
    """`value` as a bool; TypeError for what is none."""
    import numpy as np

    if not isinstance(value, bool | np.bool):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
    return bool(value)


def check_text(name: str, value: Any) -> str:
    """`value`, if it is a text; TypeError otherwise."""
    check_kind(name, value, str)
    return value


def check_utf8(name: str, value: Any) -> bytes:
    """A text in UTF-8; TypeError for what is none, ValueError for lone surrogates, which UTF-8 does not have."""
    try:
        return check_text(name, value).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"`{name}` must be text that UTF-8 can hold: {error}") from error


def check_iterable(name: str, value: Any) -> Iterable[Any]:
    """`value`, if one can iterate over it; TypeError otherwise, and for one text or a mapping."""
    try:
        if not isinstance(value, str | bytes | Mapping):
            iter(value)
            return value
    except TypeError:
        pass
    raise TypeError(f"`{name}` must be a sequence, got {value!r}")


def check_kind(name: str, value: Any, kind: type) -> None:
    """TypeError unless `value` is a `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"`{name}` must be a {kind.__name__}, got {type(value).__name__}")


def check_number(name: str, value: Any, *, low: float = -math.inf, high: float = math.inf, closed: str = "") -> float:
    """`value` as a float between `low` and `high`, which belong to the range if "[" and "]" are in `closed`; TypeError
    for what is no real number, ValueError out of the range."""
    opening, closing = "[" if "[" in closed else "(", "]" if "]" in closed else ")"
    allowed = f"{opening}{low:g}, {high:g}{closing}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"`{name}` must be a number in {allowed}, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (low < number < high or (number == low and "[" in closed) or (number == high and "]" in closed)):
        raise ValueError(f"`{name}` must lie in {allowed}, got {value}")
    return number


def check_vocab_size(value: Any) -> int:
    """`vocab_size` as an int in [2, 2**63), for which ids are int64; TypeError, ValueError for any other."""
    if check_positive_int("vocab_size", value, at_least=2) >= 2**63:
        raise ValueError(f"`vocab_size` must be below 2**63, got {value}")
    return int(value)


def check_tree(branching: Any, depth: Any, *, least_depth: int = 1) -> tuple[int, int]:
    """`branching` >= 2 and `depth` of a tree as ints; TypeError, ValueError for others, or for 2**31 leaves or more."""
    branching = check_positive_int("branching", branching, at_least=2)
    depth = check_positive_int("depth", depth, at_least=least_depth)
    if depth * math.log2(branching) >= 31:
        raise ValueError(f"`branching` ** `depth` must be below 2**31, got {branching} ** {depth}")
    return branching, depth


def check_device(device: str | torch.device | None) -> torch.device:
    """`device` as torch knows it, by default a GPU if there is one; ValueError unless tensors can be made there."""
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        made = torch.zeros(1, device=device)
        made.item()  # "meta" has tensors, but no numbers
        return made.device
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"`device` must be one that torch can use here, got {str(device)!r}: {why}") from error


def check_seed(name: str, value: Any) -> int:
    """`value` as an int that torch takes as a seed; ValueError if it is none."""
    return check_positive_int(name, value, at_least=0)


def check_curriculum(network: Any) -> None:
    """ValueError unless the noise of a network's configuration is uniform, which alone is the argmax of a Gaussian
    process."""
    if network.noise != "uniform" or network.mask is not None:
        raise ValueError(f"`curriculum` needs uniform noise over all ids, got {network.process()!r}")


def check_positive_int(name: str, value: Any, *, at_least: int = 1, bounded: bool = True) -> int:
    """`value` as an int; TypeError for what is no integer, ValueError for one that is too small, or, if it is bounded,
    2**64 and more."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"`{name}` must be an integer >= {at_least}, got {value!r}")
    if value < at_least:
        raise ValueError(f"`{name}` must be an integer >= {at_least}, got {value!r}")
    if bounded and int(value) >= 2**64:
        raise ValueError(f"`{name}` must be an integer below 2**64, got {value!r}")
    return int(value)
