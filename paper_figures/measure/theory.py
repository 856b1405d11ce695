"""Memories of random patterns as they are, and what `amtheory.theory` says of them, where that takes its time.

Repeats are independent samples of the patterns, and loads those that whole numbers of patterns come closest to.
"""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

import amtheory
from amtheory.intervals import student_quantile
from amtheory.patterns import flip, overlap, random_patterns
from paper_figures.cells import Cell, stack
from paper_figures.task import Task
from paper_figures.workspace import Workspace

LIKELIHOOD_TOLERANCE = 1e-3
"""Of the fits: what is drawn then changes by less than 1e-3."""
ON_MARGIN = 1e-4
"""Above the margin of its row, relatively, up to which a pattern counts as lying on it."""
STABILITIES = np.linspace(-2.5, 4.5, 141)
"""Between which stabilities are counted."""
CENTRES = {"stability": (STABILITIES[1:] + STABILITIES[:-1]) / 2}


def repeats(ws: Workspace) -> range:
    return range(ws.preset.theory.disorder)


def deviation(measured: xr.DataArray, theory: xr.DataArray, disorder: int) -> str:
    """How far a mean over `disorder` samples, over `estimate` and other dimensions, is from theory, in words: where it
    is furthest, also in standard errors, and in the mean over all places."""
    difference = measured.sel(estimate="value", drop=True) - theory
    at = {str(name): int(index) for name, index in abs(difference).argmax(...).items()}
    worst, interval = difference.isel(at), measured.isel(at)
    half = float(interval.sel(estimate="high") - interval.sel(estimate="value"))
    where = ", ".join(f"{str(name).replace('_', ' ')} {worst[name].values[()]:g}" for name in at)
    errors = f", {float(worst) / half * student_quantile(disorder, 0.95):+.1f} standard errors" if half > 0 else ""
    places = int(difference.count())
    mean = f"; {float(difference.mean()):+.2g} in the mean of {places} places" if places > 1 else ""
    return f"{float(worst):+.2g} at {where}{errors}{mean}"


# --- Hopfield ----------------------------------------------------------------------------------------


def hopfield_tasks(ws: Workspace) -> list[Task]:
    settings = ws.preset.theory
    cost = 20 * (settings.hopfield_length / 2000) ** 2
    retrieved = [Task(hopfield, (load, k), 1 + cost) for load in settings.hopfield_loads for k in repeats(ws)]
    return [Task(equilibrium, "equilibrium", 12 * settings.points), *retrieved]


def hopfield(ws: Workspace, load_and_repeat: tuple[float, int]) -> list[Cell]:
    """By temperature: `overlap` with each of some stored patterns, from which sequential dynamics starts, in the mean
    over the second half of the sweeps and over these patterns."""
    load, repeat = load_and_repeat
    settings = ws.preset.theory
    L, n, sweeps = settings.hopfield_length, settings.probes, settings.sweeps
    P = round(load * L)
    seed = ws.keyed_seed("theory", "hopfield", P, repeat)

    @cache
    def memory() -> tuple[np.ndarray, amtheory.Hopfield]:
        x = random_patterns(P, L, rng=seed)
        return x[:n], amtheory.Hopfield().fit(x)

    def at(T: float) -> Cell:
        def make() -> xr.Dataset:
            x, fitted = memory()
            how = {"update": "sequential", "temperature": T, "max_sweeps": sweeps, "reference": x, "rng": seed}
            _, info = amtheory.retrieve(fitted, x, **how)
            assert info.overlaps is not None
            return xr.Dataset({"overlap": info.overlaps[:, sweeps // 2 :].mean()})

        key = {"length": L, "patterns": P, "probes": n, "sweeps": sweeps, "temperature": T, "repeat": repeat}
        return Cell(f"theory-hopfield-{load:g}-{T:g}-{repeat}", key, make)

    return [at(T) for T in settings.temperatures]


def hopfields(ws: Workspace) -> xr.Dataset:
    """`overlap` over (load, repeat, temperature)."""
    settings = ws.preset.theory

    def at(load: float, repeat: int) -> xr.Dataset:
        found = [ws.get(cell) for cell in hopfield(ws, (load, repeat))]
        return xr.concat(found, xr.DataArray(list(settings.temperatures), dims="temperature", name="temperature"))

    return stack(at, load=settings.hopfield_loads, repeat=repeats(ws))


def equilibrium(ws: Workspace, _: str) -> list[Cell]:
    """By temperature, over `point`, `line_overlap` along its `line_load`, up to the critical one, where points are
    dense. Last, over `line_temperature`, the critical load `spinodal` and `first_order`, up to which retrieval has the
    lowest free energy."""
    settings, theory = ws.preset.theory, amtheory.theory.hopfield
    points = settings.points

    def line(T: float) -> Cell:
        def make() -> xr.Dataset:
            loads = float(theory.critical_load(T)) * (1 - 1e-9) * (1 - np.linspace(1, 0, points) ** 2)
            return xr.Dataset({"line_load": ("point", loads), "line_overlap": ("point", theory.overlap(loads, T))})

        return Cell(f"theory-hopfield-line-{T:g}", {"temperature": T, "points": points}, make)

    def borders() -> xr.Dataset:
        T = np.linspace(0, 1, points)
        found = {"spinodal": theory.critical_load(T), "first_order": theory.first_order_load(T)}
        return xr.Dataset({name: ("line_temperature", loads) for name, loads in found.items()}, {"line_temperature": T})

    lines = [line(T) for T in settings.temperatures]
    return [*lines, Cell("theory-hopfield-borders", {"borders": points}, borders)]


def equilibria(ws: Workspace) -> xr.Dataset:
    """All of the above, over (temperature, point) and (line_temperature)."""
    *lines, borders = (ws.get(cell) for cell in equilibrium(ws, "equilibrium"))
    temperatures = xr.DataArray(list(ws.preset.theory.temperatures), dims="temperature", name="temperature")
    return xr.concat(lines, temperatures).merge(borders)


# --- the largest margin ------------------------------------------------------------------------------


def perceptron_tasks(ws: Workspace) -> list[Task]:
    grid = [(inputs, load) for inputs, loads in ws.preset.theory.perceptrons.items() for load in loads]
    return [Task(perceptron, (*one, k), _perceptron_cost(*one)) for one in grid for k in repeats(ws)]


def _perceptron_cost(inputs: int, load: float) -> float:
    """Near the capacity the fit tries all it can."""
    return 1 + (inputs / 200) ** 2 * (200 if 1.6 < load < 2.4 else 10 * load)


def perceptron(ws: Workspace, inputs_load_and_repeat: tuple[int, float, int]) -> list[Cell]:
    """Of the couplings of largest margin, in the mean over neurons: `margin`, the share of patterns `on_margin`, the
    share of neurons that are `separated`, and of those not proved `separable` by none."""
    inputs, load, repeat = inputs_load_and_repeat
    P = round(load * inputs)

    def make() -> xr.Dataset:
        x = random_patterns(P, inputs + 1, rng=ws.keyed_seed("theory", "perceptron", inputs, P, repeat))
        memory = amtheory.PerceptronMargin()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # that some rows are not separable, which is counted
            memory.fit(x)
        close = memory.stabilities(x) <= memory.margins_ * (1 + ON_MARGIN)
        return xr.Dataset(
            {
                "margin": memory.margins_.mean(),
                "on_margin": close.mean(),
                "separated": memory.separable_.mean(),
                "separable": (memory.margin_bounds_ > memory.tolerance).mean(),
            }
        )

    return [Cell(f"theory-perceptron-{inputs}-{load:g}-{repeat}", _key(inputs, P, repeat), make)]


def perceptrons(ws: Workspace) -> xr.Dataset:
    """The above over (inputs, load, repeat), NaN at loads that are not for those inputs."""

    def at(inputs: int) -> xr.Dataset:
        loads = ws.preset.theory.perceptrons[inputs]
        return stack(
            lambda load, repeat: ws.get(*perceptron(ws, (inputs, load, repeat))), load=loads, repeat=repeats(ws)
        )

    return stack(at, inputs=list(ws.preset.theory.perceptrons))


def _key(inputs: int, P: int, repeat: int) -> dict[str, int]:
    return {"inputs": inputs, "patterns": P, "repeat": repeat}


# --- pseudo-likelihood -------------------------------------------------------------------------------


def likelihood_tasks(ws: Workspace) -> list[Task]:
    settings = ws.preset.theory
    cost = 14 * len(settings.norms) * (settings.likelihood_inputs / 200) ** 2
    fits = [Task(likelihood, (load, k), 1 + cost) for load in settings.likelihood_loads for k in repeats(ws)]
    return [*fits, *(Task(replicas, load, 0.8 * settings.points) for load in settings.likelihood_loads)]


def likelihood(ws: Workspace, load_and_repeat: tuple[float, int]) -> list[Cell]:
    """Over `norm`, in the mean over neurons: `mean` and `variance` of the stabilities of the patterns, their `density`
    between `STABILITIES`, and the overlap `first_step` after one parallel step from `start_overlap`."""
    load, repeat = load_and_repeat
    settings = ws.preset.theory
    N, norms = settings.likelihood_inputs, list(settings.norms)
    P, flips = round(load * N), _flips(ws)

    def make() -> xr.Dataset:
        seed = ws.keyed_seed("theory", "likelihood", P, repeat)
        x, W, found = random_patterns(P, N + 1, rng=seed), None, list[xr.Dataset]()
        start = flip(x, flips, rng=seed)
        for norm in norms:
            memory = amtheory.PseudoLikelihood(beta_norm=norm, tolerance=LIKELIHOOD_TOLERANCE).fit(x, W)
            W = memory.couplings_
            after, _ = amtheory.retrieve(memory, start, max_sweeps=1)
            stabilities = memory.stabilities(x)
            found.append(
                xr.Dataset(
                    {
                        "mean": stabilities.mean(),
                        "variance": stabilities.var(),
                        "first_step": overlap(after, x).mean(),
                        "density": _density([(stabilities < edge).mean() for edge in STABILITIES]),
                    },
                    CENTRES,
                )
            )
        return xr.concat(found, xr.DataArray(norms, dims="norm", name="norm"))

    return [Cell(f"theory-likelihood-{load:g}-{repeat}", _key(N, P, repeat) | {"norms": norms, "flips": flips}, make)]


def replicas(ws: Workspace, load: float) -> list[Cell]:
    """The same by theory, over `norm` and, without the density, over `line_norm`, from the smallest to the largest."""
    settings = ws.preset.theory
    norms, N = list(settings.norms), settings.likelihood_inputs
    rounded, start = round(load * N) / N, start_overlap(ws)

    def at(norm: float) -> xr.Dataset:
        law = amtheory.theory.pseudolikelihood.solve(rounded, norm).distribution  # its nodes ascend
        below = np.interp(STABILITIES, law.nodes, np.cumsum(law.weights) - law.weights / 2)
        moments = {"mean": law.mean(), "variance": law.variance(), "first_step": float(law.first_step(start))}
        return xr.Dataset(moments | {"density": _density(below)}, CENTRES)

    def make() -> xr.Dataset:
        line = stack(at, norm=np.geomspace(norms[0], norms[-1], settings.points).tolist()).drop_vars(
            ["density", "stability"]
        )
        return stack(at, norm=norms).merge(line.rename({name: f"line_{name}" for name in (*line.data_vars, "norm")}))

    key = {"load": rounded, "norms": norms, "points": settings.points, "start": start}
    return [Cell(f"theory-replicas-{load:g}", key, make)]


def _density(below: ArrayLike) -> tuple[str, np.ndarray]:
    """From the shares below each of `STABILITIES`."""
    return "stability", np.diff(below) / np.diff(STABILITIES)


def _flips(ws: Workspace) -> int:
    return round((1 - ws.preset.theory.start_overlap) / 2 * (ws.preset.theory.likelihood_inputs + 1))


def start_overlap(ws: Workspace) -> float:
    """That of a whole number of flips."""
    return 1 - 2 * _flips(ws) / (ws.preset.theory.likelihood_inputs + 1)


def likelihoods(ws: Workspace) -> xr.Dataset:
    """What `likelihood` gives over (load, repeat, norm)."""
    at = ws.preset.theory.likelihood_loads
    return stack(lambda load, repeat: ws.get(*likelihood(ws, (load, repeat))), load=at, repeat=repeats(ws))


def replica_curves(ws: Workspace) -> xr.Dataset:
    """What `replicas` gives over `load`."""
    return stack(lambda load: ws.get(*replicas(ws, load)), load=ws.preset.theory.likelihood_loads)


# --- Bayes on random sequences -----------------------------------------------------------------------


def code_tasks(ws: Workspace) -> list[Task]:
    settings = ws.preset.theory
    tasks = list[Task]()
    for rate, length in [(rate, length) for rate in settings.rates for length in settings.lengths]:
        work = sequences(rate, length) * length / 1e5 * settings.noisy / 200
        tasks += [Task(code, (rate, length, k), 1 + 0.5 * len(settings.noise) * work) for k in repeats(ws)]
        tasks.append(Task(exact, (rate, length), settings.points * length / 60))
    return tasks


def sequences(rate: float, length: int) -> int:
    """P, with log P / L nearest to the rate; at least two."""
    return max(2, round(float(np.exp(rate * length))))


def code(ws: Workspace, rate_length_and_repeat: tuple[float, int, int]) -> list[Cell]:
    """Over `noise`, for noisy sequences of a random data set: how often the empirical-Bayes denoiser has the right one
    as its `best`, and the mean posterior `weight` of it."""
    rate, length, repeat = rate_length_and_repeat
    settings = ws.preset.theory
    K, n, noise = settings.letters, settings.noisy, list(settings.noise)
    P = sequences(rate, length)

    def make() -> xr.Dataset:
        import torch

        from uddm import EmpiricalBayes, UniformProcess

        seeds = "theory", "code", P, length, repeat
        rng, process = np.random.default_rng(ws.keyed_seed(*seeds)), UniformProcess(K, "linear")
        data, right = rng.integers(K, size=(P, length)), torch.as_tensor(rng.integers(P, size=(n, 1)))
        denoiser, found = EmpiricalBayes(data, process), []
        for t in noise:
            z = process.corrupt(denoiser.data[right[:, 0]], t, generator=ws.keyed_seed(*seeds, "noise", f"{t:g}"))
            weights = denoiser.weights(z, t)
            best = weights.argmax(1, keepdim=True)  # the first of equals, and which is right is independent of order
            found.append((float((best == right).double().mean()), float(weights.gather(1, right).mean())))
        best, weight = zip(*found)
        return xr.Dataset({"best": ("noise", list(best)), "weight": ("noise", list(weight))}, {"noise": noise})

    key = {"letters": K, "length": length, "patterns": P, "noisy": n, "noise": noise, "repeat": repeat}
    return [Cell(f"theory-code-{rate:g}-{length}-{repeat}", key, make)]


def exact(ws: Workspace, rate_and_length: tuple[float, int]) -> list[Cell]:
    """The same by theory, exactly, over `noise` and `line_noise`."""
    rate, length = rate_and_length
    settings, theory = ws.preset.theory, amtheory.theory.channel
    P, K, noise, points = sequences(rate, length), settings.letters, list(settings.noise), settings.points

    def make() -> xr.Dataset:
        line = np.linspace(0, 1, points)
        found = {}
        for name, of in (("best", theory.retrieval_probability), ("weight", theory.posterior_weight)):
            found[name] = "noise", of(P, length, K, 1 - np.array(noise))
            found[f"line_{name}"] = "line_noise", of(P, length, K, 1 - line)
        return xr.Dataset(found, {"noise": noise, "line_noise": line})

    key = {"exact": True, "letters": K, "length": length, "patterns": P, "noise": noise, "points": points}
    return [Cell(f"theory-exact-{rate:g}-{length}", key, make)]


def codes(ws: Workspace) -> xr.Dataset:
    """What `code` gives over (rate, length, repeat, noise)."""
    settings = ws.preset.theory
    axes = {"rate": settings.rates, "length": settings.lengths, "repeat": repeats(ws)}
    return stack(lambda rate, length, repeat: ws.get(*code(ws, (rate, length, repeat))), **axes)


def exact_codes(ws: Workspace) -> xr.Dataset:
    """What `exact` gives over (rate, length)."""
    settings = ws.preset.theory
    return stack(lambda rate, length: ws.get(*exact(ws, (rate, length))), rate=settings.rates, length=settings.lengths)
