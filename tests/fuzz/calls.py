"""A valid call of everything public: of each function, and of each class and its methods.

Arguments come from the row of a function in `CALLS`, else by their names from `NAMED`, else from defaults; objects of
methods from `INSTANCES`, else from the row of their class. What has no valid call makes the test fail:
whoever adds a function adds a row, if the names of its arguments do not do.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

import amtheory
import bridges
import uddm
from amtheory.basins import basin_curve
from bridges import claims, identities
from tests import tiny_transformers
from tests.fuzz.files import (
    CORPUS,
    FOLDER,
    LETTERS,
    SMALL,
    SUBWORDS,
    blocks,
    folder,
    gpt2_files,
    network,
    pretrained,
    published,
    text_file,
    tokenizer_file,
)
from tests.test_docstrings import callables
from uddm import corpora
from uddm.config import TrainConfig
from uddm.denoisers import HollowMLP, HollowMLPConfig, Linear, LinearConfig, LlamaConfig, TreeUNetConfig
from uddm.evaluation import DocumentScore
from uddm.process import MaskedProcess, UniformProcess

PACKAGES = ("amtheory", "uddm", "bridges", "paper_figures")

SPINS = amtheory.patterns.random_patterns(3, 8, rng=2)
MEMORY = amtheory.Hopfield().fit(SPINS)
TOKENS = np.array([[0, 1, 2, 3], [3, 2, 0, 0], [1, 1, 2, 0]])
IDS = torch.as_tensor(TOKENS)
PROCESS = UniformProcess(4)
EXACT = uddm.EmpiricalBayes(TOKENS, PROCESS)
GRAMMAR = corpora.RandomHierarchy(symbols=4, rules=2, branching=2, depth=2, seed=0)
STRINGS = GRAMMAR.sample(3, rng=0)
SYSTEM = bridges.as_system(EXACT)
MASKED = uddm.EmpiricalBayes(TOKENS, MaskedProcess(4))
LITTLE = HollowMLP(HollowMLPConfig(4, length=4, hidden_dim=4, blocks=1))
BERT = tiny_transformers.saved(tiny_transformers.bert(), FOLDER / "bert", tokenizer=True)
LOG_PROBS = EXACT.cavity(IDS, 0.5)
UTURN = bridges.UTurn(EXACT, noise=0.5)
CURVES = [
    basin_curve(amtheory.PseudoInverse(), L // 4, L, [0.2, 0.4, 0.6], samples=4, patterns_per_sample=4, rng=0)
    for L in (16, 24)
]
CHAINS = bridges.chains(UTURN, TOKENS, 6, rng=0)
RADII = xr.Dataset(
    {"radius": (("load", "rule", "dynamics", "sample"), [[[[0.2, 0.21, 0.22]], [[0.3, 0.32, 0.34]]]])},
    {"rule": ["pseudo-likelihood", "nelbo"]},
)
COINS = xr.Dataset({"excess": ("repeat", [0.02, -0.01, 0.03, 0.0])})
FAIR = claims.Claim(
    "fair", "", "", "", {"excess": ("repeat",)}, lambda ds: [claims.Part("heads, within .2", ds["excess"], -0.2, 0.2)]
)
HALVES = torch.full((3,), 0.5, dtype=torch.float64)


@functools.cache
def gemma() -> torch.nn.Module:
    return tiny_transformers.diffusion_gemma(4)


@functools.cache
def scores() -> list[DocumentScore]:
    model = HollowMLP(HollowMLPConfig(27, length=4, embed_dim=4, **SMALL)).eval()
    return uddm.evaluation.score_documents(model, LETTERS, [("a", "any text")], times=2)


# arguments by name, valid together wherever they meet
NAMED: dict[str, Any] = {
    "rng": 0, "seed": 0, "generator": 0, "P": 3, "L": 8, "K": 4, "D": 4, "n": 2, "patterns": SPINS, "states": SPINS,
    "memory_or_couplings": MEMORY, "memory": MEMORY, "m0": [0.0, 0.5], "curves": CURVES[0], "confidence": 0.9,
    "successes": 3, "trials": 10, "count": 3, "quantile": 1.6, "bias": 0.2, "correlation": 0.5, "quality": 0.5,
    "load": 0.3, "alpha": 0.05, "alpha_D": 0.05, "temperature": 0.2, "order": 3, "beta_norm": 1.0, "ridge": 0.1,
    "margin": 0.5, "a": SPINS, "b": SPINS, "flips": 2, "error": 0.01, "corrupted": 0.2, "stabilities": [0.2, 0.5],
    "vocab_size": 4, "length": 4, "process": PROCESS, "denoiser": EXACT, "x": IDS, "z": IDS, "t": 0.5, "s": 0.2,
    "noise": 0.5, "step": 1, "cavity_log_probs": LOG_PROBS, "prediction": lambda: EXACT.predict(IDS, 0.5),
    "grammar": GRAMMAR, "likelihood": np.full((2, 4, 4), 0.5), "text": "one two", "texts": ["one two", "three"],
    "ids": [1, 2, 3], "corpus": CORPUS, "tokenizer": LETTERS, "sentence": "one two .", "system": SYSTEM,
    "members": [2.0, 3.0, 4.0, 5.0], "others": list(range(20)), "false_positive_rate": 0.5, "uturn": UTURN,
    "n_steps": 3, "p": [0.01, 0.5, 0.03], "sizes": [100, 200, 400], "shape": (2, 3), "state": "retrieval",
    "sigma": HALVES, "cavity_at_z": torch.full((3, 4), -1.0, dtype=torch.float64), "weight": LOG_PROBS.exp(),
    "draw": torch.full((3, 4), 0.3), "own": torch.zeros(3, 4, dtype=torch.float64), "values": LOG_PROBS,
    "clean": IDS, "noisy": IDS, "resamples": 20, "times": 2, "steps": 2, "draws": 4,
    "scores": lambda: scores(), "score": lambda: scores()[0], "words": ["a", "b", "c", "d"], "revision": None,
    "config": HollowMLPConfig(4, length=4, embed_dim=4, **SMALL), "W": MEMORY.couplings_, "tau": 0.1,
    "identity": "margin", "mode": "sample", "gaussian_alpha": 0.5,
}  # fmt: skip

# arguments of one function, beside those above: a dict, or what makes one afresh
CALLS: dict[str, Any] = {
    "amtheory.Couplings": {"couplings": MEMORY.couplings_},
    "amtheory.basins.basin_curve": {"rule": amtheory.Hopfield(), "samples": 2},
    "amtheory.basins.finite_size_scaling": {"curves": CURVES},
    "amtheory.intervals.bootstrap_mean": lambda: {"values": np.arange(5.0), "rng": np.random.default_rng(0)},
    "amtheory.intervals.bootstrap_ratio": lambda: {
        "numerator": np.arange(5.0),
        "denominator": np.arange(1.0, 6.0),
        "rng": np.random.default_rng(0),
    },
    "amtheory.intervals.expanded_percentiles": {"resampled": np.arange(20.0)},
    "amtheory.intervals.mean_and_error": {"values": np.arange(6.0).reshape(3, 2)},
    "amtheory.intervals.resampled_sums": lambda: {"values": np.arange(5.0), "rng": np.random.default_rng(0)},
    "amtheory.intervals.student": {"values": COINS["excess"], "dim": "repeat"},
    "amtheory.intervals.wilson_ends": {"p": [0.2, 0.5], "trials": [10, 20]},
    "amtheory.patterns.binarize": {"data": np.arange(6.0).reshape(3, 2)},
    "amtheory.patterns.random_features": {"active": 2},
    "amtheory.PerceptronMargin": {"margin": 0.01},
    "amtheory.theory.pseudolikelihood.max_likelihood_norm": {"load": 3.0},
    "amtheory.theory.random_features.generalization_load": {"n": 3},
    "amtheory.theory.random_features.generalization_overlap": {"n": 3},
    "amtheory.theory.channel.capacity": {"K": 2},
    "amtheory.theory.channel.critical_alpha": {"P": 8, "K": 2},
    "amtheory.theory.channel.posterior_weight": {"P": 8, "K": 2, "alpha": [0.2, 0.5]},
    "amtheory.theory.channel.retrieval_probability": {"P": 8, "K": 2, "alpha": [0.2, 0.5]},
    "amtheory.theory.dense.capacity": {"L": [20, 30]},
    "amtheory.theory.dense.one_step_error": {"L": [20, 30], "P": 40},
    "amtheory.theory.gardner.max_margin": {"load": [0.3, 1.0]},
    "amtheory.theory.hopfield.critical_load": {"temperature": [0.0, 0.2]},
    "amtheory.theory.hopfield.one_step_overlap": {"ties": "random"},
    "amtheory.theory.pseudolikelihood.best_beta": {"m0": 0.5},
    "bridges.Claim": {
        "name": "fair",
        "statement": "",
        "source": "",
        "statistic": "",
        "needs": {"excess": ("repeat",)},
        "parts": FAIR.parts,
    },
    "bridges.Claim.decide": {"dataset": COINS},
    "bridges.as_system": {"memory": EXACT, "options": {}},
    "bridges.attraction": {"n": 4},
    "bridges.MaskedSystem": {"denoiser": MASKED},
    "bridges.SequentialSystem": {"model": EXACT},
    "bridges.precision_audit": {"network": LITTLE, "x": TOKENS},
    "uddm.denoisers.DiffusionGemma": lambda: {
        "model": gemma(),
        "prompt": [1],
        "length": 4,
    },
    "uddm.denoisers.DiffusionGemma.predict": {"z": IDS},
    "uddm.denoisers.MaskedLanguageModel": lambda: {
        "model": tiny_transformers.bert(),
        "mask": 4,
        "before": [2],
        "after": [3],
        "length": 4,
    },
    "uddm.denoisers.MaskedLanguageModel.predict": {"z": IDS},
    "uddm.denoisers.Llama": {"config": LlamaConfig(4, length=4, hidden_dim=8, blocks=1, heads=2)},
    "uddm.denoisers.in_precision": {"network": LITTLE, "precision": "fp16"},
    "uddm.importers.import_transformers": {"source": BERT},
    "uddm.importers.inspect_transformers": {"source": BERT},
    "bridges.basin_verdict": {"curves": RADII},
    "bridges.compare_basins": {
        "length": 8,
        "loads": [0.25],
        "samples": 2,
        "norms": [1.0],
        "dynamics": ["parallel"],
        "field": "exact",
        "probes": 2,
        "m0": [0.0, 1.0],
    },
    "bridges.chains": {"x": TOKENS, "observable": lambda x: x.sum(-1)},
    "bridges.conformal_p_values": {"scores": [5.0, 2.0], "calibration": [0.0, 1.0, 2.0]},
    "bridges.embed": {"counts": np.array([[2.0, 1.0], [1.0, 2.0]]), "dimension": 1, "statistic": "ratio"},
    "bridges.embeddings.analogy_accuracy": {
        "embeddings": np.eye(4),
        "questions": {"all of them": [("a", "b", "c", "d")]},
    },
    "bridges.embeddings.AttributeLanguage": {"strengths": (0.2, 0.3)},
    "bridges.embeddings.AttributeLanguage.without_relation": {"r": 0},
    "bridges.embeddings.AttributeLanguage.sample": {"sentences": 3},
    "bridges.embeddings.CyclicLanguage": {"words": 6},
    "bridges.embeddings.CyclicLanguage.sample": {"sentences": 3},
    "bridges.embeddings.cooccurrence": {"sentences": [[0, 1, 2], [3, 1]], "window": 2},
    "bridges.embeddings.first_step": {"joint": np.full((2, 2), 0.25), "alpha": 0.5},
    "bridges.embeddings.read_analogies": lambda: {"path": text_file(": capitals\nParis France Rome Italy\n")},
    "bridges.embeddings.word_sentences": {"lines": ["one two", "two three"]},
    "bridges.entropy_gap": {
        "training": amtheory.Estimate(1.0, 0.7, 1.3),
        "generated": amtheory.Estimate(3.0, 2.6, 3.4),
    },
    "bridges.extraction": {"x": TOKENS},
    "bridges.find_peak": {"sizes": [100, 200, 400], "values": [[0.0, 0.4, 0.1], [0.0, 0.3, 0.2]]},
    "bridges.find_transition": {"train": [1.0, 0.6, 0.5], "test": [0.2, 0.5, 0.5], "level": 0.05},
    "bridges.frequency_chance": {"noise": [0.5, 1.0], "vocab_size": 4},
    "bridges.identities.report": lambda: {"result": _check()},
    "bridges.identities.remark_report": {"remark": identities.REMARKS[0]},
    "bridges.identities.summary": lambda: {"results": [_check()]},
    "bridges.ks_distance": {"a": [1.0, 2.0, 3.0], "b": [2.0, 3.0]},
    "bridges.claims.ends": {"values": COINS["excess"], "along": "repeat"},
    "bridges.claims.Part": {"name": "heads, within .2", "values": COINS["excess"]},
    "bridges.claims.log_slope": {
        "values": xr.DataArray([[1.0, 2.0, 4.0]] * 2, {"size": [10, 20, 40]}, ("repeat", "size")),
        "along": "size",
    },
    "bridges.check_all": {"only": ["margin"]},
    "bridges.probe": lambda: {
        "model": network(),
        "suspect": TOKENS,
        "unseen": TOKENS[::-1].copy(),
        "passages": 3,
        "extracted": 2,
        "generated": 4,
    },
    "bridges.relaxation_times": {"results": (CHAINS,)},
    "bridges.scaling_exponent": {"scale": [128, 256], "locations": [[1000, 2000], [1000, 2200]]},
    "bridges.share_limit": {"found": 1, "n": 10},
    "bridges.substring_memorization": {"training": STRINGS, "generated": STRINGS},
    "bridges.to_spins": {"tokens": np.array([0, 1, 1])},
    "bridges.to_tokens": {"spins": SPINS},
    "bridges.token_classes": {"original": TOKENS, "corrupted": TOKENS, "recovered": TOKENS},
    "bridges.BinarySystem": {"beta": 1.0},
    "bridges.UTurn": {"system": EXACT},
    "uddm.EmpiricalBayes": {"data": TOKENS},
    "uddm.corpora.CharacterTokenizer": {"alphabet": " abc"},
    "uddm.corpora.CharacterTokenizer.train": {"vocab_size": 8},
    "uddm.corpora.Corpus": {"name": "one", "documents": ["one", "two"]},
    "uddm.corpora.RandomHierarchy": {"symbols": 4, "rules": 2, "depth": 2},
    "uddm.corpora.RandomHierarchy.draw": {"x": STRINGS[0]},
    "uddm.corpora.SubwordTokenizer": lambda: {"backend": SUBWORDS.backend, **SUBWORDS.special},
    "uddm.corpora.TokenBlocks": lambda: {"directory": blocks().directory},
    "uddm.corpora.TokenBlocks.size_of": {"fraction": 0.5},
    "uddm.corpora.Tokenizer.save": lambda: {"path": folder() / "saved.json"},
    "uddm.corpora.bert_tokenizer": lambda: {
        "vocab_txt": text_file("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\none\ntwo\n", "vocab.txt")
    },
    "uddm.corpora.cluster_latents": {"x": GRAMMAR.enumerate(), "symbols": 4, "branching": 2, "depth": 2},
    "uddm.corpora.documentation_text": lambda: {"cache_dir": folder()},
    "uddm.corpora.gpt2_tokenizer": lambda: gpt2_files(),
    "uddm.corpora.load_corpus": lambda: {"spec": text_file("one two\n\nthree")},
    "uddm.corpora.load_lm1b": lambda: {"path": _lm1b()},
    "uddm.corpora.load_tokenizer": lambda: {"path": tokenizer_file()},
    "uddm.corpora.read_tokenizer": lambda: {"path": tokenizer_file()},
    "uddm.corpora.prepare_blocks": lambda: {"cache_dir": folder()},
    "uddm.corpora.tokenizer_from_name": {"name": "characters:8"},
    "uddm.corpora.train_bpe": {"vocab_size": 260},
    "uddm.config.RunConfig": {"network": HollowMLPConfig(4, length=4), "training": TrainConfig()},
    "uddm.curriculum.relaxed_tokens": {"schedule": uddm.Curriculum().schedule(4), "top_k": 2},
    "uddm.denoisers.HalfPrecision": lambda: {"network": network()},
    "uddm.denoisers.Linear": {"config": LinearConfig(4, length=4)},
    "uddm.denoisers.Linear.from_couplings": {"schedule": "log-linear"},
    "uddm.denoisers.TreeUNet": {"config": TreeUNetConfig(4, depth=2, hidden_dim=4, cond_dim=4)},
    "uddm.DiT": {"config": uddm.DiTConfig(4, length=4, heads=2, **SMALL)},
    "uddm.denoisers.Network.from_pretrained": lambda: {"path_or_repo": pretrained()},
    "uddm.denoisers.Network.forward": {"sigma": HALVES.float()},
    "uddm.denoisers.Linear.forward": {"sigma": HALVES.float()},
    "uddm.denoisers.Network.save_pretrained": lambda: {"folder": folder() / "model"},
    "uddm.duality.alpha_of_gamma": {"gamma": torch.tensor([-3.0, -2.0])},
    "uddm.duality.gaussian_alpha": {"alpha": np.array([0.2, 0.5])},
    "uddm.duality.uniform_alpha": {"gaussian_alpha": np.array([0.2, 0.5])},
    "uddm.evaluation.rates": {"nats": {"full bound": [0.5, 1.0]}, "denominators": {"nats_per_token": [3, 4]}},
    "uddm.evaluation.ratio_interval": {"numerators": [1.0, 2.0, 3.0], "denominators": [1.0, 1.0, 1.0]},
    "uddm.evaluation.score_documents": lambda: {
        "denoiser": HollowMLP(HollowMLPConfig(27, length=4, embed_dim=4, **SMALL)),
        "documents": [("a", "any text")],
    },
    "uddm.hierarchy.belief.sample": {"uniform": np.full((2, 1 + GRAMMAR.n_latents), 0.5)},
    "uddm.import_published": lambda: {"source": published()},
    "uddm.importers.inspect_published": lambda: {"source": published()},
    "uddm.importers.convert": lambda: {"source": published(), "folder": folder() / "converted"},
    "uddm.objective.stratified_times": {"n": 4},
    "uddm.objective.time_weights": {"t": HALVES},
    "uddm.process.Process.log_likelihoods": {"t": HALVES},
    "uddm.process.Process.token_share": {"t": HALVES, "s": 0.4 * HALVES},
    "uddm.train": lambda: {
        "model": network(),
        "data": IDS,
        "config": TrainConfig(steps=2, batch_size=2),
        "run_dir": folder() / "run",
    },
}


@functools.cache
def _check() -> Any:
    return identities.check("margin", rng=0)


def _lm1b() -> Path:
    where = folder()
    (where / "news.en-00001-of-00100").write_text("one two .\nthree .\n")
    return where


# objects whose methods are called, of classes that are not built by a row alone, or are too plain then
INSTANCES: dict[str, Callable[[], Any]] = {
    "amtheory.Memory": lambda: MEMORY,
    "amtheory.PairwiseMemory": lambda: MEMORY,
    "amtheory.theory.stability.StabilityDistribution": lambda: amtheory.theory.stability.hebb(0.3),
    "bridges.Outcome": lambda: FAIR.decide(COINS),
    "uddm.Denoiser": lambda: EXACT,
    "uddm.HierarchyBayes": lambda: uddm.HierarchyBayes(GRAMMAR, PROCESS),
    "uddm.config.NetworkConfig": lambda: LinearConfig(4),
    "uddm.corpora.Tokenizer": lambda: LETTERS,
    "uddm.corpora.LatentClusters": lambda: corpora.cluster_latents(
        GRAMMAR.enumerate(), symbols=4, branching=2, depth=2, rng=0
    ),
    "uddm.denoisers.Linear": lambda: Linear.from_couplings(MEMORY.couplings_),
    "uddm.denoisers.Network": network,
    "uddm.process.Process": lambda: PROCESS,
    "uddm.process.Transition": lambda: PROCESS.transition(0.5, 0.2),
}

# records, which hold what they are given; and what others than us call: protocols, and what subclasses implement
RECORDS = {
    "amtheory.RetrievalInfo", "amtheory.basins.Scaling", "amtheory.theory.stability.StabilityDistribution",
    "bridges.Claim", "bridges.Outcome", "bridges.claims.Finding",
    "bridges.claims.Part", "bridges.identities.Check", "bridges.identities.Identity",
    "bridges.identities.Remark", "bridges.identities.Sides", "uddm.corpora.LatentClusters",
    "uddm.evaluation.DocumentScore", "uddm.importers.Report", "uddm.process.Transition",
}  # fmt: skip
HOOKS = {
    "forward",
    "diffusion", "expected_diffusion", "jump", "reconstruction", "token_share", "frozen", "hidden", "predict_at",
    "told", "read_out",
    "log_likelihoods", "mixture", "fresh", "fresh_mass", "cavity_at", "is_token", "added_at",
}  # fmt: skip

MEASURED = (bridges.MemorySystem, bridges.Conditional)  # whose methods measurements call, having looked at arguments

# what takes a second or more, each time or once
SLOW = {
    "amtheory.DiffusionMemory", "amtheory.DiffusionMemory.fit",
    "amtheory.theory.hopfield.first_order_temperature", "uddm.corpora.documentation_text", "uddm.train",
    "bridges.probe",
    "amtheory.theory.pseudolikelihood.best_beta", "amtheory.theory.hopfield.spinodal_temperature",
    "uddm.denoisers.network_of", "bridges.compare_basins", "amtheory.basins.finite_size_scaling",
}  # fmt: skip


class Call(NamedTuple):
    """A function by its public name, what calls it, and valid arguments."""

    name: str
    function: Callable[..., Any]
    signature: inspect.Signature
    arguments: dict[str, Any]

    def __call__(self, arguments: dict[str, Any]) -> Any:
        positional, named = [], {}
        for name, parameter in self.signature.parameters.items():
            if name not in arguments:
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional += arguments[name]
            elif parameter.kind is parameter.VAR_KEYWORD:
                named |= arguments[name]
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(arguments[name])
            else:
                named[name] = arguments[name]
        return self.function(*positional, **named)


def roots() -> list[str]:
    """The packages, and their modules that say by an ``__all__`` of their own what is public in them."""
    found = list(PACKAGES)
    for package in PACKAGES:
        for module in walk_packages(import_module(package).__path__, f"{package}."):
            if "._" not in module.name and hasattr(import_module(module.name), "__all__"):
                found.append(module.name)
    return found


def public() -> dict[str, Callable[..., Any]]:
    """Each public function and class of ours once, under the shortest of its names."""
    found: dict[int, tuple[str, Any]] = {}
    for root in roots():
        for name, thing in callables(root).items():
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__.split(".")[0] in PACKAGES:
                found.setdefault(id(thing), (name, thing))
    return dict(found.values())


def functions() -> Iterator[tuple[str, Callable[[], Callable[..., Any]], inspect.Signature]]:
    """(name, what makes it, signature) of the functions, of the constructors and of the methods, but for those that
    take nothing."""
    for name, thing in public().items():
        if inspect.isfunction(thing):
            yield name, lambda thing=thing: thing, inspect.signature(thing)
            continue
        protocol = getattr(thing, "_is_protocol", False)
        if not (protocol or inspect.isabstract(thing) or issubclass(thing, tuple) or name in RECORDS):
            yield name, lambda thing=thing: functools.partial(built, thing), inspect.signature(thing)
        for key, attribute in vars(thing).items():
            if protocol or key.startswith("_") or key in HOOKS or issubclass(thing, MEASURED):
                continue
            if isinstance(attribute, classmethod | staticmethod):
                bound = getattr(thing, key)
                yield f"{name}.{key}", lambda bound=bound: bound, inspect.signature(bound)
            elif inspect.isfunction(attribute):
                signature = inspect.signature(attribute)
                own = signature.replace(parameters=list(signature.parameters.values())[1:])
                yield f"{name}.{key}", lambda n=name, k=key, c=thing: getattr(instance(n, c), k), own


def built(cls: type, **arguments: Any) -> Any:
    """An object, and whatever looks at its arguments first: memories do so when they are fitted."""
    made = cls(**arguments)
    return made.fit(SPINS) if hasattr(made, "fit") else made


def instance(name: str, cls: type) -> Any:
    if name in INSTANCES:
        return INSTANCES[name]()
    return built(cls, **arguments_of(name, inspect.signature(cls)))


def arguments_of(name: str, signature: inspect.Signature) -> dict[str, Any]:
    """Valid ones: from the row of the function, by name, or by default."""
    row = CALLS.get(name, {})
    row = dict(row() if callable(row) else row)
    for key, parameter in signature.parameters.items():
        if key in row:
            continue
        if parameter.default is not parameter.empty:
            row[key] = NAMED.get(key, parameter.default) if key in ("rng", "generator", "seed") else parameter.default
            if key in ("resamples", "times", "steps", "draws"):
                row[key] = NAMED[key]
        elif parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            row[key] = {} if parameter.kind is parameter.VAR_KEYWORD else ()
        elif key in NAMED:
            row[key] = NAMED[key]() if callable(NAMED[key]) else NAMED[key]
        else:
            raise LookupError(
                f"`{key}` of {name} has no valid value: add a row for {name} to CALLS, tests/fuzz/calls.py"
            )
    for key, parameter in signature.parameters.items():
        if parameter.annotation in (np.random.Generator, "np.random.Generator") and isinstance(row[key], int):
            row[key] = np.random.default_rng(row[key])
    return {key: value if callable(value) else copy.deepcopy(value) for key, value in row.items()}


def calls() -> Iterator[Call]:
    for name, make, signature in functions():
        yield Call(name, make(), signature, arguments_of(name, signature))
