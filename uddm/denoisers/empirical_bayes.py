"""The exact memorization limit: Bayes inference on the empirical distribution of a finite data set.

    p(mu | z_t) = softmax_mu( b(t) n_mu(z) ),    n_mu = number of positions where z equals data[mu],

with b(t) that of `Process.own_logit`, log(1 + K alpha_t/(1 - alpha_t)) for uniform noise: an exponential dense
associative memory (modern Hopfield network) whose patterns are the training sequences and whose inverse temperature
b(t) is annealed by the reverse process. At K = 2 the inverse temperature for each spin is b/2 = atanh alpha_t. A
perfectly trained network that only memorizes equals it. Its success on random data is that of a random code:
`amtheory.theory.channel`.

The overlaps n_mu are integers, so all sums over mu are kept as integers, or as the largest exponent and the sum in
units of it: nothing under- or overflows, and nothing is subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int16, Int64, Integer
from numpy.typing import ArrayLike
from torch import Tensor

from uddm._jit import jit
from uddm._validation import check_ids, check_keep, check_kind, check_tokens
from uddm.denoisers.base import Denoiser
from uddm.head import VocabularySums
from uddm.prediction import SummedPrediction, log_prob_variance
from uddm.process import Process
from uddm.process.base import PerSequence, _column
from uddm.streams import as_generator

CHUNK = 2**19  # pairs of a noisy sequence and a pattern (or a token) that are in memory together


class EmpiricalBayes(Denoiser):
    """Exact denoiser of the uniform distribution over the P rows of `data`.

    Log-probabilities are float64 and -inf for tokens that no row has at a position. The data are kept on their device
    as ranks among the tokens seen at a position, one byte each if at most 127 are, two if at most 32767. z may be on
    any device; results are on that of z. Beside these, tables of L K entries, copies of z and the result, no method
    takes more than 64 MB while P <= 2**19, and 64 bytes more for each further row, whatever the number of noisy
    sequences.

    Parameters
    ----------
    data : training sequences, (P, L) ids of any integer type; repeated rows count with their multiplicity
    process : the forward process

    Raises
    ------
    TypeError : `data` does not hold integers.
    ValueError : `data` has another shape, ids outside the vocabulary, or rows longer than 32767.

    In all methods `z` are noisy tokens, (B, L) ids, `t` their times, one number in (0, 1] or (B,), and `generator` a
    seed or a torch.Generator.

    Examples
    --------
    Near a training sequence, only the sequences themselves are possible:

    >>> import torch
    >>> from uddm import EmpiricalBayes, UniformProcess
    >>> memory = EmpiricalBayes(torch.tensor([[0, 1, 2], [2, 1, 0]]), UniformProcess(3))
    >>> z = torch.tensor([[0, 0, 2]])
    >>> memory.weights(z, 0.1).argmax().item(), memory.overlaps(z).tolist()
    (0, [[2, 0]])
    >>> memory.cavity(z, 0.1).argmax(-1).tolist()
    [[0, 1, 2]]
    """

    hollow = True

    def __init__(self, data: Integer[Tensor, "P L"] | ArrayLike, process: Process):
        check_kind("process", process, Process)
        data = check_ids("data", data)
        if data.ndim != 2 or not 0 < data.shape[1] < 2**15:
            raise ValueError(f"`data` must have shape (P, L) with 0 < L < {2**15}, got {tuple(data.shape)}")
        (P, L), K = data.shape, process.vocab_size
        self.process, self.length, self.device = process, L, data.device
        chunks = data.split(max(1, CHUNK // L))
        seen = torch.zeros(L, process.state_size, dtype=torch.bool, device=data.device)
        for chunk in chunks:
            seen.scatter_(1, check_tokens("data", chunk, K).T, True)
        sizes = seen.sum(1).tolist()
        self._support = seen.nonzero()[:, 1].split(sizes)  # the tokens seen at each position, ascending
        dtype = next(d for d in (torch.int8, torch.int16, torch.int32) if max(sizes) <= torch.iinfo(d).max)
        self._rank = (seen.cumsum(1, dtype=torch.int32) - 1).masked_fill(~seen, -1).to(dtype)
        self._data = torch.empty(L, P, dtype=dtype, device=data.device)
        for start, chunk in zip(range(0, P, len(chunks[0])), chunks):
            self._data[:, start : start + len(chunk)] = self._rank.gather(1, chunk.long().T)

    @property
    def data(self) -> Int64[Tensor, "P L"]:
        """The training sequences, made anew, (P, L) int64."""
        return self._rows(torch.arange(self._data.shape[1], device=self.device))

    def overlaps(self, z: Integer[Tensor, "B L"]) -> Int16[Tensor, "B P"]:
        """n_mu(z): the number of positions where each row of the data equals z, (B, P) int16."""
        z = self._checked("z", z)
        return self._overlaps(self._ranks(z)).to(z.device)

    def weights(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Float64[Tensor, "B P"]:
        """p(mu | z_t), (B, P) float64."""
        z = self._checked("z", z)
        ranks = self._ranks(z)
        b = self._own_logit(t, ranks)
        result = torch.empty(len(ranks), self._data.shape[1], dtype=torch.float64, device=self.device)
        for r, n in self._blocks(ranks):
            result[r] = (b[r] * n).softmax(-1)
        return result.to(z.device)

    def log_prob(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Float64[Tensor, " B"]:
        """log p(z_t) = log( (1/P) sum_mu q_t(z | x_mu) ), nats, (B,) float64; for uniform noise
        q_t(z | x_mu) = s^n_mu ((1 - alpha_t)/K)^(L - n_mu), s = alpha_t + (1 - alpha_t)/K."""
        z = self._checked("z", z)
        ranks = self._ranks(z)
        logs = [_column(value, ranks).expand(len(ranks), 1) for value in self.process.log_likelihoods(t)]
        tokens = self.process.is_token(z).sum(1, keepdim=True).to(self.device)
        matches = torch.arange(self.length + 1, device=self.device)
        found = []
        for r, n in self._blocks(ranks):
            log_count = _histogram(n, self.length).double().log()
            numbers = matches, tokens[r] - matches, self.length - tokens[r]  # right, wrong, masked
            log_p = sum(torch.where(number > 0, number * log[r], 0.0) for number, log in zip(numbers, logs))
            found.append((log_count + log_p).logsumexp(1))
        return torch.cat(found).to(z.device) - math.log(self._data.shape[1])

    def predict(self, z: Integer[Tensor, "B L"], t: PerSequence) -> _OnSupport:
        """The cavity, kept as one number for each row of the data."""
        return _OnSupport(self, z, t, leave_out=True)

    def cavity(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Float64[Tensor, "B L K"]:
        """As the posterior, with position l left out of n_mu: a matching row loses its factor exp(b)."""
        return _OnSupport(self, z, t, leave_out=True).log_probs()

    def posterior(self, z: Integer[Tensor, "B L"], t: PerSequence) -> Float64[Tensor, "B L K"]:
        """log p(x_l | z_t), (B, L, K): each row with the weight exp(b n_mu)."""
        return _OnSupport(self, z, t, leave_out=False).log_probs()

    def sample(
        self,
        z: Integer[Tensor, "B L"],
        t: PerSequence,
        *,
        keep: Bool[Tensor, "B L"] | Bool[Tensor, " L"] | None = None,
        generator: int | torch.Generator | None = None,
    ) -> Int64[Tensor, "B L"]:
        """Joint posterior samples x ~ p(x | z_t), (B, L): where the reverse process ends with infinitely many steps.

        Tokens where `keep` holds, bool (B, L) or (L,), are known and stay as they are. Their b is infinite: of the rows
        of the data only those count that have most of them, which are those that have them all, if any has.
        """
        z = self._checked("z", z)
        ranks = self._ranks(z)
        known = torch.zeros_like(ranks, dtype=torch.bool) if keep is None else check_keep(keep, z).to(self.device)
        b = self._own_logit(t, ranks)
        generator = as_generator(generator)
        uniform = torch.rand(len(ranks), 2, dtype=torch.float64, device=generator.device, generator=generator)
        drawn = []
        for r, n in self._blocks(ranks.masked_fill(known, -1)):
            if keep is not None:
                right = self._overlaps(ranks[r].masked_fill(~known[r], -1))
                n.masked_fill_(right < right.amax(1, keepdim=True), -1)
            level, among = uniform[r].to(self.device).split(1, dim=1)
            counts = _histogram(n.long() + 1, self.length + 1)[:, 1:]
            below = torch.arange(self.length + 1, device=self.device) - n.amax(1, keepdim=True)
            cdf = (counts * (b[r] * below.clamp_max(0)).exp()).cumsum(1)  # n is drawn first, then a row that has it
            level = torch.searchsorted(cdf, level * cdf[:, -1:], right=True).clamp_max(n.amax(1, keepdim=True))
            among = (among * counts.gather(1, level)).long() + 1
            drawn.append(torch.searchsorted((n == level).cumsum(1, dtype=torch.int32), among.int()))
        return torch.where(known.to(z.device), z, self._rows(torch.cat(drawn).squeeze(1)).to(z.device))

    def _checked(self, name: str, tokens: Tensor | ArrayLike) -> Tensor:
        return check_tokens(name, tokens, self.process.state_size, length=self.length)

    def _ranks(self, z: Tensor) -> Tensor:
        """Ranks of the tokens of z among those of the data, -1 for those that the data do not have, (B, L)."""
        return self._rank.gather(1, z.to(self.device).T).T.contiguous()

    def _own_logit(self, t: float | Tensor, ranks: Tensor) -> Tensor:
        """b(t), (B, 1), no larger than what makes exp(-b) zero."""
        return _column(self.process.own_logit(t), ranks).expand(len(ranks), 1).clamp_max(1e3)

    def _rows(self, which: Tensor) -> Tensor:
        result = torch.empty(len(which), self.length, dtype=torch.int64, device=self.device)
        for l, (tokens, ranks) in enumerate(zip(self._support, self._data)):
            result[:, l] = tokens[ranks[which].long()]
        return result

    def _blocks(self, ranks: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Slices of rows and their overlaps with all patterns."""
        rows = max(1, CHUNK // max(self._data.shape[1], self.length, *(len(tokens) for tokens in self._support)))
        for start in range(0, len(ranks), rows):
            r = slice(start, start + rows)
            yield r, self._overlaps(ranks[r])

    def _overlaps(self, ranks: Tensor) -> Tensor:
        n = torch.zeros(len(ranks), self._data.shape[1], dtype=torch.int16, device=self.device)
        if _compiled(n):
            _count_matches(self._data.numpy(), ranks.numpy(), n.numpy())
        else:
            for own, column in zip(ranks.T, self._data):
                n += own[:, None] == column
        return n


class _OnSupport(SummedPrediction):
    """Distributions over the tokens that the data have at each position; `leave_out` makes the posterior the cavity.

    Every reduction goes through the overlaps of a few sequences at a time, and one position after the other.
    """

    def __init__(self, model: EmpiricalBayes, z: Tensor, t: float | Tensor, *, leave_out: bool):
        self.model, self.z, self.leave_out = model, model._checked("z", z), leave_out
        self.vocab_size = model.process.vocab_size
        self.ranks = model._ranks(self.z)
        self.b = model._own_logit(t, self.ranks)

    def log_probs(self, where: Tensor | None = None) -> Tensor:
        if where is not None and (where.shape != self.z.shape or where.dtype is not torch.bool):
            want = f"a mask of shape {tuple(self.z.shape)}"
            raise ValueError(f"`where` must be {want}, got {where.dtype} of shape {tuple(where.shape)}")
        chosen = torch.ones_like(self.ranks, dtype=torch.bool) if where is None else where.to(self.model.device)
        found = chosen.flatten().cumsum(0).view_as(chosen) - 1
        shape = int(chosen.sum()), self.model.process.vocab_size
        result = torch.full(shape, -torch.inf, dtype=torch.float64, device=self.model.device)
        for rows, l, log_p in self._walk(chosen):
            result[found[rows, l, None], self.model._support[l]] = log_p
        return (result.view(*self.z.shape, -1) if where is None else result).to(self.z.device)

    def log_prob(self, tokens: Tensor) -> Tensor:
        ranks = self._ranks_like_z("tokens", tokens)
        return self._reduce(lambda rows, l, log_p: [_at(log_p, ranks[rows, l])])[0]

    def best(self) -> tuple[Tensor, Tensor]:
        def reduction(rows: Tensor, l: int, log_p: Tensor) -> list[Tensor]:
            highest, rank = log_p.max(1)
            return [highest, self.model._support[l][rank]]

        highest, tokens = self._reduce(reduction)
        return highest, tokens

    def entropy(self) -> Tensor:
        return self._reduce(lambda rows, l, log_p: [_entropy(log_p)])[0]

    def entropy_and_variance(self) -> tuple[Float64[Tensor, "B L"], Float64[Tensor, "B L"]]:
        def reduction(rows: Tensor, l: int, log_p: Tensor) -> list[Tensor]:
            entropy = _entropy(log_p)
            return [entropy, log_prob_variance(log_p, entropy)]

        entropy, variance = self._reduce(reduction)
        return entropy, variance

    def sums(self, z: Tensor, x: Tensor, c: Tensor, *, reverse: bool = False) -> VocabularySums:
        """The sums of the objective, each (B, L); c = K alpha/(1 - alpha) is (B, 1)."""
        ranks_z, ranks_x = self._ranks_like_z("z", z), self._ranks_like_z("x", x)
        c = c.to(self.model.device).expand(len(x), 1)

        def reduction(rows: Tensor, l: int, log_p: Tensor) -> list[Tensor]:
            at_x, scaled = ranks_x[rows, l], c[rows] * log_p.exp()
            log_u = torch.log1p(scaled)
            others = torch.arange(log_p.shape[1], device=log_p.device) != at_x[:, None]
            back = torch.expm1(-log_u) + log_u if reverse else torch.zeros_like(log_u)
            sums = [(others * terms).sum(1) for terms in (scaled - log_u, back)]
            return [_at(log_p, ranks_z[rows, l]), _at(log_p, at_x), _entropy(log_p), *sums]

        at_z, *others = self._reduce(reduction)
        return VocabularySums(torch.zeros_like(at_z), at_z, *others)

    def _ranks_like_z(self, name: str, tokens: Tensor) -> Tensor:
        if tokens.shape != self.z.shape:
            raise ValueError(f"`{name}` must have shape {tuple(self.z.shape)}, got {tuple(tokens.shape)}")
        return self.model._ranks(self.model._checked(name, tokens))

    def _reduce(self, reduction: Callable[[Tensor, int, Tensor], list[Tensor]]) -> list[Tensor]:
        """Reductions (rows, l, log_p) -> [(n,), ...] of the distributions at all positions, each (B, L)."""
        found: list[Tensor] = []
        for rows, l, log_p in self._walk(torch.ones_like(self.ranks, dtype=torch.bool)):
            values = reduction(rows, l, log_p)
            found = found or [value.new_empty(self.ranks.shape) for value in values]
            for result, value in zip(found, values):
                result[rows, l] = value
        return [result.to(self.z.device) for result in found]

    def _walk(self, chosen: Tensor) -> Iterator[tuple[Tensor, int, Tensor]]:
        """Rows, a position, and the log-probabilities (n, tokens seen there), where the mask `chosen` (B, L) holds."""
        needed = chosen.any(1).nonzero().squeeze(1)
        for r, n in self.model._blocks(self.ranks[needed]):
            for l in range(self.model.length):
                among = chosen[needed[r], l].nonzero().squeeze(1)
                if len(among):
                    rows = needed[r][among]
                    yield rows, l, self._log_p(n, among, rows, l)

    def _log_p(self, n: Tensor, among: Tensor, rows: Tensor, l: int) -> Tensor:
        b, own = self.b[rows], self.ranks[rows, l, None]
        most, total = self._masses(n, among, b, l)
        if self.leave_out:
            most.scatter_add_(1, own.long().clamp_min(0), -(own >= 0).to(most.dtype))
        log_mass = b * (most - most.amax(1, keepdim=True)) + total.log_()
        best = log_mass.argmax(1, keepdim=True)
        log_mass -= log_mass.gather(1, best)
        others = log_mass.exp().scatter_(1, best, 0.0).sum(1, keepdim=True)
        return log_mass.sub_(others.log1p_())  # log p of the best token keeps its digits where it is near 0

    def _masses(self, n: Tensor, among: Tensor, b: Tensor, l: int) -> tuple[Tensor, Tensor]:
        """The largest overlap m of the patterns with each token at l, and their sum of exp(b (n_mu - m))."""
        column, tokens = self.model._data[l], len(self.model._support[l])
        most = n.new_full((len(among), tokens), -1)
        total = torch.zeros(most.shape, dtype=torch.float64, device=n.device)
        if _compiled(n):
            decay = (-b * torch.arange(self.model.length + 1)).exp()
            _add_up(column.numpy(), n.numpy(), among.numpy(), decay.numpy(), most.numpy(), total.numpy())
            return most, total
        n, column = n[among], column.long().expand(len(among), -1)
        most.scatter_reduce_(1, column, n, "amax")
        return most, total.scatter_add_(1, column, (b * (n - most.gather(1, column))).exp_())


def _compiled(tensor: Tensor) -> bool:
    """Whether the numba kernels take it: some ten times faster than torch on one core."""
    return tensor.device.type == "cpu"


def _histogram(n: Tensor, length: int) -> Tensor:
    """How many patterns have each overlap 0..length, (B, length + 1) int64."""
    counts = torch.zeros(len(n), length + 1, dtype=torch.int64, device=n.device)
    return counts.scatter_add_(1, n.long(), counts.new_ones(1, 1).expand(n.shape))


def _at(log_p: Tensor, rank: Tensor) -> Tensor:
    """log_p[i, rank[i]], and -inf where the rank is -1."""
    found = log_p.gather(1, rank.long().clamp_min(0)[:, None]).squeeze(1)
    return found.masked_fill(rank < 0, -torch.inf)


def _entropy(log_p: Tensor) -> Tensor:
    return -(log_p.exp() * log_p).sum(1)


@jit
def _count_matches(columns, ranks, n):
    """n[i, mu] = number of positions l where columns[l, mu] == ranks[i, l]; n starts at zero."""
    block = np.empty(4096, columns.dtype)  # counted in the type of the ranks, as many as there are bytes in a register
    for start in range(0, columns.shape[1], len(block)):
        for i in range(len(ranks)):
            count = n[i, start : start + len(block)]
            for first in range(0, len(columns), 127):
                block[:] = 0
                for l in range(first, min(first + 127, len(columns))):
                    own, column = ranks[i, l], columns[l, start : start + len(block)]
                    for mu in range(len(column)):
                        block[mu] += column[mu] == own
                for mu in range(len(count)):
                    count[mu] += block[mu]


@jit
def _add_up(column, n, among, decay, most, total):
    """For rows i = among[j] and each rank k: most[j, k] = max of n[i, mu] over column[mu] == k, and total[j, k] the sum
    of decay[j, most[j, k] - n[i, mu]]; most starts at -1, total at zero."""
    for j in range(len(among)):
        count, power, highest, amount = n[among[j]], decay[j], most[j], total[j]
        for mu in range(len(column)):  # two passes without a branch are faster than one with
            k = np.uint64(column[mu])
            highest[k] = max(highest[k], count[mu])
        for mu in range(len(column)):
            k = np.uint64(column[mu])
            amount[k] += power[np.uint64(highest[k] - count[mu])]
