"""Binary associative memories and their theory.

Conventions, the same everywhere in the package:

- spins are ``int8`` in {-1, +1}; patterns have shape (P, L), states (M, L);
- ``W[i, j]`` acts from spin j onto spin i; the diagonal is zero; the local field is h_i = sum_j W_ij s_j;
- a zero local field keeps the spin;
- temperatures are those of P(s_i = +1) = sigma(2 h_i / T), sigma(u) = 1 / (1 + exp(-u));
- the load is alpha = P / L;
- ``rng`` is None, a non-negative integer seed, or a :class:`numpy.random.Generator`.

Everything below is imported on first use, so ``import amtheory`` is immediate.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
