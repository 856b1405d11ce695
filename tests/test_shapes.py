"""Shapes in annotations: every public function says them, and what it says is true; the examples of the packages run.

This file run by itself, not by pytest, checks them: it lets jaxtyping and beartype stand before every public function,
runs the examples of the documentation, and what no example reaches.
"""

import ast
import doctest
import functools
import inspect
import subprocess
import sys
import tempfile
import warnings
from importlib import import_module
from typing import TypeVar, get_args, get_origin

import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import AbstractArray, Float64, Int8, Integer, TypeCheckError, jaxtyped
from numpy.typing import ArrayLike, NDArray
from test_docstrings import PACKAGES, callables, modules_with_examples
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)
OWN = ("__init__", "__new__", "__call__")  # of a class, beside its public methods


@functools.cache
def names_in(module: str) -> dict:
    """What the annotations of a module may name: also what it imports for type checkers alone."""
    found = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), module, "exec"), found)
    return found | vars(sys.modules[module])


def annotations(thing, module: str) -> dict:
    """Those of a function, or the fields of a class, as objects."""
    given = {name: getattr(a, "__forward_arg__", a) for name, a in inspect.get_annotations(thing).items()}
    return {name: eval(a, names_in(module)) if isinstance(a, str) else a for name, a in given.items()}


def parts(hint):
    """A hint and everything that it is made of."""
    yield hint
    inside = hint if isinstance(hint, list | tuple) else (*get_args(hint), *getattr(hint, "__constraints__", ()))
    for part in inside:
        yield from parts(part)


def is_bare(hint) -> bool:
    return any(part is np.ndarray or part is Tensor or get_origin(part) is np.ndarray for part in parts(hint))


def has_shape(hint) -> bool:
    return any(isinstance(part, type) and issubclass(part, AbstractArray) for part in parts(hint))


def mapped(f, attribute):
    """What a class has under a name, with f(function) for each function of it."""
    if isinstance(attribute, property):
        return property(*(g and f(g) for g in (attribute.fget, attribute.fset, attribute.fdel)))
    if isinstance(attribute, functools.cached_property):
        return functools.cached_property(f(attribute.func))
    if isinstance(attribute, classmethod | staticmethod):
        return type(attribute)(f(attribute.__func__))
    return f(attribute) if inspect.isfunction(attribute) else attribute


def classes() -> list[type]:
    """The public ones, what they derive from and what derives from them, where it stands in these packages: not in an
    example, which is run under the name of its module."""
    open_ = [thing for package in PACKAGES for thing in callables(package).values() if inspect.isclass(thing)]
    found = {}
    while open_:
        cls = open_.pop()
        stands = vars(sys.modules[cls.__module__]).get(cls.__qualname__.partition(".")[0])
        if cls not in found and cls.__module__.split(".")[0] in PACKAGES and stands is not None:
            found[cls] = None
            open_ += [*cls.__bases__, *cls.__subclasses__()]
    return list(found)


def members(cls: type):
    for name, attribute in vars(cls).items():
        if name in OWN or not name.startswith("_"):
            yield name, attribute


def bare(thing, module: str, name: str) -> list[str]:
    """Arguments, results or fields that are not annotated, or as arrays without a shape."""
    said = annotations(thing, module)
    if inspect.isfunction(thing) and thing.__module__ != "typing":  # where the constructor of a Protocol is from
        must = [*inspect.signature(thing).parameters, *([] if name.endswith(OWN) else ["return"])]
        said = {argument: np.ndarray for argument in must if argument not in ("self", "cls", "_cls")} | said
    return [f"{name}: {argument}" for argument, hint in said.items() if is_bare(hint)]


def without_shape(package: str) -> list[str]:
    found = []
    for name, thing in callables(package).items():
        if inspect.isfunction(thing):
            found += bare(thing, thing.__module__, name)
    for cls in classes():
        if cls.__module__.split(".")[0] == package:
            found += bare(cls, cls.__module__, cls.__qualname__)
            for name, attribute in members(cls):
                mapped(lambda f: found.extend(bare(f, cls.__module__, f"{cls.__qualname__}.{name}")) or f, attribute)  # noqa: B023
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_array_has_a_shape(package):
    assert without_shape(package) == []


class Checks:
    """Puts checks of shapes before functions; `called` says by name which of them have been called since."""

    def __init__(self):
        self.called: dict[str, bool] = {}

    def of(self, function, module: str, name: str):
        """The function, which raises where an array is not as annotated. Other annotations are left out."""
        function.__annotations__ = {key: hint for key, hint in annotations(function, module).items() if has_shape(hint)}
        if not function.__annotations__ or getattr(function, "__isabstractmethod__", False):
            return function
        enforced, self.called[name] = jaxtyped(function, typechecker=beartype), False

        @functools.wraps(function)
        def call(*args, **kwargs):
            self.called[name] = True
            return enforced(*args, **kwargs)

        return call

    def of_all(self) -> None:
        """Of the packages, wherever these functions and classes are known."""
        public = {thing: name for package in PACKAGES for name, thing in callables(package).items()}
        checked = {f: self.of(f, f.__module__, name) for f, name in public.items() if inspect.isfunction(f)}
        for module in [module for name, module in sys.modules.items() if name.split(".")[0] in PACKAGES]:
            for key, value in list(vars(module).items()):
                if inspect.isfunction(value) and value in checked:
                    setattr(module, key, checked[value])
        for cls in classes():
            for key, attribute in list(members(cls)):
                if getattr(cls, "_is_protocol", False) or (key == "__init__" and hasattr(cls, "__post_init__")):
                    continue  # which has no calls of its own; which converts what it is given
                name = f"{cls.__module__}.{cls.__qualname__}.{key}"
                new = mapped(functools.partial(self.of, module=cls.__module__, name=name), attribute)
                if hasattr(new, "__set_name__"):
                    new.__set_name__(cls, key)
                setattr(cls, key, staticmethod(new) if key == "__new__" else new)


def calls_beside_the_examples() -> None:
    """Of all that has shapes and is in no example; the imports stand here, for what they import to be checked."""
    from amtheory import Hopfield, PseudoLikelihood
    from amtheory.patterns import random_patterns
    from bridges import (
        BinarySystem,
        Conditional,
        DiffusionSystem,
        MaskedSystem,
        MemorySystem,
        SequentialSystem,
        UTurn,
        to_tokens,
    )
    from uddm import Curriculum, DiT, DiTConfig, EmpiricalBayes, HierarchyBayes, corpora, duality
    from uddm.curriculum import relaxed_tokens
    from uddm.denoisers import Linear
    from uddm.hierarchy import belief
    from uddm.objective import expected_nelbo, jump_nelbo, nelbo, reconstruction
    from uddm.process import HybridProcess, MaskedProcess, UniformProcess

    rng, process = np.random.default_rng(0), UniformProcess(2)
    spins = random_patterns(3, 8, rng=0)
    hopfield, likelihood = Hopfield().fit(spins), PseudoLikelihood(ridge=1.0, symmetric=True).fit(spins)
    hopfield.energy(spins), likelihood.energy(spins), likelihood.conditional_field(spins)

    grammar = corpora.RandomHierarchy(symbols=2, rules=2, depth=3, seed=0)
    x = grammar.sample(3, rng=0)
    grammar.unique(2, rng=0), grammar.enumerate(), grammar.level_validity(x)
    belief.sample(grammar, np.ones((3, 8, 2)), rng.random((3, 1 + grammar.n_latents)))

    z, times = torch.tensor(x), torch.tensor([0.2, 0.5, 0.9])
    empirical, hierarchy = EmpiricalBayes(z, process), HierarchyBayes(grammar, process)
    empirical.data, empirical.log_prob(z, times), empirical.posterior(z, times)
    for t in (0.5, times, times[:, None].expand(3, 8)):
        hierarchy.cavity(z, t), hierarchy.posterior(z, t), hierarchy.likelihood(z, t), hierarchy.latents(z, t)
        hierarchy.log_prob(z, t), hierarchy.sample(z, t, generator=0)

    network = DiT(DiTConfig(2, length=8, hidden_dim=8, blocks=1, heads=2, cond_dim=4))
    linear = Linear.from_couplings(hopfield.couplings_)
    network(z, times), linear(z, times), linear.external_fields()

    curriculum = Curriculum(top_k=2)
    curriculum.corrupt(z, times, 0, 2), relaxed_tokens(z, 0.5, curriculum.schedule(2), 0.1)
    for a in (0.5, np.array([0.2, 0.5]), times):
        duality.uniform_alpha_derivative(a, 2)
    cavity = empirical.cavity(z, times)
    process.is_token(z), process.log_likelihoods(times), process.posterior(cavity, z, times, 0.1)
    jump_nelbo(process, cavity, z, z, times)
    for other in (MaskedProcess(2), HybridProcess(2)):
        noisy = other.corrupt(z, times)
        for loss in (nelbo, jump_nelbo, reconstruction):
            loss(other, cavity, z, noisy, times)
        expected_nelbo(other, cavity, z, times), other.own_logit(times)

    masked = MaskedSystem(EmpiricalBayes(z, MaskedProcess(2)))
    diffusion = DiffusionSystem(network), DiffusionSystem(hierarchy), masked
    one_by_one = SequentialSystem(network), SequentialSystem(masked)
    for system in (BinarySystem(hopfield, beta=1.0), *diffusion, *one_by_one):
        system.generate(2, rng, steps=2), system.prior(2, rng), system.path(x, steps=2, rng=rng)
        MemorySystem.path(system, x, steps=2, rng=rng)
        law, tokens = system.conditional(x, 0.5), to_tokens(spins)
        law.entropy(), law.mode(), law.log_prob(tokens), law.sample(rng), law.log_prob_variance(), law.surprise(tokens)
        law.certainty(), Conditional.certainty(law)
    UTurn(network, noise=0.5, steps=2).path_step(x, rng=0)

    corpora.fractions()
    alphabet, subwords = corpora.CharacterTokenizer(), corpora.train_bpe(["one two three"], 260)
    for tokenizer in (alphabet, corpora.ByteTokenizer(), subwords):
        list(tokenizer.encode_pieces("one two")), tokenizer.encode_batch(["one", "three"])
        corpora.Tokenizer.encode_pieces(tokenizer, "one two")
    with tempfile.TemporaryDirectory() as folder:
        training, test = corpora.Corpus("training", ["one two three"]), corpora.Corpus("test", ["nine"])
        corpora.prepare_blocks(training, alphabet, 3, test=test, cache_dir=folder).test()


def main() -> str | None:
    """What is wrong, if anything is."""
    modules = [import_module(name) for name in modules_with_examples() if name.split(".")[0] in PACKAGES]
    found = {module: [test for test in doctest.DocTestFinder().find(module) if test.examples] for module in modules}
    assert all(found.values()), [module.__name__ for module, tests in found.items() if not tests]
    tests = [test for tests in found.values() for test in tests]
    checks, runner = Checks(), doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    checks.of_all()
    warnings.simplefilter("error")
    for test in tests:
        test.globs.update(vars(sys.modules[test.globs["__name__"]]))
        runner.run(test)
    calls_beside_the_examples()
    never = [name for name, called in checks.called.items() if not called]
    if runner.failures or never:
        return f"{runner.failures} examples fail, above; no example and no call of: {', '.join(never) or 'none'}"


def test_examples_run_and_shapes_are_what_annotations_say(repository):
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False, cwd=repository)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_shape_is_noticed():
    """Negative control."""

    def transposed(P: int, L: int) -> Int8[np.ndarray, "{P} {L}"]:
        return np.zeros((L, P), np.int8)

    def of_two(x: Integer[Tensor, "B L"], t: "Float64[Tensor, ' B']") -> tuple[float, Float64[Tensor, "B L"]]:
        return 0.0, x.double() * t[:, None]

    checks = Checks()
    transposed, of_two = (checks.of(f, __name__, f.__name__) for f in (transposed, of_two))
    x, t = torch.zeros(3, 2, dtype=torch.long), torch.ones(3, dtype=torch.float64)
    assert transposed(2, 2).shape == of_two(x, t)[1].shape[1:] * 2
    for call in (
        lambda: transposed(2, 3),
        lambda: of_two(x, t[:2]),
        lambda: of_two(x.double(), t),
        lambda: of_two(x, t.float()),
    ):
        with pytest.raises(TypeCheckError):
            call()
    assert checks.called == {"transposed": True, "of_two": True}


def test_an_array_without_a_shape_is_noticed():
    """Negative control."""

    def f(a: np.ndarray, b: "list[Tensor]", c: NDArray[np.int8] | None, d: Int8[np.ndarray, " n"], e: ArrayLike, g): ...
    def h(a: Array) -> Array: ...

    assert bare(f, __name__, "f") == ["f: a", "f: b", "f: c", "f: g", "f: return"]
    assert bare(h, __name__, "h") == ["h: a", "h: return"]


if __name__ == "__main__":
    sys.exit(main())
