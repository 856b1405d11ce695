"""One ruler for binary associative memories and diffusion language models: token recovery and conditional entropy.

system = as_system(memory)                       # a fitted memory, a denoiser, or a checkpoint folder
token_recovery(system, x, noise=[0.1, 0.25])     # labelled rates with intervals
conditional_entropy(system, x)                   # nats, by token and sequence
chains(UTurn(system, noise=0.4), x, 100, rng=0)  # Markov chains of forward-backward steps
compare_basins(100, loads=[0.1, 0.5])            # learning rules on the same patterns
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
