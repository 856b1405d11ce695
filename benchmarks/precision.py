"""float32 beside float64, and beside what rounding allows: ``python -m benchmarks.precision``, half a minute.

The logits are float32 numbers, so that both precisions start from the same. u = 2^-24 is the unit roundoff of float32,
K the number of terms of the sums, whose order is not known: a sum of K positive terms has a relative error of K u at
most (Higham, Accuracy and Stability of Numerical Algorithms, sec. 4.2), some sqrt(K) u as a rule. First order in u.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.machine import describe
from uddm import UniformProcess, nelbo
from uddm.prediction import DensePrediction, HeadPrediction

SIZES = (2, 100, 30522, 262_144)
TIMES = (1e-3, 0.1, 0.9)
U = 2.0**-24
LIBRARY = 4
"""Units in the last place that exp, log and their kin may be wrong by; those of glibc and SLEEF are below 1."""
SHAPE = (2, 3)
UNIFORM = 2.0**-24
"""The grid of float32 uniform numbers in [0, 1), as torch draws them."""


class Row(NamedTuple):
    """The largest difference of float32 from float64 among all positions, in the units of the quantity, and the share
    of its bound that the worst position takes."""

    quantity: str
    K: int
    difference: float
    bound: float
    share: float


class Case(NamedTuple):
    """Logits (B, L, K) that float32 holds exactly, and tokens: half of the noisy ones are the clean ones."""

    K: int
    logits: Tensor
    x: Tensor
    z: Tensor

    @property
    def exact(self) -> Tensor:
        return self.logits.double().log_softmax(-1)

    @property
    def rounded(self) -> Tensor:
        return self.logits.log_softmax(-1)

    @property
    def head(self) -> HeadPrediction:
        """The same logits for every position, as W h of width 1, which no product rounds."""
        h = torch.ones(*self.x.shape, 1)
        return HeadPrediction(h, self.logits[0, 0, :, None], torch.zeros(self.K), self.z)

    @property
    def of_sum(self) -> Tensor:
        """Relative error of Z = sum exp(g - max g), (B, L): of each term's argument, of its exponential, of the sum."""
        spread = self.logits.amax(-1).double() - self.logits.amin(-1).double()
        return (self.K + spread + LIBRARY) * U

    @property
    def of_log_p(self) -> Tensor:
        """Absolute error of log p, (B, L): of log Z, and of the roundings of what is of the size of log p."""
        return self.of_sum + (LIBRARY + 2) * U * -self.exact.amin(-1)


def case(K: int, *, peak: float) -> Case:
    """Normal logits, one of them `peak` higher."""
    stream = torch.Generator().manual_seed(K)
    logits = 2 * torch.randn(*SHAPE, K, generator=stream)
    logits[..., K // 3] += peak
    x = torch.randint(K, SHAPE, generator=stream)
    x[0] = K // 3
    z = torch.where(torch.rand(SHAPE, generator=stream) < 0.5, x, torch.randint(K, SHAPE, generator=stream))
    return Case(K, logits, x, z)


def rows(K: int) -> Iterator[Row]:
    """Every quantity at one vocabulary size, the worst of flat and peaked logits and of early and late times."""
    for quantity, compare in QUANTITIES.items():
        found = [torch.broadcast_tensors(*pair) for peak in (0.0, 20.0) for pair in compare(case(K, peak=peak))]
        difference, bound = (torch.cat([pair[i].flatten() for pair in found]) for i in (0, 1))
        yield Row(quantity, K, float(difference.max()), float(bound.max()), float((difference / bound).max()))


def loss(case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    """`uddm.nelbo`, nats: absolute, from log-probabilities; see `loss_bound`."""
    process = UniformProcess(case.K)
    for t in TIMES:
        low, high = (nelbo(process, log_p, case.x, case.z, t) for log_p in (case.rounded, case.exact))
        yield (low.double() - high).abs(), loss_bound(process, case, t) + 8 * U * high


def head_loss(case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    """As networks are trained and evaluated: the same from hidden states, by sums over the vocabulary in float32."""
    alike = case._replace(logits=case.logits[:1, :1].expand_as(case.logits))
    process = UniformProcess(case.K)
    for t in TIMES:
        low, high = (nelbo(process, p, case.x, case.z, t) for p in (alike.head, alike.exact))
        yield (low.double() - high).abs(), loss_bound(process, alike, t) + 8 * U * high


def loss_bound(process: UniformProcess, case: Case, t: float) -> Tensor:
    """Of the three terms of `uddm.process.uniform`, with p = c x_theta known to a relative error e.

    - excess, sum of y - log(1 + y) over y = c x_theta: its derivative is below 1, and each rounding below y, so that as
      sum y <= c it is known to c (e + (K + LIBRARY) u);
    - d = log(1 + c) - log(1 + c x_theta[x]) to e + LIBRARY u log(1 + c) twice, and exp(-d) - 1 + d no worse;
    - exp(d) - 1 - d, by the derivative exp(d) - 1 <= c, to c times that; log rho of another token as d.
    """
    noise, speed = process.one_minus_alpha(t), process.rate(t) / process.alpha(t)
    c = case.K * (1 - noise) / noise
    e = case.of_log_p + (LIBRARY + 3) * U
    of_d = e + 2 * LIBRARY * U * (1 + torch.log1p(c))
    divergence = c * (e + (case.K + LIBRARY) * U) + (1 + c) * of_d
    same = case.z == case.x
    ratio = torch.where(same, c * of_d + LIBRARY * U * (1 + c), of_d)
    return speed / torch.where(same, 1 + c, 1.0) * (divergence / case.K + ratio / noise)


def posterior(case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    """`Process.posterior`: relative, of any token; in float64 from log-probabilities of float32, once above, once below
    the fraction bar."""
    process = UniformProcess(case.K)
    for t in TIMES:
        low, high = (process.posterior(log_p, case.z, t, t / 2) for log_p in (case.rounded, case.exact))
        yield ((low - high).abs() / high).amax(-1), 2 * case.of_log_p


def entropy(case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    """Of log-probabilities, summed in float64, nats: absolute; sum p |log p + 1| e."""
    low, high = (DensePrediction(log_p).entropy() for log_p in (case.rounded, case.exact))
    yield (low - high).abs(), case.of_log_p * (high + 1)


def head_entropy(case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    """As networks have it, summed in float32 from the hidden states, nats: absolute; log Z + sum p |g - max g|, whose
    sum has the error of Z once more."""
    exact = case.exact[:1, :1]
    high = DensePrediction(exact).entropy()
    below = exact - exact.amax(-1, keepdim=True)
    spread = -(exact.exp() * below).sum(-1)
    of_sum = case.of_sum[:1, :1]
    bound = of_sum + spread * (2 * of_sum + LIBRARY * U) + LIBRARY * U * (high + 1)
    yield (case.head.entropy()[:1, :1].double() - high).abs(), bound


def sampling(case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    """`uddm.streams.inverse_cdf`, which draws in float64 from float32 log-probabilities: half the total variation
    between its law and the exact one."""
    low, high = (log_p.double().exp() for log_p in (case.rounded, case.exact))
    yield (low / low.sum(-1, keepdim=True) - high).abs().sum(-1) / 2, case.of_log_p


def single_draws(case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    """What we do not do: the same with uniform numbers of float32, of which each token gets a whole number, half of the
    total variation: below K/2 of their spacing."""
    cdf = case.exact.exp().cumsum(-1) / UNIFORM
    ends = cdf.ceil().clamp_max(1 / UNIFORM)
    ends[..., -1] = 1 / UNIFORM
    law = torch.diff(ends, dim=-1, prepend=torch.zeros_like(ends[..., :1])) * UNIFORM
    bound = torch.full(case.x.shape, case.K * UNIFORM / 2 + case.K * 2.0**-53)
    yield (law - case.exact.exp()).abs().sum(-1) / 2, bound.double()


QUANTITIES = {
    "loss": loss,
    "loss of a network": head_loss,
    "posterior": posterior,
    "entropy": entropy,
    "entropy of a network": head_entropy,
    "sampling": sampling,
    "sampling with float32 draws": single_draws,
}


def never_drawn(K: int) -> float:
    """Of flat logits, how probable all tokens together are that draws of float32 never give."""
    p = case(K, peak=0.0).exact[0, 0].exp()
    ends = (p.cumsum(-1) / UNIFORM).ceil()
    missed = torch.diff(ends, prepend=torch.zeros(1)) == 0
    return float(p[:-1][missed[:-1]].sum())


def main() -> None:
    print(describe(), end="\n\n")
    print("| quantity | K | largest difference | bound | worst share of its bound |\n|---|---|---|---|---|")
    for K in SIZES:
        for row in rows(K):
            numbers = f"{row.difference:.1e} | {row.bound:.1e} | {row.share:.1e}"
            print(f"| {row.quantity} | {row.K:,} | {numbers} |", flush=True)
    missed = [f"{never_drawn(K):.1e} at K = {K:,}" for K in SIZES]
    print(f"\nprobability of all tokens that draws of float32 never give: {', '.join(missed)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
