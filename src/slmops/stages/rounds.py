"""How much of each part a student keeps in each of the rounds that it is cut in. Knows sizes, no model."""

from __future__ import annotations

from itertools import product

from slmops.training.estimate import Shape
from slmops.training.student_config import StudentConfig

STEP = 32  # what units and width are multiples of


def of_round(shape: Shape, student: StudentConfig, left: int) -> StudentConfig:
    """What the student keeps of a model of that shape, where `left` rounds are to end at what it keeps in the end: of
    each part about as much goes in each. In between more stays where the width would be no multiple of the heads:
    transformers would not load it (Llama, Gemma 3)."""
    layers = _kept(shape.layers, student.layers, left)
    units = _kept(shape.inner, student.units, left, STEP)
    width = _kept(shape.width, student.width, left, STEP)
    groups = _kept(shape.kv_heads, student.kv_heads, left)
    each = shape.heads // shape.kv_heads
    wanted = max(1, student.heads // (student.kv_heads or shape.kv_heads)) if student.heads else None
    queries = _kept(each, wanted, left)
    if left > 1:
        more = product(range(queries, each + 1), range(groups, shape.kv_heads + 1), range(width, shape.width + 1, STEP))
        fits = (kept for kept in more if kept[2] % (kept[0] * kept[1]) == 0)
        queries, groups, width = next(fits, (queries, groups, width))
    sizes = {"layers": layers, "units": units, "kv_heads": groups, "heads": groups * queries, "width": width}
    return student.model_copy(update={name: size for name, size in sizes.items() if name in student.cuts})


def _kept(count: int, wanted: int | None, left: int, step: int = 1) -> int:
    if wanted is None:
        return count
    steps = (count - wanted) // step
    return wanted + step * (steps - round(steps / left))
