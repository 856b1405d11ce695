"""Uniform-state discrete diffusion language models: a process plus a denoiser.

Conventions, stated once: tokens are int64 of shape (B, L), ids in [0, K); times t lie in (0, 1], one for all or one for
each sequence; entropies and losses are in nats; `cavity` is the distribution of a token given the others, `posterior`
the one given all. Names are imported on first use, so `import uddm` loads nothing heavy.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
