"""Margins and basins of binary memories on random patterns, and what overloaded Hebbian couplings retrieve: the
measurements that decide claims C1 to C4 and C12 to C14 of `bridges.claims`.

Repeats are independent samples of the disorder. All rules learn the same patterns of a sample, and their basins are
probed by the same flips, so that differences between rules are paired. A basin's radius is that of
`bridges.compare_basins`, R = (1/2) int_0^1 P_rec dm0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

import amtheory
from amtheory.patterns import random_features, random_patterns
from paper_figures.cells import Cell, stack
from paper_figures.task import Task
from paper_figures.workspace import Workspace

if TYPE_CHECKING:
    from amtheory import PairwiseMemory, PseudoLikelihood

SYSTEM = "binary memory"
ASYMMETRIC = ("pseudo-likelihood", "max margin")
RULES = (
    *("hebb", "pseudo-inverse", "nelbo", "pseudo-likelihood", "max margin", "random"),
    *(f"{rule}, symmetrised" for rule in ASYMMETRIC),
)
DYNAMICS = ("parallel", "sequential")
BOUNDS = ("nelbo", "pseudo-likelihood")
"""Measured under both; the others under parallel dynamics, that of the paper's eq. (6)."""

STATES = ("features", "unseen examples", "unseen examples of all features")
INSTANCES = 8
"""Random couplings and patterns on which gradients are compared."""

LIKELIHOOD_TOLERANCE, BOUND_TOLERANCE = 1e-3, 1e-4
"""Of the fits: smallest stabilities are then within 1e-4 (pseudo-likelihood) and 2e-3 (evidence bound)."""
OVERLAPS = np.linspace(0, 1, 21)
SUCCESS = 0.95
LARGEST_LOAD = 0.5
"""Up to which C2 was put."""


def loads(ws: Workspace) -> list[float]:
    return list(ws.preset.margins.loads)


def repeats(ws: Workspace) -> list[int]:
    return list(range(ws.preset.margins.disorder))


def tasks(ws: Workspace) -> list[Task]:
    """All of the below."""
    return [*pattern_tasks(ws), *feature_tasks(ws), *identity_tasks(ws)]


def pattern_tasks(ws: Workspace) -> list[Task]:
    """Of C2, C3, C4, C13 and C14."""
    spins = ws.preset.margins.length
    return [Task(on_patterns, (load, k), 20 + load * spins * 0.75) for load in loads(ws) for k in repeats(ws)]


def feature_tasks(ws: Workspace) -> list[Task]:
    """Of C12."""
    settings = ws.preset.margins
    cost = 5 * (settings.feature_length / 1000) ** 2
    return [Task(on_features, (load, k), cost * (1 + load)) for load in settings.feature_loads for k in repeats(ws)]


def identity_tasks(ws: Workspace) -> list[Task]:
    """Of C1."""
    return [Task(of_gradient, "gradient", 50)]


def on_patterns(ws: Workspace, load_and_repeat: tuple[float, int]) -> list[Cell]:
    """All rules on one set of patterns."""
    measured = Measured(ws, *load_and_repeat)
    return [measured.rules(), measured.path(), measured.training()]


def on_features(ws: Workspace, load_and_repeat: tuple[float, int]) -> list[Cell]:
    return [retrieval(ws, *load_and_repeat)]


def of_gradient(ws: Workspace, _: str) -> list[Cell]:
    return [proof(), *(gradient(ws, k) for k in range(INSTANCES))]


# --- the gradient ------------------------------------------------------------------------------------


def proof() -> Cell:
    """`unproved`: how many symbolic forms of the gradient sympy does not prove."""

    def make() -> xr.Dataset:
        import bridges.identities  # loads sympy

        return xr.Dataset({"unproved": 1.0 - bridges.identities.check("gradient").holds_corrected})

    return Cell("gradient-proof", {"identity": "gradient"}, make)


def gradient(ws: Workspace, repeat: int) -> Cell:
    """`gradient_error` on random couplings and patterns: the larger of the differences between Hebb's rule, each term
    times 1 - tanh of its margin, and the gradient of the log conditional likelihood, once as the library has it and
    once by complex steps, relative to its largest entry."""
    P, L = 20, 30

    def make() -> xr.Dataset:
        from amtheory import pseudolikelihood

        rng = np.random.default_rng(ws.keyed_seed("gradient", repeat))
        x, W = random_patterns(P, L, rng=rng), rng.standard_normal((L, L)) / np.sqrt(L)
        np.fill_diagonal(W, 0)
        beta = rng.uniform(0.2, 2.0)
        weights = 1 - np.tanh(beta * x * (x @ W.T))
        hebb = beta / P * (weights * x).T @ x
        np.fill_diagonal(hebb, 0)
        found = (-pseudolikelihood.gradient(W, x, beta), _complex_steps(W, x, beta))
        error = max(np.abs(each - hebb).max() for each in found) / np.abs(hebb).max()
        return xr.Dataset({"gradient_error": error})

    return Cell(f"gradient-{repeat}", {"patterns": P, "length": L, "repeat": repeat}, make)


def _complex_steps(W: np.ndarray, x: np.ndarray, beta: float) -> np.ndarray:
    """d/dW_lm of the mean over x of sum_l log p(x_l | the others), from Im log p(W + ih) / h, exact to rounding."""
    h = 1e-30
    fields = (x @ W.T)[:, :, None] + 1j * h * x[:, None, :]  # (x, l, m)
    log_p = -np.log(1 + np.exp(-2 * beta * x[:, :, None] * fields))
    steps = np.imag(log_p).mean(axis=0) / h
    np.fill_diagonal(steps, 0)
    return steps


# --- random patterns ---------------------------------------------------------------------------------


def likelihood(norm: float) -> PseudoLikelihood:
    return amtheory.PseudoLikelihood(beta_norm=norm, tolerance=LIKELIHOOD_TOLERANCE)


class Measured:
    """The memories of one set of random patterns, and the cells of what is measured on them."""

    def __init__(self, ws: Workspace, load: float, repeat: int):
        self.ws, self.load, self.repeat, self.settings = ws, load, repeat, ws.preset.margins
        self.P = round(load * self.settings.length)

    def _seed(self, purpose: str) -> int:
        return self.ws.keyed_seed("margins", purpose, self.P, self.repeat)

    @cached_property
    def patterns(self) -> np.ndarray:
        return random_patterns(self.P, self.settings.length, rng=self._seed("patterns"))

    @cached_property
    def memories(self) -> dict[str, PairwiseMemory]:
        """By rule; the pseudo-likelihood is taken at the norm of the least bound, random couplings at those rows'."""
        x = self.patterns
        nelbo = amtheory.DiffusionMemory(tolerance=BOUND_TOLERANCE).fit(x)
        pseudo = likelihood(float(nelbo.norms_.mean())).fit(x)
        W = np.random.default_rng(self._seed("random")).standard_normal(pseudo.couplings_.shape)
        np.fill_diagonal(W, 0)
        W *= (pseudo.norms_ / np.linalg.norm(W, axis=1))[:, None]
        found: dict[str, PairwiseMemory] = {
            "hebb": amtheory.Hopfield().fit(x),
            "pseudo-inverse": amtheory.PseudoInverse().fit(x),
            "nelbo": nelbo,
            "pseudo-likelihood": pseudo,
            "max margin": amtheory.PerceptronMargin().fit(x),
            "random": amtheory.Couplings(W),
        }
        for rule in ASYMMETRIC:
            W = found[rule].couplings_
            found[f"{rule}, symmetrised"] = amtheory.Couplings((W + W.T) / 2)
        return found

    def _measure(self, memory: PairwiseMemory, dynamics: Sequence[Any]) -> xr.Dataset:
        """`radius` by dynamics, the smallest `stability` of all patterns and spins, `asymmetry`, mean row `norm`."""
        x, n = self.patterns, self.settings.probes
        probed = x[np.random.default_rng(self._seed("probes")).permutation(len(x))[:n]]
        radius = []
        for update in dynamics:
            curve = amtheory.basins.measure_basin(
                memory, probed, OVERLAPS, update=update, success=SUCCESS, rng=self._seed("flips")
            )
            radius.append(float(curve.recovered.integrate("initial_overlap").item()) / 2)
        return xr.Dataset(
            {
                "radius": ("dynamics", radius, {"units": "fraction of spins"}),
                "stability": memory.stabilities(x).min(),
                "asymmetry": memory.asymmetry(),
                "norm": memory.norms_.mean(),
            },
            {"dynamics": list(dynamics)},
        )

    def rules(self) -> Cell:
        """What `_measure` gives, over `rule`; no sequential radius but for `BOUNDS`."""

        def of(rule: str) -> xr.Dataset:
            return self._measure(self.memories[rule], DYNAMICS if rule in BOUNDS else DYNAMICS[:1])

        return self._cell(
            "rules", {"rules": list(RULES), "probes": self.settings.probes}, lambda: stack(of, rule=RULES)
        )

    def path(self) -> Cell:
        """The same, under parallel dynamics, of the pseudo-likelihood at growing norm, over `beta_norm`."""
        norms = self.settings.norms

        def make() -> xr.Dataset:
            found, W = list[xr.Dataset](), None
            for norm in norms:
                memory = likelihood(norm).fit(self.patterns, W)
                W = memory.couplings_
                found.append(self._measure(memory, DYNAMICS[:1]))
            return xr.concat(found, xr.DataArray(list(norms), dims="beta_norm", name="beta_norm"))

        return self._cell("path", {"norms": list(norms), "probes": self.settings.probes}, make)

    def training(self) -> Cell:
        """`stability`, the smallest, and mean row `norm` along gradient descent from Hebb's couplings, over `step`."""
        steps, rate = self.settings.steps, self.settings.rate
        shown = np.unique(np.geomspace(1, steps, 13).round().astype(int))

        def make() -> xr.Dataset:
            from amtheory import pseudolikelihood

            x, found = self.patterns, []
            W = amtheory.Hopfield().fit(x).couplings_.copy()
            for step in range(1, steps + 1):
                W -= rate / len(W) * pseudolikelihood.gradient(W, x, 1.0)
                if step in shown:
                    memory = amtheory.Couplings(W)
                    found.append((memory.stabilities(x).min(), memory.norms_.mean()))
            stability, norm = zip(*found)
            return xr.Dataset({"stability": ("step", list(stability)), "norm": ("step", list(norm))}, {"step": shown})

        return self._cell("training", {"steps": steps, "rate": rate}, make)

    def _cell(self, what: str, key: dict[str, Any], make: Any) -> Cell:
        origin = {"length": self.settings.length, "patterns": self.P, "repeat": self.repeat}
        return Cell(f"margins-{self.load:g}-{self.repeat}-{what}", {**origin, **key}, make)


def _stacked(ws: Workspace, cell: Callable[[float, int], Cell], loads: Sequence[float]) -> xr.Dataset:
    """Cells over (load, repeat), without the lengths that words had in their files."""
    return stack(lambda load, repeat: ws.get(cell(load, repeat)), load=loads, repeat=repeats(ws)).drop_encoding()


def rules(ws: Workspace) -> xr.Dataset:
    """`radius`, `stability`, `asymmetry`, `norm` over (load, repeat, rule)."""
    return _stacked(ws, lambda load, repeat: Measured(ws, load, repeat).rules(), loads(ws))


def path(ws: Workspace) -> xr.Dataset:
    """The same over (load, repeat, beta_norm)."""
    return _stacked(ws, lambda load, repeat: Measured(ws, load, repeat).path(), loads(ws))


def training(ws: Workspace) -> xr.Dataset:
    """`stability` and `norm` over (load, repeat, step)."""
    return _stacked(ws, lambda load, repeat: Measured(ws, load, repeat).training(), loads(ws))


def largest(ws: Workspace) -> xr.DataArray:
    """kappa_max of the same patterns, over (load, repeat)."""
    return rules(ws).stability.sel(rule="max margin", drop=True)


def compared(ws: Workspace) -> xr.Dataset:
    """`stability` and `radius` under parallel dynamics over (load, rule, repeat) of the rules whose margins and basins
    are compared: the classical ones, and the pseudo-likelihood at each norm."""
    classical = rules(ws).sel(rule=["hebb", "pseudo-inverse", "max margin"])
    along = path(ws).rename(beta_norm="rule")
    along = along.assign_coords(rule=[f"pseudo-likelihood, norm {norm:g}" for norm in along.rule.values])
    both = xr.concat([each.sel(dynamics="parallel", drop=True) for each in (classical, along)], "rule")
    return both[["stability", "radius"]].transpose("load", "rule", "repeat")


# --- random features ---------------------------------------------------------------------------------


def features_load(ws: Workspace) -> float:
    """alpha_D = D / L."""
    settings = ws.preset.margins
    return round(settings.features * settings.feature_length) / settings.feature_length


def spinodals(ws: Workspace) -> xr.DataArray:
    """The load from which each of `STATES` is an attractor by theory, over `system`; NaN for the last, which has
    none."""
    theory, alpha_D = amtheory.theory.random_features, features_load(ws)
    ends = [theory.learning_load(alpha_D), theory.generalization_load(alpha_D, ws.preset.margins.mixed), np.nan]
    return xr.DataArray(np.array(ends, float), {"system": list(STATES)}, "system")


def retrieval(ws: Workspace, load: float, repeat: int) -> Cell:
    """`overlap` over `system`: of `STATES` with where sequential T = 0 dynamics leads from them, in the Hebbian memory
    of examples that have all features with Gaussian coefficients. The unseen examples are signs of sums of few features
    with random signs; those of all features are of the law of the training examples."""
    settings = ws.preset.margins
    L, P = settings.feature_length, round(load * settings.feature_length)
    D, n = round(settings.features * L), settings.mixed

    def make() -> xr.Dataset:
        seed = ws.keyed_seed("features", P, repeat)
        x, features, unseen = random_features(P, L, D, rng=seed)
        memory = amtheory.Hopfield().fit(x)
        rng = np.random.default_rng(ws.keyed_seed("mixtures", P, repeat))
        chosen = [features[rng.choice(D, n, replace=False)] for _ in range(settings.probes)]
        mixtures = np.sign([rng.choice([-1, 1], n) @ each for each in chosen]).astype(np.int8)
        overlaps = []
        for states in (features, mixtures, unseen(settings.probes)):
            final, _ = amtheory.retrieve(memory, states, update="sequential", rng=seed)
            overlaps.append(amtheory.patterns.overlap(final, states).mean())
        return xr.Dataset({"overlap": ("system", overlaps)}, {"system": list(STATES)})

    key = {"length": L, "patterns": P, "features": D, "mixed": n, "probes": settings.probes, "repeat": repeat}
    return Cell(f"features-{load:g}-{repeat}", key, make)


def retrievals(ws: Workspace) -> xr.Dataset:
    """`overlap` over (load, repeat, system)."""
    return _stacked(ws, lambda load, repeat: retrieval(ws, load, repeat), ws.preset.margins.feature_loads)


# --- what decides the claims -------------------------------------------------------------------------


def claim_C1(ws: Workspace) -> xr.Dataset:
    """From `identity_tasks`."""
    errors = stack(lambda repeat: ws.get(gradient(ws, repeat)), repeat=range(INSTANCES))
    return errors.expand_dims(system=[SYSTEM]).assign(unproved=ws.get(proof()).unproved.expand_dims(repeat=INSTANCES))


def excess(ws: Workspace) -> xr.DataArray:
    """Basin radius under parallel dynamics minus that of the random couplings, over (load, repeat, rule)."""
    radius = rules(ws).radius.sel(dynamics="parallel", drop=True)
    return radius.drop_sel(rule="random") - radius.sel(rule="random", drop=True)


def claim_C2(ws: Workspace) -> xr.Dataset:
    """Its half on binary memories, at loads up to `LARGEST_LOAD`; from `pattern_tasks`."""
    found = excess(ws).sel(rule="pseudo-likelihood", drop=True)
    found = found.sel(load=[load for load in loads(ws) if load <= LARGEST_LOAD])
    return found.expand_dims(system=[SYSTEM]).to_dataset(name="radius_excess")


def claim_C3(ws: Workspace) -> xr.Dataset:
    """From `pattern_tasks`; a system is a load."""
    ratio = (path(ws).stability / largest(ws)).rename(load="system")
    return ratio.assign_coords(system=[f"load {load:g}" for load in loads(ws)]).to_dataset(name="margin_ratio")


def claim_C4(ws: Workspace) -> xr.Dataset:
    """From `pattern_tasks`."""
    return compared(ws)


def claim_C12(ws: Workspace) -> xr.Dataset:
    """From `feature_tasks`."""
    return retrievals(ws).assign(spinodal=spinodals(ws)).sel(system=list(STATES[:2]))


def twins(ws: Workspace) -> xr.Dataset:
    """`radius` under parallel dynamics over (load, repeat, rule, couplings) of couplings "as learned" and
    "symmetrised", (W + W^T) / 2, and the `asymmetry` of the former."""
    found = rules(ws).sel(dynamics="parallel", drop=True)
    learned = found.sel(rule=list(ASYMMETRIC))
    symmetrised = found.sel(rule=[f"{rule}, symmetrised" for rule in ASYMMETRIC])
    both = [learned.radius, symmetrised.radius.assign_coords(rule=list(ASYMMETRIC))]
    radius = xr.concat(both, xr.Variable("couplings", ["as learned", "symmetrised"]))
    return xr.Dataset({"radius": radius, "asymmetry": learned.asymmetry})


def claim_C13(ws: Workspace) -> xr.Dataset:
    """From `pattern_tasks`; a system is a rule at a load."""
    found = twins(ws).stack(system=("rule", "load"), create_index=False)
    names = [f"{rule}, load {load:g}" for rule, load in zip(found.rule.values, found["load"].values)]
    return found.drop_vars(["rule", "load"]).assign_coords(system=names)


def claim_C14(ws: Workspace) -> xr.Dataset:
    """From `pattern_tasks`."""
    return rules(ws)[["radius"]].sel(rule=list(BOUNDS))
