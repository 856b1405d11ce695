"""Networks trained on strings of the Random Hierarchy Model, beside the two exact limits they must lie between: Bayes
inference on their training set, and on the grammar itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

import bridges
import uddm
from amtheory.intervals import bootstrap_mean, wilson
from paper_figures.cells import Cell, stack
from paper_figures.measure import FOLLOWED, FOLLOWED_STATES, as_system, classified, retrieved, scored, three, traced
from paper_figures.measure.networks import Training, is_row, unigram_entropy
from paper_figures.task import Task
from paper_figures.workspace import Workspace

if TYPE_CHECKING:
    from bridges import DiffusionSystem
    from paper_figures.presets import Recipe
    from uddm.corpora import RandomHierarchy

MEMORIZATION, GENERALIZATION = "memorization limit", "generalization limit"
LIMITS = (MEMORIZATION, GENERALIZATION)
SPLITS = ("train", "test")
SEQUENCES = ("train", "test", "generated")
COMMON_LEVEL = 2
"""Of the substrings that are told apart by how common they are."""
COST = 0.6
"""Of a training step, where one of a language model is 1."""


def networks(ws: Workspace) -> list[str]:
    """The trained networks, the main one first."""
    return list(ws.preset.hierarchy.recipes)


class Case(NamedTuple):
    """A system, the name of the rule probabilities, the grammar's seed, the number of training strings, and that of
    training steps."""

    system: str
    rules: str
    grammar: int
    size: int
    steps: int = 0


def sweep(ws: Workspace, system: str) -> list[Case]:
    """A system at all its training-set sizes, with the first rule probabilities: the main network and the limits on all
    grammars, others on the first."""
    settings, main = ws.preset.hierarchy, networks(ws)[0]
    rules, grammars = next(iter(settings.rules)), settings.grammars if system in (*LIMITS, main) else 1
    if system in LIMITS:
        return [Case(system, rules, seed, size) for seed in range(grammars) for size in settings.recipes[main].sizes]
    sizes = settings.recipes[system].sizes
    return [Case(system, rules, seed, size, steps) for seed in range(grammars) for size, steps in sizes.items()]


def course(ws: Workspace, rules: str) -> list[Case]:
    """The main network after ever longer training on the same number of strings."""
    settings, main = ws.preset.hierarchy, networks(ws)[0]
    size, lengths = settings.course
    return [Case(main, rules, seed, size, steps) for seed in range(settings.grammars) for steps in lengths]


def followed(ws: Workspace) -> list[Case]:
    """Of what trajectories are drawn, on the first grammar: the main network at three sizes, and the grammar's limit,
    which does not depend on the size."""
    own = {case.size: case for case in sweep(ws, networks(ws)[0]) if case.grammar == 0}
    return [own[size] for size in three(list(own))] + sweep(ws, GENERALIZATION)[:1]


def main_tasks(ws: Workspace) -> list[Task]:
    """Those of the main network alone."""
    return [_task(case) for case in sweep(ws, networks(ws)[0])]


def sweep_tasks(ws: Workspace) -> list[Task]:
    return [_task(case) for system in (*networks(ws), *LIMITS) for case in sweep(ws, system)]


def followed_tasks(ws: Workspace) -> list[Task]:
    return [_task(case) for case in followed(ws)]


def course_tasks(ws: Workspace) -> list[Task]:
    """With the main network's part of the sweep."""
    return [
        *main_tasks(ws),
        *(_task(case) for rules in ws.preset.hierarchy.rules for case in course(ws, rules)),
    ]


def _task(case: Case) -> Task:
    return Task(cells, case, 100 + COST * case.steps)


def cells(ws: Workspace, case: Case) -> list[Cell]:
    """Everything measured on one system; of the main network's sweep also single tokens and strings."""
    measured = Measured(ws, case)
    found = [measured.recovery(), measured.generation()]
    if case in sweep(ws, networks(ws)[0]):
        found += [*(measured.classes(split) for split in SPLITS), measured.scores()]
    return found + [measured.trajectory()] * (case in followed(ws))


class Measured:
    """One system and its strings, and the cells of what is measured on it; of the recipe that has the system's name, or
    of another one."""

    def __init__(self, ws: Workspace, case: Case, recipe: Recipe | None = None):
        self.ws, self.case, self.settings = ws, case, ws.preset.hierarchy
        self.recipe = recipe or self.settings.recipes.get(case.system)
        arguments = {**self.settings.grammar, **self.settings.rules[case.rules], "seed": case.grammar}
        self.grammar: RandomHierarchy = uddm.corpora.RandomHierarchy(**arguments)
        self.network = self._network(self.recipe) if self.recipe else None
        self.name = self.network.name if self.network else case.system.split()[0]
        determined = self.network.key if self.network else {"system": case.system}
        self.origin: dict[str, Any] = {"grammar": self.grammar.to_dict(), "size": case.size, **determined}
        # None: joint samples, which differ by no more than noise here, and whose cost does not grow with the steps
        self.steps = None if case.system == MEMORIZATION else self.settings.steps
        self.largest = max(size for recipe in self.settings.recipes.values() for size in recipe.sizes)
        self.seed = ws.keyed_seed("measurements", case.grammar)

    def _network(self, recipe: Recipe) -> Training:
        grammar, steps = self.grammar, self.case.steps
        return Training(recipe, vocab_size=grammar.symbols, length=grammar.length, steps=steps, seed=self.ws.seed)

    @cached_property
    def strings(self) -> dict[str, np.ndarray]:
        """All distinct training strings ("all"; nested subsets), those that are measured ("train"), and test strings
        that no training set holds: with unequal rule probabilities these are rarer than the first, as all are drawn
        without repetition."""
        n, ws = self.settings.sequences, self.ws
        drawn = self.grammar.unique(self.largest + n, rng=ws.keyed_seed("strings", self.case.grammar))
        training = drawn[: self.case.size]
        return {"all": training, "train": training[:n], "test": drawn[self.largest :]}

    @cached_property
    def system(self) -> DiffusionSystem:
        """The network, read, resumed or trained; or a limit."""
        import torch

        training, process = self.strings["all"], uddm.UniformProcess(self.grammar.symbols)
        if self.case.system == MEMORIZATION:
            return as_system(uddm.EmpiricalBayes(torch.from_numpy(training), process))
        if self.network is None:
            return as_system(uddm.HierarchyBayes(self.grammar, process))
        weights = self.ws.keyed_seed("weights", self.case.grammar)
        return as_system(self.network.run(self.ws, f"train-{self._label}", self.origin, training, weights))

    @cached_property
    def recovered(self) -> dict[str, xr.Dataset]:
        """`bridges.token_recovery` by split, at the preset's noise."""
        how: Any = {"noise": self.settings.noise, "steps": self.steps, "rng": self.ws.seed}
        shape = self.strings["test"].shape  # few training strings are corrupted several times
        return {
            split: bridges.token_recovery(self.system, np.resize(self.strings[split], shape), **how) for split in SPLITS
        }

    def recovery(self) -> Cell:
        """`recovery` (split, estimate): tokens corrupted at the preset's noise that are restored."""
        noise = self.settings.noise

        def recovery(split: str) -> xr.Dataset:
            return self.recovered[split][["recovery"]].squeeze("noise", drop=True)

        return self._cell(f"recovery-{noise:g}", {"noise": noise}, lambda: stack(recovery, split=SPLITS))

    def classes(self, split: str) -> Cell:
        """What the same recovery ended in, token by token: `classified`."""

        def make() -> xr.Dataset:
            return classified(self.system, self.recovered[split])

        return self._cell(f"classes-{split}", {"noise": self.settings.noise}, make)

    def scores(self) -> Cell:
        """Training and test strings `scored`, over (split, sample)."""

        def scores(split: str) -> xr.Dataset:
            return scored(self.system, self.strings[split], self.strings["all"], self.seed)

        return self._cell("scores", {}, lambda: stack(scores, split=SPLITS))

    def generation(self) -> Cell:
        """Everything else:

        - `entropy` (sequences, estimate): conditional entropy at t = 1e-5 in nats per token, and `sequence_entropy`
          (sequences, sample) in nats;
        - `unigram`: entropy of the frequencies of single tokens in the training strings;
        - `valid` (level, estimate): tuples of generated strings that the grammar has, level 1 being that of the tokens;
        - `copies` (estimate): generated strings that are training strings, and `chance` of it for a sampler of the
          grammar;
        - `memorized`, `overproduced`, `probability` of `bridges.substring_memorization`.
        """
        ws, grammar = self.ws, self.grammar

        def make() -> xr.Dataset:
            training = self.strings["all"]
            rng = np.random.default_rng([ws.seed, self.case.grammar, self.case.size])
            generated = self.system.generate(self.settings.sequences, rng, steps=self.steps)
            samples = {**self.strings, "generated": generated}

            def entropy(sequences: str) -> xr.Dataset:
                found = bridges.conditional_entropy(self.system, samples[sequences], rng=ws.seed)
                found = found.rename(mean_entropy="entropy")[["entropy", "sequence_entropy"]]
                return found.assign_coords(sample=range(found.sizes["sample"]))

            valid = [bootstrap_mean(level, rng) for level in grammar.level_validity(generated).T]
            generation = {
                "valid": (("level", "estimate"), np.array(valid)),
                "copies": ("estimate", np.array(wilson(is_row(generated, training).sum(), len(generated)))),
                "chance": np.exp(grammar.log_prob(training)).sum(),
                "unigram": unigram_entropy(training, grammar.symbols),
            }
            parts = [
                stack(entropy, sequences=SEQUENCES),
                xr.Dataset(generation, {"level": range(1, grammar.depth + 1)}),
                bridges.substring_memorization(grammar, training, generated, rng=ws.seed),
            ]
            return xr.merge(parts, combine_attrs="drop")

        return self._cell("generation", {}, make)

    def retrieval(self) -> Cell:
        """Training and test strings `retrieved`."""
        noise, n = self.ws.preset.noises.noise, self.ws.preset.noises.sequences

        def make() -> xr.Dataset:
            strings = {split: self.strings[split][:n] for split in SPLITS}
            return retrieved(self.system, strings, noise, self.seed)

        return self._cell(f"retrieval-{noise:g}", {"noise": noise, "retrieved": n}, make)

    def trajectory(self) -> Cell:
        """The generation of strings, `traced`."""
        n = min(FOLLOWED, self.settings.sequences)

        def make() -> xr.Dataset:
            return traced(self.system, n, self.ws.seed, steps=self.steps, record=FOLLOWED_STATES)

        return self._cell("trajectory", {"followed": n, "states": FOLLOWED_STATES}, make)

    @property
    def _label(self) -> str:
        return "-".join([self.name, *map(str, self.case[2:])])

    def _cell(self, what: str, key: dict[str, Any], make: Callable[[], xr.Dataset]) -> Cell:
        measured = {"sequences": self.settings.sequences, "first_test": self.largest, "steps": self.steps}
        return Cell(f"{self._label}-{what}", {**self.origin, "measured": measured, **key}, make)


def by_grammar(ws: Workspace, make: Callable[[Measured], xr.Dataset]) -> xr.Dataset:
    """`make(measured)` of the main network over (grammar, size)."""
    measured = {(case.grammar, case.size): Measured(ws, case) for case in sweep(ws, networks(ws)[0])}
    grammars, sizes = (sorted({key[place] for key in measured}) for place in (0, 1))
    return stack(lambda grammar, size: make(measured[grammar, size]), grammar=grammars, size=sizes)


def measured(ws: Workspace, case: Case) -> xr.Dataset:
    """Recovery and generation of one system."""
    one = Measured(ws, case)
    return xr.merge([ws.get(cell) for cell in (one.recovery(), one.generation())], combine_attrs="drop")


def measurements(ws: Workspace, every: Sequence[Case], along: str) -> xr.Dataset:
    """The cells of the cases over (grammar, `along`, ...), a field of `Case`."""
    cases = {(case.grammar, getattr(case, along)): case for case in every}
    axes = {"grammar": sorted({g for g, _ in cases}), along: sorted({x for _, x in cases})}
    return stack(lambda **at: measured(ws, cases[at["grammar"], at[along]]), **axes)
