"""Who takes part in the suites of this folder: all subclasses, functions and commands that there are.

A member joins by existing, in one of our packages or in a module that pytest is given by ``-p``; what tests define
themselves does not count. Where defaults do not build one, or not a small one, a row of the tables here says how, or
of a table of the same name in such a module.
"""

import inspect
import sys
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import Any
from unittest import mock

import tiny_transformers
import torch
from toy_noise import Mixed

from amtheory import Couplings, DenseMemory, DiffusionMemory, Hopfield, Memory, PerceptronMargin, PseudoLikelihood
from amtheory.patterns import random_patterns
from bridges import BinarySystem, DiffusionSystem, MaskedSystem, MemorySystem, SequentialSystem, as_system
from paper_figures.figure import Figure, known
from uddm import Denoiser, EmpiricalBayes, HierarchyBayes, HybridProcess, MaskedProcess, UniformProcess
from uddm.corpora import RandomHierarchy
from uddm.denoisers import DiffusionGemma, DiT, HalfPrecision, MaskedLanguageModel, Network
from uddm.process import Process

TESTS = Path(__file__).resolve().parents[1]
BASES = {"PairwiseMemory", "Network"}  # which Python does not know to be abstract

PATTERNS = random_patterns(3, 8, rng=3)
TOKENS = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3], [1, 1, 1, 1], [3, 2, 0, 0], [0, 2, 2, 3]])
GRAMMAR = RandomHierarchy(symbols=4, rules=2, branching=2, depth=2, seed=0)

# memories that are not made without arguments, and variants of those that are
MEMORIES: dict[str, Callable[[], Memory]] = {
    "Couplings": lambda: Couplings(Hopfield().fit(PATTERNS).couplings_),
    "DenseMemory-exp": partial(DenseMemory, "exp"),
    "DiffusionMemory": partial(DiffusionMemory, field="exact", tolerance=1e-3),  # by default it is for longer patterns
    "PerceptronMargin-symmetric": partial(PerceptronMargin, symmetric=True),
    "PseudoLikelihood-sphere": partial(PseudoLikelihood, beta_norm=1.0),
}
# the configuration of a small network, beside 5 tokens and length 6; one that is not here has none of its own
SHAPES: dict[str, dict[str, Any]] = {
    "DiT": {"hidden_dim": 16, "blocks": 1, "cond_dim": 8, "heads": 2},
    "Llama": {"hidden_dim": 16, "blocks": 2, "heads": 4, "kv_heads": 2, "qkv_bias": True, "qk_norm": True}
    | {"soft_cap": 30.0, "sink": "learned", "mlp_bias": True},
    "HollowMLP": {"hidden_dim": 16, "blocks": 1, "cond_dim": 8, "embed_dim": 4},
    "TreeUNet": {"hidden_dim": 8, "cond_dim": 8, "depth": 2, "length": 4},
}
# denoisers that are not networks, exact ones but for that in half precision
EXACT: dict[str, Callable[[], Denoiser]] = {
    "DiffusionGemma": lambda: DiffusionGemma(tiny_transformers.diffusion_gemma(6, vocab_size=5)),
    "EmpiricalBayes": lambda: EmpiricalBayes(TOKENS, UniformProcess(4)),
    "HalfPrecision": lambda: HalfPrecision(network(DiT)),
    "HierarchyBayes": lambda: HierarchyBayes(GRAMMAR, UniformProcess(4)),
    "MaskedLanguageModel": lambda: MaskedLanguageModel(tiny_transformers.bert(vocab_size=5), mask=4, length=6),
}
# processes that are not made by the number of tokens alone, and one of the tests that is many
PROCESSES: dict[str, Callable[[], Process]] = {
    "HybridProcess, xdlm": partial(HybridProcess, 4, law="xdlm", p_unif=0.3),
    "HybridProcess, hdlm": partial(HybridProcess, 4, law="hdlm", p_unif=0.01),
    "HybridProcess, mask among the ids": partial(HybridProcess, 5, "cosine", p_unif=0.2, mask=1),
    "MaskedProcess, log-linear": partial(MaskedProcess, 4, "log-linear"),
    "MaskedProcess, mask among the ids": partial(MaskedProcess, 5, mask=0),
    "absorbing": partial(Mixed, 4, share=0.0),
    "mixed": partial(Mixed, 4, share=0.3),
    "ever more masks": partial(Mixed, 4, share=lambda t: 1 - 0.8 * t),
    "mask among the ids": partial(Mixed, 5, share=0.6, mask=1),
}
# measured systems besides those that `as_system` makes, without options, of memories and denoisers
SYSTEMS: dict[str, Callable[[], MemorySystem]] = {
    "EmpiricalBayes-posterior": lambda: as_system(EXACT["EmpiricalBayes"](), conditional="posterior", batch_size=5),
    "Hopfield-sequential": lambda: as_system(fitted(Hopfield), beta=1.5, update="sequential"),
    "MaskedSystem": lambda: as_system(EmpiricalBayes(TOKENS, MaskedProcess(4))),
    "MaskedSystem-passes": lambda: MaskedSystem(EmpiricalBayes(TOKENS, MaskedProcess(4)), passes=2, batch_size=100),
    "SequentialSystem": lambda: SequentialSystem(EmpiricalBayes(TOKENS, MaskedProcess(4))),
    "SequentialSystem-uniform": lambda: SequentialSystem(EXACT["EmpiricalBayes"](), order="fixed", schedule="linear"),
}
# what a measurement may ask for beside a system and sequences
ARGUMENTS: dict[str, Any] = {"noise": 0.5}

TABLES = {
    "MEMORIES": MEMORIES,
    "SHAPES": SHAPES,
    "EXACT": EXACT,
    "PROCESSES": PROCESSES,
    "SYSTEMS": SYSTEMS,
    "ARGUMENTS": ARGUMENTS,
}


def take_rows(module: Any) -> None:
    """Those of a module's tables that are called like ours."""
    for name, table in TABLES.items():
        table.update(getattr(module, name, {}))


def import_all(package: str) -> None:
    """Import every module of a package, so that what they define is known; commands alone are left out."""
    path = import_module(package).__path__
    for module in walk_packages(path, f"{package}."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


def defined_by_tests(thing: Any) -> bool:
    file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return file is not None and TESTS in Path(file).resolve().parents


def subclasses(base: type) -> dict[str, type]:
    """The concrete public subclasses of `base`, by name: of its folder, and whatever has been imported."""
    import_all(base.__module__.rpartition(".")[0])
    found, open_ = {}, [base]
    while open_:
        cls = open_.pop()
        open_ += cls.__subclasses__()
        private = cls.__name__.startswith("_") or cls.__name__ in BASES or defined_by_tests(cls)
        if not (private or inspect.isabstract(cls)):
            found[cls.__name__] = cls
    return dict(sorted(found.items()))


def built(table: str, name: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        error.add_note(
            f"A {name} is not built by default: add it to {table} in tests/common/members.py, or its module."
        )
        raise


@cache
def memories() -> dict[str, Callable[[], Memory]]:
    """Makers of memories, to be fitted."""
    makers = dict(subclasses(Memory)) | MEMORIES
    return {name: partial(built, "MEMORIES", name, make) for name, make in makers.items()}


@cache
def learners() -> dict[str, Callable[[], Any]]:
    """Makers of the memories that are fitted, not given."""
    return {name: make for name, make in memories().items() if hasattr(make(), "fit")}


def fitted(make: Callable[[], Any], patterns: Any = PATTERNS) -> Any:
    """A memory of `patterns`; one without a `fit`, which is given its couplings, as it is."""
    memory = make()
    return memory.fit(patterns) if hasattr(memory, "fit") else memory


def networks() -> dict[str, type[Network]]:
    return subclasses(Network)


def network(cls: type[Network], seed: int = 0, **changes: Any) -> Network:
    """A small one, with random weights everywhere, also where training starts from zero; in evaluation mode."""
    shape = {"vocab_size": 5, "length": 6} | SHAPES.get(cls.__name__, {}) | changes
    torch.manual_seed(seed)
    model = built("SHAPES", cls.__name__, lambda: cls(cls.Config(**shape)))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(1 if "norm" in name else 0, 0.2)
    return model.eval()


@cache
def denoisers() -> dict[str, Callable[[], Denoiser]]:
    """Makers of denoisers, networks among them."""
    makers = {name: partial(network, cls) for name, cls in networks().items()}
    return makers | {
        name: partial(built, "EXACT", name, EXACT.get(name, cls))
        for name, cls in subclasses(Denoiser).items()
        if name not in makers
    }


@cache
def processes() -> dict[str, Process]:
    """A process of each kind, over 4 tokens."""
    makers = {name: partial(cls, 4) for name, cls in subclasses(Process).items()} | PROCESSES
    return {name: built("PROCESSES", name, make) for name, make in makers.items()}


@cache
def systems() -> dict[str, Callable[[], MemorySystem]]:
    """Makers of measured systems: what `as_system` makes of every memory and denoiser, and any others."""

    def of_memory(make: Callable[[], Any]) -> MemorySystem:
        memory = fitted(make)
        return as_system(memory, beta=getattr(memory, "beta", 0.7))

    made = {name: partial(of_memory, make) for name, make in memories().items()}
    made |= {name: partial(lambda make: as_system(make()), make) for name, make in denoisers().items()}
    others = {name: cls for name, cls in subclasses(MemorySystem).items() if cls not in (BinarySystem, DiffusionSystem)}
    return made | {name: partial(built, "SYSTEMS", name, make) for name, make in (others | SYSTEMS).items()}


def measurements(extra: tuple[ModuleType, ...] = ()) -> dict[str, Callable[..., Any]]:
    """Public functions of `bridges`, and of `extra` modules, whose first argument is a `MemorySystem`, and the second
    its sequences, not how many of them to generate, and that give a Dataset."""
    import_all("bridges")
    modules = [module for name, module in sys.modules.items() if name.startswith("bridges.")]
    return {
        name: function
        for module in (*modules, *extra)
        for name, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == module.__name__ and measures(function)
    }


def measures(function: Callable[..., Any]) -> bool:
    signature = inspect.signature(function)
    annotations = [*(p.annotation for p in signature.parameters.values()), signature.return_annotation]
    names = [str(getattr(annotation, "__name__", annotation)).rpartition(".")[2] for annotation in annotations]
    of_sequences = names[0] == "MemorySystem" and names[1] != "int" and names[-1] == "Dataset"
    return not function.__name__.startswith("_") and of_sequences


def figures(extra: tuple[ModuleType, ...] = ()) -> dict[str, Any]:
    """The modules that are figures, those of `extra` among them."""
    own = {module.__name__: module for module in extra if isinstance(module, Figure)}
    return {**known(), **own}


def programs() -> list[str]:
    return [name for name in ("amtheory", "uddm", "bridges", "paper_figures") if find_spec(f"{name}.__main__")]


def commands() -> dict[str, tuple[ModuleType, str, Callable[..., Any]]]:
    """The module of a program, the name of a subcommand and its function, by what one types after ``python -m``."""
    found = {}
    for program in programs():
        module = import_module(f"{program}.__main__")
        with mock.patch.object(module, "run_commands") as run:
            module.main()
        for name, function in run.call_args.args[0].items():
            found[f"{program} {name}"] = (module, name, function)
    return found
