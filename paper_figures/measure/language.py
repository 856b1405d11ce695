"""Diffusion language models at each training-set size, from several seeds, and their measurements, beside the exact
memorization limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

import bridges
import uddm
from amtheory.intervals import Estimate, bootstrap_mean, student
from paper_figures.cells import Cell, joined, stack
from paper_figures.measure import (
    CLEAN,
    FOLLOWED,
    FOLLOWED_STATES,
    as_system,
    classified,
    nearest,
    retrieved,
    scored,
    three,
    traced,
)
from paper_figures.measure.networks import (
    Checkpoint,
    Training,
    as_measured,
    forward_flop,
    is_row,
    protocol_key,
    training_flop,
)
from paper_figures.presets import OURS, Language, Published, Recipe
from paper_figures.task import Task
from paper_figures.workspace import Workspace

if TYPE_CHECKING:
    from bridges import DiffusionSystem

LIMIT = "memorization limit"
"""The system that stands for the empirical-Bayes denoiser of the training set."""
SPLITS = ("train", "test")
SEQUENCES = (*SPLITS, "generated")
FIXED = (*SPLITS, "random")
TOLD = ("told t = 1", "told the noise")
"""What deterministic dynamics are told."""
TIMES = (CLEAN, 1e-3, 1e-2)
"""Told when entropies are measured: the published time, the first that training meets, and a later one."""
EXAMPLES, EXAMPLE_NOISE = 4, 0.5
"""Sequences whose text is shown, and the noise they are recovered from (Figs. 10 and 11)."""
BOUND_TIMES = 16
"""Diffusion times drawn for the evidence bound of each sequence."""
SCORED = 1000
"""Training and unseen sequences whose membership is scored, at most: as many of the latter as a true-positive rate at
1 % of false positives asks for."""


class Case(NamedTuple):
    """A system, the number of training sequences, and the seed of which ones, of the first weights and of the
    batches."""

    system: str
    size: int
    seed: int


def recipes(ws: Workspace) -> dict[str, Recipe | Published]:
    """Of all trained networks, the main one first."""
    return ws.preset.language.recipes | ws.preset.language.widths | ws.preset.language.variants


def systems(ws: Workspace) -> list[str]:
    """The networks that are drawn in all figures, the main one first, and the exact limit."""
    return [*ws.preset.language.recipes, LIMIT]


def main(ws: Workspace) -> str:
    return systems(ws)[0]


def widths(ws: Workspace) -> dict[int, str]:
    """The main network and the others of its kind, by width, ascending."""
    named = {name: recipes(ws)[name].width for name in (main(ws), *ws.preset.language.widths)}
    return {width: name for name, width in sorted(named.items(), key=lambda item: item[1])}


def cases(ws: Workspace, system: str) -> list[Case]:
    """A system at its training-set sizes; the limit at those of the main network, of its first seed, as far as the
    preset asks for it."""
    recipe = recipes(ws)[main(ws) if system == LIMIT else system]
    if system == LIMIT:
        return [Case(system, size, 0) for size in recipe.sizes if size <= ws.preset.language.limit]
    return [Case(system, size, seed) for size in recipe.sizes for seed in range(recipe.seeds)]


def sizes(ws: Workspace) -> list[int]:
    """Training-set sizes of the main network; no other has more."""
    return list(recipes(ws)[main(ws)].sizes)


def three_sizes(ws: Workspace) -> list[int]:
    """The smallest, a middle and the largest size."""
    return three(sizes(ws))


def followed(ws: Workspace) -> list[Case]:
    """Of what trajectories are drawn: the main network of the first seed at three sizes."""
    return [Case(main(ws), size, 0) for size in three_sizes(ws)]


def tasks(ws: Workspace, names: Sequence[str] | None = None) -> list[Task]:
    """Of the named systems; by default those that are drawn in all figures."""
    return [Task(cells, case, _cost(ws, case)) for system in names or systems(ws) for case in cases(ws, system)]


def _cost(ws: Workspace, case: Case) -> float:
    """In training steps of the main network, each worth three forward passes of 64 sequences."""
    if case.system == LIMIT:
        return 20 + case.size / 200
    recipe, widest = recipes(ws)[case.system], recipes(ws)[main(ws)].width
    return (_passes(ws, case.system) / 192 + recipe.sizes[case.size]) * (recipe.width / widest) ** 0.5


def _passes(ws: Workspace, system: str) -> int:
    """Of single sequences through the network in its reverse processes."""
    language = ws.preset.language
    recovered = sum(_steps(language, language.steps, noise) for noise in _noises(ws, system)) * 2 * language.sequences
    return recovered + language.generated * language.generation_steps


def flop(ws: Workspace, case: Case) -> float | None:
    """Floating-point operations of the training and of the reverse processes; None of the limit."""
    network = Measured(ws, case).network
    if network is None:
        return None
    training = training_flop(network) if isinstance(network, Training) else 0.0
    return training + _passes(ws, case.system) * forward_flop(network.model)


def main_tasks(ws: Workspace) -> list[Task]:
    """Those of the main network alone."""
    return tasks(ws, [main(ws)])


def followed_tasks(ws: Workspace) -> list[Task]:
    return [Task(cells, case, _cost(ws, case)) for case in followed(ws)]


def width_tasks(ws: Workspace) -> list[Task]:
    """Those of the main network and the others of its kind."""
    return tasks(ws, list(widths(ws).values()))


def variants(ws: Workspace) -> list[str]:
    """The main network under other protocols than ours."""
    return [name for name, recipe in recipes(ws).items() if recipe.protocol != OURS]


def variant_tasks(ws: Workspace) -> list[Task]:
    """Those of the main network under all protocols."""
    return tasks(ws, [main(ws), *variants(ws)])


def cells(ws: Workspace, case: Case) -> list[Cell]:
    """Every measurement on one system; of the main network those of single figures too, and of the first seed of each
    width those of single tokens."""
    measured, language = Measured(ws, case), ws.preset.language
    found = [measured.recovery(split, noise) for split in SPLITS for noise in _noises(ws, case.system)]
    found += [measured.entropy(sequences) for sequences in SEQUENCES]
    if case.system in (main(ws), *language.widths, *variants(ws)) and measured.protocol.precision == "float32":
        found += [measured.bound(split) for split in SPLITS]  # in half precision it can be infinite
    first = case.system in (main(ws), *language.widths) and case.seed == 0
    if first:
        found += [measured.examples(split) for split in SPLITS]
    if first or case.system == main(ws):
        found += [measured.classes(split) for split in SPLITS]
    if case.system == main(ws):
        for noise in language.greedy_noise:
            found += [measured.greedy(split, noise, told) for split in SPLITS for told in TOLD]
            found += [measured.fixed(sequences, noise) for sequences in FIXED]
        found += [measured.scores()]
        found += [measured.entropy(sequences, t) for sequences in SEQUENCES for t in TIMES[1:]]
    if case in followed(ws):
        found += [measured.trajectory()]
    return found


def _noises(ws: Workspace, system: str) -> Sequence[float]:
    """At which a system's recovery is measured: one, of networks of other widths and under other protocols."""
    language = ws.preset.language
    return language.noise if system in systems(ws) else [nearest(language.noise)]


def _steps(language: Language, steps: int, noise: float) -> int:
    """Of the reverse process that begins at a time."""
    return max(round(steps * noise), 1) if language.entered else steps


class Measured:
    """One system of one training set, and the cells of what is measured on it; of the recipe that has the system's
    name, or of another one."""

    def __init__(self, ws: Workspace, case: Case, recipe: Recipe | None = None):
        self.ws, self.case, self.language = ws, case, ws.preset.language
        self.network = None if case.system == LIMIT else self._network(recipe or recipes(ws)[case.system])
        self.name, self.protocol = (self.network.name, self.network.protocol) if self.network else ("limit", OURS)
        determined = self.network.key if self.network else {"system": LIMIT}
        self.origin: dict[str, Any] = {
            "blocks": ws.blocks.sha256,
            "size": case.size,
            "subset": case.seed,
            **determined,
        }
        self.seed = ws.keyed_seed("measurements", case.seed)

    def _network(self, recipe: Recipe | Published) -> Training | Checkpoint:
        ws, (_, size, seed) = self.ws, self.case
        if isinstance(recipe, Published):
            return Checkpoint(recipe, size)
        return Training(
            recipe,
            vocab_size=ws.blocks.vocab_size,
            length=self.language.length,
            steps=recipe.sizes[size],
            seed=ws.keyed_seed("batches", seed),
        )

    @cached_property
    def data(self) -> np.ndarray:
        """The training sequences: nested subsets for each seed; of published networks, the first blocks."""
        blocks = self.ws.blocks
        if isinstance(recipes(self.ws)[main(self.ws)], Published):
            return blocks.train(self.case.size, copy=False)
        rng = np.random.default_rng(self.ws.keyed_seed("subset", self.case.seed))
        return blocks.train(copy=False)[rng.permutation(blocks.train_size)[: self.case.size]].astype(np.int64)

    @cached_property
    def system(self) -> DiffusionSystem:
        """The network, imported, read, resumed or trained; or the limit."""
        if self.network is None:
            process = uddm.UniformProcess(self.ws.blocks.vocab_size)
            return bridges.DiffusionSystem(uddm.EmpiricalBayes(self.data.astype(np.int64), process))
        if isinstance(self.network, Checkpoint):
            found = self.network.read(self.ws.device)
        else:
            weights, name = self.ws.keyed_seed("weights", self.case.seed), f"train-{self._label}"
            found = self.network.run(self.ws, name, self.origin, self.data, weights, tokenizer=self.ws.tokenizer)
        return as_system(as_measured(found, self.protocol))

    def greedy(self, split: str, noise: float, told: str = TOLD[0]) -> Cell:
        """Experiment 1: deterministic dynamics, told t = 1 whatever the corruption, or its time."""
        start = 1.0 if told == TOLD[0] else noise
        steps = _steps(self.language, self.language.greedy_steps, start)
        number = min(self.language.greedy_sequences, self._number(split))
        how = {"start": start, "mode": "posterior_mode", "last": "ancestral"}
        return self._recovery("greedy", split, noise, number, steps=steps, **how)

    def fixed(self, sequences: str, start: float) -> Cell:
        """The same dynamics from training, test and random sequences as they stand, told a time."""
        number, steps = self.language.greedy_sequences, _steps(self.language, self.language.greedy_steps, start)

        def make() -> xr.Dataset:
            if sequences == "random":
                x = self.system.prior(number, np.random.default_rng(self.seed))
            else:
                x = self._sequences(sequences)[:number]
            found = bridges.fixed_points(self.system, x, start=start, steps=steps, rng=self.seed)
            return found.drop_vars(["original", "final"])

        key = {"split": sequences, "sequences": number, "start": start, "steps": steps}
        return self._cell(f"fixed-{sequences}-{start:g}", key, make)

    def recovery(self, split: str, noise: float) -> Cell:
        """Experiment 2: the stochastic reverse process from the time of the corruption."""
        return self._recovery("recovery", split, noise, self._number(split), steps=self._reverse_steps(noise))

    def examples(self, split: str) -> Cell:
        """Experiment 2 on few sequences whose text is shown."""
        noise = nearest(self.language.noise, EXAMPLE_NOISE)
        number = min(EXAMPLES, self._number(split))
        return self._recovery("examples", split, noise, number, steps=self._reverse_steps(noise))

    def _reverse_steps(self, noise: float) -> int | None:
        """None, exact joint samples, of the limit."""
        return _steps(self.language, self.language.steps, noise) if self.network else None

    def _recovery(self, what: str, split: str, noise: float, number: int, **arguments: Any) -> Cell:
        def make() -> xr.Dataset:
            x = self._sequences(split)[:number]
            return bridges.token_recovery(self.system, x, noise=noise, rng=self.seed, **arguments)

        key = {**arguments, "noise": noise, "split": split, "sequences": number}
        return self._cell(f"{what}-{split}-{noise:g}", key, make)

    def entropy(self, sequences: str, t: float = TIMES[0]) -> Cell:
        """Experiment 3: conditional entropy of training, test or generated sequences, the network told t; with the
        published time, the sequences themselves too (`tokens`), and whether each is a training sequence (`copied`)."""
        n, key = self._number(sequences), {"split": sequences, "sequences": self._number(sequences)}
        steps = self.language.generation_steps if self.network else None
        if sequences == "generated":
            key |= {"steps": steps} | ({} if self.protocol.last == "ancestral" else {"last": self.protocol.last})

        def generate() -> np.ndarray:
            return self.system.generate(n, np.random.default_rng(self.seed), steps=steps, last=self.protocol.last)

        def make() -> xr.Dataset:
            x = generate() if sequences == "generated" else self._sequences(sequences)
            dataset = bridges.conditional_entropy(self.system, x, rng=self.seed)
            return dataset.assign(tokens=(("sample", "position"), x), copied=(("sample",), is_row(x, self.data)))

        def again() -> xr.Dataset:
            x = self.ws.get(self.entropy(sequences)).tokens.values
            return bridges.conditional_entropy(self.system, x, t=t, rng=self.seed)[["mean_entropy"]]

        if t == TIMES[0]:
            return self._cell(f"entropy-{sequences}", key, make)
        return self._cell(f"entropy-{sequences}-{t:g}", {**key, "t": t}, again)

    def bound(self, split: str) -> Cell:
        """The evidence bound of each sequence, nats per token: `bound`, and `published`, its diffusion term alone."""
        n = self._number(split)

        def make() -> xr.Dataset:
            x = self.system.tokens(self._sequences(split))
            found = uddm.evidence_bound(
                self.system.process, self.system.denoiser, x, times=BOUND_TIMES, generator=self.seed
            )
            terms = {"bound": found.total, "published": found.published}
            return xr.Dataset({name: ("sample", term.cpu().numpy() / x.shape[1]) for name, term in terms.items()})

        return self._cell(f"bound-{split}", {"split": split, "sequences": n, "bound": BOUND_TIMES}, make)

    def classes(self, split: str) -> Cell:
        """What Experiment 2 ended in, token by token: `classified`."""
        recovery = self.recovery(split, nearest(self.language.noise))

        def make() -> xr.Dataset:
            return classified(self.system, self.ws.get(recovery))

        return self._cell(f"classes-{split}", {"of": recovery.key, "t": CLEAN}, make)

    def scores(self) -> Cell:
        """Training and test sequences `scored`, over (split, sample)."""
        numbers = {split: min(SCORED, self._available(split)) for split in SPLITS}

        def scores(split: str) -> xr.Dataset:
            train = self.data if self.case.size <= self.language.limit else None
            return scored(self.system, self._sequences(split, numbers[split]), train, self.seed)

        return self._cell("scores", {"sequences": numbers}, lambda: stack(scores, split=SPLITS))

    def retrieval(self) -> Cell:
        """Training and test sequences `retrieved`."""
        noise, n = self.ws.preset.noises.noise, self.ws.preset.noises.sequences
        numbers = {split: min(n, self._available(split)) for split in SPLITS}

        def make() -> xr.Dataset:
            sequences = {split: self._sequences(split, number) for split, number in numbers.items()}
            return retrieved(self.system, sequences, noise, self.seed)

        return self._cell(f"retrieval-{noise:g}", {"noise": noise, "retrieved": numbers}, make)

    def trajectory(self) -> Cell:
        """The generation of sequences, `traced`."""
        n, steps = min(FOLLOWED, self.language.generated), self.language.generation_steps

        def make() -> xr.Dataset:
            return traced(self.system, n, self.seed, steps=steps, record=FOLLOWED_STATES)

        return self._cell("trajectory", {"sequences": n, "steps": steps, "states": FOLLOWED_STATES}, make)

    @property
    def _label(self) -> str:
        return f"{self.name}-{self.case.size}-{self.case.seed}"

    def _cell(self, what: str, key: dict[str, Any], make: Callable[[], xr.Dataset]) -> Cell:
        return Cell(f"{self._label}-{what}", {**self.origin, **protocol_key(self.protocol), **key}, make)

    def _number(self, sequences: str) -> int:
        """How many sequences of a kind are measured."""
        if sequences == "generated":
            return self.language.generated
        return min(self.language.sequences, self._available(sequences))

    def _available(self, split: str) -> int:
        return self.case.size if split == "train" else self.ws.blocks.test_size

    def _sequences(self, split: str, number: int | None = None) -> np.ndarray:
        n = number or self._number(split)
        return self.data[:n].astype(np.int64) if split == "train" else self.ws.blocks.test(n)


def rates(measured: Measured, split: str, noises: Sequence[float] | None = None) -> xr.Dataset:
    """Experiment 2 without its tokens, over `noise`."""
    language = measured.ws.preset.language
    runs = [measured.ws.get(measured.recovery(split, noise)) for noise in noises or language.noise]
    return joined(runs, "noise").drop_vars(["original", "corrupted", "final"])


def recovery(measured: Measured, split: str) -> xr.Dataset:
    """`recovery` of Experiment 2 at the noise at which systems are compared."""
    noise = nearest(measured.ws.preset.language.noise)
    return rates(measured, split, [noise])[["recovery"]].squeeze("noise", drop=True)


def greedy(measured: Measured, split: str, told: str = TOLD[0]) -> xr.Dataset:
    """Experiment 1, over `noise`."""
    noises = measured.ws.preset.language.greedy_noise
    return joined([measured.ws.get(measured.greedy(split, noise, told)) for noise in noises], "noise")


def fixed(measured: Measured, sequences: str) -> xr.Dataset:
    """What stays of sequences as they stand, over `start`."""
    starts = measured.ws.preset.language.greedy_noise
    return joined([measured.ws.get(measured.fixed(sequences, start)) for start in starts], "start")


def entropy(measured: Measured, sequences: str) -> xr.Dataset:
    """Experiment 3."""
    return measured.ws.get(measured.entropy(sequences))


def mean_entropy(measured: Measured, sequences: str) -> xr.Dataset:
    """`mean_entropy` of Experiment 3."""
    return entropy(measured, sequences)[["mean_entropy"]]


def bound(measured: Measured, split: str) -> xr.Dataset:
    """`bound`, nats per token, with its interval over sequences."""
    values = measured.ws.get(measured.bound(split)).bound.values
    mean = bootstrap_mean(values, np.random.default_rng(measured.seed))
    return xr.Dataset({"bound": ("estimate", np.array(mean))}, {"estimate": list(Estimate._fields)})


def sequence_entropy(measured: Measured, sequences: str) -> xr.Dataset:
    """`sequence_entropy` and `copied` of Experiment 3; the samples are numbered, so that fewer than elsewhere are
    filled with NaN."""
    found = entropy(measured, sequences)[["sequence_entropy", "copied"]]
    return found.astype(float).assign_coords(sample=range(found.sizes["sample"]))


def by_seed(ws: Workspace, system: str, make: Callable[..., xr.Dataset], **axes: Any) -> xr.Dataset:
    """`make(measured, ...)` of a system over (dataset_size, repeat, ...), a repeat for each seed."""
    measured = {(case.size, case.seed): Measured(ws, case) for case in cases(ws, system)}
    own_sizes, seeds = (sorted({key[place] for key in measured}) for place in (0, 1))

    def one(dataset_size: int, repeat: int, **rest: Any) -> xr.Dataset:
        return make(measured[dataset_size, repeat], **rest)

    return stack(one, dataset_size=own_sizes, repeat=seeds, **axes)


def over_seeds(values: xr.Dataset) -> xr.Dataset:
    """Means with Student's intervals over `repeat`; of one seed, the intervals over sequences that it has."""
    if values.sizes["repeat"] == 1:
        return values.squeeze("repeat", drop=True)
    mean = values.map(lambda each: student(each.sel(estimate="value", drop=True), "repeat"))
    return mean.transpose(..., "estimate")


def over_systems(ws: Workspace, names: Sequence[str], make: Callable[..., xr.Dataset], **axes: Any) -> xr.Dataset:
    """`over_seeds` of systems over (system, dataset_size, ...); NaN where a system lacks a size."""
    return stack(lambda system: over_seeds(by_seed(ws, system, make, **axes)), system=names)


def chance(ws: Workspace) -> xr.DataArray:
    """`bridges.frequency_chance` of the training sequences, over `noise`."""
    return bridges.frequency_chance(frequent(ws), ws.preset.language.noise, vocab_size=ws.blocks.vocab_size)


def frequent(ws: Workspace) -> np.ndarray:
    """The sequences from which the frequencies of tokens are taken."""
    return ws.blocks.train(min(ws.blocks.train_size, ws.preset.language.limit))
