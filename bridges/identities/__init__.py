"""The equations of arXiv 2604.26841 and the exact bridges between its two kinds of memory, derived again.

Each identity is derived by sympy from its premises, with symbolic numbers of tokens L, states K and examples P wherever
a sum over them occurs, and compared with three things: its corrected form, the form printed in the paper, and numbers
from the functions of this library that implement it (from torch for the Laplace entropy, which none implements).

    check_all()                        # a Check for each of IDENTITIES
    print(report(check("gradient")))

python -m bridges identities prints all of them.

`REMARKS` holds the paper's errata that no equation can settle. Notation: x[l] the clean, z[l] the noisy token at
position l, p[k] = x_theta of token k, alpha_t and alpha_s the signal at times t > s; a sum over positions, examples or
tokens runs from 0. d(i, j) is Kronecker's delta.
"""

from bridges.identities._check import (
    IDENTITIES,
    REMARKS,
    Check,
    Identity,
    Remark,
    Sides,
    check,
    check_all,
    remark_report,
    report,
    summary,
)

# isort: off
# Each chapter enters its identities into IDENTITIES; all are printed in that order.
from bridges.identities import memories, process, bound, entropy, duality

__all__ = [
    "IDENTITIES",
    "REMARKS",
    "Check",
    "Identity",
    "Remark",
    "Sides",
    "check",
    "check_all",
    "remark_report",
    "report",
    "summary",
]
