"""The claims of arXiv 2604.26841 and of its companions as data: what each says, and the rule that decides it.

A claim is decided by measurements that were repeated independently: over training seeds, samples of the disorder or
grammars (`repeat`), on each system that it speaks of (`system`). It comes down to *parts*: numbers, each of which it
says lies in a stated range. A part is supported where the Student interval over repeats lies within the range, refuted
where it lies outside, else undecided. All intervals of one claim hold together with 95 % (Bonferroni). A claim that
says "always" is refuted by one system and supported by all; what was not measured is undecided.

    outcome = CLAIMS["C7"].decide(dataset)
    outcome.verdict, outcome.reason, outcome.estimates

The ranges are the smallest effects that count. They were fixed before anything was measured, and stand here, beside the
statement.
"""

from bridges.claims.curves import ends, log_slope
from bridges.claims.deciding import CONFIDENCE, Claim, Finding, Outcome, Part, Verdict
from bridges.claims.paper import CLAIMS

__all__ = ["CLAIMS", "CONFIDENCE", "Claim", "Finding", "Outcome", "Part", "Verdict", "ends", "log_slope"]
