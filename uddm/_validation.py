"""Argument checks shared by the package: one clear error, naming the argument, what was got and what is allowed.

numpy and torch are imported where arrays and tensors are, so that settings can be checked without them.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
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
        array = check_array(name, tokens)
        if array.dtype.kind not in "iu":
            raise TypeError(f"`{name}` must hold integer token ids, got dtype {array.dtype}")
        tokens = torch.from_numpy(array.astype("int64"))
    if tokens.layout is not torch.strided or tokens.is_nested or torch.masked.is_masked_tensor(tokens):
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


def check_time(name: str, t: Any, *, low: float = 0.0, closed: bool = False) -> Tensor:
    """Return `t` as a float64 tensor with every value in (low, 1], or [low, 1] if `closed`; TypeError if it is none."""
    import torch

    _refuse_masked(name, t)
    try:
        t = torch.as_tensor(t, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"`{name}` must be a number or an array of numbers, got {t!r}") from error
    inside = (t >= low if closed else t > low) & (t <= 1)
    if not bool(inside.all()):
        bracket = "[" if closed else "("
        bad = t.reshape(-1)[~inside.reshape(-1)][0].item()
        raise ValueError(f"`{name}` must lie in {bracket}{low:g}, 1], got {bad:g}")
    return t


def check_log_probs(name: str, log_probs: Tensor, z: Tensor, vocab_size: int) -> Tensor:
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
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def check_device(device: str | torch.device | None) -> torch.device:
    """`device` as torch knows it, by default a GPU if there is one; ValueError unless tensors can be made there."""
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        made = torch.zeros(1, device=device)
        made.item()  # "meta" has tensors, but no numbers
        return made.device
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"`device` must be one that torch can use here, got {str(device)!r}: {why}") from error


def check_seed(name: str, value: Any) -> int:
    """`value` as an int that torch takes as a seed; ValueError if it is none."""
    if check_positive_int(name, value, at_least=0) >= 2**64:
        raise ValueError(f"`{name}` must be an integer below 2**64, got {value}")
    return int(value)


def check_curriculum(network: Any) -> None:
    """ValueError unless the noise of a network's configuration is uniform, which alone is the argmax of a Gaussian
    process."""
    if network.noise != "uniform" or network.mask is not None:
        raise ValueError(f"`curriculum` needs uniform noise over all ids, got {network.process()!r}")


def check_positive_int(name: str, value: Any, *, at_least: int = 1) -> int:
    """`value` as an int; TypeError for what is no integer, ValueError for one that is too small."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"`{name}` must be an integer >= {at_least}, got {value!r}")
    if value < at_least:
        raise ValueError(f"`{name}` must be an integer >= {at_least}, got {value!r}")
    return int(value)
