"""What is trained and measured for the figures: each module gives tasks, and reads back what they made."""

from collections.abc import Sequence
from typing import TypeVar

Number = TypeVar("Number", int, float)

FOLLOWED = 64
"""How many sequences are followed along the dynamics, at most."""
FOLLOWED_STATES = 33
"""At how many states on their way conditionals are measured."""


def three(values: Sequence[Number]) -> list[Number]:
    """The smallest, a middle and the largest of distinct values; fewer if there are fewer."""
    ordered = sorted(values)
    return sorted({ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1]})
