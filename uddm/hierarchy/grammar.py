"""The Random Hierarchy Model: strings of a random context-free grammar on a tree (Cagnetta et al., PRX 14, 2024).

Level 0 is the class, one of n_c; level l has s^l symbols, each one of v; level L is the string of d = s^L tokens. A
symbol of level l < L becomes a tuple of s symbols of level l + 1 by one of its m rules. Rules differ between levels and
are shared by all positions of a level. Classes are equally probable; so are the rules of a symbol, or the k-th has
probability f_k ~ k^-(1 + a) (Cagnetta, Kang and Wyart, arXiv 2505.07067).

In an unambiguous grammar no two rules of a level have the same tuple, so a string has one derivation, and there are

    P_max = n_c m^((s^L - 1)/(s - 1))

strings, equally probable if rules are. Public implementations: `pcsl-epfl/hierarchy-learning`, which draws rules only
for symbols that occur, and `fracagnetta/random-hierarchy-model`, whose convention, rules for all symbols, is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike, NDArray

from uddm._validation import check_array, check_flag, check_number, check_positive_int, check_tokens, check_tree
from uddm.hierarchy import belief
from uddm.streams import as_rng, keyed_seed

Ints = NDArray[np.int64]
Sampled = Int64[np.ndarray, "{n} {self.length}"]
Level = Int64[np.ndarray, "{n} _"]

_AT_ONCE = 4096
_FEW = 2**20  # derivations that may be held in memory at once


def count_tuples(symbols: int, branching: int) -> int:
    """v^s; ValueError from 2^63 on."""
    if branching * math.log2(symbols) >= 63:
        raise ValueError(f"`symbols` ** `branching` must be below 2^63, got {symbols}^{branching}")
    return symbols**branching


@dataclass(frozen=True, kw_only=True)
class RandomHierarchy:
    """A random grammar, a function of these arguments alone; two with the same arguments are equal.

    Parameters
    ----------
    symbols : v >= 2, at every level but the first; the vocabulary size
    rules : m >= 1 for each symbol; at most v^(s-1) in an unambiguous grammar, v^s in an ambiguous one
    branching : s >= 2 children of a symbol; default 2
    depth : L >= 1 levels of rules
    seed : integer >= 0; default 0
    classes : n_c >= 1, with n_c m <= v^s in an unambiguous grammar; None, the default, for v
    ambiguous : draw the rules of each symbol independently, so that symbols may share tuples; default False
    zipf : exponent a >= 0 of the rule probabilities f_k ~ k^-(1 + a), all above 1e-300; None, the default, for equal
        ones
    zipf_levels : the levels in [0, L-1] whose symbols have such rules, where level L - 1 makes tokens; None, the
        default, for all

    Raises
    ------
    TypeError : what must be an integer is none
    TypeError, ValueError : naming the argument that is out of range

    Examples
    --------
    >>> from uddm.corpora import RandomHierarchy
    >>> grammar = RandomHierarchy(symbols=4, rules=2, depth=3, seed=0)
    >>> x = grammar.sample(5, rng=0)
    >>> x.shape, grammar.n_strings, bool(grammar.is_valid(x).all())  # n_strings = 4 * 2^7
    ((5, 8), 512, True)
    """

    symbols: int
    rules: int
    branching: int = 2
    depth: int
    seed: int = 0
    classes: int | None = None
    ambiguous: bool = False
    zipf: float | None = None
    zipf_levels: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for name, least in {"symbols": 2, "rules": 1, "branching": 2, "depth": 1, "seed": 0}.items():
            object.__setattr__(self, name, check_positive_int(name, getattr(self, name), at_least=least))
        check_tree(self.branching, self.depth)
        object.__setattr__(self, "ambiguous", check_flag("ambiguous", self.ambiguous))
        n_c = self.symbols if self.classes is None else check_positive_int("classes", self.classes)
        object.__setattr__(self, "classes", n_c)
        tuples = count_tuples(self.symbols, self.branching)
        most = tuples if self.ambiguous else tuples // self.symbols
        if self.rules > most:
            raise ValueError(f"`rules` must be at most {most} with these symbols and branching, got {self.rules}")
        if not self.ambiguous and n_c * self.rules > tuples:
            raise ValueError(f"`classes` must be at most {tuples // self.rules} in this unambiguous grammar, got {n_c}")
        if self.zipf is not None:
            zipf = check_number("zipf", self.zipf, low=0, closed="[")
            if self.rules ** -(1 + zipf) <= 1e-300:
                raise ValueError(f"`zipf` must be such that {self.rules}^-(1 + zipf) > 1e-300, got {zipf}")
            object.__setattr__(self, "zipf", zipf)
        if self.zipf_levels is not None:
            levels = check_array("zipf_levels", self.zipf_levels)
            integers = levels.ndim == 1 and levels.size and levels.dtype.kind in "iu"
            if self.zipf is None or not integers or levels.min() < 0 or levels.max() >= self.depth:
                allowed = f"levels in [0, {self.depth - 1}], given with `zipf`"
                raise ValueError(f"`zipf_levels` must be {allowed}, got {self.zipf_levels!r}")
            object.__setattr__(self, "zipf_levels", tuple(levels.tolist()))

    def to_dict(self) -> dict[str, Any]:
        """The arguments, ready for JSON; `RandomHierarchy(**to_dict())` is equal to this grammar."""
        return asdict(self)

    @property
    def length(self) -> int:
        """d = s^L tokens."""
        return self.branching**self.depth

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of symbols at the levels 0 ... L: n_c, v, ..., v."""
        return (self.classes or self.symbols, *(self.symbols,) * self.depth)

    @property
    def n_latents(self) -> int:
        """(s^L - 1)/(s - 1) symbols above the string, each of which chooses a rule."""
        return (self.length - 1) // (self.branching - 1)

    @property
    def n_derivations(self) -> int:
        """n_c m^n_latents."""
        return self.widths[0] * self.rules**self.n_latents

    @cached_property
    def n_strings(self) -> int:
        """P_max; in an ambiguous grammar strings are counted, with the errors of `enumerate`.

        Raises
        ------
        ValueError : as `enumerate`, in an ambiguous grammar
        """
        return len(self.enumerate()) if self.ambiguous else self.n_derivations

    @cached_property
    def tables(self) -> tuple[Int64[np.ndarray, "_ {self.rules} {self.branching}"], ...]:
        """Rules of the symbols of levels 0 ... L-1, each (n_c or v, m, s): tables[l][a, r] are the children of a."""
        v, m, s = self.symbols, self.rules, self.branching
        tables = []
        for level, width in enumerate(self.widths[:-1]):
            rng = np.random.default_rng(keyed_seed(self.seed, "hierarchy", level))
            if self.ambiguous:
                codes = np.stack([rng.choice(v**s, m, replace=False) for _ in range(width)])
            else:
                codes = rng.choice(v**s, (width, m), replace=False)
            tables.append(codes[..., None] // self._powers % v)
            tables[-1].setflags(write=False)
        return tuple(tables)

    @cached_property
    def rule_probs(self) -> Float64[np.ndarray, "{self.depth} {self.rules}"]:
        """Probabilities of the rules of a symbol of each level, (L, m)."""
        probs = np.full((self.depth, self.rules), 1 / self.rules)
        if self.zipf is not None:
            f = np.arange(1, self.rules + 1) ** -(1.0 + self.zipf)
            probs[list(self.zipf_levels if self.zipf_levels is not None else range(self.depth))] = f / f.sum()
        probs.setflags(write=False)
        return probs

    @overload
    def sample(self, n: int, *, rng: Any = None, latents: Literal[False] = False) -> Sampled: ...
    @overload
    def sample(self, n: int, *, rng: Any = None, latents: Literal[True]) -> tuple[Sampled, list[Level]]: ...
    def sample(self, n: int, *, rng: Any = None, latents: bool = False) -> Sampled | tuple[Sampled, list[Level]]:
        """Independent strings.

        Parameters
        ----------
        n : how many, in [1, 2^31); with a seed, the first strings do not depend on it
        rng : a seed or a numpy Generator; None, the default, fresh entropy
        latents : whether to return the symbols above, too; default False

        Returns
        -------
        (n, d) ids; with `latents` a pair, of these and of the symbols of levels 0 ... L-1, each (n, s^l)

        Raises
        ------
        TypeError, ValueError : naming the argument that is out of range
        """
        check_flag("latents", latents)
        if check_positive_int("n", n) >= 2**31:
            raise ValueError(f"`n` must be below 2^31, got {n}")
        u = as_rng(rng).random((n, 1 + self.n_latents))
        choices = []
        for level, probs in enumerate(self.rule_probs):
            cdf = probs.cumsum()
            start = 1 + self._first(level)
            drawn = np.searchsorted(cdf / cdf[-1], u[:, start : start + self.branching**level], side="right")
            choices.append(drawn)
        *above, x = self._derive((u[:, 0] * self.widths[0]).astype(np.int64), choices)
        return (x, above) if latents else x

    def unique(self, P: int, *, rng: Any = None) -> Int64[np.ndarray, "{P} {self.length}"]:
        """Distinct strings in the order in which they first appear among independent draws.

        With a seed, fewer strings are a prefix of more: `x = unique(P + n, rng=seed)` gives the nested training sets
        `x[:P]` and the test strings `x[P:]`, disjoint from them. If all derivations fit in memory the draws are not
        made one by one: first appearances are the order of exponential clocks with rates p(x).

        Parameters
        ----------
        P : how many, >= 1
        rng : a seed or a numpy Generator; None, the default, fresh entropy

        Returns
        -------
        (P, d) ids

        Raises
        ------
        TypeError : `rng` is none
        ValueError : there are not P strings, or not as many among 1000 P + 10^6 draws
        """
        check_positive_int("P", P)
        rng = as_rng(rng)
        if self.n_derivations <= _FEW:
            x = self.enumerate()
            if len(x) < P:
                raise ValueError(f"`P` must be at most the {len(x)} strings of the grammar, got {P}")
            clocks = np.log(rng.exponential(size=len(x))) - self.log_prob(x)
            return x[np.argsort(clocks, kind="stable")[:P]]
        if not self.ambiguous and self.n_strings < P:
            raise ValueError(f"`P` must be at most the {self.n_strings} strings of the grammar, got {P}")
        dtype = np.min_scalar_type(self.symbols - 1)
        found: dict[bytes, None] = {}
        for _ in range(0, 1000 * P + 10**6, _AT_ONCE):
            found.update((row.tobytes(), None) for row in self.sample(_AT_ONCE, rng=rng).astype(dtype))
            if len(found) >= P:
                break
        else:
            raise ValueError(f"`P` must be lower: 1000 P + 10^6 draws gave {len(found)} distinct strings, not {P}")
        return np.frombuffer(b"".join(list(found)[:P]), dtype).reshape(P, -1).astype(np.int64)

    def enumerate(self, *, limit: int = _FEW) -> Int64[np.ndarray, "P {self.length}"]:
        """All distinct strings, (n_strings, d).

        Parameters
        ----------
        limit : most derivations that are held in memory; default 2^20

        Raises
        ------
        ValueError : there are more derivations than `limit`
        """
        if self.n_derivations > check_positive_int("limit", limit):
            raise ValueError(f"`limit` must be at least the {self.n_derivations} derivations to enumerate, got {limit}")
        m, numbers = self.rules, np.arange(self.n_derivations)
        choices = []
        for level in range(self.depth):
            nodes = np.arange(self._first(level), self._first(level + 1))
            choices.append(numbers[:, None] // m**nodes % m)
        x = self._derive(numbers // m**self.n_latents, choices)[-1]
        return np.unique(x, axis=0) if self.ambiguous else x

    def parse(self, x: ArrayLike) -> list[Int64[np.ndarray, "B _"]]:
        """Symbols of levels 0 ... L-1, each (B, s^l), of strings; -1 where no rule makes what is below.

        Parameters
        ----------
        x : strings, (B, d) ids

        Raises
        ------
        TypeError, ValueError : x is no array of ids, or has another shape or vocabulary
        ValueError : the grammar is ambiguous; `uddm.HierarchyBayes` knows the probabilities of its symbols
        """
        return [chosen // self.rules for chosen in self._rules_of(x)]

    def is_valid(self, x: ArrayLike) -> Bool[np.ndarray, " B"]:
        """Whether the strings x, (B, d) ids, are of the grammar, (B,); errors as for `log_prob`."""
        return self._derivable(x)[0][:, 0]

    def level_validity(self, x: ArrayLike) -> Float64[np.ndarray, "B {self.depth}"]:
        """Share of the tuples of each level that some symbol derives, down to the tokens.

        Parameters
        ----------
        x : strings, (B, d) ids

        Returns
        -------
        (B, L) in [0, 1]; column 0 is the lowest level, d/s tuples of tokens, and column L - 1 is the class, 1 for a
            valid string

        Raises
        ------
        TypeError, ValueError : x is no array of ids, or has another shape or vocabulary
        """
        return np.stack([derivable.mean(1) for derivable in reversed(self._derivable(x))], 1)

    def log_prob(self, x: ArrayLike) -> Float64[np.ndarray, " B"]:
        """log p(x), nats: of the one derivation, or summed over those of an ambiguous grammar by the inside algorithm.

        Parameters
        ----------
        x : strings, (B, d) ids

        Returns
        -------
        (B,) float64, -inf for strings not of the grammar

        Raises
        ------
        TypeError, ValueError : x is no array of ids, or has another shape or vocabulary
        """
        x = self._strings(x)
        result = np.full(len(x), -np.inf)
        if self.ambiguous:
            valid = self.is_valid(x)
            found = [belief.log_prob(self, tokens) for tokens in self._one_hot(x[valid])]
            result[valid] = np.concatenate([[], *found])
        else:
            chosen = self._rules_of(x)
            valid = chosen[0][:, 0] >= 0
            rules = (np.log(p)[rule[valid] % self.rules].sum(1) for p, rule in zip(self.rule_probs, chosen))
            result[valid] = sum(rules) - math.log(self.widths[0])
        return result

    def draw(self, x: ArrayLike) -> str:
        """The derivation tree of one string in characters; a dot where there is no symbol.

        Parameters
        ----------
        x : a string, (d,) ids

        Raises
        ------
        TypeError, ValueError : as `parse`
        """
        x = check_array("x", x)[None]
        levels = [*self.parse(x), x]
        cell = 1 + max(len(str(n - 1)) for n in self.widths)
        centres, lines = (np.arange(self.length) + 0.5) * cell, []
        for level, symbols in reversed(list(enumerate(levels))):
            row = [" "] * (cell * self.length)
            for centre, symbol in zip(centres.astype(int), symbols[0]):
                text = "·" if symbol < 0 else str(symbol)
                start = centre - (len(text) - 1) // 2
                row[start : start + len(text)] = text
            lines.insert(0, "".join(row))
            if level:
                children = centres.reshape(-1, self.branching)
                centres = children.mean(1)
                lines.insert(0, _branches(children.astype(int), centres.astype(int), len(row)))
        return "\n".join(line.rstrip() for line in lines)

    @property
    def _powers(self) -> Ints:
        """A tuple times these is its number in [0, v^s)."""
        return self.symbols ** np.arange(self.branching)[::-1]

    def _first(self, level: int) -> int:
        """Symbols above a level."""
        return (self.branching**level - 1) // (self.branching - 1)

    def _strings(self, x: ArrayLike) -> Ints:
        return check_tokens("x", x, self.symbols, length=self.length).numpy()

    def _one_hot(self, x: Ints) -> Iterator[NDArray[np.bool]]:
        """Strings (B, d) as (n, d, v), a few at a time."""
        n = max(1, min(_AT_ONCE, 2**24 // (self.length * self.symbols * self.rules)))
        for start in range(0, len(x), n):
            yield x[start : start + n, :, None] == np.arange(self.symbols)

    def _rules_of(self, x: ArrayLike) -> list[Ints]:
        """m a + r where rule r of symbol a makes what is below, or -1; for levels 0 ... L-1, each (B, s^l)."""
        if self.ambiguous:
            raise ValueError("`parse` and `draw` need an unambiguous grammar, got an ambiguous one")
        below, levels = self._strings(x), []
        for table in reversed(self.tables):
            codes = (table @ self._powers).ravel()
            order = codes.argsort()
            children = below.reshape(len(below), -1, self.branching)
            code = children @ self._powers
            at = order[np.searchsorted(codes, code, sorter=order).clip(max=codes.size - 1)]
            levels.insert(0, np.where((codes[at] == code) & (children >= 0).all(-1), at, -1))
            below = levels[0] // self.rules
        return levels

    def _derive(self, classes: Ints, choices: Sequence[Ints]) -> list[Ints]:
        """Symbols of levels 0 ... L, each (n, s^l), from classes (n,) and rules chosen, each (n, s^l)."""
        levels = [classes[:, None]]
        for table, choice in zip(self.tables, choices):
            levels.append(table[levels[-1], choice].reshape(len(classes), -1))
        return levels

    def _derivable(self, x: ArrayLike) -> list[NDArray[np.bool]]:
        """Whether some symbol derives what is below it, at the nodes of levels 0 ... L-1, each (B, s^l)."""
        if not self.ambiguous:
            return [chosen >= 0 for chosen in self._rules_of(x)]
        blocks = [self._derivable_from(tokens) for tokens in self._one_hot(self._strings(x))]
        return [np.concatenate(level) for level in zip(*blocks)]

    def _derivable_from(self, below: NDArray[np.bool]) -> list[NDArray[np.bool]]:
        """The same from the tokens that each position may have, (B, d, v)."""
        levels: list[NDArray[np.bool]] = []
        for table in reversed(self.tables):
            children = np.moveaxis(below.reshape(len(below), -1, *table.shape[2:], self.symbols), 2, 0)
            tuples = np.all([child[..., table[..., j]] for j, child in enumerate(children)], 0)
            below = tuples.any(-1)
            levels.insert(0, np.any(below, -1))
        return levels


def _branches(children: Ints, parents: Ints, width: int) -> str:
    """A line of branches from parents (n,) to their children (n, s), all given as columns."""
    line = [" "] * width
    for below, above in zip(children.tolist(), parents.tolist()):
        line[below[0] : below[-1]] = "─" * (below[-1] - below[0])
        for column, corner in zip(below, "┌" + "┬" * (len(below) - 2) + "┐"):
            line[column] = corner
        line[above] = "┼" if above in below else "┴"
    return "".join(line)
