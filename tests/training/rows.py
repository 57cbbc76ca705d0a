"""Rows to train on: an instruction, a message that names its answer."""

from __future__ import annotations

from slmops.models.packing import Example
from slmops.training.examples import to_examples

INSTRUCTION = tuple(range(20, 44))


def rows(count: int, instruction: tuple[int, ...] = INSTRUCTION) -> list[Example]:
    """Row n: (instruction, n % 5 and something of its own) → two tokens that tell n % 5."""
    learn = (False,) * (len(instruction) + 3) + (True,) * 3
    return to_examples(
        (f"row-{n}", (*instruction, 60 + n % 5, 70 + n % 7, 9, 100 + n % 5, 110 + n % 5, 2), learn)
        for n in range(count)
    )
