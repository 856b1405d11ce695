"""The same network in several precisions: what of its measurements is arithmetic, and which effects survive.

Every precision meets the same corrupted sequences and the same random numbers, so that what differs was computed
otherwise. "bf16" has the range of float32 and three digits, "fp16" one digit more and no probability below 3e-8.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float64, Int64, Integer

from amtheory import _validation as check
from amtheory.intervals import Estimate, bootstrap_mean
from bridges.diffusion import DiffusionSystem
from bridges.entropy import entropy_gap
from bridges.manifest import array_hash, manifest, to_attribute
from bridges.streams import as_seed, stream
from bridges.system import as_tokens, check_confidence, check_time
from uddm import evidence_bound
from uddm._validation import check_choice
from uddm.choices import PRECISIONS, Precision
from uddm.denoisers import Network, in_precision

QUANTITIES = ("entropy", "recovery", "unstable_rate", "bound")
EFFECTS = {
    "entropy gap": ("entropy", "text", "generated"),
    "entropy of unseen text": ("entropy", "text", "unseen"),
    "recovery": ("recovery", "unseen", "text"),
    "unstable rate": ("unstable_rate", "text", "unseen"),
    "bound": ("bound", "text", "unseen"),
}
"""Of memorization (arXiv 2604.26841): a quantity, where it is lower, and where higher."""


def precision_audit(
    network: Network,
    x: Integer[np.ndarray, "N L"],
    *,
    unseen: Integer[np.ndarray, "M L"] | None = None,
    precisions: Sequence[Precision] = PRECISIONS,
    noise: float = 0.25,
    t: float = 1e-5,
    steps: int = 32,
    generated: int = 100,
    times: int = 16,
    rng: int | np.random.Generator | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Measure a network in several precisions of x_theta, on the same sequences with the same random numbers.

    Parameters
    ----------
    network : of cavity logits, if a half precision is asked for
    x : (N, L) sequences, ids in [0, K), that were trained on, or any
    unseen : (M, L) others, which were not; default None: then only the entropy gap is an effect
    precisions : of "fp16", "bf16", "fp32" and "fp64"; default all. The finest of them is the reference
    noise : time in (0, 1] of the corruption, from which tokens are recovered; default 0.25
    t : in (0, 1] of the conditional entropies; default 1e-5, as published
    steps : of the reverse process, >= 1; default 32
    generated : sequences generated from noise, >= 2; default 100
    times : diffusion times of the evidence bound for each sequence, >= 1; default 16
    rng : None, an integer seed >= 0 or a Generator; default None, fresh entropy
    confidence : of the intervals, in (0, 1); default 0.95

    Returns
    -------
    Dataset over `precision`, `split` (text, unseen, generated), `quantity` and `estimate` (value, low, high), with
    bootstrap intervals over sequences:

    - `measured`: `entropy` and `bound` in nats per token, `recovery` of the corrupted tokens and `unstable_rate` of the
      others, means over sequences; infinite, without an interval, where one of them is (a token to which fp16 gives no
      probability);
    - `change`: paired, from the reference;
    - `difference` (precision, effect, estimate): of `EFFECTS`, positive where memorization shows, and `shown`, whether
      the interval lies above 0; effects that lack sequences are left out;
    - `same_tokens` (precision): share of generated tokens that are those of the reference.

    The attribute `manifest` is the record from which it can be repeated.

    Raises
    ------
    TypeError, ValueError : naming the argument that is out of range; half precision of a network of posterior logits

    See Also
    --------
    bridges.probing.checks.precision : of a single model, whether its entropies are those of the text

    Examples
    --------
    >>> import numpy as np
    >>> from bridges import precision_audit
    >>> from uddm import HollowMLP, HollowMLPConfig
    >>> network = HollowMLP(HollowMLPConfig(5, length=4, hidden_dim=8, blocks=1))
    >>> x = np.random.default_rng(0).integers(5, size=(20, 4))
    >>> found = precision_audit(network, x, precisions=["fp16", "fp64"], steps=4, generated=20, rng=0)
    >>> float(abs(found.change.sel(precision="fp16", split="text", quantity="entropy", estimate="value"))) < 1e-3
    True
    """
    if not isinstance(network, Network):
        raise TypeError(f"`network` must be a network of uddm.denoisers, got {type(network).__name__}")
    systems = _systems(network, precisions)
    reference = max(systems, key=PRECISIONS.index)
    texts = {"text": as_tokens("x", x, systems[reference])}
    if unseen is not None:
        texts["unseen"] = as_tokens("unseen", unseen, systems[reference])
    noise, t = check_time("noise", noise), check_time("t", t)
    generated = check.integer("generated", generated, 2)
    how = {"noise": noise, "t": t, "steps": check.integer("steps", steps, 1), "times": check.integer("times", times, 1)}
    check_confidence(confidence)
    seed, begin = as_seed(rng), time.perf_counter()

    samples = {p: s.generate(generated, stream(seed, "generate"), steps=steps) for p, s in systems.items()}
    values = {
        (p, split): measured
        for p, system in systems.items()
        for split, measured in _measured(system, texts, samples[p], seed, how)
    }
    splits = [*texts, "generated"]

    def estimate(p: str, split: str, quantity: str, less: str | None = None) -> Estimate:
        found = values[p, split][quantity]
        found = found if less is None else _less(found, values[less, split][quantity])
        return _mean(found, stream(seed, "bootstrap", split, quantity), confidence)

    of_all = [[[estimate(p, s, q) for q in QUANTITIES] for s in splits] for p in systems]
    changes = [[[estimate(p, s, q, reference) for q in QUANTITIES] for s in splits] for p in systems]
    effects = {name: (q, low, high) for name, (q, low, high) in EFFECTS.items() if {low, high} <= set(splits)}
    gaps = np.array(
        [[entropy_gap(estimate(p, low, q), estimate(p, high, q)) for q, low, high in effects.values()] for p in systems]
    )
    record = manifest(
        measurement="precision_audit",
        **{"seed": seed, "precisions": list(systems), "reference": reference, "generated": generated, **how},
        **{"confidence": confidence, "precision": "that of each row"},
        **{"system": systems[reference].describe(), "input": [array_hash(text) for text in texts.values()]},
        seconds=time.perf_counter() - begin,
    )
    dims = ("precision", "split", "quantity", "estimate")
    return xr.Dataset(
        {
            "measured": (dims, np.array(of_all)),
            "change": (dims, np.array(changes)),
            "difference": (("precision", "effect", "estimate"), gaps),
            "shown": (("precision", "effect"), gaps[..., 1] > 0),
            "same_tokens": ("precision", [float((samples[p] == samples[reference]).mean()) for p in systems]),
        },
        {
            **{"precision": list(systems), "split": splits, "quantity": list(QUANTITIES)},
            **{"effect": list(effects), "estimate": list(Estimate._fields)},
        },
        {"manifest": to_attribute(record), "reference": reference},
    )


def _systems(network: Network, precisions: Sequence[Precision]) -> dict[Precision, DiffusionSystem]:
    if isinstance(precisions, str) or not (precisions := check.several("precisions", precisions)):
        raise ValueError(f"`precisions` must be some of {PRECISIONS}, got {precisions!r}")
    for precision in precisions:
        check_choice("precisions", precision, PRECISIONS)
    return {precision: DiffusionSystem(in_precision(network, precision)) for precision in precisions}


def _measured(
    system: DiffusionSystem,
    texts: dict[str, Int64[np.ndarray, "_ L"]],
    samples: Int64[np.ndarray, "_ L"],
    seed: int,
    how: dict[str, Any],
) -> Iterator[tuple[str, dict[str, Float64[np.ndarray, " _"]]]]:
    """The quantities of each sequence, by split."""
    nothing = dict.fromkeys(QUANTITIES, np.full(len(samples), np.nan))
    yield "generated", nothing | {"entropy": system.conditional(samples, how["t"]).entropy().mean(1)}
    for split, x in texts.items():
        z = system.corrupt(x, how["noise"], stream(seed, "corrupt", split))
        y = system.recover(z, start=how["noise"], steps=how["steps"], rng=stream(seed, "recover", split))
        draws = int(stream(seed, "bound", split).integers(2**63))
        bound = evidence_bound(
            system.process, system.denoiser, system.tokens(x), times=how["times"], generator=draws
        ).total
        yield (
            split,
            {
                "entropy": system.conditional(x, how["t"]).entropy().mean(1),
                "recovery": _share(y == x, z != x),
                "unstable_rate": _share(y != x, z == x),
                "bound": bound.cpu().numpy() / x.shape[1],
            },
        )


def _share(event: np.ndarray, among: np.ndarray) -> Float64[np.ndarray, " _"]:
    """In each row, how often the event is among those; NaN where there are none."""
    with np.errstate(invalid="ignore"):
        return (event & among).sum(1) / among.sum(1)


def _less(one: Float64[np.ndarray, " N"], other: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """one - other, 0 for equal infinities."""
    return np.subtract(one, other, where=one != other, out=np.zeros_like(one))


def _mean(values: Float64[np.ndarray, " N"], rng: np.random.Generator, confidence: float) -> Estimate:
    """Of all but NaN; infinite if one is."""
    if np.isposinf(values).any():
        return Estimate(np.inf, np.nan, np.nan)
    return bootstrap_mean(values, rng, confidence=confidence)


def as_table(found: xr.Dataset) -> str:
    """What `precision_audit` found, in lines for people.

    Parameters
    ----------
    found : its Dataset

    Examples
    --------
    >>> import numpy as np
    >>> from bridges.precision import as_table, precision_audit
    >>> from uddm import HollowMLP, HollowMLPConfig
    >>> network = HollowMLP(HollowMLPConfig(5, length=4, hidden_dim=8, blocks=1))
    >>> x = np.random.default_rng(0).integers(5, size=(20, 4))
    >>> found = precision_audit(network, x, precisions=["fp32"], steps=4, generated=20, rng=0)
    >>> as_table(found).splitlines()[0].split()
    ['fp32']
    """
    precisions = found.precision.values
    rows = [("", *precisions)]
    for split in found.split.values:
        for quantity in found.quantity.values:
            told = found.measured.sel(split=split, quantity=quantity)
            if not told.isnull().all():
                rows.append((f"{quantity} of {split}", *(_interval(told.sel(precision=p)) for p in precisions)))
    rows.append(("generated tokens as in the reference", *(f"{share:.3f}" for share in found.same_tokens.values)))
    for name in found.effect.values:
        shown = found.shown.sel(effect=name)
        rows.append((f"shows: {name}", *("yes" if shown.sel(precision=p) else "no" for p in precisions)))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def _interval(estimate: xr.DataArray) -> str:
    value, low, high = estimate.values
    return f"{value:.4f}" if np.isnan(low) else f"{value:.4f} [{low:.4f}, {high:.4f}]"
