"""Theory of binary associative memories: exact finite-size and large-L results, one module per memory."""

from amtheory.theory import hopfield

__all__ = ["hopfield"]
